"""The `.stf` accessor: the verbs' signatures and docstrings, what it says of a cube, its types."""

from __future__ import annotations

import inspect
import os
import pydoc
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

import xstf
from xstf.accessor import StfAccessor
from xstf.testing import raise_if_dask_computes

ROOT = Path(__file__).parent.parent
METHODS = {
    "fuse": xstf.fuse,
    "gapfill": xstf.gapfill,
    "sharpen_spectral": xstf.sharpen_spectral,
    "plan": xstf.plan,
    "evaluate": xstf.evaluate_fusion,
    "evaluate_gapfill": xstf.evaluate_gapfill,
    "evaluate_sharpen_spectral": xstf.evaluate_sharpen_spectral,
    "evaluate_sharpen": xstf.evaluate_sharpen,
    "score": xstf.score,
    "rank": xstf.rank,
    "report": xstf.report,
}
VERBS = ["fuse", "gapfill", "sharpen_spectral"]


def shape(function, skip):
    """Names, kinds and defaults of a function's arguments."""
    arguments = list(inspect.signature(function).parameters.values())[skip:]
    return [(p.name, p.kind, p.default) for p in arguments]


def test_these_are_its_methods(scene):
    assert dir(scene[0].stf) == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_signatures_are_those_of_the_functions(scene, name):
    assert shape(getattr(scene[0].stf, name), 0) == shape(METHODS[name], 1)


@pytest.mark.parametrize("name", METHODS)
def test_docstrings_are_those_of_the_functions(scene, name):
    method, function = getattr(scene[0].stf, name), METHODS[name]
    ours, theirs = (inspect.getdoc(f).splitlines() for f in (method, function))
    changed = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    first = next(iter(inspect.signature(function).parameters))
    assert changed == [(f"{theirs_line}; `{first}` is this cube", theirs_line)
                       for _, theirs_line in changed]  # fmt: skip
    assert len(changed) == 1
    assert "Parameters" in ours
    assert method.__doc__ == getattr(StfAccessor, name).__doc__
    assert theirs[0] in pydoc.render_doc(method)  # help() in a console


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_plain_functions_whose_type_hints_resolve(scene, name):
    assert inspect.isfunction(getattr(StfAccessor, name))
    assert inspect.ismethod(getattr(scene[0].stf, name))
    for function in (getattr(StfAccessor, name), METHODS[name]):
        assert "return" in typing.get_type_hints(function)


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("door", ["function", "method"])
def test_overloads_have_the_arguments_of_what_they_describe(name, door):
    function = METHODS[name] if door == "function" else getattr(StfAccessor, name)
    overloads = typing.get_overloads(function)
    # By what the cube is, and where it is an argument by `return_quality`.
    assert len(overloads) == (3 if name == "sharpen_spectral" else 4)
    for one in overloads:
        wanted = inspect.signature(function).parameters
        found = inspect.signature(one).parameters
        assert [(p.name, p.kind) for p in found.values()] == [
            (p.name, p.kind) for p in wanted.values()
        ]
        for argument in wanted.values():
            asked = found[argument.name].default is inspect.Parameter.empty
            needed = argument.default is inspect.Parameter.empty
            assert asked == needed or argument.name == "return_quality"
            hint = str(argument.annotation).replace("xr.DataArray | xr.Dataset", "Labelled")
            if argument.name not in ("return_quality", *list(wanted)[:1]):
                assert found[argument.name].annotation == hint


