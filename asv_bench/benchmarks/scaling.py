"""How the time of whole verbs grows: one axis at a time, on one core (threads: in `fuse`)."""

import numpy as np
import pandas as pd
import xarray as xr

import xstf

from . import common

SIDE = 64 if common.SMALL else 256
GROWTH = [1] if common.SMALL else [1, 2, 4]


class Fuse:
    """STARFM: pixels a side, bands, ratio and window."""

    params = (["side", "bands", "ratio", "window"], GROWTH)
    param_names = ("axis", "times")

    def setup(self, axis, times):
        common.on_threads(1)
        side = SIDE * times if axis == "side" else SIDE
        bands = 2 * times if axis == "bands" else 2
        ratio = 8 * times if axis == "ratio" else 8
        self.window = 12 * (times if axis == "window" else 1) + 1
        self.cubes = common.cubes(side, bands=bands, ratio=ratio)
        xstf.fuse(*self.cubes, method="starfm", window=self.window)

    def time_fuse(self, axis, times):
        xstf.fuse(*self.cubes, method="starfm", window=self.window)


class Gapfill:
    """`linear`: pixels a side, dates and bands."""

    params = (["side", "dates", "bands"], GROWTH)
    param_names = ("axis", "times")

    def setup(self, axis, times):
        common.on_threads(1)
        grown = {name: times if name == axis else 1 for name in self.params[0]}
        values, days = common.holes(20 * grown["dates"], grown["bands"], SIDE * grown["side"])
        stamps = np.datetime64("2020-01-01", "ns") + pd.to_timedelta(days, "D").to_numpy()
        xy = {"y": -np.arange(values.shape[2]) - 0.5, "x": np.arange(values.shape[3]) + 0.5}
        bands = [f"b{i}" for i in range(values.shape[1])]
        labels = {"time": stamps, "band": bands, **xy}
        self.cube = xr.DataArray(values, labels, ("time", "band", "y", "x"))
        xstf.gapfill(self.cube, method="linear")

    def time_gapfill(self, axis, times):
        xstf.gapfill(self.cube, method="linear")
