"""Sentinel-2 images before and after the offset of 1000 that baseline 04.00 brought, in one cube.

From 25 January 2022 on the digital numbers of Level-1C and Level-2A have 1000 added to them (ESA,
Sentinel-2 Products Specification Document, `BOA_ADD_OFFSET`): a step in time that no land makes.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.words import warn_user

_BASELINES = ("s2:processing_baseline", "processing:version", "processing_baseline")
_APPLIED = ("earthsearch:boa_offset_applied", "boa_offset_applied")
_FIRST = 4.0
# Above this values are digital numbers, not reflectance.
_NUMBERS = 20.0


def warn_of_baselines(
    cube: Labelled, array: xr.DataArray, time: Hashable | None, what: str
) -> None:
    """Warn of a cube in memory that has digital numbers of baselines on both sides of 04.00.

    Parameters
    ----------
    cube
        With the coordinate along time that names each image's baseline.
    array
        Its decoded values.
    time
        Its dim of time.
    what
        What to call it in messages.
    """
    name = next((n for n in _BASELINES if n in cube.coords and cube[n].dims == (time,)), None)
    if name is None or any(n in cube.coords and bool(cube[n].all()) for n in _APPLIED):
        return
    numbers = [_number(text) for text in np.atleast_1d(cube[name].values).tolist()]
    late = np.array([n is not None and n >= _FIRST for n in numbers])
    early = np.array([n is not None and n < _FIRST for n in numbers])
    if not (late.any() and early.any()) or not isinstance(array.data, np.ndarray):
        return
    sample = array.isel({d: slice(None, None, max(1, n // 64)) for d, n in array.sizes.items()
                         if d != time})  # fmt: skip
    seen = np.abs(sample.values[np.isfinite(sample.values)])
    if seen.size and float(np.median(seen)) > _NUMBERS:
        warn_user(
            f"{what} has digital numbers of Sentinel-2's processing baselines before 04.00 and "
            f"from it on ({name}: {int(early.sum())} and {int(late.sum())} images); the latter "
            "have 1000 added to them: subtract it there, unless your reader took it off"
        )


def _number(text: object) -> float | None:
    """Return a baseline such as "04.00" or "N0400" as a number."""
    plain = str(text).strip().lstrip("Nn")
    try:
        number = float(plain)
    except ValueError:
        return None
    return number / 100 if "." not in plain and number >= 100 else number
