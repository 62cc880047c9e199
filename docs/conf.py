"""Sphinx: pages in Markdown; those on methods and on the command line are made from the code."""

import sys
from pathlib import Path

import xstf

sys.path.insert(0, str(Path(__file__).parent))

import made_pages

project = "xstf"
author = "the xstf developers"
copyright = "2026, the xstf developers"
version = release = xstf.__version__

extensions = [
    "myst_nb",  # myst_parser, and pages with cells that are run
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "numpydoc",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
highlight_language = "none"  # equations in docstrings; code says what it is
html_theme = "furo"
html_title = f"xstf {version}"
html_static_path = ["static"]
html_css_files = ["tables.css"]
numpydoc_show_class_members = False
numpydoc_validation_checks = {"GL08", "SS03"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autosummary_generate = False
nitpicky = False
nb_execution_raise_on_error = True
nb_execution_timeout = 120

made_pages.write(Path(__file__).parent)
