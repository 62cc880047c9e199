"""The skill of each method on each date, from what it made of hidden pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xstf.numerics.normal import COVER, Z90

# Neighbouring pixels err as one: so many count as one.
BLOB = 25.0
# What all other dates together weigh in a date's scale, in such counts.
DRAWN = 10.0
# Hidden spans of dates that a method's own account of itself weighs as much as: there are few.
TRUST = 3.0
# One span, or one pixel, counts at most so many times the variance that the method gave it; more
# where most of its errors are larger than it says, as of a method that took copies for evidence.
MOST = 25.0
MEDIAN_SCORE = 0.455  # of the square of a standard normal number
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
    """

    errors: np.ndarray
    spreads: np.ndarray
    dates: np.ndarray


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


def scales_by_date(trial: Trial, dates: int) -> np.ndarray:
    """Return by how much each method's spreads fall short of its errors, (method, time).

    The scale of a date is drawn to that of all dates, the more the fewer pixels were hidden on it.
    """
    out = np.ones((len(trial.errors), dates))
    for m, (score, good) in enumerate(_scores(trial)):
        if good.any():
            total = np.bincount(trial.dates[good], score, dates) / BLOB
            count = np.bincount(trial.dates[good], minlength=dates) / BLOB
            out[m] = np.sqrt((DRAWN * score.mean() + total) / (DRAWN + count))
    return np.maximum(out, LEAST_SCALE)


def scales_of_spans(trial: Trial) -> np.ndarray:
    """Return the same of whole hidden spans of dates, (method, 1), infinite for untried methods.

    A span is one observation, since its pixels err together; a method's own account of its
    errors, the scale 1, weighs as much as `TRUST` of them.
    """
    out = np.full((len(trial.errors), 1), np.inf)
    for m, (score, good) in enumerate(_scores(trial)):
        if np.isfinite(trial.errors[m]).any():
            out[m] = 1
        if good.any():
            _, span = np.unique(trial.dates[good], return_inverse=True)
            mean = np.minimum(np.bincount(span, score) / np.bincount(span), MOST)
            out[m] = np.sqrt((TRUST + mean.sum()) / (TRUST + len(mean)))
    return out


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
    """Return the factor that makes the blend's 90 % interval hold 90 % of the hidden cells."""
    error, spread = mix(trial, scales)
    good = np.isfinite(error) & (spread > 0)
    if not good.any():
        return 1.0
    return float(np.quantile(np.abs(error[good]) / spread[good], COVER) / Z90)


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
        lost, lost_shares = _without_the_least(whole, scales_of_spans(whole))
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
