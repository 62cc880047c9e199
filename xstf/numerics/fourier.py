"""The sharp image of Gaussian detail, solved exactly, one coarse frequency at a time.

For coefficients ``v (k, y, x)`` whose prior says that differences between neighbours are
independent, the estimate from coarse coefficients ``c`` (blurred, every ``ratio``-th pixel kept:
``S``) and from sharp bands ``m`` minimises

    |c - v S|^2_W + |m - R v|^2_P + penalty |grad v|^2.

In the Fourier domain the last two terms are diagonal if the coefficients are rotated such that
``R' P R = diag(gain)``. The first one couples the ``ratio^2`` frequencies that decimation folds
together, through one vector of ``k`` numbers: the matrix inversion lemma leaves a system of
``k x k`` for each coarse frequency. Nothing iterates.

Images are periodic here, so they are mirrored around their border first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from xstf.numerics.array_module import beside
from xstf.numerics.psf import point_spread

# Coarse pixels mirrored around the image at least: with fewer, what lies at the opposite border is
# seen through the period; and how many more are tried to find a length that transforms fast.
MARGIN = 8
SEARCH = 4


@dataclass(frozen=True)
class System:
    """What depends on neither the images nor the right side.

    Parameters
    ----------
    ratio : int
    shape : (int, int)
        Rows and columns of the fine grid with its margins.
    blur : ndarray (y, x / 2 + 1), complex64
        Transfer function of the decimation's transpose.
    inverse : ndarray (k, y, x / 2 + 1), float32
        Inverse of the diagonal part.
    couple : ndarray (y / ratio, x / ratio / 2 + 1, k, k), float32
        Inverse of the part that joins the folded frequencies.
    """

    ratio: int
    shape: tuple[int, int]
    blur: np.ndarray
    inverse: np.ndarray
    couple: np.ndarray


def build(
    shape: tuple[int, ...],
    *,
    ratio: int,
    gain: np.ndarray,
    weight: np.ndarray,
    fwhm: float,
    penalty: float,
    like: np.ndarray,
) -> System:
    """Return the system for fine images of ``shape``, margins included.

    Parameters
    ----------
    shape : (int, int)
        Multiples of ``ratio``.
    ratio : int
    gain : ndarray (k,)
        Diagonal of ``R' P R``.
    weight : ndarray (k, k)
        ``W``.
    fwhm : float
        Full width at half maximum of the point spread, in coarse pixels.
    penalty : float
        Weight of the squared differences between neighbours.
    like : ndarray
        An array of the side on which the system is wanted.
    """
    height, width = shape
    rows, cols = (beside(_transfer(n, ratio, fwhm), like) for n in shape)
    half = width // 2 + 1
    blur = rows[:, None] * cols[:half]
    rough = beside(penalty * roughness((height, width))[:, :half], like)
    inverse = 1 / (beside(gain[:, None, None], like) + rough)
    power = np.abs(blur) ** 2 * inverse
    joint = np.moveaxis(_fold(power, ratio, width).real, 0, -1)
    eye, least = (beside(m, like) for m in (np.eye(len(gain)), np.linalg.inv(weight)))
    couple = np.linalg.inv(joint[..., None] * eye + least)
    return System(
        ratio, (height, width), blur.astype(np.complex64), inverse.astype(np.float32),
        couple.astype(np.float32),
    )  # fmt: skip


def roughness(shape: tuple[int, int]) -> np.ndarray:
    """Return the squared differences between neighbours at each frequency, ``(y, x)``.

    The constant has none; it is given the least of the others, which keeps the system regular.
    """
    first, second = (2 - 2 * np.cos(2 * np.pi * np.arange(n) / n) for n in shape)
    total: np.ndarray = first[:, None] + second
    total[0, 0] = total.ravel()[1:].min()
    return total


def share(*, ratio: int, fwhm: float, size: int = 64) -> float:
    """Return the mean squared difference between coarse neighbours under ``penalty=1``.

    It is what the prior predicts of pixels blurred by the point spread, on a grid of ``size``
    coarse pixels a side.
    """
    length = size * ratio
    power = np.abs(_transfer(length, ratio, fwhm)) ** 2
    lag = 2 - 2 * np.cos(2 * np.pi * np.arange(length) / size)
    spectrum = (power[:, None] * power) / roughness((length, length))
    return float((spectrum * (lag[:, None] + lag) / 2).mean())


def _transfer(size: int, ratio: int, fwhm: float) -> np.ndarray:
    """Return the transform of the point spread of coarse pixel 0 on a ring of ``size``."""
    weight = point_spread(ratio=ratio, fwhm=fwhm)
    # Its centre is that of coarse pixel 0, between two fine ones if the ratio is even.
    first = (ratio - 1 - (len(weight) - 1)) // 2
    ring = np.zeros(size)
    np.add.at(ring, (first + np.arange(len(weight))) % size, weight)
    return np.asarray(fft.fft(ring))


def solve(system: System, coarse: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the transform of the minimiser.

    It is what the diagonal part alone gives, plus the gain times what the coarse coefficients have
    to add to it. The textbook's other form of the inversion lemma is the difference of two large
    numbers, which float32 does not survive on clean data.

    Parameters
    ----------
    system : System
    coarse : ndarray (k, y / ratio, x / (2 ratio) + 1)
        Transform of the coarse coefficients ``c``.
    right : ndarray (k, y, x / 2 + 1)
        Transform of ``R' P m`` and of all else that does not pass the decimation.
    """
    alone = system.inverse * right
    news = coarse - _fold(np.conj(system.blur) * alone, system.ratio, system.shape[1])
    joint = np.matmul(system.couple, np.moveaxis(news, 0, -1)[..., None])[..., 0]
    joint = np.moveaxis(joint, -1, 0)
    spectrum: np.ndarray = alone + system.inverse * (system.blur * _tile(joint, system))
    return spectrum


