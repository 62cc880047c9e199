"""The default: the methods blended date by date, by their skill on the scene's own gaps.

`settle` hides clear pixels of the scene's sample in the shapes, and for the times, of the scene's
own gaps (`_holdout`), fills them by every candidate and compares. On each date candidate ``m`` gets
a scale ``c``, by which its own standard deviation ``s`` must be taken to match its errors there,

    c(m, t)^2 = [n0 c(m)^2 + sum (error / s)^2] / (n0 + n)

with ``c(m)`` that of all dates and ``n`` the hidden pixels of the date, those counting as one that
err together (`auto.skill`). Dates of which nothing is clear have scales of their own, from hidden
whole dates. The estimate is

    x = sum_m w x(m),   w ~ [c(m, t) s(m)]^-3

so that a candidate counts the more the better it is on that date, and at that pixel by its own
account. (The power -2 is best for errors that are independent; the candidates' are alike in part,
which asks for a sharper choice. From -2 to -4 the error on simulated scenes changes by 1 %.) The
standard deviation is ``[sum_m w (c s)^2]^(1/2)``, times the factor that makes its 90 % interval
hold 90 % of the hidden pixels.

Candidates differ in what they lean on: `regression` on the date's clear pixels everywhere, `hybrid`
and `mnspi` on like ones nearby, `eof` on what is common to dates and pixels, `harmonic` on the
season, `linear` on the nearest dates, `gp` on the season and, where there is a guide, on what sees
through clouds. One that would count for little on a date has no part in it. No constant is tuned to
a scene: what differs between scenes is measured on the scene.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from xstf._checks import check_flags
from xstf._method import Engine, GapfillKernel, GapfillSamples, Method
from xstf.methods.gapfill import eof, gp, harmonic, hybrid, linear, mnspi, regression
from xstf.methods.gapfill.auto.blend import Blend, Result, blend_numpy
from xstf.methods.gapfill.auto.holdout import hidden_dates, hidden_gaps, missing_pixels, without
from xstf.methods.gapfill.auto.skill import Trial, join, skill_by_date
from xstf.numerics.seasonal import season_state

CANDIDATES: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (regression, eof, hybrid, mnspi, harmonic, gp, linear)
}
# Those whose state is of all dates together: next to nothing of a hidden pixel is in it.
POOLED = ("harmonic", "gp", "linear")
# Those that need nothing of the date itself; the others fall back on one of them.
IN_TIME = ("harmonic", "gp", "eof", "linear")
WHOLE_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class Params:
    """The scene chooses the rest.

    Parameters
    ----------
    space : bool
        Whether methods that look at pixels around take part; False blends those in time alone, as
        for series without space.
    """

    space: bool = True

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_flags(self, "space")


@dataclass(frozen=True)
class Candidate:
    """A method that has a part in the blend.

    Parameters
    ----------
    state
        What its ``settle`` returned.
    scale
        ``(time,)``, what its spread is multiplied by; infinite on dates in which it has no part.
    """

    state: object
    scale: np.ndarray


@dataclass(frozen=True)
class State:
    """What the scene chooses.

    Parameters
    ----------
    candidates
        The methods that run, by name.
    factor
        ``(time,)``, of the blend's standard deviation.
    guided
        Whether the guide has any value.
    choice
        By date: the methods and their shares, as text.
    """

    candidates: Mapping[str, Candidate]
    factor: np.ndarray
    guided: bool
    choice: tuple[str, ...]


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Measure the candidates' skill on the scene's sample."""
    cube, guide = samples.cube, samples.guide
    guide = guide if guide is not None and np.isfinite(guide).any() else None
    samples = samples._replace(guide=guide)
    seen, days = samples.images(times)
    season = samples.season or season_state(seen.cube, days)
    samples, seen = samples._replace(season=season), seen._replace(season=season)
    names = [
        n
        for n in CANDIDATES
        if CANDIDATES[n].fewest <= len(days) and (params.space or n in IN_TIME)
    ]
    states = {n: _settled(n, samples, times, params) for n in names}
    # Dates that are only asked for can neither be hidden nor show anything.
    pooled = states if samples.asked is None else _pooled(names, seen, days, params)
    spans = hidden_dates(cube, times, WHOLE_ROUNDS)
    if samples.asked is not None:
        spans = [span[~samples.asked] for span in spans]
    partly, whole = trials(seen, days, pooled, spans, params)
    if samples.asked is not None:
        partly = replace(partly, dates=np.flatnonzero(~samples.asked)[partly.dates])
    clear = np.asarray((~missing_pixels(cube)).any(axis=(0, 2, 3)))
    skill = skill_by_date(partly, whole, clear)
    return State(
        candidates={
            n: Candidate(states[n], scale)
            for n, scale in zip(names, skill.scales, strict=True)
            if np.isfinite(scale).any()
        },
        factor=skill.factor,
        guided=guide is not None,
        choice=tuple(_choice(names, share) for share in skill.shares.T),
    )


def _pooled(
    names: list[str], samples: GapfillSamples, times: np.ndarray, params: Params
) -> dict[str, object]:
    """Return the candidates' states on the dates of images: of the pooled ones, which are kept."""
    return {n: _settled(n, samples, times, params) if n in POOLED else None for n in names}


def _choice(names: list[str], shares: np.ndarray) -> str:
    """Return a date's methods and their shares as text, the largest share first."""
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
    return " ".join(f"{names[i]} {shares[i]:.0%}" for i in order)


