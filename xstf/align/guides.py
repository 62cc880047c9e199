"""Guides of gap filling: cubes that see through clouds, on any grid and dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstf.align.orbits import orbits_of
from xstf.align.radar import backscatter, read_units
from xstf.cubes.acquisitions import first_valid
from xstf.cubes.arrays import Guides, Labelled
from xstf.cubes.grid import require_both_crs
from xstf.cubes.pairs import LengthLike, read_timedelta
from xstf.cubes.read import Cube, as_array, read_cube, require_fits
from xstf.tiles.guide import GuideTile, time_weights


class Guide(NamedTuple):
    """A guide as it was read, how its parts become ones on the cube's dates and grid, and words."""

    cube: Cube
    tile: GuideTile
    said: str


def listed_guides(given: Guides | None, what: str) -> list[tuple[str, Labelled]]:
    """Return guides with what to call each in messages; none for None.

    Parameters
    ----------
    given : DataArray, Dataset, or a sequence or mapping of them
    what : {"sar", "guide"}
    """
    if given is None:
        return []
    if isinstance(given, xr.DataArray | xr.Dataset):
        return [(what, given)]
    if isinstance(given, Mapping):
        found = [(f"{what}[{key!r}]", each) for key, each in given.items()]
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        found = [(f"{what}[{i}]", each) for i, each in enumerate(given)]
    else:
        found = [(what, given)]
    if not found:
        raise ValueError(f"{what} is an empty {type(given).__name__}; leave it out, or give a cube")
    for name, each in found:
        if not isinstance(each, xr.DataArray | xr.Dataset):
            raise TypeError(
                f"{name} must be an xarray DataArray or Dataset, not {type(each).__name__}; {what} "
                "takes one, a list of them, or a dict with their names"
            )
    return found


def read_guide(
    given: Labelled,
    what: str,
    cube: Cube,
    moments: np.ndarray,
    tolerance: LengthLike,
    sar_units: str | None,
) -> Guide:
    """Return a guide, how its parts become ones on the cube's dates and grid, and what it is.

    Parameters
    ----------
    given : DataArray or Dataset of bands
    what : str
        ``"sar"`` or ``"guide"``, or such as ``"sar[0]"``.
    cube : Cube
        The one to fill.
    moments : ndarray of datetime64
        When the dates that are filled count, in local solar time, ascending.
    tolerance : number of days or str
        How far in time an image of the guide may be from a date.
    sar_units : {"dB", "linear"} or None
    """
    radar = what.startswith("sar")
    given, left_out = backscatter(given, what) if radar else (given, [])
    guide = read_cube(given, what=what)
    if guide.times is None:
        raise ValueError(f"{what} has no time; add a time dim or a scalar time coordinate")
    reach = read_timedelta(tolerance, "guide_tolerance") / np.timedelta64(1, "D")
    if not reach > 0:
        raise ValueError(f"guide_tolerance must be longer than nothing, not {tolerance!r}")
    theirs, own = (days_since(t, moments[0]) for t in (moments, guide.when.moments))
    orbits = orbits_of(guide)
    weights = tuple(time_weights(theirs, own, reach, used) for used in orbits.groups)
    if not any((w > 0).any() for w in weights):
        begin, end = (np.datetime64(t, "D") for t in (guide.times.min(), guide.times.max()))
        raise ValueError(
            f"{what} has no image within {tolerance} of any date of the cube: it goes from {begin} "
            f"to {end}; give another {what} or a longer guide_tolerance"
        )
    require_both_crs(cube.grid, guide.grid, "cube", what)
    linear, units = read_units(guide, sar_units) if radar else (False, "")
    tile = GuideTile(guide.grid, cube.grid, weights, linear, radar)
    rows, cols = tile.window(slice(0, cube.grid.height), slice(0, cube.grid.width))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        raise ValueError(
            f"{what} and cube do not overlap: {what} covers {guide.grid.extent}, cube "
            f"{cube.grid.extent}, each in its own CRS"
        )
    count = len(guide.times)
    parts = [f"{count} image{'s' * (count > 1)}", units, orbits.said]
    if left_out:
        parts.append(f"without {', '.join(left_out)}")
    return Guide(guide, tile, f"{what}: {', '.join(part for part in parts if part)}")


def days_since(times: np.ndarray, first: np.datetime64) -> np.ndarray:
    """Return dates as days since the first."""
    since: np.ndarray = (times - first) / np.timedelta64(1, "D")
    return since.astype(np.float64)


def day_of_year(date: np.datetime64) -> float:
    """Return the days from the 1 January before a date to it."""
    return float((date - date.astype("datetime64[Y]")) / np.timedelta64(1, "D"))


def read_certain(given: xr.DataArray, cube: Cube) -> Any:
    """Return where pixels are certainly clear, as 0 and 1 ``(time, 1, y, x)``."""
    time, _, y, x = cube.dims
    if not isinstance(given, xr.DataArray) or given.dtype != bool:
        raise TypeError("certain must be a boolean DataArray (True = certainly clear)")
    extra = [d for d in given.dims if d not in (time, y, x)]
    if extra or y not in given.dims or x not in given.dims:
        raise ValueError(f"certain needs dims {[y, x]} and may have {time!r}; it has {given.dims}")
    labelled, groups = cube.unmerged or (cube.source, None)
    source = as_array(labelled, what="cube")
    require_fits(given, source, (y, x), cube.grid, "certain", "cube")
    bare = given.drop_vars(list(given.coords)).astype(np.float32)
    if time not in given.dims:
        bare = bare.expand_dims({time: source.sizes[time]})
    images = bare.transpose(time, y, x).data
    if groups is not None:  # sure only where every look of the acquisition is
        images = first_valid(images, groups, images > 0)
    return images[:, None]
