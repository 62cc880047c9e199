"""Hypersharpening: a synthetic sharp image for each band, its details added to the band.

Selva, M., Aiazzi, B., Butera, F., Chiarantini, L. & Baronti, S. (2015). Hyper-sharpening: a first
approach on SIM-GA data. IEEE J-STARS 8(6), 3008-3024. doi:10.1109/JSTARS.2015.2440092

With ``Y`` a band of the spectral cube, ``M`` the guide bands, ``S`` the blur with decimation and
``up`` the interpolation to the fine grid:

1. ``Y ~ C S(M) + c``, a ridge regression on the coarse grid; ``P = C M + c`` is the synthetic band.
2. ``X = up(Y) + P - up(S(P)) = C M + up(Y - C S(M))``.

What the paper leaves open, or where we differ from it:

- The point spread and the sub-pixel shift of the cubes are estimated, and the guide bands moved by
  the shift (`xstf.numerics.response`). On a real Hyperion-ALI pair that is worth more than any
  other choice.
- The spectral cube is freed from noise first, in a subspace of its own that depends on its noise,
  and ``C`` is learned from the finest details that the coarse grid has (`xstf.numerics.injection`).
- The gain ``cov(Y, S(P)) / var(S(P))`` of the paper is 1 for a regression: left out.
- The residual's interpolation is corrected so that the result, degraded, gives back the spectral
  cube, freed from noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xstf._checks import check_flags
from xstf._method import Method, SharpenSamples, usual_lattice
from xstf.numerics.array_module import beside
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
    """Parameters of MTF-GLP-HS.

    Parameters
    ----------
    denoise : bool
        Whether to free the spectral cube from the noise that its bands do not share.
    """

    denoise: bool = True

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
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
    slopes : ndarray (component, guide_band)
        How the components follow the guide bands.
    """

    components: Components
    fwhm: float
    shift: np.ndarray
    slopes: np.ndarray


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels."""
    return halo(ratio)


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return the point spread, the shift, the components and how they follow the guide bands."""
    fwhm, shift = locate(
        samples.spectral, samples.spatial, ratio=ratio, fwhm=samples.fwhm, shift=samples.shift
    )
    maps = components(samples.spectral, denoise=params.denoise)
    spatial = register(samples.spatial, shift=shift)
    parts = project(samples.spectral, maps)
    slopes = coefficients(parts, degrade(spatial, ratio=ratio, fwhm=fwhm))
    return State(maps, fwhm, shift, slopes)


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
    """Add the guide bands' part to what it leaves of each component, interpolated."""
    slopes, fwhm = beside(state.slopes.astype(np.float32), spectral), state.fwhm
    moved = register(spatial, shift=state.shift)
    low = degrade(moved, ratio=ratio, fwhm=fwhm)
    residual = project(spectral, state.components) - np.tensordot(slopes, low, 1)
    smooth = upsample(returned(residual, ratio=ratio, fwhm=fwhm), ratio=ratio)[:, *inner]
    values = np.tensordot(slopes, moved[:, *inner], 1)
    values += smooth
    return masked(restore(values, state.components), spectral, spatial, ratio, inner), None


METHOD = Method(
    name="mtf_glp_hs",
    task="sharpen_spectral",
    summary="Each band regressed on the guide bands, whose details it takes; any pair of sensors.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _numpy, "cupy": _numpy},
    settle=_settle,
    reference="Selva et al. (2015), doi:10.1109/JSTARS.2015.2440092",
)
