"""Coupled non-negative matrix factorisation: endmembers of one cube, abundances of the other.

Yokoya, N., Yairi, T. & Iwasaki, A. (2012). Coupled nonnegative matrix factorization unmixing for
hyperspectral and multispectral data fusion. IEEE Transactions on Geoscience and Remote Sensing
50(2), 528-537. doi:10.1109/TGRS.2011.2161320

With ``H`` the spectral cube, ``M`` the spatial one, ``W (band, p)`` endmembers, ``A (p, pixel)``
abundances, all non-negative, ``D`` the blur with decimation and ``^`` the way to fine pixels:

1. ``H = W A_h`` with ``W`` from the extreme pixels, ``A_h`` summing to one, softly.
2. ``M = V A`` on the fine grid, from ``A = A_h^``; ``V`` is ``R W`` and then refined.
3. ``H = W D A`` for the endmembers; again from 1, ``rounds`` times. ``X = W A``.

All by multiplicative updates (Lee & Seung 2001), which stay close to where they start: so does
``A`` to ``A_h^`` in all that ``M`` does not see. What the paper leaves open, or where we differ:

- Endmembers, the whole scene's, are found on its samples; a tile does steps 1 and 2 for its
  abundances alone, pixel by pixel, and so tiles give the whole scene's result.
- They are found ``runs`` times from different extreme pixels and the results averaged: which pixels
  are taken is chance, and its share of the error is as large as any other.
- Before, noise is taken off the samples: the directions of the spectra that noise could make.
  So ``p`` need not be the number of materials; more endmembers describe their variants.
- The row that asks for a sum of one is a share of the data's own size: units do not matter.
- The least value of a band is taken off first if it is negative. A result is not below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xstf._checks import check_at_least
from xstf._method import Method, SharpenSamples, usual_lattice
from xstf.methods.sharpen_spectral.cnmf.endmembers import bundle, denoise
from xstf.numerics.degrade import (
    FILL_REACH,
    SINC_REACH,
    UPSAMPLE_REACH,
    degrade,
    fill,
    register,
    spread,
    upsample,
)
from xstf.numerics.response import common_pixels, respond
from xstf.numerics.subspace import noise

# Weight of the row that asks for a sum of one, in root mean squares of the data: the paper's
# value for reflectance around 0.2 and six sharp bands.
SUM = 0.02
# Added to denominators, and the least abundance: an update cannot leave an exact 0.
LEAST = 1e-9
# Fine pixels that are updated together: their abundances stay in the processor's cache.
TOGETHER = 4096
# Coarse pixels along a side from which endmembers are learnt, in as many stretches where the scene
# has more: 4096 pixels are many times the unknowns of an endmember matrix.
SIDE, STRETCHES = 64, 4


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of coupled non-negative matrix factorisation.

    Parameters
    ----------
    endmembers : int
        Spectra of which the pixels are mixed.
    iterations : int
        Updates of each part.
    rounds : int
        Passes from the spectral cube to the spatial one and back.
    runs : int
        Factorisations from different extreme pixels, which are averaged.
    seed : int
        Of the choice of extreme pixels.
    """

    endmembers: int = 30
    iterations: int = 200
    rounds: int = 2
    runs: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_at_least(self, endmembers=2, iterations=1, rounds=1, runs=1, seed=0)


class Units(NamedTuple):
    """What is taken off the values of either cube, and what they are divided by then.

    Parameters
    ----------
    floor : ndarray (band,)
    scale : float
        Of the spectral cube.
    offset, unit : ndarray (guide_band,)
        Of the spatial cube.
    """

    floor: np.ndarray
    scale: float
    offset: np.ndarray
    unit: np.ndarray


