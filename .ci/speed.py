"""Whether a kernel has become slower: its CPU time over that of a loop which xstf does not touch.

``python .ci/speed.py`` compares the ratios with ``.ci/speed.json`` and fails at more than 25 %;
``python .ci/speed.py --write`` writes them there.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_limits

import xstf

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "asv_bench"))
common = importlib.import_module("benchmarks.common")  # found there only now

BASELINE = HERE / "speed.json"
LIMIT = 1.25
ROUNDS = 7  # each times the reference and every kernel once; the quickest of each counts
SIDE, RATIO = 192, 16


@numba.njit(nogil=True, cache=True)
def reference(image: np.ndarray, half: int) -> np.ndarray:
    """Return a mean of likeness in a window: what most kernels spend their time on."""
    rows, columns = image.shape
    made = np.empty_like(image)
    for y in range(rows):
        for x in range(columns):
            total, weights = np.float32(0), np.float32(0)
            for v in range(max(y - half, 0), min(y + half + 1, rows)):
                for n in range(max(x - half, 0), min(x + half + 1, columns)):
                    unlike = image[v, n] - image[y, x]
                    weight = np.float32(1) / (np.float32(0.01) + unlike * unlike)
                    total += weight * image[v, n]
                    weights += weight
            made[y, x] = total / weights
    return made


def work() -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; the first is the reference."""
    image = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    found: dict[str, Callable[[], object]] = {"reference": lambda: reference(image, 10)}
    fine, coarse = common.plain(*common.cubes(SIDE, ratio=RATIO))
    for name in ("starfm", "estarfm", "fitfc", "fsdaf", "regression_unmixing"):
        record = xstf.get_method("fuse", name)
        pairs = min(record.pairs[1], 2)
        coarses = coarse if pairs == 2 else coarse[[0, 2]]
        found[f"fuse {name}"] = lambda r=record, f=fine[:pairs], c=coarses: common.run_kernel(
            r, f, c, RATIO
        )
    cube, times = common.holes(30, 2, 96)
    for name in ("linear", "whittaker", "harmonic", "eof", "regression", "mnspi"):
        record = xstf.get_method("gapfill", name)
        state = common.settled(record, cube, times)
        found[f"gapfill {name}"] = lambda r=record, s=state: common.fill(r, cube, times, s)
    return found


def measured() -> dict[str, float]:
    """Return each kernel's CPU time over the reference's."""
    found = work()
    for run in found.values():
        run()  # compiles, or loads what was compiled
    quickest = dict.fromkeys(found, np.inf)
    for _ in range(ROUNDS):
        for name, run in found.items():
            start = time.process_time()
            run()
            quickest[name] = min(quickest[name], time.process_time() - start)
    usual = quickest.pop("reference")
    return {name: round(seconds / usual, 3) for name, seconds in quickest.items()}


def main() -> int:
    """Compare with the baseline, or write it; return how many kernels are too slow."""
    with threadpool_limits(1):  # a thread that waits would count
        ratios = measured()
    if "--write" in sys.argv[1:]:
        BASELINE.write_text(json.dumps(ratios, indent=2) + "\n")
        return 0
    baseline = json.loads(BASELINE.read_text())
    if set(baseline) != set(ratios):
        print(f"speed: {sorted(set(baseline) ^ set(ratios))} are in one list only; --write")
        return 1
    slower = 0
    for name, ratio in ratios.items():
        change = ratio / baseline[name]
        slower += change > LIMIT
        print(f"{name:26} {ratio:9.3f} of the reference, {change:5.2f} × the baseline")
    if slower:
        print(f"speed: {slower} kernels are over {LIMIT} × the baseline")
    return slower


if __name__ == "__main__":
    sys.exit(min(main(), 1))
