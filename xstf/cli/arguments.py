"""Arguments that several commands have: files of cubes, parameters, the file of a result."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstf import files, masks
from xstf.cli.tables import sizes
from xstf.cubes.arrays import Labelled
from xstf.cubes.variables import band_variables, mask_maker
from xstf.files.choice import few

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

CUBE_HELP = ".nc, .zarr, an image, a folder of such, or a pattern such as 'landsat/*_B4.TIF'"


MASK_HELP = "variable of {}'s file: boolean, true = not usable, or classes: SCL, QA_PIXEL, Fmask"


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
    for name, of in (("--mask", "fine"), ("--coarse-mask", "coarse")):
        parser.add_argument(name, metavar="NAME", help=MASK_HELP.format(of))
    parser.add_argument("--pair-tolerance", default="1D")
    parser.add_argument("--coarse-resolution", type=float)


def open_pair(
    arguments: argparse.Namespace, chunks: int | None
) -> tuple[Labelled, Labelled, dict[str, Any]]:
    """Return the cubes of :func:`add_pair`, and the masks that their files give."""
    fine = open_one(arguments.fine, arguments, "pattern", chunks=chunks)
    coarse = open_one(arguments.coarse, arguments, "coarse_pattern", chunks=chunks)
    options: dict[str, Any] = {}
    if arguments.mask:
        options["mask"] = open_mask(arguments.fine, arguments.mask, "--mask", chunks)
        fine = _without(fine, arguments.mask)
    if arguments.coarse_mask:
        options["coarse_mask"] = open_mask(
            arguments.coarse, arguments.coarse_mask, "--coarse-mask", chunks
        )
        coarse = _without(coarse, arguments.coarse_mask)
    return fine, coarse, options


def open_mask(path: Path, name: str, option: str, chunks: int | None) -> xr.DataArray:
    """Return a mask that is a variable of a file: boolean, 0 and 1, or classes that are known.

    Parameters
    ----------
    path, name
        The file, and its variable.
    option
        What gave it, for messages.
    chunks : int or None
    """
    layer = files.open_cube(path, variable=name, chunks=chunks)
    if not isinstance(layer, xr.DataArray):
        raise TypeError(f"{option} {name!r} is no single variable")
    if layer.dtype == bool:
        return layer
    maker = mask_maker(name, layer)
    if maker is not None:
        made: xr.DataArray = getattr(masks, maker)(layer)
        return made
    refused = partial(_flags, text=f"{option} {name!r}")
    found: xr.DataArray = xr.apply_ufunc(
        refused, layer, dask="parallelized", output_dtypes=[bool], keep_attrs=True
    )
    return found


def _without(cube: Labelled, name: str) -> Labelled:
    """Return a cube whose bands have not the mask among them; layers of classes stay."""
    if isinstance(cube, xr.Dataset) and name in band_variables(cube):
        return cube.drop_vars(name)
    return cube


def _flags(values: np.ndarray, *, text: str) -> np.ndarray:
    """Return numbers as booleans, missing ones as true; raise for others than 0 and 1."""
    values = np.asarray(values)
    other = np.unique(values[~(np.isnan(values) | (values == 0) | (values == 1))])
    if other.size:
        raise ValueError(
            f"{text} has the numbers {few([f'{v:g}' for v in other])}, so it has classes or bits: "
            "write a boolean variable, true where not usable, or give one of SCL, QA_PIXEL, Fmask"
        )
    return np.asarray(np.isnan(values) | (values == 1))


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
    parser.add_argument("--mask", metavar="NAME", help=MASK_HELP.format("the cube"))


def open_gaps(arguments: argparse.Namespace, chunks: int | None) -> tuple[Labelled, dict[str, Any]]:
    """Return the cube of :func:`add_gaps`, and the arguments that its other files give."""
    cube = open_one(arguments.cube, arguments, "pattern", chunks=chunks)
    options: dict[str, Any] = {}
    if arguments.mask:
        options["mask"] = open_mask(arguments.cube, arguments.mask, "--mask", chunks)
        cube = _without(cube, arguments.mask)
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
