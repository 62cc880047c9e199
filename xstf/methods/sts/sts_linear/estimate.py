"""Linear fusion of a series: many bands on few dates, some on all, few spatial ones on few dates.

With ``Y_e`` the spectral cube on a paired date ``e``, ``P_e`` the spatial one, ``M_t`` the temporal
one on the date ``t`` that is wanted, ``S`` and ``T`` what the spectral and the temporal sensor's
point spread and sampling make of the spatial grid, and ``^`` the interpolation back to it:

1. Spectra are ``mean + E v`` with few coefficients ``v``. On paired dates ``v_e`` is the most
   probable one given ``Y_e`` and ``P_e``, in closed form: this is `sharpen_spectral`'s `fuse`, its
   subspace learnt from all paired dates together.
2. The temporal bands that follow, ``G_e = R v_e + c + o_e``: ``R, c`` by least squares from ``M_e``
   on ``T v_e``, pooled over the paired dates; ``o_e`` is what is left, smoothed: two sensors never
   agree entirely.
3. The temporal bands at the spatial grid on the date wanted. With time weights ``w_e`` of the
   bracketing dates ``e``, in a window around each temporal pixel

       M_t - sum_e w_e T G_e = sum_e a_e T G_e + b

   by least squares with a ridge that draws ``a`` to 0, that is, to interpolation in time; then
   ``G_t = sum_e (w_e + a_e^) G_e + b^``, and ``G_t += (M_t - T G_t)^``. Fields that were cut are
   told apart by what they look like on both dates.
4. Their spectra: ``v_t = sum_e w_e v_e + D (G_t - sum_e w_e G_e)``.

``D`` decides how good the result is. A regression of spectra on temporal bands on the coarse grid,
where noise is averaged away, amplifies the noise of the spatial grid: on the embedded scene it
costs 5 dB. Here each paired date but the first and last is predicted (1-3) from its neighbours as
if it were not one, and ``D`` is what predicts its ``v_e``: noise and errors of step 3 are in the
regressors as they will be later. With two pairs, one is predicted from the other; a single pair has
no change to learn from, and ``D`` is that of its ``v_e`` on ``M_e^``.

On a paired date the result is that of step 1. A pixel missing in one of the bracketing pairs takes
the other alone, one missing in both the nearest pair that has it.

Reach: `halo`. All is local but step 1, which decays: tiles with that halo differ from the whole by
less than 3e-4 of the range of the values. Tiles are cut on multiples of both ratios.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from xstf._method import StsSamples
from xstf.methods.sts.sts_linear import steps
from xstf.methods.sts.sts_linear.steps import DateImages, DenseResponse, Scene
from xstf.numerics.degrade import UPSAMPLE_REACH, degrade, upsample
from xstf.numerics.psf import PSF_REACH
from xstf.numerics.response import estimate_fwhm
from xstf.numerics.subspace import Noise, learn
from xstf.numerics.subspace_solve import spectra_of

# None where the scene has no contrast or the cubes no pixel in common: `predict` interpolates then.
State: TypeAlias = Scene | None

# The most directions of the subspace; those that noise could make are never taken.
RANK = 20
# How far what the spatial bands do not share with the spectral ones is white noise, as in `fuse`.
NOISE = Noise(whiteness=0.75, bounded=False)
# Coarse pixels after which the influence of a pixel on step 1 is below what is stated above.
REACH = 8
# Strength of the ridge on R and D, in units of the regressors' mean square: against rounding alone,
# since noise is in the regressors.
RESPONSE_RIDGE, CHANGE_RIDGE = 1e-7, 1e-7
# Coarse pixels without a value between dates that are stacked: none sees another date.
APART = 2 * PSF_REACH


def halo(ratios: tuple[int, int]) -> int:
    """Return how many spatial pixels around a pixel are looked at: 60 for ratios 3 and 2.

    Parameters
    ----------
    ratios : (int, int)
        Spatial pixels in a spectral and in a temporal one, along a side.
    """
    # Every map goes to the temporal grid and back; a cubic with missing pixels fills them first.
    follow = PSF_REACH + steps.SMOOTH // 2 + 1
    regress = PSF_REACH + steps.WINDOW // 2 + 1
    put_back = PSF_REACH + 2 * UPSAMPLE_REACH
    return ratios[0] * REACH + ratios[1] * (follow + regress + put_back)


# ---------------------------------------------------------------- of the whole scene


def settle(
    samples: StsSamples,
    *,
    ratios: tuple[int, int],
    rank: int = RANK,
    fwhm: float | None = None,
    temporal_fwhm: float | None = None,
) -> State:
    """Return what `predict` needs to know of the scene.

    Parameters
    ----------
    samples : StsSamples
        The paired dates, NaN where missing; times may be datetime64.
    ratios : (int, int)
        ``r, d``: spatial pixels in a spectral and in a temporal one, along a side.
    rank : int
        The most directions of the subspace.
    fwhm, dense_fwhm : float, optional
        Widths of the point spreads in pixels of their own sensor. Default: estimated from the date
        of which most is there.
    """
    spectral, temporal, spatial, times = samples
    seen = [steps.paired(*images, ratios[0]) for images in zip(spectral, spatial, strict=True)]
    best = int(np.argmax([s.sum() for s in seen]))
    widths = [
        estimate_fwhm(cube[best], spatial[best], ratio=ratio) if width is None else float(width)
        for width, cube, ratio in zip(
            (fwhm, temporal_fwhm), (spectral, temporal), ratios, strict=True
        )
    ]
    subspace = learn(
        _stacked(spectral, APART), _stacked(spatial, APART * ratios[0]), ratio=ratios[0], rank=rank,
        noise_model=NOISE, fwhm=widths[0],
    )  # fmt: skip
    if subspace is None:
        return None
    values = [
        steps.coefficients(*images, subspace, ratios[0])
        for images in zip(spectral, spatial, strict=True)
    ]
    response = _response(values, seen, temporal, widths[1], ratios[1])
    if response is None:
        return None
    parts = zip(_days(times), values, seen, temporal, strict=True)
    pairs = [steps.follow(*part, response, ratios[1]) for part in parts]
    return Scene(subspace, response, _change(pairs, temporal, response, ratios[1]))


def _stacked(images: np.ndarray, apart: int) -> np.ndarray:
    """Return images (date, band, y, x) below one another, with missing rows between them."""
    dates, bands, height, width = images.shape
    out = np.full((bands, dates, height + apart, width), np.nan, np.float32)
    out[:, :, :height] = np.moveaxis(images, 0, 1)
    return out.reshape(bands, -1, width)[:, : dates * (height + apart) - apart]


def _response(
    values: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    temporal: np.ndarray,
    fwhm: float,
    ratio: int,
) -> DenseResponse | None:
    """Return the response of the temporal bands, None where the cubes have no pixel in common."""
    low, high = [], []
    for coefficients, there, images in zip(values, seen, temporal, strict=True):
        valid = steps.mostly(there, ratio) & np.isfinite(images).all(axis=0)
        low.append(degrade(coefficients, ratio=ratio, fwhm=fwhm)[:, valid])
        high.append(images[:, valid])
    x, y = (np.concatenate(parts, axis=1).astype(np.float64) for parts in (low, high))
    if not x.shape[1]:
        return None
    middle, centre = x.mean(axis=1), y.mean(axis=1)
    response = steps.regression(x - middle[:, None], y - centre[:, None], RESPONSE_RIDGE)
    return DenseResponse(fwhm, response, centre - middle @ response, centre, y.var(axis=1))


def _change(
    pairs: Sequence[steps.Pair], temporal: np.ndarray, response: DenseResponse, ratio: int
) -> np.ndarray:
    """Return how the coefficients change with the temporal bands, (temporal_band, k)."""
    order = [int(n) for n in np.argsort([p.day for p in pairs])]
    inside = [(here, [a, b]) for a, here, b in zip(order, order[1:], order[2:], strict=False)]
    beside = [t for a, b in zip(order, order[1:], strict=False) for t in ((b, [a]), (a, [b]))]
    for trials in (inside, beside):
        found = [_trial(here, near, pairs, temporal, response, ratio) for here, near in trials]
        if any(x.size for x, _ in found):
            break
    else:
        found = [_levels(p, images, ratio) for p, images in zip(pairs, temporal, strict=True)]
    x, y = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    return steps.regression(x, y, CHANGE_RIDGE)


def _trial(
    here: int,
    near: Sequence[int],
    pairs: Sequence[steps.Pair],
    temporal: np.ndarray,
    response: DenseResponse,
    ratio: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how bands (temporal_band, n) and coefficients (k, n) of a pair depart from others'.

    The pair is predicted as if it were not one.
    """
    others, pair = [pairs[n] for n in near], pairs[here]
    valid = np.logical_and.reduce([p.seen for p in (pair, *others)])
    valid &= steps.complete(temporal[here], ratio)
    moved = steps.departure(others, pair.day, temporal[here], response, ratio)
    rest = pair.values - steps.between([p.values for p in others], others, pair.day)
    return moved[:, valid], rest[:, valid]


