"""FUSE: the closed-form solution of hyperspectral-multispectral fusion in a scaled subspace.

Wei, Q., Dobigeon, N. & Tourneret, J.-Y. (2015). Fast fusion of multi-band images based on solving
a Sylvester equation. IEEE Transactions on Image Processing 24(11), 4109-4121.
doi:10.1109/TIP.2015.2458572

Spectra are ``mean + E v`` with few coefficients ``v``. The coarse cube gives noisy coefficients
``c`` after a blur with decimation ``S``; the spatial cube is ``m = R v + offset`` and noise. With
Gaussian noise and a Gaussian prior the most probable ``v`` minimises

    |c - v S|^2_W + |m - R v|^2_P + penalty |grad v|^2,

whose normal equations are a Sylvester equation, solved in the Fourier domain without an iteration
(`xstf.numerics.fourier`).

What the paper leaves open, or where we differ from it:

- Its prior is white around an interpolated image, with a strength to be chosen. Ours says that
  differences between neighbours have the covariance seen between coarse pixels, carried to the
  fine grid by the prior's own spectrum: no strength is left to choose, and ``penalty=1``.
- Subspace, noise, response of the spatial sensor to the coefficients, and point spread are learnt
  from the two cubes (`xstf.numerics.subspace`); a response or a width that is given is used.
- The point spread is centred on the coarse pixel for even ratios too; images are mirrored around
  their border where the paper takes them to be periodic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from xstf._checks import check_above, check_at_least, check_between
from xstf._method import Method, SharpenSamples, usual_lattice
from xstf.numerics.degrade import upsample
from xstf.numerics.injection import masked
from xstf.numerics.subspace import Noise, Subspace, learn
from xstf.numerics.subspace_solve import solve_gaussian, solve_mirrored, spectra_of

# Coarse pixels after which the influence of a pixel is below what the record states: tiles differ
# from the whole by less than 3e-4 of the range of the values.
REACH = 8


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of FUSE.

    Parameters
    ----------
    rank : int
        The most directions of the subspace; those that noise could make are never taken.
    whiteness : float
        How far what the spatial bands do not share with the spectral ones is white noise: from 0,
        none, to 1, all. More is smoother.
    penalty : float
        Smoothness of the detail, relative to the one that the coarse pixels suggest.
    """

    rank: int = 20
    whiteness: float = 0.75
    penalty: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_at_least(self, rank=1)
        check_between(self, whiteness=(0, 1))
        check_above(self, penalty=0)


# None where the cubes say nothing of each other: the spectral one is interpolated then.
State: TypeAlias = Subspace | None


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels."""
    return REACH * ratio


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return the subspace of the scene."""
    noise = Noise(params.whiteness, bounded=False)
    return learn(
        samples.spectral, samples.spatial, ratio=ratio, rank=params.rank, noise_model=noise,
        srf=samples.srf, fwhm=samples.fwhm,
    )  # fmt: skip


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
    """Return the most probable sharp cube."""
    if state is None:
        interpolated = upsample(spectral, ratio=ratio)[:, *inner]
        return masked(interpolated, spectral, spatial, ratio, inner), None
    solver = partial(solve_gaussian, subspace=state, ratio=ratio, penalty=params.penalty)
    values = solve_mirrored(spectral, spatial, state, ratio=ratio, inner=inner, solver=solver)
    return masked(spectra_of(values, state), spectral, spatial, ratio, inner), None


METHOD = Method(
    name="fuse",
    task="sharpen_spectral",
    summary="Closed-form Gaussian estimate in a subspace: fast, any number of spatial bands.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _numpy, "cupy": _numpy},
    settle=_settle,
    reference="Wei, Dobigeon & Tourneret (2015), doi:10.1109/TIP.2015.2458572",
    exempt={"tiles": "far pixels matter little, but do: seams below 3e-4 of the range"},
)
