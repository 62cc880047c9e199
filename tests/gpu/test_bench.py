"""The benchmark of GPUs runs as far as it can without one: its times are not a GPU's."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "asv_bench"


def test_one_command_checks_the_laws_and_prints_a_table(cuda, monkeypatch, capsys):
    if cuda is None:
        pytest.skip("with a GPU, run asv_bench/gpu.py itself")
    monkeypatch.syspath_prepend(str(FOLDER))
    bench = importlib.import_module("gpu")
    # Of an H100 SXM, as its data sheet has them.
    monkeypatch.setattr(bench, "device", lambda: bench.Device("none", 3.35e12, 67e12, 90))
    monkeypatch.setattr(
        bench, "names", lambda task: {"fuse": ["starfm"], "gapfill": ["linear"]}[task]
    )
    bench.main(["--size", "48", "--dates", "8", "--methods", "starfm", "linear"])
    printed = capsys.readouterr().out
    assert "laws hold: starfm, linear" in printed
    assert [line.split()[1] for line in printed.splitlines() if " % |" in line] == [
        "starfm",
        "linear",
    ]
    assert "starfm on two cores" in printed


def test_floors_are_those_of_bytes_or_of_operations(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    bench = importlib.import_module("gpu")
    device = bench.Device("none", 1e12, 1e13, 90)
    assert bench.Floor(2, 8).seconds(1e9, device) == pytest.approx(8e-3)  # 8 bytes
    assert bench.Floor(3, 1000).seconds(1e9, device) == pytest.approx(0.1)  # 1000 operations
