"""What the change is regressed on: bands, their products, and bands by the change around.

With ``z`` the bands of all pairs in standard deviations, and ``v`` the same cut to +-`CUT`:

- ``z_i``, and ``v_i v_j`` for ``i <= j``: common to all bands that are predicted;
- with one pair ``z_i u_b / 2``, ``u_b`` the change of band b around: of that band alone.

A pixel missing in one of the bands has no features. Bands that are missing everywhere, or constant,
are 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.numerics.degrade import block_means
from xstf.numerics.jit import jit

CUT = 3.0  # standard deviations: a rare bright pixel must not have 10 times the leverage
LEAN = 0.5  # of bands by the change around, against the other features


class Coefficients(NamedTuple):
    """Of the features, ``b`` the bands that are predicted, ``i`` those of all pairs.

    Parameters
    ----------
    common : ndarray (b, i + i (i + 1) / 2)
    own : ndarray (b, i), or (b, 0)
        Of bands by the change around.
    """

    common: np.ndarray
    own: np.ndarray


def features_numpy(z: np.ndarray) -> np.ndarray:
    """Return the common features ``(feature, y, x)`` of ``z (i, y, x)``."""
    cut = np.clip(z, -CUT, CUT)
    products = [cut[i] * cut[j] for i in range(len(z)) for j in range(i, len(z))]
    found: np.ndarray = np.where(np.isnan(z).any(axis=0), np.nan, np.stack([*z, *products]))
    return found


def predict_numpy(z: np.ndarray, around: np.ndarray, of: Coefficients, ratio: int) -> Predicted:
    """Return the regression's change at fine pixels, its block means and the pixels in them."""
    change = np.einsum("bf,fyx->byx", of.common, features_numpy(z))
    if of.own.shape[1]:
        change += LEAN * around * np.einsum("bi,iyx->byx", of.own, z)
    seen = block_means((~np.isnan(z).any(axis=0)).astype(float), ratio) * ratio**2
    return Predicted(change, block_means(change, ratio), seen)


class Predicted(NamedTuple):
    """A change at fine pixels.

    Parameters
    ----------
    change : ndarray (band, y, x)
    means : ndarray (band, y / ratio, x / ratio)
        Of its blocks.
    seen : ndarray (y / ratio, x / ratio)
        Pixels that are not missing in a block.
    """

    change: np.ndarray
    means: np.ndarray
    seen: np.ndarray


def predict(z: np.ndarray, around: np.ndarray, of: Coefficients, ratio: int) -> Predicted:
    """Return the same by compiled loops."""
    blocks = (z.shape[1] // ratio, z.shape[2] // ratio)
    out = np.full((len(of.common), *z.shape[1:]), np.nan, np.float32)
    total, count = np.zeros((len(out), *blocks)), np.zeros(blocks)
    _predict(z, around, of.common, of.own, ratio, np.empty(of.common.shape[1]), out, total, count)
    return Predicted(out, total, count)


def block_features(z: np.ndarray, around: np.ndarray, ratio: int) -> tuple[np.ndarray, ...]:
    """Return the block means of the common features, of those of each band, and the pixels seen.

    Shapes ``(feature, Y, X)``, ``(band, i, Y, X)`` and ``(Y, X)``; the second has no band if
    `around` has none.
    """
    size, blocks = len(z), (z.shape[1] // ratio, z.shape[2] // ratio)
    common = np.zeros((*blocks, size + size * (size + 1) // 2))
    own = np.zeros((*blocks, len(around), size))
    count = np.zeros(blocks)
    _block_features(z, around, ratio, np.empty((2, size)), common, own, count)
    return common.transpose(2, 0, 1), own.transpose(2, 3, 0, 1), count


# What is written to is made outside of compiled loops, and whole arrays are never assigned in them:
# that takes numba longer to compile than the loops.


@jit
def _block_features(
    z: np.ndarray, around: np.ndarray, ratio: int, room: np.ndarray, common: np.ndarray,
    own: np.ndarray, count: np.ndarray,
) -> None:  # fmt: skip
    """Sum pixel by pixel; a row of blocks at a time stays in the cache."""
    size, bands = z.shape[0], around.shape[0]
    rows, cols = count.shape
    place, cut = room[0], room[1]
    for y in range(rows * ratio):
        for x in range(cols * ratio):
            valid = True
            for i in range(size):
                place[i] = z[i, y, x]
                valid = valid and not np.isnan(place[i])
                cut[i] = min(max(place[i], -CUT), CUT)
            if not valid:
                continue
            total = common[y // ratio, x // ratio]
            count[y // ratio, x // ratio] += 1.0
            k = size
            for i in range(size):
                total[i] += place[i]
                for j in range(i, size):
                    total[k] += cut[i] * cut[j]
                    k += 1
            for b in range(bands):
                for i in range(size):
                    own[y // ratio, x // ratio, b, i] += LEAN * around[b, y, x] * place[i]
    for y in range(rows):
        for x in range(cols):
            share = 1.0 / count[y, x] if count[y, x] > 0 else np.nan
            for k in range(common.shape[2]):
                common[y, x, k] *= share
            for b in range(bands):
                for i in range(size):
                    own[y, x, b, i] *= share


@jit
def _predict(
    z: np.ndarray, around: np.ndarray, common: np.ndarray, own: np.ndarray, ratio: int,
    found: np.ndarray, out: np.ndarray, total: np.ndarray, count: np.ndarray,
) -> None:  # fmt: skip
    """Write the change, its block means and the pixels in them; the first features are the bands.

    ``found`` is room for the features of a pixel.
    """
    size, height, width = z.shape
    bands = common.shape[0]
    leans = own.shape[1] > 0
    for y in range(height):
        for x in range(width):
            valid = True
            for i in range(size):
                found[i] = z[i, y, x]
                valid = valid and not np.isnan(found[i])
            if not valid:
                continue
            k = size
            for i in range(size):
                left = min(max(found[i], -CUT), CUT)
                for j in range(i, size):
                    found[k] = left * min(max(found[j], -CUT), CUT)
                    k += 1
            count[y // ratio, x // ratio] += 1.0
            for b in range(bands):
                value = 0.0
                for f in range(found.shape[0]):
                    value += common[b, f] * found[f]
                if leans:
                    lean = 0.0
                    for i in range(size):
                        lean += own[b, i] * found[i]
                    value += LEAN * around[b, y, x] * lean
                out[b, y, x] = value
                total[b, y // ratio, x // ratio] += value
    for y in range(height // ratio):
        for x in range(width // ratio):
            for b in range(bands):
                total[b, y, x] = total[b, y, x] / count[y, x] if count[y, x] > 0 else np.nan
