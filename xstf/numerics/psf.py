"""The Gaussian point spread function: its width in two measures, and its weights.

A sensor's width is told as the full width at half maximum (FWHM) of what one of its pixels sees;
formulas take the standard deviation (sigma). All of xstf converts the one to the other here.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

# Which input pixels, with what weights, make an output pixel: both ``(output pixel, term)``.
Table: TypeAlias = tuple[np.ndarray, np.ndarray]

# A Gaussian's full width at half maximum in standard deviations.
FWHM_OF_SIGMA = 2 * math.sqrt(2 * math.log(2))
# Standard deviations after which the Gaussian ends: 0.05 % of its mass lies beyond them.
TRUNCATE = 3.5
# Coarse pixels after which it ends in any case, so that a method's reach does not depend on it.
PSF_REACH = 3


def sigma_of(fwhm: float) -> float:
    """Return the standard deviation of a Gaussian of a given full width at half maximum."""
    return fwhm / FWHM_OF_SIGMA


def gaussian(distance: np.ndarray, sigma: float) -> np.ndarray:
    """Return a Gaussian's values at distances from its centre, where it is 1."""
    return np.asarray(np.exp(-0.5 * (distance / sigma) ** 2))


def psf_table(size: int, *, ratio: int, fwhm: float, shift: float = 0.0) -> Table:
    """Return the blur with decimation along an axis, mirrored beyond its ends.

    Parameters
    ----------
    size : int
        Fine pixels along the axis.
    ratio : int
        Fine pixels in a coarse one, along a side.
    fwhm : float
        Full width at half maximum of the point spread, in coarse pixels.
    shift : float
        Where, from their nominal centres, the coarse pixels look, in fine pixels.

    Returns
    -------
    index, weight : ndarray (coarse pixel, term)
        int64, and float32 with sum 1.
    """
    sigma = sigma_of(fwhm * ratio)
    reach = math.ceil(min(max(TRUNCATE * sigma, 1), PSF_REACH * ratio))
    centre = (np.arange(size // ratio) + 0.5) * ratio - 0.5 + shift
    # An even number of terms around a centre between two pixels, or an odd one around a pixel.
    index = np.floor(centre + 0.5)[:, None] + np.arange(-reach - 1, reach + 2)
    distance = np.abs(index - centre[:, None])
    square = distance**2
    # Relative to the nearest pixel's, so that the narrowest spread still has some weight.
    weight = np.exp((square.min(axis=1, keepdims=True) - square) / (2 * sigma**2))
    # The small allowance keeps the two ends of a symmetric spread together under rounding.
    weight *= distance <= reach + 1e-6
    weight /= weight.sum(axis=1, keepdims=True)
    return mirror_index(index.astype(np.int64), size), weight.astype(np.float32)


def point_spread(*, ratio: int, fwhm: float) -> np.ndarray:
    """Return the weights of the fine pixels around a coarse one's centre, along one axis."""
    # The row of a coarse pixel so far from both ends that nothing is mirrored.
    middle = 2 * PSF_REACH
    weight = psf_table(2 * middle * ratio, ratio=ratio, fwhm=fwhm)[1][middle]
    used = np.flatnonzero(weight)
    return np.asarray(weight[used[0] : used[-1] + 1], np.float64)


def mirror_index(index: np.ndarray, size: int) -> np.ndarray:
    """Return indices folded back into ``0 .. size - 1`` at the outer edges of the pixels."""
    folded = index % (2 * size)
    return np.asarray(np.minimum(folded, 2 * size - 1 - folded))
