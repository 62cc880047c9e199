"""What a network that fills gaps is shown: patches of a few dates with pixels hidden."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from xstf.methods.gapfill._prior import FROM_DATES, Prior, PriorState, prior_of, settle_prior
from xstf.tiles.samples import sample_windows
from xstf.train.masking import hide
from xstf.train.task import Batch, turned

_TRIES = 10
_SHARE = 2  # windows in time of one patch, which has one prior
# Versions of all scenes together, each with other pixels hidden, for a prior that is settled on
# what is shown; every scene has two at least, and large ones, which differ enough from place to
# place, no more than so many pixels of them.
_VERSIONS, _VERSION_PIXELS = 12, 500_000
_HIDDEN = 0.5  # of a series' windows pixels are hidden in
_VISIBLE = 0.1  # weight of pixels that the network is shown, besides 1 of those hidden


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
    held
        ``(time,)`` bool: dates that are no part of what is learned.
    masks
        ``(k, y, x)`` bool: shapes of real gaps.
    """

    cube: np.ndarray
    guide: np.ndarray
    times: np.ndarray
    held: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Version:
    """A scene with pixels hidden, and what its prior knows of it.

    Parameters
    ----------
    scene
        The scene.
    hidden
        ``(time, y, x)`` bool; None where they may be any, as the prior hardly depends on them.
    state
        Of the prior.
    """

    scene: Scene
    hidden: np.ndarray | None
    state: PriorState


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Means and standard deviations, a band each."""

    mean: np.ndarray
    std: np.ndarray
    guide_mean: np.ndarray
    guide_std: np.ndarray


class Plan:
    """What is drawn from, and how."""

    def __init__(
        self, scenes: list[Scene], scale: Scale, prior: Prior, dates: int, boxes: bool
    ) -> None:
        self.scenes, self.scale = scenes, scale
        self.prior, self.dates, self.boxes = prior, dates, boxes

    @cached_property
    def versions(self) -> list[list[Version]]:
        """Versions of each scene: settling its prior takes seconds, so only once."""
        rng = np.random.default_rng(0)
        return [self._versions_of(scene, rng) for scene in self.scenes]

    def _versions_of(self, scene: Scene, rng: np.random.Generator) -> list[Version]:
        if self.prior not in FROM_DATES:
            return [Version(scene=scene, hidden=None, state=self._settled(scene, None))]
        drawn = min(_VERSIONS / len(self.scenes), _VERSION_PIXELS / scene.cube[0, 0].size)
        shown = [self.hide(scene.cube, scene.masks, rng) for _ in range(max(2, round(drawn)))]
        return [Version(scene=scene, hidden=h, state=self._settled(scene, h)) for h in shown]

    def _settled(self, scene: Scene, hidden: np.ndarray | None) -> PriorState:
        spots = np.asarray(sample_windows(scene.cube))
        if hidden is not None:
            unseen = np.asarray(sample_windows(hidden[:, None]))
            spots = np.where(unseen, np.float32(np.nan), spots)
        return settle_prior(self.prior, spots, scene.times)

    def hide(self, cube: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what to hide of a series, ``(time, y, x)``: in half of its windows."""
        seen = ~np.isnan(cube).all(axis=1)
        hidden = np.zeros(seen.shape, bool)
        windows = self.windows(len(seen), rng)
        for n in rng.permutation(len(windows))[: max(1, round(_HIDDEN * len(windows)))]:
            window = windows[n]
            hidden[window] = hide(seen[window], rng, masks=masks, boxes=self.boxes)
        return hidden

    def windows(self, count: int, rng: np.random.Generator) -> list[slice]:
        """Return windows in time that follow each other, from some date on."""
        size = min(self.dates, count)
        first = int(rng.integers(min(size, count - size + 1)))
        return [slice(n, n + size) for n in range(first, count - size + 1, size)]


def draw(plan: Plan, side: int, count: int, held: bool, rng: np.random.Generator) -> Batch:
    """Return patches of some dates with pixels hidden; of dates held out, if those are wanted."""
    samples: list[dict[str, np.ndarray]] = []
    for _ in range(_TRIES * count):
        versions = plan.versions[rng.integers(len(plan.versions))]
        version = versions[rng.integers(len(versions))]
        samples += _samples_of(version, plan, side, min(_SHARE, count - len(samples)), held, rng)
        if len(samples) == count:
            break
    if not samples:
        raise ValueError(
            f"found no clear patch of {side} x {side} pixels in {_TRIES * count} tries; train with "
            "a smaller patch="
        )
    # Scenes of fewer dates than a window have a window each of their own length.
    few = min(len(s["days"]) for s in samples)
    return {
        name: torch.from_numpy(np.stack([s[name][:few] for s in samples])) for name in samples[0]
    }


def _samples_of(
    version: Version, plan: Plan, side: int, most: int, held: bool, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Return some windows of one patch: what is shown, what is true, where it is to be learned."""
    scene = version.scene
    row, col = (int(rng.integers(n - side + 1)) for n in scene.cube.shape[2:])
    part = (..., slice(row, row + side), slice(col, col + side))
    truth = scene.cube[part]
    hidden = plan.hide(truth, scene.masks, rng) if version.hidden is None else version.hidden[part]
    asked = ~np.isnan(truth) & (hidden & (scene.held == held)[:, None, None])[:, None]
    windows = [w for w in plan.windows(len(truth), rng) if asked[w].any()]
    if not windows:
        return []
    shown = np.where(hidden[:, None], np.float32(np.nan), truth)
    prior = prior_of(plan.prior, shown, scene.times, version.state)
    guide = scene.guide[part]
    chosen = rng.permutation(len(windows))[:most]
    cut = [
        _sample(plan.scale, held, scene.held[w], truth[w], shown[w], prior[w], guide[w], rng)
        | {"days": scene.times[w].astype(np.float32)}
        for w in (windows[n] for n in chosen)
    ]
    return [sample for sample in cut if sample["valid"].any()]


def _sample(
    scale: Scale, held: bool, out: np.ndarray, truth: np.ndarray, shown: np.ndarray,
    prior: np.ndarray, guide: np.ndarray, rng: np.random.Generator,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return one window of a patch, scaled and turned; ``out`` are the dates held out."""
    known = ~np.isnan(truth) & ~np.isnan(prior)
    wanted = known & (out == held)[:, None, None, None]
    valid = wanted & np.isnan(shown)
    mean, std = (v[:, None, None] for v in (scale.mean, scale.std))
    arrays = {
        "cube": (shown - mean) / std,
        "prior": np.nan_to_num((prior - mean) / std),
        "truth": np.where(known, (truth - mean) / std, 0),
        "guide": (guide - scale.guide_mean[:, None, None]) / scale.guide_std[:, None, None],
        "valid": valid,
        "weight": np.where(valid, 1.0, _VISIBLE * wanted),
    }
    turn = int(rng.integers(8))
    return {k: turned(v, turn).astype(np.float32) for k, v in arrays.items()}
