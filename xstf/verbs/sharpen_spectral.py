"""The verb `sharpen_spectral`: check, choose, tile, label."""

from __future__ import annotations

from functools import partial
from typing import Any

import xarray as xr

from xstf import weights
from xstf._method import Method, Weights
from xstf.align.regrid import regrid_images
from xstf.align.sharpen_spectral import match_images, read_sensors
from xstf.cubes.nesting import nesting_of
from xstf.cubes.read import Cube, read_cube
from xstf.cubes.write import assemble_on
from xstf.methods.lookup import get_method
from xstf.tiles.engines import make_runner, pick_engine
from xstf.tiles.flags import FLAG_MEANINGS
from xstf.tiles.run import is_lazy, run_tiles, settle_now
from xstf.tiles.sharpen_spectral import sharpen_job
from xstf.verbs.checkpoint import resolve_weights
from xstf.verbs.pipeline import call_attrs, make_params, require_std

# Side of a tile in fine pixels: there are hundreds of bands in it, and a halo around it.
TILE = 256


def sharpen_spectral(
    spectral: xr.DataArray | xr.Dataset,
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
        A name from ``xstf.list_methods("sharpen_spectral")``, a record, or ``"auto"``.
    srf : DataArray ``(spatial_band, band)`` or str, optional
        How the bands of `spatial` respond to those of `spectral`, with both cubes' labels; or a
        sensor's name (:mod:`xstf.sensors`). Default: estimated from the two cubes.
    psf : float, optional
        Full width at half maximum of the point spread function of `spectral`, in its pixels.
        Default: estimated.
    register : bool
        Move `spatial` by the shift between the cubes where one is found, up to a pixel of
        `spectral`; the result then lies as `spectral` does. ``attrs["stf_shift"]`` says how far
        (numpy cubes). On a real pair of sensors this is worth more than the choice of a method.
    mask, spatial_mask : DataArray of bool, optional
        True where a cube is not usable.
    time_tolerance : str
        How far apart in time images of the two cubes may be, as pandas reads it.
    engine, device : str, optional
        See :func:`xstf.fuse`.
    return_quality : bool
        Return a Dataset with the standard deviation and flag too, from methods that give them.
    progress : bool
        Show a bar on stderr (numpy cubes).
    **params
        The method's parameters, as ``xstf.get_method("sharpen_spectral", name).params`` lists them.

    Returns
    -------
    DataArray or Dataset
        The bands of `spectral` on the grid of `spatial`, float32; lazy if an input is. NaN where
        either is missing; a band that is missing everywhere stays so.

    Raises
    ------
    ValueError, TypeError
        Before any computing: no overlap, a spatial cube that is the coarser one, dates without
        partners, a response that does not fit the bands.

    Notes
    -----
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
    blurred = read_cube(spectral, what="spectral", mask=mask)
    sharp = read_cube(spatial, what="spatial", mask=spatial_mask)
    record = get_method("sharpen_spectral", method)
    options = make_params(record, params)
    if return_quality:
        require_std(record)
    nesting = nesting_of(sharp.grid, blurred.grid, what=("spatial", "spectral"))
    known = read_sensors(srf, psf, sharp, blurred)
    pairs = match_images(blurred, sharp, time_tolerance)
    found: Weights | None = None
    attrs = call_attrs("sharpen_spectral", record, options, blurred)
    chosen = pick_engine(record, engine, sharp.data, blurred.data)
    if record.net is not None:
        train = partial(
            _train, record, spectral, spatial, mask=mask, spatial_mask=spatial_mask, psf=psf,
            register=register, time_tolerance=time_tolerance, device=device, progress=progress,
        )  # fmt: skip
        options, found, attrs["stf_weights"] = resolve_weights(
            record, options, bands=blurred.bands, ratio=nesting.ratio, fit=train
        )
        _check_guides(found.source, sharp)
    runner = make_runner(record, chosen, device, found)
    dates = list(range(blurred.data.shape[0]))
    coarse = blurred.data
    if nesting.how != "nested" or nesting.coarse != blurred.grid:
        coarse = regrid_images(blurred, nesting, dates)
    jobs = [
        sharpen_job(sharp.data, coarse, (pairs[d], d), nesting, runner, record, options, known,
             register, return_quality)
        for d in dates
    ]  # fmt: skip
    jobs, states = settle_now(jobs)
    layers = run_tiles(jobs, chunks=_chunks(sharp), tile=TILE, progress=progress)
    attrs["stf_grid"] = f"{nesting.how}, ratio {nesting.ratio}"
    attrs |= _said(states)
    return assemble_on(layers, blurred, sharp, attrs, return_quality, FLAG_MEANINGS)


# --- pieces -----------------------------------------------------------------------------------


def _train(record: Method, *cubes: Any, **options: Any) -> Any:
    """Train a network on the cubes of a call."""
    from xstf.train import fit  # loads torch

    return fit(record, *cubes, **options)


def _check_guides(source: Any, spatial: Cube) -> None:
    """Raise if a network makes its bands of others than the spatial cube's."""
    manifest = weights.load(source).manifest
    want, have = manifest.extra["guides"], [str(b) for b in spatial.bands]
    if want != have:
        raise ValueError(
            f"these weights make bands of {len(want)} others, {want}; spatial has {len(have)}, "
            f"{have}: select or reorder its bands"
        )


def _said(states: list[Any]) -> dict[str, str]:
    """Return what the states of an eager run tell of it."""
    said = {}
    shifts = [state["shift"] for state in states]
    if any(shift.any() for shift in shifts):
        by_date = "; ".join(f"{down:.2f}, {right:.2f}" for down, right in shifts)
        said["stf_shift"] = f"spatial pixels down and right, by date: {by_date}"
    chosen = [name for state in states for name in state["method"].get("said", ())]
    if chosen:
        said["stf_choice"] = ", ".join(chosen)
    return said


def _chunks(cube: Cube) -> tuple[Any, Any]:
    """Return the chunks of a lazy result along y and x: the spatial cube's, or tiles."""
    if is_lazy(cube.data):
        return cube.data.chunks[2], cube.data.chunks[3]
    return (TILE, TILE)
