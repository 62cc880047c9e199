"""Acquisitions: when an image counts, in the local time of its place, and which images are one.

A satellite passes at the same local time everywhere, so the day of an image is the day of local
solar time, UTC plus four minutes a degree of longitude. Daily products carry the name of their day
instead of a time; composites carry the name of their first one.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.grid import Grid, transform
from xstf.cubes.variables import band_variables, first_band

DAY = np.timedelta64(1, "D")
# Granules of one overpass follow each other within minutes, and a scene is passed in less than the
# half of an orbit of about 100 minutes. What goes on for longer is a series within the day, such as
# a geostationary one, and its images stay apart.
SAME_LOOK, LONGEST_LOOK = np.timedelta64(30, "m"), np.timedelta64(60, "m")
# Stamps that name a day: midnight, or noon as climate data have it.
_NAMES_A_DAY = (0, 12)

_LONGITUDES = ("lon", "longitude", "long")

# Where attributes say how long a composite gathers.
_PERIODS = ("composite", "composite_period", "compositing_period")
_PRODUCTS = ("product", "short_name", "ShortName", "SHORTNAME", "title", "collection", "id")
# MODIS and VIIRS composites by the products' names, stamped on their first day.
_GATHERED = (
    (re.compile(r"(?i:M[OY]D|VNP|VJ\d|modis-)13(Q1|A1|A2|C1)"), 16),
    (re.compile(r"(?i:M[OY]D|VNP|VJ\d|modis-)(09(A1|Q1|H1)|11A2|15A2H?|10A2|17A2H?|14A2|21A2)"), 8),
    (re.compile(r"(?i:modis-)15A3H?"), 4),
    (re.compile(r"MCD15A2H?"), 8),
    (re.compile(r"MCD15A3H?"), 4),
)
_CALENDAR = {
    "week": 7, "weekly": 7, "dekad": 10, "dekadal": 10, "month": 30, "monthly": 30, "ms": 30,
    "1m": 30, "p1m": 30,
}  # fmt: skip
_LENGTH = re.compile(r"\s*P?\s*(\d+(?:\.\d+)?)\s*-?\s*(D|d|day|days)?\s*")


@dataclass(frozen=True)
class Dates:
    """When the images of a cube were taken.

    Parameters
    ----------
    stamps
        ``(time,)`` datetime64[ns], as labelled.
    moments
        ``(time,)`` when each counts, in local solar time: at noon for a stamp that names a day, in
        the middle of its period for a composite.
    named
        Whether the stamps name days; else they are instants in UTC.
    offset
        Local solar time minus UTC.
    period
        How long each image gathers; 0 for images of one pass.
    """

    stamps: np.ndarray
    moments: np.ndarray
    named: bool
    offset: np.timedelta64
    period: np.timedelta64

    @property
    def days(self) -> np.ndarray:
        """The solar day on which each counts, datetime64[D]."""
        return np.asarray(self.moments.astype("M8[D]"))

    def local(self, date: np.datetime64) -> tuple[np.datetime64, bool]:
        """Return a date that a caller names in local time, and whether it is a whole day."""
        if date == date.astype("M8[D]"):
            return date + DAY.astype("m8[ns]") // 2, True  # half of 1 D is 0 D
        return date + self.offset, False

    def __getitem__(self, index: Any) -> Dates:
        """Return some of the dates."""
        return Dates(self.stamps[index], self.moments[index], self.named, self.offset, self.period)


def dates_of(
    stamps: np.ndarray,
    longitude: float | None = None,
    period: np.timedelta64 | None = None,
) -> Dates:
    """Return when images count.

    Parameters
    ----------
    stamps : ndarray of datetime64
    longitude : float, optional
        Of the scene, in degrees; None where it is not known: days are those of UTC.
    period : timedelta64, optional
        How long each image gathers from its stamp on.
    """
    stamps = np.asarray(stamps, "M8[ns]")
    offset = np.timedelta64(round((longitude or 0.0) * 240), "s").astype("m8[ns]")
    within = stamps - stamps.astype("M8[D]")
    named = any((within == np.timedelta64(hour, "h")).all() for hour in _NAMES_A_DAY)
    moments = stamps.astype("M8[D]").astype("M8[ns]") if named else stamps + offset
    length = np.timedelta64(0, "ns") if period is None else period.astype("m8[ns]")
    if named:
        length_or_day = max(length, DAY.astype("m8[ns]"))
        return Dates(stamps, moments + length_or_day // 2, named, offset, length)
    return Dates(stamps, moments + length // 2, named, offset, length)


@lru_cache(maxsize=256)
def longitude_of(grid: Grid, x_dim: Hashable = "x") -> float | None:
    """Return the longitude of the middle of a grid in degrees, None where nothing tells."""
    x0, x1, y0, y1 = grid.extent
    x, y = np.array([(x0 + x1) / 2]), np.array([(y0 + y1) / 2])
    if grid.crs is not None:
        _, x = transform(grid.crs, _geographic(), y, x)
    elif str(x_dim).lower() not in _LONGITUDES or max(abs(x0), abs(x1)) > 360:
        return None
    return float((x[0] + 180) % 360 - 180) if np.isfinite(x[0]) else None


@lru_cache(maxsize=1)
def _geographic() -> Any:
    import pyproj

    return pyproj.CRS.from_epsg(4326)


# --- composites -------------------------------------------------------------------------------


def period_of(cube: Labelled) -> np.timedelta64 | None:
    """Return how long a cube's images gather, by its attributes or its product's name."""
    attrs: dict[Hashable, Any] = dict(cube.attrs)
    if isinstance(cube, xr.Dataset):
        first = first_band(cube)
        attrs = (dict(first.attrs) if first is not None else {}) | attrs
    for key in _PERIODS:
        if key in attrs:
            return _period(f"attrs[{key!r}]", attrs[key])
    names = [attrs.get(key) for key in _PRODUCTS] + [getattr(cube, "name", None)]
    for name in names:
        for pattern, days in _GATHERED:
            if isinstance(name, str) and pattern.search(name):
                return np.timedelta64(days, "D")
    return None


def _period(name: str, value: object) -> np.timedelta64 | None:
    """Return the period that an attribute or argument states; None where it says none."""
    if value is None or isinstance(value, bool | np.bool_) and not value:
        return None
    if str(value).strip().lower() in ("", "false", "none", "0", "daily"):
        return None
    found = _LENGTH.fullmatch(str(value))
    days = _CALENDAR.get(str(value).strip().lower(), float(found[1]) if found else None)
    try:
        length = pd.Timedelta(value) if days is None else pd.Timedelta(days, "D")  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} is {value!r}, no length of time such as '16D': set it, or say it with "
            "composite='16D'"
        ) from error
    if not pd.Timedelta(0) < length < pd.Timedelta(400, "D"):
        raise ValueError(f"{name} is {value!r}; a composite gathers some days, as in '16D'")
    return np.timedelta64(length.value, "ns")


def bounds_of(cube: Labelled, dim: Hashable | None) -> np.ndarray | None:
    """Return when each image begins and ends by CF's bounds ``(time, 2)``, None without such."""
    if dim is None or dim not in cube.coords:
        return None
    name = cube[dim].attrs.get("bounds") or cube[dim].encoding.get("bounds")
    found = {**cube.coords, **getattr(cube, "data_vars", {})}.get(name)
    shape = (cube.sizes[dim], 2)
    if found is None or found.dtype.kind != "M" or found.shape != shape:
        return None
    return np.asarray(found.values, "M8[ns]")


