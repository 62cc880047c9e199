"""Whole runs on the GPU, or on its stand-in: what moves, what waits, what does not fit."""

from __future__ import annotations

import importlib
import threading

import numpy as np
import pytest
import test_laws

import xstf
from xstf.methods.lookup import get_method
from xstf.tiles import gpu as _gpu
from xstf.tiles import job as _job
from xstf.tiles.engines import make_runner

STARFM = get_method("fuse", "starfm")
SMALL = {"method": "starfm", "window": 9}


@pytest.fixture
def stand_in(cuda):
    """The stand-in's log: tests that count need it."""
    if cuda is None:
        pytest.skip("a GPU counts nothing; its stand-in does")
    _gpu._GPUS.clear()
    yield cuda
    _gpu._GPUS.clear()


@pytest.fixture
def sampled(monkeypatch):
    """Bytes that `settle` is given of whole images: these alone come to the host."""
    found = []

    def counted(array):
        if _gpu.is_cupy(array):
            found.append(array.nbytes)
        return _gpu.to_host(array)

    for module in ("states", "frame", "doubt", "fuse", "units", "gapfill", "sharpen_spectral"):
        monkeypatch.setattr(importlib.import_module(f"xstf.tiles.{module}"), "to_host", counted)
    return found


def on_gpu(cube):
    return cube.copy(data=importlib.import_module("cupy").asarray(cube.data))


def host(cube):
    return cube.copy(data=_gpu.to_host(cube.data))


