"""Speed and memory of fusion: kernels alone, and what the floors above them add."""

import subprocess
import sys
import time

import numpy as np
import xarray as xr

import xstf
from xstf.numerics.registration import find_registration, moved

from . import common

SIZE = 128 if common.SMALL else 800
WHOLE = 128 if common.SMALL else 2000


class Kernels:
    """One core, no tiles: CPU seconds a method."""

    params = (common.methods(), [1, 2])
    param_names = ("method", "pairs")

    def setup(self, method, pairs):
        record = xstf.get_method("fuse", method)
        if not record.pairs[0] <= pairs <= record.pairs[1]:
            raise NotImplementedError("asv: this method does not take so many pairs")
        self.record = record
        self.arrays = common.plain(*common.cubes(SIZE, pairs=pairs))
        common.run_kernel(record, *self.arrays, 16)

    def time_kernel(self, method, pairs):
        common.run_kernel(self.record, *self.arrays, 16)


class Default:
    """What a user waits for: `auto` through the verb, registration and belief included."""

    params = ([1, 2], [False, True])
    param_names = ("pairs", "std")

    def setup(self, pairs, std):
        common.on_threads(1)
        self.cubes = common.cubes(SIZE // 2, pairs=pairs, ratio=8)
        xstf.fuse(*self.cubes, return_quality=std)

    def time_auto(self, pairs, std):
        xstf.fuse(*self.cubes, return_quality=std)


class Registration:
    """Finding where the coarse grid lies, on two pairs of two bands, 5 fine pixels off."""

    params = [2, 16]
    param_names = ("ratio",)

    def setup(self, ratio):
        fine, coarse = common.plain(*common.cubes(max(SIZE, 16 * ratio), ratio=ratio))
        cells = coarse.shape[-1] - 4  # those that the moved image fills
        self.fine = moved(fine, (2, -3))[..., 2 * ratio :, 2 * ratio :]
        self.fine = self.fine[..., : cells * ratio, : cells * ratio]
        self.coarse = coarse[:2, :, 2:-2, 2:-2]
        self.ratio = ratio

    def time_find(self, ratio):
        find_registration([(self.fine, self.coarse)], ratio)

    def track_found(self, ratio):
        """Right is 1: a quick answer that is wrong would be no gain."""
        return float(find_registration([(self.fine, self.coarse)], ratio).shift == (-2, 3))


class Candidates:
    """STARFM's inner loop: nanoseconds a candidate pixel and band, window 51, one core."""

    unit = "ns"

    def track_ns_a_candidate(self):
        record = xstf.get_method("fuse", "starfm")
        fine, coarse = common.plain(*common.cubes(SIZE))
        common.run_kernel(record, fine, coarse, 16, window=51)
        seconds = []
        for _ in range(common.REPEATS):
            start = time.process_time()
            common.run_kernel(record, fine, coarse, 16, window=51)
            seconds.append(time.process_time() - start)
        return min(seconds) * 1e9 / (51 * 51 * fine.size)

    track_ns_a_candidate.unit = "ns"


class Series:
    """A month of days from twelve fine and 24 coarse images, half clouded: nanoseconds a value."""

    unit = "ns"

    def track_ns_a_value(self):
        record = xstf.get_method("fuse", "series")
        rng = np.random.default_rng(0)
        days, coarse_days = np.arange(12) * 15.0, np.arange(24) * 8.0
        targets = np.arange(60.0, 90.0)
        side = SIZE - SIZE % 16
        level = 0.3 + 0.1 * np.sin(days / 58)[:, None, None, None]
        fine = (level + 0.02 * rng.random((12, 2, side, side))).astype(np.float32)
        fine[rng.random(12) < 0.5, :, : side // 2] = np.nan
        level = 0.3 + 0.1 * np.sin(coarse_days / 58)[:, None, None, None]
        coarse = (level + 0.02 * rng.random((24, 2, side // 16, side // 16))).astype(np.float32)
        call = {"ratio": 16, "params": record.params()}
        dates = {"times": days, "coarse_times": coarse_days, "reach": 8.0}
        state = record.settle(record.prepare(fine, coarse, **call), **call, **dates)
        inner = (slice(0, side), slice(0, side))
        seconds = []
        for _ in range(common.REPEATS):
            start = time.process_time()
            record.kernels["numba"](
                fine, coarse, **call, **dates, targets=targets, state=state, inner=inner, std=False
            )
            seconds.append(time.process_time() - start)
        return min(seconds) * 1e9 / (len(targets) * 2 * side**2)

    track_ns_a_value.unit = "ns"


class SmallSeries:
    """Six fine and twelve coarse images through the verb, to five dates."""

    params = [False, True]
    param_names = ("std",)

    def setup(self, std):
        common.on_threads(1)
        rng = np.random.default_rng(0)
        ends = common.cubes(SIZE // 2, ratio=8)[0].values
        share = np.sort(rng.random(12)).astype(np.float32)[:, None, None, None]
        times = np.datetime64("2020-01-01", "ns") + np.arange(12) * np.timedelta64(8, "D")
        images = (1 - share) * ends[0] + share * ends[1]
        cube = xr.DataArray(
            images, {"time": times}, ("time", "band", "y", "x"), "reflectance"
        ).assign_coords({d: np.arange(SIZE // 2) + 0.5 for d in ("y", "x")})
        self.fine, self.coarse = cube[::2], cube.coarsen(y=8, x=8).mean()
        self.call = {"method": "series", "time": times[1:10:2], "return_quality": std}
        xstf.fuse(self.fine, self.coarse, **self.call)

    def time_series(self, std):
        xstf.fuse(self.fine, self.coarse, **self.call)


class Scaling:
    """Ratios in one run, so that a noisy machine matters little."""

    timeout = 600

    def track_two_cores_over_one(self):
        fine, coarse = common.cubes(WHOLE, bands=1)
        return self._seconds(fine, coarse, 1) / self._seconds(fine, coarse, 2)

    def track_verb_over_kernel(self):
        fine, coarse = common.cubes(WHOLE, bands=1)
        record = xstf.get_method("fuse", "starfm")
        arrays = common.plain(fine, coarse)
        common.run_kernel(record, *arrays, 16)
        kernel = min(
            self._wall(lambda: common.run_kernel(record, *arrays, 16))
            for _ in range(common.REPEATS)
        )
        return self._seconds(fine, coarse, 1) / kernel

    def _seconds(self, fine, coarse, threads):
        common.on_threads(threads)
        xstf.fuse(fine[:, :, :64, :64], coarse, method="starfm")
        return min(
            self._wall(lambda: xstf.fuse(fine, coarse, method="starfm"))
            for _ in range(common.REPEATS)
        )

    @staticmethod
    def _wall(work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


class Graph:
    """What a lazy call costs before anything is computed."""

    def setup(self):
        fine, coarse = common.cubes(SIZE)
        self.fine, self.coarse = fine.chunk(y=32, x=32), coarse.chunk(y=4, x=4)

    def time_build(self):
        xstf.fuse(self.fine, self.coarse, method="starfm")

    def track_tasks_a_tile(self):
        fused = xstf.fuse(self.fine, self.coarse, method="starfm")
        return len(fused.__dask_graph__()) / fused.data.npartitions


class Memory:
    """Peak memory of an eager run."""

    params = common.methods()
    param_names = ("method",)

    def setup(self, method):
        self.cubes = common.cubes(SIZE)

    def peakmem_fuse(self, method):
        xstf.fuse(*self.cubes, method=method)


class Import:
    """What ``import xstf`` costs."""

    def time_import(self):
        subprocess.run([sys.executable, "-c", "import xstf"], check=True)
