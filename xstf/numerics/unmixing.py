"""Land-cover classes of a fine image for FSDAF, and what each adds to the coarse change.

Classes come from k-means on the fine image, their changes from unmixing the coarse one. Why it is
done this way is said in ``fsdaf``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from xstf.numerics.degrade import block_means
from xstf.numerics.jit import jit

LOCAL = 5  # coarse pixels along the side of the window whose mean is taken away
LATTICE = 80  # squared: about so many pixels settle the class centres
SLOPE_RIDGE = 0.1  # the same as the parameter ridge, for the term within classes
ROUNDS = 30  # of k-means
SEEN = 0.5  # share of a coarse pixel that must be seen for it to be unmixed
FEWEST = 8  # coarse pixels without which nothing is unmixed
SPILLS = np.arange(0.0, 0.34, 0.03)  # shares of the neighbours that are tried, 1 / 3: all alike


class Classes(NamedTuple):
    """Classes of land cover, soft: a pixel between two centres takes part in both.

    Parameters
    ----------
    mean, scale : ndarray (band,)
        A pixel's place is ``(value - mean) * scale``; NaN for bands that are missing everywhere,
        and a scale of 0 for those that tell nothing.
    centres : ndarray (class, band)
        Places of the class centres.
    spread : float
        Mean squared distance from the nearest centre, per axis.
    """

    mean: np.ndarray
    scale: np.ndarray
    centres: np.ndarray
    spread: float


class Changes(NamedTuple):
    """What the coarse change is made of, by band.

    Parameters
    ----------
    slope : ndarray (band,)
        Of the change on the deviation from the mean, within classes.
    step : ndarray (band, class)
        Change of each class.
    spill : float
        Share of each neighbour in a coarse pixel.
    variance : ndarray (band,)
        Of the coarse change, NaN where too little is there.
    """

    slope: np.ndarray
    step: np.ndarray
    spill: float
    variance: np.ndarray


def find_classes(images: list[np.ndarray], count: int) -> Classes:
    """Return mean and scale of the bands, and the class centres in these units."""
    lattice = max(8, round(LATTICE / len(images) ** 0.5))
    pixels = np.concatenate([_thinned(image, lattice) for image in images], axis=1)
    live = ~np.isnan(pixels).all(axis=1)
    pixels = pixels[:, ~np.isnan(pixels[live]).any(axis=0)]
    if not live.any() or pixels.shape[1] == 0:
        dead = np.full(len(live), np.nan)
        return Classes(dead, dead, dead[None], 1.0)
    mean = np.where(live, np.nan_to_num(pixels).mean(axis=1), 0.0)
    deviation = np.where(live[:, None], pixels - mean[:, None], 0.0)
    std = np.sqrt((deviation**2).mean(axis=1))
    # Constant bands tell classes nothing; the rounding of a mean must not be taken for a spread.
    some = std > 1e-6 * np.abs(mean)
    scale = np.where(some, 1.0 / np.where(some, std, 1.0), 0.0)
    centres, spread = _kmeans(deviation.T * scale, count)
    scale = np.where(live, scale, np.nan)
    return Classes(mean, scale, centres, spread)


def _thinned(image: np.ndarray, lattice: int) -> np.ndarray:
    """Return ``(band, pixel)`` of a lattice of so many rows and columns, the same if turned."""
    for axis in (1, 2):
        size = image.shape[axis]
        step = max(1, size // lattice)
        half = np.arange(step // 2, (size + 1) // 2, step)
        image = np.take(image, np.union1d(half, size - 1 - half), axis=axis)
    return image.reshape(len(image), -1).astype(np.float64)


def _kmeans(pixels: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Return centres ``(class, band)`` and the mean squared distance to the nearest, per axis.

    Starts from one class and cuts the one of the largest variance across its principal axis until
    there are enough (Su and Dy, 2007, doi:10.3233/IDA-2007-11402), then refines as usual.
    """
    label = np.zeros(len(pixels), np.int64)
    for new in range(1, count):
        inertia = [_inertia(pixels[label == c]) for c in range(new)]
        widest = int(np.argmax(inertia))
        if inertia[widest] < 1e-12 * len(pixels):
            break
        members = np.flatnonzero(label == widest)
        deviation = pixels[members] - pixels[members].mean(axis=0)
        axis = np.linalg.eigh(deviation.T @ deviation)[1][:, -1]
        label[members[deviation @ axis > 0]] = new
    centres = np.array([pixels[label == c].mean(axis=0) for c in range(label.max() + 1)])
    for _ in range(ROUNDS):
        previous = label
        label = _distances(pixels, centres).argmin(axis=1)
        if (label == previous).all():
            break
        for c in range(len(centres)):
            if (label == c).any():
                centres[c] = pixels[label == c].mean(axis=0)
    nearest = _distances(pixels, centres).min(axis=1)
    return centres, max(float(nearest.mean()), 1e-12)


