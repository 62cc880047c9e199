"""The Gaussian process at the level of its kernels: definition, missing values, laws, promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill._intervals import with_intervals
from xstf.methods.gapfill.gp import METHOD, Params, State
from xstf.methods.gapfill.gp import basis as _gp_basis
from xstf.methods.gapfill.gp import coregionalization as _coregion
from xstf.methods.gapfill.gp import linear_solve as _gp_linear

pytestmark = pytest.mark.slow  # its loops compile for long

ENGINES = ["numba", "numpy"]
SHARP = Params(speckle=1)


def scene(dates=15, bands=3, size=(9, 11), guide=2, seed=0, missing=0.3, days=30.0):
    """Return a cube with holes, a guide, times and the truth: seasons and weather, SAR with noise.

    Weather lasts about 40 days; all bands and the guide are mixtures of two courses in time.
    """
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.6, 1.4, dates)) * days
    times -= times[0]
    gap = np.abs(times[:, None] - times)
    course = np.exp(-gap / 40) + 0.7 * np.cos(2 * np.pi * gap / 365.25)
    root = np.linalg.cholesky(course + 1e-9 * np.eye(dates))
    factors = np.einsum("tu,uryx->tryx", root, rng.normal(size=(dates, 2, *size)))
    mix = rng.normal(size=(bands + guide, 2))
    mix[bands:] = [[1, 0.5], [-0.5, 1]]  # the guide alone tells both courses
    both = np.einsum("pr,tryx->tpyx", mix, factors)
    both += 0.5 * rng.normal(size=(1, bands + guide, *size))
    both += 0.1 * rng.normal(size=both.shape)
    truth = (0.3 + 0.05 * both[:, :bands]).astype(np.float32)
    holes = rng.random((dates, 1, *size)) < missing
    cube = np.where(holes, np.float32(np.nan), truth)
    return cube, (both[:, bands:] * 2 - 12).astype(np.float32), times, truth


def made_up(times, bands, guide, factors, seed=0):
    """Return a state that nothing was fitted to, laid out as settle does."""
    rng = np.random.default_rng(seed)
    outputs = bands + guide
    width = min(factors, outputs)
    noise = rng.uniform(0.05, 0.3, outputs)
    axes = np.linalg.qr(rng.normal(size=(outputs, outputs)))[0][:, :width]
    roots = rng.normal(size=(4, width, width)) if guide else rng.normal(size=(4, width, 1))
    mix = roots @ roots.swapaxes(1, 2) * (1 if guide else np.eye(width))
    return State(
        scale=rng.uniform(0.05, 0.2, outputs),
        loading=np.sqrt(noise)[:, None] * axes,
        noise=noise,
        kernel=np.einsum("ctu,crs->turs", _coregion.kernels(times, 30.0), mix),
        inflate=rng.uniform(0.8, 1.2, bands),
    )


def settle(cube, guide, times, params=SHARP):
    samples = GapfillSamples(cube[None], None if guide is None else guide[None])
    return METHOD.settle(samples, times=times, params=params)


def fill(cube, guide, times, params=SHARP, engine="numba", std=True, inner=None, state=None):
    """Run settle and one kernel."""
    state = state or settle(cube, guide, times, params)
    inner = inner or tuple(slice(0, n) for n in cube.shape[2:])
    estimate, deviation, in_space = METHOD.kernels[engine](
        cube, guide, times=times, params=params, state=state, inner=inner, std=std
    )
    assert in_space is None
    return estimate, deviation


def by_hand(cube, guide, state, y, x):
    """Return one pixel's estimate and deviation from the model's equation, as loops."""
    both = np.concatenate([cube, guide], axis=1)[:, :, y, x].astype(np.float64)
    dates, outputs = both.shape
    where = [(t, p) for t in range(dates) for p in range(outputs) if np.isfinite(both[t, p])]
    mean = np.nanmean(both, axis=0)
    load, kernel = state.loading, state.kernel

    def cov(t, p, u, q):
        return load[p] @ kernel[t, u] @ load[q]

    values = np.array([(both[t, p] - mean[p]) / state.scale[p] for t, p in where])
    matrix = np.array([[cov(t, p, u, q) for u, q in where] for t, p in where])
    matrix += np.diag([state.noise[p] for _, p in where])
    estimate, deviation = np.zeros((2, dates, cube.shape[1]))
    for t, p in np.ndindex(*estimate.shape):
        cross = np.array([cov(t, p, u, q) for u, q in where])
        weights = np.linalg.solve(matrix, cross)
        estimate[t, p] = mean[p] + state.scale[p] * (weights @ values)
        variance = cov(t, p, t, p) - weights @ cross + state.noise[p]
        deviation[t, p] = state.scale[p] * np.sqrt(variance) * state.inflate[p]
    return estimate, deviation


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pixel_is_the_posterior_of_the_model(engine):
    cube, guide, times, _ = scene(dates=9)
    state = made_up(times, 3, 2, 4)
    estimate, deviation = fill(cube, guide, times, engine=engine, state=state)
    expected, spread = by_hand(cube, guide, state, 3, 4)
    hidden = np.isnan(cube[:, :, 3, 4])
    assert 0 < hidden.sum() < hidden.size
    np.testing.assert_allclose(estimate[:, :, 3, 4], expected, rtol=1e-6)
    np.testing.assert_allclose(deviation[:, :, 3, 4][hidden], spread[hidden], rtol=1e-6)


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("factors", [2, 6])
@pytest.mark.parametrize("bands", [1, 4])
def test_engines_agree_whatever_is_missing(guided, factors, bands):
    cube, guide, times, _ = scene(bands=bands, seed=1)
    rng = np.random.default_rng(5)
    cube[rng.random(cube.shape) < 0.1] = np.nan  # single bands
    cube[..., 0, 0] = np.nan
    cube[:, 0, 1, 1] = np.nan
    cube[1:, :, 2, 2] = np.nan
    guide[rng.random(guide.shape) < 0.2] = np.nan
    guide[..., 3, 3] = np.nan
    guide[:, 1, 4, 4] = np.nan
    guide = guide if guided else None
    params = Params(factors=factors)
    state = made_up(times, bands, 2 if guided else 0, factors)
    fast, slow = (fill(cube, guide, times, params, e, state=state) for e in ENGINES)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert np.isnan(fast[0][..., 0, 0]).all()
    assert np.isnan(fast[0][:, 0, 1, 1]).all()
    if bands > 1:
        assert np.isfinite(fast[0][:, 1:, 1, 1]).all()


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("factors", [3, 6])
def test_the_shorter_of_two_systems_gives_the_definition(share, guided, factors):
    cube, guide, times, _ = scene(bands=4, missing=share, size=(9, 12), seed=2)
    guide[::3] = np.nan
    guide[4, 1, :, :2] = np.nan
    patterns = len(np.unique(np.isnan(cube[:, 0, :, 2:]).reshape(15, -1), axis=1).T)
    assert patterns >= _gp_basis.SHARING  # else the precision is not used
    state = made_up(times, 4, 2 if guided else 0, factors)
    guide = guide if guided else None
    fast, slow = (fill(cube, guide, times, engine=e, state=state) for e in ENGINES)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    bare = fill(cube, guide, times, std=False, state=state)[0]
    np.testing.assert_allclose(bare, fast[0], rtol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 27])
def test_elimination_solves_and_inverts(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(size, size + 3))
    matrix = root @ root.T
    upper = np.linalg.cholesky(matrix).T
    for right in (np.eye(size), rng.normal(size=(size, 5)), np.zeros((size, 0))):
        work = np.full((size, size + right.shape[1] + 1), np.nan)  # nothing beyond is touched
        work[:, :size] = np.triu(matrix)
        work[:, size:-1] = right
        _gp_linear.eliminate(work, size, right.shape[1], right.shape[1] == size)
        np.testing.assert_allclose(np.triu(work[:, :size]), upper, rtol=1e-8, atol=1e-10)
        expected = np.linalg.solve(upper.T, right)
        np.testing.assert_allclose(work[:, size:-1], expected, rtol=1e-8, atol=1e-10)
        assert np.isnan(work[:, -1]).all()
    vector = rng.normal(size=size)
    expected = np.linalg.solve(matrix, vector)
    _gp_linear.substitute(work, size, vector)
    np.testing.assert_allclose(vector, expected, rtol=1e-6)


def test_what_a_guide_tells_is_the_conditional_of_the_joint_covariance():
    _, _, times, _ = scene(dates=5)
    state = made_up(times, 3, 2, 4)
    shared = _gp_basis.find_basis(state.loading, state.noise, state.kernel, 3)
    assert not shared.apart
    seen = np.arange(10) % 3 > 0
    spread, pull = _gp_basis.given(shared, 15, seen)
    cells = np.r_[:15, 15 + np.flatnonzero(seen)]
    precision = np.linalg.inv(shared.spread[np.ix_(cells, cells)])
    np.testing.assert_allclose(np.linalg.inv(spread), precision[:15, :15], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(-spread @ precision[:15, 15:], pull.T, rtol=1e-5, atol=1e-8)


def test_only_hidden_bands_have_a_deviation():
    cube, guide, times, _ = scene(bands=4)
    cube[3:6, 1, 2:5] = np.nan
    for sar in (guide, None):
        state = made_up(times, 4, 0 if sar is None else 2, 6)
        for engine in ENGINES:
            deviation = fill(cube, sar, times, engine=engine, state=state)[1]
            np.testing.assert_array_equal(np.isfinite(deviation), np.isnan(cube))


def test_every_hidden_cell_has_a_deviation_and_no_whole_date_has_one():
    cube, guide, times, _ = scene()
    state = made_up(times, 3, 2, 4)
    estimate, deviation = fill(cube, guide, times, state=state)
    assert estimate.dtype == deviation.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(deviation), np.isnan(cube))
    assert (deviation[np.isnan(cube)] > 0).all()
    assert fill(cube, guide, times, std=False, state=state)[1] is None


@pytest.mark.parametrize("engine", ENGINES)
def test_the_tile_and_its_halo_give_what_the_whole_gives(engine):
    cube, guide, times, _ = scene(size=(12, 13))
    params = Params(speckle=3)
    reach = METHOD.halo(params, 1)
    state = made_up(times, 3, 2, 4)
    whole = fill(cube, guide, times, params, engine, state=state)
    part = (slice(4, 9), slice(5, 10))
    cut = tuple(slice(s.start - reach, s.stop + reach) for s in part)
    inner = tuple(slice(reach, reach + 5) for _ in part)
    tile = fill(
        *(np.ascontiguousarray(a[:, :, *cut]) for a in (cube, guide)),
        times, params, engine, state=state, inner=inner,
    )  # fmt: skip
    for a, b in zip(tile, whole, strict=True):
        np.testing.assert_allclose(a, b[:, :, *part], rtol=1e-6)


def test_the_halo_is_honest_and_needed():
    cube, guide, times, _ = scene(size=(11, 11))
    params = Params(speckle=5)
    state = made_up(times, 3, 2, 4)
    before = fill(cube, guide, times, params, state=state)[0]
    poked = guide.copy()
    poked[:, :, 5, 5] += 3 * np.arange(len(times))[:, None]
    changed = (fill(cube, poked, times, params, state=state)[0] != before).any(axis=(0, 1))
    rows, columns = np.nonzero(changed)
    assert rows.min() == columns.min() == 3
    assert rows.max() == columns.max() == 7
    poked = cube.copy()
    poked[:, :, 5, 5] *= 2
    changed = (fill(poked, guide, times, params, state=state)[0] != before).any(axis=(0, 1))
    assert changed.sum() == 1


def test_units_do_not_matter():
    cube, guide, times, _ = scene(dates=10)
    estimate, deviation = fill(cube, guide, times)
    scaled, spread = fill(cube * np.float32(1e4), guide * np.float32(0.1), times)
    np.testing.assert_allclose(scaled, estimate * 1e4, rtol=1e-4)
    np.testing.assert_allclose(spread, deviation * 1e4, rtol=1e-3)
    shifted, spread = fill(cube + np.float32(1), guide - np.float32(3), times)
    np.testing.assert_allclose(shifted, estimate + 1, atol=1e-4)
    np.testing.assert_allclose(spread, deviation, rtol=1e-2)


def test_the_order_of_bands_and_the_side_it_is_seen_from_do_not_matter():
    cube, guide, times, _ = scene(size=(9, 9))
    params = Params(speckle=3)
    state = made_up(times, 3, 2, 4)
    base = fill(cube, guide, times, params, state=state)
    for turn in (lambda a: a[..., ::-1, :], lambda a: a[..., ::-1], lambda a: a.swapaxes(-1, -2)):
        turned = [np.ascontiguousarray(turn(a)) for a in (cube, guide)]
        for a, b in zip(fill(*turned, times, params, state=state), base, strict=True):
            np.testing.assert_allclose(a, turn(b), rtol=1e-5)
    order = [2, 0, 1]
    other = fill(np.ascontiguousarray(cube[:6, order]), guide[:6], times[:6], params)
    again = fill(cube[:6], guide[:6], times[:6], params)
    for a, b in zip(other, again, strict=True):
        np.testing.assert_allclose(a, b[:, order], rtol=1e-4)


@pytest.mark.parametrize("guided", [True, False])
def test_a_constant_pixel_stays_constant(guided):
    cube, guide, times, _ = scene()
    level = np.array([0.1, 0.7, -3.0], np.float32)
    cube[..., 2, 3] = np.where(np.isnan(cube[..., 2, 3]), np.nan, level)
    guide[..., 2, 3] = -9.5
    state = made_up(times, 3, 2 if guided else 0, 4)
    estimate, _ = fill(cube, guide if guided else None, times, state=state)
    np.testing.assert_allclose(estimate[..., 2, 3], np.broadcast_to(level, (15, 3)), rtol=1e-6)
    flat = np.full_like(cube, 0.25)
    flat[3:7] = np.nan
    np.testing.assert_array_equal(fill(flat, guide if guided else None, times)[0][3:7], 0.25)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("guided", [True, False])
def test_nothing_in_nothing_out(engine, guided):
    cube, guide, times, _ = scene(size=(4, 5))
    cube[:] = np.nan
    for array in fill(cube, guide if guided else None, times, engine=engine):
        assert array.shape == cube.shape
        assert np.isnan(array).all()


def test_a_guide_without_values_changes_nothing_where_it_has_none():
    cube, guide, times, _ = scene()
    state = made_up(times, 3, 2, 4)
    with_guide = fill(cube, guide, times, state=state)[0]
    guide[..., 1, 2] = np.nan
    without = fill(cube, guide, times, state=state)[0]
    lone = dataclasses.replace(
        state, scale=state.scale[:3], loading=state.loading[:3], noise=state.noise[:3]
    )
    alone = fill(cube, None, times, state=lone)[0]
    np.testing.assert_allclose(without[..., 1, 2], alone[..., 1, 2], rtol=1e-6)
    assert np.abs(without - with_guide)[..., 1, 2].max() > 1e-3
    without[..., 1, 2] = with_guide[..., 1, 2]
    np.testing.assert_array_equal(without, with_guide)


def test_inputs_are_left_alone_and_answers_repeat():
    cube, guide, times, _ = scene()
    copies = cube.copy(), guide.copy(), times.copy()
    state = settle(cube, guide, times)
    first = fill(cube, guide, times, state=state)
    for array, copy in zip((cube, guide, times), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    for a, b in zip(first, fill(cube, guide, times), strict=True):  # settled again
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def long_gaps():
    """A scene whose targets are hidden on runs of dates, as in a cloudy season."""
    cube, guide, times, truth = scene(dates=36, size=(20, 21), missing=0.1, days=10, seed=3)
    for start in (6, 17, 28):
        cube[start : start + 5] = np.nan
    return {"cube": cube, "truth": truth, "guide": guide, "times": times}


def test_sar_helps_over_long_gaps_and_both_beat_the_mean(long_gaps):
    cube, truth, guide, times = (long_gaps[k] for k in ("cube", "truth", "guide", "times"))
    fills = {"alone": fill(cube, None, times), "sar": fill(cube, guide, times)}
    hidden = np.isnan(cube)
    error = {k: np.sqrt(np.mean((v[0] - truth)[hidden] ** 2)) for k, v in fills.items()}
    mean = np.broadcast_to(np.nanmean(cube, axis=0), cube.shape)
    trivial = np.sqrt(np.mean((mean - truth)[hidden] ** 2))
    assert error["alone"] < 0.8 * trivial
    assert error["sar"] < 0.6 * error["alone"]


@pytest.mark.parametrize("name", ["alone", "sar"])
def test_the_ninety_percent_interval_holds_ninety_percent(long_gaps, name):
    """As a user has it: by hidden pixels, which count SAR that tells nearly all for what it is."""
    cube, truth, guide, times = (long_gaps[k] for k in ("cube", "truth", "guide", "times"))
    record = with_intervals(METHOD)
    guide = guide if name == "sar" else None
    samples = GapfillSamples(cube[None], None if guide is None else guide[None])
    state = record.settle(samples, times=times, params=SHARP)
    inner = tuple(slice(0, n) for n in cube.shape[2:])
    estimate, deviation, _ = record.kernels["numba"](
        cube, guide, times=times, params=SHARP, state=state, inner=inner, std=True
    )
    hidden = np.isnan(cube)
    inside = np.abs(estimate - truth)[hidden] <= 1.6449 * deviation[hidden]
    assert 0.87 <= inside.mean() <= 0.93


def test_the_fit_finds_covariances_that_are_as_modelled():
    times = np.arange(0, 500, 10.0)
    basis = _coregion.kernels(times, 15.0)
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(3, 2, 2))
    mix = roots @ roots.transpose(0, 2, 1)
    full = np.concatenate([np.eye(2)[None], mix])
    covariance = np.einsum("ctu,cpq->tupq", basis, full)
    covariance[np.arange(50), np.arange(50)] += np.diag([0.3, 0.1])
    covariance = covariance.reshape(2500, 4)
    found, noise = _coregion._fit(covariance, np.ones_like(covariance), basis)
    np.testing.assert_allclose(found[0], mix[0], atol=0.02)
    np.testing.assert_allclose(found.sum(axis=0), mix.sum(axis=0), rtol=0.02, atol=0.02)
    np.testing.assert_allclose(noise, [0.3, 0.1], atol=0.02)


def test_the_smoothest_of_equals_is_chosen():
    date = np.arange(10)
    worse, same = np.linspace(1, 2, 10), np.linspace(0.99, 1.6, 10)

    def trial(error):
        return _coregion.Skill(error, np.ones(10), date, np.zeros(10, int))

    assert _coregion._choose([trial(same), trial(same + 0.01), trial(worse + 1)]) == 1
    assert _coregion._choose([trial(worse + 1), trial(same)]) == 1
    assert _coregion._choose([trial(same), trial(worse + 1)]) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"factors": 0}, "factors=0: give a whole number"),
        ({"factors": 2.5}, "factors=2.5: give a whole number"),
        ({"speckle": 4}, "speckle=4: give an odd whole number"),
        ({"speckle": -1}, "speckle=-1: give an odd whole number"),
    ],
)
def test_params_that_have_no_meaning_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Params(**given)
