"""GAN-STFM: a generator that takes a fine image of any date, and its critic.

The generator has no down-sampling, but its normalisations look at the whole tile (the means and
variances of a channel and of an image): its reach is the tile. Memory is linear in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils.parametrizations import spectral_norm

from xstf.nets.blocks import BatchNorm, conv, start_at_zero

__all__ = ["build", "build_critic"]

# Channels of the three critics, at scales of 1, 1/2 and 1/4; every step halves the sides.
CRITICS = (
    (32, 32, 64, 64, 128, 128, 256, 256),
    (32, 64, 64, 128, 128, 256, 256),
    (32, 64, 128, 128, 256, 256),
)


def build(*, bands: int, widths: Sequence[int] = (16, 32, 64, 128)) -> nn.Module:
    """Return the generator.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : sequence of int
        Channels of the blocks of both streams; the blocks after them take them backwards.
    """
    return Generator(bands, tuple(widths))


def build_critic(*, bands: int, widths: Sequence[Sequence[int]] = CRITICS) -> nn.Module:
    """Return the critic.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : sequence of sequences of int
        Channels of the blocks of the critic at each scale.
    """
    return Critic(bands, tuple(tuple(each) for each in widths))


class SwitchNorm(nn.Module):
    """Normalisation by a learned mixture of a channel's, an image's and the batch's statistics.

    Parameters
    ----------
    width : int
        Channels.
    momentum : float
        Weight of a batch in the running statistics, which stand in for the batch's at inference.
    epsilon : float
        Added to the variance.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, width: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.mean_mixture = nn.Parameter(torch.zeros(3))
        self.variance_mixture = nn.Parameter(torch.zeros(3))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_variance", torch.ones(width))

    def _batch(self, mean: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch's mean and variance of each channel, ``(1, c, 1, 1)``."""
        if not self.training:
            return self.running_mean[None, :, None, None], self.running_variance[
                None, :, None, None
            ]
        middle = mean.mean(dim=0, keepdim=True)
        variance = square.mean(dim=0, keepdim=True) - middle**2
        with torch.no_grad():
            self.running_mean.lerp_(middle.flatten(), self.momentum)
            self.running_variance.lerp_(variance.flatten(), self.momentum)
        return middle, variance

    def forward(self, image: Tensor) -> Tensor:
        """Return the image normalised, ``(n, c, y, x)`` as it came."""
        # In full precision, also where autocast hands in less.
        image = image.float() if image.dtype.itemsize < 4 else image
        variance, mean = torch.var_mean(image, dim=(2, 3), correction=0, keepdim=True)
        square = variance + mean**2
        middle = mean.mean(dim=1, keepdim=True)
        layer = middle, square.mean(dim=1, keepdim=True) - middle**2
        batch = self._batch(mean, square)
        a, b = self.mean_mixture.softmax(0), self.variance_mixture.softmax(0)
        mean = a[0] * mean + a[1] * layer[0] + a[2] * batch[0]
        variance = b[0] * variance + b[1] * layer[1] + b[2] * batch[1]
        # One product and one sum a pixel: the statistics and the learned scale in one factor.
        factor = self.scale[:, None, None] * (variance + self.epsilon).rsqrt()
        return image * factor + (self.shift[:, None, None] - mean * factor)


class Stream(nn.Module):
    """A step of both streams: the coarse one goes its way, and is added to the fine one.

    Parameters
    ----------
    inputs, outputs : int
        Channels before and after.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        narrow = min(inputs, outputs)
        self.trunk = nn.Sequential(
            SwitchNorm(inputs),
            nn.LeakyReLU(),
            conv(inputs, narrow),
            SwitchNorm(narrow),
            nn.LeakyReLU(),
            nn.Conv2d(narrow, outputs, 1),
        )
        self.lateral = nn.Sequential(
            conv(inputs, narrow), nn.Conv2d(narrow, outputs, 1), nn.LeakyReLU()
        )

    def forward(self, streams: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return both streams, ``(n, outputs, y, x)`` each."""
        lateral: Tensor = self.lateral(streams[0])
        return lateral, self.trunk(streams[1]) + lateral


class Residual(nn.Module):
    """A residual block without normalisation, from one number of channels to another.

    Parameters
    ----------
    inputs, outputs : int
        Channels before and after.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        narrow = min(inputs, outputs)
        self.trunk = nn.Sequential(
            conv(inputs, narrow), nn.LeakyReLU(), nn.Conv2d(narrow, outputs, 1)
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the sum of block and shortcut, ``(n, outputs, y, x)``."""
        both: Tensor = self.trunk(image) + self.shortcut(image)
        return both


class Generator(nn.Module):
    """The fusion network of GAN-STFM.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : tuple of int
        Channels of the blocks of both streams.
    """

    def __init__(self, bands: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        ahead = zip((bands, *widths[:-1]), widths, strict=True)
        self.streams = nn.Sequential(*(Stream(a, b) for a, b in ahead))
        back = (2 * widths[-1], *widths[::-1])
        self.fusion = nn.Sequential(*(Residual(a, b) for a, b in zip(back, back[1:], strict=False)))
        self.head = start_at_zero(nn.Conv2d(widths[0], bands, 1))

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change to the base image, ``(n, band, y, x)``.

        Parameters
        ----------
        fine0 : Tensor
            The reference image, ``(n, band, y, x)``.
        coarse0 : Tensor
            Not looked at.
        coarse1 : Tensor
            The coarse image of the target date, ``(n, band, y, x)``.
        """
        streams = self.streams((coarse1, fine0))
        change: Tensor = self.head(self.fusion(torch.cat(streams, dim=1)))
        return change


class Halving(nn.Module):
    """A residual block with spectral normalisation that halves the sides.

    Parameters
    ----------
    inputs, outputs : int
        Channels before and after.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            BatchNorm(inputs),
            nn.LeakyReLU(),
            # No bias: the normalisation takes it off again.
            spectral_norm(nn.Conv2d(inputs, inputs, 3, stride=2, padding=1, bias=False)),
            BatchNorm(inputs),
            nn.LeakyReLU(),
            spectral_norm(nn.Conv2d(inputs, outputs, 1)),
        )
        self.shortcut = spectral_norm(nn.Conv2d(inputs, outputs, 1, stride=2))

    def forward(self, image: Tensor) -> Tensor:
        """Return the sum of block and shortcut, ``(n, outputs, ceil(y / 2), ceil(x / 2))``."""
        both: Tensor = self.trunk(image) + self.shortcut(image)
        return both


class Critic(nn.Module):
    """Scores of how real an image looks beside its coarse one, at several scales.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : tuple of tuples of int
        Channels of the blocks, a tuple a scale; the scales are 1, 1/2, 1/4, ...
    """

    def __init__(self, bands: int, widths: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.scales = nn.ModuleList()
        for each in widths:
            steps = zip((2 * bands, *each[:-1]), each, strict=True)
            score = spectral_norm(nn.Conv2d(each[-1], 1, 1))
            self.scales.append(nn.Sequential(*(Halving(a, b) for a, b in steps), score))

    def forward(self, image: Tensor, coarse1: Tensor) -> Tensor:
        """Return the scores of all patches at all scales, ``(n, k)``.

        Parameters
        ----------
        image, coarse1 : Tensor
            ``(n, band, y, x)``, the sides 2 ** (scales - 1) or more.
        """
        both = torch.cat((image, coarse1), dim=1)
        seen = (
            critic(avg_pool2d(both, 2**k) if k else both) for k, critic in enumerate(self.scales)
        )
        # (n, 1, y / 256, x / 256) and so on -> (n, k)
        return torch.cat([scores.flatten(1) for scores in seen], dim=1)
