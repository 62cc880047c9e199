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

import numpy as np

from xstf._method import GapfillSamples, Method
from xstf.numerics.gaps import (
    BLOCK,
    NOT_AHEAD,
    Sweep,
    hidden_widths,
    look_back,
    room,
    series,
    settled,
    spread_of,
    steps_of,
    told,
    unroll,
    variance,
)
from xstf.numerics.jit import jit

# Keeps 0 / 0 out of the weight of a value at its own date; shorter than any time between dates.
INSTANT = np.float32(1e-30)


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
    rows, corner, size = unroll(cube, inner)
    shape = (*cube.shape[:2], *size)
    wanted = (*cube.shape[:2], *(part.stop - part.start for part in inner))
    estimate = np.empty(shape, np.float32)
    spread = np.empty(shape if std else (0, 0, 0, 0), np.float32)
    lines = settled(state).lines.astype(np.float32) if std else np.empty((0, 2, 2, 0), np.float32)
    _interpolate(rows, corner, steps_of(times), lines, estimate, spread)
    return estimate.reshape(wanted), spread.reshape(wanted) if std else None, None


@jit
def _interpolate(
    cube: np.ndarray,
    corner: tuple[int, int],
    steps: np.ndarray,
    lines: np.ndarray,
    estimate: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Write the estimate, and the standard deviation if there is room for one."""
    dates, bands, height, width = estimate.shape
    sweep = room(dates)
    for b in range(bands):
        for y in range(height):
            for x in range(0, width, BLOCK):
                size = min(BLOCK, width - x)
                look_back(cube, (b, corner[0] + y, corner[1] + x), size, steps, sweep)
                for back in range(dates):
                    t = dates - 1 - back
                    _between(sweep, t, steps[t], size, estimate[t, b, y, x : x + size])
                if spread.size > 0:
                    for t in range(dates):
                        found = estimate[t, b, y, x : x + size]
                        _error(sweep.since[t], size, lines[b], found, spread[t, b, y, x : x + size])


@jit
def _between(sweep: Sweep, t: int, step: np.float32, size: int, estimate: np.ndarray) -> None:
    """Write the estimate of one date, and D in place of ``since``, less than 0 beyond an end.

    The value ahead moves on to the date before.
    """
    held, since, value, until = sweep.held[t], sweep.since[t], sweep.value, sweep.until
    zero = np.float32(0)
    for i in range(size):
        last, age, ahead, wait = held[i], since[i], value[i], until[i]
        seen = age == zero
        ahead = last if seen else ahead
        wait = zero if seen else wait
        share = age / max(age + wait, INSTANT)
        estimate[i] = last + (ahead - last) * share
        since[i] = -share * wait if age + wait >= NOT_AHEAD else share * wait
        value[i] = ahead
        until[i] = wait + step


@jit
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


METHOD = Method(
    name="linear",
    task="gapfill",
    summary="Between the nearest dates before and after, in time; the ends hold.",
    params=Params,
    halo=lambda params, ratio: 0,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=settle,
    state_for_std=True,
    std=True,
    fewest=2,
    reference="Horne et al. (2007), doi:10.1890/06-0957.1 (standard deviation)",
)
