"""What a network that fills gaps learns from: pixels that are known and hidden from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf import _engines, _guides, _inputs, _tiles
from xstf._method import Method
from xstf._recipe import Net, Recipe, network
from xstf.methods.gapfill._video import forward, prior_of
from xstf.train import losses
from xstf.train.course import Batch, Course, Study
from xstf.train.hiding import hide

_DATES = 6  # of a window that the network sees at once
_HELD_EVERY = 5  # of the dates one is held out
_HELD_PATCHES = 64
_TRIES = 10
_VISIBLE = 0.1  # weight of pixels that the network is shown, besides 1 of those hidden
_LIKELY = 0.1  # weight of the likelihood, which teaches the variance alone
_NINETY = 1.645  # standard deviations on either side that hold 90 % of a normal's values
_MASKS = 200  # real shapes of clouds that are kept at most
_SAMPLED = 2_000_000


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
class Scale:
    """Means and standard deviations, a band each."""

    mean: np.ndarray
    std: np.ndarray
    guide_mean: np.ndarray
    guide_std: np.ndarray


def course(
    record: Method,
    cubes: Any,
    sar: Any = None,
    *,
    mask: Any = None,
    guide: Any = None,
    validation: Any = None,
    dates: int = _DATES,
    boxes: bool = False,
    sar_units: str | None = None,
    guide_tolerance: str = "12D",
) -> Course:
    """Return what `fit` needs to know of a cube, or of several; the arguments are those of `fit`.

    Parameters
    ----------
    record
        The method.
    cubes, sar, guide, mask
        As :func:`xstf.gapfill` takes them, or sequences of such, one a scene.
    validation
        Dates that are held out; by default one in five.
    dates
        How many the network sees at once.
    boxes
        Hide boxes of noise, as SMTS-ViT was trained, instead of the shapes of real gaps.
    sar_units, guide_tolerance
        As :func:`xstf.gapfill` takes them.
    """
    net = network(record)
    if record.guided and sar is None and guide is None:
        raise ValueError(f"{record.name} learns from radar: give sar=, or guide= another cube")
    if not record.guided and not (sar is None and guide is None):
        raise ValueError(f"{record.name} makes no use of sar= or guide=; smts- networks do")
    if dates < 2:
        raise ValueError(f"dates must be 2 or more, not {dates}")
    given = zip(*_alike(cubes, sar, guide, mask), strict=True)
    read = [
        _read(*one, validation=validation, sar_units=sar_units, tolerance=guide_tolerance)
        for one in given
    ]
    scenes, bands = [scene for scene, _ in read], read[0][1]
    if any(b != bands for _, b in read):
        raise ValueError(f"cubes differ in their bands: {sorted({b for _, b in read})}")
    if len({s.guide.shape[1] for s in scenes}) > 1:
        raise ValueError("cubes differ in the bands of their guides (orbits count apart)")
    scale = _scale(scenes)
    count = sum(int(s.held.sum()) for s in scenes)
    return Course(
        bands=bands, build={"guide_bands": scenes[0].guide.shape[1]},
        low=tuple(map(float, scale.mean)), high=tuple(map(float, scale.mean + scale.std)),
        ratio=1.0, side=partial(_side, scenes, multiple=net.multiple),
        study=partial(_study, scenes, scale, net, dates, boxes), base="prior",
        held=f"{count} of {sum(len(s.times) for s in scenes)} dates",
        extra={
            "dates": dates, "guide_mean": scale.guide_mean.tolist(),
            "guide_std": scale.guide_std.tolist(), "std_factor": 1.0,
        },
        judge=partial(_judge, scenes, scale, net, dates, boxes),
    )  # fmt: skip


def _alike(cubes: Any, *others: Any) -> list[list[Any]]:
    """Return sequences of cubes and what goes with each, of one length."""
    several = isinstance(cubes, Sequence)
    lists = [list(cubes) if several else [cubes]]
    if not lists[0]:
        raise ValueError("there is no cube to learn from")
    for other in others:
        if other is None:
            lists.append([None] * len(lists[0]))
        elif several != isinstance(other, Sequence) or (several and len(other) != len(lists[0])):
            raise ValueError("several cubes need a sequence as long of sar, guide and mask each")
        else:
            lists.append(list(other) if several else [other])
    return lists


def _read(
    cube: xr.DataArray | xr.Dataset, sar: Any, guide: Any, mask: Any, *, validation: Any,
    sar_units: str | None, tolerance: str,
) -> tuple[Scene, tuple[str, ...]]:  # fmt: skip
    """Return a labelled cube and its guides as plain arrays in memory, and its bands."""
    optical = _inputs.read(cube, what="cube", mask=mask)
    if optical.times is None or len(optical.times) < 2:
        raise ValueError("training needs a cube with two dates or more along a time dim")
    order = np.argsort(optical.times, kind="stable")
    shape = (optical.grid.height, optical.grid.width)
    images = _tiles.clean(_plain(optical.data)[order])
    guides = [
        _plain(_guides.whole(*_guides.read(g, what, optical, order, tolerance, sar_units), shape))
        for g, what in ((sar, "sar"), (guide, "guide"))
        if g is not None
    ]
    none = np.empty((len(images), 0, *shape), np.float32)
    dates = optical.times[order]
    missing = np.isnan(images).all(axis=1)
    share = missing.mean(axis=(1, 2))
    masks = missing[(share > 0.02) & (share < 0.9)][:_MASKS]
    scene = Scene(
        cube=images, guide=np.concatenate(guides, axis=1) if guides else none,
        times=_guides.day_of_year(dates[0]) + _guides.days(dates, dates[0]),
        held=_held(dates, validation), masks=masks,
    )  # fmt: skip
    return scene, tuple(str(b) for b in optical.bands)


def _plain(array: Any) -> np.ndarray:
    found: np.ndarray = _engines.to_host(_tiles.now({"": array})[""])
    return found


def _held(dates: np.ndarray, validation: Any) -> np.ndarray:
    """Return which dates are held out."""
    if validation is None:
        held = np.zeros(len(dates), bool)
        held[min(_HELD_EVERY // 2, len(dates) - 1) :: _HELD_EVERY] = True
        return held
    days = dates.astype("datetime64[D]")
    wanted = np.atleast_1d(np.asarray(validation, "datetime64[D]"))
    if not np.isin(wanted, days).all() or np.isin(days, wanted).all():
        raise ValueError(
            "validation= must be some of the cube's dates and not all; it has "
            f"{len(days)} from {days[0]} to {days[-1]}"
        )
    return np.isin(days, wanted)


def _scale(scenes: list[Scene]) -> Scale:
    """Return means and standard deviations over what is known on the dates to learn from."""
    found = {}
    for name, arrays in (
        ("", [s.cube[~s.held] for s in scenes]), ("guide_", [s.guide[~s.held] for s in scenes])
    ):  # fmt: skip
        means, stds = [], []
        for band in range(arrays[0].shape[1]):
            values = np.concatenate([_some(a[:, band], len(scenes)) for a in arrays])
            if not values.size:
                raise ValueError(f"{name or 'cube '}band {band} is never clear")
            means.append(values.mean(dtype=np.float64))
            stds.append(max(values.std(dtype=np.float64), 1e-6 * abs(means[-1]), 1e-12))
        found[f"{name}mean"], found[f"{name}std"] = np.array(means), np.array(stds)
    return Scale(**found)


def _some(values: np.ndarray, among: int) -> np.ndarray:
    seen = values[~np.isnan(values)]
    return seen[:: max(1, seen.size * among // _SAMPLED)]


def _side(scenes: list[Scene], recipe: Recipe, *, multiple: int) -> int:
    """Return the side of patches: the recipe's, unless a scene is smaller."""
    room = min(min(s.cube.shape[2:]) for s in scenes)
    side = min(recipe.patch, room) // multiple * multiple
    if side < 1:
        raise ValueError(f"the network needs patches of {multiple} pixels or more, not {room}")
    return side


