"""Dates that a filled series is asked for: which are images, and which are new."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xstf.align.fuse import read_dates
from xstf.cubes.acquisitions import Dates
from xstf.cubes.crs import grid_mapping_name
from xstf.cubes.pairs import DateLike
from xstf.cubes.read import Cube
from xstf.cubes.variables import band_variables

# More dates than this are a mistake: a hundred years of days.
MOST_DATES = 36_600
_DAYS = re.compile(r"\s*\d*d\s*")


@dataclass(frozen=True)
class Asked:
    """Dates that a result is asked for, among those of the images.

    Parameters
    ----------
    every
        datetime64[ns]: the dates of all images, and those asked for that have none, in the order of
        their moments.
    moments
        When each counts, in local solar time, ascending.
    images
        Where the images are among them, ascending.
    wanted
        Where the result's dates are among them.
    labels
        The result's dates, as they were asked for, ascending.
    words
        How they were asked for.
    """

    every: np.ndarray
    moments: np.ndarray
    images: np.ndarray
    wanted: np.ndarray
    labels: np.ndarray
    words: str

    @property
    def picks(self) -> np.ndarray:
        """The place among the images of each of the result's dates; -1 where it has none."""
        place = np.full(len(self.every), -1)
        place[self.images] = np.arange(len(self.images))
        return np.asarray(place[self.wanted])

    @property
    def text(self) -> str:
        """What was asked for, for attrs."""
        observed = int((self.picks >= 0).sum())
        return f"{len(self.labels)} asked for by {self.words}, {observed} of them observed"


def ask(images: Dates, time: DateLike | None, freq: str | None) -> Asked | None:
    """Return the dates that are asked for, None where none are; raise where they are no dates.

    A date and an image of one solar day are the same, those nearest to each other where there are
    several of either.

    Parameters
    ----------
    images : Dates
        Of the images, their moments ascending.
    time
        Dates, in any order.
    freq
        A pandas offset: regular dates from the first image's day to the last one's.
    """
    if time is None and freq is None:
        return None
    if time is not None and freq is not None:
        raise ValueError("time= and freq= both say which dates are wanted; give one of them")
    if freq is not None:
        labels, words = _regular(images.days, freq), f"freq={freq!r}"
    else:
        labels, words = _listed(time), "time"
    own = _same_days(images, labels)
    new = labels[own < 0]
    stamps = np.concatenate([images.stamps, new])
    moments = np.concatenate([images.moments, _moments(images, new)])
    order = np.argsort(moments, kind="stable")
    place = np.argsort(order)
    at = np.where(own >= 0, own, len(images.stamps) - 1 + np.cumsum(own < 0))
    return Asked(
        every=stamps[order],
        moments=moments[order],
        images=place[: len(images.stamps)],
        wanted=place[at],
        labels=labels,
        words=words,
    )


def _moments(images: Dates, labels: np.ndarray) -> np.ndarray:
    """Return when new dates count: as instants, or days where the images' stamps name days.

    None counts at the very moment of an image or of another one: no time would lie between.
    """
    taken = set(images.moments.tolist())
    found = []
    for label in labels:
        moment = images.local(label)[0] if images.named else label + images.offset
        while moment.astype(np.int64).item() in taken:
            moment = moment + np.timedelta64(1, "m")
        taken.add(moment.astype(np.int64).item())
        found.append(moment)
    return np.array(found, "M8[ns]")


def _listed(time: DateLike | None) -> np.ndarray:
    """Return dates in order; raise where one is none, or comes twice."""
    found = read_dates(time)
    dates = np.sort(np.ravel(found))  # type: ignore[arg-type]
    if np.isnat(dates).any():
        raise ValueError(f"time= has {int(np.isnat(dates).sum())} dates that are NaT; drop them")
    twice = dates[1:][dates[1:] == dates[:-1]]
    if twice.size:
        raise ValueError(f"time= names dates twice: {[str(t)[:16] for t in twice[:5]]}")
    return dates


