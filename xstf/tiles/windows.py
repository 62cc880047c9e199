"""A tile of the fine grid and the parts of both nested grids that it needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NestedWindows:
    """Cuts tiles on coarse-pixel borders, with a halo of whole coarse pixels.

    Parameters
    ----------
    ratio, halo
        Of the nested grids, and of the method, in fine pixels.
    before
        Fine rows and columns from the corner of the coarse grid to that of the fine image.
    fine_shape, coarse_shape
        ``(y, x)`` of the whole images.
    """

    ratio: int
    halo: int
    before: tuple[int, int]
    fine_shape: tuple[int, int]
    coarse_shape: tuple[int, int]

    def cells(self, wanted: slice, axis: int) -> slice:
        """Return the coarse pixels that a tile and its halo touch along an axis."""
        start = (wanted.start + self.before[axis] - self.halo) // self.ratio
        stop = -(-(wanted.stop + self.before[axis] + self.halo) // self.ratio)
        return slice(max(start, 0), min(stop, self.coarse_shape[axis]))

    def coarse_window(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return the part of the coarse images that a tile needs."""
        return self.cells(rows, 0), self.cells(cols, 1)

    def fine_window(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return the part of the fine images that a tile needs: those coarse pixels' own."""
        y, x = (
            self._fine(self.cells(wanted, axis), axis) for axis, wanted in enumerate((rows, cols))
        )
        return y, x

    def _fine(self, cells: slice, axis: int) -> slice:
        start = cells.start * self.ratio - self.before[axis]
        stop = cells.stop * self.ratio - self.before[axis]
        return slice(max(start, 0), min(stop, self.fine_shape[axis]))

    def pad(self, fine: np.ndarray, rows: slice, cols: slice) -> tuple[tuple[int, int], np.ndarray]:
        """Fill up to whole coarse pixels with NaN; return where the block begins, and it."""
        cells = self.coarse_window(rows, cols)
        windows = self.fine_window(rows, cols)
        start = [c.start * self.ratio - b for c, b in zip(cells, self.before, strict=True)]
        size = [(c.stop - c.start) * self.ratio for c in cells]
        if size == list(fine.shape[-2:]):
            return (start[0], start[1]), fine
        whole = np.full_like(fine[:1], np.nan, shape=(*fine.shape[:2], *size))
        place = [shift(w, s) for w, s in zip(windows, start, strict=True)]
        whole[..., place[0], place[1]] = fine
        return (start[0], start[1]), whole


def shift(wanted: slice, origin: int) -> slice:
    """Return a slice as seen from an origin."""
    return slice(wanted.start - origin, wanted.stop - origin)
