"""Tiles: the one way of computing, lazy or not (with `_samples` all that knows dask).

One task makes one output tile and cuts each input's own window out of it, in absolute indices. So
the inputs' chunkings need not be related, a chunk may be thinner than the halo, the output has the
caller's chunks, and any chunking gives the same numbers. (`dask.array.map_overlap` wants chunks in
the ratio of the grids and none thinner than the halo, which means rechunking the caller's cube, and
its halo slices are views that keep whole chunks in memory; ours are copied.)

A numpy input takes the same path in a thread pool, with no graph. Nothing else asks whether an
array is lazy.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import convert_legacy_graph
from dask.base import compute, optimize, tokenize
from dask.highlevelgraph import HighLevelGraph

from xstf.cubes.limits import LARGEST

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Source:
    """One input of a tiled computation.

    Parameters
    ----------
    array
        ``(date, band, y, x)``, numpy, cupy or dask, any real dtype.
    dates
        The positions along its first axis that are needed, in the order wanted.
    window
        ``window(rows, cols)`` of the output → rows and cols of the array, within it.
    """

    array: Any
    dates: tuple[int, ...]
    window: Callable[[slice, slice], Window]


@dataclass(frozen=True)
class Job:
    """One output image stack ``(*lead, y, x)``, made tile by tile.

    Parameters
    ----------
    function
        ``function(blocks, rows, cols, state)`` → the tile ``(*lead, rows, cols)``, float32; the
        blocks are float32, C order, NaN where missing or not finite. Module-level or a partial of
        such, since clusters pickle it.
    sources
        Its inputs, at least one.
    lead, shape
        Leading sizes and ``(y, x)`` of the output.
    states
        Whole-image statistics: ``(settle, samples)`` pairs, each settled once for the job; the tile
        function gets a list of functions that return the results, so that in an eager run one
        that no tile asks for is not worked out.
    """

    function: Callable[[list[Any], slice, slice, list[Any]], Any]
    sources: tuple[Source, ...]
    lead: tuple[int, ...]
    shape: tuple[int, int]
    states: tuple[tuple[Callable[[dict[str, Any]], Any], dict[str, Any]], ...] = ()


def is_lazy(*arrays: Any) -> bool:
    """Return whether any of the arrays is dask's."""
    return any(isinstance(array, da.Array) for array in arrays)


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


def run_tiles(
    jobs: Sequence[Job], *, chunks: tuple[Any, Any], tile: int, progress: bool = False
) -> Any:
    """Run the jobs: lazily if any input is lazy, else now, on every core.

    Parameters
    ----------
    jobs
        Of one output shape.
    chunks
        Output chunks along y and x for a lazy run, as dask writes them.
    tile
        Side of a tile of an eager run, in output pixels.
    progress
        Show a bar on stderr while an eager run works.

    Returns
    -------
    array (job, *lead, y, x)
        float32, one chunk a job along the leading axes if lazy.
    """
    if is_lazy(*(s.array for job in jobs for s in job.sources)):
        return da.stack([_lazy(job, da.core.normalize_chunks(chunks, job.shape)) for job in jobs])
    return _eager(jobs, tile, progress)


def settle_now(jobs: Sequence[Job]) -> tuple[list[Job], list[Any]]:
    """Return eager jobs with their states settled, and the states, of which the verb can tell.

    Lazy jobs come back as they are, without states.
    """
    if is_lazy(*(s.array for job in jobs for s in job.sources)):
        return list(jobs), []
    found = [
        [settle(_samples(compute_now(samples))) for settle, samples in job.states] for job in jobs
    ]
    done = [
        replace(job, states=tuple((partial(_given_already, s), {}) for s in states))
        for job, states in zip(jobs, found, strict=True)
    ]
    return done, [state for states in found for state in states]


def _given_already(state: Any, _: dict[str, Any]) -> Any:
    return state


# --- now: a thread pool -----------------------------------------------------------------------


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _eager(jobs: Sequence[Job], tile: int, progress: bool) -> Any:
    once = {id(state): _Once(*state) for job in jobs for state in job.states}
    states = [[once[id(state)] for state in job.states] for job in jobs]
    first = jobs[0]
    results = _module(first).empty((len(jobs), *first.lead, *first.shape), np.float32)
    work = [
        (i, rows, cols)
        for i, job in enumerate(jobs)
        for rows, cols in _tiles(*(plan_chunks(size, tile) for size in job.shape))
    ]

    def one(item: tuple[int, slice, slice]) -> None:
        i, rows, cols = item
        blocks = [_cut(source, rows, cols) for source in jobs[i].sources]
        results[i][..., rows, cols] = _call(jobs[i].function, blocks, rows, cols, states[i])

    workers = min(cores(), len(work))
    if workers == 1:  # on this thread, where a library may use every core for itself
        for _ in _bar(map(one, work), len(work), progress):
            pass
        return results
    with ThreadPoolExecutor(workers) as pool:
        for _ in _bar(pool.map(one, work), len(work), progress):
            pass
    return results


