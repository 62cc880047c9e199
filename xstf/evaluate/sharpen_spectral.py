"""Scores of sharpening by Wald's protocol: degrade both cubes, sharpen, compare."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstf import metrics
from xstf.align.regrid import regrid_images
from xstf.align.sharpen_spectral import read_psf, wavelengths
from xstf.cubes.arrays import Array
from xstf.cubes.nesting import nesting_of
from xstf.cubes.read import Cube, read_cube
from xstf.cubes.values import take_values
from xstf.methods.lookup import Tried, trials
from xstf.numerics.degrade import degrade_bands
from xstf.verbs.sharpen_spectral import sharpen_spectral

_PER_BAND = ("psnr", "rmse", "cc", "uiqi", "ssim")


def evaluate_sharpen_spectral(
    spectral: xr.DataArray | xr.Dataset,
    spatial: xr.DataArray | xr.Dataset,
    *,
    methods: Sequence[Tried] | None = None,
    truth: xr.DataArray | xr.Dataset | None = None,
    ratio: int | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return how well each method sharpens, one scale down or beside a known truth.

    Wald's protocol: both cubes are blurred by a Gaussian and thinned, the methods sharpen the one
    by the other, and their results are compared with `spectral` itself. The Gaussian is one coarse
    pixel wide at half its height, or as `psf` says; of Sentinel-2's bands, which are known by their
    labels, as wide as theirs.

    Parameters
    ----------
    spectral, spatial : DataArray or Dataset of bands
        As :func:`xstf.sharpen_spectral` takes them.
    methods : sequence of str, Method or (method, dict of its parameters), optional
        Default: all but networks, which need weights.
    truth : DataArray or Dataset of bands, optional
        The bands of `spectral` on the grid of `spatial`: compare with this instead, and blur
        nothing (simulated scenes).
    ratio : int, optional
        How many times as large the pixels of `spectral` are made. Default: as many times as they
        are larger than those of `spatial`.
    **options
        Passed on to :func:`xstf.sharpen_spectral`; with `psf`, that wide is the blur too, that of
        `spatial` as wide as the mean over bands.

    Returns
    -------
    Dataset
        ``psnr`` (dB, the peak is each band's own largest value), ``rmse, cc, uiqi, ssim`` and
        ``consistency`` ``(method, band)``; ``sam`` (degrees), ``ergas`` (%) and ``q2n`` for two
        bands or more, and ``seconds`` ``(method)``, wall time with compiled kernels.
        ``consistency`` is the root mean square of what is left between `spectral` and the sharpened
        cube, at full resolution, when that is blurred again: about the noise if nothing was lost.

    Notes
    -----
    Select with ``scores.sel({"method": "fuse"})``: xarray takes ``sel(method=…)`` as its own.

    References
    ----------
    Wald, Ranchin and Mangolini 1997, Fusion of satellite images of different spatial resolutions:
    assessing the quality of resulting images, Photogrammetric Engineering & Remote Sensing 63,
    691–699.

    Examples
    --------
    >>> import xstf
    >>> spectral, spatial, truth = xstf.testing.bands()
    >>> scores = spectral.stf.evaluate_sharpen_spectral(
    ...     spatial, methods=["mtf_glp_hs"], truth=truth
    ... )
    >>> bool(scores.psnr.mean() > 30)
    True
    """
    tried = trials("sharpen_spectral", methods or None)
    spectral, spatial, truth = take_values(
        options, (spectral, "spectral", "scale"), (spatial, "spatial", "spatial_scale"),
        (truth, "truth", "scale"),
    )  # fmt: skip
    masks = (options.pop("mask", None), options.pop("spatial_mask", None))
    many = read_cube(spectral, what="spectral", mask=masks[0])
    few = read_cube(spatial, what="spatial", mask=masks[1])
    case = _case(many, few, None if truth is None else read_cube(truth, what="truth"))
    known, by = read_psf(options.get("psf"), few, many, case.ratio)
    if by:
        # Cubes on another lower scale have the labels of the sensor, but no longer its ratio.
        options["psf"] = xr.DataArray(known, {"band": list(many.bands)}, ("band",))
    width = 1.0 if known is None else known
    lower = _whole_number(case.ratio if ratio is None else ratio)
    low = (case.spectral, case.spatial)
    if truth is None:
        sharp = _blurred(case.spatial, case.ratio, float(np.mean(width)))
        low = (_blurred(case.spectral, lower, width), sharp)
    reference = case.spectral if case.truth is None else case.truth
    scores = []
    for trial in tried:
        call = {"method": trial.record, **options, **trial.params}
        whole = sharpen_spectral(case.spectral, case.spatial, **call).compute()
        start = clock.perf_counter()
        made = sharpen_spectral(*low, **call).compute()
        seconds = clock.perf_counter() - start
        found = _scores(made, reference, lower if truth is None else case.ratio)
        again = _blurred(whole, case.ratio, width)
        found["consistency"] = metrics.rmse(again, case.spectral, per="band")
        found["seconds"] = xr.DataArray(seconds, attrs={"units": "s"})
        bare = {n: v.reset_coords(drop=True) for n, v in found.items()}
        scores.append(xr.Dataset(bare).expand_dims(method=[trial.label]))
    return xr.concat(scores, "method")


