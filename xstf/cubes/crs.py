"""The CRS that a labelled cube carries: every statement of it is read, and held to the others.

Three kinds of statements, the weightier first: a CF grid mapping variable (rioxarray's and odc's
``spatial_ref`` is one), an attribute or a coordinate that holds a CRS (``crs``, ``epsg``), and the
``proj:…`` fields of STAC items, which tell of the files that a cube was made of. What looks like a
CRS and cannot be read is never taken for no CRS.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.crs_text import UnreadableCRS, looks_like_crs, of_grid_mapping, read_crs, says_crs
from xstf.cubes.grid import lost_text
from xstf.cubes.transform import OF_SOURCE
from xstf.cubes.words import shortened, warn_user

# Attributes that hold a CRS, and those that do only where they read as one.
_KEYS = (
    "crs", "spatial_ref", "crs_wkt", "epsg", "epsg_code", "proj4", "proj4_string", "proj4text",
    "esri_pe_string", "srs",
)  # fmt: skip
_LOOSE_KEYS = (
    "projection", "wkt", "spatial_reference", "coordinate_reference_system", "map_crs",
    "horizontal_cs_code", "map_projection", "projection_name", "projection_info",
)  # fmt: skip
# Words that name a projection, in attributes that may hold anything else.
_OF_PROJECTIONS = re.compile(
    r"\butm\b|sinusoidal|mercator|lambert|albers|stereographic|gauss|lcc|laea|equal[ _-]?area"
    r"|conformal|polyconic|swiss|gctp|snsoid|\bzone \d", re.IGNORECASE,
)  # fmt: skip
# Attributes with objects that have a CRS: satpy's area definition, odc's box.
_BOXES = ("area", "geobox")
_STAC = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson")
# Variables that hold a CRS by their name, as value or attributes.
_NAMES = ("spatial_ref", "crs", "crs_wkt", "epsg", "proj4")
REMEDY = "set it with cube.rio.write_crs('EPSG:…')"


@dataclass(frozen=True)
class Statement:
    """One statement of a CRS: where it stands, and what it says."""

    where: str
    crs: pyproj.CRS


@dataclass
class _Read:
    """What was read so far."""

    mapping: Hashable | None = None  # the grid mapping variable
    of_mapping: list[Statement] = field(default_factory=list)
    plain: list[Statement] = field(default_factory=list)
    stac: list[Statement] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)  # of a projection, and no CRS

    def add(
        self, to: list[Statement], where: str, value: Any, failed: list[str] | None = None
    ) -> None:
        """Read a value and note what it says, or among `failed` that it cannot be read."""
        try:
            crs = read_crs(value)
        except UnreadableCRS as error:
            failed = self.failed if failed is None else failed
            failed.append(f"{where} = {shortened(value)} ({error})")
        else:
            if crs is not None:
                to.append(Statement(where, crs))


def crs_of(cube: Labelled, what: str = "the cube") -> pyproj.CRS | None:
    """Return the CRS that a cube carries, None where nothing says one.

    A grid mapping variable that the cube names and does not have says none: see `lost_mapping`.

    Raises
    ------
    ValueError
        What looks like a CRS cannot be read, or statements of equal weight contradict each other.

    Warns
    -----
    UserWarning
        Something contradicts the grid mapping variable, or one of several cannot be read.
    """
    read = _read_all(cube)
    missing = _missing_mapping(cube)
    for group in (read.of_mapping, read.plain, read.stac):
        if group:
            _agree(group, what)
            break
    else:
        if read.failed or read.words:
            raise ValueError(
                f"{what}'s CRS cannot be read: {'; '.join(read.failed or read.words)}; {REMEDY}, "
                "or drop what is none"
            )
        if missing is not None:
            raise ValueError(f"{what}'s {lost_text(missing)}")
        return None
    taken = group[0]
    if read.failed:
        warn_user(
            f"{what}: {'; '.join(read.failed)} cannot be read as a CRS; {taken.where} is taken, "
            f"{name_of(taken.crs)}; correct or drop the other"
        )
    if group is read.of_mapping:
        for other in read.plain:
            if not _alike(taken.crs, other.crs):
                warn_user(
                    f"{what} has the CRS {name_of(taken.crs)} in {taken.where} and "
                    f"{name_of(other.crs)} in {other.where}; the first is taken; drop the other"
                )
    return taken.crs


def _agree(group: list[Statement], what: str) -> None:
    for other in group[1:]:
        if not _alike(group[0].crs, other.crs):
            raise ValueError(
                f"{what} has two CRSs: {name_of(group[0].crs)} in {group[0].where} and "
                f"{name_of(other.crs)} in {other.where}; drop the wrong one, or "
                f"{REMEDY}; images of several zones are brought to one grid first (reproject)"
            )


def grid_mapping_name(cube: Labelled) -> Hashable | None:
    """Return the variable that holds the CRS in its attributes, as CF and rioxarray have it."""
    return _read_all(cube).mapping


def name_of(crs: pyproj.CRS) -> str:
    """Return a CRS in one short line, for messages."""
    text = str(crs.to_string())
    return text if len(text) <= 70 else str(crs.name)


# --- statements -------------------------------------------------------------------------------


def _read_all(cube: Labelled) -> _Read:
    read = _Read()
    variables = _variables(cube)
    named = [n for n in _named_mappings(cube) if n in variables]
    usual: list[Hashable] = [n for n in _NAMES[:2] if n in variables]
    for name in dict.fromkeys(named or [*usual, *_mappings(variables)]):
        _read_mapping(read, name, variables[name], name in named)
    for name, variable in variables.items():
        if name in named:
            continue
        if name in _STAC:
            for value in _values(variable):
                read.add(read.stac, f"coordinate {name!r}", value)
        elif name in _NAMES and not says_crs(variable.attrs):
            _read_value(read, name, variable)
        elif _is_object(variable):
            read.add(read.plain, f"coordinate {name!r}", variable.values.item())
    for where, attrs in _holders(cube):
        _read_attrs(read, where, attrs)
    return read


def _is_object(variable: xr.Variable) -> bool:
    """Return whether a variable holds one object that is a CRS, as satpy's does."""
    if variable.dtype != object or variable.ndim != 0:
        return False
    return looks_like_crs(variable.values.item())


