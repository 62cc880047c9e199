"""Adaptive Gram-Schmidt for groups of bands: the guide's excess over the intensity is added.

Aiazzi, B., Baronti, S. & Selva, M. (2007). Improving component substitution pansharpening through
multivariate regression of MS + Pan data. IEEE Transactions on Geoscience and Remote Sensing 45(10),
3230-3239. doi:10.1109/TGRS.2007.901007. Groups of bands, one for each guide band: Yokoya, N.,
Grohnfeldt, C. & Chanussot, J. (2017). Hyperspectral and multispectral data fusion: a comparative
review. IEEE Geoscience and Remote Sensing Magazine 5(2), 29-56. doi:10.1109/MGRS.2016.2637824

With ``Y`` the bands of the spectral cube that follow the guide band ``M``, ``S`` the blur with
decimation and ``up`` the interpolation to the fine grid:

1. The intensity ``I = a Y + c ~ S(M)``, a ridge regression on the coarse grid.
2. ``X_k = up(Y_k) + g_k E``, ``g_k = cov(I, Y_k) / var(I)``, with the excess ``E = M - up(I)``.

What the papers leave open, or where we differ from them:

- A band follows the guide band with which its correlation is strongest, of either sign: the gain
  has the sign. A guide band that none follows is left out.
- The point spread and the cubes' sub-pixel shift are estimated (`xstf.numerics.response`), the
  spectral cube is freed from noise, and ``g`` is learned from the finest details of the coarse grid
  (`xstf.numerics.injection`).
- The excess is freed of what the spectral sensor would have seen of it: ``E - up(S(E))``, which is
  ``M - up(S(M))``. The error of the regression, which makes the method's colours drift where a
  group follows its guide band badly, does not enter then, and the result, degraded, gives back the
  spectral cube. The intensity decides the gains alone.
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
    components,
    finest,
    halo,
    masked,
    project,
    restore,
    returned,
    ridge,
)
from xstf.numerics.response import common_pixels, locate


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of GSA.

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
    group : ndarray (band,), int
        Which guide band each band follows.
    gains : ndarray (band,)
        How its finest details follow its group's intensity.
    """

    components: Components
    fwhm: float
    shift: np.ndarray
    group: np.ndarray
    gains: np.ndarray


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels."""
    return halo(ratio)


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return the point spread, the shift, and each guide band's group, intensity and gains."""
    fwhm, shift = locate(
        samples.spectral, samples.spatial, ratio=ratio, fwhm=samples.fwhm, shift=samples.shift
    )
    maps = components(samples.spectral, denoise=params.denoise)
    low = degrade(register(samples.spatial, shift=shift), ratio=ratio, fwhm=fwhm)
    clean = restore(project(samples.spectral, maps), maps)
    bands, guides = common_pixels(clean, low)
    group = _groups(bands, guides)
    intensity = _intensities(bands, guides, group)
    details, _ = common_pixels(finest(clean), finest(low))
    gains = _gains(details, intensity, group)
    return State(maps, fwhm, shift, group, gains)


def _groups(bands: np.ndarray, guides: np.ndarray) -> np.ndarray:
    """Return which guide band each band follows most closely."""
    if len(bands) < 2:
        return np.zeros(bands.shape[1], np.int64)
    first, second = bands - bands.mean(axis=0), guides - guides.mean(axis=0)
    spread = np.sqrt((second**2).sum(axis=0))
    cross = np.abs(first.T @ second) / np.where(spread > 0, spread, np.inf)
    return np.asarray(np.argmax(cross, axis=1))


def _intensities(bands: np.ndarray, guides: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the weights ``(guide_band, band)`` of the intensities, 0 outside of the groups."""
    weights = np.zeros((guides.shape[1], bands.shape[1]))
    for guide in np.unique(group):
        own = group == guide
        weights[guide, own] = ridge(bands[:, own], guides[:, [guide]])[:, 0]
    return weights


def _gains(details: np.ndarray, intensity: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return how the finest details of each band follow those of its group's intensity."""
    if len(details) < 2:
        return np.zeros(details.shape[1])
    bands = details - details.mean(axis=0)
    own = (bands @ intensity.T)[:, group]
    top, bottom = (own * bands).sum(axis=0), (own**2).sum(axis=0)
    return np.asarray(np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0))


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
    """Add to each interpolated band its guide band's excess over the intensity."""
    fwhm, group = state.fwhm, state.group
    used = np.unique(group)
    place = np.searchsorted(used, group)
    moved = register(spatial[used], shift=state.shift)
    clean = restore(project(spectral, state.components), state.components)
    low = degrade(moved, ratio=ratio, fwhm=fwhm)
    both = np.concatenate([clean, low])
    lifted = upsample(returned(both, ratio=ratio, fwhm=fwhm), ratio=ratio)[:, *inner]
    excess = moved[:, *inner] - lifted[len(clean) :]
    gains = beside(state.gains.astype(np.float32)[:, None, None], excess)
    estimate = excess[place]
    estimate *= gains
    estimate += lifted[: len(clean)]
    return masked(estimate, spectral, spatial, ratio, inner), None


METHOD = Method(
    name="gsa",
    task="sharpen_spectral",
    summary="Adds to groups of bands what one guide band has beyond their intensity.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _numpy, "cupy": _numpy},
    settle=_settle,
    reference="Aiazzi et al. (2007), doi:10.1109/TGRS.2007.901007",
)
