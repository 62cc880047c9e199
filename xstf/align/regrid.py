"""Images on the coarse grid that is nested in the fine one, tile by tile."""

from __future__ import annotations

from functools import partial
from typing import Any

from xstf.cubes import resample as resampling
from xstf.cubes.grid import Grid
from xstf.cubes.nesting import Nesting
from xstf.cubes.read import Cube
from xstf.tiles.engines import to_host
from xstf.tiles.run import Job, Source, run_tiles

COARSE_TILE = 256


def regrid_images(cube: Cube, nesting: Nesting, dates: list[int]) -> Any:
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
    source = Source(cube.data, tuple(dates), partial(resampling.source_window, cube.grid, target))
    resample = partial(_resample_tile, cube.grid, target)
    lead = (len(dates), cube.data.shape[1])
    job = Job(resample, (source,), lead, (target.height, target.width))
    return run_tiles([job], chunks=(COARSE_TILE, COARSE_TILE), tile=COARSE_TILE)[0]


def _resample_tile(
    source: Grid, target: Grid, blocks: list[Any], rows: slice, cols: slice, _: Any
) -> Any:
    window = resampling.source_window(source, target, rows, cols)
    return resampling.resample(to_host(blocks[0]), window, source, target, rows, cols)
