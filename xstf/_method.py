"""The record of a method, and where the records are found."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias

from xstf._recipe import Net

Task: TypeAlias = Literal["fuse", "gapfill", "sharpen_spectral", "sts"]
Engine: TypeAlias = Literal["numba", "cupy", "torch", "numpy"]
Kernel: TypeAlias = Callable[..., tuple[Any, ...]]

# Kernels see no value that is larger: its square would leave float32. Such ones are missing.
LARGEST = 1e18

TASKS: tuple[Task, ...] = ("fuse", "gapfill", "sharpen_spectral", "sts")


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
        A network has one, ``"torch"``.
        A fuse kernel is called as
        ``kernel(fine, coarse, *, ratio, params, state, inner, std)`` with

        - ``fine`` ``(pair, band, y, x)`` and ``coarse`` ``(pair + 1, band, y / ratio, x / ratio)``,
          float32, C order, NaN where missing; the last coarse image is the target date;
        - ``inner`` ``(slice, slice)``: the rows and columns of ``fine`` that are wanted (the rest
          of the tile is halo);
        - ``std``: whether the standard deviation is wanted too.

        It returns ``(estimate, std or None)``, each ``(band, y, x)`` of ``inner``, float32, and
        writes to nothing that it was given. At the edge of the tile it shrinks its window.

        A gapfill kernel is called as
        ``kernel(cube, guide, *, times, params, state, inner, std)`` with

        - ``cube`` ``(time, band, y, x)`` and ``guide`` ``(time, guide_band, y, x)``, which lies on
          the cube's dates and grid, or None; float32, C order, NaN where missing;
        - ``times`` ``(time,)``, days since the first date, ascending.

        It returns ``(estimate, std or None, in_space or None)``, each ``(time, band, y, x)`` of
        ``inner``: the estimate float32, NaN where it has nothing to say, at observed pixels
        its smooth if it has one and else anything (the tile puts the observed ones back); the
        standard deviation of a new observation there; and where pixels of the same date made
        the estimate.

        A sharpen_spectral kernel is called as
        ``kernel(spectral, spatial, *, ratio, params, state, inner, std)`` with

        - ``spectral`` ``(band, y / ratio, x / ratio)``, none of its bands missing everywhere, and
          ``spatial`` ``(guide_band, y, x)``, float32, C order, NaN where missing.

        It returns ``(estimate, std or None)``, each ``(band, y, x)`` of ``inner``.

        An sts kernel, which serves ``fuse(…, spatial=…)``, is called as ``kernel(spectral, dense,
        sharp, *, times, target, ratios, params, state, inner, std)`` with

        - ``spectral`` ``(pair, band, y / r, x / r)``, ``sharp`` ``(pair, sharp_band, y, x)`` and
          ``dense`` ``(pair + 1, dense_band, y / d, x / d)``, the last one being the target date;
        - ``times`` ``(pair,)`` and ``target``, in days, and ``ratios`` ``(r, d)``; sides are whole
          in both. Its ``halo`` is ``halo(params, ratios)``.

        It returns ``(estimate, std or None)``, each ``(band, y, x)`` of ``inner``.
    pairs
        The fewest and the most image pairs that a fuse kernel takes.
    prepare, settle
        Statistics of the whole image, in two steps. ``prepare(fine, coarse, *, ratio, params)``
        gets the whole arrays, numpy or dask, and returns a dict of small arrays of the same kind,
        by indexing only; ``settle(samples, *, ratio, params)`` turns them, as numpy, into
        the ``state`` that every tile sees.
        A gapfill method has no ``prepare``: ``settle(samples, *, times, params)`` gets windows of
        the scene, ``samples["cube"]`` ``(spot, time, band, y, x)`` and, if there is a guide,
        ``samples["guide"]``; one spot if the scene is small. ``samples["season"]`` may hold what
        `xstf.methods.gapfill._season.season_state` says of the scene, to save saying it again.
        Nor has a sharpening method: ``settle(samples, *, ratio, params)`` gets
        ``samples["spectral"]`` ``(band, Y, X)`` and ``samples["spatial"]``
        ``(guide_band, ratio Y, ratio X)``, the scene or stretches of it, and where the caller knows
        them ``samples["srf"]`` ``(guide_band, band)`` and ``samples["fwhm"]`` of the point spread
        function, in coarse pixels. ``samples["shift"]`` is how far the cubes are apart, in fine
        pixels; the verb has moved the spatial one already, and says 0. For sts,
        ``settle(samples, *, ratios, params)`` gets ``spectral``, ``dense`` and ``sharp`` of all
        paired dates, of the scene or stretches of it, and their ``times`` in days.
    state_for_std
        Whether the state serves the standard deviation alone; it is settled only when one is wanted
        then, and ``state`` is empty otherwise.
    smooth
        Whether a gapfill kernel's estimate at observed pixels is its own smooth of them.
    guided
        Whether a gapfill kernel makes use of a guide (SAR, a coarse sensor).
    fewest
        The fewest dates that a gapfill kernel takes; the fewest pairs that an sts kernel takes.
    std
        Whether the kernels can give a standard deviation.
    net
        How its network is built and trained; None for a method without. The kernel of a network is
        told more: ``state["weights"]``, the path or the bytes of a checkpoint; ``origin``, where in
        the image the tile begins, and ``whole``, the image's size, both ``(y, x)``, since networks
        work on a lattice of their own; and the ``device``.
    reference
        Citation with its DOI.
    exempt
        ``{law: reason}`` for the laws (``tests/test_laws.py``) that it does not obey.
    """

    name: str
    task: Task
    summary: str
    params: type[Any]
    halo: Callable[[Any, Any], int]
    kernels: Mapping[Engine, Kernel]
    reference: str
    pairs: tuple[int, int] = (1, 1)
    prepare: Callable[..., dict[str, Any]] | None = None
    settle: Callable[..., dict[str, Any]] | None = None
    std: bool = False
    state_for_std: bool = False
    smooth: bool = False
    guided: bool = False
    fewest: int = 2
    net: Net | None = None
    exempt: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what every floor above relies on."""
        if self.task not in TASKS:
            raise ValueError(f"method {self.name!r}: task {self.task!r} is none of {list(TASKS)}")
        if "numpy" not in self.kernels and self.net is None:
            raise ValueError(f"method {self.name!r} has no 'numpy' kernel, its definition")
        if self.net is not None and list(self.kernels) != ["torch"]:
            raise ValueError(f"method {self.name!r} is a network: its one kernel is 'torch'")
        if self.task != "fuse":
            if self.prepare is not None:
                raise ValueError(f"method {self.name!r}: {self.task} methods have settle alone")
        elif (self.prepare is None) != (self.settle is None):
            raise ValueError(f"method {self.name!r} needs both prepare and settle, or neither")


def _files(task: Task) -> list[str]:
    """Return the files of this package's methods of a task; each is named as its method."""
    package = importlib.import_module(f"xstf.methods.{task}")
    return [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]


