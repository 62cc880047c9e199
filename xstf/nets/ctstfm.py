"""CTSTFM: two streams of multi-kernel blocks that exchange what they look for, channel by channel.

Every tensor is ``(n, channel, y, x)``. All attention is between channels, so that cost and memory
grow with the number of pixels, not with its square; see :mod:`xstf.methods.fuse.ctstfm` for the
equations and for what is our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["build"]

GROUPS = 4  # of channels that are normalised together
KERNELS = (3, 5, 7)
# Below the squared length of any normalised channel that is not constant.
TINY = 1e-6


def _tokens(image: Tensor) -> Tensor:
    """Return the pixels of images as rows: ``(n, pixel, c)``; a view if channels come last."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def _mixed(matrix: Tensor, image: Tensor) -> Tensor:
    """Return images whose channels are mixed by a matrix an image, ``(n, c, c)``."""
    tokens = _tokens(image) @ matrix.mT
    # (n, p, c) -> (n, c, y, x). By mT and unflatten(2) a batch of 1 would lose its channels last.
    return tokens.view(len(image), *image.shape[2:], -1).permute(0, 3, 1, 2)


def _gram(left: Tensor, right: Tensor) -> Tensor:
    """Return the mean over pixels of products of channels, ``(n, c, c)``."""
    tokens = _tokens(left)
    return tokens.mT @ _tokens(right) / tokens.shape[1]


