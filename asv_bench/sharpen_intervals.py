"""Why sharpening gives no standard deviation: intervals from errors one scale down, as Markdown.

``XSTF_TEST_DATA=… python asv_bench/sharpen_intervals.py [method]``: real and simulated cubes whose
truth is known. A band's root mean square error one scale down, as it is, and multiplied by what the
errors of the sharp bands, each sharpened by the others, grow from there to full resolution. The
columns are the method, the growth of the spectral bands' errors, and the shares of true values in
90 % intervals; all with the bands' 5 and 95 % points.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import real_sharpen
import xarray as xr

import xstf
from xstf import scenes, sensors
from xstf.numerics.degrade import degrade_bands
from xstf.numerics.normal import Z90

FOLDER = Path(os.environ["XSTF_TEST_DATA"]) / "sharpen"
SEEDS, NOISES = range(1, 9), (0.0005, 0.002, 0.005)


def cases():
    """Yield the name, the spectral, the spatial and the true cube, and the ratio of every case."""
    yield from real_sharpen.cases(FOLDER)
    for seed in SEEDS:
        noise, ratio = NOISES[seed % 3], (2, 4)[seed % 2]
        scene = scenes.hyperspectral(size=96, bands=40, seed=seed, noise=noise, ratio=ratio)
        name = f"simulated {seed}, ratio {ratio}, noise {noise:g}"
        yield name, scene.spectral, scene.spatial, scene.truth, ratio


def widths(spectral):
    """Return the width of each band's blur: Sentinel-2's, or the one pixel of other cases."""
    bands = spectral.band.values
    known = sensors.blurs("sentinel-2a", bands) if "B8A" in bands else np.ones(len(bands))
    return xr.DataArray(known, dims="band")


def lower(cube, ratio, fwhm):
    """Return a cube ``(band, y, x)`` on pixels so many times as large, whole ones."""
    whole = cube.isel({d: slice(0, cube.sizes[d] // ratio * ratio) for d in ("y", "x")})
    place = {d: whole[d].coarsen({d: ratio}).mean() for d in ("y", "x")}
    images = degrade_bands(whole.values, ratio=ratio, fwhm=np.asarray(fwhm))
    return xr.DataArray(images, {**whole.drop_vars(["y", "x"]).coords, **place}, whole.dims)


def errors(spectral, spatial, truth, method, fwhm):
    """Return the method that sharpened, and its errors ``(band, y, x)`` at full resolution."""
    made = xstf.sharpen_spectral(spectral, spatial, method=method, psf=fwhm)
    off = made.values - truth.transpose(*made.dims).values
    return made.attrs.get("stf_choice", method), off.astype(np.float64)


def below(spectral, spatial, ratio, method, fwhm):
    """Return the errors one scale down."""
    least = {d: slice(0, spectral.sizes[d] // ratio * ratio) for d in ("y", "x")}
    truth = spectral.isel(least)
    sharp = lower(spatial, ratio, float(fwhm.mean())).isel(least)
    return errors(lower(truth, ratio, fwhm), sharp, truth, method, fwhm)[1]


def size(off):
    """Return each band's root mean square."""
    return np.sqrt((off**2).mean(axis=(1, 2)))


def held(off, spread):
    """Return in words the shares of errors within 90 % intervals."""
    inside = (np.abs(off) <= Z90 * spread[:, None, None]).mean(axis=(1, 2))
    low, high = np.quantile(inside, (0.05, 0.95))
    return f"{100 * inside.mean():.0f} ({100 * low:.0f}–{100 * high:.0f})"


def growth_of_guides(spatial, ratio, method, width):
    """Return what errors of the sharp bands grow by, the median over them."""
    one = xr.DataArray([width], dims="band")
    grown = []
    for band in range(spatial.sizes["band"]):
        truth, rest = spatial.isel(band=[band]), spatial.drop_isel(band=band)
        blurred = lower(truth, ratio, width)
        here = size(errors(blurred, rest, truth, method, one)[1])
        grown.append(here / size(below(blurred, rest, ratio, method, one)))
    return float(np.median(grown))


def main(method="auto"):
    """Print the table."""
    print("| case | method | growth | error one scale down | times the sharp bands' growth |")
    print("| --- | --- | --- | --- | --- |")
    for name, spectral, spatial, truth, ratio in cases():
        fwhm = widths(spectral)
        chosen, off = errors(spectral, spatial, truth, method, fwhm)
        less = size(below(spectral, spatial, ratio, chosen, fwhm))
        grown = growth_of_guides(spatial, ratio, chosen, float(fwhm.mean()))
        low, middle, high = np.quantile(size(off) / less, (0.05, 0.5, 0.95))
        print(
            f"| {name} | {chosen} | {middle:.2f} ({low:.2f}–{high:.2f}) | {held(off, less)} | "
            f"{held(off, less * grown)} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
