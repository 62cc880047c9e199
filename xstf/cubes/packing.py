"""What a cube's attrs say of its stored numbers: codes for missing, valid range, scale and offset.

All conventions are read here, and in every form that files and readers leave them in: a number, an
array of one, a tuple with one for each band, or text. What cannot be read is an error.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import xarray as xr

from xstf.cubes.attr_forms import flat, says_none, shown, to_number, written_dtype
from xstf.cubes.unread import Read, unread

# The numbers of one cube: one for all of it, or one for each band, along its band dim.
PerBand: TypeAlias = float | xr.DataArray

NODATA = ("_FillValue", "missing_value", "nodata", "nodatavals")
WRITTEN = ("_FillValue", "missing_value")
RANGE = ("valid_range", "valid_min", "valid_max")
SCALE, OFFSET = ("scale_factor", "scales"), ("add_offset", "offsets")
FLAGS = ("flag_values", "flag_masks", "flag_meanings")
# What HDF4 says of the numbers beside a scale factor.
HDF4 = ("scale_factor_err", "add_offset_err", "calibrated_nt")
PACKING = (*NODATA, *RANGE, *SCALE, *OFFSET, "_Unsigned", *HDF4)
# What a reader puts into the encoding of numbers that it decoded.
ENCODED = (*PACKING, "dtype", "rasterio_dtype")

_READ = Read(PACKING, NODATA, SCALE)
# None is as good as no scale; NaN is a fault of the file.
_NO_SCALE = ("", "none", "null")
# MODIS land products in HDF4 give the number to divide by: 10000 for reflectance, 0.02 for kelvin.
_DIVISOR = 10.0
_SAME = 1e-6
# Integers are seldom multiplied by this much.
_MUCH = 100.0


@dataclass(frozen=True)
class Valid:
    """A valid range as it is stated, in whatever units.

    Parameters
    ----------
    low, high
        Infinite where an end is open.
    typed
        The dtype that it is written in; None for plain numbers and text.
    whole
        Whether it is written as integers.
    """

    low: PerBand
    high: PerBand
    typed: np.dtype | None
    whole: bool


@dataclass(frozen=True)
class Packing:
    """What the attrs of a cube say of its numbers.

    Parameters
    ----------
    codes
        What stands for missing: numbers, or one for each band, NaN where a band has none.
    flags
        Codes of classes beside the measurements.
    valid
        The valid range, or None.
    scale, offset
        Of packed numbers: value = number * scale + offset.
    typed
        The dtype of integers that codes or range are written in: that of the packed numbers.
    unsigned
        Whether signed integers hold unsigned ones (True), or the other way round (False).
    notes
        What the user should be told.
    """

    codes: tuple[PerBand, ...] = ()
    flags: tuple[float, ...] = ()
    valid: Valid | None = None
    scale: PerBand = 1.0
    offset: PerBand = 0.0
    typed: np.dtype | None = None
    unsigned: bool | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_scaled(self) -> bool:
        """Whether there is a scale or an offset that changes anything."""
        return not (is_all(self.scale, 1.0) and is_all(self.offset, 0.0))


def is_all(value: PerBand, number: float) -> bool:
    """Return whether a number, or each band's, is one."""
    return bool((np.asarray(value) == number).all())


def packing_of(array: xr.DataArray, *, band: Hashable | None = None, what: str = "") -> Packing:
    """Return what a cube's attrs say of its numbers; raise where they cannot be read.

    Parameters
    ----------
    array : DataArray
    band
        Its band dim, which attributes with a number for each band go along.
    what : str
        What to call it in messages.
    """
    reader = _Reader(array, band, f"{what}'s attribute" if what else "the cube's attribute")
    scale, offset = reader.scale(SCALE, 1.0), reader.scale(OFFSET, 0.0)
    name = what or "the cube"
    notes: tuple[str, ...] = ()
    if any(key in array.attrs for key in HDF4):
        scale, offset, notes = _calibrated(scale, offset, name)
    elif array.dtype.kind in "iu" and is_beyond(scale, _MUCH):
        notes = (
            f"{name} is multiplied by its scale_factor {np.asarray(scale)}: if that is the number "
            "to divide by, as in MODIS files, write assign_attrs(scale_factor=…) with 1 over it",
        )
    notes += unread(array, name, _READ)
    return Packing(
        codes=reader.codes(),
        flags=reader.flags(),
        valid=reader.valid(),
        scale=scale,
        offset=offset,
        typed=reader.typed(),
        unsigned=reader.unsigned(),
        notes=notes,
    )


