"""The command line, as a shell meets it."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.cli.main import build, main
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


def test_a_method_found_by_trial_is_left_to_the_verb(paths, capsys):
    assert main(["fuse", *map(str, paths), "--method", "evaluate", "--dry-run"]) == 1
    assert "tries methods on values, which a plan does not read" in capsys.readouterr().err


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
    assert main(["evaluate", "fuse", *map(str, paths), "--methods", "starfm", "estarfm"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("rmse", "starfm", "estarfm", "unchanged", "delta"))


def test_evaluate_scores_the_bands_and_the_part_that_are_asked_for(paths, capsys):
    fine, coarse = (xr.open_dataarray(path, decode_coords="all") for path in paths)
    x, y = fine.x.values, fine.y.values
    box = f"{x[0] - 1:.9f},{y[30:].min() - 1:.9f},{x[39] + 1:.9f},{y[0] + 1:.9f}"
    band = str(fine["band"].values[1])
    with fine, coarse:
        want = xstf.evaluate_fusion(
            fine.sel(band=[band]).isel(x=slice(40)), coarse.sel(band=[band]), methods=["starfm"]
        )
    call = ["--json", "evaluate", "fuse", *map(str, paths), "--methods", "starfm"]
    assert main([*call, "--bands", band, f"--bbox={box}"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    rmse = [one["rmse"] for one in found if one["method"] == "starfm"]
    np.testing.assert_allclose(
        rmse, want["rmse"].sel({"method": "starfm"}).values.ravel(), rtol=1e-6
    )


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
    more = ["--method", "gp", "--sar", str(tmp_path / "sar.nc"), "--quality", "--overwrite"]
    assert main([*call, *more]) == 0
    with xr.open_dataset(out) as back:
        assert f"{cube.name}_std" in back


@pytest.mark.slow
def test_evaluate_gapfill_prints_a_table(tmp_path, capsys):
    cube, _ = xstf.testing.holes()
    cube.to_netcdf(tmp_path / "cube.nc")
    call = ["evaluate", "gapfill", str(tmp_path / "cube.nc"), "--methods", "linear", "whittaker"]
    assert main(call) == 0
    printed = capsys.readouterr().out
    words = ("partial", "persistent", "full", "linear", "whittaker", "coverage")
    assert all(word in printed for word in words)


@pytest.mark.parametrize("command", ["sharpen_spectral", "sharpen"])
def test_sharpen_writes_what_the_function_gives(tmp_path, capsys, command):
    spectral, spatial, _ = xstf.testing.bands()
    spectral.to_netcdf(tmp_path / "spectral.nc")
    spatial.to_netcdf(tmp_path / "spatial.nc")
    out = tmp_path / "out.nc"
    inputs = [str(tmp_path / f"{name}.nc") for name in ("spectral", "spatial")]
    assert main([command, *inputs, "-o", str(out), "--method", "fuse", "--psf", "1.0"]) == 0
    want = spectral.stf.sharpen_spectral(spatial, method="fuse", psf=1.0)
    with xr.open_dataarray(out, decode_coords="all") as back:
        np.testing.assert_allclose(back, want, rtol=1e-4, atol=1e-5)
    assert main([command, *inputs, "-o", str(tmp_path / "no.nc"), "--psf", "landsat-8"]) != 0
    assert "the blur of landsat-8 is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--method", "starfn"], "no fuse method 'starfn'"),
        (["-p", "window=8"], "window"),
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
def test_demo_leaves_files_and_pictures_and_says_what_next(tmp_path, capsys):
    assert main(["demo", "--size", "60", "-o", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    for meaning in ("RMSE is the typical error", "SAM is the angle", "SSIM is how alike"):
        assert meaning in printed
    after = printed.split("What next:\n")[1]
    commands = re.findall(r"^  \S*(?:xstf| -m xstf) (.+)$", after, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["evaluate", "gapfill", "plan"]
    for command in commands:
        assert main(shlex.split(command)) == 0
    assert (tmp_path / "demo" / "mine.png").read_bytes().startswith(b"\x89PNG")
    names = ("fusion", "unchanged", "fsdaf", "gap filling", "linear", "eof", "sharpening", "gsa")
    assert all(name in printed for name in names)
    for name in ("fused", "filled", "series", "uncertainty", "sharpened"):
        assert (tmp_path / "demo" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name in ("fused", "filled", "sharpened"):
        with xr.open_dataset(tmp_path / "demo" / f"{name}.nc", decode_coords="all") as back:
            assert "spatial_ref" in back.coords


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


@pytest.mark.parametrize("given", [["--sar", "a.nc", "b.nc"], ["--sar", "a.nc", "--sar", "b.nc"]])
def test_several_radars_come_as_a_list(tmp_path, monkeypatch, given):
    cube, sar = xstf.testing.holes()
    monkeypatch.chdir(tmp_path)
    cube.to_netcdf("cube.nc")
    for name, part in (("a", slice(None, None, 2)), ("b", slice(1, None, 2))):
        sar.isel(time=part).to_netcdf(f"{name}.nc")
    seen = seen_by(monkeypatch, "gapfill")
    assert main(["gapfill", "cube.nc", "-o", "out.nc", *given]) == 0
    assert [one.sizes["time"] for one in seen["sar"]] == [
        sar[::2].sizes["time"], sar[1::2].sizes["time"]]  # fmt: skip


def seen_by(monkeypatch, verb):
    """Have a verb return its first cube; return what it was called with."""
    seen = {}

    def stand_in(cube, *others, **options):
        seen.update(options, cubes=[cube, *others])
        return cube

    monkeypatch.setattr(xstf, verb, stand_in)
    return seen


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
    seen = seen_by(monkeypatch, "fuse")
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
    seen = seen_by(monkeypatch, "gapfill")
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
        ("or a longer guide_tolerance", "or a longer -p guide_tolerance=…"),
        ("no such; fuse has fine, coarse, method; did you mean", "no such; did you mean"),
        ("bands: {…}; select those that do, fine[[...]]",
         "bands: {…}; name one as FILE:VARIABLE, or some as --bands NAME,NAME"),
        ("set it with cube.rio.write_crs(...) or a crs coordinate, or drop it from the other",
         "set it in the file with a crs coordinate"),
        ("missing; call xstf.store.to_zarr again with the same result",
         "missing; give the command that wrote it again, with --resume"),
        ("isel(y=slice(None, None, -1)), attrs['scale_factor']=1, xr.concat([a, b], dim='time')",
         "isel(y=slice(None, None, -1)), attrs['scale_factor']=1, xr.concat([a, b], dim='time')"),
    ],
)  # fmt: skip
def test_arguments_become_options(text, want):
    options = options_of(build().commands["fuse"])
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


# --- parts of cubes, storage, work ------------------------------------------------------------


@pytest.fixture
def holes(tmp_path, monkeypatch):
    """A cube with gaps as a file, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    cube, _ = xstf.testing.holes()
    cube.to_netcdf("cube.nc")
    return cube


