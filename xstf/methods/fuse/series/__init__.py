"""Series: all fine and all coarse images at once, for every date wanted; a smoother in time.

A fine pixel is its coarse series and a difference that drifts. With ``F_k`` the fine images and
``C(t)`` the coarse series at any date, in fine pixels (bilinear)::

    F(t) = C(t) + d(t),     d_k = F_k - C(t_k)
    d    = S u + m,         (S + ridge) u = d over the dates that are clear
    d(t) = S(t) u + m(t),   m: the local level of (ridge u), the smoother of `in_time`
    C    = mean + place * (coarse - its mean over the scene) + (mean's belief) * its change

``S`` is the covariance between dates of coarse anomalies (differences of neighbouring coarse
pixels, over the scene): of what changed alike at coarse scale, fine details change alike. Without
it (`ridge` infinite) ``d(t)`` is the local level, the weights of all clear dates falling with
their distance in time; with it the weights are drawn from there towards the regression of the
coarse image of the date on those of the fine dates. In both cases they are linear in the data, the
same for all pixels that miss the same dates, and where the coarse images do not change their sum
is 1. Gaps in the fine images' clouds only leave dates out.

The coarse series is smoothed by the same local level, with the noise that its own differences over
one and two steps show (none with fewer than eight images), bridges gaps, and is linear between
dates, those of composites in the middle of their periods. It is held for some days before its first
and after its last image (`pair_tolerance`, or half a composite's period); beyond, pixels are
missing.

How far the coarse change is believed is measured on changes that are known: each fine image is
left out and predicted from the others, and the slopes of the fine changes on the coarse ones are
``place`` (within the scene) and that of the scene's mean change (with three fine dates or more;
else 1). Their standard error over dates draws them: a slope above a half towards 1, one below to 0;
that of the mean to 0, too, where `place` is below a half.
Where coarse images tell nothing the estimate so becomes interpolation in time; a constant added to
a coarse image is added to the result as far as the mean change is believed. The noise of a fine
image (.01 to 45 days of drift) and the ridge (.3 to 3 mean variances, or infinite) are the usual 15
and 1, unless others predict left-out dates better by more than one standard error over four dates
or more; of the noise then counts the share of the coarse change's variance that is believed. The
usual ones are the middle of what did well on the NDVI series of Landsat and MODIS in
``docs/whole_series.md``.

The standard deviation is that of the local level for a new fine image, in units of the pixel's own
drift (its innovations, drawn to the scene's), to the power (0 to 2) with which errors grow when an
image is left out with its neighbour instead of alone; times what makes 90 % of left-out values lie
within 1.645 of it, which depends on the value estimated: six levels.

Closest are STAIR (Luo et al. 2018), which interpolates the difference of both sensors in time, and
the Kalman smoother of Sedano et al. (2014). The regression on coarse anomalies, the belief in the
coarse change and its evidence are our own.

Luo, Y., Guan, K., Peng, J. (2018). STAIR: A generic and fully-automated method to fuse multiple
sources of optical satellite data to generate a high-resolution, daily and cloud-/gap-free surface
reflectance product. Remote Sensing of Environment 214, 87-99. doi:10.1016/j.rse.2018.04.042
Sedano, F., Kempeneers, P., Hurtt, G. (2014). A Kalman filter-based method to generate continuous
time series of medium-resolution NDVI images. Remote Sensing 6(12), 12381-12408.
doi:10.3390/rs61212381
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from xstf._method import ANY_NUMBER, Method
from xstf.methods.fuse.series.evidence import Sampled, Settled, settle_band
from xstf.methods.fuse.series.in_time import (
    between,
    gaps_of,
    image_noise,
    smooth_level,
    unreached,
)
from xstf.methods.fuse.series.pixels import Band, add, add_numpy
from xstf.numerics.upsample import upsample, upsample_numpy

# Fine pixels, along a side, that evidence is taken from.
SAMPLE_SIDE = 48


@dataclass(frozen=True)
class Params:
    """Nothing to choose: what there is to choose is settled by evidence."""


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    bands : tuple of Settled
    coarse_noise : ndarray (band,)
        Of coarse images, in days of drift.
    mean : ndarray (coarse date, band)
        Of the coarse images over the scene.
    covariance : ndarray (band, coarse date, coarse date)
        Between dates, of coarse anomalies.
    """

    bands: tuple[Settled, ...]
    coarse_noise: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


# --- the scene ----------------------------------------------------------------------------------


def prepare(
    fine: np.ndarray, coarse: np.ndarray, *, ratio: int, params: Params
) -> dict[str, np.ndarray]:
    """Return fine pixels at even steps, where they are, and all coarse pixels."""
    rows, cols = (_spaced(size, SAMPLE_SIDE) for size in fine.shape[2:])
    return {
        "fine": fine[:, :, rows[:, None], cols],
        "coarse": coarse,
        "rows": rows,
        "cols": cols,
    }


