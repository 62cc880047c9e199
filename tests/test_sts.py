"""`fuse` with a third cube: many bands, at the grid of one cube, on the dates of another."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr

import xstf

SCENE = xstf.scenes.hyperspectral_series(size=96, bands=40)
SPECTRAL, DENSE, SHARP = SCENE.spectral, SCENE.dense, SCENE.sharp


def fuse(spectral=SPECTRAL, dense=DENSE, sharp=SHARP, **call):
    return spectral.stf.fuse(dense, spatial=sharp, **call)


def error(estimate, truth=SCENE.truth):
    return float(np.sqrt(np.nanmean((estimate.values - truth.values) ** 2)))


FUSED = fuse()


def test_every_dense_date_at_the_sharp_grid_with_the_many_bands():
    assert FUSED.dims == SPECTRAL.dims
    assert FUSED.dtype == np.float32
    assert FUSED.name == "reflectance"
    xr.testing.assert_identical(FUSED.time.variable, DENSE.time.variable)
    xr.testing.assert_identical(FUSED.wavelength.variable, SPECTRAL.wavelength.variable)
    for dim in ("y", "x"):
        xr.testing.assert_identical(FUSED[dim].variable, SHARP[dim].variable)
    assert pyproj.CRS.from_cf(FUSED.spatial_ref.attrs) == pyproj.CRS.from_cf(
        SHARP.spatial_ref.attrs
    )
    assert FUSED.attrs["stf_method"].startswith("sts_linear(")
    assert FUSED.attrs["stf_grid"] == "fine nested, ratio 3; coarse nested, ratio 2"
    assert not np.isnan(FUSED).any()


def test_it_beats_two_stages_and_interpolation():
    """Fusion in time, then sharpening, as one line of user code; and the spectra in time alone."""
    matched = DENSE.sel(band=SHARP.band.values)
    sharp = xr.concat([SHARP, SHARP.stf.fuse(matched, method="fitfc")], "time").sortby("time")
    nearest = SPECTRAL.sel(time=sharp.time, method="nearest").assign_coords(time=sharp.time)
    two = nearest.stf.sharpen_spectral(sharp, method="gsa")
    alone = SPECTRAL.interp(time=DENSE.time).interp_like(SHARP[0, 0], kwargs={"fill_value": None})
    ours = error(FUSED)
    assert ours < 0.5 * error(two)
    assert ours < 0.5 * error(alone.transpose(*FUSED.dims))
    angle = xstf.metrics.sam(FUSED, SCENE.truth)
    assert float(angle) < 0.5 * float(xstf.metrics.sam(two, SCENE.truth))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [{"y": 20, "x": 31}, {"y": 96, "x": 13}, {"time": 1, "band": 7}])
def test_lazy_cubes_give_the_same_and_compute_nothing_before(chunk):
    with xstf.testing.raise_if_dask_computes():
        lazy = fuse(
            SPECTRAL.chunk(y=9), DENSE.chunk(time=1),
            SHARP.chunk({k: v for k, v in chunk.items() if k != "band"}),
        )  # fmt: skip
    assert lazy.chunks is not None
    # The exemption of sts_linear: what decays is cut at the halo.
    np.testing.assert_allclose(lazy.compute(), FUSED, atol=3e-4)


def test_some_dates_in_any_order_of_the_cubes():
    few = fuse(
        SPECTRAL.isel(time=[2, 0, 3, 1]), DENSE.isel(time=slice(None, None, -1)),
        SHARP.isel(time=[1, 3, 2, 0]), time=DENSE.time[[5, 1]],
    )  # fmt: skip
    xr.testing.assert_identical(few.time.variable, DENSE.time[[1, 5]].variable)
    np.testing.assert_allclose(few, FUSED[[1, 5]], atol=1e-5)


def test_any_dims_order_and_a_dataset():
    out = fuse(SPECTRAL.transpose("y", "x", "band", "time"), DENSE.transpose("x", ...))
    assert out.dims == ("y", "x", "band", "time")
    np.testing.assert_allclose(out.transpose(*FUSED.dims), FUSED, atol=1e-6)
    bands = SPECTRAL.drop_vars("wavelength").to_dataset("band").assign_attrs(title="a")
    many = fuse(bands)
    assert isinstance(many, xr.Dataset)
    np.testing.assert_allclose(many[str(SPECTRAL.band.values[3])], FUSED[:, 3], atol=1e-6)


def test_clouds_take_other_pairs_and_nothing_is_invented():
    dense = DENSE.copy(deep=True)
    dense[3, :, 4:8, 10:14] = np.nan
    mask = xr.zeros_like(SHARP[:, 0], dtype=bool)
    mask[1, 20:50, 20:50] = True
    out = fuse(dense=dense, spatial_mask=mask)
    hole = np.isnan(out[3, 0])
    assert hole[8:16, 20:28].all()
    assert int(hole.sum()) == 64
    assert not np.isnan(out[[0, 1, 2, 4, 5, 6]]).any()
    assert error(out[2], SCENE.truth[2]) < 2 * error(FUSED[2], SCENE.truth[2])


@pytest.mark.filterwarnings("ignore:coarse.s spatial_ref.*disagree")  # the attribute stays
def test_cubes_that_do_not_nest_are_brought():
    moved = DENSE.assign_coords(x=DENSE.x + 20.0)
    out = fuse(dense=moved, time=DENSE.time[3])
    assert "coarse resampled" in out.attrs["stf_grid"]
    assert np.isfinite(out).mean() > 0.9
    shifted = SPECTRAL.isel(x=slice(2, None))
    out = fuse(shifted, time=DENSE.time[2])
    assert np.isnan(out[..., :5]).all()


def test_inputs_are_left_alone():
    copies = [c.copy(deep=True) for c in (SPECTRAL, DENSE, SHARP)]
    fuse()
    for cube, copy in zip((SPECTRAL, DENSE, SHARP), copies, strict=True):
        xr.testing.assert_identical(cube, copy)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"method": "starfm"}, "no sts method 'starfm'"),
        ({"coarse_resolution": 60.0}, "does not go with spatial="),
        ({"rank": 0}, "rank=0: give a whole number of at least 1"),
        ({"return_quality": True}, "gives no standard deviation"),
        ({"time": "1999-01-01"}, "no coarse image within"),
        ({"sharp": SHARP.assign_coords(time=SHARP.time + np.timedelta64(400, "D"))},
         "no date in common"),
        ({"sharp": SHARP.isel(time=0, drop=True)}, "has no time"),
        ({"spectral": SHARP, "sharp": SPECTRAL}, "are they swapped"),
    ],
)  # fmt: skip
def test_bad_calls_say_what_is_wrong(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        fuse(**call)


def test_a_mask_of_a_third_cube_needs_one():
    with pytest.raises(ValueError, match="spatial_mask"):
        xstf.fuse(SHARP, DENSE.sel(band=SHARP.band.values), spatial_mask=SHARP[:, 0].isnull())


def test_a_date_that_the_others_lack_is_named_and_none_is_asked_for_twice():
    with pytest.warns(UserWarning, match="without a coarse and a spatial one"):
        fused = fuse(sharp=SHARP.isel(time=[0, 3]), time=DENSE.time[2])
    assert fused.attrs["stf_unpaired"]
    with pytest.raises(ValueError, match="twice"):
        fuse(time=[DENSE.time.values[2], DENSE.time.values[2] + np.timedelta64(1, "h")])


def test_fewer_pairs_do_worse_and_work():
    two = fuse(SPECTRAL.isel(time=[0, 3]), time=DENSE.time[3])
    one = fuse(SPECTRAL.isel(time=[1]), time=DENSE.time[3])
    truth = SCENE.truth[[3]]
    assert error(FUSED[[3]], truth) < error(two, truth) < error(one, truth)
