"""Error and speed of every gap-filling method on the real cubes, as a Markdown table.

``XSTF_TEST_DATA=… python asv_bench/real_gapfill.py [method …]``: through the verb, cubes in memory,
kernels compiled, one thread.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

import xstf
from xstf.methods.lookup import classical_names
from xstf.numerics.normal import Z90
from xstf.tiles import run as _tiles

FOLDER = Path(os.environ["XSTF_TEST_DATA"]) / "gapfill"
CASES = (
    ("belgium_s2", "partial"), ("belgium_s2", "full"), ("slovenia_ndvi", "partial"),
    ("slovenia_ndvi", "persistent"), ("slovenia_ndvi", "full"), ("belgium_s2_long", "full"),
)  # fmt: skip


def open_case(name, regime):
    """Return the cube with holes, the hidden truth, and the radar cube or None."""
    file = xr.open_dataset(FOLDER / f"{name}.nc", decode_coords="all")
    held = file[f"held_{regime}"].astype(bool)
    sar = None
    if name.startswith("belgium"):
        sar = xr.open_dataset(FOLDER / "belgium_s1.nc", decode_coords="all").sigma0.load()
    cube = file[f"input_{regime}"].astype("float32").load()
    return cube, file.truth.where(held).load(), sar


def run(cube, truth, sar, method):
    """Return RMSE, share left, 90 % coverage and milliseconds a pixel."""
    quality = xstf.get_method("gapfill", method).std
    call = {"method": method, "return_quality": quality}
    xstf.gapfill(cube, sar, **call)
    start = time.process_time()
    filled = xstf.gapfill(cube, sar, **call)
    spent = time.process_time() - start
    estimate = filled[cube.name] if quality else filled
    off = (estimate - truth).values[np.isfinite(truth.values)]
    covered = np.nan
    if quality:
        std = filled[f"{cube.name}_std"].values[np.isfinite(truth.values)]
        covered = float((np.abs(off) <= Z90 * std)[np.isfinite(off)].mean())
    pixels = cube.sizes["y"] * cube.sizes["x"]
    return np.sqrt(np.nanmean(off**2)), np.isnan(off).mean(), covered, 1e3 * spent / pixels


def main(methods):
    """Print the table."""
    _tiles.cores = lambda: 1
    print("| case | method | RMSE | left | within 90 % | ms a pixel |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, regime in CASES:
        cube, truth, sar = open_case(name, regime)
        for method in methods or classical_names("gapfill"):
            guided = xstf.get_method("gapfill", method).guided and sar is not None
            for given in [None, sar] if guided else [None]:
                error, left, covered, spent = run(cube, truth, given, method)
                label = method if given is None else f"{method} + SAR"
                print(
                    f"| {name} {regime} | {label} | {error:.5f} | {left:.3f} | {covered:.3f} "
                    f"| {spent:.3f} |", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
