"""What a network that sharpens spectra learns from: both cubes on the grid of the coarser one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf._method import Method, Net, Recipe, network
from xstf.align.sharpen_spectral import SharpenCubes, align_sharpen
from xstf.numerics.degrade import degrade, register
from xstf.numerics.response import locate
from xstf.tiles.engines import to_host
from xstf.tiles.run import clean_block, compute_now
from xstf.tiles.samples import whole_cells
from xstf.train import losses
from xstf.train.task import Batch, Course, Study, turned

# A patch that is less clear than this teaches little; another place is tried so often.
_CLEAR, _TRIES = 0.3, 10
_STRIPE = 0.2  # of the rows, held out where there is one date
_HELD_SIDE, _HELD_PATCHES = 64, 24
_PERCENTILES = (0.1, 99.9)
_PIXELS = 20_000  # that the linear map is found from at most


@dataclass(frozen=True)
class Image:
    """One date on the coarse grid, NaN where missing.

    Parameters
    ----------
    spectral, guide
        ``(band, y, x)`` and ``(guide_band, y, x)``, the latter as the spectral sensor sees it.
    """

    spectral: np.ndarray
    guide: np.ndarray


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


def course(
    record: Method,
    spectral: xr.DataArray | xr.Dataset,
    spatial: xr.DataArray | xr.Dataset,
    *,
    mask: xr.DataArray | None = None,
    spatial_mask: xr.DataArray | None = None,
    psf: float | None = None,
    register: bool = True,
    time_tolerance: str = "1D",
    validation: Any = None,
) -> Course:
    """Return what `fit` needs to know of two cubes.

    Parameters
    ----------
    record
        The method.
    spectral, spatial, mask, spatial_mask, psf, register, time_tolerance
        As :func:`xstf.sharpen_spectral` takes them.
    validation
        Dates that are held out; by default a quarter of them, at least one, and with one date a
        fifth of its rows.
    """
    net = network(record)
    cubes = align_sharpen(
        spectral, spatial, psf=psf, mask=mask, spatial_mask=spatial_mask,
        time_tolerance=time_tolerance,
    )  # fmt: skip
    blurred, sharp, nesting = cubes.spectral, cubes.spatial, cubes.nesting
    images = _read(cubes, register)
    trained, held, said = _split(images, blurred.times, validation)
    seen = np.any([np.isfinite(i.spectral).any(axis=(1, 2)) for i in trained], axis=0)
    scale = _scale(trained)
    linear = _least_squares(trained, scale)
    guides = [str(b) for b in sharp.bands]
    return Course(
        bands=tuple(str(b) for b in blurred.bands), build={"guide_bands": len(guides)},
        low=tuple(map(float, scale.low)), high=tuple(map(float, scale.high)),
        ratio=float(nesting.ratio), side=partial(_side, trained),
        study=partial(_study, trained, held, scale, linear, net), base="none", held=said,
        extra={
            "guides": guides, "guide_low": scale.guide_low.tolist(),
            "guide_high": scale.guide_high.tolist(), "seen": seen.tolist(),
        },
        judge=partial(_complete, linear),
    )  # fmt: skip


def _read(cubes: SharpenCubes, moves: bool) -> list[Image]:
    """Return every date on the coarse grid: of a large scene as much as methods settle by."""
    coarse, nesting = cubes.on_nested_grid(), cubes.nesting
    known = cubes.sensors.samples()
    images = []
    for date, image in enumerate(cubes.images):
        fine, low = whole_cells(
            cubes.spatial.data[[image]], coarse[[date]],
            ratio=nesting.ratio, before=nesting.before,
        )  # fmt: skip
        pair = compute_now({"spectral": low[0], "spatial": fine[0]})
        host = {k: clean_block(to_host(v)) for k, v in pair.items()}
        images.append(_as_seen(host, known, nesting.ratio, moves))
    return images


def _as_seen(host: dict[str, np.ndarray], known: dict[str, Any], ratio: int, moves: bool) -> Image:
    """Return a date with its spatial cube as the spectral sensor sees it."""
    bands = np.isfinite(host["spectral"]).any(axis=(1, 2))
    if not bands.any():
        return Image(host["spectral"], np.full_like(host["spectral"][:1], np.nan))
    fwhm, shift = locate(
        host["spectral"][bands], host["spatial"], ratio=ratio, fwhm=known.get("fwhm"),
        shift=None if moves else np.zeros(2),
    )  # fmt: skip
    moved = register(host["spatial"], shift=shift)
    return Image(host["spectral"], degrade(moved, ratio=ratio, fwhm=fwhm))


def _split(
    images: list[Image], times: np.ndarray | None, validation: Any
) -> tuple[list[Image], list[Image], str]:
    """Return what is trained on, what is held out, and that in words; no empty dates."""
    full = [i for i, image in enumerate(images) if _clear(image).any()]
    if not full:
        raise ValueError("spectral and spatial have no pixel in common that is clear in both")
    if validation is not None:
        if times is None:
            raise ValueError("validation= names dates, and spectral has no time")
        days = times.astype("datetime64[D]")
        wanted = np.atleast_1d(np.asarray(validation, "datetime64[D]"))
        out = [i for i in full if days[i] in wanted]
        if not np.isin(wanted, days[full]).all() or len(out) == len(full):
            raise ValueError(
                "validation= must be some of the dates that are clear in both cubes, and not all: "
                f"{[str(days[i]) for i in full]}"
            )
    else:
        count = max(1, len(full) // 4) if len(full) > 1 else 0
        places = np.linspace(0, len(full) - 1, count + 2).round().astype(int)[1:-1]
        out = [full[i] for i in places]
    if out:
        kept = [images[i] for i in full if i not in out]
        said = ", ".join(str(i if times is None else times[i].astype("M8[D]")) for i in out)
        return kept, [images[i] for i in out], f"dates {said}"
    return _stripe(images[full[0]])


def _clear(image: Image) -> np.ndarray:
    """Return the pixels ``(y, x)`` where all guide bands and some spectral one are there."""
    there: np.ndarray = np.isfinite(image.guide).all(axis=0)
    return there & np.isfinite(image.spectral).any(axis=0)


def _stripe(image: Image) -> tuple[list[Image], list[Image], str]:
    """Return an image without its last rows, and those."""
    height = image.spectral.shape[1]
    edge = height - max(1, int(height * _STRIPE))
    if edge < 1:
        raise ValueError(f"training needs two rows of spectral or more, there is {height}")
    parts = [
        Image(image.spectral[:, rows], image.guide[:, rows])
        for rows in (slice(0, edge), slice(edge, None))
    ]
    if not _clear(parts[0]).any():
        raise ValueError(f"no pixel of the first {edge} rows of spectral is clear in both cubes")
    return [parts[0]], [parts[1]], f"rows {edge} and on"


def _scale(images: list[Image]) -> Scale:
    """Return each band's 0.1 and 99.9 percentiles; 0 and 1 where a band is missing everywhere."""
    found = []
    for name in ("spectral", "guide"):
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
    targets, guides = (_flat([a[k] for a in _scaled(images, scale)]) for k in (0, 1))
    columns = np.concatenate([guides, np.ones_like(guides[:1])]).T.astype(np.float64)
    there = np.isfinite(columns).all(axis=1)
    found = np.zeros((len(targets), columns.shape[1]))
    for band, values in enumerate(targets):
        valid = np.flatnonzero(there & np.isfinite(values))
        valid = valid[:: -(-len(valid) // _PIXELS) or 1]
        if len(valid):
            found[band] = np.linalg.lstsq(columns[valid], values[valid], rcond=1e-9)[0]
    return Linear(found[:, :-1].astype(np.float32), found[:, -1].astype(np.float32))


def _scaled(images: list[Image], scale: Scale) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the spectral and the guide bands of each image, scaled."""
    low, span, guide_low, guide_span = (
        v.astype(np.float32)[:, None, None]
        for v in (
            scale.low, scale.high - scale.low, scale.guide_low, scale.guide_high - scale.guide_low,
        )
    )  # fmt: skip
    return [((i.spectral - low) / span, (i.guide - guide_low) / guide_span) for i in images]


def _side(images: list[Image], recipe: Recipe) -> int:
    """Return the side of patches: the recipe's, unless an image is smaller."""
    return min(recipe.patch, *(n for i in images for n in i.guide.shape[1:]))


def _study(
    trained: list[Image], held: list[Image], scale: Scale, linear: Linear, net: Net,
    recipe: Recipe, features: Any,
) -> Study:  # fmt: skip
    """Return what is learned from: see `Course.study`."""
    side = _side(trained, recipe)
    estimate = partial(_estimate, linear)
    terms = losses.compose(net.loss)

    def learn(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        found = estimate(module, batch)
        return terms(found, batch["truth"], batch["valid"], features=features)[0], found

    pixels = sum(i.guide[0].size for i in trained)
    return Study(
        draw=partial(_draw, _scaled(trained, scale), side, recipe.batch),
        steps=max(1, round(pixels / (side * side * recipe.batch))),
        held=partial(_held, _scaled(held, scale)),
        learn=learn,
        estimate=estimate,
        span=torch.tensor(scale.high - scale.low, dtype=torch.float32),
    )


def _estimate(linear: Linear, module: Any, batch: Batch) -> Tensor:
    """Return the linear map and what the convolutions add to it; the network's own waits for it."""
    guide = batch["guide"]
    slopes = torch.from_numpy(linear.slopes).to(guide)[:, :, None, None]
    offsets = torch.from_numpy(linear.offsets).to(guide)
    found: Tensor = nn.functional.conv2d(guide, slopes, offsets) + module.rest(guide)
    return found


def _complete(linear: Linear, recipe: Recipe, module: Any, device: torch.device) -> dict[str, Any]:
    """Give the trained network the linear map that it was trained beside: it is whole then."""
    with torch.no_grad():
        module.linear.weight.copy_(torch.from_numpy(linear.slopes)[:, :, None, None])
        module.linear.bias.copy_(torch.from_numpy(linear.offsets))
    return {}


def _draw(
    images: list[tuple[np.ndarray, np.ndarray]], side: int, count: int, rng: np.random.Generator
) -> Batch:
    """Return patches at random places of random dates, turned at random."""
    patches: list[dict[str, np.ndarray]] = []
    for _ in range(count * _TRIES):
        spectral, guide = images[rng.integers(len(images))]
        row, col = (int(rng.integers(n - side + 1)) for n in guide.shape[1:])
        part = (slice(None), slice(row, row + side), slice(col, col + side))
        patch = _sample(spectral[part], guide[part])
        turn = int(rng.integers(8))
        if patch["valid"].any(axis=0).mean() >= _CLEAR:
            patches.append({k: turned(v, turn) for k, v in patch.items()})
        if len(patches) == count:
            break
    if not patches:
        raise ValueError(
            f"found no clear patch of {side} x {side} pixels of spectral in {count * _TRIES} "
            "tries; train with a smaller patch="
        )
    return {name: torch.from_numpy(np.stack([p[name] for p in patches])) for name in patches[0]}


def _sample(spectral: np.ndarray, guide: np.ndarray) -> dict[str, np.ndarray]:
    """Return a patch: the guide bands, the truth, and where there is one."""
    there = np.isfinite(guide).all(axis=0)
    valid = np.isfinite(spectral) & there
    return {
        "guide": np.where(there, guide, 0.5).astype(np.float32),
        "truth": np.where(valid, spectral, 0).astype(np.float32),
        "valid": valid.astype(np.float32),
    }


def _held(images: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Batch]:
    """Give the parts of what is held out, evenly over it, at most so many."""
    parts = [
        (n, slice(row, row + _HELD_SIDE), slice(col, col + _HELD_SIDE))
        for n, (_, guide) in enumerate(images)
        for row in range(0, guide.shape[1], _HELD_SIDE)
        for col in range(0, guide.shape[2], _HELD_SIDE)
    ]
    for n, rows, cols in parts[:: -(-len(parts) // _HELD_PATCHES)]:
        sample = _sample(*(a[:, rows, cols] for a in images[n]))
        yield {k: torch.from_numpy(v[None]) for k, v in sample.items()}
