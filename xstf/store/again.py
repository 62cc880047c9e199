"""Some tiles of a store, made again and held against what is there, bit for bit."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstf.store.place import Place, import_zarr
from xstf.store.template import put_template
from xstf.store.tiles import At, Layout, write_chunk
from xstf.store.work import compute_here, with_states


def is_another(
    dataset: xr.Dataset,
    layouts: Sequence[Layout],
    marked: Mapping[int, Collection[At]],
    states: Mapping[str, Any],
    place: Place,
) -> bool:
    """Return whether a result has other values than a store, where the store has tiles.

    The first, the middle and the last of the tiles with a mark are looked at, a chunk of each.
    """
    looked = {one.number: _some(marked[one.number]) for one in layouts}
    if not any(looked.values()):
        return False
    memory = Place.of(import_zarr().storage.MemoryStore())
    put_template(memory, dataset)
    for one in layouts:
        arrays = [with_states(dataset[name].data, states) for name in one.names]
        for at in map(one.first_of, looked[one.number]):
            blocks = compute_here(*(array.blocks[at] for array in arrays))
            write_chunk(*blocks, place=memory, layout=one, mark=False, block_id=at)
            if any(_values(memory, one, n, at) != _values(place, one, n, at) for n in one.names):
                return True
    return False


def _some(tiles: Collection[At]) -> list[At]:
    ordered = sorted(tiles)
    return [ordered[k] for k in sorted({0, len(ordered) // 2, len(ordered) - 1})] if ordered else []


def _values(place: Place, layout: Layout, name: Hashable, at: At) -> bytes:
    """Return what a chunk holds, as it is stored but without codecs, which versions differ in."""
    array = import_zarr().open_array(place.store, path=str(name), mode="r")
    try:
        values = np.asarray(array[tuple(layout.region(at).values())])
    except (ValueError, RuntimeError) as error:
        raise OSError(
            f"{place.name}: chunk {at} of {name} is damaged ({error}); xstf.store.verify names all "
            "that are; delete them, and call this again"
        ) from error
    return repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes()
