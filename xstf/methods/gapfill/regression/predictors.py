"""What the scene teaches ``regression``: for each date a list of ridge models, best first.

A model of a date predicts all its bands from a *pattern*, a set of other dates with all their
bands, with or without the guide of the date. It is learnt on sampled pixels that are clear on the
date and on every date of the pattern: such rows look like the gap pixels that have these dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np

Pattern: TypeAlias = tuple[int, ...]

# Patterns tried for a date and a number of dates: the most frequent ones of the samples. Rarer
# ones are served by a pattern with fewer dates. Settling takes time in proportion.
PATTERNS = 8
# Pixels that the patterns are counted on and the models learnt on, and rows of one fit: a ridge
# of some 30 predictors is not told apart from one with more rows.
PIXELS = 16384
ROWS = 1024
# A pattern with fewer rows loses its farthest date; with more predictors it needs more.
FEWEST_ROWS = 32
# Strengths of the ridge tried, on standardised predictors: from almost none to almost the mean.
RIDGES = 10.0 ** np.arange(-6, 1.1, 0.5)
# Clear pixels come in clumps: in the cross-validation their number is divided by this, the 2 x 2
# pixels that resampling and the sensor's blur make alike. Of 1, 2, 4, 8 it had the least error on
# a small nine-band scene; with many rows a predictor it makes no difference.
CLUMP = 4

# Lags at which correlation in space is measured, in pixels; lengths and shares tried for its two
# parts, texture and drift. Not all is explained: kriging stays well-posed.
LAGS = (1, 2, 3, 5, 8, 12, 16, 24)
SHORT, LONG = (1.0, 2.0, 4.0, 8.0), (16.0, 32.0)
SHARES = np.linspace(0, 0.95, 20)


@dataclass(frozen=True)
class Sample:
    """Sampled pixels as columns: values ``(time, band, pixel)``, guide alike or None."""

    values: np.ndarray
    guide: np.ndarray | None

    @property
    def clear(self) -> np.ndarray:
        """Where all bands are there, ``(time, pixel)``."""
        out: np.ndarray = np.isfinite(self.values).all(axis=1)
        return out

    @cached_property
    def by_pixel(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Both as ``(time, pixel, band)``, of which pixels are taken faster: bands lie together."""
        guide = self.guide
        turned = None if guide is None else np.ascontiguousarray(guide.swapaxes(1, 2))
        return np.ascontiguousarray(self.values.swapaxes(1, 2)), turned


@dataclass(frozen=True)
class Model:
    """``band = const + predictors @ coef``, its error and the share of variance it leaves."""

    pattern: Pattern
    guided: bool
    coef: np.ndarray
    const: np.ndarray
    error: np.ndarray
    score: float


class Models(NamedTuple):
    """All models of all dates, one after the other, as the loops take them."""

    first: np.ndarray  # (time + 1,): where each date's models begin
    pattern: np.ndarray  # (model, date): the dates it looks at, then -1
    guided: np.ndarray  # (model,): whether it looks at the guide
    coef: np.ndarray  # (model, predictor, band): all bands of the dates, then the guide
    const: np.ndarray  # (model, band)
    error: np.ndarray  # (model, band)


def columns(stack: np.ndarray) -> np.ndarray:
    """Return ``(window, time, band, y, x)`` as ``(time, band, pixel)``."""
    moved = np.moveaxis(stack, 0, 2)
    return np.ascontiguousarray(moved).reshape(*moved.shape[:2], -1)


def ordered(sample: Sample) -> np.ndarray:
    """Return the order of the pixels by their mean, those without one last.

    Evenly spaced ones of these stand for all, and are the same ones when the scene is flipped.
    """
    seen = np.isfinite(sample.values)
    total = np.where(seen, sample.values, 0).sum(axis=(0, 1), dtype=np.float64)
    count = seen.sum(axis=(0, 1))
    return np.argsort(np.where(count > 0, total / np.maximum(count, 1), np.inf), kind="stable")


def taken(sample: Sample, chosen: np.ndarray) -> Sample:
    """Return some pixels of a sample."""
    guide = None if sample.guide is None else sample.guide[..., chosen]
    return Sample(sample.values[..., chosen], guide)


def spaced(items: np.ndarray, most: int) -> np.ndarray:
    """Return at most ``most`` of the items, evenly spaced."""
    if len(items) <= most:
        return items
    return items[np.linspace(0, len(items) - 1, most).round().astype(np.int64)]


