"""Masks on the grid and dates of a cube: taken by label, or by nearest neighbour from another grid.

Masks often come on a grid of their own: Sentinel-2's scene classes at 20 m, cloud probabilities at
60 m, MODIS states at 1 km. Nothing lazy is computed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import xarray as xr

from xstf.cubes.crs import crs_of, lost_mapping
from xstf.cubes.dims import NAMES, find_dim
from xstf.cubes.grid import CORNER_TOLERANCE, Grid, require_same_grid, same_crs, turns
from xstf.cubes.nesting import require_one_side
from xstf.cubes.place import place_of
from xstf.cubes.words import listed, warn_user

Dims: TypeAlias = tuple[Hashable | None, Hashable | None, Hashable, Hashable]

_MOST_NAMES = 6
# Pixels: a centre on the edge of two pixels of a mask belongs to the later one, whatever rounding.
_ON_EDGE = 1e-6
# Grids as much finer or coarser have the pixels of one resolution.
_SAME_STEP = 1e-3


def apply_mask(
    array: xr.DataArray,
    mask: xr.DataArray,
    dims: Dims,
    grid: Grid,
    what: str,
    shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[xr.DataArray, str]:
    """Return an array with NaN where a mask is True, and in words how the mask got to its grid.

    Parameters
    ----------
    array : DataArray
        Decoded.
    mask : DataArray of bool
        True where it is not usable; with any of its dims, y and x among them.
    dims
        What its dimensions are called: time, band, y, x.
    grid
        Where its pixels are.
    what
        What to call the cube in messages.
    shift
        What was added to the array's coordinates y and x, where those were corners of pixels.

    Returns
    -------
    array, text
        The text is "" for a mask on the cube's own grid.
    """
    bare, text = fit_mask(
        mask, array, dims, grid, what=f"{what}'s mask", of=what, outside=True, shift=shift
    )
    return array.where(~bare), text


def fit_mask(
    mask: xr.DataArray, array: xr.DataArray, dims: Dims, grid: Grid, *, what: str, of: str,
    outside: bool, shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[xr.DataArray, str]:  # fmt: skip
    """Return a mask without coordinates on an array's pixels and labels, and how it got there.

    Parameters
    ----------
    what, of
        What to call the mask and the cube in messages.
    outside : bool
        What it is where it does not reach.
    """
    _check_kind(mask, what)
    mask = _with_dims_of(mask, dims, array, what, of)
    for dim in (dims[0], dims[1]):
        if dim is not None and dim in mask.dims:
            mask = _by_label(mask, array, dim, what, of)
    y, x = dims[2], dims[3]
    if all(d in mask.coords and np.array_equal(mask[d].values, array[d].values) for d in (y, x)):
        own_crs = crs_of(mask) if lost_mapping(mask) is None else None
        if own_crs is None or same_crs(own_crs, grid.crs):
            return mask.drop_vars(list(mask.coords)), ""
    own = _mask_grid(mask, (y, x), grid, what, shift)
    bare = mask.drop_vars(list(mask.coords))
    if _is_same(grid, own):
        return bare, ""
    _check_place(grid, own, what, of)
    return _nearest(bare, own, grid, (y, x), what=what, of=of, outside=outside)


def _check_kind(mask: object, what: str) -> None:
    if isinstance(mask, xr.DataArray) and mask.dtype == bool:
        return
    kind = f"a {type(mask).__name__}"
    how = ""
    if isinstance(mask, xr.Dataset):
        how = f"; it has {listed(mask.data_vars)}: pass one that is boolean"
    elif isinstance(mask, xr.DataArray):
        kind += f" of {mask.dtype}"
        how = "; of numbers make one by comparing, such as numbers != 0, of classes by xstf.masks"
    raise TypeError(f"{what} must be a boolean DataArray (True = not usable), not {kind}{how}")


def _with_dims_of(
    mask: xr.DataArray, dims: Dims, array: xr.DataArray, what: str, of: str
) -> xr.DataArray:
    """Return a mask whose dims are called as the cube's; raise for those that the cube has not."""
    roles = (("time", dims[0]), ("y", dims[2]), ("x", dims[3]))
    found = {find_dim(mask, role): dim for role, dim in roles if dim is not None}
    names = {
        own: dim
        for own, dim in found.items()
        if own is not None and own != dim and dim not in mask.dims
    }
    # A coordinate of that name, such as a scalar one, would be in the way.
    mask = mask.drop_vars([n for n in names.values() if n in mask.coords]).rename(names)
    time = find_dim(mask, "time")
    if dims[0] is None and time is not None and time in mask.coords and time in array.coords:
        mask = _one_date(mask, array[time], time, what, of)
    _refuse_one_of_many(mask, array, dims[0], what, of)
    extra = [d for d in mask.dims if d not in array.dims]
    if extra:
        raise ValueError(
            f"{what} has dims {extra} that {of} has not: {listed(array.dims)}; select one of "
            f"each, or rename them"
        )
    for dim in dims[2:]:
        if dim in mask.dims:
            continue
        if dim in mask.coords:
            raise ValueError(
                f"{what} is of one place by its coordinate {dim!r}, {mask[dim].values}; it needs "
                f"dims {[dims[2], dims[3]]}, or drop the coordinate if it holds everywhere: "
                f"mask.drop_vars({dim!r})"
            )
        mask = mask.expand_dims({dim: array[dim].values})  # such as whole dates
    return mask


