"""Regression unmixing: the coarse change regressed on what the fine images show in it.

The method has no paper of its own. Closest are area-to-point regression kriging (Wang, Shi,
Atkinson, Zhao 2015, Downscaling MODIS images with area-to-point regression kriging, Remote Sensing
of Environment 166, 191-204, doi:10.1016/j.rse.2015.06.003), which regresses a coarse *image* on
block means of finer ones and interpolates the residual, and FSDAF (`fsdaf`), which unmixes the
coarse *change* by classes. Here the change is regressed, on features in place of classes.

With pairs k of fine image F_k and coarse image C_k, and T the coarse image of the target date, band
by band::

    B   = sum_k w_k F_k                       (base image; w_k ~ 1 / variance of T - C_k)
    d   = sum_k w_k (T - C_k)                 (its coarse change)
    phi = bands of all F_k, their products; with one pair bands by the change around (`features`)
    d   = S mean(phi) c + local mean          (ridge; S: what the coarse sensor sees)
    g   = phi c                               (change that the fine images tell)
    out = B + similar mean of [g + bilinear(d - S mean(g))]

- From d and from the block means of the features the mean over 5 x 5 coarse pixels is taken away
  before the regression: slow gradients (haze, rain) are no matter of land cover.
- The ridge's strength comes from leaving blocks of 3 x 3 coarse pixels out (`ridge`). Where no
  strength predicts them better than 0 does, g is 0: the method is then the fine image plus the
  bilinear coarse change, smoothed.
- Products make the change of a pixel a curved function of its spectrum, which no boundary between
  classes cuts. With two pairs, what changed between their dates is among the features.
- *The change around* is a Gaussian mean (1.5 coarse pixels) of the change of other coarse pixels
  near by, the pixel's own left out: land of one kind need not change alike everywhere. With two
  pairs the second image tells that better.
- Where one pair is missing, its fine image is taken to be that of the other pair plus the coarse
  change between them.
- Similar pixels as in `fsdaf`, over the bands of all pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from xstf._checks import check_above, check_odd
from xstf._method import Method
from xstf.methods.fuse.regression_unmixing.cuda import predict as predicted_there
from xstf.methods.fuse.regression_unmixing.features import (
    Coefficients,
    Predicted,
    block_features,
    predict,
    predict_numpy,
)
from xstf.methods.fuse.regression_unmixing.ridge import FOLDS, fit, fold_of
from xstf.numerics.array_module import beside
from xstf.numerics.cuda.similar_mean import smooth as smoothed_there
from xstf.numerics.cuda.upsample import upsample as lifted_there
from xstf.numerics.patches import Samples, patches_of, sample_patches
from xstf.numerics.similar_mean import smooth, smooth_numpy
from xstf.numerics.unmixing import SEEN, local, see, spill_of
from xstf.numerics.upsample import upsample, upsample_numpy

RING = 4  # coarse pixels that the change around reaches
RING_SIGMA = 1.5  # coarse pixels, as the range of real changes on shared scenes
FLOOR = 1e-3  # a pair's share of the variance of both changes is not taken for less
FEWEST = 16  # coarse pixels without which nothing is regressed


@dataclass(frozen=True)
class Params:
    """What the user may set.

    Parameters
    ----------
    window : int
        Side of the window of similar pixels, in fine pixels, odd.
    similarity : float
        Spectral distance at which a pixel is no longer similar, in standard deviations of a band.
    """

    window: int = 31
    similarity: float = 0.35

    def __post_init__(self) -> None:
        """Check the values."""
        check_odd(self, window=3)
        check_above(self, similarity=0)


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    mean, scale : ndarray (pair * band,)
        A pixel's place is ``(value - mean) * scale``; NaN for bands that are missing everywhere,
        and a scale of 0 for those that tell nothing.
    weights : ndarray (pair, band)
        Of the pairs in the base image, their sum 1.
    level, spread : ndarray (band,)
        Mean and standard deviation of the change d.
    spill : float
        Share of each neighbour in a coarse pixel.
    coefficients : tuple
        Of the features.
    told : ndarray (band,)
        Share of the change, less its local mean, that they predict where it was left out.
    cells : int
        Coarse pixels of which that was found.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    level: np.ndarray
    spread: np.ndarray
    spill: float
    coefficients: Coefficients
    told: np.ndarray
    cells: int


class Engine(NamedTuple):
    """What an engine does in its own way.

    Parameters
    ----------
    lift
        Takes maps of coarse pixels to the fine grid.
    predict
        The regression at fine pixels, and its block means.
    smooth
        The mean over similar pixels.
    """

    lift: Callable[[np.ndarray, int], np.ndarray]
    predict: Callable[[np.ndarray, np.ndarray, Coefficients, int], Predicted]
    smooth: Callable[[np.ndarray, np.ndarray, tuple[slice, slice], int, float], np.ndarray]


def _halo(params: Params, ratio: int) -> int:
    return params.window // 2 + (RING + 3) * ratio


def _settle(samples: Samples, *, ratio: int, params: Params) -> State:
    """Return the regression of the scene."""
    patches = [(_completed(f, c, _upsample), c.astype(np.float64)) for f, c in patches_of(samples)]
    pairs, bands = patches[0][0].shape[:2]
    spills = [
        spill_of([f[p] for f, _ in patches], [c[p] for _, c in patches]) for p in range(pairs)
    ]
    spill = float(np.mean(spills))
    weights = _pair_weights([c for _, c in patches])
    mean, scale = _moments([f for f, _ in patches])
    changes = [_change(c, weights) for _, c in patches]
    pooled = np.concatenate([d.reshape(bands, -1) for d in changes], axis=1)
    some = np.isfinite(pooled).any(axis=1)
    pooled = np.where(some[:, None], pooled, 0.0)
    level, spread = np.nanmean(pooled, axis=1), np.nanstd(pooled, axis=1)
    none = Coefficients(np.zeros((bands, 0)), np.zeros((bands, 0)))
    state = State(mean, scale, weights, level, spread, spill, none, np.zeros(bands), 0)
    found, told, cells = _regression([f for f, _ in patches], changes, state)
    return state._replace(coefficients=found, told=told, cells=cells)


def _pair_weights(coarse: list[np.ndarray]) -> np.ndarray:
    """Return the weight of each pair and band: the inverse variance of its coarse change."""
    pooled = np.concatenate([(c[-1] - c[:-1]).reshape(*c[:-1].shape[:2], -1) for c in coarse], -1)
    seen = np.isfinite(pooled)
    count = np.maximum(seen.sum(axis=-1), 1)
    level = np.where(seen, pooled, 0).sum(axis=-1) / count
    deviation = np.where(seen, pooled - level[..., None], 0)
    variance = np.where(seen.any(axis=-1), (deviation**2).sum(axis=-1) / count, np.inf)
    finite = np.where(np.isfinite(variance), variance, np.max(variance, where=np.isfinite(variance),
                                                              initial=0.0))  # fmt: skip
    total = finite.sum(axis=0)
    share = np.where(total > 0, finite / np.where(total > 0, total, 1), 1 / len(finite))
    weights = 1.0 / np.maximum(share, FLOOR)
    return np.asarray(weights / weights.sum(axis=0))


def _moments(fine: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return means and inverse standard deviations ``(pair * band,)``."""
    pixels = np.concatenate([f.reshape(f.shape[0] * f.shape[1], -1) for f in fine], axis=1)
    seen = np.isfinite(pixels)
    count = np.maximum(seen.sum(axis=1), 1)
    mean = np.where(seen, pixels, 0).sum(axis=1, dtype=np.float64) / count
    std = np.sqrt((np.where(seen, pixels - mean[:, None], 0) ** 2).sum(axis=1) / count)
    some = std > 1e-6 * np.abs(mean)
    scale = np.where(some, 1.0 / np.where(some, std, 1.0), 0.0)
    return mean, np.where(seen.any(axis=1), scale, np.nan)