def studied(stack: np.ndarray, pixels: int) -> np.ndarray:
    """Return the middle of evenly spaced windows, so that there are not too many pixels."""
    most = int(np.sqrt(pixels))
    rows, cols = (
        slice(max(0, n - most) // 2, max(0, n - most) // 2 + most) for n in stack.shape[-2:]
    )
    middle = stack[..., rows, cols]
    count = max(1, pixels // (middle.shape[-1] * middle.shape[-2]))
    return np.asarray(middle[spaced(np.arange(len(middle)), count)])


def nearest_dates(clear: np.ndarray, count: int) -> np.ndarray:
    """Return ``(time, 2 * count, pixel)``: the nearest clear dates before and after, else -1.

    Before come first, either side with the nearest date first.
    """
    dates, pixels = clear.shape
    out = np.full((dates, 2 * count, pixels), -1, np.int16)
    for order, side in ((range(dates), 0), (range(dates - 1, -1, -1), count)):
        last = np.full((count, pixels), -1, np.int16)
        for t in order:
            out[t, side : side + count] = last
            older = np.concatenate([np.full((1, pixels), t, np.int16), last[:-1]])
            last = np.where(clear[t], older, last)
    return out


def models_of(
    t: int, sample: Sample, clear: np.ndarray, near: np.ndarray, times: np.ndarray
) -> list[Model]:
    """Return the models of a date, the one that explains most first.

    ``near`` is this date's part of :func:`nearest_dates`.
    """
    distance = np.abs(times - times[t])
    bands = sample.values.shape[1]
    out = []
    for pattern in _candidates(clear[t], clear, near, distance, bands):
        rows = usable_rows(t, pattern, clear, None)
        if not len(rows):
            return []
        plain = _fit(t, pattern, rows, sample, guided=False)
        out.append(plain)
        if sample.guide is not None:
            rows = usable_rows(t, pattern, clear, sample.guide)
            if len(rows) >= _needed(len(pattern) * bands + sample.guide.shape[1]):
                guided = _fit(t, pattern, rows, sample, guided=True)
                out += [guided] if guided.score < plain.score or not pattern else []
    # Models that do not look at the pixel's own past come last of all, the date's mean after them.
    return sorted(out, key=lambda m: (not m.pattern, not (m.pattern or m.guided), m.score))


def usable_rows(
    t: int, pattern: Pattern, clear: np.ndarray, guide: np.ndarray | None
) -> np.ndarray:
    """Return the pixels that are clear on a date and on all of a pattern, and have the guide."""
    rows = np.flatnonzero(_clear(clear[t], pattern, clear))
    return rows if guide is None else rows[np.isfinite(guide[t][:, rows]).all(axis=0)]


def _needed(predictors: int) -> int:
    """Return the rows that a fit needs: as many as predictors when clumps count as one."""
    return max(FEWEST_ROWS, CLUMP * predictors)


def _clear(now: np.ndarray, pattern: Pattern, clear: np.ndarray) -> np.ndarray:
    """Return whether pixels are clear on a date, ``now``, and on every date of a pattern."""
    both = now
    for d in pattern:
        both = both & clear[d]
    return both


def _candidates(
    now: np.ndarray, clear: np.ndarray, near: np.ndarray, distance: np.ndarray, bands: int
) -> list[Pattern]:
    """Return the frequent patterns with all nearest dates, with fewer, and with none."""
    half = len(near) // 2
    rungs = [[*range(k), *range(half, half + k)] for k in range(half, 0, -1)]
    found: dict[Pattern, None] = {}
    for rung in [*rungs, [0], [half]]:
        for pattern in _frequent(near[rung], now, len(clear)):
            kept = pattern
            while kept and np.count_nonzero(_clear(now, kept, clear)) < _needed(len(kept) * bands):
                farthest = max(kept, key=lambda d: distance[d])
                kept = tuple(d for d in kept if d != farthest)
            found[kept] = None
    found[()] = None
    return list(found)


def _frequent(near: np.ndarray, now: np.ndarray, dates: int) -> list[Pattern]:
    """Return the most frequent columns as sorted dates; those of gap pixels count twice."""
    codes = np.zeros(near.shape[1], np.int64)
    for row in near:
        codes = codes * (dates + 1) + row + 1
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    count = np.bincount(inverse, weights=2.0 - now)
    chosen = np.argsort(-count, kind="stable")[:PATTERNS]
    return [tuple(sorted(int(d) for d in near[:, first[k]] if d >= 0)) for k in chosen]


def predictors(
    t: int, pattern: Pattern, rows: np.ndarray, values: np.ndarray, guide: np.ndarray | None
) -> np.ndarray:
    """Return ``(row, predictor)``: all bands of each date of the pattern, the guide of the date."""
    parts = [values[d][:, rows] for d in pattern]
    if guide is not None:
        parts.append(guide[t][:, rows])
    if not parts:
        return np.zeros((len(rows), 0))
    return np.concatenate(parts).T.astype(np.float64)


def _fit(t: int, pattern: Pattern, rows: np.ndarray, sample: Sample, *, guided: bool) -> Model:
    """Return the ridge model whose strength has the least generalised cross-validation error."""
    rows = spaced(rows, ROWS)
    values, guide = sample.by_pixel
    # Taken, which is several times as fast as indexing.
    parts = [values[d].take(rows, axis=0) for d in pattern]
    if guided and guide is not None:
        parts.append(guide[t].take(rows, axis=0))
    both = np.concatenate([*parts, values[t].take(rows, axis=0)], axis=1, dtype=np.float64)
    count, size = len(rows), both.shape[1] - values.shape[2]
    mean = both.sum(axis=0) / count
    both -= mean
    product = both.T @ both / count  # of predictors and bands alike
    variance = np.diagonal(product)
    square = variance[size:]
    scale = _inverse(np.sqrt(variance[:size]))
    power, axes = np.linalg.eigh(product[:size, :size] * scale * scale[:, None])
    power = np.maximum(power, 0)
    part = axes.T @ (scale[:, None] * product[:size, size:])
    inverse = 1 / (power + RIDGES[:, None])  # (ridge, axis)
    keep = power * inverse
    # Never 1: with fewer effective rows than predictors the strongest ridge wins.
    freedom = np.minimum(CLUMP * (keep.sum(axis=1) + 1) / count, 0.98)
    rest = np.maximum(square - ((2 - keep) * inverse) @ part**2, 0)
    error = rest / (1 - freedom[:, None]) ** 2
    score = (error * _inverse(square)).mean(axis=1)
    best = int(score.argmin())
    coef = scale[:, None] * (axes * inverse[best] @ part)
    const = mean[size:] - mean[:size] @ coef
    return Model(pattern, guided, coef, const, np.sqrt(error[best]), float(score[best]))


def _inverse(values: np.ndarray) -> np.ndarray:
    """Return ``1 / values``, 0 where there is nothing to divide by."""
    return np.asarray(np.divide(1.0, values, out=np.zeros_like(values), where=values > 0))


def stacked(models: list[Model], first: np.ndarray, count: int, bands: int, guides: int) -> Models:
    """Return the models as arrays, with ``count`` dates each; -1 stands for those it lacks."""
    total = len(models)
    out = Models(
        first=first,
        pattern=np.full((total, count), -1),
        guided=np.zeros(total, bool),
        coef=np.zeros((total, count * bands + guides, bands)),
        const=np.zeros((total, bands)),
        error=np.zeros((total, bands)),
    )
    for k, model in enumerate(models):
        size = len(model.pattern)
        out.pattern[k, :size] = model.pattern
        out.guided[k] = model.guided
        out.coef[k, : size * bands] = model.coef[: size * bands]
        if model.guided:
            out.coef[k, count * bands :] = model.coef[size * bands :]
        out.const[k] = model.const
        out.error[k] = model.error
    return out


def correlation(fields: np.ndarray) -> np.ndarray:
    """Return share and length of the two exponentials next to the correlation along y and x."""
    valid = np.isfinite(fields)
    flat = np.where(valid, fields, 0)
    power = (flat**2).sum(dtype=np.float64) / max(valid.sum(), 1)
    lags, found = [], []
    for lag in LAGS:
        total, count = 0.0, 0
        for axis in (-2, -1):
            value, there = (np.moveaxis(a, axis, 0) for a in (flat, valid))
            total += float((value[lag:] * value[:-lag]).sum(dtype=np.float64))
            count += int((there[lag:] & there[:-lag]).sum())
        if count:
            lags.append(lag)
            found.append(total / count)
    fits: list[tuple[float, ...]] = [(np.inf, 0.0, SHORT[0], 0.0, LONG[0])]
    one, two = np.meshgrid(SHARES, SHARES, indexing="ij")
    one, two = (shares[one + two <= SHARES[-1]] for shares in (one, two))
    for a in SHORT if lags and power > 0 else ():
        for b in LONG:
            apart = np.array(lags, np.float64)
            curve = one[:, None] * np.exp(-apart / a) + two[:, None] * np.exp(-apart / b)
            # The nearest lags matter most.
            misfit = ((curve - np.array(found) / power) ** 2 / apart).sum(axis=1)
            k = int(misfit.argmin())
            fits.append((float(misfit[k]), float(one[k]), a, float(two[k]), b))
    _, share, short, drift, long = min(fits)
    return np.array([[share, short], [drift, long]])
