"""What the commands that make cubes share: looked at before any work, made, written, told."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import re
import time as clock
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xstf
from xstf import files, plot, store
from xstf.cli.inputs import Input, is_address
from xstf.cli.tables import sizes
from xstf.cli.telling import Outcome, bar_wanted, report
from xstf.cubes.arrays import Labelled
from xstf.cubes.dims import find_dim
from xstf.cubes.variables import band_variables
from xstf.files.beside import beside, check_place
from xstf.files.packed import Packing, pack
from xstf.files.save import for_writing
from xstf.methods.lookup import get_method
from xstf.store.workers import working_with
from xstf.verbs.by_trial import wants_trial

CHUNK = 1024  # pixels a side, where a run has to be lazy and no other size is given
_WHOLE = 1 << 30  # pixels: an image in one chunk
_SERIES_BYTES = 128e6  # of a chunk with all dates


@dataclasses.dataclass(frozen=True)
class Way:
    """How a command opens its cubes.

    Parameters
    ----------
    chunks
        Side of the chunks of a lazy run; None for one in memory.
    dry
        Whether no value is read.
    part
        Whether a part of the cubes is picked before they are read.
    """

    chunks: int | None
    dry: bool
    part: bool

    @property
    def side(self) -> int | None:
        """Of the chunks that files are opened in; None reads them whole."""
        return self.chunks or (_WHOLE if self.dry else CHUNK if self.part else None)

    def finish(self, cube: Any) -> Any:
        """Return what was opened and picked: lazy, in memory, or without its values."""
        if self.chunks or cube is None:
            return cube
        return _weightless(cube) if self.dry else cube.load()

    def whole_series(self, cube: Labelled) -> Labelled:
        """Return a lazy cube in chunks of all dates, which filling needs; others as they are."""
        array = cube if isinstance(cube, xr.DataArray) else next(iter(cube.data_vars.values()))
        time = find_dim(array, "time")
        if not self.chunks or time is None:
            return cube
        bands = len(cube.data_vars) if isinstance(cube, xr.Dataset) else 1
        others = [n for d, n in array.sizes.items() if d not in _space(array)]
        side = int((_SERIES_BYTES / 4 / max(1, bands * int(np.prod(others)))) ** 0.5)
        return cube.chunk(
            {time: -1} | dict.fromkeys(_space(array), max(16, min(self.chunks, side)))
        )


def _space(array: xr.DataArray) -> list[Any]:
    """Return the dims of an image's rows and columns."""
    return [dim for dim in (find_dim(array, "y"), find_dim(array, "x")) if dim is not None]


def _weightless(cube: Any) -> Any:
    """Return a cube that stands for one in memory, and takes none."""
    if isinstance(cube, xr.Dataset):
        return cube.assign({name: _weightless(array) for name, array in cube.data_vars.items()})
    if cube.ndim < 2:
        return cube
    return cube.copy(deep=False, data=np.broadcast_to(np.zeros((), cube.dtype), cube.shape))


def begin(arguments: argparse.Namespace, task: str, inputs: Sequence[Input]) -> Way:
    """Return how cubes are opened; raise on what is wrong before any of them is.

    Parameters
    ----------
    arguments
        With those of ``add_results`` and ``add_method``.
    task
        Of the method.
    inputs
        What the result must not be written onto.
    """
    if arguments.method != "auto" and not wants_trial(arguments.method):  # verbs resolve these
        get_method(task, arguments.method)
    for option, least in (("chunks", 1), ("workers", 1)):
        number = getattr(arguments, option)
        if number is not None and number < least:
            raise ValueError(f"{option}={number}: give {least} or more")
    if arguments.workers and arguments.scheduler:
        raise ValueError("--workers are threads here, and a --scheduler has its own; give one")
    with _in_words_of_storage():
        _packing(arguments, 1.0 if _is_whole(arguments) else None)
    if arguments.out is not None:
        _check_out(arguments, [path for one in inputs for path in one.paths])
    if arguments.quicklook:
        _check_quicklook(arguments)
    lazy = arguments.resume or arguments.scheduler or arguments.workers or _is_remote(arguments)
    part = any(getattr(arguments, name, None) for name in ("bands", "bbox", "time"))
    return Way(arguments.chunks or (CHUNK if lazy else None), arguments.dry_run, part)


