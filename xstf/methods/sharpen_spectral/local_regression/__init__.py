"""Local regression: what the sharp bands explain around each coarse pixel, and what they leave.

After the regression step of area-to-point regression kriging: Wang, Q., Shi, W., Li, Z. & Atkinson,
P. M. (2016). Fusion of Sentinel-2 images. Remote Sensing of Environment 187, 241-252.
doi:10.1016/j.rse.2016.10.030

With ``H`` the spectral cube, ``M`` the spatial one, ``D_k`` the blur of band ``k`` with decimation
and ``^`` a map on the coarse grid taken to fine pixels:

1. In a window around each coarse pixel ``H_k = a_k . D_k M + b_k + e_k`` by weighted least squares.
2. ``X_k = a_k^ . M + b_k^ + e_k^``; then, ``steps`` times, ``X_k += (H_k - D_k X_k)^``.

What the paper leaves open, or where we differ from it:

- The regression is local (the paper's is one for the scene), weights fall to the window's border,
  and a ridge, in units of each sharp band's variance in the scene, draws the slopes to those of the
  whole scene: a flat or lonely neighbourhood does what the scene does.
- Window and ridge are those whose left-out error is least: each coarse pixel predicted without
  itself, for which a linear fit needs no second fit.
- So is the width of the blur. Bands share a width unless another one is worth it: the 20 m
  bands of Sentinel-2 differ by a quarter, and hundreds of noisy bands of one camera do not.
- A step puts noise back too: a band has as many as put back detail, by the correlation of what is
  left between neighbours, up to two. They need no fine image: what a step leaves of a coarse
  difference follows from it.
- ``a`` and ``b`` are interpolated bilinearly, ``e`` by cubic convolution where the paper has
  kriging: the steps back to ``H`` make up for the difference, at no cost of solving for weights.
- All is local: tiles give the whole scene's result. Missing pixels have no weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from xstf._checks import check_above, check_at_least, check_odd
from xstf._method import Method, SharpenSamples, usual_lattice
from xstf.methods.sharpen_spectral.local_regression.residual import correlation, correlations
from xstf.numerics.array_module import beside, contiguous, of_host
from xstf.numerics.degrade import (
    FILL_REACH,
    SINC_REACH,
    UPSAMPLE_REACH,
    bilinear,
    degrade,
    fill,
    register,
    round_trip,
    spread,
    upsample,
)
from xstf.numerics.local_fit import fit
from xstf.numerics.psf import PSF_REACH
from xstf.numerics.response import locate

# Windows and ridges that are tried: from next neighbours to what the halo can bear, and from hardly
# any ridge to one as strong as the scene's own variance.
WINDOWS = (3, 5, 9)
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# The pair at which the blur's width is sought; the best width hardly depends on it.
USUAL_WINDOW, USUAL_RIDGE = 5, 1e-3
# Widths of the blur, in coarse pixels: sharper than the sampling to as blurred as two pixels.
WIDTHS = np.arange(0.4, 2.01, 0.2)
# Steps between them to which the error is interpolated.
FINER = 4
# A further width must cut the left-out variance by this share, on average over all bands.
WORTH = 0.01
# Coarse pixels that are left out in turn, evenly spaced.
TRIALS = 1000
# Side, in coarse pixels, of the part of the scene on which steps are judged: from the least on as
# much as so many fine values of all bands allow.
LEAST_SIDE, MOST_SIDE, VALUES = 64, 256, 1 << 24
# The most steps: further ones gain ever less, and each widens the halo by five coarse pixels.
MOST_STEPS = 2
# Relative singular values below this are rounding of float32.
ROUNDING = 1e-6
# A sharp band that varies less than this, relative to its level, is constant: the rest is rounding
# of float32, which differs from one processor to the next.
FLAT = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of local regression.

    Parameters
    ----------
    window : int, optional
        Side of the window, in coarse pixels, odd. Default: 3, 5 or 9, by the left-out error.
    ridge : float, optional
        How strongly the slopes are drawn to the scene's, as a share of the variance of the sharp
        bands. Default: by the left-out error.
    steps : int, optional
        How often the difference between the spectral cube and the degraded result is put back.
        More are closer to the spectral cube, its noise included. Default: in each band as long as
        the difference is detail rather than noise, twice at most.
    """

    window: int | None = None
    ridge: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if self.window is not None:
            check_odd(self, window=3)
        if self.ridge is not None:
            check_above(self, ridge=0)
        if self.steps is not None:
            check_at_least(self, steps=0)


