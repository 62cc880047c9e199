"""The arithmetic of the blend: weighted means of what is there, and how far it may be off."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from xstf.numerics.array_module import beside
from xstf.numerics.window_mean import window_mean

# Of the standard deviation, see ``auto``.
KNOWN, SPREAD_TWO, SPREAD_ONE, NOISE, CHANGE = 0.55, 1.2, 3.0, 1.5, 0.25
AROUND = 4  # pixels to each side over which the parts' variance is averaged


def blended(found: list[np.ndarray], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean of estimates that are there, and the variance between them."""
    total, square, mass = (np.zeros_like(found[0], np.float64) for _ in range(3))
    for estimate, weight in zip(found, beside(weights[:, :, None, None], total), strict=True):
        there = np.isfinite(estimate)
        filled = np.where(there, estimate, 0.0).astype(np.float64)
        total += filled * weight
        square += filled**2 * weight
        mass += there * weight
    some = mass > 0
    safe = np.where(some, mass, 1)
    mean = total / safe
    return np.where(some, mean, np.nan), np.where(some, np.maximum(square / safe - mean**2, 0), 0)


def box_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over `AROUND` pixels to each side, cut at the edge."""
    side = 2 * AROUND + 1
    if not isinstance(values, np.ndarray):  # scipy's filters are the host's
        mean: np.ndarray = np.maximum(window_mean(values, side), 0)
        return mean
    count = np.ones(values.shape[-2:])
    for axis in (-2, -1):
        values = uniform_filter1d(values, side, axis, mode="constant")
        count = uniform_filter1d(count, side, axis, mode="constant")
    return np.asarray(np.maximum(values / count, 0))


def deviation(spread: np.ndarray, change: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the standard deviation where a change is known.

    Parameters
    ----------
    spread, change
        ``(band, y, x)``: the variance between the parts, and the estimate less the base image.
    error
        ``(band, y, x)``: of leaving a date out, as it is expected of each pixel.
    """
    known = (KNOWN * error) ** 2
    found: np.ndarray = np.sqrt(known + SPREAD_TWO**2 * spread + (CHANGE * change) ** 2)
    return found


def deviation_alone(
    spread: np.ndarray, change: np.ndarray, noise: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """Return the standard deviation where no change is known: of two variances the mean.

    Parameters
    ----------
    spread, change
        As for `deviation`.
    noise
        ``(band,)``, the variance of the misfit of the pair.
    expected
        ``(band, y, x)``, the standard deviation that is expected of any method.
    """
    noise = beside(noise[:, None, None], spread)
    told = NOISE**2 * noise + SPREAD_ONE**2 * spread + (CHANGE * change) ** 2
    found: np.ndarray = np.sqrt((told + np.square(expected, dtype=np.float64)) / 2)
    return found