def transform(images: np.ndarray) -> np.ndarray:
    """Return the transform of real images over the last two axes."""
    if isinstance(images, np.ndarray):
        return np.asarray(fft.rfft2(images, workers=1))
    spectrum: np.ndarray = np.fft.rfft2(images)  # scipy's transforms are the host's
    return spectrum


def restore(system: System, spectrum: np.ndarray) -> np.ndarray:
    """Return the images of a transform, float32."""
    if isinstance(spectrum, np.ndarray):
        return np.asarray(fft.irfft2(spectrum, s=system.shape, workers=1), np.float32)
    images: np.ndarray = np.fft.irfft2(spectrum, s=system.shape, axes=(-2, -1))
    return images.astype(np.float32)


def _fold(spectrum: np.ndarray, ratio: int, width: int) -> np.ndarray:
    """Return the transform after decimation: the mean of the frequencies that become one.

    ``spectrum`` is ``(k, y, width / 2 + 1)``, the half that real images need.
    """
    count, height, half = spectrum.shape
    rows = spectrum.reshape(count, ratio, height // ratio, half).sum(axis=1)
    # The other half: the conjugate at the negative frequency of either axis.
    mirrored = np.conj(np.roll(rows[:, ::-1], 1, axis=1)[:, :, (width - 1) // 2 : 0 : -1])
    whole = np.concatenate([rows, mirrored], axis=2)
    columns = whole.reshape(count, height // ratio, ratio, width // ratio).sum(axis=2)
    folded: np.ndarray = columns[:, :, : width // ratio // 2 + 1] / ratio**2
    return folded


def _tile(spectrum: np.ndarray, system: System) -> np.ndarray:
    """Return the transform after zeros are put between the pixels: a periodic repetition."""
    width = system.shape[1] // system.ratio
    mirrored = np.conj(np.roll(spectrum[:, ::-1], 1, axis=1)[:, :, (width - 1) // 2 : 0 : -1])
    whole = np.concatenate([spectrum, mirrored], axis=2)
    repeated = np.tile(whole, (1, system.ratio, system.ratio))
    tiled: np.ndarray = repeated[:, :, : system.shape[1] // 2 + 1]
    return tiled


def margins(sides: tuple[int, ...]) -> tuple[int, int]:
    """Return how many coarse pixels to mirror at either end of each axis."""
    return _margin(sides[0]), _margin(sides[1])


def _margin(side: int) -> int:
    tried = range(MARGIN, MARGIN + SEARCH)
    return min(tried, key=lambda m: (fft.next_fast_len(side + 2 * m, real=True) - side - 2 * m, m))


def mirror(images: np.ndarray, margin: tuple[int, int]) -> np.ndarray:
    """Return images with that many pixels mirrored around them."""
    return np.pad(images, [(0, 0), *((m, m) for m in margin)], mode="symmetric")


def crop(images: np.ndarray, margin: tuple[int, int], inner: tuple[slice, slice]) -> np.ndarray:
    """Return the wanted part of images with margins."""
    rows, cols = (slice(m + s.start, m + s.stop) for m, s in zip(margin, inner, strict=True))
    return images[:, rows, cols]
