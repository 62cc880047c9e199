"""Loops of `mnspi`: one missing pixel after the other, its bands side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.mnspi.references import find_clear, find_references
from xstf.numerics.jit import jit
from xstf.numerics.similar_pixels import ROUNDING, look_around, weigh

# What made an estimate: nothing, its own dates, pixels of the date, few of them.
NOTHING, IN_TIME, IN_SPACE, FROM_FEW = range(4)


class Surroundings(NamedTuple):
    """Where similar pixels are sought."""

    offsets: np.ndarray  # (place, 2)
    distances: np.ndarray  # (place,)
    outside: float  # the distance of the scene's classes
    similar: int  # how many there should be


class Scene(NamedTuple):
    """What the scene tells of its pixels, of the bands that are ever seen."""

    bands: np.ndarray  # (band,) their numbers
    unit: np.ndarray  # (band,) the contrast
    means: np.ndarray  # (time, class, band)
    factor: np.ndarray  # (2, band) of the spread
    lines: np.ndarray  # (band, 2, 2, knot) of the spread in time


class Filled(NamedTuple):
    """Estimate and spread ``(time, band, y, x)``, and what made them ``(time, y, x)``."""

    estimate: np.ndarray
    spread: np.ndarray
    kind: np.ndarray


@jit
def fill_pixels(
    values: np.ndarray,
    clear: np.ndarray,
    wanted: np.ndarray,
    corner: tuple[int, int],
    times: np.ndarray,
    around: Surroundings,
    scene: Scene,
    out: Filled,
) -> None:
    """Write estimate, spread and kind of the wanted pixels; ``values`` has its bands last."""
    bands, means, unit, similar = scene.bands, scene.means, scene.unit, around.similar
    room = len(around.offsets) + means.shape[1]
    places = np.empty((room, 3), np.int64)
    donors = np.empty((3, len(bands), room))
    distance, unlike, weights = np.empty(room), np.empty(room), np.empty(room)
    least, found = np.empty(similar), np.empty((2, len(bands)))
    for t, row, col in np.ndindex(wanted.shape):
        if not wanted[t, row, col]:
            continue
        y, x = corner[0] + row, corner[1] + col
        count = look_around(clear[t], y, x, around.offsets, places)
        before, after, count = find_references(clear, t, y, x, times, similar, places, count)
        ever = before >= 0 or after >= 0
        if not ever:
            before, after, ever = _stand_in(clear, means, t, y, x)
            count = 0 if ever else count
        _copy(values, t, before, after, places, count, donors)
        for i in range(count):
            distance[i] = around.distances[places[i, 2]]
        total = count
        if before >= 0 or after >= 0:
            total = _join(means, t, before, after, donors, count)
            distance[count:total] = around.outside
        if total > 0:
            _compare(donors, values, before, after, y, x, unit, total, unlike)
            squares = weigh(unlike, distance, total, similar, least, weights)
            _mix(donors, values, before, after, y, x, unit, total, weights, squares, found)
            few = count < similar
            out.kind[t, row, col] = FROM_FEW if few else IN_SPACE
            for b in range(len(bands)):
                found[1, b] *= scene.factor[1 if few else 0, b]
        else:
            before, after = find_clear(clear, np.ones(len(clear), np.bool_), t, y, x)
            if before < 0 and after < 0:
                continue
            _bridge(values, times, t, before, after, y, x, scene.lines, found)
            out.kind[t, row, col] = IN_TIME
        for b in range(len(bands)):
            out.estimate[t, bands[b], row, col] = found[0, b]
            out.spread[t, bands[b], row, col] = found[1, b]


@jit
def _stand_in(
    clear: np.ndarray, means: np.ndarray, t: int, y: int, x: int
) -> tuple[int, int, bool]:
    """Return references for the classes alone, -1 for none, and if the pixel is ever clear."""
    there = np.zeros(len(clear), np.bool_)
    ever = False
    for s in range(len(clear)):
        ever = ever or clear[s, y, x]
        for k in range(means.shape[1]):
            # A class has a mean in all bands or in none.
            if means.shape[2] > 0 and np.isfinite(means[t, k, 0] + means[s, k, 0]):
                there[s] = True
    before, after = find_clear(clear, there, t, y, x)
    return before, after, ever


@jit
def _copy(
    values: np.ndarray,
    t: int,
    before: int,
    after: int,
    places: np.ndarray,
    count: int,
    donors: np.ndarray,
) -> None:
    """Write the donors' values at the date and the references, 0 for one that is not there."""
    for k, date in enumerate((t, before, after)):
        for b in range(values.shape[3]):
            donors[k, b, :count] = 0.0
        if date >= 0:
            for i in range(count):
                pixel = values[date, places[i, 0], places[i, 1]]
                for b in range(values.shape[3]):
                    donors[k, b, i] = pixel[b]


