"""Run a verb on a scene made lazily, straight to Zarr: seconds, memory, tasks, bytes.

``python asv_bench/large.py fuse --size 20000 --out large.zarr``; with ``--threads 1`` or
``--processes 2`` (a `LocalCluster` of one thread each) to compare. It prints JSON.
The methods are cheap ones by default, since the machine around them is what is looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import time
import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr

import xstf

RATIO = 16  # coarse pixel / fine pixel of fusion
SPECTRAL_RATIO = 4
METHODS = {"fuse": "starfm", "gapfill": "linear", "sharpen_spectral": "gsa"}
CHUNKS = {"fuse": 1024, "gapfill": 512, "sharpen_spectral": 512}
DAY = np.timedelta64(86400, "s")
# What workers start with. distributed adds MALLOC_TRIM_THRESHOLD_=65536, with which each array of
# over 128 KB is mapped and cleared anew: tiles of starfm then take 1.15 times the CPU.
WORKERS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def made(block, date, step, block_info=None):
    """Return parcels with texture, a function of position, band and date; 30 % missing on dates."""
    _, (b0, b1), (y0, y1), (x0, x1) = block_info[None]["array-location"]
    y, x = (np.arange(a, b) * step for a, b in ((y0, y1), (x0, x1)))
    parcel = (y[:, None] // 23) * 7919 + (x[None] // 31) * 104729
    out = np.empty((1, b1 - b0, y1 - y0, x1 - x0), np.float32)
    for b in range(b0, b1):
        level = ((parcel * (b + 3)) % 97) / 300 * (1 + 0.01 * date * ((parcel % 5) - 1))
        texture = ((y[:, None] * 73 + x[None] * 179 + b * 283) % 251) / 251 * 0.02
        out[0, b - b0] = 0.05 + level + texture
    return out


def cube(size, bands, dates, chunk, step=1, cloudy=False):
    """Return a lazy cube ``(time, band, y, x)``, a chunk a date."""
    each = []
    for date in dates:
        blank = da.zeros((1, bands, size, size), chunks=(1, bands, chunk, chunk), dtype=np.uint8)
        image = blank.map_blocks(made, date, step, dtype=np.float32)
        if cloudy:
            image = image.map_blocks(clouded, date, dtype=np.float32)
        each.append(image)
    at = (np.arange(size) + 0.5) * step
    times = np.datetime64("2020-06-01", "ns") + np.asarray(dates) * DAY
    return xr.DataArray(
        da.concatenate(each),
        {"time": times, "band": [f"b{i}" for i in range(bands)], "y": -at, "x": at},
        ("time", "band", "y", "x"),
    )


def clouded(image, date, block_info=None):
    """Return an image with a third of it missing in stripes that move."""
    _, _, (y0, y1), (x0, x1) = block_info[None]["array-location"]
    y, x = np.arange(y0, y1)[:, None], np.arange(x0, x1)[None]
    return np.where((y + 2 * x + 37 * date) % 300 < 100, np.float32(np.nan), image)


def call(verb, size, bands, chunk, method):
    """Return the lazy result of a verb."""
    if verb == "fuse":
        cells = size // RATIO
        fine = cube(cells * RATIO, bands, [0], chunk)
        coarse = cube(cells, bands, [0, 16], max(1, chunk // RATIO), RATIO)
        return xstf.fuse(fine, coarse, method=method)
    if verb == "gapfill":
        series = cube(size, bands, list(range(0, 200, 20)), chunk, cloudy=True)
        return xstf.gapfill(series.chunk(time=-1), method=method)
    cells = size // SPECTRAL_RATIO
    spectral = cube(cells, bands, [0], max(1, chunk // SPECTRAL_RATIO), SPECTRAL_RATIO)
    spatial = cube(cells * SPECTRAL_RATIO, 4, [0], chunk)
    return xstf.sharpen_spectral(
        spectral.isel(time=0), spatial.isel(time=0), method=method, register=False
    )


def digest(path):
    """Return a sum over all chunks of a store, by name."""
    total = hashlib.sha1()
    for file in sorted(p for p in path.rglob("c/**/*") if p.is_file()):
        total.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return total.hexdigest()[:12]


def cpu():
    """Return CPU seconds of this process and of those that ended under it."""
    found = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in found)


def measure(options):
    """Run it and return what it took."""
    method = options.method or METHODS[options.verb]
    chunk = options.chunk or CHUNKS[options.verb]
    settings = {"scheduler": "threads", "num_workers": options.threads}
    shutil.rmtree(options.out, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        if options.processes:
            from distributed import Client, LocalCluster

            stack.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ": WORKERS}))
            cluster = LocalCluster(
                n_workers=options.processes, threads_per_worker=1, dashboard_address=None
            )
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster))
            # Kernels are compiled or loaded in every worker, as they are here.
            client.run(warm, options.verb, options.bands, method)
        else:
            stack.enter_context(dask.config.set(**settings))
        warm(options.verb, options.bands, method)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        start, spent = time.perf_counter(), cpu()
        result = call(options.verb, options.size, options.bands, chunk, method)
        built = cpu() - spent
        tasks = len(result.__dask_graph__().to_dict())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result.to_dataset(name="r").drop_attrs().drop_vars("band").to_zarr(
                options.out, consolidated=False
            )
        wall, spent = time.perf_counter() - start, cpu() - spent
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    values = result.size
    return {
        "verb": options.verb, "method": method, "size": options.size, "bands": options.bands,
        "chunk": chunk, "threads": options.threads, "processes": options.processes,
        "wall_s": round(wall, 1), "cpu_s": round(spent, 1), "build_s": round(built, 2),
        "ns_per_value": round(1e9 * spent / values, 1), "tasks": tasks,
        "peak_MB": round(peak), "imports_MB": round(before), "result_GB": result.nbytes / 1e9,
        "stored_GB": sum(f.stat().st_size for f in options.out.rglob("*") if f.is_file()) / 1e9,
        "digest": digest(options.out) if options.digest else None,
    }  # fmt: skip


def warm(verb, bands, method):
    """Compile or load what a verb needs."""
    call(verb, 256, bands, 128, method).compute(scheduler="synchronous")


def main():
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=sorted(METHODS))
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--method")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("large.zarr"))
    parser.add_argument("--digest", action="store_true")
    options = parser.parse_args()
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
