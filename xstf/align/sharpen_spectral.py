"""Spectral and spatial cubes: nested grids, which images go together, what is known of sensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from xstf import sensors as sensor_tables
from xstf.align.regrid import regrid_images
from xstf.cubes.arrays import Array
from xstf.cubes.nesting import Nesting, nesting_of, require_one_side
from xstf.cubes.pairs import LengthLike, match_dates, read_timedelta
from xstf.cubes.read import Cube, frame_text, read_cube


class Sensors(NamedTuple):
    """What the caller says of the sensors.

    Parameters
    ----------
    srf
        ``(guide_band, band)``: how the spatial bands respond, or None.
    fwhm
        Of the spectral cube's point spread function in its pixels, or None.
    """

    srf: np.ndarray | None = None
    fwhm: float | None = None

    def samples(self) -> dict[str, np.ndarray]:
        """Return what is known, by name, as arrays."""
        return {name: np.asarray(v) for name, v in self._asdict().items() if v is not None}


@dataclass(frozen=True)
class SharpenCubes:
    """A cube of many bands and a finer one of few.

    Parameters
    ----------
    spectral, spatial
        As they were read, `spectral` on its own grid.
    nesting
        The coarse grid that nests in the spatial one, its ratio and offset.
    images
        For each image of `spectral` the position of the one of `spatial` that goes with it.
    sensors
        What the caller says of them.
    """

    spectral: Cube
    spatial: Cube
    nesting: Nesting
    images: list[int]
    sensors: Sensors

    @property
    def grid_text(self) -> str:
        """How the spectral cube gets to the nested grid, in words."""
        return f"{self.nesting.how}, ratio {self.nesting.ratio}"

    @property
    def frame_text(self) -> str:
        """What was done and assumed to bring the cubes to one frame, in words."""
        return frame_text(self.spatial, self.spectral)

    def on_nested_grid(self) -> Array:
        """Return the spectral images ``(date, band, Y, X)`` on the nested grid, lazy or not."""
        images: Array = self.spectral.data
        if self.nesting.how != "nested" or self.nesting.coarse != self.spectral.grid:
            images = regrid_images(self.spectral, self.nesting, list(range(len(self.images))))
        return images


def align_sharpen_spectral(
    spectral: xr.DataArray | xr.Dataset,
    spatial: xr.DataArray | xr.Dataset,
    *,
    srf: xr.DataArray | str | None = None,
    psf: float | None = None,
    mask: xr.DataArray | None = None,
    spatial_mask: xr.DataArray | None = None,
    time_tolerance: LengthLike = "1D",
) -> SharpenCubes:
    """Return both cubes as :func:`xstf.sharpen_spectral` and training read them."""
    many = read_cube(spectral, what="spectral", mask=mask)
    few = read_cube(spatial, what="spatial", mask=spatial_mask)
    names = ("spatial", "spectral")
    nesting = nesting_of(few.grid, many.grid, what=names)
    require_one_side(few.grid, many.grid, names)
    return SharpenCubes(
        spectral=many,
        spatial=few,
        nesting=nesting,
        images=_match_images(many, few, time_tolerance),
        sensors=_read_sensors(srf, psf, few, many),
    )


def _match_images(spectral: Cube, spatial: Cube, tolerance: LengthLike) -> list[int]:
    """Return for each image of the spectral cube the one of the spatial cube that goes with it."""
    count = spectral.data.shape[0]
    if spatial.data.shape[0] == 1 and (spatial.times is None or spectral.times is None):
        return [0] * count
    if spatial.times is None or spectral.times is None:
        raise ValueError(
            f"spatial has {spatial.data.shape[0]} dates and spectral has no time: select one date "
            "or give spectral a time coordinate"
        )
    read_timedelta(tolerance, "time_tolerance")
    pairs = {p.fine: p.coarse for p in match_dates(spectral.when, spatial.when, tolerance)}
    found = [pairs.get(i, 0) for i in range(count)]
    alone = [str(np.datetime64(d, "D")) for i, d in enumerate(spectral.times) if i not in pairs]
    if alone:
        raise ValueError(
            f"spectral's dates {alone[:6]} have no image of spatial within {tolerance}; select "
            "dates that both have, or give a longer time_tolerance"
        )
    return found


def _read_sensors(
    srf: xr.DataArray | str | None, psf: float | None, spatial: Cube, spectral: Cube
) -> Sensors:
    """Return what the caller says of the sensors; raise where it does not fit the cubes."""
    if psf is not None and (
        isinstance(psf, bool) or not isinstance(psf, int | float) or not 0 < psf <= 4
    ):
        raise ValueError(
            f"psf must be its width at half maximum in pixels of spectral, such as 1.0, not {psf!r}"
        )
    fwhm = None if psf is None else float(psf)
    if srf is None:
        return Sensors(None, fwhm)
    if isinstance(srf, str):
        return Sensors(_srf_by_name(srf, spatial, spectral), fwhm)
    return Sensors(_srf_given(srf, spatial, spectral), fwhm)


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
