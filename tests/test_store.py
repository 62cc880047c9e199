"""Stores that are written tile by tile: what they hold, what is refused, what is verified."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from stores import COARSE, FINE, Stop, files_of, lazily, marks_of, stopping, values_of, write

import xstf
from xstf import store
from xstf.files import open_cube
from xstf.store.place import LOCK

zarr = pytest.importorskip("zarr", minversion="3", reason="needs zarr 3")
numcodecs = pytest.importorskip("numcodecs", reason="needs numcodecs")


# --- whole ------------------------------------------------------------------------------------


def test_a_store_holds_the_result(tmp_path):
    fused = lazily()
    write(fused, tmp_path / "out.zarr")
    back = open_cube(tmp_path / "out.zarr")
    np.testing.assert_array_equal(back.values, fused.compute().values)
    assert "stf_complete" not in back.attrs
    assert back.attrs["stf_method"] == fused.attrs["stf_method"]
    xr.testing.assert_equal(back.coords.to_dataset(), fused.coords.to_dataset())
    opened = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)
    assert opened.attrs["stf_complete"] == 1
    assert opened[fused.name].chunks == fused.chunks
    assert store.verify(tmp_path / "out.zarr") == []
    assert not (tmp_path / "out.zarr" / LOCK).exists()
    assert not (tmp_path / "out.zarr" / "_xstf" / "states").exists()


def test_a_result_with_its_quality(tmp_path):
    filled = FINE.chunk(time=-1, y=16).stf.gapfill(method="linear", return_quality=True)
    write(filled, tmp_path / "out.zarr")
    xr.testing.assert_equal(open_cube(tmp_path / "out.zarr"), filled.compute())


def test_a_result_in_memory(tmp_path):
    write(FINE, tmp_path / "out.zarr")
    np.testing.assert_array_equal(open_cube(tmp_path / "out.zarr"), FINE)
    write(FINE, tmp_path / "out.zarr")
    with pytest.raises(ValueError, match="values of its inputs"):
        write(FINE + 1, tmp_path / "out.zarr")


def test_chunks_that_zarr_cannot_have(tmp_path):
    cube = FINE.chunk(y=(7, 20, 21), x=-1)
    write(cube, tmp_path / "out.zarr")
    np.testing.assert_array_equal(open_cube(tmp_path / "out.zarr"), FINE)


@pytest.mark.parametrize("tiles", [20, {"y": 48, "time": 2}, 1000])
def test_tiles_of_several_chunks(tmp_path, tiles):
    fused = lazily()
    write(fused, tmp_path / "out.zarr", tiles=tiles)
    write(fused, tmp_path / "one.zarr")
    assert values_of(tmp_path / "out.zarr") == values_of(tmp_path / "one.zarr")
    count = {20: 8, 1000: 2}.get(tiles if isinstance(tiles, int) else None, 3)
    assert len(marks_of(tmp_path / "out.zarr")) == count
    with pytest.raises(ValueError, match="begun with tiles"):
        write(fused, tmp_path / "one.zarr", tiles=1000)


@pytest.mark.parametrize("tiles", [0, True, "auto", {"z": 3}, {"y": -1}])
def test_tiles_that_are_none(tmp_path, tiles):
    with pytest.raises(ValueError, match="tiles"):
        write(lazily(), tmp_path / "out.zarr", tiles=tiles)
    assert not list(tmp_path.iterdir())


def test_other_stores():
    fused = lazily()
    memory = zarr.storage.MemoryStore()
    write(fused, memory)
    got = xr.open_zarr(memory, consolidated=False)[fused.name]
    np.testing.assert_array_equal(got, fused.compute())
    assert store.verify(memory) == []
    again = xr.open_zarr(memory, consolidated=False)[fused.name] + 1
    with pytest.raises(ValueError, match="what the cube is read from"):
        write(again, memory)


def test_an_address():
    fsspec = pytest.importorskip("fsspec", reason="needs fsspec")
    fsspec.filesystem("memory").store.clear()
    fused = lazily()
    write(fused, "memory://bucket/out.zarr")
    assert store.verify("memory://bucket/out.zarr") == []
    write(fused, "memory://bucket/out.zarr")
    with pytest.raises(ValueError, match="method starfm there, fsdaf here"):
        write(lazily("fsdaf"), "memory://bucket/out.zarr")


def test_progress_goes_to_stderr(tmp_path, capsys):
    store.to_zarr(lazily(), tmp_path / "out.zarr")
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err
    write(lazily(), tmp_path / "quiet.zarr")
    assert capsys.readouterr() == ("", "")


def test_a_chunk_that_is_lost_or_damaged_is_made_again(tmp_path):
    """The way to repair a store: delete what verify names, and call again."""
    path = tmp_path / "out.zarr"
    write(lazily(), path)
    before = files_of(path)
    damaged = path / lazily().name / "c/1/0/2/2"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    (fault,) = store.verify(path)
    (path / fault.key).unlink()
    write(lazily(), path)
    assert files_of(path) == before


def test_a_damaged_chunk_that_is_compared_is_named(tmp_path):
    """Where names are random, tiles of the store are made again and compared."""
    path = tmp_path / "out.zarr"

    def cube():
        return FINE.copy(data=da.from_array(FINE.values, (1, 2, 48, 48), name=False))

    write(cube(), path)
    write(cube(), path)
    damaged = path / "reflectance/c/0/0/0/0"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(OSError, match=r"out\.zarr: chunk \(0, 0, 0, 0\) of reflectance is damaged"):
        write(cube(), path)


def test_coordinates_of_all_kinds(tmp_path):
    fused = lazily().assign_coords(
        place="Kranj",
        height=3.5,
        cloud=("time", [0.1, 0.2]),
        words=("y", [*map(str, range(48))]),
    )
    write(fused, tmp_path / "out.zarr")
    back = open_cube(tmp_path / "out.zarr")
    for name, coord in fused.coords.items():
        np.testing.assert_array_equal(back[name], coord)
        assert {k: str(v) for k, v in back[name].attrs.items()} == {
            k: str(v) for k, v in coord.attrs.items()
        }
    write(fused, tmp_path / "out.zarr")
    with pytest.raises(ValueError, match="coordinates or attributes"):
        write(fused.assign_coords(place="Piran"), tmp_path / "out.zarr")


def test_values_of_all_kinds(tmp_path):
    whole = xr.Dataset({
        "b": ("x", np.array([True, False, True])),
        "t": ("x", np.array(["2020-01-01", "NaT", "2021-01-01"], "M8[ns]")),
        "i": (("y", "x"), np.arange(6, dtype="i2").reshape(2, 3)),
        "s": ("x", np.array(["a", "bcd", ""])),
        "n": ((), 3.0),
        "none": (("z", "x"), np.zeros((0, 3))),
    })  # fmt: skip
    for given in (whole, whole.chunk(x=1)):
        path = tmp_path / f"{len(given.chunks)}.zarr"
        write(given, path)
        xr.testing.assert_equal(xr.open_zarr(path, consolidated=False).drop_attrs(), whole)
        assert store.verify(path) == []
        write(given, path)


def test_packed_values_stay_packed(tmp_path):
    cube = lazily()
    cube.encoding = {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -32768}
    write(cube, tmp_path / "out.zarr")
    stored = zarr.open_array(tmp_path / "out.zarr", path=cube.name)
    assert stored.dtype == "int16"
    assert stored.fill_value == -32768  # what was not written yet is missing, and not 0
    np.testing.assert_allclose(open_cube(tmp_path / "out.zarr"), cube.compute(), atol=6e-5)


def test_a_fill_value_is_not_in_attrs_and_encoding(tmp_path):
    cube = FINE.assign_attrs(_FillValue=-9999.0)
    cube.encoding["_FillValue"] = -9999.0
    write(cube, tmp_path / "out.zarr")
    back = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)[cube.name]
    assert back.encoding["_FillValue"] == -9999
    np.testing.assert_array_equal(back, FINE)


def test_icechunk_commits_rows():
    icechunk = pytest.importorskip("icechunk", reason="needs icechunk")
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    cube, count = stopping(lazily(), 10)
    with dask.config.set(scheduler="synchronous"), pytest.raises(Stop):
        write(cube, repository)
    count["most"] = 100
    write(cube, repository)
    session = repository.readonly_session("main")
    got = xr.open_zarr(session.store, consolidated=False)
    np.testing.assert_array_equal(got[cube.name], lazily().compute())
    assert got.attrs["stf_complete"] == 1
    messages = [s.message for s in repository.ancestry(branch="main")]
    assert sum("6 tiles of" in m for m in messages) == 3  # a row of tiles each
    assert len(count["made"]) < 2 * 18
    write(cube, repository)
    with pytest.raises(ValueError, match="method starfm there"):
        write(lazily("fsdaf"), repository)
    assert len(list(repository.ancestry(branch="main"))) == len(messages)
    assert store.verify(session.store) == []


def test_the_store_of_an_icechunk_session_gets_one_commit():
    icechunk = pytest.importorskip("icechunk", reason="needs icechunk")
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    write(lazily(), repository.writable_session("main").store)
    assert len(list(repository.ancestry(branch="main"))) == 2
    got = xr.open_zarr(repository.readonly_session("main").store, consolidated=False)
    np.testing.assert_array_equal(got[lazily().name], lazily().compute())


# --- another result ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: lazily("fsdaf"), "method starfm there, fsdaf here"),
        (lambda: lazily(window=31), r"parameters window=51.* there, window=31"),
        (lambda: lazily(fine=FINE + 0.01), "another result: .*inputs"),
        (lambda: lazily() * np.float32(0.5), "another result: .*steps before or after"),
        (lambda: lazily().isel(time=[0]), "sizes"),
        (lambda: lazily().chunk(y=48), "chunks"),
        (lambda: lazily().assign_coords(x=FINE.x + 30), "coordinates"),
        (lambda: lazily().assign_attrs(stf_weights="b"), "weights none there, b here"),
    ],
)
def test_another_result_is_refused(tmp_path, other, text):
    path = tmp_path / "out.zarr"
    write(lazily(), path)
    before = files_of(path)
    with pytest.raises(ValueError, match=text):
        write(other(), path)
    assert files_of(path) == before
    assert not (path / LOCK).exists()


def opened(path, how):
    if how == "zarr":
        return xr.open_zarr(path, consolidated=False, decode_coords="all")["r"]
    if how == "chunks":
        return xr.open_dataset(path, chunks={}, decode_coords="all")["r"].chunk(time=1, y=16, x=16)
    if how == "chunked after":
        return xr.open_dataset(path, decode_coords="all")["r"].chunk(time=1, y=16, x=16)
    return open_cube(path, chunks=16)


@pytest.mark.parametrize("how", ["zarr", "chunks", "chunked after", "open_cube"])
def test_inputs_are_told_apart(tmp_path, how):
    """The same files opened again are the same, also elsewhere; a file that changed is not."""
    path = tmp_path / ("in.zarr" if how == "zarr" else "in.nc")

    def save(cube):
        cube = cube.chunk(time=1, y=16, x=16).drop_encoding().to_dataset(name="r")
        if how == "zarr":
            cube = cube.assign_coords(band=cube.band.astype(object))
            cube.to_zarr(path, consolidated=False, mode="w")
        else:
            xstf.files.save_cube(cube, path, overwrite=True)

    def fused():
        found = xstf.fuse(opened(path, how), COARSE.chunk(time=1), method="starfm")
        return found

    save(FINE)
    first = fused()
    write(first, tmp_path / "out.zarr")
    write(fused(), tmp_path / "out.zarr")
    save(FINE + 0.01)
    with pytest.raises(ValueError, match=r"inputs .*in\.(nc|zarr).*changed since"):
        write(fused(), tmp_path / "out.zarr")


@pytest.mark.parametrize("how", ["chunked after", "open_cube"])
@pytest.mark.parametrize("step", ["clip", "lambda", "apply"])
def test_a_step_that_changes_no_tile_that_is_made_again(tmp_path, how, step):
    """One pixel in a tile between those that are compared."""
    cube = FINE.copy(deep=True)
    cube[1, 0, 20, 20] = 0.9
    xstf.files.save_cube(cube.drop_encoding().to_dataset(name="r"), tmp_path / "in.nc")

    def made(most):
        if step == "clip":
            return opened(tmp_path / "in.nc", how).clip(max=most)
        if step == "lambda":
            found = opened(tmp_path / "in.nc", how)
            return found.copy(data=found.data.map_blocks(lambda block: np.minimum(block, most)))
        return xr.apply_ufunc(
            np.clip, opened(tmp_path / "in.nc", how), dask="parallelized",
            kwargs={"a_min": 0, "a_max": most}, output_dtypes=["f4"],
        )  # fmt: skip

    write(made(1.0), tmp_path / "out.zarr")
    write(made(1.0), tmp_path / "out.zarr")
    with pytest.raises(ValueError, match="other steps"):
        write(made(0.85), tmp_path / "out.zarr")


def test_what_is_not_ours_is_left(tmp_path):
    FINE.to_dataset(name="r").drop_vars("band").to_zarr(tmp_path / "a.zarr", consolidated=False)
    before = files_of(tmp_path / "a.zarr")
    with pytest.raises(FileExistsError, match="something else"):
        write(lazily(), tmp_path / "a.zarr")
    assert files_of(tmp_path / "a.zarr") == before
    (tmp_path / "b.zarr").write_text("mine")
    with pytest.raises(FileExistsError, match="file is there"):
        write(lazily(), tmp_path / "b.zarr")
    write(lazily(), tmp_path / "c.zarr")
    (tmp_path / "c.zarr" / "_xstf" / "zarr.json").unlink()
    before = files_of(tmp_path / "c.zarr")
    with pytest.raises(FileExistsError, match="does not say what it holds"):
        write(lazily(), tmp_path / "c.zarr")
    assert files_of(tmp_path / "c.zarr") == before


def test_places_that_are_none(tmp_path):
    with pytest.raises(OSError, match=r"no folder .*none.*out\.zarr"):
        write(lazily(), tmp_path / "none" / "out.zarr")
    with pytest.raises(TypeError, match="not to a int"):
        write(lazily(), 3)
    with pytest.raises(TypeError, match="not str"):
        write("cube", tmp_path / "out.zarr")


def test_inputs_that_are_refused_leave_nothing(tmp_path):
    """Units are checked when values are read; what is asked for next is another result."""
    path = tmp_path / "out.zarr"
    with pytest.raises(ValueError, match="not in the same units"):
        write(lazily(fine=FINE * 1e4), path)
    assert not path.exists()
    write(lazily(), path)
    with pytest.raises(ValueError, match="another result"):
        write(lazily(fine=FINE * 1e4), path)
    assert store.verify(path) == []


def test_not_onto_an_input(tmp_path):
    write(FINE.chunk(y=16), tmp_path / "in.zarr")
    before = files_of(tmp_path / "in.zarr")
    cube = open_cube(tmp_path / "in.zarr", chunks=16)
    (tmp_path / "link.zarr").symlink_to(tmp_path / "in.zarr")
    for name in ("in.zarr", "link.zarr", ".", "in.zarr/within.zarr"):
        with pytest.raises(ValueError, match="what the cube is read from"):
            write(cube + 1, tmp_path / name)
    assert files_of(tmp_path / "in.zarr") == before


# --- verify -----------------------------------------------------------------------------------


def test_faults_are_named(tmp_path):
    path = tmp_path / "out.zarr"
    write(lazily(), path)
    name = lazily().name
    (path / name / "c/0/0/1/0").unlink()
    cut, changed = path / name / "c/1/0/0/0", path / name / "c/1/0/2/2"
    cut.write_bytes(cut.read_bytes()[:-40])
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 255
    changed.write_bytes(data)
    (path / "x" / "zarr.json").write_text("{")
    (path / "y" / "c" / "0").write_bytes(b"")
    faults = {(f.kind, f.key) for f in store.verify(path)}
    assert faults == {
        ("missing", f"{name}/c/0/0/1/0"), ("truncated", f"{name}/c/1/0/0/0"),
        ("damaged", f"{name}/c/1/0/2/2"), ("damaged", "x/zarr.json"), ("truncated", "y/c/0"),
    }  # fmt: skip
    assert "chunk (0, 0, 1, 0)" in str([f for f in store.verify(path) if f.kind == "missing"][0])


def test_stores_of_others_are_verified(tmp_path):
    xstf.files.save_cube(FINE.chunk(y=16), tmp_path / "a.zarr")
    assert store.verify(tmp_path / "a.zarr") == []
    with pytest.raises(OSError, match=r"no Zarr store.*none\.zarr"):
        store.verify(tmp_path / "none.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(OSError, match=r"no Zarr store.*empty\.zarr"):
        store.verify(tmp_path / "empty.zarr")
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    assert [f.kind for f in store.verify(tmp_path / "a.zarr")] == ["damaged"]


def foreign(path, version, kind, **named):
    """Write a store as others do: groups in groups, other codecs, no checksums."""
    group = zarr.open_group(path, mode="w", zarr_format=version).create_group("a/b")
    values = np.random.default_rng(0).random((8, 8), "f4")
    compressors = {
        "blosc": numcodecs.Blosc() if version == 2 else zarr.codecs.BloscCodec(),
        "zstd": numcodecs.Zstd() if version == 2 else zarr.codecs.ZstdCodec(),
        "plain": None,
    }[kind]
    group.create_array("r", data=values, chunks=(4, 4), compressors=compressors, **named)
    return path / "a" / "b" / "r"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["blosc", "zstd", "plain"])
def test_chunks_in_stores_of_any_kind(tmp_path, version, kind):
    array = foreign(tmp_path / "a.zarr", version, kind)
    assert store.verify(tmp_path / "a.zarr") == []
    at = "{}/{}" if version == 3 else "{}.{}"
    key = ("c/" if version == 3 else "") + at.format(1, 0)
    (array / key).write_bytes((array / key).read_bytes()[:-7])
    (array / key.replace("1", "0", 1)).unlink()  # it may be the fill value
    found = [(f.kind, f.key) for f in store.verify(tmp_path / "a.zarr")]
    assert found == [("truncated", f"a/b/r/{key}")]
    (array / ("zarr.json" if version == 3 else ".zarray")).unlink()
    assert [f.kind for f in store.verify(tmp_path / "a.zarr")] == ["missing"]


def test_shards_are_verified(tmp_path):
    array = foreign(tmp_path / "a.zarr", 3, "zstd", shards=(8, 8))
    assert store.verify(tmp_path / "a.zarr") == []
    whole = (array / "c/0/0").read_bytes()
    (array / "c/0/0").write_bytes(whole[:-3])
    assert [f.key for f in store.verify(tmp_path / "a.zarr")] == ["a/b/r/c/0/0"]
