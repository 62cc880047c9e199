"""The commands that make cubes: ``fuse``, ``gapfill``, ``sharpen_spectral``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import xstf
from xstf.cli.arguments import (
    CUBE_HELP,
    Commands,
    add_chunks,
    add_files,
    add_gaps,
    add_out,
    add_pair,
    add_params,
    add_quality,
    add_values,
    on_terminal,
    open_gaps,
    open_one,
    open_pair,
    read_params,
    read_values,
    save,
)

_SCREENS: dict[str | None, bool | Literal["replace"] | None] = {
    "yes": True, "no": False, "replace": "replace", None: None,
}  # fmt: skip


def add_fuse(commands: Commands) -> None:
    """Add ``xstf fuse``."""
    parser = commands.add_parser("fuse", help="fine images on the dates of coarse ones")
    add_pair(parser)
    add_out(parser)
    parser.add_argument(
        "--composite", metavar="LENGTH", help="of coarse images, such as 16D, or no (default: told)"
    )
    parser.add_argument(
        "--min-valid", type=float, default=0.5, help="least clear share of a coarse pixel (0.5)"
    )
    add_values(parser, "coarse", "spatial")
    parser.add_argument("--spatial", type=Path, help="third cube: the grid of the result")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--time", nargs="+", metavar="DATE", help="dates wanted (default: all)")
    parser.add_argument("--engine")
    add_quality(parser)
    add_chunks(parser, "fuse")
    add_params(parser)
    parser.set_defaults(run=_fuse)


def _fuse(arguments: argparse.Namespace) -> None:
    fine, coarse, masks = open_pair(arguments, arguments.chunks)
    spatial = None
    if arguments.spatial:
        spatial = open_one(arguments.spatial, arguments, None, chunks=arguments.chunks)
    fused = xstf.fuse(
        fine, coarse, spatial=spatial, method=arguments.method, time=arguments.time,
        engine=arguments.engine, pair_tolerance=arguments.pair_tolerance,
        coarse_resolution=arguments.coarse_resolution, min_valid=arguments.min_valid,
        composite=False if arguments.composite == "no" else arguments.composite,
        return_quality=arguments.quality, progress=on_terminal(),
        **masks, **read_values(arguments, "coarse", "spatial"), **read_params(arguments.param),
    )  # fmt: skip
    save(fused, arguments.out, overwrite=arguments.overwrite)


def add_gapfill(commands: Commands) -> None:
    """Add ``xstf gapfill``."""
    parser = commands.add_parser("gapfill", help="fill the missing pixels of a cube")
    add_gaps(parser)
    add_out(parser)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--max-gap", metavar="LENGTH", help="leave longer gaps: days, or 8W")
    parser.add_argument("--time", nargs="+", metavar="DATE", help="dates wanted (default: its own)")
    parser.add_argument("--freq", help="regular dates, such as 5D or MS")
    parser.add_argument(
        "--edge", choices=["fill", "nearest", "nan"], default="fill",
        help="before the first and after the last observation",
    )  # fmt: skip
    add_values(parser)
    parser.add_argument("--smooth", action="store_true", help="smooth observed pixels, too")
    parser.add_argument("--screen", choices=["yes", "no", "replace"], help="outliers")
    add_quality(parser)
    add_chunks(parser, "fill")
    add_params(parser)
    parser.set_defaults(run=_gapfill)


def _gapfill(arguments: argparse.Namespace) -> None:
    cube, options = open_gaps(arguments, arguments.chunks)
    filled = xstf.gapfill(
        cube, method=arguments.method, max_gap=arguments.max_gap, smooth=arguments.smooth,
        screen=_SCREENS[arguments.screen], time=arguments.time, freq=arguments.freq,
        edge=arguments.edge, return_quality=arguments.quality, progress=on_terminal(), **options,
        **read_values(arguments), **read_params(arguments.param),
    )  # fmt: skip
    save(filled, arguments.out, overwrite=arguments.overwrite)


def add_sharpen_spectral(commands: Commands) -> None:
    """Add ``xstf sharpen_spectral``, in short ``xstf sharpen``."""
    parser = commands.add_parser(
        "sharpen_spectral",
        aliases=["sharpen"],
        help="many coarse bands on the grid of few fine ones",
    )
    parser.add_argument("spectral", type=Path, help=CUBE_HELP)
    parser.add_argument("spatial", type=Path)
    add_files(parser, "spectral", "spatial")
    add_values(parser, "spatial")
    add_out(parser)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--srf", metavar="SENSOR", help="of spatial (default: estimated)")
    parser.add_argument("--psf", type=float, help="width of spectral's blur, in its pixels")
    add_chunks(parser, "sharpen")
    add_params(parser)
    parser.set_defaults(run=_sharpen_spectral)


def _sharpen_spectral(arguments: argparse.Namespace) -> None:
    spectral, spatial = (
        open_one(path, arguments, pattern, chunks=arguments.chunks)
        for path, pattern in (
            (arguments.spectral, "pattern"), (arguments.spatial, "spatial_pattern"),
        )
    )  # fmt: skip
    sharpened = xstf.sharpen_spectral(
        spectral, spatial, method=arguments.method, srf=arguments.srf, psf=arguments.psf,
        progress=on_terminal(), **read_values(arguments, "spatial"),
        **read_params(arguments.param),
    )  # fmt: skip
    save(sharpened, arguments.out, overwrite=arguments.overwrite)
