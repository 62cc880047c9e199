"""Two cubes on one grid: what a metric checks before it compares, and what it then compares."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from xstf.cubes.crs import crs_of, grid_mapping_name, lost_mapping
from xstf.cubes.decode import decode
from xstf.cubes.dims import NAMES, band_dim, find_dim
from xstf.cubes.grid import LONGITUDES, TURN, crs_name, same_crs
from xstf.cubes.place import at_centres
from xstf.cubes.words import listed

Per: TypeAlias = str | Sequence[str] | None

_SAME_GRID = 1e-3  # pixels: what GeoTIFF and NetCDF round coordinates by, far below what matters


@dataclass(frozen=True, eq=False)
class Case:
    """Two cubes, missing in the same pixels, and what is asked of them."""

    estimate: xr.DataArray
    truth: xr.DataArray
    whole_truth: xr.DataArray  # also where the estimate is missing: what peak and span come from
    band: Hashable | None
    space: tuple[Hashable | None, Hashable | None]  # y, x
    kept: tuple[Hashable, ...]
    crs: Hashable | None  # the coordinate that holds it
    units: str | None

    @property
    def difference(self) -> xr.DataArray:
        """The estimate minus the truth."""
        return self.estimate - self.truth

    @property
    def reduced(self) -> list[Hashable]:
        """The dims that a value per band is a mean over."""
        return [d for d in self.truth.dims if d != self.band and d not in self.kept]

    def mean(self, values: xr.DataArray) -> xr.DataArray:
        """Return the mean of what is there, per band and per dim that is kept."""
        return nanmean(values, [d for d in self.reduced if d in values.dims])


def match_cubes(estimate: xr.DataArray, truth: xr.DataArray, per: Per, band: str | None) -> Case:
    """Return two cubes in one order of labels; raise where they are not on one grid."""
    for cube, role in ((estimate, "estimate"), (truth, "truth")):
        if not isinstance(cube, xr.DataArray):
            raise TypeError(
                f"{role} is a {type(cube).__name__}; give a DataArray "
                "(dataset.to_dataarray('band'), or truth.copy(data=array) for a plain array)"
            )
    estimate, truth = (_at_centres(cube) for cube in (estimate, truth))
    if set(estimate.dims) != set(truth.dims):
        raise ValueError(
            f"estimate has dims {listed(estimate.dims)} and truth {listed(truth.dims)}: "
            "both need the same ones, in any order"
        )
    kept = (per,) if isinstance(per, str) else tuple(per or ())
    if unknown := [d for d in kept if d not in truth.dims]:
        raise ValueError(f"per={per!r}: the cubes have no dim {unknown}, only {listed(truth.dims)}")
    _check_crs(estimate, truth)
    found, space = _band_dim(truth, band), _find_space(estimate, truth)
    crs, units = grid_mapping_name(estimate), truth.attrs.get("units")
    for dim in estimate.dims:
        truth = _in_order_of(estimate, truth, dim)
    e, t = _plain(estimate, "estimate"), _plain(truth, "truth")
    valid = np.isfinite(e) & np.isfinite(t)
    return Case(e.where(valid), t.where(valid), t, found, space, kept, crs, units)


def _at_centres(cube: xr.DataArray) -> xr.DataArray:
    """Return a cube whose coordinates are centres, as those of results are."""
    moved = at_centres(cube, (find_dim(cube, "y"), find_dim(cube, "x")))
    return moved if isinstance(moved, xr.DataArray) else cube


def match_spectra(
    estimate: xr.DataArray, truth: xr.DataArray, per: Per, band: str | None, name: str
) -> Case:
    """Return the case of a metric that is defined over all bands."""
    case = match_cubes(estimate, truth, per, band)
    if case.band is None:
        raise ValueError(
            f"{name} needs spectra, and none of the dims is one of bands: {listed(truth.dims)}; "
            "name it in band="
        )
    if case.band in case.kept:
        raise ValueError(f"{name} has one value for all bands: per cannot keep {case.band!r}")
    return case


def _band_dim(cube: xr.DataArray, band: str | None) -> Hashable | None:
    if band is None:
        return next((d for d in NAMES["band"] if d in cube.dims), None)
    if band not in cube.dims:
        raise ValueError(f"band={band!r}: the cubes have no such dim, only {listed(cube.dims)}")
    return band


def _check_crs(estimate: xr.DataArray, truth: xr.DataArray) -> None:
    ours, theirs = (
        crs_of(cube) if lost_mapping(cube) is None else None for cube in (estimate, truth)
    )
    if same_crs(ours, theirs):
        return
    both = {"estimate": ours, "truth": theirs}
    names = {role: crs_name(crs) for role, crs in both.items() if crs is not None}
    if len(names) == 2:
        raise ValueError(
            f"estimate is in {names['estimate']} and truth in {names['truth']}: "
            "reproject one onto the other's grid first"
        )
    role, partner = ("estimate", "truth") if ours is None else ("truth", "estimate")
    raise ValueError(
        f"the {role} has no CRS and the {partner} has {names[partner]}; if they share it: "
        f"{role}.assign_coords(spatial_ref={partner}.spatial_ref)"
    )


def _in_order_of(estimate: xr.DataArray, truth: xr.DataArray, dim: Hashable) -> xr.DataArray:
    """Return the truth with the estimate's labels along a dim, or say how they differ."""
    if estimate.sizes[dim] != truth.sizes[dim]:
        raise ValueError(
            f"estimate has size {estimate.sizes[dim]} along {dim!r}, truth {truth.sizes[dim]}: "
            "select the part that both have, or resample one to the other's grid"
        )
    if dim not in estimate.indexes or dim not in truth.indexes:
        return truth
    ours, theirs = estimate.indexes[dim], truth.indexes[dim]
    if ours.equals(theirs):
        return truth
    order = _positions(ours, theirs)
    if (order < 0).any():
        raise ValueError(f"estimate and truth differ along {dim!r}: {_offset(ours, theirs)}")
    return truth.isel({dim: order}).assign_coords({dim: estimate[dim]})


