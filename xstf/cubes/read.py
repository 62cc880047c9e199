"""Labelled cubes in, plain parts out: dims, bands, missing values, CRS, all checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.acquisitions import (
    Dates,
    bounds_of,
    dates_of,
    dates_of_bounds,
    first_valid,
    group_looks,
    longitude_of,
    merged_labels,
    merged_text,
    period_of,
)
from xstf.cubes.arrays import Labelled
from xstf.cubes.baselines import warn_of_baselines
from xstf.cubes.common_attrs import with_own_attrs
from xstf.cubes.crs import grid_mapping_name, lost_in_encoding, without_mapping_dim
from xstf.cubes.decode import decode
from xstf.cubes.dims import NAMES, band_dim, find_dim
from xstf.cubes.extremes import Ends, ends_of, is_declared, warn_of_extremes, watch_lazy
from xstf.cubes.grid import Grid
from xstf.cubes.limits import LARGEST
from xstf.cubes.loading import load_values
from xstf.cubes.masking import apply_mask
from xstf.cubes.packing import PACKING
from xstf.cubes.place import Place, at_centres, place_of, refuse_swath
from xstf.cubes.series import Series, fold, fold_like, is_series
from xstf.cubes.variables import (
    band_variables,
    require_bands,
    require_measurements,
    tell_of_layers,
)
from xstf.cubes.words import listed, warn_user


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
    unmerged
        The object and the positions of its images in each acquisition, where several were merged.
    shift
        What was added to its own coordinates y and x, where those were corners of pixels.
    said
        In words, what was done to its coordinates; "" for nothing.
    sized
        Whether the size of its pixels is known; one pixel may not tell.
    series
        How a cube without space was folded into a row of pixels; None for a cube with y and x.
    masked
        In words, how a mask on another grid was brought to its own; "" where none was.
    """

    data: Any
    times: np.ndarray | None
    bands: tuple[Hashable, ...]
    grid: Grid
    source: Labelled
    dims: tuple[Hashable | None, Hashable | None, Hashable, Hashable]
    what: str
    unmerged: tuple[Labelled, list[np.ndarray]] | None = None
    shift: tuple[float, float] = (0.0, 0.0)
    said: str = ""
    sized: bool = True
    series: Series | None = None

    @cached_property
    def when(self) -> Dates:
        """When its images count, in local solar time; raise where the cube has no time."""
        longitude, period = longitude_of(self.grid, self.dims[3]), period_of(self.source)
        bounds = bounds_of(self.source, self.dims[0])
        if period is None and bounds is not None:
            return dates_of_bounds(self.dates, bounds, longitude)
        return dates_of(self.dates, longitude, period)

    @property
    def looks(self) -> str:
        """In words, that several images of one acquisition were merged; "" where none were."""
        if self.unmerged is None:
            return ""
        groups = self.unmerged[1]
        return merged_text(sum(len(group) for group in groups), groups)

    masked: str = ""

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
    place: Place
    dims: tuple[Hashable | None, Hashable | None, Hashable, Hashable]

    @property
    def grid(self) -> Grid:
        """Where its pixels are."""
        return self.place.grid


def read_cube(
    cube: Labelled,
    *,
    what: str,
    mask: xr.DataArray | None = None,
    resolution: float | None = None,
    unsized: bool = False,
    series: bool = False,
    merges: bool = True,
) -> Cube:
    """Return a labelled cube as plain parts, missing values as NaN; raise if it cannot serve.

    Parameters
    ----------
    cube : DataArray or Dataset of bands
        Dims ``y, x`` by name or CF attributes, and ``time`` and a band dimension if it has them.
    what : str
        What to call it in messages (``"fine"``).
    mask : DataArray of bool, optional
        True where the cube is not usable; on its grid or another of the same CRS, with any of its
        dims.
    resolution : float, optional
        Pixel size for a cube that is one pixel wide; default: what its attributes say.
    unsized : bool
        A single pixel may have an unknown size.
    series : bool
        A cube may have no space: dims without y and x are samples, read as a row of pixels.
    merges : bool
        Images of one acquisition become one. Without, call `merge_looks` afterwards.
    """
    folded = None
    cube = with_own_attrs(cube)
    if series:
        cube, folded = without_space(cube, what)
    if folded is not None and mask is not None:
        mask = fold_like(mask, folded, f"{what}'s mask")
    if isinstance(cube, xr.Dataset | xr.DataArray):
        cube = without_mapping_dim(cube)
    labels = read_labels(cube, what=what, resolution=resolution, unsized=unsized, series=folded)
    load_values(cube, what)
    ends = None  # of float32 that nothing is done to: one look serves both warnings
    if isinstance(cube, xr.DataArray) and cube.dtype == np.float32 and not is_declared(cube):
        ends = ends_of(cube)
    if not what.startswith("sar"):  # radar has borders of its own, see align/radar
        cube = _watch_fills(cube, what, mask, ends)
    if isinstance(cube, xr.Dataset):
        array = _stack_bands(cube, what)
    else:
        array = decode(cube, band=labels.dims[1], what=what)
    _warn_of_absurd(array, what, ends)
    warn_of_baselines(cube, array, labels.dims[0], what)
    place = labels.place
    told = cube if folded is None else folded.original
    tell_of_layers(told, what, masked=mask is not None)
    masked = ""
    if mask is not None:
        array, masked = apply_mask(array, mask, labels.dims, place.grid, what, place.shift)
    plain = _plain(array, labels.dims)
    _warn_of_nothing(plain, what)
    read = Cube(
        plain, labels.times, labels.bands, place.grid, place.source, labels.dims, what,
        masked=masked, shift=place.shift, said=place.said, sized=place.sized, series=folded,
    )  # fmt: skip
    return merge_looks(read) if merges else read


