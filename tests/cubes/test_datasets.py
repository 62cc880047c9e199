"""Datasets: which variables are bands, what comes back untouched; masks on other grids."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xstf
from xstf.cubes.read import read_cube, read_labels
from xstf.cubes.variables import band_variables, first_band, kinds_of, parts_of
from xstf.testing import raise_if_dask_computes

UTM = ((), 0, pyproj.CRS.from_epsg(32633).to_cf())
FLAGS = {"flag_values": np.arange(12, dtype="u1"), "flag_meanings": "a b c d e f g h i j k l"}


def land(days=6, size=12, step=10.0, bands=("B04", "B08")):
    """A cube (time, band, y, x) in UTM with a few holes."""
    times = pd.date_range("2021-04-01", periods=days, freq="10D")
    t, b, y, x = np.indices((days, len(bands), size, size))
    data = (0.2 + 0.01 * t + 0.1 * b + 0.02 * np.sin(x / 3) + 0.02 * np.cos(y / 2)).astype("f4")
    data[1:2, :, 2:4, 3:6] = np.nan
    return xr.DataArray(
        data, dims=("time", "band", "y", "x"), name="reflectance",
        coords={
            "time": times, "band": list(bands), "spatial_ref": UTM,
            "y": 5e6 - step * (np.arange(size) + 0.5), "x": 5e5 + step * (np.arange(size) + 0.5),
        },
    )  # fmt: skip


def bands(**options):
    cube = land(**options)
    return cube.to_dataset("band").assign_coords(spatial_ref=UTM)


def classes(like, seed=0, choice=(4, 5, 6, 9)):
    shape = [like.sizes[d] for d in ("time", "y", "x")]
    drawn = np.random.default_rng(seed).choice(choice, shape).astype("u1")
    return xr.DataArray(drawn, dims=("time", "y", "x"), attrs=dict(FLAGS))


def layer(name, dtype="f4", **attrs):
    data = bands()
    shape = data.B04.shape
    data[name] = (("time", "y", "x"), np.ones(shape, dtype), attrs)
    return data


# --- what is a band ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "SCL", "scl", "QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_QA", "Fmask", "fmask",
        "oa_fmask",
        "CLM", "CLP", "QA60", "MSK_CLDPRB", "MSK_CLASSI_OPAQUE", "pixel_qa", "radsat_qa", "BQA",
        "cloud_mask", "dataMask", "cfmask", "quality", "quality_flags", "VI_Quality", "SummaryQA",
        "DetailedQA", "pixel_reliability", "state_1km", "state_1km_1", "QC_Day", "FparLai_QC",
        "sur_refl_qc_500m", "QFLAG", "SurfReflect_QF1_1", "OLC_flags", "udm2", "cloud_probability",
        "oa_nbart_contiguity", "QAI", "250m 16 days VI Quality", "s2cloudless_mask",
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_classes_are_known_by_name(name, dtype):
    parts = parts_of(layer(name, dtype))
    assert parts.classes == [name]
    assert parts.bands == ["B04", "B08"]


@pytest.mark.parametrize(
    ("attrs", "dtype"),
    [
        ({"flag_meanings": "clear cloud"}, "u1"), ({"flag_values": [0, 1]}, "i2"),
        ({"flag_masks": [1, 2]}, "u2"), ({"standard_name": "status_flag"}, "i4"),
        ({"standard_name": "quality_flag"}, "f4"),
        ({"standard_name": "toa_reflectance status_flag"}, "u1"),
        ({"flags_definition": {"cloud": {"bits": 0}}}, "u1"), ({"units": "bit field"}, "u2"),
        ({}, "?"),
        ({"flag_values": [0, 1], "valid_range": [0, 1]}, "u1"),
    ],
)  # fmt: skip
def test_classes_are_known_by_attributes_and_dtype(attrs, dtype):
    assert parts_of(layer("thing", dtype, **attrs)).classes == ["thing"]


@pytest.mark.parametrize(
    "attrs",
    [
        {"flag_values": [251, 254], "flag_meanings": "a b", "valid_range": [0, 250]},
        {"flag_values": [251, 254], "flag_meanings": "a b", "scale_factor": 0.004},
        {"flag_values": [251], "standard_name": "normalized_difference_vegetation_index"},
        {"flag_values": "251b, 254b", "flag_meanings": "a b", "valid_max": "250"},
    ],
)
def test_measurements_with_flags_among_them_are_bands(attrs):
    data = layer("NDVI", "u1", **attrs)
    assert "NDVI" in parts_of(data).bands
    assert read_labels(data.NDVI.assign_coords(spatial_ref=UTM), what="cube").bands == ("",)


@pytest.mark.parametrize(
    ("name", "attrs", "kind"),
    [
        ("sun_zenith", {}, "angle"), ("SZA", {}, "angle"), ("viewAzimuthMean", {}, "angle"),
        ("SolarZenith_1", {}, "angle"), ("angle", {}, "angle"), ("sur_refl_szen", {}, "angle"),
        ("thing", {"standard_name": "sensor_zenith_angle"}, "angle"),
        ("Day_view_angl", {}, "angle"),
        ("local_incidence_angle", {}, "angle"), ("DayOfYear", {}, "count"),
        ("composite_day_of_the_year", {}, "count"), ("NOBS", {}, "count"),
        ("num_observations_1km", {}, "count"), ("B04_std", {}, "accuracy"),
        ("B04_n_obs", {}, "accuracy"),
        ("B04_flag", FLAGS, "accuracy"), ("latitude", {}, "place"), ("nav_lon", {}, "place"),
        ("thing", {"standard_name": "longitude"}, "place"), ("elevation", {}, "terrain"),
    ],
)  # fmt: skip
def test_other_layers_are_no_bands(name, attrs, kind):
    data = layer(name, **attrs)
    assert kinds_of(data)[name] == kind
    assert parts_of(data).bands == ["B04", "B08"]
    assert name in parts_of(data).beside


@pytest.mark.parametrize(
    "name", ["cirrus", "B10", "VV", "nbart_red", "swir_1", "NDVI", "LST_Day_1km", "sur_refl_b01",
             "aquatic", "coastal_aerosol", "cloud_top_height", "AOT", "precipitation", "classic"]
)  # fmt: skip
def test_measurements_are_bands(name):
    assert name in band_variables(layer(name))


def test_text_dates_bounds_and_scalars_pass_through():
    data = bands()
    data["platform"] = ("time", ["S2A", "S2B"] * 3)
    data["sensed"] = (
        ("time", "y", "x"),
        np.full(data.B04.shape, np.datetime64("2021-04-01", "ns")),
    )
    data["time_bnds"] = (("time", "nv"), np.ones((6, 2)))
    data["x_edges"] = (("x", "corner"), np.ones((12, 2)))
    data.x.attrs["bounds"] = "x_edges"
    data["cover"] = ("time", np.arange(6.0))
    data["number"] = ((), 4.5)
    data["height"] = (("y", "x"), np.ones((12, 12)))
    out = data.stf.gapfill(method="linear")
    assert parts_of(data).bands == ["B04", "B08"]
    assert list(out.data_vars) == ["B04", "B08", *parts_of(data).beside]
    for name in parts_of(data).beside:
        xr.testing.assert_identical(out[name].variable, data[name].variable)


def test_bands_of_mixed_dtypes_and_orders_of_dims():
    data = bands()
    data["B08"] = (data.B08.fillna(0) * 1000).astype("i2").transpose("y", "time", "x")
    read = read_cube(data, what="cube")
    assert read.bands == ("B04", "B08")
    want = data.B08.transpose("time", "y", "x")
    np.testing.assert_array_equal(read.data[:, 1], want)
    assert data.stf.gapfill(method="linear").B04.dims == ("time", "y", "x")


def test_images_on_other_dims_are_named_and_left():
    data = bands()
    data["B05"] = (("time", "y20", "x20"), np.ones((6, 6, 6)))
    with pytest.warns(UserWarning, match=r"cube: \['B05'\] are no bands") as caught:
        out = data.stf.gapfill(method="linear")
    assert len(caught) == 1
    xr.testing.assert_identical(out.B05.variable, data.B05.variable)


@pytest.mark.parametrize("dtype", [object, complex])
def test_images_that_are_no_real_numbers_are_named(dtype):
    data = layer("odd")
    data["odd"] = data.odd.astype(dtype)
    with pytest.warns(UserWarning, match=r"\['odd'\] are no bands"):
        read_cube(data, what="cube")


def test_a_dataset_of_classes_alone_is_an_error():
    data = bands()[[]].assign(SCL=classes(bands())).assign_coords(bands().coords)
    with pytest.raises(ValueError, match=r"no bands: \['SCL'\].*mask=xstf.masks.scl\(ds.SCL\)"):
        data.stf.gapfill(method="linear")
    assert first_band(data) is None


@pytest.mark.parametrize("how", ["name", "attrs", "bool", "float"])
def test_a_layer_of_classes_as_a_cube_is_an_error(how):
    scl = classes(bands()).assign_coords(bands().coords).rename("SCL")
    scl = {
        "name": scl.drop_attrs(), "attrs": scl.rename("thing"), "bool": scl > 4,
        "float": scl.astype("f4").drop_attrs(),
    }[how]  # fmt: skip
    with pytest.raises((ValueError, TypeError), match="mask="):
        scl.stf.gapfill(method="linear")


def test_classes_among_the_bands_of_an_array_are_an_error():
    cube = land(bands=("B04", "B08", "SCL"))
    with pytest.raises(
        ValueError, match=r"\['SCL'\] are layers of classes.*\['B04', 'B08'\].*scl\("
    ):
        cube.stf.gapfill(method="linear")


# --- what comes back, and what is said --------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
def test_classes_come_back_from_gapfill_bit_for_bit(lazy):
    data = bands().assign(SCL=classes(bands()))
    data.SCL.attrs |= {"_FillValue": np.uint8(0), "grid_mapping": "spatial_ref"}
    given_data = data.chunk({"y": 5, "x": 6}) if lazy else data
    with raise_if_dask_computes():
        mask = xstf.masks.scl(given_data.SCL)
        out = given_data.stf.gapfill(mask=mask, method="linear", return_quality=True)
    assert out.SCL.dtype == np.uint8
    assert bool(out.chunks) == lazy
    xr.testing.assert_identical(out.SCL.variable.compute(), data.SCL.variable)
    alone = data[["B04", "B08"]].stf.gapfill(mask=xstf.masks.scl(data.SCL), method="linear")
    np.testing.assert_array_equal(out.B04, alone.B04)


def test_classes_follow_the_order_of_dates():
    data = bands().assign(SCL=classes(bands())).isel(time=[3, 0, 5, 1, 4, 2])
    out = data.stf.gapfill(mask=xstf.masks.scl(data.SCL), method="linear")
    np.testing.assert_array_equal(out.SCL.sel(time=data.time), data.SCL)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("SCL", r"mask=xstf\.masks\.scl\(ds\.SCL\)"),
        ("QA_PIXEL", r"mask=xstf\.masks\.qa_pixel\(ds\.QA_PIXEL\)"),
        ("Fmask", r"mask=xstf\.masks\.fmask\(ds\.Fmask\)"),
        ("CLM", r"mask= a boolean DataArray made of it.*ds\.CLM"),
    ],
)
def test_classes_without_a_mask_are_told_of(name, how):
    data = layer(name, "u1")
    with pytest.warns(UserWarning, match=how):
        data.stf.gapfill(method="linear")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "bands" in repr(data.stf)
        data.stf.gapfill(method="linear", mask=data.B04.isnull())


def test_each_cube_is_told_of_its_own_mask():
    fine, coarse = land(), land().coarsen(y=4, x=4).mean().assign_coords(spatial_ref=UTM)
    data = coarse.to_dataset("band").assign_coords(spatial_ref=UTM)
    data["SCL"] = classes(data)
    with pytest.warns(UserWarning, match=r"coarse has layers.*coarse_mask=xstf\.masks\.scl"):
        fine.isel(time=[0, 5]).stf.fuse(data, method="starfm")


def test_fuse_leaves_out_what_is_of_other_dates_and_keeps_what_is_of_none():
    fine = (
        bands().assign(SCL=classes(bands()), dem=(("y", "x"), np.ones((12, 12)))).isel(time=[0, 5])
    )
    coarse = land().coarsen(y=4, x=4).mean().assign_coords(spatial_ref=UTM)
    with pytest.warns(UserWarning, match=r"\['SCL'\] are no bands and left out"):
        out = fine.stf.fuse(coarse, mask=xstf.masks.scl(fine.SCL), method="starfm")
    assert list(out.data_vars) == ["B04", "B08", "dem"]
    single = fine.isel(time=0)
    with pytest.warns(UserWarning, match=r"\['SCL'\] are no bands and left out"):
        out = single.stf.fuse(coarse, mask=xstf.masks.scl(single.SCL), method="starfm")
    assert "SCL" not in out


def test_sharpening_leaves_out_what_is_on_the_old_grid():
    coarse = land().coarsen(y=4, x=4).mean().assign_coords(spatial_ref=UTM)
    data = coarse.to_dataset("band").assign_coords(spatial_ref=UTM)
    data = data.assign(SCL=classes(data), platform=("time", ["S2A", "S2B"] * 3))
    with pytest.warns(UserWarning, match=r"\['SCL'\] are no bands and left out"):
        out = data.stf.sharpen_spectral(
            land(bands=("pan",)), mask=xstf.masks.scl(data.SCL), method="sfim", register=False
        )
    assert list(out.data_vars) == ["B04", "B08", "platform"]


def test_a_scalar_coordinate_called_band_is_not_in_the_way():
    data = bands().assign_coords(band=1)
    assert data.stf.gapfill(method="linear").band == 1


KINDS = {
    "SCL": "u1", "QA_PIXEL": "u2", "cloud_mask": "?", "sun_zenith": "f4", "pixel_reliability": "i1",
    "latitude": "f8", "quality flags": "i4", "DayOfYear": "i2",
}  # fmt: skip


@given(data=st.data())
def test_any_layout_of_a_dataset_gives_the_same_bands(data):
    """Drawn by Hypothesis: which layers there are, in which order, of which dims and chunks."""
    names = data.draw(st.permutations([*("B02", "B03"), *KINDS]).map(lambda p: p[:6]))
    names = [*names, *({"B02"} - set(names))]
    plain = land(bands=("B02", "B03"), days=3, size=4)
    made = xr.Dataset(coords=plain.drop_vars("band").coords)
    for name in names:
        if name in ("B02", "B03"):
            array = plain.sel(band=name, drop=True)
        else:
            array = xr.DataArray(
                np.arange(48).reshape(3, 4, 4).astype(KINDS[name]), dims=("time", "y", "x")
            )
            if data.draw(st.booleans()):
                array = array.isel(time=0)
        made[name] = array.transpose(*data.draw(st.permutations(array.dims)))
    if data.draw(st.booleans()):
        made = made.chunk({"y": data.draw(st.integers(1, 4)), "x": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = made.stf.gapfill(method="linear")
    assert set(out.data_vars) == set(made.data_vars)
    want = plain.stf.gapfill(method="linear")
    for name in names:
        if name in ("B02", "B03"):
            got = out[name].transpose("time", "y", "x")
            np.testing.assert_allclose(got, want.sel(band=name), rtol=1e-6)
        else:
            xr.testing.assert_identical(out[name].variable.compute(), made[name].variable.compute())


# --- masks ------------------------------------------------------------------------------------


def mask_at(step, size, seed=0, shift=0.0, days=6):
    cloudy = np.random.default_rng(seed).random((days, size, size)) < 0.3
    return xr.DataArray(
        cloudy, dims=("time", "y", "x"),
        coords={
            "time": land(days=days).time, "spatial_ref": UTM,
            "y": 5e6 - shift - step * (np.arange(size) + 0.5),
            "x": 5e5 + shift + step * (np.arange(size) + 0.5),
        },
    )  # fmt: skip


def nearest(mask, cube):
    """What xarray's own nearest neighbour says."""
    return mask.sel(y=cube.y, x=cube.x, method="nearest").values


