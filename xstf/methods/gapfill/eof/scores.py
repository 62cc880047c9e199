"""Pixels' scores on the scene's modes: the loops behind ``eof``.

A row is worked on in blocks of pixels, ``x`` innermost. A date with all usable bands is whitened by
the root of its noise, once for all pixels; a date with some is whitened where it is met.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.eof.modes import FREEDOM, PASSES
from xstf.methods.gapfill.eof.partial import Partial, add, complete, distance, within
from xstf.methods.gapfill.eof.scene import Scene
from xstf.numerics.jit import jit, part

# Pixels of a row that are worked on together.
BLOCK = 64
# Equal observations that make a pixel constant.
FEWEST = 3
# How many of a date's usable bands a pixel has; a date without usable bands has none.
NONE, SOME, ALL = 0, 1, 2


class Block(NamedTuple):
    """Pixels of a row that are worked on together."""

    away: np.ndarray  # (time, band, pixel): residuals from the mean
    left: np.ndarray  # (time, band, pixel): whitened, of dates that are seen in full
    there: np.ndarray  # (pixel, time, band): what is seen
    seen: np.ndarray  # (pixel, time): NONE, SOME or ALL of the usable bands
    weight: np.ndarray  # (time, pixel): Student's
    pull: np.ndarray  # (mode, pixel): the scores, once solved
    root: np.ndarray  # (pixel, mode, mode): Cholesky's, of the scores' precision
    rows: np.ndarray  # (2, pixel): room
    sums: np.ndarray  # (entry of `Scene.by_date`,): room
    inverse: np.ndarray  # (mode, mode): room
    line: np.ndarray  # (2, time x band): room


def room(scene: Scene) -> tuple[Block, Partial]:
    """Return the arrays of a block, and of a date of which some bands are seen."""
    dates, bands, rank = scene.modes.shape
    block = Block(
        away=np.empty((dates, bands, BLOCK)),
        left=np.empty((dates, bands, BLOCK)),
        there=np.empty((BLOCK, dates, bands), bool),
        seen=np.empty((BLOCK, dates), np.int8),
        weight=np.empty((dates, BLOCK)),
        pull=np.empty((rank, BLOCK)),
        root=np.empty((BLOCK, rank, rank)),
        rows=np.empty((2, BLOCK)),
        sums=np.empty(scene.by_date.shape[1]),
        inverse=np.empty((rank, rank)),
        line=np.empty((2, dates * bands)),
    )
    partial = Partial(
        np.empty((bands, bands)), np.empty((bands, rank)), np.empty(bands), np.empty(bands),
        np.empty(rank),
    )  # fmt: skip
    return block, partial


@jit
def fill_whole(
    cube: np.ndarray, scene: Scene, block: Block, estimate: np.ndarray, spread: np.ndarray
) -> None:
    """Write estimates and, where spread has a size, standard deviations.

    It is for cubes whose pixels have all usable bands of a date or none: most are masked so.
    """
    _, _, height, width = cube.shape
    for y in range(height):
        for x in range(0, width, BLOCK):
            count = min(BLOCK, width - x)
            _read(cube, y, x, count, scene, block)
            for again in range(PASSES + 1):
                _project(scene.white, count, block)
                for i in range(count):
                    _factor(i, scene.by_date, block)
                    _solve(i, block)
                if again < PASSES:
                    _reweigh(scene, count, block)
            _write(scene.mean, scene.modes, y, x, count, block, estimate)
            for i in range(count if spread.size > 0 else 0):
                _doubt(scene, i, y, x, block, spread)
            _blank(cube, scene.mean, y, x, count, estimate, spread)
            _constants(cube, y, x, count, estimate)


@jit
def fill_mixed(
    cube: np.ndarray,
    scene: Scene,
    block: Block,
    partial: Partial,
    estimate: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Do as `fill_whole`, which is compiled apart, where dates show some of their bands."""
    away, there, seen, weight = block.away, block.there, block.seen, block.weight
    pull, root = block.pull, block.root
    dates, _, height, width = cube.shape
    for y in range(height):
        for x in range(0, width, BLOCK):
            count = min(BLOCK, width - x)
            _read(cube, y, x, count, scene, block)
            for again in range(PASSES + 1):
                _project(scene.white, count, block)
                for i in range(count):
                    _factor(i, scene.by_date, block)
                    for t in range(dates):
                        if seen[i, t] == SOME:
                            n = within(scene, t, there, away, i, partial)
                            add(partial, n, weight[t, i], root, pull, i)
                    _solve(i, block)
                if again < PASSES:
                    _reweigh(scene, count, block)
                    for i in range(count):
                        for t in range(dates):
                            if seen[i, t] == SOME:
                                n = within(scene, t, there, away, i, partial)
                                far = distance(partial, n, pull, i)
                                weight[t, i] = (FREEDOM + n) / (FREEDOM + far)
            _write(scene.mean, scene.modes, y, x, count, block, estimate)
            for i in range(count):
                if spread.size > 0:
                    _doubt(scene, i, y, x, block, spread)
                for t in range(dates):
                    if seen[i, t] == SOME:
                        n = within(scene, t, there, away, i, partial)
                        complete(
                            scene, t, there, partial, n, root, pull, i, y, x + i, estimate, spread
                        )
            _blank(cube, scene.mean, y, x, count, estimate, spread)
            _constants(cube, y, x, count, estimate)


