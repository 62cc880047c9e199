"""What the default blend makes of days, parts and known changes."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.methods.fuse.auto import _level_known, _shown
from xstf.methods.fuse.auto.blend import blended, box_mean, deviation, deviation_alone
from xstf.methods.fuse.auto.evidence import Evidence, look_back, stacked
from xstf.numerics.in_time import mean_of, shares_of


@pytest.mark.parametrize(
    ("days", "shares"),
    [
        ((-8.0,), [1]),
        ((-8.0, 8.0), [0.5, 0.5]),
        ((-2.0, 8.0), [0.8, 0.2]),
        ((-20.0, -4.0), [0, 1]),
        ((3.0, 9.0), [1, 0]),
        ((0.0, 5.0), [1, 0]),
    ],
)
def test_shares_in_time(days, shares):
    np.testing.assert_allclose(shares_of(days), shares)


def test_a_blend_takes_what_is_there():
    first, second = np.zeros((1, 2, 2)), np.ones((1, 2, 2))
    first[0, 0, 0] = second[0, 0, 0] = np.nan
    first[0, 0, 1] = np.nan
    mean, spread = blended([first, second], np.array([[0.75], [0.25]]))
    np.testing.assert_allclose(mean[0], [[np.nan, 1], [0.25, 0.25]])
    np.testing.assert_allclose(spread[0], [[0, 0], [0.1875, 0.1875]])
    np.testing.assert_allclose(
        mean_of(np.stack([first, second]), np.array([0.5, 0.5]))[0], [[np.nan, 1], [0.5, 0.5]]
    )


def test_the_mean_around_is_cut_at_the_edge():
    np.testing.assert_allclose(box_mean(np.full((1, 20, 12), 3.0)), 3)


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(1)
    fine = rng.random((2, 2, 64, 64))
    coarse = fine.reshape(2, 2, 16, 4, 16, 4).mean(axis=(3, 5))
    return fine.astype(np.float32), coarse


def found(known, estimate):
    return look_back(*known, ("it",), estimate, ratio=4, spill=0.0)


ONE = np.ones((1, 2))


def test_a_known_change_that_is_told_wholly_has_no_error(known):
    fine = known[0]
    told = found(known, lambda _, before, __: fine[1] + fine[0] - before[0])
    np.testing.assert_allclose(told.errors(), 0, atol=1e-6)
    np.testing.assert_allclose(told.error_of(ONE), 0, atol=1e-6)
    np.testing.assert_allclose(told.slope_of(ONE), 1, atol=1e-6)
    assert told.cells == 256


def test_a_change_that_is_predicted_twice_too_large_has_half_a_slope(known):
    change = known[0][1] - known[0][0]
    change -= change.mean(axis=(1, 2), keepdims=True)
    told = found(known, lambda _, before, __: before[0] + 2 * change)
    slope, share = told.slope_of(ONE)
    np.testing.assert_allclose(slope, 0.5, atol=1e-5)
    np.testing.assert_allclose(share, 0, atol=1e-5)


def test_a_known_change_that_is_not_told_has_no_slope(known):
    noise = np.random.default_rng(2).standard_normal(known[0].shape[1:])
    slope, share = found(known, lambda _, before, __: before[0] + noise + 1).slope_of(ONE)
    assert (np.abs(slope) < 0.1).all()
    assert (share < 0.01).all()


def test_images_that_share_nothing_tell_nothing(known):
    fine = known[0].copy()
    fine[0, :, :, :61] = np.nan
    assert found((fine, known[1]), lambda _, before, __: before[0]) is None


def of_parts(errors, cells=1e9):
    """Return evidence of parts whose errors are independent of the true change, variance 1."""
    parts = len(errors)
    products = np.ones((1, parts + 1, parts + 1))
    products[0, range(parts), range(parts)] += errors
    return Evidence(tuple("abc"[:parts]), products, np.zeros((1, parts + 1)), cells)


def test_stacked_weights_solve_the_least_squares_of_independent_errors():
    # min w^2 1 + (1 - w)^2 3 + .2 ((w - .5)^2 + (.5 - w)^2): w = (3 + .2) / (4 + .4)
    weights = stacked(of_parts([1.0, 3.0]), np.array([0.5, 0.5]), np.ones(1))
    np.testing.assert_allclose(weights[:, 0], [3.2 / 4.4, 1.2 / 4.4], atol=1e-5)


def test_little_evidence_leaves_the_prior_weights():
    prior = np.array([0.2, 0.3, 0.5])
    for cells, alike in ((1e-6, 1.0), (1e9, 1e-9)):
        weights = stacked(of_parts([1.0, 2.0, 3.0], cells), prior, np.array([alike]))
        np.testing.assert_allclose(weights[:, 0], prior, atol=2e-2)


def test_both_known_changes_have_the_same_say():
    one, large = of_parts([1.0, 3.0], 100), of_parts([9.0, 3.0], 300)
    large = large._replace(products=large.products * 1e4)
    errors = one.joined([large]).errors()[:, 0]
    np.testing.assert_allclose(errors[0] / errors[1], (1 + 3) / (3 + 1))


@pytest.mark.parametrize(("ratio", "trust"), [(0.5, 1), (0.125, 0.5), (0.02, 0)])
def test_a_target_image_that_does_not_show_the_scene_is_not_trusted(ratio, trust):
    explained = np.array([[0.5, 0.7], [ratio * 0.4, ratio * 0.8]])
    assert _shown(explained, 1000) == pytest.approx(trust)
    assert _shown(np.zeros((2, 2)), 1000) == 1
    # Of few pixels as much is told by chance.
    small = 0.1 * explained
    assert _shown(small, 1000) == pytest.approx(trust)
    assert _shown(small, 64) == 1


# ---------------------------------------------------------------- the standard deviation


def test_the_deviation_joins_what_is_known():
    spread, change = np.full((1, 2, 2), 0.04), np.full((1, 2, 2), 0.8)
    known = deviation(spread, change, np.array([[[0.6, 0.6], [0.6, 0.2]]]))
    wanted = np.full((1, 2, 2), np.sqrt(0.33**2 + 1.44 * 0.04 + 0.2**2))
    wanted[0, 1, 1] = np.sqrt(0.11**2 + 1.44 * 0.04 + 0.2**2)
    np.testing.assert_allclose(known, wanted)
    alone = deviation_alone(spread, change, np.array([0.01]), np.full((1, 2, 2), 0.5))
    np.testing.assert_allclose(alone, np.sqrt((2.25 * 0.01 + 9 * 0.04 + 0.2**2 + 0.25) / 2))


def test_the_scene_changes_as_far_as_coarse_means_fit():
    fine = np.full((1, 2, 8, 8), 0.2, np.float32)
    fine[0, 0, 0, 0] = np.nan
    raw = np.stack([np.full((2, 4, 4), 0.2), np.full((2, 4, 4), 0.3)])
    raw[0, 1] += 0.2  # the second band lies .2 beside the fine one, and changes by -.1
    groups = {"patches": {"fine_0": fine}, "raw": {"coarse_0": raw}}
    np.testing.assert_allclose(_level_known(groups, 2), [1, 0.1**2 / (0.1**2 + 0.2**2)], rtol=1e-4)


def test_a_target_is_as_good_as_the_pair_that_shows_least():
    cells = 121
    assert _shown(np.array([[0.42], [0.0], [0.0]]), cells) == 1  # winter, of two of three
    assert _shown(np.array([[0.42], [0.4], [0.0]]), cells) == 0
    assert _shown(np.array([[0.4], [0.0]]), cells) == 0
    assert 0 < _shown(np.array([[0.42], [0.4], [0.05]]), cells) < 1
