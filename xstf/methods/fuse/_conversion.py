"""Conversion coefficients of ESTARFM: the slope of fine on coarse over similar pixels.

What the regression needs are sums over similar pixels; ``regression_terms`` is what each pixel adds
to them, ``conversion`` what follows from the sums.
"""

from __future__ import annotations

import numpy as np

STEEPEST = 5.0  # the largest conversion coefficient, from the reference code
FADE = 0.25  # share of the F-test's bound in which V comes in: a jump would hang on rounding
ROUNDING = 1e-6  # of the squares of fine: residuals of float32 data are not known to be less


def regression_terms(
    fine: np.ndarray,
    coarse: np.ndarray,
    there: np.ndarray,
    state: dict[str, np.ndarray],
    gate: bool,
) -> np.ndarray:
    """Return n, x, y, xx, xy and, for the gate, yy of fine (y) on coarse (x) over both dates.

    ``fine`` and ``coarse`` are (pair, band, y, x), ``there`` (pair, y, x) says which count; the
    result is (1 + 4 band or 1 + 5 band, y, x).
    """
    kinds, (bands, *size) = 5 if gate else 4, fine.shape[1:]
    terms = np.zeros((1 + kinds * bands, *size), np.float32)
    terms[0] = there.sum(0)
    sums = terms[1:].reshape(kinds, bands, *size)
    x_centre, y_centre = _column(state["coarse_mean"]), _column(state["mean"].mean(0))
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
    single = np.float32
    part = 1 / np.maximum(sums[0], 1)
    x, y, xx, xy, *yy = sums[1:].reshape(-1, len(prior), *sums.shape[1:])
    both = (xy - x * y * part).astype(single)
    below = np.maximum(xx - x * x * part, 0).astype(single)
    count = sums[0].astype(single)
    prior = count * _column(prior)
    slope: np.ndarray = np.clip(_quotient(both + prior, below + prior, 1), 0, STEEPEST)
    if significance == 1:
        return slope
    explained = _quotient(both * both, below, 0)
    left = np.maximum(yy[0] - y * y * part - explained, ROUNDING * yy[0]).astype(single)
    passed: np.ndarray = 1 + _passes(explained, left, count, significance) * (slope - 1)
    return passed


def _quotient(top: np.ndarray, bottom: np.ndarray, otherwise: float) -> np.ndarray:
    """Return top / bottom, and something else where bottom is not above 0."""
    return np.divide(top, bottom, out=np.full_like(bottom, otherwise), where=bottom > 0)


def _passes(
    explained: np.ndarray, left: np.ndarray, count: np.ndarray, significance: float
) -> np.ndarray:
    """Say how far regressions on count values pass the F-test: 0 is not at all, 1 clearly.

    ``explained`` and ``left`` are the sums of squares of the regression and of its residuals.
    """
    # Here, not above: importing xstf stays light.
    from scipy.special import fdtri

    freedom = np.arange(1, max(2, int(count.max()) - 1))
    bounds = np.append(np.ones(3), fdtri(1, freedom, 1 - significance) / freedom)
    bounds = np.clip(bounds, 1e-9, 1e20).astype(np.float32)  # no product overflows or vanishes
    share = _quotient(explained, left * bounds[count.astype(np.intp)], 0)
    # Two values or fewer fit any line: nothing is significant.
    return np.clip((share - 1) / FADE, 0, 1) * (count > 2)


def _column(values: np.ndarray) -> np.ndarray:
    """Shape (band,) to be beside (pair, band, y, x)."""
    return values[:, None, None].astype(np.float32)