@pytest.mark.parametrize("method", ["starfm", "estarfm", "fitfc", "fsdaf", "auto"])
def test_a_cube_of_the_gpu_stays_there(stand_in, sampled, scene, method):
    fine, coarse = map(on_gpu, scene)
    stand_in.reset()
    fused = xstf.fuse(fine, coarse, method=method, return_quality=True)
    assert stand_in.kernels
    assert stand_in.to_host == sum(sampled) > 0
    want = xstf.fuse(*scene, method=method, return_quality=True)
    for name in want.data_vars:
        assert _gpu.is_cupy(fused[name].data)
        np.testing.assert_allclose(host(fused[name]), want[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_default_blends_its_parts_there(stand_in):
    """A scene that is large enough for the blend, and two pairs."""
    fine, coarse = test_laws.labelled(
        test_laws.make_case(ratio=4, cells=(12, 13), pairs=2), [0] * 4
    )
    call = {"time": coarse.time[-1:], "return_quality": True}
    want = xstf.fuse(fine, coarse, **call)
    stand_in.reset()
    found = xstf.fuse(on_gpu(fine), on_gpu(coarse), **call)
    assert {"regress", "mix", "down", "votes"} <= set(stand_in.kernels)
    assert found.attrs["stf_choice"] == want.attrs["stf_choice"]
    for name in want.data_vars:
        np.testing.assert_allclose(host(found[name]), want[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_a_cube_of_the_host_goes_there_and_comes_back(stand_in, scene, lazy):
    fine, coarse = (cube.chunk(y=20, x=20) if lazy else cube for cube in scene)
    fused = xstf.fuse(fine, coarse, engine="cupy", device="cuda", **SMALL).compute()
    assert isinstance(fused.data, np.ndarray)
    assert stand_in.to_host > 0
    want = xstf.fuse(*scene, engine="numba", **SMALL)
    np.testing.assert_allclose(fused, want, rtol=1e-4, atol=1e-6)


def test_workers_of_a_cluster_use_the_gpu_that_is_theirs(stand_in, scene):
    """As dask-cuda sets them up, one worker a GPU: "cuda" is the current one of each."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    device = importlib.import_module("cupy").cuda.Device

    def set_up(number):
        device.current.id = number
        return _gpu.gpu_of("cuda").number

    fine, coarse = (cube.chunk(y=24, x=24) for cube in scene)
    fused = xstf.fuse(fine, coarse.chunk(y=3, x=3), engine="cupy", device="cuda", **SMALL)
    with distributed.Client(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as client:
        workers = list(client.scheduler_info()["workers"])
        for number, worker in enumerate(workers):
            assert client.submit(set_up, number, workers=worker, pure=False).result() == number
        found = fused.compute()
    assert set(_gpu._GPUS) == {0, 1}
    want = xstf.fuse(*scene, engine="numba", **SMALL)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_so_many_tiles_are_on_the_gpu_and_one_kernel_runs(stand_in):
    """More threads than places: none gets in early, and pinned memory is not mixed up."""
    running, most, guard = [0], [0], threading.Lock()

    def kernel(a, *, by):
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        result = a * by
        with guard:
            running[0] -= 1
        return result, None

    found = [None] * 12

    def run(n):
        found[n] = _gpu.run_there(kernel, (np.full((50, 40 + n), n, np.float32),), "cuda:0", by=2.0)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, (doubled, nothing) in enumerate(found):
        assert nothing is None
        np.testing.assert_array_equal(doubled, np.full((50, 40 + n), 2 * n))
    assert most[0] == 1
    assert stand_in.most_inside <= _gpu.PLACES
    assert stand_in.streams <= _gpu.PLACES


def test_a_kernel_that_fails_gives_its_place_back(stand_in):
    def kernel(a):
        raise ZeroDivisionError

    for _ in range(_gpu.PLACES + 1):
        with pytest.raises(ZeroDivisionError):
            _gpu.run_there(kernel, (np.ones(3, np.float32),), None)


def test_a_tile_that_does_not_fit_is_halved(stand_in, monkeypatch):
    """80 x 80 pixels of two bands are 51200 bytes, half of them with their halo 32000."""
    monkeypatch.setattr(_job, "LEAST", 8)
    cubes = test_laws.labelled(test_laws.make_case(ratio=2, cells=(40, 40)), [0] * 4)
    call = {"engine": "cupy", "register": False, "change": "raw", "method": "starfm", "window": 3}
    whole = xstf.fuse(*cubes, **call)
    kernels = sum(stand_in.kernels.values())
    stand_in.reset(largest=40000)
    halved = xstf.fuse(*cubes, **call)
    assert stand_in.refused == stand_in.freed == 1
    assert sum(stand_in.kernels.values()) == 2 * kernels
    np.testing.assert_array_equal(halved, whole)


def test_what_never_fits_is_said_with_the_tile(stand_in, scene, monkeypatch):
    monkeypatch.setattr(_job, "LEAST", 16)
    stand_in.reset(largest=100)
    with pytest.raises(MemoryError, match=r"memory is too small for a tile of \d+ x \d+ pixels"):
        xstf.fuse(*scene, engine="cupy", **SMALL)


def test_another_error_is_not_taken_for_a_full_memory():
    class OutOfMemoryError(Exception):
        pass

    assert not _gpu.is_full(OutOfMemoryError())
    assert not _gpu.is_full(MemoryError())
    OutOfMemoryError.__module__ = "torch"
    assert _gpu.is_full(OutOfMemoryError())


@pytest.mark.cuda
def test_a_device_of_another_engine_is_refused():
    with pytest.raises(ValueError, match=r"device 'cpu' does not fit engine 'cupy'"):
        make_runner(STARFM, "cupy", "cpu")


@pytest.mark.parametrize("method", ["linear", "whittaker"])
def test_a_cube_with_holes_stays_on_the_gpu(stand_in, sampled, method):
    cube, _ = xstf.testing.holes()
    want = xstf.gapfill(cube, method=method, screen=False, return_quality=True)
    stand_in.reset()
    filled = xstf.gapfill(on_gpu(cube), method=method, screen=False, return_quality=True)
    assert stand_in.kernels
    assert stand_in.to_host == sum(sampled)
    for name in want.data_vars:
        np.testing.assert_allclose(host(filled[name]), want[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", [{"max_gap": 40}, {"edge": "nearest"}])
def test_what_a_filling_leaves_and_holds_is_the_same_there(stand_in, options):
    cube, _ = xstf.testing.holes()
    call = {"method": "linear", "screen": False} | options
    filled = xstf.gapfill(on_gpu(cube), engine="cupy", **call)
    np.testing.assert_allclose(host(filled), xstf.gapfill(cube, **call), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["auto", "gsa", "local_regression"])
def test_a_sharpened_cube_stays_on_the_gpu(stand_in, sampled, method):
    spectral, spatial, _ = xstf.testing.bands()
    want = xstf.sharpen_spectral(spectral, spatial, method=method)
    stand_in.reset()
    found = xstf.sharpen_spectral(on_gpu(spectral), on_gpu(spatial), method=method)
    assert stand_in.to_host == sum(sampled)
    np.testing.assert_allclose(host(found), want, rtol=1e-4, atol=1e-6)
