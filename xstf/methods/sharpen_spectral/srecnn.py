"""SRECNN: many bands from few by a small network, learned where both cubes can be compared.

With ``M`` the spatial cube, ``H`` the spectral one, ``S`` the blur with decimation and ``up`` the
interpolation to the fine grid:

    f(m) = W m + C3(ReLU(C2(ReLU(C1 m))))          C1: 3 x 3;  W, C2, C3: 1 x 1
    f(S(M)) ~ H                                    learned, on the coarse grid
    X = f(M) + up(H - S(f(M)))                     applied, on the fine grid

``f`` knows spectra and no places, so it carries over to other images of the same two sensors, with
or without a spectral cube of their date: then ``residual=False``.

The sizes of the source's network are not public, nor whether it adds a residual. Our choices:

- Three convolutions with 64 and 128 channels between them; 24,088 parameters for 100 bands from 4.
- The linear map ``W`` is the least-squares one, and stays; the convolutions learn what it leaves.
  They start at zero, so what is kept is never worse on what is held out than that map. On the fine
  grid it may be: the side of ``C1`` is learned in coarse pixels and applied to fine ones.
- The residual, ``residual=True``: what ``f`` does not explain of the spectral cube is interpolated
  by cubic convolution and added. Degraded, the result gives the spectral cube back.
- The spectral cube is freed from noise that its bands do not share before that
  (`xstf.numerics.injection`): a regression averages over noise, a residual brings it back.
- The point spread and the cubes' shift are estimated (`xstf.numerics.response`). Held out are
  dates, or of one date the last fifth of the rows.

Training takes seconds, so ``weights="fit"`` is the usual way.

Peng, M., Li, G., Zhou, X., Ma, C., Zhang, L., Zhang, X. & Shang, K. (2022). A
registration-error-resistant swath reconstruction method of ZY1-02D satellite hyperspectral data
using SRE-ResNet. Remote Sensing 14(22), 5890. doi:10.3390/rs14225890. This is the published
successor, with residual blocks; SRECNN itself is of a paper of IGARSS 2019 on the spectral
resolution of multispectral data, whose authors and DOI we do not know.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xstf._checks import check_at_least, check_flags
from xstf._method import Method, NetworkCall, SharpenSamples, usual_lattice
from xstf._recipe import Net, Recipe
from xstf.numerics.degrade import FILL_REACH, degrade, fill, upsample
from xstf.numerics.injection import (
    Components,
    components,
    halo,
    masked,
    project,
    restore,
    returned,
)
from xstf.numerics.response import locate
from xstf.weights.running import device_of, inference, load_once, require_call

if TYPE_CHECKING:
    import torch

    from xstf.weights import Manifest

_REACH = 1  # of the network, in pixels
# A scaled value is 0 to 1 for most data. The median of a tile beyond this is another unit.
_OTHER_UNITS = 20.0


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of SRECNN.

    Parameters
    ----------
    weights : str
        Path of a checkpoint that :func:`xstf.train.fit` wrote; ``"fit"`` to train on these cubes
        first, which computes even if they are lazy; or the name of a bundled checkpoint.
    fit : dict
        With ``weights="fit"``: what :func:`xstf.train.fit` takes besides the cubes, as
        ``{"recipe": "full"}`` or ``{"epochs": 20, "steps": 50, "seed": 1}``.
    save : str
        With ``weights="fit"``: path of a ``.safetensors`` file for the trained weights. A call that
        was killed goes on from the state beside it.
    residual : bool
        Whether to add what the network leaves of the spectral cube.
    denoise : bool
        Whether to free the spectral cube from the noise that its bands do not share before that.
    tile : int
        The network sees so many pixels squared at a time: less takes less memory. The result does
        not depend on it.
    """

    weights: str = ""
    fit: dict | None = None
    save: str = ""
    residual: bool = True
    denoise: bool = True
    tile: int = 256

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_flags(self, "residual", "denoise")
        check_at_least(self, tile=1)

    @property
    def overlap(self) -> int:
        """Pixels that parts of an image share."""
        return 2 * _REACH


class State(NamedTuple):
    """What the residual needs to know of the whole scene.

    Parameters
    ----------
    components : Components
        Of the spectral bands.
    fwhm : float
        Of the point spread, in coarse pixels.
    """

    components: Components
    fwhm: float


