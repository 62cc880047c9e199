"""`fuse` as a user meets it: bad input, clouds, quality, grids."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.methods.lookup import classical_names

METHODS = pytest.mark.parametrize("method", classical_names("fuse"))


def with_crs(cube, epsg):
    import pyproj

    crs = pyproj.CRS.from_epsg(epsg)
    return cube.assign_coords(spatial_ref=xr.Variable((), 0, crs.to_cf()))


# --- what must be refused before any computing ---


@pytest.fixture
def lazy_scene(scene):
    return scene[0].chunk(y=16, x=16), scene[1].chunk(y=2, x=2)


def refused(error, match, *cubes, **options):
    with xstf.testing.raise_if_dask_computes(), pytest.raises(error, match=match):
        xstf.fuse(*cubes, **options)


def test_no_overlap_in_space(lazy_scene):
    fine, coarse = lazy_scene
    refused(ValueError, "overlap", fine, coarse.assign_coords(x=coarse.x + 1e6))


def test_no_pair_within_tolerance(lazy_scene):
    fine, coarse = lazy_scene
    moved = fine.assign_coords(time=fine.time + np.timedelta64(60, "h"))
    refused(ValueError, "no fine image has a coarse image within 1D", moved, coarse)


def test_one_pair_for_a_two_pair_method(lazy_scene):
    fine, coarse = lazy_scene
    refused(ValueError, r"estarfm needs 2 pairs.*found 1", fine[:1], coarse, method="estarfm")


def test_coarse_finer_than_fine(lazy_scene):
    fine, coarse = lazy_scene
    refused(ValueError, "smaller than fine pixels", coarse, fine, time=fine.time[0])


def test_crs_on_one_side_only(lazy_scene):
    fine, coarse = lazy_scene
    refused(ValueError, "CRS", with_crs(fine, 32633), coarse)
    refused(ValueError, "CRS", fine, with_crs(coarse, 32633))


def test_same_numbers_in_another_crs_are_not_taken_as_they_are(lazy_scene):
    fine, coarse = lazy_scene
    refused(ValueError, "overlap", with_crs(fine, 32633), with_crs(coarse, 32755))


def test_dates_duplicated(lazy_scene):
    fine, coarse = lazy_scene
    refused(ValueError, "fine has dates twice", fine.isel(time=[0, 0, 1]), coarse)


def test_dates_in_any_order_give_the_same(scene):
    fine, coarse = scene
    want = xstf.fuse(fine, coarse, method="starfm")
    xr.testing.assert_allclose(
        xstf.fuse(fine[::-1], coarse.isel(time=[3, 0, 4, 1, 2]), method="starfm"), want
    )


@pytest.mark.parametrize("window", [0, 8, -3, 2.5, "wide", True])
@METHODS
def test_a_window_that_is_none(lazy_scene, method, window):
    refused((ValueError, TypeError), "window", *lazy_scene, method=method, window=window)


def test_unknown_method_lists_those_there_are(lazy_scene):
    refused(
        ValueError, r"no fuse method 'starfn'; there are \[.*'starfm'", *lazy_scene, method="starfn"
    )


def test_unknown_engine_lists_those_there_are(lazy_scene):
    refused(ValueError, "no engine 'gpu'", *lazy_scene, method="starfm", engine="gpu")


def test_unknown_parameter_lists_those_there_are(lazy_scene):
    refused(
        TypeError,
        r"no parameter \['windw'\]; it has window=",
        *lazy_scene,
        method="starfm",
        windw=3,
    )


def test_dates_that_are_none(lazy_scene):
    for wrong in ("soon", 20200701, "202007", "99999999", True):
        refused(ValueError, "time= must be dates", *lazy_scene, time=wrong)
    refused(ValueError, "time= has 1 dates that are NaT", *lazy_scene, time=[np.datetime64("NaT")])


def test_no_time(lazy_scene):
    fine, coarse = lazy_scene
    refused(ValueError, "fine has no time", fine.isel(time=0, drop=True), coarse)


def test_lazy_resampled_coarse_cube_needs_its_resolution(lazy_scene):
    fine, _ = lazy_scene
    refused(ValueError, "coarse_resolution", fine[:1], fine)


@pytest.mark.parametrize("resolution", [0, -3, np.nan])
def test_a_coarse_resolution_that_is_none(lazy_scene, resolution):
    refused(ValueError, "coarse_resolution", *lazy_scene, coarse_resolution=resolution)


# --- what must come out as missing, or as if it were ---


@METHODS
def test_an_all_missing_date_is_passed_over(scene, method):
    fine, coarse = scene
    blank = fine.copy()
    blank[1] = np.nan
    out = xstf.fuse(blank, coarse, method=method)
    assert not np.isnan(out).any()


@METHODS
def test_infinite_values_are_missing(scene, method):
    fine, coarse = scene
    poked, holed = fine.copy(), fine.copy()
    poked[:, :, 5, 7], poked[:, :, 20, 9], poked[:, :, 30, 3] = np.inf, -np.inf, 1e38
    holed[:, :, 5, 7] = holed[:, :, 20, 9] = holed[:, :, 30, 3] = np.nan
    want = xstf.fuse(holed, coarse, method=method)
    with pytest.warns(UserWarning, match="fine has 18 values that are infinite or beyond 1e"):
        xr.testing.assert_allclose(xstf.fuse(poked, coarse, method=method), want)
    lazy = xstf.fuse(poked.chunk(y=20, x=20), coarse, method=method)
    xr.testing.assert_allclose(lazy, want, rtol=1e-4, atol=1e-5)


@METHODS
def test_integers_with_nodata_give_what_floats_give(scene, method):
    fine, coarse = scene
    packed = (fine * 10000).round()
    stored = packed.where(packed > 2000, -9999).astype(np.int16).assign_attrs(_FillValue=-9999)
    plain = packed.where(packed > 2000)
    np.testing.assert_allclose(
        xstf.fuse(stored, coarse * 10000, method=method),
        xstf.fuse(plain, coarse * 10000, method=method),
        rtol=1e-5,
    )


@METHODS
def test_everything_missing_gives_everything_missing(scene, method):
    fine, coarse = scene
    with pytest.warns(UserWarning, match="every value of fine is missing") as said:
        out = xstf.fuse(fine * np.nan, coarse, method=method)
    assert len(said) == 1
    assert np.isnan(out).all()
    assert out.shape[2:] == fine.shape[2:]
    with pytest.warns(UserWarning, match="every value of coarse is missing") as said:
        assert np.isnan(xstf.fuse(fine, coarse * np.nan, method=method)).all()
    assert len(said) == 1


@METHODS
def test_a_cube_one_pixel_wide(scene, method):
    fine, coarse = scene
    out = xstf.fuse(fine.isel(x=[11]), coarse, method=method)
    assert out.sizes["x"] == 1
    assert not np.isnan(out).any()


@METHODS
def test_a_chunk_thinner_than_the_halo(scene, method):
    fine, coarse = scene
    out = xstf.fuse(fine.chunk(y=7, x=9), coarse, method=method)
    assert out.chunks[2][0] == 7
    np.testing.assert_allclose(out, xstf.fuse(fine, coarse, method=method), rtol=1e-4, atol=1e-5)


@METHODS
def test_a_pixel_cloudy_in_the_nearest_pair_takes_the_next(scene, method):
    fine, coarse = scene
    cloudy = fine.copy()
    cloudy[0, :, 10:20, 10:20] = np.nan
    date = coarse.time[1]
    out = xstf.fuse(cloudy, coarse, method=method, time=date)
    assert not np.isnan(out).any()
    inside = out.isel(y=slice(12, 18), x=slice(12, 18))
    clear = xstf.fuse(fine, coarse, method=method, time=date)
    assert float(abs(inside - clear.isel(y=slice(12, 18), x=slice(12, 18))).mean()) < 0.1


@METHODS
def test_a_missing_coarse_pixel_is_bridged_in_time_alone(scene, method):
    fine, coarse = scene
    holed = coarse.copy()
    holed[1, :, 2, 3] = np.nan
    out = xstf.fuse(fine, holed, method=method, time=coarse.time[1])
    hole = np.zeros(fine.shape[2:], bool)
    # Only a method of whole series knows of other coarse dates than those of the pairs.
    hole[16:24, 24:32] = not xstf.get_method("fuse", method).series
    assert np.isnan(out.values[0, :, hole]).all()
    assert not np.isnan(out.values[0, :, ~hole]).any()


@METHODS
def test_fine_beyond_the_coarse_cube_is_missing(scene, method):
    fine, coarse = scene
    out = xstf.fuse(fine, coarse.isel(x=slice(0, 4)), method=method)
    assert np.isnan(out[..., 32:]).all()
    assert not np.isnan(out[..., :32]).any()


# --- what users get ---


def test_the_accessor_gives_what_the_function_gives(scene):
    fine, coarse = scene
    xr.testing.assert_equal(
        fine.stf.fuse(coarse, method="fitfc"), xstf.fuse(fine, coarse, method="fitfc")
    )


def test_the_accessor_has_the_signature_of_the_function():
    """It is written out for editors, so it could drift."""
    import inspect

    from xstf.accessor import StfAccessor
    from xstf.evaluate import evaluate_fusion

    for method, function in (
        (StfAccessor.fuse, xstf.fuse),
        (StfAccessor.evaluate, evaluate_fusion),
    ):
        ours, theirs = (inspect.signature(f).parameters for f in (method, function))
        assert list(ours)[1:] == list(theirs)[1:]
        assert [ours[n].default for n in ours if n in theirs] == [
            p.default for n, p in theirs.items() if n in ours
        ]


def test_auto_is_the_default_with_a_standard_deviation_and_without(scene):
    fine, coarse = scene
    plain = xstf.fuse(fine, coarse)
    assert plain.attrs["stf_method"].startswith("auto(")
    both = xstf.fuse(fine, coarse, return_quality=True)
    assert both.attrs["stf_method"] == plain.attrs["stf_method"]
    xr.testing.assert_equal(both[fine.name], plain)
    assert (both[f"{fine.name}_std"] > 0).all()


def test_quality_has_std_and_flags(scene):
    fine, coarse = scene
    cloudy = fine.copy()
    cloudy[:, :, :5, :5] = np.nan
    cloudy[0, :, 20:30, 20:30] = np.nan
    out = xstf.fuse(cloudy, coarse, method="starfm", return_quality=True)
    name = fine.name
    assert set(out.data_vars) == {name, f"{name}_std", f"{name}_flag", f"{name}_n_obs"}
    flag = out[f"{name}_flag"]
    meaning = dict(zip(flag.attrs["flag_meanings"].split(), flag.attrs["flag_values"], strict=True))
    assert (flag[:, :, :5, :5] == meaning["missing"]).all()
    assert (flag[0, :, 20:30, 20:30] != meaning["missing"]).all()
    assert int(flag[0, 0, 40, 40]) == meaning["fused_two_pairs"]
    assert (np.isnan(out[name]) == (flag == meaning["missing"])).all()
    assert (out[f"{name}_std"].values[~np.isnan(out[name].values)] >= 0).all()


def test_dates_outside_the_pairs_are_flagged(scene):
    fine, coarse = scene
    out = xstf.fuse(fine[:1], coarse, method="starfm", return_quality=True)
    assert (out[f"{fine.name}_flag"] == 5).all()


def test_an_asked_date_with_a_fine_image_keeps_its_clear_pixels(scene):
    fine, coarse = scene
    cloudy = fine.copy()
    cloudy[1, :, 10:20, 10:20] = np.nan
    out = xstf.fuse(cloudy, coarse, method="starfm", time=fine.time[1], return_quality=True)
    clear = ~np.isnan(cloudy.values[1])
    np.testing.assert_array_equal(out[fine.name].values[0][clear], fine.values[1][clear])
    assert not np.isnan(out[fine.name]).any()
    assert (out[f"{fine.name}_flag"].values[0][clear] == 0).all()


def test_quality_of_a_method_without_std_is_an_error(scene):
    from xstf import evaluate

    with pytest.raises(ValueError, match=r"delta gives no standard deviation; .*starfm"):
        xstf.fuse(*scene, method=evaluate.BASELINES[1], return_quality=True)


def test_a_descending_or_ascending_y_gives_the_same(scene):
    fine, coarse = scene
    want = xstf.fuse(fine, coarse, method="starfm")
    for f, c in ((fine[:, :, ::-1], coarse[:, :, ::-1]), (fine[:, :, ::-1], coarse)):
        out = xstf.fuse(f, c, method="starfm")
        np.testing.assert_allclose(out[:, :, ::-1], want, rtol=1e-4, atol=1e-5)


def test_progress_is_shown_on_stderr(scene, capsys):
    xstf.fuse(*scene, method="starfm", progress=True)
    shown = capsys.readouterr()
    assert "100%" in shown.err
    assert shown.out == ""


def test_a_lazy_result_computes_nothing_before_asked(lazy_scene):
    with xstf.testing.raise_if_dask_computes():
        for method in classical_names("fuse"):
            out = xstf.fuse(*lazy_scene, method=method)
            assert out.chunks[2:] == lazy_scene[0].chunks[2:]


# --- two grids, two CRSs ---


@pytest.fixture(scope="module")
def earth():
    return xstf.scenes.landsat_modis(size=90)


@METHODS
def test_sinusoidal_against_utm_beats_the_unchanged_image(earth, method):
    from xstf import evaluate

    date = earth.truth.time[~earth.truth.time.isin(earth.fine.time)][-1]
    out, unchanged = (
        xstf.fuse(earth.fine, earth.coarse, method=m, time=date)
        for m in (method, evaluate.BASELINES[0])
    )
    truth = earth.truth.sel(time=out.time)
    assert float(xstf.metrics.rmse(out, truth)) < float(xstf.metrics.rmse(unchanged, truth))
    assert "resampled, ratio 15" in out.attrs["stf_grid"]
    assert out.spatial_ref.attrs == earth.fine.spatial_ref.attrs


def test_sinusoidal_against_utm_is_lazy_and_the_same(earth):
    want = xstf.fuse(earth.fine, earth.coarse, method="starfm", time=earth.coarse.time[3])
    with xstf.testing.raise_if_dask_computes():
        lazy = xstf.fuse(
            earth.fine.chunk(y=40, x=33), earth.coarse.chunk(time=1, y=4, x=4), method="starfm",
            time=earth.coarse.time[3],
        )  # fmt: skip
    np.testing.assert_allclose(lazy, want, rtol=1e-4, atol=1e-5)


def test_a_sensor_whose_pixels_are_neither_those_of_the_cube_nor_fine_ones_is_named(scene):
    fine, coarse = (c.assign_coords(spatial_ref=((), 0, {"crs_wkt": "EPSG:32633"})) for c in scene)
    said = coarse.assign_attrs(product="MOD11A1")
    want = fine.stf.fuse(coarse, method="starfm", window=9)
    with pytest.warns(UserWarning, match="of MODIS at 1 km.*coarse_resolution=926.6"):
        np.testing.assert_array_equal(fine.stf.fuse(said, method="starfm", window=9), want)