@pytest.mark.slow
def test_a_type_checker_knows_what_comes_back(tmp_path):
    """mypy on a user's file, with the types that ship in the package."""
    pytest.importorskip("mypy", reason="needs mypy")
    (tmp_path / "user.py").write_text(
        "import xarray as xr\n"
        "import xstf\n"
        "from xstf.accessor import StfAccessor\n"
        "def check(a: xr.DataArray, d: xr.Dataset, either: bool) -> None:\n"
        "    reveal_type(xstf.fuse(a, d))\n"
        "    reveal_type(xstf.fuse(a, a, return_quality=True))\n"
        "    reveal_type(xstf.fuse(d, a))\n"
        "    reveal_type(xstf.fuse(a, a, return_quality=either))\n"
        "    reveal_type(xstf.gapfill(a, window=9))\n"
        "    reveal_type(xstf.sharpen_spectral(d, a))\n"
        "    reveal_type(StfAccessor(a).gapfill())\n"
        "    reveal_type(StfAccessor(d).fuse(a))\n"
        "    reveal_type(StfAccessor(a).sharpen_spectral(a))\n"
        "    xstf.fuse(a, a, min_valid='half')\n"
        "    xstf.gapfill(a, smooth='yes')\n"
        "    xstf.fusse(a, a)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", str(tmp_path / "user.py")],
        cwd=ROOT, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = [line.split("user.py:")[1] for line in done.stdout.splitlines() if "user.py:" in line]
    array, dataset = "xarray.core.dataarray.DataArray", "xarray.core.dataset.Dataset"
    both = f"{array} | {dataset}"
    kinds = [array, dataset, dataset, both, array, dataset, array, dataset, array]
    revealed = [line for line in lines if "Revealed type" in line]
    for kind, line in zip(kinds, revealed, strict=True):
        assert line.endswith(f'Revealed type is "{kind}"'), done.stdout
    errors = {line.split(":")[0] for line in lines if "error:" in line}
    assert errors == {"14", "15", "16"}, done.stdout


# --- what it says of a cube ---------------------------------------------------------------------


def row(text, name):
    """The text of one row of a repr."""
    lines = [line.split(maxsplit=1) for line in text.splitlines()[1:]]
    return next(line[1] for line in lines if line[0] == name)


@pytest.fixture
def packed(scene):
    """Integers in a CRS, a fifth of the first date missing, another eighth of the second."""
    cube = (scene[0] * 1e4).round().astype("int16").assign_attrs(nodata=-9999, scale_factor=1e-4)
    data = cube.values.copy()
    data[0, :, :10] = -9999
    data[1, 0, :12] = -9999
    crs = xr.Variable((), 0, pyproj.CRS.from_epsg(32633).to_cf())
    return cube.copy(data=data).assign_coords(spatial_ref=crs)


@pytest.mark.parametrize("kind", ["array", "dataset"])
def test_repr_says_what_the_cube_is(packed, kind):
    cube = packed
    if kind == "dataset":
        cube = packed.to_dataset("band")
        for variable in cube.data_vars.values():
            variable.attrs = packed.attrs
    text = repr(cube.stf)
    missing = (2 * 10 + 12) / (3 * 2 * 48)
    assert row(text, "dims").startswith("time: 3, ")
    assert "y: 48, x: 48" in row(text, "dims")
    assert row(text, "values") == "int16, nodata -9999, scale_factor 0.0001"
    assert row(text, "missing") == f"{missing:.1%}"
    assert row(text, "bands") == "red, nir"
    assert row(text, "dates") == "2021-04-07 to 2021-08-29, 3 dates"
    assert row(text, "grid") == "pixels of 30 m, x 0 to 1440, y 0 to 1440"
    assert row(text, "CRS") == "EPSG:32633 (WGS 84 / UTM zone 33N)"
    assert [row(text, verb) for verb in VERBS] == ["yes", "yes", "yes"]


def test_repr_computes_nothing_lazy_and_reads_no_file(packed, tmp_path):
    with raise_if_dask_computes():
        text = repr(packed.chunk(y=20).stf)
        assert packed.chunk(y=20).to_dataset("band").stf._repr_html_()
    assert row(text, "missing") == "not computed"
    assert row(text, "dates") == "2021-04-07 to 2021-08-29, 3 dates"
    packed.to_netcdf(tmp_path / "cube.nc")
    with xr.open_dataset(tmp_path / "cube.nc") as opened:
        assert row(repr(opened["reflectance"].stf), "missing") == "not computed"
        assert not opened["reflectance"].variable._in_memory
    assert packed.variable._in_memory  # the name that this leans on is still xarray's


def test_repr_says_which_verbs_cannot_be_served_and_why(scene):
    fine = scene[0]
    assert row(repr(fine.stf), "gapfill") == "yes, but nothing is missing"
    dateless = repr(fine.isel(time=0, drop=True).stf)
    assert row(dateless, "fuse").startswith("no: it has no time")
    assert row(dateless, "gapfill").startswith("no: it has no time dim")
    assert row(dateless, "sharpen_spectral") == "yes"
    one_date = repr(fine.isel(time=0).stf)
    assert row(one_date, "fuse") == "yes"
    assert row(one_date, "gapfill").startswith("no: it has no time dim")
    assert row(one_date, "dates") == "2021-04-07"
    one_band = repr(fine.isel(band=0).stf)
    assert row(one_band, "sharpen_spectral").startswith("yes, its one band; or it is spatial=")


