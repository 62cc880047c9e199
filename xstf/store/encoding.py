"""States as bytes: a tree of plain values and arrays, read back without running anything.

Pickles are not used: reading one runs what it says, and a store may come from anywhere. A tree has
numbers, texts, arrays, lists, tuples, dicts, and records of xstf (named tuples, dataclasses). What
has anything else, such as a user's own class, is not kept.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
from typing import Any

import numpy as np

_TREE = "tree"


class UnfitError(TypeError):
    """A value that has no form in a store."""


def encoded(value: object) -> bytes:
    """Return a value as bytes; raise `UnfitError` for one that could not be read back the same."""
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_tree(value, arrays))
    file = io.BytesIO()
    np.savez(file, **{_TREE: np.frombuffer(tree.encode(), np.uint8)}, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def decoded(data: bytes) -> Any:
    """Return the value that was encoded."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        tree = json.loads(bytes(arrays[_TREE]))
        return _value(tree, arrays)


def _tree(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is np.ndarray or isinstance(value, np.generic):
        return [kind.__name__ if kind is np.ndarray else "number", _kept(np.asarray(value), arrays)]
    if kind is bytes:
        return ["bytes", _kept(np.frombuffer(value, np.uint8), arrays)]
    if kind in (list, tuple):
        return [kind.__name__, [_tree(item, arrays) for item in value]]
    if kind is dict:
        return ["dict", [[_tree(k, arrays), _tree(v, arrays)] for k, v in value.items()]]
    name = f"{kind.__module__}:{kind.__qualname__}"
    return ["record", name, [_tree(item, arrays) for item in _fields(value, name)]]


def _kept(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    if array.dtype.hasobject:
        raise UnfitError(f"an array of {array.dtype} has no form in a store")
    name = f"a{len(arrays)}"
    arrays[name] = array
    return name


def _fields(value: Any, name: str) -> list[Any]:
    """Return what a record holds, in the order in which it is made of it."""
    kind = type(value)
    if kind is not _record(name):
        raise UnfitError(f"a {name} has no form in a store")
    if not dataclasses.is_dataclass(kind):
        return list(value)
    fields = dataclasses.fields(kind)
    if not all(field.init for field in fields):
        raise UnfitError(f"a {name} cannot be made of its fields")
    return [getattr(value, field.name) for field in fields]


def _record(name: str) -> type[Any] | None:
    """Return the record of xstf of a name; None where it is none."""
    module, _, place = name.partition(":")
    if not module.startswith("xstf."):
        return None
    try:
        found = getattr(importlib.import_module(module), place, None)
    except ImportError:
        return None
    if not isinstance(found, type):
        return None
    named = issubclass(found, tuple) and hasattr(found, "_fields")
    return found if named or dataclasses.is_dataclass(found) else None


def _value(tree: Any, arrays: Any) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, *parts = tree
    if kind in ("ndarray", "number", "bytes"):
        array = arrays[parts[0]]
        return array if kind == "ndarray" else array[()] if kind == "number" else array.tobytes()
    if kind == "dict":
        return {_value(k, arrays): _value(v, arrays) for k, v in parts[0]}
    if kind in ("list", "tuple"):
        items = [_value(item, arrays) for item in parts[0]]
        return items if kind == "list" else tuple(items)
    record = _record(parts[0])
    if record is None:
        raise UnfitError(f"a state holds a {parts[0]}, which is no record of xstf")
    return record(*(_value(item, arrays) for item in parts[1]))
