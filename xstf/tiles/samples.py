"""What whole-image statistics look at: few places of the scene, the same whatever its chunks.

Tiles wait for the statistics, so a chunk that was sampled stays in memory until its tiles are made.
That is why few places are looked at: memory then does not grow with the scene.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

# What `prepare` of a fusion method sees: axes up to so many fine pixels whole, of longer ones so
# many stretches of about so many fine pixels.
SAMPLED_WHOLE = 2048
SPOTS = 5
STRETCH = 208

# What `settle` of a gap-filling method sees: axes up to so many pixels whole, of longer ones so
# many stretches of so many pixels.
WHOLE_SPOT = 192
SPOTS_A_SIDE = 3
SPOT = 64


def whole_cells(
    fine: Any, coarse: Any, *, ratio: int, before: tuple[int, int]
) -> tuple[da.Array, da.Array]:
    """Return what `prepare` sees of both cubes: whole coarse pixels, few enough for memory.

    Cut to the coarse pixels that lie wholly inside the fine cube (where there is none along an
    axis, the fine cube is filled up with NaN instead). Of a long axis only `SPOTS` stretches are
    taken, evenly spaced at positions that depend on nothing but the sizes.

    Parameters
    ----------
    fine : array (date, band, y, x)
    coarse : array (date, band, Y, X)
    ratio : int
    before : (int, int)
        Fine pixels from the coarse grid's corner to the fine image's.

    Returns
    -------
    fine, coarse : dask arrays, one chunk a date
    """
    sharp, blurred = (
        array
        if isinstance(array, da.Array)
        else da.from_array(array, (1, -1, -1, -1), name=False, asarray=False)
        for array in (fine, coarse)
    )
    for axis, start in zip((2, 3), before, strict=True):
        size = sharp.shape[axis]
        first = -(-start // ratio)
        count = (size + start) // ratio - first
        if count > 0:
            cells = first + _stretches(count, ratio)
            pixels = (cells[:, None] * ratio - start + np.arange(ratio)).ravel()
            sharp = da.take(sharp, pixels, axis=axis)
            blurred = da.take(blurred, cells, axis=axis)
        else:
            after = blurred.shape[axis] * ratio - size - start
            pad = [(0, 0)] * 4
            pad[axis] = (start, after)
            sharp = da.pad(sharp, pad, constant_values=np.nan)
    return sharp.rechunk((1, -1, -1, -1)), blurred.rechunk((1, -1, -1, -1))


def whole_blocks(arrays: dict[str, tuple[Any, int]], *, side: int) -> dict[str, da.Array]:
    """Return what `settle` of three nested cubes sees: whole blocks, the same ones of each.

    Parameters
    ----------
    arrays : dict of (array (date, band, y, x), int)
        Each cube, and how many of its pixels are along a side of a block; all start at one corner.
    side : int
        Of a block in pixels of the finest cube.

    Returns
    -------
    dict of dask arrays, one chunk a date
    """
    found = {}
    for name, (array, pixels) in arrays.items():
        lazy = array if isinstance(array, da.Array) else da.from_array(
            array, (1, -1, -1, -1), name=False, asarray=False
        )  # fmt: skip
        for axis in (2, 3):
            count = min(a.shape[axis] // n for a, n in arrays.values())
            blocks = _stretches(count, side)
            taken = (blocks[:, None] * pixels + np.arange(pixels)).ravel()
            lazy = da.take(lazy, taken, axis=axis)
        found[name] = lazy.rechunk((1, -1, -1, -1))
    return found


def _stretches(count: int, ratio: int) -> np.ndarray:
    """Return which of so many coarse pixels along an axis are sampled."""
    length = max(4, -(-STRETCH // ratio))
    if count * ratio <= SAMPLED_WHOLE or count <= SPOTS * length:
        return np.arange(count)
    starts = np.linspace(0, count - length, SPOTS).round().astype(np.intp)
    return (starts[:, None] + np.arange(length)).ravel()


def sample_windows(cube: Any) -> da.Array:
    """Return windows of a cube, at places that depend on nothing but its size.

    Parameters
    ----------
    cube : array (time, band, y, x)

    Returns
    -------
    dask array (spot, time, band, y, x), one chunk
    """
    lazy = cube if isinstance(cube, da.Array) else da.from_array(
        cube, (-1, -1, SPOT, SPOT), name=False, asarray=False
    )  # fmt: skip
    rows, cols = (_spots_along(size) for size in cube.shape[2:])
    windows = [lazy[:, :, r, c] for r in rows for c in cols]
    together: da.Array = da.stack(windows).rechunk(-1)
    return together


def _spots_along(size: int) -> list[slice]:
    if size <= WHOLE_SPOT:
        return [slice(0, size)]
    starts = np.linspace(0, size - SPOT, SPOTS_A_SIDE).round().astype(int).tolist()
    return [slice(start, start + SPOT) for start in starts]
