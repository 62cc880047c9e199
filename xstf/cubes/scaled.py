"""Whether floats are packed numbers or values: what the encoding says, and what the values tell."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from xstf.cubes.packing import OFFSET, SCALE, Packing, PerBand, is_all, packing_of, size_of

# Values that are looked at where they have to tell; and the share of them that makes a rule.
_LOOKED_AT = 200_000
_MOST, _SOME = 0.99, 0.1
# Numbers packed in 16 bits, and in 8: what scaled values cannot be beyond, and what they may be.
_MOST_PACKED, _BYTE = 65535.0, 255.0
# Whole numbers up to this may be anything.
_FEW = 3.0
# A float is this far from a whole number at most, in steps of the packing.
_WHOLE = 0.02


def look(array: xr.DataArray) -> xr.DataArray | None:
    """Return some values of floats, from all over; None where that would compute something."""
    if array.dtype.kind != "f" or array.chunks is not None:
        return None
    bare = array.drop_vars(list(array.coords))
    step = max(1, int(np.ceil((array.size / _LOOKED_AT) ** 0.5)))
    wide = sorted(bare.dims, key=lambda d: bare.sizes[d])[-2:]
    some = bare.isel({dim: slice(None, None, step) for dim in wide})
    data = some.data
    return some.copy(data=data.get() if hasattr(data, "get") else data)


def encoded_packing(array: xr.DataArray, band: Hashable | None, what: str) -> Packing:
    """Return the packing that the encoding says was taken off when a file was read."""
    encoded = {k: array.encoding[k] for k in (*SCALE, *OFFSET) if k in array.encoding}
    if not encoded:
        return Packing()
    bare = xr.DataArray(np.broadcast_to(np.float32(0), array.shape), dims=array.dims, attrs=encoded)
    return packing_of(bare, band=band, what=f"{what}'s encoding" if what else "the encoding")


def file_dtype(array: xr.DataArray) -> np.dtype | None:
    """Return the dtype of the file that floats were read from, where that was an integer."""
    found = array.encoding.get("rasterio_dtype", array.encoding.get("dtype"))
    try:
        dtype = None if found is None else np.dtype(found)
    except TypeError:  # "complex_int16" and the like, which are GDAL's
        return None
    if dtype is None or dtype.kind not in "iu":
        return None
    word = str(array.encoding.get("_Unsigned", "")).lower()
    kind = {"true": "u", "false": "i"}.get(word, dtype.kind)
    return np.dtype(f"{kind}{dtype.itemsize}")


def is_only_masked(array: xr.DataArray) -> bool:
    """Return whether floats are a file's integers, which its reader masked and did not scale.

    Arithmetic drops the encoding, so where it is still there the values are those of the file.
    """
    scaled = any(key in array.encoding for key in (*SCALE, *OFFSET))
    return file_dtype(array) is not None and not scaled


def looks_packed(
    array: xr.DataArray, said: Packing, looked: xr.DataArray | None
) -> tuple[bool, bool]:
    """Return whether floats are packed numbers that are still to be scaled, and if that is sure.

    Values tell by being whole, and by being beyond what scaled ones can be.

    Parameters
    ----------
    said
        What the attrs say.
    looked
        Some of the values; None where they cannot be looked at.
    """
    masked = is_only_masked(array)
    if looked is None:
        return masked, masked
    values = np.asarray(looked, dtype=np.float64)
    real = np.isfinite(values) & (values != 0)
    for code in said.codes:
        real &= ~np.isclose(values, np.asarray(_spread(code, looked)), rtol=1e-6, atol=0)
    if not real.any():
        return masked, masked
    # A fill value or a valid range that is written in bytes is that of packed bytes.
    most = _BYTE if said.typed is not None and said.typed.itemsize == 1 else _MOST_PACKED
    limit = most * size_of(said.scale) + size_of(said.offset)
    beyond = bool(((np.abs(values) > np.asarray(_spread(limit, looked))) & real).mean() >= _SOME)
    if not is_whole(values[real]):
        return beyond, beyond
    steps = np.asarray((looked.astype(np.float64) - said.offset) / said.scale)
    if masked or not is_whole(steps[real]):
        return True, True
    largest = float(np.quantile(np.abs(values[real]), _MOST))
    packed = float(np.abs(np.asarray(said.scale)).max()) <= 0.5 and largest > _FEW
    return packed, packed and (beyond or largest <= _BYTE)


def is_whole(values: np.ndarray) -> bool:
    """Return whether nearly all values are whole numbers."""
    near = np.abs(values - np.rint(values)) <= min(_WHOLE, 1e-6 * max(1.0, np.abs(values).max()))
    return bool(near.mean() >= _MOST)


def largest_of(looked: xr.DataArray) -> float:
    """Return the size of the largest values but for a few, NaN if there is none."""
    values = np.abs(np.asarray(looked, dtype=np.float64))
    values = values[np.isfinite(values)]
    return float(np.quantile(values, _MOST)) if values.size else np.nan


def how_taken(name: str, said: Packing, *, packed: bool, looked: bool) -> str:
    """Return what to tell of floats whose attrs have a scale, where it had to be guessed."""
    parts = [
        f"{word} {np.asarray(value)}"
        for word, value, plain in (
            ("scale_factor", said.scale, 1.0), ("add_offset", said.offset, 0.0)
        )
        if not is_all(value, plain)
    ]  # fmt: skip
    begin = f"{name} has {' and '.join(parts)} in its attrs and floating values"
    if packed:
        return (
            f"{begin}, which are whole numbers: they are taken as packed ones and scaled; a verb's "
            "decoded=False says that this is right, decoded=True leaves them as they are"
        )
    why = "look scaled already" if looked else "are lazy, so that nothing is computed to tell"
    return (
        f"{begin}, which {why}: they are taken as they are, not scaled again; a verb's "
        "decoded=True says that this is right, decoded=False scales them (or take the attributes "
        "out: drop_attrs(deep=False))"
    )


def _spread(number: PerBand, like: xr.DataArray) -> PerBand:
    """Return numbers of each band in an array's shape."""
    if not isinstance(number, xr.DataArray):
        return number
    return number.broadcast_like(like).transpose(*like.dims)
