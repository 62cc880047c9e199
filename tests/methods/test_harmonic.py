"""The harmonic regression at the level of its kernels: definition, missing values, laws."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill.harmonic import METHOD, Params
from xstf.numerics.seasonal import season_state, season_terms, seasonal

pytestmark = pytest.mark.slow  # its loops compile for long

ENGINES = ["numba", "numpy"]


def scene(dates=40, bands=2, size=(6, 19), seed=0, missing=0.4, noise=0.02, days=(5, 25)):
    """Return a cube of seasons that differ from pixel to pixel, with gaps, its truth and dates."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(*days, dates)).astype(float)
    times -= times[0]
    phase = rng.normal(0, 0.3, (bands, *size))
    height = 0.2 + 0.05 * rng.normal(size=(bands, *size))
    angle = 2 * np.pi * times[:, None, None, None] / 365.25
    truth = 0.4 + height * np.sin(angle + phase) + 0.03 * np.cos(2 * angle)
    cube = truth + noise * rng.normal(size=truth.shape)
    cube[np.broadcast_to(rng.random((dates, 1, *size)) < missing, cube.shape)] = np.nan
    return cube.astype(np.float32), truth.astype(np.float32), times


def fill(cube, times, engine="numba", state=None, inner=None, **params):
    """Run settle and one kernel; return the estimate and its standard deviation."""
    params = Params(**params)
    if state is None:
        state = METHOD.settle(GapfillSamples(cube[None]), times=times, params=params)
    inner = inner or tuple(slice(0, n) for n in cube.shape[-2:])
    estimate, std, in_space = METHOD.kernels[engine](
        cube, None, times=times, params=params, state=state, inner=inner, std=True
    )
    assert in_space is None
    return estimate, std


def dense(cube, times, state):
    """Return fit and leave-one-out prediction without reweighting, from the full covariance."""
    terms = season_terms(times, state.harmonics)
    lag = np.sqrt(3) * np.abs(times[:, None] - times) / state.length
    prior = (1 + lag) * np.exp(-lag) + terms @ state.covariance @ terms.T
    fit, without = np.empty(cube.shape), np.empty(cube.shape)
    for b, y, x in np.ndindex(*cube.shape[1:]):
        season = terms @ state.mean[b]
        series = cube[:, b, y, x].astype(np.float64) - season
        seen = np.flatnonzero(np.isfinite(series))
        for i in range(len(times)):
            for out, used in ((fit, seen), (without, seen[seen != i])):
                gram = prior[np.ix_(used, used)] + state.noise * np.eye(len(used))
                weights = np.linalg.solve(gram, prior[used, i])
                out[i, b, y, x] = season[i] + weights @ series[used]
    return fit, without


def test_with_and_without_a_date_are_those_of_the_full_covariance():
    cube, _, times = scene(dates=24, size=(1, 4))
    # Seen at both ends, so that no trend is held; the leave-one-out of an end is left out below.
    cube[[0, 1, -2, -1]] = 0.4
    state = season_state(cube[None], times)
    smooth, without, _ = seasonal(cube, times, state=state, passes=0)
    fit, other = dense(cube, times, state)
    np.testing.assert_allclose(smooth, fit, atol=1e-6)
    np.testing.assert_allclose(without[1:-1], other[1:-1], atol=1e-6)


