"""Values of a cube that is still in its file: read at the door, an error with the file's name."""

from __future__ import annotations

import os

import xarray as xr

from xstf.cubes.arrays import Labelled

# What netCDF, HDF5, GDAL and the codecs of Zarr raise at damaged files.
_DAMAGED = (OSError, RuntimeError, ValueError, KeyError)


def load_values(cube: Labelled, what: str) -> None:
    """Read the values of a cube that was opened and not chunked, as any use of them does.

    Parameters
    ----------
    cube : DataArray or Dataset
        Lazy dask variables stay lazy; those in memory are left as they are.
    what : str
        What to call it in messages.

    Raises
    ------
    OSError
        They cannot be read; the message has the path, where xarray knows it.
    """
    for variable in _variables(cube):
        if variable.chunks is not None:
            continue
        try:
            variable.data  # noqa: B018  reads, and xarray keeps what was read
        except _DAMAGED as error:
            text = " ".join(str(error).split()) or type(error).__name__
            path = str(variable.encoding.get("source", cube.encoding.get("source", "its file")))
            if os.path.basename(path) in text and isinstance(error, OSError):  # noqa: PTH119
                raise
            raise OSError(
                f"{what} cannot be read from {path}, it may be damaged or truncated: {text}"
            ) from error


def _variables(cube: Labelled) -> list[xr.Variable]:
    if isinstance(cube, xr.DataArray):
        return [cube.variable]
    return [variable.variable for variable in cube.data_vars.values()]
