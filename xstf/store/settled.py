"""States of whole images, settled once for a store and kept in it until the result is whole.

The graph of a lazy result has a task for each state (`xstf.tiles.states`). Here each is run by
itself, ahead of the tiles, and what it gives is kept under its token; tiles then read it from
there, so neither a region, nor a worker, nor a run after a killed one settles again.
"""

from __future__ import annotations

import importlib
import io
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import dask.array as da
from dask.base import compute
from dask.delayed import Delayed, delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from xstf.store.canonical import Canon
from xstf.store.place import Place

_PREFIX = "xstf-state-"
_IN_PROCESS = 32
_READ: OrderedDict[tuple[str, str], Any] = OrderedDict()
_GUARD = threading.Lock()
# What a state is made of. Reading one back may call nothing else.
_FOLDERS = ("methods", "numerics", "tiles", "cubes", "nets", "_method")
_NAMES = {
    ("builtins", name) for name in ("set", "frozenset", "slice", "range", "complex", "bytearray")
} | {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric",
                   "numpy._core.numeric", "numpy")
    for name in ("_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype")
} | {("functools", "partial"), ("collections", "OrderedDict"), ("_codecs", "encode")}  # fmt: skip


def with_kept_states(arrays: Mapping[Hashable, da.Array], place: Place) -> dict[Hashable, da.Array]:
    """Return arrays whose tiles read the states that they need from a store; settle what is new."""
    graphs = {name: _as_layers(array.__dask_graph__()) for name, array in arrays.items()}
    whole = HighLevelGraph.merge(*graphs.values())
    keys = [key for key in whole.layers if str(key).startswith(_PREFIX)]
    if not keys:
        return dict(arrays)
    canon = Canon(dict(whole.cull(keys)))
    tokens = {key: canon.of(key) for key in keys}
    new = {key: token for key, token in tokens.items() if place.get(token) is None}
    jobs = [
        delayed(_keep)(Delayed(key, whole, layer=key), place, token) for key, token in new.items()
    ]
    could_not = {key for key, kept in zip(new, compute(*jobs), strict=True) if not kept}
    kept = {key: token for key, token in tokens.items() if key not in could_not}
    return {
        name: da.Array(_replaced(graphs[name], kept, place), array.name, array.chunks,
                       meta=array._meta)
        for name, array in arrays.items()
    }  # fmt: skip


def _as_layers(graph: Any) -> HighLevelGraph:
    if isinstance(graph, HighLevelGraph):
        return graph
    return HighLevelGraph.from_collections("graph", dict(graph))


def _replaced(graph: HighLevelGraph, kept: Mapping[Any, str], place: Place) -> HighLevelGraph:
    layers, needs = dict(graph.layers), dict(graph.dependencies)
    for key, token in kept.items():
        if key in layers:
            layers[key] = MaterializedLayer({key: (_read, place, token)})
            needs[key] = set()
    return HighLevelGraph(layers, needs)


# --- tasks ------------------------------------------------------------------------------------


def _keep(state: Callable[[], object], place: Place, token: str) -> bool:
    """Keep a state in the store; return False for one of a kind that would not be read back."""
    try:
        data = pickle.dumps(state, protocol=5)
        _loaded(data)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    place.put(token, data)
    return True


def _read(place: Place, token: str) -> Callable[[], object]:
    """Return a state as tiles ask for it."""
    with _GUARD:
        found = _READ.get((place.name, token))
    if found is None:
        data = place.get(token)
        if data is None:
            raise OSError(f"{place.name}: a state that was kept there is gone ({token})")
        found = _loaded(data)
        if hasattr(found, "samples"):  # settled by the first tile that asks
            found = _Later(found, place, token)
        with _GUARD:
            found = _READ.setdefault((place.name, token), found)
            while len(_READ) > _IN_PROCESS:
                _READ.popitem(last=False)
    state: Callable[[], object] = found
    return state


class _Later:
    """A state that is settled of kept samples by the first tile to ask, and kept then, too."""

    def __init__(self, prepared: Callable[[], object], place: Place, token: str) -> None:
        self.prepared = prepared
        self.place = place
        self.token = f"{token}-settled"
        self.lock = threading.Lock()
        self.value: tuple[object] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _read, (self.place, self.token.removesuffix("-settled"))

    def __call__(self) -> object:
        with self.lock:
            if self.value is None:
                data = self.place.get(self.token)
                if data is None:
                    made = self.prepared()
                    _keep(made, self.place, self.token)  # type: ignore[arg-type]
                    self.value = (made,)
                else:
                    self.value = (_loaded(data),)
            return self.value[0]


class _Reader(pickle.Unpickler):
    """Reads what `_keep` wrote, and refuses to make anything else."""

    def find_class(self, module: str, name: str) -> Any:
        parts = module.split(".")
        ours = parts[0] == "xstf" and parts[1:2] and parts[1] in _FOLDERS
        if ours or (module, name) in _NAMES:
            return super().find_class(module, name)
        if module.split(".")[0] == "numpy" and name.endswith("DType"):
            return getattr(importlib.import_module(module), name)
        raise pickle.UnpicklingError(f"a state holds {module}.{name}, which is none of ours")


def _loaded(data: bytes) -> Any:
    try:
        return _Reader(io.BytesIO(data)).load()
    except pickle.UnpicklingError as error:
        raise TypeError(str(error)) from error
