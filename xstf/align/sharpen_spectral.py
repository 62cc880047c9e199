"""Spectral and spatial cubes: which images go together, and what is known of the sensors."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstf import sensors as sensor_tables
from xstf.cubes.pairs import read_timedelta
from xstf.cubes.read import Cube


def match_images(spectral: Cube, spatial: Cube, tolerance: str) -> list[int]:
    """Return for each image of the spectral cube the one of the spatial cube that goes with it."""
    count = spectral.data.shape[0]
    if spatial.data.shape[0] == 1 and (spatial.times is None or spectral.times is None):
        return [0] * count
    if spatial.times is None or spectral.times is None:
        raise ValueError(
            f"spatial has {spatial.data.shape[0]} dates and spectral has no time: select one date "
            "or give spectral a time coordinate"
        )
    reach = read_timedelta(tolerance, "time_tolerance")
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


def read_sensors(
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
