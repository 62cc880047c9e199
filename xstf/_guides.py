"""Guides of gap filling: cubes that see through clouds, on any grid and dates."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xstf import _inputs, _pairs, _tiles
from xstf._engines import to_host
from xstf._grid import require_both_crs
from xstf._guide_tile import GuideTile, time_weights
from xstf._inputs import Cube

GUIDE_TILE = 96
ORBITS = (
    "orbit", "orbit_state", "orbit_direction", "sat:orbit_state", "relative_orbit",
    "sat:relative_orbit",
)  # fmt: skip
DECIBEL = ("db", "decibel", "decibels")
LINEAR = ("linear", "1", "power", "natural", "m2/m2", "m2 m-2")


def read(
    given: xr.DataArray | xr.Dataset,
    what: str,
    cube: Cube,
    order: np.ndarray,
    tolerance: str,
    sar_units: str | None,
) -> tuple[Cube, GuideTile]:
    """Return a guide, and how its parts become ones on the cube's dates and grid.

    Parameters
    ----------
    given : DataArray or Dataset of bands
    what : {"sar", "guide"}
    cube : Cube
        The one to fill.
    order : ndarray
        The positions of its dates, ascending.
    tolerance : str
        How far in time an image of the guide may be from a date.
    sar_units : {"dB", "linear"} or None
    """
    guide = _inputs.read(given, what=what)
    if guide.times is None or cube.times is None:
        raise ValueError(f"{what} has no time; add a time dim or a scalar time coordinate")
    require_both_crs(cube.grid, guide.grid, "cube", what)
    reach = _pairs.timedelta(tolerance, "guide_tolerance") / np.timedelta64(1, "D")
    if not reach > 0:
        raise ValueError(f"guide_tolerance must be longer than nothing, not {tolerance!r}")
    dates, own = (days(t, cube.times.min()) for t in (cube.times[order], guide.times))
    weights = tuple(time_weights(dates, own, reach, used) for used in _orbits(guide))
    if not any((w > 0).any() for w in weights):
        first, last = (np.datetime64(t, "D") for t in (guide.times.min(), guide.times.max()))
        raise ValueError(
            f"{what} has no image within {tolerance} of any date of the cube: it goes from {first} "
            f"to {last}; give another {what} or a longer guide_tolerance"
        )
    linear = what == "sar" and _is_linear(guide, sar_units)
    tile = GuideTile(guide.grid, cube.grid, weights, linear)
    rows, cols = tile.window(slice(0, cube.grid.height), slice(0, cube.grid.width))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        raise ValueError(
            f"{what} and cube do not overlap: {what} covers {guide.grid.extent}, cube "
            f"{cube.grid.extent}, each in its own CRS"
        )
    return guide, tile


def whole(guide: Cube, tile: GuideTile, shape: tuple[int, int]) -> Any:
    """Return a guide on the cube's dates and grid, lazily: samples are taken of it."""
    data = _tiles.as_lazy(guide.data)
    source = _tiles.Source(data, tuple(range(data.shape[0])), tile.window)
    lead = (tile.weights[0].shape[0], len(tile.weights) * data.shape[1])
    job = _tiles.Job(partial(_alone, tile), (source,), lead, shape)
    return _tiles.run([job], chunks=(GUIDE_TILE, GUIDE_TILE), tile=GUIDE_TILE)[0]


def _alone(tile: GuideTile, blocks: list[Any], rows: slice, cols: slice, _: Any) -> Any:
    return tile(blocks[0], rows, cols)


def days(times: np.ndarray, first: np.datetime64) -> np.ndarray:
    """Return dates as days since the first."""
    since: np.ndarray = (times - first) / np.timedelta64(1, "D")
    return since.astype(np.float64)


def day_of_year(date: np.datetime64) -> float:
    """Return the days from the 1 January before a date to it."""
    return float((date - date.astype("datetime64[Y]")) / np.timedelta64(1, "D"))


def _orbits(guide: Cube) -> list[np.ndarray]:
    """Return which images are of each orbit; all of them where no coordinate tells."""
    time = guide.dims[0]
    found = next((n for n in ORBITS if n in guide.source.coords), None)
    if found is None or time is None or guide.source[found].dims != (time,):
        return [np.ones(guide.data.shape[0], bool)]
    values = guide.source[found].values
    return [values == value for value in np.unique(values)]


def _is_linear(sar: Cube, given: str | None) -> bool:
    """Return whether backscatter is linear power; raise if nothing tells."""
    if given is not None:
        if given not in ("dB", "linear"):
            raise ValueError(f"sar_units must be 'dB' or 'linear', not {given!r}")
        return given == "linear"
    stated = _stated_units(sar)
    if stated in DECIBEL:
        return False
    if stated in LINEAR:
        return True
    if _tiles.is_lazy(sar.data):
        raise ValueError(
            "sar does not say its units and is lazy: give sar_units='dB' or 'linear', or set "
            "attrs['units']"
        )
    values = to_host(sar.data)
    valid = values[np.isfinite(values)]
    return bool(valid.size and valid.min() >= 0)  # dB of land lie below 0


def _stated_units(sar: Cube) -> str:
    units = sar.source.attrs.get("units")
    if units is None and isinstance(sar.source, xr.Dataset):
        first = next(v for v in sar.source.data_vars.values() if v.ndim >= 2)
        units = first.attrs.get("units")
    return str(units or "").strip().lower()
