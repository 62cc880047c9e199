"""Who may import whom: the floors of the house, as a table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "xstf"

# What a file may import of xstf at module level: the arrows that point down.
FLOORS = {
    "_version": set(),
    "_recipe": set(),
    "_method": {"_recipe"},
    "_pairs": set(),
    "_grid": set(),
    "_nest": {"_grid"},
    "_resample": {"_grid"},
    "_tiles": {"_method"},
    "_samples": set(),
    "_flags": set(),
    "_engines": {"_method"},
    "_inputs": {"_grid", "_method"},
    "_labels": {"_inputs"},
    "_show": {"_method"},
    "_call": {"_inputs", "_labels", "_method", "_version"},
    "_windows": set(),
    "_bring": {"_engines", "_grid", "_inputs", "_nest", "_resample", "_tiles"},
    "_fuse_tile": {"_engines", "_flags", "_windows"},
    "_guide_tile": {"_engines", "_grid", "_resample"},
    "_gap_tile": {"_engines", "_flags", "_guide_tile", "methods.gapfill._screen"},
    "_guides": {"_engines", "_grid", "_guide_tile", "_inputs", "_pairs", "_tiles"},
    "_checkpoint": {"_engines", "_method"},
    "_fuse": {
        "_bring", "_call", "_checkpoint", "_engines", "_flags", "_fuse_tile", "_grid", "_inputs",
        "_labels", "_method", "_nest", "_pairs", "_samples", "_sts", "_tiles",
    },
    "_sts_tile": {"_engines", "_flags", "_windows"},
    "_sts": {
        "_bring", "_call", "_checkpoint", "_engines", "_flags", "_guides", "_inputs", "_labels",
        "_method", "_nest", "_pairs", "_samples", "_sts_tile", "_tiles",
    },
    "_gapfill": {
        "_call", "_checkpoint", "_engines", "_flags", "_gap_tile", "_guide_tile", "_guides",
        "_inputs", "_labels", "_method", "_pairs", "_samples", "_tiles", "methods.gapfill._screen",
        "methods.gapfill._season",
    },
    "_sharpen_tile": {
        "_engines", "_flags", "_windows", "methods.sharpen_spectral._response",
    },
    "_sharpen": {
        "_bring", "_call", "_checkpoint", "_engines", "_flags", "_inputs", "_labels", "_method",
        "_nest", "_pairs", "_samples", "_sharpen_tile", "_tiles",
        "methods.sharpen_spectral._response", "sensors",
    },
    "sensors": set(),
    "accessor": {"_fuse", "_sharpen", "_gapfill", "evaluate", "_method"},
    # Beside the tower: they may call the verbs, the tower never imports them.
    "_partners": {"_grid", "_inputs"},
    "metrics": {"_partners"},
    "_landscape": set(),
    "_transplant": set(),
    "masks": {"_inputs"},
    "simulate": {"_inputs", "_landscape", "_transplant"},
    "_seasons": {"_landscape"},
    "_series": {"_landscape", "_seasons", "_spectra", "sensors", "simulate"},
    "_crops": {"_seasons"},
    "_sky": set(),
    "_sentinels": {"_crops", "_sky"},
    "_spectra": {"_landscape", "_seasons", "sensors", "simulate"},
    "scenes": {"_crops", "_seasons", "_sentinels", "_series", "_spectra", "simulate"},
    "_evaluate_sharpen": {
        "_bring", "_inputs", "_method", "_nest", "_sharpen", "metrics",
        "methods.sharpen_spectral._resampling",
    },
    "_evaluate_sts": {"_fuse", "_inputs", "_method", "_sharpen", "_sts", "metrics"},
    "evaluate": {
        "_evaluate_sharpen", "_evaluate_sts", "_inputs", "_method", "_pairs", "_fuse", "_gapfill",
        "metrics", "methods._baselines", "simulate",
    },
    "_manifest": {"_version"},
    "weights": {"_manifest", "_version"},
    "train.__init__": {"_recipe", "train.fit"},
    "train.fit": {
        "_engines", "_method", "_recipe", "_version", "methods._networks", "train.filling",
        "train.course", "train.fusion", "train.loop", "train.series", "train.sharpening",
        "weights",
    },
    "train.fusion": {
        "_bring", "_engines", "_fuse", "_inputs", "_method", "_pairs", "_recipe", "_tiles",
        "methods._upsample", "methods.fuse._network", "train.course", "train.lessons",
        "train.losses",
    },
    "train.lessons": {"_pairs"},
    "train.filling": {
        "_engines", "_guides", "_inputs", "_method", "_recipe", "_tiles",
        "methods.gapfill._prior", "methods.gapfill._video", "train.course",
        "train.filling_lessons", "train.losses",
    },
    "train.filling_lessons": {
        "_samples", "methods.gapfill._prior", "train.course", "train.hiding",
    },
    "train.sharpening": {
        "_bring", "_engines", "_inputs", "_method", "_nest", "_recipe", "_samples", "_sharpen",
        "_tiles", "methods.sharpen_spectral._response", "train.course", "train.losses",
    },
    "train.series": {
        "_method", "_recipe", "_sts", "methods.sts._network", "nets.sts", "train.course",
        "train.series_lessons",
    },
    "train.series_lessons": {
        "_engines", "_method", "_sts", "_tiles", "methods.sharpen_spectral._resampling",
        "methods.sts._linear", "methods.sts._network", "methods.sts._steps",
    },
    "train.hiding": set(),
    "train.course": {"_recipe"},
    "train.loop": {"_recipe", "methods._networks", "train.course", "train.losses", "weights"},
    "train.losses": set(),
    "plot": {"_inputs"},
    "files": set(),
    "testing": {"scenes"},
    "_demo": {"evaluate", "files", "metrics", "plot", "scenes", "_method"},
    "__main__": {"*"},
    "__init__": {"*"},
}  # fmt: skip
METHODS_MAY = {"_method", "_recipe"}
# Methods that are made of others.
GAPFILL, SHARPEN = "methods.gapfill.", "methods.sharpen_spectral."
MADE_OF_METHODS = {
    GAPFILL + "auto": {
        GAPFILL + n for n in ("eof", "gp", "harmonic", "hybrid", "linear", "mnspi", "regression")
    },
    SHARPEN + "auto": {SHARPEN + n for n in ("hysure", "local_regression", "mtf_glp_hs")},
    SHARPEN + "s2sharp": {SHARPEN + "local_regression"},
    GAPFILL + "hybrid": {GAPFILL + "mnspi"},
    GAPFILL + "mnspi": {GAPFILL + "linear"},
    GAPFILL + "_prior": {GAPFILL + n for n in ("eof", "harmonic", "linear")},
}
DASK = {"_tiles", "_samples", "testing"}
NO_XARRAY = {
    "_method", "_pairs", "_tiles", "_samples", "_engines", "_fuse_tile", "_gap_tile", "_guide_tile",
    "_grid", "_nest", "_resample",
}  # fmt: skip
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
    return {part for part in parts if part in files and part not in ("train", "nets")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
    name = name_of(path)
    found = inside(imported(ast.parse(path.read_text()), top_level=True))
    if name.startswith("nets"):
        wrong = {f for f in found if not f.startswith("nets")}
    elif name.startswith("methods"):
        wrong = {f for f in found if f not in METHODS_MAY and not f.startswith("methods")}
        siblings = {f for f in found if f.startswith("methods") and not is_shared(f)}
        own = ".".join(name.split(".")[:-1])
        wrong |= {f for f in siblings if not f.startswith(own + "._") and f != own}
        wrong -= MADE_OF_METHODS.get(name, set())
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
    if not (name.startswith(("nets.", "train.")) or name == "weights"):
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
