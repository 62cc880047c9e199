"""The command line through a real shell: patterns, pipes, signals, what is imported when."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xstf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs a shell"),
]
XSTF = f"{shlex.quote(sys.executable)} -m xstf"
HEAVY = ("numpy", "pandas", "xarray", "dask", "numba", "torch", "scipy", "netCDF4", "matplotlib")


def shell(command, folder=None):
    """Run a line of a shell in which `xstf` is the command."""
    line = f'xstf() {{ {XSTF} "$@"; }}\n{command}'
    root = str(Path(xstf.__file__).parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


def seconds_of(command, times=3):
    """Return the least seconds of CPU that a command of Python takes."""
    found = []
    for _ in range(times):
        before = os.times()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = os.times()
        found.append(
            after.children_user + after.children_system
            - before.children_user - before.children_system
        )  # fmt: skip
    return min(found)


@pytest.mark.parametrize("words", [["--help"], ["fuse", "--help"]])
def test_help_comes_at_once(words):
    """In seconds of CPU beside those of xarray alone: machines differ, and have other work."""
    took = seconds_of(["-m", "xstf", *words])
    assert took < 0.3
    assert took < 0.5 * seconds_of(["-c", "import xarray"])


@pytest.mark.parametrize("words", ["--help", "gapfill --help", "--version", "fues"])
def test_nothing_heavy_is_imported_before_parsing(words):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "xstf", *words.split()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in loaded
    assert not loaded & set(HEAVY)


def test_the_accessor_is_there_in_scripts_of_any_name(tmp_path):
    for name in ("xstf", "script.py"):
        (tmp_path / name).write_text(
            "import sys\nsys.path.pop(0)\nimport xarray as xr, xstf\n"
            "print(hasattr(xr.DataArray, 'stf'))\n"
        )
        done = shell(f"{shlex.quote(sys.executable)} {name}", tmp_path)
        assert done.stdout == "True\n", done.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder with images of two sensors, one a date, as people have them."""
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    root = tmp_path_factory.mktemp("images")
    for name, cube in zip(("landsat", "modis"), xstf.testing.scene(), strict=True):
        (root / name).mkdir()
        placed = cube.rio.write_crs(32633)
        for date in placed.time.values:
            one = placed.sel(time=date, drop=True)
            one.rio.to_raster(root / name / f"{name}_{str(date)[:10]}.tif")
    return root


def test_a_pattern_of_the_shell_and_a_folder_are_fused_into_a_folder(images, tmp_path):
    line = "xstf fuse landsat/*.tif modis/ -o {}/fused --method starfm"
    done = shell(line.format(tmp_path), images)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "→" in done.stderr
    fine, coarse = xstf.testing.scene()
    want = xstf.fuse(fine, coarse, method="starfm")
    found = sorted((tmp_path / "fused").glob("*.tif"))
    assert len(found) == want.sizes["time"]
    back = xstf.files.open_cube(tmp_path / "fused")
    np.testing.assert_allclose(back.values, want.values, rtol=1e-4, atol=1e-5)
    again = shell(line.format(tmp_path), images)
    assert again.returncode == 1
    assert "give --overwrite" in again.stderr


def test_options_stand_before_and_after_files(images, tmp_path):
    for number, line in enumerate(
        (
            "xstf --quiet fuse --method starfm --time 2021-05-13 landsat/*.tif modis/*.tif -o {}",
            "xstf fuse -o {} --quiet --method starfm -- landsat/*.tif modis/*.tif",
        )
    ):
        out = tmp_path / f"{number}.nc"
        done = shell(line.format(out), images)
        assert (done.returncode, done.stderr) == (0, "")
        assert out.exists()