def filled(*options, method="linear"):
    """Fill the cube on the command line; return what it was called with."""
    return main(["gapfill", "cube.nc", "-o", "out.nc", "--method", method, "--quiet", *options])


def test_bands_a_box_and_dates_are_a_part_of_the_cube(holes, monkeypatch):
    seen = seen_by(monkeypatch, "gapfill")
    x, y = holes.x.values, holes.y.values
    half = abs(x[1] - x[0]) / 2
    box = [x[2] - half, y[9] - half, x[7] + half, y[4] + half]
    bands = ",".join(str(band) for band in holes.band.values[::-1])
    box_text = ",".join(f"{n:.6f}" for n in box)
    assert filled("--bands", bands, "--bbox", box_text, "--time", "2021-05/2021-06") == 0
    cube = seen["cubes"][0]
    assert list(cube.band.values) == list(holes.band.values[::-1])
    np.testing.assert_array_equal(cube.x, x[2:8])
    np.testing.assert_array_equal(cube.y, y[4:10])
    want = holes.time.sel(time=slice("2021-05", "2021-06")).values
    np.testing.assert_array_equal(seen["time"], want)
    assert cube.sizes["time"] == holes.sizes["time"]  # other dates are evidence
    four = [f"{n:.6f}" for n in box]
    assert filled("--bbox", *four, "--overwrite") == 0
    np.testing.assert_array_equal(seen["cubes"][0].x, x[2:8])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--bands", "rde"], "the cube input has no band 'rde'; it has"),
        (["--bbox", "1,2,3"], "--bbox 1,2,3: give west,south,east,north"),
        (["--bbox", "-9,-9,-8,-8"], "--bbox holds no pixel of the cube input, whose x runs from"),
        (["--time", "1999/2000"], "--time 1999/2000 holds no date of the cube input"),
        (["--time", "2022/2021"], "it ends before it begins"),
        (["--time", "/"], "give one end at least"),
        (["--dilate", "2"], "--dilate widens a mask"),
        (["--dtype", "int17"], "--dtype int17 is none"),
        (["--dtype", "int16"], "say with --store-scale what one step is worth"),
        (["--dtype", "int16", "--scale", "10"], "such as --store-scale 10"),
        (["--dtype", "int16", "--store-scale", "1e-9"], "give another --store-scale"),
        (["--store-scale", "0.1"], "give --dtype int16 with it"),
        (["--dtype", "uint8", "--store-scale", "1", "--nodata", "-1"], "no number of --dtype"),
        (["--chunks", "0"], "--chunks 0: give 1 or more"),
        (["--resume"], "only what is written to a .zarr store can be resumed"),
        (["--workers", "1", "--scheduler", "x"], "give one"),
        (["--quicklook", "q.doc"], "give a .png file"),
        (["--quicklook", "no/q.png"], "there is no folder"),
        (["--engine", "fortran"], "fortran"),
        (["-o", "cube.nc", "--overwrite"], "cube.nc is one of the inputs"),
        (["-o", "no/out.nc"], "there is no folder"),
        (["-o", "out.doc"], "write to a .nc file"),
        (["--mask", "nope"], "no variable 'nope'"),
        (["--mask", "nope.nc"], "no file nope.nc"),
    ],
)
def test_what_cannot_be_done_is_said_in_options_and_leaves_nothing(holes, capsys, options, says):
    before = sorted(path.name for path in Path().iterdir())
    assert filled(*options) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == before


