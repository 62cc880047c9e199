"""What a network that fills gaps learns from: pixels that are known and hidden from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf._method import Method, Net, Recipe, network
from xstf.align.gapfill import align_gapfill
from xstf.methods.gapfill._prior import PRIORS, Prior, fewest
from xstf.methods.gapfill._video import forward
from xstf.numerics.normal import COVER, Z90
from xstf.tiles.engines import to_host
from xstf.tiles.guide import guide_on_grid
from xstf.tiles.run import clean_block, compute_now
from xstf.train import gapfill_samples as filling_lessons
from xstf.train import losses
from xstf.train.gapfill_samples import Plan, Scale, Scene
from xstf.train.task import Batch, Course, Study

_DATES = 6  # of a window that the network sees at once
_HELD_EVERY = 5  # of the dates one is held out
_HELD_PATCHES = 64
_LIKELY = 0.1  # weight of the likelihood, which teaches the variance alone
_WINDOWED = ("ssim", "ms_ssim")
_SPAN = 4.0  # standard deviations that most of a band lies within
_MASKS = 200  # real shapes of clouds that are kept at most
_SAMPLED = 2_000_000


def course(
    record: Method,
    cubes: Any,
    sar: Any = None,
    *,
    mask: Any = None,
    guide: Any = None,
    validation: Any = None,
    prior: Prior = "eof",
    dates: int = _DATES,
    boxes: bool = False,
    loss: Mapping[str, float] | None = None,
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
    prior
        What the network corrects.
    dates
        How many the network sees at once.
    boxes
        Hide boxes of noise, as SMTS-ViT was trained, instead of the shapes of real gaps.
    loss
        Terms by the names of `xstf.train.losses` and their weights, instead of the method's.
    sar_units, guide_tolerance
        As :func:`xstf.gapfill` takes them.
    """
    net = network(record)
    if loss is not None:
        losses.compose(tuple(loss.items()))  # raises where a term is unknown
        net = dataclasses.replace(net, loss=tuple(loss.items()))
    if record.guided and sar is None and guide is None:
        raise ValueError(f"{record.name} learns from radar: give sar=, or guide= another cube")
    if not record.guided and not (sar is None and guide is None):
        raise ValueError(f"{record.name} makes no use of sar= or guide=; smts- networks do")
    if prior not in PRIORS:
        raise ValueError(f"prior must be one of {list(PRIORS)}, not {prior!r}")
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
    few = min(len(s.times) for s in scenes)
    if few < fewest(prior):
        raise ValueError(f"prior={prior!r} needs {fewest(prior)} dates or more, a cube has {few}")
    scale = _scale(scenes)
    plan = Plan(scenes, scale, prior, dates, boxes)
    count = sum(int(s.held.sum()) for s in scenes)
    return Course(
        bands=bands, build={"guide_bands": scenes[0].guide.shape[1]},
        low=tuple(map(float, scale.mean)), high=tuple(map(float, scale.mean + scale.std)),
        ratio=1.0, side=partial(_side, scenes, multiple=net.multiple),
        study=partial(_study, plan, net), base=prior,
        held=f"{count} of {sum(len(s.times) for s in scenes)} dates",
        extra={
            "dates": dates, "guide_mean": scale.guide_mean.tolist(),
            "guide_std": scale.guide_std.tolist(), "std_factor": 1.0, "gains": [1.0, 1.0],
        },
        judge=partial(_judge, plan, net),
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
    cubes = align_gapfill(
        cube, sar, guide, mask=mask, sar_units=sar_units, guide_tolerance=tolerance
    )
    if len(cubes.dates) < 2:
        raise ValueError("training needs a cube with two dates or more along a time dim")
    images = clean_block(_plain(cubes.cube.data)[cubes.order])
    guides = [_plain(guide_on_grid(g.data, tile, cubes.shape)) for g, tile in cubes.guides]
    none = np.empty((len(images), 0, *cubes.shape), np.float32)
    missing = np.isnan(images).all(axis=1)
    share = missing.mean(axis=(1, 2))
    masks = missing[(share > 0.02) & (share < 0.9)][:_MASKS]
    scene = Scene(
        cube=images, guide=np.concatenate(guides, axis=1) if guides else none,
        times=cubes.first_day + cubes.times,
        held=_held(cubes.dates, validation), masks=masks,
    )  # fmt: skip
    return scene, tuple(str(b) for b in cubes.cube.bands)


def _plain(array: Any) -> np.ndarray:
    found: np.ndarray = to_host(compute_now({"": array})[""])
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


def _study(plan: Plan, net: Net, recipe: Recipe, _: Any) -> Study:
    """Return what is learned from: see `Course.study`."""
    side = _side(plan.scenes, recipe, multiple=net.multiple)
    draw = partial(filling_lessons.draw, plan, side)
    pixels = sum(s.cube.shape[0] * s.cube.shape[2] * s.cube.shape[3] for s in plan.scenes)
    mean, std = _tensor(plan.scale.mean), _tensor(plan.scale.std)
    return Study(
        draw=partial(draw, recipe.batch, False),
        steps=max(1, round(pixels / (plan.dates * side * side * recipe.batch))),
        held=partial(_held_batches, draw, recipe.batch),
        learn=partial(_learn, net.loss, mean, std),
        estimate=lambda module, batch: batch["prior"] + forward(module, batch)[0],
        span=std,
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _learn(
    loss: tuple[tuple[str, float], ...], mean: Tensor, std: Tensor, module: nn.Module, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Return the loss over scales of what was hidden, and a little of what was not.

    The spectral angle is one of reflectance, not of standardised values. Terms of windows, which
    small scales have no room for, are of the patch alone, brought to the span that they are for.
    """
    change, variance = forward(module, batch)
    estimate = batch["prior"] + change
    images = [t.flatten(0, 1) for t in (estimate, batch["truth"], batch["weight"])]
    total = estimate.new_zeros(())
    for name, weight in loss:
        found = images
        if name == "angle":
            shape = (1, -1, 1, 1)
            raw = [i * std.to(i).view(shape) + mean.to(i).view(shape) for i in images[:2]]
            found = [*raw, images[2]]
        elif name in _WINDOWED:
            found = [images[0] / _SPAN, images[1] / _SPAN, images[2]]
        term = losses.TERMS[name]
        total = total + weight * (term if name in _WINDOWED else losses.pyramid(term))(*found)
    off = (estimate.detach() - batch["truth"]).square()
    likely = (variance + off * torch.exp(-variance)) * batch["valid"]
    total = total + _LIKELY * likely.sum() / batch["valid"].sum().clamp(min=1)
    return total, estimate


def _held_batches(draw: Any, count: int) -> Iterator[Batch]:
    """Give patches of the dates held out, the same every time."""
    rng = np.random.default_rng(0)
    for _ in range(max(1, _HELD_PATCHES // count)):
        yield draw(count, True, rng)


def _judge(
    plan: Plan, net: Net, recipe: Recipe, module: nn.Module, device: torch.device
) -> dict[str, Any]:
    """Return what the network's answers are to be multiplied by, found on what was held out.

    ``gains``: the change where its patch has something of the date and where it has nothing, by
    least squares, 0 to 1. What holds beside clear pixels may be wrong on dates without any.
    ``std_factor``: the standard deviation, so that nine tenths of what was held out lie within the
    90 % interval of a normal.
    """
    found = []
    module.eval()
    with torch.inference_mode():
        for batch in _study(plan, net, recipe, None).held():
            here = {k: v.to(device) for k, v in batch.items()}
            change, variance = forward(module, here)
            valid = here["valid"].bool()
            seen = (~here["cube"].isnan()).any(dim=(3, 4), keepdim=True).expand_as(valid)
            missed = here["truth"] - here["prior"]
            parts = (change, missed, variance, seen)
            found.append([part[valid].float().cpu().numpy() for part in parts])
    change, missed, variance, seen = (np.concatenate(part) for part in zip(*found, strict=True))
    gains = [_gain(change[seen == s], missed[seen == s]) for s in (1, 0)]
    error = np.abs(change * np.where(seen, *gains) - missed) / np.exp(variance / 2)
    return {"gains": gains, "std_factor": float(np.quantile(error, COVER) / Z90)}


def _gain(change: np.ndarray, wanted: np.ndarray) -> float:
    """Return the share of a change that is best, 0 to 1; all of it where nothing tells."""
    size = float(np.square(change, dtype=np.float64).sum())
    if not size:
        return 1.0
    return min(max(float((change * wanted).sum(dtype=np.float64)) / size, 0.0), 1.0)
