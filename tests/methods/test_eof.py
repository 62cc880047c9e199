"""EOF filling at the level of its kernels: definition, missing values, parameters, laws."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill.eof import METHOD, Params, _hide, _pick, _standards
from xstf.methods.gapfill.eof import modes as _modes

pytestmark = pytest.mark.slow  # its loops compile for long

ENGINES = ["numba", "numpy"]
SMALL = Params(max_rank=4, rounds=12)


def series(dates=24, bands=2, size=(18, 22), modes=2, noise=0.01, cover=0.4, seed=0, years=2):
    """Return (holed cube, times, truth): smooth seasons of low rank, noise, clouds by date."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(int(365 * years), dates, replace=False)).astype(float)
    times -= times[0]
    angle = 2 * np.pi * times / 365.25
    waves = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle)])[:modes]
    mix = rng.normal(size=(modes, bands))
    y, x = np.mgrid[: size[0], : size[1]]
    fields = [np.sin(x / 4 + k) * np.cos(y / (3 + k)) + x * y / 300 for k in range(modes)]
    truth = 0.4 + 0.1 * np.einsum("mt,mb,myx->tbyx", waves, mix, np.stack(fields))
    truth = truth + 0.05 * np.sin(angle)[:, None, None, None]
    truth = (truth + noise * rng.normal(size=truth.shape)).astype(np.float32)
    phase = rng.uniform(0, 6, (dates, 2, 1, 1))
    clouds = np.sin(x / 5 + phase[:, 0]) + np.cos(y / 4 + phase[:, 1])
    limit = np.quantile(clouds, cover, axis=(1, 2), keepdims=True)
    cube = np.where((clouds < limit)[:, None], np.nan, truth).astype(np.float32)
    return cube, times, truth


def settled(cube, times, params=SMALL):
    return METHOD.settle(GapfillSamples(cube[None]), times=times, params=params)


def fill(cube, times, params=SMALL, engine="numba", state=None, inner=None, std=True):
    """Settle on the whole cube and run one kernel."""
    state = settled(cube, times, params) if state is None else state
    inner = inner or tuple(slice(0, n) for n in cube.shape[2:])
    run = METHOD.kernels[engine]
    return run(cube, None, times=times, params=params, state=state, inner=inner, std=std)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


# ------------------------------------------------------------------ the definition


