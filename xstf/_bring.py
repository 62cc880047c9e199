"""Images on the coarse grid that is nested in the fine one, tile by tile."""

from __future__ import annotations

from functools import partial
from typing import Any

from xstf import _engines, _grid, _nest, _resample, _tiles
from xstf._inputs import Cube

COARSE_TILE = 256


def bring_images(cube: Cube, nesting: _nest.Nesting, dates: list[int]) -> Any:
    """Return some dates of a cube on the nested coarse grid.

    Parameters
    ----------
    cube : Cube
    nesting : Nesting
    dates : list of int
        Positions along its time.

    Returns
    -------
    array (date, band, Y, X)
        Lazy if the cube is.
    """
    target = nesting.coarse
    source = _tiles.Source(
        cube.data, tuple(dates), partial(_resample.source_window, cube.grid, target)
    )
    resample = partial(_resample_tile, cube.grid, target)
    lead = (len(dates), cube.data.shape[1])
    job = _tiles.Job(resample, (source,), lead, (target.height, target.width))
    return _tiles.run([job], chunks=(COARSE_TILE, COARSE_TILE), tile=COARSE_TILE)[0]


def _resample_tile(
    source: _grid.Grid, target: _grid.Grid, blocks: list[Any], rows: slice, cols: slice, _: Any
) -> Any:
    window = _resample.source_window(source, target, rows, cols)
    return _resample.resample(_engines.to_host(blocks[0]), window, source, target, rows, cols)
