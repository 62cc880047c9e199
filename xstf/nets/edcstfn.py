"""EDCSTFN: an encoder of the fine image, one of what changes, and a decoder of their sum.

All layers work at full resolution; a pixel's result depends on `REACH` pixels around it: three
convolutions of side 3 in the encoders and two in the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xstf.nets.blocks import conv, start_at_zero

__all__ = ["REACH", "build"]

REACH = 5
# Added to |R|, whose inverse weighs a pair: pairs that both see no change share equally.
EPSILON = 1e-6


def build(*, bands: int, widths: Sequence[int] = (32, 64, 128)) -> nn.Module:
    """Return the network.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : sequence of 3 int
        Channels of the encoders' layers; the decoder takes them backwards.
    """
    return EDCSTFN(bands, tuple(widths))


def _encoder(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Return convolutions with a ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *widths[:-1]), widths, strict=True):
        layers += [conv(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _decoder(widths: tuple[int, ...], bands: int) -> nn.Sequential:
    """Return the way from features to bands."""
    layers: list[nn.Module] = []
    for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [conv(before, after), nn.ReLU()]
    return nn.Sequential(*layers, start_at_zero(nn.Conv2d(widths[0], bands, 1)))


class EDCSTFN(nn.Module):
    """The enhanced deep convolutional spatiotemporal fusion network.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : tuple of int
        Channels of the encoders' layers.
    """

    def __init__(self, bands: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.fine = nn.Sequential(_encoder(bands, widths), nn.ReLU())
        self.residual = _encoder(3 * bands, widths)
        self.decoder = _decoder(widths, bands)

    def _features(self, fine: Tensor, coarse: Tensor, coarse1: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of the target date and what they differ in from the pair's date."""
        residual: Tensor = self.residual(torch.cat((coarse, fine, coarse1), dim=1))
        return self.fine(fine) + residual, residual

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change to the base image, ``(n, band, y, x)``, from one pair.

        Parameters
        ----------
        fine0, coarse0, coarse1 : Tensor
            ``(n, band, y, x)`` each.
        """
        change: Tensor = self.decoder(self._features(fine0, coarse0, coarse1)[0])
        return change

    def several(self, fine: Tensor, coarse: Tensor, coarse1: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change to the blend of the pairs' base images, and the share of each in it.

        Parameters
        ----------
        fine, coarse : Tensor
            ``(n, pair, band, y, x)``.
        coarse1 : Tensor
            ``(n, band, y, x)``.

        Returns
        -------
        change : Tensor
            ``(n, band, y, x)``.
        share : Tensor
            ``(n, pair, 1, y, x)``, with a sum of 1 over the pairs.
        """
        number, pairs = fine.shape[:2]
        target = coarse1.unsqueeze(1).expand(-1, pairs, -1, -1, -1)
        # (n, pair, band, y, x) -> (n pair, band, y, x): every pair by the same encoders.
        both = self._features(fine.flatten(0, 1), coarse.flatten(0, 1), target.flatten(0, 1))
        features, residual = (each.reshape(number, pairs, *each.shape[1:]) for each in both)
        # Weights, no features: the gradient of 1 / |R| has no bound.
        inverse = 1 / (residual.detach().abs() + EPSILON)
        mask = inverse / inverse.sum(dim=1, keepdim=True)
        change: Tensor = self.decoder((mask * features).sum(dim=1))
        return change, mask.mean(dim=2, keepdim=True)
