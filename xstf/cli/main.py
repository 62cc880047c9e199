"""The command line: ``python -m xstf`` and ``xstf``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from functools import partial

import xstf
from xstf._method import TASKS
from xstf.cli import demo, evaluate, plan, train, verbs
from xstf.cli.arguments import Commands, report
from xstf.cli.words import in_options, options_of
from xstf.methods.lookup import get_method, method_names

_ERRORS = (ValueError, TypeError, ImportError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 after an error in one line on stderr (2: wrong usage)."""
    parser, commands = _parser()
    arguments = parser.parse_args(argv)
    options = options_of(commands[arguments.command])
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, options)
        try:
            arguments.run(arguments)
        except _ERRORS as error:
            if arguments.debug:
                raise
            report(f"xstf: {_line(error, options)}")
            return 1
    return 0


def _line(message: object, options: Mapping[str, str]) -> str:
    """Return a message in one line, with options for arguments."""
    return in_options(" ".join(str(message).split()), options)


def _show_warning(options: Mapping[str, str], message: Warning | str, *_: object) -> None:
    """Print a warning as a user of the command line can read it."""
    report(f"xstf: warning: {_line(message, options)}")


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser, and that of each command, which adds its arguments and what it runs."""
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
        plan.add_plan,
        train.add_train,
        evaluate.add_evaluate,
        evaluate.add_evaluate_gapfill,
    ):
        add(commands)
    return parser, commands.choices


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
