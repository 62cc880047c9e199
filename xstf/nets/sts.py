"""STS: three branches for space, time and spectrum, trained together, and a head that joins them.

For the target date ``t`` between the paired dates ``a`` and ``b``, all images on the sharp grid:
``M`` are the dense bands, ``P`` the sharp ones, ``P_lin`` and ``Z_lin`` what the linear method
predicts of the sharp bands and of the principal components ``Z`` of the spectral cube, ``w_e`` the
share and ``dt_e`` the distance in time of ``e = a, b``:

    spatial    f_spa, P_spa = branch(M_t)                                       P_spa ≈ P_t
    temporal   f_e, q_e     = branch(M_t - M_e, P_lin - P_e, dt_e)     P_lin - P_e + q_e ≈ P_t - P_e
    spectral   f_spe, Z_spe = branch(M_t, P~),   P~ = P_lin + sum_e w_e q_e     Z_spe ≈ Z_t
    fusion     Z = Z_lin + head(f_spa, f_a, f_b, f_spe, Z_lin, P~)              Z ≈ Z_t

A branch is a 1 × 1 convolution, `depth` residual blocks, whose end are the features ``f``, and a
1 × 1 convolution. A block adds to its input one path for each kernel side, convolution, LeakyReLU,
convolution. The head is a 1 × 1 convolution to twice the width, LeakyReLU, a block and a 1 × 1
convolution. The temporal branch is the same for ``a`` and ``b``.

Tasks are balanced by learned weights, see `balance`.

The paper gives the branches, the sum over kernels and the loss, and neither widths nor depths nor
what the head is. Our choices:

- All sizes, the head, and a slope of 0.2.
- The network is a residual on the linear method, in the components and in the temporal task: the
  last layers of the head and of the temporal branch start at zero. So do the second convolutions
  of the blocks' paths, whose identity passes the gradient on. An untrained network gives 0.
- The temporal branch also sees the linear change that it corrects, ``P_lin - P_e``; of the sharp
  images nothing else would come in.
- Dates are looked at one by one in 2-D: any number of them and gaps make no difference. A target
  with a paired date on one side only takes it for ``a`` and for ``b``.
- The joint result has a loss of its own, the fourth task, or nothing would train the head.

Parameters, of 8 dense and 4 sharp bands and 10 components, with kernels (1,), (1, 3), (1, 3, 5):
84,416, 624,608 and 2,123,264. Reach in pixels: `reach`, 0, 14 and 28 of those.

References: Peng, Li, Zhou and Li, A long-time-series spatio-temporal-spectral fusion method via
multi-task learning; the loss: Liebel and Körner (2018), arXiv 1805.06334.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xstf.nets.blocks import conv, start_at_zero

__all__ = ["TASKS", "Fused", "balance", "build", "reach"]

TASKS = ("spatial", "temporal", "spectral", "fusion")
SLOPE = 0.2
# Least c²: a task whose loss vanishes may not outweigh the others without bound.
FLOOR = 1e-4


class Fused(NamedTuple):
    """What the network gives: the result, and what the branches make on their own.

    Parameters
    ----------
    components : Tensor
        ``(n, component, y, x)``, the change to add to ``linear``.
    spatial : Tensor
        ``(n, guide_band, y, x)``, the sharp image from the dense one.
    temporal : Tensor
        ``(n, 2, guide_band, y, x)``, what the sharp image changes by from ``a`` and from ``b``.
    spectral : Tensor
        ``(n, component, y, x)``, the components from the dense and the sharp image.
    """

    components: Tensor
    spatial: Tensor
    temporal: Tensor
    spectral: Tensor


def build(
    *,
    bands: int,
    guide_bands: int,
    components: int,
    width: int = 48,
    depth: int = 3,
    kernels: Sequence[int] = (1, 3),
) -> nn.Module:
    """Return the network.

    Parameters
    ----------
    bands : int
        Bands of the dense images.
    guide_bands : int
        Bands of the sharp images.
    components : int
        Principal components of the spectral cube.
    width : int
        Channels of a branch.
    depth : int
        Blocks of a branch.
    kernels : sequence of int
        Sides of a block's kernels, odd.
    """
    return STS(bands, guide_bands, components, width, depth, tuple(kernels))


def reach(*, depth: int = 3, kernels: Sequence[int] = (1, 3)) -> int:
    """Return how many pixels around a pixel its result depends on.

    The longest way runs through the temporal branch, the spectral one and the head.

    Parameters
    ----------
    depth, kernels
        As for `build`.
    """
    return (2 * depth + 1) * (max(kernels) - 1)


def balance(losses: Mapping[str, Tensor], c: nn.ParameterDict) -> Tensor:
    """Return the sum of the tasks' losses by learned weights, ``sum L / (2 c²) + ln(1 + c²)``.

    At its least in ``c`` a small loss has the weight ``1 / sqrt(2 L)``: what unit a task is in
    makes no difference then.

    Parameters
    ----------
    losses : mapping of str to Tensor
        Loss of each task, of `TASKS` or some of them, without dimensions and 0 or more.
    c : ParameterDict
        The network's `STS.c`. No weight decay: it would draw all weights up.
    """
    terms = []
    for task, loss in losses.items():
        square = c[task].square()
        # The floor holds for the value and not for its gradient: c comes back when a loss grows.
        square = square + (square.clamp(min=FLOOR) - square).detach()
        terms.append(loss / (2 * square) + torch.log1p(square))
    return torch.stack(terms).sum()


class _Block(nn.Module):
    """A residual block with one path for each kernel side.

    Parameters
    ----------
    width : int
        Channels.
    kernels : tuple of int
        Sides of the kernels.
    """

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.Sequential(
                conv(width, width, side=side),
                nn.LeakyReLU(SLOPE),
                start_at_zero(conv(width, width, side=side)),
            )
            for side in kernels
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features`` and what the paths make of them, ``(n, c, y, x)``."""
        out = features
        for path in self.paths:
            out = out + path(features)
        return out