class _Once:
    """A state that the first tile to ask for it settles, the others waiting."""

    def __init__(self, settle: Callable[[dict[str, Any]], Any], samples: dict[str, Any]) -> None:
        self.settle = settle
        self.samples = samples
        self.lock = threading.Lock()
        self.value: Any = None

    def __call__(self) -> Any:
        with self.lock:
            if self.value is None:
                self.value = self.settle(_samples(compute_now(self.samples)))
            return self.value


def _module(job: Job) -> Any:
    """Return numpy, or cupy if the inputs live there."""
    array = job.sources[0].array
    return np if isinstance(array, np.ndarray) else __import__(type(array).__module__.split(".")[0])


def _bar(items: Iterator[Any], total: int, progress: bool) -> Iterator[Any]:
    if not progress:
        return items
    from tqdm.auto import tqdm  # a quarter of a second to import, wanted only here

    return iter(tqdm(items, total=total, unit="tile", desc="xstf"))


def _tiles(*chunks: tuple[int, ...]) -> Iterator[Window]:
    """Give the rows and cols of every tile."""
    edges = [np.cumsum([0, *sizes]).tolist() for sizes in chunks]
    rows, cols = ([slice(a, b) for a, b in itertools.pairwise(edge)] for edge in edges)
    yield from itertools.product(rows, cols)


def _cut(source: Source, rows: slice, cols: slice) -> Any:
    window = source.window(rows, cols)
    runs = _runs(source.dates, [])
    dates: Any = slice(*runs[0]) if len(runs) == 1 else list(source.dates)
    return clean_block(source.array[(..., *window)][dates])


def _runs(dates: Sequence[int], edges: Sequence[int]) -> list[tuple[int, int]]:
    """Return (start, stop) of the stretches of successive dates, split at chunk edges."""
    runs: list[tuple[int, int]] = []
    for date in dates:
        if runs and runs[-1][1] == date and date not in edges:
            runs[-1] = (runs[-1][0], date + 1)
        else:
            runs.append((date, date + 1))
    return runs


def clean_block(block: Any) -> Any:
    """Return a block as kernels want it: float32, C order, NaN for all that is no measurement."""
    module = np if isinstance(block, np.ndarray) else __import__(type(block).__module__)
    with np.errstate(over="ignore"):  # what leaves float32 is missing, as what is infinite
        out = module.array(block, dtype=np.float32, order="C", copy=True)
    absurd = abs(out) >= LARGEST
    if absurd.any():
        out[absurd] = np.nan
    return out


def _samples(samples: dict[str, Any]) -> dict[str, Any]:
    return {
        name: clean_block(value) if np.dtype(value.dtype).kind == "f" else value
        for name, value in samples.items()
    }


# --- later: a graph ---------------------------------------------------------------------------


def _lazy(job: Job, chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> da.Array:
    sources = [as_lazy(source.array) for source in job.sources]
    token = tokenize(
        job.function, [s.name for s in sources], [s.dates for s in job.sources], chunks, job.lead,
        [(s[0], [(k, v.name if is_lazy(v) else v) for k, v in s[1].items()]) for s in job.states],
    )  # fmt: skip
    graph: dict[Any, Any] = {}
    parents: list[Any] = list(sources)
    states = []
    for settle, samples in job.states:
        named = [(k, v.name if is_lazy(v) else v) for k, v in samples.items()]
        # One state of several jobs is one node of their graphs.
        key = f"xstf-state-{tokenize(settle, named)}"
        keys = _add_apart(graph, list(samples.values()), key)
        graph[key] = (partial(_settle, settle, tuple(samples)), *keys)
        states.append(key)
    cuts = _Cuts(graph, token)
    name = f"xstf-{token}"
    lead = (0,) * len(job.lead)
    for at, (rows, cols) in zip(np.ndindex(*map(len, chunks)), _tiles(*chunks), strict=True):
        pieces, keys = [], []
        for source, array in zip(job.sources, sources, strict=True):
            layout, needed = cuts.plan(array, source, source.window(rows, cols))
            pieces.append(layout)
            keys.extend(needed)
        task = partial(_tile, job.function, tuple(pieces), rows, cols, len(states))
        graph[(name, *lead, *at)] = (task, *states, *keys)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=parents)
    meta = sources[0]._meta.astype(np.float32).reshape((0,) * (len(job.lead) + 2))
    whole_chunks = (*((n,) for n in job.lead), *chunks)
    return da.Array(layers, name, whole_chunks, dtype=np.float32, meta=meta)


