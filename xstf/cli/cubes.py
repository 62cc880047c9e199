"""Cubes of inputs: opened, cut to the bands, the part and the dates that are wanted; masks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from xstf import files, masks
from xstf.cli.inputs import Input, one_input, split_variable
from xstf.cubes.arrays import Labelled
from xstf.cubes.dims import band_dim, find_dim
from xstf.cubes.variables import band_variables, first_band, mask_maker
from xstf.cubes.words import meant
from xstf.files.choice import RASTERS, few


def open_input(given: Input, *, chunks: int | None) -> Labelled:
    """Return the cube of an input; an error names the option that picks among its files."""
    path: Any = given.paths[0] if len(given.paths) == 1 else list(given.paths)
    try:
        return files.open_cube(path, variable=given.variable, pattern=given.pattern, chunks=chunks)
    except (ValueError, OSError) as error:
        if "pattern=" not in str(error):
            raise
        option = given.option.strip("-").replace("-", "_")
        found = str(error).replace("pattern=", f"{option}=" if option else "a path such as ")
        raise type(error)(found) from error


# --- parts ------------------------------------------------------------------------------------


def with_bands(cube: Labelled, asked: Sequence[str] | None, given: Input) -> Labelled:
    """Return a cube with the bands of ``--bands``, in that order; None for all."""
    if asked is None:
        return cube
    names = [name.strip() for words in asked for name in words.split(",") if name.strip()]
    dim = None if isinstance(cube, xr.Dataset) else band_dim(cube)
    if isinstance(cube, xr.DataArray) and dim is None:
        raise ValueError(f"--bands: the {given.name} input {given} has no bands to choose from")
    have = list(cube.data_vars) if isinstance(cube, xr.Dataset) else cube[dim].values.tolist()
    by_text = {str(label): label for label in have}
    for name in names:
        if name not in by_text:
            raise ValueError(
                f"--bands: the {given.name} input has no band {name!r}; it has {list(by_text)}"
                f"{meant(name, by_text)}"
            )
    labels = [by_text[name] for name in names]
    if isinstance(cube, xr.Dataset):
        return cube[labels]
    return cube.isel({dim: [have.index(label) for label in labels]})


def in_box(cube: Labelled, asked: Sequence[str] | None, what: str) -> Labelled:
    """Return the pixels of a cube within ``--bbox``; None for all."""
    if asked is None:
        return cube
    numbers = [float(word) for words in asked for word in words.split(",") if word]
    if len(numbers) != 4 or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise ValueError(
            f"--bbox {','.join(f'{n:g}' for n in numbers)}: give west,south,east,north, the first "
            "two below the last two"
        )
    array = _image(cube)
    picked: dict[Any, np.ndarray] = {}
    for role, low, high in (("x", numbers[0], numbers[2]), ("y", numbers[1], numbers[3])):
        dim = find_dim(array, role)
        if dim is None or dim not in array.coords:
            raise ValueError(f"--bbox: the {what} input has no coordinates along {role}")
        values = np.asarray(array[dim].values, float)
        picked[dim] = np.flatnonzero((values >= low) & (values <= high))
        if not picked[dim].size:
            raise ValueError(
                f"--bbox holds no pixel of the {what} input, whose {dim} runs from "
                f"{values.min():.10g} to {values.max():.10g}"
            )
    return cube.isel({dim: slice(p[0], p[-1] + 1) for dim, p in picked.items()})


def _image(cube: Labelled) -> xr.DataArray:
    """Return an array that has a cube's dims."""
    found = first_band(cube)
    if found is None:
        raise ValueError("the input holds no image")
    return found


