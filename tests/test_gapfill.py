"""The verb `gapfill` on labelled cubes: what users give, and what they get."""

from __future__ import annotations

import dataclasses
from typing import Any

import dask.array as da
import numpy as np
import pyproj
import pytest
import xarray as xr
from records import each_name

import xstf
from xstf import testing
from xstf.methods.lookup import classical_names
from xstf.tiles import flags as _flags
from xstf.tiles import gapfill as tiles_gapfill
from xstf.tiles.gapfill import gap_lengths

UTM = pyproj.CRS.from_epsg(32631)


def make_cube(
    *, dates: int = 20, size: tuple[int, int] = (24, 20), bands: tuple[str, ...] = ("red", "nir"),
    seed: int = 0, crs: bool = True,
) -> xr.DataArray:  # fmt: skip
    """Return a seasonal cube with clouds, one date wholly lost."""
    rng = np.random.default_rng(seed)
    times = np.datetime64("2021-03-01", "ns") + np.cumsum(
        rng.integers(6, 14, dates)
    ) * np.timedelta64(1, "D")
    days = (times - times[0]) / np.timedelta64(1, "D")
    level = rng.uniform(0.2, 0.5, (len(bands), *size))
    data = level + 0.1 * np.sin(2 * np.pi * days / 365)[:, None, None, None]
    data = data + rng.normal(0, 0.005, data.shape)
    for date in range(dates):
        top, left = rng.integers(0, size[0] - 6), rng.integers(0, size[1] - 6)
        data[date, :, top : top + 9, left : left + 7] = np.nan
    data[5] = np.nan
    cube = xr.DataArray(
        data.astype(np.float32), dims=("time", "band", "y", "x"), name="reflectance",
        coords={
            "time": times, "band": list(bands), "y": 5000.0 - 10 * np.arange(size[0]),
            "x": 300.0 + 10 * np.arange(size[1]), "sensor": "msi",
        },
        attrs={"units": "1", "title": "a field"},
    )  # fmt: skip
    if crs:
        cube = cube.assign_coords(spatial_ref=xr.Variable((), 0, UTM.to_cf()))
    return cube


def make_sar(cube: xr.DataArray, *, shift: float = 0.0, days: int = 0) -> xr.DataArray:
    """Return VV and VH in dB on a 20 m grid and other dates, more echo where the season is high."""
    rng = np.random.default_rng(1)
    times = cube.time.values + np.timedelta64(3 + days, "D")
    y = 5010.0 + shift - 20 * np.arange(16)
    x = 290.0 + shift + 20 * np.arange(14)
    data = -15 + rng.normal(0, 1, (len(times), 2, 16, 14))
    return xr.DataArray(
        data.astype(np.float32), dims=("time", "band", "y", "x"), attrs={"units": "dB"},
        coords={"time": times, "band": ["VV", "VH"], "y": y, "x": x,
                "spatial_ref": xr.Variable((), 0, UTM.to_cf())},
    )  # fmt: skip


CUBE = make_cube()


# --- what comes back ---------------------------------------------------------------------------


@each_name("gapfill")
def test_observed_pixels_come_back_bit_for_bit(method):
    filled = CUBE.stf.gapfill(method=method)
    seen = CUBE.notnull().values
    np.testing.assert_array_equal(filled.values[seen], CUBE.values[seen])
    assert filled.notnull().all()


def test_labels_attrs_and_crs_are_kept():
    filled = CUBE.stf.gapfill(method="linear")
    assert filled.dims == CUBE.dims
    assert filled.name == "reflectance"
    assert filled.attrs["title"] == "a field"
    assert filled.sensor == "msi"
    assert "linear(" in filled.attrs["stf_method"]
    assert "gapfill" in filled.attrs["history"]
    assert pyproj.CRS.from_cf(filled.spatial_ref.attrs) == UTM
    xr.testing.assert_equal(filled.time, CUBE.time)


@pytest.mark.parametrize("dims", [("y", "x", "time", "band"), ("band", "time", "x", "y")])
def test_any_dim_order_comes_back(dims):
    filled = CUBE.transpose(*dims).stf.gapfill(method="linear")
    assert filled.dims == dims
    xr.testing.assert_allclose(
        filled.transpose(*CUBE.dims).drop_attrs(), CUBE.stf.gapfill(method="linear").drop_attrs()
    )


