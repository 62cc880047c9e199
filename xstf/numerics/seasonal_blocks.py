"""Blocks of the seasonal model: load, fit with robust weights, store.

What `xstf.numerics.seasonal` calls; the fit itself is in `_season_loops`.
"""

from __future__ import annotations

import numpy as np

from xstf.numerics.jit import jit
from xstf.numerics.seasonal_loops import WIDTH, fit, workspace

# Where the weight of an observation ends, in standard deviations (Tukey's bisquare, 95 %
# efficiency), and the ratio of the latter and the median absolute deviation.
BISQUARE, NORMAL = 4.685, 1.4826
# What the scene's spread counts for at a pixel, in observations.
PRIOR = 5.0


@jit
def fill_rows(
    cube: np.ndarray,
    terms: np.ndarray,
    season: np.ndarray,
    sigma: np.ndarray,
    moves: np.ndarray,
    precision: np.ndarray,
    signal: float,
    noise: float,
    passes: int,
    side: float,
    width: np.ndarray,
    drift: np.ndarray,
    smooth: np.ndarray,
    without: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Fill the three results of `seasonal`, block by block."""
    dates, bands, height, size = cube.shape
    block = _block(dates, bands, len(precision))
    for y in range(height):
        for x in range(0, size, WIDTH):
            _load(cube, season, y, x, block)
            block[2][:] = 1
            block[3][:] = 1
            _robust(terms, sigma, moves, precision, signal, noise, passes, side, block)
            _store(cube, terms, season, noise, width, drift, y, x, block, smooth, without, spread)


@jit
def study_pixels(
    cube: np.ndarray,
    terms: np.ndarray,
    season: np.ndarray,
    sigma: np.ndarray,
    moves: np.ndarray,
    precision: np.ndarray,
    signal: float,
    noise: float,
    passes: int,
    side: float,
    beta: np.ndarray,
    factor: np.ndarray,
    likelihood: np.ndarray,
    score: np.ndarray,
    weights: np.ndarray,
    pull: np.ndarray,
) -> None:
    """Fit the pixels of one row and give back what the scene's numbers are learnt from.

    ``weights`` (time, pixel) and ``pull`` (pixel,) are where to start, and become what the passes
    make of them. ``score`` are the leave-one-out residuals in their standard deviations.
    """
    dates, bands, _, size = cube.shape
    block = _block(dates, bands, len(precision))
    for x in range(0, size, WIDTH):
        n = min(WIDTH, size - x)
        _load(cube, season, 0, x, block)
        values, seen, trust, strength, loo, variance, lever, coefs, factors, like = block[:10]
        trust[:] = 1
        strength[:] = 1
        trust[:, :n] = weights[:, x : x + n]
        strength[:n] = pull[x : x + n]
        _robust(terms, sigma, moves, precision, signal, noise, passes, side, block)
        beta[:, :, x : x + n] = coefs[:, :, :n]
        factor[:, :, :, x : x + n] = factors[:, :, :, :n]
        likelihood[:, :, x : x + n] = like[:, :, :n]
        for b in range(bands):
            likelihood[1, b, x : x + n] /= sigma[b] ** 2
        weights[:, x : x + n] = trust[:, :n]
        pull[x : x + n] = strength[:n]
        for i in range(dates):
            for b in range(bands):
                for j in range(n):
                    if seen[i, b, j] > 0:
                        error = values[i, b, j] - loo[i, b, j]
                        total = np.sqrt(variance[i, b, j] + noise) * sigma[b]
                        score[i, b, x + j] = error / total


@jit
def _block(dates: int, bands: int, count: int) -> tuple:
    """Return the arrays that a block's data and results lie in."""
    return (
        np.empty((dates, bands, WIDTH)),  # values
        np.empty((dates, bands, WIDTH)),  # seen: 1 or 0
        np.empty((dates, WIDTH)),  # trust
        np.empty(WIDTH),  # pull
        np.empty((dates, bands, WIDTH)),  # prediction from the other dates
        np.empty((dates, bands, WIDTH)),  # its variance
        np.empty((dates, bands, WIDTH)),  # lever of the trend
        np.empty((count, bands, WIDTH)),  # coefficients
        np.empty((count, count, bands, WIDTH)),  # their factor
        np.empty((2, bands, WIDTH)),  # likelihood
        np.empty((bands, WIDTH)),  # size of the residual, relative to the scene's
    )


@jit
def _load(cube: np.ndarray, season: np.ndarray, y: int, x: int, block: tuple) -> None:
    """Take a block's observations, less the scene's season; beyond the row there are none."""
    values, seen = block[0], block[1]
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
def _robust(
    terms: np.ndarray,
    sigma: np.ndarray,
    moves: np.ndarray,
    precision: np.ndarray,
    signal: float,
    noise: float,
    passes: int,
    side: float,
    block: tuple,
) -> None:
    """Fit a block, and again with the weights that its residuals ask for.

    Bands that are missing in the same places are fitted together, else each by itself.
    """
    values, seen, trust, pull, loo, variance, lever, coefs, factors, like, size = block
    dates, bands = values.shape[:2]
    count = terms.shape[1]
    group = bands if _alike(seen) else 1
    part = np.empty((dates, group, WIDTH))
    weights = np.empty((dates, WIDTH))
    work = workspace(dates, count, group)
    solution = (
        np.empty((count, count, WIDTH)),
        np.empty((count, group, WIDTH)),
        np.empty((1 + group, WIDTH)),
    )
    found = np.empty((dates, group, WIDTH)), np.empty((dates, WIDTH)), np.empty((dates, WIDTH))
    for p in range(passes + 1):
        for first in range(0, bands, group):
            part[:] = values[:, first : first + group]
            weights[:] = trust * seen[:, first]
            fit(part, weights, terms, moves, precision, pull, signal, noise, work, solution, found)
            for b in range(group):
                loo[:, first + b] = found[0][:, b]
                variance[:, first + b] = found[1]
                lever[:, first + b] = found[2]
                coefs[:, first + b] = solution[1][:, b]
                factors[:, :, first + b] = solution[0]
                like[0, first + b] = solution[2][0]
                like[1, first + b] = solution[2][1 + b]
        if p < passes:
            _reweigh(values, seen, loo, variance, sigma, noise, side, trust, pull)
    _sizes(values, seen, loo, variance, sigma, noise, trust, size)


@jit
def _reweigh(
    values: np.ndarray,
    seen: np.ndarray,
    loo: np.ndarray,
    variance: np.ndarray,
    sigma: np.ndarray,
    noise: float,
    side: float,
    trust: np.ndarray,
    pull: np.ndarray,
) -> None:
    """Weigh each observation by its leave-one-out residual, joint over the bands."""
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
        centre = NORMAL * np.median(sizes[:n])
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
def _sizes(
    values: np.ndarray,
    seen: np.ndarray,
    loo: np.ndarray,
    variance: np.ndarray,
    sigma: np.ndarray,
    noise: float,
    trust: np.ndarray,
    size: np.ndarray,
) -> None:
    """Find how large the residuals of each band are, relative to what the scene's would be."""
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
            size[b, x] = np.sqrt(total[x] / mass[x])


@jit
def _store(
    cube: np.ndarray,
    terms: np.ndarray,
    season: np.ndarray,
    noise: float,
    width: np.ndarray,
    drift: np.ndarray,
    y: int,
    x: int,
    block: tuple,
    smooth: np.ndarray,
    without: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Write a block's results: the trend held at either end, constant pixels as they are."""
    values, seen, trust, pull, loo, variance, lever, coefs, factors, like, size = block
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
