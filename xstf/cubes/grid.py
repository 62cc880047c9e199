"""Regular grids and their CRSs: read from coordinates, compared, and one seen from another.

Plain numbers only: nothing here reads a cube. `_nest` fits two grids to each other, `_resample`
brings values from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import pi
from typing import Any

import numpy as np
import pyproj

# How far a pixel corner may lie from where a whole ratio puts it, in fine pixels, over the whole
# fine image. A tenth of the registration error of the best image pairs.
CORNER_TOLERANCE = 0.05
# How much a spacing may differ from the others, as a part of it, beyond the coordinates' rounding.
SPACING_TOLERANCE = 1e-3
# A whole turn in degrees, and what dims of longitudes are called.
TURN = 360.0
LONGITUDES = ("lon", "longitude", "long")


@dataclass(frozen=True)
class Grid:
    """A regular grid: outer edges of its first row and column, signed steps, size and CRS.

    Where there is no CRS, `degrees` says that x is a longitude all the same, by its name, and
    `lost` names the variable that would have the CRS.
    """

    top: float
    left: float
    dy: float
    dx: float
    height: int
    width: int
    crs: pyproj.CRS | None
    degrees: bool = False
    lost: str = field(default="", compare=False)

    @property
    def y(self) -> np.ndarray:
        """Centres of the rows."""
        return self.top + (np.arange(self.height) + 0.5) * self.dy

    @property
    def x(self) -> np.ndarray:
        """Centres of the columns."""
        return self.left + (np.arange(self.width) + 0.5) * self.dx

    @property
    def resolution(self) -> float:
        """Side of a pixel, the mean of both, in units of the CRS."""
        return (abs(self.dy) + abs(self.dx)) / 2

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least x, greatest x, least y, greatest y of the outer edges."""
        xs = sorted((self.left, self.left + self.width * self.dx))
        ys = sorted((self.top, self.top + self.height * self.dy))
        return xs[0], xs[1], ys[0], ys[1]


def grid_of(
    y: np.ndarray,
    x: np.ndarray,
    crs: Any,
    *,
    what: str,
    dims: tuple[str, str] = ("y", "x"),
    resolution: float | tuple[float | None, float | None] | None = None,
) -> Grid:
    """Return the grid whose pixels have these centres.

    Parameters
    ----------
    y, x : ndarray (height,), (width,)
        Centres, ascending or descending, evenly spaced to 1e-3 of a step and the rounding of
        float32, whether they are stored as such or were once.
    crs
        Anything pyproj understands, or None: coordinates as they are.
    what, dims
        Names for messages.
    resolution
        The step of an axis of one pixel, or of y and x each; by default that of the other axis.
    """
    steps = [step_of(np.asarray(v), what, dim) for v, dim in zip((y, x), dims, strict=True)]
    given = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    known = [abs(step) for step in (*steps, *given) if step is not None]
    if not known:
        raise ValueError(
            f"{what} has one pixel in {dims[0]} and {dims[1]}, which leaves its size unknown; "
            "give the resolution: assign_attrs(resolution=…) in units of its coordinates, or for "
            "fuse's coarse cube coarse_resolution="
        )
    # Images come north up: a single row's unknown step is taken as descending.
    dy, dx = (
        step if step is not None else sign * abs(size if size is not None else known[0])
        for step, size, sign in zip(steps, given, (-1, 1), strict=True)
    )
    # From the middle of all centres: the rounding of the first one would move the whole grid.
    top, left = (
        float(v[0] + (v - v[0]).mean() - step * len(v) / 2)
        for v, step in ((np.asarray(y, np.float64), dy), (np.asarray(x, np.float64), dx))
    )
    return Grid(top, left, dy, dx, len(y), len(x), _crs(crs), _is_longitude(crs, dims[1], x))


def _is_longitude(crs: Any, dim: str, x: Any) -> bool:
    """Return whether x is a longitude by its name and range, where no CRS tells."""
    near = bool(np.abs(np.asarray(x, np.float64)).max() <= TURN)
    return crs is None and near and dim.lower() in LONGITUDES


def _crs(crs: Any) -> pyproj.CRS | None:
    return None if crs is None else pyproj.CRS.from_user_input(crs)


