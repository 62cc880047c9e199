"""The verb `sharpen_spectral`: check, choose, tile, label."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xstf import _call, _checkpoint, _engines, _inputs, _labels, _nest, _pairs, _samples, _tiles
from xstf import sensors as sensor_tables
from xstf._bring import bring_images
from xstf._flags import FLAG_MEANINGS
from xstf._inputs import Cube
from xstf._method import Method, get_method
from xstf._sharpen_tile import SharpenTile
from xstf.methods.sharpen_spectral._response import locate, register_halo
from xstf.methods.sharpen_spectral._response import register as moved_images

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
    blurred = _inputs.read(spectral, what="spectral", mask=mask)
    sharp = _inputs.read(spatial, what="spatial", mask=spatial_mask)
    record = get_method("sharpen_spectral", method)
    options = _call.make_params(record, params)
    if return_quality:
        _call.require_std(record)
    nesting = _nest.nest(sharp.grid, blurred.grid, what=("spatial", "spectral"))
    known = said_of_sensors(srf, psf, sharp, blurred)
    pairs = partners(blurred, sharp, time_tolerance)
    network: dict[str, Any] | None = None
    attrs = _call.attrs("sharpen_spectral", record, options, blurred)
    runner = _engines.make_runner(
        record, _engines.pick(record, engine, sharp.data, blurred.data), device
    )
    if record.net is not None:
        train = partial(
            _train, record, spectral, spatial, mask=mask, spatial_mask=spatial_mask, psf=psf,
            register=register, time_tolerance=time_tolerance, device=device, progress=progress,
        )  # fmt: skip
        options, network, attrs["stf_weights"] = _checkpoint.resolve(
            record, options, bands=blurred.bands, ratio=nesting.ratio, fit=train
        )
        _check_guides(network["weights"], sharp)
    dates = list(range(blurred.data.shape[0]))
    coarse = blurred.data
    if nesting.how != "nested" or nesting.coarse != blurred.grid:
        coarse = bring_images(blurred, nesting, dates)
    jobs = [
        _job(sharp.data, coarse, (pairs[d], d), nesting, runner, record, options, known,
             network, register, return_quality)
        for d in dates
    ]  # fmt: skip
    jobs, states = _tiles.settled(jobs)
    layers = _tiles.run(jobs, chunks=_chunks(sharp), tile=TILE, progress=progress)
    attrs["stf_grid"] = f"{nesting.how}, ratio {nesting.ratio}"
    attrs |= _said(states)
    return _labels.assemble_on(layers, blurred, sharp, attrs, return_quality, FLAG_MEANINGS)


# --- pieces -----------------------------------------------------------------------------------


def partners(spectral: Cube, spatial: Cube, tolerance: str) -> list[int]:
    """Return for each image of the spectral cube the one of the spatial cube that goes with it."""
    count = spectral.data.shape[0]
    if spatial.data.shape[0] == 1 and (spatial.times is None or spectral.times is None):
        return [0] * count
    if spatial.times is None or spectral.times is None:
        raise ValueError(
            f"spatial has {spatial.data.shape[0]} dates and spectral has no time: select one date "
            "or give spectral a time coordinate"
        )
    reach = _pairs.timedelta(tolerance, "time_tolerance")
    found, alone = [], []
    for date in spectral.times:
        apart = np.abs(spatial.times - date)
        found.append(int(apart.argmin()))
        if apart.min() > reach:
            alone.append(str(date.astype("datetime64[D]")))
    if alone:
        raise ValueError(
            f"spectral's dates {alone[:6]} have no image of spatial within {tolerance}; select "
            "dates that both have, or give a longer time_tolerance"
        )
    return found


def said_of_sensors(
    srf: xr.DataArray | str | None, psf: float | None, spatial: Cube, spectral: Cube
) -> dict[str, np.ndarray]:
    """Return what the caller says of the sensors, as samples."""
    known: dict[str, np.ndarray] = {}
    if psf is not None:
        if isinstance(psf, bool) or not isinstance(psf, int | float) or not 0 < psf <= 4:
            raise ValueError(
                f"psf must be its width at half maximum in pixels of spectral, such as 1.0, "
                f"not {psf!r}"
            )
        known["fwhm"] = np.float64(psf) * np.ones(())
    if isinstance(srf, str):
        known["srf"] = _srf_by_name(srf, spatial, spectral)
    elif srf is not None:
        known["srf"] = _srf_given(srf, spatial, spectral)
    return known


def _srf_by_name(sensor: str, spatial: Cube, spectral: Cube) -> np.ndarray:
    centres = wavelengths(spectral)
    if centres is None:
        raise ValueError(
            f"srf={sensor!r} needs the wavelengths of spectral's bands: give it a coordinate "
            "'wavelength' in nm along its bands"
        )
    return sensor_tables.responses(sensor, list(spatial.bands), centres)


def _srf_given(srf: xr.DataArray, spatial: Cube, spectral: Cube) -> np.ndarray:
    if not isinstance(srf, xr.DataArray) or srf.ndim != 2:
        raise TypeError("srf must be a DataArray (spatial band, spectral band) or a sensor's name")
    shape = (len(spatial.bands), len(spectral.bands))
    if srf.shape != shape:
        raise ValueError(
            f"srf has shape {srf.shape}; {shape[0]} bands of spatial and {shape[1]} of spectral "
            f"need {shape}"
        )
    for dim, cube in zip(srf.dims, (spatial, spectral), strict=True):
        if dim in srf.coords and srf[dim].values.tolist() != list(cube.bands):
            raise ValueError(
                f"srf's {dim!r} is {srf[dim].values.tolist()[:4]}…, {cube.what}'s bands are "
                f"{list(cube.bands)[:4]}…; they must agree"
            )
    values = srf.values.astype(np.float64)
    total = values.sum(axis=1, keepdims=True)
    if not np.isfinite(values).all() or (values < 0).any() or not (total > 0).all():
        raise ValueError(
            "srf must be finite and not negative, and each band of spatial must respond to some "
            "band of spectral"
        )
    return np.asarray(values / total)


def wavelengths(cube: Cube) -> np.ndarray | None:
    """Return the wavelengths of a cube's bands in nm, or None where nothing says them."""
    dim = cube.dims[1]
    if dim is None or not isinstance(cube.source, xr.DataArray):
        return None
    names = ("wavelength", "wavelengths", "center_wavelength", "centre_wavelength", "wl")
    for name in names:
        if name in cube.source.coords and cube.source[name].dims == (dim,):
            values = cube.source[name].values
            if values.dtype.kind in "fiu":
                # Micrometres of the reflective range are below 20, nanometres above 200.
                return np.asarray(values * (1000.0 if values.max() < 100 else 1.0), np.float64)
    return None