def _variables(cube: Labelled) -> dict[Hashable, xr.Variable]:
    found = {name: c.variable for name, c in cube.coords.items()}
    if isinstance(cube, xr.Dataset):
        found |= {name: v.variable for name, v in cube.data_vars.items() if not _is_image(v)}
    return found


def _is_image(array: xr.DataArray) -> bool:
    return array.ndim >= 2


def _images(cube: Labelled) -> list[xr.DataArray]:
    if isinstance(cube, xr.DataArray):
        return [cube]
    return [v for v in cube.data_vars.values() if _is_image(v)]


def _holders(cube: Labelled) -> Iterator[tuple[str, Mapping[Hashable, Any]]]:
    """Return attributes that may hold a CRS, and what to call them."""
    yield "attrs", cube.attrs
    if isinstance(cube, xr.Dataset):
        whole = any(cube.attrs.get(key) is not None for key in ("crs", "CRS"))
        for image in _images(cube):
            if not (whole and OF_SOURCE in image.attrs):  # that CRS is the asset's
                yield f"{image.name}.attrs", image.attrs


def _named_mappings(cube: Labelled, *, in_attrs: bool = False) -> list[Hashable]:
    """Return the grid mapping variables that images name; CF's long form has one for each axis."""
    found: list[Hashable] = []
    for image in _images(cube):
        dims = {str(d) for d in image.dims}
        for store in (image.attrs,) if in_attrs else (image.encoding, image.attrs):
            text = store.get("grid_mapping")
            if isinstance(text, str):
                found += _mapping_names(text, dims)
    return list(dict.fromkeys(found))


def _mapping_names(text: str, dims: set[str]) -> list[str]:
    words = text.split()
    if not any(w.endswith(":") for w in words):
        return words[:1]
    axes: dict[str, list[str]] = {}
    for word in words:
        if word.endswith(":"):
            axes[word[:-1]] = []
        elif axes:
            axes[list(axes)[-1]].append(word)
    own = [name for name, along in axes.items() if dims & set(along)]
    return own[:1] or list(axes)[:1]


