"""A cube to fill: its dates in order, its guides on its frame, and what is certainly clear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from xstf.align.guides import day_of_year, days_since, read_certain, read_guide
from xstf.cubes.arrays import Array
from xstf.cubes.pairs import LengthLike
from xstf.cubes.read import Cube, read_cube
from xstf.tiles.guide import GuideTile


@dataclass(frozen=True)
class GapfillCubes:
    """A cube to fill, and what helps to fill it.

    Parameters
    ----------
    cube
        As it was read, dates in the caller's order.
    dates
        datetime64[ns], ascending.
    order
        Where each of these is in the cube.
    times
        Days since the first date, ascending.
    first_day
        Days from 1 January to the first date.
    guides
        Radar and other cubes, each with how its parts become ones on the cube's dates and grid.
    certain
        ``(time, 1, y, x)``, 1 where a pixel is certainly clear, in the cube's order; or None.
    """

    cube: Cube
    dates: np.ndarray
    order: np.ndarray
    times: np.ndarray
    first_day: float
    guides: tuple[tuple[Cube, GuideTile], ...]
    certain: Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along y and x."""
        return self.cube.grid.height, self.cube.grid.width

    @property
    def guide_bands(self) -> int:
        """How many bands the guides have together, orbits apart."""
        return sum(len(tile.weights) * guide.data.shape[1] for guide, tile in self.guides)


def align_gapfill(
    cube: xr.DataArray | xr.Dataset,
    sar: xr.DataArray | xr.Dataset | None = None,
    guide: xr.DataArray | xr.Dataset | None = None,
    *,
    mask: xr.DataArray | None = None,
    certain: xr.DataArray | None = None,
    sar_units: str | None = None,
    guide_tolerance: LengthLike = "12D",
) -> GapfillCubes:
    """Return the cubes as :func:`xstf.gapfill` and training read them; the arguments are theirs."""
    optical = read_cube(cube, what="cube", mask=mask)
    if optical.times is None or optical.dims[0] is None:
        raise ValueError("cube has no time dim; stack its images along one with datetime64 dates")
    first = optical.times.min()
    order = np.argsort(optical.times, kind="stable")
    dates = optical.times[order]
    times, first_day = days_since(dates, first), day_of_year(first)
    guides = tuple(
        read_guide(given, what, optical, order, guide_tolerance, sar_units)
        for given, what in ((sar, "sar"), (guide, "guide"))
        if given is not None
    )
    sure = None
    if certain is not None:
        sure, brought = read_certain(certain, optical)
        texts = [optical.masked, f"certain {brought}" if brought else ""]
        optical = replace(optical, masked="; ".join(t for t in texts if t))
    return GapfillCubes(
        cube=optical,
        dates=dates,
        order=order,
        times=times,
        first_day=first_day,
        guides=guides,
        certain=sure,
    )