def without_space(cube: Labelled, what: str) -> tuple[Labelled, Series | None]:
    """Return a cube that has time and no y and x as a row of pixels, and how to get back.

    Any other cube as it is; raise for a swath, whose space is in 2-D coordinates.
    """
    if not isinstance(cube, xr.Dataset | xr.DataArray) or not is_series(cube, find_dim):
        return cube, None
    refuse_swath(cube, what)
    return fold(cube, find_dim, NAMES["band"], what)


def merge_looks(cube: Cube, usable: Callable[[Any], Any] | None = None) -> Cube:
    """Return a cube with one image an acquisition, first valid; itself where that is so.

    With `usable` what that makes of its data is merged: NaN for what must not hide another look.
    """
    if cube.times is None or len(cube.times) < 2 or cube.dims[0] is None:
        return cube
    groups = group_looks(cube.when)
    if len(groups) == len(cube.times):
        return cube
    time, y, x = cube.dims[0], *cube.dims[2:]
    data = cube.data if usable is None else usable(cube.data)
    missing = ~(np.abs(data) < LARGEST)  # as NaN is
    nothing = xr.DataArray(missing.all(axis=1), dims=(time, y, x))
    return replace(
        cube,
        data=first_valid(data, groups, missing),
        times=cube.times[[int(group[0]) for group in groups]],
        source=merged_labels(cube.source, time, groups, nothing),
        unmerged=(cube.source, groups),
    )


def _watch_fills(
    cube: Labelled, what: str, mask: xr.DataArray | None, ends: Ends | None
) -> Labelled:
    """Warn of fills that nothing names, of lazy cubes when they are computed; return the cube."""
    if isinstance(cube, xr.DataArray):
        warn_of_extremes(cube, what, mask, ends=ends)
        return cube if mask is not None else watch_lazy(cube, what)
    found = {}
    for name in band_variables(cube):
        warn_of_extremes(cube[name], f"{what}'s {name}", mask)
        found[name] = watch_lazy(cube[name], f"{what}'s {name}")
    return cube if mask is not None else cube.assign(found)


def read_labels(
    cube: Labelled,
    *,
    what: str,
    resolution: float | None = None,
    unique: bool = True,
    unsized: bool = False,
    series: Series | None = None,
    warns: bool = True,
) -> Labels:
    """Return what a cube's labels say; raise as `read_cube` does. No value is read or computed.

    Without `unique` a date may stand twice. With `series` the cube is the row of pixels that they
    were folded into. Without `warns` nothing is said of coordinates that were moved.
    """
    if isinstance(cube, xr.Dataset | xr.DataArray):
        cube = without_mapping_dim(cube)
    array = _without_values(cube, what)
    if find_dim(array, "y") is None or find_dim(array, "x") is None:
        refuse_swath(cube, what)
    dims = _find_dims(array, what)
    empty = [str(d) for d in array.dims if array.sizes[d] == 0]
    if empty:
        raise ValueError(f"{what} is empty along {empty}; its sizes are {dict(array.sizes)}")
    if series is not None:
        place = Place(series.grid, cube)
    else:
        place = place_of(
            cube, dims[2:], what=what, resolution=resolution, unsized=unsized, warns=warns
        )
    times = _times(array, dims[0], what, unique)
    bands = _bands(array, dims[1])
    duplicated = sorted({str(b) for b in bands if bands.count(b) > 1})
    if duplicated:
        raise ValueError(f"{what} has bands of the same name: {duplicated}")
    return Labels(times, bands, place, dims)


