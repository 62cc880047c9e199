"""Error and CPU seconds of every method on the real pairs, as a Markdown table.

``XSTF_TEST_DATA=… python asv_bench/real.py``: through the verb, files already read, kernels
compiled, one thread; the median of five runs.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np

import xstf
from xstf import evaluate
from xstf.methods.lookup import classical_names
from xstf.tiles import run as _tiles

FOLDER = Path(os.environ["XSTF_TEST_DATA"]) / "fusion"


def open_case(name):
    """Return three fine dates, the coarse cube, the truth and options."""
    fine, coarse = (xstf.files.open_cube(FOLDER / f"{name}_{s}.nc") for s in ("fine", "coarse"))
    if name != "ndvi_hubei":
        return fine, coarse, fine[1], {}
    quality = xstf.files.open_cube(FOLDER / "ndvi_hubei_cfmask.nc")
    clear = (quality == 0) | (quality == 1) & (quality.time.dt.dayofyear == 287)
    picked = [int(np.flatnonzero(fine.time.dt.dayofyear == d)[0]) for d in (216, 248, 287)]
    fine = fine.where(clear).isel(time=picked)
    truth = fine[1].where(clear.isel(time=picked[0]).drop_vars("time"))
    return fine, coarse, truth, {"pair_tolerance": "16D"}


def main():
    """Print the table."""
    _tiles.cores = lambda: 1
    print("| case | method | pairs | RMSE | SAM | SSIM | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ("boreas", "cia50m", "ndvi_hubei"):
        fine, coarse, truth, options = open_case(name)
        cases = {name: coarse}
        if name == "ndvi_hubei":
            given = np.isin(coarse.time.dt.dayofyear, (209, 241, 273))
            cases["ndvi_hubei, peers' composites"] = coarse.isel(time=given)
        records = [*evaluate.BASELINES, *map(get, classical_names("fuse"))]
        for case, blurred in cases.items():
            for record in records:
                for pairs in range(record.pairs[0], min(2, record.pairs[1]) + 1):
                    print_row(case, record, pairs, fine, blurred, truth, options)


def get(name):
    """Return a record."""
    return xstf.get_method("fuse", name)


def print_row(case, record, pairs, fine, coarse, truth, options):
    """Run and print one row."""
    known = fine.isel(time=[0, 2][:pairs])
    seconds = []
    for _ in range(6):
        start = time.process_time()
        out = xstf.fuse(known, coarse, method=record, time=fine.time[1], **options)
        seconds.append(time.process_time() - start)
    estimate = out.isel(time=0, drop=True)
    true = truth.drop_vars("time")
    found = [float(getattr(xstf.metrics, m)(estimate, true)) for m in ("rmse", "ssim")]
    sam = float(xstf.metrics.sam(estimate, true)) if fine.sizes["band"] > 1 else float("nan")
    cpu = statistics.median(seconds[1:])
    print(f"| {case} | {record.name} | {pairs} | {found[0]:.5f} | {sam:.3f} | {found[1]:.4f} "
          f"| {cpu:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
