"""Samples for a network that fills gaps: patches of a few dates with some pixels masked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill._prior import FROM_DATES, Prior, PriorState, prior_of, settle_prior
from xstf.tiles.samples import sample_windows
from xstf.train import patches
from xstf.train.masking import draw_mask
from xstf.train.patches import TRIES, Patch
from xstf.train.task import Batch

_SHARE = 2  # windows in time of one patch, which has one prior
# Versions of all scenes together, each with other pixels masked, for a prior that is settled on
# the pixels that are left; every scene has two at least, and large ones, which differ enough from
# place to place, no more than so many pixels of them.
_VERSIONS, _VERSION_PIXELS = 12, 500_000
_MASKED = 0.5  # share of a series' windows in which pixels are masked
_VISIBLE = 0.1  # weight of the pixels that the network sees; masked ones have 1


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One cube to learn from.

    Parameters
    ----------
    cube
        ``(time, band, y, x)``, NaN where missing; dates ascending.
    guide
        ``(time, guide_band, y, x)``; of no bands without a guide.
    times
        ``(time,)``, days since a 1 January.
    held_out
        ``(time,)`` bool: dates that are not trained on.
    masks
        ``(k, y, x)`` bool: shapes of real gaps.
    """

    cube: np.ndarray
    guide: np.ndarray
    times: np.ndarray
    held_out: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, kw_only=True)
class MaskedScene:
    """A scene with some pixels masked, and the state of its prior.

    Parameters
    ----------
    scene
        The scene.
    masked
        ``(time, y, x)`` bool; None where any pixels may be, as the prior hardly depends on them.
    state
        Of the prior.
    """

    scene: Scene
    masked: np.ndarray | None
    state: PriorState


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Means and standard deviations, a band each."""

    mean: np.ndarray
    std: np.ndarray
    guide_mean: np.ndarray
    guide_std: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampler:
    """Where samples are drawn from, and how.

    Parameters
    ----------
    scenes, scale
        What is drawn from, and how it is scaled.
    prior
        What the network corrects.
    dates
        How many the network sees at once.
    boxes
        Whether boxes of noise are masked instead of the shapes of real gaps.
    """

    scenes: list[Scene]
    scale: Scale
    prior: Prior
    dates: int
    boxes: bool

    @cached_property
    def versions(self) -> list[list[MaskedScene]]:
        """Masked versions of each scene: settling its prior takes seconds, so only once."""
        rng = np.random.default_rng(0)
        return [self._versions_of(scene, rng) for scene in self.scenes]

    def _versions_of(self, scene: Scene, rng: np.random.Generator) -> list[MaskedScene]:
        if self.prior not in FROM_DATES:
            return [MaskedScene(scene=scene, masked=None, state=self._settled(scene, None))]
        drawn = min(_VERSIONS / len(self.scenes), _VERSION_PIXELS / scene.cube[0, 0].size)
        masks = [self.draw_masks(scene.cube, scene.masks, rng) for _ in range(max(2, round(drawn)))]
        return [MaskedScene(scene=scene, masked=m, state=self._settled(scene, m)) for m in masks]

    def _settled(self, scene: Scene, masked: np.ndarray | None) -> PriorState:
        samples = np.asarray(sample_windows(scene.cube))
        if masked is not None:
            unseen = np.asarray(sample_windows(masked[:, None]))
            samples = np.where(unseen, np.float32(np.nan), samples)
        return settle_prior(self.prior, samples, scene.times)

    def draw_masks(
        self, cube: np.ndarray, masks: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return which pixels of a series to mask, ``(time, y, x)``: in half of its windows."""
        clear = ~np.isnan(cube).all(axis=1)
        masked = np.zeros(clear.shape, bool)
        windows = self.windows(len(clear), rng)
        for n in rng.permutation(len(windows))[: max(1, round(_MASKED * len(windows)))]:
            window = windows[n]
            masked[window] = draw_mask(clear[window], rng, masks=masks, boxes=self.boxes)
        return masked

    def windows(self, count: int, rng: np.random.Generator) -> list[slice]:
        """Return windows in time that follow each other, from some date on."""
        size = min(self.dates, count)
        first = int(rng.integers(min(size, count - size + 1)))
        return [slice(n, n + size) for n in range(first, count - size + 1, size)]


