"""Blocks of the seasonal model: load, fit with robust weights, store.

What `xstf.numerics.seasonal` calls; the fit itself is in `xstf.numerics.seasonal_loops`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.jit import jit, middle, part
from xstf.numerics.normal import BISQUARE, MAD
from xstf.numerics.seasonal_loops import (
    WIDTH,
    Block,
    Model,
    Work,
    predict,
    solve,
    sweep,
)

# What the scene's spread counts for at a pixel, in observations.
PRIOR = 5.0


class Trust(NamedTuple):
    """Robust weights of pixels."""

    weights: np.ndarray  # (time, pixel), of their observations
    pull: np.ndarray  # (pixel,), of the scene against them


class Fits(NamedTuple):
    """Fits of sampled pixels, from which the scene's numbers are learnt."""

    beta: np.ndarray  # (term, band, pixel)
    factor: np.ndarray  # (term, term, band, pixel), Cholesky's
    likelihood: np.ndarray  # (2, band, pixel): -2 log of the determinant's, the observations' part
    score: np.ndarray  # (time, band, pixel): leave-one-out residuals in standard deviations
    number: np.ndarray  # (band, pixel), observations
    trust: Trust


class Predictions(NamedTuple):
    """The results of `seasonal`, ``(time, band, y, x)`` float32."""

    smooth: np.ndarray
    without: np.ndarray
    spread: np.ndarray


class Robust(NamedTuple):
    """How outliers are weighed."""

    passes: int
    side: float  # 0 none, -1 those below the prediction, 1 those above it, 2 both


class Spread(NamedTuple):
    """What the scene knows of a new observation, ``(band,)``."""

    width: np.ndarray  # of the residual
    drift: np.ndarray  # of the season's trend


def fill_rows(
    cube: np.ndarray,
    model: Model,
    passes: int,
    side: float,
    width: np.ndarray,
    drift: np.ndarray,
    out: Predictions,
) -> None:
    """Fill the three results of `seasonal`, block by block."""
    nothing = Fits(
        beta=np.empty((0, 0, 0)),
        factor=np.empty((0, 0, 0, 0)),
        likelihood=np.empty((0, 0, 0)),
        score=np.empty((0, 0, 0)),
        number=np.empty((0, 0), np.int64),
        trust=Trust(np.empty((0, 0)), np.empty(0)),
    )
    room = _room(cube.shape[0], cube.shape[1], model.terms.shape[1])
    _run(cube, model, Robust(passes, side), nothing, Spread(width, drift), out, *room)


def study_pixels(cube: np.ndarray, model: Model, passes: int, side: float, fits: Fits) -> None:
    """Fit the pixels of one row and give back what the scene's numbers are learnt from.

    ``fits.trust`` is where to start, and becomes what the passes make of it.
    """
    nothing = Predictions(*(np.empty((0, 0, 0, 0), np.float32) for _ in Predictions._fields))
    spread = Spread(np.empty(0), np.empty(0))
    room = _room(cube.shape[0], cube.shape[1], model.terms.shape[1])
    _run(cube, model, Robust(passes, side), fits, spread, nothing, *room)


def _room(dates: int, bands: int, count: int) -> tuple[Block, Work]:
    """Return the arrays of a block; ``count`` are the terms."""
    block = Block(
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, WIDTH)),
        np.empty(WIDTH),
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, bands, WIDTH)),
        np.empty((count, bands, WIDTH)),
        np.empty((bands, count, count, WIDTH)),
        np.empty((2, bands, WIDTH)),
        np.empty((bands, WIDTH)),
    )
    work = Work(
        np.empty((dates, WIDTH)),
        np.empty((dates, count + bands, 2, WIDTH)),
        np.empty((dates, 3, WIDTH)),
        np.empty((dates, count + bands + 1, WIDTH)),
        np.empty((count + bands, 2, WIDTH)),
        np.empty((3, WIDTH)),
        np.empty((4, WIDTH)),
        np.empty((count + bands, WIDTH)),
        np.empty((3, dates)),
    )
    return block, work