def _completed(
    fine: np.ndarray, coarse: np.ndarray, lift: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Return the fine images, those of one pair filled by the other and the coarse change."""
    if len(fine) == 1 or not np.isnan(fine).any():
        return fine
    moved = (coarse[1:2] - coarse[:1]).astype(np.float32)
    change = lift(moved, fine.shape[-1] // coarse.shape[-1])
    change = np.nan_to_num(change[0])
    first = np.where(np.isnan(fine[0]), fine[1] - change, fine[0])
    second = np.where(np.isnan(fine[1]), fine[0] + change, fine[1])
    return np.stack([first, second])


def _change(coarse: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the change of the base image at coarse pixels; a missing pair has no weight."""
    change = coarse[-1] - coarse[:-1].astype(np.float64)
    share = np.where(np.isnan(change), 0.0, beside(weights[:, :, None, None], change))
    total = share.sum(axis=0)
    found = (np.nan_to_num(change) * share).sum(axis=0) / np.where(total > 0, total, 1)
    of_base: np.ndarray = np.where(total > 0, found, np.nan)
    return of_base


def _base(fine: np.ndarray, coarse: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the base image: the pairs by their weights, where the coarse pixel is not missing."""
    ratio = fine.shape[-1] // coarse.shape[-1]
    if len(fine) == 1:
        only: np.ndarray = fine[0]
        return only
    share = np.where(np.isnan(coarse[:-1]), 0.0, beside(weights[:, :, None, None], coarse))
    share /= np.maximum(share.sum(axis=0), np.finfo(float).tiny)
    share = np.repeat(np.repeat(share, ratio, axis=-2), ratio, axis=-1)
    total = np.zeros_like(fine[0], np.float64)
    for image, part in zip(fine, share, strict=True):
        total += np.where(part > 0, image * part, 0.0)
    base: np.ndarray = total
    return base


def _around(change: np.ndarray, state: State, pairs: int) -> np.ndarray:
    """Return the change of coarse pixels around, in standard deviations; none with two pairs."""
    if pairs > 1:
        return change[:0]
    offset = np.arange(-RING, RING + 1)
    weight = np.exp(-0.5 * (offset / RING_SIGMA) ** 2)
    weight = weight[:, None] * weight
    hidden = 1 if state.spill > 0 else 0  # what the sensor mixes into the pixel's neighbours
    middle = slice(RING - hidden, RING + hidden + 1)
    weight[middle, middle] = 0.0
    scale = np.divide(1.0, state.spread, out=np.zeros_like(state.spread), where=state.spread > 0)
    level, scale = (beside(n[:, None, None], change) for n in (state.level, scale))
    scaled = (change - level) * scale
    seen = np.isfinite(scaled)
    total, mass = np.zeros_like(scaled), np.zeros_like(scaled)
    filled = np.pad(np.where(seen, scaled, 0.0), [(0, 0), (RING, RING), (RING, RING)])
    there = np.pad(seen.astype(float), [(0, 0), (RING, RING), (RING, RING)])
    height, width = change.shape[-2:]
    for dy in range(2 * RING + 1):
        for dx in range(2 * RING + 1):
            part = (slice(None), slice(dy, dy + height), slice(dx, dx + width))
            total += weight[dy, dx] * filled[part]
            mass += weight[dy, dx] * there[part]
    around: np.ndarray = np.where(seen, total / np.maximum(mass, 1e-12), np.nan)
    return around


def _places(fine: np.ndarray, state: State) -> np.ndarray:
    """Return all bands ``(pair * band, y, x)`` in standard deviations; 0 for dead ones."""
    flat = fine.reshape(-1, *fine.shape[-2:])
    scale = beside(np.nan_to_num(state.scale)[:, None, None], flat)
    mean = beside(state.mean[:, None, None], flat)
    return np.where(scale > 0, (flat - mean) * scale, 0.0).astype(np.float32)


def _regression(
    fine: list[np.ndarray], changes: list[np.ndarray], state: State
) -> tuple[Coefficients, np.ndarray, int]:
    """Return the fit of the change on the features, both less their local means."""
    rows, folds = [], []
    bands = len(changes[0])
    for n, (images, change) in enumerate(zip(fine, changes, strict=True)):
        own_ratio = images.shape[-1] // change.shape[-1]  # patches of wide pixels are thinned
        around = _around(change, state, len(images))
        lifted = _upsample(around.astype(np.float32)[None], own_ratio)[0]
        common, own, count = block_features(_places(images, state), lifted, own_ratio)
        seen = count >= SEEN * own_ratio**2
        stack = [common, own.reshape(-1, *count.shape)]
        means = np.where(seen, see(np.concatenate(stack), state.spill), np.nan)
        rows.append(local(np.concatenate([means, change])).reshape(len(means) + bands, -1))
        apart = np.full(change.shape[1:], n % FOLDS)
        folds.append((fold_of(count.shape) if len(fine) == 1 else apart).ravel())
    return _fit_bands(np.concatenate(rows, axis=1), np.concatenate(folds), len(common), bands)


def explained(samples: Samples, coarse: list[np.ndarray], state: State) -> np.ndarray:
    """Return what the fine images tell of coarse ones, less their local means, each by itself.

    Parameters
    ----------
    samples
        Patches that the state was settled of.
    coarse
        ``(image, band, y / ratio, x / ratio)``, for each patch.
    state
        The regression of the scene.

    Returns
    -------
    ndarray (image, band)
        Share of the sum of squares that is predicted of pixels that were left out, from 0.
    """
    rows, folds = [], []
    for n, ((fine, changed), images) in enumerate(zip(patches_of(samples), coarse, strict=True)):
        ratio = fine.shape[-1] // images.shape[-1]
        places = _places(_completed(fine, changed.astype(np.float64), _upsample), state)
        none = np.zeros((0, *places.shape[1:]), np.float32)
        common, _, count = block_features(places, none, ratio)
        seen = count >= SEEN * ratio**2
        means = np.where(seen, see(common, state.spill), np.nan)
        both = np.concatenate([means, images.reshape(-1, *images.shape[-2:])])
        rows.append(local(both).reshape(len(both), -1))
        apart = np.full(images.shape[-2:], n % FOLDS)
        folds.append((fold_of(count.shape) if len(coarse) == 1 else apart).ravel())
    shape = coarse[0].shape[:2]
    every, fold = np.concatenate(rows, axis=1), np.concatenate(folds)
    use = np.isfinite(every).all(axis=0)
    if use.sum() < FEWEST:
        return np.zeros(shape)
    split = len(every) - shape[0] * shape[1]
    return fit(every[:split, use], every[split:, use], fold[use])[1].reshape(shape)


def _fit_bands(
    rows: np.ndarray, fold: np.ndarray, common: int, bands: int
) -> tuple[Coefficients, np.ndarray, int]:
    """Return the fit of the last rows, the changes of the bands, on those before them."""
    use = np.isfinite(rows).all(axis=0)
    extra = (len(rows) - common - bands) // bands
    if use.sum() < FEWEST:
        none = Coefficients(np.zeros((bands, common)), np.zeros((bands, extra)))
        return none, np.zeros(bands), 0
    rows, fold = rows[:, use], fold[use]
    target = rows[-bands:]
    if not extra:
        found, told = fit(rows[:common], target, fold)
        return Coefficients(found, np.zeros((bands, 0))), told, int(use.sum())
    fits = []
    for b in range(bands):
        own = rows[common + b * extra : common + (b + 1) * extra]
        fits.append(fit(np.concatenate([rows[:common], own]), target[b : b + 1], fold))
    both = np.concatenate([f for f, _ in fits])
    told = np.concatenate([t for _, t in fits])
    split = Coefficients(both[:, :common].copy(), both[:, common:].copy())
    return split, told, int(use.sum())


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
) -> tuple[np.ndarray, None]:
    """Return the estimate, step by step."""
    whole = _completed(fine, coarse, engine.lift)
    change = _change(coarse, state.weights)
    around = engine.lift(_around(change, state, len(fine)).astype(np.float32)[None], ratio)[0]
    z = _places(whole, state)
    predicted = engine.predict(z, around, state.coefficients, ratio)
    seen = predicted.seen >= SEEN * ratio**2
    told = np.where(seen, see(predicted.means, state.spill), predicted.means)
    residual = (change - told).astype(np.float32)
    d = predicted.change + engine.lift(residual[None], ratio)[0]
    tells = np.flatnonzero(np.nan_to_num(state.scale) > 0)
    smoothed = engine.smooth(z[tells], d, inner, params.window, params.similarity)
    base = _base(whole, coarse, state.weights)[:, *inner]
    return (base + smoothed).astype(np.float32), None


def _upsample(layers: np.ndarray, ratio: int) -> np.ndarray:
    lifted: np.ndarray = upsample(np.ascontiguousarray(layers, np.float32), ratio)
    return lifted


def _upsample_numpy(layers: np.ndarray, ratio: int) -> np.ndarray:
    return upsample_numpy(layers, ratio=ratio)


_numpy = partial(_kernel, engine=Engine(_upsample_numpy, predict_numpy, smooth_numpy))
_numba = partial(_kernel, engine=Engine(_upsample, predict, smooth))
_cupy = partial(_kernel, engine=Engine(lifted_there, predicted_there, smoothed_there))

METHOD = Method(
    name="regression_unmixing",
    task="fuse",
    summary="Regresses the coarse change on what the fine images show; for one pair or two.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "cupy": _cupy, "numpy": _numpy},
    reference="none of its own; closest: Wang et al. 2015, doi:10.1016/j.rse.2015.06.003",
    pairs=(1, 2),
    prepare=sample_patches,
    settle=_settle,
    costly=True,
    std=True,
)
