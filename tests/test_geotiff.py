"""Cubes as GeoTIFFs, and back: values, dates, bands, grids."""

from __future__ import annotations

import numpy as np
import pytest
from written import FINE, failing, files_of

from xstf.files import open_cube, save_cube


@pytest.mark.parametrize("lazy", [False, True])
def test_a_folder_of_geotiffs(tmp_path, lazy):
    rasterio = pytest.importorskip("rasterio", reason="needs rioxarray")
    save_cube(FINE.chunk(y=16) if lazy else FINE, tmp_path / "fused")
    names = sorted(p.name for p in (tmp_path / "fused").iterdir())
    assert names == [f"reflectance_{d}.tif" for d in FINE.time.dt.strftime("%Y%m%d").values]
    back = open_cube(tmp_path / "fused")
    np.testing.assert_array_equal(back.values, FINE.values)
    assert back.band.values.tolist() == FINE.band.values.tolist()
    assert back.rio.crs == FINE.rio.crs
    with rasterio.open(tmp_path / "fused" / names[0]) as file:
        assert np.isnan(file.nodata)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_cube(FINE, tmp_path / "fused")
    (tmp_path / "fused" / "old_20200101.tif").touch()
    with pytest.raises(FileExistsError, match=r"did not write \(old_20200101\.tif\)"):
        save_cube(FINE, tmp_path / "fused", overwrite=True)


def test_overviews_and_dates_in_names(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="needs rioxarray")
    at = np.arange(1100) % 30
    image = FINE[:2, :1].isel(y=at, x=at).assign_coords(y=5e6 - 10.0 * np.arange(1100),
                                                        x=5e5 + 10.0 * np.arange(1100))  # fmt: skip
    save_cube(image.chunk(y=600, x=600), tmp_path / "out.tif", dtype="float32")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [f"out_{d}.tif" for d in image.time.dt.strftime("%Y%m%d").values]
    with rasterio.open(tmp_path / names[0]) as file:
        assert file.overviews(1)
    np.testing.assert_array_equal(open_cube(tmp_path).values, image.values)


def test_a_dataset_of_bands_is_one_file_a_date(tmp_path):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    bands = FINE.to_dataset("band")
    save_cube(bands, tmp_path / "fused")
    assert len(list((tmp_path / "fused").iterdir())) == FINE.sizes["time"]
    np.testing.assert_array_equal(open_cube(tmp_path / "fused").values, FINE.values)


def test_quality_gets_files_of_its_own(tmp_path):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    filled = FINE.stf.gapfill(method="linear", return_quality=True)
    save_cube(filled, tmp_path / "filled")
    names = {p.stem.rsplit("_", 1)[0] for p in (tmp_path / "filled").iterdir()}
    assert names == set(filled.data_vars)


def test_a_failed_geotiff_leaves_what_was_there(tmp_path):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    save_cube(FINE[0], tmp_path / "cube.tif")
    before = files_of(tmp_path)
    with pytest.raises(MemoryError):
        save_cube(failing(MemoryError())[0], tmp_path / "cube.tif", overwrite=True)
    assert files_of(tmp_path) == before
    cube = open_cube(tmp_path / "cube.tif", chunks=16)
    with pytest.raises(ValueError, match="what the cube is read from"):
        save_cube(cube, tmp_path / "cube.tif", overwrite=True)
    cube.close()


@pytest.mark.parametrize("name", ["mask", "x20200101", "a/b c"])
def test_whatever_its_name_a_cube_reads_back(tmp_path, name):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    for one in (FINE, FINE[:, 0], FINE[:1], FINE[:, 0].drop_vars("band")):
        save_cube(one.rename(name), tmp_path / "cube", overwrite=True)
        back = open_cube(tmp_path / "cube")
        assert back.dims == one.dims
        np.testing.assert_array_equal(back.values, one.values)
        for label in {"time", "band", "y", "x"} & set(one.coords):
            np.testing.assert_array_equal(back[label].values, one[label].values)


def test_times_of_day_read_back(tmp_path):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    noon = FINE.assign_coords(time=FINE.time + np.timedelta64(37261, "s"))
    save_cube(noon, tmp_path / "noon")
    assert "reflectance_20210407T102101.tif" in {p.name for p in (tmp_path / "noon").iterdir()}
    np.testing.assert_array_equal(open_cube(tmp_path / "noon").time, noon.time)
    save_cube(noon[0], tmp_path / "one.tif")
    assert open_cube(tmp_path / "one.tif").time == noon.time[0]
    for wrong in (FINE.drop_vars("time"), FINE.isel(x=[0, 1, 5]), FINE.astype(str)):
        with pytest.raises(ValueError, match="GeoTIFFs"):
            save_cube(wrong, tmp_path / "wrong")


@pytest.mark.parametrize("packing", [{}, {"dtype": "int16", "scale": 1e-4}])
def test_quality_reads_back(tmp_path, packing):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    filled = FINE.chunk(y=16).stf.gapfill(method="linear", return_quality=True)
    save_cube(filled, tmp_path / "filled", **packing)
    back = open_cube(tmp_path / "filled", chunks=16)
    assert set(back.data_vars) == set(filled.data_vars)
    for name, layer in filled.data_vars.items():
        assert back[name].dims == layer.dims
        assert back[name].dtype == layer.dtype
        limit = 0.5001e-4 if packing and layer.dtype.kind == "f" else 0
        np.testing.assert_allclose(back[name].values, layer.values, rtol=0, atol=limit)
    back.close()


def test_dates_of_one_chunk_are_computed_together(tmp_path):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    count = []

    def counted(block):
        count.append(1)
        return block

    cube = FINE.chunk(time=-1, y=15)
    lazy = cube.data.map_blocks(counted, dtype="f4", meta=np.empty((0,) * 4, "f4"))
    save_cube(cube.copy(data=lazy), tmp_path / "cube")
    assert len(count) == 2