@part
def _read(cube: np.ndarray, y: int, x: int, count: int, scene: Scene, block: Block) -> None:
    """Read residuals from the mean, raw and, at dates that are seen in full, whitened."""
    mean, usable, inverse = scene.mean, scene.usable, scene.inverse
    away, left, there, seen = block.away, block.left, block.there, block.seen
    dates, bands = mean.shape
    for t in range(dates):
        wanted = 0
        for b in range(bands):
            wanted += usable[t, b]
        for i in range(count):
            number = 0
            for b in range(bands):
                value = np.float64(cube[t, b, y, x + i]) - mean[t, b]
                here = usable[t, b] and value == value
                there[i, t, b] = here
                away[t, b, i] = value if here else 0.0
                number += here
            seen[i, t] = NONE if number == 0 else (ALL if number == wanted else SOME)
            block.weight[t, i] = 1.0
        for b in range(bands):
            for i in range(count):
                left[t, b, i] = 0.0
            for c in range(b + 1):
                factor = inverse[t, b, c]
                for i in range(count):
                    left[t, b, i] += factor * away[t, c, i]
            for i in range(count):
                if seen[i, t] != ALL:
                    left[t, b, i] = 0.0


@part
def _project(white: np.ndarray, count: int, block: Block) -> None:
    """Write the pull of the dates that are seen in full on the scores."""
    left, weight, pull, rows = block.left, block.weight, block.pull, block.rows
    dates, bands, rank = white.shape
    for j in range(rank):
        for i in range(count):
            pull[j, i] = 0.0
    for t in range(dates):
        for b in range(bands):
            for i in range(count):
                rows[0, i] = weight[t, i] * left[t, b, i]
            for j in range(rank):
                mode = white[t, b, j]
                for i in range(count):
                    pull[j, i] += mode * rows[0, i]


@part
def _reweigh(scene: Scene, count: int, block: Block) -> None:
    """Write the Student weights of the dates that are seen in full."""
    usable, white = scene.usable, scene.white
    left, scores, rows = block.left, block.pull, block.rows
    dates, bands, rank = white.shape
    for t in range(dates):
        for i in range(count):
            rows[1, i] = 0.0
        size = FREEDOM
        for b in range(bands):
            size += usable[t, b]
            for i in range(count):
                rows[0, i] = left[t, b, i]
            for j in range(rank):
                mode = white[t, b, j]
                for i in range(count):
                    rows[0, i] -= mode * scores[j, i]
            for i in range(count):
                rows[1, i] += rows[0, i] * rows[0, i]
        for i in range(count):
            block.weight[t, i] = size / (FREEDOM + rows[1, i])


@part
def _factor(i: int, by_date: np.ndarray, block: Block) -> None:
    """Put the scores' precision, of dates that are seen in full, into root's lower triangle."""
    seen, weight, root = block.seen, block.weight, block.root
    total = block.sums
    for k in range(total.size):
        total[k] = 0.0
    for t in range(by_date.shape[0]):
        if seen[i, t] == ALL:
            factor = weight[t, i]
            for k in range(total.size):
                total[k] += factor * by_date[t, k]
    at = 0
    for row in range(root.shape[1]):
        for column in range(row + 1):
            root[i, row, column] = total[at] + (1.0 if row == column else 0.0)
            at += 1