def _whole_number(ratio: int) -> int:
    if isinstance(ratio, bool) or not isinstance(ratio, int | np.integer) or ratio < 2:
        raise ValueError(
            f"ratio must be a whole number from 2 on, not {ratio!r}: with less nothing is blurred; "
            "where the pixels of both cubes are equally large, give it"
        )
    return int(ratio)


@dataclass(frozen=True, eq=False)
class _Case:
    """Both cubes where they cover each other, nested, dims ``time`` (if any), ``band, y, x``."""

    spectral: xr.DataArray
    spatial: xr.DataArray
    truth: xr.DataArray | None
    ratio: int


def _case(spectral: Cube, spatial: Cube, truth: Cube | None) -> _Case:
    """Return the cubes on nested grids, cut to the coarse pixels that lie wholly in `spatial`."""
    nesting = nesting_of(spatial.grid, spectral.grid, what=("spatial", "spectral"))
    data = spectral.data
    if nesting.how != "nested" or nesting.coarse != spectral.grid:
        data = regrid_images(spectral, nesting, list(range(data.shape[0])))
    fine, coarse = [], []
    for before, size in zip(nesting.before, spatial.data.shape[2:], strict=True):
        first = -(-before // nesting.ratio)
        stop = (size + before) // nesting.ratio
        if stop <= first:
            raise ValueError("no pixel of spectral lies wholly inside spatial; nothing to compare")
        coarse.append(slice(first, stop))
        fine.append(slice(first * nesting.ratio - before, stop * nesting.ratio - before))
    grid = nesting.coarse
    place = (spatial.grid.y[fine[0]], spatial.grid.x[fine[1]])
    blurred = _labelled(spectral, data[..., *coarse], (grid.y[coarse[0]], grid.x[coarse[1]]))
    sharp = _labelled(spatial, spatial.data[..., *fine], place)
    reference = None
    if truth is not None:
        if truth.data.shape[2:] != spatial.data.shape[2:] or truth.bands != spectral.bands:
            raise ValueError(
                f"truth has {truth.data.shape[1:]} bands, rows and columns; it must have the bands "
                f"of spectral, {spectral.data.shape[1]}, on the grid of spatial, "
                f"{spatial.data.shape[2:]}"
            )
        reference = _labelled(truth, truth.data[..., *fine], place)
    return _Case(blurred, sharp, reference, nesting.ratio)


def _labelled(cube: Cube, data: Array, place: tuple[np.ndarray, np.ndarray]) -> xr.DataArray:
    """Return data of a cube as an array with dims ``time`` (if any), ``band, y, x``."""
    coords: dict[str, Any] = {"band": list(cube.bands), "y": place[0], "x": place[1]}
    nanometres = wavelengths(cube)
    if nanometres is not None:
        coords["wavelength"] = ("band", nanometres)
    if cube.times is None and data.shape[0] == 1:
        return xr.DataArray(data[0], coords, ("band", "y", "x"))
    if cube.times is not None:
        coords["time"] = cube.times
    return xr.DataArray(data, coords, ("time", "band", "y", "x"))


def _blurred(cube: xr.DataArray, ratio: int, width: float | np.ndarray) -> xr.DataArray:
    """Return a cube under Gaussians on pixels so many times as large, those that it fills."""
    whole = cube.isel({d: slice(0, cube.sizes[d] // ratio * ratio) for d in ("y", "x")}).compute()
    place = {d: whole[d].coarsen({d: ratio}).mean() for d in ("y", "x")}
    images = degrade_bands(whole.values, ratio=ratio, fwhm=width)
    return xr.DataArray(images, {**whole.drop_vars(["y", "x"]).coords, **place}, whole.dims)


def _scores(estimate: xr.DataArray, reference: xr.DataArray, ratio: int) -> dict[str, xr.DataArray]:
    """Return one method's scores where the estimate lies."""
    reference = reference.isel({d: slice(0, estimate.sizes[d]) for d in ("y", "x")})
    # Grids that were made twice over agree to rounding; these are the same pixels by position.
    estimate = estimate.isel({d: slice(0, reference.sizes[d]) for d in ("y", "x")})
    found = {n: getattr(metrics, n)(estimate, reference, per="band") for n in _PER_BAND}
    over = [d for d in reference.dims if d != "band"]
    there = (reference.notnull().any(over) & estimate.notnull().any(over)).values
    if there.sum() > 1:
        seen = (estimate.isel(band=there), reference.isel(band=there))
        found["sam"] = metrics.sam(*seen)
        found["ergas"] = metrics.ergas(*seen, ratio=ratio)
        found["q2n"] = metrics.q2n(*seen)
    return found