@jit
def _run(
    cube: np.ndarray, model: Model, robust: Robust, fits: Fits, scene: Spread, out: Predictions,
    block: Block, work: Work,
) -> None:  # fmt: skip
    """Fit all pixels, block by block; keep the fits or the predictions, whichever have room.

    Bands that are missing in the same places are fitted together, else each by itself. One loop
    serves both tasks: what it calls is compiled anew in each caller.
    """
    _, bands, height, size = cube.shape
    for y in range(height):
        for x in range(0, size, WIDTH):
            alike = _load(cube, model.season, y, x, fits.trust, block)
            group = bands if alike else 1
            for again in range(robust.passes + 1):
                for first in range(0, bands, group):
                    sweep(block, first, group, model, work)
                    solve(block, first, group, model)
                    predict(block, first, group, model, work)
                if again < robust.passes:
                    _reweigh(block, model, robust.side, work.marks)
            if out.smooth.size > 0:
                _sizes(block, model)
                _store(cube, model, scene, y, x, block, out)
            else:
                _keep(x, alike, model, block, fits)


@part
def _load(cube: np.ndarray, season: np.ndarray, y: int, x: int, trust: Trust, block: Block) -> bool:
    """Take a block's observations, less the scene's season; beyond the row there are none.

    Returns whether all bands are missing in the same places.
    """
    values, seen = block.values, block.seen
    dates, bands, _, size = cube.shape
    alike = True
    for i in range(dates):
        for j in range(WIDTH):
            there = x + j < size
            block.trust[i, j] = trust.weights[i, x + j] if there and trust.pull.size > 0 else 1.0
            for b in range(bands):
                value = cube[i, b, y, x + j] if there else np.float32(np.nan)
                some = np.isfinite(value)
                values[i, b, j] = value - season[i, b] if some else 0.0
                seen[i, b, j] = 1.0 if some else 0.0
                alike = alike and seen[i, b, j] == seen[i, 0, j]
    for j in range(WIDTH):
        block.pull[j] = trust.pull[x + j] if x + j < trust.pull.size else 1.0
    return alike


@part
def _keep(x: int, alike: bool, model: Model, block: Block, fits: Fits) -> None:
    """Write a block's fits."""
    coefs, factors, likelihood = block.coefs, block.factors, block.likelihood
    weights, pull = fits.trust
    dates, bands, size = fits.score.shape
    count = coefs.shape[0]
    for j in range(min(WIDTH, size - x)):
        pull[x + j] = block.pull[j]
        for i in range(dates):
            weights[i, x + j] = block.trust[i, j]
        for b in range(bands):
            own = 0 if alike else b
            fits.likelihood[0, b, x + j] = likelihood[0, own, j]
            fits.likelihood[1, b, x + j] = likelihood[1, b, j] / model.sigma[b] ** 2
            for k in range(count):
                fits.beta[k, b, x + j] = coefs[k, b, j]
                for m in range(k + 1):
                    fits.factor[k, m, b, x + j] = factors[own, k, m, j]
            for i in range(dates):
                if block.seen[i, b, j] > 0:
                    error = block.values[i, b, j] - block.loo[i, b, j]
                    total = np.sqrt(block.variance[i, b, j] + model.noise) * model.sigma[b]
                    fits.score[i, b, x + j] = error / total