@part
def _solve(i: int, block: Block) -> None:
    """Turn a pixel's precision into its root and the pull into the scores, in place."""
    root, pull = block.root, block.pull
    rank = root.shape[1]
    for j in range(rank):
        for k in range(j + 1):
            value = root[i, j, k]
            for m in range(k):
                value -= root[i, j, m] * root[i, k, m]
            root[i, j, k] = np.sqrt(value) if j == k else value / root[i, k, k]
        value = pull[j, i]
        for k in range(j):
            value -= root[i, j, k] * pull[k, i]
        pull[j, i] = value / root[i, j, j]
    for j in range(rank - 1, -1, -1):
        value = pull[j, i]
        for k in range(j + 1, rank):
            value -= root[i, k, j] * pull[k, i]
        pull[j, i] = value / root[i, j, j]


@part
def _doubt(scene: Scene, i: int, y: int, x: int, block: Block, spread: np.ndarray) -> None:
    """Write the standard deviation of a new observation of pixel ``i`` at all dates and bands."""
    tall, noise, gain, rest = scene.tall, scene.noise, scene.gain, scene.rest
    dates, bands, _ = noise.shape
    root, inverse = block.root, block.inverse  # that of the root, by rows
    rank = root.shape[1]
    for column in range(rank):
        for j in range(column, rank):
            value = 1.0 if j == column else 0.0
            for k in range(column, j):
                value -= root[i, j, k] * inverse[k, column]
            inverse[j, column] = value / root[i, j, j]
    size = dates * bands
    total, row = block.line[0], block.line[1]
    for d in range(size):
        total[d] = 0.0
    for j in range(rank):
        for d in range(size):
            row[d] = 0.0
        for k in range(j + 1):
            factor = inverse[j, k]
            for d in range(size):
                row[d] += factor * tall[k, d]
        for d in range(size):
            total[d] += row[d] * row[d]
    for t in range(dates):
        for b in range(bands):
            doubt = noise[t, b, b] + total[t * bands + b]
            spread[t, b, y, x + i] = np.sqrt(gain[t, b] * doubt + rest[t, b])


@part
def _write(
    mean: np.ndarray,
    modes: np.ndarray,
    y: int,
    x: int,
    count: int,
    block: Block,
    estimate: np.ndarray,
) -> None:
    """Write the fit by the scores."""
    scores, rows = block.pull, block.rows
    dates, bands, rank = modes.shape
    for t in range(dates):
        for b in range(bands):
            for i in range(count):
                rows[0, i] = mean[t, b]
            for j in range(rank):
                mode = modes[t, b, j]
                for i in range(count):
                    rows[0, i] += mode * scores[j, i]
            for i in range(count):
                estimate[t, b, y, x + i] = rows[0, i]


@part
def _blank(
    cube: np.ndarray,
    mean: np.ndarray,
    y: int,
    x: int,
    count: int,
    estimate: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Take back pixels without any observation."""
    dates, bands = mean.shape
    nothing = np.float32(np.nan)
    for i in range(x, x + count):
        some = False
        for t in range(dates):
            for b in range(bands):
                value = cube[t, b, y, i] - mean[t, b]
                some |= value == value
        if not some:
            for t in range(dates):
                for b in range(bands):
                    estimate[t, b, y, i] = nothing
                    if spread.size > 0:
                        spread[t, b, y, i] = nothing


@part
def _constants(cube: np.ndarray, y: int, left: int, count: int, estimate: np.ndarray) -> None:
    """Give pixels that are constant in a band that constant."""
    dates, bands = cube.shape[:2]
    for band in range(bands):
        for x in range(left, left + count):
            value, times = np.float32(np.nan), 0
            for date in range(dates):
                other = cube[date, band, y, x]
                if not np.isnan(other):
                    if times > 0 and other != value:
                        times = -1
                        break
                    value = other
                    times += 1
            if times >= FEWEST:
                for date in range(dates):
                    estimate[date, band, y, x] = value
