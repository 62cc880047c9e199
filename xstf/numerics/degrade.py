"""From the fine grid to the coarse one and back: a blur with decimation, and a cubic interpolation.

Both act along one axis after the other, and each is a table: which input pixels, with what weights,
make an output pixel. The centres agree: the coarse pixel ``i`` has its centre at the fine position
``(i + 1/2) ratio - 1/2``. Beyond the edge of the image the pixels are mirrored.
"""

from __future__ import annotations

import math

import numpy as np

# A Gaussian's full width at half maximum in standard deviations.
FWHM_OF_SIGMA = 2 * math.sqrt(2 * math.log(2))
# Standard deviations after which the Gaussian ends: 0.05 % of its mass lies beyond them.
TRUNCATE = 3.5
# Coarse pixels after which it ends in any case, so that a method's reach does not depend on it.
PSF_REACH = 3
# The cubic convolution's free parameter: the value that is exact for parabolas (Keys 1981).
CUBIC = -0.5
# Coarse pixels which the interpolation looks at on either side, and with missing ones among them.
UPSAMPLE_REACH = 2
FILL_REACH = 2
# Pixels which the windowed sinc of a sub-pixel move takes on either side: sharper than a cubic.
SINC_REACH = 3
# Least share of the PSF's mass that must fall on valid pixels.
LEAST_MASS = 0.5
# Output pixels computed by one matrix product: few enough for the matrix to be nearly full.
BLOCK = 32


