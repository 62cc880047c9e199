"""The default: the methods judged by the scene's own gaps, and blended date by date.

`settle` hides clear pixels of the scene's sample in the shapes, and for the times, of the scene's
own gaps (`_holdout`), fills them by every candidate and compares. On each date candidate ``m`` gets
a scale ``c``, by which its own standard deviation ``s`` must be taken to match its errors there,

    c(m, t)^2 = [n0 c(m)^2 + sum (error / s)^2] / (n0 + n)

with ``c(m)`` that of all dates and ``n`` the hidden pixels of the date, those counting as one that
err together (`_judge`). Dates of which nothing is clear have scales of their own, from whole dates
that are hidden. The estimate is

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
a scene: what differs between scenes is judged on the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xstf._method import Method
from xstf.methods.gapfill import eof, gp, harmonic, hybrid, linear, mnspi, regression
from xstf.methods.gapfill.auto.blend import Blend, blend_numpy
from xstf.methods.gapfill.auto.holdout import hidden_dates, hidden_gaps, missing_pixels, without
from xstf.methods.gapfill.auto.skill import Trial, join, judge
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
    """It has none: the scene chooses."""


def settle(samples: dict[str, Any], *, times: np.ndarray, params: Params) -> dict[str, Any]:
    """Judge the candidates on the scene's sample.

    Returns
    -------
    dict
        ``states`` of the candidates that run and ``scales`` (time,) of each, by name; ``factor``
        (time,) of the standard deviation; ``said``, the choice by date in words.
    """
    view = {"cube": samples["cube"]}
    if np.isfinite(samples.get("guide", np.nan)).any():
        view["guide"] = samples["guide"]
    view["season"] = samples.get("season") or season_state(view["cube"], times)
    names = [n for n in CANDIDATES if CANDIDATES[n].fewest <= len(times)]
    states = {n: _state(n, view, times) for n in names}
    partly, whole = trials(view, times, states)
    clear = np.asarray((~missing_pixels(view["cube"])).any(axis=(0, 2, 3)))
    scales, factor, shares = judge(partly, whole, clear)
    run = [n for n, scale in zip(names, scales, strict=True) if np.isfinite(scale).any()]
    return {
        "states": {n: states[n] for n in run},
        "scales": {n: scales[names.index(n)] for n in run},
        "factor": factor,
        "guided": "guide" in view,
        "said": [_said(names, share) for share in shares.T],
    }


def _said(names: list[str], shares: np.ndarray) -> str:
    """Return a date's choice in words, the largest share first."""
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
    return " ".join(f"{names[i]} {shares[i]:.0%}" for i in order)


def trials(
    view: dict[str, Any], times: np.ndarray, states: dict[str, dict[str, Any]]
) -> tuple[Trial, Trial]:
    """Return what the candidates make of hidden gaps, and those in time of whole hidden dates.

    Candidates whose state is pooled over all dates keep it; the others settle on what is shown.
    """
    cube = view["cube"]
    clear = ~missing_pixels(cube)
    kept = {n: state for n, state in states.items() if n in POOLED}
    partly = _try(view, times, hidden_gaps(cube), list(states), kept)
    wholes: list[Trial] = []
    for window in hidden_dates(cube, times, WHOLE_ROUNDS):
        hidden = (window > 0)[None, :, None, None] & clear
        # The season settled before saw the hidden dates: it is settled anew.
        blind = {k: v for k, v in view.items() if k != "season"}
        found = _try(blind, times, hidden, list(states), {}, only=IN_TIME)
        wholes.append(replace(found, dates=window[found.dates] + len(times) * len(wholes)))
    return partly, join(wholes, len(states))


def _state(name: str, view: dict[str, Any], times: np.ndarray) -> dict[str, Any]:
    """Settle a candidate on a sample."""
    record = CANDIDATES[name]
    if record.settle is None:
        return {}
    known = {k: v for k, v in view.items() if k != "guide" or record.guided}
    state: dict[str, Any] = record.settle(known, times=times, params=record.params())
    return state


def _try(
    view: dict[str, Any], times: np.ndarray, hidden: np.ndarray, names: list[str],
    kept: dict[str, dict[str, Any]], only: tuple[str, ...] = (),
) -> Trial:  # fmt: skip
    """Fill what is hidden by every candidate, or by some only."""
    cube = view["cube"]
    there = np.broadcast_to(hidden[:, :, None], cube.shape) & np.isfinite(cube)
    errors = np.full((len(names), int(there.sum())), np.nan, np.float32)
    spreads = np.full_like(errors, np.nan)
    holed = view | {"cube": without(cube, hidden)}
    for i, name in enumerate(names if there.any() else ()):
        if only and name not in only:
            continue
        state = kept[name] if name in kept else _state(name, holed, times)
        estimate, std = fill_spots(name, holed, times, state)
        errors[i], spreads[i] = estimate[there] - cube[there], std[there]
    return Trial(errors, spreads, np.nonzero(there)[1])


def fill_spots(
    name: str, view: dict[str, Any], times: np.ndarray, state: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a candidate's estimates and spreads of a sample."""
    filled = [
        _run(name, None, cube, view["guide"][s] if "guide" in view else None, times, state, True)
        for s, cube in enumerate(view["cube"])
    ]
    return np.stack([f[0] for f in filled]), np.stack([f[1] for f in filled])


def _run(
    name: str, engine: str | None, cube: np.ndarray, guide: np.ndarray | None, times: np.ndarray,
    state: dict[str, Any], std: bool, inner: tuple[slice, slice] | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    """Run a candidate's kernel, its first or a named one."""
    record = CANDIDATES[name]
    kernels: dict[str, Any] = {str(k): v for k, v in record.kernels.items()}
    kernel = kernels[engine or next(iter(kernels))]
    part = inner or (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    results: tuple[Any, ...] = kernel(
        cube, guide if record.guided else None, times=times, params=record.params(), state=state,
        inner=part, std=std,
    )  # fmt: skip
    return results


def _numpy(
    cube: np.ndarray, guide: np.ndarray | None, *, times: np.ndarray, params: Params,
    state: dict[str, Any], inner: tuple[slice, slice], std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:  # fmt: skip
    """Blend as the definition says, all candidates at once."""
    guide = guide if state["guided"] else None
    names = list(state["scales"])
    found = [_run(n, "numpy", cube, guide, times, state["states"][n], True, inner) for n in names]
    estimate, spread, in_space = blend_numpy(found, [state["scales"][n] for n in names])
    return estimate, _widened(spread, state) if std else None, in_space


def _numba(
    cube: np.ndarray, guide: np.ndarray | None, *, times: np.ndarray, params: Params,
    state: dict[str, Any], inner: tuple[slice, slice], std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:  # fmt: skip
    """Blend one candidate after the other, so that memory does not grow with their number."""
    guide = guide if state["guided"] else None
    size = tuple(part.stop - part.start for part in inner)
    blend = Blend((*cube.shape[:2], *size))
    for name, scale in state["scales"].items():
        found = _run(name, None, cube, guide, times, state["states"][name], True, inner)
        blend.add(found[0], found[1], found[2], scale)
    estimate, spread, in_space = blend.result()
    return estimate, _widened(spread, state) if std else None, in_space


def _widened(spread: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    return np.asarray(spread * state["factor"].astype(np.float32)[:, None, None, None])


def _halo(params: Params, ratio: int) -> int:
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
    fewest=1,
    reference="This library; the parts' own references.",
)
