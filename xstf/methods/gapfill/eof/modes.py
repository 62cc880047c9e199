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
from xstf.numerics.inverses import inverses

# More columns than this: the leading modes come from a randomised range finder.
DENSE = 600
# Beyond the rank asked for, and the rounds of power iteration (Halko et al. 2011, section 4).
EXTRA_COLUMNS, POWER_ROUNDS = 10, 2

# Rounds that one set of kriging weights serves: they change little and slowly.
RENEW = 4
# Seen dates, kriging weights and error variances of a band.
Around: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
# A set of bands that are seen together, and where, (time, pixel).
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


@dataclass(frozen=True)
class Seen:
    """What is seen of pixels, as the rounds use it: pixels come last.

    Parameters
    ----------
    values
        ``(time, band, pixel)``, 0 where missing.
    there
        The same, whether there is a value; None where dates show all their bands or none.
    some
        ``(time, pixel)`` bool: where any band is there.
    counts
        ``(time, band)``: at how many pixels.
    cells
        The commonest sets of bands that are seen together, with where ``(time, pixel)``.
    groups
        The bands that are seen at the same places, with where: mostly all bands are.
    """

    values: np.ndarray
    there: np.ndarray | None
    some: np.ndarray
    counts: np.ndarray
    cells: list[Cells]
    groups: list[tuple[list[int], np.ndarray]]

    @classmethod
    def of(cls, values: np.ndarray) -> Seen:
        """Return what is seen of ``(pixel, time, band)``, NaN where missing."""
        values = np.ascontiguousarray(values.transpose(1, 2, 0))
        there = np.isfinite(values)
        some, counts = there.any(axis=1), there.sum(axis=2)
        values[~there] = 0
        if np.array_equal(there.all(axis=1), some):
            bands = np.arange(values.shape[1])
            return cls(values, None, some, counts, [(bands, some)], [(bands.tolist(), some)])
        return cls(values, there, some, counts, _patterns(there), _by_band(there))

    @property
    def pixels(self) -> int:
        """How many there are."""
        return int(self.values.shape[2])


def start(seen: Seen, times: np.ndarray) -> Model:
    """Return the model of rank 0: a mean by date and band."""
    dates, bands, pixels = seen.values.shape
    rows = np.zeros((dates, bands, 1))
    # little noise to begin with: where few pixels are seen, their own values are the mean curve
    little = np.full((dates, bands), LEAST_NOISE)
    model = Model(rows, little[..., None] * np.eye(bands), little)
    weights = seen.some.astype(np.float64)
    scores, spread = np.zeros((pixels, 0)), np.zeros((pixels, 0, 0))
    for _ in range(START_ROUNDS if pixels else 0):  # what is expected needs a first look
        around = _weigh(seen, times, model)
        model = _maximise(seen, weights, around, model, scores, spread)
        weights = _reweigh(seen, model, scores)
    return model


def grow(seen: Seen, model: Model, rank: int, weights: np.ndarray | None = None) -> Model:
    """Return the model with more modes: the leading ones of what dates' residuals share."""
    dates, bands, _ = seen.values.shape
    more = rank + 1 - model.rows.shape[2]
    if more <= 0:
        return model
    weights = _weights(seen, model) if weights is None else weights
    rest = _residual(seen, model, _score(seen, weights, model)[0])
    scale = np.sqrt(np.diagonal(variance(model), axis1=1, axis2=2))
    rest *= np.sqrt(weights)[:, None] / scale[..., None]
    modes = _shared(rest.transpose(2, 0, 1), more).reshape(dates, bands, more)
    modes = modes * scale[..., None]
    return replace(model, rows=np.concatenate([model.rows, modes], axis=2))


def refine(
    seen: Seen,
    times: np.ndarray,
    model: Model,
    weights: np.ndarray | None = None,
    *,
    rounds: int,
    tolerance: float,
) -> tuple[Model, np.ndarray]:
    """Return model and weights ``(time, pixel)`` after so many rounds.

    Or once the rows move by less.
    """
    weights = _weights(seen, model) if weights is None else weights
    scores, spread = _score(seen, weights, model)
    for number in range(rounds):
        before = model.rows
        if number % RENEW == 0:
            around = _weigh(seen, times, model)
        if number:
            scores, spread = _score(seen, weights, model)
            weights = _reweigh(seen, model, scores)
        model = _maximise(seen, weights, around, model, scores, spread)
        moved = np.sum((before @ before.mT - model.rows @ model.rows.mT) ** 2)
        if moved <= tolerance**2 * np.sum((before @ before.mT) ** 2):
            break
    return model, weights


