"""Fit-FC: regression on the coarse grid, similar-pixel filtering, residual compensation.

Wang, Q. & Atkinson, P. M. (2018). Spatio-temporal fusion for daily Sentinel-2 images. Remote
Sensing of Environment 204, 31-42. doi:10.1016/j.rse.2017.10.046

With ``F_k, C_k`` the fine and coarse image of pair ``k``, ``C`` the coarse image of the target date
and ``^`` a map on the coarse grid taken to fine pixels, band by band:

1. Regression. Around each coarse pixel, ``C = sum_k a_k C_k + b + r``.
2. The coefficients at fine pixels, with the residual ``r`` put back:
   ``P = sum_k a_k^ F_k + (b + r)^``.
3. Filtering. ``F = R + sum_i u_i (P_i - R_i)`` over the spectrally similar pixels ``i`` of a
   window, ``R = sum_k w_k^ F_k`` being the reference image (``F_1`` if there is one pair),
   ``u_i ~ max(0, 1 - d_i^2 / t^2) / (1 + 2 s_i / window)``, with the spectral distance ``d``, its
   bound ``t`` and the distance ``s`` in pixels.

What the paper leaves open, or where we differ from it, judged on real Landsat and MODIS scenes:

- ``a`` is shrunk by a ridge towards ``w`` (1 if there is one pair), so that a flat or lonely
  neighbourhood gives ``F_1 + C - C_1``. The neighbours' weights fall off to the border of the
  regression window. Both cut the error more than any choice in step 3.
- ``a`` and ``b + r`` are interpolated bilinearly: the paper's nearest ``a`` and ``b`` show as
  blocks.
- The filter averages the change ``P - R`` where the paper averages ``P``: the paper's way blurs the
  fine image even where nothing changes, ours gives it back untouched.
- Similar pixels are those within ``t``, fading out towards it, in place of the ``n`` nearest. The
  error is the same; ties do not matter, and nothing needs sorting, which is most of the time else.
  ``d`` is a root mean square over the bands, each divided by its standard deviation in the scene,
  and ``t`` is ``tolerance``. A pixel that is missing in one band is similar to none: its other
  bands are predicted without the filter.
- Two pairs (the paper has one): ``C`` is regressed on both coarse images together, and ``w_k`` is
  inverse to the local variance of the change ``C - C_k`` plus a little (`MISFIT`) of the local mean
  square of ``mean(F_k) - C_k``. What two sensors disagree on at one date cancels in ``F_k + C -
  C_k``, but for what changes with the land; it also tells a pair whose images do not match at all.
  A pixel that only one pair sees is predicted by that pair.
- The standard deviation joins the spread of the change among the similar pixels and that of the
  residuals, taking the regression to explain the same share of the variance on either grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xstf._checks import check_above, check_odd
from xstf._method import Method
from xstf.methods.fuse.fitfc.cuda import average as average_there
from xstf.methods.fuse.fitfc.filtering import average, average_numpy
from xstf.numerics.cuda.launch import on_device
from xstf.numerics.cuda.upsample import upsample as lifted_there
from xstf.numerics.degrade import block_means
from xstf.numerics.upsample import upsample, upsample_numpy

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# Values sampled from a stack for its scene-wide moments.
SAMPLE = 1_000_000
# A pair's error variance is at least this share of the scene's: two perfect pairs weigh the same.
FLOOR = 0.01
# Of the misfit of a pair's two images this share counts as error of its change: the rest cancels.
# On 13 two-pair cases .1 is best on 2, level on 8; less is worse on NDVI composites by 1 to 4 %.
MISFIT = 0.1
# Missing pixels' place on the spectral axes: out of reach of real ones, finite when squared.
FAR = np.float32(1e8)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of Fit-FC.

    Parameters
    ----------
    window : int
        Side of the window of similar pixels, in fine pixels, odd.
    tolerance : float
        Largest spectral distance of a similar pixel, in standard deviations of the scene.
    regression_window : int
        Side of the window of the regression, in coarse pixels, odd.
    ridge : float
        How strongly the regression is drawn to "no change of contrast", as a share of the scene's
        variance.
    """

    window: int = 41
    tolerance: float = 0.2
    regression_window: int = 9
    ridge: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_odd(self, window=3, regression_window=3)
        check_above(self, tolerance=0, ridge=0)