def test_a_pixel_is_the_posterior_mean_of_the_scenes_factor_model_with_student_weights():
    cube, times, _ = series()
    cube[5, :, 7, 11] += 0.2  # an outlier, which the weights are for
    state = settled(cube, times)
    estimate, std, _ = fill(cube, times, state=state)
    mean, gain = state.mean.ravel(), np.tile(state.gain, len(times))
    modes = state.modes.reshape(mean.size, -1)
    for y, x in [(0, 0), (7, 11), (17, 21)]:
        z = cube[:, :, y, x].astype(float)
        dates = np.flatnonzero(np.isfinite(z).all(axis=1))
        seen, weights = np.isfinite(z.ravel()), np.ones(len(times))
        for passing in range(_modes.PASSES + 1):
            # by the joint Gaussian of all values, conditioned on the seen ones
            noise = np.zeros((mean.size, mean.size))
            for t, own in enumerate(state.noise):
                noise[2 * t : 2 * t + 2, 2 * t : 2 * t + 2] = own / weights[t]
            whole = modes @ modes.T + noise
            pull = whole[np.ix_(seen, seen)]
            pull = (modes @ modes.T)[:, seen] @ np.linalg.inv(pull)
            fit = mean + pull @ (z.ravel() - mean)[seen]
            if passing < _modes.PASSES:
                for t in dates:
                    rest = z[t] - fit[2 * t : 2 * t + 2]
                    distance = rest @ np.linalg.solve(state.noise[t], rest)
                    weights[t] = (_modes.FREEDOM + 2) / (_modes.FREEDOM + distance)
        left = np.diag(whole) - np.sum(pull * (modes @ modes.T)[:, seen], axis=1)
        left = np.sqrt(left * gain + state.rest.ravel())
        np.testing.assert_allclose(estimate[:, :, y, x].ravel(), fit, rtol=1e-5)
        np.testing.assert_allclose(std[:, :, y, x].ravel()[~seen], left[~seen], rtol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_band_gets_what_its_dates_other_band_leaves(engine):
    cube, times, _ = series()
    state = settled(cube, times)
    date = 6
    own = np.array([[4.0, 3.0], [3.0, 4.0]]) * 1e-4
    state.noise[date] = own
    cube[date, :, 2, 3] = [np.nan, state.mean[date, 1] + 0.03]
    cube[:date, :, 2, 3] = np.nan  # nothing else but this value
    cube[date + 1 :, :, 2, 3] = np.nan
    state = dataclasses.replace(state, modes=state.modes * 0)
    estimate, std, _ = fill(cube, times, state=state, engine=engine)
    assert estimate[date, 0, 2, 3] == pytest.approx(state.mean[date, 0] + 0.75 * 0.03, rel=1e-5)
    expected = (4 - 9 / 4) * 1e-4 * state.gain[0] + state.rest[date, 0]
    assert std[date, 0, 2, 3] == pytest.approx(np.sqrt(expected), rel=1e-5)


def test_engines_agree():
    cube, times, _ = series()
    cube[3, 1, 2:9] = np.nan  # a band of its own pattern
    state = settled(cube, times)
    fast, slow = (fill(cube, times, engine=e, state=state) for e in ENGINES)
    np.testing.assert_allclose(fast[0], slow[0], rtol=1e-4, atol=1e-6)
    holes = np.isnan(cube)
    np.testing.assert_allclose(fast[1][holes], slow[1][holes], rtol=1e-4)
    assert fast[2] is None
    assert fill(cube, times, state=state, std=False)[1] is None


def test_with_equal_weights_the_likelihood_never_falls_from_round_to_round(monkeypatch):
    # without the leaning on other dates, which is no part of it: every date is well seen
    monkeypatch.setattr(_modes, "FREEDOM", 1e12)
    cube, times, _ = series(dates=12, size=(16, 16), cover=0.2)
    values = _pick(cube[None])[0]
    values = (values - values[np.isfinite(values)].mean()) / np.nanstd(values)

    def likelihood(model):
        total = 0.0
        rows = model.rows.reshape(-1, model.rows.shape[2])
        whole = rows[:, 1:] @ rows[:, 1:].T
        for t, own in enumerate(_modes.variance(model)):
            whole[2 * t : 2 * t + 2, 2 * t : 2 * t + 2] += own
        for pixel in values.reshape(len(values), -1):
            seen = np.isfinite(pixel)
            covariance, rest = whole[np.ix_(seen, seen)], (pixel - rows[:, 0])[seen]
            total -= np.linalg.slogdet(covariance)[1] + rest @ np.linalg.solve(covariance, rest)
        return total / len(values)

    seen = _modes.Seen.of(values)
    model = _modes.grow(seen, _modes.start(seen, times), 2)
    found = []
    for _ in range(6):
        found.append(likelihood(model))
        model, _ = _modes.refine(seen, times, model, rounds=1, tolerance=1e-12)
    assert all(b > a - 0.02 for a, b in zip(found, found[1:], strict=False)), found
    assert found[-1] > found[0] + 0.5


# ------------------------------------------------------------------ what it promises


def test_holes_are_filled_to_the_noise():
    cube, times, truth = series()
    estimate, _, _ = fill(cube, times)
    holes = np.isnan(cube)
    assert rms((estimate - truth)[holes]) < 1.2 * 0.01
    assert rms((estimate - truth)[~holes]) < 0.01  # the smooth takes a part of the noise away


def hazy(seed=0, dates=(3, 9, 15, 20), share=0.2):
    """Return a cube on some of whose dates a part of what is clear, at one side, is hazy."""
    cube, times, truth = series(bands=3, seed=seed, size=(30, 30), cover=0.5)
    rng = np.random.default_rng(seed + 100)
    haze = np.zeros(cube.shape, dtype=bool)
    y, x = np.mgrid[:30, :30]
    for date in dates:
        clear = np.isfinite(cube[date, 0])
        angle = rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        haze[date] = clear & (along < np.quantile(along[clear], share))
    strength = rng.uniform(0.1, 0.3, (24, 1, 30, 30)) * np.array([1, 0.9, 0.7])[:, None, None]
    return np.where(haze, cube + strength, cube).astype(np.float32), times, truth, haze


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_haze_in_a_fifth_of_a_dates_clear_pixels_does_not_rule_the_others(seed):
    cube, times, truth, haze = hazy(seed)
    estimate, std, _ = fill(cube, times)
    error = np.abs(estimate - truth)
    gaps = np.isnan(cube)
    partly = gaps & haze.any(axis=(1, 2, 3))[:, None, None, None]
    assert rms(error[partly]) < 1.3 * 0.01
    assert rms(error[gaps & ~partly]) < 1.2 * 0.01
    assert rms(error[haze]) < 0.05  # where its pixels alone are 0.1 to 0.3 off
    assert (error <= 1.645 * std)[partly].mean() > 0.85


def test_what_one_date_has_by_itself_is_noise_and_no_mode():
    cube, times, truth = series(modes=1, bands=3, noise=0.005)
    rng = np.random.default_rng(4)
    patch = 0.1 * rng.normal(size=(1, *cube.shape[2:])).astype(np.float32)
    cube[10] += patch  # all bands alike, as a mode of the highest variance would be
    state = settled(cube, times, Params(rank=1))
    alone = np.abs(state.modes[10]).mean() / np.abs(state.modes).mean()
    assert alone < 3
    own = state.noise[10]
    assert own[0, 1] / np.sqrt(own[0, 0] * own[1, 1]) > 0.9
    holes = np.isnan(cube)
    holes[10] = False
    assert rms((fill(cube, times, Params(rank=1), state=state)[0] - truth)[holes]) < 0.007


def test_one_outlying_observation_bends_its_pixel_less_the_farther_it_is():
    cube, times, _ = series()
    state = settled(cube, times)
    clean = fill(cube, times, state=state)[0][:, :, 7, 11]
    date = np.flatnonzero(np.isfinite(cube[:, 0, 7, 11]))[4]
    bent = []
    for jump in (0.05, 0.2, 0.8):
        poked = cube.copy()
        poked[date, :, 7, 11] += np.float32(jump)
        bent.append(rms(fill(poked, times, state=state)[0][:, :, 7, 11] - clean))
    assert max(bent) < 0.01
    assert bent[2] < bent[1]


def test_the_rank_is_found_and_a_given_one_is_kept():
    cube, times, _ = series(modes=3, bands=3)
    assert settled(cube, times).rank in (3, 4)  # one too many costs nothing
    assert settled(cube, times, Params(rank=2)).rank == 2
    assert settled(cube, times, Params(rank=2)).modes.shape == (24, 3, 2)
    assert settled(cube, times, Params(max_rank=1)).rank == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nine_of_ten_hidden_values_lie_in_the_90_percent_interval(seed):
    cube, times, truth = series(seed=seed)
    estimate, std, _ = fill(cube, times)
    holes = np.isnan(cube)
    assert 0.85 < (np.abs(estimate - truth) <= 1.645 * std)[holes].mean() < 0.95


def test_the_interval_widens_where_less_was_seen():
    cube, times, _ = series()
    poor = cube.copy()
    poor[4:, :, 5, 5] = np.nan
    state = settled(cube, times)
    holes = np.isnan(cube[:, :, 5, 5])
    rich, less = (fill(c, times, state=state)[1][:, :, 5, 5][holes] for c in (cube, poor))
    assert (less > rich).all()


def test_dates_that_are_missing_everywhere_follow_their_neighbours_and_say_so():
    cube, times, truth = series(dates=40)
    jumps = 0.04 * np.random.default_rng(5).normal(size=(40, 2, 1, 1)).astype(np.float32)
    cube, truth = cube + jumps, truth + jumps  # the air of each date: none can tell another's
    gone = cube.copy()
    gone[[4, 11, 18, 19, 20, 30, 39]] = np.nan
    estimate, std, _ = fill(gone, times)
    away = np.isnan(gone).all(axis=(1, 2, 3))
    error = np.abs(estimate - truth)
    assert np.isfinite(estimate).all()
    assert rms(error[away]) < 1.5 * 0.04
    assert rms(error[~away]) < 0.015
    assert 0.7 * rms(error[away]) < rms(std[away]) < 1.5 * rms(error[away])


def test_the_annual_wave_fills_a_season_that_another_year_has_seen():
    cube, times, truth = series(dates=60, years=3, modes=1, cover=0.2)
    away = (times > 400) & (times < 520)
    gone = np.where(away[:, None, None, None], np.nan, cube).astype(np.float32)
    estimate = fill(gone, times)[0]
    straight = np.empty_like(truth[away])
    for k, day in enumerate(times[away]):
        before, after = np.flatnonzero(times <= 400)[-1], np.flatnonzero(times >= 520)[0]
        share = (day - times[before]) / (times[after] - times[before])
        straight[k] = (1 - share) * truth[before] + share * truth[after]
    assert rms(estimate[away] - truth[away]) < 0.5 * rms(straight - truth[away])


def test_ends_hold_and_do_not_run_away_in_a_short_series():
    cube, times, truth = series(dates=20, years=0.5)
    cube[-4:] = np.nan
    estimate = fill(cube, times)[0]
    low, high = np.nanmin(truth[:-4]), np.nanmax(truth[:-4])
    room = 0.2 * (high - low)
    assert (estimate[-4:] > low - room).all()
    assert (estimate[-4:] < high + room).all()


def test_many_columns_take_the_randomised_way_and_give_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 300))
    flat = (flat + 0.01 * rng.normal(size=flat.shape)).reshape(300, 100, 3)
    exact = _modes._shared(flat, 4).reshape(300, 4)
    monkeypatch.setattr(_modes, "DENSE", 299)
    fast = _modes._shared(flat, 4).reshape(300, 4)
    np.testing.assert_allclose(fast @ fast.T, exact @ exact.T, atol=0.02)


