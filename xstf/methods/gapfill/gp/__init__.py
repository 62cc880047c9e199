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
  from hiding dates (see ``_coregion``).
- Several kernels and a mixing matrix for each (the paper has one): SAR may follow the season and
  not the weather. The season is not in the paper. It carries gaps of months.
- ``W`` has ``factors`` columns, chosen where the noise is one in all outputs.
- The guide is averaged over a window of ``speckle`` pixels: one SAR pixel is mostly speckle.
- All solves are exact: what is shared between pixels is the guide's dates, and the inverse of the
  covariance of all dates (``_gp_basis``). A basis cut at the few strongest courses was left: with
  weather of a week, half of them are needed for four digits.
- Without a guide the factors are taken to be independent, so that a date seen whole leaves one
  small system a factor. It cost up to 1 % of the error where it was compared.

A guide that says nothing at a pixel changes nothing there. A band that a pixel never shows stays
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xstf._method import Method
from xstf.methods.gapfill.gp.basis import Basis, basis, given, group, systems, tables
from xstf.methods.gapfill.gp.coregionalization import learn
from xstf.methods.gapfill.gp.solve import fill_mixed, fill_whole


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
        if self.factors != int(self.factors) or self.factors < 1:
            raise ValueError(f"factors={self.factors!r}: give a whole number of at least 1")
        if self.speckle != int(self.speckle) or self.speckle < 1 or self.speckle % 2 == 0:
            raise ValueError(f"speckle={self.speckle!r}: give an odd whole number of at least 1")


def _halo(params: Params, ratio: int) -> int:
    """Return the reach: half of the window over the guide."""
    return params.speckle // 2


def _settle(samples: dict[str, np.ndarray], *, times: np.ndarray, params: Params) -> dict[str, Any]:
    """Return the scene's scales, loadings, noise, kernels and calibration."""
    cube = samples["cube"]
    guide = samples.get("guide")
    spots = [_pixels(spot) for spot in cube]
    if guide is not None:
        smooth = (_pixels(_average(spot, params.speckle)) for spot in guide)
        spots = [np.concatenate(pair, axis=2) for pair in zip(spots, smooth, strict=True)]
    learnt = learn(np.concatenate(spots), cube.shape[2], times, params.factors)
    kernel = np.einsum("ctu,crs->turs", learnt["kernels"], learnt["mix"])
    return {
        "scale": learnt["scale"],
        "loading": learnt["loading"],
        "noise": learnt["noise"],
        "kernel": kernel,
        "inflate": learnt["inflate"],
    }


def _pixels(stack: np.ndarray) -> np.ndarray:
    """Return ``(time, band, y, x)`` as ``(pixel, time, band)``."""
    return np.asarray(stack.reshape(*stack.shape[:2], -1).transpose(2, 0, 1))


