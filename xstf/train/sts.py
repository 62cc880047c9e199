"""Training `sts`: paired dates are predicted from the other pairs, as if they were not paired.

The examples are those of `sts_samples`. All four tasks of the network are learned together. The
score is that of the fused result beside the linear method's, in mean absolute error and in
spectral angle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from xstf._method import Method
from xstf._recipe import Recipe
from xstf.align.regrid import MIN_VALID
from xstf.align.sts import align_sts
from xstf.cubes.arrays import Labelled
from xstf.cubes.pairs import DateLike, LengthLike
from xstf.methods.sts.sts.network import NAMES, Scaling, agreeing
from xstf.nets.sts import Fused, balance
from xstf.train import patches
from xstf.train.patches import CLEAR, TRIES, Patch, fitting_side, steps_to_cover
from xstf.train.sts_samples import Example, Scale, Split, read, split
from xstf.train.task import Batch, Supervision, TrainingTask

_NO_ERROR = 1e-9  # below this an error is rounding


@dataclass(frozen=True, kw_only=True)
class StsOptions:
    """How `fit` reads three cubes.

    Parameters
    ----------
    coarse_mask, spatial_mask, pair_tolerance, min_valid
        As :func:`xstf.fuse` takes them with ``spatial=``.
    scale
        Of the examples, see `sts_samples`.
    """

    coarse_mask: xr.DataArray | None = None
    spatial_mask: xr.DataArray | None = None
    pair_tolerance: LengthLike = "1D"
    min_valid: float = MIN_VALID
    scale: Scale = "native"

    def __post_init__(self) -> None:
        """Check the scale."""
        if self.scale not in get_args(Scale):
            raise ValueError(f"scale must be 'native' or 'reduced', not {self.scale!r}")


def training_task(
    record: Method,
    spectral: Labelled,
    dense: Labelled,
    *,
    spatial: Labelled,
    options: StsOptions,
    mask: xr.DataArray | None = None,
    validation: DateLike | None = None,
) -> TrainingTask:
    """Return what `fit` needs to know of three cubes; the arguments are those of `fit`.

    Parameters
    ----------
    record
        The method.
    spectral, dense, spatial, mask
        As :func:`xstf.fuse` takes them with ``spatial=``.
    options
        How they are read.
    validation
        Paired dates that are held out; by default a fifth of the columns, on all dates. (The scene
        has few paired dates: with one less to learn from the network is another one.)
    """
    cubes = align_sts(
        spectral, dense, spatial, mask=mask, temporal_mask=options.coarse_mask,
        spatial_mask=options.spatial_mask, pair_tolerance=options.pair_tolerance,
        min_valid=options.min_valid,
    )  # fmt: skip
    series = cubes.series
    if len(series.pairs) < 2:
        raise ValueError(
            f"training needs two dates or more that fine, spatial and coarse share within "
            f"{options.pair_tolerance}, found {len(series.pairs)}; widen pair_tolerance or add "
            "images"
        )
    pairs, scaling = read(series, record, options.scale)
    made = split(pairs, scaling, cubes.temporal.when.moments[series.pairs[:, 1]], validation)
    low, spread = scaling.temporal
    return TrainingTask(
        bands=tuple(str(b) for b in cubes.temporal.bands),
        build={"guide_bands": scaling.spatial.shape[1], "components": len(scaling.unit)},
        low=tuple(map(float, low)), high=tuple(map(float, low + spread)),
        ratio=float(series.ratios[0]), side=partial(_side, made.train),
        supervise=partial(_supervise, made, scaling), base="linear", held_out_text=made.text,
        extra={
            "fine_bands": [str(b) for b in cubes.spectral.bands],
            "spatial_bands": [str(b) for b in cubes.spatial.bands], "scale": options.scale,
            **scaling.written(),
        },
        finish=partial(_held_out_errors, made.held_out, scaling),
    )  # fmt: skip


# ---------------------------------------------------------------- learning


def _side(examples: list[Example], recipe: Recipe) -> int:
    """Return the side of patches: the recipe's, unless the scene is smaller."""
    return fitting_side(recipe, min(min(one.valid.shape) for one in examples), 1)


def _supervise(
    made: Split, scaling: Scaling, recipe: Recipe, features: nn.Module | None
) -> Supervision:
    """Return what is learned from: see `TrainingTask.supervise`."""
    side = _side(made.train, recipe)
    return Supervision(
        draw=partial(_draw, made.train, side, recipe.batch),
        steps=steps_to_cover(sum(one.valid.size for one in made.train), side, recipe),
        held_out=partial(iter, ()),
        learn=_learn,
        estimate=lambda module, batch: forward(module, batch).components,
        span=torch.tensor(scaling.unit, dtype=torch.float32),
        score=partial(_score, made.held_out, scaling),
    )