@pytest.mark.slow
def test_what_repr_says_of_the_verbs_is_true():
    """A cube that it says no of is refused, one that it says yes of is not."""
    cube, _ = xstf.testing.holes()
    spectral, spatial, _ = xstf.testing.bands()
    for made in (cube, cube.isel(time=0), cube.isel(time=0, drop=True), cube.isel(time=[3])):
        says = row(repr(made.stf), "gapfill")
        if says.startswith("no"):
            with pytest.raises(ValueError, match="no time dim"):
                made.stf.gapfill()
        else:
            assert made.stf.gapfill().sizes == made.sizes
    one = spectral.isel(band=[2])
    assert row(repr(one.stf), "sharpen_spectral").startswith("yes")
    assert one.stf.sharpen_spectral(spatial, method="sfim").sizes["band"] == 1


@pytest.mark.parametrize(
    ("cube", "why"),
    [
        (xr.Dataset(), "no data variable"),
        (xr.DataArray(3.0), "two spatial dims"),
        (xr.DataArray(np.zeros(3), dims="time"), "two spatial dims"),
        (xr.DataArray(np.zeros((3, 3)), dims=("y", "x")), "no coordinate for 'y'"),
        (xr.DataArray([["a"]], dims=("y", "x")), "dtype <U1"),
        (xr.DataArray(np.zeros((0, 3)), dims=("y", "x"), coords={"y": [], "x": [0, 1, 2]}),
         "empty"),
        (xr.DataArray(np.zeros((2, 3)), dims=("y", "x"), coords={"y": [0, 1], "x": [0, 1, 5]}),
         "not evenly spaced"),
        (xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), coords={"y": [0, 1], "x": [0, 1]},
                      attrs={"crs": "EPSG:nonsense"}), "CRS cannot be read"),
    ],
)  # fmt: skip
def test_a_cube_that_cannot_be_read_says_why(cube, why):
    for text in (repr(cube.stf), cube.stf._repr_html_().replace("&#x27;", "'")):
        assert "xstf cannot read it" in text
        assert why in text.replace("&lt;", "<")


def test_html_escapes_labels(scene):
    cube = scene[0].rename("<script>").assign_coords(band=["<b>", "&"])
    text = cube.stf._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text
    assert "&lt;b&gt;, &amp;" in text
    plain = [line.split(maxsplit=1)[0] for line in repr(cube.stf).splitlines()[1:]]
    assert all(f">{name}</th>" in text for name in plain)


def test_many_bands_and_times_of_day_are_told_briefly():
    cube = xr.DataArray(
        np.zeros((2, 100, 2, 2), np.float32), dims=("time", "band", "lat", "lon"),
        coords={"lat": [1.0, 0.9], "lon": [7.0, 7.2], "band": np.arange(100),
                "time": np.array(["2020-01-02T10:30", "2020-01-01T10:31:07"], "M8[ns]")},
    )  # fmt: skip
    cube = cube.assign_coords(spatial_ref=xr.Variable((), 0, pyproj.CRS(4326).to_cf()))
    text = repr(cube.stf)
    assert row(text, "bands") == "0, 1, 2, 3, 4, 5, 6, 7 and 92 more"
    assert row(text, "dates") == "2020-01-01T10:31 to 2020-01-02T10:30, 2 dates"
    assert row(text, "grid") == "pixels of 0.2 × 0.1°, x 6.9 to 7.3, y 0.85 to 1.05"


def test_of_a_large_cube_a_sample_is_counted(monkeypatch, packed):
    from xstf.cubes import describe

    monkeypatch.setattr(describe, "_MOST_VALUES", 1000)
    assert row(repr(packed.stf), "missing").endswith("% of a sample")
    whole = packed.where(packed == 0, 7).drop_attrs()
    assert row(repr(whole.stf), "missing") == "none of a sample"
    assert row(repr(whole.stf), "gapfill") == "yes"  # it is not certain that nothing is missing
