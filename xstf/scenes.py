"""Example scenes with a known truth, made in about a second from a seed: no files, no downloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer
from scipy.ndimage import convolve1d, gaussian_filter
from scipy.sparse import csr_array

from xstf import simulate

__all__ = ["Scene", "landsat_modis", "nested"]

_BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
_WAVELENGTHS = (482.0, 561.0, 655.0, 865.0, 1609.0, 2201.0)  # nm, centres of Landsat 8's bands

_FINE_CRS = "EPSG:32633"
_CORNER = (409_980.0, 5_380_020.0)  # upper left, metres: Bavarian Forest, 48.6 N 13.8 E
_FINE_PIXEL = 30.0
# MODIS 500 m tiles: sphere, upper left corner of the world and pixel size in metres
_COARSE_CRS = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
_WORLD = (-20015109.354, 10007554.677)
_COARSE_PIXEL = 463.312716528
_COARSE_MARGIN = 2  # coarse pixels around the fine scene
_SIGMA = _COARSE_PIXEL / (2 * np.sqrt(2 * np.log(2)))  # of a PSF one coarse pixel wide, metres
_REACH = 3.0  # standard deviations that the PSF is followed for

_FIRST_DAY, _EVERY, _DATES = 81, 16, 12  # day of 2021, days
_FINE_DATES = (1, 4, 7, 10)  # of the coarse dates
_CLOUDY = 1  # of the fine dates
_EVENT = 217  # day of the land-cover change


@dataclass(frozen=True, eq=False)
class Scene:
    """One landscape seen by a fine and a coarse sensor, and the truth.

    Parameters
    ----------
    fine
        ``(time, band, y, x)``: few dates, with missing pixels.
    coarse
        ``(time, band, y, x)``: many dates, its own grid; every date of `fine` is among them.
    truth
        ``(time, band, y, x)``: the grid of `fine` and the dates of `coarse`, nothing missing.
    change
        ``(y, x)``, bool: where land cover changed for good between the last two fine dates.
    """

    fine: xr.DataArray
    coarse: xr.DataArray
    truth: xr.DataArray
    change: xr.DataArray


def landsat_modis(
    *, size: int = 240, seed: int = 0, cloud: float = 0.12, noise: float = 0.002
) -> Scene:
    """Return a season over farmland as Landsat and MODIS would see it: two grids, two CRSs.

    Four fine dates in UTM at 30 m, six bands of surface reflectance, a cloud in the second; twelve
    coarse dates, 16 days apart, on the sinusoidal grid of MODIS at 463 m, two of its pixels
    wider than the fine scene on each side. A coarse pixel is the truth under a Gaussian point
    spread function one coarse pixel wide at half its height, plus noise. Fields green up, ripen and
    are harvested by crop and by field; between the last two fine dates a wood burns and a
    block is built.

    Parameters
    ----------
    size
        Fine pixels a side, 30 or more.
    seed
        Of the landscape, the noise and the cloud.
    cloud
        Share of the second fine image that is under clouds.
    noise
        Standard deviation of the noise of the coarse images, reflectance.

    Examples
    --------
    >>> from xstf import scenes
    >>> scene = scenes.landsat_modis(size=60)
    >>> dict(scene.fine.sizes)
    {'time': 4, 'band': 6, 'y': 60, 'x': 60}
    """
    if size < 30:
        raise ValueError(f"size must be 30 fine pixels or more, not {size}")
    x, y, weights, pad = _coarse_grid(size)
    days = _FIRST_DAY + _EVERY * np.arange(_DATES)
    land = _Land.make(size + 2 * pad, pad, seed)
    core = (slice(None), slice(pad, pad + size), slice(pad, pad + size))
    truth = np.empty((_DATES, len(_BANDS), size, size), np.float32)
    coarse = np.empty((_DATES, len(_BANDS), y.size, x.size), np.float32)
    for date, image in enumerate(land.images(days)):
        truth[date] = image[core]
        seen = weights @ np.ascontiguousarray(image.reshape(len(_BANDS), -1).T)
        coarse[date] = seen.T.reshape(coarse.shape[1:])
    rng = np.random.default_rng([seed, 1])
    coarse += noise * rng.standard_normal(coarse.shape, dtype=np.float32)

    steps = (np.arange(size) + 0.5) * _FINE_PIXEL
    at = {"y": _CORNER[1] - steps, "x": _CORNER[0] + steps}
    full = _labelled(truth, days, _BANDS, at, CRS(_FINE_CRS))
    fine = full.isel(time=list(_FINE_DATES))
    cover = [cloud if date == _CLOUDY else 0.0 for date in range(len(_FINE_DATES))]
    fine = simulate.add_clouds(fine, cover, seed=seed, size=size / 5)
    dense = _labelled(coarse, days, _BANDS, {"y": y, "x": x}, CRS.from_proj4(_COARSE_CRS))
    return Scene(fine, dense, full, _change(land.changed[core[1:]], full))


def nested(
    *, size: int = 48, ratio: int = 8, bands: int = 2, dates: int = 5, seed: int = 0
) -> Scene:
    """Return a tiny scene whose grids nest, without CRS, for examples and tests.

    Three fine dates (the first, the middle and the last) with nothing missing; each coarse pixel is
    the mean of its fine pixels, without noise.

    Parameters
    ----------
    size
        Fine pixels a side, a multiple of `ratio`.
    ratio
        Coarse pixel size / fine pixel size.
    bands
        1 to 6: red, nir, green, blue, swir1, swir2.
    dates
        Coarse dates, 3 or more.
    seed
        Of the landscape.

    Examples
    --------
    >>> from xstf import scenes
    >>> dict(scenes.nested().coarse.sizes)
    {'time': 5, 'band': 2, 'y': 6, 'x': 6}
    """
    if ratio < 1 or size < 16 or size % ratio:
        raise ValueError(
            f"size must be 16 or more and a multiple of ratio, not {size} with ratio={ratio}"
        )
    if not 1 <= bands <= len(_BANDS) or dates < 3:
        raise ValueError(
            f"nested has 1 to 6 bands and 3 dates or more, not bands={bands}, dates={dates}"
        )
    names = ("red", "nir", "green", "blue", "swir1", "swir2")[:bands]
    wanted = [_BANDS.index(name) for name in names]
    days = np.linspace(97, 241, dates).round().astype(int)
    land = _Land.make(size, 0, seed, parcel=5.0)
    images = np.stack([image[wanted] for image in land.images(days)])
    steps = (np.arange(size) + 0.5) * _FINE_PIXEL
    truth = _labelled(images, days, names, {"y": steps[::-1], "x": steps})
    coarse = simulate.degrade(truth, ratio, psf_fwhm=0)
    return Scene(
        truth.isel(time=[0, dates // 2, dates - 1]), coarse, truth, _change(land.changed, truth)
    )


# ---------------------------------------------------------------- labels


def _labelled(
    images: np.ndarray,
    days: np.ndarray,
    bands: Sequence[str],
    at: dict[str, np.ndarray],
    crs: CRS | None = None,
) -> xr.DataArray:
    """Return images (time, band, y, x) with CF coordinates."""
    times = np.datetime64("2021-01-01", "ns") + (days - 1) * np.timedelta64(1, "D")
    nanometres = [_WAVELENGTHS[_BANDS.index(b)] for b in bands]
    coords = {
        "time": ("time", times, {"standard_name": "time", "axis": "T"}),
        "band": ("band", list(bands), {"long_name": "spectral band"}),
        "wavelength": (
            "band",
            nanometres,
            {"standard_name": "radiation_wavelength", "units": "nm"},
        ),
    }
    for dim in ("y", "x"):
        attrs = {
            "standard_name": f"projection_{dim}_coordinate",
            "axis": dim.upper(),
            "units": "m",
        }
        coords[dim] = (dim, at[dim], attrs)
    attrs = {"units": "1", "long_name": "surface reflectance"}
    cube = xr.DataArray(images, coords, ("time", "band", "y", "x"), "reflectance", attrs)
    if crs is None:
        return cube
    step = {dim: float(at[dim][1] - at[dim][0]) for dim in ("y", "x")}
    corner = {dim: float(at[dim][0]) - step[dim] / 2 for dim in ("y", "x")}
    transform = f"{corner['x']} {step['x']} 0.0 {corner['y']} 0.0 {step['y']}"
    cube = cube.assign_coords(
        spatial_ref=((), np.int32(0), crs.to_cf() | {"GeoTransform": transform})
    )
    cube.encoding["grid_mapping"] = "spatial_ref"
    return cube


def _change(changed: np.ndarray, like: xr.DataArray) -> xr.DataArray:
    image = like.isel(time=0, band=0, drop=True)
    day = str(np.datetime64("2021-01-01") + np.timedelta64(_EVENT - 1, "D"))
    found = image.copy(data=changed).rename("change")
    found.attrs = {"long_name": "land cover changed", "date": day}
    found.encoding.update({k: v for k, v in like.encoding.items() if k == "grid_mapping"})
    return found


# ---------------------------------------------------------------- what MODIS sees


def _coarse_grid(size: int) -> tuple[np.ndarray, np.ndarray, csr_array, int]:
    """Return coarse centres x and y, the PSF from fine pixels to them, and the fine pixels around.

    The PSF's columns are the pixels of the fine scene and of the margin on each side of it.
    """
    to_coarse = Transformer.from_crs(_FINE_CRS, _COARSE_CRS, always_xy=True)
    side = np.linspace(0, size * _FINE_PIXEL, size + 1)
    rim = np.concatenate([np.stack([side, side * 0 + e]) for e in (0, side[-1])], axis=1)
    rim = np.concatenate([rim, rim[::-1]], axis=1)
    outline = to_coarse.transform(_CORNER[0] + rim[0], _CORNER[1] - rim[1])
    cells = ((outline[0] - _WORLD[0]) / _COARSE_PIXEL, (_WORLD[1] - outline[1]) / _COARSE_PIXEL)
    column, row = (
        np.arange(np.floor(c.min()) - _COARSE_MARGIN, np.ceil(c.max()) + _COARSE_MARGIN)
        for c in cells
    )
    x = _WORLD[0] + (column + 0.5) * _COARSE_PIXEL
    y = _WORLD[1] - (row + 0.5) * _COARSE_PIXEL
    east, north = to_coarse.transform(*np.meshgrid(x, y), direction="INVERSE")
    # centres in fine pixels: 0 is the centre of the scene's first pixel
    across = (east.ravel() - _CORNER[0]) / _FINE_PIXEL - 0.5
    down = (_CORNER[1] - north.ravel()) / _FINE_PIXEL - 0.5
    sigma = _SIGMA / _FINE_PIXEL
    reach = int(np.ceil(_REACH * sigma))
    outside = max(-across.min(), -down.min(), across.max() - size, down.max() - size)
    pad = int(np.ceil(outside)) + reach + 1
    return x, y, _psf(down + pad, across + pad, sigma, reach, size + 2 * pad), pad


def _psf(down: np.ndarray, across: np.ndarray, sigma: float, reach: int, side: int) -> csr_array:
    """Return Gaussian weights (coarse pixel, fine pixel of a square image), each row with sum 1."""
    window = np.arange(-reach, reach + 1)
    rows = np.rint(down).astype(int)[:, None] + window
    columns = np.rint(across).astype(int)[:, None] + window
    vertical = np.exp(-(((rows - down[:, None]) / sigma) ** 2) / 2)
    level = np.exp(-(((columns - across[:, None]) / sigma) ** 2) / 2)
    values = vertical[:, :, None] * level[:, None, :]
    values /= values.sum(axis=(1, 2), keepdims=True)
    pixels = rows[:, :, None] * side + columns[:, None, :]
    starts = np.arange(down.size + 1) * window.size**2
    shape = (down.size, side * side)
    return csr_array((values.ravel().astype(np.float32), pixels.ravel(), starts), shape=shape)


# ---------------------------------------------------------------- how land looks

# reflectance in blue, green, red, nir, swir1, swir2
_LEAF = np.array([0.026, 0.062, 0.032, 0.48, 0.20, 0.085])
_RIPE = np.array([0.075, 0.125, 0.180, 0.32, 0.35, 0.22])
_STUBBLE = np.array([0.090, 0.130, 0.175, 0.26, 0.34, 0.26])
_FLOWERS = np.array([-0.004, 0.085, 0.100, 0.02, 0.01, 0.00])
_SOILS = np.array(
    [[0.085, 0.120, 0.160, 0.225, 0.315, 0.280], [0.050, 0.070, 0.090, 0.135, 0.195, 0.170]]
)
_GRASS = np.array([0.035, 0.075, 0.050, 0.40, 0.22, 0.115])
_HAY = np.array([0.060, 0.100, 0.110, 0.27, 0.29, 0.19])
_TREES = np.array([0.020, 0.042, 0.024, 0.37, 0.155, 0.062])
_TWIGS = np.array([0.045, 0.060, 0.070, 0.165, 0.190, 0.120])
_NEEDLES = np.array([0.018, 0.033, 0.022, 0.22, 0.095, 0.040])
_WATER = np.array([0.048, 0.052, 0.034, 0.016, 0.008, 0.006])
_ASPHALT = np.array([0.090, 0.100, 0.110, 0.14, 0.165, 0.150])
_ROOFS = np.array([0.118, 0.132, 0.150, 0.20, 0.225, 0.205])
_CONCRETE = np.array([0.165, 0.190, 0.215, 0.26, 0.290, 0.265])
_ASH = np.array([0.038, 0.042, 0.048, 0.085, 0.150, 0.140])


@dataclass(frozen=True)
class _Crop:
    """When a crop greens up, ripens and is cut, in days of the year."""

    up: float
    ripe: float
    cut: float
    rise: float = 9.0  # how fast it greens up, days
    flowers: float | None = None


_CROPS = (
    _Crop(up=92, ripe=180, cut=205, rise=11),  # winter wheat
    _Crop(up=163, ripe=255, cut=275, rise=7),  # maize
    _Crop(up=80, ripe=172, cut=196, rise=12, flowers=126),  # rapeseed
    _Crop(up=96, ripe=184, cut=208, rise=11),  # winter wheat, later
    _Crop(up=118, ripe=186, cut=210, rise=7),  # spring barley
    _Crop(up=150, ripe=275, cut=290),  # sugar beet
)
_MEADOWS = 2  # classes of grassland, after the crops
_MOWN = (147.0, 198.0, 247.0)


def _logistic(days: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 + 0.5 * np.tanh(days / 2))


@dataclass(frozen=True, eq=False)
class _Land:
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
    def make(cls, side: int, margin: int, seed: int, parcel: float = 9.0) -> _Land:
        """Return a square landscape of ``side`` pixels."""
        classes = len(_CROPS) + _MEADOWS
        found = simulate.landscape(
            (side, side), classes=classes, seed=seed, parcel=parcel, margin=margin
        )
        cover, field, across = (found[n].values for n in ("cover", "parcel", "across"))
        rng = np.random.default_rng([seed, 2])
        fields = int(field.max()) + 1
        crop = np.zeros(fields, int)
        crop[field[cover < classes]] = cover[cover < classes]
        before = np.where(cover < classes, field, fields + cover.astype(int) - classes)
        after = before.copy()
        burnt, built = _events(cover, classes, margin, rng)
        after[burnt], after[built] = fields + 5, fields + 6
        first = np.unique(field, return_index=True)[1]
        dark = _noise(side, 40, rng).ravel()[first]
        dark = _logistic(2 * (dark + rng.normal(0, 0.6, fields)))[:, None]
        soil = (_SOILS[0] * (1 - dark) + _SOILS[1] * dark) * rng.lognormal(0, 0.08, (fields, 1))
        vigour, bright = _texture(cover, field, across, classes, rng)
        shift = rng.normal(0, 6, fields)
        lush = np.clip(rng.normal(0.93, 0.05, fields), 0.7, 1.0)
        return cls(before, after, vigour, bright, crop, shift, soil, lush)

    def images(self, days: np.ndarray) -> Iterator[np.ndarray]:
        """Yield reflectance (band, y, x), float32, for each day of the year."""
        for day in days:
            mean, other = (np.ascontiguousarray(t.T.astype(np.float32)) for t in self._units(day))
            unit = self.after if day >= _EVENT else self.before
            image = mean[:, unit] + other[:, unit] * self.vigour
            image *= self.bright
            # a pixel of a real sensor also sees a little of its neighbours
            for axis in (1, 2):
                image = convolve1d(image, [0.12, 0.76, 0.12], axis=axis, mode="nearest")
            yield np.clip(image, 0.001, 1.0)

    def _units(self, day: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the reflectance (unit, band) of each unit and its change with vigour."""
        fields, other = self._fields(float(day))
        leaves = _logistic(np.asarray((day - 118) / 4)) * 0.97
        grass = 0.4 + 0.5 * _logistic(np.asarray((day - 95) / 10))
        verge = grass * _GRASS + (1 - grass) * _HAY
        trees = leaves * _TREES + (1 - leaves) * _TWIGS
        garden = 0.6 * verge + 0.4 * trees
        ash = _ASH * (1 + 0.004 * max(day - _EVENT, 0))
        natural = np.stack(
            [trees, _NEEDLES, _WATER, 0.6 * _ASPHALT + 0.4 * verge, _ROOFS, ash, _CONCRETE]
        )
        vary = np.zeros_like(natural)
        vary[0] = 0.10 * (_NEEDLES - trees)
        vary[1] = 0.10 * (trees - _NEEDLES)
        vary[4] = garden - _ROOFS
        vary[5] = 0.08 * (_SOILS[1] - _ASH)
        return np.concatenate([fields, natural]), np.concatenate([other, vary])

    def _fields(self, day: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the reflectance (field, band) of fields on a day and its change with vigour."""
        mean, vary = np.empty_like(self.soil), np.empty_like(self.soil)
        late = day - self.shift
        for index, crop in enumerate(_CROPS):
            here = self.crop == index
            t, soil, lush = late[here, None], self.soil[here], self.lush[here, None]
            ripe, cut = _logistic((t - crop.ripe) / 4), _logistic((t - crop.cut) / 1.0)
            green = lush * _logistic((t - crop.up) / crop.rise) * (1 - ripe) * (1 - cut)
            dry = lush * ripe * (1 - cut)
            straw = 0.75 * cut * np.exp(-np.maximum(t - crop.cut, 0) / 22)
            mean[here] = green * _LEAF + dry * _RIPE + straw * _STUBBLE
            mean[here] += (1 - green - dry - straw) * soil
            if crop.flowers is not None:
                mean[here] += green * np.exp(-(((t - crop.flowers) / 9) ** 2)) * _FLOWERS
            vary[here] = 0.5 * green * (1.05 - green) * (_LEAF - soil) + 0.03 * dry * (_RIPE - soil)
        here = self.crop >= len(_CROPS)
        t, lush = late[here, None], self.lush[here, None]
        grass = lush * (0.35 + 0.65 * _logistic((t - 98) / 9))
        for mown in _MOWN:
            since = t - mown - 1.5 * self.shift[here, None]
            grass = grass * (1 - 0.6 * (since > 0) * np.exp(-np.maximum(since, 0) / 14))
        mean[here] = grass * _GRASS + (1 - grass) * _HAY
        vary[here] = 0.12 * (_GRASS - _HAY)
        return mean, vary


def _noise(side: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    return simulate._smooth_noise((side, side), scale, rng)


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
