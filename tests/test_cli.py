"""The command line, as a shell meets it."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf._method import TASKS
from xstf.cli.arguments import open_gaps
from xstf.cli.main import _parser, main
from xstf.cli.words import in_options, options_of


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


# --- folders, new options, words --------------------------------------------------------------


def test_max_gap_counts_in_days(tmp_path):
    cube, _ = xstf.testing.holes()
    cube.to_netcdf(tmp_path / "cube.nc")
    filled = []
    for length in ("60", "60D"):
        out = tmp_path / f"{length}.nc"
        call = ["gapfill", str(tmp_path / "cube.nc"), "-o", str(out), "--max-gap", length]
        assert main([*call, "--method", "linear"]) == 0
        with xr.open_dataarray(out, decode_coords="all") as back:
            filled.append(back.load())
    np.testing.assert_array_equal(*filled)
    assert filled[0].notnull().sum() > cube.notnull().sum()


def test_several_radars_come_as_a_list(tmp_path):
    cube, sar = xstf.testing.holes()
    cube.to_netcdf(tmp_path / "cube.nc")
    for name, part in (("a", slice(None, None, 2)), ("b", slice(1, None, 2))):
        sar.isel(time=part).to_netcdf(tmp_path / f"{name}.nc")
    parser, _ = _parser()
    for given in (["--sar", "a.nc", "b.nc"], ["--sar", "a.nc", "--sar", "b.nc"]):
        arguments = parser.parse_args(["gapfill", "cube.nc", "-o", "out.nc", *given])
        assert [str(path) for path in arguments.sar] == ["a.nc", "b.nc"]
        arguments.cube = tmp_path / "cube.nc"
        arguments.sar = [tmp_path / path for path in arguments.sar]
        _, options = open_gaps(arguments, None)
        assert [one.sizes["time"] for one in options["sar"]] == [
            sar[::2].sizes["time"], sar[1::2].sizes["time"]]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "argument", "want"),
    [
        (["--composite", "16D"], "composite", "16D"),
        (["--composite", "no"], "composite", False),
        (["--scale", "0.0001"], "scale", 1e-4),
        (["--coarse-scale", "10"], "coarse_scale", 10.0),
        (["--spatial-scale", "10"], "spatial_scale", 10.0),
        (["--min-valid", "0.9"], "min_valid", 0.9),
        (["--valid-range", "0", "1"], "valid_range", (0.0, 1.0)),
        (["--decoded", "no"], "decoded", False),
    ],
)
def test_options_of_fuse_reach_the_function(paths, tmp_path, monkeypatch, given, argument, want):
    seen = {}

    def fuse(fine, coarse, **options):
        seen.update(options)
        return fine

    monkeypatch.setattr(xstf, "fuse", fuse)
    assert main(["fuse", *map(str, paths), "-o", str(tmp_path / "out.nc"), *given]) == 0
    assert seen[argument] == want


@pytest.mark.parametrize(
    ("given", "argument", "want"),
    [
        (["--time", "2021-05-01", "2021-05-11"], "time", ["2021-05-01", "2021-05-11"]),
        (["--freq", "5D"], "freq", "5D"),
        (["--edge", "nan"], "edge", "nan"),
        (["--scale", "0.0001"], "scale", 1e-4),
    ],
)
def test_options_of_gapfill_reach_the_function(paths, tmp_path, monkeypatch, given, argument, want):
    seen = {}

    def gapfill(cube, **options):
        seen.update(options)
        return cube

    monkeypatch.setattr(xstf, "gapfill", gapfill)
    assert main(["gapfill", str(paths[0]), "-o", str(tmp_path / "out.nc"), *given]) == 0
    assert seen[argument] == want


def test_plan_prints_what_the_function_says(paths, scene, capsys):
    call = ["plan", *map(str, paths), "--method", "starfm", "-p", "window=9"]
    assert main(call) == 0
    assert capsys.readouterr().out.strip() == repr(xstf.plan(*scene, method="starfm", window=9))
    assert main([*call, "--verb", "fuse", "--chunks", "20", "--time", "2021-05-13"]) == 0
    printed = capsys.readouterr().out
    assert "chunks" in printed
    assert "time: 1" in printed
    assert main(["plan", str(paths[0]), "--verb", "gapfill", "-p", "max_gap=60"]) == 0
    assert "plan of gapfill" in capsys.readouterr().out


def test_plan_takes_a_third_cube(tmp_path, capsys):
    made = xstf.scenes.hyperspectral_series(size=30, bands=40)
    for name in ("spectral", "dense", "sharp"):
        getattr(made, name).to_netcdf(tmp_path / f"{name}.nc")
    cubes = [str(tmp_path / f"{name}.nc") for name in ("spectral", "dense")]
    third = ["--spatial", str(tmp_path / "sharp.nc")]
    assert main(["plan", *cubes, *third, "--verb", "fuse"]) == 0
    assert "sts_linear" in capsys.readouterr().out


def test_errors_speak_of_options(paths, tmp_path, capsys):
    out = ["-o", str(tmp_path / "out.nc")]
    fuse = ["fuse", *map(str, paths), *out]
    assert main([*fuse, "--time", "2031-01-01"]) == 1
    assert "--time asks for 2031-01-01" in capsys.readouterr().err
    assert main([*fuse, "--min-valid", "2"]) == 1
    assert "--min-valid is the least valid share" in capsys.readouterr().err
    assert main([*fuse, "--pair-tolerance", "soon"]) == 1
    assert "--pair-tolerance 'soon' is no length" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("give coarse_resolution=480 or method='starfm'",
         "give --coarse-resolution 480 or --method starfm"),
        ("widen pair_tolerance or add images", "widen --pair-tolerance or add images"),
        ("pick some with pattern='*_10m*'", "pick some with --pattern '*_10m*'"),
        ("clip=True asks for it", "-p clip=True asks for it"),
        ("give mask=…", "give --mask…"),
        ("give mask=xstf.masks.scl(ds.SCL) or drop", "give --mask SCL or drop"),
        ("give coarse_mask=xstf.masks.scl(ds['S C']) or", "give --coarse-mask 'S C' or"),
        ("give valid_range=(low, high); if", "give --valid-range low high; if"),
        ("set return_quality=True", "set --quality"),
        ("isel(y=slice(None, None, -1)), attrs['scale_factor']=1, xr.concat([a, b], dim='time')",
         "isel(y=slice(None, None, -1)), attrs['scale_factor']=1, xr.concat([a, b], dim='time')"),
    ],
)  # fmt: skip
def test_arguments_become_options(text, want):
    options = options_of(_parser()[1]["fuse"])
    assert in_options(text, options) == want


def test_pairs_of_numbers_and_attributes_in_words():
    options = {"valid_range": "--valid-range"}
    assert in_options("give valid_range=(low, high); or", options) == (
        "give --valid-range low high; or"
    )
    text = "cube's attribute valid_range=[1, 2, 3] has 3 numbers"
    assert in_options(text, options) == text


def test_warnings_are_one_line_in_the_same_words(paths, capsys, tmp_path):
    warnings.simplefilter("always")
    fine = xr.open_dataarray(paths[0]).load()
    late = fine[[0]].assign_coords(time=fine.time[[0]] + np.timedelta64(400, "D"))
    xr.concat([fine, late], "time").to_netcdf(tmp_path / "late.nc")
    call = ["fuse", str(tmp_path / "late.nc"), str(paths[1]), "-o", str(tmp_path / "out.nc")]
    assert main([*call, "--method", "starfm"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "warning:" in line]
    assert len(said) == 1
    assert said[0].startswith("xstf: warning: fine has images without a coarse one")
    assert "widen --pair-tolerance" in said[0]


def test_a_folder_with_two_cubes_is_picked_by_its_own_option(tmp_path, scene, capsys):
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    folders = {}
    for name, cube in zip(("fine", "coarse"), scene, strict=True):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        placed = cube.rio.write_crs(32633)
        for date in placed.time.values:
            for band in placed.band.values:
                one = placed.sel(time=date, band=band, drop=True)
                one.rio.to_raster(folders[name] / f"{str(date)[:10]}_{band}.tif")
    smaller = placed.isel(time=0, band=0, drop=True)[1:]
    smaller.rio.to_raster(folders["coarse"] / "2021-04-07_B99.tif")
    call = ["fuse", str(folders["fine"]), str(folders["coarse"]), "-o", str(tmp_path / "out.nc")]
    assert main(call) == 1
    error = capsys.readouterr().err
    assert "2 grids" in error
    assert "--coarse-pattern '" in error
    bands = "[" + "".join(sorted({str(b)[0] for b in scene[1].band.values})) + "]"
    call += ["--method", "starfm", "--coarse-pattern", f"*_{bands}*", "--quality"]
    assert main(call) == 0
    with xr.open_dataset(tmp_path / "out.nc") as back:
        assert back.sizes["time"] == 2


def dataset(scene, tmp_path, *, numbers=False):
    """Write a fine cube as bands beside layers, clouds in the first rows."""
    data = scene[0].to_dataset("band")
    cloud = np.zeros((3, 48, 48), bool)
    cloud[:, :8] = True
    dims = ("time", "y", "x")
    data["SCL"] = dims, np.where(cloud, 9, 4).astype("u1")
    data["bad"] = dims, cloud
    if numbers:
        data["zero_one"] = dims, cloud.astype("u1")  # which would be a band
    data["QF"] = dims, np.where(cloud, 6, 0).astype("u1")
    data.to_netcdf(tmp_path / "data.nc")
    return data, str(tmp_path / "data.nc")


@pytest.mark.parametrize("chunks", [[], ["--chunks", "24"]])
@pytest.mark.parametrize("name", ["SCL", "bad", "zero_one"])
def test_a_mask_is_a_variable_of_the_file(scene, paths, tmp_path, name, chunks):
    data, path = dataset(scene, tmp_path, numbers=name == "zero_one")
    out = tmp_path / "out.nc"
    call = ["fuse", path, str(paths[1]), "-o", str(out), "--method", "starfm", "--mask", name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*call, *chunks]) == 0
        want = scene[0].stf.fuse(scene[1], method="starfm", mask=data.bad)
    with xr.open_dataset(out) as back:
        band = str(scene[0].band.values[0])
        np.testing.assert_allclose(back[band], want.sel(band=band), rtol=1e-5)


@pytest.mark.parametrize("chunks", [[], ["--chunks", "24"]])
def test_numbers_that_are_no_yes_or_no_make_no_mask(scene, tmp_path, capsys, chunks):
    _, path = dataset(scene, tmp_path)
    call = ["gapfill", path, "-o", str(tmp_path / "out.nc"), "--method", "linear"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*call, "--mask", "QF", *chunks]) == 1
    assert "--mask 'QF' has the numbers 6" in capsys.readouterr().err
