"""Loops of ``regression``: pick a pixel's model, apply it, krige what it leaves around."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.regression.predictors import Models
from xstf.numerics.jit import jit, part

# Rings around a pixel are searched until there are so many clear pixels: near ones screen those
# behind them; 16 and 40 cost more and gave the same error.
ENOUGH = 8
# Pixels in a ring: the images of one offset under flips and the transpose.
RING = 8


class View(NamedTuple):
    """What a tile shows."""

    cube: np.ndarray  # (time, band, y, x)
    guide: np.ndarray  # (time, guide_band, y, x), of no bands if there is none
    clear: np.ndarray  # (time, y, x): all bands are there
    seen: np.ndarray  # (time, y, x): the guide is there
    other: np.ndarray  # (y, x): the pixel has any observation


class Filled(NamedTuple):
    """Results of the inner part of a tile."""

    estimate: np.ndarray  # (time, band, y, x) float32
    deviation: np.ndarray
    done: np.ndarray  # (time, y, x): pixels that have them


class Room(NamedTuple):
    """What is written of one pixel; ``near`` are all pixels around it that can count."""

    found: np.ndarray  # (near, 2): offsets
    rest: np.ndarray  # (near, band): residuals
    matrix: np.ndarray  # (near, near)
    weights: np.ndarray  # (near,)
    guess: np.ndarray  # (band,)


def rings(reach: int) -> np.ndarray:
    """Return offsets ``(ring, RING, 2)`` by distance, thinned out with it; (0, 0) fills short ones.

    Within 2 pixels all are taken, then every second one up to 4, every fourth up to 8, ... A search
    that stops after any ring treats all eight symmetries of the square alike.
    """
    found = []
    for far in range(1, reach + 1):
        step = 1 if far <= 2 else 2 ** ((far - 1).bit_length() - 2)
        for near in range(0, far + 1 if far % step == 0 else 0, step):
            if far * far + near * near <= reach * reach:
                found.append((far * far + near * near, far, near))
    table = np.zeros((len(found), RING, 2), np.int64)
    for k, (_, far, near) in enumerate(sorted(found)):
        pairs = {(a * far, b * near) for a in (-1, 1) for b in (-1, 1)}
        pairs |= {(b, a) for a, b in pairs}
        table[k, : len(pairs)] = sorted(pairs)
    return table


# What runs at every pixel or neighbour takes plain arrays: to take them out of a NamedTuple there,
# counting references each time, made filling 1.4 times as slow.


@part
def fits(
    pattern: np.ndarray,
    guided: bool,
    clear: np.ndarray,
    seen: np.ndarray,
    t: int,
    y: int,
    x: int,
) -> bool:
    """Whether a pixel has everything that a model asks for."""
    if guided and not seen[t, y, x]:
        return False
    for k in range(pattern.shape[0]):
        if pattern[k] < 0:
            break
        if not clear[pattern[k], y, x]:
            return False
    return True


@part
def predict(
    cube: np.ndarray,
    guide: np.ndarray,
    pattern: np.ndarray,
    guided: bool,
    coef: np.ndarray,
    const: np.ndarray,
    t: int,
    y: int,
    x: int,
    out: np.ndarray,
) -> None:
    """Write a model's prediction of all bands to ``out``."""
    bands = cube.shape[1]
    for b in range(bands):
        out[b] = const[b]
    for k in range(pattern.shape[0]):
        if pattern[k] < 0:
            break
        for v in range(bands):
            value = cube[pattern[k], v, y, x]
            for b in range(bands):
                out[b] += coef[k * bands + v, b] * value
    if guided:
        for v in range(guide.shape[1]):
            value = guide[t, v, y, x]
            for b in range(bands):
                out[b] += coef[pattern.shape[0] * bands + v, b] * value


@part
def weigh(
    offsets: np.ndarray, count: int, table: np.ndarray, matrix: np.ndarray, weights: np.ndarray
) -> float:
    """Write the simple kriging weights of ``offsets``; return the variance that they explain.

    ``table`` is the correlation by squared distance.
    """
    for i in range(count):
        dy, dx = offsets[i, 0], offsets[i, 1]
        weights[i] = table[dy * dy + dx * dx]
        for j in range(i):
            ey, ex = dy - offsets[j, 0], dx - offsets[j, 1]
            matrix[i, j] = table[ey * ey + ex * ex]
        matrix[i, i] = 1.0
    # Cholesky factor L, then L (L^T w) = c forward and backward.
    explained = 0.0
    for i in range(count):
        for j in range(i):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / matrix[j, j]
        total, right = matrix[i, i], weights[i]
        for k in range(i):
            total -= matrix[i, k] * matrix[i, k]
            right -= matrix[i, k] * weights[k]
        matrix[i, i] = np.sqrt(total)
        weights[i] = right / matrix[i, i]
        explained += weights[i] * weights[i]
    for i in range(count - 1, -1, -1):
        total = weights[i]
        for k in range(i + 1, count):
            total -= matrix[k, i] * weights[k]
        weights[i] = total / matrix[i, i]
    return explained


