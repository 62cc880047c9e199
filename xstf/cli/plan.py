"""The command ``plan``: what a verb would do, before it does it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xstf
from xstf.cli.arguments import (
    CUBE_HELP,
    Commands,
    add_chunks,
    add_files,
    add_params,
    open_one,
    read_params,
)
from xstf.cubes.arrays import Labelled

_WHOLE = 1 << 30  # pixels: an image in one chunk


def add_plan(commands: Commands) -> None:
    """Add ``xstf plan``."""
    parser = commands.add_parser(
        "plan", help="what a verb would do: dates, pairs, grids, tiles, memory; nothing is computed"
    )
    parser.add_argument("cube", type=Path, help=CUBE_HELP)
    parser.add_argument("others", type=Path, nargs="*", help="the verb's further cubes")
    parser.add_argument(
        "--verb", choices=["fuse", "gapfill", "sharpen_spectral"], help="(default: by the cubes)"
    )
    add_files(parser, "cube", "others")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--time", nargs="+", metavar="DATE", help="dates wanted")
    parser.add_argument("--spatial", type=Path, help="third cube of fuse")
    add_chunks(parser, "plan to work")
    add_params(parser, "another argument of the verb, or a parameter of its method")
    parser.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> None:
    cubes = [_opened(arguments, arguments.cube, "pattern")]
    cubes += [_opened(arguments, path, "others_pattern") for path in arguments.others]
    options: dict[str, Any] = {"method": arguments.method, **read_params(arguments.param)}
    if arguments.time:
        options["time"] = arguments.time
    if arguments.spatial:
        options["spatial"] = _opened(arguments, arguments.spatial, None)
    print(xstf.plan(*cubes, verb=arguments.verb, **options))


def _opened(arguments: argparse.Namespace, path: Path, pattern: str | None) -> Labelled:
    """Return a cube in chunks, or one that stands for a cube in memory and takes none."""
    cube = open_one(path, arguments, pattern, chunks=arguments.chunks or _WHOLE)
    if arguments.chunks:
        return cube
    if isinstance(cube, xr.DataArray):
        return _weightless(cube)
    return cube.assign({name: _weightless(array) for name, array in cube.data_vars.items()})


def _weightless(array: xr.DataArray) -> xr.DataArray:
    if array.ndim < 2:
        return array
    zero = np.zeros((), array.dtype)
    return array.copy(deep=False, data=np.broadcast_to(zero, array.shape))
