"""The network on top of the linear fusion of a series: what it sees, and where it may answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

import xstf
from xstf import weights
from xstf._method import StsSamples
from xstf.methods.sts.sts import network as _network
from xstf.methods.sts.sts.network import Scaling
from xstf.methods.sts.sts_linear import estimate as _linear
from xstf.scenes import series as _series

SCENE = _series.hyperspectral_series(size=60, bands=40)
RANGE = float(SCENE.truth.max() - SCENE.truth.min())
PAIRED, BETWEEN = [0, 2, 4, 6], [1, 3, 5]
SIZES = {"kernels": (1, 3), "width": 8, "depth": 1}
QUICK = {"epochs": 1, "steps": 1, "patch": 24, "batch": 1, "sizes": SIZES, "device": "cpu"}


def fuse(scene=SCENE, **call):
    found = xstf.fuse(scene.spectral, scene.dense, spatial=scene.sharp, **call)
    return found.transpose("time", "band", "y", "x")


@pytest.fixture(scope="module")
def checkpoint():
    """A network that was hardly trained; then its weights are set to those of an untrained one."""
    fitted = xstf.train.fit("sts", SCENE.spectral, SCENE.dense, spatial=SCENE.sharp, **QUICK)
    return weights.load(fitted.checkpoint)


@pytest.fixture(scope="module")
def files(checkpoint, tmp_path_factory):
    """Weights whose last layer is zero, as before training, and shaken ones."""
    folder = tmp_path_factory.mktemp("weights")
    draw = torch.Generator().manual_seed(0)
    shaken = {
        n: t + 0.1 * torch.randn(t.shape, generator=draw) for n, t in checkpoint.tensors.items()
    }
    still = {n: torch.zeros_like(t) if n.startswith("head.3") else t for n, t in shaken.items()}
    for name, tensors in (("still", still), ("shaken", shaken)):
        weights.save(folder / f"{name}.safetensors", tensors, checkpoint.manifest)
    return {n: str(folder / f"{n}.safetensors") for n in ("still", "shaken")}


@pytest.fixture(scope="module")
def linear():
    return fuse()


@pytest.fixture(scope="module")
def shaken(files):
    return fuse(method="sts", weights=files["shaken"])


# --- where it answers ----------------------------------------------------------------------------


def test_an_untrained_network_is_the_linear_method(files, linear):
    np.testing.assert_array_equal(fuse(method="sts", weights=files["still"]), linear)


def test_it_changes_the_dates_without_a_pair_and_no_other(shaken, linear):
    np.testing.assert_array_equal(shaken[PAIRED], linear[PAIRED])
    off = np.abs(shaken - linear).values[BETWEEN].max(axis=1)
    assert (off.mean(axis=(1, 2)) > 1e-3).all()
    assert shaken.attrs["stf_method"].startswith("sts(")
    assert "mae" in shaken.attrs["stf_weights"]


def test_a_change_that_the_dense_image_denies_is_taken_off():
    """A change of what the dense bands see goes, one that they do not see stays."""
    state = _linear.settle(
        StsSamples(
            SCENE.spectral.values, SCENE.dense.values[PAIRED], SCENE.sharp.values, np.arange(4.0)
        ),
        ratios=(3, 2),
    )
    seen = state.subspace.basis @ state.change.T @ np.full(8, 0.1)
    bands = state.temporal.response.T @ state.subspace.reader
    unseen = np.linalg.svd(bands)[2][-1]
    left = [
        np.abs(
            _network.agreeing(np.tile(c[:, None, None], (1, 24, 24)).astype(np.float32), state, 2)
        )
        for c in (seen, unseen)
    ]
    assert left[0].max() < 0.6 * np.abs(seen).max()
    np.testing.assert_allclose(
        left[1], np.tile(np.abs(unseen)[:, None, None], (1, 24, 24)), atol=1e-3
    )


def test_dates_outside_the_pairs_take_the_nearest_one(files):
    call = {"spatial": SCENE.sharp[1:3], "time": SCENE.dense.time[[0, 6]]}
    cubes = SCENE.spectral[1:3], SCENE.dense
    plain, found = (
        xstf.fuse(*cubes, **call, **m)
        for m in ({}, {"method": "sts", "weights": files["shaken"]})
    )  # fmt: skip
    assert np.isfinite(found).all()
    assert float(np.abs(found - plain).mean()) > 1e-3


@pytest.mark.parametrize(
    ("days", "target", "found"),
    [
        ([0, 50, 100], 75, (1, 2)),
        ([100, 0, 50], 75, (2, 0)),
        ([0, 50, 100], 120, (2, 2)),
        ([30, 50, 100], 10, (0, 0)),
        ([0, 50, 100], 50, None),
    ],
)
def test_the_pairs_around_a_date(days, target, found):
    assert _network.bracket(np.array(days, float), target) == found


# --- tiles ---------------------------------------------------------------------------------------


def test_the_side_of_tiles_makes_no_difference(files, shaken):
    found = fuse(method="sts", weights=files["shaken"], tile=16)
    np.testing.assert_allclose(found, shaken, atol=3e-4 * RANGE)


def test_chunks_make_no_difference(files, shaken):
    with xstf.testing.raise_if_dask_computes():
        lazy = xstf.fuse(
            SCENE.spectral.chunk(y=7), SCENE.dense.chunk(time=1),
            spatial=SCENE.sharp.chunk(y=25, x=31), method="sts", weights=files["shaken"],
        )  # fmt: skip
    found = lazy.transpose(*shaken.dims).compute()
    np.testing.assert_allclose(found, shaken, atol=3e-4 * RANGE)


# --- gaps ----------------------------------------------------------------------------------------


def test_where_a_pair_is_missing_the_linear_method_has_the_say(files, shaken):
    holed = SCENE.sharp.copy(deep=True)
    hole = (slice(20, 30), slice(35, 50))
    holed[1, 2, *hole] = np.nan
    scene = dataclasses.replace(SCENE, sharp=holed)
    plain, found = fuse(scene), fuse(scene, method="sts", weights=files["shaken"])
    assert np.isfinite(found).all()
    for date in BETWEEN[:2]:
        np.testing.assert_array_equal(found.values[date][:, *hole], plain.values[date][:, *hole])
        assert (found.values[date] != plain.values[date]).mean() > 0.9
    assert (found.values[5][:, *hole] != plain.values[5][:, *hole]).any()
    far = np.abs(found.values - shaken.values)[..., :6, :6]
    assert far.max() < 0.01 * RANGE


def test_what_is_missing_of_the_date_is_missing(files):
    dense = SCENE.dense.copy(deep=True)
    dense[3, :, 10:13, 4:6] = np.nan
    found = fuse(dataclasses.replace(SCENE, dense=dense), method="sts", weights=files["shaken"])
    missing = np.zeros((60, 60), bool)
    missing[20:26, 8:12] = True
    expected = np.zeros(found.shape, bool)
    expected[3, :, missing] = True
    np.testing.assert_array_equal(np.isnan(found), expected)


# --- other scenes --------------------------------------------------------------------------------


def test_weights_serve_a_neighbouring_scene(files):
    other = _series.hyperspectral_series(size=60, bands=40, seed=1)
    plain, found = fuse(other), fuse(other, method="sts", weights=files["shaken"])
    change = (found - plain).values[BETWEEN]
    assert np.isfinite(change).all()
    assert np.abs(change).mean() > 1e-3


def test_a_checkpoint_holds_the_scaling(checkpoint):
    scaling = Scaling.read(checkpoint.manifest)
    spectra = SCENE.spectral.values
    k = len(scaling.unit)
    assert scaling.basis.shape == (40, k)
    np.testing.assert_allclose(scaling.basis.T @ scaling.basis, np.eye(k), atol=1e-6)
    rest = spectra - scaling.mean[:, None, None]
    z = scaling.components(spectra[0])
    lost = rest[0] - scaling.spectra(z)
    assert (lost**2).mean() < 2e-3 * (rest**2).mean()
    np.testing.assert_allclose(
        scaling.temporal[0], SCENE.dense.values[PAIRED].mean((0, 2, 3)), rtol=1e-4
    )


@pytest.mark.parametrize("cube", ["spectral", "dense", "sharp"])
def test_other_bands_are_refused(files, cube):
    fewer = getattr(SCENE, cube).isel(band=slice(1, None))
    with pytest.raises(ValueError, match="select or reorder the cube's bands"):
        fuse(dataclasses.replace(SCENE, **{cube: fewer}), method="sts", weights=files["still"])


def test_another_unit_is_refused(files):
    cubes = {n: 1e4 * getattr(SCENE, n) for n in ("spectral", "dense", "sharp")}
    with pytest.raises(ValueError, match="another unit"):
        fuse(dataclasses.replace(SCENE, **cubes), method="sts", weights=files["still"])


def test_a_network_that_looks_too_far_is_refused(files):
    fitted = xstf.train.fit(
        "sts", SCENE.spectral, SCENE.dense, spatial=SCENE.sharp,
        **QUICK | {"sizes": {"kernels": (1, 5), "width": 2, "depth": 4}},
    )  # fmt: skip
    source = fitted.save(files["still"].replace("still", "deep"))
    with pytest.raises(ValueError, match=r"looks 28 pixels around at most.* 36"):
        fuse(method="sts", weights=str(source))


def test_it_needs_weights_and_tiles():
    with pytest.raises(ValueError, match="needs weights"):
        fuse(method="sts")
    with pytest.raises(ValueError, match="tile=0: give a whole number of at least 1"):
        fuse(method="sts", weights="fit", tile=0)


def test_a_scene_without_contrast_is_interpolated(files):
    flat = {n: xr.full_like(getattr(SCENE, n), 0.2) for n in ("spectral", "dense", "sharp")}
    found = fuse(dataclasses.replace(SCENE, **flat), method="sts", weights=files["shaken"])
    np.testing.assert_allclose(found, 0.2, rtol=1e-6)
