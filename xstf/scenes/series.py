"""A summer over farmland as three sensors see it: many bands, many dates, small pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from pyproj import CRS
from scipy.ndimage import convolve1d

from xstf import sensors
from xstf.numerics.psf import gaussian, sigma_of
from xstf.scenes.phenology import CROPS, MOWN, Land, logistic
from xstf.scenes.spectra import KINDS, by_unit, fill_natural, materials, wetness
from xstf.simulate.parcels import smooth_noise

_DAYS = 100 + 25 * np.arange(7)  # days of 2021: from bare fields to the second harvest
_PAIRED = (0, 2, 4, 6)
_DENSE, _SHARP = "gf-6-wfv", "zy1-02d"
_DENSE_BANDS = ("coastal", "blue", "green", "yellow", "red", "rededge1", "rededge2", "nir")
_SHARP_BANDS = ("blue", "green", "red", "nir")
# ZY1-02D AHSI: 76 bands up to 1040 nm, then every 17 nm; the spectra of materials end at 2400 nm.
_CENTRES = np.concatenate([np.linspace(400, 1040, 76), np.arange(1057, 2400, 17.0)])
_PIXEL, _RATIO_SPECTRAL, _RATIO_DENSE = 30.0, 3, 2
_CORNER = (409_980.0, 5_380_020.0)  # upper left, metres
_CRS = "EPSG:32633"
_MARGIN = 6  # fine pixels around the scene, that the point spread functions see
_SIGMA = sigma_of(1.0)  # of a Gaussian one pixel wide at half its height
_REACH = 3.5  # standard deviations at which it is cut
_SPECTRAL_NOISE = 1.5  # of the narrow bands, in units of the wide ones'
_RAIN = 0.12  # how much the wetness of soils varies between dates
_MEADOWS = len(CROPS)  # the first class that is no crop


@dataclass(frozen=True, eq=False)
class SeriesScene:
    """One season seen by three sensors, and the truth.

    Parameters
    ----------
    spectral
        ``(time, band, y, x)``: many bands on few dates, the largest pixels; its coordinate
        ``wavelength`` is in nm.
    dense
        ``(time, band, y, x)``: some bands on all dates.
    sharp
        ``(time, band, y, x)``: few bands on the dates of `spectral`, the smallest pixels; their
        labels are among those of `dense`, and the two other grids are nested in this one.
    truth
        ``(time, band, y, x)``: the bands of `spectral`, the grid of `sharp` and the dates of
        `dense`, without noise.
    """

    spectral: xr.DataArray
    dense: xr.DataArray
    sharp: xr.DataArray
    truth: xr.DataArray


def hyperspectral_series(
    *, size: int = 150, bands: int = 60, seed: int = 0, noise: float = 0.002
) -> SeriesScene:
    """Return a season as a hyperspectral, a frequent and a sharp sensor see it, and the truth.

    Seven dates from April to September, 25 days apart, in UTM. The hyperspectral cube has
    bands of ZY1-02D AHSI on 90 m pixels, the frequent one the eight bands of GF-6 WFV on 60 m
    pixels, the sharp one blue, green, red and nir of ZY1-02D VNIC on 30 m pixels; the first and the
    last are there on the first, third, fifth and seventh date. All are made of the truth, which has
    30 m pixels: under a Gaussian point spread function one of their own pixels wide at half
    its height, beyond the scene's edge too, the sharp one as it is; and with noise. Fields green
    up, flower, ripen, are cut and ploughed by crop and by field, meadows are mown, rain wets the
    soil: between two hyperspectral images some fields change early, some late, some twice.

    Parameters
    ----------
    size
        Sharp pixels a side: 30 or more, a multiple of 6.
    bands
        How many bands the hyperspectral cube has, 40 to 155, taken evenly from the sensor's; 155
        is all of them up to 2400 nm.
    seed
        Of the landscape, the weather and the noise.
    noise
        Standard deviation of the noise of `dense` and `sharp`, reflectance; `spectral` has one and
        a half times as much.
    """
    both = _RATIO_SPECTRAL * _RATIO_DENSE
    if size < 30 or size % both:
        raise ValueError(f"size must be 30 or more and a multiple of {both}, not {size}")
    if not 40 <= bands <= _CENTRES.size or noise < 0:
        raise ValueError(
            f"bands must be 40 to {_CENTRES.size} and noise 0 or more, not {bands=}, {noise=}"
        )
    chosen = np.linspace(0, _CENTRES.size - 1, bands).round().astype(int)
    nanometres = _CENTRES[chosen]
    rng = np.random.default_rng([seed, 11])
    wide = _reflectance(size + 2 * _MARGIN, nanometres, seed)
    core = slice(_MARGIN, -_MARGIN)
    paired = list(_PAIRED)
    seen = _blurred(wide[paired], _RATIO_SPECTRAL)
    dense = _blurred(_mixed(wide, _DENSE, _DENSE_BANDS, nanometres), _RATIO_DENSE)
    sharp = _mixed(wide[paired][..., core, core], _SHARP, _SHARP_BANDS, nanometres)
    for images, factor in ((seen, _SPECTRAL_NOISE), (dense, 1.0), (sharp, 1.0)):
        images += factor * noise * rng.standard_normal(images.shape, dtype=np.float32)
    names = [f"{n:.0f} nm" for n in nanometres]
    truth = np.ascontiguousarray(wide[..., core, core])
    return SeriesScene(
        _labelled(seen, _DAYS[paired], names, nanometres, _RATIO_SPECTRAL),
        _labelled(dense, _DAYS, _DENSE_BANDS, _centres(_DENSE, _DENSE_BANDS), _RATIO_DENSE),
        _labelled(sharp, _DAYS[paired], _SHARP_BANDS, _centres(_SHARP, _SHARP_BANDS), 1),
        _labelled(truth, _DAYS, names, nanometres, 1),
    )


# ---------------------------------------------------------------- labels


def _centres(sensor: str, bands: tuple[str, ...]) -> np.ndarray:
    table = sensors.table(sensor).set_index(band="common").sel(band=list(bands))
    return np.asarray(table.centre.values)


def _labelled(
    images: np.ndarray,
    days: np.ndarray,
    bands: list[str] | tuple[str, ...],
    nanometres: np.ndarray,
    ratio: int,
) -> xr.DataArray:
    """Return reflectance (time, band, y, x) with CF coordinates and the CRS."""
    step = _PIXEL * ratio
    steps = step * (np.arange(images.shape[-1]) + 0.5)
    coords = {
        dim: (dim, at, {"units": "m", "standard_name": f"projection_{dim}_coordinate",
                        "axis": dim.upper()})
        for dim, at in (("y", _CORNER[1] - steps), ("x", _CORNER[0] + steps))
    }  # fmt: skip
    times = np.datetime64("2021-01-01", "ns") + (days - 1) * np.timedelta64(1, "D")
    transform = f"{_CORNER[0]} {step} 0.0 {_CORNER[1]} 0.0 {-step}"
    cube = xr.DataArray(
        images,
        {
            "time": ("time", times, {"standard_name": "time", "axis": "T"}),
            "band": ("band", list(bands), {"long_name": "spectral band"}),
            "wavelength": (
                "band", nanometres, {"standard_name": "radiation_wavelength", "units": "nm"}
            ),
            "spatial_ref": ((), np.int32(0), CRS(_CRS).to_cf() | {"GeoTransform": transform}),
        } | coords,
        ("time", "band", "y", "x"),
        name="reflectance",
        attrs={"units": "1", "long_name": "surface reflectance"},
    )  # fmt: skip
    cube.encoding["grid_mapping"] = "spatial_ref"
    return cube


# ---------------------------------------------------------------- sensors


def _mixed(
    images: np.ndarray, sensor: str, bands: tuple[str, ...], nanometres: np.ndarray
) -> np.ndarray:
    """Return images (date, band, y, x) in the bands of a sensor."""
    rows = sensors.responses(sensor, bands, nanometres).astype(np.float32)
    flat = rows @ images.reshape(*images.shape[:2], -1)
    return np.asarray(flat.reshape(len(images), len(bands), *images.shape[2:]))


def _blurred(images: np.ndarray, ratio: int) -> np.ndarray:
    """Return images (date, band, y, x) with margins as larger pixels see them, without margins."""
    matrix = _point_spread(images.shape[-1], ratio)
    return np.asarray(matrix @ (images @ matrix.T))


def _point_spread(side: int, ratio: int) -> np.ndarray:
    """Return the weights ``(larger pixel, fine pixel)`` of a row with margins."""
    first, size = _MARGIN, side - 2 * _MARGIN
    centres = first + (np.arange(size // ratio) + 0.5) * ratio - 0.5
    apart = (np.arange(side) - centres[:, None]) / (_SIGMA * ratio)
    weights = gaussian(apart, 1.0) * (np.abs(apart) <= _REACH)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


# ---------------------------------------------------------------- light


def _reflectance(side: int, nanometres: np.ndarray, seed: int) -> np.ndarray:
    """Return reflectance (date, band, y, x), float32, margins included."""
    land = Land.make(side, _MARGIN, seed)
    rng = np.random.default_rng([seed, 8])
    fields = _Fields.make(land, rng)
    spectra = materials(nanometres).astype(np.float32)
    wet = wetness(nanometres).astype(np.float32)
    shape = (side, side)
    dark = 0.5 + 0.5 * np.tanh(by_unit(land, rng) + smooth_noise(shape, 12, rng))
    moist = 0.25 + 0.06 * by_unit(land, rng) + 0.05 * smooth_noise(shape, 6, rng)
    still = np.zeros((len(KINDS), *shape))
    vary = np.clip(0.5 + 0.3 * land.vigour, 0, 1)
    rows = dict(zip(KINDS, still, strict=True))
    fill_natural(rows, land.before - len(land.crop), vary, rng)
    out = np.empty((_DAYS.size, nanometres.size, side, side), np.float32)
    for image, day in zip(out, _DAYS, strict=True):
        shares = _on_day(still, land, fields, dark, float(day))
        rain = _RAIN * rng.uniform(-1, 1)
        soil = shares[KINDS.index("loam")] + shares[KINDS.index("peat")]
        leaves = shares[KINDS.index("leaf")] + shares[KINDS.index("grass")]
        water = np.clip(moist + rain * soil + 0.15 * leaves, 0, None).astype(np.float32)
        mixed = spectra @ shares.reshape(len(KINDS), -1).astype(np.float32)
        # water in soil darkens all of the spectrum, in its own bands most
        mixed *= np.exp(-(wet[:, None] + 0.5) * water.ravel())
        lit = mixed.reshape(image.shape) * land.bright
        # a pixel of a real sensor also sees a little of its neighbours
        for axis in (1, 2):
            lit = convolve1d(lit, [0.12, 0.76, 0.12], axis=axis, mode="nearest")
        image[:] = lit
    return out


@dataclass(frozen=True, eq=False)
class _Fields:
    """Dates of each field in days of the year, (field,), but `mown` (cut, field)."""

    up: np.ndarray
    rise: np.ndarray
    ripe: np.ndarray
    cut: np.ndarray
    ploughed: np.ndarray
    flowers: np.ndarray
    mown: np.ndarray

    @classmethod
    def make(cls, land: Land, rng: np.random.Generator) -> _Fields:
        """Return the year of each field: that of its crop, earlier or later."""
        count = land.crop.size
        crop = np.minimum(land.crop, _MEADOWS - 1)
        up, rise, ripe, cut = (
            np.array([getattr(c, n) for c in CROPS])[crop] for n in ("up", "rise", "ripe", "cut")
        )
        flowers = np.array([c.flowers or 1e4 for c in CROPS])[crop]
        late, harvest = land.shift, rng.normal(0, 8, count)
        mown = np.array(MOWN)[:, None] + 1.5 * land.shift + rng.normal(0, 7, (3, count))
        ploughed = cut + late + harvest + rng.uniform(8, 60, count)
        return cls(
            up + late, rise, ripe + late + 0.5 * harvest, cut + late + harvest, ploughed,
            flowers + late, mown,
        )  # fmt: skip

    def crops(self, day: float, lush: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares (field,) of green leaves and of straw, standing or cut."""
        ripe, gone = logistic((day - self.ripe) / 4), logistic((day - self.cut) / 1.0)
        grown = lush * logistic((day - self.up) / self.rise)
        straw = 0.75 * gone * (1 - logistic((day - self.ploughed) / 1.0))
        return grown * (1 - ripe) * (1 - gone), grown * ripe * (1 - gone) + straw

    def meadows(self, day: float, lush: np.ndarray) -> np.ndarray:
        """Return the share (field,) of green grass."""
        grass = lush * (0.35 + 0.65 * _rising(day, 98, 9))
        for mown in self.mown:
            since = day - mown
            grass = grass * (1 - 0.6 * (since > 0) * np.exp(-np.maximum(since, 0) / 14))
        return np.asarray(grass)

    def bloom(self, day: float) -> np.ndarray:
        """Return how far a field is in flower, (field,)."""
        return np.asarray(np.exp(-(((day - self.flowers) / 9) ** 2)))


