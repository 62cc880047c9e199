"""Radar guides: which of their bands are backscatter, and whether it is in dB or linear power."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.common_attrs import with_own_attrs
from xstf.cubes.dims import find_dim
from xstf.cubes.limits import LARGEST
from xstf.cubes.read import Cube, band_labels
from xstf.cubes.variables import band_variables
from xstf.tiles.gpu import to_host
from xstf.tiles.run import compute_now, is_lazy

Units: TypeAlias = Literal["dB", "linear"]

# Values a band that its units are told from, at most; with fewer valid ones all are looked at.
SAMPLED, ENOUGH = 200_000, 1000
# Codes that stand for missing where nothing declares them; 0 is one in power and in dB.
FILLS = (0, -99, -999, -9999, -32767, -32768, 9999, 32767, 65535)
# Of dB over land most values are negative, their median is no less than this and no more than that.
MOST_NEGATIVE, DB_MEDIAN = 0.5, (-60.0, -1.0)
# Linear power is about 0.1 over land and seldom above 1; noise removal leaves some of it negative.
# What is as small as this is power whatever its sign: a median of 0.01 dB is not found in nature.
FEW_NEGATIVE, POWER_MEDIAN, FAINT = 0.25, 1.0, 0.01
# Speckle makes a part of power larger than 1 where its median is as large as this: where nothing
# is above 1, it was scaled from 0 to 1, of dB or whatever.
SCALED_MEDIAN = 0.4

# Power or dB whose median is as large as this is neither: digital numbers, packed numbers.
FAR = 100.0
_CALIBRATE = "calibrate it (amplitude and digital numbers are neither)"

# Words of units, and of names where no units are given.
_DECIBEL = {"db", "decibel", "decibels", "dbs", "log"}
_LINEAR = {"linear", "power", "intensity", "natural"}
_AMPLITUDE = {"amplitude", "amplitudes", "dn", "counts", "count", "digital"}
_ANGLE = {"degree", "degrees", "deg", "radian", "radians", "rad"}
_ONE = ("1", "1.0", "m2/m2", "m2m-2", "m2.m-2", "m2*m-2")
_SILENT = ("", "-", "none", "nan", "null", "n/a", "na", "unknown")
_PACKED = ("scale_factor", "add_offset", "scale", "offset", "scales", "offsets")
# Names of what comes with backscatter and is none.
_OTHER = re.compile(
    r"angle|incidence|(^|_)(inc|lia|eia|theta)($|_)|mask|shadow|layover|scattering_area|local_area"
    r"|contributing_area|(^|_)(dem|dsm|height|elevation)($|_)|acquisition|(^|_)n_?obs"
)


# --- what is backscatter ------------------------------------------------------------------------


def backscatter(given: Labelled, what: str) -> tuple[Labelled, list[str]]:
    """Return a radar cube's bands of backscatter, and the names of what else it had.

    Angles of incidence and masks are told by their names or units. What nothing tells apart stays.
    """
    given = with_own_attrs(given)
    if isinstance(given, xr.Dataset):
        names = band_variables(given)
        others = [n for n in names if _is_other(n, _unit(given[n].attrs))]
        others = [] if len(others) == len(names) else others
        first = given[names[0]] if names else xr.DataArray()
        space = set(first.dims) - {find_dim(first, "time")}  # what is along time alone are labels
        images = [
            n for n, v in given.data_vars.items() if n not in names and set(v.dims) & space
        ]  # fmt: skip
        own = given.drop_vars([*others, *images])
        return _silent(own), [str(n) for n in given.data_vars if n in (*others, *images)]
    if not isinstance(given, xr.DataArray):
        return given, []  # whoever reads it says so
    bands, dim = band_labels(given, what=what)
    units = _units_by_band(given, bands, dim)
    other_at = [_is_other(b, u) for b, u in zip(bands, units, strict=True)]
    if dim is None or not any(other_at) or all(other_at):
        return _silent(given), []
    kept = given.isel({dim: np.flatnonzero(~np.array(other_at))})
    per_band = {k: v for k, v in given.attrs.items() if _is_list(v, len(bands))}
    kept = kept.assign_attrs(
        {k: tuple(v for v, o in zip(vs, other_at, strict=True) if not o)
         for k, vs in per_band.items()}
    )  # fmt: skip
    return _silent(kept), [str(b) for b, o in zip(bands, other_at, strict=True) if o]


def _is_other(name: Hashable, unit: str) -> bool:
    return bool(_OTHER.search(str(name).lower())) or said_by(unit) == "angle"


def _silent(given: Labelled) -> Labelled:
    """Return a radar cube with NaN for codes that stand for no echo, among them the dB of none.

    That is before slices of a pass are merged: a border of zeros must not hide the other slice. Of
    packed numbers the codes are not known yet; those are met where blocks are read.
    """
    if isinstance(given, xr.Dataset):
        return given.assign({n: _without_codes(given[n]) for n in band_variables(given)})
    return _without_codes(given)


def _without_codes(array: xr.DataArray) -> xr.DataArray:
    if array.dtype.kind not in "fiu" or any(k in array.attrs for k in _PACKED):
        return array
    plain = array.drop_vars(list(array.coords))
    codes = plain.isin(FILLS) | (plain == -np.inf)
    if not is_lazy(array.data) and not bool(codes.any()):
        return array
    return array.copy(data=plain.where(~codes).data)


# --- what is said of units ----------------------------------------------------------------------


def said_by(text: str) -> str | None:
    """Return what a text says of units: dB, linear, amplitude, angle, "" (nothing) or None.

    None is said by words that have to do with none of these.
    """
    plain = text.strip().lower()
    if plain in _SILENT:
        return ""
    words = set(re.split(r"[^a-z0-9]+", plain))
    if words & _DECIBEL or "log10" in plain:
        return "dB"
    if words & _AMPLITUDE:
        return "amplitude"
    if words & _LINEAR or re.sub(r"\s|\^|\*\*", "", plain) in _ONE:
        return "linear"
    return "angle" if words & _ANGLE else None


def _unit(attrs: Mapping[Any, object]) -> str:
    """Return the text of an attribute ``units``, ``unit`` or ``Units``; "" where there is none."""
    found = next((v for k, v in attrs.items() if str(k).lower() in ("units", "unit")), None)
    if found is None:
        return ""
    texts = (
        {str(v) for v in found} if isinstance(found, list | tuple | np.ndarray) else {str(found)}
    )
    return texts.pop() if len(texts) == 1 else ""


def _is_list(value: object, count: int) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and np.shape(value) == (count,)


def _units_by_band(
    array: xr.DataArray, bands: Sequence[Hashable], dim: Hashable | None
) -> list[str]:
    """Return what each band of an array says: by a list in attrs, a coordinate, or all alike."""
    count = len(bands)
    for key, value in array.attrs.items():
        if str(key).lower() in ("units", "unit") and count > 1 and _is_list(value, count):
            return [str(v) for v in value]
    for name in ("units", "unit"):
        if dim is not None and name in array.coords and array[name].dims == (dim,):
            return [str(v) for v in compute_now({"": array[name].data})[""]]
    return [_unit(array.attrs)] * count


def _texts(sar: Cube) -> dict[str, str]:
    """Return the text of the units of each band."""
    source, bands = sar.source, [str(b) for b in sar.bands]
    if isinstance(source, xr.DataArray):
        return dict(zip(bands, _units_by_band(source, sar.bands, sar.dims[1]), strict=True))
    names = band_variables(source)
    common = _unit(source.attrs)
    if len(names) == 1 and len(bands) > 1:
        array = source[names[0]]
        own = _units_by_band(array, sar.bands, sar.dims[1])
        return {b: u or common for b, u in zip(bands, own, strict=True)}
    return {str(n): _unit(source[n].attrs) or common for n in names}


def _said(sar: Cube) -> tuple[str, dict[str, str]]:
    """Return the units that a radar cube states, "" for none, and in which words.

    A name such as ``VV_dB`` counts where there are no units.
    """
    texts = _texts(sar)
    kinds = {band: said_by(text) for band, text in texts.items()}
    name = str(getattr(sar.source, "name", "") or "")
    for band, kind in kinds.items():
        if kind == "":
            named = next((s for s in map(said_by, (band, name)) if s in ("dB", "linear")), "")
            kinds[band], texts[band] = named, band if said_by(band) else name if named else ""
    if "amplitude" in kinds.values():
        text = next(t for b, t in texts.items() if kinds[b] == "amplitude")
        raise ValueError(
            f"{sar.what} is amplitude by its units {text!r}, and backscatter is wanted: square "
            "calibrated amplitude and set attrs['units'] = 'linear', or give 20 * log10 of it with "
            "attrs['units'] = 'dB'"
        )
    clear = {k for k in kinds.values() if k in ("dB", "linear")}
    if len(clear) > 1:
        raise ValueError(
            f"{sar.what} has bands in several units: {texts}; convert them to one of dB and linear "
            "power, or select bands of one"
        )
    if clear:
        return clear.pop(), texts
    return "", texts


# --- what values say ----------------------------------------------------------------------------


def looks(values: np.ndarray) -> Units | None:
    """Return what values of one band look like; None where they may be either, or neither.

    By medians and shares: a few negative pixels of power, as noise removal and cubic resampling
    leave them, and a few bright ones in dB decide nothing.

    Examples
    --------
    >>> import numpy as np
    >>> looks(np.array([0.05, 0.2, -1e-5, 0.1])), looks(np.array([-12.0, -8, 1, -17]))
    ('linear', 'dB')
    >>> looks(np.array([30.0, 120, 255, 81])) is None
    True
    """
    if not values.size:
        return None
    middle, size = float(np.median(values)), float(np.median(np.abs(values)))
    negative = float((values < 0).mean())
    if negative > MOST_NEGATIVE and DB_MEDIAN[0] <= middle <= DB_MEDIAN[1]:
        return "dB"
    if size <= FAINT:
        return "linear"
    scaled = middle > SCALED_MEDIAN and values.max() <= 1
    if negative <= FEW_NEGATIVE and 0 < middle <= POWER_MEDIAN and not scaled:
        return "linear"
    return None


def _samples(sar: Cube) -> list[np.ndarray]:
    """Return valid values of each band of a cube in memory, a bounded number of them."""
    data = sar.data
    dates, _, height, width = data.shape
    step = int(np.ceil((dates * height * width / SAMPLED) ** 0.5)) or 1
    every = max(1, dates // SAMPLED)
    few = [_valid(to_host(band)) for band in data[::every, :, ::step, ::step].swapaxes(0, 1)]
    return [
        some if some.size >= ENOUGH or step * every == 1 else _valid(to_host(band))[:: step * every]
        for some, band in zip(few, data.swapaxes(0, 1), strict=True)
    ]


def _valid(values: np.ndarray) -> np.ndarray:
    kept: np.ndarray = values[np.isfinite(values) & (np.abs(values) < LARGEST)]
    return kept[~np.isin(kept, FILLS)]


# --- the decision -------------------------------------------------------------------------------


def read_units(sar: Cube, given: str | None) -> tuple[bool, str]:
    """Return whether backscatter is linear power, and how that is known; raise if nothing tells.

    Parameters
    ----------
    sar : Cube
        Its bands of backscatter.
    given : {"dB", "linear"} or None
        What the caller says of it.
    """
    if given not in (None, "dB", "linear"):
        raise ValueError(f"sar_units must be 'dB' or 'linear', not {given!r}")
    if given is not None:
        _warn_if_unlike(sar, given)
        return given == "linear", f"{given} by sar_units"
    stated, texts = _said(sar)
    words = ", ".join(sorted({repr(t) for t in texts.values() if t}))
    if is_lazy(sar.data):
        if not stated:
            raise ValueError(
                f"{sar.what} {_says(words)} and is lazy: give sar_units='dB' or 'linear', or set "
                "attrs['units']"
            )
        return stated == "linear", f"{stated} by {words}"
    found = dict(zip(texts, _samples(sar), strict=True))
    seen = {band: looks(values) for band, values in found.items()}
    if stated:
        _require_alike(sar, stated, words, found, seen)
        return stated == "linear", f"{stated} by {words}"
    like = {kind for kind in seen.values() if kind}
    if len(like) > 1:
        raise ValueError(
            f"{sar.what} {_says(words)}, and its bands look different: {_listed(found, seen)}; "
            "convert them to one of dB and linear power, or select bands of one"
        )
    if not like and any(values.size for values in found.values()):
        raise ValueError(
            f"{sar.what} {_says(words)}, and its values may be dB, linear power or neither: "
            f"{_listed(found, seen)}; give sar_units='dB' or 'linear', or {_CALIBRATE}"
        )
    kind = like.pop() if like else "dB"  # without any value it does not matter
    if words:
        warnings.warn(
            f"{sar.what} {_says(words)}; it is taken as {kind} by its values: "
            f"{_listed(found, seen)}; give sar_units={kind!r} to say so",
            stacklevel=6,
        )
    return kind == "linear", f"{kind} by its values"


def _says(words: str) -> str:
    return (
        f"has units {words}, which are neither dB nor linear power"
        if words
        else ("does not say its units")
    )


def _listed(found: Mapping[str, np.ndarray], seen: Mapping[str, str | None]) -> str:
    """Return medians and what they look like, band by band."""
    texts = []
    for band, values in found.items():
        middle = f"median {np.median(values):.3g}" if values.size else "no values"
        like = f", like {seen[band]}" if seen[band] else ""
        texts.append(f"{band or 'values'} {middle}{like}")
    return "; ".join(texts)


def _other(units: str) -> str:
    return "linear" if units == "dB" else "dB"


def _require_alike(
    sar: Cube, stated: str, words: str, found: Mapping[str, np.ndarray],
    seen: Mapping[str, str | None],
) -> None:  # fmt: skip
    """Raise if values plainly are not what is stated of them."""
    far = _is_far(found)
    if far or _other(stated) in seen.values():
        remedy = _CALIBRATE if far else "mend attrs['units'], or give sar_units='dB' or 'linear'"
        raise ValueError(
            f"{sar.what} says {words}, which is {stated}, and its values do not look so: "
            f"{_listed(found, seen)}; {remedy}"
        )


def _is_far(found: Mapping[str, np.ndarray]) -> bool:
    """Return whether values of any band can be neither dB nor power, as digital numbers."""
    return any(v.size and np.median(np.abs(v)) > FAR for v in found.values())


def _warn_if_unlike(sar: Cube, given: str) -> None:
    """Warn if values plainly are not what the caller says."""
    if is_lazy(sar.data):
        return
    found = dict(zip([str(b) for b in sar.bands], _samples(sar), strict=True))
    seen = {band: looks(values) for band, values in found.items()}
    far = _is_far(found)
    if far or _other(given) in seen.values():
        remedy = _CALIBRATE if far else f"leave sar_units out, or give {_other(given)!r}"
        warnings.warn(
            f"sar_units={given!r}, but {sar.what} looks otherwise: {_listed(found, seen)}; "
            f"{remedy}",
            stacklevel=7,
        )
