"""Chunks of inputs that wait for the statistics of whole images.

Those take a while, by few tasks, and a scheduler gives the other workers whatever is ready: chunks
of the inputs, which would all wait in memory. A dependency at the end of the way that a chunk is
made does not help, since its beginning is ready all the same. So what is done for one chunk alone
becomes one task, a graph of its own, and that waits. What several chunks share is made as before.

Each of these tasks has a beginning of its own besides, a task that does nothing (`_turn`): dask
orders tasks by their beginnings, and would make all chunks in a row if they had but one in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.base import optimize, tokenize
from dask.delayed import Delayed
from dask.local import get_sync
from dask.optimization import cull

Graph: TypeAlias = Mapping[Any, Any]


def after(first: Delayed, array: da.Array) -> da.Array:
    """Return an array whose chunks are made when something else is there."""
    (small,) = optimize(array)
    name = f"xstf-after-{tokenize(array.name, first.key)}"
    chunks = {(small.name, *at): at for at in np.ndindex(*small.numblocks)}
    graph, needs = cull(dict(small.__dask_graph__()), list(chunks))
    alone = _alone(needs, chunks)
    tasks: dict[Any, Any] = {}
    for key, at in chunks.items():
        turn = (f"{name}-turn", *at)
        tasks[turn] = (_turn,)
        own = {k: graph[k] for k in alone.get(key, ())}
        given = sorted({n for k in own for n in needs[k] if n not in own}, key=str)
        if key in own:
            tasks[name, *at] = (_Own(own, key, tuple(given)), turn, first.key, *given)
        else:  # another chunk is made of it
            tasks[name, *at] = (_last, turn, first.key, key)
    whole = dict(first.__dask_graph__()) | graph | tasks
    waiting: da.Array = da.Array(whole, name, small.chunks, meta=meta_from_array(array))
    return waiting


def _alone(needs: Mapping[Any, Any], chunks: Mapping[Any, Any]) -> dict[Any, list[Any]]:
    """Return the tasks that are there for one chunk only, by chunk."""
    serves: dict[Any, set[Any]] = {key: set() for key in needs}
    found: dict[Any, list[Any]] = {}
    for key in reversed(list(TopologicalSorter(needs).static_order())):
        whom = serves[key] | ({key} if key in chunks else set())
        if len(whom) == 1:
            found.setdefault(next(iter(whom)), []).append(key)
        some = set(list(whom)[:2])  # enough to know that there are several
        for need in needs[key]:
            serves[need] |= some
    return found


class _Own:
    """What makes one chunk, of what other chunks need, too."""

    def __init__(self, graph: Graph, key: Any, given: tuple[Any, ...]) -> None:
        self.graph = graph
        self.key = key
        self.given = given

    def __call__(self, _: object, __: object, *values: Any) -> Any:
        return get_sync({**self.graph, **dict(zip(self.given, values, strict=True))}, self.key)


def _last(*values: Any) -> Any:
    return values[-1]


def _turn() -> None:
    pass
