"""Whole numbers with a scale for values, as files pack them; what does not fit is an error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class Packing:
    """How values are stored.

    Parameters
    ----------
    dtype
        Of the stored numbers; None leaves a cube's values and their type.
    scale
        What one of them is worth.
    nodata
        Which of them stands for a missing pixel; None is NaN, or nothing.
    """

    dtype: np.dtype | None
    scale: float
    nodata: float | None

    @classmethod
    def of(cls, dtype: str | None, scale: float | None, nodata: float | None) -> Packing:
        """Return what the arguments of a call mean, or raise."""
        try:
            kind = None if dtype is None else np.dtype(dtype)
        except TypeError as error:
            raise ValueError(
                f"dtype={dtype!r} is none; give 'int16', 'uint8' or 'float32'"
            ) from error
        if kind is not None and (kind.kind not in "iuf" or kind.itemsize > 8):
            raise ValueError(f"dtype={dtype!r}: give whole numbers such as 'int16', or 'float32'")
        whole = kind is not None and kind.kind in "iu"
        if scale is not None and not whole:
            raise ValueError(f"scale={scale!r} is of whole numbers; give dtype='int16' with it")
        if scale is not None and not (np.isfinite(scale) and scale > 0):
            raise ValueError(f"scale={scale!r}: it is to be above 0, such as 0.0001")
        if kind is not None and whole:
            limits = np.iinfo(kind)
            if nodata is None:
                nodata = float(limits.min if kind.kind == "i" else limits.max)
            if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
                raise ValueError(f"nodata={nodata!r} is no number of dtype={dtype!r}")
        return cls(kind, 1.0 if scale is None else float(scale), nodata)

    @property
    def whole(self) -> bool:
        """Whether whole numbers are stored."""
        return self.dtype is not None and self.dtype.kind in "iu"


def packed(dataset: xr.Dataset, packing: Packing) -> xr.Dataset:
    """Return a cube whose images of real numbers are stored as said; labels stay."""
    if packing.dtype is None and packing.nodata is None:
        return dataset
    out = dataset.copy()
    for name, image in dataset.data_vars.items():
        if image.ndim >= 2 and image.dtype.kind == "f":
            out[name] = _packed(image, str(name), packing)
    return out


def _packed(image: xr.DataArray, name: str, packing: Packing) -> xr.DataArray:
    kept = {k: v for k, v in image.encoding.items() if k in ("grid_mapping", "coordinates")}
    if packing.whole:
        new = _mapped(image, partial(pack, name=name, packing=packing), packing.dtype)
        # As attributes: xarray would pack a second time what stands in the encoding.
        new.attrs["_FillValue"] = np.array(packing.nodata, packing.dtype)[()]
        if packing.scale != 1:
            new.attrs |= {"scale_factor": packing.scale, "add_offset": 0.0}
    else:
        new = image.astype(packing.dtype or image.dtype)
        if packing.nodata is not None:
            kept["_FillValue"] = np.array(packing.nodata, new.dtype)[()]
    new.encoding = kept
    return new


def _mapped(image: xr.DataArray, function: Any, dtype: np.dtype | None) -> xr.DataArray:
    """Return an image through a function of its values, lazy if it is."""
    data: Any = image.data
    lazy = hasattr(data, "map_blocks")
    new = image.copy(data=data.map_blocks(function, dtype=dtype) if lazy else function(data))
    new.attrs = dict(image.attrs)
    return new


def pack(values: np.ndarray, *, name: str, packing: Packing) -> np.ndarray:
    """Return values as whole numbers, the missing as nodata; raise for one that does not fit."""
    if packing.dtype is None or packing.nodata is None:
        return values
    limits = np.iinfo(packing.dtype)
    there = np.isfinite(values)
    numbers = np.where(there, values, 0).astype(np.float64)
    numbers /= packing.scale  # in place: blocks may be large
    np.rint(numbers, out=numbers)
    outside = there & ((numbers < limits.min) | (numbers > limits.max))
    taken = there & (numbers == packing.nodata)
    if outside.any() or taken.any() or np.isinf(values).any():
        wrong = values[outside | taken | np.isinf(values)]
        given = "" if packing.scale == 1 else f" with scale={packing.scale:g}"
        raise ValueError(
            f"{name} has values such as {float(wrong.flat[0]):g}, which {packing.dtype}{given} "
            f"cannot hold beside nodata={packing.nodata:g}; give another scale= or dtype='float32'"
        )
    return np.where(there, numbers, packing.nodata).astype(packing.dtype)
