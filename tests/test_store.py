"""Stores that are written tile by tile: stopped, gone on with, refused, verified."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xstf
from xstf import store
from xstf.files import open_cube
from xstf.store.lock import Lock
from xstf.store.place import LOCK, Place


zarr = pytest.importorskip("zarr", minversion="3", reason="needs zarr 3")

FINE, COARSE = xstf.testing.scene()


def lazily(method="starfm", fine=FINE, **params):
    """Return a lazy fusion: 2 dates of 9 chunks each."""
    fused = xstf.fuse(
        fine.chunk(time=1, y=16, x=16), COARSE.chunk(time=1), method=method, **params
    )  # fmt: skip
    del fused.attrs["history"]  # it has the time of day
    return fused


def files_of(path):
    """Return the files of a store but for what xstf keeps to itself."""
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(Path(path).rglob("*"))
        if p.is_file() and "_xstf" not in p.parts
    }


def marks_of(path):
    return {str(p.relative_to(path)) for p in Path(path).glob("_xstf/marks/0/c/*/*/*/*")}


class Stop(Exception):
    """What ends a run here."""


STATE = {}  # of `stopping`, by a name: what a function holds is part of what a result is


def made_of(values, name, block_id):
    count = STATE[name]
    with count["lock"]:
        count["made"].append(block_id)
        if len(count["made"]) > count["most"] or block_id == count["at"]:
            raise Stop
    return values


def stopping(cube, most=1000, at=None):
    """Return a cube that raises when more than some chunks are made, or a certain one."""
    name = str(len(STATE))
    STATE[name] = {"made": [], "most": most, "at": at, "lock": threading.Lock()}
    data = da.map_blocks(made_of, cube.data, name, meta=cube.data._meta)
    return cube.copy(data=data), STATE[name]


def write(cube, path, **named):
    store.to_zarr(cube, path, progress=False, **named)


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
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "one.zarr")
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


# --- stopped and gone on with -----------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 7, 17])
def test_a_stopped_run_is_gone_on_with(tmp_path, after):
    fused = lazily()
    write(fused, tmp_path / "whole.zarr")
    path = tmp_path / "out.zarr"
    cube, made = stopping(fused, after)
    with dask.config.set(scheduler="synchronous"), pytest.raises(Stop):
        write(cube, path)
    assert len(marks_of(path)) == after
    with pytest.warns(UserWarning, match=r"out\.zarr is incomplete"):
        open_cube(path)
    assert [str(f) for f in store.verify(path)][0].startswith("incomplete")
    made |= {"made": [], "most": 18}
    with dask.config.set(scheduler="synchronous"):
        write(cube, path)
    assert len(made["made"]) == 18 - after
    assert files_of(path) == files_of(tmp_path / "whole.zarr")


def test_a_complete_store_is_left(tmp_path):
    plain, count = stopping(lazily(), 18)
    write(plain, tmp_path / "out.zarr")
    before = files_of(tmp_path / "out.zarr")
    write(plain, tmp_path / "out.zarr")
    assert len(count["made"]) == 18
    assert files_of(tmp_path / "out.zarr") == before
    with pytest.raises(FileExistsError, match=r"resume=True goes on"):
        write(plain, tmp_path / "out.zarr", resume=False)


def test_an_all_missing_tile_is_written(tmp_path):
    fused = lazily().copy(data=da.full((2, 2, 48, 48), np.nan, "f4", chunks=(1, 2, 16, 16)))
    write(fused, tmp_path / "out.zarr")
    assert len(list((tmp_path / "out.zarr").glob("fine/c/*/*/*/*"))) in (0, 18)
    assert len(list((tmp_path / "out.zarr" / fused.name / "c").glob("*/*/*/*"))) == 18
    assert store.verify(tmp_path / "out.zarr") == []


def test_states_are_settled_once(tmp_path, monkeypatch):
    """Also after a stop, in what stands for another process."""
    from xstf.store import states as kept
    from xstf.tiles import states

    count = [0]
    original = states.Prepared._settle

    def counted(self):
        count[0] += 1
        return original(self)

    monkeypatch.setattr(states.Prepared, "_settle", counted)

    def forget():
        states._SETTLED.clear()
        kept._READ.clear()

    forget()
    with dask.config.set(scheduler="synchronous"):
        write(lazily("fsdaf"), tmp_path / "whole.zarr")
        once = count[0]
        assert once
        cube, made = stopping(lazily("fsdaf"), at=(1, 0, 2, 2))
        forget()
        count[0] = 0
        with pytest.raises(Stop):
            write(cube, tmp_path / "out.zarr")
        made["at"] = None
        forget()
        write(cube, tmp_path / "out.zarr")
    assert count[0] == once
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "whole.zarr")


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


def test_not_onto_an_input(tmp_path):
    write(FINE.chunk(y=16), tmp_path / "in.zarr")
    before = files_of(tmp_path / "in.zarr")
    cube = open_cube(tmp_path / "in.zarr", chunks=16)
    (tmp_path / "link.zarr").symlink_to(tmp_path / "in.zarr")
    for name in ("in.zarr", "link.zarr"):
        with pytest.raises(ValueError, match="what the cube is read from"):
            write(cube + 1, tmp_path / name)
    assert files_of(tmp_path / "in.zarr") == before


# --- two writers ------------------------------------------------------------------------------


def test_a_second_writer_is_refused(tmp_path):
    path = tmp_path / "out.zarr"
    place = Place.of(path)
    with Lock(place):
        with pytest.raises(OSError, match=rf"process {os.getpid()} on .* is writing.*out\.zarr"):
            write(lazily(), path)
        assert place.read(LOCK) is not None
    assert place.read(LOCK) is None
    write(lazily(), path)


def said(place, **other):
    found = {"token": "x", **Lock(place).own, "beat": time.time(), **other}
    place.write(LOCK, json.dumps(found | {"token": "x"}).encode())


def test_the_lock_of_the_dead_is_taken_over(tmp_path):
    place = Place.of(tmp_path / "out.zarr")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    said(place, pid=gone.pid)
    write(lazily(), tmp_path / "out.zarr")
    said(place, pid=os.getpid(), started="1")  # another one with its number
    write(lazily(), tmp_path / "out.zarr")
    assert place.read(LOCK) is None


def test_a_writer_elsewhere_is_dead_when_it_is_silent(tmp_path):
    place = Place.of(tmp_path / "out.zarr")
    said(place, host="elsewhere", pid=1)
    with pytest.raises(OSError, match="process 1 on elsewhere"):
        write(lazily(), tmp_path / "out.zarr")
    said(place, host="elsewhere", beat=time.time() - 3600)
    write(lazily(), tmp_path / "out.zarr")


def test_a_lock_that_beats_and_one_that_was_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("xstf.store.lock.BEAT", 0.02)
    place = Place.of(tmp_path / "out.zarr")
    with Lock(place) as lock:
        first = json.loads(place.read(LOCK))["beat"]
        time.sleep(0.3)
        assert json.loads(place.read(LOCK))["beat"] > first
        said(place)
        time.sleep(0.3)
        with pytest.raises(OSError, match="taken the store over"):
            lock.check()
    assert place.read(LOCK) is not None  # the other's
    assert socket.gethostname() in place.read(LOCK).decode()


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


# --- killed -----------------------------------------------------------------------------------

# Imports once, then a process of its own for each run.
RUNS = """
import os, sys, time
import dask.array as da, netCDF4, zarr, xarray as xr, xstf
from xstf.methods.fuse import fsdaf, starfm
def slow(values, log, pause, block_id):
    with open(log, "a") as file:
        file.write("/".join(map(str, block_id)) + chr(10))
    time.sleep(pause)
    return values