class _Branch(nn.Module):
    """A branch: its features, and the answer to its own task.

    Parameters
    ----------
    inputs, outputs : int
        Channels of what comes in and of the answer.
    width, depth, kernels
        As for `build`.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, kernels: tuple[int, ...]
    ) -> None:
        super().__init__()
        blocks = (_Block(width, kernels) for _ in range(depth))
        self.features = nn.Sequential(nn.Conv2d(inputs, width, 1), *blocks)
        self.task = nn.Conv2d(width, outputs, 1)

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(n, width, y, x)`` and ``(n, output, y, x)``."""
        features: Tensor = self.features(torch.cat(images, dim=1))
        return features, self.task(features)


class STS(nn.Module):
    """The spatio-temporal-spectral network.

    Parameters
    ----------
    bands, guide_bands, components, width, depth, kernels
        As for `build`.
    """

    def __init__(
        self,
        bands: int,
        guide_bands: int,
        components: int,
        width: int,
        depth: int,
        kernels: tuple[int, ...],
    ) -> None:
        super().__init__()
        sizes = (width, depth, kernels)
        self.spatial = _Branch(bands, guide_bands, *sizes)
        self.temporal = _Branch(bands + guide_bands + 1, guide_bands, *sizes)
        start_at_zero(self.temporal.task)
        self.spectral = _Branch(bands + guide_bands, components, *sizes)
        self.head = nn.Sequential(
            nn.Conv2d(4 * width + components + guide_bands, 2 * width, 1),
            nn.LeakyReLU(SLOPE),
            _Block(2 * width, kernels),
            start_at_zero(nn.Conv2d(2 * width, components, 1)),
        )
        self.c = nn.ParameterDict({task: nn.Parameter(torch.ones(())) for task in TASKS})

    def forward(
        self,
        dense: Tensor,
        dense_a: Tensor,
        dense_b: Tensor,
        sharp_a: Tensor,
        sharp_b: Tensor,
        share: Tensor,
        dt: Tensor,
        linear: Tensor,
        sharp_linear: Tensor,
    ) -> Fused:
        """Return the result for a target date, and the branches' own answers.

        All images are on the sharp grid, scaled band by band, nothing missing.

        Parameters
        ----------
        dense, dense_a, dense_b : Tensor
            ``(n, band, y, x)``, the dense images of the target and of both paired dates.
        sharp_a, sharp_b : Tensor
            ``(n, guide_band, y, x)``, the sharp images of the paired dates.
        share : Tensor
            ``(n, 2, 1, 1)`` or ``(n, 2, y, x)``, the weights of ``a`` and ``b``; their sum is 1.
        dt : Tensor
            ``(n, 2)``, target date minus paired date over the length of the series.
        linear : Tensor
            ``(n, component, y, x)``, the linear prediction.
        sharp_linear : Tensor
            ``(n, guide_band, y, x)``, the linear prediction of the sharp image.
        """
        # Both paired dates run as one batch: (n, c, y, x) -> (2 n, c, y, x), a before b.
        twice, sharp_twice = (torch.cat((i, i)) for i in (dense, sharp_linear))
        change = sharp_twice - torch.cat((sharp_a, sharp_b))
        # (n, 2) -> (2 n, 1, y, x)
        times = dt.T.reshape(-1, 1, 1, 1).expand(-1, 1, *dense.shape[-2:])
        residual = twice - torch.cat((dense_a, dense_b))
        features_e, correction = self.temporal(residual, change, times)
        # (2 n, c, y, x) -> (2, n, c, y, x)
        split = correction.unflatten(0, (2, -1))
        sharp = sharp_linear + share[:, :1] * split[0] + share[:, 1:] * split[1]

        features_spatial, spatial = self.spatial(dense)
        features_spectral, spectral = self.spectral(dense, sharp)
        known = (features_spatial, *features_e.chunk(2), features_spectral, linear, sharp)
        return Fused(
            components=self.head(torch.cat(known, dim=1)),
            spatial=spatial,
            temporal=(change + correction).unflatten(0, (2, -1)).transpose(0, 1),
            spectral=spectral,
        )
