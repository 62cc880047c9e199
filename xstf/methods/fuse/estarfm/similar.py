"""Sums over the similar pixels of every pixel, from pairs of rows.

Similarity is mutual, so a pair of rows is compared once per shift and serves both. Whole rows are
compared at a time, without branches: that is vectorised. What is then added up is either the whole
row, times 0 or a factor, or, where few are similar, one listed pixel after the other.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from xstf.numerics.jit import jit, part

# What similar pixels differ by at most: likeness is in whole numbers of a 500th of a tolerance.
TOLERANCE = 500

# A row is added up pixel by pixel if fewer than 1 in so many of its groups of 8 have a similar one.
FEW = 3
NOBODY = np.uint64(0x0101010101010101)  # eight pixels in a word, all of them far


def sum_similar(
    likeness: np.ndarray,
    votes: np.ndarray,
    vote_sums: np.ndarray,
    terms: np.ndarray,
    term_sums: np.ndarray,
    reach: int,
    near: int,
    bounds: tuple[int, int, int, int],
) -> None:
    """Add votes and terms of the similar pixels of each pixel to its sums.

    Parameters
    ----------
    likeness : ndarray (comparison, y, x), uint16 or float32
        Similar pixels differ by `TOLERANCE` at most in each; NaN differs from nothing. The whole
        range of uint16 values is less than 65535 - 2 * `TOLERANCE`.
    votes, vote_sums : ndarray (vote, y, x), float32
        Summed within ``reach``, times ``1 / (1 + distance / reach)``, without the pixel itself.
    terms, term_sums : ndarray (term, y, x), float32
        Summed within ``near``, in the same pass, each as it is, over every second pixel: those
        of the pixel's own colour on a checkerboard.
    reach, near : int
        Half sides of two square windows; near is not larger than reach.
    bounds : (top, bottom, left, right)
        The pixels whose sums are wanted; those outside get sums that are not complete.
    """
    width = likeness.shape[2]
    top, bottom, left, right = bounds
    down, across = np.arange(reach + 1)[:, None], np.arange(-reach, reach + 1)
    start = np.maximum(np.maximum(-across, 0), left - np.maximum(across, 0))
    stop = np.minimum(np.minimum(width, width - across), right + np.maximum(-across, 0))
    factor = (1 / (1 + np.sqrt(down**2 + across**2) / reach)).astype(np.float32)
    close = (down <= near) & (abs(across) <= near) & ((down + across) % 2 == 0)
    room = (
        np.empty((width // 8 + 1) * 8, np.uint8),  # whole words, for _few
        np.empty(2 * width + 16, np.int64),
        np.empty(width, np.float32),
    )
    _sum_similar(
        likeness, (votes, vote_sums), (terms, term_sums), (start, stop - start), factor,
        close.astype(np.uint8), (top, bottom), room,
    )  # fmt: skip


@jit
def _sum_similar(
    likeness: np.ndarray,
    votes: tuple[np.ndarray, np.ndarray],
    terms: tuple[np.ndarray, np.ndarray],
    part: tuple[np.ndarray, np.ndarray],
    factors: np.ndarray,
    close: np.ndarray,
    wanted: tuple[int, int],
    room: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Take the pairs of rows; of each shift ``part`` has the first pixel and how many."""
    height = likeness.shape[1]
    top, bottom = wanted
    far, at, share = room
    one = np.float32(1)
    reach = close.shape[0] - 1
    for y in range(height):
        for y2 in range(y, min(height, y + reach + 1)):
            if not (top <= y < bottom or top <= y2 < bottom):
                continue
            for k in range(0 if y2 > y else reach + 1, 2 * reach + 1):
                x, size = part[0][k], part[1][k]
                if size <= 0:
                    continue
                x2 = x + k - reach
                _compare(likeness, far[:size], y, x, y2, x2)
                factor, both = factors[y2 - y, k], close[y2 - y, k] > 0
                count = _few(far, at, size)
                if count >= 0:
                    _add_few(votes[0], votes[1], at[:count], factor, y, x, y2, x2)
                    if both:
                        _add_few(terms[0], terms[1], at[:count], one, y, x, y2, x2)
                else:
                    _add_row(votes[0], votes[1], far, share[:size], factor, y, x, y2, x2)
                    if both:
                        _add_row(terms[0], terms[1], far, share[:size], one, y, x, y2, x2)


