"""The last step of FastVSDF: a Gaussian mean of the change over pixels of the same cover."""

from __future__ import annotations

import numpy as np

from xstf.numerics.jit import jit
from xstf.numerics.psf import gaussian

TRUNCATE = 4  # standard deviations that the Gaussian is followed for


def reach(sigma: float) -> int:
    """Return how many pixels the Gaussian reaches."""
    return round(TRUNCATE * sigma)


def _weights(sigma: float) -> np.ndarray:
    """Return the Gaussian along one axis; its scale cancels."""
    away = np.arange(-reach(sigma), reach(sigma) + 1)
    return gaussian(away, sigma)


def smooth_numpy(
    share: np.ndarray, change: np.ndarray, inner: tuple[slice, slice], sigma: float
) -> np.ndarray:
    """Return the mean change over the classes of a pixel, NaN where it has none itself.

    Parameters
    ----------
    share : ndarray (class, y, x)
        What part of a pixel belongs to each class, NaN where that is not valid.
    change : ndarray (band, y, x)
        NaN where missing.
    inner : (slice, slice)
        The rows and columns that are wanted.
    sigma : float
        Standard deviation of the Gaussian, in pixels.

    Returns
    -------
    ndarray (band, *inner)
    """
    valid = ~np.isnan(change + share[:1])
    filled = np.where(valid, change, 0.0)
    out = np.zeros(change.shape)
    for part in np.nan_to_num(share):
        mass = _blur(part * valid, sigma)
        out += part * _blur(part * filled, sigma) / np.where(mass > 0, mass, 1.0)
    mean: np.ndarray = np.where(valid, out, np.nan)[:, *inner]
    return mean


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return ``(band, y, x)`` under the Gaussian, with nothing beyond the edge."""
    weights, wide = _weights(sigma), reach(sigma)
    for axis in (1, 2):
        size = image.shape[axis]
        pad = [(0, 0)] * 3
        pad[axis] = (wide, wide)
        padded = np.pad(image.astype(np.float64), pad)
        moved = (np.take(padded, range(k, k + size), axis) for k in range(len(weights)))
        image = np.sum([w * m for w, m in zip(weights, moved, strict=True)], axis=0)
    return image


def smooth(
    share: np.ndarray, change: np.ndarray, inner: tuple[slice, slice], sigma: float
) -> np.ndarray:
    """Return the same by compiled loops."""
    size, wide = change.shape[1:], reach(sigma)
    outer = [
        slice(max(0, i.start - wide), min(n, i.stop + wide))
        for i, n in zip(inner, size, strict=True)
    ]
    share, change = share[:, *outer], change[:, *outer]
    valid = ~np.isnan(change + share[:1])
    # One blurred weight serves all bands unless they miss different pixels.
    alike = valid[:1] if (valid == valid[:1]).all() else valid
    mean = _smooth(
        np.nan_to_num(share).astype(np.float32),
        np.where(valid, change, np.float32(0)).astype(np.float32),
        alike.astype(np.float32),
        _weights(sigma).astype(np.float32),
    )
    mean[~valid] = np.nan
    rows, cols = (
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
    return mean[:, rows, cols]


@jit
def _smooth(
    share: np.ndarray, change: np.ndarray, valid: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the sum over classes of share times mean change."""
    bands, height, width = change.shape
    planes = bands + len(valid)
    wide = len(weights) // 2
    out = np.zeros((bands, height, width), np.float32)
    weighed = np.empty((planes, height, width), np.float32)
    column = np.zeros(width + 2 * wide, np.float32)
    row = np.empty((planes, width), np.float32)
    for c in range(len(share)):
        for p in range(planes):
            for y in range(height):
                source = change[p, y] if p < bands else valid[p - bands, y]
                _multiply(share[c, y], source, weighed[p, y])
        for y in range(height):
            for p in range(planes):
                middle = column[wide : wide + width]
                middle[:] = 0
                for k in range(max(0, wide - y), min(len(weights), height - y + wide)):
                    _add(weights[k], weighed[p, y + k - wide], middle)
                row[p] = 0
                for k in range(len(weights)):
                    _add(weights[k], column[k : k + width], row[p])
            for b in range(bands):
                mass = row[bands + min(b, len(valid) - 1)]
                for x in range(width):
                    if mass[x] > 0:
                        out[b, y, x] += share[c, y, x] * (row[b, x] / mass[x])
    return out


@jit
def _multiply(one: np.ndarray, other: np.ndarray, out: np.ndarray) -> None:
    for x in range(len(out)):
        out[x] = one[x] * other[x]


@jit
def _add(weight: float, values: np.ndarray, total: np.ndarray) -> None:
    for x in range(len(total)):
        total[x] += weight * values[x]
