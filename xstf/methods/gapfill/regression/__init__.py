"""Regression of a partly clear date on the pixel's other dates, learnt on its clear pixels.

For each date ``t`` and each pattern ``P`` of other dates, with all bands ``b``,

    y_b(t) = c_b + sum_(d in P, v) A_bdv y_v(d) + sum_g G_bg guide_g(t) + r_b,

by ridge regression over sampled pixels of the scene that are clear at ``t`` and at all of ``P``;
a gap pixel takes the best model whose dates it has, and then its share of ``r``, interpolated by
simple kriging from the clear pixels around it. The ridge is Hoerl & Kennard (1970),
doi:10.1080/00401706.1970.10488634, its strength from generalised cross-validation, Golub, Heath &
Wahba (1979), doi:10.1080/00401706.1979.10489751. Gaps by regression on other dates' clear pixels:
Zeng, Shen & Zhang (2013), doi:10.1016/j.rse.2012.12.012, who take one date and similar pixels.

What we chose:

- Patterns: the nearest clear dates of the sampled pixels, up to ``dates`` on either side, and what
  is left of them with fewer. The rows of a model have the very dates that it is used with: pixels
  whose neighbouring dates are hidden, too, are not predicted by what holds next to a clear date.
- The best model is the one that leaves the least share of the variance in cross-validation: a date
  with haze or far away is passed over by itself.
- The guide is used where cross-validation says so. It is averaged over ``speckle`` pixels first.
- Neighbours repeat each other: in the cross-validation four pixels count as one.
- The residual's correlation is the sum of two exponentials, measured on the scene. The standard
  deviation is the cross-validation error times the kriging one, widened by the factor that makes
  90 % intervals cover 90 % of clear pixels hidden under the clouds of other dates.
- A pixel with other dates but no model, and a date with next to nothing clear in the samples, are
  filled by the seasonal prediction, with its residual kriged from clear pixels within reach.
- A pixel without any observation is filled from its date's guide and neighbours alone. A pixel
  counts as clear if all its bands are there; a date that lacks a band goes to the season.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from xstf._checks import check_at_least, check_odd
from xstf._method import GapfillSamples, Method
from xstf.methods.gapfill.regression.local_ridge import ENOUGH, Filled, View, fill_models, rings
from xstf.methods.gapfill.regression.predictors import (
    FEWEST_ROWS,
    PIXELS,
    Model,
    Models,
    Sample,
    columns,
    correlation,
    models_of,
    nearest_dates,
    ordered,
    predictors,
    spaced,
    stacked,
    studied,
    taken,
    usable_rows,
)
from xstf.numerics.normal import COVER, Z90
from xstf.numerics.seasonal import SceneSeason, predicted, season_state, seasonal
from xstf.numerics.seasonal_blocks import Predictions
from xstf.numerics.window_mean import window_mean

# Pixels on which residuals are studied, those of the slower season too, in squares at most.
STUDIED, STUDIED_SEASON = 128 * 128, 64 * 64
# Dates on which clear pixels are hidden to calibrate the standard deviation: some thousand pixels.
PROBES = 8
# A date lends its clouds if it hides at least this share of the samples, and leaves as much.
PARTLY = 0.1


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of the regression.

    Parameters
    ----------
    dates : int
        Clear dates that a pixel is predicted from, at most so many on either side.
    reach : int
        How far clear pixels are looked for to interpolate the residual, in pixels.
    speckle : int
        Side of the box over which the guide is averaged, in pixels, odd; 1 leaves it as it is.
    """

    dates: int = 3
    reach: int = 24
    speckle: int = 3

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_at_least(self, dates=1, reach=1)
        check_odd(self, speckle=1)


class Season(NamedTuple):
    """The seasonal prediction, and the correlation in space of what it leaves."""

    scene: SceneSeason
    correlation: np.ndarray  # (2, 2), as in State


@dataclass(frozen=True)
class State:
    """What is learnt from the scene.

    Parameters
    ----------
    models
        Of every date, the best first.
    guides
        Bands of the guide that they may look at.
    correlation
        ``(2, 2)``, of what they leave, in space: share and length in pixels of two exponentials.
    widen
        What makes 90 % intervals hold 90 %.
    season
        For what has no model; None for a cube of one date.
    """

    models: Models
    guides: int
    correlation: np.ndarray
    widen: float
    season: Season | None


# Fills what is wanted: `fill_models` or its definition.
Fill: TypeAlias = Callable[
    [View, Models, np.ndarray, np.ndarray, np.ndarray, tuple[int, int], Filled], None
]


