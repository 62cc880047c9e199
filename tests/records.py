"""Methods to run tests over: those of a task, and what of them is marked slow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from xstf._method import Method, Task
from xstf.methods.lookup import get_method, method_names


def classical(task: Task) -> list[Method]:
    """Return the records of a task without a network."""
    return [r for r in (get_method(task, n) for n in method_names(task)) if r.net is None]


def each(records: Iterable[Method]) -> Any:
    """Return the decorator that runs a test with each record as its `record`."""
    return pytest.mark.parametrize(
        "record", [pytest.param(r, id=r.name, marks=_marks(r)) for r in records]
    )


def each_engine(records: Iterable[Method], *, definition: bool = True) -> Any:
    """Return the same for `record` and `engine`, with or without the definition, numpy.

    Where there is no GPU, the CUDA source runs on the processor: see the fixture `cuda`.
    """
    cuda = [pytest.mark.cuda]
    cases = [
        pytest.param(r, e, id=f"{r.name}-{e}", marks=_marks(r) + cuda * (e == "cupy"))
        for r in records
        for e in r.kernels
        if definition or e != "numpy"
    ]
    return pytest.mark.parametrize(("record", "engine"), cases)


def each_name(task: Task) -> Any:
    """Return the same with the name of each classical method of a task as its `method`."""
    cases = [pytest.param(r.name, id=r.name, marks=_marks(r)) for r in classical(task)]
    return pytest.mark.parametrize("method", cases)


_SETTLED: dict[Any, Any] = {}


def settled_once(record: Method, params: Any, settle: Callable[[], Any], *cubes: Any) -> Any:
    """Return what `settle` returns, made once for the same method, parameters and cubes.

    Laws ask for the same few states again and again, and settling is most of what some take.
    """
    digests = (None if c is None else hashlib.sha1(np.ascontiguousarray(c)).digest() for c in cubes)
    key = record.task, record.name, repr(params), *digests
    if key not in _SETTLED:
        _SETTLED[key] = settle()
    return _SETTLED[key]


def _marks(record: Method) -> list[Any]:
    return [pytest.mark.slow] * record.costly
