"""Each verb's default beside trivial ways on many scenes, as a Markdown table and a picture.

``XSTF_TEST_DATA=… python asv_bench/robustness.py``: all embedded scenes × seeds 1–8 × clouds over
20, 50 and 80 % of each sharp image, and the shared real cases. The error of a case is the
RMSE of what the verb had to estimate, over pixels that every way estimates, beside that of the
best trivial way, which nobody can know beforehand. Finished cases are kept in ``--json`` and not
run again; ``--seeds`` and ``--only`` choose some. ``--page`` writes a page, the text of
``robustness.md`` with the table in it, and ``--picture`` the picture that it shows.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

import numpy as np

import xstf
from xstf import evaluate, scenes, simulate
from xstf.tiles import run as _tiles

CLOUDS = (0.2, 0.5, 0.8)
SIDE = 20  # pixels of a real series that are used


# --- ways -------------------------------------------------------------------------------------


def clouded(cube, cover, seed):
    """Return a cube under clouds, each date under its own."""
    size = cube.sizes["x"] / 4
    return cube.where(~simulate.clouds(cube, cover, seed=seed, size=size))


def rmse_of(ways, truth, held=True):
    """Return the error of each way where all of them and the truth are there, and that share."""
    off = {
        name: np.asarray(made.transpose(*truth.dims) - truth.values) for name, made in ways.items()
    }
    wanted = np.isfinite(truth.values) & np.broadcast_to(held, truth.shape)
    both = wanted & np.isfinite(list(off.values())).all(axis=0)
    errors = {name: float(np.sqrt((o[both] ** 2).mean())) for name, o in off.items()}
    given = np.isfinite(off["xstf"])[wanted].mean()
    return {
        "errors": errors,
        "estimated": float(given),
        "compared": float(both.sum() / wanted.sum()),
    }


def fuse(fine, coarse, truth, **options):
    """Return the errors of fusion on the dates of the truth."""
    call = partial(xstf.fuse, fine, coarse, time=truth.time.values, **options)
    plain = {"register": False, "change": "raw"}
    unchanged, delta = (call(method=r, **plain) for r in evaluate.BASELINES)
    ways = {"xstf": call(), "unchanged": unchanged, "fine + change": delta}
    return rmse_of(ways, truth)


def gapfill(cube, truth, sar=None, held=None):
    """Return the errors of filling where the cube is missing."""
    held = np.isnan(cube.values) if held is None else held
    mean = cube.mean("time").expand_dims(time=cube.time).transpose(*cube.dims)
    ways = {
        "xstf": xstf.gapfill(cube, sar), "linear": xstf.gapfill(cube, method="linear"),
        "nearest": xstf.gapfill(cube, method="nearest"), "mean of dates": mean,
    }  # fmt: skip
    return rmse_of(ways, truth, held)


def on_grid(cube, like, how="linear"):
    """Return a coarse cube on a fine grid."""
    inner = cube.interp(y=like.y, x=like.x, method=how)
    edge = cube.interp(
        y=like.y, x=like.x, method="nearest", kwargs={"fill_value": "extrapolate"}
    )  # fmt: skip
    return inner.fillna(edge)


def sharpen(spectral, spatial, truth):
    """Return the errors of sharpening."""
    ways = {
        "xstf": xstf.sharpen_spectral(spectral, spatial),
        "bilinear": on_grid(spectral, truth), "as it was": on_grid(spectral, truth, "nearest"),
    }  # fmt: skip
    return rmse_of(ways, truth)


def sts(scene, cover, seed):
    """Return the errors of series with many bands, on dates without a hyperspectral image."""
    spectral, sharp = clouded(scene.spectral, cover, seed), clouded(scene.sharp, cover, seed)
    truth = scene.truth.isel(time=~np.isin(scene.truth.time, scene.spectral.time))
    made = xstf.fuse(spectral, scene.dense, spatial=sharp, time=truth.time.values)
    filled = xstf.gapfill(spectral, method="linear", edge="nearest")
    nearest = on_grid(filled.sel(time=truth.time, method="nearest"), truth)
    between = on_grid(filled.interp(time=truth.time), truth)
    ways = {"xstf": made, "unchanged": nearest, "in time": between}
    return rmse_of(ways, truth)


# --- cases ------------------------------------------------------------------------------------


def simulated(seeds):
    """Yield the group and key of each simulated case, and what runs it."""
    for name, run in SIMULATED.items():
        for seed in seeds:
            for cover in CLOUDS:
                yield name, f"{name}, clouds {cover:.0%}, seed {seed}", partial(run, cover, seed)


def nested_case(cover, seed):
    scene = scenes.nested(size=48, seed=seed)
    dates = np.setdiff1d(scene.truth.time, scene.fine.time)
    return fuse(clouded(scene.fine, cover, seed), scene.coarse, scene.truth.sel(time=dates))


def landsat_case(cover, seed):
    scene = scenes.landsat_modis(size=60, seed=seed, cloud=0.0)
    bands = {"band": ["red", "nir"]}
    dates = np.setdiff1d(scene.truth.time, scene.fine.time)[[2, 5]]
    fine = clouded(scene.fine.sel(bands), cover, seed)
    return fuse(fine, scene.coarse.sel(bands), scene.truth.sel(time=dates, **bands))


def gaps_case(radar, cover, seed):
    scene = scenes.sentinel_1_2(size=30, seed=seed, cloud=cover)
    return gapfill(scene.cube, scene.truth, scene.sar if radar else None)


def sharpen_case(cover, seed):
    scene = scenes.hyperspectral(size=48, bands=60, seed=seed)
    return sharpen(scene.spectral, clouded(scene.spatial, cover, seed), scene.truth)


def sts_case(cover, seed):
    return sts(scenes.hyperspectral_series(size=60, bands=40, seed=seed), cover, seed)


SIMULATED = {  # those that take longest last
    "fuse: nested": nested_case, "fuse: landsat_modis": landsat_case,
    "sharpen_spectral: hyperspectral": sharpen_case,
    "fuse(spatial=): hyperspectral_series": sts_case,
    "gapfill: sentinel_1_2": partial(gaps_case, False),
    "gapfill: sentinel_1_2 with radar": partial(gaps_case, True),
}  # fmt: skip


def real(folder):
    """Yield the group and key of each real case, and what runs it."""
    from real import open_case as open_fusion
    from real_gapfill import CASES, open_case
    from real_sharpen import cases

    for name in ("boreas", "cia50m", "ndvi_hubei"):
        yield "fuse: real", f"fuse: {name}", partial(real_fusion, open_fusion, name)
    for name, regime in CASES:
        run = partial(real_gaps, open_case, name, regime)
        yield "gapfill: real", f"gapfill: {name}, {regime}", run
    for name, spectral, spatial, truth, _ in cases(folder / "sharpen"):
        run = partial(real_sharpening, spectral, spatial, truth)
        yield "sharpen_spectral: real", f"sharpen: {name}", run


def real_fusion(open_case, name):
    """Run on a real pair; two others are known."""
    fine, coarse, truth, options = open_case(name)
    true = truth.drop_vars("time").expand_dims(time=[fine.time.values[1]])
    return fuse(fine.isel(time=[0, 2]), coarse, true, **options)


def real_gaps(open_case, name, regime):
    """Run on the middle of a real series."""
    cube, truth, sar = open_case(name, regime)
    start = {d: (cube.sizes[d] - SIDE) // 2 for d in ("y", "x")}
    part = {d: slice(s, s + SIDE) for d, s in start.items()}
    cube, truth = cube.isel(part), truth.transpose(*cube.dims).isel(part)
    return gapfill(cube, truth, sar, np.isfinite(truth.values))


def real_sharpening(spectral, spatial, truth):
    return sharpen(spectral, spatial, truth.transpose(*spectral.dims))


# --- running ----------------------------------------------------------------------------------


def finish(cases, path):
    """Run the cases that a file lacks; return all that it has."""
    done = json.loads(path.read_text()) if path.exists() else {}
    for group, key, run in cases:
        if key in done:
            continue
        start = time.process_time()
        try:
            found = run()
        except ValueError as error:  # what a verb refuses is a result, and told in the table
            found = {"refused": str(error)}
        done[key] = {"group": group, **found, "seconds": time.process_time() - start}
        path.write_text(json.dumps(done, indent=1))
        print(key, done[key], flush=True)
    return done


def ratio_of(case):
    """Return the default's error over the best trivial one's, and that way's name."""
    trivial = {name: error for name, error in case["errors"].items() if name != "xstf"}
    best = min(trivial, key=trivial.get)
    return case["errors"]["xstf"] / trivial[best], best


