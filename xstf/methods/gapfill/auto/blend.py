"""Estimates of several methods into one, each pixel its own weights, one method at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.auto.skill import POWER
from xstf.numerics.jit import jit

# A constant pixel has no spread; what divides must not be 0.
TINY = np.float32(1e-30)


class Result(NamedTuple):
    """What a method makes of a tile: estimate, spread, and where the date's own pixels made it."""

    estimate: np.ndarray
    spread: np.ndarray
    in_space: np.ndarray | None


class Sums(NamedTuple):
    """What is added up, ``(time, band, y, x)`` float32."""

    least: np.ndarray  # the smallest scaled spread so far
    weight: np.ndarray
    total: np.ndarray  # of weight times estimate
    square: np.ndarray  # of weight times squared spread
    space: np.ndarray  # of the weights of estimates in space


class Blend:
    """A weighted mean that methods are added to.

    Weights are ``(scale * spread) ** -POWER``, relative to the largest so far.

    Parameters
    ----------
    shape : tuple
        ``(time, band, y, x)``.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        zeros = (np.zeros(shape, np.float32) for _ in Sums._fields[1:])
        self.sums = Sums(np.full(shape, np.inf, np.float32), *zeros)

    def add(self, result: Result, scale: np.ndarray) -> None:
        """Add a method's results, its spread taken `scale` ``(time,)`` times."""
        estimate, spread, in_space = result
        there = np.zeros(estimate.shape, bool) if in_space is None else in_space
        _add(estimate, spread, scale.astype(np.float32), there, self.sums)

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the mean, its deviation, and where most weight is of the date's own pixels."""
        sums = self.sums
        there = sums.weight > 0
        weight = np.where(there, sums.weight, np.float32(np.nan))
        mean, std = sums.total / weight, np.sqrt(sums.square / weight)
        return mean, std, there & (sums.space > np.float32(0.5) * sums.weight)


def blend_numpy(
    found: list[Result], scales: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `Blend` does of all methods' results and scales: its definition."""
    by_date = (slice(None), None, None, None)
    values = np.stack([estimate for estimate, _, _ in found])
    taken = [np.isfinite(c) for c in scales]
    finite = [np.where(has, c, 1) for has, c in zip(taken, scales, strict=True)]
    u = np.stack([std * c[by_date] for (_, std, _), c in zip(found, finite, strict=True)])
    u = np.maximum(u, TINY)
    u[~(np.isfinite(u) & np.isfinite(values))] = np.inf
    u[~np.broadcast_to(np.stack(taken)[(slice(None), *by_date)], u.shape)] = np.inf
    least = u.min(axis=0)
    there = np.isfinite(least)
    ratio = np.where(there, least, 1) / np.where(np.isfinite(u), u, np.inf)
    weights = ratio**POWER
    weights /= np.where(there, weights.sum(axis=0), np.nan)
    mean = (weights * np.nan_to_num(values)).sum(axis=0)
    square = (weights * np.where(np.isfinite(u), u, 0) ** 2).sum(axis=0)
    spaces = [np.zeros(there.shape, bool) if s is None else s for _, _, s in found]
    space = sum(w * s for w, s in zip(weights, spaces, strict=True))
    return mean.astype(np.float32), np.sqrt(square).astype(np.float32), there & (space > 0.5)


@jit
def _add(
    estimate: np.ndarray,
    spread: np.ndarray,
    scale: np.ndarray,
    in_space: np.ndarray,
    sums: Sums,
) -> None:
    """Add one method where it has an estimate; what was added before is scaled to the new least."""
    least, weight, total, square, space = sums
    dates, bands, height, width = estimate.shape
    for t in range(dates):
        if not scale[t] < np.inf:
            continue
        for b in range(bands):
            for y in range(height):
                for x in range(width):
                    value = estimate[t, b, y, x]
                    u = scale[t] * spread[t, b, y, x]
                    if not (value == value and u < np.inf):  # NaN fails both
                        continue
                    u = max(u, TINY)
                    best = least[t, b, y, x]
                    w = np.float32(1.0)
                    if u < best:
                        shrink = np.float32(0.0)
                        if best < np.inf:
                            shrink = (u / best) ** POWER
                        weight[t, b, y, x] *= shrink
                        total[t, b, y, x] *= shrink
                        square[t, b, y, x] *= shrink
                        space[t, b, y, x] *= shrink
                        least[t, b, y, x] = u
                    elif u > best:
                        w = (best / u) ** POWER
                    weight[t, b, y, x] += w
                    total[t, b, y, x] += w * value
                    square[t, b, y, x] += w * u * u
                    if in_space[t, b, y, x]:
                        space[t, b, y, x] += w
