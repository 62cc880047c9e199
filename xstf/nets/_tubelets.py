"""From windows of dates to tokens of a video transformer, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PLACES = 12  # tokens on a side that places are learned for: 60 pixels in patches of 5
EPS = 1e-6  # of LayerNorm, as in ViT
_YEAR = 365.25  # days
_WIDTHS = (4.0, 15.0, math.inf)  # pixels, of the means of what the prior misses around
_LITTLE = 0.02  # share of what could be seen around that counts as little
_MOST = 2.0  # standard deviations of a band
_UNIT = 30.0  # days that count 1 in a gap
_FAR = 3.0  # the longest gap told apart from none at all: a season
_SEASON = 90.0  # days that count 1 in the time since the first date


class Embedding(nn.Module):
    """Tokens ``(n, t, s, d)`` of a window: t tubelets in time, s places, d wide."""

    def __init__(
        self,
        bands: tuple[int, int],
        width: int,
        tubelet: tuple[int, int],
        fusion: str,
        ask: nn.Module,
    ) -> None:
        super().__init__()
        # values, validity, prior; days since and days until
        optical, self.guide_bands = 3 * bands[0] + 2, bands[1]
        self.span, self.patch = tubelet
        self.fusion = fusion if self.guide_bands else "early"
        radar = self.guide_bands + 1 if self.guide_bands else 0
        self.optical = _central(optical + radar * (self.fusion == "early"), width, tubelet)
        self.place = nn.Parameter(torch.empty(1, width, _PLACES, _PLACES))
        nn.init.trunc_normal_(self.place, std=0.02)
        self.calendar = linear(5 * self.span, width)
        if self.fusion != "early":
            self.radar = _central(radar, width, tubelet)
        if self.fusion == "concat":
            self.join = linear(2 * width, width)
        if self.fusion == "cross":
            self.told = nn.LayerNorm(width, eps=EPS)
            self.ask = ask

    def forward(self, optical: list[Tensor], radar: list[Tensor], days: Tensor) -> Tensor:
        """Return the tokens of two lists of channels, each ``(n, time, c, y, x)``."""
        where = self._where_and_when(optical[0], days)
        if self.fusion == "early":
            return self._tokens(self.optical, optical + radar) + where
        asking, told = self._tokens(self.optical, optical), self._tokens(self.radar, radar)
        if self.fusion == "concat":
            joined: Tensor = self.join(torch.cat([asking, told], dim=-1)) + where
        else:
            joined = self.ask(asking + where, self.told(told + where))
        return joined

    @staticmethod
    def _tokens(embed: nn.Module, channels: list[Tensor]) -> Tensor:
        """Return the tokens of channels with one embedding."""
        found: Tensor = embed(torch.cat(channels, dim=2).transpose(1, 2))  # (n, d, t, y, x)
        return found.flatten(3).permute(0, 2, 3, 1)  # (n, t, s, d)

    def _where_and_when(self, cube: Tensor, days: Tensor) -> Tensor:
        """Return what is added to tokens for their place in the tile and in the year."""
        y, x = (side // self.patch for side in cube.shape[-2:])
        place: Tensor = self.place
        if (y, x) != (_PLACES, _PLACES):
            place = F.interpolate(place, size=(y, x), mode="bilinear", align_corners=False)
        dates = calendar(days).reshape(len(days), -1, 5 * self.span)  # (n, t, 5 span)
        when: Tensor = self.calendar(dates.to(cube.dtype))
        return when[:, :, None] + place.flatten(2).transpose(1, 2)[:, None]  # (n, t, s, d)


class Head(nn.Module):
    """From tokens back to cubes: the change and, if asked for, the logarithm of its variance.

    To the change every token adds its share of what the prior misses around.
    """

    def __init__(self, width: int, bands: int, tubelet: tuple[int, int], variance: bool) -> None:
        super().__init__()
        self.span, self.patch = tubelet
        self.norm = nn.LayerNorm(width, eps=EPS)
        size = bands * self.span * self.patch**2
        self.decode = nn.ModuleList(nn.Linear(width, size) for _ in range(1 + variance))
        self.share = nn.Linear(width, len(_WIDTHS) * bands * self.span)
        for parameter in (*self.decode.parameters(), *self.share.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, around: Tensor) -> list[Tensor]:
        """Return cubes ``(n, time, band, y, x)``, as many dates as the tubelets have.

        ``around`` is ``(n, time, width, band, y, x)``.
        """
        places = [side // self.patch for side in around.shape[-2:]]
        tokens = self.norm(tokens)
        cubes = [self._fold(decode(tokens), places, self.patch) for decode in self.decode]
        share = self._fold(self.share(tokens), places, 1).reshape(*around.shape[:4], *places)
        for axis in (-2, -1):
            share = share.repeat_interleave(self.patch, dim=axis)
        return [cubes[0] + (share * around).sum(dim=2), *cubes[1:]]

    def _fold(self, parts: Tensor, places: list[int], patch: int) -> Tensor:
        """Return what tokens say of their tubelets' dates and pixels, ``(n, time, c, y, x)``."""
        n, t = parts.shape[:2]
        y, x = places
        cut = parts.reshape(n, t, y, x, self.span, -1, patch, patch)
        cut = cut.permute(0, 1, 4, 5, 2, 6, 3, 7)  # (n, t, span, c, y, patch, x, patch)
        return cut.reshape(n, t * self.span, -1, y * patch, x * patch)


