"""Training a network that fills gaps: it learns on clear pixels that are masked for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf._method import Method, network
from xstf._recipe import Net, Recipe
from xstf.align.gapfill import GapfillCubes, align_gapfill
from xstf.cubes.arrays import Guides, Labelled
from xstf.cubes.pairs import DateLike, LengthLike
from xstf.methods.gapfill._prior import PRIORS, Prior, fewest
from xstf.methods.gapfill._video import forward
from xstf.numerics.normal import COVER, Z90
from xstf.tiles.guide import guide_on_grid
from xstf.tiles.run import clean_block
from xstf.train import losses
from xstf.train.gapfill_samples import Sampler, Scale, Scene, draw
from xstf.train.patches import days_of, fitting_side, read_now, steps_to_cover, whole_days
from xstf.train.task import Batch, Supervision, TrainingTask

_DATES = 6  # of a window that the network sees at once
_HELD_EVERY = 5  # of the dates one is held out
_HELD_PATCHES = 64
_LIKELY = 0.1  # weight of the likelihood, which teaches the variance alone
_WINDOWED = ("ssim", "ms_ssim")
_SPAN = 4.0  # standard deviations that most of a band lies within
_MASKS = 200  # real shapes of clouds that are kept at most
_SAMPLED = 2_000_000


@dataclass(frozen=True, kw_only=True)
class GapfillOptions:
    """How `fit` reads cubes with gaps, and what the network learns on them.

    Parameters
    ----------
    prior
        What the network corrects.
    dates
        How many the network sees at once.
    boxes
        Mask boxes of noise, as SMTS-ViT was trained, instead of the shapes of real gaps.
    loss
        Terms by the names of `xstf.train.losses` and their weights, instead of the method's.
    sar_units, guide_tolerance
        As :func:`xstf.gapfill` takes them.
    """

    prior: Prior = "eof"
    dates: int = _DATES
    boxes: bool = False
    loss: Mapping[str, float] | None = None
    sar_units: str | None = None
    guide_tolerance: LengthLike = "12D"

    def __post_init__(self) -> None:
        """Check what the records of methods do not."""
        if self.loss is not None:
            losses.compose(tuple(self.loss.items()))  # raises where a term is unknown
        if self.prior not in PRIORS:
            raise ValueError(f"prior must be one of {list(PRIORS)}, not {self.prior!r}")
        if self.dates < 2:
            raise ValueError(f"dates must be 2 or more, not {self.dates}")


def training_task(
    record: Method,
    cubes: Labelled | Sequence[Labelled],
    sar: Guides | Sequence[Guides] | None = None,
    *,
    options: GapfillOptions,
    guide: Guides | Sequence[Guides] | None = None,
    mask: xr.DataArray | Sequence[xr.DataArray] | None = None,
    validation: DateLike | None = None,
) -> TrainingTask:
    """Return what `fit` needs to know of a cube, or of several; the arguments are those of `fit`.

    Parameters
    ----------
    record
        The method.
    cubes, sar, guide, mask
        As :func:`xstf.gapfill` takes them; or `cubes` is a sequence of scenes, and the others are
        sequences as long, of what each scene has.
    options
        How they are read.
    validation
        Dates that are held out; by default one in five.
    """
    net = network(record)
    if options.loss is not None:
        net = dataclasses.replace(net, loss=tuple(options.loss.items()))
    if record.guided and sar is None and guide is None:
        raise ValueError(f"{record.name} learns from radar: give sar=, or guide= another cube")
    if not record.guided and not (sar is None and guide is None):
        raise ValueError(f"{record.name} makes no use of sar= or guide=; smts- networks do")
    aligned = _align(cubes, sar, guide, mask, options)
    bands = _shared_bands(aligned)
    scenes = [_scene(each, validation) for each in aligned]
    few = min(len(s.times) for s in scenes)
    if few < fewest(options.prior):
        raise ValueError(
            f"prior={options.prior!r} needs {fewest(options.prior)} dates or more, a cube has {few}"
        )
    scale = _scale(scenes)
    sampler = Sampler(
        scenes=scenes, scale=scale, prior=options.prior, dates=options.dates, boxes=options.boxes
    )
    count = sum(int(s.held_out.sum()) for s in scenes)
    return TrainingTask(
        bands=bands, build={"guide_bands": scenes[0].guide.shape[1]},
        low=tuple(map(float, scale.mean)), high=tuple(map(float, scale.mean + scale.std)),
        ratio=1.0, side=partial(_side, scenes, multiple=net.multiple),
        supervise=partial(_supervise, sampler, net), base=options.prior,
        held_out_text=f"{count} of {sum(len(s.times) for s in scenes)} dates",
        extra={
            "dates": options.dates, "guide_mean": scale.guide_mean.tolist(),
            "guide_std": scale.guide_std.tolist(), "std_factor": 1.0, "gains": [1.0, 1.0],
        },
        finish=partial(_calibrate, sampler, net),
    )  # fmt: skip


# --- the scenes -------------------------------------------------------------------------------


def _align(
    cubes: Labelled | Sequence[Labelled],
    sar: Guides | Sequence[Guides] | None,
    guide: Guides | Sequence[Guides] | None,
    mask: xr.DataArray | Sequence[xr.DataArray] | None,
    options: GapfillOptions,
) -> list[GapfillCubes]:
    """Return each cube with its guides."""
    each = list(cubes) if isinstance(cubes, Sequence) else [cubes]
    if not each:
        raise ValueError("there is no cube to learn from")
    several = isinstance(cubes, Sequence)
    radars: Sequence[Any] = _of_each(sar, several, len(each), "sar")
    guides: Sequence[Any] = _of_each(guide, several, len(each), "guide")
    masks: Sequence[Any] = _of_each(mask, several, len(each), "mask")
    return [
        align_gapfill(
            cube, radar, other, mask=barred, sar_units=options.sar_units,
            guide_tolerance=options.guide_tolerance,
        )
        for cube, radar, other, barred in zip(each, radars, guides, masks, strict=True)
    ]  # fmt: skip


def _of_each(given: object, several: bool, count: int, what: str) -> Sequence[object]:
    """Return what goes with each scene; raise where there are several and not as many of it.

    With one cube a list is of that cube: two satellites that it was seen by.
    """
    if given is None:
        return [None] * count
    if not several:
        return [given]
    if isinstance(given, Sequence) and len(given) == count:
        return given
    have = f"a list of {len(given)}" if isinstance(given, Sequence) else type(given).__name__
    raise ValueError(
        f"{count} cubes need a sequence as long of {what}, one for each (itself a list where a "
        f"cube has several), not {have}"
    )


def _shared_bands(aligned: list[GapfillCubes]) -> tuple[str, ...]:
    """Return the labels of the bands; raise where cubes differ in theirs or in their guides'."""
    bands = [tuple(str(b) for b in each.cube.bands) for each in aligned]
    if len(set(bands)) > 1:
        raise ValueError(f"cubes differ in their bands: {sorted(set(bands))}")
    if len({each.guide_bands for each in aligned}) > 1:
        raise ValueError("cubes differ in the bands of their guides (orbits count apart)")
    return bands[0]