def forward(module: nn.Module, batch: Batch) -> Fused:
    """Return the network's answers on a batch of examples."""
    answers: Fused = module(*(batch[name] for name in NAMES))
    return answers


def _learn(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the balanced loss of the four tasks, and the estimate in components."""
    found = forward(module, batch)
    estimate = batch["linear"] + found.components
    sharp = torch.stack((batch["sharp_a"], batch["sharp_b"]), dim=1)
    valid = batch["valid"]
    losses = {
        "spatial": _off(found.spatial, batch["sharp"], valid),
        "temporal": _off(found.temporal, batch["sharp"][:, None] - sharp, valid[:, None]),
        "spectral": _off(found.spectral, batch["truth"], valid),
        "fusion": _off(estimate, batch["truth"], valid),
    }
    return balance(losses, module.c), estimate


def _off(found: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Return the mean square of what is off where it is valid, ``(n, 1, …, y, x)``."""
    weight = valid.expand_as(found)
    return ((found - wanted).square() * weight).sum() / weight.sum().clamp(min=1)


def _draw(examples: list[Example], side: int, count: int, rng: np.random.Generator) -> Batch:
    """Return patches of examples, turned and mirrored."""
    drawn: list[Patch] = []
    for _ in range(TRIES * count):
        one = examples[rng.integers(len(examples))]
        row, col = (int(rng.integers(n - side + 1)) for n in one.valid.shape)
        window = (slice(row, row + side), slice(col, col + side))
        if one.valid[window].mean() >= CLEAR:
            drawn.append(_sample(one, window, int(rng.integers(8))))
        if len(drawn) == count:
            break
    patches.require_patches(drawn, side, TRIES * count)
    return patches.stack(drawn)


def _sample(example: Example, window: tuple[slice, slice], turn: int) -> Patch:
    """Return a patch, turned and mirrored in one of eight ways."""
    images = {
        **example.images, "truth": example.truth, "sharp": example.spatial,
        "valid": example.valid[None].astype(np.float32),
    }  # fmt: skip
    return {n: i if i.ndim == 1 else patches.turned(i[:, *window], turn) for n, i in images.items()}


# ---------------------------------------------------------------- what was held out


def _score(
    held_out: list[Example], scaling: Scaling, module: nn.Module, device: torch.device
) -> float:
    """Return the linear method's error times the worse of two ratios to it, on the worst date.

    Those of the mean absolute error and of the mean spectral angle: better is what is better in
    both on every date.
    """
    found = np.array(list(_errors(held_out, scaling, module, device)))
    own, linear = found[:, 0], found[:, 1]  # (example, 2)
    worst = (own / np.maximum(linear, _NO_ERROR)).max()
    return float(worst * linear[:, 0].mean())


def _held_out_errors(
    held_out: list[Example],
    scaling: Scaling,
    recipe: Recipe,
    module: nn.Module,
    device: torch.device,
) -> dict[str, Any]:
    """Return the errors on what was held out, of the network and of the linear method."""
    own, linear = np.mean(list(_errors(held_out, scaling, module, device)), axis=0)
    names = ("mae", "sam")
    return {
        "errors": dict(zip(names, map(float, own), strict=True)),
        "errors_linear": dict(zip(names, map(float, linear), strict=True)),
    }


def _errors(
    held_out: list[Example], scaling: Scaling, module: nn.Module, device: torch.device
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Give for each example the errors of the network and of the linear method alone."""
    for one in held_out:
        linear = _error(one.base, one)
        module.eval()
        batch = {n: torch.from_numpy(np.ascontiguousarray(one.images[n]))[None] for n in NAMES}
        with torch.inference_mode():
            found = forward(module, {n: t.to(device) for n, t in batch.items()}).components
        change = scaling.spectra(np.where(one.valid, found[0].float().cpu().numpy(), 0))
        change = agreeing(change, one.state, one.ratio)
        yield _error(one.base + change, one), linear


def _error(spectra: np.ndarray, example: Example) -> tuple[float, float]:
    """Return the mean absolute error of spectra, and the mean angle in degrees."""
    found, truth = (s[:, example.valid].astype(np.float64) for s in (spectra, example.label))
    norms = np.linalg.norm(found, axis=0) * np.linalg.norm(truth, axis=0)
    cosine = (found * truth).sum(axis=0) / np.where(norms > 0, norms, 1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return float(np.abs(found - truth).mean()), float(angle.mean())
