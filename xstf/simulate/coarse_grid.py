"""The labels of a degraded cube: on the coarse grid that nests in what the verbs see."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import xarray as xr

from xstf.cubes.grid import Grid
from xstf.cubes.grid_attrs import attrs_on, mapping_attrs
from xstf.cubes.read import read_labels

_OF_GRID = ("proj:transform", "proj:shape", "proj:bbox")  # coordinates that stackstac makes


def on_coarse_grid(
    coarse: xr.DataArray, cube: xr.DataArray, ratio: int, space: tuple[Hashable, Hashable]
) -> xr.DataArray:
    """Give the coarse data the cube's name, attrs and CRS, and coordinates on its own grid."""
    coarse.name, coarse.attrs = cube.name, dict(cube.attrs)
    if "grid_mapping" in cube.encoding:
        coarse.encoding["grid_mapping"] = cube.encoding["grid_mapping"]
    if not all(dim in cube.coords for dim in space):
        return coarse
    if ratio == 1:
        return coarse.assign_coords({dim: cube[dim] for dim in space})
    grid = _grid_of(cube, space)
    height, width = (coarse.sizes[dim] for dim in space)
    grid = replace(grid, dy=grid.dy * ratio, dx=grid.dx * ratio, height=height, width=width)
    for dim, centres in zip(space, (grid.y, grid.x), strict=True):
        coarse = coarse.assign_coords({dim: (dim, centres, cube[dim].attrs)})
    coarse.attrs = attrs_on(coarse.attrs, grid, moved=True, same_crs=True)
    if (height, width) == (1, 1):  # one centre does not say how large its pixel is
        coarse.attrs |= {"resolution": (abs(grid.dx), abs(grid.dy))}
    coarse = coarse.drop_vars([n for n in coarse.coords if str(n) in _OF_GRID])
    mapping = {n: c.copy() for n, c in coarse.coords.items() if "GeoTransform" in c.attrs}
    for variable in mapping.values():
        variable.attrs = mapping_attrs(variable.attrs, grid)
    return coarse.assign_coords(mapping)


def _grid_of(cube: xr.DataArray, space: tuple[Hashable, Hashable]) -> Grid:
    """Return the grid that the verbs see, whatever other dims a cube has."""
    for dim in space:
        values = cube[dim].values.astype(float)
        step = (values[-1] - values[0]) / max(values.size - 1, 1)
        rounding = 4 * np.spacing(np.float32(np.abs(values).max()))
        if (np.abs(np.diff(values) - step) > 0.01 * abs(step) + rounding).any():
            raise ValueError(f"the coordinates along {dim!r} are not evenly spaced")
    image = cube.isel({dim: 0 for dim in cube.dims if dim not in space}, drop=True)
    times = [n for n, c in image.coords.items() if c.dtype.kind not in "fiu" and c.ndim == 0]
    return read_labels(image.drop_vars(times), what="the cube").grid
