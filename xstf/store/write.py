"""A result into a Zarr store, tile by tile, so that a run that was stopped can be gone on with."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstf.files.beside import told
from xstf.files.save import for_writing, for_zarr
from xstf.files.sources import check_no_input
from xstf.store.again import is_another
from xstf.store.commits import Commits
from xstf.store.lock import Lock
from xstf.store.place import OWN, Place, import_zarr
from xstf.store.record import differences, names_of, record_of
from xstf.store.states import kept_states
from xstf.store.template import begin, is_complete, say_complete
from xstf.store.tiles import At, Layout, done, layouts_of, regular, rows_of
from xstf.store.work import Work, find_client

_VALUES = "other values of its inputs, or other steps before or after the method"


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
        What a verb returned, lazy. One in memory is written, too.
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
    complete. Inputs are told apart by name, size and time of change of their files, by content in
    memory, and by address alone elsewhere. Where that does not settle whether a result is the one
    in the store (a file that was opened without chunks and chunked afterwards has other tasks each
    time), three tiles of the store are made again and compared.

    A chunk that is missing though its tile has a mark is made again. So a store with damaged chunks
    is repaired by deleting those that :func:`verify` names, and calling this again.

    The default scheduler of dask does the work, or the client of a cluster if there is one. Its
    workers must reach the target and the inputs by the same names; a worker that dies changes
    nothing. Targets in this process' memory, and icechunk's, are written without a cluster.

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
    commits = Commits.of(target)
    place = Place.of(commits.store if commits else target)
    check_no_input(str(place.path or place.store), result)
    dataset = regular(for_zarr(for_writing(result)))
    layouts = layouts_of(dataset, tiles)
    place.check()
    if place.is_of_this_process and find_client() is not None:
        raise ValueError(f"{place.name} is in this process, and a cluster cannot reach it")
    with told(place.name):
        there = place.names()
    if there and OWN not in there:
        raise _exists(place, "it holds something else; give another target")
    record = record_of(dataset) | {
        "tiles": [list(one.tile) for one in layouts], "names": names_of(dataset),
    }  # fmt: skip
    with told(place.name), Lock(place) as lock:
        place.tidy()  # before zarr looks, which takes what it does not know for damage
        old = _old(place, there, record, resume=resume)
        if old is None:
            begin(place, dataset, layouts, record)
        _make(place, dataset, layouts, commits, begun=old is None,
              same=old is None or old["names"] == record["names"], progress=progress)  # fmt: skip
        lock.check()
        _finish(place, layouts, commits)


def _old(
    place: Place, there: set[str], new: Mapping[str, Any], *, resume: bool
) -> dict[str, Any] | None:
    """Return the record of what is there; None where all is to be begun."""
    old = place.record()
    if old is not None:
        _check_same(place, old, new, resume=resume)
        return old if old["template"] else None
    if there - {OWN, "zarr.json"}:  # the record is written before anything else
        raise _exists(place, "it does not say what it holds")
    return None


def _exists(place: Place, words: str) -> OSError:
    return FileExistsError(errno.EEXIST, words, place.name)


def _check_same(
    place: Place, old: Mapping[str, Any], new: Mapping[str, Any], *, resume: bool
) -> None:
    if not resume:
        raise _exists(place, "a result is there already; resume=True goes on with it")
    words = differences(old, new)
    if words:
        raise _another(place, "; ".join(words))
    if old["tiles"] != new["tiles"]:
        raise ValueError(
            f"{place.name} was begun with tiles of {old['tiles']} chunks, and tiles= says "
            f"{new['tiles']}; give the same"
        )


def _another(place: Place, words: str) -> ValueError:
    return ValueError(
        f"{place.name} holds another result: {words}. Give another target, or delete it first"
    )


# --- steps ------------------------------------------------------------------------------------


def _make(
    place: Place,
    dataset: xr.Dataset,
    layouts: Sequence[Layout],
    commits: Commits | None,
    *,
    begun: bool,
    same: bool,
    progress: bool,
) -> None:
    """Make the tiles that are not there.

    Parameters
    ----------
    place, dataset, layouts, commits
        What is written, and where to.
    begun
        Whether this call has made the store.
    same
        Whether dask's names say that the store has this result; if not, tiles are compared.
    progress
        Whether to show a bar.
    """
    marked = {one.number: done(place, one) for one in layouts}
    left = _left(layouts, marked)
    unsure = not same and any(marked.values())
    if not unsure and not any(left.values()):
        return
    work = Work(dataset, layouts, place)
    states = _states(work, place, keep=not unsure, begun=begun)
    if unsure and is_another(dataset, layouts, marked, states, place):
        raise _another(place, _VALUES)
    work.put_states(states)
    _fill(place, layouts, work, left, commits, progress=progress)


def _left(layouts: Sequence[Layout], marked: Mapping[int, Collection[At]]) -> dict[int, list[At]]:
    """Return the tiles without a mark, by layout."""
    return {
        one.number: [at for at in np.ndindex(*one.tiles) if at not in marked[one.number]]
        for one in layouts
    }


def _states(work: Work, place: Place, *, keep: bool, begun: bool) -> dict[str, Any]:
    try:
        return kept_states(work.graph, place, keep=keep)
    except ValueError:
        # A check of the inputs, such as that of their units. Of a result that cannot be made
        # nothing is left, where the one that is asked for next would be refused.
        if begun:
            place.remove()
        raise


def _fill(
    place: Place,
    layouts: Sequence[Layout],
    work: Work,
    left: Mapping[int, Sequence[At]],
    commits: Commits | None,
    *,
    progress: bool,
) -> None:
    """Make some tiles."""
    if not any(left.values()):
        return
    if is_complete(place):  # chunks of it were lost
        say_complete(place, False)
    if commits is None:
        work.run(left, progress=progress)
        return
    commits.commit(place, "xstf: the template of a result")
    for one in layouts:
        for row in rows_of(one, left[one.number]):
            commits.renew(place)
            work.run({one.number: row}, progress=False)
            commits.commit(place, f"xstf: {len(row)} tiles of {', '.join(map(str, one.names))}")


def _finish(place: Place, layouts: Sequence[Layout], commits: Commits | None) -> None:
    """Say that the store is whole, if each of its tiles has a mark."""
    if is_complete(place):
        return
    missing = sum(int(np.prod(one.tiles)) - len(done(place, one)) for one in layouts)
    if missing:
        raise OSError(
            f"{place.name}: {missing} tiles were not written there; do all workers reach it by "
            "this name?"
        )
    if commits is not None:
        commits.renew(place)
    place.forget()
    say_complete(place, True)
    if commits is not None:
        commits.commit(place, "xstf: complete", last=True)
