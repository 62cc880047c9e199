"""Weighted ridge regressions in a window around every pixel, and each without its own pixel.

A linear fit needs no second fit for its left-out error: it is the residual over one less the
pixel's leverage.
"""

from __future__ import annotations

import math

import numpy as np

from xstf.numerics.jit import jit

# Leverage above which a left-out error is rounding.
LEVERAGE = 0.99
# A pivot below this share (squared) of its variance is rounding.
ROUNDING = 1e-6


@jit
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
    """
    height, width, bands = spectra.shape
    count = guides.shape[2]
    rows, cols = (height + step - 1) // step, (width + step - 1) // step
    slopes = np.zeros((rows, cols, count, bands))
    level = np.zeros((rows, cols, bands))
    left = np.full((rows, cols, bands), np.nan)
    reach = len(near) // 2
    gram = np.empty((count, count))
    mean_guide, mean = np.empty(count), np.empty(bands)
    lever = np.empty((count, 1))
    for row in range(rows):
        for col in range(cols):
            y, x = row * step, col * step
            cross = slopes[row, col]
            gram[:], mean_guide[:], mean[:] = 0, 0, 0
            mass = 0.0
            for v in range(max(y - reach, 0), min(y + reach + 1, height)):
                for u in range(max(x - reach, 0), min(x + reach + 1, width)):
                    if valid[v, u]:
                        weight = near[v - y + reach] * near[u - x + reach]
                        mass += weight
                        _add(weight, guides[v, u], spectra[v, u], gram, cross, mean_guide, mean)
            if mass == 0:
                continue
            gram /= mass
            cross /= mass
            mean_guide /= mass
            mean /= mass
            for i in range(count):
                for j in range(i + 1):
                    gram[i, j] -= mean_guide[i] * mean_guide[j]
                gram[i, i] += ridge[i]
                cross[i] -= mean_guide[i] * mean
                lever[i, 0] = guides[y, x, i] - mean_guide[i]
            _factor(gram)
            _solve(gram, cross)
            level[row, col] = mean
            for i in range(count):
                level[row, col] -= cross[i] * mean_guide[i]
            if valid[y, x]:
                left[row, col] = spectra[y, x] - level[row, col]
                for i in range(count):
                    left[row, col] -= cross[i] * guides[y, x, i]
                _solve(gram, lever)
                own = 1.0
                for i in range(count):
                    own += lever[i, 0] * (guides[y, x, i] - mean_guide[i])
                left[row, col] /= max(1 - own / mass, 1 - LEVERAGE)
    return slopes, level, left


@jit
def _add(
    weight: float,
    guide: np.ndarray,
    spectrum: np.ndarray,
    gram: np.ndarray,
    cross: np.ndarray,
    mean_guide: np.ndarray,
    mean: np.ndarray,
) -> None:
    """Add one pixel to the moments of a window."""
    for b in range(len(spectrum)):
        mean[b] += weight * spectrum[b]
    for i in range(len(guide)):
        part = weight * guide[i]
        mean_guide[i] += part
        for j in range(i + 1):
            gram[i, j] += part * guide[j]
        for b in range(len(spectrum)):
            cross[i, b] += part * spectrum[b]


@jit
def _factor(gram: np.ndarray) -> None:
    """Overwrite the lower triangle by its Cholesky factor; 0 for guides that say nothing new."""
    for j in range(len(gram)):
        floor = ROUNDING * ROUNDING * gram[j, j]
        for k in range(j):
            gram[j, j] -= gram[j, k] ** 2
        pivot = math.sqrt(gram[j, j]) if gram[j, j] > floor else 0.0
        gram[j, j] = pivot
        for i in range(j + 1, len(gram)):
            for k in range(j):
                gram[i, j] -= gram[i, k] * gram[j, k]
            gram[i, j] = gram[i, j] / pivot if pivot > 0 else 0.0


@jit
def _solve(lower: np.ndarray, values: np.ndarray) -> None:
    """Overwrite ``values (guide, n)`` by the solutions, with 0 for guides without a pivot."""
    count, size = values.shape
    for i in range(count):
        scale = 1 / lower[i, i] if lower[i, i] > 0 else 0.0
        for k in range(i):
            for b in range(size):
                values[i, b] -= lower[i, k] * values[k, b]
        for b in range(size):
            values[i, b] *= scale
    for i in range(count - 1, -1, -1):
        scale = 1 / lower[i, i] if lower[i, i] > 0 else 0.0
        for k in range(i + 1, count):
            for b in range(size):
                values[i, b] -= lower[k, i] * values[k, b]
        for b in range(size):
            values[i, b] *= scale
