"""Blocks of arrays: plain, clean, on the host or where they came from."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute

from xstf.cubes.arrays import Array
from xstf.cubes.limits import LARGEST


def _module(array: Array) -> Any:
    return np if isinstance(array, np.ndarray) else module_of(array)


def is_lazy(*arrays: object) -> bool:
    """Return whether any of the arrays is dask's."""
    return any(isinstance(array, da.Array) for array in arrays)


def module_of(array: Array) -> ModuleType:
    """Return numpy, or cupy if the array lives there."""
    return importlib.import_module(type(array).__module__.split(".")[0])


def clean_block(block: Array) -> np.ndarray:
    """Return a block as kernels want it: float32, C order, NaN for all that is no measurement."""
    module = _module(block)
    with np.errstate(over="ignore"):  # what leaves float32 is missing, as what is infinite
        out: np.ndarray = module.array(block, dtype=np.float32, order="C", copy=True)
    absurd = abs(out) >= LARGEST
    if absurd.any():
        out[absurd] = np.nan
    return out


def clean_samples(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return samples with those of floats cleaned as blocks are."""
    return {
        name: clean_block(value) if np.dtype(value.dtype).kind == "f" else value
        for name, value in samples.items()
    }


def join(chunks: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Return chunks, row by row, as one array; `shape` says how many along each axis."""
    found = list(chunks)
    for axis in range(len(shape) - 1, -1, -1):
        count = shape[axis]
        if count > 1:
            found = [
                _module(found[i]).concatenate(found[i : i + count], axis=axis)
                for i in range(0, len(found), count)
            ]
    return found[0]


def compute_now(samples: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Return small dask arrays as plain ones, on this thread; plain ones as they are."""
    return dict(compute(dict(samples), scheduler="synchronous")[0])
