"""The modes of a scene in (time, band): expectation-maximisation with missing values.

A pixel's series ``z`` (time x band, standardised) is ``z = rows . (1, a) + noise``, where a row
holds the mean and the modes at one date and band, ``a ~ N(0, I)``, and each date has its own
covariance of the noise over bands. Each round takes the posterior of every pixel's ``a``, then
Student's weights of its dates by their residuals, then every row by weighted least squares, given
what is expected of it from the rows of the other dates, mode by mode, with the variance of that. A
date that no pixel has seen is all expectation.

What is expected is kriging in time, band by band: `xstf.methods.gapfill.eof.in_time`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from xstf.methods.gapfill.eof.in_time import LEAST_NOISE, krige, variogram

# More columns than this: the leading modes come from a randomised range finder.
DENSE = 600
# Beyond the rank asked for, and the rounds of power iteration (Halko et al. 2011, section 4).
EXTRA_COLUMNS, POWER_ROUNDS = 10, 2

# Rounds that one set of kriging weights serves: they change little and slowly.
RENEW = 4
# Seen dates, kriging weights and error variances of a band.
Around: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
# A set of bands that are seen together, and where, (pixel, time).
Cells: TypeAlias = tuple[np.ndarray, np.ndarray]
# Sets of bands that scores are found from; cells with rarer ones only make rows and noise.
PATTERNS = 8
# Degrees of freedom of Student's t: Lange, Little & Taylor (1989) find 4 good for robust fits.
FREEDOM = 4.0
# Times that a pixel's dates are weighed anew, from equal weights.
PASSES = 2
# Rounds of the mean alone: it has to leave haze before modes are looked for.
START_ROUNDS = 4
# Most noise of a date, as variance over the dates' median: haze in a part of a date's pixels must
# not pass for the date's noise, with which nothing is an outlier. Three times the usual spread.
MOST_NOISE = 9.0
# Neighbours repeat each other: so many pixels count as one against what other dates say, as in
# the regression's cross-validation.
ALIKE = 4.0


@dataclass(frozen=True)
class Model:
    """Rows ``(time, band, 1 + rank)``, noise and what other dates say of a row.

    Parameters
    ----------
    rows
        Mean and modes, ``(time, band, 1 + rank)``.
    noise
        Covariance around them, ``(time, band, band)``.
    unsure
        Variance that the rows' own error brings to an estimate, ``(time, band)``.
    """

    rows: np.ndarray
    noise: np.ndarray
    unsure: np.ndarray


def start(values: np.ndarray, times: np.ndarray) -> Model:
    """Return the model of rank 0: a mean by date and band; values ``(pixel, time, band)``."""
    dates, bands = values.shape[1:]
    rows = np.zeros((dates, bands, 1))
    # little noise to begin with: where few pixels are seen, their own values are the mean curve
    little = np.full((dates, bands), LEAST_NOISE)
    model = Model(rows, little[..., None] * np.eye(bands), little)
    weights = _somewhere(values)
    cells = patterns(values)
    scores, spread = np.zeros((len(values), 0)), np.zeros((len(values), 0, 0))
    for _ in range(START_ROUNDS if len(values) else 0):  # what is expected needs a first look
        around = _weigh(values, times, model)
        model = _maximise(values, weights, around, model, scores, spread)
        weights = reweigh(values, cells, model, scores)
    return model


def grow(values: np.ndarray, model: Model, rank: int, weights: np.ndarray | None = None) -> Model:
    """Return the model with more modes: the leading ones of what dates' residuals share."""
    pixels, dates, bands = values.shape
    more = rank + 1 - model.rows.shape[2]
    if more <= 0:
        return model
    cells = patterns(values)
    weights = _weights(values, cells, model) if weights is None else weights
    scores = _scores(values, cells, weights, model)
    scale = np.sqrt(np.diagonal(variance(model), axis1=1, axis2=2))
    flat = _zeroed(_residual(values, model, scores)) * np.sqrt(weights)[..., None] / scale
    modes = _shared(flat, more).reshape(dates, bands, more) * scale[..., None]
    return replace(model, rows=np.concatenate([model.rows, modes], axis=2))


def refine(
    values: np.ndarray,
    times: np.ndarray,
    model: Model,
    weights: np.ndarray | None = None,
    *,
    rounds: int,
    tolerance: float,
) -> tuple[Model, np.ndarray]:
    """Return model and weights after so many rounds, or once the rows move by less."""
    cells = patterns(values)
    scores, spread, weights = posterior(values, model, weights)
    for number in range(rounds):
        before = model.rows
        if number % RENEW == 0:
            around = _weigh(values, times, model)
        if number:
            scores, spread = _score(values, cells, weights, model)
            weights = reweigh(values, cells, model, scores)
        model = _maximise(values, weights, around, model, scores, spread)
        moved = np.sum((before @ before.mT - model.rows @ model.rows.mT) ** 2)
        if moved <= tolerance**2 * np.sum((before @ before.mT) ** 2):
            break
    return model, weights


