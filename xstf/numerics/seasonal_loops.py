"""Loops of the seasonal model: a few pixels side by side, dates one after the other.

The pixels of a block lie in the last axis, of which every loop takes whole rows. The columns that
are filtered are the terms of the harmonic regression, which are the same at every pixel, and the
bands, which are relative to the scene's mean season; one gain serves them all.

Two filters run towards each date, one from either end. What they say together is what all other
dates say of it: the leave-one-out prediction, which is also what a missing date needs.

`sweep`, `solve` and `predict`, one after the other, fit the model to the bands
``first`` to ``first + group`` of a block, which miss the same dates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.jit import part

# Pixels side by side: a block's working memory stays in the second cache.
WIDTH = 16


class Model(NamedTuple):
    """The scene's numbers, as the loops take them."""

    terms: np.ndarray  # (time, term) of the regression, the trend last
    season: np.ndarray  # (time, band), the scene's
    sigma: np.ndarray  # (band,) size of the residual, > 0
    moves: np.ndarray  # (time - 1, 4): what takes the state to the next date, `transitions`
    precision: np.ndarray  # (term, term), inverse covariance of the coefficients
    signal: float  # 1 if there is a correlated residual, else 0
    noise: float  # variance of the noise, relative to that residual's


class Work(NamedTuple):
    """Room for the filters; a column is a term or, after those, a band."""

    weights: np.ndarray  # (time, pixel): 0 where missing, less than 1 where not trusted
    back: np.ndarray  # (time, column, 2, pixel), the state from the dates after each
    back_cov: np.ndarray  # (time, 3, pixel), its covariance
    cavity: np.ndarray  # (time, column + 1, pixel): all other dates; the last row is a variance
    state: np.ndarray  # (column, 2, pixel), level and slope
    cov: np.ndarray  # (3, pixel)
    rows: np.ndarray  # (4, pixel): a date's weights
    new: np.ndarray  # (column, pixel): a date's innovations
    marks: np.ndarray  # (3, time): a pixel's scores, their signs, those that there are


class Block(NamedTuple):
    """Pixels side by side: their data and their fit."""

    values: np.ndarray  # (time, band, pixel), less the scene's season, 0 where missing
    seen: np.ndarray  # (time, band, pixel), 1 or 0
    trust: np.ndarray  # (time, pixel)
    pull: np.ndarray  # (pixel,): what the precision of the coefficients is multiplied by
    loo: np.ndarray  # (time, band, pixel), prediction from the other dates
    variance: np.ndarray  # (time, band, pixel), of its error
    lever: np.ndarray  # (time, band, pixel): how the trend changes by the date's residual
    coefs: np.ndarray  # (term, band, pixel)
    factors: np.ndarray  # (band, term, term, pixel), Cholesky's; of a group only its first band's
    likelihood: np.ndarray  # (2, band, pixel): -2 log, of the determinant and the observations
    size: np.ndarray  # (band, pixel) of the residual, relative to the scene's


