"""The paper's comparison of video transformers, and what they are worth, as Markdown tables.

``XSTF_TEST_DATA=… python asv_bench/real_video.py [compare] [spans] [others] [picture] [--seeds 3]
[--steps N] [--scenes 0] [--prior linear] [--cases …] [--methods …]``; all by default. One thread;
seconds are CPU seconds. Networks correct what ``--prior`` says. They learn on the cube itself; on
the embedded scene ``--scenes 12`` lets them learn on so many other simulated scenes instead.

``compare``
    MTS-ViT, MTS-ViViT, SMTS-ViT and SMTS-ViViT with one recipe, the same hidden pixels and the
    same seeds: the mean over seeds and, after ±, their standard deviation. Without
    ``XSTF_TEST_DATA`` on the embedded scene alone.
``spans``
    The span of tubelets beside the share of clouds, on the embedded scene.
``picture``
    A date of the embedded scene, filled by the first of ``--methods`` and by others, beside the
    truth: ``video.png``.
``others``
    The networks beside the methods that need no training. The best network is the one with
    the lowest error on what training held out.

Errors are those of pixels that no method sees: on the embedded scene (`xstf.scenes.sentinel_1_2`)
those under its clouds, on the real cubes those that the file hides.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import xstf
from xstf.methods.gapfill._prior import PRIORS
from xstf.methods.lookup import get_method
from xstf.tiles import run as _tiles

PARTS = ("compare", "spans", "others", "picture")
CASES = ("embedded", "belgium_s2 partial", "belgium_s2 full")
NETWORKS = ("mts-vit", "mts-vivit", "smts-vit", "smts-vivit")
OTHERS = ("linear", "harmonic", "gp", "eof", "auto")
SPANS, CLOUDS = (1, 2, 3, 4), (0.2, 0.5, 0.8)
SCORES = ("MSE x 1e4", "SAM", "NDVI RMSE")


def open_case(name, cloud=0.5):
    """Return a cube with holes, radar, and the truth where it is hidden from the cube."""
    if name == "embedded":
        scene = xstf.scenes.sentinel_1_2(size=60, cloud=cloud)
        return scene.cube, scene.sar, scene.truth.where(scene.cube.isnull())
    name, regime = name.split()
    folder = Path(os.environ["XSTF_TEST_DATA"]) / "gapfill"
    file = xr.open_dataset(folder / f"{name}.nc", decode_coords="all")
    sar = xr.open_dataset(folder / "belgium_s1.nc", decode_coords="all").sigma0.load()
    cube = file[f"input_{regime}"].astype("float32").load()
    return cube, sar, file.truth.where(file[f"held_{regime}"].astype(bool)).load()


def score(filled, truth):
    """Return MSE, mean spectral angle in degrees and RMSE of the NDVI where the truth is known."""
    order = ("time", "band", "y", "x")
    estimate, true = (np.asarray(c.transpose(*order), np.float64) for c in (filled, truth))
    off = (estimate - true)[np.isfinite(true)]
    if np.isnan(off).any():
        raise ValueError("a method left hidden pixels missing: their errors cannot be compared")
    whole = np.isfinite(true).all(axis=1)
    e, t = (np.moveaxis(a, 1, -1)[whole] for a in (estimate, true))
    lengths = np.linalg.norm(e, axis=1) * np.linalg.norm(t, axis=1)
    angle = np.degrees(np.arccos(np.clip((e * t).sum(axis=1) / lengths, -1, 1)))
    red, nir = (_where(truth, names) for names in (("red", "B4"), ("nir", "B8")))
    index = [(a[:, nir] - a[:, red]) / (a[:, nir] + a[:, red]) for a in (e, t)]
    ndvi = np.sqrt(np.mean((index[0] - index[1]) ** 2))
    return np.array([1e4 * np.mean(off**2), angle.mean(), ndvi])


def _where(truth, names):
    labels = [str(b) for b in truth.band.values]
    return next(labels.index(n) for n in names if n in labels)


def recipe_of(method, steps):
    """Return a network's recipe for a processor, of so many steps in all if a number is given."""
    small = get_method("gapfill", method).net.small
    if not steps:
        return small
    epochs = min(small.epochs, steps)
    return dataclasses.replace(small, epochs=epochs, steps=steps // epochs)


def training_cubes(method, case, scenes, cloud):
    """Return the cubes to learn from, with their radar if the network sees it."""
    guided = get_method("gapfill", method).guided
    if not scenes:
        return case[:2] if guided else case[:1]
    made = [xstf.scenes.sentinel_1_2(size=60, cloud=cloud, seed=100 + n) for n in range(scenes)]
    cubes = [s.cube for s in made]
    return (cubes, [s.sar for s in made]) if guided else (cubes,)


def train(method, options, seed, taught, sizes=None):
    """Return a trained network."""
    return xstf.train.fit(
        method, *taught, recipe=recipe_of(method, options.steps), prior=options.prior, sizes=sizes,
        seed=seed, device="cpu",
    )  # fmt: skip


def train_and_fill(method, case, options, seed, taught, sizes=None):
    """Return the scores on hidden pixels, the error on held-out dates and two times."""
    cube, sar, truth = case
    given = (cube, sar) if get_method("gapfill", method).guided else (cube,)
    start = time.process_time()
    fitted = train(method, options, seed, taught, sizes)
    trained = time.process_time()
    path = fitted.save(f"{method}.safetensors")
    filled = xstf.gapfill(*given, method=method, weights=path, device="cpu")
    spent = time.process_time()
    path.unlink()
    return score(filled, truth), fitted.scores["mae"], trained - start, spent - trained


def over_seeds(method, name, case, options, sizes=None, cloud=0.5):
    """Return scores ``(seed, score)``, errors on held-out dates and mean times, ``(2,)``."""
    taught = training_cubes(method, case, options.scenes if name == "embedded" else 0, cloud)
    runs = [
        train_and_fill(method, case, options, seed, taught, sizes) for seed in range(options.seeds)
    ]
    scores, held, *times = (np.array(column) for column in zip(*runs, strict=True))
    return scores, held, np.mean(times, axis=1)


def text(scores, digits=(3, 2, 4)):
    """Return cells of mean and spread."""
    mean, spread = scores.mean(axis=0), scores.std(axis=0, ddof=1 if len(scores) > 1 else 0)
    cells = (f"{m:.{d}f} ± {s:.{d}f}" for m, s, d in zip(mean, spread, digits, strict=True))
    return " | ".join(cells)


def head(*columns):
    print("", f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|", sep="\n", flush=True)


def compare(options):
    """Print the paper's comparison; the last column is beside the network of one date a token."""
    head("case", "method", *SCORES, "training s", "filling s", "MSE beside its ViT")
    for name in options.cases:
        case = open_case(name)
        mses = {}
        for method in options.methods:
            scores, _, times = over_seeds(method, name, case, options)
            mses[method] = scores[:, 0].mean()
            plain = mses.get(method.replace("vivit", "vit"))
            beside = f"{100 * (mses[method] / plain - 1):+.2f} %" if plain else ""
            print(
                f"| {name} | {method} | {text(scores)} | {times[0]:.0f} | {times[1]:.1f} "
                f"| {beside} |", flush=True,
            )  # fmt: skip


def spans(options):
    """Print the ablation over the span of tubelets and the share of clouds."""
    head("clouds", "method", "span", *SCORES, "training s", "filling s")
    for cloud in CLOUDS:
        case = open_case("embedded", cloud)
        for method in [m for m in options.methods if m.endswith("vivit")]:
            for span in SPANS:
                scores, _, times = over_seeds(
                    method, "embedded", case, options, {"span": span}, cloud
                )
                print(
                    f"| {cloud} | {method} | {span} | {text(scores)} | {times[0]:.0f} "
                    f"| {times[1]:.1f} |", flush=True,
                )  # fmt: skip


def others(options):
    """Print the best network beside methods that need no training."""
    head("case", "method", *SCORES, "training s", "filling s")
    for name in options.cases:
        case = cube, sar, truth = open_case(name)
        for method in OTHERS:
            for given in [None, sar] if get_method("gapfill", method).guided else [None]:
                filled, seconds = _timed(cube, given, method)
                label = method if given is None else f"{method} + SAR"
                cells = " | ".join(
                    f"{v:.{d}f}" for v, d in zip(score(filled, truth), (3, 2, 4), strict=True)
                )
                print(f"| {name} | {label} | {cells} | | {seconds:.1f} |", flush=True)
        tried = [(m, *over_seeds(m, name, case, options)) for m in options.methods]
        method, scores, _, times = min(tried, key=lambda found: found[2].mean())
        print(
            f"| {name} | {method} | {text(scores)} | {times[0]:.0f} | {times[1]:.1f} |", flush=True
        )


def picture(options):
    """Draw a date that is half clear."""
    case = cube, sar, truth = open_case("embedded")
    scene = xstf.scenes.sentinel_1_2(size=60)
    taught = training_cubes(options.methods[0], case, options.scenes, 0.5)
    path = train(options.methods[0], options, 0, taught).save("picture.safetensors")
    network = {"method": options.methods[0], "weights": path, "device": "cpu"}
    given = (sar,) if get_method("gapfill", options.methods[0]).guided else ()
    filled = {
        "linear": xstf.gapfill(cube, method="linear"),
        network["method"]: xstf.gapfill(cube, *given, **network),
        "auto": xstf.gapfill(cube, sar, method="auto"),
    }
    path.unlink()
    missing = cube.isnull().all("band").mean(("y", "x"))
    date = {"time": [int(abs(missing - 0.5).values.argmin())]}
    shown = {title: c.isel(date) for title, c in filled.items()}
    drawn = ["nir", "red", "green"]
    axes = xstf.plot.compare(scene.truth.isel(date), shown, bands=drawn)
    xstf.plot.save(axes, "video.png", width=1000, colours=200)


def _timed(cube, sar, method):
    for _ in range(2):  # the first compiles
        start = time.process_time()
        filled = xstf.gapfill(cube, sar, method=method)
        seconds = time.process_time() - start
    return filled, seconds


def main():
    """Read what is asked for and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", choices=PARTS, default=PARTS, metavar="part")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=0, help="to learn from, embedded; 0: itself")
    parser.add_argument("--prior", choices=PRIORS, default="linear")
    parser.add_argument("--steps", type=int, default=0, help="in all; 0: the recipe's")
    known = CASES if os.environ.get("XSTF_TEST_DATA") else CASES[:1]
    parser.add_argument("--cases", nargs="+", choices=known, default=known)
    parser.add_argument("--methods", nargs="+", choices=NETWORKS, default=NETWORKS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    _tiles.cores = lambda: 1
    for part in options.parts:
        print(f"\n### {part}")
        globals()[part](options)


if __name__ == "__main__":
    main()
