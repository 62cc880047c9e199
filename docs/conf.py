"""Sphinx: pages in Markdown, the methods page made from the records."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

from numpydoc import docscrape

import xstf
from xstf._method import TASKS
from xstf.methods.lookup import get_method, list_methods, method_names

project = "xstf"
author = "the xstf developers"
copyright = "2026, the xstf developers"
version = release = xstf.__version__

extensions = [
    "myst_nb",  # myst_parser, and pages with cells that are run
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"xstf {version}"
numpydoc_show_class_members = False
numpydoc_validation_checks = {"GL08", "SS03"}
autodoc_typehints = "none"
nitpicky = False
nb_execution_raise_on_error = True
nb_execution_timeout = 120


WORDS = {"True": "yes", "False": "no"}


def write_methods_page() -> None:
    """Write what every record says of itself."""
    lines = ["# The methods", "", "This page is made from the records that the code uses.", ""]
    for task in TASKS:
        names = method_names(task)
        if not names:
            continue
        table = list_methods(task)
        needs = [c for c in table if c not in ("summary", "engines", "reference")]
        head = ["method", *needs, "engines", "what it does"]
        lines += [f"## `{task}`", "", row(head), row(["---"] * len(head))]
        for name, found in table.iterrows():
            cells = [WORDS.get(str(found[c]), str(found[c])) for c in needs]
            lines.append(row([f"[{name}](#{name})", *cells, found["engines"], found["summary"]]))
        for name in names:
            lines += ["", f"### {name}", "", *describe(get_method(task, name))]
    Path(__file__).with_name("methods.md").write_text("\n".join(lines) + "\n")


def row(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def describe(record) -> list[str]:
    """Return a record's parameters, exemptions and its file's own docstring."""
    file = record.name.replace("-", "_")
    module = importlib.import_module(f"xstf.methods.{record.task}.{file}")
    lines = ["```{eval-rst}", without_headings(module.__doc__), "```", "", "Parameters:", ""]
    lines += [f"- `{name}={default!r}`: {text}" for name, default, text in parameters(record)]
    lines.append("")
    lines += [f"Reference: {record.reference}", ""]
    for law, reason in record.exempt.items():
        lines += [f"Exempt from the law *{law}*: {reason}", ""]
    return lines


def without_headings(text: str) -> str:
    """Return a docstring fit for a page's section.

    Underlined headings become bold lines, and what is indented after a paragraph stands as it is.
    """
    plain = re.sub(r"(?m)^(.+)\n[-=]{3,}$", r"**\1**\n", inspect.cleandoc(text))
    return re.sub(r"(?m)^(\S.*?):{0,2}\n\n(?=    \S)", r"\1::\n\n", plain)


def parameters(record):
    """Give the name, default and description of each of a method's parameters."""
    described = docscrape.ClassDoc(record.params, config={"show_class_members": False})
    texts = {
        name.strip(): " ".join(p.desc)
        for p in described["Parameters"]
        for name in p.name.split(",")
    }
    for field in dataclasses.fields(record.params):
        yield field.name, field.default, texts[field.name]


write_methods_page()
