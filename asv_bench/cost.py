"""What regions cost, from measured figures: core hours, tasks, requests, bytes stored.

``python asv_bench/cost.py`` prints the table of docs/large.md; ``--schedule 20000`` also runs so
many sleeping tasks through the scheduler of `dask.distributed` and prints microseconds a task,
which is what the model takes a task to cost.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

# --- measured -------------------------------------------------------------------------------------
# CPU nanoseconds for each value of a result (pixel, band, date) of the defaults, on one core of the
# machine that docs/large.md names: fusion of 768 x 768 x 4 with two pairs, filling of 100 dates and
# 4 bands (README), sharpening of 768 x 768 x 60 with its settling.
NANOSECONDS = {"fuse": 410, "gapfill": 1825, "sharpen_spectral": 139}
# Values that are read for each that is made: two fine images for a date; the cube itself; of
# sharpening four spatial bands for ten, and the spectral ones on their larger pixels.
READ = {"fuse": 2.0, "gapfill": 1.0, "sharpen_spectral": 0.5}
# Tasks of a graph for each tile, inputs included: of fusion and filling of 100 000 x 100 000
# pixels, of sharpening of 20 000 x 20 000.
TASKS = {"fuse": 17.5, "gapfill": 15, "sharpen_spectral": 32}
# Microseconds of the scheduler of dask.distributed for a task: with its client 950 of CPU in a run
# of 5000 tasks and 510 in one of 110 000, 1600 on the clock of two cores, the worker's as well.
SCHEDULER = 950.0
# --- assumed --------------------------------------------------------------------------------------
STORED = 0.5  # of the bytes of float32: int16 on disk; noisy float32 under zstd takes 0.83
REQUESTS = 3500.0  # GET and PUT requests a second and prefix that object stores serve
MOST_TASKS = 1_000_000  # of one graph: about 1 GB of the client's and of the scheduler's memory


@dataclass(frozen=True)
class Region:
    """A region, a period, and how it is cut.

    Parameters
    ----------
    name : str
    pixels : float
        Of the result's grid.
    dates, bands : int
    tile : int
        Pixels along a side of a chunk.
    """

    name: str
    pixels: float
    dates: int
    bands: int
    tile: int = 512


REGIONS = (
    Region("Sentinel-2 tile, a year", 10_980**2, 73, 10),
    Region("country (Germany), a year", 357_000e6 / 100, 73, 10),
    Region("Europe, daily for a year", 10.2e6 * 1e6 / 100, 365, 10),
)


@dataclass(frozen=True)
class Cost:
    """What a verb costs on a region.

    Parameters
    ----------
    core_hours : float
        Of kernels.
    tasks : float
        Of all graphs together.
    scheduler_hours : float
        Of one scheduler, if it had them all.
    graphs : int
        Independent graphs of at most `MOST_TASKS` tasks.
    terabytes : float
        Of the result as stored.
    read_terabytes : float
        Of the inputs, stored alike.
    requests : float
        Reads and writes of chunks.
    """

    core_hours: float
    tasks: float
    scheduler_hours: float
    graphs: int
    terabytes: float
    read_terabytes: float
    requests: float


def cost(verb: str, region: Region) -> Cost:
    """Return what a verb costs on a region."""
    values = region.pixels * region.dates * region.bands
    filling = verb == "gapfill"  # a tile has all dates, in chunks of at most 128 MB
    room = (128e6 / (4 * region.dates * region.bands)) ** 0.5
    side = min(region.tile, 2 ** int(math.log2(room))) if filling else region.tile
    tiles = region.pixels / side**2 * (1 if filling else region.dates)
    tasks = tiles * TASKS[verb]
    # Each tile reads its chunks once, some of them for its neighbours, and writes itself.
    reads = tiles * (1 if filling else 4)
    return Cost(
        core_hours=values * NANOSECONDS[verb] / 3.6e12,
        tasks=tasks,
        scheduler_hours=tasks * SCHEDULER / 3.6e9,
        graphs=max(1, round(tasks / MOST_TASKS + 0.5)),
        terabytes=values * 4 * STORED / 1e12,
        read_terabytes=values * READ[verb] * 4 * STORED / 1e12,
        requests=reads + tiles,
    )


def table() -> str:
    """Return all of it as a table in Markdown."""
    head = (
        "| region | verb | core hours | read | result | tasks | one scheduler | graphs "
        "| requests |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    rows = []
    for region in REGIONS:
        for verb in NANOSECONDS:
            one = cost(verb, region)
            rows.append(
                f"| {region.name} | `{verb}` | {one.core_hours:,.0f} | "
                f"{one.read_terabytes:,.1f} TB | {one.terabytes:,.1f} TB | "
                f"{one.tasks:,.2g} | {one.scheduler_hours:,.2g} h | {one.graphs:,} | "
                f"{one.requests:,.2g} |"
            )
    return "\n".join([head, *rows])


def sleep(block, seconds):
    """Return a block after a while."""
    time.sleep(seconds)
    return block


def schedule(count: int, seconds: float, workers: int) -> tuple[float, float]:
    """Return CPU microseconds of scheduler and client for each of so many sleeping tasks, and all.

    The scheduler of a `LocalCluster` runs in this process, its worker in another; a busy machine
    adds to the second figure, seconds on the clock beside the sleep, and hardly to the first.
    """
    import dask.array as da
    from distributed import Client, LocalCluster

    # Tiles of two layers, as a source and what is made of it; not fused into one.
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=workers, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        for some in (200, count):  # the first run warms up
            made = da.zeros((some,), chunks=1).map_blocks(sleep, seconds, dtype=float)
            start, before = time.perf_counter(), time.process_time()
            client.compute(made.sum(split_every=100)).result()
            spent, cpu = time.perf_counter() - start, time.process_time() - before
    return 1e6 * cpu / count, 1e6 * (spent - count * seconds / workers) / count


def main():
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedule", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=50)
    options = parser.parse_args()
    print(table())
    if options.schedule:
        cpu, clock = schedule(options.schedule, options.seconds, options.threads)
        print(f"{options.schedule} tasks: {cpu:.0f} CPU µs a task, {clock:.0f} µs on the clock")


if __name__ == "__main__":
    main()
