"""States of whole images: settled once, kept in a store while it is written, without pickles."""

from __future__ import annotations

import dataclasses
import io
from functools import partial
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from stores import COARSE, FINE, STATE, Stop, files_of, lazily, made_of, stopping, values_of, write

import xstf
from xstf.store import states as kept
from xstf.store.encoding import UnfitError, decoded, encoded
from xstf.tiles import states as made

zarr = pytest.importorskip("zarr", minversion="3", reason="needs zarr 3")

READ = []


def forget():
    """Stand for another process."""
    made._SETTLED.clear()
    kept._READ.clear()


@pytest.fixture
def settled(monkeypatch):
    """What was settled, by token."""
    found = []

    for where in (made.Prepared, kept.Kept):

        def counted(self, original=where._settle):
            found.append(self.token)
            return original(self)

        monkeypatch.setattr(where, "_settle", counted)
    forget()
    with dask.config.set(scheduler="synchronous"):
        yield found
    forget()


def test_tasks_are_named_as_the_store_expects():
    for name in ("SETTLE", "PREPARED", "STATE", "LATER"):
        assert getattr(made, name) == getattr(kept, name)


def test_states_are_settled_once(tmp_path, settled):
    """Also after a stop, in what stands for another process."""
    write(lazily("fsdaf"), tmp_path / "whole.zarr")
    once = len(settled)
    assert once == len(set(settled)) > 2
    cube, count = stopping(lazily("fsdaf"), at=(1, 0, 2, 2))
    forget()
    settled.clear()
    with pytest.raises(Stop):
        write(cube, tmp_path / "out.zarr")
    count["at"] = None
    forget()
    write(cube, tmp_path / "out.zarr")
    assert len(settled) == once
    assert values_of(tmp_path / "out.zarr") == values_of(tmp_path / "whole.zarr")
    assert not (tmp_path / "out.zarr" / "_xstf" / "states").exists()


def seen(values, name):
    READ.append(name)
    return values


def sampled(name, random):
    """Return a fusion whose fine chunks are counted, with names that are random or not."""
    fine = FINE.chunk(time=1, y=16, x=16)
    named = {"name": name} if random else {}
    data = da.map_blocks(seen, fine.data, "fine", meta=fine.data._meta, **named)
    return lazily("fsdaf", fine.copy(data=data))


@pytest.mark.parametrize("random", [False, True])
def test_a_resumed_run_does_not_sample_what_has_its_name(tmp_path, settled, random):
    """With a random one it does, but it does not settle."""
    cube, count = stopping(sampled("first", random), 0)
    with pytest.raises(Stop):
        write(cube, tmp_path / "out.zarr")
    assert settled
    settled.clear()
    READ.clear()
    again = sampled("second", random).copy(data=stopped_again(cube, sampled("second", random)))
    count["made"].clear()
    count["most"] = 0
    forget()
    with pytest.raises(Stop):
        write(again, tmp_path / "out.zarr")
    assert not settled
    samples = {k for k in again.data.__dask_graph__() if str(k).startswith("xstf-sample-")}
    tile = len(READ)
    assert tile >= len(samples) if random else tile < len(samples)


def stopped_again(cube, fused):
    """Return the data of a fusion with the same stop as another cube's."""
    return da.map_blocks(made_of, fused.data, str(len(STATE) - 1), meta=cube.data._meta)


def test_a_state_for_a_few_tiles_is_settled_by_the_first_to_ask(tmp_path, settled):
    path = tmp_path / "out.zarr"
    fused = lazily()
    names = [k for k in fused.data.__dask_graph__() if str(k).startswith(kept.STATE + kept.LATER)]
    assert len(names) == 4
    cube, count = stopping(fused, 17)
    with pytest.raises(Stop):
        write(cube, path)
    there = set(files_of(path / "_xstf" / "states"))
    assert sum(name.startswith("samples-") for name in there) == 4
    asked = {name for name in there if name.startswith("state-")}
    assert len(asked) == len(set(settled)) == len(settled)
    assert 1 < len(asked) < 5  # one of them is a check
    count["most"] = 100
    forget()
    settled.clear()
    write(cube, path)
    assert not settled
    np.testing.assert_array_equal(xstf.files.open_cube(path), fused.compute())


# --- in the process ---------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["fuse", "gapfill"])
def test_dates_that_are_computed_one_by_one_settle_once(settled, verb):
    if verb == "fuse":
        result = lazily("fsdaf")
    else:
        result = FINE.where(FINE > 0.2).chunk(time=-1, y=16).stf.gapfill(method="harmonic")
    whole = result.compute()
    once = len(settled)
    assert once
    forget()
    settled.clear()
    for k in range(result.sizes["time"]):
        np.testing.assert_array_equal(result.isel(time=k).compute(), whole.isel(time=k))
    assert len(settled) == once


