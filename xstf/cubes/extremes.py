"""Extreme values that stand for missing and that no attribute names."""

from __future__ import annotations

import re
import warnings
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstf.cubes.limits import LARGEST
from xstf.cubes.packing import FLAGS, NODATA, RANGE, is_undecoded

# What files fill up with: of any numbers, and of integers besides (and the ends of their dtype).
_FILLS = (-9999, -32768, -28672, -3000, -99999)
_FILLS_OF_INTEGERS = (-999, -99, 0, 255, 65535)
# Numbers that people fill up with and that may be measurements: they count where they stand apart.
_ROUND = re.compile(r"9{2,}|10{3,}|20{4,}")
# A part of all pixels from which they are no chance.
_SHARE, _BLOCK_SHARE = 0.01, 0.05
# How far from all others a value stands apart, in ranges of the others.
_APART = 1.0


# The least and the greatest number of an array.
Ends: TypeAlias = tuple[Any, Any]


def ends_of(array: xr.DataArray) -> Ends | None:
    """Return the least and the greatest number of a cube in memory, NaN aside; None for others."""
    if not array.size or array.chunks is not None or not isinstance(array.data, np.ndarray):
        return None
    data = array.values
    return np.fmin.reduce(data, axis=None), np.fmax.reduce(data, axis=None)


def warn_of_extremes(
    array: xr.DataArray, what: str, *masks: xr.DataArray | None, ends: Ends | None = None
) -> bool:
    """Warn of a cube's own least or greatest value if it is a usual fill and many pixels have it.

    Nothing lazy is computed: only what is in memory is looked at; `ends` are those of the cube, if
    they are known. Returns whether there was any.
    """
    if is_declared(array):
        return False
    ends = ends_of(array) if ends is None else ends
    if ends is None:
        return False
    data = array.values
    found = False
    for value in _extremes(data, ends):
        share = _share(array, data == value, masks)
        if share >= _SHARE:
            found = True
            warnings.warn(
                f"{share:.1%} of {what} are {value}, its {_end(data, value)} and a usual fill: "
                f"{_remedy(value)}",
                stacklevel=5,
            )
    return found


def watch_lazy(array: xr.DataArray, what: str) -> xr.DataArray:
    """Return lazy integers that warn of the same when they are computed; others as they are.

    A block sees itself alone, so that it takes more pixels of it than of a whole cube.
    """
    if array.chunks is None or array.dtype.kind not in "iu" or is_declared(array):
        return array
    lazy = array.data
    return array.copy(data=lazy.map_blocks(_watched, what, dtype=lazy.dtype, meta=lazy._meta))


def _watched(block: np.ndarray, what: str) -> np.ndarray:
    if isinstance(block, np.ndarray) and block.size:
        ends = np.fmin.reduce(block, axis=None), np.fmax.reduce(block, axis=None)
        for value in _extremes(block, ends):
            if (block == value).mean() >= _BLOCK_SHARE:
                warnings.warn(
                    f"many pixels of {what} are {value}, the {_end(block, value)} of their chunk "
                    f"and a usual fill: {_remedy(value)}",
                    stacklevel=2,
                )
    return block


def is_declared(array: xr.DataArray) -> bool:
    """Return whether it is said what is missing; "none" has been thought of, too."""
    return is_undecoded(array) or any(key in array.attrs for key in (*NODATA, *RANGE, *FLAGS))


def _remedy(value: int) -> str:
    return (
        f"if these are no measurements set its attrs['nodata'] = {value}, or give "
        "valid_range=(low, high); if they are, attrs['nodata'] = None says so"
    )


def _extremes(data: np.ndarray, ends: Ends) -> list[int]:
    """Return which of the least and the greatest value are usual fills, or round and far apart."""
    fills = set(_FILLS)
    if data.dtype.kind in "iu":
        info = np.iinfo(data.dtype)
        fills |= {*_FILLS_OF_INTEGERS, info.min, info.max}
    found = []
    for end, value in enumerate(ends):
        if not np.abs(value) < LARGEST or value != int(value):
            continue
        usual = int(value) in fills and (end == 0 or data.dtype.kind in "iu")
        if usual or (_ROUND.fullmatch(str(abs(int(value)))) and _stands_apart(data, value)):
            found.append(int(value))
    return sorted(set(found))


def _stands_apart(data: np.ndarray, value: np.generic) -> bool:
    """Return whether a value is farther from all others than those are from each other."""
    others = data[(data != value) & (np.abs(data) < LARGEST)].astype(np.float64)
    if not others.size:
        return False
    low, high = others.min(), others.max()
    gap = low - float(value) if float(value) < low else float(value) - high
    return bool(high > low and gap > _APART * (high - low))


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
