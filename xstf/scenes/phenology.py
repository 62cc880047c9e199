"""How land looks through the year: crops, meadows, woods, water and towns in six bands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter

from xstf.scenes.reflectance import (
    ASH,
    ASPHALT,
    CONCRETE,
    FLOWERS,
    GRASS,
    HAY,
    LEAF,
    MUD,
    NEEDLES,
    RIPE,
    ROOFS,
    SOILS,
    STUBBLE,
    TREES,
    TWIGS,
    WATER,
)
from xstf.simulate.events import flood, harvest
from xstf.simulate.parcels import landscape, smooth_noise

EVENT = 217  # day of the land-cover change
Event = Literal["fire", "building", "flood", "harvest"]
USUAL: tuple[Event, ...] = ("fire", "building")
_FLOODED = 0.15  # share of the land inside of the margin
_CUT = 0.6  # share of the fields whose crop still stands


@dataclass(frozen=True)
class Crop:
    """When a crop greens up, ripens and is cut, in days of the year."""

    up: float
    ripe: float
    cut: float
    rise: float = 9.0  # how fast it greens up, days
    flowers: float | None = None


CROPS = (
    Crop(up=92, ripe=180, cut=205, rise=11),  # winter wheat
    Crop(up=163, ripe=255, cut=275, rise=7),  # maize
    Crop(up=80, ripe=172, cut=196, rise=12, flowers=126),  # rapeseed
    Crop(up=96, ripe=184, cut=208, rise=11),  # winter wheat, later
    Crop(up=118, ripe=186, cut=210, rise=7),  # spring barley
    Crop(up=150, ripe=275, cut=290),  # sugar beet
)
_MEADOWS = 2  # classes of grassland, after the crops
MOWN = (147.0, 198.0, 247.0)


def logistic(days: np.ndarray) -> np.ndarray:
    """Return a rise from 0 to 1 around 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(days / 2))


