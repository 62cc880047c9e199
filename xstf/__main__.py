"""The command line: ``python -m xstf`` and ``xstf``."""

from __future__ import annotations

import argparse
import json
import sys
import time as clock
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xstf
from xstf import api, evaluate, files, metrics, plot, scenes
from xstf._method import TASKS, get_method, method_names

_ERRORS = (ValueError, TypeError, ImportError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 after an error in one line on stderr (2: wrong usage)."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except _ERRORS as error:
        if arguments.debug:
            raise
        print(f"xstf: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xstf", description=xstf.__doc__)
    parser.add_argument("--version", action="version", version=f"xstf {xstf.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="fuse the embedded scene; leave a file and a picture")
    demo.add_argument("-o", "--out", type=Path, default=Path("xstf-demo"), help="folder")
    demo.add_argument("--size", type=int, default=240, help="fine pixels a side (default 240)")
    demo.set_defaults(run=_demo)

    methods = commands.add_parser("methods", help="list the methods")
    methods.add_argument("task", nargs="?", choices=TASKS)
    methods.set_defaults(run=_methods)

    fuse = commands.add_parser("fuse", help="sharp images on the dates of blurred ones")
    _cube_arguments(fuse)
    fuse.add_argument("-o", "--out", type=Path, required=True, help=".nc file or .zarr store")
    fuse.add_argument("--method", default="auto")
    fuse.add_argument("--time", nargs="+", metavar="DATE", help="dates wanted (default: all)")
    fuse.add_argument("--engine")
    fuse.add_argument("--quality", action="store_true", help="standard deviation and flag too")
    fuse.add_argument("--chunks", type=int, help="read, fuse and write in chunks of this side")
    fuse.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="of the method"
    )
    fuse.set_defaults(run=_fuse)

    score = commands.add_parser("evaluate", help="hide a fine date, predict it, score every method")
    _cube_arguments(score)
    score.add_argument("--methods", nargs="+", metavar="NAME")
    score.add_argument("--time", nargs="+", metavar="DATE", help="fine dates to hide")
    score.add_argument("-o", "--out", type=Path, help="write the scores to a .nc file")
    score.set_defaults(run=_evaluate)
    return parser


def _cube_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fine", type=Path, help=".nc, .zarr, or a folder of dated GeoTIFFs")
    parser.add_argument("coarse", type=Path)
    parser.add_argument("--variable", help="of both files (default: the only one)")
    parser.add_argument("--pair-tolerance", default="1D")
    parser.add_argument("--coarse-resolution", type=float)


# --- commands ---------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> None:
    started = clock.perf_counter()
    scene = scenes.landsat_modis(size=arguments.size)
    fine, coarse, truth = scene.fine, scene.coarse, scene.truth
    _say(f"scene: {_sizes(fine)} fine, {_sizes(coarse)} coarse in another CRS")
    scores: list[tuple[Any, ...]] = []
    results: dict[str, Any] = {}
    for record in [*evaluate.BASELINES, *(get_method("fuse", n) for n in method_names("fuse"))]:
        api.fuse(fine, coarse, method=record, time=truth.time[1])  # compile first, then time
        start = clock.perf_counter()
        fused = api.fuse(fine, coarse, method=record, progress=sys.stderr.isatty())
        seconds = clock.perf_counter() - start
        true = truth.sel(time=fused.time)
        row = {n: float(getattr(metrics, n)(fused, true)) for n in ("rmse", "sam", "ssim")}
        scores.append((record.name, row["rmse"], row["sam"], row["ssim"], seconds))
        results[record.name] = fused
    print(_table(["method", "RMSE", "SAM (deg)", "SSIM", "seconds"], scores))
    best = min((s for s in scores if s[0] in method_names("fuse")), key=lambda s: s[1])[0]
    arguments.out.mkdir(parents=True, exist_ok=True)
    fused = api.fuse(fine, coarse, method=best, return_quality=get_method("fuse", best).std)
    files.save_cube(fused, arguments.out / "fused.nc")
    picture = _demo_picture(scene, results, best)
    picture.savefig(arguments.out / "fused.png", dpi=110)
    print(
        f"\nthe fused cube ({best}): {arguments.out / 'fused.nc'}"
        f"\na picture of one date:  {arguments.out / 'fused.png'}"
        f"\n{clock.perf_counter() - started:.0f} s in all"
    )


def _demo_picture(scene: scenes.Scene, results: dict[str, Any], best: str) -> Any:
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


def _methods(arguments: argparse.Namespace) -> None:
    for task in [arguments.task] if arguments.task else TASKS:
        for name in method_names(task):
            record = get_method(task, name)
            print(f"{task:16} {name:12} {record.summary}")


def _fuse(arguments: argparse.Namespace) -> None:
    fine, coarse = _open(arguments, arguments.chunks)
    fused = api.fuse(
        fine, coarse, method=arguments.method, time=arguments.time, engine=arguments.engine,
        pair_tolerance=arguments.pair_tolerance, coarse_resolution=arguments.coarse_resolution,
        return_quality=arguments.quality, progress=sys.stderr.isatty(),
        **_params(arguments.param),
    )  # fmt: skip
    files.save_cube(fused, arguments.out)
    _say(f"{_sizes(fused)} → {arguments.out}")


def _evaluate(arguments: argparse.Namespace) -> None:
    fine, coarse = _open(arguments, None)
    scores = evaluate.evaluate_fusion(
        fine, coarse, methods=arguments.methods, time=arguments.time,
        pair_tolerance=arguments.pair_tolerance, coarse_resolution=arguments.coarse_resolution,
    )  # fmt: skip
    for date in scores.time.values:
        print(f"\nhidden: {np.datetime64(date, 'D')}")
        print(_score_table(scores.sel(time=date)))
    if arguments.out:
        files.save_cube(scores, arguments.out)


# --- pieces -----------------------------------------------------------------------------------


def _score_table(scores: xr.Dataset) -> str:
    names = [n for n in ("rmse", "mae", "bias", "cc", "ssim", "sam", "seconds") if n in scores]
    rows: list[tuple[Any, ...]] = []
    for method in scores.method.values:
        one = scores.sel({"method": method})
        rows.append((str(method), *(float(one[n].mean()) for n in names)))
    rows.sort(key=lambda row: row[1])
    return _table(["method", *names], rows)


def _table(head: list[str], rows: list[Any]) -> str:
    cells = [head, *([r[0], *(_number(v) for v in r[1:])] for r in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.5f}"


def _open(arguments: argparse.Namespace, chunks: int | None) -> tuple[Any, Any]:
    fine = files.open_cube(arguments.fine, variable=arguments.variable, chunks=chunks)
    coarse = files.open_cube(arguments.coarse, variable=arguments.variable, chunks=chunks)
    return fine, coarse


def _params(pairs: list[str]) -> dict[str, Any]:
    """Read ``name=value`` with JSON values; a bare word is a string."""
    params: dict[str, Any] = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found:
            raise ValueError(f"--param {pair!r} is no NAME=VALUE")
        try:
            params[name] = json.loads(value)
        except json.JSONDecodeError:
            params[name] = value
    return params


def _sizes(cube: xr.DataArray | xr.Dataset) -> str:
    return " × ".join(f"{size} {dim}" for dim, size in cube.sizes.items())


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