def _average(guide: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the valid pixels of a window on the last two axes, NaN without any."""
    if window == 1:
        return guide
    reach = window // 2
    valid = np.isfinite(guide)
    total, number = np.where(valid, guide, 0).astype(np.float64), valid.astype(np.float64)
    # Sums of slices, not running sums: a pixel must not depend on where its tile begins.
    for axis in (-2, -1):
        total, number = (_window_sum(a, reach, axis) for a in (total, number))
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return np.where(valid, mean, np.nan).astype(np.float32)


def _window_sum(values: np.ndarray, reach: int, axis: int) -> np.ndarray:
    margins = [(0, 0)] * values.ndim
    margins[axis] = (reach, reach)
    padded = np.moveaxis(np.pad(values, margins), axis, -1)
    size = values.shape[axis]
    total = padded[..., reach : reach + size].copy()
    # In pairs from the middle: a flipped image gives the flipped sum, to the last digit.
    for k in range(1, reach + 1):
        total += padded[..., reach - k : reach - k + size] + padded[..., reach + k :][..., :size]
    return np.moveaxis(total, -1, axis)


def _kernel(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: dict[str, Any],
    inner: tuple[slice, slice],
    std: bool,
    engine: Callable[..., tuple[np.ndarray, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Average the guide, and have every pixel of ``inner`` solved."""
    if guide is None:
        guide = np.empty((len(cube), 0, *cube.shape[2:]), np.float32)
    guide = _average(guide, params.speckle)[:, :, *inner]
    estimate, deviation = engine(cube[:, :, *inner], guide, state, std)
    return estimate, deviation, None


def _solve_numpy(
    cube: np.ndarray, guide: np.ndarray, state: dict[str, Any], std: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Solve pixel by pixel, all outputs and dates in one system."""
    dates, bands, *size = cube.shape
    both = np.concatenate([cube, guide], axis=1).astype(np.float64)
    signal = np.einsum("pr,turs,qs->tpuq", state["loading"], state["kernel"], state["loading"])
    signal = signal.reshape(dates * both.shape[1], -1)
    noise = np.tile(state["noise"], dates)
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
        values = ((pixel - mean) / state["scale"]).ravel()[cells]
        cross = signal[:, cells]
        weights = np.linalg.solve(signal[np.ix_(cells, cells)] + np.diag(noise[cells]), cross.T)
        estimate[..., y, x] = mean + state["scale"] * (values @ weights).reshape(pixel.shape)
        variance = np.diag(signal) - (cross * weights.T).sum(axis=1) + noise
        spread = state["scale"] * np.sqrt(np.maximum(variance, 0)).reshape(pixel.shape)
        deviation[..., y, x] = np.where(~seen & np.isfinite(mean), spread, np.nan)
    if not std:
        return estimate[:, :bands], None
    inflate = state["inflate"].astype(np.float32)[:, None, None]
    return estimate[:, :bands], deviation[:, :bands] * inflate


def _solve_numba(
    cube: np.ndarray, guide: np.ndarray, state: dict[str, Any], std: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Solve together what sees the guide on the same dates, and then the same of the cube."""
    dates, bands = cube.shape[:2]
    cube = np.ascontiguousarray(cube)
    estimate = np.full(cube.shape, np.nan, np.float32)
    spread = np.full(cube.shape if std else (0, 0, 0, 0), np.nan, np.float32)
    shared = basis(state, bands)
    weight = 1 / (np.sqrt(state["noise"]) * state["scale"])
    pixels = np.isfinite(cube).reshape(dates * bands, cube[0, 0].size)
    some = np.flatnonzero(pixels.any(axis=0))
    sources = _standardise(guide, weight[bands:])
    seen = np.isfinite(guide).reshape(len(sources), pixels.shape[1])[:, some]
    order, starts, cells = group(seen)
    for known, first, last in zip(cells, starts[:-1], starts[1:], strict=True):
        chosen = some[order[first:last]]
        _solve_alike(
            cube,
            sources,
            known,
            chosen,
            pixels[:, chosen],
            shared,
            weight[:bands],
            estimate,
            spread,
        )
    if not std:
        return estimate, None
    return estimate, spread * state["inflate"].astype(np.float32)[:, None, None]


def _standardise(guide: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the guide ``(cell, y, x)`` about its means and over its noise, 0 where missing."""
    valid = np.isfinite(guide)
    total = np.where(valid, guide, 0).sum(axis=0, dtype=np.float64)
    mean = total / np.maximum(valid.sum(axis=0), 1)
    values = np.where(valid, (guide - mean) * weight[:, None, None], 0)
    return np.asarray(values.reshape(len(guide) * guide.shape[1], *guide.shape[2:]))


def _solve_alike(
    cube: np.ndarray,
    sources: np.ndarray,
    known: np.ndarray,
    chosen: np.ndarray,
    pixels: np.ndarray,
    shared: Basis,
    weight: np.ndarray,
    estimate: np.ndarray,
    std: np.ndarray,
) -> None:
    """Write ``chosen``, which see ``pixels (cell, pixel)``, and ``known`` of the guide's cells."""
    dates, bands = cube.shape[:2]
    base, width = shared.base, shared.base.shape[1]
    spread, pull = given(shared, dates * width, known)
    source = np.flatnonzero(known)
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
        mine = chosen[order[np.repeat(part, number)]]
        begin = np.concatenate([[0], np.cumsum(number[part])])
        own = cells[part]
        if mixed:
            which, count, proj, rows = tables(own, base)
            fill_mixed(
                cube, sources, mine, begin, own, which, count, proj, rows, base, spread, source,
                pull, weight, estimate, std,
            )  # fmt: skip
            continue
        there = own if each else np.repeat(whole[part][:, :, None], width, axis=2)
        there = there.swapaxes(1, 2) if shared.apart else there.reshape(len(own), 1, -1)
        spreads, precisions = systems(spread, width, shared.apart, len(own))
        fill_whole(
            cube, sources, mine, begin, own, np.ascontiguousarray(there), base,
            1 if each or shared.apart else width, spreads, precisions, source, pull, weight,
            estimate, std,
        )  # fmt: skip


_numpy = partial(_kernel, engine=_solve_numpy)
_numba = partial(_kernel, engine=_solve_numba)

METHOD = Method(
    name="gp",
    task="gapfill",
    summary="Gaussian process over all bands and SAR, learnt once for the scene; gaps of months.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=_settle,
    std=True,
    smooth=True,
    guided=True,
    reference="Pipia et al. (2019), doi:10.1016/j.rse.2019.111452",
)
