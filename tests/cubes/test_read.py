"""Labelled cubes in and out: dims, bands, missing values, CRS, attrs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xstf
from xstf.cubes import read as _inputs
from xstf.cubes.crs import crs_of


def cube(**options):
    """A cube (time 2, band 2, y 4, x 5) of ones."""
    data = options.pop("data", np.ones((2, 2, 4, 5), np.float32))
    out = xr.DataArray(
        data, dims=("time", "band", "y", "x"), name="reflectance",
        coords={
            "time": np.array(["2020-01-01", "2020-01-09"], "M8[ns]"),
            "band": ["red", "nir"],
            "y": -30.0 * (np.arange(4) + 0.5),
            "x": 30.0 * (np.arange(5) + 0.5),
        },
    )  # fmt: skip
    return out.assign_attrs(options)


@pytest.mark.parametrize(
    "names",
    [
        {"y": "lat", "x": "lon"},
        {"y": "northing", "x": "easting"},
        {"time": "t", "band": "wavelength"},
    ],
)
def test_dims_are_found_by_name(names):
    renamed = cube().rename(names)
    read = _inputs.read_cube(renamed, what="fine")
    assert read.data.shape == (2, 2, 4, 5)
    assert read.dims == tuple(names.get(d, d) for d in ("time", "band", "y", "x"))


def test_dims_are_found_by_cf_attributes():
    renamed = cube().rename(y="row", x="column", time="when", band="channel")
    renamed["row"].attrs["standard_name"] = "projection_y_coordinate"
    renamed["column"].attrs["axis"] = "X"
    assert _inputs.read_cube(renamed, what="fine").dims == ("when", "channel", "row", "column")


def test_any_order_comes_in():
    turned = cube().transpose("x", "band", "y", "time")
    assert _inputs.read_cube(turned, what="fine").data.shape == (2, 2, 4, 5)


def test_a_cube_without_band_has_one():
    assert _inputs.read_cube(cube().isel(band=0, drop=True), what="fine").bands == ("",)


def test_missing_spatial_dims_are_said():
    with pytest.raises(ValueError, match=r"fine needs two spatial dims.*it has \['time'"):
        _inputs.read_cube(cube().rename(y="row"), what="fine")


def test_dims_beyond_four_are_said():
    with pytest.raises(ValueError, match=r"neither time, band, y nor x: \['member'\]"):
        _inputs.read_cube(cube().expand_dims("member"), what="fine")


@pytest.mark.parametrize("dtype", ["complex64", "bool", "object", "M8[ns]", "U3"])
def test_data_that_are_no_numbers(dtype):
    with pytest.raises(TypeError, match="fine has dtype"):
        _inputs.read_cube(cube(data=np.zeros((2, 2, 4, 5)).astype(dtype)), what="fine")


def test_what_is_no_cube():
    with pytest.raises(TypeError, match="fine must be an xarray DataArray or Dataset, not ndarray"):
        _inputs.read_cube(np.zeros((2, 3)), what="fine")


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "int32", "float32"])
def test_nodata_values_are_missing(key, dtype):
    data = np.full((2, 2, 4, 5), 7, dtype)
    data[0, 0, 1, 2] = 200 if dtype == "uint8" else -9999
    read = _inputs.read_cube(cube(data=data, **{key: data[0, 0, 1, 2]}), what="fine")
    assert read.data.dtype == np.float32
    assert np.isnan(read.data[0, 0, 1, 2])
    assert np.isnan(read.data).sum() == 1


def test_a_decoded_value_that_equals_the_fill_value_is_a_measurement():
    decoded = cube(data=np.zeros((2, 2, 4, 5), np.float32))
    decoded.encoding.update(_FillValue=0, scale_factor=0.1, dtype="uint8")
    assert not np.isnan(_inputs.read_cube(decoded, what="fine").data).any()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_codes_of_two_attributes_hold_at_once(dtype):
    data = np.full((2, 2, 4, 5), 7, dtype)
    data[0, 0, 1, :3] = -9999, -32768, 0
    packed = cube(data=data, _FillValue=-32768, nodata=-9999)
    read = np.asarray(_inputs.read_cube(packed, what="fine").data)
    assert np.isnan(read[0, 0, 1, :3]).tolist() == [True, True, False]
    assert np.isnan(read).sum() == 2


FLOAT32_LEAST = float(np.finfo(np.float32).min)
CODES = [  # what the attrs say, the dtype, what is stored, which of it is missing
    ("none", "float32", [-9999, 0, 7], [False, False, False]),
    ("nan", "float32", [np.nan, 0, 7], [True, False, False]),
    ("", "int16", [-9999, 0, 7], [False, False, False]),
    (np.nan, "float32", [np.nan, 0, 7], [True, False, False]),
    (np.nan, "int16", [-9999, 0, 7], [False, False, False]),
    ("-9999", "int16", [-9999, 0, 7], [True, False, False]),
    ([-9999, 0], "int16", [-9999, 0, 7], [True, True, False]),
    (np.array([-9999.0, np.nan]), "float32", [-9999, np.nan, 7], [True, True, False]),
    (["none", -9999], "float64", [-9999, 0, 7], [True, False, False]),
    (-9999, "float32", [-9999.0001, 0, 7], [True, False, False]),
    (-9999, "float64", [-9999.0001, -9998, 7], [True, False, False]),
    (-9999.0001, "float32", [-9999, -9998, 7], [True, False, False]),
    (1e20, "float32", [1e20, 1e19, 7], [True, False, False]),
    (1e20, "int16", [32767, 0, 7], [False, False, False]),
    (FLOAT32_LEAST, "float32", [FLOAT32_LEAST, 3e38, 7], [True, False, False]),
    (float(np.finfo(np.float64).min), "float32", [FLOAT32_LEAST, -1, 7], [True, False, False]),
    (np.inf, "float32", [np.inf, -1, 7], [True, False, False]),
    (-9999, "float16", [-9999, -9000, 7], [True, False, False]),
    (255, "uint8", [255, 0, 7], [True, False, False]),
    (-1, "uint8", [255, 0, 7], [False, False, False]),
    (0.5, "int16", [0, 1, 7], [False, False, False]),
    (np.iinfo(np.int64).max, "int64", [np.iinfo(np.int64).max, 0, 7], [True, False, False]),
    (None, "float32", [0, 1, 7], [False, False, False]),
    (np.False_, "uint8", [0, 1, 7], [False, False, False]),
]


@pytest.mark.filterwarnings("ignore:fine has . values that are infinite")  # 3e38, on purpose
@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
@pytest.mark.parametrize(("code", "dtype", "stored", "missing"), CODES)
@pytest.mark.parametrize("lazy", [False, True])
def test_one_decoder_of_missing_values(key, code, dtype, stored, missing, lazy):
    """The verbs read with it, and the metrics compare with it."""
    data = np.full((2, 2, 4, 5), 3, dtype)
    data[0, 0, 1, :3] = np.array(stored).astype(dtype)
    packed = cube(data=data, **{key: code})
    if lazy:
        packed = packed.chunk(x=2)
    read = np.asarray(_inputs.read_cube(packed, what="fine").data)
    assert np.isnan(read[0, 0, 1, :3]).tolist() == missing
    assert np.isnan(read).sum() == sum(missing)
    truth = cube(data=np.full((2, 2, 4, 5), 3.0))
    compared = xstf.metrics.mae(packed, truth, per=("time", "band", "y", "x"))
    assert compared.isnull()[0, 0, 1, :3].values.tolist() == missing
    assert compared.isnull().sum() == sum(missing)
    assert compared.dtype == np.float64


@pytest.mark.parametrize("code", [-9999, "-9999", [-9999, -8888]])
def test_missing_values_are_found_before_scaling(code):
    data = np.full((2, 2, 4, 5), 1000, np.int16)
    data[0, 0, 1, 2] = -9999
    packed = cube(data=data, _FillValue=code, scale_factor=1e-3, add_offset=-0.5)
    plain = cube(data=np.full((2, 2, 4, 5), 0.5))
    read = _inputs.read_cube(packed, what="fine").data
    assert np.isnan(read[0, 0, 1, 2])
    assert np.isnan(read).sum() == 1
    np.testing.assert_allclose(read[1], 0.5, rtol=1e-6)
    error = xstf.metrics.mae(packed, plain, per=("time", "band", "y", "x"))
    assert error.isnull()[0, 0, 1, 2]
    assert error.isnull().sum() == 1
    assert error.max() < 1e-12  # float64: float32 would leave 3e-8


@pytest.mark.parametrize("make", ["dataarray", "dataset", "dataset of one cube"])
def test_what_is_decoded_is_not_decoded_once_more(make):
    """A second scaling would give 0.01, a fill value in the encoding would take the zeros away."""
    data = np.full((2, 2, 4, 5), 100, np.int16)
    data[0, 0, 1, 2] = 0
    packed = cube(data=data, scale_factor=0.01, _FillValue=-9999)
    decoded = xr.decode_cf(packed.to_dataset())["reflectance"].load()
    assert decoded.encoding["_FillValue"] == -9999
    decoded.encoding["_FillValue"] = 0
    for given in (packed, decoded):
        if make == "dataset":
            attrs, encoding = given.attrs, given.encoding
            given = given.to_dataset("band").assign_attrs(attrs)
            for variable in given.data_vars.values():
                variable.attrs, variable.encoding = dict(attrs), dict(encoding)
        elif make == "dataset of one cube":
            given = given.to_dataset()
        read = _inputs.read_cube(given, what="fine").data
        assert read[0, 0, 1, 2] == 0
        np.testing.assert_allclose(np.delete(read.ravel(), 7), 1, rtol=1e-6)
        again = _inputs.as_array(given, what="fine")
        twice = _inputs.read_cube(again, what="fine").data
        np.testing.assert_array_equal(twice, read)


@pytest.mark.slow
def test_labels_are_read_without_the_values(tmp_path):
    """Those of a file that is open, and of a cube that is larger than any memory."""
    import dask.array

    from xstf.testing import raise_if_dask_computes

    cube().to_netcdf(tmp_path / "cube.nc")
    with xr.open_dataset(tmp_path / "cube.nc") as opened:
        labels = _inputs.read_labels(opened["reflectance"], what="fine")
        assert labels.bands == ("red", "nir")
        assert not opened["reflectance"].variable._in_memory
        many = _inputs.read_labels(opened["reflectance"].to_dataset("band"), what="fine")
        assert many.bands == labels.bands
        assert many.grid == labels.grid
    side = 10**7
    vast = xr.DataArray(
        dask.array.zeros((side, side), chunks=10**4), dims=("y", "x"),
        coords={"y": -30.0 * np.arange(side), "x": 30.0 * np.arange(side)},
    )  # fmt: skip
    with raise_if_dask_computes():
        assert _inputs.read_labels(vast, what="fine").grid.width == side


def test_scale_and_offset_keep_their_meaning():
    data = np.full((2, 2, 4, 5), 100, np.int16)
    read = _inputs.read_cube(cube(data=data, scale_factor=1e-4, add_offset=-0.1), what="fine")
    np.testing.assert_allclose(read.data, -0.09, rtol=1e-5)


def test_large_integers_keep_what_float32_can():
    data = np.full((2, 2, 4, 5), 16_777_217, np.int32)
    read = _inputs.read_cube(cube(data=data, scale_factor=0.5), what="fine")
    np.testing.assert_allclose(read.data, 8_388_608.5, rtol=1e-7)


def test_a_mask_is_applied():
    mask = xr.zeros_like(cube().isel(band=0, drop=True), dtype=bool)
    mask[0, 1, 1] = True
    read = _inputs.read_cube(cube(), what="fine", mask=mask)
    assert np.isnan(read.data[0, :, 1, 1]).all()
    assert np.isnan(read.data).sum() == 2


def test_a_mask_of_another_grid_or_date_or_kind():
    mask = xr.zeros_like(cube(), dtype=bool)
    with pytest.raises(ValueError, match=r"offset 0\.5"):
        _inputs.read_cube(cube(), what="fine", mask=mask.assign_coords(x=mask.x + 15))
    later = mask.assign_coords(time=mask.time + np.timedelta64(1, "h"))
    with pytest.raises(ValueError, match="differ along 'time'"):
        _inputs.read_cube(cube(), what="fine", mask=later)
    with pytest.raises(TypeError, match="boolean"):
        _inputs.read_cube(cube(), what="fine", mask=mask.astype(int))


def test_duplicated_dates_are_named():
    twice = cube().assign_coords(time=np.array(["2020-01-01", "2020-01-01"], "M8[ns]"))
    with pytest.raises(ValueError, match=r"fine has dates twice: \['2020-01-01"):
        _inputs.read_cube(twice, what="fine")


def test_dates_that_are_no_dates():
    with pytest.raises(TypeError, match="datetime64"):
        _inputs.read_cube(cube().assign_coords(time=[0, 1]), what="fine")
    with pytest.raises(ValueError, match="NaT at index 1"):
        _inputs.read_cube(
            cube().assign_coords(time=np.array(["2020-01-01", "NaT"], "M8[ns]")), what="fine"
        )


def test_duplicated_bands_are_named():
    with pytest.raises(ValueError, match=r"bands of the same name: \['red'\]"):
        _inputs.read_cube(cube().assign_coords(band=["red", "red"]), what="fine")


def test_an_empty_cube():
    with pytest.raises(ValueError, match=r"fine is empty along \['x'\]"):
        _inputs.read_cube(cube().isel(x=slice(0, 0)), what="fine")


@pytest.mark.parametrize("how", ["spatial_ref", "crs", "attrs", "grid_mapping"])
def test_crs_is_found_where_writers_put_it(how):
    import pyproj

    utm = pyproj.CRS.from_epsg(32633)
    made = cube()
    if how == "attrs":
        made.attrs["crs"] = "EPSG:32633"
    else:
        name = "projection" if how == "grid_mapping" else how
        made.coords[name] = xr.Variable((), 0, utm.to_cf())
        made.encoding["grid_mapping"] = name
    assert crs_of(made) == utm
    assert crs_of(cube()) is None


def test_a_crs_that_cannot_be_read():
    with pytest.raises(ValueError, match="CRS cannot be read"):
        crs_of(cube().assign_attrs(crs="EPSG:nonsense"))


def test_bands_are_matched_by_label_in_any_order(scene):
    fine, coarse = scene
    want = xstf.fuse(fine, coarse, method="starfm")
    turned = coarse.isel(band=[1, 0])
    np.testing.assert_array_equal(xstf.fuse(fine, turned, method="starfm"), want)


def test_a_missing_band_lists_both(scene):
    fine, coarse = scene
    with pytest.raises(ValueError, match=r"coarse has no band.*fine has \[.*coarse has \["):
        xstf.fuse(fine, coarse.isel(band=[0]), method="starfm")


@pytest.fixture
def fused(scene):
    fine, coarse = scene
    import pyproj

    crs = xr.Variable((), 0, pyproj.CRS.from_epsg(32633).to_cf())
    fine, coarse = (c.assign_coords(spatial_ref=crs) for c in (fine, coarse))
    fine = fine.assign_coords(name=("band", ["a", "b"]), cloud=("time", np.arange(3)))
    fine.attrs.update(scale_factor=1.0, nodata=-1.0, STATISTICS_MEAN="7")
    return xstf.fuse(fine, coarse, method="starfm"), fine, coarse


def test_coords_and_attrs_that_still_hold_are_kept(fused):
    out, fine, coarse = fused
    assert list(out.coords["name"].values) == ["a", "b"]
    assert "cloud" not in out.coords
    assert not {"scale_factor", "nodata", "STATISTICS_MEAN"} & set(out.attrs)
    assert out.attrs["stf_method"].startswith("starfm(window=")
    assert "xstf" in out.attrs["history"]
    assert set(out.time.values) == set(coarse.time.values) - set(fine.time.values)


def test_the_file_written_is_georeferenced_without_any_clean_up(fused, tmp_path):
    rioxarray = pytest.importorskip("rioxarray", reason="needs rioxarray")
    out, fine, _ = fused
    out.to_netcdf(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as back:
        array = back[out.name]
        assert array.rio.crs.to_epsg() == 32633
        assert array.rio.transform().a == float(fine.x[1] - fine.x[0])
        np.testing.assert_array_equal(array, out)
    assert rioxarray


@pytest.mark.filterwarnings("ignore:.*Zarr V3 spec")
@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3")
def test_zarr_takes_the_result(fused, tmp_path):
    pytest.importorskip("zarr", reason="needs zarr")
    out, fine, coarse = fused
    lazy = xstf.fuse(fine.chunk(y=20, x=20), coarse, method="starfm")
    lazy.to_dataset().to_zarr(tmp_path / "out.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "out.zarr", consolidated=False) as back:
        np.testing.assert_allclose(back[out.name], out, rtol=1e-5, atol=1e-6)


def test_a_dataset_of_bands_comes_back_as_one(scene):
    fine, coarse = scene
    want = xstf.fuse(fine, coarse, method="starfm")
    sharp, blurred = fine.to_dataset("band"), coarse.to_dataset("band")
    out = xstf.fuse(sharp, blurred, method="starfm", return_quality=True)
    names = [str(b) for b in fine.band.values]
    assert set(out.data_vars) == {n + s for n in names for s in ("", "_std", "_flag", "_n_obs")}
    for name in names:
        np.testing.assert_array_equal(out[name], want.sel(band=name))


@pytest.mark.parametrize(
    ("dates", "remedy"),
    [
        (["2021-06-02", "2021-06-10"], "pd.to_datetime(cube['time'].values))"),
        ([20210602, 20210610], "format='%Y%m%d'"),
        ([pd.Timestamp("2021-06-02", tz="UTC")] * 2, "tz_localize(None))"),
    ],
)
def test_times_that_are_no_dates_get_the_remedy_that_works(dates, remedy):
    values = np.array(dates, dtype=object if isinstance(dates[0], pd.Timestamp) else None)
    cube = xr.DataArray(
        np.ones((2, 4, 4)), dims=("time", "y", "x"),
        coords={"time": values, "y": -10.0 * np.arange(4), "x": 10.0 * np.arange(4)},
    )  # fmt: skip
    with pytest.raises(TypeError) as raised:
        cube.stf.gapfill(method="linear")
    assert remedy in str(raised.value)
    how = str(raised.value).split("datetime64: ")[1]
    made = eval(how, {"cube": cube, "pd": pd})  # noqa: S307
    assert made.time.dtype.kind == "M"
    assert str(made.time.values[0])[:10] == "2021-06-02"
