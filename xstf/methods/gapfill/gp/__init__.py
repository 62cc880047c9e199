"""Multi-output Gaussian process: bands and SAR as sums of a few factors that vary in time.

Pipia, L. et al. (2019). Fusing optical and SAR time series for LAI gap filling with multioutput
Gaussian processes. Remote Sensing of Environment 235, 111452. doi:10.1016/j.rse.2019.111452

A pixel's outputs ``p`` (the cube's bands, then the guide's), about their own means ``m_p``, are

``y_p(t) = m_p + s_p (sum_r W[p, r] z_r(t) + e_p)``, ``cov(z_r(t), z_q(u)) = sum_c M_c[r, q]
k_c(t - u)``, ``var(e_p) = d_p``

with four kernels ``k_c``: a constant of large variance (which makes the mean that of generalised
least squares), a season that repeats, and Matern-3/2 of a short and a four times longer length.
The estimate is the mean of ``y - e`` given all that is seen, ``k (K + D)^-1 y``; the variance is
that of a new observation, ``k** - k (K + D)^-1 k' + d``.

What the paper leaves open, or where we differ from it:

- The paper fits everything at each pixel, by maximum likelihood: seconds a pixel, and a course of
  the weather fitted to some twenty values. Here all but ``m`` and ``z`` is the scene's, from
  covariances between dates over sampled pixels, and the lengths and the deviations' calibration
  from hiding dates (see `gp.coregionalization`).
- Several kernels and a mixing matrix for each (the paper has one): SAR may follow the season and
  not the weather. The season is not in the paper. It carries gaps of months.
- ``W`` has ``factors`` columns, chosen where the noise is one in all outputs.
- The guide is averaged over a window of ``speckle`` pixels: one SAR pixel is mostly speckle.
- All solves are exact: what is shared between pixels is the guide's dates, and the inverse of the
  covariance of all dates (`gp.basis`). A basis cut at the few strongest courses was left: with
  weather of a week, half of them are needed for four digits.
- Without a guide the factors are taken to be independent, so that a date seen whole leaves one
  small system a factor. It cost up to 1 % of the error where it was compared.

A guide that says nothing at a pixel changes nothing there. A band that a pixel never shows stays
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from xstf._checks import check_at_least, check_odd
from xstf._method import GapfillSamples, Method
from xstf.methods.gapfill.gp.basis import Basis, find_basis, given, group, systems, tables
from xstf.methods.gapfill.gp.coregionalization import kernels, learn
from xstf.methods.gapfill.gp.solve import (
    Given,
    Groups,
    Results,
    Series,
    Systems,
    fill_mixed,
    fill_whole,
    room_mixed,
    room_whole,
)
from xstf.numerics.window_mean import window_mean


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of the Gaussian process.

    Parameters
    ----------
    factors : int
        How many independent courses in time the bands and the guide are made of, at most. More
        take time and change little: most of what bands do, they do together.
    speckle : int
        Side of the window over which the guide is averaged, in pixels, odd; 1 leaves it as it is.
    """

    factors: int = 6
    speckle: int = 5

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_at_least(self, factors=1)
        check_odd(self, speckle=1)


@dataclass(frozen=True)
class State:
    """What is the scene's; outputs are the cube's bands, then the guide's.

    Parameters
    ----------
    scale
        ``s``, ``(output,)``.
    loading
        ``W``, ``(output, factor)``.
    noise
        ``d``, ``(output,)``.
    kernel
        Covariance of the factors between dates, ``(time, time, factor, factor)``.
    inflate
        ``(band,)``, what makes 90 % intervals of the cube's bands hold 90 %.
    """

    scale: np.ndarray
    loading: np.ndarray
    noise: np.ndarray
    kernel: np.ndarray
    inflate: np.ndarray


# A solver: cube, guide, state, whether the std is wanted; it gives the estimate and the std.
Solver: TypeAlias = Callable[
    [np.ndarray, np.ndarray, State, bool], tuple[np.ndarray, np.ndarray | None]
]


def _halo(params: Params, ratio: int) -> int:
    """Return the reach: half of the window over the guide."""
    return params.speckle // 2


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return the scene's scales, loadings, noise, kernels and calibration."""
    every = times
    samples, times = samples.images(times)
    cube, guide = samples.cube, samples.guide
    parts = [_pixels(window) for window in cube]
    if guide is not None:
        smooth = (_pixels(window_mean(window, params.speckle)) for window in guide)
        parts = [np.concatenate(pair, axis=2) for pair in zip(parts, smooth, strict=True)]
    model, length, scale, inflate = learn(
        np.concatenate(parts), cube.shape[2], times, params.factors
    )
    kernel = np.einsum("ctu,crs->turs", kernels(every, length), model.mix)
    return State(scale, model.loading, model.noise, kernel, inflate)


def _pixels(stack: np.ndarray) -> np.ndarray:
    """Return ``(time, band, y, x)`` as ``(pixel, time, band)``."""
    return np.asarray(stack.reshape(*stack.shape[:2], -1).transpose(2, 0, 1))


