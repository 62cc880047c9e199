"""Filled series on dates that are asked for, what is beyond a pixel's record, lengths of time."""

from __future__ import annotations

import datetime
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xstf
from xstf import testing
from xstf.align.dates import ask
from xstf.align.fuse import read_dates
from xstf.cubes.acquisitions import dates_of
from xstf.methods.lookup import classical_names
from xstf.tiles import flags as _flags
from xstf.tiles.gapfill import ends, gap_lengths

SIZE = 6


def make_cube(dates: int = 14, seed: int = 0, start: str = "2021-04-01") -> xr.DataArray:
    """Return a cube of images ten days apart at 10:30, a third of it missing."""
    rng = np.random.default_rng(seed)
    times = np.datetime64(start, "ns") + np.arange(dates) * np.timedelta64(10, "D")
    season = 0.3 + 0.1 * np.sin(np.arange(dates) / 3)[:, None, None, None]
    data = season + rng.normal(0, 0.01, (dates, 2, SIZE, SIZE))
    data[rng.random((dates, 1, SIZE, SIZE)).repeat(2, 1) < 0.3] = np.nan
    return xr.DataArray(
        data.astype(np.float32), dims=("time", "band", "y", "x"), name="r",
        coords={
            "time": times + np.timedelta64(630, "m"), "band": ["red", "nir"],
            "y": 5000.0 - 10 * np.arange(SIZE), "x": 300.0 + 10 * np.arange(SIZE),
            "platform": ("time", np.where(np.arange(dates) % 2, "S2A", "S2B")), "tile": "31UFS",
        },
        attrs={"title": "a field"},
    )  # fmt: skip


CUBE = make_cube()
EVERY = pd.date_range("2021-04-01", "2021-08-09", freq="5D").values


# --- which dates -------------------------------------------------------------------------------


def test_a_regular_series_keeps_what_was_observed_bit_for_bit():
    filled = CUBE.stf.gapfill(method="linear", freq="5D")
    np.testing.assert_array_equal(filled.time, EVERY)
    plain = CUBE.stf.gapfill(method="linear")
    np.testing.assert_array_equal(filled.values[::2], plain.values)
    assert filled.dims == CUBE.dims
    assert filled.notnull().all()
    assert filled.attrs["title"] == "a field"
    assert "27 asked for by freq='5D', 14 of them observed" in filled.attrs["stf_dates"]


def test_new_dates_are_interpolated_at_their_own_instant():
    wanted = np.array(["2021-05-16T22:30", "2021-06-04"], "M8[ns]")
    filled = CUBE.stf.gapfill(method="linear", time=wanted)
    known = CUBE.interpolate_na("time", use_coordinate=True, fill_value="extrapolate")
    inside = CUBE[:3].notnull().any("time") & CUBE[-3:].notnull().any("time")
    want = known.interp(time=wanted).where(inside)
    np.testing.assert_allclose(filled.where(inside), want, rtol=1e-5)


@pytest.mark.parametrize("freq", ["D", "10D", "MS", "2W", 5, "5", "7.5", "12h"])
def test_any_pandas_offset_serves_and_a_bare_number_is_days(freq):
    filled = CUBE.stf.gapfill(method="nearest", freq=freq)
    offset = f"{float(freq):g}D" if str(freq).replace(".", "").isdigit() else freq
    want = pd.date_range("2021-04-01", "2021-08-09", freq=offset)
    np.testing.assert_array_equal(filled.time, want.values)


@pytest.mark.parametrize(
    "time",
    ["2021-05-11", np.datetime64("2021-05-11"), datetime.date(2021, 5, 11), ["2021-05-11"],
     pd.DatetimeIndex(["2021-05-11"]), xr.DataArray(np.array(["2021-05-11"], "M8[ns]"), dims="t")],
)  # fmt: skip
def test_dates_come_in_any_form_and_the_day_of_an_image_is_the_image(time):
    filled = CUBE.stf.gapfill(method="linear", time=time)
    assert filled.sizes["time"] == 1
    np.testing.assert_array_equal(filled[0], CUBE.stf.gapfill(method="linear")[4])


