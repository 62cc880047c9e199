"""Error and CPU seconds of every sharpening method on the real cubes, as a Markdown table.

``XSTF_TEST_DATA=… python asv_bench/real_sharpen.py [method …]``: through the verb, cubes in memory,
PSF and response estimated; the median of three runs, one thread.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.ndimage import correlate1d

import xstf
from xstf import metrics
from xstf.methods.lookup import classical_names
from xstf.tiles import run as _tiles

FOLDER = Path(os.environ["XSTF_TEST_DATA"]) / "sharpen"
PAIRS = ("jasper_oli6_n35", "jasper_s2_4_n35", "jasper_oli6_clean", "paris_ali9_clean")
SENTINEL = "s2a_t33uub"
# Sentinel-2's modulation transfer at the Nyquist frequency, by band, as the peers were given it.
MTF = {
    "B02": 0.26, "B03": 0.28, "B04": 0.24, "B05": 0.38, "B06": 0.34, "B07": 0.34, "B08": 0.26,
    "B8A": 0.33, "B11": 0.22, "B12": 0.23,
}  # fmt: skip


def open_pair(folder, name):
    """Return the blurred cube, the sharp one and the truth of a hyperspectral case."""
    with xr.open_dataset(folder / f"{name}.nc") as file:
        file = file.load()
    spectral = file.spectral.rename(y_coarse="y", x_coarse="x")
    spatial = file.spatial.rename(ms_band="band")
    return tuple(cube.astype("float32") for cube in (spectral, spatial, file.reference))


def open_sentinel(folder):
    """Return 20 m bands seen at 40 m, 10 m bands seen at 20 m, and the 20 m bands."""
    both = []
    for metres in (20, 10):
        with xr.open_dataset(folder / f"{SENTINEL}_{metres}m.nc") as file:
            both.append(file.toa_reflectance.load())
    return lower(both[0]), lower(both[1]), both[0].astype("float32")


def lower(cube):
    """Return a cube on pixels twice as large, under Gaussians with its bands' MTF there.

    The Gaussian is centred where the large pixel is: between two of the small ones.
    """
    seen = []
    for image in cube:
        sigma = 2 * np.sqrt(-2 * np.log(MTF[str(image.band.values)])) / np.pi
        weights = np.exp(-0.5 * (np.arange(-9.5, 10) / sigma) ** 2)
        values = image.values.astype(np.float64)
        for axis in (0, 1):
            # Even kernels of `correlate1d` centre on the pixel after the middle.
            values = correlate1d(values, weights / weights.sum(), axis, mode="reflect", origin=-1)
        seen.append(values[::2, ::2].astype(np.float32))
    y, x = (cube[d].values.reshape(-1, 2).mean(axis=1) for d in ("y", "x"))
    coords = {**cube.drop_vars(["y", "x"]).coords, "y": y, "x": x}
    return xr.DataArray(np.stack(seen), coords, cube.dims, name=cube.name)


def cases(folder):
    """Yield the name, the three cubes and the ratio of every case."""
    for name in PAIRS:
        yield name, *open_pair(folder, name), 4
    yield f"{SENTINEL} 40 → 20 m", *open_sentinel(folder), 2


def sharpened(spectral, spatial, method, runs=3):
    """Return the sharpened cube and the median of CPU seconds, compiled beforehand."""
    spent = []
    for _ in range(runs + 1):
        start = time.process_time()
        made = xstf.sharpen_spectral(spectral, spatial, method=method)
        spent.append(time.process_time() - start)
    return made, statistics.median(spent[1:])


def main(methods):
    """Print the table."""
    _tiles.cores = lambda: 1
    print("| case | method | PSNR | SAM | ERGAS | RMSE | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, spectral, spatial, truth, ratio in cases(FOLDER):
        for method in methods or classical_names("sharpen_spectral"):
            made, spent = sharpened(spectral, spatial, method)
            found = (
                metrics.psnr(made, truth), metrics.sam(made, truth),
                metrics.ergas(made, truth, ratio=ratio),
                np.sqrt((metrics.rmse(made, truth, per="band") ** 2).mean()),
            )  # fmt: skip
            numbers = " | ".join(
                f"{float(v):.{d}f}" for v, d in zip(found, (3, 3, 3, 5), strict=True)
            )
            print(f"| {name} | {method} | {numbers} | {spent:.3f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
