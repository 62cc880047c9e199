"""Where a labelled cube lies: its CRS and grid, its coordinates brought to centres of pixels."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import pyproj
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.crs import crs_of, grid_mapping_name, lost_mapping, with_plain_crs
from xstf.cubes.grid import LONGITUDES, TURN, Grid, crs_name, grid_of, step_of
from xstf.cubes.transform import (
    TRANSFORMS,
    Axis,
    Stated,
    compare,
    mapping_variables,
    stated_size,
    stated_transforms,
)
from xstf.cubes.words import warn_user

# What 2-D coordinates of a swath are called, in lower case.
_CURVED = (
    "lat", "latitude", "nav_lat", "xlat", "lats", "latitudes", "yc", "gps_lat", "geolat", "lat_rho",
    "lon", "longitude", "nav_lon", "xlong", "lons", "longitudes", "xc", "gps_lon", "geolon",
    "lon_rho",
)  # fmt: skip
_CURVED_STANDARD = ("latitude", "longitude", "projection_x_coordinate", "projection_y_coordinate")
# The size that a single pixel of unknown size is given where its size does not matter.
NOMINAL = 1.0


@dataclass(frozen=True)
class Place:
    """Where a cube lies.

    Parameters
    ----------
    grid
        Of its pixels.
    source
        The cube with coordinates of centres and a CRS that results can carry.
    shift
        What was added to its coordinates y and x to get there.
    said
        In words, what was done to its coordinates; "" for nothing.
    sized
        Whether the size of its pixels is known; one pixel may not tell.
    """

    grid: Grid
    source: Labelled
    shift: tuple[float, float] = (0.0, 0.0)
    said: str = ""
    sized: bool = True


def place_of(
    cube: Labelled,
    dims: tuple[Hashable, Hashable],
    *,
    what: str,
    resolution: float | tuple[float, float] | None = None,
    unsized: bool = False,
    warns: bool = True,
) -> Place:
    """Return where a cube lies, and the cube with coordinates that say so.

    Parameters
    ----------
    cube : DataArray or Dataset
    dims : (hashable, hashable)
        Its y and x.
    what : str
        What to call it in messages.
    resolution : float or (float, float), optional
        The size of a single pixel, of y and x each; default: what its attributes say.
    unsized : bool
        A single pixel may have an unknown size.
    warns : bool
        Whether to say what was done, where the caller can act on it.
    """
    lost = lost_mapping(cube)
    crs = crs_of(cube, what) if lost is None else None
    mapping = grid_mapping_name(cube)
    y, x = (coordinate_of(cube, dim, what, dims) for dim in dims)
    steps = (step_of(y, what, str(dims[0])), step_of(x, what, str(dims[1])))
    if crs is not None:
        _require_units(crs, y, x, dims, what)
    stated = stated_transforms(cube, mapping, steps, what)
    size: float | tuple[float | None, float | None] | None = resolution
    if None in steps and resolution is None:
        size = _single_size(cube, mapping, stated, steps)
    sized = any(s is not None for s in steps) or size is not None
    grid = grid_of(
        y, x, crs, what=what, dims=(str(dims[0]), str(dims[1])),
        resolution=NOMINAL if unsized and not sized else size,
    )  # fmt: skip
    if lost is not None:
        grid = replace(grid, lost=str(lost))
    place = Place(grid, cube, sized=sized)
    place = _held_against(place, stated, steps, dims, what, warns)
    return replace(place, source=with_plain_crs(place.source, crs))


def coordinate_of(
    cube: Labelled, dim: Hashable, what: str, dims: tuple[Hashable, Hashable]
) -> np.ndarray:
    """Return the coordinates along a dim; raise where there are none, for a swath by that word."""
    if dim not in cube.coords:
        refuse_swath(cube, what, dims)
        raise ValueError(
            f"{what} has no coordinate for {dim!r}; give pixel centres with assign_coords"
        )
    values = cube[dim].values
    if values.dtype.kind not in "fiu":
        raise ValueError(
            f"{what}'s coordinate {dim!r} has dtype {values.dtype}; give numbers, the centres of "
            "its pixels"
        )
    return np.asarray(values, dtype=np.float64)


def _require_units(
    crs: pyproj.CRS, y: np.ndarray, x: np.ndarray, dims: tuple[Hashable, Hashable], what: str
) -> None:
    """Raise if coordinates cannot be in the units of their CRS: degrees against metres."""
    ends = [float(v) for v in (x.min(), x.max(), y.min(), y.max())]
    degrees = max(map(abs, ends[:2])) <= 1.5 * TURN and max(map(abs, ends[2:])) <= TURN / 4 + 1
    unit = crs.axis_info[0].unit_name if crs.axis_info else ""
    if crs.is_geographic and unit == "degree":
        wrong = not degrees and bool(np.isfinite(ends).all())
    else:
        wrong = crs.is_projected and degrees and str(dims[1]).lower() in LONGITUDES
    if wrong:
        raise ValueError(
            f"{what}'s CRS is {crs_name(crs)}, in {unit}, and its coordinates are not: "
            f"{dims[1]} {ends[0]:.7g} to {ends[1]:.7g}, {dims[0]} {ends[2]:.7g} to {ends[3]:.7g}; "
            f"set the CRS that they are in: cube.rio.write_crs('EPSG:…')"
        )


def refuse_swath(cube: Labelled, what: str, dims: tuple[Hashable, ...] | None = None) -> None:
    """Raise where 2-D coordinates alone say where a cube lies.

    Parameters
    ----------
    cube : DataArray or Dataset
    what : str
    dims : tuple of hashable, optional
        Those that such coordinates must lie along; default: any two.
    """
    variables = dict(cube.coords) | (dict(cube.data_vars) if isinstance(cube, xr.Dataset) else {})
    curved = [
        name
        for name, variable in variables.items()
        if variable.ndim == 2
        and (dims is None or set(variable.dims) == set(dims))
        and (
            str(name).lower() in _CURVED or variable.attrs.get("standard_name") in _CURVED_STANDARD
        )
        and not all(d in cube.coords for d in variable.dims)
    ]
    if curved:
        along = [str(d) for d in variables[curved[0]].dims]
        raise ValueError(
            f"{what} is curvilinear, a swath: its places are the 2-D coordinates {curved} along "
            f"{along}, and it has no 1-D y and x; bring it to a regular grid first, with "
            "pyresample, satpy's resample or gdalwarp -geoloc"
        )


def _single_size(
    cube: Labelled,
    mapping: Hashable | None,
    stated: list[Stated],
    steps: tuple[float | None, float | None],
) -> tuple[float | None, float | None] | None:
    """Return the size of the pixel along axes that have one, as far as attributes are believed.

    Where the other axis has coordinates, they tell whether the attributes are of this grid.
    """
    sizes = [(abs(t.dy), abs(t.dx)) for t in stated]
    named = stated_size(cube, mapping)
    for size in [*sizes, *([named] if named is not None else [])]:
        fits = [
            step is None or abs(abs(step) - own) <= 1e-3 * own
            for step, own in zip(steps, size, strict=True)
        ]
        if all(fits):
            return size
    return None


def _held_against(
    place: Place,
    stated: list[Stated],
    steps: tuple[float | None, float | None],
    dims: tuple[Hashable, Hashable],
    what: str,
    warns: bool,
) -> Place:
    """Return a place whose coordinates are centres by the transform that the cube states."""
    grid = place.grid
    ends_y = (grid.top, grid.top + grid.dy * grid.height)
    ends_x = (grid.left, grid.left + grid.dx * grid.width)
    for t in stated:
        if steps == (None, None) and not _same_size(grid, t):
            continue  # of a grid with other pixels
        axes = (compare(ends_y, steps[0], t.top, t.dy), compare(ends_x, steps[1], t.left, t.dx))
        verdicts = [axis.verdict for axis in axes]
        if "stale" in verdicts:
            continue
        if "other" in verdicts and t.of_source:
            continue
        if "other" in verdicts:
            if warns:
                warn_user(_disagree(what, t, axes, dims))
            return place
        if "corner" not in verdicts:
            return place
        shift = tuple(
            step / 2 if verdict == "corner" else 0.0
            for step, verdict in zip((t.dy, t.dx), verdicts, strict=True)
        )
        return _moved(place, (shift[0], shift[1]), t, dims, what, warns)
    return place


def _same_size(grid: Grid, stated: Stated) -> bool:
    return all(
        abs(abs(own) - abs(theirs)) <= 1e-3 * abs(own)
        for own, theirs in ((grid.dy, stated.dy), (grid.dx, stated.dx))
    )


def _disagree(
    what: str, stated: Stated, axes: tuple[Axis, Axis], dims: tuple[Hashable, Hashable]
) -> str:
    off = " and ".join(
        f"{dim} {axis.offset:.2f} px from its corners"
        for dim, axis in zip(dims, axes, strict=True)
        if axis.verdict == "other"
    )
    return (
        f"{what}'s {stated.where} = {stated.text} and its coordinates disagree, {off}: the "
        "coordinates are taken, as centres; correct the attribute with rio.write_transform(), or "
        "drop it"
    )


def _moved(
    place: Place,
    shift: tuple[float, float],
    stated: Stated,
    dims: tuple[Hashable, Hashable],
    what: str,
    warns: bool,
) -> Place:
    moved = [str(dim) for dim, by in zip(dims, shift, strict=True) if by]
    said = f"{what}'s {' and '.join(moved)} were corners by {stated.where}, moved to centres"
    if warns:
        by = ", ".join(f"{dim} {s:+.6g}" for dim, s in zip(dims, shift, strict=True) if s)
        warn_user(
            f"{what}'s coordinates are corners of pixels by its {stated.where} = {stated.text}; "
            f"they are taken half a pixel on, at the centres ({by}), and so are the result's; if "
            "they are centres already, drop the attribute"
        )
    new = {}
    for dim, half in zip(dims, shift, strict=True):
        if half:
            old = place.source[dim]
            new[dim] = xr.Variable(dim, old.values.astype(np.float64) + half, old.attrs)
    grid = replace(place.grid, top=place.grid.top + shift[0], left=place.grid.left + shift[1])
    return replace(place, grid=grid, source=place.source.assign_coords(new), shift=shift, said=said)


def at_centres(cube: Labelled, dims: tuple[Hashable | None, Hashable | None]) -> Labelled:
    """Return a cube with coordinates of centres, for comparing; itself where it has such."""
    y, x = dims
    if y is None or x is None or y not in cube.coords or x not in cube.coords:
        return cube
    if not _says_transform(cube):
        return cube
    return place_of(cube, (y, x), what="cube", unsized=True, warns=False).source


def moved_along(mask: xr.DataArray, cube: Labelled, at_centres: Labelled) -> xr.DataArray:
    """Return a mask with the coordinates of centres, where it has those that the cube came with."""
    new = {
        dim: at_centres[dim].variable
        for dim in mask.dims
        if dim in mask.coords
        and dim in cube.coords
        and dim in at_centres.coords
        and mask[dim].shape == cube[dim].shape
        and bool((mask[dim].values == cube[dim].values).all())
    }
    return mask.assign_coords(new)


def _says_transform(cube: Labelled) -> bool:
    stores = [
        cube.attrs,
        *(cube[n].attrs for n in mapping_variables(cube, grid_mapping_name(cube))),
    ]
    if isinstance(cube, xr.Dataset):
        stores += [v.attrs for v in cube.data_vars.values() if v.ndim >= 2]
    return any(str(key).lower() in TRANSFORMS for attrs in stores for key in attrs)
