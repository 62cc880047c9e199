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
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.grid import Grid
from xstf.cubes.words import listed

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


def same_labels(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two lists of labels are the same."""
    return a.shape == b.shape and bool((a == b).all())


def unfold(result: Any, series: Series) -> Any:
    """Return a result on the row of pixels with the dims, order and coordinates of the series."""
    if isinstance(result, xr.DataArray):
        return _unfolded(result, series, _original_of(result.name, series))
    out = xr.Dataset(
        {n: _unfolded(v, series, _original_of(n, series)) for n, v in result.data_vars.items()},
        attrs=result.attrs,
    )
    if isinstance(series.original, xr.Dataset):
        rest = {n: v for n, v in series.original.data_vars.items() if n not in out}
        out = out.assign({n: v for n, v in rest.items() if series.time not in v.dims})
    return out


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
    held = set(variable.dims)
    if not _same_times(array, original, series.time):
        held -= {series.time}
    coords |= {
        n: c.variable for n, c in original.coords.items() if n not in coords and set(c.dims) <= held
    }
    out = xr.DataArray(variable, coords, name=array.name)
    out.encoding = dict(array.encoding)
    return out


def _same_times(a: xr.DataArray, b: xr.DataArray, time: Hashable) -> bool:
    return time in a.coords and time in b.coords and same_labels(a[time].values, b[time].values)