def test_a_cube_without_bands_works():
    red = CUBE.sel(band="red", drop=True)
    filled = red.stf.gapfill(method="linear")
    assert filled.dims == ("time", "y", "x")
    np.testing.assert_array_equal(filled, CUBE.stf.gapfill(method="linear").sel(band="red"))


@pytest.mark.slow
def test_a_dataset_of_bands_comes_back_as_one():
    bands = CUBE.to_dataset("band")
    filled = bands.stf.gapfill(method="harmonic", return_quality=True)
    assert set(filled.data_vars) == {
        f"{b}{s}" for b in ("red", "nir") for s in ("", "_std", "_flag", "_n_obs")
    }
    one = CUBE.stf.gapfill(method="harmonic")
    np.testing.assert_allclose(filled["nir"], one.sel(band="nir"), atol=1e-6)


def test_unsorted_dates_come_back_in_their_order():
    order = np.random.default_rng(5).permutation(CUBE.sizes["time"])
    shuffled = CUBE.isel(time=order)
    filled = shuffled.stf.gapfill(method="linear", return_quality=False)
    xr.testing.assert_equal(filled.time, shuffled.time)
    np.testing.assert_array_equal(filled.values, CUBE.stf.gapfill(method="linear").values[order])


STRAIGHT = [n for n in classical_names("gapfill") if xstf.get_method("gapfill", n).direct]


def test_some_methods_write_straight_into_the_result():
    assert "linear" in STRAIGHT


@pytest.mark.parametrize("dates", [5, 6])
@pytest.mark.parametrize("method", STRAIGHT)
def test_straight_into_the_result_is_what_tiles_give_bit_for_bit(method, dates):
    """With dates out of order, infinite and absurd values, -0.0, and pixels that are never seen."""
    cube = testing.holes()[0].isel(time=[3, 0, 5, 1, 4, 2][6 - dates :]).astype(np.float32)
    values = cube.transpose("time", ...).values.copy()
    values[1, ..., 3], values[2, ..., 4], values[0, ..., 5] = np.inf, -3e18, -0.0
    values[..., 7, 7] = np.nan
    cube = cube.transpose("time", ...).copy(data=values)
    record = xstf.get_method("gapfill", method)
    tiled = dataclasses.replace(record, direct=None)
    with pytest.warns(UserWarning, match="values that are infinite or beyond 1e"):
        straight, by_tiles = (xstf.gapfill(cube, method=m) for m in (record, tiled))
    assert straight.values.tobytes() == by_tiles.values.tobytes()
    seen = np.abs(values) < 1e18
    assert straight.values[seen].tobytes() == values[seen].tobytes()
    assert np.isnan(straight.values[..., 7, 7]).all()


@pytest.mark.parametrize("method", STRAIGHT)
def test_only_a_plain_call_is_written_straight(method):
    """All else goes by tiles: what is asked for besides, other dates, other engines."""
    cube = testing.holes()[0].transpose("time", ...)
    cube = cube.copy(data=cube.values.astype(np.float32, order="C"))
    record = xstf.get_method("gapfill", method)

    def refused(*_, **__):
        raise AssertionError("written straight")

    broken = dataclasses.replace(record, direct=refused)
    with pytest.raises(AssertionError, match="written straight"):
        xstf.gapfill(cube, method=broken)
    for options in (
        {"return_quality": record.std}, {"edge": "nan"}, {"max_gap": 30}, {"screen": True},
        {"engine": "numpy"}, {"time": cube.time[1:3].values}, {"mask": None, "freq": "20D"},
    ):  # fmt: skip
        if options != {"return_quality": False}:
            xstf.gapfill(cube, method=broken, **options)
    xstf.gapfill(cube.copy(data=np.asfortranarray(cube.values)), method=broken)


def test_values_beyond_0_and_1_are_kept():
    odd = CUBE.copy()
    odd[3, 0, 2, 2] = 1.7
    odd[4, 1, 2, 3] = -0.4
    filled = odd.stf.gapfill(method="linear")
    assert filled[3, 0, 2, 2] == np.float32(1.7)
    assert filled[4, 1, 2, 3] == np.float32(-0.4)
    high = (CUBE * 9000).stf.gapfill(method="linear")
    np.testing.assert_allclose(high, CUBE.stf.gapfill(method="linear") * 9000, rtol=1e-4)


def test_an_integer_cube_with_nodata_is_filled():
    whole = (CUBE * 10000).round().fillna(-9999).astype(np.int16).assign_attrs(_FillValue=-9999)
    filled = whole.stf.gapfill(method="linear")
    assert filled.dtype == np.float32
    assert filled.notnull().all()
    assert "_FillValue" not in filled.attrs
    expected = (CUBE * 10000).stf.gapfill(method="linear")
    np.testing.assert_allclose(filled, expected, atol=1.0)