def dates_of_bounds(
    stamps: np.ndarray, bounds: np.ndarray, longitude: float | None = None
) -> Dates:
    """Return when images count whose bounds say from when to when each gathers."""
    plain = dates_of(stamps, longitude)
    length = bounds[:, 1] - bounds[:, 0]
    if not np.median(length) > DAY:
        return plain
    middle = bounds[:, 0] + length // 2
    return Dates(plain.stamps, middle, True, plain.offset, np.median(length).astype("m8[ns]"))


def with_period(cube: Any, composite: object, what: str) -> Any:
    """Return a cube whose attributes say how long its images gather, as the caller says.

    Parameters
    ----------
    cube
        A labelled cube.
    composite
        A length of time; False for images of one day; None leaves what the attributes say.
    what
        What to call the cube in messages.
    """
    if composite is None:
        return cube
    if not isinstance(cube, xr.DataArray | xr.Dataset):
        raise TypeError(f"{what} must be an xarray DataArray or Dataset, not {type(cube).__name__}")
    if composite is True:
        raise TypeError(
            "composite must be a length of time such as '16D', or False, not True: how many days "
            f"does an image of {what} gather?"
        )
    if composite is False:
        return cube.assign_attrs(composite="none")
    length = _period("composite=", composite)
    if length is None:
        raise ValueError(f"composite is {composite!r}; give a length of time such as '16D'")
    return cube.assign_attrs(composite=str(pd.Timedelta(length)))