def lost_mapping(cube: Labelled) -> Hashable | None:
    """Return the grid mapping variable that attributes name and that is not there.

    None where anything else says a CRS. Selecting a variable of a Dataset leaves it behind; a cube
    alone can do without.
    """
    read = _read_all(cube)
    if read.of_mapping or read.plain or read.stac or read.failed or read.words:
        return None
    return _missing_mapping(cube)


def lost_in_encoding(cube: Labelled) -> Hashable | None:
    """Return the grid mapping variable that was there when a file was read, and is not any more."""
    present = _variables(cube)
    return next((n for n in _named_mappings(cube) if n not in present), None)


def _missing_mapping(cube: Labelled) -> Hashable | None:
    """Return the grid mapping variable that attributes name and that is not there.

    An encoding that names one is what is left of a CRS that was dropped.
    """
    present = _variables(cube)
    return next((n for n in _named_mappings(cube, in_attrs=True) if n not in present), None)


def _mappings(variables: Mapping[Hashable, xr.Variable]) -> list[Hashable]:
    return [n for n, v in variables.items() if v.size == 1 and says_crs(v.attrs)]


def _read_mapping(read: _Read, name: Hashable, variable: xr.Variable, named: bool) -> None:
    """Read the attributes of a grid mapping variable; its value is read where they say nothing."""
    try:
        crs = of_grid_mapping(variable.attrs)
    except UnreadableCRS as error:
        read.failed.append(f"variable {name!r}: {error}")
        return
    if crs is not None:
        read.mapping = name if read.mapping is None else read.mapping
        read.of_mapping.append(Statement(f"variable {name!r}", crs))
    elif named:
        _read_value(read, name, variable, named=True)


def _read_value(read: _Read, name: Hashable, variable: xr.Variable, *, named: bool = False) -> None:
    """Read what a variable of such a name holds.

    A number from 0 down is the usual value of a grid mapping variable, whose attributes speak. One
    that has none is bare of a CRS, as one that only places pixels is, unless images refer to it.
    """
    for value in _values(variable):
        placeholder = isinstance(value, int | float) and value <= 0
        if placeholder and ("GeoTransform" in variable.attrs or not (named or variable.attrs)):
            continue
        read.add(read.plain, f"coordinate {name!r}", value)


def _values(variable: xr.Variable) -> list[Any]:
    """Return the values that differ, without missing ones."""
    values = np.asarray(variable.values)
    if values.dtype.kind == "S" and values.dtype.itemsize == 1 and values.size > 1:
        return [values.tobytes()]
    found: list[Any] = []
    for value in values.reshape(-1).tolist() if values.dtype != object else values.reshape(-1):
        empty = value is None or (isinstance(value, str | bytes) and not value.strip())
        if not empty and not (isinstance(value, float) and value != value) and value not in found:
            found.append(value)
    return found


def _read_attrs(read: _Read, where: str, attrs: Mapping[Hashable, Any]) -> None:
    for key, value in attrs.items():
        name, at = str(key).lower(), f"{where}[{key!r}]"
        if name in _STAC:
            read.add(read.stac, at, value)
        elif (
            name in _KEYS
            or (name in _LOOSE_KEYS and looks_like_crs(value))
            or (name in _BOXES and hasattr(value, "crs"))
        ):
            read.add(read.plain, at, value)
        elif name in _LOOSE_KEYS and isinstance(value, str) and _OF_PROJECTIONS.search(value):
            # The name of a projection counts where nothing says a CRS.
            read.add(read.plain, at, value, read.words)


# --- comparing --------------------------------------------------------------------------------


def _alike(a: pyproj.CRS, b: pyproj.CRS) -> bool:
    """Return whether two CRSs are the same, or are in PROJ's own parameters, names aside."""
    if a is b or a.equals(b, ignore_axis_order=True):
        return True
    ours, theirs = _parameters(a.to_wkt()), _parameters(b.to_wkt())
    return bool(ours) and ours == theirs


