"""Loops of the seasonal model: a few pixels side by side, dates one after the other.

The pixels of a block lie in the last axis, of which every loop takes whole rows. The columns that
are filtered are the terms of the harmonic regression, which are the same at every pixel, and the
bands, which are relative to the scene's mean season; one gain serves them all.

Two filters run towards each date, one from either end. What they say together is what all other
dates say of it: the leave-one-out prediction, which is also what a missing date needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.jit import jit

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
    """Room for `fit`."""

    back: np.ndarray  # (time, column, 2, pixel), the state from the dates after each
    back_cov: np.ndarray  # (time, 3, pixel), its covariance
    cavity: np.ndarray  # (time, column + 1, pixel): all other dates; the last row is a variance
    state: np.ndarray  # (column, 2, pixel), level and slope
    cov: np.ndarray  # (3, pixel)
    rows: np.ndarray  # (column + 8, pixel)


class Solution(NamedTuple):
    """The coefficients of a block of pixels, and how likely the model is."""

    factor: np.ndarray  # (term, term, pixel), Cholesky's
    beta: np.ndarray  # (term, band, pixel)
    likelihood: np.ndarray  # (1 + band, pixel): -2 log of the determinant's and the bands' parts


class LeaveOneOut(NamedTuple):
    """What all other dates say of each date."""

    mean: np.ndarray  # (time, band, pixel), the prediction
    variance: np.ndarray  # (time, pixel), of its error
    lever: np.ndarray  # (time, pixel): how the trend's coefficient changes by the date's residual


@jit
def fit(
    values: np.ndarray,
    weights: np.ndarray,
    pull: np.ndarray,
    model: Model,
    work: Work,
    solution: Solution,
    loo: LeaveOneOut,
) -> None:
    """Fit the model to a block of pixels and predict each date from the other ones.

    Parameters
    ----------
    values : ndarray (time, band, pixel)
        Observations less the scene's season, 0 where missing.
    weights : ndarray (time, pixel)
        0 where missing, less than 1 where not trusted.
    pull : ndarray (pixel,)
        What to multiply the coefficients' precision by.
    model : Model
        The scene's numbers.
    work : Work
        From `workspace`.
    solution, loo
        Take the results.
    """
    factor, beta = solution.factor, solution.beta
    _backward(values, weights, model, work)
    for k in range(len(model.terms[0])):
        for j in range(k + 1):
            for x in range(WIDTH):
                factor[k, j, x] = model.precision[k, j] * pull[x]
        beta[k] = 0
    solution.likelihood[:] = 0
    _forward(values, weights, model, work, solution)
    _solve(factor, beta, solution.likelihood)
    _predict(values, weights, model, work, solution, loo)


@jit
def workspace(dates: int, terms: int, bands: int) -> Work:
    """Return the arrays that `fit` works in."""
    columns = terms + bands
    return Work(
        np.empty((dates, columns, 2, WIDTH)),
        np.empty((dates, 3, WIDTH)),
        np.empty((dates, columns + 1, WIDTH)),
        np.empty((columns, 2, WIDTH)),
        np.empty((3, WIDTH)),
        np.empty((columns + 8, WIDTH)),
    )


@jit
def _start(state: np.ndarray, cov: np.ndarray) -> None:
    """Set the state to what is known before the first date."""
    state[:] = 0
    cov[0] = 1
    cov[1] = 0
    cov[2] = 1


@jit
def _update(value: np.ndarray, state: np.ndarray, gain: np.ndarray) -> None:
    """Take a row of observations into the state of its column."""
    for x in range(WIDTH):
        step = value[x] - state[0, x]
        state[0, x] += gain[0, x] * step
        state[1, x] += gain[1, x] * step


@jit
def _update_term(value: float, state: np.ndarray, gain: np.ndarray) -> None:
    """Take one value, the same at all pixels, into the state of its column."""
    for x in range(WIDTH):
        step = value - state[0, x]
        state[0, x] += gain[0, x] * step
        state[1, x] += gain[1, x] * step


@jit
def _gain(
    weight: np.ndarray, cov: np.ndarray, gain: np.ndarray, signal: float, noise: float
) -> None:
    """Find the gain of a date and take its observation into the covariance of the state."""
    for x in range(WIDTH):
        share = signal * weight[x] / (signal * weight[x] * cov[0, x] + noise)
        gain[0, x] = share * cov[0, x]
        gain[1, x] = share * cov[1, x]
        cov[2, x] -= gain[1, x] * cov[1, x]
        cov[1, x] *= 1 - gain[0, x]
        cov[0, x] *= 1 - gain[0, x]


@jit
def _move(state: np.ndarray, cov: np.ndarray, m: np.ndarray) -> None:
    """Take the state to the next date."""
    for c in range(len(state)):
        for x in range(WIDTH):
            level, slope = state[c, 0, x], state[c, 1, x]
            state[c, 0, x] = m[0] * level + m[1] * slope
            state[c, 1, x] = m[2] * level + m[3] * slope
    q0 = 1 - m[0] * m[0] - m[1] * m[1]
    q1 = -m[0] * m[2] - m[1] * m[3]
    q2 = 1 - m[2] * m[2] - m[3] * m[3]
    for x in range(WIDTH):
        a, b, c = cov[0, x], cov[1, x], cov[2, x]
        cov[0, x] = m[0] * m[0] * a + 2 * m[0] * m[1] * b + m[1] * m[1] * c + q0
        cov[1, x] = m[0] * m[2] * a + (m[0] * m[3] + m[1] * m[2]) * b + m[1] * m[3] * c + q1
        cov[2, x] = m[2] * m[2] * a + 2 * m[2] * m[3] * b + m[3] * m[3] * c + q2


@jit
def _backward(values: np.ndarray, weights: np.ndarray, model: Model, work: Work) -> None:
    """Keep what the dates after each date say of it."""
    terms, state, cov, rows = model.terms, work.state, work.cov, work.rows
    count = len(terms[0])
    _start(state, cov)
    for i in range(len(values) - 1, -1, -1):
        work.back[i] = state
        work.back_cov[i] = cov
        if i == 0:
            break
        _gain(weights[i], cov, rows, model.signal, model.noise)
        for k in range(count):
            _update_term(terms[i, k], state[k], rows)
        for b in range(values.shape[1]):
            _update(values[i, b], state[count + b], rows)
        _move(state, cov, model.moves[i - 1])


@jit
def _forward(
    values: np.ndarray, weights: np.ndarray, model: Model, work: Work, solution: Solution
) -> None:
    """Join what the dates before and after each date say of it; sum the normal equations."""
    terms, signal, noise = model.terms, model.signal, model.noise
    cavity, state, cov, rows = work.cavity, work.state, work.cov, work.rows
    count, bands = len(terms[0]), values.shape[1]
    _start(state, cov)
    new = rows[8:]
    for i in range(len(values)):
        _join(cov, work.back_cov[i], rows, cavity[i, count + bands], signal)
        for c in range(count + bands):
            _combine(state[c], work.back[i, c], rows, cavity[i, c])
        for k in range(count):
            for x in range(WIDTH):
                new[k, x] = terms[i, k] - state[k, 0, x]
        for b in range(bands):
            for x in range(WIDTH):
                new[count + b, x] = values[i, b, x] - state[count + b, 0, x]
        _normal(new, weights[i], cov[0], rows[4], signal, noise, solution)
        _gain(weights[i], cov, rows, signal, noise)
        for c in range(count + bands):
            for x in range(WIDTH):
                state[c, 0, x] += rows[0, x] * new[c, x]
                state[c, 1, x] += rows[1, x] * new[c, x]
        if i + 1 < len(values):
            _move(state, cov, model.moves[i])


@jit
def _join(
    cov: np.ndarray, other: np.ndarray, rows: np.ndarray, variance: np.ndarray, signal: float
) -> None:
    """Find the weights of the two states, (P^-1 + R^-1 - I)^-1 without the inverses."""
    for x in range(WIDTH):
        p0, p1, p2 = cov[0, x], cov[1, x], cov[2, x]
        r0, r1, r2 = other[0, x], -other[1, x], other[2, x]
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
        variance[x] = signal * (rows[0, x] * p0 + rows[1, x] * p1)


@jit
def _combine(state: np.ndarray, other: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """Return what both states say of one column."""
    for x in range(WIDTH):
        out[x] = (
            rows[0, x] * state[0, x]
            + rows[1, x] * state[1, x]
            + rows[2, x] * other[0, x]
            + rows[3, x] * other[1, x]
        )


@jit
def _normal(
    new: np.ndarray,
    weight: np.ndarray,
    variance: np.ndarray,
    share: np.ndarray,
    signal: float,
    noise: float,
    solution: Solution,
) -> None:
    """Add a date's innovations to the normal equations and to the likelihood."""
    factor, beta, likelihood = solution.factor, solution.beta, solution.likelihood
    count, bands = beta.shape[:2]
    for x in range(WIDTH):
        share[x] = weight[x] / (signal * weight[x] * variance[x] + noise)
    for x in range(WIDTH):
        if share[x] > 0:
            likelihood[0, x] -= np.log(share[x])
    for k in range(count):
        for j in range(k + 1):
            for x in range(WIDTH):
                factor[k, j, x] += share[x] * new[k, x] * new[j, x]
        for b in range(bands):
            for x in range(WIDTH):
                beta[k, b, x] += share[x] * new[k, x] * new[count + b, x]
    for b in range(bands):
        for x in range(WIDTH):
            likelihood[1 + b, x] += share[x] * new[count + b, x] ** 2


