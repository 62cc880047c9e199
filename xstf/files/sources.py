"""Which files a cube that is not in memory reads from: found in its graph and its lazy arrays.

Nothing is computed or opened. What a cube reads is to be known before anything is written, since a
result that is written onto its own input destroys both.
"""

from __future__ import annotations

import itertools
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

Labelled: TypeAlias = xr.DataArray | xr.Dataset

# What they hold is nothing that a cube is read from; some of it is shared by the whole process.
_ELSEWHERE = {
    "asyncio", "concurrent", "distributed", "logging", "numba", "tornado", "threading", "torch",
    "weakref", "_thread", "_weakref", "contextvars", "re", "pyproj", "datetime",
}  # fmt: skip
_PLAIN = (
    int, float, complex, bytes, bytearray, type(None), type, types.ModuleType, np.dtype, np.generic,
    slice, range, types.BuiltinFunctionType,
)  # fmt: skip
_BARE = {int, float, bool, complex, bytes, type(None), slice, range, type, np.dtype}
_LONG, _SOME = 10_000, 1000  # tasks
_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")


def sources_of(cube: Labelled) -> set[str]:
    """Return the paths and addresses that a cube reads from when it is computed.

    Texts in its graph that may be paths are among them, so only those that exist mean something.
    """
    found: set[str] = set()
    variables = (
        [cube.variable, *(c.variable for c in cube.coords.values())]
        if isinstance(cube, xr.DataArray)
        else list(cube.variables.values())
    )
    _walk([variable._data for variable in variables], found)
    return found


def _walk(roots: list[object], found: set[str]) -> None:
    """Look at everything that is held by some objects, each once."""
    left: list[Any] = list(roots)
    seen = {}
    while left:
        item = left.pop()
        kind: type = type(item)
        if kind is str:
            _note(item, found)
        elif kind not in _BARE and id(item) not in seen:
            seen[id(item)] = item  # held, so that its id stays its own
            if kind is tuple or kind is list:
                left += item  # most of a graph
            elif kind is dict:
                left += item.values()
            elif not isinstance(item, _PLAIN):
                left += _held(item, found)


def _note(text: Any, found: set[str]) -> None:
    if len(text) < 4096 and ("/" in text or "\\" in text or "." in text):
        found.add(text)


def _of_array(array: np.ndarray, found: set[str]) -> list[object]:
    name = getattr(array, "filename", None)
    if name is not None:
        found.add(os.fsdecode(name))
    return [array.base] if isinstance(array.base, np.ndarray) else []


def _held(item: Any, found: set[str]) -> Iterable[object]:
    """Return what an object holds; note the file of one that is an open file."""
    kind = type(item)
    if kind.__module__.split(".")[0] in _ELSEWHERE or kind.__module__.startswith("numpy.random"):
        return []
    if hasattr(item, "layers") and hasattr(item, "dependencies"):
        return _of_graph(item)
    if isinstance(item, str):
        _note(item, found)
        return []
    if isinstance(item, os.PathLike):
        found.add(os.fsdecode(item))
        return []
    if isinstance(item, np.ndarray):
        return _of_array(item, found)
    if isinstance(item, dict):
        return item.values()
    if isinstance(item, list | tuple | set | frozenset):
        return item
    if isinstance(item, partial):
        return [item.func, item.args, item.keywords]
    if isinstance(item, types.FunctionType):
        return list(_cells(item))
    if isinstance(item, types.MethodType):
        return [item.__self__]
    if "FileManager" in kind.__name__:  # xarray's; it also holds the cache of all open files
        parts = vars(item)
        return [parts.get(name) for name in ("_args", "_kwargs", "_opener", "_value")]
    root = kind.__module__.split(".")[0]
    if root == "netCDF4":
        dataset = item if hasattr(item, "filepath") else item.group()
        found.add(dataset.filepath())
        return []
    if root == "h5py":
        found.add(str(item.file.filename))
        return []
    if root == "zarr" and kind.__name__.endswith("Store"):
        found.add(str(item))
    if hasattr(item, "fs") and isinstance(getattr(item, "path", None), str):  # fsspec
        found.add(_address(item.fs, item.path))
        return []
    return list(_attributes(item))


