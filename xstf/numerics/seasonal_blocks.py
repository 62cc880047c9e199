"""Blocks of the seasonal model: load, fit with robust weights, store.

What `xstf.numerics.seasonal` calls; the fit itself is in `xstf.numerics.seasonal_loops`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.jit import jit
from xstf.numerics.normal import BISQUARE, MAD
from xstf.numerics.seasonal_loops import WIDTH, LeaveOneOut, Model, Solution, fit, workspace

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


class Block(NamedTuple):
    """Pixels side by side: their data and their fit."""

    values: np.ndarray  # (time, band, pixel), less the scene's season, 0 where missing
    seen: np.ndarray  # (time, band, pixel), 1 or 0
    trust: np.ndarray  # (time, pixel)
    pull: np.ndarray  # (pixel,)
    loo: np.ndarray  # (time, band, pixel), prediction from the other dates
    variance: np.ndarray  # (time, band, pixel), of it
    lever: np.ndarray  # (time, band, pixel), of the trend
    coefs: np.ndarray  # (term, band, pixel)
    factors: np.ndarray  # (term, term, band, pixel), Cholesky's
    likelihood: np.ndarray  # (2, band, pixel)
    size: np.ndarray  # (band, pixel) of the residual, relative to the scene's


@jit
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
    dates, bands, height, size = cube.shape
    block = _block(dates, bands, len(model.precision))
    for y in range(height):
        for x in range(0, size, WIDTH):
            _load(cube, model.season, y, x, block)
            block.trust[:] = 1
            block.pull[:] = 1
            _robust(model, passes, side, block)
            _store(cube, model, width, drift, y, x, block, out)


@jit
def study_pixels(cube: np.ndarray, model: Model, passes: int, side: float, fits: Fits) -> None:
    """Fit the pixels of one row and give back what the scene's numbers are learnt from.

    ``fits.trust`` is where to start, and becomes what the passes make of it.
    """
    dates, bands, _, size = cube.shape
    block = _block(dates, bands, len(model.precision))
    weights, pull, score = fits.trust.weights, fits.trust.pull, fits.score
    for x in range(0, size, WIDTH):
        n = min(WIDTH, size - x)
        _load(cube, model.season, 0, x, block)
        block.trust[:] = 1
        block.pull[:] = 1
        block.trust[:, :n] = weights[:, x : x + n]
        block.pull[:n] = pull[x : x + n]
        _robust(model, passes, side, block)
        fits.beta[:, :, x : x + n] = block.coefs[:, :, :n]
        fits.factor[:, :, :, x : x + n] = block.factors[:, :, :, :n]
        fits.likelihood[:, :, x : x + n] = block.likelihood[:, :, :n]
        for b in range(bands):
            fits.likelihood[1, b, x : x + n] /= model.sigma[b] ** 2
        weights[:, x : x + n] = block.trust[:, :n]
        pull[x : x + n] = block.pull[:n]
        for i in range(dates):
            for b in range(bands):
                for j in range(n):
                    if block.seen[i, b, j] > 0:
                        error = block.values[i, b, j] - block.loo[i, b, j]
                        total = np.sqrt(block.variance[i, b, j] + model.noise) * model.sigma[b]
                        score[i, b, x + j] = error / total


@jit
def _block(dates: int, bands: int, count: int) -> Block:
    """Return the arrays of a block."""
    return Block(
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, WIDTH)),
        np.empty(WIDTH),
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, bands, WIDTH)),
        np.empty((dates, bands, WIDTH)),
        np.empty((count, bands, WIDTH)),
        np.empty((count, count, bands, WIDTH)),
        np.empty((2, bands, WIDTH)),
        np.empty((bands, WIDTH)),
    )


@jit
def _load(cube: np.ndarray, season: np.ndarray, y: int, x: int, block: Block) -> None:
    """Take a block's observations, less the scene's season; beyond the row there are none."""
    values, seen = block.values, block.seen
    n = min(WIDTH, cube.shape[3] - x)
    values[:] = 0
    seen[:] = 0
    for i in range(cube.shape[0]):
        for b in range(cube.shape[1]):
            for j in range(n):
                value = cube[i, b, y, x + j]
                if np.isfinite(value):
                    values[i, b, j] = value - season[i, b]
                    seen[i, b, j] = 1


@jit
def _alike(seen: np.ndarray) -> bool:
    """Return whether all bands are missing in the same places."""
    for i in range(seen.shape[0]):
        for b in range(1, seen.shape[1]):
            for x in range(WIDTH):
                if seen[i, b, x] != seen[i, 0, x]:
                    return False
    return True


@jit
def _robust(model: Model, passes: int, side: float, block: Block) -> None:
    """Fit a block, and again with the weights that its residuals ask for.

    Bands that are missing in the same places are fitted together, else each by itself.
    """
    dates, bands = block.values.shape[:2]
    count = model.terms.shape[1]
    group = bands if _alike(block.seen) else 1
    part = np.empty((dates, group, WIDTH))
    weights = np.empty((dates, WIDTH))
    work = workspace(dates, count, group)
    solution = Solution(
        np.empty((count, count, WIDTH)),
        np.empty((count, group, WIDTH)),
        np.empty((1 + group, WIDTH)),
    )
    found = LeaveOneOut(
        np.empty((dates, group, WIDTH)), np.empty((dates, WIDTH)), np.empty((dates, WIDTH))
    )
    for p in range(passes + 1):
        for first in range(0, bands, group):
            part[:] = block.values[:, first : first + group]
            weights[:] = block.trust * block.seen[:, first]
            fit(part, weights, block.pull, model, work, solution, found)
            for b in range(group):
                block.loo[:, first + b] = found.mean[:, b]
                block.variance[:, first + b] = found.variance
                block.lever[:, first + b] = found.lever
                block.coefs[:, first + b] = solution.beta[:, b]
                block.factors[:, :, first + b] = solution.factor
                block.likelihood[0, first + b] = solution.likelihood[0]
                block.likelihood[1, first + b] = solution.likelihood[1 + b]
        if p < passes:
            _reweigh(block, model, side)
    _sizes(block, model)


@jit
def _reweigh(block: Block, model: Model, side: float) -> None:
    """Weigh each observation by its leave-one-out residual, joint over the bands."""
    values, seen, loo, variance = block.values, block.seen, block.loo, block.variance
    trust, pull, sigma, noise = block.trust, block.pull, model.sigma, model.noise
    dates, bands = values.shape[:2]
    score, sign, sizes = np.empty(dates), np.empty(dates), np.empty(dates)
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
        centre = MAD * np.median(sizes[:n])
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


@jit
def _sizes(block: Block, model: Model) -> None:
    """Find how large the residuals of each band are, relative to what the scene's would be."""
    values, seen, loo, variance = block.values, block.seen, block.loo, block.variance
    trust, sigma, noise = block.trust, model.sigma, model.noise
    dates, bands = values.shape[:2]
    total, mass = np.empty(WIDTH), np.empty(WIDTH)
    for b in range(bands):
        total[:] = PRIOR
        mass[:] = PRIOR
        for i in range(dates):
            for x in range(WIDTH):
                weight = trust[i, x] * seen[i, b, x]
                error = (values[i, b, x] - loo[i, b, x]) / sigma[b]
                total[x] += weight * error * error / (variance[i, b, x] + noise)
                mass[x] += weight
        for x in range(WIDTH):
            block.size[b, x] = np.sqrt(total[x] / mass[x])


