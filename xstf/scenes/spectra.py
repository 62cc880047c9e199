"""Farmland as an imaging spectrometer sees it: materials' spectra, mixed pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from pyproj import CRS
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import convolve1d

from xstf import sensors, simulate
from xstf.numerics.psf import FWHM_OF_SIGMA
from xstf.scenes.phenology import Land
from xstf.simulate.parcels import smooth_noise

# What an airborne spectrometer gives after 1340 and 1800 nm is the noise of a dark atmosphere.
_VAPOUR = ((1340.0, 1450.0), (1790.0, 1970.0))  # nm
_RANGE = (410.0, 2400.0)  # nm, centres of the first band and the last
_SENSOR = "landsat-8"
_BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
_PIXEL = 10.0  # m, of the sharp cube
_CORNER = (409_980.0, 5_380_020.0)  # upper left, metres
_CRS = "EPSG:32633"
# With the mean over a pixel, which `simulate.degrade` takes, as wide as a Gaussian of one pixel.
_PSF = float(np.sqrt(1 - FWHM_OF_SIGMA**2 / 12))
_MARGIN = 2  # coarse pixels around the scene, that the point spread function sees

# Reflectance of each material at `_NODES`, nm; between them a smooth curve that does not overshoot.
# Shapes after the common spectral libraries; the leaf has its red edge between 690 and 760 nm.
_NODES = (
    400, 450, 490, 550, 600, 670, 690, 720, 760, 860, 980, 1100, 1200, 1290, 1400, 1450, 1650, 1790,
    1930, 2200, 2400,
)  # fmt: skip
_MATERIALS = {
    "leaf": (.030, .032, .036, .085, .050, .030, .038, .220, .460, .490, .460, .480, .420, .440,
             .240, .130, .270, .220, .060, .130, .060),
    "grass": (.035, .040, .045, .090, .065, .045, .060, .200, .370, .410, .390, .410, .370, .390,
              .250, .170, .280, .240, .090, .160, .080),
    "needles": (.018, .020, .022, .040, .028, .022, .026, .100, .220, .250, .230, .230, .190, .200,
                .110, .060, .120, .090, .030, .050, .030),
    "straw": (.050, .080, .100, .145, .180, .210, .220, .250, .280, .330, .360, .380, .390, .400,
              .360, .330, .410, .380, .280, .300, .240),
    "loam": (.060, .080, .100, .140, .180, .210, .220, .235, .250, .280, .300, .320, .335, .345,
             .320, .320, .370, .365, .310, .330, .320),
    "peat": (.030, .040, .047, .060, .075, .090, .093, .100, .110, .135, .150, .165, .180, .190,
             .180, .180, .220, .220, .190, .210, .190),
    "water": (.055, .060, .065, .070, .050, .035, .032, .022, .018, .012, .006, .004, .003, .003,
              .002, .002, .002, .002, .002, .002, .002),
    "asphalt": (.070, .080, .085, .095, .100, .108, .110, .112, .115, .120, .128, .135, .140, .145,
                .145, .147, .160, .162, .158, .155, .145),
    "tiles": (.040, .050, .060, .085, .160, .230, .240, .250, .260, .270, .300, .330, .350, .360,
              .360, .370, .410, .410, .400, .390, .370),
    "metal": (.300, .340, .360, .360, .340, .330, .330, .330, .330, .340, .360, .380, .390, .400,
              .400, .400, .420, .420, .410, .420, .410),
    "concrete": (.140, .170, .190, .230, .250, .265, .270, .275, .280, .290, .300, .305, .310, .315,
                 .300, .300, .330, .330, .300, .310, .280),
}  # fmt: skip
KINDS = tuple(_MATERIALS)
# Share of green and of dry cover in June by crop: six crops, then two kinds of meadow.
_GREEN = np.array([0.55, 0.35, 0.75, 0.65, 0.85, 0.25, 0.80, 0.65])
_DRY = np.array([0.35, 0.00, 0.15, 0.25, 0.05, 0.00, 0.10, 0.25])
_CROPS = 6
# Absorption by liquid water: centre and width (standard deviation) in nm, depth beside the first's.
_WET = ((970.0, 35.0, 0.15), (1190.0, 45.0, 0.25), (1450.0, 70.0, 1.0), (1940.0, 80.0, 1.2))


@dataclass(frozen=True, eq=False)
class SpectralScene:
    """One landscape seen by a blurred sensor with many bands and a sharp one with few.

    Parameters
    ----------
    spectral
        ``(band, y, x)``: many bands, coarse pixels; its coordinate ``wavelength`` is in nm.
    spatial
        ``(band, y, x)``: few bands, fine pixels; nested in those of `spectral`.
    truth
        ``(band, y, x)``: the bands of `spectral` on the grid of `spatial`, without noise.
    srf
        ``(spatial_band, band)``: how the bands of `spatial` respond to those of `spectral`.
    """

    spectral: xr.DataArray
    spatial: xr.DataArray
    truth: xr.DataArray
    srf: xr.DataArray


def hyperspectral(
    *,
    size: int = 96,
    ratio: int = 4,
    bands: int = 80,
    seed: int = 0,
    noise: float = 0.002,
    vapour: bool = False,
) -> SpectralScene:
    """Return farmland in June as an imaging spectrometer and a sharper multispectral sensor see it.

    The sharp cube has Landsat 8's blue to shortwave infrared bands at 10 m in UTM, the other one
    bands from 410 to 2400 nm on pixels `ratio` times as large. Fields, woods, a river, roads and
    roofs are mixtures of eleven materials, darkened by slopes and by water in leaves and soil. A
    coarse pixel is the truth under a point spread function one coarse pixel wide at half
    its height, nearly a Gaussian, beyond the scene's edge too; both cubes have noise.

    Parameters
    ----------
    size
        Fine pixels a side: 30 or more, a multiple of `ratio`.
    ratio
        Coarse pixel size / fine pixel size.
    bands
        How many bands the blurred cube has, evenly spaced: 40 or more, so that some lie in each
        of the sharp cube's.
    seed
        Of the landscape and the noise.
    noise
        Standard deviation of the noise of both cubes, reflectance.
    vapour
        Whether bands in which water vapour leaves no light are missing (NaN) in `spectral`.

    Examples
    --------
    >>> from xstf import scenes
    >>> scene = scenes.hyperspectral(size=48, bands=60)
    >>> dict(scene.spectral.sizes), dict(scene.spatial.sizes)
    ({'band': 60, 'y': 12, 'x': 12}, {'band': 6, 'y': 48, 'x': 48})
    """
    if ratio < 1 or size < 30 or size % ratio:
        raise ValueError(
            f"size must be 30 or more and a multiple of ratio, not {size} with ratio={ratio}"
        )
    if bands < 40 or noise < 0:
        raise ValueError(f"bands must be 40 or more and noise 0 or more, not {bands=}, {noise=}")
    nanometres = np.linspace(*_RANGE, bands)
    pad = _MARGIN * ratio
    wide = _labelled(_reflectance(size + 2 * pad, pad, nanometres, seed), nanometres, pad)
    srf = _responses(wide)
    spectral = simulate.degrade(wide, ratio, psf_fwhm=_PSF, noise=noise, seed=seed)
    truth = _core(wide, pad)
    spatial = simulate.degrade(truth, 1, psf_fwhm=0, srf=srf, noise=noise, seed=seed + 1)
    table = sensors.table(_SENSOR).set_index(band="common").sel(band=list(_BANDS))
    spatial = spatial.assign_coords(
        wavelength=("band", table.centre.values, truth.wavelength.attrs)
    )
    seen = _core(spectral, _MARGIN)
    if vapour:
        dark = [((nanometres > low) & (nanometres < high)) for low, high in _VAPOUR]
        seen = seen.where(xr.DataArray(~np.any(dark, axis=0), dims="band"))
    return SpectralScene(_finished(seen), _finished(spatial), _finished(truth), srf)


# ---------------------------------------------------------------- labels


def _labelled(images: np.ndarray, nanometres: np.ndarray, pad: int) -> xr.DataArray:
    """Return reflectance (band, y, x) with CF coordinates; the scene begins ``pad`` pixels in."""
    steps = _PIXEL * (np.arange(images.shape[1]) - pad + 0.5)
    metres = {"units": "m"}
    place = {"y": _CORNER[1] - steps, "x": _CORNER[0] + steps}
    coords = {
        dim: (dim, at, metres | {"standard_name": f"projection_{dim}_coordinate",
                                 "axis": dim.upper()})
        for dim, at in place.items()
    }  # fmt: skip
    nm = {"standard_name": "radiation_wavelength", "units": "nm"}
    return xr.DataArray(
        images,
        {"band": [f"{n:.0f} nm" for n in nanometres], "wavelength": ("band", nanometres, nm)}
        | coords
        | {"spatial_ref": ((), np.int32(0), CRS(_CRS).to_cf())},
        ("band", "y", "x"),
        name="reflectance",
        attrs={"units": "1", "long_name": "surface reflectance"},
    )


def _responses(cube: xr.DataArray) -> xr.DataArray:
    """Return the sharp sensor's responses to a cube's bands."""
    rows = sensors.responses(_SENSOR, _BANDS, cube.wavelength.values)
    labels = {"spatial_band": list(_BANDS), "band": cube.band.values}
    return xr.DataArray(rows, labels, ("spatial_band", "band"), name="srf")


def _core(cube: xr.DataArray, margin: int) -> xr.DataArray:
    return cube.isel(y=slice(margin, -margin), x=slice(margin, -margin))


def _finished(cube: xr.DataArray) -> xr.DataArray:
    cube.name = "reflectance"
    cube.encoding = {"grid_mapping": "spatial_ref"}
    return cube


# ---------------------------------------------------------------- light


def _reflectance(side: int, margin: int, nanometres: np.ndarray, seed: int) -> np.ndarray:
    """Return reflectance (band, y, x), float32."""
    land = Land.make(side, margin, seed)
    rng = np.random.default_rng([seed, 7])
    spectra = materials(nanometres)
    image: np.ndarray = spectra @ _shares(land, rng).reshape(len(KINDS), -1)
    moist = 0.25 + 0.10 * by_unit(land, rng) + 0.05 * smooth_noise((side, side), 6, rng)
    image *= np.exp(-wetness(nanometres)[:, None] * np.clip(moist, 0, None).ravel())
    image = image.reshape(-1, side, side) * land.bright
    # a pixel of a real sensor also sees a little of its neighbours
    for axis in (1, 2):
        image = convolve1d(image, [0.12, 0.76, 0.12], axis=axis, mode="nearest")
    return np.asarray(image, np.float32)


def materials(nanometres: np.ndarray) -> np.ndarray:
    """Return reflectance (band, material)."""
    curves = PchipInterpolator(np.array(_NODES, float), np.array([*_MATERIALS.values()]).T)
    return np.asarray(curves(nanometres))


def wetness(nanometres: np.ndarray) -> np.ndarray:
    """Return how much liquid water absorbs at each wavelength."""
    at, width, depth = np.array(_WET).T
    bells: np.ndarray = np.exp(-(((nanometres[:, None] - at) / width) ** 2) / 2)
    wet: np.ndarray = bells @ depth
    return wet


def by_unit(land: Land, rng: np.random.Generator) -> np.ndarray:
    """Return a standard normal number of each field and cover, pixel by pixel."""
    return np.asarray(rng.standard_normal(int(land.before.max()) + 1)[land.before])


def _shares(land: Land, rng: np.random.Generator) -> np.ndarray:
    """Return what share of each pixel is which material, ``(material, y, x)``, summing to 1."""
    fields = len(land.crop)
    unit = land.before
    shares = np.zeros((len(KINDS), *unit.shape))
    row = dict(zip(KINDS, shares, strict=True))
    at = unit < fields
    crop = land.crop[np.minimum(unit, fields - 1)]
    lush = np.clip(_GREEN[crop] + 0.12 * by_unit(land, rng), 0.02, 0.98)
    green = np.clip(lush + 0.7 * lush * (1 - lush) * land.vigour, 0, 1)
    dry = np.minimum(_DRY[crop] * np.clip(1 + 0.3 * by_unit(land, rng), 0, 2), 1 - green)
    dark = 0.5 + 0.5 * np.tanh(by_unit(land, rng) + smooth_noise(unit.shape, 12, rng))
    row["leaf"][at] = (green * (crop < _CROPS))[at]
    row["grass"][at] = (green * (crop >= _CROPS))[at]
    row["straw"][at] = dry[at]
    row["loam"][at] = ((1 - green - dry) * (1 - dark))[at]
    row["peat"][at] = ((1 - green - dry) * dark)[at]
    vary = np.clip(0.5 + 0.3 * land.vigour, 0, 1)
    fill_natural(row, unit - fields, vary, rng)
    return shares


def fill_natural(
    row: dict[str, np.ndarray], cover: np.ndarray, vary: np.ndarray, rng: np.random.Generator
) -> None:
    """Fill in the shares of covers 0 to 4: broadleaf, conifer, water, road, built."""
    wood = 0.8 + 0.2 * vary
    for index, (most, rest) in enumerate((("leaf", "needles"), ("needles", "leaf"))):
        here = cover == index
        row[most][here], row[rest][here] = wood[here], 1 - wood[here]
    row["water"][cover == 2] = 1
    road = cover == 3
    row["asphalt"][road], row["grass"][road] = 0.7, 0.3
    built = cover == 4
    kind = rng.choice(3, cover.shape, p=(0.6, 0.15, 0.25))
    for index, roof in enumerate(("tiles", "metal", "concrete")):
        row[roof][built & (kind == index)] = 1 - vary[built & (kind == index)]
    row["grass"][built] = 0.6 * vary[built]
    row["leaf"][built] = 0.4 * vary[built]
