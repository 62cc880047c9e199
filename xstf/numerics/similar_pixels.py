"""What the methods of similar pixels share: where to look, how to weigh, how far to trust.

The search for similar pixels goes over a fixed pattern around a pixel, dense near it and in ever
wider rings farther out, so that its cost does not grow with the area: a ring holds as many places
as the one before. A place stands for an area that grows with the square of its distance; not to
weigh it by that area is what makes near pixels count more, whatever the size of the gap.

The scene itself helps out: ``settle`` groups its sample by k-means into classes of pixels whose
values run alike over all dates, missing ones left out; a class's mean, at the dates at which enough
of it is clear, is one more pixel, at the end of the reach. So the middle of a large gap, and a
pixel unlike all around it, still follow what their kind does elsewhere.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.jit import jit, part
from xstf.numerics.normal import COVER, IQR, Z90

# Every pixel up to this distance is looked at; there are then rings of RING places, each wider by
# GROWTH, so that neighbouring places of a ring are about as far apart as neighbouring rings.
DENSE = 4
RING = 32
GROWTH = 1.2
# Pixels that are grouped into classes, at most, and rounds of k-means (its sums settle sooner).
SAMPLE = 4096
ROUNDS = 10
# A class's mean of fewer pixels is too noisy to stand for it.
FEWEST_OF_CLASS = 5
# To see how large errors are, so many dates in a row get the masks of other ones, in turn: most
# gaps last one date, some longer. As many dates as the longest after each stay as they are.
RUNS = (1, 3)
# So many pixels are hidden at most.
HIDDEN = 60_000
# Share of a date's pixels that a mask worth transplanting hides.
PARTLY = (0.1, 0.9)
# Below this share of the scene's contrast, differences are rounding.
ROUNDING = 1e-3
# The fewest errors that show a 90 % quantile.
FEWEST_ERRORS = 30


def pattern(reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets ``(place, 2)`` within reach, nearest first, and their distances."""
    steps = range(-DENSE, DENSE + 1)
    places = {(dy, dx) for dy in steps for dx in steps if 0 < dy * dy + dx * dx <= DENSE**2}
    angles = (np.arange(RING // 8) + 0.5) * (np.pi / 4) / (RING // 8)
    radius = DENSE * GROWTH
    while radius < reach + 0.5:
        for dy, dx in np.rint(radius * np.stack([np.sin(angles), np.cos(angles)], 1)).astype(int):
            # An eighth of the ring, mirrored: the pattern has all symmetries of the grid.
            for u, v in ((dy, dx), (dx, dy)):
                places |= {(u, v), (u, -v), (-u, v), (-u, -v)}
        radius *= GROWTH
    offsets = np.array(sorted(places, key=lambda p: (p[0] ** 2 + p[1] ** 2, p)), np.int64)
    distance = np.hypot(*offsets.T)
    within = distance <= reach
    return np.ascontiguousarray(offsets[within]), np.ascontiguousarray(distance[within])


def pixels_of(samples: np.ndarray) -> np.ndarray:
    """Return ``(pixel, time, band)`` float64, even steps through the pixels that have data."""
    _, dates, bands = samples.shape[:3]
    flat = np.moveaxis(samples, 0, 2).reshape(dates, bands, -1)
    some = np.flatnonzero(np.isfinite(flat).any(axis=(0, 1)))
    some = some[:: max(1, -(-some.size // SAMPLE))]
    return np.moveaxis(flat[:, :, some], 2, 0).astype(np.float64)


def contrast(pixels: np.ndarray) -> np.ndarray:
    """Return how widely the pixels of one date differ, ``(band,)``, robust; > 0."""
    found = np.ones(pixels.shape[2])
    for b in range(pixels.shape[2]):
        dates = [date[np.isfinite(date)] for date in pixels[:, :, b].T]
        dates = [date for date in dates if date.size >= FEWEST_OF_CLASS]
        if dates:
            wide = np.median([np.subtract(*np.quantile(d, [0.75, 0.25])) for d in dates]) / IQR
            wide = wide or np.sqrt(np.mean([d.var() for d in dates]))
            found[b] = wide or 1.0
    return found


def usable(pixels: np.ndarray) -> np.ndarray:
    """Return which bands are ever seen: the others do not make a pixel unclear."""
    return np.asarray(np.isfinite(pixels).any(axis=(0, 1)))


def group(pixels: np.ndarray, unit: np.ndarray, classes: int) -> np.ndarray:
    """Return the class of each of the pixels ``(pixel, time, band)``, by their whole series."""
    seen = np.isfinite(pixels)
    count = seen.sum(axis=0)
    mean = np.where(seen, pixels, 0).sum(axis=0) / np.maximum(count, 1)
    if not pixels.size or classes == 0:
        return np.zeros(len(pixels), int)
    values = (np.where(seen, pixels - mean, 0) / unit).reshape(len(pixels), -1)
    mask = seen.reshape(len(pixels), -1).astype(np.float64)
    square = values**2
    level = values.sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    # Begin with equal groups by level: no random numbers, no place in the scene favoured.
    label = np.argsort(np.argsort(level, kind="stable"), kind="stable") * classes // len(level)
    for _ in range(ROUNDS):
        member = (label[:, None] == np.arange(classes)).astype(np.float64)
        number = member.T @ mask
        centre = member.T @ values / np.maximum(number, 1)
        there = (number > 0).astype(np.float64)
        far = square @ there.T - 2 * values @ (centre * there).T + mask @ (centre**2 * there).T
        common = mask @ there.T
        before = label
        label = np.where(common > 0, far / np.maximum(common, 1), np.inf).argmin(axis=1)
        if np.array_equal(label, before):
            break
    return np.asarray(label)


def class_means(pixels: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """Return the classes' mean ``(time, class, band)``, NaN where too few of one are clear."""
    _, dates, bands = pixels.shape
    found = np.full((dates, classes, bands), np.nan, np.float32)
    clear = np.isfinite(pixels).all(axis=2)
    if not bands:
        return found
    for k in range(classes):
        use = clear[label == k][:, :, None]
        count = use.sum(axis=0)
        total = np.where(use, pixels[label == k], 0).sum(axis=0)
        found[:, k] = np.where(count >= FEWEST_OF_CLASS, total / np.maximum(count, 1), np.nan)
    return found


def hide(samples: np.ndarray, reach: int) -> np.ndarray:
    """Return which cells ``(window, time, y, x)`` to hide: masks of other dates, transplanted."""
    missing = np.isnan(samples).all(axis=2)
    _, dates, height, width = missing.shape
    share = missing.mean(axis=(0, 2, 3))
    partly = (share >= PARTLY[0]) & (share <= PARTLY[1])
    starts = np.flatnonzero(partly)
    y, x = np.ogrid[:height, :width]
    disc = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 <= min(reach, height / 3) ** 2
    hidden: np.ndarray = np.zeros(missing.shape, bool)
    rng = np.random.default_rng(0)
    period = len(RUNS) * max(RUNS) + sum(RUNS)
    firsts = [
        t + i * max(RUNS) + sum(RUNS[:i]) for t in range(0, dates, period) for i in range(len(RUNS))
    ]
    for i in rng.permutation(len(firsts)):
        start = rng.choice(starts) if starts.size else None
        for t in range(firsts[i], min(firsts[i] + RUNS[i % len(RUNS)], dates)):
            # The same shape on all dates of a run: a gap that stays.
            mask = disc if start is None else missing[:, start]
            hidden[:, t] = mask & ~missing[:, t]
        if hidden.sum() > HIDDEN:
            break
    return hidden


def widen(error: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the factors ``(band,)`` at which 90 % intervals hold 90 % of errors ``(n, band)``."""
    factor = np.ones(error.shape[1])
    for b in range(error.shape[1]):
        use = np.isfinite(error[:, b]) & (spread[:, b] > 0)
        if use.sum() >= FEWEST_ERRORS:
            ratio = np.abs(error[use, b]) / spread[use, b]
            factor[b] = np.quantile(ratio, COVER) / Z90
    return factor


def weights_of(unlike: np.ndarray, distance: np.ndarray, similar: int) -> np.ndarray:
    """Return the weights of :func:`weigh`, as numpy."""
    count = min(similar, unlike.size)
    width = np.sort(unlike)[(count - 1) // 2]
    weight = 1 / ((unlike + width + ROUNDING**2) ** 2 * distance)
    return np.asarray(weight / weight.sum())


@jit
def weigh(
    unlike: np.ndarray,
    distance: np.ndarray,
    count: int,
    similar: int,
    least: np.ndarray,
    weights: np.ndarray,
) -> float:
    """Write the weights of the first ``count`` pixels, which sum to 1; return the sum of squares.

    ``unlike`` is the mean square of a pixel's differences in units of the scene's contrast. The
    weight is ``1 / ((unlike + h)^2 distance)`` with ``h`` the median of the ``similar`` smallest:
    the most similar pixels count alike, those twice as far in value 6 times less. ``least`` is
    room for ``similar`` numbers.
    """
    kept = (min(similar, count) - 1) // 2 + 1
    for i in range(kept):
        least[i] = np.inf
    for i in range(count):
        value = unlike[i]
        if value < least[kept - 1]:
            k = kept - 1
            while k > 0 and least[k - 1] > value:
                least[k] = least[k - 1]
                k -= 1
            least[k] = value
    width = least[kept - 1] + ROUNDING**2
    total, squares = 0.0, 0.0
    for i in range(count):
        weights[i] = 1 / ((unlike[i] + width) ** 2 * distance[i])
        total += weights[i]
    for i in range(count):
        weights[i] /= total
        squares += weights[i] ** 2
    return squares


@part
def look_around(clear: np.ndarray, y: int, x: int, offsets: np.ndarray, places: np.ndarray) -> int:
    """Write row, column and number of the pattern's places that are clear; return how many."""
    height, width = clear.shape
    count = 0
    for k in range(offsets.shape[0]):
        v, u = y + offsets[k, 0], x + offsets[k, 1]
        if 0 <= v < height and 0 <= u < width and clear[v, u]:
            places[count, 0], places[count, 1], places[count, 2] = v, u, k
            count += 1
    return count
