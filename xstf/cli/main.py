"""The command line: ``python -m xstf`` and ``xstf``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import xstf
from xstf._method import TASKS
from xstf.cli import demo, evaluate, train, verbs
from xstf.cli.arguments import Commands
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
    """Return the parser: each command adds its own arguments and the function that it runs."""
    parser = argparse.ArgumentParser(prog="xstf", description=xstf.__doc__)
    parser.add_argument("--version", action="version", version=f"xstf {xstf.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (
        demo.add_demo,
        add_methods,
        verbs.add_fuse,
        verbs.add_gapfill,
        verbs.add_sharpen_spectral,
        train.add_train,
        evaluate.add_evaluate,
        evaluate.add_evaluate_gapfill,
    ):
        add(commands)
    return parser


def add_methods(commands: Commands) -> None:
    """Add ``xstf methods``."""
    parser = commands.add_parser("methods", help="list the methods")
    parser.add_argument("task", nargs="?", choices=TASKS)
    parser.set_defaults(run=_methods)


def _methods(arguments: argparse.Namespace) -> None:
    for task in [arguments.task] if arguments.task else TASKS:
        for name in method_names(task):
            record = get_method(task, name)
            print(f"{task:16} {name:12} {record.summary}")
