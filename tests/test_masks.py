"""Masks from quality bands: bit by bit, labels kept, lazy, the same whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from xstf import masks
from xstf.testing import raise_if_dask_computes

VERBS = {"scl": masks.scl, "fmask": masks.fmask, "qa_pixel": masks.qa_pixel}
LARGEST = {"scl": 11, "fmask": 255, "qa_pixel": 65535}
DTYPES = {"scl": np.uint8, "fmask": np.uint8, "qa_pixel": np.uint16}


def band(values, dtype=np.uint8):
    return xr.DataArray(np.atleast_2d(np.asarray(values, dtype)), dims=("y", "x"))


def cube(verb, seed=0, share=0.03):
    """(time: 3, y: 31, x: 27) of mostly clear pixels, UTM, with a name and attributes."""
    rng = np.random.default_rng(seed)
    clear = {"scl": 4, "fmask": 64, "qa_pixel": 21824}[verb]
    cloud = {"scl": 9, "fmask": 66, "qa_pixel": 22280}[verb]
    values = np.where(rng.random((3, 31, 27)) < share, cloud, clear).astype(DTYPES[verb])
    coords = {
        "time": np.array(["2021-05-01", "2021-05-06", "2021-05-11"], "datetime64[ns]"),
        "y": 5000.0 - 20 * np.arange(31),
        "x": 15 + 20.0 * np.arange(27),
        "spatial_ref": ((), 0, CRS(32633).to_cf()),
    }
    found = xr.DataArray(values, coords, ("time", "y", "x"), "quality", {"units": "1"})
    found.encoding = {"grid_mapping": "spatial_ref", "dtype": "uint8"}
    return found


# ------------------------------------------------------------------ the tables


@pytest.mark.parametrize(("name", "number"), masks.SCL.items())
def test_each_class_of_scl_is_its_number(name, number):
    found = masks.scl(band(np.arange(12)), classes=[name])
    assert np.flatnonzero(found).tolist() == [number]


def test_scl_bars_clouds_shadows_and_what_is_no_data_by_default():
    assert np.flatnonzero(masks.scl(band(np.arange(12)))).tolist() == [0, 1, 3, 8, 9, 10]


@pytest.mark.parametrize(
    ("name", "bit"),
    [("cirrus", 0), ("cloud", 1), ("adjacent", 2), ("cloud_shadow", 3), ("snow", 4), ("water", 5)],
)
def test_each_class_of_fmask_is_its_bit(name, bit):
    numbers = np.arange(255)
    found = masks.fmask(band(numbers), classes=[name]).values[0]
    np.testing.assert_array_equal(found, (numbers >> bit) % 2 == 1)


def test_aerosol_is_the_level_in_two_bits():
    numbers = np.arange(255)
    high = masks.fmask(band(numbers), classes=["aerosol_high"]).values[0]
    moderate = masks.fmask(band(numbers), classes=["aerosol_moderate"]).values[0]
    np.testing.assert_array_equal(high, numbers >= 192)
    np.testing.assert_array_equal(moderate, (numbers >= 128) & (numbers < 192))


def test_fill_of_fmask_is_barred_whatever_the_classes():
    assert masks.fmask(band([255, 0]), classes=[]).values.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        ("fill", 0),
        ("dilated_cloud", 1),
        ("cirrus", 2),
        ("cloud", 3),
        ("cloud_shadow", 4),
        ("snow", 5),
        ("water", 7),
    ],
)
def test_each_class_of_qa_pixel_is_its_bit(name, bit):
    numbers = np.arange(65536)
    found = masks.qa_pixel(band(numbers, np.uint16), classes=[name]).values[0]
    np.testing.assert_array_equal(found, (numbers >> bit) % 2 == 1)


def test_several_classes_are_any_of_them_and_one_may_be_a_string():
    numbers = band(np.arange(256), np.uint16)
    both = masks.qa_pixel(numbers, classes=["snow", "water"])
    one, other = (masks.qa_pixel(numbers, classes=c) for c in ("snow", "water"))
    assert both.equals(one | other)
    assert not masks.qa_pixel(numbers, classes=()).any()


# ------------------------------------------------------------------ kinds of bands


@pytest.mark.parametrize("verb", VERBS)
def test_a_float_band_with_nan_is_the_same_and_nan_is_barred(verb):
    whole = cube(verb)
    holed = whole.astype(np.float32)
    holed[0, 4, 5] = np.nan
    expected = VERBS[verb](whole)
    expected[0, 4, 5] = True
    assert (VERBS[verb](holed) == expected).all()
    assert VERBS[verb](holed, classes=[]).sum() == 1


def test_a_fill_value_in_the_attributes_is_barred():
    found = masks.scl(band([4, 4, 99]).assign_attrs(_FillValue=99))
    assert found.values.tolist() == [[False, False, True]]
    signed = masks.qa_pixel(band([21824, -9999], np.int32).assign_attrs(nodata=-9999))
    assert signed.values.tolist() == [[False, True]]


@pytest.mark.parametrize("verb", VERBS)
def test_dims_coordinates_and_crs_are_kept(verb):
    given = cube(verb)
    found = VERBS[verb](given, dilate=1.5)
    assert found.dtype == bool
    assert found.dims == given.dims
    xr.testing.assert_identical(found.coords.to_dataset(), given.coords.to_dataset())
    assert found.encoding == {"grid_mapping": "spatial_ref"}
    assert "units" not in found.attrs
    before = cube(verb)
    xr.testing.assert_identical(given, before)


# ------------------------------------------------------------------ dilation


@pytest.mark.parametrize("distance", [1, 1.5, 2, 3.7])
def test_dilation_reaches_as_far_as_said(distance):
    values = np.full((15, 17), 4)
    values[7, 8] = 9
    y, x = np.mgrid[:15, :17]
    near = np.hypot(y - 7, x - 8) <= distance
    np.testing.assert_array_equal(masks.scl(band(values), dilate=distance), near)


def test_dilation_stays_on_its_date_and_takes_any_dim_order():
    given = cube("scl")
    given[1] = 4
    found = masks.scl(given, dilate=2)
    assert found[0].any()
    assert not found[1].any()
    turned = masks.scl(given.transpose("x", "time", "y"), dilate=2)
    assert turned.dims == ("x", "time", "y")
    xr.testing.assert_equal(turned.transpose(*given.dims), found)
    renamed = masks.scl(given.rename(y="lat", x="lon"), dilate=2)
    np.testing.assert_array_equal(renamed, found)


def test_missing_pixels_are_dilated_too():
    assert masks.scl(band([4, 4, 0, 4, 4]), dilate=1).values.tolist() == [
        [False, True, True, True, False]
    ]


# ------------------------------------------------------------------ laziness


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("chunks", [{"time": 1}, {"y": 7, "x": 5}, {"x": 1}, {"y": (30, 1)}])
@pytest.mark.parametrize("dilate", [0, 1, 4.5, 40])
def test_lazy_stays_lazy_and_does_not_depend_on_chunks(verb, chunks, dilate):
    given = cube(verb, share=0.01)
    with raise_if_dask_computes():
        lazy = VERBS[verb](given.chunk(chunks), dilate=dilate)
    assert lazy.chunks is not None
    assert lazy.dtype == bool
    xr.testing.assert_identical(lazy.compute(), VERBS[verb](given, dilate=dilate))


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_class_is_refused_with_the_known_ones(verb):
    with pytest.raises(ValueError, match=r"no classes \['clouds'\]; there are \[.*'cirrus'"):
        VERBS[verb](cube(verb), classes=["clouds"])


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("value", [0.5, -1, None])
def test_numbers_that_the_product_has_not_are_refused(verb, value):
    wrong = cube(verb).astype(np.float64)
    wrong[0, 0, 0] = LARGEST[verb] + 1 if value is None else value
    with pytest.raises(ValueError, match=f"whole numbers from 0 to {LARGEST[verb]}: do not scale"):
        VERBS[verb](wrong)
    with pytest.raises(ValueError, match="whole numbers from 0 to"):
        VERBS[verb](wrong.chunk(x=9)).compute()


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_quality_band_is_refused(verb):
    with pytest.raises(TypeError, match="not Dataset; of a Dataset, pass the one variable"):
        VERBS[verb](cube(verb).to_dataset(name="quality"))
    with pytest.raises(TypeError, match="has dtype bool"):
        VERBS[verb](cube(verb) > 4)


@pytest.mark.parametrize("dilate", [-1, np.nan, np.inf])
def test_an_impossible_distance_is_refused(dilate):
    with pytest.raises(ValueError, match="give a distance in pixels, 0 or more"):
        masks.scl(cube("scl"), dilate=dilate)


def test_dilation_needs_spatial_dims():
    with pytest.raises(ValueError, match="dilate needs y and x"):
        masks.scl(cube("scl").rename(y="row"), dilate=2)
    assert masks.scl(cube("scl").rename(y="row")).dims == ("time", "row", "x")