def _of_graph(graph: Any) -> Iterator[object]:
    """Return the layers of a dask graph; of a long one that only works on others some tasks.

    What such a layer does to one chunk it does to all, and shifts and cuts of a large cube make
    millions of tasks. Layers that begin a graph may read a file a task.
    """
    for name, layer in graph.layers.items():
        if graph.dependencies.get(name) and layer.is_materialized() and len(layer) > _LONG:
            yield list(itertools.islice(layer.values(), 0, None, len(layer) // _SOME))
        else:
            yield layer


def _cells(function: types.FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _address(system: Any, path: str) -> str:
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    return path if protocol in ("file", "local") else f"{protocol}://{path}"


def _attributes(item: object) -> Iterator[object]:
    held = getattr(item, "__dict__", None)
    if isinstance(held, Mapping):
        yield from list(held.values())
    for name in _slots(type(item)):  # type: ignore[arg-type]  # mypy takes no class for hashable
        yield getattr(item, name, None)


@cache
def _slots(kind: type) -> tuple[str, ...]:
    """Return the names of what objects of a class hold outside of their dict."""
    found = []
    for base in kind.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if isinstance(base.__dict__.get(name), types.MemberDescriptorType):
                found.append(name)
    return tuple(found)


# --- onto an input ----------------------------------------------------------------------------


def check_no_input(target: str | os.PathLike[str], cube: Labelled) -> None:
    """Raise if writing to a target would change what a cube is still read from.

    Parameters
    ----------
    target : path or address
    cube : DataArray or Dataset
        One in memory reads nothing.
    """
    clash = clash_of(target, sources_of(cube))
    if clash is not None:
        raise ValueError(
            f"{os.fspath(target)} is what the cube is read from ({clash}), and writing there would "
            "destroy it; write to another path, or load the cube first: cube.load()"
        )


def clash_of(
    target: str | os.PathLike[str], sources: Iterable[str], *, in_folders: bool = False
) -> str | None:
    """Return the source that a target is, holds, or lies in; None if there is none.

    Parameters
    ----------
    target : path or address
    sources : texts
        Those that are no path, or of nothing that is there, clash with none.
    in_folders : bool, default False
        Whether a target must not lie in a folder that is a source, too; else in a Zarr store only.
    """
    if is_remote(target):
        return _remote_clash(str(target), sources)
    return _clash(target, sources, in_folders)


def is_remote(target: object) -> bool:
    """Return whether a target is an address, and no path of this machine."""
    return "://" in str(target) and not str(target).startswith(("file://", "local://"))


def local_path(target: str | os.PathLike[str]) -> Path:
    """Return a target of this machine as a path: links followed, so that a link stays one."""
    text = os.fspath(target)
    for start in ("file://", "local://"):
        text = text.removeprefix(start)
    return Path(os.path.realpath(Path(text).expanduser()))


def _remote_clash(target: str, found: Iterable[str]) -> str | None:
    wanted = target.rstrip("/")
    for text in sorted(found):
        other = text.rstrip("/")
        if "://" in other and (f"{other}/".startswith(f"{wanted}/")
                               or f"{wanted}/".startswith(f"{other}/")):  # fmt: skip
            return text
    return None


def _clash(target: str | os.PathLike[str], sources: Iterable[str], in_folders: bool) -> str | None:
    path = local_path(target)
    # By the number of the file or folder: links and the case of letters make no difference.
    above = {_place(p) for p in (path, *path.parents) if _exists(p)}
    own = _place(path) if _exists(path) else None
    for text in sorted(sources):
        source = None if is_remote(text) or "\0" in text else local_path(text)
        if source is None or not _exists(source):
            continue
        if own is not None and own in {_place(p) for p in (source, *source.parents)}:
            return text
        if _place(source) in above and source.is_dir() and (in_folders or is_zarr(source)):
            return text
    return None


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a group or an array of Zarr."""
    return any((path / name).exists() for name in _ZARR)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is no path
        return False


def _place(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