@part
def choose(
    first: int,
    last: int,
    pattern: np.ndarray,
    guided: np.ndarray,
    clear: np.ndarray,
    seen: np.ndarray,
    other: bool,
    t: int,
    y: int,
    x: int,
) -> int:
    """Return the first model of a date that a pixel can use, -1 if none."""
    for m in range(first, last):
        if pattern[m, 0] < 0 and other:
            return -1
        if fits(pattern[m], guided[m], clear, seen, t, y, x):
            return m
    return -1


@part
def gather(
    view: View,
    pattern: np.ndarray,
    guided: bool,
    coef: np.ndarray,
    const: np.ndarray,
    offsets: np.ndarray,
    t: int,
    y: int,
    x: int,
    found: np.ndarray,
    rest: np.ndarray,
) -> int:
    """Write offsets and residuals of the clear pixels around; return how many there are."""
    cube, guide, clear, seen, _ = view
    bands, height, width = cube.shape[1:]
    count = 0
    for ring in range(offsets.shape[0]):
        for k in range(offsets.shape[1]):
            dy, dx = offsets[ring, k, 0], offsets[ring, k, 1]
            if dy == 0 and dx == 0:
                break
            v, u = y + dy, x + dx
            if v < 0 or v >= height or u < 0 or u >= width or not clear[t, v, u]:
                continue
            if not fits(pattern, guided, clear, seen, t, v, u):
                continue
            found[count, 0], found[count, 1] = dy, dx
            predict(cube, guide, pattern, guided, coef, const, t, v, u, rest[count])
            for b in range(bands):
                rest[count, b] = cube[t, b, v, u] - rest[count, b]
            count += 1
        if count >= ENOUGH:
            break
    return count


def fill_models(
    view: View,
    models: Models,
    wanted: np.ndarray,
    table: np.ndarray,
    offsets: np.ndarray,
    corner: tuple[int, int],
    out: Filled,
) -> None:
    """Fill the wanted pixels that have a model, and mark them in ``done``.

    ``wanted (time, y, x)`` begins at ``corner`` of the tile; ``table`` is the correlation by
    squared distance. The models of a date that look at no other date are for pixels without any.
    """
    limit = ENOUGH + RING
    bands = view.cube.shape[1]
    room = Room(
        np.zeros((limit, 2), np.int64),
        np.zeros((limit, bands)),
        np.zeros((limit, limit)),
        np.zeros(limit),
        np.zeros(bands),
    )
    _fill(view, models, wanted, table, offsets, corner, room, out)


@jit
def _fill(
    view: View, models: Models, wanted: np.ndarray, table: np.ndarray, offsets: np.ndarray,
    corner: tuple[int, int], room: Room, out: Filled,
) -> None:  # fmt: skip
    """Go pixel by pixel."""
    cube, guide, clear, seen, other = view
    dates, bands = cube.shape[:2]
    found, rest, matrix, weights, guess = room
    estimate, deviation, done = out
    first, pattern, guided, coef, const, error = models
    height, width = estimate.shape[2:]
    for t in range(dates):
        for i in range(height if first[t] < first[t + 1] else 0):
            for j in range(width):
                y, x = corner[0] + i, corner[1] + j
                if not wanted[t, i, j]:
                    continue
                m = choose(
                    first[t], first[t + 1], pattern, guided, clear, seen, other[y, x], t, y, x
                )
                if m < 0:
                    continue
                count = gather(
                    view, pattern[m], guided[m], coef[m], const[m], offsets, t, y, x, found, rest
                )
                if count == 0 and pattern[m, 0] < 0 and not guided[m]:
                    continue
                explained = weigh(found, count, table, matrix, weights)
                predict(cube, guide, pattern[m], guided[m], coef[m], const[m], t, y, x, guess)
                for b in range(bands):
                    value = guess[b]
                    for k in range(count):
                        value += weights[k] * rest[k, b]
                    estimate[t, b, i, j] = value
                    deviation[t, b, i, j] = error[m, b] * np.sqrt(1.0 - explained)
                done[t, i, j] = True
