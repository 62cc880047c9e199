"""Tests of regression on a date's own clear pixels."""

import pickle

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill.regression import METHOD, Params
from xstf.methods.gapfill.regression.local_ridge import RING, rings
from xstf.methods.gapfill.regression.predictors import correlation, nearest_dates
from xstf.numerics.window_mean import window_mean

pytestmark = pytest.mark.slow  # its loops compile for long

PARAMS = Params(dates=2, reach=6)


def blurred(noise, sides=(5, 3)):
    """Return smooth unit fields from white noise ``(..., y, x)``."""
    for side in sides:
        noise = window_mean(noise.astype(np.float32), side)
    return noise / noise.std(axis=(-2, -1), keepdims=True)


def make(seed=0, dates=9, bands=2, height=26, width=30, hidden=0.4):
    """Return a cube of parcels that each go their own way, the truth, a guide and times."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(5, 20, dates)).astype(float)
    # Two hidden maps; what a date makes of them is its own: no curve in time tells.
    maps = np.round(blurred(random.normal(size=(2, height, width))) * 2) / 2
    mix = random.normal(0, 0.1, (dates, bands, 2)) + 0.15 * np.eye(2)[:bands]
    truth = 0.4 + np.einsum("tbk,kyx->tbyx", mix, maps)
    truth = (truth + random.normal(0, 0.005, truth.shape)).astype(np.float32)
    cloud = blurred(random.normal(size=(dates, height, width)), (9, 7))
    missing = cloud < np.quantile(cloud, hidden, axis=(1, 2), keepdims=True)
    missing[1::5] = False
    guide = np.einsum("tbk,kyx->tbyx", mix, maps) + random.normal(0, 0.02, truth.shape)
    cube = np.where(missing[:, None], np.nan, truth).astype(np.float32)
    return cube, truth, guide.astype(np.float32), times - times[0]


def settled(cube, guide, times, params=PARAMS):
    """Return the state of a scene that is one window."""
    samples = GapfillSamples(cube[None], None if guide is None else guide[None])
    return METHOD.settle(samples, times=times, params=params)


def run(cube, guide, times, *, params=PARAMS, state=None, inner=None, engine="numba"):
    """Run a kernel on a scene, settling it first unless given its state."""
    state = settled(cube, guide, times, params) if state is None else state
    inner = inner or (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    kernel = METHOD.kernels[engine]
    return kernel(cube, guide, times=times, params=params, state=state, inner=inner, std=True)


def error(estimate, truth, where):
    """Return the root mean square error."""
    return float(np.sqrt(np.mean((estimate - truth)[where].astype(np.float64) ** 2)))


def same(one, two, scale=1.0):
    """Hold two results of a kernel against each other."""
    for a, b in zip(one[:2], two[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale)
    np.testing.assert_array_equal(one[2], two[2])


@pytest.mark.parametrize("guided", [False, True])
def test_engines_agree(guided):
    cube, _, guide, times = make(height=16, width=18)
    cube[3] = np.nan
    cube[:, :, 2, 3] = np.nan
    cube[4, 1, 5, 5] = np.nan
    guide[2, :, :4] = np.nan
    guide = guide if guided else None
    state = settled(cube, guide, times)
    same(*(run(cube, guide, times, state=state, engine=e) for e in ("numba", "numpy")))


def test_what_only_the_date_knows_is_found():
    cube, truth, _, times = make()
    estimate, _, space = run(cube, None, times)
    gaps = np.isnan(cube)
    assert space[gaps].mean() > 0.95
    flat = np.where(gaps, np.nan, cube)
    mean = np.broadcast_to(np.nanmean(flat, axis=(2, 3), keepdims=True), cube.shape)
    assert error(estimate, truth, gaps) < 0.25 * error(mean, truth, gaps)


def test_pixels_whose_neighbouring_dates_are_hidden_too_follow_from_dates_they_have():
    cube, truth, _, times = make(hidden=0.0)
    gap = np.zeros(cube.shape[2:], bool)
    gap[8:18, 8:20] = True
    cube[3:6, :, gap] = np.nan
    estimate, _, _ = run(cube, None, times)
    cells = np.isnan(cube)
    assert error(estimate, truth, cells) < 0.03
    state = settled(cube, None, times)
    used = state.models.pattern[state.models.first[4] : state.models.first[5]]
    assert any(set(p[p >= 0]) and not set(p[p >= 0]) & {3, 4, 5} for p in used)


def test_a_hazy_date_is_passed_over():
    cube, truth, _, times = make(hidden=0.3)
    noisy = cube.copy()
    rng = np.random.default_rng(5)
    noisy[1] += rng.normal(0, 0.5, cube[1].shape).astype(np.float32)
    gaps = np.isnan(cube)
    gaps[1] = False
    clean, hazy = (error(run(c, None, times)[0], truth, gaps) for c in (cube, noisy))
    assert hazy < 2 * clean + 0.01


def test_a_guide_fills_where_the_past_is_silent():
    cube, truth, guide, times = make(dates=1, bands=2, hidden=0.0)
    cube[0, :, 5:20, 5:20] = np.nan
    gap = np.isnan(cube)
    with_guide, alone = (run(cube, g, times)[0] for g in (guide, None))
    assert np.isfinite(with_guide).all()
    assert error(with_guide, truth, gap) < 0.5 * np.nanstd(cube)
    known = np.isfinite(alone) & gap
    assert known.any()
    assert error(with_guide, truth, known) < error(alone, truth, known)


def test_without_its_guide_a_pixel_is_filled_by_a_model_that_needs_none():
    cube, _, guide, times = make()
    guide[4, 0, 10] = np.nan
    assert np.isfinite(run(cube, guide, times)[0]).all()


def test_the_interval_covers_what_it_says():
    cube, truth, _, times = make(seed=3, height=40, width=40)
    estimate, std, _ = run(cube, None, times)
    gaps = np.isnan(cube)
    inside = np.abs(estimate - truth)[gaps] <= 1.6449 * std[gaps]
    assert 0.8 < inside.mean() < 0.98


def test_std_grows_with_the_distance_to_clear_pixels():
    random = np.random.default_rng(1)
    cube, _, _, times = make(hidden=0.0, height=40, width=40)
    # Drifts that no other date shares.
    drift = blurred(random.normal(size=(len(times), 1, 40, 40)), (9, 9))
    cube += 0.1 * drift.astype(np.float32)
    cube[4, :, 12:28, 12:28] = np.nan
    _, std, _ = run(cube, None, times, params=Params(dates=2, reach=12))
    assert (std[4, :, 20, 20] > 1.2 * std[4, :, 12, 12]).all()


def test_a_date_with_nothing_clear_is_filled_from_time_alone():
    cube, _, _, times = make()
    cube[3] = np.nan
    estimate, std, space = run(cube, None, times)
    assert np.isfinite(estimate[3]).all()
    assert (std[3] > 0).all()
    assert not space[3].any()


def test_a_date_clear_only_here_is_filled_from_time_and_neighbours():
    cube, truth, _, times = make()
    empty = cube.copy()
    empty[3] = np.nan
    state = settled(empty, None, times)
    cube[3] = truth[3] + np.float32(0.5)
    cube[3, :, 10:12, 10:12] = np.nan
    estimate, _, space = run(cube, None, times, state=state)
    assert space[3, :, 10:12, 10:12].all()
    blind = run(empty, None, times, state=state)[0][3, :, 10, 10]
    target = truth[3, :, 10, 10] + 0.5
    assert (np.abs(estimate[3, :, 10, 10] - target) < np.abs(blind - target)).all()


def test_tiles_are_the_whole():
    cube, _, guide, times = make(height=40, width=44)
    state = settled(cube, guide, times)
    whole = run(cube, guide, times, state=state)
    halo = METHOD.halo(PARAMS, 1)
    for y, x in ((0, 0), (13, 20), (20, 24)):
        top, left = max(y - halo, 0), max(x - halo, 0)
        part = (..., slice(top, y + 20 + halo), slice(left, x + 20 + halo))
        inner = (slice(y - top, y - top + 20), slice(x - left, x - left + 20))
        tile = run(
            np.ascontiguousarray(cube[part]), np.ascontiguousarray(guide[part]), times,
            state=state, inner=inner,
        )  # fmt: skip
        same(tile, [w[..., y : y + 20, x : x + 20] for w in whole])


def test_the_halo_is_honest():
    cube, _, guide, times = make(height=30, width=30)
    state = settled(cube, guide, times)
    before = run(cube, guide, times, state=state)[0]
    poked, moved = cube.copy(), guide.copy()
    poked[:, :, 15, 15] = 9
    moved[:, :, 15, 15] = 9
    after = run(poked, moved, times, state=state)[0]
    assert np.isfinite(before).all()
    changed = after != before
    rows, cols = np.nonzero(changed.any(axis=(0, 1)))
    halo = METHOD.halo(PARAMS, 1)
    assert len(rows)
    assert max(np.abs(rows - 15).max(), np.abs(cols - 15).max()) <= halo


def test_scale_and_offset_carry_over():
    cube, _, _, times = make()
    estimate, std, _ = run(cube, None, times)
    big, wide, _ = run(cube * np.float32(1e4), None, times)
    np.testing.assert_allclose(big, estimate * 1e4, rtol=1e-3, atol=5)
    np.testing.assert_allclose(wide, std * 1e4, rtol=2e-2, atol=5)
    up, _, space = run(cube + np.float32(1), None, times)
    np.testing.assert_allclose(up[space] - 1, estimate[space], atol=1e-4)


@pytest.mark.parametrize("turn", ["flip y", "flip x", "transpose"])
def test_symmetries_carry_over(turn):
    how = {
        "flip y": lambda a: a[..., ::-1, :],
        "flip x": lambda a: a[..., ::-1],
        "transpose": lambda a: np.swapaxes(a, -1, -2),
    }[turn]
    cube, _, _, times = make(height=48, width=48, dates=6, bands=1)
    turned = run(np.ascontiguousarray(how(cube)), None, times)[0]
    np.testing.assert_allclose(turned, how(run(cube, None, times)[0]), rtol=1e-3, atol=1e-4)


def test_a_constant_cube_stays_constant():
    cube, _, _, times = make()
    cube = np.where(np.isnan(cube), np.nan, np.float32(0.3)).astype(np.float32)
    estimate, std, _ = run(cube, None, times)
    assert not np.isnan(std[np.isnan(cube)]).any()
    np.testing.assert_allclose(estimate, 0.3, rtol=1e-6)
    np.testing.assert_allclose(std[~np.isnan(std)], 0, atol=1e-6)


def test_nothing_known_gives_nothing_and_no_warning():
    cube, _, guide, times = make()
    for g in (None, guide):
        estimate, std, space = run(np.full_like(cube, np.nan), g, times)
        assert np.isnan(estimate).all()
        assert np.isnan(std).all()
        assert not space.any()


def test_inputs_stay_as_they_are_and_state_travels():
    cube, _, guide, times = make()
    cube.setflags(write=False)
    guide.setflags(write=False)
    state = settled(cube, guide, times)
    again = pickle.loads(pickle.dumps(state))
    same(*(run(cube, guide, times, state=s) for s in (state, again)))


def test_rings_have_all_symmetries_and_hold_each_offset_once():
    table = rings(24)
    used = [tuple(o) for ring in table for o in ring if o.any()]
    assert len(used) == len(set(used))
    assert max(y * y + x * x for y, x in used) <= 24**2
    for ring in table:
        members = {tuple(o) for o in ring if o.any()}
        assert len(members) <= RING
        assert members == {(x, y) for y, x in members} == {(-y, x) for y, x in members}


def test_nearest_dates_are_those_clear_before_and_after():
    clear = np.array([[1, 0, 1, 1, 0, 1]], bool).T
    near = nearest_dates(clear, 2)[:, :, 0]
    assert near[3].tolist() == [2, 0, 5, -1]
    assert near[0].tolist() == [-1, -1, 2, 3]


def test_correlation_tells_drift_from_noise():
    random = np.random.default_rng(0)
    noise = random.normal(size=(20, 1, 1, 40, 40))
    assert correlation(noise)[:, 0].sum() < 0.1
    assert correlation(blurred(noise, (9, 9)))[:, 0].sum() > 0.8


def test_the_guide_is_averaged_over_what_is_there():
    guide = np.zeros((1, 1, 3, 3), np.float32)
    guide[..., 0, 0] = np.nan
    guide[..., 1, 1] = 8
    smoothed = window_mean(guide, 3)[0, 0]
    assert np.isnan(smoothed[0, 0])
    assert smoothed[1, 1] == 1
    np.testing.assert_array_equal(window_mean(guide, 1), guide)


@pytest.mark.parametrize(("name", "value"), [("dates", 0), ("reach", 1.5), ("speckle", 2)])
def test_params_refuse_what_has_no_meaning(name, value):
    with pytest.raises(ValueError, match=name):
        Params(**{name: value})