def trials(
    samples: GapfillSamples, times: np.ndarray, states: Mapping[str, object],
    spans: list[np.ndarray], params: Params,
) -> tuple[Trial, Trial]:  # fmt: skip
    """Return what the candidates make of hidden gaps, and those in time of hidden spans of dates.

    Candidates whose state is pooled over all dates keep it; the others settle on what is shown.
    """
    cube = samples.cube
    clear = ~missing_pixels(cube)
    kept = {n: state for n, state in states.items() if n in POOLED}
    partly = _try(samples, times, hidden_gaps(cube, times), list(states), kept, params)
    wholes: list[Trial] = []
    for span in spans:
        hidden = (span > 0)[None, :, None, None] & clear
        # The season settled before saw the hidden dates: it is settled anew.
        blind = samples._replace(season=None)
        found = _try(blind, times, hidden, list(states), {}, params, only=IN_TIME)
        wholes.append(replace(found, dates=span[found.dates] + len(times) * len(wholes)))
    return partly, join(wholes, len(states))


def _own_params(record: Method, params: Params) -> Any:
    """Return a candidate's parameters: its defaults, without neighbours where there are none."""
    own = record.params()
    return own if params.space or record.alone is None else record.alone(own)


def _settled(name: str, samples: GapfillSamples, times: np.ndarray, params: Params) -> object:
    """Settle a candidate on a sample."""
    record = CANDIDATES[name]
    if record.settle is None:
        return None
    own = samples if record.guided else samples._replace(guide=None)
    return record.settle(own, times=times, params=_own_params(record, params))


def _try(
    samples: GapfillSamples, times: np.ndarray, hidden: np.ndarray, names: list[str],
    kept: Mapping[str, object], params: Params, only: tuple[str, ...] = (),
) -> Trial:  # fmt: skip
    """Fill what is hidden by every candidate, or by some only."""
    cube = samples.cube
    there = np.broadcast_to(hidden[:, :, None], cube.shape) & np.isfinite(cube)
    errors = np.full((len(names), int(there.sum())), np.nan, np.float32)
    spreads = np.full_like(errors, np.nan)
    holed = samples._replace(cube=without(cube, hidden))
    for i, name in enumerate(names if there.any() else ()):
        if only and name not in only:
            continue
        state = kept[name] if name in kept else _settled(name, holed, times, params)
        estimate, std = fill_windows(name, holed, times, state, params)
        errors[i], spreads[i] = estimate[there] - cube[there], std[there]
    return Trial(errors, spreads, np.nonzero(there)[1])


def fill_windows(
    name: str, samples: GapfillSamples, times: np.ndarray, state: object, params: Params
) -> tuple[np.ndarray, np.ndarray]:
    """Return a candidate's estimates and spreads of a sample."""
    guides = [None] * len(samples.cube) if samples.guide is None else samples.guide
    filled = [
        _run(name, None, cube, guide, times, state, params)
        for cube, guide in zip(samples.cube, guides, strict=True)
    ]
    return np.stack([f[0] for f in filled]), np.stack([f[1] for f in filled])


def _run(
    name: str, engine: Engine | None, cube: np.ndarray, guide: np.ndarray | None,
    times: np.ndarray, state: object, params: Params, inner: tuple[slice, slice] | None = None,
) -> Result:  # fmt: skip
    """Run a candidate's kernel, its first or a named one; every candidate gives a spread."""
    record = CANDIDATES[name]
    first = next(iter(record.kernels))
    kernel = cast(GapfillKernel[Any, Any], record.kernels[first if engine is None else engine])
    estimate, spread, in_space = kernel(
        cube, guide if record.guided else None, times=times, params=_own_params(record, params),
        state=state, inner=inner or (slice(0, cube.shape[2]), slice(0, cube.shape[3])), std=True,
    )  # fmt: skip
    if spread is None:
        raise TypeError(f"{name} gave no standard deviation, by which it would be weighed")
    return Result(estimate, spread, in_space)


def _numpy(
    cube: np.ndarray, guide: np.ndarray | None, *, times: np.ndarray, params: Params,
    state: State, inner: tuple[slice, slice], std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:  # fmt: skip
    """Blend as the definition says, all candidates at once."""
    guide = guide if state.guided else None
    found = [
        _run(n, "numpy", cube, guide, times, candidate.state, params, inner)
        for n, candidate in state.candidates.items()
    ]
    scales = [candidate.scale for candidate in state.candidates.values()]
    estimate, spread, in_space = blend_numpy(found, scales)
    return estimate, _widened(spread, state) if std else None, in_space


def _numba(
    cube: np.ndarray, guide: np.ndarray | None, *, times: np.ndarray, params: Params,
    state: State, inner: tuple[slice, slice], std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:  # fmt: skip
    """Blend one candidate after the other, so that memory does not grow with their number."""
    guide = guide if state.guided else None
    size = tuple(part.stop - part.start for part in inner)
    blend = Blend((*cube.shape[:2], *size))
    for name, candidate in state.candidates.items():
        result = _run(name, None, cube, guide, times, candidate.state, params, inner)
        blend.add(result, candidate.scale)
    estimate, spread, in_space = blend.result()
    return estimate, _widened(spread, state) if std else None, in_space


def _widened(spread: np.ndarray, state: State) -> np.ndarray:
    return np.asarray(spread * state.factor.astype(np.float32)[:, None, None, None])


def _halo(params: Params, ratio: int) -> int:
    if not params.space:
        return 0
    return max(record.halo(record.params(), ratio) for record in CANDIDATES.values())


METHOD = Method(
    name="auto",
    task="gapfill",
    summary="The methods blended date by date, as they do on the scene's own gaps; the default.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=settle,
    std=True,
    guided=True,
    alone=lambda params: replace(params, space=False),
    fewest=1,
    reference="This library; the parts' own references.",
    costly=True,
)
