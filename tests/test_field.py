"""Situations that users met with real cubes, by kind, and what must come out.

Each is a small cube made here. The right value is what the same land gives in its plain form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pyproj import CRS

import xstf
from xstf.cubes.crs import crs_of

SEASON = pd.date_range("2021-04-01", periods=10, freq="10D")
JUNE = pd.date_range("2021-06-01", periods=20, freq="D")


def frame(epsg: int) -> xr.Variable:
    return xr.Variable((), 0, CRS.from_epsg(epsg).to_cf())


def land(times, bands=("B04", "B08"), n=24, step=10.0, epsg: int | None = 32633) -> xr.DataArray:
    """Return smooth land that changes in time alike everywhere."""
    times = pd.DatetimeIndex(times)
    t = np.arange(len(times))[:, None, None, None]
    row, col = np.mgrid[:n, :n]
    season = 0.2 + 0.1 * np.sin(t / 3 + np.arange(len(bands))[None, :, None, None])
    values = season + 0.05 * np.sin(col / 4) + 0.05 * np.cos(row / 5)
    cube = xr.DataArray(
        values.astype("f4"), dims=("time", "band", "y", "x"), name="reflectance",
        coords={
            "time": times, "band": list(bands), "y": 5e6 - step * (np.arange(n) + 0.5),
            "x": 5e5 + step * (np.arange(n) + 0.5),
        },
    )  # fmt: skip
    return cube if epsg is None else cube.assign_coords(spatial_ref=frame(epsg))


def blurred(cube: xr.DataArray, ratio: int) -> xr.DataArray:
    return cube.coarsen(y=ratio, x=ratio).mean()


def holes(cube: xr.DataArray, share=0.2, seed=0) -> xr.DataArray:
    there = np.random.default_rng(seed).random(cube.shape) > share
    return cube.where(xr.DataArray(there, dims=cube.dims))


# --- an acquisition is not an instant (see also cubes/test_acquisitions.py) ---------------------


@pytest.mark.parametrize("method", ["starfm", "fitfc", "fsdaf"])
def test_a_place_where_four_granules_meet_is_fused_whole(method):
    truth = land(JUNE, ("B04", "B08", "B11"), n=32)
    seen = truth.isel(time=[1, 9])
    parts = []
    for k in range(4):
        inside = np.zeros((32, 32), bool)
        inside[16 * (k // 2) :, 16 * (k % 2) :][:16, :16] = True
        later = np.timedelta64(37810 + 15 * k, "s")
        part = seen.where(xr.DataArray(inside, dims=("y", "x")))
        parts.append(part.assign_coords(time=seen.time + later))
    fine = xr.concat(parts, "time").sortby("time")
    fused = fine.stf.fuse(blurred(truth, 8), method=method, time="2021-06-06")
    assert not fused.isnull().any()
    assert abs(fused.values - truth.sel(time=["2021-06-06"]).values).max() < 0.005


def test_the_west_of_america_is_paired_by_its_own_days():
    truth = land(JUNE, n=32)
    seen = truth.isel(time=[1, 9, 17])
    fine = seen.assign_coords(time=seen.time + np.timedelta64(18 * 60 + 35, "m"))
    fused = fine.stf.fuse(blurred(truth, 8), method="fsdaf", time="2021-06-11")
    assert abs(fused.values - truth.sel(time=["2021-06-11"]).values).max() < 0.005


def test_scores_do_not_see_the_twin_of_what_they_hide():
    rng = np.random.default_rng(0)
    truth = land(JUNE, n=32)
    seen = truth.isel(time=[1, 9, 17])
    seen = seen + rng.normal(0, 0.03, seen.shape).astype("f4")
    looks = [seen.assign_coords(time=seen.time + np.timedelta64(s, "s")) for s in (37831, 37847)]
    coarse = blurred(truth, 8).assign_coords(spatial_ref=truth.spatial_ref)
    both = xr.concat(looks, "time").sortby("time")
    once, twice = (
        c.stf.evaluate(coarse, methods=["starfm"], baselines=False).rmse.mean().item()
        for c in (looks[0], both)
    )
    assert twice > 0.9 * once


def test_a_regular_series_of_irregular_dates():
    cube = holes(land(pd.date_range("2021-04-01", periods=16, freq="10D"), n=16), 0.3)
    wanted = pd.date_range("2021-04-01", "2021-08-29", freq="5D")
    filled = cube.reindex(time=wanted).stf.gapfill(method="linear")
    known = cube.interpolate_na("time", use_coordinate=True).interp(time=wanted)
    inside = known.notnull().values
    np.testing.assert_allclose(filled.values[inside], known.values[inside], atol=1e-5)
    np.testing.assert_allclose(cube.stf.gapfill(method="linear", freq="5D"), filled, atol=1e-6)


# --- what attrs say of values (see also cubes/test_values.py) ------------------------------------


def test_a_product_that_still_carries_its_scale_is_not_scaled_again():
    truth = land(SEASON)
    raw = (truth * 10000).round().astype("i2")
    scaled = holes((raw * 1e-4).astype("f4"))
    scaled.attrs = {"scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": -9999}
    with pytest.warns(UserWarning, match="decoded"):
        filled = scaled.stf.gapfill(method="linear")
    seen = scaled.notnull().values
    np.testing.assert_allclose(filled.values[seen], scaled.values[seen], rtol=1e-6)


@pytest.mark.parametrize("form", ["packed", "decoded"])
def test_flags_beyond_the_valid_range_are_no_measurements(form):
    truth = land(SEASON, ("NDVI",))
    packed = ((truth + 0.08) / 0.004).round().clip(0, 250).astype("u1")
    packed[4, 0, 5:9, 5:9] = 254
    packed[5, 0, 5:9, 5:9] = 252
    packing = {"scale_factor": 0.004, "add_offset": -0.08, "_FillValue": np.uint8(255)}
    span = {"valid_range": np.array([0, 250], "u1")}
    cube = packed.assign_attrs(packing | span)
    if form == "decoded":
        cube = (packed * np.float32(0.004) - np.float32(0.08)).astype("f4")
        cube.attrs, cube.encoding = span, packing | {"dtype": np.dtype("u1")}
    filled = cube.stf.gapfill(method="linear")
    assert abs(filled - truth).max() < 0.02


@pytest.mark.parametrize(
    ("attrs", "factor"),
    [
        ({"scale_factor": np.array([1e-4]), "_FillValue": np.array([-28672], "i2")}, 1e-4),
        ({"scale_factor": (1e-4,), "_FillValue": (-28672,)}, 1e-4),
        ({"scale_factor": "0.0001", "_FillValue": "-28672"}, 1e-4),
        ({"scale_factor": None, "_FillValue": -28672, "nodata": None}, 1.0),
        ({"scales": (1e-4, 1e-4), "offsets": (0.0, 0.0), "nodatavals": (-28672, -28672)}, 1e-4),
    ],
)
def test_attributes_of_odd_types_are_read(attrs, factor):
    truth = land(SEASON[:6], n=8)
    raw = (truth * 1e4).round().astype("i2")
    raw[2, :, 3, 3] = -28672
    filled = raw.assign_attrs(attrs).stf.gapfill(method="linear")
    assert abs(filled / factor / 1e4 - truth).max() < 0.02


# --- where a cube lies (see also cubes/test_place.py) --------------------------------------------


def boxed(epsg: int) -> xr.Variable:
    box = np.empty((), object)
    box[()] = CRS.from_epsg(epsg)
    return xr.Variable((), box)


@pytest.mark.parametrize(
    "put",
    [
        lambda c, e: c.assign_attrs(crs=CRS.from_epsg(e)),
        lambda c, e: c.assign_coords(crs=boxed(e)),
        lambda c, e: c.assign_coords(epsg=e),
        lambda c, e: c.assign_attrs(crs=f"epsg:{e}"),
        lambda c, e: c.assign_attrs(crs_wkt=CRS.from_epsg(e).to_wkt()),
        lambda c, e: c.assign_coords(spatial_ref=frame(e)),
    ],
)
def test_images_of_two_utm_zones_are_two_places(put):
    fine, coarse = land(JUNE[[0, 4, 9]], epsg=None), land(JUNE, n=6, step=40.0, epsg=None)
    with pytest.raises(ValueError, match="does not overlap"):
        put(fine, 32633).stf.fuse(put(coarse, 32634), method="starfm", window=5)
    assert put(fine, 32633).stf.fuse(put(coarse, 32633), method="starfm", window=5).sizes["time"]


def test_corner_coordinates_are_taken_for_what_the_transform_says():
    def look(step, n, gains, bands, at):
        inner = (np.arange(8) + 0.5) / 8 - 0.5
        x, y = np.meshgrid(step * (np.arange(n) + 0.5), step * (np.arange(n) + 0.5))
        seen = np.mean([
            0.2 + 0.06 * np.sin((x + a * step) / 31) + 0.05 * np.cos((y + b * step) / 27)
            for a in inner for b in inner
        ], axis=0)  # fmt: skip
        return xr.DataArray(
            np.stack([g * seen for g in gains]).astype("f4"), dims=("band", "y", "x"),
            coords={
                "band": bands, "y": 5e6 - step * (np.arange(n) + at),
                "x": 5e5 + step * (np.arange(n) + at), "spatial_ref": frame(32633),
            },
            attrs={"transform": (step, 0.0, 5e5, 0.0, -step, 5e6), "resolution": step},
        )  # fmt: skip

    def sharpened(at):
        many = look(20.0, 48, (1.1, 0.9, 1.3), ["B05", "B11", "B12"], at)
        few = look(10.0, 96, (1.0, 0.8, 1.2), ["B02", "B03", "B04"], at)
        return many.stf.sharpen_spectral(few, method="mtf_glp_hs")

    centre = sharpened(0.5)
    with pytest.warns(UserWarning, match="corner"):
        corner = sharpened(0.0)
    np.testing.assert_array_equal(corner.values, centre.values)
    np.testing.assert_array_equal(corner.x.values, centre.x.values)


def test_a_grid_mapping_with_a_dimension_of_its_own(tmp_path):
    cube = land(SEASON[:6], ("t",), n=8, epsg=None).isel(band=0, drop=True)
    cube = cube.rename(y="lat", x="lon").assign_coords(
        lat=48 - np.arange(8) / 24, lon=-120 + np.arange(8) / 24
    )
    made = holes(cube).to_dataset(name="air_temperature")
    attrs = dict(frame(4326).attrs)
    made["crs"] = xr.Variable("crs", np.array([3], "i2"), attrs | {"spatial_ref": attrs["crs_wkt"]})
    made.air_temperature.attrs["grid_mapping"] = "crs"
    made.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", decode_coords="all") as opened:
        data = opened.load()
    found = crs_of(data.stf.gapfill(method="linear"))
    assert found is not None
    assert found.to_epsg() == 4326


def test_degrees_in_float32_nest():
    truth = land(JUNE, ("NDVI",), n=48, epsg=None)
    coarse = blurred(truth, 3)

    def on(cube, n, per):
        at = (np.arange(n) + 0.5) / per
        places = {"lat": (48 - at).astype("f4"), "lon": (16 + at).astype("f4")}
        return cube.rename(y="lat", x="lon").assign_coords(places)

    fine, few = on(truth, 48, 336), on(coarse, 16, 112)
    fused = fine.isel(time=[1, 9]).stf.fuse(few, method="fitfc", time="2021-06-06")
    assert fused.attrs["stf_grid"].startswith("nested, ratio 3")
    assert abs(fused - fine.sel(time=["2021-06-06"])).max() < 1e-4


@pytest.mark.parametrize(
    ("count", "corner", "more"), [(2, 100.0, {}), (1, 90.0, {"coarse_resolution": 480.0})]
)
def test_a_field_in_one_or_four_coarse_pixels(count, corner, more):
    fine = land(JUNE[:12], n=10, step=30.0)
    level = fine.isel(y=5, x=5, drop=True)
    at = 480 * (np.arange(count) + 0.5)
    coarse = level.expand_dims(y=5e6 + corner - at, x=5e5 - corner + at)
    coarse = coarse.transpose("time", "band", "y", "x").assign_coords(spatial_ref=frame(32633))
    fused = fine.isel(time=[1, 9]).stf.fuse(coarse, method="fitfc", time="2021-06-06", **more)
    assert abs(fused.values - fine.sel(time=["2021-06-06"]).values).max() < 0.01


def test_a_panchromatic_grid_half_a_pixel_off_needs_no_shift():
    def light(x, y, pixel):
        inner = ((np.arange(8) + 0.5) / 8 - 0.5) * pixel
        x, y = np.meshgrid(x, y)
        return np.mean(
            [0.2 + 0.05 * np.sin((x + a) / 170) + 0.05 * np.cos((y + b) / 230)
             for a in inner for b in inner], axis=0,
        )  # fmt: skip

    mx, my = 5e5 + 15 + 30 * np.arange(40), 5e6 - 15 - 30 * np.arange(40)
    px, py = mx[0] + 15 * np.arange(78), my[0] - 15 * np.arange(78)
    gains = (1.0, 0.8, 1.3)

    def on(y, x, images, names):
        places = {"band": names, "y": y, "x": x, "spatial_ref": frame(32633)}
        return xr.DataArray(np.stack(images).astype("f4"), places, dims=("band", "y", "x"))

    ms = on(my, mx, [g * light(mx, my, 30) for g in gains], ["B2", "B3", "B4"])
    pan = on(py, px, [light(px, py, 15)], ["B8"])
    truth = np.stack([g * light(px, py, 15) for g in gains])
    off = (ms.stf.sharpen_spectral(pan, method="sfim").values - truth)[:, 6:-6, 6:-6]
    assert np.sqrt((off**2).mean()) < 0.001


def test_bands_from_long_to_short_and_empty_ones():
    many, few, _ = xstf.testing.bands()
    right = many.stf.sharpen_spectral(few, method="gsa")
    back = {"band": slice(None, None, -1)}
    turned = many.isel(back).stf.sharpen_spectral(few, method="gsa").isel(back)
    np.testing.assert_allclose(turned, right, atol=1e-3)
    empty = many.copy(deep=True)
    empty[{"band": [3, 7]}] = np.nan
    kept = [i for i in range(many.sizes["band"]) if i not in (3, 7)]
    want = many.isel(band=kept).stf.sharpen_spectral(few, method="gsa")
    holed = empty.stf.sharpen_spectral(few, method="gsa")
    np.testing.assert_allclose(holed.isel(band=kept), want, atol=1e-3)
    assert holed.isel(band=[3, 7]).isnull().all()


class Form(NamedTuple):
    given: xr.DataArray
    wanted: xr.DataArray


def test_one_pixel_and_series_get_what_they_get_in_a_cube():
    cube = holes(land(pd.date_range("2021-04-01", periods=14, freq="10D"), ("NDVI",), n=4), 0.3)
    right = cube.stf.gapfill(method="linear")
    pixel = {"y": 1, "x": 1, "band": 0}
    fields = cube.isel(band=0, y=1).rename(x="field").drop_vars("field")
    forms = [
        Form(cube.isel(y=[1], x=[1]), right.isel(y=[1], x=[1])),
        Form(cube.isel(pixel), right.isel(pixel)),
        Form(fields, right.isel(band=0, y=1)),
    ]
    for given, wanted in forms:
        filled = given.stf.gapfill(method="linear")
        assert filled.dims == given.dims
        np.testing.assert_array_equal(filled.values, wanted.values)


# --- labels of results (see also cubes/test_labels.py) -------------------------------------------


def test_coordinates_along_time_stay():
    cube = holes(land(SEASON)).assign_coords(
        {
            "platform": ("time", ["S2A", "S2B"] * 5),
            "s2:processing_baseline": ("time", ["03.01"] * 5 + ["04.00"] * 5),
            "eo:cloud_cover": ("time", np.arange(10.0)),
            "common_name": ("band", ["red", "nir"]),
        }
    )
    filled = cube.stf.gapfill(method="linear")
    assert set(cube.coords) <= set(filled.coords)
    for name in ("platform", "s2:processing_baseline", "eo:cloud_cover", "common_name"):
        assert filled[name].variable.identical(cube[name].variable)


class Record:
    """Not a number, a text nor a list."""


def test_results_write_whatever_attrs_a_loader_left(tmp_path):
    cube = holes(land(SEASON))
    cube.attrs = {
        "spec": Record(), "transform": (10, 0, 5e5, 0, -10, 5e6), "resolution": 10.0,
        "data_type": {"type": "PixelType", "precision": "double"},
        "time": np.datetime64("2021-04-01"), "none": None, "flag": True,
    }  # fmt: skip
    with pytest.warns(UserWarning, match="spec"):
        filled = cube.stf.gapfill(method="linear")
    filled.to_netcdf(tmp_path / "a.nc")
    filled.to_dataset(name="a").to_zarr(tmp_path / "a.zarr", zarr_format=2)


# --- what is an image in a Dataset (see also cubes/test_datasets.py) -----------------------------


def test_classes_beside_the_bands_stay_classes():
    rng = np.random.default_rng(0)
    cube = land(SEASON)
    data = cube.to_dataset("band")
    classes = rng.choice([4, 5, 6, 9], (10, 24, 24)).astype("u1")
    data["SCL"] = (("time", "y", "x"), classes)
    filled = data.stf.gapfill(mask=xstf.masks.scl(data.SCL), method="linear")
    assert filled.SCL.variable.identical(data.SCL.variable)
    with pytest.warns(UserWarning, match=r"xstf\.masks\.scl"):
        data.stf.gapfill(method="linear")


def test_a_mask_of_larger_pixels_is_brought_to_the_bands():
    rng = np.random.default_rng(0)
    cube = land(SEASON)
    scl = xr.DataArray(
        rng.choice([4, 5, 9], (10, 12, 12)).astype("u1"), dims=("time", "y", "x"),
        coords={
            "time": cube.time, "y": 5e6 - 20 * (np.arange(12) + 0.5),
            "x": 5e5 + 20 * (np.arange(12) + 0.5), "spatial_ref": cube.spatial_ref,
        },
    )  # fmt: skip
    mask = xstf.masks.scl(scl)
    repeated = xr.DataArray(
        np.kron(mask.values, np.ones((1, 2, 2))) > 0, dims=mask.dims,
        coords={k: cube[k] for k in mask.dims},
    )  # fmt: skip
    got, want = (cube.stf.gapfill(mask=m, method="linear") for m in (mask, repeated))
    np.testing.assert_array_equal(got.values, want.values)


# --- radar (see also test_radar.py) --------------------------------------------------------------


@pytest.mark.slow
def test_one_negative_pixel_does_not_turn_power_into_decibel():
    cube = holes(land(pd.date_range("2021-04-01", periods=14, freq="10D"), n=20), 0.3)
    t, x = np.arange(12)[:, None, None, None], np.mgrid[:20, :20][1]
    level = -12 - 5 * np.arange(2)[None, :, None, None] + 2 * np.sin(t / 3) + np.sin(x / 4)
    sar = xr.DataArray(
        10 ** (level / 10), dims=("time", "band", "y", "x"),
        coords={
            "time": pd.date_range("2021-03-28", periods=12, freq="12D"), "band": ["VV", "VH"],
            "y": cube.y, "x": cube.x, "spatial_ref": cube.spatial_ref,
        },
    )  # fmt: skip
    noisy = sar.copy(deep=True)
    noisy[3, 1, 10, 10] = -1e-5
    clean, got = (cube.stf.gapfill(s, method="gp") for s in (sar, noisy))
    away = abs(got - clean).values.copy()
    away[:, :, 8:13, 8:13] = 0
    assert away.max() < 1e-3


@pytest.mark.slow
def test_slices_of_a_pass_are_one_and_zeros_are_no_echo():
    cube = holes(land(pd.date_range("2021-04-01", periods=12, freq="10D"), n=24), 0.3)
    t, x = np.arange(12)[:, None, None, None], np.mgrid[:24, :24][1]
    level = -12 - 5 * np.arange(2)[None, :, None, None] + 2 * np.sin(t / 3) + np.sin(x / 4)
    sar = xr.DataArray(
        10 ** (level / 10), dims=("time", "band", "y", "x"),
        coords={
            "time": pd.date_range("2021-03-28T05:00", periods=12, freq="12D"),
            "band": ["VV", "VH"], "y": cube.y, "x": cube.x, "spatial_ref": cube.spatial_ref,
        },
    )  # fmt: skip
    row = xr.DataArray(np.arange(24), dims="y")
    south = sar.where(row >= 10)
    south = south.assign_coords(time=south.time + np.timedelta64(25, "s"))
    sliced = xr.concat([sar.where(row < 14), south], "time").sortby("time")
    zeros, gone = sar.copy(deep=True), sar.copy(deep=True)
    zeros[..., :4], gone[..., :4] = 0, np.nan
    whole, parts, borders, missing = (
        cube.stf.gapfill(s, method="gp") for s in (sar, sliced, zeros, gone)
    )
    np.testing.assert_allclose(parts, whole, atol=1e-4)
    np.testing.assert_allclose(borders, missing, atol=1e-6)


# --- doors (see also test_gapfill_dates.py, test_plan.py, test_files.py) -------------------------


def test_a_folder_of_one_file_a_band_and_date(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    place = rasterio.transform.Affine(10, 0, 5e5, 0, -10, 5e6)
    for i, day in enumerate(("20200805", "20200815", "20200825")):
        for band, value in (("B04", 500), ("B08", 3000)):
            with rasterio.open(
                tmp_path / f"T33UUB_{day}T101031_{band}_10m.tif", "w", driver="GTiff", width=20,
                height=20, count=1, dtype="uint16", nodata=0, crs="EPSG:32633", transform=place,
            ) as file:  # fmt: skip
                file.write(np.full((1, 20, 20), value + i, "u2"))
    filled = xstf.files.open_cube(tmp_path).stf.gapfill(method="linear")
    assert filled.sizes["time"] == 3
    assert [str(b) for b in filled.band.values] == ["B04", "B08"]
    np.testing.assert_array_equal(filled.sel(band="B08").values[:, 0, 0], [3000, 3001, 3002])
    assert str(filled.time.values[0])[:16] == "2020-08-05T10:10"
