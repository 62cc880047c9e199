"""What the verbs share: a method's parameters, and what a result says of the call."""

from __future__ import annotations

import dataclasses
import numbers
import os
from typing import Any

from xstf._method import Method, Task
from xstf._version import __version__
from xstf.cubes.read import Cube
from xstf.cubes.write import history_line
from xstf.methods.lookup import get_method, method_names


def make_params(record: Method, params: dict[str, Any]) -> Any:
    """Return the method's parameters, checked; raise naming what there is."""
    known = {f.name: f.default for f in dataclasses.fields(record.params)}
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise TypeError(
            f"{record.name} has no parameter {unknown}; it has {listed(record.params())}"
        )
    params = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in params.items()}
    for name, value in params.items():
        _check_kind(record, name, value, known[name])
    return record.params(**params)


def _check_kind(record: Method, name: str, value: Any, default: Any) -> None:
    """Refuse a value of another kind than the default's; the record checks what it means."""
    kinds: dict[type, Any] = {int: numbers.Integral, float: numbers.Real}
    kind: Any = kinds.get(type(default), type(default))
    if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
        raise TypeError(
            f"{record.name}: {name} must be {type(default).__name__}, as its default {default!r}, "
            f"not {value!r}"
        )


def listed(options: Any) -> str:
    """Return parameters as they are written in a call."""
    return ", ".join(f"{f.name}={getattr(options, f.name)!r}" for f in dataclasses.fields(options))


def require_std(record: Method) -> None:
    """Raise if a method gives no standard deviation, naming those that do."""
    if not record.std:
        raise ValueError(
            f"{record.name} gives no standard deviation; {names_with(record.task, 'std')} do"
        )


def names_with(task: Task, field: str) -> list[str]:
    """Return the methods of a task whose record says yes to a field."""
    return [n for n in method_names(task) if getattr(get_method(task, n), field)]


def call_attrs(verb: str, record: Method, options: Any, cube: Cube) -> dict[str, Any]:
    """Return what the result of a call says of it."""
    call = f"{record.name}({listed(options)})"
    return {
        "stf_method": f"{call}, xstf {__version__}",
        "history": history_line(f"{verb}, {call}", cube.source.attrs.get("history"), __version__),
    }
