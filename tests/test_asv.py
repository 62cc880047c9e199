"""Every benchmark runs once, small, so that none rots."""

from __future__ import annotations

import importlib
import inspect
import itertools
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "asv_bench"
pytestmark = pytest.mark.slow


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.setenv("XSTF_BENCH_SMALL", "1")
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in [n for n in sys.modules if n.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    from xstf.tiles import run as _tiles

    monkeypatch.setattr(_tiles, "cores", _tiles.cores)
    names = [p.stem for p in (FOLDER / "benchmarks").glob("[!_]*.py")]
    return [importlib.import_module(f"benchmarks.{n}") for n in names]


def test_every_benchmark_runs_once(benchmarks):
    ran = 0
    for module in benchmarks:
        for _, suite in inspect.getmembers(module, inspect.isclass):
            if suite.__module__ == module.__name__:
                ran += run_suite(suite)
    assert ran >= 10


def run_suite(suite):
    axes = getattr(suite, "params", [])
    axes = axes if axes and isinstance(axes[0], list | tuple) else [axes] if axes else []
    ran = 0
    for values in itertools.product(*axes):
        made = suite()
        try:
            if hasattr(made, "setup"):
                made.setup(*values)
        except NotImplementedError:  # asv's way to leave a combination out
            continue
        for name, function in inspect.getmembers(made, inspect.ismethod):
            if name.split("_")[0] in ("time", "track", "peakmem"):
                result = function(*values)
                assert name.startswith(("time", "peakmem")) or result > 0
                ran += 1
        if hasattr(made, "teardown"):
            made.teardown(*values)
    return ran
