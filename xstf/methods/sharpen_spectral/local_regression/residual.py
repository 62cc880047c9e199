"""Whether what a degraded estimate leaves of the spectral cube is noise or detail.

Interpolated and degraded, an image loses its finest part. What is left of white noise and of white
detail behind a point spread differs in the correlation of neighbours.
"""

from __future__ import annotations

import math

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


def correlations(*, ratio: int, fwhm: float, steps: int = 0) -> tuple[float, float]:
    """Return the correlation between neighbours of what is left after steps: of noise, of detail.

    Both are white, the noise on the coarse grid, the detail on the fine one. The regression's
    residual was interpolated and degraded before it was subtracted from itself; so does each step.
    """
    size = 4 * (PSF_REACH + UPSAMPLE_REACH)
    both = round_trip(size, ratio=ratio, fwhm=fwhm).astype(np.float64)
    index, weight = psf_table(size * ratio, ratio=ratio, fwhm=fwhm)
    spread = np.zeros((size, size * ratio))
    np.add.at(spread, (np.arange(size)[:, None], index), weight)
    # (1 - B)^n, B being one way there and back, is a sum of powers of B along either axis.
    signs = [(-1) ** k * math.comb(steps + 1, k) for k in range(steps + 2)]
    found = []
    for seen in (np.eye(size), spread):
        powers = [np.linalg.matrix_power(both, k) @ seen for k in range(steps + 2)]
        here = size // 2
        lag, zero = (
            sum(
                s * t * (a[here] @ b[other]) * (a[here] @ b[here])
                for s, a in zip(signs, powers, strict=True)
                for t, b in zip(signs, powers, strict=True)
            )
            for other in (here + 1, here)
        )
        found.append(float(lag / zero))
    return found[0], found[1]
