"""The few directions in which the spectra vary, and what is known about the coefficients in them.

With ``H (band, n)`` the spectral cube on the coarse grid and ``M`` the spatial one, a spectrum is
``mean + basis v``. All of it is learnt from the two cubes:

1. Noise. Each band is predicted from all others and the degraded ``M``; the nugget of what is
   left, that is, its semivariance extrapolated to distance 0, is the variance of its noise.
2. Directions. Bands divided by their noise, principal components above the largest one that noise
   alone would have (Marchenko-Pastur).
3. Scale. The coefficients are turned and scaled such that the differences between coarse
   neighbours, less the noise's share, have the covariance that the prior predicts, then by
   one number such that the fine detail of ``M`` has it too. The prior then needs no strength of
   its own; this scaling decides how good the result is.
4. Response. ``degrade(M) = response v + offset`` by least squares. The response to a few
   coefficients is well determined where the one to 200 bands is not. What is left is the
   misfit. A last rotation makes ``response' precision response`` diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xstf.numerics.degrade import degrade
from xstf.numerics.fourier import share
from xstf.numerics.psf import point_spread
from xstf.numerics.response import common_pixels, common_width

# Pixels per band in a regression of bands on each other, at least.
PIXELS_PER_BAND = 3
# Rows of coarse pixels whose residuals are held at a time.
ROWS = 64
# The least share of a residual's variance that is noise, and the least of a band's: they bound the
# weight of a band that the others predict exactly.
NUGGET_FLOOR = 0.1
NOISE_FLOOR = 1e-7
# Relative eigenvalues below this are rounding.
ROUNDING = 1e-10
# Pixels for each coefficient of the response, at least.
PIXELS_PER_DIRECTION = 3
# The least variance of the differences along a direction, in units of the noise's: about the
# error with which it is known from a thousand pixels.
DETAIL_FLOOR = 0.05
# The least share of the response's residual that is misfit rather than noise of the spectral cube.
MISFIT_FLOOR = 0.05


@dataclass(frozen=True)
class Noise:
    """What the part of the spatial cube is taken for that the spectral one does not explain.

    Parameters
    ----------
    whiteness : float
        How far it is white noise: 0 not at all, 1 wholly.
    bounded : bool
        Whether white noise is at most what the guide bands do not share with each other.
    """

    whiteness: float
    bounded: bool


class Subspace(NamedTuple):
    """The directions in which the spectra of a pair of cubes vary.

    Parameters
    ----------
    mean : ndarray (band,)
    basis : ndarray (band, k)
        Spectra are ``mean + basis v``.
    reader : ndarray (k, band)
        ``v = reader (h - mean)``.
    weight : ndarray (k, k)
        Inverse of the noise of ``v``.
    response : ndarray (guide_band, k)
    offset : ndarray (guide_band,)
        ``m = response v + offset``.
    precision : ndarray (guide_band, guide_band)
        Inverse of the covariance of the error of that.
    gain : ndarray (k,)
        The diagonal of ``response' precision response``.
    fwhm : float
        Of the point spread, in coarse pixels.
    """

    mean: np.ndarray
    basis: np.ndarray
    reader: np.ndarray
    weight: np.ndarray
    response: np.ndarray
    offset: np.ndarray
    precision: np.ndarray
    gain: np.ndarray
    fwhm: float


def learn(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    rank: int,
    noise_model: Noise,
    srf: np.ndarray | None = None,
    fwhm: float | np.ndarray | None = None,
) -> Subspace | None:
    """Return the subspace of a pair of cubes, None if they say nothing of each other.

    Parameters
    ----------
    spectral : ndarray (band, y / ratio, x / ratio)
    spatial : ndarray (guide_band, y, x)
    ratio : int
        Fine pixels in a coarse one, along a side.
    rank : int
        The most directions.
    noise_model : Noise
    srf : ndarray (guide_band, band), optional
        Estimated by default, as is the next.
    fwhm : float or ndarray (band,), optional
        In coarse pixels; of several widths their mean is taken.
    """
    fwhm = common_width(spectral, spatial, ratio=ratio, fwhm=fwhm)
    low = degrade(spatial, ratio=ratio, fwhm=fwhm)
    bands, guides = common_pixels(spectral, low)
    count = len(bands)
    most = min(int(rank), count // PIXELS_PER_DIRECTION)
    mean = bands.mean(axis=0) if count else np.zeros(len(spectral))
    variance = noise(spectral, low, bands - mean, guides)
    seen = variance > 0
    if most < 1 or not seen.any() or not guides.var(axis=0).any():
        return None
    unit = np.sqrt(np.where(seen, variance, 1))
    basis, reader = _directions((bands - mean) * (seen / unit), most)
    basis, reader = basis * np.where(seen, unit, 0)[:, None], reader * (seen / unit)
    scale = _detail(np.tensordot(reader.astype(np.float32), spectral, 1))
    scale /= np.sqrt(share(ratio=ratio, fwhm=fwhm))
    basis, reader = basis @ scale, np.linalg.solve(scale, reader)
    response = None if srf is None else np.asarray(srf, np.float64) @ basis
    values = (bands - mean) @ reader.T
    response, misfit = _respond(values, guides, np.linalg.inv(scale.T @ scale), response)
    # From here on in units of the fine detail that the spatial cube shows.
    fineness = np.sqrt(_smoothness(spatial, response))
    basis, scale, response = basis / fineness, scale / fineness, response / fineness
    reader = reader * fineness
    departure = _departure(np.diag(misfit), spatial, ratio, fwhm, noise_model)
    precision = np.linalg.inv(misfit * departure[:, None] * departure)
    gain, turn = np.linalg.eigh(response.T @ precision @ response)
    return Subspace(
        mean=mean, basis=basis @ turn, reader=turn.T @ reader,
        weight=turn.T @ (scale.T @ scale) @ turn, response=response @ turn,
        offset=guides.mean(axis=0), precision=precision, gain=np.maximum(gain, 0), fwhm=fwhm,
    )  # fmt: skip


def noise(
    spectral: np.ndarray, low: np.ndarray, bands: np.ndarray, guides: np.ndarray
) -> np.ndarray:
    """Return the variance of each band's noise, 0 for a band without any variance.

    Parameters
    ----------
    spectral : ndarray (band, y, x)
    low : ndarray (guide_band, y, x)
        The degraded spatial cube.
    bands, guides : ndarray (n, band), (n, guide_band)
        The pixels that both have complete.
    """
    count = len(bands)
    total = bands.var(axis=0) if count else np.zeros(len(spectral))
    seen = np.flatnonzero(total > 0)
    sharp = np.flatnonzero(guides.var(axis=0) > 0) if count else np.arange(0)
    out = np.zeros(len(spectral))
    groups = max(1, -(-PIXELS_PER_BAND * len(seen) // max(count, 1)))
    for start in range(min(groups, len(seen))):
        # Bands far apart in a group, so that each has its likes beside it in every group.
        chosen = seen[start::groups]
        cubes = [(spectral, chosen), (low, sharp)]
        out[chosen] = _noise(cubes, np.concatenate([bands[:, chosen], guides[:, sharp]], axis=1))
    return np.maximum(out, NOISE_FLOOR * total)


def _noise(cubes: list[tuple[np.ndarray, np.ndarray]], pixels: np.ndarray) -> np.ndarray:
    """Return the nugget of what each band's regression on the others leaves, of the first cube.

    ``cubes`` are images and which of them to take, ``pixels (n, band)`` their complete pixels.
    """
    count, bands = pixels.shape
    centre, unit = pixels.mean(axis=0), pixels.std(axis=0)
    scaled = (pixels - centre) / unit
    inverse = np.linalg.inv(scaled.T @ scaled / count + ROUNDING * np.eye(bands))
    own = len(cubes[0][1])
    variance = 1 / np.diag(inverse)[:own]
    filters = (variance[:, None] * inverse[:own] / unit).astype(np.float32)
    level = centre.astype(np.float32)[:, None, None]
    total, number = np.zeros((2, own)), np.zeros((2, own))
    for start in range(0, cubes[0][0].shape[1], ROWS):
        rows = slice(start, start + ROWS)
        cube = np.concatenate([images[chosen, rows] for images, chosen in cubes]) - level
        rest = np.tensordot(filters, cube, 1)
        for lag in (1, 2):
            for difference in (
                rest[:, lag:] - rest[:, :-lag],
                rest[:, :, lag:] - rest[:, :, :-lag],
            ):
                total[lag - 1] += np.nansum(difference**2, axis=(1, 2), dtype=np.float64)
                number[lag - 1] += np.isfinite(difference).sum(axis=(1, 2))
    near, far = total / np.maximum(number, 1)
    nugget = np.clip((2 * near - far) / np.where(near > 0, near, 1), NUGGET_FLOOR, 1)
    return np.asarray(variance * count / max(count - bands, 1) * nugget * unit[:own] ** 2)


def _directions(pixels: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return basis and reader of bands with unit noise, ``(n, band)``: what noise cannot make."""
    count, bands = pixels.shape
    values, vectors = np.linalg.eigh(pixels.T @ pixels / count)
    above = int((values > (1 + np.sqrt(bands / count)) ** 2).sum())
    basis = vectors[:, ::-1][:, : max(1, min(above, most))]
    return basis, basis.T