@jit
def _solve(factor: np.ndarray, beta: np.ndarray, likelihood: np.ndarray) -> None:
    """Factor the normal equations in place and solve them; complete the likelihood."""
    count, bands = beta.shape[:2]
    for k in range(count):
        for j in range(k + 1):
            for m in range(j):
                for x in range(WIDTH):
                    factor[k, j, x] -= factor[k, m, x] * factor[j, m, x]
            for x in range(WIDTH):
                if k == j:
                    factor[k, k, x] = np.sqrt(factor[k, k, x])
                else:
                    factor[k, j, x] /= factor[j, j, x]
        for x in range(WIDTH):
            likelihood[0, x] += 2 * np.log(factor[k, k, x])
        for b in range(bands):
            for m in range(k):
                for x in range(WIDTH):
                    beta[k, b, x] -= factor[k, m, x] * beta[m, b, x]
            for x in range(WIDTH):
                beta[k, b, x] /= factor[k, k, x]
                likelihood[1 + b, x] -= beta[k, b, x] ** 2
    for k in range(count - 1, -1, -1):
        for b in range(bands):
            for m in range(k + 1, count):
                for x in range(WIDTH):
                    beta[k, b, x] -= factor[m, k, x] * beta[m, b, x]
            for x in range(WIDTH):
                beta[k, b, x] /= factor[k, k, x]


