"""What the fusion networks share: their parameters, and the kernel that runs one over its lattice.

The network sees the fine image of a pair and the coarse images of its date and of the target date,
these interpolated to fine pixels, all scaled band by band as its checkpoint says; it answers with
the change to add to a base image (see `Net.base` in `xstf._method`). Holes are filled before it
looks, the fine image's with the coarse one of its date and the coarse images' with the mean of
the tile, and the result is missing where the base image or the coarse target is.

With images on both sides of a date both pairs are used: each gives its answer, and they are blended
by how little the coarse image changed since, unless the network has a way of its own. (Papers that
take one pair leave that out; it is worth more than the choice of network.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from xstf._checks import check_at_least, check_one_of
from xstf._method import NetworkCall
from xstf.numerics.lattice import Lattice, Window
from xstf.numerics.upsample import upsample
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

# A scaled value is 0 to 1 for most data. The median of a tile beyond this is another unit.
_OTHER_UNITS = 20.0

# Pixels on a side over which a pair's change is averaged, to blend two pairs' answers.
_AROUND = 16

_LEARNED = "the answer is learned, not built"
EXEMPT: Mapping[str, str] = {
    "no_change": _LEARNED,
    "offset": _LEARNED,
    "scale": "values are scaled as the checkpoint says, which was trained in one unit",
    "symmetry": "the lattice of tiles begins at the first row and column, and " + _LEARNED,
    "consistency": _LEARNED,
}


@dataclass(frozen=True)
class NetworkParams:
    """How a network is run.

    Parameters
    ----------
    weights
        Path of a checkpoint that :func:`xstf.train.fit` wrote; ``"fit"`` to train on these cubes
        first, which computes even if they are lazy; or the name of a bundled checkpoint.
    fit
        With ``weights="fit"``: what :func:`xstf.train.fit` takes besides the cubes, as
        ``{"recipe": "full"}`` or ``{"epochs": 20, "steps": 50, "seed": 1}``.
    save
        With ``weights="fit"``: path of a ``.safetensors`` file for the trained weights. A call that
        was killed goes on from the state beside it.
    tile
        Side of the network's tiles in fine pixels; 0: of the patches that it was trained on, at
        least four overlaps.
    overlap
        Fine pixels that neighbouring tiles share; even.
    blend
        ``"crop"``: each tile answers for its centre; ``"smooth"``: neighbours fade into each other.
    batch
        Tiles that a GPU takes at a time; a processor takes one.
    """

    weights: str = ""
    fit: dict | None = None
    save: str = ""
    tile: int = 0
    overlap: int = 32
    blend: Literal["crop", "smooth"] = "crop"
    batch: int = 8

    def __post_init__(self) -> None:
        """Refuse tiles that cannot lie beside each other."""
        check_at_least(self, tile=0, overlap=0, batch=1)
        check_one_of(self, blend=("crop", "smooth"))
        if self.overlap % 2:
            raise ValueError(f"overlap={self.overlap!r}: give an even number")
        if self.tile and self.tile <= self.overlap:
            raise ValueError(f"tile={self.tile!r}: give more than overlap={self.overlap}")


def halo(params: NetworkParams, ratio: int) -> int:
    """Return how far a pixel's result may reach: across a tile, and a coarse pixel further."""
    return params.tile + ratio


def kernel(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    ratio: int,
    params: NetworkParams,
    state: None,
    inner: tuple[slice, slice],
    std: bool,
    network: NetworkCall | None = None,
) -> tuple[np.ndarray, None]:
    """Return the network's estimate; the contract is `xstf._method.Method`'s."""
    call = require_call(network)
    net, manifest = load_once(call.weights, call.device)
    device, origin = device_of(call.device), call.origin
    images = Images(fine, upsample(coarse, ratio), manifest, origin)
    pairs, bands = fine.shape[:2]
    rows, cols = (slice(i.start + o, i.stop + o) for i, o in zip(inner, origin, strict=True))
    with ExitStack() as stack:
        for context in inference(device):
            stack.enter_context(context)
        answer = over_tiles(
            Lattice(params.tile, params.overlap, call.whole, call.weights.multiple),
            (rows, cols),
            images.cut,
            partial(_run, net, device, call.weights.taught),
            lead=(bands + (pairs if pairs > 1 else 0),),
            batch=params.batch if device.type == "cuda" else 1,
            blend=params.blend == "smooth",
            workers=own_threads(device),
        )
    change = answer[:bands] * images.span
    return images.add_base(change, answer[bands:], inner), None


def _run(
    net: torch.nn.Module, device: torch.device, taught: bool, fine: np.ndarray, coarse: np.ndarray
) -> np.ndarray:
    """Return a network's answer on a batch: the change, and for two pairs the share of each.

    `taught`: whether it was trained on two pairs at a time. ``fine`` is ``(batch, pair, band, y,
    x)``, and ``coarse`` has the target date as its last image.
    """
    import torch

    pairs, images = (torch.from_numpy(a).to(device) for a in (fine, coarse))
    each = [(pairs[:, k], images[:, k], images[:, -1]) for k in range(pairs.shape[1])]
    if len(each) > 1 and hasattr(net, "several"):
        change, share = net.several(pairs, images[:, :-1], images[:, -1])
        if not taught:  # what it says of pairs was never learned
            share = _shares(images)
        out = torch.cat([change, share[:, :, 0]], dim=1)
    else:
        changes = [net(*(_channels_last(i) for i in one)) for one in each]
        out = changes[0]
        if len(each) > 1:
            share = _shares(images)
            out = torch.cat([(torch.stack(changes, 1) * share).sum(1), share[:, :, 0]], dim=1)
    answer: np.ndarray = out.float().cpu().numpy()
    return answer


