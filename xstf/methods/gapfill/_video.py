"""What the video transformers share: their parameters, and the kernel that runs one.

The network sees windows of a few dates of a tile: the cube, standardised, what of it is seen, a
prior (`_prior`, which uses the whole series) and the guide; it answers with what to add to the
prior. Windows in time overlap by half, tiles in space as `VideoParams` says, and several
answers for a pixel are averaged.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xstf._checks import check_at_least, check_one_of
from xstf._method import GapfillSamples, NetworkCall
from xstf._recipe import Recipe
from xstf.methods.gapfill._prior import PRIORS, Prior, PriorState, prior_of, settle_prior
from xstf.numerics.lattice import Lattice, Window
from xstf.weights.manifest import Manifest
from xstf.weights.running import (
    device_of,
    inference,
    load_once,
    over_tiles,
    own_threads,
    require_call,
)

if TYPE_CHECKING:
    import torch

_WINDOWS = 4  # of dates, that a processor takes at a time
# A standardised value is -3 to 3 for most data. The median of a tile beyond this is another unit.
_OTHER_UNITS = 20.0

# How all of them are trained.
FULL = Recipe(
    patch=60, batch=32, epochs=60, steps=500, rate=3e-4, decay=0.05, warmup=0.05, average=0.999
)
SMALL = Recipe(
    patch=60, batch=4, epochs=10, steps=40, rate=1e-3, decay=0.05, warmup=0.05, average=0.98
)
LOSS = (("mse", 1.0), ("angle", 1.0))

EXEMPT: Mapping[str, str] = {
    "scale": "values are scaled as the checkpoint says, which was trained in one unit",
    "symmetry": "the lattice of tiles begins at the first row and column",
    "offset": "the answer is learned, not built",
}


@dataclass(frozen=True)
class VideoParams:
    """How a video transformer is run.

    Parameters
    ----------
    weights
        Path of a checkpoint that :func:`xstf.train.fit` wrote; ``"fit"`` to train on this cube
        first, which computes even if it is lazy; or the name of a bundled checkpoint.
    fit
        With ``weights="fit"``: what :func:`xstf.train.fit` takes besides the cubes, as
        ``{"recipe": "full"}`` or ``{"epochs": 20, "steps": 50, "seed": 1}``.
    save
        With ``weights="fit"``: path of a ``.safetensors`` file for the trained weights. A call that
        was killed goes on from the state beside it.
    prior
        What the network corrects, ``"eof"``, ``"harmonic"`` or ``"linear"``; empty: what it was
        trained to correct, and with ``weights="fit"`` ``"eof"``.
    tile
        Side of the network's tiles in pixels; 0: of the patches that it was trained on.
    overlap
        Pixels that neighbouring tiles share; even.
    blend
        ``"smooth"``: neighbours fade into each other; ``"crop"``: each answers for its centre.
    batch
        Tiles that a GPU takes at a time; a processor takes one.
    """

    weights: str = ""
    fit: dict | None = None
    save: str = ""
    prior: Literal["", Prior] = ""
    tile: int = 0
    overlap: int = 30
    blend: Literal["smooth", "crop"] = "smooth"
    batch: int = 8

    def __post_init__(self) -> None:
        """Refuse tiles that cannot lie beside each other."""
        check_at_least(self, tile=0, overlap=0, batch=1)
        check_one_of(self, prior=("", *PRIORS), blend=("smooth", "crop"))
        if self.overlap % 2:
            raise ValueError(f"overlap={self.overlap}: give an even number")
        if self.tile and self.tile <= self.overlap:
            raise ValueError(f"tile={self.tile} must be above overlap={self.overlap}")


@dataclass(frozen=True)
class State:
    """What the network needs of the whole scene: its prior's state."""

    prior: PriorState


def halo(params: VideoParams, ratio: int) -> int:
    """Return how far a pixel's result may reach: across the tiles that see it."""
    return params.tile


