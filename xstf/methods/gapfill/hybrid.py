"""Hybrid: the season of each pixel, and what similar pixels say of the date's departure from it.

The season ``P`` is a robust harmonic regression of the pixel's own series that leaves the date
itself out (`_season`, without its correlated residual). Its residuals at the clear pixels are
interpolated from similar ones as `mnspi` does it, and added to the pixel's own season::

    x(p, t) = P(p, t) + S + g (k [r(p, a) - A] + (1 - k) [r(p, b) - B])        r = x - P

with mnspi's symbols, of r: S, A, B are weighted means of the residuals of similar pixels at ``t``
and at the clear dates ``a`` before and ``b`` after it, and pixels are similar if their residuals at
``a`` and ``b`` are. So what a pixel does every year comes from its own series, and what weather,
haze and the season's earliness do to a date comes from around: where references are weeks away, as
under persistent cloud, mnspi alone would mistake the course of the season for that of its kind.

What was open, and why it is so here:

- Which prediction in time. Linear interpolation between other dates is worse than no prediction:
  pixels interpolate across different gaps, so that their residuals differ by more than what the
  date did. Kriging the residuals in time too takes out of r what similar pixels share.
- What is similar. Adding the seasons' difference (leading components of all curves, or the
  predictions at ``t``) to the difference of the residuals changed little, either way, in trials.
- How much of the residual to believe. In kriging, it is shrunk by noise; here a mean over similar
  pixels has little noise left, and g takes the pixel's own residuals as far as they predict those
  of similar pixels.
- A date at which no pixel of the scene's sample or within reach is clear has the season alone, with
  the season's spread. A pixel that is never clear has the scene's mean season, with the residuals
  interpolated in space; if there are none either, nothing.

The spread is mnspi's, of r. What it is widened by comes from hidden pixels whose season has not
seen them either.

The idea to add the residuals of similar pixels to a prediction in time is that of the "virtual
image" of

Wang, Z., Ke, Y., Zhou, D., Li, X., Zhu, L., Gong, H. (2023). Virtual image-based cloud removal for
Landsat images. GIScience & Remote Sensing 60(1), 2160411. doi:10.1080/15481603.2022.2160411
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from xstf._checks import check_at_least
from xstf._method import GapfillSamples, Method
from xstf.methods.gapfill import mnspi
from xstf.numerics.seasonal import (
    SceneSeason,
    season_again,
    season_state,
    seasonal,
    terms_of,
)
from xstf.numerics.similar_pixels import hide, pixels_of

# Of the sample's windows, every third one is hidden and filled: each costs as much as a tile.
EVERY_WINDOW = 3


@dataclass(frozen=True, kw_only=True)
class Params:
    """What a user may choose.

    Parameters
    ----------
    reach
        How far similar pixels are sought, in pixels.
    similar
        How many similar pixels there should be.
    classes
        Classes of the scene whose mean residuals join them; 0 for none.
    harmonics
        Waves a year of the season, at most.
    """

    reach: int = 32
    similar: int = 20
    classes: int = 16
    harmonics: int = 3

    def __post_init__(self) -> None:
        """Check the values."""
        check_at_least(self, reach=1, similar=1, classes=0, harmonics=0)


@dataclass(frozen=True)
class State:
    """The scene's season, and what `mnspi` learns from the residuals."""

    season: SceneSeason
    similar: mnspi.State


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return the scene's season, and what `mnspi` learns from the residuals."""
    if samples.asked is not None:
        seen, days = samples.images(times)
        state = settle(seen, times=days, params=params)
        return replace(state, similar=mnspi.with_dates(state.similar, samples.asked))
    cube = samples.cube
    season = season_state(cube, times, harmonics=params.harmonics, residual=False)
    options = _similar(params)
    similar = _learn(cube, times, season, options)
    if len(times) > 1:
        truth = cube[::EVERY_WINDOW]
        hidden = hide(truth, params.reach)
        shown = np.where(hidden[:, :, None], np.float32(np.nan), truth)
        course = np.stack([_season(window, times, season)[0] for window in shown])
        factor = mnspi.calibrate(shown - course, truth - course, hidden, times, options, similar)
        similar = replace(similar, factor=factor)
    return State(season, similar)


def settle_again(
    before: State, samples: GapfillSamples, *, times: np.ndarray, params: Params
) -> State:
    """Return the state without what is missing of `samples` and was there for ``before``.

    The scene's season and the classes are learnt anew; the calibration is kept.
    """
    season = season_again(before.season, samples.cube, times)
    similar = _learn(samples.cube, times, season, _similar(params))
    return State(season, replace(similar, factor=before.similar.factor))


def _learn(
    cube: np.ndarray, times: np.ndarray, season: SceneSeason, options: mnspi.Params
) -> mnspi.State:
    """Return what `mnspi` learns from the residuals, without its calibration."""
    pixels = np.moveaxis(pixels_of(cube), 0, 2)[:, :, None].astype(np.float32)
    residual = pixels - _season(pixels, times, season)[0]
    return mnspi.learn(np.moveaxis(residual[:, :, 0], 2, 0).astype(np.float64), options)


def _similar(params: Params) -> mnspi.Params:
    """Return what concerns the similar pixels."""
    return mnspi.Params(reach=params.reach, similar=params.similar, classes=params.classes)


def _season(
    cube: np.ndarray, times: np.ndarray, season: SceneSeason
) -> tuple[np.ndarray, np.ndarray]:
    """Return P and its spread; the scene's season, and NaN, where a pixel is never seen."""
    _, course, spread = seasonal(cube, times, state=season)
    terms = terms_of(times, season)
    scene = (terms @ season.mean.T).astype(np.float32)[:, :, None, None]
    return np.where(np.isnan(course), scene, course), spread


def _fill(
    kernel: Callable[..., tuple[np.ndarray, np.ndarray | None, np.ndarray]],
    cube: np.ndarray,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Add the season and what a kernel of `mnspi` makes of the residuals."""
    course, spread = _season(cube, times, state.season)
    departure, error, space = kernel(
        cube - course, None, times=times, params=_similar(params), state=state.similar,
        inner=inner, std=std,
    )  # fmt: skip
    ever = np.isfinite(cube[..., *inner]).any(axis=0)
    alone = np.where(ever, np.float32(0), np.float32(np.nan))
    estimate = course[..., *inner] + np.where(space, departure, alone)
    if error is not None:
        error = np.where(space, error, spread[..., *inner])
    return estimate, error, space


def _numpy(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Fill the residuals pixel by pixel, by the definition of `mnspi`."""
    return _fill(mnspi._numpy, cube, times, params, state, inner, std)


def _numba(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Fill the residuals by the loops of `mnspi`."""
    return _fill(mnspi._numba, cube, times, params, state, inner, std)


METHOD = Method(
    name="hybrid",
    task="gapfill",
    summary="The pixel's own season, and the date's departure from it at similar clear pixels.",
    params=Params,
    halo=lambda params, ratio: params.reach,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=settle,
    std=True,
    fewest=1,
    reference="Wang et al. (2023), doi:10.1080/15481603.2022.2160411",
    costly=True,
)
