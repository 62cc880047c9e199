"""How far a fused image may be off: an expectation for every pixel, held against a known change.

Of each pixel x and band, with fine images F_k, and D_k the (believed) changes of coarse images::

    expected = H^(1/2) (L + N)^(1/4) T^(1/4) Q [(R / H)^(1/4)]           (a variance)
    variance = ALONE expected + SPREAD spread^2                          (nothing known)
    variance = KNOWN^2 (mean square error / mean expected, known) expected

    H = (1 - 1 / ratio) * variance of F within coarse pixels + N                 (of the scene)
    N = variance of the misfit between the images of a pair                      (of the scene)
    L = variance over 5 x 5 coarse pixels around x of the mean of D_k       (an uneven change)
    T = variance of F over 5 x 5 fine pixels around x         (texture: borders, small things)
    Q = how unevenly land like that of x changed, over the mean of the scene    (`kinds_of`)
    R = mean of (F_2 - F_1 - coarse change)^2 over 5 x 5 fine pixels around x      (two pairs)

What a coarse image cannot tell is what goes on inside of its pixels. How much that can be is known
from the fine images, and how much of it there was from how unlike the changes of coarse pixels
around are. The error grows far less than in proportion with the change. Between two pairs, changes
from both sides cancel in the mean of D_k where the target lies in the middle.

Q is what tells pixels of a band apart best: crops change each in their own way, forest and water
hardly. Land is told apart by `KINDS` soft classes of the fine images (all bands of both, of two
pairs), and of each the mean square of the coarse change, less its mean over the scene, is known
from the coarse pixels that it fills. With two pairs, R is where fine + coarse change was wrong
between their dates.

*Known*: of two pairs, each fine image is predicted from the other one, in the middle of the scene,
and the error there, band by band, is held against what was expected of it. It is the error from one
date to another that is far away, and the target lies between both: the error there was .5 to .85 of
it, on real scenes. For a method that needs two pairs, fine + coarse change stands in (`STAND_IN`).

*spread* is that of the method, if it gives one. With two pairs the known error has it already.

Powers of H, L + N and T, and the constants, were set on 67 cases and six methods together (boreal
forest, irrigated fields, NDVI with composites; simulated land of ratios 2 to 33). Fitted by
likelihood with one pair the powers were .54, .22 and .24, and .49 to .58, .21 to .25 and .21 to .27
with each of the five kinds of land left out. Those of Q and R were fitted to errors within bands
alone: Q 1.2 with one pair and .9 with two, R .25. Within bands the rank correlation of the
expectation with the error of `fsdaf` went from .19, .10, .15 and .23 (forest, fields, NDVI,
simulated) to .23, .24, .23 and .34 with one pair, and from .18, .26, .15 and .31 to .19, .40, .17
and .38 with two. docs/choosing.md says what 90 % intervals then cover.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from xstf.numerics.array_module import beside, contiguous
from xstf.numerics.belief import believed, find_belief
from xstf.numerics.cuda.unmixing import mix as mixed_there
from xstf.numerics.cuda.upsample import upsample as lifted_there
from xstf.numerics.degrade import block_means
from xstf.numerics.unmixing import SEEN, Classes, find_classes, predict
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
KINDS = 8  # of land; 16 tell the same
FILLED = 4.0  # coarse pixels that a kind fills whose evidence counts as much as the mean of all

# Coarse pixels around a fine one that `expected` depends on: the window's, one for interpolation,
# one that the believed change of each depends on.
REACH = CELLS // 2 + 2


class Scene(NamedTuple):
    """What the expectation takes from the whole scene.

    Parameters
    ----------
    detail, noise : ndarray (band,)
        H and N.
    classes : Classes
        Of land, in all bands of all pairs.
    kinds : ndarray (band, class)
        Q of each.
    """

    detail: np.ndarray
    noise: np.ndarray
    classes: Classes
    kinds: np.ndarray


class Doubt(NamedTuple):
    """What is known of the errors of a method in a scene.

    Parameters
    ----------
    scene : Scene
    factor : ndarray (band,)
        What `expected` is multiplied by.
    spread : ndarray (band,)
        What the method's own variance is multiplied by.
    """

    scene: Scene
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
        found = expected(fine, coarse, self.scene, ratio=ratio, inner=inner)
        variance = found * beside(self.factor[:, None, None], found)
        if spread is not None:
            own = np.square(np.nan_to_num(spread), dtype=np.float64)
            variance = variance + beside(self.spread[:, None, None], own) * own
        deviation: np.ndarray = np.sqrt(variance).astype(np.float32)
        return deviation


def expected(
    fine: np.ndarray, coarse: np.ndarray, scene: Scene, *, ratio: int, inner: Inner
) -> np.ndarray:
    """Return the expected variance ``(band, y, x)`` of the inner part.

    Parameters
    ----------
    fine
        ``(pair, band, y, x)``, NaN where missing: all that are known.
    coarse
        ``(image, band, y / ratio, x / ratio)``: those of all pairs and of the target date, last; or
        those of two pairs, if the change between them is to be expected.
    scene
        Its H stands for what is missing.
    ratio
        Coarse pixel size / fine pixel size.
    inner
        Rows and columns of the wanted part.
    """
    change = _mean_of((coarse[-1:] - coarse[:-1]).astype(np.float64))
    uneven = _lifted(_variance(change[None], CELLS).astype(np.float32), ratio)[0][:, *inner]
    level, noise = (beside(n[:, None, None], uneven) for n in (scene.detail, scene.noise))
    within = pattern(fine, coarse, scene, ratio=ratio, inner=inner)
    found: np.ndarray = np.sqrt(level * np.sqrt(_some(uneven + noise, level))) * within
    return found


def pattern(
    fine: np.ndarray, coarse: np.ndarray, scene: Scene, *, ratio: int, inner: Inner
) -> np.ndarray:
    """Return the part of the expectation that no target date has a say in: T, Q and R.

    Parameters are those of `expected`; of the coarse images the first two count, of two pairs.
    """
    area, own = with_margin(inner, fine.shape[-2:], PIXELS // 2)
    images = fine[:, :, *area]
    level = beside(scene.detail[:, None, None], images)
    found = _some(_mean_of(_variance(images, PIXELS))[:, *own], level)
    if len(fine) > 1:
        told = _lifted((coarse[1:2] - coarse[:1]).astype(np.float32), ratio)[0]
        missed = np.square(images[1] - images[0] - told[:, *area], dtype=np.float64)
        missed = window_mean(missed, PIXELS)[:, *own]
        found = found * _some(missed, level) / np.where(level > 0, level, 1)
    within: np.ndarray = np.sqrt(np.sqrt(found)) * _kind(fine[:, :, *inner], scene)
    return within


def _lifted(coarse: np.ndarray, ratio: int) -> np.ndarray:
    """Return images interpolated to fine pixels, on the side where they are."""
    lift = upsample if isinstance(coarse, np.ndarray) else lifted_there
    fine: np.ndarray = lift(coarse, ratio)
    return fine


def _some(part: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return values that are there, and over 0: the scene's level stands for others."""
    return np.maximum(np.where(np.isfinite(part), part, level), LEAST * level)


