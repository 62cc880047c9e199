"""Fuse a scene that is larger than memory, made lazily, straight to Zarr; print time and memory.

``python asv_bench/large.py --size 20000 --bands 4 --out large.zarr``
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr

import xstf

RATIO = 16


def fine_block(date, block_info=None):
    """Return parcels with texture: a function of position and date alone."""
    (_, _), bands, (y0, y1), (x0, x1) = block_info[None]["array-location"]
    y, x = np.ogrid[y0:y1, x0:x1]
    parcel = (y // 23) * 7919 + (x // 31) * 104729
    out = np.empty((1, bands[1] - bands[0], y1 - y0, x1 - x0), np.float32)
    for b in range(out.shape[1]):
        level = ((parcel * (b + 3)) % 97) / 300 * (1 + 0.01 * date * ((parcel % 5) - 1))
        texture = ((y * 73 + x * 179 + b * 283) % 251) / 251 * 0.02
        out[0, b] = level + texture
    return out


def images(size, bands, dates, chunk):
    """Return a lazy cube ``(date, band, y, x)``."""
    each = [
        da.map_blocks(
            fine_block, date, dtype=np.float32,
            chunks=((1,), (bands,), *(da.core.normalize_chunks(chunk, (size,))[0],) * 2),
        )
        for date in dates
    ]  # fmt: skip
    return da.concatenate(each)


def cubes(size, bands, chunk):
    """Return one fine date and two coarse ones."""
    times = np.array(["2020-06-01", "2020-06-17"], "M8[ns]")
    names = [f"b{i}" for i in range(bands)]
    sharp = images(size, bands, [0, 16], chunk)
    mean = {2: RATIO, 3: RATIO}
    blurred = da.coarsen(np.mean, sharp, mean)
    dims = ("time", "band", "y", "x")
    at = np.arange(size) + 0.5
    coarse_at = (np.arange(size // RATIO) + 0.5) * RATIO
    fine = xr.DataArray(sharp[:1], {"time": times[:1], "band": names, "y": -at, "x": at}, dims)
    coarse = xr.DataArray(
        blurred, {"time": times, "band": names, "y": -coarse_at, "x": coarse_at}, dims
    )
    return fine, coarse


def main():
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20000)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--chunk", type=int, default=400)
    parser.add_argument("--method", default="starfm")
    parser.add_argument("--window", type=int)
    parser.add_argument("--out", type=Path, default=Path("large.zarr"))
    options = parser.parse_args()
    fine, coarse = cubes(options.size, options.bands, options.chunk)
    params = {"window": options.window} if options.window else {}
    start = time.perf_counter()
    fused = xstf.fuse(fine, coarse, method=options.method, **params)
    built = time.perf_counter() - start
    tasks = len(fused.__dask_graph__())
    print(f"{fused.nbytes / 1e9:.2f} GB to make, {tasks} tasks in {built:.1f} s")
    shutil.rmtree(options.out, ignore_errors=True)
    with dask.config.set(scheduler="threads"):
        fused.to_dataset(name="reflectance").to_zarr(options.out, consolidated=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{time.perf_counter() - start:.0f} s, peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
