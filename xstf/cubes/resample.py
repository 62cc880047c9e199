"""Values on another grid: by exact overlaps within a CRS, by sub-points from one to another.

Both weight source pixels by the area that they cover. Against bilinear interpolation between source
centres, and against the block mean of a known 30 m landscape seen through 463 m sinusoidal pixels
(three sites, ratio 15), area weights have 11 to 14 % less RMSE (0.26, 0.09, 0.42 of the landscape's
standard deviation for power spectra of slope 2 and 3 and for fields; bilinear 0.29, 0.11, 0.49).

A value depends on the two grids and its place in the target, never on how the target is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt
from typing import TypeAlias

import numpy as np

from xstf.cubes.grid import Grid, same_crs, to_index

Window: TypeAlias = tuple[slice, slice]

# Edges this close to a source corner, in source pixels, are on it: whole pixels stay whole.
WHOLE = 1e-4
# Sub-points along a side of a target pixel; 8 gain under 1 % over 6, 4 lose 2 %.
SUB_POINTS = 6
# The interpolated change of CRS may be off by this much, in source pixels.
LATTICE_TOLERANCE = 0.05
# Target pixels between exactly transformed points: at first, halved until the tolerance is met, and
# at last. Where it is not met then (poles, breaks), every sub-point is transformed.
LATTICE_STEP, LATTICE_LEAST = 64, 4
LATTICE_LIMIT = 4_000_000  # exactly transformed points, at most
# Sub-points that are looked at together: memory, not values, depends on it.
STRIP = 2_000_000


def source_window(source: Grid, target: Grid, rows: slice, cols: slice) -> Window:
    """Return the rows and columns of the source that a part of the target needs.

    They lie in the source, and are empty where the part lies outside it.
    """
    if same_crs(source.crs, target.crs):
        edges = _edges(source, target, rows, cols)
        spans = [(np.floor(e.min() + WHOLE), np.ceil(e.max() - WHOLE)) for e in edges]
    else:
        found = _around(source, target, rows, cols)
        spans = [(np.floor(v.min()) - 1, np.ceil(v.max()) + 1) if v.size else (0, 0) for v in found]
    parts = [
        slice(max(0, int(low)), min(size, int(high)))
        for (low, high), size in zip(spans, (source.height, source.width), strict=True)
    ]
    if any(part.start >= part.stop for part in parts):
        return slice(0, 0), slice(0, 0)
    return parts[0], parts[1]


def resample(
    block: np.ndarray,
    window: Window,
    source: Grid,
    target: Grid,
    rows: slice,
    cols: slice,
    *,
    min_valid: float = 0.5,
) -> np.ndarray:
    """Return a part of the target grid, each pixel the area-weighted mean of the source.

    Parameters
    ----------
    block : ndarray (..., window)
        The source within `window` (see `source_window`), NaN where missing.
    rows, cols
        The part of the target, with start and stop.
    min_valid
        The least part of a target pixel's area that valid source pixels must cover, else it is NaN.
        Where whole source pixels make up the target's, the part that lies outside the source does
        not count: an image need not be a whole number of coarse pixels.

    Returns
    -------
    ndarray (..., rows, cols), float32
    """
    lead = block.shape[:-2]
    size = (rows.stop - rows.start, cols.stop - cols.start)
    missing = ~np.isfinite(block)
    # 0 times NaN is NaN: what has no weight must be a number.
    filled = np.where(missing, np.float32(0), block)
    if not block.shape[-2] * block.shape[-1]:
        return np.full((*lead, *size), np.nan, np.float32)
    if same_crs(source.crs, target.crs):
        edges = _edges(source, target, rows, cols)
        return _by_overlap(filled, missing, window, source, edges, min_valid)
    out = np.empty((*lead, *size), np.float32)
    strip = max(1, STRIP // (_lattice(source, target).side ** 2 * size[1]))
    for first in range(rows.start, rows.stop, strip):
        part = slice(first, min(first + strip, rows.stop))
        out[..., part.start - rows.start : part.stop - rows.start, :] = _by_points(
            filled, missing, window, source, target, part, cols, min_valid
        )
    return out


def _mean(total: np.ndarray, covered: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """Return weighted sums over their weights, NaN where these are too small."""
    enough = (covered > 0) & (covered >= least - 1e-9)
    return np.where(enough, total / np.where(enough, covered, 1.0), np.nan).astype(np.float32)


# --- one CRS: overlaps of rows times overlaps of columns --------------------------------------


def _edges(source: Grid, target: Grid, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of target rows and columns, in source pixels."""
    y = target.top + np.arange(rows.start, rows.stop + 1) * target.dy
    x = target.left + np.arange(cols.start, cols.stop + 1) * target.dx
    at_y = to_index(source, target, y, np.full(y.shape, target.left))[0]
    at_x = to_index(source, target, np.full(x.shape, target.top), x)[1]
    return _whole(at_y), _whole(at_x)


