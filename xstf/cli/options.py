"""Options that several commands have. Nothing here imports what computes."""

from __future__ import annotations

import argparse
import json
from typing import Any, TypeAlias

from xstf.cli.names import own_methods
from xstf.cli.parser import Parser, is_band, is_date, is_name, is_number, is_path

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

FILES = (
    "Files are .nc, .zarr, images (.tif, .jp2), folders of such, and patterns in quotes "
    "('s2/*_B0[48]_10m.jp2'). FILE:VARIABLE names one variable of a file."
)
_ONE_FOLDER = (
    "Files that follow one another and lie in one folder, as a shell's landsat/*.tif gives them, "
    "are one input."
)


def add_command(
    commands: Commands, name: str, *, help: str, usage: str, text: str, examples: str, **more: Any
) -> Parser:
    """Add a command with its description and its examples, and what all commands have."""
    parser = commands.add_parser(
        name, help=help, usage=f"%(prog)s {usage}", description=_wrapped(text),
        epilog=f"examples:\n{examples}", **more,
    )  # fmt: skip
    add_common(parser)
    parser.set_defaults(find=None)
    return parser


def _wrapped(text: str) -> str:
    import textwrap

    return "\n\n".join(textwrap.fill(part, 90) for part in text.split("\n\n"))


def add_common(parser: Parser) -> None:
    """Add what every command has."""
    group = parser.add_argument_group("what is printed")
    group.add_argument(
        "--json", action="store_true", help="print what was done as JSON on standard output"
    )
    group.add_argument(
        "--quiet", action="store_true", help="print no progress, sizes or warnings; errors only"
    )
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


# --- inputs -----------------------------------------------------------------------------------


def add_two(parser: Parser, first: str, second: str) -> None:
    """Add two inputs, by their places or by name."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE",
        help=f"the {first} input, then the {second} one. {_ONE_FOLDER} The last input is the "
        f"{second} one, all before it are the {first} one",
    )  # fmt: skip
    for name, other in ((first, second), (second, first)):
        parser.add_several(
            f"--{name}", takes=is_path, metavar="FILE…", default=[],
            help=f"files of the {name} input; all files without a name are the {other} one's then",
        )  # fmt: skip
    _add_which(parser, first, second)


def add_one(parser: Parser, name: str) -> None:
    """Add one input, which several files may be."""
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"the {name}: one input")
    _add_which(parser, name)


def _add_which(parser: Parser, first: str, *others: str) -> None:
    parser.add_argument(
        "--variable", metavar="NAME",
        help="variable of all inputs; FILE:VARIABLE names that of one (default: the only one, or "
        "all as bands)",
    )  # fmt: skip
    parser.add_argument(
        "--pattern", metavar="GLOB",
        help=f"which files of the {first} input's folder: '*_B0[48]_*'",
    )  # fmt: skip
    for other in others:
        parser.add_argument(
            f"--{other}-pattern", metavar="GLOB", help=f"which files of the {other} input's folder"
        )


def add_part(parser: Parser, *, of: str, place: str = "") -> Any:
    """Add which bands, and which part of the image, are wanted."""
    group = parser.add_argument_group("which part")
    parser.add_several(
        "--bands", takes=is_band, group=group, metavar="NAME,NAME",
        help=f"bands of {of}, in this order",
    )  # fmt: skip
    parser.add_several(
        "--bbox", takes=is_number, group=group, metavar="WEST,SOUTH,EAST,NORTH",
        help=f"pixels of {place or of} whose centres lie within, in the units of its coordinates",
    )  # fmt: skip
    return group


def add_subset(parser: Parser, *, of: str, dates: str) -> None:
    """Add which bands, which part and which dates are wanted."""
    group = add_part(parser, of=of)
    parser.add_several(
        "--time", takes=is_date, group=group, metavar="DATE…",
        help=f"{dates}: dates, or FROM/TO with both ends, each of which may be left out",
    )  # fmt: skip


def add_masks(parser: Parser, *, of: str, other: str | None = None) -> None:
    """Add what says which pixels cannot be used."""
    group = parser.add_argument_group("clouds")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--mask", metavar="VARIABLE",
        help=f"of the {of} input's files, or FILE, or FILE:VARIABLE: boolean or 0 and 1, true = "
        "not usable; or classes: SCL, QA_PIXEL, Fmask",
    )  # fmt: skip
    for name, variable, what in (
        ("--scl", "SCL", "Sentinel-2's scene classes"),
        ("--fmask", "Fmask", "the bits of HLS"),
    ):
        parser.add_optional(
            name, usual=variable, takes=is_name, group=one, metavar="[VARIABLE]",
            help=f"mask by {what} in this variable (without a value: {variable})",
        )  # fmt: skip
    one.add_argument(
        "--qa-pixel", metavar="VARIABLE",
        help="mask by the bits of Landsat Collection 2 in this variable",
    )  # fmt: skip
    group.add_argument(
        "--dilate", type=float, default=0.0, metavar="N",
        help="pixels within this distance of a masked one are masked, too, in pixels of the mask",
    )  # fmt: skip
    if other:
        group.add_argument(
            f"--{other}-mask", metavar="VARIABLE", help=f"as --mask, for the {other} input"
        )


def add_values(parser: Parser, first: str, *others: str) -> None:
    """Add what numbers of cubes mean: the first one's as ``--scale``."""
    group = parser.add_argument_group("what the values of inputs mean")
    for name, of in (("", first), *((f"{cube}-", cube) for cube in others)):
        group.add_argument(
            f"--{name}scale", type=float, metavar="FACTOR",
            help=f"what values of the {of} input are multiplied by first (0.0001 for reflectance "
            "in ten-thousandths); scales that files state are applied anyway",
        )  # fmt: skip
    group.add_argument(
        "--valid-range", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="values outside are missing",
    )  # fmt: skip
    group.add_argument(
        "--decoded", choices=["yes", "no"],
        help="whether values are scaled already where attributes still have a scale_factor "
        "(default: told by the values)",
    )  # fmt: skip


