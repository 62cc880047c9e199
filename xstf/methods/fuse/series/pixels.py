"""The fine images' part of a series: what of them, less the coarse ones, goes to each date.

All of it is linear in the differences ``d_k`` of a pixel, and the sums of its weights are 1 where
the coarse images do not change.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.fuse.series.in_time import gaps_of, place_between
from xstf.methods.fuse.series.rows import PULL, add_rows, room_of


class Band(NamedTuple):
    """What a band's pixels share.

    Parameters
    ----------
    noise
        Of a fine image, in days of drift.
    ridge
        Noise of the regression on coarse anomalies; 0: no regression.
    own, wanted
        ``(date, date)`` and ``(target, date)``: covariances of coarse anomalies among fine dates,
        and of the wanted dates with them.
    drift
        Variance of a day's drift.
    power, usual
        How the variance of errors grows with that of the level, which equals it at `usual` days.
    """

    noise: float
    ridge: float
    own: np.ndarray
    wanted: np.ndarray
    drift: float
    power: float = 1.0
    usual: float = 1.0


class Days(NamedTuple):
    """Dates as the loops need them.

    Parameters
    ----------
    gaps
        Days from each fine date to the next.
    before, share
        The fine date before each wanted one, and the share of the next one.
    lead, lag
        Days from that fine date to the wanted one, and from there to the next; infinite where there
        is none.
    """

    gaps: np.ndarray
    before: np.ndarray
    share: np.ndarray
    lead: np.ndarray
    lag: np.ndarray


def days_of(times: np.ndarray, wanted: np.ndarray) -> Days:
    """Return dates as the loops need them."""
    before, share = place_between(times, wanted)
    after = np.minimum(before + 1, len(times) - 1)
    early, late = wanted < times[0], wanted > times[-1]
    lead = np.where(early, np.inf, wanted - times[np.where(late, after, before)])
    lag = np.where(late, np.inf, times[np.where(early, before, after)] - wanted)
    if len(times) == 1:
        lag = np.where(early, lag, np.inf)
    return Days(gaps_of(times), before, share, lead, lag)


# --- the definition -----------------------------------------------------------------------------


def add_numpy(
    out: np.ndarray, std: np.ndarray | None, difference: np.ndarray, times: np.ndarray,
    wanted: np.ndarray, band: Band,
) -> None:  # fmt: skip
    """Add the fine images' part of a band to what the coarse ones say, in place.

    Parameters
    ----------
    out : ndarray (target, y, x)
        NaN where a pixel has no difference at all.
    std : ndarray (target, y, x), optional
    difference : ndarray (date, y, x)
        Fine less coarse, NaN where missing.
    times, wanted : ndarray (date,), ndarray (target,)
    """
    flat = difference.reshape(len(difference), -1).astype(np.float64)
    patterns, which = np.unique(~np.isnan(flat), axis=1, return_inverse=True)
    which = which.ravel()
    there, spread = out.reshape(len(out), -1), None if std is None else std.reshape(len(out), -1)
    for number, seen in enumerate(patterns.T):
        here = which == number
        if not seen.any():
            there[:, here] = np.nan
            if spread is not None:
                spread[:, here] = np.nan
            continue
        data = flat[seen][:, here]
        weights, variance = _weights(times[seen], wanted, seen, band)
        there[:, here] += weights @ data
        if spread is not None:
            drift = _own_drift(data, times[seen], band)
            grown = band.usual * ((variance + band.noise) / band.usual) ** band.power
            spread[:, here] = np.sqrt(grown[:, None] * drift)
    out[...] = there.reshape(out.shape)
    if std is not None and spread is not None:
        std[...] = spread.reshape(std.shape)


def _weights(
    times: np.ndarray, wanted: np.ndarray, seen: np.ndarray, band: Band
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of each date for each target, and the variance of the drift's part."""
    count = len(times)
    system = np.ones((count + 1, count + 1))
    system[-1, -1] = 0.0
    system[:-1, :-1] = -0.5 * np.abs(times[:, None] - times) + band.noise * np.eye(count)
    right = np.ones((count + 1, len(wanted)))
    right[:-1] = -0.5 * np.abs(times[:, None] - wanted)
    level = np.linalg.solve(system, right)[:-1]
    variance = ((system[:-1, :-1] @ level - 2.0 * right[:-1]) * level).sum(axis=0)
    if band.ridge > 0:
        own = band.own[np.ix_(seen, seen)]
        left = band.wanted[:, seen].T - own @ level
        level = level + np.linalg.solve(own + band.ridge * np.eye(count), left)
    return level.T, np.maximum(variance, 0.0)


def _own_drift(data: np.ndarray, times: np.ndarray, band: Band) -> np.ndarray:
    """Return the variance of a day's drift of pixels: their innovations, drawn to the scene's."""
    total = np.full(data.shape[1], PULL * band.drift)
    mean, variance = data[0], band.noise
    for k in range(1, len(times)):
        ahead = variance + max(times[k] - times[k - 1], 1e-3)
        new = data[k] - mean
        total += new**2 / (ahead + band.noise)
        gain = ahead / (ahead + band.noise)
        mean = mean + gain * new
        variance = gain * band.noise
    return total / (PULL + len(times) - 1)


# --- compiled -----------------------------------------------------------------------------------


def add(
    out: np.ndarray, std: np.ndarray | None, difference: np.ndarray, times: np.ndarray,
    wanted: np.ndarray, band: Band,
) -> None:  # fmt: skip
    """Do the same as `add_numpy` by compiled loops."""
    days = days_of(times, wanted)
    own = np.ascontiguousarray(band.own, np.float64)
    ahead = np.ascontiguousarray(band.wanted, np.float32)
    # Contiguous float32 all: the loops are compiled once.
    found = np.ascontiguousarray(out, np.float32)
    spread = np.empty((0, 0, 0) if std is None else std.shape, np.float32)
    numbers = np.array([band.noise, band.ridge, band.drift, band.power, band.usual])
    difference = np.ascontiguousarray(difference, np.float32)
    room = room_of(len(difference), difference.shape[2])
    add_rows(found, spread, difference, own, ahead, *days, numbers, room)
    if found is not out:
        out[...] = found
    if std is not None:
        std[...] = spread
