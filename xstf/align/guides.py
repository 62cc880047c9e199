"""Guides of gap filling: cubes that see through clouds, on any grid and dates."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.grid import require_both_crs
from xstf.cubes.masking import fit_mask
from xstf.cubes.pairs import LengthLike, read_timedelta
from xstf.cubes.read import Cube, read_cube
from xstf.cubes.variables import first_band
from xstf.tiles.engines import to_host
from xstf.tiles.guide import GuideTile, time_weights
from xstf.tiles.run import is_lazy

ORBITS = (
    "orbit", "orbit_state", "orbit_direction", "sat:orbit_state", "relative_orbit",
    "sat:relative_orbit",
)  # fmt: skip
DECIBEL = ("db", "decibel", "decibels")
LINEAR = ("linear", "1", "power", "natural", "m2/m2", "m2 m-2")


def read_guide(
    given: xr.DataArray | xr.Dataset,
    what: str,
    cube: Cube,
    order: np.ndarray,
    tolerance: LengthLike,
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
    guide = read_cube(given, what=what)
    if guide.times is None or cube.times is None:
        raise ValueError(f"{what} has no time; add a time dim or a scalar time coordinate")
    reach = read_timedelta(tolerance, "guide_tolerance") / np.timedelta64(1, "D")
    if not reach > 0:
        raise ValueError(f"guide_tolerance must be longer than nothing, not {tolerance!r}")
    dates, own = (days_since(t, cube.times.min()) for t in (cube.times[order], guide.times))
    weights = tuple(time_weights(dates, own, reach, used) for used in _orbits(guide))
    if not any((w > 0).any() for w in weights):
        first, last = (np.datetime64(t, "D") for t in (guide.times.min(), guide.times.max()))
        raise ValueError(
            f"{what} has no image within {tolerance} of any date of the cube: it goes from {first} "
            f"to {last}; give another {what} or a longer guide_tolerance"
        )
    require_both_crs(cube.grid, guide.grid, "cube", what)
    linear = what == "sar" and _is_linear(guide, sar_units)
    tile = GuideTile(guide.grid, cube.grid, weights, linear)
    rows, cols = tile.window(slice(0, cube.grid.height), slice(0, cube.grid.width))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        raise ValueError(
            f"{what} and cube do not overlap: {what} covers {guide.grid.extent}, cube "
            f"{cube.grid.extent}, each in its own CRS"
        )
    return guide, tile


def days_since(times: np.ndarray, first: np.datetime64) -> np.ndarray:
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
    if is_lazy(sar.data):
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
        first = first_band(sar.source)
        units = None if first is None else first.attrs.get("units")
    return str(units or "").strip().lower()


def read_certain(given: xr.DataArray, cube: Cube) -> tuple[Any, str]:
    """Return where pixels are certainly clear, 0 and 1 ``(time, 1, y, x)``, and how it got there.

    The text is "" for one on the cube's grid.
    """
    time, _, y, x = cube.dims
    if not isinstance(given, xr.DataArray) or given.dtype != bool:
        raise TypeError("certain must be a boolean DataArray (True = certainly clear)")
    source = first_band(cube.source)
    if time is None or source is None:
        raise ValueError("certain needs a cube with a time dim")
    still = source.isel({d: 0 for d in source.dims if d not in (time, y, x)}, drop=True)
    bare, text = fit_mask(
        given, still, (time, None, y, x), cube.grid, what="certain", of="cube", outside=False
    )
    bare = bare.astype(np.float32)
    if time not in given.dims:
        bare = bare.expand_dims({time: source.sizes[time]})
    return bare.transpose(time, y, x).data[:, None], text
