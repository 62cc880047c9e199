"""What a picture reads of a cube: some dates, some bands, every so many pixels; never all of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.dims import find_dim
from xstf.cubes.pairs import DateLike
from xstf.cubes.read import Cube, read_cube
from xstf.cubes.variables import band_variables, first_band

# Pixels a side of a picture at most, and of one that all dates are read for.
PIXELS, FEW_PIXELS = 480, 160


@dataclass(frozen=True)
class Images:
    """Images of a cube as a picture needs them.

    Parameters
    ----------
    values
        ``(date, band, y, x)``, float, NaN where missing; row 0 is the northern edge.
    dates
        Their titles, ``"2021-06-10"``; "" for a cube without dates.
    step
        Every how many rows and columns were read.
    cube
        Where they are from; its values are still unread if they were.
    """

    values: np.ndarray
    dates: tuple[str, ...]
    step: int
    cube: Cube


def open_cube(cube: Labelled, what: str) -> Cube:
    """Return a labelled cube as plain parts; of one in a file or in dask no value is read.

    Of a Dataset with one band, such as a result with its standard deviation and its flag, that.
    """
    if isinstance(cube, xr.Dataset):
        names = band_variables(cube)
        cube = cube[names[0]] if len(names) == 1 else cube
    return read_cube(_lazy(cube), what=what)


def _lazy(cube: Labelled) -> Labelled:
    """Return a cube that was opened and not chunked in chunks of one date; others as they are."""
    array = first_band(cube) if isinstance(cube, xr.Dataset) else cube
    if not isinstance(array, xr.DataArray) or array.chunks is not None:
        return cube
    if "source" not in array.encoding and "source" not in cube.encoding:
        return cube
    time = find_dim(array, "time")
    return cube if time is None else cube.chunk({time: 1})


def step_of(cube: Cube, most: int = PIXELS) -> int:
    """Return every how many pixels are read so that no side has more than `most`."""
    longest = int(max(cube.data.shape[-2:]))
    return max(1, -(-longest // most))


def read_images(
    cube: Cube, dates: Sequence[int] | np.ndarray, bands: Sequence[int], most: int = PIXELS
) -> Images:
    """Return some images of a cube, thinned, read in one go."""
    step = step_of(cube, most)
    part = cube.data[np.asarray(dates, int)][:, list(bands), ::step, ::step]
    values = northern_up(cube, np.asarray(part, np.float64))
    return Images(values, tuple(date_of(cube, int(d)) for d in dates), step, cube)


def read_missing(cube: Cube, most: int = FEW_PIXELS) -> tuple[np.ndarray, int]:
    """Return where a cube misses a band, bool ``(date, y, x)``, thinned; and the step."""
    step = step_of(cube, most)
    missing = np.asarray(np.isnan(cube.data[..., ::step, ::step]).any(axis=1))
    return northern_up(cube, missing), step


def northern_up(cube: Cube, values: np.ndarray) -> np.ndarray:
    """Return images with the greatest y in row 0 and the least x in column 0."""
    rows = slice(None, None, -1 if cube.grid.dy > 0 else 1)
    columns = slice(None, None, -1 if cube.grid.dx < 0 else 1)
    return values[..., rows, columns]


def read_pixel(
    cube: Cube, at: Mapping[str, float] | None, bands: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the dates and the values (date, band) of a pixel, None for the one in the middle."""
    missing = [b for b in bands if b not in cube.bands]
    if missing:
        raise ValueError(f"{cube.what} has no bands {missing}; it has {list(cube.bands)}")
    centres = {"y": cube.grid.y, "x": cube.grid.x}
    where = {dim: float(c[c.size // 2]) for dim, c in centres.items()} if at is None else dict(at)
    if set(where) != set(centres):
        raise ValueError(f"at must give 'y' and 'x' in coordinates of the cube, not {where}")
    near = {dim: int(np.abs(c - where[dim]).argmin()) for dim, c in centres.items()}
    steps = {"y": abs(cube.grid.dy), "x": abs(cube.grid.dx)}
    for dim, c in centres.items():
        if abs(c[near[dim]] - where[dim]) > steps[dim]:
            raise ValueError(f"{dim}={where[dim]} is not in {cube.what}, {c.min()} to {c.max()}")
    values = np.asarray(cube.data[:, :, near["y"], near["x"]], np.float64)
    return times_of(cube), values[:, [cube.bands.index(b) for b in bands]]


def times_of(cube: Cube) -> np.ndarray:
    """Return the dates of a cube; raise where it has none."""
    if cube.times is None:
        raise ValueError(f"{cube.what} has no dates: it needs a time dimension with coordinates")
    return cube.times


def date_of(cube: Cube, index: int) -> str:
    """Return a date as it is written over a picture."""
    return "" if cube.times is None else str(np.datetime64(cube.times[index], "D"))


def pick_dates(cube: Cube, time: DateLike | Any, most: int) -> np.ndarray:
    """Return which dates are shown: those asked for, else at most so many, evenly."""
    if time is not None:
        days = np.atleast_1d(np.asarray(time, "datetime64[D]"))
        return np.array([on_day(cube, day) for day in days])
    return np.unique(np.linspace(0, cube.data.shape[0] - 1, most).astype(int))


def on_day(cube: Cube, day: np.datetime64) -> int:
    """Return which of a cube's dates is on a day."""
    times = times_of(cube)
    found = np.flatnonzero(times.astype("datetime64[D]") == day)
    if not found.size:
        nearest = np.datetime64(times[np.abs(times - day).argmin()], "D")
        raise ValueError(f"{cube.what} has no date on {day}; the nearest is {nearest}")
    return int(found[0])
