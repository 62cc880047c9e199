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
from xstf.tiles.geometry import plan_chunks
from xstf.tiles.gpu import to_host
from xstf.tiles.regrid import Regridding

COARSE_TILE = 256


# The least share of a nested pixel that valid source pixels must cover.
MIN_VALID = 0.5


def regrid_images(
    cube: Cube, nesting: Nesting, dates: Sequence[int], *, min_valid: float = MIN_VALID
) -> Array:
    """Return some dates of a cube on the nested coarse grid.

    Parameters
    ----------
    cube : Cube
    nesting : Nesting
    dates : sequence of int
        Positions along its time.
    min_valid : float
        The least share of a nested pixel that pixels which are not missing must cover, above 0
        to 1; with less it is missing, else it is the mean of its valid part.

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
        function=partial(_resample_tile, cube.grid, target, min_valid),
        lead=(len(dates), cube.data.shape[1]),
        shape=(target.height, target.width),
    )
    rows, cols = (plan_chunks(size, COARSE_TILE) for size in regridding.shape)
    return regridding.run((rows, cols), tile=COARSE_TILE)


def check_min_valid(share: float) -> None:
    """Raise unless a share is a number above 0 and at most 1."""
    if isinstance(share, bool) or not isinstance(share, int | float | np.number):
        raise TypeError(f"min_valid must be a number above 0 and at most 1, not {share!r}")
    if not 0 < share <= 1:
        raise ValueError(
            f"min_valid is the least valid share of a coarse pixel, above 0 and at most 1, not "
            f"{share}"
        )


def _resample_tile(
    source: Grid, target: Grid, min_valid: float, block: np.ndarray, rows: slice, cols: slice
) -> np.ndarray:
    window = resampling.source_window(source, target, rows, cols)
    return resampling.resample(
        to_host(block), window, source, target, rows, cols, min_valid=min_valid
    )