def _halo(params: Params, ratio: int) -> int:
    """Return the reach in fine pixels."""
    return _REACH + (halo(ratio) if params.residual else FILL_REACH)


def _settle(samples: SharpenSamples, *, ratio: int, params: Params) -> State | None:
    """Return what the residual needs, None without one."""
    if not params.residual:
        return None
    spectral, spatial, _, fwhm, shift = samples
    found = locate(spectral, spatial, ratio=ratio, fwhm=fwhm, shift=shift)
    return State(components(spectral, denoise=params.denoise), found.fwhm)


def _torch(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: State | None,
    inner: tuple[slice, slice],
    std: bool,
    network: NetworkCall | None = None,
) -> tuple[np.ndarray, None]:
    """Return what the network makes of the spatial cube, and what it leaves of the spectral one.

    ``network.bands`` says which of the network's bands `spectral` has. The network knows no places.
    """
    call = require_call(network)
    net, manifest = load_once(call.weights, call.device)
    bands = np.arange(len(spectral)) if call.bands is None else call.bands
    low, high = (np.array(v, np.float32)[bands] for v in (manifest.low, manifest.high))
    guide = _scaled(spatial, manifest)
    made = _spectra(net, device_of(call.device), guide, bands, params.tile)
    made *= (high - low)[:, None, None]
    made += low[:, None, None]
    if state is not None:
        made[:, np.isnan(spatial).any(axis=0)] = np.nan
        clean = restore(project(spectral, state.components), state.components)
        fwhm = state.fwhm
        left = clean - degrade(made, ratio=ratio, fwhm=fwhm)
        more = upsample(returned(left, ratio=ratio, fwhm=fwhm), ratio=ratio)
        made += more
    out = masked(made[:, *inner], spectral, spatial, ratio, inner)
    out[~np.array(manifest.extra["seen"], bool)[bands]] = np.nan
    return out, None


def _scaled(spatial: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Return the guide bands as the network knows them, holes filled with what is near by."""
    low, high = (
        np.array(manifest.extra[f"guide_{name}"], np.float32)[:, None, None]
        for name in ("low", "high")
    )
    scaled = (spatial - low) / (high - low)
    seen = np.abs(scaled[~np.isnan(scaled)])
    if seen.size and np.median(seen) > _OTHER_UNITS:
        raise ValueError(
            "spatial is in another unit than the network's training data: values around "
            f"{np.nanmedian(spatial):.4g}, trained on {low.min():.4g} to {high.max():.4g}"
        )
    return fill(scaled)


def _spectra(
    net: torch.nn.Module, device: torch.device, guide: np.ndarray, bands: np.ndarray, tile: int
) -> np.ndarray:
    """Return the network's bands of ``(guide_band, y, x)``, a few rows at a time."""
    import torch

    height, width = guide.shape[1:]
    out = np.empty((len(bands), height, width), np.float32)
    rows = max(1, tile * tile // width)
    with ExitStack() as stack:
        for context in inference(device):
            stack.enter_context(context)
        for start in range(0, height, rows):
            first, stop = max(start - _REACH, 0), min(start + rows + _REACH, height)
            part = torch.from_numpy(np.ascontiguousarray(guide[None, :, first:stop])).to(device)
            answer = net(part)[0].float().cpu().numpy()
            own = answer[:, start - first : start - first + rows]
            out[:, start : start + rows] = own[bands]
    return out


METHOD = Method(
    name="srecnn",
    task="sharpen_spectral",
    summary="Small network from few bands to many, trained on the cubes, and a residual.",
    params=Params,
    halo=_halo,
    lattice=usual_lattice,
    kernels={"torch": _torch},
    settle=_settle,
    reference="successor: Peng et al. (2022), doi:10.3390/rs14225890",
    net=Net(
        module="srecnn",
        loss=(("mse", 1.0),),
        base="none",
        full=Recipe(patch=32, batch=64, epochs=40, steps=50, rate=1e-3, warmup=0.05),
        small=Recipe(patch=16, batch=8, epochs=20, steps=40, rate=1e-3, warmup=0.05),
        tiny={"widths": (8, 12)},
    ),
    exempt={
        "scale": "values are scaled as the checkpoint says, which was trained in one unit",
        "symmetry": "the answer is learned, not built",
        "constant": "the answer is learned, not built",
    },
)