def _halo(params: Params, ratio: int) -> int:
    """Return the reach of the residuals, whose pixels need the guide's box."""
    return params.reach + params.speckle // 2


def _fill_numpy(
    view: View,
    models: Models,
    wanted: np.ndarray,
    table: np.ndarray,
    offsets: np.ndarray,
    corner: tuple[int, int],
    out: Filled,
) -> None:
    """Fill one missing pixel after the other: the definition of ``fill_models``."""
    cube, clear = view.cube, view.clear
    pattern, guided, first = models.pattern, models.guided, models.first
    height, width = clear.shape[1:]

    def usable(m: int, t: int, y: int, x: int) -> bool:
        dates = pattern[m][pattern[m] >= 0]
        return bool(clear[dates, y, x].all() and (view.seen[t, y, x] or not guided[m]))

    def predict(m: int, t: int, y: int, x: int) -> np.ndarray:
        size, bands = (pattern[m] >= 0).sum(), cube.shape[1]
        past = cube[pattern[m][:size], :, y, x].astype(np.float64).ravel()
        value = models.const[m] + past @ models.coef[m][: size * bands]
        if guided[m]:
            value += view.guide[t, :, y, x] @ models.coef[m][pattern.shape[1] * bands :]
        return np.asarray(value)

    for t, i, j in np.argwhere(wanted):
        y, x = corner[0] + i, corner[1] + j
        past = [
            m for m in range(first[t], first[t + 1]) if pattern[m, 0] >= 0 or not view.other[y, x]
        ]
        able = [m for m in past if usable(m, t, y, x)]
        if not able:
            continue
        m = able[0]
        around: list[tuple[int, int]] = []
        for ring in offsets:
            near = [(y + dy, x + dx) for dy, dx in ring if dy or dx]
            near = [(v, u) for v, u in near if 0 <= v < height and 0 <= u < width]
            around += [(v, u) for v, u in near if clear[t, v, u] and usable(m, t, v, u)]
            if len(around) >= ENOUGH:
                break
        if not around and pattern[m, 0] < 0 and not guided[m]:
            continue
        at = np.array([*around, (y, x)])
        square = ((at[:, None] - at) ** 2).sum(axis=-1)
        correlation = np.where(square == 0, 1.0, table[square])
        weights = np.linalg.solve(correlation[:-1, :-1], correlation[:-1, -1])
        rest = [cube[t, :, v, u] - predict(m, t, v, u) for v, u in around]
        out.estimate[t, :, i, j] = predict(m, t, y, x) + sum(
            w * r for w, r in zip(weights, rest, strict=True)
        )
        explained = weights @ correlation[:-1, -1]
        out.deviation[t, :, i, j] = models.error[m] * np.sqrt(1 - explained)
        out.done[t, i, j] = True


