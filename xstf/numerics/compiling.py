"""While a first call compiles: what a user is told of it, and that nothing is collected."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from numba.core import event

# Seconds of compiling that nobody wonders about.
PATIENCE = 3.0
MESSAGE = (
    "xstf: compiling loops, which is done once: numba keeps them for later calls and processes. "
    "'python -m xstf warm' compiles all."
)


class Compiling(event.Listener):
    """Counts what numba compiles, and how long; says once on stderr that it takes long.

    Numba compiles one function at a time, and one within another where that calls it.
    """

    def __init__(
        self, patience: float = PATIENCE, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.count = 0
        self.seconds = 0.0
        self._patience, self._clock = patience, clock
        self._depth, self._since, self._said = 0, 0.0, False

    def on_start(self, event: Any) -> None:
        """Take note of a function that begins."""
        self._note(self._depth > 0)
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """Take note of a function that is done."""
        self._note(True)
        self._depth -= 1
        self.count += 1

    def _note(self, busy: bool) -> None:
        """Count the seconds since the last note, if they went to compiling."""
        now = self._clock()
        self.seconds += now - self._since if busy else 0.0
        self._since = now
        if self.seconds > self._patience and not self._said:
            self._said = True
            print(MESSAGE, file=sys.stderr, flush=True)


@cache
def tell_of_compiling() -> Compiling:
    """Have this process say once that compiling takes long; calls after the first do nothing."""
    listener = Compiling()
    event.register("numba:compile", listener)
    return listener


@contextmanager
def counted() -> Iterator[Compiling]:
    """Count what is compiled inside, and say nothing."""
    listener = Compiling(patience=float("inf"))
    with event.install_listener("numba:compile", listener):
        yield listener


class Pause(event.Listener):
    """Holds Python's garbage collection while a loop of this library is compiled.

    numba makes some million small objects a second, few of them garbage, and each full collection
    goes over all that there are: an eighth of the time. numba compiles one function at a time, and
    one within another where that calls it.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._resume = False

    def on_start(self, event: Any) -> None:
        """Stop collecting before the first function."""
        ours = event.data["dispatcher"].py_func.__module__.startswith("xstf.")
        if self._depth == 0 and not ours:
            return
        if self._depth == 0:
            self._resume = gc.isenabled()
            gc.disable()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """Go on after the last one."""
        if self._depth == 0:
            return
        self._depth -= 1
        if self._depth == 0 and self._resume:
            gc.enable()


@cache
def pause_collection() -> Pause:
    """Register the pause, once in a process."""
    pause = Pause()
    event.register("numba:compile", pause)
    return pause
