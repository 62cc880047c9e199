"""S2Sharp: all bands of both cubes in one subspace, each with a point spread of its own.

Ulfarsson, M. O., Palsson, F., Dalla Mura, M. & Sveinsson, J. R. (2019). Sentinel-2 sharpening
using a reduced-rank method. IEEE Transactions on Geoscience and Remote Sensing 57(9), 6408-6420.
doi:10.1109/TGRS.2019.2906048

The bands of the sharp image, spectral and spatial ones together, are ``X = mean + F g`` with few
coefficients ``g``. With ``B_i`` the blur of band ``i``, ``M_i`` its decimation (none of both for
spatial bands) and ``f_i`` its row of ``F``, the estimate minimises

    sum_i |y_i - M_i B_i f_i g|^2 / v_i + sum_j q_j sum_e w_e (difference of g_j at e)^2,

``e`` running over pairs of neighbours, ``w`` being small where the spatial bands have an edge.

What the paper leaves open, or where we differ from it:

- ``F`` and ``q``. The paper alternates between ``g`` and ``F`` and has ``q`` tuned by hand. Ours
  are the eigenvectors and inverse eigenvalues of the covariance of the differences between coarse
  neighbours in all bands, the spatial ones degraded, less the noise's share. The prior so knows
  how the detail of all bands goes together, and nothing alternates.
- ``w``. Were the differences of all bands at a place a sample of Student's t with ``freedom``
  degrees, then what the ``b`` spatial bands have of it would say that its precision is expected
  to be ``(freedom + b) / (freedom + d^2)``, ``d`` their Mahalanobis length: this is ``w``.
- ``v`` is what the bands do not share with each other, times ``noise`` for spectral and ``misfit``
  for spatial bands. Both, and ``freedom``, are those with the least left-out error: of
  every second row and column, coarse pixels are predicted without themselves.
- The widths of the blur are sought as in `local_regression`, the bands sharing them if they may;
  ``fwhm`` may be given for each band.
- Conjugate gradients, from the interpolated image with the spatial bands' detail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from xstf._checks import check_above, check_at_least, check_below
from xstf._method import Method, SharpenSamples, usual_lattice
from xstf.methods.sharpen_spectral.local_regression import aligned, blur_widths
from xstf.numerics import conjugate_gradients, subspace
from xstf.numerics.degrade import SINC_REACH, degrade, fill, upsample
from xstf.numerics.injection import masked
from xstf.numerics.response import common_pixels, locate

# Coarse pixels after which the influence of a pixel is below what the record states.
REACH = 10
# Values that are tried, as shares of what the bands do not share: it bounds their noise from above.
# One degree of freedom is the Cauchy law, the heaviest tail here.
GRID: dict[str, tuple[float, ...]] = {
    "freedom": (1.0, 2.0, 4.0, 8.0),
    "misfit": tuple(float(10.0**k) for k in np.arange(-3, 1.5, 0.5)),
    "noise": tuple(float(10.0**k) for k in np.arange(-2, 1.5, 0.5)),
}
# Side, in coarse pixels, of the part of the scene on which they are tried; and how few do not do.
SIDE = 48
FEWEST = 8
# The error of a choice is known no better than the residual of a rough solution allows.
ROUGH = 1e-3
# The least variance of the differences along a direction, in units of the noise's, as in
# `xstf.numerics.subspace`: about the error with which it is known from a thousand pixels.
DETAIL_FLOOR = 0.05
# Rows whose differences are held at a time.
ROWS = 64
# Relative singular values below this are rounding of float32.
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of S2Sharp.

    Parameters
    ----------
    rank : int
        The most directions of the subspace; few bands need no reduction.
    noise, misfit : float, optional
        Variance of the errors of spectral and spatial bands, as a share of what the bands do not
        share with each other. Default: by the left-out error.
    freedom : float, optional
        Degrees of freedom of the law of the detail; the fewer, the sharper the edges. Default: by
        the left-out error.
    iterations : int
        The most steps of the solution.
    tolerance : float
        Relative residual at which it ends before.
    """

    rank: int = 20
    noise: float | None = None
    misfit: float | None = None
    freedom: float | None = None
    iterations: int = 600
    tolerance: float = 2e-6

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_at_least(self, rank=1, iterations=1)
        given = [n for n in ("noise", "misfit", "freedom") if getattr(self, n) is not None]
        check_above(self, tolerance=0, **dict.fromkeys(given, 0))
        check_below(self, tolerance=1)


