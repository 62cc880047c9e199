"""NetCDF files and Zarr stores: one as a cube, or one a date or band, as one cube."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.words import listed, meant
from xstf.files.choice import Found, few, grouped, in_words, pick
from xstf.files.guard import guarded_dataset, reading, stamp
from xstf.files.locks import LIBRARY
from xstf.files.names import Named, read_name
from xstf.files.save import COMPLETE
from xstf.files.sources import is_zarr

_TIMES = ("time", "t", "date")
_CRS = {"crs_wkt", "spatial_ref", "grid_mapping_name"}  # attributes of a variable that is a CRS


def open_dataset(path: Path, variable: str | None, chunks: int | None) -> xr.DataArray | xr.Dataset:
    """Return the cube in a NetCDF file or a Zarr store."""
    return _variable(_open(path), variable, str(path), chunks, stamp(path))


def open_datasets(
    found: Found, variable: str | None, chunks: int | None
) -> xr.DataArray | xr.Dataset:
    """Return the cube in NetCDF files or Zarr stores of a date or a band each."""
    if len(found.paths) == 1:
        return open_dataset(found.paths[0], variable, chunks)
    parts = []
    for path in found.paths:
        one = _dated(_open(path), read_name(path, found.root), found.where)
        lazy = _chunked(one, chunks, stamp(path)) if chunks else one.load()
        parts.append((path, lazy))
        if not chunks:
            one.close()
    _check_frames(parts, found.where)
    groups = grouped(parts, lambda part: frozenset(_images(part[1])))
    series = [_along_time(group, found.where) for group in groups.values()]
    times = [set(s["time"].values.tolist()) for s in series]
    if any(t != times[0] for t in times):
        names = ["/".join(map(str, _images(s))) for s in series]
        counts = dict(zip(names, map(len, times), strict=True))
        warnings.warn(
            f"{found.where}: not all variables have all dates (how many they have: {counts}); "
            "they are missing in the cube where there is no file",
            stacklevel=4,
        )
    whole: xr.Dataset = xr.merge(
        series, join="outer", compat="override", combine_attrs="drop_conflicts"
    )
    return _variable(whole.sortby("time"), variable, found.where, chunks)


def _open(path: Path) -> xr.Dataset:
    if path.suffix.lower() == ".zarr":
        return _open_zarr(path)
    try:
        with LIBRARY:
            found = xr.open_dataset(
                path, engine="netcdf4", decode_coords="all", cache=False, lock=LIBRARY
            )
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} cannot be read as NetCDF: {_words(error)}") from error
    _check_classic(path)
    return guarded_dataset(found, path)


def _check_classic(path: Path) -> None:
    """Raise where a file of the classic format is shorter than it says: the rest reads as zeros."""
    with path.open("rb") as file:
        if file.read(4) not in (b"CDF\x01", b"CDF\x02"):
            return
    from scipy.io import netcdf_file  # few files are of that format

    try:
        with path.open("rb") as file:
            netcdf_file(file, mmap=True).close()  # maps each variable to its place, and reads none
    except (ValueError, TypeError, IndexError) as error:
        raise OSError(
            f"{path} cannot be read as NetCDF: it is shorter than it says, or damaged"
        ) from error


def _check_metadata(path: Path) -> None:
    """Raise where a folder of a Zarr store is neither group nor array: it would be left out."""
    for folder in path.iterdir():
        hidden = folder.name.startswith(("_", "."))
        if folder.is_dir() and not hidden and any(folder.iterdir()) and not is_zarr(folder):
            raise OSError(
                f"{path} cannot be read as a Zarr store: the metadata of {folder.name} is missing"
            )


def _open_zarr(path: Path) -> xr.Dataset:
    try:
        import zarr  # noqa: F401  xarray would say that it knows no such files
    except ImportError as error:
        raise ImportError("Zarr stores need zarr; install xstf[zarr]") from error
    with reading(path, "as a Zarr store"):
        _check_metadata(path)
        found = xr.open_dataset(
            path, engine="zarr", consolidated=False, decode_coords="all", cache=False
        )
    complete = found.attrs.pop(COMPLETE, None)
    if complete:
        _check_chunks(path, found)
    elif complete is not None:
        warnings.warn(
            f"{path} is incomplete: a run that wrote it was stopped, and pixels that it did not "
            "come to are missing; call xstf.store.to_zarr again with the same result",
            stacklevel=5,
        )
    text = {
        n: (c.dims, _plain(c.values), c.attrs)
        for n, c in found.coords.items() if c.dtype.kind == "T"
    }  # fmt: skip
    return guarded_dataset(found.assign_coords(text), path)


def _check_chunks(path: Path, dataset: xr.Dataset) -> None:
    """Warn of chunks that a store of xstf has lost: unlike others it has one for all pixels."""
    lost = {}
    for name, variable in dataset.variables.items():
        chunks = variable.encoding.get("shards") or variable.encoding.get("chunks")
        if not variable.ndim or not chunks or not variable.size:
            continue
        count = math.prod(math.ceil(n / c) for n, c in zip(variable.shape, chunks, strict=True))
        there = sum(
            file.isdigit() for _, _, files in os.walk(path / str(name) / "c") for file in files
        )
        if there < count and name in dataset.indexes:
            raise OSError(f"{path} cannot be read as a Zarr store: {name} has lost its values")
        if there < count:
            lost[name] = count - there
    if lost:
        words = ", ".join(f"{n} of {name}" for name, n in lost.items())
        warnings.warn(
            f"{path} has lost chunks ({words}), and their pixels are missing; "
            "xstf.store.verify names them",
            stacklevel=6,
        )


def _plain(text: np.ndarray) -> np.ndarray:
    """Return texts of any length, which other files have no form for, as numpy's own."""
    return np.array(text.astype(object).tolist(), dtype=str).reshape(text.shape)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())


