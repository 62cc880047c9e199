"""Which dates a fusion of whole series sees and makes, as days from its first coarse image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xstf.align.dates import MOST_DATES
from xstf.align.fuse import FuseCubes
from xstf.cubes.acquisitions import DAY, Dates
from xstf.cubes.pairs import (
    DateLike,
    LengthLike,
    Pair,
    Plan,
    composite_advice,
    read_dates,
    read_timedelta,
    short_days,
)

# Pairs from which on known dates are left out, one by one: three are left then. So many dates at
# most, and a series of so many fine images at most around a date.
FEWEST_KNOWN, MOST_LEFT_OUT, MOST_AROUND = 4, 4, 16


@dataclass(frozen=True)
class SeriesDates:
    """The images of a fusion of whole series, in order of time, and the dates that it makes.

    Parameters
    ----------
    fine, coarse
        Positions of the images in their cubes; of the fine ones those that the coarse series
        reaches.
    times, coarse_times
        Days of both.
    targets
        Days of the wanted dates, ascending.
    labels
        What the wanted dates are called, datetime64[ns].
    observed
        For each of them the positions in the fine cube of the images of its solar day, nearest
        first.
    reach
        Days before its first and after its last image that the coarse series counts for.
    unreached
        Positions of the fine images out of its reach.
    """

    fine: tuple[int, ...]
    coarse: tuple[int, ...]
    times: np.ndarray
    coarse_times: np.ndarray
    targets: np.ndarray
    labels: np.ndarray
    observed: tuple[tuple[int, ...], ...]
    reach: float
    unreached: tuple[int, ...]

    @property
    def outside(self) -> np.ndarray:
        """Which wanted dates lie before all fine images or after them."""
        return np.asarray((self.targets < self.times[0]) | (self.targets > self.times[-1]))

    @property
    def near_pairs(self) -> list[Pair]:
        """Each fine image with the coarse one nearest in time."""
        apart = np.abs(self.times[:, None] - self.coarse_times)
        return [
            Pair(image, self.coarse[int(near)])
            for image, near in zip(self.fine, apart.argmin(axis=1), strict=True)
        ]


def series_dates(cubes: FuseCubes, time: DateLike | None, tolerance: LengthLike) -> SeriesDates:
    """Return the dates of a fusion of whole series; raise where one cannot be made.

    Parameters
    ----------
    cubes : FuseCubes
    time : datetime-like or sequence of such, optional
        Any dates within the coarse series. None: those of the coarse images, without the ones that
        have a fine image of their day.
    tolerance : number of days or timedelta-like
        How far outside the coarse series a date may lie. Half the period of composites always may.
    """
    fine, coarse = cubes.fine.when, cubes.coarse.when
    limit = max(read_timedelta(tolerance), coarse.period // 2)
    order, coarse_order = (np.argsort(d.moments, kind="stable") for d in (fine, coarse))
    origin = coarse.moments[coarse_order[0]]
    labels, moments = _wanted(fine, coarse, time)
    first, last = origin - limit, coarse.moments[coarse_order[-1]] + limit
    outside = (moments < first) | (moments > last)
    if outside.any():
        raise ValueError(
            f"time= asks for {short_days(labels[outside])}, outside the coarse series "
            f"({short_days(coarse.stamps[coarse_order[[0, -1]]])}): a series is not extrapolated; "
            "add coarse images"
        )
    reached = (fine.moments[order] >= first) & (fine.moments[order] <= last)
    if not reached.any():
        raise ValueError(
            f"no fine image ({short_days(fine.stamps)}) lies within the coarse series "
            f"({short_days(coarse.stamps[coarse_order[[0, -1]]])}); add images"
            f"{composite_advice(coarse)}"
        )
    used = order[reached]
    return SeriesDates(
        fine=tuple(used.tolist()),
        coarse=tuple(coarse_order.tolist()),
        times=_days(fine.moments[used], origin),
        coarse_times=_days(coarse.moments[coarse_order], origin),
        targets=_days(moments, origin),
        labels=labels,
        observed=tuple(_images_of(moment, fine) for moment in moments),
        reach=float(limit / DAY),
        unreached=tuple(order[~reached].tolist()),
    )


def _days(moments: np.ndarray, origin: np.datetime64) -> np.ndarray:
    return np.asarray((moments - origin) / DAY, np.float64)


def _wanted(fine: Dates, coarse: Dates, time: DateLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the wanted dates and when each counts, in order of time.

    A date asked for counts itself, also where composites are stamped with it; a coarse image's own
    stamp with a clock time counts when the image does.
    """
    asked = read_dates(time)
    if asked is None:
        free = ~np.isin(coarse.days, fine.days)
        if not free.any():
            raise ValueError(
                f"every coarse date ({short_days(coarse.stamps)}) has a fine image: nothing to "
                "predict; name dates with time="
            )
        labels, moments = coarse.stamps[free], coarse.moments[free]
    else:
        labels = np.unique(asked)
        if len(labels) < len(asked):
            raise ValueError(f"time= names dates twice; there are {len(labels)} in {len(asked)}")
        if len(labels) > MOST_DATES:
            raise ValueError(f"time= names more than {MOST_DATES} dates; ask for fewer")
        moments = np.array([coarse.local(date)[0] for date in labels], "M8[ns]")
    order = np.argsort(moments, kind="stable")
    return labels[order], moments[order]


