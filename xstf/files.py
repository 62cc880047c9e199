"""Cubes from files and back: NetCDF, Zarr, and GeoTIFFs with one date each."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import xarray as xr

__all__ = ["open_cube", "save_cube"]

_TIFF = {".tif", ".tiff"}
_DATE = re.compile(r"(?<!\d)(?:(\d{4})-?(\d{2})-?(\d{2})|(\d{4})(\d{3}))(?!\d)")


def open_cube(
    path: str | Path, *, variable: str | None = None, chunks: int | None = None
) -> xr.DataArray | xr.Dataset:
    """Return the cube in a file, or in a folder of GeoTIFFs.

    Parameters
    ----------
    path : path
        A NetCDF file (``.nc``), a Zarr store (``.zarr``), a GeoTIFF, or a folder of GeoTIFFs of
        one sensor, one date each, with the date in the name as ``YYYYMMDD``, ``YYYY-MM-DD`` or
        ``YYYYDDD`` (day of year).
    variable : str, optional
        The data variable. Default: the only one; if there are several, all, as bands.
    chunks : int, optional
        Open lazily with chunks of this many pixels a side. Default: read into memory.

    Returns
    -------
    DataArray or Dataset

    Raises
    ------
    OSError
        The file is missing, truncated or of another kind.
    ImportError
        GeoTIFF without rioxarray, Zarr without zarr.
    """
    path = Path(path)
    if not path.exists():
        raise OSError(f"no file {path}")
    if path.suffix == ".zarr":
        return _variable(
            xr.open_zarr(path, consolidated=False, decode_coords="all"), variable, path, chunks
        )
    if path.is_dir():
        return _stack(path, chunks)
    if path.suffix.lower() in _TIFF:
        return _tiff(path, chunks)
    try:
        dataset = xr.open_dataset(path, engine="netcdf4", decode_coords="all")
    except OSError as error:
        raise OSError(f"{path} cannot be read as NetCDF: {error}") from error
    return _variable(dataset, variable, path, chunks)


def save_cube(cube: xr.DataArray | xr.Dataset, path: str | Path) -> None:
    """Write a cube to a NetCDF file or a Zarr store, by the path's ending.

    Parameters
    ----------
    cube : DataArray or Dataset
        A lazy one is computed while it is written.
    path : path
        ``.nc`` (compressed) or ``.zarr``; an existing one is replaced.
    """
    path = Path(path)
    dataset = (
        cube if isinstance(cube, xr.Dataset) else cube.to_dataset(name=cube.name or "estimate")
    )
    if path.suffix == ".zarr":
        dataset.to_zarr(path, mode="w", consolidated=False)
    elif path.suffix == ".nc":
        dataset = dataset.copy()
        for variable in dataset.data_vars.values():
            if variable.ndim >= 2:
                # Added to the encoding, not passed to the writer: that would drop grid_mapping.
                variable.encoding.update(zlib=True, complevel=1, shuffle=True)
        dataset.to_netcdf(path, engine="netcdf4")
    else:
        raise ValueError(f"{path.name}: write to a .nc file or a .zarr store")


def _variable(
    dataset: xr.Dataset, variable: str | None, path: Path, chunks: int | None
) -> xr.DataArray | xr.Dataset:
    if variable is not None:
        if variable not in dataset:
            raise ValueError(
                f"{path} has no variable {variable!r}; it has {list(dataset.data_vars) or 'none'}"
            )
        cube: xr.DataArray | xr.Dataset = dataset[variable]
    else:
        names = list(dataset.data_vars)
        cube = dataset[names[0]] if len(names) == 1 else dataset
        if isinstance(cube, xr.DataArray):
            cube.attrs = {**dataset.attrs, **cube.attrs}
    return _chunked(cube, chunks) if chunks else cube.load()


def _chunked(cube: xr.DataArray | xr.Dataset, chunks: int) -> xr.DataArray | xr.Dataset:
    sizes = dict.fromkeys(cube.dims, -1)
    for dim in cube.dims:
        if str(dim) in ("y", "x", "lat", "lon", "latitude", "longitude", "northing", "easting"):
            sizes[dim] = chunks
        elif str(dim) in ("time", "t", "date"):
            sizes[dim] = 1
    return cube.chunk(sizes)


def _tiff(path: Path, chunks: int | None) -> xr.DataArray:
    try:
        import rioxarray
    except ImportError as error:
        raise ImportError("GeoTIFF needs rioxarray; install xstf[io]") from error
    parts = {"y": chunks, "x": chunks} if chunks else None
    image = rioxarray.open_rasterio(path, masked=True, chunks=parts)
    found = _DATE.search(path.stem)
    if not isinstance(image, xr.DataArray):
        raise ValueError(f"{path} holds several subdatasets; name one of its files")
    if not chunks:
        image.load()
        image.close()
    return image if found is None else image.assign_coords(time=_date(found))


def _date(found: re.Match[str]) -> np.datetime64:
    year, month, day, year_of_day, of_year = found.groups()
    if year is not None:
        return np.datetime64(f"{year}-{month}-{day}", "ns")
    start = np.datetime64(f"{year_of_day}-01-01", "ns")
    return start + np.timedelta64(int(of_year) - 1, "D")


def _stack(folder: Path, chunks: int | None) -> xr.DataArray:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _TIFF)
    if not paths:
        raise OSError(f"{folder} holds no GeoTIFF")
    undated = [p.name for p in paths if not _DATE.search(p.stem)]
    if undated:
        raise ValueError(f"no date (YYYYMMDD or YYYYDDD) in the name of {undated[:3]}")
    images = [_tiff(p, chunks) for p in paths]
    return xr.concat(images, dim="time", join="exact", combine_attrs="override").sortby("time")
