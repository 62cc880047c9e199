"""The frame of a fusion through the verb: a moved grid, a believed change, what `auto` chooses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf import evaluate
from xstf.numerics.degrade import block_means
from xstf.numerics.registration import moved

RATIO = 6
CELLS = (14, 13)
DELTA = evaluate.BASELINES[1]


def cube(images, step, days):
    y, x = ((np.arange(n) + 0.5) * step for n in images.shape[2:])
    times = np.datetime64("2021-05-01", "ns") + np.asarray(days) * np.timedelta64(1, "D")
    return xr.DataArray(
        images.astype(np.float32), dims=("time", "band", "y", "x"), name="reflectance",
        coords={"time": times, "band": ["red", "nir"], "y": -y, "x": x},
    )  # fmt: skip


@pytest.fixture(scope="module")
def truth():
    """Three dates of four covers, each changing in its own way and not evenly, with texture."""
    rng = np.random.default_rng(11)
    cover = np.kron(rng.integers(0, 4, (14, 13)), np.ones((7, 7), int))
    cover = cover[: CELLS[0] * RATIO, : CELLS[1] * RATIO]
    levels = rng.uniform(0.1, 0.5, (2, 4)) + rng.normal(0, 0.06, (3, 2, 4))
    return levels[:, :, cover] + 0.01 * rng.standard_normal((2, *cover.shape))


def seen(truth, shift=(0, 0), noise=0.003):
    wide = np.pad(truth, [(0, 0), (0, 0), (9, 9), (9, 9)], mode="edge")
    means = block_means(moved(wide, shift)[..., 9:-9, 9:-9], RATIO)
    return means + noise * np.random.default_rng(12).standard_normal(means.shape)


def fused(truth, coarse, pairs=(0, 2), **options):
    fine = cube(truth[list(pairs)], 1, [8 * p for p in pairs])
    return xstf.fuse(fine, cube(coarse, RATIO, [0, 8, 16]), time="2021-05-09", **options)


def error(out, truth):
    return float(np.sqrt(((out.values[0] - truth[1]) ** 2).mean()))


# --- the grid ---


@pytest.mark.parametrize("method", ["starfm", "regression_unmixing"])
def test_a_coarse_cube_that_lies_off_is_moved_and_said_to_be(truth, method):
    coarse = seen(truth, (3, -4))
    out = fused(truth, coarse, method=method)
    assert "coarse moved by 3 fine pixels down, -4 right" in out.attrs["stf_registration"]
    still = fused(truth, coarse, method=method, register=False)
    assert still.attrs["stf_registration"] == "not asked for"
    assert error(out, truth) < 0.9 * error(still, truth)
    assert not np.isnan(out).any()


def test_a_coarse_cube_that_lies_right_gives_what_it_gave_without_looking(truth):
    coarse = seen(truth)
    options = {"method": "starfm", "change": "raw"}
    out = fused(truth, coarse, **options)
    xr.testing.assert_allclose(out, fused(truth, coarse, register=False, **options), atol=1e-6)


def test_few_coarse_pixels_have_no_frame(scene):
    assert "stf_registration" not in xstf.fuse(*scene, method="starfm").attrs


@pytest.mark.parametrize("method", ["fitfc", pytest.param("auto", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shift", [(0, 0), (3, -4)])
def test_tiles_give_what_the_whole_gives_in_a_moved_frame(truth, method, shift):
    fine = cube(truth[[0, 2]], 1, [0, 16])[:, :, 2:, :-3]
    coarse = cube(seen(truth, shift), RATIO, [0, 8, 16])
    options = {"window": 9} if method == "fitfc" else {}
    whole = xstf.fuse(fine, coarse, method=method, time="2021-05-09", **options)
    with xstf.testing.raise_if_dask_computes():
        lazy = xstf.fuse(
            fine.chunk(y=47, x=41), coarse.chunk(y=5), method=method, time="2021-05-09", **options
        )
    assert lazy.attrs["stf_registration"] == "found when computed"
    assert lazy.attrs.get("stf_choice") == ("found when computed" if method == "auto" else None)
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), whole, atol=2e-6)


def test_a_missing_coarse_pixel_is_missing_where_it_truly_lies(truth):
    coarse = seen(truth, (3, -4))
    coarse[1, :, 6, 7] = np.nan
    out = fused(truth, coarse, method="starfm", window=9)
    rows, cols = (slice(6 * RATIO + 3, 7 * RATIO + 3), slice(7 * RATIO - 4, 8 * RATIO - 4))
    assert np.isnan(out.values[0, :, rows, cols]).all()
    assert np.isnan(out).sum() == 2 * RATIO**2


# --- the change ---


def test_a_noisy_change_is_believed_less(truth):
    coarse = seen(truth, noise=0.05)
    ours, raw = (
        fused(truth, coarse, (0,), method=DELTA, change=c, register=False)
        for c in ("believed", "raw")
    )
    assert error(ours, truth) < error(raw, truth)


def test_a_change_that_is_neither_believed_nor_raw_is_refused(truth):
    with pytest.raises(ValueError, match="change must be 'believed' or 'raw', not 'half'"):
        fused(truth, seen(truth), change="half")


# --- auto ---


@pytest.mark.parametrize("pairs", [(0,), (0, 2)])
def test_auto_says_its_choice_and_beats_the_trivial_ways(truth, pairs):
    coarse = seen(truth)
    out = fused(truth, coarse, pairs)
    assert "regression_unmixing 0." in out.attrs["stf_choice"]
    assert "trust 1.00 1.00" in out.attrs["stf_choice"]
    still = error(fused(truth, coarse, pairs, method=evaluate.BASELINES[0]), truth)
    delta = error(fused(truth, coarse, pairs, method=DELTA, register=False, change="raw"), truth)
    assert error(out, truth) < min(still, delta)


def test_auto_blends_as_well_where_nothing_is_done_about_the_frame(truth):
    out = fused(truth, seen(truth), (0,), register=False, change="raw")
    assert "regression_unmixing 0." in out.attrs["stf_choice"]


@pytest.mark.parametrize("pairs", [(0,), (0, 2)])
def test_useless_coarse_images_leave_what_is_known_in_time(truth, pairs):
    rng = np.random.default_rng(13)
    useless = rng.random(seen(truth).shape) * 0.3
    useless -= useless.mean(axis=(2, 3), keepdims=True)
    out = fused(truth, useless, pairs, clip=False)
    in_time = truth[list(pairs)].mean(axis=0)[None]
    assert error(out, truth) < 1.05 * np.sqrt(((in_time - truth[1]) ** 2).mean())


@pytest.mark.parametrize("pairs", [(0,), (0, 2)])
def test_a_target_image_of_another_place_leaves_what_is_known_in_time(truth, pairs):
    coarse = seen(truth)
    coarse[1] = coarse[1, :, ::-1, ::-1].copy()
    out = fused(truth, coarse, pairs, clip=False)
    in_time = truth[list(pairs)].mean(axis=0)[None]
    np.testing.assert_allclose(out, in_time, atol=2e-3)


def test_pixels_of_one_pair_are_what_that_pair_makes_alone_with_the_other_as_its_witness(truth):
    coarse, holed = seen(truth), truth.copy()
    holed[2, :, :60] = np.nan
    out = fused(holed, coarse, return_quality=True)
    assert (out.reflectance_n_obs.values[0, :, :60] == 1).all()
    assert (out.reflectance_n_obs.values[0, :, 60:] == 2).all()
    delta = fused(holed, coarse, (0,), method=DELTA)
    rows = {"y": slice(60)}
    assert error(out.reflectance.isel(rows), truth[:, :, :60]) < error(
        delta.isel(rows), truth[:, :, :60]
    )
    assert out.attrs["stf_choice"].count("trust") == 2


@pytest.mark.slow
def test_auto_has_the_same_estimate_with_a_standard_deviation(truth):
    coarse = seen(truth)
    plain = fused(truth, coarse)
    both = fused(truth, coarse, return_quality=True)
    xr.testing.assert_allclose(both.reflectance, plain, atol=1e-6)
    std = both.reflectance_std.values[0]
    inside = np.abs(plain.values[0] - truth[1]) < 1.645 * std
    assert inside.mean() > 0.85


def test_a_constant_on_the_target_is_one_on_the_blend(truth):
    coarse = seen(truth)
    lifted = coarse.copy()
    lifted[1] += 0.1
    out, up = (fused(truth, c, (0,)) for c in (coarse, lifted))
    xr.testing.assert_allclose(up, out + 0.1, atol=1e-4)


@pytest.mark.slow
def test_mirrored_in_gives_mirrored_out_of_the_blend(truth):
    coarse = seen(truth, (3, -4))
    out = fused(truth, coarse)
    turned = fused(truth[..., ::-1], coarse[..., ::-1])
    np.testing.assert_allclose(turned.values[..., ::-1], out.values, atol=1e-4)


@pytest.mark.slow
def test_a_cloud_in_one_pair_leaves_nothing_missing(truth):
    cloudy = truth.copy()
    cloudy[0, :, 20:50, 10:60] = np.nan
    out = fused(cloudy, seen(truth), return_quality=True)
    assert not np.isnan(out.reflectance).any()
    assert not np.isnan(out.reflectance_std).any()


def test_the_true_resolution_of_a_resampled_coarse_cube_is_estimated():
    scene = xstf.scenes.nested(size=96, ratio=8)
    fine, day = scene.fine, scene.coarse.time.values[1:2]
    places = {"y": fine.y, "x": fine.x}
    finer = scene.coarse.interp(places, "nearest", kwargs={"fill_value": "extrapolate"})
    out = xstf.fuse(fine, finer, method="fsdaf", time=day)
    assert "ratio 8, true resolution estimated as 240" in out.attrs["stf_grid"]
    want = xstf.fuse(fine, scene.coarse, method="fsdaf", time=day)
    np.testing.assert_allclose(out, want, atol=1e-5)
