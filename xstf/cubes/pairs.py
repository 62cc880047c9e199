"""Which image pairs serve which date: datetimes in, index pairs out."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from xstf.cubes.acquisitions import DAY, Dates

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

# Days from stamp to stamp of what may be composites.
SHORTEST_COMPOSITE, LONGEST_COMPOSITE = 4, 32

# How many combinations of pairs are tried at a pixel before it stays missing: the nearest, then
# up to three in which a cloudy base image gives way to the next one. Each costs reading an image.
ATTEMPTS = 4

# Texts that name a day; a year or a month, which pandas would read as its first day.
_DAY = re.compile(r"\d{4}-\d\d-\d\d|\d{8}(?!\d)")
_MONTH = re.compile(r"\d{4}([-/]?\d\d?)?")


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
        Positions of the fine images of that day, nearest first; a pixel takes the first clear one.
    extrapolated
        Whether the date lies outside the dates of all pairs.
    """

    target: int
    attempts: tuple[tuple[Pair, ...], ...]
    observed: tuple[int, ...]
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


def match_dates(fine: Dates, coarse: Dates, tolerance: LengthLike) -> list[Pair]:
    """Return the pairs: each fine date with its nearest coarse date, if within the tolerance.

    Nearest in solar days first, then in hours. A composite is as far as the middle of its period,
    and half of that is always within the tolerance.
    """
    limit = _reach(read_timedelta(tolerance), fine, coarse)
    pairs = []
    for i, moment in enumerate(fine.moments):
        exact = not (fine.named or coarse.named)
        nearest, near = _nearest(moment, coarse, exact=exact, limit=limit)
        if near:
            pairs.append(Pair(i, nearest))
    return pairs


def unpaired(fine: Dates, pairs: Sequence[Pair]) -> np.ndarray:
    """Return the stamps of the fine images without a coarse one, in order of time."""
    alone = np.setdiff1d(np.arange(len(fine.stamps)), [pair.fine for pair in pairs])
    return np.asarray(np.sort(fine.stamps[alone]))


