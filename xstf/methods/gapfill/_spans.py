"""Spans of dates to hide that are like the lost ones: as far from others on either side.

`auto.holdout` hides as many days as the scene misses, around any date, so that its gaps are longer
than the scene's where lost dates lie beside them. Methods are chosen as well by these (on eight
simulated and six real cases), but intervals set by them are too narrow where a method's own
deviations grow with the gap: on one real season those of `linear` held .62 for .81 with these here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from xstf.methods.gapfill.auto.holdout import LOST, MOST_DATES, missing_pixels

# Dates are hidden that show at least this share of what dates show in the middle.
SHOWS = 0.5
# Kinds of lost dates, by the days to either side, that are looked for at most.
KINDS = 24
# So many spans are enough: no further round hides other ones.
ENOUGH = 12
# Steps of it go round evenly, however many there are.
GOLDEN = 0.6180339887


def spans_like_lost(samples: np.ndarray, times: np.ndarray, rounds: int) -> list[np.ndarray]:
    """Return spans of dates to hide whole: a number (time,) for each round, 0 for what is shown.

    Each span puts a shown date where a lost one is: as many days from the shown dates on either
    side, as near as the dates allow. Lost dates beside it belong to its gap.

    Parameters
    ----------
    samples : ndarray (window, time, band, y, x)
    times : ndarray (time,)
        Days, ascending.
    rounds : int
        At most; each hides other dates, if there are some. There are none where no date is lost.
    """
    clear = 1 - missing_pixels(samples).mean(axis=(0, 2, 3))
    lost = clear < LOST
    if not lost.any() or lost.all():
        return []
    good = ~lost & (clear >= SHOWS * np.median(clear[~lost]))
    centres = _spread(t for t in np.flatnonzero(good) if 0 < t < len(times) - 1)
    targets = _spread(sorted(set(_sides(lost, times))))[:KINDS]
    days = _one_day(times)
    options = [
        sorted((_span(t, sides, lost, times, days) for t in centres), key=lambda one: one[0])
        for sides in targets
    ]
    out: list[np.ndarray] = []
    for turn in range(rounds if centres else 0):
        before = np.logical_or.reduce([span > 0 for span in out], initial=False)
        span = _chosen(options, ~lost, before & ~lost, turn)
        if not span.any():  # no other dates are left
            span = _chosen(options, ~lost, np.zeros(len(times), bool), turn)
        out.append(span)
        if sum(int(span.max()) for span in out) >= ENOUGH:
            break
    return out


def _chosen(
    options: list[list[tuple[float, np.ndarray]]], shown: np.ndarray, used: np.ndarray, turn: int
) -> np.ndarray:
    """Return a round's spans, numbered (time,): of each kind of gap in turn the nearest to it."""
    span = np.zeros(len(shown), int)
    most = MOST_DATES * shown.sum()
    kind = turn
    while True:
        for _, near in options[kind % len(options)]:
            hidden = (span > 0) | near
            few = hidden.sum() <= most or not span.any()
            free = near.any() and not used[near].any() and not span[_beside(near, shown)].any()
            # Something must stay to fill from.
            if free and few and not hidden[shown].all():
                span[near] = span.max() + 1
                break
        else:
            return span
        kind += 1


def _spread(values: Iterable[Any]) -> list[Any]:
    """Return values in an order of which any first few are spread over all: golden sections."""
    values = list(values)
    return [values[i] for i in np.argsort(np.arange(len(values)) * GOLDEN % 1, kind="stable")]


def _sides(lost: np.ndarray, times: np.ndarray) -> list[tuple[float, float]]:
    """Return the days from each lost date to the shown ones before and after it.

    Where no lost date lies between shown ones, the side that is not there is like the other.
    """
    shown = times[~lost]
    gaps = [(days - shown[shown < days], shown[shown > days] - days) for days in times[lost]]
    both = [gap for gap in gaps if gap[0].size and gap[1].size]
    if not both:
        return [(float(np.concatenate(gap).min()),) * 2 for gap in gaps]
    return [(float(since.min()), float(until.min())) for since, until in both]


def _span(
    centre: int, sides: tuple[float, float], lost: np.ndarray, times: np.ndarray, alike: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return by how much a hidden date is farther from others than a lost one, and its span.

    The span (time,) is of the shown dates that are nearer to it than the lost one's neighbours are;
    what it is off by, the logarithms of both ratios of days, to a tenth.
    """
    days = times - times[centre]
    near = (days > -sides[0]) & (days < sides[1]) & ~lost
    near[centre] = True
    near = alike[near].any(axis=0) & ~lost
    near[[0, -1]] = False
    left = days[~lost & ~near]
    since, until = -left[left < 0], left[left > 0]
    off = 0.0
    for own, wanted in ((since, sides[0]), (until, sides[1])):
        off += abs(np.log(own.min() / wanted)) if own.size else np.inf
    return round(off, 1), near


def _beside(span: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return a span and the shown dates next to it, (time,): two gaps beside each other are one."""
    out, own = np.zeros(len(span), bool), span[shown]
    own[1:] |= span[shown][:-1]
    own[:-1] |= span[shown][1:]
    out[shown] = own
    return out


def _one_day(times: np.ndarray) -> np.ndarray:
    """Return which dates are within half a day of which, (time, time)."""
    return np.asarray(np.abs(times[:, None] - times) < 0.5)
