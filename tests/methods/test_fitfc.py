"""Fit-FC at the level of its kernels: definition, missing values, parameters, laws."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.methods.fuse.fitfc import METHOD, Params, _local_mean, _regress
from xstf.numerics.upsample import upsample_numpy

RATIO = 4
SMALL = Params(window=7, regression_window=3)
ENGINES = ["numba", "numpy"]


def scene(pairs=1, bands=2, size=(12, 14), seed=0, ratio=RATIO):
    """Return smooth random fine images of two dates and a target, and their noisy block means."""
    rng = np.random.default_rng(seed)
    height, width = size[0] * ratio, size[1] * ratio
    y, x = np.mgrid[:height, :width]
    fields = np.cumsum(np.cumsum(rng.normal(size=(4, height, width)), axis=1), axis=2)
    fields = (fields - fields.mean()) / fields.std() + np.sin(x / 3) * np.cos(y / 4)
    mix = rng.uniform(0.1, 1, size=(pairs + 1, bands, 4))
    images = 0.3 + 0.05 * np.einsum("tbf,fyx->tbyx", mix, fields)
    images += 0.005 * rng.normal(size=images.shape)
    blocks = images.reshape(pairs + 1, bands, size[0], ratio, size[1], ratio).mean(axis=(3, 5))
    coarse = blocks + 0.002 * rng.normal(size=blocks.shape)
    return images[:-1].astype(np.float32), coarse.astype(np.float32), images[-1]


def predict(fine, coarse, params=SMALL, engine="numba", std=False, inner=None, state=None, ratio=4):
    """Run prepare, settle and one kernel."""
    if state is None:
        samples = METHOD.prepare(fine, coarse, ratio=ratio, params=params)
        state = METHOD.settle(samples, ratio=ratio, params=params)
    inner = inner or tuple(slice(0, n) for n in fine.shape[-2:])
    return METHOD.kernels[engine](
        fine, coarse, ratio=ratio, params=params, state=state, inner=inner, std=std
    )


def by_hand(fine, coarse, params, y, x):
    """Return the one-pair prediction of the pixel (y, x), its equation written out as loops."""
    reach, coarse_reach = params.window // 2, params.regression_window // 2
    bands = fine.shape[1]
    first, target = coarse.astype(np.float64)
    slopes, rest = np.zeros(first.shape), np.zeros(first.shape)
    for b, j, i in np.ndindex(*first.shape):
        w, c, d = [], [], []
        for v in range(-coarse_reach, coarse_reach + 1):
            for u in range(-coarse_reach, coarse_reach + 1):
                if 0 <= j + v < first.shape[1] and 0 <= i + u < first.shape[2]:
                    bell = (1 - (v / (coarse_reach + 1)) ** 2) * (1 - (u / (coarse_reach + 1)) ** 2)
                    w.append(bell**2)
                    c.append(first[b, j + v, i + u])
                    d.append(target[b, j + v, i + u] - c[-1])
        w = np.array(w) / np.sum(w)
        deviation = c - np.sum(w * c)
        scene_variance = (first[b].var() + target[b].var()) / 2
        slope = np.sum(w * deviation * d) / (
            np.sum(w * deviation**2) + params.ridge * scene_variance
        )
        slopes[b, j, i] = np.clip(slope, -1, 1)
        rest[b, j, i] = target[b, j, i] - (1 + slopes[b, j, i]) * first[b, j, i]
    a, r = (upsample_numpy(m, ratio=RATIO).astype(np.float64) for m in (slopes, rest))
    change = a * fine[0] + r
    scale = fine[0].astype(np.float64).std(axis=(1, 2))
    total, mass = np.zeros(bands), 0.0
    for v in range(max(y - reach, 0), min(y + reach + 1, fine.shape[2])):
        for u in range(max(x - reach, 0), min(x + reach + 1, fine.shape[3])):
            distance = np.mean(((fine[0, :, v, u] - fine[0, :, y, x]) / scale) ** 2)
            weight = max(0, 1 - distance / params.tolerance**2)
            weight /= 1 + 2 * np.hypot(v - y, u - x) / params.window
            total += weight * change[:, v, u]
            mass += weight
    return fine[0, :, y, x] + total / mass


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_its_equation(engine):
    fine, coarse, _ = scene(size=(5, 6))
    params = Params(window=7, regression_window=3, tolerance=0.5)
    estimate, _ = predict(fine, coarse, params, engine)
    for y, x in [(0, 0), (9, 11), (10, 3), (19, 23)]:
        expected = by_hand(fine, coarse, params, y, x)
        np.testing.assert_allclose(estimate[:, y, x], expected, atol=1e-6)


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("ratio", [1, 3, 4])
def test_engines_agree(pairs, ratio):
    fine, coarse, _ = scene(pairs, ratio=ratio)
    fine[0, 1, 5:9, 3:20] = np.nan
    coarse[-1, 0, 2, 3] = np.nan
    coarse[0, 1, 7, 7] = np.nan
    fast = predict(fine, coarse, engine="numba", std=True, ratio=ratio)
    slow = predict(fine, coarse, engine="numpy", std=True, ratio=ratio)
    np.testing.assert_allclose(fast[0], slow[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fast[1], slow[1], rtol=1e-3, atol=1e-5)
    assert fast[0].dtype == fast[1].dtype == slow[0].dtype == slow[1].dtype == np.float32


def test_rows_longer_than_a_block_are_seamless():
    fine, coarse, _ = scene(size=(3, 140), bands=1)
    fast, _ = predict(fine, coarse)
    slow, _ = predict(fine, coarse, engine="numpy")
    np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-6)


def test_it_finds_a_linear_change_of_contrast():
    fine, _, _ = scene(size=(20, 20))
    truth = 0.6 * fine[0] + 0.1
    block = fine.reshape(1, 2, 20, RATIO, 20, RATIO).mean(axis=(3, 5))
    coarse = np.concatenate([block, 0.6 * block + 0.1]).astype(np.float32)
    estimate, _ = predict(fine, coarse, Params(ridge=1e-6, window=3, tolerance=1e-3))
    np.testing.assert_allclose(estimate, truth, atol=2e-5)


def test_a_flat_neighbourhood_takes_over_the_coarse_change():
    fine, coarse, _ = scene(size=(12, 20))
    coarse[0, :, :, 8:] = 0.3
    coarse[1, :, :, 8:] = 0.35
    estimate, _ = predict(fine, coarse)
    flat = np.s_[:, :, 11 * RATIO :]
    np.testing.assert_allclose(estimate[flat], fine[0][flat] + 0.05, atol=1e-6)


def test_two_pairs_are_better_than_either():
    fine, coarse, _ = scene(2)
    truth = fine.mean(axis=0)
    coarse[-1] = coarse[:-1].mean(axis=0)
    errors = [
        np.abs(predict(fine[chosen], coarse[[*chosen, -1]])[0] - truth).mean()
        for chosen in ([0], [1], [0, 1])
    ]
    assert errors[2] < 0.5 * min(errors[:2])


def test_a_pair_whose_images_do_not_match_weighs_less():
    fine, coarse, truth = scene(2, seed=3)
    fine[1] += 0.2
    both = np.abs(predict(fine, coarse)[0] - truth).mean()
    alone = np.abs(predict(fine[:1], coarse[[0, 2]])[0] - truth).mean()
    # Half the mismatch would be 0.1.
    assert both < alone + 0.02


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_pixels_stay_missing_and_no_others(engine):
    fine, coarse, _ = scene()
    fine[0, :, 10:14, 8:12] = np.nan
    fine[0, 0, 30, 30] = np.nan
    coarse[0, 1, 2, 9] = np.nan
    coarse[-1, :, 8, 3] = np.nan
    expected = np.isnan(fine[0])
    expected[1, 8:12, 36:40] = True
    expected[:, 32:36, 12:16] = True
    estimate, std = predict(fine, coarse, engine=engine, std=True)
    np.testing.assert_array_equal(np.isnan(estimate), expected)
    np.testing.assert_array_equal(np.isnan(std), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pixel_that_one_pair_sees_is_predicted_by_that_pair(engine):
    fine, coarse, _ = scene(2)
    fine[0, :, 8:40, 8:40] = np.nan
    both, _ = predict(fine, coarse, engine=engine)
    assert np.isfinite(both).all()
    state = METHOD.settle(
        METHOD.prepare(fine, coarse, ratio=RATIO, params=SMALL), ratio=RATIO, params=SMALL
    )
    alone, _ = predict(fine[1:], coarse[1:], engine=engine, state=state)
    inside = np.s_[:, 12:36, 12:36]
    np.testing.assert_allclose(both[inside], alone[inside], atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pairs", [1, 2])
def test_nothing_in_nothing_out(engine, pairs):
    fine, coarse, _ = scene(pairs)
    no_fine, no_coarse = fine * np.nan, coarse * np.nan
    for images in [(no_fine, no_coarse), (no_fine, coarse), (fine, no_coarse)]:
        estimate, std = predict(*images, engine=engine, std=True)
        assert np.isnan(estimate).all()
        assert np.isnan(std).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_constant_images_give_the_constant(engine):
    fine = np.full((2, 1, 20, 20), 0.2, np.float32)
    coarse = np.full((3, 1, 5, 5), 0.3, np.float32)
    estimate, std = predict(fine, coarse, engine=engine, std=True)
    np.testing.assert_allclose(estimate, 0.2, atol=1e-6)
    np.testing.assert_allclose(std, 0, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 4},
        {"window": 1},
        {"window": 5.5},
        {"regression_window": 6},
        {"regression_window": 1},
        {"tolerance": 0},
        {"tolerance": float("nan")},
        {"ridge": -1},
        {"ridge": float("inf")},
    ],
)
def test_parameters_without_meaning_are_refused(wrong):
    (name, value) = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"{name}={value!r}: give a"):
        Params(**wrong)


@pytest.mark.parametrize("pairs", [1, 2])
def test_no_change_returns_fine(pairs):
    fine, coarse, _ = scene(pairs)
    fine[:] = fine[0]
    coarse[:] = coarse[0]
    estimate, _ = predict(fine, coarse)
    np.testing.assert_allclose(estimate, fine[0], atol=1e-6)


@pytest.mark.parametrize("pairs", [1, 2])
def test_an_offset_of_the_target_moves_the_result(pairs):
    fine, coarse, _ = scene(pairs)
    moved = coarse.copy()
    moved[-1] += 0.25
    before, after = predict(fine, coarse, std=True), predict(fine, moved, std=True)
    np.testing.assert_allclose(after[0], before[0] + 0.25, atol=1e-5)
    np.testing.assert_allclose(after[1], before[1], atol=1e-4)


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_change_of_unit_scales_the_result(pairs):
    fine, coarse, _ = scene(pairs)
    before = predict(fine, coarse, std=True)
    after = predict(fine * np.float32(1e4), coarse * np.float32(1e4), std=True)
    np.testing.assert_allclose(after[0] / 1e4, before[0], atol=1e-5)
    np.testing.assert_allclose(after[1] / 1e4, before[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize(
    "turn",
    [
        lambda a: a[..., ::-1, :],
        lambda a: a[..., ::-1],
        lambda a: np.swapaxes(a, -1, -2),
    ],
)
def test_a_turned_scene_gives_the_turned_result(pairs, turn):
    fine, coarse, _ = scene(pairs)
    # Ties in the spectral distance, as whole numbers in files have them.
    fine = np.round(fine, 2)
    fine[0, :, 5:9, 5:11] = np.nan
    plain, _ = predict(fine, coarse)
    turned, _ = predict(np.ascontiguousarray(turn(fine)), np.ascontiguousarray(turn(coarse)))
    np.testing.assert_allclose(turned, turn(plain), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pairs", [1, 2])
def test_tiles_give_the_whole(engine, pairs):
    fine, coarse, _ = scene(pairs, size=(20, 24))
    fine[0, :, 30:50, 33:52] = np.nan
    coarse[0, 0, 9, 11] = np.nan
    samples = METHOD.prepare(fine, coarse, ratio=RATIO, params=SMALL)
    state = METHOD.settle(samples, ratio=RATIO, params=SMALL)
    whole = predict(fine, coarse, engine=engine, state=state, std=True)
    halo = -(-METHOD.halo(SMALL, RATIO) // RATIO)
    for top in (0, 8, 16):
        for left in (0, 12):
            bottom, right = min(top + 8, 20), min(left + 12, 24)
            y0, x0 = max(top - halo, 0), max(left - halo, 0)
            y1, x1 = min(bottom + halo, 20), min(right + halo, 24)
            cut = np.s_[..., y0 * RATIO : y1 * RATIO, x0 * RATIO : x1 * RATIO]
            inner = (
                slice((top - y0) * RATIO, (bottom - y0) * RATIO),
                slice((left - x0) * RATIO, (right - x0) * RATIO),
            )
            tile = predict(
                np.ascontiguousarray(fine[cut]),
                np.ascontiguousarray(coarse[..., y0:y1, x0:x1]),
                engine=engine, state=state, std=True, inner=inner,
            )  # fmt: skip
            own = np.s_[:, top * RATIO : bottom * RATIO, left * RATIO : right * RATIO]
            np.testing.assert_allclose(tile[0], whole[0][own], atol=1e-6)
            np.testing.assert_allclose(tile[1], whole[1][own], atol=1e-6)


@pytest.mark.parametrize("which", ["fine", "coarse"])
def test_the_halo_is_honest(which):
    fine, coarse, _ = scene(2, size=(20, 20))
    samples = METHOD.prepare(fine, coarse, ratio=RATIO, params=SMALL)
    state = METHOD.settle(samples, ratio=RATIO, params=SMALL)
    before, _ = predict(fine, coarse, state=state)
    if which == "fine":
        fine[0, :, 40, 43] += 1
        reached = np.s_[40:41, 43:44]
    else:
        coarse[0, :, 10, 10] += 1
        reached = np.s_[40:44, 40:44]
    after, _ = predict(fine, coarse, state=state)
    changed = np.argwhere((before != after).any(axis=0))
    assert len(changed)
    halo = METHOD.halo(SMALL, RATIO)
    for axis in (0, 1):
        assert changed[:, axis].min() >= reached[axis].start - halo
        assert changed[:, axis].max() < reached[axis].stop + halo


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_are_left_alone(engine):
    fine, coarse, _ = scene(2)
    copies = fine.copy(), coarse.copy()
    fine.flags.writeable = coarse.flags.writeable = False
    predict(fine, coarse, engine=engine, std=True)
    np.testing.assert_array_equal(fine, copies[0])
    np.testing.assert_array_equal(coarse, copies[1])


def test_whole_image_numbers_come_from_a_small_sample():
    fine = np.broadcast_to(np.float32(0.5), (1, 1, 9000, 9000))
    samples = METHOD.prepare(fine, fine[..., ::10, ::10], ratio=10, params=Params())
    assert samples["fine"].size + samples["coarse"].size <= 2_000_000


def test_the_local_mean_skips_missing_values():
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3, [np.nan] * 3])
    mean = _local_mean(values, 3)
    assert mean[0, 1] == pytest.approx(2)
    assert mean[0, 0] == pytest.approx(1)
    assert mean[2, 2] == 0


def test_the_weights_of_two_pairs_sum_to_one_and_favour_the_alike():
    fine, coarse, _ = scene(2)
    coarse[-1] = coarse[0] + 0.1
    state = METHOD.settle(
        METHOD.prepare(fine, coarse, ratio=RATIO, params=SMALL), ratio=RATIO, params=SMALL
    )
    weights = _regress(fine, coarse, RATIO, SMALL, state, std=False)[:2]
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert weights[0].mean() > 0.6


def test_std_grows_with_what_the_regression_leaves():
    fine, coarse, _ = scene()
    rng = np.random.default_rng(1)
    noisy = coarse.copy()
    noisy[-1] += 0.05 * rng.normal(size=coarse[-1].shape).astype(np.float32)
    calm = predict(fine, coarse, std=True)[1]
    rough = predict(fine, noisy, std=True)[1]
    assert (calm > 0).all()
    assert rough.mean() > 2 * calm.mean()
