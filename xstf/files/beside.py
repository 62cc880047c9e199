"""Files that are whole or not there: written beside their place, and renamed into it.

What was at a place stays until its successor is complete, so a full disk, an error in the cube or
a killed process leaves it as it was.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NEW, _OLD = "partial", "old"
_TRIES, _PAUSE = 50, 0.02
_LITTLE = 1_000_000  # bytes that are left on a disk that is full
_OPEN: set[Path] = set()  # what this process is writing


def check_place(path: Path, *, overwrite: bool, asked: object = None) -> None:
    """Raise unless something can be written at a path.

    Parameters
    ----------
    path : path
        With links followed.
    overwrite : bool
        Whether something may be there already.
    asked : object, optional
        The path as the caller gave it, for messages.
    """
    name = path if asked is None else asked
    if not path.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, f"there is no folder {path.parent} to write to; make it first", str(name)
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{path.parent} cannot be written to", str(name))
    if path.exists() and not overwrite:
        raise FileExistsError(
            errno.EEXIST, "it is there already; give overwrite=True to replace it", str(name)
        )


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a path beside another one; what is written there takes its place at the end.

    The old file stays where anything goes wrong, and what was written is removed. An error of the
    system comes back with the path.
    """
    there = _name(path, _NEW)
    _OPEN.add(there)
    try:
        with told(path):
            yield there
            _sync(there)
            put_in_place(there, path)
    except BaseException:
        _remove_for_good(there)
        raise
    finally:
        _OPEN.discard(there)


def remove_open() -> None:
    """Remove what this process has half-written, right before it ends."""
    for there in list(_OPEN):
        _remove_for_good(there)


def _name(path: Path, what: str) -> Path:
    """Return a hidden name beside a path, which says who writes there."""
    owner = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{path.stem}.{owner}.{what}{path.suffix}")


def _host() -> str:
    """Return a word for this machine, or container: numbers of processes are its own."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=3).hexdigest()


def clean(path: Path) -> None:
    """Remove what writers of a path left there that were killed.

    One that was killed between moving an old folder away and the new one in gets the old one back.
    """
    for what in (_OLD, _NEW):
        for left in leftovers(path, what):
            if what == _OLD and not path.exists():
                left.rename(path)
            else:
                with suppress(OSError):  # of another user, or read-only: the writing will tell
                    remove(left)


def leftovers(path: Path, what: str) -> list[Path]:
    """Return what lies beside a path of writers of this machine that live no more."""
    mark = re.compile(
        rf"\.{re.escape(path.stem)}\.{_host()}-(\d+)-[0-9a-f]{{8}}\.{what}{re.escape(path.suffix)}"
        r"(?:\.plain\.tif)?"
    )
    held = os.listdir(path.parent) if path.parent.is_dir() else []  # noqa: PTH208  names only
    marked = [found for name in held if (found := mark.fullmatch(name))]
    return [path.with_name(m[0]) for m in sorted(marked, key=lambda m: m[0]) if _is_dead(int(m[1]))]


def _is_dead(pid: int) -> bool:
    if os.name != "posix":  # asking would end it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


def _remove_for_good(path: Path) -> None:
    """Remove what was half-written, into which threads of a library may still be writing.

    Where that cannot be done it is left to the next writer: the error that led here is what counts.
    """
    for _ in range(_TRIES):
        with suppress(OSError):
            remove(path)
        time.sleep(_PAUSE)
        if not path.exists():
            return


@contextmanager
def told(path: Path | str) -> Iterator[None]:
    """Turn an error of the system while writing into one that names the path.

    One that names another file, such as an input that cannot be read, stays what it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not _is_about(error, Path(path)):
            raise
        # GDAL's, and netCDF's of any file that cannot be made.
        if error.errno in (errno.EIO, errno.EACCES) and _is_full(Path(path)):
            raise OSError(errno.ENOSPC, "no space is left on the disk", str(path)) from error
        raise OSError(error.errno, _words(error), str(path)) from error
    except RuntimeError as error:  # netCDF's, which says neither file nor cause
        if "NetCDF" not in str(error) and "HDF" not in str(error):
            raise
        text = " ".join(str(error).split())
        if _is_full(Path(path)):
            raise OSError(
                errno.ENOSPC, f"no space is left on the disk ({text})", str(path)
            ) from error
        raise OSError(
            f"{path} cannot be written, or an input that the cube is lazily read from is damaged: "
            f"{text}"
        ) from error


def _is_about(error: OSError, path: Path) -> bool:
    """Return whether an error is about what is written to a path: there, in it, or beside it."""
    if error.filename is None or isinstance(error.filename, int):
        return True
    named = Path(os.fsdecode(error.filename))
    return any(
        one == path or (one.parent == path.parent and one.name.startswith(f".{path.stem}."))
        for one in (named, *named.parents)
    )


def _words(error: OSError) -> str:
    if error.errno in _FULL:
        return "no space is left on the disk"
    if error.errno in _FORBIDDEN:
        return "it cannot be written: the place is read-only, or not yours"
    return " ".join(str(error.strerror or error).split())


def _is_full(path: Path) -> bool:
    return path.parent.is_dir() and shutil.disk_usage(path.parent).free < _LITTLE


def put_in_place(there: Path, path: Path) -> None:
    """Rename what was written; a folder takes the place of another one in two steps."""
    if not (path.is_dir() and not path.is_symlink()):
        there.replace(path)
        return
    old = _name(path, _OLD)
    path.rename(old)
    try:
        there.rename(path)
    except OSError:
        old.rename(path)
        raise
    remove(old)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file on the disk before it takes the place of another one."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
