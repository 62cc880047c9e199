"""Scores of sharpening by Wald's protocol: degrade both cubes, sharpen, compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
from xstf.evaluate.baselines import INTERPOLATED
from xstf.evaluate.result import MEANING, assemble_scores, in_full
from xstf.evaluate.running import (
    MAX_PIXELS,
    Methods,
    image_beside,
    methods_to_try,
    part_of,
    read_classes,
    run_timed,
    with_baselines,
)
from xstf.evaluate.scoring import Frame, Row, score_image
from xstf.methods.lookup import Trial
from xstf.numerics.degrade import degrade_bands
from xstf.verbs.sharpen_spectral import sharpen_spectral


def evaluate_sharpen_spectral(
    spectral: xr.DataArray | xr.Dataset,
    spatial: xr.DataArray | xr.Dataset,
    *,
    methods: Methods | None = None,
    truth: xr.DataArray | xr.Dataset | None = None,
    ratio: int | None = None,
    baselines: bool = True,
    classes: xr.DataArray | None = None,
    max_pixels: int | None = MAX_PIXELS,
    seed: int = 0,
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
    methods : sequence of str, Method or (method, dict of its parameters), or dict, optional
        As in :func:`xstf.evaluate_fusion`. Default: all but networks, which need weights.
    truth : DataArray or Dataset of bands, optional
        The bands of `spectral` on the grid of `spatial`: compare with this instead, and blur
        nothing (simulated scenes).
    ratio : int, optional
        How many times as large the pixels of `spectral` are made. Default: as many times as they
        are larger than those of `spatial`.
    baselines : bool
        Add a trivial method: the coarse bands interpolated bilinearly.
    classes, max_pixels
        As in :func:`xstf.evaluate_fusion`; pixels are those of `spatial`.
    seed : int
        Of the draws that intervals come from.
    **options
        Passed on to :func:`xstf.sharpen_spectral`; with `psf`, that wide is the blur too, that of
        `spatial` as wide as the mean over bands.

    Returns
    -------
    Dataset
        As of :func:`xstf.evaluate_fusion`, with a dim ``time`` where the cubes have one; there is
        no standard deviation to judge. ``consistency`` ``(method, band)`` is the root mean square
        of what is left between `spectral` and the sharpened cube, at full resolution, when that is
        blurred again: about the noise if nothing was lost.

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
    >>> bool(scores.psnr.sel({"method": "mtf_glp_hs"}).mean() > 30)
    True
    """
    said = dict(options)
    tried = methods_to_try("sharpen_spectral", methods)
    tried = with_baselines(tried, [INTERPOLATED] if baselines else [])
    spectral, spatial, truth = take_values(
        options, (spectral, "spectral", "scale"), (spatial, "spatial", "spatial_scale"),
        (truth, "truth", "scale"),
    )  # fmt: skip
    masks = (options.pop("mask", None), options.pop("spatial_mask", None))
    many = read_cube(spectral, what="spectral", mask=masks[0])
    few = read_cube(spatial, what="spatial", mask=masks[1])
    case = _case(many, few, None if truth is None else read_cube(truth, what="truth"), max_pixels)
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
    whole = {d: slice(0, low[0].sizes[d] * (lower if truth is None else case.ratio)) for d in "yx"}
    reference = reference.isel(whole)
    place = few.grid if case.truth is not None else many.grid
    frame = Frame(
        many.bands, reference["y"].values, reference["x"].values,
        read_classes(classes, place, reference["y"].values, reference["x"].values),
        lower if truth is None else case.ratio,
    )  # fmt: skip
    rows: list[Row] = []
    lost = []
    for trial in tried:
        call = {"method": trial.record, **options, **trial.params}
        made, seconds = run_timed(partial(sharpen_spectral, *low, **call), trial.record)
        rows += _rows(frame, trial, made, reference, seconds)
        full = made
        if truth is None:
            full = sharpen_spectral(case.spectral, case.spatial, **call).compute()
        again = _blurred(full, case.ratio, width)
        lost.append(metrics.rmse(again, case.spectral, per="band").reset_coords(drop=True))
    how = "sharpened and compared with a truth"
    if truth is None:
        how = f"both cubes made {lower} times as coarse, sharpened, compared with the spectral one"
    scores = assemble_scores(
        frame, rows, verb="sharpen_spectral", dims=("time",) if "time" in reference.dims else (),
        seed=seed, options=said, units=str(getattr(many.source, "attrs", {}).get("units", "")),
        protocol=f"{how}{case.text}", methods={t.label: in_full(t) for t in tried},
    )  # fmt: skip
    consistency = xr.concat(lost, "method").drop_vars("band").transpose("method", "band")
    consistency.attrs = {"long_name": MEANING["consistency"][0]}
    return scores.assign(consistency=consistency)


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
    text: str = ""


def _case(spectral: Cube, spatial: Cube, truth: Cube | None, most: int | None) -> _Case:
    """Return the cubes on nested grids, cut to the coarse pixels that lie wholly in `spatial`."""
    nesting = nesting_of(spatial.grid, spectral.grid, what=("spatial", "spectral"))
    data = spectral.data
    if nesting.how != "nested" or nesting.coarse != spectral.grid:
        data = regrid_images(spectral, nesting, list(range(data.shape[0])))
    fine, coarse, ends = [], [], []
    for before, size in zip(nesting.before, spatial.data.shape[2:], strict=True):
        first = -(-before // nesting.ratio)
        stop = (size + before) // nesting.ratio
        if stop <= first:
            raise ValueError("no pixel of spectral lies wholly inside spatial; nothing to compare")
        ends.append((first, stop))
    pixels = nesting.ratio**2
    rows, columns = (b - a for a, b in ends)
    part = part_of(rows, columns, None if most is None else max(1, most // pixels))
    text = ""
    if part is not None:
        cut = zip(ends, part, strict=True)
        ends = [(first + some.start, first + some.stop) for (first, _), some in cut]
        text = "; the middle {} × {} coarse pixels".format(*(b - a for a, b in ends))
    for before, (first, stop) in zip(nesting.before, ends, strict=True):
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
    if most is not None:
        blurred, sharp = blurred.compute(), sharp.compute()
        reference = None if reference is None else reference.compute()
    return _Case(blurred, sharp, reference, nesting.ratio, text)


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


def _rows(
    frame: Frame, trial: Trial, made: xr.DataArray, reference: xr.DataArray, seconds: float
) -> list[Row]:
    """Return one method's scores, by date where there are some."""
    # Grids that were made twice over agree to rounding; these are the same pixels by position.
    made = made.isel({d: slice(0, reference.sizes[d]) for d in ("y", "x")})
    if "time" not in reference.dims:
        e, t, _ = image_beside(made, reference)
        return [score_image(frame, trial.label, (), estimate=e, truth=t, seconds=seconds)]
    rows = []
    for date, stamp in enumerate(reference["time"].values):
        e, t, _ = image_beside(made.isel(time=[date]), reference.isel(time=[date]))
        rows.append(score_image(frame, trial.label, (stamp,), estimate=e, truth=t, seconds=seconds))
    return rows