def step_of(centres: np.ndarray, what: str, dim: str) -> float | None:
    """Return the signed spacing of an axis, None if it has one pixel; refuse uneven ones."""
    if centres.ndim != 1 or centres.size == 0:
        raise ValueError(f"{what}: {dim} needs one coordinate a pixel, it has {centres.shape}")
    values = centres.astype(np.float64)
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"{what}: {dim}[{at}] is {values[at]}, not a coordinate")
    if values.size == 1:
        return None
    spacing = np.diff(values)
    if (spacing == 0).any():
        at = int(np.argmax(spacing == 0))
        raise ValueError(f"{what}: {dim}[{at}] and {dim}[{at + 1}] are both {values[at]}")
    usual = float(np.median(spacing))
    rounded = np.array_equal(values, values.astype(np.float32))
    rounding = 4 * float(np.spacing(np.abs(values).max().astype(np.float32 if rounded else float)))
    # The line through all centres, not only through neighbours: a spacing that changes slowly
    # (Gaussian latitudes, Mercator) passes from pixel to pixel.
    position = np.arange(values.size) - (values.size - 1) / 2
    step = float(position @ (values - values[0]) / (position @ position))
    off_line = values - values.mean() - position * step
    uneven = np.abs(spacing - usual) > SPACING_TOLERANCE * abs(usual) + rounding
    bent = np.abs(off_line) > CORNER_TOLERANCE * abs(step) + rounding
    if uneven.any():
        at = int(np.argmax(uneven))
        raise ValueError(
            f"{what}: {dim} is not evenly spaced: {spacing[at]:g} between {dim}[{at}] and "
            f"{dim}[{at + 1}], elsewhere {usual:g}; {_cure(values, usual, uneven, dim)}"
        )
    if bent.any():
        at = int(np.argmax(np.abs(off_line)))
        raise ValueError(
            f"{what}: {dim} is not evenly spaced: {dim}[{at}] is {off_line[at] / step:.2f} px from "
            f"where an even step of {step:g} puts it; bring it to a regular grid first"
        )
    return step


def _cure(values: np.ndarray, usual: float, uneven: np.ndarray, dim: str) -> str:
    """Return what to do about an uneven axis: a jump by a turn is the seam of longitudes."""
    jump = np.diff(values)[uneven]
    if len(jump) != 1 or abs(usual) >= TURN / 4:
        return "bring it to a regular grid first"
    how = f"assign_coords({dim}={other_frame(dim, float(values.min()))})"
    if abs(abs(jump[0] - usual) - TURN) <= abs(usual) / 2:
        return f"it crosses the seam of longitudes, where it jumps by a turn: {how}"
    whole = abs(values[-1] - values[0])
    if dim.lower() in LONGITUDES and TURN - 2 * abs(usual) < whole < TURN < 2 * abs(jump[0]):
        return f"it crosses the seam of longitudes, and was sorted: {how} and sortby({dim!r})"
    return "bring it to a regular grid first"


def other_frame(name: str, least: float) -> str:
    """Return the expression that moves the seam of longitudes to the other side of the Earth.

    Parameters
    ----------
    name : str
        What the longitudes are called.
    least : float
        The least of them, in degrees: from about 0 on they run to 360, else to 180.
    """
    return f"({name} + 180) % 360 - 180" if least > -TURN / 4 else f"{name} % 360"


def same_crs(a: pyproj.CRS | None, b: pyproj.CRS | None) -> bool:
    """Return whether two CRSs are the same, whatever the order of their axes; None is None."""
    if a is None or b is None:
        return a is b
    return a is b or bool(a.equals(b, ignore_axis_order=True))


def crs_name(crs: pyproj.CRS) -> str:
    """Return a CRS in one short line, for messages."""
    text = crs.to_string()
    return text if len(text) <= 70 else crs.name


def require_both_crs(a: Grid, b: Grid, what_a: str, what_b: str) -> None:
    """Raise ValueError where one of two grids has a CRS and the other has none."""
    for grid, what in ((a, what_a), (b, what_b)):
        if grid.lost:
            raise ValueError(f"{what}'s {lost_text(grid.lost)}")
    if (a.crs is None) == (b.crs is None):
        return
    (none, other), crs = ((what_a, what_b), b.crs) if a.crs is None else ((what_b, what_a), a.crs)
    raise ValueError(
        f"{none} has no CRS, {other} has {crs_name(crs) if crs else crs}; set it with "
        "cube.rio.write_crs(...) or a spatial_ref coordinate, or drop it from the other"
    )


def lost_text(name: object) -> str:
    """Return the end of a message on a CRS whose variable is not there."""
    return (
        f"attrs name the grid mapping variable {name!r}, which it does not have: open the file "
        "with xr.open_dataset(…, decode_coords='all'), set the CRS with "
        "cube.rio.write_crs('EPSG:…'), or drop the attribute 'grid_mapping'"
    )


