"""Speed of gap filling: kernels alone, beside the copying of the cube and xarray's own filling."""

import importlib
import time

import numpy as np
import xarray as xr

import xstf

from . import common

SIDE = 24 if common.SMALL else 128
DATES, BANDS = (20, 2) if common.SMALL else (100, 4)
TALL = 64 if common.SMALL else 400
WIDE = 32 if common.SMALL else 350  # of 100 dates of 4 bands: 196 MB


class Pixels:
    """Microseconds a pixel of every method, 100 dates of 4 bands half of them missing, one core."""

    params = (common.methods("gapfill"),)
    param_names = ("method",)
    timeout = 600
    unit = "us"

    def setup(self, method):
        self.cube, self.times = common.holes(DATES, BANDS, SIDE)
        self.record = xstf.get_method("gapfill", method)
        self.state = common.settled(self.record, self.cube, self.times)
        common.fill(self.record, self.cube, self.times, self.state)

    def track_us_a_pixel(self, method):
        seconds = common.quickest(
            lambda: common.fill(self.record, self.cube, self.times, self.state)
        )
        return seconds * 1e6 / SIDE**2

    def track_settle_seconds(self, method):
        if self.record.settle is None:
            return 1e-9
        return common.quickest(lambda: common.settled(self.record, self.cube, self.times), 1)


class AgainstCopy:
    """How many times as long as copying the cube; in one run, so that noise matters little."""

    params = (["linear", "nearest", "whittaker"],)
    param_names = ("method",)

    def track_times_of_a_copy(self, method):
        cube, times = common.holes(DATES // 2, BANDS, TALL)
        record = xstf.get_method("gapfill", method)
        common.fill(record, cube, times, {})
        kernel = common.quickest(lambda: common.fill(record, cube, times, {}))
        return kernel / common.quickest(cube.copy)


class VerbAgainstCopy:
    """The whole verb on one core: CPU seconds over those of copying the cube of 196 MB."""

    params = (["linear", "nearest", "whittaker"],)
    param_names = ("method",)

    def track_times_of_a_copy(self, method):
        cube, times = common.holes(DATES, BANDS, WIDE)
        call = {"method": method, "screen": False}
        common.on_threads(1)
        xstf.gapfill(labelled(cube[..., :32, :32], times), **call)
        copies = common.quickest(cube.copy, clock=time.process_time)
        whole = labelled(cube, times)
        verb = common.quickest(lambda: xstf.gapfill(whole, **call), clock=time.process_time)
        return verb / copies


def labelled(cube, times):
    """Return a plain cube with dates and the centres of its pixels."""
    dates = np.datetime64("2020-01-01", "ns") + (times * 86400e9).astype("timedelta64[ns]")
    y, x = (10.0 * np.arange(n) for n in cube.shape[2:])
    dims = ("time", "band", "y", "x")
    return xr.DataArray(cube, dims=dims, coords={"time": dates, "y": -y, "x": x})


class AgainstXarray:
    """xarray's interpolate_na over the same cube: seconds of theirs over seconds of ours."""

    def track_linear_speedup(self):
        cube = labelled(*common.holes(DATES, BANDS, SIDE))
        ours = {"method": "linear", "screen": False}
        xstf.gapfill(cube, **ours)
        common.on_threads(1)
        theirs = common.quickest(lambda: cube.interpolate_na("time"), 1)
        return theirs / common.quickest(lambda: xstf.gapfill(cube, **ours))


class AgainstWhittakerEilers:
    """The package's smoother, compiled Rust, series by series: its CPU seconds over ours."""

    def setup(self):
        try:
            self.package = importlib.import_module("whittaker_eilers")
        except ImportError as error:
            raise NotImplementedError("asv: it needs the package whittaker-eilers") from error

    def track_whittaker_speedup(self):
        cube, times = common.holes(DATES, 1, SIDE)
        rows = np.nan_to_num(cube.reshape(DATES, -1).T).astype(float).tolist()
        seen = (~np.isnan(cube)).reshape(DATES, -1).T.astype(float).tolist()

        def theirs():
            smoother = self.package.WhittakerSmoother(
                2e4, 2, DATES, x_input=times.tolist(), weights=seen[0]
            )  # fmt: skip
            for row, weights in zip(rows, seen, strict=True):
                smoother.update_weights(weights)
                smoother.smooth(row)

        ours = labelled(cube, times)
        call = {"method": "whittaker", "screen": False}
        xstf.gapfill(ours, **call)
        common.on_threads(1)
        took = common.quickest(theirs, 1, clock=time.process_time)
        return took / common.quickest(
            lambda: xstf.gapfill(ours, **call), clock=time.process_time
        )  # fmt: skip
