"""Tables about this installation: the methods there are, the versions of what they use."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

import pandas as pd

from xstf._method import Task, get_method, method_names

_PACKAGES = (
    "xstf", "xarray", "numpy", "dask", "numba", "pyproj", "netcdf4", "scipy", "pandas",
    "torch", "cupy", "rioxarray", "zarr", "matplotlib", "distributed",
)  # fmt: skip


def list_methods(task: Task = "fuse") -> pd.DataFrame:
    """Return a table of the methods of a task.

    Parameters
    ----------
    task : {"fuse", "gapfill", "sharpen_spectral"}

    Returns
    -------
    pandas.DataFrame
        By name: what it does, how many pairs it takes, its engines, whether it gives a standard
        deviation, its source.

    Examples
    --------
    >>> import xstf
    >>> xstf.list_methods("fuse").loc["starfm", "pairs"]
    '1 or 2'
    """
    records = [get_method(task, name) for name in method_names(task)]
    rows = {
        r.name: {
            "summary": r.summary,
            "pairs": str(r.pairs[0])
            if r.pairs[0] == r.pairs[1]
            else f"{r.pairs[0]} or {r.pairs[1]}",
            "engines": ", ".join(r.kernels),
            "std": r.std,
            "reference": r.reference,
        }
        for r in records
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def show_versions() -> None:
    """Print the versions that a bug report needs."""
    print(f"python {sys.version.split()[0]} on {platform.platform()}")
    for name in _PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"{name:12} {version}")
