"""Cubes without space, series of fields and sites, filled in time; cubes of one pixel or row."""

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xstf
from xstf.methods.lookup import classical_names, get_method
from xstf.tiles.flags import OUTLIER

DAYS = pd.date_range("2021-04-01", periods=14, freq="10D")
FIELDS = [f"f{i}" for i in range(5)]
QUICK = ["linear", "nearest"]
IN_TIME = ["auto", "eof", "gp", "harmonic", "linear", "nearest", "whittaker"]
SPATIAL = ["hybrid", "mnspi", "regression"]


def series(seed=0):
    rng = np.random.default_rng(seed)
    season = np.sin(np.arange(14) / 3)[:, None, None] + np.arange(2)[None, :, None]
    values = (season + rng.normal(0, 0.1, (14, 2, 5))).astype("f4")
    values[rng.random(values.shape) < 0.3] = np.nan
    return xr.DataArray(
        values, dims=("time", "band", "field"), name="index", attrs={"units": "1"},
        coords={
            "time": DAYS, "band": ["NDVI", "EVI"], "field": FIELDS,
            "crop": ("field", list("abcde")), "cloud": ("time", np.arange(14)),
            "angle": (("time", "field"), np.zeros((14, 5))), "site": "here",
        },
    )  # fmt: skip


def as_cube(made):
    """The same series as a row of pixels."""
    made = made.reset_coords(drop=True).drop_vars("field").rename(field="x")
    return made.assign_coords(x=10.0 * np.arange(made.sizes["x"])).expand_dims(y=[5.0])


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[] if m in QUICK else pytest.mark.slow) for m in IN_TIME if m != "auto"],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_each_series_gets_what_it_gets_as_a_pixel(method, lazy):
    made = series()
    wanted = as_cube(made).stf.gapfill(method=method).isel(y=0)
    given = made.transpose("field", "time", "band")
    given = given.chunk(field=2) if lazy else given
    with dask.config.set(scheduler=_refuse):
        filled = given.stf.gapfill(method=method)
    assert dask.is_dask_collection(filled) == lazy
    assert filled.dims == given.dims
    wanted = wanted.transpose("x", "time", "band").values
    np.testing.assert_allclose(filled.values, wanted, rtol=1e-6)
    assert not filled.isnull().any()
    np.testing.assert_array_equal(
        filled.values[made.transpose(*given.dims).notnull().values],
        given.values[made.transpose(*given.dims).notnull().values],
    )


def _refuse(*args, **kwargs):
    raise AssertionError("something was computed")


