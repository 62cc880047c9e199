"""What a first call costs: a process that finds no compiled loops, against one that finds them."""

import functools
import os
import subprocess
import sys
import tempfile

from . import common

HOLES = "cube = xstf.testing.holes()[0].isel(x=slice(12), y=slice(12)); call = lambda: xstf.gapfill"
# Under 8 coarse pixels along a side `auto` has nothing to learn from: here are 12.
PAIRS = (
    "scene = xstf.scenes.nested(size=96); fine = scene.fine.isel(time={dates}); "
    "call = lambda: xstf.fuse(fine, scene.coarse)"
)
CALLS = {
    "gapfill auto": f"{HOLES}(cube)",
    "gapfill harmonic": f"{HOLES}(cube, method='harmonic')",
    "gapfill linear": f"{HOLES}(cube, method='linear')",
    "fuse auto, one pair": PAIRS.format(dates=[0]),
    "fuse auto, two pairs": PAIRS.format(dates=[0, 2]),
    "fuse auto, a series": PAIRS.format(dates=[0, 1, 2]),
    "sharpen auto": "call = lambda: xstf.sharpen_spectral(*xstf.testing.bands()[:2])",
}


class FirstCall:
    """CPU seconds of a process: what compiling adds to it, and the call with loops kept."""

    params = (["gapfill linear"] if common.SMALL else list(CALLS),)
    param_names = ("call",)
    timeout = 600
    unit = "s"

    def track_compiling(self, call):
        return measured(call)[0]

    def track_call_with_loops_kept(self, call):
        return measured(call)[1]


@functools.cache
def measured(call):
    """Return what compiling adds to the whole process, and the call's own seconds without it."""
    code = (
        f"import time, xstf; {CALLS[call]}; start = time.process_time(); call(); "
        "print(time.process_time(), time.process_time() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True,
                env={**os.environ, "NUMBA_CACHE_DIR": folder},
            ).stdout.split()
            for _ in range(2)
        ]  # fmt: skip
    (cold, _), (kept, own) = runs
    return float(cold) - float(kept), float(own)