class Scene(NamedTuple):
    """The scene's own regression of each band on the spatial bands, seen through its blur.

    Parameters
    ----------
    slopes : ndarray (guide_band, band)
    level : ndarray (band,)
        Means of the bands.
    centre, variance : ndarray (guide_band, band)
        Of the spatial bands.
    """

    slopes: np.ndarray
    level: np.ndarray
    centre: np.ndarray
    variance: np.ndarray

    @classmethod
    def empty(cls, guides: int, bands: int) -> Scene:
        """Return a regression of zeros."""
        slopes, centre, variance = (np.zeros((guides, bands)) for _ in range(3))
        return cls(slopes, np.zeros(bands), centre, variance)


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    shift : ndarray (2,)
        That moves the spatial cube onto the spectral one: down, right, in fine pixels.
    width : ndarray (band,)
        FWHM of each band's point spread, in coarse pixels.
    window : int
        Side of the window, in coarse pixels.
    ridge : float
    scene : Scene
    steps : ndarray (band,), int
        How often each band's difference is put back.
    """

    shift: np.ndarray
    width: np.ndarray
    window: int
    ridge: float
    scene: Scene
    steps: np.ndarray


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels, of all parts one after the other."""
    window = params.window or max(WINDOWS)
    # Cubic convolution with missing pixels looks at those around its own neighbours.
    back = UPSAMPLE_REACH + FILL_REACH
    steps = MOST_STEPS if params.steps is None else params.steps
    further = max(steps - 1, 0) * (PSF_REACH + UPSAMPLE_REACH)
    first = PSF_REACH + window // 2 + max(1, back)
    return ratio * (first + (steps > 0) * (PSF_REACH + back) + further + 1) + SINC_REACH


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State:
    """Return position, blur, window, ridge, and the scene's own regression."""
    spectral, given = samples.spectral, samples.fwhm
    _, shift = locate(spectral, samples.spatial, ratio=ratio, fwhm=given, shift=samples.shift)
    spatial = aligned(samples.spatial, shift)
    window, ridge = params.window or USUAL_WINDOW, params.ridge or USUAL_RIDGE
    if given is None:
        width = blur_widths(spectral, spatial, ratio=ratio, window=window, ridge=ridge)
    else:
        width = np.array(np.broadcast_to(np.asarray(given, np.float64), len(spectral)))
    parts = [(width == w, degrade(spatial, ratio=ratio, fwhm=float(w))) for w in np.unique(width)]
    ridges = (params.ridge,) if params.ridge else RIDGES
    ridge = _best(spectral, parts, [(window, r) for r in ridges])[1]
    windows = (params.window,) if params.window else WINDOWS
    window = _best(spectral, parts, [(w, ridge) for w in windows])[0]
    steps = np.full(len(spectral), int(params.steps or 0))
    state = State(shift, width, window, ridge, _scene(spectral, parts), steps)
    if params.steps is not None:
        return state
    return state._replace(steps=_worthy_steps(spectral, spatial, state, ratio))


