"""The `.stf` accessor: the verbs' signatures and docstrings, what it says of a cube, its types."""

from __future__ import annotations

import inspect
import os
import pydoc
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

import xstf
from xstf.accessor import StfAccessor
from xstf.testing import raise_if_dask_computes

ROOT = Path(__file__).parent.parent
METHODS = {
    "fuse": xstf.fuse,
    "gapfill": xstf.gapfill,
    "sharpen_spectral": xstf.sharpen_spectral,
    "plan": xstf.plan,
    "evaluate": xstf.evaluate_fusion,
    "evaluate_gapfill": xstf.evaluate_gapfill,
    "evaluate_sharpen_spectral": xstf.evaluate_sharpen_spectral,
    "evaluate_sharpen": xstf.evaluate_sharpen,
}
VERBS = ["fuse", "gapfill", "sharpen_spectral"]


def shape(function, skip):
    """Names, kinds and defaults of a function's arguments."""
    arguments = list(inspect.signature(function).parameters.values())[skip:]
    return [(p.name, p.kind, p.default) for p in arguments]


def test_these_are_its_methods(scene):
    assert dir(scene[0].stf) == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_signatures_are_those_of_the_functions(scene, name):
    assert shape(getattr(scene[0].stf, name), 0) == shape(METHODS[name], 1)


@pytest.mark.parametrize("name", METHODS)
def test_docstrings_are_those_of_the_functions(scene, name):
    method, function = getattr(scene[0].stf, name), METHODS[name]
    ours, theirs = (inspect.getdoc(f).splitlines() for f in (method, function))
    changed = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    first = next(iter(inspect.signature(function).parameters))
    assert changed == [(f"{theirs_line}; `{first}` is this cube", theirs_line)
                       for _, theirs_line in changed]  # fmt: skip
    assert len(changed) == 1
    assert "Parameters" in ours
    assert method.__doc__ == getattr(StfAccessor, name).__doc__
    assert theirs[0] in pydoc.render_doc(method)  # help() in a console


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_plain_functions_whose_type_hints_resolve(scene, name):
    assert inspect.isfunction(getattr(StfAccessor, name))
    assert inspect.ismethod(getattr(scene[0].stf, name))
    for function in (getattr(StfAccessor, name), METHODS[name]):
        assert "return" in typing.get_type_hints(function)


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("door", ["function", "method"])
def test_overloads_have_the_arguments_of_what_they_describe(name, door):
    function = METHODS[name] if door == "function" else getattr(StfAccessor, name)
    overloads = typing.get_overloads(function)
    assert len(overloads) == 4
    for one in overloads:
        wanted = inspect.signature(function).parameters
        found = inspect.signature(one).parameters
        assert [(p.name, p.kind) for p in found.values()] == [
            (p.name, p.kind) for p in wanted.values()
        ]
        for argument in wanted.values():
            asked = found[argument.name].default is inspect.Parameter.empty
            needed = argument.default is inspect.Parameter.empty
            assert asked == needed or argument.name == "return_quality"
            hint = str(argument.annotation).replace("xr.DataArray | xr.Dataset", "Labelled")
            if argument.name not in ("return_quality", *list(wanted)[:1]):
                assert found[argument.name].annotation == hint


@pytest.mark.slow
def test_a_type_checker_knows_what_comes_back(tmp_path):
    """mypy on a user's file, with the types that ship in the package."""
    pytest.importorskip("mypy", reason="needs mypy")
    (tmp_path / "user.py").write_text(
        "import xarray as xr\n"
        "import xstf\n"
        "from xstf.accessor import StfAccessor\n"
        "def check(a: xr.DataArray, d: xr.Dataset, either: bool) -> None:\n"
        "    reveal_type(xstf.fuse(a, d))\n"
        "    reveal_type(xstf.fuse(a, a, return_quality=True))\n"
        "    reveal_type(xstf.fuse(d, a))\n"
        "    reveal_type(xstf.fuse(a, a, return_quality=either))\n"
        "    reveal_type(xstf.gapfill(a, window=9))\n"
        "    reveal_type(xstf.sharpen_spectral(d, a, return_quality=True))\n"
        "    reveal_type(StfAccessor(a).gapfill())\n"
        "    reveal_type(StfAccessor(d).fuse(a))\n"
        "    reveal_type(StfAccessor(a).sharpen_spectral(a, return_quality=True))\n"
        "    xstf.fuse(a, a, pair_tolerance=None)\n"
