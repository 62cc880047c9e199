"""Fine and coarse cubes: read, put on nested grids, and which of their dates serve which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstf._method import Method
from xstf.align.regrid import MIN_VALID, check_min_valid, regrid_images
from xstf.cubes.arrays import Array
from xstf.cubes.native import native_of
from xstf.cubes.nesting import (
    OVERSAMPLED,
    SMALLEST,
    Nesting,
    estimate_resolution,
    nesting_of,
    require_one_side,
    same_resolution,
)
from xstf.cubes.pairs import (
    DateLike,
    LengthLike,
    Pair,
    Plan,
    apart_text,
    match_dates,
    plan_pairs,
    read_dates,
    short_days,
    unpaired,
)
from xstf.cubes.read import Cube, frame_text, read_cube, select_bands
from xstf.cubes.variables import first_band
from xstf.cubes.words import warn_user
from xstf.tiles.gpu import to_host
from xstf.tiles.run import is_lazy

# Texts of dates: such as 2021-05-03 and 20210503, and whole months and years.

# An estimate of the true resolution from fewer true pixels along a side stands on little.
FEWEST_TRUE_PIXELS = 10


@dataclass(frozen=True)
class FuseCubes:
    """A fine and a coarse cube of the same bands, and how their grids nest.

    Parameters
    ----------
    fine, coarse
        As they were read; `coarse` on its own grid.
    times, coarse_times
        datetime64[ns] of both.
    nesting
        The coarse grid that nests in the fine one, its ratio and offset.
    grid_text
        How the coarse cube gets there, in words.
    min_valid
        The least share of a nested coarse pixel that valid ones must cover.
    """

    fine: Cube
    coarse: Cube
    times: np.ndarray
    coarse_times: np.ndarray
    nesting: Nesting
    grid_text: str
    min_valid: float = MIN_VALID

    @property
    def frame_text(self) -> str:
        """What was done and assumed to bring the cubes to one frame, in words."""
        return frame_text(self.fine, self.coarse)

    def pairs(self, tolerance: LengthLike) -> list[Pair]:
        """Return the fine images with a coarse one of their date, in order of time."""
        found = match_dates(self.fine.when, self.coarse.when, tolerance)
        return sorted(found, key=lambda pair: self.times[pair.fine])

    def unpaired(self, tolerance: LengthLike) -> str:
        """Return the fine dates without a coarse image, in words; "" where each has one."""
        alone = unpaired(self.fine.when, match_dates(self.fine.when, self.coarse.when, tolerance))
        return short_days(alone) if alone.size else ""

    def apart(self, tolerance: LengthLike) -> str:
        """Return the pairs whose images are of different days, in words; "" for none."""
        found = match_dates(self.fine.when, self.coarse.when, tolerance)
        return apart_text(self.fine.when, self.coarse.when, found)

    def plans(self, time: DateLike | None, tolerance: LengthLike, record: Method) -> list[Plan]:
        """Return how each wanted date is predicted; raise where one cannot be."""
        return plan_pairs(
            self.fine.when, self.coarse.when, read_dates(time), tolerance=tolerance,
            fewest=record.pairs[0], most=record.pairs[1], method=record.name,
        )  # fmt: skip

    def on_nested_grid(self, dates: Sequence[int]) -> tuple[Array, dict[int, int]]:
        """Return the coarse images on the nested grid, and where among them each date is.

        The array is ``(date, band, Y, X)``, lazy if the cube is. A cube that nests already comes
        whole, as it is.
        """
        if self.nesting.how == "nested" and self.nesting.coarse == self.coarse.grid:
            return self.coarse.data, {date: date for date in dates}
        used = sorted(set(dates))
        images: Array = regrid_images(self.coarse, self.nesting, used, min_valid=self.min_valid)
        return images, {date: i for i, date in enumerate(used)}


def align_fuse(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    mask: xr.DataArray | None = None,
    coarse_mask: xr.DataArray | None = None,
    coarse_resolution: float | None = None,
    min_valid: float = MIN_VALID,
) -> FuseCubes:
    """Return both cubes as :func:`xstf.fuse` and training read them; the arguments are theirs."""
    check_min_valid(min_valid)
    own = read_cube(fine, what="fine", mask=mask)
    other = read_cube(coarse, what="coarse", mask=coarse_mask, resolution=coarse_resolution)
    other = select_bands(other, own.bands, of="fine")
    times, coarse_times = own.dates, other.dates
    nesting, text = _find_nesting(own, other, coarse_resolution)
    return FuseCubes(own, other, times, coarse_times, nesting, text, min_valid)


def _find_nesting(fine: Cube, coarse: Cube, given: float | None) -> tuple[Nesting, str]:
    """Return the nested grids, and in words how the coarse cube gets there."""
    resolution, text = given, ""
    if resolution is None:
        resolution = _stated_resolution(coarse)
    known = native_of(coarse.source, coarse.grid) if resolution is None else None
    if known is not None and not same_resolution(fine.grid, coarse.grid):
        warn_user(
            f"coarse is of {known.sensor} by {known.where}, whose pixels are "
            f"{known.resolution:.4g}, and has pixels of {coarse.grid.resolution:.4g}, which are "
            "taken as its own; if it was resampled to them, give "
            f"coarse_resolution={known.resolution:.4g}"
        )
    elif known is not None:
        resolution = known.resolution
        text = f", true resolution {resolution:.4g} of {known.sensor}, by {known.where}"
    nesting = nesting_of(fine.grid, coarse.grid, coarse_resolution=resolution)
    if resolution is None and same_resolution(fine.grid, coarse.grid):
        resolution = _estimated_resolution(coarse)
        nesting = nesting_of(fine.grid, coarse.grid, coarse_resolution=resolution)
        text = f", true resolution estimated as {resolution:.4g}"
        _warn_of_estimate(coarse, resolution)
    require_one_side(fine.grid, coarse.grid, ("fine", "coarse"))
    if nesting.ratio == 1 and "estimated" not in text:
        warn_user(
            "coarse has pixels as large as fine's (ratio 1), so there is nothing to sharpen: "
            "fusion only carries its changes over; if it was resampled from larger ones, give "
            "their size with coarse_resolution="
        )
    return nesting, f"{nesting.how}, ratio {nesting.ratio}{text}"


def _warn_of_estimate(coarse: Cube, resolution: float) -> None:
    """Warn where an estimate of the true resolution stands on little."""
    own = coarse.grid.resolution
    smallest = min(coarse.data.shape[2:])
    if resolution < OVERSAMPLED * own:
        why = (
            f"no larger pixels than its own ({own:.4g}) were found in it"
            if smallest >= SMALLEST
            else f"{smallest} pixels are too few to find larger ones in"
        )
    elif smallest * own < FEWEST_TRUE_PIXELS * resolution:
        why = f"it has only {smallest * own / resolution:.0f} such pixels along a side"
    else:
        return
    warn_user(
        f"coarse has pixels as small as fine's, so it was resampled, and its true resolution is "
        f"estimated as {resolution:.4g}, which stands on little: {why}; give it with "
        "coarse_resolution= (MODIS 463.3 or 231.7 m, VIIRS 375, Sentinel-3 OLCI 300)"
    )


def _stated_resolution(coarse: Cube) -> float | None:
    """Return what a coarse cube's attrs say of its true pixel size."""
    stated = coarse.source.attrs.get("native_coarse_resolution")
    if stated is None and isinstance(coarse.source, xr.Dataset):
        first = first_band(coarse.source)
        stated = None if first is None else first.attrs.get("native_coarse_resolution")
    return None if stated is None else float(stated)


def _estimated_resolution(coarse: Cube) -> float:
    if is_lazy(coarse.data):
        raise ValueError(
            f"coarse has pixels ({coarse.grid.resolution:g}) as small as fine's, so it was "
            "resampled: give its true pixel size with coarse_resolution= (an estimate needs "
            "computing, which a lazy cube and a plan leave for later)"
        )
    images = to_host(coarse.data)
    return estimate_resolution(images, coarse.grid.resolution)
