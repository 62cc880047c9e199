"""Independent pieces of work on the threads that are free.

How many are free only those know who made the call: tiles say so (`free`) where they settle a state
on the caller's own thread. Everywhere else, in dask's workers above all, work is done one piece
after the other: their pool has as many threads as there are cores already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

# A thread of a pool has a context of its own, in which one is free again.
_FREE: ContextVar[int] = ContextVar("xstf_free_threads", default=1)


@contextmanager
def free(count: int) -> Iterator[None]:
    """Let work that is done in here use so many threads."""
    token = _FREE.set(count)
    try:
        yield
    finally:
        _FREE.reset(token)


def each(work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """Return what some work makes of each item, in their order, on the threads that are free."""
    workers = min(_FREE.get(), len(items))
    if workers <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, items))
