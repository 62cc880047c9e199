"""For tests of code that uses xstf: small cubes, laziness, chunk independence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import dask.config
import dask.local
import numpy as np
import xarray as xr
from dask.typing import Key

from xstf import scenes

__all__ = ["assert_tiles_agree", "bands", "holes", "raise_if_dask_computes", "scene"]


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


def holes() -> tuple[xr.DataArray, xr.DataArray]:
    """Return a small cube with holes and a radar cube for examples and tests.

    Returns
    -------
    cube : DataArray (time: 25, band: 2, y: 30, x: 30)
        Every pixel is seen on some dates.
    sar : DataArray (time, band: 2, y, x)
        In dB, on its own grid, CRS and dates, from two orbits.
    """
    made = scenes.sentinel_1_2(size=30)
    return made.cube.isel(time=slice(None, None, 2), band=slice(1, 3)), made.sar


def bands() -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return a small blurred cube of many bands, a sharp one of few, and the truth.

    Returns
    -------
    spectral : DataArray (band: 20, y: 12, x: 12)
        With a coordinate ``wavelength`` in nm.
    spatial : DataArray (band: 6, y: 48, x: 48)
        `spectral` is nested in it with ratio 4.
    truth : DataArray (band: 20, y: 48, x: 48)
    """
    made = scenes.hyperspectral(size=48, bands=80)
    fourth = {"band": slice(2, None, 4)}  # with one in each band of `spatial`
    return made.spectral.isel(fourth), made.spatial, made.truth.isel(fourth)


@contextmanager
def raise_if_dask_computes(*, most: int = 0) -> Iterator[None]:
    """Raise AssertionError if dask computes more than `most` times inside the block.

    Parameters
    ----------
    most : int
        How many computations are allowed.
    """
    count = 0

    def counting(dsk: Mapping[Key, object], keys: Sequence[Key] | Key, **options: object) -> object:
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