class Run(NamedTuple):
    """The endmembers of one factorisation, in `Units`.

    Parameters
    ----------
    given : ndarray (band, p)
        For the coarse abundances.
    sight : ndarray (guide_band, p)
        As the spatial cube sees them, for the fine abundances.
    ends : ndarray (band, p)
        For the result.
    """

    given: np.ndarray
    sight: np.ndarray
    ends: np.ndarray


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    shift : ndarray (2,)
        That moves the spatial cube onto the spectral one: down, right, in fine pixels.
    units : Units or None
        None where the cubes have no pixel in common.
    runs : tuple of Run
    """

    shift: np.ndarray
    units: Units | None = None
    runs: tuple[Run, ...] = ()


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels: abundances taken to the fine grid, gaps filled, a move."""
    return ratio * (UPSAMPLE_REACH + 2 * FILL_REACH + 1) + SINC_REACH


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return endmembers as either cube sees them, for each run, and what is taken off before."""
    seen = respond(
        samples.spectral, samples.spatial, ratio=ratio, srf=samples.srf, fwhm=samples.fwhm,
        shift=samples.shift,
    )  # fmt: skip
    rows, cols = (_stretches(n) for n in samples.spectral.shape[1:])
    spectral = samples.spectral[:, rows[:, None], cols]
    rows, cols = (np.add.outer(k * ratio, np.arange(ratio)).ravel() for k in (rows, cols))
    spatial = register(samples.spatial, shift=seen.shift)[:, rows[:, None], cols]
    low = degrade(spatial, ratio=ratio, fwhm=seen.fwhm)
    bands, guides = common_pixels(spectral, low)
    if len(bands) < 2:
        return State(seen.shift)
    floor = _lowest(bands, spatial, seen.srf)
    offset = seen.offset + seen.srf @ floor
    unit = np.sqrt(((guides - offset) ** 2).mean(axis=0))
    scale = math.sqrt(float(((bands - floor) ** 2).mean())) or 1.0
    unit = np.where(unit > 0, unit, 1)
    variance = noise(spectral, low, bands - bands.mean(axis=0), guides)
    valid = np.isfinite(spectral).all(axis=0) & np.isfinite(low).all(axis=0)
    clean, rank = denoise(spectral[:, valid].astype(np.float64), variance)
    pixels = _positive(clean, floor, scale)
    response = (seen.srf * (scale / unit[:, None])).astype(np.float32)
    sharp = _positive(fill(spatial).reshape(len(spatial), -1), offset, unit)
    runs = []
    for run in range(params.runs):
        start = bundle(pixels, params.endmembers, rank=rank, seed=params.seed + run)
        runs.append(_couple(pixels, valid, start, response, sharp, seen.fwhm, ratio, params))
    return State(seen.shift, Units(floor, scale, offset, unit), tuple(runs))


def _lowest(bands: np.ndarray, spatial: np.ndarray, srf: np.ndarray) -> np.ndarray:
    """Return what each band may fall to, at most 0: sharp pixels may be darker than blurred ones.

    Where the sharp cube falls below 0 and below what the blurred bands do, all bands get that room.
    """
    floor = np.minimum(bands.min(axis=0), 0)
    least = np.minimum(np.nanmin(spatial, axis=(1, 2)), 0)
    weight = srf.sum(axis=1)
    room = (srf @ floor - least) / np.where(weight > 0, weight, np.inf)
    return np.asarray(floor - max(float(room.max()), 0))


def _stretches(size: int) -> np.ndarray:
    """Return the places of an axis that are looked at: all, or stretches of it."""
    if size <= SIDE:
        return np.arange(size)
    length = SIDE // STRETCHES
    first = np.linspace(0, size - length, STRETCHES).astype(int)
    return np.asarray(np.add.outer(first, np.arange(length)).ravel())


def _positive(values: np.ndarray, floor: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Return ``(band, n)`` values above their floor, about 1 in size."""
    scale = np.asarray(scale).reshape(-1, 1)
    above = np.maximum((values - floor[:, None]) / scale, LEAST)
    return np.asarray(above, np.float32)


def _couple(
    pixels: np.ndarray,
    valid: np.ndarray,
    start: np.ndarray,
    response: np.ndarray,
    sharp: np.ndarray,
    fwhm: float,
    ratio: int,
    params: Params,
) -> Run:
    """Return the endmembers of one factorisation."""
    often = params.iterations
    ends = start
    shares = np.full((start.shape[1], pixels.shape[1]), 1 / start.shape[1], np.float32)
    shares = _abundances(ends, pixels, shares, often)
    side = [n * ratio for n in valid.shape]
    for step in range(params.rounds):
        ends, shares = _both(ends, pixels, shares, often)
        coarse = np.full((len(shares), *valid.shape), np.nan, np.float32)
        coarse[:, valid] = _flat(ends, pixels, often)
        first = _lift(coarse, ratio)
        fine = _abundances(response @ ends, sharp, first, often)
        sight, fine = _both(response @ ends, sharp, fine, often)
        if step == params.rounds - 1:
            # As the kernel finds them, so that the endmembers suit its abundances.
            fine = _abundances(sight, sharp, first, often)
        shares = degrade(fine.reshape(-1, *side), ratio=ratio, fwhm=fwhm)[:, valid]
        given, ends = ends, _ends(ends, pixels, shares, often)
    return Run(given, sight, ends)