@dataclass(frozen=True, eq=False)
class Land:
    """A landscape that can be looked at on any day.

    A unit is a field, a natural cover or a kind of change; a pixel looks like its unit, a little
    more or less `vigorous` and `bright`.
    """

    before: np.ndarray  # (y, x): the unit of each pixel
    after: np.ndarray  # the same after the event
    vigour: np.ndarray  # (y, x), how far from the unit's mean to its other extreme
    bright: np.ndarray  # (y, x), factor
    crop: np.ndarray  # (field,), index of the crop
    shift: np.ndarray  # (field,), days that it is late
    soil: np.ndarray  # (field, band)
    lush: np.ndarray  # (field,), factor of the greenness

    @property
    def changed(self) -> np.ndarray:
        """Return where land cover changes."""
        return np.asarray(self.before != self.after)

    @classmethod
    def make(
        cls,
        side: int,
        margin: int,
        seed: int,
        parcel: float = 9.0,
        events: Sequence[Event] | Event = USUAL,
    ) -> Land:
        """Return a square landscape of ``side`` pixels on which some events happen."""
        classes = len(CROPS) + _MEADOWS
        found = landscape((side, side), classes=classes, seed=seed, parcel=parcel, margin=margin)
        cover, field, across = (found[n].values for n in ("cover", "parcel", "across"))
        rng = np.random.default_rng([seed, 2])
        fields = int(field.max()) + 1
        crop = np.zeros(fields, int)
        crop[field[cover < classes]] = cover[cover < classes]
        before = np.where(cover < classes, field, fields + cover.astype(int) - classes)
        after = before.copy()
        burnt, built = _events(cover, classes, margin, rng)
        happens = _checked(events)
        if "fire" in happens:
            after[burnt] = fields + 5
        if "building" in happens:
            after[built] = fields + 6
        if "harvest" in happens:
            standing = [i for i, c in enumerate(CROPS) if c.cut > EVENT]
            cut = harvest(found, _CUT, classes=standing, seed=seed).values
            after[cut] = fields + 8 + field[cut]
        if "flood" in happens:  # last: water covers all
            core = slice(margin, side - margin)
            wet = flood(found.isel(y=core, x=core), _FLOODED, seed=seed)
            after[core, core][wet.values] = fields + 7
        first = np.unique(field, return_index=True)[1]
        dark = _noise(side, 40, rng).ravel()[first]
        dark = logistic(2 * (dark + rng.normal(0, 0.6, fields)))[:, None]
        soil = (SOILS[0] * (1 - dark) + SOILS[1] * dark) * rng.lognormal(0, 0.08, (fields, 1))
        vigour, bright = _texture(cover, field, across, classes, rng)
        shift = rng.normal(0, 6, fields)
        lush = np.clip(rng.normal(0.93, 0.05, fields), 0.7, 1.0)
        return cls(before, after, vigour, bright, crop, shift, soil, lush)

    def images(self, days: np.ndarray) -> Iterator[np.ndarray]:
        """Yield reflectance (band, y, x), float32, for each day of the year."""
        for day in days:
            mean, other = (np.ascontiguousarray(t.T.astype(np.float32)) for t in self._units(day))
            unit = self.after if day >= EVENT else self.before
            image = mean[:, unit] + other[:, unit] * self.vigour
            image *= self.bright
            # a pixel of a real sensor also sees a little of its neighbours
            for axis in (1, 2):
                image = convolve1d(image, [0.12, 0.76, 0.12], axis=axis, mode="nearest")
            yield np.clip(image, 0.001, 1.0)

    def _units(self, day: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the reflectance (unit, band) of each unit and its change with vigour."""
        fields, other = self._fields(float(day))
        leaves = logistic(np.asarray((day - 118) / 4)) * 0.97
        grass = 0.4 + 0.5 * logistic(np.asarray((day - 95) / 10))
        verge = grass * GRASS + (1 - grass) * HAY
        trees = leaves * TREES + (1 - leaves) * TWIGS
        garden = 0.6 * verge + 0.4 * trees
        ash = ASH * (1 + 0.004 * max(day - EVENT, 0))
        natural = np.stack(
            [trees, NEEDLES, WATER, 0.6 * ASPHALT + 0.4 * verge, ROOFS, ash, CONCRETE, MUD]
        )
        vary = np.zeros_like(natural)
        vary[0] = 0.10 * (NEEDLES - trees)
        vary[1] = 0.10 * (trees - NEEDLES)
        vary[4] = garden - ROOFS
        vary[5] = 0.08 * (SOILS[1] - ASH)
        vary[7] = 0.05 * (GRASS - MUD)  # what stands out of the water
        straw = 0.75 * np.exp(-max(day - EVENT, 0) / 22)
        cut = straw * STUBBLE + (1 - straw) * self.soil
        return (
            np.concatenate([fields, natural, cut]),
            np.concatenate([other, vary, 0.04 * (1 - straw) * self.soil]),
        )

    def _fields(self, day: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the reflectance (field, band) of fields on a day and its change with vigour."""
        mean, vary = np.empty_like(self.soil), np.empty_like(self.soil)
        late = day - self.shift
        for index, crop in enumerate(CROPS):
            here = self.crop == index
            t, soil, lush = late[here, None], self.soil[here], self.lush[here, None]
            ripe, cut = logistic((t - crop.ripe) / 4), logistic((t - crop.cut) / 1.0)
            green = lush * logistic((t - crop.up) / crop.rise) * (1 - ripe) * (1 - cut)
            dry = lush * ripe * (1 - cut)
            straw = 0.75 * cut * np.exp(-np.maximum(t - crop.cut, 0) / 22)
            mean[here] = green * LEAF + dry * RIPE + straw * STUBBLE
            mean[here] += (1 - green - dry - straw) * soil
            if crop.flowers is not None:
                mean[here] += green * np.exp(-(((t - crop.flowers) / 9) ** 2)) * FLOWERS
            vary[here] = 0.5 * green * (1.05 - green) * (LEAF - soil) + 0.03 * dry * (RIPE - soil)
        here = self.crop >= len(CROPS)
        t, lush = late[here, None], self.lush[here, None]
        grass = lush * (0.35 + 0.65 * logistic((t - 98) / 9))
        for mown in MOWN:
            since = t - mown - 1.5 * self.shift[here, None]
            grass = grass * (1 - 0.6 * (since > 0) * np.exp(-np.maximum(since, 0) / 14))
        mean[here] = grass * GRASS + (1 - grass) * HAY
        vary[here] = 0.12 * (GRASS - HAY)
        return mean, vary


def _noise(side: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    return smooth_noise((side, side), scale, rng)


def _texture(
    cover: np.ndarray,
    field: np.ndarray,
    across: np.ndarray,
    classes: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how vigorous and how bright each pixel is beside its unit's mean, float32."""
    side = cover.shape[0]
    fields = int(field.max()) + 1
    patches = 0.8 * _noise(side, 5, rng) + 0.6 * _noise(side, 1.5, rng)
    period, depth = rng.uniform(2.5, 5, fields)[field], rng.uniform(0, 0.9, fields)[field]
    rows = depth * np.sin(2 * np.pi * across / period)
    vigour = np.where(cover < classes, patches + rows, patches)
    town = cover == classes + 4
    density = gaussian_filter(town.astype(float), 5)
    grain = rng.standard_normal(cover.shape)
    gardens = np.clip(0.85 - 0.55 * density + 0.2 * grain + 0.08 * patches, 0, 0.9)
    vigour[town] = gardens[town]
    slopes = _noise(side, 12, rng)
    fine_grain = 0.7 * grain + 0.7 * _noise(side, 1.5, rng)
    rough = np.full(classes + 5, 0.025)
    rough[classes:] = (0.09, 0.07, 0.04, 0.05, 0.22)  # broadleaf, conifer, water, road, built
    hilly = np.zeros(classes + 5)
    hilly[classes : classes + 2] = 0.06
    bright = 1 + rough[cover] * fine_grain + hilly[cover] * slopes
    bright += np.where(cover < classes, 0.04 * rows + 0.05 * patches, 0)
    return vigour.astype(np.float32), np.clip(bright, 0.5, 1.8).astype(np.float32)


def _checked(events: Sequence[Event] | Event) -> list[Event]:
    """Return events as a list, or say which there are."""
    happens = [events] if isinstance(events, str) else list(events)
    unknown = [e for e in happens if e not in get_args(Event)]
    if unknown:
        raise ValueError(f"no events {unknown}; there are {list(get_args(Event))}")
    return happens


def _events(
    cover: np.ndarray, classes: int, margin: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a wood burns and where a block is built, both in the core of the map."""
    side = cover.shape[0]
    core = side - 2 * margin
    row, column = np.indices(cover.shape)
    inner = margin + core // 7
    inside = (np.minimum(row, column) >= inner) & (np.maximum(row, column) < side - inner)
    wood = ((cover == classes) | (cover == classes + 1)).astype(float)
    size = 0.07 * core
    down, right = _best(gaussian_filter(wood, size / 2), inside)
    rim = size * (1 + 0.25 * _noise(side, max(size / 3, 1), rng))
    burnt = (np.hypot(row - down, column - right) < rim) & (cover < classes + 2)
    town = cover == classes + 4
    beside = gaussian_filter(town.astype(float), 0.05 * core)
    fields = gaussian_filter((cover < classes).astype(float), 0.02 * core)
    near_town = fields - 4 * np.abs(beside - 0.12) - 2 * gaussian_filter(burnt.astype(float), size)
    down, right = _best(near_town, inside)
    angle = rng.uniform(0.1, 0.5)
    along = (column - right) * np.cos(angle) + (row - down) * np.sin(angle)
    across = (row - down) * np.cos(angle) - (column - right) * np.sin(angle)
    built = (np.abs(along) < 0.032 * core) & (np.abs(across) < 0.022 * core) & ~burnt
    return burnt, built & (cover < classes + 2)


def _best(score: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(np.where(inside, score, -np.inf).argmax(), score.shape)
    return int(row), int(column)