def _positions(ours: pd.Index, theirs: pd.Index) -> np.ndarray:
    """Return where each of our labels is among theirs, -1 where it is not."""
    if not (ours.is_unique and theirs.is_unique):
        return np.full(len(ours), -1)
    numbers = ours.dtype.kind == "f" and theirs.dtype.kind in "iuf" or theirs.dtype.kind == "f"
    monotonic = theirs.is_monotonic_increasing or theirs.is_monotonic_decreasing
    if numbers and monotonic and len(ours) > 1 and ours.dtype.kind in "iuf":
        near = _SAME_GRID * float(np.abs(np.diff(theirs)).min())
        return np.asarray(theirs.get_indexer(ours, method="nearest", tolerance=near))
    return np.asarray(theirs.get_indexer(ours))


def _offset(ours: pd.Index, theirs: pd.Index) -> str:
    if ours.dtype.kind in "iuf" and theirs.dtype.kind in "iuf" and len(ours) > 1:
        step = float(np.median(np.diff(theirs)))
        shift = float(np.median(np.asarray(ours) - np.asarray(theirs)))
        if str(ours.name).lower() in LONGITUDES and shift and shift % TURN == 0:
            name = ours.name
            return (
                f"longitudes from {ours[0]} and from {theirs[0]}; bring both to one frame: "
                f"assign_coords({name}=({name} + 180) % 360 - 180).sortby({name!r})"
            )
        off = f"offset {shift / step:.2f} px" if step else "duplicate labels"
        return f"{off} (first labels {ours[0]} and {theirs[0]}); resample one to the other's grid"
    first = next(i for i in range(len(ours)) if ours[i] not in theirs or not theirs.is_unique)
    return (
        f"{ours[first]} is at {first} in the estimate, where truth has {theirs[first]}; "
        "give both the same labels, each once"
    )


def _plain(cube: xr.DataArray, role: str) -> xr.DataArray:
    """Return a cube as float64 with NaN where a pixel is missing, unpacked."""
    if cube.dtype.kind not in "iuf":
        raise TypeError(f"{role} has dtype {cube.dtype}; a metric needs real numbers")
    values = decode(cube, np.float64, band=band_dim(cube), what=role)
    return values.drop_attrs(deep=False)  # the coordinate with the CRS lives off its attrs


def _find_space(*cubes: xr.DataArray) -> tuple[Hashable | None, Hashable | None]:
    """Return the spatial dims, y first, by name or by the CF attributes of either cube."""
    found: tuple[Hashable | None, Hashable | None] = (None, None)
    for cube in cubes:
        y, x = found
        found = y or find_dim(cube, "y"), x or find_dim(cube, "x")
    return found


def space_of(case: Case, smallest: int, name: str) -> tuple[Hashable, Hashable]:
    """Return the spatial dims, y first; raise where there are none or too few pixels."""
    (y, x), sizes = case.space, case.truth.sizes
    if y is None or x is None:
        raise ValueError(f"{name} needs the dims y and x (or lat and lon); found {listed(sizes)}")
    if min(sizes[y], sizes[x]) < smallest:
        raise ValueError(
            f"{name} needs {smallest} × {smallest} pixels or more, not {(sizes[y], sizes[x])}"
        )
    return y, x


def nanmean(values: xr.DataArray, dims: Sequence[Hashable]) -> xr.DataArray:
    """Return the mean of the values that are there, NaN where there are none."""
    # xarray's own mean divides 0 by 0 in a dask worker, which warns there
    return values.sum(dims, skipna=True) / _count(values, dims)


def _count(values: xr.DataArray, dims: Sequence[Hashable]) -> xr.DataArray:
    """Return how many values are there, NaN for none."""
    count = values.notnull().sum(dims)
    return count.where(count > 0)


@dataclass(frozen=True, eq=False)
class Moments:
    """Means, variances, covariance and number of the pixels of two cubes."""

    mean_e: xr.DataArray
    mean_t: xr.DataArray
    var_e: xr.DataArray
    var_t: xr.DataArray
    cov: xr.DataArray
    pixels: xr.DataArray  # NaN for none


def moments(e: xr.DataArray, t: xr.DataArray, dims: Sequence[Hashable]) -> Moments:
    """Return the moments of two cubes that miss the same pixels, which are counted once."""
    pixels = _count(e, dims)
    mean_e, mean_t = (v.sum(dims, skipna=True) / pixels for v in (e, t))
    # twice through the data: E[x^2] - E[x]^2 loses the variance of a bright, flat image
    off_e, off_t = e - mean_e, t - mean_t
    var_e, var_t, cov = (
        v.sum(dims, skipna=True) / pixels for v in (off_e**2, off_t**2, off_e * off_t)
    )
    return Moments(mean_e, mean_t, var_e, var_t, cov, pixels)
