"""STS: a network of three branches, trained together, that corrects the linear fusion of series.

`sts_linear` predicts the spectra of a date from the temporal image of the date and the pairs around
it, by least squares. What it leaves has a form: clouds of points in the space of bands are bent,
and errors follow what was there before and came after. The network learns it in principal
components and adds it; its branches and how their losses are balanced are in `xstf.nets.sts`.

For a date without a pair of its own, between the paired dates ``a`` and ``b``:

    S_t = S_lin + W f(M_t, M_a, M_b, P_a, P_b, w, dt, Z_lin, P_lin),   Z_lin = W⁺ (S_lin - mean)

``W`` has the principal components of the spectral cube, those with 99.9 % of the variance and at
most 20, each scaled by ``eigenvalue^(1/4)``. With all scaled to one variance the network would
spend itself on the noise of the last ones, and spectral angles would suffer. ``P_lin`` is
interpolated between ``P_a`` and ``P_b`` and changed by what follows from the linear change of
spectra.

Our choices, besides those of the network:

- Where ``a`` or ``b`` is missing or the date has a pair, the linear method has the say alone: on
  paired dates it is not a prediction but a measurement, and that is what the network learns from.
- The linear prediction agrees with the temporal image of the date, and so must the correction: what
  it would change of the temporal bands at their own scale is taken off again, with the spectra that
  the linear method has for it. What a network has mistaken for a law is worst there.
- The network does not see further than a few pixels, and no tile shows.
- The linear method's numbers are those of the cubes at hand, also with weights from another scene;
  components and scaling are the checkpoint's.

Training, `weights="fit"`: paired dates are predicted from the other pairs and corrected towards
what their own pair says, see `xstf.train.sts_samples`. Of all states the one is kept that is
best in mean absolute error and in spectral angle on what was held out, the untrained network's
among them, and that is `sts_linear`. Kernels of one pixel are the default, as in the paper's own
best spectral angles: with kernels 1 and 3 training takes three times as long, and 0.1 dB is gained
on the embedded scene, none on Jasper Ridge. `sizes={"kernels": (1, 3)}` or `(1, 3, 5)` in
:func:`xstf.train.fit` asks for others.

Peng, Li, Zhou & Li, A long-time-series spatio-temporal-spectral fusion method via multi-task
learning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xstf._checks import check_at_least
from xstf._method import Method, NetworkCall, StsSamples, usual_lattice
from xstf._recipe import Net, Recipe
from xstf.methods.sts.sts.network import AROUND, NAMES, Images, Scaling, agreeing, look
from xstf.methods.sts.sts_linear import estimate as linear
from xstf.methods.sts.sts_linear.steps import DateImages
from xstf.numerics.lattice import Window
from xstf.weights.running import device_of, inference, load_once, require_call

if TYPE_CHECKING:
    import torch

    from xstf.weights import Manifest

# The furthest that a network may look, in spatial pixels: that of kernels 1, 3 and 5.
REACH = 28


@dataclass(frozen=True)
class Params:
    """How the network is run.

    Parameters
    ----------
    weights : str
        Path of a checkpoint that :func:`xstf.train.fit` wrote, of this scene or a neighbouring one;
        ``"fit"`` to train on these cubes first, which computes even if they are lazy; or the name
        of a bundled checkpoint.
    fit : dict
        With ``weights="fit"``: what :func:`xstf.train.fit` takes besides the cubes, as
        ``{"recipe": "full"}`` or ``{"epochs": 20, "steps": 50, "seed": 1}``.
    save : str
        With ``weights="fit"``: path of a ``.safetensors`` file for the trained weights. A call that
        was killed goes on from the state beside it.
    tile : int
        Side of what the network is given at a time in spatial pixels, besides what is around it. It
        decides about memory, the result is the same.
    """

    weights: str = ""
    fit: dict | None = None
    save: str = ""
    tile: int = 256

    def __post_init__(self) -> None:
        """Refuse tiles of nothing."""
        check_at_least(self, tile=1)

    @property
    def overlap(self) -> int:
        """Pixels that tiles share; what is around them is read besides."""
        return 0


def halo(params: Params, ratios: tuple[int, int]) -> int:
    """Return how far a pixel's result may reach, in spatial pixels."""
    return linear.halo(ratios) + REACH + (AROUND + 1) * ratios[1]


def settle(samples: StsSamples, *, ratios: tuple[int, int], params: Params) -> linear.State:
    """Return what the linear method needs to know of the whole scene."""
    return linear.settle(samples, ratios=ratios)