@pytest.mark.parametrize(
    "select",
    [
        {}, {"band": 0}, {"field": 1}, {"band": 0, "field": 1}, {"field": [2]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["array", "dataset", "lazy"])
@pytest.mark.parametrize("time", ["time", "t", "date"])
def test_any_dims_come_back_with_their_coordinates(select, form, time):
    made = series().isel(select).rename(time=time)
    whole = series().stf.gapfill(method="linear").isel(select).rename(time=time)
    given = made.chunk({time: 5}) if form == "lazy" else made
    if form == "dataset":
        given = made.to_dataset("band") if "band" in made.dims else made.to_dataset(name="NDVI")
        whole = whole.to_dataset("band") if "band" in made.dims else whole.to_dataset(name="NDVI")
        if "field" in made.dims:
            given["area"], given["name"] = ("field", np.ones(made.sizes["field"])), "fields"
            whole["area"], whole["name"] = given["area"], given["name"]
    context = pytest.warns(UserWarning, match="chunks along") if form == "lazy" else _quiet()
    with context:
        filled = given.stf.gapfill(method="linear")
    assert filled.sizes == given.sizes
    assert set(filled.coords) == set(given.coords)
    xr.testing.assert_allclose(filled, whole)
    for name in filled.data_vars if form == "dataset" else ():
        assert filled[name].dims == given[name].dims


def _quiet():
    import contextlib

    return contextlib.nullcontext()


def test_dims_that_are_neither_time_nor_band_are_samples_in_order():
    made = series()
    nested = xr.concat([made, made + 1], "plot").transpose("plot", "time", "field", "band")
    filled = nested.stf.gapfill(method="linear")
    assert filled.dims == nested.dims
    np.testing.assert_allclose(filled.isel(plot=1), filled.isel(plot=0) + 1, rtol=1e-5)
    xr.testing.assert_allclose(
        filled.isel(plot=0).transpose(*made.dims), made.stf.gapfill(method="linear")
    )


@pytest.mark.parametrize("form", ["array", "dataset"])
def test_quality_comes_with_the_series(form):
    made = series() if form == "array" else series().to_dataset("band")
    filled = made.stf.gapfill(method="linear", return_quality=True)
    name = "index" if form == "array" else "NDVI"
    assert {name, f"{name}_std", f"{name}_flag"} <= set(filled)
    assert filled[f"{name}_flag"].dims == made[name].dims if form == "dataset" else made.dims
    assert (filled[f"{name}_std"] >= 0).all()
    assert set(filled.coords) == set(made.coords)


@pytest.mark.parametrize("method", [*SPATIAL, "mts-vit", "smts-vivit"])
def test_methods_in_space_say_why_not(method):
    with pytest.raises(ValueError, match=r"from those around it.*no y and x.*linear.*in time"):
        series().stf.gapfill(method=method)


def test_every_method_is_of_either_kind():
    for name in classical_names("gapfill"):
        record = get_method("gapfill", name)
        assert (record.in_time(record.params()) is not None) == (name in IN_TIME)


@pytest.mark.slow
def test_auto_blends_what_works_in_time():
    filled = series().stf.gapfill()
    assert "auto(space=False)" in filled.attrs["stf_method"]
    used = set(filled.attrs["stf_choice"].replace(";", " ").split())
    assert used & {"harmonic", "gp", "eof", "linear"}
    assert not used & set(SPATIAL)
    one = series().isel(field=0, band=0).stf.gapfill(return_quality=True)
    assert not one["index"].isnull().any()


def test_auto_needs_no_neighbours_to_screen():
    made = series().fillna(0.5)
    made[{"time": 7, "field": 2}] = 60.0  # alone among its fields, and no neighbour of theirs
    filled = made.stf.gapfill(method="linear", screen=True, return_quality=True)
    assert (filled["index_flag"].isel(time=7, field=2) == OUTLIER).all()
    assert (filled["index_flag"].isel(field=[1, 3]) == 0).all()


def test_one_date_says_that_others_are_needed():
    with pytest.raises(ValueError, match="1 date"):
        series().isel(time=[0]).stf.gapfill()


@pytest.mark.parametrize("dims", [["time"], ["field"], ["time", "field"], ["field", "time"]])
def test_masks_have_any_of_the_dims(dims):
    made = series().fillna(1.0)
    mask = xr.zeros_like(made.isel(band=0, drop=True), bool)
    mask[{"time": [3, 4], "field": [1]}] = True
    for dim in {"time", "field"} - set(dims):
        mask = mask.any(dim)
    mask = mask.transpose(*dims).drop_attrs()
    filled = made.stf.gapfill(method="linear", mask=mask, certain=~mask)
    xr.testing.assert_allclose(filled, made.where(~mask).stf.gapfill(method="linear"))
    turned = mask.isel({dims[0]: slice(None, None, -1)})
    xr.testing.assert_allclose(made.stf.gapfill(method="linear", mask=turned), filled)
    with pytest.raises(ValueError, match=f"differ along '{dims[0]}'"):
        made.stf.gapfill(method="linear", mask=mask.isel({dims[0]: slice(1, None)}))


def test_a_mask_of_other_series_is_refused():
    with pytest.raises(ValueError, match=r"mask has dims \['site'\]"):
        series().stf.gapfill(method="linear", mask=xr.DataArray([True, False], dims="site"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gp", "auto"])
def test_a_guide_of_series_serves_them(method):
    made = series()
    guide = (series(3).isel(band=[0]).fillna(0.0) * 10 - 15).drop_vars("cloud")
    filled = made.stf.gapfill(guide, method=method, sar_units="dB")
    assert filled.dims == made.dims
    turned = guide.isel(field=[4, 2, 0, 1, 3]).transpose("field", "band", "time")
    xr.testing.assert_allclose(made.stf.gapfill(turned, method=method, sar_units="dB"), filled)
    lazy = made.chunk().stf.gapfill(guide.chunk(), method=method, sar_units="dB")
    np.testing.assert_allclose(lazy, filled, rtol=1e-4, atol=1e-5)
    same = xr.concat([guide.isel(field=0)] * 5, made.field)
    xr.testing.assert_allclose(
        made.stf.gapfill(guide.isel(field=0), method=method, sar_units="dB"),
        made.stf.gapfill(same, method=method, sar_units="dB"),
    )


def test_a_guide_of_other_places_is_refused():
    made, guide = series(), series(3).isel(band=0).drop_vars("site")
    for wrong, why in (
        (guide.isel(field=[0, 1]), r"differ along 'field': guide lacks \['f2', 'f3', 'f4'\]"),
        (guide.rename(field="site"), r"along \['site'\], cube along \['field'\]"),
        (as_cube(guide), "guide is an image"),
    ):
        with pytest.raises(ValueError, match=why):
            made.stf.gapfill(guide=wrong.drop_vars("crop", errors="ignore"), method="gp")


def test_other_verbs_say_that_they_need_space():
    made, cube = series(), as_cube(series())
    for call in (
        lambda: made.stf.fuse(cube),
        lambda: cube.stf.fuse(made),
        lambda: made.stf.sharpen_spectral(cube),
        lambda: xstf.evaluate_gapfill(made),
    ):
        with pytest.raises(ValueError, match="needs two spatial dims.*by gapfill"):
            call()
    text = repr(made.stf)
    assert "no space, 5 series along field" in text
    assert "no: it has no y and x" in text


def test_inputs_are_left_as_they_were():
    made = series()
    before = made.copy(deep=True)
    made.stf.gapfill(method="linear")
    xr.testing.assert_identical(made, before)


# --- one pixel, one row, one column --------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, marks=[] if m in QUICK else pytest.mark.slow)
        for m in classical_names("gapfill")
    ],
)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1)])
def test_a_pixel_a_row_and_a_column_are_cubes(method, rows, columns):
    row = as_cube(series()).isel(x=slice(rows * columns)).assign_coords(y=[4_000_000.0])
    cube = row if rows == 1 else row.rename(x="y", y="x")
    filled = cube.stf.gapfill(method=method)
    assert filled.dims == cube.dims
    assert not filled.isnull().any()
    lazy = cube.chunk(x=1).stf.gapfill(method=method)
    np.testing.assert_allclose(lazy, filled, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_single_pixel_needs_a_size_where_a_guide_has_another_grid():
    cube = as_cube(series())
    one = cube.isel(x=[2])
    guide = cube.isel(band=[0]).fillna(0.0)
    with pytest.raises(ValueError, match=r"unknown size.*assign_attrs\(resolution="):
        one.stf.gapfill(guide=guide, method="gp")
    sized = one.assign_attrs(resolution=10.0).stf.gapfill(guide=guide, method="gp")
    same = one.stf.gapfill(guide=guide.isel(x=[2]), method="gp")
    assert sized.shape == same.shape == one.shape


# --- Datasets of series -----------------------------------------------------------------------


def beside(length):
    """What stands beside the bands of series: classes, cloudiness, names, bounds, places."""
    return {
        "SCL": (("time", "field"), np.full((length, 5), 4, "u1")),
        "cloud_cover": ("time", DAYS.day), "lat": ("field", np.arange(5.0)),
        "platform": ("time", ["S2A", "S2B"] * (length // 2)),
        "time_bnds": (("time", "bnds"), np.zeros((length, 2), "M8[ns]")),
        "acquired": (("time", "field"), np.zeros((length, 5), "M8[ns]")),
    }  # fmt: skip


@pytest.mark.parametrize("alone", [True, False], ids=["(time)", "(time, field)"])
def test_variables_beside_the_bands_of_series_come_back(alone, tmp_path):
    plain = series().to_dataset("band").reset_coords(drop=True)
    data = plain.assign(beside(14))
    if alone:
        plain, data = plain.isel(field=0), data.isel(field=0)
    with pytest.warns(UserWarning, match="SCL"):
        filled = data.stf.gapfill(method="linear")
    right = plain.stf.gapfill(method="linear")
    for name in ("NDVI", "EVI"):
        xr.testing.assert_equal(filled[name], right[name].assign_coords(filled[name].coords))
    for name in beside(14):
        assert filled[name].variable.equals(data[name].variable), name
    filled.to_netcdf(tmp_path / "a.nc")


def test_variables_that_do_not_hold_on_other_dates_are_named():
    data = series().to_dataset("band").assign(platform=("time", ["S2A", "S2B"] * 7))
    with pytest.warns(UserWarning, match="platform.*other dates"):
        filled = data.stf.gapfill(method="linear", freq="5D")
    assert set(filled.data_vars) == {"NDVI", "EVI"}


def test_labels_of_series_write_and_a_multi_index_stays(tmp_path):
    odd = series().assign_coords(field=np.array(["a", "b", None, 3, "e"], object))
    with pytest.warns(UserWarning, match="field"):
        odd.stf.gapfill(method="linear").to_netcdf(tmp_path / "a.nc")
    cube = as_cube(series())
    stacked = cube.stack(place=("y", "x"))
    filled = stacked.stf.gapfill(method="linear").unstack("place").transpose(*cube.dims)
    np.testing.assert_allclose(filled, cube.stf.gapfill(method="linear"), atol=1e-6)


def test_unsorted_series_keep_what_is_along_time():
    mixed = series().isel(time=[3, 0, 2, 1, *range(4, 14)])
    filled = mixed.stf.gapfill(method="linear")
    for name in ("cloud", "angle"):
        assert filled[name].variable.equals(mixed[name].variable)


def test_a_repr_does_not_make_up_the_size_of_a_pixel():
    pixel = as_cube(series()).isel(x=[0])
    assert "one pixel of unknown size" in repr(pixel.stf)
    assert "fuse              no: the size" in repr(pixel.stf)


def test_one_pixel_is_evaluated():
    pixel = as_cube(series()).isel(x=[0])
    scores = pixel.stf.evaluate_gapfill(methods=["linear"], regimes=["full"])
    assert np.isfinite(scores.rmse).any()
