"""Several images into one, by hand: what the verbs do with the looks of one acquisition."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal, TypeAlias, overload

import numpy as np
import xarray as xr

from xstf.cubes.acquisitions import (
    Dates,
    dates_of,
    group_days,
    group_looks,
    longitude_of,
    merged_array,
    merged_text,
)
from xstf.cubes.arrays import Labelled
from xstf.cubes.common_attrs import with_own_attrs
from xstf.cubes.decode import decode
from xstf.cubes.dims import band_dim, find_dim
from xstf.cubes.extremes import warn_of_extremes
from xstf.cubes.limits import LARGEST
from xstf.cubes.read import read_labels, without_space
from xstf.cubes.variables import band_variables

By: TypeAlias = Literal["solar_day", "acquisition", "time"]

Groups: TypeAlias = Sequence[np.ndarray]

# What is one image, in words.
_ONE: dict[str, str] = {
    "solar_day": "a solar day", "acquisition": "a solar day and overpass", "time": "a stamp",
}  # fmt: skip


def _group_stamps(dates: Dates) -> list[np.ndarray]:
    """Return the positions of the images of each stamp, in order of time."""
    order = np.argsort(dates.stamps, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(dates.stamps[order])) + 1)


_WAYS: dict[str, Callable[[Dates], list[np.ndarray]]] = {
    "solar_day": group_days,
    "acquisition": group_looks,
    "time": _group_stamps,
}


@overload
def mosaic(cube: xr.DataArray, by: By = ...) -> xr.DataArray: ...
@overload
def mosaic(cube: xr.Dataset, by: By = ...) -> xr.Dataset: ...
def mosaic(cube: Labelled, by: By = "solar_day") -> Labelled:
    """Return a cube with one image a day: of each pixel the first value that is there.

    The verbs do this by themselves with images of one solar day that follow each other within
    minutes (``by="acquisition"``); this does it by hand, and for images of equal stamps.

    Parameters
    ----------
    cube : DataArray ``(time, …, y, x)`` or Dataset
        Any dims order, with others besides or without space; NaN or its nodata value where missing.
        Mask clouds first (``cube.where(~mask)``): the first look that is there wins.
    by : {"solar_day", "acquisition", "time"}
        What is one image: all images of a day in local solar time at the scene's longitude; those
        of one that follow each other within 30 minutes, for an hour at most; those of equal stamps.

    Returns
    -------
    DataArray or Dataset
        Dates in order; values, dtype and attrs as they were, lazy if the cube is. Coordinates along
        time are those of the first image of each group. In a Dataset layers that are no
        measurements (classes, masks) follow the look that its bands come from.

    Raises
    ------
    ValueError, TypeError
        No time dim, a boolean cube, an unknown `by`.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xstf
    >>> fine, _ = xstf.testing.scene()
    >>> west = fine.where(fine.x < fine.x.mean())
    >>> east = fine.where(fine.x >= fine.x.mean())
    >>> later = east.assign_coords(time=east.time + np.timedelta64(15, "s"))
    >>> both = xr.concat([west, later], "time")
    >>> both.sizes["time"], xstf.mosaic(both).sizes["time"], xstf.mosaic(both).equals(fine)
    (6, 3, True)
    """
    if not isinstance(by, str) or by not in _WAYS:
        raise ValueError(f"by is {by!r}; there are {list(_WAYS)}")
    if isinstance(cube, xr.DataArray) and cube.dtype == bool:
        raise TypeError(
            "cube is boolean: a mask says nothing of which look is there; mask the images first "
            "(cube.where(~mask)), then merge them"
        )
    dim, dates = _dates(cube)
    groups = _WAYS[by](dates)
    if isinstance(cube, xr.DataArray):
        if len(groups) < len(dates.stamps):
            warn_of_extremes(cube, "cube")
        merged: Labelled = _merged(cube, dim, groups, _missing(cube))
    else:
        merged = _merged_dataset(with_own_attrs(cube), dim, groups)
    text = merged_text(len(dates.stamps), groups, _ONE[by])
    return merged.assign_attrs(stf_acquisitions=text) if text else merged


def _dates(cube: Labelled) -> tuple[Hashable, Dates]:
    """Return a cube's dim of time, and when its images were taken; raise where it has none."""
    folded, series = without_space(cube, "cube")
    if isinstance(folded, xr.DataArray) and series is None:
        known = {find_dim(folded, role) for role in ("y", "x", "time")} | {band_dim(folded)}
        folded = folded.isel({d: 0 for d in folded.dims if d not in known}, drop=True)
    labels = read_labels(
        folded, what="cube", unique=False, unsized=True, series=series, warns=False
    )
    dim = labels.dims[0] if series is None else series.time
    if labels.times is None or dim is None:
        raise ValueError("cube has no time dim: there is nothing to merge")
    longitude = None if series is not None else longitude_of(labels.grid, labels.dims[3])
    return dim, dates_of(labels.times, longitude)


def _missing(array: xr.DataArray) -> xr.DataArray:
    found = decode(array, band=band_dim(array), what="cube")
    return ~(abs(found) < LARGEST)  # as the verbs: infinite is missing, too


def _merged(
    array: xr.DataArray, dim: Hashable, groups: Groups, missing: xr.DataArray
) -> xr.DataArray:
    """Return an array with one image a group; one without time as it is."""
    return array if dim not in array.dims else merged_array(array, dim, groups, missing)


def _merged_dataset(data: xr.Dataset, dim: Hashable, groups: Groups) -> xr.Dataset:
    bands = band_variables(data) or [n for n, v in data.data_vars.items() if v.dtype.kind == "f"]
    seen = [_missing(data[n]).reset_coords(drop=True) for n in bands if dim in data[n].dims]
    spatial = set.intersection(*(set(v.dims) for v in seen)) if seen else set()
    gone = _all_missing(seen, spatial) if seen else None
    out = data.isel({dim: [int(group[0]) for group in groups]})
    for name, variable in data.data_vars.items():
        if dim not in variable.dims:
            continue
        if name in bands:
            out[name] = _merged(variable, dim, groups, _missing(variable))
        elif gone is not None and spatial <= set(variable.dims):
            out[name] = _merged(variable, dim, groups, gone)
    return out


def _all_missing(seen: Sequence[xr.DataArray], kept: set[Hashable]) -> xr.DataArray:
    """Return where all bands are missing."""
    gone = seen[0].all([d for d in seen[0].dims if d not in kept])
    for other in seen[1:]:
        gone = gone & other.all([d for d in other.dims if d not in kept])
    return gone
