"""Which nested coarse grid serves two grids, and how large a coarse image's pixels truly are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, sqrt
from typing import Literal

import numpy as np

from xstf.cubes.grid import (
    CORNER_TOLERANCE,
    Grid,
    crs_name,
    other_frame,
    require_both_crs,
    same_crs,
    to_index,
    transform,
    turn_of,
    turns,
)

# A coarse grid this much finer than its true resolution was resampled by its provider.
OVERSAMPLED = 1.5
# Points along a side that look for the overlap of two grids in different CRSs.
PROBES = 33
# What a point may lie past an edge by rounding, in pixels.
_EDGE = 1e-6


@dataclass(frozen=True)
class Nesting:
    """A coarse grid nested in a fine one, and what it takes to get there.

    Parameters
    ----------
    ratio
        Fine pixels in a coarse one, along a side.
    coarse
        The nested coarse grid; it covers the fine grid wholly and starts on a fine pixel's corner.
    before, after
        Fine rows and columns of padding before the fine image's first and after its last, that make
        it as large as `coarse`.
    how
        What `_resample.resample` does to the source: ``"nested"`` copies its pixels (NaN where it
        has none), ``"block_mean"`` averages whole pixels, ``"resampled"`` weights by area.
    """

    ratio: int
    coarse: Grid
    before: tuple[int, int]
    after: tuple[int, int]
    how: Literal["nested", "block_mean", "resampled"]


def nesting_of(
    fine: Grid,
    coarse: Grid,
    *,
    coarse_resolution: float | None = None,
    what: tuple[str, str] = ("fine", "coarse"),
) -> Nesting:
    """Return the coarse grid nested in the fine one to which `coarse` is to be brought.

    A coarse grid of the same CRS nests as it is where its pixels are a whole ratio of fine ones
    and share their corners, to 0.05 fine pixels over the whole fine image. Else the ratio is the
    nearest whole number to its pixels' size in the fine CRS at the middle of the overlap (the side
    of the square of the same area), and the nested grid starts at the fine grid's corner.
    Longitudes are taken by the turn: 0..360 meets -180..180, but a fine grid across the seam of a
    coarse one gets one side of it.

    Parameters
    ----------
    coarse_resolution
        True pixel size, in units of the coarse CRS, of a coarse grid that its provider resampled to
        smaller pixels; ignored where the grid's own pixels are not 1.5 times finer than that.
    what
        The names of both for messages.
    """
    require_both_crs(fine, coarse, *what)
    if coarse_resolution is not None and not 0 < coarse_resolution < float("inf"):
        raise ValueError(f"coarse_resolution must be a positive length, not {coarse_resolution}")
    size = _pixel_size(fine, coarse, what)
    oversampled = (
        coarse_resolution is not None and coarse.resolution * OVERSAMPLED < coarse_resolution
    )
    if oversampled and coarse_resolution is not None:
        size *= coarse_resolution / coarse.resolution
    if size < 0.75:
        raise ValueError(
            f"{what[1]} pixels ({size * fine.resolution:g}) are smaller than {what[0]} pixels "
            f"({fine.resolution:g}, both in units of the {what[0]} CRS); are they swapped?"
        )
    ratio = max(1, round(size))
    if oversampled and ratio > max(fine.height, fine.width):
        raise ValueError(
            f"coarse_resolution {coarse_resolution:g} is larger than the whole {what[0]} image; it "
            f"is in units of the {what[1]} CRS, like its pixels of {coarse.resolution:g}"
        )
    if same_crs(fine.crs, coarse.crs):
        nested = _aligned(fine, coarse, ratio, oversampled)
        if nested is not None:
            return nested
    height, width = ceil(fine.height / ratio), ceil(fine.width / ratio)
    target = replace(fine, dy=fine.dy * ratio, dx=fine.dx * ratio, height=height, width=width)
    after = (height * ratio - fine.height, width * ratio - fine.width)
    return Nesting(ratio, target, (0, 0), after, "resampled")


def same_resolution(
    fine: Grid, coarse: Grid, *, what: tuple[str, str] = ("fine", "coarse")
) -> bool:
    """Return whether the coarse pixels are about as small as the fine ones, so hardly their own."""
    require_both_crs(fine, coarse, *what)
    return _pixel_size(fine, coarse, what) < OVERSAMPLED


def size_ratio(fine: Grid, coarse: Grid, *, what: tuple[str, str] = ("fine", "coarse")) -> float:
    """Return the side of a coarse pixel in fine pixels; below 1 where it is the smaller one."""
    require_both_crs(fine, coarse, *what)
    return _pixel_size(fine, coarse, what)


def _aligned(fine: Grid, coarse: Grid, ratio: int, oversampled: bool) -> Nesting | None:
    """Return the nesting of a coarse grid whose corners fall on fine ones, None if they do not.

    Its coarse grid is made of the source's own numbers, so that `resample` finds them whole.
    """
    turned = turns(coarse, fine)[1]
    y = _align(
        (fine.top, fine.dy, fine.height), (coarse.top, coarse.dy, coarse.height), ratio, oversampled
    )
    x = _align(
        (fine.left + turned, fine.dx, fine.width),
        (coarse.left, coarse.dx, coarse.width),
        ratio,
        oversampled,
    )
    if y is None or x is None:
        return None
    target = Grid(y[0], x[0] - turned, y[1], x[1], y[3], x[3], fine.crs, fine.degrees)
    after = (y[3] * ratio - y[2] - fine.height, x[3] * ratio - x[2] - fine.width)
    how: Literal["nested", "block_mean"] = "block_mean" if oversampled else "nested"
    return Nesting(ratio, target, (y[2], x[2]), after, how)


def _align(
    fine: tuple[float, float, int], coarse: tuple[float, float, int], ratio: int, oversampled: bool
) -> tuple[float, float, int, int] | None:
    """Return edge, step, fine pixels before, and size of the nested axis, None if not nested.

    Each axis is its first edge, its signed step and its size.
    """
    edge, step, size = fine
    part = abs(coarse[1] / step)  # of a coarse pixel, in fine ones
    parts = max(1, round(ratio / part)) if oversampled else 1
    ends = ((coarse[0] - edge) / step, (coarse[0] + coarse[1] * coarse[2] - edge) / step)
    low = min(ends)
    # The last coarse corner at or before the fine corner; oversampled ones start there.
    corner = round(-low / part) if oversampled else floor((CORNER_TOLERANCE - low) / part)
    at = low + corner * part
    before = 0 if oversampled else -round(at)
    count = ceil((size + before) / ratio)
    drift = at + count * parts * part - (count * ratio - before)
    if max(abs(at + before), abs(drift)) >= CORNER_TOLERANCE:
        return None
    first = coarse[0] if ends[0] == low else coarse[0] + coarse[1] * coarse[2]
    signed = abs(coarse[1]) if step > 0 else -abs(coarse[1])
    return first + corner * signed, signed * parts, before, count


def _pixel_size(fine: Grid, coarse: Grid, what: tuple[str, str]) -> float:
    """Return the side of a coarse pixel in fine pixels, at the middle of the overlap."""
    if same_crs(fine.crs, coarse.crs):
        rows, cols = to_index(coarse, fine, *_corners(fine))
        inside = all(
            v.min() < size and v.max() > 0
            for v, size in ((rows, coarse.height), (cols, coarse.width))
        )
        if not inside:
            raise ValueError(no_overlap(fine, coarse, what))
        return sqrt(abs(coarse.dy * coarse.dx / (fine.dy * fine.dx)))
    row, col = _overlap(fine, coarse, what)
    # The area of the parallelogram that one fine pixel is in the coarse index space.
    around = np.array([[-0.5, 0.5, 0, 0], [0, 0, -0.5, 0.5]])
    rows, cols = to_index(
        coarse,
        fine,
        fine.top + (row + around[0]) * fine.dy,
        fine.left + (col + around[1]) * fine.dx,
    )
    down, right = (rows[1] - rows[0], cols[1] - cols[0]), (rows[3] - rows[2], cols[3] - cols[2])
    area = abs(down[0] * right[1] - down[1] * right[0])
    if not area > 0:
        raise ValueError(no_overlap(fine, coarse, what))
    return float(1 / sqrt(area))


def _corners(grid: Grid, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x of evenly spaced points over a grid, its corners included."""
    rows, cols = np.linspace(0, grid.height, count), np.linspace(0, grid.width, count)
    y, x = np.meshgrid(grid.top + rows * grid.dy, grid.left + cols * grid.dx, indexing="ij")
    return y, x


