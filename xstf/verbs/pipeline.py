"""The steps that all verbs share: a method and its parameters, its engine and weights, the run."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args, get_type_hints

from xstf._method import Method, Task
from xstf._version import __version__
from xstf.cubes.read import Cube
from xstf.methods.lookup import get_method, method_names, unknown_parameters
from xstf.tiles.chunks import check_fits, result_chunks
from xstf.tiles.engines import Runner, make_runner, pick_engine
from xstf.tiles.run import Job, State, is_lazy, run_tiles, settle_now
from xstf.verbs.checkpoint import NetworkCubes, lattice_tile, resolve_weights
from xstf.verbs.watching import in_notebook, note

# Of a lazy result along y and x, as dask writes them.
Chunks: TypeAlias = tuple[int | tuple[int, ...], int | tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A method with its parameters, as a verb was asked to run it.

    Parameters
    ----------
    verb
        Its function, whose arguments error messages list.
    record, params
        The method, and an instance of its parameters.
    quality
        Whether the standard deviation and the flag are wanted.
    progress
        Whether a bar is shown.
    """

    verb: Callable[..., object]
    record: Method
    params: Any
    quality: bool
    progress: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    """A call with what it takes to run it.

    Parameters
    ----------
    call
        The method and its parameters, of a network with the side of its tiles.
    runner
        The kernel on its engine, with the weights of a network.
    attrs
        What the result says of the call.
    """

    call: Call
    runner: Runner
    attrs: dict[str, str]


def choose(
    verb: Callable[..., object],
    task: Task,
    method: str | Method,
    params: Mapping[str, object],
    *,
    quality: bool,
    progress: bool,
) -> Call:
    """Return the method of a call with its parameters checked; raise naming what there is."""
    if progress or in_notebook():
        from xstf.numerics.compiling import tell_of_compiling  # numba takes a while to load

        tell_of_compiling()
    record = get_method(task, method)
    options = make_params(record, params, verb)
    if quality and not record.std:
        able = named(m for m in records_of(record.task) if m.std)
        raise ValueError(f"{record.name} gives no standard deviation; {able} do")
    return Call(verb=verb, record=record, params=options, quality=quality, progress=progress)


def prepare(
    call: Call,
    cubes: Sequence[Cube],
    network: Callable[[], NetworkCubes],
    *,
    engine: str | None,
    device: str | None,
    grid: str = "",
    frame: str = "",
) -> Run:
    """Return a call ready to run: its engine and device found, a network's weights resolved.

    Parameters
    ----------
    call
        The method and its parameters.
    cubes
        Those that were read, first the one whose attributes the result keeps. A GPU's arrays choose
        a GPU's engine.
    network
        Returns the cubes that a network is held against and trained on.
    engine, device
        As the caller gave them.
    grid
        How the cubes got to nested grids, in words.
    frame
        What was done and assumed to bring them to one frame, in words.
    """
    record, params = call.record, call.params
    for cube in cubes:
        whole = (cube.dims[0],) if record.task == "gapfill" else ()
        check_fits(cube.what, cube.data, cube.dims, whole)
    written = f"{record.name}({listed(params)})"
    previous = cubes[0].source.attrs.get("history")
    attrs = {
        "stf_method": f"{written}, xstf {__version__}",
        "history": _history(f"{call.verb.__name__}, {written}", previous),
    }
    if grid:
        attrs["stf_grid"] = grid
    if frame:
        attrs["stf_frame"] = frame
    if merged := merged_looks(cubes):
        attrs["stf_acquisitions"] = merged
    if brought := said_of_masks(cubes):
        attrs["stf_mask"] = brought
    chosen = pick_engine(record, engine, *(cube.data for cube in cubes))
    runner = make_runner(record, chosen, device)
    if record.net is not None:
        params, weights, attrs["stf_weights"] = resolve_weights(record, params, network())
        runner = make_runner(record, chosen, device, weights)
    return Run(call=dataclasses.replace(call, params=params), runner=runner, attrs=attrs)


def merged_looks(cubes: Iterable[Cube]) -> str:
    """Return in words which cubes had several images of one acquisition merged; "" for none."""
    return "; ".join(f"{cube.what}: {cube.looks}" for cube in cubes if cube.looks)


