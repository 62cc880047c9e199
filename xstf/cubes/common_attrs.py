"""What a Dataset's own attributes say of the numbers of all its bands.

``cube.to_dataset("band")`` leaves a cube's attributes there, and says nothing in the bands.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, overload

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.packing import FLAGS, NODATA, OFFSET, PACKING, RANGE, SCALE
from xstf.cubes.variables import band_variables

# Attributes of one kind: a band that has one of them speaks for itself. Those of HDF4 say how a
# scale is meant, and so go with it.
_KINDS = (
    NODATA, RANGE, ("_Unsigned",),
    tuple(key for key in PACKING if key not in (*NODATA, *RANGE, "_Unsigned")),
)  # fmt: skip
# Of these a sequence has a number for each band, even where there are two.
_PER_BAND = ("nodatavals", *SCALE, *OFFSET)


@overload
def with_own_attrs(cube: xr.Dataset) -> xr.Dataset: ...
@overload
def with_own_attrs(cube: Labelled) -> Labelled: ...
def with_own_attrs(cube: Labelled) -> Labelled:
    """Return a Dataset whose bands have what its attributes say of their numbers; others as is.

    Nothing is computed, and the caller's Dataset stays as it is.
    """
    if not isinstance(cube, xr.Dataset):
        return cube
    said = {key: value for key, value in cube.attrs.items() if key in PACKING}
    names = band_variables(cube) if said else []
    if not names:
        return cube
    if any(key in said for key in (*SCALE, *OFFSET)):  # codes of flags, as those of byte NDVI
        said |= {key: cube.attrs[key] for key in FLAGS if key in cube.attrs}
    bands = {
        name: cube[name].assign_attrs(_of_band(said, cube[name], place, names, cube))
        for place, name in enumerate(names)
    }
    kept = {key: value for key, value in cube.attrs.items() if key not in said}
    return cube.assign(bands).drop_attrs(deep=False).assign_attrs(kept)


def _of_band(
    said: dict[Any, Any], band: xr.DataArray, place: int, names: Sequence[Hashable],
    dataset: xr.Dataset,
) -> dict[Any, Any]:  # fmt: skip
    """Return what the Dataset says of one band: nothing of a kind that the band says itself."""
    own = {**band.attrs, **band.encoding}
    silenced = {key for kind in _KINDS if any(k in own for k in kind) for key in kind}
    order = list(dataset.data_vars)
    counts = {len(names): place, len(order): order.index(names[place])}
    return {
        key: _item(value, counts) if key in _PER_BAND and len(names) > 1 else value
        for key, value in said.items()
        if key not in silenced and key not in band.attrs
    }


def _item(value: Any, counts: dict[int, int]) -> Any:
    """Return a band's item of a sequence with one for each; anything else as it is."""
    if isinstance(value, str) or np.ndim(value) != 1 or len(value) not in counts:
        return value
    return value[counts[len(value)]]