def test_an_output_is_looked_at_before_the_inputs_are_read(holes, monkeypatch, capsys):
    def open_cube(*_, **__):
        raise AssertionError("it was read")

    Path("out.nc").touch()
    monkeypatch.setattr(xstf.files, "open_cube", open_cube)
    assert filled() == 1
    assert capsys.readouterr().err == (
        "xstf: out.nc: it is there already; give --overwrite to replace it\n"
    )


def test_regular_dates_may_have_both_ends_said(holes, monkeypatch):
    seen = seen_by(monkeypatch, "gapfill")
    assert filled("--freq", "10D", "--time", "2021-05-03/2021-06") == 0
    assert seen["freq"] is None
    assert [str(date)[:10] for date in seen["time"]] == [
        "2021-05-03", "2021-05-13", "2021-05-23", "2021-06-02", "2021-06-12", "2021-06-22",
    ]  # fmt: skip


def test_whole_numbers_are_stored_with_their_step(holes):
    assert filled("--dtype", "int16", "--store-scale", "1e-4", "--nodata", "-9999") == 0
    with xr.open_dataset("out.nc", mask_and_scale=False) as raw:
        image = raw[holes.name]
        assert image.dtype == np.int16
        assert (image.attrs["scale_factor"], image.attrs["_FillValue"]) == (1e-4, -9999)
    want = xstf.gapfill(holes, method="linear")
    with xr.open_dataset("out.nc", decode_coords="all") as back:
        np.testing.assert_allclose(back[holes.name], want, atol=6e-5)


def test_whole_numbers_have_the_step_that_the_input_has(holes):
    packed = {"dtype": "int16", "scale_factor": 2e-4, "_FillValue": -1}
    holes.to_netcdf("cube.nc", encoding={holes.name: packed})
    assert filled("--dtype", "int16") == 0
    with xr.open_dataset("out.nc", mask_and_scale=False) as raw:
        assert raw[holes.name].attrs["scale_factor"] == 2e-4