def said_of_masks(cubes: Iterable[Cube]) -> str:
    """Return in words which masks came on another grid than their cube; "" for none."""
    return "; ".join(f"{cube.what}: {cube.masked}" for cube in cubes if cube.masked)


def compute(
    run: Run,
    jobs: Sequence[Job],
    *,
    chunks: Chunks,
    tile: int,
    settled: bool = False,
    checks: Sequence[State] = (),
) -> tuple[Any, list[Any]]:
    """Return the layers of all jobs, lazy if an input is, and what an eager run settled.

    Parameters
    ----------
    run
        What the jobs were made of.
    jobs
        Of one output shape.
    chunks
        Of a lazy result along y and x.
    tile
        Side of an eager run's tile in output pixels; networks with a lattice have their own.
    settled
        Settle the one state of an eager job first, for what it tells; of several, and by default,
        those are settled that tiles ask for.
    checks
        What a lazy run settles before any tile.

    Returns
    -------
    layers, states
        ``(job, layer, …, y, x)``, and the states if they were settled.
    """
    if run.runner.weights is not None and hasattr(run.call.params, "blend"):
        tile = lattice_tile(run.call.params)
    note(run=run, jobs=jobs, chunks=chunks, tile=tile)
    ready, states = settle_now(jobs) if settled else (list(jobs), [])
    layers = run_tiles(ready, chunks=chunks, tile=tile, progress=run.call.progress, checks=checks)
    return layers, [state() for state in states if state.done]


def chunks_of(cube: Cube, side: int, images: int = 0) -> Chunks:
    """Return the chunks of a lazy result along y and x: a cube's; `side` for a numpy cube.

    Where a pixel of the result has so many `images` that such a chunk would be large, parts of it.
    """
    if not is_lazy(cube.data):
        return side, side
    own = cube.data.chunks[2], cube.data.chunks[3]
    return result_chunks(own, images) if images else own


def _history(call: str, previous: object) -> str:
    """Return a CF history with one more line."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{now} xstf {__version__}: {call}"
    return f"{line}\n{previous}" if previous else line


# --- parameters -------------------------------------------------------------------------------


def make_params(
    record: Method, given: Mapping[str, object], verb: Callable[..., object] | None = None
) -> Any:
    """Return the method's parameters, checked; raise naming those of the method and the verb."""
    defaults = {f.name: f.default for f in dataclasses.fields(record.params)}
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        arguments = [] if verb is None else _arguments(verb)
        raise TypeError(unknown_parameters(record, unknown, arguments))
    values = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in given.items()}
    for name, value in values.items():
        _check_kind(record, name, value, defaults[name])
    return record.params(**values)


def _arguments(verb: Callable[..., object]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [n for n, p in inspect.signature(verb).parameters.items() if p.kind in kinds]


def _check_kind(record: Method, name: str, value: object, default: object) -> None:
    """Refuse a value of another kind than the default's; the record checks what it means."""
    wanted = type(default)
    if default is None:  # found by the method: the type is that of the field
        options = get_args(get_type_hints(record.params)[name])
        wanted = next(kind for kind in options if kind is not type(None))
        if value is None:
            return
    kinds: dict[type, type] = {int: numbers.Integral, float: numbers.Real}
    kind = kinds.get(wanted, wanted)
    if not isinstance(value, kind) or isinstance(value, bool) != (wanted is bool):
        raise TypeError(
            f"{record.name}: {name} must be {wanted.__name__}, as its default {default!r}, "
            f"not {value!r}"
        )


def listed(params: Any) -> str:
    """Return parameters as they are written in a call."""
    return ", ".join(f"{f.name}={getattr(params, f.name)!r}" for f in dataclasses.fields(params))


def records_of(task: Task) -> list[Method]:
    """Return all methods of a task; messages name those that can do what was asked for."""
    return [get_method(task, name) for name in method_names(task)]


def named(records: Iterable[Method]) -> str:
    """Return the names of methods, for messages."""
    return ", ".join(record.name for record in records) or "no methods of this task"
