"""SRECNN: what it promises as a network of spectra, through the verb and its kernel."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch")

import xstf  # noqa: E402
from xstf import testing  # noqa: E402
from xstf._method import NetworkCall, SharpenSamples, Weights  # noqa: E402
from xstf.methods.lookup import get_method  # noqa: E402
from xstf.methods.sharpen_spectral import srecnn  # noqa: E402
from xstf.nets import srecnn as net  # noqa: E402
from xstf.numerics.degrade import degrade, upsample  # noqa: E402
from xstf.weights import running as _networks  # noqa: E402

SPECTRAL, SPATIAL, TRUTH = testing.bands()
RECORD = get_method("sharpen_spectral", "srecnn")
SIZES = {"widths": (8, 12)}
QUICK = {"epochs": 2, "steps": 20, "batch": 4, "patch": 8, "rate": 3e-3, "device": "cpu"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a short training, shaken, so that they are more than a linear map."""
    fitted = xstf.train.fit("srecnn", SPECTRAL, SPATIAL, sizes=SIZES, **QUICK)
    read = xstf.weights.load(fitted.checkpoint)
    generator = torch.Generator().manual_seed(0)
    shaken = {
        name: value + 0.02 * torch.randn(value.shape, generator=generator) * name.startswith("rest")
        for name, value in read.tensors.items()
    }
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    return xstf.weights.save(path, shaken, read.manifest)


def sharpen(weights, spectral=SPECTRAL, spatial=SPATIAL, **options):
    return xstf.sharpen_spectral(
        spectral, spatial, method="srecnn", weights=weights, **{"device": "cpu"} | options
    )


def error(estimate, truth=TRUTH):
    return float(np.sqrt(np.nanmean((np.asarray(estimate) - np.asarray(truth)) ** 2)))


def test_trained_on_the_cubes_it_is_better_than_interpolation(monkeypatch):
    quick = dataclasses.replace(RECORD.net.small, epochs=3, steps=20, batch=4)
    monkeypatch.setitem(vars(RECORD.net), "small", quick)
    sharp = sharpen("fit")
    assert "held out" in sharp.attrs["stf_weights"]
    assert error(sharp) < 0.5 * error(upsample(SPECTRAL.values, ratio=4))
    assert float(xstf.metrics.sam(sharp, TRUTH)) < 4


def test_degraded_again_it_is_what_was_given(weights):
    """The residual makes that so, noise of 0.002 apart."""
    left = {
        kept: error(degrade(sharpen(weights, residual=kept).values, ratio=4, fwhm=1.0), SPECTRAL)
        for kept in (True, False)
    }
    assert left[True] < 0.004
    assert left[True] < 0.5 * left[False]


def test_without_the_residual_the_spectral_cube_says_nothing(weights):
    one, other = (
        sharpen(weights, SPECTRAL * np.float32(gain), residual=False, register=False)
        for gain in (1, 0.5)
    )
    np.testing.assert_array_equal(one, other)
    assert error(sharpen(weights, SPECTRAL * 0.5, register=False), one) > 0.01


@pytest.mark.parametrize("residual", [True, False])
def test_chunks_do_not_matter(weights, residual):
    whole = sharpen(weights, residual=residual)
    for chunks in ({"y": 17, "x": 29}, {"y": 48, "x": 8}):
        with testing.raise_if_dask_computes():
            lazy = sharpen(weights, SPECTRAL.chunk(y=5), SPATIAL.chunk(chunks), residual=residual)
        np.testing.assert_allclose(lazy.compute(), whole, rtol=1e-4, atol=2e-6)


