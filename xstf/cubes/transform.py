"""The affine transform that a cube states, held against its coordinates.

A transform names the corners of pixels and coordinates their centres, so both differ by half a
pixel. They are compared modulo whole pixels: a part of an image keeps the transform of the whole.
Coordinates that lie on the corners (stackstac's default) are corners, and are moved to centres.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.words import shortened, warn_user

# Attributes with rasterio's order (width, shear, left, shear, height, top), and with GDAL's.
# Earth Engine's, of an asset; Xee leaves it on images that were read on another grid.
OF_SOURCE = "crs_transform"
_AFFINE = ("transform", "affine", "proj:transform", OF_SOURCE)
_GDAL = ("geotransform",)
_SIZES = ("resolution", "res", "pixel_size")
TRANSFORMS = (*_AFFINE, *_GDAL)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_UNIT = re.compile(r"\b(m|met(re|er)s?|deg(ree)?s?)\b|°|(?<=\d)m\b|(?<=\d)\s*[x×]\s*(?=\d)")
# How much steps of one grid may differ, and how far from a corner or a centre is still there, in
# pixels: what text and float32 round by.
_SAME_STEP = 1e-3
_NEAR = 0.05

Verdict = Literal["centre", "corner", "other", "stale"]


@dataclass(frozen=True)
class Stated:
    """A north-up transform that a cube states.

    Parameters
    ----------
    where
        Where it stands, for messages.
    top, left
        The corner that it names.
    dy, dx
        Its signed steps.
    text
        As it stands there, shortened.
    of_source
        Whether it may be that of what the cube was made of, on a grid of its own.
    """

    where: str
    top: float
    left: float
    dy: float
    dx: float
    text: str
    of_source: bool = False


@dataclass(frozen=True)
class Axis:
    """What a transform says of the coordinates along an axis.

    Parameters
    ----------
    verdict
        Whether they are the centres of its pixels, their corners, neither, or another grid's.
    offset
        From its nearest corner back to the first coordinate, in pixels.
    """

    verdict: Verdict
    offset: float


def stated_transforms(
    cube: Labelled, mapping: Hashable | None, steps: tuple[float | None, float | None], what: str
) -> list[Stated]:
    """Return the transforms that a cube states: its grid mapping variable's, then its attrs'.

    Parameters
    ----------
    cube : DataArray or Dataset
    mapping : hashable or None
        Its grid mapping variable.
    steps : (float or None, float or None)
        Of its coordinates y and x, where it has several.
    what : str

    Raises
    ------
    ValueError
        One cannot be read, or has rotation or shear.
    """
    found = []
    for where, key, value in _statements(cube, mapping):
        read = numbers_of(value)
        if read is None or (isinstance(value, str) and not re.search(r"\d[\s,|]", value)):
            continue  # nothing, or a word such as "log10" of another transform
        if len(read) == 5 and key in _GDAL:  # gridMET's, and it names a centre
            warn_user(
                f"{what}'s {where} = {shortened(value)} has five numbers and is no transform: its "
                "coordinates are taken, as centres; drop the attribute"
            )
            continue
        six = _in_order(read, key in _GDAL, steps)
        if six is None:
            raise ValueError(
                f"{what}'s {where} = {shortened(value)} cannot be read as an affine transform of "
                "six numbers; correct it with rio.write_transform(…), or drop it"
            )
        a, b, c, d, e, f = six
        sheared = abs(b) > 1e-6 * abs(a or e or 1) or abs(d) > 1e-6 * abs(e or a or 1) or not a * e
        if sheared and key == OF_SOURCE:
            continue
        if sheared:
            raise ValueError(
                f"{what}'s {where} = {shortened(value)} has rotation or shear, so rows and columns "
                "have no y and x of their own; bring the image to a north-up grid first: "
                "rio.reproject(…), or gdalwarp; drop the attribute if it is of another grid"
            )
        found.append(Stated(where, f, c, e, a, shortened(value), key == OF_SOURCE))
    return found


def mapping_variables(cube: Labelled, mapping: Hashable | None) -> list[Hashable]:
    """Return the variables that may hold a transform: the grid mapping's, or one without a CRS."""
    if mapping is not None:
        return [mapping]
    return [n for n, c in cube.coords.items() if c.size == 1 and "GeoTransform" in c.attrs]