def band_labels(cube: Labelled, *, what: str) -> tuple[tuple[Hashable, ...], Hashable | None]:
    """Return the labels of a cube's bands and their dim, None for none; it may have no space."""
    cube, _ = without_space(cube, what)
    array = _without_values(cube, what)
    dim = _find_dims(array, what)[1]
    return _bands(array, dim), dim


def _without_values(cube: Labelled, what: str) -> xr.DataArray:
    """Return a cube as one array of zeros that take no memory, a Dataset's variables as bands.

    What lies in a file or in dask chunks is left alone.
    """
    if isinstance(cube, xr.Dataset):
        names, stacked = _stackable(cube, what)
        array = _blank(cube[names[0]])
        return array if stacked else _bare(array).expand_dims(band=names)
    if not isinstance(cube, xr.DataArray):
        raise TypeError(f"{what} must be an xarray DataArray or Dataset, not {type(cube).__name__}")
    _check_dtype(cube, what)
    require_measurements(cube, _find_dims(cube, what)[1], what)
    return _blank(cube)


def _blank(array: xr.DataArray) -> xr.DataArray:
    return xr.DataArray(np.broadcast_to(np.float32(0), array.shape), array.coords, array.dims)


def _bands(array: xr.DataArray, dim: Hashable | None) -> tuple[Hashable, ...]:
    if dim is None:
        return ("",)
    return tuple(array[dim].values.tolist() if dim in array.coords else range(array.sizes[dim]))


# --- finding things ---------------------------------------------------------------------------


def as_array(cube: Labelled, *, what: str) -> xr.DataArray:
    """Return a cube as one array, the variables of a Dataset stacked as its bands.

    Its coordinates are the centres of its pixels, as `read_cube` has them.
    """
    cube = with_own_attrs(cube)
    if isinstance(cube, xr.Dataset | xr.DataArray):
        images = [cube] if isinstance(cube, xr.DataArray) else list(cube.data_vars.values())
        found = [(find_dim(a, "y"), find_dim(a, "x")) for a in images if a.ndim >= 2]
        cube = at_centres(cube, next((f for f in found if None not in f), (None, None)))
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
        [_bare(d) for d in decoded], dim=xr.Variable("band", names), combine_attrs="drop",
        coords="minimal", compat="override",
    )  # fmt: skip


def _bare(array: xr.DataArray) -> xr.DataArray:
    """Return a band without coordinates, but for those of its dims and a single date."""
    date = next((n for n in NAMES["time"] if n in array.coords and array[n].ndim == 0), None)
    return array.drop_vars([n for n in array.coords if n not in (*array.dims, date)])


def _stackable(dataset: xr.Dataset, what: str) -> tuple[list[Hashable], bool]:
    """Return the variables that are a Dataset's bands, and whether its one variable has them."""
    names = require_bands(dataset, what)
    dims = {n: frozenset(dataset[n].dims) for n in names}
    if len(set(dims.values())) > 1:
        each = {str(n): dataset[n].dims for n in names}
        raise ValueError(
            f"{what}'s variables must share their dims to be its bands: {each}; select those that "
            f"do, {what}[[...]]"
        )
    stacked = any(d in ("band", "wavelength", "bands") for d in dims[names[0]])
    if stacked and len(names) > 1:
        raise ValueError(f"{what} has a band dimension and several variables {names}; pass one")
    return names, stacked


def _check_dtype(array: xr.DataArray, what: str) -> None:
    if array.dtype.kind not in "fiu":
        mask = "; if it is a mask, give it as mask=" if array.dtype.kind == "b" else ""
        raise TypeError(
            f"{what} has dtype {array.dtype}; xstf needs real numbers (float or integer){mask}"
        )


def _find_dims(
    array: xr.DataArray, what: str
) -> tuple[Hashable | None, Hashable | None, Hashable, Hashable]:
    y, x, time = (find_dim(array, role) for role in ("y", "x", "time"))
    if y is None or x is None:
        refuse_swath(array, what)
    if y is None and x is None and time is not None:
        raise ValueError(
            f"{what} has no y and x, its dims are {listed(array.dims)}: this looks at pixels "
            f"around, and needs two spatial dims, one of {list(NAMES['y'])} and one of "
            f"{list(NAMES['x'])}; series without space can only be filled in time, by "
            "gapfill, and need dates: a datetime64 coordinate along time"
        )
    if y is None or x is None:
        raise ValueError(
            f"{what} needs two spatial dims, one of {list(NAMES['y'])} and one of "
            f"{list(NAMES['x'])}; it has {listed(array.dims)}. One row or column has its other "
            "dim, too: expand_dims(y=[…]); series without space have neither"
        )
    left = [d for d in array.dims if d not in (y, x, time)]
    band: Hashable | None = next((d for d in left if d in NAMES["band"]), None)
    if band is None and len(left) == 1:
        band = left[0]
    others = [d for d in left if d != band]
    if others:
        raise ValueError(
            f"{what} has dims that are neither time, band, y nor x: {others} of "
            f"{listed(array.dims)}; select or stack them"
        )
    return time, band, y, x


