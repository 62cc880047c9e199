"""Attention in windows of tokens, shifted every other block, at any size of the image.

Tokens are ``(n, y, x, c)``. Where a side is no whole number of windows, the last windows are
filled up with tokens that nobody looks at; where a window has wrapped around the edge by the shift,
its parts do not see each other. Both follow from the tensor's own size, so none is stored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Merge", "Swin", "Unmix"]

HEAD = 32  # channels a head, as in every Swin transformer


def into_windows(tokens: Tensor, window: int, shift: tuple[int, int]) -> Tensor:
    """Return the windows (n · windows, window², c) of ``tokens`` (n, y, x, c)."""
    n, y, x, c = tokens.shape
    tokens = functional.pad(tokens, (0, 0, 0, -x % window, 0, -y % window))
    if any(shift):
        tokens = tokens.roll((-shift[0], -shift[1]), (1, 2))
    down, across = -(-y // window), -(-x // window)
    # (n, down, window, across, window, c) -> (n, down, across, window, window, c)
    tokens = tokens.reshape(n, down, window, across, window, c).transpose(2, 3)
    return tokens.reshape(-1, window * window, c)


def from_windows(windows: Tensor, window: int, shift: tuple[int, int], like: Tensor) -> Tensor:
    """Return the tokens (n, y, x, c), as many as ``like`` has, of ``windows``."""
    n, y, x, _ = like.shape
    down, across = -(-y // window), -(-x // window)
    # (n, down, across, window, window, c) -> (n, down, window, across, window, c)
    tokens = windows.reshape(n, down, across, window, window, -1).transpose(2, 3)
    tokens = tokens.reshape(n, down * window, across * window, -1)
    if any(shift):
        tokens = tokens.roll(shift, (1, 2))
    return tokens[:, :y, :x]


def shift_of(tokens: Tensor, window: int) -> tuple[int, int]:
    """Return half a window along each side, but none along a side that is a single window."""
    _, y, x, _ = tokens.shape
    return (window // 2 if y > window else 0, window // 2 if x > window else 0)


def strangers(tokens: Tensor, window: int, shift: tuple[int, int]) -> Tensor | None:
    """Return which tokens of a window do not see each other (windows, 1, window², window²).

    None where all of them do. Every token sees at least itself, filling ones too: a row without
    any would become NaN.
    """
    _, y, x, _ = tokens.shape
    if not any(shift) and y % window == 0 and x % window == 0:
        return None
    down, across = (
        _sides(size, window, by, tokens.device) for size, by in ((y, shift[0]), (x, shift[1]))
    )
    kinds = 3 * down[:, None] + across
    # (down, window, across, window) -> (windows, window²)
    kinds = kinds.reshape(len(down) // window, window, -1, window).transpose(1, 2)
    kinds = kinds.reshape(-1, window * window)
    return kinds[:, None, :, None].ne(kinds[:, None, None])


def _sides(size: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Return along one side, rolled by ``shift``: 0 inside, 1 wrapped around, 2 filled up."""
    whole = -(-size // window) * window
    place = torch.arange(whole, device=device)
    kind = (place >= whole - shift).long()
    return torch.where((place + shift) % whole >= size, 2, kind)


class Position(nn.Module):
    """Scores a pair of tokens has by their places: (heads, window², window²)."""

    rows: Tensor

    def __init__(self, window: int, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        place = torch.arange(window)
        apart = place[:, None] - place + window - 1  # (from, to), 0 and up
        # (y from, x from, y to, x to): the row of the table that holds this step
        rows = apart[:, None, :, None] * (2 * window - 1) + apart[None, :, None, :]
        self.register_buffer("rows", rows.reshape(window**2, window**2), persistent=False)

    def forward(self) -> Tensor:
        """Return the scores."""
        return self.table[self.rows].permute(2, 0, 1)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, apart: Tensor | None) -> Tensor:
    """Return the mean of ``value`` that ``query`` finds by ``key``: all (n · windows, window², c).

    ``query`` and ``key`` may have more channels than ``value``; those of a head lie together.
    """
    many, tokens, _ = query.shape
    query, key, value = (
        one.reshape(many, tokens, len(bias), -1).transpose(1, 2) for one in (query, key, value)
    )
    scores = query @ key.transpose(2, 3) + bias  # (n · windows, heads, window², window²)
    if apart is not None:
        scores = scores.reshape(-1, len(apart), *scores.shape[1:])  # (n, windows, heads, ...)
        scores = scores.masked_fill(apart, -torch.inf).flatten(0, 1)
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class Perceptron(nn.Sequential):
    """Norm and two layers as wide as the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )


class SwinBlock(nn.Module):
    """Tokens look at those of their window; then a perceptron."""

    def __init__(self, width: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        heads = max(1, width // HEAD)
        self.scale = (width // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.position = Position(window, heads)
        self.look = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.perceptron = Perceptron(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the new tokens (n, y, x, c)."""
        shift = shift_of(tokens, self.window) if self.shifted else (0, 0)
        apart = strangers(tokens, self.window, shift)
        windows = into_windows(self.norm(tokens), self.window, shift)
        query, key, value = self.look(windows).chunk(3, -1)
        found = attend(query * self.scale, key, value, self.position(), apart)
        tokens = tokens + from_windows(self.project(found), self.window, shift, tokens)
        out: Tensor = tokens + self.perceptron(tokens)
        return out


class UnmixBlock(nn.Module):
    """The change of the coarse image, gathered from where coarse0 is like fine0 and coarse1.

    The product of two softmaxes, normed again, is the softmax of the sum of their scores, and that
    is one attention whose queries and keys are put together from both: exact, with no constant
    against division by zero, which would let tokens in that are not to be seen.
    """

    def __init__(self, width: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        self.heads = max(1, width // HEAD)
        self.scale = (width // self.heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.position = Position(window, self.heads)
        self.query = nn.Linear(width, 2 * width)
        self.fine_key = nn.Linear(width, width)
        self.coarse_key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.perceptron = Perceptron(width)

    def forward(self, change: Tensor, coarse0: Tensor, fine0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the new change (n, y, x, c)."""
        shift = shift_of(change, self.window) if self.shifted else (0, 0)
        apart = strangers(change, self.window, shift)
        value, start, fine, end = (
            into_windows(one, self.window, shift)
            for one in (self.norm(change), coarse0, fine0, coarse1)
        )
        # A head's channels of both keys side by side: (n · windows, window², heads, 2, c / heads)
        keys = (self.fine_key(fine), self.coarse_key(end))
        key = torch.stack([one.unflatten(2, (self.heads, -1)) for one in keys], 3).flatten(2)
        query = self.query(start) * self.scale
        found = attend(query, key, self.value(value), self.position(), apart)
        change = change + from_windows(self.project(found), self.window, shift, change)
        out: Tensor = change + self.perceptron(change)
        return out


class Swin(nn.Sequential):
    """Blocks of attention, every other one shifted."""

    def __init__(self, width: int, depth: int, window: int) -> None:
        super().__init__(*(SwinBlock(width, window, i % 2 == 1) for i in range(depth)))


class Unmix(nn.Module):
    """The unmixing module: fine0 with the gathered change of the coarse images on it."""

    def __init__(self, width: int, depth: int, window: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.blocks = nn.ModuleList(UnmixBlock(width, window, i % 2 == 1) for i in range(depth))

    def forward(self, coarse0: Tensor, fine0: Tensor, coarse1: Tensor) -> Tensor:
        """Return the tokens of the fine image at the target date (n, y, x, c)."""
        change, images = coarse1 - coarse0, (coarse0, fine0, coarse1)
        normed = [norm(image) for norm, image in zip(self.norms, images, strict=True)]
        for block in self.blocks:
            change = block(change, *normed)
        return change + fine0


class Merge(nn.Module):
    """Every 2 × 2 tokens become one."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, out, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens (n, y / 2, x / 2, out)."""
        n, y, x, c = tokens.shape
        # (n, y / 2, 2, x / 2, 2, c) -> (n, y / 2, x / 2, 2, 2, c)
        tokens = tokens.reshape(n, y // 2, 2, x // 2, 2, c).transpose(2, 3)
        out: Tensor = self.reduce(self.norm(tokens.flatten(3)))
        return out
