"""The true pixel size of known sensors, by what a cube's name and attributes say of its source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, radians, sqrt
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.grid import Grid, period_of

# Metres in a degree of latitude.
DEGREE = 111_320.0
# A cube whose pixels are this much smaller than any of its sensor's was resampled.
FINER = 1.5

_KEYS = (
    "instrument", "instruments", "sensor", "sensors", "product", "product_name", "producttype",
    "short_name", "shortname", "title", "platform", "platforms", "platform_name", "source",
    "long_name", "collection", "constellation", "mission", "dataset", "id", "name",
)  # fmt: skip

# Sizes in metres: what the product or the sensor has, and the smallest that its sensor has at all.
# MODIS and VIIRS on the sinusoidal grid: 231.66 m (LP DAAC, "250 m"), 463.31 ("500 m"), 926.63.
_KNOWN: tuple[tuple[str, str, float, float], ...] = (
    (r"\bM[OY]D(09G?Q|09Q1|13Q1|44[BW])", "MODIS at 250 m", 231.66, 231.66),
    (r"\bM[OYC]D(09CMG|13C\d|43C\d|11C\d)", "MODIS on its 0.05° grid", 5566.0, 5566.0),
    (r"\bM[OY]D(11|13A[23]|21)", "MODIS at 1 km", 926.63, 926.63),
    (r"\bM[OYC]D\d\d", "MODIS at 500 m", 463.31, 231.66),
    (r"\b(VNP|VJ\d)(13A[23]|21)", "VIIRS at 1 km", 926.63, 926.63),
    (r"\b(VNP|VJ\d)\d\d", "VIIRS at 500 m", 463.31, 375.0),
    (r"MODIS.*\b(250|231(\.\d+)?) ?m\b", "MODIS at 250 m", 231.66, 231.66),
    (r"MODIS.*\b(1 ?km|1000 ?m|926(\.\d+)? ?m)\b", "MODIS at 1 km", 926.63, 231.66),
    (r"MODIS", "MODIS at 500 m", 463.31, 231.66),
    (r"VIIRS.*\b375 ?m\b", "VIIRS at 375 m", 375.0, 375.0),
    (r"VIIRS.*\b750 ?m\b", "VIIRS at 750 m", 750.0, 375.0),
    (r"VIIRS", "VIIRS at 500 m", 463.31, 375.0),
    (r"\b(OLCI|S3[AB]?_OL|Sentinel-?3.*OLCI)", "Sentinel-3 OLCI", 300.0, 300.0),
    (r"\b(SLSTR|S3[AB]?_SL).*\b(LST|SST|TIR|1 ?km|1000 ?m)\b", "Sentinel-3 SLSTR", 1000.0, 500.0),
    (r"\b(SLSTR|S3[AB]?_SL)", "Sentinel-3 SLSTR", 500.0, 500.0),
    (r"\bS(ENTINEL)?-?3[AB]?\b", "Sentinel-3", 300.0, 300.0),
    (r"PROBA-?V.*\b100 ?m\b", "PROBA-V at 100 m", 100.0, 100.0),
    (r"PROBA-?V.*\b1 ?km\b", "PROBA-V at 1 km", 1000.0, 100.0),
    (r"PROBA-?V", "PROBA-V", 300.0, 100.0),
    (r"\bMERIS\b", "MERIS", 300.0, 300.0),
    (r"AVHRR.*\b(GAC|CDR|4 ?km|5 ?km)\b", "AVHRR", 4000.0, 1100.0),
    (r"AVHRR", "AVHRR", 1100.0, 1100.0),
    (r"SEVIRI.*\bHRV\b", "SEVIRI HRV", 1000.0, 1000.0),
    (r"SEVIRI", "SEVIRI", 3000.0, 1000.0),
    (r"\bABI\b|GOES-?(R|1[6-9])", "GOES ABI", 1000.0, 500.0),
    (r"\bAHI\b|HIMAWARI", "Himawari AHI", 1000.0, 500.0),
    (r"\bAMSR", "AMSR", 10000.0, 3000.0),
    (r"\b(SUOMI|SNPP|NPP|NOAA-?2[01])\b", "VIIRS at 500 m", 463.31, 375.0),
)  # fmt: skip
_PATTERNS = tuple((re.compile(p, re.IGNORECASE), name, a, b) for p, name, a, b in _KNOWN)


@dataclass(frozen=True)
class Native:
    """The true pixel size of a cube's source.

    Parameters
    ----------
    resolution
        In units of the cube's CRS.
    sensor
        Whose, in words.
    where
        What says so.
    """

    resolution: float
    sensor: str
    where: str


def native_of(cube: Labelled, grid: Grid) -> Native | None:
    """Return a cube's true pixel size by its sensor, where its own pixels are much finer.

    None where no known sensor is named, where its own pixels are of such a size, or where units of
    its CRS are not known.
    """
    own = _metres(grid)
    if own is None:
        return None
    for where, text in _texts(cube):
        spelled = text.replace("_", " ")
        for pattern, sensor, size, smallest in _PATTERNS:
            if pattern.search(spelled) or pattern.search(text):
                if own * FINER >= smallest:
                    return None
                return Native(grid.resolution * size / own, sensor, where)
    return None


def _texts(cube: Labelled) -> Iterator[tuple[str, str]]:
    """Return what may name a sensor, and where it stands; products before platforms."""
    stores: list[tuple[str, Any]] = [("attrs", cube.attrs)]
    if isinstance(cube, xr.Dataset):
        stores += [(f"{n}.attrs", v.attrs) for n, v in cube.data_vars.items() if v.ndim >= 2]
    for key in _KEYS:
        for where, attrs in stores:
            for name, value in attrs.items():
                if str(name).lower().replace(":", "_") == key and (text := _text(value)):
                    yield f"{where}[{name!r}]", text
        if key in cube.coords and cube[key].dtype.kind in "OU":
            values = sorted({t for v in np.ravel(cube[key].values) if (t := _text(v))})
            if len(values) == 1:
                yield f"coordinate {key!r}", values[0]
    name = getattr(cube, "name", None)
    if isinstance(name, str):
        yield "its name", name


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join(str(v) for v in value)
    return ""


def _metres(grid: Grid) -> float | None:
    """Return the side of a pixel in metres, None where nothing tells."""
    if grid.crs is None:
        return None
    if not period_of(grid.crs):
        axes = grid.crs.axis_info
        factor = axes[0].unit_conversion_factor if axes else 0
        return grid.resolution * factor if grid.crs.is_projected and factor else None
    _, _, y0, y1 = grid.extent
    latitude = (y0 + y1) / 2 * 360 / period_of(grid.crs)
    per = DEGREE * 360 / period_of(grid.crs)
    narrow = max(cos(radians(min(abs(latitude), 89.0))), 1e-3)
    return sqrt(abs(grid.dy * grid.dx) * narrow) * per
