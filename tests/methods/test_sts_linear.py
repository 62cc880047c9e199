"""The linear fusion of a series: exact where it can be, honest about gaps, the same in tiles."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from xstf._method import StsSamples
from xstf.methods.sts.sts_linear import estimate as method
from xstf.methods.sts.sts_linear.steps import DateImages
from xstf.numerics.degrade import degrade, upsample
from xstf.scenes import series as _series

RATIOS = (3, 2)
PAIRED = [0, 2, 4]


def _rmse(a, b):
    return float(np.sqrt(np.nanmean((a - b) ** 2)))


def _angle(a, b):
    """Return the mean spectral angle in degrees."""
    cosine = (a * b).sum(axis=0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


class World:
    """Three spectra, mixed by smooth shares, seen without noise on five dates."""

    def __init__(self, side=96, ratios=RATIOS, steady=False, seed=0):
        draw = np.random.default_rng(seed)
        place = (np.arange(side) + 0.5) / side
        waves = np.cos(np.pi * np.arange(3)[:, None] * place)
        size = draw.normal(0, 0.2, (5, 3, 3, 3))
        if steady:
            share = np.arange(5)[:, None, None, None] / 4
            size = size[0] + share * (size[1] - size[0])
        shares = 0.5 + np.einsum("dmab,ay,bx->dmyx", size, waves, waves)
        self.truth = np.einsum("bm,dmyx->dbyx", draw.uniform(0.05, 0.5, (20, 3)), shares).astype(
            np.float32
        )
        wide, few = (draw.dirichlet(np.ones(20), n).astype(np.float32) for n in (6, 4))
        self.spectral = degrade(self.truth[PAIRED], ratio=ratios[0], fwhm=1.0)
        dense = np.einsum("gb,dbyx->dgyx", wide, self.truth)
        self.dense = degrade(dense, ratio=ratios[1], fwhm=1.0)
        self.sharp = np.einsum("gb,dbyx->dgyx", few, self.truth[PAIRED])
        self.ratios = ratios

    def fused(self, date, pairs=(0, 1, 2), state=None, **more):
        keep, dates = list(pairs), [PAIRED[p] for p in pairs]
        state = state or self.settled(pairs)
        dense = np.concatenate([self.dense[dates], self.dense[date : date + 1]])
        images = DateImages(self.spectral[keep], dense, self.sharp[keep], np.array(dates), date)
        return method.predict(images, ratios=self.ratios, state=state, **more)

    def settled(self, pairs=(0, 1, 2)):
        keep, dates = list(pairs), [PAIRED[p] for p in pairs]
        samples = StsSamples(
            self.spectral[keep], self.dense[dates], self.sharp[keep], np.array(dates)
        )
        return method.settle(samples, ratios=self.ratios)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def state(world):
    return world.settled()


@pytest.mark.parametrize("ratios", [(3, 2), (4, 2), (2, 1), (3, 1)])
def test_a_smooth_linear_world_comes_back(ratios):
    world = World(ratios=ratios)
    state = world.settled()
    for date in range(5):
        assert _rmse(world.fused(date, state=state), world.truth[date]) < 1e-4


def test_a_world_that_changes_steadily_comes_back_everywhere():
    world = World(side=48, steady=True)
    for date in (1, 3):
        np.testing.assert_allclose(world.fused(date), world.truth[date], atol=1e-4)


def test_two_pairs_are_enough_for_a_linear_world(world):
    found = world.fused(2, pairs=(0, 2))
    between = (world.truth[0] + world.truth[4]) / 2
    assert _rmse(found, world.truth[2]) < 2e-3
    assert _rmse(between, world.truth[2]) > 0.05


def test_one_pair_follows_the_dense_cube(world):
    found = world.fused(3, pairs=(1,))
    assert found.shape == world.truth[3].shape
    assert _rmse(found, world.truth[3]) < 0.2 * _rmse(world.truth[2], world.truth[3])


def test_a_date_beyond_all_pairs_is_predicted_from_the_nearest(world):
    found = world.fused(3, pairs=(0, 1))
    assert _rmse(found, world.truth[3]) < 0.2 * _rmse(world.truth[2], world.truth[3])


def _numbers(state):
    """Return all arrays and numbers of a scene's state."""
    return [*state.subspace, *state.temporal, state.change]


