"""The compiled loops of `pixels`: row by row, with the long loops along x."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.jit import jit, part

# How many innovations the drift of the scene counts for beside a pixel's own.
PULL = 2.0


class Room(NamedTuple):
    """What is written of one row."""

    data: np.ndarray  # (date, x)
    seen: np.ndarray  # (date, x) bool
    blank: np.ndarray  # (x,) bool: nothing is seen
    solved: np.ndarray  # (date, x)
    level: np.ndarray  # (date, x)
    work: np.ndarray  # (date, x)
    kept: np.ndarray  # (2 date, x) float32
    line: np.ndarray  # (x,) float32; contiguous, so that the loops are vectorised
    own: np.ndarray  # (x,): a pixel's drift
    factor: np.ndarray  # (date, date)
    place: np.ndarray  # (date,) int64


def room_of(count: int, width: int) -> Room:
    """Return the room for so many dates and columns."""
    return Room(
        data=np.empty((count, width)),
        seen=np.empty((count, width), np.bool_),
        blank=np.empty(width, np.bool_),
        solved=np.zeros((count, width)),
        level=np.empty((count, width)),
        work=np.empty((count, width)),
        kept=np.empty((2 * count, width), np.float32),
        line=np.empty(width, np.float32),
        own=np.empty(width),
        factor=np.empty((count, count)),
        place=np.empty(count, np.int64),
    )


@jit
def add_rows(
    out: np.ndarray, std: np.ndarray, difference: np.ndarray, own: np.ndarray, ahead: np.ndarray,
    gaps: np.ndarray, before: np.ndarray, share: np.ndarray, lead: np.ndarray, lag: np.ndarray,
    numbers: np.ndarray, room: Room,
) -> None:  # fmt: skip
    """Go row by row: the loops over x are the long ones, and are vectorised."""
    count, height, width = difference.shape
    noise, ridge = numbers[0], numbers[1]
    data, seen, blank, solved, level, work, kept, line, drift, factor, place = room
    for y in range(height):
        for x in range(width):
            blank[x] = True
        for k in range(count):
            for x in range(width):
                value = difference[k, y, x]
                seen[k, x] = not np.isnan(value)
                blank[x] = blank[x] and not seen[k, x]
                data[k, x] = value if seen[k, x] else 0.0
        if ridge > 0:
            _regress(data, seen, own, ridge, solved, factor, place)
            for k in range(count):
                for x in range(width):
                    level[k, x] = ridge * solved[k, x]
        else:
            for k in range(count):
                for x in range(width):
                    level[k, x] = data[k, x]
        _smooth(level, seen, blank, gaps, noise, work)
        for k in range(count):
            for x in range(width):
                kept[k, x] = level[k, x]
                kept[count + k, x] = solved[k, x]
        for t in range(len(before)):
            k, between = before[t], share[t]
            after = min(k + 1, count - 1)
            _mix(line, kept[k], kept[after], between)
            if ridge > 0:
                _add_products(line, kept[count:], ahead[t])
            there = out[t, y]
            for x in range(width):
                there[x] += line[x]
        if len(std):
            # What is seen from before and after is written over the level, which is done with.
            _spread(std, y, data, seen, gaps, before, lead, lag, numbers, level, work, drift)


@part
def _mix(line: np.ndarray, one: np.ndarray, other: np.ndarray, share: float) -> None:
    """Write what is between two rows into a row."""
    first, second = np.float32(1.0 - share), np.float32(share)
    for x in range(len(line)):
        line[x] = first * one[x] + second * other[x]


@part
def _add_products(line: np.ndarray, rows: np.ndarray, factors: np.ndarray) -> None:
    """Add rows times factors to a row, four at a time: it is read and written less often."""
    count = len(factors)
    for k in range(0, count - count % 4, 4):
        a, b, c, d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        fa, fb, fc, fd = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        for x in range(len(line)):
            line[x] += (fa * a[x] + fb * b[x]) + (fc * c[x] + fd * d[x])
    for k in range(count - count % 4, count):
        row, factor = rows[k], factors[k]
        for x in range(len(line)):
            line[x] += factor * row[x]


@part
def _regress(
    data: np.ndarray, seen: np.ndarray, own: np.ndarray, ridge: float, solved: np.ndarray,
    factor: np.ndarray, place: np.ndarray,
) -> None:  # fmt: skip
    """Write (own + ridge)^-1 data over each pixel's dates, 0 at the others.

    Neighbours mostly miss the same dates: a run of such pixels shares its factor.
    """
    count, width = data.shape
    for k in range(count):
        for x in range(width):
            solved[k, x] = 0.0
    start = 0
    while start < width:
        stop = start + 1
        while stop < width and _same(seen, start, stop):
            stop += 1
        some = 0
        for k in range(count):
            if seen[k, start]:
                place[some] = k
                some += 1
        _factorise(factor, own, place[:some], ridge)
        _substitute(factor, data, place[:some], solved, start, stop)
        start = stop


@part
def _same(seen: np.ndarray, one: int, other: int) -> bool:
    """Return whether two pixels miss the same dates."""
    same = True
    for k in range(len(seen)):
        same = same and seen[k, one] == seen[k, other]
    return same


@part
def _factorise(factor: np.ndarray, own: np.ndarray, place: np.ndarray, ridge: float) -> None:
    """Write Cholesky's factor of a part of (own + ridge), with the inverse on its diagonal."""
    for i in range(len(place)):
        for j in range(i + 1):
            total = own[place[i], place[j]]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                factor[i, i] = 1.0 / np.sqrt(total + ridge)
            else:
                factor[i, j] = total * factor[j, j]


