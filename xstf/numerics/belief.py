"""How far the change between coarse images is believed: it holds the sensor's noise twice.

Of each pair, with fine image F, coarse image C, and T the coarse image of the target date, band by
band and on coarse pixels::

    C = a S mean(F) + b + e                     (e: the misfit of the pair; S: what the sensor sees)
    D = T - C
    believed = m + gain (D - m + pull e)        (m: mean of D)

``pull``: what C has and F does not is in part noise of C, which is in D as well.

``gain``, with N the mean variance of the misfits of the pairs, V that of D::

    1 - PULL (2 - PULL) N / V                                       (prior)

times, with two pairs, what a *known* change tells. The change of F between the two dates is known;
s is the slope of its block means on the coarse change. If s < 1 because of noise, as much noise is
in D (so that the slope there is ``1 - (1 - s) V12 / V``); if the sensors see a change at other
strengths, the slope there is s. The mean of both, r, is drawn to 1 where few coarse pixels tell it,
and::

    gain = [prior * (1 - (1 - r)^2)]^(1/2)      (s itself where it is over 1)

``1 - (1 - r)^2``: the methods take out about as much of the noise themselves, by their classes and
means over similar pixels. On shared scenes r foretold the slope at the target date to .1 on most.

Sensors of nearly the same resolution are alike, and what they disagree on is no noise of a pixel
but spectral response, view and time of day, which are alike on both dates: below a ratio of `WIDE`
the prior share of noise falls to 0 at ratio 1.

If the coarse images are block means of the fine ones, e is 0 and the change is believed as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.array_module import beside
from xstf.numerics.degrade import block_means
from xstf.numerics.unmixing import SEEN, see

PULL = 0.2  # share of a misfit that is taken for noise of C; .25 changes errors by under 1 %
LEAST = 0.1  # of a gain
WIDE = 8.0  # ratio from which coarse sensors are wide-swath scanners, whose pixels wander
EVIDENCE = 30.0  # coarse pixels whose evidence counts as much as the prior
FEWEST = 16  # coarse pixels of which nothing is estimated if there are less


class Belief(NamedTuple):
    """How each pair's coarse change is believed; ``(pair, band)`` but for the last four.

    Parameters
    ----------
    slope, offset : ndarray
        a and b.
    level, gain, pull : ndarray
        m, gain, pull.
    noise : ndarray (band,)
        Variance of the misfit of a pair, N.
    agreement : ndarray (band,)
        Share of the variance of C that F explains, the mean of the pairs.
    known : ndarray (band,)
        With two pairs, the slope s; NaN where nothing tells it.
    spill : float
        Share of each neighbour in a coarse pixel.
    """

    slope: np.ndarray
    offset: np.ndarray
    level: np.ndarray
    gain: np.ndarray
    pull: np.ndarray
    noise: np.ndarray
    agreement: np.ndarray
    known: np.ndarray
    spill: float


def find_belief(fine: np.ndarray, coarse: np.ndarray, *, ratio: int, spill: float) -> Belief:
    """Return how far the coarse changes of a scene are believed.

    Parameters
    ----------
    fine
        ``(pair, band, y, x)``, NaN where missing.
    coarse
        ``(pair + 1, band, y / ratio, x / ratio)``, the target date last.
    ratio
        Coarse pixel size / fine pixel size.
    spill
        Share of each neighbour in a coarse pixel.
    """
    seen = seen_means(fine, ratio, spill)
    pairs, bands = fine.shape[:2]
    slope, gain = np.ones((pairs, bands)), np.ones((pairs, bands))
    offset, level, pull = (np.zeros((pairs, bands)) for _ in range(3))
    noise, known, agreement = np.zeros(bands), np.full(bands, np.nan), np.zeros(bands)
    share = min(1.0, (ratio - 1) / (WIDE - 1))
    for b in range(bands):
        for k in range(pairs):
            slope[k, b], offset[k, b] = _line(seen[k, b], coarse[k, b])
        misfit = coarse[:-1, b] - slope[:, b, None, None] * seen[:, b] - offset[:, b, None, None]
        noise[b] = np.mean([_variance(e) for e in misfit])
        whole = np.mean([_variance(c) for c in coarse[:-1, b]])
        agreement[b] = 1 - noise[b] / whole if whole > 0 else 0.0
        if pairs > 1:
            known[b], told = _known(seen[1, b] - seen[0, b], coarse[1, b] - coarse[0, b])
        for k in range(pairs):
            change = coarse[-1, b] - coarse[k, b]
            variance = _variance(change)
            if not variance > 0:
                continue
            level[k, b] = np.nanmean(change)
            # Images alike in their noise, too, differ less than noise would let them.
            pull[k, b] = share * PULL * min(1.0, variance / (2 * PULL * noise[b] + 1e-30))
            prior = 1 - share * PULL * (2 - PULL) * noise[b] / variance
            gain[k, b] = max(LEAST, prior)
            if pairs > 1 and np.isfinite(known[b]):
                gain[k, b] = _drawn(gain[k, b], known[b], *told, variance)
    return Belief(slope, offset, level, gain, pull, noise, agreement, known, spill)


def believed(fine: np.ndarray, coarse: np.ndarray, belief: Belief, *, ratio: int) -> np.ndarray:
    """Return the coarse images of the pairs moved so that their change is the believed one.

    Of shapes as in `find_belief`; the target's image stays as it is.
    """
    if (belief.gain == 1).all() and (belief.pull == 0).all():
        return coarse
    slope, offset, level, gain, pull = (beside(n[:, :, None, None], coarse) for n in belief[:5])
    misfit = coarse[:-1] - slope * seen_means(fine, ratio, belief.spill)
    misfit = np.nan_to_num(misfit - offset)
    change = coarse[-1:] - coarse[:-1] - level + pull * misfit
    out = coarse.copy()
    out[:-1] = coarse[-1:] - (level + gain * change)
    return out


def seen_means(fine: np.ndarray, ratio: int, spill: float) -> np.ndarray:
    """Return what the coarse sensor sees of fine images; NaN where under half of a pixel is."""
    valid = block_means((~np.isnan(fine)).astype(np.float32), ratio)
    return see(np.where(valid >= SEEN, block_means(fine, ratio), np.nan), spill)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of y on x; 1 and their difference where x tells nothing."""
    use = np.isfinite(x + y)
    if use.sum() < FEWEST:
        return 1.0, 0.0
    x, y = x[use].astype(np.float64), y[use].astype(np.float64)
    power = ((x - x.mean()) ** 2).sum()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / power if power > 0 else 1.0
    return float(slope), float(y.mean() - slope * x.mean())


def _variance(values: np.ndarray) -> float:
    use = np.isfinite(values)
    return float(values[use].astype(np.float64).var()) if use.sum() >= FEWEST else 0.0


def _known(fine: np.ndarray, coarse: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Return the slope of a known change on the coarse one; and of that the variance, the count."""
    use = np.isfinite(fine + coarse)
    variance, count = _variance(np.where(use, coarse, np.nan)), float(use.sum())
    if count < FEWEST or not variance > 0:
        return np.nan, (0.0, 0.0)
    slope = _line(coarse, fine)[0]
    return float(np.clip(slope, 0.0, 1.5)), (variance, count)


def _drawn(prior: float, slope: float, variance12: float, count: float, variance: float) -> float:
    """Return the gain that a known change and the prior tell together."""
    if slope >= 1:
        told = slope
    else:
        noisy = float(np.clip(1 - (1 - slope) * variance12 / variance, 0.0, 1.0))
        told = 1 - (1 - (slope + noisy) / 2) ** 2
    told = (told * count + EVIDENCE) / (count + EVIDENCE)
    return max(LEAST, float(np.sqrt(prior * told)))
