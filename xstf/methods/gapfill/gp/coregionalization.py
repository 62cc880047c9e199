"""Whole-scene numbers of the Gaussian process: what varies together, how long, and the noise.

The covariance of outputs ``p, q`` at dates ``t, u`` is ``sum_c B_c[p, q] k_c(t - u)`` plus noise.
The kernels ``k_c`` are a season that comes back every year, a fast and a slow Matern-3/2. Given
them, the ``B_c`` follow from a convex problem: the nearest, in least squares, to the covariances
that the scene shows between every two dates, all ``B_c`` being positive semidefinite and the noise
diagonal. Maximum likelihood of the same model was tried and left: it takes pixels for independent
where they share the weather of one scene, and fits that one course of the weather too closely.

How long, and how much of the noise is noise, is decided by hiding: at sampled pixels each date is
hidden together with its neighbours, as far as real gaps reach, and predicted by what is learnt
without it. The same errors calibrate the deviations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from xstf.numerics.inverses import inverses
from xstf.numerics.normal import COVER, MAD, Z90
from xstf.numerics.seasonal import YEAR

# Lengths tried for the fast kernel, in days: from a weather front to a season.
LENGTHS = (8.0, 15.0, 30.0, 60.0)
# The slow kernel's length over the fast one's: kernels closer than this are hard to tell apart.
SLOW = 4.0
# How fast a season may come to differ from that of other years, in days.
MEMORY = 3 * YEAR
# Noise is at least this share of an output's variance: float32 data and the solver need some.
FLOOR = 1e-3
# Values further than this many robust deviations from the pixel's mean count as that far.
CLIP = 5.0
# Steps of the convex fit at most, and the largest relative change at which it stops.
STEPS, CONVERGED = 400, 1e-5
# Parts of the dates that are left out in turn to compare kernels.
FOLDS = 4
# The share of the errors on which deviations are calibrated, and its normal quantile. The tail is
# left out: it is the haze that no mask found, and one hazy date in ten would widen all intervals.
SHARE, QUANTILE = 0.8, 1.2816
# Shares of the fitted noise that are tried, up to all of it. Least squares does not see noise that
# is small beside a season, and takes what the kernels do not fit for noise.
SHARES = (0.03, 0.1, 0.3, 1.0)
# Bounds of the work: multiplications for covariances, and for hiding at sampled pixels.
COVARIANCE_WORK, HIDING_WORK = 2e9, 2e8
# Pixels for covariances and for hiding that are taken however long the series is.
FEWEST_PIXELS, FEWEST_HIDDEN = 100, 4
# Pixels that are hidden at most; more than this hardly change a choice among a few kernels.
HIDDEN_PIXELS = 40
# The pixels' mean is unknown beforehand: so many times the variance of the signal.
DIFFUSE = 100.0


@dataclass(frozen=True)
class Coregionalization:
    """A model of the outputs: factors, how they vary in time, and noise.

    Parameters
    ----------
    loading
        ``(output, factor)``.
    noise
        ``(output,)``.
    mix
        Covariance of the factors by kernel, ``(kernel, factor, factor)``.
    kernels
        ``(kernel, time, time)``.
    """

    loading: np.ndarray
    noise: np.ndarray
    mix: np.ndarray
    kernels: np.ndarray


@dataclass(frozen=True)
class Skill:
    """What a model makes of hidden values, ``(value,)`` each."""

    error: np.ndarray
    variance: np.ndarray
    date: np.ndarray
    band: np.ndarray


def kernels(times: np.ndarray, length: float) -> np.ndarray:
    """Return the constant, seasonal, fast and slow kernel between all dates ``(4, time, time)``."""
    gap = np.abs(times[:, None] - times)
    season = np.exp(-2 * np.sin(np.pi * gap / YEAR) ** 2) * matern(gap, MEMORY)
    return np.stack([np.ones_like(gap), season, matern(gap, length), matern(gap, SLOW * length)])


def matern(gap: np.ndarray, length: float) -> np.ndarray:
    """Return the Matern-3/2 correlation of values that are ``gap`` apart."""
    ratio = np.sqrt(3.0) * gap / length
    return np.asarray((1 + ratio) * np.exp(-ratio))


def learn(
    samples: np.ndarray, targets: int, times: np.ndarray, rank: int
) -> tuple[Coregionalization, float, np.ndarray, np.ndarray]:
    """Return the model of pixels ``(pixel, time, output)``, the first outputs the targets.

    With the length of its fast kernel, the outputs' scales, in which it is, and what the targets'
    deviations are multiplied by.
    """
    _, dates, outputs = samples.shape
    some = np.flatnonzero(np.isfinite(samples[..., :targets]).any(axis=(1, 2)))
    keep = int(max(COVARIANCE_WORK / (dates * outputs) ** 2, FEWEST_PIXELS))
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(some)[:keep])
    values, scale = _standardise(samples[some].astype(np.float64))
    covariance, weight = _covariances(values)
    width = min(rank, outputs)
    alone = not np.isfinite(samples[..., targets:]).any()
    pixels = _hidden_pixels(values, rng)
    hide = _hide(pixels, targets, times)
    hidden = [_blocks(pixel, hide, targets) for pixel in pixels]

    @cache
    def fitted(length: float, fold: int | None) -> tuple[np.ndarray, np.ndarray]:
        shown = weight if fold is None else _without(weight, fold, dates, targets)
        return _fit(covariance, shown, kernels(times, length))

    def model(length: float, share: float, fold: int | None = None) -> Coregionalization:
        mix, noise = fitted(length, fold)
        floored = np.maximum(share * noise, FLOOR)
        return _reduce(mix, floored, kernels(times, length), width, alone)

    @cache
    def trial(length: float, share: float) -> Skill:
        return _join(_skill(model(length, share, fold), hidden, fold) for fold in range(FOLDS))

    length = LENGTHS[_choose([trial(length, 1.0) for length in LENGTHS])]
    trials = [trial(length, share) for share in SHARES]
    best = _choose(trials)
    ratio = trials[best].error ** 2 / trials[best].variance
    found = model(length, SHARES[best])
    inflate = _unknown(values[..., :targets], found)
    for b in np.unique(trials[best].band):
        inflate[b] = _inflation(ratio[trials[best].band == b])
    return found, length, scale, inflate


def _unknown(values: np.ndarray, model: Coregionalization) -> np.ndarray:
    """Return what makes deviations as wide as the scene: where no hidden date tells how wide."""
    load = model.loading
    variance = np.einsum("pr,crs,ps->p", load, model.mix[1:], load) + model.noise
    wide = np.ones(values.shape[2])
    for b in range(len(wide)):
        seen = values[..., b][np.isfinite(values[..., b])]
        if seen.size:
            wide[b] = np.quantile(np.abs(seen - np.median(seen)), COVER) / Z90
    return np.asarray(wide / np.sqrt(variance[: len(wide)]))


def _choose(trials: list[Skill]) -> int:
    """Return the last, the smoothest, whose error is within one standard error of the lowest.

    The rule is Breiman's (Classification and Regression Trees, 1984): the smoothest of what cannot
    be told apart. The dates are the sample, pixels of a date are wrong together; errors are not
    squared, so that a date of unscreened haze, which no kernel foresees, has no casting vote.
    """
    scores, doubts = [], []
    for skill in trials:
        dates = np.unique(skill.date)
        each = np.array([np.abs(skill.error[skill.date == t]).mean() for t in dates])
        scores.append(each.mean() if each.size else 0.0)
        doubts.append(each.std() / np.sqrt(max(each.size - 1, 1)) if each.size else 0.0)
    least = int(np.argmin(scores))
    good = [k for k, score in enumerate(scores) if score <= scores[least] + doubts[least]]
    return good[-1]


def _inflation(ratio: np.ndarray) -> float:
    """Return the factor on deviations that gives a share of the errors its normal quantile."""
    return float(np.sqrt(np.quantile(ratio, SHARE)) / QUANTILE)


def _standardise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values about the scene's mean in robust deviations in time, and these deviations.

    Values far from their own pixel's mean are clipped; the pixels' means are not.
    """
    valid = np.isfinite(values)
    number = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    mean = np.where(valid, values, 0).sum(axis=1, keepdims=True) / number
    centred = values - mean
    scale = np.ones(values.shape[2])
    level = np.zeros(values.shape[2])
    for p in range(len(scale)):
        size = np.abs(centred[..., p][valid[..., p]])
        if size.any():
            middle = MAD * np.median(size)
            scale[p] = middle if middle > 0 else np.sqrt((size**2).mean())
        if size.size:
            level[p] = values[..., p][valid[..., p]].mean()
    return np.clip(centred / scale, -CLIP, CLIP) + (mean - level) / scale, scale