@jit
def _store(
    cube: np.ndarray,
    model: Model,
    width: np.ndarray,
    drift: np.ndarray,
    y: int,
    x: int,
    block: Block,
    out: Predictions,
) -> None:
    """Write a block's results: the trend held at either end, constant pixels as they are."""
    values, seen, trust, loo = block.values, block.seen, block.trust, block.loo
    variance, lever, coefs, size = block.variance, block.lever, block.coefs, block.size
    terms, season, noise = model.terms, model.season, model.noise
    smooth, without, spread = out.smooth, out.without, out.spread
    dates, bands = values.shape[:2]
    last_term = terms.shape[1] - 1
    for b in range(bands):
        for j in range(min(WIDTH, cube.shape[3] - x)):
            n, used, first, second, final, before = 0, 0, 0, 0, 0, 0
            low, high = np.inf, -np.inf
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
            if n == 0:
                smooth[:, b, y, x + j] = np.nan
                without[:, b, y, x + j] = np.nan
                spread[:, b, y, x + j] = np.nan
                continue
            if used < 2:
                second, before = first, final
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
                smooth[i, b, y, x + j] = value + (gain * error if weight > 0 else alone)
                without[i, b, y, x + j] = value + alone
                spread[i, b, y, x + j] = width[b] * size[b, j] * np.sqrt(v + noise)
            if n > 1 and low == high:
                smooth[:, b, y, x + j] = low
                without[:, b, y, x + j] = low
