"""A store under whatever may happen to it, in any order: kills, repairs, other results."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress

import dask
import dask.array as da
import hypothesis
import numpy as np
import pytest
import xarray as xr
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from stores import write

from xstf import store
from xstf.store.place import LOCK, Place

zarr = pytest.importorskip("zarr", minversion="3", reason="needs zarr 3")


class Dead(Exception):
    """A process that is killed does nothing any more."""


class Dying(zarr.storage.WrapperStore):
    """A store in whose process the writer is killed after some writes."""

    left = None

    def __eq__(self, other):
        return isinstance(other, Dying) and self._store == other._store

    def count(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Dead

    async def set(self, key, value):
        self.count()
        await super().set(key, value)

    async def set_if_not_exists(self, key, value):
        self.count()
        await super().set_if_not_exists(key, value)

    async def delete(self, key):
        self.count()
        await super().delete(key)

    async def delete_dir(self, prefix):
        self.count()
        await super().delete_dir(prefix)

    def with_read_only(self, read_only=False):
        return Dying(self._store.with_read_only(read_only))


def toy(factor=2.0, step=0.0, name=None):
    """Return a lazy result of four tiles that costs little."""
    values = da.from_array(np.arange(64, dtype="f4").reshape(8, 8), chunks=4, name=name or None)
    cube = xr.DataArray(values * np.float32(factor) + np.float32(step), dims=("y", "x"), name="r")
    cube.attrs["stf_method"] = f"toy({factor=}), xstf 1"
    return cube


def all_of(target):
    place = Place.of(target)
    # The record has dask's names, which are random here at times.
    own = (LOCK, "_xstf/zarr.json")
    return {key: place.read(key) for key in place.all_keys() if key not in own}


class Machine(RuleBasedStateMachine):
    """Writers come, are killed after any write, and come again; others want something else."""

    whole = None

    def __init__(self):
        super().__init__()
        if Machine.whole is None:
            memory = zarr.storage.MemoryStore()
            write(toy(), memory)
            Machine.whole = all_of(memory)
        self.store = Dying(zarr.storage.MemoryStore())
        self.damaged = None

    def marks(self):
        return {k for k in all_of(self.store) if k.startswith("_xstf/marks/0/c/")}

    @rule(after=st.integers(0, 40), name=st.sampled_from(["", "other"]))
    def killed(self, after, name):
        before = self.marks()
        self.store.left = after
        with self.may_be_refused(), suppress(Dead):
            write(toy(name=name), self.store)
        self.store.left = None
        assert before <= self.marks()
        self.bury()

    @contextmanager
    def may_be_refused(self):
        """Expect an error, or none, of a store with a damaged chunk that is looked at."""
        try:
            yield
        except OSError as error:
            assert "is damaged" in str(error)  # noqa: PT017
            assert self.damaged is not None

    def bury(self):
        """Have the lock of a killed writer be that of another process, which is dead."""
        place = Place.of(self.store)
        said = json.loads(place.read(LOCK) or b"{}")
        if said and said["started"] != "1":
            with pytest.raises(OSError, match="is writing to it"):
                write(toy(), self.store)
            place.write(LOCK, json.dumps(said | {"started": "1"}).encode())

    @rule()
    def gone_on_with(self):
        write(toy(), self.store)
        if self.damaged is None:
            assert all_of(self.store) == self.whole
            assert store.verify(self.store) == []

    @precondition(lambda self: self.marks())
    @rule(other=st.sampled_from([{"factor": 3.0}, {"step": 1.0}]))
    def another_is_refused(self, other):
        before = all_of(self.store)
        with (
            self.may_be_refused(),
            pytest.raises(ValueError, match="holds another result"),
        ):
            write(toy(**other), self.store)
        assert all_of(self.store) == before

    @precondition(lambda self: self.marks() and self.damaged is None)
    @rule(how=st.sampled_from(["missing", "truncated", "damaged"]), number=st.integers(0, 3))
    def hurt(self, how, number):
        place = Place.of(self.store)
        chunks = sorted(k.replace("_xstf/marks/0", "r") for k in self.marks())
        key = chunks[number % len(chunks)]
        data = place.read(key)
        if how == "missing":
            place.delete(key)
        else:
            cut, flip = data[:-9], bytes([*data[:20], data[20] ^ 1, *data[21:]])
            place.write(key, cut if how == "truncated" else flip)
        self.damaged = key, how

    @precondition(lambda self: self.damaged is not None)
    @rule()
    def repaired(self):
        key, how = self.damaged
        faults = {f.key: f.kind for f in store.verify(self.store)}
        assert faults.get(key, "missing") == how
        Place.of(self.store).delete(key)
        self.damaged = None
        self.gone_on_with()


@pytest.mark.slow
class TestAnyOrder(Machine.TestCase):
    settings = hypothesis.settings(stateful_step_count=8, max_examples=10, deadline=None)

    def runTest(self):
        with dask.config.set(scheduler="synchronous"):
            super().runTest()