def degrade(
    images: np.ndarray, *, ratio: int, fwhm: float, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Return images as a sensor with a Gaussian point spread and coarser pixels sees them.

    Parameters
    ----------
    images : ndarray (..., y, x)
        NaN where missing; left out of the weighted means.
    ratio : int
        Fine pixels in a coarse one, along a side.
    fwhm : float
        Full width at half maximum of the point spread, in coarse pixels.
    shift : (float, float)
        Where, from their nominal centres, the coarse pixels look: down, right, in fine pixels.

    Returns
    -------
    ndarray (..., y / ratio, x / ratio), float32
        NaN where more than half of the point spread falls on missing pixels.
    """
    sides = images.shape[-2:]
    tables = [_psf(n, ratio, fwhm, s) for n, s in zip(sides, shift, strict=True)]
    valid = np.isfinite(images)
    if valid.all():
        return _separable(np.asarray(images, np.float32), tables)
    mass = _separable(valid.astype(np.float32), tables)
    total = _separable(np.where(valid, images, 0).astype(np.float32), tables)
    return np.where(mass >= LEAST_MASS, total / np.where(mass > 0, mass, 1), np.float32(np.nan))


def upsample(images: np.ndarray, *, ratio: int) -> np.ndarray:
    """Return coarse images at every fine pixel by cubic convolution.

    Parameters
    ----------
    images : ndarray (band, y / ratio, x / ratio)
        NaN where missing; the valid pixels near by stand in for them.
    ratio : int
        Fine pixels in a coarse one, along a side.

    Returns
    -------
    ndarray (band, y, x), float32
        NaN where the coarse pixel itself is missing.
    """
    tables = [_cubic(n, ratio) for n in images.shape[-2:]]
    valid = np.isfinite(images)
    if valid.all():
        return _separable(np.asarray(images, np.float32), tables)
    out = _separable(fill(images), tables)
    out[~spread(valid, ratio=ratio)] = np.nan
    return out


def register(images: np.ndarray, *, shift: np.ndarray | tuple[float, float]) -> np.ndarray:
    """Return images read at positions moved by ``shift``, by a windowed sinc.

    Parameters
    ----------
    images : ndarray (..., y, x)
        NaN where missing; the valid pixels near by stand in for them.
    shift : (float, float)
        Down, right, in pixels: what lies at ``p + shift`` comes to ``p``.

    Returns
    -------
    ndarray (..., y, x), float32
        The images as they are if there is no shift.
    """
    out = np.asarray(images, np.float32)
    if not np.any(shift):
        return out
    valid = np.isfinite(out)
    tables = [_sinc(n, float(s)) for n, s in zip(images.shape[-2:], shift, strict=True)]
    moved = _separable(fill(out), tables)
    # A pixel is missing where the nearest one to its new position is.
    nearest = [
        _mirror(np.floor(np.arange(n) + s + 0.5).astype(int), n)
        for n, s in zip(images.shape[-2:], shift, strict=True)
    ]
    moved[~valid[..., nearest[0][:, None], nearest[1]]] = np.nan
    return moved


def spread(images: np.ndarray, *, ratio: int) -> np.ndarray:
    """Return coarse images ``(..., y, x)`` at fine pixels, each pixel's value held over it."""
    return np.repeat(np.repeat(images, ratio, axis=-2), ratio, axis=-1)


def fill(images: np.ndarray) -> np.ndarray:
    """Return images ``(..., y, x)`` with missing pixels replaced by the mean of those near by.

    The window is 5 x 5 and the weights fall steeply with the distance. What has no valid pixel in
    its window becomes 0: the interpolation at a valid pixel does not look that far.
    """
    valid = np.isfinite(images)
    if valid.all():
        return np.asarray(images, np.float32)
    tables = [_window(n) for n in images.shape[-2:]]
    mass = _separable(valid.astype(np.float32), tables)
    total = _separable(np.where(valid, images, 0).astype(np.float32), tables)
    mean = total / np.where(mass > 0, mass, 1)
    return np.where(valid, images, mean).astype(np.float32)


def round_trip(size: int, *, ratio: int, fwhm: float) -> np.ndarray:
    """Return the matrix ``(size, size)`` of interpolation and degradation along a coarse axis."""
    there, back = _cubic(size, ratio), _psf(size * ratio, ratio, fwhm, 0.0)
    fine = _along(np.eye(size, dtype=np.float32), *there, axis=-2)
    return _along(fine, *back, axis=-2)


def _separable(images: np.ndarray, tables: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return images after the first table along y and the second along x."""
    rows, cols = tables
    return _along(_along(images, *rows, axis=-2), *cols, axis=-1)


def _along(images: np.ndarray, index: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
    """Return the weighted sums of one axis; ``index, weight`` are ``(output pixel, term)``."""
    shape = list(images.shape)
    shape[axis] = len(index)
    out = np.empty(shape, np.float32)
    for start in range(0, len(index), BLOCK):
        part = slice(start, start + BLOCK)
        first, last = int(index[part].min()), int(index[part].max()) + 1
        matrix = np.zeros((len(index[part]), last - first), np.float32)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], index[part] - first), weight[part])
        if axis == -2:
            out[..., part, :] = matrix @ images[..., first:last, :]
        else:
            out[..., part] = images[..., first:last] @ matrix.T
    return out


def _psf(size: int, ratio: int, fwhm: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the table of the blur with decimation along an axis of ``size`` fine pixels."""
    sigma = fwhm * ratio / FWHM_OF_SIGMA
    reach = math.ceil(min(max(TRUNCATE * sigma, 1), PSF_REACH * ratio))
    centre = (np.arange(size // ratio) + 0.5) * ratio - 0.5 + shift
    # An even number of terms around a centre between two pixels, or an odd one around a pixel.
    index = np.floor(centre + 0.5)[:, None] + np.arange(-reach - 1, reach + 2)
    distance = np.abs(index - centre[:, None])
    square = distance**2
    # Relative to the nearest pixel's, so that the narrowest spread still has some weight.
    weight = np.exp((square.min(axis=1, keepdims=True) - square) / (2 * sigma**2))
    # The small allowance keeps the two ends of a symmetric spread together under rounding.
    weight *= distance <= reach + 1e-6
    weight /= weight.sum(axis=1, keepdims=True)
    return _mirror(index.astype(np.int64), size), weight.astype(np.float32)


def _cubic(size: int, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the table of the cubic convolution along an axis of ``size`` coarse pixels."""
    position = (np.arange(size * ratio) + 0.5) / ratio - 0.5
    index = np.floor(position).astype(np.int64)[:, None] + np.arange(-1, 3)
    t = np.abs(position[:, None] - index)
    near = ((CUBIC + 2) * t - (CUBIC + 3)) * t**2 + 1
    far = CUBIC * (((t - 5) * t + 8) * t - 4)
    weight = np.where(t <= 1, near, np.where(t < 2, far, 0.0))
    return _mirror(index, size), weight.astype(np.float32)


def _sinc(size: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the table of a move by ``shift`` pixels along an axis."""
    place = np.arange(size) + shift
    index = np.floor(place).astype(np.int64)[:, None] + np.arange(1 - SINC_REACH, SINC_REACH + 1)
    t = place[:, None] - index
    weight = np.where(np.abs(t) < SINC_REACH, np.sinc(t) * np.sinc(t / SINC_REACH), 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    return _mirror(index, size), weight.astype(np.float32)


def _window(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the table of the weighted sum over the pixels near by."""
    offset = np.arange(-FILL_REACH, FILL_REACH + 1)
    index = np.arange(size)[:, None] + offset
    weight = np.where((index >= 0) & (index < size), np.exp(-(offset**2.0)), 0.0)
    return np.clip(index, 0, size - 1), weight.astype(np.float32)


def _mirror(index: np.ndarray, size: int) -> np.ndarray:
    """Return indices folded back into ``0 .. size - 1`` at the outer edges of the pixels."""
    folded = index % (2 * size)
    return np.asarray(np.minimum(folded, 2 * size - 1 - folded))