def _detail(coefficients: np.ndarray) -> np.ndarray:
    """Return the matrix ``(k, k)`` whose columns span the differences between neighbours.

    ``coefficients (k, y, x)`` have unit noise; its share is taken off.
    """
    count = len(coefficients)
    steps = [np.diff(coefficients, axis=axis).reshape(count, -1) for axis in (1, 2)]
    both = np.concatenate(steps, axis=1)
    both = both[:, np.isfinite(both).all(axis=0)]
    values, vectors = np.linalg.eigh(both @ both.T / max(both.shape[1], 1))
    scale: np.ndarray = vectors * np.sqrt(np.maximum(values - 2, DETAIL_FLOOR))
    return scale


def _respond(
    values: np.ndarray, guides: np.ndarray, covariance: np.ndarray, response: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the response ``(guide_band, k)`` and the misfit's covariance between guide bands.

    A guide band without any variance has no response.
    """
    count, size = values.shape
    centred = guides - guides.mean(axis=0)
    free = 1
    if response is None:
        response = np.linalg.lstsq(values, centred, rcond=None)[0].T
        free += size
    total = (centred**2).mean(axis=0)
    response = response * (total > 0)[:, None]
    rest = centred - values @ response.T
    whole = rest.T @ rest / max(count - free, 1)
    whole += np.diag(np.where(total > 0, NOISE_FLOOR * total, 1))
    # Less the noise of the spectral cube, in units of the whole so that a share must remain.
    root = np.linalg.cholesky(whole)
    noise = np.linalg.solve(root, response) @ covariance @ np.linalg.solve(root, response).T
    shares, turn = np.linalg.eigh(np.eye(len(whole)) - noise)
    part = root @ (turn * np.sqrt(np.maximum(shares, MISFIT_FLOOR)))
    return response, part @ part.T


def _smoothness(spatial: np.ndarray, response: np.ndarray) -> float:
    """Return how much smoother the fine detail is than the prior makes it of the coarse one.

    The guide bands show some directions of the detail as it is: the ratio of the squared
    differences between fine neighbours that the prior predicts in them to those found.
    """
    found, count = np.zeros(len(spatial)), np.zeros(len(spatial))
    for axis in (1, 2):
        difference = np.diff(spatial, axis=axis)
        found += np.nansum(difference**2, axis=(1, 2), dtype=np.float64)
        count += np.isfinite(difference).sum(axis=(1, 2))
    seen = (found > 0) & (response**2).any(axis=1)
    if not seen.any():
        return 1.0
    predicted = (response[seen] ** 2).sum(axis=1) / 2
    return float(np.exp(np.log(predicted * count[seen] / found[seen]).mean()))


def _departure(
    misfit: np.ndarray, spatial: np.ndarray, ratio: int, fwhm: float, noise: Noise
) -> np.ndarray:
    """Return how much more fine pixels depart from the response than coarse ones, by guide band.

    Departures that fill a coarse pixel are as large on either grid; white noise is larger on the
    fine one, where the point spread has not averaged it. If the noise is bounded, then by what the
    guide bands do not share with each other.
    """
    averaging = (point_spread(ratio=ratio, fwhm=fwhm) ** 2).sum() ** 2
    factor = np.full(len(misfit), averaging**-noise.whiteness)
    if noise.bounded:
        factor = np.minimum(factor, 1 + unshared_variance(spatial) / misfit)
    return np.asarray(np.sqrt(factor))


def unshared_variance(spatial: np.ndarray) -> np.ndarray:
    """Return the variance that white noise would need to make the guides' unshared texture."""
    center = spatial[:, 1:-1, 1:-1]
    sides = (
        spatial[:, 2:, 1:-1] + spatial[:, :-2, 1:-1] + spatial[:, 1:-1, 2:] + spatial[:, 1:-1, :-2]
    )
    texture = (4 * center - sides).reshape(len(spatial), -1)
    texture = texture[:, np.isfinite(texture).all(axis=0)].astype(np.float64)
    total = (texture**2).mean(axis=1) if texture.size else np.zeros(len(spatial))
    seen = total > 0
    out = np.full(len(spatial), np.inf)
    if seen.any():
        units = texture[seen] / np.sqrt(total[seen])[:, None]
        normal = units @ units.T / units.shape[1] + ROUNDING * np.eye(len(units))
        # 4 ** 2 + 4: what the Laplacian makes of the variance of white noise.
        out[seen] = total[seen] / np.diag(np.linalg.inv(normal)) / 20
    return out
