"""The type of an array that may be numpy's, dask's or cupy's."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

# What indexes an array: slices, positions, masks, several of them.
Index: TypeAlias = Any


class Array(Protocol):
    """What numpy, dask and cupy arrays have in common, as far as is asked of all three.

    Where an array must be numpy's, its type says ``np.ndarray``.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""

    @property
    def ndim(self) -> int:
        """How many axes it has."""

    @property
    def dtype(self) -> np.dtype:
        """Type of its values."""

    def __getitem__(self, key: Index, /) -> Any:
        """Return a part."""