def _times(
    array: xr.DataArray, dim: Hashable | None, what: str, must_differ: bool
) -> np.ndarray | None:
    name = dim if dim is not None else next((n for n in NAMES["time"] if n in array.coords), None)
    if name is None:
        return None
    if name not in array.coords:
        raise ValueError(f"{what} has no coordinate for {name!r}; assign datetime64 dates to it")
    values = np.atleast_1d(array[name].values)
    if values.dtype.kind != "M":
        raise TypeError(
            f"{what}'s {name!r} has dtype {values.dtype} ({values[0]!r}, …); make it datetime64: "
            f"{_to_dates(name, values)}"
        )
    if np.isnat(values).any():
        raise ValueError(
            f"{what}'s {name!r} is NaT at index {int(np.isnat(values).argmax())}; set that date, "
            f"or drop such images with cube.sel({name}=cube[{name!r}].notnull())"
        )
    unique, counts = np.unique(values, return_counts=True)
    if must_differ and (counts > 1).any():
        twice = [str(t)[:16] for t in unique[counts > 1][:5]]
        raise ValueError(
            f"{what} has dates twice: {twice}; if they are images of different places or looks of "
            "one day, merge them, first valid: xstf.mosaic(cube, by='solar_day')"
        )
    return np.asarray(values.astype("datetime64[ns]"))


def _to_dates(name: Hashable, values: np.ndarray) -> str:
    """Return how a coordinate becomes one of dates, as it is written."""
    first = values[0]
    if hasattr(first, "calendar"):
        return "cftime dates with cube.convert_calendar('standard')"
    how = f"pd.to_datetime(cube[{name!r}].values"
    if values.dtype.kind in "iuf":
        days = 1e7 < first < 1e8  # 20210602; else whatever the numbers count
        how += ".astype(int).astype(str), format='%Y%m%d'" if days else ", unit='D'"
    zone = "utc=True).tz_localize(None" if getattr(first, "tzinfo", None) is not None else ""
    return f"cube.assign_coords({name}={how}{', ' if zone else ''}{zone}))"


# --- values -----------------------------------------------------------------------------------


def _warn_of_absurd(array: xr.DataArray, what: str, ends: Ends | None) -> None:
    """Warn of values that are no measurements; tiles take them as missing, lazy or not.

    `ends` are the array's, if they are known.
    """
    ends = ends_of(array) if ends is None else ends
    if ends is not None and (ends[0] <= -LARGEST or ends[1] >= LARGEST):
        count = int((np.abs(array.data) >= LARGEST).sum())
        if count:
            warnings.warn(
                f"{what} has {count} values that are infinite or beyond {LARGEST:g}; they are "
                "taken as missing",
                stacklevel=4,
            )


def _warn_of_nothing(data: Any, what: str) -> None:
    """Warn of a cube in memory without a single value; the first image with one ends the search."""
    if isinstance(data, np.ndarray) and not any((np.abs(i) < LARGEST).any() for i in data):
        warnings.warn(
            f"every value of {what} is missing (NaN, nodata or masked); look at its mask, nodata "
            "value and valid range",
            stacklevel=5,
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


def frame_text(*cubes: Cube) -> str:
    """Return what was done and assumed to bring cubes to one frame, in words; "" for nothing."""
    said = [cube.said for cube in cubes if cube.said]
    placed = [cube for cube in cubes if cube.series is None]
    for cube in placed:
        if cube.grid.lost:
            said.append(f"{cube.what} came without its grid mapping variable {cube.grid.lost!r}")
            continue
        lost = lost_in_encoding(cube.source) if cube.grid.crs is None else None
        if lost is not None:
            warn_user(
                f"{cube.what} was read with the grid mapping variable {lost!r}, which it has lost "
                "(one with a dim of its own stays behind in the Dataset): it is taken to have no "
                "CRS; pass the Dataset, set it with cube.rio.write_crs('EPSG:…'), or say that "
                "there is none with cube.drop_encoding()"
            )
    if len(placed) > 1 and all(cube.grid.crs is None for cube in placed):
        names = " and ".join(dict.fromkeys(cube.what for cube in placed))
        said.append(f"{names} have no CRS and were taken as one frame")
    return "; ".join(said)


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