# --- methods ----------------------------------------------------------------------------------


def add_method(parser: Parser, task: str, text: str = "") -> None:
    """Add the method, its parameters and where it runs."""
    group = parser.add_argument_group("method")
    names = ", ".join(name for name in own_methods(task) if name != "auto")
    group.add_argument(
        "--method", default="auto", metavar="NAME",
        help=f"auto (default) or one of {names}{text}; `xstf methods NAME` tells more",
    )  # fmt: skip
    add_params(group, "a parameter of the method; may be given several times")
    group.add_argument(
        "--engine", metavar="NAME", help="numba, cupy, torch or numpy (default: the method's first)"
    )
    group.add_argument("--device", metavar="NAME", help="where engines of GPUs run, such as cuda:1")


def add_params(parser: Any, text: str) -> None:
    """Add further arguments of the function that a command calls."""
    parser.add_argument(
        "-p", "--param", action="append", default=[], type=_param, metavar="NAME=VALUE", help=text
    )


def _param(pair: str) -> tuple[str, Any]:
    """Return a name and a JSON value; a bare word is a string."""
    name, found, value = pair.partition("=")
    if not found or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{pair!r} is no NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        words = {"True": True, "False": False, "None": None}
        return name, words.get(value, value)


def add_methods_to_score(parser: Parser, task: str) -> None:
    """Add the methods that are scored, and the file of their scores."""
    names = set(own_methods(task))
    parser.add_several(
        "--methods", takes=lambda word: word in names or is_name(word), metavar="NAME…",
        help=f"methods to score (default: all without a network) of {', '.join(sorted(names))}",
    )  # fmt: skip
    parser.add_argument("-o", "--out", metavar="FILE", help="write the scores to a .nc file, too")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


# --- results ----------------------------------------------------------------------------------


def add_results(parser: Parser) -> None:
    """Add the file of a cube that a command makes, how it is stored, and how it is worked out."""
    group = parser.add_argument_group("result")
    group.add_argument(
        "-o", "--out", metavar="PATH",
        help="a .nc file, a .zarr store, a .tif file, or a folder of GeoTIFFs (no ending); looked "
        "at before any work; not needed with --dry-run",
    )  # fmt: skip
    there = group.add_mutually_exclusive_group()
    there.add_argument(
        "--overwrite", action="store_true",
        help="replace what is there, once the new result is whole",
    )  # fmt: skip
    there.add_argument(
        "--resume", action="store_true",
        help="go on with a .zarr store that the same command began and was stopped",
    )  # fmt: skip
    group.add_argument(
        "--dtype", metavar="TYPE",
        help="store whole numbers such as int16 or uint8, or float32 (default)",
    )  # fmt: skip
    group.add_argument(
        "--store-scale", type=float, metavar="STEP",
        help="with a whole --dtype: what one stored step is worth; 0.0001 stores 0.25 as 2500, "
        "which readers bring back (default: the scale that the first input is stored with)",
    )  # fmt: skip
    group.add_argument(
        "--nodata", type=float, metavar="NUMBER",
        help="stored for missing pixels (default: NaN; of whole numbers the least, or of unsigned "
        "ones the greatest)",
    )  # fmt: skip
    group.add_argument(
        "--quicklook", metavar="FILE.png", help="draw a picture of up to six dates of the result"
    )
    _add_work(parser)


def _add_work(parser: Parser) -> None:
    group = parser.add_argument_group("work")
    add_chunks(group)
    group.add_argument(
        "--workers", type=int, metavar="N", help="threads that work on chunks (default: all cores)"
    )
    group.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="of a running dask.distributed cluster, tcp://host:8786, or the JSON file that its "
        "scheduler wrote",
    )  # fmt: skip
    group.add_argument(
        "--dry-run", action="store_true",
        help="print what would be done: dates, pairs, grids, tiles, memory; write nothing",
    )  # fmt: skip


def add_chunks(parser: Any) -> None:
    """Add the side of the chunks that a command works in."""
    parser.add_argument(
        "--chunks", type=int, metavar="PIXELS",
        help="read, work and write in chunks of this side (default: all in memory; 1024 with "
        "--resume, --workers or --scheduler)",
    )  # fmt: skip


def add_quality(parser: Parser) -> None:
    """Add the wish for a standard deviation."""
    parser.add_argument(
        "--quality", action="store_true",
        help="add a standard deviation, a flag and the number of observations of each pixel",
    )  # fmt: skip
