"""Cubes that benchmarks share."""

import os
import time

import dask
import numpy as np
import xarray as xr

from xstf._method import GapfillSamples, SharpenSamples
from xstf.methods.lookup import classical_names

# Tests run every benchmark once, small.
SMALL = bool(os.environ.get("XSTF_BENCH_SMALL"))
# How often work is timed; the quickest counts.
REPEATS = 1 if SMALL else 3


# Of the pairs of `cubes`; the target is on day 8.
DAYS = (0.0, 16.0)


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
    from xstf.tiles import run as _tiles

    _tiles.cores = lambda: count
    dask.config.set(scheduler="threads", num_workers=count)


def run_kernel(record, fine, coarse, ratio, **params):
    """Run a record's first kernel on plain arrays, prepare and settle included."""
    options = record.params(**params)
    call, dates, state = {"ratio": ratio, "params": options}, {}, None
    if record.series:
        coarse = coarse[np.argsort(DAYS[: len(fine)] + (8.0,))]
        dates = {"times": np.array(DAYS[: len(fine)]), "reach": 1.0}
        dates["coarse_times"] = np.sort(DAYS[: len(fine)] + (8.0,))
    if record.prepare is not None:
        state = record.settle(record.prepare(fine, coarse, **call), **call, **dates)
    inner = (slice(0, fine.shape[2]), slice(0, fine.shape[3]))
    kernel = next(iter(record.kernels.values()))
    if record.series:
        dates["targets"] = np.array([8.0])
    return kernel(fine, coarse, **call, **dates, state=state, inner=inner, std=False)[0]


def methods(task="fuse"):
    """Return the names of the methods that need no training."""
    return classical_names(task)


def holes(dates, bands, side, seed=0):
    """Return a cube of fields with seasons under blobs of cloud, half missing, and its days."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(3, 8, dates)).astype(float)
    fields = rng.integers(0, 6, (side // 8 + 1, side // 8 + 1))
    kind = fields[np.arange(side)[:, None] // 8, np.arange(side)[None, :] // 8]
    phase, level = rng.uniform(0, 6, 6)[kind], rng.uniform(0.2, 0.5, (bands, 6))[:, kind]
    season = np.sin(2 * np.pi * times[:, None, None] / 365.25 + phase)
    cube = level[None] + 0.15 * season[:, None] + rng.normal(0, 0.01, (dates, bands, side, side))
    y, x = np.arange(side)[:, None], np.arange(side)[None, :]
    for date in range(dates):
        down, across, turn = rng.uniform(0.02, 0.1, 2).tolist() + [rng.uniform(0, 6)]
        cloud = np.sin(down * y + turn) + np.cos(across * x - turn) < rng.normal(0, 0.7)
        cube[date, :, cloud] = np.nan
    # Of broadcast parts: in C order, as cubes are, or copying one would be slow.
    return np.ascontiguousarray(cube, np.float32), times - times[0]


def settled(record, cube, times):
    """Return what a gap-filling method settles on a whole cube."""
    if record.settle is None:
        return None
    return record.settle(GapfillSamples(cube[None].copy()), times=times, params=record.params())


def fill(record, cube, times, state, guide=None):
    """Run a gap-filling method's first kernel."""
    inner = (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    kernel = next(iter(record.kernels.values()))
    return kernel(
        cube, guide, times=times, params=record.params(), state=state, inner=inner, std=False
    )


def settled_pair(record, spectral, spatial, ratio):
    """Return what a sharpening method settles on a whole scene."""
    if record.settle is None:
        return None
    samples = SharpenSamples(spectral, spatial)
    return record.settle(samples, ratio=ratio, params=record.params())


def sharpen(record, spectral, spatial, ratio, state=None):
    """Run a sharpening method's first kernel; without a state, settle too."""
    if state is None:
        state = settled_pair(record, spectral, spatial, ratio)
    inner = tuple(slice(0, n) for n in spatial.shape[1:])
    kernel = next(iter(record.kernels.values()))
    return kernel(
        spectral, spatial, ratio=ratio, params=record.params(), state=state, inner=inner, std=False
    )[0]


def quickest(work, repeats=REPEATS, clock=time.perf_counter):
    """Return the fewest seconds that some work took."""
    seconds = []
    for _ in range(repeats):
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds)
