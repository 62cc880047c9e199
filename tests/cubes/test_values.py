"""What attrs say of values: every convention, in every form, once; and what a call says of them."""

from __future__ import annotations

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xstf
from xstf import simulate
from xstf.cubes import read as _inputs
from xstf.cubes.decode import decode
from xstf.cubes.units import Side, require_same_units
from xstf.cubes.values import as_values

STORED = np.array([[100, 200, -9999], [300, 400, 500]], np.int16)


def cube(data=STORED, bands=2, encoding=None, **attrs):
    """One image a band; the bands are alike but for what is given."""
    data = np.asarray(data)
    data = np.stack([data] * bands) if data.ndim == 2 else data
    out = xr.DataArray(
        data, dims=("band", "y", "x"), name="reflectance",
        coords={
            "band": [f"B{i}" for i in range(data.shape[0])],
            "y": -10.0 * (np.arange(data.shape[1]) + 0.5),
            "x": 10.0 * (np.arange(data.shape[2]) + 0.5),
        },
        attrs=attrs,
    )  # fmt: skip
    out.encoding = encoding or {}
    return out


def read(array, **options):
    return decode(array, band=_inputs.band_dim(array), what="fine", **options)


def values(array, **options):
    return read(array, **options).values


# --- forms ----------------------------------------------------------------------------------------


def forms(number):
    """One number as readers leave it."""
    return [
        number, np.float64(number), np.array(number), np.array([number]), (number,), [number],
        str(number), f" {number} ", f"({number},)", f"[{number}]", str(number).encode(),
        np.array([str(number)]), np.str_(number), Decimal(str(number)),
        (number, number), xr.DataArray(number),
    ]  # fmt: skip


@pytest.mark.parametrize("form", range(len(forms(0.5))))
def test_a_scale_in_any_form_is_the_number(form):
    packed = cube(
        scale_factor=forms(0.0001)[form], add_offset=forms(-0.1)[form],
        _FillValue=forms(-9999)[form],
    )  # fmt: skip
    want = np.where(STORED == -9999, np.nan, STORED * 1e-4 - 0.1)
    np.testing.assert_allclose(values(packed)[1], want, rtol=1e-5)
    assert not read(packed).attrs


@pytest.mark.parametrize("nothing", [None, "", "none", np.array([]), (None,), ()])
def test_no_scale_is_none(nothing):
    found = values(cube(scale_factor=nothing, add_offset=nothing, nodata=nothing))
    np.testing.assert_array_equal(found[0], STORED)


@pytest.mark.parametrize("name", ["_FillValue", "missing_value", "nodata", "nodatavals"])
@pytest.mark.parametrize("nothing", [None, np.nan, "nan", "none", "NaN", "", (None, None), False])
def test_no_nodata_is_none(name, nothing):
    np.testing.assert_array_equal(values(cube(**{name: nothing}))[0], STORED)


@pytest.mark.parametrize("lazy", [False, True])
def test_numbers_of_each_band_go_along_its_bands(lazy):
    packed = cube(
        scales=(1e-4, 1e-3), offsets=(0.0, 1.0), nodatavals=(-9999, 500),
        valid_range="100 400 100 300",
    )  # fmt: skip
    packed = packed.chunk(x=2) if lazy else packed
    missing = [STORED == -9999, (STORED == 500) | (STORED == -9999) | (STORED > 300)]
    missing[0] |= STORED > 400
    want = [np.where(m, np.nan, STORED * s + o)
            for m, s, o in zip(missing, (1e-4, 1e-3), (0, 1), strict=True)]  # fmt: skip
    found = read(packed)
    assert found.dims == packed.dims
    assert (found.chunks is not None) == lazy
    np.testing.assert_allclose(found.values, want, rtol=1e-6)
    turned = read(packed.transpose("y", "x", "band"))
    np.testing.assert_allclose(turned.transpose("band", "y", "x").values, want, rtol=1e-6)


@pytest.mark.parametrize("name", ["scales", "offsets", "nodatavals", "scale_factor", "valid_min"])
def test_numbers_that_do_not_fit_the_bands_are_said(name):
    with pytest.raises(ValueError, match=rf"fine's attribute {name}=\(1, 2, 3\) has 3 numbers and "
                                         "there are 2 bands.*assign_attrs"):  # fmt: skip
        read(cube(**{name: (1, 2, 3)}))
    with pytest.raises(ValueError, match="has no band dim"):
        read(cube(**{name: (1, 2, 3)}).isel(band=0))
    read(cube(**{name: (2, 2, 2)}).isel(band=0))


@pytest.mark.parametrize("name", ["_FillValue", "nodata", "scale_factor", "offsets", "valid_range"])
@pytest.mark.parametrize(
    "wrong", ["about ten", {"B0": 1}, object(), 1j, np.datetime64("2020"), True]
)
def test_what_cannot_be_read_is_an_error_with_its_name(name, wrong):
    with pytest.raises(ValueError, match=rf"fine's attribute {name}=.*assign_attrs.*drop_attrs"):
        read(cube(**{name: wrong}))


@pytest.mark.parametrize("wrong", [0, np.nan, np.inf, "0", (0.0,), (1.0, 0.0)])
def test_a_scale_that_is_no_scale(wrong):
    with pytest.raises(ValueError, match=r"fine's attribute scale_factor=.* is no scale"):
        read(cube(scale_factor=wrong))


def test_two_attributes_that_say_the_same_are_applied_once():
    both = cube(scale_factor=1e-4, scales=(1e-4, 1e-4), add_offset=0.5, offsets=(0.5, 0.5))
    np.testing.assert_allclose(values(both)[0, 1], [0.53, 0.54, 0.55], rtol=1e-6)
    default = cube(scale_factor=1e-4, scales=(1.0, 1.0), offsets=(0.0, 0.0))  # as GDAL has them
    np.testing.assert_allclose(values(default)[0, 1], [0.03, 0.04, 0.05], rtol=1e-6)
    with pytest.raises(ValueError, match="scale_factor=0.0001 and scales=.*contradict"):
        read(cube(scale_factor=1e-4, scales=(1e-4, 1e-3)))


