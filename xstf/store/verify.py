"""Reads a store again: which of its chunks are missing, truncated or damaged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from xstf.files.save import COMPLETE
from xstf.store.place import OWN, Place, import_zarr


@dataclass(frozen=True)
class Fault:
    """What is wrong in a store.

    Parameters
    ----------
    kind
        ``"missing"``, ``"truncated"`` or ``"damaged"``; ``"incomplete"`` for a store that was not
        written to its end.
    key
        Of the chunk or the metadata in the store: a file, where the store is a folder.
    text
        In words.
    """

    kind: Literal["missing", "truncated", "damaged", "incomplete"]
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.key}: {self.text}" if self.key else f"{self.kind}: {self.text}"


def verify(path: Any) -> list[Fault]:
    """Return what is wrong with a Zarr store: chunks that are missing, truncated or damaged.

    Every chunk is read.

    Parameters
    ----------
    path : path, address or Zarr store
        Written by :func:`to_zarr` or :func:`xstf.files.save_cube`. In any other store chunks that
        are missing may be meant: they are where all of a chunk has the fill value.

    Returns
    -------
    list of Fault
        Empty for a store that is whole.

    Raises
    ------
    OSError
        There is no Zarr store.

    Examples
    --------
    >>> import xstf
    >>> xstf.store.verify("fused.zarr")  # doctest: +SKIP
    [Fault(kind='missing', key='fused/c/0/0/1/0', text='chunk (0, 0, 1, 0) of fused')]
    """
    zarr = import_zarr()
    place = Place.of(path)
    if place.path is not None:
        if not place.path.is_dir():
            raise FileNotFoundError(2, "there is no Zarr store", place.name)
        place = Place(zarr.storage.LocalStore(place.path, read_only=True), place.name, place.path)
    try:
        group = zarr.open_group(place.store, mode="r")
    except FileNotFoundError as error:
        if place.record() is not None:  # stopped before there was anything to read
            return [Fault("incomplete", "", "nothing of it was written yet; write it again")]
        raise FileNotFoundError(2, "there is no Zarr store", place.name) from error
    except (ValueError, KeyError, TypeError) as error:
        return [Fault("damaged", "zarr.json", _words(error))]
    faults = []
    complete = group.attrs.get(COMPLETE, 1)
    if not complete:
        faults.append(Fault("incomplete", "", "not all tiles were written; call to_zarr again"))
    own = COMPLETE in group.attrs
    for name in _arrays(place, group.metadata.zarr_format):
        faults += _of_array(zarr, place, name, all_there=own)
    return faults


def _arrays(place: Place, version: int) -> list[str]:
    """Return the names of what should be arrays, be their metadata whole or not."""
    ending = "/zarr.json" if version == 3 else "/.zarray"
    names = place.names() - {OWN}
    keys = [f"{name}{ending}" for name in sorted(names)]
    found = [key.removesuffix(ending) for key in keys if place.read(key) is not None]
    without = sorted(names - set(found) - {"zarr.json", ".zgroup", ".zattrs", ".zmetadata"})
    return sorted([*found, *(name for name in without if place.listed(name))])


def _of_array(zarr: Any, place: Place, name: str, *, all_there: bool) -> list[Fault]:
    try:
        array = zarr.open_array(place.store, path=name, mode="r")
    except FileNotFoundError:
        return [Fault("missing", f"{name}/zarr.json", f"the metadata of {name}")]
    except (ValueError, KeyError, TypeError) as error:
        return [Fault("damaged", f"{name}/zarr.json", _words(error))]
    with ThreadPoolExecutor(8) as pool:
        looked = pool.map(lambda at: _of_chunk(place, array, name, at, all_there), _chunks(array))
        return [fault for fault in looked if fault is not None]


def _chunks(array: Any) -> Iterator[tuple[int, ...]]:
    counts = [math.ceil(n / c) for n, c in zip(array.shape, array.chunks, strict=True)]
    return itertools.product(*(range(n) for n in counts))


def _of_chunk(
    place: Place, array: Any, name: str, at: tuple[int, ...], all_there: bool
) -> Fault | None:
    key = f"{name}/{array.metadata.encode_chunk_key(at)}"
    where = f"chunk {at} of {name}" if at else name
    data = place.read(key)
    if data is None:
        # Text and lone numbers that are the fill value are not written by all versions.
        return Fault("missing", key, where) if all_there and array.ndim else None
    try:
        array[tuple(slice(k * c, (k + 1) * c) for k, c in zip(at, array.chunks, strict=True))]
    except Exception as error:  # noqa: BLE001  each codec has errors of its own
        short = not data or _is_short(array, data)
        return Fault("truncated" if short else "damaged", key, f"{where}: {_words(error)}")
    return None


def _is_short(array: Any, data: bytes) -> bool:
    """Return whether a chunk ends before what it holds does, where its frame says so."""
    if not data.startswith(b"\x28\xb5\x2f\xfd"):  # of zstd
        return False
    return not _is_whole_frame(data)


def _is_whole_frame(data: bytes) -> bool:
    """Return whether the blocks of a zstd frame end where the data do, but for a sum of four."""
    descriptor = data[4] if len(data) > 4 else 0
    single = descriptor >> 5 & 1
    size_of = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + size_of
    while at + 3 <= len(data):
        head = int.from_bytes(data[at : at + 3], "little")
        kind, size = head >> 1 & 3, head >> 3
        at += 3 + (1 if kind == 1 else size)
        if head & 1:
            return at + (4 if descriptor >> 2 & 1 else 0) + 4 <= len(data)
    return False


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
