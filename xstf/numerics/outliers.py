"""Outliers among the pixels that are called clear: haze, cloud and shadow that a mask missed.

An observation is suspicious if it is far from what the pixel's other dates say of it, by the
seasonal predictor (`xstf.numerics.seasonal`): its score is the root mean square over the
bands of its leave-one-out residuals, each divided by its standard deviation, which is that of the
pixel and drawn to the scene's where the pixel has few dates. Three things then speak for it:

- It lasts. Mowing, harvest or a flood moves the following dates too, or the ones before: if, of the
  pixel's valid dates next to each other, three in a row with this one among them have moved by at
  least half as much in the same direction, it is a change and not an outlier. The direction is
  that of the vector of residuals over the bands.
- It is alone. Haze is wider than a pixel: where too few of the valid pixels around it are
  suspicious at half the threshold, it stays, unless its score is twice the threshold. Next to
  outliers, half the threshold is enough.
- It is one of many: at most a third of a pixel's dates are outliers, the worst ones.

The threshold of 4 is the usual one for robust scores; the rest is set by reasoning and was checked
on simulated haze, not fitted to data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.jit import jit, part
from xstf.numerics.seasonal import SceneSeason, seasonal

# Reach of the vote, in pixels: what a tile needs around itself.
SCREEN_HALO = 2
# Share of the valid pixels around that must be suspicious, at half the threshold, to agree; and
# share that must be so at the whole one to convict a pixel that is suspicious at half of it.
AGREE, CONVICT = 0.25, 0.5
# Dates in a row that make a change, and how large the others are relative to the one.
RUN, LIKE = 3, 0.5
# Most of a pixel's dates that can be outliers, and fewest dates that tell.
MOST, FEWEST = 1 / 3, 5


class Room(NamedTuple):
    """Room for the dates at which a pixel is seen, one after the other."""

    residual: np.ndarray  # (time, band)
    size: np.ndarray  # (time,): the sum of its squares
    when: np.ndarray  # (time,): the date's number


def find_outliers(
    cube: np.ndarray,
    times: np.ndarray,
    *,
    state: SceneSeason,
    certain: np.ndarray | None = None,
    threshold: float = 4.0,
    alone: bool = False,
) -> np.ndarray:
    """Return where observations are outliers in time, judged with the pixels around them.

    Parameters
    ----------
    cube : ndarray (time, band, y, x), float32
        NaN where missing.
    times : ndarray (time,)
        Days, ascending.
    state : SceneSeason
        From `xstf.numerics.seasonal.season_state`.
    certain : ndarray (time, y, x), bool, optional
        Observations that are never outliers.
    threshold : float
        In standard deviations.
    alone : bool
        Whether the pixels are no neighbours, but series without space: then none is asked about
        another.

    Returns
    -------
    ndarray (time, y, x), bool
        True at outliers. Within `SCREEN_HALO` pixels of a tile's edge it is not what it is in the
        whole.
    """
    _, without, spread = seasonal(cube, times, state=state)
    score = np.full((cube.shape[0], *cube.shape[2:]), np.nan, np.float32)
    lasting = np.zeros(score.shape, np.bool_)
    dates, bands = cube.shape[:2]
    room = Room(np.empty((dates, bands)), np.empty(dates), np.empty(dates, np.int64))
    _score(cube, without, spread, state.widen, room, score, lasting)
    # A comparison with NaN is False.
    weak, strong = score > threshold / 2, score > threshold
    outlier = strong
    if not alone:
        valid = _around(np.isfinite(score))
        alike = _around(weak) >= AGREE * valid
        sure = (_around(strong) >= CONVICT * valid) & (valid > 0)
        outlier = (strong & alike) | (score > 2 * threshold) | (weak & sure)
    outlier &= ~lasting
    if certain is not None:
        outlier &= ~certain
    _bound(score, outlier)
    return outlier


def _around(flags: np.ndarray) -> np.ndarray:
    """Return how many of the pixels around each one, without itself, have the flag."""
    total = flags.astype(np.int16)
    for axis in (1, 2):
        size = total.shape[axis]
        margins = [(0, 0)] * 3
        margins[axis] = (SCREEN_HALO, SCREEN_HALO)
        padded = np.moveaxis(np.pad(total, margins), axis, 0)
        shifted = sum(padded[k : k + size] for k in range(2 * SCREEN_HALO + 1))
        total = np.moveaxis(np.asarray(shifted), 0, axis)
    return np.asarray(total - flags)


@jit
def _score(
    cube: np.ndarray,
    without: np.ndarray,
    spread: np.ndarray,
    widen: float,
    room: Room,
    score: np.ndarray,
    lasting: np.ndarray,
) -> None:
    """Fill the score of each observation and whether what it shows lasts."""
    dates, bands, height, width = cube.shape
    residual, size, when = room
    for y in range(height):
        for x in range(width):
            n = 0
            for i in range(dates):
                total, number = 0.0, 0
                for b in range(bands):
                    scale = spread[i, b, y, x] / widen
                    residual[n, b] = 0
                    if np.isfinite(cube[i, b, y, x]):
                        if scale > 0:
                            residual[n, b] = (cube[i, b, y, x] - without[i, b, y, x]) / scale
                        total += residual[n, b] ** 2
                        number += 1
                if number > 0:
                    score[i, y, x] = np.sqrt(total / number)
                    size[n] = total
                    when[n] = i
                    n += 1
            for k in range(n):
                lasting[when[k], y, x] = _run(residual, size[:n], k) >= RUN


@jit
def _run(residual: np.ndarray, size: np.ndarray, k: int) -> int:
    """Return how many dates in a row, the k-th among them, have moved as it has; `RUN` suffice."""
    before = 0
    while before < RUN and k - before > 0 and _like(residual, size, k, k - before - 1):
        before += 1
    after = 0
    while after < RUN and k + after + 1 < size.size and _like(residual, size, k, k + after + 1):
        after += 1
    return 1 + before + after


@part
def _like(residual: np.ndarray, size: np.ndarray, k: int, j: int) -> bool:
    """Return whether the j-th date has moved as the k-th has."""
    # Written as two nested loops with a break in `_run`, reassoc with nsz was compiled wrongly
    # (LLVM of numba 0.68): test_compiled_and_interpreted_scores_agree.
    along = 0.0
    for b in range(residual.shape[1]):
        along += residual[j, b] * residual[k, b]
    return bool(along >= LIKE * size[k])


@jit
def _bound(score: np.ndarray, outlier: np.ndarray) -> None:
    """Keep the worst outliers of each pixel, as many as there can be."""
    dates, height, width = score.shape
    for y in range(height):
        for x in range(width):
            n = 0
            for i in range(dates):
                n += np.isfinite(score[i, y, x])
            most = int(n * MOST) if n >= FEWEST else 0
            found = 0
            for i in range(dates):
                found += outlier[i, y, x]
            while found > most:
                least = -1
                for i in range(dates):
                    if outlier[i, y, x] and (least < 0 or score[i, y, x] < score[least, y, x]):
                        least = i
                outlier[least, y, x] = False
                found -= 1
