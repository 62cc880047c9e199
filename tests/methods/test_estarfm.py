"""ESTARFM against its definition, its laws and its edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xstf.methods.fuse.estarfm import METHOD, Params, State
from xstf.methods.fuse.estarfm.conversion import conversion, regression_terms

HOST = ["numba", "numpy"]  # the laws run the kernels of the GPU, too
pytestmark = pytest.mark.slow  # its loops compile for long

RATIO = 4
SMALL = Params(window=9)


def scene(bands: int = 2, coarse_side: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two pairs and a target: smooth fields with their own seasons, and noise."""
    rng = np.random.default_rng(seed)
    side = coarse_side * RATIO
    fields = rng.integers(0, 3, (side // 6, side // 6)).repeat(6, 0).repeat(6, 1)
    season = rng.uniform(0.1, 0.5, (3, bands, 3))
    images = season[..., fields] + rng.normal(0, 0.01, (3, bands, side, side))
    blocks = images.reshape(3, bands, coarse_side, RATIO, coarse_side, RATIO)
    coarse = blocks.mean((3, 5)) + rng.normal(0, 0.005, (3, bands, coarse_side, coarse_side))
    return images[:2].astype(np.float32), coarse.astype(np.float32)


def with_holes(fine: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clouds on each date, both sides by side, one band alone, and missing coarse pixels."""
    fine, coarse = fine.copy(), coarse.copy()
    fine[0, :, 3:15, 3:15] = np.nan
    fine[1, :, 10:20, 10:20] = np.nan
    fine[0, 0, 28:30, 4:9] = np.nan
    coarse[0, :, 7, 7] = np.nan
    coarse[2, :, 5, 1] = np.nan
    return fine, coarse


def settle(fine: np.ndarray, coarse: np.ndarray, params: Params) -> State:
    samples = METHOD.prepare(fine, coarse, ratio=RATIO, params=params)
    return METHOD.settle(samples, ratio=RATIO, params=params)


def fuse(
    fine: np.ndarray,
    coarse: np.ndarray,
    params: Params = SMALL,
    engine: str = "numba",
    std: bool = False,
):
    height, width = fine.shape[-2:]
    estimate, deviation = METHOD.kernels[engine](
        fine,
        coarse,
        ratio=RATIO,
        params=params,
        state=settle(fine, coarse, params),
        inner=(slice(0, height), slice(0, width)),
        std=std,
    )
    assert estimate.dtype == np.float32
    return (estimate, deviation) if std else estimate


def test_numba_agrees_with_the_definition_with_holes_in_every_input():
    fine, coarse = with_holes(*scene())
    for got, wanted in zip(
        fuse(fine, coarse, std=True), fuse(fine, coarse, engine="numpy", std=True), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_numba_agrees_with_the_definition_for_one_band_and_a_wide_window():
    fine, coarse = scene(bands=1)
    wide = Params(window=31, classes=2)
    np.testing.assert_allclose(
        fuse(fine, coarse, wide), fuse(fine, coarse, wide, "numpy"), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(("rows", "cols"), [((12, 20), (16, 24)), ((0, 8), (28, 36))])
def test_a_tile_gives_what_the_whole_gives(rows, cols):
    params = Params(window=5)
    fine, coarse = with_holes(*scene())
    whole = fuse(fine, coarse, params)
    halo = -(-METHOD.halo(params, RATIO) // RATIO) * RATIO
    outer = [slice(max(0, a - halo), min(36, b + halo)) for a, b in (rows, cols)]
    assert any(part.stop - part.start < 36 for part in outer)
    inner = tuple(
        slice(a - out.start, b - out.start) for (a, b), out in zip((rows, cols), outer, strict=True)
    )
    coarse_outer = tuple(slice(part.start // RATIO, part.stop // RATIO) for part in outer)
    tile, _ = METHOD.kernels["numba"](
        np.ascontiguousarray(fine[:, :, *outer]),
        np.ascontiguousarray(coarse[:, :, *coarse_outer]),
        ratio=RATIO,
        params=params,
        state=settle(fine, coarse, params),
        inner=inner,
        std=False,
    )
    np.testing.assert_allclose(tile, whole[:, slice(*rows), slice(*cols)], atol=1e-6)


def test_nothing_beyond_the_halo_sees_a_changed_pixel():
    params = Params(window=3)
    fine, coarse = scene(coarse_side=12)
    halo = METHOD.halo(params, RATIO)
    poked_fine, poked_coarse = fine.copy(), coarse.copy()
    poked_fine[0, 0, 2, 2] += 0.2
    poked_coarse[2, 0, 0, 0] += 0.2
    state = settle(fine, coarse, params)
    inner = (slice(0, 48), slice(0, 48))
    before, after = (
        METHOD.kernels["numba"](
            f, c, ratio=RATIO, params=params, state=state, inner=inner, std=False
        )[0]
        for f, c in ((fine, coarse), (poked_fine, poked_coarse))
    )
    changed = np.argwhere((before != after).any(0))
    assert len(changed)
    assert changed.max() <= RATIO - 1 + halo


def test_no_change_returns_the_fine_image():
    fine, coarse = scene()
    fine[1], coarse[1:] = fine[0], coarse[0]
    np.testing.assert_allclose(fuse(fine, coarse), fine[0], atol=1e-6)


@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_ten_thousand_times_the_data_give_ten_thousand_times_the_result(engine):
    fine, coarse = scene()
    factor = np.float32(1e4)
    wanted = fuse(fine, coarse, engine=engine)
    got = fuse(fine * factor, coarse * factor, engine=engine) / factor
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "turn", [lambda a: a[..., ::-1, :], lambda a: a[..., ::-1], lambda a: a.swapaxes(-1, -2)]
)
def test_turning_the_input_turns_the_result(turn):
    fine, coarse = with_holes(*scene())
    turned = fuse(np.ascontiguousarray(turn(fine)), np.ascontiguousarray(turn(coarse)))
    np.testing.assert_allclose(turned, turn(fuse(fine, coarse)), atol=1e-6)


def test_inputs_are_left_as_they_were():
    fine, coarse = with_holes(*scene())
    before = fine.copy(), coarse.copy()
    fuse(fine, coarse, std=True)
    np.testing.assert_array_equal(fine, before[0])
    np.testing.assert_array_equal(coarse, before[1])


def test_result_is_missing_exactly_where_no_pair_or_no_target_is():
    fine, coarse = with_holes(*scene())
    estimate, deviation = fuse(fine, coarse, std=True)
    coarse_on_fine = np.isfinite(coarse).repeat(RATIO, -1).repeat(RATIO, -2)
    pair = np.isfinite(fine) & coarse_on_fine[:2] & coarse_on_fine[2]
    assert not pair.any(0).all()
    np.testing.assert_array_equal(np.isfinite(estimate), pair.any(0))
    np.testing.assert_array_equal(np.isfinite(deviation), pair.any(0))


def test_all_missing_gives_all_missing():
    fine, coarse = (np.full_like(a, np.nan) for a in scene())
    for engine in HOST:
        assert np.isnan(fuse(fine, coarse, engine=engine)).all()


def test_a_pixel_with_one_pair_is_predicted_from_that_pair_alone():
    fine, coarse = scene()
    cloud = (slice(None), slice(8, 24), slice(8, 24))
    fine[0][cloud] = np.nan
    lone = fine.copy(), coarse.copy()
    lone[0][0] = np.nan
    # Its own fine value of the one pair comes through unweighted when nothing changed.
    still = coarse.copy()
    still[2] = still[0] = still[1]
    np.testing.assert_allclose(fuse(fine, still)[cloud], fine[1][cloud], atol=1e-6)
    assert np.isfinite(fuse(fine, coarse)).all()
    # Without the first pair anywhere, only the second one is left, and that is enough.
    assert np.isfinite(fuse(*lone)).all()


def test_pixels_that_share_no_date_do_not_vote_for_each_other():
    fine, coarse = scene(bands=1)
    fine[0, :, :, :18], fine[1, :, :, 18:] = np.nan, np.nan
    pokes = coarse.copy()
    pokes[0, :, :, :4] += 0.1 * np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    # The left half has the second pair only: what the first coarse image says there is not used.
    left = (slice(None), slice(None), slice(0, 8))
    np.testing.assert_allclose(
        METHOD.kernels["numba"](
            fine,
            pokes,
            ratio=RATIO,
            params=SMALL,
            state=settle(fine, coarse, SMALL),
            inner=(slice(0, 36), slice(0, 36)),
            std=False,
        )[0][left],
        fuse(fine, coarse)[left],
        atol=1e-6,
    )


def test_it_beats_the_plain_change_where_fields_change_apart():
    rng = np.random.default_rng(3)
    fields = rng.integers(0, 2, (12, 12)).repeat(6, 0).repeat(6, 1)
    # Not half-way between the pairs: there the plain change is exact.
    season = np.array([[0.1, 0.4], [0.5, 0.2], [0.4, 0.25]])
    images = (season[:, fields] + rng.normal(0, 0.005, (3, 72, 72)))[:, None]
    coarse = images.reshape(3, 1, 18, 4, 18, 4).mean((3, 5)).astype(np.float32)
    fine = images[:2].astype(np.float32)
    change = (coarse[2] - coarse[:2].mean(0)).repeat(4, -1).repeat(4, -2)
    plain = fine.mean(0) + change
    truth = images[2]
    error = np.sqrt(np.mean((fuse(fine, coarse, Params(window=21)) - truth) ** 2))
    assert error < np.sqrt(np.mean((plain - truth) ** 2))


def test_the_pair_with_less_change_weighs_more():
    fine, coarse = scene()
    fine[0], fine[1] = 0.2, 0.4
    coarse[0], coarse[1], coarse[2] = 0.2, 0.4, 0.2
    coarse += np.random.default_rng(2).normal(0, 0.05, coarse[0].shape).astype(np.float32)
    level = fuse(fine, coarse).mean()
    assert level == pytest.approx(0.2, abs=0.01)
    coarse[2] += 0.2
    later = fuse(fine, coarse).mean()
    assert later == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 50}, {"window": 1}, {"classes": 0}, {"shrinkage": -1}, {"noise": 0},
        {"significance": 0}, {"significance": 1.1},
    ],
)  # fmt: skip
def test_parameters_that_mean_nothing_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*: give a"):
        Params(**wrong)


def test_constant_images_come_back():
    fine = np.full((2, 2, 36, 36), 0.3, np.float32)
    coarse = np.full((3, 2, 9, 9), 0.25, np.float32)
    np.testing.assert_allclose(fuse(fine, coarse), 0.3, atol=1e-6)


def test_a_ratio_of_one_works():
    fine, coarse = scene()
    full = coarse.repeat(RATIO, -1).repeat(RATIO, -2)
    state = METHOD.settle(METHOD.prepare(fine, full, ratio=1, params=SMALL), ratio=1, params=SMALL)
    inner = (slice(0, 36), slice(0, 36))
    results = [
        kernel(fine, full, ratio=1, params=SMALL, state=state, inner=inner, std=False)[0]
        for kernel in (METHOD.kernels[e] for e in HOST)
    ]
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-6)


def regression(x: np.ndarray, y: np.ndarray, significance: float) -> np.ndarray:
    """V of each of many regressions: fine y on coarse x, (case, value)."""
    pairs = [a.astype(np.float32).reshape(len(a), 2, -1).swapaxes(0, 1)[:, None] for a in (y, x)]
    there = np.ones(pairs[0][:, 0].shape, bool)
    terms = regression_terms(*pairs, there, (np.zeros(1), np.zeros(1)), gate=significance < 1)
    sums = terms.sum(-1, keepdims=True)
    return conversion(sums, np.zeros(1), significance)[0, :, 0]


@pytest.mark.parametrize("count", [4, 6, 30])
@pytest.mark.parametrize("level", [0.05, 0.3])
def test_the_slope_counts_only_where_the_regression_is_significant(count, level):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, count))
    y = 0.4 * x + rng.normal(size=x.shape)
    lines = [stats.linregress(*rows) for rows in zip(x, y, strict=True)]
    chance = np.array([line.pvalue for line in lines])
    plain = np.clip([line.slope for line in lines], 0, 5)
    tested = regression(x, y, level)
    assert 40 < (chance > level).sum() < 390
    np.testing.assert_array_equal(tested[chance > level * 1.001], 1)
    # Clearly significant: F is 1.25 times its bound, or more.
    clear = chance < stats.f.sf(1.26 * stats.f.isf(level, 1, count - 2), 1, count - 2)
    assert clear.any()
    np.testing.assert_allclose(tested[clear], plain[clear], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(regression(x, y, 1.0), plain, rtol=1e-4, atol=1e-5)
    # In between V lies between 1 and the slope.
    low, high = np.minimum(plain, 1), np.maximum(plain, 1)
    assert ((tested >= low - 1e-5) & (tested <= high + 1e-5)).all()


@pytest.mark.parametrize("level", [1e-30, 0.05, 1 - 1e-16])
def test_regressions_that_cannot_be_tested_are_not_significant(level):
    x = np.array([[0.1, 0.3], [0.2, 0.2]])
    np.testing.assert_array_equal(regression(x, 2 * x, level), 1)  # any line fits two values
    flat = np.full((1, 8), 0.3)
    np.testing.assert_array_equal(regression(flat, flat, level), 1)
    rising = np.linspace(0, 1, 8)[None]
    np.testing.assert_array_equal(regression(rising, flat, level), 1)


def test_without_a_significant_regression_similar_pixels_pass_on_their_change_as_it_is():
    """One date's fine image is noise around the coarse one: no slope, so V is 1 wherever tested."""
    fine, coarse = scene(bands=1)
    rng = np.random.default_rng(5)
    fine = rng.normal(0.3, 0.05, fine.shape).astype(np.float32)
    coarse = rng.normal(0.3, 0.05, coarse.shape).astype(np.float32)
    options = {"window": 9, "classes": 0.5}  # all are similar
    strict = fuse(fine, coarse, Params(**options, significance=1e-12))
    drawn = fuse(fine, coarse, Params(**options, shrinkage=1e9, significance=1.0))
    plain = fuse(fine, coarse, Params(**options, significance=1.0))
    np.testing.assert_allclose(strict, drawn, atol=1e-6)
    assert np.abs(plain - drawn).max() > 1e-3


@pytest.mark.parametrize("significance", [0.05, 0.5, 1.0])
def test_numba_agrees_with_the_definition_at_every_significance(significance):
    fine, coarse = with_holes(*scene(seed=4))
    params = Params(window=9, significance=significance, shrinkage=0.02)
    got, wanted = (fuse(fine, coarse, params, engine) for engine in ("numba", "numpy"))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