def _whole(edges: np.ndarray) -> np.ndarray:
    return np.where(np.abs(edges - np.rint(edges)) < WHOLE, np.rint(edges), edges)


def _by_overlap(
    filled: np.ndarray,
    missing: np.ndarray,
    window: Window,
    source: Grid,
    edges: tuple[np.ndarray, np.ndarray],
    min_valid: float,
) -> np.ndarray:
    axes = [
        (-2, *_overlaps(edges[0], source.height), window[0].start),
        (-1, *_overlaps(edges[1], source.width), window[1].start),
    ]
    total, covered = filled, ~missing
    for axis, first, weight, start in axes:
        total = _weighted(total, axis, first - start, weight)
        covered = _weighted(covered, axis, first - start, weight)
    least: np.ndarray | float = min_valid
    if all(np.array_equal(e, np.rint(e)) for e in edges):
        least = min_valid * axes[0][2].sum(1)[:, None] * axes[1][2].sum(1)
    return _mean(total, covered, least)


def _overlaps(edges: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first source pixel of each target pixel, and the parts that its pixels cover.

    Parameters
    ----------
    edges : ndarray (n + 1,)
        Of the target pixels, in source pixels, in either direction.
    size : int
        Of the source.

    Returns
    -------
    first : ndarray (n,), weights : ndarray (n, most)
    """
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    start, stop = np.clip(low, 0, size), np.clip(high, 0, size)
    first = np.floor(start).astype(np.int64)
    pixel = first[:, None] + np.arange(max(1, int((np.ceil(stop) - first).max())))
    shared = np.minimum(pixel + 1, stop[:, None]) - np.maximum(pixel, start[:, None])
    return first, np.maximum(shared, 0) / (high - low)[:, None]


def _weighted(values: np.ndarray, axis: int, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted sums of runs along an axis, each from its first index on."""
    shape = (-1, 1) if axis == -2 else (-1,)
    last = values.shape[axis] - 1
    total: np.ndarray | float = 0.0
    for i in range(weights.shape[1]):
        taken = np.take(values, np.clip(first + i, 0, last), axis=axis)
        total = total + weights[:, i].reshape(shape) * taken
    return np.asarray(total)


# --- two CRSs: sub-points, through a lattice of exactly transformed points ---------------------


@dataclass(frozen=True)
class Lattice:
    """Target positions in source pixels: exact on a lattice, bilinear between.

    Parameters
    ----------
    step
        Target pixels between lattice lines; they count from the target's corner, so every part of
        the target sees the same ones.
    rows, cols : ndarray (lines, lines)
        Source positions of the lattice points, NaN where undefined.
    sound : ndarray (cells, cells), bool
        Where interpolation is within its tolerance; it is not across a break of the CRS.
    side
        Sub-points along the side of a target pixel; there are more where source pixels are small.
    """

    step: float
    rows: np.ndarray
    cols: np.ndarray
    sound: np.ndarray
    side: int


@lru_cache(maxsize=8)
def _lattice(source: Grid, target: Grid) -> Lattice:
    """Return the widest lattice, of steps halved from `LATTICE_STEP`, that meets the tolerance.

    It is checked at the middles of its cells and their sides. Those points are exact as well, so
    the lattice with them is returned, whose error is about a quarter of what was found.
    """
    step = LATTICE_STEP
    while True:
        lines = [2 * ceil(size / step) + 1 for size in (target.height, target.width)]
        y, x = np.meshgrid(
            target.top + np.arange(lines[0]) * (step / 2 * target.dy),
            target.left + np.arange(lines[1]) * (step / 2 * target.dx),
            indexing="ij",
        )
        rows, cols = to_index(source, target, y, x)
        sound = _error(rows, cols) <= LATTICE_TOLERANCE
        if sound.all() or step == LATTICE_LEAST or 4 * lines[0] * lines[1] > LATTICE_LIMIT:
            break
        step //= 2
    sound = sound.repeat(2, 0).repeat(2, 1)
    return Lattice(step / 2, rows, cols, sound, _sub_points(rows, cols, step / 2))


def _error(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return, by cell of every other line, how far interpolation from its corners is off."""
    error = np.zeros(rows.shape)
    for exact in (rows, cols):
        between = exact.copy()
        between[1::2] = (between[:-1:2] + between[2::2]) / 2
        between[:, 1::2] = (between[:, :-1:2] + between[:, 2::2]) / 2
        off = np.nan_to_num(np.abs(exact - between))
        error = np.maximum(error, off)
    unknown = np.isnan(rows)
    height, width = rows.shape[0] - 1, rows.shape[1] - 1
    error, unknown = (
        np.stack([v[i : height + i : 2, j : width + j : 2] for i in range(3) for j in range(3)])
        for v in (error, unknown)
    )
    # A cell that the CRS knows in part has positions that no interpolation finds.
    return np.where(unknown.any(0) & ~unknown.all(0), np.inf, error.max(0))


def _sub_points(rows: np.ndarray, cols: np.ndarray, step: float) -> int:
    """Return how many sub-points see every source pixel that a target pixel covers."""
    down, right = [(np.diff(v, axis=0)[:, 1:], np.diff(v, axis=1)[1:]) for v in (rows, cols)]
    area = np.abs(down[0] * right[1] - down[1] * right[0])
    defined = area[np.isfinite(area)]
    across = sqrt(float(np.median(defined))) / step if defined.size else 1.0
    return max(SUB_POINTS, ceil(1.5 * across))


def _interpolate(lattice: Lattice, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return source positions (rows, cols) at target rows u by target columns v."""
    cells = lattice.sound.shape
    i = np.clip((u / lattice.step).astype(np.int64), 0, cells[0] - 1)
    j = np.clip((v / lattice.step).astype(np.int64), 0, cells[1] - 1)
    f, g = (u / lattice.step - i)[:, None], v / lattice.step - j
    some = slice(j.min(), j.max() + 2)
    found = []
    for exact in (lattice.rows[:, some], lattice.cols[:, some]):
        line = exact[i] * (1 - f) + exact[i + 1] * f
        found.append(line[:, j - some.start] * (1 - g) + line[:, j - some.start + 1] * g)
    return found[0], found[1]


def _positions(
    source: Grid, target: Grid, rows: slice, cols: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Return source positions (rows, cols) of all sub-points of a part of the target."""
    lattice = _lattice(source, target)
    u, v = (
        (np.arange(s.start * lattice.side, s.stop * lattice.side) + 0.5) / lattice.side
        for s in (rows, cols)
    )
    row, col = _interpolate(lattice, u, v)
    if not lattice.sound.all():
        cells = [(w / lattice.step).astype(np.int64) for w in (u, v)]
        i, j = np.nonzero(~lattice.sound[cells[0]][:, cells[1]])
        y, x = target.top + u[i] * target.dy, target.left + v[j] * target.dx
        row[i, j], col[i, j] = to_index(source, target, y, x)
    return row, col


def _around(source: Grid, target: Grid, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return source positions whose least and greatest bound a part of the target."""
    lattice = _lattice(source, target)
    step = lattice.step
    # Bilinear pieces have their extremes at their corners.
    corners = [
        np.concatenate(
            [[s.start, s.stop], np.arange(ceil(s.start / step), int(s.stop / step) + 1) * step]
        )
        for s in (rows, cols)
    ]
    found = _interpolate(lattice, corners[0], corners[1])
    cells = tuple(slice(int(s.start / step), ceil(s.stop / step)) for s in (rows, cols))
    if not (lattice.sound[cells].all() and np.isfinite(found[0]).all()):
        found = _positions(source, target, rows, cols)
    defined = np.isfinite(found[0])
    return found[0][defined], found[1][defined]


def _by_points(
    filled: np.ndarray,
    missing: np.ndarray,
    window: Window,
    source: Grid,
    target: Grid,
    rows: slice,
    cols: slice,
    min_valid: float,
) -> np.ndarray:
    weights, first_row, first_col = _counts(source, target, rows, cols)
    height, width = filled.shape[-2:]
    values = filled.reshape(*filled.shape[:-2], -1)
    usable = ~missing.reshape(values.shape)
    total = np.zeros((*values.shape[:-1], *first_row.shape))
    covered = np.zeros(total.shape)
    for i, j in np.ndindex(weights.shape[:2]):
        row = np.clip(first_row + i - window[0].start, 0, height - 1)
        col = np.clip(first_col + j - window[1].start, 0, width - 1)
        total += weights[i, j] * values[..., row * width + col]
        covered += weights[i, j] * usable[..., row * width + col]
    return _mean(total, covered, min_valid)


def _counts(
    source: Grid, target: Grid, rows: slice, cols: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which part of its sub-points each target pixel has in each source pixel.

    Returns
    -------
    weights : ndarray (down, right, rows, cols)
        By source pixel, counted from the target pixel's first one; sub-points outside the source
        or its CRS are in none.
    first_row, first_col : ndarray (rows, cols)
    """
    side = _lattice(source, target).side
    row, col = _positions(source, target, rows, cols)
    inside = (row >= 0) & (row < source.height) & (col >= 0) & (col < source.width)
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    first, place = [], []
    for at, size in ((row, source.height), (col, source.width)):
        pixel = np.where(inside, at, size).astype(np.int64)
        least = pixel.reshape(shape[0], side, -1).min(1).reshape(*shape, side).min(2)
        first.append(least)
        place.append((pixel - least.repeat(side, 0).repeat(side, 1))[inside])
    cell = np.arange(shape[0] * shape[1]).reshape(shape).repeat(side, 0).repeat(side, 1)[inside]
    most = [int(p.max()) + 1 if p.size else 1 for p in place]
    index = (place[0] * most[1] + place[1]) * first[0].size + cell
    count = np.bincount(index, minlength=most[0] * most[1] * first[0].size)
    return count.reshape(*most, *shape) / side**2, first[0], first[1]