# --- missing, masks, flags ---------------------------------------------------------------------


def test_a_mask_hides_what_it_marks():
    whole = CUBE.fillna(0.9)
    mask = CUBE.isel(band=0, drop=True).isnull()
    filled = whole.stf.gapfill(mask=mask, method="linear")
    np.testing.assert_array_equal(filled, CUBE.stf.gapfill(method="linear"))


@pytest.mark.slow
def test_a_pixel_that_is_never_seen_stays_missing_and_is_flagged():
    blind = CUBE.copy()
    blind[:, :, 3, 4] = np.nan
    got = blind.stf.gapfill(method="harmonic", return_quality=True)
    assert got.reflectance[:, :, 3, 4].isnull().all()
    assert (got.reflectance_flag[:, :, 3, 4] == _flags.MISSING).all()


@pytest.mark.slow
def test_flags_say_how_each_pixel_came_about():
    got = CUBE.stf.gapfill(method="harmonic", return_quality=True, screen=False)
    seen = CUBE.notnull()
    assert (got.reflectance_flag.where(seen, 0) == _flags.OBSERVED).all()
    assert (got.reflectance_flag.where(~seen, 1) == _flags.FILLED_IN_TIME).all()
    assert got.reflectance_flag.dtype == np.uint8
    assert len(got.reflectance_flag.flag_meanings.split()) == len(got.reflectance_flag.flag_values)
    assert (got.reflectance_std.where(seen, 0) == 0).all()
    assert (got.reflectance_std.where(~seen, 1) > 0).all()


def test_long_gaps_stay_missing_with_max_gap():
    cube = CUBE.copy()
    cube[8:13, :, 0, 0] = np.nan
    filled = cube.stf.gapfill(method="linear", max_gap="25D")
    assert filled[8:13, :, 0, 0].isnull().all()
    times = (cube.time.values - cube.time.values[0]) / np.timedelta64(1, "D")
    gaps = gap_lengths(cube.notnull().values, times)
    missing = filled.isnull().values
    np.testing.assert_array_equal(missing, cube.isnull().values & (gaps > 25))
    xr.testing.assert_equal(filled, cube.stf.gapfill(method="linear", max_gap=25))


def test_gap_lengths_reach_from_observation_to_observation():
    seen = np.array([False, True, False, False, True, False])[:, None]
    times = np.array([0.0, 10, 15, 30, 40, 45])
    assert gap_lengths(seen, times).ravel().tolist() == [10, 0, 30, 30, 0, 5]


def test_smooth_changes_observed_pixels():
    smooth = CUBE.stf.gapfill(method="whittaker", smooth=True)
    seen = CUBE.notnull().values
    assert (smooth.values[seen] != CUBE.values[seen]).mean() > 0.9
    assert np.abs(smooth.values[seen] - CUBE.values[seen]).max() < 0.05


@pytest.mark.slow
def test_a_date_wholly_cloudy_is_filled():
    assert CUBE[5].isnull().all()
    for method in classical_names("gapfill"):
        filled = CUBE.stf.gapfill(method=method)
        assert float(abs(filled[5] - (CUBE[4] + CUBE[6]) / 2).mean()) < 0.1


def test_cubes_of_one_value_stay_so():
    flat = CUBE.where(CUBE.isnull(), 0.3)
    filled = flat.stf.gapfill(method="linear")
    np.testing.assert_array_equal(filled, np.float32(0.3))


# --- outliers ----------------------------------------------------------------------------------


def hazy() -> tuple[xr.DataArray, np.ndarray]:
    cube = make_cube(dates=30)
    haze = np.zeros((30, 24, 20), bool)
    haze[12, 6:14, 5:12] = True
    cube = cube.where(~xr.DataArray(haze, dims=("time", "y", "x")), cube + 0.35)
    return cube, haze & cube.notnull().all("band").values


@pytest.mark.slow
def test_screening_keeps_outliers_flags_them_and_does_not_use_them():
    cube, haze = hazy()
    got = cube.stf.gapfill(method="linear", screen=True)
    np.testing.assert_array_equal(got.values[cube.notnull()], cube.values[cube.notnull()])
    quality = cube.stf.gapfill(method="harmonic", screen=True, return_quality=True)
    found = (quality.reflectance_flag == _flags.OUTLIER).any("band").values
    assert (found & haze).sum() > 0.8 * haze.sum()
    assert (found & ~haze).mean() < 0.02


