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
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xstf._method import Method
from xstf.methods.gapfill.regression.local_ridge import ENOUGH, fill_models, rings
from xstf.methods.gapfill.regression.predictors import (
    FEWEST_ROWS,
    PIXELS,
    Model,
    Sample,
    columns,
    correlation,
    models_of,
    nearest_dates,
    ordered,
    predictors,
    smooth_guide,
    spaced,
    stacked,
    studied,
    taken,
    usable_rows,
)
from xstf.numerics.seasonal import season_state, seasonal

# Pixels on which residuals are studied, those of the slower season too, in squares at most.
STUDIED, STUDIED_SEASON = 128 * 128, 64 * 64
# Dates on which clear pixels are hidden to calibrate the standard deviation: some thousand pixels.
PROBES = 8
# A date lends its clouds if it hides at least this share of the samples, and leaves as much.
PARTLY = 0.1
# The normal distribution's 95 % point: half of a 90 % interval.
POINT = 1.6449


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
        for name in ("dates", "reach", "speckle"):
            value = getattr(self, name)
            if value != int(value) or value < 1:
                raise ValueError(f"{name}={value!r}: give a whole number of at least 1")
        if self.speckle % 2 == 0:
            raise ValueError(f"speckle={self.speckle!r}: give an odd number of pixels")


def _halo(params: Params, ratio: int) -> int:
    """Return the reach of the residuals, whose pixels need the guide's box."""
    return params.reach + params.speckle // 2


def _fill_numpy(
    cube: np.ndarray, guide: np.ndarray, clear: np.ndarray, seen: np.ndarray, wanted: np.ndarray,
    other: np.ndarray, first: np.ndarray, pattern: np.ndarray, guided: np.ndarray,
    coef: np.ndarray, const: np.ndarray, error: np.ndarray, table: np.ndarray,
    offsets: np.ndarray, top: int, left: int, estimate: np.ndarray, deviation: np.ndarray,
    done: np.ndarray,
) -> None:  # fmt: skip
    """Fill one missing pixel after the other: the definition of ``fill_models``."""
    height, width = clear.shape[1:]

    def usable(m: int, t: int, y: int, x: int) -> bool:
        dates = pattern[m][pattern[m] >= 0]
        return bool(clear[dates, y, x].all() and (seen[t, y, x] or not guided[m]))

    def predict(m: int, t: int, y: int, x: int) -> np.ndarray:
        size, bands = (pattern[m] >= 0).sum(), cube.shape[1]
        past = cube[pattern[m][:size], :, y, x].astype(np.float64).ravel()
        out = const[m] + past @ coef[m][: size * bands]
        if guided[m]:
            out += guide[t, :, y, x] @ coef[m][pattern.shape[1] * bands :]
        return np.asarray(out)

    for t, i, j in np.argwhere(wanted):
        y, x = top + i, left + j
        past = [m for m in range(first[t], first[t + 1]) if pattern[m, 0] >= 0 or not other[y, x]]
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
        estimate[t, :, i, j] = predict(m, t, y, x) + sum(
            w * r for w, r in zip(weights, rest, strict=True)
        )
        explained = weights @ correlation[:-1, -1]
        deviation[t, :, i, j] = error[m] * np.sqrt(1 - explained)
        done[t, i, j] = True


