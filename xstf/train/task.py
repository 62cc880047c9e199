"""What a task makes of labelled cubes, so that one loop can train any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from xstf._recipe import Recipe

Batch: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What a network learns from and what it is scored on.

    Parameters
    ----------
    draw
        ``draw(rng)`` → a batch of training samples.
    steps
        Optimiser steps that see about every pixel once.
    held_out
        ``held_out()`` → batches that are not trained on, the same every time.
    learn
        ``learn(net, batch)`` → the loss, and the estimate ``(n, band, y, x)``.
    estimate
        ``estimate(net, batch)`` → the estimate, as it will be used.
    span
        ``(band,)``: one unit of the estimate in the units of the cubes.
    score
        ``score(net, device)`` → the error on held-out data in the units of the cubes. Default: the
        mean absolute error of `estimate`.
    """

    draw: Callable[[np.random.Generator], Batch]
    steps: int
    held_out: Callable[[], Iterator[Batch]]
    learn: Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
    estimate: Callable[[nn.Module, Batch], Tensor]
    span: Tensor
    score: Callable[[nn.Module, torch.device], float] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What `fit` needs to know of labelled cubes in order to train one network on them.

    Parameters
    ----------
    bands
        Labels, as text.
    build
        Arguments of the network's ``build`` that follow from the cubes, besides the bands.
    low, high
        How values are scaled, a band each.
    ratio
        Coarse over fine pixel size; 1 where there is one grid.
    side
        ``side(recipe)`` → the side of patches: the recipe's, unless the cubes are smaller.
    supervise
        ``supervise(recipe, features)`` → what is learned from; `features` is a trained autoencoder
        where the loss needs one, else None.
    base
        What the network's output is added to.
    held_out_text
        What is held out, in words.
    extra
        What else the method needs to know when it runs; JSON.
    finish
        ``finish(recipe, net, device)`` → more of `extra`, found with the trained network.
    """

    bands: tuple[str, ...]
    build: dict[str, Any] = field(default_factory=dict)
    low: tuple[float, ...]
    high: tuple[float, ...]
    ratio: float
    side: Callable[[Recipe], int]
    supervise: Callable[[Recipe, nn.Module | None], Supervision]
    base: str
    held_out_text: str
    extra: dict[str, Any] = field(default_factory=dict)
    finish: Callable[[Recipe, nn.Module, torch.device], dict[str, Any]] | None = None