def _images(dataset: xr.Dataset) -> list[Hashable]:
    return [name for name, variable in dataset.data_vars.items() if variable.ndim >= 2]


def _dated(dataset: xr.Dataset, named: Named, where: str) -> xr.Dataset:
    """Return a file's cube with a dim time: its own, or made of the date in its name."""
    own = next((str(name) for name in (*_TIMES, *dataset.dims) if _is_time(dataset, name)), None)
    if own is None and named.stamp is None:
        raise ValueError(
            f"{where}: {named.path.name} has no time, and no date (YYYYMMDD or YYYYDDD) in its "
            "name; rename it, or leave it out with pattern="
        )
    if own is None:
        own, dataset = "time", dataset.assign_coords(time=named.stamp)
    if own not in dataset.dims:
        images = {name: dataset[name].expand_dims(own) for name in _images(dataset)}
        dataset = dataset.assign(images)
    named_time: xr.Dataset = dataset if own == "time" else dataset.rename({own: "time"})
    return named_time


def _is_time(dataset: xr.Dataset, name: Hashable) -> bool:
    return name in dataset.coords and dataset[name].dtype.kind == "M" and dataset[name].ndim < 2


def _check_frames(parts: Sequence[tuple[Path, xr.Dataset]], where: str) -> None:
    """Raise where files differ along another dim than time."""
    frames = grouped(parts, lambda part: tuple(_frame(part[1])))
    if len(frames) == 1:
        return
    texts = {", ".join(key): [path for path, _ in group] for key, group in frames.items()}
    raise ValueError(
        f"{where} holds files on {len(frames)} frames, and a cube has one: {in_words(texts)}; "
        f"{pick('*NAME*')}, and open each apart"
    )


def _frame(dataset: xr.Dataset) -> list[str]:
    """Return the dims other than time in words: size, and ends where they have coordinates."""
    words = []
    for dim, size in sorted(dataset.sizes.items(), key=str):
        if dim == "time":
            continue
        ends = ""
        if dim in dataset.coords and size:
            first, last = dataset[dim].values[[0, -1]]
            number = dataset[dim].dtype.kind in "fiu"
            ends = f" {first:.9g} to {last:.9g}" if number else f" {first} to {last}"
        words.append(f"{size} {dim}{ends}")
    return words


