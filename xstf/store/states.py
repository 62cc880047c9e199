"""States of whole images, settled once for a store and kept in it until the result is whole.

A lazy result has a task for each state, and one for the samples that it is settled of
(`xstf.tiles.states`). Here these are run by themselves, ahead of the tiles, and what comes out is
kept under a token of the samples, and noted under the name of the task. Tiles then read it, so
neither a tile, nor a worker, nor a run after a killed one settles again. A run whose tasks have the
same names does not even sample.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from dask.base import compute
from dask.delayed import Delayed
from dask.optimization import cull

from xstf.store.encoding import UnfitError, decoded, encoded
from xstf.store.place import Place

Graph: TypeAlias = Mapping[Any, Any]
# As `xstf.tiles.states` names tasks, which this floor may not import.
SETTLE, PREPARED, STATE, LATER = "xstf-settle-", "xstf-prepared-", "xstf-state-", "later-"
_IN_PROCESS = 32
_READ: OrderedDict[str, _Once] = OrderedDict()
_GUARD = threading.Lock()


def kept_states(graph: Graph, place: Place, *, keep: bool) -> dict[str, Callable[[], Any]]:
    """Return the states of a graph by the name of their task: settled, and kept in the store.

    Parameters
    ----------
    graph
        Of a result, not optimised by joining tasks.
    place
        The store.
    keep
        Whether to put new states into the store. False: what is there is read, but nothing is
        changed.
    """
    names = [key for key in graph if isinstance(key, str) and key.startswith(STATE)]
    noted = {name: place.get(_note(name)) for name in names}
    known = {name: token.decode() for name, token in noted.items() if token is not None}
    new = [name for name in names if name not in known]
    # In the functions, since a text among arguments would be read as the name of a task.
    tasks = {name: (partial(_settled, place=place, name=name, keep=keep), _key(PREPARED, name))
             for name in new}  # fmt: skip
    found = _run(graph, tasks)
    later = [name for name in known if _is_later(name)]
    settles = _run(graph, {name: (_itself, _key(SETTLE, name)) for name in later})
    return found | {
        name: Kept(place, token, settles.get(name)) for name, token in known.items()
    }  # fmt: skip


def _run(graph: Graph, tasks: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Run some tasks on top of a graph, by the scheduler or the cluster that dask would use."""
    if not tasks:
        return {}
    mine = {f"xstf-store-{name}": task for name, task in tasks.items()}
    small, _ = cull({**graph, **mine}, list(mine))
    small = {**small, "xstf-store": (_together, *mine)}
    (found,) = compute(Delayed("xstf-store", small))
    return dict(zip(tasks, found, strict=True))


def _is_later(name: str) -> bool:
    return name.startswith(STATE + LATER)


def _key(prefix: str, name: str) -> str:
    return prefix + name.removeprefix(STATE).removeprefix(LATER)


def _note(name: str) -> str:
    return f"task-{name}"


# --- tasks ------------------------------------------------------------------------------------


def _itself(value: Any) -> Any:
    return value


def _together(*values: Any) -> list[Any]:
    return list(values)


def _settled(prepared: Any, *, place: Place, name: str, keep: bool) -> Callable[[], Any]:
    """Return a state as tiles ask for it: kept in the store, if it has a form there."""
    token: str = prepared.token
    later = _is_later(name)
    kept = Kept(place, token, prepared.settle if later else None)
    if not kept.is_there():
        made = prepared if later else _Held(prepared())
        if not keep:
            return made
        try:
            data = encoded(prepared.samples if later else made.value)
        except UnfitError:  # of a user's own class: it travels with the tiles
            return made
        place.put(_samples(token) if later else _state(token), data)
    if keep:
        place.put(_note(name), token.encode())
    return kept


class _Held:
    """A state that is in no store."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


class Kept:
    """A state in a store, read once in each process; settled by the first to ask, if it is not.

    Parameters
    ----------
    place
        The store.
    token
        Of the samples that it is settled of.
    settle
        Settles it. None for one that was settled ahead.
    """

    def __init__(
        self, place: Place, token: str, settle: Callable[[dict[str, Any]], Any] | None
    ) -> None:
        self.place = place
        self.token = token
        self.settle = settle

    def __call__(self) -> Any:
        """Return the state."""
        with _GUARD:
            once = _READ.setdefault(self.token, _Once())
            _READ.move_to_end(self.token)
            while len(_READ) > _IN_PROCESS:
                _READ.popitem(last=False)
        return once.of(self._read)

    def is_there(self) -> bool:
        """Return whether the store has what it is read from."""
        name = _state(self.token) if self.settle is None else _samples(self.token)
        return self.place.get(name) is not None

    def _read(self) -> Any:
        data = self.place.get(_state(self.token))
        return self._settle() if data is None else decoded(data)

    def _settle(self) -> Any:
        samples = self.place.get(_samples(self.token)) if self.settle is not None else None
        if samples is None or self.settle is None:
            raise OSError(f"{self.place.name}: a state that was kept there is gone ({self.token})")
        value = self.settle(decoded(samples))
        with suppress(UnfitError):  # each process settles it for itself then
            self.place.put(_state(self.token), encoded(value))
        return value


class _Once:
    """A value that the first to ask for it makes, the others waiting."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: tuple[Any] | None = None

    def of(self, make: Callable[[], Any]) -> Any:
        with self.lock:
            if self.value is None:
                self.value = (make(),)
            return self.value[0]


def _state(token: str) -> str:
    return f"state-{token}"


def _samples(token: str) -> str:
    return f"samples-{token}"
