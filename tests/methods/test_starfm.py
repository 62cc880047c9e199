"""STARFM against its definition, on small synthetic scenes."""

import importlib
import warnings
from dataclasses import replace

import numpy as np
import pytest

from xstf.methods.fuse import starfm
from xstf.methods.fuse.starfm import METHOD, Params

RATIO = 4
SMALL = Params(window=9)


def scene(seed=0, pairs=2, bands=2, size=(12, 10), ratio=RATIO):
    """Fields of a few levels with noise, coarse block means of them, a target that changed."""
    rng = np.random.default_rng(seed)
    shape = tuple(n * ratio for n in size)
    fields = rng.integers(0, 5, (bands, shape[0] // 5 + 1, shape[1] // 5 + 1)) * 0.1
    truth = np.kron(fields, np.ones((5, 5)))[:, : shape[0], : shape[1]]
    days = np.stack([truth + rng.normal(0.02 * k, 0.03, truth.shape) for k in range(pairs + 1)])
    blocks = days.reshape(pairs + 1, bands, size[0], ratio, size[1], ratio).mean((3, 5))
    return days[:pairs].astype(np.float32), blocks.astype(np.float32)


def clouded(seed=0, **kwargs):
    """Return the scene with holes in a fine image, a pair's coarse image and the target's."""
    fine, coarse = scene(seed, **kwargs)
    fine[0, 0, 5:12, 8:20] = np.nan
    fine[:, 1, 0, 0] = np.nan
    coarse[0, :, 2, 3] = np.nan
    coarse[-1, 1, 7, 5] = np.nan
    return fine, coarse


def settled(fine, coarse, ratio=RATIO, params=SMALL):
    samples = METHOD.prepare(fine, coarse, ratio=ratio, params=params)
    return METHOD.settle(samples, ratio=ratio, params=params)


def fuse(
    fine, coarse, engine="numba", *, ratio=RATIO, params=SMALL, state=None, inner=None, std=False
):
    inner = inner or tuple(slice(0, n) for n in fine.shape[2:])
    state = state or settled(fine, coarse, ratio, params)
    kernel = METHOD.kernels[engine]
    return kernel(fine, coarse, ratio=ratio, params=params, state=state, inner=inner, std=std)


@pytest.fixture(params=["numba", "numpy"])
def engine(request):
    return request.param


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("window", [3, 9, 101])
def test_numba_agrees_with_the_definition(pairs, window):
    fine, coarse = clouded(pairs=pairs)
    params = Params(window=window)
    inner = (slice(3, 21), slice(0, 33))
    found = fuse(fine, coarse, params=params, inner=inner, std=True)
    wanted = fuse(fine, coarse, "numpy", params=params, inner=inner, std=True)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype == np.float32
        assert a.shape == b.shape == (2, 18, 33)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert np.isfinite(found[0]).mean() > 0.9
    assert fuse(fine, coarse, params=params)[1] is None


def test_the_definition_by_hand(engine):
    """Three pixels in a row, of which one is not similar, at ratio 1."""
    fine = np.array([0.5, 0.5, 0.9], np.float32).reshape(1, 1, 1, 3)
    coarse = np.array([[0.4, 0.45, 0.9], [0.6, 0.55, 0.2]], np.float32).reshape(2, 1, 1, 3)
    state = settled(fine, coarse, 1, params := Params(window=3, classes=4, distance=2))
    unit, shift = state.unit.item(), state.shift.item()
    assert shift == pytest.approx(0.1)
    change, mismatch = np.array([0.2, 0.1]), np.array([0.1, 0.05])
    weight = (mismatch / unit + 0.1) ** -2.0 * (abs(change - shift) / unit + 0.3) ** -2.0
    weight = weight * [(1 + 1 / 2) ** -2, 1]
    mean = (weight * change).sum() / weight.sum()
    spread = (weight * (change - 0.1) ** 2).sum() / weight.sum()
    details = ((0.05**2 + np.mean([0.1**2, 0.05**2, 0])) / 2) * np.var([0.2, 0.1, -0.7])
    spread += details / (np.var([0.4, 0.45, 0.9]) + 0.01 * unit**2)
    estimate, std = fuse(fine, coarse, engine, ratio=1, params=params, state=state, std=True)
    assert estimate[0, 0, 1] == pytest.approx(0.5 + mean, rel=1e-5)
    assert std[0, 0, 1] == pytest.approx(spread**0.5, rel=1e-4)
    assert estimate[0, 0, 2] == pytest.approx(0.9 - 0.7, rel=1e-5)


def test_no_change_returns_fine(engine):
    fine, coarse = scene()
    fine[1], coarse[:] = fine[0], coarse[0]
    estimate, std = fuse(fine, coarse, engine, std=True)
    np.testing.assert_allclose(estimate, fine[0], atol=1e-6)
    np.testing.assert_allclose(std, 0, atol=1e-6)


def test_an_offset_of_the_target_is_an_offset_of_the_result():
    fine, coarse = clouded()
    moved = coarse.copy()
    moved[-1] += 0.25
    np.testing.assert_allclose(fuse(fine, moved)[0], fuse(fine, coarse)[0] + 0.25, atol=3e-6)


def test_the_unit_of_the_data_does_not_matter():
    fine, coarse = clouded()
    small, big = fuse(fine, coarse, std=True), fuse(fine * 10000, coarse * 10000, std=True)
    for a, b in zip(small, big, strict=True):
        np.testing.assert_allclose(b, a * 10000, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("turn", [np.flip, np.fliplr, np.flipud, np.transpose])
def test_turned_in_is_turned_out(turn):
    def turned(stack):
        planes = [np.ascontiguousarray(turn(p)) for p in stack.reshape(-1, *stack.shape[-2:])]
        return np.stack(planes).reshape(*stack.shape[:-2], *planes[0].shape)

    fine, coarse = clouded()
    found = fuse(turned(fine), turned(coarse))[0]
    np.testing.assert_allclose(found, turned(fuse(fine, coarse)[0]), atol=2e-6)


@pytest.mark.parametrize("window", [9, 51])
def test_tiles_with_a_halo_equal_the_whole(window):
    params = Params(window=window)
    fine, coarse = clouded(size=(40, 38))
    state = settled(fine, coarse, params=params)
    whole = fuse(fine, coarse, params=params, state=state, std=True)
    reach = -(-METHOD.halo(params, RATIO) // RATIO)
    for begin, end in ((0, 13), (13, 27), (27, 38)):
        cut = slice(max(0, begin - reach), end + reach)
        zoomed = slice(cut.start * RATIO, cut.stop * RATIO)
        inner = slice((begin - cut.start) * RATIO, (end - cut.start) * RATIO)
        tile = fuse(
            np.ascontiguousarray(fine[..., zoomed]),
            np.ascontiguousarray(coarse[..., cut]),
            params=params,
            state=state,
            inner=(slice(0, 160), inner),
            std=True,
        )
        for part, all_of_it in zip(tile, whole, strict=True):
            wanted = all_of_it[:, :, begin * RATIO : end * RATIO]
            np.testing.assert_allclose(part, wanted, atol=1e-6)


@pytest.mark.parametrize("params", [SMALL, Params(window=51)])
def test_nothing_changes_beyond_the_halo(params):
    fine, coarse = scene(size=(30, 30))
    state = settled(fine, coarse, params=params)
    before = fuse(fine, coarse, params=params, state=state)[0]
    y, x = np.indices(before.shape[1:])
    reach = METHOD.halo(params, RATIO)
    fine[0, 0, 60, 61] += 0.3
    coarse[1, 0, 15, 15] += 0.3
    after = fuse(fine, coarse, params=params, state=state)[0]
    # The block that was changed is 60..63 in y and x.
    beyond = np.maximum(np.maximum(60 - y, y - 63), np.maximum(60 - x, x - 63)) > reach
    assert beyond.any()
    np.testing.assert_array_equal(before[:, beyond], after[:, beyond])
    assert (before[:, ~beyond] != after[:, ~beyond]).any()


def test_missing_pixels_stay_missing_and_weigh_nothing(engine):
    fine, coarse = clouded(pairs=1)
    seen = ~np.isnan(fine[0])
    for image in coarse:
        seen &= np.kron(~np.isnan(image), np.ones((RATIO, RATIO), bool))
    state = settled(fine, coarse)
    found = fuse(fine, coarse, engine, state=state)[0]
    np.testing.assert_array_equal(np.isfinite(found), seen)
    # A pixel that is like no other weighs nothing either, so it stands for a hole exactly.
    odd = np.where(np.isnan(fine), np.float32(100), fine)
    instead = fuse(odd, coarse, engine, state=state)[0]
    np.testing.assert_allclose(instead[seen], found[seen], atol=1e-6)
    # A usable value there does matter, or this test would say nothing.
    plain = np.where(np.isnan(fine), np.float32(0.2), fine)
    assert np.abs(fuse(plain, coarse, engine, state=state)[0] - found)[seen].max() > 1e-4


def test_a_cloud_in_one_pair_leaves_the_other(engine):
    fine, coarse = scene()
    fine[0, 0] = np.nan
    state = settled(fine, coarse)
    both = fuse(fine, coarse, engine, state=state)[0]
    second = starfm.State(*(values[1:] for values in state))
    alone = fuse(fine[1:], coarse[1:], engine, state=second)[0]
    np.testing.assert_allclose(both[0], alone[0], atol=1e-6)
    assert np.abs(both[1] - alone[1]).max() > 1e-3


@pytest.mark.parametrize("fill", [np.nan, 0.0, 0.3])
def test_empty_and_constant_scenes_give_themselves_without_a_warning(engine, fill):
    fine = np.full((2, 1, 16, 16), fill, np.float32)
    coarse = np.full((3, 1, 4, 4), fill, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate, std = fuse(fine, coarse, engine, std=True)
    np.testing.assert_allclose(estimate, fine[0], atol=1e-7)
    np.testing.assert_allclose(std, fine[0] * 0, atol=1e-7)


def test_the_pair_with_the_evener_change_weighs_more():
    fine, coarse = scene()
    fine[1] = fine[0] + 1
    rough = np.random.default_rng(1).normal(0, 0.1, coarse[0].shape)
    coarse[0], coarse[1] = coarse[-1] + rough, coarse[-1] + 1
    assert np.median(fuse(fine, coarse)[0] - fine[0]) < 0.5
    coarse[1] = coarse[1] + rough
    coarse[0] = coarse[-1]
    assert np.median(fuse(fine, coarse)[0] - fine[0]) < 0.1


def test_the_pair_whose_images_agree_weighs_more(engine):
    fine, coarse = scene()
    plain = fine[0].copy()
    fine[1], coarse[1:] = plain + 1, np.stack([coarse[0] + 1, coarse[0]])
    # Haze that the coarse image of the first pair does not have.
    fine[0, :, :12] += 0.3
    share = (fuse(fine, coarse, engine)[0] - plain)[:, :8] / 0.3
    assert 0 < np.median(share) < 0.4


def test_std_is_larger_where_the_change_is_uneven(engine):
    fine, coarse = scene(pairs=1, size=(12, 30))
    coarse[-1] = coarse[0]
    coarse[-1, :, :, 20:] += np.random.default_rng(1).normal(0, 0.1, (2, 12, 10))
    std = fuse(fine, coarse, engine, params=Params(window=3), std=True)[1]
    # L reaches four coarse pixels, its interpolation one more.
    np.testing.assert_allclose(std[..., : 15 * RATIO], 0, atol=1e-6)
    uneven = std[..., 21 * RATIO :]
    assert 0.02 < np.median(uneven) < 0.2


def test_the_unit_does_not_matter_to_images_alike_either():
    _, coarse = scene(pairs=2)
    small, big = (fuse(c[:-1], c, ratio=1, std=True) for c in (coarse, coarse * 10000))
    for a, b in zip(small, big, strict=True):
        np.testing.assert_allclose(b, a * 10000, rtol=1e-4, atol=1e-2)


def test_inputs_are_left_alone(engine):
    fine, coarse = clouded()
    copies = fine.copy(), coarse.copy()
    for array in (fine, coarse):
        array.flags.writeable = False
    state = settled(fine, coarse)
    fuse(fine, coarse, engine, state=state, std=True)
    np.testing.assert_array_equal(fine, copies[0])
    np.testing.assert_array_equal(coarse, copies[1])


def test_samples_are_few_and_alike_on_dask(monkeypatch):
    array = pytest.importorskip("dask.array", reason="dask is not installed")
    monkeypatch.setattr(starfm, "SAMPLE", 3000)
    fine, coarse = clouded()
    eager = METHOD.prepare(fine, coarse, ratio=RATIO, params=SMALL)
    chunked = [array.from_array(a, chunks=(1, 1, 5, 7)) for a in (fine, coarse)]
    lazy = METHOD.prepare(*chunked, ratio=RATIO, params=SMALL)
    assert sum(a.size for a in eager.values()) <= 3000
    for name, values in eager.items():
        np.testing.assert_array_equal(values, lazy[name].compute())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"window": 50}, "window=50: give an odd"),
        ({"window": 1}, "window=1: .*at least 3"),
        ({"classes": 0}, "classes=0: .*above 0"),
        ({"distance": -1}, "distance=-1: .*above 0"),
        ({"distance": float("nan")}, "distance=nan: .*above 0"),
    ],
)
def test_wrong_parameters_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        replace(Params(), **wrong)


@pytest.mark.cuda
@pytest.mark.parametrize("pairs", [1, 2])
def test_the_cuda_kernels_agree_with_the_definition(pairs):
    """Also on a part of a tile, whose rows and columns are no multiple of a block."""
    fine, coarse = clouded(pairs=pairs)
    inner = (slice(3, 29), slice(1, 40))
    cupy = importlib.import_module("cupy")
    call = {"state": settled(fine, coarse), "inner": inner, "std": True}
    found = fuse(cupy.asarray(fine), cupy.asarray(coarse), "cupy", **call)
    wanted = fuse(fine, coarse, "numpy", **call)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-4, atol=1e-6)
