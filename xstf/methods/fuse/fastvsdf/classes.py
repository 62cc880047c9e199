"""Classes of FastVSDF: pixels that look alike and change alike, and what each of them changes by.

Why it is done this way is said in ``fastvsdf``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from xstf.numerics.array_module import beside
from xstf.numerics.degrade import block_means
from xstf.numerics.unmixing import (
    FEWEST,
    SEEN,
    Classes,
    Patch,
    find_changes,
    find_classes,
    predict,
    see,
)
from xstf.numerics.upsample import upsample

Upsample: TypeAlias = Callable[[np.ndarray, int], np.ndarray]

# Share of each neighbour in windows of two and of one coarse pixel around all places within one.
TWO_WIDE, ONE_WIDE = 0.25, 0.125
# Against noise in the guide, in variances of a band: 1e-7 and 1e-3 of the paper, whose images lie
# between 0 and 1 and have a standard deviation near 0.03 or 0.06.
FIRM, SOFT = 1e-4, 0.3
LEAST = 1e-10  # variance that is not rounding, in squares of the mean


class PairState(NamedTuple):
    """What is found of one pair.

    Parameters
    ----------
    covers : Classes
        Classes of the fine image.
    classes : Classes
        Of pixels that look alike and change alike: of ``(2 band,)`` features, the changes first.
    step : ndarray (band, class)
        Change of each class.
    power : ndarray (band,)
        Variance of the coarse image.
    spill : float
        Share of each neighbour in a coarse pixel.
    variance : ndarray (band,)
        Of the coarse change.
    """

    covers: Classes
    classes: Classes
    step: np.ndarray
    power: np.ndarray
    spill: float
    variance: np.ndarray


def find_state(patches: list[Patch], covers: int, ridge: float) -> PairState:
    """Return covers, classes, what each class changes by and the numbers that go with them."""
    cover = find_classes([fine for fine, _, _ in patches], covers)
    seen = find_changes(patches, cover, 1, ridge)
    power = _variances([coarse for _, coarse, _ in patches])
    features = [stack_features(f, c, t - c, power, upsample) for f, c, t in patches]
    classes = find_classes(features, count_classes(patches, covers))
    changes = [target - coarse for _, coarse, target in patches]
    step = _unmix(features, changes, classes, seen.spill, ridge)
    return PairState(cover, classes, step, power, seen.spill, seen.variance)


def slope(
    change: np.ndarray, guide: np.ndarray, power: np.ndarray, spill: float, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slope of change on guide in small windows, and the means of both; all coarse."""
    valid = ~np.isnan(change + guide)
    x, y = (np.where(valid, i, np.nan).astype(np.float64) for i in (guide, change))
    mean_x, mean_y = see(x, spill), see(y, spill)
    covariance = see(x * y, spill) - mean_x * mean_y
    spread = np.maximum(see(x * x, spill) - mean_x**2, 0.0)
    spread = spread + noise * beside(power[:, None, None], spread)
    some = ~(spread <= LEAST * mean_x**2)  # missing stays missing
    return np.where(some, covariance / np.where(some, spread, 1.0), 0.0), mean_y, mean_x


def stack_features(
    fine: np.ndarray,
    coarse: np.ndarray,
    change: np.ndarray,
    power: np.ndarray,
    upsampled: Upsample,
) -> np.ndarray:
    """Return the change that fine details suggest, and the fine image: ``(2 band, y, x)``."""
    layers = np.stack(slope(change, coarse, power, TWO_WIDE, FIRM)).astype(np.float32)
    ratio = fine.shape[-1] // coarse.shape[-1]
    lean, mean, guide = upsampled(layers, ratio)
    stacked: np.ndarray = np.concatenate([mean + lean * (fine - guide), fine], dtype=np.float32)
    return stacked


def neutral(features: np.ndarray, classes: Classes) -> np.ndarray:
    """Return features whose missing changes say nothing; a missing fine value stays missing."""
    bands = len(features) // 2
    change = features[:bands]
    mean = beside(classes.mean[:bands, None, None], features)
    filled = np.where(np.isnan(change), mean, change)
    out: np.ndarray = np.concatenate([filled, features[bands:]], dtype=np.float32)
    return out


def count_classes(patches: list[Patch], base: int) -> int:
    """Return the number of classes: more, the better the coarse change can be relied on.

    That is its pattern in proportion to that of the difference of the sensors.
    """
    changes = [target - coarse for _, coarse, target in patches]
    differences = [
        block_means(fine, fine.shape[-1] // coarse.shape[-1]) - coarse
        for fine, coarse, _ in patches
    ]
    scale = np.sqrt(_variances([coarse for _, coarse, _ in patches]))
    scale = np.where(scale > 0, scale, np.inf)
    change, difference = (
        float(np.sum(np.sqrt(_variances(i)) / scale)) for i in (changes, differences)
    )
    reliable = 1.0 - difference / change if change > 0 else 0.0
    return max(round(base**2 * reliable), base)


def _variances(images: list[np.ndarray]) -> np.ndarray:
    """Return the variance of each band over all images, 0 without any value."""
    pixels = np.concatenate([i.reshape(len(i), -1) for i in images], axis=1).astype(np.float64)
    valid = ~np.isnan(pixels)
    count = np.maximum(valid.sum(axis=1), 1)
    mean = np.where(valid, pixels, 0.0).sum(axis=1) / count
    deviation = np.where(valid, pixels - mean[:, None], 0.0)
    variance: np.ndarray = (deviation**2).sum(axis=1) / count
    return np.where(variance > LEAST * mean**2, variance, 0.0)


def _unmix(
    features: list[np.ndarray],
    changes: list[np.ndarray],
    classes: Classes,
    spill: float,
    ridge: float,
) -> np.ndarray:
    """Return what each class changes by, ``(band, class)``: least squares over coarse pixels."""
    shares = [_shares(f, c, classes, spill) for f, c in zip(features, changes, strict=True)]
    rows = [np.concatenate([s, c]) for s, c in zip(shares, changes, strict=True)]
    count, bands = len(classes.centres), len(changes[0])
    pixels = np.concatenate([r.reshape(len(r), -1) for r in rows], axis=1)
    step = np.zeros((bands, count))
    for b in range(bands):
        chosen = pixels[[*range(count), count + b]]
        chosen = chosen[:, ~np.isnan(chosen).any(axis=0)]
        if chosen.shape[1] < FEWEST:
            continue
        mean = chosen.mean(axis=1, keepdims=True)
        share, change = (chosen - mean)[:-1], (chosen - mean)[-1]
        normal = share @ share.T
        strength = ridge * np.trace(normal) / count
        if strength > 0:
            step[b] = np.linalg.solve(normal + strength * np.eye(count), share @ change)
        # Shares add up to one: this is a constant of the whole image.
        step[b] += mean[-1, 0] - step[b] @ mean[:-1, 0]
    return step


def _shares(features: np.ndarray, change: np.ndarray, classes: Classes, spill: float) -> np.ndarray:
    """Return the shares of the classes in each coarse pixel, NaN where too little is seen."""
    ratio = features.shape[-1] // change.shape[-1]
    count = len(classes.centres)
    flat = np.zeros((count, len(features)))
    stack = neutral(features, classes)
    _, mean, seen = predict(stack, ratio, classes, np.eye(count), flat)
    return see(np.where(seen >= SEEN * ratio * ratio, mean, np.nan), spill)
