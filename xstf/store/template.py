"""What a store has besides tiles: metadata, attributes, coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import xarray as xr

from xstf.files.save import COMPLETE
from xstf.store.place import Place, import_zarr
from xstf.store.tiles import Layout, make_marks


def begin(
    place: Place, dataset: xr.Dataset, layouts: Sequence[Layout], record: dict[str, Any]
) -> None:
    """Write what a store has besides tiles; the record says at last that all of that is there."""
    place.clear()
    import_zarr().open_group(place.store, mode="a", zarr_format=3, attributes={COMPLETE: 0})
    place.put_record(record | {"template": False})
    put_template(place, dataset)
    make_marks(place, layouts)
    place.put_record(record | {"template": True})


def put_template(place: Place, dataset: xr.Dataset) -> None:
    """Write a result without its lazy values."""
    # Values are never asked for; without their graph this is quick for any number of chunks.
    template = dataset.assign({
        name: variable.copy(data=da.empty(variable.shape, chunks=variable.chunks,
                                          dtype=variable.dtype))
        for name, variable in dataset.data_vars.items()
        if variable.chunks
    })  # fmt: skip
    template.attrs[COMPLETE] = 0
    for name, variable in template.data_vars.items():
        if variable.chunks:
            # Not passed to the writer, which would drop how values are packed.
            layout = {"chunks": tuple(max(1, c[0]) for c in variable.chunks)}
            template[name].encoding.update(layout, compressors=_codecs())
    template.to_zarr(
        place.store, mode="a", compute=False, consolidated=False, zarr_format=3,
        write_empty_chunks=True,
    )  # fmt: skip


def _codecs() -> list[Any]:
    """Return what chunks go through: compressed, and with a sum that tells damaged ones."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(level=1), Crc32cCodec()]


def is_complete(place: Place) -> bool:
    """Return whether a store says that all of it is there."""
    group = import_zarr().open_group(place.store, mode="r", zarr_format=3)
    return bool(group.attrs.get(COMPLETE, 0))


def say_complete(place: Place, complete: bool) -> None:
    """Say in a store whether all of it is there."""
    group = import_zarr().open_group(place.store, mode="r+", zarr_format=3)
    group.attrs[COMPLETE] = int(complete)
