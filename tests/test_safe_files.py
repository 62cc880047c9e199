"""What is written is whole or not there; what a cube is read from is never written onto."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from written import FINE, failing, files_of

import xstf
from xstf.files import open_cube, save_cube


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
@pytest.mark.parametrize("name", ["cube.nc", "cube.zarr", "cube.tif", "cube"])
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


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount a file system"
)
@pytest.mark.parametrize("name", ["cube.nc", "cube.tif", "cube"])
def test_a_disk_that_is_full_midway(tmp_path, name):
    """GDAL says so in errors of its own, netCDF of the next file that it lacks permission."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("cannot mount")
    try:
        path = disk / name
        cube = FINE[:1] if name == "cube" else FINE[0].drop_vars("time")
        save_cube(cube, path)
        before = files_of(path)
        large = cube.isel(y=np.arange(700) % 30, x=np.arange(700) % 30)
        large = large.assign_coords(y=np.arange(700.0), x=np.arange(700.0))
        large = large.copy(data=np.random.default_rng(0).random(large.shape, "f4"))
        for _ in range(2):
            with pytest.raises(OSError, match=rf"no space is left.*{name}"):
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


@pytest.mark.parametrize("name", ["cube.zarr", "cube.nc", "cube"])
def test_chunks_of_any_size(tmp_path, name):
    import dask.array as da

    height = (("y", "x"), da.ones(FINE.shape[-2:], chunks=7))
    cube = FINE.assign_coords(height=height).chunk({"y": (5, 18, 7), "x": -1})
    cube = cube.assign_coords(height=height)
    save_cube(cube, tmp_path / name)
    np.testing.assert_array_equal(open_cube(tmp_path / name), FINE)


@pytest.mark.parametrize("name", ["a/b", "_xstf", "zarr.json", ".."])
def test_names_that_a_zarr_store_does_not_have(tmp_path, name):
    for write in (save_cube, xstf.store.to_zarr):
        with pytest.raises(ValueError, match="rename them"):
            write(FINE.rename(name), tmp_path / "cube.zarr")
    assert not list(tmp_path.iterdir())


def test_an_image_without_pixels_is_no_geotiff(tmp_path):
    with pytest.raises(ValueError, match="has none"):
        save_cube(FINE[0, :, :0], tmp_path / "cube.tif")


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


# --- killed, and full -------------------------------------------------------------------------

CHILD = """
import os, signal, sys
import dask.array as da, numpy as np, xarray as xr
from xstf.files import save_cube
path, how = sys.argv[1:]

def block(block_info=None):
    if block_info[None]["chunk-location"][1] == 2:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    return np.random.default_rng(0).random(block_info[None]["chunk-shape"], "f4")

if how == "limit":
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
cube = xr.DataArray(
    da.map_blocks(block, chunks=((1, 1), (100, 100, 100), (300,)), dtype="f4",
                  meta=np.empty((0, 0, 0), "f4")),
    dims=("time", "y", "x"), name="ndvi",
    coords={"time": np.array(["2020-01-01", "2020-02-01"], "M8[ns]"),
            "y": -10.0 * np.arange(300), "x": 10.0 * np.arange(300)},
)
try:
    save_cube(cube, path, overwrite=True)
except OSError as error:
    print(error)
    sys.exit(3)
"""


def in_child(path, how):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, path, how],
        check=False, capture_output=True, text=True,
    )  # fmt: skip


KINDS = pytest.mark.parametrize("name", ["cube.nc", "cube.zarr", "cube.tif", "cube"])
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals")


@POSIX
@KINDS
@pytest.mark.slow
def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path, name):
    pytest.importorskip("zarr", reason="needs zarr")
    pytest.importorskip("rasterio", reason="needs rioxarray")
    cube = FINE[:2] if name != "cube.tif" else FINE[0]
    save_cube(cube, tmp_path / name)
    before = files_of(tmp_path)
    assert in_child(tmp_path / name, "kill").returncode == -9
    left = {k: v for k, v in files_of(tmp_path).items() if not k.startswith(".")}
    assert left == before
    if name != "cube.tif":  # which is of one date, and the killed one of two
        assert [p for p in tmp_path.iterdir() if ".partial" in p.name]
    if name == "cube.tif":
        assert in_child(tmp_path / name, "none").returncode == 0
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "cube.tif", "cube_20200101.tif", "cube_20200201.tif"]  # fmt: skip
        return
    save_cube(cube + 1, tmp_path / name, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(open_cube(tmp_path / name).values, (cube + 1).values)


@POSIX
@KINDS
@pytest.mark.slow
def test_a_file_that_cannot_grow_is_an_error_with_the_path(tmp_path, name):
    """As of a quota: the limit of the system on the size of a file."""
    pytest.importorskip("zarr", reason="needs zarr")
    pytest.importorskip("rasterio", reason="needs rioxarray")
    cube = FINE[:2] if name != "cube.tif" else FINE[0]
    save_cube(cube, tmp_path / name)
    before = files_of(tmp_path)
    done = in_child(tmp_path / name, "limit")
    assert done.returncode == 3, done.stderr
    assert str(tmp_path / "cube") in done.stdout
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert files_of(tmp_path) == before


@POSIX
def test_a_folder_whose_replacement_was_killed_comes_back(tmp_path, monkeypatch):
    """Killed after the old one was moved away, before the new one was moved in."""
    pytest.importorskip("zarr", reason="needs zarr")
    from xstf.files import beside

    path = tmp_path / "cube.zarr"
    save_cube(FINE, path)
    before = files_of(path)
    monkeypatch.setattr(beside, "_is_dead", lambda pid: True)
    path.rename(beside._name(path, "old"))
    with pytest.raises(OSError, match=r"no file .*cube\.zarr.*\.old\.zarr"):
        open_cube(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_cube(FINE, path)
    assert files_of(path) == before


THREADS = """
import sys, threading, time
import numpy as np
from xstf.files import open_cube, save_cube
path, done = sys.argv[1], False

def reads():
    while not done:
        open_cube(path, chunks=8)[:, 0].compute(scheduler="synchronous")

threads = [threading.Thread(target=reads) for _ in range(2)]
for thread in threads:
    thread.start()
end = time.process_time() + 4
while time.process_time() < end:
    cube = open_cube(path, chunks=16)
    save_cube(cube[0, 0].load(), path + ".nc", overwrite=True)
done = True
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_files_are_opened_while_other_threads_read(tmp_path):
    """The NetCDF library crashes the process where it is not kept to one thread."""
    save_cube(FINE, tmp_path / "cube.nc")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THREADS, str(tmp_path / "cube.nc")],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
