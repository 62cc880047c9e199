"""What ``demo`` does: each verb on an embedded scene, scored against the truth of that."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xstf
from xstf import evaluate, files, metrics, plot, scenes
from xstf._method import Task
from xstf.cli.tables import Row, sizes, table
from xstf.cli.telling import Outcome, bar_wanted
from xstf.files.beside import check_place
from xstf.methods.lookup import classical_names, get_method

# Compiling every method for the first time takes minutes, however small the scene. These are soon
# ready; but for gap filling and fusion they have among them what the verb does by default.
_USUAL: dict[Task, tuple[str, ...]] = {
    "fuse": ("fitfc", "fsdaf"),
    "gapfill": ("nearest", "linear", "eof"),
    "sharpen_spectral": ("sfim", "gsa", "auto"),
}
_LATER = (
    "auto, what gapfill does by default, blends more methods and takes radar; compiling them takes "
    "most of a minute the first time: xstf demo --all has it\n"
)
_FILES = (
    "fine.nc", "coarse.nc", "fused.nc", "fused.png", "cloudy.nc", "filled.nc", "filled.png",
    "series.png", "uncertainty.png", "sharpened.nc", "sharpened.png",
)  # fmt: skip
_PAGE: dict[str, int] = {"width": 1000, "colours": 200}  # of pictures for a page 700 pixels wide
# What a table's numbers are, in a sentence each.
_FUSION_WORDS = (
    "RMSE is the typical error of a pixel, in reflectance (0 black, 1 white). SAM is the angle\n"
    "between estimated and true spectra: at 0 colours are alike. SSIM is how alike details are:\n"
    "1 at best. `unchanged` (the nearest fine image) and `delta` (that plus the coarse change)\n"
    "are the trivial ways that a method has to beat."
)
_FILLING_WORDS = (
    "All three are of pixels under clouds alone, whose truth only a made scene has: RMSE is the\n"
    "typical, MAE the mean error in reflectance, SAM the error in colour."
)
_SHARPENING_WORDS = (
    "RMSE is the typical error in reflectance over all bands, SAM the angle between estimated and\n"
    "true spectra: what a map of minerals or crops is made from."
)


@dataclass(frozen=True)
class Part:
    """One verb's part of the demo.

    Parameters
    ----------
    text
        What is printed.
    rows
        A method's name and its errors.
    head
        What these are.
    made
        What is in which file.
    words
        What these errors mean.
    note
        What to know of it.
    """

    text: str
    head: tuple[str, ...]
    rows: list[Row]
    made: list[tuple[str, Path]]
    words: str
    note: str = ""

    def __str__(self) -> str:
        shown = table(["method", *self.head], self.rows)
        return f"{self.text}\n{shown}\n{self.words}\n{self.note}"


def run_demo(arguments: argparse.Namespace) -> Outcome:
    """Run the demo; leave cubes and pictures in a folder."""
    started = clock.perf_counter()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        check_place(out / name, overwrite=True)
    parts = []
    for part in _parts(arguments, out):
        parts.append(part)
        if not arguments.json:
            print(part, flush=True)
    made = [one for part in parts for one in part.made]
    seconds = clock.perf_counter() - started
    lines = [f"{what + ':':46} {path}" for what, path in made]
    scores = {
        verb: [{"method": r.name, **dict(zip(p.head, r.values, strict=True))} for r in p.rows]
        for verb, p in zip(("fuse", "gapfill", "sharpen_spectral"), parts, strict=True)
    }
    following = what_next(out)
    data = {
        "scores": scores, "files": [path for _, path in made], "seconds": round(seconds, 1),
        "next": [command for _, command in following],
    }  # fmt: skip
    lines += [f"{seconds:.0f} s in all", "", "What next:"]
    lines += [f"  {command}\n      {what}" for what, command in following]
    return Outcome("\n".join(lines), data)


def what_next(out: Path) -> list[tuple[str, str]]:
    """Return three commands that go on with the demo's files, each after what it does."""
    words = "xstf" if shutil.which("xstf") else f"{os.path.relpath(sys.executable)} -m xstf"
    return [
        (
            "which method for these images? hides a date that is known",
            f"{words} evaluate fuse {out / 'fine.nc'} {out / 'coarse.nc'} --methods fitfc fsdaf",
        ),
        (
            "fills the clouds another way, with a picture",
            f"{words} gapfill {out / 'cloudy.nc'} -o {out / 'mine.nc'} --method linear "
            f"--quicklook {out / 'mine.png'} --overwrite",
        ),
        (
            "what fusing would do, before it does it: put your own files here",
            f"{words} plan {out / 'fine.nc'} {out / 'coarse.nc'}",
        ),
    ]


