"""One thread at a time in the NetCDF and HDF5 libraries: opening, reading, writing and closing.

They crash where two threads are in them at once. xarray's locks keep readers of values apart, but
not from who opens a file, whose attributes are read without one; and after an error in one of
dask's threads the others still read while the caller goes on to the next file.
"""

from __future__ import annotations

import threading
from types import TracebackType

from xarray.backends.locks import HDF5_LOCK, NETCDFC_LOCK, combine_locks


class _Library:
    """A lock that a thread may take again while it has it; xarray's own are held with it.

    As an argument of xarray's: ``xr.open_dataset(path, lock=LIBRARY)``.
    """

    def __init__(self) -> None:
        self.own = threading.RLock()
        self.shared = combine_locks([NETCDFC_LOCK, HDF5_LOCK])
        self.depth = 0

    def __reduce__(self) -> str:
        return "LIBRARY"  # in another process that one's

    def acquire(self, blocking: bool = True) -> bool:
        if not self.own.acquire(blocking):
            return False
        if self.depth == 0 and not self.shared.acquire(blocking):
            self.own.release()
            return False
        self.depth += 1
        return True

    def release(self) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.shared.release()
        self.own.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


LIBRARY = _Library()