def _refuse_one_of_many(
    mask: xr.DataArray, array: xr.DataArray, dim: Hashable | None, what: str, of: str
) -> None:
    """Raise for a mask of one date, as a scalar coordinate says, if the cube has others."""
    name = next((n for n in mask.coords if str(n).lower() in NAMES["time"]), None)
    if dim is None or dim not in array.coords or dim in mask.dims or name is None:
        return
    if mask[name].ndim or mask[name].dtype.kind != "M" or array[dim].dtype.kind != "M":
        return
    lacks = [t for t in _labels(array[dim]) if t != _labels(mask[name])]
    if lacks:
        raise ValueError(
            f"{what} is of one date by its coordinate {name!r}, {_named(mask[name].values)}, and "
            f"{of} has others, {_named(lacks)}: give a mask with a value for each; if it holds on "
            f"all of them, drop the coordinate: mask.drop_vars({name!r})"
        )


def _one_date(
    mask: xr.DataArray, date: xr.DataArray, time: Hashable, what: str, of: str
) -> xr.DataArray:
    """Return a mask of many dates on the one date of a cube without a dimension of time."""
    at = np.flatnonzero(mask[time].values == date.values)
    if not at.size:
        raise ValueError(f"{what} and {of} differ along {time!r}: it lacks {_named([date.values])}")
    return mask.isel({time: int(at[0])}, drop=True)


def _by_label(
    mask: xr.DataArray, array: xr.DataArray, dim: Hashable, what: str, of: str
) -> xr.DataArray:
    """Return a mask with an array's labels along a dim, in its order; raise for those it lacks."""
    if dim not in mask.coords or dim not in array.coords:
        if (
            dim not in mask.coords
            and mask.sizes[dim] == array.sizes[dim]
            and dim not in array.coords
        ):
            return mask
        who = what if dim not in mask.coords else of
        raise ValueError(f"{what} and {of} differ along {dim!r}: {who} has no coordinate for it")
    wanted, there = _labels(array[dim]), _labels(mask[dim])
    if wanted.shape == there.shape and bool((wanted == there).all()):
        return mask
    place = {label: i for i, label in enumerate(there.tolist())}
    if len(place) < len(there):
        twice = [
            label for label, n in zip(*np.unique(there, return_counts=True), strict=True) if n > 1
        ]
        raise ValueError(f"{what} has labels twice along {dim!r}: {_named(twice)}")
    lacks = [label for label in wanted if np.asarray(label).tolist() not in place]
    if lacks:
        raise ValueError(
            f"{what} and {of} differ along {dim!r}: the mask lacks {_named(lacks)}; it has "
            f"{_named(there)}. Give a mask with a value for each, or leave them out of {of}"
        )
    return mask.isel({dim: [place[label] for label in wanted.tolist()]})


def _labels(coordinate: xr.DataArray) -> np.ndarray:
    """Return labels that compare as they are: dates in one unit."""
    values = coordinate.values
    return values.astype("M8[ns]") if values.dtype.kind == "M" else values


def _named(labels: object) -> str:
    """Return labels for a message, dates to the minute, and how many more there are."""
    values = np.atleast_1d(np.asarray(labels))
    if values.dtype.kind == "M":
        units = ("M8[D]", "M8[m]", "M8[s]", "M8[ms]", "M8[us]", "M8[ns]")
        values = next((v for v in map(values.astype, units) if (v == values).all()), values)
    text = ", ".join(str(v) for v in values[:_MOST_NAMES])
    left = len(values) - _MOST_NAMES
    return f"{text} and {left} more" if left > 0 else text


# --- another grid -----------------------------------------------------------------------------


