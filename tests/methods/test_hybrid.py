"""Hybrid against its definition, and what it promises, on small synthetic cubes."""

import pickle
import warnings

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill import mnspi
from xstf.methods.gapfill.hybrid import METHOD, Params

pytestmark = pytest.mark.slow  # its loops compile for long

SMALL = Params(reach=6, similar=8, classes=4, harmonics=1)


def seasons(seed=0, dates=24, bands=2, size=(22, 20), noise=0.01, shock=0.08):
    """Fields of three crops with seasons of two years, and what each date does to each crop."""
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, 3, (size[0] // 4 + 1, size[1] // 4 + 1))
    crop = np.kron(crop, np.ones((4, 4), int))[: size[0], : size[1]]
    days = np.cumsum(rng.integers(20, 40, dates)).astype(float)
    days -= days[0]
    phase = np.array([0, 2, 4])[:, None, None]
    wave = np.sin(2 * np.pi * days[None, :, None] / 365.25 + phase)
    course = 0.4 + 0.15 * wave + rng.normal(0, shock, (3, dates, bands))
    cube = np.moveaxis(course[crop], (0, 1), (2, 3))
    return (cube + rng.normal(0, noise, cube.shape)).astype(np.float32), days


def clouded(seed=0, **kwargs):
    """Return a cube with clouds of many kinds, the days and the truth."""
    truth, days = seasons(seed, **kwargs)
    cube = truth.copy()
    cube[3, :, 3:12, 2:13] = np.nan
    cube[8:12, :, 6:18, 4:16] = np.nan  # a cloud that stays
    cube[14] = np.nan  # a date without anything
    cube[17, :, :, 8:] = np.nan  # a gap that is wider than the reach
    cube[19, 0, 2, 3] = np.nan  # one band only
    cube[:, :, 15, 16] = np.nan  # never clear
    return cube, days, truth


def settled(cube, days, params=SMALL):
    return METHOD.settle(GapfillSamples(cube[None]), times=days, params=params)


def run(cube, days, engine="numba", params=SMALL, state=None, inner=None, std=True):
    """Call the kernel; any warning is an error."""
    state = settled(cube, days, params) if state is None else state
    inner = inner or tuple(slice(0, n) for n in cube.shape[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel = METHOD.kernels[engine]
        return kernel(cube, None, times=days, params=params, state=state, inner=inner, std=std)


def root_mean_square(error):
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))


def test_engines_agree_on_estimate_spread_and_space():
    cube, days, _ = clouded()
    state = settled(cube, days)
    inner = (slice(2, 19), slice(1, 18))
    missing = np.isnan(cube).any(axis=1, keepdims=True)[..., *inner]
    fast, slow = (run(cube, days, e, state=state, inner=inner) for e in ("numba", "numpy"))
    for one, other in zip(fast[:2], slow[:2], strict=True):
        one, other = (np.where(missing, part, 0) for part in (one, other))
        assert (one != 0).sum() > 500
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(fast[2], slow[2])


def test_under_a_cloud_that_stays_it_is_near_the_noise_and_better_than_the_season():
    cube, days, truth = clouded()
    estimate, _, space = run(cube, days)
    hidden = np.isnan(cube)
    hidden[:8] = hidden[12:] = hidden[:, :, 15, 16] = False
    assert space[hidden].all()
    alone = run(cube, days, params=Params(reach=1, similar=1, classes=0, harmonics=1))
    season = alone[0][hidden & ~alone[2]] - truth[hidden & ~alone[2]]
    assert root_mean_square((estimate - truth)[hidden]) < root_mean_square(season) / 2


def test_without_any_clear_pixel_there_is_the_season():
    cube, days, truth = clouded(shock=0.0)
    estimate, spread, space = run(cube, days)
    ever = np.ones_like(cube[14], bool)
    ever[:, 15, 16] = False
    assert not space[14].any()
    assert root_mean_square((estimate - truth)[14][ever]) < 0.02
    assert np.isfinite(spread[14][ever]).all()


def test_a_pixel_that_is_never_clear_is_filled_from_around():
    cube, days, truth = clouded()
    estimate, _, space = run(cube, days)
    assert space[[0, 1, 5], :, 15, 16].all()
    assert root_mean_square(estimate[[0, 1, 5], :, 15, 16] - 0.4) < 0.4
    assert np.isnan(estimate[14, :, 15, 16]).all()


def test_one_date_is_interpolated_in_space():
    cube, _, truth = clouded()
    estimate, _, space = run(cube[3:4], np.zeros(1))
    near = np.zeros_like(space)
    near[0, :, 4, 5] = True
    assert space[near].all()
    low, high = truth[3, :, :12, :13].min(), truth[3, :, :12, :13].max()
    assert ((estimate[near] >= low) & (estimate[near] <= high)).all()


def test_a_cube_without_anything_stays_so():
    cube = np.full((5, 2, 5, 6), np.nan, np.float32)
    for engine in ("numba", "numpy"):
        estimate, spread, space = run(cube, np.arange(5.0), engine)
        assert np.isnan(estimate).all()
        assert np.isnan(spread).all()
        assert not space.any()


def test_tiles_give_what_the_whole_gives():
    cube, days, _ = clouded(size=(28, 26))
    state = settled(cube, days)
    whole = run(cube, days, state=state)
    halo = METHOD.halo(SMALL, 1)
    for top, left in [(0, 0), (10, 9), (18, 16)]:
        first = max(0, top - halo), max(0, left - halo)
        part = cube[:, :, first[0] : top + 10 + halo, first[1] : left + 10 + halo]
        inner = tuple(slice(at - f, at - f + 10) for at, f in zip((top, left), first, strict=True))
        tile = run(np.ascontiguousarray(part), days, state=state, inner=inner)
        for one, other in zip(tile, whole, strict=True):
            there = other[..., top : top + 10, left : left + 10]
            np.testing.assert_allclose(one, there, rtol=1e-5, atol=1e-6)


def test_what_lies_beyond_the_halo_does_not_matter():
    cube, days, _ = clouded()
    state = settled(cube, days)
    poked = cube.copy()
    poked[:, :, 12, 17] += 0.5
    one, other = (run(c, days, state=state)[0] for c in (cube, poked))
    changed = ((one != other) & ~(np.isnan(one) & np.isnan(other))).any(axis=(0, 1))
    y, x = np.nonzero(changed)
    assert changed.sum() > 20
    assert max(abs(y - 12).max(), abs(x - 17).max()) <= METHOD.halo(SMALL, 1)


def test_results_follow_the_scale():
    cube, days, _ = clouded()
    missing = np.isnan(cube)
    plain, other = run(cube, days), run((cube * 1e4).astype(np.float32), days)
    np.testing.assert_allclose(other[0][missing], plain[0][missing] * 1e4, rtol=1e-3, atol=1)
    np.testing.assert_allclose(other[1][missing], plain[1][missing] * 1e4, rtol=1e-2, atol=1)


def test_inputs_stay_as_they_are_and_the_state_travels():
    cube, days, _ = clouded()
    before = cube.copy()
    state = pickle.loads(pickle.dumps(settled(cube, days)))
    cube.flags.writeable = False
    assert run(cube, days, state=state, std=False)[1] is None
    np.testing.assert_array_equal(cube, before)


def test_the_spread_holds_nine_of_ten_hidden_values():
    truth, days = seasons(3, size=(48, 48), noise=0.02)
    cube = truth.copy()
    rng = np.random.default_rng(0)
    for t in range(1, 24, 2):
        y, x = rng.integers(0, 28, 2)
        cube[t, :, y : y + 20, x : x + 20] = np.nan
    estimate, spread, _ = run(cube, days, params=Params(reach=16, harmonics=1))
    hidden = np.isnan(cube)
    held = np.abs(estimate - truth)[hidden] <= 1.645 * spread[hidden]
    assert 0.85 <= held.mean() <= 0.95


def test_where_each_pixel_has_its_own_season_it_is_better_than_mnspi():
    rng = np.random.default_rng(0)
    days = np.arange(0, 730, 15.0)
    phase, size = rng.uniform(0, 6, (20, 20)), rng.uniform(0.05, 0.25, (20, 20))
    wave = size * np.sin(2 * np.pi * days[:, None, None] / 365.25 + phase)
    shock = rng.normal(0, 0.05, len(days))[:, None, None]
    truth = (0.4 + wave + shock + rng.normal(0, 0.01, wave.shape))[:, None].astype(np.float32)
    cube = truth.copy()
    cube[20:26, :, 5:15, 5:15] = np.nan
    hidden = np.isnan(cube)
    plain = mnspi.Params(reach=6, similar=8, classes=4)
    state = mnspi.settle(GapfillSamples(cube[None]), times=days, params=plain)
    inner = tuple(slice(0, n) for n in cube.shape[2:])
    other = mnspi.METHOD.kernels["numba"](
        cube, None, times=days, params=plain, state=state, inner=inner, std=False
    )[0]
    mine = run(cube, days)[0]
    errors = [root_mean_square((found - truth)[hidden]) for found in (mine, other)]
    # Of new observations; their own noise is 0.01.
    assert errors[0] < 0.015 < 0.02 < errors[1]


@pytest.mark.parametrize(
    ("name", "value"), [("reach", 0), ("similar", 0), ("classes", -1), ("harmonics", -1)]
)
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}: give a whole number of at least"):
        Params(**{name: value})
