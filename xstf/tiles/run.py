"""Tiles: the one way of computing, lazy or not.

A job makes an image tile by tile. Each tile sees its part of every input with a halo, cut on whole
cells (`geometry`), so that any tiling cuts what the others cut. Numpy inputs run in a thread pool
on views, with no graph; with a dask input the same tile function goes through
`dask.array.map_overlap` (`lazy`). Nothing else asks whether an array is lazy.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from xstf.cubes.arrays import Array
from xstf.numerics.threads import free
from xstf.tiles.bar import shown
from xstf.tiles.blocks import clean_block, compute_now, is_lazy, module_of
from xstf.tiles.geometry import as_chunks, pieces, plan_chunks
from xstf.tiles.job import Job, Source
from xstf.tiles.lazy import pick_dates, run_lazily
from xstf.tiles.states import Once, State

__all__ = [
    "Job", "Source", "State", "as_chunks", "clean_block", "compute_now", "cores", "is_lazy",
    "pick_dates", "plan_chunks", "run_tiles", "settle_now",
]  # fmt: skip

Chunks: TypeAlias = int | Sequence[int]
# Pixels of a stretch that is done at once without tiles: whole in the first, which is long enough
# for memory to be read at its speed; and how many stretches each core has.
SHORTEST, LONGEST, STRETCHES = 4096, 1 << 18, 4


def run_tiles(
    jobs: Sequence[Job],
    *,
    chunks: tuple[Chunks, Chunks],
    tile: int,
    progress: bool = False,
    checks: Sequence[State] = (),
) -> Array:
    """Run the jobs: lazily if any input is lazy, else now, on every core.

    Parameters
    ----------
    jobs
        Of one output shape.
    chunks
        Output chunks along y and x for a lazy run, as dask writes them.
    tile
        Side of a tile of an eager run, in output pixels; edges are on whole cells.
    progress
        Show a bar on stderr while tiles are made: now, or when a lazy result is computed.
    checks
        What a lazy run settles before any tile, and an eager one has settled before it begins.

    Returns
    -------
    array (job, *lead, y, x)
        float32, one chunk a job along the leading axes if lazy.
    """
    if is_lazy(*(s.array for job in jobs for s in job.sources)):
        wanted = [as_chunks(c, n) for c, n in zip(chunks, jobs[0].shape, strict=True)]
        return run_lazily(jobs, (wanted[0], wanted[1]), checks, progress=progress)
    return _eager(jobs, tile, progress)


def settle_now(jobs: Sequence[Job]) -> tuple[list[Job], list[Once]]:
    """Return eager jobs with their states settled, and the states, of which the verb can tell.

    Of a job with several states, those are settled that tiles ask for, when they do. Lazy jobs come
    back as they are, without states.
    """
    if is_lazy(*(s.array for job in jobs for s in job.sources)):
        return list(jobs), []
    shared: dict[int, Once] = {}
    done = [replace(job, states=tuple(_once(s, shared) for s in job.states)) for job in jobs]
    found = [_once(state, shared) for job in done for state in job.states]
    for job in done:
        if len(job.states) == 1:
            with free(cores()):  # no tile is made yet
                _once(job.states[0], shared)()
    return done, found


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _eager(jobs: Sequence[Job], tile: int, progress: bool) -> np.ndarray:
    shared: dict[int, Once] = {}
    states = [[_once(state, shared) for state in job.states] for job in jobs]
    first = jobs[0]
    module: ModuleType = module_of(first.sources[0].array)
    results: np.ndarray = module.empty((len(jobs), *first.lead, *first.shape), np.float32)
    if len(jobs) == 1 and _straight(first, results[0], progress):
        return results
    work = [
        (i, rows, cols)
        for i, job in enumerate(jobs)
        for rows, cols in itertools.product(*(pieces(a.tile_edges(tile)) for a in job.axes))
    ]

    def one(item: tuple[int, slice, slice]) -> None:
        i, rows, cols = item
        blocks = [_cut(jobs[i], source, rows, cols) for source in jobs[i].sources]
        results[i][..., rows, cols] = jobs[i].make(blocks, rows, cols, states[i])

    _each(one, work, progress)
    return results


def _each(one: Callable[[Any], None], work: Sequence[Any], progress: bool) -> None:
    """Do each piece of some work, on every core."""
    workers = min(cores(), len(work))
    if workers == 1:  # on this thread, where a library may use every core for itself
        for _ in shown(map(one, work), len(work), progress):
            pass
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in shown(pool.map(one, work), len(work), progress):
            pass


def _directly(job: Job) -> Callable[[np.ndarray, np.ndarray, slice], None] | None:
    """Return what does a job without tiles; None where there are tiles alone."""
    array = job.sources[0].array
    plain = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.flags.c_contiguous
    return job.direct if plain else None


def _straight(job: Job, out: np.ndarray, progress: bool) -> bool:
    """Write the result of a job straight from its one source, if that can be; return whether.

    A stretch of pixels at a time, so that each core has some.
    """
    direct = _directly(job)
    if direct is None:
        return False
    pixels = job.shape[0] * job.shape[1]
    cube: Any = job.sources[0].array
    rows, written = cube.reshape(*cube.shape[:2], pixels), out.reshape(*job.lead, pixels)
    fair = -(-pixels // (STRETCHES * cores()))
    side = min(LONGEST, -(-fair // SHORTEST) * SHORTEST)
    work = [slice(at, min(at + side, pixels)) for at in range(0, pixels, side)]
    _each(partial(direct, rows, written), work, progress)
    return True


def _once(state: State | Once, shared: dict[int, Once]) -> Once:
    """Return what settles a state, the same for jobs that share its samples."""
    if isinstance(state, Once):
        return state
    return shared.setdefault(id(state.samples), Once.of(state))


def _cut(job: Job, source: Source, rows: slice, cols: slice) -> np.ndarray:
    window = job.window(source, rows, cols)
    return clean_block(pick_dates(source.array[(..., *window)], source.dates))
