"""What a GPU does with the kernels: ``python asv_bench/gpu.py`` prints a table, in eight minutes.

First the laws: each method through its verb, once by numba and once by cupy, must give the same
(rtol 1e-4, atol 1e-6). Then each kernel alone, on arrays that are on the GPU already: its time (the
quickest of some runs, by events of the device), and the share of it that its floor takes. The floor
is what the device needs at least, by its own figures:

    max(bytes / bandwidth, operations / (2 x 32-bit units x clock))

Bytes are those of what is read and written once; operations are those of the inner loop, a product
with a sum counted as two. Double operations of small solves are not counted. Last, STARFM on two
cores of the processor, on a part of the image, for the same number of pixels.

``--size``, ``--dates`` and ``--minutes`` make it smaller; what there is no time for is named.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks import common

import xstf
from xstf._method import GapfillSamples
from xstf.methods.lookup import classical_names, get_method
from xstf.numerics.cuda.launch import BLOCK, PROCESSORS, occupancy

RATIO, BANDS, PAIRS = 16, 6, 2
SLOW = 300  # pixels a side that the processor is timed on


@dataclass(frozen=True)
class Floor:
    """What a kernel cannot do without, for each pixel and band of the result.

    Parameters
    ----------
    values
        float32 that are read or written once.
    operations
        Of the inner loop.
    """

    values: float
    operations: float

    def seconds(self, count: float, device: Device) -> float:
        """Return how long it takes at least for so many pixels and bands."""
        return max(4 * self.values / device.bandwidth, self.operations / device.rate) * count


@dataclass(frozen=True)
class Device:
    """A GPU by its own figures: bytes and 32-bit operations a second."""

    name: str
    bandwidth: float
    rate: float
    generation: int


def fuse_floors() -> dict[str, Floor]:
    """Return the floors by hand: images read, an image written, and the loop over the window.

    Operations of a candidate: starfm 13 a pair. estarfm: 3 for each of 12 comparisons and 2 for
    each of 7 sums, over the bands. fitfc: 3 a band of distance, 2 of sum, 5 of weight over the
    bands. Similar means (fsdaf, regression_unmixing): alike, with a quarter of the candidates.
    fastvsdf: two passes over 31 pixels of 5 classes, 4 a pixel.
    """
    images = PAIRS + 1.0
    similar = 16**2 * (3 + 2 + 6 / BANDS)
    return {
        "starfm": Floor(images, 51**2 * 13 * PAIRS),
        "estarfm": Floor(images, 51**2 * (3 * 2 * BANDS + 2 * (BANDS + 1)) / BANDS),
        "fitfc": Floor(images, 41**2 * (3 + 2 + 5 / BANDS)),
        "fsdaf": Floor(images, PAIRS * similar),
        "fastvsdf": Floor(images, PAIRS * 5 * 2 * 31 * 4),
        "regression_unmixing": Floor(images, 16**2 * (3 * PAIRS + 2 + 6 / BANDS)),
    }


# Read once and written once; whittaker keeps four doubles a date besides, written and read.
FILL_FLOORS = {"linear": Floor(2, 8), "whittaker": Floor(3 + 16, 40)}


def device() -> Device:
    """Return the current GPU."""
    cupy = importlib.import_module("cupy")
    own = cupy.cuda.Device()
    told = own.attributes
    bandwidth = 2 * told["MemoryClockRate"] * 1e3 * told["GlobalMemoryBusWidth"] / 8
    units = 64 if own.compute_capability == "80" else 128
    rate = 2.0 * units * told["MultiProcessorCount"] * told["ClockRate"] * 1e3
    name = cupy.cuda.runtime.getDeviceProperties(own.id)["name"].decode()
    return Device(name, bandwidth, rate, int(own.compute_capability))


def check_laws() -> list[str]:
    """Return what was compared; raise where the engines do not agree."""
    said = []
    fine, coarse = common.cubes(96, ratio=8)
    for name in names("fuse"):
        compare(said, name, lambda e, n=name: xstf.fuse(fine, coarse, method=n, engine=e))
    cube, _ = xstf.testing.holes()
    for name in names("gapfill"):
        compare(said, name, lambda e, n=name: xstf.gapfill(cube, method=n, engine=e, screen=False))
    return said


def compare(said: list[str], name: str, run: Callable[[str], Any]) -> None:
    """Compare cupy's result with numba's."""
    np.testing.assert_allclose(run("cupy"), run("numba"), rtol=1e-4, atol=1e-6, err_msg=name)
    said.append(name)


def names(task: str) -> list[str]:
    """Return the methods of a task that have a kernel of the GPU."""
    return [n for n in classical_names(task) if "cupy" in get_method(task, n).kernels]


def timed(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the seconds of the quickest of some runs, after one that compiles."""
    cuda = importlib.import_module("cupy").cuda
    call()
    found = []
    for _ in range(repeats):
        begin, end = cuda.Event(), cuda.Event()
        begin.record()
        call()
        end.record()
        end.synchronize()
        found.append(cuda.get_elapsed_time(begin, end) / 1e3)
    return min(found)


