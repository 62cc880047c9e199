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

Candidates differ in what they lean on: `regression` on the date's clear pixels everywhere, `mnspi`
on like ones nearby, `eof` on what is common to dates and pixels, `harmonic` on the season, `linear`
on the nearest dates, `gp` on the season and, where there is a guide, on what sees through clouds.
One that would count for little on a date has no part in it. `hybrid` was one of them: without it
the error was lower on nine of twelve real cases of partly clear dates (by up to 2.5 %, and at most
0.6 % higher on the others) and by 1 % in the mean of eight simulated series. Without `mnspi` it is
lower under simulated haze, whose truth is free of it, and 2 % higher in the mean of six real cases.

What is not known counts, too (`auto.skill`): pixels that err together are as many as the errors'
correlation in space says; whole dates are hidden in longer gaps than the real ones, so hidden cells
count by how far lost ones are from observations; where the methods' order changes from one hidden
span to the next, weights are drawn to equal ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from xstf._method import GapfillSamples, Method
from xstf.methods.gapfill.auto.blend import Blend, blend_numpy
from xstf.methods.gapfill.auto.candidates import (
    ALONE,
    CANDIDATES,
    GUIDED,
    IN_TIME,
    OneSeason,
    Params,
    own_params,
    run,
    run_wanted,
    settled,
)
from xstf.methods.gapfill.auto.holdout import hidden_dates, missing_pixels
from xstf.methods.gapfill.auto.skill import guarded, skill_by_date
from xstf.methods.gapfill.auto.trials import trials
from xstf.numerics.seasonal import season_state
from xstf.numerics.threads import each

# Sets of whole dates that are hidden, each by itself.
WHOLE_ROUNDS = 2


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
    guide_use
        For which gaps the Gaussian process looks at the guide, as text; empty without a guide.
    """

    candidates: Mapping[str, Candidate]
    factor: np.ndarray
    guided: bool
    choice: tuple[str, ...]
    guide_use: str = ""


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
        if n != ALONE or guide is not None
    ]
    states = dict(
        zip(names, each(lambda n: settled(n, samples, times, params), names), strict=True)
    )
    # Dates that are only asked for can neither be hidden nor show anything.
    shown = states
    if samples.asked is not None:
        shown = {n: settled(n, seen, days, params) for n in names}
    partly, whole = trials(seen, days, shown, hidden_dates(seen.cube, days, WHOLE_ROUNDS), params)
    told = ""
    if ALONE in names:
        pair = names.index(GUIDED), names.index(ALONE)
        (partly, on_part), (whole, on_whole) = (guarded(t, *pair) for t in (partly, whole))
        told = _of_guide(on_part, on_whole)
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
        guide_use=told,
        choice=tuple(_choice(names, share) for share in skill.shares.T),
    )


def _of_guide(on_part: bool, on_whole: bool) -> str:
    """Return in words for which gaps the Gaussian process looks at the guide."""
    kinds = {"partly clear dates": on_part, "lost dates": on_whole}
    parts = [f"{kind}: {'used' if used else 'left out'}" for kind, used in kinds.items()]
    return f"gp, by hidden pixels: {'; '.join(parts)}"


def _choice(names: list[str], shares: np.ndarray) -> str:
    """Return a date's methods and their shares as text, the largest share first."""
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
    return " ".join(f"{names[i]} {shares[i]:.0%}" for i in order)


def _numpy(
    cube: np.ndarray, guide: np.ndarray | None, *, times: np.ndarray, params: Params,
    state: State, inner: tuple[slice, slice], std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:  # fmt: skip
    """Blend as the definition says, all candidates at once."""
    guide = guide if state.guided else None
    found = [
        run(n, "numpy", cube, guide, times, c.state, own_params(n, params), inner)
        for n, c in state.candidates.items()
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
    blend, season = Blend((*cube.shape[:2], *size)), OneSeason(inner)
    for name, candidate in state.candidates.items():
        options = own_params(name, params)
        wanted = np.broadcast_to(np.isfinite(candidate.scale)[:, None, None], (len(cube), *size))
        result = run_wanted(
            name, cube, guide, wanted, times, candidate.state, options, inner, season
        )
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
