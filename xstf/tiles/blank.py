"""Arrays that stand for others without their values, and what a run of tiles costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.base import is_dask_collection

from xstf.tiles.geometry import as_chunks, pieces
from xstf.tiles.job import Job
from xstf.tiles.run import Chunks


def blank(shape: tuple[int, ...], dtype: np.dtype, chunks: Any) -> da.Array:
    """Return a lazy array of zeros, of one chunk where `chunks` is None."""
    zeros: da.Array = da.zeros(shape, dtype=dtype, chunks=-1 if chunks is None else chunks)
    return zeros


def count_tasks(arrays: Sequence[Any]) -> int:
    """Return how many tasks lazy arrays have together, before dask puts some into one."""
    graphs = [array.__dask_graph__() for array in arrays if is_dask_collection(array)]
    return len(set().union(*(graph.keys() for graph in graphs)))


@dataclass(frozen=True)
class Work:
    """What jobs come to.

    Parameters
    ----------
    tiles
        How many there are, of all jobs.
    side
        Rows and columns of the largest one.
    tile_bytes
        What it reads, with its halo, and makes, in float32.
    """

    tiles: int
    side: tuple[int, int]
    tile_bytes: int


def work_of(jobs: Sequence[Job], *, chunks: tuple[Chunks, Chunks], tile: int, lazy: bool) -> Work:
    """Return what jobs of one output shape come to, by chunks of a lazy run or tiles of another."""
    count, side, most = 0, (0, 0), 0
    for job in jobs:
        edges = [
            axis.chunk_edges(as_chunks(c, n)) if lazy else axis.tile_edges(tile)
            for axis, c, n in zip(job.axes, chunks, job.shape, strict=True)
        ]
        along = [pieces(e) for e in edges]
        count += len(along[0]) * len(along[1])
        # The largest, where there is one with neighbours on all sides.
        rows, cols = (max(p[1:-1] or p, key=lambda s: s.stop - s.start) for p in along)
        size = (rows.stop - rows.start, cols.stop - cols.start)
        values = int(np.prod(job.lead)) * size[0] * size[1]
        for source in job.sources:
            y, x = job.window(source, rows, cols)
            bands = source.array.shape[1]
            values += len(source.dates) * bands * (y.stop - y.start) * (x.stop - x.start)
        side, most = max(side, size), max(most, 4 * values)
    return Work(count, side, most)
