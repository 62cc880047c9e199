"""Video vision transformers for holes in a cube: MTS-ViT, SMTS-ViT, MTS-ViViT and SMTS-ViViT.

A window of dates is cut into tubelets of `span` dates × `patch` × `patch` pixels, each becomes a
token, all tokens look at each other, and a linear layer turns every token back into its tubelet:

    z   = Conv3d(inputs) + place + Linear(calendar),      kernel = stride = (span, patch, patch)
    z  += Attention(LayerNorm(z));   z += MLP(LayerNorm(z))       (`depth` times)
    change = fold(Linear(LayerNorm(z))) + sum_w share_w(z) mean_w(cube - prior),
    filled = prior + change

One date a token (``embedding="per_date"``) is MTS-ViT, tubelets are MTS-ViViT; with a guide (radar)
the same two are SMTS-ViT and SMTS-ViViT. The sources leave much open. Our choices:

- *Inputs*: what the prior misses (0 where nothing is seen), **validity band by band** (bands are
  not always missing together, and one channel for all would hide the good ones), the prior, and two
  channels of days to the nearest date with any band seen, before and after, in `_UNIT` days, at
  most `_FAR` of them. The two are given by pixel and not by token, as the rim of a cloud crosses
  tokens; the convolution does the averaging. The sources give values only and write 0 in holes.
- *What is missed around*: a date departs from the prior for much of a tile at once. The means of
  what the prior misses within Gaussians of 4 and 15 pixels, and within the tile, are added to the
  change by a share that each token gives (a linear layer of it, for each band and width). Attention
  could learn as much; without it, 360 steps took 3 % off the error of a linear prior, with it 13 %.
- *Calendar*: of each date of the tubelet sin and cos of one and of two turns a year, and the
  time since the first date, in `_SEASON` days. There is no numbering of dates: they may be
  irregular and any number.
- *Place*: learned for 12 × 12 tokens, bilinear for others.
- *First weights*: central frame. Of the tubelet's convolutions, of all inputs, only the slice of
  date ``span // 2`` starts with weights, those of a 2-D convolution (fan-in: the inputs of one
  date); the other dates start at 0 and learn. The last layer starts at 0: an untrained network
  gives back the prior. Linear layers start after Glorot.
- *Encoder*: biases in all linear layers, stochastic depth that rises to `drop_path` at the last
  block and drops whole samples. ``attention="factorised"`` has the same number of blocks, the
  first half (rounded up) within a tubelet's dates, the rest within a place, so as many weights.
- *Guide*: ``"early"`` joins its channels and its validity to the others (as the paper);
  ``"concat"`` embeds it apart, ``Linear(2 D → D)`` of both; ``"cross"`` has a block before the
  encoder in which the optical tokens ask the guide's (all, or factorised: those of their place).

Attention is by `scaled_dot_product_attention`, whose memory grows with the tokens, not with their
square (its time grows with the square, unless factorised). Every pixel of the window reaches every
other: the reach is the tile. A token is decoded alone, so seams can show at `patch`
pixels; tiles that overlap by no multiple of `patch` blur them.

Parameters (bands 11, radar of 2, one validity each, as the specification counts: 15 input
channels): tiny 0.59 M, small 2.95 M, paper_like 32.8 M. Prior, validity by band and gaps make the
channels 38, which adds 23 · span · patch² · D, and the shares of what is missed around another
3 · 11 · span · (D + 1): 0.70 M, 3.18 M, 33.5 M.

References: Wang et al. (2025), arXiv 2512.09471 and 2506.19591; Arnab et al. (2021), ViViT: a video
vision transformer, ICCV, doi:10.1109/ICCV48922.2021.00676.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["build"]

Size = Literal["tiny", "small", "paper_like"]
Embedding = Literal["tubelet", "per_date"]
Fusion = Literal["early", "concat", "cross"]
Encoder = Literal["joint", "factorised"]
Over = Literal["joint", "space", "time"]

# Width, depth, heads. The last is that of the code the paper grew from.
SIZES: dict[Size, tuple[int, int, int]] = {
    "tiny": (96, 4, 4),
    "small": (192, 6, 6),
    "paper_like": (576, 8, 9),
}
_PLACES = 12  # tokens on a side that places are learned for: 60 pixels in patches of 5
_EPS = 1e-6  # of LayerNorm, as in ViT
_YEAR = 365.25  # days
_WIDTHS = (4.0, 15.0, math.inf)  # pixels, of the means of what the prior misses around
_LITTLE = 0.02  # share of what could be seen around that counts as little
_MOST = 2.0  # standard deviations of a band
_UNIT = 30.0  # days that count 1 in a gap
_FAR = 3.0  # the longest gap told apart from none at all: a season
_SEASON = 90.0  # days that count 1 in the time since the first date


def build(
    *,
    bands: int,
    guide_bands: int = 0,
    size: Size = "tiny",
    embedding: Embedding = "tubelet",
    span: int = 2,
    patch: int = 5,
    fusion: Fusion = "early",
    attention: Encoder = "joint",
    variance: bool = False,
    drop_path: float = 0.1,
) -> nn.Module:
    """Return a transformer that corrects a cheap fill of a window of dates.

    Parameters
    ----------
    bands, guide_bands
        Bands of the cube and of the guide (radar); 0: no guide.
    size
        Width, depth and heads: ``"tiny"`` 96/4/4, ``"small"`` 192/6/6, ``"paper_like"`` 576/8/9.
    embedding
        Tokens of `span` dates (``"tubelet"``) or of one (``"per_date"``, which makes `span` 1).
    span, patch
        Dates and pixels on a side of a tubelet.
    fusion
        Where the guide comes in: see the top of this file. Without a guide it says nothing.
    attention
        All tokens of the window together, or first those of a date and then those of a place.
    variance
        Whether the network also gives the logarithm of the variance of what it gives.
    drop_path
        Share of samples for which the last block is left out in training; the first keeps all.
    """
    given = ((size, Size), (embedding, Embedding), (fusion, Fusion), (attention, Encoder))
    for choice, kind in given:
        if choice not in get_args(kind):
            raise ValueError(f"{choice!r} is none of {list(get_args(kind))}")
    if min(bands, span, patch) < 1 or guide_bands < 0:
        raise ValueError(
            f"bands, span and patch must be 1 or more and guide_bands 0 or more, "
            f"not {bands=}, {span=}, {patch=}, {guide_bands=}"
        )
    if not 0 <= drop_path < 1:
        raise ValueError(f"drop_path is a share from 0 to below 1, not {drop_path}")
    tubelet = (1 if embedding == "per_date" else span, patch)
    width, depth, heads = SIZES[size]
    ask = _Block(width, heads, "joint" if attention == "joint" else "time", 0.0)
    embed = _Embedding((bands, guide_bands), width, tubelet, fusion, ask)
    blocks = _encoder(width, depth, heads, attention, drop_path)
    return _VideoTransformer(embed, blocks, _Head(width, bands, tubelet, variance))


class _VideoTransformer(nn.Module):
    """Embedding, encoder and decoder of one window of dates."""

    def __init__(self, embed: _Embedding, blocks: nn.ModuleList, head: _Head) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = blocks
        self.head = head

    def forward(
        self,
        cube: Tensor,
        valid: Tensor,
        prior: Tensor,
        days: Tensor,
        guide: Tensor | None = None,
        guide_valid: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the change to add to the prior, ``(n, time, band, y, x)``.

        Parameters
        ----------
        cube
            ``(n, time, band, y, x)``, each band standardised. Where not valid it is not looked at,
            NaN or not. Sides are multiples of `patch`, dates any number, in order of time.
        valid
            ``(n, time, band, y, x)``, or 1 for all bands: what of the cube is known.
        prior
            As the cube, complete: what the change is added to.
        days
            ``(n, time)``, days since a 1 January: their place in the year matters.
        guide, guide_valid
            ``(n, time, guide_band, y, x)`` and ``(n, time, 1, y, x)``; without the second all of
            the guide is valid, without the first none is.

        Returns
        -------
        torch.Tensor or tuple
            The change; if built with ``variance``, with the logarithm of its variance, which is 0
            (that of a standardised band) in an untrained network.
        """
        (_, time, bands, *sides), patch = cube.shape, self.embed.patch
        if any(side % patch for side in sides):
            raise ValueError(f"sides must be multiples of patch={patch}, not {sides}")
        extra = -time % self.embed.span
        days = _pad(days, extra)
        seen = _pad(valid.bool(), extra, known=False)
        given = _pad(prior, extra)
        missed = torch.where(seen, _pad(cube, extra) - given, 0.0)
        optical = [
            missed,
            seen.expand(-1, -1, bands, -1, -1).to(cube.dtype),
            given,
            _gaps(seen.any(dim=2), days).to(cube.dtype),
        ]
        radar = self._radar(cube, guide, guide_valid, extra)
        tokens = self.embed(optical, radar, days)
        for block in self.blocks:
            tokens = block(tokens)
        around = _around(missed, seen.expand_as(missed).to(cube.dtype))
        found = [part[:, :time] for part in self.head(tokens, around)]
        return (found[0], found[1]) if len(found) > 1 else found[0]

    def _radar(
        self, cube: Tensor, guide: Tensor | None, guide_valid: Tensor | None, extra: int
    ) -> list[Tensor]:
        """Return the guide's channels, 0 where it is missing, and its validity."""
        bands = self.embed.guide_bands
        if guide is not None and guide.shape[2] != bands:
            raise ValueError(f"built with guide_bands={bands}, not {guide.shape[2]}")
        if not bands:
            return []
        if guide is None:
            guide = cube[:, :, :1].expand(-1, -1, bands, -1, -1)
            guide_valid = torch.zeros_like(guide[:, :, :1])
        elif guide_valid is None:
            guide_valid = torch.ones_like(guide[:, :, :1])
        seen = _pad(guide_valid.bool(), extra, known=False)
        return [torch.where(seen, _pad(guide, extra), 0.0), seen.to(cube.dtype)]


