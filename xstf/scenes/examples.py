"""Example scenes with a known truth, made in about a second from a seed: no files, no downloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer
from scipy.sparse import csr_array

from xstf import simulate
from xstf.numerics.psf import gaussian, sigma_of
from xstf.scenes import sentinels
from xstf.scenes.farmland import LIGHT, RADAR
from xstf.scenes.phenology import EVENT, USUAL, Event, Land
from xstf.scenes.reflectance import BANDS

_WAVELENGTHS = (482.0, 561.0, 655.0, 865.0, 1609.0, 2201.0)  # nm, centres of Landsat 8's bands

_FINE_CRS = "EPSG:32633"
_CORNER = (409_980.0, 5_380_020.0)  # upper left, metres: Bavarian Forest, 48.6 N 13.8 E
_FINE_PIXEL = 30.0
# MODIS 500 m tiles: sphere, upper left corner of the world and pixel size in metres
_COARSE_CRS = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
_WORLD = (-20015109.354, 10007554.677)
_COARSE_PIXEL = 463.312716528
_COARSE_MARGIN = 2  # coarse pixels around the fine scene
_SIGMA = sigma_of(_COARSE_PIXEL)  # of a PSF one coarse pixel wide, metres
_REACH = 3.0  # standard deviations that the PSF is followed for

_FIRST_DAY, _EVERY, _DATES = 81, 16, 12  # day of 2021, days
_FINE_DATES = (1, 4, 7, 10)  # of the coarse dates
_CLOUDY = 1  # of the fine dates


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
        ``(y, x)``, bool: where events changed the land between the last two fine dates.
    """

    fine: xr.DataArray
    coarse: xr.DataArray
    truth: xr.DataArray
    change: xr.DataArray


@dataclass(frozen=True, eq=False)
class GapScene:
    """One landscape through cloudy dates and by radar, and the truth.

    Parameters
    ----------
    cube
        ``(time, band, y, x)``: reflectance, NaN where the cloud mask says cloud or shadow; hazy
        where it missed some.
    sar
        ``(time, band, y, x)``: backscatter VV and VH in dB with speckle, its own grid and dates,
        two orbits, told apart by the coordinate ``orbit`` along time.
    truth
        ``(time, band, y, x)``: what `cube` would be without clouds, the sensor's noise included:
        equal to it, bit for bit, where there is neither cloud nor haze.
    clouds
        ``(time, y, x)``, bool: where there truly is cloud, shadow or haze.
    missed
        ``(time, y, x)``, bool: the part of `clouds` that the mask missed.
    """

    cube: xr.DataArray
    sar: xr.DataArray
    truth: xr.DataArray
    clouds: xr.DataArray
    missed: xr.DataArray