@pytest.mark.parametrize("form", [[0, 250], (0, 250), "0 250", "0, 250", "[0, 250]", "(0, 250)",
                                  np.array([0, 250], "u1"), [0.0, 250.0], "0.0 250.0"])  # fmt: skip
@pytest.mark.parametrize("state", ["packed", "decoded", "ends"])
def test_flags_beyond_a_valid_range_are_no_ndvi(form, state):
    """Copernicus NDVI: 251 to 254 are flags; floats come of Zarr's JSON."""
    data = np.array([[0, 125, 250], [251, 254, 255]], np.uint8)
    packing = {"scale_factor": 0.004, "add_offset": -0.08, "_FillValue": np.uint8(255)}
    array = cube(data, **packing, valid_range=form)
    if state == "ends" and not isinstance(form, str):
        array = cube(data, **packing, valid_min=form[0], valid_max=form[1])
    if state == "decoded":
        decoded = np.where(data == 255, np.nan, data * np.float32(0.004) - np.float32(0.08))
        array = cube(decoded.astype("f4"), valid_range=form, encoding=packing | {"dtype": "uint8"})
    want = [[-0.08, 0.42, 0.92], [np.nan, np.nan, np.nan]]
    found = read(array)
    np.testing.assert_allclose(found.values[0], want, atol=1e-6)
    assert not found.attrs
    np.testing.assert_array_equal(read(found).values, found.values)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "valid", "kept"),
    [
        ("int16", 1e-4, 0, [0.0, 1.0], [0, 1, 10_000]),  # the NetCDF Users' Guide: not packed
        ("int16", 1e-4, 0, [0, 10_000], [0, 1, 10_000]),
        ("int16", 1e-4, 0, [0.0, 10_000.0], [0, 1, 10_000]),  # of JSON
        ("int16", 1e-4, 0, np.array([-2000, 16000], "i2"), [-2000, 0, 1, 10_000, 16000]),
        ("uint8", 0.004, -0.08, [-0.08, 0.92], [0, 1, 250]),
        ("uint8", 0.004, -0.08, [0.0, 250.0], [0, 1, 250]),
        ("uint16", 0.02, 0, [7500, 65535], [10_000, 16000]),
        ("uint16", 0.02, 0, [150.0, 1310.7], [10_000, 16000]),
        ("uint8", -0.5, 100, [-30.0, 50.0], [250, 251]),
        ("int16", 1.0, 0, [0, 10_000], [0, 1, 250, 10_000]),
    ],
)  # fmt: skip
def test_a_valid_range_is_read_in_the_units_that_it_can_have(dtype, scale, offset, valid, kept):
    info = np.iinfo(dtype)
    codes = [-2001, -2000, -1, 0, 1, 250, 251, 10_000, 10_001, 16000, 16001]
    codes = [c for c in codes if info.min <= c <= info.max]
    data = np.array([codes], dtype)
    found = values(cube(data, 1, scale_factor=scale, add_offset=offset, valid_range=valid))
    valid_codes = {c for c, v in zip(codes, found[0, 0], strict=True) if not np.isnan(v)}
    assert set(kept) <= valid_codes
    edges = {c for c in codes if scale * c + offset < scale * min(kept) + offset}
    assert scale < 0 or not edges & valid_codes


