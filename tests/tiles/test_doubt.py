"""The standard deviation of a fusion through the verb: its size, its place, and who predicts."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from dask.base import tokenize
from records import classical

import xstf
from xstf.methods.lookup import get_method
from xstf.simulate import degrade, landscape
from xstf.tiles.doubt import predictor_of, settle_doubt
from xstf.tiles.engines import make_runner

RATIO = 8


@pytest.fixture(scope="module")
def truth():
    """Three dates of a landscape whose classes and fields change each in their own way."""
    land = landscape((128, 128), seed=5)
    rng = np.random.default_rng(6)
    kinds, fields = int(land.cover.max()) + 1, int(land.parcel.max()) + 1
    first, last = rng.uniform(0.05, 0.4, (2, 1, 2, kinds))
    level = first + np.array([0, 0.4, 1])[:, None, None] * (last - first)
    level[1] += rng.normal(0, 0.04, (2, kinds))  # the season is no straight line
    level = level[:, :, land.cover.values]
    own = rng.normal(0, 0.02, (3, 2, fields))[:, :, land.parcel.values]
    images = level + own + 0.01 * rng.standard_normal((1, 2, *land.cover.shape))
    y, x = ((np.arange(128) + 0.5) * 30 for _ in "yx")
    return xr.DataArray(
        images.astype(np.float32), dims=("time", "band", "y", "x"), name="r",
        coords={"time": np.array(["2021-05-01", "2021-05-17", "2021-06-10"], "datetime64[ns]"),
                "band": ["red", "nir"], "y": -y, "x": x},
    )  # fmt: skip


@pytest.fixture(scope="module")
def coarse(truth):
    return degrade(truth, RATIO, noise=0.003)


def of(truth, coarse, dates, method, **options):
    return xstf.fuse(
        truth[dates], coarse, method=method, time=truth.time[1], return_quality=True, **options
    )


def test_every_method_of_fusion_has_one():
    assert all(r.std for r in classical("fuse"))


METHODS = ["fsdaf", "fastvsdf", "regression_unmixing", "starfm", "fitfc", "estarfm"]


@pytest.mark.parametrize(
    ("method", "dates"),
    [(m, d) for m in METHODS for d in ([0], [0, 2]) if len(d) >= get_method("fuse", m).pairs[0]],
)
def test_the_90_percent_interval_holds_about_90_percent(truth, coarse, dates, method):
    out = of(truth, coarse, dates, method)
    off = np.abs(out["r"].values[0] - truth.values[1])
    assert 0.8 < (off <= 1.645 * out["r_std"].values[0]).mean() < 0.99


def test_a_scene_whose_known_change_is_not_told_is_doubted_more(truth, coarse):
    other = coarse.copy()
    other[2] = coarse[2].values[:, ::-1, ::-1]
    sure = of(truth, coarse, [0, 2], "fsdaf", register=False)["r_std"]
    unsure = of(truth, other, [0, 2], "fsdaf", register=False)["r_std"]
    assert (unsure.mean(("y", "x")) > 1.2 * sure.mean(("y", "x"))).all()


def test_texture_is_doubted_more_than_a_field(truth, coarse):
    std = of(truth, coarse, [0], "fsdaf")["r_std"].values[0]
    edges = np.abs(np.diff(truth.values[0], axis=2)).max(axis=0)
    rough, even = edges > np.quantile(edges, 0.9), edges < np.quantile(edges, 0.5)
    assert std[:, :, 1:][:, rough].mean() > 1.2 * std[:, :, 1:][:, even].mean()


def test_a_band_without_a_known_change_keeps_its_expectation(truth, coarse):
    blind = truth[[0, 2]].copy()
    blind[0, 1] = np.nan
    out = xstf.fuse(blind, coarse, method="starfm", time=truth.time[1], return_quality=True)
    assert (out["r_std"].values[0] > 0).all()
    assert not np.isnan(out["r_std"]).any()


@pytest.mark.parametrize("method", ["fsdaf", "starfm"])
def test_a_moved_grid_and_a_raw_change_have_one_too(truth, coarse, method):
    moved = coarse.assign_coords(y=coarse.y + 90)
    for options in ({}, {"change": "raw"}, {"change": "raw", "register": False}):
        call = {"method": method, "time": truth.time[1], **options}
        plain = xstf.fuse(truth[[0, 2]], moved, **call)
        both = xstf.fuse(truth[[0, 2]], moved, return_quality=True, **call)
        np.testing.assert_array_equal(both["r"], plain)
        assert np.array_equal(np.isnan(both["r_std"]), np.isnan(plain))


def test_who_predicts_a_known_change():
    for name in METHODS:
        record = get_method("fuse", name)
        runner = make_runner(record, "numba", None)
        predict = predictor_of(record, runner, record.params())
        assert (predict is None) == (record.pairs[0] > 1)
        # A state has one name in every process.
        assert tokenize(predict, settle_doubt, ensure_deterministic=True)


def test_a_predictor_is_the_method_itself(truth, coarse):
    record = get_method("fuse", "fsdaf")
    predict = predictor_of(record, make_runner(record, "numba", None), record.params())
    found = predict(truth.values[:1], coarse.values[:2])
    wanted = xstf.fuse(truth[:1], coarse[:2], method="fsdaf", register=False, change="raw")
    np.testing.assert_allclose(found, wanted.values[0], rtol=1e-5)
