"""Guides of gap filling: cubes that see through clouds, on any grid and dates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstf.align.orbits import orbits_of
from xstf.align.radar import backscatter, read_units
from xstf.cubes.acquisitions import first_valid
from xstf.cubes.arrays import Guides, Labelled
from xstf.cubes.grid import require_both_crs
from xstf.cubes.masking import fit_mask
from xstf.cubes.nesting import no_overlap, require_one_side
from xstf.cubes.pairs import LengthLike, read_timedelta
from xstf.cubes.read import Cube, merge_looks, read_cube
from xstf.cubes.series import fold_like, label_places
from xstf.cubes.variables import first_band
from xstf.tiles.guide import GuideTile, echoes, time_weights


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
    guide = read_cube(given, what=what, unsized=True, series=cube.series is not None, merges=False)
    linear, units = read_units(guide, sar_units) if radar else (False, "")
    # A border without an echo must not hide the other slice of a pass.
    guide = merge_looks(guide, partial(echoes, linear=linear) if radar else None)
    if cube.series is not None:
        guide = as_samples(guide, cube)
    elif not (cube.sized and guide.sized) and guide.grid != cube.grid:
        guide = _of_one_pixel(guide, cube)
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
    tile = GuideTile(guide.grid, cube.grid, weights, linear, radar)
    rows, cols = tile.window(slice(0, cube.grid.height), slice(0, cube.grid.width))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        spans = no_overlap(cube.grid, guide.grid, ("cube", what)).split(": ", 1)[1]
        raise ValueError(f"{what} and cube do not overlap: {spans}")
    require_one_side(cube.grid, guide.grid, ("cube", what))
    count = len(guide.times)
    parts = [f"{count} image{'s' * (count > 1)}", units, orbits.said]
    if left_out:
        parts.append(f"without {', '.join(left_out)}")
    return Guide(guide, tile, f"{what}: {', '.join(part for part in parts if part)}")


def as_samples(guide: Cube, cube: Cube) -> Cube:
    """Return a guide of series with one for each series of the cube: the same labels, or one."""
    if guide.series is None:
        raise ValueError(
            f"cube is series without y and x, {guide.what} is an image: give its series at their "
            f"places, as {guide.what}.sel(x=…, y=…, method='nearest') returns"
        )
    ours, theirs = cube.series, guide.series
    if ours is None or not theirs.samples:  # one for all
        width = cube.grid.width
        rows = guide.data[..., np.zeros(width, int)]
        return replace(guide, data=rows, grid=cube.grid)
    if set(theirs.samples) != set(ours.samples):
        raise ValueError(
            f"{guide.what} has series along {list(theirs.samples)}, cube along "
            f"{list(ours.samples)}; give those of the cube, or one series for all"
        )
    place = [
        _label_places(guide, dim, ours.labels.get(dim), size)
        for dim, size in zip(ours.samples, ours.sizes, strict=True)
    ]
    whole = np.arange(guide.data.shape[3]).reshape(theirs.sizes)
    whole = whole.transpose([theirs.samples.index(d) for d in ours.samples])
    at = whole[np.ix_(*place)].ravel()
    return replace(guide, data=guide.data[..., at], grid=cube.grid)


def _label_places(guide: Cube, dim: Hashable, labels: np.ndarray | None, size: int) -> np.ndarray:
    """Return where a guide has the cube's labels along a dim of series."""
    own = None if guide.series is None else guide.series.labels.get(dim)
    length = 0 if guide.series is None else dict(
        zip(guide.series.samples, guide.series.sizes, strict=True)
    )[dim]  # fmt: skip
    if labels is None or own is None:
        if length != size:
            raise ValueError(f"{guide.what} has {length} series along {dim!r}, cube {size}")
        return np.arange(size)
    return label_places(own, labels, dim, guide.what)


def _of_one_pixel(guide: Cube, cube: Cube) -> Cube:
    """Return a guide on a single pixel of unknown size, which it must share."""
    (y, x), (v, u) = ((c.grid.y, c.grid.x) for c in (cube, guide))
    if not cube.sized and not guide.sized and y[0] == v[0] and x[0] == u[0]:
        return replace(guide, grid=cube.grid)
    one, other = (cube, guide) if not cube.sized else (guide, cube)
    raise ValueError(
        f"{one.what} is one pixel of unknown size and {other.what} has another grid: say the size, "
        f"{one.what}.assign_attrs(resolution=…) in units of its coordinates, or select "
        f"{other.what}'s pixel and give it the same y and x"
    )


def days_since(times: np.ndarray, first: np.datetime64) -> np.ndarray:
    """Return dates as days since the first."""
    since: np.ndarray = (times - first) / np.timedelta64(1, "D")
    return since.astype(np.float64)


def day_of_year(date: np.datetime64) -> float:
    """Return the days from the 1 January before a date to it."""
    return float((date - date.astype("datetime64[Y]")) / np.timedelta64(1, "D"))


def read_certain(given: xr.DataArray, cube: Cube) -> tuple[Any, str]:
    """Return where pixels are certainly clear, 0 and 1 ``(time, 1, y, x)``, and how it got there.

    The text is "" for one on the cube's grid.
    """
    time, _, y, x = cube.dims
    if not isinstance(given, xr.DataArray) or given.dtype != bool:
        raise TypeError("certain must be a boolean DataArray (True = certainly clear)")
    if cube.series is not None:
        given = fold_like(given, cube.series, "certain")
    labelled, groups = cube.unmerged or (cube.source, None)
    source = first_band(labelled)
    if time is None or source is None:
        raise ValueError("certain needs a cube with a time dim")
    still = source.isel({d: 0 for d in source.dims if d not in (time, y, x)}, drop=True)
    bare, text = fit_mask(
        given, still, (time, None, y, x), cube.grid, what="certain", of="cube", outside=False,
        shift=cube.shift,
    )  # fmt: skip
    bare = bare.astype(np.float32)
    if time not in given.dims:
        bare = bare.expand_dims({time: source.sizes[time]})
    images = bare.transpose(time, y, x).data
    if groups is not None:  # sure only where every look of the acquisition is
        images = first_valid(images, groups, images > 0)
    return images[:, None], text
