"""What all tasks do with patches: read, turn, stack, and count them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from xstf._recipe import Recipe
from xstf.cubes.arrays import Array
from xstf.cubes.pairs import DateLike
from xstf.tiles.gpu import to_host
from xstf.tiles.run import compute_now
from xstf.train.task import Batch

# A patch with a smaller clear share teaches little. Another position is tried, so many times.
CLEAR, TRIES = 0.3, 10

Patch = dict[str, np.ndarray]


def read_now(array: Array) -> np.ndarray:
    """Return an array in host memory."""
    found: np.ndarray = to_host(compute_now({"": array})[""])
    return found


def turned(images: np.ndarray, turn: int) -> np.ndarray:
    """Return images turned and mirrored in one of eight ways."""
    if turn & 1:
        images = images[..., ::-1]
    if turn & 2:
        images = images[..., ::-1, :]
    return np.ascontiguousarray(images.swapaxes(-1, -2) if turn & 4 else images)


def stack(patches: Sequence[Mapping[str, np.ndarray]]) -> Batch:
    """Return patches as one batch."""
    return {name: torch.from_numpy(np.stack([p[name] for p in patches])) for name in patches[0]}


def require_patches(patches: Sequence[Patch], side: int, tries: int) -> None:
    """Raise ValueError if there is no patch."""
    if not patches:
        raise ValueError(
            f"found no clear patch of {side} x {side} pixels to train on in {tries} tries; train "
            "with a smaller patch="
        )


def fitting_side(recipe: Recipe, room: int, multiple: int) -> int:
    """Return the side of patches: the recipe's or what there is room for, whole in a multiple."""
    side = min(recipe.patch, room) // multiple * multiple
    if side < 1:
        raise ValueError(
            f"the network needs patches of {multiple} pixels or more; there are {room}"
        )
    return side


def steps_to_cover(pixels: int, side: int, recipe: Recipe, *, dates: int = 1) -> int:
    """Return how many optimiser steps of patches of some dates see about every pixel once."""
    return max(1, round(pixels / (dates * side * side * recipe.batch)))


def days_of(dates: DateLike) -> np.ndarray:
    """Return dates as an array of days."""
    return np.atleast_1d(np.asarray(dates, "datetime64[D]"))


def whole_days(places: Iterable[int], days: np.ndarray) -> list[int]:
    """Return places among dates, with all others of their days: those show the same."""
    found: list[int] = np.flatnonzero(np.isin(days, days[list(places)])).tolist()
    return found
