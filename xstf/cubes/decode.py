"""Stored numbers into values: codes for missing, scale and offset, by a cube's attributes."""

from __future__ import annotations

import numpy as np
import xarray as xr

NODATA = ("_FillValue", "missing_value", "nodata")
PACKING = (*NODATA, "scale_factor", "add_offset")
# How much a stored code may differ from the one in the attrs, as a part of it: what text and
# float32 round by.
_SAME_CODE = 1e-6


def decode(array: xr.DataArray, dtype: type[np.floating] = np.float32) -> xr.DataArray:
    """Return numbers with NaN for what its attrs call missing, scaled as its attrs say.

    Its encoding says what was done already when the file was read: a decoded value that happens to
    equal the file's fill value is a measurement.

    Parameters
    ----------
    array : DataArray of numbers
    dtype
        float32, in which images are read, or float64, in which they are compared.
    """
    nodata = nodata_of(array)
    scale = float(array.attrs.get("scale_factor", 1.0))
    offset = float(array.attrs.get("add_offset", 0.0))
    if array.dtype.kind in "iu" or nodata or (scale, offset) != (1.0, 0.0):
        missing = _is_one_of(array, nodata)
        wide = array.astype(np.float64 if array.dtype.itemsize > 2 else dtype)
        if (scale, offset) != (1.0, 0.0):
            wide = wide * scale + offset
        array = wide.where(~missing) if missing is not None else wide
    if array.dtype != dtype:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    if not any(key in array.attrs for key in PACKING):
        return array
    # Whatever reads the result once more must not decode it once more.
    left = {key: value for key, value in array.attrs.items() if key not in PACKING}
    return array.drop_attrs(deep=False).assign_attrs(left)


def nodata_of(array: xr.DataArray) -> list[float]:
    """Return the numbers that stand for missing by a cube's attrs; words and NaN are none."""
    found = (
        _number(value) for key in NODATA for value in np.atleast_1d(array.attrs.get(key, np.nan))
    )
    return [number for number in found if number is not None and not np.isnan(number)]


def _number(value: object) -> float | None:
    """Return a number, also one that is written as text; whole ones as int, which keeps int64."""
    if isinstance(value, bool | np.bool_) or value is None:
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _is_one_of(array: xr.DataArray, values: list[float]) -> xr.DataArray | None:
    """Return where the array is one of the values, to the precision of its dtype."""
    found = None
    for value in values:
        here = _is_code(array, value)
        if here is not None:
            found = here if found is None else found | here
    return found


def _is_code(array: xr.DataArray, value: float) -> xr.DataArray | None:
    """Return where the array is a value; None if its dtype cannot hold it."""
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        if not info.min <= value <= info.max or value != int(value):
            return None
        whole: xr.DataArray = array == array.dtype.type(int(value))
        return whole
    if np.isinf(value):
        return array == value
    # A range, not a difference: that overflows beside the largest numbers of float32. What is
    # beyond them is stored as the largest, as GDAL does.
    real = np.finfo(array.dtype)
    most = float(real.max)
    near = max(_SAME_CODE, float(real.eps)) * abs(value)
    low, high = (min(max(edge, -most), most) for edge in (value - near, value + near))
    return (array >= low) & (array <= high)
