"""Hidden pixels that methods are compared on: the gaps of a scene, laid over what it shows.

A gap has a shape in space and a length in time, and a method that is best for one is not for
another. So the shapes are the scene's own, turned round within their window or taken from the next,
and with their dates: what is hidden at a pixel is what is missing at its counterpart.

Dates of which nothing is clear have no counterpart to hide. For these, whole dates are hidden: as
many in a row, in days, as the scene misses.
"""

from __future__ import annotations

import numpy as np

# A date of which less is clear is lost.
LOST = 1e-3
# Of the dates, at most so many are hidden whole at a time.
MOST_DATES = 1 / 3


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
        if len(near) > 1:
            hidden[:, date] = turned[:, near].any(axis=1) & ~gaps[:, date]
    return hidden


def hidden_dates(samples: np.ndarray, times: np.ndarray, rounds: int) -> list[np.ndarray]:
    """Return spans of dates to hide whole: a number (time,) for each round, 0 for what is shown.

    Parameters
    ----------
    samples : ndarray (window, time, band, y, x)
    times : ndarray (time,)
        Days, ascending.
    rounds : int
        Each hides other dates; there are none where no date is lost.
    """
    clear = 1 - missing_pixels(samples).mean(axis=(0, 2, 3))
    lost = clear < LOST
    lengths = _lengths(lost, times)
    good = np.zeros(len(times), bool)
    if not lost.all():
        good = ~lost & (clear >= np.median(clear[~lost]))
    inner = [int(t) for t in np.flatnonzero(good) if 0 < t < len(times) - 1]
    out = []
    for turn in range(rounds if lengths and inner else 0):
        span = np.zeros(len(times), int)
        for number, centre in enumerate(inner[turn::rounds]):
            half = lengths[number % len(lengths)] / 2
            near = (np.abs(times - times[centre]) < half) & ~lost
            near = np.array([near[beside].any() for beside in _one_day(times)]) & ~lost
            near[[0, -1]] = False
            beside = np.convolve(near, [1, 1, 1], "same") > 0
            hidden = (span > 0) | near
            few = hidden.mean() <= MOST_DATES or number == 0
            # Something must stay to fill from.
            if near.any() and not span[beside].any() and few and not (hidden | lost).all():
                span[near] = number + 1
        out.append(span)
    return out


def _one_day(times: np.ndarray) -> list[np.ndarray]:
    """Return for each date those within half a day of it, itself among them."""
    return [np.flatnonzero(np.abs(times - time) < 0.5) for time in times]


def _lengths(lost: np.ndarray, times: np.ndarray) -> list[float]:
    """Return the days from the date before to the date after each run of lost dates."""
    found = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(int), [0]])))
    for start, stop in edges.reshape(-1, 2):
        before, after = max(start - 1, 0), min(stop, len(times) - 1)
        found.append(float(times[after] - times[before]))
    return sorted(found)


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
