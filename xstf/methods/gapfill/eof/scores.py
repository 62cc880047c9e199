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
from xstf.numerics.jit import jit

# Pixels of a row that are worked on together.
BLOCK = 64
# Equal observations that make a pixel constant.
FEWEST = 3


class Block(NamedTuple):
    """Pixels of a row that are worked on together."""

    away: np.ndarray  # (time, band, pixel): residuals from the mean
    left: np.ndarray  # (time, band, pixel): whitened, of dates that are seen in full
    there: np.ndarray  # (pixel, time, band): what is seen
    full: np.ndarray  # (pixel, time): dates of which all usable bands are seen
    weight: np.ndarray  # (time, pixel): Student's
    pull: np.ndarray  # (mode, pixel): the scores, once solved
    root: np.ndarray  # (pixel, mode, mode): Cholesky's, of the scores' precision


@jit
def fill(cube: np.ndarray, scene: Scene, estimate: np.ndarray, spread: np.ndarray) -> None:
    """Write estimates and, where spread has a size, standard deviations."""
    dates, bands, height, width = cube.shape
    rank = scene.modes.shape[2]
    block = Block(
        np.empty((dates, bands, BLOCK)),
        np.empty((dates, bands, BLOCK)),
        np.empty((BLOCK, dates, bands), np.bool_),
        np.empty((BLOCK, dates), np.bool_),
        np.empty((dates, BLOCK)),
        np.empty((rank, BLOCK)),
        np.empty((BLOCK, rank, rank)),
    )
    there, full, weight, pull, root = block[2:]
    partial = Partial(np.empty((bands, bands)), np.empty((bands, rank)), np.empty(bands))
    for y in range(height):
        for x in range(0, width, BLOCK):
            count = min(BLOCK, width - x)
            _read(cube, y, x, count, scene, block)
            weight[:] = 1.0
            for reweighed in range(PASSES + 1):
                _project(scene.white, block.left, weight, count, pull)
                for i in range(count):
                    _factor(full[i], weight, i, scene.by_date, root[i])
                    for t in range(dates):
                        if not full[i, t] and there[i, t].any():
                            n = within(scene, t, there[i, t], block.away, i, partial)
                            add(partial, n, weight[t, i], root[i], pull, i)
                    _cholesky(root[i])
                    _solve(root[i], pull, i)
                if reweighed == PASSES:
                    break
                _reweigh(scene.usable, scene.white, block.left, pull, count, weight)
                for i in range(count):
                    for t in range(dates):
                        if not full[i, t] and there[i, t].any():
                            n = within(scene, t, there[i, t], block.away, i, partial)
                            far = distance(partial, n, pull, i)
                            weight[t, i] = (FREEDOM + n) / (FREEDOM + far)
            _write(scene.mean, scene.modes, pull, y, x, count, estimate)
            for i in range(count):
                if spread.size:
                    _doubt(scene, root[i], spread[:, :, y, x + i])
                for t in range(dates):
                    if not full[i, t] and there[i, t].any():
                        n = within(scene, t, there[i, t], block.away, i, partial)
                        complete(
                            scene, t, there[i, t], partial, n, root[i], pull[:, i], y, x + i,
                            estimate, spread,
                        )  # fmt: skip
            _blank(cube, scene.mean, y, x, count, estimate, spread)
            _constants(cube, y, x, count, estimate)


@jit
def _read(cube: np.ndarray, y: int, x: int, count: int, scene: Scene, block: Block) -> None:
    """Read residuals from the mean, raw and, at dates that are seen in full, whitened."""
    mean, usable, inverse = scene.mean, scene.usable, scene.inverse
    away, left, there, full = block.away, block.left, block.there, block.full
    dates, bands = mean.shape
    for t in range(dates):
        full[:count, t] = usable[t].any()
        for b in range(bands):
            row = cube[t, b, y, x : x + count]
            for i in range(count):
                value = np.float64(row[i]) - mean[t, b]
                seen = usable[t, b] and value == value
                there[i, t, b] = seen
                away[t, b, i] = value if seen else 0.0
                full[i, t] &= seen or not usable[t, b]
        for b in range(bands):
            left[t, b, :count] = 0
            for c in range(b + 1):
                factor = inverse[t, b, c]
                for i in range(count):
                    left[t, b, i] += factor * away[t, c, i]
            for i in range(count):
                if not full[i, t]:
                    left[t, b, i] = 0.0


