"""Spectral and spatial cubes: nested grids, which images go together, what is known of sensors."""

from __future__ import annotations

from collections.abc import Hashable
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

# Pixels: a point spread wider than this is no pixel's.
WIDEST = 4.0


class Sensors(NamedTuple):
    """What the caller says of the sensors.

    Parameters
    ----------
    srf
        ``(guide_band, band)``: how the spatial bands respond, or None.
    fwhm
        Of the spectral cube's point spread function in its pixels, one width or ``(band,)``; None
        to estimate it.
    known_by
        What the width is known by, in words; "" where it is given in pixels or not known.
    """

    srf: np.ndarray | None = None
    fwhm: float | np.ndarray | None = None
    known_by: str = ""

    def samples(self) -> dict[str, np.ndarray]:
        """Return what is known, by name, as arrays."""
        known = {"srf": self.srf, "fwhm": self.fwhm}
        return {name: np.asarray(v) for name, v in known.items() if v is not None}

    @property
    def psf_text(self) -> str:
        """The width of the point spread where a sensor's is taken, in words; else ""."""
        if not self.known_by:
            return ""
        widths = ", ".join(f"{w:.2f}" for w in np.atleast_1d(np.asarray(self.fwhm)))
        return f"{widths} pixels of spectral, by band: {self.known_by}"


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
    psf: float | xr.DataArray | str | None = None,
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
        sensors=_read_sensors(srf, psf, few, many, nesting.ratio),
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
    srf: xr.DataArray | str | None,
    psf: float | xr.DataArray | str | None,
    spatial: Cube,
    spectral: Cube,
    ratio: int,
) -> Sensors:
    """Return what is known of the sensors; raise where it does not fit the cubes."""
    fwhm, known_by = read_psf(psf, spatial, spectral, ratio)
    if srf is None:
        return Sensors(None, fwhm, known_by)
    if isinstance(srf, str):
        return Sensors(_srf_by_name(srf, spatial, spectral), fwhm, known_by)
    return Sensors(_srf_given(srf, spatial, spectral), fwhm, known_by)


def read_psf(
    psf: float | xr.DataArray | str | None, spatial: Cube, spectral: Cube, ratio: int
) -> tuple[float | np.ndarray | None, str]:
    """Return the width of the point spread as `Sensors` has it, and what it is known by."""
    if psf is None:
        if not sensor_tables.are_sentinel2(spectral.bands, spatial.bands, ratio):
            return None, ""
        return sensor_tables.blurs("sentinel-2a", spectral.bands), "Sentinel-2, by its band labels"
    if isinstance(psf, str):
        return sensor_tables.blurs(psf, spectral.bands), psf
    if isinstance(psf, xr.DataArray):
        return _psf_given(psf, spectral), ""
    if isinstance(psf, bool) or not isinstance(psf, int | float) or not 0 < psf <= WIDEST:
        raise ValueError(
            "psf must be its width at half maximum in pixels of spectral, such as 1.0, one for "
            f"each band in a DataArray, or a sensor's name, not {psf!r}"
        )
    return float(psf), ""


def _psf_given(psf: xr.DataArray, spectral: Cube) -> np.ndarray:
    count = len(spectral.bands)
    if psf.shape != (count,):
        raise ValueError(
            f"psf has shape {psf.shape}; it must have one width for each of spectral's {count} "
            "bands"
        )
    _check_labels(psf, "psf", psf.dims[0], spectral)
    widths = psf.values.astype(np.float64)
    if not ((widths > 0) & (widths <= WIDEST)).all():
        raise ValueError(
            f"psf must be widths in pixels of spectral above 0 and up to {WIDEST:g}, not "
            f"{widths.tolist()[:6]}"
        )
    return widths


def _check_labels(values: xr.DataArray, name: str, dim: Hashable, cube: Cube) -> None:
    """Raise if labels along a dim are not the bands of a cube."""
    if dim in values.coords and values[dim].values.tolist() != list(cube.bands):
        raise ValueError(
            f"{name}'s {dim!r} is {values[dim].values.tolist()[:4]}…, {cube.what}'s bands are "
            f"{list(cube.bands)[:4]}…; they must agree"
        )


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
        _check_labels(srf, "srf", dim, cube)
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
