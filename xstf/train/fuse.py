"""Training a fusion network: patches of image pairs that predict the fine image of another date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf._method import Method, network
from xstf._recipe import Net, Recipe
from xstf.align.fuse import align_fuse
from xstf.align.regrid import MIN_VALID
from xstf.cubes.arrays import Array, Labelled
from xstf.cubes.pairs import DateLike, LengthLike, Pair
from xstf.cubes.units import Side
from xstf.methods.fuse._network import Images
from xstf.numerics.upsample import upsample
from xstf.tiles.run import clean_block
from xstf.tiles.units import check_units
from xstf.train import losses, patches
from xstf.train.fuse_samples import Combining, Example, split
from xstf.train.patches import CLEAR, TRIES, Patch, fitting_side, read_now
from xstf.train.task import Batch, Supervision, TrainingTask

_HELD_PATCHES = 24
_IN_MEMORY = 1 << 30  # bytes; larger cubes are read patch by patch
_SAMPLED = 2_000_000  # values that the scaling is found from
_PERCENTILES = (0.1, 99.9)

Base = Literal["delta", "fine", "none"]


@dataclass(frozen=True, kw_only=True)
class FuseOptions:
    """How `fit` reads two cubes to fuse, and which examples it makes of them.

    Parameters
    ----------
    coarse_mask, pair_tolerance, coarse_resolution, min_valid
        As :func:`xstf.fuse` takes them.
    cross
        Whether every two dates make an example in both orders, not only those that follow each
        other.
    between
        Share of the patches whose target lies between the two dates.
    base
        What the network's output is added to; None for the method's own.
    """

    coarse_mask: xr.DataArray | None = None
    pair_tolerance: LengthLike = "1D"
    coarse_resolution: float | None = None
    min_valid: float = MIN_VALID
    cross: bool = True
    between: float = 0.5
    base: Base | None = None

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 <= self.between <= 1:
            raise ValueError(f"between is a share, from 0 to 1, not {self.between}")


@dataclass(frozen=True)
class Scaling:
    """What `Images` needs to know of a checkpoint."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    base: str


@dataclass(frozen=True, kw_only=True)
class TrainingCubes:
    """Both cubes on nested grids, and the examples that are made of them.

    Parameters
    ----------
    fine, coarse
        ``(date, band, y, x)`` and ``(date, band, Y, X)``, numpy or dask.
    ratio, before
        Of the grids; fine pixels from the coarse grid's corner to the fine image's.
    bands
        Labels, as text.
    examples, held_out
        What is trained on, and what is held out.
    held_out_text
        What is held out, in words.
    between
        Share of the patches whose target lies between two dates.
    """

    fine: Array
    coarse: Array
    ratio: int
    before: tuple[int, int]
    bands: tuple[str, ...]
    examples: tuple[Example, ...]
    held_out: tuple[Example, ...]
    held_out_text: str
    between: float


def training_task(
    record: Method,
    fine: Labelled,
    coarse: Labelled,
    *,
    options: FuseOptions,
    mask: xr.DataArray | None = None,
    validation: DateLike | None = None,
) -> TrainingTask:
    """Return what `fit` needs to know of two cubes; the arguments are those of `fit`."""
    net = network(record)
    cubes = read(fine, coarse, mask=mask, validation=validation, options=options, net=net)
    scaling = Scaling(*percentiles(cubes), options.base or net.base)
    return TrainingTask(
        bands=cubes.bands, low=scaling.low, high=scaling.high, ratio=float(cubes.ratio),
        side=partial(patch_side, cubes, multiple=net.multiple),
        supervise=partial(supervise, cubes, net, scaling), base=scaling.base,
        held_out_text=cubes.held_out_text,
    )  # fmt: skip


