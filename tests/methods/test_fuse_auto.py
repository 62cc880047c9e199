"""What the default blend makes of days, parts and known changes."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.methods.fuse.auto.blend import blended, box_mean, mean_of, shares_of, with_margin
from xstf.methods.fuse.auto.evidence import SIDE, leave_one_out, middle


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


def test_a_margin_ends_at_the_tile():
    area, own = with_margin((slice(2, 9), slice(0, 5)), (10, 30), 4)
    assert area == (slice(0, 10), slice(0, 9))
    assert own == (slice(2, 9), slice(0, 5))


def test_the_mean_around_is_cut_at_the_edge():
    np.testing.assert_allclose(box_mean(np.full((1, 20, 12), 3.0)), 3)


def test_evidence_is_looked_for_in_the_middle():
    fine, coarse = np.zeros((2, 1, 800, 160)), np.zeros((2, 1, 50, 10))
    some, few = middle(fine, coarse, 16)
    assert few.shape == (2, 1, SIDE // 16, 10)
    assert some.shape == (2, 1, SIDE // 16 * 16, 160)


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(1)
    fine = rng.random((2, 2, 64, 64))
    coarse = fine.reshape(2, 2, 16, 4, 16, 4).mean(axis=(3, 5))
    return fine.astype(np.float32), coarse


def found(known, estimate):
    return leave_one_out(*known, {"it": 1.0}, estimate, ratio=4, spill=0.0)


def test_a_known_change_that_is_told_wholly_has_no_error(known):
    fine = known[0]
    told = found(known, lambda _, before, __: fine[1] + fine[0] - before[0])
    np.testing.assert_allclose(told.error["it"], 0, atol=1e-6)
    np.testing.assert_allclose(told.slope, 1, atol=1e-6)
    assert told.cells == 256


def test_a_known_change_that_is_not_told_has_no_slope(known):
    noise = np.random.default_rng(2).standard_normal(known[0].shape[1:])
    told = found(known, lambda _, before, __: before[0] + noise)
    assert (np.abs(told.slope) < 0.1).all()


def test_images_that_share_nothing_tell_nothing(known):
    fine = known[0].copy()
    fine[0, :, :, :61] = np.nan
    assert found((fine, known[1]), lambda _, before, __: before[0]) is None