@pytest.mark.parametrize(
    "params",
    [{}, {"reject": "low", "harmonics": 1}, {"residual": False}, {"reject": None, "ridge": 0.1}],
)
@pytest.mark.parametrize("apart", [False, True])
def test_engines_agree(params, apart):
    cube, _, times = scene(size=(2, 18))
    cube[5, :, :, :9] += 0.5
    if apart:
        cube[np.random.default_rng(1).random(cube.shape) < 0.2] = np.nan
    cube[:, :, 0, 0] = np.nan
    cube[1:, :, 0, 1] = np.nan
    cube[:, 0, 0, 2] = np.nan
    cube[-12:, :, 0, 3] = np.nan
    a, b = (fill(cube, times, engine, **params) for engine in ENGINES)
    np.testing.assert_allclose(a[0], b[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(a[1], b[1], rtol=1e-4, atol=1e-6)


def test_gaps_are_filled_to_within_the_noise():
    cube, truth, times = scene()
    estimate, _ = fill(cube, times)
    error = (estimate - truth)[np.isnan(cube)]
    assert np.sqrt(np.mean(error**2)) < 0.02


def test_the_interval_covers_nine_tenths_of_what_was_hidden():
    cube, truth, times = scene(dates=60, size=(20, 20), seed=3)
    new = truth + 0.02 * np.random.default_rng(9).normal(size=truth.shape)
    estimate, std = fill(cube, times)
    hidden = np.isnan(cube)
    inside = np.abs(new - estimate)[hidden] <= 1.645 * std[hidden]
    assert 0.85 <= inside.mean() <= 0.95


@pytest.mark.parametrize("engine", ENGINES)
def test_haze_does_not_pull_the_fit(engine):
    cube, truth, times = scene(size=(2, 16), missing=0.2)
    hazy = cube.copy()
    hazy[[6, 19, 30]] += 0.5
    state = METHOD.settle(GapfillSamples(cube[None]), times=times, params=Params())
    clean, _ = fill(cube, times, engine, state)
    robust, _ = fill(hazy, times, engine, state)
    plain, _ = fill(hazy, times, engine, state, reject=None)
    assert np.abs(robust - clean).max() < 0.05
    assert np.abs(plain - clean).max() > 0.1


def test_rejecting_below_leaves_those_above_alone():
    cube, _, times = scene(size=(2, 16), missing=0.2)
    state = METHOD.settle(GapfillSamples(cube[None]), times=times, params=Params())
    for side, sign in (("low", 1), ("high", -1)):
        spiked = cube.copy()
        spiked[20] += sign * 0.5
        other, both = (fill(spiked, times, state=state, reject=r)[0][20] for r in (side, "both"))
        assert (sign * (other - both)).mean() > 0.02
        spiked[20] -= 2 * sign * 0.5
        one, both = (fill(spiked, times, state=state, reject=r)[0][20] for r in (side, "both"))
        np.testing.assert_allclose(one, both, atol=0.02)


def test_the_kriged_residual_follows_an_event_of_a_year():
    cube, truth, times = scene(dates=80, size=(8, 16), missing=0.3, noise=0.005, days=(5, 9))
    rng = np.random.default_rng(4)
    when = rng.uniform(60, times[-1] - 60, cube.shape[2:])
    event = -0.15 * np.exp(-(((times[:, None, None] - when) / 25) ** 2))
    errors = [
        np.nanmean((fill(cube + event[:, None].astype(np.float32), times, residual=r)[0]
                    - truth - event[:, None])[np.isnan(cube)] ** 2)
        for r in (True, False)
    ]  # fmt: skip
    assert errors[0] < 0.25 * errors[1]


def test_a_pixel_with_one_observation_follows_the_season_of_the_scene():
    cube, truth, times = scene(size=(10, 20))
    cube[np.arange(len(times)) != 7, :, 0, 0] = np.nan
    cube[7, :, 0, 0] = truth[7, :, 0, 0]
    estimate, std = fill(cube, times)
    error = estimate[:, :, 0, 0] - truth[:, :, 0, 0]
    assert np.sqrt(np.mean(error**2)) < 0.12
    assert (std[:, :, 0, 0] > std[:, :, 5, 5]).mean() > 0.9


def test_beyond_the_ends_there_is_no_slope():
    times = np.arange(0, 1200, 12.0)
    rng = np.random.default_rng(2)
    cube = 0.2 + 2e-4 * times[:, None, None, None] + 0.005 * rng.normal(size=(100, 1, 3, 16))
    cube[75:] = np.nan
    estimate, _ = fill(cube.astype(np.float32), times)
    # With the slope held it would go on by 0.06.
    assert np.abs(estimate[-1] - estimate[76]).max() < 0.02


def test_a_season_of_months_gets_fewer_terms():
    times = np.arange(0, 120, 5.0)
    assert season_terms(times, 3).shape == (24, 2)
    assert season_terms(np.arange(0, 800, 5.0), 3).shape == (160, 8)
    assert season_terms(np.array([0.0, 9.0]), 3).shape == (2, 1)
    assert season_terms(np.arange(6) * 100.0, 3).shape[1] <= 4


@pytest.mark.parametrize("dates", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("engine", ENGINES)
def test_few_dates_stay_in_the_range_of_what_was_seen(dates, engine):
    cube, _, times = scene(dates=dates, missing=0.3)
    estimate, _ = fill(cube, times, engine)
    seen = np.isfinite(cube).any(axis=0)
    assert np.isfinite(estimate).all(axis=0)[seen].all()
    margin = 0.5 * (np.nanmax(cube) - np.nanmin(cube))
    assert np.nanmin(estimate) > np.nanmin(cube) - margin
    assert np.nanmax(estimate) < np.nanmax(cube) + margin


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pixel_without_data_stays_missing(engine):
    cube, _, times = scene(size=(3, 4))
    cube[:, :, 1, 1] = np.nan
    estimate, std = fill(cube, times, engine)
    empty = np.isnan(cube).all(axis=0)
    assert (np.isnan(estimate) == empty).all()
    assert (np.isnan(std) == empty).all()
    estimate, _ = fill(np.full_like(cube, np.nan), times, engine)
    assert np.isnan(estimate).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_constant_pixel_keeps_its_value(engine):
    cube, _, times = scene(size=(3, 17))
    cube[:, :, 2, 3] = np.where(np.isnan(cube[:, :, 2, 3]), np.nan, np.float32(0.37))
    assert (fill(cube, times, engine)[0][:, :, 2, 3] == np.float32(0.37)).all()
    cube[~np.isnan(cube)] = 5000
    estimate, std = fill(cube, times, engine)
    assert (estimate == 5000).all()
    assert (std == 0).all()


def test_tiles_are_the_whole():
    cube, _, times = scene(size=(9, 41))
    state = METHOD.settle(GapfillSamples(cube[None]), times=times, params=Params())
    whole = fill(cube, times, state=state)
    for rows, cols in ((slice(2, 7), slice(5, 30)), (slice(0, 9), slice(40, 41))):
        cut = cube[:, :, rows, cols]
        for part, full in zip(fill(np.ascontiguousarray(cut), times, state=state), whole,
                              strict=True):  # fmt: skip
            np.testing.assert_allclose(part, full[:, :, rows, cols], atol=1e-6)
        inner = fill(cube, times, state=state, inner=(rows, cols))
        np.testing.assert_array_equal(inner[0], whole[0][:, :, rows, cols])


def test_a_pixel_depends_on_itself_alone():
    cube, _, times = scene()
    state = METHOD.settle(GapfillSamples(cube[None]), times=times, params=Params())
    poked = cube.copy()
    poked[:, :, 3, 4] += 0.1
    changed = (fill(poked, times, state=state)[0] != fill(cube, times, state=state)[0]).any((0, 1))
    assert changed[3, 4]
    assert changed.sum() == 1


def test_scale_and_offset_pass_through():
    cube, _, times = scene()
    estimate, std = fill(cube, times)
    bigger, wider = fill(cube * np.float32(1e4), times)
    np.testing.assert_allclose(bigger, estimate * 1e4, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(wider, std * 1e4, rtol=1e-3)
    moved, same = fill(cube + np.float32(3), times)
    np.testing.assert_allclose(moved, estimate + 3, atol=2e-5)
    np.testing.assert_allclose(same, std, rtol=1e-3)


def test_flipped_transposed_and_reordered_cubes_give_flipped_transposed_and_reordered_results():
    cube, _, times = scene(size=(6, 7))
    estimate, _ = fill(cube, times)
    for move in (
        lambda a: a[:, :, ::-1],
        lambda a: a[..., ::-1],
        lambda a: np.swapaxes(a, 2, 3),
        lambda a: a[:, ::-1],
    ):
        np.testing.assert_allclose(
            fill(np.ascontiguousarray(move(cube)), times)[0], move(estimate), atol=1e-6
        )


def test_nothing_given_is_changed_and_the_state_travels():
    cube, _, times = scene(size=(3, 5))
    before = cube.copy()
    state = METHOD.settle(GapfillSamples(cube[None]), times=times, params=Params())
    copy = pickle.loads(pickle.dumps(state))
    first, _ = fill(cube, times, state=state)
    np.testing.assert_array_equal(cube, before)
    np.testing.assert_array_equal(fill(cube, times, state=copy)[0], first)
    for name, value in vars(state).items():
        np.testing.assert_array_equal(value, getattr(copy, name))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"harmonics": 7}, "harmonics=7.*0 to 6"),
        ({"ridge": 0}, "ridge=0.*above 0"),
        ({"reject": "up"}, "reject='up'.*'low'"),
        ({"passes": -1}, "passes=-1.*at least 0"),
    ],
)
def test_params_say_what_is_wrong(given, says):
    with pytest.raises(ValueError, match=says):
        Params(**given)
