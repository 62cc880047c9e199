"""Sphinx: pages in Markdown, the methods page made from the records."""

import inspect
from pathlib import Path

import xstf
from xstf._method import TASKS, get_method, method_names

project = "xstf"
author = "the xstf developers"
copyright = "2026, the xstf developers"
version = release = xstf.__version__

extensions = [
    "myst_parser",
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
numpydoc_validation_checks = {"GL03", "GL08", "SS03", "PR01", "PR02", "PR03"}
autodoc_typehints = "none"
nitpicky = False


def write_methods_page() -> None:
    """Write what every record says of itself."""
    lines = ["# The methods", "", "This page is made from the records that the code uses.", ""]
    for task in TASKS:
        names = method_names(task)
        if not names:
            continue
        lines += [f"## `{task}`", "", "| method | pairs | engines | std | what it does |",
                  "| --- | --- | --- | --- | --- |"]  # fmt: skip
        for name in names:
            r = get_method(task, name)
            pairs = str(r.pairs[0]) if r.pairs[0] == r.pairs[1] else f"{r.pairs[0]} or {r.pairs[1]}"
            std = "yes" if r.std else "no"
            lines.append(
                f"| [{name}](#{name}) | {pairs} | {', '.join(r.kernels)} | {std} | {r.summary} |"
            )
        for name in names:
            lines += ["", f"### {name}", "", *describe(get_method(task, name))]
    Path(__file__).with_name("methods.md").write_text("\n".join(lines) + "\n")


def describe(record) -> list[str]:
    """Return a record's parameters, exemptions and its file's own docstring."""
    module = inspect.getmodule(next(iter(record.kernels.values())))
    lines = ["```{eval-rst}", inspect.cleandoc(module.__doc__), "```", "", "Parameters:", ""]
    lines += ["```{eval-rst}", inspect.cleandoc(record.params.__doc__), "```", ""]
    lines += [f"Reference: {record.reference}", ""]
    for law, reason in record.exempt.items():
        lines += [f"Exempt from the law *{law}*: {reason}", ""]
    return lines


write_methods_page()
