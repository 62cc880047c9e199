"""The default: the method that does best on the cubes' own lower scale.

Both cubes are blurred and thinned by the ratio once more (Wald et al. 1997), the candidates sharpen
the one by the other, and what they give is compared with the spectral cube itself. The candidate of
the least error does the work: the root mean square error, each band's in units of its own spread,
times the mean spectral angle, so that a share of either counts alike. Blurring takes most of the
noise away, which decides between them: it is put back into both cubes first. They differ in kind:
`hysure` solves for what explains both cubes, `mtf_glp_hs` injects details by global regressions,
`local_regression` by regressions within a window, which few blurred bands near the sharp ones suit.

A scene whose lower scale would be smaller than `LEAST_SIDE` pixels says nothing. It is taken by
rule: `local_regression` for up to `FEW_BANDS` bands, a multispectral sensor's, else `hysure`.

Wald, L., Ranchin, T., Mangolini, M. (1997). Fusion of satellite images of different spatial
resolutions: assessing the quality of resulting images. Photogramm. Eng. Remote Sens. 63(6),
691-699.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import numpy as np

from xstf._method import Engine, Method, SharpenKernel, SharpenSamples, usual_lattice
from xstf.methods.sharpen_spectral import hysure, local_regression, mtf_glp_hs
from xstf.numerics.degrade import degrade, degrade_bands
from xstf.numerics.psf import point_spread
from xstf.numerics.response import common_pixels, locate
from xstf.numerics.subspace import noise, unshared_variance

CANDIDATES: dict[str, Method] = {
    module.METHOD.name: module.METHOD for module in (hysure, mtf_glp_hs, local_regression)
}
# Pixels a side at the lower scale: fewer hold fewer independent details than a cube has bands.
LEAST_SIDE = 16
SEED = 0  # of the noise that is put back
FEW_BANDS = 16  # multispectral sensors have up to 13 bands, imaging spectrometers from 60 on


# How much more of the error `local_regression` has one scale down, beside the better of the others,
# where there are few bands: its windows hold more ground there. The geometric mean over 26 cases,
# simulated ones of 12 seeds and parts of a Sentinel-2 scene; with many bands nothing speaks for it.
WINDOWED = 1.5


@dataclass(frozen=True, kw_only=True)
class Params:
    """It has none: the cubes choose."""


class State(NamedTuple):
    """The method that was chosen, and what it settled.

    Parameters
    ----------
    chosen : str
    state : object
        A record of that method's own, or None.
    """

    chosen: str
    state: object


def settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return the method that does best, and what it settles."""
    spectral, spatial, _, fwhm, shift = samples
    width, shift = locate(spectral, spatial, ratio=ratio, fwhm=fwhm, shift=shift)
    if ratio > 1 and min(spectral.shape[1:]) // ratio >= LEAST_SIDE:
        name = _best(samples, ratio, width if fwhm is None else fwhm)
    else:
        name = "local_regression" if len(spectral) <= FEW_BANDS else "hysure"
    return State(name, _settled(CANDIDATES[name], samples._replace(shift=shift), ratio))


def _settled(record: Method, samples: SharpenSamples, ratio: int) -> object:
    """Return what a candidate settles, None for one that settles nothing."""
    if record.settle is None:
        return None
    return record.settle(samples, ratio=ratio, params=record.params())


def _best(samples: SharpenSamples, ratio: int, fwhm: float | np.ndarray) -> str:
    """Return the candidate with the least error one scale down."""
    width = float(np.mean(fwhm))
    truth = _whole(samples.spectral, ratio)
    sharp = _whole(samples.spatial, ratio * ratio)
    lost = 1 - (point_spread(ratio=ratio, fwhm=width) ** 2).sum() ** 2
    draw = np.random.default_rng(SEED)
    ours, theirs = (lost * variance for variance in _noises(samples, ratio, width))
    low = SharpenSamples(
        spectral=_noisy(degrade_bands(truth, ratio=ratio, fwhm=fwhm), ours, draw),
        spatial=_noisy(degrade(sharp, ratio=ratio, fwhm=width), theirs, draw),
        srf=samples.srf,
        fwhm=samples.fwhm,
        shift=np.zeros(2),
    )
    truth = truth[:, : low.spatial.shape[1], : low.spatial.shape[2]]
    errors = {name: _error(name, low, truth, ratio) for name in CANDIDATES}
    if len(truth) <= FEW_BANDS:
        errors["local_regression"] /= WINDOWED
    return min(errors, key=lambda name: errors[name])