def _flat(ends: np.ndarray, pixels: np.ndarray, often: int) -> np.ndarray:
    """Return the abundances of pixels of which nothing is known before."""
    count = ends.shape[1]
    return _abundances(
        ends, pixels, np.full((count, pixels.shape[1]), 1 / count, np.float32), often
    )


def _lift(coarse: np.ndarray, ratio: int) -> np.ndarray:
    """Return coarse abundances ``(p, y, x)`` at fine pixels, ``(p, n)``."""
    fine = upsample(fill(coarse), ratio=ratio).reshape(len(coarse), -1)
    return np.asarray(np.maximum(fine, LEAST), np.float32)


def _with_sum(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, np.full((1, matrix.shape[1]), SUM, np.float32)])


def _abundances(ends: np.ndarray, pixels: np.ndarray, shares: np.ndarray, often: int) -> np.ndarray:
    """Return abundances ``(p, n)`` after updates with fixed endmembers, soft sum of one."""
    out = np.empty_like(shares)
    # Data are about 1 in size, so that `SUM` is a share of it.
    ends = _with_sum(ends)
    few = 2 * len(ends) < ends.shape[1]
    gram = ends.T @ ends
    for k in range(0, pixels.shape[1], TOGETHER):
        part = slice(k, k + TOGETHER)
        pull, own = ends.T @ _with_sum(pixels[:, part]), shares[:, part]
        for _ in range(often):
            push = ends.T @ (ends @ own) if few else gram @ own
            push += LEAST
            np.divide(pull, push, out=push)
            own = own * push
        out[:, part] = own
    return out


def _ends(ends: np.ndarray, pixels: np.ndarray, shares: np.ndarray, often: int) -> np.ndarray:
    """Return endmembers after updates with fixed abundances."""
    pull, gram = pixels @ shares.T, shares @ shares.T
    for _ in range(often):
        ends = ends * (pull / (ends @ gram + LEAST))
    return ends


def _both(
    ends: np.ndarray, pixels: np.ndarray, shares: np.ndarray, often: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return endmembers and abundances after updates in turn."""
    for _ in range(often):
        ends = _ends(ends, pixels, shares, 1)
        shares = _abundances(ends, pixels, shares, 1)
    return ends, shares


def _kernel(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, None]:
    """Find the abundances of the tile's pixels and put the scene's endmembers in."""
    moved = register(spatial, shift=state.shift)
    shape = (len(spectral), *spatial.shape[1:])
    units = state.units
    if units is None:
        out = upsample(spectral, ratio=ratio)
    else:
        sharp = _positive(fill(moved).reshape(len(moved), -1), units.offset, units.unit)
        mean = np.zeros((len(spectral), sharp.shape[1]), np.float32)
        for given, sight, ends in state.runs:
            first = _lift(_unmix(spectral, given, units, params.iterations), ratio)
            mean += ends @ _abundances(sight, sharp, first, params.iterations)
        mean *= np.float32(units.scale / len(state.runs))
        mean += units.floor.astype(np.float32)[:, None]
        out = mean.reshape(shape)
    missing = spread(np.isnan(spectral), ratio=ratio)
    out[missing | np.isnan(spatial).any(axis=0)] = np.nan
    return np.ascontiguousarray(out[:, *inner], np.float32), None


def _unmix(spectral: np.ndarray, ends: np.ndarray, units: Units, often: int) -> np.ndarray:
    """Return the coarse abundances ``(p, y, x)``, from the bands that a pixel has, or NaN."""
    out = np.full((ends.shape[1], *spectral.shape[1:]), np.nan, np.float32)
    seen = np.isfinite(spectral)
    whole = seen.all(axis=0)
    if whole.any():
        out[:, whole] = _flat(ends, _positive(spectral[:, whole], units.floor, units.scale), often)
    some = seen.any(axis=0) & ~whole
    if some.any():
        patterns, which = np.unique(seen[:, some], axis=1, return_inverse=True)
        values = spectral[:, some]
        found = np.empty((ends.shape[1], values.shape[1]), np.float32)
        for number, own in enumerate(patterns.T):
            cols = which.ravel() == number
            part = _positive(values[own][:, cols], units.floor[own], units.scale)
            found[:, cols] = _flat(ends[own], part, often)
        out[:, some] = found
    return out


METHOD = Method(
    name="cnmf",
    task="sharpen_spectral",
    summary="Coupled non-negative factorisation: endmembers of the one, abundances of the other.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _kernel},
    settle=_settle,
    reference="Yokoya, Yairi & Iwasaki (2012), doi:10.1109/TGRS.2011.2161320",
    exempt={
        "constant": "abundances sum to one in the mean only: a constant band varies with brightness"
    },
    costly=True,
)
