"""The one way kernels are compiled here.

Never ``parallel=True``: under dask's threads numba's workqueue layer aborts the interpreter. Tiles
are the parallelism. Never two decorations of one function: the cache on disk ignores the options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# The flags that let sums be vectorised and still leave NaN and inf their meaning.
NAN_SAFE = {"contract", "reassoc", "arcp"}


def jit(function: Function) -> Function:
    """Compile a kernel loop: releases the GIL, vectorises sums, keeps NaN, caches where it can."""
    try:
        return cast(Function, numba.njit(nogil=True, cache=True, fastmath=NAN_SAFE)(function))
    except RuntimeError as error:
        # numba raises while decorating where it finds no writable place for its cache; a
        # read-only installation must still import.
        if "cannot cache" not in str(error):
            raise
        return cast(Function, numba.njit(nogil=True, fastmath=NAN_SAFE)(function))
