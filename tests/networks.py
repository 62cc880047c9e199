"""Small networks with random weights, as modules and as checkpoints, for tests."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

import xstf
from xstf._method import Method, Task
from xstf.methods.lookup import get_method, method_names


def of_task(task: Task) -> list[Method]:
    """Return the records of a task that have a network."""
    return [r for r in (get_method(task, n) for n in method_names(task)) if r.net is not None]


NETWORKS = of_task("fuse")


def sizes_of(record: Method) -> dict[str, Any]:
    """Return what `build` is called with besides the bands: the record's sizes, made tiny."""
    return {**record.net.sizes, **record.net.tiny}


def module_of(record: Method) -> Any:
    return importlib.import_module(f"xstf.nets.{record.net.module}")


def build(record: Method, *, bands: int = 2, seed: int = 0, **more: Any) -> Any:
    """Return a record's tiny network, untrained."""
    torch.manual_seed(seed)
    return module_of(record).build(bands=bands, **sizes_of(record), **more)


def build_critic(record: Method, *, bands: int = 2) -> Any:
    """Return a record's tiny critic, untrained."""
    torch.manual_seed(0)
    return module_of(record).build_critic(bands=bands, **record.net.tiny_critic)


def shake(net: Any, noise: float = 0.03) -> Any:
    """Return a network none of whose parameters is where it started."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += noise * torch.randn_like(parameter)
    return net


def checkpoint(
    record: Method, path: Path, *, bands: list[str], ratio: float, noise: float = 0.03,
    patch: int = 64, base: str = "delta",
) -> Path:  # fmt: skip
    """Write a network whose weights were shaken, so that it answers with more than its base."""
    net = shake(build(record, bands=len(bands), seed=3), noise)
    manifest = xstf.weights.Manifest(
        method=record.name, task=record.task, bands=tuple(bands), sizes=sizes_of(record),
        low=(0.0,) * len(bands), high=(0.5,) * len(bands), base=base, ratio=float(ratio),
        patch=patch, extra={}, sensors="", data="random", licence="", scores={},
        version=xstf.__version__,
    )  # fmt: skip
    return xstf.weights.save(path, net.state_dict(), manifest)
