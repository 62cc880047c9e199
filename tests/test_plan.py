"""Dry runs: what a verb would do, before it does it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.testing import raise_if_dask_computes
from xstf.verbs.dry_run import DryRun


class Unread(np.ndarray):
    """An array whose values no one may look at."""

    def __array_ufunc__(self, *_, **__):
        raise AssertionError("values were read")

    def __array_function__(self, *_, **__):
        raise AssertionError("values were read")


def unread(cube):
    return cube.copy(data=np.asarray(cube.data).view(Unread))


def test_a_fusion_is_planned_as_it_is_done(scene):
    fine, coarse = scene
    dry = fine.stf.plan(coarse, method="starfm", window=9, return_quality=True)
    done = xstf.fuse(fine, coarse, method="starfm", window=9, return_quality=True)
    assert isinstance(dry, DryRun)
    assert (dry.verb, dry.method, dry.ratio) == ("fuse", "starfm", 8)
    assert dry.how.startswith("nested, ratio 8")
    assert [d.date for d in dry.dates] == list(done.time.values)
    assert dict(dry.sizes) == dict(done[fine.name].sizes)
    assert dry.memory_result == sum(v.nbytes for v in done.data_vars.values() if v.ndim > 1)
    for date in dry.dates:
        assert [p[0] for p in date.pairs] == [p[1] for p in date.pairs]
        assert {p[0] for p in date.pairs} <= set(fine.time.values)
    assert not dry.lazy
    assert dry.tasks == 0
    assert dry.tiles == 2
    assert dry.warnings == ()


@pytest.mark.parametrize("chunks", [{"y": 20, "x": 20}, {"time": 1, "y": 48, "x": 48}])
def test_a_lazy_plan_has_the_chunks_and_tasks_of_the_result(scene, chunks):
    fine, coarse = scene[0].chunk(chunks), scene[1].chunk()
    with raise_if_dask_computes():
        dry = fine.stf.plan(coarse, method="starfm", window=9)
        done = fine.stf.fuse(coarse, method="starfm", window=9)
    assert dry.lazy
    assert dict(dry.chunks) == dict(done.chunksizes)
    # The same graph, but for the chunks of the cubes themselves.
    assert abs(dry.tasks - len(dict(done.__dask_graph__()))) <= fine.data.npartitions + 2
    assert 0 < dry.memory_tile < dry.memory


@pytest.mark.parametrize("verb", ["fuse", "gapfill", "sharpen_spectral"])
def test_no_value_is_read(scene, verb):
    testing = {"gapfill": xstf.testing.holes, "sharpen_spectral": xstf.testing.bands}
    cubes = scene if verb == "fuse" else testing[verb]()[:2]
    extra = {"sar_units": "dB"} if verb == "gapfill" else {}
    dry = xstf.plan(*map(unread, cubes), verb=verb, **extra)
    assert dry.verb == verb
    assert repr(dry) == repr(xstf.plan(*cubes, verb=verb, **extra))


def test_files_are_not_read(scene, tmp_path):
    scene[0].to_netcdf(tmp_path / "fine.nc")
    with xr.open_dataarray(tmp_path / "fine.nc") as fine:
        fine.stf.plan(scene[1])
        assert not fine.variable._in_memory


def test_the_verb_follows_from_the_cubes(scene):
    cube, sar = xstf.testing.holes()
    spectral, spatial, _ = xstf.testing.bands()
    assert scene[0].stf.plan(scene[1]).verb == "fuse"
    assert cube.stf.plan().verb == cube.stf.plan(sar).verb == "gapfill"
    assert cube.stf.plan(max_gap=60, method="linear").verb == "gapfill"
    assert spectral.stf.plan(spatial).verb == "sharpen_spectral"
    assert spectral.stf.plan(spatial=spatial, psf=1.0).verb == "sharpen_spectral"
    with pytest.raises(ValueError, match="leave open which verb is meant.*verb="):
        cube.stf.plan(cube.assign_coords(band=["a", "b"]))


@pytest.mark.parametrize("form", ["first", "keyword", "method", "short"])
def test_the_verb_may_be_named(form):
    spectral, spatial, _ = xstf.testing.bands()
    dry = {
        "first": lambda: xstf.plan("sharpen_spectral", spectral, spatial),
        "keyword": lambda: xstf.plan(spectral, spatial, verb="sharpen_spectral"),
        "method": lambda: spectral.stf.plan("sharpen_spectral", spatial),
        "short": lambda: spectral.stf.plan("sharpen", spatial=spatial),
    }[form]()
    assert dry.verb == "sharpen_spectral"
    assert dry.ratio == 4


def test_three_cubes():
    made = xstf.scenes.hyperspectral_series(size=30, bands=40)
    dry = made.spectral.stf.plan("fuse", made.dense, spatial=made.sharp)
    assert dry.method == "sts_linear"
    assert len(dry.dates) == made.dense.sizes["time"]
    assert set(dry.grids) == {"fine", "coarse", "spatial"}
    assert dict(dry.sizes) == {"time": 7, "band": 40, "y": 30, "x": 30}


def test_what_the_verb_refuses_is_refused(scene):
    fine, coarse = scene
    with pytest.raises(ValueError, match="no fuse method 'starfn'"):
        fine.stf.plan("fuse", coarse, method="starfn")
    with pytest.raises(TypeError, match="windw"):
        fine.stf.plan(coarse, method="starfm", windw=9)
    with pytest.raises(ValueError, match="does not overlap"):
        fine.stf.plan(coarse.assign_coords(x=coarse.x + 1e6), verb="fuse")
    with pytest.raises(ValueError, match=r"no verb 'fill'; there are \['fuse'"):
        fine.stf.plan("fill")
    with pytest.raises(ValueError, match="name one verb"):
        xstf.plan("fuse", fine, coarse, verb="gapfill")
    with pytest.raises(TypeError, match=r"sharpen_spectral takes the cubes .*3 were given"):
        xstf.plan("sharpen", fine, coarse, coarse)
    with pytest.raises(ValueError, match="weights='fit' trains"):
        fine.stf.plan(coarse, verb="fuse", method="ctstfm", weights="fit")


def test_warnings_are_collected_and_unpaired_dates_named(scene):
    fine, coarse = scene
    late = fine.isel(time=[0]).assign_coords(time=fine.time[[0]] + np.timedelta64(400, "D"))
    dry = xr.concat([fine, late], "time").stf.plan(coarse, method="starfm")
    day = str(late.time.values[0])[:10]
    assert day in dry.unpaired
    assert any(day in text for text in dry.warnings)
    assert day in repr(dry)
    cube = xstf.testing.holes()[0].chunk(time=1)
    assert any("chunks along time" in text for text in cube.stf.plan(method="linear").warnings)


def test_text_and_html_say_it(scene):
    fine, coarse = scene
    dry = fine.chunk(y=20, x=20).stf.plan(coarse, method="starfm")
    for text in (repr(dry), dry._repr_html_()):
        for word in (
            "fuse",
            "starfm",
            "2021-05-13",
            "nested, ratio 8",
            "chunks",
            "tasks",
            "memory",
        ):
            assert word in text
    assert "<table>" in dry._repr_html_()


def test_inputs_stay_as_they_are(scene):
    fine, coarse = scene[0].assign_attrs(units="1"), scene[1]
    mask = xr.zeros_like(fine.isel(band=0, drop=True), dtype=bool)
    before = fine.copy(deep=True)
    dry = fine.to_dataset("band").stf.plan(coarse.to_dataset("band"), mask=mask, method="starfm")
    assert dry.verb == "fuse"
    xr.testing.assert_identical(fine, before)


def test_series_several_radars_and_other_dates():
    cube, sar = xstf.testing.holes()
    dry = unread(cube.isel(y=3, x=4, drop=True)).stf.plan(method="linear")
    assert dict(dry.sizes) == {"time": 25, "band": 2}
    assert dict(dry.grids) == {"cube": "no space"}
    radars = [unread(sar[::2]), unread(sar[1::2])]
    for given in (radars, dict(zip("ab", radars, strict=True))):
        dry = unread(cube).stf.plan(given, sar_units="dB")
        assert dry.verb == "gapfill"
        assert len(dry.grids) == 3
    dry = unread(cube).stf.plan(method="linear", freq="10D")
    days = np.diff([date.date for date in dry.dates]) / np.timedelta64(1, "D")
    assert (days == 10).all()


def test_a_large_plain_cube_beside_a_lazy_one_is_said(scene, monkeypatch):
    monkeypatch.setattr("xstf.tiles.lazy.LARGE", 100)
    dry = scene[0].chunk(y=20).stf.plan(scene[1], method="starfm")
    assert any("in memory goes with a lazy one" in text for text in dry.warnings)
    assert scene[0].stf.plan(scene[1], method="starfm").warnings == ()
