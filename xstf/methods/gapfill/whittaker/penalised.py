"""Banded solves of ``(W + P) z = W y`` for a block of pixels at once, P with three bands below.

Arrays are ``(time + 6, BLOCK)`` float64, zero in the three rows at each end, so that the recursions
need no special case there. ``A = L D L'``: ``near`` and ``mid`` hold L's first and second band
below the diagonal, ``pivot`` is 1 / D; the third band is ``penalty[t, 3] * pivot[t - 3]``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.jit import part

# Rows of zeros before the first and after the last date: as many as there are bands.
PAD = 3
# Pixels in work at once: nine arrays of all dates stay in the second cache.
BLOCK = 64
# Pixels that are read and written at once, all dates and bands: long stretches of memory are
# quicker to get at.
STRETCH = 256
# Dates nearer to each other than this share of the mean step count as that far apart: adjoining
# granules of one overpass would otherwise have differences that leave double precision.
SHORTEST = 0.01
# Below any pivot that double precision could still tell from 0.
LEAST = 1e-30


class Work(NamedTuple):
    """The arrays of a block, ``(time + 2 PAD, BLOCK)`` float64."""

    value: np.ndarray  # the observations less the pixel's first one, 0 where there is none
    seen: np.ndarray  # 1 where there is one
    trust: np.ndarray  # how much it counts
    weight: np.ndarray  # W
    pivot: np.ndarray
    near: np.ndarray
    mid: np.ndarray
    fit: np.ndarray  # z
    inverse: np.ndarray  # the inverse of A: its diagonal
    beside: np.ndarray  # its first and second band
    beyond: np.ndarray


class Ends(NamedTuple):
    """What is one number for a pixel, ``(BLOCK,)`` float64."""

    first: np.ndarray  # the first and the last date that is observed, by number
    last: np.ndarray
    number: np.ndarray
    base: np.ndarray  # the first observation
    step: np.ndarray  # the mean time between observations
    head: np.ndarray  # z at the first and the last observation
    tail: np.ndarray


def workspace(dates: int) -> tuple[Work, Ends]:
    """Return the arrays for a block."""
    shape = (dates + 2 * PAD, BLOCK)
    work, ends = (
        Work(*(np.zeros(shape) for _ in Work._fields)),
        Ends(*(np.zeros(BLOCK) for _ in Ends._fields)),
    )
    ends.first.fill(np.inf)  # as nothing is seen
    ends.last.fill(-np.inf)
    return work, ends


def clock_of(times: np.ndarray) -> np.ndarray:
    """Return the dates in mean steps, none nearer to the one before than ``SHORTEST``."""
    steps = np.diff(times) / np.diff(times).mean() if len(times) > 1 else np.empty(0)
    return np.append(0, np.cumsum(np.maximum(steps, SHORTEST)))


def roughness(clock: np.ndarray, order: int) -> np.ndarray:
    """Return the matrix of ``int (d^order z / dt^order)^2 dt`` for values z at the dates, dense.

    It is made of divided differences: ``order!`` times one is the derivative, and it stands for an
    ``order``-th part of the time between its first and its last date.
    """
    dates = len(clock)
    total = np.zeros((dates, dates))
    for t in range(dates - order):
        there = clock[t : t + order + 1]
        gaps = there[:, None] - there + np.eye(order + 1)
        row = np.prod(np.arange(1, order + 1)) / gaps.prod(axis=1)
        total[t : t + order + 1, t : t + order + 1] += (
            np.outer(row, row) * (there[-1] - there[0]) / order
        )
    return total


def bands_of(matrix: np.ndarray) -> np.ndarray:
    """Return the diagonal and the three bands below it, ``(time, 4)``; 0 where there is none."""
    dates = len(matrix)
    bands = np.zeros((dates, PAD + 1))
    for k in range(min(PAD + 1, dates)):
        bands[k:, k] = np.diagonal(matrix, -k)
    return bands


@part
def factor(work: Work, penalty: np.ndarray) -> None:
    """Write L and 1 / D of the weights plus the penalty."""
    pivot, near, mid, weight = work.pivot, work.near, work.mid, work.weight
    for t in range(penalty.shape[0]):
        _factor_row(
            (penalty[t, 0], penalty[t, 1], penalty[t, 2], penalty[t, 3]),
            (pivot[t], pivot[t + 1], pivot[t + 2]),
            (near[t + 1], near[t + 2], mid[t + 2], weight[t + 3]),
            pivot[t + 3],
            near[t + 3],
            mid[t + 3],
        )


@part
def _factor_row(
    penalty: tuple[float, float, float, float],
    pivots: tuple[np.ndarray, np.ndarray, np.ndarray],
    others: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    pivot: np.ndarray,
    near: np.ndarray,
    mid: np.ndarray,
) -> None:
    """Write one date's row."""
    p0, p1, p2, p3 = penalty
    far, middle, last = pivots
    near_two, near_one, mid_one, weight = others
    for i in range(BLOCK):
        u2 = p2 - p3 * near_two[i]
        u1 = p1 - p3 * mid_one[i] - u2 * near_one[i]
        l2 = u2 * middle[i]
        l1 = u1 * last[i]
        mid[i] = l2
        near[i] = l1
        rest = weight[i] + p0 - p3 * p3 * far[i] - l2 * u2 - l1 * u1
        # The bound matters only to pixels without any observation; a check for 0 is a branch.
        pivot[i] = 1 / max(rest, LEAST)


