"""What each variable of a Dataset is: a band, or a layer of classes, angles, places, accuracies.

A name, the attributes and the dtype tell. Layers of classes are no measurements: an average of two
classes is a third one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.dims import find_dim
from xstf.cubes.words import listed, warn_user

Kind: TypeAlias = Literal[
    "band", "class", "angle", "place", "count", "accuracy", "terrain", "other"
]

# Words of names. A name is cut at case, digits and signs: "dataMask" is data and mask.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_CLASSES = frozenset((
    "qa", "qc", "qf", "bqa", "qai", "qflag", "qflags", "qual", "quality", "reliability", "scl",
    "fmask", "cfmask", "fmasks", "clm", "clp", "msk", "mask", "masks", "cloudmask", "datamask",
    "bitmask", "flag", "flags", "wqsf", "udm", "classification", "classes", "class", "landcover",
    "lulc", "worldcover", "status", "state", "contiguity", "shadow", "shadows", "radsat",
    "saturation", "valid",
))  # fmt: skip
# These names alone, not as words of others: "cirrus" is a band, "cloud top height" a measurement.
_WHOLE_CLASSES = frozenset((
    "cloud", "clouds", "cld", "clouds_mask", "cloud_prob", "cloud_probability", "cldprb", "snw",
    "snwprb", "cs", "cs_cdf", "clear", "usable_data", "confidence", "cloud_confidence",
    "cloud_shadow", "label", "layover", "layover_shadow",
))  # fmt: skip
# Of two words and more, within a name.
_CLASS_PHRASES = (
    "land cover", "land use", "land type", "lc type", "lc prop", "sr aerosol", "qa aerosol",
    "surface type", "crop type",
)  # fmt: skip
_ANGLES = frozenset((
    "zenith", "azimuth", "sza", "vza", "saa", "vaa", "raa", "szen", "vzen", "raz", "senz", "sena",
    "solz", "sola", "angle", "angles", "angl", "incidence", "incident", "lia",
))  # fmt: skip
_COUNTS = frozenset((
    "nobs", "doy", "obscov", "iobs",
))  # fmt: skip
_COUNT_PHRASES = (
    "day of year", "day of the year", "n obs", "num observations", "observation count", "view time",
    "length before", "length after", "clear day cov", "clear night cov", "clear sky days",
    "clear sky nights",
)  # fmt: skip
_PLACES = frozenset((
    "lat", "lats", "latitude", "latitudes", "lon", "lons", "longitude", "longitudes", "nav_lat",
    "nav_lon", "geolat", "geolon", "xlat", "xlong", "xc", "yc",
))  # fmt: skip
_TERRAIN = frozenset((
    "dem", "dsm", "dtm", "dhm", "elevation", "altitude", "slope", "aspect", "hillshade",
))  # fmt: skip
_ACCURACIES = ("_std", "_stddev", "_unc", "_uncertainty", "_err", "_error", "_sigma", "_rmse")
_WHOLE_ACCURACIES = frozenset(("rmse", "std", "stddev", "unc", "uncertainty", "standard_error"))
# What says of a whole image how cloudy it is, one number a date.
_CLOUDINESS = frozenset(("cover", "coverage", "percentage", "percent", "fraction"))
_OWN_LAYERS = ("_std", "_flag", "_n_obs")  # beside an estimate of xstf
_BOUND_DIMS = frozenset((
    "bnds", "bnd", "bounds", "nv", "nbnd", "nbnds", "vertices", "nvertices",
))  # fmt: skip
_FLAG_ATTRS = ("flag_meanings", "flag_values", "flag_masks", "flags_definition")
_FLAG_UNITS = frozenset((
    "bit field", "bit_field", "bitfield", "class flag", "class", "flags", "concatenated flags",
))  # fmt: skip
_SCALES = ("scale_factor", "add_offset", "scales", "offsets")

# How each argument of a verb that takes a cube calls that cube's mask.
_MASKS = {
    "fine": "mask", "cube": "mask", "spectral": "mask", "coarse": "coarse_mask",
    "spatial": "spatial_mask",
}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """The data variables of a Dataset by what they are, each in the Dataset's order.

    Parameters
    ----------
    bands
        Measurements that share their dims: what the verbs work on.
    classes
        Layers of classes, quality and masks.
    beside
        Everything else that is no band: angles, places, bounds, text, dates, scalars, what has
        no y and x, what has no time beside bands that have it.
    apart
        Measurements whose y and x are not the bands', or whose numbers are not real.
    """

    bands: list[Hashable]
    classes: list[Hashable]
    beside: list[Hashable]
    apart: list[Hashable]


def parts_of(dataset: xr.Dataset) -> Parts:
    """Return the data variables of a Dataset by what they are; no value is read."""
    kinds = kinds_of(dataset)
    space = {n: _space(dataset[n]) for n in dataset.data_vars}
    measured = [n for n, kind in kinds.items() if kind in ("band", "terrain")]
    real = [n for n in measured if dataset[n].dtype.kind in "iuf"]
    found = [n for n in real if None not in space[n]]
    if found:
        frame, _ = Counter(space[n] for n in found).most_common(1)[0]
        bands = [n for n in found if space[n] == frame]
    else:  # series without space; what cannot do without says so
        most = max((dataset[n].ndim for n in real), default=0)
        bands = [n for n in real if dataset[n].ndim == most and most]
    bands = _without(bands, [n for n in bands if kinds[n] == "terrain"])
    still = [n for n in bands if find_dim(dataset[n], "time") is None]
    moving = _without(bands, still)
    if moving != bands and moving:
        bands = moving
    apart = [
        n for n in measured if n not in bands and _is_apart(dataset[n], space[n], bands, dataset)
    ]
    classes = [n for n, kind in kinds.items() if kind == "class"]
    taken = {*bands, *apart, *classes}
    return Parts(bands, classes, [n for n in dataset.data_vars if n not in taken], apart)


def band_variables(dataset: xr.Dataset) -> list[Hashable]:
    """Return the variables that are a Dataset's bands."""
    return parts_of(dataset).bands


