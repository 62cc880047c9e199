"""Which dates a fusion of whole series sees and makes, as days from its first coarse image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstf.align.dates import MOST_DATES
from xstf.align.fuse import FuseCubes
from xstf.cubes.acquisitions import DAY, Dates
from xstf.cubes.pairs import (
    DateLike,
    LengthLike,
    Pair,
    composite_advice,
    read_dates,
    read_timedelta,
    short_days,
)


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
