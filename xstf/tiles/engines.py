"""Which engine runs, is it installed, and how kernels are run on it."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from xstf._method import Engine, Method, NetworkCall, Weights
from xstf.cubes.arrays import Array
from xstf.cubes.words import meant
from xstf.tiles.gpu import is_cupy, run_there, to_device, to_host

_EXTRAS: dict[str, str] = {"cupy": "cupy", "torch": "torch"}


def why_missing(engine: Engine) -> str | None:
    """Return why an engine cannot run here, or None if it can."""
    if engine not in _EXTRAS:
        return None
    if importlib.util.find_spec(engine) is None:
        return f"engine {engine!r} needs the package; install xstf[{_EXTRAS[engine]}]"
    if engine == "cupy" and not importlib.import_module("cupy").is_available():
        return "engine 'cupy' is installed and finds no GPU; use engine='numba'"
    return None


def pick_engine(record: Method, engine: str | None, *arrays: object) -> Engine:
    """Return the engine that will run, or raise; never another than the one asked for.

    Parameters
    ----------
    record : Method
    engine : str or None
        None: the GPU's where the arrays live there, else the first of the record's that needs no
        GPU.
    *arrays
        Plain or dask arrays; only what they are is looked at.
    """
    have: list[Engine] = list(record.kernels)
    if engine is not None:
        if engine not in have:
            hint = meant(engine, have)
            raise ValueError(f"{record.name} has no engine {engine!r}; it has {sorted(have)}{hint}")
        missing = why_missing(engine)
        if missing:
            raise ImportError(missing)
        return engine
    if any(is_cupy(array) for array in arrays):
        gpu: list[Engine] = [e for e in ("cupy", "torch") if e in have]
        if not gpu:
            raise ValueError(
                f"the cube is on the GPU and {record.name} has no GPU engine, only {sorted(have)}; "
                "move it to the host (cube.as_numpy()) or name an engine"
            )
        return gpu[0]
    usable = [e for e in have if e != "cupy" and why_missing(e) is None]
    return usable[0]


@dataclass(frozen=True)
class Runner:
    """A kernel on its engine: plain arrays in, the same kind out.

    Parameters
    ----------
    kernel
        The record's function for ``engine``.
    engine
        Where it runs.
    device
        ``"cuda"`` or ``"cuda:1"`` for GPU engines, None for the current one.
    weights
        Of a network; None for other methods.
    """

    kernel: Callable[..., tuple[Any, ...]]
    engine: Engine
    device: str | None = None
    weights: Weights | None = None

    def network(
        self,
        origin: tuple[int, int],
        whole: tuple[int, int],
        *,
        first_day: float = 0.0,
        bands: np.ndarray | None = None,
    ) -> dict[str, NetworkCall]:
        """Return the keyword that the kernel of a network takes besides; none for others."""
        if self.weights is None:
            return {}
        call = NetworkCall(self.weights, origin, whole, self.device, first_day, bands)
        return {"network": call}

    def __call__(self, *arrays: Array | None, **named: object) -> tuple[Any, ...]:
        """Run the kernel; arrays from the host go to the device and come back."""
        back = to_device if any(is_cupy(array) for array in arrays) else to_host
        if self.engine == "cupy":
            found: tuple[Any, ...] = run_there(self.kernel, arrays, self.device, **named)
            return found
        if self.engine == "torch":
            with _TorchThreads():
                found = self.kernel(*(_there(to_host, a) for a in arrays), **named)
            return tuple(_there(back, result) for result in found)
        with _ONE_BLAS_THREAD:
            results = self.kernel(*(_there(to_host, array) for array in arrays), **named)
        return tuple(_there(back, result) for result in results)


def _there(move: Callable[[Array], Array], array: Array | None) -> Array | None:
    return None if array is None else move(array)


def make_runner(
    record: Method, engine: Engine, device: str | None, weights: Weights | None = None
) -> Runner:
    """Return the kernel of a record on an engine; raise if the device does not fit the engine."""
    if engine == "torch":
        _require_device(device)
    elif device is not None:
        kind = device.split(":")[0]
        wanted = "cuda" if engine == "cupy" else "cpu"
        if kind != wanted:
            raise ValueError(
                f"device {device!r} does not fit engine {engine!r}, which runs on {wanted!r}"
            )
    return Runner(record.kernels[engine], engine, device, weights)


def _require_device(device: str | None) -> None:
    """Raise if torch cannot work on a device here."""
    if device is None:
        return
    torch = importlib.import_module("torch")
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"device {device!r} is none of torch's; give 'cpu', 'cuda' or 'cuda:1'"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ImportError(f"device {device!r}: torch finds no GPU; use device='cpu'")


class _TorchThreads(AbstractContextManager[None]):
    """Keeps torch to one thread in each kernel: tiles use the cores, and sums keep their order.

    With another number of threads torch rounds in another way (3e-8 of the values), so a result
    would depend on the scheduler. Worker threads stay at one; the main thread, where the user's
    own torch runs, gets its number back.
    """

    def __enter__(self) -> None:
        torch = importlib.import_module("torch")
        self.before = torch.get_num_threads()
        if self.before != 1:
            torch.set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread() and self.before != 1:
            importlib.import_module("torch").set_num_threads(self.before)


class _OneBlasThread(AbstractContextManager[None]):
    """Keeps BLAS to one thread while any tile is in a kernel: tiles use the cores already.

    The limit is the process's, and tiles come from many threads: the first in sets it, the last
    out lifts it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.limit: Any = None

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.limit = _blas().limit(limits=1, user_api="blas")

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limit.restore_original_limits()


@cache
def _blas() -> Any:
    """Return the controller of the BLAS libraries that are loaded, found once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_ONE_BLAS_THREAD = _OneBlasThread()
