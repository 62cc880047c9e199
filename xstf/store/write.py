"""A result into a Zarr store, tile by tile, so that a run that was stopped can be gone on with."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import dask.array as da
import dask.config
import dask.system
import numpy as np
import xarray as xr
from dask.base import compute_as_if_collection
from dask.diagnostics.progress import ProgressBar
from dask.highlevelgraph import HighLevelGraph

from xstf.files.beside import told
from xstf.files.save import COMPLETE, for_writing, with_text
from xstf.files.sources import check_no_input
from xstf.store.lock import Lock
from xstf.store.place import OWN, Place, import_zarr
from xstf.store.record import differences, record_of
from xstf.store.settled import with_kept_states
from xstf.store.tiles import At, Layout, done, layouts_of, make_marks, regular, rows_of, writing


def to_zarr(
    result: xr.DataArray | xr.Dataset,
    target: Any,
    *,
    resume: bool = True,
    progress: bool = True,
    tiles: int | Mapping[Any, int] | None = None,
) -> None:
    """Write a result to a Zarr store tile by tile, so that a stopped run can be gone on with.

    Each tile gets a mark in the store when its values are there. A run that was stopped, killed or
    whose machine failed is called again with the same arguments: tiles with a mark are left, the
    others are made, and the store is what it would have been, byte for byte.

    Parameters
    ----------
    result : DataArray or Dataset
        What a verb returned, lazy. One in memory is written at once.
    target : path, address, Zarr store or icechunk repository
        ``"fused.zarr"``; an address that fsspec knows, such as ``"s3://bucket/fused.zarr"``; any
        store of zarr's; see Notes for icechunk.
    resume : bool, default True
        Go on with what is there, if it is this result. False: raise if anything is there.
    progress : bool, default True
        Show a bar on stderr.
    tiles : int or mapping, optional
        Least pixels a side of a tile, along y and x or by dim; rounded up to whole chunks. Default:
        a chunk. Larger ones make fewer marks, and more is lost when a run is stopped.

    Raises
    ------
    ValueError
        The result is read from `target`. Or the target holds another result: of another method,
        other parameters, weights or inputs; the message has both.
    OSError
        Another process is writing to the target; it holds something else; it cannot be written.
    ImportError
        Without zarr 3.

    See Also
    --------
    verify : reads the store again.

    Notes
    -----
    The store has one Zarr chunk for each chunk of the result, each with a checksum. Chunks without
    a number are written, too. Its attribute ``stf_complete`` becomes 1 when all of it is there;
    :func:`xstf.files.open_cube` warns of one that is not whole. What xstf needs to go on is in the
    group ``_xstf``; of a complete store it may be deleted.

    What methods work out of whole images is worked out once and kept there until the store is
    complete. Inputs are told apart by name, size and time of change of their files, and by content
    in memory.

    The default scheduler of dask does the work, or the client of a cluster if there is one. Its
    workers must reach the target and the inputs by the same names.

    An icechunk repository gets a commit to its branch main a row of tiles; the store of a writable
    session gets one commit, at the end.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> fused = xstf.fuse(fine.chunk(y=24), coarse.chunk(), method="starfm")
    >>> xstf.store.to_zarr(fused, "fused.zarr")  # doctest: +SKIP
    """
    import_zarr()
    if not isinstance(result, xr.DataArray | xr.Dataset):
        raise TypeError(f"a result is a DataArray or a Dataset, not {type(result).__name__}")
    commits = _Commits.of(target)
    place = Place.of(commits.store if commits else target)
    check_no_input(str(place.path or place.store), result)
    dataset = _with_coords(regular(for_writing(result)))
    layouts = layouts_of(dataset, tiles)
    place.check()
    with told(place.name):
        there = place.names()
    if there and OWN not in there:
        raise FileExistsError(17, "it holds something else; give another target", place.name)
    record = record_of(dataset) | {
        "tiles": [list(one.tile) for one in layouts], "template": False,
    }  # fmt: skip
    with told(place.name), Lock(place) as lock:
        old = place.record()
        if old is not None:
            _check_same(place, old, record, resume=resume)
        elif there - {OWN}:  # the record is written before anything else
            raise FileExistsError(17, "it does not say what it holds", place.name)
        if old is None or not old["template"]:
            _begin(place, dataset, layouts, record)
        elif _is_complete(place):
            return
        place.tidy()
        _fill(place, dataset, layouts, lock, commits, progress=progress)
        _finish(place, layouts, commits)


def _check_same(
    place: Place, old: Mapping[str, Any], new: Mapping[str, Any], *, resume: bool
) -> None:
    if not resume:
        raise FileExistsError(
            17, "a result is there already; resume=True goes on with it", place.name
        )
    words = differences(old, new)
    if words:
        raise ValueError(
            f"{place.name} holds another result: {'; '.join(words)}. Give another target, or "
            "delete it first"
        )
    if old["tiles"] != new["tiles"]:
        raise ValueError(
            f"{place.name} was begun with tiles of {old['tiles']} chunks, and tiles= says "
            f"{new['tiles']}; give the same"
        )


def _with_coords(dataset: xr.Dataset) -> xr.Dataset:
    """Return a result with its coordinates in memory: they are written with the template."""
    lazy = {name: coord.compute() for name, coord in dataset.coords.items() if coord.chunks}
    return dataset.assign_coords(lazy)


# --- steps ------------------------------------------------------------------------------------


def _begin(
    place: Place, dataset: xr.Dataset, layouts: Sequence[Layout], record: dict[str, Any]
) -> None:
    """Write what a store has besides tiles; the record says at last that all of that is there."""
    from xstf.store.place import LOCK

    place.clear(keep=[LOCK])
    place.put_record(record)
    template = with_text(dataset)
    template.attrs[COMPLETE] = 0
    encoding = {
        name: {"compressors": _codecs(), "chunks": _chunks(variable)}
        for name, variable in template.data_vars.items()
        if variable.ndim
    }
    template.to_zarr(
        place.store, mode="a", compute=False, consolidated=False, encoding=encoding,
        zarr_format=3, write_empty_chunks=True,
    )  # fmt: skip
    make_marks(place, layouts)
    place.put_record(record | {"template": True})


def _codecs() -> list[Any]:
    """Return what chunks go through: compressed, and with a sum that tells damaged ones."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(level=1), Crc32cCodec()]


