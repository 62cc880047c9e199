"""The last step of FastVSDF: a Gaussian mean of the change over pixels of the same cover."""

from __future__ import annotations

import numpy as np

from xstf.numerics.jit import jit, part
from xstf.numerics.psf import gaussian

TRUNCATE = 4  # standard deviations that the Gaussian is followed for


def reach(sigma: float) -> int:
    """Return how many pixels the Gaussian reaches."""
    return round(TRUNCATE * sigma)


def weights_of(sigma: float) -> np.ndarray:
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
    for own in np.nan_to_num(share):
        mass = _blur(own * valid, sigma)
        out += own * _blur(own * filled, sigma) / np.where(mass > 0, mass, 1.0)
    mean: np.ndarray = np.where(valid, out, np.nan)[:, *inner]
    return mean


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return ``(band, y, x)`` under the Gaussian, with nothing beyond the edge."""
    weights, wide = weights_of(sigma), reach(sigma)
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
    share = np.nan_to_num(share).astype(np.float32)
    change = np.where(valid, change, np.float32(0)).astype(np.float32)
    planes = np.concatenate([change, alike.astype(np.float32)])
    column = np.zeros(change.shape[2] + 2 * wide, np.float32)
    mean, row = np.zeros_like(change), np.empty((len(planes), change.shape[2]), np.float32)
    weights = weights_of(sigma).astype(np.float32)
    _smooth(share, planes, weights, np.empty_like(planes), column, row, mean)
    mean[~valid] = np.nan
    rows, cols = (
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
    return mean[:, rows, cols]


@jit
def _smooth(
    share: np.ndarray, planes: np.ndarray, weights: np.ndarray, weighed: np.ndarray,
    column: np.ndarray, row: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Add the sum over classes of share times mean change to ``out``.

    ``planes`` are the changes of the bands and, after them, what is valid; ``weighed``, ``column``
    and ``row`` are room, of which the ends of the column are 0.
    """
    count, height, width = planes.shape
    bands = out.shape[0]
    size = weights.shape[0]
    wide = size // 2
    middle = column[wide : wide + width]
    for c in range(share.shape[0]):
        for p in range(count):
            for y in range(height):
                _multiply(share[c, y], planes[p, y], weighed[p, y])
        for y in range(height):
            first = wide - y if wide > y else 0
            last = height - y + wide
            last = last if last < size else size
            for p in range(count):
                total = row[p]
                for x in range(width):
                    middle[x] = 0
                    total[x] = 0
                for k in range(first, last):
                    _add(weights[k], weighed[p, y + k - wide], middle)
                for k in range(size):
                    _add(weights[k], column[k : k + width], total)
            for b in range(bands):
                mass = row[bands + b if bands + b < count else count - 1]
                for x in range(width):
                    if mass[x] > 0:
                        out[b, y, x] += share[c, y, x] * (row[b, x] / mass[x])


@part
def _multiply(one: np.ndarray, other: np.ndarray, out: np.ndarray) -> None:
    for x in range(out.shape[0]):
        out[x] = one[x] * other[x]


@part
def _add(weight: float, values: np.ndarray, total: np.ndarray) -> None:
    for x in range(total.shape[0]):
        total[x] += weight * values[x]
