"""What is written is whole or not there; what a cube is read from is never written onto."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.files import open_cube, save_cube

FINE = xstf.scenes.landsat_modis(size=30).fine


def files_of(path):
    """Return what is in a file or folder."""
    path = Path(path)
    if path.is_file():
        return path.read_bytes()
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture(params=[".nc", ".zarr"])
def stored(request, tmp_path):
    """A file or store with a cube."""
    pytest.importorskip("zarr", reason="needs zarr")
    path = tmp_path / "in" / f"cube{request.param}"
    path.parent.mkdir()
    save_cube(FINE, path)
    return path


def lazily(path):
    return open_cube(path, chunks=16)


def with_xarray(path):
    if path.suffix == ".nc":
        return xr.open_dataset(path, decode_coords="all", chunks={})["reflectance"]
    return xr.open_zarr(path, consolidated=False, decode_coords="all")["reflectance"]


def not_dask(path):
    """Read when it is looked at, without dask."""
    if path.suffix == ".nc":
        return xr.open_dataset(path, decode_coords="all", cache=False)["reflectance"]
    return xr.open_zarr(path, consolidated=False, decode_coords="all", chunks=None)["reflectance"]


def chunked_after(path):
    return not_dask(path).chunk(y=16)


def derived(path):
    return lazily(path).chunk(time=-1).stf.gapfill(method="linear")


def settled(path):
    """A method with states of the whole image."""
    return lazily(path).stf.fuse(xstf.scenes.landsat_modis(size=30).coarse, method="fsdaf")


def delayed(path):
    """Read by a function of the caller's that is given the path."""
    import dask
    import dask.array as da

    def read(name):
        return open_cube(name).values

    data = da.from_delayed(dask.delayed(read)(str(path)), FINE.shape, FINE.dtype)
    return FINE.copy(data=data)


def captured(path):
    """Read by a function that knows the path."""
    import dask.array as da

    def block(block_info=None):
        return open_cube(path).values

    return FINE.copy(data=da.map_blocks(block, chunks=[(n,) for n in FINE.shape], dtype="f4"))


READERS = (
    lazily, with_xarray, not_dask, chunked_after, derived, settled, delayed, captured,
)  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_a_result_is_not_written_onto_its_input(stored, reader):
    before, cube = files_of(stored), reader(stored)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="what the cube is read from"):
            save_cube(cube, stored, overwrite=overwrite)
    assert files_of(stored) == before
    cube.close()


def test_nor_through_links_relative_paths_or_folders(stored, tmp_path, monkeypatch):
    cube = lazily(stored)
    link, folder = tmp_path / f"link{stored.suffix}", tmp_path / "folder"
    link.symlink_to(stored)
    folder.symlink_to(stored.parent)
    monkeypatch.chdir(stored.parent)
    ways = [
        link, folder / stored.name, stored.name, f"./{stored.name}", f"../in/{stored.name}",
        stored.parent / "." / stored.name, f"file://{stored}",
    ]  # fmt: skip
    if stored.suffix == ".nc":
        os.link(stored, tmp_path / "hard.nc")
        ways.append(tmp_path / "hard.nc")
    else:
        ways += [stored / "inside.zarr", stored / "out.nc"]
    for way in ways:
        with pytest.raises(ValueError, match="what the cube is read from"):
            save_cube(cube, way, overwrite=True)
    cube.close()


def test_nor_onto_a_folder_that_holds_an_input(tmp_path):
    pytest.importorskip("zarr", reason="needs zarr")
    folder = tmp_path / "folder.zarr"
    (folder / "deep").mkdir(parents=True)
    save_cube(FINE, folder / "deep" / "cube.nc")
    cube = lazily(folder / "deep" / "cube.nc")
    with pytest.raises(ValueError, match="what the cube is read from"):
        save_cube(cube, folder, overwrite=True)
    cube.close()


def test_an_input_that_was_opened_through_a_link_is_found(stored, tmp_path):
    link = tmp_path / f"link{stored.suffix}"
    link.symlink_to(stored)
    cube = lazily(link)
    with pytest.raises(ValueError, match="what the cube is read from"):
        save_cube(cube, stored, overwrite=True)
    cube.close()


def test_a_neighbour_of_the_input_is_none(stored):
    cube = lazily(stored)
    out = stored.with_name(f"{stored.stem}2{stored.suffix}")
    save_cube(cube, out)
    xr.testing.assert_identical(open_cube(out), open_cube(stored))
    cube.close()


def test_a_cube_in_memory_may_replace_its_file(stored):
    cube = open_cube(stored)
    save_cube(cube + 1, stored, overwrite=True)
    np.testing.assert_array_equal(open_cube(stored), cube + 1)


def test_memory_maps_are_inputs(tmp_path):
    np.save(tmp_path / "values.npy", FINE.values)
    cube = FINE.copy(data=np.load(tmp_path / "values.npy", mmap_mode="r"))
    os.link(tmp_path / "values.npy", tmp_path / "values.nc")
    with pytest.raises(ValueError, match="what the cube is read from"):
        save_cube(cube, tmp_path / "values.nc", overwrite=True)


def test_what_is_there_is_replaced_when_asked_only(stored):
    before = files_of(stored)
    with pytest.raises(FileExistsError, match=r"overwrite=True .*cube"):
        save_cube(FINE + 1, stored)
    assert files_of(stored) == before
    save_cube(FINE + 1, stored, overwrite=True)
    np.testing.assert_array_equal(open_cube(stored), FINE + 1)
    assert sorted(p.name for p in stored.parent.iterdir()) == [stored.name]