def _chunks(variable: xr.DataArray) -> tuple[int, ...]:
    if variable.chunks:
        return tuple(max(1, c[0]) for c in variable.chunks)
    return tuple(max(1, n) for n in variable.shape)


def _is_complete(place: Place) -> bool:
    group = import_zarr().open_group(place.store, mode="r", zarr_format=3)
    return bool(group.attrs.get(COMPLETE, 0))


def _fill(
    place: Place,
    dataset: xr.Dataset,
    layouts: Sequence[Layout],
    lock: Lock,
    commits: _Commits | None,
    *,
    progress: bool,
) -> None:
    """Make the tiles without a mark."""
    left = {one.number: _left(place, one) for one in layouts}
    if not any(left.values()):
        return
    if place.is_of_this_process and _client() is not None:
        raise ValueError(f"{place.name} is in this process, and a cluster cannot reach it")
    lazy: dict[Hashable, Any] = {
        name: dataset[name].data for one in layouts if left[one.number] for name in one.names
    }
    arrays = with_kept_states(lazy, place)
    if commits is None:
        _compute([(writing(arrays, one, place), left[one.number]) for one in layouts
                  if left[one.number]], progress=progress)  # fmt: skip
        lock.check()
        return
    commits.commit(place, "xstf: the template of a result")
    for one in layouts:
        for row in rows_of(one, left[one.number]):
            commits.renew(place)
            _compute([(writing(arrays, one, place), row)], progress=False)
            commits.commit(place, f"xstf: {len(row)} tiles of {', '.join(map(str, one.names))}")


def _left(place: Place, layout: Layout) -> list[At]:
    have = done(place, layout)
    return [at for at in np.ndindex(*layout.tiles) if at not in have]


def _compute(work: Sequence[tuple[da.Array, Sequence[At]]], *, progress: bool) -> None:
    """Run the tasks that write tiles, by dask's scheduler or by a cluster."""
    graph = HighLevelGraph.merge(*(array.dask for array, _ in work))
    keys = [(array.name, *at) for array, tiles in work for at in tiles]
    client = _client()
    if client is None:
        with ProgressBar(out=sys.stderr) if progress else nullcontext():
            _compute_here(graph, keys)
        return
    from distributed import progress as bar

    small = da.Array.__dask_optimize__(graph, keys)
    futures = client.get(small, keys, sync=False)
    if progress:
        bar(futures, notebook=False)
    client.gather(futures)


def _compute_here(graph: HighLevelGraph, keys: Sequence[Any]) -> None:
    """Run tasks by the caller's scheduler; in threads wait for all of them after an error, too."""
    if dask.config.get("scheduler", None) not in (None, "threads", "threading"):
        compute_as_if_collection(da.Array, graph, keys)
        return
    workers = dask.config.get("num_workers", None) or dask.system.CPU_COUNT
    with ThreadPoolExecutor(workers) as pool:
        compute_as_if_collection(da.Array, graph, keys, scheduler="threads", pool=pool)


def _client() -> Any:
    """Return the client of a cluster, if dask would use one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None


def _finish(place: Place, layouts: Sequence[Layout], commits: _Commits | None) -> None:
    """Say that the store is whole, if each of its tiles has a mark."""
    if commits is not None:
        commits.renew(place)
    missing = sum(len(_left(place, one)) for one in layouts)
    if missing:
        raise OSError(
            f"{place.name}: {missing} tiles were not written there; do all workers reach it by "
            "this name?"
        )
    zarr = import_zarr()
    place.forget()
    group = zarr.open_group(place.store, mode="r+", zarr_format=3)
    group.attrs[COMPLETE] = 1
    if commits is not None:
        commits.commit(place, "xstf: complete")


# --- icechunk ---------------------------------------------------------------------------------


class _Commits:
    """Commits to an icechunk repository; a session commits once, so each takes a new one."""

    def __init__(self, repository: Any, store: Any) -> None:
        self.repository = repository
        self.store = store

    @classmethod
    def of(cls, target: Any) -> _Commits | None:
        """Return what commits to a target; None for one that has no commits."""
        if type(target).__module__.split(".")[0] != "icechunk":
            return None
        if hasattr(target, "writable_session"):
            return cls(target, target.writable_session("main").store)
        return cls(None, target)

    def renew(self, place: Place) -> None:
        """Have a session that can be written to."""
        if self.repository is not None and place.store.session.read_only:
            place.store = self.repository.writable_session("main").store

    def commit(self, place: Place, message: str) -> None:
        """Commit what was written; the one commit of a lone session is the last."""
        session = place.store.session
        last = self.repository is not None or message.endswith("complete")
        if last and session.has_uncommitted_changes:
            session.commit(message)
