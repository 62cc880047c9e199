"""Speed of sharpening: CPU seconds of every method, and microseconds a value of the result."""

import time

import xstf

from . import common

# As large as the files that peers are compared on: 198 bands, 24 × 24 to 96 × 96 pixels.
SIDE, BANDS = (32, 40) if common.SMALL else (96, 198)
RATIO = 4


def pair(side=SIDE, bands=BANDS):
    """Return plain cubes of the embedded scene."""
    scene = xstf.scenes.hyperspectral(size=side, ratio=RATIO, bands=bands)
    return scene.spectral.values, scene.spatial.values


class Methods:
    """PSF and response estimated, one core, no tiles."""

    params = (common.methods("sharpen_spectral"),)
    param_names = ("method",)
    timeout = 600

    def setup(self, method):
        self.cubes = pair()
        self.record = xstf.get_method("sharpen_spectral", method)
        common.sharpen(self.record, *self.cubes, RATIO)

    def track_cpu_seconds(self, method):
        return self._seconds(lambda: common.sharpen(self.record, *self.cubes, RATIO))

    track_cpu_seconds.unit = "s"

    def track_us_a_value(self, method):
        """The tiles' part alone: what a scene many times as large costs a value."""
        state = common.settled_pair(self.record, *self.cubes, RATIO)
        spent = self._seconds(lambda: common.sharpen(self.record, *self.cubes, RATIO, state))
        return spent * 1e6 / (BANDS * SIDE**2)

    track_us_a_value.unit = "us"

    def _seconds(self, work):
        spent = []
        for _ in range(1 if common.SMALL else 3):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
        return max(min(spent), 1e-9)


class Verb:
    """What labels and tiles add to the kernel, in one run, so that noise matters little."""

    def track_times_of_the_kernel(self):
        scene = xstf.scenes.hyperspectral(size=4 * SIDE, ratio=RATIO, bands=40)
        cubes = scene.spectral.values, scene.spatial.values
        record = xstf.get_method("sharpen_spectral", "fuse")
        common.on_threads(1)
        verb = common.quickest(lambda: xstf.sharpen_spectral(
            scene.spectral, scene.spatial, method=record
        ))  # fmt: skip
        return verb / common.quickest(lambda: common.sharpen(record, *cubes, RATIO))