def _scene(aligned: GapfillCubes, validation: DateLike | None) -> Scene:
    """Return a cube and its guides as plain arrays in memory."""
    if len(aligned.dates) < 2:
        raise ValueError("training needs a cube with two dates or more along a time dim")
    images = clean_block(read_now(aligned.cube.data)[aligned.order])
    guides = [read_now(guide_on_grid(g.data, tile, aligned.shape)) for g, tile in aligned.guides]
    none = np.empty((len(images), 0, *aligned.shape), np.float32)
    missing = np.isnan(images).all(axis=1)
    share = missing.mean(axis=(1, 2))
    moments = aligned.cube.when.moments[aligned.order]
    return Scene(
        cube=images, guide=np.concatenate(guides, axis=1) if guides else none,
        times=aligned.first_day + aligned.times, held_out=_held_out(moments, share < 1, validation),
        masks=missing[(share > 0.02) & (share < 0.9)][:_MASKS],
    )  # fmt: skip


def _held_out(dates: np.ndarray, seen: np.ndarray, validation: DateLike | None) -> np.ndarray:
    """Return which dates are held out, of dates in local solar time; always whole days.

    Of dates that nothing is `seen` of, nothing could be scored: others are held out.
    """
    days = dates.astype("datetime64[D]")
    if validation is None:
        held_out = np.zeros(len(dates), bool)
        some = np.flatnonzero(seen)
        first = min(_HELD_EVERY // 2, max(len(some) - 1, 0))
        held_out[whole_days(some[first::_HELD_EVERY], days)] = True
        return held_out
    wanted = days_of(validation)
    if not np.isin(wanted, days).all() or np.isin(days, wanted).all():
        raise ValueError(
            "validation= must be some of the cube's dates and not all; it has "
            f"{len(days)} from {days[0]} to {days[-1]}"
        )
    return np.isin(days, wanted)


def _scale(scenes: list[Scene]) -> Scale:
    """Return means and standard deviations over the clear pixels of the dates to learn from."""
    cubes = [s.cube[~s.held_out] for s in scenes]
    guides = [s.guide[~s.held_out] for s in scenes]
    mean, std = _moments(cubes, "cube ")
    guide_mean, guide_std = _moments(guides, "guide ")
    return Scale(mean=mean, std=std, guide_mean=guide_mean, guide_std=guide_std)


def _moments(arrays: list[np.ndarray], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each band."""
    means, stds = [], []
    for band in range(arrays[0].shape[1]):
        values = np.concatenate([_sampled(a[:, band], len(arrays)) for a in arrays])
        if not values.size:
            raise ValueError(f"{what}band {band} is never clear")
        means.append(values.mean(dtype=np.float64))
        stds.append(max(values.std(dtype=np.float64), 1e-6 * abs(means[-1]), 1e-12))
    return np.array(means), np.array(stds)


def _sampled(values: np.ndarray, among: int) -> np.ndarray:
    clear = values[~np.isnan(values)]
    return clear[:: max(1, clear.size * among // _SAMPLED)]


# --- learning ---------------------------------------------------------------------------------


def _side(scenes: list[Scene], recipe: Recipe, *, multiple: int) -> int:
    """Return the side of patches: the recipe's, unless a scene is smaller."""
    return fitting_side(recipe, min(min(s.cube.shape[2:]) for s in scenes), multiple)


def _supervise(
    sampler: Sampler, net: Net, recipe: Recipe, features: nn.Module | None = None
) -> Supervision:
    """Return what is learned from: see `TrainingTask.supervise`."""
    side = _side(sampler.scenes, recipe, multiple=net.multiple)
    scale = sampler.scale
    pixels = sum(s.cube.shape[0] * s.cube.shape[2] * s.cube.shape[3] for s in sampler.scenes)
    mean, std = _tensor(scale.mean), _tensor(scale.std)
    return Supervision(
        draw=partial(draw, sampler, side, recipe.batch, False),
        steps=steps_to_cover(pixels, side, recipe, dates=sampler.dates),
        held_out=partial(
            _held_out_batches, partial(draw, sampler, side, recipe.batch, True), recipe.batch
        ),
        learn=partial(_learn, net.loss, mean, std),
        estimate=lambda module, batch: batch["prior"] + forward(module, batch)[0],
        span=std,
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _learn(
    loss: tuple[tuple[str, float], ...], mean: Tensor, std: Tensor, module: nn.Module, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Return the loss over scales of the masked pixels, and a little of the others.

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


def _held_out_batches(
    draw_batch: Callable[[np.random.Generator], Batch], count: int
) -> Iterator[Batch]:
    """Give patches of the held-out dates, the same every time."""
    rng = np.random.default_rng(0)
    for _ in range(max(1, _HELD_PATCHES // count)):
        yield draw_batch(rng)


# --- calibration ------------------------------------------------------------------------------


def _calibrate(
    sampler: Sampler, net: Net, recipe: Recipe, module: nn.Module, device: torch.device
) -> dict[str, Any]:
    """Return the factors of the network's answers, found on what was held out.

    ``gains``: of the change, where its patch has something of the date and where it has nothing, by
    least squares, 0 to 1. What holds beside clear pixels may be wrong on dates without any.
    ``std_factor``: of the standard deviation, so that nine tenths of what was held out lie within
    the 90 % interval of a normal.
    """
    found = []
    module.eval()
    with torch.inference_mode():
        for batch in _supervise(sampler, net, recipe).held_out():
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
    """Return the share of a change that is best, 0 to 1; all of it where there is no change."""
    size = float(np.square(change, dtype=np.float64).sum())
    if not size:
        return 1.0
    return min(max(float((change * wanted).sum(dtype=np.float64)) / size, 0.0), 1.0)
