"""Engines: chosen openly, never swapped."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import xstf
from xstf.methods.lookup import get_method
from xstf.tiles import engines as _engines

STARFM = get_method("fuse", "starfm")


def test_the_first_of_the_record_that_needs_no_gpu():
    assert _engines.pick_engine(STARFM, None, np.zeros(3)) == "numba"


def test_an_unknown_engine_lists_those_there_are():
    with pytest.raises(ValueError, match=r"starfm has no engine 'fortran'.*numba.*numpy"):
        _engines.pick_engine(STARFM, "fortran")
    with pytest.raises(ValueError, match=r"; did you mean 'numba'\?$"):
        _engines.pick_engine(STARFM, "Numbas")


def test_an_engine_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setattr(_engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"xstf\[cupy\]"):
        _engines.pick_engine(STARFM, "cupy")


def test_no_gpu_is_said_and_not_worked_around(monkeypatch):
    class NoGpu:
        @staticmethod
        def is_available():
            return False

    monkeypatch.setattr(_engines.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(_engines.importlib, "import_module", lambda name: NoGpu)
    with pytest.raises(ImportError, match="finds no GPU"):
        _engines.pick_engine(STARFM, "cupy")


def test_a_cube_on_the_gpu_needs_a_gpu_engine():
    class OnGpu:
        pass

    OnGpu.__module__ = "cupy"
    host_only = dataclasses.replace(STARFM, kernels={"numpy": STARFM.kernels["numpy"]})
    assert _engines.pick_engine(STARFM, None, OnGpu()) == "cupy"
    with pytest.raises(ValueError, match="no GPU engine"):
        _engines.pick_engine(host_only, None, OnGpu())


def test_a_device_that_does_not_fit_the_engine():
    with pytest.raises(ValueError, match=r"device 'cuda:0' does not fit engine 'numba'"):
        _engines.make_runner(STARFM, "numba", "cuda:0")


@pytest.mark.gpu
def test_a_host_cube_goes_to_the_gpu_and_comes_back(scene):
    fused = xstf.fuse(*scene, method="starfm", engine="cupy")
    want = xstf.fuse(*scene, method="starfm", engine="numba")
    assert isinstance(fused.data, np.ndarray)
    np.testing.assert_allclose(fused, want, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
def test_cupy_in_cupy_out(scene):
    import cupy

    fine, coarse = (cube.copy(data=cupy.asarray(cube.data)) for cube in scene)
    assert isinstance(xstf.fuse(fine, coarse, method="starfm").data, cupy.ndarray)
