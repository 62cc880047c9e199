"""Dates of which a pixel has some bands: whitened where they are met, for ``eof``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.eof.scene import Scene
from xstf.numerics.jit import jit


class Partial(NamedTuple):
    """The seen bands of a date, one after the other."""

    chol: np.ndarray  # (band, band): the root of their noise
    part: np.ndarray  # (band, mode): their modes, whitened
    own: np.ndarray  # (band,): their residuals, whitened


@jit
def within(
    scene: Scene, t: int, there: np.ndarray, away: np.ndarray, i: int, partial: Partial
) -> int:
    """Whiten the seen bands of a date at pixel ``i``; return how many there are."""
    noise, modes = scene.noise[t], scene.modes[t]
    chol, part, own = partial.chol, partial.part, partial.own
    n = 0
    for b in range(there.size):
        if there[b]:
            m = 0
            for c in range(b + 1):
                if there[c]:
                    value = noise[b, c]
                    for k in range(m):
                        value -= chol[n, k] * chol[m, k]
                    chol[n, m] = np.sqrt(value) if b == c else value / chol[m, m]
                    m += 1
            own[n] = away[t, b, i]
            part[n] = modes[b]
            for k in range(n):
                own[n] -= chol[n, k] * own[k]
                for j in range(part.shape[1]):
                    part[n, j] -= chol[n, k] * part[k, j]
            own[n] /= chol[n, n]
            for j in range(part.shape[1]):
                part[n, j] /= chol[n, n]
            n += 1
    return n


@jit
def add(
    partial: Partial, n: int, weight: float, root: np.ndarray, pull: np.ndarray, i: int
) -> None:
    """Add a partial date's normal equations, row by row, to the pull on the scores of pixel `i`."""
    part, own = partial.part, partial.own
    for b in range(n):
        for j in range(part.shape[1]):
            pull[j, i] += weight * part[b, j] * own[b]
            for k in range(j + 1):
                root[j, k] += weight * part[b, j] * part[b, k]


@jit
def distance(partial: Partial, n: int, scores: np.ndarray, i: int) -> float:
    """Return the squared length of what the scores leave of a date's seen bands."""
    part, own = partial.part, partial.own
    total = 0.0
    for b in range(n):
        value = own[b]
        for j in range(part.shape[1]):
            value -= part[b, j] * scores[j, i]
        total += value * value
    return total


@jit
def _length(root: np.ndarray, mode: np.ndarray, work: np.ndarray) -> float:
    """Return the variance that a mode vector gets from the scores'."""
    total = 0.0
    for i in range(root.shape[0]):
        value = mode[i]
        for k in range(i):
            value -= root[i, k] * work[k]
        work[i] = value / root[i, i]
        total += work[i] * work[i]
    return total


@jit
def complete(
    scene: Scene,
    t: int,
    there: np.ndarray,
    partial: Partial,
    n: int,
    root: np.ndarray,
    scores: np.ndarray,
    y: int,
    x: int,
    estimate: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Correct the missing bands of a date by what its seen ones leave, and their doubt."""
    noise, modes, gain, rest = scene.noise[t], scene.modes[t], scene.gain[t], scene.rest[t]
    chol, part, own = partial.chol, partial.part, partial.own
    bands, rank = modes.shape
    share, mode, work = np.empty(bands), np.empty(rank), np.empty(rank)
    for b in range(bands):
        if there[b]:
            continue
        m = 0
        left, shift = noise[b, b], 0.0
        mode[:] = modes[b]
        for c in range(bands):
            if there[c]:
                share[m] = noise[b, c]
                for k in range(m):
                    share[m] -= chol[m, k] * share[k]
                share[m] /= chol[m, m]
                residual = own[m]
                for j in range(rank):
                    residual -= part[m, j] * scores[j]
                    mode[j] -= share[m] * part[m, j]
                shift += share[m] * residual
                left -= share[m] * share[m]
                m += 1
        estimate[t, b, y, x] += shift
        if spread.size:
            doubt = left + _length(root, mode, work)
            spread[t, b, y, x] = np.sqrt(gain[b] * doubt + rest[b])
