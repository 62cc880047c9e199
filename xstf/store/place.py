"""A place that is written to: a path, an address, or a Zarr store, and small things kept in it.

What xstf keeps of its own is in the group ``_xstf`` of the store. All of it but the lock are Zarr
arrays and attributes, so that any Zarr store can hold it.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from xstf.files.beside import told
from xstf.files.sources import is_remote, local_path

OWN = "_xstf"
LOCK = f"{OWN}/lock"
_STATES = f"{OWN}/states"
# What zarr writes a key to before it renames that.
HALF_WRITTEN = re.compile(r"\.[0-9a-f]{32}\.partial$")


class Place:
    """A Zarr store that a result is written to.

    Parameters
    ----------
    store
        zarr's.
    name
        As the caller gave it, for messages.
    path
        On this machine, where it is there.
    """

    def __init__(self, store: Any, name: str, path: Path | None) -> None:
        self.store = store
        self.name = name
        self.path = path
        self.is_new = path is not None and not path.exists()

    @classmethod
    def of(cls, target: Any) -> Place:
        """Return the place that a caller means; nothing is made there."""
        zarr = import_zarr()
        if isinstance(target, str | os.PathLike):
            text = os.fspath(target)
            if is_remote(text):
                return cls(zarr.storage.FsspecStore.from_url(text), text, None)
            path = local_path(text)
            return cls(zarr.storage.LocalStore(path), text, path)
        if not isinstance(target, zarr.abc.store.Store):
            raise TypeError(
                f"a result is written to a path, an address or a Zarr store, not to a "
                f"{type(target).__name__}"
            )
        root = getattr(target, "root", None)
        own = local_path(root) if isinstance(root, Path) else None
        return cls(target, str(own or target), own)

    @property
    def is_transactional(self) -> bool:
        """Whether nothing is seen of what is written before it is committed."""
        return type(self.store).__module__.split(".")[0] == "icechunk"

    @property
    def is_of_this_process(self) -> bool:
        """Whether other processes cannot reach it."""
        memory = isinstance(self.store, import_zarr().storage.MemoryStore)
        return memory or self.is_transactional or self.name.startswith("memory://")

    def check(self) -> None:
        """Raise where nothing can be written."""
        if self.path is None:
            return
        parent = self.path.parent
        if not parent.is_dir():
            raise FileNotFoundError(2, f"there is no folder {parent} to write to; make it first",
                                    self.name)  # fmt: skip
        folder = self.path if self.path.is_dir() else parent
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(17, "a file is there already", self.name)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, f"{folder} cannot be written to", self.name)

    # --- things in it -----------------------------------------------------------------------

    def names(self) -> set[str]:
        """Return what is at the top of the store, but for what a killed process left."""
        if self.path is not None:
            there = self.path.iterdir() if self.path.is_dir() else ()
            return {p.name for p in there if not HALF_WRITTEN.search(p.name)}
        return {str(name).split("/")[0] for name in self._all(self.store.list_dir(""))}

    def listed(self, prefix: str) -> list[str]:
        """Return the keys under a prefix, without it."""
        start = f"{prefix.rstrip('/')}/"
        keys = [str(key) for key in self._all(self.store.list_prefix(start))]
        return [key.removeprefix(start) for key in keys]

    def all_keys(self) -> list[str]:
        """Return all keys."""
        return [str(key) for key in self._all(self.store.list())]

    def _all(self, found: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [item async for item in found]

        result: list[Any] = _sync(collect())
        return result

    def read(self, key: str) -> bytes | None:
        """Return what is under a key; None where nothing is."""
        from zarr.core.buffer import default_buffer_prototype

        found = _sync(self.store.get(key, default_buffer_prototype()))
        return None if found is None else bytes(found.to_bytes())

    def write(self, key: str, value: bytes, *, new: bool = False) -> None:
        """Put something under a key; with `new` only where nothing is."""
        from zarr.core.buffer import default_buffer_prototype

        data = default_buffer_prototype().buffer.from_bytes(value)
        with told(self.name):
            _sync((self.store.set_if_not_exists if new else self.store.set)(key, data))

    def delete(self, *keys: str) -> None:
        """Remove what is under keys."""
        for key in keys:
            _sync(self.store.delete(key))

    def clear(self) -> None:
        """Remove everything but the lock and the record, which says whose it is meanwhile."""
        mine = {f"{OWN}/{name}" for name in ("marks", "states")}
        for name in sorted(self.names() - {OWN, "zarr.json"}) + sorted(mine):
            _sync(self.store.delete_dir(name))

    def remove(self) -> None:
        """Remove everything, in a place that had nothing."""
        self.clear()
        _sync(self.store.delete_dir(OWN))
        self.delete("zarr.json")
        if self.path is not None and self.is_new:
            self.path.rmdir()

    def tidy(self) -> None:
        """Remove what a killed process had half-written beside the keys of a local store."""
        if self.path is not None:
            for file in self.path.rglob("*.partial"):
                if HALF_WRITTEN.search(file.name):
                    file.unlink(missing_ok=True)

    # --- what xstf keeps --------------------------------------------------------------------

    def group(self) -> Any:
        """Return xstf's own group, made where it is not there."""
        return import_zarr().open_group(self.store, path=OWN, mode="a", zarr_format=3)

    def record(self) -> dict[str, Any] | None:
        """Return what the store says it holds; None where it says nothing."""
        zarr = import_zarr()
        try:
            attrs = zarr.open_group(self.store, path=OWN, mode="r", zarr_format=3).attrs.asdict()
        except FileNotFoundError:
            return None
        found: dict[str, Any] | None = attrs.get("record")
        return found

    def put_record(self, record: dict[str, Any]) -> None:
        """Say what the store holds, at once or not at all."""
        with told(self.name):
            self.group().attrs["record"] = record

    def put(self, name: str, data: bytes) -> None:
        """Keep something, with its sum.

        Not as an array where a key will do: an array has parents, which zarr writes anew beside
        those that are there, and tiles that are written at the same time would stumble over that.
        """
        whole = hashlib.sha256(data).digest() + data
        if not self.is_transactional:
            self.write(f"{_STATES}/{name}", whole)
            return
        values = np.frombuffer(whole, np.uint8)
        self.group().create_array(f"states/{name}", data=values, compressors=None, overwrite=True)

    def get(self, name: str) -> bytes | None:
        """Return what was kept; None where it is not there, or not whole."""
        found = self._array(name) if self.is_transactional else self.read(f"{_STATES}/{name}")
        if found is None:
            return None
        return found[32:] if hashlib.sha256(found[32:]).digest() == found[:32] else None

    def _array(self, name: str) -> bytes | None:
        try:
            array = import_zarr().open_array(self.store, path=f"{_STATES}/{name}", mode="r")
        except FileNotFoundError:
            return None
        return bytes(np.asarray(array[:]).tobytes())

    def forget(self) -> None:
        """Remove all that was kept."""
        _sync(self.store.delete_dir(_STATES))


def import_zarr() -> Any:
    """Return zarr, of a version that can do this."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError("xstf.store needs zarr; install xstf[zarr]") from error
    if int(zarr.__version__.split(".")[0]) < 3:
        raise ImportError(f"xstf.store needs zarr 3, and {zarr.__version__} is installed")
    return zarr


def _sync(task: Any) -> Any:
    from zarr.core.sync import sync

    return sync(task)
