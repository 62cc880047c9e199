"""From two cubes to the coefficients of a subspace and back to spectra: what solvers share.

A solver works in the Fourier domain (`xstf.numerics.fourier`), on images that are mirrored around
their border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from xstf.numerics.array_module import beside, of_host
from xstf.numerics.degrade import fill, upsample
from xstf.numerics.fourier import (
    System,
    build,
    crop,
    margins,
    mirror,
    restore,
    solve,
    transform,
)
from xstf.numerics.subspace import ROUNDING, Subspace

# Makes the coefficients ``(k, y, x)`` of the transforms of the coarse ones and of what the spatial
# cube says, and of the shape ``(y, x)``.
Solver: TypeAlias = Callable[[np.ndarray, np.ndarray, tuple[int, ...]], np.ndarray]


def solve_mirrored(
    spectral: np.ndarray,
    spatial: np.ndarray,
    subspace: Subspace,
    *,
    ratio: int,
    inner: tuple[slice, slice],
    solver: Solver,
) -> np.ndarray:
    """Return the coefficients ``(k, *inner)`` that a solver finds, also where an input is missing.

    Parameters
    ----------
    spectral : ndarray (band, y / ratio, x / ratio)
    spatial : ndarray (guide_band, y, x)
    subspace : Subspace
    ratio : int
        Fine pixels in a coarse one, along a side.
    inner : (slice, slice)
        Rows and columns that are wanted.
    solver : callable
    """
    margin = margins(spectral.shape[1:])
    fine_margin = (margin[0] * ratio, margin[1] * ratio)
    coarse = read(spectral, subspace)
    pull = mirror(drive(spatial, coarse, subspace, ratio), fine_margin)
    values = solver(transform(mirror(coarse, margin)), transform(pull), pull.shape[1:])
    return crop(values, fine_margin, inner)


def solve_gaussian(
    coarse: np.ndarray,
    pull: np.ndarray,
    shape: tuple[int, ...],
    *,
    subspace: Subspace,
    ratio: int,
    penalty: float,
) -> np.ndarray:
    """Return the most probable coefficients under the Gaussian prior: a `Solver` but for three."""
    system = system_of(subspace, shape, ratio=ratio, penalty=penalty, like=pull)
    return restore(system, solve(system, coarse, pull))


def system_of(
    subspace: Subspace, shape: tuple[int, ...], *, ratio: int, penalty: float, like: np.ndarray
) -> System:
    """Return the system of a subspace for fine images of a shape, see `fourier.build`."""
    return build(
        shape, ratio=ratio, gain=subspace.gain, weight=subspace.weight, fwhm=subspace.fwhm,
        penalty=penalty, like=like,
    )  # fmt: skip


def spectra_of(values: np.ndarray, subspace: Subspace) -> np.ndarray:
    """Return the spectra ``(band, y, x)`` of coefficients, float32."""
    basis, mean = (
        beside(m.astype(np.float32), values) for m in (subspace.basis, subspace.mean[:, None, None])
    )
    spectra: np.ndarray = np.tensordot(basis, values, 1)
    spectra += mean
    return spectra


def read(spectral: np.ndarray, subspace: Subspace) -> np.ndarray:
    """Return the coefficients ``(k, y, x)`` of a spectral cube, without a gap.

    Where some bands are missing the others decide; where all are, the pixels near by.
    """
    centred = spectral - beside(subspace.mean[:, None, None], spectral)
    out = np.tensordot(beside(subspace.reader, spectral), centred, 1)
    missing = np.isnan(centred)
    some = missing.any(axis=0) & ~missing.all(axis=0)
    if some.any():
        weighted = subspace.weight @ subspace.reader
        # The few pixels that lack some bands are the host's work, whatever the side.
        patterns, which = np.unique(of_host(missing[:, some]), axis=1, return_inverse=True)
        values = of_host(centred[:, some])
        found = np.empty((len(out), values.shape[1]))
        for number, pattern in enumerate(patterns.T):
            own, seen = which.ravel() == number, ~pattern
            normal = weighted[:, seen] @ subspace.basis[seen]
            right = weighted[:, seen] @ values[seen][:, own]
            found[:, own] = np.linalg.lstsq(normal, right, rcond=ROUNDING)[0]
        out[:, some] = beside(found, out)
    return fill(out)


def drive(spatial: np.ndarray, coarse: np.ndarray, subspace: Subspace, ratio: int) -> np.ndarray:
    """Return what the spatial cube says of the coefficients, ``response' precision m``.

    Missing pixels are taken to agree with the coarse coefficients.
    """
    deviation = spatial - beside(subspace.offset[:, None, None].astype(np.float32), spatial)
    missing = np.isnan(deviation)
    if missing.any():
        response = beside(subspace.response, spatial)
        expected = np.tensordot(response, upsample(coarse, ratio=ratio), 1)
        deviation = np.where(missing, expected, deviation)
    pull = beside((subspace.response.T @ subspace.precision).astype(np.float32), spatial)
    return np.tensordot(pull, deviation.astype(np.float32), 1)
