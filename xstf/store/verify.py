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
        Written by :func:`to_zarr` or :func:`xstf.files.save_cube`, or any other one, of Zarr's
        format 2 or 3, with groups in groups.

    Returns
    -------
    list of Fault
        Empty for a store that is whole.

    Raises
    ------
    OSError
        There is no Zarr store.

    Notes
    -----
    In stores of :func:`to_zarr` every chunk is there and has a checksum. Those of others may lack
    chunks that hold the fill value alone, so missing ones are no fault there; and without checksums
    damage is seen only where a chunk cannot be decoded.

    To repair a store of :func:`to_zarr`, delete the truncated and damaged files that are named, and
    call it again with the same result: tiles with missing chunks are made again.

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
        root = zarr.open(place.store, mode="r")
    except FileNotFoundError as error:
        if OWN in place.names():  # stopped before there was anything to read
            return [Fault("incomplete", "", "nothing of it was written yet; write it again")]
        raise FileNotFoundError(2, "there is no Zarr store", place.name) from error
    except (ValueError, KeyError, TypeError) as error:
        return [Fault("damaged", "zarr.json", _words(error))]
    faults = []
    if not root.attrs.get(COMPLETE, 1):
        faults.append(Fault("incomplete", "", "not all tiles were written; call to_zarr again"))
    ending = "zarr.json" if root.metadata.zarr_format == 3 else ".zarray"
    return faults + _of_arrays(place, ending, all_there=COMPLETE in root.attrs)


def _of_arrays(place: Place, ending: str, *, all_there: bool) -> list[Fault]:
    """Return what is wrong with the arrays of a store, be their metadata whole or not."""
    keys = {key for key in place.all_keys() if not key.startswith(f"{OWN}/")}
    faults: list[Fault] = []
    names = sorted(key.removesuffix(ending).rstrip("/") for key in keys if _is_meta(key, ending))
    arrays = {}
    for name in names:
        try:
            found = import_zarr().open(place.store, path=name, mode="r")
        except (ValueError, KeyError, TypeError) as error:
            faults.append(Fault("damaged", f"{name}/{ending}", _words(error)))
            continue
        if hasattr(found, "chunks"):
            arrays[name] = found
    for name in sorted(_places_of_chunks(keys) - set(names)):
        faults.append(Fault("missing", f"{name}/{ending}", f"the metadata of {name}"))
    for name, array in arrays.items():
        faults += _of_array(place, array, name, keys, all_there=all_there)
    return faults


def _is_meta(key: str, ending: str) -> bool:
    return key.rsplit("/", 1)[-1] == ending


def _places_of_chunks(keys: set[str]) -> set[str]:
    """Return the names of arrays to which keys of chunks belong, in either format."""
    found = set()
    for key in keys:
        name, _, at = key.partition("/c/")
        if not at:
            name, _, at = key.rpartition("/")
        if name and at.replace("/", "").replace(".", "").isdigit() and not name.endswith("/c"):
            found.add(name)
    return found


def _of_array(
    place: Place, array: Any, name: str, keys: set[str], *, all_there: bool
) -> list[Fault]:
    blosc = not array.shards and any("blosc" in kind for kind in _codecs(array))

    def look(at: tuple[int, ...]) -> Fault | None:
        key = f"{name}/{array.metadata.encode_chunk_key(at)}".lstrip("/")
        where = f"chunk {at} of {name}" if at else name
        if key not in keys:
            # Text and lone numbers that are the fill value are not written by all versions.
            return Fault("missing", key, where) if all_there and array.ndim else None
        data = place.read(key) or b"" if blosc else None
        if data is not None and not _is_whole_blosc(data):  # its decoder would not say so
            return Fault("truncated", key, f"{where}: {len(data)} bytes are left")
        try:
            array[tuple(slice(k * c, (k + 1) * c) for k, c in zip(at, _pieces(array), strict=True))]
        except Exception as error:  # noqa: BLE001  each codec has errors of its own
            short = _is_short(array, place.read(key) or b"")
            return Fault("truncated" if short else "damaged", key, f"{where}: {_words(error)}")
        return None

    with ThreadPoolExecutor(8) as pool:
        return [fault for fault in pool.map(look, _chunks(array)) if fault is not None]


def _pieces(array: Any) -> tuple[int, ...]:
    """Return the sizes of what has a key of its own: chunks, or shards of several."""
    found: tuple[int, ...] = array.shards or array.chunks
    return found


def _chunks(array: Any) -> Iterator[tuple[int, ...]]:
    counts = [math.ceil(n / c) for n, c in zip(array.shape, _pieces(array), strict=True)]
    return itertools.product(*(range(n) for n in counts))


# --- truncated, or damaged in another way -----------------------------------------------------


def _codecs(array: Any) -> list[str]:
    return [type(codec).__name__.lower() for codec in array.compressors]


def _is_short(array: Any, data: bytes) -> bool:
    """Return whether a chunk ends before what it holds does, where that can be told."""
    kinds = _codecs(array)
    if any("crc32c" in kind for kind in kinds):  # four bytes at the end
        data = data[:-4]
    if any("zstd" in kind for kind in kinds):
        return not _is_whole_zstd(data)
    return len(data) < (0 if kinds else math.prod(array.chunks) * array.dtype.itemsize) or not data


def _is_whole_blosc(data: bytes) -> bool:
    """Return whether a chunk is as long as its header says (bytes 12 to 15: cbytes)."""
    return len(data) >= 16 and len(data) >= int.from_bytes(data[12:16], "little")


def _is_whole_zstd(data: bytes) -> bool:
    """Return whether the blocks of a frame are all there (RFC 8878)."""
    descriptor = data[4] if len(data) > 4 else 0
    single = descriptor >> 5 & 1
    size_of = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + size_of
    while at + 3 <= len(data):
        head = int.from_bytes(data[at : at + 3], "little")
        kind, size = head >> 1 & 3, head >> 3
        at += 3 + (1 if kind == 1 else size)
        if head & 1:
            return at + (4 if descriptor >> 2 & 1 else 0) <= len(data)
    return False


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
