"""The CRS that a labelled cube carries, and the variable that holds it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pyproj
import xarray as xr
from pyproj.exceptions import CRSError

from xstf.cubes.arrays import Labelled


def crs_of(cube: Labelled) -> pyproj.CRS | None:
    """Return the CRS that a cube carries: CF grid mapping, rioxarray's or odc's, or attrs."""
    attrs = _grid_mapping_attrs(cube)
    try:
        if attrs:
            text = attrs.get("crs_wkt") or attrs.get("spatial_ref")
            return pyproj.CRS.from_user_input(text) if text else pyproj.CRS.from_cf(attrs)
        plain = cube.attrs.get("crs")
        if isinstance(plain, str | int) and str(plain).strip():
            return pyproj.CRS.from_user_input(str(plain).removeprefix("+init=") if isinstance(
                plain, str) else plain)  # fmt: skip
    except CRSError as error:
        raise ValueError(f"the cube's CRS cannot be read: {error}") from error
    return None


def _grid_mapping_attrs(cube: Labelled) -> dict[Hashable, Any]:
    name = grid_mapping_name(cube)
    if name is None:
        return {}
    return dict(cube[name].attrs)


def grid_mapping_name(cube: Labelled) -> Hashable | None:
    """Return the variable that holds the CRS."""
    variables = dict(cube.coords)
    if isinstance(cube, xr.Dataset):
        variables |= dict(cube.data_vars)
    of_first = next(iter(cube.data_vars.values()), cube) if isinstance(cube, xr.Dataset) else cube
    named = [c.get("grid_mapping") for c in (of_first.encoding, of_first.attrs)]
    for name in [*named, "spatial_ref", "crs", *variables]:
        if name in variables and variables[name].ndim == 0:
            attrs = variables[name].attrs
            if any(key in attrs for key in ("crs_wkt", "spatial_ref", "grid_mapping_name")):
                return name
    return None
