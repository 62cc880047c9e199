"""Kernels on a GPU, where there is one: seconds on arrays that are there already."""

import importlib
import importlib.util

import xstf

from . import common

SIZE = 128 if common.SMALL else 2000


class Fuse:
    """One date of two pairs and six bands, by the device's clock."""

    params = ["starfm", "estarfm", "fitfc", "fsdaf", "fastvsdf", "regression_unmixing"]
    param_names = ("method",)

    def setup(self, method):
        if importlib.util.find_spec("cupy") is None:
            raise NotImplementedError("asv: cupy is not installed")
        cupy = importlib.import_module("cupy")
        if not cupy.is_available():
            raise NotImplementedError("asv: there is no GPU")
        record = xstf.get_method("fuse", method)
        fine, coarse = common.plain(*common.cubes(SIZE, bands=6))
        call = {"ratio": 16, "params": record.params()}
        call["state"] = record.settle(record.prepare(fine, coarse, **call), **call)
        call["inner"] = tuple(slice(0, n) for n in fine.shape[2:])
        self.cupy, self.call, self.kernel = cupy, call, record.kernels["cupy"]
        self.images = [cupy.asarray(a) for a in (fine, coarse)]
        self.time_kernel(method)

    def time_kernel(self, method):
        self.kernel(*self.images, std=False, **self.call)
        self.cupy.cuda.Device().synchronize()
