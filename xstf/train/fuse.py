"""What a fusion network learns from: patches of image pairs that predict the image of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf._method import Method, Net, Recipe, network
from xstf.align.fuse import align_fuse
from xstf.cubes.pairs import Pair
from xstf.methods.fuse._network import Images
from xstf.numerics.upsample import upsample
from xstf.tiles.engines import to_host
from xstf.tiles.run import clean_block, compute_now
from xstf.train import losses
from xstf.train.fuse_samples import Lesson, split
from xstf.train.task import Batch, Course, Study

# A patch that is less clear than this teaches little; another place is tried so often.
_CLEAR, _TRIES = 0.3, 10
_HELD_TILES = 24
_IN_MEMORY = 1 << 30  # bytes; larger cubes are read patch by patch
_SAMPLED = 2_000_000  # values that the scaling is found from
_PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True)
class Scaling:
    """What `Images` needs to know of a checkpoint."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    base: str


@dataclass(frozen=True, kw_only=True)
class Cubes:
    """Both cubes on nested grids, and what is learned from which.

    Parameters
    ----------
    fine, coarse
        ``(date, band, y, x)`` and ``(date, band, Y, X)``, numpy or dask.
    ratio, before
        Of the grids; fine pixels from the coarse grid's corner to the fine image's.
    bands
        Labels, as text.
    lessons, held
        What is trained on, and what is held out.
    said
        What is held out, in words.
    between
        Share of the patches whose wanted date is one between two.
    """

    fine: Any
    coarse: Any
    ratio: int
    before: tuple[int, int]
    bands: tuple[str, ...]
    lessons: tuple[Lesson, ...]
    held: tuple[Lesson, ...]
    said: str
    between: float


def read(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    mask: xr.DataArray | None = None,
    coarse_mask: xr.DataArray | None = None,
    pair_tolerance: str = "1D",
    coarse_resolution: float | None = None,
    validation: Any = None,
    cross: bool = True,
    between: float = 0.5,
    swap: bool = False,
    together: int = 1,
) -> Cubes:
    """Return labelled cubes as lessons; the arguments are those of :func:`xstf.train.fit`.

    `swap` and `together`, the pairs in a lesson where there are enough, are the network's.
    """
    if not 0 <= between <= 1:
        raise ValueError(f"between is a share, from 0 to 1, not {between}")
    cubes = align_fuse(
        fine, coarse, mask=mask, coarse_mask=coarse_mask, coarse_resolution=coarse_resolution
    )
    pairs = cubes.pairs(pair_tolerance)
    if len(pairs) < 2:
        raise ValueError(
            f"training needs two fine images or more that have a coarse one within "
            f"{pair_tolerance} of their date, found {len(pairs)}; widen pair_tolerance or add "
            "images"
        )
    nested, place = cubes.on_nested_grid([p.coarse for p in pairs])
    pairs = [Pair(p.fine, place[p.coarse]) for p in pairs]
    sharp, nesting = cubes.fine, cubes.nesting
    dates = cubes.times[[p.fine for p in pairs]]
    lessons, held, said = split(pairs, dates, validation, sharp.grid.width, cross, swap, together)
    bands = tuple(str(b) for b in sharp.bands)
    return Cubes(
        fine=_kept(sharp.data), coarse=_kept(nested), ratio=nesting.ratio, before=nesting.before,
        bands=bands, lessons=lessons, held=held, said=said, between=between,
    )  # fmt: skip


def _kept(array: Any) -> Any:
    """Return a lazy array in memory if it is small: patches are read from it often."""
    return _plain(array) if 4 * array.size <= _IN_MEMORY else array


def _plain(array: Any) -> np.ndarray:
    """Return an array in host memory."""
    found: np.ndarray = to_host(compute_now({"": array})[""])
    return found