@pytest.mark.parametrize(
    "time",
    ["20210506", "2021-05-06T00:00:00Z", "2021-05-06T02:00+02:00",
     pd.Timestamp("2021-05-06", tz="UTC"), [datetime.datetime(2021, 5, 6, tzinfo=datetime.UTC)],
     np.array(["20210506"])],
)  # fmt: skip
def test_dates_as_file_names_and_with_time_zones_are_those_dates(time):
    # numpy reads 20210506 as a year, which wraps around to one of 1792 in nanoseconds
    filled = CUBE.stf.gapfill(method="linear", time=time)
    assert filled.time.values.astype("M8[D]").tolist() == [datetime.date(2021, 5, 6)]


@pytest.mark.parametrize("time", ["202105", "99999999", 20210506, "11.05.2021"])
def test_what_is_no_date_is_refused(time):
    with pytest.raises(ValueError, match="time= must be dates such as"):
        CUBE.stf.gapfill(method="linear", time=time)


def test_dates_in_any_order_come_back_sorted_and_twice_is_an_error():
    filled = CUBE.stf.gapfill(method="linear", time=["2021-07-01", "2021-05-01", "2021-06-01"])
    assert (np.diff(filled.time.values) > np.timedelta64(0)).all()
    with pytest.raises(ValueError, match="twice.*2021-05-01"):
        CUBE.stf.gapfill(method="linear", time=["2021-05-01", "2021-05-01"])


def test_an_unsorted_cube_serves():
    order = np.random.default_rng(1).permutation(CUBE.sizes["time"])
    mixed = CUBE.isel(time=order).stf.gapfill(method="linear", freq="5D")
    np.testing.assert_array_equal(mixed, CUBE.stf.gapfill(method="linear", freq="5D"))


@pytest.mark.parametrize(
    ("call", "message"),
    [({"time": "2021-05-01", "freq": "5D"}, "give one of them"),
     ({"freq": "often"}, "freq='often' is no step"), ({"freq": "-5D"}, "later dates"),
     ({"freq": "0D"}, "later dates|no step"), ({"freq": "20YS"}, "no date from"),
     ({"freq": "1s"}, "more than"), ({"time": []}, "empty"), ({"time": "soon"}, "must be dates"),
     ({"time": 5}, "must be dates"), ({"time": [1, 2]}, "must be dates"),
     ({"time": [np.datetime64("NaT")]}, "NaT"), ({"edge": "drop"}, "edge must be")],
)  # fmt: skip
def test_what_says_no_dates_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        CUBE.stf.gapfill(method="linear", **call)


def test_networks_name_the_methods_that_can():
    with pytest.raises(ValueError, match=r"time= and freq=.*linear"):
        CUBE.stf.gapfill(method="mts-vit", weights="none.safetensors", freq="5D")


def test_evaluation_refuses_other_dates():
    for call in ({"freq": "5D"}, {"time": "2021-05-01"}):
        with pytest.raises(ValueError, match="evaluate_gapfill.*own dates"):
            xstf.evaluate_gapfill(CUBE, methods=["linear"], **call)


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=20, unique=True),
    st.lists(st.integers(-50, 250), min_size=1, max_size=20, unique=True),
)
def test_dates_and_images_of_one_day_meet_once(images, labels):
    start, half = np.datetime64("2021-01-01", "ns"), np.timedelta64(12, "h")
    own, wanted = (start + np.sort(v) * half for v in (images, labels))
    asked = ask(dates_of(own), wanted, None)
    np.testing.assert_array_equal(asked.every[asked.images], own)
    np.testing.assert_array_equal(asked.labels, wanted)
    assert (np.diff(asked.moments) > np.timedelta64(0)).all()
    assert (np.diff(asked.wanted) > 0).all()
    stamps = asked.every[asked.wanted]
    same = stamps.astype("M8[D]") == wanted.astype("M8[D]")
    assert same.all()
    seen = asked.picks >= 0
    np.testing.assert_array_equal(own[asked.picks[seen]], stamps[seen])
    np.testing.assert_array_equal(stamps[~seen], wanted[~seen])
    # Whoever asks for an image's own stamp gets it.
    assert seen[np.isin(wanted, own)].all()


