"""The solves of the Gaussian process: one elimination for all pixels that see the same.

``fill_whole`` is for pixels that see each number ``v`` or do not, so that a system is a part of a
matrix that all pixels share; ``fill_mixed`` for any other. See `gp.basis` for the equations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.gp.basis import Tables
from xstf.methods.gapfill.gp.linear_solve import combine, eliminate, products, substitute
from xstf.numerics.jit import jit, part


class Series(NamedTuple):
    """The data of a tile."""

    cube: np.ndarray  # (time, band, y, x), NaN where missing
    guide: np.ndarray  # (cell, y, x), over its noise and about its means, 0 where missing
    weight: np.ndarray  # (band,), one over the noise


class Given(NamedTuple):
    """What the mean of the numbers takes from the guide."""

    source: np.ndarray  # (seen,): the guide's cells that are seen
    pull: np.ndarray  # (seen, number)


class Groups(NamedTuple):
    """Pixels in the order of what they see."""

    order: np.ndarray  # (pixel,), flat positions
    starts: np.ndarray  # (group + 1,): where in it each group begins
    cells: np.ndarray  # (group, time, band): what a group sees


class Systems(NamedTuple):
    """Covariances of numbers that are seen or not."""

    there: np.ndarray  # (group, system, number): which are seen
    spreads: np.ndarray  # (system, number, number)
    precisions: np.ndarray  # the same of their inverses, or of length 0
    reach: int  # how many numbers of a date vary together where they are hidden


class Room(NamedTuple):
    """What the solves work in; ``most`` is how many numbers a system has."""

    work: np.ndarray  # (system, most, 2 most)
    moments: np.ndarray  # (width, most)
    covariance: np.ndarray  # (time, width, width)
    deviation: np.ndarray  # (time, band) float32
    values: np.ndarray  # (time, band)
    mean: np.ndarray  # (band,)
    numbers: np.ndarray  # (system, most)
    prior: np.ndarray  # (number,)
    places: np.ndarray  # (system, most)
    size: np.ndarray  # (system,)
    pair: np.ndarray  # (2, most)


class RoomMixed(NamedTuple):
    """The same for rows of which there are ``most`` at most."""

    work: np.ndarray  # (most, 2 most)
    moments: np.ndarray  # (width, most)
    covariance: np.ndarray  # (time, width, width)
    deviation: np.ndarray  # (time, band) float32
    values: np.ndarray  # (time, band)
    mean: np.ndarray  # (band,)
    cross: np.ndarray  # (most, most)
    prior: np.ndarray  # (most,)
    vector: np.ndarray  # (most,)
    every: np.ndarray  # (most,): 0, 1, 2, ...
    hidden: np.ndarray  # (most,)
    when: np.ndarray  # (most,)
    row: np.ndarray  # (most, width)


def room_whole(view: Series, systems: Systems, width: int) -> Room:
    """Return the room of ``fill_whole``."""
    (dates, bands), (parts, most) = view.cube.shape[:2], systems.spreads.shape[:2]
    return Room(
        work=np.empty((parts, most, 2 * most)),
        moments=np.empty((width, most)),
        covariance=np.zeros((dates, width, width)),
        deviation=np.empty((dates, bands), np.float32),
        values=np.empty((dates, bands)),
        mean=np.empty(bands),
        numbers=np.empty((parts, most)),
        prior=np.zeros(parts * most),
        places=np.empty((parts, most), np.int64),
        size=np.empty(parts, np.int64),
        pair=np.empty((2, most)),
    )


def room_mixed(view: Series, most: int, width: int) -> RoomMixed:
    """Return the room of ``fill_mixed``."""
    dates, bands = view.cube.shape[:2]
    return RoomMixed(
        work=np.empty((most, 2 * most)),
        moments=np.empty((width, most)),
        covariance=np.zeros((dates, width, width)),
        deviation=np.empty((dates, bands), np.float32),
        values=np.empty((dates, bands)),
        mean=np.empty(bands),
        cross=np.empty((most, most)),
        prior=np.empty(most),
        vector=np.empty(most),
        every=np.arange(most),
        hidden=np.empty(most, np.int64),
        when=np.empty(most, np.int64),
        row=np.empty((most, width)),
    )


class Results(NamedTuple):
    """Estimates and, if it has a size, deviations, ``(time, band, y, x)`` float32."""

    estimate: np.ndarray
    std: np.ndarray


@jit
def fill_whole(
    view: Series,
    given: Given,
    groups: Groups,
    systems: Systems,
    base: np.ndarray,
    room: Room,
    out: Results,
) -> None:
    """Write estimates and, if wanted, deviations of the pixels of the groups.

    ``base (band, number)`` makes numbers of a date's bands.
    """
    cube, weight, cells = view.cube, view.weight, groups.cells
    there, spreads, precisions = systems.there, systems.spreads, systems.precisions
    dates = cube.shape[0]
    parts, most = spreads.shape[:2]
    width = base.shape[1]
    wanted = out.std.size > 0
    work, moments, covariance, deviation, values, mean, numbers, prior, index, size, pair = room
    for g in range(cells.shape[0]):
        for t in range(dates):
            for r in range(width):
                for s in range(width):
                    covariance[t, r, s] = 0.0
        for p in range(parts):
            size[p] = _start(there[g, p], spreads[p], precisions, p, wanted, index[p], work[p])
            own = size[p] if size[p] >= 0 else ~size[p]
            hidden = own if size[p] < 0 else most - own
            eliminate(work[p], own, hidden if wanted else 0, size[p] < 0)
            if wanted:
                products(work[p], own, hidden, systems.reach, moments)
                _doubt(there[g, p], spreads[p], size[p], systems.reach, moments, p, covariance)
        if wanted:
            _deviate(covariance, cells[g], base, weight, deviation)
        for n in range(groups.starts[g], groups.starts[g + 1]):
            y, x = groups.order[n] // cube.shape[3], groups.order[n] % cube.shape[3]
            _gather(cube, cells[g], y, x, weight, mean, values)
            _expect(view.guide, given, y, x, prior)
            _project(values, base, prior, there[g], numbers)
            for p in range(parts):
                matrix = precisions[p] if size[p] < 0 else spreads[p]
                _complete(numbers[p], matrix, index[p], size[p], work[p], pair)
            step = 1 if parts > 1 else width
            for t in range(dates):
                for r in range(width):
                    fit = numbers[r, t] if parts > 1 else numbers[0, t * step + r]
                    prior[t * width + r] += fit
            _write(prior, mean, base, weight, deviation, y, x, out)


@part
def _start(
    there: np.ndarray,
    spread: np.ndarray,
    precisions: np.ndarray,
    system: int,
    wanted: bool,
    index: np.ndarray,
    work: np.ndarray,
) -> int:
    """Write the shorter system; return its size, all bits turned if by the precision."""
    most = there.size
    seen = 0
    for i in range(most):
        seen += there[i]
    hidden = most - seen
    by_spread = seen * seen * (seen / 6 + (hidden / 2 if wanted else 0.0))
    by_precision = hidden * hidden * hidden / (3.0 if wanted else 6.0)
    precise = len(precisions) > 0 and by_precision < by_spread
    first, last = 0, most  # the unknown of the system from the left, the others from the right
    for i in range(most):
        if there[i] != precise:
            index[first] = i
            first += 1
    size = first
    for i in range(most - 1, -1, -1):
        if there[i] == precise:
            last -= 1
            index[last] = i
    matrix = precisions[system] if precise else spread
    right = hidden if wanted else 0
    for i in range(size):
        row = matrix[index[i]]
        for j in range(i, size):
            work[i, j] = row[index[j]]
        for j in range(right):
            work[i, size + j] = 0.0 if precise else row[index[size + j]]
        if precise and wanted:
            work[i, size + i] = 1.0
    return ~size if precise else size


@part
def _doubt(
    there: np.ndarray,
    spread: np.ndarray,
    size: int,
    reach: int,
    moments: np.ndarray,
    system: int,
    covariance: np.ndarray,
) -> None:
    """Put the covariance of hidden numbers without noise into ``covariance (time, r, s)``."""
    width = covariance.shape[1]
    parts = covariance.shape[0] * width // there.size
    k = 0
    for i in range(there.size):
        if there[i]:
            continue
        t, r = (i, system) if parts > 1 else (i // width, i % width)
        for d in range(min(reach, r + 1)):
            value = moments[d, k]
            if size >= 0:
                value = spread[i, i - d] - value
            if d == 0:
                value -= 1.0
            covariance[t, r, r - d] = value
            covariance[t, r - d, r] = value
        k += 1


@part
def _deviate(
    covariance: np.ndarray,
    cells: np.ndarray,
    base: np.ndarray,
    weight: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the deviation of a new observation where a band is not seen, NaN elsewhere."""
    width = base.shape[1]
    for t in range(out.shape[0]):
        for b in range(out.shape[1]):
            total = 1.0
            for r in range(width):
                for s in range(width):
                    total += base[b, r] * covariance[t, r, s] * base[b, s]
            out[t, b] = np.nan if cells[t, b] else np.sqrt(max(total, 0.0)) / weight[b]