@part
def _compare(likeness: np.ndarray, far: np.ndarray, y: int, x: int, y2: int, x2: int) -> None:
    """Say of each pixel of a row whether its partner in the other row is not similar."""
    count, size = likeness.shape[0], far.shape[0]
    for i in range(size):
        far[i] = 0
    f = 0
    # Six at a time: a sixth of the loops, and of the loads and stores of far. The compiler does not
    # make that of a loop over them.
    while f + 6 <= count:
        a0, b0 = likeness[f, y, x : x + size], likeness[f, y2, x2 : x2 + size]
        a1, b1 = likeness[f + 1, y, x : x + size], likeness[f + 1, y2, x2 : x2 + size]
        a2, b2 = likeness[f + 2, y, x : x + size], likeness[f + 2, y2, x2 : x2 + size]
        a3, b3 = likeness[f + 3, y, x : x + size], likeness[f + 3, y2, x2 : x2 + size]
        a4, b4 = likeness[f + 4, y, x : x + size], likeness[f + 4, y2, x2 : x2 + size]
        a5, b5 = likeness[f + 5, y, x : x + size], likeness[f + 5, y2, x2 : x2 + size]
        for i in range(size):
            far[i] |= (
                _apart(a0[i], b0[i])
                | _apart(a1[i], b1[i])
                | _apart(a2[i], b2[i])
                | _apart(a3[i], b3[i])
                | _apart(a4[i], b4[i])
                | _apart(a5[i], b5[i])
            )
        f += 6
    while f < count:
        g = f + 1 if f + 1 < count else f
        a, b = likeness[f, y, x : x + size], likeness[f, y2, x2 : x2 + size]
        c, d = likeness[g, y, x : x + size], likeness[g, y2, x2 : x2 + size]
        for i in range(size):
            far[i] |= _apart(a[i], b[i]) | _apart(c[i], d[i])
        f += 2


def _apart(a: float, b: float) -> bool:
    """Return whether two values differ by more than a tolerance; a missing one does not."""
    return abs(float(a) - float(b)) > TOLERANCE


@overload(_apart, inline="never")
def _apart_typed(a, b):  # type: ignore[no-untyped-def]  # numba compares the signatures
    """Whole numbers of 16 bits: a vector holds twice as many, and they wrap round to compare."""
    if a == types.uint16:
        shift, width = np.uint16(TOLERANCE), np.uint16(2 * TOLERANCE)
        return lambda a, b: np.uint16(a - b + shift) > width
    far = np.float32(TOLERANCE)
    return lambda a, b: abs(a - b) > far


@part
def _few(far: np.ndarray, at: np.ndarray, size: int) -> int:
    """List the similar pixels of a row if they are few; return how many, -1 if not few."""
    words = far.view(np.uint64)
    length = (size + 7) // 8
    for i in range(size, 8 * length):
        far[i] = 1
    listed = at[at.shape[0] // 2 :]
    used = 0
    for word in range(length):
        listed[used] = word
        used += int(words[word] != NOBODY)
    if used * FEW > length:
        return -1
    count = 0
    for k in range(used):
        first = 8 * listed[k]
        for i in range(first, first + 8):
            at[count] = i
            count += 1 - int(far[i])
    return count


@part
def _add_few(
    values: np.ndarray,
    sums: np.ndarray,
    at: np.ndarray,
    factor: np.float32,
    y: int,
    x: int,
    y2: int,
    x2: int,
) -> None:
    """Add to each listed pixel its partner's values, and the other way round.

    One after the other, as whole rows do: each sum then has one order, however few are listed.
    """
    for k in range(at.shape[0]):
        i = at[k]
        for v in range(values.shape[0]):
            sums[v, y, x + i] += factor * values[v, y2, x2 + i]
    for k in range(at.shape[0]):
        i = at[k]
        for v in range(values.shape[0]):
            sums[v, y2, x2 + i] += factor * values[v, y, x + i]


@part
def _add_row(
    values: np.ndarray,
    sums: np.ndarray,
    far: np.ndarray,
    share: np.ndarray,
    factor: np.float32,
    y: int,
    x: int,
    y2: int,
    x2: int,
) -> None:
    """Add to each pixel of a row its partner's values, and back, by whole rows."""
    size = share.shape[0]
    for i in range(size):
        share[i] = np.float32(0) if far[i] else factor
    for v in range(values.shape[0]):
        # Two loops: with y2 = y the rows overlap, which would keep one loop from being vectorised.
        source, target = values[v, y2, x2 : x2 + size], sums[v, y, x : x + size]
        for i in range(size):
            target[i] += share[i] * source[i]
        source, target = values[v, y, x : x + size], sums[v, y2, x2 : x2 + size]
        for i in range(size):
            target[i] += share[i] * source[i]
