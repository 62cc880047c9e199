"""Which image pairs serve which date: datetimes in, index pairs out."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

# What names one date or several.
DateLike: TypeAlias = (
    str
    | Date
    | np.datetime64
    | Sequence[str | Date | np.datetime64]
    | np.ndarray
    | pd.Index
    | xr.DataArray
)

# A length of time: days where it is a number, else as pandas reads it.
LengthLike: TypeAlias = float | str | pd.Timedelta | np.timedelta64

# How long a composite gathers, such as "16D"; False for images of one day each.
CompositeLike: TypeAlias = str | pd.Timedelta | np.timedelta64 | Literal[False]

# How many combinations of pairs are tried at a pixel before it stays missing: the nearest, then
# up to three in which a cloudy base image gives way to the next one. Each costs reading an image.
ATTEMPTS = 4


@dataclass(frozen=True)
class Pair:
    """A fine image and the coarse image of its date, as positions in their cubes."""

    fine: int
    coarse: int


@dataclass(frozen=True)
class Plan:
    """How one date is predicted.

    Parameters
    ----------
    target
        Position of the date in the coarse cube.
    attempts
        Combinations of pairs, best first; a pixel takes the first whose base images are clear.
    observed
        Position of the fine image of that date, if there is one.
    extrapolated
        Whether the date lies outside the dates of all pairs.
    """

    target: int
    attempts: tuple[tuple[Pair, ...], ...]
    observed: int | None
    extrapolated: bool

    @property
    def fine_dates(self) -> list[int]:
        """Positions in the fine cube of the images that the plan reads, each once."""
        return list(dict.fromkeys(p.fine for pairs in self.attempts for p in pairs))

    @property
    def coarse_dates(self) -> list[int]:
        """Positions in the coarse cube of the images that the plan reads, the target last."""
        used = dict.fromkeys(p.coarse for pairs in self.attempts for p in pairs)
        return [*used, self.target]

    def at(self, place: Mapping[int, int]) -> Plan:
        """Return the plan for a coarse cube whose dates were moved to other places."""
        moved = [[Pair(p.fine, place[p.coarse]) for p in pairs] for pairs in self.attempts]
        return replace(self, target=place[self.target], attempts=tuple(map(tuple, moved)))


def match_dates(
    fine_times: np.ndarray, coarse_times: np.ndarray, tolerance: np.timedelta64
) -> list[Pair]:
    """Return the pairs: each fine date with its nearest coarse date, if within the tolerance."""
    pairs = []
    for i, date in enumerate(fine_times):
        distance = np.abs(coarse_times - date)
        nearest = int(distance.argmin())
        if distance[nearest] <= tolerance:
            pairs.append(Pair(i, nearest))
    return pairs


def plan_pairs(
    fine_times: np.ndarray,
    coarse_times: np.ndarray,
    wanted: np.ndarray | None,
    *,
    tolerance: LengthLike,
    fewest: int,
    most: int,
    method: str,
) -> list[Plan]:
    """Return one plan a wanted date; raise where a date cannot be served.

    Parameters
    ----------
    fine_times, coarse_times : ndarray of datetime64
        In any order, without duplicates.
    wanted : ndarray of datetime64 or None
        None: every coarse date that is no fine image's partner.
    tolerance : number of days or str
        Longest time between the images of a pair, as pandas reads it (``"1D"``).
    fewest, most : int
        How many pairs the method takes.
    method : str
        Its name, for messages.
    """
    limit = read_timedelta(tolerance)
    pairs = match_dates(fine_times, coarse_times, limit)
    if not pairs:
        raise ValueError(
            f"no fine image has a coarse image within {tolerance} of its date; fine dates: "
            f"{_days(fine_times)}; coarse dates: {_days(coarse_times)}; widen pair_tolerance or "
            "add images"
        )
    targets = _targets(coarse_times, wanted, pairs, limit)
    return [
        _plan_one(target, pairs, fine_times, coarse_times, tolerance, fewest, most, method)
        for target in targets
    ]


def _plan_one(
    target: int,
    pairs: Sequence[Pair],
    fine_times: np.ndarray,
    coarse_times: np.ndarray,
    tolerance: LengthLike,
    fewest: int,
    most: int,
    method: str,
) -> Plan:
    observed = [pair.fine for pair in pairs if pair.coarse == target]
    others = [pair for pair in pairs if pair.coarse != target]
    if len(others) < fewest:
        found = _days(fine_times[[pair.fine for pair in others]])
        advice = "add a fine image"
        if len(others) == 1:
            advice += " or use method='starfm'"
        raise ValueError(
            f"{method} needs {fewest} pair{'s' * (fewest > 1)} within {tolerance} of a coarse date "
            f"to predict {_days(coarse_times[[target]])}, found {len(others)} ({found}); {advice}"
        )
    date = coarse_times[target]
    before = [pair for pair in others if coarse_times[pair.coarse] < date]
    after = [pair for pair in others if coarse_times[pair.coarse] >= date]
    before.sort(key=lambda pair: date - coarse_times[pair.coarse])
    after.sort(key=lambda pair: coarse_times[pair.coarse] - date)
    nearest = sorted(others, key=lambda pair: abs(coarse_times[pair.coarse] - date))
    return Plan(
        target=target,
        attempts=_attempts(before, after, nearest, fewest, most),
        observed=observed[0] if observed else None,
        extrapolated=not (before and after),
    )


def _attempts(
    before: list[Pair], after: list[Pair], nearest: list[Pair], fewest: int, most: int
) -> tuple[tuple[Pair, ...], ...]:
    """Return combinations of pairs, best first: around the date if there are, else the nearest."""
    if most == 1:
        combinations: list[tuple[Pair, ...]] = [(pair,) for pair in nearest]
    elif before and after:
        ranked = [(i + j, max(i, j), i, j) for i in range(len(before)) for j in range(len(after))]
        combinations = [(before[i], after[j]) for _, _, i, j in sorted(ranked)]
    elif fewest == 1:
        combinations = [(pair,) for pair in nearest]
    else:
        ranked = [(i + j, j, i, j) for i in range(len(nearest)) for j in range(i + 1, len(nearest))]
        combinations = [(nearest[i], nearest[j]) for _, _, i, j in sorted(ranked)]
    return tuple(combinations[:ATTEMPTS])


def _targets(
    coarse_times: np.ndarray,
    wanted: np.ndarray | None,
    pairs: Sequence[Pair],
    limit: np.timedelta64,
) -> list[int]:
    """Return positions in the coarse cube of the wanted dates, in time order."""
    if wanted is None:
        partners = {pair.coarse for pair in pairs}
        targets = [i for i in range(len(coarse_times)) if i not in partners]
        if not targets:
            raise ValueError(
                f"every coarse date ({_days(coarse_times)}) has a fine image: nothing to predict; "
                "name dates with time="
            )
    else:
        targets = [nearest_date(date, coarse_times, limit) for date in wanted]
        if len(set(targets)) < len(targets):
            raise ValueError(f"time= names a coarse image twice: {_days(np.asarray(wanted))}")
    return sorted(targets, key=lambda i: coarse_times[i])


def nearest_date(date: np.datetime64, coarse_times: np.ndarray, limit: np.timedelta64) -> int:
    """Return the position of the coarse date nearest to a date; raise past the limit."""
    distance = np.abs(coarse_times - date)
    nearest = int(distance.argmin())
    if distance[nearest] > limit:
        raise ValueError(
            f"time= asks for {_days(np.asarray([date]))}, and there is no coarse image within "
            f"pair_tolerance of it; the nearest is {_days(coarse_times[[nearest]])}"
        )
    return nearest


def read_timedelta(tolerance: LengthLike, what: str = "pair_tolerance") -> np.timedelta64:
    """Return a length of time; a bare number, also one written as text, is days."""
    kinds = (str, int, float, np.integer, np.floating, np.timedelta64, datetime.timedelta)
    if isinstance(tolerance, bool) or not isinstance(tolerance, kinds):
        raise TypeError(
            f"{what} must be a number of days or a length of time such as '1D' or '12h', not "
            f"{tolerance!r}"
        )
    days = _number(tolerance)
    try:
        value = pd.Timedelta(tolerance) if days is None else pd.Timedelta(days, "D")
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{what} {tolerance!r} is no length of time; write '1D' or '12h'"
        ) from error
    if pd.isna(value) or value < pd.Timedelta(0):
        raise ValueError(f"{what} must be a length of time, not {tolerance!r}")
    return np.timedelta64(value.value, "ns")


def _number(length: object) -> float | None:
    """Return a bare number, which pandas would take for nanoseconds; None for anything else."""
    if isinstance(length, np.timedelta64 | datetime.timedelta):
        return None
    try:
        return float(length)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _days(times: np.ndarray) -> str:
    """Write dates shortly, at most six of them."""
    text = [str(np.datetime64(t, "D")) for t in np.sort(times)]
    return ", ".join(text if len(text) <= 6 else [*text[:3], "…", *text[-2:]])
