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
  channels of days to the nearest date with any band seen, before and after, in 30 days, at
  most three of them. The two are given by pixel and not by token, as the rim of a cloud crosses
  tokens; the convolution does the averaging. The sources give values only and write 0 in holes.
- *What is missed around*: a date departs from the prior for much of a tile at once. The means of
  what the prior misses within Gaussians of 4 and 15 pixels, and within the tile, are added to the
  change by a share that each token gives (a linear layer of it, for each band and width). Attention
  could learn as much; but 360 steps took 13 % off the error of a linear prior with these means and
  with what is missed as an input, and 3 % with neither.
- *Calendar*: of each date of the tubelet sin and cos of one and of two turns a year, and the
  time since the first date, in 90 days. There is no numbering of dates: they may be
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

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xstf.nets import _tubelets

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
    embed = _tubelets.Embedding((bands, guide_bands), width, tubelet, fusion, ask)
    blocks = _encoder(width, depth, heads, attention, drop_path)
    return _VideoTransformer(embed, blocks, _tubelets.Head(width, bands, tubelet, variance))


class _VideoTransformer(nn.Module):
    """Embedding, encoder and decoder of one window of dates."""

    def __init__(
        self, embed: _tubelets.Embedding, blocks: nn.ModuleList, head: _tubelets.Head
    ) -> None:
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
        days = _tubelets.pad(days, extra)
        seen = _tubelets.pad(valid.bool(), extra, known=False)
        given = _tubelets.pad(prior, extra)
        missed = torch.where(seen, _tubelets.pad(cube, extra) - given, 0.0)
        optical = [
            missed,
            seen.expand(-1, -1, bands, -1, -1).to(cube.dtype),
            given,
            _tubelets.gaps(seen.any(dim=2), days).to(cube.dtype),
        ]
        radar = self._radar(cube, guide, guide_valid, extra)
        tokens = self.embed(optical, radar, days)
        for block in self.blocks:
            tokens = block(tokens)
        around = _tubelets.around(missed, seen.expand_as(missed).to(cube.dtype))
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
        seen = _tubelets.pad(guide_valid.bool(), extra, known=False)
        return [torch.where(seen, _tubelets.pad(guide, extra), 0.0), seen.to(cube.dtype)]


class _Block(nn.Module):
    """A transformer block: attention and a perceptron, each after a norm and added."""

    def __init__(self, width: int, heads: int, over: Over, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.before_attention = nn.LayerNorm(width, eps=_tubelets.EPS)
        self.attention = _Attention(width, heads, over)
        self.before_mlp = nn.LayerNorm(width, eps=_tubelets.EPS)
        self.mlp = nn.Sequential(
            _tubelets.linear(width, 4 * width), nn.GELU(), _tubelets.linear(4 * width, width)
        )

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
        self.ask = _tubelets.linear(width, width)
        self.tell = _tubelets.linear(width, 2 * width)  # what is compared, what is passed on
        self.out = _tubelets.linear(width, width)

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


def _encoder(
    width: int, depth: int, heads: int, attention: Encoder, drop_path: float
) -> nn.ModuleList:
    """Return the blocks; more and more samples skip the later ones in training."""
    halves: tuple[Over, Over] = ("space", "time") if attention == "factorised" else ("joint",) * 2
    return nn.ModuleList(
        _Block(width, heads, halves[2 * i >= depth], drop_path * i / (depth - 1))
        for i in range(depth)
    )