def test_a_valid_range_of_packed_numbers_is_not_held_against_values():
    """Arithmetic drops the encoding and keeps attrs: nothing tells what the range means."""
    decoded = cube(np.full((3, 3), 0.5, "f4"), valid_range=np.array([0, 250], "u1"))
    decoded[0, 0, 0] = -0.05
    for array in (decoded, decoded.chunk(x=1)):
        with pytest.warns(UserWarning, match=r"fine's valid_range.*give valid_range="):
            assert float(read(array)[0, 0, 0]) == pytest.approx(-0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kelvin = cube(np.array([[199.0, 250.5], [300.2, 351.0]], "f4"), valid_range=[200, 350])
        assert np.isnan(values(kelvin)[0]).tolist() == [[True, False], [False, True]]
        index = cube(np.array([[-1.5, 0.5]], "f4"), valid_range=[-1, 1])
        assert np.isnan(values(index)[0]).tolist() == [[True, False]]


def test_an_empty_valid_range_is_an_error():
    with pytest.raises(ValueError, match="valid_range=.*leaves nothing"):
        read(cube(valid_range=(10, 0)))
    with pytest.raises(ValueError, match="has 3 numbers where it needs 2"):
        read(cube(valid_range=(0, 1, 2)))


def test_flag_values_among_packed_measurements_are_missing():
    data = np.array([[0, 125, 251], [252, 254, 250]], np.uint8)
    packed = cube(
        data, scale_factor=0.004, flag_values=np.array([251, 252, 254], "u1"),
        flag_meanings="a b c",
    )  # fmt: skip
    found = read(packed)
    assert np.isnan(found.values[0]).tolist() == [[False, False, True], [True, True, False]]
    assert not found.attrs
    classes = cube(data, flag_values=np.array([0, 125], "u1"), flag_meanings="a b")
    assert not np.isnan(values(classes)).any()


@pytest.mark.parametrize("valid", [[0, 250], np.array([0, -6], "i1")])
def test_signed_bytes_that_are_unsigned(valid):
    data = np.array([[0, 125, 250], [251, 254, 255]], np.uint8)
    signed = cube(
        data.view(np.int8), _Unsigned="true", _FillValue=np.int8(-1), scale_factor=0.01,
        valid_range=valid,
    )  # fmt: skip
    want = [[0, 1.25, 2.5], [np.nan, np.nan, np.nan]]
    for array in (signed, signed.chunk(x=2)):
        np.testing.assert_allclose(values(array)[0], want, rtol=1e-6)
    with pytest.raises(ValueError, match="_Unsigned='perhaps'"):
        read(signed.assign_attrs(_Unsigned="perhaps"))


def test_numbers_to_divide_by_of_modis():
    """HDF4's calibration, as GDAL hands on the attributes of MOD09GA."""
    modis = {
        "_FillValue": -28672, "valid_range": "-100, 16000", "scale_factor": 10000.0,
        "scale_factor_err": 0.0, "add_offset": 0.0, "add_offset_err": 0.0, "calibrated_nt": 5,
    }  # fmt: skip
    with pytest.warns(UserWarning, match="divided by the scale_factor"):
        found = values(cube(np.array([[-28672, 5000, 16001]], np.int16), **modis))
    np.testing.assert_allclose(found[0, 0], [np.nan, 0.5, np.nan])
    warm = cube(np.array([[15000]], "u2"), 1, scale_factor=0.02, calibrated_nt=5)
    np.testing.assert_allclose(values(warm), 300)


# --- floats ---------------------------------------------------------------------------------------

TRUTH = np.random.default_rng(0).uniform(0.02, 0.4, (20, 20)).round(4)


def packed_as(what):
    numbers = (TRUTH * 1e4).round()
    numbers[3, 3] = np.nan
    if what == "resampled":
        numbers = numbers + 0.37
    scaled = numbers * 1e-4
    return numbers.astype("f4") if what in ("masked", "resampled") else scaled.astype("f4")


@pytest.mark.parametrize("what", ["masked", "resampled", "scaled"])
def test_floats_are_scaled_where_they_are_packed(what):
    array = cube(packed_as(what), scale_factor=1e-4, add_offset=0.0, _FillValue=-9999)
    want = packed_as("scaled")
    if what == "scaled":
        with pytest.warns(UserWarning, match=r"fine has scale_factor 0.0001.*decoded=True"):
            found = values(array)
    else:
        found = values(array)
    np.testing.assert_allclose(found[0], want, atol=1e-4)
    np.testing.assert_allclose(values(array, decoded=True), array, rtol=1e-6)
    np.testing.assert_allclose(values(array, decoded=False), array.values * 1e-4, rtol=1e-6)


@pytest.mark.parametrize("data", [np.zeros((4, 4)), np.ones((4, 4)), np.full((4, 4), np.nan)])
def test_floats_that_tell_nothing_are_left(data):
    array = cube(data.astype("f4"), scale_factor=1e-4)
    with pytest.warns(UserWarning, match="decoded="):
        np.testing.assert_array_equal(values(array)[0], data)


def test_lazy_floats_are_not_computed_to_tell():
    array = cube(packed_as("masked"), scale_factor=1e-4).chunk(x=5)
    with xstf.testing.raise_if_dask_computes():
        with pytest.warns(UserWarning, match=r"are lazy.*decoded=True.*decoded=False"):
            read(array)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read(array, decoded=False)
    np.testing.assert_allclose(found[0], packed_as("scaled"), rtol=1e-5)


@pytest.mark.parametrize("chunks", [None, {"x": 5}])
def test_floats_that_a_reader_only_masked_are_known_by_their_encoding(chunks, tmp_path):
    rioxarray = pytest.importorskip("rioxarray", reason="needs rioxarray")
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio")
    profile = {
        "driver": "GTiff", "height": 20, "width": 20, "count": 2, "dtype": "int16",
        "nodata": -9999, "crs": "EPSG:32633",
        "transform": rasterio.transform.from_origin(0, 0, 10, 10),
    }  # fmt: skip
    numbers = np.nan_to_num(packed_as("masked"), nan=-9999).astype(np.int16)
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(np.stack([numbers, numbers]))
        file.scales, file.offsets = (1e-4, 2e-4), (0.0, 0.5)
    for options in ({}, {"masked": True}, {"mask_and_scale": True}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = rioxarray.open_rasterio(tmp_path / "a.tif", chunks=chunks, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = values(array)
        np.testing.assert_allclose(found[0], packed_as("scaled"), atol=1e-6)
        np.testing.assert_allclose(found[1], packed_as("scaled") * 2 + 0.5, atol=1e-6)


def test_a_code_that_was_scaled_with_the_rest_is_missing():
    raw = cube(np.array([[1234, -9999, 2345], [3000, 411, 512]], np.int16),
               scale_factor=1e-4, _FillValue=-9999)  # fmt: skip
    by_hand = (raw * np.float32(1e-4)).assign_attrs(raw.attrs)
    with pytest.warns(UserWarning, match="not scaled again"):
        found = values(by_hand)[0]
    assert np.isnan(found).tolist() == [[False, True, False], [False] * 3]


def test_scale_factor_in_attrs_of_what_was_scaled_by_hand():
    """`raw * raw.attrs["scale_factor"]` keeps attrs since xarray does so by default."""
    times = pd.date_range("2021-04-01", periods=6, freq="10D")
    raw = cube((TRUTH * 1e4).round().astype("i2"), scale_factor=1e-4, add_offset=0.0)
    raw = xr.concat([raw] * 6, pd.Index(times, name="time"), combine_attrs="override")
    scaled = (raw * 1e-4).astype("f4").assign_attrs(raw.attrs)
    holed = scaled.where(np.random.default_rng(1).random(scaled.shape) > 0.2)
    holed = holed.assign_attrs(raw.attrs)
    with pytest.warns(UserWarning, match="cube has scale_factor"):
        filled = holed.stf.gapfill(method="linear")
    said = holed.stf.gapfill(method="linear", decoded=True)
    for found in (filled, said):
        np.testing.assert_allclose(found, scaled, atol=1e-6)
        assert "scale_factor" not in found.attrs
    again = raw.where(holed.notnull()).stf.gapfill(method="linear", decoded=False)
    np.testing.assert_allclose(again, scaled, atol=1e-6)


# --- any attrs ------------------------------------------------------------------------------------


@st.composite
def packings(draw):
    """Draw numbers, what they mean, and attrs that say so in some convention and form."""
    dtype = np.dtype(draw(st.sampled_from(["u1", "i2", "u2", "i4"])))
    scale = draw(st.sampled_from([1.0, 1e-4, 0.004, 0.02, 0.5, 10.0]))
    offset = draw(st.sampled_from([0.0, -0.1, 100.0]))
    info = np.iinfo(dtype)
    code = draw(st.sampled_from([info.min, info.max, 0, None]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    top = min(info.max, 10_000)
    numbers = rng.integers(1, top - 1, (2, 4, 5)).astype(dtype)
    missing = rng.random(numbers.shape) < 0.2
    valid = draw(st.booleans())
    low, high = (int(top * 0.1), int(top * 0.9)) if valid else (info.min, info.max)
    values = numbers * scale + offset
    out = missing.copy() if code is not None else np.zeros_like(missing)
    numbers = np.where(out, code if code is not None else 0, numbers).astype(dtype)
    out |= (numbers < low) | (numbers > high)
    form = st.sampled_from([
        lambda v: v, lambda v: str(v), lambda v: (v,), lambda v: np.array([v]), lambda v: (v, v),
    ])  # fmt: skip
    attrs = {}
    if code is not None:
        name = draw(st.sampled_from(["_FillValue", "missing_value", "nodata", "nodatavals"]))
        attrs[name] = draw(form)(code)
    names = draw(st.sampled_from([("scale_factor", "add_offset"), ("scales", "offsets")]))
    if scale != 1 or draw(st.booleans()):
        attrs[names[0]] = draw(form)(scale)
    if offset != 0 or draw(st.booleans()):
        attrs[names[1]] = draw(form)(offset)
    if valid:
        attrs |= draw(st.sampled_from([
            {"valid_range": (low, high)}, {"valid_range": f"{low}, {high}"},
            {"valid_range": np.array([low, high], dtype)}, {"valid_min": low, "valid_max": high},
        ]))  # fmt: skip
    return numbers, np.where(out, np.nan, values), attrs


@given(packings(), st.booleans())
def test_whatever_attrs_say_is_done_once(case, lazy):
    numbers, want, attrs = case
    array = cube(numbers, long_name="reflectance", **attrs)
    before = array.copy(deep=True)
    found = read(array.chunk(x=2) if lazy else array)
    np.testing.assert_allclose(found.values, want, rtol=2e-6, atol=1e-6)
    assert found.attrs == {"long_name": "reflectance"}
    np.testing.assert_array_equal(read(found).values, found.values)
    np.testing.assert_allclose(decode(array, np.float64, band="band").values, want, atol=1e-9)
    xr.testing.assert_identical(array, before)
    text = repr(array.stf)
    assert "cannot read" not in text
    if ("scale_factor" in attrs or "scales" in attrs) and np.nanmax(np.abs(want)) < 1e9:
        as_floats = found.assign_attrs({k: v for k, v in attrs.items() if k in ("scale_factor",)})
        np.testing.assert_array_equal(values(as_floats, decoded=True), found.values)


# --- what a call says -----------------------------------------------------------------------------


def test_nothing_said_is_the_cube_itself():
    array = cube()
    assert as_values(array, what="fine") is array


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["array", "dataset"])
def test_what_a_call_says_is_written_into_the_cube(lazy, kind):
    array = cube(_FillValue=-9999, scale_factor=0.1, long_name="reflectance")
    array = array.assign_coords(spatial_ref=xr.Variable((), 0, {"crs_wkt": "…"}))
    array.encoding = {"grid_mapping": "spatial_ref", "dtype": "int16"}
    array = array.chunk(x=2) if lazy else array
    given = array
    if kind == "dataset":
        given = array.to_dataset("band")
        for name in given.data_vars:
            given[name].attrs, given[name].encoding = dict(array.attrs), dict(array.encoding)
        given["count"] = 5
    before = given.copy(deep=True)
    with xstf.testing.raise_if_dask_computes():
        found = as_values(given, what="fine", scale=10, valid_range=(150, 450))
    xr.testing.assert_identical(given, before)
    one = found if kind == "array" else found["B0"]
    want = np.where((STORED < 150) | (STORED > 450), np.nan, STORED)
    np.testing.assert_allclose(one.values[0] if kind == "array" else one.values, want)
    assert one.dtype == np.float32
    assert one.attrs == {"long_name": "reflectance"}
    assert one.encoding == {"grid_mapping": "spatial_ref"}
    assert (one.chunks is not None) == lazy
    assert set(one.coords) == set(array.coords) - ({"band"} if kind == "dataset" else set())
    if kind == "dataset":
        assert int(found["count"]) == 5


@pytest.mark.parametrize("scale", [0, np.nan, np.inf])
def test_scales_that_are_none(scale):
    with pytest.raises(ValueError, match="coarse_scale must be a finite number"):
        as_values(cube(), what="coarse", scale=scale, scale_name="coarse_scale")


@pytest.mark.parametrize("scale", [True, "1e-4", [1], 1j])
def test_scales_that_are_no_numbers(scale):
    with pytest.raises(TypeError, match="scale must be a number"):
        as_values(cube(), what="fine", scale=scale)


@pytest.mark.parametrize("wrong", [1, "0 1", (0,), (0, None), (0, 1, 2), ("a", "b"), (True, 2)])
def test_valid_ranges_that_are_none(wrong):
    with pytest.raises(TypeError, match=r"valid_range must be two numbers \(low, high\)"):
        as_values(cube(), what="fine", valid_range=wrong)


@pytest.mark.parametrize("wrong", [(1, 0), (1, 1), (np.nan, 1)])
def test_valid_ranges_that_leave_nothing(wrong):
    with pytest.raises(ValueError, match="the lower first"):
        as_values(cube(), what="fine", valid_range=wrong)


def test_decoded_is_true_or_false():
    with pytest.raises(TypeError, match="decoded must be True, False or None"):
        as_values(cube(), what="fine", decoded="yes")


def test_scores_are_in_the_units_of_the_results(scene):
    fine, coarse = scene
    numbers = (fine * 1e4).round().astype("int16")
    options = {"methods": ["starfm"], "time": fine.time[1]}
    scores = xstf.evaluate_fusion(numbers, coarse, scale=1e-4, **options)
    plain = xstf.evaluate_fusion(fine, coarse, **options)
    np.testing.assert_allclose(scores.rmse, plain.rmse, atol=1e-3)


# --- fills that nothing names ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int16", -9999), ("int16", -32768), ("int16", -28672), ("uint8", 0), ("uint8", 255),
     ("uint16", 65535), ("int32", 2**31 - 1), ("float32", -9999)],
)  # fmt: skip
def test_many_pixels_of_an_extreme_value_are_warned_of(dtype, value):
    data = np.full((10, 10), 100, dtype)
    data[0, :3] = value
    with pytest.warns(UserWarning, match=rf"3.0% of fine are {value}.*nodata.*valid_range="):
        _inputs.read_cube(cube(data), what="fine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _inputs.read_cube(cube(data, nodata=value), what="fine")
        _inputs.read_cube(cube(data).chunk(x=5), what="fine")
        mask = xr.zeros_like(cube(data)[0], dtype=bool)
        mask[0, :3] = True
        _inputs.read_cube(cube(data), what="fine", mask=mask)
        _inputs.read_cube(as_values(cube(data), what="fine", valid_range=(1, 200)), what="fine")
        few = np.full((20, 20), 100, dtype)
        few[0, :3] = value
        _inputs.read_cube(cube(few), what="fine")


@pytest.mark.parametrize("form", ["array", "Dataset", "scaled"])
def test_lazy_integers_warn_of_fills_when_they_are_computed(form):
    data = np.full((10, 10), 100, np.int16)
    data[0, :3] = -9999
    given = cube(data).chunk(x=5)
    mask = xr.zeros_like(cube(data)[0], dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xstf.testing.raise_if_dask_computes():
            plain = given.to_dataset("band") if form == "Dataset" else given
            said = as_values(plain, what="fine", scale=1e-4) if form == "scaled" else plain
            lazy = _inputs.read_cube(said, what="fine").data
        _inputs.read_cube(given, what="fine", mask=mask).data.compute()
        _inputs.read_cube(given.assign_attrs(nodata=None), what="fine").data.compute()
        as_values(given, what="fine", valid_range=(0, 200)).compute()
        _inputs.read_cube(given.isel(y=slice(1, None)), what="fine").data.compute()
    with pytest.warns(UserWarning, match=r"many pixels of fine.* are -9999.*nodata.*valid_range="):
        lazy.compute()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int16", -999), ("int16", -10000), ("int16", 9999), ("int16", 20000), ("float32", -999.0),
     ("float32", -99.0), ("float64", -1e10), ("float32", 99999.0)],
)  # fmt: skip
def test_round_values_far_from_all_others_are_warned_of(dtype, value):
    data = np.random.default_rng(0).uniform(10, 90, (10, 10)).astype(dtype)
    data[0, :3] = value
    end = "least" if value < 0 else "greatest"
    with pytest.warns(UserWarning, match=rf"fine are {value:.0f}, its {end} value"):
        _inputs.read_cube(cube(data), what="fine")


@pytest.mark.parametrize("value", [0.0, 1000.0, 99.0])
def test_round_values_among_others_are_measurements(value):
    data = np.random.default_rng(0).uniform(1, value + 1, (10, 10)).astype("float32")
    data[0, :3] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _inputs.read_cube(cube(data), what="fine")


def test_what_a_call_says_does_not_warn_of_fills_twice():
    data = np.full((10, 10), 100, np.int16)
    data[0, :3] = -9999
    with pytest.warns(UserWarning, match="usual fill"):
        said = as_values(cube(data), what="fine", decoded=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _inputs.read_cube(said, what="fine")


# --- names that are not read ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fill_value", "FillValue", "Fill Value", "_FILLVALUE", "no_data"])
def test_codes_by_other_names_are_told_where_they_occur(name):
    with pytest.warns(UserWarning, match=rf"{name}=-9999, which is not read.*nodata=…"):
        read(cube(**{name: -9999}))
    with pytest.warns(UserWarning, match="which is not read"):
        read(cube(**{name: -9999}).chunk(x=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(cube(**{name: -1}))
        read(cube(**{name: -9999}, nodata=-9999))
        read(cube(STORED.astype("float32"), **{name: -1}).chunk(x=1))


@pytest.mark.parametrize("name", ["scale", "Slope", "SCALE_FACTOR", "raster:scale"])
def test_scales_by_other_names_are_told(name):
    with pytest.warns(UserWarning, match=rf"{name}=0.0001, which is not read.*scale_factor=…"):
        read(cube(**{name: 1e-4}, nodata=-9999))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(cube(**{name: 30}, nodata=-9999))  # pixels of 30 m
        read(cube(**{name: 1e-4}, nodata=-9999, scale_factor=1e-4))
        read(cube(STORED.astype("float32"), **{name: 1e-4}, nodata=-9999))


def test_integers_that_are_multiplied_by_much_are_told():
    with pytest.warns(UserWarning, match=r"multiplied by its scale_factor 10000.* divide by"):
        read(cube(scale_factor=1e4, _FillValue=-9999))


def test_integers_whose_encoding_names_a_fill_are_missing_there():
    # as rio.write_nodata(…, encoded=True) writes it; written and read they would be missing, too
    stored = cube(encoding={"_FillValue": -9999})
    assert np.isnan(values(stored)[:, 0, 2]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _inputs.read_cube(stored, what="fine")
    packed = cube(encoding={"_FillValue": -9999, "scale_factor": 0.1})
    assert not np.isnan(values(packed)).any()  # the code is of packed numbers, which these are not


# --- what a Dataset says of all its bands ---------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "attrs",
    [
        {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": -9999, "valid_range": (0, 450)},
        {"scales": (1e-4, 1e-3), "offsets": (0.0, 0.1), "nodatavals": (-9999, 100)},
        {"nodata": -9999, "units": "1"},
    ],
)
def test_attributes_of_a_dataset_hold_for_its_bands(attrs, lazy):
    plain = cube(**attrs)
    dataset = plain.to_dataset("band")
    assert not dataset.B0.attrs  # xarray leaves them in the Dataset
    before = dataset.copy(deep=True)
    given = dataset.chunk(x=1) if lazy else dataset
    wanted = _inputs.read_cube(plain, what="fine").data
    np.testing.assert_array_equal(_inputs.read_cube(given, what="fine").data, wanted)
    said = as_values(given, what="fine", decoded=False)
    np.testing.assert_array_equal(_inputs.read_cube(said, what="fine").data, wanted)
    np.testing.assert_array_equal(_inputs.as_array(given, what="fine").values, wanted[0])
    xr.testing.assert_identical(dataset, before)


def test_a_band_that_speaks_for_itself_is_not_spoken_for():
    dataset = cube().to_dataset("band").assign_attrs(scale_factor=1e-4, nodata=-9999)
    dataset["B1"] = dataset.B1.assign_attrs(scale_factor=1e-2)
    read = _inputs.read_cube(dataset, what="fine").data[0]
    np.testing.assert_allclose(read[1], read[0] * 100, rtol=1e-6)
    assert np.isnan(read[:, 0, 2]).all()
    decoded = dataset.assign({n: dataset[n].astype("float32").drop_attrs() for n in dataset})
    for name in decoded:
        decoded[name].encoding = {"scale_factor": 1e-4, "_FillValue": -9999, "dtype": "int16"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = _inputs.read_cube(decoded.drop_isel(x=2), what="fine").data
    assert read.max() == 400


def test_results_of_a_dataset_do_not_say_its_packing_again():
    times = pd.date_range("2021-04-01", periods=3, freq="10D")
    packed = xr.concat([cube()] * 3, pd.Index(times, name="time")).transpose("time", ...)
    packed = packed.assign_attrs(scale_factor=1e-4, nodata=-9999).to_dataset("band")
    filled = packed.stf.gapfill(method="linear")
    assert "scale_factor" not in {**filled.attrs, **filled.B0.attrs}
    assert float(filled.B0.max()) == pytest.approx(0.05)
    merged = xstf.mosaic(packed)
    assert merged.B0.dtype == np.int16
    assert merged.B0.attrs["scale_factor"] == 1e-4


# --- units ----------------------------------------------------------------------------------------

SIDES = (Side("fine", "scale", ("red", "nir")), Side("coarse", "coarse_scale", ("red", "nir")))


def pair(*factors):
    values = np.random.default_rng(0).uniform(0.05, 0.4, (2, 50))
    return [values * factors[0], values * np.array(factors[1:])[:, None]]


def test_units_that_agree_pass():
    require_same_units(SIDES, pair(1, 1, 1))
    require_same_units(SIDES, pair(1, 15, 15))
    require_same_units(SIDES, pair(1, 0, 0))
    require_same_units(SIDES, [v[:, :1] for v in pair(500, 1, 1)])  # too few values
    with pytest.raises(ValueError, match="likely a factor of 10000"):  # but these are plain
        require_same_units(SIDES, [v[:, :1] for v in pair(1e4, 1, 1)])
    flat = pair(1, 1, 30)
    flat[1][1] = 6.0  # one band larger, but not more various
    require_same_units(SIDES, flat)


def test_units_that_disagree_are_named_with_the_likely_factor():
    said = (
        r"median of their absolute values is 2.\d+e\+03 in fine and 0.2\d+ in coarse, likely a "
        r"factor of 10000; scale=1e-4 .*coarse_scale=10000 .*BOA_ADD_OFFSET"
    )
    with pytest.raises(ValueError, match=said):
        require_same_units(SIDES, pair(1e4, 1, 1))
    with pytest.raises(ValueError, match=r"factor of 100; coarse_scale=1e-2 .*or scale=100 brings"):
        require_same_units(SIDES, pair(1, 100, 100))
    with pytest.raises(ValueError, match="in band 'nir'"):
        require_same_units(SIDES, pair(1, 1, 1e-4))


def test_likely_factors_of_dark_numbers_and_of_temperatures():
    dark = np.full((2, 50), 0.02)
    with pytest.raises(ValueError, match=r"likely a factor of 10000; scale=1e-4"):
        require_same_units(SIDES, [dark * 1e4 + 1000, dark])
    warm = np.random.default_rng(0).uniform(5, 15, (2, 50))
    with pytest.raises(ValueError, match=r"Celsius and in kelvin, no factor is right: add 273.15"):
        require_same_units(SIDES, [warm, warm + 273.15])


def fusion(method, lazy, **options):
    fine, coarse = xstf.testing.scene()
    numbers = fine * 1e4
    if lazy:
        numbers, coarse = numbers.chunk(y=20), coarse.chunk(time=1)
    return lambda: xstf.fuse(numbers, coarse, method=method, **options)


@pytest.mark.parametrize("method", ["starfm", "fsdaf"])
def test_fusion_of_other_units_is_refused(method):
    with pytest.raises(ValueError, match="not in the same units.*factor of 10000"):
        fusion(method, lazy=False)()
    with xstf.testing.raise_if_dask_computes():
        fused = fusion(method, lazy=True)()
    with pytest.raises(ValueError, match="not in the same units"):
        fused.compute(scheduler="sync")
    fine, coarse = xstf.testing.scene()
    want = xstf.fuse(fine, coarse, method=method)
    for lazy in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_allclose(fusion(method, lazy, scale=1e-4)(), want, atol=1e-4)
            coarse_scaled = fusion(method, lazy, coarse_scale=1e4)()
        np.testing.assert_allclose(coarse_scaled * 1e-4, want, atol=1e-4)


@pytest.mark.parametrize("lazy", [False, True])
def test_sharpening_of_other_units_is_refused(lazy):
    spectral, spatial, _ = xstf.testing.bands()
    numbers = spatial * 1e4
    if lazy:
        numbers = numbers.chunk(y=20, x=20)

    def sharpen(**options):
        return xstf.sharpen_spectral(spectral, numbers, method="sfim", **options).compute()

    with pytest.raises(ValueError, match=r"spatial and spectral are not.*spatial_scale=1e-4"):
        sharpen()
    want = xstf.sharpen_spectral(spectral, spatial, method="sfim")
    np.testing.assert_allclose(sharpen(spatial_scale=1e-4), want, atol=1e-6)
    np.testing.assert_allclose(sharpen(scale=1e4) * 1e-4, want, atol=1e-6)


def test_three_cubes_of_other_units_are_refused():
    s = xstf.scenes.hyperspectral_series(size=36, bands=40)
    for lazy in (False, True):
        sharp = s.sharp * 1e4
        sharp = sharp.chunk(y=18) if lazy else sharp
        with pytest.raises(ValueError, match=r"fine and spatial are not.*spatial_scale"):
            xstf.fuse(s.spectral, s.dense, spatial=sharp).compute()
        made = xstf.fuse(s.spectral, s.dense, spatial=sharp, spatial_scale=1e-4)
        want = xstf.fuse(s.spectral, s.dense, spatial=s.sharp)
        np.testing.assert_allclose(made, want, atol=1e-5)


def test_the_check_of_units_is_one_task_and_samples_nothing_more(monkeypatch):
    fine, coarse = xstf.testing.scene()

    def tasks():
        lazy = xstf.fuse(fine.chunk(y=7, x=9), coarse.chunk(x=2), method="starfm")
        np.testing.assert_allclose(lazy, eager, atol=1e-6)
        keys = [key for key in lazy.__dask_graph__() if isinstance(key, str)]
        return [sum(k.startswith(name) for k in keys) for name in ("xstf-sample-", "xstf-state-")]

    eager = xstf.fuse(fine, coarse, method="starfm")
    samples, states = tasks()
    monkeypatch.setattr("xstf.verbs.fuse.check_units", lambda *_, **__: ())
    assert tasks() == [samples, states - 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:fine has images without a coarse one")
def test_units_of_kranj_disagree(real_data, tmp_path):
    for sensor in ("L8", "MODIS"):
        (tmp_path / sensor).mkdir()
        for path in (real_data / "fusion" / "kranj").glob(f"{sensor}_*.tif"):
            (tmp_path / sensor / path.name).symlink_to(path)
    fine, coarse = (xstf.files.open_cube(tmp_path / sensor) for sensor in ("L8", "MODIS"))
    options = {"method": "starfm", "coarse_resolution": 500, "time": coarse.time[3]}
    with pytest.raises(ValueError, match=r"in fine and 0\.0.*likely a factor of 10000; scale=1e-4"):
        xstf.fuse(fine, coarse, **options)
    fused = xstf.fuse(fine, coarse, scale=1e-4, **options)
    assert 0 < float(fused.median()) < 0.2


# --- bounds of estimates --------------------------------------------------------------------------


@pytest.fixture
def darkening():
    """A scene whose coarse images fall by more than the darkest fine pixels have."""
    fine, coarse = xstf.testing.scene()
    fine = fine - fine.min() + 0.001
    coarse = coarse - float(coarse.min()) + 0.001
    target = coarse.time[~coarse.time.isin(fine.time)]
    dark = coarse.where(~coarse.time.isin(target), coarse * 0.05)
    return fine, dark


def test_fusion_of_what_is_not_negative_is_not(darkening):
    fine, coarse = darkening
    raw = xstf.fuse(fine, coarse, method="starfm", clip=False)
    assert float(raw.min()) < 0
    for clip in (None, True):
        kept = xstf.fuse(fine, coarse, method="starfm", clip=clip)
        np.testing.assert_array_equal(kept, raw.clip(0))
    bounded = xstf.fuse(fine, coarse, method="starfm", clip=(0.01, 0.2))
    np.testing.assert_array_equal(bounded, raw.clip(np.float32(0.01), np.float32(0.2)))
    np.testing.assert_array_equal(xstf.fuse(fine, coarse, method="starfm", clip=(None, None)), raw)


def test_a_negative_input_lets_its_pixels_be_negative(darkening):
    fine, coarse = darkening
    below = fine.copy()
    below[:, 0, 20:30, 10:20] = -0.02
    raw = xstf.fuse(below, coarse, method="starfm", clip=False)
    kept = xstf.fuse(below, coarse, method="starfm")
    inside = np.zeros(raw.shape, bool)
    inside[:, 0, 20:30, 10:20] = True
    np.testing.assert_array_equal(kept.values[inside], raw.values[inside])
    assert (kept.values[~inside] >= 0).all()
    lazy = xstf.fuse(below.chunk(y=7, x=11), coarse, method="starfm")
    np.testing.assert_allclose(lazy, kept, atol=1e-6)


def test_observed_pixels_and_the_std_are_not_cut(darkening):
    fine, coarse = darkening
    fine[0, :, :5, :5] = -0.5
    options = {"method": "fitfc", "time": fine.time[0], "return_quality": True}
    made = xstf.fuse(fine, coarse, clip=(0, 0.1), **options)
    name = str(fine.name)
    np.testing.assert_array_equal(made[name].values[0], fine.values[0])
    assert (made[f"{name}_std"] == 0).all()


@pytest.mark.parametrize("wrong", ["0 1", 1, (0,), (0, "a"), (np.nan, 1), (True, 1)])
def test_bounds_that_are_none(wrong, scene):
    with pytest.raises(TypeError, match="clip"):
        xstf.fuse(*scene, method="starfm", clip=wrong)


def test_bounds_the_wrong_way_round(scene):
    with pytest.raises(ValueError, match="lower bound comes first"):
        xstf.fuse(*scene, method="starfm", clip=(1, 0))


def test_three_cubes_that_are_not_negative_give_nothing_negative():
    s = xstf.scenes.hyperspectral_series(size=36, bands=40)
    dark = s.dense.where(s.dense.time != s.dense.time[1], s.dense * 0.02)
    cubes = (s.spectral.clip(0), dark.clip(0))
    raw = xstf.fuse(*cubes, spatial=s.sharp.clip(0), clip=False)
    assert float(raw.min()) < 0
    kept = xstf.fuse(*cubes, spatial=s.sharp.clip(0))
    np.testing.assert_array_equal(kept, raw.clip(0))


# --- words ----------------------------------------------------------------------------------------


def said(array):
    return next(
        line.split(maxsplit=1)[1] for line in repr(array.stf).splitlines() if "values" in line
    )


def test_repr_says_what_was_understood():
    assert said(cube(nodata=-9999, scale_factor="0.0001", valid_range="0 10000")) == (
        "int16, nodata -9999, valid 0 to 10000, scale_factor 0.0001"
    )
    assert said(cube(scales=(1e-4, 1e-3), nodatavals=(0, 1))) == (
        "int16, nodata by band, scale_factor 0.0001, 0.001"
    )
    scaled = cube(packed_as("scaled"), scale_factor=1e-4)
    assert said(scaled) == "float32, already decoded"
    assert said(scaled.chunk(x=5)) == "float32, taken as decoded already"
    wrong = repr(cube(scale_factor="big").stf)
    assert "xstf cannot read it" in wrong
    assert "scale_factor='big'" in wrong


def test_degrade_refuses_what_is_not_decoded_by_name():
    for attrs in ({"nodatavals": (-9999, -9999)}, {"valid_range": "0 1000"},
                  {"_FillValue": None, "missing_value": "-9999"}):  # fmt: skip
        with pytest.raises(ValueError, match=f"{list(attrs)[-1]}=.*decode it"):
            simulate.degrade(cube(**attrs), 2)
    with pytest.raises(ValueError, match="values with nodata=-9999: decode it"):
        simulate.degrade(cube(STORED.astype("f4"), nodata=-9999), 2)


def test_training_refuses_other_units_before_it_begins():
    train = pytest.importorskip("torch", reason="needs torch") and xstf.train
    fine, coarse = xstf.testing.scene()
    with pytest.raises(ValueError, match=r"not in the same units.*; fine \* 1e-4 brings"):
        train.fit("edcstfn", fine * 1e4, coarse.chunk(y=2))
    spectral, spatial, _ = xstf.testing.bands()
    with pytest.raises(ValueError, match=r"not in the same units.*; spatial \* 1e-4 brings"):
        train.fit("srecnn", spectral, spatial * 1e4)


# --- Sentinel-2's offset of 1000 ------------------------------------------------------------------


def of_baselines(texts, factor=1e4, **coords):
    times = np.datetime64("2021-12-01", "ns") + np.arange(len(texts)) * np.timedelta64(10, "D")
    rng = np.random.default_rng(0)
    values = (rng.uniform(0.1, 0.4, (len(texts), 6, 6)) * factor).astype("f4")
    return xr.DataArray(
        values, dims=("time", "y", "x"),
        coords={"time": times, "y": -10.0 * np.arange(6), "x": 10.0 * np.arange(6),
                "s2:processing_baseline": ("time", list(texts)), **coords},
    )  # fmt: skip


@pytest.mark.parametrize("texts", [("03.01", "03.01", "04.00"), ("N0301", "N0400", "N0509")])
def test_digital_numbers_on_both_sides_of_baseline_4_are_told_of(texts):
    with pytest.warns(UserWarning, match="before 04.00 and from it on.*1000"):
        of_baselines(texts).stf.gapfill(method="linear")


@pytest.mark.parametrize(
    "cube",
    [
        of_baselines(("03.01", "02.14", "03.00")), of_baselines(("04.00", "05.09", "05.10")),
        of_baselines(("03.01", "04.00", "05.09"), factor=1.0), of_baselines(("", "x", "04.00")),
        of_baselines(("03.01", "04.00", "05.09"),
                     **{"earthsearch:boa_offset_applied": ("time", [True] * 3)}),
    ],
)  # fmt: skip
def test_one_side_reflectance_and_offsets_taken_off_are_not(cube):
    cube.stf.gapfill(method="linear")
