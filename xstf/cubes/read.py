"""Labelled cubes in, plain parts out: dims, bands, missing values, CRS, all checked."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.crs import crs_of, grid_mapping_name
from xstf.cubes.decode import decode
from xstf.cubes.extremes import warn_of_extremes
from xstf.cubes.grid import Grid, grid_of, require_same_grid
from xstf.cubes.limits import LARGEST
from xstf.cubes.packing import PACKING
from xstf.cubes.words import listed

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


@dataclass(frozen=True)
class Cube:
    """A labelled cube as plain parts.

    Parameters
    ----------
    data
        ``(time, band, y, x)``, numpy, cupy or dask.
    times
        datetime64[ns], or None where the cube has no time.
    bands
        Labels; ``("",)`` where the cube has no band dimension.
    grid
        Where its pixels are.
    source
        The labelled object that it came from, for the labels of results.
    dims
        What its dimensions are called: time, band, y, x; None for one that it has not.
    what
        What to call it in messages.
    """

    data: Any
    times: np.ndarray | None
    bands: tuple[Hashable, ...]
    grid: Grid
    source: Labelled
    dims: tuple[Hashable | None, Hashable | None, Hashable, Hashable]
    what: str

    @property
    def dates(self) -> np.ndarray:
        """The times of a cube that has some; raise where it has none."""
        if self.times is None:
            raise ValueError(f"{self.what} has no time; add a time dim or a scalar time coordinate")
        return self.times

    @property
    def name(self) -> str:
        """The variable's name, for results."""
        return str(getattr(self.source, "name", None) or "estimate")


@dataclass(frozen=True)
class Labels:
    """What the labels of a cube say, its values unread; the fields are those of `Cube`."""

    times: np.ndarray | None
    bands: tuple[Hashable, ...]
    grid: Grid
    dims: tuple[Hashable | None, Hashable | None, Hashable, Hashable]


def read_cube(
    cube: Labelled,
    *,
    what: str,
    mask: xr.DataArray | None = None,
    resolution: float | None = None,
) -> Cube:
    """Return a labelled cube as plain parts, missing values as NaN; raise if it cannot serve.

    Parameters
    ----------
    cube : DataArray or Dataset of bands
        Dims ``y, x`` by name or CF attributes, and ``time`` and a band dimension if it has them.
    what : str
        What to call it in messages (``"fine"``).
    mask : DataArray of bool, optional
        True where the cube is not usable; on its grid, with any of its dims.
    resolution : float, optional
        Pixel size for a cube that is one pixel wide.
    """
    labels = read_labels(cube, what=what, resolution=resolution)
    if isinstance(cube, xr.Dataset):
        array = _stack_bands(cube, what)
    else:
        array = decode(cube, band=labels.dims[1], what=what)
    _warn_of_absurd(array, what)
    if what != "sar":  # radar has borders of its own, see align/guides
        for plain in _arrays(cube):
            warn_of_extremes(plain, what, mask)
    if mask is not None:
        array = _apply_mask(array, mask, labels.dims, labels.grid, what)
    return Cube(
        _plain(array, labels.dims), labels.times, labels.bands, labels.grid, cube, labels.dims, what
    )


def _arrays(cube: Labelled) -> list[xr.DataArray]:
    if isinstance(cube, xr.DataArray):
        return [cube]
    return [cube[name] for name in band_variables(cube)]


def read_labels(cube: Labelled, *, what: str, resolution: float | None = None) -> Labels:
    """Return what a cube's labels say; raise as `read_cube` does. No value is read or computed."""
    array = _without_values(cube, what)
    dims = _find_dims(array, what)
    empty = [str(d) for d in array.dims if array.sizes[d] == 0]
    if empty:
        raise ValueError(f"{what} is empty along {empty}; its sizes are {dict(array.sizes)}")
    grid = grid_of(
        _coordinate(array, dims[2], what),
        _coordinate(array, dims[3], what),
        crs_of(cube),
        what=what,
        dims=(str(dims[2]), str(dims[3])),
        resolution=resolution,
    )
    times = _times(array, dims[0], what)
    bands = _bands(array, dims[1])
    duplicated = sorted({str(b) for b in bands if bands.count(b) > 1})
    if duplicated:
        raise ValueError(f"{what} has bands of the same name: {duplicated}")
    return Labels(times, bands, grid, dims)


