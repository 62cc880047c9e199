"""The ``.stf`` accessor: one line of work a verb.

The verbs are imported when called: ``import xstf`` is to be quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

if TYPE_CHECKING:
    from xstf._method import Method


class StfAccessor:
    """Fusion, gap filling and sharpening of a cube; the functions of :mod:`xstf` as methods."""

    def __init__(self, cube: Any) -> None:
        self._cube = cube

    # Signatures are written out, not passed through, so that editors complete them.
    def fuse(
        self,
        coarse: xr.DataArray | xr.Dataset,
        *,
        spatial: xr.DataArray | xr.Dataset | None = None,
        time: Any = None,
        method: str | Method = "auto",
        mask: xr.DataArray | None = None,
        coarse_mask: xr.DataArray | None = None,
        spatial_mask: xr.DataArray | None = None,
        pair_tolerance: str = "1D",
        coarse_resolution: float | None = None,
        engine: str | None = None,
        device: str | None = None,
        return_quality: bool = False,
        progress: bool = False,
        **params: Any,
    ) -> Any:
        """Call :func:`xstf.fuse` with this cube as `fine`."""
        from xstf.verbs.fuse import fuse

        return fuse(
            self._cube, coarse, spatial=spatial, time=time, method=method, mask=mask,
            coarse_mask=coarse_mask, spatial_mask=spatial_mask, pair_tolerance=pair_tolerance,
            coarse_resolution=coarse_resolution, engine=engine, device=device,
            return_quality=return_quality, progress=progress, **params,
        )  # fmt: skip

    def gapfill(
        self,
        sar: xr.DataArray | xr.Dataset | None = None,
        *,
        mask: xr.DataArray | None = None,
        method: str | Method = "auto",
        guide: xr.DataArray | xr.Dataset | None = None,
        max_gap: Any = None,
        smooth: bool = False,
        screen: bool | Literal["replace"] | None = None,
        certain: xr.DataArray | None = None,
        sar_units: Literal["dB", "linear"] | None = None,
        guide_tolerance: str = "12D",
        engine: str | None = None,
        device: str | None = None,
        return_quality: bool = False,
        progress: bool = False,
        **params: Any,
    ) -> Any:
        """Call :func:`xstf.gapfill` with this cube."""
        from xstf.verbs.gapfill import gapfill

        return gapfill(
            self._cube, sar, mask=mask, method=method, guide=guide, max_gap=max_gap, smooth=smooth,
            screen=screen, certain=certain, sar_units=sar_units, guide_tolerance=guide_tolerance,
            engine=engine, device=device, return_quality=return_quality, progress=progress,
            **params,
        )  # fmt: skip

    def sharpen_spectral(
        self,
        spatial: xr.DataArray | xr.Dataset,
        *,
        method: str | Method = "auto",
        srf: xr.DataArray | str | None = None,
        psf: float | None = None,
        register: bool = True,
        mask: xr.DataArray | None = None,
        spatial_mask: xr.DataArray | None = None,
        time_tolerance: str = "1D",
        engine: str | None = None,
        device: str | None = None,
        return_quality: bool = False,
        progress: bool = False,
        **params: Any,
    ) -> Any:
        """Call :func:`xstf.sharpen_spectral` with this cube as `spectral`."""
        from xstf.verbs.sharpen_spectral import sharpen_spectral

        return sharpen_spectral(
            self._cube, spatial, method=method, srf=srf, psf=psf, register=register,
            mask=mask, spatial_mask=spatial_mask, time_tolerance=time_tolerance, engine=engine,
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

    def evaluate_gapfill(
        self,
        sar: xr.DataArray | xr.Dataset | None = None,
        *,
        methods: Sequence[str | Method] | None = None,
        regimes: Sequence[Literal["partial", "persistent", "full"]] = (
            "partial",
            "persistent",
            "full",
        ),
        mask: xr.DataArray | None = None,
        days: float = 25.0,
        seed: int = 0,
        **options: Any,
    ) -> xr.Dataset:
        """Call :func:`xstf.evaluate_gapfill` with this cube."""
        from xstf.evaluate import evaluate_gapfill

        return evaluate_gapfill(
            self._cube, sar, methods=methods, regimes=regimes, mask=mask, days=days, seed=seed,
            **options,
        )  # fmt: skip

    def evaluate_sharpen_spectral(
        self,
        spatial: xr.DataArray | xr.Dataset,
        *,
        methods: Sequence[str | Method] | None = None,
        truth: xr.DataArray | xr.Dataset | None = None,
        ratio: int | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Call :func:`xstf.evaluate_sharpen_spectral` with this cube as `spectral`."""
        from xstf.evaluate import evaluate_sharpen_spectral

        return evaluate_sharpen_spectral(
            self._cube, spatial, methods=methods, truth=truth, ratio=ratio, **options
        )

    evaluate_sharpen = evaluate_sharpen_spectral


xr.register_dataarray_accessor("stf")(StfAccessor)
xr.register_dataset_accessor("stf")(StfAccessor)
