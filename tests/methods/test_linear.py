"""Linear and nearest gap filling against their definitions, on small synthetic cubes."""

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill import linear, nearest
from xstf.numerics.gaps import BLOCK, spread_of, variance

METHODS = [linear.METHOD, nearest.METHOD]


def series(seed=0, dates=24, bands=2, size=(5, 7), missing=0.5):
    """Random walks with noise on irregular dates, with holes; (cube, times)."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(2, 9, dates)).astype(float) + rng.random(dates)
    steps = rng.normal(0, 0.02, (dates, bands, *size))
    cube = (0.3 + np.cumsum(steps, 0) + rng.normal(0, 0.005, steps.shape)).astype(np.float32)
    cube[rng.random(cube.shape) < missing] = np.nan
    cube[:, :, 0, 0] = np.nan
    cube[:, :, 1, 1] = np.nan
    cube[5, :, 1, 1] = 0.2
    cube[: dates // 3, :, 2, 2] = np.nan
    cube[dates // 2 :, :, 3, 3] = np.nan
    return cube, times - times[0]


def settled(method, cube, times):
    if method.settle is None:
        return {}
    return method.settle(GapfillSamples(cube[None]), times=times, params=method.params())


def fill(method, cube, times, engine="numba", *, inner=None, state=None, std=False):
    inner = inner or tuple(slice(0, n) for n in cube.shape[2:])
    state = settled(method, cube, times) if state is None else state
    return method.kernels[engine](
        cube, None, times=times, params=method.params(), state=state, inner=inner, std=std
    )


@pytest.fixture(params=METHODS, ids=lambda method: method.name)
def method(request):
    return request.param


@pytest.fixture(params=["numba", "numpy"])
def engine(request):
    return request.param


@pytest.mark.parametrize("width", [7, BLOCK + 30])
def test_numba_agrees_with_the_definition(method, width):
    cube, times = series(size=(5, width))
    inner = (slice(1, 4), slice(0, width - 1))
    found = fill(method, cube, times, inner=inner, std=method.std)
    wanted = fill(method, cube, times, "numpy", inner=inner, std=method.std)
    assert found[2] is None
    for a, b in zip(found[: 1 + method.std], wanted, strict=False):
        assert a.dtype == b.dtype == np.float32
        assert a.shape == b.shape == (24, 2, 3, width - 1)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert fill(method, cube, times, inner=inner)[1] is None


@pytest.mark.parametrize(
    ("method", "wanted"),
    [(linear.METHOD, [2, 2, 3, 8, 4, 4]), (nearest.METHOD, [2, 2, 2, 8, 4, 4])],
    ids=["linear", "nearest"],
)
def test_the_definition_by_hand(method, wanted, engine):
    times = np.array([0.0, 10, 11, 16, 20, 100])
    cube = np.array([np.nan, 2, np.nan, 8, 4, np.nan], np.float32).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(fill(method, cube, times, engine)[0].ravel(), wanted, rtol=1e-6)


def test_nearest_takes_the_earlier_of_two_as_near(engine):
    cube = np.array([1, np.nan, 5], np.float32).reshape(-1, 1, 1, 1)
    found = fill(nearest.METHOD, cube, np.array([0.0, 3, 6]), engine)[0]
    assert found.ravel().tolist() == [1, 1, 5]


def test_observed_values_come_back_bit_for_bit(method):
    cube, times = series(missing=0.3)
    seen = np.isfinite(cube)
    np.testing.assert_array_equal(fill(method, cube, times)[0][seen], cube[seen])


def test_only_pixels_without_any_value_stay_missing(method, engine):
    cube, times = series()
    found = fill(method, cube, times, engine, std=method.std)
    never = np.broadcast_to(np.isnan(cube).all(axis=0), cube.shape)
    assert never.any()
    for part in found[: 1 + method.std]:
        np.testing.assert_array_equal(np.isnan(part), never)


def test_a_cube_without_values_stays_missing(method, engine):
    cube, times = series()
    cube[:] = np.nan
    found = fill(method, cube, times, engine, std=method.std)
    assert all(np.isnan(part).all() for part in found[: 1 + method.std])


def test_a_pixel_with_one_value_has_it_everywhere(method):
    cube, times = series()
    np.testing.assert_array_equal(fill(method, cube, times)[0][:, :, 1, 1], np.float32(0.2))


def test_values_are_never_beyond_the_observed_ones(method):
    cube, times = series()
    low, high = np.fmin.reduce(cube), np.fmax.reduce(cube)
    found = fill(method, cube, times)[0]
    known = ~np.isnan(low)
    assert (found >= low - 1e-6)[:, known].all()
    assert (found <= high + 1e-6)[:, known].all()


@pytest.mark.parametrize("size", [(5, 7), (6, BLOCK)])
def test_tiles_give_what_the_whole_gives(method, size):
    cube, times = series(size=size)
    state = settled(method, cube, times)
    whole = fill(method, cube, times, state=state, std=method.std)
    for rows in (slice(0, 2), slice(2, size[0])):
        for cols in (slice(0, 3), slice(3, size[1])):
            part = np.ascontiguousarray(cube[:, :, rows, cols])
            tile = fill(method, part, times, state=state, std=method.std)
            for a, b in zip(tile[: 1 + method.std], whole, strict=False):
                np.testing.assert_array_equal(a, b[:, :, rows, cols])


def test_nothing_that_is_given_changes(method, engine):
    cube, times = series()
    before = cube.copy(), times.copy()
    fill(method, cube, times, engine, std=method.std)
    np.testing.assert_array_equal(cube, before[0])
    np.testing.assert_array_equal(times, before[1])


def test_unit_and_offset_of_the_data_do_not_matter():
    cube, times = series()
    estimate, std, _ = fill(linear.METHOD, cube, times, std=True)
    other, wide, _ = fill(linear.METHOD, cube * 10000 + 3000, times, std=True)
    np.testing.assert_allclose(other, estimate * 10000 + 3000, rtol=1e-5, atol=0.02)
    np.testing.assert_allclose(wide, std * 10000, rtol=1e-3)


@pytest.mark.parametrize("days", [1e-4, 1e4])
def test_the_clock_may_be_of_any_step(days):
    cube, times = series()
    found = fill(linear.METHOD, cube, times * days)[0]
    np.testing.assert_allclose(found, fill(linear.METHOD, cube, times)[0], rtol=1e-5, atol=1e-6)


def test_values_of_ten_thousand_keep_five_digits_over_a_decade():
    times = np.arange(2000) * 2.0 + 0.4
    cube = np.where(np.arange(2000) % 3 == 0, 5000 + times, np.nan).astype(np.float32)
    found = fill(linear.METHOD, cube.reshape(-1, 1, 1, 1), times, state=None)[0].ravel()
    np.testing.assert_allclose(found[:-1], (5000 + times)[:-1], rtol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_nine_tenths_of_hidden_values_lie_within_the_interval(noise):
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.integers(3, 8, 100)).astype(float)
    walk = np.cumsum(rng.normal(0, 0.01, (100, 1, 24, 24)), 0)
    truth = (walk + rng.normal(0, noise, walk.shape)).astype(np.float32)
    cube = np.where(rng.random(truth.shape) < 0.4, np.nan, truth)
    cube[30:45, :, :, ::2] = np.nan
    cube[90:, :, ::2] = np.nan
    estimate, std, _ = fill(linear.METHOD, cube, times, std=True)
    within = np.abs(estimate - truth) <= 1.645 * std
    for part in (np.s_[5:30], np.s_[33:42, :, :, ::2], np.s_[92:, :, ::2]):
        assert 0.85 <= within[part][np.isnan(cube[part])].mean() <= 0.95


def test_the_deviation_grows_into_a_gap():
    cube, times = series(dates=60, missing=0.2, size=(12, 12))
    cube[20:40] = np.nan
    std = fill(linear.METHOD, cube, times, std=True)[1][:, 0, 5, 5]
    assert std[30] > 1.5 * std[20]
    assert std[39] < std[34]


def test_the_broken_line_passes_through_its_classes():
    rng = np.random.default_rng(0)
    distance = rng.choice([1.0, 10, 100], 30000)
    line = spread_of(distance, rng.normal(0, np.sqrt(distance)))
    np.testing.assert_allclose(variance(line, np.array([1, 10, 100.0])), [1, 10, 100], rtol=0.1)
    assert variance(line, np.array([200.0])) > 150
    assert np.isnan(variance(spread_of(distance[:9], distance[:9]), distance)).all()


@pytest.mark.parametrize("before", [1, 2, 3, 4])
def test_beyond_the_ends_the_nearest_observation_holds_bit_for_bit(before):
    cube, _ = series(missing=0)
    cube = np.concatenate(
        [np.full_like(cube[:before], np.nan), cube[:2], np.full_like(cube[:3], np.nan)]
    )
    times = np.linspace(0, 20, len(cube))
    whole = (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    filled = linear.METHOD.kernels["numba"](
        cube, None, times=times, params=linear.Params(), state=None, inner=whole, std=False
    )[0]
    for date in range(before):
        np.testing.assert_array_equal(filled[date], cube[before])
    for date in range(before + 2, len(cube)):
        np.testing.assert_array_equal(filled[date], cube[before + 1])
