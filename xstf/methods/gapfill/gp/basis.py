"""What pixels of the Gaussian process share: the covariances between dates, given their guide.

In outputs divided by their noise, with ``R`` factors ``z``, all bands of one date say no more about
``z`` than ``min(R, bands)`` numbers do: ``v = base' y = base' loading z + noise``, ``base'base =
1``, noise of variance 1. The covariance of all ``v`` is ``S``. A guide acts on ``S`` and the means
only, and the same for all pixels that see it on the same dates. Then there are two ways:

- seen ``s``, hidden ``h``: a system ``S_ss``, and ``S_hh - S_hs S_ss^-1 S_sh`` is the covariance of
  what a hidden date would show;
- the same from the precision ``A = S^-1``, found once for all pixels: ``A_hh^-1``. The estimate of
  the hidden is ``-A_hh^-1 A_hs v_s``, and the noise in all ``v``, once completed, is ``A v``.

The first is cheap where little is seen, the second where much is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Sets of dates that must share a covariance before its precision is worth an inversion, N^3
# multiplications at two thirds of our loops' pace: with half of N hidden, N^3 / 24 are saved a set.
SHARING = 36


@dataclass(frozen=True)
class Basis:
    """The numbers ``v`` of a date and how they vary; whether they vary independently."""

    base: np.ndarray  # (band, number)
    spread: np.ndarray  # joint covariance of all v, then of all guide cells, noise included
    apart: bool


class Tables(NamedTuple):
    """What each distinct set of bands says about the numbers ``v``: ``proj y = rows v + noise``."""

    which: np.ndarray  # (group, time): the set of each date
    size: np.ndarray  # (set,): its rows
    proj: np.ndarray  # (set, row, band)
    rows: np.ndarray  # (set, row, number)


def group(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group pixels ``(cell, pixel)`` by what is seen.

    Returns the pixels in order of their group, where each group starts (and the last ends), and
    each group's cells ``(group, cell)``.
    """
    lead = np.ones((1, seen.shape[1]), dtype=bool)  # so that there is a cell without any guide
    bits = np.ascontiguousarray(np.packbits(np.concatenate([lead, seen]), axis=0).T)
    keys = bits.view(np.dtype((np.void, bits.shape[1]))).ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(which, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(which.ravel(), minlength=len(first)))])
    return order, starts, np.ascontiguousarray(seen[:, first].T)


def find_basis(loading: np.ndarray, noise: np.ndarray, kernel: np.ndarray, bands: int) -> Basis:
    """Return the numbers that say all a date's bands say, and their covariance.

    The arrays are those of the method's state; the first outputs are the bands.
    """
    loading = loading / np.sqrt(noise)[:, None]
    own, width = loading[:bands], loading.shape[1]
    lone = len(loading) == bands and np.allclose(own.T @ own, np.eye(width), rtol=0, atol=1e-9)
    apart = lone and not kernel[..., ~np.eye(width, dtype=bool)].any()
    if apart:
        base = own
    elif bands <= width:
        base = np.eye(bands)
    else:
        base = np.linalg.qr(own)[0]
    blocks = [base.T @ own, loading[bands:]]
    spread = np.block([[_cross(kernel, a, b) for b in blocks] for a in blocks])
    return Basis(base, spread + np.eye(len(spread)), apart)


def _cross(kernel: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the covariance of mixtures of factors at all dates, date first."""
    cross = np.einsum("pr,turs,qs->tpuq", left, kernel, right, optimize=True)
    return np.asarray(cross.reshape(len(left) * len(kernel), len(right) * len(kernel)))


def given(basis: Basis, size: int, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of the first ``size`` once some of the others are seen.

    The second is what their mean takes from each of the seen, ``(seen, size)``.
    """
    spread = basis.spread[:size, :size]
    cells = size + np.flatnonzero(seen)
    if not cells.size:
        return spread, np.zeros((0, size))
    cross = basis.spread[cells, :size]
    pull = np.linalg.solve(basis.spread[np.ix_(cells, cells)], cross)
    return spread - cross.T @ pull, pull


def systems(
    spread: np.ndarray, width: int, apart: bool, sets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return covariances and precisions ``(system, number, number)``, a system a factor if apart.

    There is no precision, of length 0, where too few sets of dates would use it.
    """
    if apart:
        dates = len(spread) // width
        split = spread.reshape(dates, width, dates, width)
        spreads = np.stack([split[:, r, :, r] for r in range(width)])
    else:
        spreads = spread[None]
    spreads = np.ascontiguousarray((spreads + spreads.swapaxes(1, 2)) / 2)
    if sets < SHARING:
        return spreads, np.zeros((0, 1, 1))
    inverse = np.linalg.inv(spreads)
    return spreads, np.ascontiguousarray((inverse + inverse.swapaxes(1, 2)) / 2)


def tables(cells: np.ndarray, base: np.ndarray) -> Tables:
    """Return what the sets of bands say that groups see at their dates.

    Parameters
    ----------
    cells
        ``(group, time, band)``, whether a group sees a band at a date.
    base
        ``(band, number)``.
    """
    groups, dates, bands = cells.shape
    sets, which = np.unique(cells.reshape(-1, bands), axis=0, return_inverse=True)
    width = base.shape[1]
    count = np.minimum(sets.sum(axis=1), width)
    proj = np.zeros((len(sets), width, bands))
    rows = np.zeros((len(sets), width, width))
    for m, chosen in enumerate(sets):
        part = base[chosen]
        if len(part) < width:
            axes, triangle = np.eye(len(part)), part
        else:
            axes, triangle = np.linalg.qr(part)
        proj[m, : count[m]][:, chosen] = axes.T
        rows[m, : count[m]] = triangle
    return Tables(which.reshape(groups, dates), count, proj, rows)
