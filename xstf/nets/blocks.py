"""Pieces that several networks are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import batch_norm

__all__ = ["BatchNorm", "conv", "start_at_zero"]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that goes by its running statistics where a batch is one value.

    Deep layers see a small tile as one pixel, and one tile alone has no variance there.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return the image normalised, ``(n, c, y, x)`` as it came."""
        if image.numel() > image.shape[1]:
            return super().forward(image)
        return batch_norm(
            image, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def conv(inputs: int, outputs: int, *, side: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that continues the image beyond its edge, so that its size stays.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    side : int
        Side of the kernel, odd.
    stride : int
        Step between outputs; a side of ``y`` pixels becomes one of ``ceil(y / stride)``.
    """
    return nn.Conv2d(
        inputs, outputs, side, stride=stride, padding=side // 2, padding_mode="replicate"
    )


def start_at_zero(layer: nn.Conv2d) -> nn.Conv2d:
    """Return the layer with weights of zero: an untrained network then leaves its base as it is.

    Only for the last layer of a network. In the first step nothing but that layer learns; from the
    second one on the gradient passes through it.
    """
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