def _reach(limit: np.timedelta64, *dates: Dates) -> np.timedelta64:
    return max(limit, *(d.period // 2 for d in dates))


def _nearest(
    moment: np.datetime64, dates: Dates, *, exact: bool, limit: np.timedelta64
) -> tuple[int, bool]:
    """Return the position of the date nearest to a moment, and whether it is within the limit.

    Parameters
    ----------
    moment, dates
        In local solar time.
    exact
        Whether neither of them only names a day. A limit below a day then counts hours, else whole
        days, and hours among images of one day.
    """
    apart = np.abs(dates.moments - moment)
    if exact and limit < DAY:
        nearest = int(apart.argmin())
        return nearest, bool(apart[nearest] <= limit)
    whole = np.abs(dates.days - moment.astype("M8[D]"))
    nearest = int(np.lexsort((apart, whole))[0])
    return nearest, bool(whole[nearest] <= limit)


def plan_pairs(
    fine: Dates,
    coarse: Dates,
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
    fine, coarse : Dates
        In any order, without duplicates.
    wanted : ndarray of datetime64 or None
        None: every coarse date without a fine image of its day.
    tolerance : number of days or str
        Longest time between the images of a pair, as pandas reads it (``"1D"``).
    fewest, most : int
        How many pairs the method takes.
    method : str
        Its name, for messages.
    """
    pairs = match_dates(fine, coarse, tolerance)
    if not pairs:
        raise ValueError(
            f"no fine image has a coarse image within {tolerance} of its date; fine dates: "
            f"{short_days(fine.stamps)}; coarse dates: {short_days(coarse.stamps)}; widen "
            f"pair_tolerance or add images{composite_advice(coarse)}"
        )
    served = [
        pair.coarse
        for pair in pairs
        if _of_one_day(pair, fine, coarse)
        or sum(other.coarse != pair.coarse for other in pairs) < fewest
    ]
    targets = _targets(coarse, wanted, served, read_timedelta(tolerance))
    return [
        _plan_one(target, pairs, fine, coarse, tolerance, fewest, most, method)
        for target in targets
    ]


def apart_text(fine: Dates, coarse: Dates, pairs: Sequence[Pair]) -> str:
    """Return in words which fine images go with a coarse one of another day; "" for none."""
    apart = [pair for pair in pairs if not _of_one_day(pair, fine, coarse)]
    apart.sort(key=lambda pair: fine.stamps[pair.fine])
    found = [
        f"{short_days(fine.stamps[[p.fine]])} with {short_days(coarse.stamps[[p.coarse]])}"
        for p in apart
    ]
    return ", ".join(found if len(found) <= 6 else [*found[:5], "…"])


def _of_one_day(pair: Pair, fine: Dates, coarse: Dates) -> bool:
    """Return whether the images of a pair show one day; composites show all of theirs.

    Of a pair whose dates differ within the tolerance the fine image is a base for others, and no
    observation of the coarse one's day.
    """
    if fine.period or coarse.period:
        return True
    return bool(fine.days[pair.fine] == coarse.days[pair.coarse])


def composite_advice(coarse: Dates) -> str:
    """Return what to do if the images of a cube are composites, which nothing tells; else ""."""
    if not coarse.named or coarse.period or len(coarse.stamps) < 2:
        return ""
    step = np.median(np.diff(np.sort(coarse.stamps))) / DAY
    if not SHORTEST_COMPOSITE <= step <= LONGEST_COMPOSITE:
        return ""
    return f"; if coarse images are composites of some days, say so with composite='{step:.0f}D'"


def _plan_one(
    target: int,
    pairs: Sequence[Pair],
    fine: Dates,
    coarse: Dates,
    tolerance: LengthLike,
    fewest: int,
    most: int,
    method: str,
) -> Plan:
    date = coarse.moments[target]
    observed = [p.fine for p in pairs if p.coarse == target and _of_one_day(p, fine, coarse)]
    observed.sort(key=lambda image: abs(fine.moments[image] - date))
    others = [pair for pair in pairs if pair.coarse != target]
    if len(others) < fewest:
        found = short_days(fine.stamps[[pair.fine for pair in others]])
        advice = "add a fine image"
        if len(others) == 1:
            advice += " or use method='starfm'"
        raise ValueError(
            f"{method} needs {fewest} pair{'s' * (fewest > 1)} within {tolerance} of a coarse date "
            f"to predict {short_days(coarse.stamps[[target]])}, found {len(others)} ({found}); "
            f"{advice}"
        )
    before = [pair for pair in others if coarse.moments[pair.coarse] < date]
    after = [pair for pair in others if coarse.moments[pair.coarse] >= date]

    def rank(pair: Pair) -> tuple[bool, np.timedelta64]:
        return not _of_one_day(pair, fine, coarse), abs(coarse.moments[pair.coarse] - date)

    before.sort(key=rank)
    after.sort(key=rank)
    nearest = sorted(others, key=rank)
    return Plan(
        target=target,
        attempts=_attempts(before, after, nearest, fewest, most),
        observed=tuple(observed),
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
    coarse: Dates, wanted: np.ndarray | None, served: Sequence[int], limit: np.timedelta64
) -> list[int]:
    """Return positions in the coarse cube of the wanted dates, in time order.

    None wants all but those that are `served` by a fine image of their day.
    """
    if wanted is None:
        targets = [i for i in range(len(coarse.stamps)) if i not in served]
        if not targets:
            raise ValueError(
                f"every coarse date ({short_days(coarse.stamps)}) has a fine image: nothing to "
                "predict; name dates with time="
            )
    else:
        targets = [nearest_date(date, coarse, limit) for date in wanted]
        if len(set(targets)) < len(targets):
            raise ValueError(f"time= names a coarse image twice: {short_days(np.asarray(wanted))}")
    return sorted(targets, key=lambda i: coarse.moments[i])


def nearest_date(
    date: np.datetime64, coarse: Dates, limit: np.timedelta64, what: str = "coarse"
) -> int:
    """Return the position of the coarse date that a date means; raise past the limit.

    A stamp means its own image, a day (midnight) the image of that day, and an instant in UTC the
    nearest image. `what` is what to call the cube.
    """
    same = np.flatnonzero(coarse.stamps == date)
    if same.size:
        return int(same[0])
    moment, whole_day = coarse.local(date)
    limit = _reach(limit, coarse)
    exact = not (whole_day or coarse.named)
    nearest, near = _nearest(moment, coarse, exact=exact, limit=limit)
    if not near:
        within = "within pair_tolerance of it" if limit else "of that day"
        raise ValueError(
            f"time= asks for {short_days(np.asarray([date]))}, and there is no {what} image "
            f"{within}; the nearest is {short_days(coarse.stamps[[nearest]])}"
        )
    return nearest


def read_dates(time: DateLike | None) -> np.ndarray | None:
    """Return the dates that a caller wants as datetime64 in UTC, None for all.

    A bare number is none: it would be nanoseconds since 1970.
    """
    if time is None:
        return None
    values = np.asarray(time.values if isinstance(time, xr.DataArray) else time)
    wrong = f"time= must be dates such as '2020-07-01', not {time!r}"
    if not values.size:
        raise ValueError("time= is empty; name dates or leave it out")
    if values.dtype.kind in "iufbc" or isinstance(time, slice):
        raise ValueError(wrong)
    flat = np.atleast_1d(values).ravel()
    try:
        if flat.dtype.kind == "M":
            flat = flat.astype("M8[ns]")  # NaT alone has no unit
        if flat.dtype.kind in "OU":
            flat = np.array([_instant(value) for value in flat.tolist()])
        found = pd.DatetimeIndex(pd.to_datetime(flat, utc=True))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{wrong}: {error}") from error
    dates = np.asarray(found.tz_convert(None).to_numpy(), "M8[ns]")
    if np.isnat(dates).any():
        raise ValueError(f"time= has {int(np.isnat(dates).sum())} dates that are NaT; drop them")
    return dates


def _instant(value: object) -> pd.Timestamp:
    """Return a date in UTC; a text must name a day as ISO 8601 writes it."""
    if isinstance(value, str):
        text = value.strip()
        if _MONTH.fullmatch(text):
            raise ValueError(f"{text!r} is no single day; name days, such as '{text[:4]}-07-01'")
        if not _DAY.match(text):
            raise ValueError(f"{text!r} is no date as ISO 8601 writes it")
        value = text
    elif isinstance(value, bool | int | float) and value == value:
        raise TypeError(f"{value!r} is a number")
    stamp = pd.Timestamp(value)  # type: ignore[arg-type]
    if pd.isna(stamp):
        return stamp
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


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


def short_days(times: np.ndarray) -> str:
    """Write dates shortly, at most six of them."""
    text = [str(np.datetime64(t, "D")) for t in np.sort(times)]
    return ", ".join(text if len(text) <= 6 else [*text[:3], "…", *text[-2:]])