def _depthwise(width: int, side: int, *, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(width, width, side, padding=side // 2, groups=width, bias=bias)


class Residual(nn.Module):
    """An image plus two convolutions of it, normalised and bent in between (BRB)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.outer = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same shape."""
        change: Tensor = self.outer(functional.gelu(self.norm(self.inner(image))))
        return image + change


class ChannelWeights(nn.Module):
    """An image whose channels are weighted by what three kernel sizes respond to (MKCB)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(_depthwise(width, side, bias=True) for side in KERNELS)
        self.squeeze = nn.Linear(len(KERNELS) * width, width // 2)
        self.excite = nn.Linear(width // 2, width)

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same shape."""
        responses = (kernel(image) for kernel in self.kernels)
        pooled = torch.cat([r.mean((2, 3)) + r.amax((2, 3)) for r in responses], 1)  # (n, 3c)
        weights: Tensor = self.excite(functional.gelu(self.squeeze(pooled)))  # (n, c)
        return image * weights.sigmoid()[:, :, None, None]


class PixelWeights(nn.Module):
    """An image whose pixels are weighted by their importance, 1 on average (MKSB)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(
            _depthwise(width, side, bias=side == KERNELS[0]) for side in KERNELS
        )
        self.residual = Residual(width)

    def kernel(self) -> Tensor:
        """Return the three kernels as one of the largest size, ``(c, 1, 7, 7)``."""
        largest = KERNELS[-1]
        padded = [
            functional.pad(kernel.get_parameter("weight"), [(largest - side) // 2] * 4)
            for kernel, side in zip(self.kernels, KERNELS, strict=True)
        ]
        return torch.stack(padded).sum(0)

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same shape."""
        # The sum of three convolutions is one by the sum of the kernels: a third of the passes.
        kernel, bias = self.kernel(), self.kernels[0].get_parameter("bias")
        responses = functional.conv2d(
            image, kernel, bias, padding=KERNELS[-1] // 2, groups=len(kernel)
        )
        scores: Tensor = self.residual(responses)
        # A softmax over pixels would shrink with the tile. Divided by its mean it does not; and the
        # mean is over strided pixels in softmax(), ten times slower.
        weights = (scores - scores.detach().amax((2, 3), keepdim=True)).exp()
        return image * weights * weights.mean((2, 3), keepdim=True).reciprocal()


def _square(width: int) -> nn.Parameter:
    """Return the weights of a 1 x 1 convolution without bias, ``(c, c)``."""
    return nn.Parameter(torch.empty(width, width).uniform_(-(width**-0.5), width**-0.5))


class Scores(nn.Module):
    """How much each channel attends to each, from mean products of channels.

    With ``Q = W_q X`` and ``K = W_k Y`` is ``Q K^T = W_q (X Y^T) W_k^T``: the products of the
    channels are all that is needed of the pixels, images of queries and keys are never made.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key = _square(width), _square(width)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, queries: Tensor, keys: Tensor, products: Tensor) -> Tensor:
        """Return weights, ``(n, head, c / head, c / head)``; rows sum to 1.

        Parameters
        ----------
        queries, keys
            Mean products of the channels of X, and of Y, with themselves, ``(n, c, c)``.
        products
            Mean products of the channels of X with those of Y, ``(n, c, c)``.
        """
        heads = len(self.temperature)
        width = len(self.query)
        query = self.query.view(heads, -1, width)  # (c, c) -> (head, c / head, c)
        key = self.key.view(heads, -1, width)
        scores = torch.einsum("hdi,nij,hej->nhde", query, products, key)
        of_query = torch.einsum("hdi,nij,hdj->nhd", query, queries, query).clamp(min=TINY)
        of_key = torch.einsum("hdi,nij,hdj->nhd", key, keys, key).clamp(min=TINY)
        cosines = scores * (of_query[..., :, None] * of_key[..., None, :]).rsqrt()
        return (self.temperature * cosines).softmax(-1)


class Projection(nn.Module):
    """The matrix that makes values, attends, and projects them: ``W_o A W_v``, ``(n, c, c)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value, self.out = _square(width), _square(width)

    def forward(self, weights: Tensor) -> Tensor:
        """Return one matrix an image from ``(n, head, c / head, c / head)``."""
        heads, width = weights.shape[1], len(self.value)
        value = self.value.view(heads, -1, width)  # (c, c) -> (head, c / head, c)
        out = self.out.view(width, heads, -1)  # (c, c) -> (c, head, c / head)
        return torch.einsum("ohd,nhde,hei->noi", out, weights, value)


class Exchange(nn.Module):
    """Both streams, each looked up with the other's queries (CETB)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.coarse_norm, self.fine_norm = (nn.GroupNorm(GROUPS, width) for _ in range(2))
        self.coarse_scores, self.fine_scores = (Scores(width, heads) for _ in range(2))
        self.coarse_projection, self.fine_projection = (Projection(width) for _ in range(2))
        self.coarse_residual, self.fine_residual = (Residual(width) for _ in range(2))

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams, of the same shapes."""
        coarse, fine = self.coarse_norm(coarse), self.fine_norm(fine)
        of_coarse, of_fine, cross = _gram(coarse, coarse), _gram(fine, fine), _gram(coarse, fine)
        coarse_weights = self.coarse_scores(of_fine, of_coarse, cross.mT)
        fine_weights = self.fine_scores(of_coarse, of_fine, cross)
        coarse_found = _mixed(self.coarse_projection(coarse_weights), coarse)
        fine_found = _mixed(self.fine_projection(fine_weights), fine)
        return self.coarse_residual(coarse_found) + coarse, self.fine_residual(fine_found) + fine


class Common(nn.Module):
    """Both streams, mixed by the attention that their sum pays to itself (CFTB)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.coarse_norm, self.fine_norm = (nn.GroupNorm(GROUPS, width) for _ in range(2))
        self.residual = Residual(width)
        self.scores = Scores(width, heads)
        self.coarse_projection, self.fine_projection = (Projection(width) for _ in range(2))
        self.coarse_residual, self.fine_residual = (Residual(width) for _ in range(2))

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams, of the same shapes."""
        coarse, fine = self.coarse_norm(coarse), self.fine_norm(fine)
        both = self.residual(coarse + fine)
        products = _gram(both, both)
        weights = self.scores(products, products, products)
        coarse_found = _mixed(self.coarse_projection(weights), coarse)
        fine_found = _mixed(self.fine_projection(weights), fine)
        return self.coarse_residual(coarse_found) + coarse, self.fine_residual(fine_found) + fine


class Fusion(nn.Module):
    """Both streams plus what they learn of each other (BFB)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.coarse_residual, self.fine_residual = (Residual(width) for _ in range(2))
        self.exchange = Exchange(width, heads)
        self.common = Common(width, heads)

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams, of the same shapes."""
        exchanged = self.exchange(self.coarse_residual(coarse), self.fine_residual(fine))
        to_coarse, to_fine = self.common(*exchanged)
        return to_coarse + coarse, to_fine + fine


class Block(nn.Sequential):
    """An image plus what its channels and pixels of importance make of it (BEB)."""

    def __init__(self, width: int) -> None:
        super().__init__(Residual(width), ChannelWeights(width), PixelWeights(width))

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same shape."""
        weighted = image
        for layer in self:
            weighted = layer(weighted)
        return weighted + image


class Ctstfm(nn.Module):
    """The change of a fine image, from it and the target date's coarse one.

    Parameters
    ----------
    bands
        Bands of every image.
    width
        Channels of either stream, in all layers.
    encoders, fusions
        Blocks a stream, and blocks of both.
    heads
        Groups of channels that attend within.
    """

    def __init__(self, bands: int, width: int, encoders: int, fusions: int, heads: int) -> None:
        super().__init__()
        if width % heads or width % GROUPS:
            raise ValueError(f"width {width} must be whole in heads ({heads}) and in {GROUPS}")
        self.coarse_encoder, self.fine_encoder = (
            nn.Sequential(nn.Conv2d(bands, width, 1), *(Block(width) for _ in range(encoders)))
            for _ in range(2)
        )
        self.fusions = nn.ModuleList(Fusion(width, heads) for _ in range(fusions))
        last = nn.Conv2d(width, bands, 1)
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * width, width, 1),
            nn.GroupNorm(GROUPS, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.GELU(),
            last,
        )
        # The first answer is no change; the second step of training reaches every layer.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.get_parameter("bias"))

    def forward(self, fine0: Tensor, coarse0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the change to add to the base image, ``(n, band, y, x)``; not of `coarse0`."""
        # Channels last: convolutions on a processor take half the time.
        coarse = self.coarse_encoder(coarse1.contiguous(memory_format=torch.channels_last))
        fine = self.fine_encoder(fine0.contiguous(memory_format=torch.channels_last))
        for fusion in self.fusions:
            coarse, fine = fusion(coarse, fine)
        change: Tensor = self.decoder(torch.cat([coarse, fine], 1))
        return change


def build(
    *, bands: int, width: int = 32, encoders: int = 3, fusions: int = 3, heads: int = 4
) -> nn.Module:
    """Return the network; its first answer, before training, is no change.

    Parameters
    ----------
    bands
        Bands of every image.
    width
        Channels of either stream; whole in `heads` and in 4.
    encoders, fusions
        Blocks a stream, and blocks of both.
    heads
        Groups of channels that attend within.
    """
    return Ctstfm(bands, width, encoders, fusions, heads)
