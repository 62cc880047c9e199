"""Cubes into files: NetCDF, Zarr, GeoTIFFs; never onto an input, and whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstf.files.beside import beside, clean
from xstf.files.geotiff import save_rasters
from xstf.files.locks import LIBRARY
from xstf.files.packed import Packing, packed
from xstf.files.sources import Labelled, check_no_input, is_remote, local_path
from xstf.files.target import check_there, kind_of

# Says in a Zarr store whether all of it was written; of a cube that was read it says nothing.
COMPLETE = "stf_complete"
_NOT_NAMES = (".", "_xstf", "zarr.json")  # what a store has, or no name at all


def save_cube(
    cube: xr.DataArray | xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dtype: str | None = None,
    scale: float | None = None,
    nodata: float | None = None,
    zlib: bool = True,
    fletcher32: bool = True,
) -> None:
    """Write a cube to a NetCDF file, a Zarr store, or GeoTIFFs, by the path's ending.

    Everything is written beside its place and renamed into it at the end: an error, a full disk or
    a killed process leaves what was there as it was. For results that take hours see
    :func:`xstf.store.to_zarr`, which goes on where it was stopped.

    Parameters
    ----------
    cube : DataArray or Dataset
        A lazy one is computed while it is written.
    path : path
        ``.nc``; ``.zarr``; ``.tif``, or a folder (no ending): one GeoTIFF a date.
    overwrite : bool, default False
        Replace what is there; a folder as a whole, and only if xstf wrote all images in it. What
        the cube itself is lazily read from is never replaced.
    dtype : str, optional
        Store values as these whole numbers, such as ``"int16"``, or as ``"float32"``. Default: as
        the cube has them.
    scale : float, optional
        What one step of a whole number is worth: ``1e-4`` stores 0.25 as 2500. Readers bring it
        back. Only with `dtype`. Default: 1.
    nodata : float, optional
        The number that stands for missing pixels. Default: the least of signed whole numbers,
        the greatest of unsigned ones; NaN otherwise.
    zlib, fletcher32 : bool, default True
        Of NetCDF: compress, and add checksums, by which readers tell damaged files.

    Raises
    ------
    ValueError
        The cube is lazily read from `path`, or from what lies in it; values that do not fit
        `dtype`; a path of another ending.
    OSError
        Something is there and `overwrite` is False; no such folder; read-only; a full disk. The
        message has the path.

    Notes
    -----
    GeoTIFFs are cloud-optimised (tiles, overviews), with the names of bands, CRS and nodata. They
    are named by the date, with the time of day if there is one: ``fused/ndvi_20210407.tif``.
    :func:`open_cube` reads a folder of them as the cube that it was. They have no checksums:
    damage inside of them is told only where it cannot be unpacked.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> fused = xstf.fuse(fine, coarse, method="starfm")
    >>> xstf.files.save_cube(fused, "fused.nc", overwrite=True)  # doctest: +SKIP
    """
    if is_remote(path):
        raise ValueError(f"{path} is no path of this machine; use xstf.store.to_zarr for it")
    kind = kind_of(path)
    packing = Packing.of(dtype, scale, nodata)
    check_no_input(path, cube)
    there = local_path(path)
    clean(there)
    check_there(path, kind, overwrite=overwrite)
    if kind == "raster":
        save_rasters(cube, there, packing, overwrite=overwrite)
        return
    dataset = packed(for_writing(cube), packing)
    with beside(there) as new, _own_threads():
        if kind == "zarr":
            _to_zarr(dataset, new)
        else:
            _to_netcdf(dataset, new, zlib=zlib, fletcher32=fletcher32)


def _to_zarr(dataset: xr.Dataset, path: Path) -> None:
    _import_zarr()
    from zarr.codecs import Crc32cCodec, ZstdCodec

    for variable in dataset.data_vars.values():
        if variable.ndim >= 2 and variable.dtype.kind in "iufb":
            # Sums, by which readers tell damaged chunks, as xstf.store.to_zarr has them.
            variable.encoding["compressors"] = [ZstdCodec(level=1), Crc32cCodec()]
    # All chunks are there, so that lost ones are seen.
    whole = for_zarr(dataset).assign_attrs({COMPLETE: 1})
    whole.to_zarr(path, mode="w", consolidated=False, zarr_format=3, write_empty_chunks=True)


def _to_netcdf(dataset: xr.Dataset, path: Path, *, zlib: bool, fletcher32: bool) -> None:
    for variable in dataset.data_vars.values():
        if variable.ndim >= 2 and variable.dtype.kind in "iufb":
            # Added to the encoding, not passed to the writer: that would drop grid_mapping.
            layout: dict[str, Any] = {"fletcher32": fletcher32}
            if zlib:
                layout |= {"zlib": True, "complevel": 1, "shuffle": True}
            variable.encoding.update(layout)
    dataset.to_netcdf(path, engine="netcdf4")


@contextmanager
def _own_threads() -> Iterator[None]:
    """Have a lazy cube computed in threads that have all come to rest afterwards.

    After an error in one of them another would make anew what was removed.
    """
    dask = sys.modules.get("dask")  # not there: no lazy cube is
    said = [dask and dask.config.get(name, None) for name in ("scheduler", "pool")]
    if dask is None or said[0] not in (None, "threads", "threading") or said[1] is not None:
        yield
        return
    count = dask.config.get("num_workers", None) or os.cpu_count()
    with _Threads(count) as pool, dask.config.set(pool=pool):
        try:
            yield
        finally:
            pool.let_go()


class _Threads(ThreadPoolExecutor):
    """Threads that write a lazy cube; until the first task they keep others out of the library.

    xarray opens a file and describes its variables without a lock.
    """

    def __init__(self, count: int | None) -> None:
        super().__init__(count)
        self.held = LIBRARY.own.acquire()  # not all of it: xarray takes its own locks

    def submit(self, *args: Any, **named: Any) -> Any:
        self.let_go()
        return super().submit(*args, **named)

    def let_go(self) -> None:
        if self.held:
            self.held = False
            LIBRARY.own.release()


# How a file that a cube was read from was laid out is nothing to the file that it is written to.
_OF_VALUES = (
    "grid_mapping", "coordinates", "bounds", "_FillValue", "missing_value", "scale_factor",
    "add_offset", "dtype", "_Unsigned", "units", "calendar",
)  # fmt: skip


def for_writing(cube: Labelled) -> xr.Dataset:
    """Return a cube as a Dataset whose variables keep of their encoding what concerns values."""
    if isinstance(cube, xr.DataArray):
        dataset = cube.to_dataset(name=cube.name if cube.name is not None else "estimate")
    else:
        dataset = cube.copy()
    dataset.attrs = {k: v for k, v in dataset.attrs.items() if k != COMPLETE}
    for name in list(dataset.variables):
        variable = dataset[name].variable
        kept = {k: v for k, v in variable.encoding.items() if k in _OF_VALUES}
        dataset[name].encoding = kept
        # Never in both: xarray refuses that, and the encoding is what values are written by.
        dataset[name].attrs = {
            k: v for k, v in variable.attrs.items() if k != COMPLETE and k not in kept
        }
    return dataset


def for_zarr(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset in forms that Zarr has.

    Texts have no length, since Zarr has no settled form for others. Of packed values what is not
    written, or lost, is missing, and not 0. Chunks along a dim are of one size.
    """
    wrong = [str(n) for n in dataset.variables if "/" in str(n) or str(n).startswith(_NOT_NAMES)]
    if wrong:
        raise ValueError(f"Zarr has no variables named {wrong}; rename them")
    text = {n: v.astype(object) for n, v in dataset.variables.items() if v.dtype.kind in "UT"}
    out = dataset.assign({n: v for n, v in text.items() if n in dataset.data_vars})
    out = out.assign_coords({n: v for n, v in text.items() if n not in dataset.data_vars})
    for variable in out.data_vars.values():
        missing = variable.encoding.get("_FillValue", variable.attrs.get("_FillValue"))
        stored = np.dtype(variable.encoding.get("dtype", variable.dtype))
        if missing is not None and stored.kind in "iuf":
            variable.encoding["fill_value"] = np.asarray(missing).astype(stored).item()
    for name, either in dataset.variables.items():
        if sizes := _uneven(either):
            out[name] = out[name].chunk(sizes)
    return out


def _uneven(variable: xr.Variable) -> dict[Hashable, int]:
    """Return the largest chunk along dims where chunks are of several sizes."""
    return {
        dim: max(c)
        for dim, c in zip(variable.dims, variable.chunks or (), strict=bool(variable.chunks))
        if len(set(c[:-1])) > 1 or c[-1] > c[0]
    }


def _import_zarr() -> None:
    try:
        import zarr  # noqa: F401  xarray's message names no extra
    except ImportError as error:
        raise ImportError("Zarr stores need zarr; install xstf[zarr]") from error