# --- methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [m if m in ("linear", "nearest") else pytest.param(m, marks=pytest.mark.slow)
     for m in classical_names("gapfill")],
)  # fmt: skip
def test_every_method_serves_and_asking_changes_nothing(method):
    """What is asked for is no evidence: other dates are filled as they were."""
    plain = CUBE.stf.gapfill(method=method)
    filled = CUBE.stf.gapfill(method=method, freq="5D")
    assert filled.notnull().all()
    seen = CUBE.notnull().values
    np.testing.assert_array_equal(filled.values[::2][seen], CUBE.values[seen])
    # Penalties are sums over the dates there are; modes and shares hang on the smallest things.
    off = {"whittaker": 0.01, "eof": 0.01, "auto": 0.01}.get(method, 1e-5)
    np.testing.assert_allclose(filled.values[::2], plain.values, atol=off)
    between = (plain.values[1:] + plain.values[:-1]) / 2
    assert np.abs(filled.values[1::2] - between).mean() < 0.02


@pytest.mark.slow
def test_a_guide_is_used_on_new_dates():
    days = pd.date_range("2021-04-01", "2021-08-15", freq="3D")
    when = (days - days[0]).days.to_numpy()
    signal = np.where((when > 61) & (when < 69), 4.0, 0.0)  # between two images, at day 65
    data = np.broadcast_to(signal[:, None, None, None], (len(days), 1, SIZE, SIZE))
    guide = xr.DataArray(data, dims=CUBE.dims, coords={"time": days, "band": ["g"], "y": CUBE.y,
                                                       "x": CUBE.x})  # fmt: skip
    free = CUBE.stf.gapfill(method="gp", freq="5D")
    guided = CUBE.stf.gapfill(guide=guide, method="gp", freq="5D")
    assert guided.notnull().all()
    assert float(abs(guided - free).sel(time="2021-06-05").max()) > 0


def test_flags_tell_new_dates_from_observed_ones():
    got = CUBE.stf.gapfill(method="linear", freq="5D", return_quality=True)
    seen = CUBE.notnull().values
    flag, std = got.r_flag.values, got.r_std.values
    assert (flag[::2][seen] == _flags.OBSERVED).all()
    assert (flag[::2][~seen] == _flags.FILLED_IN_TIME).all()
    assert (flag[1::2] == _flags.FILLED_IN_TIME).all()
    assert (std[::2][seen] == 0).all()
    assert (std[1::2] > 0).all()


def test_auto_says_its_choice_of_the_dates_asked_for():
    few = make_cube(4).isel(band=[0]).stf.gapfill(method="nearest", time=["2021-04-06"])
    assert "stf_choice" not in few.attrs


# Those whose loops compile for long are for the slow tier.
IN_SECONDS = ["linear", "whittaker"]
LATER = [pytest.param(m, marks=pytest.mark.slow) for m in ("mnspi", "gp", "auto")]


@pytest.mark.parametrize("method", IN_SECONDS + LATER)
def test_of_one_observed_date_the_others_are_filled_and_as_unsure_as_the_scene_is_wide(method):
    """How fast pixels change cannot be known: other dates may have any of the scene's values."""
    cube = make_cube(6).isel(band=[0])
    rng = np.random.default_rng(0)
    cube[2] = rng.normal(0.3, 0.1, cube[2].shape)
    found = cube.where(cube.time == cube.time[2]).stf.gapfill(method=method, return_quality=True)
    lost = found.isel(time=[0, 1, 3, 4, 5])
    assert lost.r.notnull().all()
    assert float(lost.r_std.min()) > 0.01
    assert 0.04 < float(lost.r_std.max()) < 0.2


@pytest.mark.slow
def test_screening_and_certain_pixels_are_those_of_images():
    cube = make_cube(30)
    cube[12, :, 2:5, 2:5] += 0.4
    sure = xr.DataArray(
        np.zeros(cube.shape[::2][:1] + cube.shape[2:], bool),
        dims=("time", "y", "x"),
        coords={d: cube[d] for d in ("time", "y", "x")},
    )
    call: dict[str, Any] = {"method": "linear", "screen": "replace", "certain": sure}
    plain = cube.stf.gapfill(**call)
    filled = cube.stf.gapfill(**call, freq="5D")
    np.testing.assert_array_equal(filled.values[::2], plain.values)
    assert filled.attrs["stf_screened"] == plain.attrs["stf_screened"]


