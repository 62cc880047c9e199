"""What the classical methods share: fewer, cleaner components, details' coefficients, residuals.

Components. With many bands most dimensions of the spectral cube hold noise alone. Each band's noise
is what the other bands do not explain of it (Roger & Arnold 1996, doi:10.1080/01431169608948750),
by ridge regression, so that there may be more bands than pixels. The bands are divided by it, and
the singular values shrunk as is optimal for white noise (Gavish & Donoho 2017,
doi:10.1109/TIT.2017.2653801). Where that leaves half of the dimensions or more, the rest is too
small to be told for noise, and nothing is done: so it is with the few bands of a multispectral
sensor.

Coefficients. The details that a method adds are finer than a coarse pixel. How the spectral bands
follow the guide bands is learned from the finest details that both have, each image less its
3 x 3 smooth, and not from the images themselves, whose large contrasts between land covers would
decide else. It is a ridge regression, its strength chosen by generalised cross-validation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.array_module import beside
from xstf.numerics.degrade import (
    FILL_REACH,
    SINC_REACH,
    UPSAMPLE_REACH,
    fill,
    round_trip,
    spread,
)
from xstf.numerics.psf import PSF_REACH
from xstf.numerics.response import PIXELS, ROUNDING, STRENGTHS

# Pixels from which the noise can be told.
FEWEST_PIXELS = 16
# Times that a pixel's missing bands are replaced by what its other bands say of them.
REFINEMENTS = 3
# Times that what the interpolated residual lacks is put back.
RETURNS = 2
# Weights of the 3 x 3 smooth along an axis.
SMOOTH = (0.25, 0.5, 0.25)


class Components(NamedTuple):
    """The maps between bands and components.

    Parameters
    ----------
    centre : ndarray (band,)
    into : ndarray (component, band) or None
    back : ndarray (band, component) or None
        The cube without noise is ``centre + back @ into @ (spectral - centre)``. None where the
        noise cannot be told from the rest: the bands are their own components then.
    """

    centre: np.ndarray
    into: np.ndarray | None = None
    back: np.ndarray | None = None


def components(spectral: np.ndarray, *, denoise: bool) -> Components:
    """Return the maps between bands and components.

    Parameters
    ----------
    spectral : ndarray (band, y, x)
    denoise : bool
        Whether components are wanted at all.
    """
    flat = spectral.reshape(len(spectral), -1)
    valid = np.flatnonzero(np.isfinite(flat).all(axis=0))
    valid = valid[:: -(-len(valid) // PIXELS) or 1]
    if len(valid) < 2:
        return Components(_means(flat))
    bands = flat[:, valid].astype(np.float64)
    centre = bands.mean(axis=1)
    bands -= centre[:, None]
    if not denoise or len(valid) < FEWEST_PIXELS:
        return Components(centre)
    scale = _noise(bands)
    gram = (bands @ bands.T) / np.outer(scale, scale) / len(valid)
    values, vectors = np.linalg.eigh(gram)
    kept = _shrink(np.sqrt(np.maximum(values, 0)), len(bands) / len(valid))
    chosen = kept > 0
    if not 0 < 2 * chosen.sum() < len(bands):
        return Components(centre)
    back = vectors[:, chosen] * scale[:, None]
    into = (vectors[:, chosen] * kept[chosen]).T / scale
    return Components(centre, into, back)


def _means(flat: np.ndarray) -> np.ndarray:
    """Return each row's mean over its valid values, 0 where there is none."""
    valid = np.isfinite(flat)
    total = np.where(valid, flat, 0).sum(axis=1, dtype=np.float64)
    return np.asarray(total / np.maximum(valid.sum(axis=1), 1))


def _noise(bands: np.ndarray) -> np.ndarray:
    """Return each band's standard deviation about its ridge regression on all others."""
    size, count = bands.shape
    spread = np.sqrt((bands**2).mean(axis=1))
    spread = np.where(spread > 0, spread, 1)
    values, vectors = np.linalg.eigh((bands @ bands.T) / np.outer(spread, spread) / count)
    values, square = np.maximum(values, 0), vectors**2
    rest, freedom = [], []
    for strength in STRENGTHS:
        # With Q = (G + strength)^-1, all regressions at once: residuals are Q Y / diag(Q).
        inverse = 1 / (values + strength)
        rest.append((square @ (values * inverse**2)) / (square @ inverse) ** 2)
        freedom.append(1 - (values * inverse).sum() * (size - 1) / size / count)
    share = np.maximum(freedom, 1 / count)[:, None]
    best = np.argmin(np.asarray(rest) / share**2, axis=0)
    variance = (np.asarray(rest) / share)[best, np.arange(size)]
    return np.asarray(spread * np.sqrt(np.maximum(variance, ROUNDING)))


def _shrink(singular: np.ndarray, aspect: float) -> np.ndarray:
    """Return by what to multiply singular values; 1 is the noise's, ``aspect`` bands a pixel."""
    square = singular**2
    gap = (square - aspect - 1) ** 2 - 4 * aspect
    above = singular > 1 + np.sqrt(aspect)
    return np.sqrt(np.where(above, gap, 0)) / np.where(above, square, 1)


