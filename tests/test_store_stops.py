"""Stores whose writer is stopped, killed, doubled, or dies on a cluster: nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from stores import FINE, Stop, files_of, lazily, marks_of, stopping, values_of, write

import xstf
from xstf import store
from xstf.files import open_cube
from xstf.store.lock import Lock
from xstf.store.place import LOCK, Place

zarr = pytest.importorskip("zarr", minversion="3", reason="needs zarr 3")


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
    assert values_of(path) == values_of(tmp_path / "whole.zarr")


@pytest.mark.parametrize("recorded", [False, True])
def test_what_a_kill_left_half_written_is_in_nobodys_way(tmp_path, recorded):
    """Zarr writes a key beside it and renames it; killed between, the part stays."""
    write(lazily(), tmp_path / "whole.zarr")
    path = tmp_path / "out.zarr"
    left = [path / f"{where}zarr.{'b5' * 16}.partial" for where in ("", "_xstf/")]
    (path / "_xstf").mkdir(parents=True)
    if recorded:
        whole = Place.of(tmp_path / "whole.zarr").record()
        Place.of(path).put_record(whole | {"template": False})
    for file in left:
        file.write_text("{")
    write(lazily(), path)
    assert not any(file.exists() for file in left)
    assert values_of(path) == values_of(tmp_path / "whole.zarr")


def test_files_of_others_are_no_leftovers(tmp_path):
    (tmp_path / "out.zarr").mkdir()
    theirs = tmp_path / "out.zarr" / "film.partial"
    theirs.write_text("half")
    with pytest.raises(FileExistsError, match="it holds something else"):
        write(lazily(), tmp_path / "out.zarr")
    assert theirs.read_text() == "half"


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


def until(true, seconds=20):
    """Return whether something becomes true in time, on a busy machine, too."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def test_a_lock_that_beats_and_one_that_was_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("xstf.store.lock.BEAT", 0.02)
    place = Place.of(tmp_path / "out.zarr")
    with Lock(place) as lock:
        first = json.loads(place.read(LOCK))["beat"]
        assert until(lambda: json.loads(place.read(LOCK))["beat"] > first)
        said(place)

        def is_taken():
            try:
                lock.check()
            except OSError as error:
                return "taken the store over" in str(error)
            said(place)  # a beat that had begun before wrote over the other's

        assert until(is_taken)
    assert place.read(LOCK) is not None  # the other's
    assert socket.gethostname() in place.read(LOCK).decode()


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
    data = da.map_blocks(slow, fused.data, log, 0.02, meta=fused.data._meta)
    xstf.store.to_zarr(fused.copy(data=data), out, progress=False)
# What each would load again.
xr.backends.list_engines()
fine, coarse = xstf.testing.scene()
xstf.fuse(fine.chunk(), coarse.chunk(), method="fsdaf").compute(scheduler="synchronous")
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        run(*line.split())
        sys.stdout.flush()
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def second_is_refused(runs, line):
    """Write to where another process is writing."""
    path = Path(line.split()[1])
    runs.stdin.write(f"{line}\n")
    runs.stdin.flush()
    pid = int(runs.stdout.readline())
    while not (path / LOCK).exists():
        time.sleep(0.005)
    os.kill(pid, signal.SIGSTOP)  # it is alive, and takes its time
    try:
        with pytest.raises(OSError, match=rf"process {pid} on .* is writing to it.*two\.zarr"):
            write(lazily(), path)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert int(runs.stdout.readline()) == 0
    assert store.verify(path) == []


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
            with suppress(ProcessLookupError):  # it ended just before
                os.kill(pid, signal.SIGKILL)
        return int(runs.stdout.readline()), log.read_text().split()

    with runs:
        assert run(tmp_path / "whole.zarr")[0] == 0
        start = time.monotonic()
        assert run(tmp_path / "again.zarr")[0] == 0
        length = time.monotonic() - start
        assert files_of(tmp_path / "again.zarr") == files_of(tmp_path / "whole.zarr")
        second_is_refused(runs, f"{tmp_path / 'in.nc'} {tmp_path / 'two.zarr'} {log}")
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
                assert len(made) == len(set(made))
                most = max(most, len(marked))
            assert files_of(out) == files_of(tmp_path / "whole.zarr")
            assert store.verify(out) == []
        assert most > 0
        runs.stdin.close()


