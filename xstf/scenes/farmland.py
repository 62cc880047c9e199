"""Farmland through two years, in reflectance and in backscatter: rotations, mowing, rain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import convolve1d

from xstf.scenes.phenology import Land, logistic
from xstf.scenes.reflectance import (
    ASPHALT,
    BANDS,
    FLOWERS,
    GRASS,
    HAY,
    LEAF,
    NEEDLES,
    RIPE,
    ROOFS,
    STUBBLE,
    TREES,
    TWIGS,
    WATER,
)

LIGHT = ("green", "red", "nir", "swir1")
RADAR = ("VV", "VH")
YEAR = 365.25
LEAD = 30  # days of weather before day 0

_SEEN = [BANDS.index(band) for band in LIGHT]
_LEAF_BROWN = np.array([0.040, 0.075, 0.095, 0.29, 0.24, 0.15])  # a wood in October
_DARKENING = np.array([0.32, 0.34, 0.36, 0.38, 0.50, 0.58])  # share that wet soil loses


class _Crop(NamedTuple):
    """A crop's year: days since 1 January of the harvest; backscatter of its canopy in dB."""

    autumn: float  # comes up (winter crops)
    winter: float  # its cover through the winter
    up: float  # half of its growth
    rise: float  # how fast, days
    ripe: float
    cut: float
    flowers: float
    vv: float
    vh: float


_NEVER = 1e4
_CROPS = (
    _Crop(-62, 0.30, 97, 9, 182, 205, _NEVER, -13.5, -18.0),  # winter wheat
    _Crop(0, 0.00, 163, 7, 257, 276, _NEVER, -9.0, -14.5),  # maize
    _Crop(-122, 0.62, 86, 9, 171, 196, 122, -10.0, -13.5),  # rapeseed
    _Crop(-44, 0.20, 103, 9, 188, 212, _NEVER, -13.5, -18.5),  # winter wheat, sown late
    _Crop(0, 0.00, 114, 7, 185, 208, _NEVER, -12.5, -17.0),  # spring barley
    _Crop(0, 0.00, 153, 9, 290, 298, _NEVER, -9.5, -15.0),  # sugar beet
)
_MUSTARD = _Crop(-122, 0.00, -118, 6, -38, 40, _NEVER, -11.0, -16.0)  # sown between two crops
_MUSTARD_SHARE = 0.6
_AFTER = ((2, 1, 5, 4), (0, 3, 4, 1), (0, 3), (1, 2, 4, 5), (2, 1, 5), (0, 3, 4))
_SPRING = (1, 4, 5)
_MOWN = (138.0, 178.0, 222.0, 265.0)
_MEADOW = (-11.5, -17.5)  # VV and VH of grass, dB
_SOIL, _WETTING = (-14.5, -23.0), (6.5, 4.5)  # VV and VH of dry soil and what water adds, dB
_OPACITY = (2.0, 2.4)  # of a full canopy, both ways
# VV and VH of broadleaf, conifer, water, road and built in dB
_COVERS = np.array([[-9.6, -15.2], [-9.0, -14.2], [-19.5, -27.0], [-13.0, -20.5], [-6.0, -13.5]])
_ORBIT_STEP = (-1.5, -1.1)  # what the second orbit, seen flatter, adds to bare soil


