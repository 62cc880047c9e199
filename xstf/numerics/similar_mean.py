"""The mean change of similar pixels around, which FSDAF and the regression share.

    out = sum_i w_i d_i / sum_i w_i                       (pixels i of the window)

    w_i = max(0, 1 - D_i / similarity ** 2) ** 2 / (1 + distance_i / half window)
    D_i = mean over bands of ((F_i - F) / std F) ** 2

Why a smooth weight, and every second row and column, is said in ``fsdaf``.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from xstf.numerics.jit import jit

Inner: TypeAlias = tuple[slice, slice]

STEP = 2  # every second row and column of the window holds as much as all of them


def smooth(
    scaled: np.ndarray, change: np.ndarray, inner: Inner, window: int, similarity: float
) -> np.ndarray:
    """Return the weighted mean change of similar pixels, NaN where the pixel has none itself.

    Parameters
    ----------
    scaled
        ``(band, y, x)``, float32: the bands that tell pixels apart, in standard deviations.
    change
        ``(band, y, x)``, NaN where missing.
    inner
        Rows and columns that are wanted.
    window
        Side of the window, in pixels, odd.
    similarity
        Distance at which a pixel is no longer similar.
    """
    valid = ~np.isnan(change)
    # One row of weights serves all bands unless they miss different pixels.
    alike = valid[:1] if (valid == valid[:1]).all() else valid
    (top, bottom), (left, right) = ((part.start, part.stop) for part in inner)
    out = np.full((len(change), bottom - top, right - left), np.nan, np.float32)
    sharp = np.float32(1.0 / similarity**2 / max(1, len(scaled)))
    room = np.empty((len(change) + len(alike) + 1, change.shape[2]), np.float32)
    change = np.where(valid, change, np.float32(0)).astype(np.float32)
    _smooth(scaled, change, alike.astype(np.float32), window // 2, sharp, (top, left), room, out)
    return out


def _offsets(half: int) -> list[tuple[int, int]]:
    """Return the rows and columns away from the centre that are visited."""
    line = [o for o in range(-half, half + 1) if o % STEP == 0]
    return [(oy, ox) for oy in line for ox in line]


def _overlap(size: tuple[int, int], offset: tuple[int, int]) -> tuple[slice, slice]:
    """Return the part of an image whose pixels have a neighbour at ``offset`` in it."""
    rows, cols = (
        slice(max(0, -o), max(0, min(n, n - o))) for n, o in zip(size, offset, strict=True)
    )
    return rows, cols


def smooth_numpy(
    scaled: np.ndarray, change: np.ndarray, inner: Inner, window: int, similarity: float
) -> np.ndarray:
    """Return the definition of `smooth`."""
    height, width = change.shape[1:]
    half = window // 2
    valid = ~np.isnan(change)
    total, mass = np.zeros(change.shape), np.zeros(change.shape)
    for oy, ox in _offsets(half):
        here, there = _overlap((height, width), (oy, ox)), _overlap((height, width), (-oy, -ox))
        difference = scaled[:, *here].astype(np.float64) - scaled[:, *there]
        distance = (difference**2).sum(axis=0) / max(1, len(scaled))
        closeness = np.fmax(0.0, 1.0 - distance / similarity**2) ** 2
        weight = closeness / (1.0 + np.hypot(oy, ox) / half) * valid[:, *there]
        total[:, *here] += weight * np.where(valid[:, *there], change[:, *there], 0.0)
        mass[:, *here] += weight
    valid &= mass > 0
    out = np.where(valid, total / np.where(valid, mass, 1.0), np.nan)
    return out[:, *inner].astype(np.float32)


@jit
def _smooth(
    scaled: np.ndarray,
    change: np.ndarray,
    valid: np.ndarray,
    half: int,
    sharp: np.float32,
    corner: tuple[int, int],
    room: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the weighted mean change of similar pixels from ``corner`` on.

    ``room`` has a row for each band, for each of ``valid`` and for weights.
    """
    bands, height, width = change.shape
    dims, masks = scaled.shape[0], valid.shape[0]
    left, right = corner[1], corner[1] + out.shape[2]
    total, mass, line = room[:bands], room[bands : bands + masks], room[bands + masks]
    reach = half // STEP * STEP
    for y in range(corner[0], corner[0] + out.shape[1]):
        for r in range(bands + masks):
            for x in range(width):
                room[r, x] = 0
        for oy in range(-reach, reach + 1, STEP):
            if y + oy < 0 or y + oy >= height:
                continue
            for ox in range(-reach, reach + 1, STEP):
                near = np.float32(1.0 / (1.0 + np.sqrt(oy * oy + ox * ox) / half))
                lo = left if left > -ox else -ox
                hi = right if right < width - ox else width - ox
                n = hi - lo
                if n <= 0:
                    continue
                weight = line[:n]
                for i in range(n):
                    weight[i] = 0
                for d in range(dims):
                    here = scaled[d, y, lo:hi]
                    there = scaled[d, y + oy, lo + ox : hi + ox]
                    for i in range(n):
                        difference = here[i] - there[i]
                        weight[i] += difference * difference
                for i in range(n):
                    closeness = np.float32(1) - weight[i] * sharp
                    closeness = closeness if closeness > 0 else np.float32(0)
                    weight[i] = closeness * closeness * near
                for b in range(masks):
                    seen = valid[b, y + oy, lo + ox : hi + ox]
                    kept = mass[b, lo:hi]
                    for i in range(n):
                        kept[i] += weight[i] * seen[i]
                for b in range(bands):
                    there = change[b, y + oy, lo + ox : hi + ox]
                    kept = total[b, lo:hi]
                    for i in range(n):
                        kept[i] += weight[i] * there[i]
        for b in range(bands):
            k = b if b < masks else masks - 1
            for x in range(left, right):
                if valid[k, y, x] > 0 and mass[k, x] > 0:
                    out[b, y - corner[0], x - left] = total[b, x] / mass[k, x]
