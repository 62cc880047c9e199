"""The command ``demo``: all three verbs on embedded scenes, with tables, files and pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xstf.cli.options import Commands, add_command

if TYPE_CHECKING:
    from xstf.cli.telling import Outcome


def add_demo(commands: Commands) -> None:
    """Add ``xstf demo``."""
    parser = add_command(
        commands, "demo", usage="[options]",
        help="all three verbs on embedded scenes; leaves files and pictures",
        text="Fusion, gap filling and sharpening of embedded scenes whose truth is known: tables "
        "of errors, the resulting cubes as .nc files, and pictures. Nothing is downloaded.",
        examples="  xstf demo\n  xstf demo --all -o all-methods",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", default="xstf-demo", metavar="FOLDER", help="(default: xstf-demo)"
    )
    parser.add_argument(
        "--all", action="store_true",
        help="score every method, on larger scenes; takes minutes (default: the usual ones)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, metavar="PIXELS",
        help="fine pixels a side of the scene that is fused (default 120, with --all 240)",
    )  # fmt: skip
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli.demo_run import run_demo

    return run_demo(arguments)
