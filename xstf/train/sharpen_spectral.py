"""Training a network that sharpens spectra: both cubes on the grid of the coarser one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf._method import Method, network
from xstf._recipe import Net, Recipe
from xstf.align.sharpen_spectral import SharpenCubes, align_sharpen_spectral
from xstf.cubes.arrays import Labelled
from xstf.cubes.pairs import DateLike, LengthLike
from xstf.cubes.units import Side
from xstf.numerics.degrade import degrade, register
from xstf.numerics.response import locate
from xstf.tiles.gpu import to_host
from xstf.tiles.run import clean_block, compute_now
from xstf.tiles.samples import whole_cells
from xstf.tiles.units import check_units
from xstf.train import losses, patches
from xstf.train.patches import (
    CLEAR,
    TRIES,
    Patch,
    days_of,
    fitting_side,
    steps_to_cover,
    whole_days,
)
from xstf.train.task import Batch, Supervision, TrainingTask

_STRIPE = 0.2  # of the rows, held out where there is one date
_HELD_SIDE, _HELD_PATCHES = 64, 24
_PERCENTILES = (0.1, 99.9)
_PIXELS = 20_000  # that the linear map is found from at most


@dataclass(frozen=True, kw_only=True)
class SharpenOptions:
    """How `fit` reads two cubes to sharpen; fields as :func:`xstf.sharpen_spectral` takes them."""

    spatial_mask: xr.DataArray | None = None
    psf: float | xr.DataArray | str | None = None
    register: bool = True
    time_tolerance: LengthLike = "1D"


class Image(NamedTuple):
    """One date on the coarse grid, NaN where missing.

    Parameters
    ----------
    spectral, guide
        ``(band, y, x)`` and ``(guide_band, y, x)``, the latter as the spectral sensor sees it.
    """

    spectral: np.ndarray
    guide: np.ndarray


class Split(NamedTuple):
    """What is trained on, what is held out, and that in words."""

    train: list[Image]
    held_out: list[Image]
    text: str


@dataclass(frozen=True)
class Scale:
    """What is 0 and what is 1, a band each."""

    low: np.ndarray
    high: np.ndarray
    guide_low: np.ndarray
    guide_high: np.ndarray


@dataclass(frozen=True)
class Linear:
    """The least-squares map of scaled values: ``(band, guide_band)`` and ``(band,)``."""

    slopes: np.ndarray
    offsets: np.ndarray


def training_task(
    record: Method,
    spectral: Labelled,
    spatial: Labelled,
    *,
    options: SharpenOptions,
    mask: xr.DataArray | None = None,
    validation: DateLike | None = None,
) -> TrainingTask:
    """Return what `fit` needs to know of two cubes.

    Parameters
    ----------
    record
        The method.
    spectral, spatial, mask
        As :func:`xstf.sharpen_spectral` takes them.
    options
        How they are read.
    validation
        Dates that are held out; by default a quarter of them, at least one, and with one date a
        fifth of its rows.
    """
    net = network(record)
    cubes = align_sharpen_spectral(
        spectral, spatial, psf=options.psf, mask=mask, spatial_mask=options.spatial_mask,
        time_tolerance=options.time_tolerance,
    )  # fmt: skip
    made = _split(
        _read(cubes, options.register),
        None if cubes.spectral.times is None else cubes.spectral.when.moments,
        validation,
    )
    seen = np.any([np.isfinite(i.spectral).any(axis=(1, 2)) for i in made.train], axis=0)
    scale = _scale(made.train)
    linear = _least_squares(made.train, scale)
    guides = [str(b) for b in cubes.spatial.bands]
    return TrainingTask(
        bands=tuple(str(b) for b in cubes.spectral.bands), build={"guide_bands": len(guides)},
        low=tuple(map(float, scale.low)), high=tuple(map(float, scale.high)),
        ratio=float(cubes.nesting.ratio), side=partial(_side, made.train),
        supervise=partial(_supervise, made, scale, linear, net), base="none",
        held_out_text=made.text,
        extra={
            "guides": guides, "guide_low": scale.guide_low.tolist(),
            "guide_high": scale.guide_high.tolist(), "seen": seen.tolist(),
        },
        finish=partial(_add_linear_map, linear),
    )  # fmt: skip


# --- the images -------------------------------------------------------------------------------


def _read(cubes: SharpenCubes, moves: bool) -> list[Image]:
    """Return every date on the coarse grid: of a large scene as much as methods settle by."""
    coarse, nesting = cubes.on_nested_grid(), cubes.nesting
    sides = Side("spatial", "", cubes.spatial.bands), Side("spectral", "", cubes.spectral.bands)
    check_units(
        sides, (cubes.spatial.data, coarse), [(p, date) for date, p in enumerate(cubes.images)],
        ratio=nesting.ratio, before=nesting.before, sampled=None, now=True,
    )  # fmt: skip
    images = []
    for date, partner in enumerate(cubes.images):
        fine, low = whole_cells(
            cubes.spatial.data[[partner]], coarse[[date]],
            ratio=nesting.ratio, before=nesting.before,
        )  # fmt: skip
        pair = compute_now({"spectral": low[0], "spatial": fine[0]})
        host = {k: clean_block(to_host(v)) for k, v in pair.items()}
        images.append(_as_seen(host, cubes.sensors.fwhm, nesting.ratio, moves))
    return images


def _as_seen(
    host: dict[str, np.ndarray], fwhm: float | np.ndarray | None, ratio: int, moves: bool
) -> Image:
    """Return a date with its spatial cube as the spectral sensor sees it."""
    bands = np.isfinite(host["spectral"]).any(axis=(1, 2))
    if not bands.any():
        return Image(host["spectral"], np.full_like(host["spectral"][:1], np.nan))
    width, shift = locate(
        host["spectral"][bands], host["spatial"], ratio=ratio, fwhm=fwhm,
        shift=None if moves else np.zeros(2),
    )  # fmt: skip
    moved = register(host["spatial"], shift=shift)
    return Image(host["spectral"], degrade(moved, ratio=ratio, fwhm=width))


def _split(images: list[Image], times: np.ndarray | None, validation: DateLike | None) -> Split:
    """Return what is trained on and what is held out; no empty dates."""
    full = [i for i, image in enumerate(images) if _clear(image).any()]
    if not full:
        raise ValueError("spectral and spatial have no pixel in common that is clear in both")
    if validation is None:
        count = max(1, len(full) // 4) if len(full) > 1 else 0
        places = np.linspace(0, len(full) - 1, count + 2).round().astype(int)[1:-1]
        out = [full[i] for i in places]
        if times is not None:
            out = [i for i in whole_days(out, times.astype("datetime64[D]")) if i in full]
    else:
        out = _named_dates(full, times, validation)
    if not out:
        return _stripe(images[full[0]])
    kept = [images[i] for i in full if i not in out]
    names = ", ".join(str(i if times is None else times[i].astype("M8[D]")) for i in out)
    return Split(kept, [images[i] for i in out], f"dates {names}")


def _named_dates(full: list[int], times: np.ndarray | None, validation: DateLike) -> list[int]:
    """Return which of the dates that are not empty are named; raise unless some and not all are."""
    if times is None:
        raise ValueError("validation= names dates, and spectral has no time")
    days, wanted = times.astype("datetime64[D]"), days_of(validation)
    out = [i for i in full if days[i] in wanted]
    if not np.isin(wanted, days[full]).all() or len(out) == len(full):
        raise ValueError(
            "validation= must be some of the dates that are clear in both cubes, and not all: "
            f"{[str(days[i]) for i in full]}"
        )
    return out


def _clear(image: Image) -> np.ndarray:
    """Return the pixels ``(y, x)`` where all guide bands and some spectral one are there."""
    there: np.ndarray = np.isfinite(image.guide).all(axis=0)
    return there & np.isfinite(image.spectral).any(axis=0)


def _stripe(image: Image) -> Split:
    """Return an image without its last rows, and those."""
    height = image.spectral.shape[1]
    edge = height - max(1, int(height * _STRIPE))
    if edge < 1:
        raise ValueError(f"training needs two rows of spectral or more, there is {height}")
    upper, lower = (
        Image(image.spectral[:, rows], image.guide[:, rows])
        for rows in (slice(0, edge), slice(edge, None))
    )
    if not _clear(upper).any():
        raise ValueError(f"no pixel of the first {edge} rows of spectral is clear in both cubes")
    return Split([upper], [lower], f"rows {edge} and on")


def _scale(images: list[Image]) -> Scale:
    """Return each band's 0.1 and 99.9 percentiles; 0 and 1 where a band is missing everywhere."""
    found = []
    for name in Image._fields:
        flat = _flat([getattr(i, name) for i in images])
        low, high = np.zeros(len(flat)), np.ones(len(flat))
        for band, values in enumerate(flat):
            seen = values[np.isfinite(values)]
            if seen.size:
                low[band], high[band] = np.percentile(seen, _PERCENTILES)
        high = np.where(high > low, high, low + np.maximum(np.abs(low), 1e-6))
        found += [low, high]
    return Scale(*found)


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    """Return images as ``(band, pixel)``."""
    return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)


