"""The filter of Fit-FC: sums over the window, weighed by nearness and spectral likeness.

The weight of a neighbour is its nearness times ``max(0, 1 - squared distance of the spectra)``.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.jit import jit, part

# Pixels of a row that are worked on together: the four weight rows and the bands stay in L1. A
# constant, for the compiler to see that the weight rows do not overlap.
BLOCK = 256


def average_numpy(
    spectra: np.ndarray, values: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted sum of ``values`` over similar pixels, and the sum of the weights.

    ``spectra`` and ``values`` reach as far beyond the pixels as ``near``.
    """
    reach = len(near) // 2
    height, width = spectra.shape[1] - len(near) + 1, spectra.shape[2] - near.shape[1] + 1
    centre = spectra[:, reach : reach + height, reach : reach + width].astype(np.float64)
    total, mass = np.zeros((len(values), height, width)), np.zeros((height, width))
    for y in range(len(near)):
        for x in range(len(near)):
            there = (slice(None), slice(y, y + height), slice(x, x + width))
            square = ((spectra[there] - centre) ** 2).sum(axis=0)
            weight = near[y, x] * np.maximum(1 - square, 0)
            total += weight * values[there]
            mass += weight
    return total, mass


def average(
    spectra: np.ndarray, values: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as `average_numpy`, four offsets and a block of pixels at a time."""
    side, columns = near.shape
    height, width = spectra.shape[1] - side + 1, spectra.shape[2] - columns + 1
    total = np.zeros((len(values), height, width), np.float32)
    mass = np.zeros((height, width), np.float32)
    _average(spectra, values, near, np.empty(4 * BLOCK, np.float32), total, mass)
    return total, mass


@jit
def _average(
    spectra: np.ndarray, values: np.ndarray, near: np.ndarray, weight: np.ndarray,
    total: np.ndarray, mass: np.ndarray,
) -> None:  # fmt: skip
    bands = spectra.shape[0]
    side, columns = near.shape
    reach = side // 2
    height, width = mass.shape
    for y in range(height):
        for x in range(0, width, BLOCK):
            n = BLOCK if x + BLOCK < width else width - x
            m = mass[y, x : x + n]
            for dy in range(side):
                for dx in range(0, columns, 4):
                    here = slice(x + dx, x + dx + n + 3)
                    for i in range(4 * BLOCK):
                        weight[i] = 0
                    for b in range(bands):
                        own = spectra[b, y + reach, x + reach : x + reach + n]
                        _add_squares(own, spectra[b, y + dy, here], weight, n)
                    _weigh(weight, near[dy, dx : dx + 4], m, n)
                    for b in range(values.shape[0]):
                        _add_values(values[b, y + dy, here], weight, total[b, y, x : x + n], n)


# The three loops below are vectorised only while each touches few arrays: beyond that the compiler
# gives up proving that they do not overlap, which made all of it eight times slower.
@part
def _add_squares(own: np.ndarray, other: np.ndarray, square: np.ndarray, n: int) -> None:
    """Add the squared differences of one band to four offsets' rows."""
    for x in range(n):
        c = own[x]
        d0, d1, d2, d3 = other[x] - c, other[x + 1] - c, other[x + 2] - c, other[x + 3] - c
        square[x] += d0 * d0
        square[x + BLOCK] += d1 * d1
        square[x + 2 * BLOCK] += d2 * d2
        square[x + 3 * BLOCK] += d3 * d3


@part
def _weigh(row: np.ndarray, near: np.ndarray, mass: np.ndarray, n: int) -> None:
    """Turn four rows of squared distances into weights, in place, and add them up."""
    zero, one = np.float32(0), np.float32(1)
    k0, k1, k2, k3 = near[0], near[1], near[2], near[3]
    for x in range(n):
        w0, w1 = k0 * (one - row[x]), k1 * (one - row[x + BLOCK])
        w2, w3 = k2 * (one - row[x + 2 * BLOCK]), k3 * (one - row[x + 3 * BLOCK])
        w0, w1 = w0 if w0 > zero else zero, w1 if w1 > zero else zero
        w2, w3 = w2 if w2 > zero else zero, w3 if w3 > zero else zero
        row[x], row[x + BLOCK], row[x + 2 * BLOCK], row[x + 3 * BLOCK] = w0, w1, w2, w3
        mass[x] += (w0 + w1) + (w2 + w3)


@part
def _add_values(values: np.ndarray, weight: np.ndarray, total: np.ndarray, n: int) -> None:
    """Add four offsets' weighted values to their sum."""
    for x in range(n):
        left = weight[x] * values[x] + weight[x + BLOCK] * values[x + 1]
        right = weight[x + 2 * BLOCK] * values[x + 2] + weight[x + 3 * BLOCK] * values[x + 3]
        total[x] += left + right
