"""How far a coarse image lies off a fine one, and how much its pixels see of their neighbours.

Both are found by comparing images of one date: the block means of the fine image, moved by a shift
and mixed with the block means around by a spill, against the coarse image::

    seen(shift, spill) = [spill, 1 - 2 spill, spill]' * block mean(F moved by shift)

The shift is the one whose mean correlation over pairs and bands is highest. It is believed only if
the correlation gains on that of no shift, each with its best spill, as much as `GAIN`; if what is
left unexplained falls by `LESS`, so that a gain by chance is none where the images agree poorly
anyway; and if it is higher than the best of unlike images is by chance (`CHANCE`). Nothing is
resampled: the shift is whole fine pixels, by which the coarse grid is moved.
Parts of a fine pixel stay: half of one along both axes, the most that can, adds to the error of
`auto` 6 % (one pair) and 8 % (two) at ratio 2, 2 % at 3, 1.5 % at 4 and .4 % at 8 on simulated
land. Undoing it by bilinear interpolation of the coarse images made it worse (9 and 11 % at 2); a
cubic spline won back 4 to 5 % there and 1 to 1.5 % at 3, but at the price of resampled values.

All shifts are tried at once, without a search that may end in a local maximum: the moving block
mean of the fine image, cut into the phases of the coarse grid, holds the block means of every
shift. Where coarse pixels are many fine ones wide, the fine image is averaged first to about
`PARTS` pixels in a coarse one, and the last step of the shift is climbed from the best one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.ndimage import uniform_filter1d

from xstf.numerics.unmixing import see

# Fine images of some pairs and the coarse ones of their dates.
Pairs: TypeAlias = tuple[np.ndarray, np.ndarray]

REACH = 1.5  # coarse pixels that a shift may have along y and x
GAIN = 0.003  # in correlation: the shared scenes that lie right gain under .001, those off .01-.07
LESS = 0.02  # share of the unexplained variance that a shift must explain
# Over the square root of the coarse pixels, a correlation that chance hardly gives. Of images of
# other places the best of 16 shifts is over 3.1 of these once in 100 times, if pixels are unlike
# their neighbours; if they are not, a little more.
CHANCE = 4.0
FEWEST = 8  # coarse pixels along a side without which nothing is found
PARTS = 8  # pixels in a coarse one, along a side, in the first step
CELLS = 64  # coarse pixels along a side that are looked at, at most
IMAGES = 6  # images (pairs and bands) that are looked at, at most
SPILLS = np.arange(0.0, 0.34, 0.04)
USUAL_SPILL = 0.12  # of coarse sensors of pixels about as wide as their point spread


class Registration(NamedTuple):
    """Where the coarse pixels truly lie, and what they see.

    Parameters
    ----------
    shift : (int, int)
        Down, right, in fine pixels, from where the grid says.
    spill : float
        Share of each neighbour in a coarse pixel, along y and x.
    before, after : float
        Mean correlation of fine and coarse images without the shift and with it; NaN where there
        was too little to compare.
    """

    shift: tuple[int, int] = (0, 0)
    spill: float = 0.0
    before: float = np.nan
    after: float = np.nan

    def text(self, asked: bool = True) -> str:
        """Return it in words."""
        if not asked:
            return "not asked for"
        if np.isnan(self.before):
            return "nothing to find it by"
        if self.shift == (0, 0):
            return f"as it lies (correlation with fine {self.before:.3f})"
        return (
            f"coarse moved by {self.shift[0]} fine pixels down, {self.shift[1]} right "
            f"(correlation with fine {self.before:.3f} to {self.after:.3f})"
        )


def find_registration(patches: Sequence[Pairs], ratio: int, *, move: bool = True) -> Registration:
    """Return how coarse images lie on fine ones of the same dates.

    Parameters
    ----------
    patches
        Of the scene: fine ``(pair, band, y, x)``, and coarse ``(pair, band, y / ratio, x / ratio)``
        of the same dates; NaN where missing.
    ratio
        Coarse pixel size / fine pixel size.
    move
        Whether a shift is looked for; else the spill alone.
    """
    some = [_few(fine, coarse, ratio) for fine, coarse in patches]
    some = [(f, c) for f, c in some if min(c.shape[-2:]) >= FEWEST and np.isfinite(c).any()]
    if not some:
        return Registration()
    still = _best_spill(some, ratio, (0, 0))
    if not move or ratio < 2:
        return Registration((0, 0), still[0], still[1], still[1])
    shift = _best_shift(some, ratio)
    spill, after = _best_spill(some, ratio, shift)
    gains = after - still[1] >= GAIN and 1 - after**2 <= (1 - LESS) * (1 - still[1] ** 2)
    cells = sum(c.shape[-2] * c.shape[-1] for _, c in some)
    gains = gains and after >= CHANCE / cells**0.5
    if shift == (0, 0) or not gains:
        return Registration((0, 0), still[0], still[1], still[1])
    return Registration(shift, spill, still[1], after)


def _few(fine: np.ndarray, coarse: np.ndarray, ratio: int) -> Pairs:
    """Return a part from the middle of some images ``(image, y, x)``, evenly spaced of many."""
    cut = [slice(max(0, n - CELLS) // 2, max(0, n - CELLS) // 2 + CELLS) for n in coarse.shape[-2:]]
    wide = [slice(c.start * ratio, c.stop * ratio) for c in cut]
    fine, coarse = fine[:, :, *wide], coarse[:, :, *cut]
    fine, coarse = (a.reshape(-1, *a.shape[-2:]) for a in (fine, coarse))
    seen = np.flatnonzero(np.isfinite(coarse).any(axis=(1, 2)) & np.isfinite(fine).any(axis=(1, 2)))
    step = max(1, -(-len(seen) // IMAGES))
    return fine[seen[::step]], coarse[seen[::step]].astype(np.float64)


def _best_shift(patches: Sequence[Pairs], ratio: int) -> tuple[int, int]:
    """Return the shift of the highest correlation: of thinned pixels, then of fine ones near."""
    step = max(1, ratio // PARTS)
    while ratio % step:
        step -= 1
    parts, reach = ratio // step, int(REACH * ratio) // step
    thinned = [(_whole_means(f, step), c) for f, c in patches]
    tried = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    scores = _scores(thinned, parts, tried)
    y, x = tried[int(np.argmax(scores))]
    return _climbed(patches, ratio, (y * step, x * step), step)


def _climbed(
    patches: Sequence[Pairs], ratio: int, start: tuple[int, int], step: int
) -> tuple[int, int]:
    """Return the shift that is best among its neighbours, up from one that is near it."""
    coarse = [c for _, c in patches]
    spill = _best_spill(patches, ratio, start)[0]
    known: dict[tuple[int, int], float] = {}

    def score(shift: tuple[int, int]) -> float:
        if max(map(abs, shift)) > REACH * ratio:
            return -np.inf
        if shift not in known:
            seen = [see(_moved_means(fine, ratio, shift), spill) for fine, _ in patches]
            known[shift] = _correlation(seen, coarse)
        return known[shift]

    best = start
    for by in sorted({step, 1}, reverse=True):
        while True:
            y, x = best
            near = [best, (y - by, x), (y + by, x), (y, x - by), (y, x + by)]
            found = max(near, key=score)
            if found == best:
                break
            best = found
    return best


def _best_spill(
    patches: Sequence[Pairs], ratio: int, shift: tuple[int, int]
) -> tuple[float, float]:
    """Return the spill of the highest correlation at a shift, and that."""
    means = [_moved_means(fine, ratio, shift) for fine, _ in patches]
    fits = [
        _correlation([see(m, spill) for m in means], [c for _, c in patches]) for spill in SPILLS
    ]
    best = int(np.argmax(fits))
    return float(SPILLS[best]), float(fits[best])


def _moved_means(fine: np.ndarray, ratio: int, shift: tuple[int, int]) -> np.ndarray:
    """Return the means over coarse pixels that lie a shift away, NaN where not wholly seen."""
    return _whole_means(moved(fine, shift), ratio)


def _whole_means(images: np.ndarray, ratio: int) -> np.ndarray:
    """Return the means of blocks, float64, NaN where a pixel is missing."""
    *lead, height, width = images.shape
    # rows first, then einsum: four times as fast as the mean over both axes
    rows = images.reshape(*lead, height // ratio, ratio, width).sum(axis=-2, dtype=np.float64)
    blocks = rows.reshape(*lead, height // ratio, width // ratio, ratio)
    means: np.ndarray = np.einsum("...r->...", blocks) / ratio**2
    return means


def moved(images: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """Return images whose pixel ``(y, x)`` is that of ``(y + down, x + right)``, NaN beyond."""
    (y, x), (height, width) = shift, images.shape[-2:]
    pad = [(0, 0)] * (images.ndim - 2) + [(max(0, -y), max(0, y)), (max(0, -x), max(0, x))]
    wide = np.pad(images, pad, constant_values=np.nan)
    part: np.ndarray = wide[..., max(0, y) : max(0, y) + height, max(0, x) : max(0, x) + width]
    return part


def _scores(patches: Sequence[Pairs], ratio: int, shifts: list[tuple[int, int]]) -> np.ndarray:
    """Return the mean correlation at each shift, with the usual spill; -1 where too little is seen.

    Sums over the coarse pixels, of every phase at once; of pixels missing on either side none.
    """
    total = np.zeros((6, len(shifts), max(len(c) for _, c in patches)))
    steps = [(divmod(y, ratio), divmod(x, ratio)) for y, x in shifts]
    for fine, coarse in patches:
        phases, powers = _phases(fine, ratio), _powers(coarse)
        for q in sorted({(y[0], x[0]) for y, x in steps}):
            sums = _phase_sums(phases, powers, q)
            if sums is None:
                continue
            for i, (y, x) in enumerate(steps):
                if (y[0], x[0]) == q:
                    total[:, i, : len(coarse)] += sums[:, :, y[1] * ratio + x[1]]
    n, a, b, aa, bb, ab = total
    count = np.maximum(n, 1)
    cov, left, right = ab - a * b / count, aa - a * a / count, bb - b * b / count
    good = (n >= FEWEST**2 / 2) & (left > 0) & (right > 0)
    found = np.where(good, cov / np.sqrt(np.where(good, left * right, 1)), 0.0)
    some = good.sum(axis=1)
    return np.asarray(np.where(some > 0, found.sum(axis=1) / np.maximum(some, 1), -1.0))


def _phase_sums(phases: np.ndarray, powers: np.ndarray, by: tuple[int, int]) -> np.ndarray | None:
    """Return sums over coarse pixels ``(sum, image, phase)``, moved by whole ones.

    Of ones, of the fine means, the coarse values, their squares and their product. None where
    nothing is left in the image.
    """
    rows, cols = (
        slice(max(0, -q) + 1, min(n, n - q) - 2) for q, n in zip(by, powers.shape[-2:], strict=True)
    )
    right = powers[:, :, rows, cols]
    if not right.size:
        return None
    at = tuple(slice(r.start + q, r.stop + q) for r, q in zip((rows, cols), by, strict=True))
    left = phases[(slice(None), slice(None), *at)]
    count, cells = len(right), right.shape[2] * right.shape[3]
    # every power of one with every power of the other: (image, fine power, coarse power, phase)
    sums = right.reshape(count, 1, 3, cells) @ left.reshape(count, 3, cells, -1)
    return np.stack(
        [sums[:, a, b] for a, b in ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1))]
    )  # fmt: skip


def _phases(fine: np.ndarray, ratio: int) -> np.ndarray:
    """Return ``(image, 3, y, x, phase)``: powers 0 to 2 of the means by where blocks begin."""
    mean, seen = _moving_means(fine, ratio)
    known = np.where(seen, mean, 0.0)
    count, height, width = fine.shape
    powers = np.stack([seen.astype(np.float64), known, known * known], axis=1)
    cut = powers.reshape(count, 3, height // ratio, ratio, width // ratio, ratio)
    return cut.transpose(0, 1, 2, 4, 3, 5).reshape(
        count, 3, height // ratio, width // ratio, ratio * ratio
    )


def _powers(coarse: np.ndarray) -> np.ndarray:
    """Return ``(image, 3, y, x)``: powers 0 to 2 of the values, 0 where missing."""
    seen = np.isfinite(coarse)
    known = np.where(seen, coarse, 0.0)
    return np.stack([seen.astype(np.float64), known, known * known], axis=1)


def _moving_means(fine: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a coarse pixel whose corner is at each pixel sees, and whether all of it is.

    Means of ``ratio`` by ``ratio`` pixels, less the mean of each image, with the usual spill.
    """
    seen = np.isfinite(fine)
    count = np.maximum(seen.sum(axis=(1, 2), keepdims=True), 1)
    level = np.where(seen, fine, 0).sum(axis=(1, 2), keepdims=True, dtype=np.float64) / count
    filled = np.where(seen, fine - level, 0.0)
    mean = _spilled(_boxes(filled, ratio), ratio)
    return mean, _boxes((~seen).astype(np.float64), ratio) < 0.5 / ratio**2


