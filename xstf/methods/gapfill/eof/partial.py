"""Dates of which a pixel has some bands: whitened where they are met, for ``eof``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.eof.scene import Scene
from xstf.numerics.jit import part


class Partial(NamedTuple):
    """The seen bands of a date, one after the other."""

    chol: np.ndarray  # (band, band): the root of their noise
    modes: np.ndarray  # (band, mode): their modes, whitened
    own: np.ndarray  # (band,): their residuals, whitened
    share: np.ndarray  # (band,): room
    mode: np.ndarray  # (mode,): room


@part
def within(
    scene: Scene, t: int, there: np.ndarray, away: np.ndarray, i: int, partial: Partial
) -> int:
    """Whiten the seen bands of a date at pixel ``i``; return how many there are."""
    noise, modes = scene.noise, scene.modes
    chol, white, own = partial.chol, partial.modes, partial.own
    n = 0
    for b in range(there.shape[2]):
        if there[i, t, b]:
            m = 0
            for c in range(b + 1):
                if there[i, t, c]:
                    value = noise[t, b, c]
                    for k in range(m):
                        value -= chol[n, k] * chol[m, k]
                    chol[n, m] = np.sqrt(value) if b == c else value / chol[m, m]
                    m += 1
            own[n] = away[t, b, i]
            for k in range(n):
                own[n] -= chol[n, k] * own[k]
            own[n] /= chol[n, n]
            for j in range(white.shape[1]):
                value = modes[t, b, j]
                for k in range(n):
                    value -= chol[n, k] * white[k, j]
                white[n, j] = value / chol[n, n]
            n += 1
    return n


@part
def add(
    partial: Partial, n: int, weight: float, root: np.ndarray, pull: np.ndarray, i: int
) -> None:
    """Add a partial date's normal equations, row by row, to the pull on the scores of pixel `i`."""
    white, own = partial.modes, partial.own
    for b in range(n):
        for j in range(white.shape[1]):
            pull[j, i] += weight * white[b, j] * own[b]
            for k in range(j + 1):
                root[i, j, k] += weight * white[b, j] * white[b, k]


@part
def distance(partial: Partial, n: int, scores: np.ndarray, i: int) -> float:
    """Return the squared length of what the scores leave of a date's seen bands."""
    white, own = partial.modes, partial.own
    total = 0.0
    for b in range(n):
        value = own[b]
        for j in range(white.shape[1]):
            value -= white[b, j] * scores[j, i]
        total += value * value
    return total


@part
def complete(
    scene: Scene,
    t: int,
    there: np.ndarray,
    partial: Partial,
    n: int,
    root: np.ndarray,
    scores: np.ndarray,
    i: int,
    y: int,
    x: int,
    estimate: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Correct the missing bands of a date by what its seen ones leave, and their doubt.

    Pixel ``i`` of the block is at ``y, x``.
    """
    noise, modes = scene.noise, scene.modes
    chol, white, own = partial.chol, partial.modes, partial.own
    _, bands, rank = modes.shape
    share, mode = partial.share, partial.mode
    for b in range(bands):
        if there[i, t, b]:
            continue
        m = 0
        left, shift = noise[t, b, b], 0.0
        for j in range(rank):
            mode[j] = modes[t, b, j]
        for c in range(bands):
            if there[i, t, c]:
                value = noise[t, b, c]
                for k in range(m):
                    value -= chol[m, k] * share[k]
                share[m] = value / chol[m, m]
                residual = own[m]
                for j in range(rank):
                    residual -= white[m, j] * scores[j, i]
                    mode[j] -= share[m] * white[m, j]
                shift += share[m] * residual
                left -= share[m] * share[m]
                m += 1
        estimate[t, b, y, x] += shift
        if spread.size > 0:
            # The mode's own variance, through the root of the scores'.
            for j in range(rank):
                for k in range(j):
                    mode[j] -= root[i, j, k] * mode[k]
                mode[j] /= root[i, j, j]
                left += mode[j] * mode[j]
            spread[t, b, y, x] = np.sqrt(scene.gain[t, b] * left + scene.rest[t, b])