@dataclass(frozen=True, eq=False)
class _Season:
    """One crop a field: a column of :class:`_Crop` for each, and whether there is one."""

    crop: np.ndarray  # (field, 9)
    grown: np.ndarray  # (field,), 0 or the cover at its peak

    def shares(self, day: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the shares (field, 1) of green, ripe and straw, and of it in flower."""
        autumn, winter, up, rise, ripe, cut, flowers, _, _ = self.crop.T[:, :, None]
        spring = logistic((day - up) / rise)
        grown = self.grown[:, None] * (
            spring + (1 - spring) * winter * logistic((day - autumn - 14) / 5)
        )
        grown = grown * (1 - np.clip(0.003 * (day - up - 25), 0, 0.15))  # leaves age
        gone, dry = logistic((day - cut) / 0.8), logistic((day - ripe) / 5)
        standing = grown * (1 - gone)
        straw = 0.75 * self.grown[:, None] * gone * np.exp(-np.maximum(day - cut, 0) / 22)
        bloom = np.exp(-(((day - flowers) / 9) ** 2))
        return standing * (1 - dry), standing * dry, straw, bloom


@dataclass(frozen=True, eq=False)
class Farmland:
    """A landscape in reflectance and backscatter on any day since 1 January (day 1), for two years.

    Units are those of :class:`xstf.scenes.phenology.Land`: its fields, then broadleaf, conifer,
    water, road and built.
    """

    land: Land
    seasons: tuple[_Season, ...]
    mown: np.ndarray  # (cut, field): days of the year
    lush: np.ndarray  # (field,)
    rough: np.ndarray  # (orbit, field): what roughness and rows add to backscatter, dB
    wet: np.ndarray  # (day + LEAD,): moisture of the soil, 0 to 1

    @classmethod
    def make(cls, side: int, margin: int, seed: int, last: int) -> Farmland:
        """Return a square landscape of ``side`` pixels with rain up to day ``last``."""
        land = Land.make(side, margin, seed)
        rng = np.random.default_rng([seed, 20])
        fields = land.crop.size
        first = np.where(land.crop < len(_CROPS), land.crop, -1)
        choice = rng.random(fields)
        then = np.array([_following(c, u) for c, u in zip(first, choice, strict=True)])
        between = (rng.random(fields) < _MUSTARD_SHARE) & np.isin(then, _SPRING)
        between &= ~np.isin(first, (1, 5))  # cut too late
        table = np.array(_CROPS)
        seasons = []
        for crops, grown, year in ((first, first >= 0, 0), (then, then >= 0, 1)):
            seasons.append(_season(table[crops], grown, year, rng))
        seasons.append(_season(np.tile(np.array(_MUSTARD), (fields, 1)), between, 1, rng))
        intensive = rng.random(fields) < 0.55
        cuts = np.array(_MOWN)[:, None] + rng.normal(0, 7, fields) + rng.normal(0, 4, (4, fields))
        cuts[0] += np.where(intensive, 0, 35)  # hay is made late, and once or twice
        cuts[[1, 3]] += np.where(intensive, 0, _NEVER)
        lush = np.clip(rng.normal(0.92, 0.07, fields), 0.6, 1.0)
        rough = rng.normal(0, 1.0, fields) + rng.normal(0, 0.5, (2, fields))
        return cls(land, tuple(seasons), cuts, lush, rough, _rain(last, rng))

    def image(self, day: int, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
        """Return reflectance (band, y, x), float32, of a sensor off by a share of a pixel."""
        land = self.land
        mean, other = (np.ascontiguousarray(t.T[_SEEN], np.float32) for t in self._light(day))
        image = mean[:, land.before] + other[:, land.before] * land.vigour
        image *= land.bright
        # a pixel of a real sensor also sees a little of its neighbours
        for axis, off in zip((1, 2), shift, strict=True):
            image = convolve1d(image, [0.12 - off / 2, 0.76, 0.12 + off / 2], axis=axis)
        return np.asarray(np.clip(image, 0.001, 1.0))

    def backscatter(self, day: int, orbit: int, at: np.ndarray) -> np.ndarray:
        """Return linear backscatter (band, y, x), float32, means over pixels ``at`` (n, y, x)."""
        land = self.land
        units = self._radar(day, orbit).T.astype(np.float32)
        unit, bright = land.before.ravel()[at], land.bright.ravel()[at]
        texture = 8 * (bright - 1) + 0.5 * land.vigour.ravel()[at] * (unit < land.crop.size)
        return np.asarray((10 ** ((units[:, unit] + texture) / 10)).mean(axis=1))

    def _light(self, day: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the reflectance (unit, band) of units on a day and its change with vigour."""
        soil = self.land.soil * (1 - _DARKENING * self.wet[int(day) + LEAD])
        shares = np.zeros((4, soil.shape[0], 1))
        for season in self.seasons:
            green, dry, straw, bloom = season.shares(day)
            shares += np.stack([green, dry, straw, green * bloom])
        green, dry, straw, bloom = shares
        bare = np.maximum(1 - green - dry - straw, 0)
        mean = green * LEAF + dry * RIPE + straw * STUBBLE + bare * soil + bloom * FLOWERS
        vary = 0.4 * green * (1.05 - green) * (LEAF - soil) + 0.03 * dry * (RIPE - soil)
        vary += 0.04 * bare * soil
        meadow = self.land.crop >= len(_CROPS)
        grass = self._grass(day)[meadow, None]
        mean[meadow] = grass * GRASS + (1 - grass) * HAY
        vary[meadow] = 0.12 * (GRASS - HAY)
        others, change = _natural(day)
        return np.concatenate([mean, others]), np.concatenate([vary, change])

    def _radar(self, day: float, orbit: int) -> np.ndarray:
        """Return backscatter (unit, VV and VH) in dB: Attema and Ulaby's water cloud."""
        wet = self.wet[int(day) + LEAD]
        volume = np.zeros((self.lush.size, 1))
        canopy = np.zeros((self.lush.size, 2))
        for season in self.seasons:
            green, dry, _, _ = season.shares(day - 6)  # mass comes after cover
            mass = green + 0.45 * dry
            volume += mass
            canopy += mass * 10 ** (season.crop[:, 7:] / 10)
        meadow = self.land.crop >= len(_CROPS)
        volume[meadow, 0] = self._grass(day)[meadow] * 0.8
        canopy[meadow] = volume[meadow] * 10 ** (np.array(_MEADOW) / 10)
        through = np.exp(-np.array(_OPACITY) * volume)
        soil = 10 ** ((np.array(_SOIL) + np.array(_WETTING) * wet) / 10)
        fields = through * soil + (1 - through) * canopy / np.maximum(volume, 1e-6)
        found = 10 * np.log10(fields) + self.rough[orbit][:, None] * (0.4 + 0.6 * through)
        others = _COVERS.copy()
        others[0] += 0.8 * _leaves(day) - 0.4
        others[2] += 5 * (self.wet[(7 * int(day)) % self.wet.size] - 0.5)  # wind
        others[3] += 2 * wet
        bare = np.concatenate([through, [[0.1, 0.1]] * 2, [[1, 1]] * 3])
        step = np.array(_ORBIT_STEP) * (0.6 + 0.4 * bare) if orbit else 0
        return np.asarray(np.concatenate([found, others]) + step)

    def _grass(self, day: float) -> np.ndarray:
        """Return how green meadows are, (field,)."""
        grass = self.lush * _sward(day)
        for cut in self.mown:
            since = (day - cut) % YEAR
            grass = grass * (1 - 0.7 * np.exp(-since / 15) * (cut < YEAR))
        return np.asarray(grass)


def _following(crop: int, choice: float) -> int:
    """Return the crop of the next year, -1 for a meadow."""
    return -1 if crop < 0 else _AFTER[crop][int(choice * len(_AFTER[crop]))]


def _season(crop: np.ndarray, grown: np.ndarray, year: int, rng: np.random.Generator) -> _Season:
    """Return a season whose dates vary from field to field."""
    fields = len(crop)
    crop = crop.copy()
    late, ripens = rng.normal(0, 6, fields), rng.normal(0, 4, fields)
    crop[:, 0] += rng.normal(0, 6, fields)
    crop[:, 1] *= rng.uniform(0.5, 1.3, fields)
    crop[:, 2] += late
    crop[:, 3] *= rng.uniform(0.8, 1.35, fields)
    crop[:, 4] += 0.4 * late + ripens
    crop[:, 5] += 0.4 * late + ripens + rng.normal(0, 4, fields)
    crop[:, [0, 2, 4, 5, 6]] += YEAR * year
    crop[:, 7:] += rng.normal(0, 0.6, (fields, 1))
    return _Season(crop, grown * np.clip(rng.normal(0.92, 0.07, fields), 0.6, 1.0))


def _leaves(day: float) -> float:
    date = day % YEAR
    opened = logistic(np.asarray((date - 118) / 4))
    return 0.97 * float(opened * (1 - logistic(np.asarray((date - 300) / 6))))


def _sward(day: float) -> float:
    date = day % YEAR
    summer = logistic(np.asarray((date - 96) / 9))
    return 0.34 + 0.66 * float(summer * (1 - logistic(np.asarray((date - 305) / 14))))


def _natural(day: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the reflectance (unit, band) of what is no field and its change with vigour."""
    leaves, grass = _leaves(day), _sward(day)
    brown = np.exp(-(((day % YEAR - 292) / 11) ** 2))
    trees = leaves * ((1 - brown) * TREES + brown * _LEAF_BROWN) + (1 - leaves) * TWIGS
    verge = grass * GRASS + (1 - grass) * HAY
    garden = 0.6 * verge + 0.4 * trees
    covers = np.stack([trees, NEEDLES, WATER, 0.6 * ASPHALT + 0.4 * verge, ROOFS])
    vary = np.zeros_like(covers)
    vary[0], vary[1] = 0.10 * (NEEDLES - trees), 0.10 * (trees - NEEDLES)
    vary[4] = garden - ROOFS
    return covers, vary


def _rain(last: int, rng: np.random.Generator) -> np.ndarray:
    """Return the moisture of the soil's surface (day,), 0 to 1: showers, then drying."""
    days = np.arange(-LEAD, last + 1)
    summer = 0.5 - 0.5 * np.cos(2 * np.pi * (days - 15) / YEAR)
    dries = np.exp(-1 / (12 - 8 * summer))
    falls = (rng.random(days.size) < 0.25) * rng.exponential(0.45, days.size)
    wet = np.empty(days.size)
    now = 0.4
    for i, (rain, left) in enumerate(zip(falls, dries, strict=True)):
        now = min(now * left + rain, 1.0)
        wet[i] = now
    return wet
