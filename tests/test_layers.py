"""Who may import whom: ten rows, downward only; and which library is known where."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "xstf"

# Each row may import the rows below it. Within a row a folder may import its own files, and the
# row beside the tower its neighbours; nowhere is there a circle.
ROWS = (
    ("__main__", "cli"),
    ("accessor", "__init__"),
    ("evaluate",),
    ("verbs",),
    ("train",),
    ("align",),
    ("tiles", "methods"),
    (
        "weights",
        "store",
        "scenes",
        "metrics",
        "masks",
        "plot",
        "simulate",
        "sensors",
        "testing",
        "_inputs",
    ),
    ("_method",),
    ("cubes", "numerics", "nets", "files", "_version", "_checks", "_recipe"),
)  # fmt: skip
OPEN_ROWS = (ROWS[0], ROWS[1], ROWS[7])

# Only these load a file of ours by a name that is made at run time: methods and networks by the
# name in their record, records in a store by theirs, and the public names of the package when they
# are first asked for.
BY_NAME = {"__init__", "methods.lookup", "store.encoding", "weights.running", "train.fit"}

FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NAMES = {name_of(path): path for path in FILES}


def file_of(dotted: str) -> str | None:
    """Return the file of xstf that a dotted name is in; None where it is in none."""
    parts = dotted.split(".")
    if parts[0] != "xstf":
        return None
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[1:count])
        for found in (name, f"{name}.__init__".strip(".")):
            if found in NAMES:
                return found
    return None


@cache
def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports: anywhere, in functions and in strings too."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"xstf(\.\w+)+", node.value)
        ):
            names.add(node.value)
    return names


def inside(path: Path) -> set[str]:
    """Return the files of xstf that a file imports."""
    return {f for f in map(file_of, imported(path)) if f is not None and f != name_of(path)}


def row_of(name: str) -> int:
    top = name.split(".")[0]
    rows = [i for i, row in enumerate(ROWS) if top in row]
    assert rows, f"{name} is in no row: the folders of xstf/ are in docs/architecture.md"
    return rows[0]


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name):
    top, wrong = name.split(".")[0], set()
    for other in inside(NAMES[name]):
        neighbours = any({top, other.split(".")[0]} <= set(row) for row in OPEN_ROWS)
        if other.split(".")[0] != top and not neighbours and row_of(other) <= row_of(name):
            wrong.add(other)
    if row_of(name) == 0:  # the command line calls the public names
        wrong.discard("__init__")
    if name == "__init__":  # which it loads when they are first asked for
        wrong = {f for f in wrong if row_of(f) == 0}
    assert not wrong, f"{name} imports upwards or sideways: {sorted(wrong)}"


def test_there_is_no_circle():
    arrows = {name: inside(path) - {"__init__"} for name, path in NAMES.items()}
    while leaves := {n for n, to in arrows.items() if not to & arrows.keys()}:
        arrows = {n: to for n, to in arrows.items() if n not in leaves}
    assert not arrows, f"these import each other: {sorted(arrows)}"


@pytest.mark.parametrize("name", NAMES)
def test_libraries_are_known_where_they_belong(name):
    """dask in tiles, torch in networks, xarray outside of kernels, cupy inside functions."""
    path, top = NAMES[name], name.split(".")[0]
    tree = tree_of(path)
    first = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    at_top = {n.split(".")[0] for n in names_in(ast.Module(first, []))}
    anywhere = {n.split(".")[0] for n in names_in(tree)}
    assert not {"cupy", "matplotlib"} & at_top
    if top not in ("nets", "train"):
        assert "torch" not in at_top
    if top not in ("tiles", "store", "testing"):
        assert "dask" not in anywhere
    if top in ("tiles", "methods", "numerics", "nets", "weights", "_method"):
        assert "xarray" not in anywhere
    if top not in ("methods", "numerics"):
        assert "numba" not in anywhere
    if name not in BY_NAME:
        loads = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") == "import_module"
            and "xstf" in ast.unparse(node)
        ]
        assert not loads, f"{name} loads files of xstf by name: {[ast.unparse(n) for n in loads]}"


def names_in(tree: ast.AST) -> set[str]:
    """Return the modules that a tree imports at any depth."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_numba_parallelism(name):
    for node in ast.walk(tree_of(NAMES[name])):
        if isinstance(node, ast.keyword) and node.arg == "parallel":
            raise AssertionError(f"{name}: parallel= aborts the interpreter under dask threads")
        if isinstance(node, ast.Attribute) and node.attr in ("prange", "njit", "guvectorize"):
            assert name == "numerics.jit", f"{name} compiles past numerics/jit.py"


def test_every_row_exists():
    have = {name.split(".")[0] for name in NAMES}
    assert {top for row in ROWS for top in row} == have


def test_the_page_on_the_architecture_lists_the_folders_there_are():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))
    folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert listed == folders
    drawn = page.split("```text")[1].split("```")[0]
    for name in {name.split(".")[0] for name in NAMES} - {"__init__"}:
        assert name in drawn, f"{name} is not in the diagram"


def test_every_folder_says_what_it_is():
    for folder in {path.parent for path in FILES if path.parent != PACKAGE}:
        opening = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert opening, f"{folder.name}/__init__.py says nothing"
    assert len([p for p in PACKAGE.iterdir() if p.is_file()]) <= 20