def _kernel(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
    fill: Fill,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return what `fill_wanted` does, of all that is missing."""
    wanted = np.ones((len(cube), *cube[0, 0, *inner].shape), bool)
    estimate, deviation, space = fill_wanted(
        cube, guide, wanted, times=times, params=params, state=state, inner=inner, fill=fill
    )
    return estimate, deviation if std else None, space


def fill_wanted(
    cube: np.ndarray,
    guide: np.ndarray | None,
    wanted: np.ndarray,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    fill: Fill = fill_models,
    predict: Callable[[np.ndarray, np.ndarray, SceneSeason], Predictions] = predicted,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill from the models of each date, then what they leave from the season.

    Of what is missing, only what is wanted ``(time, y, x)`` of ``inner``: that is the cost. Who has
    the season's predictions of the cube has ``predict`` return them.
    """
    rows, cols = inner
    clear = np.isfinite(cube).all(axis=1)
    wanted = wanted & ~clear[:, rows, cols]
    if guide is not None:
        guide = window_mean(guide, params.speckle)
    guide, seen = _seen(guide if state.guides else None, cube)
    view = View(cube, guide, clear, seen, np.isfinite(cube).any(axis=(0, 1)))
    estimate, deviation, done = _run(
        view, state.models, wanted, state.correlation, params.reach, inner, fill
    )
    estimate = np.where(wanted[:, None], estimate, cube[:, :, rows, cols])
    deviation *= np.float32(state.widen)
    space = np.repeat(done[:, None], cube.shape[1], axis=1)
    todo = wanted & ~done & view.other[rows, cols]
    if todo.any() and state.season is not None:
        out = Filled(estimate, deviation, space)
        predictions = predict(cube, times, state.season.scene)
        _temporal(cube, predictions, params.reach, state.season, inner, fill, todo, out)
    return estimate, deviation, space


def _seen(guide: np.ndarray | None, cube: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the guide, of no bands if there is none, and where it is there."""
    if guide is None:
        guide = np.zeros((len(cube), 0, *cube.shape[2:]), np.float32)
    return np.ascontiguousarray(guide), np.isfinite(guide).all(axis=1)


def _run(
    view: View,
    models: Models,
    wanted: np.ndarray,
    correlation: np.ndarray,
    reach: int,
    inner: tuple[slice, slice],
    fill: Fill,
) -> Filled:
    """Return estimate, standard deviation and which pixels have them, for the wanted ones."""
    shape = (*view.cube.shape[:2], *wanted.shape[1:])
    estimate, deviation = (np.full(shape, np.nan, np.float32) for _ in range(2))
    out = Filled(estimate, deviation, np.zeros(wanted.shape, bool))
    distance = np.sqrt(np.arange(8 * reach**2 + 1))
    share, length = correlation.T[:, :, None]
    table = (share * np.exp(-distance / length)).sum(axis=0)
    fill(view, models, wanted, table, rings(reach), (inner[0].start, inner[1].start), out)
    return out


def _temporal(
    cube: np.ndarray,
    predictions: Predictions,
    reach: int,
    season: Season,
    inner: tuple[slice, slice],
    fill: Fill,
    todo: np.ndarray,
    out: Filled,
) -> None:
    """Write the seasonal prediction, and what pixels around say of its residual, to ``todo``."""
    smooth, without, spread = predictions
    rest = _scaled(cube - without, spread)
    clear = np.isfinite(rest).all(axis=1)
    dates, bands = cube.shape[:2]
    # A model that predicts a residual of 0 for every date: all else is kriging.
    models = Models(
        first=np.arange(dates + 1),
        pattern=np.full((dates, 1), -1),
        guided=np.zeros(dates, bool),
        coef=np.zeros((dates, bands, bands)),
        const=np.zeros((dates, bands)),
        error=np.ones((dates, bands)),
    )
    none = np.zeros((dates, 0, *cube.shape[2:]), np.float32)
    view = View(rest, none, clear, clear, np.zeros(clear.shape[1:], bool))
    near, share, done = _run(view, models, todo, season.correlation, reach, inner, fill)
    own = (slice(None), slice(None), *inner)
    where = np.broadcast_to(todo[:, None], out.estimate.shape)
    value = smooth[own] + spread[own] * np.where(done[:, None], near, 0)
    out.estimate[where] = value[where]
    out.deviation[where] = (spread[own] * np.where(done[:, None], share, 1))[where]
    out.done[where] = np.broadcast_to(done[:, None], where.shape)[where]


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return every date's models, the correlation in space of what they leave, and the season."""
    cube, guide = samples.cube, samples.guide
    if guide is not None:
        guide = window_mean(guide, params.speckle)
    found, models = _models(samples._replace(guide=guide), times, replace(params, speckle=1))
    part = studied(cube, STUDIED)
    part_guide = None if guide is None else studied(guide, STUDIED)
    space = correlation(_residuals(part, part_guide, models))
    season = None
    if len(times) > 1:
        seen, days = samples.images(times)
        scene = samples.season or season_state(seen.cube, days)
        season = Season(scene, _season_correlation(studied(cube, STUDIED_SEASON), times, scene))
    return State(
        models=found,
        guides=0 if guide is None else guide.shape[2],
        correlation=space,
        widen=_calibrate(part, part_guide, times, params, found.first, space),
        season=season,
    )


def _models(
    samples: GapfillSamples, times: np.ndarray, params: Params
) -> tuple[Models, list[list[Model]]]:
    """Return the models of every date, stacked, and as a list a date."""
    cube, guide = samples.cube, samples.guide
    if guide is not None:
        guide = window_mean(guide, params.speckle)
    few = Sample(columns(cube), None if guide is None else columns(guide))
    few = taken(few, spaced(ordered(few), PIXELS))
    clear = few.clear
    near = nearest_dates(clear, params.dates)
    models = [models_of(t, few, clear, near[t], times) for t in range(len(times))]
    guides = 0 if guide is None else guide.shape[2]
    flat = [model for own in models for model in own]
    first = np.cumsum([0, *(len(own) for own in models)])
    return stacked(flat, first, 2 * params.dates, cube.shape[2], guides), models


def settle_again(
    before: State, samples: GapfillSamples, *, times: np.ndarray, params: Params
) -> State:
    """Return the state without what is missing of `samples` and was there for ``before``.

    Models are learnt anew. The season, the correlation and the calibration are kept: of a pixel
    there is next to nothing in them.
    """
    models, _ = _models(samples, times, params)
    return replace(before, models=models)


def _residuals(cube: np.ndarray, guide: np.ndarray | None, models: list[list[Model]]) -> np.ndarray:
    """Return what the best model of each date leaves at clear pixels, in units of its error."""
    values = columns(cube)
    sample = Sample(values, None if guide is None else columns(guide))
    clear = sample.clear
    out = np.full(values.shape, np.nan, np.float32)
    for t, own in enumerate(models):
        if own:
            best = own[0]
            rows = usable_rows(t, best.pattern, clear, sample.guide if best.guided else None)
            x = predictors(t, best.pattern, rows, values, sample.guide if best.guided else None)
            rest = values[t][:, rows] - (x @ best.coef + best.const).T
            out[t][:, rows] = rest / np.where(best.error > 0, best.error, np.inf)[:, None]
    windows, dates, bands, height, width = cube.shape
    return out.reshape(dates, bands, windows, height, width)


def _season_correlation(cube: np.ndarray, times: np.ndarray, season: SceneSeason) -> np.ndarray:
    """Return the correlation in space of what the season leaves."""
    rests = []
    for window in cube:
        window = np.ascontiguousarray(window)
        _, without, spread = seasonal(window, times, state=season)
        rests.append(_scaled(window - without, spread))
    return correlation(np.stack(rests, axis=2))


def _scaled(rest: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return residuals in units of their spread, NaN where there is none."""
    return np.asarray(np.divide(rest, spread, out=np.full_like(rest, np.nan), where=spread > 0))


def _calibrate(
    cube: np.ndarray,
    guide: np.ndarray | None,
    times: np.ndarray,
    params: Params,
    first: np.ndarray,
    correlation: np.ndarray,
) -> float:
    """Return the factor on the standard deviation at which 90 % intervals cover 90 %.

    Clear pixels of some dates are hidden under the clouds of others, from the models, too;
    ``first`` tells which dates have any.
    """
    missing = ~np.isfinite(cube).all(axis=2)  # (window, time, y, x)
    share = missing.mean(axis=(0, 2, 3))
    lenders = np.flatnonzero((share >= PARTLY) & (share <= 1 - PARTLY))
    probed = spaced(np.flatnonzero(np.diff(first) > 0), PROBES)
    if not len(lenders):
        return 1.0
    sample = Sample(columns(cube), None if guide is None else columns(guide))
    order = ordered(sample)
    sample = taken(sample, order)
    whole = sample.clear
    near = nearest_dates(whole, params.dates)
    bands, guides = cube.shape[2], 0 if guide is None else guide.shape[2]
    scores = [np.zeros(0)]
    for k, t in enumerate(int(t) for t in probed):
        hidden = missing[:, lenders[k % len(lenders)]]
        clear = whole.copy()
        clear[t] &= ~hidden.reshape(-1)[order]
        own = models_of(t, sample, clear, near[t], times)
        begin = np.where(np.arange(len(times) + 1) > t, len(own), 0)
        models = stacked(own, begin, 2 * params.dates, bands, guides)
        for w, window in enumerate(cube):
            lit = None if guide is None else guide[w]
            scores.append(_score(window, lit, t, hidden[w], models, correlation, params.reach))
    pooled = np.concatenate(scores)
    return float(np.quantile(pooled, COVER)) / Z90 if len(pooled) >= FEWEST_ROWS else 1.0


def _score(
    cube: np.ndarray,
    guide: np.ndarray | None,
    t: int,
    hidden: np.ndarray,
    models: Models,
    correlation: np.ndarray,
    reach: int,
) -> np.ndarray:
    """Return the absolute errors at hidden pixels of a date in units of the standard deviation."""
    cube = np.ascontiguousarray(cube)
    clear = np.isfinite(cube).all(axis=1)
    wanted = np.zeros(clear.shape, bool)
    wanted[t] = clear[t] & hidden
    clear[t] &= ~hidden
    guide, seen = _seen(guide, cube)
    view = View(cube, guide, clear, seen, np.ones(clear.shape[1:], bool))
    inner = (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    estimate, deviation, _ = _run(view, models, wanted, correlation, reach, inner, fill_models)
    good = deviation[t] > 0
    return np.asarray(np.abs(estimate[t] - cube[t])[good] / deviation[t][good])


_numpy = partial(_kernel, fill=_fill_numpy)
_numba = partial(_kernel, fill=fill_models)

METHOD = Method(
    name="regression",
    task="gapfill",
    summary="Ridge regression of a partly clear date on the pixel's other dates and SAR.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=settle,
    std=True,
    guided=True,
    fewest=1,
    reference="Zeng, Shen & Zhang (2013), doi:10.1016/j.rse.2012.12.012",
    costly=True,
)