# --- lazy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", ["fill", "nearest", "nan"])
@pytest.mark.parametrize("chunks", [{"y": 2, "x": 5}, {"y": 5, "x": 1}])
def test_chunks_do_not_matter_and_nothing_is_computed_before(chunks, edge):
    call: dict[str, Any] = {
        "method": "linear", "freq": "5D", "edge": edge, "max_gap": 45, "return_quality": True,
    }  # fmt: skip
    with testing.raise_if_dask_computes():
        lazy = CUBE.chunk(chunks).stf.gapfill(**call)
    assert isinstance(lazy.r.data, da.Array)
    whole = CUBE.stf.gapfill(**call)
    for name in whole.data_vars:
        np.testing.assert_allclose(lazy[name], whole[name], rtol=1e-5, atol=1e-6)


# --- labels ------------------------------------------------------------------------------------


def test_coordinates_along_time_hold_or_are_left_out_aloud():
    new = CUBE.stf.gapfill(method="linear", freq="5D")
    assert "platform" not in new.coords
    assert "platform" in new.attrs["stf_dates"]
    assert new.tile == "31UFS"


def test_a_dataset_comes_back_on_the_dates_asked_for():
    bands = CUBE.to_dataset("band")
    filled = bands.stf.gapfill(method="linear", freq="5D")
    assert set(filled.data_vars) == {"red", "nir"}
    np.testing.assert_array_equal(filled.time, EVERY)
    one = CUBE.stf.gapfill(method="linear", freq="5D")
    np.testing.assert_array_equal(filled.nir, one.sel(band="nir"))


def test_results_write_to_netcdf(tmp_path):
    filled = CUBE.stf.gapfill(method="linear", freq="5D")
    xstf.files.save_cube(filled, tmp_path / "filled.nc")
    back = xr.open_dataset(tmp_path / "filled.nc")
    np.testing.assert_array_equal(back.r, filled)


# --- edges -------------------------------------------------------------------------------------


def holed() -> xr.DataArray:
    cube = CUBE.fillna(0.3)
    cube[:3, :, 0, 0] = np.nan
    cube[-2:, 0, 0, 1] = np.nan
    cube[:, 1, 0, 2] = np.nan
    cube[5, :, 0, 3] = np.nan
    return cube


def test_edge_nan_leaves_what_is_beyond_a_pixels_record_missing():
    got = holed().stf.gapfill(method="linear", edge="nan", return_quality=True)
    assert got.r[:3, :, 0, 0].isnull().all()
    assert got.r[-2:, 0, 0, 1].isnull().all()
    assert got.r[-2:, 1, 0, 1].notnull().all()
    assert got.r[:, 1, 0, 2].isnull().all()
    assert got.r[5, :, 0, 3].notnull().all()
    assert int(got.r.isnull().sum()) == 6 + 2 + 14
    missing = got.r.isnull()
    assert (got.r_flag.where(missing, _flags.MISSING) == _flags.MISSING).all()
    assert (got.r_flag.where(~missing, 0) != _flags.MISSING).all()
    assert got.r_std.where(missing).isnull().all()


@pytest.mark.parametrize("method", ["linear", pytest.param("whittaker", marks=pytest.mark.slow)])
def test_edge_nearest_holds_the_first_and_the_last_observation(method):
    cube = holed()
    got = cube.stf.gapfill(method=method, edge="nearest", return_quality=True)
    for date in range(3):
        np.testing.assert_array_equal(got.r[date, :, 0, 0], cube[3, :, 0, 0])
    np.testing.assert_array_equal(got.r[-2:, 0, 0, 1], cube[[-3, -3], 0, 0, 1])
    assert got.r[:, 1, 0, 2].isnull().all()
    assert (got.r_flag[:3, :, 0, 0] == _flags.FILLED_IN_TIME).all()
    assert (got.r_std[:3, :, 0, 0] > 0).all()
    inside = cube.stf.gapfill(method=method)
    np.testing.assert_array_equal(got.r[5], inside[5])


@pytest.mark.slow
def test_edge_fill_is_what_the_method_says():
    cube = holed()
    plain = cube.stf.gapfill(method="harmonic")
    np.testing.assert_array_equal(cube.stf.gapfill(method="harmonic", edge="fill"), plain)
    held = cube.stf.gapfill(method="harmonic", edge="nearest")
    assert float(abs(held - plain)[:3, :, 0, 0].max()) > 0


