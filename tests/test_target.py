"""Where a result may be written, asked before any work: nothing is made or changed by asking."""

from __future__ import annotations

import os

import pytest

import xstf
from xstf.files import check_target, save_cube

FINE = xstf.scenes.landsat_modis(size=30).fine


@pytest.fixture
def inputs(tmp_path):
    """A folder with a file, a store and a folder of images, as inputs."""
    folder = tmp_path / "in"
    (folder / "images").mkdir(parents=True)
    save_cube(FINE, folder / "cube.nc")
    save_cube(FINE, folder / "cube.zarr")
    save_cube(FINE, folder / "landsat")
    return folder


@pytest.mark.parametrize("name", ["out.nc", "out.nc4", "out.zarr", "out.tif", "out.TIFF", "out"])
def test_a_new_place_is_fine_and_stays_empty(inputs, tmp_path, name):
    check_target(tmp_path / name, [inputs / "cube.nc", inputs], overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["out.png", "out.hdf", ".", "out.nc.gz"])
def test_an_ending_of_no_format_is_said(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"write to a \.nc file"):
        check_target(name, overwrite=False)


def test_no_input_is_a_target(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(inputs)
    (tmp_path / "link").symlink_to(inputs)
    os.link(inputs / "cube.nc", tmp_path / "hard.nc")
    cases = [
        (inputs / "cube.nc", ["cube.nc"]),
        ("./cube.nc", [inputs / "cube.nc"]),
        (tmp_path / "link" / "cube.nc", [inputs / "cube.nc"]),
        (tmp_path / "hard.nc", [inputs / "cube.nc"]),
        ("cube.nc", [tmp_path / "link"]),
        (inputs / "cube.zarr", ["*.zarr"]),
        (inputs / "cube.zarr" / "in.zarr", [inputs / "cube.zarr"]),
        ("landsat", ["landsat/*.tif"]),
        ("landsat", ["landsat"]),
        ("landsat/fused.tif", ["landsat"]),
        ("new.nc", ["."]),
        (inputs, [inputs / "landsat"]),
        ("s3://bucket/a.zarr", ["s3://bucket/a.zarr/"]),
    ]
    for target, given in cases:
        with pytest.raises(ValueError, match="is one of the inputs, holds one or lies in one"):
            check_target(target, given, overwrite=True)
        with pytest.raises((ValueError, OSError)):
            check_target(target, given, overwrite=False)
    check_target("landsat2", ["landsat", "landsat/*.tif", "nothing.nc"], overwrite=False)
    check_target("cube2.nc", ["cube*.zarr", "cube.nc"], overwrite=False)


def test_what_is_there_needs_a_word(inputs):
    for name in ("cube.nc", "cube.zarr", "landsat"):
        with pytest.raises(FileExistsError, match=rf"overwrite=True.*{name}"):
            check_target(inputs / name, overwrite=False)
        check_target(inputs / name, overwrite=True)
    check_target(inputs / "cube.zarr", overwrite=False, resume=True)
    check_target(inputs / "images", overwrite=False)  # empty
    with pytest.raises(ValueError, match="can be resumed"):
        check_target(inputs / "new.nc", overwrite=False, resume=True)


def test_what_xstf_did_not_write_is_not_replaced(inputs):
    (inputs / "landsat" / "notes.txt").touch()
    (inputs / "mine.zarr").mkdir()
    (inputs / "mine.zarr" / "photo.jpg").touch()
    (inputs / "flat.zarr").touch()
    (inputs / "folder.nc").mkdir()
    (inputs / "folder.tif").mkdir()
    for name in ("landsat", "mine.zarr", "flat.zarr", "folder.nc", "folder.tif"):
        with pytest.raises(OSError, match=name):
            check_target(inputs / name, overwrite=True)


def test_images_of_several_dates_are_there_by_their_names(inputs):
    save_cube(FINE, inputs / "out.tif")
    with pytest.raises(FileExistsError, match=r"overwrite=True.*out_\d{8}\.tif"):
        check_target(inputs / "out.tif", overwrite=False)
    check_target(inputs / "out.tif", overwrite=True)


def test_folders_must_be_there_and_writable(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no folder .*none"):
        check_target(tmp_path / "none" / "out.nc", overwrite=False)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"no folder .*file"):
        check_target(tmp_path / "file" / "out.nc", overwrite=False)
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(PermissionError, match=r"cannot be written to.*out\.nc"):
        check_target(tmp_path / "out.nc", overwrite=False)
