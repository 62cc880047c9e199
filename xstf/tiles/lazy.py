"""Tiles of dask arrays: `dask.array.map_overlap` over inputs of several resolutions.

Each tile is a chunk of the caller's, if that is thicker than the halo. Every input is cut along the
same lines, to its nearest pixel, with as much of its neighbours as any tile needs; a tile then
takes its own whole cells out of its blocks (`geometry`), the very ones that an eager run cuts. So a
fine cube is never rechunked because its chunks are no whole number of coarse pixels, and chunks are
never thinner than a depth, at which map_overlap would start a rechunking of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.delayed import Delayed

from xstf.cubes.arrays import Array
from xstf.tiles.bar import LazyBar
from xstf.tiles.blocks import clean_block, join
from xstf.tiles.geometry import Window, pieces
from xstf.tiles.job import Job, Source, States
from xstf.tiles.states import Sampling, State, on_a_cluster
from xstf.tiles.waiting import after
from xstf.tiles.windows import shift

Edges = tuple[tuple[int, ...], tuple[int, ...]]

# Where an array is cut anew in steps, bytes of a block between them: dates that a tile needs are
# joined first, which makes half as many tasks as dask's default of 128 MB.
JOINED = 512_000_000
# Tasks of an input that are looked through so that its chunks wait for the states: a second or two.
# What workers read of larger ones in the meantime is a small part of them.
MOST_WAITING = 20_000
# Chunks of an input whose dates are joined by a rule.
MANY = 1000
# A plain array of more bytes becomes part of the graph, chunk by chunk, with a warning.
LARGE = 100e6


def run_lazily(
    jobs: Sequence[Job],
    chunks: tuple[tuple[int, ...], tuple[int, ...]],
    checks: Sequence[State] = (),
    *,
    progress: bool = False,
) -> da.Array:
    """Return the jobs as one dask array ``(job, *lead, y, x)``, in chunks along y and x.

    Checks are settled before any tile is made. Where progress is wanted tiles move a bar.
    """
    sampling = Sampling()
    cut: dict[tuple[object, ...], da.Array] = {}
    warned: set[int] = set()
    results = []
    edges: list[Edges] = []
    for job in jobs:
        y, x = (a.chunk_edges(wanted) for a, wanted in zip(job.axes, chunks, strict=True))
        edges.append((y, x))
    total = sum((len(y) - 1) * (len(x) - 1) for y, x in edges)
    bar = LazyBar.of(total, progress)
    for number, (job, lines) in enumerate(zip(jobs, edges, strict=True)):
        for source in job.sources:
            if not isinstance(source.array, da.Array) and id(source.array) not in warned:
                warned.add(id(source.array))
                warn_if_large(source.array)
        states = sampling.of(job.states, checks)
        if states is not None and len(jobs) == 1:  # several share their chunks, not their states
            job = replace(job, sources=tuple(_waiting(states, s) for s in job.sources))
        results.append(_lazy(job, lines, states, cut, (bar, number)))
    whole = results[0] if len(results) == 1 else da.concatenate(results)
    last = whole.ndim - 1
    fitted: da.Array = whole.rechunk({last - 1: chunks[0], last: chunks[1]})
    return fitted


def _waiting(states: Delayed, source: Source) -> Source:
    """Return an input whose chunks wait for the states, if it is one of large images."""
    array = source.array
    if not isinstance(array, da.Array) or source.step > 1 or on_a_cluster(array):
        return source
    if len(array.__dask_graph__()) > MOST_WAITING:
        return source
    return replace(source, array=after(states, array))


def warn_if_large(array: Any) -> None:
    """Warn of a plain array that goes into a graph, where it is large; its values are unread."""
    size = int(np.prod(array.shape)) * array.dtype.itemsize
    if size > LARGE:
        warnings.warn(
            f"a cube of {size / 1e6:.0f} MB in memory goes with a lazy one, so all of it becomes "
            "part of the task graph; chunk it too, before the call: cube.chunk(time=1, y=1024, "
            "x=1024)",
            stacklevel=5,
        )


def _lazy(
    job: Job, edges: Edges, states: Delayed | None, cut: dict[tuple[object, ...], da.Array],
    bar: tuple[LazyBar, int],
) -> da.Array:  # fmt: skip
    arrays, cuts = [], []
    for source in job.sources:
        dates = sorted(set(source.dates))
        own = _Cut.of(job, source, edges)
        sizes = tuple(tuple(np.diff(e).tolist()) for e in own.edges)
        key = (id(source.array), *dates, *sizes)
        if key not in cut:
            cut[key] = _in_chunks(source.array, dates, sizes)
        arrays.append(cut[key])
        cuts.append(own)
    plain = tuple(replace(s, array=_Bare(s.array.shape)) for s in job.sources)
    tile = _Tile(replace(job, sources=plain, states=()), edges, tuple(cuts), bar)
    tiled: da.Array = da.map_overlap(
        tile, *arrays, depth=[{2: own.depth[0], 3: own.depth[1]} for own in cuts],
        boundary="none", trim=False, align_arrays=False, allow_rechunk=False,
        new_axis=list(range(len(job.lead) - 1)) or None,
        chunks=((1,), *((n,) for n in job.lead), *(np.diff(e).tolist() for e in edges)),
        meta=meta_from_array(arrays[0], ndim=len(job.lead) + 3, dtype=np.float32),
        dtype=np.float32, token="xstf", states=states,
    )  # fmt: skip
    return tiled


@dataclass(frozen=True)
class _Cut:
    """How an input is cut into blocks.

    Parameters
    ----------
    edges
        Of its chunks along y and x, in its own pixels.
    depth
        What of its neighbours a block has besides, in its own pixels.
    order
        Which dates of a block the method sees, in order.
    """

    edges: Edges
    depth: tuple[int, int]
    order: tuple[int, ...]

    @classmethod
    def of(cls, job: Job, source: Source, edges: Edges) -> _Cut:
        """Return how a source is cut for tiles with such edges: just deep enough for all of them.

        Where edges are on whole cells the depths of all sources are in the ratio of their pixels.
        """
        found, depths = [], []
        for number, (axis, lines) in enumerate(zip(job.axes, edges, strict=True)):
            inner = [(e + source.before[number]) // source.step for e in lines[1:-1]]
            seen = [source.along(axis.seen(part), number) for part in pieces(lines)]
            before = [e - part.start for e, part in zip(inner, seen[1:], strict=True)]
            after = [part.stop - e for e, part in zip(inner, seen[:-1], strict=True)]
            found.append((0, *inner, source.array.shape[2 + number]))
            depths.append(max((*before, *after), default=0))
        have = sorted(set(source.dates))
        order = tuple(have.index(date) for date in source.dates)
        return cls((found[0], found[1]), (depths[0], depths[1]), order)

    def inside(self, window: Window, at: tuple[int, ...]) -> Window:
        """Return where a part of the input lies in the block of a position."""
        y, x = (
            shift(part, max(0, lines[k] - depth))
            for part, lines, depth, k in zip(window, self.edges, self.depth, at, strict=True)
        )
        return y, x


def _in_chunks(array: Array, dates: Sequence[int], sizes: Sequence[tuple[int, ...]]) -> da.Array:
    """Return some dates of an array, all in one chunk, cut along y and x as said."""
    if (
        isinstance(array, da.Array)
        and array.npartitions > MANY
        and array.chunks[1:] == (array.shape[1:2], *sizes)
    ):
        return _joined(array, dates)
    picked: Any = pick_dates(array, dates)
    cut: da.Array = (
        picked.rechunk((-1, -1, *sizes), block_size_limit=JOINED)
        if isinstance(picked, da.Array)
        else da.from_array(picked, (-1, -1, *sizes), asarray=False)
    )
    return cut


def _joined(array: da.Array, dates: Sequence[int]) -> da.Array:
    """Return some dates of an array in one chunk, its chunks in space as they are.

    A rule instead of the tasks that `rechunk` would write out for each: two more names for each
    chunk when it is computed, a third of the time until then.
    """
    first, whole = 0, []
    for size in array.chunks[0]:
        own = [date for date in dates if first <= date < first + size]
        first += size
        if own:
            part: Any = pick_dates(array, own)
            whole.append(part if part.numblocks[0] == 1 else part.rechunk({0: -1}))
    if len(whole) == 1:
        only: da.Array = whole[0]
        return only
    joined: da.Array = da.map_blocks(
        _in_time, *whole, chunks=((len(dates),), *array.chunks[1:]), dtype=array.dtype,
        meta=meta_from_array(array), token="xstf-dates",
    )  # fmt: skip
    return joined


def _in_time(*blocks: np.ndarray) -> np.ndarray:
    return join(blocks, (len(blocks),))


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
    cuts
        How each source is cut.
    bar
        What it moves when it is made, and the number of its job there.
    """

    job: Job
    edges: Edges
    cuts: tuple[_Cut, ...]
    bar: tuple[LazyBar, int]

    def __call__(
        self, *blocks: np.ndarray, block_id: tuple[int, ...], states: States | None = None
    ) -> np.ndarray:
        """Return the tile, with a first axis for the job."""
        at = block_id[-2:]
        rows, cols = (slice(e[k], e[k + 1]) for e, k in zip(self.edges, at, strict=True))
        clean = []
        for block, source, cut in zip(blocks, self.job.sources, self.cuts, strict=True):
            inside = cut.inside(self.job.window(source, rows, cols), at)
            clean.append(clean_block(pick_dates(block[(..., *inside)], cut.order)))
        made = self.job.make(clean, rows, cols, states or ())[None]
        bar, number = self.bar
        bar.made((number, at))
        return made