def test_a_stopped_run_is_gone_on_with(holes, capsys):
    pytest.importorskip("zarr", reason="needs zarr")
    call = ["gapfill", "cube.nc", "-o", "out.zarr", "--method", "linear", "--chunks", "16"]
    assert main(call) == 0
    assert main(["verify", "out.zarr"]) == 0
    assert "out.zarr: whole" in capsys.readouterr().out
    assert main(call) == 1
    assert "give --overwrite to replace it, or --resume to go on" in capsys.readouterr().err
    assert main([*call, "--resume"]) == 0
    assert main([*call, "--resume", "--max-gap", "9"]) == 1
    assert "out.zarr holds another result" in capsys.readouterr().err
    assert main([*call, "--overwrite", "--dtype", "int16", "--store-scale", "1e-4"]) == 0
    with xr.open_zarr("out.zarr", consolidated=False, decode_coords="all") as back:
        want = xstf.gapfill(holes, method="linear")
        np.testing.assert_allclose(back[holes.name], want, atol=6e-5)
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_verify_names_each_fault(holes, capsys):
    pytest.importorskip("zarr", reason="needs zarr")
    call = ["gapfill", "cube.nc", "-o", "out.zarr", "--method", "linear", "--chunks", "16"]
    assert main([*call, "--quiet"]) == 0
    chunk = max(Path("out.zarr", str(holes.name), "c").rglob("*"), key=lambda p: p.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 255
    chunk.write_bytes(bytes(data))
    assert main(["verify", "out.zarr"]) == 1
    assert capsys.readouterr().out.startswith("out.zarr: damaged: ")
    assert main(["verify", "out.zarr", "--json"]) == 1
    store = json.loads(capsys.readouterr().out)["stores"][0]
    assert (store["whole"], store["faults"][0]["kind"]) == (False, "damaged")
    assert main(["verify", "nope.zarr"]) == 1
    assert "there is no Zarr store" in capsys.readouterr().err


def test_a_dry_run_writes_nothing_and_needs_no_target(holes, capsys):
    words = ["gapfill", "cube.nc", "--method", "linear", "--dry-run"]
    assert main(words) == 0
    assert "plan of gapfill, nothing computed" in capsys.readouterr().out
    assert main([*words, "-o", "out.nc", "--json", "--chunks", "16"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["verb"], plan["method"], plan["lazy"]) == ("gapfill", "linear", True)
    assert [path.name for path in Path().iterdir()] == ["cube.nc"]
    Path("out.nc").touch()
    assert main([*words, "-o", "out.nc"]) == 1


@pytest.mark.parametrize(
    "options", [[], ["--chunks", "16"], ["--chunks", "16", "-o", "images", "--time", "2021-05/"]]
)
def test_a_quicklook_is_drawn(holes, options):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    assert filled("--quicklook", "look.png", "--quality", *options) == 0
    assert Path("look.png").read_bytes().startswith(b"\x89PNG")


def test_threads_that_are_asked_for_do_the_work(holes):
    assert filled("--workers", "1") == 0
    want = xstf.gapfill(holes, method="linear")
    with xr.open_dataarray("out.nc", decode_coords="all") as back:
        np.testing.assert_allclose(back, want, rtol=1e-5)


def test_a_series_is_read_in_chunks_of_all_dates(holes, capsys):
    words = ["gapfill", "cube.nc", "-o", "out.nc", "--method", "linear", "--chunks", "16"]
    assert main(words) == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (["--scl"], {}),
        (["--scl", "SCL"], {}),
        (["--mask", "SCL"], {}),
        (["--scl", "--dilate", "3"], {"dilate": 3}),
        (["--mask", "scl.nc:SCL"], {}),
        (["--mask", "bad", "--dilate", "3"], {"dilate": 3}),
    ],
)
def test_clouds_are_masked_by_options(scene, paths, tmp_path, monkeypatch, options, made):
    monkeypatch.chdir(tmp_path)
    data, path = dataset(scene, tmp_path)
    data[["SCL"]].to_netcdf("scl.nc")
    seen = seen_by(monkeypatch, "fuse")
    assert main(["fuse", *options, path, str(paths[1]), "-o", "out.nc"]) == 0
    want = xstf.masks.scl(data.SCL, **made)
    np.testing.assert_array_equal(seen["mask"], want)