def test_parts_of_any_size_give_the_same(weights):
    whole = sharpen(weights)
    for tile in (1, 20, 1000):
        np.testing.assert_allclose(sharpen(weights, tile=tile), whole, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("poked", ["spectral", "spatial"])
def test_nothing_beyond_the_halo_matters(weights, poked, residual):
    scene = testing.scenes.hyperspectral(size=176, bands=80)
    spectral = scene.spectral.values[2::4].copy()
    spatial = scene.spatial.values.copy()
    params = srecnn.Params(weights=str(weights), residual=residual)
    samples = SharpenSamples(spectral, spatial, fwhm=1.0, shift=np.zeros(2))
    state = srecnn._settle(samples, ratio=4, params=params)
    call = NetworkCall(
        Weights(str(weights), "srecnn", sha256=xstf.weights.load(weights).sha256),
        (0, 0),
        (176, 176),
        device="cpu",
        bands=np.arange(20),
    )

    def run():
        return srecnn._torch(
            spectral, spatial, ratio=4, params=params, state=state, std=False, network=call,
            inner=(slice(0, 176), slice(0, 176)),
        )[0]  # fmt: skip

    before = run()
    cube, scale = (spectral, 4) if poked == "spectral" else (spatial, 1)
    cube[:, 8 // scale, 12 // scale] += 0.2
    changed = np.argwhere(np.abs(run() - before).max(axis=0) > 1e-6)
    if poked == "spectral" and not residual:
        assert not len(changed)
        return
    assert len(changed)
    halo = RECORD.halo(params, 4)
    assert np.abs(changed - [8, 12]).max() <= halo + scale
    assert srecnn._REACH == net.REACH


@pytest.mark.filterwarnings("ignore:every value of")
def test_what_is_missing_is_missing_and_no_more(weights):
    spectral, spatial = SPECTRAL.copy(deep=True), SPATIAL.copy(deep=True)
    spectral[:, 3, 5] = np.nan
    spatial[1, 30:33, 40] = np.nan
    gone = np.zeros((48, 48), bool)
    gone[12:16, 20:24] = gone[30:33, 40] = True
    got = sharpen(weights, spectral, spatial)
    np.testing.assert_array_equal(got.isnull(), np.broadcast_to(gone, got.shape))
    assert error(got) < 1.3 * error(sharpen(weights))
    assert sharpen(weights, SPECTRAL.where(False)).isnull().all()
    assert sharpen(weights, SPECTRAL, SPATIAL.where(False)).isnull().all()


def test_bands_that_are_missing_are_left_out(weights):
    """Here, or where the network was trained: it has learned nothing of them then."""
    gone = SPECTRAL.where(SPECTRAL.band != SPECTRAL.band[13])
    got = sharpen(weights, gone, residual=False)
    rest = [i for i in range(20) if i != 13]
    assert got[13].isnull().all()
    np.testing.assert_allclose(got[rest], sharpen(weights, residual=False)[rest], atol=1e-6)
    never = xstf.train.fit("srecnn", gone, SPATIAL, sizes=SIZES, **QUICK)
    manifest = xstf.weights.load(never.checkpoint).manifest
    assert [i for i, seen in enumerate(manifest.extra["seen"]) if not seen] == [13]


def test_a_band_that_was_never_learned_is_missing(tmp_path):
    gone = SPECTRAL.where(SPECTRAL.band != SPECTRAL.band[13])
    never = xstf.train.fit("srecnn", gone, SPATIAL, sizes=SIZES, **QUICK)
    got = sharpen(never.save(tmp_path / "w.safetensors"))
    assert got[13].isnull().all()
    assert got[12].notnull().all()


def test_the_spatial_cube_may_begin_inside_a_coarse_pixel(weights):
    part = {"y": slice(6, 43), "x": slice(3, 46)}
    got = sharpen(weights, SPECTRAL, SPATIAL.isel(part), register=False)
    assert got.notnull().all()
    bare = (sharpen(weights, SPECTRAL, s, register=False, residual=False)
            for s in (SPATIAL.isel(part), SPATIAL))  # fmt: skip
    inner = {"y": slice(1, -1), "x": slice(1, -1)}
    one, whole = bare
    np.testing.assert_allclose(one.isel(inner), whole.isel(part).isel(inner), atol=1e-5)


def test_inputs_are_left_alone_and_labels_kept(weights):
    copies = SPECTRAL.copy(deep=True), SPATIAL.copy(deep=True)
    got = sharpen(weights)
    np.testing.assert_array_equal(got, sharpen(weights))
    xr.testing.assert_identical(SPECTRAL, copies[0])
    xr.testing.assert_identical(SPATIAL, copies[1])
    assert got.dims == SPECTRAL.dims
    assert got.dtype == np.float32
    assert "srecnn" in got.attrs["stf_method"]
    xr.testing.assert_identical(got.wavelength.variable, SPECTRAL.wavelength.variable)


def test_each_date_has_its_own_image(weights):
    days = np.array(["2021-06-01", "2021-07-01"], "M8[ns]")
    few, many = (
        xr.concat([c, c * np.float32(0.8)], "time").assign_coords(time=days)
        for c in (SPECTRAL, SPATIAL)
    )
    got = sharpen(weights, few, many)
    np.testing.assert_allclose(got[0], sharpen(weights), atol=1e-6)
    np.testing.assert_allclose(
        got[1], sharpen(weights, SPECTRAL * np.float32(0.8), SPATIAL * np.float32(0.8)), atol=1e-6
    )


def test_weights_are_read_once_and_are_not_in_the_tasks(weights, monkeypatch):
    found = []
    load = xstf.weights.load
    lazy = sharpen(weights, SPECTRAL.chunk(y=6), SPATIAL.chunk(y=12))
    monkeypatch.setattr(_networks, "_LOADED", {})
    monkeypatch.setattr(xstf.weights.checkpoint, "load", lambda s: found.append(s) or load(s))
    lazy.compute()
    assert len(found) == 1
    sizes = [len(pickle.dumps(t)) for t in dict(lazy.__dask_graph__()).values()]
    assert max(sizes) < 30_000 + SPATIAL.nbytes


class TestErrors:
    """Before anything is computed."""

    def test_weights_are_asked_for(self):
        with pytest.raises(ValueError, match=r"weights='file.*weights='fit'.*bundled"):
            xstf.sharpen_spectral(SPECTRAL, SPATIAL, method="srecnn")

    def test_bands_are_those_of_training(self, weights):
        with pytest.raises(ValueError, match="trained on bands"):
            sharpen(weights, SPECTRAL[::-1])
        lazy = SPATIAL.chunk(y=12)
        with testing.raise_if_dask_computes():
            with pytest.raises(ValueError, match="bands of 6 others"):
                sharpen(weights, SPECTRAL, lazy[:3])
            with pytest.raises(ValueError, match="select or reorder"):
                sharpen(weights, SPECTRAL, lazy[::-1])

    def test_another_unit_is_noticed(self, weights):
        with pytest.raises(ValueError, match="another unit"):
            sharpen(weights, SPECTRAL * 1e4, SPATIAL * 1e4)

    def test_another_ratio_is_refused(self, weights):
        half = SPATIAL.coarsen(y=2, x=2).mean()
        with pytest.raises(ValueError, match="coarse pixels 4 fine pixels wide"):
            sharpen(weights, SPECTRAL, half)

    def test_it_gives_no_standard_deviation(self, weights):
        with pytest.raises(ValueError, match="no standard deviation"):
            sharpen(weights, return_quality=True)

    def test_parts_have_pixels(self, weights):
        with pytest.raises(ValueError, match="tile=0"):
            sharpen(weights, tile=0)