class Strengths(NamedTuple):
    """The numbers that are chosen by the left-out error, as in `Params`."""

    freedom: float
    misfit: float
    noise: float


# Those that the search starts at.
USUAL = Strengths(freedom=4.0, misfit=0.1, noise=1.0)


class Model(NamedTuple):
    """What all bands, the spatial ones after the spectral ones, have in common.

    Parameters
    ----------
    mean, error : ndarray (all_band,)
        Means, and the variances of what the bands do not share.
    basis : ndarray (all_band, k)
        ``F``, scaled by the square roots of ``1 / q``.
    metric : ndarray (guide_band, guide_band)
        Inverse covariance of the spatial bands' differences between neighbours.
    strengths : Strengths
    """

    mean: np.ndarray
    error: np.ndarray
    basis: np.ndarray
    metric: np.ndarray
    strengths: Strengths


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    shift : ndarray (2,)
        That moves the spatial cube onto the spectral one: down, right, in fine pixels.
    width : ndarray (band,)
        FWHM of each spectral band's point spread, in coarse pixels.
    model : Model or None
        None where the cubes say nothing of each other.
    """

    shift: np.ndarray
    width: np.ndarray
    model: Model | None


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels."""
    return REACH * ratio + SINC_REACH


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return position, blur, subspace, and the strengths with the least left-out error."""
    spectral, given = samples.spectral, samples.fwhm
    _, shift = locate(spectral, samples.spatial, ratio=ratio, fwhm=given, shift=samples.shift)
    spatial = aligned(samples.spatial, shift)
    if given is None:
        width = blur_widths(spectral, spatial, ratio=ratio)
    else:
        width = np.array(np.broadcast_to(np.asarray(given, np.float64), len(spectral)))
    model = _model(spectral, spatial, width, ratio, params)
    if model is not None:
        model = _choose(spectral, spatial, model, width, ratio, params)
    return State(shift, width, model)


def _model(
    spectral: np.ndarray, spatial: np.ndarray, width: np.ndarray, ratio: int, params: Params
) -> Model | None:
    """Return the model with the usual strengths; None if nothing is known."""
    low = degrade(spatial, ratio=ratio, fwhm=float(np.median(width)))
    bands, guides = common_pixels(spectral, low)
    if len(bands) < FEWEST:
        return None
    mean = np.concatenate([bands.mean(axis=0), guides.mean(axis=0)])
    noise = subspace.noise(spectral, low, bands - bands.mean(axis=0), guides)
    error = np.concatenate([noise, subspace.unshared_variance(spatial)])
    covariance = _steps(np.concatenate([spectral, low]))
    seen = (error > 0) & np.isfinite(error) & (np.diag(covariance) > 0)
    if not (seen[: len(noise)].any() and seen[len(noise) :].any()):
        return None
    unit = np.sqrt(np.where(seen, error, 1))
    inside = covariance / np.outer(unit, unit) * np.outer(seen, seen)
    share = np.concatenate([np.where(seen[: len(noise)], 2.0, 0.0), np.zeros(len(low))])
    values, vectors = np.linalg.eigh(inside - np.diag(share))
    most = min(int(params.rank), int(seen.sum()))
    values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
    basis = unit[:, None] * vectors * np.sqrt(np.maximum(values, DETAIL_FLOOR))
    metric = np.linalg.pinv(_steps(spatial), rcond=ROUNDING, hermitian=True)
    return Model(mean, unit**2, basis * seen[:, None], metric, USUAL)


def _steps(images: np.ndarray) -> np.ndarray:
    """Return the covariance of the differences between neighbours in images ``(n, y, x)``."""
    total, count = np.zeros((len(images), len(images))), 0
    for start in range(0, images.shape[1], ROWS):
        # One row more, for the differences to the next block.
        block = images[:, start : start + ROWS + 1]
        for step in (np.diff(block, axis=1), np.diff(block[:, :ROWS], axis=2)):
            flat = step.reshape(len(images), -1)
            flat = flat[:, np.isfinite(flat).all(axis=0)].astype(np.float64)
            total += flat @ flat.T
            count += flat.shape[1]
    return total / max(count, 1)


def _choose(
    spectral: np.ndarray,
    spatial: np.ndarray,
    model: Model,
    width: np.ndarray,
    ratio: int,
    params: Params,
) -> Model:
    """Return the model with the strengths given, else those with the least left-out error."""
    chosen = Strengths(*(getattr(params, name) or usual for name, usual in USUAL._asdict().items()))
    sides = [min(n, SIDE + (n - SIDE) % 2) for n in spectral.shape[1:]]
    ends = zip(spectral.shape[1:], sides, strict=True)
    middle = tuple(slice((n - side) // 2, (n + side) // 2) for n, side in ends)
    part = spectral[:, *middle]
    fine = spatial[:, *(slice(s.start * ratio, s.stop * ratio) for s in middle)]
    if min(part.shape[1:]) < FEWEST:
        return model._replace(strengths=chosen)
    # Counted from the nearest edge, so that a turned scene leaves out the same pixels.
    rows, cols = (np.minimum(np.arange(n), np.arange(n)[::-1]) % 2 for n in part.shape[1:])
    left = (rows[:, None] * cols) == 1
    rough = replace(params, tolerance=max(ROUGH, params.tolerance))
    costs: dict[Strengths, float] = {}

    def cost(trial: Strengths) -> float:
        if trial not in costs:
            tried = model._replace(strengths=trial)
            costs[trial] = _left_out(part, fine, left, tried, width, ratio, rough)
        return costs[trial]

    free = [name for name in GRID if getattr(params, name) is None]
    return model._replace(strengths=_descend(chosen, free, cost))


def _descend(chosen: Strengths, free: list[str], cost: Callable[[Strengths], float]) -> Strengths:
    """Return the choice on the grid that no neighbour along an axis betters."""
    while True:
        before = chosen
        for name in free:
            place = GRID[name].index(getattr(chosen, name))
            near = GRID[name][max(place - 1, 0) : place + 2]
            chosen = min((chosen._replace(**{name: value}) for value in near), key=cost)
        if chosen == before:
            return chosen


def _left_out(
    spectral: np.ndarray,
    spatial: np.ndarray,
    left: np.ndarray,
    model: Model,
    width: np.ndarray,
    ratio: int,
    params: Params,
) -> float:
    """Return the mean logarithm of the bands' error at coarse pixels that are left out."""
    there = np.where(left, np.float32(np.nan), spectral)
    fine = _estimate(there, spatial, model, width, ratio, params)
    cost = 0.0
    for fwhm in np.unique(width):
        own = np.flatnonzero(width == fwhm)
        rest = (degrade(fine[own], ratio=ratio, fwhm=float(fwhm)) - spectral[own])[:, left]
        square = np.where(np.isfinite(rest), np.square(rest), 0).mean(axis=1, dtype=np.float64)
        # A band without error (a constant one) has no say, and no logarithm.
        cost += np.log(np.maximum(square, np.finfo(np.float32).tiny)).sum()
    return cost


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
    if state.model is None:
        fine = upsample(spectral, ratio=ratio)
    else:
        moved = aligned(spatial, state.shift)
        fine = _estimate(spectral, moved, state.model, state.width, ratio, params)
    return masked(fine[:, *inner], spectral, spatial, ratio, inner), None


