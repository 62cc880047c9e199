"""Tiles of a result: which chunks are one, which are written, and the tasks that write them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xstf.store.place import OWN, Place

At = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Variables of one shape and chunks, which are written together.

    Parameters
    ----------
    number
        Among the layouts of a result.
    names
        Of the variables.
    dims, sizes, chunks
        Of them, along each axis.
    tile
        How many chunks a tile has along each axis.
    """

    number: int
    names: tuple[Hashable, ...]
    dims: tuple[Hashable, ...]
    sizes: tuple[int, ...]
    chunks: tuple[int, ...]
    tile: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks there are along each axis."""
        return tuple(math.ceil(n / c) for n, c in zip(self.sizes, self.chunks, strict=True))

    @property
    def tiles(self) -> tuple[int, ...]:
        """How many tiles there are along each axis."""
        return tuple(math.ceil(n / t) for n, t in zip(self.grid, self.tile, strict=True))

    @property
    def marks(self) -> str:
        """Where its marks are in the store."""
        return f"marks/{self.number}"

    def tile_of(self, chunk: At) -> At:
        """Return the tile that a chunk is in."""
        return tuple(k // t for k, t in zip(chunk, self.tile, strict=True))

    def first_of(self, tile: At) -> At:
        """Return the first chunk of a tile."""
        return tuple(k * t for k, t in zip(tile, self.tile, strict=True))

    def region(self, chunk: At) -> dict[Any, slice]:
        """Return where a chunk is in the variables."""
        return {
            dim: slice(k * c, min((k + 1) * c, n))
            for dim, k, c, n in zip(self.dims, chunk, self.chunks, self.sizes, strict=True)
        }


def layouts_of(dataset: xr.Dataset, tiles: int | Mapping[Any, int] | None) -> list[Layout]:
    """Return the lazy variables of a result by their shape and chunks."""
    groups: dict[tuple[Any, ...], list[Hashable]] = {}
    for name, variable in dataset.data_vars.items():
        if variable.chunks:
            chunks = tuple(c[0] for c in variable.chunks)
            groups.setdefault((variable.dims, variable.shape, chunks), []).append(name)
    found = [
        Layout(i, tuple(names), dims, sizes, chunks, _tile(dims, chunks, tiles))
        for i, ((dims, sizes, chunks), names) in enumerate(groups.items())
    ]
    if isinstance(tiles, Mapping):
        known = {str(d) for one in found for d in one.dims}
        wrong = [str(d) for d in tiles if str(d) not in known]
        if wrong:
            raise ValueError(f"tiles= names {wrong}, and the result has {sorted(known)}")
    return found


def _tile(dims: Sequence[Hashable], chunks: Sequence[int], tiles: Any) -> tuple[int, ...]:
    """Return how many chunks a tile has: whole ones, at least as many pixels as were asked for."""
    if tiles is None:
        return (1,) * len(dims)
    spatial = dims[-2:]
    found = []
    for dim, chunk in zip(dims, chunks, strict=True):
        size = tiles.get(dim) if isinstance(tiles, Mapping) else tiles if dim in spatial else None
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"tiles={tiles!r}: give pixels a side, such as 2048 or {{'y': 2048}}")
        found.append(1 if size is None else math.ceil(size / chunk))
    return tuple(found)


def regular(dataset: xr.Dataset) -> xr.Dataset:
    """Return a result as dask arrays; their chunks are of one size already (`for_zarr`).

    Coordinates, texts, lone numbers and what is empty are in memory instead: they are written with
    the template.
    """
    out = dataset.copy()
    for name, variable in dataset.variables.items():
        plain = variable.ndim == 0 or variable.size == 0 or variable.dtype.kind not in "biufcmM"
        if plain or name in dataset.coords:
            out[name] = dataset[name].compute()
        elif not variable.chunks:
            out[name] = dataset[name].chunk("auto")
    return out


# --- marks ------------------------------------------------------------------------------------


def make_marks(place: Place, layouts: Sequence[Layout]) -> None:
    """Make room for the marks of tiles: each is a chunk of its own, so it is there or is not."""
    for one in layouts:
        place.group().create_array(
            one.marks, shape=one.tiles, chunks=(1,) * len(one.tiles), dtype="uint8", fill_value=0,
            compressors=None, overwrite=True,
        )  # fmt: skip


def done(place: Place, layout: Layout) -> set[At]:
    """Return the tiles with a mark, all of whose chunks are there."""
    marked = _chunks_of(place, f"{OWN}/{layout.marks}")
    for name in layout.names if marked else ():
        gone = set(np.ndindex(*layout.grid)) - _chunks_of(place, str(name))
        marked -= {layout.tile_of(chunk) for chunk in gone}
    return marked


def _chunks_of(place: Place, name: str) -> set[At]:
    """Return the chunks of an array that are in the store; half-written ones are not."""
    keys = (key.split("/") for key in place.listed(name))
    return {tuple(map(int, at)) for c, *at in keys if c == "c" and all(map(str.isdigit, at))}


# --- tasks ------------------------------------------------------------------------------------


def writing(dataset: xr.Dataset, layout: Layout, place: Place) -> da.Array:
    """Return an array whose chunks, one a tile, are made by writing the tile, then its mark."""
    data = [dataset[name].data for name in layout.names]
    single = all(n == 1 for n in layout.tile)
    write: Any = partial(write_chunk, place=place, layout=layout, mark=single)
    ones = tuple((1,) * n for n in layout.grid)
    meta = np.empty((0,) * len(ones), np.uint8)
    written: da.Array = da.map_blocks(
        write, *data, chunks=ones, dtype=np.uint8, meta=meta, name=f"xstf-write-{layout.number}"
    )
    if single:
        return written
    joined = written.rechunk(
        tuple(_cut(n, t) for n, t in zip(layout.grid, layout.tile, strict=True))
    )
    marked: da.Array = da.map_blocks(
        partial(_mark, place=place, layout=layout), joined, dtype=np.uint8, meta=meta,
        chunks=tuple((1,) * n for n in layout.tiles), name=f"xstf-mark-{layout.number}",
    )  # fmt: skip
    return marked


def _cut(count: int, size: int) -> tuple[int, ...]:
    return tuple(min(size, count - k) for k in range(0, count, size))


def write_chunk(*blocks: Any, place: Place, layout: Layout, mark: bool, block_id: At) -> np.ndarray:
    """Write a chunk of each variable through xarray, which packs values as the template says.

    Parameters
    ----------
    blocks
        One for each variable of the layout.
    place, layout
        Where to.
    mark
        Whether the chunk is a tile, which gets its mark now that its values are there.
    block_id
        The chunk.
    """
    data = {
        name: (layout.dims, _on_host(block))
        for name, block in zip(layout.names, blocks, strict=True)
    }
    xr.Dataset(data).to_zarr(
        place.store, region=layout.region(block_id), mode="r+", consolidated=False,
        write_empty_chunks=True,
    )  # fmt: skip
    done = np.ones((1,) * len(block_id), np.uint8)
    return _mark(done, place=place, layout=layout, block_id=block_id) if mark else done


def _mark(block: np.ndarray, *, place: Place, layout: Layout, block_id: At) -> np.ndarray:
    # The chunk of an array (`make_marks`), by its key: to open the array would cost more.
    place.write(f"{OWN}/{layout.marks}/c/{'/'.join(map(str, block_id))}", b"\x01")
    return np.ones((1,) * len(block_id), np.uint8)


def _on_host(block: Any) -> np.ndarray:
    there: np.ndarray = block.get() if hasattr(block, "get") else np.asarray(block)
    return there


def rows_of(layout: Layout, left: Sequence[At]) -> list[list[At]]:
    """Return tiles by the row of tiles that they are in, along y."""
    axis = max(0, len(layout.dims) - 2)
    ordered = sorted(left, key=lambda at: (at[axis], at))
    return [list(group) for _, group in itertools.groupby(ordered, key=lambda at: at[axis])]
