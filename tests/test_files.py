"""Cubes from files and back."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xstf
from xstf.files import open_cube, save_cube
from xstf.files.names import find_date, find_sensor, read_name


def test_netcdf_round_trip_keeps_labels_and_crs(tmp_path):
    fine = xstf.scenes.landsat_modis(size=30).fine
    save_cube(fine, tmp_path / "fine.nc")
    back = open_cube(tmp_path / "fine.nc")
    xr.testing.assert_allclose(back, fine)
    assert back.spatial_ref.attrs["crs_wkt"] == fine.spatial_ref.attrs["crs_wkt"]


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3")
def test_zarr_round_trip(scene, tmp_path):
    pytest.importorskip("zarr", reason="needs zarr")
    fine = scene[0].chunk(y=16, x=16)
    save_cube(fine, tmp_path / "fine.zarr")
    xr.testing.assert_allclose(open_cube(tmp_path / "fine.zarr"), scene[0])


def test_a_damaged_chunk_is_named_and_writing_text_labels_is_quiet(scene, tmp_path):
    pytest.importorskip("zarr", reason="needs zarr")
    store = tmp_path / "fine.zarr"
    save_cube(scene[0].assign_coords(band=["a", "b"]).chunk(time=1, y=16, x=16), store)
    name = scene[0].name or "estimate"
    damaged = store / name / "c" / "1" / "0" / "1" / "0"
    damaged.write_bytes(damaged.read_bytes()[:10])
    with pytest.raises(OSError, match=rf"chunk \(1, 0, 1, 0\) of {name}"):
        open_cube(store)


def test_chunks_open_lazily(scene, tmp_path):
    save_cube(scene[0], tmp_path / "fine.nc")
    lazy = open_cube(tmp_path / "fine.nc", chunks=20)
    assert lazy.chunks[-2:] == ((20, 20, 8), (20, 20, 8))
    lazy.close()


def test_several_variables_are_bands(scene, tmp_path):
    save_cube(scene[0].to_dataset("band"), tmp_path / "fine.nc")
    assert isinstance(open_cube(tmp_path / "fine.nc"), xr.Dataset)


def test_dated_geotiffs_are_one_cube(tmp_path):
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    fine = xstf.scenes.landsat_modis(size=30).fine
    names = ["a_20210407.tif", "a_2021-05-25.tif", "a_2021193.tif"]
    for i, name in enumerate(names):
        fine[i].drop_vars("time").rio.to_raster(tmp_path / name)
    cube = open_cube(tmp_path)
    assert [str(t)[:10] for t in cube.time.values] == ["2021-04-07", "2021-05-25", "2021-07-12"]
    np.testing.assert_array_equal(cube.values[0], fine.values[0])
    assert cube.rio.crs.to_epsg() == 32633
    (tmp_path / "b.tif").write_bytes((tmp_path / names[0]).read_bytes())
    with pytest.raises(ValueError, match=r"no date .* in the name of \['b.tif'\]"):
        open_cube(tmp_path)


def test_what_is_no_cube_is_said(tmp_path):
    with pytest.raises(OSError, match="no file"):
        open_cube(tmp_path / "none.nc")
    with pytest.raises(OSError, match="holds no GeoTIFF"):
        open_cube(tmp_path)
    (tmp_path / "page.nc").write_text("<html>404</html>")
    with pytest.raises(OSError, match=r"page\.nc cannot be read"):
        open_cube(tmp_path / "page.nc")


def test_an_ending_that_is_none(scene, tmp_path):
    with pytest.raises(ValueError, match=r"out\.png: write to a \.nc file, a \.zarr store"):
        save_cube(scene[0], tmp_path / "out.png")


# --- folders of images ------------------------------------------------------------------------


def write(path, values, *, corner=(5e5, 5e6), pixel=10.0, crs="EPSG:32633", **options):
    """Write a GeoTIFF of one value a band, or of an image (band, y, x)."""
    rasterio = pytest.importorskip("rasterio", reason="needs rioxarray")
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    size = options.pop("size", 4)
    scales, offsets = options.pop("scales", None), options.pop("offsets", None)
    described = options.pop("described", ())
    values = np.atleast_1d(values)
    if values.ndim == 1:
        values = np.broadcast_to(values[:, None, None], (len(values), size, size))
    values = values.astype(options.pop("dtype", "uint16"))
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = rasterio.transform.Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    with rasterio.open(
        path, "w", driver="GTiff", count=values.shape[0], height=values.shape[1],
        width=values.shape[2], dtype=values.dtype, crs=crs, transform=transform, **options,
    ) as file:  # fmt: skip
        file.write(values)
        if scales:
            file.scales, file.offsets = scales, offsets
        for i, text in enumerate(described):
            file.set_band_description(i + 1, text)
    return path


DAYS = ("2020-08-05", "2020-08-15", "2020-08-25")
# A folder of each provider: names of two bands by date, their labels, and the hour.
LAYOUTS = {
    "sentinel_2": (
        "T33UUB_{d:%Y%m%d}T101031_{b}_10m.tif", ("B04", "B08"), "10:10:31"),
    "safe": (
        "S2A_MSIL2A_{d:%Y%m%d}T101031_N0214_R022_T33UUB_{d:%Y%m%d}T125432.SAFE/GRANULE/"
        "L2A_T33UUB_A0267/IMG_DATA/R10m/T33UUB_{d:%Y%m%d}T101031_{b}_10m.tif",
        ("B04", "B08"), "10:10:31"),
    "cogs": ("S2B_33UUB_{d:%Y%m%d}_0_L2A/{b}.tif", ("B04", "B8A"), "00:00:00"),
    "landsat": (
        "LC08_L2SP_190024_{d:%Y%m%d}_20200914_02_T1_{b}.TIF", ("SR_B4", "SR_B10"), "00:00:00"),
    "landsat_before_collections": (
        "LC8190024{d:%Y%j}LGN00_{b}.TIF", ("B4", "B5"), "00:00:00"),
    "hls": ("HLS.L30.T33UUB.{d:%Y%j}T100102.v2.0.{b}.tif", ("B04", "B05"), "10:01:02"),
    "hls_1": ("HLS.S30.T33UUB.{d:%Y%j}.v1.4_{b}.tif", ("B04", "B8A"), "00:00:00"),
    "modis": (
        "MOD09GA.A{d:%Y%j}.h18v04.061.2020240031234.{b}.tif",
        ("sur_refl_b01_1", "sur_refl_b02_1"), "00:00:00"),
    "appeears": (
        "MOD13Q1.061__250m_16_days_{b}_doy{d:%Y%j}_aid0001.tif", ("NDVI", "EVI"), "00:00:00"),
    "date_first": ("{d:%Y-%m-%d}_{b}.tif", ("B04", "B08"), "00:00:00"),
    "band_first": ("{b}_{d:%Y%m%d}.tif", ("B04", "B08"), "00:00:00"),
    "odc": ("{d:%Y-%m-%dT%H-%M-%SZ}_{b}.tif", ("red", "nir"), "00:00:00"),
    "year_and_day": ("scene_{d:%Y-%j}_{b}.tif", ("red", "nir"), "00:00:00"),
    "a_folder_a_band": ("{b}/{d:%Y%m%d}.tif", ("B04", "B08"), "00:00:00"),
    "a_folder_a_date": ("{d:%Y_%m_%d}/{b}.tif", ("red", "nir"), "00:00:00"),
    "words_that_no_one_knows": ("site1_{d:%Y%m%d}_{b}_v2.tif", ("slope", "roughness"), "00:00:00"),
}  # fmt: skip


def fill(folder, form, labels, days=DAYS, **options):
    """Write a folder in which band b of date i has the value 100 b + i + 1."""
    for i, day in enumerate(days):
        for b, label in enumerate(labels):
            date = datetime.datetime.fromisoformat(day)
            write(folder / form.format(d=date, b=label), 100 * b + i + 1, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_a_band_and_date_is_a_cube_with_labels(tmp_path, layout):
    form, labels, hour = LAYOUTS[layout]
    fill(tmp_path, form, labels, nodata=0)
    cube = open_cube(tmp_path)
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.band.values.tolist() == list(labels) or layout in ("appeears", "odc",
        "year_and_day", "a_folder_a_date", "words_that_no_one_knows")  # fmt: skip
    assert [str(t)[:19] for t in cube.time.values] == [f"{day}T{hour}" for day in DAYS]
    for b, label in enumerate(labels):
        at = cube.sel(band=label).isel(y=0, x=0)
        assert at.values.tolist() == [100 * b + 1, 100 * b + 2, 100 * b + 3]
    assert cube.rio.crs.to_epsg() == 32633
    assert not cube.stf.gapfill(method="linear").isnull().any()


@pytest.mark.parametrize("layout", ["sentinel_2", "modis", "date_first"])
def test_a_lazy_folder_is_the_same(tmp_path, layout):
    form, labels, _ = LAYOUTS[layout]
    fill(tmp_path, form, labels, nodata=0, size=5)
    lazy = open_cube(tmp_path, chunks=2)
    assert lazy.chunks == ((1, 1, 1), (1, 1), (2, 2, 1), (2, 2, 1))
    xr.testing.assert_identical(lazy.compute(), open_cube(tmp_path))


def test_one_band_has_no_band_dim(tmp_path):
    fill(tmp_path, "ndvi_{d:%Y%m%d}.tif", ["ndvi"])
    cube = open_cube(tmp_path)
    assert cube.dims == ("time", "y", "x")
    assert cube.band.item() == "ndvi"


def test_a_pattern_a_glob_a_list_and_a_band_pick(tmp_path):
    form, _, _ = LAYOUTS["sentinel_2"]
    fill(tmp_path, form, ["B02", "B04", "B08"])
    fill(tmp_path, form.replace("10m", "20m"), ["SCL"], size=2, pixel=20)
    want = open_cube(tmp_path, pattern="*_b0[48]_10M.TIF")
    assert want.band.values.tolist() == ["B04", "B08"]
    xr.testing.assert_identical(open_cube(f"{tmp_path}/*_B0[48]_*"), want)
    xr.testing.assert_identical(open_cube(sorted(tmp_path.glob("*_B0[48]_*"))), want)
    xr.testing.assert_identical(
        open_cube(tmp_path.parent, pattern=f"{tmp_path.name}/*_B0[48]_*"), want
    )
    one = open_cube(tmp_path, variable="SCL")
    assert one.dims == ("time", "y", "x")
    assert one.dtype == np.uint16
    with pytest.raises(OSError, match=r"no image that matches pattern='\*B11\*'; it has T33UUB"):
        open_cube(tmp_path, pattern="*B11*")
    with pytest.raises(OSError, match="no file matches"):
        open_cube(tmp_path / "*.jp2")
    with pytest.raises(ValueError, match=r"has no band 'B11'; it has \['B02', 'B04'"):
        open_cube(tmp_path, variable="B11")
    with pytest.raises(ValueError, match="picks files of a folder"):
        open_cube(next(tmp_path.iterdir()), pattern="*")


def test_layers_of_classes_lie_beside_the_bands(tmp_path):
    form, labels, _ = LAYOUTS["hls"]
    fill(tmp_path, form, labels, dtype="int16", nodata=-9999)
    fill(tmp_path, form, ["Fmask"], dtype="uint8", nodata=255)
    both = open_cube(tmp_path)
    assert list(both.data_vars) == ["B04", "B05", "Fmask"]
    assert both.Fmask.dtype == np.uint8
    assert both.Fmask.attrs["_FillValue"] == 255
    assert both.B04.dtype == np.float32
    assert both.rio.crs.to_epsg() == 32633


def test_pictures_are_left_out_and_said(tmp_path):
    form, labels, _ = LAYOUTS["sentinel_2"]
    fill(tmp_path, form, labels)
    write(tmp_path / "T33UUB_20200805T101031_TCI_10m.tif", [1, 2, 3])
    with pytest.warns(UserWarning, match="left out as pictures.*TCI"):
        assert open_cube(tmp_path).band.values.tolist() == ["B04", "B08"]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("modis", "landsat", r"MODIS 09GA: 6 files.*Landsat 8-9 level 2: 6 files|Landsat 8-9"),
        ("hls", "hls_1", r"HLS L30: 6 files \(HLS.L30.*HLS S30: 6 files.*pattern='\*L30\*'"),
        ("sentinel_2", "landsat", "several sensors.*pattern="),
    ],
)
def test_two_sensors_are_named(tmp_path, first, second, says):
    for layout in (first, second):
        fill(tmp_path, *LAYOUTS[layout][:2])
    with pytest.raises(ValueError, match=says):
        open_cube(tmp_path)


def test_landsats_whose_bands_mean_others_are_not_mixed(tmp_path):
    for sensor in ("LC08", "LE07"):
        fill(tmp_path, f"{sensor}_L2SP_190024_{{d:%Y%m%d}}_20200914_02_T1_{{b}}.TIF", ["SR_B4"])
    with pytest.raises(ValueError, match=r"Landsat 8-9 level 2.*Landsat 4-7 level 2.*'\*LC08\*'"):
        open_cube(tmp_path)


def test_terra_and_aqua_are_one_series(tmp_path):
    fill(tmp_path, "MOD13Q1.A{d:%Y%j}.h18v04.061.2020240031234.{b}.tif", ["NDVI"])
    days = [day.replace("5", "6") for day in DAYS]
    fill(tmp_path, "MYD13Q1.A{d:%Y%j}.h18v04.061.2020240031234.{b}.tif", ["NDVI"], days)
    assert open_cube(tmp_path).sizes["time"] == 6


def test_two_tiles_are_named(tmp_path):
    for tile, corner in (("33UUA", (5e5, 4.9e6)), ("33UUB", (5e5, 5e6))):
        fill(tmp_path, f"T{tile}_{{d:%Y%m%d}}T101031_{{b}}_10m.tif", ["B04"], corner=corner)
    with pytest.raises(ValueError, match=r"2 grids.*y 4900000.*tile 33UUA.*3 files.*'\*T33UUA\*'"):
        open_cube(tmp_path)
    assert open_cube(tmp_path, pattern="*T33UUA*").sizes["time"] == 3


def test_two_pixel_sizes_are_named(tmp_path):
    fill(tmp_path, "T33UUB_{d:%Y%m%d}T101031_{b}_10m.tif", ["B04"])
    fill(tmp_path, "T33UUB_{d:%Y%m%d}T101031_{b}_20m.tif", ["B11", "SCL"], size=2, pixel=20)
    with pytest.raises(ValueError, match=r"10 × 10.*B04.*20 × 20.*B11, SCL.*pattern='\*10m\*'"):
        open_cube(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"crs": "EPSG:32632"}, "EPSG:32632"), ({"size": 5}, "5 × 5 pixels"),
     ({"corner": (5e5 + 5, 5e6)}, "from x 500005")],
)  # fmt: skip
def test_what_grids_differ_in_is_said(tmp_path, change, says):
    write(tmp_path / "a_20200805.tif", 1)
    write(tmp_path / "a_20200815.tif", 1, **change)
    with pytest.raises(ValueError, match=f"2 grids.*{says}.*a_20200815.tif"):
        open_cube(tmp_path)


def test_rounded_corners_are_one_grid(tmp_path):
    write(tmp_path / "a_20200805.tif", 1)
    write(tmp_path / "a_20200815.tif", 1, corner=(5e5 + 1e-4, 5e6))
    assert open_cube(tmp_path).x.values.tolist() == [500005, 500015, 500025, 500035]


def test_two_looks_of_a_day_stay_two_and_equal_stamps_are_named(tmp_path):
    fill(tmp_path, "T33UUB_{d:%Y%m%d}T101031_{b}_10m.tif", ["B04"])
    fill(tmp_path, "T33UUB_{d:%Y%m%d}T101046_{b}_10m.tif", ["B04"])
    assert open_cube(tmp_path).sizes["time"] == 6
    write(tmp_path / "T33UUB_20200805T101031_B04_10m_v2.tif", 1)
    with pytest.raises(ValueError, match=r"2 images of B04 at 2020-08-05T10:10.*v2.tif.*mosaic"):
        open_cube(tmp_path)


def test_a_band_that_a_date_lacks_is_missing_there_and_said(tmp_path):
    fill(tmp_path, "{d:%Y-%m-%d}_{b}.tif", ["B04", "B08"])
    (tmp_path / "2020-08-15_B08.tif").unlink()
    with pytest.warns(UserWarning, match="no file for B08 on 2020-08-15"):
        cube = open_cube(tmp_path)
    assert cube.isel(y=0, x=0).sel(band="B08").isnull().values.tolist() == [False, True, False]
    assert not cube.sel(band="B04").isnull().any()
    with pytest.warns(UserWarning, match="no file for B08"):
        xr.testing.assert_identical(open_cube(tmp_path, chunks=2).compute(), cube)


def test_each_file_is_scaled_once_by_its_own_scale(tmp_path):
    write(tmp_path / "a_20200805.tif", [1000, 0], nodata=0, scales=(1e-4, 1e-3), offsets=(0, 0.5))
    write(tmp_path / "a_20200815.tif", [1000, 7], nodata=0, scales=(1e-3, 1e-3), offsets=(-0.1, 0))
    cube = open_cube(tmp_path)
    np.testing.assert_allclose(cube[:, :, 0, 0], [[0.1, np.nan], [0.9, 0.007]], rtol=1e-6)
    assert not {"scale_factor", "add_offset", "scales", "offsets"} & set(cube.attrs)
    filled = cube.stf.gapfill(method="nearest")
    np.testing.assert_allclose(filled[:, :, 0, 0], [[0.1, 0.007], [0.9, 0.007]], rtol=1e-6)
    save_cube(cube, tmp_path / "out.nc")
    np.testing.assert_allclose(open_cube(tmp_path / "out.nc"), cube, rtol=1e-6)


def test_whole_numbers_without_a_code_for_missing_stay_whole(tmp_path):
    fill(tmp_path, "{d:%Y-%m-%d}_{b}.tif", ["B04", "B08"])
    assert open_cube(tmp_path).dtype == np.uint16


@pytest.mark.parametrize("one_a_date", [True, False])
def test_descriptions_of_bands_are_labels(tmp_path, one_a_date):
    write(tmp_path / "a_20200805.tif", [1, 2], described=("red", "nir"))
    if one_a_date:  # in another order
        write(tmp_path / "a_20200815.tif", [20, 10], described=("nir", "red"))
    cube = open_cube(tmp_path if one_a_date else tmp_path / "a_20200805.tif")
    assert cube.band.values.tolist() == ["red", "nir"]
    assert "long_name" not in cube.attrs
    want = [[1, 2], [10, 20]] if one_a_date else [1, 2]
    np.testing.assert_array_equal(cube[..., 0, 0], want)


def test_files_with_other_numbers_of_bands_are_named(tmp_path):
    write(tmp_path / "a_20200805.tif", [1, 2])
    write(tmp_path / "a_20200815.tif", [1, 2, 3])
    with pytest.raises(ValueError, match=r"2 bands: 1 file \(a_20200805.*3 bands: 1 file"):
        open_cube(tmp_path)


def test_folders_beside_images_are_said(tmp_path):
    fill(tmp_path, "{d:%Y-%m-%d}_{b}.tif", ["B04"])
    write(tmp_path / "old" / "2019-08-05_B04.tif", 1)
    with pytest.warns(UserWarning, match=r"folders old hold 1 more, which are not read"):
        assert open_cube(tmp_path).sizes["time"] == 3
    assert open_cube(tmp_path, pattern="*").sizes["time"] == 3
    assert open_cube(tmp_path, pattern="**/*").sizes["time"] == 4


def test_a_folder_of_other_files_says_what_it_holds(tmp_path):
    (tmp_path / "MOD09GA.A2020218.h18v04.061.hdf").touch()
    with pytest.raises(OSError, match=r"holds no GeoTIFF.*it has \.hdf: 1 file"):
        open_cube(tmp_path)
    write(tmp_path / "a_20200805.tif", 1)
    (tmp_path / "a_20200815.nc").touch()
    with pytest.raises(ValueError, match=r"several kinds: \.tif: 1 file.*pattern='\*\.tif'"):
        open_cube(tmp_path)
    (tmp_path / "a_20200805.tif").write_text("<html>404</html>")
    with pytest.raises(OSError, match=r"a_20200805\.tif cannot be read as an image"):
        open_cube(tmp_path, pattern="*.tif")


@pytest.mark.parametrize("bad", ["20201305", "20200230", "2020367", "18990101"])
def test_numbers_that_are_no_date_are_none(tmp_path, bad):
    write(tmp_path / f"a_{bad}.tif", 1)
    with pytest.raises(ValueError, match=f"no date .* in the name of .*{bad}"):
        open_cube(tmp_path)


# --- folders of NetCDF files ------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, 20])
@pytest.mark.parametrize("own_time", [True, False])
def test_a_netcdf_file_a_date_is_one_cube(tmp_path, own_time, chunks):
    fine = xstf.scenes.landsat_modis(size=30).fine
    for date in fine.time.values:
        one = fine.sel(time=[date]) if own_time else fine.sel(time=date, drop=True)
        one.to_netcdf(tmp_path / f"scene_{str(date)[:10]}.nc")
    cube = open_cube(tmp_path, chunks=chunks)
    xr.testing.assert_equal(cube.transpose(*fine.dims).compute(), fine.compute())
    assert cube.rio.crs.to_epsg() == 32633
    assert (cube.chunks is not None) == bool(chunks)
    cube.close()


def test_a_netcdf_file_a_band_and_date(tmp_path):
    fine = xstf.scenes.landsat_modis(size=30).fine
    names = [str(b) for b in fine.band.values]
    for date in fine.time.values:
        for b, name in enumerate(names):
            one = fine.sel(time=[date]).isel(band=b, drop=True).rename(name)
            one.to_netcdf(tmp_path / f"{name}_{str(date)[:10]}.nc")
    cube = open_cube(tmp_path)
    assert sorted(cube.data_vars) == sorted(names)
    np.testing.assert_array_equal(cube[names[0]], fine.isel(band=0))
    (tmp_path / f"{names[0]}_{str(fine.time.values[0])[:10]}.nc").unlink()
    with pytest.warns(UserWarning, match="not all variables have all dates"):
        assert open_cube(tmp_path)[names[0]].isnull()[0].all()


def test_netcdf_files_on_two_grids_or_of_one_date_are_named(tmp_path):
    fine = xstf.scenes.landsat_modis(size=30).fine
    fine[:1].to_netcdf(tmp_path / "a.nc")
    fine[1:2, :, 1:].to_netcdf(tmp_path / "b.nc")
    with pytest.raises(ValueError, match=r"2 frames.*30 y.*a\.nc.*29 y.*b\.nc"):
        open_cube(tmp_path)
    fine[:1].to_netcdf(tmp_path / "b.nc")
    with pytest.raises(ValueError, match=r"several images at 2021-04-07.*a\.nc, b\.nc.*mosaic"):
        open_cube(tmp_path)


def test_baselines_with_and_without_an_offset_are_said(tmp_path):
    form, labels, _ = LAYOUTS["safe"]
    fill(tmp_path, form, labels, days=DAYS[:2])
    assert open_cube(tmp_path).sizes["time"] == 2
    fill(tmp_path, form.replace("N0214", "N0400"), labels, days=DAYS[2:])
    with pytest.warns(UserWarning, match="before 04.00 .*larger numbers, by 1000"):
        open_cube(tmp_path)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("chunks", [None, 7])
@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3")
def test_what_was_opened_is_written_again(tmp_path, suffix, chunks):
    """The layout of the first file (contiguous, chunks) does not bind the second."""
    if suffix == ".zarr":
        pytest.importorskip("zarr", reason="needs zarr")
    fine = xstf.scenes.landsat_modis(size=30).fine
    fine.to_netcdf(tmp_path / "plain.nc")  # contiguous
    save_cube(fine.chunk(y=16), tmp_path / "a.zarr") if suffix == ".zarr" else None
    for first in ("plain.nc", *(["a.zarr"] if suffix == ".zarr" else [])):
        cube = open_cube(tmp_path / first, chunks=chunks)
        save_cube(cube, tmp_path / f"out{suffix}", overwrite=True)
        xr.testing.assert_equal(open_cube(tmp_path / f"out{suffix}"), fine)
        cube.close()


def test_classes_of_a_folder_become_a_mask(tmp_path):
    """The whole way: bands and SCL of a folder, masked, filled, written."""
    form, _, _ = LAYOUTS["sentinel_2"]
    fill(tmp_path / "s2", form.replace("10m", "20m"), ["B04", "B8A"], nodata=0)
    cloudy = np.full((1, 4, 4), 4)
    cloudy[0, :2] = 9
    for day, classes in zip(DAYS, (4, cloudy, 4), strict=True):
        date = datetime.datetime.fromisoformat(day)
        name = form.replace("10m", "20m").format(d=date, b="SCL")
        write(tmp_path / "s2" / name, classes, dtype="uint8", nodata=0)
    cube = open_cube(tmp_path / "s2")
    filled = cube.stf.gapfill(mask=xstf.masks.scl(cube.SCL), method="linear")
    np.testing.assert_allclose(filled.B8A[:, 0, 0], [101, 102, 103], rtol=1e-6)
    np.testing.assert_array_equal(filled.SCL, cube.SCL)
    save_cube(filled, tmp_path / "out.nc")
    assert open_cube(tmp_path / "out.nc").rio.crs.to_epsg() == 32633


def test_angles_lie_beside_the_bands(tmp_path):
    form, labels, _ = LAYOUTS["hls"]
    fill(tmp_path, form, labels, dtype="int16", nodata=-9999)
    for day in DAYS:
        date = datetime.datetime.fromisoformat(day)
        options = {"nodata": 40000, "scales": (0.01,), "offsets": (0.0,)}
        write(tmp_path / form.format(d=date, b="SZA"), 3000, **options)
    both = open_cube(tmp_path)
    assert list(both.data_vars) == ["B04", "B05", "SZA"]
    np.testing.assert_allclose(both.SZA, 30, rtol=1e-6)


def test_a_mask_on_a_grid_of_its_own_is_told_what_to_do_with(tmp_path):
    fill(tmp_path, "T33UUB_{d:%Y%m%d}T101031_{b}_10m.tif", ["B04"])
    fill(tmp_path, "T33UUB_{d:%Y%m%d}T101031_{b}_20m.tif", ["SCL"], size=2, pixel=20)
    with pytest.raises(ValueError, match="layers of classes on a grid of their own.*mask="):
        open_cube(tmp_path)
    mask = xstf.masks.scl(open_cube(tmp_path, variable="SCL"))
    cube = open_cube(tmp_path, pattern="*B04*")
    assert cube.stf.gapfill(mask=mask, method="linear").sizes == cube.sizes


# --- names, drawn -----------------------------------------------------------------------------

FORMS = (
    ("{:%Y%m%d}", 0), ("{:%Y-%m-%d}", 0), ("{:%Y_%m_%d}", 0), ("{:%Y.%m.%d}", 0), ("A{:%Y%j}", 0),
    ("doy{:%Y%j}", 0), ("{:%Y%j}", 0), ("{:%Y-%j}", 0), ("{:%Y%m%dT%H%M%S}", 1),
    ("{:%Y-%m-%dT%H-%M-%SZ}", 1), ("{:%Y%m%d_%H%M%S}", 1), ("{:%Y%m%d%H%M%S}", 1),
    ("{:%Y%jT%H%M%S}", 1), ("doy{:%Y%j%H%M%S}", 1),
)  # fmt: skip
WORDS = st.sampled_from(
    ["", "site", "T33UUB", "B04", "250m", "v2", "h18v04", "NDVI", "L2A", "3B", "scene7", "NDVI300"]
)


@given(
    st.datetimes(datetime.datetime(1972, 1, 1), datetime.datetime(2079, 12, 31)),
    st.sampled_from(FORMS), WORDS, WORDS, st.sampled_from("_.-"),
)  # fmt: skip
def test_a_date_is_found_in_any_form_between_any_words(date, form, before, after, sign):
    text, clock = form
    name = sign.join(part for part in (before, text.format(date), after) if part)
    found = find_date(name)
    assert found is not None
    want = date.replace(microsecond=0)
    if not clock:
        want = want.replace(hour=0, minute=0, second=0)
    assert found[0] == np.datetime64(want, "ns")


@given(st.text("0123456789_-.TAb", max_size=24))
def test_no_name_is_too_odd_to_read(name):
    found = find_date(name)
    if found is not None:
        assert np.datetime64("1970") <= found[0] < np.datetime64("2100")
    named = read_name(Path("/data") / f"x{name}.tif", Path("/data"))
    assert named.stamp is None or named.stamp == find_date(f"x{name}")[0]


@pytest.mark.parametrize(
    ("name", "label", "kind"),
    [
        ("cloud_free_2020-08-05_B04", "B04", "band"),
        ("2020-08-05_B04_cloud_mask", "cloud_mask", "class"),
        ("T33UUB_20200805T101031_SCL_20m", "SCL", "class"),
        ("MSK_DETFOO_B04_20200805", "MSK_DETFOO_B04", "class"),
        ("LC08_L2SP_190024_20200805_20200914_02_T1_SR_QA_AEROSOL", "SR_QA_AEROSOL", "class"),
        ("LC08_L2SP_190024_20200805_20200914_02_T1_QA_PIXEL", "QA_PIXEL", "class"),
        ("LC08_L2SP_190024_20200805_20200914_02_T1_ST_B10", "ST_B10", "band"),
        ("HLS.L30.T33UUB.2020218T100000.v2.0.Fmask", "Fmask", "class"),
        ("HLS.L30.T33UUB.2020218T100000.v2.0.SAA", "SAA", "angle"),
        ("MOD09GA.A2020218.h18v04.061.2020220031234.state_1km_1", "state_1km_1", "class"),
        ("MOD13Q1.061__250m_16_days_VI_Quality_doy2020218_aid0001", "VI_Quality", "class"),
        ("20200805_101031_87_2262_3B_udm2", "udm2", "class"),
        ("20200805_101031_87_2262_3B_AnalyticMS_SR", None, "band"),
        ("20200805_101031_ssc1_u0001_visual", "visual", "picture"),
        ("S1A_IW_20200805T165812_VV", "VV", "band"),
        ("cl_20200805", None, "band"),
    ],
)
def test_names_say_what_a_layer_is(name, label, kind):
    named = read_name(Path("/data") / f"{name}.tif", Path("/data"))
    assert (named.band, named.kind) == (label, kind)
    assert str(named.stamp)[:10] == "2020-08-05" or "MSK" in name


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
@pytest.mark.filterwarnings("ignore:.*")  # of GDAL, on tags that it cannot read
def test_a_truncated_image_is_named(tmp_path, share):
    noise = np.random.default_rng(0).random((1, 60, 60))
    path = write(tmp_path / "a_20200805.tif", noise, dtype="float32", compress="deflate")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    for source in (path, tmp_path):
        with pytest.raises(OSError, match=r"a_20200805\.tif cannot be read"):
            open_cube(source)


@pytest.mark.parametrize(
    ("names", "sensor"),
    [
        (
            ("S2A_20200805_B04.tif", "s2b-2020-08-10-b04.tif", "sentinel2_2020-08-15.tif"),
            "Sentinel-2",
        ),
        (("L8_2020068_kranj.tif", "LC09_2020084.tif", "OLI_2020100.tif"), "Landsat 8-9"),
        (("L7_2020068.tif", "le07_2020084.tif"), "Landsat 4-7"),
        (("MOD_2020068.tif", "MODIS_2020069.tif", "myd-2020070.tif"), "MODIS"),
    ],
)
def test_short_names_of_satellites_mean_their_sensor(names, sensor):
    assert {find_sensor(Path(name).stem) for name in names} == {sensor}


def test_images_with_and_without_a_sensor_in_their_names_are_told_apart(tmp_path):
    for name in ("MODIS_2020068", "MODIS_2020069", "plain_2020068", "plain_2020084"):
        write(tmp_path / f"{name}.tif", np.full((1, 6, 6), 500, "i2"))
    with pytest.raises(ValueError, match="several sensors.*MODIS: 2 files.*no sensor named: 2"):
        open_cube(tmp_path)


def test_what_lies_beside_radar_is_no_band(tmp_path):
    form = "S1A_IW_{d:%Y%m%d}T170000_DVP_RTC10_G_gpuned_ABCD_{b}.tif"
    fill(tmp_path, form, ("VH", "VV", "ls_map", "inc_map", "area", "dem"))
    fill(tmp_path, form, ("rgb",))
    with pytest.warns(UserWarning, match="left out as pictures.*rgb"):
        both = open_cube(tmp_path)
    assert set(both.data_vars) == {"VH", "VV", "ls_map", "inc_map", "area", "dem"}
    assert both.ls_map.dtype == np.uint16


def test_an_image_that_breaks_off_is_named(tmp_path):
    for day in ("20200805", "20200815"):
        write(tmp_path / f"{day}.tif", 1, size=64)
    path = tmp_path / "20200815.tif"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(OSError, match=f"{path.name} cannot be read"):
        open_cube(tmp_path)