def test_windows_are_sampled_the_same_when_flipped():
    values = np.arange(2 * 130 * 90, dtype=float).reshape(2, 1, 1, 130, 90)
    picked, middle = _pick(values)
    assert 1500 < len(picked) < 2250
    flipped, same = _pick(values[..., ::-1, ::-1])
    assert set(picked.ravel()) == set(flipped.ravel())
    assert set(picked[middle].ravel()) == set(flipped[same].ravel())
    assert 0.4 < middle.mean() < 0.6


def test_hidden_values_have_the_shape_of_another_dates_gap():
    cube, _, _ = series()
    values, middle = _pick(cube[None])
    hidden = _hide(values, middle, np.arange(24.0))
    missing = np.isnan(values[..., 0])
    for date in np.flatnonzero(hidden.any(axis=(0, 2))):
        donors = [
            d
            for d in range(24)
            if (hidden[:, date, 0] == (missing[:, d] & ~missing[:, date])).all()
        ]
        assert donors
    assert (hidden & np.isnan(values)).sum() == 0
    full = np.nan_to_num(values)
    assert (_hide(full, middle, np.arange(24.0)).any(axis=(1, 2)) == middle).all()


# ------------------------------------------------------------------ missing values


@pytest.mark.parametrize("engine", ENGINES)
def test_pixels_without_any_value_stay_missing(engine):
    cube, times, _ = series()
    cube[:, :, 4, 6] = np.nan
    estimate, std, _ = fill(cube, times, engine=engine)
    assert np.isnan(estimate[:, :, 4, 6]).all()
    assert np.isnan(std[:, :, 4, 6]).all()
    assert np.isnan(estimate).sum() == estimate[:, :, 4, 6].size


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cube_without_any_value_stays_missing(engine):
    cube, times, _ = series()
    estimate, std, _ = fill(cube * np.nan, times, engine=engine)
    assert np.isnan(estimate).all()
    assert np.isnan(std).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_band_that_is_never_seen_stays_missing_and_harms_no_other(engine):
    cube, times, truth = series()
    wider = np.concatenate([cube, np.full_like(cube[:, :1], np.nan)], axis=1)
    estimate, std, _ = fill(wider, times, engine=engine)
    assert np.isnan(estimate[:, 2]).all()
    assert np.isnan(std[:, 2]).all()
    assert rms((estimate[:, :2] - truth)[np.isnan(cube)]) < 0.012


