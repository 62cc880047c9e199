"""How far a fused image may be off: an expectation for every pixel, held against a known change.

Of each pixel x and band, with fine images F_k, and D_k the (believed) changes of coarse images::

    expected = H^(1/2) (L + N)^(1/4) T^(1/4) [(K / H)^(1/8)]             (a variance)
    variance = ALONE expected + SPREAD spread^2                          (nothing known)
    variance = KNOWN^2 (mean square error / mean expected, known) expected

    H = (1 - 1 / ratio) * variance of F within coarse pixels + N                 (of the scene)
    N = variance of the misfit between the images of a pair                      (of the scene)
    L = variance over 5 x 5 coarse pixels around x of the mean of D_k       (an uneven change)
    T = variance of F over 5 x 5 fine pixels around x         (texture: borders, small things)
    K = mean of (F_2 - F_1)^2 over 5 x 5 fine pixels around x         (two pairs: known to change)

What a coarse image cannot tell is what goes on inside of its pixels. How much that can be is known
from the fine images, and how much of it there was from how unlike the changes of coarse pixels
around are. The error grows far less than in proportion with the change. Between two pairs, changes
from both sides cancel in the mean of D_k where the target lies in the middle.

*Known*: of two pairs, each fine image is predicted from the other one, in the middle of the scene,
and the error there, band by band, is held against what was expected of it. It is the error from one
date to another that is far away, and the target lies between both: the error there was .5 to .85 of
it, on real scenes. For a method that needs two pairs, fine + coarse change stands in (`STAND_IN`).

*spread* is that of the method, if it gives one. With two pairs the known error has it already.

Powers and constants were set on 67 cases and six methods together (boreal forest, irrigated fields,
NDVI with composites; simulated land of ratios 2 to 33). Powers fitted by likelihood with one pair
were .54, .22 and .24 for H, L + N and T, and .49 to .58, .21 to .25 and .21 to .27 with each of the
five kinds of land left out; that of K .08 (-.02 to .18). That it grows with the change of the
estimate (a power of .1) made no difference, and is left out. docs/choosing.md says what 90 %
intervals then cover.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xstf.numerics.array_module import beside
from xstf.numerics.belief import believed, find_belief
from xstf.numerics.cuda.upsample import upsample as lifted_there
from xstf.numerics.degrade import block_means
from xstf.numerics.unmixing import SEEN
from xstf.numerics.upsample import upsample
from xstf.numerics.window_mean import window_mean

Inner = tuple[slice, slice]
# estimate(fine, coarse) of one pair.
Estimate = Callable[[np.ndarray, np.ndarray], np.ndarray]

CELLS = 5  # coarse pixels along the side of the window of L
PIXELS = 5  # fine pixels along the side of the window of T
LEAST = 1e-3  # of H that L + N and T are at least
ALONE, SPREAD, KNOWN = 1.1, 0.25, 0.75
STAND_IN = 0.7  # of the squared error of delta: of it methods have .7 on real scenes, but starfm 1
# Fine pixels along the side of what a known change is looked at in, at most: some thousand similar
# pixels tell an error to a few per cent.
SIDE = 208
FEWEST = 16  # coarse pixels without which a known change tells nothing

# Coarse pixels around a fine one that `expected` depends on: the window's, one for interpolation,
# one that the believed change of each depends on.
REACH = CELLS // 2 + 2


class Doubt(NamedTuple):
    """What is known of the errors of a method in a scene, ``(band,)`` each.

    Parameters
    ----------
    detail, noise : ndarray
        H and N.
    factor : ndarray
        What `expected` is multiplied by.
    spread : ndarray
        What the method's own variance is multiplied by.
    """

    detail: np.ndarray
    noise: np.ndarray
    factor: np.ndarray
    spread: np.ndarray

    def deviation(
        self, fine: np.ndarray, coarse: np.ndarray, spread: np.ndarray | None, *, ratio: int,
        inner: Inner,
    ) -> np.ndarray:  # fmt: skip
        """Return the standard deviation ``(band, y, x)`` of the inner part, never missing.

        Parameters
        ----------
        fine, coarse, ratio, inner
            As `expected` takes them.
        spread
            The method's own standard deviation of the inner part, None if it gives none.
        """
        detail, noise, factor, share = (beside(n, fine) for n in self)
        hope = expected(fine, coarse, detail, noise, ratio=ratio, inner=inner)
        variance = hope * factor[:, None, None]
        if spread is not None:
            own = np.square(np.nan_to_num(spread), dtype=np.float64)
            variance = variance + share[:, None, None] * own
        deviation: np.ndarray = np.sqrt(variance).astype(np.float32)
        return deviation


def expected(
    fine: np.ndarray, coarse: np.ndarray, detail: np.ndarray, noise: np.ndarray, *, ratio: int,
    inner: Inner,
) -> np.ndarray:  # fmt: skip
    """Return the expected variance ``(band, y, x)`` of the inner part.

    Parameters
    ----------
    fine
        ``(pair, band, y, x)``, NaN where missing: all that are known.
    coarse
        ``(pair + 1, band, y / ratio, x / ratio)``, the target date last, those of one or all pairs.
    detail, noise
        ``(band,)``: H, which stands for L and T where these are missing, and N.
    ratio
        Coarse pixel size / fine pixel size.
    inner
        Rows and columns of the wanted part.
    """
    change = _mean_of((coarse[-1:] - coarse[:-1]).astype(np.float64))
    lift = upsample if isinstance(fine, np.ndarray) else lifted_there
    uneven = lift(_variance(change[None], CELLS).astype(np.float32), ratio)[0]
    area, own = with_margin(inner, fine.shape[-2:], PIXELS // 2)
    images = fine[:, :, *area]
    texture = _mean_of(_variance(images, PIXELS))[:, *own]
    level, misfit = detail[:, None, None], noise[:, None, None]

    def some(part: np.ndarray) -> np.ndarray:
        return np.maximum(np.where(np.isfinite(part), part, level), LEAST * level)

    found = level * np.sqrt(some(uneven[:, *inner] + misfit) * some(texture))
    if len(fine) > 1:
        change = window_mean(np.square(images[1] - images[0], dtype=np.float64), PIXELS)[:, *own]
        found *= (some(change) / np.where(level > 0, level, 1)) ** 0.25
    hope: np.ndarray = np.sqrt(found)
    return hope


def _variance(images: np.ndarray, window: int) -> np.ndarray:
    """Return the variance in a window around each pixel of ``(image, band, y, x)``."""
    mean = window_mean(images, window)
    square = window_mean(np.square(images, dtype=np.float64), window)
    variance: np.ndarray = np.maximum(square - np.square(mean, dtype=np.float64), 0)
    return variance


def _mean_of(images: np.ndarray) -> np.ndarray:
    """Return the mean of the images that are not missing, NaN where all are."""
    seen = np.isfinite(images)
    count = seen.sum(axis=0)
    total = np.where(seen, images, 0).sum(axis=0)
    mean: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def with_margin(inner: Inner, size: tuple[int, ...], margin: int) -> tuple[Inner, Inner]:
    """Return the wanted part with a margin inside the tile, and where in that it lies."""
    area = [
        slice(max(0, s.start - margin), min(n, s.stop + margin))
        for s, n in zip(inner, size, strict=True)
    ]
    own = [slice(s.start - a.start, s.stop - a.start) for s, a in zip(inner, area, strict=True)]
    return (area[0], area[1]), (own[0], own[1])


# --- the scene --------------------------------------------------------------------------------


def detail_of(fine: np.ndarray, ratio: int) -> np.ndarray:
    """Return the mean variance of fine images within coarse pixels ``(band,)``, of H its share."""
    seen = block_means((~np.isnan(fine)).astype(np.float32), ratio) >= SEEN
    # Of values about their mean, whose squares do not cancel.
    there = np.where(np.isnan(fine), 0, fine)
    count = np.maximum((~np.isnan(fine)).sum(axis=(0, 2, 3)), 1)
    centred = fine - (there.sum(axis=(0, 2, 3), dtype=np.float64) / count)[:, None, None]
    inside = block_means(centred**2, ratio) - block_means(centred, ratio) ** 2
    total = np.where(seen, np.maximum(inside, 0), 0).sum(axis=(0, 2, 3), dtype=np.float64)
    return np.asarray((1 - 1 / ratio) * total / np.maximum(seen.sum(axis=(0, 2, 3)), 1))


def middle(fine: np.ndarray, coarse: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of both stacks, whole coarse pixels, up to `SIDE`."""
    cuts = []
    for n in coarse.shape[-2:]:
        size = min(n, max(8, SIDE // ratio))
        cuts.append(slice((n - size) // 2, (n - size) // 2 + size))
    wide = [slice(c.start * ratio, c.stop * ratio) for c in cuts]
    return fine[..., wide[0], wide[1]].copy(), coarse[..., cuts[0], cuts[1]].copy()


def unchecked(detail: np.ndarray, noise: np.ndarray) -> Doubt:
    """Return the doubt of a scene without a known change."""
    same = np.ones(len(detail))
    return Doubt(detail, noise, ALONE * same, SPREAD * same)


def checked(
    doubt: Doubt, fine: np.ndarray, coarse: np.ndarray, estimate: Estimate | None, *, ratio: int,
    spill: float, believe: bool,
) -> Doubt:  # fmt: skip
    """Return a doubt held against a known change, band by band where enough of it is seen.

    Parameters
    ----------
    doubt
        As `unchecked` gives it.
    fine, coarse
        ``(2, band, y, x)`` of two pairs, and ``(2, band, y / ratio, x / ratio)``.
    estimate
        Returns what one pair and a coarse image make of its date. None for a method that needs two:
        `delta` stands in for it.
    ratio, spill
        Coarse pixel size / fine pixel size; share of each neighbour in a coarse pixel.
    believe
        Whether the coarse change is believed first.
    """
    square, hoped, count = (np.zeros(len(doubt.detail)) for _ in range(3))
    inner = (slice(0, fine.shape[-2]), slice(0, fine.shape[-1]))
    for base, target in ((0, 1), (1, 0)):
        before, after = fine[base : base + 1], coarse[[base, target]]
        if believe:
            belief = find_belief(before, after, ratio=ratio, spill=spill)
            after = believed(before, after, belief, ratio=ratio).astype(np.float32)
        off = (estimate or delta)(before, after) - fine[target].astype(np.float64)
        use = np.isfinite(off)
        hope = expected(fine, after, doubt.detail, doubt.noise, ratio=ratio, inner=inner)
        square += (np.where(use, off, 0) ** 2).sum(axis=(1, 2))
        hoped += np.where(use, hope, 0).sum(axis=(1, 2))
        count += use.sum(axis=(1, 2))
    told = (count >= 2 * FEWEST * ratio**2) & (hoped > 0)
    share = KNOWN**2 * (STAND_IN if estimate is None else 1)
    found = share * square / np.where(told, hoped, 1)
    return doubt._replace(
        factor=np.where(told, found, doubt.factor), spread=np.where(told, 0.0, doubt.spread)
    )


def delta(fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Return the fine image of a pair plus the interpolated coarse change."""
    ratio = fine.shape[-1] // coarse.shape[-1]
    change = np.ascontiguousarray(coarse[-1:] - coarse[:1], np.float32)
    return np.asarray(fine[0] + upsample(change, ratio)[0])
