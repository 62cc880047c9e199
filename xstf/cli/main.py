"""The command line: ``xstf`` and ``python -m xstf``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial

import xstf
from xstf.cli import demo, evaluate, methods, plan, train, verbs, verify, warm
from xstf.cli.parser import Parser
from xstf.cli.telling import Outcome, plain, report
from xstf.cli.words import in_options, options_of
from xstf.cubes.words import meant

_INTERRUPTED, _NO_READER = 130, 141  # as a shell has it: 128 and the number of the signal
_COMMANDS = (
    demo.add_demo,
    methods.add_methods,
    verbs.add_fuse,
    verbs.add_gapfill,
    verbs.add_sharpen_spectral,
    evaluate.add_evaluate,
    plan.add_plan,
    verify.add_verify,
    train.add_train,
    warm.add_warm,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: done. 1: it could not be done, and one line on stderr says why; ``verify`` found faults.
    2: wrong usage. 130: interrupted.
    """
    arguments, parser = read(sys.argv[1:] if argv is None else list(argv))
    options = options_of(parser)
    try:
        _check(arguments, parser)
        # After parsing: `xstf --help` is to come at once, and this takes half a second.
        from xstf import accessor as _accessor  # noqa: F401  registers .stf

        return _run(arguments, options)
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        report("xstf: interrupted", arguments)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has gone, as `head` does; Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    except Exception as error:  # whatever it is: nobody reads tracebacks on a command line
        if arguments.debug:
            raise
        print(f"xstf: {_reason(error, options)}", file=sys.stderr)
        return 1


def _check(arguments: argparse.Namespace, parser: Parser) -> None:
    """Find out which files are meant; exit with status 2 where that is open."""
    if getattr(arguments, "out", "") is None and not getattr(arguments, "dry_run", True):
        parser.error("no -o PATH for the result")
    if arguments.find is not None:
        try:
            arguments.inputs = arguments.find(arguments)
        except ValueError as error:
            parser.error(str(error))


def _run(arguments: argparse.Namespace, options: Mapping[str, str]) -> int:
    """Run a command, print what it found, and return the status."""
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, options, arguments, said)
        outcome: Outcome = arguments.run(arguments)
    if arguments.json:
        data = {"command": arguments.command, **outcome.data, "warnings": said}
        escaped = getattr(sys.stdout, "encoding", "") not in ("utf-8", "UTF-8")
        print(json.dumps(plain(data), indent=2, ensure_ascii=escaped))
    elif outcome.text:
        print(in_options(outcome.text, options) if outcome.of_verb else outcome.text)
    print(end="", flush=True)  # errors come now; sys.stdout is None where it is closed
    return outcome.status


def _reason(error: Exception, options: Mapping[str, str]) -> str:
    """Return in one line why a command failed."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({_line(error, options)}); work in smaller --chunks"
    if isinstance(error, ValueError | TypeError | ImportError | OSError):
        return _line(error, options)
    return (
        f"an error that xstf did not expect: {type(error).__name__}: {_line(error, options)}; "
        "--debug shows where"
    )


def _line(message: object, options: Mapping[str, str]) -> str:
    """Return a message in one line, with options for arguments."""
    if isinstance(message, OSError) and message.filename is not None and message.strerror:
        message = f"{message.filename}: {message.strerror}"
    return in_options(" ".join(str(message).split()), options)


def _show_warning(
    options: Mapping[str, str], arguments: argparse.Namespace, said: list[str],
    message: Warning | str, *_: object,
) -> None:  # fmt: skip
    """Print a warning as a user of the command line can read it, and keep it."""
    said.append(_line(message, options))
    report(f"xstf: warning: {said[-1]}", arguments)


# --- parsing ----------------------------------------------------------------------------------


def read(words: Sequence[str]) -> tuple[argparse.Namespace, Parser]:
    """Return the arguments of a command, and its parser; exit where they are wrong."""
    parser, name = build(), ""
    before: list[str] = []
    left = list(words)
    while parser.commands:
        while left and left[0].startswith("-"):
            before.append(left.pop(0))
        early = [word for word in before if word not in ("--debug", "--quiet", "--json")]
        if early:
            parser.parse_known_args(early)  # --help and --version end here
            parser.refuse(early)
        word = left.pop(0) if left else None
        if word not in parser.commands:
            given = "none was given" if word is None else f"not {word!r}"
            near = "" if word is None else meant(word, parser.commands)
            parser.error(f"give one of {', '.join(parser.commands)}; {given}{near}")
        parser, name = parser.commands[word], f"{name} {word}".strip()
    arguments = parser.read([*before, *left])
    arguments.command = name
    return arguments, parser


def build() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="xstf",
        description=f"{xstf.__doc__}\n\n`xstf COMMAND --help` tells more of each command.",
        epilog="exit status: 0 done, 1 not done (one line says why), 2 wrong usage, "
        "130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"xstf {xstf.__version__}")
    commands = parser.add_commands()
    for add in _COMMANDS:
        add(commands)
    return parser
