"""Whether what a degraded estimate leaves of the spectral cube is noise or detail.

Interpolated and degraded, an image loses its finest part. What is left of white noise and of white
detail behind a point spread differs in the correlation of neighbours.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.degrade import UPSAMPLE_REACH, round_trip
from xstf.numerics.psf import PSF_REACH, psf_table


def correlation(images: np.ndarray) -> np.ndarray:
    """Return the correlation of neighbours in images ``(n, y, x)``, 0 where there is none."""
    total, square = np.zeros(len(images)), np.zeros(len(images))
    for axis in (1, 2):
        one, other = (
            images.take(range(k, images.shape[axis] - 1 + k), axis=axis).astype(np.float64)
            for k in (0, 1)
        )
        total += np.nansum(one * other, axis=(1, 2))
        square += np.nansum((one**2 + other**2) / 2 * np.isfinite(one * other), axis=(1, 2))
    return np.divide(total, square, out=np.zeros_like(total), where=square > 0)


def correlations(*, ratio: int, fwhm: float) -> tuple[float, float]:
    """Return the correlation between neighbours of what a step puts back: of noise, of detail.

    Both are white, the noise on the coarse grid, the detail on the fine one, and interpolated and
    degraded before they are subtracted from themselves.
    """
    size = 4 * (PSF_REACH + UPSAMPLE_REACH)
    both = round_trip(size, ratio=ratio, fwhm=fwhm).astype(np.float64)
    index, weight = psf_table(size * ratio, ratio=ratio, fwhm=fwhm)
    spread = np.zeros((size, size * ratio))
    np.add.at(spread, (np.arange(size)[:, None], index), weight)
    found = []
    for seen in (np.eye(size), spread):
        again = both @ seen
        here, beside = size // 2, size // 2 + 1
        same, other = (
            [a[here] @ b[k] for a in (seen, again) for b in (seen, again)] for k in (here, beside)
        )
        signs = (1, -1, -1, 1)
        lag, zero = (
            sum(s * a * b for s, a, b in zip(signs, same, along, strict=True))
            for along in (other, same)
        )
        found.append(float(lag / zero))
    return found[0], found[1]
