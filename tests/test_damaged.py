"""Damaged files are said in one line, with the path, at opening or where values are read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.files import open_cube, save_cube

FINE = xstf.scenes.landsat_modis(size=30).fine


def damage(path, how):
    """Cut a file short, or change bytes in the middle of its values."""
    if path.is_dir():
        path = max((p for p in path.rglob("c/**/*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[: len(data) * 2 // 3]
    else:
        at = len(data) * 3 // 4
        data[at : at + 64] = bytes(255 - b for b in data[at : at + 64])
    path.write_bytes(data)


@pytest.mark.parametrize("chunks", [None, 16])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("cube.nc", "truncated"), ("cube.nc", "changed"), ("cube.zarr", "truncated"),
        ("cube.zarr", "changed"), ("cube.tif", "truncated"),  # GeoTIFFs have no checksums
    ],
)  # fmt: skip
def test_damaged_files_are_said_in_one_line(tmp_path, name, how, chunks):
    pytest.importorskip("zarr", reason="needs zarr")
    path = tmp_path / name
    image = FINE[0].drop_vars("time")
    if name.endswith(".zarr"):
        xstf.store.to_zarr(image, path, progress=False)  # with checksums
    else:
        save_cube(image, path)
    damage(path, how)
    with pytest.raises(OSError, match=rf"{path} cannot be read") as caught:
        open_cube(path, chunks=chunks).compute(scheduler="synchronous")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [{}, {"dtype": "int16", "scale": 1e-4}])
def test_a_store_that_has_lost_a_chunk(tmp_path, given):
    """Packed, its pixels were 0."""
    path = tmp_path / "cube.zarr"
    save_cube(FINE.chunk(time=1), path, **given)
    np.testing.assert_allclose(open_cube(path), FINE, atol=1e-4)
    (path / str(FINE.name) / "c" / "1" / "0" / "0" / "0").unlink()
    with pytest.warns(UserWarning, match=r"cube.zarr has lost chunks \(1 of reflectance\)") as said:
        cube = open_cube(path)
    assert said[0].filename == __file__
    assert np.isnan(cube[1]).all()
    np.testing.assert_allclose(cube[0], FINE[0], atol=1e-4)
    (path / "x" / "c" / "0").unlink()
    with pytest.raises(OSError, match=r"cube.zarr.*x has lost"):
        open_cube(path)


def test_a_store_that_is_none(tmp_path):
    pytest.importorskip("zarr", reason="needs zarr")
    (tmp_path / "cube.zarr").mkdir()
    with pytest.raises(OSError, match=r"cube\.zarr cannot be read as a Zarr store"):
        open_cube(tmp_path / "cube.zarr")
    save_cube(FINE, tmp_path / "b.zarr")
    (tmp_path / "b.zarr" / "reflectance" / "zarr.json").write_text('{"shape": [')
    with pytest.raises(OSError, match=r"b\.zarr cannot be read as a Zarr store"):
        open_cube(tmp_path / "b.zarr")


def test_a_damaged_input_is_named_and_not_the_output(tmp_path):
    save_cube(FINE, tmp_path / "in.nc")
    cube = open_cube(tmp_path / "in.nc", chunks=16)
    damage(tmp_path / "in.nc", "changed")
    with pytest.raises(OSError, match=r"in\.nc cannot be read") as caught:
        save_cube(cube + 1, tmp_path / "out.nc")
    assert "out.nc" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["in.nc"]


def test_names_of_lazy_cubes_are_the_same_again(tmp_path):
    pytest.importorskip("rasterio", reason="needs rioxarray")
    pytest.importorskip("zarr", reason="needs zarr")
    image = FINE[0].drop_vars("time")
    for name in ("cube.nc", "cube.zarr", "cube.tif"):
        save_cube(image, tmp_path / name)
        first, second = (open_cube(tmp_path / name, chunks=16) for _ in range(2))
        assert first.data.name == second.data.name
        save_cube(image + 1, tmp_path / name, overwrite=True)
        third = open_cube(tmp_path / name, chunks=16)
        assert third.data.name != first.data.name
        for cube in (first, second, third):
            cube.close()


def test_a_store_of_many_dates_a_chunk_is_read_once(tmp_path):
    """Chunks of the store first, then the caller's."""
    pytest.importorskip("zarr", reason="needs zarr")
    FINE.to_dataset(name="r").drop_vars("band").to_zarr(tmp_path / "c.zarr", consolidated=False)
    lazy = open_cube(tmp_path / "c.zarr", chunks=16)
    assert lazy.chunks[0] == (1,) * FINE.sizes["time"]
    made = [k for k in dict(lazy.__dask_graph__()) if str(k[0]).startswith("xarray-<this-array>")]
    assert len(made) == 1


