"""Whole-image statistics: sampled once, settled once, by tiles that ask for them.

A lazy run has one delayed value for each state among its tiles' arguments. Each chunk of an image
that is sampled is one task, whoever looks at it; the samples are put together and prepared in one
more. What tiles then get is either the settled state, or where a job has several, of which most are
never needed, the prepared samples: the first tile to ask settles them. Settled states are kept in
the process under the content of their samples, so that computing a result in parts settles once.

Why a sample's chunk is made inside its task, by a graph of its own (`_Apart`): under its own key a
chunk would be made once for samples and tiles alike, and stay in memory from the first sample to
the last tile, out of any order that the scheduler could follow. Most of a scene was seen there.
(`dask.graph_manipulation.clone` is for this, but it renames only part of today's tasks: sliced and
rechunked arrays fail with missing keys.)
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import dask.array as da
import numpy as np
from dask.base import optimize, tokenize
from dask.delayed import Delayed, delayed
from dask.local import get_sync
from dask.optimization import cull

from xstf.cubes.arrays import Array
from xstf.tiles.blocks import clean_samples, compute_now, is_lazy, join
from xstf.tiles.gpu import to_host
from xstf.tiles.samples import Sample, take

Arrays: TypeAlias = Mapping[str, np.ndarray]
Settle: TypeAlias = Callable[[dict[str, Any]], Any]
# Settled states that are kept in the process; the states of one call's attempts are a few.
KEPT = 32

# Tasks of a lazy run are named by these and a token, for what keeps states elsewhere (a store): the
# function that settles, the prepared samples, and the state that tiles get. A state that is not
# settled ahead of the tiles has LATER before its token.
SETTLE, PREPARED, STATE, LATER = "xstf-settle-", "xstf-prepared-", "xstf-state-", "later-"


class State(NamedTuple):
    """Statistics of whole images that tiles need.

    Parameters
    ----------
    settle
        ``settle(samples)`` → the state, plain numpy; module-level or a partial of such.
    samples
        What it is settled from: plain arrays, small dask ones, or `Sample` of large ones.
    prepare
        ``prepare(samples)`` → smaller ones, which are what travels to tiles.
    given
        Another state that `prepare` needs: it is called as ``prepare(samples, settled)`` then.
    """

    settle: Settle
    samples: Mapping[str, Array | Sample]
    prepare: Callable[..., dict[str, np.ndarray]] | None = None
    given: State | Once | Known | None = None

    def prepared(self, samples: Arrays, *given: object) -> dict[str, np.ndarray]:
        """Return samples as `settle` sees them, of what another state was settled to be."""
        plain = dict(samples)
        return clean_samples(plain if self.prepare is None else self.prepare(plain, *given))


class Once:
    """A state that the first to ask for it settles, the others waiting."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make: Callable[[], object] | None = make
        self.lock = threading.Lock()
        self.value: Any = None

    @property
    def done(self) -> bool:
        """Whether it is settled."""
        return self.make is None

    @classmethod
    def of(cls, state: State | Once) -> Once:
        """Return a state of an eager run."""
        return state if isinstance(state, Once) else cls(lambda: _settle_eagerly(state))

    def __call__(self) -> Any:
        """Return the state."""
        with self.lock:
            if self.make is not None:
                self.value, self.make = self.make(), None
            return self.value


def _settle_eagerly(state: State) -> Any:
    plain = {
        name: sample.now() if isinstance(sample, Sample) else sample
        for name, sample in state.samples.items()
    }
    given = state.given
    if given is None:
        return state.settle(state.prepared(compute_now(plain)))
    known = given if isinstance(given, Known) else Once.of(given)
    return state.settle(state.prepared(compute_now(plain), known()))


# --- kept in the process -------------------------------------------------------------------------

_SETTLED: OrderedDict[str, Once] = OrderedDict()
_GUARD = threading.Lock()


class Prepared:
    """Prepared samples that become the state at the first call, once in a process."""

    def __init__(self, settle: Settle, samples: Arrays) -> None:
        self.settle = settle
        self.samples = samples
        self.token = tokenize(settle, samples)

    def __call__(self) -> Any:
        """Return the state."""
        with _GUARD:
            once = _SETTLED.setdefault(self.token, Once(self._settle))
            _SETTLED.move_to_end(self.token)
            while len(_SETTLED) > KEPT:
                _SETTLED.popitem(last=False)
        return once()

    def _settle(self) -> Any:
        # Settling may write into what it is given, and may be asked for again.
        return self.settle({name: np.array(value) for name, value in self.samples.items()})


