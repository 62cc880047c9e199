"""The seasonal predictor that the temporal methods share.

Each pixel and band is a harmonic regression with a trend, a correlated residual, and noise,

    y(t) = sum_k (s_k + d_k) phi_k(t) + g(t) + e(t),
    phi = 1, cos and sin of 2 pi h t / 365.25 d (h = 1, 2, ...), t,

``s`` being the scene's coefficients, ``d`` the pixel's departure from them, normal with a
covariance that is learnt from the scene, ``g`` a Gaussian process with the Matern-3/2 covariance
``(1 + r) exp(-r)``, ``r = sqrt(3) |t - t'| / length``, and ``e`` noise whose variance is ``noise``
times that of ``g`` and grows as an observation is trusted less. All three are estimated together
(generalised least squares, also called universal kriging); the residual is a state-space model, so
that the cost is linear in the dates (Hartikainen & Sarkka 2010, doi:10.1109/MLSP.2010.5589113).

- Weights are Tukey's bisquare of the leave-one-out residuals, joint over the bands: an observation
  that is hazy in one band is hazy in all.
- What is pooled over the scene (`season_state`): ``s``, the covariance of ``d`` by expectation and
  maximisation, ``length`` and ``noise`` by the likelihood, the size of ``g`` by band. A pixel with
  few observations is so drawn to the scene's season, one with many goes its own way.
- The trend is held before the first and after the last observation of the pixel.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from xstf.numerics.normal import COVER, MAD, Z90
from xstf.numerics.seasonal_blocks import Fits, Predictions, Trust, fill_rows, study_pixels
from xstf.numerics.seasonal_loops import Model

YEAR = 365.25
HARMONICS = 3  # waves a year at most, where nothing else is asked for
# Whole years of dates may lack a few days: what a count of harmonics may miss to be whole.
SLACK = 0.05
# Where to start, and what few data are drawn to, by reasoning: crops and grass keep their departure
# from the mean year for about a month, and an observation's noise is less than that departure.
LENGTH, NOISE = 30.0, 0.3
LENGTHS = LENGTH * 2.0 ** np.arange(-2, 4)
NOISES = NOISE * 2.0 ** np.arange(-4, 4)
# Standard deviation of the logarithm of both: a factor of three either way is no surprise.
SURPRISE = np.log(3.0)
# Pixels that the scene's numbers are learnt from.
SAMPLE = 1024
# Variances of a pixel's departure, relative to that of its residual, until the scene says better:
# level, first harmonic (those after it fall with the square of their order), trend in a year.
# Larger ones (25, 10, 1) overshot in three-month gaps of a real monthly series. Falling with the
# fourth power instead, they took 3 % off the errors on lost dates of eight real and simulated
# cases, in the mean, and added 2 % on partly clear ones.
LEVEL, WAVE, TREND = 10.0, 1.0, 0.1
ROUNDS, PASSES = 12, 2
# Pixels and rounds where all but the scene's coefficients is known: these settle at once.
AGAIN_SAMPLE, AGAIN_ROUNDS = 512, 3
# How large the scene's season may be against its own residual: about as large, in variance.
SCALES = 10.0 ** np.arange(-2, 3)

SIDES: dict[str | None, float] = {None: 0.0, "low": -1.0, "high": 1.0, "both": 2.0}


@dataclass(frozen=True)
class SceneSeason:
    """What `seasonal` pools over the scene.

    Parameters
    ----------
    mean : ndarray (band, term)
        The scene's coefficients.
    sigma : ndarray (band,)
        Standard deviation of a pixel's residual; 0 for a band that is constant or never seen.
    covariance : ndarray (term, term)
        Of a pixel's departure from the mean, in units of ``sigma ** 2``.
    length : float
        Of the residual's correlation, in days.
    noise : float
        Variance of the noise, relative to that of the residual.
    signal : float
        1 with a correlated residual, 0 without.
    widen : float
        What makes the spread's 90 % interval hold 90 % of the sample.
    harmonics : int
        Waves a year at most.
    middle : float
        Day at which the trend is 0: the mean of the dates that all of this was learnt from.
    """

    mean: np.ndarray
    sigma: np.ndarray
    covariance: np.ndarray
    length: float
    noise: float
    signal: float
    widen: float
    harmonics: int
    middle: float


def season_terms(times: np.ndarray, harmonics: int) -> np.ndarray:
    """Return the terms of the regression (time, term), fewer if the dates carry no more.

    A series shorter than a year has as many harmonics as its share of the year; there are at most
    half as many terms as dates.
    """
    span = times[-1] - times[0]
    count = min(harmonics, int(harmonics * span / YEAR + SLACK), (len(times) // 2 - 2) // 2)
    return _terms(times, max(count, 0), times.mean() if len(times) >= 4 else None)


def terms_of(times: np.ndarray, state: SceneSeason) -> np.ndarray:
    """Return the terms (time, term) of a season that was learnt, at any dates."""
    count = state.mean.shape[1]  # the constant, two a wave, and with a trend one more
    return _terms(times, (count - 1) // 2, state.middle if count % 2 == 0 else None)


def _terms(times: np.ndarray, waves: int, middle: float | None) -> np.ndarray:
    terms = [np.ones(len(times))]
    for h in range(1, waves + 1):
        terms += [np.cos(2 * np.pi * h * times / YEAR), np.sin(2 * np.pi * h * times / YEAR)]
    if middle is not None:
        terms.append((times - middle) / YEAR)
    return np.stack(terms, axis=1)


def season_state(
    samples: np.ndarray, times: np.ndarray, *, harmonics: int = HARMONICS, residual: bool = True
) -> SceneSeason:
    """Learn what `seasonal` pools over the scene.

    Parameters
    ----------
    samples : ndarray (window, time, band, y, x)
        Windows of the scene, NaN where missing.
    times : ndarray (time,)
        Days, ascending.
    harmonics : int
        Waves a year at most.
    residual : bool
        Whether there is a correlated residual; without it this is a plain harmonic regression.

    Returns
    -------
    SceneSeason
    """
    terms = season_terms(times, harmonics)
    cube = _pixels(samples)
    state = _first_guess(cube, terms, harmonics, residual, float(times.mean()))
    if not np.isfinite(cube).any() or not (state.sigma > 0).any():
        return state
    found = _study(cube, times, state, passes=PASSES)
    for step in range(ROUNDS):
        if step == ROUNDS // 2 and residual:
            state = _best_kernel(cube, times, state, found)
        # The weights settle soon, the covariance late.
        found = _study(cube, times, state, PASSES if step % 4 == 0 else 0, found.trust)
        state = _scene_season(cube, times, _learn(state, found), found)
    found = _study(cube, times, state, passes=PASSES)
    score = np.abs(found.score[np.isfinite(found.score)])
    if score.size:
        widen = float(np.clip(np.quantile(score, COVER) / Z90, 0.5, 2))
        state = replace(state, widen=widen)
    return state


def season_again(state: SceneSeason, samples: np.ndarray, times: np.ndarray) -> SceneSeason:
    """Return a scene's season without what is missing of `samples` and was there for ``state``.

    The scene's coefficients are learnt anew; sizes, length, noise and how pixels differ are kept:
    next to nothing of one date is in them.

    Parameters
    ----------
    state : SceneSeason
        From `season_state`.
    samples, times
        As `season_state` takes them.
    """
    cube = _pixels(samples, AGAIN_SAMPLE)
    if not np.isfinite(cube).any() or not (state.sigma > 0).any():
        return state
    level = np.zeros_like(state.mean)
    for b in range(len(level)):
        seen = cube[:, b][np.isfinite(cube[:, b])]
        level[b, 0] = np.median(seen) if seen.size else state.mean[b, 0]
    state = replace(state, mean=level)
    found = _study(cube, times, state, passes=PASSES)
    for _ in range(AGAIN_ROUNDS):
        state = _scene_season(cube, times, state, found)
        found = _study(cube, times, state, 0, found.trust)
    return state


def _pixels(samples: np.ndarray, most: int = SAMPLE) -> np.ndarray:
    """Return an even sample of the pixels that have data, as one row (time, band, 1, x)."""
    dates, bands = samples.shape[1:3]
    flat = np.moveaxis(samples, 0, 2).reshape(dates, bands, -1)
    seen = np.flatnonzero(np.isfinite(flat).any(axis=(0, 1)))
    seen = seen[:: max(1, -(-len(seen) // most))]
    return np.ascontiguousarray(flat[:, :, None, seen], np.float32)


def _first_guess(
    cube: np.ndarray, terms: np.ndarray, harmonics: int, residual: bool, middle: float
) -> SceneSeason:
    """Return a state from medians: the level of each band, and the size of its changes."""
    bands, count = cube.shape[1], terms.shape[1]
    season, sigma = np.zeros((bands, count)), np.zeros(bands)
    for b in range(bands):
        series = cube[:, b, 0].T.astype(np.float64)
        seen = series[np.isfinite(series)]
        if seen.size:
            season[b, 0] = np.median(seen)
            # Successive valid values: order the valid ones first, in time, by a stable sort.
            order = np.argsort(~np.isfinite(series), axis=1, kind="stable")
            steps = np.diff(np.take_along_axis(series, order, axis=1), axis=1)
            steps = np.abs(steps[np.isfinite(steps)])
            sigma[b] = MAD * np.median(steps) if steps.size else 0
            if sigma[b] == 0:
                sigma[b] = steps.mean() if steps.size else 0
            if sigma[b] == 0:
                sigma[b] = seen.std()
    # Rounding is no spread: a band that is constant but for it is constant.
    sigma[sigma < 1e-6 * np.abs(season[:, 0])] = 0
    return SceneSeason(
        mean=season,
        sigma=sigma,
        covariance=_default_covariance(count),
        length=LENGTH,
        noise=NOISE if residual else 1.0,
        signal=float(residual),
        widen=1.0,
        harmonics=harmonics,
        middle=middle,
    )


def _default_covariance(count: int) -> np.ndarray:
    """Return the covariance of a pixel's departure where nothing is known of the scene."""
    variances = [LEVEL]
    for h in range(1, (count - 1) // 2 + 1):
        variances += [WAVE / h**2] * 2
    return np.diag([*variances, TREND][:count])


def _study(
    cube: np.ndarray, times: np.ndarray, state: SceneSeason, passes: int, start: Trust | None = None
) -> Fits:
    """Fit the sampled pixels, with the weights of an earlier fit to start from."""
    dates, bands, _, size = cube.shape
    count = state.mean.shape[1]
    if start is None:
        start = Trust(np.ones((dates, size)), np.ones(size))
    fits = Fits(
        beta=np.zeros((count, bands, size)),
        factor=np.zeros((count, count, bands, size)),
        likelihood=np.zeros((2, bands, size)),
        score=np.full((dates, bands, size), np.nan),
        number=np.isfinite(cube[:, :, 0]).sum(axis=0),
        trust=Trust(start.weights.copy(), start.pull.copy()),
    )
    study_pixels(cube, _model(times, state, 1.0), passes, SIDES["both"], fits)
    return fits


def _model(times: np.ndarray, state: SceneSeason, ridge: float) -> Model:
    """Return the model's numbers as the loops take them."""
    terms = terms_of(times, state)
    return Model(
        terms=terms,
        season=terms @ state.mean.T,
        sigma=np.where(state.sigma > 0, state.sigma, 1.0),
        moves=transitions(times, state.length),
        precision=np.linalg.inv(state.covariance) * ridge,
        signal=state.signal,
        noise=state.noise,
    )


def transitions(times: np.ndarray, length: float) -> np.ndarray:
    """Return the 2 x 2 matrices, flattened, that take the level and the scaled slope on."""
    r = np.sqrt(3) * np.diff(times)[:, None] / length
    return np.asarray(np.exp(-r) * np.concatenate([1 + r, r, -r, 1 - r], axis=1))


def _learn(state: SceneSeason, found: Fits) -> SceneSeason:
    """Return the state with the covariance and the sizes as the fits have them."""
    sigma = state.sigma.copy()
    count = state.mean.shape[1]
    total, mass = np.zeros((count, count)), 0.0
    for b in range(len(sigma)):
        seen = found.number[b] > 0
        if not seen.any() or sigma[b] == 0:
            continue
        beta = found.beta[:, b, seen]
        departure = (beta - beta.mean(axis=1, keepdims=True)) / sigma[b]
        lower = np.moveaxis(found.factor[:, :, b, seen], 2, 0)
        inverse = np.linalg.inv(np.tril(lower))
        spread = np.swapaxes(inverse, 1, 2) @ inverse
        total += departure @ departure.T
        total += np.einsum("n,nij->ij", found.trust.pull[seen], spread)
        mass += seen.sum()
        score = np.abs(found.score[:, b])
        sigma[b] *= max(MAD * np.nanmedian(score), 0.1)
    prior = count + 2
    total = (total + prior * _default_covariance(count)) / (mass + prior)
    return replace(state, sigma=sigma, covariance=total)


def _scene_season(
    cube: np.ndarray, times: np.ndarray, state: SceneSeason, found: Fits
) -> SceneSeason:
    """Return the state with the season of the pixels' mean series.

    That one series has a correlated residual of its own, common to all pixels: its coefficients are
    drawn to 0 by as much as is most likely, or a season of many terms would overshoot in a gap that
    all pixels share.
    """
    terms = terms_of(times, state)
    seen = np.isfinite(cube[:, :, 0])
    departure = found.beta - found.beta.mean(axis=2, keepdims=True)
    rest = np.where(seen, cube[:, :, 0] - np.einsum("tk,kbn->tbn", terms, departure), 0)
    mass = found.trust.weights[:, None] * seen
    number = mass.sum(axis=2)
    mean = np.divide(
        (mass * rest).sum(axis=2), number, out=np.full(number.shape, np.nan), where=number > 0
    )
    series = mean[:, :, None, None].astype(np.float32)
    start = Trust((number / (number + 1)).min(axis=1)[:, None], np.ones(1))
    best = -np.inf, state
    for scale in SCALES:
        guess = replace(state, covariance=scale * _default_covariance(terms.shape[1]))
        score, guess = _likelihood(series, times, guess, start, fixed=True)
        score -= 0.5 * np.log(scale) ** 2 / SURPRISE**2
        best = max(best, (score, guess), key=lambda pair: pair[0])
    fit = _study(series, times, best[1], 0, start)
    return replace(state, mean=state.mean + fit.beta[:, :, 0].T)


def _best_kernel(
    cube: np.ndarray, times: np.ndarray, state: SceneSeason, found: Fits
) -> SceneSeason:
    """Return the state with the most likely length and noise, by steps on a grid.

    Pixels share their weather and their haze: they count as so many series as would have means
    that vary as much from date to date as theirs do.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        means = np.nanmean(found.score, axis=2)
        alike = np.nanvar(means) / np.nanvar(found.score)
    number = 1 / np.clip(alike, 1 / cube.shape[3], 1)
    tried: dict[tuple[int, int], tuple[float, SceneSeason]] = {}

    def score(i: int, j: int) -> float:
        if (i, j) not in tried:
            guess = replace(state, length=float(LENGTHS[i]), noise=float(NOISES[j]))
            value, guess = _likelihood(cube, times, guess, found.trust)
            belief = np.log(LENGTHS[i] / LENGTH) ** 2 + np.log(NOISES[j] / NOISE) ** 2
            tried[i, j] = number * value - 0.5 * belief / SURPRISE**2, guess
        return tried[i, j][0]

    at = int(np.argmin(np.abs(LENGTHS - LENGTH))), int(np.argmin(np.abs(NOISES - NOISE)))
    while True:
        i, j = at
        steps = [(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
        steps = [s for s in steps if 0 <= s[0] < len(LENGTHS) and 0 <= s[1] < len(NOISES)]
        best = max(steps, key=lambda s: score(*s))
        if score(*best) <= score(*at):
            return tried[at][1]
        at = best


def _likelihood(
    cube: np.ndarray, times: np.ndarray, state: SceneSeason, start: Trust, fixed: bool = False
) -> tuple[float, SceneSeason]:
    """Return the mean log likelihood of a series with its best sizes, and the state with them.

    The covariance of the coefficients is kept as it is, or if ``fixed``, relative to the sizes.
    """
    weights, pull = start
    seen = np.isfinite(cube[:, :, 0])
    live = np.flatnonzero(state.sigma > 0)
    number = ((weights[:, None] > 0) & seen).sum(axis=(0, 2))[live]
    for step in range(2):
        found = _study(cube, times, state, 0, start)
        quad = (found.likelihood[1] / pull).sum(axis=1)[live]
        # In units of the band's sigma: 1 where that has the right size.
        size = np.maximum(quad / np.maximum(number, 1), 1e-12)
        if step == 0:
            sigma = state.sigma.copy()
            sigma[live] *= np.sqrt(size)
            pooled = 1.0 if fixed else np.exp(np.mean(np.log(size)))
            state = replace(state, sigma=sigma, covariance=state.covariance / pooled)
    present = found.number[live] > 0
    part = found.likelihood[0][live][present].sum() + quad.sum()
    part += (number * 2 * np.log(state.sigma[live])).sum()
    part += present.sum() * np.linalg.slogdet(state.covariance)[1]
    part -= len(state.covariance) * (np.log(pull) * present).sum()
    return float(-0.5 * part / max(present.sum(), 1)), state


def seasonal(
    cube: np.ndarray,
    times: np.ndarray,
    *,
    state: SceneSeason,
    passes: int = 3,
    reject: Literal["low", "high", "both"] | None = "both",
    ridge: float = 1.0,
) -> Predictions:
    """Predict every pixel, band and date, with and without the date's own observation.

    Parameters
    ----------
    cube : ndarray (time, band, y, x), float32
        NaN where missing.
    times : ndarray (time,)
        Days, ascending; those that `state` was learnt from and any others.
    state : SceneSeason
        From `season_state`.
    passes : int
        Rounds of reweighting.
    reject : {None, "low", "high", "both"}
        Which observations to trust less: none, those below the prediction, above it, either.
    ridge : float
        How strongly to draw a pixel to the scene's season; 1 is what the scene itself says.

    Returns
    -------
    smooth, without, spread : ndarray (time, band, y, x), float32
        The fit to all observations, the same without the date's own one, and the standard
        deviation of a new observation around the latter. NaN where a pixel has no observation.
    """
    out = Predictions(*(np.empty(cube.shape, np.float32) for _ in Predictions._fields))
    # Contiguous, or numba compiles the loops once more for the other layout: ten seconds.
    drift = np.ascontiguousarray(state.mean[:, -1])
    fill_rows(
        np.ascontiguousarray(cube, np.float32), _model(times, state, ridge), passes,
        SIDES[reject], state.widen * state.sigma, drift, out,
    )  # fmt: skip
    return out


def predicted(cube: np.ndarray, times: np.ndarray, state: SceneSeason) -> Predictions:
    """Return the predictions of `seasonal` by its defaults."""
    return seasonal(cube, times, state=state)
