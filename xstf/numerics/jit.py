"""The one way kernels are compiled here.

`jit` is for loops that Python calls, `part` for those that only other loops call; `middle` is the
median.
Never ``parallel=True``: under dask's threads numba's workqueue layer aborts the interpreter. Tiles
are the parallelism. Never two decorations of one function: the cache on disk ignores the options.

What a first call costs is compiling. It takes some 10 ms a loop and 4 ms each time an array is
read or written, and as much again in every caller, where numba optimises what is called once more:

- Calls are two or three deep, not six.
- Loops make no arrays: what they write to is given to them. So numba counts no references, which
  is an eighth of the cost, and does not compile ``np.empty``, once more for each shape.
- A copy between arrays is a plain loop. ``a[i] = b`` compiles the text of an error message, a
  second in every caller; ``np.median`` costs as much, `middle` a tenth.
- A constant, or a counter that began as one, is not given to another loop as it is: ``f(x, 1)`` and
  ``f(x, 2)`` are compiled one by one. An array's size or a number of a ``range`` is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from xstf.numerics.compiling import pause_collection

Function = TypeVar("Function", bound=Callable[..., Any])

# The flags that let sums be vectorised and still leave NaN and inf their meaning.
NAN_SAFE = {"contract", "reassoc", "arcp"}

pause_collection()


def jit(function: Function) -> Function:
    """Compile a kernel loop: releases the GIL, vectorises sums, keeps NaN, caches where it can."""
    return _compiled(function)


def part(function: Function) -> Function:
    """Compile a loop that only other compiled loops call, for a quarter less.

    It has no entry for Python: calling it from there ends the interpreter. The tests look for such
    calls. A division by 0 gives inf or NaN, as in numpy: a check for 0 is a branch.
    """
    return _compiled(function, no_cpython_wrapper=True, error_model="numpy")


def _compiled(function: Function, **options: Any) -> Function:
    """Return the function as numba compiles it; none is called as a C function."""
    options |= {"nogil": True, "no_cfunc_wrapper": True, "_nrt": False}
    try:
        return cast(Function, numba.njit(cache=True, fastmath=NAN_SAFE, **options)(function))
    except RuntimeError as error:
        # numba raises while decorating where it finds no writable place for its cache; a
        # read-only installation must still import.
        if "cannot cache" not in str(error):
            raise
        return cast(Function, numba.njit(fastmath=NAN_SAFE, **options)(function))


@part
def middle(values: np.ndarray) -> float:
    """Return the median of values, of one at least, whose order changes.

    Hoare's selection (doi:10.1145/366622.366647).
    """
    half = values.size // 2
    low, high = 0, values.size - 1
    while low < high:
        pivot = values[half]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < half:
            low = i
        if half < i:
            high = j
    upper: float = values[half]
    if values.size % 2 == 1:
        return upper
    lower: float = values[0]
    for i in range(1, half):
        lower = max(lower, values[i])
    return (lower + upper) / 2
