"""Where a cube may be written: asked before hours of work, and again before the writing."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from xstf.files.beside import check_place
from xstf.files.choice import is_pattern
from xstf.files.geotiff import SUFFIXES, is_own
from xstf.files.sources import clash_of, is_remote, is_zarr, local_path

NETCDF = (".nc", ".nc4")
_NAMES = "a .nc file, a .zarr store, a .tif file, or a folder of GeoTIFFs (a path without ending)"


def check_target(
    path: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]] = (),
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> None:
    """Raise unless a result can be written to a path; nothing is made or changed there.

    Parameters
    ----------
    path : path
        As :func:`save_cube` takes it; an address only of a Zarr store.
    inputs : sequence of paths
        Files, stores, folders and glob patterns that the result will be made of.
    overwrite : bool, default False
        Whether something may be there already.
    resume : bool, default False
        Whether it may be the Zarr store of a run that was stopped.

    Raises
    ------
    ValueError
        The path is one of the inputs, holds one, or lies in one; its ending is of no format.
    OSError
        Something is there and neither `overwrite` nor `resume` is given; it is of another kind; no
        such folder; read-only.

    Examples
    --------
    >>> from xstf.files import check_target
    >>> check_target("fused.png")
    Traceback (most recent call last):
    ValueError: fused.png: write to a .nc file, a .zarr store, a .tif file, or a folder of GeoTIFFs
    (a path without ending)
    """
    kind = kind_of(path)
    if resume and kind != "zarr":
        raise ValueError(f"{path}: only what is written to a .zarr store can be resumed")
    found = [os.fspath(p) for given in inputs for p in _expanded(given)]
    clash = clash_of(path, found, in_folders=True)
    if clash is not None:
        raise ValueError(
            f"{os.fspath(path)} is one of the inputs, holds one or lies in one ({clash}); write "
            "to another path"
        )
    if not is_remote(path):
        check_there(path, kind, overwrite=overwrite or resume)


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return ``"netcdf"``, ``"zarr"`` or ``"raster"`` by the path's ending, or raise."""
    suffix = Path(path).suffix.lower()
    if suffix == ".zarr":
        return "zarr"
    if is_remote(path):
        raise ValueError(f"{path} is no path of this machine; only .zarr stores are written there")
    if suffix in NETCDF:
        return "netcdf"
    if suffix in SUFFIXES or (suffix == "" and Path(path).name):
        return "raster"
    raise ValueError(f"{Path(path).name or path}: write to {_NAMES}")


def check_there(path: str | os.PathLike[str], kind: str, *, overwrite: bool) -> None:
    """Raise where what is at a path may not be replaced by a file of a kind, or cannot be."""
    there, suffix = local_path(path), Path(path).suffix.lower()
    if kind == "raster" and suffix == "" and there.is_dir():
        check_folder(there, path, overwrite=overwrite)
        return
    check_place(there, overwrite=overwrite, asked=path)
    if kind != "zarr" and there.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, which is not replaced", str(path))
    is_store = there.is_dir() and (is_zarr(there) or not any(there.iterdir()))
    if there.exists() and kind == "zarr" and not is_store:
        raise FileExistsError(
            errno.EEXIST, "it is there and no Zarr store, and is not replaced", str(path)
        )
    if kind == "raster" and suffix and not overwrite:
        # With several dates these would be its files.
        for dated in there.parent.glob(f"{glob.escape(there.stem)}_[12][0-9]*{suffix}"):
            check_place(dated, overwrite=False)


def check_folder(folder: Path, asked: object, *, overwrite: bool) -> None:
    """Raise unless a folder is empty, or holds only images that xstf wrote and may replace."""
    check_place(folder, overwrite=True, asked=asked)
    held = sorted(folder.iterdir())
    if held and not overwrite:
        raise FileExistsError(
            errno.EEXIST, "it is there and not empty; give overwrite=True to replace it", str(asked)
        )
    others = [p.name for p in held if not is_own(p)]
    if others:
        raise FileExistsError(
            errno.EEXIST,
            f"it holds files that xstf did not write ({', '.join(others[:3])}); give an empty "
            "folder, or a new one",
            str(asked),
        )


def _expanded(given: str | os.PathLike[str]) -> Sequence[str | os.PathLike[str]]:
    """Return the paths that a glob pattern finds; any other path as it is."""
    path = Path(given)
    if is_remote(given) or not is_pattern(path):
        return [given]
    return list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
