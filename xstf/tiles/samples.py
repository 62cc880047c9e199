"""What whole-image statistics look at: few places of the scene, the same whatever its chunks.

Tiles wait for the statistics, and each chunk that is looked at is made twice. That is why few
places are looked at: neither time nor memory then grow with the scene. Nor do they grow with bands
and dates: what one state is settled from has a bound in bytes, and fewer pixels are looked at of
cubes whose pixels are larger. It counts all values as float32 and depends on sizes alone, so that
chunks, types on disk and other dates of a call do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from xstf.cubes.arrays import Array

# What `prepare` of a fusion method sees: axes up to so many fine pixels whole, of longer ones so
# many stretches of about so many fine pixels.
SAMPLED_WHOLE = 2048
SPOTS = 5
STRETCH = 208
# Coarse pixels of a stretch at least, unless there is too little memory for them.
LEAST_CELLS = 4

# What `settle` of a gap-filling method sees: so many stretches of an axis, of so many pixels; axes
# that are no longer than these together whole.
SPOTS_A_SIDE = 3
SPOT = 64

# Bytes of what one state is settled from, as float32.
SAMPLE_BYTES = 256e6
# Rows and columns of a window at least, where a pixel has very many dates and bands.
LEAST_SPOT = 8

# Pixels of NaN before and after the image, along y and x.
Pad: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
NO_PAD: Pad = ((0, 0), (0, 0))


class Sample(NamedTuple):
    """Some rows and columns of some images.

    Parameters
    ----------
    array
        ``(date, band, y, x)``.
    dates
        Positions along its first axis, in the order wanted.
    rows, cols
        Positions along y and x, ascending.
    pad
        NaN around them.
    """

    array: Array
    dates: tuple[int, ...]
    rows: np.ndarray
    cols: np.ndarray
    pad: Pad = NO_PAD

    def now(self) -> Array:
        """Return it of a plain array; lazily of a dask one."""
        return take(self.array[list(self.dates)], self.rows, self.cols, self.pad)


def take(array: Array, rows: np.ndarray, cols: np.ndarray, pad: Pad = NO_PAD) -> Array:
    """Return rows and columns of all images, of a dask array one chunk for each that has some."""
    if isinstance(array, da.Array):
        lazily = _take_lazily(array, rows, cols)
        widths = ((0, 0), (0, 0), *pad)
        lazily = lazily if pad == NO_PAD else da.pad(lazily, widths, constant_values=np.nan)
        return lazily
    taken = _pick_some(array, rows, cols)
    return taken if pad == NO_PAD else np.pad(
        taken, ((0, 0), (0, 0), *pad), constant_values=np.nan
    )  # fmt: skip


def _take_lazily(array: da.Array, rows: np.ndarray, cols: np.ndarray) -> da.Array:
    by_row, by_col = (
        _by_chunk(sizes, wanted)
        for sizes, wanted in zip(array.chunks[2:], (rows, cols), strict=True)
    )
    used = array.blocks[:, :, list(by_row)].blocks[:, :, :, list(by_col)]
    sizes = (tuple(map(len, by_row.values())), tuple(map(len, by_col.values())))
    pick = partial(_pick, tuple(by_row.values()), tuple(by_col.values()))
    taken: da.Array = da.map_blocks(
        pick, used, chunks=(*used.chunks[:2], *sizes), dtype=array.dtype, meta=meta_from_array(used)
    )
    return taken


def _pick(
    rows: tuple[np.ndarray, ...], cols: tuple[np.ndarray, ...], block: np.ndarray,
    block_id: tuple[int, ...],
) -> np.ndarray:  # fmt: skip
    return _pick_some(block, rows[block_id[-2]], cols[block_id[-1]])


def _pick_some(block: Array, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return rows and columns, a view where that is all."""
    height, width = block.shape[-2:]
    some: np.ndarray = block[...] if len(rows) == height else block[..., rows, :]
    return some if len(cols) == width else some[..., cols]


def _by_chunk(sizes: tuple[int, ...], wanted: np.ndarray) -> dict[int, np.ndarray]:
    """Return the positions inside each chunk that has some of those wanted."""
    edges = np.cumsum([0, *sizes])
    chunk = np.searchsorted(edges, wanted, side="right") - 1
    return {int(k): wanted[chunk == k] - edges[k] for k in np.unique(chunk)}


