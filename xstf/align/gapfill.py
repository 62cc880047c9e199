"""A cube to fill: its dates in order, its guides on its frame, and what is certainly clear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from xstf.align.dates import Asked, ask
from xstf.align.guides import day_of_year, days_since, listed_guides, read_certain, read_guide
from xstf.cubes.arrays import Array, Guides
from xstf.cubes.pairs import DateLike, LengthLike
from xstf.cubes.read import Cube, frame_text, read_cube
from xstf.tiles.guide import GuideTile


@dataclass(frozen=True)
class GapfillCubes:
    """A cube to fill, and what helps to fill it.

    Parameters
    ----------
    cube
        As it was read, dates in the caller's order.
    dates
        datetime64[ns], in order of time: those of the images, and those that are asked for besides.
    order
        Where the image of each date that has one is in the cube.
    times
        Days from the first image to each date, ascending; composites count at mid-period.
    first_day
        Days from 1 January to the first image.
    asked
        Which dates are the result's, and which have an image; None where nothing was asked for.
    guides
        Radar and other cubes, each with how its parts become ones on the cube's dates and grid.
    guides_text
        What was made of them, in words.
    certain
        ``(time, 1, y, x)``, 1 where a pixel is certainly clear, in the cube's order; or None.
    """

    cube: Cube
    dates: np.ndarray
    order: np.ndarray
    times: np.ndarray
    first_day: float
    asked: Asked | None
    guides: tuple[tuple[Cube, GuideTile], ...]
    guides_text: str
    certain: Array | None

    @property
    def frame_text(self) -> str:
        """What was done to bring the cubes to one frame, in words; "" for nothing."""
        return frame_text(self.cube, *(guide for guide, _ in self.guides))

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
    sar: Guides | None = None,
    guide: Guides | None = None,
    *,
    mask: xr.DataArray | None = None,
    certain: xr.DataArray | None = None,
    sar_units: str | None = None,
    guide_tolerance: LengthLike = "12D",
    time: DateLike | None = None,
    freq: str | None = None,
) -> GapfillCubes:
    """Return the cubes as :func:`xstf.gapfill` and training read them; the arguments are theirs."""
    optical = read_cube(cube, what="cube", mask=mask, unsized=True, series=True)
    if optical.times is None or optical.dims[0] is None:
        raise ValueError("cube has no time dim; stack its images along one with datetime64 dates")
    order = np.argsort(optical.when.moments, kind="stable")
    when = optical.when[order]
    asked = ask(when, time, freq)
    dates, moments = (when.stamps, when.moments) if asked is None else (asked.every, asked.moments)
    times, first_day = days_since(moments, when.moments[0]), day_of_year(when.stamps[0])
    guides = [
        read_guide(given, what, optical, moments, guide_tolerance, sar_units)
        for what, given in (*listed_guides(sar, "sar"), *listed_guides(guide, "guide"))
    ]
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
        asked=asked,
        guides=tuple((each.cube, each.tile) for each in guides),
        guides_text="; ".join(each.said for each in guides),
        certain=sure,
    )
