"""What a known change tells of the parts: each fine image of two pairs predicted from the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xstf.numerics.belief import believed, find_belief

# Fine pixels along the side of what is looked at, at most: a known change over some thousand
# similar pixels tells an error to a few per cent.
SIDE = 208

# Coarse pixels without which a known change tells nothing.
FEWEST = 16

# estimate(name, fine, coarse) of one pair.
Estimate = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


class Evidence(NamedTuple):
    """Of leaving each date out.

    Parameters
    ----------
    error : dict of ndarray (band,)
        Root mean squared error of each part, over both dates.
    slope : ndarray (band,)
        Of the true change on the change that the blend of the parts predicts.
    cells : float
        Coarse pixels that tell it.
    """

    error: dict[str, np.ndarray]
    slope: np.ndarray
    cells: float


def middle(fine: np.ndarray, coarse: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of both stacks, whole coarse pixels, up to `SIDE`."""
    cuts = []
    for n in coarse.shape[-2:]:
        size = min(n, max(8, SIDE // ratio))
        cuts.append(slice((n - size) // 2, (n - size) // 2 + size))
    wide = [slice(c.start * ratio, c.stop * ratio) for c in cuts]
    return fine[..., wide[0], wide[1]].copy(), coarse[..., cuts[0], cuts[1]].copy()


def leave_one_out(
    fine: np.ndarray, coarse: np.ndarray, weights: Mapping[str, float], estimate: Estimate, *,
    ratio: int, spill: float,
) -> Evidence | None:  # fmt: skip
    """Return the evidence of two pairs; None where they see too little in common.

    Parameters
    ----------
    fine, coarse
        ``(pair, band, y, x)`` of two pairs, and ``(pair, band, y / ratio, x / ratio)``.
    weights
        Of the parts in the blend.
    estimate
        Runs a part.
    ratio, spill
        Coarse pixel size / fine pixel size; share of each neighbour in a coarse pixel.
    """
    bands = fine.shape[1]
    squares = {name: np.zeros(bands) for name in weights}
    moments = np.zeros((2, bands))
    count = np.zeros(bands)
    for base, target in ((0, 1), (1, 0)):
        before, after = fine[base : base + 1], coarse[[base, target]]
        belief = find_belief(before, after, ratio=ratio, spill=spill)
        after = believed(before, after, belief, ratio=ratio).astype(np.float32)
        true = (fine[target] - fine[base]).astype(np.float64)
        found = {n: estimate(n, before, after) - fine[base] for n in weights}
        use = np.isfinite(true) & np.all([np.isfinite(f) for f in found.values()], axis=0)
        for name, change in found.items():
            squares[name] += _sum((change - true) ** 2, use)
        total = sum(weights.values())
        blend = np.sum([w / total * found[n] for n, w in weights.items()], axis=0)
        moments += [_sum(blend * true, use), _sum(blend * blend, use)]
        count += use.sum(axis=(1, 2))
    if (count < 2 * FEWEST * ratio**2).any():
        return None
    error = {n: np.sqrt(s / count) for n, s in squares.items()}
    slope = np.where(moments[1] > 0, moments[0] / np.where(moments[1] > 0, moments[1], 1), 1.0)
    return Evidence(error, slope, float(count.min()) / (2 * ratio**2))


def _sum(values: Any, use: np.ndarray) -> np.ndarray:
    total: np.ndarray = np.where(use, values, 0.0).sum(axis=(1, 2), dtype=np.float64)
    return total