# --- looks ------------------------------------------------------------------------------------


def group_looks(dates: Dates) -> list[np.ndarray]:
    """Return the positions of the images of each acquisition, in order of time.

    Images of one solar day that follow each other within 30 minutes are one, unless the chain of
    them is longer than an hour.
    """
    order = np.argsort(dates.stamps, kind="stable")
    if dates.named or dates.period > np.timedelta64(0, "ns"):
        return [order[i : i + 1] for i in range(len(order))]
    stamps, days = dates.stamps[order], dates.days[order]
    apart = (np.diff(stamps) > SAME_LOOK) | (np.diff(days) > np.timedelta64(0, "D"))
    chains = np.split(order, np.flatnonzero(apart) + 1)
    groups: list[np.ndarray] = []
    for chain in chains:
        if dates.stamps[chain[-1]] - dates.stamps[chain[0]] > LONGEST_LOOK:
            groups += [chain[i : i + 1] for i in range(len(chain))]
        else:
            groups.append(chain)
    return groups


def group_days(dates: Dates) -> list[np.ndarray]:
    """Return the positions of the images of each solar day, in order of time."""
    order = np.argsort(dates.stamps, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(dates.days[order]) > np.timedelta64(0, "D")) + 1)


def first_valid(images: Any, groups: Sequence[np.ndarray], missing: Any) -> Any:
    """Return for each group of images the first value that is there, along the first axis.

    Parameters
    ----------
    images
        ``(time, …)``, numpy, cupy or dask.
    groups
        Positions of the images that are merged.
    missing
        ``(time, …)`` bool, where an image has no value.
    """
    first = np.array([group[0] for group in groups])
    merged, gone = images[first], missing[first]
    for rank in range(1, max(len(group) for group in groups)):
        other = np.array([group[min(rank, len(group) - 1)] for group in groups])
        here = images[other]
        merged = _where(gone, here, merged)
        gone = gone & missing[other]
    return merged


def _where(condition: Any, a: Any, b: Any) -> Any:
    """Return `numpy.where` of whatever library the arrays are of."""
    dims = tuple(range(condition.ndim))
    return xr.where(*(xr.Variable(dims, array) for array in (condition, a, b))).data


def merged_text(
    count: int, groups: Sequence[np.ndarray], one: str = "a solar day and overpass"
) -> str:
    """Return in words that images were merged, `one` of which is what; "" where none were."""
    if count == len(groups):
        return ""
    return f"{count} images merged to {len(groups)} acquisitions, one {one}, first valid"


def merged_array(
    array: xr.DataArray, dim: Hashable, groups: Sequence[np.ndarray], missing: xr.DataArray
) -> xr.DataArray:
    """Return an array with one image a group, first valid; `missing` has some of its dims."""
    first = array.isel({dim: [int(group[0]) for group in groups]})
    if len(groups) == array.sizes[dim]:
        return first
    order = (dim, *(d for d in array.dims if d != dim))
    gone = missing.broadcast_like(array.drop_vars(list(array.coords))).transpose(*order)
    data = first_valid(array.transpose(*order).data, groups, gone.data)
    merged = first.transpose(*order).copy(data=data).transpose(*array.dims)
    merged.encoding = dict(array.encoding)
    return merged


def merged_labels(
    cube: Labelled, dim: Hashable, groups: Sequence[np.ndarray], missing: xr.DataArray
) -> xr.DataArray | xr.Dataset:
    """Return a cube's labels on one image a group: those of the first look.

    In a Dataset layers beside the bands, such as classes, follow the look that the bands come from.

    Parameters
    ----------
    missing
        ``(time, y, x)``, without coordinates: where no band of an image has a value.
    """
    out = cube.isel({dim: [int(group[0]) for group in groups]})
    if isinstance(cube, xr.Dataset) and isinstance(out, xr.Dataset):
        bands = set(band_variables(cube))
        for name, layer in cube.data_vars.items():
            if name not in bands and set(missing.dims) <= set(layer.dims):
                out[name] = merged_array(layer, dim, groups, missing)
    return out


def same_day(stamps: np.ndarray, dates: Dates) -> np.ndarray:
    """Return which of a cube's images are of the solar days of some of its stamps."""
    wanted = dates.days[np.isin(dates.stamps, np.asarray(stamps, "M8[ns]"))]
    return np.isin(dates.days, wanted)