@cache
def _own(task: Task, file: str) -> Method:
    """Return the record of one of this package's files; loaded alone, for quick first calls."""
    record: Method = importlib.import_module(f"xstf.methods.{task}.{file}").METHOD
    if record.name.replace("-", "_") != file:
        raise ValueError(f"{file}.py holds the record {record.name!r}; they share a name")
    return record


@cache
def _records(task: Task) -> dict[str, Method]:
    """Return every record of a task, by name: this package's, then installed packages' offers."""
    found = {record.name: record for record in (_own(task, file) for file in _files(task))}
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


def classical_names(task: Task) -> list[str]:
    """Return the names of the methods that run without trained weights, sorted."""
    return [name for name, record in _records(task).items() if record.net is None]


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
    file = method.replace("-", "_")
    if file in _files(task) and _own(task, file).name == method:
        return _own(task, file)
    records = _records(task)
    if method not in records:
        raise ValueError(f"no {task} method {method!r}; there are {list(records)}")
    return records[method]


@dataclass(frozen=True)
class Trial:
    """A method with parameters, as an evaluation tries it."""

    label: str
    record: Method
    params: Mapping[str, Any]


def trials(task: Task, methods: Sequence[Any] | None) -> list[Trial]:
    """Return what to try: names, records, or such with their parameters, ``(method, {...})``.

    None: all of the task but networks, which need weights. A method that is named twice is told
    apart by its parameters.
    """
    if methods is None:
        methods = classical_names(task)
    pairs = [m if isinstance(m, tuple) else (m, {}) for m in methods]
    wrong = [m for m in pairs if len(m) != 2 or not isinstance(m[1], Mapping)]
    if wrong:
        raise TypeError(f"methods are names, records or (method, {{parameters}}), not {wrong[0]!r}")
    found = [(get_method(task, method), params) for method, params in pairs]
    names = [record.name for record, _ in found]
    tried = []
    for record, params in found:
        label = record.name
        if names.count(label) > 1 and params:
            label += f"({', '.join(f'{k}={v}' for k, v in params.items())})"
        tried.append(Trial(label, record, params))
    return tried
