"""What a lazy result is, as a token: the same in another process, for the same work and data.

dask's own names will not do: they are random where a file was opened without chunks and chunked
afterwards, and they have the folder that a file was in. Here files count by name, size and time of
change, arrays in memory by content, functions by name; names of tasks by what the tasks do.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import types
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_graph
from dask.base import tokenize

from xstf.files.sources import is_remote, is_zarr, local_path

_RANDOM = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_OF_A_PROCESS = {"_id", "_manager_id", "_ref_counter", "_lock", "_encoding"}
_OURS = {"xstf", "xarray", "rioxarray", "zarr"}


class Canon:
    """Tokens of the tasks of a graph, each worked out once.

    Parameters
    ----------
    graph
        Of tasks by key, whole enough to make what is asked for.
    """

    def __init__(self, graph: Mapping[Any, object]) -> None:
        self.graph = convert_legacy_graph(dict(graph))
        self.known: dict[Hashable, str] = {}
        self.objects: dict[int, tuple[object, str]] = {}
        self.files: dict[str, str] = {}

    def of(self, key: Hashable) -> str:
        """Return the token of a task: of what it does, and of the tasks that it needs."""
        left = [key]
        while left:
            at = left[-1]
            if at in self.known:
                left.pop()
                continue
            node = self.graph[at]
            needs = [k for k in node.dependencies if k in self.graph and k not in self.known]
            if needs:
                left += needs
                continue
            self.known[at] = self._node(node)
            left.pop()
        return self.known[key]

    # --- nodes ----------------------------------------------------------------------------

    def _node(self, node: GraphNode) -> str:
        if isinstance(node, Alias):
            return self._ref(node.target)
        if isinstance(node, DataNode):
            return self.value(node.value)
        if isinstance(node, Task):
            named = sorted((node.kwargs or {}).items())
            parts = [self.value(node.func), *map(self.value, node.args)]
            return _hashed("task", *parts, *(f"{k}={self.value(v)}" for k, v in named))
        return self.value(node)

    def _ref(self, key: Hashable) -> str:
        # A task of a graph inside a task is not among those of this one.
        return self.known.get(key) or _hashed("name", _plain_name(key))

    # --- values ---------------------------------------------------------------------------

    def value(self, item: Any) -> str:
        """Return the token of a value that a task has."""
        if isinstance(item, TaskRef):
            return self._ref(item.key)
        if isinstance(item, GraphNode):
            return self._node(item)
        if isinstance(item, str):
            return _hashed("text", _plain_name(item))
        if item is None or isinstance(item, bool | int | float | complex | bytes | np.generic):
            return _hashed(type(item).__name__, repr(item))
        if id(item) in self.objects:
            return self.objects[id(item)][1]
        self.objects[id(item)] = (item, "cycle")  # held, so that its id stays its own
        token = self._object(item)
        self.objects[id(item)] = (item, token)
        return token

    def _object(self, item: Any) -> str:
        kind = type(item)
        if isinstance(item, dict) and any(isinstance(v, GraphNode) for v in item.values()):
            inner = Canon(item)  # a graph inside a task
            inner.files = self.files
            return _hashed("graph", *sorted(map(inner.of, inner.graph)))
        if isinstance(item, dict):
            parts = sorted(_hashed(_plain_name(k), self.value(v)) for k, v in item.items())
            return _hashed("dict", *parts)
        if isinstance(item, list | tuple):
            return _hashed(kind.__name__, *map(self.value, item))
        if isinstance(item, set | frozenset):
            return _hashed("set", *sorted(map(self.value, item)))
        if isinstance(item, np.ndarray) and item.dtype.kind != "O":
            return _hashed("array", str(item.dtype), str(item.shape), tokenize(np.asarray(item)))
        if isinstance(item, functools.partial):
            return _hashed("partial", *map(self.value, (item.func, item.args, item.keywords)))
        if isinstance(item, type | types.ModuleType | types.BuiltinFunctionType):
            return _hashed("name", _place_of(item))
        if isinstance(item, types.FunctionType):
            return self._function(item)
        if isinstance(item, types.MethodType):
            return _hashed("method", self.value(item.__self__), item.__name__)
        if "Lock" in kind.__name__ or kind.__module__ == "_thread":
            return "lock"
        if isinstance(item, os.PathLike):
            return self._file(os.fsdecode(item))
        if "FileManager" in kind.__name__:
            args = vars(item).get("_args", ())
            return _hashed("file", *(self._file(a) if _is_path(a) else self.value(a) for a in args))
        if kind.__module__.split(".")[0] == "zarr" and hasattr(item, "store_path"):
            return self._zarr(item)
        if hasattr(item, "state_dict"):  # of torch
            return _hashed("net", _place_of(kind), *(
                _hashed(k, tokenize(v.detach().cpu().numpy())) for k, v in item.state_dict().items()
            ))  # fmt: skip
        if kind.__module__.split(".")[0] in _OURS:
            return _hashed(_place_of(kind), *(
                _hashed(name, self.value(held)) for name, held in _held(item)
            ))  # fmt: skip
        return str(tokenize(item))

    def _function(self, item: types.FunctionType) -> str:
        if "<" not in item.__qualname__ and item.__module__ != "__main__":
            return _hashed("function", _place_of(item))
        cells = [c.cell_contents for c in item.__closure__ or () if _is_filled(c)]
        code = item.__code__
        consts = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
        inner = [c.co_code.hex() for c in code.co_consts if isinstance(c, types.CodeType)]
        return _hashed(
            "function", item.__qualname__, code.co_code.hex(), *inner, *code.co_names,
            *map(self.value, [*consts, *cells, *(item.__defaults__ or ())]),
        )  # fmt: skip

    def _zarr(self, array: Any) -> str:
        address = f"{array.store}/{array.path}"
        meta = str(array.metadata.to_dict())
        return _hashed("zarr", meta, self._file(address))

    def _file(self, text: str) -> str:
        if text not in self.files:
            self.files[text] = _hashed("file", *file_stamp(text))
        return self.files[text]


def file_stamp(text: str) -> Iterator[str]:
    """Return what tells a file from another and from itself after a change; of a store, all."""
    if is_remote(text):
        yield text if not text.startswith("memory://") else "memory"
        return
    path = local_path(text)
    yield path.name
    if path.is_dir() and not is_zarr(path):
        return
    for file in sorted(_files(path)):
        stat = file.stat()
        yield f"{file.relative_to(path).as_posix()} {stat.st_size} {stat.st_mtime_ns}"


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []


def _held(item: object) -> Iterator[tuple[str, Any]]:
    """Return what an object holds, by name, without what its file or process only has."""
    if dataclasses.is_dataclass(item):
        for field in dataclasses.fields(item):
            yield field.name, getattr(item, field.name)
        return
    found = dict(getattr(item, "__dict__", None) or {})
    for base in type(item).__mro__:
        for name, member in base.__dict__.items():
            if isinstance(member, types.MemberDescriptorType) and hasattr(item, name):
                found[name] = getattr(item, name)
            elif isinstance(member, functools.cached_property):
                found.pop(name, None)
    for name in sorted(found):
        if "cache" not in name and name not in (
            "_id",
            "_manager_id",
            "_ref_counter",
            "_lock",
            "_encoding",
        ):
            yield name, found[name]


def _place_of(item: Any) -> str:
    name = getattr(item, "__qualname__", getattr(item, "__name__", ""))
    return f"{getattr(item, '__module__', '')}.{name}"


def _plain_name(key: object) -> str:
    """Return a key or a text without what is a token in it."""
    return _RANDOM.sub("#", str(key))


def _is_path(item: object) -> bool:
    return isinstance(item, os.PathLike) or (
        isinstance(item, str) and ("/" in item or "\\" in item)
    )


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _hashed(*parts: str) -> str:
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()
