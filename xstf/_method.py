"""The record of a method, and where the records are found."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias

Task: TypeAlias = Literal["fuse", "gapfill", "sharpen_spectral"]
Engine: TypeAlias = Literal["numba", "cupy", "torch", "numpy"]
Kernel: TypeAlias = Callable[..., tuple[Any, Any]]

# Kernels see no value that is larger: its square would leave float32. Such ones are missing.
LARGEST = 1e18

TASKS: tuple[Task, ...] = ("fuse", "gapfill", "sharpen_spectral")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to do one task: what it needs, what it promises, and its kernels.

    Parameters
    ----------
    name
        The name users type, the paper's own in lower case.
    task
        The verb it serves.
    summary
        One sentence for tables: what it does, for which data.
    params
        A frozen dataclass type; its fields are the keyword arguments that the verb accepts, and its
        ``__post_init__`` checks their values.
    halo
        ``halo(params, ratio)``: how many fine pixels around a pixel its result depends on.
    kernels
        ``{engine: kernel}``, best first; ``"numpy"`` is the definition that the others are held to.
        A fuse kernel is called as
        ``kernel(fine, coarse, *, ratio, params, state, inner, std)`` with

        - ``fine`` ``(pair, band, y, x)`` and ``coarse`` ``(pair + 1, band, y / ratio, x / ratio)``,
          float32, C order, NaN where missing; the last coarse image is the target date;
        - ``inner`` ``(slice, slice)``: the rows and columns of ``fine`` that are wanted (the rest
          of the tile is halo);
        - ``std``: whether the standard deviation is wanted too.

        It returns ``(estimate, std or None)``, each ``(band, y, x)`` of ``inner``, float32, and
        writes to nothing that it was given. At the edge of the tile it shrinks its window.
    pairs
        The fewest and the most image pairs that a fuse kernel takes.
    prepare, settle
        Statistics of the whole image, in two steps. ``prepare(fine, coarse, *, ratio, params)``
        gets the whole arrays, numpy or dask, and returns a dict of small arrays of the same kind,
        by indexing only; ``settle(samples, *, ratio, params)`` turns them, as numpy, into
        the ``state`` that every tile sees.
    std
        Whether the kernels can give a standard deviation.
    reference
        Citation with its DOI.
    exempt
        ``{law: reason}`` for the laws (``tests/test_laws.py``) that it does not obey.
    """

    name: str
    task: Task
    summary: str
    params: type[Any]
    halo: Callable[[Any, int], int]
    kernels: Mapping[Engine, Kernel]
    reference: str
    pairs: tuple[int, int] = (1, 1)
    prepare: Callable[..., dict[str, Any]] | None = None
    settle: Callable[..., dict[str, Any]] | None = None
    std: bool = False
    exempt: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what every floor above relies on."""
        if self.task not in TASKS:
            raise ValueError(f"method {self.name!r}: task {self.task!r} is none of {list(TASKS)}")
        if "numpy" not in self.kernels:
            raise ValueError(f"method {self.name!r} has no 'numpy' kernel, its definition")
        if (self.prepare is None) != (self.settle is None):
            raise ValueError(f"method {self.name!r} needs both prepare and settle, or neither")


@cache
def _records(task: Task) -> dict[str, Method]:
    """Every record of a task, by name: this package's folder, then installed packages' offers."""
    package = importlib.import_module(f"xstf.methods.{task}")
    found: dict[str, Method] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            record = importlib.import_module(f"{package.__name__}.{module.name}").METHOD
            found[record.name] = record
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
    records = _records(task)
    if method not in records:
        raise ValueError(f"no {task} method {method!r}; there are {list(records)}")
    return records[method]