def test_a_pixel_is_filled_from_its_other_bands():
    cube, times, truth = series(bands=3)
    cube[:, 1, 3, 3] = np.nan
    estimate = fill(cube, times)[0]
    assert rms(estimate[:, 1, 3, 3] - truth[:, 1, 3, 3]) < 0.03


@pytest.mark.parametrize("engine", ENGINES)
def test_a_constant_pixel_or_band_or_cube_is_that_constant(engine):
    cube, times, _ = series()
    cube[:, :, 2, 2] = np.where(np.isnan(cube[:, :, 2, 2]), np.nan, np.float32(0.7))
    flat = np.where(np.isnan(cube), np.nan, np.float32(0.3))
    assert (fill(cube, times, engine=engine)[0][:, :, 2, 2] == np.float32(0.7)).all()
    estimate, std, _ = fill(flat, times, engine=engine)
    assert (estimate == np.float32(0.3)).all()
    np.testing.assert_allclose(std[np.isnan(cube)], 0, atol=1e-6)
    cube[:, 1] = flat[:, 1]
    estimate, _, _ = fill(cube, times, engine=engine)
    np.testing.assert_allclose(estimate[:, 1], 0.3, rtol=1e-6)
    assert np.isfinite(estimate).all()


def test_three_dates_are_enough_and_few_pixels_too():
    cube, times, _ = series(dates=3, size=(6, 7), cover=0.2)
    assert np.isfinite(fill(cube, times)[0]).sum() > 0.9 * cube.size