def test_the_order_of_pairs_and_the_unit_of_time_do_not_matter(world, state):
    expected = world.fused(1, state=state)
    turned = [2, 0, 1]
    samples = StsSamples(
        world.spectral[turned], world.dense[[4, 0, 2]], world.sharp[turned],
        np.datetime64("2021-01-01") + np.array([4, 0, 2]) * np.timedelta64(1, "D"),
    )  # fmt: skip
    images = DateImages(
        samples.spectral, np.concatenate([samples.temporal, world.dense[1:2]]), samples.spatial,
        samples.times, np.datetime64("2021-01-02"),
    )  # fmt: skip
    found = method.predict(images, ratios=RATIOS, state=method.settle(samples, ratios=RATIOS))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert _rmse(found, expected) < 1e-4


def test_inputs_and_state_stay_as_they_were(world, state):
    before = copy.deepcopy((world.spectral, world.dense, world.sharp, state))
    first = world.fused(1, state=state)
    world.settled()
    after = (world.spectral, world.dense, world.sharp, state)
    for a, b in zip(before[:3], after[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(_numbers(before[3]), _numbers(state), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first, world.fused(1, state=state))


def test_inner_cuts_the_result(world, state):
    inner = (slice(12, 60), slice(30, 36))
    found = world.fused(1, state=state, inner=inner)
    np.testing.assert_array_equal(found, world.fused(1, state=state)[:, *inner])


# ---------------------------------------------------------------- gaps


@pytest.fixture
def holed(world):
    return copy.deepcopy(world)


def test_what_the_dense_cube_misses_is_missing_on_other_dates_only(holed, state):
    holed.dense[1, 2, 10:14, 5:9] = np.nan
    missing = np.zeros((96, 96), bool)
    missing[20:28, 10:18] = True
    found = np.isnan(holed.fused(1, state=state))
    np.testing.assert_array_equal(found, np.broadcast_to(missing, found.shape))
    holed.dense[2] = np.nan
    assert np.isfinite(holed.fused(2, state=state)).all()


def test_what_one_pair_misses_comes_from_the_other(holed, state):
    whole = holed.fused(1, state=state)
    holed.sharp[0, 1, 30:42, 30:42] = np.nan
    found = holed.fused(1, state=state)
    assert np.isfinite(found).all()
    hole = (slice(None), slice(30, 42), slice(30, 42))
    assert _rmse(found[hole], holed.truth[1][hole]) < 0.01
    far = np.ones((96, 96), bool)
    far[:90, :90] = False
    np.testing.assert_allclose(found[:, far], whole[:, far], atol=1e-3)


def test_what_both_brackets_miss_comes_from_a_third_pair_or_is_missing(holed, state):
    hole = (slice(None), slice(30, 42), slice(30, 42))
    for pair in (0, 1):
        holed.spectral[pair, :, 10:14, 10:14] = np.nan
    found = holed.fused(1, state=state)
    assert _rmse(found[hole], holed.truth[1][hole]) < 0.02
    alone = holed.fused(1, pairs=(0, 1), state=state)
    missing = np.zeros((96, 96), bool)
    missing[hole[1:]] = True
    np.testing.assert_array_equal(np.isnan(alone).all(axis=0), missing)
    np.testing.assert_array_equal(np.isnan(alone).any(axis=0), missing)


def test_what_the_own_pair_misses_is_predicted(holed, state):
    hole = (slice(None), slice(30, 42), slice(30, 42))
    holed.sharp[1][hole] = np.nan
    found = holed.fused(2, state=state)
    assert np.isfinite(found).all()
    assert _rmse(found[hole], holed.truth[2][hole]) < 0.01


def test_missing_pixels_leave_the_settled_numbers_alone(holed):
    holed.spectral[0, :, 3:6, 3:6] = np.nan
    holed.sharp[1, :, 50:60, 50:60] = np.nan
    holed.dense[2, :, 30:34, 30:34] = np.nan
    found = holed.settled()
    assert all(np.isfinite(value).all() for value in _numbers(found))
    assert _rmse(holed.fused(3, state=found), holed.truth[3]) < 1e-3


def test_a_scene_without_contrast_is_interpolated():
    world = World(side=48)
    world.spectral[:] = np.arange(3, dtype=np.float32)[:, None, None, None]
    world.sharp[:], world.dense[:] = 0.5, 0.5
    world.spectral[0, :, :2] = np.nan
    found = world.fused(1)
    np.testing.assert_allclose(found[:, 6:], 0.5, rtol=1e-6)
    np.testing.assert_allclose(found[:, :6], 1.0, rtol=1e-6)


# ---------------------------------------------------------------- a scene


def _scene_arrays(scene):
    dense, times = scene.dense.values, scene.dense.time.values
    paired = np.flatnonzero(np.isin(times, scene.sharp.time.values))
    return scene.spectral.values, dense, scene.sharp.values, times, paired


def _scene_state(scene):
    spectral, dense, sharp, times, paired = _scene_arrays(scene)
    return method.settle(StsSamples(spectral, dense[paired], sharp, times[paired]), ratios=RATIOS)


def _scene_fused(scene, state, date, window=None, inner=None):
    spectral, dense, sharp, times, paired = _scene_arrays(scene)
    dense = np.concatenate([dense[paired], dense[date : date + 1]])
    if window is not None:
        spectral, dense, sharp = (
            cube[..., *(slice(s.start // r, s.stop // r) for s in window)]
            for cube, r in ((spectral, 3), (dense, 2), (sharp, 1))
        )
    images = DateImages(spectral, dense, sharp, times[paired], times[date])
    return method.predict(images, ratios=RATIOS, state=state, inner=inner)


@pytest.fixture(scope="module")
def scene():
    return _series.hyperspectral_series(size=120, bands=40)


@pytest.fixture(scope="module")
def scene_state(scene):
    return _scene_state(scene)


@pytest.mark.parametrize("date", [1, 3, 5])
def test_unpaired_dates_are_far_better_than_interpolation(scene, scene_state, date):
    truth = scene.truth.values
    found = _scene_fused(scene, scene_state, date)
    assert np.isfinite(found).all()
    between = (truth[date - 1] + truth[date + 1]) / 2  # of the truth itself: better than any
    assert _rmse(found, truth[date]) < 0.35 * _rmse(between, truth[date])
    assert _angle(found, truth[date]) < 0.7 * _angle(between, truth[date])


@pytest.mark.parametrize("date", [0, 4])
def test_paired_dates_are_far_better_than_the_spectral_cube(scene, scene_state, date):
    truth = scene.truth.values[date]
    found = _scene_fused(scene, scene_state, date)
    blurred = upsample(scene.spectral.values[date // 2], ratio=3)
    assert _rmse(found, truth) < 0.3 * _rmse(blurred, truth)
    assert _angle(found, truth) < 0.5 * _angle(blurred, truth)


def test_sensors_that_disagree_by_place_hardly_matter(scene, scene_state):
    truth = scene.truth.values[3]
    expected = _rmse(_scene_fused(scene, scene_state, 3), truth)
    slope = np.linspace(-0.01, 0.01, 60, dtype=np.float32)
    off = copy.copy(scene)
    object.__setattr__(off, "dense", scene.dense + slope[:, None])
    assert _rmse(_scene_fused(off, _scene_state(off), 3), truth) < 1.1 * expected


def test_tiles_with_the_halo_give_the_whole(scene, scene_state):
    reach = method.halo(RATIOS)
    assert reach == 60
    inner = (slice(0, 36), slice(84, 120))
    window = (slice(0, 36 + reach), slice(84 - reach, 120))
    moved = (slice(0, 36), slice(reach, reach + 36))
    spread = np.ptp(scene.truth.values)
    for date in (0, 3):
        whole = _scene_fused(scene, scene_state, date, inner=inner)
        tile = _scene_fused(scene, scene_state, date, window, moved)
        assert np.abs(tile - whole).max() < 3e-4 * spread