# --- fusion and sharpening: whole coarse pixels --------------------------------------------------


class Cells(NamedTuple):
    """Which rows and columns of a fine and a coarse cube are whole coarse pixels."""

    fine: tuple[np.ndarray, np.ndarray]
    coarse: tuple[np.ndarray, np.ndarray]
    pad: Pad

    def of(
        self, fine: Array, fine_dates: tuple[int, ...], coarse: Array, coarse_dates: tuple[int, ...]
    ) -> tuple[Sample, Sample]:
        """Return the samples of some dates of both cubes."""
        return (
            Sample(fine, fine_dates, *self.fine, self.pad),
            Sample(coarse, coarse_dates, *self.coarse),
        )

    def dates_that_fit(self, fine: Array, coarse: Array) -> int:
        """Return of how many dates both samples are within `SAMPLE_BYTES`, at least one."""
        sides = ((fine, self.fine), (coarse, self.coarse))
        size = sum(4 * a.shape[1] * len(rows) * len(cols) for a, (rows, cols) in sides)
        return max(1, int(SAMPLE_BYTES // size))


def choose_cells(
    fine: Array, coarse: Array, *, ratio: int, before: tuple[int, int],
    whole: int = SAMPLED_WHOLE, stretch: int = STRETCH, images: tuple[int, int] = (1, 1),
) -> Cells:  # fmt: skip
    """Return what `prepare` sees of both cubes: whole coarse pixels, few enough for memory.

    Those that lie wholly inside the fine cube (where there is none along an axis, the fine cube is
    filled up with NaN instead). Of a long axis only `SPOTS` stretches are taken, evenly spaced at
    positions that depend on nothing but the sizes.

    Parameters
    ----------
    fine : array (date, band, y, x)
    coarse : array (date, band, Y, X)
    ratio : int
    before : (int, int)
        Fine pixels from the coarse grid's corner to the fine image's.
    whole, stretch : int
        Fine pixels of an axis that is taken whole, and of a stretch of a longer one; less where
        that would be more than `SAMPLE_BYTES`.
    images : (int, int)
        Dates of the fine and of the coarse cube that are looked at together.
    """
    values = images[0] * fine.shape[1] + images[1] * coarse.shape[1] / ratio**2
    most = SAMPLE_BYTES / (4 * values)
    cells = _choose(fine, coarse, ratio, before, (whole, stretch, LEAST_CELLS))
    if len(cells.fine[0]) * len(cells.fine[1]) <= most:
        return cells
    side = int(most**0.5)
    return _choose(fine, coarse, ratio, before, (side, min(stretch, side // SPOTS), 1))


def _choose(
    fine: Array, coarse: Array, ratio: int, before: tuple[int, int], sizes: tuple[int, int, int]
) -> Cells:
    (rows, cells_y, pad_y), (cols, cells_x, pad_x) = (
        _cells_along(fine.shape[axis], coarse.shape[axis], ratio, start, sizes)
        for axis, start in zip((2, 3), before, strict=True)
    )
    return Cells((rows, cols), (cells_y, cells_x), (pad_y, pad_x))


def _cells_along(
    size: int, cells: int, ratio: int, start: int, sizes: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    first = -(-start // ratio)
    count = (size + start) // ratio - first
    if count <= 0:
        return np.arange(size), np.arange(cells), (start, cells * ratio - size - start)
    taken = first + _stretches(count, ratio, *sizes)
    return (taken[:, None] * ratio - start + np.arange(ratio)).ravel(), taken, (0, 0)


def whole_cells(
    fine: Array, coarse: Array, *, ratio: int, before: tuple[int, int]
) -> tuple[Array, Array]:
    """Return all dates of both cubes at what `choose_cells` chooses."""
    cells = choose_cells(fine, coarse, ratio=ratio, before=before)
    return take(fine, *cells.fine, cells.pad), take(coarse, *cells.coarse)


def whole_blocks(
    arrays: Mapping[str, tuple[Array, int]], *, side: int,
    whole: int = SAMPLED_WHOLE, stretch: int = STRETCH,
) -> dict[str, Array]:  # fmt: skip
    """Return what `settle` of three nested cubes sees: whole blocks, the same ones of each.

    Parameters
    ----------
    arrays : dict of (array (date, band, y, x), int)
        Each cube, and how many of its pixels are along a side of a block; all start at one corner.
    side : int
        Of a block in pixels of the finest cube.
    whole, stretch : int
        As in `choose_cells`.
    """
    counts = [min(a.shape[axis] // n for a, n in arrays.values()) for axis in (2, 3)]
    blocks = [_stretches(count, side, whole, stretch, LEAST_CELLS) for count in counts]
    # Values of a pixel of the finest cube: its own, and its share of those of the others.
    values = sum(a.shape[0] * a.shape[1] * (n / side) ** 2 for a, n in arrays.values())
    most = SAMPLE_BYTES / (4 * values)
    if len(blocks[0]) * len(blocks[1]) * side**2 > most:
        least = int(most**0.5)
        blocks = [_stretches(c, side, least, min(stretch, least // SPOTS), 1) for c in counts]
    found = {}
    for name, (array, pixels) in arrays.items():
        rows, cols = ((b[:, None] * pixels + np.arange(pixels)).ravel() for b in blocks)
        found[name] = take(array, rows, cols)
    return found


def _stretches(count: int, ratio: int, whole: int, stretch: int, least: int) -> np.ndarray:
    """Return which of so many coarse pixels along an axis are sampled."""
    # Rounded up, or down where it is a bound.
    length = max(least, -(-stretch // ratio) if least > 1 else stretch // ratio)
    if count * ratio <= whole or count <= SPOTS * length:
        return np.arange(count)
    starts = np.linspace(0, count - length, SPOTS).round().astype(np.intp)
    return (starts[:, None] + np.arange(length)).ravel()


# --- gap filling: windows ------------------------------------------------------------------------


def spot_side(images: int) -> int:
    """Return the rows and columns of a window of a cube that has so many values in a pixel.

    Parameters
    ----------
    images : int
        Dates times bands, those of guides included.
    """
    side = int((SAMPLE_BYTES / (4 * max(images, 1))) ** 0.5) // SPOTS_A_SIDE
    return min(SPOT, max(LEAST_SPOT, side))


def choose_windows(shape: tuple[int, int], spot: int = SPOT) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of windows, at places that depend on nothing but the sizes."""
    rows, cols = (np.concatenate(_spots_along(size, spot)) for size in shape)
    return rows, cols


def window_slices(shape: tuple[int, int], spot: int = SPOT) -> list[tuple[slice, slice]]:
    """Return the windows that `as_windows` makes of what is taken at `choose_windows`."""
    rows, cols = (
        [slice(int(at[0]), int(at[-1]) + 1) for at in _spots_along(size, spot)] for size in shape
    )
    return [(r, c) for r in rows for c in cols]


def as_windows(images: np.ndarray, shape: tuple[int, int], spot: int = SPOT) -> np.ndarray:
    """Return what was taken of images at `choose_windows` as ``(window, time, band, y, x)``."""
    counts = [len(_spots_along(size, spot)) for size in shape]
    lead, (height, width) = images.shape[:2], images.shape[2:]
    split = images.reshape(
        *lead, counts[0], height // counts[0], counts[1], width // counts[1]
    ).transpose(2, 4, 0, 1, 3, 5)
    return np.ascontiguousarray(split.reshape(-1, *lead, *split.shape[-2:]))


def sample_windows(cube: Array) -> Array:
    """Return windows of a cube ``(time, band, y, x)``: ``(window, time, band, y, x)``."""
    shape = (cube.shape[2], cube.shape[3])
    spot = spot_side(cube.shape[0] * cube.shape[1])
    taken = take(cube, *choose_windows(shape, spot))
    if not isinstance(taken, da.Array):
        return as_windows(np.asarray(taken), shape, spot)
    whole = taken.rechunk(-1)
    rows, cols = (_spots_along(n, spot) for n in shape)
    size = (len(rows) * len(cols), *taken.shape[:2], len(rows[0]), len(cols[0]))
    windows: da.Array = whole.map_blocks(
        as_windows, shape, spot, chunks=tuple((n,) for n in size), new_axis=0, dtype=taken.dtype
    )
    return windows


def _spots_along(size: int, spot: int) -> list[np.ndarray]:
    # Three spots of the usual size and the whole of a short axis are as many pixels.
    if size <= SPOTS_A_SIDE * spot:
        return [np.arange(size)]
    starts = np.linspace(0, size - spot, SPOTS_A_SIDE).round().astype(int).tolist()
    return [np.arange(start, start + spot) for start in starts]
