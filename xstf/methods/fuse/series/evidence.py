"""What the known fine images tell of a series: each is left out, and predicted from the others.

All of it is judged on a few pixels of the scene, per band.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xstf.methods.fuse.series.pixels import Band, add
from xstf.numerics.normal import COVER, Z90

# What is taken where the scene gives no evidence: noise of a fine image in days of drift, and the
# ridge of the regression in mean variances of the coarse anomalies.
NOISE, RIDGE = 15.0, 1.0
# The least noise: with less the smoother goes through its data all the same.
LEAST = 0.01
# What else is tried, away from these and as long as it gets better; no regression is a ridge of
# infinity.
NOISES, RIDGES = ((5.0, 1.0, LEAST), (45.0,)), ((0.3,), (3.0, np.inf))
# Images that a left-out date is predicted from, at most: its neighbours in time.
AROUND = 24
# Dates with evidence that it takes to choose another than the usual one.
FEWEST_TO_CHOOSE = 4
# The belief in the coarse change is drawn to full or to none by the evidence of so many dates: no
# more than keeps it defined where nothing changes.
PULL = 0.1
# Fine dates from which on the scene's mean change is asked whether it is believed.
FEWEST_FOR_MEAN = 3
# Places tell nothing of the mean where they share so little of the coarse changes' squares.
ALIKE = 0.01
# The spread's calibration is drawn to 1 by the evidence of so many dates, at so many levels.
PULL_SPREAD, LEVELS = 1.0, 6
# So is the growth of errors' variance, by evidence of one factor e of the level's, and it is within
# these bounds: errors that do not grow at all, and those that grow with the square of a distance.
PULL_POWER, POWERS = 1.0, (0.0, 2.0)


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
    power, usual
        As `Band` has them.
    levels, spread
        Values, ascending, and what standard deviations are multiplied by there.
    """

    noise: float
    ridge: float
    drift: float
    place: float
    mean: float
    power: float
    usual: float
    levels: np.ndarray
    spread: np.ndarray


class LeftOut(NamedTuple):
    """Each fine image less what the others say of it, ``(date, pixel)``, NaN where unknown.

    Parameters
    ----------
    fine, coarse
        Of the fine images, and of the coarse ones by the same weights.
    std
        As `Band` has it.
    """

    fine: np.ndarray
    coarse: np.ndarray
    std: np.ndarray


def settle_band(band: Sampled) -> Settled:
    """Return what the known images tell of a band."""
    usual = leave_out(band, _rule(band, NOISE, RIDGE))
    noise, found = _search(
        NOISES, NOISE, usual, usual, lambda value: leave_out(band, _rule(band, value, RIDGE))
    )
    share, found = _search(
        RIDGES, RIDGE, found, usual, lambda value: leave_out(band, _rule(band, noise, value))
    )
    place, mean = believed(found)
    noise = max(noise * believed_share(found, place, mean), LEAST)
    rule = _rule(band, noise, share)
    found = leave_out(band, rule)
    power, middle = growth(found, leave_out(band, rule, apart=2), (place, mean), rule.drift)
    grown = leave_out(band, rule._replace(power=power, usual=middle))
    levels, spread = spread_of(band, grown, (place, mean))
    return Settled(
        noise, rule.ridge * place**2, rule.drift, place, mean, power, middle, levels, spread
    )  # fmt: skip


def _rule(band: Sampled, noise: float, share: float) -> Band:
    """Return how pixels are predicted with a noise and a share of the covariance as ridge."""
    mean = float(np.trace(band.covariance)) / len(band.covariance)
    ridge = mean * share if np.isfinite(share) else 0.0
    return Band(noise, ridge, band.covariance, band.covariance, drift_of(band, noise))


def _search(
    ways: tuple[tuple[float, ...], ...], start: float, found: LeftOut, usual: LeftOut,
    leave: Callable[[float], LeftOut],
) -> tuple[float, LeftOut]:  # fmt: skip
    """Return the value whose left-out errors are best, and those; the start without evidence."""
    best = start
    if int((~np.isnan(usual.fine)).any(axis=1).sum()) < FEWEST_TO_CHOOSE:
        return best, found
    for way in ways:
        for value in way:
            tried = leave(value)
            if not _is_better(tried, found, usual):
                break
            best, found = value, tried
    return best, found


