"""What `import xstf` costs and offers."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import xstf

ROOT = Path(__file__).parent.parent

PUBLIC = {
    "Method", "__version__", "evaluate_fusion", "evaluate_gapfill", "evaluate_sharpen",
    "evaluate_sharpen_spectral", "evaluate_sts", "files", "fuse", "gapfill", "get_method",
    "list_methods", "masks", "metrics", "mosaic", "plan",
    "plot", "rank", "report", "scenes", "score", "sensors", "sharpen_spectral", "show_versions",
    "simulate", "store",
    "testing", "train", "weights",
}  # fmt: skip


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names_are_these():
    assert set(xstf.__all__) == PUBLIC
    assert all(hasattr(xstf, name) for name in PUBLIC)


def test_tab_completion_shows_public_names_only():
    assert set(dir(xstf)) == PUBLIC
    with pytest.raises(AttributeError, match=r"no attribute 'fusse'; did you mean 'fuse'\?"):
        xstf.fusse  # noqa: B018


def test_types_ship_in_the_package(tmp_path):
    wheels = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling")
    built = next(wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path)))
    names = set(zipfile.ZipFile(built).namelist())
    assert "xstf/py.typed" in names
    assert "xstf/verbs/fuse.py" in names


def test_import_loads_no_heavy_library():
    heavy = ["numba", "torch", "cupy", "dask", "matplotlib", "scipy", "rioxarray", "netCDF4"]
    code = f"import sys, xstf; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]"


@pytest.mark.slow
def test_import_is_quick():
    """Seconds of CPU, which other work on the machine lengthens less than those of the clock."""
    code = "import time; t = time.process_time(); import xstf; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(4)) < 0.7


@pytest.mark.slow
def test_import_survives_a_cache_that_cannot_be_written(tmp_path):
    """numba raises while decorating where it finds no place for its cache."""
    code = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "from xstf.numerics.upsample import upsample\n"
        "import numpy as np\n"
        "print(upsample(np.ones((1, 1, 2, 2), np.float32), 3).shape)"
    )
    assert run(code) == "(1, 1, 6, 6)"


def test_show_versions_names_what_matters(capsys):
    xstf.show_versions()
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("xstf", "xarray", "numba", "python", "cores"))
    installed = {line.split()[0] for line in printed.splitlines() if "not installed" not in line}
    assert {"llvmlite", "threadpoolctl", "tqdm", "netcdf4", "scipy"} <= installed