def _estimate(
    spectral: np.ndarray,
    spatial: np.ndarray,
    model: Model,
    width: np.ndarray,
    ratio: int,
    params: Params,
) -> np.ndarray:
    """Return the sharp bands, also where something is missing."""
    bands = len(spectral)
    error = model.error.copy()
    error[:bands] *= model.strengths.noise
    error[bands:] *= model.strengths.misfit
    unit = np.sqrt(error)
    whole, seen = _complete(spectral - model.mean[:bands, None, None], model.basis[:bands], unit)
    sharp = spatial - model.mean[bands:, None, None].astype(np.float32)
    there = np.isfinite(sharp).all(axis=0)
    sharp = np.where(there, sharp, 0)
    scaled = (model.basis[bands:] / unit[bands:, None]).astype(np.float32)
    pull = (scaled / unit[bands:, None]).T.astype(np.float32)
    guide = conjugate_gradients.Guide(scaled.T @ scaled, np.tensordot(pull, sharp, 1), there)
    sights = [
        _sight(whole, seen, np.flatnonzero(width == w), float(w), model.basis, unit, ratio)
        for w in np.unique(width)
    ]
    values = conjugate_gradients.minimise(
        _start(whole, seen, guide, model.basis[:bands], unit, ratio), sights, guide,
        _weights(spatial, model.metric, model.strengths.freedom),
        iterations=int(params.iterations), tolerance=params.tolerance,
    )  # fmt: skip
    out = np.tensordot(model.basis[:bands].astype(np.float32), values, 1)
    return np.asarray(out + model.mean[:bands, None, None].astype(np.float32))


