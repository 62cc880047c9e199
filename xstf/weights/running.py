"""What methods that are networks share: weights loaded once, tiles run in batches, put together."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from xstf._method import NetworkCall, Weights
from xstf.numerics.lattice import Lattice, Window
from xstf.weights import checkpoint as files
from xstf.weights.manifest import Manifest

if TYPE_CHECKING:
    import torch
    from torch import nn

# What a checkpoint holds, as its SHA-256; the file that builds its network; its device.
Key: TypeAlias = tuple[str, str, str]

# Networks kept in memory between tiles, the latest last.
_KEPT = 4
_LOADED: dict[Key, tuple[nn.Module, Manifest]] = {}
_GUARD = threading.Lock()
_ON_GPU = threading.Lock()


def require_call(network: NetworkCall | None) -> NetworkCall:
    """Return the call of a network's kernel; raise where there is none."""
    if network is None:
        raise TypeError("the kernel of a network needs network=, with its weights")
    return network


def load_once(weights: Weights, device: str | None) -> tuple[nn.Module, Manifest]:
    """Return a checkpoint's network, ready to run, and its manifest; loaded once a process.

    Parameters
    ----------
    weights : Weights
        The checkpoint, and the file of ``xstf/nets`` that builds its network.
    device : str or None
        None: the GPU if torch finds one, else the processor.

    Returns
    -------
    module, manifest

    Raises
    ------
    ValueError
        The file holds other weights than when the verb was called.
    """
    target = device_of(device)
    key = (weights.sha256, weights.module, str(target))
    with _GUARD:
        if key not in _LOADED:
            _LOADED[key] = _load(weights, target)
            while len(_LOADED) > _KEPT:
                del _LOADED[next(iter(_LOADED))]
        return _LOADED[key]


def build(module: str, manifest: Manifest) -> nn.Module:
    """Return the network that a manifest describes, with the numbers that it starts from."""
    made: nn.Module = importlib.import_module(f"xstf.nets.{module}").build(
        bands=len(manifest.bands), **manifest.sizes
    )
    return made


def _load(weights: Weights, device: torch.device) -> tuple[nn.Module, Manifest]:
    checkpoint = files.load(weights.source)
    if checkpoint.sha256 != weights.sha256:
        raise ValueError(
            f"{weights.source!r} holds other weights than when the verb was called (sha256 "
            f"{checkpoint.sha256[:12]}…, then {weights.sha256[:12]}…); call it again"
        )
    net = build(weights.module, checkpoint.manifest)
    files.fill(net, checkpoint)
    net.requires_grad_(False)
    return on_device(net, device).eval(), checkpoint.manifest


def on_device(net: nn.Module, device: torch.device) -> nn.Module:
    """Return a network on its device, the kernels of images channels last, which is faster."""
    torch = importlib.import_module("torch")
    net.to(device)
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net


def device_of(device: str | None) -> torch.device:
    """Return torch's device: the one named, else the GPU if there is one."""
    torch = importlib.import_module("torch")
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def inference(device: torch.device) -> Iterator[AbstractContextManager[Any]]:
    """Give the contexts of an inference: no gradients; on a GPU one call at a time, in bfloat16."""
    torch = importlib.import_module("torch")
    yield torch.inference_mode()
    gpu = device.type == "cuda"
    yield _ON_GPU if gpu else nullcontext()
    yield torch.autocast("cuda", dtype=torch.bfloat16) if gpu else nullcontext()


def over_tiles(
    lattice: Lattice,
    wanted: Window,
    cut: Callable[[Window], Sequence[np.ndarray] | None],
    run: Callable[..., np.ndarray],
    *,
    lead: tuple[int, ...],
    batch: int,
    blend: bool,
    workers: int = 1,
) -> np.ndarray:
    """Return a part of an image, put together from the network's tiles.

    Parameters
    ----------
    lattice
        Where tiles are.
    wanted
        Rows and columns of the image.
    cut
        ``cut(window)`` → the network's inputs on a tile, each without a batch axis, or None where
        it has nothing to say.
    run
        ``run(*stacked)`` → ``(batch, *lead, y, x)``.
    lead
        Leading sizes of the answer.
    batch
        Tiles at a time.
    blend
        Whether neighbours fade into each other, instead of each answering for its own core.
    workers
        Threads that run one tile each at a time, for batches of one; see `own_threads`.

    Returns
    -------
    ndarray (*lead, y, x)
        float32; NaN where no tile has anything to say.
    """
    size = tuple(part.stop - part.start for part in wanted)
    total = np.zeros((*lead, *size), np.float32)
    weight = np.zeros(size, np.float32)
    tiles = lattice.tiles(wanted, blend=blend)

    def answers(some: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], np.ndarray]]:
        inputs = [(t, cut((lattice.window(t[0], 0), lattice.window(t[1], 1)))) for t in some]
        given = [(t, arrays) for t, arrays in inputs if arrays is not None]
        if not given:
            return []
        found = run(*(np.stack(arrays) for arrays in zip(*(i for _, i in given), strict=True)))
        return [(t, answer) for (t, _), answer in zip(given, found, strict=True)]

    batches = [tiles[i : i + batch] for i in range(0, len(tiles), batch)]
    for made in _in_threads(answers, batches, workers):
        for tile, answer in made:
            _add(lattice, tile, answer, wanted, blend, total, weight)
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)


def own_threads(place: Any) -> int:
    """Return how many tiles a kernel may run at a time: on the processor, all cores if it is alone.

    Tiles that come from worker threads use the cores already. On the main thread there is one.
    """
    alone = threading.current_thread() is threading.main_thread()
    if place.type != "cpu" or not alone:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_threads(work: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """Give the work's results in order, some at a time; torch keeps to one thread in each."""
    torch = importlib.import_module("torch")
    if workers == 1 or len(items) == 1:
        yield from map(work, items)
        return

    def inferring(item: Any) -> Any:
        with torch.inference_mode():  # is of the thread
            return work(item)

    start = partial(torch.set_num_threads, 1)
    with ThreadPoolExecutor(min(workers, len(items)), initializer=start) as pool:
        yield from pool.map(inferring, items)


def _add(
    lattice: Lattice,
    tile: tuple[int, int],
    answer: np.ndarray,
    wanted: Window,
    blend: bool,
    total: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Add a tile's answer to the part of the image that is wanted."""
    ramps = []
    places: list[Any] = []  # of the part that is wanted
    inside: list[Any] = []  # of the tile
    for axis, (k, part) in enumerate(zip(tile, wanted, strict=True)):
        window = lattice.window(k, axis)
        answered = window if blend else lattice.core(k, axis)
        start, stop = max(answered.start, part.start), min(answered.stop, part.stop)
        places.append(slice(start - part.start, stop - part.start))
        inside.append(slice(start - window.start, stop - window.start))
        ramp = lattice.ramp(k, axis) if blend else np.ones(lattice.extent(axis), np.float32)
        ramps.append(ramp[inside[-1]])
    share = ramps[0][:, None] * ramps[1]
    to: Any = (..., *places)
    total[to] += share * answer[(..., *inside)]
    weight[tuple(places)] += share
