"""Images brought to another grid, tile by tile: what a tile needs lies wherever the CRSs put it.

No map_overlap can cut that. So each tile of the target is one delayed task that gets the chunks of
the source that it needs, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.base import tokenize
from dask.delayed import Delayed, delayed

from xstf.cubes.arrays import Array
from xstf.tiles.blocks import clean_block, is_lazy, join
from xstf.tiles.geometry import Window, pieces
from xstf.tiles.job import Job, Source, States
from xstf.tiles.lazy import pick_dates
from xstf.tiles.run import run_tiles
from xstf.tiles.windows import shift


@dataclass(frozen=True)
class Regridding:
    """Images on another grid.

    Parameters
    ----------
    array
        ``(date, band, y, x)``.
    dates
        The positions along its first axis that are needed, in order.
    window
        ``window(rows, cols)`` of the target → rows and columns of the array, within it.
    function
        ``function(block, rows, cols)`` → ``(*lead, rows, cols)``, float32, of the part of the array
        in the window, cleaned.
    lead, shape
        Leading sizes and ``(y, x)`` of the target.
    """

    array: Array
    dates: tuple[int, ...]
    window: Callable[[slice, slice], Window]
    function: Callable[[np.ndarray, slice, slice], np.ndarray]
    lead: tuple[int, int]
    shape: tuple[int, int]

    def run(self, chunks: tuple[Sequence[int], Sequence[int]], *, tile: int) -> Array:
        """Return the images: lazily if the array is, in such chunks; else now, by such tiles."""
        if is_lazy(self.array):
            return self._lazily(chunks)
        source = Source(self.array, self.dates, window=self.window)
        job = Job(self._tile, (source,), self.lead, self.shape)
        images: Array = run_tiles([job], chunks=(tile, tile), tile=tile)[0]
        return images

    def _tile(self, blocks: list[np.ndarray], rows: slice, cols: slice, _: States) -> np.ndarray:
        return self.function(blocks[0], rows, cols)

    def _lazily(self, chunks: tuple[Sequence[int], Sequence[int]]) -> da.Array:
        array: Any = pick_dates(self.array, self.dates)
        blocks = array.to_delayed(optimize_graph=False)
        edges = [np.cumsum([0, *sizes]) for sizes in array.chunks[2:]]
        size = (len(self.dates), array.shape[1])
        make = delayed(partial(_assemble, self.function, size), pure=False)
        token = tokenize(array.name, self.window, self.function, chunks)
        meta = meta_from_array(array, dtype=np.float32)
        tiles = [
            [
                da.from_delayed(
                    self._delayed(make, blocks, edges, rows, cols, f"xstf-regrid-{token}-{i}-{j}"),
                    (*self.lead, rows.stop - rows.start, cols.stop - cols.start), meta=meta,
                    name=f"xstf-regridded-{token}-{i}-{j}",
                )
                for j, cols in enumerate(pieces(np.cumsum([0, *chunks[1]]).tolist()))
            ]
            for i, rows in enumerate(pieces(np.cumsum([0, *chunks[0]]).tolist()))
        ]  # fmt: skip
        whole: da.Array = da.block(tiles)
        return whole

    def _delayed(
        self, make: Delayed, blocks: np.ndarray, edges: list[np.ndarray], rows: slice,
        cols: slice, key: str,
    ) -> Delayed:  # fmt: skip
        """Return a tile as a task of the chunks of the source that it needs."""
        window = self.window(rows, cols)
        used = [_chunks_in(e, part) for e, part in zip(edges, window, strict=True)]
        needed = blocks[:, :, used[0], used[1]]
        y, x = (
            shift(part, int(e[u.start])) for e, u, part in zip(edges, used, window, strict=True)
        )
        place = _Place(needed.shape, (y, x), rows, cols)
        tile: Delayed = make(place, *needed.ravel(), dask_key_name=key)
        return tile


class _Place:
    """Where a tile lies; no tuple, since dask would look for arrays in all of its parts."""

    def __init__(self, shape: tuple[int, ...], inside: Window, rows: slice, cols: slice) -> None:
        self.shape, self.inside = shape, inside
        self.rows, self.cols = rows, cols


def _assemble(
    function: Callable[[np.ndarray, slice, slice], np.ndarray],
    size: tuple[int, int],
    place: _Place,
    *chunks: np.ndarray,
) -> np.ndarray:
    """Put the chunks that a tile needs together and make the tile."""
    if not chunks:  # the tile lies beside the source
        return function(np.empty((*size, 0, 0), np.float32), place.rows, place.cols)
    block = join(chunks, place.shape)[(..., *place.inside)]
    return function(clean_block(block), place.rows, place.cols)


def _chunks_in(edges: np.ndarray, wanted: slice) -> slice:
    """Return which chunks hold some of a stretch."""
    if wanted.start >= wanted.stop:
        return slice(0, 0)
    first = int(np.searchsorted(edges, wanted.start, side="right")) - 1
    return slice(first, int(np.searchsorted(edges, wanted.stop, side="left")))
