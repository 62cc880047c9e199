"""A large sharpening: 200 bands on 1000 × 1000 pixels, seconds and the most memory.

``python asv_bench/large_sharpen.py [method]``.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import xarray as xr

import xstf


def main(method="auto", side=1000, ratio=4, bands=200):
    """Sharpen and print how long it took."""
    scene = xstf.scenes.hyperspectral(size=96, ratio=ratio, bands=bands)
    times = -(-side // 96)
    spectral, spatial = (
        xr.DataArray(
            np.tile(c.transpose("band", "y", "x").values, (1, times, times)),
            dims=("band", "y", "x"), coords={"band": c.band.values},
        )
        for c in (scene.spectral, scene.spatial)
    )  # fmt: skip
    place = [
        cube.assign_coords(
            y=-step * (np.arange(cube.sizes["y"]) + 0.5),
            x=step * (np.arange(cube.sizes["x"]) + 0.5),
        )
        for cube, step in ((spectral, float(ratio)), (spatial, 1.0))
    ]
    xstf.sharpen_spectral(scene.spectral, scene.spatial, method=method)  # compile first
    begun = time.perf_counter()
    sharp = xstf.sharpen_spectral(*place, method=method)
    wall = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{method}: {dict(sharp.sizes)} in {wall:.0f} s; peak {peak:.1f} GB, the result has "
        f"{sharp.nbytes / 1e9:.1f} GB; {sharp.attrs.get('stf_choice', '')}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
