"""Extreme values that stand for missing and that no attribute names."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xstf.cubes.packing import FLAGS, NODATA, RANGE

# What files fill up with: of any numbers, and of integers besides (and the ends of their dtype).
_FILLS = (-9999, -32768, -28672, -3000, -99999)
_FILLS_OF_INTEGERS = (-999, -99, 0, 255, 65535)
# A part of all pixels from which they are no chance.
_SHARE = 0.01


def warn_of_extremes(array: xr.DataArray, what: str, *masks: xr.DataArray | None) -> None:
    """Warn of a cube's own least or greatest value if it is a usual fill and many pixels have it.

    Nothing lazy is computed: only what is in memory is looked at.
    """
    # An attribute that says "none" has been thought of, too.
    if any(key in array.attrs for key in (*NODATA, *RANGE, *FLAGS)):
        return
    if not array.size or array.chunks is not None or not isinstance(array.data, np.ndarray):
        return
    data = array.values
    for value in _extremes(data):
        share = _share(array, data == value, masks)
        if share >= _SHARE:
            warnings.warn(
                f"{share:.1%} of {what} are {value}, its {_end(data, value)} and a usual fill: if "
                f"these are no measurements set its attrs['nodata'] = {value}, or give "
                "valid_range=(low, high); if they are, attrs['nodata'] = None says so",
                stacklevel=5,
            )


def _extremes(data: np.ndarray) -> list[int]:
    """Return which of the least and the greatest value are usual fills."""
    fills = set(_FILLS)
    if data.dtype.kind in "iu":
        info = np.iinfo(data.dtype)
        fills |= {*_FILLS_OF_INTEGERS, info.min, info.max}
        ends = {int(data.min()), int(data.max())}
    else:
        least = np.fmin.reduce(data, axis=None)
        ends = {int(least)} if np.isfinite(least) and least == int(least) else set()
    return sorted(ends & fills)


def _share(array: xr.DataArray, here: np.ndarray, masks: tuple[xr.DataArray | None, ...]) -> float:
    """Return the share of values that are one, of those that no mask takes away."""
    found = array.drop_vars(list(array.coords)).copy(data=here)
    for mask in masks:
        if not isinstance(mask, xr.DataArray) or mask.dtype != bool or mask.chunks is not None:
            continue
        bare = mask.drop_vars(list(mask.coords))
        if bare.sizes.items() <= found.sizes.items():  # what does not fit, reading says
            found = found.where(~bare)
    return float(found.mean())


def _end(data: np.ndarray, value: int) -> str:
    return "least value" if value == np.fmin.reduce(data, axis=None) else "greatest value"