def landsat_modis(
    *,
    size: int = 240,
    seed: int = 0,
    cloud: float = 0.12,
    noise: float = 0.002,
    events: Sequence[Event] | Event = USUAL,
) -> Scene:
    """Return a season over farmland as Landsat and MODIS would see it: two grids, two CRSs.

    Four fine dates in UTM at 30 m, six bands of surface reflectance, a cloud in the second; twelve
    coarse dates, 16 days apart, on the sinusoidal grid of MODIS at 463 m, two of its pixels
    wider than the fine scene on each side. A coarse pixel is the truth under a Gaussian point
    spread function one coarse pixel wide at half its height, plus noise. Fields green up, ripen and
    are harvested by crop and by field; between the last two fine dates a wood burns and a
    block is built, or what `events` says.

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
    events
        What happens to the land on day 217 and stays: ``"fire"`` (a wood burns), ``"building"`` (a
        block is built), ``"flood"`` (the river covers 15 % of it, see
        :func:`xstf.simulate.flood`), ``"harvest"`` (60 % of the fields whose crop still stands
        are cut at once, see :func:`xstf.simulate.harvest`); ``()`` for none.

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
    land = Land.make(size + 2 * pad, pad, seed, events=events)
    core = (slice(None), slice(pad, pad + size), slice(pad, pad + size))
    truth = np.empty((_DATES, len(BANDS), size, size), np.float32)
    coarse = np.empty((_DATES, len(BANDS), y.size, x.size), np.float32)
    for date, image in enumerate(land.images(days)):
        truth[date] = image[core]
        seen = weights @ np.ascontiguousarray(image.reshape(len(BANDS), -1).T)
        coarse[date] = seen.T.reshape(coarse.shape[1:])
    rng = np.random.default_rng([seed, 1])
    coarse += noise * rng.standard_normal(coarse.shape, dtype=np.float32)

    steps = (np.arange(size) + 0.5) * _FINE_PIXEL
    at = {"y": _CORNER[1] - steps, "x": _CORNER[0] + steps}
    full = _labelled(truth, days, BANDS, at, CRS(_FINE_CRS))
    fine = full.isel(time=list(_FINE_DATES))
    cover = [cloud if date == _CLOUDY else 0.0 for date in range(len(_FINE_DATES))]
    fine = simulate.add_clouds(fine, cover, seed=seed, size=size / 5)
    dense = _labelled(coarse, days, BANDS, {"y": y, "x": x}, CRS.from_proj4(_COARSE_CRS))
    return Scene(fine, dense, full, _change(land.changed[core[1:]], full, events))


def sentinel_1_2(
    *,
    size: int = 120,
    seed: int = 0,
    cloud: float = 0.5,
    haze: float = 0.01,
    noise: float = 0.003,
) -> GapScene:
    """Return fifteen months over farmland as Sentinel-2 and Sentinel-1 would see them.

    Fifty optical dates, 5 to 13 days apart, in UTM at 10 m, four bands of surface reflectance;
    clouds and their shadows are missing, whole dates among them. Radar every 12 days from each of
    two orbits, VV and VH in dB, at 20 m in the next UTM zone, two of its pixels wider on each side.
    Crops rotate, meadows are mown, rain darkens bare soil and brightens it to radar, and
    canopies brighten VH. From date to date images also differ by the air (a factor, 1.5 %,
    and an offset) and by a tenth of a pixel in place, as real ones do.

    Parameters
    ----------
    size
        Optical pixels a side, 30 or more.
    seed
        Of everything.
    cloud
        Share of all pixels and dates that is missing, from 0 to 1.
    haze
        Share of all pixels and dates, at most, that is hazy or in a shadow's rim and not missing.
    noise
        Standard deviation of the optical sensor's noise, reflectance.

    Examples
    --------
    >>> from xstf import scenes
    >>> scene = scenes.sentinel_1_2(size=30)
    >>> dict(scene.cube.sizes)
    {'time': 50, 'band': 4, 'y': 30, 'x': 30}
    """
    if size < 30:
        raise ValueError(f"size must be 30 optical pixels or more, not {size}")
    if not (0 <= cloud <= 1 and 0 <= haze <= 1 and noise >= 0):
        raise ValueError(
            f"cloud and haze are shares, from 0 to 1, and noise is 0 or more, "
            f"not {cloud=}, {haze=}, {noise=}"
        )
    made = sentinels.observe(size, seed, cloud, haze, noise)
    place = dict(zip(("y", "x"), sentinels.optical_grid(size), strict=True))
    labels = (made.days, LIGHT, place, CRS(sentinels.CRS), sentinels.WAVELENGTHS)
    cube, full = (_labelled(images, *labels) for images in (made.seen, made.truth))
    clouds = _flags(made.clouds, full, "clouds", "cloud, shadow or haze")
    missed = _flags(made.missed, full, "missed", "haze or shadow that the mask missed")
    radar = made.radar
    orbit = {"orbit": ("time", radar.orbits, {"long_name": "direction of the orbit"})}
    place = {"y": radar.y, "x": radar.x}
    sar = _with_coords(radar.images, radar.days, RADAR, place, CRS(sentinels.RADAR_CRS), orbit)
    sar.band.attrs["long_name"] = "polarisation"
    sar.name, sar.attrs = "sigma0", {"units": "dB", "long_name": "backscatter"}
    return GapScene(cube, sar, full, clouds, missed)


def nested(
    *,
    size: int = 48,
    ratio: int = 8,
    bands: int = 2,
    dates: int = 5,
    seed: int = 0,
    events: Sequence[Event] | Event = USUAL,
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
    events
        What happens to the land on day 217, as in :func:`landsat_modis`.

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
    if not 1 <= bands <= len(BANDS) or dates < 3:
        raise ValueError(
            f"nested has 1 to 6 bands and 3 dates or more, not bands={bands}, dates={dates}"
        )
    names = ("red", "nir", "green", "blue", "swir1", "swir2")[:bands]
    wanted = [BANDS.index(name) for name in names]
    days = np.linspace(97, 241, dates).round().astype(int)
    land = Land.make(size, 0, seed, parcel=5.0, events=events)
    images = np.stack([image[wanted] for image in land.images(days)])
    steps = (np.arange(size) + 0.5) * _FINE_PIXEL
    truth = _labelled(images, days, names, {"y": steps[::-1], "x": steps})
    coarse = simulate.degrade(truth, ratio, psf_fwhm=0)
    return Scene(
        truth.isel(time=[0, dates // 2, dates - 1]),
        coarse,
        truth,
        _change(land.changed, truth, events),
    )


# ---------------------------------------------------------------- labels


def _labelled(
    images: np.ndarray,
    days: np.ndarray,
    bands: Sequence[str],
    at: dict[str, np.ndarray],
    crs: CRS | None = None,
    nanometres: Sequence[float] | None = None,
) -> xr.DataArray:
    """Return reflectance (time, band, y, x) with CF coordinates."""
    found = nanometres or [_WAVELENGTHS[BANDS.index(b)] for b in bands]
    attrs = {"standard_name": "radiation_wavelength", "units": "nm"}
    cube = _with_coords(images, days, bands, at, crs, {"wavelength": ("band", list(found), attrs)})
    cube.name = "reflectance"
    cube.attrs = {"units": "1", "long_name": "surface reflectance"}
    return cube


def _with_coords(
    images: np.ndarray,
    days: np.ndarray,
    bands: Sequence[str],
    at: dict[str, np.ndarray],
    crs: CRS | None,
    more: Mapping[str, tuple[str, Sequence[float] | Sequence[str], dict[str, str]]],
) -> xr.DataArray:
    """Return images (time, band, y, x) with CF coordinates and some more."""
    times = np.datetime64("2021-01-01", "ns") + (days - 1) * np.timedelta64(1, "D")
    coords = {
        "time": ("time", times, {"standard_name": "time", "axis": "T"}),
        "band": ("band", list(bands), {"long_name": "spectral band"}),
    }
    for dim in ("y", "x"):
        attrs = {
            "standard_name": f"projection_{dim}_coordinate",
            "axis": dim.upper(),
            "units": "m",
        }
        coords[dim] = (dim, at[dim], attrs)
    cube = xr.DataArray(images, {**coords, **more}, ("time", "band", "y", "x"))
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


def _flags(found: np.ndarray, like: xr.DataArray, name: str, what: str) -> xr.DataArray:
    """Return a mask (time, y, x) with the labels of a cube."""
    flags = like.isel(band=0, drop=True).copy(data=found).rename(name)
    flags.attrs = {"long_name": what}
    flags.encoding.update({k: v for k, v in like.encoding.items() if k == "grid_mapping"})
    return flags


def _change(
    changed: np.ndarray, like: xr.DataArray, events: Sequence[Event] | Event
) -> xr.DataArray:
    image = like.isel(time=0, band=0, drop=True)
    day = str(np.datetime64("2021-01-01") + np.timedelta64(EVENT - 1, "D"))
    found = image.copy(data=changed).rename("change")
    names = events if isinstance(events, str) else " ".join(events)
    found.attrs = {"long_name": "land changed", "date": day, "events": names}
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
    return x, y, _weights(down + pad, across + pad, sigma, reach, size + 2 * pad), pad


def _weights(
    down: np.ndarray, across: np.ndarray, sigma: float, reach: int, side: int
) -> csr_array:
    """Return Gaussian weights (coarse pixel, fine pixel of a square image), each row with sum 1."""
    window = np.arange(-reach, reach + 1)
    rows = np.rint(down).astype(int)[:, None] + window
    columns = np.rint(across).astype(int)[:, None] + window
    vertical = gaussian(rows - down[:, None], sigma)
    level = gaussian(columns - across[:, None], sigma)
    values = vertical[:, :, None] * level[:, None, :]
    values /= values.sum(axis=(1, 2), keepdims=True)
    pixels = rows[:, :, None] * side + columns[:, None, :]
    starts = np.arange(down.size + 1) * window.size**2
    shape = (down.size, side * side)
    return csr_array((values.ravel().astype(np.float32), pixels.ravel(), starts), shape=shape)