def _images_of(moment: np.datetime64, fine: Dates) -> tuple[int, ...]:
    """Return the positions of the fine images of a moment's solar day, nearest first."""
    same = np.flatnonzero(fine.days == moment.astype("M8[D]"))
    near = np.argsort(np.abs(fine.moments[same] - moment), kind="stable")
    return tuple(same[near].tolist())


# --- beside pairs -------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownSeries:
    """The pairs of a scene in order of time, as a series that known dates are left out of.

    Parameters
    ----------
    fine, coarse
        Positions in their cubes: of the pairs' fine images, and of all coarse ones.
    times, coarse_times
        Days of both.
    reach
        As `SeriesDates` has it.
    left_out
        Positions among the pairs of those that are left out; and of the two that they are made of.
    own
        Positions among the coarse images of the pairs' ones.
    """

    fine: tuple[int, ...]
    coarse: tuple[int, ...]
    times: np.ndarray
    coarse_times: np.ndarray
    reach: float
    left_out: tuple[tuple[int, tuple[int, int]], ...]
    own: tuple[int, ...]

    def near(self, at: int) -> slice:
        """Return the images around a place among them, as many before as after if there are."""
        first = max(0, min(at - MOST_AROUND // 2, len(self.fine) - MOST_AROUND))
        return slice(first, first + MOST_AROUND)

    def around(self, plan: Plan) -> SeriesDates:
        """Return the series of one date: the fine images nearest to it, as many before as after."""
        target = self.coarse_times[[self.coarse.index(plan.target)]]
        some = self.near(int(np.searchsorted(self.times, target[0])))
        return SeriesDates(
            fine=self.fine[some], coarse=self.coarse, times=self.times[some],
            coarse_times=self.coarse_times, targets=target, labels=np.empty(1, "M8[ns]"),
            observed=(plan.observed,), reach=self.reach, unreached=(),
        )  # fmt: skip


def known_series(cubes: FuseCubes, tolerance: LengthLike) -> KnownSeries | None:
    """Return the pairs as a series; None where they are too few to leave dates out."""
    pairs = cubes.pairs(tolerance)
    if len(pairs) < FEWEST_KNOWN:
        return None
    fine, coarse = cubes.fine.when, cubes.coarse.when
    order = np.argsort(coarse.moments, kind="stable")
    origin = coarse.moments[order[0]]
    images = [pair.fine for pair in pairs]
    where = {int(date): n for n, date in enumerate(order)}
    limit = max(read_timedelta(tolerance), coarse.period // 2)
    return KnownSeries(
        fine=tuple(images),
        coarse=tuple(order.tolist()),
        times=_days(fine.moments[images], origin),
        coarse_times=_days(coarse.moments[order], origin),
        reach=float(limit / DAY),
        left_out=_left_out([where[pair.coarse] for pair in pairs]),
        own=tuple(where[pair.coarse] for pair in pairs),
    )


def _left_out(own: Sequence[int]) -> tuple[tuple[int, tuple[int, int]], ...]:
    """Return which pairs are left out, and the nearest ones around each.

    The outer ones, which have none on one side, only where few are left without them.
    """
    last = len(own) - 1
    some = np.arange(1, last) if last >= FEWEST_KNOWN else np.arange(last + 1)
    if len(some) > MOST_LEFT_OUT:
        some = some[np.linspace(0, len(some) - 1, MOST_LEFT_OUT).round().astype(int)]
    found = []
    for one in some.tolist():
        others = [k for k in range(last + 1) if own[k] != own[one]]
        before, after = ([k for k in others if (k < one) is early] for early in (True, False))
        near = (*before[-1:], *after[:1])
        if len(near) == 1:
            near = tuple(before[-2:] or after[:2])
        if len(near) == 2:
            found.append((one, (near[0], near[1])))
    return tuple(found)
