"""What every fusion network promises, run over every record that has one."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import pickle
import pkgutil
from pathlib import Path

import networks
import numpy as np
import pytest
import xarray as xr
from records import each

import xstf
from xstf._method import TASKS
from xstf.weights import running as _networks

ALL = [r for task in TASKS for r in networks.of_task(task)]
NETWORK = each(networks.NETWORKS)
BANDS = ["green", "nir"]
RATIO = 6


def cubes(height: int = 132, width: int = 150, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """Return smooth fields with texture: two fine dates, three coarse ones, nested."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(height) / 20, np.arange(width) / 23
    waves = [np.sin(y + i)[:, None] * np.cos(x * (1 + i / 3))[None, :] for i in range(6)]
    images = 0.25 + 0.05 * np.stack(waves).reshape(3, 2, height, width)
    images += 0.01 * rng.standard_normal(images.shape)
    blocks = images.reshape(3, 2, height // RATIO, RATIO, width // RATIO, RATIO).mean(axis=(3, 5))
    times = np.array(["2020-01-01", "2020-01-09", "2020-01-17"], "M8[ns]")
    grid = {"y": -(np.arange(height) + 0.5), "x": np.arange(width) + 0.5}
    coarse_grid = {k: v.reshape(-1, RATIO).mean(1) for k, v in grid.items()}
    dims = ("time", "band", "y", "x")
    fine = xr.DataArray(images, {"time": times, "band": BANDS, **grid}, dims, name="reflectance")
    coarse = xr.DataArray(blocks, {"time": times, "band": BANDS, **coarse_grid}, dims)
    return fine.isel(time=[0, 2]).astype("f4"), coarse.astype("f4")


@pytest.fixture
def weights(tmp_path, record):
    return networks.checkpoint(record, tmp_path / "w.safetensors", bands=BANDS, ratio=RATIO)


def run(record, weights, fine, coarse, **options):
    small = {"tile": 64, "overlap": 32, "device": "cpu"} | options
    return xstf.fuse(fine, coarse, method=record, weights=weights, **small)


@pytest.mark.parametrize("record", ALL, ids=lambda r: r.name)
def test_record_is_complete(record):
    assert record.reference
    assert record.summary.endswith(".")
    assert record.net.small.epochs
    assert record.net.tiny, "tests need sizes that are smaller than the paper's"
    assert bool(record.net.tiny_critic) == bool(record.net.adversarial)


@NETWORK
def test_the_source_can_be_found(record):
    assert "doi" in record.reference


@NETWORK
@pytest.mark.parametrize("blend", ["crop", "smooth"])
def test_chunks_do_not_matter(record, weights, blend):
    """Nothing is computed early; any chunks give what the whole gives."""
    fine, coarse = cubes()
    fine[0, :, 30:50, 40:44] = np.nan
    whole = run(record, weights, fine, coarse, blend=blend)
    base = fine.isel(time=0) + 0
    assert float(abs(whole.isel(time=0) - base).mean()) > 1e-3
    for chunks in ({"y": 41, "x": 77}, {"y": 132, "x": 16}):
        with xstf.testing.raise_if_dask_computes():
            lazy = run(record, weights, fine.chunk(chunks), coarse.chunk(y=5), blend=blend)
        np.testing.assert_array_equal(lazy.compute(), whole)


@NETWORK
def test_a_poked_pixel_changes_nothing_beyond_the_halo(record, weights):
    fine, coarse = cubes(132, 300)
    options = dataclasses.replace(record.params(), tile=64)
    before = run(record, weights, fine, coarse, device="cpu")
    poked = fine.copy(deep=True)
    poked[:, :, 60, 60] += 0.1
    after = run(record, weights, poked, coarse)
    changed = np.argwhere((before != after).values)[:, 2:]
    assert len(changed)
    assert np.abs(changed - 60).max() <= record.halo(options, RATIO)


@NETWORK
@pytest.mark.filterwarnings("ignore:every value of")
def test_missing_stays_missing_and_nothing_else_does(record, weights):
    fine, coarse = cubes()
    fine[:, 0, 3:7, 5:9] = np.nan
    coarse[1, 1, 5, 2] = np.nan
    out = run(record, weights, fine, coarse)[0].values
    holes = np.zeros(out.shape, bool)
    holes[0, 3:7, 5:9] = holes[1, 30:36, 12:18] = True
    assert (np.isnan(out) == holes).all()
    blank = run(record, weights, fine * np.nan, coarse)
    assert np.isnan(blank).all()


@NETWORK
def test_no_seams(record, weights):
    """The step across borders of tiles is no larger than elsewhere, at the default overlap."""
    fine, coarse = cubes(198, 198)
    for blend, most in (("crop", 1.5), ("smooth", 1.2)):
        out = run(record, weights, fine, coarse, blend=blend)[0].values
        steps = np.abs(np.diff(out - fine[0].values, axis=-1)).mean(axis=(0, 1))
        borders = [31, 63, 95, 127, 159]
        elsewhere = np.delete(steps, borders)
        assert steps[borders].mean() < most * elsewhere.mean()


@NETWORK
@pytest.mark.parametrize("shape", [(36, 66), (66, 36), (18, 18)])
def test_images_smaller_than_a_tile(record, weights, shape):
    fine, coarse = cubes(*shape)
    out = run(record, weights, fine, coarse)
    assert out.shape[2:] == shape
    assert not np.isnan(out).any()


@NETWORK
def test_inputs_are_left_alone_and_labels_kept(record, weights):
    fine, coarse = cubes(66, 66)
    copies = fine.copy(deep=True), coarse.copy(deep=True)
    out = run(record, weights, fine, coarse)
    xr.testing.assert_identical(fine, copies[0])
    xr.testing.assert_identical(coarse, copies[1])
    assert out.dims == fine.dims
    assert out.dtype == np.float32
    assert record.name in out.attrs["stf_method"]
    assert "random" in out.attrs["stf_weights"]
    assert hashlib.sha256(Path(weights).read_bytes()).hexdigest() in out.attrs["stf_weights"]


@NETWORK
def test_weights_are_read_once_and_are_not_in_the_tasks(record, weights, monkeypatch):
    fine, coarse = cubes(132, 150)
    found = []
    load = xstf.weights.load
    monkeypatch.setattr(_networks, "_LOADED", {})
    lazy = run(record, weights, fine.chunk(y=33, x=30), coarse)
    monkeypatch.setattr(xstf.weights.checkpoint, "load", lambda s: found.append(s) or load(s))
    lazy.compute()
    assert len(found) == 1
    sizes = [len(pickle.dumps(t)) for t in dict(lazy.__dask_graph__()).values()]
    assert max(sizes) < 60_000 + fine.nbytes + coarse.nbytes


def test_every_network_on_disk_has_a_method():
    files = [m.name for m in pkgutil.iter_modules(xstf.nets.__path__) if m.name[0] != "_"]
    built = {f for f in files if hasattr(importlib.import_module(f"xstf.nets.{f}"), "build")}
    # The autoencoder through which losses look at images is no method of its own.
    assert built - {"features"} == {r.net.module for r in ALL}
