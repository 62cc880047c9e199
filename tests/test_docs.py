"""Every code block of README and docs runs: page by page, in order, on small cubes and files.

Python is executed, and lines of a shell that call xstf go to the command line's own ``main``. A
block that cannot run has a comment before it, ``<!-- not run: why -->``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import glob
import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.cli.main import main

ROOT = Path(__file__).parent.parent
MADE = ("methods.md", "command_reference.md")  # by docs/conf.py, and only where docs are built
OWN_TEST = ("add_a_method.md",)  # tests/test_add_a_method.py adds its files and runs the laws
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name not in (*MADE, *OWN_TEST)),
]
FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^\n]+?) -->\n\n?)?^(?P<fence>`{3,})(?P<kind>[^\n]*)\n"
    r"(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
RUN = ("python", "bash")
SHOWN = ("text", "")  # what a program prints, equations; directives of Sphinx have braces
TINY = {"patch": 16, "batch": 1, "epochs": 1, "steps": 1}


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind, text, line, and why it does not run, if it does not."""

    kind: str
    text: str
    line: int
    why: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Give the blocks of a page in order."""
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(found["kind"].strip(), found["text"], line, found["why"])


@pytest.fixture(scope="module")
def cubes() -> dict[str, object]:
    """The names that pages take for granted, as small cubes."""
    fine, coarse = xstf.testing.scene()
    cube, radar = xstf.testing.holes()
    series = xstf.scenes.hyperspectral_series(size=60, bands=40)
    paired = {"time": [0, 2]}
    spectral, sharp = series.spectral.isel(paired), series.sharp.isel(paired)
    classes = xr.where(cube.isnull().any("band"), 9, 4).astype(np.uint8)
    ten, twenty = sentinel_bands(fine)
    return {
        "np": np, "xr": xr, "xstf": xstf, "dask": dask,
        "fine": fine, "coarse": coarse, "clouds": fine.isnull().any("band"),
        "cube": cube, "cube1": cube, "cube2": cube, "s2": cube, "s2_classes": classes,
        "ds": xr.Dataset({"B": cube, "SCL": classes}),
        "sar": radar, "s1": radar, "sar1": radar, "sar2": radar,
        "fields": xr.DataArray(np.arange(cube.y.size) // 10, {"y": cube.y}, name="field"),
        "s2_20m": twenty, "s2_10m": ten, "sentinel2_20m": twenty, "sentinel2_10m": ten,
        "hyperspectral": spectral, "multispectral": sharp, "sharp": sharp, "sharp_images": sharp,
        "dense": series.dense, "nearest_hyperspectral": spectral.isel(time=0, drop=True),
    }  # fmt: skip


def sentinel_bands(fine: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return an image of Sentinel-2 at its 10 m, and some of its bands at 20 m."""
    image = xr.concat([fine[0], 1.1 * fine[0]], "band").drop_vars(["wavelength", "time"])
    ten = image.assign_coords(band=["B02", "B03", "B04", "B08"])
    twenty = ten.coarsen(y=2, x=2).mean()[:2].assign_coords(band=["B05", "B11"])
    return ten, twenty


@pytest.fixture
def workplace(cubes, tmp_path, monkeypatch):
    """A folder with the files that pages name; blocks run there, and training is short."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, cubes)
    training = importlib.import_module("xstf.train.fit")
    monkeypatch.setattr(training, "_arguments", shortened(training._arguments))
    return tmp_path


def write_files(folder: Path, cubes: dict[str, object]) -> None:
    """Write the files that pages name."""
    paths = xstf.scenes.sample_files(folder)
    for name in ("landsat", "modis"):
        cube = xstf.files.open_cube(paths[f"{name}.nc"])[:, :2]
        xstf.files.save_cube(cube, folder / name)
        cube.drop_encoding().chunk(time=1).to_zarr(folder / f"{name}.zarr", consolidated=False)
    for name in ("s2_20m", "s2_10m"):
        xstf.files.save_cube(cubes[name], folder / f"{name}.tif")


def shortened(arguments):
    """Return how training reads its arguments, but for one step on one small patch."""

    @functools.wraps(arguments)
    def short(*given, **more):
        recipe, reading = arguments(*given, **more)
        return dataclasses.replace(recipe, **TINY), reading

    return short


def test_every_block_says_what_it_is():
    for page in PAGES:
        for block in blocks(page):
            known = block.kind in (*RUN, *SHOWN) or block.kind.startswith("{")
            assert known and block.kind, f"{page.name}:{block.line} is a block of {block.kind!r}"


def test_extras_that_pages_install_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = set(extras["optional-dependencies"])
    for page in PAGES:
        for names in re.findall(r"(?:xstf|\")\.?\[([\w,-]+)\]", page.read_text()):
            if "pip" in page.read_text():
                assert set(names.split(",")) <= known, f"{page.name}: [{names}]"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what a page warns of is its reader's to see
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_run(page, cubes, workplace):
    names = dict(cubes)
    for block in blocks(page):
        if block.kind not in RUN or block.why:
            continue
        try:
            if block.kind == "python":
                code = "\n" * (block.line - 1) + block.text  # so that errors name the page's line
                exec(compile(code, str(page), "exec"), names)
            else:
                for line in block.text.replace("\\\n", " ").splitlines():
                    run_line(line, names)
        except Exception as error:
            error.add_note(f"in {page.name}, the block at line {block.line}")
            raise


def run_line(line: str, names: dict[str, object]) -> None:
    """Run a line of a shell that calls xstf; what it prints may go to a file."""
    words = list(words_of(line))
    if not words:
        return
    assert words[0] == "xstf", f"not a call of xstf: {line}"
    target = None
    if ">" in words:
        words, (target,) = words[: words.index(">")], words[words.index(">") + 1 :]
    with contextlib.ExitStack() as stack:
        if target is not None:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(target, "w"))))
        assert main(words[1:]) == 0, line


def words_of(line: str) -> Iterator[str]:
    """Give the words of a line as a shell makes them: patterns without quotes become paths."""
    for raw in re.findall(r"""(?:[^\s"'#]|"[^"]*"|'[^']*')+""", line.split(" #")[0]):
        plain = "".join(shlex.split(raw))
        found = sorted(glob.glob(plain)) if set("*?[") & set(raw) and plain == raw else []
        yield from found or [plain]
