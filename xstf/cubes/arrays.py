"""What the arrays of a cube have in common, be they numpy's, dask's or cupy's."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import xarray as xr

# What users pass as a cube: an array, or a Dataset whose variables are its bands.
Labelled: TypeAlias = xr.DataArray | xr.Dataset


@runtime_checkable
class Array(Protocol):
    """An array of numpy, dask or cupy: what xstf asks of it before it knows which."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""

    @property
    def ndim(self) -> int:
        """How many axes it has."""

    def __getitem__(self, index: object, /) -> Any:
        """Return a part of it."""
