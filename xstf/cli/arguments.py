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

CUBE_HELP = ".nc, .zarr, an image, a folder of such, or a pattern such as 'landsat/*_B4.TIF'"


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the file of a cube that a command makes."""
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help=".nc file, .zarr store, .tif file, or folder"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def add_scores_out(parser: argparse.ArgumentParser) -> None:
    """Add the methods to score, and the file of their scores."""
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("-o", "--out", type=Path, help="write the scores to a .nc file")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


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
    add_files(parser, "fine", "coarse")
    parser.add_argument("--pair-tolerance", default="1D")
    parser.add_argument("--coarse-resolution", type=float)


def open_pair(arguments: argparse.Namespace, chunks: int | None) -> tuple[Labelled, Labelled]:
    """Return the cubes of :func:`add_pair`."""
    fine = open_one(arguments.fine, arguments, "pattern", chunks=chunks)
    coarse = open_one(arguments.coarse, arguments, "coarse_pattern", chunks=chunks)
    return fine, coarse


def add_files(parser: argparse.ArgumentParser, first: str, *others: str) -> None:
    """Add which variable of the files is meant, and which files of folders."""
    parser.add_argument("--variable", help="of the files (default: the only one)")
    parser.add_argument(
        "--pattern", metavar="GLOB", help=f"which files of the folder of {first}: '*_B0[48]_*'"
    )
    for other in others:
        parser.add_argument(f"--{other}-pattern", metavar="GLOB", help=f"the same of {other}")


def open_one(
    path: Path, arguments: argparse.Namespace, pattern: str | None, *, chunks: int | None
) -> Labelled:
    """Return a cube of a command's files; an error names the option that picks among its files.

    Parameters
    ----------
    path : path
    arguments
        With `variable`.
    pattern : str or None
        The argument that picks files of this cube's folder; None where there is none, and a
        pattern as the path does it.
    chunks : int or None
    """
    wanted = None if pattern is None else getattr(arguments, pattern)
    try:
        return files.open_cube(path, variable=arguments.variable, pattern=wanted, chunks=chunks)
    except (ValueError, OSError) as error:
        if "pattern=" not in str(error):
            raise
        found = str(error).replace(
            "pattern=", "a path such as " if pattern is None else f"{pattern}="
        )
        raise type(error)(found) from error


def add_values(parser: argparse.ArgumentParser, *cubes: str) -> None:
    """Add what numbers of cubes mean: the first one's as ``--scale``."""
    for name in ("", *(f"{cube}-" for cube in cubes)):
        what = f"of {name[:-1]}" if name else "of the first cube"
        parser.add_argument(
            f"--{name}scale", type=float, help=f"number that brings values {what} to the same units"
        )
    parser.add_argument(
        "--valid-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="others are missing"
    )
    parser.add_argument(
        "--decoded", choices=["yes", "no"], help="whether scale_factor was applied (default: told)"
    )


def read_values(arguments: argparse.Namespace, *cubes: str) -> dict[str, Any]:
    """Return the arguments of :func:`add_values` that were given."""
    names = ("scale", *(f"{cube}_scale" for cube in cubes))
    found: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    if arguments.valid_range:
        found["valid_range"] = tuple(arguments.valid_range)
    if arguments.decoded:
        found["decoded"] = arguments.decoded == "yes"
    return {name: value for name, value in found.items() if value is not None}


def add_gaps(parser: argparse.ArgumentParser) -> None:
    """Add a cube with gaps, and what helps to fill it."""
    parser.add_argument("cube", type=Path, help=CUBE_HELP)
    parser.add_argument(
        "--sar", type=Path, nargs="+", action="extend", metavar="FILE",
        help="radar, in the same forms; several cubes of several sensors",
    )  # fmt: skip
    parser.add_argument("--sar-units", choices=["dB", "linear"])
    add_files(parser, "cube")
    parser.add_argument("--mask", help="boolean variable of the cube's file, true = not usable")


def open_gaps(arguments: argparse.Namespace, chunks: int | None) -> tuple[Labelled, dict[str, Any]]:
    """Return the cube of :func:`add_gaps`, and the arguments that its other files give."""
    cube = open_one(arguments.cube, arguments, "pattern", chunks=chunks)
    options: dict[str, Any] = {}
    if arguments.mask:
        mask = files.open_cube(arguments.cube, variable=arguments.mask, chunks=chunks)
        options["mask"] = mask.fillna(1) != 0
    if arguments.sar:
        guides = [files.open_cube(path, chunks=chunks) for path in arguments.sar]
        options["sar"] = guides[0] if len(guides) == 1 else guides
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


def save(cube: Labelled, out: Path, *, overwrite: bool) -> None:
    """Write a cube; report its sizes on stderr."""
    files.save_cube(cube, out, overwrite=overwrite)
    report(f"{sizes(cube)} → {out}")


def report(text: str) -> None:
    """Print on stderr: what goes to stdout is the result."""
    print(text, file=sys.stderr)


def on_terminal() -> bool:
    """Return whether someone watches stderr, for progress bars."""
    return sys.stderr.isatty()
