"""MNSPI against its definition, and what it promises, on small synthetic cubes."""

import pickle
import warnings

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill.mnspi import METHOD, Params
from xstf.numerics.similar_pixels import DENSE, group, pattern, weigh, weights_of

pytestmark = pytest.mark.slow  # its loops compile for long

SMALL = Params(reach=6, similar=8, classes=4)
WHOLE = (slice(None), slice(None))


def fields(seed=0, dates=7, bands=2, size=(24, 22), noise=0.01):
    """Fields of three crops whose values change over the dates, with noise; days; float32."""
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, 3, (size[0] // 4 + 1, size[1] // 4 + 1))
    crop = np.kron(crop, np.ones((4, 4), int))[: size[0], : size[1]]
    course = rng.normal(0.4, 0.15, (3, dates, bands))
    cube = np.moveaxis(course[crop], (0, 1), (2, 3))
    days = np.cumsum(rng.integers(3, 30, dates)).astype(float)
    return (cube + rng.normal(0, noise, cube.shape)).astype(np.float32), days - days[0]


def clouded(seed=0, **kwargs):
    """Return a cube with clouds of many kinds, the days and the truth."""
    truth, days = fields(seed, **kwargs)
    cube = truth.copy()
    cube[1, :, 3:12, 2:13] = np.nan
    cube[2, :, 8:20, 4:18] = np.nan
    cube[3] = np.nan  # a date without anything
    cube[4, :, :, 8:] = np.nan  # a gap that is wider than the reach
    cube[5, 0, 2, 3] = np.nan  # one band only
    cube[:, :, 15, 16] = np.nan  # never clear
    cube[4, :, 5, :8] = np.nan
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


@pytest.mark.parametrize("seed", [0, 1])
def test_engines_agree_on_estimate_spread_and_space(seed):
    cube, days, _ = clouded(seed)
    state = settled(cube, days)
    inner = (slice(2, 21), slice(1, 20))
    missing = np.isnan(cube).any(axis=1, keepdims=True)[..., *inner]
    fast, slow = (run(cube, days, e, state=state, inner=inner) for e in ("numba", "numpy"))
    for one, other in zip(fast[:2], slow[:2], strict=True):
        assert np.isfinite(one).sum() > 500
        one, other = (np.where(missing, part, 0) for part in (one, other))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(fast[2], slow[2])


def test_a_pixel_has_the_value_that_the_equations_give():
    # One date before, one after; donors of two kinds; all numbers are exact.
    cube = np.full((3, 1, 3, 3), 1, np.float32)
    cube[0, 0, 0] = cube[2, 0, 0] = 5
    cube[1, 0] = [[9, 9, 9], [2, 2, 2], [2, 2, 2]]
    cube[1, 0, 1, 1] = np.nan
    params = Params(reach=2, similar=4, classes=0)
    state = settled(cube, np.arange(3.0), params)
    found = run(cube, np.arange(3.0), params=params, state=state)[0][1, 0, 1, 1]
    # The five like it all went from 1 to 2; those of the other kind weigh almost nothing.
    assert found == pytest.approx(2, abs=1e-5)


def test_a_gap_inside_known_fields_is_filled_to_about_the_noise():
    cube, days, truth = clouded(noise=0.01)
    estimate, _, space = run(cube, days)
    hidden = np.isnan(cube[1]) & np.isfinite(cube).all(axis=1)[0]
    error = (estimate - truth)[1][hidden]
    assert space[1][hidden].all()
    # The noise of the observation and of its references, sqrt(1 + 1/2) or sqrt(2) of one.
    assert np.sqrt((error**2).mean()) < 0.02
    # What was there before is no answer.
    assert np.sqrt(((truth[0] - truth[1])[hidden] ** 2).mean()) > 0.05


def test_beyond_reach_the_classes_of_the_scene_help():
    cube, days, truth = clouded()
    with_help = run(cube, days)
    without = run(cube, days, params=Params(reach=6, similar=8, classes=0))
    far = np.zeros_like(cube, bool)
    far[4, :, :, 16:] = True
    far[:, :, 15, 16] = False
    errors = [np.sqrt(np.mean((found[0] - truth)[far] ** 2)) for found in (with_help, without)]
    assert errors[0] < errors[1] / 2
    assert with_help[2][far].all()
    assert not without[2][far].any()


def test_a_date_without_anything_is_interpolated_in_time():
    cube, days, _ = clouded()
    estimate, _, space = run(cube, days)
    before, after = cube[2, :, 0, 0], cube[4, :, 0, 0]
    share = (days[3] - days[2]) / (days[4] - days[2])
    np.testing.assert_allclose(estimate[3, :, 0, 0], before + (after - before) * share, rtol=1e-5)
    assert not space[3].any()


def test_a_pixel_that_is_never_clear_is_filled_from_around():
    cube, days, truth = clouded()
    estimate, _, space = run(cube, days)
    dates = [0, 1, 5, 6]
    assert space[dates, :, 15, 16].all()
    near = truth[dates, :, 9:22, 10:22]
    found = estimate[dates, :, 15, 16]
    assert (found >= near.min(axis=(2, 3))).all()
    assert (found <= near.max(axis=(2, 3))).all()
    assert np.isnan(estimate[3, :, 15, 16]).all()


def test_one_date_is_interpolated_in_space():
    cube, _, truth = clouded()
    estimate, spread, space = run(cube[1:2], np.zeros(1))
    hidden = np.isnan(cube[1:2])
    near = np.zeros_like(hidden)
    near[0, :, 4, 5] = True
    assert np.isfinite(estimate[near]).all()
    assert space[near].all()
    assert (estimate[hidden & space] <= truth[1].max()).all()
    assert np.isfinite(spread[near]).all()


def test_a_cube_without_anything_stays_so():
    cube = np.full((3, 2, 5, 6), np.nan, np.float32)
    for engine in ("numba", "numpy"):
        estimate, spread, space = run(cube, np.arange(3.0), engine)
        assert np.isnan(estimate).all()
        assert np.isnan(spread).all()
        assert not space.any()


def test_a_band_that_is_never_seen_does_not_hinder_the_others():
    cube, days, _ = clouded()
    more = np.concatenate([cube, np.full_like(cube[:, :1], np.nan)], axis=1)
    alone, together = run(cube, days), run(more, days)
    missing = np.isnan(cube)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one[missing], other[:, :2][missing])
    assert np.isnan(together[0][:, 2]).all()
    assert not together[2][:, 2].any()