def _kind(fine: np.ndarray, scene: Scene) -> np.ndarray:
    """Return Q of each pixel, 1 where one of its values is missing."""
    stack = contiguous(fine.reshape(-1, *fine.shape[-2:]).astype(np.float32))
    none = np.zeros((len(scene.kinds), len(stack)))
    if isinstance(stack, np.ndarray):
        found = predict(stack, 1, scene.classes, scene.kinds, none)[0]
    else:
        found = mixed_there(stack, scene.classes, scene.kinds, none)
    return np.where(np.isnan(found), 1.0, found)


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


def packed(scene: Scene) -> dict[str, np.ndarray]:
    """Return a scene as arrays by name, `unpacked` makes it of."""
    classes = {f"classes_{k}": np.asarray(v) for k, v in scene.classes._asdict().items()}
    return {"detail": scene.detail, "noise": scene.noise, "kinds": scene.kinds, **classes}


def unpacked(arrays: Mapping[str, np.ndarray]) -> Scene:
    """Return the scene of arrays."""
    mean, scale, centres, spread = (arrays[f"classes_{k}"] for k in Classes._fields)
    classes = Classes(mean, scale, centres, float(spread))
    return Scene(arrays["detail"], arrays["noise"], classes, arrays["kinds"])


def scene_of(fine: np.ndarray, coarse: np.ndarray, noise: np.ndarray, ratio: int) -> Scene:
    """Return what the expectation takes from a scene, of images as `expected` takes them."""
    stack = np.ascontiguousarray(fine.reshape(-1, *fine.shape[-2:]), np.float32)
    classes = find_classes([stack], KINDS)
    change = _mean_of((coarse[-1:] - coarse[:-1]).astype(np.float64))
    kinds = kinds_of(stack, change, classes, ratio)
    return Scene(detail_of(fine, ratio) + noise, noise, classes, kinds)


