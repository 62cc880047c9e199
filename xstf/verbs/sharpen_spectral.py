"""The verb `sharpen_spectral`: read, align, choose, tile, label."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast, overload

import xarray as xr

from xstf._method import Method
from xstf.align.sharpen_spectral import SharpenCubes, align_sharpen_spectral
from xstf.cubes.arrays import Array, Labelled
from xstf.cubes.pairs import LengthLike
from xstf.cubes.units import Side
from xstf.cubes.values import as_values
from xstf.cubes.write import assemble_on
from xstf.tiles.flags import FLAG_MEANINGS
from xstf.tiles.run import State
from xstf.tiles.sharpen_spectral import sharpen_spectral_job
from xstf.tiles.units import check_units
from xstf.verbs.by_trial import run_best, wants_trial
from xstf.verbs.checkpoint import NetworkCubes
from xstf.verbs.pipeline import choose, chunks_of, compute, prepare
from xstf.verbs.watching import note

# Side of a tile in fine pixels: there are hundreds of bands in it, and a halo around it.
TILE = 256
NO_STD = (
    "sharpen_spectral gives no standard deviation: how much detail the sharp bands do not share is "
    "seen at full resolution only, where there is no truth, and errors one scale down do not tell "
    "it (see the verb's notes); leave out return_quality. evaluate_sharpen_spectral gives the "
    "errors one scale down"
)


# Beyond these a checker cannot go: it lets any keyword pass as one of **params.
# fmt: off
@overload
def sharpen_spectral(
    spectral: xr.DataArray, spatial: Labelled, *,
    method: str | Method = ...,
    srf: xr.DataArray | str | None = ..., psf: float | xr.DataArray | str | None = ...,
    register: bool = ...,
    mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
    time_tolerance: LengthLike = ...,
    scale: float | None = ..., spatial_scale: float | None = ..., decoded: bool | None = ...,
    valid_range: tuple[float, float] | None = ...,
    engine: str | None = ..., device: str | None = ..., progress: bool = ..., **params: object,
) -> xr.DataArray: ...
@overload
def sharpen_spectral(
    spectral: xr.Dataset, spatial: Labelled, *,
    method: str | Method = ...,
    srf: xr.DataArray | str | None = ..., psf: float | xr.DataArray | str | None = ...,
    register: bool = ...,
    mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
    time_tolerance: LengthLike = ...,
    scale: float | None = ..., spatial_scale: float | None = ..., decoded: bool | None = ...,
    valid_range: tuple[float, float] | None = ...,
    engine: str | None = ..., device: str | None = ..., progress: bool = ..., **params: object,
) -> xr.Dataset: ...
@overload
def sharpen_spectral(
    spectral: Labelled, spatial: Labelled, *,
    method: str | Method = ...,
    srf: xr.DataArray | str | None = ..., psf: float | xr.DataArray | str | None = ...,
    register: bool = ...,
    mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
    time_tolerance: LengthLike = ...,
    scale: float | None = ..., spatial_scale: float | None = ..., decoded: bool | None = ...,
    valid_range: tuple[float, float] | None = ...,
    engine: str | None = ..., device: str | None = ..., progress: bool = ..., **params: object,
) -> Labelled: ...
# fmt: on
def sharpen_spectral(
    spectral: xr.DataArray | xr.Dataset,
    spatial: xr.DataArray | xr.Dataset,
    *,
    method: str | Method = "auto",
    srf: xr.DataArray | str | None = None,
    psf: float | xr.DataArray | str | None = None,
    register: bool = True,
    mask: xr.DataArray | None = None,
    spatial_mask: xr.DataArray | None = None,
    time_tolerance: LengthLike = "1D",
    scale: float | None = None,
    spatial_scale: float | None = None,
    decoded: bool | None = None,
    valid_range: tuple[float, float] | None = None,
    engine: str | None = None,
    device: str | None = None,
    progress: bool = False,
    **params: object,
) -> Labelled:
    """Return the many bands of a blurred cube on the grid of a sharp one with few bands.

    Parameters
    ----------
    spectral : DataArray ``(band, y', x')`` or Dataset of bands
        The cube with many bands: hyperspectral, or Sentinel-2's 20 m bands. May have time. A
        coordinate ``wavelength`` along its bands (nm or µm) is needed for `srf` by name only.
    spatial : DataArray ``(band, y, x)`` or Dataset of bands
        The sharp cube with few bands, or one (panchromatic), on its own grid and CRS, same units.
        May have time.
    method : str or Method
        A name from ``xstf.list_methods("sharpen_spectral")``, a record, ``"auto"``, or
        ``"evaluate"``: the best of all by :func:`xstf.evaluate_sharpen_spectral` on a sample.
    srf : DataArray ``(spatial_band, band)`` or str, optional
        How the bands of `spatial` respond to those of `spectral`, with both cubes' labels; or a
        sensor's name (:mod:`xstf.sensors`). Default: estimated from the two cubes.
    psf : float, DataArray ``(band,)`` or str, optional
        Full width at half maximum of the point spread function of `spectral`, in its pixels: one
        for all bands, one for each, or those of a sensor by name (:func:`xstf.sensors.blurs`).
        Default: Sentinel-2's where labels and ratio of both cubes are its (20 m bands beside 10 m
        ones, ``B05`` beside ``B02``), which ``attrs["stf_psf"]`` says; estimated elsewhere. Of
        several widths `local_regression` and `s2sharp` use each, other methods the mean.
    register : bool
        Move `spatial` by the shift between the cubes where one is found, up to a pixel of
        `spectral`; the result then lies as `spectral` does. ``attrs["stf_shift"]`` says how far
        (numpy cubes). On a real pair of sensors this is worth more than the choice of a method.
    mask, spatial_mask : DataArray of bool, optional
        True where a cube is not usable; on its grid or another of its CRS, see :func:`xstf.fuse`.
    time_tolerance : str
        How far apart in time images of the two cubes may be, as pandas reads it.
    scale, spatial_scale : float, optional
        What the values of `spectral` and `spatial` are multiplied by first, after the scale and
        offset that their attributes say.
    decoded : bool, optional
        Whether floating values are scaled already, where attributes still say how; see
        :func:`xstf.fuse`.
    valid_range : (float, float), optional
        Values of both cubes outside this are missing; in units of the values, after scaling.
    engine, device : str, optional
        See :func:`xstf.fuse`.
    progress : bool
        Show a bar of tiles on stderr: at once, or of a lazy result whenever it is computed on this
        machine's threads. With a client of `dask.distributed`: ``distributed.progress``.
    **params
        The method's parameters, as ``xstf.get_method("sharpen_spectral", name).params`` lists them.

    Returns
    -------
    DataArray or Dataset
        The bands of `spectral` on the grid of `spatial`, float32; lazy if an input is. NaN where
        either is missing; a band that is missing everywhere stays so. Coordinates along time and
        bands are those of `spectral`, along space those of `spatial`; what described the old grid
        (``transform``, ``res``, ``gsd``) is worked out anew or left out, and so are variables of a
        Dataset that are no bands, which is said. Where no value of `spectral` is below 0, but by
        its noise, no value of the result is.

    Raises
    ------
    ValueError, TypeError
        Before any computing: no overlap, a spatial cube that is the coarser one, dates without
        partners, a response that does not fit the bands, attributes that cannot be read. Cubes
        whose medians differ more than 20 times where both see, which are not in the same units: of
        lazy cubes raised when they are computed. ``return_quality``, which other verbs take: what
        the sharp bands do not share is seen on no grid but the fine one, see below.

    Notes
    -----
    There is no standard deviation. Errors one scale down are known, but those at full resolution
    are 0.4 to 3.7 times as large, by cube and by band, and neither the scales below nor the sharp
    bands' own errors tell how much: on cubes with a known truth, 90 % intervals made so held 52 to
    98 % of the values, and 38 to 100 % of a band's. :func:`xstf.evaluate_sharpen_spectral` gives
    errors one scale down for what they are.

    Images of either cube that are of one solar day (local time at the scene's longitude) and follow
    each other within minutes, such as the granules of one pass, are one acquisition and are merged
    first, pixel by pixel the first that is valid: the result has one date for them, and
    ``attrs["stf_acquisitions"]`` says so.

    Grids that do not nest are brought to a nested grid as in :func:`xstf.fuse`;
    ``attrs["stf_grid"]`` says what was done.

    Examples
    --------
    >>> import xstf
    >>> spectral, spatial, truth = xstf.testing.bands()
    >>> sharp = spectral.stf.sharpen_spectral(spatial, method="mtf_glp_hs")
    >>> sharp.sizes["band"] == spectral.sizes["band"], sharp.sizes["y"] == spatial.sizes["y"]
    (True, True)
    """
    if "return_quality" in params:
        raise ValueError(NO_STD)
    if wants_trial(method):
        return cast(Labelled, run_best("sharpen_spectral", dict(locals())))
    said: dict[str, Any] = {"decoded": decoded, "valid_range": valid_range}
    spectral = as_values(spectral, what="spectral", scale=scale, mask=mask, **said)
    spatial = as_values(
        spatial, what="spatial", scale=spatial_scale, scale_name="spatial_scale",
        mask=spatial_mask, **said,
    )  # fmt: skip
    cubes = align_sharpen_spectral(
        spectral, spatial, srf=srf, psf=psf, mask=mask, spatial_mask=spatial_mask,
        time_tolerance=time_tolerance,
    )  # fmt: skip
    many, few = cubes.spectral, cubes.spatial
    note(cubes=cubes)
    call = choose(
        sharpen_spectral, "sharpen_spectral", method, params, quality=False, progress=progress
    )

    @cache
    def checked() -> tuple[Array, tuple[State, ...]]:
        coarse = cubes.on_nested_grid()
        return coarse, _check_units(cubes, coarse)

    def network() -> NetworkCubes:
        checked()  # before any training
        return NetworkCubes(
            cubes=(spectral, spatial), bands=many.bands, ratio=cubes.nesting.ratio,
            guides=few.bands,
            reading={
                "mask": mask, "spatial_mask": spatial_mask, "psf": psf, "register": register,
                "time_tolerance": time_tolerance, "device": device, "progress": progress,
            },
        )  # fmt: skip

    run = prepare(
        call, (many, few), network, engine=engine, device=device,
        grid=cubes.grid_text, frame=cubes.frame_text,
    )  # fmt: skip
    (coarse, checks), known = checked(), cubes.sensors.samples()
    jobs = [
        sharpen_spectral_job(
            few.data, coarse, (image, date), cubes.nesting, run.runner, call.record,
            run.call.params, known, register,
        )
        for date, image in enumerate(cubes.images)
    ]  # fmt: skip
    chunks = chunks_of(few, TILE, len(many.bands))
    layers, states = compute(run, jobs, chunks=chunks, tile=TILE, settled=True, checks=checks)
    attrs = run.attrs | _findings(states)
    if cubes.sensors.known_by:
        attrs["stf_psf"] = cubes.sensors.psf_text
    return assemble_on(layers, many, few, attrs, False, FLAG_MEANINGS)


def _check_units(cubes: SharpenCubes, coarse: Array) -> tuple[State, ...]:
    """Raise if the cubes are not in the same units; of lazy ones return what checks it."""
    few, many = cubes.spatial, cubes.spectral
    sides = (Side("spatial", "spatial_scale", few.bands), Side("spectral", "scale", many.bands))
    return check_units(
        sides, (few.data, coarse), [(image, date) for date, image in enumerate(cubes.images)],
        ratio=cubes.nesting.ratio, before=cubes.nesting.before, sampled=(1, 1),
    )  # fmt: skip


def _findings(states: Sequence[Any]) -> dict[str, str]:
    """Return what the states of an eager run found: the shift, and what `auto` chose."""
    found = {}
    shifts = [state.shift for state in states]
    if any(shift.any() for shift in shifts):
        by_date = "; ".join(f"{down:.2f}, {right:.2f}" for down, right in shifts)
        found["stf_shift"] = f"spatial pixels down and right, by date: {by_date}"
    chosen = [s.method.chosen for s in states if hasattr(s.method, "chosen")]
    if chosen:
        found["stf_choice"] = ", ".join(chosen)
    return found
