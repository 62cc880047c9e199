"""Attributes as numbers, in every form that files and readers leave them in.

A number, an array of one, a tuple, masked, bytes, or text: also a word for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

_NONE = ("", "none", "nan", "null", "na", "n/a", "nil", "--", "1.#qnan", "-1.#ind")


def written_dtype(value: object) -> np.dtype | None:
    """Return the dtype of numpy's numbers; plain ones, as JSON and people write them, have none."""
    dtype = getattr(value, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) and dtype.kind in "iuf" else None


def says_none(value: object, words: Sequence[str] = _NONE) -> bool:
    """Return whether all of an attribute is a word for nothing; a number is none."""
    found = flat(value)
    return found is not None and all(
        item is None or (isinstance(item, str) and item.strip().lower() in words) for item in found
    )


def flat(value: Any) -> list[Any] | None:
    """Return an attribute's items, text cut at blanks and commas; None for what has none."""
    if value is None:
        return [None]
    if isinstance(value, bytes | np.bytes_):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        inner = value.strip().strip("\x00").strip("()[]{}").strip()
        return [part for part in re.split(r"[\s,;]+", inner) if part] or [""]
    if isinstance(value, xr.DataArray | xr.Variable):
        value = value.values
    if isinstance(value, np.ma.MaskedArray):
        value = [None if item is None else item for item in value.ravel().tolist()]
    if isinstance(value, np.ndarray):
        value = list(value.ravel())
    if isinstance(value, list | tuple | range):
        inner_lists = [flat(item) for item in value]
        if any(items is None for items in inner_lists):
            return None
        return [item for items in inner_lists for item in (items or [])]
    return None if isinstance(value, Iterable) else [value]


def to_number(value: object) -> float | None:
    """Return a number, whole ones as int; NaN for nothing, None for what is no number."""
    if value is None or value is np.ma.masked:
        return float("nan")
    if isinstance(value, bool | np.bool_):
        # False stands for no nodata; True is no number.
        return None if value else float("nan")
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _NONE:
            return float("nan")
        if re.fullmatch(r"[+-]?\d+", word):
            return int(word)
    if isinstance(value, complex | np.complexfloating | np.datetime64 | np.timedelta64):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def shown(value: object) -> str:
    """Return an attribute as messages show it, not too long."""
    text = str(value) if isinstance(value, np.generic | np.ndarray) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
