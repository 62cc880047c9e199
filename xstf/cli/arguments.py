"""Arguments that several commands have: files of cubes, parameters, the file of a result."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

from xstf import files
from xstf.cli.tables import sizes
from xstf.cubes.arrays import Labelled

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

CUBE_HELP = ".nc, .zarr, or a folder of dated GeoTIFFs"


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the file of a cube that a command makes."""
    parser.add_argument("-o", "--out", type=Path, required=True, help=".nc file or .zarr store")


def add_scores_out(parser: argparse.ArgumentParser) -> None:
    """Add the methods to score, and the file of their scores."""
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("-o", "--out", type=Path, help="write the scores to a .nc file")


def add_quality(parser: argparse.ArgumentParser) -> None:
    """Add the wish for a standard deviation."""
    parser.add_argument(
        "--quality",
        action="store_true",
        help="standard deviation, flag and number of observations too",
    )


def add_chunks(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the side of the chunks that a command works in."""
    parser.add_argument("--chunks", type=int, help=f"read, {what} and write in chunks of this side")


def add_params(parser: argparse.ArgumentParser, text: str = "of the method") -> None:
    """Add further arguments of the function that a command calls."""
    parser.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help=text
    )


def add_pair(parser: argparse.ArgumentParser) -> None:
    """Add a fine and a coarse cube."""
    parser.add_argument("fine", type=Path, help=CUBE_HELP)
    parser.add_argument("coarse", type=Path)
    parser.add_argument("--variable", help="of both files (default: the only one)")
    parser.add_argument("--pair-tolerance", default="1D")
    parser.add_argument("--coarse-resolution", type=float)


def open_pair(arguments: argparse.Namespace, chunks: int | None) -> tuple[Labelled, Labelled]:
    """Return the cubes of :func:`add_pair`."""
    fine = files.open_cube(arguments.fine, variable=arguments.variable, chunks=chunks)
    coarse = files.open_cube(arguments.coarse, variable=arguments.variable, chunks=chunks)
    return fine, coarse


def add_gaps(parser: argparse.ArgumentParser) -> None:
    """Add a cube with gaps, and what helps to fill it."""
    parser.add_argument("cube", type=Path, help=CUBE_HELP)
    parser.add_argument("--sar", type=Path, help="radar, in the same forms")
    parser.add_argument("--sar-units", choices=["dB", "linear"])
    parser.add_argument("--variable", help="of the cube (default: the only one)")
    parser.add_argument("--mask", help="boolean variable of the cube's file, true = not usable")


def open_gaps(arguments: argparse.Namespace, chunks: int | None) -> tuple[Labelled, dict[str, Any]]:
    """Return the cube of :func:`add_gaps`, and the arguments that its other files give."""
    cube = files.open_cube(arguments.cube, variable=arguments.variable, chunks=chunks)
    options: dict[str, Any] = {}
    if arguments.mask:
        mask = files.open_cube(arguments.cube, variable=arguments.mask, chunks=chunks)
        options["mask"] = mask.fillna(1) != 0
    if arguments.sar:
        options["sar"] = files.open_cube(arguments.sar, chunks=chunks)
        options["sar_units"] = arguments.sar_units
    return cube, options


def read_params(pairs: list[str]) -> dict[str, Any]:
    """Return ``name=value`` pairs with JSON values; a bare word is a string."""
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


def save(cube: Labelled, out: Path) -> None:
    """Write a cube; report its sizes on stderr."""
    files.save_cube(cube, out)
    report(f"{sizes(cube)} → {out}")


def report(text: str) -> None:
    """Print on stderr: what goes to stdout is the result."""
    print(text, file=sys.stderr)


def on_terminal() -> bool:
    """Return whether someone watches stderr, for progress bars."""
    return sys.stderr.isatty()
