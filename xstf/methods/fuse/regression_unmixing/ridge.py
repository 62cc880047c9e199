"""Ridge regression whose strength is found by leaving blocks of the image out."""

from __future__ import annotations

import numpy as np

FOLDS = 10
BLOCK = 3  # coarse pixels along the side of a block that is left out as one: errors are alike near
# Strengths that are tried, in mean eigenvalues of the normal matrix.
STRENGTHS = 10.0 ** np.arange(-2.5, 2.01, 0.5)


def fold_of(shape: tuple[int, int]) -> np.ndarray:
    """Return the fold of each coarse pixel, the same for an image that is mirrored or turned."""
    y, x = (np.abs(np.arange(n) - (n - 1) / 2) // BLOCK for n in shape)
    far, near = np.maximum.outer(y, x), np.minimum.outer(y, x)
    return np.asarray((far * (far + 1) / 2 + near) % FOLDS, np.intp)


def fit(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients of targets on features, and how much they predict of each target.

    A target that they do not predict has coefficients of 0.

    Parameters
    ----------
    x : ndarray (feature, pixel)
    y : ndarray (target, pixel)
    fold : ndarray (pixel,)
        Pixels of one fold are left out together.

    Returns
    -------
    coefficients : ndarray (target, feature)
    told : ndarray (target,)
        Share of the sum of squares that is predicted of pixels that were left out, from 0.
    """
    normal, moment = x @ x.T, y @ x.T
    unit = np.trace(normal) / max(1, len(normal))
    if not unit > 0:
        return np.zeros(moment.shape), np.zeros(len(y))
    error = np.zeros((len(STRENGTHS), len(y)))
    for k in np.unique(fold):
        out = fold == k
        values, axes = np.linalg.eigh(normal - x[:, out] @ x[:, out].T)
        left = (moment - y[:, out] @ x[:, out].T) @ axes
        seen = axes.T @ x[:, out]
        for s, strength in enumerate(STRENGTHS):
            predicted = (left / (np.maximum(values, 0) + strength * unit)) @ seen
            error[s] += ((y[:, out] - predicted) ** 2).sum(axis=1)
    best = error.argmin(axis=0)
    power = (y**2).sum(axis=1)
    told = np.where(power > 0, 1 - error.min(axis=0) / np.where(power > 0, power, 1), 0.0)
    values, axes = np.linalg.eigh(normal)
    shrunk = np.maximum(values, 0) + STRENGTHS[best][:, None] * unit
    found = ((moment @ axes) / shrunk) @ axes.T
    return np.where(told[:, None] > 0, found, 0.0), np.maximum(told, 0.0)
