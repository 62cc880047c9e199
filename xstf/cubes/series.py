"""Cubes without space: series of samples (fields, sites), read as one row of unrelated pixels.

A cube with time and no y and x is folded: all dims but time and bands become one, in order, along
which samples stand side by side. They are no neighbours, so only methods in time take them. Results
are unfolded to the dims, their order and the coordinates that the series had.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.grid import Grid
from xstf.cubes.variables import require_bands
from xstf.cubes.words import listed, warn_user
from xstf.cubes.writable import writable

# Dims that are rows and columns of images under another name, in lower case and by their begin.
_ROWS = ("row", "line", "ydim", "nlat", "height", "along_track", "j")
_COLUMNS = ("col", "column", "sample_x", "pixel", "xdim", "nlon", "width", "across_track", "i")
# What the dims of the row of pixels are called; in between others, as the series may have those.
ROW, SAMPLE = "y", "x"
_SPARE, _SPARE_ROW = "__sample__", "__row__"

FindDim = Callable[[xr.DataArray, str], Hashable | None]


@dataclass(frozen=True, eq=False)
class Series:
    """How a cube without space was folded.

    Parameters
    ----------
    original
        As it came.
    time, band
        Its dims of time and of bands; None for no bands.
    samples
        Its other dims, which became one.
    sizes
        Theirs.
    """

    original: Labelled
    time: Hashable
    band: Hashable | None
    samples: tuple[Hashable, ...]
    sizes: tuple[int, ...]

    @property
    def grid(self) -> Grid:
        """A row of pixels that are nowhere."""
        return Grid(0.0, 0.0, -1.0, 1.0, 1, prod(self.sizes), None)

    @property
    def labels(self) -> dict[Hashable, np.ndarray]:
        """The labels of its samples, where it has some."""
        cube = self.original
        return {d: cube[d].values for d in self.samples if d in cube.coords}


def is_series(cube: Labelled, find_dim: FindDim) -> bool:
    """Return whether a cube has dates and neither y nor x."""
    arrays = _arrays(cube, find_dim)
    return bool(arrays) and all(
        find_dim(a, "time") in a.coords and find_dim(a, "y") is None and find_dim(a, "x") is None
        for a in arrays
    )


def _arrays(cube: Labelled, find_dim: FindDim) -> list[xr.DataArray]:
    """Return the variables along time that hold numbers."""
    arrays = [cube] if isinstance(cube, xr.DataArray) else list(cube.data_vars.values())
    return [a for a in arrays if a.dtype.kind in "fiub" and find_dim(a, "time") in a.dims]


def fold(
    cube: Labelled, find_dim: FindDim, bands: Sequence[str], what: str
) -> tuple[Labelled, Series]:
    """Return a cube without space as one row of pixels, and how to get back.

    Parameters
    ----------
    cube : DataArray or Dataset
    find_dim : callable
        Finds the dim of time.
    bands : sequence of str
        What dims of bands are called.
    what : str
    """
    arrays = _arrays(cube, find_dim)
    if isinstance(cube, xr.Dataset):
        own = require_bands(cube, what)
        arrays = [a for a in arrays if a.name in own] or arrays
    dims = {a.name: frozenset(a.dims) for a in arrays}
    if len(set(dims.values())) > 1:
        each = {str(a.name): a.dims for a in arrays}
        raise ValueError(f"{what}'s variables must share their dims to be its bands: {each}")
    first = arrays[0]
    time = find_dim(first, "time")
    if time is None:
        raise ValueError(f"{what} has no time dim; it has {listed(first.dims)}")
    band = next((d for d in first.dims if str(d) in bands), None)
    samples = tuple(d for d in first.dims if d not in (time, band))
    _refuse_images(samples, what)
    sizes = tuple(first.sizes[d] for d in samples)
    series = Series(cube, time, band, samples, sizes)
    if isinstance(cube, xr.DataArray):
        return _folded(cube, series), series
    folded = xr.Dataset({a.name: _folded(a, series) for a in arrays}, attrs=cube.attrs)
    return folded, series


def _refuse_images(samples: tuple[Hashable, ...], what: str) -> None:
    names = [str(d).lower() for d in samples]
    rows = [d for d, n in zip(samples, names, strict=True) if _begins(n, _ROWS)]
    columns = [d for d, n in zip(samples, names, strict=True) if _begins(n, _COLUMNS)]
    if rows and columns:
        raise ValueError(
            f"{what} has no y and x, but {rows[0]!r} and {columns[0]!r}, which look like an "
            f"image's: rename({{{rows[0]!r}: 'y', {columns[0]!r}: 'x'}}) and give pixel centres "
            "with assign_coords; for series without space name the dims otherwise"
        )


def _begins(name: str, words: Sequence[str]) -> bool:
    return any(name == w or (len(w) > 1 and name.startswith(w)) for w in words)


def _folded(array: xr.DataArray, series: Series) -> xr.DataArray:
    lead = [d for d in (series.time, series.band) if d is not None and d in array.dims]
    samples = [d for d in series.samples if d in array.dims]
    variable = array.variable.transpose(*lead, *samples)
    if samples:
        variable = variable.stack({_SPARE: samples})
    else:
        variable = variable.set_dims({**dict(variable.sizes), _SPARE: 1})
        variable = variable.transpose(*lead, _SPARE)
    variable = variable.set_dims(
        {_SPARE_ROW: 1, **dict(zip(variable.dims, variable.shape, strict=True))}
    )
    variable = variable.transpose(*lead, _SPARE_ROW, _SPARE)
    plain = xr.Variable((*lead, ROW, SAMPLE), variable.data, variable.attrs, array.encoding)
    coords: dict[Hashable, Any] = {
        name: c.variable for name, c in array.coords.items() if c.ndim and set(c.dims) <= set(lead)
    }
    coords[ROW] = xr.Variable(ROW, [-0.5])
    coords[SAMPLE] = xr.Variable(SAMPLE, np.arange(plain.shape[-1]) + 0.5)
    return xr.DataArray(plain, coords, name=array.name)


def fold_like(array: xr.DataArray, series: Series, what: str) -> xr.DataArray:
    """Return a mask of series, with any of their dims, as the row of pixels that they became."""
    extra = [d for d in array.dims if d not in (series.time, series.band, *series.samples)]
    if extra:
        raise ValueError(
            f"{what} has dims {extra} that the series have not: {listed(series.original.dims)}"
        )
    for dim, labels in series.labels.items():
        if dim in array.coords and dim in array.dims:
            array = array.isel({dim: label_places(array[dim].values, labels, dim, what)})
    for dim, size in zip(series.samples, series.sizes, strict=True):
        if dim not in array.dims:
            array = array.expand_dims({dim: size})
        elif array.sizes[dim] != size:
            raise ValueError(f"{what} has {array.sizes[dim]} along {dim!r}, the series {size}")
    return _folded(array.drop_attrs(deep=False), series)


def label_places(own: np.ndarray, wanted: np.ndarray, dim: Hashable, what: str) -> np.ndarray:
    """Return where labels are among others; raise for those that are not, or are twice."""
    known = {label: i for i, label in enumerate(own.tolist())}
    missing = [label for label in wanted.tolist() if label not in known]
    if missing or len(known) < len(own):
        why = f"lacks {missing[:5]}" if missing else "has labels twice"
        raise ValueError(
            f"{what} and the series differ along {dim!r}: {what} {why}; it has {list(known)[:5]}. "
            "Select those that both have"
        )
    return np.array([known[label] for label in wanted.tolist()], dtype=int)


def unfold(result: Any, series: Series) -> Any:
    """Return a result on the row of pixels with the dims, order and coordinates of the series."""
    if isinstance(result, xr.DataArray):
        return _writable(_unfolded(result, series, _original_of(result.name, series)))
    out = xr.Dataset(
        {n: _unfolded(v, series, _original_of(n, series)) for n, v in result.data_vars.items()},
        attrs=result.attrs,
    )
    return _writable(_with_rest(out, series) if isinstance(series.original, xr.Dataset) else out)


def _writable(out: Any) -> Any:
    """Return a result that files take; a MultiIndex stays, as `unstack` needs it."""
    several = [n for n, index in out.indexes.items() if isinstance(index, pd.MultiIndex)]
    stacked = out.drop_vars([n for n in out.coords if n not in several]).coords
    return writable(out.drop_vars(several)).assign_coords(stacked if several else {})


def _with_rest(out: xr.Dataset, series: Series) -> xr.Dataset:
    """Return a result with the variables beside the bands; warn of those that do not hold."""
    original, time = series.original, series.time
    at = _positions(out, original, time)
    rest = {n: original[n].variable for n in getattr(original, "data_vars", ()) if n not in out}
    left_out = [n for n, v in rest.items() if time in v.dims and at is None]
    if left_out:
        warn_user(
            f"{left_out} are no bands and left out: the result has other dates than they have"
        )
    kept = {n: v for n, v in rest.items() if n not in left_out}
    return out.assign({n: v.isel({time: at}) if time in v.dims else v for n, v in kept.items()})


def _original_of(name: Hashable, series: Series) -> xr.DataArray:
    cube = series.original
    if isinstance(cube, xr.DataArray):
        return cube
    known = [n for n in cube.data_vars if str(name).startswith(str(n))]
    if name in cube.data_vars:
        return cube[name]
    along = [n for n in (known or cube.data_vars) if series.time in cube[n].dims]
    return cube[along[0]]


def _unfolded(array: xr.DataArray, series: Series, original: xr.DataArray) -> xr.DataArray:
    variable = array.variable.isel({ROW: 0})
    if series.samples:
        spare = [_SPARE if d == SAMPLE else d for d in variable.dims]
        variable = xr.Variable(spare, variable.data, variable.attrs).unstack(
            {_SPARE: dict(zip(series.samples, series.sizes, strict=True))}
        )
    else:
        variable = variable.isel({SAMPLE: 0})
    order = [d for d in original.dims if d in variable.dims]
    variable = variable.transpose(*[d for d in variable.dims if d not in order], *order)
    coords = {n: c.variable for n, c in array.coords.items() if not {ROW, SAMPLE} & set(c.dims)}
    time, at = series.time, _positions(array, original, series.time)
    for name, coord in original.coords.items():
        own = coord.variable
        if name in coords or not set(own.dims) <= set(variable.dims):
            continue
        if time not in own.dims:
            coords[name] = own
        elif at is not None:
            coords[name] = own.isel({time: at})
    out = xr.DataArray(variable, coords, name=array.name)
    out.encoding = dict(array.encoding)
    return out


def _positions(result: Labelled, original: Labelled, time: Hashable) -> list[int] | None:
    """Return where the dates of a result are in the series, None where they lack one."""
    if time not in result.coords or time not in original.coords:
        return None
    own, new = (c[time].values.astype("M8[ns]").astype(int).tolist() for c in (original, result))
    place = {date: i for i, date in reversed(list(enumerate(own)))}
    found = [place.get(date) for date in new]
    return None if None in found else [i for i in found if i is not None]