class State(NamedTuple):
    """Centres and spreads of the whole scene, ``(band,)`` each.

    Parameters
    ----------
    fine_centre, fine_scale : ndarray
        Mean and standard deviation of the fine images.
    coarse_centre, coarse_variance : ndarray
        Mean and variance of the coarse ones.
    shift : ndarray
        Mean coarse change.
    """

    fine_centre: np.ndarray
    fine_scale: np.ndarray
    coarse_centre: np.ndarray
    coarse_variance: np.ndarray
    shift: np.ndarray


class Engine(NamedTuple):
    """What an engine does in its own way.

    Parameters
    ----------
    lift
        Takes maps of coarse pixels to the fine grid: `upsample`.
    average
        Sums over the window: `average_numpy`.
    """

    lift: Callable[..., np.ndarray]
    average: Callable[..., tuple[np.ndarray, np.ndarray]]


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels: the filter, the regression and whole coarse pixels."""
    return params.window // 2 + ratio * (params.regression_window // 2 + 2)


def _prepare(
    fine: np.ndarray, coarse: np.ndarray, *, ratio: int, params: Params
) -> dict[str, np.ndarray]:
    """Sample both stacks at evenly spaced rows and columns."""
    return {"fine": _sample(fine), "coarse": _sample(coarse)}


def _sample(stack: np.ndarray) -> np.ndarray:
    step = math.ceil(math.sqrt(max(1.0, math.prod(stack.shape) / SAMPLE)))
    return stack[:, :, ::step, ::step]


def _settle(samples: Mapping[str, np.ndarray], *, ratio: int, params: Params) -> State:
    """Return each band's centre and spread, for either grid, and its mean change."""
    fine_mean, fine_variance = _moments(samples["fine"])
    coarse_mean, coarse_variance = _moments(samples["coarse"])
    return State(
        fine_centre=fine_mean.mean(axis=0),
        fine_scale=np.sqrt(fine_variance.mean(axis=0)),
        coarse_centre=coarse_mean.mean(axis=0),
        coarse_variance=coarse_variance.mean(axis=0),
        shift=coarse_mean[-1] - coarse_mean[:-1].mean(axis=0),
    )