def draw(
    sampler: Sampler, side: int, count: int, held_out: bool, rng: np.random.Generator
) -> Batch:
    """Return patches of some dates with masked pixels; of held-out dates, if those are wanted."""
    samples: list[Patch] = []
    for _ in range(TRIES * count):
        versions = sampler.versions[rng.integers(len(sampler.versions))]
        version = versions[rng.integers(len(versions))]
        most = min(_SHARE, count - len(samples))
        samples += _samples_of(version, sampler, side, most, held_out, rng)
        if len(samples) == count:
            break
    patches.require_patches(samples, side, TRIES * count)
    # Scenes of fewer dates than a window have a window each of their own length.
    few = min(len(s["days"]) for s in samples)
    return patches.stack([{name: s[name][:few] for name in s} for s in samples])


def _samples_of(
    version: MaskedScene, sampler: Sampler, side: int, most: int, held_out: bool,
    rng: np.random.Generator,
) -> list[Patch]:  # fmt: skip
    """Return some windows of one patch: what is seen, what is true, where it is to be learned."""
    scene = version.scene
    row, col = (int(rng.integers(n - side + 1)) for n in scene.cube.shape[2:])
    part = (..., slice(row, row + side), slice(col, col + side))
    truth = scene.cube[part]
    if version.masked is None:
        masked = sampler.draw_masks(truth, scene.masks, rng)
    else:
        masked = version.masked[part]
    asked = ~np.isnan(truth) & (masked & (scene.held_out == held_out)[:, None, None])[:, None]
    windows = [w for w in sampler.windows(len(truth), rng) if asked[w].any()]
    if not windows:
        return []
    seen = np.where(masked[:, None], np.float32(np.nan), truth)
    images = _Images(
        truth=truth, seen=seen, guide=scene.guide[part],
        prior=prior_of(sampler.prior, seen, scene.times, version.state),
    )  # fmt: skip
    chosen = rng.permutation(len(windows))[:most]
    cut = [
        _sample(sampler.scale, images.at(w), scene.held_out[w] == held_out, rng)
        | {"days": scene.times[w].astype(np.float32)}
        for w in (windows[n] for n in chosen)
    ]
    return [sample for sample in cut if sample["valid"].any()]


class _Images(NamedTuple):
    """The images of a patch, each ``(time, band, y, x)``; `seen` has the masked pixels missing."""

    truth: np.ndarray
    seen: np.ndarray
    prior: np.ndarray
    guide: np.ndarray

    def at(self, window: slice) -> _Images:
        return _Images(*(images[window] for images in self))


def _sample(scale: Scale, images: _Images, wanted: np.ndarray, rng: np.random.Generator) -> Patch:
    """Return one window of a patch, scaled and turned; ``wanted`` are the dates to learn."""
    truth, seen, prior, guide = images
    there = ~np.isnan(truth) & ~np.isnan(prior)
    learned = there & wanted[:, None, None, None]
    valid = learned & np.isnan(seen)
    mean, std = (v[:, None, None] for v in (scale.mean, scale.std))
    arrays = {
        "cube": (seen - mean) / std,
        "prior": np.nan_to_num((prior - mean) / std),
        "truth": np.where(there, (truth - mean) / std, 0),
        "guide": (guide - scale.guide_mean[:, None, None]) / scale.guide_std[:, None, None],
        "valid": valid,
        "weight": np.where(valid, 1.0, _VISIBLE * learned),
    }
    turn = int(rng.integers(8))
    return {k: patches.turned(v, turn).astype(np.float32) for k, v in arrays.items()}