def _calibrated(
    scale: PerBand, offset: PerBand, what: str
) -> tuple[PerBand, PerBand, tuple[str, ...]]:
    """Return scale and offset as CF means them, of those that HDF4 calls a calibration.

    There value = scale * (number - offset), and MODIS land products write the number to divide by.
    """
    done = []
    if is_beyond(scale, _DIVISOR):
        done.append(f"its numbers are divided by the scale_factor {np.asarray(scale)}")
        scale = 1.0 / scale
    if not is_all(offset, 0.0):
        done.append(f"the add_offset {np.asarray(offset)} is taken off before scaling")
        offset = -1.0 * offset * scale
    if not done:
        return scale, offset, ()
    note = (
        f"{what} says its scale as HDF4 does (calibrated_nt, scale_factor_err): "
        f"{' and '.join(done)}; if that is wrong take these attributes out"
    )
    return scale, offset, (note,)


def size_of(value: PerBand) -> PerBand:
    """Return a number, or each band's, without its sign."""
    size: PerBand = abs(value)  # type: ignore[assignment]
    return size


def is_beyond(value: PerBand, limit: float) -> bool:
    """Return whether a number, or every band's, is at least so large."""
    return bool((np.abs(np.asarray(value)) >= limit).all())


def is_undecoded(array: xr.DataArray) -> bool:
    """Return whether an array's encoding says what is missing among its own integers."""
    packed = any(key in array.encoding for key in (*SCALE, *OFFSET))
    said = any(array.encoding.get(key) is not None for key in WRITTEN)
    return array.dtype.kind in "iu" and said and not packed


def nodata_of(array: xr.DataArray) -> list[float]:
    """Return the numbers that stand for missing by a cube's attrs; words and NaN are none."""
    return [code for codes in nodata_by_name(array).values() for code in codes]


def nodata_by_name(array: xr.DataArray) -> dict[str, list[float]]:
    """Return the numbers that stand for missing, by the attributes that name some."""
    reader = _Reader(array, None, "the cube's attribute")
    found = {name: reader.numbers(name) for name in NODATA if name in array.attrs}
    real = {n: [v for v in values if not np.isnan(v)] for n, values in found.items()}
    return {name: values for name, values in real.items() if values}