def _spaced(size: int, most: int) -> np.ndarray:
    """Return positions along an axis: all, or some at even steps, as far from both ends."""
    if size <= most:
        return np.arange(size)
    step = -(-size // most)
    return np.arange((size - 1) % step // 2, size, step)


def settle(
    samples: Mapping[str, np.ndarray], *, ratio: int, params: Params, times: np.ndarray,
    coarse_times: np.ndarray, reach: float,
) -> State:  # fmt: skip
    """Return what the scene tells of every band."""
    fine, coarse = samples["fine"], samples["coarse"].astype(np.float64)
    count, bands = coarse.shape[:2]
    place = samples["rows"], samples["cols"]
    settled, noises, means, covariances = [], [], [], []
    for b in range(bands):
        noise = image_noise(coarse[:, b].reshape(count, -1), coarse_times)
        series = smooth_level(coarse[:, b], coarse_times, noise)
        covariance = _anomalies(series)
        at_fine = _at(series, coarse[:, b], coarse_times, times, reach)
        sampled = Sampled(
            fine[:, b].reshape(len(times), -1).astype(np.float64),
            _pick(at_fine, ratio, *place),
            times,
            _among(covariance, coarse_times, times, times),
            _drift(series, coarse_times),
        )
        settled.append(settle_band(sampled))
        noises.append(noise)
        seen = ~np.isnan(series)
        means.append(np.where(seen, series, 0).sum(axis=(1, 2)) / np.maximum(seen.sum((1, 2)), 1))
        covariances.append(covariance)
    return State(tuple(settled), np.array(noises), np.stack(means, axis=1), np.stack(covariances))


def _drift(series: np.ndarray, times: np.ndarray) -> float:
    """Return the variance of a day's change of a series ``(date, y, x)``."""
    steps = np.diff(series, axis=0) ** 2 / gaps_of(times)[:, None, None]
    steps = steps[~np.isnan(steps)]
    return float(steps.mean()) if steps.size else 0.0


def _anomalies(series: np.ndarray) -> np.ndarray:
    """Return the covariance between dates of neighbouring coarse pixels' differences, halved."""
    total, pairs = np.zeros((len(series), len(series))), 0
    for axis in (1, 2):
        steps = np.diff(series, axis=axis).reshape(len(series), -1)
        steps = steps[:, ~np.isnan(steps).any(axis=0)]
        total += steps @ steps.T
        pairs += steps.shape[1]
    return total / (2.0 * max(pairs, 1))


def _among(
    covariance: np.ndarray, own: np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Return a covariance between coarse dates at other days."""
    return between(between(covariance, own, rows).T, own, cols).T


def _at(
    series: np.ndarray, coarse: np.ndarray, own: np.ndarray, wanted: np.ndarray, reach: float
) -> np.ndarray:
    """Return a smoothed series ``(coarse date, y, x)`` at other days, NaN out of its reach."""
    there = between(series, own, wanted)
    there[unreached(coarse, own, wanted, reach)] = np.nan
    return there


def _pick(images: np.ndarray, ratio: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return coarse images ``(date, Y, X)`` at fine pixels, ``(date, pixel)``."""
    picked = [upsample_numpy(image, ratio=ratio)[rows[:, None], cols].ravel() for image in images]
    return np.stack(picked).astype(np.float64)


# --- kernels ------------------------------------------------------------------------------------


class Engine(NamedTuple):
    """What an engine does in its own way: the coarse images in fine pixels, and `add_numpy`."""

    upsampled: Callable[[np.ndarray, int], np.ndarray]
    add: Callable[..., None]


def _kernel(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    times: np.ndarray,
    coarse_times: np.ndarray,
    targets: np.ndarray,
    reach: float,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
    engine: Engine,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the estimates and their spread: what coarse images say, and what fine ones add."""
    every = np.concatenate([times, targets])
    at_coarse = np.stack(
        [
            _believed(coarse[:, b], coarse_times, every, reach, state, b)
            for b in range(fine.shape[1])
        ],
        axis=1,
    ).astype(np.float32)
    there = (..., *inner)
    difference = engine.upsampled(at_coarse[: len(times)], ratio)[there]
    np.subtract(fine[there], difference, out=difference)
    out = np.ascontiguousarray(engine.upsampled(at_coarse[len(times) :], ratio)[there])
    spread = np.empty_like(out) if std else None
    for b, settled in enumerate(state.bands):
        believed = settled.place**2 * state.covariance[b]
        band = Band(
            settled.noise,
            settled.ridge,
            _among(believed, coarse_times, times, times),
            _among(believed, coarse_times, targets, times),
            settled.drift,
            settled.power,
            settled.usual,
        )
        own = None if spread is None else spread[:, b]
        engine.add(out[:, b], own, difference[:, b], times, targets, band)
        if own is not None:
            own *= np.interp(out[:, b], settled.levels, settled.spread)
            own[np.isnan(out[:, b])] = np.nan
    return out, spread


def _believed(
    coarse: np.ndarray, own: np.ndarray, wanted: np.ndarray, reach: float, state: State, band: int
) -> np.ndarray:
    """Return a band's coarse series ``(date, Y, X)`` at days, its changes as far as believed."""
    settled = state.bands[band]
    series = smooth_level(coarse, own, state.coarse_noise[band])
    mean = state.mean[:, band, None, None]
    changed = settled.place * (series - mean) + settled.mean * mean
    return _at(changed, coarse, own, wanted, reach)


def _upsample_numpy(layers: np.ndarray, ratio: int) -> np.ndarray:
    return upsample_numpy(layers, ratio=ratio)


_numpy = partial(_kernel, engine=Engine(_upsample_numpy, add_numpy))
_numba = partial(_kernel, engine=Engine(upsample, add))

METHOD = Method(
    name="series",
    task="fuse",
    summary="All fine and coarse dates at once, smoothed in time; for series of any length.",
    params=Params,
    halo=lambda params, ratio: ratio,
    kernels={"numba": _numba, "numpy": _numpy},
    reference="ours, after Luo et al. 2018, doi:10.1016/j.rse.2018.04.042",
    pairs=(1, ANY_NUMBER),
    series=True,
    prepare=prepare,
    settle=settle,
    std=True,
)
