"""Cubes from files and back: NetCDF, Zarr, GeoTIFFs, and folders of them.

`names` reads what the name of an image says, `choice` finds and sorts out the files of a folder,
`rasters` and `datasets` make one cube of them; `image` reads one image, `restore` those that xstf
wrote, by their tags (`own`). `guard` tells of damage, and `locks` keeps threads apart.

`save` writes, `geotiff` the images: `sources` knows what a lazy cube reads from, `target` where it
may be written, `beside` keeps files whole, `packed` makes whole numbers of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import xarray as xr

from xstf.files.beside import leftovers
from xstf.files.choice import RASTERS, find_files, is_pattern
from xstf.files.datasets import open_dataset, open_datasets
from xstf.files.rasters import open_raster, open_rasters
from xstf.files.save import save_cube
from xstf.files.target import check_target

__all__ = ["check_target", "open_cube", "save_cube"]

_OTHER_RASTERS = (".vrt", ".img")  # one of these is opened; in a folder it is no image of its own
PathLikes: TypeAlias = str | PathLike[str]


def open_cube(
    path: PathLikes | Sequence[PathLikes],
    *,
    variable: str | None = None,
    pattern: str | None = None,
    chunks: int | None = None,
) -> xr.DataArray | xr.Dataset:
    """Return the cube in a file, or in the files of a folder.

    Parameters
    ----------
    path : path or sequence of paths
        A NetCDF file (``.nc``), a Zarr store (``.zarr``), an image (GeoTIFF, JPEG 2000), a folder
        of such, a glob pattern (``"landsat/*_B[45].TIF"``), or a list of files: see Notes.
    variable : str, optional
        The data variable, or the band of a folder. Default: the only one; if there are several,
        all, as bands.
    pattern : str, optional
        Which files of a folder are meant, by their names: ``"*_B0[48]_10m.jp2"``, in upper or lower
        case; with a ``/`` by their paths in the folder (``"**/R10m/*.jp2"``).
    chunks : int, optional
        Open lazily with chunks of this many pixels a side. Default: read into memory.

    Returns
    -------
    DataArray or Dataset
        Of several files: ``(time, band, y, x)`` in order of time; ``(time, y, x)`` where there is
        one band. A Dataset with a variable a band where layers of classes (SCL, QA_PIXEL, Fmask,
        masks) or angles lie beside the bands; those of classes keep their whole numbers.

    Raises
    ------
    OSError
        The file is missing, truncated or of another kind.
    ValueError
        The files of a folder are not one cube: several sensors, grids or tiles, a band twice on a
        date, no date in a name. The message says what there is, and how to pick.
    ImportError
        GeoTIFF without rioxarray, Zarr without zarr.

    Notes
    -----
    Files are one a date, or one a band and date. Their names say which: those of Sentinel-2,
    Landsat, HLS, MODIS, VIIRS, AppEEARS and Planet are known; others need the date of acquisition
    as ``YYYYMMDD``, ``YYYY-MM-DD`` or ``YYYYDDD`` (day of year), with the time of day
    (``T101031``) if they have it, or lie in folders whose names have it. A folder without images
    of its own is searched with its folders (``.SAFE``, a folder a date).

    Missing pixels, scales and offsets are taken as each file states them. A band that some dates
    do not have is missing there, and a warning names it.

    Examples
    --------
    >>> from xstf.files import open_cube
    >>> cube = open_cube("sentinel2", pattern="*_B0[48]_10m.jp2", chunks=1024)  # doctest: +SKIP
    """
    if not isinstance(path, str | PathLike):
        return _open_several([Path(p) for p in path], variable, pattern, chunks)
    path = Path(path)
    if is_pattern(path) or (path.is_dir() and path.suffix.lower() != ".zarr"):
        return _open_several(path, variable, pattern, chunks)
    if not path.exists():
        old = [left.name for left in leftovers(path, "old")]
        hint = f"; {old[-1]} beside it is what was there when a writer was killed" if old else ""
        raise OSError(f"no file {path}{hint}")
    if pattern is not None:
        raise ValueError(f"pattern={pattern!r} picks files of a folder, and {path} is a file")
    if path.suffix.lower() in (*RASTERS, *_OTHER_RASTERS):
        return open_raster(path, chunks)
    return open_dataset(path, variable, chunks)


def _open_several(
    path: Path | Sequence[Path], variable: str | None, pattern: str | None, chunks: int | None
) -> xr.DataArray | xr.Dataset:
    if not isinstance(path, Path) and not path:
        raise ValueError("the list of files is empty")
    found = find_files(path, pattern)
    if found.are_cubes:
        return open_datasets(found, variable, chunks)
    return open_rasters(found, variable, chunks)