# --- as bytes ---------------------------------------------------------------------------------


def same(one, other):
    """Return whether two states are the same in type and value, to the bit."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and (
            one.tobytes() == other.tobytes()
        )  # fmt: skip
    if type(one) is not type(other):
        return False
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return all(same(getattr(one, n), getattr(other, n)) for n in names)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    return repr(one) == repr(other)


@pytest.mark.parametrize(
    "value",
    [
        None, True, -3, 0.1, float("nan"), float("-inf"), "text", "", b"\x00bytes", [], (),
        [1, (2, [3.5, None])], {"a": {1: (2, "x")}, (1, 2): []}, np.float32(0.1), np.int64(-1),
        np.datetime64("2020-01-02", "ns"), np.arange(6, dtype=">i2").reshape(2, 3),
        np.array(["a", "bcd"]), np.zeros((0, 3)), np.array(1.5), np.array([True, False]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
)  # fmt: skip
def test_plain_values_come_back(value):
    assert same(decoded(encoded(value)), value)


class Mine(NamedTuple):
    values: Any


@pytest.mark.parametrize(
    "value",
    [Mine(1), {1, 2}, partial(print), print, object(), np.array([None]), 1j, Mine, range(3)],
)
def test_what_has_no_form_is_not_kept(value):
    with pytest.raises(UnfitError):
        encoded([value])


def test_bytes_make_nothing_but_records_of_ours():
    from xstf.tiles.sharpen_spectral import SharpenState

    ours = forged("xstf.tiles.sharpen_spectral:SharpenState")
    assert decoded(ours) == SharpenState(1, 2, 3)
    for other in ("subprocess:Popen", "xstf.none.there:State", "xstf.store.place:Place"):
        with pytest.raises(UnfitError, match="no record of xstf"):
            decoded(forged(other))


def forged(name):
    file = io.BytesIO()
    tree = f'["record", "{name}", [1, 2, 3]]'.encode()
    np.savez(file, tree=np.frombuffer(tree, np.uint8))
    return file.getvalue()


class Own:
    """A state of a user's own method."""

    def __init__(self, samples):
        self.total = float(samples["a"].sum())


def test_a_state_of_a_users_own_class_travels_with_the_tiles(tmp_path):
    sampling = made.Sampling()
    state = sampling.of((made.State(Own, {"a": np.ones(4)}),))
    data = da.map_blocks(
        lambda block, states: block + states[0]().total, da.zeros((4, 4), chunks=2), state,
        dtype="f8", meta=np.empty((0, 0)),
    )  # fmt: skip
    cube = xr.DataArray(data, dims=("y", "x"), name="r")
    write(cube, tmp_path / "out.zarr")
    assert (xr.open_zarr(tmp_path / "out.zarr", consolidated=False)["r"] == 4).all()


def lazy_results():
    """Return a lazy result of each method that settles."""
    scene = xstf.scenes.hyperspectral_series(size=36, bands=40)
    for task in ("fuse", "gapfill", "sts", "sharpen_spectral"):
        table = xstf.list_methods(task)
        for name in table.index[~table.network]:
            yield task, name, scene


def result_of(task, name, scene):
    if task == "fuse":
        return xstf.fuse(FINE.chunk(y=24), COARSE.chunk(), method=name)
    if task == "gapfill":
        return FINE.where(FINE > 0.2).chunk(y=24).stf.gapfill(method=name)
    sharp, spectral = scene.sharp.chunk(y=18), scene.spectral
    if task == "sts":
        return xstf.fuse(spectral, scene.dense, spatial=sharp, method=name)
    return xstf.sharpen_spectral(
        spectral.isel(time=[0]).chunk(y=6), sharp.isel(time=[0]), method=name
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_state_of_every_method_comes_back():
    looked = 0
    for task, name, scene in lazy_results():
        if (task, name) == ("gapfill", "auto"):  # it settles all others, which takes long
            continue
        result = result_of(task, name, scene)
        graph = dict(result.data.__dask_graph__())
        place = kept.Place.of(zarr.storage.MemoryStore())
        with dask.config.set(scheduler="synchronous"):
            first = kept.kept_states(graph, place, keep=False)
            again = kept.kept_states(graph, place, keep=True)
        assert not place.all_keys() or again, (task, name)
        kept._READ.clear()
        for key, state in again.items():
            assert isinstance(state, kept.Kept), (task, name)
            assert same(state(), first[key]()), (task, name)
            looked += 1
    assert looked > 40