def _is_remote(arguments: argparse.Namespace) -> bool:
    return arguments.out is not None and is_address(arguments.out)


def _check_out(arguments: argparse.Namespace, inputs: Sequence[str]) -> None:
    out = arguments.out
    try:
        files.check_target(out, inputs, overwrite=arguments.overwrite, resume=arguments.resume)
    except FileExistsError as error:
        if Path(out).suffix.lower() != ".zarr" or arguments.overwrite or arguments.resume:
            raise
        text = f"{error.strerror}, or resume=True to go on with a run that was stopped"
        raise FileExistsError(error.errno, text, error.filename) from error


def _check_quicklook(arguments: argparse.Namespace) -> None:
    path = Path(arguments.quicklook)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".pdf", ".svg"):
        raise ValueError(f"--quicklook {path}: give a .png file")
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--quicklook needs matplotlib; install xstf[plot]")
    if _is_remote(arguments):
        raise ValueError("--quicklook draws results on this machine; open the store for others")
    check_place(path, overwrite=arguments.overwrite or arguments.resume)


def make(
    arguments: argparse.Namespace, verb: str, cubes: Sequence[Any], options: Mapping[str, Any],
    inputs: Sequence[Input],
) -> Outcome:  # fmt: skip
    """Run a verb on cubes, or plan it, and write its result."""
    given = {"method": arguments.method, **options, **dict(arguments.param)}
    told = {name: arguments.__dict__[name] for name in ("engine", "device")}
    given |= {name: value for name, value in told.items() if value is not None}
    if arguments.dry_run:
        dry = xstf.plan(*cubes, verb=verb, **given)
        data = {"plan": dataclasses.asdict(dry), **_said(inputs)}
        return Outcome(str(dry), data, of_verb=True)
    started = clock.perf_counter()
    packing = _packing(arguments, _step(arguments, cubes[0]))
    result = getattr(xstf, verb)(*cubes, progress=bar_wanted(arguments), **given)
    lazy = _is_lazy(result)
    save(result, arguments, packing, lazy=lazy)
    if arguments.quicklook:
        shown = _again(arguments.out, _variables(result)[0]) if lazy else result
        plot.save(plot.quicklook(shown), Path(arguments.quicklook))
    data = {
        "out": arguments.out, "method": _method_of(result), "sizes": dict(result.sizes),
        "variables": _variables(result), "dates": _dates(result), **_said(inputs),
        "quicklook": arguments.quicklook, "seconds": round(clock.perf_counter() - started, 3),
    }  # fmt: skip
    report(f"{sizes(result)} → {arguments.out}", arguments)
    return Outcome("", data)


def _said(inputs: Sequence[Input]) -> dict[str, Any]:
    return {"inputs": {one.name: [*one.paths] for one in inputs}, "version": xstf.__version__}


def _is_lazy(cube: Labelled) -> bool:
    return (
        any(a.chunks is not None for a in cube.to_dataset(name="_").data_vars.values())
        if (isinstance(cube, xr.DataArray))
        else any(a.chunks is not None for a in cube.data_vars.values())
    )


def _variables(cube: Labelled) -> list[str]:
    if isinstance(cube, xr.DataArray):
        return [str(cube.name or "estimate")]
    return [str(name) for name in cube.data_vars]


def _method_of(cube: Labelled) -> str | None:
    """Return what the attributes say of the method, its parameters and the version."""
    arrays = [cube] if isinstance(cube, xr.DataArray) else [cube, *cube.data_vars.values()]
    return next((str(a.attrs["stf_method"]) for a in arrays if "stf_method" in a.attrs), None)


def _dates(cube: Labelled) -> list[str]:
    array = cube if isinstance(cube, xr.DataArray) else next(iter(cube.data_vars.values()))
    dim = find_dim(array, "time")
    return [] if dim is None else [str(date)[:19] for date in cube[dim].values]


# --- storage ----------------------------------------------------------------------------------


