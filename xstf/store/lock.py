"""One writer to a store: a lock that says who has it, and that it is still held."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from xstf.store.place import LOCK, Place

BEAT = 15.0  # seconds between signs of life
# Without one for so long a writer of another machine is taken for dead; clocks may differ a little.
STALE = 300.0


class Lock:
    """The lock of a store, held inside a with statement.

    A writer of this machine that is dead loses it at once; one elsewhere when it was silent long.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.own = {"token": uuid.uuid4().hex, **_here(), "since": time.time()}
        self.done = threading.Event()
        self.lost = False
        self.thread = threading.Thread(target=self._beats, name="xstf-lock", daemon=True)

    def __enter__(self) -> Lock:
        if self.place.is_transactional:  # which tells two writers apart itself
            return self
        self._take()
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.place.is_transactional:
            return
        self.done.set()
        self.thread.join()
        if _token(_read(self.place)) == self.own["token"]:
            self.place.delete(LOCK)

    def check(self) -> None:
        """Raise if another writer has taken the store."""
        if self.lost:
            raise OSError(f"{self.place.name}: another process has taken the store over")

    def _take(self) -> None:
        other = _read(self.place)
        if other is not None and _is_alive(other):
            raise self._refusal(other)
        # Of two that find a dead one both write, and who wrote last has it: wait, then look.
        self._write(new=other is None)
        if other is not None:
            time.sleep(0.2)
        found = _read(self.place)
        if found is None or found["token"] != self.own["token"]:
            raise self._refusal(found or {})

    def _refusal(self, other: dict[str, Any]) -> OSError:
        who = f"process {other.get('pid')} on {other.get('host')}"
        return BlockingIOError(
            11,
            f"{who} is writing to it; wait for it, or, if it is dead, delete {LOCK} in it",
            self.place.name,
        )

    def _write(self, *, new: bool = False) -> None:
        said = {**self.own, "beat": time.time()}
        self.place.write(LOCK, json.dumps(said).encode(), new=new)

    def _beats(self) -> None:
        while not self.done.wait(BEAT):
            if _token(_read(self.place)) != self.own["token"]:
                self.lost = True
                return
            with suppress(OSError):  # a full disk: tiles will say so; one beat may be missing
                self._write()


def _read(place: Place) -> dict[str, Any] | None:
    data = place.read(LOCK)
    if data is None:
        return None
    try:
        found: dict[str, Any] = json.loads(data)
    except ValueError:  # half-written, where a store writes in place
        return {"token": "", "host": "", "beat": 0.0}
    return found


def _token(found: dict[str, Any] | None) -> str:
    return "" if found is None else str(found.get("token", ""))


def _here() -> dict[str, Any]:
    """Return who this process is; another one may get its number when it is dead."""
    return {
        "pid": os.getpid(), "host": socket.gethostname(), "space": _space(),
        "started": _started(os.getpid()),
    }  # fmt: skip


def _space() -> str:
    """Return which machine or container numbers of processes belong to, where that is known."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{boot.read_text().strip()} {space.readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process was started, "" where that cannot be told or it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # dead, and not yet asked for by its parent


def _is_alive(other: dict[str, Any]) -> bool:
    here = _here()
    same = all(other.get(name) == here[name] for name in ("host", "space"))
    if same and (other.get("started") or os.name == "posix"):
        return _runs(int(other["pid"]), str(other.get("started", "")))
    return time.time() - float(other.get("beat", 0.0)) < STALE


def _runs(pid: int, started: str) -> bool:
    if started:
        return _started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
