"""Where coarse images lie on fine ones: found to a fine pixel, or left where they are."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.numerics.degrade import block_means
from xstf.numerics.registration import find_registration, moved

RATIO = 6


@pytest.fixture(scope="module")
def pairs():
    """Two dates of three bands; texture over fields, 20 x 18 coarse pixels."""
    rng = np.random.default_rng(3)
    fields = np.kron(rng.random((2, 3, 15, 14)), np.ones((8, 8)))[..., : 20 * RATIO, : 18 * RATIO]
    return (fields + 0.1 * rng.standard_normal(fields.shape)).astype(np.float32)


def seen(fine, shift, noise=0.0):
    """Return what a sensor sees whose pixels lie a shift away, the edge repeated."""
    rng = np.random.default_rng(4)
    wide = np.pad(fine, [(0, 0), (0, 0), (9, 9), (9, 9)], mode="edge")
    means = block_means(moved(wide, shift)[..., 9:-9, 9:-9], RATIO)
    return means + noise * rng.standard_normal(means.shape)


@pytest.mark.parametrize("shift", [(0, 0), (2, -3), (-7, 8), (1, 0)])
def test_a_shift_is_found_to_a_pixel(pairs, shift):
    found = find_registration([(pairs, seen(pairs, shift, 0.02))], RATIO)
    assert found.shift == shift
    assert found.after >= found.before


def test_images_that_lie_right_stay_where_they_are(pairs):
    found = find_registration([(pairs, seen(pairs, (0, 0), 0.1))], RATIO)
    assert found.shift == (0, 0)
    assert "as it lies" in found.text()


def test_noise_alone_moves_nothing(pairs):
    noise = np.random.default_rng(5).standard_normal((2, 3, 20, 18))
    assert find_registration([(pairs, noise)], RATIO).shift == (0, 0)


def test_missing_pixels_are_left_out(pairs):
    fine, coarse = pairs.copy(), seen(pairs, (2, -3))
    fine[:, :, :30, :40] = np.nan
    coarse[0, :, 12:, 9] = np.nan
    assert find_registration([(fine, coarse)], RATIO).shift == (2, -3)


def test_few_coarse_pixels_tell_nothing(pairs):
    found = find_registration([(pairs[..., : 7 * RATIO], seen(pairs, (2, 2))[..., :7])], RATIO)
    assert found.shift == (0, 0)
    assert found.text() == "nothing to find it by"


def test_mirrored_images_give_the_mirrored_shift(pairs):
    coarse = seen(pairs, (2, -3), 0.02)
    found = find_registration([(pairs[..., ::-1].copy(), coarse[..., ::-1].copy())], RATIO)
    assert found.shift == (2, 3)


def test_the_spill_of_block_means_is_none(pairs):
    assert find_registration([(pairs, seen(pairs, (0, 0)))], RATIO).spill == 0


def test_it_can_be_left_out(pairs):
    found = find_registration([(pairs, seen(pairs, (2, -3)))], RATIO, move=False)
    assert found.shift == (0, 0)


def test_images_of_another_place_are_not_moved_by_chance():
    rng = np.random.default_rng(7)
    land = np.kron(rng.random((9, 1, 2, 4, 4)), np.ones((2 * RATIO, 2 * RATIO)))
    fine = land.astype(np.float32)
    for own, other in zip(fine[:-1], fine[1:], strict=True):
        found = find_registration([(own, block_means(other, RATIO))], RATIO)
        assert found.shift == (0, 0)