@pytest.mark.slow
@pytest.mark.slow
def test_a_scene_that_is_its_own_sample_is_screened_once(monkeypatch):
    cube, haze = hazy()
    looks = []
    look = tiles_gapfill.find_outliers

    def counted(*args, **options):
        looks.append(1)
        return look(*args, **options)

    monkeypatch.setattr(tiles_gapfill, "find_outliers", counted)
    once = cube.stf.gapfill(method="linear", screen="replace")
    assert (once != cube).values[np.broadcast_to(haze[:, None], cube.shape)].mean() > 0.8
    assert len(looks) == 1
    # Pixels that are certain are not known where the season is learnt.
    cube.stf.gapfill(method="linear", screen="replace", certain=cube.isel(band=0).isnull())
    assert len(looks) > 2
    # Tiles that look for themselves find the same.
    monkeypatch.setattr(tiles_gapfill, "_is_whole", lambda *_: False)
    xr.testing.assert_equal(cube.stf.gapfill(method="linear", screen="replace"), once)


def test_screening_can_replace_outliers():
    cube, haze = hazy()
    replaced = cube.stf.gapfill(method="linear", screen="replace")
    clean = make_cube(dates=30).values
    inside = np.broadcast_to(haze[:, None], cube.shape)
    off = np.abs(replaced.values - clean)[inside]
    assert np.median(off) < 0.03


def test_certain_pixels_are_never_screened():
    cube, haze = hazy()
    sure = xr.DataArray(
        haze, dims=("time", "y", "x"), coords={d: cube[d] for d in ("time", "y", "x")}
    )
    kept = cube.stf.gapfill(method="linear", screen="replace", certain=sure)
    inside = np.broadcast_to(haze[:, None], cube.shape)
    np.testing.assert_array_equal(kept.values[inside], cube.values[inside])


# --- guides ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [n for n in classical_names("gapfill") if xstf.get_method("gapfill", n).guided],
)
def test_sar_on_its_own_grid_and_dates_is_used(method):
    sar = make_sar(CUBE)
    # Of one date there is nothing else to go by; with more, a method may find no use for noise.
    cube = CUBE.isel(time=[3]) if xstf.get_method("gapfill", method).fewest == 1 else CUBE
    filled = cube.stf.gapfill(sar, method=method)
    assert filled.notnull().all()
    assert (filled != cube.stf.gapfill(method=method)).any()


@pytest.mark.slow
def test_sar_in_linear_power_is_the_same_as_in_db():
    sar = make_sar(CUBE)
    power = (10 ** (sar / 10)).assign_attrs(units="linear")
    on_grid = sar.interp(y=CUBE.y, x=CUBE.x, method="nearest").assign_attrs(units="dB")
    a = CUBE.stf.gapfill(on_grid, method="gp")
    b = CUBE.stf.gapfill((10 ** (on_grid / 10)).assign_attrs(units="linear"), method="gp")
    np.testing.assert_allclose(a, b, atol=1e-4)
    unsaid = power.copy()
    unsaid.attrs = {}
    xr.testing.assert_allclose(
        CUBE.stf.gapfill(power, method="gp"), CUBE.stf.gapfill(unsaid, method="gp")
    )


def test_lazy_sar_must_say_its_units():
    sar = make_sar(CUBE).chunk()
    sar.attrs = {}
    with pytest.raises(ValueError, match="sar_units"):
        CUBE.stf.gapfill(sar, method="gp")


@pytest.mark.slow
def test_orbits_are_kept_apart():
    sar = make_sar(CUBE)
    orbit = np.where(np.arange(sar.sizes["time"]) % 2, "ascending", "descending")
    shifted = sar + xr.DataArray(np.where(orbit == "ascending", 5.0, 0.0), dims="time")
    shifted = shifted.assign_attrs(units="dB").assign_coords(orbit=("time", orbit))
    apart = CUBE.stf.gapfill(shifted, method="gp")
    level = CUBE.stf.gapfill(sar.assign_coords(orbit=("time", orbit)), method="gp")
    np.testing.assert_allclose(apart, level, atol=2e-3)


@pytest.mark.slow
def test_sar_that_covers_a_part_is_used_there():
    sar = make_sar(CUBE).isel(x=slice(0, 6))
    filled = CUBE.stf.gapfill(sar, method="gp")
    assert filled.notnull().all()


