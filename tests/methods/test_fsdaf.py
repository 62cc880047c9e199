"""FSDAF: classes, their changes, and the kernels held to the definition."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from xstf.methods.fuse.fsdaf import METHOD, Params
from xstf.numerics import patches as _patches
from xstf.numerics import unmixing as _fsdaf_classes

HOST = ["numba", "numpy"]  # the laws run the kernels of the GPU, too
RATIO = 6
SMALL = Params(window=9, classes=4)


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
    return fine, block_mean(np.stack(dates)).astype(np.float32), dates[2], cover


def block_mean(images, ratio=RATIO):
    """Return the mean of blocks of ``ratio`` pixels along the last two axes."""
    *front, height, width = images.shape
    blocks = images.reshape(*front, height // ratio, ratio, width // ratio, ratio)
    return blocks.mean(axis=(-3, -1))


def settle(fine, coarse, params=SMALL):
    """Return the state of the whole scene."""
    samples = METHOD.prepare(fine, coarse, ratio=RATIO, params=params)
    return METHOD.settle(samples, ratio=RATIO, params=params)


def predict(fine, coarse, params=SMALL, engine="numba", state=None, inner=None):
    """Return the estimate of one kernel."""
    state = settle(fine, coarse, params) if state is None else state
    inner = inner or (slice(0, fine.shape[-2]), slice(0, fine.shape[-1]))
    kernel = METHOD.kernels[engine]
    out, std = kernel(fine, coarse, ratio=RATIO, params=params, state=state, inner=inner, std=False)
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


def test_the_change_of_each_class_is_found(scene):
    fine, coarse, truth, _ = scene
    one = fine[:1], coarse[[0, 2]]
    delta = fine[0] + np.kron(coarse[2] - coarse[0], np.ones((RATIO, RATIO)))
    weak = Params(window=9, classes=4, ridge=0.01)
    # With hardly any ridge and no noise, little more than the texture is left over.
    assert rmse(predict(*one, params=weak), truth) < 0.15 * rmse(delta, truth)
    assert rmse(predict(*one), truth) < 0.5 * rmse(delta, truth)


def test_classes_are_the_covers_whatever_the_order_of_pixels(scene):
    fine, _, _, cover = scene
    image = fine[0].reshape(3, -1).T.astype(np.float64)
    centres, _ = _fsdaf_classes._kmeans(image, 4)
    label = _fsdaf_classes._distances(image, centres).argmin(axis=1)
    for c in range(4):
        assert len(np.unique(label[cover.ravel() == c])) == 1
    shuffled, _ = _fsdaf_classes._kmeans(np.random.default_rng(0).permutation(image), 4)
    np.testing.assert_allclose(np.sort(centres, axis=0), np.sort(shuffled, axis=0), rtol=1e-9)


def test_a_change_of_cover_is_brought_by_the_residual(scene):
    fine, coarse, truth, _ = scene
    truth = truth.copy()
    truth[:, 18:42, 24:54] = 0.7
    coarse = np.stack([coarse[0], block_mean(truth)]).astype(np.float32)
    out = predict(fine[:1], coarse)
    inside = np.s_[:, 27:33, 36:42]
    assert rmse(out[inside], truth[inside]) < 0.25 * rmse(fine[0][inside], truth[inside])


def test_no_change_returns_fine(scene):
    fine, coarse, *_ = scene
    out = predict(fine[[0, 0]], coarse[[0, 0, 0]])
    np.testing.assert_allclose(out, fine[0], atol=1e-5)


def test_two_pairs_lean_to_the_one_whose_coarse_image_changed_less(scene):
    fine, coarse, *_ = scene
    out = predict(fine, coarse[[0, 1, 1]])
    np.testing.assert_allclose(out, fine[1], atol=1e-4)


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_constant_on_the_target_is_a_constant_on_the_result(scene, pairs):
    fine, coarse = scene[0][:pairs], scene[1][-pairs - 1 :].copy()
    expected = predict(fine, coarse) + np.float32(0.3)
    coarse[-1] += np.float32(0.3)
    np.testing.assert_allclose(predict(fine, coarse), expected, atol=2e-6)


def test_units_do_not_matter(scene):
    fine, coarse, *_ = scene
    scaled = predict(fine * np.float32(1e4), coarse * np.float32(1e4))
    np.testing.assert_allclose(scaled, predict(fine, coarse) * 1e4, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    "turn",
    [lambda a: a[..., ::-1, :], lambda a: a[..., ::-1], lambda a: np.swapaxes(a, -1, -2)],
    ids=["flip y", "flip x", "transpose"],
)
def test_a_turned_scene_gives_the_turned_result(scene, turn):
    fine, coarse = with_clouds(*scene[:2])
    turned = predict(np.ascontiguousarray(turn(fine)), np.ascontiguousarray(turn(coarse)))
    np.testing.assert_allclose(turned, turn(predict(fine, coarse)), atol=1e-5)


@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_a_tile_with_its_halo_equals_the_whole(scene, engine):
    fine, coarse = with_clouds(*scene[:2])
    fine, coarse = np.tile(fine, (1, 1, 2, 2)), np.tile(coarse, (1, 1, 2, 2))
    state = settle(fine, coarse)
    whole = predict(fine, coarse, state=state, engine=engine)
    halo = -(-METHOD.halo(SMALL, RATIO) // RATIO)
    top, left, rows, cols = 8, 9, 3, 4  # coarse pixels
    view = np.s_[top - halo : top + rows + halo, left - halo : left + cols + halo]
    view_fine = tuple(slice(v.start * RATIO, v.stop * RATIO) for v in view)
    tile = predict(
        np.ascontiguousarray(fine[..., *view_fine]),
        np.ascontiguousarray(coarse[..., *view]),
        state=state,
        inner=tuple(slice(halo * RATIO, (halo + n) * RATIO) for n in (rows, cols)),
        engine=engine,
    )
    assert view[0].start > 0
    assert view[0].stop < coarse.shape[-2]
    cut = np.s_[:, top * RATIO : (top + rows) * RATIO, left * RATIO : (left + cols) * RATIO]
    np.testing.assert_allclose(tile, whole[cut], atol=1e-6)


def test_nothing_changes_beyond_the_halo(scene):
    fine, coarse = np.tile(scene[0], (1, 1, 2, 2)), np.tile(scene[1], (1, 1, 2, 2))
    state = settle(fine, coarse)
    poked = fine.copy()
    poked[0, :, 62, 70] += 0.5
    moved = np.argwhere(predict(poked, coarse, state=state) != predict(fine, coarse, state=state))
    reach = np.abs(moved[:, 1:] - [62, 70]).max()
    assert 0 < reach <= METHOD.halo(SMALL, RATIO)


@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_missing_is_missing_and_nothing_else_is(scene, engine):
    fine, coarse = with_clouds(*scene[:2])
    out = predict(fine, coarse, engine=engine)
    missing = np.zeros(out.shape, bool)
    missing[:, 30:42, 36:42] = True  # cloudy in both pairs
    missing[:, 48:54, 54:60] = True  # target missing
    missing[1, 6:12, 60:66] = True  # target missing in one band
    np.testing.assert_array_equal(np.isnan(out), missing)


@pytest.mark.parametrize("engine", ["numba", "numpy"])
@pytest.mark.parametrize("which", ["fine", "coarse", "both"])
def test_nothing_comes_from_nothing_without_a_warning(scene, engine, which):
    fine, coarse, *_ = scene
    fine = fine * np.float32(np.nan if which != "coarse" else 1)
    coarse = coarse * np.float32(np.nan if which != "fine" else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(predict(fine, coarse, engine=engine)).all()


def test_a_band_that_is_missing_everywhere_leaves_the_others(scene):
    fine, coarse = scene[0].copy(), scene[1]
    fine[:, 1] = np.nan
    out = predict(fine, coarse)
    assert np.isnan(out[1]).all()
    alone = predict(fine[:, ::2].copy(), coarse[:, ::2].copy())
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


@pytest.mark.parametrize("ratio", [1, 2])
def test_small_ratios_and_scenes_work(ratio):
    fine = np.random.default_rng(1).uniform(size=(1, 1, 4, 6)).astype(np.float32)
    coarse = np.stack([block_mean(fine[0], ratio)] * 2).astype(np.float32)
    coarse[1] += np.float32(0.5)
    samples = METHOD.prepare(fine, coarse, ratio=ratio, params=SMALL)
    state = METHOD.settle(samples, ratio=ratio, params=SMALL)
    out, _ = METHOD.kernels["numba"](
        fine,
        coarse,
        ratio=ratio,
        params=SMALL,
        state=state,
        inner=(slice(0, 4), slice(0, 6)),
        std=False,
    )
    np.testing.assert_allclose(out, fine[0] + 0.5, atol=1e-5)


def test_a_sampled_scene_gives_nearly_the_same_classes_and_changes(scene, monkeypatch):
    fine, coarse = np.tile(scene[0], (1, 1, 3, 3)), np.tile(scene[1], (1, 1, 3, 3))
    whole = predict(fine, coarse)
    monkeypatch.setattr(_patches, "SAMPLE", fine.size // 2)
    samples = METHOD.prepare(fine, coarse, ratio=RATIO, params=SMALL)
    assert len(samples) > 2
    sampled = predict(fine, coarse)
    assert rmse(sampled, whole) < 0.2 * rmse(whole, fine[0])


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
        ({"classes": 0}, "classes=0"),
        ({"window": 40}, "window=40: give an odd"),
        ({"window": 1}, "window=1"),
        ({"similarity": 0.0}, "similarity=0.0"),
        ({"ridge": -1.0}, "ridge=-1.0"),
    ],
)
def test_wrong_parameters_are_refused(wrong, hint):
    with pytest.raises(ValueError, match=hint):
        Params(**wrong)
