"""What `sts` learns from: paired dates predicted from the other pairs as if they were not paired.

The lessons are those of `series_lessons`. All four tasks of the network are learned together; what
is judged is the fused result, against the linear method's, in mean absolute error and in spectral
angle.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xstf._method import Method, Recipe
from xstf.align.sts import align_sts
from xstf.methods.sts.sts.network import NAMES, Images, Scaling, agreeing
from xstf.nets.sts import balance
from xstf.train.sts_samples import Lesson, Scale, read, split
from xstf.train.task import Batch, Course, Study, turned

# A patch that is less clear than this teaches little; another place is tried so often.
_CLEAR, _TRIES = 0.3, 10
_NO_ERROR = 1e-9  # below this an error is rounding


def course(
    record: Method,
    spectral: Any,
    dense: Any,
    *,
    spatial: Any,
    mask: Any = None,
    validation: Any = None,
    coarse_mask: Any = None,
    spatial_mask: Any = None,
    pair_tolerance: str = "1D",
    scale: Scale = "native",
) -> Course:
    """Return what `fit` needs to know of three cubes; the arguments are those of `fit`.

    Parameters
    ----------
    record
        The method.
    spectral, dense, spatial, mask, coarse_mask, spatial_mask, pair_tolerance
        As :func:`xstf.fuse` takes them with ``spatial=``.
    validation
        Paired dates that are held out; by default a fifth of the columns, on all dates. (The scene
        has few paired dates: with one less to learn from the network is another one.)
    scale
        Of the lessons, see `series_lessons`.
    """
    if scale not in ("native", "reduced"):
        raise ValueError(f"scale must be 'native' or 'reduced', not {scale!r}")
    cubes = align_sts(
        spectral, dense, spatial, mask=mask, dense_mask=coarse_mask, sharp_mask=spatial_mask,
        pair_tolerance=pair_tolerance,
    )  # fmt: skip
    series = cubes.series
    if len(series.pairs) < 2:
        raise ValueError(
            f"training needs two dates or more that fine, spatial and coarse share within "
            f"{pair_tolerance}, found {len(series.pairs)}; widen pair_tolerance or add images"
        )
    pairs, scaling = read(series, record, scale)
    train, held, said = split(pairs, scaling, cubes.times[series.pairs[:, 1]], validation)
    low, spread = scaling.dense
    return Course(
        bands=tuple(str(b) for b in cubes.dense.bands),
        build={"guide_bands": scaling.sharp.shape[1], "components": len(scaling.unit)},
        low=tuple(map(float, low)), high=tuple(map(float, low + spread)),
        ratio=float(series.ratios[0]), side=partial(_side, train),
        study=partial(_study, train, held, scaling), base="linear", held=said,
        extra={
            "fine_bands": [str(b) for b in cubes.spectral.bands],
            "spatial_bands": [str(b) for b in cubes.sharp.bands], "scale": scale,
            **scaling.written(),
        },
        judge=partial(_judge, held, scaling),
    )  # fmt: skip


# ---------------------------------------------------------------- learning


def _side(lessons: list[Lesson], recipe: Recipe) -> int:
    """Return the side of patches: the recipe's, unless the scene is smaller."""
    return min(recipe.patch, *(min(one.valid.shape) for one in lessons))


def _study(
    lessons: list[Lesson], held: list[Lesson], scaling: Scaling, recipe: Recipe, _: Any
) -> Study:
    """Return what is learned from: see `Course.study`."""
    side = _side(lessons, recipe)
    pixels = sum(one.valid.size for one in lessons)
    return Study(
        draw=partial(_draw, lessons, side, recipe.batch),
        steps=max(1, round(pixels / (side * side * recipe.batch))),
        held=partial(iter, ()), learn=_learn,
        estimate=lambda module, batch: forward(module, batch).components,
        span=torch.tensor(scaling.unit, dtype=torch.float32),
        score=partial(_score, held, scaling),
    )  # fmt: skip


def forward(module: nn.Module, batch: Batch) -> Any:
    """Return the network's answers on a batch of lessons."""
    return module(*(batch[name] for name in NAMES))


