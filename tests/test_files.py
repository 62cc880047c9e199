"""Cubes from files and back."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.files import open_cube, save_cube


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
    with pytest.raises(ValueError, match=r"out\.tif: write to a \.nc file or a \.zarr store"):
        save_cube(scene[0], tmp_path / "out.tif")
