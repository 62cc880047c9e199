"""Smoothing-filter-based intensity modulation: each band times its synthetic image's contrast.

Liu, J. G. (2000). Smoothing filter-based intensity modulation: a spectral preserve image fusion
technique for improving spatial details. International Journal of Remote Sensing 21(18), 3461-3472.
doi:10.1080/014311600750037499

With ``Y`` a band of the spectral cube, ``P`` a synthetic sharp image of it, ``S`` the blur with
decimation and ``up`` the interpolation to the fine grid, ``X = up(Y) P / up(S(P))``.

What the paper leaves open, or where we differ from it:

- ``P = C M + c`` is made of all guide bands ``M``, as in hypersharpening (see ``mtf_glp_hs``), with
  the point spread and the cubes' shift estimated, and the same freeing from noise.
- The guard of the denominator. With ``D = P - up(S(P))``, the details, and ``L = up(S(P))``, the
  paper's result is ``up(Y) + D up(Y) / L``. The gain ``up(Y) / L`` says nothing where ``L`` is not
  well above the error ``e`` with which ``P`` follows the band, so it is taken as
  ``(up(Y) L + guard e^2) / (L^2 + guard e^2)``: 1 in the dark, which is hypersharpening, and the
  paper's elsewhere. ``e^2`` is the mean square of ``Y - S(P)``, and so grows with the data's unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xstf._checks import check_above, check_flags
from xstf._method import Method, SharpenSamples, usual_lattice
from xstf.numerics.degrade import degrade, register, upsample
from xstf.numerics.injection import (
    Components,
    coefficients,
    components,
    halo,
    masked,
    project,
    restore,
    returned,
)
from xstf.numerics.response import locate


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of SFIM.

    Parameters
    ----------
    guard : float
        How many times the mean square error of the synthetic image its square must exceed for the
        modulation to be trusted more than the addition of details.
    denoise : bool
        Whether to free the spectral cube from the noise that its bands do not share.
    """

    guard: float = 10.0
    denoise: bool = True

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_above(self, guard=0)
        check_flags(self, "denoise")


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    components : Components
        Of the spectral bands.
    fwhm : float
        Of the point spread, in coarse pixels.
    shift : ndarray (2,)
        That moves the spatial cube onto the spectral one: down, right, in fine pixels.
    slopes : ndarray (band, guide_band)
    level : ndarray (band,)
        Synthetic images are ``slopes @ spatial + level``.
    error : ndarray (band,)
        Their mean square errors.
    """

    components: Components
    fwhm: float
    shift: np.ndarray
    slopes: np.ndarray
    level: np.ndarray
    error: np.ndarray


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels."""
    return halo(ratio)


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return the point spread, the shift, the components and each band's synthetic image."""
    fwhm, shift = locate(
        samples.spectral, samples.spatial, ratio=ratio, fwhm=samples.fwhm, shift=samples.shift
    )
    maps = components(samples.spectral, denoise=params.denoise)
    low = degrade(register(samples.spatial, shift=shift), ratio=ratio, fwhm=fwhm)
    clean = restore(project(samples.spectral, maps), maps)
    slopes = coefficients(clean, low)
    rest = (clean - np.tensordot(slopes, low, 1)).reshape(len(clean), -1)
    valid = np.isfinite(rest)
    count = np.maximum(valid.sum(axis=1), 1)
    level = np.where(valid, rest, 0).sum(axis=1) / count
    error = np.where(valid, (rest - level[:, None]) ** 2, 0).sum(axis=1) / count
    return State(maps, fwhm, shift, slopes, level, error)


def _numpy(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, None]:
    """Modulate each interpolated band by its synthetic image's guarded contrast."""
    slopes, fwhm = state.slopes.astype(np.float32), state.fwhm
    level, guard = (
        np.asarray(v, np.float32)[:, None, None] for v in (state.level, params.guard * state.error)
    )
    moved = register(spatial, shift=state.shift)
    low = degrade(moved, ratio=ratio, fwhm=fwhm)
    smooth = _lift(low, ratio, fwhm)[:, *inner]
    clean = restore(project(spectral, state.components), state.components)
    band = _lift(clean, ratio, fwhm)[:, *inner]
    # In place from here on: each of these is as large as the result.
    gain = np.tensordot(slopes, smooth, 1)
    gain += level
    bottom = gain**2
    bottom += guard
    gain *= band
    gain += guard
    np.divide(gain, bottom, out=gain, where=bottom > 0)
    details = np.tensordot(slopes, moved[:, *inner] - smooth, 1)
    details *= np.where(bottom > 0, gain, 1)
    details += band
    return masked(details, spectral, spatial, ratio, inner), None


def _lift(images: np.ndarray, ratio: int, fwhm: float) -> np.ndarray:
    """Return coarse images at fine pixels such that they, degraded, are as before."""
    return upsample(returned(images, ratio=ratio, fwhm=fwhm), ratio=ratio)


METHOD = Method(
    name="sfim",
    task="sharpen_spectral",
    summary="Each band times the contrast of its synthetic sharp image; shading is kept.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _numpy},
    settle=_settle,
    reference="Liu (2000), doi:10.1080/014311600750037499",
)