@part
def _gather(
    cube: np.ndarray,
    seen: np.ndarray,
    y: int,
    x: int,
    weight: np.ndarray,
    mean: np.ndarray,
    values: np.ndarray,
) -> None:
    """Put one pixel's values about their means, over the noise, into ``values``; 0 if not seen."""
    dates, bands = values.shape
    for b in range(bands):
        total = 0.0
        number = 0
        for t in range(dates):
            value = np.float64(cube[t, b, y, x])
            values[t, b] = value
            if seen[t, b]:
                total += value
                number += 1
        mean[b] = total / number if number > 0 else np.nan
        for t in range(dates):
            values[t, b] = (values[t, b] - mean[b]) * weight[b] if seen[t, b] else 0.0


@part
def _expect(guide: np.ndarray, given: Given, y: int, x: int, prior: np.ndarray) -> None:
    """Write what the guide makes expect, ``(number,)``."""
    pull = given.pull
    for c in range(prior.size):
        prior[c] = 0.0
    for k in range(pull.shape[0]):
        value = guide[given.source[k], y, x]
        for c in range(prior.size):
            prior[c] += value * pull[k, c]


@part
def _project(
    values: np.ndarray,
    base: np.ndarray,
    prior: np.ndarray,
    there: np.ndarray,
    numbers: np.ndarray,
) -> None:
    """Write the numbers that are seen about what is expected, by system; 0 if not seen."""
    width = base.shape[1]
    parts = numbers.shape[0]
    for t in range(values.shape[0]):
        for r in range(width):
            total = -prior[t * width + r]
            for b in range(values.shape[1]):
                total += values[t, b] * base[b, r]
            p, i = (r, t) if parts > 1 else (0, t * width + r)
            numbers[p, i] = total if there[p, i] else 0.0


