"""STARFM: the spatial and temporal adaptive reflectance fusion model, after Gao et al. (2006).

Each fine image ``F_k`` is carried to the target date by the coarse change ``C_t - C_k`` (both at
fine pixels), averaged over the similar pixels around; then the pairs are averaged::

    E_k(c) = F_k(c) + sum_i w_ki (C_t - C_k)(i) / sum_i w_ki
    w_ki   = A_ki D_i / [(S_ki / s + 0.1)^2 (T_ki / s + 0.3)^2]
    A_ki   = max(0, 1 - |F_k(i) - F_k(c)| m / (2 s_k))    how similar
    D_i    = (1 + d_i / a)^-2                             how near
    S_ki   = |F_k(i) - C_k(i)|                            how unlike its coarse pixel
    T_ki   = |(C_t - C_k)(i) - shift_k|                   how unusual the change there
    E(c)   = sum_k r_k v_k E_k / sum_k r_k v_k

``s_k`` is the standard deviation of ``F_k``, ``s`` that of all the pairs, ``shift_k`` the median
change of the image. Bands are treated one by one, also where pixels are missing.

What the paper leaves open or has otherwise, and why it is so here:

- The paper's differences are in data units, so that its weights change with the scale of the data.
  Here they are in units of ``s``, with constants in place of its exceptions for S = 0 and T = 0.
- The paper averages ``F_k + C_t - C_k``. Here only the change is averaged, and ``F_k`` is the
  centre's: no change then returns the fine image exactly, and details stay sharp.
- T is measured from the median change of the image: a change of the whole scene, or an offset of
  the sensor, makes no pixel less trustworthy than another. On real pairs this costs little.
- S and T are squared (weights by variance) and stand for the paper's sample filter too, which is
  the same idea with a hard edge. D falls off faster: on real pairs, a flat D blurs the change.
- Similarity falls off evenly instead of ending at the paper's tolerance: on quantised images, the
  number of levels inside a hard one jumps, and the share of a pair with it.
- Pairs share by ``v_k = sum_i w_ki`` without S, times the reliability at the centre ``1 / r_k =
  (L_k / s^2 + 0.01) (1 + M_k / mean S_k^2)``. ``L_k`` is the variance of the coarse change over 9 x
  9 coarse pixels: where the land has changed unevenly since a pair, its details are out of date.
  ``M_k`` is the mean of S^2 over 3 x 3: a pair whose two images disagree, as under missed clouds.

The standard deviation is the root of ``sum_k p_k [(E_k - E)^2 + sum_i w_ki (change_k(i) -
change_k(c))^2 / sum_i w_ki + p_k d_k L_k / var C_k]`` with the pairs' shares ``p_k``: how the pairs
and the candidates differ, and what no coarse image shows: of the fine details, ``d_k = (S_k^2 +
mean S_k^2) / 2``, the share that changed in the coarse image is out of date too. On three real
image series it is 0.6 to 1.6 times the true error; it says little of which pixels are worse.

Gao, F., Masek, J., Schwaller, M., Hall, F. (2006). On the blending of the Landsat and MODIS surface
reflectance: predicting daily Landsat surface reflectance. IEEE Trans. Geosci. Remote Sens. 44(8),
2207-2218. doi:10.1109/TGRS.2006.872081
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xstf._checks import check_above, check_odd
from xstf._method import Method
from xstf.methods.fuse.starfm.cuda import Constants, launch
from xstf.numerics.jit import jit, part
from xstf.numerics.upsample import upsample, upsample_numpy

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# The least S and T that count, in standard deviations of the fine images: their noise.
NOISE_S = 0.1
NOISE_T = 0.3
# L is taken this many coarse pixels to each side, and never trusted below this share of variance.
REACH = 4
NOISE_CHANGE = 0.01
# M is taken this many coarse pixels to each side.
NEAR = 1
# Candidates a pass, and pixels that rows of sums are whole in: two vectors.
TOGETHER, WHOLE = 3, 16
# Values that `prepare` may draw, in all.
SAMPLE = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Params:
    """What a user may choose.

    Parameters
    ----------
    window
        Side of the square in which similar pixels are sought, odd, in fine pixels.
    classes
        The paper's m: a pixel's similarity ends at ``2 * std / classes`` from the centre.
    distance
        The distance, in fine pixels, at which a similar pixel weighs a quarter.
    """

    window: int = 51
    classes: float = 10.0
    distance: float = 3.0

    def __post_init__(self) -> None:
        """Check the values."""
        check_odd(self, window=3)
        check_above(self, classes=0, distance=0)


class State(NamedTuple):
    """The units in which S, T and similarity are measured, ``(pair, band)`` each, float32.

    Parameters
    ----------
    steepness : ndarray
        ``m / (2 s_k)``: how fast similarity falls off.
    unit : ndarray
        ``s``, the same for all pairs.
    shift : ndarray
        Median coarse change.
    mismatch : ndarray
        Mean of ``S_k^2``.
    contrast : ndarray
        Variance of ``C_k``.
    """

    steepness: np.ndarray
    unit: np.ndarray
    shift: np.ndarray
    mismatch: np.ndarray
    contrast: np.ndarray


def halo(params: Params, ratio: int) -> int:
    """Return how many fine pixels around a pixel its result depends on."""
    return max(params.window // 2 + ratio, (REACH + 1) * ratio)


def prepare(
    fine: np.ndarray, coarse: np.ndarray, *, ratio: int, params: Params
) -> dict[str, np.ndarray]:
    """Return fine pixels at even steps, and the coarse pixels that hold them."""
    pairs, bands, height, width = fine.shape
    side = max(1, int((SAMPLE / (bands * (2 * pairs + 1))) ** 0.5))
    rows, cols = -(-height // side), -(-width // side)
    coarse = coarse[:, :, np.arange(0, height, rows) // ratio]
    return {
        "fine": fine[:, :, ::rows, ::cols],
        "coarse": coarse[:, :, :, np.arange(0, width, cols) // ratio],
    }


def settle(samples: Mapping[str, np.ndarray], *, ratio: int, params: Params) -> State:
    """Return the units in which S, T and similarity are measured."""
    fine, coarse = (samples[name].astype(np.float64) for name in ("fine", "coarse"))
    change = coarse[-1] - coarse[:-1]
    shift = np.zeros(fine.shape[:2])
    for at in np.ndindex(*shift.shape):
        seen = change[at][~np.isnan(change[at])]
        shift[at] = np.median(seen) if seen.size else 0.0
    variance = _variance(fine)
    mismatch = _mean((fine - coarse[:-1]) ** 2)
    unusual = _mean((change - shift[..., None, None]) ** 2)
    # The last terms matter only to fine images without any contrast.
    unit = np.sqrt((variance + 1e-6 * (mismatch + unusual)).mean(axis=0))
    noise = NOISE_CHANGE * unit**2 + (unit == 0)
    # An image without contrast has no unlike pixels.
    contrast = np.where(variance > 0, variance, np.inf)
    return State(
        steepness=(params.classes / (2 * np.sqrt(contrast))).astype(np.float32),
        unit=np.tile(np.where(unit > 0, unit, 1).astype(np.float32), (len(shift), 1)),
        shift=shift.astype(np.float32),
        mismatch=np.maximum(mismatch, noise).astype(np.float32),
        contrast=(_variance(coarse[:-1]) + noise).astype(np.float32),
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the last two axes without NaN, 0 where there is nothing else."""
    seen = ~np.isnan(values)
    total = np.where(seen, values, 0).sum(axis=(-2, -1))
    return np.asarray(total / np.maximum(seen.sum(axis=(-2, -1)), 1))