def _regular(days: np.ndarray, freq: Any) -> np.ndarray:
    """Return regular dates from the first day to the last one; a bare number is days."""
    first, last = (pd.Timestamp(day) for day in days[[0, -1]])
    try:
        if isinstance(freq, bool):
            raise TypeError("a step is no yes or no")
        number = isinstance(freq, int | float) or str(freq).strip().replace(".", "", 1).isdigit()
        if isinstance(freq, np.timedelta64):
            freq = pd.Timedelta(freq)
        if isinstance(freq, str) and _DAYS.fullmatch(freq):
            freq = freq.upper()  # pandas is to read only the capital
        step = pd.tseries.frequencies.to_offset(f"{float(freq):g}D" if number else freq)
        length = first + step - first
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"freq={freq!r} is no step from date to date; write '5D', 'MS' or the like"
        ) from error
    if not length > pd.Timedelta(0):
        raise ValueError(f"freq={freq!r} must lead to later dates; write '5D', 'MS' or the like")
    if (last - first) / length > MOST_DATES:
        raise ValueError(f"freq={freq!r} asks for more than {MOST_DATES} dates; give a longer one")
    dates = pd.date_range(first, last, freq=step)
    if not len(dates):
        raise ValueError(
            f"freq={freq!r} has no date from {first.date()} to {last.date()}, the cube's first and "
            "last; give a shorter one, or dates with time="
        )
    return np.asarray(dates.values.astype("datetime64[ns]"))


def _same_days(images: Dates, labels: np.ndarray) -> np.ndarray:
    """Return the place of the image that each date asked for is, -1 where it is new."""
    found = np.full(len(labels), -1)
    exact = {stamp: i for i, stamp in enumerate(images.stamps.tolist())}
    for i, stamp in enumerate(labels.tolist()):
        found[i] = exact.get(stamp, -1)
    free = np.ones(len(images.stamps), bool)
    free[found[found >= 0]] = False
    moments = np.array([images.local(label)[0] for label in labels], "M8[ns]")
    days = moments.astype("M8[D]")
    for day in np.intersect1d(images.days[free], days[found < 0]):
        mine = np.flatnonzero((images.days == day) & free)
        theirs = np.flatnonzero((days == day) & (found < 0))
        apart = np.abs(moments[theirs][:, None] - images.moments[mine])
        nearest = apart.argmin(axis=1)
        mutual = apart.argmin(axis=0)[nearest] == np.arange(len(theirs))
        found[theirs[mutual]] = mine[nearest[mutual]]
    return found


# --- labels -------------------------------------------------------------------------------------


def on_dates(cube: Cube, asked: Asked, order: np.ndarray) -> tuple[Cube, list[str]]:
    """Return a cube's labels on the dates asked for, and the names of what does not hold there.

    What lies along time holds if every date asked for is an image. The values of images do not
    matter, and are not there.
    """
    source, time = cube.source, cube.dims[0]
    picks = asked.picks
    whole = len(cube.dates) == source.sizes[time] and (picks >= 0).all()
    places = order[picks] if whole else None
    count = len(asked.labels)
    lost: list[str] = []

    def moved(variables: Mapping[Hashable, xr.DataArray]) -> dict[Hashable, xr.Variable]:
        found = {}
        for name, variable in variables.items():
            if time not in variable.dims:
                found[name] = variable.variable
            elif name == time:
                found[name] = xr.Variable(time, asked.labels, variable.attrs)
            elif places is not None:
                found[name] = variable.variable.isel({time: places})
            else:
                lost.append(str(name))
        return found

    coords = moved(source.coords)
    if isinstance(source, xr.DataArray):
        return replace(cube, source=_blank(source, time, coords, count), times=asked.labels), lost
    images = band_variables(source)
    others = moved({n: v for n, v in source.data_vars.items() if n not in images})
    bands = {n: _blank(source[n], time, coords, count) for n in images}
    every = {n: bands.get(n, others.get(n)) for n in source.data_vars if n in {*bands, *others}}
    out = xr.Dataset(every, coords, attrs=source.attrs)
    return replace(cube, source=out, times=asked.labels), lost


def _blank(
    source: xr.DataArray, time: Hashable, coords: Mapping[Hashable, xr.Variable], count: int
) -> xr.DataArray:
    """Return the labels of an image stack on so many dates, its values 0 and not in memory."""
    sizes = {d: count if d == time else n for d, n in source.sizes.items()}
    own = {n: c for n, c in coords.items() if set(c.dims) <= set(sizes)}
    zeros = np.broadcast_to(np.float32(0), tuple(sizes.values()))
    out = xr.DataArray(zeros, own, tuple(sizes), name=source.name, attrs=source.attrs)
    mapping = grid_mapping_name(source)
    if mapping is not None:
        out.encoding["grid_mapping"] = mapping
    return out
