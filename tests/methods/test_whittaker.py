"""Whittaker smoothing against its definition, on small synthetic cubes."""

import re

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill.linear import METHOD as LINEAR
from xstf.methods.gapfill.whittaker import METHOD, Params
from xstf.methods.gapfill.whittaker.penalised import BLOCK, clock_of, roughness

CHOICES = [
    {},
    {"order": 1},
    {"order": 3},
    {"robust": 3},
    {"envelope": "upper"},
    {"envelope": "lower", "robust": 2},
    {"choose": "gcv"},
    {"choose": "vcurve", "order": 1},
    {"choose": "gcv", "robust": 2, "order": 3},
]


def series(seed=0, dates=24, bands=2, size=(4, 6), missing=0.4, noise=0.02):
    """Two seasons with noise on irregular dates, with holes; (cube, times)."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(2, 9, dates)).astype(float)
    times -= times[0]
    wave = 0.3 + 0.1 * np.sin(2 * np.pi * times / times[-1] * 2)
    cube = wave[:, None, None, None] + rng.normal(0, noise, (dates, bands, *size))
    cube = cube.astype(np.float32)
    cube[rng.random(cube.shape) < missing] = np.nan
    cube[:, :, 0, 0] = np.nan
    cube[:, 0, 1, 1] = np.nan
    cube[5, 0, 1, 1] = 0.2
    cube[:, 1, 1, 1] = 0.25
    cube[: dates // 3, :, 2, 2] = np.nan
    cube[dates // 2 :, :, 3, 3] = np.nan
    return cube, times


def settled(cube, times, params):
    return METHOD.settle(GapfillSamples(cube[None]), times=times, params=params)


def fill(cube, times, engine="numba", *, params=None, inner=None, state=None, std=False):
    params = params or Params()
    inner = inner or tuple(slice(0, n) for n in cube.shape[2:])
    if state is None:
        state = settled(cube, times, params) if std else None
    return METHOD.kernels[engine](
        cube, None, times=times, params=params, state=state, inner=inner, std=std
    )


def one(values, times, **kwargs):
    """Fill a single series."""
    cube = np.asarray(values, np.float32).reshape(-1, 1, 1, 1)
    return fill(cube, np.asarray(times, float), **kwargs)[0].ravel()


@pytest.mark.parametrize("given", CHOICES, ids=str)
def test_numba_agrees_with_the_definition(given):
    cube, times = series()
    params = Params(**given)
    inner = (slice(1, 4), slice(0, 5))
    found = fill(cube, times, params=params, inner=inner, std=True)
    wanted = fill(cube, times, "numpy", params=params, inner=inner, std=True)
    assert found[2] is None
    for a, b in zip(found[:2], wanted[:2], strict=True):
        assert a.dtype == b.dtype == np.float32
        assert a.shape == b.shape == (24, 2, 3, 5)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert fill(cube, times, params=params, inner=inner)[1] is None


def test_blocks_of_pixels_agree_with_the_definition():
    cube, times = series(size=(4, BLOCK + 9), dates=12)
    np.testing.assert_allclose(
        fill(cube, times)[0], fill(cube, times, "numpy")[0], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_roughness_is_the_integral_of_the_squared_derivative(order):
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, 40)).astype(float)
    wave = times**order
    inside = (times[-1] - times[0]) * np.prod(np.arange(1, order + 1)) ** 2
    found = wave @ roughness(times, order) @ wave
    # Each end has a part of its steps only, for one difference fewer per order.
    assert found == pytest.approx(inside, rel=0.1)
    assert times ** (order - 1) @ roughness(times, order) @ times ** (order - 1) < 1e-6 * found


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("step", [1, 5])
@pytest.mark.parametrize("uneven", [False, True])
def test_a_wave_of_the_period_keeps_half_of_its_amplitude(order, step, uneven):
    times = np.arange(0, 1200, step).astype(float)
    if uneven:
        times = times + np.random.default_rng(0).uniform(-0.4, 0.4, times.size) * step
        times -= times[0]
    wave = np.sin(2 * np.pi * times / 60)
    found = one(wave, times, params=Params(period=60, order=order))
    middle = slice(times.size // 4, -times.size // 4)
    gain = (found[middle] @ wave[middle]) / (wave[middle] @ wave[middle])
    assert gain == pytest.approx(0.5, abs=0.03)


def test_fewer_observations_are_smoothed_alike():
    times = np.arange(0, 900, 3.0)
    wave = np.sin(2 * np.pi * times / 60)
    whole = one(wave, times)
    holes = one(np.where(np.random.default_rng(0).random(times.size) < 0.5, np.nan, wave), times)
    middle = slice(75, -75)
    assert np.sqrt(np.mean((holes - whole)[middle] ** 2)) < 0.12


def test_ends_hold():
    times = np.arange(40) * 5.0
    values = np.where((times > 50) & (times < 150), times, np.nan)
    found = one(values, times)
    assert (found[:11] == found[11]).all()
    assert (found[30:] == found[29]).all()
    assert found[20] == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("order", [2, 3])
def test_long_gaps_are_not_overshot(order):
    """A slope that ends at a gap of 200 days: a pure order 2 would go on by half of the rise."""
    times = np.arange(0, 500, 5.0)
    values = np.clip(times / 150, 0, 1)
    values[(times > 150) & (times < 350)] = np.nan
    found = one(values, times, params=Params(order=order))
    assert found.max() < 1.05


def test_in_long_gaps_it_is_about_as_good_as_linear():
    rng = np.random.default_rng(0)
    times = np.arange(0, 730, 5.0)
    season = np.sin(2 * np.pi * (times[:, None] + rng.uniform(0, 365, 300)) / 365.25)
    truth = (season + rng.normal(0, 0.05, season.shape)).astype(np.float32)[:, None, None]
    cube = np.where(rng.random(truth.shape) < 0.4, np.nan, truth)
    cube[60:78] = np.nan
    size = (slice(0, 1), slice(0, 300))
    rival = LINEAR.kernels["numba"](
        cube, None, times=times, params=LINEAR.params(), state=None, inner=size, std=False
    )[0]
    mine, other = (np.sqrt(np.mean((z - truth)[60:78] ** 2)) for z in (fill(cube, times)[0], rival))
    assert mine < 1.02 * other


def test_only_pixels_without_any_value_stay_missing():
    cube, times = series()
    for part in fill(cube, times, std=True)[:2]:
        np.testing.assert_array_equal(
            np.isnan(part), np.broadcast_to(np.isnan(cube).all(axis=0), cube.shape)
        )


@pytest.mark.parametrize("given", CHOICES, ids=str)
def test_a_cube_without_values_stays_missing(given):
    cube, times = series()
    cube[:] = np.nan
    assert all(np.isnan(p).all() for p in fill(cube, times, params=Params(**given), std=True)[:2])


@pytest.mark.parametrize("given", CHOICES, ids=str)
def test_constant_and_single_values_stay_as_they_are(given):
    cube, times = series()
    found = fill(cube, times, params=Params(**given))[0]
    np.testing.assert_array_equal(found[:, 0, 1, 1], np.float32(0.2))
    np.testing.assert_array_equal(found[:, 1, 1, 1], np.float32(0.25))


@pytest.mark.parametrize("given", CHOICES, ids=str)
def test_unit_and_offset_of_the_data_do_not_matter(given):
    cube, times = series()
    params = Params(**given)
    # Powers of two, and an offset on the grid of float32, change no digit of the input.
    cube = np.round(cube * 2**12) / 2**12
    estimate, std, _ = fill(cube, times, params=params, std=True)
    other, wide, _ = fill(cube * 2**13 + 2048, times, params=params, std=True)
    np.testing.assert_allclose(other, estimate * 2**13 + 2048, rtol=1e-5)
    np.testing.assert_allclose(wide, std * 2**13, rtol=1e-3)


def test_tiles_give_what_the_whole_gives():
    cube, times = series(size=(6, 2 * BLOCK))
    state = settled(cube, times, Params())
    whole = fill(cube, times, state=state, std=True)
    for rows in (slice(0, 2), slice(2, 6)):
        for cols in (slice(0, 50), slice(50, 2 * BLOCK)):
            part = np.ascontiguousarray(cube[:, :, rows, cols])
            tile = fill(part, times, state=state, std=True)
            for a, b in zip(tile[:2], whole[:2], strict=True):
                np.testing.assert_allclose(a, b[:, :, rows, cols], rtol=1e-6)


def test_bands_with_other_gaps_do_not_mix():
    cube, times = series()
    both = fill(cube, times)[0]
    for b in range(2):
        alone = fill(np.ascontiguousarray(cube[:, b : b + 1]), times)[0]
        np.testing.assert_allclose(alone, both[:, b : b + 1], rtol=1e-6)


def test_nothing_that_is_given_changes():
    cube, times = series()
    before = cube.copy(), times.copy()
    fill(cube, times, std=True)
    np.testing.assert_array_equal(cube, before[0])
    np.testing.assert_array_equal(times, before[1])


def test_two_passes_of_one_morning_do_no_harm():
    cube, times = series()
    near = np.sort(np.append(times, times[10] + 1e-4))
    twice = np.insert(cube, 11, cube[10], axis=0)
    found = fill(twice, near)[0]
    np.testing.assert_allclose(found[10], found[11], atol=1e-3)
    np.testing.assert_allclose(np.delete(found, 11, axis=0), fill(cube, times)[0], atol=0.04)


def test_dates_a_moment_apart_count_as_a_hundredth_step_apart():
    assert np.diff(clock_of(np.array([0, 5, 5 + 1e-9, 10]))).min() == pytest.approx(0.01)


def test_robust_passes_shed_an_outlier():
    times = np.arange(40) * 5.0
    truth = np.sin(times / 30)
    values = truth + np.random.default_rng(0).normal(0, 0.01, 40)
    values[17] += 1
    plain, robust = (
        np.abs(one(values, times, params=Params(robust=n)) - truth)[12:23].max() for n in (0, 3)
    )
    assert plain > 0.15
    assert robust < plain / 3


def test_envelopes_lie_above_and_below():
    cube, times = series(missing=0, noise=0.05)
    middle = fill(cube, times)[0]
    upper, lower = (fill(cube, times, params=Params(envelope=e))[0] for e in ("upper", "lower"))
    for curve, share in ((upper, 0.8), (lower, 0.2)):
        below = np.mean((cube < curve)[np.isfinite(cube)])
        assert below == pytest.approx(share, abs=0.1)
    assert np.nanmean(upper - middle) > 0.02
    assert np.nanmean(middle - lower) > 0.02


@pytest.mark.parametrize("choose", ["gcv", "vcurve"])
def test_chosen_periods_follow_the_noise(choose):
    """Little noise asks for little smoothing and much for more; a fixed period fails on one."""
    rng = np.random.default_rng(0)
    times = np.arange(120) * 5.0
    for length, noise, fixed in ((80, 0.02, 200), (400, 0.5, 30)):
        clean = np.sin(2 * np.pi * times / length)[:, None, None, None] * np.ones((1, 1, 8, 8))
        cube = (clean + rng.normal(0, noise, clean.shape)).astype(np.float32)
        cube[rng.random(cube.shape) < 0.5] = np.nan
        mine = fill(cube, times, params=Params(choose=choose))[0]
        other = fill(cube, times, params=Params(period=fixed))[0]
        assert np.std(mine - clean) < 0.7 * np.std(other - clean)


@pytest.mark.parametrize("given", [{}, {"order": 1}, {"choose": "gcv"}], ids=str)
def test_nine_tenths_of_hidden_values_lie_within_the_interval(given):
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.integers(3, 8, 100)).astype(float)
    phase = rng.uniform(0, 365, (1, 1, 24, 24))
    wave = 0.2 * np.sin(2 * np.pi * (times[:, None, None, None] + phase) / 365)
    truth = (wave + rng.normal(0, 0.03, wave.shape)).astype(np.float32)
    cube = np.where(rng.random(truth.shape) < 0.4, np.nan, truth)
    cube[30:45, :, :, ::2] = np.nan
    estimate, std, _ = fill(cube, times, params=Params(**given), std=True)
    within = (np.abs(estimate - truth) <= 1.645 * std)[:90]
    assert 0.85 <= within[np.isnan(cube[:90])].mean() <= 0.95


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"period": 0}, "period=0: give a finite number above 0"),
        ({"period": float("nan")}, "period=nan: give"),
        ({"order": 4}, "order=4: give one of 1, 2, 3"),
        ({"choose": "best"}, "choose='best': give one of 'fixed', 'gcv', 'vcurve'"),
        ({"robust": -1}, "robust=-1: give a whole number of at least 0"),
        ({"robust": 21}, "robust=21: give a number from 0 to 20"),
        ({"envelope": "top"}, "envelope='top': give one of None, 'upper', 'lower'"),
    ],
)
def test_wrong_parameters_are_named(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Params(**given)
