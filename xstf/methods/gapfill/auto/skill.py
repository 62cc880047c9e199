"""The skill of each method on each date, from what it made of hidden pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from xstf.numerics.normal import COVER, Z90

# Lags at which it is measured how far pixels err together, in pixels; a correlation below the least
# is not told from none.
LAGS = (1, 2, 4, 8, 16)
LEAST_ALIKE = 0.1
# What all other dates together weigh in a date's scale, in such counts.
DRAWN = 10.0
# Hidden spans of dates that a method's own account of itself weighs as much as: there are few.
TRUST = 3.0
# One span, or one pixel, counts at most so many times the variance that the method gave it; more
# where most of its errors are larger than it says, as of a method that took copies for evidence.
MOST = 25.0
MEDIAN_SCORE = 0.455  # of the square of a standard normal number
# Classes of equal size of the days from lost cells to observations, and what a cell counts for at
# most that is of a class that trials have few of.
DISTANCES, HEAVIEST = 10, 10.0
# A method that would have less than this part of an equal share in a date is left out of it.
LEAST = 0.5
# Of the precision's square root: see `auto`.
POWER = 3
# Nobody is right to the last digit, even where the hidden pixels were constant.
LEAST_SCALE = 1e-3


@dataclass(frozen=True)
class Trial:
    """What methods made of hidden cells.

    Parameters
    ----------
    errors, spreads
        (method, cell): estimate minus truth, and the standard deviation that the method gave. NaN
        where it gave none.
    dates
        (cell,): the position of the cell's date.
    alike
        How many pixels around one err with it, itself among them: so many count as one.
    weights
        (cell,): what a cell counts for among those of its date; None for all the same.
    """

    errors: np.ndarray
    spreads: np.ndarray
    dates: np.ndarray
    alike: float = 1.0
    weights: np.ndarray | None = None


class Skill(NamedTuple):
    """How the methods are to be blended.

    Parameters
    ----------
    scales
        (method, time): what a method's spreads are to be multiplied by; infinite where it has no
        part.
    factor
        (time,): what the blend's spread is to be multiplied by.
    shares
        (method, time): the part of each method, by its median spread.
    """

    scales: np.ndarray
    factor: np.ndarray
    shares: np.ndarray


def join(trials: list[Trial], methods: int) -> Trial:
    """Return several trials as one."""
    if not trials:
        none = np.empty((methods, 0), np.float32)
        return Trial(none, none, np.empty(0, int))
    return Trial(
        np.concatenate([t.errors for t in trials], axis=1),
        np.concatenate([t.spreads for t in trials], axis=1),
        np.concatenate([t.dates for t in trials]),
    )


def matched(near: np.ndarray, real: np.ndarray) -> np.ndarray | None:
    """Return weights by which hidden cells are as far from observations as the lost ones are.

    To hide dates makes longer gaps than the scene has, since lost dates are beside them.

    Parameters
    ----------
    near : ndarray (cell,)
        Of hidden cells, of `days_to_nearest`.
    real : ndarray
        Of lost cells, of any shape.

    Returns
    -------
    ``(cell,)``, of mean 1, at most `HEAVIEST`; None where nothing is known of either.
    """
    real = real[np.isfinite(real)]
    weights = np.zeros(near.shape)
    for beyond in (False, True):
        own, cells = np.abs(real[(real < 0) == beyond]), (near < 0) == beyond
        cells &= np.isfinite(near)
        if not own.size or not cells.any():
            continue
        edges = np.unique(np.quantile(own, np.linspace(0, 1, DISTANCES + 1)))[1:-1]
        kind = np.searchsorted(edges, np.abs(near[cells]))
        wanted = np.bincount(np.searchsorted(edges, own), minlength=len(edges) + 1)
        there = np.bincount(kind, minlength=len(edges) + 1)
        weights[cells] = (wanted / np.maximum(there, 1))[kind]
    if not weights.any():
        return None
    weights = np.minimum(weights / weights.mean(), HEAVIEST)
    return np.asarray(weights / weights.mean())


def pixels_alike(errors: np.ndarray, spreads: np.ndarray, there: np.ndarray) -> float:
    """Return how many pixels err as one: the area over which squared errors are correlated.

    Parameters
    ----------
    errors, spreads : ndarray (method, cell)
    there : ndarray (window, time, band, y, x), bool
        Where the cells are.
    """
    counts = np.zeros((2, len(LAGS)))
    image = np.full(there.shape, np.nan, np.float32)
    for (score, good), _ in zip(_scores(Trial(errors, spreads, np.empty(0))), errors, strict=True):
        if not good.any():
            continue
        values = np.full(good.shape, np.nan, np.float32)
        values[good] = np.sqrt(score)
        image[there] = values
        counts += _correlated(_about_their_dates(image))
    area = 1.0
    for i, lag in enumerate(LAGS):
        share = counts[0, i] / counts[1, i] if counts[1, i] > 0 else 0.0
        if share < LEAST_ALIKE:
            break
        # The ring of distances that this lag is the nearest to, on a scale of ratios.
        area += float(np.pi * (2 * lag**2 - (lag**2 / 2 if i else 0.5)) * share)
    return area


def _about_their_dates(image: np.ndarray) -> np.ndarray:
    """Return values less the mean of their date and band, over all deviations' size, 0 for NaN."""
    seen = np.isfinite(image)
    count = np.maximum(seen.sum(axis=(0, 3, 4), keepdims=True), 1)
    mean = np.where(seen, image, 0).sum(axis=(0, 3, 4), keepdims=True) / count
    off = np.where(seen, image - mean, 0)
    size = np.sqrt((off**2).sum(dtype=np.float64) / max(seen.sum(), 1))
    return np.asarray(np.where(seen, off / max(size, 1e-30), np.nan))


