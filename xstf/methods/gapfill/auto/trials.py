"""What the candidates make of pixels and of whole dates that are hidden from them.

Each is settled once, on all that is clear. For a trial only that is settled again which has the
hidden pixels in it, from there: a rank, lengths in time, calibrations are the scene's. All that is
hidden is hidden from all; of it, a grid of pixels is filled and judged. Candidates and trials are
pieces of work of their own, which do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xstf._method import GapfillSamples
from xstf.methods.gapfill.auto.candidates import (
    IN_TIME,
    WANTED,
    Params,
    own_params,
    run_wanted,
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
from xstf.numerics.threads import each
from xstf.numerics.window_mean import window_mean

# Pixels that are judged, about so many: a grid over the windows. Neighbours err together, so that
# more of them tell little more.
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
    guide = _averaged(samples.guide, params)
    clear = ~missing_pixels(cube)
    gaps = hidden_gaps(cube, times)
    hidden = [gaps, *((span > 0)[None, :, None, None] & clear for span in spans)]
    holed = [samples._replace(cube=without(cube, gone)) for gone in hidden]
    work = [(k, name) for k in range(len(hidden)) for name in states if k == 0 or name in IN_TIME]

    def judge(item: tuple[int, str]) -> tuple[np.ndarray, np.ndarray]:
        k, name = item
        state = settled_again(name, states[name], holed[k], times, params)
        if k > 0 and name == "harmonic":
            assert isinstance(state, SceneSeason)
            state = season_again(state, holed[k].cube, times)
        return _judged(name, state, holed[k], guide, cube, hidden[k], times, params)

    results = dict(zip(work, each(judge, work), strict=True))
    partly, *wholes = (
        _trial([results.get((k, name)) for name in states], _cells(cube, hidden[k]))
        for k in range(len(hidden))
    )
    partly = replace(partly, alike=pixels_alike(partly.errors, partly.spreads, _cells(cube, gaps)))
    wholes = [
        replace(trial, dates=span[trial.dates] + len(times) * k)
        for k, (trial, span) in enumerate(zip(wholes, spans, strict=True))
    ]
    whole = join(wholes, len(states))
    if wholes:
        near = [
            _days_at(blind.cube, cube, gone, times)
            for blind, gone in zip(holed[1:], hidden[1:], strict=True)
        ]
        real = days_to_nearest(cube, times)[:, ~clear.any(axis=(0, 2, 3))]
        whole = replace(whole, weights=matched(np.concatenate(near), real))
    return partly, whole


def _averaged(guide: np.ndarray | None, params: Params) -> np.ndarray | None:
    """Return the guide as the Gaussian process averages it over pixels around."""
    if guide is None:
        return None
    side = own_params("gp", params).speckle
    return np.stack([window_mean(window, side) for window in guide])


def _few(cube: np.ndarray) -> tuple[Any, ...]:
    """Return where the pixels are that are judged: a grid over all windows."""
    height, width = cube.shape[3:]
    area = cube[:, 0, 0].size / PIXELS  # of so many pixels one is judged
    step = max(1, round(area**0.5))
    down, across = min(step, height), min(step, width)
    # Series without space lie along one axis.
    down = down if across == step else min(height, max(1, round(area / across)))
    across = across if down == step else min(width, max(1, round(area / down)))
    return (..., slice(down // 2, None, down), slice(across // 2, None, across))


def _cells(cube: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return which values are judged, ``(window, time, band, y, x)`` of the pixels of `_few`."""
    few = _few(cube)
    return np.asarray(hidden[few][:, :, None] & np.isfinite(cube[few]))


def _days_at(
    blind: np.ndarray, cube: np.ndarray, hidden: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Return the days from each judged value to the nearest clear date, of `days_to_nearest`."""
    there = _cells(cube, hidden)
    near = days_to_nearest(blind[_few(cube)], times)
    found: np.ndarray = np.broadcast_to(near[:, :, None], there.shape)[there]
    return found


def _trial(results: list[tuple[np.ndarray, np.ndarray] | None], there: np.ndarray) -> Trial:
    """Return the errors and spreads of candidates, NaN of those that were not tried."""
    nothing = np.full(int(there.sum()), np.nan, np.float32)
    found = [(nothing, nothing) if result is None else result for result in results]
    errors, spreads = (np.stack(part) for part in zip(*found, strict=True))
    return Trial(errors, spreads, np.nonzero(there)[1])


def _judged(
    name: str, state: object, holed: GapfillSamples, guide: np.ndarray | None, cube: np.ndarray,
    hidden: np.ndarray, times: np.ndarray, params: Params,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return a candidate's errors and spreads at the judged values of what is hidden.

    One in time sees the judged pixels alone, with the ``guide`` that is averaged already; one that
    looks around fills them among all others.
    """
    few, there = _few(cube), _cells(cube, hidden)
    if not there.any():
        return np.empty(0, np.float32), np.empty(0, np.float32)
    wanted = np.zeros(hidden.shape, bool)
    wanted[few] = hidden[few]
    options = own_params(name, params)
    if name not in WANTED:
        part = None if guide is None else guide[few]
        holed = GapfillSamples(np.ascontiguousarray(holed.cube[few]), part)
        wanted, options = wanted[few], own_params(name, Params(space=False))
    estimate, std = _filled(name, holed, wanted, times, state, options)
    if name in WANTED:
        estimate, std = estimate[few], std[few]
    return estimate[there] - cube[few][there], std[there]


def _filled(
    name: str, samples: GapfillSamples, wanted: np.ndarray, times: np.ndarray, state: object,
    options: object,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return a candidate's estimates and spreads of a sample, at least where wanted."""
    guides = [None] * len(samples.cube) if samples.guide is None else list(samples.guide)
    whole = (slice(0, samples.cube.shape[3]), slice(0, samples.cube.shape[4]))
    filled = [
        run_wanted(name, cube, guide, own, times, state, options, whole)
        for cube, guide, own in zip(samples.cube, guides, wanted, strict=True)
    ]
    return np.stack([f.estimate for f in filled]), np.stack([f.spread for f in filled])