def _without_values(cube: Labelled, what: str) -> xr.DataArray:
    """Return a cube as one array of zeros that take no memory, a Dataset's variables as bands.

    What lies in a file or in dask chunks is left alone.
    """
    if isinstance(cube, xr.Dataset):
        names, stacked = _stackable(cube, what)
        array = _blank(cube[names[0]])
        return array if stacked else array.reset_coords(drop=True).expand_dims(band=names)
    if not isinstance(cube, xr.DataArray):
        raise TypeError(f"{what} must be an xarray DataArray or Dataset, not {type(cube).__name__}")
    _check_dtype(cube, what)
    return _blank(cube)


def _blank(array: xr.DataArray) -> xr.DataArray:
    return xr.DataArray(np.broadcast_to(np.float32(0), array.shape), array.coords, array.dims)


def _bands(array: xr.DataArray, dim: Hashable | None) -> tuple[Hashable, ...]:
    if dim is None:
        return ("",)
    return tuple(array[dim].values.tolist() if dim in array.coords else range(array.sizes[dim]))


# --- finding things ---------------------------------------------------------------------------


def as_array(cube: Labelled, *, what: str) -> xr.DataArray:
    """Return a cube as one array, the variables of a Dataset stacked as its bands."""
    if isinstance(cube, xr.DataArray):
        return cube
    attrs = {key: value for key, value in cube.attrs.items() if key not in PACKING}
    array = _stack_bands(cube, what).assign_attrs(attrs)
    name = grid_mapping_name(cube)
    return array if name is None else array.assign_coords({name: cube[name].variable})


def _stack_bands(dataset: xr.Dataset, what: str) -> xr.DataArray:
    names, stacked = _stackable(dataset, what)
    decoded = [decode(dataset[n], band=band_dim(dataset[n]), what=f"{what}'s {n}") for n in names]
    if stacked:
        return decoded[0]
    return xr.concat(
        [d.reset_coords(drop=True) for d in decoded], dim=xr.Variable("band", names),
        combine_attrs="drop",
    )  # fmt: skip


def _stackable(dataset: xr.Dataset, what: str) -> tuple[list[Hashable], bool]:
    """Return the variables that are a Dataset's bands, and whether its one variable has them."""
    names = band_variables(dataset)
    if not names:
        raise ValueError(
            f"{what} has no data variable with y and x; it has {listed(dataset.data_vars)}"
        )
    dims = {n: frozenset(dataset[n].dims) for n in names}
    if len(set(dims.values())) > 1:
        each = {str(n): dataset[n].dims for n in names}
        raise ValueError(f"{what}'s variables must share their dims to be its bands: {each}")
    stacked = any(d in ("band", "wavelength", "bands") for d in dims[names[0]])
    if stacked and len(names) > 1:
        raise ValueError(f"{what} has a band dimension and several variables {names}; pass one")
    return names, stacked


def band_variables(dataset: xr.Dataset) -> list[Hashable]:
    """Return the variables that are images; a scalar one holds the CRS."""
    return [n for n, v in dataset.data_vars.items() if v.ndim >= 2]


def _check_dtype(array: xr.DataArray, what: str) -> None:
    if array.dtype.kind not in "fiu":
        raise TypeError(
            f"{what} has dtype {array.dtype}; xstf needs real numbers (float or integer)"
        )


def _find_dims(
    array: xr.DataArray, what: str
) -> tuple[Hashable | None, Hashable | None, Hashable, Hashable]:
    y, x, time = (find_dim(array, role) for role in ("y", "x", "time"))
    if y is None or x is None:
        raise ValueError(
            f"{what} needs two spatial dims, one of {list(NAMES['y'])} and one of "
            f"{list(NAMES['x'])}; it has {listed(array.dims)}"
        )
    left = [d for d in array.dims if d not in (y, x, time)]
    band: Hashable | None = next((d for d in left if d in NAMES["band"]), None)
    if band is None and len(left) == 1:
        band = left[0]
    others = [d for d in left if d != band]
    if others:
        raise ValueError(
            f"{what} has dims that are neither time, band, y nor x: {others}; select or stack them"
        )
    return time, band, y, x


def band_dim(array: xr.DataArray) -> Hashable | None:
    """Return the dim along which an array has bands: by its name, else the one that is left."""
    others = {find_dim(array, role) for role in ("y", "x", "time")}
    left = [d for d in array.dims if d not in others]
    named = next((d for d in left if d in NAMES["band"]), None)
    return left[0] if named is None and len(left) == 1 else named


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


def _coordinate(array: xr.DataArray, dim: Hashable, what: str) -> np.ndarray:
    if dim not in array.coords:
        raise ValueError(
            f"{what} has no coordinate for {dim!r}; give pixel centres with assign_coords"
        )
    return np.asarray(array[dim].values, dtype=np.float64)