@part
def sweep(block: Block, first: int, group: int, model: Model, work: Work) -> None:
    """Filter towards each date from either end, join both; sum the normal equations.

    The way back comes first and is kept. One loop serves both ways: what it does is compiled once.
    """
    values, terms, weights = block.values, model.terms, work.weights
    factor, beta, likelihood, pull = block.factors, block.coefs, block.likelihood, block.pull
    state, cov, gain, new = work.state, work.cov, work.rows, work.new
    signal, noise = model.signal, model.noise
    dates, count = terms.shape
    columns = count + group
    for i in range(dates):
        for x in range(WIDTH):
            weights[i, x] = block.trust[i, x] * block.seen[i, first, x]
    for x in range(WIDTH):
        likelihood[0, first, x] = 0.0
    for k in range(count):
        for j in range(k + 1):
            for x in range(WIDTH):
                factor[first, k, j, x] = model.precision[k, j] * pull[x]
    for b in range(first, first + group):
        for x in range(WIDTH):
            likelihood[1, b, x] = 0.0
        for k in range(count):
            for x in range(WIDTH):
                beta[k, b, x] = 0.0
    for way in range(2):
        forth = way == 1
        for c in range(columns):
            for x in range(WIDTH):
                state[c, 0, x] = 0.0
                state[c, 1, x] = 0.0
        for x in range(WIDTH):
            cov[0, x] = 1.0
            cov[1, x] = 0.0
            cov[2, x] = 1.0
        for n in range(dates):
            i = n if forth else dates - 1 - n
            if forth:
                _join(i, columns, signal, work)
            else:
                _keep_back(i, columns, work)
            for k in range(count):
                for x in range(WIDTH):
                    new[k, x] = terms[i, k] - state[k, 0, x]
            for b in range(group):
                for x in range(WIDTH):
                    new[count + b, x] = values[i, first + b, x] - state[count + b, 0, x]
            if forth:
                _normal(i, first, group, model, work, block)
            if n + 1 == dates:
                continue
            step = i if forth else i - 1
            m0, m1 = model.moves[step, 0], model.moves[step, 1]
            m2, m3 = model.moves[step, 2], model.moves[step, 3]
            q0 = 1 - m0 * m0 - m1 * m1
            q1 = -m0 * m2 - m1 * m3
            q2 = 1 - m2 * m2 - m3 * m3
            for x in range(WIDTH):
                weight = weights[i, x]
                share = signal * weight / (signal * weight * cov[0, x] + noise)
                gain[0, x] = share * cov[0, x]
                gain[1, x] = share * cov[1, x]
                c2 = cov[2, x] - gain[1, x] * cov[1, x]
                c1 = cov[1, x] * (1 - gain[0, x])
                c0 = cov[0, x] * (1 - gain[0, x])
                cov[0, x] = m0 * m0 * c0 + 2 * m0 * m1 * c1 + m1 * m1 * c2 + q0
                cov[1, x] = m0 * m2 * c0 + (m0 * m3 + m1 * m2) * c1 + m1 * m3 * c2 + q1
                cov[2, x] = m2 * m2 * c0 + 2 * m2 * m3 * c1 + m3 * m3 * c2 + q2
            for k in range(columns):
                for x in range(WIDTH):
                    level = state[k, 0, x] + gain[0, x] * new[k, x]
                    slope = state[k, 1, x] + gain[1, x] * new[k, x]
                    state[k, 0, x] = m0 * level + m1 * slope
                    state[k, 1, x] = m2 * level + m3 * slope


@part
def _keep_back(i: int, columns: int, work: Work) -> None:
    """Keep what the dates after a date say of it."""
    state, cov, back, back_cov = work.state, work.cov, work.back, work.back_cov
    for c in range(columns):
        for x in range(WIDTH):
            back[i, c, 0, x] = state[c, 0, x]
            back[i, c, 1, x] = state[c, 1, x]
    for k in range(3):
        for x in range(WIDTH):
            back_cov[i, k, x] = cov[k, x]


@part
def _join(i: int, columns: int, signal: float, work: Work) -> None:
    """Write what both states say of a date, (P^-1 + R^-1 - I)^-1 without the inverses."""
    cov, other, rows, cavity = work.cov, work.back_cov, work.rows, work.cavity
    state, back = work.state, work.back
    for x in range(WIDTH):
        p0, p1, p2 = cov[0, x], cov[1, x], cov[2, x]
        r0, r1, r2 = other[i, 0, x], -other[i, 1, x], other[i, 2, x]
        # X = P + R - P R; the joint covariance is R X^-1 P.
        a = p0 + r0 - p0 * r0 - p1 * r1
        b = p1 + r1 - p0 * r1 - p1 * r2
        c = p1 + r1 - p1 * r0 - p2 * r1
        d = p2 + r2 - p1 * r1 - p2 * r2
        scale = 1 / (a * d - b * c)
        rows[0, x] = (r0 * d - r1 * c) * scale
        rows[1, x] = (r1 * a - r0 * b) * scale
        rows[2, x] = (p0 * d - p1 * b) * scale
        rows[3, x] = (p0 * c - p1 * a) * scale  # the slope changes its sign with time
        cavity[i, columns, x] = signal * (rows[0, x] * p0 + rows[1, x] * p1)
    for c in range(columns):
        for x in range(WIDTH):
            cavity[i, c, x] = (
                rows[0, x] * state[c, 0, x]
                + rows[1, x] * state[c, 1, x]
                + rows[2, x] * back[i, c, 0, x]
                + rows[3, x] * back[i, c, 1, x]
            )