def test_edges_of_dates_that_are_asked_for():
    call: dict[str, Any] = {"method": "linear", "time": ["2021-03-01", "2021-06-06", "2021-12-01"]}
    cube = CUBE.fillna(0.3)
    assert cube.stf.gapfill(**call).notnull().all()
    gone = cube.stf.gapfill(**call, edge="nan")
    assert gone[[0, 2]].isnull().all()
    assert gone[1].notnull().all()
    held = cube.stf.gapfill(**call, edge="nearest")
    np.testing.assert_array_equal(held[0], cube[0])
    np.testing.assert_array_equal(held[2], cube[-1])


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_ends_are_those_of_the_definition(seen):
    evidence = np.array(seen)[:, None]
    values = np.where(evidence, np.arange(1.0, len(seen) + 1)[:, None], np.nan)
    outside, held = ends(evidence, values)
    at = np.flatnonzero(seen)
    for t in range(len(seen)):
        inside = at.size > 0 and at[0] <= t <= at[-1]
        assert outside[t, 0] == (not inside)
        if at.size == 0:
            assert np.isnan(held[t, 0])
        elif t < at[0]:
            assert held[t, 0] == at[0] + 1
        elif t > at[-1]:
            assert held[t, 0] == at[-1] + 1


# --- lengths of time ---------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [25, "25", 25.0, "25D", np.timedelta64(25, "D"), "600h"])
def test_a_bare_number_is_days(gap):
    want = CUBE.stf.gapfill(method="linear", max_gap="25D")
    assert want.isnull().any()
    np.testing.assert_array_equal(CUBE.stf.gapfill(method="linear", max_gap=gap), want)


def test_max_gap_on_the_command_line_is_days(tmp_path):
    from xstf.cli.main import main

    xstf.files.save_cube(CUBE.drop_vars(["platform", "tile"]), tmp_path / "cube.nc")
    out = tmp_path / "filled.nc"
    call = ["gapfill", str(tmp_path / "cube.nc"), "-o", str(out), "--method", "linear"]
    assert main([*call, "--max-gap", "25"]) in (0, None)
    with xr.open_dataset(out) as back:
        np.testing.assert_array_equal(back.r, CUBE.stf.gapfill(method="linear", max_gap="25D"))


def test_dates_and_edges_on_the_command_line(tmp_path):
    from xstf.cli.main import main

    xstf.files.save_cube(CUBE.drop_vars(["platform", "tile"]), tmp_path / "cube.nc")
    out = tmp_path / "filled.nc"
    call = ["gapfill", str(tmp_path / "cube.nc"), "-o", str(out), "--method", "linear"]
    assert main([*call, "--freq", "5D", "--edge", "nan"]) in (0, None)
    with xr.open_dataset(out) as back:
        want = CUBE.stf.gapfill(method="linear", freq="5D", edge="nan")
        np.testing.assert_array_equal(back.r, want)
    assert main([*call, "--overwrite", "--time", "2021-05-03", "2021-05-07"]) in (0, None)
    with xr.open_dataset(out) as back:
        assert back.sizes["time"] == 2


def test_max_gap_of_new_dates_is_between_observations():
    cube = CUBE.fillna(0.3)
    cube[4:8, :, 0, 0] = np.nan
    filled = cube.stf.gapfill(method="linear", freq="5D", max_gap=30)
    assert filled[7:15, :, 0, 0].isnull().all()
    assert filled[:7].notnull().all()
    assert filled[:, :, 1:].notnull().all()


def test_max_gap_beyond_the_record_is_the_way_to_it():
    cube = CUBE.fillna(0.3)  # from 1 April to 9 August
    near, far = "2021-08-16", "2022-03-01"
    call: dict[str, Any] = {"method": "linear", "max_gap": 30}
    alone = cube.stf.gapfill(**call, time=[near])
    both = cube.stf.gapfill(**call, time=[near, far])
    assert alone.notnull().all()
    assert both[0].notnull().all()
    assert both[1].isnull().all()


def test_gaps_reach_to_the_record_or_to_the_date():
    seen = np.array([False, False, True, False, False])[:, None]
    times = np.array([-20.0, 0, 10, 30, 50])
    found = gap_lengths(seen, times, (0.0, 30.0)).ravel()
    assert found.tolist() == [30, 10, 0, 20, 40]


