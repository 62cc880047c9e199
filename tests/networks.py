"""Small networks with random weights, as checkpoints, for tests."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

import xstf
from xstf._method import Method
from xstf.methods.lookup import get_method, method_names

NETWORKS = [r for r in (get_method("fuse", n) for n in method_names("fuse")) if r.net is not None]

# Sizes small enough for tests; the methods' own are their papers'.
SMALL: dict[str, dict[str, Any]] = {
    "ctstfm": {"width": 8, "encoders": 1, "fusions": 1, "heads": 2},
    "ecpwstfn": {"width": 8},
    "edcstfn": {"widths": (4, 8, 8)},
    "eststfm": {"width": 8, "depths": (1, 1), "heads": 2},
    "ganstfm": {"widths": (4, 8)},
    "mlffgan": {"widths": (4, 4, 8, 8, 8)},
    "stf3dcnn": {"width": 8, "depth": 3},
    "swinstfm": {"width": 8, "depths": (1, 1, 1)},
}


def checkpoint(
    record: Method, path: Path, *, bands: list[str], ratio: float, noise: float = 0.03,
    patch: int = 64, base: str = "delta",
) -> Path:  # fmt: skip
    """Write a network whose weights were shaken, so that it answers with more than its base."""
    torch.manual_seed(3)
    sizes = SMALL[record.name]
    net = importlib.import_module(f"xstf.nets.{record.net.module}").build(bands=len(bands), **sizes)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += noise * torch.randn_like(parameter)
    manifest = xstf.weights.Manifest(
        method=record.name, task="fuse", bands=tuple(bands), sizes=sizes,
        low=(0.0,) * len(bands), high=(0.5,) * len(bands), base=base, ratio=float(ratio),
        patch=patch, extra={}, sensors="", data="random", licence="", scores={},
        version=xstf.__version__,
    )  # fmt: skip
    return xstf.weights.save(path, net.state_dict(), manifest)