# --- clusters ---------------------------------------------------------------------------------

ON_A_CLUSTER = """
import os, signal, sys, threading, time
from pathlib import Path
import dask.array as da, distributed, xstf, zarr

def slow(values):
    time.sleep(0.1)
    return values

def main(path, out):
    fine = xstf.files.open_cube(path, chunks=16)
    fused = xstf.fuse(fine, xstf.testing.scene()[1].chunk(time=1), method="fsdaf")
    del fused.attrs["history"]
    xstf.store.to_zarr(fused, f"{out}/whole.zarr", progress=False)
    fused = fused.copy(data=da.map_blocks(slow, fused.data, meta=fused.data._meta))
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        pids = list(client.run(os.getpid).values())

        def kill():
            while len(list(Path(f"{out}/out.zarr/_xstf/marks").glob("0/c/*/*/*/*"))) < 2:
                time.sleep(0.02)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        xstf.store.to_zarr(fused, f"{out}/out.zarr", progress=True)
        killer.join()
        assert set(pids) != set(client.run(os.getpid).values())
        try:
            xstf.store.to_zarr(fused, zarr.storage.MemoryStore(), progress=False)
        except ValueError as error:
            print(error)

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.slow
def test_a_worker_of_a_cluster_that_is_killed_changes_nothing(tmp_path):
    pytest.importorskip("distributed", reason="needs distributed")
    xstf.files.save_cube(FINE, tmp_path / "in.nc")
    script = tmp_path / "script.py"
    script.write_text(ON_A_CLUSTER)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "in.nc", tmp_path], check=False, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "a cluster cannot reach it" in done.stdout
    assert "Completed" in done.stdout  # distributed's bar
    assert values_of(tmp_path / "out.zarr") == values_of(tmp_path / "whole.zarr")
    assert store.verify(tmp_path / "out.zarr") == []


# --- disks ------------------------------------------------------------------------------------


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount a file system"
)
def test_a_full_and_a_read_only_disk(tmp_path):
    """The error has the path, and the store is gone on with when there is space."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options):
        done = subprocess.run(["mount", *options, disk], check=False, capture_output=True)
        if done.returncode:
            pytest.skip("cannot mount")

    mount("-t", "tmpfs", "-o", "size=160k", "none")
    try:
        with pytest.raises(OSError, match=r"no space is left on the disk.*out\.zarr"):
            write(lazily(), disk / "out.zarr")
        marked = marks_of(disk / "out.zarr")
        assert len(marked) < 18
        mount("-o", "remount,ro,size=4m")
        with pytest.raises(OSError, match=r"read-only|cannot be written.*out\.zarr"):
            write(lazily(), disk / "out.zarr")
        mount("-o", "remount,rw,size=4m")
        write(lazily(), disk / "out.zarr")
        write(lazily(), tmp_path / "whole.zarr")
        assert files_of(disk / "out.zarr") == files_of(tmp_path / "whole.zarr")
    finally:
        subprocess.run(["umount", disk], check=True)


class Full(zarr.storage.WrapperStore):
    """A store on a disk that is full after some writes."""

    left = 25

    async def set(self, key, value):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await super().set(key, value)

    def with_read_only(self, read_only=False):
        return self._store.with_read_only(read_only)


def test_a_store_that_is_full():
    memory = zarr.storage.MemoryStore()
    full = Full(memory)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(OSError, match="no space is left on the disk"),
    ):
        write(lazily(), full)
    assert [f.kind for f in store.verify(memory)][0] == "incomplete"
    write(lazily(), memory)
    assert store.verify(memory) == []


@pytest.mark.parametrize("after", range(0, 16, 3))
def test_a_run_that_is_stopped_before_the_first_tile(tmp_path, after):
    """While metadata are written; what is there is ours, and begun again."""
    path = tmp_path / "out.zarr"
    full = Full(zarr.storage.LocalStore(path))
    full.left = after
    with pytest.raises(OSError, match="no space is left"):
        write(FINE, full)
    assert store.verify(path)[0].kind == "incomplete"
    write(FINE, path)
    write(FINE, tmp_path / "whole.zarr")
    assert files_of(path) == files_of(tmp_path / "whole.zarr")
