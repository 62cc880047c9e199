"""The ``.stf`` accessor: one line of work a verb.

The verbs are imported when called: ``import xstf`` is to be quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from xstf._method import Method


class StfAccessor:
    """Fusion of a cube with others; the functions of :mod:`xstf` as methods."""

    def __init__(self, cube: Any) -> None:
        self._cube = cube

    # Signatures are written out, not passed through, so that editors complete them.
    def fuse(
        self,
        coarse: xr.DataArray | xr.Dataset,
        *,
        time: Any = None,
        method: str | Method = "auto",
        mask: xr.DataArray | None = None,
        coarse_mask: xr.DataArray | None = None,
        pair_tolerance: str = "1D",
        coarse_resolution: float | None = None,
        engine: str | None = None,
        device: str | None = None,
        return_quality: bool = False,
        progress: bool = False,
        **params: Any,
    ) -> Any:
        """Call :func:`xstf.fuse` with this cube as `fine`."""
        from xstf.api import fuse

        return fuse(
            self._cube, coarse, time=time, method=method, mask=mask, coarse_mask=coarse_mask,
            pair_tolerance=pair_tolerance, coarse_resolution=coarse_resolution, engine=engine,
            device=device, return_quality=return_quality, progress=progress, **params,
        )  # fmt: skip

    def evaluate(
        self,
        coarse: xr.DataArray | xr.Dataset,
        *,
        methods: Sequence[str | Method] | None = None,
        time: Any = None,
        truth: xr.DataArray | xr.Dataset | None = None,
        baselines: bool = True,
        pair_tolerance: str = "1D",
        **options: Any,
    ) -> xr.Dataset:
        """Call :func:`xstf.evaluate_fusion` with this cube as `fine`."""
        from xstf.evaluate import evaluate_fusion

        return evaluate_fusion(
            self._cube, coarse, methods=methods, time=time, truth=truth, baselines=baselines,
            pair_tolerance=pair_tolerance, **options,
        )  # fmt: skip


xr.register_dataarray_accessor("stf")(StfAccessor)
xr.register_dataset_accessor("stf")(StfAccessor)