def test_tiles_give_what_the_whole_gives():
    cube, days, _ = clouded(size=(30, 28))
    state = settled(cube, days)
    whole = run(cube, days, state=state)
    halo = METHOD.halo(SMALL, 1)
    for top, left in [(0, 0), (10, 9), (20, 18)]:
        first = max(0, top - halo), max(0, left - halo)
        part = cube[:, :, first[0] : top + 10 + halo, first[1] : left + 10 + halo]
        inner = tuple(slice(at - f, at - f + 10) for at, f in zip((top, left), first, strict=True))
        tile = run(np.ascontiguousarray(part), days, state=state, inner=inner)
        for one, other in zip(tile, whole, strict=True):
            there = other[..., top : top + 10, left : left + 10]
            np.testing.assert_array_equal(one, there)


def test_what_lies_beyond_the_halo_does_not_matter():
    cube, days, _ = clouded()
    state = settled(cube, days)
    poked = cube.copy()
    poked[:, :, 12, 11] = 3.0
    one, other = (run(c, days, state=state)[0] for c in (cube, poked))
    changed = ((one != other) & ~(np.isnan(one) & np.isnan(other))).any(axis=(0, 1))
    y, x = np.nonzero(changed)
    assert changed.sum() > 20
    assert max(abs(y - 12).max(), abs(x - 11).max()) <= METHOD.halo(SMALL, 1)


def test_results_follow_scale_and_offset():
    cube, days, _ = clouded()
    plain = run(cube, days)
    missing = np.isnan(cube)
    for factor, offset in [(1e4, 0), (1, 2)]:
        other = run((cube * factor + offset).astype(np.float32), days)
        one = [part[missing] for part in plain[:2]]
        two = [part[missing] for part in other[:2]]
        np.testing.assert_allclose(two[0], one[0] * factor + offset, rtol=2e-4, atol=2e-5 * factor)
        np.testing.assert_allclose(two[1], one[1] * factor, rtol=2e-3, atol=1e-5 * factor)