def scaling(cubes: Cubes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each band's 0.1 and 99.9 percentiles over what is trained on."""
    dates = sorted({pair.fine for lesson in cubes.lessons for pair in lesson.pairs})
    columns = cubes.lessons[0].columns
    step = max(1, int((cubes.fine[0].size * len(dates) / _SAMPLED) ** 0.5))
    images = [_plain(cubes.fine[d, :, ::step, columns][..., ::step]) for d in dates]
    values = clean_block(np.stack(images)).swapaxes(0, 1).reshape(len(cubes.bands), -1)
    empty = [b for b, v in zip(cubes.bands, values, strict=True) if np.isnan(v).all()]
    if empty:
        raise ValueError(f"fine has no clear pixel in bands {empty} on the dates to train on")
    low, high = np.nanpercentile(values, _PERCENTILES, axis=1)
    high = np.where(high > low, high, low + np.maximum(np.abs(low), 1e-6))
    return tuple(map(float, low)), tuple(map(float, high))


def course(
    record: Method, fine: Any, coarse: Any, *, base: str | None = None, **reading: Any
) -> Course:
    """Return what `fit` needs to know of two cubes; the arguments are those of `fit` and `read`."""
    net = network(record)
    cubes = read(fine, coarse, swap=net.swap, together=net.learn_pairs, **reading)
    scale = Scaling(*scaling(cubes), base or net.base)
    return Course(
        bands=cubes.bands, low=scale.low, high=scale.high, ratio=float(cubes.ratio),
        side=partial(patch_side, cubes, multiple=net.multiple),
        study=partial(study, cubes, net, scale), base=scale.base, held=cubes.said,
    )  # fmt: skip


def study(cubes: Cubes, net: Net, scale: Scaling, recipe: Recipe, features: Any) -> Study:
    """Return what a fusion network learns from: see `Course.study`."""
    base = scale.base
    side = patch_side(cubes, recipe, multiple=net.multiple)
    terms = losses.compose(net.loss)

    def learn(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        found = estimate(base, module, batch)
        total, _ = terms(found, batch["truth"], batch["valid"], features=features)
        return total, found

    pixels = cubes.fine.shape[2] * cubes.fine.shape[3] * len(cubes.lessons)
    span = torch.tensor(np.subtract(scale.high, scale.low), dtype=torch.float32)
    return Study(
        draw=partial(_draw, cubes, scale, side, recipe.batch),
        steps=max(1, round(pixels / (side * side * recipe.batch))),
        held=partial(_held, cubes, scale, side, recipe.batch),
        learn=learn,
        estimate=partial(estimate, base),
        span=span,
    )


def patch_side(cubes: Cubes, recipe: Recipe, *, multiple: int) -> int:
    """Return the side of patches: the recipe's, unless the cubes are smaller."""
    columns = cubes.lessons[0].columns
    held = cubes.held[0].columns
    room = min(cubes.fine.shape[2], columns.stop - columns.start, held.stop - held.start)
    side = min(recipe.patch, room) // multiple * multiple
    if side < 1:
        raise ValueError(
            f"the network needs patches of {multiple} fine pixels or more; there are {room}"
        )
    return side


def estimate(base: str, net: nn.Module, batch: Batch) -> Tensor:
    """Return the network's estimate of the target's fine image, scaled.

    From several pairs, ``fine0`` and ``coarse0`` being ``(n, pair, band, y, x)``, it is the change
    added to their base images as the network blends them.
    """
    known, before, after = batch["fine0"], batch["coarse0"], batch["coarse1"]
    if known.ndim == 4:
        change: Tensor = net(known, before, after)
        if base == "delta":
            known = known + after - before
    else:
        change, share = net.several(known, before, after)
        if base == "delta":
            known = known + after.unsqueeze(1) - before
        known = (share * known).sum(dim=1)
    return change if base == "none" else known + change


def _draw(cubes: Cubes, scale: Scaling, side: int, count: int, rng: np.random.Generator) -> Batch:
    """Return patches at random places of random lessons, turned at random."""
    patches = []
    for _ in range(count):
        for _ in range(_TRIES):
            lesson = cubes.lessons[rng.integers(len(cubes.lessons))]
            first = lesson.columns.start
            row = int(rng.integers(cubes.fine.shape[2] - side + 1))
            col = int(rng.integers(first, lesson.columns.stop - side + 1))
            share = float(rng.uniform()) if rng.random() < cubes.between else 1.0
            patch = _patch(cubes, scale, lesson, row, col, side, share)
            if patch is not None and patch["valid"].mean() >= _CLEAR:
                break
        if patch is not None:
            turn = _turn(int(rng.integers(8)))
            patches.append({k: np.ascontiguousarray(turn(v)) for k, v in patch.items()})
    if not patches:
        raise ValueError(
            f"found no clear patch of {side} x {side} fine pixels to train on in "
            f"{count * _TRIES} tries; train with a smaller patch="
        )
    return _stack(patches)


def _held(cubes: Cubes, scale: Scaling, side: int, count: int) -> Iterator[Batch]:
    """Give the patches of what is held out, evenly over it, at most so many."""
    places = [
        (lesson, row, col)
        for lesson in cubes.held
        for row in _starts(slice(0, cubes.fine.shape[2]), side)
        for col in _starts(lesson.columns, side)
    ]
    step = max(1, -(-len(places) // _HELD_TILES))
    waiting: list[dict[str, np.ndarray]] = []
    for lesson, row, col in places[::step]:
        patch = _patch(cubes, scale, lesson, row, col, side)
        if patch is None:
            continue
        # Lessons of one pair and of two do not go into one batch.
        if waiting and waiting[0]["fine0"].shape != patch["fine0"].shape:
            yield _stack(waiting)
            waiting = []
        waiting.append(patch)
        if len(waiting) == count:
            yield _stack(waiting)
            waiting = []
    if waiting:
        yield _stack(waiting)


def _starts(part: slice, side: int) -> list[int]:
    last = part.stop - side
    return [*range(part.start, last, side), last]


def _patch(
    cubes: Cubes, scale: Scaling, lesson: Lesson, row: int, col: int, side: int, share: float = 1.0
) -> dict[str, np.ndarray] | None:
    """Return the scaled images of a lesson on a patch; None where they say nothing.

    Those of the known pair have an axis of pairs where there are several. With a `share` below 1
    the wanted date is that far between the known one and its own: both sensors see linearly, so
    both move alike.
    """
    window = (slice(row, row + side), slice(col, col + side))
    pairs = [*lesson.pairs, lesson.wanted]
    fine = _image(cubes.fine, [p.fine for p in pairs], window)
    coarse = _coarse(cubes, [p.coarse for p in pairs], window)
    if share < 1:
        for dates in (fine, coarse):
            dates[-1] = dates[0] + share * (dates[-1] - dates[0])
    images = Images(fine[:-1], coarse, scale, (row, col))
    cut = images.cut(window)
    if cut is None:
        return None
    truth = (fine[-1] - images.low) / images.span
    valid = images.clear.all(axis=0) & ~np.isnan(truth)
    known: Any = slice(None) if lesson.beside else 0
    return {
        "fine0": cut[0][known], "coarse0": cut[1][:-1][known], "coarse1": cut[1][-1],
        "condition": cut[1][-1],
        "truth": np.where(valid, truth, 0).astype(np.float32), "valid": valid.astype(np.float32),
    }  # fmt: skip


def _image(array: Any, dates: list[int], window: tuple[slice, slice]) -> np.ndarray:
    """Return a window of some dates, read now."""
    parts = [_plain(array[(d, slice(None), *window)]) for d in dates]
    found: np.ndarray = clean_block(np.stack(parts))
    return found


def _coarse(cubes: Cubes, dates: list[int], window: tuple[slice, slice]) -> np.ndarray:
    """Return coarse images at the fine pixels of a window, interpolated."""
    cells: list[slice] = []
    inside: list[Any] = []
    for part, before, size in zip(window, cubes.before, cubes.coarse.shape[2:], strict=True):
        first = max((part.start + before) // cubes.ratio - 1, 0)
        stop = min(-(-(part.stop + before) // cubes.ratio) + 1, size)
        cells.append(slice(first, stop))
        start = part.start + before - first * cubes.ratio
        inside.append(slice(start, start + part.stop - part.start))
    images = _image(cubes.coarse, dates, (cells[0], cells[1]))
    return upsample(images, cubes.ratio)[(..., *inside)]


def _turn(which: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return one of the eight ways to turn and mirror images."""

    def turned(image: np.ndarray) -> np.ndarray:
        if which & 1:
            image = image[..., ::-1]
        if which & 2:
            image = image[..., ::-1, :]
        return image.swapaxes(-1, -2) if which & 4 else image

    return turned


def _stack(patches: list[dict[str, np.ndarray]]) -> Batch:
    return {name: torch.from_numpy(np.stack([p[name] for p in patches])) for name in patches[0]}
