"""What a verb finds on its way, told to whoever watches it: a dry run; whether a notebook does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_SEEN: ContextVar[dict[str, Any] | None] = ContextVar("seen", default=None)


def note(**found: Any) -> None:
    """Tell a watcher, if there is one, what was found; the verbs do so in passing."""
    seen = _SEEN.get()
    if seen is not None:
        seen.update(found)


def is_watched() -> bool:
    """Return whether a dry run looks on."""
    return _SEEN.get() is not None


@contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """Collect what a verb that is called inside notes."""
    seen: dict[str, Any] = {}
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def in_notebook() -> bool:
    """Return whether this process runs the cells of a notebook."""
    found = sys.modules.get("IPython")
    return found is not None and type(found.get_ipython()).__name__ == "ZMQInteractiveShell"
