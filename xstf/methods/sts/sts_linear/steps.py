"""The steps of `sts_linear`: coefficients, the temporal bands that follow, how both change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from xstf.numerics.degrade import apply_tables, degrade, spread, upsample
from xstf.numerics.local_fit import fit
from xstf.numerics.subspace import Subspace
from xstf.numerics.subspace_solve import solve_gaussian, solve_mirrored
from xstf.numerics.upsample import upsample as bilinear

# Side, in temporal pixels, of the window of step 3, and its ridge in units of the bands' variance.
WINDOW, RIDGE = 3, 0.05
# Side, in temporal pixels, of the window that smooths the difference between the sensors.
SMOOTH = 5
# Least share of a temporal pixel that must be there.
LEAST = 0.5


class DateImages(NamedTuple):
    """The images that a date is predicted from.

    Parameters
    ----------
    spectral : ndarray (pair, band, y / r, x / r)
    temporal : ndarray (pair + 1, temporal_band, y / d, x / d)
        On the paired dates, then on the one wanted.
    spatial : ndarray (pair, spatial_band, y, x)
    times : ndarray (pair,)
        datetime64 or days, in any order.
    target : datetime64 or float
        The date wanted; it may be a paired one.
    """

    spectral: np.ndarray
    temporal: np.ndarray
    spatial: np.ndarray
    times: np.ndarray
    target: float | np.datetime64


class DenseResponse(NamedTuple):
    """How the temporal bands follow from the coefficients, and what they are like.

    Parameters
    ----------
    fwhm : float
        Of the temporal sensor's point spread, in its own pixels.
    response : ndarray (k, temporal_band)
    level : ndarray (temporal_band,)
        Step 2's ``R`` and ``c``.
    centre, spread : ndarray (temporal_band,)
        Mean and variance of the temporal bands.
    """

    fwhm: float
    response: np.ndarray
    level: np.ndarray
    centre: np.ndarray
    spread: np.ndarray


class Scene(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    subspace : Subspace
        Of all paired dates together.
    temporal : DenseResponse
    change : ndarray (temporal_band, k)
        Step 4's ``D``.
    """

    subspace: Subspace
    temporal: DenseResponse
    change: np.ndarray


@dataclass(frozen=True, eq=False)
class Pair:
    """What follows from the images of a paired date.

    Parameters
    ----------
    day : float
    values : ndarray (k, y, x)
        Coefficients, also where the pair is missing.
    seen : ndarray (y, x), bool
        Where the pair is there.
    fine, low : ndarray (temporal_band, y, x), (temporal_band, y / d, x / d)
        The temporal bands that follow, ``G``, and as the temporal sensor would see them, ``T G``.
    dense_seen : ndarray (y / d, x / d), bool
        Where the pair is there for most of a temporal pixel.
    """

    day: float
    values: np.ndarray
    seen: np.ndarray
    fine: np.ndarray
    low: np.ndarray
    temporal_seen: np.ndarray


def coefficients(
    spectral: np.ndarray, spatial: np.ndarray, subspace: Subspace, ratio: int
) -> np.ndarray:
    """Return step 1's coefficients (k, y, x), also where an input is missing."""
    solver = partial(solve_gaussian, subspace=subspace, ratio=ratio, penalty=1.0)
    whole = (slice(0, spatial.shape[1]), slice(0, spatial.shape[2]))
    return np.ascontiguousarray(
        solve_mirrored(spectral, spatial, subspace, ratio=ratio, inner=whole, solver=solver)
    )


def follow(
    day: float,
    values: np.ndarray,
    seen: np.ndarray,
    images: np.ndarray,
    temporal: DenseResponse,
    ratio: int,
) -> Pair:
    """Return a pair with step 2's temporal bands.

    Parameters
    ----------
    day : float
    values : ndarray (k, y, x)
    seen : ndarray (y, x), bool
    images : ndarray (temporal_band, y / d, x / d)
        Of the paired date.
    temporal : DenseResponse
    ratio : int
        ``d``.
    """
    fine = np.tensordot(temporal.response.T.astype(np.float32), values, 1)
    fine += temporal.level.astype(np.float32)[:, None, None]
    temporal_seen = mostly(seen, ratio)
    left = images - degrade(fine, ratio=ratio, fwhm=temporal.fwhm)
    fine += bilinear(_smoothed(np.where(temporal_seen, left, np.nan))[None], ratio)[0]
    low = degrade(fine, ratio=ratio, fwhm=temporal.fwhm)
    return Pair(day, values, seen, fine, low, temporal_seen)


def _smoothed(images: np.ndarray) -> np.ndarray:
    """Return images (band, y, x) as weighted means of what is near, 0 where nothing is."""
    valid = np.isfinite(images)
    tables = []
    for size in images.shape[1:]:
        index = np.arange(size)[:, None] + np.arange(SMOOTH) - SMOOTH // 2
        weight = np.where((index >= 0) & (index < size), _near(SMOOTH), 0).astype(np.float32)
        tables.append((np.clip(index, 0, size - 1), weight))
    mass = apply_tables(valid.astype(np.float32), tables)
    total = apply_tables(np.where(valid, images, 0).astype(np.float32), tables)
    return np.asarray(total / np.where(mass > 0, mass, 1))


