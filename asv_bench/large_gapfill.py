"""The default filling of a large cube: minutes on every core, and the most memory.

``python asv_bench/large_gapfill.py [side] [dates]``: four bands, half of it missing.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import xarray as xr
from benchmarks import common

import xstf


def main(side=1000, dates=73):
    """Fill a cube and print how long it took."""
    cube, times = common.holes(dates, 4, side)
    start = np.datetime64("2020-01-01", "ns")
    labelled = xr.DataArray(
        cube, dims=("time", "band", "y", "x"),
        coords={"time": start + (times * 86400e9).astype("timedelta64[ns]"),
                "y": -10.0 * np.arange(side), "x": 10.0 * np.arange(side)},
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    xstf.gapfill(labelled[:, :, :48, :48])  # compile first
    begun, spent = time.perf_counter(), time.process_time()
    filled = xstf.gapfill(labelled)
    wall, cpu = time.perf_counter() - begun, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    left = int(np.isnan(filled.values).sum())
    print(
        f"{dates} × 4 × {side} × {side}: {wall / 60:.1f} min, {cpu / 60:.1f} CPU min "
        f"({1e3 * cpu / side**2:.2f} ms a pixel), {left} left; peak {peak:.1f} GB, "
        f"{before:.1f} GB before, the cube has {cube.nbytes / 1e9:.1f} GB"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
