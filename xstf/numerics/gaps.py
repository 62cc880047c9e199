"""What per-pixel methods in time share: blocks of a cube, and the spread of hidden values."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from xstf.numerics.jit import jit, part
from xstf.numerics.normal import COVER, Z90

S = TypeVar("S")

# The time to a neighbour that is not there: far beyond any, its products still float32. The one
# ahead is nearer, so that a pixel without any value takes the one ahead, which is NaN then.
NEVER = np.float32(1e30)
NOT_AHEAD = np.float32(5e29)
# Pixels in work at once: their rows of all dates (two of float32) stay in the second cache.
BLOCK = 512
# Pixels of the scene that `settle` reads: their errors are some million, and a second of work.
PIXELS = 1024
# Half-widths of hidden windows, in median steps: only the date itself, then doubled each time.
WIDTHS = (0, 1, 2, 4, 8, 16)
# Pixels that are read and written at once: long stretches of memory are quicker to get at.
STRETCH = 1024
# Points at which the spread is estimated.
KNOTS = 8
# Fewer errors than these say nothing of their 90 % quantile.
FEWEST_ERRORS = 30


class Sweep(NamedTuple):
    """Room for a sweep over the dates of a block of pixels, float32."""

    held: np.ndarray  # (time, BLOCK): the last value at or before each date
    since: np.ndarray  # (time, BLOCK): the days since
    value: np.ndarray  # (BLOCK,): the value ahead, on the way back
    until: np.ndarray  # (BLOCK,): the days until then


def settled(state: S | None) -> S:
    """Return what a method settled; raise where it was not: it serves the std alone."""
    if state is None:
        raise TypeError("std=True needs the state that the method's settle returns; it is None")
    return state


def unroll(
    cube: np.ndarray, inner: tuple[slice, slice]
) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """Return the cube, where its wanted part begins and its size: one long row, if it is whole."""
    (top, bottom), (left, right) = ((part.start, part.stop) for part in inner)
    height, width = cube.shape[2:]
    if right - left < width:
        return cube, (top, left), (bottom - top, right - left)
    flat = cube.reshape(*cube.shape[:2], 1, height * width)
    return flat, (0, top * width), (1, (bottom - top) * width)


def series(cube: np.ndarray) -> np.ndarray:
    """Return even pixels of ``(window, time, band, y, x)`` as ``(band, time, pixel)`` float64."""
    windows, dates, bands, height, width = cube.shape
    flat = np.moveaxis(cube, 0, 2).reshape(dates, bands, windows * height * width)
    # An odd step, so that it does not fall on the same columns of every row.
    step = max(1, flat.shape[2] // PIXELS) | 1
    return np.ascontiguousarray(flat[:, :, ::step].swapaxes(0, 1), dtype=np.float64)


def hidden_widths(times: np.ndarray) -> list[float]:
    """Return half-widths, in days, of the windows to hide: those that leave half of the dates."""
    step = float(np.median(np.diff(times)))
    return [w * step for w in WIDTHS if w == 0 or w * step <= (times[-1] - times[0]) / 4]


def spread_of(distance: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the variance of errors as a broken line over the distance to observations.

    Parameters
    ----------
    distance, error
        Of any, the same shape; pairs that are not finite are left out.

    Returns
    -------
    ``(2, KNOTS)``: knots and slopes. The variance at ``d`` is ``sum_k slope_k max(0, d - knot_k)``;
    the first knot is -1 and its slope the variance at 0. It never falls, and goes on beyond the
    last knot with the last slope. NaN if there are too few errors.
    """
    use = np.isfinite(distance) & np.isfinite(error)
    distance, error = distance[use], np.abs(error[use])
    line = np.zeros((2, KNOTS))
    line[0] = np.inf
    if error.size < FEWEST_ERRORS:
        line[:, 0] = -1, np.nan
        return line
    # Bins that grow evenly in log, since spread changes most where distances are short.
    least = np.quantile(distance, 0.05)
    edges = np.geomspace(max(least, distance.max() * 1e-6), distance.max(), KNOTS)[1:-1]
    bins = np.searchsorted(edges, distance)
    found = [bins == k for k in range(KNOTS - 1)]
    found = [part for part in found if part.sum() >= FEWEST_ERRORS] or [slice(None)]
    at = np.array([np.median(distance[part]) for part in found])
    # The 90 % quantile, not the mean square: the interval that is asked for, whatever the tails.
    height = np.array([(np.quantile(error[part], COVER) / Z90) ** 2 for part in found])
    height = np.maximum.accumulate(height)
    slope = np.diff(height) / np.diff(at)
    line[0, : at.size] = -1, *at[:-1]
    line[1, : at.size] = height[0], *np.diff(slope, prepend=0)
    return line