def _variance(values: np.ndarray) -> np.ndarray:
    """Return the variance in the last two axes without NaN."""
    return _mean((values - _mean(values)[..., None, None]) ** 2)


class Planes(NamedTuple):
    """What does not depend on the centre, ``(pair, band, y, x)`` float32, 0 where unusable."""

    fine: np.ndarray
    change: np.ndarray
    steady: np.ndarray  # the weight of T
    weight: np.ndarray  # the weight of S and T
    reliable: np.ndarray  # r, of a pixel as a centre
    stale: np.ndarray  # the variance of the details that are out of date


def _unevenness(coarse: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return L on the coarse grid: the variance of the change around each pixel."""
    change = (coarse[-1] - coarse[:-1]).astype(np.float64) - shift[..., None, None]
    seen = ~np.isnan(change)
    change = np.where(seen, change, 0)
    count = np.maximum(_around(seen, REACH), 1)
    variance = _around(change**2, REACH) / count - (_around(change, REACH) / count) ** 2
    return np.where(seen, np.maximum(variance, 0), np.nan).astype(np.float32)


def _disagreement(fine: np.ndarray, up: np.ndarray, ratio: int) -> np.ndarray:
    """Return M on the coarse grid: the mean of S^2 around each pixel."""
    height, width = fine.shape[-2] // ratio, fine.shape[-1] // ratio
    squares = (fine - up[:-1]).reshape(*fine.shape[:2], height, ratio, width, ratio) ** 2
    seen = ~np.isnan(squares)
    count = seen.sum(axis=(3, 5))
    total = np.where(seen, squares, 0).sum(axis=(3, 5), dtype=np.float64)
    mean = _around(total, NEAR) / np.maximum(_around(count, NEAR), 1)
    return np.where(count > 0, mean, np.nan).astype(np.float32)


def _around(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the sums over the pixels within reach, fewer at the edge."""
    # Direct sums: running ones would depend on where a tile begins.
    values = np.pad(values, [(0, 0), (0, 0), (reach, reach), (reach, reach)])
    for axis in (-2, -1):
        values = sliding_window_view(values, 2 * reach + 1, axis=axis).sum(axis=-1)
    return values


def _planes(
    fine: np.ndarray,
    coarse: np.ndarray,
    ratio: int,
    state: State,
    to_fine: Callable[..., np.ndarray],
) -> Planes:
    """Return the planes; ``to_fine`` is the function that gives coarse images at fine pixels."""
    up = to_fine(coarse, ratio=ratio)
    uneven = to_fine(_unevenness(coarse, state.shift), ratio=ratio)
    unlike = to_fine(_disagreement(fine, up, ratio), ratio=ratio)
    _, unit, shift, usual, contrast = (values[..., None, None] for values in state)
    change = up[-1] - up[:-1]
    mismatch = fine - up[:-1]
    usable = ~np.isnan(mismatch + change)
    steady = (np.abs(change - shift) / unit + np.float32(NOISE_T)) ** -2
    weight = steady * (np.abs(mismatch) / unit + np.float32(NOISE_S)) ** -2
    reliable = 1 / ((uneven / unit**2 + np.float32(NOISE_CHANGE)) * (1 + unlike / usual))
    stale = (mismatch**2 + usual) / 2 * (uneven / contrast)
    planes = (fine, change, steady, weight, reliable, stale)
    return Planes(*(np.where(usable, plane, np.float32(0)) for plane in planes))


def _distances(params: Params) -> np.ndarray:
    """Return D of each offset in the window."""
    steps = np.arange(params.window) - params.window // 2
    away = np.hypot(steps[:, None], steps[None, :])
    return ((1 + away / params.distance) ** -2.0).astype(np.float32)


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
    """Pixel by pixel, as in the equations above."""
    planes = _planes(fine, coarse, ratio, state, upsample_numpy)
    distances = _distances(params)
    top, left = (part.start for part in inner)
    shape = (fine.shape[1], *(part.stop - part.start for part in inner))
    estimate, spread = (np.full(shape, np.nan, np.float32) for _ in range(2))
    for b, row, col in np.ndindex(*shape):
        y, x = top + row, left + col
        found = [
            _centre(planes, distances, steepness[b], (k, b), y, x)
            for k, steepness in enumerate(state.steepness)
        ]
        share, value, variance = np.array(found).T
        if share.sum() > 0:
            share = share / share.sum()
            mean = (share * value).sum()
            estimate[b, row, col] = mean
            variance = variance + (value - mean) ** 2 + share * planes.stale[:, b, y, x]
            spread[b, row, col] = np.sqrt((share * variance).sum())
    return estimate, spread if std else None


def _centre(
    planes: Planes, distances: np.ndarray, steepness: float, at: tuple[int, int], y: int, x: int
) -> tuple[float, float, float]:
    """Return a pair's r v, E and variance at one pixel."""
    if planes.reliable[at][y, x] == 0:
        return 0.0, 0.0, 0.0
    half = len(distances) // 2
    rows = slice(max(0, y - half), y + half + 1)
    cols = slice(max(0, x - half), x + half + 1)
    values, change, steady, weight = (plane[at][rows, cols] for plane in planes[:4])
    near = distances[rows.start - y + half :, cols.start - x + half :].astype(np.float64)
    near = near[: len(values), : values.shape[1]]
    unlike = np.abs(values - planes.fine[at][y, x]) * steepness
    near = near * np.maximum(1 - unlike, 0)
    total = (near * weight).sum()
    value = planes.fine[at][y, x] + (near * weight * change).sum() / total
    variance = (near * weight * (change - planes.change[at][y, x]) ** 2).sum() / total
    return planes.reliable[at][y, x] * (near * steady).sum(), value, variance


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
    """Offset by offset over whole rows, so that the processor works on many pixels at once."""
    planes = _planes(fine, coarse, ratio, state, upsample)
    corner = (inner[0].start, inner[1].start)
    rows, cols = (part.stop - part.start for part in inner)
    wide = -(-cols // WHOLE) * WHOLE
    near = _distances(params)
    near = np.pad(near, ((0, 0), (0, -len(near) % TOGETHER)))
    sums = np.zeros((3, *fine.shape[:2], rows, wide), np.float32)
    weights = np.empty(wide, np.float32)
    for at in np.ndindex(*fine.shape[:2]):
        padded = Planes(*(_padded(p[at], corner[1], wide, params.window // 2) for p in planes))
        value, share, variance = sums[:, *at]
        steep = state.steepness[at]
        _gather(padded, near, steep, corner[0], std, weights, value, share, variance)
    value, share, variance = sums[..., :cols]
    total = share.sum(axis=0)
    seen = total > 0
    share = share / np.where(seen, total, 1)
    mean = (share * value).sum(axis=0)
    estimate = np.where(seen, mean, np.float32(np.nan))
    if not std:
        return estimate, None
    variance += (value - mean) ** 2 + share * planes.stale[:, :, *inner]
    spread = np.sqrt((share * variance).sum(axis=0))
    return estimate, np.where(seen, spread, np.float32(np.nan))


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
    """One thread a pixel; takes and returns arrays of the device."""
    estimate, spread = launch(
        fine,
        coarse,
        ratio=ratio,
        state=state,
        inner=inner,
        distances=_distances(params),
        constants=Constants(REACH, NEAR, NOISE_S, NOISE_T, NOISE_CHANGE),
    )
    return estimate, spread if std else None


def _padded(plane: np.ndarray, left: int, wide: int, half: int) -> np.ndarray:
    """Return a plane from so far left of a column that a window fits, zero beyond its edges.

    All rows of the sums are then whole vectors, whatever the offset.
    """
    height, width = plane.shape
    out = np.zeros((height, wide + 2 * half + TOGETHER - 1), np.float32)
    start, stop = max(0, left - half), min(width, left - half + out.shape[1])
    out[:, start - left + half : stop - left + half] = plane[:, start:stop]
    return out


@jit
def _gather(
    planes: Planes,
    near: np.ndarray,
    steepness: np.ndarray,  # one number
    top: int,
    std: bool,
    weights: np.ndarray,  # room for a row
    value: np.ndarray,
    share: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Write E, r v and variance of a pair and band; the wanted part begins at the row ``top``."""
    fine, change, steady, weight, reliable, _ = planes
    height = fine.shape[0]
    rows, wide = value.shape
    half = near.shape[0] // 2
    for y in range(rows):
        at = top + y
        centre, middle = fine[at, half : half + wide], change[at, half : half + wide]
        for x in range(wide):
            weights[x] = 0
        for dy in range(max(-half, -at), min(half, height - 1 - at) + 1):
            for dx in range(0, near.shape[1], TOGETHER):
                around = slice(dx, dx + wide + TOGETHER - 1)
                others, heavies = fine[at + dy, around], weight[at + dy, around]
                changes = change[at + dy, around]
                closeness = near[dy + half, dx], near[dy + half, dx + 1], near[dy + half, dx + 2]
                _add(
                    centre, others, heavies, changes, steady[at + dy, around], closeness,
                    steepness, value[y], weights, share[y],
                )  # fmt: skip
                if std:
                    _spread(
                        centre, middle, others, heavies, changes, closeness, steepness, variance[y]
                    )  # fmt: skip
        for x in range(wide):
            trust = reliable[at, half + x]
            share[y, x] *= trust
            # An unusable centre still has sums, over the zeros that stand for missing pixels.
            if trust > 0:
                value[y, x] = centre[x] + value[y, x] / weights[x]
                variance[y, x] /= weights[x]
            else:
                value[y, x] = variance[y, x] = 0


# Three candidates a pass, since what the processor cannot do faster is load and store: a candidate
# alone loads eight numbers and stores three, of three it is five and one.


@part
def _add(
    centre: np.ndarray, others: np.ndarray, heavies: np.ndarray, changes: np.ndarray,
    steadies: np.ndarray, near: tuple[float, float, float], steepness: np.ndarray,
    sums: np.ndarray, totals: np.ndarray, shares: np.ndarray,
) -> None:  # fmt: skip
    """Add three candidates to the sums of each pixel of a row."""
    zero, one = np.float32(0), np.float32(1)
    a, b, c = near
    # Written out and free of branches, this loop is vectorised; keep it so.
    for x in range(centre.shape[0]):
        here, total, summed, shared = centre[x], totals[x], sums[x], shares[x]
        alike = a * max(one - abs(others[x] - here) * steepness, zero)
        heavy = alike * heavies[x]
        total += heavy
        summed += heavy * changes[x]
        shared += alike * steadies[x]
        alike = b * max(one - abs(others[x + 1] - here) * steepness, zero)
        heavy = alike * heavies[x + 1]
        total += heavy
        summed += heavy * changes[x + 1]
        shared += alike * steadies[x + 1]
        alike = c * max(one - abs(others[x + 2] - here) * steepness, zero)
        heavy = alike * heavies[x + 2]
        totals[x] = total + heavy
        sums[x] = summed + heavy * changes[x + 2]
        shares[x] = shared + alike * steadies[x + 2]


@part
def _spread(
    centre: np.ndarray, middle: np.ndarray, others: np.ndarray, heavies: np.ndarray,
    changes: np.ndarray, near: tuple[float, float, float], steepness: np.ndarray,
    squares: np.ndarray,
) -> None:  # fmt: skip
    """Add the squares by which the changes of three candidates differ from each pixel's own."""
    zero, one = np.float32(0), np.float32(1)
    a, b, c = near
    for x in range(centre.shape[0]):
        here, own, total = centre[x], middle[x], squares[x]
        alike = a * max(one - abs(others[x] - here) * steepness, zero)
        total += alike * heavies[x] * (changes[x] - own) ** 2
        alike = b * max(one - abs(others[x + 1] - here) * steepness, zero)
        total += alike * heavies[x + 1] * (changes[x + 1] - own) ** 2
        alike = c * max(one - abs(others[x + 2] - here) * steepness, zero)
        squares[x] = total + alike * heavies[x + 2] * (changes[x + 2] - own) ** 2


METHOD = Method(
    name="starfm",
    task="fuse",
    summary="Coarse change averaged over similar pixels around; needs one or two pairs.",
    params=Params,
    halo=halo,
    kernels={"numba": _numba, "cupy": _cupy, "numpy": _numpy},
    pairs=(1, 2),
    prepare=prepare,
    settle=settle,
    std=True,
    reference="Gao et al. (2006), doi:10.1109/TGRS.2006.872081",
)