def _add_apart(graph: dict[Any, Any], samples: Sequence[Any], name: str) -> list[Any]:
    """Add the tasks of small arrays to a graph under new names; return the keys of the arrays.

    Under their own names the chunks that samples come from would be made once, for samples and
    tiles alike, and stay in memory from the first sample to the last tile, out of any order that
    the scheduler could follow: most of a scene was seen there. So they are made twice.
    (`dask.graph_manipulation.clone` is for this, and loses tasks of `take`.)
    """
    whole = optimize(*(as_lazy(sample).rechunk(-1) for sample in samples))
    tasks: dict[Any, Any] = {}
    for array in whole:
        tasks |= convert_legacy_graph(dict(array.__dask_graph__()))
    names = {key: f"{name}-{number}" for number, key in enumerate(tasks)}
    for key, task in tasks.items():
        graph[names[key]] = task.substitute(names, key=names[key])
    return [names[array.name, *(0,) * array.ndim] for array in whole]


def as_lazy(array: Any) -> da.Array:
    """Return an array as dask's, in one chunk if it was not."""
    return array if isinstance(array, da.Array) else da.from_array(array, chunks=-1)


@dataclass(frozen=True)
class _Layout:
    """Where the cut pieces go in one input's block."""

    shape: tuple[int, ...]
    places: tuple[tuple[slice, ...], ...]


class _Cuts:
    """Adds the cutting tasks to a graph, each piece once."""

    def __init__(self, graph: dict[Any, Any], token: str) -> None:
        self.graph = graph
        self.token = token
        self.edges: dict[str, list[list[int]]] = {}

    def plan(self, array: da.Array, source: Source, window: Window) -> tuple[_Layout, list[Any]]:
        if array.name not in self.edges:
            self.edges[array.name] = [np.cumsum([0, *c]).tolist() for c in array.chunks]
        edges = self.edges[array.name]
        inner = [slice(0, n) for n in array.shape[1:-2]]
        axes = [_spread(e, s) for e, s in zip(edges[1:], [*inner, *window], strict=True)]
        shape = (len(source.dates), *(s.stop - s.start for s in [*inner, *window]))
        places, keys = [], []
        at = 0
        for start, stop in _runs(source.dates, edges[0]):
            chunk = int(np.searchsorted(edges[0], start, side="right")) - 1
            first = edges[0][chunk]
            for parts in itertools.product(*axes):
                numbers, inside, place = zip(*parts, strict=True)
                local = (slice(start - first, stop - first), *inside)
                places.append((slice(at, at + stop - start), *place))
                keys.append(self._cut((array.name, chunk, *numbers), local))
            at += stop - start
        return _Layout(shape, tuple(places)), keys

    def _cut(self, block: tuple[Any, ...], local: tuple[slice, ...]) -> Any:
        key = (f"xstf-cut-{self.token}", *block, *((s.start, s.stop) for s in local))
        flat = "-".join(str(part) for part in key)
        if flat not in self.graph:
            self.graph[flat] = (partial(_copy, local), block)
        return flat


def _spread(edges: list[int], wanted: slice) -> list[tuple[int, slice, slice]]:
    """Return (chunk number, slice inside it, slice inside the window) along one axis."""
    parts = []
    for number in range(len(edges) - 1):
        start, stop = max(edges[number], wanted.start), min(edges[number + 1], wanted.stop)
        if start < stop:
            inside = slice(start - edges[number], stop - edges[number])
            parts.append((number, inside, slice(start - wanted.start, stop - wanted.start)))
    return parts


def _given(value: Any) -> Any:
    return value


def _copy(local: tuple[slice, ...], block: Any) -> Any:
    return clean_block(block[local])


def _settle(settle: Callable[[dict[str, Any]], Any], names: tuple[str, ...], *values: Any) -> Any:
    return settle(_samples(dict(zip(names, values, strict=True))))


def _tile(
    function: Callable[..., Any],
    layouts: tuple[_Layout, ...],
    rows: slice,
    cols: slice,
    n_states: int,
    *values: Any,
) -> Any:
    """Put the pieces of each input together and make the tile."""
    states = [partial(_given, value) for value in values[:n_states]]
    pieces = iter(values[n_states:])
    blocks = []
    for layout in layouts:
        found = [next(pieces) for _ in layout.places]
        if len(found) == 1:
            block = found[0]
        else:
            block = np.empty_like(
                found[0] if found else np.empty(0, np.float32), shape=layout.shape
            )
            for place, piece in zip(layout.places, found, strict=True):
                block[place] = piece
        blocks.append(block)
    return _call(function, blocks, rows, cols, states)


def _call(
    function: Callable[..., Any], blocks: list[Any], rows: slice, cols: slice, states: list[Any]
) -> Any:
    """Make a tile; an error says which."""
    try:
        return function(blocks, rows, cols, states)
    except Exception as error:
        error.add_note(
            f"in the tile of rows {rows.start} to {rows.stop} and columns {cols.start} to "
            f"{cols.stop}"
        )
        raise


def compute_now(samples: dict[str, Any]) -> dict[str, Any]:
    """Return small dask arrays as plain ones, on this thread."""
    return dict(compute(samples, scheduler="synchronous")[0])