def around(missed: Tensor, seen: Tensor) -> Tensor:
    """Return the means of what is missed around each pixel, ``(n, time, width, band, y, x)``.

    Gaussians of `_WIDTHS`, the last as wide as the tile is. With little around, it is drawn to 0,
    and what is missed by far, as where a cloud was overlooked, counts as `_MOST`.
    """
    found = []
    missed = _MOST * torch.tanh(missed / _MOST)
    for width in _WIDTHS:
        rows, cols = (_gaussian(side, width, missed) for side in missed.shape[-2:])
        total, share = (rows @ image @ cols.T for image in (missed, seen))
        found.append(total / (share + _LITTLE))
    return torch.stack(found, dim=2)


def _gaussian(side: int, width: float, like: Tensor) -> Tensor:
    """Return the weights of a line's pixels in the means around each, ``(side, side)``."""
    place = torch.arange(side, dtype=like.dtype, device=like.device)
    weight = torch.exp(-0.5 * ((place[:, None] - place) / width) ** 2)
    return weight / weight.sum(dim=1, keepdim=True)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with Glorot's weights and no bias to begin with."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    layer.bias.detach().zero_()
    return layer


def _central(channels: int, width: int, tubelet: tuple[int, int]) -> nn.Conv3d:
    """Return the embedding of tubelets, which at first sees their middle date only."""
    span, patch = tubelet
    kernel = (span, patch, patch)
    layer = nn.Conv3d(channels, width, kernel, stride=kernel)
    for start in layer.parameters():
        nn.init.zeros_(start)
    std = 1 / math.sqrt(channels * patch**2)
    middle = layer.weight.detach()[:, :, span // 2]
    nn.init.trunc_normal_(middle, std=std, a=-2 * std, b=2 * std)
    return layer


def pad(cube: Tensor, extra: int, *, known: bool = True) -> Tensor:
    """Return the cube with its last date, or if not known nothing, `extra` times more."""
    if not extra:
        return cube
    last = cube[:, -1:] if known else torch.zeros_like(cube[:, -1:])
    return torch.cat([cube, last.expand(-1, extra, *cube.shape[2:])], dim=1)


def calendar(days: Tensor) -> Tensor:
    """Return ``(n, time, 5)``: one and two turns a year as sin and cos, the time since the first.

    Absolute days are large: the turns are taken of what is left of whole years.
    """
    turn = torch.remainder(days, _YEAR) * (2 * math.pi / _YEAR)
    since = (days - days[:, :1]) / _SEASON
    return torch.stack([turn.sin(), turn.cos(), (2 * turn).sin(), (2 * turn).cos(), since], dim=-1)


def gaps(seen: Tensor, days: Tensor) -> Tensor:
    """Return ``(n, time, 2, y, x)``: days since a pixel was last seen and until it next is."""
    since = (days - days[:, :1]).to(torch.float32)[..., None, None]  # (n, time, 1, 1)
    never = torch.tensor(math.inf, device=days.device)
    before = since - torch.where(seen, since, -never).cummax(dim=1).values
    after = torch.where(seen, since, never).flip(1).cummin(dim=1).values.flip(1) - since
    return (torch.stack([before, after], dim=2) / _UNIT).clamp(0, _FAR)
