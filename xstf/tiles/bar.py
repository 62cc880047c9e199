"""Bars on stderr: of tiles made now, and of those that are made when a lazy result is computed."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

_NUMBERS = itertools.count()
_GUARD = threading.Lock()
_OPEN: dict[int, tuple[Any, set[Hashable]]] = {}


def shown(items: Iterator[None], total: int, progress: bool) -> Iterator[None]:
    """Return items, with a bar of how many there were if one is wanted."""
    return iter(_bar(total, items)) if progress else items


def _bar(total: int, items: Iterator[None] | None = None) -> Any:
    from tqdm.auto import tqdm  # a quarter of a second to import, wanted only here

    return tqdm(items, total=total, unit="tile", desc="xstf")


@dataclass(frozen=True)
class LazyBar:
    """A bar that the tiles of a lazy result move, whenever and in whatever parts it is computed.

    It shows in the process of the call alone: workers of a cluster and of dask's processes have
    nobody who watches them. It counts tiles of the whole result; a tile cannot tell in which
    computation it is made, so after a part of a result the bar goes on where that part ended.

    Parameters
    ----------
    total
        Tiles of the whole result.
    number
        Of the result in this process.
    process
        Where the call was made.
    wanted
        Whether it shows at all.
    """

    total: int
    number: int
    process: int
    wanted: bool

    @classmethod
    def of(cls, total: int, wanted: bool) -> LazyBar:
        """Return the bar of a new result."""
        return cls(total, next(_NUMBERS), os.getpid(), wanted)

    def __dask_tokenize__(self) -> str:
        """Make no difference to the names in a graph: a result is the same with and without it."""
        return "xstf-bar"

    def made(self, tile: Hashable) -> None:
        """Count a tile; one that was counted before begins a new bar."""
        if not self.wanted or os.getpid() != self.process:
            return
        with _GUARD:
            if self.number in _OPEN and tile in _OPEN[self.number][1]:
                _OPEN.pop(self.number)[0].close()
            if self.number not in _OPEN:
                _OPEN[self.number] = (_bar(self.total), set())
            bar, tiles = _OPEN[self.number]
            tiles.add(tile)
            bar.update()
            if len(tiles) == self.total:
                _OPEN.pop(self.number)[0].close()
