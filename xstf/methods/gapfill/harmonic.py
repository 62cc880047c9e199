"""Robust harmonic regression with a trend and a kriged residual.

Verhoef, W. (1996). Application of harmonic analysis of NDVI time series (HANTS). In Fourier
analysis of temporal NDVI in the Southern African and American continents, 19-24; in the formulation
of Zhou, J., Jia, L. & Menenti, M. (2015). Reconstruction of global MODIS NDVI time series:
performance of Harmonic ANalysis of Time Series (HANTS). Remote Sensing of Environment 163,
217-228. doi:10.1016/j.rse.2015.03.018

For each pixel and band, with ``P`` = 365.25 d,

    y(t) = a0 + a1 t + sum_h [b_h cos(2 pi h t / P) + c_h sin(2 pi h t / P)] + g(t) + e(t).

HANTS fits the sum by least squares with a damping of all coefficients but ``a0``, and drops the
observations that lie too low (or high), the worst first, until the rest agree. What it leaves open,
or where we differ:

- Tolerance, degree of overdetermination and damping, which users must set in the data's units, are
  replaced: observations are weighed by Tukey's bisquare of their leave-one-out residual, joint over
  the bands and relative to the pixel's own spread, from one or both sides (``reject``). The damping
  draws a pixel to the scene's mean season by as much as pixels of the scene differ from it.
- What the year does beyond the mean year (mowing, harvest, drought) is the correlated residual
  ``g``, kriged with a Matern-3/2 covariance (``residual``); it is estimated together with the
  coefficients (universal kriging), not after them. A nearest relative is the kriging with external
  drift of geostatistics.
- Its length and the noise are the most likely ones of the scene, from a prior around 30 d and 0.3:
  see `xstf.numerics.seasonal`, where all of this is shared with other methods.
- The trend is held before a pixel's first and after its last observation. A pixel whose
  observations, two or more, are all the same keeps that value.
- The standard deviation is that of a new observation: fit, residual and noise, times the pixel's
  own spread, times the factor that makes nine tenths of the scene's leave-one-out residuals lie
  within the 90 % interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from xstf._checks import check_above, check_at_least, check_between, check_one_of
from xstf._method import GapfillSamples, Method
from xstf.numerics.normal import BISQUARE, MAD
from xstf.numerics.seasonal import (
    HARMONICS,
    SceneSeason,
    season_again,
    season_state,
    seasonal,
    terms_of,
)
from xstf.numerics.seasonal_blocks import PRIOR

# Other methods and the screening of outliers use the same record.
State: TypeAlias = SceneSeason


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of the harmonic regression.

    Parameters
    ----------
    harmonics : int
        Waves a year at most, 0 to 6; a series shorter than a year gets fewer.
    ridge : float
        How strongly a pixel is drawn to the scene's mean season; 1 is what the scene says, 0.1 lets
        pixels differ by about three times as much.
    residual : bool
        Whether to add the kriged residual.
    reject : {None, "low", "high", "both"}
        Which observations are trusted less the farther they are from the fit: none, those below it
        (cloud, in a vegetation index), those above it (cloud, in a reflectance), or either.
    passes : int
        Rounds of reweighting.
    """

    harmonics: int = 3
    ridge: float = 1.0
    residual: bool = True
    reject: Literal["low", "high", "both"] | None = "both"
    passes: int = 3

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_at_least(self, harmonics=0, passes=0)
        check_between(self, harmonics=(0, 6), passes=(0, 20))
        check_above(self, ridge=0)
        check_one_of(self, reject=(None, "low", "high", "both"))


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return what is pooled over the scene."""
    if samples.season is not None and (params.harmonics, params.residual) == (HARMONICS, True):
        return samples.season
    samples, times = samples.images(times)
    return season_state(samples.cube, times, harmonics=params.harmonics, residual=params.residual)


def settle_again(
    before: State, samples: GapfillSamples, *, times: np.ndarray, params: Params
) -> State:
    """Return the state without what is missing of `samples` and was there for ``before``."""
    return season_again(before, samples.cube, times)


def _numpy(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Return the estimate by dense matrices, pixel by pixel: the definition."""
    cube = cube[:, :, inner[0], inner[1]].astype(np.float64)
    terms = terms_of(times, state)
    sigma = np.where(state.sigma > 0, state.sigma, 1.0)
    lag = np.sqrt(3) * np.abs(times[:, None] - times) / state.length
    kernel = state.signal * (1 + lag) * np.exp(-lag)
    season = (terms @ state.mean.T)[..., None, None]
    wide = state.covariance / params.ridge
    smooth, spread = np.full(cube.shape, np.nan), np.full(cube.shape, np.nan)
    for y, x in np.ndindex(*cube.shape[2:]):
        pixel = (cube - season)[:, :, y, x] / sigma
        seen = np.isfinite(pixel)
        trust, pull = np.ones(len(times)), 1.0
        for step in range(params.passes + 1):
            covariance = kernel + terms @ (wide / pull) @ terms.T
            fits = [
                _krige(pixel[:, b], trust * seen[:, b], covariance, state.noise)
                for b in range(len(sigma))
            ]
            fit, without, variance = (np.stack(part, axis=1) for part in zip(*fits, strict=True))
            score = np.where(seen, (pixel - without) / np.sqrt(variance + state.noise), 0)
            if step < params.passes and seen.any():
                trust, pull = _trust(score, seen, params.reject)
        for b in np.flatnonzero(seen.any(axis=0)):
            weight = trust * seen[:, b]
            size = np.sqrt((weight @ score[:, b] ** 2 + PRIOR) / (weight.sum() + PRIOR))
            wave = terms @ (wide / pull)
            drift = state.mean[b, -1] / sigma[b]
            fit[:, b] += _hold(pixel[:, b], weight, terms, wave, covariance, state.noise, drift)
            smooth[:, b, y, x] = fit[:, b] * sigma[b] + season[:, b, 0, 0]
            spread[:, b, y, x] = size * np.sqrt(variance[:, b] + state.noise)
            spread[:, b, y, x] *= state.widen * state.sigma[b]
            values = cube[seen[:, b], b, y, x]
            if len(values) > 1 and values.min() == values.max():
                smooth[:, b, y, x] = values[0]
    return smooth.astype(np.float32), spread.astype(np.float32) if std else None, None


