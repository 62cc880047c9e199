"""What a network that fills gaps starts from: a cheap method's answer, which it corrects."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from xstf._method import GapfillKernel, GapfillSamples
from xstf.methods.gapfill import eof, harmonic
from xstf.methods.gapfill.linear import INSTANT
from xstf.numerics.jit import jit

Prior = Literal["linear", "harmonic", "eof"]
PRIORS: tuple[Prior, ...] = get_args(Prior)
# What a prior was settled to; None for "linear", which needs nothing of the scene.
PriorState: TypeAlias = harmonic.State | eof.State | None
_METHODS = {"harmonic": harmonic.METHOD, "eof": eof.METHOD}
# Those whose state is of the scene's modes or season: what is hidden must be hidden from it, too,
# unless it is pooled over so much that next to nothing of a date is in it.
FROM_DATES: tuple[Prior, ...] = ("eof",)


def fewest(name: str) -> int:
    """Return how many dates a prior needs."""
    return _METHODS[name].fewest if name in _METHODS else 2


def settle_prior(name: str, cube: np.ndarray, times: np.ndarray) -> PriorState:
    """Return what a prior needs to know of the whole scene.

    Parameters
    ----------
    name
        One of `PRIORS`.
    cube
        Windows of the scene ``(window, time, band, y, x)``, NaN where missing.
    times
        Days.
    """
    samples = GapfillSamples(cube)
    if name == "harmonic":
        return harmonic.settle(samples, times=times, params=harmonic.Params())
    if name == "eof":
        return eof.settle(samples, times=times, params=eof.Params())
    return None


def prior_of(name: str, cube: np.ndarray, times: np.ndarray, state: PriorState) -> np.ndarray:
    """Return a prior, ``(time, band, y, x)``: NaN only where a pixel is never seen.

    It is given where something is seen, too. So the network can compare: what the prior misses
    where a date is clear tells what it misses beside it, under a cloud. ``"linear"`` is there from
    the dates around, a pixel that is seen once keeping its value; the others are their smooths.
    """
    if name not in _METHODS:
        prior = np.empty(cube.shape, np.float32)
        since = np.empty(cube.shape, np.float32)
        ahead = np.empty((2, *cube.shape[1:]), np.float32)
        _from_around(cube, times.astype(np.float32), prior, since, ahead)
        return prior
    record = _METHODS[name]
    whole = (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    kernel = cast(GapfillKernel[Any, Any], record.kernels["numba"])
    return kernel(
        cube, None, times=times, params=record.params(), state=state, inner=whole, std=False
    )[0]


@jit
def _from_around(
    cube: np.ndarray, times: np.ndarray, prior: np.ndarray, since: np.ndarray, ahead: np.ndarray
) -> None:
    """Write the prior; ``since`` is room for the dates of what was seen before.

    ``ahead`` is room for what was seen last, and when.
    """
    dates, bands, height, width = cube.shape
    nothing = np.float32(np.nan)
    value, when = ahead[0], ahead[1]
    for b, y in np.ndindex(bands, height):
        for x in range(width):
            value[b, y, x] = when[b, y, x] = nothing
    for t in range(dates):
        for b, y in np.ndindex(bands, height):
            for x in range(width):
                prior[t, b, y, x], since[t, b, y, x] = value[b, y, x], when[b, y, x]
                if not np.isnan(cube[t, b, y, x]):
                    value[b, y, x], when[b, y, x] = cube[t, b, y, x], times[t]
    for b, y in np.ndindex(bands, height):
        for x in range(width):
            value[b, y, x] = nothing
    for t in range(dates - 1, -1, -1):
        for b, y in np.ndindex(bands, height):
            for x in range(width):
                before, after, here = prior[t, b, y, x], value[b, y, x], cube[t, b, y, x]
                if np.isnan(before):
                    prior[t, b, y, x] = here if np.isnan(after) else after
                elif not np.isnan(after):
                    start = since[t, b, y, x]
                    length = max(when[b, y, x] - start, INSTANT)
                    prior[t, b, y, x] = before + (after - before) * ((times[t] - start) / length)
                if not np.isnan(here):
                    value[b, y, x], when[b, y, x] = here, times[t]