@jit
def _join(
    means: np.ndarray, t: int, before: int, after: int, donors: np.ndarray, count: int
) -> int:
    """Append the classes with a mean at the date and the references; return how many."""
    for c in range(means.shape[1]):
        there = True
        for date in (t, before, after):
            there = there and (date < 0 or np.isfinite(means[date, c, 0]))
        if there:
            for k, date in enumerate((t, before, after)):
                for b in range(means.shape[2]):
                    donors[k, b, count] = means[date, c, b] if date >= 0 else 0.0
            count += 1
    return count


@jit
def _compare(
    donors: np.ndarray,
    values: np.ndarray,
    before: int,
    after: int,
    y: int,
    x: int,
    unit: np.ndarray,
    count: int,
    unlike: np.ndarray,
) -> None:
    """Write R, the mean square of the differences at the references; 0 without any."""
    unlike[:count] = 0.0
    terms = ((before >= 0) + (after >= 0)) * len(unit)
    for k, date in enumerate((before, after)):
        if date >= 0:
            for b in range(len(unit)):
                own, there = np.float64(values[date, y, x, b]), donors[k + 1, b]
                scale = 1 / (unit[b] ** 2 * terms)
                for i in range(count):
                    off = there[i] - own
                    unlike[i] += off * off * scale


@jit
def _mix(
    donors: np.ndarray,
    values: np.ndarray,
    before: int,
    after: int,
    y: int,
    x: int,
    unit: np.ndarray,
    count: int,
    weights: np.ndarray,
    squares: float,
    found: np.ndarray,
) -> None:
    """Write estimate and spread of all bands."""
    for b in range(len(unit)):
        floor = (ROUNDING * unit[b]) ** 2
        now, early, late = donors[0, b], donors[1, b], donors[2, b]
        mean, was, comes = 0.0, 0.0, 0.0
        for i in range(count):
            mean += weights[i] * now[i]
            was += weights[i] * early[i]
            comes += weights[i] * late[i]
        alone, first, last, both, with_early, with_late = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(count):
            weight = weights[i]
            off, off_early, off_late = now[i] - mean, early[i] - was, late[i] - comes
            alone += weight * off * off
            first += weight * off_early * off_early
            last += weight * off_late * off_late
            both += weight * off_early * off_late
            with_early += weight * off * off_early
            with_late += weight * off * off_late
        # One reference that is not there leaves all to the other.
        change_early = alone - 2 * with_early + first + floor
        change_late = alone - 2 * with_late + last + floor
        share = change_late / (change_early + change_late)
        share = share if before >= 0 and after >= 0 else (1.0 if before >= 0 else 0.0)
        rest = 1 - share
        together = share * with_early + rest * with_late
        square = share * share * first + rest * rest * last + 2 * share * rest * both
        left = max(alone - 2 * together + square, 0.0)
        g = (alone + floor) / (alone + left + floor)
        step = 0.0
        if before >= 0:
            step += share * (values[before, y, x, b] - was)
        if after >= 0:
            step += rest * (values[after, y, x, b] - comes)
        variance = max(alone - 2 * g * together + g * g * square, 0.0)
        found[0, b] = mean + g * step
        found[1, b] = np.sqrt(variance * (1 + squares))


@jit
def _bridge(
    values: np.ndarray,
    times: np.ndarray,
    t: int,
    before: int,
    after: int,
    y: int,
    x: int,
    lines: np.ndarray,
    found: np.ndarray,
) -> None:
    """Write the linear interpolation in time, held at the ends, and its spread."""
    since = times[t] - times[before] if before >= 0 else np.inf
    until = times[after] - times[t] if after >= 0 else np.inf
    distance = 1 / (1 / since + 1 / until)
    for b in range(len(lines)):
        if before < 0:
            found[0, b] = values[after, y, x, b]
        elif after < 0:
            found[0, b] = values[before, y, x, b]
        else:
            step = values[after, y, x, b] - values[before, y, x, b]
            found[0, b] = values[before, y, x, b] + step * since / (since + until)
        line = lines[b, 1 if before < 0 or after < 0 else 0]
        variance = line[1, 0]
        for k in range(1, line.shape[1]):
            if np.isfinite(line[0, k]):
                variance += line[1, k] * max(distance - line[0, k], 0.0)
        found[1, b] = np.sqrt(variance)
