"""A GPU and its queue: what moves there and back, one kernel at a time, and memory that is full.

A GPU has `PLACES`: so many tiles are on it at once, each with a stream and pinned buffers of its
own. One tile is worked on while the other one is moved.
"""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xstf.cubes.arrays import Array

PLACES = 2
# Their classes are not imported: a package that raised one is there.
_LIBRARIES = ("cupy", "torch")


def is_cupy(array: object) -> bool:
    """Return whether an array, or what a dask array's chunks are, is cupy's."""
    plain = getattr(array, "_meta", array)
    return type(plain).__module__.split(".")[0] == "cupy"


def to_host(array: Array) -> np.ndarray:
    """Return an array in host memory."""
    there: Any = array
    host: np.ndarray = there.get() if is_cupy(array) else there
    return host


def to_device(array: Array) -> Any:
    """Return an array in the current GPU's memory."""
    return importlib.import_module("cupy").asarray(array)


def is_full(error: BaseException) -> bool:
    """Return whether an error says that a GPU's memory is full."""
    return any(
        kind.__name__ == "OutOfMemoryError" and kind.__module__.split(".")[0] in _LIBRARIES
        for kind in type(error).__mro__
    )


def free_memory() -> None:
    """Give back what cupy keeps of the GPU's memory for later."""
    if importlib.util.find_spec("cupy") is not None:
        importlib.import_module("cupy").get_default_memory_pool().free_all_blocks()


class Place:
    """A tile's place on a GPU: a stream, and pinned memory that is used again and again."""

    def __init__(self) -> None:
        self.stream = importlib.import_module("cupy").cuda.Stream(non_blocking=True)
        self.buffers: list[np.ndarray] = []

    def _pinned(self, number: int, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        """Return the pinned buffer of a number, as an array; made anew if it is too small."""
        size = int(np.prod(shape)) * kind.itemsize
        while number >= len(self.buffers):
            self.buffers.append(np.empty(0, np.uint8))
        if self.buffers[number].nbytes < size:
            self.buffers[number] = importlib.import_module("cupyx").empty_pinned((size,), np.uint8)
        return self.buffers[number][:size].view(kind).reshape(shape)

    def take(self, arrays: tuple[Array | None, ...]) -> list[Any]:
        """Return arrays of the host as such of the GPU; they are there when the stream is."""
        cupy = importlib.import_module("cupy")
        there: list[Any] = []
        for number, array in enumerate(arrays):
            if array is None:
                there.append(None)
                continue
            pinned = self._pinned(number, array.shape, array.dtype)
            pinned[...] = array
            there.append(cupy.empty(array.shape, array.dtype))
            there[-1].set(pinned, stream=self.stream)
        return there

    def give(self, arrays: tuple[Any, ...]) -> tuple[np.ndarray | None, ...]:
        """Return arrays of the GPU as such of the host."""
        cupy = importlib.import_module("cupy")
        waiting: list[np.ndarray | None] = []
        for number, array in enumerate(arrays):
            if array is None:
                waiting.append(None)
                continue
            pinned = self._pinned(number, array.shape, array.dtype)
            cupy.ascontiguousarray(array).get(stream=self.stream, out=pinned)
            waiting.append(pinned)
        self.stream.synchronize()
        return tuple(None if pinned is None else pinned.copy() for pinned in waiting)


class Gpu:
    """One GPU: its places, and the lock that lets one kernel run at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = threading.Lock()
        self.places: queue.LifoQueue[Place | None] = queue.LifoQueue()
        for _ in range(PLACES):
            self.places.put(None)  # made where it is first taken, on its GPU

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Wait for a place; give it with the GPU and its stream made current."""
        found = self.places.get()
        try:
            with importlib.import_module("cupy").cuda.Device(self.number):
                found = found or Place()
                with found.stream:
                    yield found
        finally:
            self.places.put(found)


_GPUS: dict[int, Gpu] = {}
_GUARD = threading.Lock()


def gpu_of(device: str | None) -> Gpu:
    """Return a GPU by the name of its device, ``"cuda"`` or ``"cuda:1"``; None: the current one."""
    number = int(device.split(":")[1]) if device and ":" in device else None
    found = int(importlib.import_module("cupy").cuda.Device(number).id)
    with _GUARD:
        return _GPUS.setdefault(found, Gpu(found))


def run_there(kernel: Any, arrays: tuple[Any, ...], device: str | None, **named: object) -> Any:
    """Run a kernel on a GPU; arrays of the host go there and come back.

    Parameters
    ----------
    kernel
        Takes and returns arrays of the device.
    arrays
        All of the host, or of the GPU: these stay there, and the kernel runs in the current stream.
    device
        As `gpu_of` takes it.
    **named
        What else the kernel is given.
    """
    gpu = gpu_of(device)
    if any(is_cupy(array) for array in arrays):
        with gpu.lock, importlib.import_module("cupy").cuda.Device(gpu.number):
            return kernel(*(None if a is None else to_device(a) for a in arrays), **named)
    with gpu.place() as place:
        there = place.take(arrays)
        with gpu.lock:
            found = kernel(*there, **named)
            # The next kernel begins when this one has ended: both want the whole GPU.
            place.stream.synchronize()
        return place.give(found)