@lru_cache(maxsize=256)
def _parameters(wkt: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a PROJ text holds less than the CRS
        return str(pyproj.CRS.from_wkt(wkt).to_proj4())


# --- one form -------------------------------------------------------------------------------------


def with_plain_crs(cube: Labelled, crs: pyproj.CRS | None) -> Labelled:
    """Return a cube whose CRS results can carry: itself where it can already.

    Its grid mapping variable becomes a scalar coordinate with WKT, objects that no file takes are
    text, and what contradicts the CRS is left out.
    """
    if crs is None:
        return cube
    read = _read_all(cube)
    name = read.mapping
    if name is not None:
        cube = _with_scalar_mapping(cube, name, crs)
    wrong = [
        n
        for n, c in cube.coords.items()
        if n != name and n in _NAMES and _contradicts(c.variable, crs)
    ]
    objects = [n for n, c in cube.coords.items() if n != name and _is_object(c.variable)]
    gone = list(dict.fromkeys([*wrong, *objects]))
    cube = cube.drop_vars(gone) if gone else cube
    if name is None and "spatial_ref" in cube.coords:  # odc's, whose code alone is left
        cube = _with_scalar_mapping(cube, "spatial_ref", crs)
    return _with_plain_attrs(cube, crs)


def _with_scalar_mapping(cube: Labelled, name: Hashable, crs: pyproj.CRS) -> Labelled:
    variable = cube[name].variable
    attrs = dict(variable.attrs)
    whole = any(isinstance(attrs.get(key), str) for key in ("crs_wkt", "spatial_ref"))
    if variable.ndim == 0 and name in cube.coords and whole:
        return cube
    value = variable.values.reshape(-1)[0] if variable.size else 0
    attrs = attrs if whole else crs.to_cf() | attrs | {"crs_wkt": crs.to_wkt()}
    own = variable.dims
    cube = cube.drop_vars([name])
    if isinstance(cube, xr.DataArray) and variable.ndim == 1 and own[0] in cube.dims:
        cube = cube.isel({own[0]: 0})
    return cube.assign_coords({name: xr.Variable((), value, attrs)})


def _contradicts(variable: xr.Variable, crs: pyproj.CRS) -> bool:
    for value in _values(variable):
        try:
            found = read_crs(value)
        except UnreadableCRS:
            return False
        if found is not None and not _alike(found, crs):
            return True
    return False


def _with_plain_attrs(cube: Labelled, crs: pyproj.CRS) -> Labelled:
    """Return a cube without attributes that contradict its CRS, and with text for objects."""
    own = _plain_attrs(cube.attrs, crs)
    if own is not None:
        cube = cube.copy(deep=False)
        cube.attrs = own
    if isinstance(cube, xr.Dataset):
        for image in _images(cube):
            own = _plain_attrs(image.attrs, crs)
            if own is not None:
                image = image.copy(deep=False)
                image.attrs = own
                cube = cube.assign({image.name: image})
    return cube


def _plain_attrs(attrs: Mapping[Hashable, Any], crs: pyproj.CRS) -> dict[Hashable, Any] | None:
    """Return attributes that agree with a CRS and can be written, None where they are such."""
    changed: dict[Hashable, Any] = {}
    for key, value in attrs.items():
        if str(key).lower() in (*_KEYS, *_LOOSE_KEYS) and _is_object_or_wrong(str(key), value, crs):
            wrong = _contradicts(_boxed(value), crs)
            changed[key] = None if wrong else crs.to_string()
    if not changed:
        return None
    out = {key: changed.get(key, value) for key, value in attrs.items()}
    return {key: value for key, value in out.items() if value is not None or key not in changed}


def _is_object_or_wrong(key: str, value: Any, crs: pyproj.CRS) -> bool:
    if key.lower() in _LOOSE_KEYS and not looks_like_crs(value):
        return False
    return not isinstance(value, str | int | float | np.generic) or _contradicts(_boxed(value), crs)


def _boxed(value: Any) -> xr.Variable:
    box = np.empty((), object)
    box[()] = value
    return xr.Variable((), box)


def without_mapping_dim(cube: Labelled) -> Labelled:
    """Return a cube whose images do not lie along the grid mapping variable's dim of one."""
    dims = {d for image in _images(cube) for d in image.dims if cube.sizes[d] == 1}
    for dim in dims:
        if dim in cube.coords and says_crs(cube[dim].attrs):
            cube = cube.isel({dim: 0})
    return cube
