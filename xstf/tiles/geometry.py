"""Where tiles lie, and what they see: whole cells, that hold whole pixels of every input.

With inputs of several resolutions a tile with its halo must end where a pixel of each of them ends.
A cell is such a step: the least common multiple of the inputs' pixel sizes (in output pixels).
Cells count from the corner of the coarse inputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Axis:
    """Cells along y or x.

    Parameters
    ----------
    size
        Of the output.
    before
        Output pixels from the corner of the cells to the output's.
    cell
        Side of a cell in output pixels.
    halo
        Of a tile in output pixels; what is seen is whole in `cell`.
    lattice
        Side of the tiles of a method that has a lattice of its own, whole in `cell`; 0: none.
    """

    size: int
    before: int
    cell: int
    halo: int
    lattice: int = 0

    @property
    def reach(self) -> int:
        """The halo, rounded up to whole cells."""
        return -(-self.halo // self.cell) * self.cell

    def _snap(self, wanted: Iterable[int], least: int) -> tuple[int, ...]:
        """Return the wanted edges, or lines of the lattice near them, not too near each other."""
        edges = [0]
        for edge in wanted:
            near = edge
            if self.lattice:
                near = round((edge + self.before) / self.lattice) * self.lattice - self.before
            if near - edges[-1] >= least and self.size - near >= least:
                edges.append(near)
        return (*edges, self.size)

    def chunk_edges(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Return the edges of the wanted chunks, or near them, none thinner than a tile's halo."""
        least = self.reach + 2 * self.cell if self.reach or self.cell > 1 else 1
        return self._snap(np.cumsum(wanted).tolist()[:-1], least)

    def tile_edges(self, side: int) -> tuple[int, ...]:
        """Return the edges of tiles of about one side; the last may be half as large again."""
        step = self.lattice or 1
        tile = max(step, round(side / step) * step)
        return self._snap(range(tile, self.size, tile), max(1, tile // 2))

    def seen(self, wanted: slice) -> slice:
        """Return the cells that a tile and its halo touch, in output pixels, not cut at the end."""
        start = max(0, (wanted.start + self.before - self.halo) // self.cell)
        stop = -(-(wanted.stop + self.before + self.halo) // self.cell)
        return slice(start * self.cell - self.before, stop * self.cell - self.before)

    def parts(self, wanted: slice) -> list[slice]:
        """Return the pieces of a tile between the lines of the method's lattice; it, if none."""
        if not self.lattice:
            return [wanted]
        first = (wanted.start + self.before) // self.lattice + 1
        lines = range(first * self.lattice - self.before, wanted.stop, self.lattice)
        return pieces((wanted.start, *lines, wanted.stop))


def pieces(edges: Sequence[int]) -> list[slice]:
    """Return the slices between edges."""
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def as_chunks(given: int | Sequence[int], size: int) -> tuple[int, ...]:
    """Return chunk sizes, given them or one size for all."""
    if isinstance(given, int):
        given = size if given < 0 else given
        return tuple(min(given, size - at) for at in range(0, size, given))
    return tuple(given)


def plan_chunks(size: int, chunk: int, multiple: int = 1) -> tuple[int, ...]:
    """Return chunk sizes that sum to ``size``, near ``chunk``, whole in ``multiple`` but the last.

    Examples
    --------
    >>> plan_chunks(100, 32, 8)
    (32, 32, 36)
    """
    step = max(multiple, round(chunk / multiple) * multiple)
    count = max(1, round(size / step))
    return (*(step for _ in range(count - 1)), size - step * (count - 1))
