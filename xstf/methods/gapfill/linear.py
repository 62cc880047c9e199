"""Linear interpolation in time, pixel by pixel; the ends hold the first and the last value.

With observations ``y_p`` and ``y_n`` at the nearest dates before and after ``t``::

    z(t) = y_p + (y_n - y_p) a / (a + b)        a = t - t_p, b = t_n - t, in days
    z(t) = y_n before the first observation, y_p after the last one

The ends never go on with a slope: on real cubes that doubles the error.

The standard deviation is that of a new observation and is taken from the scene itself. ``settle``
hides observations, alone and with all others within 1 to 16 median steps to each side, and
interpolates them from the rest. A random walk with variance q a day between two observed ends has
variance ``q D``, ``D = a b / (a + b)``, and ``D = a`` beyond one end; so the errors are sorted by
D, and a broken line through the (90 % quantile / 1.645)^2 of each class, per band, is the variance
as a function of D. What a real series has otherwise (noise, seasons) is in that line; there is one
between observations and one beyond the ends, where noise is not averaged. They are the same for
the whole scene: they do not know which pixels are livelier than others.

The method has no source of its own; the variance is that of a Brownian bridge, as in

Horne, J. S., Garton, E. O., Krone, S. M., Lewis, J. S. (2007). Analyzing animal movements using
Brownian bridges. Ecology 88(9), 2354-2363. doi:10.1890/06-0957.1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xstf._method import GapfillSamples, Method
from xstf.cubes.limits import LARGEST
from xstf.numerics.cuda.in_time import interpolate as interpolated_there
from xstf.numerics.gaps import (
    BLOCK,
    NEVER,
    NOT_AHEAD,
    hidden_widths,
    series,
    settled,
    spread_of,
    steps_of,
    told,
    variance,
)
from xstf.numerics.jit import jit, part

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# Keeps 0 / 0 out of the weight of a value at its own date; shorter than any time between dates.
INSTANT = np.float32(1e-30)
# Pixels in work at once: long stretches of memory are read faster, and the last cache holds them.
WIDE = 4096
ZERO, NOTHING, LARGEST32 = np.float32(0), np.float32(np.nan), np.float32(LARGEST)


@dataclass(frozen=True, kw_only=True)
class Params:
    """There is nothing to choose."""


@dataclass(frozen=True)
class State:
    """How the variance of the error grows with D.

    Parameters
    ----------
    lines
        ``(band, 2, 2, knot)``, of `spread_of`: the first line of a band is for dates between
        observations, the second for those beyond.
    """

    lines: np.ndarray


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return how the variance of the error grows with D, from hidden observations."""
    samples, times = samples.images(times)
    widths = hidden_widths(times)
    return State(np.array([_lines(values, times, widths) for values in series(samples.cube)]))


def _lines(values: np.ndarray, times: np.ndarray, widths: list[float]) -> list[np.ndarray]:
    """Return a band's two lines; those beyond serve between, too, where nothing tells of these."""
    between, beyond = (
        spread_of(*np.array([_hide(values, times, width, held) for width in widths]).swapaxes(0, 1))
        for held in (False, True)
    )
    beyond = told(beyond, values)
    return [beyond if np.isnan(between).any() else between, beyond]