def _krige(
    values: np.ndarray, weights: np.ndarray, covariance: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fit, the fit without a date's own observation, and the latter's variance."""
    used = np.flatnonzero(weights > 0)
    own = noise / weights[used]
    inverse = np.linalg.inv(covariance[np.ix_(used, used)] + np.diag(own))
    solved = inverse @ values[used]
    across = covariance[:, used]
    fit = across @ solved
    variance = np.diag(covariance) - np.einsum("ij,jk,ik->i", across, inverse, across)
    without = fit.copy()
    precision = np.diag(inverse)
    without[used] = values[used] - solved / precision
    variance[used] = 1 / precision - own
    return fit, without, variance


def _trust(score: np.ndarray, seen: np.ndarray, reject: str | None) -> tuple[np.ndarray, float]:
    """Return the weight of each date, joint over the bands, and the pixel's variance."""
    number = seen.sum(axis=1)
    there = number > 0
    joint = np.sqrt((score**2).sum(axis=1) / np.maximum(number, 1))
    count = there.sum()
    scale = np.sqrt((count * (MAD * np.median(joint[there])) ** 2 + PRIOR) / (count + PRIOR))
    weights = np.maximum(1 - (joint / (BISQUARE * scale)) ** 2, 0) ** 2
    side = np.sign(score.sum(axis=1))
    if reject is None:
        weights[:] = 1
    elif reject != "both":
        weights[side != (-1 if reject == "low" else 1)] = 1
    total = (weights * joint**2)[there].sum() + PRIOR
    return weights, total / (weights[there].sum() + PRIOR)


def _hold(
    values: np.ndarray,
    weights: np.ndarray,
    terms: np.ndarray,
    wave: np.ndarray,
    covariance: np.ndarray,
    noise: float,
    drift: float,
) -> np.ndarray:
    """Return what takes the trend back to its value at the first or last trusted observation."""
    used = np.flatnonzero(weights > 0)
    if terms.shape[1] == 1 or not used.size:
        return np.zeros(len(values))
    own = np.diag(noise / weights[used])
    # The last column of wave is the covariance of the series and the trend's coefficient.
    slope = wave[used, -1] @ np.linalg.solve(covariance[np.ix_(used, used)] + own, values[used])
    trend = terms[:, -1]
    held = np.clip(trend, trend[used[0]], trend[used[-1]]) - trend
    return np.where(weights > 0, 0, held * (drift + slope))


def _numba(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Return the estimate by a state-space model, rows of pixels at a time."""
    smooth, _, spread = seasonal(
        cube[:, :, inner[0], inner[1]],
        times,
        state=state,
        passes=params.passes,
        reject=params.reject,
        ridge=params.ridge,
    )
    return smooth, spread if std else None, None


METHOD = Method(
    name="harmonic",
    task="gapfill",
    summary="Robust harmonic regression with a trend and a kriged residual, pixel by pixel.",
    params=Params,
    halo=lambda params, ratio: 0,
    kernels={"numba": _numba, "numpy": _numpy},
    reference="Zhou, Jia & Menenti (2015), doi:10.1016/j.rse.2015.03.018",
    std=True,
    smooth=True,
    settle=settle,
    costly=True,
)
