"""What the command line is told, and what it says: usage, help, errors, names."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf._method import TASKS
from xstf.cli import names
from xstf.cli.inputs import one_input, split_variable, together
from xstf.cli.main import build, main, read


def parsers(parser=None):
    """Return every command's name and its parser."""
    found = []
    for name, one in (parser or build()).commands.items():
        inner = parsers(one)
        found += [(f"{name} {more}", p) for more, p in inner] or [(name, one)]
    return found


COMMANDS = [name for name, _ in parsers()]


def usage_error(words, capsys):
    """Return the one line that wrong usage is answered with."""
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does_with_two_examples(command):
    parser = dict(parsers())[command]
    assert len(parser.description) > 60
    verb = command.replace("sharpen_spectral", "sharpen")
    examples = parser.epilog.splitlines()
    assert examples[0] == "examples:"
    assert len(examples) == 3
    assert all(line.startswith(f"  xstf {verb.split()[0]}") for line in examples[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_has_a_help(command):
    for action in dict(parsers())[command]._actions:
        assert action.help, action.option_strings or action.dest


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_understood(command, tmp_path, monkeypatch):
    """As a shell hands them over, whatever the files hold."""
    monkeypatch.chdir(tmp_path)
    for line in dict(parsers())[command].epilog.splitlines()[1:]:
        words = [word.strip("'") for word in line.partition(" > ")[0].split()[1:]]
        arguments, _ = read(words)
        assert arguments.command.split()[0] == words[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_status_0(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command.split(), "--help"])
    assert exit_.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_names_of_methods_are_those_of_their_records():
    assert names.TASKS == TASKS
    for task in TASKS:
        assert names.own_methods(task) == list(xstf.list_methods(task).index)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give one of demo"),
        (["fues"], "did you mean 'fuse'?"),
        (["--oops", "fuse"], "no option --oops"),
        (["evaluate"], "give one of fuse, gapfill"),
        (["evaluate", "sharpn"], "did you mean 'sharpen'?"),
        (["fuse", "-o", "out.nc"], "no files; give those of the fine input"),
        (["fuse", "a.nc", "b.nc"], "no -o PATH"),
        (["fuse", "a.nc", "b.nc", "-o", "c.nc", "--methd", "x"], "did you mean '--method'?"),
        (["fuse", "a.nc", "b.nc", "-o", "c.nc", "--meth", "x"], "did you mean '--method'?"),
        (["gapfill", "a.nc", "-o", "c.nc", "--edge", "nearst"], "did you mean 'nearest'?"),
        (["gapfill", "a.nc", "-o", "c.nc", "--chunks", "many"], "--chunks: invalid int value"),
        (["gapfill", "a.nc", "-o", "c.nc", "-p", "window"], "'window' is no NAME=VALUE"),
        (["gapfill", "a.nc", "-o", "c.nc", "--mask", "m", "--scl"], "not allowed with"),
        (["gapfill", "a.nc", "-o", "c.zarr", "--resume", "--overwrite"], "not allowed with"),
        (["gapfill", "-o", "c.nc"], "no files; give those of the cube"),
        (["verify"], "no stores"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.nc", "b.nc"):
        (tmp_path / name).touch()
    assert says in usage_error(words, capsys)


# --- files ------------------------------------------------------------------------------------


def inputs_of(*words):
    arguments, _ = read(["fuse", *words, "-o", "out.nc"])
    return [one.paths for one in arguments.find(arguments)]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of images and some files."""
    monkeypatch.chdir(tmp_path)
    for name in ("l8/a.tif", "l8/b.tif", "l8/c.tif", "modis/a.tif", "modis/b.tif", "m.nc", "n.nc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()


FINE, COARSE = ("l8/a.tif", "l8/b.tif", "l8/c.tif"), ("modis/a.tif", "modis/b.tif")


@pytest.mark.parametrize(
    ("words", "coarse"),
    [
        ([*FINE, "modis/"], ("modis/",)),
        ([*FINE, *COARSE], COARSE),
        ([*FINE, "m.nc"], ("m.nc",)),
        ([*FINE, "modis/*.tif"], ("modis/*.tif",)),
        (["--coarse", *COARSE, "--fine", *FINE], COARSE),
        ([*FINE, "--coarse", "modis/"], ("modis/",)),
        (["modis/", "--fine", *FINE], ("modis/",)),
        (["--time", "2020-01-01", "2020-02-01", *FINE, "modis/"], ("modis/",)),
        (["--time", "2020-01/2020-02", *FINE, "--scl", "modis/"], ("modis/",)),
        (["--bbox", "-10", "40", "-9", "41", *FINE, "--dilate", "2", "modis/"], ("modis/",)),
        (["--bbox", "-10,40,-9,41", *FINE, "modis/"], ("modis/",)),
        (["--scl", *FINE, "modis/"], ("modis/",)),
        (["--scl", "classes", *FINE, "modis/"], ("modis/",)),
        (["--method", "starfm", "--", *FINE, "modis/"], ("modis/",)),
        ([*FINE, "--nodata", "-9999", "modis/"], ("modis/",)),
    ],
)  # fmt: skip
def test_files_fall_to_inputs_as_a_shell_gives_them(folders, words, coarse):
    assert inputs_of(*words) == [FINE, coarse]


def test_two_files_of_one_folder_are_two_inputs(folders):
    assert inputs_of("m.nc", "n.nc") == [("m.nc",), ("n.nc",)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([*FINE], "lie in one folder, so that nothing tells the fine from the coarse ones"),
        (["m.nc"], "no coarse input: m.nc is of the fine one"),
        (["--coarse", *FINE, "modis/"], "no fine input: all 4 files are of the coarse one"),
        (["l8/", "modis/", "m.nc"], "l8/ is a folder"),
        (["m.nc", "--fine", "m.nc", "--coarse", "n.nc"], "it is of neither"),
        (["m.nc:a", "l8/a.tif:b", "modis/"], "files of one variable, and these say"),
    ],
)
def test_files_that_leave_open_what_is_meant_are_refused(folders, words, says, capsys):
    assert says in usage_error(["fuse", *words, "-o", "out.nc"], capsys)


@pytest.mark.parametrize(
    ("words", "bands"),
    [
        (["--bands", "red,nir", "m.nc"], ["red,nir"]),
        (["--bands", "red", "nir", "m.nc"], ["red", "nir"]),
        (["--bands", "modis", "m.nc"], ["modis"]),  # a band that is called as a folder is
        (["m.nc", "--bands", "450.5", "550"], ["450.5", "550"]),
    ],
)
def test_bands_stand_before_and_after_files(folders, words, bands):
    arguments, _ = read(["gapfill", "-o", "out.nc", *words])
    assert (arguments.bands, arguments.files) == (bands, ["m.nc"])


def test_a_missing_file_is_named_with_the_nearest(folders, capsys):
    assert main(["fuse", "mm.nc", "n.nc", "-o", "out.nc"]) == 1
    assert capsys.readouterr().err == "xstf: no file mm.nc; did you mean 'm.nc'?\n"


def test_a_colon_may_be_of_a_drive_an_address_or_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_variable("a.nc:ndvi") == ("a.nc", "ndvi")
    assert split_variable(r"C:\data\a.nc") == (r"C:\data\a.nc", None)
    assert split_variable(r"C:\data\a.nc:ndvi") == (r"C:\data\a.nc", "ndvi")
    assert split_variable("C:a.nc") == ("C:a.nc", None)
    assert split_variable("https://host:8080/a.zarr") == ("https://host:8080/a.zarr", None)
    assert split_variable("s3://bucket/a.zarr:ndvi") == ("s3://bucket/a.zarr", "ndvi")
    assert split_variable("a.nc:") == ("a.nc:", None)
    if os.name == "posix":
        (tmp_path / "a:b.nc").touch()
        assert split_variable("a:b.nc") == ("a:b.nc", None)


def test_images_of_a_folder_are_together_and_cubes_apart(folders):
    assert together([*FINE, *COARSE]) == [[*FINE], [*COARSE]]
    assert together(["l8/", "modis/"]) == [["l8/"], ["modis/"]]
    assert one_input(["m.nc:a"], "cube", "b").variable == "a"
    assert one_input(["m.nc"], "cube", "b").variable == "b"


# --- methods ----------------------------------------------------------------------------------


def test_methods_lists_all(capsys):
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for task in TASKS for name in xstf.list_methods(task).index)
    assert main(["methods", "sharpen"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(xstf.list_methods("sharpen"))


@pytest.mark.parametrize("task", TASKS)
def test_all_of_each_method_is_told(task, capsys):
    for name in xstf.list_methods(task).index:
        record = xstf.get_method(task, name)
        assert main(["methods", task, name]) == 0
        printed = capsys.readouterr().out
        assert record.summary.split()[0] in printed
        assert "source: " in printed
        for field in dataclasses.fields(record.params):
            assert f"    {field.name}=" in printed


def test_a_method_is_told_to_machines(capsys):
    assert main(["methods", "starfm", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["methods"]
    assert [one["task"] for one in found] == ["fuse"]
    window = found[0]["parameters"][0]
    assert (window["name"], window["default"]) == ("window", 51)
    assert "fine pixels" in window["text"]
    assert "doi" in found[0]["reference"]


def test_an_unknown_method_is_told_the_nearest(capsys):
    assert main(["methods", "starfn"]) == 1
    assert "did you mean 'starfm'?" in capsys.readouterr().err


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError("3 GB"), "not enough memory (3 GB); work in smaller --chunks"),
        (KeyError("x"), "did not expect: KeyError: 'x'; --debug shows where"),
        (FileNotFoundError(2, "No such file", "a.nc"), "a.nc: No such file"),
    ],
)
def test_any_error_is_one_line(error, says, monkeypatch, capsys, tmp_path):
    (tmp_path / "a.nc").touch()
    monkeypatch.setattr("xstf.cli.making.begin", thrower(error))
    words = ["gapfill", str(tmp_path / "a.nc"), "-o", str(tmp_path / "b.nc")]
    assert main(words) == 1
    assert capsys.readouterr().err == f"xstf: {says}\n".replace(
        "xstf: did", "xstf: an error that xstf did"
    )
    with pytest.raises(type(error)):
        main([*words, "--debug"])


def thrower(error):
    def throw(*_):
        raise error

    return throw


def test_an_interrupted_run_is_status_130(monkeypatch, capsys, tmp_path):
    (tmp_path / "a.nc").touch()
    monkeypatch.setattr("xstf.cli.making.begin", thrower(KeyboardInterrupt()))
    assert main(["gapfill", str(tmp_path / "a.nc"), "-o", str(tmp_path / "b.nc")]) == 130
    assert capsys.readouterr().err == "xstf: interrupted\n"


def test_quiet_says_errors_alone(tmp_path, capsys):
    cube, _ = xstf.testing.holes()
    cube.to_netcdf(tmp_path / "cube.nc")
    call = ["gapfill", str(tmp_path / "cube.nc"), "-o", str(tmp_path / "o.nc"), "--quiet"]
    assert main([*call, "--method", "linear"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert main([*call, "--method", "linear"]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_summary_for_machines_is_json(tmp_path, capsys):
    cube, _ = xstf.testing.holes()
    cube.to_netcdf(tmp_path / "cube.nc")
    out = str(tmp_path / "o.nc")
    call = ["--json", "gapfill", str(tmp_path / "cube.nc"), "-o", out, "--method", "linear"]
    assert main([*call, "--time", "2021-05/2021-07"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["command"] == "gapfill"
    assert done["out"] == out
    assert done["inputs"] == {"cube": [str(tmp_path / "cube.nc")]}
    assert done["method"].startswith("linear")
    with xr.open_dataarray(out, decode_coords="all") as back:
        assert done["sizes"] == dict(back.sizes)
        assert [np.datetime64(date) for date in done["dates"]] == list(back.time.values)


def test_the_command_knows_itself(monkeypatch, tmp_path):
    from xstf import _is_the_command

    for argv, orig, want in (
        (["-m"], ["python", "-m", "xstf", "fuse"], True),
        (["-m"], ["python", "-m", "pytest"], False),
        (["-c"], ["python", "-c", "import xstf"], False),
        ([str(tmp_path / "xstf")], ["python", str(tmp_path / "xstf")], False),  # a user's script
        ([], ["python"], False),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", orig)
        assert _is_the_command() is want, argv
    beside = os.path.join(os.path.dirname(sys.executable), "xstf")  # noqa: PTH118, PTH120
    monkeypatch.setattr(sys, "argv", [beside])
    assert _is_the_command()
