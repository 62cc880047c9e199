"""One tile of a guide (SAR, a coarse sensor) on the dates and the grid of the cube to fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xstf.cubes.arrays import Array
from xstf.cubes.grid import Grid
from xstf.cubes.resample import resample, source_window
from xstf.tiles.blocks import is_lazy
from xstf.tiles.geometry import plan_chunks
from xstf.tiles.gpu import to_host
from xstf.tiles.regrid import Regridding

# Backscatter below this, in linear power, is no echo: it would be minus infinity in dB.
LEAST_POWER = 1e-6
# From these bounds on radar is no echo but a code for missing, such as -32768 and -9999, whether
# declared or not; dB lie between -60 and 40 in nature, and power is below 1000. A floor that fills
# borders is often what 10 log10 makes of 1e-6, 1e-10 or the like.
LEAST_DB, MOST_DB, MOST_POWER = -60.0, 100.0, 1000.0

GUIDE_TILE = 96


@dataclass(frozen=True)
class GuideTile:
    """Makes a guide's part of a tile.

    Parameters
    ----------
    source, target
        Its grid and the cube's.
    weights
        One ``(time, guide_time)`` array for each group of dates that is kept apart (an orbit):
        how much each of its images counts on each date of the cube, 0 for none.
    linear
        Whether its values are power that is to become dB.
    radar
        Whether its values are backscatter: what cannot be an echo is missing then, as are exact
        zeros, with which borders are filled.
    """

    source: Grid
    target: Grid
    weights: tuple[np.ndarray, ...]
    linear: bool
    radar: bool = False

    def window(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return the part of the guide that a part of the cube's grid needs."""
        return source_window(self.source, self.target, rows, cols)

    def __call__(self, block: np.ndarray, rows: slice, cols: slice) -> np.ndarray:
        """Return ``(time, group × band, rows, cols)``, NaN where no image is near in time."""
        images = to_host(block)
        if self.radar:  # before any averaging, into which a code for missing would go
            images = _echoes(images, self.linear)
        if self.source != self.target:
            window = self.window(rows, cols)
            images = resample(images, window, self.source, self.target, rows, cols)
        if self.linear:
            images = _decibel(images)
        return np.concatenate([_mean(weights, images) for weights in self.weights], axis=1)


def time_weights(
    dates: np.ndarray, guide_dates: np.ndarray, reach: float, used: np.ndarray
) -> np.ndarray:
    """Return how much each image of a guide counts on each date: less the farther, none past reach.

    Parameters
    ----------
    dates, guide_dates : ndarray
        In days.
    reach : float
        Days at which the weight is 0.
    used : ndarray of bool
        Which images belong to the group.

    Returns
    -------
    ndarray (date, guide_date), float32
    """
    apart = np.abs(dates[:, None] - guide_dates[None, :])
    weights = np.clip(1 - apart / reach, 0, None) * used
    return np.asarray(weights, np.float32)


def echoes(array: Any, linear: bool) -> Any:
    """Return backscatter with NaN for what is no echo, lazily if it is lazy."""
    if is_lazy(array):
        none = np.empty((0,) * array.ndim, np.float32)
        return array.map_blocks(_echoes, linear, dtype=np.float32, meta=none)
    return _echoes(array, linear)


def _echoes(images: Any, linear: bool) -> np.ndarray:
    """Return backscatter with NaN for what is none; pixels of negative power are missing alone."""
    images = to_host(images)
    least, most = (0.0, MOST_POWER) if linear else (LEAST_DB, MOST_DB)
    echo = (images > least) & (images < most) & (images != 0)
    return np.where(echo, images, np.float32(np.nan))


def _decibel(power: np.ndarray) -> np.ndarray:
    usable = np.where(power > LEAST_POWER, power, np.float32(np.nan))
    return np.asarray(10 * np.log10(usable), np.float32)


def _mean(weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the weighted means over the guide's dates; missing pixels have no weight.

    Image by image: a product of matrices rounds in another order on blocks of another size.
    """
    valid = ~np.isnan(images)
    values = np.where(valid, images, np.float32(0))
    out = np.full((len(weights), *images.shape[1:]), np.nan, np.float32)
    for date, along in enumerate(weights):
        total, weight = np.zeros_like(values[0]), np.zeros_like(values[0])
        for image in np.flatnonzero(along):
            total += along[image] * values[image]
            weight += along[image] * valid[image]
        np.divide(total, weight, out=out[date], where=weight > 0)
    return out


def guide_on_grid(
    array: Array, tile: GuideTile, shape: tuple[int, int],
    chunks: tuple[Sequence[int], Sequence[int]] | None = None,
) -> Array:  # fmt: skip
    """Return a guide on the cube's dates and grid, lazily if it is lazy.

    Parameters
    ----------
    array
        ``(date, band, y, x)`` on the guide's own grid.
    tile
        How a part of it becomes a part of the cube's grid.
    shape
        ``(y, x)`` of the cube.
    chunks
        Of the result along y and x; None for small ones.
    """
    regridding = Regridding(
        array=array,
        dates=tuple(range(array.shape[0])),
        window=tile.window,
        function=tile,
        lead=(tile.weights[0].shape[0], len(tile.weights) * array.shape[1]),
        shape=shape,
    )
    small = (plan_chunks(shape[0], GUIDE_TILE), plan_chunks(shape[1], GUIDE_TILE))
    return regridding.run(chunks or small, tile=GUIDE_TILE)