def _kernel(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: dict[str, Any],
    inner: tuple[slice, slice],
    std: bool,
    fill: Callable[..., None],
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Fill from the models of each date, then what they leave from the season."""
    rows, cols = inner
    clear = np.isfinite(cube).all(axis=1)
    wanted = ~clear[:, rows, cols]
    if guide is not None:
        guide = smooth_guide(guide, params.speckle)
    guide, seen = _seen(guide if state["guides"] else None, cube)
    other = np.isfinite(cube).any(axis=(0, 1))
    estimate, deviation, done = _run(
        cube, guide, clear, seen, wanted, other, state, state["correlation"], params, inner, fill
    )
    estimate = np.where(wanted[:, None], estimate, cube[:, :, rows, cols])
    deviation *= np.float32(state["widen"])
    space = np.repeat(done[:, None], cube.shape[1], axis=1)
    todo = wanted & ~done & other[rows, cols]
    if todo.any() and "season" in state:
        _temporal(cube, times, params, state, inner, fill, todo, (estimate, deviation, space))
    return estimate, deviation if std else None, space


def _seen(guide: np.ndarray | None, cube: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the guide, of no bands if there is none, and where it is there."""
    if guide is None:
        guide = np.zeros((len(cube), 0, *cube.shape[2:]), np.float32)
    return np.ascontiguousarray(guide), np.isfinite(guide).all(axis=1)


def _run(
    cube: np.ndarray,
    guide: np.ndarray,
    clear: np.ndarray,
    seen: np.ndarray,
    wanted: np.ndarray,
    other: np.ndarray,
    models: dict[str, Any],
    parts: np.ndarray,
    params: Params,
    inner: tuple[slice, slice],
    fill: Callable[..., None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return estimate, standard deviation and which pixels have them, for the wanted ones."""
    shape = (*cube.shape[:2], *wanted.shape[1:])
    estimate, deviation = (np.full(shape, np.nan, np.float32) for _ in range(2))
    done = np.zeros(wanted.shape, bool)
    distance = np.sqrt(np.arange(8 * params.reach**2 + 1))
    share, length = parts.T[:, :, None]
    table = (share * np.exp(-distance / length)).sum(axis=0)
    names = ("first", "pattern", "guided", "coef", "const", "error")
    fill(
        cube, guide, clear, seen, wanted, other, *(models[name] for name in names), table,
        rings(params.reach), inner[0].start, inner[1].start, estimate, deviation, done,
    )  # fmt: skip
    return estimate, deviation, done


def _temporal(
    cube: np.ndarray,
    times: np.ndarray,
    params: Params,
    state: dict[str, Any],
    inner: tuple[slice, slice],
    fill: Callable[..., None],
    todo: np.ndarray,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Write the seasonal prediction, and what pixels around say of its residual, to ``todo``."""
    estimate, deviation, space = out
    smooth, without, spread = seasonal(cube, times, state=state["season"])
    rest = _scaled(cube - without, spread)
    clear = np.isfinite(rest).all(axis=1)
    dates, bands = cube.shape[:2]
    # A model that predicts a residual of 0 for every date: all else is kriging.
    models = stacked([], 1, bands, 0) | {
        "first": np.arange(dates + 1),
        "pattern": np.full((dates, 1), -1),
        "guided": np.zeros(dates, bool),
        "coef": np.zeros((dates, bands, bands)),
        "const": np.zeros((dates, bands)),
        "error": np.ones((dates, bands)),
    }
    none = np.zeros((dates, 0, *cube.shape[2:]), np.float32)
    near, share, done = _run(
        rest, none, clear, clear, todo, np.zeros(clear.shape[1:], bool), models,
        state["season_correlation"], params, inner, fill,
    )  # fmt: skip
    own = (slice(None), slice(None), *inner)
    where = np.broadcast_to(todo[:, None], estimate.shape)
    value = smooth[own] + spread[own] * np.where(done[:, None], near, 0)
    estimate[where] = value[where]
    deviation[where] = (spread[own] * np.where(done[:, None], share, 1))[where]
    space[where] = np.broadcast_to(done[:, None], space.shape)[where]


def _settle(samples: dict[str, Any], *, times: np.ndarray, params: Params) -> dict[str, Any]:
    """Return every date's models, the correlation in space of what they leave, and the season."""
    cube, guide = samples["cube"], samples.get("guide")
    if guide is not None:
        guide = smooth_guide(guide, params.speckle)
    few = Sample(columns(cube), None if guide is None else columns(guide))
    few = taken(few, spaced(ordered(few), PIXELS))
    clear = few.clear
    near = nearest_dates(clear, params.dates)
    models = [models_of(t, few, clear, near[t], times) for t in range(len(times))]
    guides = 0 if guide is None else guide.shape[2]
    flat = [model for own in models for model in own]
    state: dict[str, Any] = stacked(flat, 2 * params.dates, cube.shape[2], guides)
    state["first"] = np.cumsum([0, *(len(own) for own in models)])
    state["guides"] = guides
    part = studied(cube, STUDIED)
    part_guide = None if guide is None else studied(guide, STUDIED)
    state["correlation"] = correlation(_residuals(part, part_guide, models))
    state["widen"] = _calibrate(part, part_guide, times, params, state)
    if len(times) > 1:
        state["season"] = samples.get("season") or season_state(cube, times)
        part = studied(cube, STUDIED_SEASON)
        state["season_correlation"] = _season_correlation(part, times, state["season"])
    return state


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
    spots, dates, bands, height, width = cube.shape
    return out.reshape(dates, bands, spots, height, width)


def _season_correlation(cube: np.ndarray, times: np.ndarray, season: dict[str, Any]) -> np.ndarray:
    """Return the correlation in space of what the season leaves."""
    rests = []
    for spot in cube:
        spot = np.ascontiguousarray(spot)
        _, without, spread = seasonal(spot, times, state=season)
        rests.append(_scaled(spot - without, spread))
    return correlation(np.stack(rests, axis=2))


def _scaled(rest: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return residuals in units of their spread, NaN where there is none."""
    return np.asarray(np.divide(rest, spread, out=np.full_like(rest, np.nan), where=spread > 0))


def _calibrate(
    cube: np.ndarray,
    guide: np.ndarray | None,
    times: np.ndarray,
    params: Params,
    state: dict[str, Any],
) -> float:
    """Return the factor on the standard deviation at which 90 % intervals cover 90 %.

    Clear pixels of some dates are hidden under the clouds of others, from the models, too.
    """
    missing = ~np.isfinite(cube).all(axis=2)  # (spot, time, y, x)
    share = missing.mean(axis=(0, 2, 3))
    lenders = np.flatnonzero((share >= PARTLY) & (share <= 1 - PARTLY))
    probed = spaced(np.flatnonzero(np.diff(state["first"]) > 0), PROBES)
    if not len(lenders):
        return 1.0
    sample = Sample(columns(cube), None if guide is None else columns(guide))
    order = ordered(sample)
    sample = taken(sample, order)
    whole = sample.clear
    near = nearest_dates(whole, params.dates)
    scores = [np.zeros(0)]
    for k, t in enumerate(int(t) for t in probed):
        hidden = missing[:, lenders[k % len(lenders)]]
        clear = whole.copy()
        clear[t] &= ~hidden.reshape(-1)[order]
        own = models_of(t, sample, clear, near[t], times)
        models = state | stacked(own, state["pattern"].shape[1], cube.shape[2], state["guides"])
        models["first"] = np.where(np.arange(len(times) + 1) > t, len(own), 0)
        for s, spot in enumerate(cube):
            scores.append(
                _score(spot, None if guide is None else guide[s], t, hidden[s], models, params)
            )
    pooled = np.concatenate(scores)
    return float(np.quantile(pooled, 0.9)) / POINT if len(pooled) >= FEWEST_ROWS else 1.0


def _score(
    cube: np.ndarray,
    guide: np.ndarray | None,
    t: int,
    hidden: np.ndarray,
    models: dict[str, Any],
    params: Params,
) -> np.ndarray:
    """Return the absolute errors at hidden pixels of a date in units of the standard deviation."""
    cube = np.ascontiguousarray(cube)
    clear = np.isfinite(cube).all(axis=1)
    wanted = np.zeros(clear.shape, bool)
    wanted[t] = clear[t] & hidden
    clear[t] &= ~hidden
    guide, seen = _seen(guide, cube)
    other = np.ones(clear.shape[1:], bool)
    inner = (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    estimate, deviation, _ = _run(
        cube, guide, clear, seen, wanted, other, models, models["correlation"], params, inner,
        fill_models,
    )  # fmt: skip
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
    settle=_settle,
    std=True,
    guided=True,
    fewest=1,
    reference="Zeng, Shen & Zhang (2013), doi:10.1016/j.rse.2012.12.012",
)
