"""What the known fine images tell of a series: each is left out, and predicted from the others.

All of it is judged on a few pixels of the scene, per band.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.fuse.series.pixels import Band, add
from xstf.numerics.normal import COVER, Z90

# What is taken where the scene gives no evidence: noise of a fine image in days of drift, and the
# ridge of the regression in mean variances of the coarse anomalies.
NOISE, RIDGE = 15.0, 1.0
# What else is tried; no regression is a ridge of infinity.
NOISES, RIDGES = (5.0, 45.0), (0.3, 3.0, np.inf)
# Dates with evidence that it takes to choose another than the usual one.
FEWEST_TO_CHOOSE = 4
# How much evidence the belief in the coarse change counts for, in dates: that of the scene's mean
# stands on one number a date, that of places on thousands.
PULL_MEAN, PULL_PLACE = 1.0, 0.1
# Fine dates from which on the scene's mean change is asked whether it is believed.
FEWEST_FOR_MEAN = 3
# The spread's calibration is drawn to 1 by the evidence of so many dates, at so many levels.
PULL_SPREAD, LEVELS = 1.0, 6


class Sampled(NamedTuple):
    """A band at some pixels.

    Parameters
    ----------
    fine, coarse
        ``(date, pixel)`` on the fine dates, NaN where missing.
    times
        Of the fine dates, in days.
    covariance
        ``(date, date)`` of coarse anomalies among the fine dates.
    coarse_drift
        Variance of a day's change of the coarse series.
    """

    fine: np.ndarray
    coarse: np.ndarray
    times: np.ndarray
    covariance: np.ndarray
    coarse_drift: float


class Settled(NamedTuple):
    """What is settled of a band.

    Parameters
    ----------
    noise, ridge, drift
        As `Band` has them.
    place, mean
        How far the coarse change is believed: where it differs from the scene's, and the scene's.
    levels, spread
        Values, ascending, and what standard deviations are multiplied by there.
    """

    noise: float
    ridge: float
    drift: float
    place: float
    mean: float
    levels: np.ndarray
    spread: np.ndarray


class LeftOut(NamedTuple):
    """Each fine image less what the others say of it, ``(date, pixel)``, NaN where unknown.

    Parameters
    ----------
    fine, coarse
        Of the fine images, and of the coarse ones by the same weights.
    std
        As the smoother has it.
    """

    fine: np.ndarray
    coarse: np.ndarray
    std: np.ndarray


def settle_band(band: Sampled) -> Settled:
    """Return what the known images tell of a band."""
    start = NOISE, RIDGE
    usual = leave_out(band, *start)
    best, found = start, usual
    enough = int((~np.isnan(usual.fine)).any(axis=1).sum()) >= FEWEST_TO_CHOOSE
    for noise in NOISES if enough else ():
        tried = leave_out(band, noise, start[1])
        if _is_better(tried, found, usual):
            best, found = (noise, start[1]), tried
    for ridge in RIDGES if enough else ():
        tried = leave_out(band, best[0], ridge)
        if _is_better(tried, found, usual):
            best, found = (best[0], ridge), tried
    place, mean = believed(found)
    drift = drift_of(band, best[0])
    ridge = ridge_of(band.covariance, best[1]) * place**2
    levels, spread = spread_of(band, found, (place, mean), drift)
    return Settled(best[0], ridge, drift, place, mean, levels, spread)


def ridge_of(covariance: np.ndarray, share: float) -> float:
    """Return the ridge in units of the covariance; 0 for none."""
    mean = float(np.trace(covariance)) / len(covariance)
    return mean * share if np.isfinite(share) else 0.0


def leave_out(band: Sampled, noise: float, ridge: float) -> LeftOut:
    """Return how each fine image differs from what the others say of it."""
    both = ~np.isnan(band.fine) & ~np.isnan(band.coarse)
    empty = np.full(band.fine.shape, np.nan)
    out = LeftOut(empty, empty.copy(), empty.copy())
    amount = ridge_of(band.covariance, ridge)
    for k in range(len(band.fine)):
        rest = both.copy()
        rest[k] = False
        if not both[k].any() or not rest.any():
            continue
        shared = Band(noise, amount, band.covariance, band.covariance[k : k + 1], 1.0)
        for values, left in ((band.fine, out.fine), (band.coarse, out.coarse)):
            known = np.where(rest, values, np.nan)[:, None]
            said, std = np.zeros((2, 1, 1, values.shape[1]))
            add(said, std, known, band.times, band.times[k : k + 1], shared)
            left[k] = np.where(both[k], values[k] - said[0, 0], np.nan)
        out.std[k] = std[0, 0]
    return out


def believed(left: LeftOut) -> tuple[float, float]:
    """Return how far the coarse change is believed, at places and of the scene: slopes from 0 to 1.

    Slopes of the fine images' changes on the coarse ones', drawn to 1 by the amount of evidence.
    """
    seen = ~np.isnan(left.fine)
    dates = seen.any(axis=1)
    if not dates.any():
        return 1.0, 1.0
    fine, coarse = left.fine[dates], left.coarse[dates]
    means = [np.nanmean(values, axis=1, keepdims=True) for values in (fine, coarse)]
    products = np.nanmean((fine - means[0]) * (coarse - means[1]), axis=1)
    squares = np.nanmean((coarse - means[1]) ** 2, axis=1)
    place = _slope(products, squares, PULL_PLACE)
    if dates.sum() < FEWEST_FOR_MEAN:
        return place, 1.0
    return place, _slope((means[0] * means[1])[:, 0], (means[1] ** 2)[:, 0], PULL_MEAN)


def _slope(products: np.ndarray, squares: np.ndarray, pull: float) -> float:
    prior = pull * squares.mean()
    total = squares.sum() + prior
    return float(np.clip((products.sum() + prior) / total, 0.0, 1.0)) if total > 0 else 1.0


def errors(left: LeftOut, place: float, mean: float) -> np.ndarray:
    """Return the errors ``(date, pixel)`` with the coarse change as far as it is believed."""
    seen = ~np.isnan(left.coarse)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    middle = np.where(seen, left.coarse, 0.0).sum(axis=1, keepdims=True) / count
    wrong: np.ndarray = left.fine - place * (left.coarse - middle) - mean * middle
    return wrong


def _is_better(tried: LeftOut, found: LeftOut, usual: LeftOut) -> bool:
    """Return whether a choice beats the usual one by more than chance, and the best so far."""
    scores = []
    for other in (usual, found):
        ratios = _log_errors(tried) - _log_errors(other)
        ratios = ratios[np.isfinite(ratios)]
        if len(ratios) < FEWEST_TO_CHOOSE:
            return False
        doubt = ratios.std(ddof=1) / len(ratios) ** 0.5 if other is usual else 0.0
        scores.append(ratios.mean() + doubt)
    return bool(max(scores) < 0)


def _log_errors(left: LeftOut) -> np.ndarray:
    """Return the logarithm of each date's mean squared error, NaN without one."""
    wrong = errors(left, *believed(left))
    seen = ~np.isnan(wrong)
    count = seen.sum(axis=1)
    squares = np.where(seen, wrong, 0.0) ** 2
    mean = squares.sum(axis=1) / np.maximum(count, 1)
    return np.log(np.where((count > 0) & (mean > 0), mean, np.nan))