@part
def _complete(
    numbers: np.ndarray,
    matrix: np.ndarray,
    index: np.ndarray,
    size: int,
    work: np.ndarray,
    pair: np.ndarray,
) -> None:
    """Replace a system's numbers about what is expected by their fit, at all dates."""
    own = size if size >= 0 else ~size
    vector, total = pair[0], pair[1]
    for i in range(numbers.size):
        vector[i] = numbers[index[i]]
        total[i] = 0.0
    if size < 0:
        combine(matrix, index[own:], vector[own:], total)
        for i in range(own):
            vector[i] = -total[index[i]]
    substitute(work, own, vector)
    combine(matrix, index[:own], vector, total)
    for i in range(own):
        if size < 0:
            numbers[index[i]] = vector[i]
        else:
            total[index[i]] -= vector[i]
    for i in range(numbers.size):  # by the precision the total is the noise, or else the fit
        numbers[i] = numbers[i] - total[i] if size < 0 else total[i]


@part
def _write(
    numbers: np.ndarray,
    mean: np.ndarray,
    base: np.ndarray,
    weight: np.ndarray,
    deviation: np.ndarray,
    y: int,
    x: int,
    out: Results,
) -> None:
    """Write a pixel's bands; none of a band that it never shows."""
    estimate, std = out.estimate, out.std
    width = base.shape[1]
    for t in range(estimate.shape[0]):
        for b in range(estimate.shape[1]):
            total = 0.0
            for r in range(width):
                total += base[b, r] * numbers[t * width + r]
            estimate[t, b, y, x] = mean[b] + total / weight[b]
            if std.size > 0:
                std[t, b, y, x] = np.nan if np.isnan(mean[b]) else deviation[t, b]