def _channels_last(image: torch.Tensor) -> torch.Tensor:
    import torch

    return image.contiguous(memory_format=torch.channels_last)


def _shares(coarse: torch.Tensor) -> torch.Tensor:
    """Return how much of each pair is taken, ``(n, pair, 1, y, x)``: the more the less it changed.

    By the inverse of the coarse change's mean around a pixel, as STARFM weighs dates; a thousandth
    of the data's range keeps two pairs without change equal.
    """
    import torch

    change = (coarse[:, -1:] - coarse[:, :-1]).abs().mean(dim=2)  # (n, pair, y, x)
    side = 2 * (min(_AROUND, *change.shape[-2:]) // 2) + 1
    around = torch.nn.functional.avg_pool2d(
        change, side, stride=1, padding=side // 2, count_include_pad=False
    )
    trust = 1 / (around + 1e-3)
    return (trust / trust.sum(dim=1, keepdim=True))[:, :, None]


class Scaling(Protocol):
    """What `Images` needs to know of a checkpoint: see `xstf.weights.Manifest`."""

    @property
    def low(self) -> Sequence[float]:
        """Value of each band that becomes 0."""

    @property
    def high(self) -> Sequence[float]:
        """Value of each band that becomes 1."""

    @property
    def base(self) -> str:
        """What the network's output is added to."""


class Images:
    """The images of a tile, cut and scaled for the network.

    Parameters
    ----------
    fine
        ``(pair, band, y, x)``.
    coarse
        ``(pair + 1, band, y, x)``, at fine pixels.
    scaling
        The checkpoint's.
    origin
        Where the images begin.
    """

    def __init__(
        self, fine: np.ndarray, coarse: np.ndarray, scaling: Scaling, origin: tuple[int, int]
    ) -> None:
        self.fine, self.coarse, self.base = fine, coarse, scaling.base
        self.origin = origin
        low, high = (np.array(v, np.float32)[:, None, None] for v in (scaling.low, scaling.high))
        self.low, self.span = low, high - low
        # (pair, band, y, x): where there is all that an estimate stands on.
        self.clear = ~(np.isnan(fine) | np.isnan(coarse[-1]))
        if self.base == "delta":
            self.clear &= ~np.isnan(coarse[:-1])

    def cut(self, window: Window) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the scaled images on a window of the image, nothing missing; None if all is."""
        rows, cols = (
            slice(w.start - o, min(w.stop - o, n))
            for w, o, n in zip(window, self.origin, self.fine.shape[-2:], strict=True)
        )
        if not self.clear[..., rows, cols].any():
            return None
        fine, coarse = (
            (a[..., rows, cols] - self.low) / self.span for a in (self.fine, self.coarse)
        )
        seen = np.abs(fine[~np.isnan(fine)])
        if seen.size and np.median(seen) > _OTHER_UNITS:
            raise ValueError(
                "the cubes are in another unit than the network's training data: values around "
                f"{np.nanmedian(self.fine[..., rows, cols]):.4g}, trained on "
                f"{self.low.min():.4g} to {(self.low + self.span).max():.4g}"
            )
        coarse = _filled(coarse)
        fine = np.where(np.isnan(fine), coarse[:-1], fine)
        return _padded(fine, window), _padded(coarse, window)

    def add_base(
        self, change: np.ndarray, share: np.ndarray, inner: tuple[slice, slice]
    ) -> np.ndarray:
        """Return the estimate: the change and what it is added to, of the pairs that are clear."""
        part = (..., *inner)
        clear = self.clear[part]
        weight = clear * (share[:, None] if len(share) else np.float32(1))
        total = weight.sum(axis=0)
        if self.base == "none":
            base = np.broadcast_to(self.low, change.shape)
        else:
            each = self.fine[part]
            if self.base == "delta":
                each = each + (self.coarse[-1] - self.coarse[:-1])[part]
            weighted = np.where(clear, each, 0) * weight
            base = weighted.sum(axis=0) / np.where(total > 0, total, 1)
        return np.where(total > 0, base + change, np.nan).astype(np.float32)


def _filled(images: np.ndarray) -> np.ndarray:
    """Return images with holes at their band's mean on the tile, or mid-scale without any value."""
    seen = ~np.isnan(images)
    count = seen.sum(axis=(-2, -1), keepdims=True)
    total = np.where(seen, images, 0).sum(axis=(-2, -1), keepdims=True)
    mean = np.where(count > 0, total / np.maximum(count, 1), 0.5)
    return np.where(seen, images, mean).astype(np.float32)


def _padded(images: np.ndarray, window: Window) -> np.ndarray:
    """Return images repeated outwards up to the window's size; smaller ones are whole scenes."""
    more = [(0, w.stop - w.start - n) for w, n in zip(window, images.shape[-2:], strict=True)]
    if not any(after for _, after in more):
        return np.ascontiguousarray(images, np.float32)
    return np.pad(images, [(0, 0), (0, 0), *more], mode="edge").astype(np.float32)