def _covariances(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean products and their share of pixels, each ``(time * time, output * output)``."""
    count, dates, outputs = values.shape
    valid = np.isfinite(values)
    flat = np.where(valid, values, 0).reshape(count, dates * outputs)
    ones = valid.reshape(count, dates * outputs).astype(np.float64)
    number = ones.T @ ones
    mean = (flat.T @ flat) / np.maximum(number, 1)
    shape = (dates, outputs, dates, outputs)
    order = (0, 2, 1, 3)
    mean, share = (
        a.reshape(shape).transpose(order).reshape(dates**2, outputs**2)
        for a in (mean, number / max(count, 1))
    )
    return mean, share


def _fit(
    covariance: np.ndarray, weight: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``B_c`` ``(kernel, output, output)`` and noise, by accelerated projected gradient.

    The constant kernel takes up how the pixels' means differ. It is not returned: prediction takes
    a pixel's mean from the pixel alone.
    """
    dates, outputs = basis.shape[1], int(np.sqrt(covariance.shape[1]))
    design = np.concatenate([basis, np.eye(dates)[None]]).reshape(len(basis) + 1, -1)
    pairs = (design[:, None] * design).reshape(-1, dates**2)
    shape = (len(design), outputs, outputs)
    gram = (pairs @ weight).reshape(len(design), len(design), outputs, outputs)
    goal = (design @ (weight * covariance)).reshape(shape)
    largest = np.linalg.eigvalsh(gram.transpose(2, 3, 0, 1)).max()
    step = 1 / largest if largest > 0 else 0.0
    now = ahead = np.zeros(shape)
    pace = 1.0
    for _ in range(STEPS):
        last = ahead
        new = ahead - step * (np.einsum("cdpq,dpq->cpq", gram, ahead) - goal)
        new[:-1] = _positive(new[:-1])
        new[-1] = np.diag(np.maximum(np.diag(new[-1]), 0))
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        change = new - now
        ahead = new + (pace - 1) / faster * change
        # Momentum that runs uphill is stopped (O'Donoghue and Candes 2015).
        uphill = ((last - new) * change).sum() > 0
        now, pace = new, 1.0 if uphill else faster
        if np.abs(change).max() <= CONVERGED * np.abs(new).max():
            break
    signal = np.einsum("cpp->p", now[1:-1])
    noise = np.diag(now[-1])
    total = signal + noise
    return now[1:-1], np.maximum(noise, np.where(total > 0, FLOOR * total, 1.0))


def _positive(matrices: np.ndarray) -> np.ndarray:
    """Return the nearest positive semidefinite matrices."""
    size, axes = np.linalg.eigh((matrices + np.swapaxes(matrices, -1, -2)) / 2)
    return np.asarray((axes * np.maximum(size, 0)[..., None, :]) @ np.swapaxes(axes, -1, -2))


def _reduce(
    mix: np.ndarray, noise: np.ndarray, basis: np.ndarray, width: int, decouple: bool
) -> Coregionalization:
    """Return ``width`` factors, the main axes of the signal where the noise is one in all outputs.

    There the outputs of a date that is seen whole tell of each factor apart. Without a guide the
    factors are taken to be independent as well, and each is a problem of its own.
    """
    deviation = np.sqrt(noise)
    whitened = mix / deviation[:, None] / deviation
    size, axes = np.linalg.eigh(whitened.sum(axis=0))
    axes = axes[:, ::-1][:, :width]
    inner = axes.T @ whitened @ axes
    if decouple:
        inner = inner * np.eye(width)
    constant = DIFFUSE * max(float(size[-1]), 1.0) * np.eye(width)
    mixing = np.concatenate([constant[None], inner])
    return Coregionalization(deviation[:, None] * axes, noise, mixing, basis)


def _without(weight: np.ndarray, fold: int, dates: int, targets: int) -> np.ndarray:
    """Return the weights with the targets of the fold's dates left out."""
    outputs = int(np.sqrt(weight.shape[1]))
    shown = np.ones((dates, outputs))
    shown[fold::FOLDS, :targets] = 0
    both = shown[:, None, :, None] * shown[None, :, None, :]
    return np.asarray(weight * both.reshape(weight.shape))


def _hidden_pixels(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels on which kernels are compared."""
    work = float(np.isfinite(values).sum(axis=(1, 2)).max(initial=1)) ** 3
    count = int(np.clip(HIDING_WORK / work, FEWEST_HIDDEN, HIDDEN_PIXELS))
    return np.asarray(values[rng.permutation(len(values))[:count]])


def _hide(pixels: np.ndarray, targets: int, times: np.ndarray) -> np.ndarray:
    """Return ``(time, time)``: which dates to hide with a date, so that gaps are as real ones."""
    seen = np.isfinite(pixels[..., :targets]).any(axis=2)
    gap = np.abs(times[:, None] - times)
    nearest = np.where(seen[:, None, :], gap, np.inf).min(axis=2, initial=np.inf)
    holes = nearest[~seen & np.isfinite(nearest)]
    reach = np.median(holes) if holes.size else 0.0
    return np.asarray((gap < reach) | np.eye(len(times), dtype=bool))


@dataclass(frozen=True)
class Blocks:
    """What is hidden of a pixel, block by block, those of one size and fold together.

    Parameters
    ----------
    cells
        Numbers of the pixel's values among all ``(time, output)``.
    values
        These values.
    folds
        By fold: blocks ``(block, size)``, places in ``cells``; which of them are of the date that
        is looked at; dates; bands.
    """

    cells: np.ndarray
    values: np.ndarray
    folds: list[list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]]


def _blocks(pixel: np.ndarray, hide: np.ndarray, targets: int) -> Blocks:
    """Return the targets of each date together with those that are hidden with it."""
    outputs = pixel.shape[1]
    cells = np.flatnonzero(np.isfinite(pixel))
    date, band = np.divmod(cells, outputs)
    own = band < targets
    found: list[dict[int, list[tuple[np.ndarray, int]]]] = [{} for _ in range(FOLDS)]
    for t in np.unique(date[own]):
        block = np.flatnonzero(hide[t][date] & own)
        if block.size < own.sum():  # without another date the pixel's mean, too, is unknown
            found[t % FOLDS].setdefault(block.size, []).append((block, t))
    folds = []
    for sizes in found:
        parts = []
        for together in sizes.values():
            blocks = np.stack([block for block, _ in together])
            wanted = date[blocks] == np.array([t for _, t in together])[:, None]
            parts.append((blocks, wanted, date[blocks][wanted], band[blocks][wanted]))
        folds.append(parts)
    return Blocks(cells, pixel.ravel()[cells], folds)


def _skill(model: Coregionalization, hidden: list[Blocks], fold: int) -> Skill:
    """Return what the model makes of the targets at a fold's hidden dates."""
    basis, load = model.kernels, model.loading
    total = np.diag(np.tile(model.noise, basis.shape[1]))
    for kernel, mix in zip(basis, model.mix, strict=True):
        total += np.kron(kernel, load @ mix @ load.T)
    none = np.zeros(0, int)
    found = [Skill(np.zeros(0), np.zeros(0), none, none)]
    for pixel in hidden:
        if not pixel.folds[fold]:
            continue
        inverse = inverses(total[np.ix_(pixel.cells, pixel.cells)][None])[0]
        pull = inverse @ pixel.values
        for blocks, wanted, date, band in pixel.folds[fold]:
            # The error of leaving a block out, without solving for what is left.
            spread = np.linalg.inv(inverse[blocks[:, :, None], blocks[:, None]])
            error = (spread @ pull[blocks][..., None])[..., 0]
            variance = np.diagonal(spread, axis1=1, axis2=2)
            found.append(Skill(error[wanted], variance[wanted], date, band))
    return _join(found)


def _join(parts: Iterable[Skill]) -> Skill:
    """Return several as one."""
    found = list(parts)
    return Skill(
        np.concatenate([part.error for part in found]),
        np.concatenate([part.variance for part in found]),
        np.concatenate([part.date for part in found]),
        np.concatenate([part.band for part in found]),
    )
