"""What it costs to read a cube: its labels, its values, the looks of its acquisitions."""

import time

import numpy as np
import xarray as xr

from xstf.cubes.mosaic import mosaic
from xstf.cubes.read import read_cube

from .common import SMALL


def series(form):
    """Return ten dates of two bands, as users bring them."""
    size = 64 if SMALL else 1000
    rng = np.random.default_rng(0)
    values = rng.random((10, 2, size, size), dtype=np.float32)
    times = np.datetime64("2021-06-01T10:10", "ns") + np.arange(10) * np.timedelta64(5, "D")
    cube = xr.DataArray(
        values, dims=("time", "band", "y", "x"), name="r",
        coords={"time": times, "band": ["a", "b"], "y": -10.0 * np.arange(size),
                "x": 10.0 * np.arange(size)},
    )  # fmt: skip
    if form == "packed":
        packed = (cube * 1e4).round().astype("i2")
        return packed.assign_attrs(scale_factor=1e-4, _FillValue=-9999)
    if form == "dataset":
        return cube.to_dataset("band")
    if form == "granules":
        west = cube.where(cube.x < cube.x.mean())
        east = cube.where(cube.x >= cube.x.mean())
        later = east.assign_coords(time=east.time + np.timedelta64(15, "s"))
        return xr.concat([west, later], "time").sortby("time")
    return cube


class Read:
    """CPU seconds of a cube of 80 MB of floats, and of the same as users bring it."""

    timer = time.process_time
    params = ["floats", "packed", "dataset", "granules"]
    param_names = ["form"]

    def setup(self, form):
        self.cube = series(form)

    def time_read(self, form):
        read_cube(self.cube, what="cube")

    def time_mosaic(self, form):
        mosaic(self.cube)

    def time_repr(self, form):
        repr(self.cube.stf)
