"""``method="evaluate"``: who tries the methods stands above the verbs, and is told of here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from xstf.verbs.watching import is_watched

# Runs a verb's methods on a sample of its cubes, then the verb with the best one: its name, and
# what it was called with. Called to get the function that does, since to load it takes a while.
Runner: TypeAlias = Callable[[str, dict[str, Any]], Any]
NAME = "evaluate"
_LOADERS: list[Callable[[], Runner]] = []


def tell_of(load: Callable[[], Runner]) -> None:
    """Say what loads the function that tries methods; the last one that is told of counts."""
    _LOADERS[:] = [load]


def wants_trial(method: object) -> bool:
    """Return whether a call wants its method found by trial."""
    return isinstance(method, str) and method == NAME


def run_best(verb: str, call: dict[str, Any]) -> Any:
    """Return a verb's result by the method that does best on a sample of its own cubes.

    Parameters
    ----------
    verb
        Its name.
    call
        Its arguments by name, ``params`` among them.
    """
    if is_watched():
        raise ValueError(
            f"method={NAME!r} tries methods on values, which a plan does not read: name a method"
        )
    return _LOADERS[0]()(verb, call)