def _correlated(values: np.ndarray) -> np.ndarray:
    """Return sums of products at each lag along y and x, and how many: ``(2, lag)``."""
    out = np.zeros((2, len(LAGS)))
    seen = np.isfinite(values)
    flat = np.where(seen, values, 0)
    for i, lag in enumerate(LAGS):
        for axis in (-2, -1):
            value, there = (np.moveaxis(a, axis, 0) for a in (flat, seen))
            out[0, i] += (value[lag:] * value[:-lag]).sum(dtype=np.float64)
            out[1, i] += (there[lag:] & there[:-lag]).sum()
    return out


def guarded(trial: Trial, guided: int, alone: int) -> tuple[Trial, bool]:
    """Return the trial without the worse of a method with its guide and without, and if it is used.

    The mean square of the errors decides, windows (dates, or spans of dates) weighed alike. Without
    evidence the guide is used.
    """
    errors = trial.errors.copy()
    spreads = np.stack([trial.spreads[guided], trial.spreads[alone]])
    both = np.isfinite(errors[[guided, alone]]).all(axis=0) & (spreads > 0).all(axis=0)
    used = True
    if both.any():
        # One cell counts for as much as the surer of the two would expect, at most.
        most = MOST * spreads[:, both].astype(np.float64).min(axis=0) ** 2
        squares = (errors[i, both].astype(np.float64) ** 2 for i in (guided, alone))
        means, weights = zip(
            *(_by_window(trial, both, np.minimum(s, most)) for s in squares), strict=True
        )
        used = bool(weights[0] @ means[0] <= weights[1] @ means[1])
    errors[alone if used else guided] = np.nan
    return replace(trial, errors=errors), used


def scales_by_date(trial: Trial, dates: int) -> np.ndarray:
    """Return by how much each method's spreads fall short of its errors, (method, time).

    The scale of a date is drawn to that of all dates, the more the fewer pixels were hidden on it.
    Methods that were not tried, of those that were, have an infinite one.
    """
    out = np.ones((len(trial.errors), dates))
    if np.isfinite(trial.errors).any():
        out[~np.isfinite(trial.errors).any(axis=1)] = np.inf
    for m, (score, good) in enumerate(_scores(trial)):
        if good.any():
            total = np.bincount(trial.dates[good], score, dates) / trial.alike
            count = np.bincount(trial.dates[good], minlength=dates) / trial.alike
            out[m] = np.sqrt((DRAWN * score.mean() + total) / (DRAWN + count))
    return np.maximum(out, LEAST_SCALE)


