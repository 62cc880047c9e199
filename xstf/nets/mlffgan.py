"""MLFF-GAN: fusion of two pyramids of features, level by level, and its critic.

Five levels halve the sides four times: tiles have sides that are whole in 16. The residual blocks
reflect the image at its edge, for which a level must have two pixels; below 32 pixels a side the
last level has one, which is repeated. The statistics that shift a level's features are those of
the whole tile: the reach is the tile. Memory is linear in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from xstf.nets.blocks import BatchNorm, start_at_zero

__all__ = ["build", "build_critic"]

# Added to a variance before its root is divided by.
EPSILON = 1e-5


def build(
    *, bands: int, widths: Sequence[int] = (16, 32, 64, 128, 256), dropout: float = 0.5
) -> nn.Module:
    """Return the generator.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : sequence of int
        Channels of the levels, the finest first.
    dropout : float
        Share of features that a residual block leaves out, twice, in training.
    """
    return Generator(bands, tuple(widths), dropout)


def build_critic(*, bands: int, widths: Sequence[int] = (64, 128, 256, 512)) -> nn.Module:
    """Return the critic.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : sequence of int
        Channels of its layers; all of them but the last halve the sides.
    """
    return Critic(bands, tuple(widths))


class Reflection(nn.Module):
    """A frame of one pixel that mirrors the image, or repeats it where it is one pixel wide."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the image in its frame, ``(n, c, y + 2, x + 2)``."""
        mode = "reflect" if min(image.shape[-2:]) > 1 else "replicate"
        return pad(image, (1, 1, 1, 1), mode=mode)


class Residual(nn.Module):
    """Two convolutions with dropout, added to what they are given.

    Parameters
    ----------
    width : int
        Channels.
    dropout : float
        Share of features that is left out, after either convolution.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            Reflection(),
            nn.Conv2d(width, width, 3),
            nn.Dropout(dropout),
            nn.LeakyReLU(),
            Reflection(),
            nn.Conv2d(width, width, 3),
            nn.Dropout(dropout),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the image with what the block adds, ``(n, c, y, x)``."""
        both: Tensor = image + self.trunk(image)
        return both


class Pyramid(nn.Module):
    """Features of an image at each level, every one at half the resolution of the one before.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : tuple of int
        Channels of the levels.
    dropout : float
        Of the residual blocks.
    """

    def __init__(self, bands: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        first = nn.Conv2d(bands, widths[0], 7, padding=3)
        steps = [
            nn.Conv2d(a, b, 3, stride=2, padding=1)
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        self.levels = nn.ModuleList(
            nn.Sequential(step, Residual(width, dropout))
            for step, width in zip([first, *steps], widths, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the levels, ``(n, widths[k], y / 2**k, x / 2**k)``."""
        found = []
        for level in self.levels:
            image = level(image)
            found.append(image)
        return found


def restyle(features: Tensor, style: Tensor) -> Tensor:
    """Return the features with the mean and the spread of each channel of another image's.

    Parameters
    ----------
    features, style : Tensor
        ``(n, c, y, x)``.
    """
    # In full precision, also where autocast hands in less.
    if features.dtype.itemsize < 4:
        features, style = features.float(), style.float()
    own, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    variance, target = torch.var_mean(style, dim=(2, 3), correction=0, keepdim=True)
    factor = ((variance + EPSILON) / (own + EPSILON)).sqrt()
    return (features - mean) * factor + target


class Selection(nn.Module):
    """A level's choice, pixel by pixel, between coarse features and fine ones.

    Parameters
    ----------
    width : int
        Channels of the level.
    """

    def __init__(self, width: int) -> None:
        super().__init__()

        # No bias: the normalisation takes it off again.
        def layer(outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), BatchNorm(outputs))

        self.target, self.before, self.mask = layer(width), layer(width), layer(1)

    def forward(self, coarse1: Tensor, coarse0: Tensor, fine: Tensor) -> Tensor:
        """Return the level's fused features, ``(n, c, y, x)``: the coarse ones where it changes."""
        # (n, 1, y, x)
        mask = self.mask(self.target(coarse1) - self.before(coarse0)).sigmoid()
        return fine + mask * (coarse1 - fine)


class Generator(nn.Module):
    """The fusion network of MLFF-GAN.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : tuple of int
        Channels of the levels, the finest first.
    dropout : float
        Of the residual blocks.
    """

    def __init__(self, bands: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.coarse = Pyramid(bands, widths, dropout)
        self.fine = Pyramid(bands, widths, dropout)
        self.selections = nn.ModuleList(Selection(width) for width in widths)
        back = widths[::-1]
        self.rise = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(2 * a, b, 4, stride=2, padding=1),
                nn.LeakyReLU(),
                Residual(b, dropout),
            )
            for a, b in zip(back, back[1:], strict=False)
        )
        self.head = nn.Sequential(
            Residual(2 * widths[0], dropout),
            nn.Conv2d(2 * widths[0], widths[0], 1),
            Residual(widths[0], dropout),
            start_at_zero(nn.Conv2d(widths[0], bands, 1)),
        )

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change to the base image, ``(n, band, y, x)``.

        Parameters
        ----------
        fine0, coarse0, coarse1 : Tensor
            ``(n, band, y, x)`` each.
        """
        # (2 n, c, y, x): both coarse images by the same pyramid.
        levels = self.coarse(torch.cat((coarse1, coarse0)))
        target, before = zip(*(level.chunk(2) for level in levels), strict=True)
        fused = [
            select(c1, c0, restyle(fine, c1))
            for select, c1, c0, fine in zip(
                self.selections, target, before, self.fine(fine0), strict=True
            )
        ]
        features = target[-1]
        for rise in self.rise:
            features = rise(torch.cat((fused.pop(), features), dim=1))
        change: Tensor = self.head(torch.cat((fused.pop(), features), dim=1))
        return change


class Critic(nn.Module):
    """Scores of how real the patches of an image look beside its coarse one.

    Parameters
    ----------
    bands : int
        Bands of the images.
    widths : tuple of int
        Channels of its layers; all of them but the last halve the sides.
    """

    def __init__(self, bands: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(2 * bands, widths[0], 4, stride=2, padding=2),
            nn.LeakyReLU(0.2),
        ]
        for k, (a, b) in enumerate(zip(widths, widths[1:], strict=False), start=2):
            stride = 1 if k == len(widths) else 2
            layers += [
                nn.Conv2d(a, b, 4, stride=stride, padding=2, bias=False),
                nn.BatchNorm2d(b),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=2))

    def forward(self, image: Tensor, coarse1: Tensor) -> Tensor:
        """Return the map of scores, ``(n, 1, y / 8 + 3, x / 8 + 3)`` with the default widths.

        Parameters
        ----------
        image, coarse1 : Tensor
            ``(n, band, y, x)``.
        """
        scores: Tensor = self.layers(torch.cat((image, coarse1), dim=1))
        return scores
