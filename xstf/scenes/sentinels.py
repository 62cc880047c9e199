"""Farmland as Sentinel-2 sees it through clouds, and Sentinel-1 in any weather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyproj import Transformer

from xstf.scenes.clouds import cover, deepest_pixels, depths, hazy
from xstf.scenes.clouds import haze as missed_haze
from xstf.scenes.farmland import LIGHT, Farmland

CRS = "EPSG:32633"
CORNER = (281_400.0, 5_391_600.0)  # upper left, metres: near Straubing on the Danube, 48.6 N 12.0 E
PIXEL = 10.0
WAVELENGTHS = (559.8, 664.6, 832.8, 1613.7)  # nm, centres of Sentinel-2A's B03, B04, B08, B11
_START = 64  # day of 2021: 5 March
# days from date to date (two orbits, 3 and 2 days apart, some passes left out) and how often each:
# 50 dates in 471 days whatever the seed
_STEPS, _OFTEN = (5, 8, 10, 13), (7, 10, 20, 12)

RADAR_CRS = "EPSG:32632"  # the next zone: near a border, data often come in either
RADAR_PIXEL = 20.0
_MARGIN = 2  # its pixels around the optical scene
_ORBITS = ("ascending", "descending")
_FIRST, _REVISIT = (3, 8), 12  # days: each orbit's first pass after the start, and the next ones
_LOOKS = 6  # independent ones in a pixel of 20 m


@dataclass(frozen=True, eq=False)
class Radar:
    """Backscatter in dB (time, band, y, x), its days since 1 January 2021, orbits and centres."""

    images: np.ndarray
    days: np.ndarray
    orbits: list[str]
    y: np.ndarray
    x: np.ndarray


@dataclass(frozen=True, eq=False)
class Observations:
    """Images of both sensors, the true clouds, and those that the mask missed."""

    seen: np.ndarray  # (time, band, y, x)
    truth: np.ndarray
    days: np.ndarray
    clouds: np.ndarray  # (time, y, x)
    missed: np.ndarray
    radar: Radar


def observe(size: int, seed: int, cloud: float, haze: float, noise: float) -> Observations:
    """Return the images of a scene of ``size`` pixels; see ``scenes.sentinel_1_2``."""
    rng = np.random.default_rng([seed, 30])
    steps = rng.permutation(np.repeat(_STEPS, _OFTEN))
    days = _START + np.concatenate([[0], np.cumsum(steps)])
    y, x, at, pad = radar_grid(size)
    land = Farmland.make(size + 2 * pad, pad, seed, int(days[-1]))
    truth = _optical(land, days, pad, noise, rng)
    weather = np.random.default_rng([seed, 31])
    mask, thick, shaded = _cloud_masks((size, size), days, cloud, haze, weather)
    seen = hazy(truth, thick, shaded)
    seen[np.broadcast_to(mask[:, None], seen.shape)] = np.nan
    missed = thick > 0
    passes, images = _radar(land, int(days[-1]), at, np.random.default_rng([seed, 32]))
    orbits = [_ORBITS[orbit] for _, orbit in passes]
    radar = Radar(images, np.array([day for day, _ in passes]), orbits, y, x)
    return Observations(seen, truth, days, mask | missed, missed, radar)


def optical_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres y and x of optical pixels."""
    steps = (np.arange(size) + 0.5) * PIXEL
    return CORNER[1] - steps, CORNER[0] + steps


def radar_grid(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return radar centres y and x, the four pixels of 10 m in each (4, y, x), and the margin.

    Those pixels are numbers in the flat square of the scene with so many pixels around it.
    """
    to_radar = Transformer.from_crs(CRS, RADAR_CRS, always_xy=True)
    side = np.array([0, size * PIXEL])
    corners = to_radar.transform(*np.meshgrid(CORNER[0] + side, CORNER[1] - side))
    x, y = (
        RADAR_PIXEL * (np.arange(np.floor(c.min()) - _MARGIN, np.ceil(c.max()) + _MARGIN) + 0.5)
        for c in (corner / RADAR_PIXEL for corner in corners)
    )
    y = y[::-1]
    quarter = RADAR_PIXEL / 4 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])[:, :, None, None]
    right, up = np.broadcast_arrays(x + quarter[:, 0], y[:, None] + quarter[:, 1])
    east, north = to_radar.transform(right, up, direction="INVERSE")
    column = np.floor((east - CORNER[0]) / PIXEL).astype(int)
    row = np.floor((CORNER[1] - north) / PIXEL).astype(int)
    pad = int(max(-column.min(), -row.min(), column.max() - size + 1, row.max() - size + 1))
    return y, x, (row + pad) * (size + 2 * pad) + column + pad, pad


def _optical(
    land: Farmland, days: np.ndarray, pad: int, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Return what the optical sensor would see without clouds, (time, band, y, x), float32."""
    core = (slice(None), slice(pad, -pad), slice(pad, -pad))
    # what is left of the air after its correction: a factor and, in short waves most, an offset
    factor = (
        1 + rng.normal(0, 0.012, (days.size, 1)) + rng.normal(0, 0.008, (days.size, len(LIGHT)))
    )
    offset = rng.normal(0, 1, (days.size, 1)) * (0.005, 0.004, 0.002, 0.001)
    shifts = np.clip(rng.normal(0, 0.08, (days.size, 2)), -0.2, 0.2)
    images = np.stack(
        [land.image(d, (s[0], s[1]))[core] for d, s in zip(days, shifts, strict=True)]
    )
    images *= factor[..., None, None].astype(np.float32)
    images += offset[..., None, None].astype(np.float32)
    images += np.float32(noise) * rng.standard_normal(images.shape, np.float32)
    return np.asarray(np.clip(images, 0.0005, 1))


def _cloud_masks(
    shape: tuple[int, int],
    days: np.ndarray,
    cloud: float,
    haze: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cloud mask, how thick missed haze is, and where that is shadow."""
    clouds, shadows = depths(shape, days, PIXEL, rng)
    deepest = np.maximum(clouds, shadows)
    mask = deepest_pixels(deepest, cover(days, cloud, rng))
    return mask, missed_haze(deepest, mask, haze, rng), shadows > clouds


def _radar(
    land: Farmland, last: int, at: np.ndarray, rng: np.random.Generator
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return passes (day, orbit) and their images (time, band, y, x) in dB, float32."""
    starts = [(orbit, _START + first) for orbit, first in enumerate(_FIRST)]
    passes = sorted((d, orbit) for orbit, start in starts for d in range(start, last, _REVISIT))
    power = np.stack([land.backscatter(day, orbit, at) for day, orbit in passes])
    # a mean of exponential looks has a gamma distribution; of uniform numbers it takes one log
    speckle = np.ones(power.shape, np.float32)
    for _ in range(_LOOKS):
        speckle *= 1 - rng.random(power.shape, np.float32)
    power *= -np.log(speckle) / np.float32(_LOOKS)
    return passes, 10 * np.log10(power)