def leave_out(band: Sampled, rule: Band, *, apart: int = 1) -> LeftOut:
    """Return how each fine image differs from what the others say of it.

    Parameters
    ----------
    band
        What is predicted.
    rule
        How, `wanted` aside.
    apart
        How many images from its own on are left out with it.
    """
    difference = band.fine - band.coarse
    both = ~np.isnan(difference)
    found = np.full((3, *difference.shape), np.nan)
    for k in range(len(difference)):
        rest = both.copy()
        rest[k : k + apart] = False
        # Of long series the images around: a date farther off adds little, and the cost of a
        # regression grows with the cube of its dates.
        first = max(0, min(k - AROUND // 2, len(both) - AROUND))
        rest[:first] = rest[first + AROUND :] = False
        if not both[k].any() or not rest.any():
            continue
        own = rule._replace(wanted=rule.own[k : k + 1])
        days = band.times, band.times[k : k + 1]
        said, blurred, spread = np.zeros((3, 1, 1, difference.shape[1]))
        add(said, spread, np.where(rest, difference, np.nan)[:, None], *days, own)
        found[0, k] = difference[k] - said[0, 0]
        add(blurred, None, np.where(rest, band.coarse, np.nan)[:, None], *days, own)
        found[1, k] = np.where(both[k], band.coarse[k] - blurred[0, 0], np.nan)
        found[2, k] = spread[0, 0]
    return LeftOut(found[0] + found[1], found[1], found[2])


def believed(left: LeftOut) -> tuple[float, float]:
    """Return how far the coarse change is believed, at places and of the scene: slopes from 0 to 1.

    Slopes of the fine images' changes on the coarse ones'.
    """
    seen = ~np.isnan(left.fine)
    dates = seen.any(axis=1)
    if not dates.any():
        return 1.0, 1.0
    fine, coarse = left.fine[dates], left.coarse[dates]
    means = [np.nanmean(values, axis=1, keepdims=True) for values in (fine, coarse)]
    products = np.nanmean((fine - means[0]) * (coarse - means[1]), axis=1)
    squares = np.nanmean((coarse - means[1]) ** 2, axis=1)
    place = _slope(products, squares, drawn_up=True)
    if dates.sum() < FEWEST_FOR_MEAN:
        return place, 1.0
    # Of images that tell nothing at places the mean may follow the season all the same, by chance.
    of_means = (means[0] * means[1])[:, 0], (means[1] ** 2)[:, 0]
    alike = squares.sum() < ALIKE * of_means[1].sum()
    return place, _slope(*of_means, drawn_up=bool(place > 0.5 or alike))


def believed_share(left: LeftOut, place: float, mean: float) -> float:
    """Return how much of the variance of the coarse changes is believed.

    The noise of a difference is mostly the coarse image's, and counts no more than that one does.
    """
    middle = _middle(left.coarse)
    at_place = float(np.nansum((left.coarse - middle) ** 2))
    of_scene = float(np.nansum(np.where(np.isnan(left.coarse), np.nan, middle) ** 2))
    total = at_place + of_scene
    return (place**2 * at_place + mean**2 * of_scene) / total if total > 0 else 1.0


def _middle(values: np.ndarray) -> np.ndarray:
    """Return the mean of each date ``(date, 1)``, 0 without a value."""
    seen = ~np.isnan(values)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    middle: np.ndarray = np.where(seen, values, 0.0).sum(axis=1, keepdims=True) / count
    return middle


def _slope(products: np.ndarray, squares: np.ndarray, *, drawn_up: bool) -> float:
    """Return a slope over dates, by its doubt nearer to full belief (if that is open) or to none.

    Above a half full belief errs less on the known changes than none does, below it more. The
    standard error is that over dates, as good as independent of each other.
    """
    total, prior = float(squares.sum()), PULL * float(squares.mean())
    if not total > 0:
        return 1.0
    slope = float(products.sum()) / total
    full = drawn_up and slope > 0.5
    doubt = float(((products - slope * squares) ** 2).sum()) ** 0.5 / total
    drawn = ((slope + (doubt if full else -doubt)) * total + prior * full) / (total + prior)
    return float(np.clip(drawn, 0.0, 1.0))


def errors(left: LeftOut, place: float, mean: float) -> np.ndarray:
    """Return the errors ``(date, pixel)`` with the coarse change as far as it is believed."""
    middle = _middle(left.coarse)
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


def growth(
    left: LeftOut, farther: LeftOut, belief: tuple[float, float], drift: float
) -> tuple[float, float]:
    """Return how the variance of errors grows with that of the level, and the usual one of that.

    A drift would make it grow alike (1); an even season makes it grow faster. Images left out alone
    are farther from the others than any date in between is, and with their neighbour farther still:
    the growth from one to the other tells what is to be expected nearer.
    """
    near, far = (errors(one, *belief)[1:-1] ** 2 for one in (left, farther))
    errors_grow = variance_grows = 0.0
    for one, two, std, far_std in zip(
        near, far, left.std[1:-1], farther.std[1:-1], strict=True
    ):  # fmt: skip
        both = np.isfinite(one) & np.isfinite(two) & (far_std > std)
        if both.any() and one[both].sum() > 0 and two[both].sum() > 0:
            errors_grow += np.log(two[both].mean() / one[both].mean())
            variance_grows += np.log((far_std[both] ** 2).mean() / (std[both] ** 2).mean())
    power = (errors_grow + PULL_POWER) / (variance_grows + PULL_POWER)
    seen = np.isfinite(left.std)
    middle = float(np.median(left.std[seen]) ** 2) / drift if seen.any() and drift > 0 else 0.0
    return float(np.clip(power, *POWERS)), middle or 1.0


def spread_of(
    band: Sampled, left: LeftOut, belief: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return levels of the estimate, and what makes 90 % of errors there lie within 1.645 std.

    The first and the last date are extrapolated when left out, and count only where there are not
    two others.
    """
    inner = slice(1, -1) if len(left.fine) >= FEWEST_TO_CHOOSE else slice(None)
    wrong = errors(left, *belief)[inner]
    std = left.std[inner]
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
