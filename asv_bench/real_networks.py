"""Error and CPU seconds of the fusion networks beside the classical methods, as a Markdown table.

``XSTF_TEST_DATA=… python asv_bench/real_networks.py [CASE … METHOD …]``: a fine date is hidden, the
networks are trained on the others (`xstf.train.fit`, the recipe for a processor unless torch finds
a GPU), and every method predicts it from the dates around it. ``embedded`` is
`xstf.scenes.landsat_modis`, whose truth is known between its four fine dates. Seconds are CPU
seconds of one thread: of the training, and of the prediction with kernels compiled.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch

import xstf
from xstf import evaluate
from xstf.methods.lookup import get_method, method_names
from xstf.tiles import run as _tiles

CASES = ("embedded", "cia50m", "boreas")
FOLDER = Path(os.environ.get("XSTF_TEST_DATA", "")) / "fusion"


def open_case(name):
    """Return fine dates without the hidden one, the coarse cube and the truth."""
    if name == "embedded":
        scene = xstf.scenes.landsat_modis()
        return scene.fine, scene.coarse, scene.truth.isel(time=[2, 3, 5, 6, 8, 9])
    fine, coarse = (xstf.files.open_cube(FOLDER / f"{name}_{s}.nc") for s in ("fine", "coarse"))
    return fine.isel(time=[0, 2]), coarse, fine.isel(time=[1])


def main(wanted):
    """Print the table."""
    torch.set_num_threads(1)
    _tiles.cores = lambda: 1
    records = [*evaluate.BASELINES, *(get_method("fuse", n) for n in method_names("fuse"))]
    names = [w for w in wanted if w not in CASES] or [r.name for r in records]
    head = "| case | method | RMSE | SAM | SSIM | training s | held-out MAE, before → after | s |"
    print(head, "| --- | --- | --- | --- | --- | --- | --- | --- |", sep="\n", flush=True)
    for case in [w for w in wanted if w in CASES] or CASES:
        known, coarse, truth = open_case(case)
        for record in sorted((r for r in records if r.name in names), key=lambda r: bool(r.net)):
            print_row(case, record, known, coarse, truth)


def print_row(case, record, known, coarse, truth):
    """Train if need be, predict, score, print."""
    options, trained = {}, "| |"
    if record.net is not None:
        start = time.process_time()
        fitted = xstf.train.fit(record, known, coarse)
        seconds = time.process_time() - start
        path = fitted.save(f"{record.name}-{case}.safetensors")
        options = {"weights": path}
        before, after = fitted.scores["mae_untrained"], fitted.scores["mae"]
        trained = f"| {seconds:.0f} | {before:.4f} → {after:.4f}"
    for _ in range(2):
        start = time.process_time()
        out = xstf.fuse(known, coarse, method=record, time=truth.time, **options)
        seconds = time.process_time() - start
    true = truth.assign_coords(time=out.time)
    found = [float(getattr(xstf.metrics, m)(out, true)) for m in ("rmse", "sam", "ssim")]
    print(f"| {case} | {record.name} | {found[0]:.5f} | {found[1]:.3f} | {found[2]:.4f} {trained} "
          f"| {seconds:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