@part
def solve(work: Work, penalty: np.ndarray) -> None:
    """Write z, by the factors."""
    value, weight, fit = work.value, work.weight, work.fit
    pivot, near, mid = work.pivot, work.near, work.mid
    dates = penalty.shape[0]
    for t in range(3, dates + 3):
        p3 = penalty[t - 3, 3]
        if p3 == 0:  # as always up to order 2: a third less to read
            for i in range(BLOCK):
                fit[t, i] = (
                    weight[t, i] * value[t, i]
                    - near[t, i] * fit[t - 1, i]
                    - mid[t, i] * fit[t - 2, i]
                )
            continue
        for i in range(BLOCK):
            fit[t, i] = (
                weight[t, i] * value[t, i]
                - near[t, i] * fit[t - 1, i]
                - mid[t, i] * fit[t - 2, i]
                - p3 * pivot[t - 3, i] * fit[t - 3, i]
            )
    for t in range(dates + 2, 2, -1):
        # The last three dates have none three dates on; its row of `fit` is 0 there.
        p3 = penalty[min(t, dates - 1), 3]
        for i in range(BLOCK):
            fit[t, i] = (
                pivot[t, i] * (fit[t, i] - p3 * fit[t + 3, i])
                - near[t + 1, i] * fit[t + 1, i]
                - mid[t + 2, i] * fit[t + 2, i]
            )


@part
def invert(work: Work, penalty: np.ndarray) -> None:
    """Write the diagonal of the inverse and two bands beside it, exactly, from the end back."""
    pivot, near, mid = work.pivot, work.near, work.mid
    inverse, beside, beyond = work.inverse, work.beside, work.beyond
    dates = penalty.shape[0]
    for t in range(dates + 2, 2, -1):
        p3 = penalty[min(t, dates - 1), 3]
        for i in range(BLOCK):
            a, b, c = near[t + 1, i], mid[t + 2, i], p3 * pivot[t, i]
            one = a * inverse[t + 1, i] + b * beside[t + 1, i] + c * beyond[t + 1, i]
            two = a * beside[t + 1, i] + b * inverse[t + 2, i] + c * beside[t + 2, i]
            three = a * beyond[t + 1, i] + b * beside[t + 2, i] + c * inverse[t + 3, i]
            inverse[t, i] = pivot[t, i] + a * one + b * two + c * three
            beside[t, i] = -one
            beyond[t, i] = -two


@part
def take(
    cube: np.ndarray, order: np.ndarray, start: int, size: int, largest: np.float32,
    stretch: np.ndarray,
) -> None:  # fmt: skip
    """Copy pixels, dates in order, NaN for all that is no measurement."""
    nothing = np.float32(np.nan)
    for t in range(stretch.shape[0]):
        for b in range(stretch.shape[1]):
            source, row = cube[order[t], b, start : start + size], stretch[t, b]
            for i in range(size):
                one = source[i]
                row[i] = one if abs(one) < largest else nothing


