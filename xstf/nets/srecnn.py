"""SRECNN: many bands from few, by three convolutions beside a linear map.

    out = W s + C3(ReLU(C2(ReLU(C1 s)))),      C1: 3 × 3,  W, C2, C3: 1 × 1

The source's sizes are not public: the three layers, their kernels and 64 and 128 channels are our
choice. So is ``W``: the network is a residual on a linear map, and as ``C3`` starts at zero it
begins as that map. `SRECNN.linear` is an ordinary layer: who has a least-squares solution writes
it there before training.

Parameters, of 4 guide bands and 100 bands: 24,088. Reach: `REACH` pixels.

Reference: the paper of IGARSS 2019 on improving the spectral resolution of multispectral data with
a convolutional network.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xstf.nets.blocks import conv, start_at_zero

__all__ = ["REACH", "build"]

REACH = 1


def build(*, bands: int, guide_bands: int, widths: Sequence[int] = (64, 128)) -> nn.Module:
    """Return the network.

    Parameters
    ----------
    bands : int
        Bands of the result.
    guide_bands : int
        Bands of the image that it is made from.
    widths : sequence of 2 int
        Channels of the layers between.
    """
    return SRECNN(bands, guide_bands, tuple(widths))


class SRECNN(nn.Module):
    """The spectral super-resolution network.

    Parameters
    ----------
    bands, guide_bands : int
        Bands of the result and of the image that it is made from.
    widths : tuple of 2 int
        Channels of the layers between.
    """

    def __init__(self, bands: int, guide_bands: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, second = widths
        self.linear = nn.Conv2d(guide_bands, bands, 1)
        self.rest = nn.Sequential(
            conv(guide_bands, first),
            nn.ReLU(),
            nn.Conv2d(first, second, 1),
            nn.ReLU(),
            start_at_zero(nn.Conv2d(second, bands, 1)),
        )

    def forward(self, spatial: Tensor) -> Tensor:
        """Return the spectra, ``(n, band, y, x)``.

        Parameters
        ----------
        spatial : Tensor
            ``(n, guide_band, y, x)``, scaled band by band.
        """
        spectra: Tensor = self.linear(spatial) + self.rest(spatial)
        return spectra
