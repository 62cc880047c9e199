"""Which dates a missing pixel is compared at: clear there, and at enough pixels of the date.

The pixels that are clear at the date ``t``, places of the pattern of `similar_pixels`, are the
donors. A reference is a date before or after at which the pixel itself is clear: the nearest one at
which ``similar`` donors are clear too, or, if none of the ``CANDIDATES`` nearest has so many, the
one with the most. The side that has more donors (as far as they are needed), or else the nearer
one, comes first; donors that are not clear there are dropped, and the other side's reference is
sought among the rest; there is one only if it costs no donors that are needed.

If no date has both the pixel and a donor, the scene's classes stand in: on each side, the nearest
date at which the pixel is clear and a class has a mean that has one at ``t`` too.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.jit import part

# Dates that are tried as a reference to each side; on real masks more find nothing better.
CANDIDATES = 5


def references(
    own: np.ndarray, there: np.ndarray, t: int, times: np.ndarray, similar: int
) -> tuple[list[int], np.ndarray]:
    """Return up to two reference dates, the earlier one first, and which donors are clear at all.

    Parameters
    ----------
    own
        Whether the pixel is clear, ``(time,)``.
    there
        Whether the donors are, ``(time, donor)``.
    t
        The date to be filled.
    times
        Days, ascending.
    similar
        How many donors are needed.
    """
    keep = np.ones(there.shape[1], bool)
    sides = _sides(own, t)
    first = [_nearest(side, there, keep, similar) for side in sides]
    key = [
        (-min(count, similar), abs(times[date] - times[t]), k)
        for k, (date, count) in enumerate(first)
    ]
    found: list[int] = []
    for _, _, k in sorted(key):
        date, count = _nearest(sides[k], there, keep, similar)
        needed = min(similar, int(keep.sum())) if found else 1
        if count >= max(needed, 1):
            keep &= there[date]
            found.append(date)
    return sorted(found), keep


def _sides(own: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel's clear dates before and after, the nearest first."""
    dates = np.flatnonzero(own)
    return dates[dates < t][::-1], dates[dates > t]


def _nearest(
    side: np.ndarray, there: np.ndarray, keep: np.ndarray, similar: int
) -> tuple[int, int]:
    """Return a side's best date and how many donors it has, (0, 0) if it has none."""
    best = (0, 0)
    for date in side[:CANDIDATES]:
        count = int((there[date] & keep).sum())
        if count >= similar:
            return int(date), count
        if count > best[1]:
            best = (int(date), count)
    return best


def nearest_clear(own: np.ndarray, usable: np.ndarray, t: int) -> list[int]:
    """Return the nearest usable dates before and after at which the pixel is clear."""
    return sorted(int(side[usable[side]][0]) for side in _sides(own, t) if usable[side].any())


@part
def find_references(
    clear: np.ndarray,
    t: int,
    y: int,
    x: int,
    times: np.ndarray,
    similar: int,
    places: np.ndarray,
    count: int,
    best: np.ndarray,
) -> int:
    """Write both references to ``best (2,)``, -1 for none; return how many donors remain.

    ``places`` are the donors' rows and columns ``(donor, 2)``, of which it drops those that are not
    clear at the references, and their numbers in the pattern, the third column.
    """
    before, after = 0, 0
    for side in range(2):
        best[side], many = _search(clear, t, y, x, 2 * side - 1, similar, places, count)
        before, after = after, many
    if before == 0 and after == 0:
        best[0], best[1] = -1, -1
        return count
    lead = min(before, similar) - min(after, similar)
    forward = lead < 0
    if lead == 0 and before > 0:
        forward = times[best[1]] - times[t] < times[t] - times[best[0]]
    ahead = 1 if forward else 0
    count = _drop(clear, best[ahead], places, count)
    other = 1 - ahead
    best[other], many = _search(clear, t, y, x, 2 * other - 1, similar, places, count)
    if many >= max(min(similar, count), 1):
        return _drop(clear, best[other], places, count)
    best[other] = -1
    return count


@part
def _search(
    clear: np.ndarray,
    t: int,
    y: int,
    x: int,
    step: int,
    similar: int,
    places: np.ndarray,
    count: int,
) -> tuple[int, int]:
    """Return a side's best date and how many donors it has."""
    best, most, tried = -1, 0, 0
    date = t + step
    while 0 <= date < clear.shape[0] and tried < CANDIDATES:
        if clear[date, y, x]:
            tried += 1
            many = 0
            for i in range(count):
                many += clear[date, places[i, 0], places[i, 1]]
            if many >= similar:
                return date, many
            if many > most:
                best, most = date, many
        date += step
    return best, most


@part
def _drop(clear: np.ndarray, date: int, places: np.ndarray, count: int) -> int:
    """Keep the donors that are clear at a date, in order; return how many."""
    kept = 0
    for i in range(count):
        if clear[date, places[i, 0], places[i, 1]]:
            for k in range(3):
                places[kept, k] = places[i, k]
            kept += 1
    return kept


@part
def find_clear(clear: np.ndarray, usable: np.ndarray, t: int, y: int, x: int) -> tuple[int, int]:
    """Return the nearest usable dates at which the pixel is clear, -1 for none."""
    before = t - 1
    while before >= 0 and not (clear[before, y, x] and usable[before]):
        before -= 1
    after = t + 1
    while after < clear.shape[0] and not (clear[after, y, x] and usable[after]):
        after += 1
    return before, after if after < clear.shape[0] else -1
