"""What tests of stores share: small lazy results, and what lies in a store."""

from __future__ import annotations

import threading
from pathlib import Path

import dask.array as da

import xstf
from xstf import store

FINE, COARSE = xstf.testing.scene()


def lazily(method="starfm", fine=FINE, **params):
    """Return a lazy fusion: 2 dates of 9 chunks each."""
    fused = xstf.fuse(
        fine.chunk(time=1, y=16, x=16), COARSE.chunk(time=1), method=method, **params
    )  # fmt: skip
    del fused.attrs["history"]  # it has the time of day
    return fused


def files_of(path):
    """Return the files of a store."""
    return {
        str(p.relative_to(path)): p.read_bytes() for p in sorted(Path(path).rglob("*"))
        if p.is_file()
    }  # fmt: skip


def values_of(path):
    """Return the files of a store but for what xstf keeps to itself."""
    return {name: data for name, data in files_of(path).items() if not name.startswith("_xstf")}


def marks_of(path):
    return {str(p.relative_to(path)) for p in Path(path).glob("_xstf/marks/0/c/*/*/*/*")}


class Stop(Exception):
    """What ends a run here."""


STATE = {}  # of `stopping`, by a name: what a function holds is part of what a result is


def made_of(values, name, block_id):
    count = STATE[name]
    with count["lock"]:
        count["made"].append(block_id)
        if len(count["made"]) > count["most"] or block_id == count["at"]:
            raise Stop
    return values


def stopping(cube, most=1000, at=None):
    """Return a cube that raises when more than some chunks are made, or a certain one."""
    name = str(len(STATE))
    STATE[name] = {"made": [], "most": most, "at": at, "lock": threading.Lock()}
    data = da.map_blocks(made_of, cube.data, name, meta=cube.data._meta)
    return cube.copy(data=data), STATE[name]


def write(cube, path, **named):
    store.to_zarr(cube, path, progress=False, **named)