def kinds_of(stack: np.ndarray, change: np.ndarray, classes: Classes, ratio: int) -> np.ndarray:
    """Return how unevenly each class changed ``(band, class)``, over the mean of the scene.

    Mean squares of the change, less its mean, of coarse pixels by the square of what a class fills
    of them; drawn to that of all pixels, the more the fewer these are.

    Parameters
    ----------
    stack
        ``(pair * band, y, x)`` as the classes have them.
    change
        ``(band, y / ratio, x / ratio)``, NaN where missing.
    """
    count = len(classes.centres)
    nothing = np.zeros((count, len(stack)))
    _, filled, seen = predict(stack, ratio, classes, np.eye(count), nothing)
    kinds = np.ones((len(change), count))
    for own, moved in zip(kinds, change, strict=True):
        use = (seen >= SEEN * ratio**2) & np.isfinite(moved)
        if not use.any():
            continue
        share, square = filled[:, use], (moved[use] - moved[use].mean()) ** 2
        if not square.any():
            continue
        # Sums row by row: a product of matrices rounds as it is cut into blocks.
        total, mass = (share**2 * square).sum(axis=1), (share**2).sum(axis=1)
        found = (total + FILLED * square.mean()) / (mass + FILLED)
        own[:] = found / (found * share.mean(axis=1)).sum()
    return kinds


def middle(fine: np.ndarray, coarse: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of both stacks, whole coarse pixels, up to `SIDE`."""
    cuts = []
    for n in coarse.shape[-2:]:
        size = min(n, max(8, SIDE // ratio))
        cuts.append(slice((n - size) // 2, (n - size) // 2 + size))
    wide = [slice(c.start * ratio, c.stop * ratio) for c in cuts]
    return fine[..., wide[0], wide[1]].copy(), coarse[..., cuts[0], cuts[1]].copy()


def unchecked(scene: Scene) -> Doubt:
    """Return the doubt of a scene without a known change."""
    same = np.ones(len(scene.detail))
    return Doubt(scene, ALONE * same, SPREAD * same)


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
    square, hoped, count = (np.zeros(fine.shape[1]) for _ in range(3))
    inner = (slice(0, fine.shape[-2]), slice(0, fine.shape[-1]))
    for base, target in ((0, 1), (1, 0)):
        before, after = fine[base : base + 1], coarse[[base, target]]
        if believe:
            belief = find_belief(before, after, ratio=ratio, spill=spill)
            after = believed(before, after, belief, ratio=ratio).astype(np.float32)
        off = (estimate or delta)(before, after) - fine[target].astype(np.float64)
        use = np.isfinite(off)
        pair = after[[base, target]]  # as the fine images are ordered
        hope = expected(fine, pair, doubt.scene, ratio=ratio, inner=inner)
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
