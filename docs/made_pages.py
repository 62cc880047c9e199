"""Pages made from the code: one a method from its record, and the command line's options."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from numpydoc import docscrape

from xstf._method import TASKS, Method
from xstf.cli.main import build
from xstf.cli.parser import Parser
from xstf.methods.lookup import get_method, list_methods, method_names

WORDS = {"True": "yes", "False": "no"}
TITLES = {
    "fuse": "Fusion",
    "gapfill": "Filling gaps",
    "sharpen_spectral": "Sharpening",
    "sts": "Series with many bands",
}


def write(folder: Path) -> None:
    """Write all pages that are made into the folder of the docs."""
    put(folder / "methods.md", overview())
    pages = folder / "methods"
    wanted = {f"{task}_{name}.md": name for task in TASKS for name in method_names(task)}
    pages.mkdir(exist_ok=True)
    for old in pages.iterdir():
        if old.name not in wanted:
            old.unlink()
    for task in TASKS:
        for name in method_names(task):
            put(pages / f"{task}_{name}.md", method_page(get_method(task, name)))
    put(folder / "command_reference.md", command_reference())


def put(path: Path, lines: list[str]) -> None:
    """Write a page if it is new or has changed, so that Sphinx reads again only what must be."""
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def row(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# --- methods ----------------------------------------------------------------------------------


def overview() -> list[str]:
    """Return the page that lists all methods."""
    lines = [
        "# How each method works", "",
        "A page a method: its equations, its source, what that leaves open and what was chosen, "
        "and its parameters. All are made from the records that the code uses; "
        "`xstf.list_methods(verb)` gives the same tables.",
    ]  # fmt: skip
    for task in TASKS:
        names = method_names(task)
        table = list_methods(task)
        needs = [c for c in table if c not in ("summary", "engines", "reference")]
        lines += ["", f"## {TITLES[task]}", "", row(["method", "what it does", *needs, "engines"])]
        lines.append(row(["---"] * (3 + len(needs))))
        for name, found in table.iterrows():
            cells = [WORDS.get(str(found[c]), str(found[c])) for c in needs]
            link = f"[`{name}`](methods/{task}_{name}.md)"
            lines.append(row([link, found["summary"], *cells, found["engines"]]))
        pages = [f"{name} ({task}) <methods/{task}_{name}>" for name in names]
        lines += ["", "```{toctree}", ":hidden:", "", *pages, "```"]
    return lines


def method_page(record: Method) -> list[str]:
    """Return the page of a method: its file's docstring, parameters, exemptions, reference."""
    file = record.name.replace("-", "_")
    module = importlib.import_module(f"xstf.methods.{record.task}.{file}")
    lines = [f"# {record.name}", "", f"*{TITLES[record.task]}.* {record.summary}", ""]
    lines += [call(record), "", "## Method", ""]
    lines += ["```{eval-rst}", without_headings(module.__doc__ or ""), "```", ""]
    found = list(parameters(record))
    if found:
        lines += ["## Parameters", "", row(["parameter", "default", "what it is"])]
        lines.append(row(["---"] * 3))
        lines += [row([f"`{name}`", f"`{default!r}`", text]) for name, default, text in found]
    if record.exempt:
        lines += ["", "## Laws that it does not keep", ""]
        lines += [f"- *{law}*: {reason}" for law, reason in record.exempt.items()]
    return [*lines, "", "## Reference", "", record.reference]


def call(record: Method) -> str:
    """Return in words how a method is called and which engines run it."""
    calls = {
        "fuse": "fine.stf.fuse(coarse, method={!r})",
        "gapfill": "cube.stf.gapfill(method={!r})",
        "sharpen_spectral": "spectral.stf.sharpen_spectral(spatial, method={!r})",
        "sts": "spectral.stf.fuse(dense, spatial=sharp, method={!r})",
    }
    code = calls[record.task].format(record.name).replace("'", '"')
    return f"`{code}`; engines: {', '.join(record.kernels)}."


def without_headings(text: str) -> str:
    """Return a docstring fit for a page's section.

    Underlined headings become bold lines, and what is indented after a paragraph stands as it is.
    """
    plain = re.sub(r"(?m)^(.+)\n[-=]{3,}$", r"**\1**\n", inspect.cleandoc(text))
    return re.sub(r"(?m)^(\S.*?):{0,2}\n\n(?=    \S)", r"\1::\n\n", plain)


def parameters(record: Method) -> Iterator[tuple[str, object, str]]:
    """Give the name, default and description of each of a method's parameters."""
    described = docscrape.ClassDoc(record.params, config={"show_class_members": False})
    texts = {
        name.strip(): " ".join(p.desc)
        for p in described["Parameters"]
        for name in p.name.split(",")
    }
    for field in dataclasses.fields(record.params):
        yield field.name, field.default, texts[field.name]


# --- command line -----------------------------------------------------------------------------


def command_reference() -> list[str]:
    """Return the page with every command's options, from the parser itself."""
    lines = [
        "# Commands and options", "",
        "Made from the parser: what `xstf COMMAND --help` prints. {doc}`command_line` has recipes.",
    ]  # fmt: skip
    for name, parser in commands(build(), "xstf"):
        lines += ["", f"## {name}", "", *command(parser)]
    return lines


def commands(parser: Parser, name: str) -> Iterator[tuple[str, Parser]]:
    """Give each command that does something, with its parser."""
    if not parser.commands:
        yield name, parser
    seen = set()  # a command may have a second, shorter name
    for word, below in parser.commands.items():
        if below in seen:
            continue
        seen.add(below)
        yield from commands(below, f"{name} {word}")


def command(parser: Parser) -> list[str]:
    """Return a command's usage, tables of its options by group, and examples."""
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    lines = ["```text", usage, "```", "", plain(parser.description or "")]
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
        actions = [a for a in actions if "--help" not in a.option_strings]
        if actions:
            lines += ["", f"**{(group.title or '').capitalize()}**", ""]
            lines += [row(["option", "what it does"]), row(["---"] * 2)]
            lines += [row([called(a), plain(expanded(a, parser))]) for a in actions]
    if parser.epilog:
        lines += ["", "```text", inspect.cleandoc(parser.epilog), "```"]
    return lines


def called(action: argparse.Action) -> str:
    """Return how an option or argument is written."""
    taken = action.metavar or ""
    if action.choices and not taken:
        taken = "{" + ",".join(map(str, action.choices)) + "}"
    if isinstance(taken, tuple):
        taken = " ".join(taken)
    names = action.option_strings or [str(taken or action.dest)]
    shown = ", ".join(f"`{name}`" for name in names)
    return f"{shown} `{taken}`" if action.option_strings and taken and action.nargs != 0 else shown


def expanded(action: argparse.Action, parser: Parser) -> str:
    """Return an option's help with its default in it."""
    return (action.help or "") % {**vars(action), "prog": parser.prog}


def plain(text: str) -> str:
    """Return text on one line that Markdown shows as it is."""
    return re.sub(r"(?<!`)([*_<>\[\]~])", r"\\\1", " ".join(text.split()))
