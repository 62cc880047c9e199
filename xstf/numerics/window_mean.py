"""Means over windows of pixels, of what is there."""

from __future__ import annotations

import numpy as np


def window_mean(images: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the valid pixels in a window, NaN where the pixel itself is missing.

    Parameters
    ----------
    images
        ``(..., y, x)``, NaN where missing.
    window
        Side in pixels, odd; 1 leaves the images as they are.
    """
    if window == 1:
        return images
    reach = window // 2
    valid = np.isfinite(images)
    total, number = np.where(valid, images, 0).astype(np.float64), valid.astype(np.float64)
    # Sums of slices, not running sums: a pixel must not depend on where its tile begins.
    for axis in (-2, -1):
        total, number = (_window_sum(a, reach, axis) for a in (total, number))
    # A valid pixel is in its own window.
    mean = np.where(valid, total / np.where(valid, number, 1), np.nan)
    return mean.astype(np.float32)


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
