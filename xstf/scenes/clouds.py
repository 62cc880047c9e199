"""Clouds, their shadows and the haze that masks miss, date by date."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, ndtri

YEAR = 365.25

_CLOUD = np.array([0.52, 0.53, 0.56, 0.44])  # reflectance in green, red, nir and swir1
_NOTHING, _ALL = 0.04, 0.93  # shares of an image that are rounded to 0 and to 1
_SPREAD = 2.6  # of the logit of the share of an image: about a third of the dates are at each end
_LATITUDE = 48.6
_SMOOTH = 1.0  # pixels: masks are drawn at 20 m and widened, so have no finer rims


def cover(days: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return the share of each image under clouds, more in winter; ``share`` on average.

    Every scene has clear and overcast dates: the draws are strata in random order.
    """
    if share in (0, 1):
        return np.full(days.size, float(share))
    strata = ndtri((rng.permutation(days.size) + 0.5) / days.size)
    drawn = _SPREAD * strata + 0.9 * np.cos(2 * np.pi * (days - 5) / YEAR)
    low, high = -20.0, 20.0
    for _ in range(50):  # the logit that gives this average
        middle = (low + high) / 2
        shares = expit(drawn + middle)
        shares = np.where(shares < _NOTHING, 0, np.where(shares > _ALL, 1, shares))
        low, high = (middle, high) if shares.mean() < share else (low, middle)
    return np.asarray(shares)


def depths(
    shape: tuple[int, int], days: np.ndarray, pixel: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return how deep in a cloud and how deep in a shadow pixels are, each (time, y, x), float32.

    Where the larger of the two is above a threshold, a pixel is masked: so any share of an
    image can be, with shadows beside their clouds, away from the sun.
    """
    side = 2 * max(*shape, 48) + 40
    clouds = np.empty((days.size, *shape), np.float32)
    shadows = np.empty_like(clouds)
    for date, day in enumerate(days):
        field = _fractal(side, rng)
        declination = -23.4 * np.cos(2 * np.pi * (day + 10) / YEAR)
        zenith = np.radians(min(_LATITUDE - declination + 4, 76))
        height = rng.uniform(250, 900)
        length = min(height * np.tan(zenith) / pixel, side - max(shape))
        sun = np.radians(rng.normal(160, 4))  # azimuth of the sun in the middle of the morning
        away = round(length * np.cos(sun)), round(-length * np.sin(sun))  # rows go south
        clouds[date] = field[: shape[0], : shape[1]]
        shadows[date] = np.roll(field, away, axis=(0, 1))[: shape[0], : shape[1]]
    return clouds, shadows


def deepest_pixels(depth: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return True in the deepest pixels, by date the given share of them."""
    found = np.zeros((len(depth), depth[0].size), bool)
    for date, share in enumerate(shares):
        order = np.argsort(-depth[date].ravel(), kind="stable")
        found[date, order[: round(share * order.size)]] = True
    return found.reshape(depth.shape)


def haze(depth: np.ndarray, mask: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return how opaque the haze is that a mask misses, (time, y, x), float32, 0 to 0.35.

    It lies around what is masked, densest there: much on a few dates and little on most.
    """
    thick = np.zeros((len(depth), depth[0].size), np.float32)
    missed = rng.exponential(1, len(depth)) ** 2  # heavy tails
    missed *= share * depth.size / missed.sum()
    for date, wanted in enumerate(missed):
        masked = mask[date].ravel()
        order = np.argsort(np.where(masked, np.inf, -depth[date].ravel()), kind="stable")
        count = round(min(wanted, 0.5 * (~masked).sum()))
        thick[date, order[:count]] = np.linspace(0.35, 0.03, count)
    return thick.reshape(depth.shape)


def hazy(truth: np.ndarray, thick: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """Return images (time, band, y, x) under haze, or in the rim of a shadow where that is so."""
    thick, shadow = thick[:, None], shadow[:, None]
    bright = truth + thick * (_CLOUD[:, None, None].astype(np.float32) - truth)
    return np.asarray(np.where(shadow, truth * (1 - thick), bright))


def _fractal(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return cloudy noise on a square that repeats: power falls as a power of the wavenumber.

    Between broken cumulus (small, rough) and layers (wide, smooth), drawn out along the wind.
    """
    layered = rng.random()
    slope, widest = 3.3 + 0.7 * layered, 25 + 115 * layered
    wind, stretch = rng.uniform(0, np.pi), rng.uniform(1, 2.2)
    down, right = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    along = down * np.cos(wind) + right * np.sin(wind)
    across = right * np.cos(wind) - down * np.sin(wind)
    wavenumber = np.hypot(along * stretch, across)
    amplitude = (wavenumber**2 + widest**-2) ** (-slope / 4)
    amplitude *= np.exp(-2 * (np.pi * _SMOOTH * wavenumber) ** 2)
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    field = np.fft.irfft2(spectrum * amplitude, s=(side, side))
    return np.asarray(field / field.std())