def dates_within(asked: Sequence[str] | None, cube: Labelled | None, what: str) -> Any:
    """Return the dates of ``--time``: as they are given, or a cube's within ``FROM/TO``.

    Parameters
    ----------
    asked : sequence of str, or None
    cube
        Whose dates a range is of; None where there are none.
    what
        Its name.
    """
    if asked is None:
        return None
    ranges = [word for word in asked if "/" in word]
    if not ranges:
        return list(asked)
    if len(asked) > 1:
        raise ValueError(f"--time {' '.join(asked)}: give dates, or one FROM/TO")
    dim = None if cube is None else find_dim(_image(cube), "time")
    if cube is None or dim is None:
        raise ValueError(f"--time {asked[0]}: the {what} input has no dates")
    times = pd.DatetimeIndex(np.unique(cube[dim].values))
    first, last = limits(asked[0])
    within = times[times.slice_indexer(first, last)]
    if not within.size:
        raise ValueError(
            f"--time {asked[0]} holds no date of the {what} input, which has {times[0]:%Y-%m-%d} "
            f"to {times[-1]:%Y-%m-%d}"
        )
    return within.to_numpy()


def dates_asked(asked: Sequence[str] | None, freq: str | None, cube: Labelled) -> dict[str, Any]:
    """Return which dates of a filled cube are wanted: regular ones may have both ends said."""
    ranged = asked is not None and len(asked) == 1 and "/" in asked[0]
    if asked is None or freq is None or not ranged:
        return {"time": dates_within(asked, cube, "cube"), "freq": freq}
    dim = find_dim(_image(cube), "time")
    if dim is None:
        raise ValueError(f"--time {asked[0]}: the cube has no dates")
    days = pd.DatetimeIndex(cube[dim].values).normalize()
    first, last = limits(asked[0])
    step = f"{freq}D" if freq.isdigit() else freq
    try:
        regular = pd.date_range(first or days.min(), _end(last) or days.max(), freq=step)
    except ValueError as error:
        raise ValueError(f"--freq {freq}: no step, such as 5D or MS: {error}") from error
    if not regular.size:
        raise ValueError(f"--time {asked[0]} holds no date at steps of {freq}")
    return {"time": regular.to_numpy(), "freq": None}


def _end(last: str | None) -> pd.Timestamp | None:
    """Return the last day of a date, a month or a year."""
    return None if last is None else pd.Period(last).end_time.normalize()


def limits(word: str) -> tuple[str | None, str | None]:
    """Return both ends of ``FROM/TO``, None for one that is left out."""
    first, _, last = word.partition("/")
    for end in (first, last):
        try:
            pd.Timestamp(end or "2000")
        except ValueError as error:
            raise ValueError(f"--time {word}: {end!r} is no date") from error
    if not first and not last:
        raise ValueError("--time /: give one end at least")
    if first and last and pd.Timestamp(first) > pd.Timestamp(last):
        raise ValueError(f"--time {word}: it ends before it begins")
    return first or None, last or None


def at_dates(cube: Labelled, asked: Sequence[str] | None, what: str) -> Labelled:
    """Return the images of a cube on the dates of ``--time``; None for all."""
    if asked is None:
        return cube
    dim = find_dim(_image(cube), "time")
    if dim is None:
        raise ValueError(f"--time: the {what} input has no dates")
    wanted = dates_within(asked, cube, what)
    days = pd.DatetimeIndex(wanted).normalize()
    have = pd.DatetimeIndex(cube[dim].values).normalize()
    missing = [f"{day:%Y-%m-%d}" for day in days if day not in have]
    if missing:
        raise ValueError(
            f"--time asks for {few(missing)}, which the {what} input has not; it has "
            f"{few([f'{day:%Y-%m-%d}' for day in have])}"
        )
    return cube.isel({dim: np.flatnonzero(have.isin(days))})


# --- masks ------------------------------------------------------------------------------------


class Masked(NamedTuple):
    """A mask, and which variable of the input itself it is made of."""

    mask: xr.DataArray | None
    variable: str | None


