"""Images of some dates interpolated in time to another one."""

from __future__ import annotations

import numpy as np

from xstf.numerics.array_module import beside


def shares_of(days: tuple[float, ...]) -> np.ndarray:
    """Return the shares of images in their interpolation in time; days from the target."""
    if len(days) == 1:
        return np.ones(1)
    first, second = days
    if first * second >= 0:  # both on one side, or one on the day: the nearest
        near = abs(first) <= abs(second)
        return np.array([1.0, 0.0] if near else [0.0, 1.0])
    share = abs(second) / (abs(first) + abs(second))
    return np.array([share, 1 - share])


def mean_of(images: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the weighted mean of images ``(image, ...)``, of those that are not missing."""
    seen = np.isfinite(images)
    shares = beside(shares.reshape(-1, *[1] * (images.ndim - 1)), images)
    mass = (seen * shares).sum(axis=0)
    total = np.where(seen, images, 0) * shares
    mean: np.ndarray = np.where(mass > 0, total.sum(axis=0) / np.where(mass > 0, mass, 1), np.nan)
    return mean
