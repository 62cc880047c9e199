"""The command line: ``python -m xstf`` and ``xstf``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xstf
from xstf import evaluate, files
from xstf._method import TASKS
from xstf.cli.demo import run_demo, sizes, table
from xstf.methods.lookup import get_method, method_names

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

    demo = commands.add_parser("demo", help="both verbs on embedded scenes; leaves files, pictures")
    demo.add_argument("-o", "--out", type=Path, default=Path("xstf-demo"), help="folder")
    demo.add_argument("--size", type=int, default=240, help="fine pixels a side (default 240)")
    demo.set_defaults(run=_demo)

    methods = commands.add_parser("methods", help="list the methods")
    methods.add_argument("task", nargs="?", choices=TASKS)
    methods.set_defaults(run=_methods)

    fuse = commands.add_parser("fuse", help="sharp images on the dates of blurred ones")
    _cube_arguments(fuse)
    fuse.add_argument("-o", "--out", type=Path, required=True, help=".nc file or .zarr store")
    fuse.add_argument("--spatial", type=Path, help="third cube: the grid of the result")
    fuse.add_argument("--method", default="auto")
    fuse.add_argument("--time", nargs="+", metavar="DATE", help="dates wanted (default: all)")
    fuse.add_argument("--engine")
    fuse.add_argument("--quality", action="store_true", help="standard deviation and flag too")
    fuse.add_argument("--chunks", type=int, help="read, fuse and write in chunks of this side")
    fuse.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="of the method"
    )
    fuse.set_defaults(run=_fuse)

    fill = commands.add_parser("gapfill", help="fill the missing pixels of a cube")
    _gap_arguments(fill)
    fill.add_argument("-o", "--out", type=Path, required=True, help=".nc file or .zarr store")
    fill.add_argument("--method", default="auto")
    fill.add_argument("--max-gap", metavar="LENGTH", help="leave longer gaps, such as 60D")
    fill.add_argument("--smooth", action="store_true", help="smooth observed pixels, too")
    fill.add_argument("--screen", choices=["yes", "no", "replace"], help="outliers")
    fill.add_argument("--quality", action="store_true", help="standard deviation and flag too")
    fill.add_argument("--chunks", type=int, help="read, fill and write in chunks of this side")
    fill.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="of the method"
    )
    fill.set_defaults(run=_gapfill)

    sharpen = commands.add_parser(
        "sharpen", help="many blurred bands on the pixels of few sharp ones"
    )
    sharpen.add_argument("spectral", type=Path, help=".nc, .zarr, or a folder of dated GeoTIFFs")
    sharpen.add_argument("spatial", type=Path)
    sharpen.add_argument("--variable", help="of both files (default: the only one)")
    sharpen.add_argument("-o", "--out", type=Path, required=True, help=".nc file or .zarr store")
    sharpen.add_argument("--method", default="auto")
    sharpen.add_argument("--srf", metavar="SENSOR", help="of spatial (default: estimated)")
    sharpen.add_argument("--psf", type=float, help="width of spectral's blur, in its pixels")
    sharpen.add_argument(
        "--chunks", type=int, help="read, sharpen and write in chunks of this side"
    )
    sharpen.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="of the method"
    )
    sharpen.set_defaults(run=_sharpen)

    train = commands.add_parser("train", help="train a network; leaves a checkpoint")
    train.add_argument("method")
    train.add_argument("cubes", type=Path, nargs="+", help="the cubes that its verb takes")
    train.add_argument("--variable", help="of the files (default: the only one)")
    train.add_argument("--sar", type=Path, help="radar, for a network that fills gaps")
    train.add_argument("--spatial", type=Path, help="third cube, for one that fuses series")
    train.add_argument("-o", "--out", type=Path, required=True, help=".safetensors file")
    train.add_argument("--recipe", choices=["auto", "full", "small"], default="auto")
    train.add_argument("--log", type=Path, help=".csv file, a row an epoch")
    train.add_argument("--device")
    train.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE",
        help="another argument of xstf.train.fit, such as epochs=20",
    )  # fmt: skip
    train.set_defaults(run=_train)

    score = commands.add_parser("evaluate", help="hide a fine date, predict it, score every method")
    _cube_arguments(score)
    score.add_argument("--methods", nargs="+", metavar="NAME")
    score.add_argument("--time", nargs="+", metavar="DATE", help="fine dates to hide")
    score.add_argument("-o", "--out", type=Path, help="write the scores to a .nc file")
    score.set_defaults(run=_evaluate)

    score = commands.add_parser("evaluate-gapfill", help="hide clear pixels, score every method")
    _gap_arguments(score)
    score.add_argument("--methods", nargs="+", metavar="NAME")
    score.add_argument("-o", "--out", type=Path, help="write the scores to a .nc file")
    score.set_defaults(run=_evaluate_gapfill)
    return parser


def _gap_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cube", type=Path, help=".nc, .zarr, or a folder of dated GeoTIFFs")
    parser.add_argument("--sar", type=Path, help="radar, in the same forms")
    parser.add_argument("--sar-units", choices=["dB", "linear"])
    parser.add_argument("--variable", help="of the cube (default: the only one)")
    parser.add_argument("--mask", help="boolean variable of the cube's file, true = not usable")


def _cube_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fine", type=Path, help=".nc, .zarr, or a folder of dated GeoTIFFs")
    parser.add_argument("coarse", type=Path)
    parser.add_argument("--variable", help="of both files (default: the only one)")
    parser.add_argument("--pair-tolerance", default="1D")
    parser.add_argument("--coarse-resolution", type=float)


# --- commands ---------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> None:
    run_demo(arguments.out, arguments.size)


def _methods(arguments: argparse.Namespace) -> None:
    for task in [arguments.task] if arguments.task else TASKS:
        for name in method_names(task):
            record = get_method(task, name)
            print(f"{task:16} {name:12} {record.summary}")


def _fuse(arguments: argparse.Namespace) -> None:
    fine, coarse = _open(arguments, arguments.chunks)
    spatial = None
    if arguments.spatial:
        spatial = files.open_cube(
            arguments.spatial, variable=arguments.variable, chunks=arguments.chunks
        )
    fused = xstf.fuse(
        fine, coarse, spatial=spatial, method=arguments.method, time=arguments.time,
        engine=arguments.engine, pair_tolerance=arguments.pair_tolerance,
        coarse_resolution=arguments.coarse_resolution, return_quality=arguments.quality,
        progress=sys.stderr.isatty(), **_params(arguments.param),
    )  # fmt: skip
    files.save_cube(fused, arguments.out)
    _say(f"{sizes(fused)} → {arguments.out}")


def _gapfill(arguments: argparse.Namespace) -> None:
    cube, options = _open_gaps(arguments, arguments.chunks)
    words: dict[str | None, Any] = {"yes": True, "no": False, "replace": "replace", None: None}
    screen = words[arguments.screen]
    filled = xstf.gapfill(
        cube, method=arguments.method, max_gap=arguments.max_gap, smooth=arguments.smooth,
        screen=screen, return_quality=arguments.quality, progress=sys.stderr.isatty(),
        **options, **_params(arguments.param),
    )  # fmt: skip
    files.save_cube(filled, arguments.out)
    _say(f"{sizes(filled)} → {arguments.out}")


def _sharpen(arguments: argparse.Namespace) -> None:
    spectral, spatial = (
        files.open_cube(path, variable=arguments.variable, chunks=arguments.chunks)
        for path in (arguments.spectral, arguments.spatial)
    )
    sharp = xstf.sharpen_spectral(
        spectral, spatial, method=arguments.method, srf=arguments.srf, psf=arguments.psf,
        progress=sys.stderr.isatty(), **_params(arguments.param),
    )  # fmt: skip
    files.save_cube(sharp, arguments.out)
    _say(f"{sizes(sharp)} → {arguments.out}")


def _train(arguments: argparse.Namespace) -> None:
    given = {"sar": arguments.sar, "spatial": arguments.spatial}
    named: dict[str, Any] = {k: files.open_cube(p) for k, p in given.items() if p is not None}
    cubes = [files.open_cube(p, variable=arguments.variable) for p in arguments.cubes]
    fitted = xstf.train.fit(
        arguments.method, *cubes, out=arguments.out, recipe=arguments.recipe, log=arguments.log,
        device=arguments.device, progress=sys.stderr.isatty(), **named, **_params(arguments.param),
    )  # fmt: skip
    scores = ", ".join(f"{k} {v:.4g}" for k, v in fitted.scores.items())
    _say(f"{scores} → {arguments.out}")


def _evaluate_gapfill(arguments: argparse.Namespace) -> None:
    cube, options = _open_gaps(arguments, None)
    scores = evaluate.evaluate_gapfill(cube, methods=arguments.methods, **options)
    for regime in scores.regime.values:
        print(f"\nhidden: {regime}")
        print(_score_table(scores.sel(regime=regime)))
    if arguments.out:
        files.save_cube(scores, arguments.out)


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
    names = [
        n for n in ("rmse", "mae", "bias", "cc", "ssim", "sam", "covered", "seconds") if n in scores
    ]
    rows: list[tuple[Any, ...]] = []
    for method in scores.method.values:
        one = scores.sel({"method": method})
        rows.append((str(method), *(float(one[n].mean()) for n in names)))
    rows.sort(key=lambda row: row[1])
    return table(["method", *names], rows)


def _open(arguments: argparse.Namespace, chunks: int | None) -> tuple[Any, Any]:
    fine = files.open_cube(arguments.fine, variable=arguments.variable, chunks=chunks)
    coarse = files.open_cube(arguments.coarse, variable=arguments.variable, chunks=chunks)
    return fine, coarse


def _open_gaps(arguments: argparse.Namespace, chunks: int | None) -> tuple[Any, dict[str, Any]]:
    """Return the cube to fill, and what of the call the files give."""
    cube = files.open_cube(arguments.cube, variable=arguments.variable, chunks=chunks)
    options: dict[str, Any] = {}
    if arguments.mask:
        mask = files.open_cube(arguments.cube, variable=arguments.mask, chunks=chunks)
        options["mask"] = mask.fillna(1) != 0
    if arguments.sar:
        options["sar"] = files.open_cube(arguments.sar, chunks=chunks)
        options["sar_units"] = arguments.sar_units
    return cube, options


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


def _say(text: str) -> None:
    print(text, file=sys.stderr)
