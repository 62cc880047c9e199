"""Array code for both sides: numpy's functions work on arrays of the GPU, too, if all of them are.

cupy's arrays answer to numpy's functions (NEP 13 and 18), so one body serves both. What they do not
do is mix with arrays of the host: numbers of the scene have to be taken to their side first.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np


def module_of(array: Any) -> ModuleType:
    """Return numpy, or cupy if the array lives there."""
    return np if isinstance(array, np.ndarray) else importlib.import_module("cupy")


def of_host(array: Any) -> np.ndarray:
    """Return an array on the host: itself, or a copy."""
    host: np.ndarray = array if isinstance(array, np.ndarray) else array.get()
    return host


def contiguous(array: np.ndarray) -> np.ndarray:
    """Return an array in C order: itself, or a copy."""
    return array if array.flags.c_contiguous else array.copy(order="C")


def beside(values: Any, array: Any) -> Any:
    """Return values of the host on the side of an array: as they are, or on the GPU.

    Parameters
    ----------
    values : ndarray
        Of the host, or there already.
    array : ndarray or cupy.ndarray
    """
    return values if isinstance(array, np.ndarray) else module_of(array).asarray(values)