def project(spectral: np.ndarray, maps: Components) -> np.ndarray:
    """Return the components ``(component, y, x)``, float32, NaN where too few bands are valid.

    Without components these are the bands less their centres.
    """
    bands: np.ndarray = spectral - beside(maps.centre.astype(np.float32)[:, None, None], spectral)
    if maps.into is None or maps.back is None:
        return bands
    into, back = (beside(m.astype(np.float32), spectral) for m in (maps.into, maps.back))
    flat = bands.reshape(len(bands), -1)
    missing = np.isnan(flat)
    some = np.flatnonzero(missing.any(axis=0))
    out = into @ (np.where(missing, 0, flat) if len(some) else flat)
    if len(some):
        holes, part = missing[:, some], flat[:, some]
        for _ in range(REFINEMENTS):
            out[:, some] = into @ np.where(holes, back @ out[:, some], part)
        out[:, some[2 * holes.sum(axis=0) > len(bands)]] = np.nan
    parts: np.ndarray = out.reshape(len(into), *bands.shape[1:])
    return parts


def restore(values: np.ndarray, maps: Components) -> np.ndarray:
    """Return bands ``(band, y, x)``, float32, from components."""
    if maps.back is not None:
        flat = beside(maps.back.astype(np.float32), values) @ values.reshape(len(values), -1)
        values = flat.reshape(-1, *values.shape[1:])
    bands: np.ndarray = values + beside(maps.centre.astype(np.float32)[:, None, None], values)
    return bands


def coefficients(targets: np.ndarray, guides: np.ndarray) -> np.ndarray:
    """Return how the finest details of images follow those of guides on the same grid.

    Parameters
    ----------
    targets : ndarray (image, y, x)
    guides : ndarray (guide_band, y, x)

    Returns
    -------
    ndarray (image, guide_band)
    """
    first, second = finest(targets), finest(guides)
    valid = np.flatnonzero(np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0))
    valid = valid[:: -(-len(valid) // PIXELS) or 1]
    flat = (x.reshape(len(x), -1)[:, valid].T.astype(np.float64) for x in (second, first))
    return ridge(*flat).T


def finest(images: np.ndarray) -> np.ndarray:
    """Return images ``(image, y, x)`` less their 3 x 3 smooth; NaN beside missing pixels."""
    out = np.empty_like(images)
    for image, own in zip(images, out, strict=True):  # one by one: a scene's bands are large
        np.subtract(image, _smooth(image), out=own)
    return out


def _smooth(image: np.ndarray) -> np.ndarray:
    smooth = image
    for axis in (0, 1):
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        size = image.shape[axis]
        padded = np.pad(smooth, ends, mode="edge")
        parts = (padded.take(range(k, k + size), axis=axis) for k in range(3))
        smooth = np.asarray(sum(w * part for w, part in zip(SMOOTH, parts, strict=True)))
    return smooth


def ridge(columns: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the slopes ``(column, target)`` of centred targets on centred columns.

    Each target has its own strength, by generalised cross-validation. Columns are brought to one
    scale first.
    """
    slopes = np.zeros((columns.shape[1], targets.shape[1]))
    if len(columns) < 3:
        return slopes
    targets = targets - targets.mean(axis=0)
    columns = columns - columns.mean(axis=0)
    scale = np.sqrt((columns**2).sum(axis=0))
    scale = np.where(scale > 0, scale, 1)
    left, values, right = np.linalg.svd(columns / scale, full_matrices=False)
    parts, total = left.T @ targets, (targets**2).sum(axis=0)
    mean = max(float((values**2).mean()), np.finfo(float).tiny)
    costs, kept = [], []
    for strength in STRENGTHS:
        share = values**2 / (values**2 + strength * mean)
        rest = total - (1 - (1 - share) ** 2) @ parts**2
        freedom = 1 - (1 + share.sum()) / len(targets)
        costs.append(rest / freedom**2 if freedom > 0 else np.full_like(rest, np.inf))
        kept.append(share / np.where(values > 0, values, 1))
    best = np.asarray(kept)[np.argmin(costs, axis=0)].T
    return np.asarray((right.T @ (best * parts)) / scale[:, None])


def returned(residual: np.ndarray, *, ratio: int, fwhm: float) -> np.ndarray:
    """Return a residual on the coarse grid such that its interpolation, degraded, gives it back.

    The interpolation smooths: what it loses is added, twice. Missing pixels are filled.
    """
    residual = fill(residual)
    rows, cols = (
        beside(round_trip(n, ratio=ratio, fwhm=fwhm), residual) for n in residual.shape[-2:]
    )
    out = residual
    for _ in range(RETURNS):
        out = out + (residual - rows @ out @ cols.T)
    return out.astype(np.float32, copy=False)


def halo(ratio: int) -> int:
    """Return the reach in fine pixels of what is above, behind a move and a degradation."""
    residual = UPSAMPLE_REACH + RETURNS * (UPSAMPLE_REACH + PSF_REACH) + FILL_REACH
    # A coarse pixel for the largest shift; the fine pixels of a move and of filling before it.
    return ratio * (residual + PSF_REACH + 2) + SINC_REACH + FILL_REACH


def masked(
    estimate: np.ndarray,
    spectral: np.ndarray,
    spatial: np.ndarray,
    ratio: int,
    inner: tuple[slice, slice],
) -> np.ndarray:
    """Return the estimate ``(band, *inner)`` with NaN where a pixel of either cube is missing."""
    gone = ~np.isfinite(spatial[:, *inner]).all(axis=0)
    holes = np.isnan(spectral)
    if holes.any():
        gone = gone | spread(holes, ratio=ratio)[:, *inner]
    elif not gone.any():
        return estimate.astype(np.float32, copy=False)
    return np.where(gone, np.float32(np.nan), estimate).astype(np.float32)
