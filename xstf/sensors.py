"""Bands of common sensors: centres and widths, and the responses that follow from them.

A small table of what the operators publish, in nm. Where a whole response curve matters, give it:
`xstf.sharpen_spectral` takes ``srf=`` as a DataArray. Here each band is a Gaussian whose full width
at half maximum is the band's width.

Of Sentinel-2 there is the width of each band's blur too.

Sources: ESA, Sentinel-2 Spectral Response Functions (S2-SRF, COPE-GSEG-EOPG-TN-15-0007); USGS,
Landsat band designations; NASA, MODIS specifications; NASA, EO-1 ALI user guide; Maxar, WorldView-2
data sheet; China Centre for Resources Satellite Data and Application, GF-6 and ZY1-02D. Blur:
ESA, Sentinel-2 L1C Data Quality Report (S2-PDGS-MPC-DQR).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstf.cubes.words import meant, unknown
from xstf.numerics.psf import FWHM_OF_SIGMA, sigma_of

__all__ = ["Band", "blurs", "names", "responses", "table"]

# A band that no wavelength comes near, in standard deviations, responds to nothing.
_NEAR = 3.0


@dataclass(frozen=True)
class Band:
    """One band of a sensor.

    Parameters
    ----------
    name
        As the operator writes it.
    centre, width
        nm.
    common
        What else it is called (``"blue"``).
    """

    name: str
    centre: float
    width: float
    common: str = ""


def _between(name: str, low: float, high: float, common: str = "") -> Band:
    return Band(name, (low + high) / 2, high - low, common)


_S2_COMMON = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1",
    "B06": "rededge2", "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09",
    "B10": "cirrus", "B11": "swir16", "B12": "swir22",
}  # fmt: skip


# Pixels, metres, and the modulation transfer at their Nyquist frequency; B10 is not told.
_S2_BLUR = {
    "B01": (60, 0.32), "B02": (10, 0.26), "B03": (10, 0.28), "B04": (10, 0.24), "B05": (20, 0.38),
    "B06": (20, 0.34), "B07": (20, 0.34), "B08": (10, 0.26), "B8A": (20, 0.33), "B09": (60, 0.26),
    "B11": (20, 0.22), "B12": (20, 0.23),
}  # fmt: skip
# Labels by which Sentinel-2 is known: no other sensor's bands are called so on such grids.
_S2_LABELS = {f"B0{n}" for n in range(1, 10)} | {"B8A", "B12", "rededge1", "rededge2", "rededge3"}


def _msi(*pairs: tuple[float, float]) -> tuple[Band, ...]:
    return tuple(
        Band(name, centre, width, common)
        for (name, common), (centre, width) in zip(_S2_COMMON.items(), pairs, strict=True)
    )


_OLI = (
    _between("B1", 435, 451, "coastal"), _between("B2", 452, 512, "blue"),
    _between("B3", 533, 590, "green"), _between("B4", 636, 673, "red"),
    _between("B5", 851, 879, "nir"), _between("B6", 1566, 1651, "swir16"),
    _between("B7", 2107, 2294, "swir22"), _between("B8", 503, 676, "pan"),
    _between("B9", 1363, 1384, "cirrus"),
)  # fmt: skip

_SENSORS: Mapping[str, tuple[Band, ...]] = {
    "sentinel-2a": _msi(
        (442.7, 21), (492.4, 66), (559.8, 36), (664.6, 31), (704.1, 15), (740.5, 15), (782.8, 20),
        (832.8, 106), (864.7, 21), (945.1, 20), (1373.5, 31), (1613.7, 91), (2202.4, 175),
    ),
    "sentinel-2b": _msi(
        (442.2, 21), (492.1, 66), (559.0, 36), (664.9, 31), (703.8, 16), (739.1, 15), (779.7, 20),
        (832.9, 106), (864.0, 22), (943.2, 21), (1376.9, 30), (1610.4, 94), (2185.7, 185),
    ),
    "landsat-5": (
        _between("B1", 450, 520, "blue"), _between("B2", 520, 600, "green"),
        _between("B3", 630, 690, "red"), _between("B4", 760, 900, "nir"),
        _between("B5", 1550, 1750, "swir16"), _between("B7", 2080, 2350, "swir22"),
    ),
    "landsat-7": (
        _between("B1", 450, 520, "blue"), _between("B2", 520, 600, "green"),
        _between("B3", 630, 690, "red"), _between("B4", 770, 900, "nir"),
        _between("B5", 1550, 1750, "swir16"), _between("B7", 2090, 2350, "swir22"),
        _between("B8", 520, 900, "pan"),
    ),
    "landsat-8": _OLI,
    "landsat-9": _OLI,
    "modis": (
        _between("1", 620, 670, "red"), _between("2", 841, 876, "nir"),
        _between("3", 459, 479, "blue"), _between("4", 545, 565, "green"),
        _between("5", 1230, 1250, "nir12"), _between("6", 1628, 1652, "swir16"),
        _between("7", 2105, 2155, "swir22"),
    ),
    "ali": (
        _between("MS-1'", 433, 453, "coastal"), _between("MS-1", 450, 515, "blue"),
        _between("MS-2", 525, 605, "green"), _between("MS-3", 633, 690, "red"),
        _between("MS-4", 775, 805, "nir"), _between("MS-4'", 845, 890, "nir08"),
        _between("MS-5'", 1200, 1300, "nir12"), _between("MS-5", 1550, 1750, "swir16"),
        _between("MS-7", 2080, 2350, "swir22"), _between("Pan", 480, 690, "pan"),
    ),
    "worldview-2": (
        _between("C", 400, 450, "coastal"), _between("B", 450, 510, "blue"),
        _between("G", 510, 580, "green"), _between("Y", 585, 625, "yellow"),
        _between("R", 630, 690, "red"), _between("RE", 705, 745, "rededge"),
        _between("N", 770, 895, "nir"), _between("N2", 860, 1040, "nir2"),
        _between("P", 450, 800, "pan"),
    ),
    "gf-6-wfv": (
        _between("B1", 450, 520, "blue"), _between("B2", 520, 590, "green"),
        _between("B3", 630, 690, "red"), _between("B4", 770, 890, "nir"),
        _between("B5", 690, 730, "rededge1"), _between("B6", 730, 770, "rededge2"),
        _between("B7", 400, 450, "coastal"), _between("B8", 590, 630, "yellow"),
    ),
    "zy1-02d": (
        _between("B1", 452, 521, "blue"), _between("B2", 522, 607, "green"),
        _between("B3", 635, 694, "red"), _between("B4", 776, 895, "nir"),
        _between("B5", 416, 452, "coastal"), _between("B6", 591, 633, "yellow"),
        _between("B7", 708, 752, "rededge"), _between("B8", 871, 1047, "nir2"),
        _between("Pan", 452, 902, "pan"),
    ),
}  # fmt: skip

_S2 = (_SENSORS["sentinel-2a"], _SENSORS["sentinel-2b"])


def names() -> list[str]:
    """Return the names of the sensors.

    Examples
    --------
    >>> from xstf import sensors
    >>> "landsat-8" in sensors.names()
    True
    """
    return list(_SENSORS)


def table(sensor: str) -> xr.Dataset:
    """Return a sensor's bands as a Dataset ``(band)``: ``centre`` and ``width`` in nm, ``common``.

    Parameters
    ----------
    sensor : str
        One of `names`.

    Examples
    --------
    >>> from xstf import sensors
    >>> float(sensors.table("sentinel-2a").centre.sel(band="B04"))
    664.6
    """
    bands = _bands(sensor)
    nm = {"units": "nm"}
    return xr.Dataset(
        {"centre": ("band", [b.centre for b in bands], nm),
         "width": ("band", [b.width for b in bands], nm),
         "common": ("band", [b.common for b in bands])},
        {"band": [b.name for b in bands]},
    )  # fmt: skip


def responses(sensor: str, bands: Sequence[object], wavelengths: np.ndarray) -> np.ndarray:
    """Return how bands of a sensor respond at some wavelengths, each row summing to 1.

    Parameters
    ----------
    sensor : str
        One of `names`.
    bands : sequence
        Labels: the operator's (``"B04"``, ``"B4"``, ``4``) or common ones (``"red"``).
    wavelengths : ndarray (band,)
        nm.

    Returns
    -------
    ndarray (len(bands), len(wavelengths))

    Raises
    ------
    ValueError
        An unknown sensor or band, or a band that no wavelength comes near.

    Examples
    --------
    >>> import numpy as np
    >>> from xstf import sensors
    >>> sensors.responses("landsat-8", ["red"], np.array([560.0, 650.0, 660.0])).round(2)
    array([[0.  , 0.51, 0.49]])
    """
    rows = []
    for label in bands:
        band = _find(sensor, label)
        apart = (np.asarray(wavelengths, np.float64) - band.centre) / sigma_of(band.width)
        if not (np.abs(apart) <= _NEAR).any():
            raise ValueError(
                f"{sensor}'s band {band.name} ({band.centre:g} nm) lies outside the wavelengths "
                f"{np.min(wavelengths):g} to {np.max(wavelengths):g} nm; leave it out of spatial"
            )
        weights = np.exp(-0.5 * apart**2)
        rows.append(weights / weights.sum())
    return np.array(rows)


def blurs(sensor: str, bands: Sequence[object]) -> np.ndarray:
    """Return the full width at half maximum of bands' point spread, in pixels of their own.

    A Gaussian that has the modulation transfer which the operator tells.

    Parameters
    ----------
    sensor : str
        One of `names`: so far Sentinel-2's.
    bands : sequence
        Labels, as of `responses`.

    Returns
    -------
    ndarray (len(bands),)

    Raises
    ------
    ValueError
        An unknown sensor or band, or one whose blur the table does not have.

    Examples
    --------
    >>> from xstf import sensors
    >>> sensors.blurs("sentinel-2a", ["B05", "B11"]).round(2)
    array([1.04, 1.3 ])
    """
    known = _bands(sensor)
    if known not in _S2:
        able = [name for name, table in _SENSORS.items() if table in _S2]
        raise ValueError(
            f"the blur of {sensor} is not known here, only that of {able}; give its width in pixels"
        )
    found = [_find(sensor, label) for label in bands]
    without = [band.name for band in found if band.name not in _S2_BLUR]
    if without:
        raise ValueError(f"the blur of {sensor}'s {without} is not known; leave these bands out")
    transfer = np.array([_S2_BLUR[band.name][1] for band in found])
    return np.asarray(FWHM_OF_SIGMA * np.sqrt(-2 * np.log(transfer)) / math.pi)


def are_sentinel2(spectral: Sequence[object], spatial: Sequence[object], ratio: int) -> bool:
    """Return whether labels and ratio of two cubes say that they are Sentinel-2's bands.

    All labels are its bands', some of the spectral ones no other sensor's, and the pixels of each
    cube, of one size, are so many times as large as the other's.
    """
    known = _SENSORS["sentinel-2a"]
    sizes = []
    for labels in (spectral, spatial):
        found = [next((b.name for b in known if _same(label, b)), "") for label in labels]
        sizes.append({_S2_BLUR[name][0] if name in _S2_BLUR else 0 for name in found})
    if any(len(own) != 1 for own in sizes):
        return False
    (large,), (small,) = sizes
    sure = any(label in _S2_LABELS for label in spectral)
    return sure and large == ratio * small and ratio > 1


def _bands(sensor: str) -> tuple[Band, ...]:
    if not isinstance(sensor, str):
        raise TypeError(f"sensor must be a name, one of {names()}, not {sensor!r}")
    key = sensor.lower().replace("_", "-").replace(" ", "-")
    if key not in _SENSORS:
        raise ValueError(unknown("sensor", sensor, names()))
    return _SENSORS[key]


def _find(sensor: str, label: object) -> Band:
    """Return a sensor's band of a label; raise naming those that it has."""
    known = _bands(sensor)
    band = next((b for b in known if _same(label, b)), None)
    if band is None:
        named = [name for b in known for name in (b.name, b.common)]
        raise ValueError(
            f"{sensor} has no band {label!r}; it has {[b.name for b in known]} or "
            f"{[b.common for b in known]}{meant(label, named)}"
        )
    return band


def _same(label: object, band: Band) -> bool:
    return _plain(str(label)) in (_plain(band.name), band.common) or label == band.common


def _plain(name: str) -> str:
    return name.upper().removeprefix("B").lstrip("0")
