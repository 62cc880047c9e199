"""Types of arrays and cubes that may be of several kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import xarray as xr

# What users pass as a cube: an array, or a Dataset whose variables are its bands.
Labelled: TypeAlias = xr.DataArray | xr.Dataset

# Cubes that see through clouds: one, or several on grids and dates of their own.
Guides: TypeAlias = Labelled | Sequence[Labelled] | Mapping[str, Labelled]

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
