"""Every code block of README and docs runs: page by page, in order, on small cubes and files.

Python is executed, and lines of a shell that call xstf go to the command line's own ``main``. A
block that cannot run has a comment before it, ``<!-- not run: why -->``.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import io
import re
import shlex
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
SHOWN = ("text", "yaml", "pycon")  # what a program prints; directives of Sphinx have braces
    "text",
    "yaml",
    "pycon",
)  # what a program prints, equations; directives of Sphinx have braces
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
        "fields": (cube.y + cube.x > (cube.y + cube.x).median()).astype(int).rename("field"),
        "s2_20m": twenty, "s2_10m": ten, "sentinel2_20m": twenty, "sentinel2_10m": ten,
        "hyperspectral": spectral, "multispectral": sharp, "sharp": sharp, "sharp_images": sharp,
        "dense": series.dense,
    } | as_readers_give_them(cube, classes, fine)  # fmt: skip


def as_readers_give_them(cube, classes, fine) -> dict[str, object]:
    """Return small cubes with the dims, types and labels that readers of products give."""
    few = {"time": slice(0, 12), "y": slice(0, 20), "x": slice(0, 20)}
    seen, scl = cube.isel(few), classes.isel(few)
    numbers = (seen * 1e4).fillna(0).round().astype(np.uint16).drop_vars("wavelength")
    bands = numbers.assign_coords(band=["red", "nir"]).to_dataset("band")
    for band in bands.values():
        band.attrs = {"nodata": 0}
    layers = [seen.drop_vars("wavelength"), scl.astype(float).expand_dims(band=["scl"])]
    stack = xr.concat(layers, "band")
    qa = xr.where(scl == 9, 22280, 21824).astype(np.uint16)  # cloud; clear land
    landsat = (0.2 + seen) / 0.0000275
    landsat = landsat.fillna(0).round().astype(np.uint16).drop_vars("wavelength")
    landsat = landsat.assign_coords(band=["red", "nir08"]).to_dataset("band")
    made = xstf.scenes.landsat_modis(size=60)
    pixels = {"y": 2, "x": 2}
    pan = made.truth[0].mean("band")
    layers = ["sur_refl_b03", "sur_refl_b04", "sur_refl_b01", "sur_refl_b02"]
    layers += ["sur_refl_b06", "sur_refl_b07"]
    return {
        "odc_s2": bands.assign(scl=scl), "landsat": landsat.assign(qa_pixel=qa),
        "stack": stack.assign_coords(band=["red", "nir", "scl"]),
        "open_fine": made.fine, "granules": {
            str(image.time.values)[:10]: granule(image.drop_vars("time"), layers)
            for image in made.coarse[:4]
        },
        "panchromatic": pan, "landsat_30m": made.truth[0].coarsen(pixels).mean(),
    }  # fmt: skip


def granule(image: xr.DataArray, layers: list[str]) -> xr.Dataset:
    """Return an image as a granule of MOD09A1: packed layers, each with a band of its own."""
    packed = (image * 1e4).round().astype(np.int16).drop_vars("wavelength")
    named = packed.assign_coords(band=layers).to_dataset("band").expand_dims(band=[1])
    for layer in named.values():
        layer.attrs = {"scale_factor": 1e-4, "_FillValue": -28672, "add_offset": 0.0}
    return named


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
    hls = folder / "hls"
    hls.mkdir()
    for image in xstf.files.open_cube(paths["sentinel2.nc"]).reflectance[:4, 1:3]:
        fmask = xr.where(image[0].isnull(), 66, 64).astype(np.uint8)
        for layer, word in ((image[0], "B04"), (image[1], "B8A"), (fmask, "Fmask")):
            day = f"{image.time.dt.strftime('%Y%j').item()}"
            name = f"HLS.S30.T33UUP.{day}T100551.v2.0.{word}.tif"
            plain = layer.drop_vars(["time", "band", "wavelength"])
            plain.rio.write_crs(image.rio.crs).rio.to_raster(hls / name)
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
            assert known, f"{page.name}:{block.line} is a block of {block.kind!r}"


def test_extras_that_pages_install_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = set(extras["optional-dependencies"])
    for page in PAGES:
        for names in re.findall(r"(?:xstf|\")\.?\[([\w,-]+)\]", page.read_text()):
            if "pip" in page.read_text():
                assert set(names.split(",")) <= known, f"{page.name}: [{names}]"


def test_links_of_pages_lead_to_what_is_there():
    """Sphinx looks at those between its pages; here are files, and what only the README links."""
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            made = file.name in MADE or file.parent.name == "methods"
            assert made or file.exists(), f"{page.name} links to {target}"
            if anchor and not made:
                assert anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in kept}


def test_messages_that_the_faq_explains_are_messages_of_xstf():
    said = [m for f in sorted((ROOT / "xstf").rglob("*.py")) for m in messages(f)]
    asked = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "faq.md").read_text(), re.MULTILINE)
    assert len(asked) >= 15
    for message in asked:
        assert any(message in one for one in said), message


def messages(file: Path) -> Iterator[str]:
    """Give the texts of a file's strings; what is filled in is left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(v.value for v in node.values if isinstance(v, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


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
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = main(words[1:])
    assert status == 0, line
    if target is not None:
        Path(target).write_text(printed.getvalue())


def words_of(line: str) -> Iterator[str]:
    """Give the words of a line as a shell makes them: patterns without quotes become paths."""
    for raw in re.findall(r"""(?:[^\s"'#]|"[^"]*"|'[^']*')+""", line.split(" #")[0]):
        plain = "".join(shlex.split(raw))
        pattern = set("*?[") & set(raw) and plain == raw
        yield from sorted(map(str, Path().glob(plain))) if pattern else [plain]
