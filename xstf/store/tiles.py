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
    """Return a result with chunks as Zarr has them: all of one size, but the last."""
    out = dataset.copy()
    for name, variable in dataset.data_vars.items():
        if not variable.chunks:
            continue
        sizes = {
            dim: max(c) for dim, c in zip(variable.dims, variable.chunks, strict=True)
            if len(set(c[:-1])) > 1 or c[-1] > c[0]
        }  # fmt: skip
        if sizes:
            out[name] = variable.chunk(sizes)
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
    """Return the tiles with a mark."""
    keys = [k for k in place.listed(f"{OWN}/{layout.marks}") if not k.endswith(".partial")]
    return {tuple(map(int, key.split("/")[1:])) for key in keys if key.startswith("c/")}


# --- tasks ------------------------------------------------------------------------------------


def writing(arrays: Mapping[Hashable, da.Array], layout: Layout, place: Place) -> da.Array:
    """Return an array whose chunks, one a tile, are made by writing the tile, then its mark."""
    marks = place.group()[layout.marks]
    data = [arrays[name] for name in layout.names]
    single = all(n == 1 for n in layout.tile)
    write: Any = partial(_write, place=place, layout=layout, marks=marks if single else None)
    ones = tuple((1,) * n for n in layout.grid)
    written: da.Array = da.map_blocks(
        write, *data, chunks=ones, dtype=np.uint8, meta=np.empty((0,) * len(ones), np.uint8),
        name=f"xstf-write-{layout.number}",
    )  # fmt: skip
    if single:
        return written
    joined = written.rechunk(
        tuple(_cut(n, t) for n, t in zip(layout.grid, layout.tile, strict=True))
    )
    marked: da.Array = da.map_blocks(
        partial(_mark, marks=marks), joined, dtype=np.uint8,
        chunks=tuple((1,) * n for n in layout.tiles), name=f"xstf-mark-{layout.number}",
        meta=np.empty((0,) * len(ones), np.uint8),
    )  # fmt: skip
    return marked


def _cut(count: int, size: int) -> tuple[int, ...]:
    return tuple(min(size, count - k) for k in range(0, count, size))


def _write(
    *blocks: np.ndarray, place: Place, layout: Layout, marks: Any, block_id: At
) -> np.ndarray:
    """Write a chunk of each variable through xarray, which packs values as the template says."""
    data = {
        name: (layout.dims, _on_host(block))
        for name, block in zip(layout.names, blocks, strict=True)
    }
    xr.Dataset(data).to_zarr(
        place.store, region=layout.region(block_id), mode="r+", consolidated=False,
        write_empty_chunks=True,
    )  # fmt: skip
    return np.ones((1,) * len(block_id), np.uint8) if marks is None else _marked(marks, block_id)


def _mark(block: np.ndarray, *, marks: Any, block_id: At) -> np.ndarray:
    return _marked(marks, block_id)


def _marked(marks: Any, at: At) -> np.ndarray:
    marks[at] = 1
    return np.ones((1,) * len(at), np.uint8)


def _on_host(block: Any) -> np.ndarray:
    there: np.ndarray = block.get() if hasattr(block, "get") else np.asarray(block)
    return there


def rows_of(layout: Layout, left: Sequence[At]) -> list[list[At]]:
    """Return tiles by the row of tiles that they are in, along y."""
    axis = max(0, len(layout.dims) - 2)
    ordered = sorted(left, key=lambda at: (at[axis], at))
    return [list(group) for _, group in itertools.groupby(ordered, key=lambda at: at[axis])]
