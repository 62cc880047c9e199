"""One tile of a sharpened cube: windows cut, bands that are missing everywhere put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xstf._engines import Runner, to_host
from xstf._flags import FILLED_IN_SPACE, MISSING
from xstf._windows import NestedWindows, shift
from xstf.methods.sharpen_spectral._response import register


@dataclass(frozen=True)
class SharpenTile(NestedWindows):
    """Makes tiles of one date; called as `_tiles.Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    std
        Whether the standard deviation and the flag are wanted.
    placed
        Whether the kernel is told where in the image its tile lies, as networks' are.
    """

    runner: Runner
    params: Any
    std: bool
    placed: bool = False

    def __call__(self, blocks: list[Any], rows: slice, cols: slice, states: list[Any]) -> Any:
        """Return ``(layer, band, rows, cols)``: the estimate, and if wanted its std and flag."""
        spatial, spectral = blocks[0][0], blocks[1][0]
        origin, padded = self.pad(spatial[None], rows, cols)
        inner = (shift(rows, origin[0]), shift(cols, origin[1]))
        state = states[0]()
        bands = state["bands"]
        size = (inner[0].stop - inner[0].start, inner[1].stop - inner[1].start)
        out = np.full_like(
            spatial[:1, :1, :1], np.nan,
            shape=(3 if self.std else 1, len(spectral), *size), dtype=np.float32,
        )  # fmt: skip
        if len(bands):
            moved = self._moved(padded[0], state)
            place = {"origin": origin, "whole": self.fine_shape} if self.placed else {}
            estimate, std = self.runner(
                np.ascontiguousarray(spectral[bands]), moved, ratio=self.ratio,
                params=self.params, state=state["method"], inner=inner, std=self.std, **place,
            )  # fmt: skip
            out[0][bands] = estimate
            if std is not None:
                out[1][bands] = std
        if self.std:
            out[2] = np.where(np.isnan(out[0]), MISSING, FILLED_IN_SPACE)
        return out

    def _moved(self, spatial: Any, state: dict[str, Any]) -> Any:
        """Return the spatial image as the spectral one lies."""
        if not state["shift"].any():
            return spatial
        return register(to_host(spatial), shift=state["shift"])