def _inertia(pixels: np.ndarray) -> float:
    return float(((pixels - pixels.mean(axis=0)) ** 2).sum())


def _distances(pixels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return squared distances ``(pixel, class)``."""
    return np.stack([((pixels - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


Patch: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # fine, its coarse, the target's


def find_changes(patches: list[Patch], classes: Classes, pairs: int, ridge: float) -> Changes:
    """Return what each class and the term within classes add to the change, per band."""
    views = [_coarse_view(fine, coarse, classes) for fine, coarse, _ in patches]
    coarse = [c.astype(np.float64) for _, c, _ in patches]
    change = [t - c for (_, _, t), c in zip(patches, coarse, strict=True)]
    spill, trust = _spill([m for m, _ in views], coarse)
    bands, count = len(classes.scale), len(classes.centres)
    slope, step, variance = np.zeros(bands), np.zeros((bands, count)), np.full(bands, np.nan)
    # Each patch: band means, coarse, change, then the shares of the classes.
    rows = [
        np.concatenate([see(m, spill), c, d, see(a, spill)])
        for (m, a), c, d in zip(views, coarse, change, strict=True)
    ]
    for b in range(bands):
        take = [b, bands + b, 2 * bands + b, *range(3 * bands, 3 * bands + count)]
        mean, x, y, *shares = _usable([local(r[take]) for r in rows])
        if len(y) < FEWEST:
            continue
        variance[b] = np.nanvar(_pooled(change)[b])
        power = (x**2).mean() + SLOPE_RIDGE * np.nanvar(_pooled(coarse)[b])
        slope[b] = trust[b] * (x * y).mean() / power if power > 0 else 0.0
        step[b] = trust[b] * _ridge(np.array(shares), y - slope[b] * mean, ridge)
    # The mean of two fine images is nearer to the mean than either: half of it is done by that.
    return Changes(slope / max(1, pairs), step, spill, variance)


def _usable(rows: list[np.ndarray]) -> np.ndarray:
    """Return ``(quantity, pixel)`` of the coarse pixels without a gap."""
    pixels = _pooled(rows)
    return pixels[:, ~np.isnan(pixels).any(axis=0)]


def _ridge(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Return the coefficients of ``y (n,)`` on ``x (k, n)``, held towards 0 in directions of x."""
    normal = x @ x.T
    strength = ridge * np.trace(normal) / len(normal)
    if not strength > 0:
        return np.zeros(len(normal))
    return np.linalg.solve(normal + strength * np.eye(len(normal)), x @ y)


def _coarse_view(
    fine: np.ndarray, coarse: np.ndarray, classes: Classes
) -> tuple[np.ndarray, np.ndarray]:
    """Return block means of bands and class shares, NaN where too little of a block is seen."""
    ratio = fine.shape[-1] // coarse.shape[-1]
    bands, count = len(fine), len(classes.centres)
    share = np.concatenate([np.zeros((bands, count)), np.eye(count)])
    own = np.concatenate([np.eye(bands), np.zeros((count, bands))])
    fine = np.ascontiguousarray(fine, np.float32)
    _, mean, valid = predict(fine, ratio, classes, share, own)
    mean = np.where(valid >= SEEN * ratio * ratio, mean, np.nan)
    return mean[:bands], mean[bands:]


def _spill(means: list[np.ndarray], coarse: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the share of each neighbour in a coarse pixel, and how well F and C then agree.

    The agreement is the part of the variance of C that F explains, for each band.
    """
    measured = _pooled(coarse)
    fits = []
    for spill in SPILLS:
        seen = _pooled([see(m, spill) for m in means])
        fits.append([_correlation(s, k) for s, k in zip(seen, measured, strict=True)])
    best = int(np.argmax(np.sum(fits, axis=1)))
    return float(SPILLS[best]), np.maximum(fits[best], 0.0) ** 2


def spill_of(fine: Sequence[np.ndarray], coarse: Sequence[np.ndarray]) -> float:
    """Return the share of each neighbour in a coarse pixel, from patches of both images of a date.

    0 where too little is seen to tell.
    """
    means = [block_means(f, f.shape[-1] // c.shape[-1]) for f, c in zip(fine, coarse, strict=True)]
    return _spill(means, [c.astype(np.float64) for c in coarse])[0]


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    use = ~np.isnan(x + y)
    if use.sum() < FEWEST:
        return 0.0
    x, y = x[use], y[use]
    x, y = x - x.mean(), y - y.mean()
    power = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / power) if power > 0 else 0.0


def _pooled(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``(band, pixel)`` of all patches."""
    return np.concatenate([i.reshape(len(i), -1) for i in images], axis=1)


def local(images: np.ndarray) -> np.ndarray:
    """Return images less their local means, where none of them is missing."""
    valid = ~np.isnan(images).any(axis=0)
    images = np.where(valid, images, np.nan)
    local: np.ndarray = images - _weighted(images, np.ones(LOCAL))
    return local


def see(image: np.ndarray, spill: float) -> np.ndarray:
    """Return coarse values as the coarse sensor sees them, with a share of the neighbours."""
    return _weighted(image, np.array([spill, 1.0 - 2.0 * spill, spill]))


def _weighted(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ``(..., y, x)`` averaged with weights along y and x; NaN has none and stays NaN."""
    valid = ~np.isnan(image)
    total, mass = np.where(valid, image, 0.0).astype(np.float64), valid.astype(np.float64)
    for axis in (-2, -1):
        total, mass = _along(total, weights, axis), _along(mass, weights, axis)
    mean: np.ndarray = np.where(valid, total / np.where(valid, mass, 1.0), np.nan)
    return mean


def _along(image: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """Return weighted sums of neighbours along an axis, with nothing beyond the edge."""
    reach, size = len(weights) // 2, image.shape[axis]
    total = np.zeros_like(image, np.float64)
    into, taken = (np.moveaxis(a, axis, -1) for a in (total, image))
    for k, weight in enumerate(weights):
        by = k - reach
        left, right = max(0, -by), min(size, size - by)
        if left < right:
            into[..., left:right] += weight * taken[..., left + by : right + by]
    return total


def predict(
    fine: np.ndarray,
    ratio: int,
    classes: Classes,
    step: np.ndarray,
    slope: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``step @ shares + slope @ deviations``, its block means and the pixels in them."""
    bands, height, width = fine.shape
    blocks = (height // ratio, width // ratio)
    out = np.full((len(step), height, width), np.nan, np.float32)
    total, count = np.zeros((len(step), *blocks)), np.zeros(blocks)
    deviation, share = np.zeros(bands), np.empty(step.shape[1])
    _predict(fine, ratio, classes, (step, slope), (deviation, share), (out, total, count))
    return out, total, count


@jit
def _predict(
    fine: np.ndarray,
    ratio: int,
    classes: Classes,
    by: tuple[np.ndarray, np.ndarray],
    room: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Write what `predict` returns; ``room`` is for the bands and classes of a pixel."""
    bands, height, width = fine.shape
    mean, scale, centres, spread = classes
    step, slope = by
    deviation, share = room
    out, total, count = found
    outs, size = step.shape
    for y in range(height):
        for x in range(width):
            lives = 0
            valid = True
            for b in range(bands):
                if not np.isnan(scale[b]):
                    lives += 1
                    deviation[b] = fine[b, y, x] - mean[b]
                    valid = valid and not np.isnan(deviation[b])
            if lives == 0 or not valid:
                continue
            nearest = np.inf
            for c in range(size):
                distance = 0.0
                for b in range(bands):
                    if not np.isnan(scale[b]):
                        difference = deviation[b] * scale[b] - centres[c, b]
                        distance += difference * difference
                share[c] = distance
                nearest = min(nearest, distance)
            norm = 0.0
            for c in range(size):
                share[c] = np.exp((nearest - share[c]) / (2.0 * spread))
                norm += share[c]
            count[y // ratio, x // ratio] += 1.0
            for o in range(outs):
                value = 0.0
                for c in range(size):
                    value += step[o, c] * share[c]
                value /= norm
                for b in range(bands):
                    value += slope[o, b] * deviation[b]
                out[o, y, x] = value
                total[o, y // ratio, x // ratio] += value
    for y in range(height // ratio):
        for x in range(width // ratio):
            for o in range(outs):
                if count[y, x] > 0:
                    total[o, y, x] /= count[y, x]
                else:
                    total[o, y, x] = np.nan