def predict(values: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return estimate and variance of a new observation, both ``(pixel, time, band)``."""
    scores, spread, _ = posterior(values, model)
    modes = model.rows[..., 1:]
    dates, bands, rank = modes.shape
    pairs = (modes[..., :, None] * modes[..., None, :]).reshape(dates * bands, -1)
    doubt = (spread.reshape(len(values), -1) @ pairs.T).reshape(values.shape)
    doubt += np.diagonal(variance(model), axis1=1, axis2=2)
    return expected(model, scores), doubt


def expected(model: Model, scores: np.ndarray) -> np.ndarray:
    """Return what the model makes of scores, ``(pixel, time, band)``."""
    dates, bands, size = model.rows.shape
    fit = scores @ model.rows[..., 1:].reshape(dates * bands, size - 1).T
    return np.asarray(fit.reshape(-1, dates, bands) + model.rows[..., 0])


def posterior(
    values: np.ndarray, model: Model, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean ``(pixel, rank)`` and covariance of the scores, and weights ``(pixel, time)``.

    Weights that are given are the ones; else they are found from equal ones.
    """
    cells = patterns(values)
    weights = _weights(values, cells, model) if weights is None else weights
    return *_score(values, cells, weights, model), weights


def estimated(values: np.ndarray, model: Model, weights: np.ndarray) -> np.ndarray:
    """Return what the model makes of values, ``(pixel, time, band)``, with weights of `refine`."""
    return expected(model, _scores(values, patterns(values), weights, model))


def _weights(values: np.ndarray, cells: list[Cells], model: Model) -> np.ndarray:
    """Return the weights ``(pixel, time)`` that are found from equal ones."""
    weights = _somewhere(values)
    for _ in range(PASSES):
        scores = _scores(values, cells, weights, model)
        weights = reweigh(values, cells, model, scores)
    return weights


def _scores(
    values: np.ndarray, cells: list[Cells], weights: np.ndarray, model: Model
) -> np.ndarray:
    """Return the mean of the scores alone, ``(pixel, rank)``, for a third of the work."""
    precision, pull = _normal(values, cells, weights, model)
    return np.asarray(np.linalg.solve(precision, pull[..., None])[..., 0])


def _score(
    values: np.ndarray, cells: list[Cells], weights: np.ndarray, model: Model
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ``(pixel, rank)`` and covariance ``(pixel, rank, rank)`` of the scores."""
    precision, pull = _normal(values, cells, weights, model)
    spread = np.linalg.inv(precision)
    return np.einsum("nij,nj->ni", spread, pull), spread


def _normal(
    values: np.ndarray, cells: list[Cells], weights: np.ndarray, model: Model
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores' precision ``(pixel, rank, rank)``, and that times their mean."""
    modes = model.rows[..., 1:]
    pixels, rank = len(values), modes.shape[-1]
    gram, pull = np.zeros((pixels, rank * rank)), np.zeros((pixels, rank))
    rest = _zeroed(values - model.rows[..., 0])
    whole = variance(model)
    for bands, there in cells:
        own = modes[:, bands]
        precise = np.linalg.solve(whole[:, bands[:, None], bands], own)
        weight = weights * there
        gram += weight @ (own.mT @ precise).reshape(len(own), rank * rank)
        weighed = (rest[..., bands] * weight[..., None]).reshape(pixels, -1)
        pull += weighed @ precise.reshape(weighed.shape[1], rank)
    return gram.reshape(pixels, rank, rank) + np.eye(rank), pull


def reweigh(values: np.ndarray, cells: list[Cells], model: Model, scores: np.ndarray) -> np.ndarray:
    """Return the Student weights of pixels at dates, jointly over their bands."""
    weights = _somewhere(values)
    rest = _zeroed(_residual(values, model, scores))
    whole = variance(model)
    for bands, there in cells:
        root = np.linalg.cholesky(whole[:, bands[:, None], bands])
        away = np.linalg.inv(root) @ rest[..., bands].transpose(1, 2, 0)
        distance = np.einsum("tbn,tbn->nt", away, away)
        np.copyto(weights, (FREEDOM + len(bands)) / (FREEDOM + distance), where=there)
    return weights


def _somewhere(values: np.ndarray) -> np.ndarray:
    """Return 1 where a pixel has any band at a date and else 0, ``(pixel, time)``."""
    seen = np.zeros(values.shape[:2], dtype=bool)
    for band in range(values.shape[2]):
        seen |= values[..., band] == values[..., band]
    return seen.astype(np.float64)


def _zeroed(values: np.ndarray) -> np.ndarray:
    return np.where(values == values, values, 0.0)  # NaN alone is not itself


def _residual(values: np.ndarray, model: Model, scores: np.ndarray) -> np.ndarray:
    """Return what the model leaves, ``(pixel, time, band)``; NaN where missing."""
    return np.asarray(values - expected(model, scores))


def variance(model: Model) -> np.ndarray:
    """Return the covariance around the modes, with that of the rows themselves."""
    return model.noise + model.unsure[..., None] * np.eye(model.unsure.shape[1])


def patterns(values: np.ndarray) -> list[Cells]:
    """Return the commonest sets of bands that are seen together, with where."""
    there = np.isfinite(values)
    some, every = there.any(axis=2), there.all(axis=2)
    if (some == every).all():
        return [(np.arange(values.shape[2]), some)]
    code = there @ np.random.default_rng(0).random(values.shape[2])
    kinds, first, counts = np.unique(code, return_index=True, return_counts=True)
    order = [k for k in np.argsort(-counts, kind="stable") if kinds[k] > 0][:PATTERNS]
    flat = there.reshape(-1, values.shape[2])
    return [(np.flatnonzero(flat[first[k]]), code == kinds[k]) for k in order]


def _by_band(values: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    """Return the bands that are seen at the same places, with where: mostly all bands are."""
    found: list[tuple[list[int], np.ndarray]] = []
    there = np.isfinite(values)
    for band in range(values.shape[2]):
        for bands, seen in found:
            if np.array_equal(seen, there[..., band]):
                bands.append(band)
                break
        else:
            found.append(([band], there[..., band]))
    return found


def _maximise(
    values: np.ndarray, weights: np.ndarray, around: list[Around], model: Model,
    scores: np.ndarray, spread: np.ndarray,
) -> Model:  # fmt: skip
    """Return rows and noise that fit best, given the pixels' scores and weights."""
    pixels, dates, bands = values.shape
    first = np.concatenate([np.ones((pixels, 1)), scores], axis=1)
    size = first.shape[1]
    model, back = _normalise(model, first, spread)
    # What follows from scores as they were is turned once it is summed up over the pixels.
    pairs = _Pairs(first, spread)
    own_products, own_spread = pairs.sums(weights)
    somewhere = weights > 0
    first = first @ back.T
    weighed = _zeroed(values) * weights[..., None]
    pull = (weighed.reshape(pixels, -1).T @ first).reshape(dates, bands, size)
    moments = np.empty((dates, bands, size, size))
    for group, seen in _by_band(values):
        products, spreads = own_products, own_spread
        if not np.array_equal(seen, somewhere):
            products, spreads = pairs.sums(seen * weights)
        moments[:, group] = (back @ (products + spreads) @ back.T)[:, None]
    others, doubt = _expect(model, around)
    own = np.diagonal(model.noise, axis1=1, axis2=2)
    alike = min(ALIKE, float(pixels))
    weight = own[..., None] / np.maximum(doubt, LEAST_NOISE) * alike
    inverse = np.linalg.inv(moments + weight[..., None] * np.eye(size))
    rows = np.einsum("tbij,tbj->tbi", inverse, pull + weight * others)
    unsure = alike * own * np.trace(inverse, axis1=2, axis2=3)
    model = replace(model, rows=rows, unsure=unsure)
    spread = back @ own_spread @ back.T
    return replace(model, noise=_noise(values, weights, model, first, spread))


class _Pairs:
    """Products of the pixels' scores, and their covariances, to be summed over pixels by date.

    Half of each, since both are symmetric.
    """

    def __init__(self, first: np.ndarray, spread: np.ndarray) -> None:
        self.size = first.shape[1]
        self.low = np.tril_indices(self.size)
        self.inner = np.tril_indices(self.size - 1)
        self.products = first[:, self.low[0]] * first[:, self.low[1]]
        self.spread = spread[:, self.inner[0], self.inner[1]]

    def sums(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both, summed with weights ``(pixel, time)``: ``(time, size, size)``."""
        products, spread = (np.zeros((weights.shape[1], self.size, self.size)) for _ in range(2))
        i, j = self.low
        products[:, i, j] = products[:, j, i] = weights.T @ self.products
        i, j = self.inner[0] + 1, self.inner[1] + 1
        spread[:, i, j] = spread[:, j, i] = weights.T @ self.spread
        return products, spread


def _noise(
    values: np.ndarray, weights: np.ndarray, model: Model, first: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Return the dates' noise, drawn to that of all as if by as many pixels as unknowns.

    ``spread (time, 1 + rank, 1 + rank)`` is the sum of the scores' covariances.
    """
    bands, size = model.rows.shape[1:]
    rest = _residual(values, model, first[:, 1:]).transpose(1, 2, 0)
    there = np.isfinite(rest)
    rest = _zeroed(rest)
    square = (rest * weights.T[:, None]) @ rest.mT
    counts = (there * weights.T[:, None]) @ there.mT.astype(np.float64)
    share = counts / np.maximum(weights.sum(axis=0), LEAST_NOISE)[:, None, None]
    square += share * (model.rows @ spread @ model.rows.mT)
    pool = (square.sum(axis=0) + LEAST_NOISE * np.eye(bands)) / (counts.sum(axis=0) + 1)
    few = size + bands
    noise = (square + few * pool) / (counts + few)
    own = np.diagonal(noise, axis1=1, axis2=2)
    times = np.mean(own / np.median(own, axis=0), axis=1)  # the dates' median
    noise *= np.minimum(1, MOST_NOISE / times)[:, None, None]
    power, turn = np.linalg.eigh(noise)
    return np.asarray((turn * np.maximum(power, LEAST_NOISE)[:, None]) @ turn.mT)


def _normalise(model: Model, first: np.ndarray, spread: np.ndarray) -> tuple[Model, np.ndarray]:
    """Return the same model with scores of mean 0 and covariance 1, modes being orthogonal.

    With what turns ``(1, scores)`` to them. It is one step of parameter-expanded maximisation,
    which saves most rounds; orthogonal modes are what the rows' uncertainties, mode by mode, refer
    to.
    """
    rank = first.shape[1] - 1
    centre = first[:, 1:].mean(axis=0)
    turn = np.eye(rank + 1)  # (1, old score) = turn (1, new score)
    turn[1:, 0] = centre
    covariance = first[:, 1:].T @ first[:, 1:] / len(first) + spread.mean(axis=0)
    covariance += LEAST_NOISE * np.eye(rank) - np.outer(centre, centre)
    turn[1:, 1:] = np.linalg.cholesky(covariance)
    tall = (model.rows @ turn)[..., 1:].reshape(model.unsure.size, rank)
    spin = np.eye(rank + 1)
    spin[1:, 1:] = np.linalg.eigh(tall.T @ tall)[1]
    turn = turn @ spin
    return replace(model, rows=model.rows @ turn), np.linalg.inv(turn)


def _weigh(values: np.ndarray, times: np.ndarray, model: Model) -> list[Around]:
    """Return by band the kriging weights that its rows ask for; few seen dates have none."""
    counts = np.isfinite(values).sum(axis=0)
    found = []
    for band in range(counts.shape[1]):
        seen = counts[:, band] >= model.rows.shape[2]
        weights, error = np.zeros((len(times),) * 2), np.ones(len(times))
        if seen.sum() == 1:
            weights[:, seen] = 1
        elif seen.any():
            weights, error = krige(times, seen, *variogram(model.rows[seen, band], times[seen]))
        found.append((seen, weights, error))
    return found


def _expect(model: Model, around: list[Around]) -> tuple[np.ndarray, np.ndarray]:
    """Return each row as kriged from the other dates' rows, and the variance of its parts."""
    expected, doubt = np.zeros_like(model.rows), np.ones_like(model.rows)
    for band, (seen, weights, error) in enumerate(around):
        rows = model.rows[:, band]
        expected[:, band] = weights @ rows
        if seen.sum() > 1:
            missed = (expected[:, band] - rows)[seen] ** 2 / error[seen, None]
            doubt[:, band] = error[:, None] * (missed.mean(axis=0) + LEAST_NOISE)
    return expected, doubt


def _shared(flat: np.ndarray, rank: int) -> np.ndarray:
    """Return the leading modes ``(column, rank)`` of the covariance between different dates.

    What one date has by itself, as haze, foretells no other date: it is noise, not a mode.
    """
    pixels, dates, bands = flat.shape
    columns = dates * bands
    own = flat.transpose(1, 2, 0) @ flat.transpose(1, 0, 2)  # (time, band, band)
    flat = flat.reshape(pixels, columns)

    def across(basis: np.ndarray) -> np.ndarray:
        inside = own @ basis.reshape(dates, bands, -1)
        return np.asarray((flat.T @ (flat @ basis) - inside.reshape(basis.shape)) / pixels)

    basis = np.eye(columns)
    if columns > DENSE:
        width = min(rank + EXTRA_COLUMNS, columns)
        basis = np.random.default_rng(0).normal(size=(columns, width))
        for _ in range(POWER_ROUNDS + 1):
            basis = np.linalg.qr(across(basis))[0]
    power, turn = np.linalg.eigh(basis.T @ across(basis))
    leading = basis @ turn[:, ::-1][:, :rank]
    return np.asarray(leading * np.sqrt(np.maximum(power[::-1][:rank], LEAST_NOISE)))
