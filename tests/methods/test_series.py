"""Fusion of whole series: the smoother, the belief in coarse changes, and what more dates bring."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

import xstf
from xstf.methods.fuse.series import METHOD
from xstf.methods.fuse.series import evidence as ev
from xstf.methods.fuse.series.in_time import between, image_noise, smooth_level, unreached

RATIO = 8
DAYS = np.array([8.0, 40.0, 72.0, 104.0, 136.0, 168.0, 200.0])
COARSE_DAYS = np.arange(4.0, 210.0, 8.0)


def land(days, *, seed=0, cells=(8, 9)):
    """Return fine images ``(date, 1, y, x)`` of fields that green up at their own times."""
    rng = np.random.default_rng(seed)
    size = [n * RATIO for n in cells]
    fields = rng.integers(0, 6, (size[0] // 4, size[1] // 4)).repeat(4, 0).repeat(4, 1)
    start, top, base = rng.normal(90, 18, 6), rng.uniform(0.2, 0.5, 6), rng.uniform(0.1, 0.3, 6)
    texture = 0.02 * rng.standard_normal(size)
    days = np.asarray(days, float)[:, None, None]
    season = base[fields] + top[fields] * np.exp(-0.5 * ((days - start[fields]) / 45) ** 2)
    return (season + texture).astype(np.float32)[:, None]


def blocks(fine):
    """Return the means of coarse pixels."""
    *lead, height, width = fine.shape
    return fine.reshape(*lead, height // RATIO, RATIO, width // RATIO, RATIO).mean(axis=(-3, -1))


def predict(
    fine, coarse, targets, *, days=DAYS, coarse_days=COARSE_DAYS, engine="numba", std=False
):
    """Return the estimate, its spread and the state."""
    common = {"ratio": RATIO, "params": METHOD.params()}
    dates = {"times": days, "coarse_times": coarse_days, "reach": 8.0}
    state = METHOD.settle(METHOD.prepare(fine, coarse, **common), **common, **dates)
    inner = tuple(slice(0, n) for n in fine.shape[2:])
    found = METHOD.kernels[engine](
        fine, coarse, targets=np.asarray(targets, float), state=state, inner=inner, std=std,
        **common, **dates,
    )  # fmt: skip
    return *found, state


def rmse(estimate, truth):
    return float(np.sqrt(np.nanmean((estimate - truth) ** 2)))


# --- in time ---


def test_without_noise_the_level_is_the_series_and_gaps_are_bridged_linearly():
    days = np.array([0.0, 3.0, 4.0, 10.0])
    series = np.array([[1.0, np.nan], [np.nan, 2.0], [5.0, np.nan], [2.0, np.nan]])
    level = smooth_level(series, days, 0.0)
    np.testing.assert_allclose(level[:, 0], [1, 4, 5, 2], atol=1e-5)
    np.testing.assert_allclose(level[:, 1], 2, atol=1e-5)
    np.testing.assert_allclose(between(level, days, np.array([2.0, 7.0, 99.0]))[:, 0],
                               [3, 3.5, 2], atol=1e-5)  # fmt: skip


def test_the_level_is_the_penalised_least_squares_fit():
    rng = np.random.default_rng(0)
    days, series = np.cumsum(rng.uniform(1, 9, 12)), rng.standard_normal((12, 1))
    steps = np.diff(np.eye(12), axis=0)
    penalty = steps.T @ np.diag(1 / np.diff(days)) @ steps
    want = np.linalg.solve(np.eye(12) / 6.0 + penalty, series / 6.0)
    np.testing.assert_allclose(smooth_level(series, days, 6.0), want, rtol=1e-9)


def test_a_series_without_a_value_stays_missing():
    assert np.isnan(smooth_level(np.full((3, 1), np.nan), np.arange(3.0), 2.0)).all()


def test_a_series_ends_with_its_own_values():
    series = np.array([[np.nan], [1.0], [2.0], [np.nan]])
    out = unreached(series, np.arange(4.0), np.array([0.4, 0.6, 2.4, 2.6]), 0.5)
    assert out[:, 0].tolist() == [True, False, False, True]


def test_the_noise_of_images_is_found_beside_their_drift():
    rng = np.random.default_rng(1)
    days = np.arange(60.0)
    drift = np.cumsum(rng.normal(0, 0.1, (60, 400)), axis=0)
    noisy = drift + rng.normal(0, 0.3, drift.shape)
    assert image_noise(noisy, days) == pytest.approx(9.0, rel=0.15)
    assert image_noise(drift, days) < 0.2


def test_a_season_without_noise_is_not_smoothed():
    days = np.arange(0.0, 365.0, 16.0)
    assert image_noise(np.sin(days / 58)[:, None] * np.ones(4), days) == 0.0
    assert image_noise(np.random.default_rng(0).random((5, 9)), np.arange(5.0)) == 0.0


# --- belief ---


def test_coarse_images_that_are_right_are_believed():
    fine = land(DAYS)
    *_, state = predict(fine, blocks(land(COARSE_DAYS)), [88.0])
    assert state.bands[0].place > 0.9
    assert state.bands[0].mean > 0.9


def test_coarse_images_that_tell_nothing_leave_interpolation_in_time():
    """What is left of belief in them costs a fiftieth of the error of the linear way at most."""
    fine, truth = land(DAYS), land([88.0])
    rng = np.random.default_rng(3)
    noise = 0.1 * rng.standard_normal(blocks(land(COARSE_DAYS)).shape)
    noise += 0.1 * rng.standard_normal((len(noise), 1, 1, 1))
    useless = (0.3 + noise).astype(np.float32)
    out, _, state = predict(fine, useless, [88.0])
    linear = (fine[2] + fine[3]) / 2
    assert state.bands[0].place < 0.1
    assert state.bands[0].mean < 0.5
    assert rmse(out[0], truth[0]) < 1.02 * rmse(linear, truth[0])


def test_one_fine_image_is_no_evidence_and_the_coarse_change_is_believed():
    fine, coarse = land(DAYS[:1]), blocks(land(COARSE_DAYS))
    out, std, state = predict(fine, coarse, [40.0], days=DAYS[:1], std=True)
    assert state.bands[0][3:5] == (1.0, 1.0)
    assert rmse(out[0], land([40.0])[0]) < 0.8 * rmse(fine[0], land([40.0])[0])
    assert (std > 0).all()


def test_a_choice_needs_evidence():
    """Of pure chance the usual choice is kept; of much evidence another one is taken."""
    rng = np.random.default_rng(0)
    days = np.arange(0.0, 160.0, 16.0)
    level = np.cumsum(rng.normal(0, 0.02 * 16**0.5, (10, 900)), axis=0)
    flat = np.zeros_like(level)
    for noise, chosen in ((15.0, 15.0), (1.0, 1.0), (90.0, 45.0)):
        seen = level + rng.normal(0, 0.02 * noise**0.5, level.shape)
        band = ev.Sampled(seen, flat, days, np.zeros((10, 10)), 1e-4)
        found = ev.settle_band(band)
        assert found.noise == chosen
        if noise == chosen:
            assert found.drift == pytest.approx(4e-4, rel=0.1)


def test_a_left_out_date_of_a_long_series_is_made_of_its_neighbours():
    rng = np.random.default_rng(0)
    days = np.arange(0.0, 40 * 8.0, 8.0)
    fine = np.cumsum(rng.normal(0, 0.05, (40, 60)), axis=0)
    far = fine.copy()
    far[30:] += 5.0
    rule = ev.Band(15.0, 0.0, np.zeros((40, 40)), np.zeros((40, 40)), 1e-3)
    near, other = (
        ev.leave_out(ev.Sampled(f, np.zeros_like(f), days, np.zeros((40, 40)), 1e-3), rule)
        for f in (fine, far)
    )
    np.testing.assert_array_equal(near.fine[:18], other.fine[:18])
    assert (near.fine[19] != other.fine[19]).all()


# --- more dates ---


def test_more_dates_are_better_than_two():
    fine, coarse, truth = land(DAYS), blocks(land(COARSE_DAYS)), land([88.0])
    every, *_ = predict(fine, coarse, [88.0])
    two, *_ = predict(fine[[2, 3]], coarse, [88.0], days=DAYS[[2, 3]])
    linear = (fine[2] + fine[3]) / 2
    assert rmse(every[0], truth[0]) < 0.9 * rmse(two[0], truth[0])
    assert rmse(every[0], truth[0]) < 0.5 * rmse(linear, truth[0])


def test_clouds_in_the_nearest_dates_leave_the_others():
    fine, coarse, truth = land(DAYS), blocks(land(COARSE_DAYS)), land([88.0])
    clear, *_ = predict(fine, coarse, [88.0])
    cloudy = fine.copy()
    cloudy[2, :, :30] = np.nan
    cloudy[3, :, 20:40] = np.nan
    out, *_ = predict(cloudy, coarse, [88.0])
    assert not np.isnan(out).any()
    assert rmse(out[0, :, 44:], truth[0, :, 44:]) < 1.1 * rmse(clear[0, :, 44:], truth[0, :, 44:])
    line = (fine[1] + fine[4]) / 2
    assert rmse(out[0, :, 20:30], truth[0, :, 20:30]) < 0.3 * rmse(
        line[:, 20:30], truth[0, :, 20:30]
    )


def test_coarse_clouds_are_bridged_in_time():
    fine, coarse = land(DAYS), blocks(land(COARSE_DAYS))
    clear, *_ = predict(fine, coarse, [88.0])
    coarse[np.random.default_rng(2).random(coarse.shape) < 0.3] = np.nan
    out, *_ = predict(fine, coarse, [88.0])
    assert not np.isnan(out).any()
    assert rmse(out, clear) < 0.01


def test_many_targets_give_what_each_gives():
    fine, coarse = land(DAYS), blocks(land(COARSE_DAYS))
    fine[3, :, 10:30, 10:30] = np.nan
    days = np.arange(10.0, 200.0, 19.0)
    together, spread, _ = predict(fine, coarse, days, std=True)
    for number, day in enumerate(days):
        alone, own, _ = predict(fine, coarse, [day], std=True)
        np.testing.assert_allclose(alone[0], together[number], rtol=1e-6)
        np.testing.assert_allclose(own[0], spread[number], rtol=1e-5)


def test_engines_agree_over_gaps_and_beyond_the_ends():
    rng = np.random.default_rng(5)
    fine, coarse = land(DAYS), blocks(land(COARSE_DAYS))
    fine[rng.random(fine.shape) < 0.4] = np.nan
    fine[:, :, :3, :3] = np.nan
    days = [1.0, 8.0, 20.0, 88.0, 200.0, 206.0]
    fast = predict(fine, coarse, days, std=True)
    slow = predict(fine, coarse, days, std=True, engine="numpy")
    for have, want in zip(fast[:2], slow[:2], strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-6)


def test_the_standard_deviation_covers_the_errors_and_tells_where_they_are():
    """Pixels drift from their coarse series, some fast and some slowly, as the model has it."""
    rng = np.random.default_rng(4)
    days = np.arange(0.0, 210.0, 4.0)
    speed = 0.006 * np.exp(0.7 * rng.standard_normal((64, 72)))
    drift = np.cumsum(2 * speed * rng.standard_normal((len(days), 1, 64, 72)), axis=0)
    truth = land(days) + drift.astype(np.float32)
    seen, wanted = slice(2, None, 8), np.flatnonzero(np.arange(len(days)) % 8 == 5)
    fine = truth[seen] + 0.005 * rng.standard_normal(truth[seen].shape).astype(np.float32)
    coarse = blocks(land(COARSE_DAYS))
    out, std, _ = predict(fine, coarse, days[wanted], days=days[seen], std=True)
    wrong = np.abs(out - truth[wanted])
    assert 0.85 < (wrong < 1.645 * std).mean() < 0.95
    for one, spread in zip(wrong, std, strict=True):
        assert spearmanr(one.ravel(), spread.ravel())[0] > 0.25
    # Beyond the last fine date it grows.
    _, late, _ = predict(fine, coarse, [206.0, 212.0], days=days[seen], std=True)
    assert late[1].mean() > late[0].mean()


# --- real ---


@pytest.mark.slow
def test_ndvi_composites_of_hubei_are_better_fused_from_all_dates(real_data):
    """Two pairs of the best other method, with composites at mid-period: .029 .037 .063 .063."""
    fine, coarse = (
        xstf.files.open_cube(real_data / "fusion" / f"ndvi_hubei_{side}.nc")
        for side in ("fine", "coarse")
    )
    quality = xstf.files.open_cube(real_data / "fusion" / "ndvi_hubei_cfmask.nc")
    fine = fine.where((quality == 0) | (quality == 1) & (quality.time.dt.dayofyear == 287))
    best = {216: 0.0290, 248: 0.0369, 287: 0.0630, 344: 0.0630}
    ratios = []
    for day, other in best.items():
        own = fine.time.dt.dayofyear == day
        date = fine.time[own].values[0]
        out = xstf.fuse(fine[~own], coarse, method="series", time=date, composite="16D")
        ratios.append(rmse(out.values, fine[own].values) / other)
        assert ratios[-1] < 1.01
    assert np.mean(ratios) < 0.93
