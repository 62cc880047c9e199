"""ESTARFM: similar pixels share their change, as sharply as both pairs say it should be.

With the pairs ``k`` = 1, 2, coarse change ``d_k = C_target - C_k`` and a pixel ``c``:

``F_target(c) = sum_k T_k (F_k(c) + m_k(c)) + V(c) sum_i W_i e(i)``

- ``i`` runs over the pixels of the window that are **similar** to ``c``: in all bands and on both
  dates ``|F_k(i) - F_k(c)| <= 2 std(F_k) / classes``, with the std of the whole image;
- ``W_i`` is proportional to ``1 / ((1 - R_i) (1 + distance / reach))``, where ``R_i`` says how
  alike fine and coarse are at ``i`` over bands and dates, and reach is half the window;
- ``m_k`` is the mean coarse change of the surroundings, ``e = sum_k T_k (d_k - m_k)`` what is left;
- ``V`` is the conversion coefficient, the slope of fine on coarse over similar pixels, both dates;
- ``T_k`` is the temporal weight of a pair, the larger the less the coarse image changed.

What the paper leaves open, and what is chosen here (figures: RMSE on the shared Landsat and MODIS
scenes of a boreal forest and of irrigated fields):

- **V acts on the deviation from the mean change of the surroundings**, not on the whole change. The
  noise of V then no longer multiplies the large common change: 0.0070 instead of 0.0095 (forest),
  0.0261 instead of 0.0266 (fields).
- **V is drawn to 1**, ``(Sxy + a) / (Sxx + a)`` with ``a = shrinkage * n * var(C)``, in 0..5, and
  is 1 where the regression fails the F-test at the level ``significance``, as in the paper. The
  test alone gives 0.00701 (forest) and 0.02618 (fields), drawing alone 0.00684 and 0.02566. Both
  together give 0.00686 and 0.02577: so near that the paper's level of 0.05 is the default. Above
  the test's bound V comes in gradually, so that neighbours, and engines, do not jump. The second
  switch of the reference code, on how much the coarse image changed, is left out.
- V is fitted within one coarse pixel around the pixel, as the paper says (codes use the window),
  to every second pixel like a checkerboard, at half the cost and the same error.
- The surroundings of ``m_k`` and ``T_k`` are all coarse pixels that the window reaches.
- ``T_k`` is ``1 / (mean d_k^2 + noise)``: the inverse variance of a prediction whose error grows
  with the change that it bridges. The paper's ``1 / |mean d_k|`` trusts a pair alone when changes
  cancel in the window. Half of the mean is over all bands, in units of each band's variance.

Missing pixels: similarity is spectral, so a pixel that lacks a band on a date does not exist on
that date. A pixel with one pair is predicted from that pair alone, among pixels that are similar
on the dates both have; it has ``R = 0.5``. A band missing at the centre itself is missing alone.

References
----------
Zhu, X., Chen, J., Gao, F., Chen, X., Masek, J. G. (2010). An enhanced spatial and temporal
adaptive reflectance fusion model for complex heterogeneous regions. Remote Sensing of Environment,
114(11), 2610-2623. https://doi.org/10.1016/j.rse.2010.05.032
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xstf._checks import check_above, check_at_least, check_between, check_odd
from xstf._method import Method
from xstf.methods.fuse.estarfm.conversion import conversion, regression_terms
from xstf.methods.fuse.estarfm.cuda import sum_similar as summed_there
from xstf.methods.fuse.estarfm.similar import TOLERANCE, sum_similar
from xstf.numerics.array_module import beside
from xstf.numerics.cuda.upsample import upsample as lifted_there
from xstf.numerics.upsample import upsample, upsample_numpy

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

SAMPLES = 256  # rows and columns looked at, at most, for the image's statistics
UNLIKE = 0.5  # R where it cannot be computed, from the reference code
FARTHEST = np.float32(32 * TOLERANCE)  # from the mean, in units of likeness
ALIKE = 0.01  # added to 1 - R: float32 knows R to about 1e-6, so the weight to 1e-4


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of ESTARFM.

    Parameters
    ----------
    window : int
        Side of the window of candidates, in fine pixels; odd. The paper's 1500 m are 51.
    classes : float
        Classes of land cover expected in the image; similar is within 2 std / classes.
    shrinkage : float
        How strongly the conversion coefficient is drawn to 1: the variance of the coarse image
        within the similar pixels, in units of its variance in the whole image, at which it lies
        half-way. 0 is plain least squares.
    noise : float
        Added to the mean squared change, in coarse variances; large makes both pairs weigh alike.
    significance : float
        Level of the F-test that the regression must pass, or the conversion coefficient is 1.
        At 1 nothing is tested, which is about a tenth faster.
    """

    window: int = 51
    classes: float = 4.0
    shrinkage: float = 0.2
    noise: float = 0.25
    significance: float = 0.05

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_odd(self, window=3)
        check_above(self, classes=0, noise=0, significance=0)
        check_at_least(self, shrinkage=0.0)
        check_between(self, significance=(0, 1))


