"""The nearest observation in time, pixel by pixel; the earlier one where two are as near.

``z(t) = y_i`` with the least ``|t - t_i|``. Before the first observation that is the first one,
after the last one the last. There is no source: it is the baseline that every table should have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstf._method import Method
from xstf.cubes.limits import LARGEST
from xstf.numerics.gaps import BLOCK, Sweep, by_stretches, look_back, room, steps_of, unroll
from xstf.numerics.jit import jit, part


@dataclass(frozen=True, kw_only=True)
class Params:
    """There is nothing to choose."""


def _numpy(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, None, None]:
    """Pixel by pixel, as in the equation above."""
    cube = cube[:, :, *inner]
    estimate = np.full(cube.shape, np.nan, np.float32)
    for b, y, x in np.ndindex(*cube.shape[1:]):
        values = cube[:, b, y, x]
        seen = np.isfinite(values)
        if seen.any():
            # argmin takes the first, which is the earlier one.
            away = np.abs(times[:, None] - times[seen])
            estimate[:, b, y, x] = values[seen][away.argmin(axis=1)]
    return estimate, None, None


def _numba(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, None, None]:
    """Sweep over the dates forth and back, for a block of pixels at once."""
    rows, corner, size = unroll(cube, inner)
    estimate = np.empty((*cube.shape[:2], *size), np.float32)
    _choose(rows, corner, steps_of(times), room(len(cube)), estimate)
    wanted = (part.stop - part.start for part in inner)
    return estimate.reshape(*cube.shape[:2], *wanted), None, None


def fill(
    cube: np.ndarray, out: np.ndarray, order: np.ndarray, pixels: slice, *, times: np.ndarray,
    params: Params,
) -> None:  # fmt: skip
    """Fill pixels straight into the result, as a record's ``direct`` says."""
    steps, sweep = steps_of(times), room(len(cube))

    def estimate(stretch: np.ndarray) -> np.ndarray:
        found = np.empty_like(stretch)
        _choose(stretch, (0, 0), steps, sweep, found)
        return found

    by_stretches(cube, out, order, pixels, estimate, LARGEST)


@jit
def _choose(
    cube: np.ndarray, corner: tuple[int, int], steps: np.ndarray, sweep: Sweep,
    estimate: np.ndarray,
) -> None:  # fmt: skip
    """Write the estimate."""
    dates, bands, height, width = estimate.shape
    for b in range(bands):
        for y in range(height):
            for x in range(0, width, BLOCK):
                size = min(BLOCK, width - x)
                look_back(cube, (b, corner[0] + y, corner[1] + x), size, steps, sweep)
                for back in range(dates):
                    t = dates - 1 - back
                    _nearer(sweep, t, steps[t], size, estimate[t, b, y, x : x + size])


@part
def _nearer(sweep: Sweep, t: int, step: np.float32, size: int, estimate: np.ndarray) -> None:
    """Write one date; the value ahead moves on to the date before."""
    held, since, value, until = sweep.held[t], sweep.since[t], sweep.value, sweep.until
    zero = np.float32(0)
    for i in range(size):
        last, age, ahead, wait = held[i], since[i], value[i], until[i]
        estimate[i] = last if age <= wait else ahead
        # Of the two choices, neither may follow from the other: LLVM would make them branches.
        value[i] = last if age == zero else ahead
        until[i] = (zero if age == zero else wait) + step


METHOD = Method(
    name="nearest",
    task="gapfill",
    summary="The nearest observation in time, the earlier of two.",
    params=Params,
    halo=lambda params, ratio: 0,
    kernels={"numba": _numba, "numpy": _numpy},
    direct=fill,
    fewest=2,
    reference="none: a baseline",
)
