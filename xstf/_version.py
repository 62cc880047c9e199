"""The version of xstf, and those of what it uses."""

import sys

__version__ = "0.1.0"

_PACKAGES = (
    "xstf", "xarray", "numpy", "dask", "numba", "llvmlite", "pyproj", "netcdf4", "scipy", "pandas",
    "threadpoolctl", "tqdm",
    "torch", "safetensors", "cupy-cuda12x", "cupy-cuda13x", "rioxarray", "rasterio", "zarr",
    "icechunk", "fsspec", "matplotlib", "distributed",
)  # fmt: skip


def show_versions() -> None:
    """Print the versions that a bug report needs."""
    # `import xstf` and `xstf --help` have no use for these, which take 30 ms.
    import importlib.metadata
    import os
    import platform

    print(f"python {sys.version.split()[0]} on {platform.platform()}, {os.cpu_count()} cores")
    for name in _PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"{name:13} {version}")
