"""FastVSDF: its classes, its filters, and the kernels held to the definition."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from xstf.methods.fuse.fastvsdf import METHOD, Params
from xstf.methods.fuse.fastvsdf import classes as _fastvsdf_classes
from xstf.methods.fuse.fastvsdf import smoothing as _fastvsdf_smooth
from xstf.numerics import patches as _patches

HOST = ["numba", "numpy"]  # the laws run the kernels of the GPU, too
pytestmark = pytest.mark.slow  # its loops compile for long

RATIO = 6
SMALL = Params(covers=4, sigma=1.5)
ENGINE = pytest.mark.parametrize("engine", HOST)


@pytest.fixture
def scene():
    """Return fine ``(2, 3, 60, 72)``, coarse ``(3, 3, 10, 12)`` and truth: four covers by fields.

    Every cover changes by its own amount; within a cover there is texture that stays.
    """
    rng = np.random.default_rng(7)
    cover = np.kron(rng.integers(0, 4, (15, 18)), np.ones((4, 4), np.int64))
    before = rng.uniform(0.05, 0.4, (4, 3))
    step = rng.normal(0.0, 0.08, (4, 3))
    texture = rng.normal(0.0, 0.004, (3, 60, 72))
    dates = [np.moveaxis((before + k * step)[cover], -1, 0) + texture for k in (0, 2, 1)]
    fine = np.stack(dates[:2]).astype(np.float32)
    return fine, block_mean(np.stack(dates)).astype(np.float32), dates[2]


def block_mean(images, ratio=RATIO):
    """Return the mean of blocks of ``ratio`` pixels along the last two axes."""
    *front, height, width = images.shape
    blocks = images.reshape(*front, height // ratio, ratio, width // ratio, ratio)
    return blocks.mean(axis=(-3, -1))


def settle(fine, coarse, params=SMALL, ratio=RATIO):
    """Return the state of the whole scene."""
    samples = METHOD.prepare(fine, coarse, ratio=ratio, params=params)
    return METHOD.settle(samples, ratio=ratio, params=params)


def predict(fine, coarse, params=SMALL, engine="numba", state=None, inner=None, ratio=RATIO):
    """Return the estimate of one kernel."""
    state = settle(fine, coarse, params, ratio) if state is None else state
    inner = inner or (slice(0, fine.shape[-2]), slice(0, fine.shape[-1]))
    kernel = METHOD.kernels[engine]
    out, std = kernel(fine, coarse, ratio=ratio, params=params, state=state, inner=inner, std=False)
    assert std is None
    assert out.dtype == np.float32
    return out


def with_clouds(fine, coarse):
    """Return copies with missing pixels in single bands, single images and whole blocks."""
    fine, coarse = fine.copy(), coarse.copy()
    fine[0, 1, 5:9, 7:30] = np.nan
    fine[:, :, 30:42, 36:42] = np.nan
    coarse[0, :, 3, 3] = np.nan
    coarse[-1, :, 8, 9] = np.nan
    coarse[-1, 1, 1, 10] = np.nan
    return fine, coarse


def rmse(a, b):
    """Return the root mean squared difference."""
    return float(np.sqrt(np.nanmean((a - b) ** 2)))


@pytest.mark.parametrize("pairs", [1, 2])
def test_numba_equals_the_definition_under_clouds(scene, pairs):
    fine, coarse = with_clouds(scene[0][:pairs], scene[1][-pairs - 1 :])
    expected = predict(fine, coarse, engine="numpy")
    np.testing.assert_allclose(predict(fine, coarse), expected, rtol=1e-4, atol=1e-6)


def test_the_change_of_each_cover_is_found(scene):
    fine, coarse, truth = scene
    out = predict(fine[:1], coarse[[0, 2]], Params(covers=4, sigma=1.5, ridge=0.001))
    delta = fine[0] + np.kron(coarse[2] - coarse[0], np.ones((RATIO, RATIO)))
    assert rmse(out, truth) < 0.25 * rmse(delta, truth)


def test_a_cover_that_changes_in_two_ways_gets_two_classes():
    # Wheat is green in the west and ripe in the east; the fine image of the base date cannot tell.
    rng = np.random.default_rng(3)
    wheat = np.kron(rng.integers(0, 2, (30, 36)), np.ones((4, 4), np.int64)).astype(bool)
    fine = np.where(wheat, 0.2, 0.4)[None] + rng.normal(0.0, 0.002, (2, 120, 144))
    west = np.arange(144) < 72
    truth = fine + np.where(wheat & west, 0.1, 0.0) - np.where(wheat & ~west, 0.1, 0.0)
    coarse = block_mean(np.stack([fine, truth])).astype(np.float32)
    fine = fine[None].astype(np.float32)
    params = Params(covers=2, sigma=1.5, ridge=0.01)
    pair = settle(fine, coarse, params).pairs[0]
    assert np.ptp(pair.step[0]) > 0.15
    assert rmse(predict(fine, coarse, params), truth) < 0.35 * rmse(fine[0], truth)


def test_a_change_of_cover_is_brought_by_the_residual(scene):
    fine, coarse, truth = scene
    truth = truth.copy()
    truth[:, 18:42, 24:54] = 0.7
    coarse = np.stack([coarse[0], block_mean(truth)]).astype(np.float32)
    out = predict(fine[:1], coarse)
    inside = np.s_[:, 27:33, 36:42]
    assert rmse(out[inside], truth[inside]) < 0.3 * rmse(fine[0][inside], truth[inside])


def test_sensors_that_agree_allow_more_classes(scene):
    fine, coarse, _ = scene
    noise = np.random.default_rng(0).normal(0.0, 0.02, coarse.shape).astype(np.float32)
    count = _fastvsdf_classes.count_classes
    assert count([(fine[0], coarse[0], coarse[1])], 5) == 25
    assert 5 < count([(fine[0], coarse[0] + noise[0], coarse[1] + noise[0])], 5) < 25
    assert count([(fine[0], coarse[0] + 20 * noise[0], coarse[1] + 20 * noise[0])], 5) == 5
    assert count([(fine[0], coarse[0], coarse[0])], 5) == 5


def test_levels_of_the_images_do_not_change_the_number_of_classes(scene):
    fine, coarse, _ = scene
    noise = np.random.default_rng(0).normal(0.0, 0.02, coarse[0].shape).astype(np.float32)
    first, target = coarse[0] + noise, coarse[1] + noise
    count = _fastvsdf_classes.count_classes([(fine[0], first, target)], 5)
    moved = _fastvsdf_classes.count_classes([(fine[0], first + 0.5, target - 0.5)], 5)
    assert 5 < count == moved < 25


def test_slope_is_that_of_the_change_on_the_guide():
    guide = np.random.default_rng(1).uniform(size=(2, 8, 9))
    change = guide * np.array([2.0, -0.5])[:, None, None] + 3.0
    guide[0, 4, 4] = change[1, 2, 2] = np.nan
    slope, mean, middle = _fastvsdf_classes.slope(change, guide, np.zeros(2), 0.25, 1e-4)
    missing = np.isnan(change + guide)
    np.testing.assert_array_equal(np.isnan(slope), missing)
    np.testing.assert_allclose(slope[0][~missing[0]], 2.0)
    np.testing.assert_allclose(slope[1][~missing[1]], -0.5)
    np.testing.assert_allclose(mean[0][~missing[0]], 2 * middle[0][~missing[0]] + 3)


def test_noise_in_the_guide_lowers_the_slope_and_a_flat_guide_has_none():
    guide = np.random.default_rng(1).uniform(size=(1, 8, 9))
    power = guide.var(axis=(1, 2))
    slope, *_ = _fastvsdf_classes.slope(2.0 * guide, guide, power, 0.25, 1.0)
    assert slope.min() > 0
    assert slope.max() < 1.5
    flat, *_ = _fastvsdf_classes.slope(guide, guide * 0 + 0.3, np.zeros(1), 0.25, 1.0)
    np.testing.assert_array_equal(flat, 0.0)


@pytest.mark.parametrize("smooth", [_fastvsdf_smooth.smooth_numpy, _fastvsdf_smooth.smooth])
def test_the_gaussian_is_a_weighted_mean_within_classes(smooth):
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, (14, 15))
    share = np.stack([label == 0, label == 1]).astype(np.float32)
    change = rng.normal(size=(2, 14, 15)).astype(np.float32)
    change[1, 6, 5] = change[0, 7, 7] = np.nan
    out = smooth(share, change, (slice(3, 12), slice(2, 13)), 1.5)
    y, x = np.indices(label.shape)
    for b, at_y, at_x in [(0, 3, 2), (1, 6, 7), (0, 11, 12), (1, 7, 7)]:
        near = np.maximum(abs(y - at_y), abs(x - at_x)) <= _fastvsdf_smooth.reach(1.5)
        weight = np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * 1.5**2))
        use = near & (label == label[at_y, at_x]) & ~np.isnan(change[b])
        expected = np.average(change[b][use], weights=weight[use])
        assert out[b, at_y - 3, at_x - 2] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(change[:, 3:12, 2:13]))


def test_no_change_returns_fine(scene):
    fine, coarse, _ = scene
    out = predict(fine[[0, 0]], coarse[[0, 0, 0]])
    np.testing.assert_allclose(out, fine[0], atol=1e-5)


def test_two_pairs_lean_to_the_one_whose_coarse_image_changed_less(scene):
    fine, coarse, _ = scene
    out = predict(fine, coarse[[0, 1, 1]])
    np.testing.assert_allclose(out, fine[1], atol=1e-4)


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_constant_on_the_target_is_a_constant_on_the_result(scene, pairs):
    fine, coarse = scene[0][:pairs], scene[1][-pairs - 1 :].copy()
    expected = predict(fine, coarse) + np.float32(0.3)
    coarse[-1] += np.float32(0.3)
    np.testing.assert_allclose(predict(fine, coarse), expected, atol=1e-5)


def test_units_do_not_matter_even_one_for_each_band(scene):
    fine, coarse, _ = scene
    units = np.array([1e4, 1.0, 1e-3], np.float32)[:, None, None]
    scaled = predict(fine * units, coarse * units) / units
    np.testing.assert_allclose(scaled, predict(fine, coarse), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "turn",
    [lambda a: a[..., ::-1, :], lambda a: a[..., ::-1], lambda a: np.swapaxes(a, -1, -2)],
    ids=["flip y", "flip x", "transpose"],
)
def test_a_turned_scene_gives_the_turned_result(scene, turn):
    fine, coarse = with_clouds(*scene[:2])
    turned = predict(np.ascontiguousarray(turn(fine)), np.ascontiguousarray(turn(coarse)))
    np.testing.assert_allclose(turned, turn(predict(fine, coarse)), atol=1e-5)


@ENGINE
def test_a_tile_with_its_halo_equals_the_whole(scene, engine):
    fine, coarse = with_clouds(*scene[:2])
    fine, coarse = np.tile(fine, (1, 1, 3, 2)), np.tile(coarse, (1, 1, 3, 2))
    state = settle(fine, coarse)
    whole = predict(fine, coarse, state=state, engine=engine)
    halo = -(-METHOD.halo(SMALL, RATIO) // RATIO)
    top, left, rows, cols = 11, 9, 4, 5  # coarse pixels
    view = np.s_[top - halo : top + rows + halo, left - halo : left + cols + halo]
    assert view[0].start > 0
    assert view[0].stop < coarse.shape[-2]
    view_fine = tuple(slice(v.start * RATIO, v.stop * RATIO) for v in view)
    tile = predict(
        np.ascontiguousarray(fine[..., *view_fine]),
        np.ascontiguousarray(coarse[..., *view]),
        state=state,
        inner=tuple(slice(halo * RATIO, (halo + n) * RATIO) for n in (rows, cols)),
        engine=engine,
    )
    cut = np.s_[:, top * RATIO : (top + rows) * RATIO, left * RATIO : (left + cols) * RATIO]
    np.testing.assert_allclose(tile, whole[cut], atol=1e-6)


@pytest.mark.parametrize("poke", ["fine", "target"])
def test_nothing_changes_beyond_the_halo(scene, poke):
    fine, coarse = np.tile(scene[0], (1, 1, 3, 3)), np.tile(scene[1], (1, 1, 3, 3))
    state = settle(fine, coarse)
    state = state._replace(pairs=tuple(pair._replace(spill=0.1) for pair in state.pairs))
    before = predict(fine, coarse, state=state)
    if poke == "fine":
        fine = fine.copy()
        fine[:, :, 92, 94] += 0.5
        first = last = np.array([92, 94])
    else:
        coarse = coarse.copy()
        coarse[-1, :, 15, 16] += 0.5
        first, last = np.array([90, 96]), np.array([95, 101])
    moved = np.argwhere(predict(fine, coarse, state=state) != before)[:, 1:]
    reach = np.maximum(first - moved, moved - last).max()
    halo = METHOD.halo(SMALL, RATIO)
    assert 2 * RATIO < reach <= halo


@ENGINE
def test_missing_is_missing_and_nothing_else_is(scene, engine):
    fine, coarse = with_clouds(*scene[:2])
    out = predict(fine, coarse, engine=engine)
    missing = np.zeros(out.shape, bool)
    missing[:, 30:42, 36:42] = True  # cloudy in both pairs
    missing[:, 48:54, 54:60] = True  # target missing
    missing[1, 6:12, 60:66] = True  # target missing in one band
    np.testing.assert_array_equal(np.isnan(out), missing)


@ENGINE
@pytest.mark.parametrize("which", ["fine", "coarse", "both"])
def test_nothing_comes_from_nothing_without_a_warning(scene, engine, which):
    fine, coarse, _ = scene
    fine = fine * np.float32(np.nan if which != "coarse" else 1)
    coarse = coarse * np.float32(np.nan if which != "fine" else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(predict(fine, coarse, engine=engine)).all()


@ENGINE
@pytest.mark.parametrize("which", ["fine", "target"])
def test_a_band_that_is_missing_everywhere_leaves_the_others(scene, engine, which):
    fine, coarse = scene[0].copy(), scene[1].copy()
    (fine if which == "fine" else coarse[-1:])[:, 1] = np.nan
    out = predict(fine, coarse, engine=engine)
    assert np.isnan(out[1]).all()
    assert not np.isnan(out[::2]).any()
    if which == "fine":
        alone = predict(fine[:, ::2].copy(), coarse[:, ::2].copy(), engine=engine)
        np.testing.assert_allclose(out[::2], alone, atol=1e-6)


def test_a_pair_that_is_missing_everywhere_changes_nothing(scene):
    fine, coarse = scene[0].copy(), scene[1]
    fine[0] = np.nan
    np.testing.assert_allclose(predict(fine, coarse), predict(fine[1:], coarse[1:]), atol=1e-6)


def test_a_constant_scene_takes_the_coarse_change():
    fine = np.full((1, 2, 24, 24), 0.2, np.float32)
    coarse = np.full((2, 2, 4, 4), 0.25, np.float32)
    coarse[1] = 0.35
    np.testing.assert_allclose(predict(fine, coarse), 0.3, atol=1e-6)


@ENGINE
def test_values_may_leave_0_to_1(scene, engine):
    fine, coarse, _ = scene
    low, high = fine[:1] - np.float32(0.9), fine[:1] + np.float32(0.9)
    for moved in (low, high):
        shift = moved[0] - fine[0]
        out = predict(moved, coarse[[0, 2]] + shift.mean(), engine=engine)
        expected = predict(fine[:1], coarse[[0, 2]], engine=engine) + shift
        np.testing.assert_allclose(out, expected, atol=1e-4)
    assert low.max() < 0


@pytest.mark.parametrize("ratio", [1, 2])
def test_small_ratios_and_scenes_work(ratio):
    fine = np.random.default_rng(1).uniform(size=(1, 1, 4, 6)).astype(np.float32)
    coarse = np.stack([block_mean(fine[0], ratio)] * 2).astype(np.float32)
    coarse[1] += np.float32(0.5)
    np.testing.assert_allclose(predict(fine, coarse, ratio=ratio), fine[0] + 0.5, atol=1e-5)


def test_a_sampled_scene_gives_nearly_the_same(scene, monkeypatch):
    fine, coarse = np.tile(scene[0], (1, 1, 3, 3)), np.tile(scene[1], (1, 1, 3, 3))
    whole = predict(fine, coarse)
    monkeypatch.setattr(_patches, "SAMPLE", fine.size // 2)
    samples = METHOD.prepare(fine, coarse, ratio=RATIO, params=SMALL)
    assert len(samples) > 2
    assert rmse(predict(fine, coarse), whole) < 0.2 * rmse(whole, fine[0])


def test_inputs_stay_as_they_are(scene):
    fine, coarse = with_clouds(*scene[:2])
    before = fine.copy(), coarse.copy()
    for engine in HOST:
        predict(fine, coarse, engine=engine)
    np.testing.assert_array_equal(fine, before[0])
    np.testing.assert_array_equal(coarse, before[1])


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"covers": 0}, "covers=0"),
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"sigma": float("inf")}, "sigma=inf"),
        ({"ridge": -1.0}, "ridge=-1.0"),
    ],
)
def test_wrong_parameters_are_refused(wrong, hint):
    with pytest.raises(ValueError, match=hint):
        Params(**wrong)