@pytest.mark.parametrize("engine", ENGINES)
def test_one_pixel_alone_gets_its_own_mean_curve(engine):
    cube, times, truth = series(dates=40)
    lone = cube[..., 9:10, 9:10]
    estimate, std, _ = fill(lone, times, engine=engine)
    assert settled(lone, times).rank == 0
    assert rms((estimate - truth[..., 9:10, 9:10])[np.isnan(lone)]) < 0.05
    assert (std[np.isnan(lone)] > 0).all()


def test_an_absurd_value_spoils_its_own_pixel_alone():
    cube, times, truth = series()
    holes = np.isnan(cube)
    cube[:, :, 8, 8] = np.where(holes[:, :, 8, 8], np.nan, np.float32(1e17))
    estimate = fill(cube, times)[0]
    holes[:, :, 8, 8] = False
    assert rms((estimate - truth)[holes]) < 1.2 * 0.01


# ------------------------------------------------------------------ laws


def test_tiles_give_what_the_whole_gives_exactly():
    cube, times, _ = series()
    state = settled(cube, times)
    whole, doubt, _ = fill(cube, times, state=state)
    for rows, cols in [(slice(0, 7), slice(0, 22)), (slice(7, 18), slice(5, 9))]:
        tile = cube[:, :, rows, cols]
        estimate, std, _ = fill(tile, times, state=state)
        np.testing.assert_array_equal(estimate, whole[:, :, rows, cols])
        np.testing.assert_array_equal(std, doubt[:, :, rows, cols])
        estimate, _, _ = fill(cube, times, state=state, inner=(rows, cols))
        np.testing.assert_array_equal(estimate, whole[:, :, rows, cols])
    assert METHOD.halo(SMALL, 1) == 0