@pytest.mark.slow
def test_sar_that_sees_nothing_changes_nothing():
    sar = make_sar(CUBE)
    with pytest.warns(UserWarning, match="every value of sar is missing"):
        blind = CUBE.stf.gapfill(sar.where(False).assign_attrs(units="dB"), method="gp")
    np.testing.assert_allclose(blind, CUBE.stf.gapfill(method="gp"), atol=1e-5)


# --- lazy --------------------------------------------------------------------------------------


@each_name("gapfill")
@pytest.mark.parametrize("chunks", [{"y": 11, "x": 20}, {"y": 7, "x": 9}], ids=["strips", "blocks"])
def test_chunks_do_not_matter_and_nothing_is_computed_before(method, chunks):
    lazy_cube = CUBE.chunk({"time": -1, "band": -1, **chunks})
    with testing.raise_if_dask_computes():
        lazy = lazy_cube.stf.gapfill(method=method)
    assert isinstance(lazy.data, da.Array)
    np.testing.assert_allclose(
        lazy.compute(), CUBE.stf.gapfill(method=method), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_a_lazy_cube_with_sar_is_lazy():
    guided = CUBE.chunk({"y": 12}).stf.gapfill(make_sar(CUBE).chunk({"time": 3}), method="gp")
    assert isinstance(guided.data, da.Array)
    np.testing.assert_allclose(
        guided.compute(), CUBE.stf.gapfill(make_sar(CUBE), method="gp"), rtol=1e-4, atol=1e-5
    )


def test_a_cube_chunked_along_time_is_said_once_and_filled():
    lazy = CUBE.chunk({"time": 1})
    with pytest.warns(UserWarning, match="chunks along time") as caught:
        filled = lazy.stf.gapfill(method="linear")
    assert len(caught) == 1
    assert len(filled.chunks[0]) == 1
    np.testing.assert_array_equal(filled.compute(), CUBE.stf.gapfill(method="linear"))


@pytest.mark.slow
def test_results_write_to_netcdf(tmp_path):
    got = CUBE.stf.gapfill(method="harmonic", return_quality=True)
    xstf.files.save_cube(got, tmp_path / "filled.nc")
    back = xr.open_dataset(tmp_path / "filled.nc", decode_coords="all")
    np.testing.assert_allclose(back.reflectance, got.reflectance)


# --- what cannot be ----------------------------------------------------------------------------


def fails(message: str, error: type[Exception] = ValueError, cube: Any = CUBE, **call: Any) -> None:
    with pytest.raises(error, match=message):
        cube.stf.gapfill(**({"method": "linear"} | call))


def test_a_cube_without_time_is_refused():
    fails("no time", cube=CUBE.isel(time=0, drop=True))


@pytest.mark.slow
def test_one_date_is_refused_by_methods_in_time_with_those_that_can():
    fails("mnspi", cube=CUBE.isel(time=[0]))
    filled = CUBE.isel(time=[0]).stf.gapfill(method="mnspi")
    assert filled.notnull().all()


def test_duplicate_times_are_refused():
    fails("dates twice", cube=xr.concat([CUBE, CUBE.isel(time=[2])], "time"))


def test_a_mask_of_another_grid_is_refused():
    mask = CUBE.isel(band=0, drop=True).isnull()
    fails("mask", mask=mask.assign_coords(x=mask.x + 5))
    fails("boolean", TypeError, mask=mask.astype(int))


def test_sar_without_overlap_is_refused():
    fails("do not overlap", method="gp", sar=make_sar(CUBE, shift=9000.0))
    fails("no image within", method="gp", sar=make_sar(CUBE, days=4000))
    bare = make_sar(CUBE).drop_vars("spatial_ref")
    fails("CRS", method="gp", sar=bare)


def test_sar_for_a_method_that_makes_no_use_of_it_is_refused():
    fails("makes no use of sar", sar=make_sar(CUBE))


def test_wrong_options_are_refused():
    fails("no gapfill method 'linaer'", method="linaer")
    fails("no parameter", TypeError, window=3)
    fails("does not smooth|fills and does not", smooth=True)
    fails("max_gap", max_gap=-3)
    fails("max_gap", max_gap="soon")
    fails("screen", screen="maybe")
    fails("guide_tolerance", sar=make_sar(CUBE), method="gp", guide_tolerance="0D")
    fails("certain", TypeError, certain=CUBE.isel(band=0))