class Known:
    """A state that is settled already."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self) -> Any:
        """Return the state."""
        return self.value


# --- delayed -------------------------------------------------------------------------------------


class Sampling:
    """The samples and states of a lazy run: each chunk is looked at once, each state made once."""

    def __init__(self) -> None:
        self.taken: dict[Any, da.Array] = {}
        self.looks: dict[Any, Delayed] = {}
        self.states: dict[Any, Delayed] = {}

    def of(self, states: Sequence[State | Once], checks: Sequence[State] = ()) -> Delayed | None:
        """Return the states of a job as one delayed list of functions that return them.

        Checks are settled before any tile, since one that fails is to stop them all; no tile asks.
        """
        if not states and not checks:
            return None
        lazy = [self._state(s, ahead=len(states) == 1) for s in states if isinstance(s, State)]
        before = [self._state(check, ahead=True) for check in checks]
        key = f"xstf-states-{tokenize([one.key for one in (*lazy, *before)], len(lazy))}"
        together: Delayed = delayed(_listed)(len(lazy), *lazy, *before, dask_key_name=key)
        return together

    def _state(self, state: State, *, ahead: bool) -> Delayed:
        values = {name: self._sampled(sample) for name, sample in state.samples.items()}
        parts = {name: ([p.key for p in found], dates) for name, (found, dates) in values.items()}
        given = self._state(state.given, ahead=True) if isinstance(state.given, State) else None
        before = None if given is None else given.key
        token = tokenize(state.settle, state.prepare, parts, ahead, before)
        key = f"{STATE}{'' if ahead else LATER}{token}"
        if key not in self.states:
            # Each as an argument of its own: dask looks long at what is in lists.
            places = _Places(
                tuple((n, len(p), d) for n, (p, d) in values.items()), given is not None
            )
            found = [part for parts_of, _ in values.values() for part in parts_of]
            found = found if given is None else [given, *found]
            how = delayed(_Value(state.settle))(dask_key_name=f"{SETTLE}{token}")
            prepared = delayed(_prepare)(
                how, state.prepare, places, *found, dask_key_name=f"{PREPARED}{token}"
            )
            self.states[key] = delayed(_known if ahead else _itself)(prepared, dask_key_name=key)
        return self.states[key]

    def _sampled(self, sample: Array | Sample) -> tuple[list[Delayed], list[int] | None]:
        """Return the parts of a sample along its first axis, and which dates of them it is."""
        if not isinstance(sample, Sample):
            if not isinstance(sample, da.Array):
                value = np.asarray(to_host(sample))
                key = f"xstf-given-{tokenize(value)}"
                return [delayed(_Value(value))(dask_key_name=key)], None
            every = range(sample.numblocks[0]) if sample.ndim else [None]
            return [self._rows(sample, k, None) for k in every], None
        if not is_lazy(sample.array):
            return self._sampled(sample.now())
        array = self._taken(sample)
        edges = np.cumsum([0, *array.chunks[0]])
        chunk = np.searchsorted(edges, sample.dates, side="right") - 1
        used = {
            int(k): sorted({d - int(edges[k]) for d, c in zip(sample.dates, chunk, strict=True)
                            if c == k})
            for k in np.unique(chunk)
        }  # fmt: skip
        order = [int(edges[k]) + d for k, dates in used.items() for d in dates]
        self._look(array, list(used))
        parts = [self._rows(array, k, tuple(dates)) for k, dates in used.items()]
        return parts, [order.index(d) for d in sample.dates]

    def _taken(self, sample: Sample) -> da.Array:
        key = (sample.array.name, tokenize(sample.rows, sample.cols, sample.pad))  # type: ignore[attr-defined]
        if key not in self.taken:
            taken: Any = take(sample.array, sample.rows, sample.cols, sample.pad)
            self.taken[key] = taken
        return self.taken[key]

    def _rows(self, array: da.Array, k: int | None, dates: tuple[int, ...] | None) -> Delayed:
        """Return a stretch of an array along its first axis, put together of its chunks."""
        if k is None:
            self._look(array, None)
            return self.looks[array.name, ()]
        if (array.name, (k, *(0,) * (array.ndim - 1))) not in self.looks:
            self._look(array, [k])
        key = f"xstf-sampled-{tokenize(array.name, k, dates)}"
        shape = array.numblocks[1:]
        chunks = [self.looks[array.name, (k, *at)] for at in np.ndindex(*shape)]
        together: Delayed = delayed(_together)(shape, dates, *chunks, dask_key_name=key)
        return together

    def _look(self, array: da.Array, blocks: list[int] | None) -> None:
        """Make a task of each chunk in some rows of chunks, from a graph of its own."""
        if blocks is None:
            part, names = array, [()]
        else:
            blocks = [k for k in blocks if (array.name, (k, *(0,) * (array.ndim - 1)))
                      not in self.looks]  # fmt: skip
            if not blocks:
                return
            part = array.blocks[blocks]
            names = [(k, *at) for k in blocks for at in np.ndindex(*array.numblocks[1:])]
        if on_a_cluster(part):
            for name, look in zip(names, part.to_delayed(optimize_graph=False).ravel(),
                                  strict=True):  # fmt: skip
                self.looks[array.name, name] = look
            return
        (small,) = optimize(part)
        graph = dict(small.__dask_graph__())
        for name, at in zip(names, np.ndindex(*small.numblocks), strict=True):
            key = (small.name, *at)
            apart = _Apart(cull(graph, [key])[0], key)
            self.looks[array.name, name] = delayed(apart)(
                dask_key_name=f"xstf-sample-{tokenize(array.name, name)}"
            )


class _Apart:
    """A chunk that is made by itself, in whatever task calls this."""

    def __init__(self, graph: Mapping[Hashable, object], key: tuple[str | int, ...]) -> None:
        self.graph = graph
        self.key = key

    def __call__(self) -> np.ndarray:
        return to_host(get_sync(self.graph, self.key))


class _Value:
    """A plain array or a function, hidden from what looks for dask's in arguments."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