def test_rows_wider_than_a_block_are_the_same_pixel_by_pixel():
    cube, times, _ = series(size=(3, 150))
    state = settled(cube, times)
    whole = fill(cube, times, state=state)[0]
    for x in (0, 63, 64, 65, 149):
        alone = fill(cube[..., x : x + 1], times, state=state)[0]
        np.testing.assert_array_equal(alone[..., 0], whole[..., x])


def test_a_poked_pixel_changes_no_other():
    cube, times, _ = series()
    state = settled(cube, times)
    poked = cube.copy()
    poked[:, :, 5, 6] += 0.3
    change = fill(poked, times, state=state)[0] != fill(cube, times, state=state)[0]
    assert change[:, :, 5, 6].any()
    change[:, :, 5, 6] = False
    assert not change.any()


@pytest.mark.parametrize(("factor", "offset"), [(1e4, 0.0), (1.0, 3.0)])
def test_scale_and_offset_pass_through(factor, offset):
    cube, times, _ = series()
    estimate, std, _ = fill(cube, times)
    other, wide, _ = fill((cube * np.float32(factor) + np.float32(offset)), times)
    near = 2e-4 * factor * 0.1  # of the cube's spread; float32 has rounded the input
    np.testing.assert_allclose(other, estimate * factor + offset, atol=near)
    holes = np.isnan(cube)
    np.testing.assert_allclose(wide[holes], std[holes] * factor, rtol=5e-3)


@pytest.mark.parametrize(
    "turn",
    [
        lambda a: a[:, :, ::-1],
        lambda a: a[..., ::-1],
        lambda a: a.swapaxes(2, 3),
        lambda a: a[:, ::-1],
    ],
    ids=["flip y", "flip x", "transpose", "bands reversed"],
)
def test_a_turned_cube_gives_the_turned_result(turn):
    cube, times, _ = series()
    expected = turn(fill(cube, times)[0])
    np.testing.assert_allclose(fill(turn(cube).copy(), times)[0], expected, atol=1e-6)


def test_nothing_that_was_given_is_written_to():
    cube, times, _ = series()
    state = settled(cube, times)
    given = pickle.dumps((cube, times, state))
    fill(cube, times, state=state)
    settled(cube, times)
    assert pickle.dumps((cube, times, state)) == given


def test_no_data_unit_is_in_the_standards():
    values = np.array([1.0, 2.0, 3.0, 100.0, np.nan])[:, None, None] * [1.0, 1e4]
    centre, scale = _standards(values)
    np.testing.assert_allclose(centre, [2.5, 2.5e4])
    np.testing.assert_allclose(scale[1], scale[0] * 1e4)


# ------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rank": 0}, "rank=0: give a whole number"),
        ({"rank": 2.5}, "rank=2.5: give a whole number"),
        ({"max_rank": None}, "max_rank=None: give a whole number"),
        ({"rounds": True}, "rounds=True: give a whole number"),
        ({"tolerance": 0}, "tolerance=0: give a finite number above 0"),
        ({"tolerance": 1.1}, "tolerance=1.1: give a number from 0 to 1"),
        ({"tolerance": float("nan")}, "tolerance=nan: give"),
    ],
)
def test_parameters_without_meaning_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        Params(**options)
