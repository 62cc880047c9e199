"""The steps of `sts_linear`: coefficients, the dense bands that follow, how both change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xstf.numerics import subspace
from xstf.numerics.degrade import _separable, degrade, spread, upsample
from xstf.numerics.fourier import build, crop, margins, mirror, restore, solve, transform
from xstf.numerics.local_fit import fit
from xstf.numerics.upsample import upsample as bilinear

# Side, in dense pixels, of the window of step 3, and its ridge in units of the bands' variance.
WINDOW, RIDGE = 3, 0.05
# Side, in dense pixels, of the window that smooths the difference between the sensors.
SMOOTH = 5
# Least share of a dense pixel that must be there.
LEAST = 0.5


@dataclass(frozen=True, eq=False)
class Pair:
    """What is known on a paired date.

    Parameters
    ----------
    day : float
    values : ndarray (k, y, x)
        Coefficients, also where the pair is missing.
    seen : ndarray (y, x), bool
        Where the pair is there.
    fine, low : ndarray (dense_band, y, x), (dense_band, y / d, x / d)
        The dense bands that follow, ``G``, and as the dense sensor would see them, ``T G``.
    known : ndarray (y / d, x / d), bool
        Where the pair is there for most of a dense pixel.
    """

    day: float
    values: np.ndarray
    seen: np.ndarray
    fine: np.ndarray
    low: np.ndarray
    known: np.ndarray


def coefficients(
    spectral: np.ndarray, sharp: np.ndarray, state: Mapping[str, Any], ratio: int
) -> np.ndarray:
    """Return step 1's coefficients (k, y, x), also where an input is missing."""
    margin = margins((spectral.shape[1], spectral.shape[2]))
    wide = (margin[0] * ratio, margin[1] * ratio)
    coarse = subspace.read(spectral, state)
    drive = mirror(subspace.drive(sharp, coarse, state, ratio), wide)
    shape = (drive.shape[1], drive.shape[2])
    system = build(shape, ratio=ratio, state=state, penalty=1.0)
    coarse = transform(mirror(coarse, margin))
    found = restore(system, solve(system, coarse, transform(drive)))
    whole = (slice(0, sharp.shape[1]), slice(0, sharp.shape[2]))
    return np.ascontiguousarray(crop(found, wide, whole))


def follow(
    day: float,
    values: np.ndarray,
    seen: np.ndarray,
    dense: np.ndarray,
    state: Mapping[str, Any],
    ratio: int,
) -> Pair:
    """Return a pair with step 2's dense bands.

    Parameters
    ----------
    day : float
    values : ndarray (k, y, x)
    seen : ndarray (y, x), bool
    dense : ndarray (dense_band, y / d, x / d)
        Of the paired date.
    state : dict
        With what `_sts_linear.settle` adds to it as ``"dense_…"``.
    ratio : int
        ``d``.
    """
    fine = np.tensordot(state["dense_response"].T.astype(np.float32), values, 1)
    fine += state["dense_level"].astype(np.float32)[:, None, None]
    known = mostly(seen, ratio)
    left = dense - degrade(fine, ratio=ratio, fwhm=state["dense_fwhm"])
    fine += bilinear(_smoothed(np.where(known, left, np.nan))[None], ratio)[0]
    return Pair(
        day, values, seen, fine, degrade(fine, ratio=ratio, fwhm=state["dense_fwhm"]), known
    )


def _smoothed(images: np.ndarray) -> np.ndarray:
    """Return images (band, y, x) as weighted means of what is near, 0 where nothing is."""
    valid = np.isfinite(images)
    tables = []
    for size in images.shape[1:]:
        index = np.arange(size)[:, None] + np.arange(SMOOTH) - SMOOTH // 2
        weight = np.where((index >= 0) & (index < size), _near(SMOOTH), 0).astype(np.float32)
        tables.append((np.clip(index, 0, size - 1), weight))
    mass = _separable(valid.astype(np.float32), tables)
    total = _separable(np.where(valid, images, 0).astype(np.float32), tables)
    return np.asarray(total / np.where(mass > 0, mass, 1))


def _near(window: int) -> np.ndarray:
    """Return weights that fall towards the window's border."""
    offset = (np.arange(window) - window // 2) / (window // 2 + 1)
    return np.asarray((1 - offset**2) ** 2)


def departure(
    pairs: Sequence[Pair], day: float, dense: np.ndarray, state: Mapping[str, Any], ratio: int
) -> np.ndarray:
    """Return step 3's dense bands (dense_band, y, x) on a day less their interpolation in time.

    Parameters
    ----------
    pairs : sequence of Pair
        One or two.
    day : float
    dense : ndarray (dense_band, y / d, x / d)
        Of that day.
    state, ratio
        As in `follow`.
    """
    low = between([p.low for p in pairs], pairs, day)
    valid = np.logical_and.reduce([np.isfinite(dense).all(axis=0), *(p.known for p in pairs)])
    # The level is interpolated apart from the slopes: about the mean the two hardly interact.
    centre = np.tile(state["dense_centre"], len(pairs)).astype(np.float32)[:, None, None]
    guides = np.concatenate([p.low for p in pairs]) - centre
    y, z = (
        np.ascontiguousarray(np.moveaxis(np.where(valid, v, 0), 0, -1), np.float64)
        for v in (dense - low, guides)
    )
    ridge = RIDGE * np.tile(state["dense_spread"], len(pairs))
    slopes, level, _ = fit(y, z, valid, _near(WINDOW), ridge, 1)
    out = _lifted(level, ratio)
    for guide, image in enumerate(np.concatenate([p.fine for p in pairs]) - centre):
        out += _lifted(slopes[:, :, guide], ratio) * image
    left = dense - low - degrade(out, ratio=ratio, fwhm=state["dense_fwhm"])
    out += np.nan_to_num(upsample(left, ratio=ratio), copy=False)
    return np.asarray(out)


def _lifted(maps: np.ndarray, ratio: int) -> np.ndarray:
    """Return maps (y, x, band) as (band, y, x) at the sharp grid."""
    images = np.ascontiguousarray(np.moveaxis(maps, -1, 0), np.float32)
    return np.asarray(bilinear(images[None], ratio)[0])


def changed(
    pairs: Sequence[Pair], day: float, dense: np.ndarray, state: Mapping[str, Any], ratio: int
) -> np.ndarray:
    """Return step 4's coefficients (k, y, x) on a day; parameters as in `departure`."""
    moved = departure(pairs, day, dense, state, ratio)
    change = np.tensordot(state["change"].T.astype(np.float32), moved, 1)
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


def paired(spectral: np.ndarray, sharp: np.ndarray, ratio: int) -> np.ndarray:
    """Return where a pair is there, (y, x): some spectral band and all sharp ones."""
    some = spread(np.isfinite(spectral).any(axis=0), ratio=ratio)
    return np.asarray(some & np.isfinite(sharp).all(axis=0))


def mostly(seen: np.ndarray, ratio: int) -> np.ndarray:
    """Return the pixels ``ratio`` times as large of which enough is there."""
    rows, cols = (n // ratio for n in seen.shape)
    share = seen.reshape(rows, ratio, cols, ratio).mean(axis=(1, 3))
    return np.asarray(share >= LEAST)


def complete(dense: np.ndarray, ratio: int) -> np.ndarray:
    """Return the sharp pixels whose own dense pixel has all bands, (y, x)."""
    return spread(np.isfinite(dense).all(axis=0), ratio=ratio)
