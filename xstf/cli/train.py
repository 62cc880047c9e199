"""The command ``train``: cubes in, a checkpoint out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import xstf
from xstf import files
from xstf.cli.arguments import Commands, add_params, on_terminal, read_params, report


def add_train(commands: Commands) -> None:
    """Add ``xstf train``."""
    parser = commands.add_parser("train", help="train a network; leaves a checkpoint")
    parser.add_argument("method")
    parser.add_argument("cubes", type=Path, nargs="+", help="the cubes that its verb takes")
    parser.add_argument("--variable", help="of the files (default: the only one)")
    parser.add_argument("--sar", type=Path, help="radar, for a network that fills gaps")
    parser.add_argument("--spatial", type=Path, help="third cube, for one that fuses series")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".safetensors file")
    parser.add_argument("--recipe", choices=["auto", "full", "small"], default="auto")
    parser.add_argument("--log", type=Path, help=".csv file, a row an epoch")
    parser.add_argument("--device")
    add_params(parser, "another argument of xstf.train.fit, such as epochs=20")
    parser.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    given = {"sar": arguments.sar, "spatial": arguments.spatial}
    by_name: dict[str, Any] = {k: files.open_cube(p) for k, p in given.items() if p is not None}
    cubes = [files.open_cube(p, variable=arguments.variable) for p in arguments.cubes]
    fitted = xstf.train.fit(
        arguments.method, *cubes, out=arguments.out, recipe=arguments.recipe, log=arguments.log,
        device=arguments.device, progress=on_terminal(), **by_name, **read_params(arguments.param),
    )  # fmt: skip
    scores = ", ".join(f"{k} {v:.4g}" for k, v in fitted.scores.items())
    report(f"{scores} → {arguments.out}")
