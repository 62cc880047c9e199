"""Tiles: cutting, laziness, threads, clusters."""

from __future__ import annotations

import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstf import testing
from xstf.tiles import run as _tiles
from xstf.tiles import samples as _samples


@given(st.integers(1, 5000), st.integers(1, 2000), st.integers(1, 40))
def test_planned_chunks_sum_to_the_size_and_are_whole(size, chunk, multiple):
    chunks = _tiles.plan_chunks(size, chunk, multiple)
    assert sum(chunks) == size
    assert min(chunks) > 0
    assert all(c % multiple == 0 for c in chunks[:-1])
    assert len(set(chunks[:-1])) <= 1


def box_mean(blocks, rows, cols, states):
    """Sum of a 5 × 5 window that shrinks at the edge, times the state."""
    (block,) = blocks
    top, left = max(rows.start - 2, 0), max(cols.start - 2, 0)
    out = np.empty((block.shape[1], rows.stop - rows.start, cols.stop - cols.start), np.float32)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            y, x = rows.start + i - top, cols.start + j - left
            window = block[:, :, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            out[:, i, j] = window.sum(axis=(0, 2, 3))
    return out * (states[0]() if states else 1)


def around(rows, cols):
    return tuple(slice(max(s.start - 2, 0), min(s.stop + 2, 17)) for s in (rows, cols))


def job(array, states=()):
    source = _tiles.Source(array, (2, 0), around)
    return _tiles.Job(box_mean, (source,), (2,), (17, 17), states)


CUBE = np.random.default_rng(0).random((3, 2, 17, 17)).astype(np.float32)


@given(
    st.tuples(*(st.integers(1, n) for n in CUBE.shape)),
    st.tuples(st.integers(1, 17), st.integers(1, 17)),
)
def test_any_chunking_gives_what_the_whole_gives(chunks, out_chunks):
    whole = _tiles.run_tiles([job(CUBE)], chunks=(17, 17), tile=17)
    lazy = _tiles.run_tiles([job(da.from_array(CUBE, chunks))], chunks=out_chunks, tile=1)
    assert lazy.chunks[-2:] == da.core.normalize_chunks(out_chunks, (17, 17))
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), whole, rtol=1e-6)


def test_eager_tiles_give_what_the_whole_gives():
    whole = _tiles.run_tiles([job(CUBE)], chunks=(17, 17), tile=17)
    np.testing.assert_allclose(
        _tiles.run_tiles([job(CUBE)], chunks=(1, 1), tile=4), whole, rtol=1e-6
    )


def test_building_a_graph_computes_nothing_and_each_chunk_is_made_once():
    made = []

    def chunk(block_info=None):
        made.append(block_info[None]["chunk-location"])
        return np.ones((1, 2, 6, 6), np.float32)

    cube = da.map_blocks(chunk, chunks=((1,) * 3, (2,), (6,) * 3, (6,) * 3), dtype=np.float32)
    assert cube.shape == (3, 2, 18, 18)
    made.clear()
    with testing.raise_if_dask_computes():
        lazy = _tiles.run_tiles([job(cube)], chunks=(5, 4), tile=1)
    assert made == []
    lazy.compute(scheduler="sync")
    assert len(made) == len(set(made)) == 2 * 9


def twice(samples):
    return 2 * float(samples["first"].sum())


def test_states_are_settled_once_from_samples():
    whole = _tiles.run_tiles([job(CUBE, ((twice, {"first": da.from_array(CUBE[0, 0])}),))],
                       chunks=(17, 17), tile=6)  # fmt: skip
    plain = _tiles.run_tiles([job(CUBE)], chunks=(17, 17), tile=6)
    np.testing.assert_allclose(whole, plain * 2 * CUBE[0, 0].sum(), rtol=1e-5)
    cube = da.from_array(CUBE, (1, 1, 5, 4))
    lazy = _tiles.run_tiles([job(cube, ((twice, {"first": cube[0, 0]}),))], chunks=(5, 5), tile=1)
    np.testing.assert_allclose(lazy.compute(), whole, rtol=1e-5)


def test_a_state_that_no_tile_asks_for_is_not_settled():
    def never(samples):
        raise AssertionError("settled")

    states = ((twice, {"first": da.from_array(CUBE[0, 0])}), (never, {}))
    _tiles.run_tiles([job(CUBE, states)], chunks=(17, 17), tile=6)


def test_infinite_and_absurd_values_are_missing():
    block = _tiles.clean_block(np.array([np.inf, -np.inf, 1e38, np.nan, -3.0]))
    assert np.isnan(block[:4]).all()
    assert block[4] == -3
    assert block.dtype == np.float32