def fuse_call(name: str, size: int, engine: str) -> Callable[[], object]:
    """Return what runs a fusion kernel on a whole image."""
    record = get_method("fuse", name)
    fine, coarse = common.plain(*common.cubes(size, bands=BANDS, pairs=PAIRS, ratio=RATIO))
    options = record.params()
    call = {"ratio": RATIO, "params": options}
    state = record.settle(record.prepare(fine, coarse, **call), **call)
    if engine == "cupy":
        fine, coarse = (importlib.import_module("cupy").asarray(a) for a in (fine, coarse))
    inner = tuple(slice(0, n) for n in fine.shape[2:])
    kernel = record.kernels[engine]
    return lambda: kernel(fine, coarse, state=state, inner=inner, std=False, **call)


def fill_call(name: str, size: int, dates: int) -> Callable[[], object]:
    """Return what runs a gap-filling kernel on a whole cube, half of it missing."""
    cupy, record = importlib.import_module("cupy"), get_method("gapfill", name)
    rng = np.random.default_rng(0)
    cube = rng.random((dates, 2, size, size), np.float32)
    cube[rng.random(cube.shape, np.float32) < 0.5] = np.nan
    times, options = np.arange(dates) * 8.0, record.params()
    state = record.settle(GapfillSamples(cube[None, :, :, :32, :32]), times=times, params=options)
    there, inner = cupy.asarray(cube), (slice(0, size), slice(0, size))
    kernel = record.kernels["cupy"]
    return lambda: kernel(
        there, None, times=times, params=options, state=state, inner=inner, std=False
    )


def row(name: str, seconds: float, floor: float) -> str:
    """Return a line of the table."""
    share = f"{100 * floor / seconds:4.0f} %"
    return f"| {name:20} | {1e3 * seconds:10.2f} | {1e3 * floor:10.2f} | {share} |"


def main(given: list[str]) -> None:
    """Print the laws, the table and the comparison with the processor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--dates", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--methods", nargs="*", default=[*fuse_floors(), *FILL_FLOORS])
    options = parser.parse_args(given)
    begin, left_out = time.monotonic(), []
    found = device()
    print(f"{found.name}: {found.bandwidth / 1e9:.0f} GB/s, {found.rate / 1e12:.1f} Tflop/s")
    processor = PROCESSORS.get(found.generation)
    if processor is not None:
        most = occupancy(BLOCK, registers=128, processor=processor)
        print(f"blocks of {BLOCK} with 128 registers a thread: {most:.0%} of the warps")
    print("laws hold: " + ", ".join(check_laws()))
    size = options.size // RATIO * RATIO
    print(
        f"\n| {'kernel':20} | {'ms':>10} | {'floor, ms':>10} | share  |\n| --- | --- | --- | --- |"
    )
    starfm = None
    for name in options.methods:
        if time.monotonic() - begin > 60 * options.minutes:
            left_out.append(name)
        elif name in FILL_FLOORS:
            side = size // 4
            count = float(options.dates * 2 * side**2)
            seconds = timed(fill_call(name, side, options.dates))
            print(row(name, seconds, FILL_FLOORS[name].seconds(count, found)))
        else:
            seconds = timed(fuse_call(name, size, "cupy"))
            print(row(name, seconds, fuse_floors()[name].seconds(float(BANDS * size**2), found)))
            starfm = seconds if name == "starfm" else starfm
    if starfm is not None:
        side = min(size, SLOW // RATIO * RATIO)
        slow = fuse_call("starfm", side, "numba")
        slow()
        start = time.process_time()
        slow()
        cores = (time.process_time() - start) * (size / side) ** 2 / 2
        print(f"\nstarfm on two cores, from {side} x {side} pixels: {cores:.1f} s, "
              f"{cores / starfm:.0f} times as long")  # fmt: skip
    if left_out:
        print("left out, for there was no time: " + ", ".join(left_out))


if __name__ == "__main__":
    main(sys.argv[1:])
