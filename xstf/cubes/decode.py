"""Stored numbers into values: codes for missing, valid range, scale and offset, once.

What attrs say is read in `packing`. Here it is decided what they hold for: integers are packed; of
floats the encoding, or the values, tell whether they were scaled already.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.packing import (
    ENCODED,
    FLAGS,
    PACKING,
    Packing,
    PerBand,
    is_all,
    packing_of,
)
from xstf.cubes.scaled import encoded_packing, how_taken, look, looks_packed
from xstf.cubes.valid import as_meant, bounds_of

# How much a stored code may differ from the one in the attrs, as a part of it: what text and
# float32 round by.
_SAME_CODE = 1e-6


@dataclass(frozen=True)
class Reading:
    """How the numbers of one array become values.

    Parameters
    ----------
    codes
        What is missing, as the array has it.
    low, high
        What is valid, as the array has it, rounding allowed for.
    scale, offset
        What to apply.
    view
        The dtype that integers are meant to have, None for their own.
    flags
        Whether flag values were among the codes.
    state
        What was found, in words: "" for plain numbers, "packed", "already decoded", or
        "taken as decoded already" where nothing could be looked at.
    notes
        What the user should be told.
    range_note
        What to tell of a valid range that could not be used, unless the call gives one.
    """

    codes: tuple[PerBand, ...] = ()
    low: PerBand = -np.inf
    high: PerBand = np.inf
    scale: PerBand = 1.0
    offset: PerBand = 0.0
    view: np.dtype | None = None
    flags: bool = False
    state: str = ""
    notes: tuple[str, ...] = ()
    range_note: str = ""


def decode(
    array: xr.DataArray,
    dtype: type[np.floating] = np.float32,
    *,
    band: Hashable | None = None,
    what: str = "",
    decoded: bool | None = None,
) -> xr.DataArray:
    """Return numbers with NaN for what its attrs call missing, scaled as its attrs say.

    Its encoding says what was done already when the file was read: a decoded value that happens to
    equal the file's fill value is a measurement. Nothing lazy is computed.

    Parameters
    ----------
    array : DataArray of numbers
    dtype
        float32, in which images are read, or float64, in which they are compared.
    band
        Its band dim, along which attributes may have a number for each.
    what : str
        What to call it in messages.
    decoded : bool, optional
        Whether its values are scaled already. Default: integers are not; of floats the encoding or
        the values tell.

    Warns
    -----
    UserWarning
        Where it had to be guessed.
    """
    reading = read_values(array, band=band, what=what, decoded=decoded)
    for note in (*reading.notes, *filter(None, (reading.range_note,))):
        warnings.warn(note, stacklevel=4)
    return apply(reading, array, dtype)


def read_values(
    array: xr.DataArray,
    *,
    band: Hashable | None = None,
    what: str = "",
    decoded: bool | None = None,
    peek: bool = True,
) -> Reading:
    """Return how an array's numbers become values; the parameters are those of `decode`.

    With `peek` values that are in memory, or in a file, may be looked at.
    """
    said = packing_of(array, band=band, what=what)
    looked = look(array) if peek and (said.is_scaled or said.valid is not None) else None
    name, notes = what or "the cube", list(said.notes)
    is_float = array.dtype.kind == "f"
    scaled = bool(decoded) and said.is_scaled
    state = "already decoded"
    if decoded is None and said.is_scaled and is_float:
        packed, sure = looks_packed(array, said, looked)
        scaled = not packed
        if not (packed and sure):
            notes.append(how_taken(name, said, packed=packed, looked=looked is not None))
        if looked is None:
            state = "taken as decoded already"
    taken_off = encoded_packing(array, band, what) if is_float else Packing()
    packing = said if said.is_scaled else taken_off
    is_values = scaled or (is_float and not said.is_scaled)
    state = state if is_values else "packed"
    view = _meant_dtype(array, said)
    low, high, note = bounds_of(array, said, packing, is_values=is_values, looked=looked, view=view)
    return Reading(
        codes=_codes(said, packing, view, scaled=scaled, is_values=is_values),
        low=low,
        high=high,
        scale=1.0 if scaled else said.scale,
        offset=0.0 if scaled else said.offset,
        view=view,
        flags=bool(said.flags) and packing.is_scaled,
        state="" if not packing.is_scaled else state,
        notes=tuple(notes),
        range_note=note and f"{name}'s {note}",
    )


def _codes(
    said: Packing, packing: Packing, view: np.dtype | None, *, scaled: bool, is_values: bool
) -> tuple[PerBand, ...]:
    """Return what is missing, as an array has it; flags lie among packed numbers only."""
    flags = said.flags if packing.is_scaled else ()
    if not is_values:
        return tuple(as_meant(code, view) for code in (*said.codes, *flags))
    # Of what was scaled by hand, its codes were scaled too.
    also = (*said.codes, *flags) if scaled else flags
    return (*said.codes, *(code * packing.scale + packing.offset for code in also))


def _meant_dtype(array: xr.DataArray, said: Packing) -> np.dtype | None:
    """Return the dtype that integers are meant to have, None for their own."""
    if said.unsigned is None:
        return None
    return np.dtype(f"{'u' if said.unsigned else 'i'}{array.dtype.itemsize}")


def apply(reading: Reading, array: xr.DataArray, dtype: type[np.floating]) -> xr.DataArray:
    """Return an array's values, read as said; its attrs say no more how."""
    if reading.view is not None:
        array = array.astype(reading.view)  # numpy wraps around, as is meant
    scales = not (is_all(reading.scale, 1.0) and is_all(reading.offset, 0.0))
    missing = _missing(reading, array)
    if array.dtype.kind in "iu" or missing is not None or scales:
        wide = array.astype(np.float64 if array.dtype.itemsize > 2 else dtype)
        if scales:
            wide = wide * _like(reading.scale, wide) + _like(reading.offset, wide)
        array = wide.where(~missing) if missing is not None else wide
    if array.dtype != dtype:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    left = left_attrs(reading, array.attrs)
    if len(left) < len(array.attrs):
        array = array.drop_attrs(deep=False).assign_attrs(left)
    return array


