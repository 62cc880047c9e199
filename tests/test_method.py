"""Records: found in the folder, offered by packages, checked."""

from __future__ import annotations

import dataclasses

import pytest

import xstf
from xstf._method import Method
from xstf.methods import lookup
from xstf.methods.lookup import _records, get_method, method_names

STARFM = get_method("fuse", "starfm")


@pytest.fixture
def offered(monkeypatch):
    """Let an installed package offer records through the entry-point group."""
    _records.cache_clear()
    records = []

    class Entry:
        value = "another_package:METHOD"

        def __init__(self, record):
            self.record = record

        def load(self):
            return self.record

    monkeypatch.setattr(lookup, "entry_points", lambda group: [Entry(r) for r in records])
    yield records
    _records.cache_clear()


def test_the_folder_is_the_list():
    classical = ["estarfm", "fastvsdf", "fitfc", "fsdaf", "starfm"]
    networks = [
        "ctstfm", "ecpwstfn", "edcstfn", "eststfm", "ganstfm", "mlffgan", "stf3dcnn", "swinstfm",
    ]  # fmt: skip
    assert method_names("fuse") == sorted(classical + networks)
    assert list(xstf.list_methods("fuse").index) == method_names("fuse")


def test_an_installed_package_offers_a_method(offered, scene):
    offered.append(dataclasses.replace(STARFM, name="another"))
    assert "another" in method_names("fuse")
    assert "another(" in xstf.fuse(*scene, method="another").attrs["stf_method"]


def test_a_name_that_is_taken_is_refused(offered):
    offered.append(STARFM)
    with pytest.raises(ValueError, match="'starfm', which exists"):
        method_names("fuse")


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


def test_the_page_on_adding_a_method_tells_the_truth():
    """Its example is run as it stands."""
    from pathlib import Path

    page = (Path(__file__).parent.parent / "docs" / "add_a_method.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    space: dict = {"__name__": "docs_example"}
    exec(compile(code, "add_a_method.md", "exec"), space)
    assert isinstance(space["METHOD"], Method)
    assert space["fused"].sizes["time"] == 2
