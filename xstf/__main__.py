"""``python -m xstf`` and the command ``xstf``: the command line as a process of its own."""

import io
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_INTERRUPTED, _TERMINATED = 130, 143  # as a shell has it: 128 and the number of the signal


def main() -> int:
    """Run the command line and return its exit status; a run that is stopped ends at once."""
    signal.signal(signal.SIGTERM, _stop)
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
        print("xstf: terminated", file=sys.stderr)
        status = _TERMINATED
    if status in (_INTERRUPTED, _TERMINATED):
        _leave(status)
    return status


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM as on Ctrl-C, without a half-written file: SLURM and containers send it."""
    raise SystemExit(_TERMINATED)


def _leave(status: int) -> NoReturn:
    """End the process without waiting for its threads, which may be minutes inside a tile."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):  # nobody reads any more
                stream.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
