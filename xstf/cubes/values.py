"""Cubes as their caller says that they are: scaled, decoded, cut to a valid range."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.common_attrs import with_own_attrs
from xstf.cubes.decode import apply, left_attrs, read_values, without_packing
from xstf.cubes.dims import band_dim
from xstf.cubes.extremes import warn_of_extremes, watch_lazy
from xstf.cubes.loading import load_values
from xstf.cubes.packing import PACKING
from xstf.cubes.variables import band_variables


def as_values(
    cube: Labelled,
    *,
    what: str,
    scale: float | None = None,
    decoded: bool | None = None,
    valid_range: tuple[float, float] | None = None,
    scale_name: str = "scale",
    mask: xr.DataArray | None = None,
) -> Labelled:
    """Return a cube with what a call says of its values written into it; itself for nothing.

    Everything that its attrs say of stored numbers is done then and said no more; other attrs,
    coordinates, CRS and name stay. Lazy stays lazy, and the caller's cube as it is.

    Parameters
    ----------
    cube : DataArray or Dataset of bands
        Of a Dataset each band is converted.
    what : str
        What to call it in messages.
    scale : float, optional
        Multiply its values by this, after its own scale and offset.
    decoded : bool, optional
        Whether its values are scaled already, where attrs still say how. Default: see
        :func:`xstf.cubes.decode.decode`.
    valid_range : (float, float), optional
        Values outside are missing; in units of the values, after `scale`.
    scale_name
        What the argument for `scale` is called in the call.
    mask : DataArray of bool, optional
        True where the cube is not usable: no warning goes by what is there.
    """
    factor = _check_scale(scale, scale_name)
    ends = _check_range(valid_range)
    if decoded is not None and not isinstance(decoded, bool | np.bool_):
        raise TypeError(f"decoded must be True, False or None (find out), not {decoded!r}")
    if factor is None and ends is None and decoded is None:
        return cube
    if isinstance(cube, xr.Dataset | xr.DataArray):
        load_values(cube, what)
    if isinstance(cube, xr.DataArray):
        return _converted(cube, what, factor, decoded, ends, mask)
    if not isinstance(cube, xr.Dataset):
        return cube  # reading it says what it must be
    cube = with_own_attrs(cube)
    bands: dict[Hashable, xr.DataArray] = {
        name: _converted(cube[name], f"{what}'s {name}", factor, decoded, ends, mask)
        for name in band_variables(cube)
    }
    return cube.assign(bands)


def decoded_values(cube: xr.DataArray, what: str) -> xr.DataArray:
    """Return an array whose numbers mean what they are, as reading has them; itself if they do.

    Scores compare with the cube itself, and look at what is missing in it.
    """
    packed = cube.dtype.kind in "iu" or any(key in cube.attrs for key in PACKING)
    return _converted(cube, what, None, None, None, None) if packed else cube


def take_values(options: dict[str, Any], *cubes: tuple[Any, str, str]) -> tuple[Any, ...]:
    """Return cubes with what a verb's options say of their values, and take it out of the options.

    Scores compare with the cubes themselves, which must then be in the units of the results.

    Parameters
    ----------
    options
        Of a verb; changed.
    *cubes
        A cube or None, what to call it, and the name of the argument that scales it.
    """
    said = {name: options.pop(name, None) for name in ("decoded", "valid_range")}
    scales = {name: options.pop(name, None) for name in dict.fromkeys(c[2] for c in cubes)}
    return tuple(
        None if cube is None
        else as_values(cube, what=what, scale=scales[name], scale_name=name, **said)
        for cube, what, name in cubes
    )  # fmt: skip


def _converted(
    array: xr.DataArray,
    what: str,
    scale: float | None,
    decoded: bool | None,
    ends: tuple[float, float] | None,
    mask: xr.DataArray | None,
) -> xr.DataArray:
    if array.dtype.kind not in "fiu":
        return array
    reading = read_values(array, band=band_dim(array), what=what, decoded=decoded)
    unused = reading.range_note if ends is None else ""  # the call's range is in its place
    for note in filter(None, (*reading.notes, unused)):
        warnings.warn(note, stacklevel=5)
    bare = watch_lazy(array, what) if mask is None and ends is None else array
    values = apply(reading, bare, np.float32)
    if scale is not None:
        values = values * np.float32(scale)
    if ends is not None:
        values = values.where((values >= ends[0]) & (values <= ends[1]))
    warned = array.chunks is None and warn_of_extremes(array, what, mask, values.isnull())
    # Arithmetic keeps attrs or not by an option of the user's; the encoding has the grid mapping.
    out = values.drop_attrs(deep=False).assign_attrs(left_attrs(reading, array.attrs))
    if warned:
        out.attrs["nodata"] = None  # once is enough: whoever reads the result warns, too
    out.name, out.encoding = array.name, without_packing(array.encoding)
    return out


def _check_scale(scale: float | None, name: str) -> float | None:
    if scale is None:
        return None
    number = _real(scale)
    if number is None:
        raise TypeError(f"{name} must be a number such as 1e-4, not {scale!r}")
    if not math.isfinite(number) or number == 0:
        raise ValueError(f"{name} must be a finite number that is not 0, such as 1e-4, not {scale}")
    return number


def _check_range(given: tuple[float, float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    wanted = "valid_range must be two numbers (low, high), such as (0, 1)"
    try:
        ends = [] if isinstance(given, str) else [_real(end) for end in given]
    except TypeError:
        ends = []
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        raise TypeError(f"{wanted}, not {given!r}; an open end is -inf or inf")
    if not ends[0] < ends[1]:
        raise ValueError(f"{wanted}, the lower first, not {given!r}")
    return ends[0], ends[1]


def _real(value: object) -> float | None:
    """Return a number; None for what is none."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return None
    return float(value)
