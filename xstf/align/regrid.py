"""Images on the coarse grid that is nested in the fine one, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from xstf.cubes import resample as resampling
from xstf.cubes.arrays import Array
from xstf.cubes.grid import Grid
from xstf.cubes.nesting import Nesting
from xstf.cubes.read import Cube
from xstf.tiles.engines import to_host
from xstf.tiles.geometry import plan_chunks
from xstf.tiles.regrid import Regridding

COARSE_TILE = 256


def regrid_images(cube: Cube, nesting: Nesting, dates: Sequence[int]) -> Array:
    """Return some dates of a cube on the nested coarse grid.

    Parameters
    ----------
    cube : Cube
    nesting : Nesting
    dates : sequence of int
        Positions along its time.

    Returns
    -------
    array (date, band, Y, X)
        Lazy if the cube is.
    """
    target = nesting.coarse
    regridding = Regridding(
        array=cube.data,
        dates=tuple(dates),
        window=partial(resampling.source_window, cube.grid, target),
        function=partial(_resample_tile, cube.grid, target),
        lead=(len(dates), cube.data.shape[1]),
        shape=(target.height, target.width),
    )
    rows, cols = (plan_chunks(size, COARSE_TILE) for size in regridding.shape)
    return regridding.run((rows, cols), tile=COARSE_TILE)


def _resample_tile(
    source: Grid, target: Grid, block: np.ndarray, rows: slice, cols: slice
) -> np.ndarray:
    window = resampling.source_window(source, target, rows, cols)
    return resampling.resample(to_host(block), window, source, target, rows, cols)
