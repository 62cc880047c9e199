"""Fine and coarse cubes on nested grids, and the dates that they share."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstf.align.regrid import regrid_images
from xstf.cubes.nesting import Nesting, estimate_resolution, nesting_of, same_resolution
from xstf.cubes.pairs import Plan
from xstf.cubes.read import Cube
from xstf.tiles.engines import to_host
from xstf.tiles.run import is_lazy


def read_dates(time: Any) -> np.ndarray | None:
    """Return the dates that a caller wants as datetime64, None for all."""
    if time is None:
        return None
    values = time.values if isinstance(time, xr.DataArray) else time
    try:
        dates = np.atleast_1d(np.asarray(values, dtype="datetime64[ns]"))
    except (ValueError, TypeError) as error:
        raise ValueError(f"time= must be dates such as '2020-07-01', not {time!r}") from error
    if not dates.size:
        raise ValueError("time= is empty; name dates or leave it out")
    return dates


def find_nesting(sharp: Cube, blurred: Cube, given: float | None) -> tuple[Nesting, str]:
    """Return the nested grids, and in words how the coarse cube gets there."""
    resolution = given if given is not None else _stated_resolution(blurred)
    nesting = nesting_of(sharp.grid, blurred.grid, coarse_resolution=resolution)
    said = ""
    if resolution is None and same_resolution(sharp.grid, blurred.grid):
        resolution = _estimated_resolution(blurred)
        nesting = nesting_of(sharp.grid, blurred.grid, coarse_resolution=resolution)
        said = f", true resolution estimated as {resolution:.4g}"
    return nesting, f"{nesting.how}, ratio {nesting.ratio}{said}"


def _stated_resolution(blurred: Cube) -> float | None:
    """Return what a coarse cube's attrs say of its true pixel size."""
    stated = blurred.source.attrs.get("native_coarse_resolution")
    if stated is None and isinstance(blurred.source, xr.Dataset):
        first = next(v for v in blurred.source.data_vars.values() if v.ndim >= 2)
        stated = first.attrs.get("native_coarse_resolution")
    return None if stated is None else float(stated)


def _estimated_resolution(blurred: Cube) -> float:
    if is_lazy(blurred.data):
        raise ValueError(
            f"coarse has pixels ({blurred.grid.resolution:g}) as small as fine's, so it was "
            "resampled: give its true pixel size with coarse_resolution= (an estimate needs "
            "computing, and the cube is lazy)"
        )
    images = to_host(blurred.data)
    return estimate_resolution(images, blurred.grid.resolution)


def on_nested_grid(cube: Cube, nesting: Nesting, plans: list[Plan]) -> tuple[Any, list[Plan]]:
    """Return the dates that are needed on the nested coarse grid, and the plans in their places.

    The array is ``(date, band, Y, X)``, lazy if the cube is.
    """
    if nesting.how == "nested" and nesting.coarse == cube.grid:
        return cube.data, plans
    used = sorted({i for plan in plans for i in plan.coarse_dates})
    place = {date: i for i, date in enumerate(used)}
    return regrid_images(cube, nesting, used), [plan.at(place) for plan in plans]
