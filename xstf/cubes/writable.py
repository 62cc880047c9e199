"""Results that files can hold: names, attributes and coordinates that NetCDF and Zarr take.

Cubes come with whatever their reader left in them: dicts, affine transforms, CRS objects, dates,
None. What can be said in text or numbers is, the rest is left out, and one warning names it all.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from numbers import Complex, Integral, Real
from pathlib import PurePath
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.words import warn_user

# Attributes that belong to a file's own bookkeeping; libraries refuse or overwrite them.
_RESERVED = frozenset((
    "_ARRAY_DIMENSIONS", "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_NCProperties",
    "_Netcdf4Coordinates", "_Netcdf4Dimid", "_nc3_strict",
))  # fmt: skip
# They name other variables: readers warn where those are not there.
_NAMING = (
    "grid_mapping", "bounds", "climatology", "ancillary_variables", "cell_measures",
    "formula_terms", "geometry", "node_coordinates", "node_count", "part_node_count",
    "interior_ring",
)  # fmt: skip
_OF_NUMBERS = ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned")
_OF_TIMES = (*_OF_NUMBERS, "units", "calendar", "dtype")
# What is left of how a variable was stored; the rest is of that file's chunks and compression.
_KEPT_ENCODING = (*_OF_NUMBERS, "dtype", "grid_mapping")
_INTEGERS = (-(2**63), 2**64 - 1)
_BAD_IN_NAMES = re.compile(r"[/\x00-\x1f\x7f]")


@dataclass
class _Said:
    """What was changed on the way, for one warning."""

    turned: dict[str, None] = field(default_factory=dict)
    left_out: dict[str, None] = field(default_factory=dict)

    def warn(self) -> None:
        parts = [
            f"{what}: {', '.join(names)}"
            for what, names in (
                ("turned to text or numbers", self.turned), ("left out", self.left_out),
            )
            if names
        ]  # fmt: skip
        if parts:
            warn_user(
                "the result has labels that files cannot hold as they are; "
                f"{'; '.join(parts)}. Drop or convert them in the cube to choose for yourself"
            )


def writable(cube: Labelled) -> Labelled:
    """Return a cube that writes to NetCDF and Zarr, and warn once of what had to change.

    Its values stay, lazy or not, but for coordinates of objects, which become text or numbers.
    """
    said = _Said()
    names = _names([*cube.coords, *getattr(cube, "data_vars", ())], said)
    there = {str(names.get(n, n)) for n in [*cube.coords, *getattr(cube, "data_vars", ())]}
    coords = {
        names[n]: _variable(n, c.variable, there, said, coordinate=True)
        for n, c in cube.coords.items()
    }
    out: Labelled
    if isinstance(cube, xr.DataArray):
        name = cube.name if cube.name is None else _name(cube.name, said)
        plain = _variable("", cube.variable, there, said, coordinate=False)
        out = xr.DataArray(plain.data, coords, plain.dims, name, plain.attrs)
        out.encoding = plain.encoding
    else:
        variables = {
            names[n]: _variable(n, v.variable, there, said, coordinate=False)
            for n, v in cube.data_vars.items()
        }
        out = xr.Dataset(variables, coords, _attrs("", cube.attrs, there, said))
    said.warn()
    return out


def _names(names: list[Hashable], said: _Said) -> dict[Hashable, Hashable]:
    """Return names that files take, each for one of the given."""
    found: dict[Hashable, Hashable] = {}
    for name in names:
        new = _name(name, said)
        found[name] = new if new not in found.values() else f"{new}_"
    return found


def _name(name: Hashable, said: _Said) -> str:
    text = _legal(str(name)) or "_"
    if text != name:
        said.turned[f"the name {name!r} to {text!r}"] = None
    return text


def _legal(name: str) -> str:
    """Return a name as NetCDF allows them: no slash, no blank around it, no sign at its start."""
    text = _text(_BAD_IN_NAMES.sub("_", name)).strip()
    starts = text[:1].isalnum() or text[:1] == "_" or not text[:1].isascii()
    return text if starts or not text else f"_{text}"


def _variable(
    name: Hashable, variable: xr.Variable, there: set[str], said: _Said, *, coordinate: bool
) -> xr.Variable:
    """Return a variable with writable attrs and encoding, and values of a type that files have."""
    out = variable.to_base_variable()
    attrs = _attrs(name if coordinate else "", variable.attrs, there, said)
    numbers = out.dtype.kind in "iufb"
    if out.chunks is None and _needs_turning(out):
        if out.dtype.kind != "T":  # text it is, and text it stays
            said.turned[str(name)] = None
        out = xr.Variable(out.dims, _turned(out))
        numbers = False
    dropped = _OF_TIMES if out.dtype.kind in "mM" else () if numbers else _OF_NUMBERS
    out.attrs = {k: v for k, v in attrs.items() if k not in dropped}
    kept = _KEPT_ENCODING if numbers and not coordinate else ("grid_mapping",)
    out.encoding = {
        k: v for k, v in variable.encoding.items()
        if k in kept and k not in attrs and (k != "grid_mapping" or str(v) in there)
    }  # fmt: skip
    return out


def _attrs(
    where: Hashable, attrs: Mapping[Any, object], there: set[str], said: _Said
) -> dict[str, Any]:
    """Return attributes that files can hold."""
    kept: dict[str, Any] = {}
    for key, value in attrs.items():
        names_none = key in _NAMING and isinstance(value, str) and not _is_there(value, there)
        if key == "coordinates" or names_none:  # xarray writes that from the coordinates itself
            continue
        text = _legal(str(key))
        called = f"{where}.{text}" if where != "" else text
        new = None if not text or key in _RESERVED else written(value)
        if new is None:
            said.left_out[called] = None
            continue
        if text != key or not _is_same(new, value):
            said.turned[called] = None
        kept[text] = new
    return kept


def _is_there(value: object, there: set[str]) -> bool:
    """Return whether all variables that an attribute names are in the result."""
    named = [word for word in str(value).split() if not word.endswith(":")]
    return bool(named) and set(named) <= there


def _is_same(new: object, old: object) -> bool:
    """Return whether a value says what it said, be it as another type of sequence or number."""
    if isinstance(old, np.ndarray) and old.ndim == 0:
        old = old.item()
    if isinstance(old, bool | np.bool_) or isinstance(new, str) != isinstance(old, str):
        return False
    if isinstance(old, list | tuple | np.ndarray) and isinstance(new, list | tuple):
        pairs = zip(new, old, strict=True)
        return all(_is_same(n, o) for n, o in pairs)
    return new is old or isinstance(old, str | Real | Sequence)


# --- values -----------------------------------------------------------------------------------


def written(value: object) -> Any:
    """Return what an attribute is in a file: a number, a text or a list; None to leave it out.

    Examples
    --------
    >>> written((10.0, 0.0)), written({"type": "byte"}), written(True), written(None)
    ((10.0, 0.0), '{"type": "byte"}', 1, None)
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item() if value.dtype.kind not in "mM" else value[()]
    if value is None or isinstance(value, str):
        return value if value is None else _text(value)
    if _is_number(value):
        return _number(value)
    if hasattr(value, "to_wkt"):
        return _object_text(value)
    if isinstance(value, Iterable) and hasattr(value, "to_gdal"):
        return tuple(float(v) for v in value)[:6]  # an affine transform, no sequence since affine 3
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iuf":
        wide = value.dtype.kind != "f" or value.dtype in (np.float32, np.float64)
        return (value if wide else value.astype(np.float64)) if value.size else "[]"
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, bytes | bytearray):
        return _sequence(value)
    if isinstance(value, Mapping) or _is_record(value):
        return _json(value)
    return _object_text(value)


