"""SwinSTFM: a U-net of shifted-window transformers with an unmixing module at every level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xstf.nets._swin import Merge, Swin, Unmix

__all__ = ["build"]

PATCH = 2  # pixels along a side of the first tokens
UNMIX = 2  # blocks of the unmixing module, one at the deepest level


def build(
    *,
    bands: int,
    width: int = 64,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    window: int = 8,
) -> nn.Module:
    """Return the network, with the paper's sizes unless told otherwise.

    Parameters
    ----------
    bands
        Bands of each of the three images.
    width
        Channels of the first level; they double at each but the last.
    depths
        Blocks of attention at each level, from fine to coarse.
    window
        Tokens along the side of a window.
    """
    return SwinSTFM(bands, width, tuple(depths), window)


class SwinSTFM(nn.Module):
    """The change to add to a base image; sides are multiples of 2 ** (1 + number of levels)."""

    def __init__(self, bands: int, width: int, depths: tuple[int, ...], window: int) -> None:
        super().__init__()
        # One entry more than depths: what the last merging gives is as wide as what it takes.
        widths = [width * 2**i for i in range(len(depths))]
        widths.append(widths[-1])
        self.coarse_tower = Tower(bands, widths, depths, window)
        self.fine_tower = Tower(bands, widths, depths, window)
        self.deepest = Unmix(widths[-1], 1, window)
        # From deep to shallow: what a level gives is as wide as the next one up.
        outs = [widths[0], *widths[:-2]]
        self.ups = nn.ModuleList(
            Up(widths[i], widths[i], outs[i], depths[i], window) for i in reversed(range(len(outs)))
        )
        self.head = nn.Sequential(
            nn.Conv2d(outs[0], outs[0] * PATCH**2, 3, padding=1),
            nn.PixelShuffle(PATCH),
            nn.Conv2d(outs[0], bands, 3, padding=1),
            nn.Tanh(),
        )
        # The change is 0 at first; behind it all learns from the second step on.
        for values in self.head[2].parameters():
            nn.init.zeros_(values)

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change (n, band, y, x), between -1 and 1, of values within 0..1."""
        # Both coarse images at once: (2 n, band, y, x)
        both = self.coarse_tower(torch.cat([coarse0, coarse1]))
        levels = [
            (*coarse.chunk(2), fine)
            for coarse, fine in zip(both, self.fine_tower(fine0), strict=True)
        ]
        start, end, fine = levels.pop()
        tokens = self.deepest(start, fine, end)
        for up in self.ups:
            start, end, fine = levels.pop()
            tokens = up(tokens, start, fine, end)
        change: Tensor = self.head(tokens.movedim(-1, 1))  # (n, c, y / 2, x / 2) at its door
        return change


class Tower(nn.Module):
    """Tokens of an image at each level, (n, y / 2, x / 2, c) and every time half as many a side."""

    def __init__(self, bands: int, widths: list[int], depths: tuple[int, ...], window: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(bands, widths[0], PATCH, PATCH)
        self.norm = nn.LayerNorm(widths[0])
        self.downs = nn.ModuleList(
            nn.Sequential(Swin(here, depth, window), Merge(here, below))
            for here, below, depth in zip(widths[:-1], widths[1:], depths, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return them, from shallow to deep."""
        levels = [self.norm(self.embed(2 * image - 1).movedim(1, -1))]
        for down in self.downs:
            levels.append(down(levels[-1]))
        return levels


class Up(nn.Module):
    """A level of the way up: unmixing, what comes from below, and attention over both."""

    def __init__(self, below: int, width: int, out: int, depth: int, window: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential(nn.Conv2d(below, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.unmix = Unmix(width, UNMIX, window)
        self.join = nn.Linear(3 * width, out)
        self.swin = Swin(out, depth, window)

    def forward(self, below: Tensor, coarse0: Tensor, fine0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the tokens (n, y, x, out) from those ``below`` (n, y / 2, x / 2, c)."""
        below = self.enlarge(below.movedim(-1, 1)).movedim(1, -1)
        fine1 = self.unmix(coarse0, fine0, coarse1)
        tokens: Tensor = self.swin(self.join(torch.cat([coarse1, fine1, below], -1)))
        return tokens
