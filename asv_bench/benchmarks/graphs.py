"""Graphs of lazy calls: tasks a tile, and seconds to build them."""

import dask
import dask.array as da
import numpy as np
import xarray as xr

from .common import SMALL

SIZE = 1600 if SMALL else 9600
LARGE = 20_000 if SMALL else 100_000
RATIO = 16


def scene(size, chunk, dates=2):
    """Return a lazy fine cube and a nested coarse one of another date besides, all zero."""
    times = np.datetime64("2020-01-01", "ns") + np.arange(dates + 1) * np.timedelta64(8, "D")
    cells, dims = size // RATIO, ("time", "band", "y", "x")
    made = [
        da.zeros((n, 1, side, side), chunks=(1, 1, c, c), dtype=np.float32)
        for n, side, c in ((dates, size, chunk), (dates + 1, cells, max(1, chunk // RATIO)))
    ]
    fine, coarse = (
        xr.DataArray(
            array, {"time": t, "y": -(np.arange(n) + 0.5) * s, "x": (np.arange(n) + 0.5) * s}, dims
        )
        for array, t, n, s in zip(
            made, (times[[0, *range(2, dates + 1)]], times), (size, cells), (1, RATIO), strict=True
        )
    )
    return fine, coarse


def series(size, chunk, dates=20):
    """Return a lazy cube of some dates, all zero, all dates in a chunk."""
    times = np.datetime64("2020-01-01", "ns") + np.arange(dates) * np.timedelta64(9, "D")
    array = da.zeros((dates, 2, size, size), chunks=(dates, 2, chunk, chunk), dtype=np.float32)
    at = np.arange(float(size))
    return xr.DataArray(array, {"time": times, "y": -at, "x": at}, ("time", "band", "y", "x"))


def tasks_a_tile(lazy):
    """Return how many tasks an optimised graph has for each chunk, the cubes' own aside."""
    (best,) = dask.optimize(lazy)
    names = [key if isinstance(key, str) else key[0] for key in best.__dask_graph__()]
    return sum(not name.startswith("zeros") for name in names) / best.data.npartitions


class Tasks:
    """Tasks a tile."""

    params = (["fuse", "fuse, odd chunks", "fuse fsdaf", "gapfill", "gapfill with a halo"],)
    param_names = ("call",)
    unit = "tasks"

    def track_tasks_a_tile(self, call):
        """Count them."""
        if call.startswith("fuse"):
            fine, coarse = scene(SIZE, 500 if "odd" in call else 400)
            method = "fsdaf" if "fsdaf" in call else "starfm"
            return tasks_a_tile(fine.stf.fuse(coarse, method=method))
        cube = series(SIZE // 4, 100)
        return tasks_a_tile(cube.stf.gapfill(method="mnspi" if "halo" in call else "linear"))


class Build:
    """Seconds to build the graph of 100 000 x 100 000 pixels."""

    params = ([1000, 2000],)
    param_names = ("chunk",)

    def setup(self, chunk):
        """Make the cubes."""
        self.fine, self.coarse = scene(LARGE, chunk)

    def time_build(self, chunk):
        """Build it."""
        self.fine.stf.fuse(self.coarse, method="starfm", time=self.coarse.time[[1]])