@part
def _normal(i: int, first: int, group: int, model: Model, work: Work, block: Block) -> None:
    """Add a date's innovations to the normal equations and to the likelihood."""
    factor, beta, likelihood = block.factors, block.coefs, block.likelihood
    new, share, cov, weights = work.new, work.rows, work.cov, work.weights
    signal, noise, count = model.signal, model.noise, model.terms.shape[1]
    for x in range(WIDTH):
        share[0, x] = weights[i, x] / (signal * weights[i, x] * cov[0, x] + noise)
    for x in range(WIDTH):
        if share[0, x] > 0:
            likelihood[0, first, x] -= np.log(share[0, x])
    for k in range(count):
        for j in range(k + 1):
            for x in range(WIDTH):
                factor[first, k, j, x] += share[0, x] * new[k, x] * new[j, x]
        for b in range(group):
            for x in range(WIDTH):
                beta[k, first + b, x] += share[0, x] * new[k, x] * new[count + b, x]
    for b in range(group):
        for x in range(WIDTH):
            likelihood[1, first + b, x] += share[0, x] * new[count + b, x] ** 2


@part
def solve(block: Block, first: int, group: int, model: Model) -> None:
    """Factor the normal equations in place and solve them; complete the likelihood."""
    factor, beta, likelihood = block.factors, block.coefs, block.likelihood
    count = model.terms.shape[1]
    for k in range(count):
        for j in range(k + 1):
            for m in range(j):
                for x in range(WIDTH):
                    factor[first, k, j, x] -= factor[first, k, m, x] * factor[first, j, m, x]
            for x in range(WIDTH):
                if k == j:
                    factor[first, k, k, x] = np.sqrt(factor[first, k, k, x])
                else:
                    factor[first, k, j, x] /= factor[first, j, j, x]
        for x in range(WIDTH):
            likelihood[0, first, x] += 2 * np.log(factor[first, k, k, x])
        for b in range(first, first + group):
            for m in range(k):
                for x in range(WIDTH):
                    beta[k, b, x] -= factor[first, k, m, x] * beta[m, b, x]
            for x in range(WIDTH):
                beta[k, b, x] /= factor[first, k, k, x]
                likelihood[1, b, x] -= beta[k, b, x] ** 2
    for k in range(count - 1, -1, -1):
        for b in range(first, first + group):
            for m in range(k + 1, count):
                for x in range(WIDTH):
                    beta[k, b, x] -= factor[first, m, k, x] * beta[m, b, x]
            for x in range(WIDTH):
                beta[k, b, x] /= factor[first, k, k, x]


@part
def predict(block: Block, first: int, group: int, model: Model, work: Work) -> None:
    """Predict each date from the others, those coefficients included that it helped to find."""
    terms, noise, cavity, weights = model.terms, model.noise, work.cavity, work.weights
    factor, beta, values, loo = block.factors, block.coefs, block.values, block.loo
    variance, lever, solved, rows = block.variance, block.lever, work.new, work.rows
    dates, count = terms.shape
    for i in range(dates):
        for x in range(WIDTH):
            rows[0, x] = 0.0
        for k in range(count):
            for x in range(WIDTH):
                solved[k, x] = terms[i, k] - cavity[i, k, x]
                cavity[i, k, x] = solved[k, x]
            for m in range(k):
                for x in range(WIDTH):
                    solved[k, x] -= factor[first, k, m, x] * solved[m, x]
            for x in range(WIDTH):
                solved[k, x] /= factor[first, k, k, x]
                rows[0, x] += solved[k, x] ** 2
        for x in range(WIDTH):
            base, total = cavity[i, count + group, x], rows[0, x]
            share = weights[i, x] / (weights[i, x] * base + noise)
            loss = 1 / (1 - share * total)
            rows[1, x] = loss
            rows[2, x] = base + total * loss
            rows[3, x] = solved[count - 1, x] / factor[first, count - 1, count - 1, x] * share
        for b in range(group):
            at = first + b
            for x in range(WIDTH):
                variance[i, at, x] = rows[2, x]
                lever[i, at, x] = rows[3, x]
                loo[i, at, x] = cavity[i, count + b, x]
            for k in range(count):
                for x in range(WIDTH):
                    loo[i, at, x] += cavity[i, k, x] * beta[k, at, x]
            for x in range(WIDTH):
                loo[i, at, x] = values[i, at, x] - (values[i, at, x] - loo[i, at, x]) * rows[1, x]