@part
def put(stretch: np.ndarray, order: np.ndarray, start: int, size: int, out: np.ndarray) -> None:
    """Copy pixels into the result, dates in its order."""
    for t in range(stretch.shape[0]):
        for b in range(stretch.shape[1]):
            source, row = stretch[t, b], out[order[t], b, start : start + size]
            for i in range(size):
                row[i] = source[i]


@part
def load(
    stretch: np.ndarray, band: int, x: int, size: int, clock: np.ndarray, work: Work, ends: Ends
) -> bool:
    """Take in a block; return whether other dates are observed than in the one before it."""
    value, seen = work.value, work.seen
    first, last, count, base = ends.first, ends.last, ends.number, ends.base
    changed: float = 0.0
    for i in range(size):
        count[i] = 0.0
    for t in range(stretch.shape[0]):
        row = stretch[t, band, x : x + size]
        there, values = seen[t + PAD], value[t + PAD]
        for i in range(size):
            new, old, before, least = float(row[i]), there[i], count[i], base[i]
            one = 1.0 if new == new else 0.0
            new = new if new == new else 0.0
            # Less the first one, a constant series is all zeros, free of rounding.
            least = least if before > 0 else new
            values[i] = (new - least) * one
            base[i] = least
            count[i] = before + one
            there[i] = one
            changed += float(abs(one - old))
    if changed == 0:
        return False
    for i in range(size):
        first[i] = np.inf
        last[i] = -np.inf
    for t in range(stretch.shape[0]):
        now, there = np.float64(t), seen[t + PAD]
        for i in range(size):
            one, begin, end = there[i], first[i], last[i]
            first[i] = min(begin, now) if one > 0 else begin
            last[i] = max(end, now) if one > 0 else end
    for i in range(size):
        ends.step[i] = 1.0
        if count[i] > 1:
            ends.step[i] = (clock[int(last[i])] - clock[int(first[i])]) / (count[i] - 1)
    return True


@part
def weigh(trust: np.ndarray, unit: float, work: Work, ends: Ends) -> None:
    """Write W: the share that each observation has, times its pixel's scale."""
    weight, step = work.weight, ends.step
    for t in range(PAD, trust.shape[0] - PAD):
        for i in range(BLOCK):
            weight[t, i] = trust[t, i] * (step[i] * unit)


@part
def store(
    work: Work, band: int, x: int, size: int, keep: bool, ends: Ends, stretch: np.ndarray
) -> None:
    """Write z, which holds beyond the first and the last observation, NaN where there is none.

    If ``keep``, only where nothing is observed.
    """
    first, last, head, tail, base = ends.first, ends.last, ends.head, ends.tail, ends.base
    for i in range(size):
        ever = ends.number[i] > 0
        head[i] = work.fit[int(first[i]) + PAD, i] if ever else np.nan
        tail[i] = work.fit[int(last[i]) + PAD, i] if ever else np.nan
    for t in range(stretch.shape[0]):
        fit, seen, row = work.fit[t + PAD], work.seen[t + PAD], stretch[t, band, x : x + size]
        now = np.float64(t)
        for i in range(size):
            one, here, there, old = fit[i], head[i], tail[i], row[i]
            one = here if now < first[i] else one
            one = base[i] + (there if now > last[i] else one)
            row[i] = old if keep and seen[i] > 0 else np.float32(one)


@part
def store_inverse(
    work: Work, band: int, x: int, size: int, unit: np.ndarray, ends: Ends, out: np.ndarray
) -> None:
    """Write v, the inverse's diagonal times the weight of one observation."""
    for t in range(out.shape[0]):
        inverse, row = work.inverse[t + PAD], out[t, band, x : x + size]
        for i in range(size):
            v = inverse[i] * ends.step[i] * unit[i]
            row[i] = v if ends.number[i] > 0 else np.nan
