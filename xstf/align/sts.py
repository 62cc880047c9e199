"""Three cubes for spatio-temporal-spectral fusion, on grids that nest in the finest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import xarray as xr

from xstf.align.guides import days_since
from xstf.align.regrid import MIN_VALID, check_min_valid, regrid_images
from xstf.cubes.arrays import Array
from xstf.cubes.nesting import Nesting, nesting_of, require_one_side
from xstf.cubes.pairs import (
    DateLike,
    LengthLike,
    match_dates,
    nearest_date,
    read_dates,
    read_timedelta,
    short_days,
)
from xstf.cubes.read import Cube, frame_text, read_cube
from xstf.tiles.sts import Series


@dataclass(frozen=True)
class StsCubes:
    """Three cubes: many bands, many dates, small pixels; and their images on nested grids.

    Parameters
    ----------
    spectral, temporal, spatial
        As they were read.
    series
        Their images on grids that nest in the spatial one, with their paired dates.
    times
        Dates of the temporal cube.
    grid_text
        How the cubes get to the nested grids, in words.
    unpaired
        The spectral cube's dates that the others do not have, in words; "" for none.
    """

    spectral: Cube
    temporal: Cube
    spatial: Cube
    series: Series
    times: np.ndarray
    grid_text: str
    unpaired: str = ""

    @property
    def frame_text(self) -> str:
        """What was done and assumed to bring the cubes to one frame, in words."""
        return frame_text(self.spatial, self.spectral, self.temporal)

    def targets(self, time: DateLike | None, tolerance: LengthLike) -> list[int]:
        """Return positions of the dates wanted among the temporal ones, in order of time."""
        dates = read_dates(time)
        if dates is None:
            return [int(i) for i in np.argsort(self.times, kind="stable")]
        reach = read_timedelta(tolerance)
        found = [nearest_date(date, self.temporal.when, reach) for date in dates]
        if len(set(found)) < len(found):
            raise ValueError(f"time= names a coarse image twice: {short_days(dates)}")
        return sorted(found, key=lambda i: self.times[i])


def align_sts(
    spectral: xr.DataArray | xr.Dataset,
    temporal: xr.DataArray | xr.Dataset,
    spatial: xr.DataArray | xr.Dataset,
    *,
    mask: xr.DataArray | None = None,
    temporal_mask: xr.DataArray | None = None,
    spatial_mask: xr.DataArray | None = None,
    pair_tolerance: LengthLike = "1D",
    min_valid: float = MIN_VALID,
) -> StsCubes:
    """Return the three cubes as :func:`xstf.fuse` with ``spatial=`` and training read them.

    They go by what they give: `spectral` is fuse's ``fine``, `temporal` its ``coarse``, and
    `spatial` its ``spatial``.
    """
    check_min_valid(min_valid)
    many = read_cube(spectral, what="fine", mask=mask)
    often = read_cube(temporal, what="coarse", mask=temporal_mask)
    small = read_cube(spatial, what="spatial", mask=spatial_mask)
    times = [cube.dates for cube in (many, often, small)]
    bands, band_ratio, band_text = _on_nested_grid(small, many, min_valid)
    images, ratio, text = _on_nested_grid(small, often, min_valid)
    pairs = _paired_dates((many, often, small), times, pair_tolerance)
    series = Series(
        bands, images, small.data, (band_ratio, ratio), pairs,
        days_since(times[1], times[1].min()),
    )  # fmt: skip
    alone = np.setdiff1d(np.arange(len(times[0])), pairs[:, 0])
    without = short_days(times[0][alone]) if alone.size else ""
    return StsCubes(many, often, small, series, times[1], f"{band_text}; {text}", without)


def _on_nested_grid(spatial: Cube, cube: Cube, min_valid: float) -> tuple[Array, int, str]:
    """Return a cube's images on a grid nested in the spatial one, the ratio, and that in words."""
    nesting = _at_corner(spatial, cube)
    text = f"{cube.what} {nesting.how}, ratio {nesting.ratio}"
    if nesting.how == "nested" and nesting.coarse == cube.grid:
        return cube.data, nesting.ratio, text
    dates = list(range(cube.data.shape[0]))
    images = regrid_images(cube, nesting, dates, min_valid=min_valid)
    return images, nesting.ratio, text


def _at_corner(spatial: Cube, cube: Cube) -> Nesting:
    """Return the grid nested in the spatial one, at its corner, to which a cube is brought."""
    names = ("spatial", cube.what)
    nesting = nesting_of(spatial.grid, cube.grid, what=names)
    require_one_side(spatial.grid, cube.grid, names)
    if nesting.before == (0, 0):
        return nesting
    grid, ratio = spatial.grid, nesting.ratio
    height, width = ceil(grid.height / ratio), ceil(grid.width / ratio)
    coarse = replace(grid, dy=grid.dy * ratio, dx=grid.dx * ratio, height=height, width=width)
    after = (height * ratio - grid.height, width * ratio - grid.width)
    return Nesting(ratio, coarse, (0, 0), after, "resampled")


def _paired_dates(
    cubes: tuple[Cube, Cube, Cube], times: list[np.ndarray], tolerance: LengthLike
) -> np.ndarray:
    """Return the positions ``(pair, 3)`` of the dates that all three have, in order of time."""
    often, small = (
        {p.fine: p.coarse for p in match_dates(cubes[0].when, cube.when, tolerance)}
        for cube in cubes[1:]
    )
    found = [(i, often[i], small[i]) for i in range(len(times[0])) if i in often and i in small]
    if not found:
        spans = "; ".join(
            f"{c.what} {np.datetime64(t.min(), 'D')} to {np.datetime64(t.max(), 'D')}"
            for c, t in zip(cubes, times, strict=True)
        )
        raise ValueError(
            f"fine, spatial and coarse have no date in common within {tolerance} ({spans}); widen "
            "pair_tolerance or add images"
        )
    found.sort(key=lambda pair: times[1][pair[1]])
    return np.array(found)