def _boxes(images: np.ndarray, ratio: int) -> np.ndarray:
    """Return the means of boxes by their corner; those that reach beyond the edge are cut off."""
    for axis in (-2, -1):
        images = uniform_filter1d(images, ratio, axis, mode="constant", origin=-(ratio // 2))
    return images


def _spilled(means: np.ndarray, ratio: int) -> np.ndarray:
    """Return moving means with a share of those one coarse pixel away."""
    for axis in (-2, -1):
        size = means.shape[axis]
        before, after = (
            np.take(means, np.clip(np.arange(size) + s, 0, size - 1), axis=axis)
            for s in (-ratio, ratio)
        )
        means = (1 - 2 * USUAL_SPILL) * means + USUAL_SPILL * (before + after)
    return means


def _correlation(seen: Sequence[np.ndarray], coarse: Sequence[np.ndarray]) -> float:
    """Return the mean over images of the correlation over all patches."""
    found = []
    for image in range(max(map(len, coarse))):
        both = zip(seen, coarse, strict=True)
        parts = [(s[image].ravel(), c[image].ravel()) for s, c in both if len(c) > image]
        a, b = (np.concatenate(p) for p in zip(*parts, strict=True))
        use = np.isfinite(a + b)
        if use.sum() < FEWEST**2 / 2:
            continue
        a, b = a[use] - a[use].mean(), b[use] - b[use].mean()
        power = np.sqrt((a @ a) * (b @ b))
        found.append(a @ b / power if power > 0 else 0.0)
    return float(np.mean(found)) if found else -1.0
