"""Weighted ridge regressions in a window around every pixel, and each without its own pixel.

A linear fit needs no second fit for its left-out error: it is the residual over one less the
pixel's leverage.

Plain numpy: windows are sums along one axis after the other, and all pixels' small systems are
factored together. A compiled loop took four seconds at its first call and saved nothing later.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.array_module import beside

# Leverage above which a left-out error is rounding.
LEVERAGE = 0.99
# A pivot below this share (squared) of its variance is rounding.
ROUNDING = 1e-6
# Values whose moments are held at a time: they stay in the processor's cache.
TOGETHER = 1 << 18


def fit(
    spectra: np.ndarray,
    guides: np.ndarray,
    valid: np.ndarray,
    near: np.ndarray,
    ridge: np.ndarray,
    step: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return slopes (y, x, guide, band), constant and left-out error (y, x, band), every ``step``.

    Slopes and constant are 0 where the window is empty; the error is NaN where there is none.

    Parameters
    ----------
    spectra, guides : ndarray (y, x, band), (y, x, guide)
        float64.
    valid : ndarray (y, x), bool
        Pixels that count.
    near : ndarray (window,)
        Weights along either axis of the window.
    ridge : ndarray (guide,)
        What is added to the guides' variances.
    step : int
        Only every so many rows and columns are fitted.
    """
    spectra, guides = (np.where(valid[..., None], values, 0) for values in (spectra, guides))
    mass = _windowed(valid[..., None].astype(np.float64), near, step)
    some = mass > 0
    share = np.where(some, 1 / np.where(some, mass, 1), 0)
    mean_guide = _windowed(guides, near, step) * share
    products = guides[..., :, None] * guides[..., None, :]
    gram = _windowed(products.reshape(*guides.shape[:2], -1), near, step) * share
    gram = gram.reshape(*mean_guide.shape, -1)
    gram -= mean_guide[..., :, None] * mean_guide[..., None, :]
    gram += beside(np.diag(ridge), gram)
    inverse = _inverse(gram)
    own = (slice(None, None, step), slice(None, None, step))
    here = np.where(valid[own][..., None], guides[own] - mean_guide, 0)
    lever = np.einsum("yxi,yxij,yxj->yx", here, inverse, here)
    lost = np.maximum(1 - (1 + lever[..., None]) * share, 1 - LEVERAGE)
    count, bands = guides.shape[2], spectra.shape[2]
    slopes = np.empty_like(mass, shape=(*mass.shape[:2], count, bands))
    level = np.empty_like(mass, shape=(*mass.shape[:2], bands))
    left = np.empty_like(level)
    together = max(1, TOGETHER // (valid.size * count))
    for start in range(0, bands, together):
        part = slice(start, start + together)
        y = spectra[..., part]
        mean = _windowed(y, near, step) * share
        cross = (guides[..., :, None] * y[..., None, :]).reshape(*valid.shape, -1)
        cross = (_windowed(cross, near, step) * share).reshape(*mean_guide.shape, -1)
        cross -= mean_guide[..., :, None] * mean[..., None, :]
        slope = inverse @ cross
        slopes[..., part] = slope
        level[..., part] = mean - (mean_guide[..., None, :] @ slope)[..., 0, :]
        rest = y[own] - mean - (here[..., None, :] @ slope)[..., 0, :]
        left[..., part] = np.where(valid[own][..., None], rest / lost, np.nan)
    return slopes, level, left


def _windowed(images: np.ndarray, near: np.ndarray, step: int) -> np.ndarray:
    """Return weighted sums over a window, ``(y / step, x / step, n)``, nothing beyond the edge."""
    for axis in (0, 1):
        images = _along(images, near, step, axis)
    return images


def _along(images: np.ndarray, near: np.ndarray, step: int, axis: int) -> np.ndarray:
    """Return weighted sums along one axis, at every ``step``-th pixel of it."""
    size, reach = images.shape[axis], len(near) // 2
    shape = list(images.shape)
    shape[axis] = -(-size // step)
    out = np.zeros_like(images, np.float64, shape=tuple(shape))
    for offset, weight in enumerate(near, -reach):
        # The first and last of the pixels kept whose neighbour at this offset is inside.
        first, last = -(min(offset, 0) // step), (size - 1 - max(offset, 0)) // step
        if first > last:
            continue
        at = slice(first * step + offset, last * step + offset + 1, step)
        if axis == 0:
            out[first : last + 1] += weight * images[at]
        else:
            out[:, first : last + 1] += weight * images[:, at]
    return out


def _inverse(gram: np.ndarray) -> np.ndarray:
    """Return the inverses of matrices (y, x, n, n), with 0 for guides that say nothing new."""
    count = gram.shape[-1]
    # By Cholesky, all pixels at once; `root` is the inverse of the lower factor.
    lower, root = np.zeros_like(gram), np.zeros_like(gram)
    for j in range(count):
        done = lower[..., j, :j]
        pivot = gram[..., j, j] - (done**2).sum(axis=-1)
        there = pivot > ROUNDING**2 * gram[..., j, j]
        length = np.sqrt(np.where(there, pivot, 1))
        unit = np.where(there, 1 / length, 0)
        lower[..., j, j] = np.where(there, length, 0)
        below = gram[..., j + 1 :, j] - (lower[..., j + 1 :, :j] @ done[..., None])[..., 0]
        lower[..., j + 1 :, j] = below * unit[..., None]
        root[..., j, j] = unit
        root[..., j, :j] = -(done[..., None, :] @ root[..., :j, :j])[..., 0, :] * unit[..., None]
    inverse: np.ndarray = np.swapaxes(root, -1, -2) @ root
    return inverse
