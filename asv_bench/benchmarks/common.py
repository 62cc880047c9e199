"""Cubes that benchmarks share."""

import os

import dask
import numpy as np
import xarray as xr

import xstf

# Tests run every benchmark once, small.
SMALL = bool(os.environ.get("XSTF_BENCH_SMALL"))


def cubes(size, bands=2, pairs=2, ratio=16, seed=0):
    """Return a fine cube of parcels and its coarse dates, nested; the target is the middle."""
    rng = np.random.default_rng(seed)
    cells = size // ratio
    parcels = rng.integers(0, 6, (size // 12 + 1, size // 12 + 1))
    at = np.arange(cells * ratio) // 12
    levels = rng.uniform(0.05, 0.5, (3, bands, 6)).astype(np.float32)
    images = levels[:, :, parcels[at[:, None], at[None, :]]]
    images += rng.normal(0, 0.01, images.shape).astype(np.float32)
    blocks = images.reshape(3, bands, cells, ratio, cells, ratio).mean(axis=(3, 5))
    times = np.array(["2020-01-01", "2020-01-09", "2020-01-17"], "M8[ns]")
    fine_xy = np.arange(cells * ratio) + 0.5
    coarse_xy = (np.arange(cells) + 0.5) * ratio
    dims, labels = ("time", "band", "y", "x"), {"band": [f"b{i}" for i in range(bands)]}
    fine = xr.DataArray(images, {"time": times, **labels, "y": -fine_xy, "x": fine_xy}, dims)
    coarse = xr.DataArray(blocks, {"time": times, **labels, "y": -coarse_xy, "x": coarse_xy}, dims)
    return fine.isel(time=[0, 2][:pairs]), coarse


def plain(fine, coarse):
    """Return kernel inputs of `cubes`."""
    order = [0, 2, 1] if len(fine) == 2 else [0, 1]
    return np.ascontiguousarray(fine.values), np.ascontiguousarray(coarse.values[order])


def on_threads(count):
    """Let eager runs and dask use so many threads."""
    from xstf import _tiles

    _tiles.cores = lambda: count
    dask.config.set(scheduler="threads", num_workers=count)


def run_kernel(record, fine, coarse, ratio, **params):
    """Run a record's first kernel on plain arrays, prepare and settle included."""
    options = record.params(**params)
    state = {}
    if record.prepare is not None:
        samples = record.prepare(fine, coarse, ratio=ratio, params=options)
        state = record.settle(samples, ratio=ratio, params=options)
    inner = (slice(0, fine.shape[2]), slice(0, fine.shape[3]))
    kernel = next(iter(record.kernels.values()))
    return kernel(fine, coarse, ratio=ratio, params=options, state=state, inner=inner, std=False)[0]


def methods():
    """Return the names of the fusion methods."""
    return list(xstf.list_methods("fuse").index)
