"""The command line, as a shell meets it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf._method import TASKS
from xstf.cli.main import main


@pytest.fixture
def paths(scene, tmp_path):
    for name, cube in zip(("fine", "coarse"), scene, strict=True):
        cube.to_netcdf(tmp_path / f"{name}.nc")
    return tmp_path / "fine.nc", tmp_path / "coarse.nc"


def test_fuse_writes_what_the_function_gives(paths, scene, tmp_path, capsys):
    out = tmp_path / "out.nc"
    call = ["fuse", *map(str, paths), "-o", str(out), "--method", "starfm", "-p", "window=9"]
    assert main(call) == 0
    want = xstf.fuse(*scene, method="starfm", window=9)
    with xr.open_dataarray(out) as back:
        np.testing.assert_allclose(back, want, rtol=1e-4, atol=1e-5)
    assert capsys.readouterr().out == ""


def test_fuse_in_chunks_gives_the_same(paths, tmp_path):
    out = [tmp_path / "whole.nc", tmp_path / "chunked.nc"]
    call = ["fuse", *map(str, paths), "--method", "starfm", "--quality", "-o"]
    assert main([*call, str(out[0])]) == main([*call, str(out[1]), "--chunks", "16"]) == 0
    with xr.open_dataset(out[0]) as whole, xr.open_dataset(out[1]) as chunked:
        xr.testing.assert_allclose(whole.load(), chunked.load(), rtol=1e-4, atol=1e-5)


def test_train_writes_weights_that_fuse_takes(paths, tmp_path):
    weights, out = tmp_path / "w.safetensors", tmp_path / "out.nc"
    small = ["-p", "epochs=1", "-p", "steps=1", "-p", "patch=16", "-p", "batch=1"]
    assert main(["train", "ctstfm", *map(str, paths), "-o", str(weights), *small]) == 0
    assert xstf.weights.load(weights).manifest.method == "ctstfm"
    call = ["fuse", *map(str, paths), "-o", str(out), "--method", "ctstfm"]
    assert main([*call, "-p", f"weights={weights}"]) == 0
    assert out.exists()


def test_fuse_takes_a_third_cube(tmp_path):
    scene = xstf.scenes.hyperspectral_series(size=60, bands=40)
    for name in ("spectral", "dense", "sharp"):
        getattr(scene, name).to_netcdf(tmp_path / f"{name}.nc")
    out = tmp_path / "out.nc"
    cubes = [str(tmp_path / f"{name}.nc") for name in ("spectral", "dense")]
    call = ["fuse", *cubes, "--spatial", str(tmp_path / "sharp.nc"), "-o", str(out)]
    assert main(call) == 0
    with xr.open_dataarray(out, decode_coords="all") as back:
        want = scene.spectral.stf.fuse(scene.dense, spatial=scene.sharp)
        np.testing.assert_allclose(back, want, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_evaluate_prints_a_table(paths, capsys):
    assert main(["evaluate", *map(str, paths), "--methods", "starfm", "estarfm"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("rmse", "starfm", "estarfm", "unchanged", "delta"))


@pytest.mark.slow
def test_gapfill_writes_what_the_function_gives(tmp_path):
    cube, sar = xstf.testing.holes()
    cube.to_netcdf(tmp_path / "cube.nc")
    sar.to_netcdf(tmp_path / "sar.nc")
    out = tmp_path / "out.nc"
    call = ["gapfill", str(tmp_path / "cube.nc"), "-o", str(out), "--max-gap", "60D"]
    assert main([*call, "--method", "linear", "--screen", "no"]) == 0
    want = cube.stf.gapfill(method="linear", max_gap="60D")
    with xr.open_dataarray(out, decode_coords="all") as back:
        np.testing.assert_allclose(back, want, rtol=1e-4, atol=1e-5)
    assert main([*call, "--method", "gp", "--sar", str(tmp_path / "sar.nc"), "--quality"]) == 0
    with xr.open_dataset(out) as back:
        assert f"{cube.name}_std" in back


@pytest.mark.slow
def test_evaluate_gapfill_prints_a_table(tmp_path, capsys):
    cube, _ = xstf.testing.holes()
    cube.to_netcdf(tmp_path / "cube.nc")
    call = ["evaluate-gapfill", str(tmp_path / "cube.nc"), "--methods", "linear", "harmonic"]
    assert main(call) == 0
    printed = capsys.readouterr().out
    words = ("partial", "persistent", "full", "linear", "harmonic", "covered")
    assert all(word in printed for word in words)


@pytest.mark.parametrize("command", ["sharpen_spectral", "sharpen"])
def test_sharpen_writes_what_the_function_gives(tmp_path, command):
    spectral, spatial, _ = xstf.testing.bands()
    spectral.to_netcdf(tmp_path / "spectral.nc")
    spatial.to_netcdf(tmp_path / "spatial.nc")
    out = tmp_path / "out.nc"
    inputs = [str(tmp_path / f"{name}.nc") for name in ("spectral", "spatial")]
    assert main([command, *inputs, "-o", str(out), "--method", "fuse", "--psf", "1.0"]) == 0
    want = spectral.stf.sharpen_spectral(spatial, method="fuse", psf=1.0)
    with xr.open_dataarray(out, decode_coords="all") as back:
        np.testing.assert_allclose(back, want, rtol=1e-4, atol=1e-5)


def test_methods_lists_all(capsys):
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for task in TASKS for name in xstf.list_methods(task).index)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--method", "starfn"], "no fuse method 'starfn'"),
        (["-p", "window=8"], "window"),
        (["-p", "window"], "NAME=VALUE"),
        (["--variable", "ndvi"], "no variable 'ndvi'"),
    ],
)
def test_errors_are_one_line_and_status_1(paths, tmp_path, capsys, change, says):
    out = tmp_path / "out.nc"
    method = [] if "--method" in change else ["--method", "starfm"]
    assert main(["fuse", *map(str, paths), "-o", str(out), *method, *change]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("xstf: ")
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["fuse", str(tmp_path / "no.nc"), "b.nc", "-o", "out.nc"]) == 1
    assert "no.nc" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_truncated_file_is_named(paths, tmp_path, capsys, keep):
    paths[0].write_bytes(paths[0].read_bytes()[:keep])
    assert main(["fuse", *map(str, paths), "-o", str(tmp_path / "out.nc")]) == 1
    assert "fine.nc" in capsys.readouterr().err
    assert not (tmp_path / "out.nc").exists()


def test_debug_shows_the_traceback(paths, tmp_path):
    with pytest.raises(ValueError, match="starfn"):
        main(
            [
                "--debug",
                "fuse",
                *map(str, paths),
                "-o",
                str(tmp_path / "o.nc"),
                "--method",
                "starfn",
            ]
        )


@pytest.mark.slow
def test_wrong_usage_is_status_2():
    done = subprocess.run([sys.executable, "-m", "xstf", "fuse"], capture_output=True, check=False)
    assert done.returncode == 2


@pytest.mark.slow
def test_demo_leaves_a_file_and_a_picture(tmp_path, capsys):
    assert main(["demo", "--size", "60", "-o", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("RMSE", "unchanged", "delta", "starfm", "fsdaf"))
    assert (tmp_path / "demo" / "fused.png").read_bytes().startswith(b"\x89PNG")
    with xr.open_dataset(tmp_path / "demo" / "fused.nc", decode_coords="all") as back:
        assert "spatial_ref" in back.coords
        assert set(back.sizes) == {"time", "band", "y", "x"}
