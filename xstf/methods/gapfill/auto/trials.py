"""What the candidates make of pixels and of whole dates that are hidden from them.

Each is settled once, on all that is clear. For a trial only that is settled again which has the
hidden pixels in it, from there: a rank, lengths in time, calibrations are the scene's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from xstf._method import GapfillSamples
from xstf.methods.gapfill.auto.candidates import (
    CANDIDATES,
    IN_TIME,
    Params,
    own_params,
    run,
    settled_again,
)
from xstf.methods.gapfill.auto.holdout import (
    days_to_nearest,
    hidden_gaps,
    missing_pixels,
    without,
)
from xstf.methods.gapfill.auto.skill import Trial, join, matched, pixels_alike
from xstf.numerics.seasonal import SceneSeason, season_again
from xstf.numerics.window_mean import window_mean

# Pixels that whole dates are hidden of: all those of a date err together, so that more of them
# tell no more.
PIXELS = 1024


def trials(
    samples: GapfillSamples, times: np.ndarray, states: Mapping[str, object],
    spans: list[np.ndarray], params: Params,
) -> tuple[Trial, Trial]:  # fmt: skip
    """Return what the candidates make of hidden gaps, and those in time of hidden spans of dates.

    Parameters
    ----------
    samples
        Of the scene.
    times
        Days of its dates.
    states
        What the candidates settled on all that is clear, by name.
    spans
        Of dates to hide whole, of `hidden_dates`.
    params
        Of `auto`.
    """
    cube = samples.cube
    hidden = hidden_gaps(cube, times)
    holed = samples._replace(cube=without(cube, hidden))
    partly = _errors(
        holed, cube, hidden, times,
        {n: settled_again(n, state, holed, times, params) for n, state in states.items()},
        {n: own_params(n, params) for n in states},
    )  # fmt: skip
    clear = ~missing_pixels(cube)
    lost = ~clear.any(axis=(0, 2, 3))
    real = days_to_nearest(cube, times)[:, lost]
    wholes: list[Trial] = []
    near: list[np.ndarray] = []
    for span in spans:
        gone = (span > 0)[None, :, None, None] & clear
        blind = samples._replace(cube=without(cube, gone))
        found, days = _hidden_dates(blind, cube, gone, times, states, params)
        wholes.append(replace(found, dates=span[found.dates] + len(times) * len(wholes)))
        near.append(days)
    whole = join(wholes, len(states))
    if near:
        whole = replace(whole, weights=matched(np.concatenate(near), real))
    return partly, whole


def _hidden_dates(
    blind: GapfillSamples, cube: np.ndarray, hidden: np.ndarray, times: np.ndarray,
    states: Mapping[str, object], params: Params,
) -> tuple[Trial, np.ndarray]:  # fmt: skip
    """Return what the candidates in time make of whole dates, at some pixels.

    With the days from each cell to the nearest clear date, of `days_to_nearest`.
    """
    again: dict[str, object] = {}
    for name in (n for n in states if n in IN_TIME):
        again[name] = settled_again(name, states[name], blind, times, params)
    if "harmonic" in again:
        scene = again["harmonic"]
        assert isinstance(scene, SceneSeason)
        again["harmonic"] = season_again(scene, blind.cube, times)
    step = max(1, int((cube[:, 0, 0].size / PIXELS) ** 0.5))
    every = (..., slice(step // 2, None, step), slice(step // 2, None, step))
    guide = blind.guide
    if guide is not None:
        # Before pixels are left out: the guide is averaged over pixels around.
        side = own_params("gp", params).speckle
        guide = np.stack([window_mean(window, side) for window in guide])[every]
    few = GapfillSamples(np.ascontiguousarray(blind.cube[every]), guide)
    alone = Params(space=False)
    found = _errors(
        few, cube[every], hidden[every], times, again, {n: own_params(n, alone) for n in again}
    )
    names, rows = list(states), list(again)
    errors, spreads = (
        np.full((len(names), found.dates.size), np.nan, np.float32) for _ in range(2)
    )
    for i, name in enumerate(rows):
        errors[names.index(name)] = found.errors[i]
        spreads[names.index(name)] = found.spreads[i]
    near = np.broadcast_to(days_to_nearest(few.cube, times)[:, :, None], few.cube.shape)
    there = np.broadcast_to(hidden[every][:, :, None], few.cube.shape) & np.isfinite(cube[every])
    return Trial(errors, spreads, found.dates), near[there]


def _errors(
    holed: GapfillSamples, cube: np.ndarray, hidden: np.ndarray, times: np.ndarray,
    states: Mapping[str, object], options: Mapping[str, object],
) -> Trial:  # fmt: skip
    """Return the errors and spreads of the candidates' estimates where pixels are hidden."""
    there = np.broadcast_to(hidden[:, :, None], cube.shape) & np.isfinite(cube)
    errors = np.full((len(states), int(there.sum())), np.nan, np.float32)
    spreads = np.full_like(errors, np.nan)
    for i, name in enumerate(states if there.any() else ()):
        estimate, std = fill_windows(name, holed, times, states[name], options[name])
        errors[i], spreads[i] = estimate[there] - cube[there], std[there]
    alike = pixels_alike(errors, spreads, there) if there.any() else 1.0
    return Trial(errors, spreads, np.nonzero(there)[1], alike)


def fill_windows(
    name: str, samples: GapfillSamples, times: np.ndarray, state: object, options: object
) -> tuple[np.ndarray, np.ndarray]:
    """Return a candidate's estimates and spreads of a sample."""
    own = samples.guide if CANDIDATES[name].guided else None
    guides = [None] * len(samples.cube) if own is None else list(own)
    filled = [
        run(name, None, cube, guide, times, state, options)
        for cube, guide in zip(samples.cube, guides, strict=True)
    ]
    return np.stack([f[0] for f in filled]), np.stack([f[1] for f in filled])