@pytest.mark.parametrize(("step", "size"), [(20.0, 6), (60.0, 2), (30.0, 4), (4.0, 30)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_mask_on_another_grid_is_brought_by_nearest_neighbour(step, size, flip, lazy):
    cube, mask = land(), mask_at(step, size)
    want = nearest(mask, cube)
    if flip:
        mask = mask.isel(y=slice(None, None, -1))
    if lazy:
        cube, mask = cube.chunk({"y": 5}), mask.chunk({"y": 2, "x": 3})
    with raise_if_dask_computes():
        read = read_cube(cube, what="cube", mask=mask)
    bare = read_cube(land(), what="cube").data
    np.testing.assert_array_equal(read.data, np.where(want[:, None], np.nan, bare))
    assert "by nearest neighbour" in read.masked


def test_the_result_says_how_the_mask_came():
    mask = mask_at(20.0, 6)
    assert (
        "from pixels of 20 to 10"
        in land().stf.gapfill(mask=mask, method="linear").attrs["stf_mask"]
    )
    same = mask_at(10.0, 12)
    assert "stf_mask" not in land().stf.gapfill(mask=same, method="linear").attrs


def test_where_a_mask_does_not_reach_nothing_is_usable():
    mask = mask_at(10.0, 12).isel(x=slice(0, 6)) & False
    with pytest.warns(UserWarning, match=r"does not cover 50\.0% of cube's pixels"):
        read = read_cube(land(), what="cube", mask=mask)
    assert np.isnan(read.data[..., 6:]).all()
    wide = mask_at(10.0, 16) & False
    np.testing.assert_array_equal(read_cube(land(), what="cube", mask=wide).data, land())


def test_masks_that_cannot_be_brought():
    cube, mask = land(), mask_at(20.0, 6)
    with pytest.raises(ValueError, match=r"offset 0\.50 px in [yx]"):
        read_cube(cube, what="cube", mask=mask_at(10.0, 12, shift=5.0))
    with pytest.raises(ValueError, match="do not overlap"):
        read_cube(cube, what="cube", mask=mask_at(20.0, 6, shift=5000.0))
    other = mask.assign_coords(spatial_ref=((), 0, pyproj.CRS.from_epsg(32634).to_cf()))
    with pytest.raises(ValueError, match="EPSG:32634.*EPSG:32633"):
        read_cube(cube, what="cube", mask=other)
    with pytest.raises(TypeError, match=r"boolean DataArray.*u?int8.*!= 0"):
        read_cube(cube, what="cube", mask=mask.astype("u1"))
    with pytest.raises(TypeError, match=r"boolean DataArray.*Dataset.*\['m'\]"):
        read_cube(cube, what="cube", mask=mask.to_dataset(name="m"))


@pytest.mark.parametrize("step", [10.0, 20.0])
def test_dates_of_a_mask_are_taken_by_label(step):
    cube = land()
    mask = mask_at(step, int(120 / step))
    want = read_cube(cube, what="cube", mask=mask).data
    more = mask_at(step, int(120 / step), days=6)
    late = more.assign_coords(time=more.time + np.timedelta64(500, "D"))
    for other in (
        mask.isel(time=[5, 0, 3, 1, 4, 2]), xr.concat([late, mask], "time"),
        mask.rename(time="t"), mask.transpose("x", "time", "y"),
    ):  # fmt: skip
        np.testing.assert_array_equal(read_cube(cube, what="cube", mask=other).data, want)
    with pytest.raises(ValueError, match=r"the mask lacks 2021-04-11, 2021-05-01; it has"):
        read_cube(cube, what="cube", mask=mask.isel(time=[0, 2, 4, 5]))
    still = mask.isel(time=0, drop=True)
    got = read_cube(cube, what="cube", mask=still).data
    assert np.isnan(got[:, 0])[:, nearest(still, cube)].all()
    single = cube.isel(time=2)
    got = read_cube(single, what="cube", mask=mask).data
    np.testing.assert_array_equal(got[0], want[2])


@pytest.mark.parametrize("units", [("ns", "us"), ("us", "ns"), ("s", "ns")])
def test_dates_are_the_same_in_any_unit(units):
    cube, mask = land(), mask_at(10.0, 12)
    want = read_cube(cube, what="cube", mask=mask).data
    cube = cube.assign_coords(time=cube.time.values.astype(f"M8[{units[0]}]"))
    mask = mask.assign_coords(time=mask.time.values.astype(f"M8[{units[1]}]"))
    mask = mask.isel(time=slice(None, None, -1))
    np.testing.assert_array_equal(read_cube(cube, what="cube", mask=mask).data, want)


def test_masks_of_bands_are_taken_by_label():
    cube = land()
    mask = cube.isnull()
    mask[0, 1, 0, 0] = True
    read = read_cube(cube, what="cube", mask=mask.isel(band=[1, 0]))
    assert np.isnan(read.data[0, 1, 0, 0])
    assert not np.isnan(read.data[0, 0, 0, 0])
    with pytest.raises(ValueError, match="the mask lacks B08"):
        read_cube(cube, what="cube", mask=mask.isel(band=[0]))


def test_every_mask_may_lie_on_another_grid():
    cube = land()
    coarse = cube.coarsen(y=4, x=4).mean().assign_coords(spatial_ref=UTM)
    fine = cube.isel(time=[0, 5])
    mask, clear = mask_at(20.0, 6), mask_at(60.0, 2) & False
    out = fine.stf.fuse(coarse, mask=mask, coarse_mask=clear, method="starfm")
    assert out.attrs["stf_mask"].count("nearest") == 2
    sharp = coarse.stf.sharpen_spectral(
        land(bands=("pan",)), spatial_mask=mask, mask=clear, method="sfim", register=False
    )
    assert sharp.attrs["stf_mask"].count("nearest") == 2
    certain = cube.stf.gapfill(certain=mask, screen=True, method="linear")
    assert "certain from pixels of 20" in certain.attrs["stf_mask"]
    repeated = xr.DataArray(
        nearest(mask, cube), dims=mask.dims, coords=cube.isel(band=0, drop=True).coords
    )
    want = cube.stf.gapfill(certain=repeated, screen=True, method="linear")
    np.testing.assert_array_equal(certain, want)


def test_evaluation_takes_masks_on_other_grids_and_tells_of_classes():
    """Arithmetic of xarray would have kept the pixels that both grids share, in silence: none."""
    cube = land(days=14)
    mask = mask_at(20.0, 6, days=14)
    here = xr.DataArray(
        nearest(mask, cube), dims=mask.dims, coords=cube.isel(band=0, drop=True).coords
    )
    options = {"methods": ["linear"], "regimes": ["partial"]}
    got = xstf.evaluate_gapfill(cube, mask=mask, **options)
    want = xstf.evaluate_gapfill(cube, mask=here, **options)
    xr.testing.assert_equal(got.rmse, want.rmse)
    data = (
        cube.where(~here)
        .to_dataset("band")
        .assign_coords(spatial_ref=UTM)
        .assign(SCL=classes(cube))
    )
    with pytest.warns(UserWarning, match=r"mask=xstf\.masks\.scl"):
        xstf.evaluate_gapfill(data, **options)


# --- more names, and masks of one date or place -----------------------------------------------


def test_layers_of_land_products_are_no_bands():
    data = bands()
    like = classes(data.to_dataarray("band"))
    names = {
        "class": ["land_cover", "LC_Type1", "sr_aerosol", "qa_aerosol", "valid"],
        "accuracy": ["RMSE", "B04_UNC"],
        "count": ["LENGTH_BEFORE", "LENGTH_AFTER", "Clear_day_cov"],
    }
    for names_of_kind in names.values():
        data = data.assign({name: like.drop_attrs() for name in names_of_kind})
    kinds = kinds_of(data)
    for kind, found in names.items():
        assert [kinds[name] for name in found] == [kind] * len(found)
    assert band_variables(data) == ["B04", "B08"]
    assert kinds_of(data[["RMSE"]])["RMSE"] == "band"  # alone it is what is measured


def test_a_mask_of_whole_dates_bars_them():
    cube = land()
    cloudy = xr.DataArray([False, True] * 3, dims="time", coords={"time": cube.time})
    right = cube.stf.gapfill(mask=cloudy & xr.ones_like(cube.isel(band=0), bool), method="linear")
    xr.testing.assert_identical(
        cube.stf.gapfill(mask=cloudy, method="linear").drop_attrs(), right.drop_attrs()
    )


def test_a_mask_of_one_date_or_place_is_no_mask_of_all():
    cube = land()
    mask = cube.isel(band=0, drop=True) > 0.2
    with pytest.raises(ValueError, match=r"one date.*2021-04-01.*drop_vars\('time'\)"):
        cube.stf.gapfill(mask=mask.isel(time=0), method="linear")
    with pytest.raises(ValueError, match=r"one place.*drop_vars\('y'\)"):
        cube.stf.gapfill(mask=mask.isel(y=0, x=0), method="linear")
    cube.stf.gapfill(mask=mask.isel(time=0, drop=True), method="linear")
    one = cube.isel(time=[0])
    right = one.where(~mask)
    np.testing.assert_array_equal(
        read_cube(one, what="cube", mask=mask.isel(time=0)).data, right.values
    )


def test_dates_a_second_apart_are_told_apart():
    cube = land()
    mask = cube.isel(band=0, drop=True).isnull()
    late = mask.assign_coords(time=mask.time + np.timedelta64(1, "s"))
    with pytest.raises(ValueError, match=r"lacks 2021-04-01.*it has 2021-04-01T00:00:01"):
        cube.stf.gapfill(mask=late, method="linear")
