"""Tables about this installation: the methods there are, the versions of what they use."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import Any

import pandas as pd

from xstf._method import Method, Task, get_method, method_names

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
        By name: what it does; what it needs (``pairs`` of images, or the fewest ``dates`` and
        whether it can use a ``guide``); its engines; whether it gives a standard deviation, and
        whether it is a network, which needs weights; its source.

    Examples
    --------
    >>> import xstf
    >>> xstf.list_methods("fuse").loc["starfm", "pairs"]
    '1 or 2'
    """
    rows = {}
    for name in method_names(task):
        record = get_method(task, name)
        rows[name] = {
            "summary": record.summary,
            **_needs(record),
            "engines": ", ".join(record.kernels),
            "std": record.std,
            "network": record.net is not None,
            "reference": record.reference,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _needs(record: Method) -> dict[str, Any]:
    if record.task == "fuse":
        return {"pairs": " or ".join(str(n) for n in sorted(set(record.pairs)))}
    if record.task == "gapfill":
        return {"dates": record.fewest, "guide": record.guided, "smooth": record.smooth}
    return {}


def show_versions() -> None:
    """Print the versions that a bug report needs."""
    print(f"python {sys.version.split()[0]} on {platform.platform()}")
    for name in _PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"{name:12} {version}")
