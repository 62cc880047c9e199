"""How the spatial cube's sensor sees the spectral cube: its response, point spread and position.

With the spectral cube ``H (band, n)`` on the coarse grid and the spatial cube ``M (guide_band, N)``
on the fine one, the model is ``degrade(M) = R H + c``: ``R`` is the spectral response, ``c`` an
offset, and ``degrade`` blurs by a Gaussian and samples at the centres of the coarse pixels.

- The point spread's width and position are those with which ``H`` explains most of the variance of
  ``degrade(M)``, by ridge regression whose strength is chosen by generalised cross-validation; so
  many bands of few pixels do not explain anything whatsoever. Position: Gauss-Newton steps on that
  residual.
- The response is found next: non-negative, with a penalty on the difference between neighbouring
  bands whose strength is chosen by the same cross-validation, before the sign is imposed. Its rows
  are not made to sum to 1: between two real sensors they carry the gain.

Nothing here knows wavelengths; the order of the bands is taken for theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from xstf.numerics.degrade import FILL_REACH, SINC_REACH, degrade, fill, register

# Widths of the point spread, in coarse pixels, among which the search starts: from hardly any blur
# to pixels that are hardly sharper than the next but one.
WIDTHS = (0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.5, 1.8)
# Halvings of the interval around the best of them: to a hundredth of a coarse pixel.
HALVINGS = 4
# Width where nothing speaks for any: that of a sensor whose blur suits its sampling.
USUAL_WIDTH = 1.0
# Steps of the search for the position; each is a linear solution.
STEPS = 3
# Step of the central difference along the position, in fine pixels: well inside the point spread.
DIFFERENCE = 0.25
# Fine pixels below which a shift is left alone: moving the image would cost about as much.
LEAST_SHIFT = 0.1
# Standard errors that a shift must exceed: neighbouring residuals are not quite independent.
SIGNIFICANT = 5.0
# Strengths of the ridge, in units of the mean eigenvalue of the normal matrix.
STRENGTHS = 10.0 ** np.arange(-9, 1)
# Coarse pixels used at most, evenly spaced among the valid ones.
PIXELS = 20_000
# Fine pixels beside the shift that `register` reads: the sinc's, and those that fill gaps in it.
REGISTER_REACH = SINC_REACH + FILL_REACH
# Relative eigenvalues below this are rounding of float32.
ROUNDING = 1e-9


class Position(NamedTuple):
    """How wide the coarse pixels look, and where.

    Parameters
    ----------
    fwhm : float
        Of the point spread, in coarse pixels.
    shift : ndarray (2,)
        Down and right in fine pixels: what `register` takes to move the spatial cube onto the
        spectral one.
    """

    fwhm: float
    shift: np.ndarray


class Response(NamedTuple):
    """How the sensor of the spatial cube sees the spectral one.

    Parameters
    ----------
    srf : ndarray (guide_band, band)
        The spectral response.
    offset : ndarray (guide_band,)
        ``degrade(spatial) = srf @ spectral + offset`` after a move by `shift`.
    fwhm : float
    shift : ndarray (2,)
        As in `Position`.
    """

    srf: np.ndarray
    offset: np.ndarray
    fwhm: float
    shift: np.ndarray


def respond(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    srf: np.ndarray | None = None,
    fwhm: float | np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> Response:
    """Return the response of the spatial sensor: what is given, and estimates of the rest.

    Parameters
    ----------
    spectral : ndarray (band, y / ratio, x / ratio)
    spatial : ndarray (guide_band, y, x)
    ratio : int
        Fine pixels in a coarse one, along a side.
    srf : ndarray (guide_band, band), optional
    fwhm : float or ndarray (band,), optional
        In coarse pixels; of several widths their mean is taken.
    shift : ndarray (2,), optional
        Fine pixels.
    """
    width, shift = locate(spectral, spatial, ratio=ratio, fwhm=fwhm, shift=shift)
    spatial = register(spatial, shift=shift)
    if srf is None:
        srf, offset = estimate_srf(spectral, spatial, ratio=ratio, fwhm=width)
    else:
        srf = np.asarray(srf, np.float64)
        bands, guides = common_pixels(spectral, degrade(spatial, ratio=ratio, fwhm=width))
        offset = (guides - bands @ srf.T).mean(axis=0) if len(bands) else np.zeros(len(srf))
    return Response(srf, offset, width, shift)


def locate(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    fwhm: float | np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> Position:
    """Return width and shift, given or estimated; parameters as of `respond`."""
    width = common_width(spectral, spatial, ratio=ratio, fwhm=fwhm)
    if shift is not None:
        return Position(width, np.asarray(shift, np.float64))
    shift = estimate_shift(spectral, spatial, ratio=ratio, fwhm=width)
    if shift.any() and fwhm is None:
        # A position that is off looks like blur.
        moved = register(spatial, shift=shift)
        width = estimate_fwhm(spectral, moved, ratio=ratio)
        shift = estimate_shift(spectral, spatial, ratio=ratio, fwhm=width)
    return Position(width, shift)


def common_width(
    spectral: np.ndarray, spatial: np.ndarray, *, ratio: int, fwhm: float | np.ndarray | None
) -> float:
    """Return one width of the point spread for all bands: the mean of those given, or estimated."""
    if fwhm is None:
        return estimate_fwhm(spectral, spatial, ratio=ratio)
    return float(np.mean(fwhm))


def register_halo(ratio: int) -> int:
    """Return how many fine pixels around a pixel `register` looks at, after the largest shift."""
    return ratio + REGISTER_REACH


def estimate_fwhm(spectral: np.ndarray, spatial: np.ndarray, *, ratio: int) -> float:
    """Return the point spread's full width at half maximum, in coarse pixels.

    Parameters
    ----------
    spectral : ndarray (band, y / ratio, x / ratio)
    spatial : ndarray (guide_band, y, x)
    ratio : int
        Fine pixels in a coarse one, along a side.
    """
    basis = _basis(spectral, spatial, ratio)
    if basis is None:
        return USUAL_WIDTH
    costs = [_cost(basis, spatial, ratio, width) for width in WIDTHS]
    best = int(np.argmin(costs))
    width, cost = WIDTHS[best], costs[best]
    step = (WIDTHS[min(best + 1, len(WIDTHS) - 1)] - WIDTHS[max(best - 1, 0)]) / 4
    for _ in range(HALVINGS):
        for trial in (width - step, width + step):
            if WIDTHS[0] <= trial <= WIDTHS[-1]:
                new = _cost(basis, spatial, ratio, trial)
                if new < cost:
                    width, cost = trial, new
                    break
        step /= 2
    return float(width)


def estimate_shift(
    spectral: np.ndarray, spatial: np.ndarray, *, ratio: int, fwhm: float
) -> np.ndarray:
    """Return where the coarse pixels look from where they should: down, right, in fine pixels.

    Parameters
    ----------
    spectral : ndarray (band, y / ratio, x / ratio)
    spatial : ndarray (guide_band, y, x)
    ratio : int
        Fine pixels in a coarse one, along a side.
    fwhm : float
        Full width at half maximum of the point spread, in coarse pixels.

    Returns
    -------
    ndarray (2,)
        At most a coarse pixel either way, and 0 along an axis where it is too small to matter or
        to be told from 0. `register` takes it, and ``degrade(..., shift=)``.
    """
    basis = _basis(spectral, spatial, ratio)
    shift = np.zeros(2)
    if basis is None:
        return shift
    cost = _cost(basis, spatial, ratio, fwhm)
    for _ in range(STEPS):
        trial = np.clip(shift + _step(basis, spatial, ratio, fwhm, shift)[0], -ratio, ratio)
        new = _cost(basis, spatial, ratio, fwhm, trial)
        if not new < cost:
            break
        shift, cost = trial, new
    _, error = _step(basis, spatial, ratio, fwhm, shift)
    sure = np.abs(shift) > np.maximum(LEAST_SHIFT, SIGNIFICANT * error)
    return np.where(sure, shift, 0.0)


def estimate_srf(
    spectral: np.ndarray, spatial: np.ndarray, *, ratio: int, fwhm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectral response, non-negative and smooth, and the offset of each guide band.

    Parameters
    ----------
    spectral : ndarray (band, y / ratio, x / ratio)
        Bands in the order of their wavelengths.
    spatial : ndarray (guide_band, y, x)
    ratio : int
        Fine pixels in a coarse one, along a side.
    fwhm : float
        Full width at half maximum of the point spread, in coarse pixels.

    Returns
    -------
    srf : ndarray (guide_band, band)
    offset : ndarray (guide_band,)
        ``degrade(spatial) = srf @ spectral + offset``.
    """
    bands, guides = common_pixels(spectral, degrade(spatial, ratio=ratio, fwhm=fwhm))
    if len(bands) < 2:
        return np.zeros((len(spatial), len(spectral))), np.zeros(len(spatial))
    centre, level = bands.mean(axis=0), guides.mean(axis=0)
    if _flat(bands):
        return np.zeros((len(spatial), len(spectral))), level
    largest = max(float(np.abs(bands).max()), float(np.abs(guides).max()))
    bands, guides = bands - centre, guides - level
    unit = np.sqrt((bands**2).sum() / len(centre))
    # What float32 leaves undecided, relative to the bands' variation: without noise, the fit would
    # follow it, and change with the unit of the data.
    rounding = max(np.finfo(np.float32).eps * largest * np.sqrt(len(bands)) / unit, ROUNDING)
    bands, guides = bands / unit, guides / unit
    gram, cross = bands.T @ bands, bands.T @ guides
    square = (guides**2).sum(axis=0)
    strengths = _smoothness(gram, cross, square, len(bands), rounding)
    srf = np.empty((len(spatial), len(spectral)))
    for guide, strength in enumerate(strengths):
        # With L L' the normal matrix, ||L'x - L^-1 c|| is the penalised cost up to a constant.
        lower = cholesky(gram + _penalty(len(gram), strength, rounding), lower=True)
        srf[guide] = nnls(lower.T, solve_triangular(lower, cross[:, guide], lower=True))[0]
    return srf, level - srf @ centre