def settle(samples: GapfillSamples, *, times: np.ndarray, params: VideoParams) -> State:
    """Return what the prior needs to know of the whole scene."""
    return State(settle_prior(params.prior, samples.cube, times))


def kernel(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: VideoParams,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
    network: NetworkCall | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return the network's estimate; the contract is `GapfillKernel`'s."""
    call = require_call(network)
    net, manifest = load_once(call.weights, call.device)
    place, origin = device_of(call.device), call.origin
    prior = prior_of(params.prior, cube, times, state.prior)
    series = Series(cube, guide, prior, manifest)
    rows, cols = (slice(i.start + o, i.stop + o) for i, o in zip(inner, origin, strict=True))
    with ExitStack() as stack:
        for context in inference(place):
            stack.enter_context(context)
        answer = over_tiles(
            Lattice(params.tile, params.overlap, call.whole, call.weights.multiple),
            (rows, cols),
            partial(series.cut, origin=origin),
            partial(run, net, place, times + call.first_day, manifest.extra, std),
            lead=(3 if std else 1, *cube.shape[:2]),
            batch=params.batch if place.type == "cuda" else 1,
            blend=params.blend == "smooth",
            workers=own_threads(place),
        )
    part = (..., *inner)
    estimate = series.prior[part] + answer[0] * series.span
    if not std:
        return estimate.astype(np.float32), None, None
    variance = np.exp(np.clip(answer[1], -20, 20))
    spread = np.sqrt(variance) * series.span * np.float32(manifest.extra["std_factor"])
    spread[np.isnan(estimate)] = np.nan
    # Where a tile saw something of the date, that is what the network looked at first. (What the
    # block has of it depends on chunks.)
    in_space = np.isnan(cube[part]) & ~np.isnan(estimate) & (answer[2] > 0)
    return estimate.astype(np.float32), spread, in_space


def run(
    net: torch.nn.Module, place: torch.device, days: np.ndarray, extra: Mapping[str, Any],
    std: bool, cube: np.ndarray, prior: np.ndarray, guide: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return what the network makes of a tile, ``(batch, layer, time, band, y, x)``.

    The change; if `std`, the logarithm of its variance and 1 where anything of the date was seen.

    Parameters
    ----------
    net, place
        The network, and torch's device.
    days
        ``(time,)`` since a 1 January.
    extra
        The manifest's: ``dates`` in a window, and ``gains``, by which the change is multiplied
        where the tile has something of the date and band, and where it has nothing.
    std
        Whether three layers are wanted or one.
    cube, prior
        ``(batch, time, band, y, x)``, standardised; the first NaN where missing.
    guide
        ``(batch, time, guide_band, y, x)``, standardised, NaN where missing; of no bands if none.
    """
    torch = importlib.import_module("torch")
    total = np.zeros((len(cube), 2 if std else 1, *cube.shape[1:]), np.float32)
    count = np.zeros(cube.shape[1], np.float32)
    windows = windows_of(len(days), extra["dates"])
    step = _WINDOWS if place.type == "cpu" else len(windows)
    for first in range(0, len(windows), step):
        some = windows[first : first + step]
        stacked = (np.concatenate([a[:, w] for w in some]) for a in (cube, prior, guide))
        when = np.concatenate([np.tile(days[w], (len(cube), 1)) for w in some])
        batch = {
            name: torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(place)
            for name, a in zip(("cube", "prior", "guide", "days"), (*stacked, when), strict=True)
        }
        layers = forward(net, batch)[: total.shape[1]]
        found = torch.stack(layers, dim=1).float().cpu().numpy()
        for n, window in enumerate(some):
            total[:, :, window] += found[n * len(cube) : (n + 1) * len(cube)]
            count[window] += 1
    total /= count[:, None, None, None]
    seen = ~np.isnan(cube).all(axis=(3, 4), keepdims=True)[:, None]
    beside, alone = extra["gains"]
    total[:, :1] *= np.where(seen, np.float32(beside), np.float32(alone))
    if not std:
        return total
    return np.concatenate([total, np.broadcast_to(seen, total[:, :1].shape)], axis=1)


def forward(
    net: torch.nn.Module, batch: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the network's change and the logarithm of its variance on tensors."""
    cube, guide = batch["cube"], batch["guide"]
    seen = ~cube.isnan()
    arguments: dict[str, torch.Tensor] = {}
    if guide.shape[2]:
        lit = ~guide.isnan().any(dim=2, keepdim=True)
        arguments = {"guide": guide.nan_to_num(0.0), "guide_valid": lit.float()}
    found: tuple[torch.Tensor, torch.Tensor] = net(
        cube.nan_to_num(0.0), seen.float(), batch["prior"], batch["days"], **arguments
    )
    return found


def windows_of(count: int, dates: int) -> list[slice]:
    """Return windows of so many dates that cover a series, each half over the next."""
    size = min(dates, count)
    last = count - size
    starts = [*range(0, last, max(1, size // 2)), last]
    return [slice(start, start + size) for start in starts]


class Series:
    """A block of the cube, its prior and its guide, cut and scaled for the network.

    Parameters
    ----------
    cube
        ``(time, band, y, x)``, NaN where missing.
    guide
        ``(time, guide_band, y, x)`` or None.
    prior
        ``(time, band, y, x)``.
    manifest
        Of the checkpoint: ``low`` is each band's mean and ``high`` one standard deviation above it.
    """

    def __init__(
        self, cube: np.ndarray, guide: np.ndarray | None, prior: np.ndarray, manifest: Manifest
    ) -> None:
        low, high = (np.array(v, np.float32)[:, None, None] for v in (manifest.low, manifest.high))
        self.low, self.span = low, high - low
        self.cube, self.guide, self.prior = cube, guide, prior
        mean, spread = (
            np.array(manifest.extra[f"guide_{name}"], np.float32)[:, None, None]
            for name in ("mean", "std")
        )
        bands = 0 if guide is None else guide.shape[1]
        if bands != len(mean):
            raise ValueError(
                f"the network was trained with {len(mean)} guide bands (orbits count apart), here "
                f"are {bands}; give sar= and guide= as in training"
            )
        self.guide_mean, self.guide_std = mean, spread

    def cut(self, window: Window, origin: tuple[int, int]) -> list[np.ndarray] | None:
        """Return the scaled cube, prior and guide on a window; None where no pixel is ever seen."""
        rows, cols = (
            slice(w.start - o, min(w.stop - o, n))
            for w, o, n in zip(window, origin, self.cube.shape[-2:], strict=True)
        )
        prior = self.prior[..., rows, cols]
        if np.isnan(prior).all():
            return None
        size = tuple(w.stop - w.start for w in window)
        cube = (self.cube[..., rows, cols] - self.low) / self.span
        if np.nanmedian(np.abs(cube)) > _OTHER_UNITS:
            raise ValueError(
                "the cube is in another unit than the network's training data: values around "
                f"{np.nanmedian(self.cube[..., rows, cols]):.4g}, trained on values around "
                f"{np.median(self.low):.4g}"
            )
        cube = _padded(cube, size)
        prior = _padded(np.nan_to_num((prior - self.low) / self.span), size, edge=True)
        if self.guide is None:
            return [cube, prior, np.empty((len(cube), 0, *size), np.float32)]
        guide = (self.guide[..., rows, cols] - self.guide_mean) / self.guide_std
        return [cube, prior, _padded(guide, size)]


def _padded(images: np.ndarray, size: tuple[int, ...], edge: bool = False) -> np.ndarray:
    """Return images filled up to a window, which is larger where the whole scene is smaller."""
    more = [(0, s - n) for s, n in zip(size, images.shape[-2:], strict=True)]
    if any(after for _, after in more):
        pad = [(0, 0), (0, 0), *more]
        if edge:
            images = np.pad(images, pad, mode="edge")
        else:
            images = np.pad(images, pad, constant_values=np.nan)
    return np.ascontiguousarray(images, np.float32)