def read(
    fine: Labelled,
    coarse: Labelled,
    *,
    net: Net,
    options: FuseOptions,
    mask: xr.DataArray | None = None,
    validation: DateLike | None = None,
) -> TrainingCubes:
    """Return labelled cubes as examples; `net` says how many pairs make one."""
    cubes = align_fuse(
        fine, coarse, mask=mask, coarse_mask=options.coarse_mask,
        coarse_resolution=options.coarse_resolution, min_valid=options.min_valid,
    )  # fmt: skip
    pairs = cubes.pairs(options.pair_tolerance)
    if len(pairs) < 2:
        raise ValueError(
            f"training needs two fine images or more that have a coarse one within "
            f"{options.pair_tolerance} of their date, found {len(pairs)}; widen pair_tolerance or "
            "add images"
        )
    images, position = cubes.on_nested_grid([p.coarse for p in pairs])
    pairs = [Pair(p.fine, position[p.coarse]) for p in pairs]
    bands = cubes.fine.bands
    check_units(
        (Side("fine", "", bands), Side("coarse", "", bands)), (cubes.fine.data, images),
        [(p.fine, p.coarse) for p in pairs], ratio=cubes.nesting.ratio,
        before=cubes.nesting.before, sampled=None, now=True,
    )  # fmt: skip
    made = split(
        pairs, cubes.fine.when.moments[[p.fine for p in pairs]], validation, cubes.fine.grid.width,
        Combining(options.cross, net.swap, net.learn_pairs),
    )  # fmt: skip
    return TrainingCubes(
        fine=_in_memory(cubes.fine.data), coarse=_in_memory(images), ratio=cubes.nesting.ratio,
        before=cubes.nesting.before, bands=tuple(str(b) for b in cubes.fine.bands),
        examples=made.train, held_out=made.held_out, held_out_text=made.text,
        between=options.between,
    )  # fmt: skip


def _in_memory(array: Array) -> Array:
    """Return a lazy array in memory if it is small: patches are read from it often."""
    return read_now(array) if 4 * np.prod(array.shape) <= _IN_MEMORY else array


