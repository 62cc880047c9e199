"""Tiles of dask arrays: `dask.array.map_overlap` over inputs of several resolutions.

All inputs are cut along the same lines, which lie on whole cells (`geometry`) nearest to the
caller's chunks and are farther apart than the halo. Then depths are whole pixels of each input, in
the exact ratio, and map_overlap never starts a rechunking of its own; with depths out of ratio it
would give values of other pixels, silently. Chunks that lie so already are used as they are; the
result gets the caller's chunks back.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from xstf.cubes.arrays import Array
from xstf.tiles.blocks import clean_block
from xstf.tiles.geometry import pieces
from xstf.tiles.job import Job, Source, States
from xstf.tiles.states import Sampling

Edges = tuple[tuple[int, ...], tuple[int, ...]]

# A plain array of more bytes becomes part of the graph, chunk by chunk, with a warning.
LARGE = 100e6


def run_lazily(jobs: Sequence[Job], chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> da.Array:
    """Return the jobs as one dask array ``(job, *lead, y, x)``, in chunks along y and x."""
    sampling = Sampling()
    cut: dict[tuple[object, ...], da.Array] = {}
    warned: set[int] = set()
    results = []
    for job in jobs:
        y, x = (a.chunk_edges(wanted) for a, wanted in zip(job.axes, chunks, strict=True))
        for source in job.sources:
            if not isinstance(source.array, da.Array) and id(source.array) not in warned:
                warned.add(id(source.array))
                _warn_if_large(source.array)
        results.append(_lazy(job, (y, x), sampling, cut))
    whole = results[0] if len(results) == 1 else da.concatenate(results)
    last = whole.ndim - 1
    fitted: da.Array = whole.rechunk({last - 1: chunks[0], last: chunks[1]})
    return fitted


def _warn_if_large(array: Array) -> None:
    size = int(np.prod(array.shape)) * array.dtype.itemsize
    if size > LARGE:
        warnings.warn(
            f"a cube of {size / 1e6:.0f} MB in memory goes with a lazy one, so all of it becomes "
            "part of the task graph; chunk it too, before the call: cube.chunk(time=1, y=1024, "
            "x=1024)",
            stacklevel=5,
        )


def _lazy(
    job: Job, edges: Edges, sampling: Sampling, cut: dict[tuple[object, ...], da.Array]
) -> da.Array:
    arrays = []
    for source in job.sources:
        dates = sorted(set(source.dates))
        sizes = tuple(_sizes(source, edges, axis) for axis in (0, 1))
        key = (id(source.array), *dates, *sizes)
        if key not in cut:
            cut[key] = _on_lattice(source.array, dates, sizes)
        arrays.append(cut[key])
    plain = tuple(replace(s, array=_Bare(s.array.shape)) for s in job.sources)
    orders = tuple(_order(source.dates) for source in job.sources)
    tile = _Tile(replace(job, sources=plain, states=()), edges, orders)
    new = len(job.lead) - 1
    depth = [
        {
            2 + axis: job.axes[axis].reach // source.step if len(edges[axis]) > 2 else 0
            for axis in (0, 1)
        }
        for source in job.sources
    ]
    tiled: da.Array = da.map_overlap(
        tile, *arrays, depth=depth, boundary="none", trim=False, align_arrays=False,
        allow_rechunk=False, new_axis=list(range(new)) or None,
        chunks=((1,), *((n,) for n in job.lead), *(np.diff(e).tolist() for e in edges)),
        meta=meta_from_array(arrays[0], ndim=len(job.lead) + 3, dtype=np.float32),
        dtype=np.float32, token="xstf", states=sampling.of(job.states),
    )  # fmt: skip
    return tiled


def _order(dates: Sequence[int]) -> tuple[int, ...]:
    """Return where each date is among those that a tile gets, ascending."""
    have = sorted(set(dates))
    return tuple(have.index(date) for date in dates)


def _sizes(source: Source, edges: Edges, axis: int) -> tuple[int, ...]:
    """Return the chunks of a source along y (0) or x (1), cut where the output is."""
    inner = ((e + source.before[axis]) // source.step for e in edges[axis][1:-1])
    return tuple(np.diff([0, *inner, source.array.shape[2 + axis]]).tolist())


def _on_lattice(array: Array, dates: Sequence[int], sizes: Sequence[tuple[int, ...]]) -> da.Array:
    """Return some dates of an array, all in one chunk, cut along y and x as said."""
    picked: Any = pick_dates(array, dates)
    cut: da.Array = (
        picked.rechunk((-1, -1, *sizes))
        if isinstance(picked, da.Array)
        else da.from_array(picked, (-1, -1, *sizes), asarray=False)
    )
    return cut


def as_lazy(array: Array) -> da.Array:
    """Return an array as dask's, in one chunk if it was not."""
    if isinstance(array, da.Array):
        return array
    whole: da.Array = da.from_array(array, -1, asarray=False)
    return whole


def pick_dates(array: Array, dates: Sequence[int]) -> Array:
    """Return images of an array ``(date, ...)``, those that follow each other by slices.

    A list of positions would make dask cut and join each chunk.
    """
    runs: list[slice] = []
    for date in dates:
        if runs and runs[-1].stop == date:
            runs[-1] = slice(runs[-1].start, date + 1)
        else:
            runs.append(slice(date, date + 1))
    if runs == [slice(0, array.shape[0])]:
        return array
    part: Array
    if len(runs) > 1 and isinstance(array, da.Array):
        part = da.concatenate([array[run] for run in runs])
    else:
        part = array[runs[0] if len(runs) == 1 else list(dates)]
    return part


@dataclass(frozen=True)
class _Bare:
    """The shape of an array without the array: what tiles need to know where they are."""

    shape: tuple[int, ...]
    ndim: int = 4
    dtype: np.dtype = np.dtype(np.float32)

    def __getitem__(self, key: object) -> np.ndarray:
        raise TypeError("there is no array here")


@dataclass(frozen=True)
class _Tile:
    """Makes a tile of its blocks.

    Parameters
    ----------
    job
        With sources that have a shape only.
    edges
        Of the tiles along y and x, in output pixels.
    orders
        Which dates of each block the method sees, in order.
    """

    job: Job
    edges: Edges
    orders: tuple[tuple[int, ...], ...]

    def __call__(
        self, *blocks: np.ndarray, block_id: tuple[int, ...], states: States | None = None
    ) -> np.ndarray:
        """Return the tile, with a first axis for the job."""
        rows, cols = (pieces(e)[k] for e, k in zip(self.edges, block_id[-2:], strict=True))
        clean = [
            clean_block(pick_dates(block, order))
            for block, order in zip(blocks, self.orders, strict=True)
        ]
        return self.job.make(clean, rows, cols, states or ())[None]