def test_guide_tolerance_takes_days():
    guide = CUBE.shift(time=1).assign_coords(time=CUBE.time + np.timedelta64(3, "D"))
    for tolerance in (2, "2", "2D"):
        with pytest.raises(ValueError, match="within 2D? of any date"):
            CUBE.stf.gapfill(guide=guide, method="gp", guide_tolerance=tolerance)


# --- days --------------------------------------------------------------------------------------


def test_a_date_names_the_local_day_of_its_place():
    """In New Zealand 10 June at 22:20 UTC is 11 June, 10 in the morning."""
    east = CUBE.drop_vars(["y", "x"]).assign_coords(
        y=-43.5 - 1e-4 * np.arange(SIZE), x=172.0 + 1e-4 * np.arange(SIZE),
        time=CUBE.time.values + np.timedelta64(710, "m"),
    ).rename(y="lat", x="lon")  # fmt: skip
    assert str(east.time.values[0])[:16] == "2021-04-01T22:20"
    filled = east.stf.gapfill(method="linear", time=["2021-04-02", "2021-04-07"])
    plain = east.stf.gapfill(method="linear")
    np.testing.assert_array_equal(filled[0], plain[0])
    np.testing.assert_array_equal(filled.time, np.array(["2021-04-02", "2021-04-07"], "M8[ns]"))


def test_composites_count_at_the_middle_of_their_period():
    whole = CUBE.fillna(0.3).assign_coords(time=CUBE.time.dt.floor("D"))
    composites = whole.assign_attrs(composite="10D")
    filled = composites.stf.gapfill(method="linear", time=["2021-04-15"])
    # Half of it: the composites of 1 and 11 April count on 6 and 16 April at midnight.
    share = (14.5 - 5) / 10
    np.testing.assert_allclose(filled[0], whole[0] * (1 - share) + whole[1] * share, rtol=1e-4)


def test_several_guides_learn_as_they_fill():
    from xstf.train.gapfill import _of_each

    assert _of_each([1, 2], False, 1, "sar") == [[1, 2]]
    assert _of_each([[1, 2], 3], True, 2, "sar") == [[1, 2], 3]
    assert _of_each(None, True, 2, "sar") == [None, None]
    with pytest.raises(ValueError, match="2 cubes need a sequence as long of sar.*list of 1"):
        _of_each([1], True, 2, "sar")


def test_daily_products_are_interpolated_from_day_to_day():
    daily = CUBE.assign_coords(time=CUBE.time.dt.floor("D"))
    filled = daily.stf.gapfill(method="linear", freq="5D")
    known = daily.interpolate_na("time", use_coordinate=True).interp(time=EVERY)
    np.testing.assert_allclose(filled.where(known.notnull()), known, rtol=1e-5)
    odd = daily.stf.gapfill(method="linear", time=["2021-05-02", "2021-05-04"])
    want = daily.interpolate_na("time", use_coordinate=True).interp(time=odd.time)
    np.testing.assert_allclose(odd.where(want.notnull()), want, rtol=1e-5)


# --- forms of dates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "day"),
    [
        ("20210503", "2021-05-03"),  # numpy reads the year 20,210,503
        (["2021-05-03", "20210509"], "2021-05-03"),
        ("2021-05-03T10:00Z", "2021-05-03T10:00"),
        (pd.Timestamp("2021-05-03 02:00", tz="Europe/Berlin"), "2021-05-03"),
        (pd.DatetimeIndex(["2021-05-03"]).tz_localize("UTC"), "2021-05-03"),
        (np.array(["2021-05-03"], "M8[s]"), "2021-05-03"),
    ],
)
def test_dates_in_every_usual_form(given, day):
    assert read_dates(given)[0] == np.datetime64(day)


@pytest.mark.parametrize("given", ["2021-05", "2021", "202105", "2021123", "03/05/2021", "now"])
def test_texts_that_name_no_day_are_refused(given):
    with pytest.raises(ValueError, match="time="):
        read_dates(given)


@pytest.mark.parametrize("step", [5, "5", "5D", "5d", pd.Timedelta("5D"), np.timedelta64(5, "D")])
def test_steps_in_every_usual_form(step):
    cube, _ = xstf.testing.holes()
    want = cube.stf.gapfill(method="linear", freq="5D").time
    np.testing.assert_array_equal(cube.stf.gapfill(method="linear", freq=step).time, want)
    with pytest.raises(ValueError, match="freq=True"):
        cube.stf.gapfill(method="linear", freq=True)
