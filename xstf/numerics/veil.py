"""Haze over the coarse image of the target date, told from the change of the land.

Haze of opacity v over land of reflectance P, with A the brightness of the haze, is seen as::

    T = (1 - v) P + v A,    so    T - P = v (A - P)

It brightens all bands at once, those most that are dark. Land hardly ever does: red and near
infrared mostly change against each other, and what is flooded, harvested or grown is not brighter
in every band (the dark channel of He, Sun & Tang 2011, doi:10.1109/TPAMI.2010.168, in time instead
of in space). With P the coarse images of the pairs interpolated in time, band by band, and Q what
``T - P`` exceeds its median over the scene by::

    v       = max(0, sum_b Q_b (A - P_b) / sum_b (A - P_b)^2)
    v_least = max(0, min_b Q_b / (A - P_b)),  the median of 3 x 3 pixels

How much of the sum of squares of Q either of them explains says if there is haze. In 192 simulated
cases without haze (phenology, flood, harvest, useless, shifted and rescaled coarse images, ratios 2
to 33, one pair and two) both shares together were over .5 in three, all of one landscape; on the
shared real scenes of reflectance .44 at most; with haze over two fifths over .6 in 29 of 32.

What is taken off the target is ``v (A - P)``, each coarse pixel by itself: where haze is thick, the
interpolation in time is what stays. A is not known; it was .4 where this was tried, and values from
.3 to .8 all helped. What is brighter than A in every band is no haze: snow, or a cloud that the
mask missed, which stays as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from xstf.numerics.array_module import beside
from xstf.numerics.in_time import mean_of

AIRLIGHT = 0.5  # reflectance of haze and thin cloud, all bands alike
LEAST_SPAN = 0.02  # of A - P, where land is as bright as haze
MOST = 0.9  # of an opacity
FEWEST = 32  # coarse pixels of which nothing is told if there are less
# Both shares that are explained, together: no haze is taken off, all of it.
SURE = (0.5, 0.7)
# What is reflectance: all but 1 % at each end, and the median of the darkest band at most.
REFLECTANCE, DARK = (-0.1, 1.2), 0.25


class Veil(NamedTuple):
    """Haze over the target's coarse image.

    Parameters
    ----------
    strength : float
        What share of what is found in each pixel is taken off; 0: there is no haze.
    level : ndarray (band,)
        Change of the whole scene that is none of haze.
    shares : ndarray (pair,)
        Of the pairs' coarse images in their interpolation in time.
    most : float
        The highest opacity of 95 % of the pixels that were looked at.
    """

    strength: float
    level: np.ndarray
    shares: np.ndarray
    most: float

    def text(self) -> str:
        """Return it in words."""
        if not self.strength > 0:
            return "none found"
        return f"opacity up to {self.strength * self.most:.2f} taken off the coarse image"


def find_veil(coarse: np.ndarray, shares: np.ndarray) -> Veil:
    """Return the haze over the last image.

    Parameters
    ----------
    coarse
        ``(pair + 1, band, y, x)``, reflectance, the target date last; NaN where missing.
    shares
        Of the pairs in their interpolation in time.
    """
    bands = coarse.shape[1]
    none = Veil(0.0, np.zeros(bands), shares, 0.0)
    usual, change = _change(coarse, shares)
    use = np.isfinite(usual + change).all(axis=0)
    if bands < 2 or use.sum() < FEWEST or not _is_reflectance(usual[:, use]):
        return none
    level = np.median(change[:, use], axis=1)
    excess = np.where(use, change - level[:, None, None], 0.0)
    span = _span(usual)
    power = (excess**2).sum()
    if not power > 0:
        return none
    thin = use & ~_is_bright(coarse[-1])
    opacity = np.where(thin, _opacity(excess, span), 0.0)
    least = np.where(thin, np.clip((excess / span).min(axis=0), 0.0, MOST), 0.0)
    left = [
        (np.where(use, excess - v * span, 0.0) ** 2).sum() / power
        for v in (opacity, median_filter(least, 3))
    ]
    strength = float(np.clip((2 - sum(left) - SURE[0]) / (SURE[1] - SURE[0]), 0.0, 1.0))
    return Veil(strength, level, shares, float(np.quantile(opacity[use], 0.95)))


def unveiled(coarse: np.ndarray, veil: Veil) -> np.ndarray:
    """Return coarse images ``(pair + 1, band, y, x)`` without the haze over the last one."""
    if not veil.strength > 0:
        return coarse
    usual, change = _change(coarse, veil.shares)
    excess, span = change - beside(veil.level[:, None, None], change), _span(usual)
    there = np.isfinite(excess)
    none = (there.sum(axis=0) < 2) | _is_bright(coarse[-1])
    opacity = np.where(none, 0.0, _opacity(np.where(there, excess, 0), np.where(there, span, 0)))
    taken = np.where(there, veil.strength * opacity * span, 0.0)
    out = coarse.copy()
    out[-1] = coarse[-1] - taken
    return out


def _change(coarse: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs' images interpolated in time, and how the last one differs, float64."""
    images = coarse.astype(np.float64)
    usual = mean_of(images[:-1], np.maximum(shares, 1e-6))
    return usual, images[-1] - usual


def _span(usual: np.ndarray) -> np.ndarray:
    return np.maximum(AIRLIGHT - usual, LEAST_SPAN)


def _opacity(excess: np.ndarray, span: np.ndarray) -> np.ndarray:
    power = (span**2).sum(axis=0)
    found = (excess * span).sum(axis=0) / np.where(power > 0, power, 1)
    opacity: np.ndarray = np.clip(found, 0.0, MOST)
    return opacity


def _is_bright(image: np.ndarray) -> np.ndarray:
    """Return where an image ``(band, y, x)`` is brighter than haze in each band that it has."""
    bright: np.ndarray = (np.isnan(image) | (image > AIRLIGHT)).all(axis=0)
    return bright


def _is_reflectance(values: np.ndarray) -> bool:
    """Return whether values ``(band, pixel)`` may be reflectance of land in optical bands."""
    low, high = np.quantile(values, [0.01, 0.99])
    dark = np.median(values, axis=1).min()
    return bool(REFLECTANCE[0] <= low and high <= REFLECTANCE[1] and dark <= DARK)