class _Reader:
    """The attrs of one cube, with what its messages need."""

    def __init__(self, array: xr.DataArray, band: Hashable | None, whose: str) -> None:
        self.array, self.attrs, self.band, self.whose = array, array.attrs, band, whose

    def numbers(self, name: str) -> list[float]:
        """Return an attribute as numbers, NaN for what says that there is none."""
        found = flat(self.attrs.get(name))
        numbers = [] if found is None else [to_number(item) for item in found]
        if found is None or any(number is None for number in numbers):
            raise ValueError(
                f"{self.whose} {name}={shown(self.attrs[name])} cannot be read as numbers; "
                f"{self._remedy(name)}"
            )
        return [number for number in numbers if number is not None]

    def _remedy(self, name: str) -> str:
        return (
            f"write them with assign_attrs({name}=…), or take it out: del cube.attrs[{name!r}] "
            "(drop_attrs(deep=False) takes out all)"
        )

    def codes(self) -> tuple[PerBand, ...]:
        """Return the codes for missing: of `nodatavals` one a band, of others all for all bands."""
        found: list[PerBand] = list(self._written())
        for name in NODATA:
            numbers = self.numbers(name) if name in self.attrs else []
            each = [self.along(name, numbers)] if name == "nodatavals" and numbers else numbers
            found += [code for code in each if not np.isnan(np.asarray(code, dtype=float)).all()]
        return tuple(found)

    def _written(self) -> list[float]:
        """Return the codes that integers will be missing by once they are written and read.

        Of what was decoded the encoding holds for the file alone; integers were not.
        """
        if not is_undecoded(self.array):
            return []
        bare = xr.DataArray(0, attrs={k: self.array.encoding[k] for k in WRITTEN
                                      if k in self.array.encoding})  # fmt: skip
        return nodata_of(bare)

    def flags(self) -> tuple[float, ...]:
        """Return the codes of classes, where they lie among packed measurements."""
        return tuple(self.numbers("flag_values")) if "flag_values" in self.attrs else ()

    def scale(self, names: Sequence[str], neutral: float) -> PerBand:
        """Return a scale or an offset, which two attributes may say, but not in two ways."""
        said: dict[str, PerBand] = {}
        for name in names:
            numbers = self.numbers(name) if self.attrs.get(name) is not None else []
            if not numbers or says_none(self.attrs[name], _NO_SCALE):
                continue
            bad = [n for n in numbers if not np.isfinite(n) or (neutral == 1.0 and n == 0)]
            if bad:
                raise ValueError(
                    f"{self.whose} {name}={shown(self.attrs[name])} is no {_KIND[names[0]]} that "
                    f"numbers can have; {self._remedy(name)}"
                )
            said[name] = self.along(name, numbers)
        # GDAL says 1 and 0 where a file says nothing.
        real = {name: value for name, value in said.items() if not is_all(value, neutral)}
        if len(real) > 1:
            one, other = (np.asarray(value, dtype=float) for value in real.values())
            if not np.allclose(one, other, rtol=_SAME, atol=0):
                words = " and ".join(f"{name}={shown(self.attrs[name])}" for name in real)
                raise ValueError(
                    f"{self.whose}s {words} contradict each other; take one of them out: "
                    f"del cube.attrs[{names[1]!r}]"
                )
        return next(iter(real.values()), neutral)

    def valid(self) -> Valid | None:
        """Return the valid range of all attributes that say one."""
        low: PerBand = -np.inf
        high: PerBand = np.inf
        written = []
        if self._given("valid_range"):
            numbers = self.numbers("valid_range")
            if len(numbers) != 2 and not self._pairs(numbers):
                raise ValueError(
                    f"{self.whose} valid_range={shown(self.attrs['valid_range'])} has "
                    f"{len(numbers)} numbers where it needs 2, the least and the greatest; "
                    f"{self._remedy('valid_range')}"
                )
            low, high = (self.along("valid_range", numbers[k::2]) for k in (0, 1))
            written.append("valid_range")
        for name in ("valid_min", "valid_max"):
            if self._given(name):
                end = self.along(name, self.numbers(name))
                written.append(name)
                if name == "valid_min":
                    low = _larger(low, _open(end, -np.inf))
                else:
                    high = -_larger(-high, -_open(end, np.inf))
        low, high = _open(low, -np.inf), _open(high, np.inf)
        if not written or (is_all(low, -np.inf) and is_all(high, np.inf)):
            return None
        typed = [written_dtype(self.attrs[name]) for name in written]
        whole = all(isinstance(n, int) for name in written for n in self.numbers(name))
        kept = Valid(low, high, next((t for t in typed if t is not None), None), whole)
        if self.unsigned() is None and bool((np.asarray(low) > np.asarray(high)).any()):
            words = ", ".join(f"{name}={shown(self.attrs[name])}" for name in written)
            raise ValueError(
                f"{self.whose} {words} leaves nothing: its least is above its greatest; "
                f"{self._remedy(written[0])}"
            )
        return kept

    def _given(self, name: str) -> bool:
        return self.attrs.get(name) is not None and not says_none(self.attrs[name])

    def _pairs(self, numbers: Sequence[float]) -> bool:
        """Return whether numbers are a range for each band."""
        return self.band is not None and len(numbers) == 2 * self.array.sizes[self.band]

    def along(self, name: str, numbers: Sequence[float]) -> PerBand:
        """Return the one number there is, or those of the bands along their dim."""
        same = np.unique(np.asarray(numbers, dtype=np.float64))
        if len(same) == 1 and len(numbers):
            return numbers[0]
        bands = None if self.band is None else self.array.sizes[self.band]
        if len(numbers) != bands:
            has = "the cube has no band dim" if bands is None else f"there are {bands} bands"
            raise ValueError(
                f"{self.whose} {name}={shown(self.attrs[name])} has {len(numbers)} numbers and "
                f"{has}; give one for each band or one for all with assign_attrs({name}=…)"
            )
        return xr.DataArray(np.asarray(numbers, dtype=np.float64), dims=(self.band,))

    def typed(self) -> np.dtype | None:
        """Return the dtype of integers that codes or range are written in, None for plain ones."""
        found = (written_dtype(self.attrs.get(name)) for name in (*NODATA, *RANGE))
        return next((dtype for dtype in found if dtype is not None and dtype.kind in "iu"), None)

    def unsigned(self) -> bool | None:
        """Return whether the sign of the dtype is not meant (NetCDF's ``_Unsigned``)."""
        said = self.attrs.get("_Unsigned", self.array.encoding.get("_Unsigned"))
        if said is None or self.array.dtype.kind not in "iu":
            return None
        word = str(said.decode() if isinstance(said, bytes) else said).strip().lower()
        if word not in ("true", "false"):
            raise ValueError(
                f"{self.whose} _Unsigned={shown(said)} is neither 'true' nor 'false'; "
                f"{self._remedy('_Unsigned')}"
            )
        meant = word == "true"
        return meant if meant == (self.array.dtype.kind == "i") else None


_KIND = {"scale_factor": "scale", "add_offset": "offset"}


def _larger(one: PerBand, other: PerBand) -> PerBand:
    if isinstance(one, xr.DataArray) or isinstance(other, xr.DataArray):
        both: xr.DataArray = np.maximum(one, other)  # type: ignore[assignment]
        return both
    return max(one, other)


def _open(end: PerBand, infinite: float) -> PerBand:
    """Return an end of a range, infinite where it is NaN."""
    if isinstance(end, xr.DataArray):
        return end.fillna(infinite)
    return infinite if np.isnan(end) else end