def told(line: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a broken line of :func:`spread_of`, or where it is NaN, the spread of the scene.

    Where too few errors tell how fast values change, as with one observed date, the values of other
    dates may be any of the scene's: the variance is that of the values, whatever the distance.

    Parameters
    ----------
    line
        ``(2, knot)``, of `spread_of`.
    values
        Those of the scene, of any shape; NaN where missing. The line stays NaN if all are.
    """
    seen = values[np.isfinite(values)]
    if not np.isnan(line).any() or not seen.size:
        return line
    flat = line.copy()
    flat[1, 0] = (np.quantile(np.abs(seen - np.median(seen)), COVER) / Z90) ** 2
    return flat


def variance(line: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the variance that the broken line of :func:`spread_of` has at distances."""
    total = np.full(np.shape(distance), line[1, 0])
    for knot, slope in line[:, 1:].T:
        if np.isfinite(knot):
            total = total + slope * np.maximum(distance - knot, 0)
    return total


def room(dates: int) -> Sweep:
    """Return the arrays of a sweep."""
    return Sweep(
        np.empty((dates, BLOCK), np.float32),
        np.empty((dates, BLOCK), np.float32),
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.float32),
    )


@part
def look_back(
    cube: np.ndarray, place: tuple[int, int, int], size: int, steps: np.ndarray, sweep: Sweep
) -> None:
    """Write the last value at or before each date and the days since, of ``size`` pixels.

    ``place`` is the band, row and first column of the pixels. ``value`` and ``until`` are left as
    a sweep back over the dates wants them: no value ahead, NaN where there is none at all.
    """
    nothing, zero = np.float32(np.nan), np.float32(0)
    value, until = sweep.value, sweep.until
    band, y, x = place
    for i in range(size):
        value[i] = zero
        until[i] = NEVER
    for t in range(cube.shape[0]):
        row = cube[t, band, y, x : x + size]
        now, aged = sweep.held[t], sweep.since[t]
        step = steps[t]
        for i in range(size):
            # All loads come first: one inside a condition is a branch, ten times as slow.
            new, last, age = row[i], value[i], until[i] + step
            seen = new == new
            last = new if seen else last
            age = zero if seen else age
            value[i] = now[i] = last
            until[i] = aged[i] = age
    for i in range(size):
        value[i] = nothing if until[i] >= NEVER else zero
        until[i] = NOT_AHEAD


def steps_of(times: np.ndarray) -> np.ndarray:
    """Return the days since the date before, 0 for the first, float32."""
    return np.diff(times, prepend=times[0]).astype(np.float32)


def by_stretches(
    cube: np.ndarray, out: np.ndarray, order: np.ndarray, pixels: slice,
    estimate: Callable[[np.ndarray], np.ndarray], largest: float,
) -> None:  # fmt: skip
    """Fill pixels straight into the result, as a record's ``direct`` does, with a method's kernel.

    Parameters
    ----------
    cube, out, order, pixels
        As for `xstf._method.Direct`.
    estimate
        Returns the estimate of a cube ``(time, band, 1, pixel)``, float32, NaN where missing.
    largest
        Values that are not below it are missing.
    """
    dates, bands, _ = cube.shape
    buffer = np.empty(dates * bands * STRETCH, np.float32)
    for x in range(pixels.start, pixels.stop, STRETCH):
        size = min(STRETCH, pixels.stop - x)
        stretch = buffer[: dates * bands * size].reshape(dates, bands, 1, size)
        _take(cube, order, x, np.float32(largest), stretch)
        _put(stretch, estimate(stretch), order, x, out)


@jit
def _take(
    cube: np.ndarray, order: np.ndarray, start: int, largest: np.float32, stretch: np.ndarray
) -> None:
    """Copy a stretch of pixels, dates in order, NaN for all that is no measurement."""
    nothing = np.float32(np.nan)
    dates, bands, _, size = stretch.shape
    for t in range(dates):
        for b in range(bands):
            source, row = cube[order[t], b, start : start + size], stretch[t, b, 0]
            for i in range(size):
                one = source[i]
                row[i] = one if abs(one) < largest else nothing


@jit
def _put(
    stretch: np.ndarray, estimate: np.ndarray, order: np.ndarray, start: int, out: np.ndarray
) -> None:
    """Write a stretch of the result: what was observed, and else the estimate."""
    dates, bands, _, size = stretch.shape
    for t in range(dates):
        for b in range(bands):
            source, filled = stretch[t, b, 0], estimate[t, b, 0]
            row = out[order[t], b, start : start + size]
            for i in range(size):
                one, other = source[i], filled[i]
                row[i] = one if one == one else other