def _least_squares(images: list[Image], scale: Scale) -> Linear:
    """Return the linear map, each band's from the pixels where it is there."""
    scaled = _scaled(images, scale)
    targets, guides = _flat([i.spectral for i in scaled]), _flat([i.guide for i in scaled])
    columns = np.concatenate([guides, np.ones_like(guides[:1])]).T.astype(np.float64)
    there = np.isfinite(columns).all(axis=1)
    found = np.zeros((len(targets), columns.shape[1]))
    for band, values in enumerate(targets):
        valid = np.flatnonzero(there & np.isfinite(values))
        valid = valid[:: -(-len(valid) // _PIXELS) or 1]
        if len(valid):
            found[band] = np.linalg.lstsq(columns[valid], values[valid], rcond=1e-9)[0]
    return Linear(found[:, :-1].astype(np.float32), found[:, -1].astype(np.float32))


def _scaled(images: list[Image], scale: Scale) -> list[Image]:
    """Return the images with both cubes scaled."""
    low, span, guide_low, guide_span = (
        v.astype(np.float32)[:, None, None]
        for v in (
            scale.low, scale.high - scale.low, scale.guide_low, scale.guide_high - scale.guide_low,
        )
    )  # fmt: skip
    return [Image((i.spectral - low) / span, (i.guide - guide_low) / guide_span) for i in images]


# --- learning ---------------------------------------------------------------------------------


def _side(images: list[Image], recipe: Recipe) -> int:
    """Return the side of patches: the recipe's, unless an image is smaller."""
    return fitting_side(recipe, min(n for i in images for n in i.guide.shape[1:]), 1)


def _supervise(
    made: Split, scale: Scale, linear: Linear, net: Net, recipe: Recipe, features: nn.Module | None
) -> Supervision:
    """Return what is learned from: see `TrainingTask.supervise`."""
    side = _side(made.train, recipe)
    estimate = partial(_estimate, linear)
    terms = losses.compose(net.loss)

    def learn(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        found = estimate(module, batch)
        return terms(found, batch["truth"], batch["valid"], features=features)[0], found

    return Supervision(
        draw=partial(_draw, _scaled(made.train, scale), side, recipe.batch),
        steps=steps_to_cover(sum(i.guide[0].size for i in made.train), side, recipe),
        held_out=partial(_held_out_batches, _scaled(made.held_out, scale)),
        learn=learn,
        estimate=estimate,
        span=torch.tensor(scale.high - scale.low, dtype=torch.float32),
    )


def _estimate(linear: Linear, module: nn.Module, batch: Batch) -> Tensor:
    """Return the linear map and what the convolutions add to it; the network's own waits for it."""
    guide = batch["guide"]
    slopes = torch.from_numpy(linear.slopes).to(guide)[:, :, None, None]
    offsets = torch.from_numpy(linear.offsets).to(guide)
    found: Tensor = nn.functional.conv2d(guide, slopes, offsets) + module.rest(guide)
    return found


def _add_linear_map(
    linear: Linear, recipe: Recipe, module: nn.Module, device: torch.device
) -> dict[str, Any]:
    """Give the trained network the linear map that it was trained beside."""
    with torch.no_grad():
        module.linear.weight.copy_(torch.from_numpy(linear.slopes)[:, :, None, None])
        module.linear.bias.copy_(torch.from_numpy(linear.offsets))
    return {}


def _draw(images: list[Image], side: int, count: int, rng: np.random.Generator) -> Batch:
    """Return patches at random positions of random dates, turned at random."""
    drawn: list[Patch] = []
    for _ in range(count * TRIES):
        image = images[rng.integers(len(images))]
        row, col = (int(rng.integers(n - side + 1)) for n in image.guide.shape[1:])
        patch = _sample(image, slice(row, row + side), slice(col, col + side))
        turn = int(rng.integers(8))
        if patch["valid"].any(axis=0).mean() >= CLEAR:
            drawn.append({k: patches.turned(v, turn) for k, v in patch.items()})
        if len(drawn) == count:
            break
    patches.require_patches(drawn, side, count * TRIES)
    return patches.stack(drawn)


def _sample(image: Image, rows: slice, cols: slice) -> Patch:
    """Return a patch: the guide bands, the truth, and where there is one."""
    spectral, guide = image.spectral[:, rows, cols], image.guide[:, rows, cols]
    there = np.isfinite(guide).all(axis=0)
    valid = np.isfinite(spectral) & there
    return {
        "guide": np.where(there, guide, 0.5).astype(np.float32),
        "truth": np.where(valid, spectral, 0).astype(np.float32),
        "valid": valid.astype(np.float32),
    }


def _held_out_batches(images: list[Image]) -> Iterator[Batch]:
    """Give the parts of what is held out, evenly over it, at most so many."""
    parts = [
        (image, slice(row, row + _HELD_SIDE), slice(col, col + _HELD_SIDE))
        for image in images
        for row in range(0, image.guide.shape[1], _HELD_SIDE)
        for col in range(0, image.guide.shape[2], _HELD_SIDE)
    ]
    for image, rows, cols in parts[:: -(-len(parts) // _HELD_PATCHES)]:
        yield patches.stack([_sample(image, rows, cols)])
