"""What tests of written files share: a cube, one that fails when computed, a folder's bytes."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np

import xstf

FINE = xstf.scenes.landsat_modis(size=30).fine


def files_of(path):
    """Return what is in a file or folder."""
    path = Path(path)
    if path.is_file():
        return path.read_bytes()
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def failing(kind):
    """Return a cube whose last chunk raises when it is computed."""

    def block(block_info=None):
        if block_info[None]["chunk-location"][1] == 1:
            raise kind
        return np.zeros(block_info[None]["chunk-shape"], "f4")

    chunks = [(n,) for n in FINE.shape]
    chunks[1] = (FINE.shape[1] - 1, 1)
    return FINE.copy(data=da.map_blocks(block, chunks=chunks, dtype="f4", meta=np.empty(0, "f4")))
