"""Records: found in the folder, offered by packages, checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf._method import TASKS
from xstf.cubes import words
from xstf.methods import lookup
from xstf.methods.lookup import get_method, method_names

STARFM = get_method("fuse", "starfm")


class Entry:
    """An entry point of an installed package."""

    def __init__(self, offer, name="another", value="another_package:METHOD"):
        self.offer, self.name, self.value = offer, name, value

    def load(self):
        if isinstance(self.offer, Exception):
            raise self.offer
        return self.offer


@pytest.fixture
def offered(monkeypatch):
    """Let installed packages offer what is put into a list, through the entry-point group."""
    entries = []
    monkeypatch.setattr(lookup, "entry_points", lambda group: entries)
    for found in (lookup._records, lookup._offers):
        found.cache_clear()
    yield entries
    for found in (lookup._records, lookup._offers):
        found.cache_clear()


@pytest.mark.parametrize("task", TASKS)
def test_the_folder_is_the_list(task):
    folder = Path(lookup.__file__).parent / task
    places = [p for p in folder.iterdir() if not p.name.startswith("_")]
    holds = {p.stem for p in places if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert holds
    assert {name.replace("-", "_") for name in method_names(task)} == holds
    assert list(xstf.list_methods(task).index) == method_names(task)


def test_an_installed_package_offers_a_method(offered, scene):
    offered.append(Entry(dataclasses.replace(STARFM, name="another")))
    assert "another" in method_names("fuse")
    assert "another(" in xstf.fuse(*scene, method="another").attrs["stf_method"]


BROKEN = [
    (ModuleNotFoundError("No module named 'gone'"), "ModuleNotFoundError: No module named 'gone'"),
    (ZeroDivisionError("at import"), "ZeroDivisionError: at import"),
    (AttributeError("module 'another_package' has no attribute 'METHOD'"), "no attribute 'METHOD'"),
    ("starfm", "it is a str, not an xstf.Method"),
]


@pytest.mark.parametrize(("offer", "why"), BROKEN)
def test_a_broken_package_is_left_out_with_one_warning(offered, scene, offer, why):
    good = dataclasses.replace(STARFM, name="good")
    offered += [Entry(offer), Entry(good, "good", "good_package:METHOD")]
    with pytest.warns(UserWarning, match="entry point") as caught:
        assert "good" in xstf.list_methods("fuse").index
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "'another = another_package:METHOD'" in message
    assert why in message
    # The second time, and for the other tasks, nothing is said: pytest makes warnings errors.
    assert "another" not in xstf.list_methods("fuse").index
    assert xstf.get_method("gapfill", "linear").name in xstf.list_methods("gapfill").index
    fine, coarse = scene
    scores = xstf.evaluate_fusion(fine, coarse, methods=["good"], time=fine.time[1])
    assert "good" in scores.method


@pytest.mark.parametrize(("offer", "why"), BROKEN)
@pytest.mark.filterwarnings("ignore:entry point")
def test_a_broken_method_asked_for_by_name_says_why(offered, offer, why):
    offered.append(Entry(offer, "an-other"))
    kind = TypeError if isinstance(offer, str) else ImportError
    for name in ("an-other", "an_other"):
        with pytest.raises(kind, match=r"entry point 'an-other = another_package:METHOD'") as error:
            xstf.get_method("fuse", name)
        assert why in str(error.value)
    with pytest.raises(ValueError, match="did you mean 'starfm'"):
        xstf.get_method("fuse", "starfmm")


@pytest.mark.parametrize("twice", [False, True])
def test_a_name_that_is_taken_is_left_out(offered, twice):
    first = dataclasses.replace(STARFM, name="first")
    offered += [Entry(first, "first"), Entry(STARFM)]
    if twice:
        offered[1].offer = dataclasses.replace(first, summary="another")
    with pytest.warns(UserWarning, match=r"'another = .*it offers '\w+', which exists") as caught:
        assert "first" in method_names("fuse")
    assert len(caught) == 1
    assert get_method("fuse", "starfm") is STARFM
    assert get_method("fuse", "first") is first


# --- names --------------------------------------------------------------------------------------


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"no fuse method 'starfmm'; there are \['auto', 'ctstfm'.*"
    ) as e:
        xstf.get_method("fuse", "starfmm")
    assert str(e.value).endswith("; did you mean 'starfm'?")
    with pytest.raises(ValueError, match=r"'swinstfm'\]$"):  # nothing is near
        xstf.get_method("fuse", "qqq")


def test_sharpen_is_short_for_sharpen_spectral():
    want = xstf.list_methods("sharpen_spectral")
    assert xstf.list_methods("sharpen").equals(want)
    assert len(want) > 5
    assert xstf.get_method("sharpen", "gsa") is get_method("sharpen_spectral", "gsa")


def test_an_unknown_task_names_those_there_are():
    tasks = r"\['fuse', 'gapfill', 'sharpen_spectral', 'sts'\]"
    with pytest.raises(ValueError, match=rf"no task 'fusee'; there are {tasks}; did you mean 'fus"):
        xstf.list_methods("fusee")
    with pytest.raises(ValueError, match=rf"no task 'nonsense'; there are {tasks}$"):
        xstf.get_method("nonsense", "starfm")
    with pytest.raises(TypeError, match=rf"task must be one of {tasks}, not a list"):
        xstf.list_methods([])


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ({"methods": "starfm"}, "; did you mean 'method'?"),
        ({"windows": 9}, "; did you mean 'window'?"),
        (
            {"windows": 9, "masks": None},
            "; did you mean 'mask' for 'masks', 'window' for 'windows'?",
        ),
        ({"qqq": 1}, "progress"),
    ],
)
def test_an_unknown_keyword_lists_the_methods_and_the_verbs(scene, given, near):
    with pytest.raises(TypeError, match=r"starfm has no parameter \[") as error:
        xstf.fuse(*scene, **{"method": "starfm", **given})
    message = str(error.value)
    assert "it has window=51, classes=10.0, distance=3.0; fuse has " in message
    assert all(name in message for name in ("coarse_mask", "pair_tolerance", "return_quality"))
    assert message.endswith(near)


def test_a_method_without_parameters_says_so():
    cube, _ = xstf.testing.holes()
    with pytest.raises(
        TypeError, match=r"linear has no parameter \['wi'\]; it has none of its own; "
    ):
        cube.stf.gapfill(method="linear", wi=3)


@pytest.mark.parametrize(
    ("name", "names", "near"),
    [
        ("starfmm", ["estarfm", "starfm"], "starfm"),
        ("STARFM", ["estarfm", "starfm"], "starfm"),
        ("S2A", ["landsat-8", "sentinel-2a", "sentinel-2b"], "sentinel-2a"),
        ("sharpen", ["fuse", "sharpen_spectral"], "sharpen_spectral"),
        ("x", ["xyz"], None),
        ("", ["a"], None),
        (3, ["b3", "c"], "b3"),
        ("anything", [], None),
    ],
)
def test_the_nearest_name(name, names, near):
    assert words.nearest(name, names) == near


def test_an_unknown_sensor_or_band_of_it_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"no sensor 'S2A'; there .*; did you mean 'sentinel-2a'\?"
    ):
        xstf.sensors.table("S2A")
    with pytest.raises(ValueError, match=r"no band 'ned'; it has .*; did you mean 'red'\?"):
        xstf.sensors.responses("landsat-8", ["ned"], np.array([655.0]))
    with pytest.raises(ValueError, match=r"blur of landsat-8 is not known.*\['sentinel-2a', 'sen"):
        xstf.sensors.blurs("landsat-8", ["red"])
    with pytest.raises(ValueError, match=r"blur of sentinel-2a's \['B10'\] is not known"):
        xstf.sensors.blurs("sentinel-2a", ["B10", "B11"])
    with pytest.raises(TypeError, match=r"sensor must be a name, one of \['sentinel-2a'.*, not 2"):
        xstf.sensors.table(2)


def test_no_list_in_a_message_is_empty():
    assert words.unknown("thing", "a", []) == "no thing 'a'; there are none"
    scalar = xr.DataArray(1.0)
    doors = [
        lambda: scalar.stf.gapfill(),
        lambda: xr.Dataset().stf.fuse(scalar),
        lambda: xstf.metrics.rmse(scalar, scalar, per="time"),
        lambda: xstf.metrics.rmse(scalar, scalar, band="band"),
        lambda: xstf.metrics.ssim(scalar, scalar),
        lambda: xstf.masks.fmask(scalar.astype("uint8"), dilate=1),
        lambda: xstf.simulate.transplant_mask(scalar),
        lambda: xstf.simulate.degrade(scalar, 2),
    ]
    for door in doors:
        with pytest.raises((ValueError, TypeError)) as error:
            door()
        assert "[]" not in str(error.value)
        assert "none" in str(error.value) or "no methods" in str(error.value), error.value


# --- records ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_record_is_shown_with_what_one_chooses_by(task):
    for name in method_names(task):
        record = get_method(task, name)
        shown = repr(record)
        assert f"{name!r} for {task}" in shown
        assert all(engine in shown for engine in record.kernels)
        for field in dataclasses.fields(record.params):
            assert f"{field.name}={field.default!r}" in " ".join(shown.split())
        assert len(shown.splitlines()) <= 4
        assert max(map(len, shown.splitlines())) <= 100


def test_a_record_of_another_task_is_refused(scene):
    filling = dataclasses.replace(STARFM, task="gapfill", prepare=None, settle=None)
    with pytest.raises(ValueError, match="method of 'gapfill', it cannot serve 'fuse'"):
        xstf.fuse(*scene, method=filling)


def test_what_is_no_method_is_refused(scene):
    with pytest.raises(TypeError, match=r"a name or an xstf\.Method, not int"):
        xstf.fuse(*scene, method=3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "sharpen"}, "'sharpen' is none of"),
        ({"kernels": {"numba": None}}, "no 'numpy' kernel"),
        ({"settle": None}, "both prepare and settle"),
    ],
)
def test_a_record_that_cannot_work_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(STARFM, **change)
