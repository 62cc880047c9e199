"""Haze over a coarse image: told from land that changes, and taken off."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xstf.numerics.in_time import mean_of, shares_of
from xstf.numerics.veil import AIRLIGHT, find_veil, unveiled

SHARES = np.array([0.5, 0.5])


@pytest.fixture(scope="module")
def images():
    """Three coarse images of red and nir: fields that green up, or do not."""
    rng = np.random.default_rng(4)
    green, soil = rng.random((2, 24, 24))
    dates = np.array([0.2, 0.5, 0.8])[[0, 2, 1]]  # the target last
    red = 0.12 + 0.05 * soil - 0.08 * green * dates[:, None, None]
    nir = 0.2 + 0.05 * soil + 0.25 * green * dates[:, None, None]
    made = np.stack([red, nir], axis=1) + 0.003 * rng.standard_normal((3, 2, 24, 24))
    return made.astype(np.float32)


@pytest.fixture(scope="module")
def opacity():
    """A smooth cloud of haze over a part of the scene."""
    field = gaussian_filter(np.random.default_rng(1).standard_normal((24, 24)), 4)
    return np.clip(0.4 * (field - np.quantile(field, 0.6)) / np.ptp(field) * 2, 0, 0.6)


def hazy(images, opacity, bright=AIRLIGHT):
    seen = images.copy()
    seen[-1] = (1 - opacity) * images[-1] + opacity * bright
    return seen


def test_land_that_changes_is_no_haze(images):
    veil = find_veil(images, SHARES)
    assert veil.strength == 0
    assert veil.text() == "none found"
    assert unveiled(images, veil) is images


@pytest.mark.parametrize("bright", [AIRLIGHT, 0.35, 0.7])
def test_most_of_haze_is_taken_off_the_target_alone(images, opacity, bright):
    seen = hazy(images, opacity, bright)
    veil = find_veil(seen, SHARES)
    assert veil.strength == 1
    clear = unveiled(seen, veil)
    np.testing.assert_array_equal(clear[:2], seen[:2])
    before, after = (np.sqrt(((a[-1] - images[-1]) ** 2).mean()) for a in (seen, clear))
    assert after < 0.4 * before
    assert f"{veil.most:.2f}" in veil.text()


def test_snow_is_no_haze(images):
    seen = images.copy()
    seen[-1, :, 5:15, 8:20] = 0.75
    assert find_veil(seen, SHARES).strength == 0


def test_clouds_in_haze_stay_as_they_are(images, opacity):
    seen = hazy(images, opacity)
    seen[-1, :, 3:5, 7:9] = 0.8
    veil = find_veil(seen, SHARES)
    assert veil.strength > 0
    np.testing.assert_array_equal(unveiled(seen, veil)[-1, :, 3:5, 7:9], seen[-1, :, 3:5, 7:9])


def test_with_one_pair(images, opacity):
    seen = hazy(images, opacity)[1:]
    veil = find_veil(seen, np.ones(1))
    assert veil.strength > 0.5
    error = [np.sqrt(((a[-1] - images[-1]) ** 2).mean()) for a in (seen, unveiled(seen, veil))]
    assert error[1] < 0.5 * error[0]


def test_each_pixel_is_cleared_by_itself(images, opacity):
    seen = hazy(images, opacity)
    veil = find_veil(seen, SHARES)
    whole = unveiled(seen, veil)
    np.testing.assert_array_equal(unveiled(seen[..., 5:9, 3:20], veil), whole[..., 5:9, 3:20])


def test_missing_values_stay_missing_and_cost_nothing_else(images, opacity):
    seen = hazy(images, opacity)
    veil, whole = find_veil(seen, SHARES), unveiled(seen, find_veil(seen, SHARES))
    seen[-1, :, 2, 3] = np.nan  # no target
    seen[0, :, 4, 5] = np.nan  # one pair
    seen[:, 0, 6, 7] = np.nan  # one band is left: nothing is told of haze
    found = find_veil(seen, SHARES)
    assert found.strength == veil.strength
    out = unveiled(seen, found._replace(level=veil.level))
    assert np.isnan(out[-1, :, 2, 3]).all()
    assert np.isfinite(out[-1, :, 4, 5]).all()
    assert out[-1, 1, 6, 7] == seen[-1, 1, 6, 7]
    rest = np.ones((24, 24), bool)
    rest[[2, 4, 6], [3, 5, 7]] = False
    np.testing.assert_array_equal(out[-1][:, rest], whole[-1][:, rest])


def test_what_is_no_reflectance_has_no_haze(images, opacity):
    seen = hazy(images, opacity)
    for other in (seen * 10000, 280 + seen, seen + 0.3, seen[:, :1]):
        assert find_veil(other.astype(np.float32), SHARES).strength == 0
    assert find_veil(seen[..., :5, :5], SHARES).strength == 0  # too few pixels
    assert find_veil(seen[[0, 0, 0]], SHARES).strength == 0  # no change at all


def test_shares_in_time():
    np.testing.assert_allclose(shares_of((-10.0, 30.0)), [0.75, 0.25])
    np.testing.assert_array_equal(shares_of((5.0, 30.0)), [1, 0])
    np.testing.assert_array_equal(shares_of((4.0,)), [1])
    images = np.array([[1.0, np.nan, np.nan], [3.0, 3.0, np.nan]])
    np.testing.assert_allclose(mean_of(images, np.array([0.75, 0.25])), [1.5, 3, np.nan])
