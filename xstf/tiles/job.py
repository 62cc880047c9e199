"""A job of the tiles: one image stack, its inputs, and how one tile of it is made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from typing import Any, TypeAlias

import numpy as np

from xstf.cubes.arrays import Array
from xstf.tiles.geometry import Axis, Window
from xstf.tiles.gpu import free_memory, is_full
from xstf.tiles.states import Once, State

# Tiles are not halved below this side, in pixels: halos would be most of what is worked on.
LEAST = 64
States: TypeAlias = Sequence[Callable[[], Any]]
# One array for each source of a job, and for each of its states a function that returns it.
TileFunction: TypeAlias = Callable[[list[np.ndarray], slice, slice, States], np.ndarray]


@dataclass(frozen=True)
class Source:
    """One input of a tiled computation.

    Parameters
    ----------
    array
        ``(date, band, y, x)``, numpy, cupy or dask, any real dtype.
    dates
        The positions along its first axis that are needed, in the order wanted.
    step
        Output pixels in one of its pixels, along a side.
    before
        Output rows and columns from its corner to the output's; the same for all sources whose
        step is not 1, and 0 for those whose step is 1.
    window
        ``window(rows, cols)`` of the output → rows and columns of the array, for an input that
        lies on another grid; eager runs alone take such.
    """

    array: Array
    dates: tuple[int, ...]
    step: int = 1
    before: tuple[int, int] = (0, 0)
    window: Callable[[slice, slice], Window] | None = None

    def along(self, seen: slice, axis: int) -> slice:
        """Return what it has of a stretch of output pixels along y (0) or x (1)."""
        start, stop = ((at + self.before[axis]) // self.step for at in (seen.start, seen.stop))
        return slice(max(0, start), min(self.array.shape[axis - 2], stop))


@dataclass(frozen=True)
class Job:
    """One output image stack ``(*lead, y, x)``, made tile by tile.

    Parameters
    ----------
    function
        ``function(blocks, rows, cols, states)`` → the tile ``(*lead, rows, cols)``, float32; the
        blocks are float32, C order, NaN where missing or not finite. Module-level or a partial of
        such, since clusters pickle it.
    sources
        Its inputs, at least one.
    lead, shape
        Leading sizes and ``(y, x)`` of the output.
    states
        Whole-image statistics, each settled once for all tiles; the tile function gets a list of
        functions that return the results. Where a job has several, one that no tile asks for is
        not worked out.
    halo
        Output pixels around a tile that it sees; each source is cut on whole cells around that.
    lattice
        Side of the method's own tiles, 0 for none: then the function is called for each part of a
        tile between the lines of this lattice, whatever the tile.
    direct
        ``direct(array, out, part)`` writes some of the pixels of the result ``(*lead, pixel)``, the
        same as tiles would, of the one source ``(date, band, pixel)``; eager runs take it where the
        source is a plain cube of float32 in C order. None: there are tiles alone.
    """

    function: TileFunction
    sources: tuple[Source, ...]
    lead: tuple[int, ...]
    shape: tuple[int, int]
    states: tuple[State | Once, ...] = ()
    halo: int = 0
    lattice: int = 0
    direct: Callable[[np.ndarray, np.ndarray, slice], None] | None = None

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """The cells along y and x."""
        coarse = [s for s in self.sources if s.step > 1]
        corners = {s.before for s in coarse} or {(0, 0)}
        if len(corners) > 1:
            raise ValueError(f"the coarse inputs start at different corners: {sorted(corners)}")
        cell = lcm(*(s.step for s in coarse))
        lattice = lcm(cell, self.lattice) if self.lattice else 0
        y, x = (
            Axis(size, before, cell, self.halo, lattice)
            for size, before in zip(self.shape, corners.pop(), strict=True)
        )
        return y, x

    def window(self, source: Source, rows: slice, cols: slice) -> Window:
        """Return the part of a source that a tile needs."""
        if source.window is not None:
            return source.window(rows, cols)
        y, x = (
            source.along(axis.seen(wanted), number)
            for number, (axis, wanted) in enumerate(zip(self.axes, (rows, cols), strict=True))
        )
        return y, x

    def make(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Return a tile, of blocks cut for it; an error says which tile."""
        try:
            if not self.lattice:
                return self.function(blocks, rows, cols, states)
            return self._on_lattice(blocks, rows, cols, states)
        except Exception as error:
            if not is_full(error):
                error.add_note(
                    f"in the tile of rows {rows.start} to {rows.stop} and columns {cols.start} to "
                    f"{cols.stop}"
                )
                raise
        # Not in the handler: the error holds what was on the GPU.
        return self._in_halves(blocks, rows, cols, states)

    def _in_halves(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Make a tile that does not fit on the GPU in two, along its longer side."""
        size = (rows.stop - rows.start, cols.stop - cols.start)
        longer = int(size[1] > size[0])
        if self.lattice or size[longer] < 2 * LEAST:
            raise MemoryError(
                f"the GPU's memory is too small for a tile of {size[0]} x {size[1]} pixels with "
                f"{self.halo} around it; free some of it, or use an engine of the processor"
            )
        free_memory()
        whole = (rows, cols)[longer]
        middle = (whole.start + whole.stop) // 2
        out = np.empty_like(blocks[0], shape=(*self.lead, *size), dtype=np.float32)
        origins = [self.window(source, rows, cols) for source in self.sources]
        for half in (slice(whole.start, middle), slice(middle, whole.stop)):
            r, c = (rows, half) if longer else (half, cols)
            cut = self._cut(blocks, origins, r, c)
            out[..., _shift(r, rows), _shift(c, cols)] = self.make(cut, r, c, states)
        return out

    def _cut(
        self, blocks: list[np.ndarray], origins: list[Window], rows: slice, cols: slice
    ) -> list[np.ndarray]:
        """Return what a part of a tile needs of the tile's blocks."""
        inside = [
            block[..., _shift(y, at[0]), _shift(x, at[1])]
            for block, at, (y, x) in zip(
                blocks, origins, (self.window(s, rows, cols) for s in self.sources), strict=True
            )
        ]
        return [block.copy(order="C") for block in inside]

    def _on_lattice(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Make each part of a tile that lies between the lines of the lattice by itself."""
        parts = [axis.parts(w) for axis, w in zip(self.axes, (rows, cols), strict=True)]
        origins = [self.window(source, rows, cols) for source in self.sources]
        size = (rows.stop - rows.start, cols.stop - cols.start)
        out = np.empty_like(blocks[0], shape=(*self.lead, *size), dtype=np.float32)
        for r, c in itertools.product(*parts):
            whole = self._cut(blocks, origins, r, c)
            out[..., _shift(r, rows), _shift(c, cols)] = self.function(whole, r, c, states)
        return out


def _shift(wanted: slice, origin: slice) -> slice:
    return slice(wanted.start - origin.start, wanted.stop - origin.start)