def first_band(cube: Labelled) -> xr.DataArray | None:
    """Return a cube that is one array, or the first band of a Dataset; None where it has none."""
    if isinstance(cube, xr.DataArray):
        return cube
    names = band_variables(cube)
    return cube[names[0]] if names else None


def _without(names: list[Hashable], others: list[Hashable]) -> list[Hashable]:
    """Return names that are not among others; all of them where none would be left."""
    left = [n for n in names if n not in others]
    return left or names


def _space(array: xr.DataArray) -> tuple[Hashable | None, Hashable | None]:
    return find_dim(array, "y"), find_dim(array, "x")


def _is_apart(
    array: xr.DataArray, space: tuple[Hashable | None, Hashable | None], bands: list[Hashable],
    dataset: xr.Dataset,
) -> bool:  # fmt: skip
    """Return whether a measurement that is no band is an image none the less."""
    if not bands or array.ndim < 2:
        return False
    if array.dtype.kind not in "iuf":
        return True
    return set(array.dims) - set(dataset[bands[0]].dims) != set() or (
        None not in space and space != _space(dataset[bands[0]])
    )


# --- one variable -----------------------------------------------------------------------------


def kinds_of(dataset: xr.Dataset) -> dict[Hashable, Kind]:
    """Return what each data variable of a Dataset is."""
    bounds = {
        str(v.attrs.get(key, v.encoding.get(key)))
        for v in dataset.variables.values()
        for key in ("bounds", "climatology")
    }
    names = {str(n) for n in dataset.variables}
    kinds: dict[Hashable, Kind] = {
        n: "other" if str(n) in bounds else _kind(n, v, names) for n, v in dataset.data_vars.items()
    }
    accuracies = [n for n in kinds if str(n).lower() in _WHOLE_ACCURACIES]
    if "band" in [kind for n, kind in kinds.items() if n not in accuracies]:
        kinds |= dict.fromkeys(accuracies, "accuracy")  # alone they are what is measured
    return kinds