@jit
def _project(
    white: np.ndarray, left: np.ndarray, weight: np.ndarray, count: int, pull: np.ndarray
) -> None:
    dates, bands, rank = white.shape
    pull[:, :count] = 0
    value = np.empty(count)
    for t in range(dates):
        for b in range(bands):
            for i in range(count):
                value[i] = weight[t, i] * left[t, b, i]
            for j in range(rank):
                mode = white[t, b, j]
                for i in range(count):
                    pull[j, i] += mode * value[i]


@jit
def _reweigh(
    usable: np.ndarray,
    white: np.ndarray,
    left: np.ndarray,
    scores: np.ndarray,
    count: int,
    weight: np.ndarray,
) -> None:
    """Write the Student weights of the dates that are seen in full."""
    dates, bands, rank = white.shape
    total, value = np.empty(count), np.empty(count)
    for t in range(dates):
        total[:] = 0
        size = FREEDOM
        for b in range(bands):
            size += usable[t, b]
            value[:] = left[t, b, :count]
            for j in range(rank):
                mode = white[t, b, j]
                for i in range(count):
                    value[i] -= mode * scores[j, i]
            for i in range(count):
                total[i] += value[i] * value[i]
        for i in range(count):
            weight[t, i] = size / (FREEDOM + total[i])


@jit
def _factor(
    full: np.ndarray, weight: np.ndarray, i: int, by_date: np.ndarray, root: np.ndarray
) -> None:
    """Put the scores' precision, of dates that are seen in full, into root's lower triangle."""
    total = np.zeros(by_date.shape[1])
    for t in range(by_date.shape[0]):
        if full[t]:
            factor = weight[t, i]
            for k in range(total.size):
                total[k] += factor * by_date[t, k]
    at = 0
    for row in range(root.shape[0]):
        for column in range(row + 1):
            root[row, column] = total[at] + (1.0 if row == column else 0.0)
            at += 1


@jit
def _cholesky(root: np.ndarray) -> None:
    """Turn the lower triangle into its root, in place."""
    for i in range(root.shape[0]):
        for j in range(i + 1):
            value = root[i, j]
            for k in range(j):
                value -= root[i, k] * root[j, k]
            root[i, j] = np.sqrt(value) if i == j else value / root[j, j]


@jit
def _solve(root: np.ndarray, pull: np.ndarray, x: int) -> None:
    """Turn a column of pull into the scores, in place."""
    rank = root.shape[0]
    for i in range(rank):
        value = pull[i, x]
        for k in range(i):
            value -= root[i, k] * pull[k, x]
        pull[i, x] = value / root[i, i]
    for i in range(rank - 1, -1, -1):
        value = pull[i, x]
        for k in range(i + 1, rank):
            value -= root[k, i] * pull[k, x]
        pull[i, x] = value / root[i, i]


@jit
def _doubt(scene: Scene, root: np.ndarray, spread: np.ndarray) -> None:
    """Write the standard deviation of a new observation at all dates and bands of a pixel."""
    tall, noise, gain, rest = scene.tall, scene.noise, scene.gain, scene.rest
    dates, bands = noise.shape[:2]
    rank = len(root)
    inverse = np.zeros((rank, rank))  # of root, by rows
    for column in range(rank):
        for i in range(column, rank):
            value = 1.0 if i == column else 0.0
            for k in range(column, i):
                value -= root[i, k] * inverse[k, column]
            inverse[i, column] = value / root[i, i]
    size = dates * bands
    total, row = np.zeros(size), np.empty(size)
    for i in range(rank):
        row[:] = 0
        for k in range(i + 1):
            factor = inverse[i, k]
            for d in range(size):
                row[d] += factor * tall[k, d]
        for d in range(size):
            total[d] += row[d] * row[d]
    for t in range(dates):
        for b in range(bands):
            doubt = noise[t, b, b] + total[t * bands + b]
            spread[t, b] = np.sqrt(gain[t, b] * doubt + rest[t, b])


@jit
def _write(
    mean: np.ndarray,
    modes: np.ndarray,
    scores: np.ndarray,
    y: int,
    x: int,
    count: int,
    estimate: np.ndarray,
) -> None:
    dates, bands, rank = modes.shape
    fit = np.empty(count)
    for t in range(dates):
        for b in range(bands):
            fit[:] = mean[t, b]
            for j in range(rank):
                mode = modes[t, b, j]
                for i in range(count):
                    fit[i] += mode * scores[j, i]
            row = estimate[t, b, y, x : x + count]
            for i in range(count):
                row[i] = fit[i]


@jit
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
    for i in range(x, x + count):
        some = False
        for t in range(dates):
            for b in range(bands):
                value = cube[t, b, y, i] - mean[t, b]
                some |= value == value
        if not some:
            estimate[:, :, y, i] = np.nan
            if spread.size:
                spread[:, :, y, i] = np.nan


@jit
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
