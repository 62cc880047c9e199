"""Cloud masks from the quality bands that come with Sentinel-2, Landsat and HLS images.

Each function turns a quality band into a boolean array, True where a pixel is not usable, on the
band's own grid: what the verbs take as ``mask=``. Missing values of the band are True. Dask in,
dask out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import xarray as xr
from scipy.ndimage import distance_transform_edt

from xstf.cubes.dims import find_dim
from xstf.cubes.packing import nodata_of
from xstf.cubes.transform import TRANSFORMS
from xstf.cubes.words import listed

__all__ = ["fmask", "qa_pixel", "scl"]

SCL = {
    "no_data": 0,
    "saturated": 1,
    "dark": 2,
    "cloud_shadow": 3,
    "vegetation": 4,
    "not_vegetated": 5,
    "water": 6,
    "unclassified": 7,
    "cloud_medium": 8,
    "cloud_high": 9,
    "cirrus": 10,
    "snow": 11,
}
# name: (bits, what they read)
FMASK = {
    "cirrus": (0b1, 0b1),
    "cloud": (0b10, 0b10),
    "adjacent": (0b100, 0b100),
    "cloud_shadow": (0b1000, 0b1000),
    "snow": (0b10000, 0b10000),
    "water": (0b100000, 0b100000),
    "aerosol_moderate": (0b11000000, 0b10000000),
    "aerosol_high": (0b11000000, 0b11000000),
}
FMASK_FILL = 255
QA_PIXEL = {
    "fill": 0,
    "dilated_cloud": 1,
    "cirrus": 2,
    "cloud": 3,
    "cloud_shadow": 4,
    "snow": 5,
    "water": 7,
}


def scl(
    scl: xr.DataArray,
    *,
    classes: Sequence[str] = (
        "no_data",
        "saturated",
        "cloud_shadow",
        "cloud_medium",
        "cloud_high",
        "cirrus",
    ),
    dilate: float = 0,
) -> xr.DataArray:
    """Return where Sentinel-2's scene classification says that a pixel is not usable.

    Parameters
    ----------
    scl
        The SCL band of a Level-2A product, numbers from 0 to 11, integer or float, any dims.
    classes
        What is not usable: ``no_data`` (0), ``saturated`` or defective (1), ``dark`` areas or the
        shadow of mountains (2), ``cloud_shadow`` (3), ``vegetation`` (4), ``not_vegetated`` (5),
        ``water`` (6), ``unclassified`` (7), ``cloud_medium`` and ``cloud_high`` probability (8, 9),
        thin ``cirrus`` (10), ``snow`` or ice (11). Snow is the surface, so by default it is usable;
        so are dark areas, most of which are water or forest in the shade.
    dilate
        Pixels within this distance of such a pixel are not usable either, in pixels.

    Returns
    -------
    xarray.DataArray
        Boolean, with the dims, coordinates and CRS of ``scl``.

    Notes
    -----
    The numbers are those of the Sentinel-2 Level-2A product's definition (ESA, Sen2Cor: Scene
    Classification).

    Examples
    --------
    >>> import xarray as xr
    >>> from xstf import masks
    >>> band = xr.DataArray([[4, 9, 4, 11, 3]], dims=("y", "x"))
    >>> masks.scl(band).values
    array([[False,  True, False, False,  True]])
    >>> masks.scl(band, classes=["snow"], dilate=1).values
    array([[False, False,  True,  True,  True]])
    """
    numbers = [SCL[name] for name in _class_names(classes, SCL, "SCL")]
    chosen = np.isin(np.arange(len(SCL)), numbers)
    return _decoded(scl, partial(_lookup, table=chosen, what="SCL"), dilate, "SCL")


def fmask(
    fmask: xr.DataArray,
    *,
    classes: Sequence[str] = ("cirrus", "cloud", "adjacent", "cloud_shadow"),
    dilate: float = 0,
) -> xr.DataArray:
    """Return where the Fmask band of the Harmonized Landsat Sentinel-2 product bars a pixel.

    Parameters
    ----------
    fmask
        The Fmask band of HLS version 2 (L30 or S30), whose bits are packed into numbers from 0 to
        255; 255 is fill and never usable. The Fmask program's own output, with classes from 0 to 4,
        is something else and looks alike: this function must not be given it.
    classes
        What is not usable: ``cirrus`` (bit 0, which version 2.0 leaves empty), ``cloud`` (1),
        ``adjacent`` to cloud or shadow (2), ``cloud_shadow`` (3), ``snow`` or ice (4), ``water``
        (5), ``aerosol_moderate`` and ``aerosol_high`` (bits 6 and 7 read 2 and 3).
    dilate
        Pixels within this distance of such a pixel are not usable either, in pixels.

    Returns
    -------
    xarray.DataArray
        Boolean, with the dims, coordinates and CRS of ``fmask``.

    Notes
    -----
    The bits are those of the HLS User Guide, version 2.0 (NASA, 2023), table on the quality layer.

    Examples
    --------
    >>> import xarray as xr
    >>> from xstf import masks
    >>> band = xr.DataArray([[64, 66, 68, 80, 192, 255]], dims=("y", "x"))
    >>> masks.fmask(band).values
    array([[False,  True,  True, False, False,  True]])
    >>> masks.fmask(band, classes=["aerosol_high"]).values
    array([[False, False, False, False,  True,  True]])
    """
    chosen = [FMASK[name] for name in _class_names(classes, FMASK, "Fmask")]
    numbers = np.arange(256)
    table = numbers == FMASK_FILL
    for bits, wanted in chosen:
        table |= numbers & bits == wanted
    return _decoded(fmask, partial(_lookup, table=table, what="Fmask"), dilate, "Fmask")


def qa_pixel(
    qa_pixel: xr.DataArray,
    *,
    classes: Sequence[str] = ("fill", "dilated_cloud", "cirrus", "cloud", "cloud_shadow"),
    dilate: float = 0,
) -> xr.DataArray:
    """Return where the QA_PIXEL band of Landsat Collection 2 says that a pixel is not usable.

    Parameters
    ----------
    qa_pixel
        The QA_PIXEL band of Landsat 4 to 9, Collection 2, Level 1 or 2: numbers from 0 to 65535.
    classes
        What is not usable: ``fill`` (bit 0), ``dilated_cloud`` (1), ``cirrus`` (2, Landsat 8 and 9
        alone), ``cloud`` (3), ``cloud_shadow`` (4), ``snow`` (5), ``water`` (7). These bits are set
        at high confidence; bits 8 to 15, which hold the confidence itself, are not read.
    dilate
        Pixels within this distance of such a pixel are not usable either, in pixels.

    Returns
    -------
    xarray.DataArray
        Boolean, with the dims, coordinates and CRS of ``qa_pixel``.

    Notes
    -----
    The bits are those of the Landsat 8-9 Collection 2 Level 2 Science Product Guide (USGS,
    LSDS-1619), table on the pixel quality band; Landsat 4-7 (LSDS-1618) share them.

    Examples
    --------
    >>> import xarray as xr
    >>> from xstf import masks
    >>> band = xr.DataArray([[21824, 22280, 23888, 30048, 1]], dims=("y", "x"))
    >>> masks.qa_pixel(band).values
    array([[False,  True,  True, False,  True]])
    >>> masks.qa_pixel(band, classes=["snow"]).values
    array([[False, False, False,  True, False]])
    """
    numbers = np.arange(65536)
    bits = sum(1 << QA_PIXEL[name] for name in _class_names(classes, QA_PIXEL, "QA_PIXEL"))
    table = numbers & bits != 0
    return _decoded(qa_pixel, partial(_lookup, table=table, what="QA_PIXEL"), dilate, "QA_PIXEL")


def _class_names(classes: Sequence[str], table: Mapping[str, object], what: str) -> list[str]:
    """Return the names of classes as a list, or say which ones there are."""
    names = [classes] if isinstance(classes, str) else list(classes)
    unknown = [name for name in names if name not in table]
    if unknown:
        raise ValueError(f"{what} has no classes {unknown}; there are {list(table)}")
    return names


def _decoded(
    band: xr.DataArray, decode: Callable[[np.ndarray], np.ndarray], dilate: float, what: str
) -> xr.DataArray:
    """Return the mask of a band: decoded, what it calls missing added, dilated."""
    if not isinstance(band, xr.DataArray):
        raise TypeError(
            f"{what} must be an xarray DataArray, not {type(band).__name__}; of a Dataset, pass "
            "the one variable"
        )
    if band.dtype.kind not in "iuf":
        raise TypeError(f"{what} has dtype {band.dtype}; it must hold the product's own numbers")
    if not (np.isfinite(dilate) and dilate >= 0):
        raise ValueError(f"dilate is {dilate}; give a distance in pixels, 0 or more")
    fill = nodata_of(band)
    mask: xr.DataArray = xr.apply_ufunc(
        partial(_masked, decode=decode, fill=fill),
        band,
        dask="parallelized",
        output_dtypes=[np.bool_],
    )
    mask = dilated(mask, float(dilate), what) if dilate else mask
    placed = {k: v for k, v in band.attrs.items() if str(k).lower() in TRANSFORMS}
    mask.name, mask.attrs = "mask", {"long_name": f"not usable, by {what}"} | placed
    mask.encoding = {k: v for k, v in band.encoding.items() if k == "grid_mapping"}
    return mask


def _masked(
    values: np.ndarray, *, decode: Callable[[np.ndarray], np.ndarray], fill: list[float]
) -> np.ndarray:
    """Return the mask of a block: missing values are True, whatever the classes."""
    missing = np.isnan(values) | np.isin(values, fill)
    return np.asarray(missing | decode(np.where(missing, 0, values)))


def _lookup(values: np.ndarray, *, table: np.ndarray, what: str) -> np.ndarray:
    """Return what a table says of each number; raise for numbers that the product has not."""
    numbers = values.astype(np.int64)
    wrong = (numbers != values) | (numbers < 0) | (numbers >= len(table))
    if wrong.any():
        raise ValueError(
            f"{what} holds {values[wrong].flat[0]}; it must have whole numbers from 0 to "
            f"{len(table) - 1}: do not scale it, resample it by nearest neighbour, and mark "
            "missing pixels by NaN or by the attribute _FillValue"
        )
    return np.asarray(table[numbers])


def dilated(mask: xr.DataArray, distance: float, what: str) -> xr.DataArray:
    """Return where something True lies within a distance, in pixels; lazy, whatever the chunks."""
    y, x = find_dim(mask, "y"), find_dim(mask, "x")
    if y is None or x is None:
        raise ValueError(
            f"{what} has dims {listed(mask.dims)}; dilate needs y and x (or lat and lon): rename "
            "yours, or give dilate=0"
        )
    axes = (mask.get_axis_num(y), mask.get_axis_num(x))
    spread = partial(_spread, distance=distance, axes=axes)
    data = mask.data
    if not hasattr(data, "map_overlap"):
        return mask.copy(data=spread(data))
    # an axis in one chunk has no neighbours, and a reach beyond the image is refused by dask
    depth = {
        axis: min(int(distance), data.shape[axis]) if data.numblocks[axis] > 1 else 0
        for axis in axes
    }
    return mask.copy(data=data.map_overlap(spread, depth, boundary="none", dtype=np.bool_))


def _spread(mask: np.ndarray, *, distance: float, axes: tuple[int, int]) -> np.ndarray:
    """Return where an image's nearest True is within a distance, image by image."""
    images = np.moveaxis(mask, axes, (-2, -1))
    found = images.copy()
    for index in np.ndindex(images.shape[:-2]):
        if images[index].any():
            found[index] = distance_transform_edt(~images[index]) <= distance
    return np.ascontiguousarray(np.moveaxis(found, (-2, -1), axes))