def _sequence(value: Any) -> Any:
    """Return a list of numbers or of texts as it is, any other as JSON."""
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return _json(value)
    items = list(value)
    if items and all(isinstance(v, str) for v in items):
        return [_text(v) for v in items]
    if items and all(_is_number(v) for v in items):
        numbers = [_number(v) for v in items]
        if not any(isinstance(n, str) or n >= 2**63 for n in numbers):
            return tuple(numbers) if isinstance(value, tuple) else numbers
    if items and all(isinstance(v, date | np.datetime64) for v in items):
        return [_object_text(v) or "" for v in items]
    return _json(value)


def _is_number(value: object) -> bool:
    return isinstance(value, bool | np.bool_ | Real | np.integer | np.floating) and not isinstance(
        value, np.timedelta64
    )


def _number(value: Any) -> Any:
    """Return a number that files hold: whole ones of 64 bits, real ones of 32 or 64."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, np.generic) and value.dtype.kind in "iuf" and value.dtype.itemsize <= 8:
        return float(value) if value.dtype == np.float16 else value
    if isinstance(value, Integral):
        whole = int(value)
        return whole if _INTEGERS[0] <= whole <= _INTEGERS[1] else str(whole)
    return float(value)


def _text(value: str) -> str:
    """Return text without what UTF-8 cannot say and files end text at."""
    return str(value).encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _is_record(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _json(value: object) -> str:
    return _text(json.dumps(_plain(value), ensure_ascii=False))


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a value; what says nothing but its type is null."""
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if _is_number(value):
        number = value.item() if isinstance(value, np.generic) else value
        if isinstance(number, Integral):
            return int(number)
        return float(number) if math.isfinite(number) else str(float(number))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "to_gdal"):
        return [float(v) for v in value][:6]
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if _is_record(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, set | frozenset):
        return [_plain(v) for v in sorted(value, key=str)]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_plain(v) for v in value]
    return _object_text(value)


