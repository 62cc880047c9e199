"""The command ``demo``: fusion and gap filling on the embedded scenes, tables and pictures."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import xarray as xr

import xstf
from xstf import evaluate, files, metrics, plot, scenes
from xstf.cli.arguments import Commands, on_terminal
from xstf.cli.tables import Row, sizes, table
from xstf.methods.lookup import classical_names, get_method

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = TypeVar("Result")


def add_demo(commands: Commands) -> None:
    """Add ``xstf demo``."""
    parser = commands.add_parser(
        "demo", help="both verbs on embedded scenes; leaves files, pictures"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("xstf-demo"), help="folder")
    parser.add_argument("--size", type=int, default=240, help="fine pixels a side (default 240)")
    parser.set_defaults(run=lambda arguments: run_demo(arguments.out, arguments.size))


def run_demo(out: Path, size: int) -> None:
    """Run the demo; leave cubes and pictures in a folder."""
    started = clock.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    made = [*fusion(out, size), *gap_filling(out, max(40, size // 4))]
    print()
    for what, path in made:
        print(f"{what + ':':34} {path}")
    print(f"{clock.perf_counter() - started:.0f} s in all")


# --- fusion -----------------------------------------------------------------------------------


def fusion(out: Path, size: int) -> list[tuple[str, Path]]:
    """Fuse the embedded Landsat–MODIS scene with every method."""
    scene = scenes.landsat_modis(size=size)
    fine, coarse, truth = scene.fine, scene.coarse, scene.truth
    print(f"fusion: {sizes(fine)} fine, {sizes(coarse)} coarse in another CRS")
    scores: list[Row] = []
    results: dict[str, xr.DataArray] = {}
    names = classical_names("fuse")
    for record in [*evaluate.BASELINES, *(get_method("fuse", n) for n in names)]:
        fused, seconds = _timed(
            lambda r=record: xstf.fuse(fine, coarse, method=r, progress=on_terminal())  # type: ignore[misc]
        )
        true = truth.sel(time=fused.time)
        row = [float(getattr(metrics, n)(fused, true)) for n in ("rmse", "sam", "ssim")]
        scores.append(Row(record.name, [*row, seconds]))
        results[record.name] = fused
    print(table(["method", "RMSE", "SAM (deg)", "SSIM", "seconds"], scores))
    best = min((s for s in scores if s.name in names), key=lambda s: s.values[0]).name
    chosen = xstf.fuse(fine, coarse, method=best, return_quality=get_method("fuse", best).std)
    files.save_cube(chosen, out / "fused.nc", overwrite=True)
    _fusion_picture(scene, results, best).savefig(out / "fused.png", dpi=110)
    return [
        (f"the fused cube ({best})", out / "fused.nc"),
        ("a picture of one date", out / "fused.png"),
    ]


def _timed(run: Callable[[], Result]) -> tuple[Result, float]:
    """Return a result and its seconds, compiled before."""
    run()
    start = clock.perf_counter()
    return run(), clock.perf_counter() - start


def _fusion_picture(scene: scenes.Scene, results: dict[str, xr.DataArray], best: str) -> Figure:
    fused = results[best]
    middle = int(np.argmax([_distance(date, scene.fine.time.values) for date in fused.time.values]))
    at = {"time": fused.time.values[middle]}
    nearest = int(np.abs(scene.fine.time.values - at["time"]).argmin())
    return plot.compare(
        scene.truth.sel(at),
        {f"xstf, {best}": fused.sel(at), "unchanged fine image": results["unchanged"].sel(at),
         "fine + coarse change": results["delta"].sel(at)},
        before=scene.fine.isel(time=nearest),
        coarse=scene.coarse.sel(at),
    )  # fmt: skip


def _distance(date: np.datetime64, dates: np.ndarray) -> float:
    return float(np.abs((dates - date) / np.timedelta64(1, "D")).min())


# --- gap filling ------------------------------------------------------------------------------


def gap_filling(out: Path, size: int) -> list[tuple[str, Path]]:
    """Fill the embedded Sentinel-2 scene with every method, and by default with radar."""
    scene = scenes.sentinel_1_2(size=size)
    missing = scene.cube.isnull()
    share = float(missing.mean())
    print(f"\ngap filling: {sizes(scene.cube)}, {share:.0%} missing; radar {sizes(scene.sar)}")
    scores: list[Row] = []
    for name in classical_names("gapfill"):
        if name != "auto":
            filled = scene.cube.stf.gapfill(method=name)
            scores.append(_filling_score(name, filled, scene, missing))
    filled = scene.cube.stf.gapfill(scene.sar, return_quality=True, progress=on_terminal())
    scores.append(_filling_score("auto + SAR", filled[scene.cube.name], scene, missing))
    scores.sort(key=lambda row: row.values[0])
    print(table(["method", "RMSE", "MAE", "SAM (deg)"], scores))
    files.save_cube(filled, out / "filled.nc", overwrite=True)
    _filling_pictures(scene, filled, out)
    return [
        ("the filled cube (auto, with SAR)", out / "filled.nc"),
        ("a date before and after", out / "filled.png"),
        ("a pixel's series", out / "series.png"),
    ]


def _filling_score(
    name: str, filled: xr.DataArray, scene: scenes.GapScene, missing: xr.DataArray
) -> Row:
    off = (filled - scene.truth).where(missing)
    angle = float(metrics.sam(filled.where(missing), scene.truth))
    return Row(name, [float((off**2).mean() ** 0.5), float(abs(off).mean()), angle])


def _filling_pictures(scene: scenes.GapScene, filled: xr.Dataset, out: Path) -> None:
    estimate, std = filled[scene.cube.name], filled[f"{scene.cube.name}_std"]
    missing = scene.cube.isel(band=0).isnull().mean(("y", "x"))
    half = int(abs(missing.values - 0.6).argmin())  # a date of which a good part is left
    date = scene.cube.time.values[half]
    plot.before_after(scene.cube, estimate, truth=scene.truth, time=date).savefig(
        out / "filled.png", dpi=110
    )
    change = scene.truth.sel(band="nir").std("time")
    row, col = np.unravel_index(int(change.values.argmax()), change.shape)
    at = {"y": float(change.y[row]), "x": float(change.x[col])}
    plot.series(scene.cube, estimate, std=std, truth=scene.truth, at=at, bands=["nir"]).savefig(
        out / "series.png", dpi=110
    )