class State(NamedTuple):
    """Centres and scales of the whole scene.

    Parameters
    ----------
    mean, tolerance : ndarray (pair, band)
        Of the fine images: means, and by how much similar pixels differ at most.
    coarse_mean, coarse_variance : ndarray (band,)
        Of the coarse images of both pairs.
    """

    mean: np.ndarray
    tolerance: np.ndarray
    coarse_mean: np.ndarray
    coarse_variance: np.ndarray


def _halo(params: Params, ratio: int) -> int:
    """Window, then the surroundings of its outermost pixel, then the interpolation's context."""
    return params.window // 2 + (_surroundings(params, ratio) + 1) * ratio


def _surroundings(params: Params, ratio: int) -> int:
    """Coarse pixels on either side that the window reaches."""
    return -(-(params.window // 2) // ratio)


def _prepare(
    fine: np.ndarray, coarse: np.ndarray, *, ratio: int, params: Params
) -> dict[str, np.ndarray]:
    """Evenly spaced rows and columns of the pairs."""
    samples = {}
    for name, image in (("fine", fine), ("coarse", coarse)):
        rows, cols = (_evenly(size) for size in image.shape[-2:])
        samples[name] = image[: len(fine), :, rows, :][..., cols]
    return samples


def _evenly(size: int) -> np.ndarray:
    """Return at most SAMPLES evenly spaced positions, from the first half-step on."""
    count = min(size, SAMPLES)
    return (np.arange(count) * 2 + 1) * size // (2 * count)


def _settle(samples: Mapping[str, np.ndarray], *, ratio: int, params: Params) -> State:
    """Centre and scale: of fine by pair and band, of coarse by band."""
    fine, coarse = samples["fine"], samples["coarse"]
    mean, variance = _moments(fine, (2, 3))
    coarse_mean, coarse_variance = _moments(coarse, (0, 2, 3))
    return State(mean, 2 * np.sqrt(variance) / params.classes, coarse_mean, coarse_variance)


def _moments(values: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over axes, 0 where there is no value."""
    valid = np.isfinite(values)
    count = np.maximum(valid.sum(axes), 1)
    filled = np.where(valid, values, 0).astype(np.float64)
    mean = filled.sum(axes) / count
    shape = [1 if axis in axes else size for axis, size in enumerate(values.shape)]
    deviation = (filled - mean.reshape(shape)) * valid
    return mean, np.square(deviation, out=deviation).sum(axes) / count


def _inverse(values: np.ndarray) -> np.ndarray:
    """1 / values, and 0 for 0: a band without variance decides nothing."""
    return np.where(values > 0, 1 / np.where(values > 0, values, 1), 0)


def _around(image: np.ndarray, radius: int) -> np.ndarray:
    """Mean over the coarse pixels within radius, without the missing ones."""
    valid = np.isfinite(image)
    total, count = np.where(valid, image, 0).astype(np.float64), valid.astype(np.float64)
    for axis in (-2, -1):
        total, count = _box(total, radius, axis), _box(count, radius, axis)
    return np.where(count > 0.5, total / np.maximum(count, 1), np.nan)


def _box(image: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Sum over positions within radius along an axis, fewer at the edges.

    Each sum in one order of its own: differences of running sums would round as the tile begins.
    """
    moved = np.moveaxis(image, axis, -1)
    size, total = moved.shape[-1], np.zeros_like(moved)
    for offset in range(-min(radius, size - 1), min(radius, size - 1) + 1):
        to = slice(max(0, -offset), size - max(0, offset))
        total[..., to] += moved[..., max(0, offset) : size + min(0, offset)]
    return np.moveaxis(total, -1, axis)


@dataclass(frozen=True)
class _Fields:
    """What each pixel of a tile knows by itself, ``(..., y, x)``, float32.

    ``shares`` (pair, band) are T, 0 where a pair is missing, and ``parts`` (pair, band) are F + m.
    ``likeness`` (comparison): similar pixels differ by `TOLERANCE` at most in each that both have.
    ``rest`` (band) is e; ``votes`` are the weight, the weighted e and, for the deviation, the
    weighted e^2. ``terms`` are those of the regression.
    """

    shares: np.ndarray
    parts: np.ndarray
    likeness: np.ndarray
    rest: np.ndarray
    votes: np.ndarray
    terms: np.ndarray

    def cut(self, rows: slice, cols: slice) -> _Fields:
        """Return the fields of a part of the tile."""
        return _Fields(*(np.ascontiguousarray(f[..., rows, cols]) for f in vars(self).values()))


def _fields(
    fine: np.ndarray,
    coarse: np.ndarray,
    ratio: int,
    params: Params,
    state: State,
    std: bool,
    interpolate: Callable[..., np.ndarray],
) -> _Fields:
    """Return all that does not need the neighbours at fine pixels."""
    around, rest, bridged = _temporal(coarse, ratio, params, state)
    images = np.concatenate([coarse[:2], around, rest, bridged]).astype(np.float32)
    pair, around, rest, bridged = np.split(interpolate(images, ratio=ratio), 4)
    valid = np.isfinite(fine) & np.isfinite(rest)
    weight = np.where(valid, 1 / bridged, np.float32(0))
    shares = weight / np.maximum(weight.sum(0), np.finfo(np.float32).tiny)
    parts = np.where(valid, fine + around, np.float32(0))
    rest = np.where(valid, shares * rest, np.float32(0)).sum(0)
    there = valid.all(1)
    votes = _votes(fine, pair, rest, there, std)
    likeness = _likeness(fine, state)
    terms = regression_terms(
        fine, pair, there, (state.coarse_mean, state.mean.mean(0)), gate=params.significance < 1
    )
    return _Fields(shares, parts, likeness, rest, votes, terms)


def _temporal(
    coarse: np.ndarray, ratio: int, params: Params, state: State
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean change around each coarse pixel, what is left of it, and 1 / T, by pair and band."""
    radius = _surroundings(params, ratio)
    change = coarse[2].astype(np.float64) - coarse[:2]
    around = _around(change, radius)
    power = beside(_inverse(state.coarse_variance)[:, None, None], change)
    square = _around(change**2, radius) * power
    present = np.isfinite(square)
    bands = np.where(present, square, 0).sum(1) / np.maximum(present.sum(1), 1)
    return around, change - around, (square + bands[:, None]) / 2 + params.noise


def _votes(
    fine: np.ndarray, pair: np.ndarray, rest: np.ndarray, there: np.ndarray, std: bool
) -> np.ndarray:
    """Weight of each pixel that has all bands of a pair, and its weighted rest of the change."""
    like = np.where(there.all(0), _alike(fine, pair), np.float32(UNLIKE))
    weight = np.where(there.any(0), 1 / (1 - like + np.float32(ALIKE)), np.float32(0))
    moments = [rest, rest**2] if std else [rest]
    return np.concatenate([weight[None], *(weight * moment for moment in moments)])


def _alike(fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """R of (y, x): how alike fine and coarse, (pair, band, y, x), are at a pixel."""
    if fine.shape[1] == 1:
        size = np.abs(fine) + np.abs(coarse)
        apart = np.abs(fine - coarse) / np.where(size > 0, size, np.nan)
        like = 1 - apart.mean((0, 1))
    else:
        f = fine - fine.mean((0, 1))
        c = coarse - coarse.mean((0, 1))
        power = (f * f).sum((0, 1)) * (c * c).sum((0, 1))
        like = (f * c).sum((0, 1)) / np.sqrt(np.where(power > 0, power, np.nan))
    return np.where(np.isfinite(like), like, np.float32(UNLIKE))


def _likeness(fine: np.ndarray, state: State) -> np.ndarray:
    """Fine values in 500ths of a tolerance, (comparison, y, x); NaN differs from nothing.

    Whole numbers, so that they fit uint16, which is compared twice as fast, where none is missing.
    Values beyond 32 tolerances from the mean are all alike.
    """
    scale = TOLERANCE * _inverse(state.tolerance)[..., None, None].astype(np.float32)
    mean = state.mean[..., None, None].astype(np.float32)
    scaled: np.ndarray = (fine - beside(mean, fine)) * beside(scale, fine)
    # Both dates of a band together: what is compared first then decides most.
    scaled = scaled.swapaxes(0, 1).reshape(-1, *fine.shape[2:])
    np.clip(np.rint(scaled, out=scaled), -FARTHEST, FARTHEST, out=scaled)
    if not np.isnan(scaled).any():
        return (scaled + FARTHEST).astype(np.uint16)
    first, second = np.isfinite(fine).all(1)
    if not ((first & ~second).any() and (second & ~first).any()):
        return scaled
    # One has the first date only, the other the second only: nothing to compare, so not similar.
    side = np.float32(TOLERANCE) * ((first & ~second) - 1.0 * (second & ~first))
    return np.concatenate([scaled, side[None]])


def _merge(
    fields: _Fields, params: Params, state: State, std: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Put fields whose votes and terms are sums over similar pixels into the equation."""
    votes = fields.votes
    bands = fields.rest.shape[0]
    prior = params.shrinkage * state.coarse_variance
    slope = conversion(fields.terms, prior, params.significance)
    some = votes[0] > 0
    total = np.where(some, votes[0], 1)
    # A pixel that is no candidate itself and has none keeps its own coarse change.
    rest = np.where(some, votes[1 : 1 + bands] / total, fields.rest)
    start = (fields.shares * fields.parts).sum(0)
    missing = fields.shares.sum(0) == 0
    estimate = np.where(missing, np.nan, start + slope * rest).astype(np.float32)
    if not std:
        return estimate, None
    spread = np.maximum(np.where(some, votes[1 + bands :] / total, 0) - rest**2, 0)
    apart = (fields.shares * (fields.parts - start) ** 2).sum(0)
    deviation = np.sqrt(slope**2 * spread + apart)
    return estimate, np.where(missing, np.nan, deviation).astype(np.float32)


def _sums(fields: _Fields, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Return where votes and terms are added up, each pixel's own ones in it."""
    # The test compares small differences of large sums: in float32, engines would not agree.
    kind = np.float64 if params.significance < 1 else np.float32
    return fields.votes.copy(), fields.terms.astype(kind)


def _crop(
    inner: tuple[slice, slice], reach: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return inner with its candidates in the tile, and inner within that."""
    outer = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in inner)
    within = tuple(
        slice(part.start - out.start, part.stop - out.start)
        for part, out in zip(inner, outer, strict=True)
    )
    return (outer[0], outer[1]), (within[0], within[1])


def _numpy(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Definition: one pixel and its window at a time."""
    reach = params.window // 2
    outer, within = _crop(inner, reach)
    fields = _fields(fine, coarse, ratio, params, state, std, upsample_numpy).cut(*outer)
    votes, terms = _sums(fields, params)
    for y in range(within[0].start, within[0].stop):
        for x in range(within[1].start, within[1].stop):
            votes[:, y, x] = _gather(fields.likeness, fields.votes, y, x, reach, fade=True)
            terms[:, y, x] = _gather(fields.likeness, fields.terms, y, x, ratio // 2, fade=False)
    return _merge(replace(fields, votes=votes, terms=terms).cut(*within), params, state, std)


def _gather(
    likeness: np.ndarray, values: np.ndarray, y: int, x: int, reach: int, *, fade: bool
) -> np.ndarray:
    """Sum values over the pixels similar to one: all, fading, or every second one, as it is."""
    rows, cols = (slice(max(0, at - reach), at + reach + 1) for at in (y, x))
    # Not "<= 1": a comparison with a missing value must not exclude.
    apart = np.abs(likeness[:, rows, cols].astype(np.float32) - likeness[:, y, x, None, None])
    similar = ~(apart > TOLERANCE).any(0)
    dy = np.arange(likeness.shape[1])[rows, None] - y
    dx = np.arange(likeness.shape[2])[cols] - x
    weight = similar / (1 + np.hypot(dy, dx) / reach) if fade else similar & ((dy + dx) % 2 == 0)
    total: np.ndarray = (values[:, rows, cols] * weight).sum((1, 2), dtype=np.float64)
    return total


def _numba(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the same, from whole rows and pairs of pixels."""
    reach = params.window // 2
    outer, within = _crop(inner, reach)
    fields = _fields(fine, coarse, ratio, params, state, std, upsample).cut(*outer)
    votes, terms = _sums(fields, params)  # a pixel is similar to itself
    bounds = (within[0].start, within[0].stop, within[1].start, within[1].stop)
    sum_similar(
        fields.likeness, fields.votes, votes, fields.terms, terms, reach, ratio // 2, bounds
    )
    return _merge(replace(fields, votes=votes, terms=terms).cut(*within), params, state, std)


def _cupy(
    fine: DeviceArray,
    coarse: DeviceArray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[DeviceArray, DeviceArray | None]:
    """Return the same by kernels of the GPU."""
    reach = params.window // 2
    outer, within = _crop(inner, reach)
    fields = _fields(fine, coarse, ratio, params, state, std, lifted_there)
    whole = _Fields(*(f[..., outer[0], outer[1]] for f in vars(fields).values()))
    votes, terms = summed_there(
        whole.likeness, whole.votes, whole.terms, reach, ratio // 2, within, fine.shape[1]
    )
    if params.significance >= 1:
        terms = terms.astype(np.float32)
    own = _Fields(*(f[..., within[0], within[1]] for f in vars(whole).values()))
    return _merge(replace(own, votes=votes, terms=terms), params, state, std)


METHOD = Method(
    name="estarfm",
    task="fuse",
    summary="Shares the change of two pairs among similar pixels; for varied, changing land.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "cupy": _cupy, "numpy": _numpy},
    reference=(
        "Zhu et al. (2010), Remote Sensing of Environment 114(11), 2610-2623, "
        "https://doi.org/10.1016/j.rse.2010.05.032"
    ),
    pairs=(2, 2),
    prepare=_prepare,
    settle=_settle,
    std=True,
    exempt={"offset": "the temporal weights of the pairs depend on how much the image changed"},
    costly=True,
)
