"""Cubes that are missing wholly or in part: what comes out, and what is said."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from records import each_name

import xstf


def nothing_of(what, call):
    """Return the result of a call that is to warn once, of one cube; no other warning passes."""
    with pytest.warns(UserWarning, match="every value") as said:
        result = call()
    assert [str(w.message).split(" is missing")[0] for w in said] == [f"every value of {what}"]
    return result


@each_name("gapfill")
def test_a_cube_without_a_value_stays_so_and_is_said(method):
    cube, _ = xstf.testing.holes()
    cube = cube[:12, :, :12, :12]
    filled = nothing_of("cube", lambda: (cube * np.nan).stf.gapfill(method=method))
    assert filled.isnull().all()
    xr.testing.assert_equal(filled.time, cube.time)


def test_one_that_a_mask_covers_is_said(scene):
    cube = scene[0]
    mask = xr.ones_like(cube.isel(time=0, band=0, drop=True), dtype=bool)
    filled = nothing_of("cube", lambda: cube.stf.gapfill(method="linear", mask=mask))
    assert filled.isnull().all()


def test_a_date_without_a_value_is_no_reason_to_warn(scene):
    cube = scene[1].copy()
    cube[2] = np.nan
    assert not cube.stf.gapfill(method="linear").isnull().any()


def test_a_radar_without_a_value_is_named():
    cube, sar = xstf.testing.holes()
    cube = cube[:12, :, :12, :12]
    want = cube.stf.gapfill(method="gp")
    got = nothing_of("sar", lambda: cube.stf.gapfill(sar * np.nan, sar_units="dB", method="gp"))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("empty", ["spectral", "spatial"])
def test_sharpening_names_the_cube_without_a_value(empty):
    cubes = dict(zip(("spectral", "spatial"), xstf.testing.bands(), strict=False))
    cubes[empty] = cubes[empty] * np.nan
    sharp = nothing_of(empty, lambda: xstf.sharpen_spectral(**cubes, method="sfim"))
    assert sharp.isnull().all()


@pytest.mark.parametrize("empty", ["spectral", "dense", "sharp"])
def test_three_cubes_name_the_one_without_a_value(empty):
    made = xstf.scenes.hyperspectral_series(size=30, bands=40)
    cubes = {name: getattr(made, name) for name in ("spectral", "dense", "sharp")}
    cubes[empty] = cubes[empty] * np.nan
    name = {"spectral": "fine", "dense": "coarse", "sharp": "spatial"}[empty]
    fused = nothing_of(
        name, lambda: xstf.fuse(cubes["spectral"], cubes["dense"], spatial=cubes["sharp"])
    )
    # Dates on which all sensors look are made of the others alone.
    assert (fused[1::2] if empty == "dense" else fused).isnull().all()


# --- coarse cells that are seen in part -------------------------------------------------------


def halves(scene):
    """Return a fine cube, and a coarse one whose provider cut its pixels in four."""
    fine, coarse = scene
    cut = xr.DataArray(
        coarse.values.repeat(2, 2).repeat(2, 3), dims=coarse.dims,
        coords={"time": coarse.time, "band": coarse.band},
    )  # fmt: skip
    for dim in ("y", "x"):
        step = float(coarse[dim][1] - coarse[dim][0]) / 2
        first = float(coarse[dim][0]) - step / 2
        cut = cut.assign_coords({dim: first + step * np.arange(cut.sizes[dim])})
    for name in set(coarse.coords) - set(cut.coords):
        cut = cut.assign_coords({name: coarse[name]})
    cut.attrs["native_coarse_resolution"] = abs(float(coarse.y[1] - coarse.y[0]))
    return fine, cut


@pytest.mark.parametrize(
    ("gone", "least", "kept"),
    [(1, 0.5, True), (1, 0.75, True), (1, 0.76, False), (2, 0.5, True), (2, 0.51, False),
     (3, 0.25, True), (3, 0.5, False), (4, 0.01, False)],
)  # fmt: skip
def test_a_cell_seen_in_part_counts_by_its_valid_share(scene, gone, least, kept):
    fine, coarse = halves(scene)
    want = xstf.fuse(fine, coarse, method="starfm", window=9, time=coarse.time[1])
    poked = coarse.copy()
    for y, x in ((4, 4), (4, 5), (5, 4), (5, 5))[:gone]:
        poked[1, :, y, x] = np.nan
    call = {"method": "starfm", "window": 9, "time": coarse.time[1], "min_valid": least}
    got = xstf.fuse(fine, poked, **call)
    cell = (..., slice(16, 24), slice(16, 24))
    assert bool(np.isnan(got.values[cell]).all()) != kept
    if kept:  # the valid part has the value of the whole cell here
        np.testing.assert_allclose(got, want, rtol=1e-4)
    lazy = xstf.fuse(fine.chunk(y=20, x=20), poked.chunk(y=5, x=5), **call)
    np.testing.assert_allclose(lazy, got, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [0, -0.1, 1.1, np.nan, True, "half"])
def test_a_share_that_is_none(scene, wrong):
    with pytest.raises((ValueError, TypeError), match="min_valid"):
        xstf.fuse(*scene, method="starfm", min_valid=wrong)
