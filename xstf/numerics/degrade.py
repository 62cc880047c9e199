"""From the fine grid to the coarse one and back: a blur with decimation, and a cubic interpolation.

Both act along one axis after the other, and each is a table: which input pixels, with what weights,
make an output pixel. The centres agree: the coarse pixel ``i`` has its centre at the fine position
``(i + 1/2) ratio - 1/2``. Beyond the edge of the image the pixels are mirrored.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.array_module import beside
from xstf.numerics.psf import Table, mirror_index, psf_table

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
    tables = [
        psf_table(n, ratio=ratio, fwhm=fwhm, shift=s) for n, s in zip(sides, shift, strict=True)
    ]
    valid = np.isfinite(images)
    if valid.all():
        return apply_tables(images.astype(np.float32, copy=False), tables)
    mass = apply_tables(valid.astype(np.float32), tables)
    total = apply_tables(np.where(valid, images, 0).astype(np.float32), tables)
    return np.where(mass >= LEAST_MASS, total / np.where(mass > 0, mass, 1), np.float32(np.nan))


def degrade_bands(images: np.ndarray, *, ratio: int, fwhm: float | np.ndarray) -> np.ndarray:
    """Return `degrade` of images ``(..., band, y, x)``, each band's width its own.

    Parameters
    ----------
    images : ndarray (..., band, y, x)
    ratio : int
    fwhm : float or ndarray (band,)
        In coarse pixels.
    """
    widths = np.broadcast_to(np.asarray(fwhm, np.float64), images.shape[-3:-2])
    shape = *images.shape[:-2], *(n // ratio for n in images.shape[-2:])
    out = np.empty(shape, np.float32)
    for width in np.unique(widths):
        own = widths == width
        out[..., own, :, :] = degrade(images[..., own, :, :], ratio=ratio, fwhm=float(width))
    return out


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
        return apply_tables(images.astype(np.float32, copy=False), tables)
    out = apply_tables(fill(images), tables)
    out[~spread(valid, ratio=ratio)] = np.nan
    return out


def bilinear(images: np.ndarray, *, ratio: int) -> np.ndarray:
    """Return coarse images ``(..., y, x)`` at every fine pixel, float32, linear between centres.

    None of them may miss a pixel. Beyond the outermost centres they are held.
    """
    tables = [_linear(n, ratio) for n in images.shape[-2:]]
    return apply_tables(images.astype(np.float32, copy=False), tables)


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
    out = images.astype(np.float32, copy=False)
    if not np.any(shift):
        return out
    valid = np.isfinite(out)
    tables = [_sinc(n, float(s)) for n, s in zip(images.shape[-2:], shift, strict=True)]
    moved = apply_tables(fill(out), tables)
    # A pixel is missing where the nearest one to its new position is.
    nearest = [
        mirror_index(np.floor(np.arange(n) + s + 0.5).astype(int), n)
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
        return images.astype(np.float32, copy=False)
    tables = [_window(n) for n in images.shape[-2:]]
    mass = apply_tables(valid.astype(np.float32), tables)
    total = apply_tables(np.where(valid, images, 0).astype(np.float32), tables)
    mean = total / np.where(mass > 0, mass, 1)
    return np.where(valid, images, mean).astype(np.float32)


def block_means(fine: np.ndarray, ratio: int) -> np.ndarray:
    """Return the mean of the valid fine pixels in each coarse pixel, float64, NaN without any.

    Parameters
    ----------
    fine : ndarray (..., y, x)
    ratio : int
        Fine pixels in a coarse one, along a side.

    Returns
    -------
    ndarray (..., y / ratio, x / ratio)
    """
    valid = ~np.isnan(fine)
    total = _block_sums(np.where(valid, fine, 0), ratio, np.float64)
    count = _block_sums(valid, ratio, np.int64)
    means: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def _block_sums(values: np.ndarray, ratio: int, kind: type[np.generic]) -> np.ndarray:
    """Return the sums of blocks; rows first: several times as fast as both axes at once."""
    *lead, height, width = values.shape
    rows = values.reshape(*lead, height // ratio, ratio, width).sum(axis=-2, dtype=kind)
    sums: np.ndarray = rows.reshape(*rows.shape[:-1], width // ratio, ratio).sum(axis=-1)
    return sums


def round_trip(size: int, *, ratio: int, fwhm: float) -> np.ndarray:
    """Return the matrix ``(size, size)`` of interpolation and degradation along a coarse axis."""
    there, back = _cubic(size, ratio), psf_table(size * ratio, ratio=ratio, fwhm=fwhm)
    fine = _along(np.eye(size, dtype=np.float32), *there, axis=-2)
    return _along(fine, *back, axis=-2)


def apply_tables(images: np.ndarray, tables: list[Table]) -> np.ndarray:
    """Return images ``(..., y, x)``, float32, after the first table along y, the second along x."""
    rows, cols = tables
    return _along(_along(images, *rows, axis=-2), *cols, axis=-1)


def _along(images: np.ndarray, index: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
    """Return the weighted sums of one axis; ``index, weight`` are ``(output pixel, term)``."""
    shape = list(images.shape)
    shape[axis] = len(index)
    out = np.empty_like(images, np.float32, shape=tuple(shape))
    for start in range(0, len(index), BLOCK):
        part = slice(start, start + BLOCK)
        first, last = int(index[part].min()), int(index[part].max()) + 1
        matrix = np.zeros((len(index[part]), last - first), np.float32)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], index[part] - first), weight[part])
        matrix = beside(matrix, images)
        if axis == -2:
            out[..., part, :] = matrix @ images[..., first:last, :]
        else:
            out[..., part] = images[..., first:last] @ matrix.T
    return out


def _cubic(size: int, ratio: int) -> Table:
    """Return the table of the cubic convolution along an axis of ``size`` coarse pixels."""
    position = (np.arange(size * ratio) + 0.5) / ratio - 0.5
    index = np.floor(position).astype(np.int64)[:, None] + np.arange(-1, 3)
    t = np.abs(position[:, None] - index)
    near = ((CUBIC + 2) * t - (CUBIC + 3)) * t**2 + 1
    far = CUBIC * (((t - 5) * t + 8) * t - 4)
    weight = np.where(t <= 1, near, np.where(t < 2, far, 0.0))
    return mirror_index(index, size), weight.astype(np.float32)


def _linear(size: int, ratio: int) -> Table:
    """Return the table of the linear interpolation along an axis of ``size`` coarse pixels."""
    position = (np.arange(size * ratio) + 0.5) / ratio - 0.5
    low = np.floor(position)
    index = low.astype(np.int64)[:, None] + np.arange(2)
    high = position - low
    return np.clip(index, 0, size - 1), np.stack([1 - high, high], axis=1).astype(np.float32)


def _sinc(size: int, shift: float) -> Table:
    """Return the table of a move by ``shift`` pixels along an axis."""
    place = np.arange(size) + shift
    index = np.floor(place).astype(np.int64)[:, None] + np.arange(1 - SINC_REACH, SINC_REACH + 1)
    t = place[:, None] - index
    weight = np.where(np.abs(t) < SINC_REACH, np.sinc(t) * np.sinc(t / SINC_REACH), 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    return mirror_index(index, size), weight.astype(np.float32)


def _window(size: int) -> Table:
    """Return the table of the weighted sum over the pixels near by."""
    offset = np.arange(-FILL_REACH, FILL_REACH + 1)
    index = np.arange(size)[:, None] + offset
    weight = np.where((index >= 0) & (index < size), np.exp(-(offset**2.0)), 0.0)
    return np.clip(index, 0, size - 1), weight.astype(np.float32)
