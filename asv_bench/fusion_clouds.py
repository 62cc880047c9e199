"""Error of the default under real clouds beside fine + coarse change, as a Markdown table.

``XSTF_TEST_DATA=… python asv_bench/fusion_clouds.py``: parts of the real masks of the NDVI scene
are laid over both fine images of the other two real scenes, each under another date's, stretched
to the scene. Of each share of clouds three pairs of parts are taken, those of all dates, places and
sizes that are nearest to the share. RMSE is over pixels that any of the two images sees, the mean
over bands; the last column is the worst of the three beside fine + coarse change.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

import xstf
from xstf import evaluate
from xstf.tiles import run as _tiles

FOLDER = Path(os.environ["XSTF_TEST_DATA"]) / "fusion"
SHARES = (0.1, 0.3, 0.6)
TRIES = 3
SIZES, STEP = (0.4, 0.6, 0.8, 1.0), 0.2  # of the mask's side: parts, and how far they are apart


def masks(share, shape):
    """Return the pairs of masks ``(y, x)`` of two dates that are nearest to a share of clouds."""
    quality = xstf.files.open_cube(FOLDER / "ndvi_hubei_cfmask.nc")
    bad = np.isin(quality.transpose("time", "y", "x").values, (2, 4))  # shadow, cloud
    found = []
    for cover in bad:
        near = []
        for size in SIZES:
            for top in np.arange(0, 1 - size + 1e-9, STEP):
                for left in np.arange(0, 1 - size + 1e-9, STEP):
                    at = [
                        (int(first * n) + np.arange(m) * size * n / m).astype(int)
                        for first, n, m in zip((top, left), cover.shape, shape, strict=True)
                    ]
                    part = cover[at[0][:, None], at[1]]
                    near.append((abs(part.mean() - share), size, top, left, part))
        found.append(min(near, key=lambda one: one[:4]))
    best = sorted(range(len(found)), key=lambda date: found[date][:4])
    parts = [found[date][-1] for date in best[: TRIES + 1]]
    return list(zip(parts[:-1], parts[1:], strict=True))


def rmse(estimate, truth, where):
    """Return the root mean square error where wanted, the mean over bands."""
    square = (estimate.drop_vars("time") - truth.drop_vars("time")).where(where) ** 2
    return float(np.sqrt(square.mean(("y", "x"))).mean())


def measured(name, share):
    """Return the errors of the default and of fine + coarse change ``(try, way)``."""
    fine, coarse = (xstf.files.open_cube(FOLDER / f"{name}_{s}.nc") for s in ("fine", "coarse"))
    truth, known = fine[1], fine[[0, 2]]
    pairs = masks(share, (fine.sizes["y"], fine.sizes["x"])) if share else [(None, None)]
    rows = []
    for pair in pairs:
        holed = known.copy()
        if share:
            clear = ~np.stack(pair)[:, None]
            holed = known.where(clear)
        seen = holed.notnull().any(("time", "band"))
        ways = (("auto", {}), (evaluate.BASELINES[1], {"register": False, "change": "raw"}))
        made = [
            xstf.fuse(holed, coarse, method=m, time=truth.time.values, **options)[0]
            for m, options in ways
        ]
        rows.append([rmse(m, truth, seen) for m in made])
    return np.array(rows)


def main():
    """Print the table."""
    _tiles.cores = lambda: 1
    start = time.process_time()
    print("| scene | clouds in each image | `auto` | fine + coarse change | worst beside it |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("boreas", "cia50m"):
        for share in (0.0, *SHARES):
            errors = measured(name, share)
            mean = errors.mean(axis=0)
            worst = (errors[:, 0] / errors[:, 1]).max()
            print(f"| {name} | {share:.0%} | {mean[0]:.4f} | {mean[1]:.4f} | {worst:.2f} |")
    print(f"\n{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