def _along_time(parts: Sequence[tuple[Path, xr.Dataset]], where: str) -> xr.Dataset:
    """Return files of the same variables as one, in order of time."""
    stamps = [(stamp, path) for path, one in parts for stamp in one["time"].values.tolist()]
    twice = [g for g in grouped(stamps, lambda s: s[0]).values() if len(g) > 1]
    if twice:
        day = str(np.datetime64(twice[0][0][0], "ns"))[:16]
        raise ValueError(
            f"{where} holds several images at {day}: {few([p.name for _, p in twice[0]])}; "
            f"{pick('*NAME*')}, or open each granule apart and merge them: "
            "xstf.mosaic(xr.concat([a, b], 'time'))"
        )
    images = [one for _, one in parts]
    whole: xr.Dataset = xr.concat(
        images, dim="time", join="override", data_vars="minimal", coords="minimal",
        compat="override", combine_attrs="drop_conflicts",
    )  # fmt: skip
    return whole


def _variable(
    dataset: xr.Dataset, variable: str | None, where: str, chunks: int | None, token: str = ""
) -> xr.DataArray | xr.Dataset:
    if variable is not None:
        if variable not in dataset:
            names = [name for name, one in dataset.data_vars.items() if one.ndim]
            raise ValueError(
                f"{where} has no variable {variable!r}; it has {listed(names)}"
                f"{meant(variable, names)}"
            )
        cube: xr.DataArray | xr.Dataset = _with_crs(dataset[variable], dataset)
    else:
        names = list(dataset.data_vars)
        cube = dataset[names[0]] if len(names) == 1 else dataset
        if isinstance(cube, xr.DataArray):
            cube.attrs = {**dataset.attrs, **cube.attrs}
            cube.set_close(dataset.close)
    return _chunked(cube, chunks, token) if chunks else _loaded(cube, where)


def _with_crs(cube: xr.DataArray, dataset: xr.Dataset) -> xr.DataArray:
    """Return a variable with the CRS of its file, which not every writer has it name."""
    if "grid_mapping" in {**cube.attrs, **cube.encoding}:
        return cube
    loose = [n for n, v in dataset.data_vars.items() if not v.ndim and set(v.attrs) & _CRS]
    return cube.assign_coords({loose[0]: dataset[loose[0]].variable}) if len(loose) == 1 else cube


def _chunked(cube: Any, chunks: int, token: str) -> Any:
    """Return a cube that was opened as a lazy one; chunks of a Zarr store are read once each."""
    if isinstance(cube, xr.Dataset):
        own: Any = cube.assign(
            {name: _stored(image, token) for name, image in cube.data_vars.items()}
        )
        whole: Any = own.chunk(_sides(own, chunks), token=token or None)
    else:
        whole = _stored(cube, token).chunk(_sides(cube, chunks), token=token or None)
    whole.set_close(cube.close)
    return whole


def _stored(image: xr.DataArray, token: str) -> xr.DataArray:
    """Return a variable in the chunks that a Zarr store has it in, where it has."""
    layout = image.encoding.get("preferred_chunks")
    of_zarr = {"compressor", "compressors"} & set(image.encoding)
    return image.chunk(layout, token=token or None) if layout and of_zarr else image


def _loaded(cube: xr.DataArray | xr.Dataset, where: str) -> xr.DataArray | xr.Dataset:
    """Return a cube in memory; name the chunk of a store that cannot be read."""
    try:
        return cube.load()
    except (RuntimeError, ValueError, OSError) as error:  # what codecs raise of damaged chunks
        chunk = _damaged(Path(where)) if where.lower().endswith(".zarr") else ""
        if isinstance(error, OSError) and not chunk:
            raise
        raise OSError(f"{where}{chunk} cannot be read, truncated or damaged: {error}") from error


def _damaged(store: Path) -> str:
    """Return the first chunk of a Zarr store that cannot be read, in words."""
    import zarr

    for name, array in zarr.open_group(store, mode="r").arrays():
        for chunk in np.ndindex(*array.cdata_shape):
            try:
                array.get_block_selection(chunk)
            except Exception:  # it is read again only to be named, and the error is raised
                return f", chunk {chunk} of {name},"
    return ""


def _sides(cube: xr.DataArray | xr.Dataset, chunks: int) -> dict[Hashable, int]:
    """Return the chunks of a lazy cube: an image each, cut along y and x."""
    sizes = dict.fromkeys(cube.dims, -1)
    for dim in cube.dims:
        if str(dim) in ("y", "x", "lat", "lon", "latitude", "longitude", "northing", "easting"):
            sizes[dim] = chunks
        elif str(dim) in ("time", "t", "date"):
            sizes[dim] = 1
    return sizes
