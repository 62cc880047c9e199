"""Who may import whom: the floors of the house, as a table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "xstf"

# What a file may import of xstf at module level: the arrows that point down.
FLOORS = {
    "_version": set(),
    "_method": set(),
    "_pairs": set(),
    "_grid": set(),
    "_nest": {"_grid"},
    "_resample": {"_grid"},
    "_tiles": {"_method"},
    "_engines": {"_method"},
    "_inputs": {"_grid", "_method"},
    "_labels": {"_inputs"},
    "_show": {"_method"},
    "_fuse_tile": {"_engines"},
    "api": {
        "_engines", "_fuse_tile", "_grid", "_inputs", "_labels", "_method", "_nest", "_pairs",
        "_resample", "_tiles", "_version",
    },
    "accessor": {"api", "evaluate", "_method"},
    # Beside the tower: they may call the verbs, the tower never imports them.
    "_partners": {"_grid", "_inputs"},
    "metrics": {"_partners"},
    "_landscape": set(),
    "simulate": {"_inputs", "_landscape"},
    "_seasons": {"_landscape"},
    "scenes": {"_seasons", "simulate"},
    "evaluate": {"_inputs", "_method", "_pairs", "api", "metrics", "methods._baselines"},
    "plot": {"_inputs"},
    "files": set(),
    "testing": {"scenes"},
    "__main__": {"*"},
    "__init__": {"*"},
}  # fmt: skip
METHODS_MAY = {"_method"}
DASK = {"_tiles", "testing"}
NO_XARRAY = {"_method", "_pairs", "_tiles", "_engines", "_fuse_tile", "_grid", "_nest", "_resample"}
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported(tree: ast.AST, top_level: bool) -> set[str]:
    """Return the dotted names that a file imports; at module level only, or anywhere."""
    nodes = tree.body if top_level else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.If):  # TYPE_CHECKING
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def inside(names: set[str]) -> set[str]:
    """Return the files of xstf among imported names."""
    files = {name_of(p) for p in FILES} | {"methods"}
    parts = {n.removeprefix("xstf.") for n in names if n.startswith("xstf.")}
    return {part for part in parts if part in files}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
    name = name_of(path)
    found = inside(imported(ast.parse(path.read_text()), top_level=True))
    if name.startswith("methods"):
        wrong = {f for f in found if f not in METHODS_MAY and not f.startswith("methods")}
        siblings = {f for f in found if f.startswith("methods") and not is_shared(f)}
        own = ".".join(name.split(".")[:-1])
        wrong |= {f for f in siblings if not f.startswith(own + "._") and f != own}
    else:
        assert name in FLOORS, f"{path.name} is on no floor: add it to the table"
        wrong = set() if "*" in FLOORS[name] else found - FLOORS[name] - {"methods"}
    assert not wrong, f"{name} imports {sorted(wrong)}"


def is_shared(name: str) -> bool:
    """Return whether a file in methods is one that methods share."""
    return name == "methods" or name.split(".")[-1].startswith("_")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_libraries_stay_on_their_floor(path):
    name = name_of(path)
    tree = ast.parse(path.read_text())
    top = {n.split(".")[0] for n in imported(tree, top_level=True)}
    anywhere = {n.split(".")[0] for n in imported(tree, top_level=False)}
    assert "cupy" not in top
    assert "torch" not in top
    assert "matplotlib" not in top
    if name not in DASK:
        assert "dask" not in anywhere
    if name in NO_XARRAY or name.startswith("methods"):
        assert "xarray" not in anywhere
    if not name.startswith("methods"):
        assert "numba" not in anywhere


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_numba_parallelism(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "parallel":
            raise AssertionError(
                f"{path.name}: parallel= aborts the interpreter under dask threads"
            )
        if isinstance(node, ast.Attribute) and node.attr in ("prange", "njit", "guvectorize"):
            assert name_of(path) == "methods._jit", f"{path.name} compiles past methods/_jit.py"


def test_every_floor_exists():
    missing = set(FLOORS) - {name_of(p) for p in FILES}
    assert not missing