def _object_text(value: Any) -> str | None:
    """Return any other object as text; None for one that says nothing but its type."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes | bytearray):
        return _text(bytes(value).decode("utf-8", "backslashreplace"))
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, date | timedelta):  # pandas' are of these, too
        text = value.isoformat() if isinstance(value, date) else str(value)
        return None if text in ("NaT", "nan") else text
    if isinstance(value, Enum):
        return str(value.value)
    if hasattr(value, "to_wkt"):
        return str(value.to_wkt())
    if isinstance(value, PurePath | Complex | slice):
        return str(value)
    if hasattr(value, "dask") or isinstance(value, xr.DataArray | xr.Dataset | xr.Variable | type):
        return None
    named = any("__str__" in vars(k) or "__repr__" in vars(k) for k in type(value).__mro__[:-1])
    if callable(value) or not named:
        return None
    return _text(str(value))


# --- coordinates ------------------------------------------------------------------------------


def _needs_turning(variable: xr.Variable) -> bool:
    dtype = variable.dtype
    if not isinstance(dtype, np.dtype):  # pandas' own, such as categories
        return True
    if dtype.kind == "O":
        return not all(isinstance(v, str) for v in variable.values.ravel())
    return dtype.kind in "cSTV" or (dtype.kind == "f" and dtype.itemsize not in (4, 8))


def _turned(variable: xr.Variable) -> np.ndarray:
    """Return values as numbers, dates or text, whatever all of them can be."""
    values = np.asarray(variable.values)
    if values.dtype.kind == "f":
        return values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    if values.dtype.kind != "O":
        flat = [_object_text(v) or "" for v in values.ravel().tolist()]
        return np.array(flat, dtype=str).reshape(values.shape)
    items = values.ravel().tolist()
    there = [v for v in items if not _is_missing(v)]
    if there and all(isinstance(v, bool | np.bool_) for v in items):
        return values.astype(bool)
    if there and all(_is_number(v) for v in there):
        numbers = np.array([np.nan if _is_missing(v) else float(v) for v in items])
        whole = len(there) == len(items) and all(isinstance(v, Integral) for v in items)
        fits = whole and all(abs(int(v)) < 2**63 for v in items)
        return (np.array([int(v) for v in items]) if fits else numbers).reshape(values.shape)
    if there and all(map(_is_plain_date, there)):
        dates = [np.datetime64("NaT") if _is_missing(v) else np.datetime64(v) for v in items]
        return np.array(dates, "M8[ns]").reshape(values.shape)
    texts = [("" if _is_missing(v) else _as_text(v)) for v in items]
    return np.array(texts, dtype=str).reshape(values.shape)


def _is_plain_date(value: Any) -> bool:
    return isinstance(value, date | np.datetime64) and getattr(value, "tzinfo", None) is None


def _is_missing(value: Any) -> bool:
    return value is None or (not isinstance(value, str) and bool(np.all(value != value)))


def _as_text(value: Any) -> str:
    new = written(value)
    return new if isinstance(new, str) else "" if new is None else _json(new)