def _complete(
    centred: np.ndarray, basis: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return centred spectra without gaps, and where there is any band at all.

    Where some bands are missing the others decide.
    """
    missing = np.isnan(centred)
    out = np.where(missing, 0, centred)
    some = missing.any(axis=0) & ~missing.all(axis=0)
    if some.any():
        scaled = basis / unit[: len(centred), None]
        patterns, which = np.unique(missing[:, some], axis=1, return_inverse=True)
        values = out[:, some]
        for number, gone in enumerate(patterns.T):
            own = which.ravel() == number
            given = values[~gone][:, own] / unit[: len(centred)][~gone, None]
            found = np.linalg.lstsq(scaled[~gone], given, rcond=ROUNDING)[0]
            values[np.ix_(gone, own)] = basis[gone] @ found
        out[:, some] = values
    return out, ~missing.all(axis=0)


def _sight(
    whole: np.ndarray, seen: np.ndarray, own: np.ndarray, width: float, basis: np.ndarray,
    unit: np.ndarray, ratio: int,
) -> conjugate_gradients.Sight:  # fmt: skip
    """Return what the bands of one width say, as few images as there are directions."""
    scaled = basis[own] / unit[own, None]
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    images = np.tensordot((left / unit[own, None]).T, whole[own], 1)
    fine = [conjugate_gradients.axis(ratio * n, ratio=ratio, fwhm=width) for n in whole.shape[1:]]
    maps = (values[:, None] * right).astype(np.float32)
    return conjugate_gradients.Sight(maps, images.astype(np.float32), seen.astype(np.float32), fine)


def _start(
    whole: np.ndarray, seen: np.ndarray, guide: conjugate_gradients.Guide, basis: np.ndarray,
    unit: np.ndarray, ratio: int,
) -> np.ndarray:  # fmt: skip
    """Return the interpolated coefficients, corrected by what the spatial bands see."""
    scaled = basis / unit[: len(whole), None]
    reader = np.linalg.pinv(scaled, rcond=ROUNDING) / unit[: len(whole)]
    coarse = np.tensordot(reader, whole, 1).astype(np.float32)
    fine = upsample(fill(np.where(seen, coarse, np.float32(np.nan))), ratio=ratio)
    gain = np.linalg.inv(np.eye(len(fine)) + guide.normal.astype(np.float64)).astype(np.float32)
    rest = guide.pull - np.tensordot(guide.normal, fine, 1)
    return np.asarray(fine + np.tensordot(gain, rest, 1) * guide.seen)


def _weights(
    spatial: np.ndarray, metric: np.ndarray, freedom: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of the differences between rows, and between columns."""
    count = np.linalg.matrix_rank(metric, hermitian=True)
    out = []
    for axis in (1, 2):
        step = np.diff(spatial, axis=axis)
        square = np.einsum("gyx,gyx->yx", np.tensordot(metric, step, 1), step)
        weight = (freedom + count) / (freedom + square)
        out.append(np.where(np.isfinite(weight), weight, 1).astype(np.float32))
    return out[0], out[1]


METHOD = Method(
    name="s2sharp",
    task="sharpen_spectral",
    summary="All bands in one subspace, each with its own blur: accurate on any pair of cubes.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _numpy},
    settle=_settle,
    reference="Ulfarsson, Palsson, Dalla Mura & Sveinsson (2019), doi:10.1109/TGRS.2019.2906048",
    exempt={"tiles": "far pixels matter little, but do: seams below 1e-3 of the range"},
    costly=True,
)
