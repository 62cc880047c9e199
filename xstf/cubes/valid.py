"""What a valid range holds for: packed numbers or values, whichever an array has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from xstf.cubes.packing import Packing, PerBand, Valid, size_of
from xstf.cubes.scaled import file_dtype, is_only_masked, is_whole, largest_of

# What text and float32 round by, as a part.
_ROUNDED = 1e-6
# Packed numbers are whole: a range of them that was worked out need only be so near.
_NEAR = 0.02
# A range of fewer codes than this, or with ends up to this, is no range of packed numbers.
_FEW_CODES, _FEW = 16, 3.0
# Values below this share of a valid range's ends are not in its units.
_OTHER_UNITS = 0.05
_SHORT = (-32768.0, 65535.0)


def bounds_of(
    array: xr.DataArray, said: Packing, packing: Packing, *, is_values: bool,
    looked: xr.DataArray | None, view: np.dtype | None,
) -> tuple[PerBand, PerBand, str]:  # fmt: skip
    """Return the ends of what is valid, as the array has its numbers, and what there is to say.

    By CF a valid range is in packed units, by the NetCDF Users' Guide a float one of packed
    integers is not; JSON and Zarr make floats of integers. So it is read as what it can be.

    Parameters
    ----------
    said
        What the attrs say.
    packing
        What stands, or stood, between packed numbers and values.
    is_values
        Whether the array has values, not packed numbers.
    looked
        Some of its values; None where they cannot be looked at.
    view
        The dtype that its integers are meant to have, None for their own.
    """
    valid = said.valid
    if valid is None:
        return -np.inf, np.inf, ""
    low, high = (as_meant(end, view) for end in (valid.low, valid.high))
    if not packing.is_scaled:
        return _plain_bounds(array, valid, low, high, is_values, looked)
    ends = replace(valid, low=low, high=high)
    if _is_packed_range(ends, packing, view or _packed_dtype(array, said.typed)):
        if not is_values:
            return low, high, ""
        # Half a step: values were rounded when they were scaled.
        sides = [end * packing.scale + packing.offset for end in (low, high)]
        slack = size_of(packing.scale) / 2
        return _least(*sides) - slack, -_least(-sides[0], -sides[1]) + slack, ""
    if is_values:
        return low - _rounding(low), high + _rounding(high), ""
    sides = [(end - packing.offset) / packing.scale for end in (low, high)]
    return _least(*sides) - _NEAR, -_least(-sides[0], -sides[1]) + _NEAR, ""


def _plain_bounds(
    array: xr.DataArray, valid: Valid, low: PerBand, high: PerBand, is_float: bool,
    looked: xr.DataArray | None,
) -> tuple[PerBand, PerBand, str]:  # fmt: skip
    """Return the ends of what is valid of numbers without a scale."""
    if not is_float:
        return low, high, ""
    if valid.whole and not _in_units_of(array, low, high, looked):
        how = "look like others" if looked is not None else "are lazy and cannot be looked at"
        return -np.inf, np.inf, (
            f"valid_range of integers {np.asarray(low)} to {np.asarray(high)} is that of packed "
            f"numbers, and its floating values {how}: it is left out; give valid_range=(low, high) "
            "in units of the values, or set it with assign_attrs as floats"
        )  # fmt: skip
    return low - _rounding(low), high + _rounding(high), ""


def _in_units_of(
    array: xr.DataArray, low: PerBand, high: PerBand, looked: xr.DataArray | None
) -> bool:
    """Return whether a valid range of integers is in the units of floats without a scale."""
    ends = _ends(low, high)
    if is_only_masked(array) or (ends <= _FEW).all():
        return True
    if looked is None:
        return False
    values = np.asarray(looked, dtype=np.float64)
    real = values[np.isfinite(values)]
    if not real.size or is_whole(real):
        return True
    return largest_of(looked) >= _OTHER_UNITS * float(ends.max())


def _ends(low: PerBand, high: PerBand) -> np.ndarray:
    """Return the ends of a range that are not open, without their sign."""
    ends = np.abs(np.concatenate([np.ravel(np.asarray(e, dtype=float)) for e in (low, high)]))
    finite: np.ndarray = ends[np.isfinite(ends)]
    return finite


def _least(one: PerBand, other: PerBand) -> PerBand:
    if isinstance(one, xr.DataArray) or isinstance(other, xr.DataArray):
        both: xr.DataArray = np.minimum(one, other)  # type: ignore[assignment]
        return both
    return min(one, other)


def _rounding(end: PerBand) -> PerBand:
    """Return what float32 may round an end of a range by."""
    if isinstance(end, xr.DataArray):
        return (abs(end) * _ROUNDED).where(np.isfinite(end), 0.0)
    return abs(end) * _ROUNDED if np.isfinite(end) else 0.0


def _packed_dtype(array: xr.DataArray, typed: np.dtype | None) -> np.dtype | None:
    """Return the dtype of the packed numbers, where anything says it."""
    if array.dtype.kind in "iu":
        return array.dtype
    found = file_dtype(array)
    return typed if found is None else found


def _is_packed_range(valid: Valid, packing: Packing, dtype: np.dtype | None) -> bool:
    """Return whether a valid range is in units of the packed numbers."""
    if valid.typed is not None and valid.typed.kind in "iu":
        return True
    ends = _ends(valid.low, valid.high)
    if not (ends == np.rint(ends)).all():
        return False
    least, most = _SHORT if dtype is None else (
        float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    )  # fmt: skip
    low, high = (np.asarray(end, dtype=float) for end in (valid.low, valid.high))
    scale, offset = np.asarray(packing.scale), np.asarray(packing.offset)
    sides = np.stack(np.broadcast_arrays(least * scale + offset, most * scale + offset))
    fits = bool((ends <= max(abs(least), most)).all())
    kept = np.minimum(high, most) - np.maximum(low, least) + 1
    is_far = bool((ends > 2 * np.abs(sides).max()).any())
    if valid.whole:
        return is_far or bool((kept >= _FEW_CODES).all())
    cuts = bool((low > sides.min(0)).any() or (high < sides.max(0)).any())
    cuts_packed = bool((low > least).any() or (high < most).any())
    return fits and bool((kept >= _FEW_CODES).all()) and (is_far or (cuts_packed and not cuts))


def as_meant(number: PerBand, view: np.dtype | None) -> PerBand:
    """Return a signed number as the unsigned one that it stands for, or the other way round."""
    if view is None or isinstance(number, xr.DataArray) or not np.isfinite(number):
        return number
    info = np.iinfo(view)
    turn: int = 2**info.bits
    if number < info.min:
        return number + turn
    return number - turn if number > info.max else number