def open_mask(arguments: argparse.Namespace, given: Input, *, chunks: int | None) -> Masked:
    """Return the mask of ``--mask``, ``--scl``, ``--fmask`` or ``--qa-pixel``."""
    for option, maker in _MAKERS.items():
        word = getattr(arguments, option)
        if word is not None:
            name = f"--{option.replace('_', '-')}"
            return _mask(word, name, given, chunks, maker=maker, dilate=arguments.dilate)
    if arguments.dilate:
        raise ValueError("--dilate widens a mask; give --mask, --scl, --fmask or --qa-pixel")
    return Masked(None, None)


_MAKERS = {"mask": None, "scl": "scl", "fmask": "fmask", "qa_pixel": "qa_pixel"}


def open_other_mask(word: str | None, option: str, given: Input, *, chunks: int | None) -> Masked:
    """Return the mask of an option such as ``--coarse-mask``."""
    return Masked(None, None) if word is None else _mask(word, option, given, chunks)


def _mask(
    word: str, option: str, given: Input, chunks: int | None, *, maker: str | None = None,
    dilate: float = 0.0,
) -> Masked:  # fmt: skip
    """Return a mask that is a variable of the input's files, or of a file of its own."""
    path, variable = split_variable(word)
    if variable is not None or path.lower().endswith((*RASTERS, ".nc", ".zarr")):
        own, inside = one_input([word], f"{option}'s", None), None
    else:
        own, inside = replace(given, variable=word), word
    layer = open_input(own, chunks=chunks)
    if not isinstance(layer, xr.DataArray):
        raise ValueError(
            f"{option}: {own} has several variables, {few([str(v) for v in layer.data_vars])}; "
            f"name one: {own.paths[0]}:VARIABLE"
        )
    name = str(own.variable or layer.name)
    return Masked(_flags_of(layer, option, maker, name, dilate), inside)


def _flags_of(
    layer: xr.DataArray, option: str, maker: str | None, name: str, dilate: float
) -> xr.DataArray:
    """Return a layer as a mask: boolean, 0 and 1, or classes that are known."""
    if layer.dtype != bool:
        maker = maker or mask_maker(name, layer)
        if maker is not None:
            made: xr.DataArray = getattr(masks, maker)(layer, dilate=dilate)
            return made
        refused = partial(_yes_or_no, text=f"{option} {name!r}")
        layer = xr.apply_ufunc(
            refused, layer, dask="parallelized", output_dtypes=[bool], keep_attrs=True
        )
    elif maker is not None:
        raise ValueError(f"{option}: {name!r} is boolean; give it as --mask {name}")
    return masks.dilated(layer, dilate, option) if dilate else layer


def _yes_or_no(values: np.ndarray, *, text: str) -> np.ndarray:
    """Return numbers as booleans, missing ones as true; raise for others than 0 and 1."""
    values = np.asarray(values)
    other = np.unique(values[~(np.isnan(values) | (values == 0) | (values == 1))])
    if other.size:
        raise ValueError(
            f"{text} has the numbers {few([f'{v:g}' for v in other])}, so it has classes or bits: "
            "write a boolean variable, true where not usable, or give one of SCL, QA_PIXEL, Fmask"
        )
    return np.asarray(np.isnan(values) | (values == 1))


def without(cube: Labelled, name: str | None) -> Labelled:
    """Return a cube whose bands have not the mask among them; layers of classes stay."""
    if name is not None and isinstance(cube, xr.Dataset) and name in band_variables(cube):
        return cube.drop_vars(name)
    return cube


# --- what numbers mean ------------------------------------------------------------------------


def read_values(arguments: argparse.Namespace, *others: str) -> dict[str, Any]:
    """Return the arguments of ``add_values`` that were given; others are the further cubes."""
    names = ("scale", *(f"{cube}_scale" for cube in others))
    found: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    if arguments.valid_range:
        found["valid_range"] = tuple(arguments.valid_range)
    if arguments.decoded:
        found["decoded"] = arguments.decoded == "yes"
    return {name: value for name, value in found.items() if value is not None}
