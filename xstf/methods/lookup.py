"""Which methods there are: found by their place in the folder, or offered by installed packages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import pandas as pd

from xstf._method import Method, Task


def _files(task: Task) -> list[str]:
    """Return the files of this package's methods of a task; each is named as its method."""
    package = importlib.import_module(f"xstf.methods.{task}")
    return [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]


@cache
def _own(task: Task, file: str) -> Method:
    """Return the record of one of this package's files; loaded alone, for quick first calls."""
    record: Method = importlib.import_module(f"xstf.methods.{task}.{file}").METHOD
    if record.name.replace("-", "_") != file:
        raise ValueError(f"{file}.py holds the record {record.name!r}; they share a name")
    return record


@cache
def _records(task: Task) -> dict[str, Method]:
    """Return every record of a task, by name: this package's, then installed packages' offers."""
    found = {record.name: record for record in (_own(task, file) for file in _files(task))}
    for entry in entry_points(group="xstf.methods"):
        record = entry.load()
        if record.task == task:
            if record.name in found:
                raise ValueError(
                    f"entry point {entry.value!r} offers {record.name!r}, which exists"
                )
            found[record.name] = record
    return dict(sorted(found.items()))


def method_names(task: Task) -> list[str]:
    """Return the names of the methods of a task, sorted."""
    return list(_records(task))


def classical_names(task: Task) -> list[str]:
    """Return the names of the methods that run without trained weights, sorted."""
    return [name for name, record in _records(task).items() if record.net is None]


def get_method(task: Task, method: str | Method) -> Method:
    """Return the record of a method, by its name, or as it is if it is a record already."""
    if isinstance(method, Method):
        if method.task != task:
            raise ValueError(
                f"{method.name!r} is a method of {method.task!r}, it cannot serve {task!r}"
            )
        return method
    if not isinstance(method, str):
        raise TypeError(f"method must be a name or an xstf.Method, not {type(method).__name__}")
    file = method.replace("-", "_")
    if file in _files(task) and _own(task, file).name == method:
        return _own(task, file)
    records = _records(task)
    if method not in records:
        raise ValueError(f"no {task} method {method!r}; there are {list(records)}")
    return records[method]


@dataclass(frozen=True)
class Trial:
    """A method with parameters, as an evaluation tries it."""

    label: str
    record: Method
    params: Mapping[str, Any]


def trials(task: Task, methods: Sequence[Any] | None) -> list[Trial]:
    """Return what to try: names, records, or such with their parameters, ``(method, {...})``.

    None: all of the task but networks, which need weights. A method that is named twice is told
    apart by its parameters.
    """
    if methods is None:
        methods = classical_names(task)
    pairs = [m if isinstance(m, tuple) else (m, {}) for m in methods]
    wrong = [m for m in pairs if len(m) != 2 or not isinstance(m[1], Mapping)]
    if wrong:
        raise TypeError(f"methods are names, records or (method, {{parameters}}), not {wrong[0]!r}")
    found = [(get_method(task, method), params) for method, params in pairs]
    names = [record.name for record, _ in found]
    tried = []
    for record, params in found:
        label = record.name
        if names.count(label) > 1 and params:
            label += f"({', '.join(f'{k}={v}' for k, v in params.items())})"
        tried.append(Trial(label, record, params))
    return tried


def list_methods(task: Task = "fuse") -> pd.DataFrame:
    """Return a table of the methods of a task.

    Parameters
    ----------
    task : {"fuse", "gapfill", "sharpen_spectral"}

    Returns
    -------
    pandas.DataFrame
        By name: what it does; what it needs (``pairs`` of images, or the fewest ``dates`` and
        whether it can use a ``guide``); its engines; whether it gives a standard deviation, and
        whether it is a network, which needs weights; its source.

    Examples
    --------
    >>> import xstf
    >>> xstf.list_methods("fuse").loc["starfm", "pairs"]
    '1 or 2'
    """
    rows = {}
    for name in method_names(task):
        record = get_method(task, name)
        rows[name] = {
            "summary": record.summary,
            **_needs(record),
            "engines": ", ".join(record.kernels),
            "std": record.std,
            "network": record.net is not None,
            "reference": record.reference,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _needs(record: Method) -> dict[str, Any]:
    if record.task == "fuse":
        return {"pairs": " or ".join(str(n) for n in sorted(set(record.pairs)))}
    if record.task == "gapfill":
        return {"dates": record.fewest, "guide": record.guided, "smooth": record.smooth}
    return {}