slow.__module__ = "child"
def run(path, out, log):
    fine = xstf.files.open_cube(path, chunks=16)
    fused = xstf.fuse(fine, xstf.testing.scene()[1].chunk(time=1), method="fsdaf")
    del fused.attrs["history"]
    data = da.map_blocks(slow, fused.data, log, 0.05, meta=fused.data._meta)
    xstf.store.to_zarr(fused.copy(data=data), out, progress=False)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        run(*line.split())
        sys.stdout.flush()
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_at_any_moment(tmp_path):
    """Twenty of them, in as many runs as there are; each goes on with what the others left."""
    xstf.files.save_cube(FINE, tmp_path / "in.nc")
    log = tmp_path / "log"
    runs = subprocess.Popen(
        [sys.executable, "-c", RUNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run(out, seconds=None):
        """Return how a run ended, and which tiles it made; killed after some seconds."""
        log.write_text("")
        runs.stdin.write(f"{tmp_path / 'in.nc'} {out} {log}\n")
        runs.stdin.flush()
        pid = int(runs.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        return int(runs.stdout.readline()), log.read_text().split()

    with runs:
        assert run(tmp_path / "whole.zarr")[0] == 0
        start = time.monotonic()
        assert run(tmp_path / "again.zarr")[0] == 0
        length = time.monotonic() - start
        rng, kills, stores, most = random.Random(0), 0, 0, 0
        while kills < 20:
            out, code, before = tmp_path / f"out{stores}.zarr", 1, kills
            stores += 1
            while code:
                marked = marks_of(out)
                # At most six a store, then it is let to end.
                stop = kills < 20 and kills - before < 6
                code, made = run(out, rng.uniform(0, length) if stop else None)
                kills += code == -signal.SIGKILL
                assert code in (0, -signal.SIGKILL)
                assert not {f"_xstf/marks/0/c/{at}" for at in made} & marked
                most = max(most, len(marked))
            assert files_of(out) == files_of(tmp_path / "whole.zarr")
            assert store.verify(out) == []
        assert most > 0
        runs.stdin.close()


# --- clusters, transactions -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cluster_does_the_tiles(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs distributed")
    write(lazily("fsdaf"), tmp_path / "whole.zarr")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as c,
        distributed.Client(c),
    ):
        write(lazily("fsdaf"), tmp_path / "out.zarr")
        with pytest.raises(ValueError, match="a cluster cannot reach it"):
            write(lazily(), zarr.storage.MemoryStore())
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "whole.zarr")


def test_icechunk_commits_rows():
    icechunk = pytest.importorskip("icechunk", reason="needs icechunk")
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    fused = lazily()
    write(fused, repository)
    session = repository.readonly_session("main")
    got = xr.open_zarr(session.store, consolidated=False)
    np.testing.assert_array_equal(got[fused.name], fused.compute())
    assert got.attrs["stf_complete"] == 1
    messages = [s.message for s in repository.ancestry(branch="main")]
    assert sum("tiles of" in m for m in messages) == 3
    write(fused, repository)
    with pytest.raises(ValueError, match="method starfm there"):
        write(lazily("fsdaf"), repository)
    assert len(list(repository.ancestry(branch="main"))) == len(messages)
