"""For tests of code that uses xstf: small cubes, laziness, chunk independence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dask.config
import dask.local
import numpy as np
import xarray as xr

from xstf import scenes

__all__ = ["assert_tiles_agree", "raise_if_dask_computes", "scene"]


def scene() -> tuple[xr.DataArray, xr.DataArray]:
    """Return a small fine and coarse cube for examples and tests.

    Returns
    -------
    fine : DataArray (time: 3, band: 2, y: 48, x: 48)
    coarse : DataArray (time: 5, band: 2, y: 6, x: 6)
        Nested in `fine` with ratio 8; three of its dates are those of `fine`.
    """
    made = scenes.nested()
    return made.fine, made.coarse


@contextmanager
def raise_if_dask_computes(*, most: int = 0) -> Iterator[None]:
    """Raise AssertionError if dask computes more than `most` times inside the block.

    Parameters
    ----------
    most : int
        How many computations are allowed.
    """
    count = 0

    def counting(dsk: Any, keys: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count > most:
            raise AssertionError(f"dask computed {count} times, allowed are {most}")
        return dask.local.get_sync(dsk, keys, **options)

    with dask.config.set(scheduler=counting):
        yield


def assert_tiles_agree(
    function: Callable[..., xr.DataArray],
    *cubes: xr.DataArray,
    chunks: dict[str, int] | tuple[dict[str, int], ...],
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """Assert that a function of cubes gives the same on chunked cubes, lazily, as on whole ones.

    Parameters
    ----------
    function
        Called with the cubes.
    *cubes
        numpy-backed.
    chunks
        For all cubes, or a tuple with those for each.
    rtol, atol
        As numpy's ``assert_allclose``.
    """
    each = chunks if isinstance(chunks, tuple) else (chunks,) * len(cubes)
    whole = function(*cubes)
    with raise_if_dask_computes():
        lazy = function(*(cube.chunk(c) for cube, c in zip(cubes, each, strict=True)))
    if lazy.chunks is None:
        raise AssertionError("chunked cubes gave a cube in memory")
    xr.testing.assert_identical(lazy.coords.to_dataset(), whole.coords.to_dataset())
    np.testing.assert_allclose(lazy.values, whole.values, rtol=rtol, atol=atol)
