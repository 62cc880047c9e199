"""Who works on a lazy result: threads of this process, or a running cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = "15s"  # for a scheduler to answer


@contextmanager
def working_with(*, workers: int | None = None, scheduler: str | None = None) -> Iterator[None]:
    """Have lazy results worked out by so many threads, or by the cluster of a scheduler.

    Parameters
    ----------
    workers : int, optional
        Threads of this process.
    scheduler : str, optional
        The address of a scheduler of dask.distributed (``tcp://host:8786``), or the file that it
        wrote (``--scheduler-file``).

    Raises
    ------
    OSError
        Nothing answers there.
    ImportError
        Without distributed.
    """
    if workers is not None:
        import dask.config

        with dask.config.set(scheduler="threads", num_workers=workers):
            yield
    elif scheduler is not None:
        with _client(scheduler):
            yield
    else:
        yield


@contextmanager
def _client(scheduler: str) -> Iterator[None]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "a cluster needs dask.distributed; install it with pip install distributed"
        ) from error
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**where, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise OSError(f"no scheduler of dask answers at {scheduler}: {text}") from error
    try:
        if not client.scheduler_info()["workers"]:
            raise OSError(f"the scheduler at {scheduler} has no workers; start some")
        yield
    finally:
        client.close()