def _kind(name: Hashable, array: xr.DataArray, names: Collection[str]) -> Kind:
    if array.ndim == 0 or array.dtype.kind in "USTMmV":
        return "other"
    if array.dtype.kind == "O":
        return "band" if array.ndim >= 2 and not _is_class_name(name) else "other"
    if _BOUND_DIMS & {str(d).lower() for d in array.dims}:
        return "other"
    own = _of_estimate(str(name), names, _OWN_LAYERS)
    if own or _of_estimate(str(name), names, _ACCURACIES):
        return "accuracy"
    standard = str(array.attrs.get("standard_name", ""))
    if standard.endswith("standard_error"):
        return "accuracy"
    if (
        array.ndim == 1
        and {"cloud", "cloudy"} & set(words(name))
        and _CLOUDINESS & set(words(name))
    ):
        return "other"
    if is_class_layer(array) or _is_class_name(name):
        return "class"
    if standard.endswith("_angle") or set(words(name)) & _ANGLES:
        return "angle"
    if standard in ("latitude", "longitude") or str(name).lower() in _PLACES:
        return "place"
    if set(words(name)) & _COUNTS or any(p in " ".join(words(name)) for p in _COUNT_PHRASES):
        return "count"
    if standard == "surface_altitude" or set(words(name)) & _TERRAIN:
        return "terrain"
    return "band"


def words(name: Hashable) -> list[str]:
    """Return the words of a name.

    Examples
    --------
    >>> words("dataMask"), words("QA_PIXEL"), words("sunZenithAngles")
    (['data', 'mask'], ['qa', 'pixel'], ['sun', 'zenith', 'angles'])
    """
    return [word.lower() for word in _WORD.findall(str(name))]


def _is_class_name(name: Hashable) -> bool:
    found = words(name)
    return (
        bool(set(found) & _CLASSES)
        or "_".join(found) in _WHOLE_CLASSES
        or any(phrase in " ".join(found) for phrase in _CLASS_PHRASES)
    )


def _of_estimate(name: str, names: Collection[str], endings: Iterable[str]) -> bool:
    """Return whether a variable says something of another one, by its name's ending."""
    return any(name.lower().endswith(e) and name[: -len(e)] in names for e in endings)


def is_class_layer(array: xr.DataArray) -> bool:
    """Return whether a variable holds classes, by its dtype and attrs.

    Flags beside a scale or outside of the valid range are codes within measurements, as those of
    byte NDVI are.
    """
    if array.dtype.kind == "b":
        return True
    attrs = array.attrs
    standard = str(attrs.get("standard_name", ""))
    if standard.endswith(("status_flag", "quality_flag")) or standard == "area_type":
        return True
    if str(attrs.get("units", "")).strip().lower() in _FLAG_UNITS:
        return True
    if not any(key in attrs for key in _FLAG_ATTRS):
        return False
    said = {**array.encoding, **attrs}
    return not (standard or any(_scales(said.get(key)) for key in _SCALES) or _beyond(said))


def _scales(value: object) -> bool:
    return value is not None and not np.isin(_floats(value), (0.0, 1.0)).all()


def _beyond(said: Mapping[Any, object]) -> bool:
    """Return whether the flags' values lie outside of what is valid."""
    flags = _floats(said.get("flag_values"))
    low, high = (_floats(said.get(key)) for key in ("valid_min", "valid_max"))
    both = _floats(said.get("valid_range"))
    if both.size == 2:
        low, high = both[:1], both[1:]
    out = np.zeros(flags.shape, bool)
    if low.size == 1:
        out |= flags < low
    if high.size == 1:
        out |= flags > high
    return bool(flags.size and out.all())


