"""HySure: subspace fusion with an edge-keeping prior, vector total variation, by ADMM.

Simoes, M., Bioucas-Dias, J., Almeida, L. B. & Chanussot, J. (2015). A convex formulation for
hyperspectral image superresolution via subspace-based regularization. IEEE Transactions on
Geoscience and Remote Sensing 53(6), 3373-3388. doi:10.1109/TGRS.2014.2375320

Spectra are ``mean + E v`` with few coefficients ``v``, and with ``S``, ``R``, ``W``, ``P`` as in
`fuse`

    minimise  |c - v S|^2_W / 2 + |m - R v|^2_P / 2 + strength sum_i t_i |D_i v|,

the norm running over all coefficients and all differences at a place, so that the edges of all of
them coincide.

What the paper leaves open, or where we differ from it:

- Scale. The coefficients are scaled such that the prior's differences have unit covariance in every
  direction (`xstf.numerics.subspace`); an orthonormal basis costs some 5 dB on the Jasper Ridge
  scene. The strength then follows: it is that of the isotropic Laplace distribution with this
  variance.
- Splitting. Only the differences are split off: all quadratic terms are solved at once in closed
  form (`xstf.numerics.fourier`), where the paper splits them too. Ten steps do what two hundred
  did.
- Weights. ``t`` is 1 in the first round; later rounds weight each place by how flat it is in the
  result so far (reweighting after Candes, Wakin & Boyd 2008, doi:10.1007/s00041-008-9045-x):
  edges are kept, flat parts cleaned.
- Differences are those of the Haar transform of each 2 x 2 pixels, ``h, v, sqrt(2) x``: they have
  the squared norm of the differences to the neighbours, but no preferred side, so a flipped image
  gives the flipped result.
- Noise of the spatial cube is bounded by what its bands do not share with each other: total
  variation flattens what it takes for noise, where a Gaussian prior only blends it.
- The start is the Gaussian solution of `fuse`; all that it estimates is estimated here alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from xstf._checks import check_above, check_at_least, check_between
from xstf._method import Method, SharpenSamples, usual_lattice
from xstf.numerics.degrade import upsample
from xstf.numerics.fourier import restore, solve, transform
from xstf.numerics.injection import masked
from xstf.numerics.subspace import Noise, Subspace, learn
from xstf.numerics.subspace_solve import solve_mirrored, spectra_of, system_of

# Coarse pixels after which the influence of a pixel is below what the record states: tiles differ
# from the whole by less than 1e-3 of the range of the values.
REACH = 8
# What is added to a place's differences, in units of their mean, before they divide its weight.
STABLE = 0.5
# The penalty of the splitting, in units of strength per usual step. It changes the speed alone.
PULL = 2.0


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of HySure.

    Parameters
    ----------
    rank : int
        The most directions of the subspace; those that noise could make are never taken.
    whiteness : float
        How far what the spatial bands do not share with the spectral ones is white noise: from 0,
        none, to 1, all. More is smoother.
    strength : float
        Strength of the total variation, relative to the one that the cubes suggest.
    rounds : int
        Rounds of reweighting; 1 is plain total variation.
    iterations : int
        Steps in each round.
    """

    rank: int = 20
    whiteness: float = 0.6
    strength: float = 1.0
    rounds: int = 3
    iterations: int = 10

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_at_least(self, rank=1, rounds=1, iterations=1)
        check_between(self, whiteness=(0, 1))
        check_above(self, strength=0)


# None where the cubes say nothing of each other: the spectral one is interpolated then.
State: TypeAlias = Subspace | None


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels."""
    return REACH * ratio


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return the subspace of the scene."""
    noise = Noise(params.whiteness, bounded=True)
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
    solver = partial(_iterate, ratio=ratio, params=params, subspace=state)
    values = solve_mirrored(spectral, spatial, state, ratio=ratio, inner=inner, solver=solver)
    return masked(spectra_of(values, state), spectral, spatial, ratio, inner), None


def _iterate(
    coarse: np.ndarray,
    sharp: np.ndarray,
    shape: tuple[int, ...],
    *,
    ratio: int,
    params: Params,
    subspace: Subspace,
) -> np.ndarray:
    """Return the coefficients ``(k, y, x)`` after all rounds; both images are transforms."""
    count = len(subspace.gain)
    matched = partial(system_of, subspace, shape, ratio=ratio, like=sharp)
    # The prior's mean square of |D v| is count; the isotropic Laplace law in the 2 count
    # dimensions of a gradient has the mean square 2 count (2 count + 1) / strength^2.
    strength = params.strength * math.sqrt(2 * (2 * count + 1))
    # The law's mean of |D v|: the size of a usual step, which the penalty of the splitting suits.
    usual = 2 * count / strength
    pull = PULL * strength / usual
    gauss = matched(penalty=1.0)
    values = restore(gauss, solve(gauss, coarse, sharp))
    system = matched(penalty=pull)
    steps = _differences(values)
    dual = np.zeros_like(steps)
    limit: np.ndarray | np.float32 = np.float32(strength / pull)
    for _ in range(int(params.rounds)):
        for _ in range(int(params.iterations)):
            steps += dual
            length = np.sqrt(np.einsum("dkyx,dkyx->yx", steps, steps))
            clipped = np.minimum(limit / np.maximum(length, np.finfo(np.float32).tiny), 1)
            # With z the shrunk steps: the new dual is steps - z, and z less it drives the values.
            np.multiply(steps, clipped, out=dual)
            steps -= 2 * dual
            right = sharp + np.float32(pull) * transform(_together(steps))
            values = restore(system, solve(system, coarse, right))
            steps = _differences(values)
        length = np.sqrt(np.einsum("dkyx,dkyx->yx", steps, steps)) / np.float32(usual)
        limit = np.float32(strength / pull * (1 + STABLE)) / (length + np.float32(STABLE))
    return values


def _differences(images: np.ndarray) -> np.ndarray:
    """Return the differences within each 2 x 2 pixels, periodic: ``(3, k, y, x)``."""
    right = np.roll(images, -1, axis=-1)
    total, across = right + images, right - images
    below, below_across = np.roll(total, -1, axis=-2), np.roll(across, -1, axis=-2)
    out = np.empty_like(images, np.float32, shape=(3, *images.shape))
    np.add(below_across, across, out=out[0])
    np.subtract(below, total, out=out[1])
    np.subtract(below_across, across, out=out[2])
    out[:2] *= 0.5
    out[2] *= math.sqrt(0.5)
    return out


def _together(steps: np.ndarray) -> np.ndarray:
    """Return the transpose of `_differences`, applied."""
    across, down, cross = 0.5 * steps[0], 0.5 * steps[1], np.float32(math.sqrt(0.5)) * steps[2]
    sums, rest = across + np.roll(across, 1, axis=-2), np.roll(cross, 1, axis=-2) - cross
    horizontal = sums + rest
    vertical = np.roll(down, 1, axis=-2) - down
    total: np.ndarray = vertical + np.roll(vertical, 1, axis=-1)
    total = total + np.roll(horizontal, 1, axis=-1) - horizontal
    return total


METHOD = Method(
    name="hysure",
    task="sharpen_spectral",
    summary="Subspace and vector total variation: the most accurate on noisy cubes.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _numpy, "cupy": _numpy},
    settle=_settle,
    reference="Simoes, Bioucas-Dias, Almeida & Chanussot (2015), doi:10.1109/TGRS.2014.2375320",
    exempt={"tiles": "far pixels matter little, but do: seams below 1e-3 of the range"},
    costly=True,
)
