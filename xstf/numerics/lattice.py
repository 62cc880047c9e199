"""Where a network's tiles lie: a lattice of the whole image, the same whatever its chunks.

A network that looks at its whole tile gives another answer on another tile. So tiles do not follow
chunks: tile ``k`` along an axis answers for the pixels from ``k`` to ``k + 1`` strides, the stride
being the tile's side less the overlap, and sees half an overlap more on either side. At the ends of
the image tiles are shifted inwards, so that all are of one size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Lattice:
    """Tiles of one side over an image.

    Parameters
    ----------
    side
        Of a tile, in pixels.
    overlap
        Pixels that neighbouring tiles share; even, below the side.
    whole
        ``(y, x)`` of the image.
    multiple
        The sides of tiles are whole in it; an image smaller than a tile is filled up to it.
    """

    side: int
    overlap: int
    whole: tuple[int, int]
    multiple: int = 1

    @property
    def stride(self) -> int:
        """Pixels from one tile to the next."""
        return self.side - self.overlap

    def extent(self, axis: int) -> int:
        """Return the side of tiles along an axis: less than `side` in a smaller image."""
        fitting = -(-self.whole[axis] // self.multiple) * self.multiple
        return min(self.side, fitting)

    def count(self, axis: int) -> int:
        """Return how many tiles there are along an axis."""
        if self.whole[axis] <= self.side:
            return 1
        return max(1, -(-(self.whole[axis] - self.overlap // 2) // self.stride))

    def window(self, k: int, axis: int) -> slice:
        """Return the pixels that tile ``k`` sees; beyond the image only if that is smaller."""
        last = max(0, self.whole[axis] - self.side)
        start = min(max(k * self.stride - self.overlap // 2, 0), last)
        return slice(start, start + self.extent(axis))

    def core(self, k: int, axis: int) -> slice:
        """Return the pixels that tile ``k`` answers for."""
        last = k == self.count(axis) - 1
        return slice(k * self.stride, self.whole[axis] if last else (k + 1) * self.stride)

    def tiles(self, wanted: Window, *, blend: bool) -> list[tuple[int, int]]:
        """Return the tiles that a part of the image needs; if blended, all that see it."""
        look = self.window if blend else self.core
        along = [
            [
                k
                for k in range(self.count(axis))
                if look(k, axis).start < part.stop and look(k, axis).stop > part.start
            ]
            for axis, part in enumerate(wanted)
        ]
        return [(row, col) for row in along[0] for col in along[1]]

    def ramp(self, k: int, axis: int) -> np.ndarray:
        """Return the weights of a tile's pixels along an axis: 1 inside, falling where it meets."""
        window = self.window(k, axis)
        at = np.arange(window.start, window.stop) + 0.5
        weight = np.ones(len(at))
        if k > 0:
            shared = self.window(k - 1, axis).stop - window.start
            weight = np.minimum(weight, (at - window.start) / max(shared, 1))
        if k < self.count(axis) - 1:
            shared = window.stop - self.window(k + 1, axis).start
            weight = np.minimum(weight, (window.stop - at) / max(shared, 1))
        # Of a smooth step, so that the slope of the blend does not jump either.
        smooth: np.ndarray = weight * weight * (3 - 2 * weight)
        return smooth.astype(np.float32)