def _job(
    spatial: Any, spectral: Any, at: tuple[int, int], nesting: _nest.Nesting,
    runner: _engines.Runner, record: Method, options: Any, known: dict[str, np.ndarray],
    network: dict[str, Any] | None, register: bool, std: bool,
) -> _tiles.Job:  # fmt: skip
    """Return one date as a job of the tiles."""
    sharp, blurred = _samples.whole_cells(
        spatial[[at[0]]], spectral[[at[1]]], ratio=nesting.ratio, before=nesting.before
    )
    function = SharpenTile(
        ratio=nesting.ratio,
        halo=record.halo(options, nesting.ratio)
        + (register_halo(nesting.ratio) if register else 0),
        before=nesting.before,
        fine_shape=spatial.shape[2:],
        coarse_shape=spectral.shape[2:],
        runner=runner,
        params=options,
        std=std,
        placed=network is not None,
    )
    sources = (
        _tiles.Source(spatial, (at[0],), function.fine_window),
        _tiles.Source(spectral, (at[1],), function.coarse_window),
    )
    settle = partial(
        _settle, record.settle, ratio=nesting.ratio, params=options, moves=register,
        network=network,
    )  # fmt: skip
    samples = {"spectral": blurred[0], "spatial": sharp[0]} | known
    lead = (3 if std else 1, spectral.shape[1])
    return _tiles.Job(function, sources, lead, spatial.shape[2:], ((settle, samples),))


def _settle(
    settle: Callable[..., Any] | None, samples: dict[str, Any], *, ratio: int, params: Any,
    moves: bool, network: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """Settle is plain numpy, and sees no band that is missing everywhere, as kernels do.

    The shift between the cubes is settled here, for all methods alike: they see cubes that fit.
    A network is told which of its bands there are.
    """
    host: dict[str, Any] = {name: _engines.to_host(value) for name, value in samples.items()}
    bands = np.flatnonzero(~np.isnan(host["spectral"]).all(axis=(1, 2)))
    shift = np.zeros(2)
    method: dict[str, Any] = {}
    if len(bands):
        host["spectral"] = np.ascontiguousarray(host["spectral"][bands])
        if "srf" in host:
            part = host["srf"][:, bands]
            total = part.sum(axis=1, keepdims=True)
            host["srf"] = part / np.where(total > 0, total, 1)
        if "fwhm" in host:
            host["fwhm"] = float(host["fwhm"])
        if moves:
            shift = locate(host, ratio=ratio)[1]
            host["spatial"] = moved_images(host["spatial"], shift=shift)
        host["shift"] = np.zeros(2)
        method = settle(host, ratio=ratio, params=params) if settle else {}
    if network is not None:
        method = {**method, **network, "bands": bands}
    return {"bands": bands, "shift": shift, "method": method}


def _train(record: Method, *cubes: Any, **options: Any) -> Any:
    """Train a network on the cubes of a call."""
    return importlib.import_module("xstf.train").fit(record, *cubes, **options)


def _check_guides(source: Any, spatial: Cube) -> None:
    """Raise if a network makes its bands of others than the spatial cube's."""
    manifest = importlib.import_module("xstf.weights").load(source).manifest
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
    if _tiles.is_lazy(cube.data):
        return cube.data.chunks[2], cube.data.chunks[3]
    return (TILE, TILE)