def _floats(value: object) -> np.ndarray:
    """Return the numbers of an attribute, also of one that is text; none where it holds others."""
    if isinstance(value, str):
        value = re.findall(r"[-+.\deE]*\d[-+.\deE]*", value)
    try:
        return np.atleast_1d(np.asarray([] if value is None else value, np.float64)).ravel()
    except (TypeError, ValueError):
        return np.array([])


# --- words on them ----------------------------------------------------------------------------


def require_measurements(array: xr.DataArray, band: Hashable | None, what: str) -> None:
    """Raise ValueError if an array, or a band of it, is a layer of classes."""
    name = array.name or ""
    by_name = mask_maker(name, array) is not None or (
        array.dtype.kind in "iu" and _is_class_name(name)
    )
    if is_class_layer(array) or by_name:
        raise ValueError(
            f"{what} is a layer of classes ({array.name!r}), whose numbers are no measurements: "
            f"pass the bands, and this as {_how(array.name, array, what)}"
        )
    if band is None or band not in array.coords or array[band].dtype.kind not in "UOT":
        return
    found = [b for b in array[band].values.tolist() if _is_class_name(b)]
    if found:
        left = [b for b in array[band].values.tolist() if b not in found]
        pick = f"{what}.sel({band}={found[0]!r})"
        raise ValueError(
            f"{what}'s bands {found} are layers of classes, whose numbers are no measurements: "
            f"select the others ({what}.sel({band}={left})), and give "
            f"{_how(found[0], array, what, pick)}"
        )


def require_bands(dataset: xr.Dataset, what: str) -> list[Hashable]:
    """Return a Dataset's bands; raise ValueError with what its variables are if it has none."""
    parts = parts_of(dataset)
    if parts.bands:
        return parts.bands
    if parts.classes:
        one = parts.classes[0]
        raise ValueError(
            f"{what} has no bands: {parts.classes} are layers of classes, whose numbers are no "
            f"measurements; pass the bands, and {_how(one, dataset[one], what)}; if they are "
            "measurements, rename them and drop their flag_ attributes"
        )
    raise ValueError(
        f"{what} has no data variable with y and x; it has {listed(dataset.data_vars)}"
    )


def tell_of_layers(cube: Labelled, what: str, *, masked: bool) -> None:
    """Warn of a Dataset's images that are no bands, and of classes that nobody made a mask of."""
    if not isinstance(cube, xr.Dataset):
        return
    parts = parts_of(cube)
    if parts.apart:
        warn_user(
            f"{what}: {parts.apart} are no bands, since their dims or dtypes are not those of "
            f"{parts.bands}, and are left as they are; pass them by themselves"
        )
    if masked or what not in _MASKS or not parts.classes:
        return
    known = [n for n in parts.classes if mask_maker(n, cube[n])] or parts.classes
    how = _how(known[0], cube[known[0]], what)
    warn_user(
        f"{what} has layers of classes, which are no bands, {parts.classes}, and no "
        f"{_MASKS[what]}=: what they bar counts as clear; give {how} or drop them"
    )


def mask_maker(name: Hashable, array: xr.DataArray) -> str | None:
    """Return the function of :mod:`xstf.masks` that reads a layer."""
    parts = words(name)
    if "scl" in parts:
        return "scl"
    if parts[:2] == ["qa", "pixel"]:
        return "qa_pixel"
    if parts == ["fmask"] and "flags_definition" not in array.attrs:
        return "fmask"
    return None


def _how(name: Hashable, array: xr.DataArray, what: str, pick: str = "") -> str:
    """Return how a mask is made of a layer, as it is written in a call."""
    text = str(name)
    layer = pick or (f"ds.{text}" if text.isidentifier() else f"ds[{text!r}]")
    argument, maker = _MASKS.get(what, "mask"), mask_maker(name, array)
    if maker:
        return f"{argument}=xstf.masks.{maker}({layer})"
    if array.dtype.kind == "b":
        return f"{argument}={layer} (or ~{layer}: True where not usable)"
    return (
        f"{argument}= a boolean DataArray made of it, True where not usable, such as {layer} != 0"
    )
