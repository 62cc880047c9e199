"""Which labels of a cube hold on a result: coordinates, attributes, variables beside bands."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.crs import grid_mapping_name
from xstf.cubes.dims import NAMES
from xstf.cubes.grid import CORNER_TOLERANCE, Grid
from xstf.cubes.grid_attrs import attrs_on, mapping_attrs
from xstf.cubes.packing import PACKING
from xstf.cubes.read import Cube
from xstf.cubes.variables import band_variables, first_band, kinds_of

# What described the stored numbers and would be wrong on a float cube with NaN.
_PACKING = (
    *PACKING, "valid_range", "valid_min", "valid_max", "actual_range", "nodatavals", "scales",
    "offsets", "_Unsigned", "flag_values", "flag_meanings", "flag_masks",
)  # fmt: skip
_PACKING_PREFIX = ("STATISTICS_",)
_CF_MAPPING = ("crs_wkt", "spatial_ref", "grid_mapping_name")


@dataclass(frozen=True)
class Frame:
    """Where the images of a result lie: what all its variables share.

    Parameters
    ----------
    dims
        In the order of the result; `time`, `y` and `x` among them.
    coords
        Along these, and scalar ones.
    axes
        What the axes of an array ``(time, band, y, x)`` are called; None for a band that there is
        not.
    mapping
        The coordinate that holds the CRS, or None.
    """

    dims: tuple[Hashable, ...]
    coords: Mapping[Hashable, xr.Variable]
    axes: tuple[Hashable, Hashable | None, Hashable, Hashable]
    mapping: Hashable | None

    def fill(self, data: Any, name: Hashable | None, attrs: Mapping[Any, Any]) -> xr.DataArray:
        """Return images ``(time, band, y, x)`` with these labels, without a band where none is."""
        plain = data if self.axes[1] is not None else data[:, 0]
        named = [d for d in self.axes if d is not None]
        out = xr.DataArray(plain, dims=named, name=name, attrs=dict(attrs))
        out = out.transpose(*self.dims).assign_coords(self.coords)
        if self.mapping is not None:
            out.encoding["grid_mapping"] = self.mapping
        return out


def frame_of(like: Cube, times: np.ndarray, *, own_dates: bool) -> Frame:
    """Return the frame of images on a cube's grid.

    Parameters
    ----------
    like : Cube
        Whose grid and bands they have.
    times : ndarray of datetime64
        Their dates.
    own_dates : bool
        Whether dates that the cube has too are those of its images: then what it says of them
        holds, if it has all of them.
    """
    source = like.source
    time = like.dims[0] if like.dims[0] is not None else "time"
    stacked = isinstance(source, xr.Dataset) and like.dims[1] not in _dims(source)
    axes = (time, None if stacked else like.dims[1], like.dims[2], like.dims[3])
    named = [d for d in axes if d is not None]
    at = positions(like, times) if own_dates else None
    coords = _held(source, set(named) - {time}, time, at)
    if like.dims[0] is None:
        coords.pop(_scalar_time(source), None)
        if not own_dates:
            coords = {n: c for n, c in coords.items() if c.ndim or c.dtype.kind != "M"}
    own = source.coords.get(time)
    if at is None or own is None or own.ndim == 0:
        coords[time] = xr.Variable(time, times, {} if own is None else own.attrs)
    coords |= _axes_of(like)
    mapping = _write_crs(coords, like)
    return Frame(tuple(_order(source, named, time)), coords, axes, mapping)


def kept_attrs(attrs: Mapping[Any, Any], grid: Grid) -> dict[Hashable, Any]:
    """Return the attributes of a cube that still hold for values of its kind on a grid."""
    kept = {
        key: value
        for key, value in attrs.items()
        if key not in (*_PACKING, "grid_mapping") and not str(key).startswith(_PACKING_PREFIX)
    }
    return attrs_on(kept, grid, moved=False)


def positions(like: Cube, times: np.ndarray) -> list[int] | None:
    """Return where a cube has some dates; None where it lacks one, or has no dim of time."""
    if like.times is None or like.dims[0] is None:
        return None
    place = {t: i for i, t in enumerate(like.times.astype("M8[ns]").astype(int).tolist())}
    found = [place.get(t) for t in times.astype("M8[ns]").astype(int).tolist()]
    there = [i for i in found if i is not None]
    return there if len(there) == len(found) else None


def carried(
    like: Cube, frame: Frame, times: np.ndarray, *, own_dates: bool
) -> tuple[dict[Hashable, xr.Variable], dict[Hashable, xr.Variable], list[Hashable]]:
    """Return the variables beside a Dataset's bands that still hold, untouched.

    Returns
    -------
    variables, coords, left_out
        Those that hold, the coordinates of dims that they alone have, and the names of the rest.
    """
    source = like.source
    if not isinstance(source, xr.Dataset):
        return {}, {}, []
    at = positions(like, times) if own_dates else None
    bands, mapping = band_variables(source), grid_mapping_name(source)
    dated = _of_one_date(source) if like.dims[0] is None and not own_dates else set()
    variables: dict[Hashable, xr.Variable] = {}
    left_out = []
    for name, array in source.data_vars.items():
        variable = array.variable
        if name in bands or name in (mapping, frame.mapping):
            continue
        if name in dated or (like.dims[0] in variable.dims and at is None):
            left_out.append(name)
            continue
        if like.dims[0] in variable.dims:
            variable = variable.isel({like.dims[0]: at})
        variables[name] = _plain(variable)
    own = {d for v in variables.values() for d in v.dims} - set(frame.dims)
    coords = {
        n: _plain(c.variable)
        for n, c in source.coords.items()
        if own & set(c.dims) and set(c.dims) <= own and n not in frame.coords
    }
    return variables, coords, left_out


def _of_one_date(source: xr.Dataset) -> set[Hashable]:
    """Return the variables that describe a single image: its classes, angles, accuracy."""
    return {
        n for n, kind in kinds_of(source).items() if kind in ("class", "angle", "accuracy", "count")
    }


def on_chunks(variables: Mapping[Hashable, xr.Variable], of: xr.Variable) -> dict[Any, xr.Variable]:
    """Return variables in the chunks of a result, so that they never contradict it.

    Lazy ones stay lazy beside a lazy result, and are in memory beside one that is.
    """
    chunks = dict(of.chunksizes)
    out = {}
    for name, variable in variables.items():
        if variable.chunks is not None:
            own = {d: chunks[d] for d in variable.dims if d in chunks}
            variable = variable.chunk(own) if chunks else variable.compute()
        out[name] = variable
    return out


# --- pieces -----------------------------------------------------------------------------------


def _dims(source: xr.Dataset) -> tuple[Hashable, ...]:
    first = first_band(source)
    return () if first is None else first.dims


def _order(source: Labelled, named: list[Hashable], time: Hashable) -> list[Hashable]:
    first = source if isinstance(source, xr.DataArray) else first_band(source)
    order = [] if first is None else [d for d in first.dims if d in named]
    rest = [d for d in named if d not in order and d != time]
    return [*([time] if time not in order else []), *rest, *order]


def _held(
    source: Labelled, dims: set[Hashable], time: Hashable, at: list[int] | None
) -> dict[Hashable, xr.Variable]:
    """Return the coordinates that hold: those that do not vary in time, and on known dates all."""
    coords = {}
    for name, coord in source.coords.items():
        variable = coord.variable
        if time in variable.dims and at is not None:
            variable = variable.isel({time: at})
        if set(variable.dims) <= (dims if at is None else dims | {time}):
            coords[name] = _plain(variable)
    return coords


def _plain(variable: xr.Variable) -> xr.Variable:
    """Return a variable of its own, no index, whose attrs and encoding can be changed."""
    out = variable.to_base_variable().copy(deep=False)
    out.attrs, out.encoding = dict(variable.attrs), dict(variable.encoding)
    return out


def _scalar_time(source: Labelled) -> Hashable | None:
    return next((n for n in NAMES["time"] if n in source.coords), None)


def _axes_of(like: Cube) -> dict[Hashable, xr.Variable]:
    """Return the coordinates of y and x: the cube's own where they are the grid's, else those."""
    out = {}
    grid = like.grid
    for dim, centres, step in ((like.dims[2], grid.y, grid.dy), (like.dims[3], grid.x, grid.dx)):
        own = like.source.coords.get(dim)
        attrs = {} if own is None else dict(own.attrs)
        for key in ("actual_range", "valid_range", "valid_min", "valid_max"):
            attrs.pop(key, None)
        values = centres
        if own is not None and own.shape == centres.shape:
            near = np.abs(np.asarray(own.values, np.float64) - centres) <= CORNER_TOLERANCE * abs(
                step
            )
            values = own.values if bool(near.all()) else centres
        out[dim] = xr.Variable(dim, values, attrs)
    return out


def _write_crs(coords: dict[Hashable, xr.Variable], like: Cube) -> Hashable | None:
    """Put the CRS where CF, rioxarray and GDAL look for it, and return where that is."""
    crs, source = like.grid.crs, like.source
    if crs is None:
        return None
    found = grid_mapping_name(source)
    name: Hashable = "spatial_ref" if found is None else found
    attrs: Mapping[Any, Any] = {}
    if found is not None:
        attrs = source[found].attrs
    if not any(key in attrs for key in _CF_MAPPING):
        attrs = crs.to_cf()
    if name in coords and name != found and name in source.coords:
        name = "spatial_ref" if "spatial_ref" not in coords else "grid_mapping"
    kept = coords.get(name)
    if kept is not None and kept.ndim == 0 and kept.dtype.kind in "iufU":
        kept.attrs = mapping_attrs(attrs, like.grid)
    else:
        coords[name] = xr.Variable((), 0, mapping_attrs(attrs, like.grid))
    _name_axes(coords, like, crs)
    return name


def _name_axes(coords: dict[Hashable, xr.Variable], like: Cube, crs: pyproj.CRS) -> None:
    """Say which coordinate is y and which x, where they do not: GDAL places nothing without."""
    unit = crs.axis_info[0].unit_name if crs.axis_info else "metre"
    for dim, axis, place, way in (
        (like.dims[2], "y", "latitude", "north"),
        (like.dims[3], "x", "longitude", "east"),
    ):
        attrs = coords[dim].attrs
        attrs.setdefault("axis", axis.upper())
        if crs.is_geographic:
            attrs.setdefault("standard_name", place)
            attrs.setdefault("units", f"degrees_{way}")
        elif crs.is_projected:
            attrs.setdefault("standard_name", f"projection_{axis}_coordinate")
            attrs.setdefault("units", {"metre": "m"}.get(unit, unit))