def on_a_cluster(array: da.Array) -> bool:
    """Return whether some of an array's chunks lie in a cluster's memory already.

    They are there to be kept, and only the cluster's own scheduler can reach them.
    """
    if "distributed" not in sys.modules:
        return False
    from distributed import Future  # waits where another thread is importing it

    # Others, made of a rule, would be written out here task by task.
    written = (layer for layer in array.dask.layers.values() if layer.is_materialized())
    first = (next(iter(layer.values()), None) for layer in written)
    return any(isinstance(value, Future) for value in first)


def _together(
    shape: tuple[int, ...], dates: tuple[int, ...] | None, *chunks: np.ndarray
) -> np.ndarray:
    """Return the chunks of a stretch along the first axis as one array, of some dates only."""
    picked = [to_host(c) if dates is None else to_host(c)[list(dates)] for c in chunks]
    return join(picked, (1, *shape))


def _listed(count: int, *states: Callable[[], object]) -> list[Callable[[], object]]:
    """Return the states alone; the checks after them have passed."""
    return list(states[:count])


class _Places:
    """Which parts belong to each sample, which dates of them it is, and if another state leads."""

    def __init__(self, samples: tuple[tuple[str, int, list[int] | None], ...], given: bool) -> None:
        self.samples = samples
        self.given = given


def _prepare(
    settle: Settle,
    prepare: Callable[..., dict[str, np.ndarray]] | None,
    places: _Places,
    *parts: Any,
) -> Prepared:
    """Return the samples that a state is settled of."""
    samples, left, given = {}, list(parts), []
    if places.given:
        given, left = [left[0]()], left[1:]
    for name, count, order in places.samples:
        found, left = left[:count], left[count:]
        whole = np.concatenate(found) if count > 1 else found[0]
        samples[name] = whole if order is None else whole[order]
    return Prepared(settle, State(settle, {}, prepare).prepared(samples, *given))


def _known(prepared: Prepared) -> Known:
    return Known(prepared())


def _itself(prepared: Prepared) -> Prepared:
    return prepared
