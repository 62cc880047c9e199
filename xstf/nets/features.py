"""An autoencoder whose features losses compare images by.

Trained first, on fine images alone, and frozen then. The layers are those of EDCSTFN's: one
convolution of side 3 after the other, to 32, 64, 128 and 128 channels, the third with a stride
of 2, 0.242 M parameters at six bands. Our choice: the decoder is one linear layer, so that the
features have to hold each pixel in the open, and training takes a minute.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from xstf.nets.blocks import conv

__all__ = ["build"]


def build(*, bands: int, widths: Sequence[int] = (32, 64, 128, 128)) -> nn.Module:
    """Return the autoencoder.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : sequence of 4 int
        Channels of the encoder's layers.
    """
    return Autoencoder(bands, tuple(widths))


class Autoencoder(nn.Module):
    """Features at half the resolution, and the image back from them.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : tuple of 4 int
        Channels of the encoder's layers.
    """

    def __init__(self, bands: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.encoder = nn.Sequential(
            conv(bands, first),
            nn.ReLU(),
            conv(first, second),
            nn.ReLU(),
            conv(second, third, stride=2),
            nn.ReLU(),
            conv(third, fourth),
            nn.ReLU(),
        )
        self.decoder = nn.Conv2d(fourth, 4 * bands, 1)

    def encode(self, image: Tensor) -> Tensor:
        """Return the features of an image, ``(n, feature, ceil(y / 2), ceil(x / 2))``.

        Parameters
        ----------
        image : Tensor
            ``(n, band, y, x)``.
        """
        features: Tensor = self.encoder(image)
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Return the image as its features tell it, ``(n, band, y, x)``.

        Parameters
        ----------
        image : Tensor
            ``(n, band, y, x)``.
        """
        # (n, 4 band, y / 2, x / 2) -> (n, band, y, x)
        whole = pixel_shuffle(self.decoder(self.encode(image)), 2)
        return whole[..., : image.shape[-2], : image.shape[-1]]
