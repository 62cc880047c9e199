"""A labelled cube in words: what it holds, when and where. What is lazy stays so."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod, sqrt

import numpy as np
import pyproj
import xarray as xr

from xstf.cubes.acquisitions import dates_of, group_looks, longitude_of
from xstf.cubes.arrays import Labelled
from xstf.cubes.common_attrs import with_own_attrs
from xstf.cubes.decode import Reading, apply, read_values
from xstf.cubes.dims import band_dim
from xstf.cubes.grid import Grid, crs_name
from xstf.cubes.limits import LARGEST
from xstf.cubes.packing import is_all
from xstf.cubes.read import Labels, read_labels, without_space
from xstf.cubes.variables import band_variables

# Of a cube with more values every nth row and column is looked at: a repr is to be quick.
_MOST_VALUES = 200_000_000
_BLOCK = 4_000_000  # values that are decoded at a time
_MOST_NAMES = 8
_UNITS = {"metre": " m", "degree": "°"}


@dataclass(frozen=True)
class Described:
    """A cube in rows of a name and a text, and what decides which verbs can take it.

    Parameters
    ----------
    rows
        ``(name, text)``.
    readable
        Whether xstf can read it; if not the last row says why, and the rest is not known.
    dates, bands
        How many there are.
    has_time_dim
        False also for a date that is a scalar coordinate.
    complete
        Whether it is certain that nothing is missing.
    has_space
        Whether it has y and x; False for series.
    sized
        Whether the size of its pixels is known.
    """

    rows: list[tuple[str, str]]
    readable: bool
    dates: int = 0
    bands: int = 0
    has_time_dim: bool = False
    complete: bool = False
    has_space: bool = True
    sized: bool = True


def describe_cube(cube: Labelled) -> Described:
    """Return a cube in words; nothing lazy is computed, no open file is read."""
    sizes = ", ".join(f"{dim}: {size}" for dim, size in cube.sizes.items())
    rows = [("dims", sizes or "none")]
    cube = with_own_attrs(cube)
    arrays = _arrays(cube)
    try:
        cube, series = without_space(cube, "this cube")
        arrays = _arrays(cube)
        readings = [_reading(array) for array in arrays]
        values = dict.fromkeys(map(_values, arrays, readings))
        rows.append(("values", "; ".join(values) or "none"))
        labels = read_labels(cube, what="this cube", unsized=True, series=series, warns=False)
    except (TypeError, ValueError) as error:
        if len(rows) == 1:
            rows.append(("values", ", ".join(dict.fromkeys(str(a.dtype) for a in arrays))))
        return Described([*rows, ("xstf cannot read it", str(error))], readable=False)
    missing, complete = _missing(arrays, readings, labels)
    rows += [
        ("missing", missing),
        ("bands", _bands(labels)),
        ("dates", _dates(labels)),
    ]
    if series is None:
        rows += [("grid", _grid_row(labels)), ("CRS", _crs(labels.grid.crs))]
    else:
        along = " × ".join(map(str, series.samples))
        count = f"{labels.grid.width} series along {along}" if along else "one series"
        rows.append(("grid", f"no space, {count}"))
    if labels.place.said:
        rows.append(("place", labels.place.said))
    return Described(
        rows,
        readable=True,
        dates=0 if labels.times is None else len(labels.times),
        bands=len(labels.bands),
        has_time_dim=labels.times is not None and labels.dims[0] is not None,
        complete=complete,
        has_space=series is None,
        sized=labels.place.sized,
    )


def _arrays(cube: Labelled) -> list[xr.DataArray]:
    if isinstance(cube, xr.DataArray):
        return [cube]
    return [cube[name] for name in band_variables(cube)]


def _values(array: xr.DataArray, reading: Reading) -> str:
    parts = [str(array.dtype)]
    codes = [code for code in reading.codes if not isinstance(code, xr.DataArray)]
    if array.dtype.kind in "iu":  # the others are written in other units, and it has none of them
        codes = [code for code in codes if code == int(code)]
    parts += [f"nodata {code:.10g}" for code in dict.fromkeys(codes)]
    if len(codes) < len(reading.codes) and "nodatavals" in array.attrs:
        parts.append("nodata by band")
    parts += _ends(reading)
    if "decoded" in reading.state:
        return ", ".join([*parts, reading.state])
    for name, number, plain in (
        ("scale_factor", reading.scale, 1.0), ("add_offset", reading.offset, 0.0)
    ):  # fmt: skip
        if not is_all(number, plain):
            written = ", ".join(f"{value:.10g}" for value in np.ravel(np.asarray(number)))
            parts.append(f"{name} {written}")
    return ", ".join(parts)


def _ends(reading: Reading) -> list[str]:
    """Return the valid range as the array has its numbers, in words."""
    low, high = (np.unique(np.asarray(end, dtype=float)) for end in (reading.low, reading.high))
    if len(low) > 1 or len(high) > 1:
        return ["valid by band"]
    ends = (float(low[0]), float(high[0]))
    if not np.isfinite(ends).any():
        return []
    return [f"valid {ends[0]:.5g} to {ends[1]:.5g}"]


def _dates(labels: Labels) -> str:
    if labels.times is None:
        return "no time"
    whole_days = (labels.times.astype("M8[D]") == labels.times).all()
    ends = (labels.times.min(), labels.times.max())
    first, last = (str(t.astype("M8[D]" if whole_days else "M8[m]")) for t in ends)
    if len(labels.times) == 1:
        return first
    text = f"{first} to {last}, {len(labels.times)} dates"
    merged = len(group_looks(dates_of(labels.times, longitude_of(labels.grid, labels.dims[3]))))
    if merged < len(labels.times):
        text += f" of {merged} acquisitions (solar days), which are merged first valid"
    return text


def _bands(labels: Labels) -> str:
    if labels.dims[1] is None:
        return "no band dim"
    names = ", ".join(str(band) for band in labels.bands[:_MOST_NAMES])
    left = len(labels.bands) - _MOST_NAMES
    return f"{names} and {left} more" if left > 0 else names


def _grid(grid: Grid) -> str:
    sides = " × ".join(dict.fromkeys(f"{abs(step):.6g}" for step in (grid.dx, grid.dy)))
    left, right, low, high = (f"{edge:.10g}" for edge in grid.extent)
    return f"pixels of {sides}{_unit(grid.crs)}, x {left} to {right}, y {low} to {high}"


def _grid_row(labels: Labels) -> str:
    """Return the grid in words; nothing may tell the size of a single pixel."""
    if labels.place.sized:
        return _grid(labels.grid)
    y, x = labels.grid.y[0], labels.grid.x[0]
    return f"one pixel of unknown size at x {x:.10g}, y {y:.10g}"


def _unit(crs: pyproj.CRS | None) -> str:
    if crs is None or not crs.axis_info:
        return ""
    name = crs.axis_info[0].unit_name
    return _UNITS.get(name, f" {name}")


def _crs(crs: pyproj.CRS | None) -> str:
    if crs is None:
        return "none"
    short = crs_name(crs)
    return short if short == crs.name else f"{short} ({crs.name})"


def _reading(array: xr.DataArray) -> Reading:
    if array.dtype.kind not in "fiu":
        return Reading()
    return read_values(array, band=band_dim(array), peek=_is_in_memory(array))


def _is_in_memory(array: xr.DataArray) -> bool:
    """Return whether an array can be looked at: `.data` would load a file that is open."""
    return bool(getattr(array.variable, "_in_memory", False))


def _missing(
    arrays: list[xr.DataArray], readings: list[Reading], labels: Labels
) -> tuple[str, bool]:
    """Return the share of missing values in words, and whether there is certainly none."""
    if not all(map(_is_in_memory, arrays)):
        return "not computed", False
    every = ceil(sqrt(sum(array.size for array in arrays) / _MOST_VALUES))
    sample = {dim: slice(None, None, every) for dim in labels.dims[2:]}
    counted = [_count_missing(a.isel(sample), r) for a, r in zip(arrays, readings, strict=True)]
    share = sum(missing for missing, _ in counted) / sum(size for _, size in counted)
    text = "none" if share == 0 else "below 0.1%" if share < 0.001 else f"{share:.1%}"
    return (text, share == 0) if every == 1 else (f"{text} of a sample", False)


def _count_missing(array: xr.DataArray, reading: Reading) -> tuple[int, int]:
    """Return how many values are missing, and how many there are."""
    step = max(1, _BLOCK // max(1, prod(array.shape[1:])))
    missing = 0
    for start in range(0, array.shape[0], step):
        block = _block(reading, array, slice(start, start + step))
        missing += int((~(np.abs(block.data) < LARGEST)).sum())
    return missing, array.size


def place_text(grid: Grid) -> str:
    """Return a grid and its CRS in words."""
    return f"{grid.height} × {grid.width} {_grid(grid)}, CRS {_crs(grid.crs)}"


def _block(reading: Reading, array: xr.DataArray, part: slice) -> xr.DataArray:
    """Return a stretch of values along the first axis, which may be that of the bands."""
    dim = array.dims[0]
    bands = [n for n in (reading.scale, reading.offset, reading.low, reading.high, *reading.codes)
             if isinstance(n, xr.DataArray)]  # fmt: skip
    if not any(dim in number.dims for number in bands):
        return apply(reading, array.isel({dim: part}), np.float32)
    return apply(reading, array, np.float32).isel({dim: part})
