"""What the dimensions of cubes are called, and which of them is y, x or time."""

from __future__ import annotations

from collections.abc import Hashable

import xarray as xr

NAMES = {
    "y": ("y", "lat", "latitude", "northing"),
    "x": ("x", "lon", "longitude", "easting"),
    "time": ("time", "t", "date"),
    "band": ("band", "wavelength", "bands", "variable"),
}
_CF_NAMES = {
    "y": ("projection_y_coordinate", "latitude", "grid_latitude"),
    "x": ("projection_x_coordinate", "longitude", "grid_longitude"),
    "time": ("time",),
}


def find_dim(array: xr.DataArray, role: str) -> Hashable | None:
    """Return the dim that is y, x or time: by its name, else by CF attributes or dtype."""
    for dim in array.dims:
        if str(dim).lower() in NAMES[role]:
            return dim
    for dim in array.dims:
        coordinate = array.coords.get(dim)
        if coordinate is not None and (
            coordinate.attrs.get("axis") == role[0].upper()
            or coordinate.attrs.get("standard_name") in _CF_NAMES[role]
            or (role == "time" and coordinate.dtype.kind == "M")
        ):
            return dim
    return None


def band_dim(array: xr.DataArray) -> Hashable | None:
    """Return the dim along which an array has bands: by its name, else the one that is left."""
    others = {find_dim(array, role) for role in ("y", "x", "time")}
    left = [d for d in array.dims if d not in others]
    named = next((d for d in left if d in NAMES["band"]), None)
    return left[0] if named is None and len(left) == 1 else named
