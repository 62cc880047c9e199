"""What unmixing methods share: the patches they look at, and how pairs are blended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from xstf.numerics.array_module import beside

# Patches of both cubes by name, ``fine_0``, ``coarse_0``, ``fine_1`` …: `(pair, band, y, x)`, and
# one image more of the coarse one. Arrays of numpy or, before a run, of dask.
Samples: TypeAlias = Mapping[str, np.ndarray]

SAMPLE = 2_000_000  # fine values that prepare may take in all
PATCH = 8  # coarse pixels along the side of a sampled patch
THIN = 16  # fine pixels along the side of a coarse one that a patch keeps


def sample_patches(
    fine: np.ndarray, coarse: np.ndarray, *, ratio: int, params: object
) -> dict[str, np.ndarray]:
    """Return patches of whole coarse pixels: the whole scene, or evenly spaced ones."""
    pairs, bands, height, width = fine.shape
    if pairs * bands * height * width <= SAMPLE:
        return {"fine_0": fine, "coarse_0": coarse}
    step = -(-ratio // THIN)
    inside = np.arange((ratio - 1) % step // 2, ratio, step)
    per_side = max(1, int((SAMPLE / (pairs * bands)) ** 0.5) // (PATCH * len(inside)))
    tops, lefts = (
        np.linspace(0, max(n - PATCH, 0), min(per_side, -(-n // PATCH))).astype(np.int64)
        for n in coarse.shape[-2:]
    )
    samples: dict[str, np.ndarray] = {}
    for n, (top, left) in enumerate((t, s) for t in tops for s in lefts):
        part = coarse[..., top : top + PATCH, left : left + PATCH]
        rows, cols = (
            ((start + np.arange(size))[:, None] * ratio + inside).ravel()
            for start, size in zip((top, left), part.shape[-2:], strict=True)
        )
        samples[f"fine_{n}"] = fine[:, :, rows][..., cols]
        samples[f"coarse_{n}"] = part
    return samples


def patches_of(samples: Samples) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the patches of both cubes, one with the other."""
    return [(samples[f"fine_{n}"], samples[f"coarse_{n}"]) for n in range(len(samples) // 2)]


def pair_weights(change: np.ndarray) -> np.ndarray:
    """Return the weight of each pair and band from the variances of the coarse change.

    A pair without a variance weighs as the one that changed most.
    """
    change = np.where(np.isnan(change), np.nanmax(np.append(change, 0.0)), change)
    total = change.sum(axis=0)
    share = np.where(total > 0, change / np.where(total > 0, total, 1.0), 1.0 / len(change))
    return 1.0 / np.maximum(share, 1e-6)


def blend(results: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over pairs ``(pair, band)`` of what each pair knows."""
    total, mass = np.zeros_like(results[0], np.float32), np.zeros_like(results[0], np.float32)
    weights = beside(weights[:, :, None, None].astype(np.float32), total)
    for result, weight in zip(results, weights, strict=True):
        valid = ~np.isnan(result)
        total += np.where(valid, result, 0) * weight
        mass += valid * weight
    valid = mass > 0
    return np.where(valid, total / np.where(valid, mass, 1), np.float32(np.nan))