def _noises(samples: SharpenSamples, ratio: int, fwhm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance of the noise of each band of both cubes."""
    low = degrade(samples.spatial, ratio=ratio, fwhm=fwhm)
    bands, guides = common_pixels(samples.spectral, low)
    if len(bands) < 2:
        return np.zeros(len(samples.spectral)), np.zeros(len(low))
    ours = noise(samples.spectral, low, bands - bands.mean(axis=0), guides)
    theirs = unshared_variance(samples.spatial)
    return ours, np.where(np.isfinite(theirs), theirs, 0)


def _noisy(images: np.ndarray, variance: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return images ``(band, y, x)`` with white noise of a variance for each band added."""
    values = draw.standard_normal(images.shape, np.float32)
    noisy: np.ndarray = images + values * np.sqrt(variance).astype(np.float32)[:, None, None]
    return noisy


def _whole(images: np.ndarray, multiple: int) -> np.ndarray:
    """Return images cut to a whole number of coarser pixels."""
    height, width = (n // multiple * multiple for n in images.shape[1:])
    return images[:, :height, :width]


def _error(name: str, low: SharpenSamples, truth: np.ndarray, ratio: int) -> float:
    """Return a candidate's error as the module says; of one band there is no angle."""
    inner = (slice(0, truth.shape[1]), slice(0, truth.shape[2]))
    record = CANDIDATES[name]
    state = _settled(record, low, ratio)
    made = _run(record, "numpy", low.spectral, low.spatial, ratio, state, inner)
    there = np.isfinite(truth)
    # A dark pixel's angle explodes where an estimate falls below all that was seen.
    lowest = min(0.0, float(np.min(truth, where=there, initial=0)))
    made = np.maximum(made, np.float32(lowest))
    error = _departure(made, truth)
    return error if len(truth) < 2 else error * _angle(made, truth)


def _departure(made: np.ndarray, truth: np.ndarray) -> float:
    """Return the root mean square error, each band's in units of its spread."""
    both = np.isfinite(made) & np.isfinite(truth)
    count = np.maximum(both.sum(axis=(1, 2)), 1)
    square = (np.where(both, made - truth, 0).astype(np.float64) ** 2).sum(axis=(1, 2)) / count
    spread = np.array([np.var(t[b]) if b.any() else 0.0 for t, b in zip(truth, both, strict=True)])
    varied = spread > 0
    if not varied.any():
        return 0.0
    return float(np.sqrt((square[varied] / spread[varied]).mean()))


def _angle(made: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean angle between spectra that are whole, radians."""
    there = np.isfinite(made).all(axis=0) & np.isfinite(truth).all(axis=0)
    units = []
    for cube in (made, truth):
        spectra = cube[:, there].astype(np.float64)
        length = np.sqrt((spectra**2).sum(axis=0))
        units.append(spectra / np.where(length > 0, length, np.nan))
    apart, together = (
        np.sqrt((a**2).sum(axis=0)) for a in (units[0] - units[1], units[0] + units[1])
    )
    angles = 2 * np.arctan2(apart, together)
    seen = np.isfinite(angles)
    return float(angles[seen].mean()) if seen.any() else 0.0


def _run(
    record: Method, engine: Engine, spectral: np.ndarray, spatial: np.ndarray, ratio: int,
    state: object, inner: tuple[slice, slice],
) -> np.ndarray:  # fmt: skip
    kernel = cast(SharpenKernel[object, object], record.kernels[engine])
    return kernel(
        spectral, spatial, ratio=ratio, params=record.params(), state=state, inner=inner, std=False
    )[0]


def _kernel(
    spectral: np.ndarray, spatial: np.ndarray, *, ratio: int, params: Params,
    state: State, inner: tuple[slice, slice], std: bool, engine: Engine,
) -> tuple[np.ndarray, None]:  # fmt: skip
    """Run the chosen method."""
    record = CANDIDATES[state.chosen]
    return _run(record, engine, spectral, spatial, ratio, state.state, inner), None


def _halo(params: Params, ratio: int) -> int:
    return max(record.halo(record.params(), ratio) for record in CANDIDATES.values())


METHOD = Method(
    name="auto",
    task="sharpen_spectral",
    summary="The method that does best on the cubes' own lower scale; the default.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": partial(_kernel, engine="numpy"), "cupy": partial(_kernel, engine="cupy")},
    settle=settle,
    reference="Wald et al. (1997), Photogramm. Eng. Remote Sens. 63(6), 691-699",
    costly=True,
)