def _levels(pair: steps.Pair, temporal: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Return temporal bands (temporal_band, n) and coefficients (k, n) without their means."""
    valid = pair.seen & steps.complete(temporal, ratio)
    x, y = upsample(temporal, ratio=ratio)[:, valid], pair.values[:, valid]
    if not x.size:
        return x, y
    return x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)


# ---------------------------------------------------------------- of one tile


def predict(
    date: DateImages,
    *,
    ratios: tuple[int, int],
    state: State,
    inner: tuple[slice, slice] | None = None,
    made: dict[int, steps.Pair] | None = None,
) -> np.ndarray:
    """Return the spectra of one date at the spatial grid.

    Parameters
    ----------
    date : DateImages
    ratios : (int, int)
        ``r, d`` as in `settle`.
    state : Scene or None
        What `settle` returned.
    inner : (slice, slice), optional
        The part wanted, in spatial pixels: what is around it is the `halo`. Default: all.
    made : dict of int to Pair, optional
        Room for what was made of pairs on the way, by their positions; they are in full size.

    Returns
    -------
    ndarray (band, y, x), float32
        NaN where no pair is there, and where a temporal band is not, unless the date's own pair is.
    """
    spectral, temporal, spatial, times, target = date
    inner = inner or (slice(0, spatial.shape[2]), slice(0, spatial.shape[3]))
    days, day = _days(times), float(_days(np.asarray([target]))[0])
    seen = [steps.paired(*images, ratios[0]) for images in zip(spectral, spatial, strict=True)]
    clear = steps.complete(temporal[-1], ratios[1])
    pairs = {} if made is None else made
    sizes = [s.stop - s.start for s in inner]
    todo = np.ones(sizes, bool)
    count = spectral.shape[1] if state is None else state.subspace.basis.shape[1]
    out = np.full((count, *sizes), np.nan, np.float32)
    for attempt in _attempts(days, day):
        there = [seen[n] for n in attempt]
        if days[attempt[0]] != day:
            there.append(clear)
        taken = todo & np.logical_and.reduce(there)[inner]
        if not taken.any():
            continue
        todo &= ~taken
        if state is None:
            blurred = [upsample(spectral[n], ratio=ratios[0]) for n in attempt]
            found = steps.interpolated(blurred, [days[n] for n in attempt], day)
        else:
            for n in set(attempt) - set(pairs):
                values = steps.coefficients(spectral[n], spatial[n], state.subspace, ratios[0])
                pairs[n] = steps.follow(
                    days[n], values, seen[n], temporal[n], state.temporal, ratios[1]
                )
            found = _found([pairs[n] for n in attempt], day, temporal[-1], state, ratios[1])
        out[:, taken] = found[:, *inner][:, taken]
    return out if state is None else spectra_of(out, state.subspace)


def _found(
    pairs: Sequence[steps.Pair],
    day: float,
    temporal: np.ndarray,
    scene: Scene,
    ratio: int,
) -> np.ndarray:
    """Return the coefficients (k, y, x) on a day: those of its pair, or predicted ones."""
    if pairs[0].day == day:
        return pairs[0].values
    return steps.changed(pairs, day, temporal, scene, ratio)


def _attempts(days: np.ndarray, day: float) -> Iterable[tuple[int, ...]]:
    """Return which pairs to try, best first: that of the date, those around it, single ones."""
    apart = days - day
    nearest = [int(n) for n in np.argsort(np.abs(apart), kind="stable")]
    before, after = ([n for n in nearest if sign * apart[n] > 0] for sign in (-1, 1))
    own = [(n,) for n in nearest if apart[n] == 0]
    around = [(before[0], after[0])] if before and after else []
    return [*own, *around, *((n,) for n in nearest if apart[n] != 0)]


def _days(times: np.ndarray) -> np.ndarray:
    """Return times as days, float64."""
    times = np.asarray(times)
    if times.dtype.kind == "M":
        times = times.astype("M8[ns]").astype(np.int64) / 86_400e9
    return times.astype(np.float64)
