"""EST-STFM: a pyramid of two streams whose channels attend to the few that fit them best.

Every tensor is ``(n, channel, y, x)``. All attention is between channels, so that cost and memory
grow with the number of pixels, not with its square; see :mod:`xstf.methods.fuse.eststfm` for the
equations and for what is our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["build"]

# Of the channels of a head, how many a channel attends to: the four masks.
SHARES = (1 / 2, 2 / 3, 3 / 4, 4 / 5)
KERNELS = (3, 5, 7)
# Below the squared length of any normalised channel that is not constant.
TINY = 1e-6


def _tokens(image: Tensor) -> Tensor:
    """Return the pixels of images as rows, ``(n, pixel, c)``; a view if channels come last."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def _resized(image: Tensor, like: Tensor) -> Tensor:
    """Return images at the size of others, bilinear between pixels, means of pixels if smaller."""
    if image.shape[2:] == like.shape[2:]:
        return image
    if image.shape[2] > like.shape[2]:
        return functional.avg_pool2d(image, image.shape[2] // like.shape[2])
    return functional.interpolate(image, like.shape[2:], mode="bilinear", align_corners=False)


def _conv(width: int, side: int) -> nn.Conv2d:
    """Return a convolution of each channel by itself."""
    return nn.Conv2d(width, width, side, padding=side // 2, groups=width)


class PixelNorm(nn.LayerNorm):
    """Images whose channels have mean 0 and variance 1 at every pixel, scaled and shifted."""

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same shape."""
        return super().forward(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mix(nn.Linear):
    """Images whose channels are mixed at every pixel: a 1 x 1 convolution, with less copying."""

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same size."""
        return super().forward(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Sparse(nn.Module):
    """What each channel of an image finds in the channels of another that fit it best.

    With ``Q = W_q X`` and ``K = W_k Y`` is ``Q K^T = W_q (X Y^T) W_k^T``, and the output is
    ``(W_o A W_v) Y``: images of queries, keys and values are never made.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Parameter(torch.empty(width, width).uniform_(-(width**-0.5), width**-0.5))
            for _ in range(4)
        )
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.shares = nn.Parameter(torch.zeros(len(SHARES)))

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return how channels attend, ``(n, head, c / head, c / head)``, from ``(n, p, c)``."""
        heads, width = len(self.temperature), len(self.query)
        query = self.query.view(heads, -1, width)  # (c, c) -> (head, c / head, c)
        key = self.key.view(heads, -1, width)
        of_queries, of_keys, products = (
            left.mT @ right / queries.shape[1]  # (n, c, c)
            for left, right in ((queries, queries), (keys, keys), (queries, keys))
        )
        scores = torch.einsum("hdi,nij,hej->nhde", query, products, key)
        query_length = torch.einsum("hdi,nij,hdj->nhd", query, of_queries, query).clamp(min=TINY)
        key_length = torch.einsum("hdi,nij,hdj->nhd", key, of_keys, key).clamp(min=TINY)
        lengths = query_length[..., :, None] * key_length[..., None, :]
        return self._masked(self.temperature * scores * lengths.rsqrt())

    def _masked(self, scores: Tensor) -> Tensor:
        """Return the mean, by learned weights, of softmaxes over each share's largest scores."""
        ranked = scores.sort(-1, descending=True).values
        total = torch.zeros_like(scores)
        for share, weight in zip(SHARES, self.shares.softmax(0), strict=True):
            kept = max(1, round(share * scores.shape[-1]))
            low = scores < ranked[..., kept - 1 : kept]
            total = total + weight * scores.masked_fill(low, -torch.inf).softmax(-1)
        return total

    def forward(self, image: Tensor, source: Tensor) -> Tensor:
        """Return an image of the same shape.

        Parameters
        ----------
        image
            What asks, ``(n, c, y, x)``.
        source
            What is asked, of the same shape.
        """
        tokens = _tokens(source)
        weights = self.weights(_tokens(image), tokens)
        heads, width = weights.shape[1], len(self.value)
        matrix = torch.einsum(
            "ohd,nhde,hei->noi",
            self.out.view(width, heads, -1),  # (c, c) -> (c, head, c / head)
            weights,
            self.value.view(heads, -1, width),  # (c, c) -> (head, c / head, c)
        )
        found = tokens @ matrix.mT
        # (n, p, c) -> (n, c, y, x), channels last
        return found.view(len(image), *image.shape[2:], width).permute(0, 3, 1, 2)


class Branches(nn.Module):
    """What kernels of three sizes, side by side, make of every pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.paths = nn.ModuleList(
            nn.Sequential(
                Mix(width, width),
                _conv(width, side),
                nn.GELU(),
                Mix(width, width),
            )
            for side in KERNELS
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the image plus all branches, of the same shape."""
        normed = self.norm(image)
        for path in self.paths:
            image = image + path(normed)
        return image


class Block(nn.Module):
    """Sparse attention of an image to itself, then the branches: one layer of an encoder."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.near = _conv(width, 3)
        self.attention = Sparse(width, heads)
        self.branches = Branches(width)

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same shape."""
        near = self.near(self.norm(image))
        out: Tensor = self.branches(image + self.attention(near, near))
        return out


class Encoder(nn.Module):
    """A stream's features at full size, half of it, a quarter, ..., twice as wide each time."""

    def __init__(self, channels: int, width: int, depths: tuple[int, ...], heads: int) -> None:
        super().__init__()
        levels: list[nn.Module] = []
        for level, depth in enumerate(depths):
            wide = width * 2**level
            enter = (
                nn.Conv2d(wide // 2, wide, 2, stride=2)
                if level
                else nn.Conv2d(channels, wide, 3, padding=1)
            )
            # As many channels a head at every level.
            blocks = (Block(wide, heads * 2**level) for _ in range(depth))
            levels.append(nn.Sequential(enter, *blocks))
        self.levels = nn.ModuleList(levels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each level, largest first."""
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features


class Fusion(nn.Module):
    """An image plus what it finds in both streams, at its own level and at the neighbouring one.

    Parameters
    ----------
    width
        Channels of the image.
    neighbour
        Channels of the neighbouring level.
    heads
        Groups of channels that attend within.
    """

    def __init__(self, width: int, neighbour: int, heads: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.enter = nn.ModuleList(Mix(w, width) for w in 2 * (width, neighbour))
        self.source_norms = nn.ModuleList(PixelNorm(width) for _ in range(4))
        self.attentions = nn.ModuleList(Sparse(width, heads) for _ in range(4))
        self.branches = Branches(width)

    def forward(self, image: Tensor, sources: list[Tensor]) -> Tensor:
        """Return an image of the same shape.

        Parameters
        ----------
        image
            What is decoded so far, ``(n, c, y, x)``.
        sources
            Fine features of this level and of its neighbour, then the coarse ones.
        """
        asked = self.norm(image)
        for source, enter, norm, attention in zip(
            sources, self.enter, self.source_norms, self.attentions, strict=True
        ):
            # Resizing and mixing commute; mixing is done where pixels are fewer.
            smaller = source.shape[2] < asked.shape[2]
            fit = _resized(enter(source), asked) if smaller else enter(_resized(source, asked))
            image = image + attention(asked, norm(fit))
        out: Tensor = self.branches(image)
        return out


class Eststfm(nn.Module):
    """The change of a fine image, from it and the coarse images of its and the target date.

    Parameters
    ----------
    bands
        Bands of every image.
    width
        Channels at full size.
    depths
        Blocks a stream at each level; two levels or more.
    heads
        Groups of channels that attend within, at full size.
    """

    def __init__(self, bands: int, width: int, depths: tuple[int, ...], heads: int) -> None:
        super().__init__()
        if len(depths) < 2 or min(depths) < 1:
            raise ValueError(f"depths must be 1 or more at two levels or more, not {depths}")
        if width % heads:
            raise ValueError(f"width {width} must be whole in heads ({heads})")
        self.fine = Encoder(bands, width, depths, heads)
        self.coarse = Encoder(2 * bands, width, depths, heads)
        widths = [width * 2**level for level in range(len(depths))]
        neighbours = [*widths[1:], widths[-2]]
        self.fusions = nn.ModuleList(
            Fusion(wide, neighbour, heads * 2**level)
            for level, (wide, neighbour) in enumerate(zip(widths, neighbours, strict=True))
        )
        self.up = nn.ModuleList(Mix(2 * wide, wide) for wide in widths[:-1])
        self.last = nn.Conv2d(width, bands, 3, padding=1)
        # The first answer is no change; the second step of training reaches every layer.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.get_parameter("bias"))

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change to add to the base image, ``(n, band, y, x)``."""
        # Channels last: convolutions on a processor take half the time.
        both = torch.cat([coarse1 - coarse0, coarse1], 1)
        fine = self.fine(fine0.contiguous(memory_format=torch.channels_last))
        coarse = self.coarse(both.contiguous(memory_format=torch.channels_last))
        deepest = len(fine) - 1
        image = fine[deepest] + coarse[deepest]
        for level in range(deepest, -1, -1):
            if level < deepest:
                image = _resized(self.up[level](image), fine[level])
                image = image + fine[level] + coarse[level]
            beside = level + 1 if level < deepest else level - 1
            sources = [fine[level], fine[beside], coarse[level], coarse[beside]]
            image = self.fusions[level](image, sources)
        change: Tensor = self.last(image)
        return change


def build(
    *, bands: int, width: int = 24, depths: tuple[int, ...] = (2, 2, 2), heads: int = 2
) -> nn.Module:
    """Return the network; its first answer, before training, is no change.

    Parameters
    ----------
    bands
        Bands of every image.
    width
        Channels at full size; twice as many at each smaller one. Whole in `heads`.
    depths
        Blocks a stream at each level; sides of images are whole in 2 to the levels but one.
    heads
        Groups of channels that attend within, at full size.
    """
    return Eststfm(bands, width, tuple(depths), heads)
