"""Regression unmixing: the ridge, the features, and what they make of a change."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.methods.fuse.regression_unmixing import METHOD, Params
from xstf.methods.fuse.regression_unmixing.features import (
    Coefficients,
    block_features,
    features_numpy,
    predict,
    predict_numpy,
)
from xstf.methods.fuse.regression_unmixing.ridge import FOLDS, fit, fold_of
from xstf.numerics.degrade import block_means

RATIO = 6


def run(fine, coarse, **params):
    options = Params(window=9, **params)
    state = METHOD.settle(
        METHOD.prepare(fine, coarse, ratio=RATIO, params=options), ratio=RATIO, params=options
    )
    inner = tuple(slice(0, n) for n in fine.shape[2:])
    out = METHOD.kernels["numba"](
        fine, coarse, ratio=RATIO, params=options, state=state, inner=inner, std=False
    )[0]
    return out, state


def test_the_ridge_finds_what_is_there_and_says_how_much():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 400))
    y = np.stack([x[0] - 2 * x[2], rng.standard_normal(400)])
    found, told = fit(x, y + 0.1 * rng.standard_normal(y.shape), np.arange(400) % FOLDS)
    np.testing.assert_allclose(found[0], [1, 0, -2, 0], atol=0.05)
    assert told[0] > 0.98
    assert told[1] < 0.02
    assert np.abs(found[1]).max() < 0.1


def test_folds_are_the_same_for_an_image_that_is_turned():
    fold = fold_of((17, 12))
    for turned in (fold[::-1], fold[:, ::-1]):
        np.testing.assert_array_equal(turned, fold)
    np.testing.assert_array_equal(fold_of((12, 17)), fold.T)
    assert len(np.unique(fold)) > 4


@pytest.mark.parametrize("leaning", [False, True])
def test_compiled_features_are_those_of_the_definition(leaning):
    rng = np.random.default_rng(2)
    z = (2 * rng.standard_normal((3, 24, 18))).astype(np.float32)
    z[1, 3:9, 4] = np.nan
    around = rng.standard_normal((2 if leaning else 0, 24, 18)).astype(np.float32)
    of = Coefficients(rng.standard_normal((2, 9)), rng.standard_normal((2, 3 if leaning else 0)))
    want, have = (f(z, around, of, RATIO) for f in (predict_numpy, predict))
    for w, h in zip(want, have, strict=True):
        np.testing.assert_allclose(h, w, rtol=1e-4, atol=1e-4)
    common, own, seen = block_features(z, around, RATIO)
    np.testing.assert_allclose(common, block_means(features_numpy(z), RATIO), rtol=1e-5, atol=1e-5)
    assert own.shape == (len(around), 3, 4, 3)
    np.testing.assert_array_equal(seen, have.seen)


@pytest.fixture(scope="module")
def curved():
    """A change that is a curved function of a pixel's spectrum: ``(2 dates, 2 bands)``."""
    rng = np.random.default_rng(3)
    before = np.kron(rng.random((2, 30, 30)), np.ones((4, 4)))
    change = 0.3 * (before[:1] - 0.5) ** 2 - 0.1 * before[1:] * before[:1]
    return before.astype(np.float32), (before + change).astype(np.float32)


def test_a_curved_change_is_told_by_products(curved):
    before, after = curved
    coarse = block_means(np.stack([before, after]), RATIO)
    out, state = run(before[None], coarse)
    assert (state.told > 0.7).all()
    error, unchanged = (np.sqrt(np.mean((v - after) ** 2)) for v in (out, before))
    assert error < 0.25 * unchanged


def test_a_change_that_land_cover_does_not_tell_is_interpolated(curved):
    before = curved[0]
    coarse = block_means(before, RATIO)
    noise = np.random.default_rng(5).standard_normal(coarse.shape)
    _, state = run(before[None], np.stack([coarse, coarse + 0.02 * noise]))
    assert (state.told < 0.1).all()


def test_a_pixel_that_one_pair_misses_is_told_by_the_other(curved):
    before, after = curved
    fine = np.stack([before, after])
    middle = (before + after) / 2
    coarse = block_means(np.stack([before, after, middle]), RATIO)
    fine[0, :, 30:60, 30:60] = np.nan
    out, _ = run(fine, coarse)
    assert not np.isnan(out).any()
    hole = np.abs(out - middle)[:, 30:60, 30:60].mean()
    assert hole < np.abs(after - middle)[:, 30:60, 30:60].mean()
