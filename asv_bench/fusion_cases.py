"""Error of fusion beside the best trivial way, on simulated scenes, as a Markdown table.

``python asv_bench/fusion_cases.py``: RMSE / that of the best of the trivial ways (the fine image
unchanged, two images interpolated in time, fine + coarse change) for the scene, which no method can
know; the geometric mean over seeds. ``--all`` prints each ratio and method, ``--seeds``,
``--ratios``, ``--kinds`` and ``--methods`` choose. Land is that of `xstf.scenes.landsat_modis`, red
and nir; coarse images are seen through a point spread one coarse pixel wide, with noise .002.
"""

from __future__ import annotations

import argparse
import time
from functools import lru_cache

import numpy as np

import xstf
from xstf import evaluate, scenes, simulate
from xstf.tiles import run as _tiles

SIZES = {2: 56, 3: 72, 8: 96, 16: 144, 33: 264}  # fine pixels a side: 28 to 8 coarse ones
USUAL = (2, 8, 16, 33)
NOISE = 0.002  # reflectance
SPRING, SUMMER = (1, 3, 5), (7, 9, 11)  # dates of the scene: pair, target, pair
KINDS = {
    "phenology": ((), SPRING),
    "flood": ("flood", SUMMER),
    "harvest": ("harvest", SUMMER),
    "useless coarse": ((), SPRING),
    "moved by a coarse pixel": ((), SPRING),
    "other gain and offset": ((), SPRING),
    "hazy target": ((), SPRING),
    "gain of the target": ((), SPRING),
    "offset of the target": ((), SPRING),
}
METHODS = ("auto", "fsdaf", "starfm")
TRIVIAL = ("unchanged", "in time", "fine + change")


@lru_cache(maxsize=8)
def land(size, events, seed):
    """Return the truth of all dates, red and nir."""
    made = scenes.landsat_modis(size=size, seed=seed, events=events)
    return made.truth.sel(band=["red", "nir"])


def case(kind, ratio, seed):
    """Return the fine images before and after, three coarse ones, and the truth of the second."""
    events, dates = KINDS[kind]
    truth = land(SIZES[ratio], events, seed).isel(time=list(dates))
    seen = truth
    if kind == "useless coarse":  # another world
        seen = land(SIZES[ratio], events, seed + 1000).isel(time=list(dates))
    coarse = simulate.degrade(seen, ratio, noise=NOISE, seed=seed)
    if kind == "moved by a coarse pixel":
        coarse = coarse.copy(data=coarse.values[..., np.r_[0, : coarse.sizes["x"] - 1]])
    if kind == "other gain and offset":
        coarse = 1.2 * coarse + 0.02
    if kind == "hazy target":  # a veil over two fifths of it
        veil = 0.3 * simulate.clouds(coarse[1], 0.4, seed=seed, size=coarse.sizes["x"] / 3)
        coarse = coarse.where(coarse.time != coarse.time[1], (1 - veil) * coarse + 0.4 * veil)
    sign = 1 if seed % 2 else -1
    if kind == "gain of the target":  # its calibration alone
        coarse = coarse.where(coarse.time != coarse.time[1], (1 + 0.1 * sign) * coarse)
    if kind == "offset of the target":
        coarse = coarse.where(coarse.time != coarse.time[1], coarse + 0.02 * sign)
    return truth.isel(time=[0, 2]), coarse.transpose(*truth.dims), truth[1]


def rmse(estimate, truth):
    """Return the root mean square error, the mean over bands."""
    square = (estimate.drop_vars("time", errors="ignore") - truth.drop_vars("time")) ** 2
    return float(np.sqrt(square.mean(("y", "x"))).mean())


def fused(known, coarse, truth, method, **options):
    """Return what a method makes of a case."""
    made = xstf.fuse(known, coarse, method=method, time=truth.time.values, **options)
    return made.isel(time=0)


def trivial(known, coarse, truth):
    """Return the errors of the trivial ways, as TRIVIAL; the second is infinite with one image."""
    raw = {"register": False, "change": "raw"}
    delta = fused(known, coarse, truth, evaluate.BASELINES[1], **raw)
    first, last = known[0], known[-1]
    whole, part = (d.time.values - first.time.values for d in (last, truth))
    between = np.inf
    if known.sizes["time"] > 1:
        share = float(part / whole)
        between = rmse((1 - share) * first + share * last.drop_vars("time"), truth)
    return rmse(first, truth), between, rmse(delta, truth)


def measured(kinds, ratios, seeds, methods, counts=(1, 2)):
    """Return errors {(kind, ratio, pairs): (seed, way)}, trivial ways first."""
    found = {}
    for ratio in ratios:
        for seed in seeds:
            for kind in kinds:
                fine, coarse, truth = case(kind, ratio, seed)
                for pairs in counts:
                    known = fine.isel(time=slice(pairs))
                    row = list(trivial(known, coarse, truth))
                    row += [rmse(fused(known, coarse, truth, m), truth) for m in methods]
                    found.setdefault((kind, ratio, pairs), []).append(row)
    return {key: np.array(rows) for key, rows in found.items()}


def beside_best(errors):
    """Return errors (seed, method) over those of the best trivial way."""
    return errors[:, len(TRIVIAL) :] / errors[:, : len(TRIVIAL)].min(axis=1, keepdims=True)


def mean(ratios):
    """Return the geometric mean."""
    return float(np.exp(np.log(ratios).mean()))


def print_short(found, kinds, ratios, methods):
    """Print the first method by ratio, and the others over all ratios."""
    for pairs in (1, 2):
        names = [f"`{methods[0]}` at ratio {r}" if r == ratios[0] else str(r) for r in ratios]
        names += [f"`{m}`, all ratios" for m in methods]
        print(f"\n| {'one pair' if pairs == 1 else 'two pairs'} | " + " | ".join(names) + " |")
        print("| --- |" + " --- |" * len(names))
        for kind in kinds:
            by_ratio = [beside_best(found[kind, r, pairs]) for r in ratios]
            cells = [mean(b[:, 0]) for b in by_ratio]
            cells += [mean(np.concatenate(by_ratio)[:, m]) for m in range(len(methods))]
            print(f"| {kind} | " + " | ".join(f"{c:.2f}" for c in cells) + " |")


def print_all(found, methods):
    """Print each case: errors of the trivial ways, then of the methods beside the best of them."""
    names = [*TRIVIAL, *(f"{m} / best trivial" for m in methods), f"worst seed of {methods[0]}"]
    print("\n| case | ratio | pairs | " + " | ".join(names) + " |")
    print("| --- |" + " --- |" * (len(names) + 2))
    for (kind, ratio, pairs), errors in sorted(found.items()):
        simple = [mean(errors[:, i]) for i in range(len(TRIVIAL))]
        cells = ["–" if np.isinf(e) else f"{e:.4f}" for e in simple]
        beside = beside_best(errors)
        cells += [f"{mean(beside[:, m]):.3f}" for m in range(len(methods))]
        cells.append(f"{beside[:, 0].max():.3f}")
        print(f"| {kind} | {ratio} | {pairs} | " + " | ".join(cells) + " |")


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--ratios", type=int, nargs="+", default=list(USUAL), choices=list(SIZES))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--all", action="store_true", help="each ratio and method")
    given = parser.parse_args(argv)
    _tiles.cores = lambda: 1
    start = time.process_time()
    found = measured(given.kinds, given.ratios, given.seeds, given.methods)
    print_short(found, given.kinds, given.ratios, given.methods)
    if given.all:
        print_all(found, given.methods)
    print(f"\n{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