def left_attrs(reading: Reading, attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attrs without what was done: whatever reads the result must not do it once more."""
    gone = (*PACKING, *FLAGS) if reading.flags else PACKING
    return {key: value for key, value in attrs.items() if key not in gone}


def without_packing(encoding: dict[Any, Any]) -> dict[Any, Any]:
    """Return an encoding without what it says of numbers."""
    return {key: value for key, value in encoding.items() if key not in ENCODED}


def _like(number: PerBand, array: xr.DataArray) -> PerBand:
    """Return numbers of each band in an array's own precision."""
    return number.astype(array.dtype) if isinstance(number, xr.DataArray) else float(number)


# --- codes ------------------------------------------------------------------------------------


def _missing(reading: Reading, array: xr.DataArray) -> xr.DataArray | None:
    """Return where the array is one of the codes or beyond what is valid; None for nowhere."""
    found = None
    for code in reading.codes:
        here = _is_one_of(array, code)
        if here is not None:
            found = here if found is None else found | here
    for end, is_low in ((reading.low, True), (reading.high, False)):
        if not is_all(end, -np.inf if is_low else np.inf):
            beyond = array < end if is_low else array > end
            found = beyond if found is None else found | beyond
    return found


def _is_one_of(array: xr.DataArray, code: PerBand) -> xr.DataArray | None:
    """Return where the array is a code, or in each band the band's."""
    if not isinstance(code, xr.DataArray):
        return _is_code(array, code)
    found = None
    for value in np.unique(code.values[~np.isnan(code.values)]).tolist():
        here = _is_code(array, value)
        if here is not None:
            here = here & (code == value)
            found = here if found is None else found | here
    return found


def _is_code(array: xr.DataArray, value: float) -> xr.DataArray | None:
    """Return where the array is a value, to the precision of its dtype; None if that cannot be."""
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
