"""Hidden pixels that methods are compared on: the gaps of a scene, laid over what it shows.

A gap has a shape in space and a length in time, and a method that is best for one is not for
another. So the shapes are the scene's own, turned round within their window or taken from the next,
and with their dates: what is hidden at a pixel is what is missing at its counterpart.

Dates of which nothing is clear have no counterpart to hide. For these, whole dates are hidden: as
many in a row, in days, as the scene misses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

# A date of which less is clear is lost.
LOST = 1e-3
# Of the dates that show something, at most so many are hidden whole at a time.
MOST_DATES = 1 / 3
# Kinds of lost dates, by the days to either side, that are looked for at most.
KINDS = 24
# So many spans are enough: no further round hides other ones.
ENOUGH = 12
# Dates are hidden that show at least this share of what dates show in the middle.
SHOWS = 0.5
# Steps of it go round evenly, however many there are.
GOLDEN = 0.6180339887


def hidden_gaps(samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return what to hide (window, time, y, x), all of it clear in all bands that are seen.

    Parameters
    ----------
    samples : ndarray (window, time, band, y, x)
    times : ndarray (time,)
        Days, ascending. What is hidden on a date is hidden on all within half a day of it, which
        show the same.
    """
    gaps = missing_pixels(samples)
    turned = gaps[..., ::-1, ::-1] if len(gaps) == 1 else np.roll(gaps, 1, axis=0)
    hidden: np.ndarray = turned & ~gaps
    for date, near in enumerate(_one_day(times)):
        if near.sum() > 1:
            hidden[:, date] = turned[:, near].any(axis=1) & ~gaps[:, date]
    return hidden


def hidden_dates(samples: np.ndarray, times: np.ndarray, rounds: int) -> list[np.ndarray]:
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


def days_to_nearest(samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the days from each date to the nearest one that is clear, (window, time, y, x).

    Negative before a pixel's first and after its last clear date; NaN where it has none.
    """
    seen = ~missing_pixels(samples)
    days = times[:, None, None]
    since = days - np.maximum.accumulate(np.where(seen, days, -np.inf), axis=1)
    ahead = np.where(seen, days, np.inf)[:, ::-1]
    until = np.minimum.accumulate(ahead, axis=1)[:, ::-1] - days
    nearest = np.minimum(since, until)
    beyond = np.isinf(since) | np.isinf(until)
    nearest[np.isinf(nearest)] = np.nan
    signed: np.ndarray = np.where(beyond, -nearest, nearest).astype(np.float32)
    return signed


def missing_pixels(samples: np.ndarray) -> np.ndarray:
    """Return where a pixel misses a band that its window has at all (window, time, y, x)."""
    gone = np.isnan(samples)
    used = ~gone.all(axis=(1, 3, 4), keepdims=True)
    missing: np.ndarray = (gone & used).any(axis=2) | gone.all(axis=2)
    return missing


def without(samples: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return a copy of the samples in which the hidden pixels are missing."""
    holed = samples.copy()
    holed[np.broadcast_to(hidden[:, :, None], holed.shape)] = np.nan
    return holed
