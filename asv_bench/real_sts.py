"""One stage against two for series with many bands, as Markdown tables.

``XSTF_TEST_DATA=… python asv_bench/real_sts.py [embedded|jasper] [--quick]``: the embedded series,
and the real hyperspectral scene of Jasper Ridge (shared data) with simulated dates; errors on dates
with and without a hyperspectral image, and CPU seconds of one thread, training included. The forms
are those of the paper's tables: `sts` with kernels of side 1, of 1 and 3, and of 1, 3 and 5 against
the four ways in two stages. ``--quick`` leaves the networks out.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import xarray as xr

import xstf
from xstf.evaluate import running as _running
from xstf.numerics.degrade import degrade
from xstf.tiles import run as _tiles

FIT = {"weights": "fit"}
KERNELS = ((1,), (1, 3), (1, 3, 5))


def embedded():
    """Return the embedded series."""
    scene = xstf.scenes.hyperspectral_series()
    return scene.spectral, scene.dense, scene.sharp, scene.truth


def jasper():
    """Return a real scene on seven simulated dates: its classes turn into each other and back."""
    data = xr.open_dataset(
        Path(os.environ["XSTF_TEST_DATA"]) / "sharpen/jasper_oli6_clean.nc", decode_coords="all"
    )
    cube = data.reference.transpose("band", "y", "x").values.astype(np.float32)
    classes, spectra = cluster(cube, 6)
    rng = np.random.default_rng(0)
    days = 25 * np.arange(7)
    start, length = rng.uniform(0, 150, 6), rng.uniform(15, 60, 6)
    other = rng.permutation(6)
    dates = []
    for day in days:
        share = 0.6 / (1 + np.exp(-(day - start) / length * 4))
        gain = 1 + share[:, None] * (spectra[other] / spectra - 1)
        dates.append(cube * np.moveaxis(gain[classes], -1, 0))
    truth = np.stack(dates).clip(0, None)
    times = np.datetime64("2021-04-01", "ns") + days * np.timedelta64(1, "D")
    srf = data.srf.values / data.srf.values.sum(axis=1, keepdims=True)
    seen = np.einsum("sb,tbyx->tsyx", srf, truth)
    names = [str(n) for n in data.ms_band.values]
    paired = [0, 2, 4, 6]
    noise = 0.002

    def label(images, ratio, when, bands):
        images = images + noise * rng.standard_normal(images.shape)
        grid = {
            "y": -10.0 * ratio * (np.arange(images.shape[2]) + 0.5),
            "x": 10.0 * ratio * (np.arange(images.shape[3]) + 0.5),
        }
        coords = {"time": times[when], "band": bands, **grid}
        return xr.DataArray(images.astype("f4"), coords, ("time", "band", "y", "x"), "reflectance")

    def blurred(images, ratio):
        return np.stack([degrade(i.astype("f4"), ratio=ratio, fwhm=1.0) for i in images])

    bands = list(range(truth.shape[1]))
    spectral = label(blurred(truth[paired], 3), 3, paired, bands)
    dense = label(blurred(seen, 2), 2, list(range(7)), names)
    sharp = label(seen[paired][:, :4], 1, paired, names[:4])
    true = xr.DataArray(
        truth.astype("f4"), {"time": times, "band": bands, "y": sharp.y, "x": sharp.x}, dense.dims
    )
    return spectral, dense, sharp, true


def cluster(cube, count):
    """Return each pixel's class ``(y, x)`` and the mean spectra ``(class, band)``."""
    from scipy.cluster.vq import kmeans2

    pixels = cube.reshape(len(cube), -1).T.astype(np.float64)
    _, found = kmeans2(pixels, count, minit="++", seed=0)
    means = np.stack([pixels[found == c].mean(axis=0) for c in range(count)])
    return found.reshape(cube.shape[1:]), means.clip(1e-3, None)


def ways(quick):
    """Return the ways to make the series, as `xstf.evaluate_sts` takes them."""
    plain = ["sts_linear", ("estarfm", "cnmf"), ("fitfc", "hysure")]
    if quick:
        return plain
    networks = [
        (first, second)
        for first in ("estarfm", ("stf3dcnn", FIT))
        for second in ("cnmf", ("srecnn", FIT))
    ][1:]
    return plain + networks


def main(wanted):
    """Print the tables."""
    torch.set_num_threads(1)
    # The evaluation's own clock, which leaves the metrics out, is to count CPU seconds.
    _running.clock = SimpleNamespace(perf_counter=time.process_time)
    _tiles.cores = lambda: 1
    quick = "--quick" in wanted
    for case in [w for w in wanted if not w.startswith("-")] or ("embedded", "jasper"):
        fine, coarse, spatial, truth = globals()[case]()
        scores = ("CC", "SAM", "PSNR", "SSIM")
        head = ("way", *(f"paired {n}" for n in scores), *(f"unpaired {n}" for n in scores), "s")
        print(f"\n{case}\n", f"| {' | '.join(head)} |", "| --- " * len(head) + "|", sep="\n")
        for way in ways(quick):
            print_row(None, way, fine, coarse, spatial, truth)
        for kernels in () if quick else KERNELS:
            start = time.process_time()
            sizes = {"kernels": kernels}
            fitted = xstf.train.fit("sts", fine, coarse, spatial=spatial, sizes=sizes)
            path = fitted.save(f"sts-{case}.safetensors")
            spent = time.process_time() - start
            name = "sts, kernels " + "/".join(map(str, kernels))
            print_row(name, ("sts", {"weights": path}), fine, coarse, spatial, truth, spent)


def print_row(name, way, fine, coarse, spatial, truth, spent=0.0):
    """Make the series one way and print its scores."""
    scores = xstf.evaluate_sts(fine, coarse, spatial, truth=truth, ways=[way], baselines=False)
    scores = scores.isel(method=0)
    spent += float(scores.seconds)
    cells = [name or str(scores.method.values)]
    for part in (scores.paired, ~scores.paired):
        one = scores.isel(time=np.flatnonzero(part.values))
        means = [float(one[n].mean()) for n in ("cc", "sam", "psnr", "ssim")]
        cells += [f"{v:.{d}f}" for v, d in zip(means, (4, 2, 2, 4), strict=True)]
    print(f"| {' | '.join(cells)} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