@pytest.mark.parametrize(
    "turn",
    [lambda c: c[..., ::-1, :], lambda c: c[..., ::-1], lambda c: c.swapaxes(2, 3), None],
    ids=["rows", "columns", "transpose", "bands"],
)
def test_results_follow_flips_and_the_order_of_bands(turn):
    turn = turn or (lambda c: c[:, ::-1])
    cube, days, _ = clouded()
    one, other = run(cube, days), run(np.ascontiguousarray(turn(cube)), days)
    missing = turn(np.isnan(cube))
    for k in (0, 1):
        np.testing.assert_allclose(other[k][missing], turn(one[k])[missing], rtol=1e-4, atol=1e-6)


def test_a_constant_cube_stays_constant():
    cube, days, _ = clouded()
    flat = np.where(np.isnan(cube), cube, np.float32(0.3))
    estimate = run(flat, days)[0]
    known = np.isnan(flat) & np.isfinite(estimate)
    assert known.sum() > 500
    np.testing.assert_allclose(estimate[known], 0.3, rtol=1e-6)


def test_inputs_stay_as_they_are_and_the_state_travels():
    cube, days, _ = clouded()
    before = cube.copy()
    state = pickle.loads(pickle.dumps(settled(cube, days)))
    cube.flags.writeable = False
    run(cube, days, state=state)
    np.testing.assert_array_equal(cube, before)


def test_the_spread_holds_nine_of_ten_hidden_values():
    truth, days = fields(3, dates=12, size=(60, 60), noise=0.02)
    cube = truth.copy()
    rng = np.random.default_rng(0)
    for t in range(1, 12, 2):
        y, x = rng.integers(0, 35, 2)
        cube[t, :, y : y + 25, x : x + 25] = np.nan
    estimate, spread, _ = run(cube, days, params=Params(reach=16))
    hidden = np.isnan(cube)
    held = np.abs(estimate - truth)[hidden] <= 1.645 * spread[hidden]
    assert 0.85 <= held.mean() <= 0.95
    assert run(cube, days, params=Params(reach=16), std=False)[1] is None


def test_the_pattern_has_the_symmetries_of_the_grid():
    offsets, distance = pattern(32)
    places = {tuple(place) for place in offsets.tolist()}
    assert len(places) == len(offsets)
    assert (0, 0) not in places
    assert places == {(x, y) for y, x in places} == {(-y, x) for y, x in places}
    assert np.all(np.diff(distance) >= 0)
    assert distance[-1] <= 32
    near = {(y, x) for y in range(-4, 5) for x in range(-4, 5) if 0 < y * y + x * x <= DENSE**2}
    assert near <= places
    assert pattern(1)[0].shape == (4, 2)


def test_weights_are_as_defined():
    rng = np.random.default_rng(0)
    for count, similar in [(1, 20), (2, 1), (7, 20), (50, 20), (50, 7)]:
        unlike, distance = rng.random(60), rng.random(60) + 1
        out = np.empty(60)
        squares = weigh(unlike, distance, count, similar, np.empty(similar), out)
        expected = weights_of(unlike[:count], distance[:count], similar)
        np.testing.assert_allclose(out[:count], expected, rtol=1e-12)
        assert squares == pytest.approx((expected**2).sum())


def test_classes_part_what_runs_differently():
    rng = np.random.default_rng(0)
    courses = np.array([[0, 0, 1, 1], [1, 1, 0, 0]], float)
    kind = rng.integers(0, 2, 200)
    pixels = courses[kind][:, :, None] + rng.normal(0, 0.05, (200, 4, 1))
    pixels[rng.random((200, 4)) < 0.3] = np.nan
    pixels = pixels[np.isfinite(pixels).any(axis=(1, 2))]
    assert len(pixels) == 200 or kind.size  # a pixel without any value has no class
    label = group(pixels, np.ones(1), 2)
    kind = kind[: len(label)]
    assert set(label.tolist()) == {0, 1}


@pytest.mark.parametrize(("name", "value"), [("reach", 0), ("similar", 0), ("classes", -1)])
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}: give a whole number of at least"):
        Params(**{name: value})