def scales_of_spans(trial: Trial) -> np.ndarray:
    """Return the same of whole hidden spans of dates, (method, 1), infinite for untried methods.

    A scaled spread is, in the middle, the root mean square error. A span is one observation, since
    its pixels err together; a method's own account of its errors weighs as much as `TRUST` of them.
    """
    out = np.full((len(trial.errors), 1), np.inf)
    for m, (error, spread) in enumerate(zip(trial.errors, trial.spreads, strict=True)):
        good = np.isfinite(error) & np.isfinite(spread) & (spread > 0)
        if not good.any():
            continue
        own = spread[good].astype(np.float64) ** 2
        square = np.minimum(error[good].astype(np.float64) ** 2, MOST * own)
        found, weight = _by_window(trial, good, square)
        expected, _ = _by_window(trial, good, own)
        total = TRUST * expected.mean() + weight @ found
        out[m] = np.sqrt(total / (TRUST + weight.sum())) / _typical(spread)
    return np.asarray(np.maximum(out, LEAST_SCALE))


def _by_window(trial: Trial, good: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of good cells' values by date or span, and what these count for: 1 at most.

    One whose cells are of little weight, or fewer than err together, is less than one.
    """
    _, window, cells = np.unique(trial.dates[good], return_inverse=True, return_counts=True)
    own = np.ones(len(window)) if trial.weights is None else trial.weights[good]
    total = np.bincount(window, own)
    mean = np.bincount(window, own * values) / np.maximum(total, 1e-30)
    size = np.minimum(cells / trial.alike, 1) * total / cells
    return mean, np.asarray(size / max(size.max(), 1.0))


def _scores(trial: Trial) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return by method the squares of error / spread, and of which cells."""
    found = []
    for error, spread in zip(trial.errors, trial.spreads, strict=True):
        good = np.isfinite(error) & np.isfinite(spread) & (spread > 0)
        score = (error[good].astype(np.float64) / spread[good]) ** 2
        usual = max(1.0, np.median(score) / MEDIAN_SCORE) if score.size else 1.0
        found.append((np.minimum(score, MOST * usual), good))
    return found


def mix(trial: Trial, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors and spreads of the blend at the hidden cells, (cell,)."""
    u = np.maximum(trial.spreads.astype(np.float64), 1e-30) * scales
    u[~(np.isfinite(trial.errors) & np.isfinite(u))] = np.inf
    best = u.min(axis=0)
    there = np.isfinite(best)
    weights = np.zeros_like(u)
    weights[:, there] = (best[there] / u[:, there]) ** POWER
    weights /= np.where(there, weights.sum(axis=0), 1)
    error = (weights * np.nan_to_num(trial.errors)).sum(axis=0)
    square = (weights * np.where(np.isfinite(u), u, 0) ** 2).sum(axis=0)
    return np.where(there, error, np.nan), np.sqrt(np.where(there, square, np.nan))


def factor_of(trial: Trial, scales: np.ndarray) -> float:
    """Return the factor that makes the blend's 90 % interval hold 90 % of the hidden cells.

    As few windows leave it unsure, it is widened by ``(1 + 2 / number) ** (1 / 2)``.
    """
    factor, sizes = width_of(trial, *mix(trial, scales))
    return float(factor * np.sqrt(1 + 2 / max(sizes.sum(), 1.0))) if sizes.size else 1.0


def width_of(trial: Trial, error: np.ndarray, spread: np.ndarray) -> tuple[float, np.ndarray]:
    """Return what makes 90 % intervals hold 90 % of hidden cells, and what windows count for.

    Dates, or spans of dates, are weighed alike, whatever number of cells they have. Without any
    cell it is 1, and there are no windows.

    Parameters
    ----------
    trial : Trial
        Whose dates, weights and pixels that err as one are looked at.
    error, spread : ndarray (cell,)
        Estimate minus truth, and the standard deviation.
    """
    good = np.isfinite(error) & (spread > 0)
    if not good.any():
        return 1.0, np.zeros(0)
    _, window = np.unique(trial.dates[good], return_inverse=True)
    own = np.ones(len(window)) if trial.weights is None else trial.weights[good]
    _, size = _by_window(trial, good, own)
    weight = own * (size / np.maximum(np.bincount(window, own), 1e-30))[window]
    ratio = np.abs(error[good]) / spread[good]
    order = np.argsort(ratio, kind="stable")
    total = np.cumsum(weight[order])
    at = min(int(np.searchsorted(total, COVER * total[-1])), len(order) - 1)
    return float(ratio[order][at] / Z90), size


def drawn_together(trial: Trial, scales: np.ndarray) -> np.ndarray:
    """Return what the methods' scales are to be multiplied by, (method,), for what is not known.

    Methods are told apart by their errors, which scatter from window to window (a date, or a span
    of dates): of the difference that their mean errors have, the part that such scatter makes by
    itself is no evidence (James & Stein 1961). So the logarithms of their usual spreads are drawn
    to their mean by that share, and so their weights to equal ones.
    """
    found = np.isfinite(trial.errors).any(axis=1) & np.isfinite(scales).any(axis=1)
    out = np.ones(len(scales))
    if found.sum() < 2:
        return out
    logs, size = _log_errors(trial, scales, found)
    usual = np.log([_usual(trial, scales, int(m)) for m in np.flatnonzero(found)])
    share, number = 0.0, size.sum() ** 2 / max((size**2).sum(), 1e-30)
    if number > 1.5:
        mean = logs @ size / size.sum()
        scatter = ((logs - mean[:, None]) ** 2 @ size).sum() / size.sum() / (number - 1)
        # James & Stein's share of the scatter; two methods have theirs by half.
        part = max(len(mean) - 2, 1) / len(mean)
        share = max(0.0, 1 - part * scatter / max((mean**2).sum(), 1e-30))
    out[found] = np.exp((share - 1) * (usual - usual.mean()))
    return out


def _log_errors(
    trial: Trial, scales: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return logarithms of root mean square errors, about the methods' mean, (method, window).

    With what each window counts for. Errors count in units of what the methods expect at their
    cell, each at most `MOST` in variance.
    """
    errors, spreads = trial.errors[found].astype(np.float64), trial.spreads[found]
    u = spreads * (scales if scales.shape[1] == 1 else scales[:, trial.dates])[found]
    good = np.isfinite(errors).all(axis=0) & np.isfinite(u).all(axis=0) & (u > 0).all(axis=0)
    if not good.any():
        return np.zeros((int(found.sum()), 0)), np.zeros(0)
    unit = np.exp(np.log(u[:, good]).mean(axis=0))
    score = np.minimum((errors[:, good] / unit) ** 2, MOST)
    means, sizes = zip(*(_by_window(trial, good, row) for row in score), strict=True)
    logs = 0.5 * np.log(np.maximum(np.stack(means), 1e-12))
    return np.asarray(logs - logs.mean(axis=0)), sizes[0]


def _usual(trial: Trial, scales: np.ndarray, method: int) -> float:
    """Return a method's usual spread, scaled."""
    scale = scales[method]
    return float(_typical(trial.spreads[method]) * np.sqrt(np.mean(scale[np.isfinite(scale)] ** 2)))


def skill_by_date(partly: Trial, whole: Trial, clear: np.ndarray) -> Skill:
    """Return the skill of the methods on every date.

    Parameters
    ----------
    partly : Trial
        Of gaps on dates of which something is clear.
    whole : Trial
        Of hidden spans of whole dates, in the place of ``dates``.
    clear : ndarray (time,), bool
        Whether anything of a date is clear.
    """
    scales, shares = _without_the_least(partly, scales_by_date(partly, len(clear)))
    factor = np.full(len(clear), factor_of(partly, scales[:, partly.dates]))
    if np.isfinite(whole.errors).any():
        lost = scales_of_spans(whole)
        lost = lost * drawn_together(whole, lost)[:, None]
        lost, lost_shares = _without_the_least(whole, lost)
        scales = np.where(clear, scales, lost)
        shares = np.where(clear, shares, lost_shares)
        factor = np.where(clear, factor, factor_of(whole, lost))
    return Skill(scales, factor, shares)


def _without_the_least(trial: Trial, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scales, infinite for methods that would count for little, and what is left of each."""
    shares = _shares(trial, scales)
    scales = np.where(shares < LEAST / len(scales), np.inf, scales)
    return scales, _shares(trial, scales)


def _shares(trial: Trial, scales: np.ndarray) -> np.ndarray:
    """Return the part that each method would have in each date, (method, time).

    By the method's median spread: on a date where no pixel was hidden there is no other.
    """
    typical = np.array([_typical(spread) for spread in trial.spreads])
    u = scales * typical[:, None]
    there = np.isfinite(u)
    weights = np.where(there, np.where(there, u, 1) / typical.min(), 0)
    weights[there] **= -POWER
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-30))


def _typical(spread: np.ndarray) -> float:
    given = spread[np.isfinite(spread) & (spread > 0)]
    return float(np.median(given)) if given.size else 1.0