@part
def _reweigh(block: Block, model: Model, side: float, marks: np.ndarray) -> None:
    """Weigh each observation by its leave-one-out residual, joint over the bands."""
    values, seen, loo, variance = block.values, block.seen, block.loo, block.variance
    trust, pull, sigma, noise = block.trust, block.pull, model.sigma, model.noise
    dates, bands, _ = values.shape
    score, sign, sizes = marks[0], marks[1], marks[2]
    for x in range(WIDTH):
        n = 0
        for i in range(dates):
            total, mean, number = 0.0, 0.0, 0.0
            for b in range(bands):
                z = (values[i, b, x] - loo[i, b, x]) * seen[i, b, x] / sigma[b]
                z /= np.sqrt(variance[i, b, x] + noise)
                total += z * z
                mean += z
                number += seen[i, b, x]
            score[i] = np.sqrt(total / number) if number > 0 else -1.0
            sign[i] = mean
            if number > 0:
                sizes[n] = score[i]
                n += 1
        if n == 0:
            continue
        centre = MAD * middle(sizes[:n])
        scale = np.sqrt((n * centre**2 + PRIOR) / (n + PRIOR))
        total, mass = PRIOR, PRIOR
        for i in range(dates):
            trust[i, x] = 1
            if side == 2 or side * sign[i] > 0:
                u = score[i] / (BISQUARE * scale)
                trust[i, x] = (1 - u * u) ** 2 if u < 1 else 0
            if score[i] >= 0:
                total += trust[i, x] * score[i] ** 2
                mass += trust[i, x]
        pull[x] = total / mass


@part
def _sizes(block: Block, model: Model) -> None:
    """Find how large the residuals of each band are, relative to what the scene's would be."""
    values, seen, loo, variance = block.values, block.seen, block.loo, block.variance
    trust, size, sigma, noise = block.trust, block.size, model.sigma, model.noise
    dates, bands, _ = values.shape
    for b in range(bands):
        for x in range(WIDTH):
            total, mass = PRIOR, PRIOR
            for i in range(dates):
                weight = trust[i, x] * seen[i, b, x]
                error = (values[i, b, x] - loo[i, b, x]) / sigma[b]
                total += weight * error * error / (variance[i, b, x] + noise)
                mass += weight
            size[b, x] = np.sqrt(total / mass)


@part
def _store(
    cube: np.ndarray, model: Model, scene: Spread, y: int, x: int, block: Block, out: Predictions
) -> None:
    """Write a block's results: the trend held at either end, constant pixels as they are."""
    values, seen, trust, loo = block.values, block.seen, block.trust, block.loo
    variance, lever, coefs, size = block.variance, block.lever, block.coefs, block.size
    terms, season, noise = model.terms, model.season, model.noise
    smooth, without, spread = out.smooth, out.without, out.spread
    width, drift = scene.width, scene.drift
    dates, bands, _ = values.shape
    last_term = terms.shape[1] - 1
    nothing = np.float32(np.nan)
    for b in range(bands):
        for j in range(min(WIDTH, cube.shape[3] - x)):
            n, used, first, second, final, before = 0, 0, 0, 0, 0, 0
            low, high = np.float32(np.inf), np.float32(-np.inf)
            for i in range(dates):
                if seen[i, b, j] > 0:
                    n += 1
                    low = min(low, cube[i, b, y, x + j])
                    high = max(high, cube[i, b, y, x + j])
                    if trust[i, j] > 0:
                        if used == 0:
                            first = i
                        if used == 1:
                            second = i
                        used += 1
                        before, final = final, i
            if used < 2:
                second, before = first, final
            constant = n > 1 and low == high
            for i in range(dates):
                v = variance[i, b, j]
                error = values[i, b, j] - loo[i, b, j]
                weight = trust[i, j] * seen[i, b, j]
                # Only at a date that is missing or left out does it matter where the ends are.
                left_out = weight > 0
                start = terms[second if left_out and i == first else first, last_term]
                stop = terms[before if left_out and i == final else final, last_term]
                here = terms[i, last_term]
                shift = min(max(here, start), stop) - here
                if last_term == 0:
                    shift = 0.0
                slope = coefs[last_term, b, j]
                alone = shift * (drift[b] + slope - lever[i, b, j] * error)
                value = season[i, b] + loo[i, b, j]
                gain = weight * v / (weight * v + noise)
                fit = np.float32(value + (gain * error if weight > 0 else alone))
                rest = np.float32(value + alone)
                doubt = np.float32(width[b] * size[b, j] * np.sqrt(v + noise))
                smooth[i, b, y, x + j] = nothing if n == 0 else (low if constant else fit)
                without[i, b, y, x + j] = nothing if n == 0 else (low if constant else rest)
                spread[i, b, y, x + j] = nothing if n == 0 else doubt