def _moments(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and variance of each (image, band), 0 where there is no value."""
    valid = np.isfinite(stack)
    count = np.maximum(valid.sum(axis=(2, 3)), 1)
    mean = np.where(valid, stack, 0).sum(axis=(2, 3), dtype=np.float64) / count
    deviation = np.where(valid, stack - mean[:, :, None, None], 0)
    return mean, (deviation**2).sum(axis=(2, 3), dtype=np.float64) / count


def _kernel(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
    engine: Engine,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Do the steps in order, with the engine's own way to the fine grid and over the window."""
    reach = params.window // 2
    sides = list(zip(inner, fine.shape[-2:], strict=True))
    area = [slice(max(s.start - reach, 0), min(s.stop + reach, n)) for s, n in sides]
    own = [slice(s.start - a.start, s.stop - a.start) for s, a in zip(inner, area, strict=True)]
    margins = [(max(reach - s.start, 0), max(s.stop + reach - n, 0)) for s, n in sides]
    near = _nearness(params.window)
    margins[1] = (margins[1][0], margins[1][1] + near.shape[1] - near.shape[0])
    reference, change, residual = _predict(
        fine, coarse, ratio, params, state, area, std, engine.lift
    )
    shift = state.shift.astype(np.float32)[:, None, None]
    values = np.concatenate([change - shift, (change - shift) ** 2]) if std else change - shift
    complete = np.isfinite(change).all(axis=0)
    spectra = np.where(complete, _spectra(reference, params, state), FAR)
    total, mass = engine.average(
        np.pad(spectra, [(0, 0), *margins], constant_values=FAR),
        np.pad(np.where(complete, values, np.float32(0)), [(0, 0), *margins]),
        near,
    )
    complete = complete[*own]
    mean = total / np.where(complete, mass, 1)
    bands = fine.shape[1]
    filtered = np.where(complete, mean[:bands] + shift, change[:, *own])
    estimate = (reference[:, *own] + filtered).astype(np.float32)
    if not std:
        return estimate, None
    spread = np.where(complete, np.maximum(mean[bands:] - mean[:bands] ** 2, 0), 0)
    deviation = np.sqrt(spread + residual[:, *own].astype(np.float64) ** 2)
    return estimate, np.where(np.isnan(estimate), np.nan, deviation).astype(np.float32)


def _spectra(reference: np.ndarray, params: Params, state: State) -> np.ndarray:
    """Return spectra whose squared differences, summed over the bands, are ``d^2 / t^2``."""
    unit = params.tolerance * math.sqrt(len(reference)) * state.fine_scale
    factor = np.where(unit > 0, 1 / np.where(unit > 0, unit, 1), 0)
    centred = reference - state.fine_centre[:, None, None]
    spectra: np.ndarray = (centred * factor[:, None, None]).astype(np.float32)
    return spectra


def _nearness(window: int) -> np.ndarray:
    """Return the weight of each offset, with columns of no weight up to a multiple of four."""
    offset = np.arange(window) - window // 2
    near = 1 / (1 + 2 * np.hypot(offset[:, None], offset) / window)
    return np.pad(near, [(0, 0), (0, -window % 4)]).astype(np.float32)


def _predict(
    fine: np.ndarray,
    coarse: np.ndarray,
    ratio: int,
    params: Params,
    state: State,
    area: list[slice],
    std: bool,
    lift: Callable[..., np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return reference, change and the regression's residual at ``area``, before the filter.

    Both pairs together come first; pixels which they leave missing are tried with either pair.
    """
    pairs = list(range(len(fine)))
    choices = [pairs] if len(pairs) == 1 else [pairs, *([k] for k in pairs)]
    out: tuple[np.ndarray, ...] = ()
    for chosen in choices:
        if out and not np.isnan(out[0]).any():
            break
        maps = _regress(fine[chosen], coarse[[*chosen, -1]], ratio, params, state, std)
        maps = _at_fine(maps, ratio, area, lift)
        images = fine[chosen][:, :, *area]
        count = len(chosen)
        reference = (maps[:count] * images).sum(axis=0)
        change = maps[-2] + (maps[count : 2 * count] * images).sum(axis=0)
        new = (np.where(np.isnan(change), np.nan, reference), change, maps[-1])
        empty = np.isnan(out[0]) if out else True
        out = tuple(np.where(empty, n, o) for o, n in zip(out or new, new, strict=True))
    return out[0], out[1], out[2]


def _at_fine(
    maps: np.ndarray, ratio: int, area: list[slice], lift: Callable[..., np.ndarray]
) -> np.ndarray:
    """Return maps of the coarse grid at the fine pixels of ``area``."""
    # One coarse pixel more on each side: the interpolation looks that far.
    first = [max(s.start // ratio - 1, 0) for s in area]
    cut = [slice(k, -(-s.stop // ratio) + 1) for k, s in zip(first, area, strict=True)]
    lifted = lift(maps[:, :, *cut].astype(np.float32), ratio=ratio)
    own = [slice(s.start - k * ratio, s.stop - k * ratio) for k, s in zip(first, area, strict=True)]
    return lifted[:, :, *own]


def _regress(
    fine: np.ndarray,
    coarse: np.ndarray,
    ratio: int,
    params: Params,
    state: State,
    std: bool,
) -> np.ndarray:
    """Return the coarse maps ``[*w, *(a - w), b + r, spread of r]``, NaN where an image is."""
    window = params.regression_window
    variance = state.coarse_variance[:, None, None]
    centred = coarse.astype(np.float64) - state.coarse_centre[:, None, None]
    centred[:, np.isnan(centred).any(axis=0)] = np.nan
    images, target = centred[:-1], centred[-1]
    if len(images) == 1:
        weights = np.ones_like(images)
    else:
        blocks = block_means(fine, ratio) - state.coarse_centre[:, None, None]
        weights = _pair_weights(blocks, images, target, window, variance)
    mean, target_mean = _local_mean(images, window), _local_mean(target, window)
    gram = _local_mean(images[:, None] * images, window) - mean[:, None] * mean
    cov = _local_mean(images * target, window) - mean * target_mean
    # The weights of the centre for its whole window: the reach stays that of one window.
    change = cov - (gram * weights).sum(axis=1)
    slopes = np.clip(_solve(gram, change, params.ridge * variance), -1, 1)
    square = _local_mean(target**2, window) - target_mean**2
    both = weights + slopes
    square += (both * ((gram * both).sum(axis=1) - 2 * cov)).sum(axis=0)
    rest = coarse[-1] - (both * coarse[:-1]).sum(axis=0)
    spread = np.sqrt(np.maximum(square, 0))
    if std:
        centre = state.coarse_centre.astype(np.float32)[:, None, None]
        spread *= _detail(fine - centre, images, ratio, window, params.ridge * variance)
    maps = np.stack([*weights, *slopes, rest, spread])
    return np.where(np.isnan(target), np.nan, maps)


def _detail(
    fine: np.ndarray, images: np.ndarray, ratio: int, window: int, floor: np.ndarray
) -> np.ndarray:
    """Return how much more the fine images vary around a coarse pixel than the coarse ones."""
    square, mean = (_local_mean(block_means(f, ratio), window) for f in (fine**2, fine))
    top = np.maximum(square - mean**2, 0).mean(axis=0) + floor
    bottom = _local_mean(images**2, window) - _local_mean(images, window) ** 2
    bottom = np.maximum(bottom, 0).mean(axis=0) + floor
    detail: np.ndarray = np.sqrt(top / np.where(bottom > 0, bottom, 1))
    return detail


def _pair_weights(
    blocks: np.ndarray, images: np.ndarray, target: np.ndarray, window: int, variance: np.ndarray
) -> np.ndarray:
    """Return the weight of each pair in the reference image, on the coarse grid."""
    change = target - images
    # A variance, not a mean square: an offset of the target image must change no weight.
    error = _local_mean(change**2, window) - _local_mean(change, window) ** 2
    error = np.maximum(error, 0) + MISFIT * _local_mean((blocks - images) ** 2, window)
    quality = 1 / (error / np.where(variance > 0, variance, np.inf) + FLOOR)
    weights: np.ndarray = quality / quality.sum(axis=0)
    return weights


def _local_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the weighted mean of the valid values of a window on the last two axes, else 0."""
    valid = np.isfinite(values)
    mass = np.maximum(_local_sum(valid.astype(np.float64), window), np.finfo(float).tiny)
    mean: np.ndarray = _local_sum(np.where(valid, values, 0), window) / mass
    return mean


def _local_sum(values: np.ndarray, window: int) -> np.ndarray:
    """Return the weighted sum over a window, with weights that fall to 0 just outside of it."""
    reach = window // 2
    for axis in (-2, -1):
        size = values.shape[axis]
        margins = [(0, 0)] * values.ndim
        margins[axis] = (reach, reach)
        padded = np.moveaxis(np.pad(values, margins), axis, -1)
        total = np.zeros_like(padded, np.float64, shape=(*padded.shape[:-1], size))
        for k in range(window):
            weight = (1 - ((k - reach) / (reach + 1)) ** 2) ** 2
            total += weight * padded[..., k : k + size]
        values = np.moveaxis(total, -1, axis)
    return values


def _solve(gram: np.ndarray, cov: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Return the solution of ``(gram + ridge) x = cov`` for one or two unknowns, 0 if singular."""
    if len(cov) == 1:
        top, bottom = cov, gram[0] + ridge
    else:
        (a, b), (_, d) = gram
        a, d = a + ridge, d + ridge
        top = np.stack([d * cov[0] - b * cov[1], a * cov[1] - b * cov[0]])
        bottom = np.broadcast_to(a * d - b * b, top.shape)
    solution: np.ndarray = np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 0)
    return solution


def _cupy(
    fine: DeviceArray,
    coarse: DeviceArray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[DeviceArray, DeviceArray | None]:
    """Do the same steps with arrays of the device."""
    there = State(*(on_device(values, np.float64) for values in state))
    engine = Engine(lifted_there, average_there)
    return _kernel(
        fine, coarse, ratio=ratio, params=params, state=there, inner=inner, std=std, engine=engine
    )


_numpy = partial(_kernel, engine=Engine(upsample_numpy, average_numpy))
_numba = partial(_kernel, engine=Engine(upsample, average))

METHOD = Method(
    name="fitfc",
    task="fuse",
    summary="Local regression between coarse images, applied to fine ones; one or two pairs.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "cupy": _cupy, "numpy": _numpy},
    pairs=(1, 2),
    prepare=_prepare,
    settle=_settle,
    std=True,
    reference="Wang & Atkinson (2018), doi:10.1016/j.rse.2017.10.046",
)
