"""What is done to arrays on the way to a result, in so far as two runs can be told apart by it.

dask's names tell two results apart, but differ for the same one where a file was opened without
chunks and chunked afterwards. What is here is the same then: the kinds of steps, the numbers and
arrays that they are given, and what the caller's own functions do. A limit that reaches only a few
pixels (``fused.clip(max=0.6)``) shows here where tiles that are made again do not show it.
"""

from __future__ import annotations

import functools
import platform
import re
import types
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

_NUMBER = re.compile(r"[0-9a-f]{16,}.*")  # at the end of names of tasks
_SOURCES = ("xarray-", "original-", "open_dataset-", "from-zarr", "array-", "astype-")
_KNOWN = {"numpy", "dask", "xarray", "xstf", "builtins", "_operator"}  # told by their versions
_PLAIN = (bool, int, float, complex, type(None), np.generic, np.dtype)
_DEEP = 6


def steps_of(dataset: xr.Dataset) -> list[str]:
    """Return versions, and a token of the steps that is the same again with these versions."""
    layers: dict[str, Any] = {}
    for variable in dataset.data_vars.values():
        if variable.chunks:
            layers.update(variable.data.dask.layers)
    found = sorted(  # not by name, which a caller may make up anew each time
        str(list(_given(layer)))
        for name, layer in layers.items()
        if hasattr(layer, "indices") and not name.startswith(_SOURCES)
    )
    return [_versions(), str(tokenize(found))]


def are_other(there: Any, here: Any) -> bool:
    """Return whether two tokens say that the steps are others."""
    return bool(there and here) and there[0] == here[0] and there[1] != here[1]


def _versions() -> str:
    python = ".".join(platform.python_version_tuple()[:2])
    return f"dask {version('dask')}, xarray {xr.__version__}, Python {python}"


def _given(layer: Any) -> Iterator[str]:
    """Return what each task of a layer is given besides chunks."""
    for value, index in layer.indices:
        if index is None:
            yield from _words(value)
    task = layer.task
    yield from _words(getattr(task, "func", None))
    yield from _words(getattr(task, "kwargs", None))


def _words(value: Any, depth: int = 0) -> Iterator[str]:
    """Return a value in words; nothing of one that may have others in the next run."""
    if depth > _DEEP:
        return
    if isinstance(value, np.ndarray):
        if not value.dtype.hasobject:
            yield str(tokenize(value))
    elif isinstance(value, _PLAIN):
        yield f"{type(value).__name__} {value}"
    elif type(value) in (str, bytes):
        yield _NUMBER.sub("", str(value))
    elif isinstance(value, slice):
        yield str(value)
    elif type(value) in (tuple, list):
        for item in value:
            yield from _words(item, depth + 1)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield str(key)
            yield from _words(value[key], depth + 1)
    elif isinstance(value, functools.partial):
        yield from _words((value.func, value.args, value.keywords), depth + 1)
    elif isinstance(value, np.ufunc | types.BuiltinFunctionType):
        yield value.__name__
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, depth)


def _of_function(function: types.FunctionType, depth: int) -> Iterator[str]:
    """Return what a function of the caller's does."""
    yield function.__name__
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    if str(function.__module__).split(".")[0] not in _KNOWN:
        code = function.__code__
        yield code.co_code.hex()
        yield str(code.co_names)
        yield from _words((code.co_consts, function.__defaults__, function.__kwdefaults__), depth)
    yield from _words(cells, depth + 1)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