def percentiles(cubes: TrainingCubes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each band's 0.1 and 99.9 percentiles over what is trained on."""
    dates = sorted({pair.fine for example in cubes.examples for pair in example.pairs})
    columns = cubes.examples[0].columns
    size = int(np.prod(cubes.fine.shape[1:]))
    step = max(1, int((size * len(dates) / _SAMPLED) ** 0.5))
    images = [read_now(cubes.fine[d, :, ::step, columns][..., ::step]) for d in dates]
    values = clean_block(np.stack(images)).swapaxes(0, 1).reshape(len(cubes.bands), -1)
    empty = [b for b, v in zip(cubes.bands, values, strict=True) if np.isnan(v).all()]
    if empty:
        raise ValueError(f"fine has no clear pixel in bands {empty} on the dates to train on")
    low, high = np.nanpercentile(values, _PERCENTILES, axis=1)
    high = np.where(high > low, high, low + np.maximum(np.abs(low), 1e-6))
    return tuple(map(float, low)), tuple(map(float, high))


def supervise(
    cubes: TrainingCubes, net: Net, scaling: Scaling, recipe: Recipe, features: nn.Module | None
) -> Supervision:
    """Return what a fusion network learns from: see `TrainingTask.supervise`."""
    side = patch_side(cubes, recipe, multiple=net.multiple)
    terms = losses.compose(net.loss)

    def learn(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        found = estimate(scaling.base, module, batch)
        total, _ = terms(found, batch["truth"], batch["valid"], features=features)
        return total, found

    pixels = cubes.fine.shape[2] * cubes.fine.shape[3] * len(cubes.examples)
    return Supervision(
        draw=partial(_draw, cubes, scaling, side, recipe.batch),
        steps=patches.steps_to_cover(pixels, side, recipe),
        held_out=partial(_held_out_batches, cubes, scaling, side, recipe.batch),
        learn=learn,
        estimate=partial(estimate, scaling.base),
        span=torch.tensor(np.subtract(scaling.high, scaling.low), dtype=torch.float32),
    )


def patch_side(cubes: TrainingCubes, recipe: Recipe, *, multiple: int) -> int:
    """Return the side of patches: the recipe's, unless the cubes are smaller."""
    widths = [e.columns.stop - e.columns.start for e in (cubes.examples[0], cubes.held_out[0])]
    return fitting_side(recipe, min(cubes.fine.shape[2], *widths), multiple)


def estimate(base: str, net: nn.Module, batch: Batch) -> Tensor:
    """Return the network's estimate of the target's fine image, scaled.

    From several pairs, ``fine0`` and ``coarse0`` being ``(n, pair, band, y, x)``, it is the change
    added to their base images as the network blends them.
    """
    fine, before, after = batch["fine0"], batch["coarse0"], batch["coarse1"]
    if fine.ndim == 4:
        change: Tensor = net(fine, before, after)
        if base == "delta":
            fine = fine + after - before
    else:
        change, share = net.several(fine, before, after)
        if base == "delta":
            fine = fine + after.unsqueeze(1) - before
        fine = (share * fine).sum(dim=1)
    return change if base == "none" else fine + change


# --- patches ----------------------------------------------------------------------------------


def _draw(
    cubes: TrainingCubes, scaling: Scaling, side: int, count: int, rng: np.random.Generator
) -> Batch:
    """Return patches at random positions of random examples, turned at random."""
    drawn: list[Patch] = []
    for _ in range(count):
        for _ in range(TRIES):
            example = cubes.examples[rng.integers(len(cubes.examples))]
            first = example.columns.start
            row = int(rng.integers(cubes.fine.shape[2] - side + 1))
            col = int(rng.integers(first, example.columns.stop - side + 1))
            share = float(rng.uniform()) if rng.random() < cubes.between else 1.0
            patch = _patch(cubes, scaling, example, row, col, side, share)
            if patch is not None and patch["valid"].mean() >= CLEAR:
                break
        if patch is not None:
            turn = int(rng.integers(8))
            drawn.append({k: patches.turned(v, turn) for k, v in patch.items()})
    patches.require_patches(drawn, side, count * TRIES)
    return patches.stack(drawn)


def _held_out_batches(
    cubes: TrainingCubes, scaling: Scaling, side: int, count: int
) -> Iterator[Batch]:
    """Give the patches of what is held out, evenly over it, at most so many."""
    positions = [
        (example, row, col)
        for example in cubes.held_out
        for row in _starts(slice(0, cubes.fine.shape[2]), side)
        for col in _starts(example.columns, side)
    ]
    step = max(1, -(-len(positions) // _HELD_PATCHES))
    waiting: list[Patch] = []
    for example, row, col in positions[::step]:
        patch = _patch(cubes, scaling, example, row, col, side)
        if patch is None:
            continue
        # Examples of one pair and of two do not go into one batch.
        if waiting and waiting[0]["fine0"].shape != patch["fine0"].shape:
            yield patches.stack(waiting)
            waiting = []
        waiting.append(patch)
        if len(waiting) == count:
            yield patches.stack(waiting)
            waiting = []
    if waiting:
        yield patches.stack(waiting)


def _starts(part: slice, side: int) -> list[int]:
    last = part.stop - side
    return [*range(part.start, last, side), last]


def _patch(
    cubes: TrainingCubes, scaling: Scaling, example: Example, row: int, col: int, side: int,
    share: float = 1.0,
) -> Patch | None:  # fmt: skip
    """Return the scaled images of an example on a patch; None where none of them is clear.

    Those of the pairs have an axis of pairs where there are several. With a `share` below 1 the
    target lies that far between the pair and its own date: both sensors see linearly, so both
    change alike.
    """
    window = (slice(row, row + side), slice(col, col + side))
    pairs = [*example.pairs, example.target]
    fine = _image(cubes.fine, [p.fine for p in pairs], window)
    coarse = _coarse(cubes, [p.coarse for p in pairs], window)
    if share < 1:
        for dates in (fine, coarse):
            dates[-1] = dates[0] + share * (dates[-1] - dates[0])
    images = Images(fine[:-1], coarse, scaling, (row, col))
    cut = images.cut(window)
    if cut is None:
        return None
    truth = (fine[-1] - images.low) / images.span
    valid = images.clear.all(axis=0) & ~np.isnan(truth)
    which: slice | int = slice(None) if len(example.pairs) > 1 else 0
    return {
        "fine0": cut[0][which], "coarse0": cut[1][:-1][which], "coarse1": cut[1][-1],
        "condition": cut[1][-1],
        "truth": np.where(valid, truth, 0).astype(np.float32), "valid": valid.astype(np.float32),
    }  # fmt: skip


def _image(array: Array, dates: list[int], window: tuple[slice, slice]) -> np.ndarray:
    """Return a window of some dates, read now."""
    parts = [read_now(array[(d, slice(None), *window)]) for d in dates]
    found: np.ndarray = clean_block(np.stack(parts))
    return found


def _coarse(cubes: TrainingCubes, dates: list[int], window: tuple[slice, slice]) -> np.ndarray:
    """Return coarse images at the fine pixels of a window, interpolated."""
    cells: list[slice] = []
    inside: list[slice] = []
    for part, before, size in zip(window, cubes.before, cubes.coarse.shape[2:], strict=True):
        first = max((part.start + before) // cubes.ratio - 1, 0)
        stop = min(-(-(part.stop + before) // cubes.ratio) + 1, size)
        cells.append(slice(first, stop))
        start = part.start + before - first * cubes.ratio
        inside.append(slice(start, start + part.stop - part.start))
    images = _image(cubes.coarse, dates, (cells[0], cells[1]))
    return upsample(images, cubes.ratio)[..., inside[0], inside[1]]