def _mask_grid(
    mask: xr.DataArray,
    spatial: tuple[Hashable, Hashable],
    grid: Grid,
    what: str,
    shift: tuple[float, float],
) -> Grid:
    """Return where a mask lies; one without a CRS of its own has that of the cube's grid.

    A mask of a cube whose coordinates were corners has such, too, and may have lost the transform
    that tells: `shift` moves them as it did the cube's.
    """
    place = place_of(mask, spatial, what=what, resolution=(abs(grid.dy), abs(grid.dx)), warns=False)
    own = place.grid
    if own.crs is None:
        own = replace(own, crs=grid.crs, degrees=grid.degrees)
    if shift != (0.0, 0.0) and place.shift == (0.0, 0.0):
        down, right = (
            by * abs(theirs / ours)
            for by, theirs, ours in zip(shift, (own.dy, own.dx), (grid.dy, grid.dx), strict=True)
        )
        moved = replace(own, top=own.top + down, left=own.left + right)
        own = moved if sum(_apart(grid, moved)) < sum(_apart(grid, own)) else own
    return own


def _is_same(a: Grid, b: Grid) -> bool:
    return (
        (a.crs is None) == (b.crs is None)
        and same_crs(a.crs, b.crs)
        and (a.height, a.width) == (b.height, b.width)
        and max(_apart(a, b)) <= CORNER_TOLERANCE
    )


def _apart(a: Grid, b: Grid) -> tuple[float, float, float, float]:
    """Return how far the corners of two grids are apart along y and x, in pixels of the first."""
    return (
        abs(a.top - b.top) / abs(a.dy),
        abs(a.left - b.left) / abs(a.dx),
        abs(a.top + a.height * a.dy - b.top - b.height * b.dy) / abs(a.dy),
        abs(a.left + a.width * a.dx - b.left - b.width * b.dx) / abs(a.dx),
    )


def _check_place(grid: Grid, own: Grid, what: str, of: str) -> None:
    """Raise if a mask cannot be brought to a grid: another CRS, or half a pixel off one as fine."""
    if not same_crs(grid.crs, own.crs):
        require_same_grid(grid, own, what_a=of, what_b=what)
    if turns(own, grid)[1]:
        frames = [f"{g.extent[0]:.6g}..{g.extent[1]:.6g}" for g in (own, grid)]
        raise ValueError(
            f"{what} has longitudes {frames[0]} against longitudes {frames[1]} of {of}: bring both "
            "to one frame, assign_coords(lon=lon % 360) or (lon + 180) % 360 - 180, and sortby"
        )
    require_one_side(grid, own, (of, what))
    same = all(
        abs(abs(a) - abs(b)) <= _SAME_STEP * abs(a)
        for a, b in ((grid.dy, own.dy), (grid.dx, own.dx))
    )
    for dim, off in (
        ("y", _offset(grid.y, own.top, own.dy)),
        ("x", _offset(grid.x, own.left, own.dx)),
    ):
        if same and abs(off - 0.5) > 0.5 - 2 * CORNER_TOLERANCE:
            raise ValueError(
                f"{what} must share the grid of {of}: offset 0.50 px in {dim}, where no pixel is "
                "the nearest; is one of them labelled by corners? Mend its coordinates"
            )


def _offset(centres: np.ndarray, first: float, step: float) -> float:
    """Return where in a pixel of another axis the centres lie: 0 and 1 are its edges."""
    return float((centres[len(centres) // 2] - first) / step % 1.0)


def _nearest(
    mask: xr.DataArray, own: Grid, grid: Grid, space: tuple[Hashable, Hashable], *, what: str,
    of: str, outside: bool,
) -> tuple[xr.DataArray, str]:  # fmt: skip
    """Return a mask's pixels that hold the centres of a grid's, and that in words."""
    rows = np.floor((grid.y - own.top) / own.dy + _ON_EDGE).astype(int)
    cols = np.floor((grid.x - own.left) / own.dx + _ON_EDGE).astype(int)
    seen_y, seen_x = (rows >= 0) & (rows < own.height), (cols >= 0) & (cols < own.width)
    if not seen_y.any() or not seen_x.any():
        raise ValueError(
            f"{what} and {of} do not overlap: the mask covers {own.extent}, {of} {grid.extent}"
        )
    y, x = space
    taken = mask.isel({y: np.clip(rows, 0, own.height - 1), x: np.clip(cols, 0, own.width - 1)})
    text = f"from pixels of {own.resolution:.6g} to {grid.resolution:.6g} by nearest neighbour"
    share = 1 - seen_y.mean() * seen_x.mean()
    if share:
        seen = xr.DataArray(seen_y, dims=[y]) & xr.DataArray(seen_x, dims=[x])
        taken = taken.where(seen, outside)
        text += f", {share:.1%} of the pixels are beside it"
        if outside:
            warn_user(
                f"{what} does not cover {share:.1%} of {of}'s pixels; they are taken as not usable"
            )
    return taken.transpose(*mask.dims), text