class _Embedding(nn.Module):
    """Tokens ``(n, t, s, d)`` of a window: t tubelets in time, s places, d wide."""

    def __init__(
        self, bands: tuple[int, int], width: int, tubelet: tuple[int, int], fusion: str, ask: _Block
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
        self.calendar = _linear(5 * self.span, width)
        if self.fusion != "early":
            self.radar = _central(radar, width, tubelet)
        if self.fusion == "concat":
            self.join = _linear(2 * width, width)
        if self.fusion == "cross":
            self.told = nn.LayerNorm(width, eps=_EPS)
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
        dates = _calendar(days).reshape(len(days), -1, 5 * self.span)  # (n, t, 5 span)
        when: Tensor = self.calendar(dates.to(cube.dtype))
        return when[:, :, None] + place.flatten(2).transpose(1, 2)[:, None]  # (n, t, s, d)


class _Block(nn.Module):
    """A transformer block: attention and a perceptron, each after a norm and added."""

    def __init__(self, width: int, heads: int, over: Over, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.before_attention = nn.LayerNorm(width, eps=_EPS)
        self.attention = _Attention(width, heads, over)
        self.before_mlp = nn.LayerNorm(width, eps=_EPS)
        self.mlp = nn.Sequential(_linear(width, 4 * width), nn.GELU(), _linear(4 * width, width))

    def forward(self, tokens: Tensor, told: Tensor | None = None) -> Tensor:
        """Return tokens that have looked at `told`, or at each other."""
        asking = self.before_attention(tokens)
        tokens = tokens + self._drop(self.attention(asking, asking if told is None else told))
        return tokens + self._drop(self.mlp(self.before_mlp(tokens)))

    def _drop(self, change: Tensor) -> Tensor:
        """Return the change without some samples' in training, the others' scaled up for it."""
        if not self.training or self.drop == 0:
            return change
        kept = torch.rand(len(change), 1, 1, 1, device=change.device) >= self.drop
        return change * (kept / (1 - self.drop)).to(change.dtype)


class _Attention(nn.Module):
    """Attention by heads: over all tokens, those of the same dates, or those of the same place."""

    def __init__(self, width: int, heads: int, over: Over) -> None:
        super().__init__()
        self.heads = heads
        self.over = over
        self.ask = _linear(width, width)
        self.tell = _linear(width, 2 * width)  # what is compared, what is passed on
        self.out = _linear(width, width)

    def forward(self, asking: Tensor, told: Tensor) -> Tensor:
        """Return what the asking tokens learn, ``(n, t, s, d)``; `told` has the same shape."""
        n, t, s, _ = asking.shape
        keys, values = self.tell(told).chunk(2, dim=-1)
        q, k, v = (self._sequences(part) for part in (self.ask(asking), keys, values))
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (b, l, d)
        if self.over == "time":
            found = found.reshape(n, s, t, -1).transpose(1, 2)
        learned: Tensor = self.out(found.reshape(n, t, s, -1))
        return learned

    def _sequences(self, tokens: Tensor) -> Tensor:
        """Return ``(n, t, s, d)`` as ``(b, head, l, d / head)``: b sequences of l tokens."""
        if self.over == "joint":
            tokens = tokens.flatten(1, 2)  # (n, t s, d)
        elif self.over == "space":
            tokens = tokens.flatten(0, 1)  # (n t, s, d)
        else:
            tokens = tokens.transpose(1, 2).flatten(0, 1)  # (n s, t, d)
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class _Head(nn.Module):
    """From tokens back to cubes: the change and, if asked for, the logarithm of its variance.

    To the change every token adds its share of what the prior misses around.
    """

    def __init__(self, width: int, bands: int, tubelet: tuple[int, int], variance: bool) -> None:
        super().__init__()
        self.span, self.patch = tubelet
        self.norm = nn.LayerNorm(width, eps=_EPS)
        size = bands * self.span * self.patch**2
        self.decode = nn.ModuleList(nn.Linear(width, size) for _ in range(1 + variance))
        self.share = nn.Linear(width, len(_WIDTHS) * bands * self.span)
        for linear in (*self.decode.parameters(), *self.share.parameters()):
            nn.init.zeros_(linear)

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


def _around(missed: Tensor, seen: Tensor) -> Tensor:
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


def _encoder(
    width: int, depth: int, heads: int, attention: Encoder, drop_path: float
) -> nn.ModuleList:
    """Return the blocks; more and more samples skip the later ones in training."""
    halves: tuple[Over, Over] = ("space", "time") if attention == "factorised" else ("joint",) * 2
    return nn.ModuleList(
        _Block(width, heads, halves[2 * i >= depth], drop_path * i / (depth - 1))
        for i in range(depth)
    )


def _linear(inputs: int, outputs: int) -> nn.Linear:
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


def _pad(cube: Tensor, extra: int, *, known: bool = True) -> Tensor:
    """Return the cube with its last date, or if not known nothing, `extra` times more."""
    if not extra:
        return cube
    last = cube[:, -1:] if known else torch.zeros_like(cube[:, -1:])
    return torch.cat([cube, last.expand(-1, extra, *cube.shape[2:])], dim=1)


def _calendar(days: Tensor) -> Tensor:
    """Return ``(n, time, 5)``: one and two turns a year as sin and cos, the time since the first.

    Absolute days are large: the turns are taken of what is left of whole years.
    """
    turn = torch.remainder(days, _YEAR) * (2 * math.pi / _YEAR)
    since = (days - days[:, :1]) / _SEASON
    return torch.stack([turn.sin(), turn.cos(), (2 * turn).sin(), (2 * turn).cos(), since], dim=-1)


def _gaps(seen: Tensor, days: Tensor) -> Tensor:
    """Return ``(n, time, 2, y, x)``: days since a pixel was last seen and until it next is."""
    since = (days - days[:, :1]).to(torch.float32)[..., None, None]  # (n, time, 1, 1)
    never = torch.tensor(math.inf, device=days.device)
    before = since - torch.where(seen, since, -never).cummax(dim=1).values
    after = torch.where(seen, since, never).flip(1).cummin(dim=1).values.flip(1) - since
    return (torch.stack([before, after], dim=2) / _UNIT).clamp(0, _FAR)