def common_pixels(spectral: np.ndarray, guides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two cubes of one grid as ``(pixel, band)``, float64, where no band is missing."""
    valid = np.flatnonzero(np.isfinite(spectral).all(axis=0) & np.isfinite(guides).all(axis=0))
    valid = valid[:: -(-len(valid) // PIXELS) or 1]
    flat = (cube.reshape(len(cube), -1)[:, valid].T for cube in (spectral, guides))
    first, second = (np.ascontiguousarray(cube, np.float64) for cube in flat)
    return first, second


def _flat(values: np.ndarray) -> bool:
    """Return whether all of ``(n, band)`` varies no more than float32's rounding."""
    level = np.abs(values).max()
    return bool(np.ptp(values, axis=0).max() <= 4 * np.finfo(np.float32).eps * level)


def _penalty(size: int, strength: float, rounding: float) -> np.ndarray:
    """Return the matrix of the squared differences between neighbours, made definite.

    ``rounding`` on the diagonal is what makes it so: errors of that size grow no larger than its
    root.
    """
    difference = np.diff(np.eye(size), axis=0)
    return np.asarray(strength * difference.T @ difference + rounding * np.eye(size))


def _smoothness(
    gram: np.ndarray, cross: np.ndarray, square: np.ndarray, count: int, rounding: float
) -> np.ndarray:
    """Return the strength of the penalty for each guide band, by cross-validation.

    Residuals below ``rounding`` are alike; the strongest penalty among those is taken.
    """
    costs = []
    for strength in STRENGTHS:
        inverse = np.linalg.inv(gram + _penalty(len(gram), strength, rounding))
        slope = inverse @ cross
        rest = square - 2 * (slope * cross).sum(axis=0) + (slope * (gram @ slope)).sum(axis=0)
        freedom = count - 1 - float((inverse * gram).sum())
        rest = np.maximum(rest, rounding**2)
        costs.append(rest / freedom**2 if freedom > 0 else np.full_like(rest, np.inf))
    return np.asarray(STRENGTHS[np.argmin(costs, axis=0)])


@dataclass(frozen=True)
class _Basis:
    """The spectral cube's pixels as orthonormal columns.

    Parameters
    ----------
    place : ndarray (n,)
        Which coarse pixels, counted along the rows.
    vectors : ndarray (n, component)
    values : ndarray (component,)
        Their squared lengths, relative to the mean one.
    """

    place: np.ndarray
    vectors: np.ndarray
    values: np.ndarray


def _basis(spectral: np.ndarray, spatial: np.ndarray, ratio: int) -> _Basis | None:
    """Return the basis of the pixels that both cubes have, None if they say nothing."""
    seen = [
        np.isfinite(degrade(spatial[:1], ratio=ratio, fwhm=w))[0]
        for w in WIDTHS[:: len(WIDTHS) - 1]
    ]
    valid = np.flatnonzero(np.isfinite(spectral).all(axis=0) & seen[0] & seen[1])
    place = valid[:: -(-len(valid) // PIXELS) or 1]
    if len(place) < 4:
        return None
    bands = spectral.reshape(len(spectral), -1)[:, place].astype(np.float64)
    if _flat(bands.T):
        return None
    bands -= bands.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(bands @ bands.T)
    kept = values > ROUNDING * values[-1]
    columns = bands.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    return _Basis(place, columns, values[kept] / values.mean())


def _targets(
    basis: _Basis, spatial: np.ndarray, ratio: int, fwhm: float, shift: np.ndarray | None = None
) -> np.ndarray:
    """Return the degraded spatial cube at the basis's pixels, centred, ``(n, guide_band)``."""
    move = (0.0, 0.0) if shift is None else (float(shift[0]), float(shift[1]))
    guides = fill(degrade(spatial, ratio=ratio, fwhm=fwhm, shift=move))
    targets = guides.reshape(len(guides), -1)[:, basis.place].T.astype(np.float64)
    still = [_flat(targets[:, [k]]) for k in range(len(guides))]
    return np.where(still, 0, targets - targets.mean(axis=0))


def _validate(basis: _Basis, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each target's share that the basis leaves, cross-validated, and the best strength."""
    total = (targets**2).sum(axis=0)
    parts = basis.vectors.T @ targets
    shares = []
    for strength in STRENGTHS:
        kept = basis.values / (basis.values + strength)
        rest = total - ((1 - (1 - kept) ** 2) @ parts**2)
        freedom = 1 - (1 + kept.sum()) / len(targets)
        shares.append(
            np.maximum(rest, 0) / freedom**2 if freedom > 0 else np.full_like(total, np.inf)
        )
    best = np.argmin(shares, axis=0)
    least = np.min(shares, axis=0)
    return np.divide(least, total, out=np.ones_like(total), where=total > 0), STRENGTHS[best]


def _cost(
    basis: _Basis, spatial: np.ndarray, ratio: int, fwhm: float, shift: np.ndarray | None = None
) -> float:
    """Return the mean share of the degraded guide bands that the spectral cube leaves."""
    return float(_validate(basis, _targets(basis, spatial, ratio, fwhm, shift))[0].mean())


def _step(
    basis: _Basis, spatial: np.ndarray, ratio: int, fwhm: float, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the change of the position that the residual asks for, and its standard error."""
    targets = _targets(basis, spatial, ratio, fwhm, shift)
    strength = _validate(basis, targets)[1]
    kept = basis.values[:, None] / (basis.values[:, None] + strength)

    def left(values: np.ndarray) -> np.ndarray:
        scale = np.sqrt((targets**2).sum(axis=0))
        rest = values - basis.vectors @ (kept * (basis.vectors.T @ values))
        share = np.divide(rest, scale, out=np.zeros_like(rest), where=scale > 0)
        return np.asarray(share.ravel())

    slopes = []
    for unit in np.eye(2) * DIFFERENCE:
        after, before = (
            _targets(basis, spatial, ratio, fwhm, shift + sign * unit) for sign in (1, -1)
        )
        slopes.append(left((after - before) / (2 * DIFFERENCE)))
    design, rest = np.stack(slopes, axis=1), -left(targets)
    inverse = np.linalg.pinv(design.T @ design)
    change = inverse @ (design.T @ rest)
    # The guide bands' residuals are much alike: as many observations as there are pixels.
    variance = float(((rest - design @ change) ** 2).sum()) * spatial.shape[0] / max(rest.size, 1)
    return np.asarray(change), np.asarray(np.sqrt(np.diag(inverse) * variance))
