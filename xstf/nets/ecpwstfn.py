"""ECPW-STFN: fusion in the features of wavelet sub-bands, then a refinement with attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["build"]

# Pixels to each side that a pixel looks at, but for the channel attention, which sees the means
# and the maxima of the whole tile: 2 · 3 by the encoders and 1 by the wavelet, 2 and 2 by the
# decoders, 3 · (1 + 3) by the blocks of the refinement.
REACH = 23


def build(*, bands: int, width: int = 32) -> nn.Module:
    """Return the network, with the paper's sizes unless told otherwise.

    Parameters
    ----------
    bands
        Bands of each image.
    width
        Channels after the first convolution; they double twice.
    """
    return ECPWSTFN(bands, width)


def haar(image: Tensor) -> Tensor:
    """Return the four Haar sub-bands (4, n, c, y / 2, x / 2) of ``image`` (n, c, y, x).

    They are the mean, the change along x, along y and along both, in units of the image times
    two: the transform is orthonormal, and :func:`unhaar` its inverse. Sides are even.
    """
    a, b = image[..., ::2, ::2], image[..., ::2, 1::2]
    c, d = image[..., 1::2, ::2], image[..., 1::2, 1::2]
    return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]) / 2


def unhaar(parts: Tensor) -> Tensor:
    """Return the image (n, c, y, x) whose Haar sub-bands are ``parts`` (4, n, c, y / 2, x / 2)."""
    # The 4 × 4 matrix is its own inverse, so that its rows are the pixels of a 2 × 2 block.
    mean, along, down, both = parts / 2
    upper = torch.stack([mean + along + down + both, mean - along + down - both], -1)
    lower = torch.stack([mean + along - down - both, mean - along - down + both], -1)
    # (n, c, y / 2, 2, x / 2, 2) -> (n, c, y, x)
    return torch.stack([upper, lower], -3).flatten(-2).flatten(-3, -2)


class ECPWSTFN(nn.Module):
    """The change to add to a base image; sides are even, ``coarse0`` is not looked at."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.fine_encoder = Encoder(bands, width)
        self.change_encoder = Encoder(bands, width)
        self.decoder = Decoder(bands, width)
        self.refine = nn.Sequential(
            Block(2 * bands, width), Block(width, 2 * width), Block(2 * width, 4 * width)
        )
        self.last = Decoder(bands, width)
        # The change is 0 at first; behind it all learns from the second step on.
        for values in self.last[-1].parameters():
            nn.init.zeros_(values)

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change (n, band, y, x)."""
        # One encoder for all four sub-bands: (4 n, c, y / 2, x / 2)
        fine, change = haar(fine0).flatten(0, 1), haar(coarse1 - fine0).flatten(0, 1)
        features = self.fine_encoder(fine) + self.change_encoder(change)
        first = self.decoder(unhaar(features.unflatten(0, (4, -1))))
        out: Tensor = self.last(self.refine(torch.cat([first, fine0], 1)))
        return out


def conv(bands: int, out: int, gain: float = 1) -> nn.Conv2d:
    """Return a 3 × 3 convolution whose edge is repeated, for a ReLU behind it."""
    layer = nn.Conv2d(bands, out, 3, padding=1, padding_mode="replicate")
    # Torch's own start loses the signal on the way: ten layers at two fifths each.
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        layer.weight *= gain
    return layer


class Encoder(nn.Sequential):
    """Three convolutions up to four times the width."""

    def __init__(self, bands: int, width: int) -> None:
        first, second, third = (
            conv(bands, width),
            conv(width, 2 * width),
            conv(2 * width, 4 * width),
        )
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU())


class Decoder(nn.Sequential):
    """Two convolutions down from four times the width, and a mixing of channels to bands."""

    def __init__(self, bands: int, width: int) -> None:
        first, second = conv(4 * width, 2 * width), conv(2 * width, width)
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(width, bands, 1))


class Block(nn.Module):
    """A convolution, then attention over channels, then over pixels (CBAM)."""

    def __init__(self, bands: int, out: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        # Both attentions halve at first.
        self.conv = nn.Sequential(conv(bands, out, gain=4), nn.ReLU())
        hidden = max(1, out // reduction)
        self.channels = nn.Sequential(
            nn.Linear(out, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, out, bias=False)
        )
        self.pixels = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the weighted features (n, out, y, x)."""
        features: Tensor = self.conv(image)
        weights = self.channels(features.mean((2, 3))) + self.channels(features.amax((2, 3)))
        features = features * weights.sigmoid()[:, :, None, None]
        pooled = torch.stack([features.mean(1), features.amax(1)], 1)  # (n, 2, y, x)
        out: Tensor = features * self.pixels(pooled).sigmoid()
        return out