def _statements(cube: Labelled, mapping: Hashable | None) -> Iterator[tuple[str, str, Any]]:
    for name in mapping_variables(cube, mapping):
        for key, value in cube[name].attrs.items():
            if str(key).lower() in (*_AFFINE[:2], *_GDAL):
                yield f"{name}.attrs[{key!r}]", str(key).lower(), value
    for where, attrs in holders(cube):
        for key, value in attrs.items():
            if str(key).lower() in TRANSFORMS:
                yield f"{where}[{key!r}]", str(key).lower(), value


def holders(cube: Labelled) -> list[tuple[str, Mapping[Hashable, Any]]]:
    """Return the attributes of a cube and of its images, and what to call them."""
    found: list[tuple[str, Mapping[Hashable, Any]]] = [("attrs", cube.attrs)]
    if isinstance(cube, xr.Dataset):
        found += [(f"{n}.attrs", v.attrs) for n, v in cube.data_vars.items() if v.ndim >= 2]
    return found


def numbers_of(value: Any) -> list[float] | None:
    """Return the numbers of a value, None for an empty one; [] where it holds something else."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        left = re.sub(r"Affine|[\s|,;()\[\]]", "", _NUMBER.sub("", value))
        return [] if left else [float(n) for n in _NUMBER.findall(value)]
    try:
        return [float(n) for n in np.asarray(value, dtype=np.float64).reshape(-1)]
    except (TypeError, ValueError):
        return []


def _in_order(
    numbers: list[float], gdal: bool, steps: tuple[float | None, float | None]
) -> list[float] | None:
    """Return six numbers in rasterio's order, None where they are no transform."""
    if len(numbers) == 9 and numbers[6:] == [0, 0, 1]:
        numbers, gdal = numbers[:6], False
    if len(numbers) != 6 or not np.isfinite(numbers).all():
        return None
    other = [numbers[i] for i in (1, 2, 0, 4, 5, 3)]
    if gdal:
        return other
    # GDAL's order under rasterio's name reads as a shear, but its steps are the coordinates'.
    dy, dx = steps
    straight = numbers[1] == 0 == numbers[3]
    fits = [
        step is None or abs(abs(stated) - abs(step)) <= _SAME_STEP * abs(step)
        for stated, step in ((other[0], dx), (other[4], dy))
    ]
    return other if not straight and other[1] == 0 == other[3] and all(fits) else numbers


def compare(edges: tuple[float, float], step: float | None, corner: float, stated: float) -> Axis:
    """Return what a transform says of the coordinates along an axis.

    Parameters
    ----------
    edges : (float, float)
        The outer edges of the first and last pixel, if the coordinates are centres.
    step : float or None
        Their spacing, None for one.
    corner, stated : float
        A pixel corner and the signed step of the transform.
    """
    if step is not None and abs(abs(step) - abs(stated)) > _SAME_STEP * abs(step):
        return Axis("stale", 0.0)
    ends = (np.array(edges) - corner) / stated
    if np.abs(ends - np.round(ends)).max() <= _NEAR:
        return Axis("centre", 0.5)
    if np.abs(ends - np.floor(ends) - 0.5).max() <= _NEAR:
        return Axis("corner", 0.0)
    return Axis("other", float((ends[0] + 0.5) % 1))


def stated_size(cube: Labelled, mapping: Hashable | None) -> tuple[float, float] | None:
    """Return the height and width of a pixel by a cube's attributes, for an axis of one pixel.

    Coordinates know better wherever there are two.
    """
    named: list[Mapping[Hashable, Any]] = [attrs for _, attrs in holders(cube)]
    named += [cube[name].attrs for name in mapping_variables(cube, mapping)]
    for attrs in named:
        for key in _SIZES:
            value = attrs.get(key)
            if isinstance(value, str):
                value = _UNIT.sub("", value)
            sizes = numbers_of(value) or []
            if len(sizes) in (1, 2) and all(0 < abs(s) < np.inf for s in sizes):
                return abs(sizes[-1]), abs(sizes[0])
    return None
