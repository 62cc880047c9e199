"""How often 90 % intervals of filled values hold the truth, as a Markdown table and a picture.

``XSTF_TEST_DATA=… python asv_bench/gapfill_intervals.py [picture.png]``: every method that gives a
standard deviation, on the real cubes (Belgium, Slovenia, a field in Spain; parts of dates hidden,
the same place for weeks, whole dates) and on missing pixels of simulated series (seeds 1 to 8: of
50 dates and one percent of haze, or of 16 dates and four percent). Takes about six minutes on one
core.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr

import xstf
from xstf.methods.lookup import classical_names
from xstf.numerics.normal import Z90

mpl.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(os.environ["XSTF_TEST_DATA"]) / "gapfill"
SEEDS, SIZE, SHORT = range(1, 9), 32, slice(12, 28)
HAZE = (0.04, 0.01)  # of even and odd seeds
ORDER = ("auto", "regression", "eof", "mnspi", "hybrid", "harmonic", "gp", "linear", "whittaker")
KINDS = {
    "real, partly clear": "#1b6ca8", "real, lost dates": "#7fb3d5",
    "simulated, partly clear": "#b8501f", "simulated, lost dates": "#e5a07a",
}  # fmt: skip


def real_cases():
    """Yield name, kind, cube with holes, truth, and what of it is hidden."""
    for name, regimes in (
        ("belgium_s2", ("partial", "full")), ("belgium_s2_long", ("full",)),
        ("slovenia_ndvi", ("partial", "persistent", "full")),
    ):  # fmt: skip
        with xr.open_dataset(FOLDER / f"{name}.nc", decode_coords="all") as file:
            part = slice(25, 75) if name == "slovenia_ndvi" else slice(None)
            cubes = file.isel(y=part, x=part).load()
        for regime in regimes:
            held = cubes[f"held_{regime}"].astype(bool)
            yield f"{name} {regime}", kind_of("real", regime), cubes[f"input_{regime}"], (
                cubes.truth, held,
            )  # fmt: skip
    with xr.open_dataset(FOLDER / "spain_field_s2.nc", decode_coords="all") as file:
        field = file.load()
    ndvi = field.NDVI.where(~xstf.masks.scl(field.SCL)).rename(t="time")
    for regime in ("partial", "persistent", "full"):
        holed, held = xstf.simulate.transplant_mask(ndvi, regime=regime, days=25, seed=1)
        yield f"spain {regime}", kind_of("real", regime), holed, (ndvi, held & ndvi.notnull())


def simulated_cases():
    """Yield the same of simulated series, of partly clear and of lost dates apart."""
    for seed in SEEDS:
        scene = xstf.scenes.sentinel_1_2(size=SIZE, seed=seed, haze=HAZE[seed % 2])
        part = slice(None) if seed % 2 else SHORT
        cube, truth = scene.cube.isel(time=part), scene.truth.isel(time=part)
        gone = cube.isnull().any("band")
        lost = gone.mean(("y", "x")) > 0.999
        for regime, held in (("partial", gone & ~lost), ("full", gone & lost)):
            if held.any():
                yield f"seed {seed} {regime}", kind_of("simulated", regime), cube, (truth, held)


def kind_of(source, regime):
    """Return the kind of a case."""
    return f"{source}, {'lost dates' if regime == 'full' else 'partly clear'}"


def covered(filled, truth, held):
    """Return the share of hidden values that lie within their 90 % intervals."""
    name = next(v for v in filled.data_vars if v.endswith("_std"))
    off = np.abs(filled[name.removesuffix("_std")] - truth).where(held)
    inside = (off <= Z90 * filled[name]) & off.notnull()
    return float(inside.sum() / off.notnull().sum())


def measure(methods):
    """Return what each method covers, by case; and the kind of each case."""
    found, kinds, filled = {}, {}, (None, {})
    for name, kind, cube, (truth, held) in [*real_cases(), *simulated_cases()]:
        if filled[0] is not cube:
            filled = cube, {m: cube.stf.gapfill(method=m, return_quality=True) for m in methods}
        kinds[name] = kind
        found[name] = {m: covered(filled[1][m], truth, held) for m in methods}
        print(name, found[name], file=sys.stderr, flush=True)
    return found, kinds


def table(found, kinds, methods):
    """Print a row for each real case, and mean and range of each kind of simulated ones."""
    print("| | " + " | ".join(f"`{m}`" for m in methods) + " |")
    print("| --- |" + " --- |" * len(methods))
    for name, row in found.items():
        if kinds[name].startswith("real"):
            print(f"| {name} | " + " | ".join(f"{row[m]:.2f}" for m in methods) + " |")
    for kind in KINDS:
        if kind.startswith("simulated"):
            rows = [found[n] for n in found if kinds[n] == kind]
            each = [[row[m] for row in rows] for m in methods]
            cells = (f"{np.mean(c):.2f} ({min(c):.2f}–{max(c):.2f})" for c in each)
            print(f"| {kind} | " + " | ".join(cells) + " |")


def picture(found, kinds, methods, path):
    """Draw a dot for each method and case, the means as lines, the goal shaded."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.axhspan(0.85, 0.95, color="0.92", zorder=0)
    axes.axhline(0.9, color="0.5", lw=0.8, zorder=1)
    for i, (kind, color) in enumerate(KINDS.items()):
        for x, method in enumerate(methods):
            values = [found[n][method] for n in found if kinds[n] == kind]
            place = x + 0.2 * (i - 1.5)
            axes.scatter([place] * len(values), values, 12, color, alpha=0.7, lw=0)
            axes.hlines(np.mean(values), place - 0.08, place + 0.08, color, lw=2)
        axes.scatter([], [], 20, color, label=kind)
    low = min(min(row.values()) for row in found.values())
    axes.set(ylim=(min(low - 0.03, 0.68), 1.01), ylabel="share within 90 % intervals")
    axes.set_xticks(range(len(methods)), methods)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def main(path):
    """Print the table, and draw the picture where a path is given."""
    able = {n for n in classical_names("gapfill") if xstf.get_method("gapfill", n).std}
    methods = [m for m in ORDER if m in able] + sorted(able - set(ORDER))
    found, kinds = measure(methods)
    table(found, kinds, methods)
    if path:
        picture(found, kinds, methods, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
