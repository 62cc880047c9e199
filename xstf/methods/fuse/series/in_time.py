"""Coarse images at any date: gaps are bridged, noise is smoothed, and what is between is linear.

The model is a local level: the value drifts, its variance growing by one unit a day, and each
image adds noise of ``noise`` units. Its smoother is a penalised least-squares fit::

    minimise sum_k (z_k - m_k)^2 / noise + sum_k (m_(k+1) - m_k)^2 / days_k

which is a tridiagonal system, and linear between dates. Without noise it is linear interpolation.
"""

from __future__ import annotations

import numpy as np

# Days: the least time between two dates, and the least noise, with which the smoother still goes
# through its data to a millionth.
LEAST_GAP, LEAST_NOISE = 1e-3, 1e-7
# With fewer images nothing is said of their noise.
FEWEST_FOR_NOISE = 8


def gaps_of(times: np.ndarray) -> np.ndarray:
    """Return the days from each date to the next, none of them 0."""
    return np.maximum(np.diff(np.asarray(times, np.float64)), LEAST_GAP)


def smooth_level(values: np.ndarray, times: np.ndarray, noise: float) -> np.ndarray:
    """Return the local level of series at their own dates, NaN for a series without any value.

    Parameters
    ----------
    values : ndarray (date, ...)
        NaN where missing.
    times : ndarray (date,)
        Days, ascending.
    noise : float
        Variance of an image's noise, over that of a day's drift: days.
    """
    seen = ~np.isnan(values)
    lost = ~seen.any(axis=0)
    weight = seen / max(noise, LEAST_NOISE)
    weight[0][lost] = 1.0
    link = 1.0 / gaps_of(times)
    count = len(values)
    level = np.where(seen, values, 0.0) * weight
    slope = np.empty(values.shape)
    for k in range(count):
        pivot = weight[k] + (link[k - 1] if k else 0.0) + (link[k] if k < count - 1 else 0.0)
        if k:
            pivot -= link[k - 1] * slope[k - 1]
            level[k] += link[k - 1] * level[k - 1]
        slope[k] = (link[k] if k < count - 1 else 0.0) / pivot
        level[k] /= pivot
    for k in range(count - 2, -1, -1):
        level[k] += slope[k] * level[k + 1]
    level[:, lost] = np.nan
    return np.asarray(level)


def place_between(times: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the date before each wanted one, and the share of the next; held beyond the ends."""
    if len(times) == 1:
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted))
    before = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(times) - 2)
    share = (wanted - times[before]) / gaps_of(times)[before]
    return before, np.clip(share, 0.0, 1.0)


def between(values: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return values ``(date, ...)`` at wanted days, linear in between."""
    before, share = place_between(times, wanted)
    after = np.minimum(before + 1, len(values) - 1)
    part = share.reshape(-1, *(1,) * (values.ndim - 1))
    mixed: np.ndarray = (1.0 - part) * values[before] + part * values[after]
    return mixed


def unreached(
    values: np.ndarray, times: np.ndarray, wanted: np.ndarray, reach: float
) -> np.ndarray:
    """Return where wanted days are farther than `reach` outside a series' own values."""
    seen = ~np.isnan(values)
    shape = (-1, *(1,) * (values.ndim - 1))
    days = np.asarray(times, np.float64).reshape(shape)
    first = np.where(seen, days, np.inf).min(axis=0)
    last = np.where(seen, days, -np.inf).max(axis=0)
    at = np.asarray(wanted, np.float64).reshape(shape)
    outside: np.ndarray = (at < first - reach) | (at > last + reach)
    return outside


def image_noise(values: np.ndarray, times: np.ndarray) -> float:
    """Return the noise of images in days of drift, as `smooth_level` takes it; 0 if none shows.

    Neighbours in time differ by drift and noise, next neighbours by twice the drift and the same
    noise. A season's even course grows faster than drift does, so that no noise is seen in it.

    Parameters
    ----------
    values : ndarray (date, pixel)
    times : ndarray (date,)
    """
    if len(values) < FEWEST_FOR_NOISE:
        return 0.0
    one, two = (_mean_square(values[k:] - values[:-k]) for k in (1, 2))
    gap_one, gap_two = (np.mean(times[k:] - times[:-k]) for k in (1, 2))
    drift = (two - one) / max(gap_two - gap_one, LEAST_GAP)
    noise = (one - drift * gap_one) / 2.0
    if not (np.isfinite(drift) and np.isfinite(noise)) or noise <= 0:
        return 0.0
    span = float(times[-1] - times[0])
    return float(min(noise / drift, span)) if drift > 0 else span


def _mean_square(difference: np.ndarray) -> float:
    seen = ~np.isnan(difference)
    return float((difference[seen] ** 2).mean()) if seen.any() else np.nan