def kernel(
    spectral: np.ndarray,
    temporal: np.ndarray,
    spatial: np.ndarray,
    *,
    times: np.ndarray,
    target: float,
    ratios: tuple[int, int],
    params: Params,
    state: linear.State,
    inner: tuple[slice, slice],
    std: bool,
    network: NetworkCall | None = None,
) -> tuple[np.ndarray, None]:
    """Return the corrected prediction; the contract is `xstf._method.Method`'s."""
    call = require_call(network)
    net, manifest = load_once(call.weights, call.device)
    scaling = Scaling.read(manifest)
    scaling.check(spectral, temporal, spatial)
    reach, ratio, size = _reach(manifest), ratios[1], spatial.shape[2:]
    # Whole temporal pixels, and what is around them.
    rows, cols = (slice(s.start // ratio * ratio, -(-s.stop // ratio) * ratio) for s in inner)
    changed = _wider((rows, cols), AROUND * ratio, size)
    part = _wider(changed, reach, size)
    spectra, images, valid = look(
        DateImages(spectral, temporal, spatial, times, target), ratios=ratios, state=state,
        scaling=scaling, part=part,
    )  # fmt: skip
    y, x = _within(inner, part)
    if images is not None and state is not None:
        change = np.zeros_like(spectra)
        device = device_of(call.device)
        with ExitStack() as stack:
            for context in inference(device):
                stack.enter_context(context)
            for tile in _tiles(_within(changed, part), params.tile):
                change[:, *tile] = _change(net, device, images, valid, tile, reach, scaling)
        rows, cols = _within(changed, part)
        agreed = agreeing(change[:, rows, cols], state, ratio)
        spectra[:, rows, cols] += np.where(valid[rows, cols], agreed, 0)
    return np.ascontiguousarray(spectra[:, y, x]), None


def _reach(manifest: Manifest) -> int:
    """Return how far the network of a checkpoint looks."""
    sizes = {n: manifest.sizes[n] for n in ("depth", "kernels") if n in manifest.sizes}
    from xstf.nets.sts import reach as reach_of  # loads torch

    reach: int = reach_of(**sizes)
    if reach > REACH:
        raise ValueError(
            f"sts looks {REACH} pixels around at most, the network of these weights {reach}; train "
            "one of less depth or smaller kernels"
        )
    return reach


def _within(part: Window, of: Window) -> Window:
    """Return rows and columns as counted from where others begin."""
    y, x = (slice(p.start - o.start, p.stop - o.start) for p, o in zip(part, of, strict=True))
    return y, x


def _wider(part: Window, by: int, ends: tuple[int, ...]) -> Window:
    """Return rows and columns with what is around them, within the image."""
    y, x = (
        slice(max(0, s.start - by), min(s.stop + by, end))
        for s, end in zip(part, ends, strict=True)
    )
    return y, x


def _tiles(part: Window, side: int) -> Iterator[Window]:
    rows, cols = part
    for row in range(rows.start, rows.stop, side):
        for col in range(cols.start, cols.stop, side):
            yield (
                slice(row, min(row + side, rows.stop)), slice(col, min(col + side, cols.stop))
            )  # fmt: skip


def _change(
    net: torch.nn.Module, device: torch.device, images: Images, valid: np.ndarray, tile: Window,
    reach: int, scaling: Scaling,
) -> np.ndarray:  # fmt: skip
    """Return what the network adds to the spectra of a tile, (band, y, x)."""
    import torch

    window = _wider(tile, reach, valid.shape)
    arrays = [i if i.ndim == 1 else i[:, *window] for i in (images[n] for n in NAMES)]
    given = [torch.from_numpy(np.ascontiguousarray(a))[None].to(device) for a in arrays]
    found = net(*given).components[0].float().cpu().numpy()
    change = np.where(valid[tile], found[:, *_within(tile, window)], 0)
    return scaling.spectra(change)


METHOD = Method(
    name="sts",
    task="sts",
    summary="A multi-task network on top of sts_linear, trained on the scene itself.",
    params=Params,
    halo=halo,
    lattice=usual_lattice,
    kernels={"torch": kernel},
    settle=settle,
    reference="Peng, Li, Zhou & Li, A long-time-series spatio-temporal-spectral fusion method via "
    "multi-task learning",
    net=Net(
        module="sts",
        sizes={"kernels": (1,)},
        loss=(),
        full=Recipe(patch=32, batch=8, epochs=20, steps=60, rate=1e-3),
        small=Recipe(patch=32, batch=3, epochs=20, steps=60, rate=1e-3),
        tiny={"width": 8, "depth": 1},
    ),
    exempt={
        "tiles": "that of sts_linear: seams are below 3e-4 of the range of values",
        "scale": "values are scaled as the checkpoint says, which was trained in one unit",
    },
)
