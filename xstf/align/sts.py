"""Three cubes for spatio-temporal-spectral fusion, on grids that nest in the finest."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np

from xstf.align.guides import days_since
from xstf.align.regrid import regrid_images
from xstf.cubes.nesting import Nesting, nesting_of
from xstf.cubes.pairs import nearest_date, read_timedelta
from xstf.cubes.read import Cube, read_cube
from xstf.tiles.sts import Series


def read_cubes(
    fine: Any, coarse: Any, spatial: Any, mask: Any, coarse_mask: Any, spatial_mask: Any
) -> tuple[Cube, Cube, Cube]:
    """Return the three cubes as plain parts; raise if one has no time."""
    cubes = (
        read_cube(fine, what="fine", mask=mask),
        read_cube(coarse, what="coarse", mask=coarse_mask),
        read_cube(spatial, what="spatial", mask=spatial_mask),
    )
    for cube in cubes:
        if cube.times is None:
            raise ValueError(f"{cube.what} has no time; add a time dim or a scalar time coordinate")
    return cubes


def target_dates(times: Any, time: np.ndarray | None, tolerance: str) -> list[int]:
    """Return positions of the dates wanted among the dense ones, in order of time."""
    if time is None:
        return [int(i) for i in np.argsort(times, kind="stable")]
    reach = read_timedelta(tolerance)
    return sorted({nearest_date(date, times, reach) for date in time}, key=lambda i: times[i])


def on_nested_grids(spectral: Cube, dense: Cube, sharp: Cube, tolerance: str) -> Series:
    """Return the three cubes on grids that nest in the sharp one, with their paired dates."""
    images, ratios, how = [], [], []
    for cube in (spectral, dense):
        nesting = at_corner(sharp, cube)
        dates = list(range(cube.data.shape[0]))
        as_is = nesting.how == "nested" and nesting.coarse == cube.grid
        images.append(cube.data if as_is else regrid_images(cube, nesting, dates))
        ratios.append(nesting.ratio)
        how.append(f"{cube.what} {nesting.how}, ratio {nesting.ratio}")
    times: Any = dense.times
    return Series(
        images[0], images[1], sharp.data, (ratios[0], ratios[1]),
        _matched(spectral, dense, sharp, tolerance), days_since(times, times.min()),
        "; ".join(how),
    )  # fmt: skip


def at_corner(sharp: Cube, cube: Cube) -> Nesting:
    """Return the grid nested in the sharp one, at its corner, to which a cube is brought."""
    nesting = nesting_of(sharp.grid, cube.grid, what=("spatial", cube.what))
    if nesting.before == (0, 0):
        return nesting
    grid, ratio = sharp.grid, nesting.ratio
    height, width = ceil(grid.height / ratio), ceil(grid.width / ratio)
    coarse = replace(grid, dy=grid.dy * ratio, dx=grid.dx * ratio, height=height, width=width)
    after = (height * ratio - grid.height, width * ratio - grid.width)
    return Nesting(ratio, coarse, (0, 0), after, "resampled")


def _matched(spectral: Cube, dense: Cube, sharp: Cube, tolerance: str) -> np.ndarray:
    """Return the positions ``(pair, 3)`` of the dates that all three have, in order of time."""
    reach = read_timedelta(tolerance)
    times: list[Any] = [c.times for c in (spectral, dense, sharp)]
    found = []
    for i, date in enumerate(times[0]):
        near = [int(np.abs(t - date).argmin()) for t in times[1:]]
        if all(abs(t[n] - date) <= reach for t, n in zip(times[1:], near, strict=True)):
            found.append((i, *near))
    if not found:
        spans = "; ".join(
            f"{c.what} {np.datetime64(t.min(), 'D')} to {np.datetime64(t.max(), 'D')}"
            for c, t in zip((spectral, dense, sharp), times, strict=True)
        )
        raise ValueError(
            f"fine, spatial and coarse have no date in common within {tolerance} ({spans}); widen "
            "pair_tolerance or add images"
        )
    found.sort(key=lambda pair: times[1][pair[1]])
    return np.array(found)