def predict(seen: Seen, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return estimate and variance of a new observation, both ``(pixel, time, band)``."""
    scores, spread = _score(seen, _weights(seen, model), model)
    modes = model.rows[..., 1:]
    dates, bands, rank = modes.shape
    i, j = np.tril_indices(rank)
    pairs = (modes[..., i] * modes[..., j] * np.where(i == j, 1, 2)).reshape(dates * bands, -1)
    doubt = (spread[:, i, j] @ pairs.T).reshape(-1, dates, bands)
    doubt += np.diagonal(variance(model), axis1=1, axis2=2)
    return _expected(model, scores).transpose(2, 0, 1), doubt


def estimated(seen: Seen, model: Model, weights: np.ndarray) -> np.ndarray:
    """Return what the model makes of pixels ``(pixel, time, band)``, with weights of `refine`."""
    return _expected(model, _score(seen, weights, model)[0]).transpose(2, 0, 1)


def variance(model: Model) -> np.ndarray:
    """Return the covariance around the modes, with that of the rows themselves."""
    return model.noise + model.unsure[..., None] * np.eye(model.unsure.shape[1])


# ---------------------------------------------------------------- scores and weights


def _expected(model: Model, scores: np.ndarray) -> np.ndarray:
    """Return what the model makes of scores ``(pixel, rank)``: ``(time, band, pixel)``."""
    dates, bands, size = model.rows.shape
    fit = model.rows[..., 1:].reshape(dates * bands, size - 1) @ scores.T
    fit = fit.reshape(dates, bands, -1)
    fit += model.rows[..., :1]
    return np.asarray(fit)


def _residual(seen: Seen, model: Model, scores: np.ndarray) -> np.ndarray:
    """Return what the model leaves, ``(time, band, pixel)``; where dates are missing, anything.

    There, weights are 0. Bands that are missing of others have 0.
    """
    rest = _expected(model, scores)
    np.subtract(seen.values, rest, out=rest)
    if seen.there is not None:
        rest *= seen.there
    return rest


def _weights(seen: Seen, model: Model) -> np.ndarray:
    """Return the weights ``(time, pixel)`` that are found from equal ones."""
    weights = seen.some.astype(np.float64)
    for _ in range(PASSES):
        weights = _reweigh(seen, model, _score(seen, weights, model)[0])
    return weights


def _score(seen: Seen, weights: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ``(pixel, rank)`` and covariance ``(pixel, rank, rank)`` of the scores."""
    precision, pull = _normal(seen, weights, model)
    spread = inverses(precision)
    return np.asarray((spread @ pull[..., None])[..., 0]), spread


def _normal(seen: Seen, weights: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores' precision ``(pixel, rank, rank)``, and that times their mean."""
    modes = model.rows[..., 1:]
    pixels, rank = seen.pixels, modes.shape[-1]
    gram = np.zeros((pixels, rank * rank))
    pull = np.zeros((rank, pixels))
    rest = seen.values - model.rows[..., :1]
    whole = variance(model)
    for bands, there in seen.cells:
        every = len(bands) == rest.shape[1]
        own = modes[:, bands]
        precise = np.linalg.solve(whole[:, bands[:, None], bands], own)
        weight = weights if len(seen.cells) == 1 else weights * there
        gram += weight.T @ (own.mT @ precise).reshape(len(own), rank * rank)
        weighed = (rest if every else rest[:, bands]) * weight[:, None]
        size = len(own) * len(bands)
        pull += precise.reshape(size, rank).T @ weighed.reshape(size, pixels)
    gram[:, :: rank + 1] += 1
    return gram.reshape(pixels, rank, rank), np.ascontiguousarray(pull.T)


def _reweigh(seen: Seen, model: Model, scores: np.ndarray) -> np.ndarray:
    """Return the Student weights of pixels at dates, jointly over their bands."""
    weights = seen.some.astype(np.float64)
    rest = _residual(seen, model, scores)
    whole = variance(model)
    for bands, there in seen.cells:
        root = np.linalg.cholesky(whole[:, bands[:, None], bands])
        away = np.linalg.inv(root) @ (rest if len(bands) == rest.shape[1] else rest[:, bands])
        distance = np.einsum("tbn,tbn->tn", away, away)
        np.copyto(weights, (FREEDOM + len(bands)) / (FREEDOM + distance), where=there)
    return weights


def _patterns(there: np.ndarray) -> list[Cells]:
    """Return the commonest sets of bands that are seen together, with where."""
    dates, bands, pixels = there.shape
    code = np.random.default_rng(0).random(bands) @ there
    kinds, first, counts = np.unique(code, return_index=True, return_counts=True)
    order = [k for k in np.argsort(-counts, kind="stable") if kinds[k] > 0][:PATTERNS]
    where = [divmod(int(first[k]), pixels) for k in order]
    return [
        (np.flatnonzero(there[t, :, i]), code == kinds[k])
        for (t, i), k in zip(where, order, strict=True)
    ]


def _by_band(there: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    """Return the bands that are seen at the same places, with where."""
    found: list[tuple[list[int], np.ndarray]] = []
    for band in range(there.shape[1]):
        for bands, seen in found:
            if np.array_equal(seen, there[:, band]):
                bands.append(band)
                break
        else:
            found.append(([band], there[:, band]))
    return found


# ---------------------------------------------------------------- rows and noise


def _maximise(
    seen: Seen, weights: np.ndarray, around: list[Around], model: Model,
    scores: np.ndarray, spread: np.ndarray,
) -> Model:  # fmt: skip
    """Return rows and noise that fit best, given the pixels' scores and weights."""
    dates, bands, pixels = seen.values.shape
    first = np.concatenate([np.ones((pixels, 1)), scores], axis=1)
    size = first.shape[1]
    model, back = _normalise(model, first, spread)
    # What follows from scores as they were is turned once it is summed up over the pixels.
    pairs = _Pairs(first, spread)
    first = first @ back.T
    weighed = seen.values * weights[:, None]
    pull = (weighed.reshape(-1, pixels) @ first).reshape(dates, bands, size)
    moments = np.empty((dates, bands, size, size))
    own_spread = back @ pairs.spreads(weights) @ back.T
    for group, there in seen.groups:
        if len(seen.groups) == 1:
            total = back @ pairs.products(weights) @ back.T + own_spread
        else:
            weight = there * weights
            total = back @ (pairs.products(weight) + pairs.spreads(weight)) @ back.T
        moments[:, group] = total[:, None]
    others, doubt = _expect(model, around)
    own = np.diagonal(model.noise, axis1=1, axis2=2)
    alike = min(ALIKE, float(pixels))
    weight = own[..., None] / np.maximum(doubt, LEAST_NOISE) * alike
    moments[..., range(size), range(size)] += weight
    inverse = inverses(moments.reshape(-1, size, size)).reshape(moments.shape)
    rows = np.einsum("tbij,tbj->tbi", inverse, pull + weight * others)
    unsure = alike * own * np.trace(inverse, axis1=2, axis2=3)
    model = replace(model, rows=rows, unsure=unsure)
    return replace(model, noise=_noise(seen, weights, model, first[:, 1:], own_spread))


class _Pairs:
    """Products of the pixels' scores, and their covariances, to be summed over pixels by date.

    Half of each, since both are symmetric.
    """

    def __init__(self, first: np.ndarray, spread: np.ndarray) -> None:
        self.size = first.shape[1]
        i, j = self.low = np.tril_indices(self.size)
        self.outer = first[:, i] * first[:, j]
        i, j = self.inner = np.tril_indices(self.size - 1)
        self.spread = spread[:, i, j]

    def products(self, weights: np.ndarray) -> np.ndarray:
        """Return the sums with weights ``(time, pixel)``: ``(time, size, size)``."""
        return self._whole(weights @ self.outer, *self.low)

    def spreads(self, weights: np.ndarray) -> np.ndarray:
        """Return the same of the covariances."""
        return self._whole(weights @ self.spread, self.inner[0] + 1, self.inner[1] + 1)

    def _whole(self, half: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        out = np.zeros((len(half), self.size, self.size))
        out[:, i, j] = out[:, j, i] = half
        return out


def _noise(
    seen: Seen, weights: np.ndarray, model: Model, scores: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Return the dates' noise, drawn to that of all as if by as many pixels as unknowns.

    ``spread (time, 1 + rank, 1 + rank)`` is the sum of the scores' covariances.
    """
    bands, size = model.rows.shape[1:]
    rest = _residual(seen, model, scores)
    weighed = rest * weights[:, None]
    square = weighed @ rest.mT
    number = weights.sum(axis=1)[:, None, None]
    if seen.there is None:
        counts = np.broadcast_to(number, square.shape)
    else:
        counts = (seen.there * weights[:, None]) @ seen.there.mT.astype(np.float64)
    share = counts / np.maximum(number, LEAST_NOISE)
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


def _weigh(seen: Seen, times: np.ndarray, model: Model) -> list[Around]:
    """Return by band the kriging weights that its rows ask for; few seen dates have none."""
    found = []
    for band in range(seen.counts.shape[1]):
        known = seen.counts[:, band] >= model.rows.shape[2]
        weights, error = np.zeros((len(times),) * 2), np.ones(len(times))
        if known.sum() == 1:
            weights[:, known] = 1
        elif known.any():
            weights, error = krige(times, known, *variogram(model.rows[known, band], times[known]))
        found.append((known, weights, error))
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