def _overlap(fine: Grid, coarse: Grid, what: tuple[str, str]) -> tuple[float, float]:
    """Return the middle of the overlap of grids in two CRSs, as a fine row and column."""
    y, x = _corners(fine, PROBES)
    inside = _inside(coarse, *to_index(coarse, fine, y, x))
    rows, cols = (y - fine.top) / fine.dy, (x - fine.left) / fine.dx
    if not inside.any():  # the coarse grid may lie between the probes
        rows, cols = to_index(fine, coarse, *_corners(coarse, PROBES))
        inside = _inside(fine, rows, cols)
    if not inside.any():
        raise ValueError(no_overlap(fine, coarse, what))
    rows, cols = rows[inside], cols[inside]
    nearest = np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2)
    return float(rows[nearest]), float(cols[nearest])


def _inside(grid: Grid, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return (rows > 0) & (rows < grid.height) & (cols > 0) & (cols < grid.width)


def no_overlap(fine: Grid, coarse: Grid, what: tuple[str, str]) -> str:
    """Return the message for grids that do not meet: both extents in the fine CRS."""
    y, x = _corners(coarse, PROBES)
    if not same_crs(fine.crs, coarse.crs):
        y, x = transform(coarse.crs, fine.crs, y, x)
    y, x = y[np.isfinite(y)], x[np.isfinite(x)]
    theirs = (x.min(), x.max(), y.min(), y.max()) if x.size else None
    frame = "coordinates as they are" if fine.crs is None else crs_name(fine.crs)
    message = (
        f"{what[1]} does not overlap {what[0]}: in {frame}, {what[0]} spans {_span(fine.extent)}; "
        f"{what[1]} spans {_span(theirs)}"
    )
    if fine.crs is None and theirs is not None:
        ours = fine.extent
        if any(theirs[0] + s < ours[1] and theirs[1] + s > ours[0] for s in (-360, 360)):
            message += (
                "; longitudes 0..360 against -180..180? set the CRS of both (EPSG:4326), or bring "
                "one to the other's: assign_coords(lon=lon % 360) and sortby"
            )
    return message


def require_one_side(fine: Grid, coarse: Grid, what: tuple[str, str]) -> None:
    """Raise where a grid lies across the seam of the other's longitudes, which has both sides.

    Only one side would be seen.
    """
    turn = turn_of(coarse)
    if not turn:
        return
    rows, cols = to_index(coarse, fine, *_corners(fine, PROBES))
    around = turn / abs(coarse.dx)
    near = np.where((cols > _EDGE) & (cols < coarse.width - _EDGE), cols, np.nan)
    beyond = [cols + by for by in (-around, around)]
    far = [np.where((c > _EDGE) & (c < coarse.width - _EDGE), c, np.nan) for c in beyond]
    if not _inside(coarse, rows, near).any() or not any(
        _inside(coarse, rows, f).any() for f in far
    ):
        return
    low, high = coarse.extent[:2]
    it = f"{what[1]}." if what[1].isidentifier() else ""
    raise ValueError(
        f"{what[0]} lies across the seam of {what[1]}'s longitudes ({low:.6g}..{high:.6g}), of "
        f"which one side would be seen; move its seam: "
        f"{it}assign_coords(lon={other_frame(it + 'lon', low)}).sortby('lon')"
    )


def _span(extent: Sequence[float] | None) -> str:
    if extent is None:
        return "nothing (its CRS has no place there)"
    return f"x {extent[0]:.10g}..{extent[1]:.10g}, y {extent[2]:.10g}..{extent[3]:.10g}"


# --- the true resolution of an image that was resampled ----------------------------------------

# Lines of an image that are looked at along either axis, at most; their least length.
LINES, SMALLEST = 512, 64
# Second differences of an image that was not resampled have no comb (mean log height below 0.38
# over 240 real and synthetic spectra); nearest and bilinear ones have (above 0.85 on real ones). A
# cubic one may have none, but its spectrum falls faster than the 12th power of frequency somewhere;
# that of an image that was not resampled never falls faster than the 6.2th.
COMB, SURE_COMB = 0.6, 1.0
CLIFF = -8.0
# Where the spectrum falls fastest, in periods per true pixel: 1.37 true pixels a period.
CLIFF_AT = 1.37


def estimate_resolution(image: np.ndarray, pixel: float) -> float:
    """Return the true pixel size of a coarse image that was resampled to smaller pixels.

    Interpolation leaves a kink at each border (nearest) or centre (bilinear, cubic) of the pixels
    that it came from: the second differences have a period, which shows as a comb in their spectrum
    line by line, even where the old pixels are sheared. Where there is no comb (smooth splines),
    the image's own spectrum falls off a cliff at about the old Nyquist frequency.

    Parameters
    ----------
    image : ndarray (..., y, x)
        One image or a stack that shares its grid; gaps (NaN) are bridged along lines.
    pixel
        Its pixel size, in the units wanted.

    Returns
    -------
    float
        `pixel` itself if the image was not resampled, or is too small (< 64 px) to tell.
    """
    found = [_true_pixel(_lines(image, axis)) for axis in (-2, -1)]
    known = [period for period in found if period is not None]
    return pixel * float(np.exp(np.mean(np.log(known)))) if known else pixel


def _lines(image: np.ndarray, axis: int) -> np.ndarray:
    """Return lines along an axis, ``(line, n)``, gaps bridged, without the half-empty ones."""
    lines: np.ndarray = np.moveaxis(image, axis, -1)
    lines = lines[..., :: max(1, ceil(lines.shape[-2] / LINES)), :]
    lines = lines.reshape(-1, lines.shape[-1]).astype(np.float64)
    valid = np.isfinite(lines)
    lines, valid = lines[valid.mean(-1) > 0.5], valid[valid.mean(-1) > 0.5]
    at = np.arange(lines.shape[-1])
    for i in np.flatnonzero(~valid.all(-1)):
        lines[i] = np.interp(at, at[valid[i]], lines[i, valid[i]])
    return lines


def _true_pixel(lines: np.ndarray) -> float | None:
    """Return the period of the lines' old pixels, None if they seem to be their own."""
    if lines.shape[-1] < SMALLEST or not lines.shape[0]:
        return None
    cliff, slope = _cliff(lines)
    comb, height = _comb(np.abs(np.diff(lines, 2)))
    # A low comb of a smooth image may be one of its fractions; the cliff then knows better.
    if height > SURE_COMB or (height > COMB and (slope > CLIFF or 1 / 1.6 < comb / cliff < 1.6)):
        return comb
    return cliff if slope < CLIFF else None


def _power(lines: np.ndarray, size: int) -> np.ndarray:
    """Return the mean power spectrum of lines, each of weight one."""
    lines = lines - lines.mean(-1, keepdims=True)
    spread = lines.std(-1, keepdims=True)
    lines = lines / np.where(spread > 0, spread, 1.0) * np.hanning(lines.shape[-1])
    power = (np.abs(np.fft.rfft(lines, size)) ** 2).mean(0)
    return np.asarray(np.log(np.maximum(power, 1e-12 * power.max() + 1e-300)))


def _cliff(lines: np.ndarray) -> tuple[float, float]:
    """Return the old pixel size by where the spectrum falls fastest, and its slope there."""
    size, width = lines.shape[-1], 1.5
    power = _power(lines, size)
    centre = np.geomspace(4, size / 2 / width, 100)
    total = np.concatenate([[0], np.cumsum(power)])
    low, mid, high = (np.rint(centre * w).astype(int) for w in (1 / width, 1, width))
    below, above = (
        (total[mid] - total[low]) / (mid - low),
        (total[high] - total[mid]) / (high - mid),
    )
    slope = (above - below) / np.log(width)
    steepest = int(slope.argmin())
    return float(size / centre[steepest] / CLIFF_AT), float(slope[steepest])


def _comb(kinks: np.ndarray) -> tuple[float, float]:
    """Return the longest strong period in lines, and the height of its comb, mean log of three."""
    size = 4 * kinks.shape[-1]
    power = _power(kinks, size)
    reach = size // kinks.shape[-1] * 6
    around = np.lib.stride_tricks.sliding_window_view(np.pad(power, reach, "edge"), 2 * reach + 1)
    peaks = np.minimum(power - np.median(around, axis=-1), 3.0)
    # A tooth of a comb may lie between two frequencies.
    near = np.max([np.roll(peaks, shift) for shift in (-1, 0, 1)], axis=0)
    base = np.arange(reach, size // 2)
    teeth = np.array([peaks[base], *(near[np.minimum(base * k, size // 2)] for k in (2, 3))])
    seen = np.array([base * k <= size // 2 for k in (1, 2, 3)])
    height = (teeth * seen).sum(0) / seen.sum(0)
    height[teeth[0] < np.log(1.35)] = 0
    strong = np.flatnonzero(height >= 0.6 * height.max())
    # The first is the longest period: the others are its fractions. Its top, not its foot.
    first = strong[strong <= 1.2 * base[strong[0]] - base[0]]
    best = first[height[first].argmax()]
    return float(size / base[best]), float(height[best])