def test_masks_of_landsat_and_hls_have_their_own_options(scene, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, _ = dataset(scene, tmp_path)
    data["Fmask"] = data.bad.astype("u1") * 2
    data["QA_PIXEL"] = data.bad.astype("u2") * 8
    data.to_netcdf("both.nc")
    seen = seen_by(monkeypatch, "fuse")
    for number, options in enumerate((["--fmask"], ["--qa-pixel", "QA_PIXEL"])):
        out = f"{number}.nc"
        assert main(["fuse", "both.nc", str(paths[1]), *options, "-o", out]) == 0
        np.testing.assert_array_equal(seen["mask"], data.bad)


def test_an_input_may_be_one_variable_of_a_file(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene[0].to_dataset(name="landsat").to_netcdf("a.nc")
    scene[1].to_dataset(name="modis").assign(other=scene[1] * 2).to_netcdf("b.nc")
    seen = seen_by(monkeypatch, "fuse")
    assert main(["fuse", "a.nc:landsat", "b.nc:modis", "-o", "out.nc"]) == 0
    np.testing.assert_array_equal(seen["cubes"][1], scene[1])
    assert main(["fuse", "a.nc", "b.nc:modes", "-o", "out2.nc"]) == 1


def test_a_variable_has_the_crs_of_its_file_and_the_nearest_name(scene, tmp_path):
    """Not every writer has each variable name the one that is the CRS."""
    import pyproj

    crs = ((), 0, pyproj.CRS(32633).to_cf())
    xr.Dataset({"first": scene[0], "b": scene[0] + 1, "frame": crs}).to_netcdf(tmp_path / "a.nc")
    cube = xstf.files.open_cube(tmp_path / "a.nc", variable="first")
    assert "32633" in cube.frame.attrs["crs_wkt"]
    with pytest.raises(ValueError, match=r"it has \['first', 'b'\]; did you mean 'first'"):
        xstf.files.open_cube(tmp_path / "a.nc", variable="firsts")


def test_scores_go_to_a_file_that_is_looked_at_first(paths, tmp_path, capsys):
    out = str(tmp_path / "scores.nc")
    call = ["evaluate", "fuse", *map(str, paths), "--methods", "starfm", "-o", out]
    assert main([*call, "--time", "2021-04-07", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert {row["method"] for row in scores} >= {"starfm", "unchanged", "delta"}
    with xr.open_dataset(out) as back:
        assert "rmse" in back
    assert main(call) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*call[:-1], "scores.tif"]) == 1
    assert "scores go to a .nc file" in capsys.readouterr().err


def test_an_evaluation_is_written_as_a_report(paths, scene, tmp_path, capsys):
    page = tmp_path / "report.html"
    classes = (scene[0].isel(time=0, band=0, drop=True) > 0.1).astype("int8").rename("cover")
    classes.to_netcdf(tmp_path / "classes.nc")
    call = ["evaluate", "fuse", *map(str, paths), "--methods", "starfm", "--html", str(page)]
    call += ["--max-pixels", "300", "--classes", str(tmp_path / "classes.nc"), "--json"]
    assert main(call) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["html"], found["html_data"]) == (str(page), str(page.with_suffix(".json")))
    want = xstf.evaluate_fusion(*scene, methods=["starfm"], max_pixels=300, classes=classes)
    text = page.read_text(encoding="utf-8")
    assert want.stf_protocol in text
    assert "by-class" in text
    assert [row["method"] for row in found["rank"]] == list(want.stf.rank().index)
    assert main(call) == 1
    assert "report.html" in capsys.readouterr().err
    assert main([*call[:-1], "--overwrite", "--html", "scores.pdf"]) == 1
    assert "a report goes to a .html file" in capsys.readouterr().err


def test_sharpening_is_scored(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, cube in zip(("hyper", "multi", "truth"), xstf.testing.bands(), strict=True):
        cube.to_netcdf(f"{name}.nc")
    call = ["evaluate", "sharpen", "hyper.nc", "multi.nc", "--methods", "sfim", "gsa"]
    assert main([*call, "--truth", "truth.nc"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("rmse", "sam", "sfim", "gsa"))


def test_weights_are_not_trained_for_a_file_that_cannot_be_written(paths, tmp_path, capsys):
    call = ["train", "ctstfm", *map(str, paths), "-o"]
    assert main([*call, str(tmp_path / "no" / "w.safetensors")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert main([*call, str(tmp_path / "w.pt")]) == 1
    assert "give a .safetensors file" in capsys.readouterr().err


def test_values_that_a_store_cannot_hold_are_refused(holes, capsys):
    pytest.importorskip("zarr", reason="needs zarr")
    words = ["gapfill", "cube.nc", "-o", "out.zarr", "--method", "linear", "--chunks", "16"]
    assert main([*words, "--dtype", "int16", "--store-scale", "1e-6"]) == 1
    assert "int16 with --store-scale 1e-06 cannot hold" in capsys.readouterr().err


def test_warm_runs_each_method_and_counts_what_it_compiles(capsys, monkeypatch):
    from xstf.methods.gapfill import nearest

    monkeypatch.setattr("xstf.methods.lookup.classical_names", lambda task: ["nearest"])
    assert main(["warm", "gapfill", "--json"]) == 0
    said = capsys.readouterr()
    assert len(nearest._choose.signatures) == 1
    (row,) = json.loads(said.out)["methods"]
    assert (row["task"], row["method"]) == ("gapfill", "nearest")
    assert f"gapfill nearest: {row['loops']} loops compiled" in said.err
    assert main(["warm", "gapfill"]) == 0
    assert capsys.readouterr().out == "methods: 1, loops compiled: 0\n"