def drift_of(band: Sampled, noise: float) -> float:
    """Return the variance of a day's drift of fine less coarse; with one fine image the coarse's.

    Neighbours in time differ by the drift between them and the noise of both.
    """
    difference = band.fine - band.coarse
    total, count = 0.0, 0
    for k, gap in enumerate(np.diff(band.times)):
        step = difference[k + 1] - difference[k]
        step = step[~np.isnan(step)]
        total += float((step**2).sum()) / (gap + 2.0 * noise)
        count += len(step)
    return total / count if count else band.coarse_drift


def spread_of(
    band: Sampled, left: LeftOut, belief: tuple[float, float], drift: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return levels of the estimate, and what makes 90 % of errors there lie within 1.645 std.

    The first and the last date are extrapolated when left out, and count only where there are not
    two others.
    """
    inner = slice(1, -1) if len(left.fine) >= FEWEST_TO_CHOOSE else slice(None)
    wrong = errors(left, *belief)[inner]
    std = left.std[inner] * drift**0.5
    seen = np.isfinite(wrong) & (std > 0)
    dates = int(seen.any(axis=1).sum())
    if not dates:
        return np.zeros(1), np.ones(1)
    scaled = np.abs(wrong[seen]) / std[seen]
    value = (band.fine[inner] - wrong)[seen]
    order = np.array_split(np.argsort(value, kind="stable"), min(LEVELS, len(value)))
    found = np.array([np.quantile(scaled[part], COVER) / Z90 for part in order])
    levels = np.array([np.median(value[part]) for part in order])
    return levels, (dates * found + PULL_SPREAD) / (dates + PULL_SPREAD)
