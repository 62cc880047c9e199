"""Damaged files in one line: with the path, also where values are read long after the opening."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises at a damaged file into an OSError with the path.

    Parameters
    ----------
    path : path
    what : str
        What is read: ``"as NetCDF"``, ``"at 'ndvi'"``.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # each library and codec has errors of its own
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and str(path) in text and "cannot be read" in text:
            raise
        cause = f"it may be damaged or truncated: {text}"
        raise OSError(f"{path} cannot be read {what}, {cause}") from error


class _Guarded(BackendArray):
    """Values of a file, which say where they are from if they cannot be read."""

    def __init__(self, name: Hashable, variable: xr.Variable, path: Path) -> None:
        self.name = name
        self.variable = variable
        self.path = path
        self.shape = variable.shape
        self.dtype = variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: Any) -> np.ndarray:
        at = "" if self.name is None else f"at {self.name!r}"
        with reading(self.path, at or "to its end"):
            return np.asarray(self.variable[key].values)


def guarded(variable: xr.Variable, name: Hashable, path: Path) -> xr.Variable:
    """Return a variable that was opened and not read, with its errors told."""
    values = indexing.LazilyIndexedArray(_Guarded(name, variable, path))
    return xr.Variable(variable.dims, values, variable.attrs, variable.encoding, fastpath=True)


def guarded_dataset(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Return a Dataset that was opened without chunks, its variables guarded."""
    new = {
        name: guarded(variable, name, path)
        for name, variable in dataset.variables.items()
        if name not in dataset.indexes and not variable._in_memory
    }
    out = dataset.assign({n: v for n, v in new.items() if n in dataset.data_vars})
    out = out.assign_coords({n: v for n, v in new.items() if n not in dataset.data_vars})
    out.set_close(dataset.close)
    return out


def stamp(path: Path) -> str:
    """Return a token of a file as it is now, by which lazy cubes of it have the same names."""
    stat = path.stat()
    said = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
