"""Conversion coefficients of ESTARFM: the slope of fine on coarse over similar pixels.

What the regression needs are sums over similar pixels; ``regression_terms`` is what each pixel adds
to them, ``conversion`` what follows from the sums.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.array_module import beside

STEEPEST = 5.0  # the largest conversion coefficient, from the reference code
FADE = 0.25  # share of the F-test's bound in which V comes in; a jump would hang on rounding
ROUNDING = 1e-6  # of the squares of fine: float32 data do not tell smaller residuals


def regression_terms(
    fine: np.ndarray,
    coarse: np.ndarray,
    there: np.ndarray,
    centres: tuple[np.ndarray, np.ndarray],
    gate: bool,
) -> np.ndarray:
    """Return n, x, y, xx, xy and, for the gate, yy of fine (y) on coarse (x) over both dates.

    ``fine`` and ``coarse`` are (pair, band, y, x), ``there`` (pair, y, x) says which count, and
    ``centres`` (band,), of coarse and of fine, are taken off against
    rounding. The result is (1 + 4 band or 1 + 5 band, y, x).
    """
    kinds, (bands, *size) = 5 if gate else 4, fine.shape[1:]
    terms = np.zeros_like(fine, np.float32, shape=(1 + kinds * bands, *size))
    terms[0] = there.sum(0)
    sums = terms[1:].reshape(kinds, bands, *size)
    x_centre, y_centre = (beside(_column(centre), fine) for centre in centres)
    for one, other, seen in zip(fine, coarse, there, strict=True):
        x, y = other - x_centre, one - y_centre
        if not seen.all():
            x[:, ~seen] = y[:, ~seen] = 0
        sums[0] += x
        sums[1] += y
        sums[2] += x * x
        sums[3] += x * y
        if gate:
            sums[4] += y * y
    return terms


def conversion(sums: np.ndarray, prior: np.ndarray, significance: float) -> np.ndarray:
    """Return V of (band, y, x), drawn to 1 by ``prior`` (band), a variance of the coarse image.

    Where the regression is not significant at the level ``significance``, V is 1; at the level 1
    nothing is tested.
    """
    bands = len(prior)
    bound = _bound(sums[0], significance) if significance < 1 else None
    # A band at a time: what is in between then stays near the processor.
    each = [_slope(sums[0], sums[1 + b :: bands], prior[b], bound) for b in range(bands)]
    return np.stack(each)


def _slope(
    count: np.ndarray, sums: np.ndarray, prior: float, bound: np.ndarray | None
) -> np.ndarray:
    """Return V of one band."""
    x, y, xx, xy, *yy = sums
    part = 1 / np.maximum(count, 1)
    both = (xy - x * y * part).astype(np.float32)
    below = np.maximum(xx - x * x * part, 0).astype(np.float32)
    pull = (count * prior).astype(np.float32)
    slope: np.ndarray = np.clip(_quotient(both + pull, below + pull, 1), 0, STEEPEST)
    if bound is None:
        return slope
    explained = _quotient(both * both, below, 0)
    left = np.maximum(yy[0] - y * y * part - explained, ROUNDING * yy[0]).astype(np.float32)
    passed = np.clip((_quotient(explained, left * bound, 0) - 1) / FADE, 0, 1)
    tested: np.ndarray = 1 + passed * (slope - 1)
    return tested


def _quotient(top: np.ndarray, bottom: np.ndarray, otherwise: float) -> np.ndarray:
    """Return top / bottom, and something else where bottom is not above 0."""
    some = bottom > 0
    quotient = top / np.where(some, bottom, np.float32(1))
    found: np.ndarray = np.where(some, quotient, np.float32(otherwise)).astype(bottom.dtype)
    return found


def _bound(count: np.ndarray, significance: float) -> np.ndarray:
    """Return what explained / left must exceed at each pixel to pass the F-test."""
    # Here, not above: importing xstf stays light.
    from scipy.special import fdtri

    freedom = np.arange(1, max(2, int(count.max()) - 1))
    # Two values or fewer fit any line: nothing is significant.
    table = np.append(np.full(3, np.inf), fdtri(1, freedom, 1 - significance) / freedom)
    # Within bounds, so that no product overflows or vanishes.
    table = np.clip(table, 1e-9, 1e20).astype(np.float32)
    bound: np.ndarray = beside(table, count)[count.astype(np.intp)]
    return bound


def _column(values: np.ndarray) -> np.ndarray:
    """Shape (band,) to be beside (pair, band, y, x)."""
    return values[:, None, None].astype(np.float32)