def test_a_link_stays_a_link(stored, tmp_path):
    link = tmp_path / f"link{stored.suffix}"
    link.symlink_to(stored)
    save_cube(FINE + 1, link, overwrite=True)
    assert link.is_symlink()
    np.testing.assert_array_equal(open_cube(stored), FINE + 1)


def failing(kind):
    """Return a cube whose last chunk raises when it is computed."""
    import dask.array as da

    def block(block_info=None):
        if block_info[None]["chunk-location"][1] == 1:
            raise kind
        return np.zeros(block_info[None]["chunk-shape"], "f4")

    chunks = [(n,) for n in FINE.shape]
    chunks[1] = (FINE.shape[1] - 1, 1)
    return FINE.copy(data=da.map_blocks(block, chunks=chunks, dtype="f4", meta=np.empty(0, "f4")))


@pytest.mark.parametrize(
    "kind", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), MemoryError("no"), ValueError("no")]
)
def test_a_failed_write_leaves_what_was_there(stored, kind):
    before = files_of(stored)
    text = f"no space is left on the disk.*{stored.stem}" if isinstance(kind, OSError) else "no"
    with pytest.raises(type(kind), match=text):
        save_cube(failing(kind), stored, overwrite=True)
    assert files_of(stored) == before
    assert sorted(p.name for p in stored.parent.iterdir()) == [stored.name]


def test_a_missing_folder_is_said(tmp_path):
    for name in ("cube.nc", "cube.zarr", "cube.tif", "cubes"):
        with pytest.raises(OSError, match=r"no folder .*none.*cube"):
            save_cube(FINE, tmp_path / "none" / name)


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount a file system"
)
@pytest.mark.parametrize("name", ["cube.nc", "cube.zarr", "cube.tif"])
@pytest.mark.parametrize("how", ["size=400k", "ro"])
def test_a_full_or_read_only_disk(tmp_path, name, how):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("cannot mount")
    try:
        path, image = disk / name, FINE[0].drop_vars("time")
        save_cube(image, path)
        before = files_of(path)
        if how == "ro":
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        rng = np.random.default_rng(0)
        large = image.isel(y=np.arange(400) % 30, x=np.arange(400) % 30)
        large = large.assign_coords(y=np.arange(400.0), x=np.arange(400.0))
        large = large.copy(data=rng.random(large.shape, "f4"))
        text = "no space is left" if how != "ro" else "read-only|cannot be written"
        with pytest.raises(OSError, match=rf"({text}).*{name}"):
            save_cube(large, path, overwrite=True)
        assert files_of(path) == before
        assert [p.name for p in disk.iterdir()] == [name]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *args, **named: False)
    with pytest.raises(PermissionError, match=r"cannot be written to.*cube\.nc"):
        save_cube(FINE, tmp_path / "cube.nc")


def test_an_address_is_for_the_store(tmp_path):
    with pytest.raises(ValueError, match=r"xstf\.store\.to_zarr"):
        save_cube(FINE, "s3://bucket/cube.zarr")


# --- whole numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".tif"])
@pytest.mark.parametrize("lazy", [False, True])
def test_whole_numbers_with_a_scale(tmp_path, suffix, lazy):
    pytest.importorskip("zarr", reason="needs zarr")
    cube = FINE[0].drop_vars("time").astype("f8").round(4).astype("f4")
    cube[0, 3, 4] = np.nan
    path = tmp_path / f"cube{suffix}"
    save_cube(cube.chunk(y=16) if lazy else cube, path, dtype="int16", scale=1e-4)
    back = open_cube(path)
    np.testing.assert_allclose(back.values, cube.values, atol=1e-6)
    assert np.isnan(back.values[0, 3, 4])
    assert back.rio.crs == FINE.rio.crs
    if suffix == ".tif":
        import rasterio

        with rasterio.open(path) as file:
            assert (file.dtypes[0], file.nodata, file.scales[0]) == ("int16", -32768, 1e-4)
    else:
        raw = xr.open_dataset(path, mask_and_scale=False, **(
            {"engine": "zarr", "consolidated": False} if suffix == ".zarr" else {}))  # fmt: skip
        assert raw["reflectance"].dtype == np.int16
        assert raw["reflectance"].attrs["scale_factor"] == 1e-4
        raw.close()


@pytest.mark.parametrize("bad", [9.0, -3.2768, np.inf])
def test_values_that_do_not_fit_are_said(tmp_path, bad):
    cube = FINE[0].copy()
    cube[0, 0, 0] = bad
    for name in ("cube.nc", "cube.tif"):
        with pytest.raises(ValueError, match=r"has values such as .* int16 with scale=0.0001"):
            save_cube(cube, tmp_path / name, dtype="int16", scale=1e-4)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"dtype": "in16"}, "give 'int16'"), ({"dtype": "str"}, "give whole numbers"),
        ({"scale": 0.1}, "give dtype"), ({"dtype": "int16", "scale": -1.0}, "above 0"),
        ({"dtype": "uint8", "nodata": -1}, "no number of"),
    ],
)  # fmt: skip
def test_how_to_pack_is_checked(tmp_path, given, text):
    with pytest.raises(ValueError, match=text):
        save_cube(FINE, tmp_path / "cube.nc", **given)


def test_a_number_for_missing_pixels(tmp_path):
    cube = FINE[0].drop_vars("time").copy()
    cube[0, 0, 0] = np.nan
    for name in ("cube.nc", "cube.tif"):
        save_cube(cube, tmp_path / name, nodata=-9999)
        np.testing.assert_array_equal(open_cube(tmp_path / name).values, cube.values)


# --- GeoTIFF ----------------------------------------------------------------------------------


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


# --- damaged files ----------------------------------------------------------------------------


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