@contextmanager
def _in_words_of_storage() -> Any:
    """Have messages of packing name the option that is theirs: scale= is the inputs' elsewhere."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(" scale=", " store_scale=")) from error


def _is_whole(arguments: argparse.Namespace) -> bool:
    return arguments.dtype is not None and arguments.dtype.lstrip("u").startswith("int")


def _packing(arguments: argparse.Namespace, step: float | None) -> Packing:
    own = arguments.store_scale
    return Packing.of(arguments.dtype, step if own is None else own, arguments.nodata)


def _step(arguments: argparse.Namespace, cube: Labelled) -> float | None:
    """Return what a stored step is worth where nothing says: what it is in the first input."""
    if not _is_whole(arguments) or arguments.store_scale is not None:
        return None
    if arguments.scale is not None:
        raise ValueError(
            f"--scale {arguments.scale:g} is what values of the input are multiplied by; say with "
            f"--store-scale what one step of {arguments.dtype} is worth, such as "
            f"--store-scale {arguments.scale:g}"
        )
    images = [cube] if isinstance(cube, xr.DataArray) else [cube[n] for n in band_variables(cube)]
    steps = {float(image.encoding.get("scale_factor", np.nan)) for image in images}
    if len(steps) == 1 and np.isfinite(found := steps.pop()):
        return found
    if all(np.dtype(image.encoding.get("dtype", image.dtype)).kind in "iu" for image in images):
        return 1.0
    raise ValueError(
        f"--dtype {arguments.dtype} stores whole numbers, and the input's are none; say with "
        "--store-scale what one step is worth: 0.0001 for reflectance, 1 for whole numbers"
    )


def save(result: Labelled, arguments: argparse.Namespace, packing: Packing, *, lazy: bool) -> None:
    """Write a result: a lazy one tile by tile to a store, so that it can be gone on with."""
    out = arguments.out
    with _in_words_of_storage():
        if not (lazy and Path(out).suffix.lower() == ".zarr"):
            step = packing.scale if packing.whole else None
            files.save_cube(
                result, out, overwrite=arguments.overwrite, dtype=arguments.dtype, scale=step,
                nodata=arguments.nodata,
            )  # fmt: skip
            return
        stored: Any = _stored(for_writing(result), packing)
        shown = bar_wanted(arguments)
        if arguments.overwrite and not is_address(out) and Path(out).exists():
            with beside(Path(out).resolve()) as new:  # the old one stays until this one is whole
                store.to_zarr(stored, new, resume=False, progress=shown)
            return
        store.to_zarr(stored, out, resume=arguments.resume, progress=shown)


def _stored(dataset: xr.Dataset, packing: Packing) -> xr.Dataset:
    """Return a result whose encoding says how a store packs it, region by region.

    xarray would let numbers that do not fit run over; each block is looked at before.
    """
    out = dataset.copy()
    for name, image in dataset.data_vars.items():
        if image.ndim < 2 or image.dtype.kind != "f":
            continue
        if packing.whole:
            check = partial(_fitting, name=str(name), packing=packing)
            out[name] = image.copy(data=image.data.map_blocks(check, dtype=image.dtype))
            out[name].encoding = image.encoding | {
                "dtype": packing.dtype, "scale_factor": packing.scale, "add_offset": 0.0,
            }  # fmt: skip
        elif packing.dtype is not None:
            out[name] = image.astype(packing.dtype)
            out[name].encoding = dict(image.encoding)
        if packing.nodata is not None:
            out[name].encoding["_FillValue"] = packing.nodata
    return out


def _fitting(values: np.ndarray, *, name: str, packing: Packing) -> np.ndarray:
    """Return values that can be packed as they are; raise for others."""
    pack(values, name=name, packing=packing)
    return values


# --- pictures ---------------------------------------------------------------------------------


def _again(out: str, name: str) -> Labelled:
    """Return a result from where it was written, which costs less than to work it out again.

    Of images that is the variable of this name, without its standard deviation and the like.
    """
    path = Path(out)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        folder, stem, ending = path, name, ".tif"
    elif not path.exists():  # several dates: a file each
        folder, stem, ending = path.parent, path.stem, path.suffix
    else:
        return files.open_cube(path, chunks=CHUNK)
    dated = re.compile(re.escape(stem) + r"(_\d[^_]*)?" + re.escape(ending))
    return files.open_cube(
        [one for one in sorted(folder.iterdir()) if dated.fullmatch(one.name)], chunks=CHUNK
    )


@contextmanager
def working(arguments: argparse.Namespace) -> Any:
    """Have the threads or the cluster that the options ask for."""
    with working_with(workers=arguments.workers, scheduler=arguments.scheduler):
        yield