@part
def _substitute(
    factor: np.ndarray, data: np.ndarray, place: np.ndarray, solved: np.ndarray, start: int,
    stop: int,
) -> None:  # fmt: skip
    """Write the solution for a run of pixels: row operations, long along x."""
    count = len(place)
    for i in range(count):
        row, own = solved[place[i]][start:stop], data[place[i]][start:stop]
        for x in range(len(row)):
            row[x] = own[x]
        for k in range(i):
            _take(row, solved[place[k]][start:stop], factor[i, k])
        for x in range(len(row)):
            row[x] *= factor[i, i]
    for i in range(count - 1, -1, -1):
        row = solved[place[i]][start:stop]
        for k in range(i + 1, count):
            _take(row, solved[place[k]][start:stop], factor[k, i])
        for x in range(len(row)):
            row[x] *= factor[i, i]


@part
def _take(row: np.ndarray, other: np.ndarray, share: float) -> None:
    """Take a share of another row from a row."""
    for x in range(len(row)):
        row[x] -= share * other[x]


@part
def _smooth(
    level: np.ndarray, seen: np.ndarray, blank: np.ndarray, gaps: np.ndarray, noise: float,
    work: np.ndarray,
) -> None:  # fmt: skip
    """Put the local level in place of data; NaN for a pixel without any."""
    count, width = level.shape
    inverse = 1.0 / noise
    for x in range(width):
        work[0, x] = 0.0
    for k in range(count):
        behind = 1.0 / gaps[k - 1] if k > 0 else 0.0
        onward = 1.0 / gaps[k] if k < count - 1 else 0.0
        before = max(k - 1, 0)
        row, last, slope, last_slope = level[k], level[before], work[k], work[before]
        there = seen[k]
        for x in range(width):
            weight = inverse if there[x] or k == 0 and blank[x] else 0.0
            share = 1.0 / (weight + behind + onward - behind * last_slope[x])
            row[x] = (row[x] * weight + behind * last[x]) * share
            slope[x] = onward * share
    for x in range(width):
        if blank[x]:
            level[count - 1, x] = np.nan
    for k in range(count - 2, -1, -1):
        row, after, slope = level[k], level[k + 1], work[k]
        for x in range(width):
            row[x] += slope[x] * after[x]


@part
def _spread(
    std: np.ndarray, y: int, data: np.ndarray, seen: np.ndarray, gaps: np.ndarray,
    before: np.ndarray, lead: np.ndarray, lag: np.ndarray, numbers: np.ndarray, past: np.ndarray,
    future: np.ndarray, own: np.ndarray,
) -> None:  # fmt: skip
    """Write the standard deviation of a row: the filters from both sides meet at each date."""
    noise, drift, power, usual = numbers[0], numbers[2], numbers[3], numbers[4]
    count, width = data.shape
    for x in range(width):
        total, some, mean, variance = PULL * drift, 0, 0.0, np.inf
        for k in range(count):
            if k > 0:
                variance += gaps[k - 1]
            if seen[k, x]:
                if some > 0:
                    new = data[k, x] - mean
                    total += new * new / (variance + noise)
                    gain = variance / (variance + noise)
                    mean += gain * new
                    variance = gain * noise
                else:
                    mean, variance = data[k, x], noise
                some += 1
            past[k, x] = variance
        own[x] = total / (PULL + some - 1) if some else np.nan
        variance = np.inf
        for k in range(count - 1, -1, -1):
            if k < count - 1:
                variance += gaps[k]
            if seen[k, x]:
                variance = 1.0 / (1.0 / variance + 1.0 / noise)
            future[k, x] = variance
    for t in range(len(before)):
        k = before[t]
        after = min(k + 1, count - 1)
        first = after if np.isinf(lag[t]) else k
        last = k if np.isinf(lead[t]) else after
        for x in range(width):
            if np.isnan(own[x]):
                std[t, y, x] = np.nan
                continue
            known = 1.0 / (past[first, x] + lead[t]) + 1.0 / (future[last, x] + lag[t])
            grown = (1.0 / known + noise) / usual
            if power != 1.0:
                grown = grown**power
            std[t, y, x] = np.sqrt(grown * usual * own[x])
