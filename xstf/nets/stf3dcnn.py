"""STF3DCNN: convolutions over date, row and column that make coarse changes fine ones.

With ``C_1`` the coarse image of the target date and ``F_e, C_e`` the pairs, the series of the
residuals ``D_e = C_1 - C_e`` runs through 3-D convolutions (LeakyReLU between them; the bands are
the channels):

    R   = Conv3D(… LeakyReLU(Conv3D(D)))                     one residual a pair
    out = sum_e s_e (base_e + R_e),    s_e ∝ 1 / (mean of |D_e| over bands and window + EPSILON)

The network looks at coarse images alone: detail comes from the base images, ``F_e + D_e`` unless
the record says otherwise. The source adds to ``F_e``; the ``D_e`` in between is a skip connection
past the network.

The sources to be had give no number and width of layers. Our choices:

- 4 layers of 32 channels, kernels of side 3, slope 0.2, weights of zero in the last layer.
- ``D_e`` is target minus pair on both sides of the target, and kernels are the same forwards and
  backwards in time: the order of the pairs does not matter, nor which of them lies before. (The
  source takes the differences of consecutive dates.)
- Next to the first and last date the series is zero, and a kernel's weights for the neighbouring
  dates start at zero. A network that has only learnt from single pairs, a series of length 1,
  thus treats each of two pairs as if it were alone, instead of mixing them by random weights.
- The shares ``s``: a date without change there is worth most. The source weighs by distance in
  time, which is not among a network's inputs here.

Parameters of 6 bands: 43,878. Reach: a pixel a layer; with two pairs `REACH`, that of the shares,
if the layers are not more.

Reference: Peng et al. (2020), A fast three-dimensional convolutional neural network-based
spatiotemporal fusion method (STF3DCNN) using a spatial-temporal-spectral dataset, Remote Sensing
12, 3888, doi:10.3390/rs12233888.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["REACH", "build"]

# Side of the window over which a coarse change is averaged before it weighs a pair: where an
# image's change passes through zero, that alone would turn the shares over.
WINDOW = 17
REACH = WINDOW // 2
# Added to the change, in units of the data's range: pairs that differ from the target by less,
# as noise does, share equally.
EPSILON = 0.01
SLOPE = 0.2


def build(*, bands: int, width: int = 32, depth: int = 4) -> nn.Module:
    """Return the network.

    Parameters
    ----------
    bands : int
        Bands of the images.
    width : int
        Channels between the layers.
    depth : int
        Convolutions, 2 or more. Above `REACH` they, and not the window, are the reach.
    """
    return STF3DCNN(bands, width, depth)


class _Conv(nn.Module):
    """A 3-D convolution that is the same forwards and backwards in time.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    zero : bool
        Whether all weights start at zero, and not only those of the neighbouring dates.
    """

    def __init__(self, inputs: int, outputs: int, *, zero: bool = False) -> None:
        super().__init__()
        # Its fan-in is that of one date: the others start at zero.
        start = nn.Conv2d(inputs, outputs, 3)
        # (output, input, neighbour or own date, y, x): both neighbours have the same weights.
        weight = torch.stack((torch.zeros_like(start.weight), start.weight.detach()), dim=2)
        self.weight = nn.Parameter(torch.zeros_like(weight) if zero else weight)
        self.bias = nn.Parameter(torch.zeros(outputs) if zero else start.bias.detach().clone())

    def forward(self, series: Tensor) -> Tensor:
        """Return the features, ``(n, step, output, y, x)``, from ``(n, step, input, y, x)``."""
        out = _flat(series, self.weight[:, :, 1], self.bias)
        if series.shape[1] > 1:
            # Zero before the first date and after the last. In 2-D, as 3-D layers take a processor
            # five times as long on a large tile.
            before = F.pad(series[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
            after = F.pad(series[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
            out = out + _flat(before + after, self.weight[:, :, 0], None)
        return out


def _flat(series: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return each date of ``(n, step, c, y, x)`` convolved on its own."""
    images = F.pad(series.flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(images, weight, bias).unflatten(0, series.shape[:2])


class STF3DCNN(nn.Module):
    """The three-dimensional convolutional network.

    Parameters
    ----------
    bands : int
        Bands of the images.
    width : int
        Channels between the layers.
    depth : int
        Convolutions.
    """

    def __init__(self, bands: int, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Conv(bands, width), nn.LeakyReLU(SLOPE)]
        for _ in range(depth - 2):
            layers += [_Conv(width, width), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, _Conv(width, bands, zero=True))

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change to the base image, ``(n, band, y, x)``, from one pair.

        Parameters
        ----------
        fine0, coarse0, coarse1 : Tensor
            ``(n, band, y, x)`` each; ``fine0`` is not looked at.
        """
        residual: Tensor = self.layers((coarse1 - coarse0).unsqueeze(1))
        return residual.squeeze(1)

    def several(self, fine: Tensor, coarse: Tensor, coarse1: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change to the blend of the pairs' base images, and the share of each in it.

        Parameters
        ----------
        fine, coarse : Tensor
            ``(n, pair, band, y, x)``; ``fine`` is not looked at.
        coarse1 : Tensor
            ``(n, band, y, x)``.

        Returns
        -------
        change : Tensor
            ``(n, band, y, x)``.
        share : Tensor
            ``(n, pair, 1, y, x)``, with a sum of 1 over the pairs.
        """
        series = coarse1.unsqueeze(1) - coarse
        share = _share(series)
        return (share * self.layers(series)).sum(dim=1), share


def _share(series: Tensor) -> Tensor:
    """Return the share of each pair, ``(n, pair, 1, y, x)``, from ``(n, pair, band, y, x)``."""
    change = F.avg_pool2d(
        series.abs().mean(dim=2), WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False
    )
    inverse = 1 / (change + EPSILON)
    return (inverse / inverse.sum(dim=1, keepdim=True)).unsqueeze(2)
