"""Loops of `mnspi`: one missing pixel after the other, its bands side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.mnspi.references import find_clear, find_references
from xstf.numerics.jit import jit, part
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


class Room(NamedTuple):
    """What is written of one pixel; ``near`` are all donors that there can be."""

    places: np.ndarray  # (near, 3)
    donors: np.ndarray  # (3, band, near)
    near: np.ndarray  # (3, near): distance, unlikeness, weight
    least: np.ndarray  # (similar,)
    found: np.ndarray  # (2, band)
    usable: np.ndarray  # (time,)
    refs: np.ndarray  # (3,): the date, the references


def room_of(dates: int, around: Surroundings, scene: Scene) -> Room:
    """Return the room of `fill_pixels`."""
    count, near = scene.bands.size, around.distances.size + scene.means.shape[1]
    return Room(
        np.empty((near, 3), np.int64),
        np.empty((3, count, near)),
        np.empty((3, near)),
        np.empty(around.similar),
        np.empty((2, count)),
        np.empty(dates, np.bool_),
        np.empty(3, np.int64),
    )


@jit
def fill_pixels(
    values: np.ndarray,
    clear: np.ndarray,
    wanted: np.ndarray,
    corner: tuple[int, int],
    times: np.ndarray,
    around: Surroundings,
    scene: Scene,
    room: Room,
    out: Filled,
) -> None:
    """Write estimate, spread and kind of the wanted pixels; ``values`` has its bands last."""
    bands, means, unit, similar = scene.bands, scene.means, scene.unit, around.similar
    dates, height, width = wanted.shape
    count = bands.size
    places, donors, _, least, found, usable, refs = room
    distance, unlike, weights = room.near[0], room.near[1], room.near[2]
    for t in range(dates):
        refs[0] = t
        for row in range(height):
            for col in range(width):
                if not wanted[t, row, col]:
                    continue
                y, x = corner[0] + row, corner[1] + col
                near = look_around(clear[t], y, x, around.offsets, places)
                near = find_references(clear, t, y, x, times, similar, places, near, refs[1:])
                if refs[1] < 0 and refs[2] < 0:
                    ever = _class_dates(clear, means, t, y, x, usable)
                    near = 0 if ever else near
                    refs[1], refs[2] = find_clear(clear, usable, t, y, x)
                _copy(values, refs, places, near, donors)
                for i in range(near):
                    distance[i] = around.distances[places[i, 2]]
                total = near
                if refs[1] >= 0 or refs[2] >= 0:
                    total = _join(means, refs, donors, near)
                for i in range(near, total):
                    distance[i] = around.outside
                if total > 0:
                    _compare(donors, values, refs, y, x, unit, total, unlike)
                    squares = weigh(unlike, distance, total, similar, least, weights)
                    _mix(donors, values, refs, y, x, unit, total, weights, squares, found)
                    few = near < similar
                    out.kind[t, row, col] = FROM_FEW if few else IN_SPACE
                    for b in range(count):
                        found[1, b] *= scene.factor[1 if few else 0, b]
                else:
                    for s in range(dates):
                        usable[s] = True
                    refs[1], refs[2] = find_clear(clear, usable, t, y, x)
                    if refs[1] < 0 and refs[2] < 0:
                        continue
                    _bridge(values, times, refs, y, x, scene.lines, found)
                    out.kind[t, row, col] = IN_TIME
                for b in range(count):
                    out.estimate[t, bands[b], row, col] = found[0, b]
                    out.spread[t, bands[b], row, col] = found[1, b]


@part
def _class_dates(
    clear: np.ndarray, means: np.ndarray, t: int, y: int, x: int, usable: np.ndarray
) -> bool:
    """Write at which dates a class has a mean as at ``t``; return if the pixel is ever clear."""
    ever = False
    for s in range(clear.shape[0]):
        usable[s] = False
        ever = ever or clear[s, y, x]
        for k in range(means.shape[1]):
            # A class has a mean in all bands or in none.
            if means.shape[2] > 0 and np.isfinite(means[t, k, 0] + means[s, k, 0]):
                usable[s] = True
    return ever


@part
def _copy(
    values: np.ndarray, refs: np.ndarray, places: np.ndarray, count: int, donors: np.ndarray
) -> None:
    """Write the donors' values at the date and the references, 0 for one that is not there."""
    for k in range(3):
        for i in range(count):
            for b in range(values.shape[3]):
                there = refs[k] >= 0
                donors[k, b, i] = (
                    values[refs[k], places[i, 0], places[i, 1], b] if there else np.float32(0)
                )


@part
def _join(means: np.ndarray, refs: np.ndarray, donors: np.ndarray, count: int) -> int:
    """Append the classes with a mean at the date and the references; return how many."""
    for c in range(means.shape[1]):
        there = True
        for k in range(3):
            there = there and (refs[k] < 0 or np.isfinite(means[refs[k], c, 0]))
        if there:
            for k in range(3):
                for b in range(means.shape[2]):
                    value = means[refs[k], c, b] if refs[k] >= 0 else np.float32(0)
                    donors[k, b, count] = value
            count += 1
    return count


@part
def _compare(
    donors: np.ndarray,
    values: np.ndarray,
    refs: np.ndarray,
    y: int,
    x: int,
    unit: np.ndarray,
    count: int,
    unlike: np.ndarray,
) -> None:
    """Write R, the mean square of the differences at the references; 0 without any."""
    for i in range(count):
        unlike[i] = 0.0
    terms = ((refs[1] >= 0) + (refs[2] >= 0)) * unit.size
    for k in range(1, 3):
        if refs[k] >= 0:
            for b in range(unit.size):
                own = np.float64(values[refs[k], y, x, b])
                scale = 1 / (unit[b] ** 2 * terms)
                for i in range(count):
                    off = donors[k, b, i] - own
                    unlike[i] += off * off * scale


@part
def _mix(
    donors: np.ndarray,
    values: np.ndarray,
    refs: np.ndarray,
    y: int,
    x: int,
    unit: np.ndarray,
    count: int,
    weights: np.ndarray,
    squares: float,
    found: np.ndarray,
) -> None:
    """Write estimate and spread of all bands."""
    before, after = refs[1], refs[2]
    for b in range(unit.size):
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


@part
def _bridge(
    values: np.ndarray,
    times: np.ndarray,
    refs: np.ndarray,
    y: int,
    x: int,
    lines: np.ndarray,
    found: np.ndarray,
) -> None:
    """Write the linear interpolation in time, held at the ends, and its spread."""
    t, before, after = refs[0], refs[1], refs[2]
    since = times[t] - times[before] if before >= 0 else np.inf
    until = times[after] - times[t] if after >= 0 else np.inf
    distance = 1 / (1 / since + 1 / until)
    for b in range(lines.shape[0]):
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
