"""``python -m xstf`` and the command ``xstf``: the command line as a process of its own."""

import io
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_INTERRUPTED, _TERMINATED = 130, 143  # as a shell has it: 128 and the number of the signal
_PATIENCE = 3.0  # seconds for an interrupted run to leave by itself


def main() -> int:
    """Run the command line and return its exit status; a run that is stopped ends at once."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup has it ignored
        signal.signal(signal.SIGINT, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            # Not every terminal, log or pipe knows all letters: an arrow must not end a long run.
            stream.reconfigure(errors="backslashreplace")
    try:
        from xstf.cli.main import main as run  # inside: Ctrl-C may come while this loads

        status = run()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except SystemExit as stopped:
        if stopped.code != _TERMINATED:
            raise
        status = _TERMINATED
    if status in (_INTERRUPTED, _TERMINATED):
        _leave(status)
    return status


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Stop on Ctrl-C."""
    _leave_soon(_INTERRUPTED)
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Stop on SIGTERM, which SLURM and containers send, as on Ctrl-C: no half-written file."""
    _leave_soon(_TERMINATED)
    raise SystemExit(_TERMINATED)


def _leave_soon(status: int) -> None:
    """End the process in a while: who writes a file waits for threads that are inside a tile."""
    late = threading.Timer(_PATIENCE, _leave, [status])
    late.daemon = True
    late.start()


def _leave(status: int) -> NoReturn:
    """End the process without its threads, which may be minutes inside a tile."""
    if beside := sys.modules.get("xstf.files.beside"):
        beside.remove_open()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):  # nobody reads any more
                stream.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