def _worthy_steps(
    spectral: np.ndarray, spatial: np.ndarray, state: State, ratio: int
) -> np.ndarray:
    """Return for each band how often what the degraded result leaves is detail, not noise.

    ``state`` has no steps yet.

    Its neighbouring pixels are correlated: by the point spread if it is detail, not if it is noise,
    and by the steps themselves in either case. Halfway between the two, each has half of the
    variance.
    """
    able = math.isqrt(VALUES // len(spectral)) // ratio
    side = min(max(able, LEAST_SIDE), MOST_SIDE)
    middle = [slice(max(n - side, 0) // 2, (n + side) // 2) for n in spectral.shape[1:]]
    fine = [slice(s.start * ratio, s.stop * ratio) for s in middle]
    part, sharp = spectral[:, *middle], spatial[:, *fine]
    out = _regressed(part, sharp, state, ratio)
    steps = np.zeros(len(part), int)
    for width in np.unique(state.width):
        own = np.flatnonzero(state.width == width)
        rest = part[own] - degrade(out[own], ratio=ratio, fwhm=float(width))
        lefts = _lefts(rest, ratio, float(width), MOST_STEPS)
        for step, left in enumerate(lefts):
            noise, detail = correlations(ratio=ratio, fwhm=float(width), steps=step)
            seen = np.where(np.isnan(rest), np.nan, left)
            steps[own] += (steps[own] == step) & (correlation(seen) > (noise + detail) / 2)
    return steps


def _lefts(rest: np.ndarray, ratio: int, fwhm: float, steps: int) -> Iterator[np.ndarray]:
    """Yield what each of the steps has to put back; ``rest`` is what the result leaves."""
    left = fill(rest)
    rows, cols = (beside(round_trip(n, ratio=ratio, fwhm=fwhm), left) for n in left.shape[1:])
    for _ in range(steps):
        yield left
        left = left - rows @ left @ cols.T


def blur_widths(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    window: int = USUAL_WINDOW,
    ridge: float = USUAL_RIDGE,
) -> np.ndarray:
    """Return the width ``(band,)`` of each band's blur, in coarse pixels.

    It is that of the least left-out error, among as few different ones as are worth it.
    """
    trials = [degrade(spatial, ratio=ratio, fwhm=w) for w in WIDTHS]
    errors = [_left_out(spectral, guides, window, ridge) for guides in trials]
    return _share(WIDTHS, np.array(errors))


def _best(
    spectral: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    choices: list[tuple[int, float]],
) -> tuple[int, float]:
    """Return the pair of window and ridge with the least left-out error, bands counting alike."""
    if len(choices) == 1:
        return choices[0]
    costs = [
        sum(np.log(_left_out(spectral[own], guides, *choice)).sum() for own, guides in parts)
        for choice in choices
    ]
    return choices[int(np.argmin(costs))]


def aligned(spatial: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the spatial cube in the spectral one's position, missing where it was before."""
    moved = register(spatial, shift=shift)
    if np.any(shift):
        missing = np.isnan(spatial)
        moved = np.where(np.isnan(moved) & ~missing, fill(moved), moved)
        moved[missing] = np.nan
    return moved


def _scene(spectral: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]]) -> Scene:
    """Return the scene's regression of every band on the sharp bands of its own blur."""
    out = Scene.empty(len(parts[0][1]), len(spectral))
    for own, degraded in parts:
        for values, new in zip(out, _whole(spectral[own], degraded), strict=True):
            values[..., own] = new
    return out


def _whole(spectral: np.ndarray, guides: np.ndarray) -> Scene:
    """Return the regression of bands that share a blur, each on the pixels that it has."""
    out = Scene.empty(len(guides), len(spectral))
    for own, valid in _patterns(spectral, guides):
        if not valid.any():
            continue
        z, y = guides[:, valid].astype(np.float64), spectral[own][:, valid].astype(np.float64)
        centre, level = z.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
        spread = z.std(axis=1, keepdims=True)
        spread[spread <= FLAT * np.abs(centre)] = 0
        unit = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
        z, y = (z - centre) * unit, y - level
        slopes = unit * (np.linalg.pinv(z @ z.T, rcond=ROUNDING, hermitian=True) @ (z @ y.T))
        for values, new in zip(out, (slopes, level[:, 0], centre, spread**2), strict=True):
            values[..., own] = new
    return out


def _patterns(spectral: np.ndarray, guides: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the bands that miss the same pixels, as numbers, with the pixels that they have."""
    base = np.isfinite(guides).all(axis=0)
    valid = np.isfinite(spectral)
    if valid.all():
        yield np.arange(len(spectral)), base
        return
    # Which bands are alike is the host's to find, whatever the side; it takes their masks alone.
    rows = np.packbits(of_host(valid).reshape(len(valid), -1), axis=1)
    _, first, label = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    for k, band in enumerate(first):
        yield np.flatnonzero(label.ravel() == k), base & valid[band]


def _left_out(spectral: np.ndarray, guides: np.ndarray, window: int, ridge: float) -> np.ndarray:
    """Return each band's mean square error at pixels that are predicted without themselves."""
    step = math.ceil(math.sqrt(guides[0].size / TRIALS))
    scene = _whole(spectral[:, ::step, ::step], guides[:, ::step, ::step])
    error = np.zeros(len(spectral))
    for own, valid in _patterns(spectral, guides):
        left = _local(spectral[own], guides, valid, scene, own, window, ridge, step)[2]
        seen = np.isfinite(left[..., 0])
        error[own] = np.square(left[seen]).mean(axis=0) if seen.any() else 0
    # A band without error (a constant one) has no say, and no logarithm.
    return np.maximum(error, np.finfo(np.float32).tiny)


def _local(
    spectral: np.ndarray,
    guides: np.ndarray,
    valid: np.ndarray,
    scene: Scene,
    own: np.ndarray,
    window: int,
    ridge: float,
    step: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `fit` of bands ``own``, with what the scene's regression leaves as its target."""
    slopes, level, varies, centre = (
        beside(n, guides)
        for n in (
            scene.slopes[:, own], scene.level[own, None, None],
            scene.variance[:, own[0], None, None] > 0, scene.centre[:, own[0], None, None],
        )
    )  # fmt: skip
    z = np.where(valid & varies, guides - centre, 0)
    y = np.where(valid, spectral - level, 0)
    z, y = (np.moveaxis(v, 0, -1).astype(np.float64, order="C") for v in (z, y))
    y -= (z @ slopes) * valid[..., None]
    offset = (np.arange(window) - window // 2) / (window // 2 + 1)
    near = (1 - offset**2) ** 2
    return fit(y, z, valid, near, ridge * scene.variance[:, own[0]], step)


def _share(widths: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the width of each band, from as few different ones as are worth it.

    Parameters
    ----------
    widths : ndarray (width,)
    errors : ndarray (width, band)
        Left-out mean squares.
    """
    finer = np.linspace(widths[0], widths[-1], FINER * (len(widths) - 1) + 1)
    # About a parabola near the true width; the spline must not dip to nothing between two values.
    smooth = np.maximum(CubicSpline(widths, errors)(finer), errors.min(axis=0) / 2)
    cost = np.log(smooth)
    chosen = [int(cost.mean(axis=1).argmin())]
    while True:
        now = cost[chosen].min(axis=0)
        new = np.minimum(cost, now).mean(axis=1)
        if now.mean() - new.min() < WORTH:
            break
        chosen.append(int(new.argmin()))
    return np.asarray(finer[np.array(chosen)[cost[chosen].argmin(axis=0)]])


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
    """Regress at the coarse pixels, apply at the fine ones, put the difference back."""
    out = _regressed(spectral, aligned(spatial, state.shift), state, ratio)
    missing = spread(np.isnan(spectral), ratio=ratio)
    out[missing] = np.nan
    return contiguous(out[:, *inner]), None


def _regressed(spectral: np.ndarray, spatial: np.ndarray, state: State, ratio: int) -> np.ndarray:
    """Return all bands; the spatial cube is in its place."""
    shape = (len(spectral), *spatial.shape[1:])
    out: np.ndarray = np.empty_like(spatial, np.float32, shape=shape)
    for width in np.unique(state.width):
        bands = np.flatnonzero(state.width == width)
        guides = degrade(spatial, ratio=ratio, fwhm=float(width))
        for part, valid in _patterns(spectral[bands], guides):
            own = bands[part]
            out[own] = _sharpen(spectral[own], spatial, guides, valid, state, own, ratio)
        for count in np.unique(state.steps[bands]):
            own = bands[state.steps[bands] == count]
            if count:
                rest = spectral[own] - degrade(out[own], ratio=ratio, fwhm=float(width))
                lefts = _lefts(rest, ratio, float(width), int(count))
                back = reduce(np.add, lefts)
                out[own] += upsample(back, ratio=ratio)
    return out


def _sharpen(
    spectral: np.ndarray,
    spatial: np.ndarray,
    guides: np.ndarray,
    valid: np.ndarray,
    state: State,
    own: np.ndarray,
    ratio: int,
) -> np.ndarray:
    """Return bands ``own``, which miss the same coarse pixels, before the steps back."""
    scene = state.scene
    change, rest, _ = _local(spectral, guides, valid, scene, own, state.window, state.ridge, 1)
    centre = beside(scene.centre[:, own[0], None, None], guides)
    slopes, level = beside(scene.slopes, guides), beside(scene.level, guides)
    sharp = (spatial - centre).astype(np.float32)
    coarse = (guides - centre).astype(np.float32)
    # (y, x, guide, band) to (band, guide, y, x), the constant coming last among the guides; band by
    # band, since these arrays are the largest there are.
    shape = (len(spectral), len(spatial) + 1, *spectral.shape[1:])
    maps = np.empty_like(spectral, np.float32, shape=shape)
    left = np.empty_like(spectral, np.float32)
    for band, (one, at) in enumerate(zip(maps, own, strict=True)):
        one[:-1] = np.moveaxis(change[..., band] + slopes[:, at], 2, 0)
        one[-1] = rest[..., band] + level[at]
        left[band] = spectral[band] - one[-1] - (one[:-1] * coarse).sum(axis=0)
    del change, rest
    out = np.nan_to_num(upsample(left, ratio=ratio), copy=False)
    for band, one in enumerate(maps):
        fine = bilinear(one, ratio=ratio)
        out[band] += fine[-1] + np.einsum("gyx,gyx->yx", fine[:-1], sharp)
    sharpened: np.ndarray = out
    return sharpened


METHOD = Method(
    name="local_regression",
    task="sharpen_spectral",
    summary="Regression on the sharp bands around each pixel; for Sentinel-2's 20 and 60 m bands.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"numpy": _kernel, "cupy": _kernel},
    settle=_settle,
    reference="after Wang et al. (2016), doi:10.1016/j.rse.2016.10.030",
)
