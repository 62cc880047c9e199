"""Chunks of lazy results, and those that no machine can hold."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Hashable, Mapping, Sequence

import dask.array as da

from xstf.cubes.arrays import Array
from xstf.tiles.geometry import as_chunks, plan_chunks

# Bytes of a chunk of a lazy result at most, where its chunks need not be the caller's: some are in
# memory for each core, each with what it is made of.
CHUNK_BYTES = 128e6
# Tiles of more bytes are refused: no worker of a usual cluster holds one with what is made of it.
MOST_BYTES = 64e9
# Bytes of a chunk that messages recommend.
GOOD_BYTES = 64e6
# A side of a chunk is recommended in steps of this: the side of lattices, and of blocks of COGs.
STEP = 256


def result_chunks(
    chunks: tuple[Sequence[int], Sequence[int]], images: int, most: float = CHUNK_BYTES
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a cube's chunks along y and x, cut where a chunk of the result would be too large.

    A chunk is cut into equal parts, if it can be: then parts lie in one chunk of the cube each.

    Parameters
    ----------
    chunks
        Of the cube along y and x.
    images : int
        Values of the result in a pixel: dates, bands and layers.
    most : float
        Bytes of a chunk of the result, float32.
    """
    side = max(1, int((most / (4 * images)) ** 0.5))
    rows, cols = (_cut(tuple(own), side) for own in chunks)
    return rows, cols


def _cut(own: tuple[int, ...], side: int) -> tuple[int, ...]:
    size, largest = sum(own), max(own)
    if largest <= side:
        return own
    if own == as_chunks(largest, size):
        for count in range(-(-largest // side), 2 * largest // side + 1):
            if largest % count == 0:
                return as_chunks(largest // count, size)
    return plan_chunks(size, side)


def least_memory() -> tuple[float | None, str]:
    """Return the bytes of the memory that tiles are made in, None if unknown, and whose it is.

    With a client of `dask.distributed` that of its largest worker, else this machine's.
    """
    if "distributed" in sys.modules:
        from distributed import get_client  # waits where another thread is importing it

        try:
            client = get_client()
        except ValueError:  # there is none
            client = None
        if client is not None:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            limits = [worker["memory_limit"] for worker in workers]
            return (max(limits) or None if limits else None), "the largest worker"
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")), "this machine"
    return None, "this machine"


def check_fits(
    what: str, array: Array, dims: Sequence[Hashable | None], whole: Sequence[Hashable] = ()
) -> None:
    """Raise if no machine holds a chunk of a lazy cube; warn if this one does not.

    A chunk counts as float32 and twice: with what is made of it.

    Parameters
    ----------
    what : str
        What messages call the cube.
    array
        ``(date, band, y, x)``; plain ones pass.
    dims
        Names of its dimensions, None for one that the caller's cube has not.
    whole
        Those along which all values are needed in one chunk.
    """
    if not isinstance(array, da.Array) or 0 in array.shape:
        return
    largest = [max(sizes) for sizes in array.chunks]
    need = 2 * 4 * float(math.prod(largest))
    memory, whose = least_memory()
    if need <= min(MOST_BYTES, MOST_BYTES if memory is None else memory):
        return
    sizes = ", ".join(f"{d}: {n}" for d, n in zip(dims, largest, strict=True) if d is not None)
    text = (
        f"{what} has chunks of {need / 2e9:.0f} GB as float32 ({sizes}), of which none fits into "
        f"memory with what is made of it; chunk it on reading: "
        f"{what}.chunk({good_chunks(array.shape, dims, whole)})"
    )
    if need > max(MOST_BYTES, memory or 0):
        raise ValueError(text)
    warnings.warn(f"{text} ({whose} has {memory or 0:.3g} bytes)", stacklevel=5)


def good_chunks(
    shape: Sequence[int], dims: Sequence[Hashable | None], whole: Sequence[Hashable] = ()
) -> Mapping[Hashable, int]:
    """Return chunks that are a good choice for a cube, as ``.chunk`` takes them.

    One date and all bands, unless all dates are needed; square along y and x.
    """
    time, _, y, x = dims
    dates = shape[0] if time in whole else 1
    side = (GOOD_BYTES / (4 * dates * shape[1])) ** 0.5
    # In steps, or where pixels are so large a power of two.
    side = int(side / STEP) * STEP if side >= STEP else 2 ** int(math.log2(max(side, 1)))
    chunks: dict[Hashable, int] = {} if time is None else {time: -1 if time in whole else 1}
    return chunks | {d: min(side, n) for d, n in ((y, shape[2]), (x, shape[3])) if d is not None}