def _kernel(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
    solve: Solver,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Average the guide, and have every pixel of ``inner`` solved."""
    if guide is None:
        guide = np.empty((len(cube), 0, *cube.shape[2:]), np.float32)
    guide = window_mean(guide, params.speckle)[:, :, *inner]
    estimate, deviation = solve(cube[:, :, *inner], guide, state, std)
    return estimate, deviation, None


def _solve_numpy(
    cube: np.ndarray, guide: np.ndarray, state: State, std: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Solve pixel by pixel, all outputs and dates in one system."""
    dates, bands, *size = cube.shape
    both = np.concatenate([cube, guide], axis=1).astype(np.float64)
    signal = np.einsum("pr,turs,qs->tpuq", state.loading, state.kernel, state.loading)
    signal = signal.reshape(dates * both.shape[1], -1)
    noise = np.tile(state.noise, dates)
    estimate, deviation = (np.full(both.shape, np.nan, np.float32) for _ in range(2))
    for y, x in np.ndindex(*size):
        pixel = both[..., y, x]
        seen = np.isfinite(pixel)
        if not seen[:, :bands].any():
            continue
        number = seen.sum(axis=0)
        mean = np.full(len(number), np.nan)
        np.divide(np.where(seen, pixel, 0).sum(axis=0), number, out=mean, where=number > 0)
        cells = np.flatnonzero(seen)
        values = ((pixel - mean) / state.scale).ravel()[cells]
        cross = signal[:, cells]
        weights = np.linalg.solve(signal[np.ix_(cells, cells)] + np.diag(noise[cells]), cross.T)
        estimate[..., y, x] = mean + state.scale * (values @ weights).reshape(pixel.shape)
        variance = np.diag(signal) - (cross * weights.T).sum(axis=1) + noise
        spread = state.scale * np.sqrt(np.maximum(variance, 0)).reshape(pixel.shape)
        deviation[..., y, x] = np.where(~seen & np.isfinite(mean), spread, np.nan)
    if not std:
        return estimate[:, :bands], None
    inflate = state.inflate.astype(np.float32)[:, None, None]
    return estimate[:, :bands], deviation[:, :bands] * inflate


def _solve_numba(
    cube: np.ndarray, guide: np.ndarray, state: State, std: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Solve together what sees the guide on the same dates, and then the same of the cube."""
    dates, bands = cube.shape[:2]
    estimate = np.full(cube.shape, np.nan, np.float32)
    spread = np.full(cube.shape if std else (0, 0, 0, 0), np.nan, np.float32)
    out = Results(estimate, spread)
    shared = find_basis(state.loading, state.noise, state.kernel, bands)
    weight = 1 / (np.sqrt(state.noise) * state.scale)
    pixels = np.isfinite(cube).reshape(dates * bands, cube[0, 0].size)
    some = np.flatnonzero(pixels.any(axis=0))
    sources = _standardise(guide, weight[bands:])
    view = Series(np.ascontiguousarray(cube), sources, weight[:bands])
    seen = np.isfinite(guide).reshape(len(sources), pixels.shape[1])[:, some]
    order, starts, cells = group(seen)
    for own, first, last in zip(cells, starts[:-1], starts[1:], strict=True):
        chosen = some[order[first:last]]
        _solve_alike(view, own, chosen, pixels[:, chosen], shared, out)
    if not std:
        return estimate, None
    return estimate, spread * state.inflate.astype(np.float32)[:, None, None]


def _standardise(guide: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the guide ``(cell, y, x)`` about its means and over its noise, 0 where missing."""
    valid = np.isfinite(guide)
    total = np.where(valid, guide, 0).sum(axis=0, dtype=np.float64)
    mean = total / np.maximum(valid.sum(axis=0), 1)
    values = np.where(valid, (guide - mean) * weight[:, None, None], 0)
    return np.asarray(values.reshape(len(guide) * guide.shape[1], *guide.shape[2:]))


def _solve_alike(
    view: Series,
    source: np.ndarray,
    chosen: np.ndarray,
    pixels: np.ndarray,
    shared: Basis,
    out: Results,
) -> None:
    """Write ``chosen``, which see ``pixels (cell, pixel)`` and of the guide's cells ``source``."""
    dates, bands = view.cube.shape[:2]
    base, width = shared.base, shared.base.shape[1]
    spread, pull = map(np.ascontiguousarray, given(shared, dates * width, source))
    guide = Given(np.flatnonzero(source), pull)
    order, starts, cells = group(pixels)
    cells = cells.reshape(-1, dates, bands)
    each = np.array_equal(base, np.eye(bands))
    whole = np.asarray(cells.all(axis=2))
    plain = np.asarray((each | whole | ~cells.any(axis=2)).all(axis=1))
    number = np.diff(starts)
    for mixed in (False, True):
        part = plain != mixed
        if not part.any():
            continue
        own = cells[part]
        begin = np.concatenate([[0], np.cumsum(number[part])])
        groups = Groups(chosen[order[np.repeat(part, number)]], begin, own)
        if mixed:
            room = room_mixed(view, len(spread), width)
            fill_mixed(view, guide, groups, tables(own, base), base, spread, room, out)
            continue
        there = own if each else np.repeat(whole[part][:, :, None], width, axis=2)
        there = there.swapaxes(1, 2) if shared.apart else there.reshape(len(own), 1, -1)
        spreads, precisions = systems(spread, width, shared.apart, len(own))
        reach = 1 if each or shared.apart else width
        system = Systems(np.ascontiguousarray(there), spreads, precisions, reach)
        fill_whole(view, guide, groups, system, base, room_whole(view, system, width), out)


_numpy = partial(_kernel, solve=_solve_numpy)
_numba = partial(_kernel, solve=_solve_numba)

METHOD = Method(
    name="gp",
    task="gapfill",
    summary="Gaussian process over all bands and SAR, learnt once for the scene; gaps of months.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=settle,
    std=True,
    smooth=True,
    guided=True,
    alone=lambda params: replace(params, speckle=1),
    reference="Pipia et al. (2019), doi:10.1016/j.rse.2019.111452",
    costly=True,
)
