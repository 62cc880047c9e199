"""Outlier screening: known haze, lasting changes, lone pixels, what the user is certain of."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.numerics import outliers as _screen
from xstf.numerics.outliers import SCREEN_HALO, find_outliers
from xstf.numerics.seasonal import season_state

pytestmark = pytest.mark.slow  # its loops compile for long

DATES, SIZE = 50, (20, 24)


@pytest.fixture(scope="module")
def clear():
    """Return a cloudy cube of two bands without haze, its dates and its state."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.integers(5, 15, DATES)).astype(float)
    angle = 2 * np.pi * (times - times[0])[:, None, None, None] / 365.25
    height = 0.15 + 0.03 * rng.normal(size=(2, *SIZE))
    cube = 0.3 + height * np.sin(angle) + 0.01 * rng.normal(size=(DATES, 2, *SIZE))
    cube[np.broadcast_to(rng.random((DATES, 1, 1, 1)) < 0.3, cube.shape)] = np.nan
    cube[np.broadcast_to(rng.random((DATES, 1, *SIZE)) < 0.1, cube.shape)] = np.nan
    cube = cube.astype(np.float32)
    times -= times[0]
    return cube, times, season_state(cube[None], times)


def dates_of(cube):
    """Return the dates that are not wholly missing."""
    return np.flatnonzero(np.isfinite(cube).any(axis=(1, 2, 3)))


def test_a_clear_cube_stays_whole(clear):
    cube, times, state = clear
    outlier = find_outliers(cube, times, state=state)
    assert outlier.mean() < 1e-3


@pytest.mark.parametrize("sign", [1, -1])
def test_a_patch_of_haze_or_shadow_is_found(clear, sign):
    cube, times, state = clear
    hazy = cube.copy()
    hit = np.zeros((DATES, *SIZE), bool)
    for i in dates_of(cube)[[5, 14, 26]]:
        hit[i, 4:14, 6:18] = True
    hazy += np.float32(sign * 0.12) * hit[:, None]
    outlier = find_outliers(hazy, times, state=state)
    seen = np.isfinite(cube).any(axis=1)
    assert outlier[hit & seen].mean() > 0.95
    assert outlier[~hit & seen].mean() < 1e-3
    assert not outlier[~seen].any()


def test_haze_is_found_when_the_scene_is_learnt_with_it(clear):
    cube, times, _ = clear
    hazy = cube.copy()
    hit = np.zeros((DATES, *SIZE), bool)
    for i in dates_of(cube)[::7]:
        hit[i, 2:12, 3:20] = True
    hazy += np.float32(0.15) * hit[:, None]
    outlier = find_outliers(hazy, times, state=season_state(hazy[None], times))
    assert outlier[hit & np.isfinite(cube).any(axis=1)].mean() > 0.9


def test_a_change_that_lasts_stays(clear):
    cube, times, state = clear
    changed = cube.copy()
    at = dates_of(cube)[15]
    changed[at:, :, 5:15, 5:15] -= 0.15
    assert find_outliers(changed, times, state=state)[:, 5:15, 5:15].mean() < 0.005


def test_a_change_of_three_dates_stays_and_one_of_a_single_date_does_not(clear):
    cube, times, state = clear
    for count, least, most in ((3, 0, 0.05), (1, 0.9, 1)):
        changed = cube.copy()
        at = dates_of(cube)[15 : 15 + count]
        changed[at, :, 5:15, 5:15] -= 0.15
        # Three valid dates in a row: a pixel that lacks one of them shows only two.
        whole = np.isfinite(cube[at][:, 0, 5:15, 5:15]).all(axis=0)
        share = find_outliers(changed, times, state=state)[at][:, 5:15, 5:15][:, whole].mean()
        assert least <= share <= most


def test_a_lone_pixel_stays_unless_it_is_extreme(clear):
    cube, times, state = clear
    i = dates_of(cube)[12]
    y, x = np.argwhere(np.isfinite(cube[i, 0]))[200]
    for shift, found in ((0.065, False), (0.5, True)):
        spiked = cube.copy()
        spiked[i, :, y, x] += shift
        assert find_outliers(spiked, times, state=state, threshold=4.0)[i, y, x] == found


def test_what_is_certain_is_never_an_outlier(clear):
    cube, times, state = clear
    hazy = cube.copy()
    i = dates_of(cube)[9]
    hazy[i] += 0.2
    certain = np.zeros((DATES, *SIZE), bool)
    certain[i, :10] = True
    outlier = find_outliers(hazy, times, state=state, certain=certain)
    assert not outlier[i, :10].any()
    assert outlier[i, 10:][np.isfinite(cube[i, 0, 10:])].mean() > 0.9


def test_a_pixel_keeps_two_thirds_of_its_dates(clear):
    cube, times, state = clear
    hazy = cube.copy()
    hazy[dates_of(cube)[::2]] += 0.3
    outlier = find_outliers(hazy, times, state=state)
    assert (outlier.sum(axis=0) <= np.isfinite(cube).any(axis=1).sum(axis=0) / 3).all()


def test_tiles_with_the_halo_are_the_whole(clear):
    cube, times, state = clear
    hazy = cube.copy()
    hazy[dates_of(cube)[9], :, 3:13, 4:15] += 0.06
    whole = find_outliers(hazy, times, state=state)
    assert whole.any()
    rows, cols = slice(4, 12), slice(6, 16)
    wide = tuple(slice(s.start - SCREEN_HALO, s.stop + SCREEN_HALO) for s in (rows, cols))
    part = find_outliers(np.ascontiguousarray(hazy[:, :, wide[0], wide[1]]), times, state=state)
    h = SCREEN_HALO
    np.testing.assert_array_equal(part[:, h:-h, h:-h], whole[:, rows, cols])


def test_an_empty_cube_has_no_outliers_and_nothing_is_changed(clear):
    cube, times, state = clear
    before = cube.copy()
    find_outliers(cube, times, state=state)
    np.testing.assert_array_equal(cube, before)
    nothing = np.full_like(cube, np.nan)
    assert not find_outliers(nothing, times, state=season_state(nothing[None], times)).any()


def test_scaled_data_give_the_same_outliers(clear):
    cube, times, _ = clear
    hazy = cube.copy()
    hazy[dates_of(cube)[9], :, 3:13, 4:15] += 0.1
    outliers = [
        find_outliers(c, times, state=season_state(c[None], times))
        for c in (hazy, hazy * np.float32(1e4))
    ]
    np.testing.assert_array_equal(*outliers)


def test_compiled_and_interpreted_scores_agree():
    rng = np.random.default_rng(0)
    shape = (27, 4, 2, 3)
    cube = rng.normal(size=shape).astype(np.float32)
    cube[np.broadcast_to(rng.random((27, 1, 2, 3)) < 0.4, shape)] = np.nan
    without, spread = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    found = []
    for function in (_screen._score, _screen._score.py_func):
        score = np.full((27, 2, 3), np.nan, np.float32)
        lasting = np.zeros((27, 2, 3), bool)
        room = _screen.Room(np.empty((27, 4)), np.empty(27), np.empty(27, np.int64))
        function(cube, without, spread, 1.0, room, score, lasting)
        found.append((score, lasting))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert found[0][1].any()