@jit
def fill_mixed(
    view: Series,
    given: Given,
    groups: Groups,
    sets: Tables,
    base: np.ndarray,
    spread: np.ndarray,
    room: RoomMixed,
    out: Results,
) -> None:
    """Do as ``fill_whole`` where dates show some of their bands."""
    cube, weight, cells = view.cube, view.weight, groups.cells
    which, count, proj, rows = sets.which, sets.size, sets.proj, sets.rows
    dates, bands = cube.shape[:2]
    width = base.shape[1]
    wanted = out.std.size > 0
    work, moments, covariance, deviation, values, mean = (
        room.work, room.moments, room.covariance, room.deviation, room.values, room.mean,
    )  # fmt: skip
    cross, prior, vector, every, hidden, when, row = (
        room.cross, room.prior, room.vector, room.every, room.hidden, room.when, room.row,
    )  # fmt: skip
    for g in range(cells.shape[0]):
        size = _rows(which[g], sets, spread, when, row, cross)
        right = _hidden(cells[g], width, wanted, hidden)
        _start_mixed(when, row, hidden, size, right, cross, work)
        eliminate(work, size, right, size < 0)
        products(work, size, right, width, moments)
        _doubt_mixed(hidden, right, spread, moments, covariance)
        _deviate(covariance, cells[g], base, weight, deviation)
        for n in range(groups.starts[g], groups.starts[g + 1]):
            y, x = groups.order[n] // cube.shape[3], groups.order[n] % cube.shape[3]
            _gather(cube, cells[g], y, x, weight, mean, values)
            _expect(view.guide, given, y, x, prior)
            i = 0
            for t in range(dates):
                for a in range(count[which[g, t]]):
                    vector[i] = 0.0
                    for b in range(bands):
                        vector[i] += proj[which[g, t], a, b] * values[t, b]
                    for r in range(width):
                        vector[i] -= rows[which[g, t], a, r] * prior[t * width + r]
                    i += 1
            substitute(work, size, vector)
            combine(cross, every[:size], vector, prior)
            _write(prior, mean, base, weight, deviation, y, x, out)


@part
def _rows(
    which: np.ndarray,
    sets: Tables,
    spread: np.ndarray,
    when: np.ndarray,
    row: np.ndarray,
    cross: np.ndarray,
) -> int:
    """Write the seen rows, their dates and covariance with all numbers; return how many."""
    size = 0
    for t in range(which.size):
        for a in range(sets.size[which[t]]):
            when[size] = t
            for i in range(spread.shape[0]):
                cross[size, i] = 0.0
            for r in range(row.shape[1]):
                row[size, r] = sets.rows[which[t], a, r]
                for i in range(spread.shape[0]):
                    cross[size, i] += row[size, r] * spread[t * row.shape[1] + r, i]
                cross[size, t * row.shape[1] + r] -= row[size, r]  # its noise: not in the fit
            size += 1
    return size


@part
def _hidden(cells: np.ndarray, width: int, wanted: bool, hidden: np.ndarray) -> int:
    """List the numbers of dates that lack a band, if wanted; return how many there are."""
    right = 0
    for t in range(cells.shape[0] if wanted else 0):
        seen = 0
        for b in range(cells.shape[1]):
            seen += cells[t, b]
        if seen < cells.shape[1]:
            for r in range(width):
                hidden[right] = t * width + r
                right += 1
    return right


@part
def _start_mixed(
    when: np.ndarray,
    row: np.ndarray,
    hidden: np.ndarray,
    size: int,
    right: int,
    cross: np.ndarray,
    work: np.ndarray,
) -> None:
    """Write the system of the rows that are seen, and beside it what is hidden."""
    width = row.shape[1]
    for i in range(size):
        for j in range(i, size):
            work[i, j] = 1.0 if i == j else 0.0
            for r in range(width):
                work[i, j] += cross[i, when[j] * width + r] * row[j, r]
        for k in range(right):
            work[i, size + k] = cross[i, hidden[k]]


@part
def _doubt_mixed(
    hidden: np.ndarray, right: int, spread: np.ndarray, moments: np.ndarray, covariance: np.ndarray
) -> None:
    """Put the covariance of hidden numbers without noise into ``covariance (time, r, s)``."""
    width = covariance.shape[1]
    for k in range(right):
        t, r = hidden[k] // width, hidden[k] % width
        for d in range(r + 1):
            value = spread[hidden[k], hidden[k] - d] - moments[d, k] - (1.0 if d == 0 else 0.0)
            covariance[t, r, r - d] = value
            covariance[t, r - d, r] = value