@pytest.mark.parametrize("part", [0, 0.001, 0.5, 0.95])
@pytest.mark.parametrize("name", ["cube.nc", "classic.nc", "image.tif"])
def test_truncated_files_are_said(tmp_path, name, part):
    path = tmp_path / name
    if name == "classic.nc":
        plain = xr.Dataset({"r": (FINE.dims, FINE.values)}, {"time": FINE.time.values})
        plain.to_netcdf(path, format="NETCDF3_64BIT", engine="netcdf4")
        open_cube(path)  # whole, it is read
    else:
        save_cube(FINE[0], path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    for chunks in (None, 16):
        with pytest.raises(OSError, match=rf"{path} cannot be read") as caught:
            open_cube(path, chunks=chunks).compute(scheduler="synchronous")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "<!DOCTYPE html><html>404</html>", "x,y\n1,2\n"])
@pytest.mark.parametrize("suffix", [".nc", ".tif", ".zarr"])
def test_other_things_named_as_files_of_data_are_said(tmp_path, text, suffix):
    path = tmp_path / f"cube{suffix}"
    path.write_text(text)
    with pytest.raises(OSError, match=rf"{path} cannot be read") as caught:
        open_cube(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_without_metadata_is_said(tmp_path, version):
    pytest.importorskip("zarr", reason="needs zarr")
    plain = FINE.drop_vars(["band", "spatial_ref"], errors="ignore").to_dataset(name="r")
    plain.to_zarr(tmp_path / "c.zarr", zarr_format=version, consolidated=False)
    (tmp_path / "c.zarr" / "r" / ("zarr.json" if version == 3 else ".zarray")).unlink()
    with pytest.raises(OSError, match=r"c\.zarr cannot be read .*metadata of r is missing"):
        open_cube(tmp_path / "c.zarr")


@pytest.mark.parametrize("name", ["fine.nc", "fine.zarr", "fine"])
def test_a_verb_names_its_damaged_input(tmp_path, name):
    pytest.importorskip("zarr", reason="needs zarr")
    scene = xstf.scenes.landsat_modis(size=30)
    save_cube(scene.fine, tmp_path / name)
    fine = open_cube(tmp_path / name, chunks=30)
    wrong = tmp_path / name
    if name == "fine":
        wrong = sorted(wrong.iterdir())[0]
        wrong.write_bytes(wrong.read_bytes()[:5000])
    else:
        damage(wrong, "changed")
    with pytest.raises(OSError, match=rf"{wrong} cannot be read"):
        fine.stf.fuse(scene.coarse, method="starfm").compute(scheduler="synchronous")


def test_a_cube_that_xarray_opened_is_named_where_a_verb_reads_it(tmp_path):
    save_cube(FINE, tmp_path / "cube.nc")
    damage(tmp_path / "cube.nc", "changed")
    coarse = xstf.scenes.landsat_modis(size=30).coarse
    with (
        xr.open_dataarray(tmp_path / "cube.nc", decode_coords="all") as cube,
        pytest.raises(OSError, match=r"fine cannot be read from .*cube\.nc, it may be damaged"),
    ):
        cube.stf.fuse(coarse, method="starfm")