@jit
def _predict(
    values: np.ndarray,
    weights: np.ndarray,
    model: Model,
    work: Work,
    solution: Solution,
    loo: LeaveOneOut,
) -> None:
    """Predict each date from the others, those coefficients included that it helped to find."""
    terms, noise, cavity, rows = model.terms, model.noise, work.cavity, work.rows
    factor, beta = solution.factor, solution.beta
    count, bands = beta.shape[:2]
    for i in range(len(values)):
        solved, total, loss = rows[8:], rows[0], rows[1]
        base = cavity[i, count + bands]
        total[:] = 0
        for k in range(count):
            for x in range(WIDTH):
                solved[k, x] = terms[i, k] - cavity[i, k, x]
                cavity[i, k, x] = solved[k, x]
            for m in range(k):
                for x in range(WIDTH):
                    solved[k, x] -= factor[k, m, x] * solved[m, x]
            for x in range(WIDTH):
                solved[k, x] /= factor[k, k, x]
                total[x] += solved[k, x] ** 2
        for x in range(WIDTH):
            share = weights[i, x] / (weights[i, x] * base[x] + noise)
            loss[x] = 1 / (1 - share * total[x])
            loo.variance[i, x] = base[x] + total[x] * loss[x]
            loo.lever[i, x] = solved[count - 1, x] / factor[count - 1, count - 1, x] * share
        for b in range(bands):
            mean = loo.mean[i, b]
            for x in range(WIDTH):
                mean[x] = cavity[i, count + b, x]
            for k in range(count):
                for x in range(WIDTH):
                    mean[x] += cavity[i, k, x] * beta[k, b, x]
            for x in range(WIDTH):
                mean[x] = values[i, b, x] - (values[i, b, x] - mean[x]) * loss[x]