def _near(window: int) -> np.ndarray:
    """Return weights that fall towards the window's border."""
    offset = (np.arange(window) - window // 2) / (window // 2 + 1)
    return np.asarray((1 - offset**2) ** 2)


def departure(
    pairs: Sequence[Pair], day: float, images: np.ndarray, temporal: DenseResponse, ratio: int
) -> np.ndarray:
    """Return step 3's bands (temporal_band, y, x) on a day less their interpolation in time.

    Parameters
    ----------
    pairs : sequence of Pair
        One or two.
    day : float
    images : ndarray (temporal_band, y / d, x / d)
        Of that day.
    temporal, ratio
        As in `follow`.
    """
    low = between([p.low for p in pairs], pairs, day)
    valid = np.logical_and.reduce(
        [np.isfinite(images).all(axis=0), *(p.temporal_seen for p in pairs)]
    )
    # The level is interpolated apart from the slopes: about the mean the two hardly interact.
    centre = np.tile(temporal.centre, len(pairs)).astype(np.float32)[:, None, None]
    guides = np.concatenate([p.low for p in pairs]) - centre
    y, z = (
        np.ascontiguousarray(np.moveaxis(np.where(valid, v, 0), 0, -1), np.float64)
        for v in (images - low, guides)
    )
    ridge = RIDGE * np.tile(temporal.spread, len(pairs))
    slopes, level, _ = fit(y, z, valid, _near(WINDOW), ridge, 1)
    out = _lifted(level, ratio)
    for guide, image in enumerate(np.concatenate([p.fine for p in pairs]) - centre):
        out += _lifted(slopes[:, :, guide], ratio) * image
    left = images - low - degrade(out, ratio=ratio, fwhm=temporal.fwhm)
    out += np.nan_to_num(upsample(left, ratio=ratio), copy=False)
    return np.asarray(out)


def _lifted(maps: np.ndarray, ratio: int) -> np.ndarray:
    """Return maps (y, x, band) as (band, y, x) at the spatial grid."""
    images = np.ascontiguousarray(np.moveaxis(maps, -1, 0), np.float32)
    return np.asarray(bilinear(images[None], ratio)[0])


def changed(
    pairs: Sequence[Pair], day: float, images: np.ndarray, scene: Scene, ratio: int
) -> np.ndarray:
    """Return step 4's coefficients (k, y, x) on a day; parameters as in `departure`."""
    moved = departure(pairs, day, images, scene.temporal, ratio)
    change = np.tensordot(scene.change.T.astype(np.float32), moved, 1)
    return np.asarray(between([p.values for p in pairs], pairs, day) + change)


def between(images: Sequence[np.ndarray], pairs: Sequence[Pair], day: float) -> np.ndarray:
    """Return the interpolation in time of images of one pair, which is itself, or two."""
    return interpolated(images, [p.day for p in pairs], day)


def interpolated(images: Sequence[np.ndarray], days: Sequence[float], day: float) -> np.ndarray:
    """Return the interpolation in time of images on one day, which is itself, or two."""
    if len(days) == 1:
        return images[0]
    weight = np.float32((days[1] - day) / (days[1] - days[0]))
    return np.asarray(weight * images[0] + (1 - weight) * images[1])


def regression(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Return the slopes (p, q) of ``y (q, n)`` on ``x (p, n)`` through the origin.

    The ridge is in units of the mean square of ``x``; without any the slopes are 0.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    normal = x @ x.T
    scale = np.trace(normal) / len(x)
    if not scale > 0:
        return np.zeros((len(x), len(y)))
    slopes: np.ndarray = np.linalg.solve(normal + ridge * scale * np.eye(len(x)), x @ y.T)
    return slopes


# ---------------------------------------------------------------- what is missing


def paired(spectral: np.ndarray, spatial: np.ndarray, ratio: int) -> np.ndarray:
    """Return where a pair is there, (y, x): some spectral band and all spatial ones."""
    some = spread(np.isfinite(spectral).any(axis=0), ratio=ratio)
    return np.asarray(some & np.isfinite(spatial).all(axis=0))


def mostly(seen: np.ndarray, ratio: int) -> np.ndarray:
    """Return the pixels ``ratio`` times as large of which enough is there."""
    rows, cols = (n // ratio for n in seen.shape)
    share = seen.reshape(rows, ratio, cols, ratio).mean(axis=(1, 3))
    return np.asarray(share >= LEAST)


def complete(temporal: np.ndarray, ratio: int) -> np.ndarray:
    """Return the spatial pixels whose own temporal pixel has all bands, (y, x)."""
    return spread(np.isfinite(temporal).all(axis=0), ratio=ratio)
