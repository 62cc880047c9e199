"""One value into a CRS: objects of other packages, codes, WKT, PROJ, JSON; strict about words."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
from pyproj.exceptions import CRSError

from xstf.cubes.words import shortened

# What a text must begin with to be meant as a CRS, whatever PROJ then makes of it.
_CRS_TEXT = re.compile(
    r"\s*(\+?(init|proj)=|\+[a-z]+|(epsg|esri|ogc|iau(_\d+)?|ignf)\s*:|urn:|https?://.*/def/crs/"
    r"|(proj|geog|geoc|geod|bound|compound|compd|vert|local_?|eng|projected|geodetic|geographic"
    r"|engineering|fitted_)_?(cs|crs)\s*[\[(])",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\s*\[?\s*(\d+)(\.0*)?\s*\]?\s*")
_CODE = re.compile(
    r"\s*\+?(?:init\s*=\s*)?(epsg|esri|ogc|ignf)\s*:{1,2}\s*([\w.+]+)(?:\s+\+\S+)*\s*",
    re.IGNORECASE,
)
# Keys of a grid mapping variable that hold a CRS in one value, best first.
_WHOLE = (
    "crs_wkt", "spatial_ref", "esri_pe_string", "wkt", "proj4", "proj4text", "proj4_string",
    "proj4string", "proj4_params", "epsg_code", "epsg", "EPSG", "EPSG_code", "crs", "proj:code",
    "proj:epsg", "proj:wkt2", "proj:projjson",
)  # fmt: skip


class UnreadableCRS(ValueError):
    """What looks like a CRS and is none that can be read."""


def looks_like_crs(value: object) -> bool:
    """Return whether a value is plainly meant as a CRS: an object that is one, or such a text."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return bool(_CRS_TEXT.match(value))
    return isinstance(value, pyproj.CRS) or hasattr(value, "to_wkt")


def read_crs(value: Any) -> pyproj.CRS | None:
    """Return the CRS that a value says, None for an empty one; raise UnreadableCRS.

    Parameters
    ----------
    value
        An object of pyproj, rasterio, odc.geo or another that has ``to_wkt`` or ``crs``; a code as
        any number or text; WKT, PROJ or JSON text; a mapping of PROJ's or GeoJSON's.

    Examples
    --------
    >>> [read_crs(v).to_epsg() for v in (32633, "32633", "+init=epsg:32633", ("EPSG", 32633))]
    [32633, 32633, 32633, 32633]
    """
    if value is None or isinstance(value, pyproj.CRS):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return _of_array(np.asarray(value))
    if isinstance(value, bytes):
        return read_crs(value.decode(errors="replace"))
    if isinstance(value, str):
        return _of_text(value) if value.strip() else None
    if isinstance(value, bool):
        raise UnreadableCRS("a truth value")
    if isinstance(value, int | float):
        return _of_number(value)
    if isinstance(value, list | tuple):
        return _of_list(list(value))
    if hasattr(value, "to_wkt"):
        return read_crs(str(value.to_wkt()))
    if hasattr(value, "crs"):
        return read_crs(value.crs)
    if isinstance(value, Mapping):
        return _of_mapping(dict(value))
    raise UnreadableCRS(f"a {type(value).__name__}")


def _of_array(values: np.ndarray) -> pyproj.CRS | None:
    if values.size == 0:
        return None
    if values.dtype.kind == "S" and values.size > 1 and values.dtype.itemsize == 1:
        return read_crs(values.tobytes())  # one letter an element, as NetCDF stores text
    if values.size > 1:
        raise UnreadableCRS(f"{values.size} values")
    return read_crs(values.reshape(-1)[0].item() if values.dtype != object else values.item())


def _of_list(values: list[Any]) -> pyproj.CRS | None:
    if len(values) == 2 and isinstance(values[0], str):
        return read_crs(f"{values[0]}:{values[1]}")
    if len(values) > 1:
        raise UnreadableCRS(f"{len(values)} values")
    return read_crs(values[0]) if values else None


def _of_number(value: float) -> pyproj.CRS | None:
    if value != value:
        return None
    if value != int(value) or value <= 0:
        raise UnreadableCRS("no code of a CRS")
    return _made(f"EPSG:{int(value)}")


def _of_text(text: str) -> pyproj.CRS:
    if number := _NUMBER.fullmatch(text):
        return _made(f"EPSG:{number[1]}")
    if code := _CODE.fullmatch(text):
        return _made(f"{code[1].upper()}:{code[2]}")
    if text.lstrip().startswith("{"):
        try:
            found = _of_mapping(json.loads(text))
        except json.JSONDecodeError as error:
            raise UnreadableCRS(f"JSON that breaks off: {error}") from error
        if found is None:
            raise UnreadableCRS("JSON of no CRS")
        return found
    # PROJ also takes a part of a name for some CRS of that name: "latlon" is an IGS20 to it.
    if not _CRS_TEXT.match(text):
        found = _made(text.strip())
        if _letters(found.name) != _letters(text):
            raise UnreadableCRS("a word, no CRS")
        return found
    return _made(text.strip())


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _of_mapping(value: dict[Any, Any]) -> pyproj.CRS | None:
    if not value:
        return None
    if "init" in value:
        return read_crs(str(value["init"]))
    inside = value.get("properties")
    if isinstance(inside, Mapping):  # GeoJSON's
        for key in ("name", "code", "href"):
            if key in inside:
                return read_crs(inside[key])
    for key in ("epsg", "EPSG", "wkt", "crs_wkt"):
        if set(value) == {key}:
            return read_crs(value[key])
    if "grid_mapping_name" in value:
        return of_grid_mapping(value)
    try:
        return pyproj.CRS.from_user_input(value)
    except (CRSError, TypeError, KeyError) as error:
        raise UnreadableCRS(shortened(str(error), 160)) from error


@lru_cache(maxsize=256)
def _made(text: str) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_user_input(text)
    except CRSError as error:
        raise UnreadableCRS(shortened(str(error), 160)) from error


def of_grid_mapping(attrs: Mapping[Hashable, Any]) -> pyproj.CRS | None:
    """Return the CRS in the attributes of a CF grid mapping variable; None where there is none.

    The first that can be read, of whole ones (WKT, PROJ, codes) and CF's own parameters; raise
    UnreadableCRS where there are some and none can be read.
    """
    failed = []
    for key in _WHOLE:
        if attrs.get(key) is None:
            continue
        try:
            found = read_crs(attrs[key])
        except UnreadableCRS as error:
            failed.append(f"{key}={shortened(attrs[key])} ({error})")
            continue
        if found is not None:
            return found
    if "grid_mapping_name" in attrs:
        own = {str(k): _plain(v) for k, v in attrs.items() if k not in _WHOLE}
        try:
            return pyproj.CRS.from_cf(own)
        except (CRSError, KeyError, TypeError, ValueError, AttributeError) as error:
            name = shortened(attrs["grid_mapping_name"])
            failed.append(f"grid_mapping_name={name} ({error!r})")
    if failed:
        raise UnreadableCRS("; ".join(failed))
    return None


def says_crs(attrs: Mapping[Hashable, Any]) -> bool:
    """Return whether attributes are those of a grid mapping variable."""
    return any(attrs.get(key) not in (None, "") for key in ("grid_mapping_name", *_WHOLE[:9]))


def _plain(value: Any) -> Any:
    """Return an array of one, as NetCDF libraries give, as its number."""
    array = np.asarray(value)
    return array.reshape(-1)[0].item() if array.size == 1 and array.dtype != object else value
