"""What estimates are cut to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias

import numpy as np

ClipLike: TypeAlias = bool | tuple[float | None, float | None] | None


@dataclass(frozen=True)
class Clip:
    """Bounds of estimates; observed pixels have none.

    Parameters
    ----------
    floor
        Whether an estimate is 0 or more where all that it is made of at that pixel is.
    low, high
        Bounds of all estimates, None for none.
    """

    floor: bool = True
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, clip: ClipLike) -> Clip:
        """Return what a verb's ``clip=`` says; raise if it says nothing that can be done."""
        if clip is None or isinstance(clip, bool | np.bool_):
            return cls(floor=clip is None or bool(clip))
        if isinstance(clip, str) or not isinstance(clip, tuple | list) or len(clip) != 2:
            raise TypeError(f"clip must be None, False or bounds such as (0, 1), not {clip!r}")
        bounds = [None if bound is None else _bound(bound) for bound in clip]
        low, high = bounds
        if low is not None and high is not None and not low < high:
            raise ValueError(f"clip={clip!r}: the lower bound comes first, below the upper one")
        return cls(False, low, high)

    def bounded(self, estimate: np.ndarray) -> np.ndarray:
        """Return an estimate within the bounds, NaN as it is."""
        if self.low is None and self.high is None:
            return estimate
        low, high = -np.inf if self.low is None else self.low, self.high
        cut: np.ndarray = estimate.clip(low, np.inf if high is None else high)
        return cut


def _bound(value: object) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or math.isnan(value):
        raise TypeError(f"a bound of clip must be a number or None, not {value!r}")
    return float(value)
