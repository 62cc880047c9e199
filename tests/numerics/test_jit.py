"""How kernels are compiled: a median, who may call a part, how often, and what is said of it."""

from __future__ import annotations

import ast
import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from xstf.numerics.compiling import MESSAGE, Compiling, Pause
from xstf.numerics.jit import jit, middle

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "xstf").rglob("*.py"))
USERS = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "asv_bench").rglob("*.py")]
WHOLE = (int, bool)  # numba makes a type of each of these constants


@jit
def _middle(values: np.ndarray) -> float:
    """Call what Python cannot."""
    return middle(values)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 31, 100])
def test_the_middle_is_the_median(size):
    rng = np.random.default_rng(size)
    many = rng.integers(0, 5, size).astype(float)  # many are equal
    for values in (rng.normal(size=size), many, np.sort(many), np.sort(many)[::-1].copy()):
        expected = np.median(values)
        assert _middle(values) == expected


def kind_of(node: ast.AST) -> str | None:
    """Return "jit" or "part" of a function that is compiled."""
    if isinstance(node, ast.FunctionDef):
        for one in node.decorator_list:
            if isinstance(one, ast.Name) and one.id in ("jit", "part"):
                return one.id
    return None


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def compiled(path: Path) -> dict[str, str]:
    """Return the compiled functions of a file by name, each with its decorator's."""
    if "numerics.jit import" not in path.read_text() and path.name != "jit.py":
        return {}
    nodes = tree_of(path).body
    return {n.name: kind for n in nodes if isinstance(n, ast.FunctionDef) and (kind := kind_of(n))}


@cache
def reached(path: Path) -> dict[str, str]:
    """Return the compiled functions that a file has or imports, by the name it has them under."""
    found = dict(compiled(path))
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("xstf"):
            place = ROOT / node.module.replace(".", "/")
            for one in node.names:
                name = one.asname or one.name
                for file in (place.with_suffix(".py"), place / "__init__.py"):
                    if file.exists() and (kind := compiled(file).get(one.name)):
                        found[name] = kind
                if (file := place / f"{one.name}.py").exists():
                    found |= {f"{name}.{f}": k for f, k in compiled(file).items()}
    return found


def dotted(node: ast.AST) -> str:
    """Return a name as it is written, with its module."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def outside(node: ast.AST) -> Iterator[str]:
    """Yield the names that Python itself reads: not those in the bodies of compiled functions."""
    for child in ast.iter_child_nodes(node):
        if not kind_of(child):
            if isinstance(child, ast.Name | ast.Attribute) and isinstance(child.ctx, ast.Load):
                yield dotted(child)
            yield from outside(child)


def test_only_compiled_loops_call_a_part():
    """A part has no entry for Python: the interpreter would end without a word."""
    every = {name for path in FILES for name, kind in compiled(path).items() if kind == "part"}
    named = re.compile(rf"\b({'|'.join(every)})\b")
    assert len(every) > 30
    for path in USERS:
        if named.search(path.read_text()):
            parts = {name for name, kind in reached(path).items() if kind == "part"}
            assert not parts.intersection(outside(tree_of(path))), path


def constants(function: ast.FunctionDef) -> set[str]:
    """Return the variables of a function that are a whole number or a flag anywhere."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))  # or starred
                found |= {n.id for n, v in pairs if isinstance(n, ast.Name) and is_whole(v)}
    return found


def is_whole(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, WHOLE)


def test_no_loop_is_compiled_for_a_constant():
    """``f(x, 1)`` and ``f(x, 2)`` are compiled one by one, and a counter once more as a 0."""
    ours = [p for p in FILES if "gapfill" in p.parts or "numerics" in p.parts]
    for path in (p for p in ours if compiled(p)):
        for function in tree_of(path).body:
            for call in (
                n for n in ast.walk(function) if kind_of(function) and isinstance(n, ast.Call)
            ):
                if dotted(call.func) in reached(path):
                    vague = constants(function)
                    for one in call.args:
                        given = f"{path}: {function.name} gives {ast.unparse(one)} to a loop"
                        assert not is_whole(one), given
                        assert not isinstance(one, ast.Name) or one.id not in vague, given


COUNT = """
import numpy as np, xstf
from numba.core.dispatcher import Dispatcher
cube, sar = xstf.testing.holes()
cube.isel(time=slice(8), x=slice(12), y=slice(12)).stf.gapfill()
import sys
found = {
    f"{one.py_func.__module__}.{one.py_func.__name__}": len(one.signatures)
    for name, module in list(sys.modules.items()) if name.startswith("xstf.")
    for one in vars(module).values() if isinstance(one, Dispatcher)
}
print({name: count for name, count in found.items() if count})
"""


@pytest.mark.slow
def test_the_default_compiles_each_loop_once():
    """For one layout and one type of numbers; loops that others call are counted if not cached."""
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    found = ast.literal_eval(done.stdout)
    assert "xstf.numerics.seasonal_blocks._run" in found
    assert max(found.values()) == 1, found
    assert len(found) <= 71


def test_long_compiling_is_told_once(capsys):
    """numba compiles a loop within another; time between two calls does not count."""
    clock = iter([0, 1, 2, 2.5, 10, 10.4, 11, 11.2, 13, 14])
    listener = Compiling(patience=3, clock=lambda: next(clock))
    listener.on_start(None)  # 0
    listener.on_start(None)
    listener.on_end(None)
    listener.on_end(None)  # 2.5 seconds in all
    assert capsys.readouterr().err == ""
    listener.on_start(None)  # 10
    listener.on_end(None)
    assert capsys.readouterr().err == ""
    listener.on_start(None)
    listener.on_start(None)
    assert capsys.readouterr().err == MESSAGE + "\n"
    listener.on_end(None)
    listener.on_end(None)
    assert capsys.readouterr().err == ""
    assert listener.count == 5


def test_collection_rests_while_a_loop_of_ours_compiles():
    """It goes on after the outermost one; loops of others do not touch it."""

    class Compiled:
        def __init__(self, module):
            self.data = {"dispatcher": self}
            self.py_func = type("", (), {"__module__": module})

    pause, ours, other = Pause(), Compiled("xstf.loops"), Compiled("user")
    assert gc.isenabled()
    pause.on_start(other)
    assert gc.isenabled()
    pause.on_end(other)
    pause.on_start(ours)
    pause.on_start(other)  # what ours calls
    pause.on_end(other)
    assert not gc.isenabled()
    pause.on_end(ours)
    assert gc.isenabled()
    gc.disable()
    try:
        pause.on_start(ours)
        pause.on_end(ours)
        assert not gc.isenabled()  # as it was
    finally:
        gc.enable()


MAKERS = {"empty", "zeros", "ones", "full", "arange", "copy", "empty_like", "zeros_like"}


def test_compiled_loops_make_no_arrays():
    """numba counts no references in them, and says so only when they are compiled."""
    for path in (p for p in FILES if compiled(p)):
        for function in tree_of(path).body:
            if kind_of(function):
                for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
                    name = dotted(call.func)
                    assert name.split(".")[-1] not in MAKERS, f"{path}: {function.name}: {name}"