def label_of(key, case):
    """Return the row of a case: its group, and how cloudy it is."""
    cover = key.split("clouds ")[1].split(",")[0] if "clouds " in key else None
    return case["group"] if cover is None else f"{case['group']}, clouds {cover}"


def table_of(done):
    """Return the table, a row a group and cover."""
    rows = {}
    for key, case in done.items():
        rows.setdefault(label_of(key, case), []).append((key, case))
    lines = [
        "| scene | cases | median error / best trivial | worst | over 1 | estimated | refused |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for label in sorted(rows):
        good = [(key, case) for key, case in rows[label] if "errors" in case]
        ratios = [ratio_of(case)[0] for _, case in good]
        middle, worst = (f"{f(ratios):.2f}" if ratios else "–" for f in (np.median, max))
        given = np.mean([case["estimated"] for _, case in good]) if good else np.nan
        lines.append(
            f"| {label} | {len(rows[label])} | {middle} | {worst} "
            f"| {sum(r > 1 for r in ratios)} | {given:.0%} | {len(rows[label]) - len(good)} |"
        )
    return "\n".join(lines)


def draw(done, path):
    """Draw each case as a point, a row a group."""
    from matplotlib import pyplot as plt

    rows = {}
    for key, case in done.items():
        if "errors" in case:
            rows.setdefault(label_of(key, case), []).append(ratio_of(case)[0])
    names = sorted(rows)
    figure, axis = plt.subplots(figsize=(6.4, 0.8 + 0.27 * len(names)), layout="constrained")
    axis.axvline(1, color="0.3", linewidth=1)
    for row, name in enumerate(names):
        ratios = np.array(rows[name])
        for which, colour in ((ratios <= 1, "#20808d"), (ratios > 1, "#d95f02")):
            axis.plot(ratios[which], np.full(which.sum(), row), "o", color=colour, alpha=0.6, ms=5)
        axis.plot(np.median(ratios), row, "|", color="0.1", markersize=13, markeredgewidth=2)
    axis.set_yticks(range(len(names)), names, fontsize=10)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel("error / error of the best trivial way; | median", fontsize=10, loc="right")
    axis.tick_params(axis="x", labelsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlim(0, max(1.3, 1.05 * max(map(max, rows.values()))))
    axis.grid(axis="x", color="0.92")
    axis.set_axisbelow(True)
    xstf.plot.save(axis, path, width=1050)


def main(argv=None):
    """Run, print the table, and put table and picture where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--json", type=Path, default=Path("robustness.json"))
    parser.add_argument("--page", type=Path, help="such as docs/robustness.md")
    parser.add_argument("--picture", type=Path, help="such as docs/images/robustness.png")
    given = parser.parse_args(argv)
    _tiles.cores = lambda: 1
    cases = list(simulated(given.seeds))
    if "XSTF_TEST_DATA" in os.environ:
        cases = [*real(Path(os.environ["XSTF_TEST_DATA"])), *cases]
    done = finish([c for c in cases if given.only in c[1]], given.json)
    table = table_of(done)
    print(table)
    print(f"\n{sum(case['seconds'] for case in done.values()):.0f} CPU s")
    if given.page:
        text = Path(__file__).with_suffix(".md").read_text()
        given.page.write_text(text.replace("{table}", table))
    if given.picture:
        draw(done, given.picture)


if __name__ == "__main__":
    main()