@pytest.mark.parametrize("form", ["reversed", "big-endian", "read-only", "fortran", "float16"])
def test_awkward_memory_becomes_plain_float32(form):
    cube = {
        "reversed": CUBE[..., ::-1],
        "big-endian": CUBE.astype(">f4"),
        "read-only": np.broadcast_to(CUBE[:1], CUBE.shape),
        "fortran": np.asfortranarray(CUBE),
        "float16": CUBE.astype(np.float16),
    }[form]
    block = _tiles.clean_block(cube)
    assert block.dtype == np.float32
    assert block.flags.c_contiguous
    assert block.flags.writeable
    assert block.dtype.isnative


def test_whole_cells_are_cut_out():
    fine, coarse = np.zeros((1, 1, 20, 13)), np.zeros((1, 1, 6, 4))
    sharp, blurred = _samples.whole_cells(fine, coarse, ratio=4, before=(3, 0))
    assert sharp.shape == (1, 1, 16, 12)
    assert blurred.shape == (1, 1, 4, 3)


def test_a_scene_thinner_than_a_coarse_pixel_is_filled_up():
    fine, coarse = np.zeros((1, 1, 3, 8)), np.zeros((1, 1, 2, 2))
    sharp, _ = _samples.whole_cells(fine, coarse, ratio=4, before=(2, 0))
    assert sharp.shape == (1, 1, 8, 8)
    assert int(np.isnan(sharp.compute()).sum()) == 5 * 8


FUSE_IN_THREADS = """
import numba, numpy as np, xstf
fine, coarse = xstf.testing.scene()
lazy = [xstf.fuse(fine.chunk(y=9, x=11), coarse, method=m)
        for m in ("estarfm", "fastvsdf", "fitfc", "fsdaf", "starfm")]
import dask
dask.compute(*lazy, scheduler="threads", num_workers=4)
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["workqueue", "default"])
def test_threads_do_not_abort_the_interpreter(layer):
    """Parallel numba code under dask threads aborts with the workqueue layer; ours must not."""
    done = subprocess.run(
        [sys.executable, "-c", FUSE_IN_THREADS], capture_output=True, text=True, check=False,
        env={**__import__("os").environ, "NUMBA_THREADING_LAYER": layer},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same(scene):
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed")
    import xstf

    fine, coarse = scene
    want = xstf.fuse(fine, coarse, method="fsdaf")
    lazy = xstf.fuse(fine.chunk(y=20, x=20), coarse.chunk(time=1), method="fsdaf")
    with distributed.Client(n_workers=2, threads_per_worker=2, processes=True,
                            dashboard_address=None):  # fmt: skip
        np.testing.assert_allclose(lazy.compute(), want, rtol=1e-5, atol=1e-6)


def failing(blocks, rows, cols, states):
    raise ValueError("no good")


@pytest.mark.parametrize("lazy", [False, True])
def test_an_error_in_a_tile_says_which(lazy):
    cube = da.from_array(CUBE, (1, 2, 17, 17)) if lazy else CUBE
    source = _tiles.Source(cube, (0,), around)
    made = _tiles.Job(failing, (source,), (2,), (17, 17))
    with pytest.raises(ValueError, match="no good") as caught:
        np.asarray(_tiles.run_tiles([made], chunks=(17, 17), tile=17))
    assert "in the tile of rows 0 to 17 and columns 0 to 17" in caught.value.__notes__


@pytest.mark.slow
def test_a_lazy_run_holds_a_part_of_the_scene_only():
    """Also with a method that looks at samples of the whole scene first."""
    import xarray as xr
    from dask.callbacks import Callback

    import xstf

    size, ratio = 3072, 16
    made = da.random.default_rng(0).random((2, 1, size, size), chunks=(1, 1, 192, 192))
    coarse = da.random.default_rng(1).random((2, 1, size // ratio, size // ratio), chunks=12)
    times = np.array(["2020-01-01", "2020-01-09"], "M8[ns]")
    dims = ("time", "band", "y", "x")
    cubes = [
        xr.DataArray(
            a, {"time": times, "y": (np.arange(n) + 0.5) * -s, "x": (np.arange(n) + 0.5) * s}, dims
        )
        for a, n, s in ((made, size, 1), (coarse, size // ratio, ratio))
    ]
    fused = xstf.fuse(cubes[0][:1], cubes[1], method="starfm", window=3)

    class Held(Callback):
        most = 0

        def _posttask(self, key, result, dsk, state, worker_id):
            held = sum(v.nbytes for v in state["cache"].values() if isinstance(v, np.ndarray))
            Held.most = max(Held.most, held)

    with Held():
        total = fused.mean().compute()
    assert np.isfinite(total)
    assert Held.most < 0.4 * made[:1].nbytes
