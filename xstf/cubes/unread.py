"""Attributes that may say what is missing, or a scale, by names that are not read."""

from __future__ import annotations

import re
from typing import NamedTuple

import xarray as xr

from xstf.cubes.attr_forms import flat, shown, to_number

# What other conventions call a code for missing, and a scale, without signs.
_LIKE_CODES = (
    "fill",
    "nodatavalue",
    "missing",
    "nullvalue",
    "novalue",
    "fillvalues",
    "missingvalues",
)
_LIKE_SCALES = ("scale", "rasterscale", "slope", "gain", "scaling", "scalingfactor", "multiplier")


class Read(NamedTuple):
    """The names of attributes that are read."""

    all: tuple[str, ...]
    codes: tuple[str, ...]
    scales: tuple[str, ...]


def unread(array: xr.DataArray, what: str, read: Read) -> tuple[str, ...]:
    """Return what to tell of attributes that may mean a code or a scale by another name.

    They are not read, as what they mean differs: some products divide, or take the offset off
    first.
    """
    plain = {_bare(key): key for key in array.attrs if key not in read.all}
    notes = []
    for like, names, standard, applies in (
        (_LIKE_CODES, read.codes, "nodata", _holds),
        (_LIKE_SCALES, read.scales, "scale_factor", _scales_integers),
    ):
        if any(array.attrs.get(name) is not None for name in names):
            continue
        for word in {*like, *map(_bare, names)} & set(plain):
            value = array.attrs[plain[word]]
            numbers = [to_number(item) for item in flat(value) or []]
            if len(numbers) == 1 and numbers[0] is not None and applies(array, numbers[0]):
                notes.append(
                    f"{what} has an attribute {plain[word]}={shown(value)}, which is not read: if "
                    f"it is what {standard} says elsewhere set it by that name, "
                    f"assign_attrs({standard}=…), and take the other out"
                )
    return tuple(sorted(notes))


def _bare(name: object) -> str:
    return re.sub(r"[^a-z]", "", str(name).lower())


def _holds(array: xr.DataArray, code: float) -> bool:
    """Return whether an array has a code; of integers that would have to be read, it may."""
    if not getattr(array.variable, "_in_memory", False):
        return array.dtype.kind in "iu"
    return bool((array.variable == code).any())


def _scales_integers(array: xr.DataArray, scale: float) -> bool:
    return array.dtype.kind in "iu" and 0 < abs(scale) < 1
