"""Plain arrays back into labelled cubes: dims, coords, attrs and CRS as the caller's had them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyproj
import xarray as xr

from xstf.cubes.arrays import Array, Labelled
from xstf.cubes.crs import grid_mapping_name
from xstf.cubes.packing import PACKING
from xstf.cubes.read import Cube, band_variables

# What described the stored numbers and would be wrong on a float cube with NaN.
_PACKING = (*PACKING, "valid_range", "valid_min", "valid_max")
_PACKING_PREFIX = ("STATISTICS_",)


def label(
    data: Array,
    like: Cube,
    times: np.ndarray,
    *,
    attrs: Mapping[str, object] | None = None,
    keep_attrs: bool = True,
) -> xr.DataArray:
    """Return ``(time, band, y, x)`` with the labels, dim order, attrs and CRS of a cube.

    Parameters
    ----------
    data : array (time, band, y, x)
    like : Cube
        The cube whose grid and bands they are.
    times : ndarray of datetime64
    attrs : dict, optional
        Added to the cube's own.
    keep_attrs : bool
        False for quantities that are not the cube's own (a flag).
    """
    source = like.source
    time_dim = like.dims[0] if like.dims[0] is not None else "time"
    band_dim = like.dims[1]
    if band_dim is None and isinstance(source, xr.Dataset):
        band_dim = "band"
    dims = [time_dim, band_dim, like.dims[2], like.dims[3]]
    plain = data if band_dim is not None else data[:, 0]
    named = [d for d in dims if d is not None]
    coords = _kept_coords(source, set(named) - {time_dim})
    if band_dim is not None and isinstance(source, xr.Dataset) and band_dim not in coords:
        coords[band_dim] = xr.Variable(band_dim, list(like.bands))
    if time_dim in source.coords:
        coords[time_dim] = xr.Variable(time_dim, times, source[time_dim].attrs)
    else:
        coords[time_dim] = xr.Variable(time_dim, times)
    out = xr.DataArray(plain, dims=named, coords=coords, name=like.name)
    if keep_attrs:
        out.attrs = _kept_attrs(source.attrs)
    out.attrs.update(attrs or {})
    out = out.transpose(*_order(source, named, time_dim))
    _write_crs(out, like.grid.crs, grid_mapping_name(source))
    return out


def _order(source: Labelled, named: list[Hashable], time: Hashable) -> list[Hashable]:
    if isinstance(source, xr.Dataset):
        first = next(v for v in source.data_vars.values() if v.ndim >= 2)
        order = [d for d in first.dims if d in named]
        rest = [d for d in named if d not in order and d != time]
        return [*([time] if time not in order else []), *rest, *order]
    order = [d for d in source.dims if d in named]
    return order if time in order else [time, *order]


def _kept_coords(source: Labelled, dims: set[Hashable]) -> dict[Hashable, Any]:
    """Return the coords that still hold: those that do not vary in time."""
    return {
        n: c.variable
        for n, c in source.coords.items()
        if set(c.dims) <= dims and not (c.ndim == 0 and c.dtype.kind == "M")
    }


def _kept_attrs(attrs: Mapping[Hashable, object]) -> dict[Hashable, object]:
    return {
        key: value
        for key, value in attrs.items()
        if key not in (*_PACKING, "grid_mapping") and not str(key).startswith(_PACKING_PREFIX)
    }


def _write_crs(out: xr.DataArray, crs: pyproj.CRS | None, name: Hashable | None) -> None:
    """Put the CRS where CF, rioxarray and GDAL look for it."""
    if crs is None:
        return
    name = name if name is not None else "spatial_ref"
    if name not in out.coords:
        out.coords[name] = xr.Variable((), 0, crs.to_cf())
    out.encoding["grid_mapping"] = name


def assemble(
    layers: Array,
    like: Cube,
    times: np.ndarray,
    attrs: Mapping[str, object],
    quality: bool,
    meanings: str,
) -> Labelled:
    """Return the layers of a result with a cube's labels: one cube, or with its quality a Dataset.

    Parameters
    ----------
    layers : array (time, layer, band, y, x)
        The estimate; with `quality` its standard deviation and flag too.
    meanings : str
        Of the flag's values from 0 on, as CF writes them.
    """
    parts = {"": label(layers[:, 0], like, times, attrs=attrs)}
    if quality:
        parts["_std"] = label(layers[:, 1], like, times)
        values = np.arange(len(meanings.split()), dtype=np.uint8)
        parts["_flag"] = label(
            layers[:, 2].astype(np.uint8), like, times, keep_attrs=False,
            attrs={"flag_values": values, "flag_meanings": meanings},
        )  # fmt: skip
    if isinstance(like.source, xr.Dataset):
        return split_bands(parts, like)
    if not quality:
        return parts[""]
    return xr.Dataset({like.name + suffix: part for suffix, part in parts.items()}, attrs=attrs)


def assemble_on(
    layers: Array,
    bands: Cube,
    place: Cube,
    attrs: Mapping[str, object],
    quality: bool,
    meanings: str,
    times: np.ndarray | None = None,
) -> Labelled:
    """Return layers ``(time, layer, band, y, x)`` with one cube's bands on another's grid.

    Parameters
    ----------
    bands : Cube
        Whose bands, times, attrs and dim order the result has.
    place : Cube
        Whose grid, coordinates of y and x and CRS it has.
    times : ndarray of datetime64, optional
        Other dates than those of `bands`.
    """
    size = (layers.shape[3], layers.shape[4])
    like = replace(bands, source=_moved(bands.source, bands, place, size), grid=place.grid)
    if times is None:
        times = np.array(["NaT"], "M8[ns]") if bands.times is None else bands.times
    out = assemble(layers, like, times, attrs, quality, meanings)
    if bands.dims[0] is None:
        out = out.isel(time=0, drop=bands.times is None)
    return out


def _moved(source: Labelled, bands: Cube, place: Cube, size: tuple[int, int]) -> Labelled:
    """Return a cube's labels, with coordinates of another's grid; its values do not matter."""
    if isinstance(source, xr.DataArray):
        return _moved_array(source, bands, place, size)
    names = band_variables(source)
    moved = {n: _moved_array(source[n], bands, place, size) for n in names}
    return xr.Dataset(moved, attrs=source.attrs)


def _moved_array(
    source: xr.DataArray, bands: Cube, place: Cube, size: tuple[int, int]
) -> xr.DataArray:
    y, x = bands.dims[2:]
    sizes = {d: source.sizes[d] for d in source.dims} | dict(zip((y, x), size, strict=True))
    mapping = grid_mapping_name(source)
    coords = {
        name: c.variable
        for name, c in source.coords.items()
        if not {y, x} & set(c.dims) and name != mapping
    }
    for new, old in zip((y, x), place.dims[2:], strict=True):
        coords[new] = xr.Variable(new, place.source[old].values, place.source[old].attrs)
    own = grid_mapping_name(place.source)
    if own is not None:
        coords[own] = place.source[own].variable
    blank = np.broadcast_to(np.float32(0), tuple(sizes.values()))
    out = xr.DataArray(blank, coords, tuple(sizes), name=source.name, attrs=source.attrs)
    if own is not None:
        out.encoding["grid_mapping"] = own
    return out


def split_bands(parts: dict[str, xr.DataArray], like: Cube) -> xr.Dataset:
    """Return labelled arrays as a Dataset of bands, as the cube came.

    Parameters
    ----------
    parts : dict
        By suffix: ``""`` the estimate, ``"_std"`` …
    like : Cube
        Read from a Dataset.
    """
    source = like.source
    names = band_variables(source)  # type: ignore[arg-type]
    out = xr.Dataset(attrs=parts[""].attrs)
    for suffix, array in parts.items():
        for name in names:
            stacked = like.dims[1] in source[name].dims
            band = array if stacked else array.sel(band=name, drop=True)
            out[f"{name}{suffix}"] = band.assign_attrs(
                {} if suffix == "_flag" else _kept_attrs(source[name].attrs)
            )
            out[f"{name}{suffix}"].encoding.update(array.encoding)
    return out
