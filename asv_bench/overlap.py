"""How far a network's tiles must overlap: errors, seams and a picture, on the embedded scene.

``python asv_bench/overlap.py [WEIGHTS] [PICTURE]``: trains ``ctstfm`` for a few minutes unless
weights are given; prints a Markdown table. A seam is a step: the mean absolute step of the error
(estimate less truth) from one pixel to the next where one tile meets another, over that elsewhere.
"""

from __future__ import annotations

import sys
import time

import matplotlib.pyplot as plt
import numpy as np

import xstf

METHOD, TILE = "ctstfm", 96
OVERLAPS = (0, 16, 32, 64)


def main(weights=None, picture="overlap.png"):
    """Print the table and draw the picture."""
    scene = xstf.scenes.landsat_modis()
    known, date = scene.fine, scene.truth.time[[5]]
    truth = scene.truth.sel(time=date).isel(time=0)
    if weights is None:
        fitted = xstf.train.fit(METHOD, known, scene.coarse, progress=True)
        weights = fitted.save("ctstfm.safetensors")

    def run(**options):
        start = time.perf_counter()
        out = xstf.fuse(known, scene.coarse, method=METHOD, time=date, weights=weights, **options)
        return out.isel(time=0), time.perf_counter() - start

    print("| overlap | blend | MAE | seam | s |", "| --- | --- | --- | --- | --- |", sep="\n")
    errors = {}
    for blend in ("crop", "smooth"):
        for overlap in OVERLAPS:
            out, seconds = run(tile=TILE, overlap=overlap, blend=blend)
            error = (out - truth).values
            borders = np.arange(TILE - overlap, out.sizes["x"] - overlap // 2, TILE - overlap) - 1
            mae, step = np.abs(error).mean(), seam(error, borders)
            print(f"| {overlap} | {blend} | {mae:.5f} | {step:.2f} | {seconds:.1f} |", flush=True)
            errors[overlap, blend] = error
    whole, seconds = run(tile=240, overlap=32)
    mae = float(abs(whole - truth).mean())
    print(f"| whole image | | {mae:.5f} | | {seconds:.1f} |")
    draw(errors, picture)


def seam(error, borders):
    """Return the step of the error across the borders of tiles over that elsewhere."""
    along = [np.abs(np.diff(error, axis=axis)).mean(axis=(0, 3 - axis)) for axis in (1, 2)]
    rest = [np.delete(step, borders).mean() for step in along]
    return float(np.mean([step[borders].mean() / r for step, r in zip(along, rest, strict=True)]))


def draw(errors, picture):
    """Draw the error of one band with each overlap."""
    shown = [(0, "crop"), (32, "crop"), (32, "smooth")]
    figure, axes = plt.subplots(1, len(shown), figsize=(12, 4.2), layout="constrained")
    for axis, key in zip(axes, shown, strict=True):
        image = axis.imshow(errors[key][3], cmap="RdBu", vmin=-0.06, vmax=0.06)
        axis.set_title(f"overlap {key[0]}" + (", blended" if key[1] == "smooth" else ""))
        axis.set_axis_off()
    figure.colorbar(image, ax=axes, label="estimate less truth, near infrared", shrink=0.8)
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