def _parts(arguments: argparse.Namespace, out: Path) -> Iterator[Part]:
    names = {
        task: classical_names(task) if arguments.all else [*usual] for task, usual in _USUAL.items()
    }
    size, progress = arguments.size or (240 if arguments.all else 120), bar_wanted(arguments)
    yield fusion(out, names["fuse"], size, progress)
    yield filling(out, names["gapfill"], max(40, size // 4), progress)
    yield sharpening(out, names["sharpen_spectral"], max(48, size // 20 * 8), progress)


# --- fusion -----------------------------------------------------------------------------------


def fusion(out: Path, names: Sequence[str], size: int, progress: bool) -> Part:
    """Fuse the embedded Landsat–MODIS scene."""
    scene = scenes.landsat_modis(size=size)
    fine, coarse = scene.fine, scene.coarse
    rows, results = [], {}
    for record in [*evaluate.BASELINES, *(get_method("fuse", name) for name in names)]:
        fused = xstf.fuse(fine, coarse, method=record, return_quality=record.std, progress=progress)
        estimate = fused[str(fine.name)] if isinstance(fused, xr.Dataset) else fused
        true = scene.truth.sel(time=estimate.time)
        scores = [float(getattr(metrics, n)(estimate, true)) for n in ("rmse", "sam", "ssim")]
        rows.append(Row(record.name, scores))
        results[record.name] = (fused, estimate)
    best = min((row for row in rows if row.name in names), key=lambda row: row.values[0]).name
    for cube, name in ((fine, "fine"), (coarse, "coarse"), (results[best][0], "fused")):
        files.save_cube(cube, out / f"{name}.nc", overwrite=True)
    estimates = {name: estimate for name, (_, estimate) in results.items()}
    plot.save(_fusion_picture(scene, estimates, best), out / "fused.png", **_PAGE)
    made = [
        ("the fine images", out / "fine.nc"),
        ("the coarse images", out / "coarse.nc"),
        (f"sharp images on the coarse dates ({best})", out / "fused.nc"),
        ("one of them beside the truth", out / "fused.png"),
    ]
    text = f"fusion: {sizes(fine)} fine, {sizes(coarse)} coarse in another CRS"
    return Part(text, ("RMSE", "SAM (deg)", "SSIM"), rows, made, _FUSION_WORDS)


def _fusion_picture(scene: scenes.Scene, results: dict[str, xr.DataArray], best: str) -> np.ndarray:
    fused, dates = results[best], scene.fine.time.values
    between = fused.time.values[(fused.time.values > dates[0]) & (fused.time.values < dates[-1])]
    middle = int(np.argmax([_distance(date, dates) for date in between]))
    at = {"time": between[middle]}
    nearest = int(np.abs(dates - at["time"]).argmin())
    return plot.compare(
        scene.truth.sel(at),
        {f"xstf: {best}": fused.sel(at), "unchanged": results["unchanged"].sel(at),
         "fine + coarse change": results["delta"].sel(at)},
        before=scene.fine.isel(time=nearest),
        coarse=scene.coarse.sel(at),
    )  # fmt: skip


def _distance(date: np.datetime64, dates: np.ndarray) -> float:
    return float(np.abs((dates - date) / np.timedelta64(1, "D")).min())


# --- gap filling ------------------------------------------------------------------------------


def filling(out: Path, names: Sequence[str], size: int, progress: bool) -> Part:
    """Fill the embedded Sentinel-2 scene; with radar where auto is among the methods."""
    scene = scenes.sentinel_1_2(size=size)
    missing = scene.cube.isnull()
    chosen = "auto" if "auto" in names else "eof"
    rows = [
        _filling_row(name, xstf.gapfill(scene.cube, method=name), scene, missing)
        for name in names
        if name != chosen
    ]
    sar = scene.sar if chosen == "auto" else None
    # Haze that the cloud mask missed is replaced, too: kept, it looks like a fault of the filling.
    filled = xstf.gapfill(
        scene.cube, sar, method=chosen, return_quality=True, screen="replace", progress=progress
    )
    title = chosen if sar is None else f"{chosen} + SAR"
    rows.append(_filling_row(title, filled[scene.cube.name], scene, missing))
    rows.sort(key=lambda row: row.values[0])
    files.save_cube(scene.cube, out / "cloudy.nc", overwrite=True)
    files.save_cube(filled, out / "filled.nc", overwrite=True)
    _filling_pictures(scene, filled, out)
    made = [
        ("the cube with clouds", out / "cloudy.nc"),
        (f"filled, with standard deviation and flag ({title})", out / "filled.nc"),
        ("a date before and after", out / "filled.png"),
        ("a pixel's series with its 90 % interval", out / "series.png"),
        ("how sure, and made of what", out / "uncertainty.png"),
    ]
    share = float(missing.mean())
    text = f"gap filling: {sizes(scene.cube)}, {share:.0%} missing"
    if sar is not None:
        text += f"; radar {sizes(sar)}"
    note = "" if chosen == "auto" else _LATER
    return Part(text, ("RMSE", "MAE", "SAM (deg)"), rows, made, _FILLING_WORDS, note)


def _filling_row(
    name: str, filled: xr.DataArray, scene: scenes.GapScene, missing: xr.DataArray
) -> Row:
    off = (filled - scene.truth).where(missing)
    angle = float(metrics.sam(filled.where(missing), scene.truth))
    return Row(name, [float((off**2).mean() ** 0.5), float(abs(off).mean()), angle])


def _filling_pictures(scene: scenes.GapScene, filled: xr.Dataset, out: Path) -> None:
    estimate, std = filled[scene.cube.name], filled[f"{scene.cube.name}_std"]
    missing = scene.cube.isel(band=0).isnull().mean(("y", "x"))
    half = int(np.abs(missing.values - 0.6).argmin())  # a date of which a good part is left
    date = scene.cube.time.values[half]
    change = scene.truth.sel(band="nir").std("time")
    row, col = np.unravel_index(int(change.values.argmax()), change.shape)
    at = {"y": float(change.y[row]), "x": float(change.x[col])}
    pictures = {
        "filled": plot.before_after(scene.cube, estimate, scene.truth, time=date),
        "series": plot.series(
            scene.cube, estimate, std=std, truth=scene.truth, at=at, bands=["nir"]
        ),
        "uncertainty": plot.uncertainty(filled, time=date),
    }
    for name, axes in pictures.items():
        plot.save(axes, out / f"{name}.png", **_PAGE)


# --- sharpening -------------------------------------------------------------------------------


def sharpening(out: Path, names: Sequence[str], size: int, progress: bool) -> Part:
    """Sharpen the embedded hyperspectral scene by its multispectral partner."""
    scene = scenes.hyperspectral(size=size)
    rows, results = [], {}
    for name in names:
        made = xstf.sharpen_spectral(scene.spectral, scene.spatial, method=name, progress=progress)
        scores = [float(getattr(metrics, n)(made, scene.truth)) for n in ("rmse", "sam")]
        rows.append(Row(name, scores))
        results[name] = made
    best = min(rows, key=lambda row: row.values[0]).name
    files.save_cube(results[best], out / "sharpened.nc", overwrite=True)
    plot.save(_sharpening_picture(scene, results[best], best), out / "sharpened.png", **_PAGE)
    text = f"sharpening: {sizes(scene.spectral)} by {sizes(scene.spatial)}"
    files_made = [
        (f"many bands on small pixels ({best})", out / "sharpened.nc"),
        ("three of them beside the truth", out / "sharpened.png"),
    ]
    return Part(text, ("RMSE", "SAM (deg)"), rows, files_made, _SHARPENING_WORDS)


def _sharpening_picture(scene: scenes.SpectralScene, made: xr.DataArray, name: str) -> np.ndarray:
    """Draw near infrared, red and green: blurred, sharpened and true."""
    waves = scene.truth["wavelength"].values
    bands: list[Any] = [
        scene.truth["band"].values[int(np.abs(waves - nm).argmin())] for nm in (860, 665, 560)
    ]
    nearest = scene.spectral.interp(y=made.y, x=made.x, method="nearest")
    return plot.compare(
        scene.truth, {f"xstf: {name}": made, "pixels as they were": nearest}, bands=bands
    )
