"""When an image counts, and which images are one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

import xstf
from xstf.cubes.acquisitions import dates_of, group_looks, longitude_of, period_of
from xstf.cubes.grid import grid_of
from xstf.cubes.pairs import Pair, match_dates


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, "M8[ns]")


def land(times, n=16, step=10.0, crs="EPSG:32610", speed=3.0) -> xr.DataArray:
    """Return a smooth cube that changes in time, near the middle of a UTM zone."""
    times = pd.DatetimeIndex(times)
    t = np.arange(len(times))[:, None, None, None]
    yy, xx = np.mgrid[:n, :n]
    values = 0.2 + 0.1 * np.sin(t / speed + np.arange(2)[None, :, None, None])
    values = values + 0.05 * np.sin(xx / 4) + 0.05 * np.cos(yy / 5)
    cube = xr.DataArray(
        values.astype("f4"), dims=("time", "band", "y", "x"), name="reflectance",
        coords={
            "time": times, "band": ["B04", "B08"],
            "y": 4e6 - step * (np.arange(n) + 0.5), "x": 5e5 + step * (np.arange(n) + 0.5),
        },
    )  # fmt: skip
    return cube.assign_coords(spatial_ref=xr.Variable((), 0, CRS.from_user_input(crs).to_cf()))


def blur(cube, k=4) -> xr.DataArray:
    return cube.coarsen(y=k, x=k).mean().assign_coords(spatial_ref=cube.spatial_ref)


def granules(cube, seconds=(0, 15, 30, 45)) -> xr.DataArray:
    """Return each image as four, a quarter each, seconds apart."""
    half = cube.sizes["y"] // 2
    parts = []
    for k, later in enumerate(seconds):
        inside = np.zeros((cube.sizes["y"], cube.sizes["x"]), bool)
        inside[half * (k // 2) :, half * (k % 2) :][:half, :half] = True
        part = cube.where(xr.DataArray(inside, dims=("y", "x")))
        parts.append(part.assign_coords(time=part.time + np.timedelta64(later, "s")))
    return xr.concat(parts, "time").sortby("time")


DAYS = pd.date_range("2021-06-01", periods=20, freq="D")


# --- days -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longitude", "stamp", "day"),
    [
        (-122.0, "2021-06-10T18:35", "2021-06-10"),  # California, 10:27 local
        (-122.0, "2021-06-11T02:00", "2021-06-10"),
        (151.0, "2021-06-09T23:50", "2021-06-10"),  # Sydney, 9:54 local
        (179.0, "2021-06-09T22:10", "2021-06-10"),  # New Zealand
        (15.0, "2021-06-10T10:01", "2021-06-10"),
        (None, "2021-06-10T23:50", "2021-06-10"),
    ],
)
def test_the_day_of_an_instant_is_the_local_one(longitude, stamp, day):
    assert dates_of(stamps(stamp), longitude).days[0] == np.datetime64(day)


@pytest.mark.parametrize("longitude", [-150.0, 0.0, 150.0])
@pytest.mark.parametrize("hour", ["00:00", "12:00"])
def test_stamps_that_name_days_keep_them(longitude, hour):
    dates = dates_of(stamps(f"2021-06-10T{hour}", f"2021-06-12T{hour}"), longitude)
    assert dates.named
    assert [str(d) for d in dates.days] == ["2021-06-10", "2021-06-12"]


@pytest.mark.parametrize(
    ("crs", "x", "y", "dim", "expected"),
    [
        ("EPSG:32610", 5e5, 4e6, "x", -123.0),
        ("EPSG:4326", 238.0, 45.0, "lon", -122.0),
        (None, 238.0, 45.0, "lon", -122.0),
        (None, 5e5, 4e6, "x", None),
    ],
)
def test_the_longitude_of_a_scene(crs, x, y, dim, expected):
    at = np.array([-0.5, 0.5])
    found = longitude_of(grid_of(y - at, x + at, crs, what="a cube"), dim)
    assert found == expected if expected is None else found == pytest.approx(expected, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    longitude=st.floats(-180, 179.9),
    days=st.lists(st.integers(0, 60), min_size=1, max_size=8, unique=True),
    local=st.floats(8.0, 16.0),
)
def test_a_pass_at_any_longitude_meets_the_daily_product_of_its_day(longitude, days, local):
    # whatever the UTC date of the pass
    first = np.datetime64("2021-06-01", "ns")
    utc = local - longitude / 15
    passes = first + np.array([round((24 * d + utc) * 3600) for d in days]) * np.timedelta64(1, "s")
    daily = first + np.arange(-2, 63) * np.timedelta64(1, "D")
    found = match_dates(dates_of(passes, longitude), dates_of(daily, longitude), 0)
    assert found == [Pair(i, d + 2) for i, d in enumerate(days)]


def test_a_tolerance_below_a_day_counts_hours_between_instants():
    fine, coarse = dates_of(stamps("2021-06-10T10:30")), dates_of(stamps("2021-06-10T13:40"))
    assert match_dates(fine, coarse, "4h") == [Pair(0, 0)]
    assert match_dates(fine, coarse, "2h") == []
    assert match_dates(fine, dates_of(stamps("2021-06-10")), "2h") == [Pair(0, 0)]


def test_of_two_images_of_a_day_the_nearer_one_is_the_partner():
    fine = dates_of(stamps("2021-06-10T10:40"))
    coarse = dates_of(stamps("2021-06-10T13:40", "2021-06-10T10:30", "2021-06-11T10:30"))
    assert match_dates(fine, coarse, "1D") == [Pair(0, 1)]


# --- verbs ------------------------------------------------------------------------------------


def test_the_west_of_america_meets_daily_images_of_its_own_day():
    truth = land(DAYS)
    seen = truth.isel(time=[1, 9, 17])
    fine = seen.assign_coords(time=seen.time + np.timedelta64(18 * 60 + 35, "m"))
    asked = fine.stf.fuse(blur(truth), method="starfm", time="2021-06-11")
    # the 11th, not the image of the 10th, which is 18 hours after its own midnight
    assert not np.array_equal(asked.values[0], seen.values[1])
    assert abs(asked.values - truth.sel(time=["2021-06-11"]).values).max() < 0.02
    days = {str(t)[:10] for t in fine.stf.fuse(blur(truth), method="starfm").time.values}
    assert days == {str(d)[:10] for d in DAYS} - {"2021-06-02", "2021-06-10", "2021-06-18"}


@pytest.mark.parametrize("lazy", [False, True])
def test_four_granules_of_a_pass_are_one_image(lazy):
    truth = land(DAYS)
    seen = truth.isel(time=[1, 9])
    seen = seen.assign_coords(time=seen.time + np.timedelta64(18 * 60, "m"))
    fine = granules(seen)
    assert fine.sizes["time"] == 8
    fine = fine.chunk(time=1, y=8) if lazy else fine
    got = fine.stf.fuse(blur(truth), method="starfm", time="2021-06-06")
    want = seen.stf.fuse(blur(truth), method="starfm", time="2021-06-06")
    assert hasattr(got.data, "dask") == lazy
    np.testing.assert_array_equal(got.values, want.values)
    assert "8 images merged to 2 acquisitions" in got.attrs["stf_acquisitions"]
    assert "2 acquisitions" in repr(fine.stf)


def test_the_observed_day_comes_back_whole_from_all_its_granules():
    truth = land(DAYS)
    seen = truth.isel(time=[1, 9, 17])
    seen = seen.assign_coords(time=seen.time + np.timedelta64(18 * 60, "m"))
    got = granules(seen).stf.fuse(blur(truth), method="starfm", time="2021-06-10")
    np.testing.assert_array_equal(got.values, seen.values[1:2])


def test_looks_of_a_day_that_are_hours_apart_are_all_observations():
    truth = land(DAYS)
    seen = truth.isel(time=[1, 9]).assign_coords(time=DAYS[[1, 9]] + pd.Timedelta("18h"))
    west = seen.where(seen.x < 500080).transpose(*seen.dims)
    east = seen.where(seen.x >= 500080).assign_coords(time=seen.time + np.timedelta64(100, "m"))
    looks = xr.concat([west, east.transpose(*seen.dims)], "time").sortby("time")
    fused = looks.stf.fuse(blur(truth), method="starfm", time="2021-06-10", return_quality=True)
    np.testing.assert_array_equal(fused.reflectance[0], seen[1])
    assert (fused.reflectance_flag == 0).all()


def test_an_image_of_another_day_is_no_observation_of_this_one():
    truth = land(DAYS)
    seen = truth.isel(time=[1, 9, 17])
    coarse = blur(truth).isel(time=[i for i in range(20) if i != 9])  # none on 10 June
    days = ["2021-06-09", "2021-06-11"]
    with pytest.warns(UserWarning, match="paired with that of another: 2021-06-10 with 2021-06-"):
        fused = seen.stf.fuse(coarse, method="estarfm", time=days)
    assert fused.attrs["stf_paired_apart"].startswith("2021-06-10 with")
    for day in ("2021-06-09", "2021-06-11"):
        assert float(abs(fused.sel(time=day) - truth.sel(time=day)).max()) < 0.005
    every = seen.stf.fuse(coarse, method="starfm", pair_tolerance="2D")  # asked for: no warning
    assert {"2021-06-09", "2021-06-11"} <= set(every.time.values.astype("M8[D]").astype(str))


def test_a_fine_date_without_a_coarse_partner_is_named():
    truth = land(DAYS)
    coarse = blur(truth).drop_sel(time=DAYS[8:11])
    with pytest.warns(UserWarning, match="2021-06-10"):
        got = truth.isel(time=[1, 9, 17]).stf.fuse(coarse, method="starfm", pair_tolerance="12h")
    assert got.attrs["stf_unpaired"] == "2021-06-10"


def test_gapfill_fills_one_image_a_day_and_keeps_what_either_look_saw():
    times = pd.date_range("2021-04-01T10:20", periods=8, freq="10D")
    truth = land(times)
    holes = np.random.default_rng(0).random((8, 1, 16, 16)) < 0.3
    single = truth.where(~holes)
    filled = granules(single).stf.gapfill(method="linear")
    np.testing.assert_array_equal(filled.time.values, times.values)
    np.testing.assert_array_equal(filled.values, single.stf.gapfill(method="linear").values)
    np.testing.assert_array_equal(filled.values[~np.isnan(single.values)], single.values[
        ~np.isnan(single.values)])  # fmt: skip


@pytest.mark.slow
def test_auto_on_doubled_dates_is_as_good_as_on_single_ones():
    rng = np.random.default_rng(0)
    truth = land(pd.date_range("2021-04-01T10:20", periods=14, freq="10D"))
    noisy = truth + rng.normal(0, 0.01, truth.shape).astype("f4")
    clear = np.kron(rng.random((14, 1, 4, 4)) > 0.35, np.ones((1, 1, 4, 4))) > 0
    single = noisy.where(clear)
    later = single.assign_coords(time=single.time + np.timedelta64(16, "s"))
    twice = xr.concat([single, later], "time").sortby("time")

    def error(cube):
        return float(abs(cube.stf.gapfill().values - truth.values)[~np.broadcast_to(
            clear, truth.shape)].mean())  # fmt: skip

    assert error(twice) <= 1.001 * error(single)


def test_masks_and_certain_keep_the_dates_of_the_looks():
    times = pd.date_range("2021-04-01T10:20", periods=6, freq="10D")
    looks = granules(land(times))
    mask = looks.isnull().any("band").drop_vars("spatial_ref")
    mask[5, :3] = True
    filled = looks.stf.gapfill(method="linear", mask=mask, certain=~mask, screen=True)
    assert filled.sizes["time"] == 6
    assert not filled.isnull().any()


def test_images_hours_apart_and_series_within_the_day_stay_apart():
    far = dates_of(stamps("2021-06-10T10:30", "2021-06-10T13:30"))
    assert len(group_looks(far)) == 2
    quarter = np.datetime64("2021-06-10T08:00", "ns") + np.arange(20) * np.timedelta64(15, "m")
    assert len(group_looks(dates_of(quarter))) == 20
    assert len(group_looks(dates_of(stamps("2021-06-10", "2021-06-11")))) == 2


@settings(max_examples=60, deadline=None)
@given(
    days=st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True),
    looks=st.lists(st.integers(0, 600), min_size=1, max_size=5, unique=True),
    longitude=st.floats(-180, 179.9),
)
def test_looks_of_a_day_are_one_group_whatever_their_order(days, looks, longitude):
    noon = np.datetime64("2021-06-01T12:00", "ns") - np.timedelta64(round(longitude * 240), "s")
    seconds = np.array([86400 * d + s for d in days for s in looks])
    mixed = noon + np.random.default_rng(0).permutation(seconds) * np.timedelta64(1, "s")
    groups = group_looks(dates_of(mixed, longitude))
    if dates_of(mixed, longitude).named:
        return
    assert [len(g) for g in groups] == [len(looks)] * len(days)
    assert sorted(np.concatenate(groups)) == list(range(len(mixed)))


# --- evaluation -------------------------------------------------------------------------------


def noisy_pairs():
    rng = np.random.default_rng(0)
    truth = land(DAYS)
    seen = truth.isel(time=[1, 9, 17])
    seen = seen + rng.normal(0, 0.03, seen.shape).astype("f4")
    return seen.assign_coords(time=seen.time + np.timedelta64(18 * 60, "m")), blur(truth)


@pytest.mark.parametrize("apart", [np.timedelta64(16, "s"), np.timedelta64(2, "h")])
def test_evaluation_hides_every_look_of_the_day(apart):
    once, coarse = noisy_pairs()
    twin = once.assign_coords(time=once.time + apart)
    twice = xr.concat([once, twin], "time").sortby("time")
    scores = [c.stf.evaluate(coarse, methods=["starfm"], time="2021-06-10") for c in (once, twice)]
    each = [float(s.rmse.sel({"method": "starfm"}).mean()) for s in scores]
    assert each[1] > 0.9 * each[0]


@pytest.mark.parametrize("apart", [np.timedelta64(16, "s"), np.timedelta64(3, "h")])
def test_days_to_predict_are_those_with_other_days_on_both_sides(apart):
    once, coarse = noisy_pairs()
    twice = xr.concat([once, once.assign_coords(time=once.time + apart)], "time").sortby("time")
    scores = twice.stf.evaluate(coarse, methods=["starfm"], baselines=False)
    assert set(scores.time.values.astype("M8[D]").astype(str)) == {"2021-06-10"}


def test_what_a_mask_takes_away_is_neither_used_nor_scored():
    once, coarse = noisy_pairs()
    cloud = xr.zeros_like(once.isel(band=0, drop=True), dtype=bool)
    cloud[:, :6] = True
    dirty = once.where(~cloud, 0.9).transpose(*once.dims)
    later = dirty.assign_coords(time=dirty.time + np.timedelta64(16, "s"))
    twice = xr.concat([dirty, later], "time").sortby("time")
    both = xr.concat([cloud, cloud.assign_coords(time=later.time)], "time").sortby("time")
    call = {"methods": ["starfm"], "baselines": False}
    want = once.where(~cloud).transpose(*once.dims).stf.evaluate(coarse, **call).rmse
    for cube, mask in ((dirty, cloud), (twice, both)):
        xr.testing.assert_allclose(cube.stf.evaluate(coarse, mask=mask, **call).rmse, want)


def test_packed_cubes_are_scored_in_their_units():
    once, coarse = noisy_pairs()
    holed = once.where(once.isel(band=0, drop=True) > 0.16).transpose(*once.dims)
    attrs = {"scale_factor": 1e-4, "_FillValue": -9999}
    packed = (holed * 1e4).round().fillna(-9999).astype("i2").assign_attrs(attrs)
    plain = (packed.where(packed != -9999) * 1e-4).drop_attrs(deep=False)
    call = {"methods": ["starfm"], "baselines": False}
    xr.testing.assert_allclose(
        packed.stf.evaluate(coarse, **call).rmse, plain.stf.evaluate(coarse, **call).rmse, rtol=1e-4
    )


def test_a_truth_is_met_by_its_day_and_one_that_lacks_it_is_named():
    once, coarse = noisy_pairs()
    truth = land(DAYS)
    call = {"methods": ["starfm"], "baselines": False, "time": ["2021-06-04"]}
    want = once.stf.evaluate(coarse, truth=truth, **call).rmse
    later = truth.assign_coords(time=truth.time + np.timedelta64(18, "h")).rename(time="date")
    xr.testing.assert_allclose(once.stf.evaluate(coarse, truth=later, **call).rmse, want)
    with pytest.raises(ValueError, match="truth has no image of 2021-06-04"):
        once.stf.evaluate(coarse, truth=truth[:2], **call)
    with pytest.raises(ValueError, match="no fine image of that day"):
        once.stf.evaluate(coarse, **call)


def test_evaluation_takes_composites_as_fusion_does():
    fine, coarse, _ = composites()
    call = {"methods": ["starfm"], "baselines": False}
    want = fine.stf.evaluate(coarse.assign_attrs(composite="16D"), **call).rmse
    xr.testing.assert_equal(fine.stf.evaluate(coarse, composite="16D", **call).rmse, want)


def test_dates_of_regular_composites_get_the_remedy():
    fine, coarse, _ = composites()
    with pytest.raises(ValueError, match="composite='16D'"):
        fine.stf.fuse(coarse, method="starfm", pair_tolerance="1D")


@pytest.mark.parametrize("apart", [np.timedelta64(16, "s"), np.timedelta64(2, "h")])
def test_a_transplanted_gap_masks_every_look_of_the_day(apart):
    rng = np.random.default_rng(0)
    series = land(pd.date_range("2021-04-01T10:00", periods=10, freq="10D"))
    clear = np.kron(rng.random((10, 1, 4, 4)) > 0.35, np.ones((1, 1, 4, 4))) > 0
    series = series.where(clear)
    twin = series.assign_coords(time=series.time + apart)
    both = xr.concat([series, twin], "time").sortby("time")
    holed, held = xstf.simulate.transplant_mask(both)
    assert held.any()
    day = both.time.dt.floor("D").values
    for date in np.flatnonzero(held.any(("y", "x")).values):
        gap = held.values[date]
        for other in np.flatnonzero(day == day[date]):
            assert np.isnan(holed.values[other][:, gap]).all()


# --- composites -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attrs",
    [
        {"composite": "16D"}, {"composite": 16}, {"composite": "16 days"}, {"composite": "P16D"},
        {"composite_period": np.timedelta64(16, "D")}, {"product": "MOD13Q1.061"},
        {"short_name": "VNP13A1"},
    ],
)  # fmt: skip
def test_the_period_of_a_composite_is_read(attrs):
    assert period_of(xr.DataArray(0.0, attrs=attrs)) == np.timedelta64(16, "D")


@pytest.mark.parametrize(
    ("text", "days"), [("8-day", 8), ("weekly", 7), ("month", 30), ("240h", 10), (8.0, 8)]
)
def test_periods_in_words(text, days):
    attrs = {"compositing_period": text}
    assert period_of(xr.DataArray(0.0, attrs=attrs)) == np.timedelta64(days, "D")


@pytest.mark.parametrize("attrs", [{}, {"composite": "none"}, {"composite": False}])
def test_no_period(attrs):
    assert period_of(xr.DataArray(0.0, attrs=attrs)) is None


@pytest.mark.parametrize(
    ("attrs", "days"),
    [
        ({"collection": "modis-13Q1-061"}, 16), ({"id": "modis-09A1-061"}, 8),
        ({"product": "VJ113A1"}, 16), ({"short_name": "mod21a2"}, None), ({"id": "MOD21A2"}, 8),
        ({"product": "MOD09GA"}, None),
    ],
)  # fmt: skip
def test_products_of_composites(attrs, days):
    found = period_of(xr.DataArray(0.0, attrs=attrs))
    assert found == (None if days is None else np.timedelta64(days, "D"))


def test_a_period_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="composite.*soon"):
        period_of(xr.DataArray(0.0, attrs={"composite": "soon"}))


def composites():
    """Return fine images on 9 and 25 June and 27 July, and composites from 1 June on."""
    first = pd.date_range("2021-06-01", periods=5, freq="16D")
    truth = land(pd.date_range("2021-06-01", periods=80, freq="D"), speed=20)
    gathered = [blur(truth.sel(time=slice(d, d + pd.Timedelta("15D")))).mean("time") for d in first]
    coarse = xr.concat(gathered, pd.Index(first, name="time")).transpose(*truth.dims)
    coarse = coarse.assign_coords(spatial_ref=truth.spatial_ref)
    return truth.sel(time=["2021-06-09", "2021-06-25", "2021-07-27"]), coarse, truth


def test_a_composite_counts_in_the_middle_of_its_period():
    fine, coarse, truth = composites()
    got = fine.stf.fuse(coarse, method="starfm", composite="16D")
    # the third composite, of 3 to 18 July, has no fine image; nor has the fifth
    assert [str(t)[:10] for t in got.time.values] == ["2021-07-03", "2021-08-04"]
    middle = truth.sel(time=["2021-07-11"]).values
    assert abs(got.values[:1] - middle).max() < 0.01
    stated = fine.stf.fuse(coarse.assign_attrs(composite="16D"), method="starfm")
    np.testing.assert_array_equal(stated.values, got.values)


def test_the_caller_may_say_that_images_count_at_their_stamp():
    fine, coarse, _ = composites()
    stated = coarse.assign_attrs(composite="16D")
    with pytest.raises(ValueError, match="no fine image has a coarse image"):
        fine.stf.fuse(stated, method="starfm", composite=False)
    with pytest.raises(TypeError, match="composite must be a length of time"):
        fine.stf.fuse(stated, method="starfm", composite=True)


def test_bounds_of_time_say_how_long_an_image_gathers():
    fine, coarse, _ = composites()
    edges = coarse.time.values[:, None] + np.array([0, 16]) * np.timedelta64(1, "D")
    bounded = coarse.to_dataset("band").assign(time_bnds=(("time", "nv"), edges))
    bounded.time.attrs["bounds"] = "time_bnds"
    got = fine.stf.fuse(bounded, method="starfm")
    want = fine.stf.fuse(coarse, method="starfm", composite="16D")
    np.testing.assert_array_equal(got.values, want.values)
    stated = fine.stf.fuse(bounded, method="starfm", composite="16D")
    np.testing.assert_array_equal(stated.values, want.values)


def test_a_day_within_a_composite_asks_for_it():
    fine, coarse, _ = composites()
    got = fine.stf.fuse(coarse, method="starfm", composite="16D", time="2021-07-12")
    assert [str(t)[:10] for t in got.time.values] == ["2021-07-03"]


# --- by hand ----------------------------------------------------------------------------------


def test_equal_stamps_are_refused_with_the_remedy_and_mosaic_is_it():
    cube = land(DAYS[:3])
    west, east = cube.where(cube.x < cube.x.mean()), cube.where(cube.x >= cube.x.mean())
    both = xr.concat([west, east], "time")
    with pytest.raises(ValueError, match=r"dates twice.*2021-06-01.*xstf\.mosaic"):
        both.stf.gapfill(method="linear")
    for by in ("solar_day", "time"):
        xr.testing.assert_equal(xstf.mosaic(both, by=by), cube)


def test_mosaic_is_lazy_and_keeps_integers_and_what_stands_along_time():
    raw = (granules(land(DAYS[:3])) * 1e4).fillna(-9999).round().astype("i2")
    raw = raw.assign_attrs(_FillValue=-9999)
    raw = raw.assign_coords(platform=("time", [f"S2{i}" for i in range(12)]))
    merged = xstf.mosaic(raw.chunk(time=1, x=8))
    assert hasattr(merged.data, "dask")
    assert merged.dtype == np.int16
    assert list(merged.platform.values) == ["S20", "S24", "S28"]
    assert int((merged == -9999).sum()) == 0
    np.testing.assert_array_equal(merged.values, (land(DAYS[:3]) * 1e4).round().astype("i2"))
    assert "12 images merged to 3" in merged.attrs["stf_acquisitions"]


def test_layers_of_classes_follow_the_look_of_the_bands():
    cube = granules(land(DAYS[:2]))
    data = cube.to_dataset("band")
    number = np.arange(8, dtype="u1")[:, None, None]
    data["SCL"] = (("time", "y", "x"), np.broadcast_to(number, (8, 16, 16)).copy())
    merged = xstf.mosaic(data)
    assert np.unique(merged.SCL.values[0]).tolist() == [0, 1, 2, 3]
    assert merged.SCL.values[1, 0, 0] == 4
    assert merged.SCL.dtype == np.uint8


@pytest.mark.parametrize("lazy", [False, True])
def test_verbs_return_the_classes_of_the_look_that_was_taken(lazy):
    cube = granules(land(pd.date_range("2021-04-01T10:20", periods=3, freq="10D")))
    data = cube.to_dataset("band").assign_coords(spatial_ref=cube.spatial_ref)
    number = np.arange(1, 13, dtype="u1")[:, None, None]
    data["SCL"] = (("time", "y", "x"), np.broadcast_to(number, (12, 16, 16)).copy())
    data = data.chunk(y=8) if lazy else data
    filled = data.stf.gapfill(method="linear", mask=data.SCL == 0)
    assert np.unique(filled.SCL.values[1]).tolist() == [5, 6, 7, 8]
    assert filled.SCL.dtype == np.uint8


@pytest.mark.parametrize(
    ("cube", "error", "match"),
    [
        (lambda c: c.isel(time=0, drop=True), ValueError, "no time dim"),
        (lambda c: c > 0, TypeError, "boolean"),
    ],
)
def test_mosaic_says_what_it_cannot(cube, error, match):
    with pytest.raises(error, match=match):
        xstf.mosaic(cube(land(DAYS[:2])))


@pytest.mark.parametrize("way", ["week", None, ["time"]])
def test_mosaic_names_the_ways(way):
    with pytest.raises(ValueError, match="solar_day"):
        xstf.mosaic(land(DAYS[:2]), by=way)


def test_mosaic_takes_series_and_other_dims():
    cube = land(DAYS[:2]).expand_dims(member=2)
    looks = granules(cube)
    xr.testing.assert_equal(xstf.mosaic(looks).transpose(*cube.dims), cube.assign_coords(
        time=xstf.mosaic(looks).time))  # fmt: skip
    fields = looks.isel(member=0, y=[0, 12], x=3).rename(y="field").drop_vars("field")
    fields = fields.assign_coords(time=fields.time.dt.floor("D"))
    with pytest.raises(ValueError, match="xstf.mosaic"):
        fields.stf.gapfill(method="linear")
    merged = xstf.mosaic(fields)
    assert merged.sizes == {"time": 2, "band": 2, "field": 2}
    assert not merged.isnull().any()
    xr.testing.assert_equal(xstf.mosaic(fields.to_dataset("band")).to_array("band").transpose(
        *merged.dims), merged.rename("x"))  # fmt: skip


def test_mosaic_takes_infinite_values_as_missing_and_warns_of_undeclared_nodata():
    cube = land(DAYS[:2])
    looks = granules(cube)
    whole = xstf.mosaic(looks.fillna(np.inf))
    np.testing.assert_array_equal(whole, cube)
    filled = (looks * 1e4).fillna(0).astype("u2")
    with pytest.warns(UserWarning, match="are 0, its least value"):
        xstf.mosaic(filled)
