"""The command ``methods``: which there are, and all of one of them."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from xstf.cli.names import SHORT, TASKS
from xstf.cli.options import Commands, add_command

if TYPE_CHECKING:
    from xstf._method import Method, Task
    from xstf.cli.telling import Outcome


def add_methods(commands: Commands) -> None:
    """Add ``xstf methods``."""
    parser = add_command(
        commands, "methods", usage="[TASK] [NAME] [options]",
        help="list the methods, or tell all of one",
        text="The methods of each task, in a line each; of one method what it is for, its "
        "parameters with their defaults, and its source.",
        examples="  xstf methods gapfill\n  xstf methods starfm",
    )  # fmt: skip
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help=f"a task ({', '.join(TASKS)}), a method, or a task and one of its methods",
    )  # fmt: skip
    parser.set_defaults(run=_methods)


def _methods(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli.telling import Outcome
    from xstf.methods.lookup import get_method, method_names

    tasks, name = _asked(list(arguments.names))
    if name is None:
        records = [get_method(task, one) for task in tasks for one in method_names(task)]
        return Outcome(_table(records), {"methods": [_short(record) for record in records]})
    found = [get_method(task, name) for task in tasks if name in method_names(task)]
    if not found:
        from xstf.cubes.words import unknown

        names = {one for task in tasks for one in method_names(task)}
        raise ValueError(unknown("method", name, sorted(names)))
    text = "\n\n".join(map(_page, found))
    return Outcome(text, {"methods": [_data(record) for record in found]})


def _asked(names: list[str]) -> tuple[list[Task], str | None]:
    """Return the tasks that are asked for, and the method."""
    from xstf._method import TASKS as every
    from xstf.methods.lookup import read_task

    if len(names) > 2:
        raise ValueError(f"methods takes a task, a method, or both, not {' '.join(names)}")
    if len(names) == 2:
        return [read_task(names[0])], names[1]
    if names and names[0] in (*TASKS, *SHORT):
        return [read_task(names[0])], None
    return [*every], names[0] if names else None


def _table(records: list[Method]) -> str:
    wide = max(len(record.name) for record in records)
    return "\n".join(f"{r.task:16} {r.name:{wide}} {r.summary}" for r in records)


def _short(record: Method) -> dict[str, Any]:
    return {"task": record.task, "name": record.name, "summary": record.summary}


def _data(record: Method) -> dict[str, Any]:
    return {
        **_short(record), "engines": [*record.kernels], "needs": _needs(record),
        "std": record.std, "network": record.net is not None, "reference": record.reference,
        "parameters": [
            {"name": name, "default": default, "text": text}
            for name, default, text in _parameters(record)
        ],
    }  # fmt: skip


def _parameters(record: Method) -> list[tuple[str, Any, str]]:
    """Return a method's parameters: name, default, and what its docstring says of each."""
    import dataclasses

    told = _told(record.params.__doc__ or "")
    return [
        (f.name, None if f.default is dataclasses.MISSING else f.default, told.get(f.name, ""))
        for f in dataclasses.fields(record.params)
    ]


def _told(docstring: str) -> dict[str, str]:
    """Return the texts of a numpydoc section of parameters, by name."""
    import inspect

    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in inspect.cleandoc(docstring).partition("----------\n")[2].splitlines():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
        elif line.strip():
            for name in names:
                found.setdefault(name, []).append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}


def _needs(record: Method) -> str:
    """Return in words what a method takes at least."""
    words = []
    if record.task == "fuse":
        words.append(f"{' or '.join(str(n) for n in sorted(set(record.pairs)))} pairs of images")
    elif record.task in ("gapfill", "sts"):
        kind = "dates" if record.task == "gapfill" else "paired dates"
        words.append(f"{record.fewest} {kind} or more")
    if record.guided:
        words.append("makes use of radar")
    if record.net is not None:
        words.append("trained weights (-p weights=FILE; xstf train)")
    return ", ".join(words) or "nothing but the inputs"


def _page(record: Method) -> str:
    """Return all of a method, as text."""
    kind = "network" if record.net is not None else "method"
    lines = [
        f"{record.name}: {kind} of {record.task}",
        *textwrap.wrap(record.summary, 90, initial_indent="  ", subsequent_indent="  "),
        f"  needs: {_needs(record)}",
        f"  engines: {', '.join(record.kernels)}",
        f"  standard deviation (--quality): {'yes' if record.std else 'no'}",
        "  parameters (-p NAME=VALUE):",
    ]
    for name, default, text in _parameters(record):
        lines.append(f"    {name}={default}")
        lines += textwrap.wrap(text, 90, initial_indent="        ", subsequent_indent="        ")
    if lines[-1].endswith(":"):
        lines[-1] = "  parameters: none"
    source = textwrap.wrap(record.reference, 84, subsequent_indent="    ")
    return "\n".join(
        [*lines, f"  source: {source[0]}" if source else "  source: none", *source[1:]]
    )