def to_index(
    source: Grid, target: Grid, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where points given in the target's CRS lie in the source.

    Parameters
    ----------
    y, x : ndarray, one shape
        In units of the target's CRS.

    Returns
    -------
    rows, cols : ndarray
        In source pixels from the source's outer corner (a centre is at a half), NaN where the
        change of CRS is undefined. Longitudes are unwrapped around the target's centre, so that
        they never jump inside a target.
    """
    around, turned = turns(source, target)
    if not same_crs(source.crs, target.crs):
        y, x = transform(target.crs, source.crs, y, x, within=target.resolution / 2)
        if around is not None:
            period = period_of(source.crs)
            x = x + period * np.round((around - x) / period)
    return (y - source.top) / source.dy, (x + turned - source.left) / source.dx


def transform(
    a: pyproj.CRS | None,
    b: pyproj.CRS | None,
    y: np.ndarray,
    x: np.ndarray,
    *,
    within: float = float("inf"),
) -> tuple[np.ndarray, np.ndarray]:
    """Bring points from one CRS to another, NaN where that is undefined.

    A point that does not come back `within` this far of where it was is undefined too: PROJ gives
    places on Earth to points beside a world map.
    """
    # Made anew each time: a transformer belongs to the thread that made it.
    transformer = pyproj.Transformer.from_crs(a, b, always_xy=True)
    y, x = np.broadcast_arrays(y, x)
    xs, ys = transformer.transform(x, y)
    defined = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = np.where(defined, xs, np.nan), np.where(defined, ys, np.nan)
    if within < float("inf"):
        back_x, back_y = transformer.transform(xs, ys, direction="INVERSE")
        off = np.where(np.isfinite(back_x), back_x, np.nan) - x
        if period := period_of(a):
            off = off - period * np.round(off / period)
        defined &= (np.abs(off) <= within) & (np.abs(back_y - y) <= within)
    return np.where(defined, ys, np.nan), np.where(defined, xs, np.nan)


def turn_of(grid: Grid) -> float:
    """Return a whole turn in units of a grid's x, 0 where x is no angle."""
    return TURN if grid.crs is None and grid.degrees else period_of(grid.crs)


def period_of(crs: pyproj.CRS | None) -> float:
    """Return a whole turn in units of a CRS, 0 where x is no angle."""
    if crs is None or not crs.is_geographic:
        return 0.0
    return 2 * pi / float(crs.axis_info[0].unit_conversion_factor)


@lru_cache(maxsize=256)
def turns(source: Grid, target: Grid) -> tuple[float | None, float]:
    """Return the target's central longitude in the source's CRS, and the turns to the source's.

    So 0..360 meets -180..180. A target across the source's own seam gets one side of it.
    """
    period = turn_of(source)
    if not period or (source.crs is None and not target.degrees):
        return None, 0.0
    x0, x1, y0, y1 = target.extent
    x, y = np.array([(x0 + x1) / 2]), np.array([(y0 + y1) / 2])
    if not same_crs(source.crs, target.crs):
        y, x = transform(target.crs, source.crs, y, x)
    if not np.isfinite(x[0]):
        return None, 0.0
    middle = source.left + source.width * source.dx / 2
    return float(x[0]), period * round((middle - float(x[0])) / period)


def require_same_grid(a: Grid, b: Grid, *, what_a: str, what_b: str) -> None:
    """Raise ValueError, with what differs and by how much, unless two grids are one."""
    require_both_crs(a, b, what_a, what_b)
    if a.crs is not None and b.crs is not None and not same_crs(a.crs, b.crs):
        raise ValueError(
            f"{what_b} must share the grid of {what_a}: its CRS is {crs_name(b.crs)}, "
            f"not {crs_name(a.crs)}; reproject it first"
        )
    found = []
    for dim, (e, s, n), (f, t, m) in (
        ("y", (a.top, a.dy, a.height), (b.top, b.dy, b.height)),
        ("x", (a.left, a.dx, a.width), (b.left, b.dx, b.width)),
    ):
        if abs(abs(s) - abs(t)) * max(n, m) > CORNER_TOLERANCE * abs(s):
            found.append(f"pixels of {abs(t):g} against {abs(s):g} in {dim}")
        elif s * t < 0:
            found.append(f"{dim} in the other order (flip it: isel({dim}=slice(None, None, -1)))")
        elif dim == "x" and _turns_apart(a, f - e):
            found.append(
                f"{_frame(a)} against {_frame(b)}: bring both to one frame of longitudes, "
                "assign_coords(lon=(lon + 180) % 360 - 180) and sortby('lon')"
            )
        elif abs((f - e) / s) > CORNER_TOLERANCE:
            found.append(f"offset {abs((f - e) / s):.2f} px in {dim}")
        elif n != m:
            found.append(f"{m} against {n} px in {dim}")
    if found:
        raise ValueError(f"{what_b} must share the grid of {what_a}: {'; '.join(found)}")


def _turns_apart(grid: Grid, offset: float) -> bool:
    """Return whether an offset is a whole turn of longitudes, or several."""
    turn = turn_of(grid)
    count = round(offset / turn) if turn else 0
    return count != 0 and abs(offset - count * turn) <= CORNER_TOLERANCE * abs(grid.dx)


def _frame(grid: Grid) -> str:
    x0, x1, _, _ = grid.extent
    return f"longitudes {x0:.6g}..{x1:.6g}"