def _study(
    scenes: list[Scene], scale: Scale, net: Net, dates: int, boxes: bool, recipe: Recipe, _: Any
) -> Study:
    """Return what is learned from: see `Course.study`."""
    side = _side(scenes, recipe, multiple=net.multiple)
    draw = partial(_draw, scenes, scale, dates, side, boxes)
    pixels = sum(s.cube.shape[0] * s.cube.shape[2] * s.cube.shape[3] for s in scenes)
    return Study(
        draw=partial(draw, recipe.batch, False),
        steps=max(1, round(pixels / (dates * side * side * recipe.batch))),
        held=partial(_held_batches, draw, recipe.batch),
        learn=partial(_learn, net.loss, _tensor(scale.mean), _tensor(scale.std)),
        estimate=lambda module, batch: batch["prior"] + forward(module, batch)[0],
        span=_tensor(scale.std),
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _learn(
    loss: tuple[tuple[str, float], ...], mean: Tensor, std: Tensor, module: nn.Module, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Return the loss over scales of what was hidden, and a little of what was not.

    The spectral angle is one of reflectance, not of standardised values.
    """
    change, variance = forward(module, batch)
    estimate = batch["prior"] + change
    images = [t.flatten(0, 1) for t in (estimate, batch["truth"], batch["weight"])]
    total = estimate.new_zeros(())
    for name, weight in loss:
        term = losses.pyramid(losses.TERMS[name])
        if name == "angle":
            shape = (1, -1, 1, 1)
            raw = [i * std.to(i).view(shape) + mean.to(i).view(shape) for i in images[:2]]
            total = total + weight * term(*raw, images[2])
        else:
            total = total + weight * term(*images)
    off = (estimate.detach() - batch["truth"]).square()
    likely = (variance + off * torch.exp(-variance)) * batch["valid"]
    total = total + _LIKELY * likely.sum() / batch["valid"].sum().clamp(min=1)
    return total, estimate


def _draw(
    scenes: list[Scene], scale: Scale, dates: int, side: int, boxes: bool, count: int,
    held: bool, rng: np.random.Generator,
) -> Batch:  # fmt: skip
    """Return patches of some dates with pixels hidden; of dates held out, if those are wanted."""
    samples: list[dict[str, np.ndarray]] = []
    for _ in range(_TRIES * count):
        scene = scenes[rng.integers(len(scenes))]
        sample = _sample(scene, scale, dates, side, boxes, held, rng)
        if sample["valid"].sum() > 0:
            samples.append(sample)
        if len(samples) == count:
            break
    if not samples:
        raise ValueError(
            f"found no clear patch of {side} x {side} pixels in {_TRIES * count} tries; train with "
            "a smaller patch="
        )
    # Scenes of fewer dates than a window have a window each of their own length.
    fewest = min(len(s["days"]) for s in samples)
    return {
        name: torch.from_numpy(np.stack([s[name][:fewest] for s in samples])) for name in samples[0]
    }


def _sample(
    scene: Scene, scale: Scale, dates: int, side: int, boxes: bool, held: bool,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return one patch: what is shown, what is true, and where that is to be learned."""
    size = min(dates, len(scene.times))
    first = int(rng.integers(len(scene.times) - size + 1))
    row, col = (int(rng.integers(n - side + 1)) for n in scene.cube.shape[2:])
    window = slice(first, first + size)
    part = (..., slice(row, row + side), slice(col, col + side))
    truth = scene.cube[part]
    hidden = hide(~np.isnan(truth[window]).all(axis=1), rng, masks=scene.masks, boxes=boxes)
    shown = truth.copy()
    shown[window][np.broadcast_to(hidden[:, None], truth[window].shape)] = np.nan
    prior = prior_of(shown, scene.times)[window]
    known = ~np.isnan(truth[window]) & ~np.isnan(prior)
    wanted = known & (scene.held[window] == held)[:, None, None, None]
    valid = wanted & hidden[:, None]
    mean, std = (v[:, None, None] for v in (scale.mean, scale.std))
    arrays = {
        "cube": (shown[window] - mean) / std,
        "prior": np.nan_to_num((prior - mean) / std),
        "truth": np.where(known, (truth[window] - mean) / std, 0),
        "guide": (scene.guide[part][window] - scale.guide_mean[:, None, None])
        / scale.guide_std[:, None, None],
        "valid": valid,
        "weight": np.where(valid, 1.0, _VISIBLE * wanted),
    }
    turn = int(rng.integers(8))
    turned = {k: _turned(v, turn).astype(np.float32) for k, v in arrays.items()}
    return {**turned, "days": scene.times[window].astype(np.float32)}


def _turned(images: np.ndarray, which: int) -> np.ndarray:
    """Return images turned and mirrored in one of eight ways."""
    if which & 1:
        images = images[..., ::-1]
    if which & 2:
        images = images[..., ::-1, :]
    return np.ascontiguousarray(images.swapaxes(-1, -2) if which & 4 else images)


def _held_batches(draw: Any, count: int) -> Iterator[Batch]:
    """Give patches of the dates held out, the same every time."""
    rng = np.random.default_rng(0)
    for _ in range(max(1, _HELD_PATCHES // count)):
        yield draw(count, True, rng)


def _judge(
    scenes: list[Scene], scale: Scale, net: Net, dates: int, boxes: bool, recipe: Recipe,
    module: nn.Module, device: torch.device,
) -> dict[str, Any]:  # fmt: skip
    """Return by what the network's standard deviation is to be multiplied.

    So that nine tenths of what was held out lie within the 90 % interval of a normal.
    """
    study = _study(scenes, scale, net, dates, boxes, recipe, None)
    off = []
    module.eval()
    with torch.inference_mode():
        for batch in study.held():
            here = {k: v.to(device) for k, v in batch.items()}
            change, variance = forward(module, here)
            error = (here["prior"] + change - here["truth"]).abs() / torch.exp(variance / 2)
            off.append(error[here["valid"].bool()].float().cpu().numpy())
    return {"std_factor": float(np.quantile(np.concatenate(off), 0.9) / _NINETY)}
