"""The tasks that write a result, and how they are run: here or on a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import dask.array as da
import dask.config
import numpy as np
import xarray as xr
from dask.array.utils import meta_from_array
from dask.base import compute, optimize
from dask.diagnostics.progress import ProgressBar
from dask.optimization import cull

from xstf.store.place import Place
from xstf.store.tiles import At, Layout, writing

_LOCAL = (None, "threads", "threading")


class Work:
    """One graph for all tiles of a result.

    Parameters
    ----------
    dataset
        The result.
    layouts
        Of its lazy variables.
    place
        Where it is written.
    """

    def __init__(self, dataset: xr.Dataset, layouts: Sequence[Layout], place: Place) -> None:
        arrays = [writing(dataset, one, place) for one in layouts]
        # Layers are joined here, while they are layers. Tasks are not: states keep their names.
        with dask.config.set({"optimization.fuse.active": False}):
            arrays = list(optimize(*arrays))
        self.names = {one.number: a.name for one, a in zip(layouts, arrays, strict=True)}
        self.graph: dict[Any, Any] = {}
        for array in arrays:
            self.graph.update(dict(array.__dask_graph__()))

    def put_states(self, states: Mapping[str, Any]) -> None:
        """Have tiles take states that were settled, in the place of the tasks that settle them."""
        self.graph.update(states)

    def run(self, left: Mapping[int, Sequence[At]], *, progress: bool) -> None:
        """Write some tiles, by the number of their layout."""
        keys = [(self.names[number], *at) for number, tiles in left.items() for at in tiles]
        ends: dict[Any, Any] = {("xstf-tiles", i): (_one, key) for i, key in enumerate(keys)}
        small, _ = cull(self.graph | ends, list(ends))
        meta = np.empty(0, np.uint8)
        _run(da.Array(dict(small), "xstf-tiles", ((1,) * len(keys),), meta=meta), progress=progress)


def with_states(array: da.Array, states: Mapping[str, Any]) -> da.Array:
    """Return an array that takes states which were settled."""
    graph: dict[Any, Any] = dict(array.__dask_graph__())
    graph.update(states)
    return da.Array(graph, array.name, array.chunks, meta=meta_from_array(array))


def _one(written: np.ndarray) -> np.ndarray:
    return written.reshape(-1)[:1]


def _run(tiles: da.Array, *, progress: bool) -> None:
    client = find_client()
    if client is not None:
        future = client.compute(tiles)
        if progress:
            from distributed import progress as bar

            bar(future, notebook=False)
        future.result()
        return
    with ProgressBar(out=sys.stderr) if progress else nullcontext():
        compute_here(tiles)


def compute_here(*arrays: da.Array) -> tuple[Any, ...]:
    """Compute arrays; in threads wait for all of them after an error, too."""
    if find_client() is not None or dask.config.get("scheduler", None) not in _LOCAL:
        found: tuple[Any, ...] = compute(*arrays)
        return found
    workers = dask.config.get("num_workers", None) or os.cpu_count()
    with ThreadPoolExecutor(workers) as pool, dask.config.set(pool=pool):
        found = compute(*arrays, scheduler="threads")
        return found


def find_client() -> Any:
    """Return the client of a cluster, if dask would use one."""
    elsewhere = (*_LOCAL[1:], "synchronous", "sync", "single-threaded", "processes",
                 "multiprocessing")  # fmt: skip
    if "distributed" not in sys.modules or dask.config.get("scheduler", None) in elsewhere:
        return None
    from distributed import default_client  # waits where another thread is importing it

    try:
        return default_client()
    except ValueError:
        return None
