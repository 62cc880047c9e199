"""Tiles: cutting, laziness, threads, clusters."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
import time
from functools import partial
from math import lcm
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

import xstf
from xstf import testing
from xstf._method import TASKS
from xstf.methods.lookup import classical_names, get_method
from xstf.tiles import lazy as _lazy
from xstf.tiles import run as _tiles
from xstf.tiles import samples as _samples
from xstf.tiles import states as _states
from xstf.tiles.geometry import Axis
from xstf.tiles.waiting import after


@given(st.integers(1, 5000), st.integers(1, 2000), st.integers(1, 40))
def test_planned_chunks_sum_to_the_size_and_are_whole(size, chunk, multiple):
    chunks = _tiles.plan_chunks(size, chunk, multiple)
    assert sum(chunks) == size
    assert min(chunks) > 0
    assert all(c % multiple == 0 for c in chunks[:-1])
    assert len(set(chunks[:-1])) <= 1


@given(st.data())
def test_edges_are_the_callers_and_farther_apart_than_the_halo(data):
    size, cell = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 24))
    lattice = cell * data.draw(st.integers(0, 5))
    before, halo = data.draw(st.integers(0, cell - 1)), data.draw(st.integers(0, 60))
    axis = Axis(size, before, cell, halo, lattice)
    wanted = _tiles.as_chunks(data.draw(st.integers(1, size)), size)
    edges = axis.chunk_edges(wanted)
    assert (edges[0], edges[-1]) == (0, size)
    assert not lattice or all((e + before) % lattice == 0 for e in edges[1:-1])
    if len(edges) > 2:
        assert min(np.diff(edges)) >= axis.reach
    if not lattice and min(wanted) >= axis.reach + 2 * cell:
        assert edges == (0, *np.cumsum(wanted).tolist())


# --- one tile function over inputs of several resolutions -----------------------------------------

HALO = 5


def what_is_seen(job_shape, steps, before, blocks, rows, cols, states):
    """Say where each input's block begins and what is in it, without any rounding."""
    out = np.zeros((2, rows.stop - rows.start, cols.stop - cols.start), np.float32)
    cell = lcm(*steps)
    at = [np.arange(part.start, part.stop) for part in (rows, cols)]
    for block, step in zip(blocks, steps, strict=True):
        offset = [0, 0] if step == 1 else before
        # Where the block must begin if it was cut as every other tile cuts.
        first = [
            max(0, ((part.start + b - HALO) // cell * cell - b + o) // step)
            for part, b, o in zip((rows, cols), before, offset, strict=True)
        ]
        for down in (-HALO, 0, HALO):
            y = np.clip(at[0] + down, 0, job_shape[0] - 1)
            x = np.clip(at[1] - down, 0, job_shape[1] - 1)
            picked = block[
                :, 0, ((y + offset[0]) // step - first[0])[:, None],
                ((x + offset[1]) // step - first[1])[None],
            ]  # fmt: skip
            out[0] += np.nan_to_num(picked).sum(0)
            out[1] += np.isnan(picked).sum(0)
    return out * (states[0]() if states else 1)


@st.composite
def nested(draw):
    """Draw inputs on one corner or nested grids, whole numbers with holes, and odd chunks."""
    ratios = draw(st.sampled_from([(), (1,), (2,), (3,), (5,), (8,), (2, 3), (4, 6)]))
    shape = tuple(draw(st.integers(1, 60)) for _ in range(2))
    single = len(ratios) == 1
    before = tuple(draw(st.integers(0, ratios[0] - 1)) if single else 0 for _ in range(2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    arrays = []
    for step in (1, *ratios):
        size = [-(-(n + b) // step) for n, b in zip(shape, before if step > 1 else (0, 0),
                                                    strict=True)]  # fmt: skip
        array = rng.integers(0, 100, (3, 1, *size)).astype(np.float32)
        array[rng.random(array.shape) < draw(st.sampled_from([0, 0.2, 1]))] = np.nan
        arrays.append(array)
    dates = draw(st.sampled_from([(0,), (2, 0), (1, 2), (2, 1, 0), (0, 2)]))
    return (1, *ratios), shape, before, arrays, dates


def nested_job(case, arrays):
    steps, shape, before, _, dates = case
    sources = tuple(
        _tiles.Source(a, dates, step, before if step > 1 else (0, 0))
        for a, step in zip(arrays, steps, strict=True)
    )
    function = partial(what_is_seen, shape, steps, before)
    return _tiles.Job(function, sources, (2,), shape, halo=HALO)


@pytest.mark.slow
@given(nested(), st.data())
@settings(max_examples=150)
def test_any_chunks_of_any_nested_inputs_give_what_the_whole_gives(case, data):
    """Chunks thinner than the halo, coarse grids that begin before the fine one, masks, dates."""
    whole = _tiles.run_tiles([nested_job(case, case[3])], chunks=case[1], tile=100)
    small = _tiles.run_tiles([nested_job(case, case[3])], chunks=case[1], tile=7)
    np.testing.assert_array_equal(small, whole)
    lazy = [
        da.from_array(a, tuple(data.draw(st.integers(1, n)) for n in a.shape))
        if data.draw(st.booleans()) or not i
        else a
        for i, a in enumerate(case[3])
    ]
    wanted = tuple(data.draw(st.integers(1, n)) for n in case[1])
    got = _tiles.run_tiles([nested_job(case, lazy)], chunks=wanted, tile=1)
    assert got.chunks[-2:] == tuple(_tiles.as_chunks(c, n) for c, n in zip(wanted, case[1],
                                                                          strict=True))  # fmt: skip
    np.testing.assert_array_equal(got.compute(scheduler="sync"), whole)


def where_it_is(blocks, rows, cols, states):
    """Say which tile a pixel was made in."""
    return np.full((1, rows.stop - rows.start, cols.stop - cols.start),
                   rows.start * 1000 + cols.start, np.float32)  # fmt: skip


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([4, 10, 12]))
def test_a_lattice_makes_the_same_tiles_whatever_the_chunks(chunk, tile, lattice):
    cube = np.zeros((1, 1, 50, 41), np.float32)
    coarse = np.zeros((1, 1, 13, 11), np.float32)

    def job(fine):
        sources = (_tiles.Source(fine, (0,)), _tiles.Source(coarse, (0,), 4, (2, 1)))
        return _tiles.Job(where_it_is, sources, (1,), (50, 41), halo=3, lattice=lattice)

    whole = _tiles.run_tiles([job(cube)], chunks=(50, 41), tile=tile)
    lazy = _tiles.run_tiles([job(da.from_array(cube, (1, 1, chunk, chunk)))], chunks=(chunk, 9),
                            tile=1)  # fmt: skip
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), whole)
    side = lcm(4, lattice)
    assert {int(v) // 1000 for v in np.unique(whole)} == {0, *range(side - 2, 50, side)}


def box_sum(blocks, rows, cols, states):
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


def job(array, states=()):
    source = _tiles.Source(array, (2, 0))
    return _tiles.Job(box_sum, (source,), (2,), (17, 17), states, halo=2)


@pytest.mark.parametrize("cores", [1, 2])
def test_a_job_without_tiles_is_done_in_stretches_once_each(monkeypatch, cores):
    monkeypatch.setattr(_tiles, "cores", lambda: cores)
    cube = np.random.default_rng(1).random((2, 1, 150, 173), np.float32)
    parts = []

    def straight(rows, out, part):
        parts.append(part)
        out[0, :, :, part] = 2 * rows[:, :, part]

    source = _tiles.Source(cube, (0, 1))
    made = _tiles.Job(where_it_is, (source,), (1, 2, 1), (150, 173), direct=straight)
    found = _tiles.run_tiles([made], chunks=(150, 173), tile=50)
    np.testing.assert_array_equal(found[0, 0], 2 * cube)
    parts.sort(key=lambda part: part.start)
    assert len(parts) > cores
    assert [p.start for p in parts] == [0, *(p.stop for p in parts[:-1])]
    parts.clear()
    strided = np.repeat(cube, 2, axis=3)[..., ::2]
    source = _tiles.Source(strided, (0, 1))
    made = dataclasses.replace(made, sources=(source,), lead=(1,))
    _tiles.run_tiles([made], chunks=(150, 173), tile=50)
    assert not parts  # it is no plain cube


CUBE = np.random.default_rng(0).integers(0, 99, (3, 2, 17, 17)).astype(np.float32)


def test_building_a_graph_computes_nothing_and_each_chunk_is_made_once():
    made = []

    def chunk(block_info=None):
        made.append(block_info[None]["chunk-location"])
        return np.ones((1, 2, 6, 6), np.float32)

    cube = da.map_blocks(chunk, chunks=((1,) * 3, (2,), (6,) * 3, (6,) * 3), dtype=np.float32)
    made.clear()
    source = _tiles.Source(cube, (2, 0))
    with testing.raise_if_dask_computes():
        made_of = _tiles.Job(box_sum, (source,), (2,), (18, 18), halo=2)
        lazy = _tiles.run_tiles([made_of], chunks=(5, 4), tile=1)
    assert made == []
    lazy.compute(scheduler="sync")
    assert len(made) == len(set(made)) == 2 * 9


# --- states ---------------------------------------------------------------------------------------

SETTLED = []


def total(samples):
    SETTLED.append(float(samples["first"].sum()))
    return SETTLED[-1]


def sample(array, dates=(0,)):
    at = np.arange(17)
    return _samples.Sample(array, dates, at, at)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_states_are_settled_once_from_samples_also_for_parts(scheduler):
    whole = _tiles.run_tiles(
        [job(CUBE, (_tiles.State(total, {"first": sample(CUBE)}),))], chunks=(17, 17), tile=6
    )
    plain = _tiles.run_tiles([job(CUBE)], chunks=(17, 17), tile=6)
    np.testing.assert_array_equal(whole, plain * CUBE[0].sum())
    SETTLED.clear()
    _states._SETTLED.clear()
    cube = da.from_array(CUBE, (1, 1, 5, 4))
    lazy = _tiles.run_tiles(
        [job(cube, (_tiles.State(total, {"first": sample(cube)}),))], chunks=(5, 5), tile=1
    )
    parts = [lazy[..., :10].compute(scheduler=scheduler), lazy[..., 10:].compute(scheduler="sync")]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), whole)
    assert len(SETTLED) == 1


def never(samples):
    raise AssertionError("settled")


@pytest.mark.parametrize("lazy", [False, True])
def test_a_state_that_no_tile_asks_for_is_not_settled(lazy):
    cube = da.from_array(CUBE, (1, 2, 6, 6)) if lazy else CUBE
    states = (
        _tiles.State(total, {"first": sample(cube)}),
        _tiles.State(never, {"first": sample(cube, (1,))}),
    )
    np.asarray(_tiles.run_tiles([job(cube, states)], chunks=(17, 17), tile=6))


def test_each_chunk_of_an_image_is_sampled_by_one_task_whoever_looks_at_it():
    """And by a task of its own: tiles make the chunk again, so that it need not be kept."""
    made = []

    def chunk(block_info=None):
        made.append(block_info[None]["chunk-location"])
        return np.ones((1, 2, 6, 6), np.float32)

    cube = da.map_blocks(chunk, chunks=((1,) * 3, (2,), (6,) * 3, (6,) * 3), dtype=np.float32)
    rows = np.array([0, 1, 7, 8])  # of two of the three rows of chunks
    jobs = []
    for _ in range(4):
        states = tuple(
            _tiles.State(total, {"first": _samples.Sample(cube, dates, rows, rows)})
            for dates in ((0,), (2,), (0, 2))
        )
        jobs.append(
            _tiles.Job(box_sum, (_tiles.Source(cube, (2, 0)),), (2,), (18, 18), states, halo=2)
        )
    lazy = _tiles.run_tiles(jobs, chunks=(6, 6), tile=1)
    names = [str(key) for key in lazy.__dask_graph__()]
    assert sum("xstf-sample-" in name for name in names) == 2 * 2 * 2
    assert sum("xstf-state-" in name for name in names) == 3
    made.clear()
    lazy.compute(scheduler="sync")
    assert len(made) == 2 * 9 + 2 * 2 * 2


def test_samples_do_not_depend_on_chunks():
    cube = np.random.default_rng(0).random((2, 3, 40, 30))
    rows, cols = np.array([0, 3, 4, 17, 39]), np.arange(5, 30, 2)
    want = _samples.take(cube, rows, cols)
    np.testing.assert_array_equal(want, cube[:, :, rows][..., cols])
    for chunks in ((1, 2, 7, 9), (2, 3, 40, 1), (2, 1, 1, 30)):
        lazy = da.from_array(cube, chunks)[::-1].rechunk(chunks)[::-1]
        np.testing.assert_array_equal(_samples.take(lazy, rows, cols).compute(), want)


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
    assert int(np.isnan(sharp).sum()) == 5 * 8


# --- every method ---------------------------------------------------------------------------------


def image(shape, step, days=None, seed=0):
    """Return a cube ``([time,] band, y, x)`` of fields, with a hole."""
    *lead, bands, height, width = shape
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] * step
    phase = np.arange(bands)[:, None, None]
    values = 0.2 + 0.1 * np.sin(x / 37 + phase) + 0.1 * np.cos(y / 23 - phase)
    values = values + 0.03 * ((x // 18 + y // 24) % 5) + rng.normal(0, 0.003, shape)
    if lead:
        values *= 1 + 0.02 * np.arange(lead[0])[:, None, None, None]
    values[..., 5:7, 3:9] = np.nan
    at = {
        "band": [f"b{i}" for i in range(bands)], "y": -(np.arange(height) + 0.5) * step,
        "x": (np.arange(width) + 0.5) * step,
    }  # fmt: skip
    dims = ("band", "y", "x")
    if lead:
        at["time"] = np.datetime64("2020-01-01", "ns") + np.array(days) * np.timedelta64(1, "D")
        dims = ("time", *dims)
    return xr.DataArray(values.astype(np.float32), at, dims)


def clouded(cube, seed=1):
    blocks = np.random.default_rng(seed).random((len(cube), 8, 8)) < 0.4
    height, width = cube.sizes["y"], cube.sizes["x"]
    rows, cols = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    return cube.where(~blocks[:, rows][:, :, cols][:, None])


CLASSICAL = [(task, name) for task in TASKS for name in classical_names(task)]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "method"), CLASSICAL)
def test_results_do_not_depend_on_chunks_bit_for_bit(task, method):
    """Nor on whether there are any; every classical method, deviation and flag too."""
    quality = get_method(task, method).std
    if task == "fuse":
        cube = image((2, 2, 150, 80), 1, (0, 16))
        coarse = image((3, 2, 19, 10), 8, (0, 8, 16))

        def run(fine):
            return xstf.fuse(fine, coarse, method=method, return_quality=quality)
    elif task == "gapfill":
        cube = clouded(image((14, 2, 80, 60), 1, np.arange(14) * 25))

        def run(cube):
            return xstf.gapfill(cube, method=method, return_quality=quality)
    elif task == "sharpen_spectral":
        # Of methods with a lattice of 256 pixels two of its tiles, the second of them short.
        cube, spectral = image((3, 330, 90), 1), image((6, 110, 30), 3)

        def run(spatial):
            return xstf.sharpen_spectral(spectral, spatial, method=method)
    else:
        cube = image((2, 3, 330, 300), 1, (0, 60))
        spectral, dense = image((2, 8, 55, 50), 6, (0, 60)), image((3, 4, 83, 75), 4, (0, 30, 60))

        def run(spatial):
            return xstf.fuse(spectral, dense, spatial=spatial, method=method)

    whole = run(cube)
    height = cube.sizes["y"]
    for chunks in ({"y": 47, "x": 50}, {"y": height // 2 + 7}):
        tiled = run(cube.chunk(chunks)).compute()
        xr.testing.assert_identical(tiled.drop_attrs(), whole.drop_attrs())


# --- graphs ---------------------------------------------------------------------------------------


def scene_of(size, chunk, ratio=16):
    """Return a lazy fine cube of two dates and a nested coarse one of three, all zero."""
    times = np.array(["2020-01-01", "2020-01-09", "2020-01-17"], "M8[ns]")
    dims, cells = ("time", "band", "y", "x"), size // ratio
    made = [
        da.zeros((n, 1, side, side), chunks=(1, 1, c, c), dtype=np.float32)
        for n, side, c in ((2, size, chunk), (3, cells, max(1, chunk // ratio)))
    ]
    fine, coarse = (
        xr.DataArray(
            array, {"time": t, "y": -(np.arange(n) + 0.5) * s, "x": (np.arange(n) + 0.5) * s}, dims
        )
        for array, t, n, s in zip(made, (times[[0, 2]], times), (size, cells), (1, ratio),
                                  strict=True)
    )  # fmt: skip
    return fine, coarse


@pytest.mark.parametrize("dates", [(0,), (1, 2), (0, 2, 6), (5, 6, 1, 0)])
@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_dates_are_joined_by_a_rule_as_by_rechunking(dates, chunk, monkeypatch):
    monkeypatch.setattr(_lazy, "MANY", 0)
    values = np.arange(7 * 2 * 6 * 8.0).reshape(7, 2, 6, 8)
    array = da.from_array(values, (chunk, 2, 3, 4))
    joined = _lazy._in_chunks(array, sorted(dates), ((3, 3), (4, 4)))
    assert joined.chunks == ((len(dates),), (2,), (3, 3), (4, 4))
    np.testing.assert_array_equal(joined.compute(), values[sorted(dates)])


def tasks_a_tile(lazy, source):
    """Return how many tasks of the optimised graph there are for each chunk of a result.

    Those of the cubes themselves, named by `source`, are not counted, nor what they become where
    they wait; the tasks that they begin with then are.
    """
    (best,) = dask.optimize(lazy)
    names = [key if isinstance(key, str) else key[0] for key in best.__dask_graph__()]
    own = [n.startswith(source) or n.startswith("xstf-after") and "-turn" not in n for n in names]
    return (len(names) - sum(own)) / best.data.npartitions


@pytest.mark.parametrize("chunk", [160, 200])
def test_a_fusion_of_two_pairs_has_few_tasks_a_tile(chunk):
    """Also with chunks that are no whole number of coarse pixels."""
    fine, coarse = scene_of(1600, chunk)
    fused = xstf.fuse(fine, coarse.chunk(y=100, x=100), method="starfm", window=31)
    assert fused.chunksizes["y"] == fine.chunksizes["y"]
    assert tasks_a_tile(fused, "zeros") <= 32


def test_a_filling_has_few_tasks_a_tile():
    times = np.datetime64("2020-01-01") + np.arange(12) * np.timedelta64(9, "D")
    array = da.zeros((12, 2, 800, 800), chunks=(12, 2, 80, 80), dtype=np.float32)
    at = np.arange(800.0)
    cube = xr.DataArray(array, {"time": times, "y": -at, "x": at}, ("time", "band", "y", "x"))
    assert tasks_a_tile(cube.stf.gapfill(method="linear"), "zeros") <= 3
    assert tasks_a_tile(cube.stf.gapfill(method="mnspi"), "zeros") <= 13


def test_the_graph_of_a_large_scene_is_built_in_seconds():
    """100 000 x 100 000 pixels; processor seconds, since others may be at work."""
    fine, coarse = scene_of(100_000, 2000)
    xstf.fuse(*scene_of(320, 160), method="starfm")
    with testing.raise_if_dask_computes():
        start = time.process_time()
        fused = xstf.fuse(fine, coarse, method="starfm", window=31, time="2020-01-09")
        seconds = time.process_time() - start
    assert fused.shape == (1, 1, 100_000, 100_000)
    assert seconds < 3


def test_a_plain_cube_beside_a_lazy_one_goes_into_the_graph_in_pieces():
    cube = np.ones((1, 1, 50, 40), np.float32)
    sources = (_tiles.Source(cube, (0,)), _tiles.Source(da.zeros((1, 1, 5, 4)), (0,), 10))
    made = _tiles.Job(where_it_is, sources, (1,), (50, 40))
    tiled = _tiles.run_tiles([made], chunks=(20, 20), tile=1)
    sizes = [v.size for v in dict(tiled.dask).values() if isinstance(v, np.ndarray)]
    assert sorted(sizes) == [400, 400, 600, 600]  # a last row thinner than two cells joins


def test_a_large_plain_cube_beside_a_lazy_one_is_warned_of():
    array = np.broadcast_to(np.float32(0), (1, 1, 5200, 5200))
    coarse = da.zeros((1, 1, 325, 325), dtype=np.float32)
    sources = (_tiles.Source(array, (0,)), _tiles.Source(coarse, (0,), 16))
    made = _tiles.Job(where_it_is, sources, (1,), (5200, 5200))
    with pytest.warns(UserWarning, match=r"108 MB.*cube\.chunk"):
        _tiles.run_tiles([made], chunks=(2600, 2600), tile=1)


def test_only_public_names_of_dask_are_used():
    """No module or name with an underscore, no graph that is written by hand."""
    forbidden = {"dask.core", "dask.highlevelgraph", "dask.blockwise", "dask.layers"}
    for path in Path(xstf.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Attribute):
                names = [ast.unparse(node).replace("da.", "dask.array.", 1)]
            for name in names:
                if name.split(".")[0] in ("dask", "distributed"):
                    assert "._" not in name, f"{path.name} uses {name}"
                    assert not any(name.startswith(f) for f in forbidden), f"{path.name}: {name}"
                    assert name.split(".")[-1] != "HighLevelGraph", path.name


FUSE_IN_THREADS = """
import numba, numpy as np, xstf
fine, coarse = xstf.testing.scene()
table = xstf.list_methods("fuse")
lazy = [xstf.fuse(fine.chunk(y=9, x=11), coarse, method=m) for m in table.index[~table.network]]
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
def test_schedulers_and_a_cluster_give_the_same_bit_for_bit(scene):
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed")

    fine, coarse = scene
    small = {"y": 20, "x": 20}
    want = {m: xstf.fuse(fine, coarse, method=m) for m in ("fsdaf", "estarfm")}
    lazy = {
        m: xstf.fuse(fine.chunk(small), coarse.chunk(time=1), method=m) for m in want
    }  # fmt: skip
    for scheduler in ("synchronous", "threads", "processes"):
        with dask.config.set(scheduler=scheduler, num_workers=2):
            for method, cube in lazy.items():
                np.testing.assert_array_equal(cube.compute(), want[method])
    with distributed.Client(n_workers=2, threads_per_worker=2, processes=True,
                            dashboard_address=None):  # fmt: skip
        for method, cube in lazy.items():
            np.testing.assert_array_equal(cube.compute(), want[method])
        # Chunks that lie in the cluster's memory already.
        kept = xstf.fuse(fine.chunk(small).persist(), coarse.chunk(time=1).persist(),
                         method="fsdaf")  # fmt: skip
        np.testing.assert_array_equal(kept.compute(), want["fsdaf"])


def failing(blocks, rows, cols, states):
    raise ValueError("no good")


@pytest.mark.parametrize("lazy", [False, True])
def test_an_error_in_a_tile_says_which(lazy):
    cube = da.from_array(CUBE, (1, 2, 17, 17)) if lazy else CUBE
    source = _tiles.Source(cube, (0,))
    made = _tiles.Job(failing, (source,), (2,), (17, 17))
    with pytest.raises(ValueError, match="no good") as caught:
        np.asarray(_tiles.run_tiles([made], chunks=(17, 17), tile=17))
    assert "in the tile of rows 0 to 17 and columns 0 to 17" in caught.value.__notes__


# --- chunks that wait ---------------------------------------------------------------------------


def test_chunks_wait_for_something_else_and_stay_what_they_are():
    order = []

    def read(block):
        order.append("chunk")
        return block + 1

    def settle():
        time.sleep(0.1)
        order.append("state")
        return 1

    first = dask.delayed(settle)(dask_key_name="state")
    whole = da.from_array(np.arange(96.0).reshape(8, 12), (4, 3))
    made = whole.map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    waiting = after(first, made[:, 1:])
    assert waiting.chunks == made[:, 1:].chunks
    with dask.config.set(scheduler="threads", num_workers=4):
        got = waiting.compute()
    np.testing.assert_array_equal(got, (np.arange(96.0).reshape(8, 12) + 1)[:, 1:])
    assert order == ["state"] + 8 * ["chunk"]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.rechunk((3, 5)),
        lambda a: a.cumsum(axis=0),
        lambda a: a - a.mean(),
        lambda a: da.concatenate([a, a[:2]]),
        lambda a: a.persist(),
        lambda a: da.map_overlap(lambda b: b, a, depth=1, boundary="none"),
    ],
)
def test_what_chunks_share_is_made_once(change):
    made = []

    def read(block):
        made.append(1)
        return block + 1

    array = change(
        da.zeros((8, 12), chunks=(4, 3)).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    )
    made.clear()
    want = array.compute(scheduler="synchronous")
    count = len(made)
    made.clear()
    waiting = after(dask.delayed(1), array)
    got = waiting.compute(scheduler="threads")
    np.testing.assert_array_equal(got, want)
    assert len(made) == count
    # A part of it alone, too.
    np.testing.assert_array_equal(waiting[-1:, -1:].compute(), want[-1:, -1:])


class Held(Callback):
    """The most bytes of arrays that a run held at once; views count as what they are views of."""

    def __init__(self):
        super().__init__()
        self.most = 0

    def _posttask(self, key, result, dsk, state, worker_id):
        own = {}
        for value in state["cache"].values():
            if isinstance(value, np.ndarray):
                while isinstance(value.base, np.ndarray):
                    value = value.base
                own[id(value)] = value.nbytes
        self.most = max(self.most, sum(own.values()))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["starfm", "fsdaf", "auto"])
def test_a_lazy_run_holds_a_part_of_the_scene_only(method, monkeypatch):
    """Also while samples of the whole scene are looked at, however long that takes."""
    settle = _states.Prepared.__call__

    def slow(self):
        time.sleep(1)
        return settle(self)

    monkeypatch.setattr(_states.Prepared, "__call__", slow)
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
    more = {"window": 3} if method == "starfm" else {}
    fused = xstf.fuse(cubes[0][:1], cubes[1], method=method, **more)
    with Held() as held, dask.config.set(scheduler="threads", num_workers=2):
        total = fused.mean().compute()
    assert np.isfinite(total)
    assert held.most < 0.4 * made[:1].nbytes


@pytest.mark.slow
def test_few_tiles_wait_at_a_time():
    """Also with several bands and dates, where dask finds another order."""

    class Waiting(Callback):
        most = 0

        def _posttask(self, key, result, dsk, state, worker_id):
            held = sum(str(k[0]).startswith("overlap") for k in state["cache"] if k[1:])
            Waiting.most = max(Waiting.most, held)

    size, ratio = 1024, 16
    cells = size // ratio
    made = da.random.default_rng(0).random((1, 3, size, size), chunks=(1, 3, 128, 128))
    coarse = da.random.default_rng(1).random((2, 3, cells, cells), chunks=(1, 3, 8, 8))
    times = np.array(["2020-01-01", "2020-01-09"], "M8[ns]")
    cubes = [
        xr.DataArray(
            a, {"time": times[: len(a)], "y": (np.arange(n) + 0.5) * -s,
                "x": (np.arange(n) + 0.5) * s}, ("time", "band", "y", "x"),
        )
        for a, n, s in ((made, size, 1), (coarse, cells, ratio))
    ]  # fmt: skip
    fused = xstf.fuse(cubes[0], cubes[1], method="starfm", window=5)
    with Waiting(), dask.config.set(scheduler="threads", num_workers=1):
        fused.sum().compute()
    assert 0 < Waiting.most < 20  # of 64


@pytest.mark.slow
def test_the_first_lazy_results_are_made_in_threads():
    """dask imports distributed in one of them, and the others found half of it."""
    code = """
import threading, xstf
fine, coarse = xstf.testing.scene()
fine, coarse, done = fine.chunk(y=16), coarse.chunk(), []
def make():
    done.append(xstf.fuse(fine, coarse, method="starfm"))
threads = [threading.Thread(target=make) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(done) == 6
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