def _times(array: xr.DataArray, dim: Hashable | None, what: str) -> np.ndarray | None:
    name = dim if dim is not None else next((n for n in NAMES["time"] if n in array.coords), None)
    if name is None:
        return None
    if name not in array.coords:
        raise ValueError(f"{what} has no coordinate for {name!r}; assign datetime64 dates to it")
    values = np.atleast_1d(array[name].values)
    if values.dtype.kind != "M":
        raise TypeError(
            f"{what}'s {name!r} has dtype {values.dtype}; make it datetime64, for cftime dates "
            "with convert_calendar('standard')"
        )
    if np.isnat(values).any():
        raise ValueError(f"{what}'s {name!r} is NaT at index {int(np.isnat(values).argmax())}")
    unique, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        twice = [str(t)[:16] for t in unique[counts > 1][:5]]
        raise ValueError(f"{what} has dates twice: {twice}; drop or merge them (groupby(...).mean)")
    return np.asarray(values.astype("datetime64[ns]"))


# --- values -----------------------------------------------------------------------------------


def _warn_of_absurd(array: xr.DataArray, what: str) -> None:
    """Warn of values that are no measurements; tiles take them as missing, lazy or not."""
    if isinstance(array.data, np.ndarray):
        count = int((np.abs(array.data) >= LARGEST).sum())
        if count:
            warnings.warn(
                f"{what} has {count} values that are infinite or beyond {LARGEST:g}; they are "
                "taken as missing",
                stacklevel=4,
            )


def _apply_mask(
    array: xr.DataArray,
    mask: xr.DataArray,
    dims: tuple[Hashable | None, Hashable | None, Hashable, Hashable],
    grid: Grid,
    what: str,
) -> xr.DataArray:
    if not isinstance(mask, xr.DataArray) or mask.dtype != bool:
        kind = f"a {type(mask).__name__}"
        kind += f" of {mask.dtype}" if hasattr(mask, "dtype") else ""
        raise TypeError(
            f"{what}'s mask must be a boolean DataArray (True = not usable), not {kind}"
        )
    extra = [d for d in mask.dims if d not in array.dims]
    if extra:
        raise ValueError(
            f"{what}'s mask has dims {extra} that {what} has not: {listed(array.dims)}"
        )
    y, x = dims[2], dims[3]
    if y not in mask.dims or x not in mask.dims:
        raise ValueError(f"{what}'s mask needs dims {[y, x]}; it has {listed(mask.dims)}")
    require_fits(mask, array, (y, x), grid, f"{what}'s mask", what)
    bare = mask.drop_vars(list(mask.coords))
    return array.where(~bare)


def require_fits(
    mask: xr.DataArray,
    array: xr.DataArray,
    spatial: tuple[Hashable, Hashable],
    grid: Grid,
    what: str,
    of: str,
) -> None:
    """Raise if a mask is not on an array's grid, or differs from it along another of its dims."""
    y, x = spatial
    own = grid_of(
        _coordinate(mask, y, what), _coordinate(mask, x, what), crs_of(mask) or grid.crs,
        what=what, resolution=abs(grid.dy),
    )  # fmt: skip
    require_same_grid(grid, own, what_a=of, what_b=what)
    for dim in set(mask.dims) - {y, x}:
        if not np.array_equal(mask[dim].values, array[dim].values):
            raise ValueError(
                f"{what} and {of} differ along {dim!r}: {mask[dim].values[:3]}… and "
                f"{array[dim].values[:3]}…"
            )


def _plain(
    array: xr.DataArray, dims: tuple[Hashable | None, Hashable | None, Hashable, Hashable]
) -> Any:
    """Return the values as ``(time, band, y, x)``, axes of one where a dim is missing."""
    order = [d for d in dims if d is not None]
    data = array.transpose(*order).data
    if isinstance(data, np.ma.MaskedArray):
        data = data.filled(np.nan)
    index = tuple(None if d is None else slice(None) for d in dims)
    return data[index]


def select_bands(coarse: Cube, bands: tuple[Hashable, ...], *, of: str) -> Cube:
    """Return a cube with another's bands, in its order; raise with both lists if one is missing."""
    if coarse.bands == bands or (len(bands) == 1 and coarse.bands in (("",), bands)):
        return coarse
    if bands == ("",) and len(coarse.bands) == 1:
        return coarse
    missing = [b for b in bands if b not in coarse.bands]
    if missing:
        raise ValueError(
            f"{coarse.what} has no band {missing}: {of} has {list(bands)}, {coarse.what} has "
            f"{list(coarse.bands)}; rename or select bands so that the labels agree"
        )
    places = [coarse.bands.index(b) for b in bands]
    return replace(coarse, data=coarse.data[:, places], bands=bands)