def test_a_reader_that_goes_is_nobodys_error():
    done = shell("xstf methods | head -n 1; echo ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("141", "0")  # all may be written before it goes


def test_ctrl_c_is_one_line_and_status_130(tmp_path):
    """While it works, not while it starts."""
    fine, coarse = xstf.testing.scene()
    fine.to_netcdf(tmp_path / "fine.nc")
    coarse.to_netcdf(tmp_path / "coarse.nc")
    code = (
        "import sys, time, xstf\n"
        "def slow(*_, **__):\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "xstf.fuse = slow\n"
        "from xstf.cli.main import main\n"
        "sys.exit(main(['fuse', 'fine.nc', 'coarse.nc', '-o', 'out.nc']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        assert run.stdout.readline() == "begun\n"
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert (run.returncode, said) == (130, "xstf: interrupted\n")
    assert not (tmp_path / "out.nc").exists()


DATA = Path(os.environ.get("XSTF_TEST_DATA", "nowhere"))
with_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data")


@with_data
def test_real_images_in_one_folder_are_told_apart_by_patterns(tmp_path):
    kranj = DATA / "fusion" / "kranj"
    same = shell(f"xstf fuse L8*.tif MODIS*.tif -o {tmp_path}/out.nc", kranj)
    assert same.returncode == 2
    assert "lie in one folder, so that nothing tells the fine from the coarse ones" in same.stderr
    done = shell(
        "xstf fuse 'L8*.tif' --coarse MODIS*.tif --coarse-resolution 463.3 --coarse-scale 10000 "
        f"--method starfm --time 2020-03-10/2020-03-17 -o {tmp_path}/out.nc --json",
        kranj,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sizes"]["time"] == 8
    with xr.open_dataset(tmp_path / "out.nc") as back:
        assert back["estimate"].notnull().mean() > 0.5


@with_data
def test_a_real_series_is_filled_with_its_own_classes(tmp_path):
    spain = DATA / "gapfill" / "spain_field_s2.nc"
    line = f"xstf gapfill --scl --dilate 1 --bands B04,B08 --freq 5D --time 2019-04/2019-06 {spain}"
    done = shell(f"{line} -o filled.nc --method linear --quicklook look.png", tmp_path)
    assert done.returncode == 0, done.stderr
    with xr.open_dataset(tmp_path / "filled.nc") as back:
        assert back.sizes["t"] == 19
        assert {"B04", "B08"} <= set(back.data_vars)
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")


@with_data
@pytest.mark.parametrize("keep", [100, 0.95])
def test_a_truncated_file_is_one_line(tmp_path, keep):
    whole = (DATA / "fusion" / "boreas_fine.nc").read_bytes()
    size = int(keep * len(whole)) if isinstance(keep, float) else keep
    (tmp_path / "fine.nc").write_bytes(whole[:size])
    coarse = DATA / "fusion" / "boreas_coarse.nc"
    done = shell(
        f"xstf fuse fine.nc {coarse} --coarse-resolution 480 --method starfm -o out.nc", tmp_path
    )
    assert done.returncode == 1
    assert "fine.nc" in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "warning:" not in line]) == 1
    assert not (tmp_path / "out.nc").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_waits_for_no_thread_and_leaves_nothing(tmp_path, number, status):
    """Threads work on a tile for minutes, and Python would wait for them."""
    code = (
        "import sys, time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "import xstf.cli.main\n"
        "from xstf.files.beside import beside\n"
        "def run():\n"
        "    with beside(Path('out.nc')) as new, ThreadPoolExecutor(1) as pool:\n"
        "        new.touch()\n"
        "        pool.submit(time.sleep, 60)\n"
        "        print('begun', flush=True)\n"
        "        time.sleep(60)\n"
        "xstf.cli.main.main = run\n"
        "from xstf.__main__ import main\n"
        "sys.exit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        assert run.stdout.readline() == "begun\n"
        run.send_signal(number)
        _, said = run.communicate(timeout=30)
    assert run.returncode == status, said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["fuse --help", "methods fuse", "methods --json"])
def test_a_terminal_need_not_know_all_letters(command):
    done = shell(f"PYTHONIOENCODING=ascii xstf {command}")
    assert (done.returncode, done.stderr) == (0, "")
    if "--json" in command:
        assert json.loads(done.stdout)["methods"]


def test_standard_output_may_be_closed():
    done = shell("xstf methods fuse >&-")
    assert (done.returncode, done.stderr) == (0, "")
