"""One tile of one date of a spatio-temporal-spectral fusion: three nested cubes cut alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import lcm
from typing import Any

import numpy as np

from xstf._engines import Runner
from xstf._flags import FUSED_ONE_PAIR, FUSED_TWO_PAIRS, MISSING
from xstf._windows import shift


@dataclass(frozen=True)
class StsTile:
    """Makes tiles of one date; called as `_tiles.Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    ratios
        Sharp pixels in a spectral and in a dense one.
    halo
        Of the method, in sharp pixels.
    shapes
        ``(y, x)`` of the sharp, the spectral and the dense cube; all start at one corner.
    times, target
        Days of the pairs, and of the date that is wanted.
    std
        Whether the standard deviation and the flag are wanted.
    placed
        Whether the kernel is told where in the image its tile lies, as networks' are.
    """

    runner: Runner
    params: Any
    ratios: tuple[int, int]
    halo: int
    shapes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    times: np.ndarray
    target: float
    std: bool
    placed: bool = False

    def window(self, cube: int) -> Any:
        """Return what a `Source` of a cube is cut by: 0 sharp, 1 spectral, 2 dense."""
        return partial(self._window, cube)

    def _window(self, cube: int, rows: slice, cols: slice) -> tuple[slice, slice]:
        y, x = (
            slice(min(b.start // self._ratio(cube), n), min(b.stop // self._ratio(cube), n))
            for b, n in zip(self._block(rows, cols), self.shapes[cube], strict=True)
        )
        return y, x

    def _ratio(self, cube: int) -> int:
        return (1, *self.ratios)[cube]

    def _block(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return a tile with its halo in sharp pixels, whole in both ratios."""
        step = lcm(*self.ratios)
        y, x = (
            slice(
                max(0, (part.start - self.halo) // step * step),
                min(-(-size // step), -(-(part.stop + self.halo) // step)) * step,
            )
            for part, size in zip((rows, cols), self.shapes[0], strict=True)
        )
        return y, x

    def __call__(self, blocks: list[Any], rows: slice, cols: slice, states: list[Any]) -> Any:
        """Return ``(layer, band, rows, cols)``: the estimate, and if wanted its std and flag."""
        block = self._block(rows, cols)
        size = [part.stop - part.start for part in block]
        sharp, spectral, dense = (
            _filled(images, [n // self._ratio(cube) for n in size])
            for cube, images in enumerate(blocks)
        )
        origin = (block[0].start, block[1].start)
        place = {"origin": origin, "whole": self.shapes[0]} if self.placed else {}
        state: dict[str, Any] = {}
        for part in states:
            state |= part()
        estimate, std = self.runner(
            spectral, dense, sharp, times=self.times, target=self.target, ratios=self.ratios,
            params=self.params, state=state, std=self.std,
            inner=(shift(rows, origin[0]), shift(cols, origin[1])), **place,
        )  # fmt: skip
        if not self.std:
            return estimate[None]
        flag = FUSED_TWO_PAIRS if len(self.times) > 1 else FUSED_ONE_PAIR
        return np.stack([estimate, std, np.where(np.isnan(estimate), MISSING, flag)])


def _filled(images: Any, size: list[int]) -> Any:
    """Return images filled up with NaN to a size."""
    if list(images.shape[2:]) == size:
        return images
    whole = np.full_like(images[:1], np.nan, shape=(*images.shape[:2], *size))
    whole[:, :, : images.shape[2], : images.shape[3]] = images
    return whole
