"""Elimination and substitution of the Gaussian process' systems, rows contiguous.

numba's own ``np.linalg`` calls the threaded BLAS from every tile's thread at once.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.jit import jit, part

# Rows eliminated at a time, and written out below: with less, memory is the limit.
BLOCK = 8


@jit
def eliminate(work: np.ndarray, size: int, right: int, identity: bool) -> None:
    """Factorise the upper triangle as ``U'U`` and solve ``U'X =`` the ``right`` columns after it.

    ``work`` is ``(size, size + right)`` at least; all in place. With ``identity`` these columns
    are the identity's, and what stays zero of ``X`` is passed over.
    """
    for first in range(0, size, BLOCK):
        last = min(first + BLOCK, size)
        end = size + (min(last, right) if identity else right)
        for k in range(first, last):
            row = work[k, k:end]
            for j in range(first, k):
                scale = work[j, k]
                above = work[j, k:end]
                for c in range(row.size):
                    row[c] -= scale * above[c]
            scale = 1 / np.sqrt(row[0])
            for c in range(row.size):
                row[c] *= scale
        if last - first == BLOCK:
            for i in range(last, size):
                _subtract(work, first, i, end)


@part
def _subtract(work: np.ndarray, k: int, i: int, end: int) -> None:
    """Take eight rows from row ``i``, from its diagonal on."""
    a, b, c, d = work[k, i], work[k + 1, i], work[k + 2, i], work[k + 3, i]
    e, f, g, h = work[k + 4, i], work[k + 5, i], work[k + 6, i], work[k + 7, i]
    row = work[i, i:end]
    ra, rb, rc, rd = work[k, i:end], work[k + 1, i:end], work[k + 2, i:end], work[k + 3, i:end]
    re, rf, rg, rh = work[k + 4, i:end], work[k + 5, i:end], work[k + 6, i:end], work[k + 7, i:end]
    for n in range(row.size):
        first = a * ra[n] + b * rb[n] + c * rc[n] + d * rd[n]
        row[n] -= first + e * re[n] + f * rf[n] + g * rg[n] + h * rh[n]


@jit
def substitute(work: np.ndarray, size: int, vector: np.ndarray) -> None:
    """Solve ``U'U x = vector`` in place, ``U`` as ``eliminate`` leaves it."""
    for k in range(size):
        vector[k] /= work[k, k]
        value = vector[k]
        row, rest = work[k, k + 1 : size], vector[k + 1 : size]
        for c in range(row.size):
            rest[c] -= value * row[c]
    for k in range(size - 1, -1, -1):
        row, rest = work[k, k + 1 : size], vector[k + 1 : size]
        total = 0.0
        for c in range(row.size):
            total += row[c] * rest[c]
        vector[k] = (vector[k] - total) / work[k, k]


@part
def products(work: np.ndarray, size: int, right: int, reach: int, out: np.ndarray) -> None:
    """Put the sums over rows of ``X[:, i] X[:, i - d]``, ``d < reach``, into ``out[d, i]``."""
    for d in range(reach):
        for i in range(right):
            out[d, i] = 0.0
    for k in range(size):
        row = work[k, size : size + right]
        for d in range(reach):
            later, total = row[d:], out[d, d:right]
            for i in range(later.size):
                total[i] += later[i] * row[i]


@part
def combine(matrix: np.ndarray, index: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Add the rows of a matrix at ``index``, times ``weight``, to ``out``."""
    for n in range(index.size):
        row, value = matrix[index[n]], weight[n]
        for c in range(out.size):
            out[c] += value * row[c]
