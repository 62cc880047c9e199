"""What a task makes of labelled cubes, so that one loop can train any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xstf._method import Recipe

Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a network learns from, as a task sees it.

    Parameters
    ----------
    draw
        ``draw(rng)`` → a batch of training samples.
    steps
        Optimiser steps that see about every pixel once.
    held
        ``held()`` → batches that are not trained on, the same every time.
    learn
        ``learn(net, batch)`` → the loss to go down, and the estimate ``(n, band, y, x)``.
    estimate
        ``estimate(net, batch)`` → the estimate, as it will be used.
    span
        ``(band,)``: what one unit of the estimate is in the units of the cubes.
    score
        ``score(net, device)`` → the error on what is held out, where that is another than the mean
        absolute one of `estimate`; in the units of the cubes.
    """

    draw: Callable[[np.random.Generator], Batch]
    steps: int
    held: Callable[[], Iterator[Batch]]
    learn: Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
    estimate: Callable[[nn.Module, Batch], Tensor]
    span: Tensor
    score: Callable[[nn.Module, torch.device], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a task makes of labelled cubes for the training of one network.

    Parameters
    ----------
    bands
        Labels, as text.
    build
        What the network is built with because the cubes are as they are, besides the bands.
    low, high
        How values are scaled, a band each.
    ratio
        Coarse over fine pixel size; 1 where there is one grid.
    side
        ``side(recipe)`` → the side of patches: the recipe's, unless the cubes are smaller.
    study
        ``study(recipe, features)`` → what is learned from; `features` is a trained autoencoder
        where the loss looks at one, else None.
    base
        What the network's answer is added to.
    held
        What is held out, in words.
    extra
        What else the method needs to know when it runs; JSON.
    judge
        ``judge(recipe, net, device)`` → more of `extra`, found with the trained network.
    """

    bands: tuple[str, ...]
    build: dict[str, Any] = field(default_factory=dict)
    low: tuple[float, ...]
    high: tuple[float, ...]
    ratio: float
    side: Callable[[Recipe], int]
    study: Callable[[Recipe, Any], Study]
    base: str
    held: str
    extra: dict[str, Any] = field(default_factory=dict)
    judge: Callable[[Recipe, nn.Module, torch.device], dict[str, Any]] | None = None


def turned(images: np.ndarray, which: int) -> np.ndarray:
    """Return images turned and mirrored in one of eight ways."""
    if which & 1:
        images = images[..., ::-1]
    if which & 2:
        images = images[..., ::-1, :]
    return np.ascontiguousarray(images.swapaxes(-1, -2) if which & 4 else images)
