"""What the rows of other dates say of a row: kriging in time, for ``eof``.

The expectation is universal kriging in time, band by band: a constant and, where the dates span a
year without half a year missing, the annual wave; the variogram of the rest is ``nugget + slope *
lag``, as the rows of the seen dates have it.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.seasonal import YEAR

# The mean annual cycle's variogram is monotone, and near to straight, up to a quarter of a year.
LONGEST_LAG = YEAR / 4
# Constant, sine and cosine: they need twice as many dates.
ANNUAL_TERMS = 3
# Of a value's variance, at least: noise that is 1e-3 of the spread keeps the solves well posed.
LEAST_NOISE = 1e-6


def variogram(rows: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Return nugget and slope of half the squared differences of rows, over short lags."""
    first, second = np.triu_indices(len(times), 1)
    lags = times[second] - times[first]
    near = lags <= max(LONGEST_LAG, lags.min())
    first, second, lags = first[near], second[near], lags[near]
    half = np.sum((rows[first] - rows[second]) ** 2, axis=1) / 2
    weight = 1 / lags  # there are more long lags, and it is the short ones that fill gaps
    lag, level = np.average(lags, weights=weight), np.average(half, weights=weight)
    spread = np.sum(weight * (lags - lag) ** 2)
    slope = np.sum(weight * (lags - lag) * (half - level)) / spread if spread > 0 else 0.0
    slope = min(max(slope, 0.0), level / lag)
    return float(level - slope * lag), float(slope)


def krige(
    times: np.ndarray, seen: np.ndarray, nugget: float, slope: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of all seen dates but the date itself, and the error variance."""
    dates, size = len(seen), int(seen.sum())
    total = nugget + slope * LONGEST_LAG
    lags = np.abs(times[:, None] - times)
    gamma = (nugget + slope * lags) / total if total > 0 else np.ones(lags.shape)
    np.fill_diagonal(gamma, 0)
    drift = _drift(times, seen)
    system = np.zeros((size + drift.shape[1],) * 2)
    system[:size, :size] = -gamma[np.ix_(seen, seen)]
    system[:size, size:] = drift[seen]
    system[size:, :size] = drift[seen].T
    inverse = np.linalg.inv(system)
    weights, error = np.zeros((dates, dates)), np.zeros(dates)
    # A seen date's leave-one-out weights and error are in the inverse already
    own = np.diag(inverse)[:size]
    weights[np.ix_(seen, seen)] = np.eye(size) - inverse[:size, :size] / own[:, None]
    error[seen] = 1 / own
    right = np.vstack([-gamma[np.ix_(seen, ~seen)], drift[~seen].T])
    solution = inverse @ right
    weights[np.ix_(~seen, seen)] = solution[:size].T
    error[~seen] = -np.sum(solution * right, axis=0)
    return weights, np.maximum(error, LEAST_NOISE) * max(total, LEAST_NOISE)


def _drift(times: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return what kriging keeps in full: a constant, and the annual wave if the dates tell it."""
    constant = np.ones((len(times), 1))
    phase = np.sort(times[seen] % YEAR)
    gap = np.diff(phase, append=phase[0] + YEAR).max()
    days = times[seen]
    if days[-1] - days[0] < YEAR or gap > YEAR / 2 or len(days) < 2 * ANNUAL_TERMS:
        return constant
    angle = 2 * np.pi * times[:, None] / YEAR
    return np.hstack([constant, np.cos(angle), np.sin(angle)])