def _learn(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the balanced loss of the four tasks, and the estimate in components."""
    found = forward(module, batch)
    estimate = batch["linear"] + found.components
    known = torch.stack((batch["sharp_a"], batch["sharp_b"]), dim=1)
    valid = batch["valid"]
    losses = {
        "spatial": _off(found.spatial, batch["sharp"], valid),
        "temporal": _off(found.temporal, batch["sharp"][:, None] - known, valid[:, None]),
        "spectral": _off(found.spectral, batch["truth"], valid),
        "fusion": _off(estimate, batch["truth"], valid),
    }
    return balance(losses, module.c), estimate


def _off(found: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Return the mean square of what is off where it is valid, ``(n, 1, …, y, x)``."""
    weight = valid.expand_as(found)
    return ((found - wanted).square() * weight).sum() / weight.sum().clamp(min=1)


def _draw(lessons: list[Lesson], side: int, count: int, rng: np.random.Generator) -> Batch:
    """Return patches of lessons, turned and mirrored."""
    samples: list[Images] = []
    for _ in range(_TRIES * count):
        one = lessons[rng.integers(len(lessons))]
        window: Any = tuple(
            slice(start, start + side)
            for start in (int(rng.integers(n - side + 1)) for n in one.valid.shape)
        )
        if one.valid[window].mean() >= _CLEAR:
            samples.append(_sample(one, window, int(rng.integers(8))))
        if len(samples) == count:
            break
    if not samples:
        raise ValueError(
            f"found no clear patch of {side} x {side} pixels in {_TRIES * count} tries; train with "
            "a smaller patch="
        )
    return {n: torch.from_numpy(np.stack([s[n] for s in samples])) for n in samples[0]}


def _sample(lesson: Lesson, window: Any, turn: int) -> Images:
    """Return a patch, turned and mirrored in one of eight ways."""
    images = {
        **lesson.images, "truth": lesson.truth, "sharp": lesson.sharp,
        "valid": lesson.valid[None].astype(np.float32),
    }  # fmt: skip
    return {n: i if i.ndim == 1 else turned(i[:, *window], turn) for n, i in images.items()}


# ---------------------------------------------------------------- what was held out


def _score(held: list[Lesson], scaling: Scaling, module: nn.Module, device: torch.device) -> float:
    """Return the linear method's error times the worse of two ratios to it, on the worst date.

    Those of the mean absolute error and of the mean spectral angle: better is what is better in
    both on every date.
    """
    found = np.array(list(_errors(held, scaling, module, device)))
    own, linear = found[:, 0], found[:, 1]  # (lesson, 2)
    worst = (own / np.maximum(linear, _NO_ERROR)).max()
    return float(worst * linear[:, 0].mean())


def _judge(
    held: list[Lesson], scaling: Scaling, recipe: Recipe, module: nn.Module, device: torch.device
) -> dict[str, Any]:
    """Return the errors on what was held out, of the network and of the linear method."""
    own, linear = np.mean(list(_errors(held, scaling, module, device)), axis=0)
    names = ("mae", "sam")
    return {
        "errors": dict(zip(names, map(float, own), strict=True)),
        "errors_linear": dict(zip(names, map(float, linear), strict=True)),
    }


def _errors(
    held: list[Lesson], scaling: Scaling, module: nn.Module, device: torch.device
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Give for each lesson the errors of the network and of the linear method alone."""
    for one in held:
        linear = _error(one.base, one)
        module.eval()
        batch = {n: torch.from_numpy(np.ascontiguousarray(one.images[n]))[None] for n in NAMES}
        with torch.inference_mode():
            found = forward(module, {n: t.to(device) for n, t in batch.items()}).components
        change = scaling.spectra(np.where(one.valid, found[0].float().cpu().numpy(), 0))
        change = agreeing(change, one.state, one.ratio)
        yield _error(one.base + change, one), linear


def _error(spectra: np.ndarray, lesson: Lesson) -> tuple[float, float]:
    """Return the mean absolute error of spectra, and the mean angle in degrees."""
    found, truth = (s[:, lesson.valid].astype(np.float64) for s in (spectra, lesson.label))
    norms = np.linalg.norm(found, axis=0) * np.linalg.norm(truth, axis=0)
    cosine = (found * truth).sum(axis=0) / np.where(norms > 0, norms, 1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return float(np.abs(found - truth).mean()), float(angle.mean())