def _on_day(
    still: np.ndarray, land: Land, fields: _Fields, dark: np.ndarray, day: float
) -> np.ndarray:
    """Return what share of each pixel is which material, ``(material, y, x)``."""
    shares = still.copy()
    row = dict(zip(KINDS, shares, strict=True))
    at = land.before < land.crop.size
    unit = land.before[at]
    meadow = land.crop >= _MEADOWS
    green, straw = fields.crops(day, land.lush)
    grass = fields.meadows(day, land.lush)
    green = np.where(meadow, grass, green)[unit]
    straw = np.where(meadow, 0.9 * (1 - grass), straw)[unit]
    green = np.clip(green + 0.5 * green * (1.05 - green) * land.vigour[at], 0, 1)
    straw = np.minimum(straw, 1 - green)
    bare = 1 - green - straw
    # petals, here as bright as straw, stand in front of a quarter of the leaves
    petals = 0.25 * green * (fields.bloom(day) * ~meadow)[unit]
    row["leaf"][at] = (green - petals) * ~meadow[unit]
    row["grass"][at] = green * meadow[unit]
    row["straw"][at] = straw + petals
    row["loam"][at], row["peat"][at] = bare * (1 - dark[at]), bare * dark[at]
    leaves, twigs = _leaves(day)
    wood = row["leaf"][~at].copy()
    row["leaf"][~at] = wood * leaves
    row["peat"][~at] += wood * twigs
    row["grass"][~at] *= 0.5 + 0.5 * _rising(day, 98, 9)
    return shares


def _leaves(day: float) -> tuple[float, float]:
    """Return how much of a broadleaf wood is leaves, and how much the ground below them."""
    out = 0.97 * _rising(day, 118, 4)
    return out, 1 - out


def _rising(day: float, half: float, days: float) -> float:
    return float(logistic(np.asarray((day - half) / days)))