def _hide(
    values: np.ndarray, times: np.ndarray, width: float, held: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return D and error of each value, from those more than ``width`` days away on both sides.

    If ``held``, from those before it alone. NaN where there are none.
    """
    seen = np.isfinite(values)
    dates = np.arange(len(times))[:, None]
    last = np.maximum.accumulate(np.where(seen, dates, -1))
    following = np.minimum.accumulate(np.where(seen, dates, len(times))[::-1])[::-1]
    # One more date, that of no neighbour.
    padded = np.vstack([values, np.full_like(values[:1], np.nan)])
    clock = np.append(times, np.nan)
    last = np.vstack([last, np.full_like(last[:1], -1)])
    following = np.vstack([following, np.full_like(following[:1], len(times))])
    before = last[np.searchsorted(times, times - width, "left") - 1]
    after = following[np.searchsorted(times, times + width, "right")]
    since, until = times[:, None] - clock[before], clock[after] - times[:, None]
    left, right = (np.take_along_axis(padded, at, axis=0) for at in (before, after))
    share = np.zeros_like(since) if held else since / (since + until)
    distance = since if held else share * until
    return distance, (left if held else left + (right - left) * share) - values


def _numpy(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State | None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Pixel by pixel, as in the equations above."""
    cube = cube[:, :, *inner]
    estimate, spread = (np.full(cube.shape, np.nan, np.float32) for _ in range(2))
    for b, y, x in np.ndindex(*cube.shape[1:]):
        values = cube[:, b, y, x].astype(np.float64)
        seen = np.isfinite(values)
        if seen.any():
            observed = times[seen]
            estimate[:, b, y, x] = np.interp(times, observed, values[seen])
            if std:
                distance = _distance(times, observed)
                between, beyond = (variance(line, distance) for line in settled(state).lines[b])
                inside = (observed[0] <= times) & (times <= observed[-1])
                spread[:, b, y, x] = np.sqrt(np.where(inside, between, beyond))
    return estimate, spread if std else None, None


def _distance(times: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return D of each date, given those of the observations."""
    behind = np.searchsorted(observed, times, "right") - 1
    ahead = np.searchsorted(observed, times, "left")
    since = np.where(behind < 0, np.inf, times - observed[behind])
    until = np.where(ahead == observed.size, np.inf, observed[ahead % observed.size] - times)
    # a b / (a + b), which is the other one where one is infinite, and 0 at an observation.
    inverse = 1 / np.maximum(since, 1e-30) + 1 / np.maximum(until, 1e-30)
    return np.asarray(1 / inverse)


def _numba(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State | None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Sweep over the dates forth and back, for a block of pixels at once."""
    wanted = np.ascontiguousarray(cube[:, :, *inner])
    rows = wanted.reshape(*wanted.shape[:2], -1)
    estimate = np.empty_like(rows)
    fill(
        rows, estimate, np.arange(len(rows)), slice(0, rows.shape[2]), times=times, params=params
    )  # fmt: skip
    if not std:
        return estimate.reshape(wanted.shape), None, None
    spread = np.empty_like(rows)
    lines = settled(state).lines.astype(np.float32)
    since = np.empty((len(rows) + 2, BLOCK), np.float32)
    _deviate(rows, estimate, steps_of(times), lines, since, spread)
    return estimate.reshape(wanted.shape), spread.reshape(wanted.shape), None


def fill(
    cube: np.ndarray, out: np.ndarray, order: np.ndarray, pixels: slice, *, times: np.ndarray,
    params: Params,
) -> None:  # fmt: skip
    """Fill pixels straight into the result, as a record's ``direct`` says."""
    since = np.empty((len(cube), WIDE), np.float32)
    ahead = np.empty((2, WIDE), np.float32)
    _interpolate(cube, out, order, steps_of(times), pixels.start, pixels.stop, since, ahead)


@jit
def _interpolate(
    cube: np.ndarray, out: np.ndarray, order: np.ndarray, steps: np.ndarray, start: int, stop: int,
    since: np.ndarray, ahead: np.ndarray,
) -> None:  # fmt: skip
    """Write the estimate of the pixels from ``start`` to ``stop``, observed ones as they are.

    Until the way back ``out`` holds the last value at or before each date. Two dates a pass: what
    is carried from the one to the other stays in registers. ``since`` and ``ahead`` are room.
    """
    dates, bands = cube.shape[:2]
    odd = dates % 2
    value, until = ahead[0], ahead[1]
    for b in range(bands):
        for x in range(start, stop, WIDE):
            end = min(x + WIDE, stop)
            last, age = value, until
            if odd == 1:
                last, age = out[order[0], b, x:end], since[0]
            _begin(cube[order[0], b, x:end], last, age, odd)
            for t in range(odd, dates, 2):
                first, second = order[t], order[t + 1]
                held = out[second, b, x:end]
                _ahead(
                    cube[first, b, x:end], cube[second, b, x:end], last, age, steps[t],
                    steps[t + 1], out[first, b, x:end], held, since[t], since[t + 1],
                )  # fmt: skip
                last, age = held, since[t + 1]
            _turn(age, value, until, end - x)
            for t in range(dates - 1, odd, -2):
                _between(
                    out[order[t], b, x:end], out[order[t - 1], b, x:end], since[t], since[t - 1],
                    value, until, steps[t], steps[t - 1],
                )  # fmt: skip
            if odd == 1:
                _end(out[order[0], b, x:end], since[0], value)


@part
def _begin(row: np.ndarray, held: np.ndarray, since: np.ndarray, seen: int) -> None:
    """Write what is known at the first date if that is seen; else that nothing is."""
    for i in range(row.shape[0]):
        there = seen == 1 and abs(row[i]) < LARGEST32
        held[i] = row[i] if there else ZERO
        since[i] = ZERO if there else NEVER


@part
def _ahead(
    row: np.ndarray, next_row: np.ndarray, held: np.ndarray, since: np.ndarray, step: np.float32,
    next_step: np.float32, now: np.ndarray, then: np.ndarray, aged: np.ndarray,
    next_aged: np.ndarray,
) -> None:  # fmt: skip
    """Write the last value at or before each of two dates, and the days since."""
    for i in range(row.shape[0]):
        # All loads come first: one inside a condition is a branch, ten times as slow.
        new, other, last, age = row[i], next_row[i], held[i], since[i] + step
        seen = abs(new) < LARGEST32
        last = new if seen else last
        age = ZERO if seen else age
        now[i] = last
        aged[i] = age
        seen = abs(other) < LARGEST32
        then[i] = other if seen else last
        next_aged[i] = ZERO if seen else age + next_step


@part
def _turn(since: np.ndarray, value: np.ndarray, until: np.ndarray, size: int) -> None:
    """Write that there is no value ahead, NaN where there is none at all."""
    for i in range(size):
        value[i] = NOTHING if since[i] >= NEVER else ZERO
        until[i] = NOT_AHEAD


@part
def _between(
    later: np.ndarray, earlier: np.ndarray, later_since: np.ndarray, earlier_since: np.ndarray,
    value: np.ndarray, until: np.ndarray, later_step: np.float32, earlier_step: np.float32,
) -> None:  # fmt: skip
    """Write the estimates of two dates in place of the last values; the value ahead moves on."""
    for i in range(later.shape[0]):
        last, age, ahead, wait = later[i], later_since[i], value[i], until[i]
        before, elapsed = earlier[i], earlier_since[i]
        seen = age == ZERO
        ahead = last if seen else ahead
        wait = ZERO if seen else wait
        share = age / max(age + wait, INSTANT)
        estimate = last + (ahead - last) * share
        estimate = ahead if age >= NEVER else estimate
        later[i] = last if seen else estimate
        wait += later_step
        seen = elapsed == ZERO
        ahead = before if seen else ahead
        wait = ZERO if seen else wait
        share = elapsed / max(elapsed + wait, INSTANT)
        estimate = before + (ahead - before) * share
        estimate = ahead if elapsed >= NEVER else estimate
        earlier[i] = before if seen else estimate
        value[i] = ahead
        until[i] = wait + earlier_step


@part
def _end(first: np.ndarray, since: np.ndarray, value: np.ndarray) -> None:
    """Write the estimate of the first date, which nothing precedes."""
    for i in range(first.shape[0]):
        last, ahead = first[i], value[i]
        first[i] = last if since[i] == ZERO else ahead


@jit
def _deviate(
    cube: np.ndarray, estimate: np.ndarray, steps: np.ndarray, lines: np.ndarray,
    since: np.ndarray, spread: np.ndarray,
) -> None:  # fmt: skip
    """Write the standard deviation; ``since`` is room, of two rows more than there are dates."""
    dates, bands, pixels = cube.shape
    until = since[dates + 1]
    for b in range(bands):
        for x in range(0, pixels, BLOCK):
            end = min(x + BLOCK, pixels)
            for i in range(end - x):
                since[0, i] = NEVER
                until[i] = NOT_AHEAD
            for t in range(dates):
                row, age, aged = cube[t, b, x:end], since[t], since[t + 1]
                for i in range(end - x):
                    aged[i] = ZERO if row[i] == row[i] else age[i] + steps[t]
            for t in range(dates - 1, -1, -1):
                aged = since[t + 1]
                _distances(aged, until, steps[t], end - x)
                _error(aged, end - x, lines[b], estimate[t, b, x:end], spread[t, b, x:end])


@part
def _distances(since: np.ndarray, until: np.ndarray, step: np.float32, size: int) -> None:
    """Write D in place of ``since``, less than 0 beyond an end."""
    for i in range(size):
        age, wait = since[i], until[i]
        wait = ZERO if age == ZERO else wait
        share = age / max(age + wait, INSTANT)
        since[i] = -share * wait if age + wait >= NOT_AHEAD else share * wait
        until[i] = wait + step


@part
def _error(
    distance: np.ndarray, size: int, lines: np.ndarray, estimate: np.ndarray, spread: np.ndarray
) -> None:
    """Write the standard deviation of one date, NaN where there is no estimate."""
    nothing, zero = np.float32(np.nan), np.float32(0)
    for i in range(size):
        spread[i] = lines[1, 1, 0] if distance[i] < zero else lines[0, 1, 0]
    for k in range(1, lines.shape[2]):
        knot, slope, knot_beyond, slope_beyond = (
            lines[0, 0, k],
            lines[0, 1, k],
            lines[1, 0, k],
            lines[1, 1, k],
        )
        for i in range(size):
            beyond = distance[i] < zero
            from_knot = abs(distance[i]) - (knot_beyond if beyond else knot)
            spread[i] += (slope_beyond if beyond else slope) * max(from_knot, zero)
    for i in range(size):
        there = estimate[i] == estimate[i]
        spread[i] = np.sqrt(spread[i]) if there else nothing


def _cupy(
    cube: DeviceArray,
    guide: DeviceArray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State | None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[DeviceArray, DeviceArray | None, None]:
    """One thread a pixel and band; takes and returns arrays of the device."""
    lines = settled(state).lines if std else None
    return *interpolated_there(cube[:, :, *inner], times, lines), None


METHOD = Method(
    name="linear",
    task="gapfill",
    summary="Between the nearest dates before and after, in time; the ends hold.",
    params=Params,
    halo=lambda params, ratio: 0,
    kernels={"numba": _numba, "cupy": _cupy, "numpy": _numpy},
    direct=fill,
    settle=settle,
    state_for_std=True,
    std=True,
    fewest=2,
    reference="Horne et al. (2007), doi:10.1890/06-0957.1 (standard deviation)",
)
