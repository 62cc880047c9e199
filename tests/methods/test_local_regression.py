"""Local regression against its definition, with gaps, odd inputs and the laws of a kernel."""

from __future__ import annotations

import numpy as np
import pytest

from xstf._method import SharpenSamples
from xstf.methods.sharpen_spectral import local_regression as method
from xstf.methods.sharpen_spectral.local_regression.residual import correlation, correlations
from xstf.numerics.degrade import degrade, degrade_bands, upsample
from xstf.numerics.local_fit import fit

RATIO = 2
KERNEL = method.METHOD.kernels["numpy"]


def _scene(bands=3, guides=2, side=24, seed=0):
    """Return spectral, spatial and truth: bands linear in the guides, slopes that vary slowly."""
    draw = np.random.default_rng(seed)
    fine = RATIO * side
    spatial = draw.standard_normal((guides, fine, fine))
    for axis in (1, 2):
        spatial = spatial + np.roll(spatial, 1, axis) + np.roll(spatial, 2, axis)
    spatial = (0.3 + 0.02 * spatial).astype(np.float32)
    slopes = draw.uniform(0.2, 1, (bands, guides)).astype(np.float32)
    drift = np.linspace(0.8, 1.2, fine, dtype=np.float32)
    truth = np.tensordot(slopes, spatial, 1) * drift
    return degrade(truth, ratio=RATIO, fwhm=1.0), spatial, truth


def _settled(spectral, spatial, params=None, **more):
    params = params or method.Params()
    samples = SharpenSamples(spectral, spatial, **more)
    return params, method.METHOD.settle(samples, ratio=RATIO, params=params)


def _run(spectral, spatial, params, state, inner=None):
    inner = inner or tuple(slice(0, n) for n in spatial.shape[1:])
    return KERNEL(
        spectral, spatial, ratio=RATIO, params=params, state=state, inner=inner, std=False
    )[0]


def _sharpened(spectral, spatial, params=None, **more):
    return _run(spectral, spatial, *_settled(spectral, spatial, params, **more))


def _rmse(a, b):
    return float(np.sqrt(np.nanmean((a - b) ** 2)))


@pytest.mark.parametrize("place", [(0, 0), (4, 6), (8, 3)])
def test_fit_is_a_weighted_ridge_regression_of_the_window(place):
    draw = np.random.default_rng(1)
    guides, spectra = draw.standard_normal((9, 8, 2)), draw.standard_normal((9, 8, 3))
    valid = draw.random((9, 8)) > 0.2
    near, ridge = np.array([0.3, 1.0, 0.3]), np.array([0.1, 0.2])
    slopes, level, _ = fit(spectra, guides, valid, near, ridge, 1)
    y, x = place
    rows, cols = np.meshgrid(*(np.arange(9), np.arange(8)), indexing="ij")
    inside = (abs(rows - y) <= 1) & (abs(cols - x) <= 1) & valid
    weight = (near[rows[inside] - y + 1] * near[cols[inside] - x + 1])[:, None]
    weight /= weight.sum()
    z, v = guides[inside], spectra[inside]
    zc, vc = z - (weight * z).sum(axis=0), v - (weight * v).sum(axis=0)
    expected = np.linalg.solve((weight * zc).T @ zc + np.diag(ridge), (weight * zc).T @ vc)
    np.testing.assert_allclose(slopes[y, x], expected, rtol=1e-9, atol=1e-12)
    constant = (weight * v).sum(axis=0) - (weight * z).sum(axis=0) @ expected
    np.testing.assert_allclose(level[y, x], constant, rtol=1e-9, atol=1e-12)


def test_left_out_error_is_that_of_a_fit_without_the_pixel():
    draw = np.random.default_rng(2)
    guides, spectra = draw.standard_normal((9, 9, 2)), draw.standard_normal((9, 9, 1))
    valid, near = np.ones((9, 9), bool), np.array([0.2, 0.6, 1.0, 0.6, 0.2])
    none = np.full(2, 1e-12)
    left = fit(spectra, guides, valid, near, none, 1)[2]
    valid[4, 4] = False
    slopes, level, _ = fit(spectra, guides, valid, near, none, 1)
    error = spectra[4, 4] - level[4, 4] - guides[4, 4] @ slopes[4, 4]
    np.testing.assert_allclose(left[4, 4], error, rtol=1e-6)


def test_sharpening_beats_interpolation_by_far():
    spectral, spatial, truth = _scene()
    error = _rmse(_sharpened(spectral, spatial), truth)
    assert error < 0.1 * _rmse(upsample(spectral, ratio=RATIO), truth)


def test_width_of_the_blur_is_found_for_bands_that_differ():
    _, spatial, truth = _scene(bands=4, side=32)
    wide = degrade(truth[2:], ratio=RATIO, fwhm=1.4)
    spectral = np.concatenate([degrade(truth[:2], ratio=RATIO, fwhm=1.0), wide])
    _, state = _settled(spectral, spatial)
    np.testing.assert_allclose(state.width, [1, 1, 1.4, 1.4], atol=0.11)


def test_given_width_is_taken():
    spectral, spatial, _ = _scene()
    _, state = _settled(spectral, spatial, fwhm=1.3)
    assert (state.width == 1.3).all()


def test_each_band_may_have_a_width_of_its_own():
    _, spatial, truth = _scene(side=32)
    widths = np.array([0.8, 1.0, 1.4])
    spectral = degrade_bands(truth, ratio=RATIO, fwhm=widths)
    _, state = _settled(spectral, spatial, fwhm=widths)
    np.testing.assert_array_equal(state.width, widths)
    known = _sharpened(spectral, spatial, fwhm=widths)
    assert _rmse(known, truth) < 0.5 * _rmse(_sharpened(spectral, spatial, fwhm=1.0), truth)


def test_steps_on_the_coarse_grid_are_those_of_the_fine_image():
    spectral, spatial, _ = _scene()
    spectral = spectral + np.random.default_rng(8).normal(0, 0.01, spectral.shape).astype("f4")
    out = _sharpened(spectral, spatial, method.Params(steps=0), fwhm=1.0)
    for _ in range(3):
        rest = spectral - degrade(out, ratio=RATIO, fwhm=1.0)
        out = out + upsample(rest, ratio=RATIO)
    got = _sharpened(spectral, spatial, method.Params(steps=3), fwhm=1.0)
    np.testing.assert_allclose(got, out, atol=1e-6)


def test_steps_bring_the_degraded_result_closer_to_the_spectral_cube():
    spectral, spatial, _ = _scene()
    spectral = spectral + np.random.default_rng(3).normal(0, 0.01, spectral.shape).astype("f4")
    left = []
    for steps in (0, 1, 3):
        out = _sharpened(spectral, spatial, method.Params(steps=steps), fwhm=1.0)
        left.append(_rmse(degrade(out, ratio=RATIO, fwhm=1.0), spectral))
    assert left[0] > 1.3 * left[1] > 1.3 * left[2]


@pytest.mark.parametrize(("ratio", "fwhm"), [(2, 1.0), (4, 0.8), (3, 1.3)])
def test_expected_correlations_are_those_of_drawn_noise_and_detail(ratio, fwhm):
    draw = np.random.default_rng(4)
    coarse = draw.standard_normal((2, 120, 120)).astype(np.float32)
    fine = draw.standard_normal((2, 120 * ratio, 120 * ratio)).astype(np.float32)
    rests = [coarse, degrade(fine, ratio=ratio, fwhm=fwhm)]
    for steps in range(3):
        expected = correlations(ratio=ratio, fwhm=fwhm, steps=steps)
        for k, value in enumerate(expected):
            back = degrade(upsample(rests[k], ratio=ratio), ratio=ratio, fwhm=fwhm)
            rests[k] = rests[k] - back
            np.testing.assert_allclose(correlation(rests[k]), value, atol=0.03)


def test_only_bands_without_much_noise_are_put_back():
    spectral, spatial, truth = _scene(bands=4, side=40)
    draw = np.random.default_rng(5)
    # What no sharp band shows, in all bands, and noise in two of them.
    own = 0.01 * draw.standard_normal(truth[:1].shape).astype(np.float32)
    spectral = spectral + degrade(own, ratio=RATIO, fwhm=1.0)
    spectral[2:] += 0.03 * draw.standard_normal(spectral[2:].shape).astype(np.float32)
    _, state = _settled(spectral, spatial, fwhm=1.0)
    assert list(state.steps) == [method.MOST_STEPS] * 2 + [0, 0]
    whole = _sharpened(spectral, spatial, fwhm=1.0)
    for steps, bands in ((method.MOST_STEPS, slice(0, 2)), (0, slice(2, 4))):
        out = _sharpened(spectral, spatial, method.Params(steps=steps), fwhm=1.0)
        np.testing.assert_array_equal(whole[bands], out[bands])


@pytest.mark.parametrize("window", [None, 7])
def test_tile_with_its_halo_is_the_whole_scene_cut(window):
    spectral, spatial, _ = _scene(side=80)
    params, state = _settled(spectral, spatial, method.Params(window=window))
    halo = method.METHOD.halo(params, RATIO)
    halo += -halo % RATIO
    spectral[0, 40, 40], spatial[:, 70:73, 81] = np.nan, np.nan
    whole = _run(spectral, spatial, params, state)
    start, stop = 70, 90
    cut = slice(start - halo, stop + halo)
    coarse = slice(cut.start // RATIO, cut.stop // RATIO)
    assert cut.start > 0
    assert cut.stop < len(spatial[0])
    inner = (slice(halo, halo + stop - start),) * 2
    tile = _run(
        np.ascontiguousarray(spectral[:, coarse, coarse]),
        np.ascontiguousarray(spatial[:, cut, cut]), params, state, inner,
    )  # fmt: skip
    np.testing.assert_allclose(tile, whole[:, start:stop, start:stop], atol=2e-6)


def test_missing_pixels_stay_missing_and_spoil_nothing_else():
    spectral, spatial, truth = _scene()
    spectral[1, 5, 6] = np.nan
    spectral[:, 10:13, 2:6] = np.nan
    spatial[0, 30, 31] = np.nan
    spatial[:, 12:20, 40:44] = np.nan
    missing = np.isnan(np.repeat(np.repeat(spectral, RATIO, 1), RATIO, 2))
    missing |= np.isnan(spatial).any(axis=0)
    out = _sharpened(spectral, spatial)
    np.testing.assert_array_equal(np.isnan(out), missing)
    assert _rmse(out, truth) < 0.2 * _rmse(upsample(spectral, ratio=RATIO), truth)


def test_nothing_in_gives_nothing_out():
    spectral, spatial, _ = _scene(side=8)
    out = _sharpened(spectral * np.nan, spatial * np.nan)
    assert np.isnan(out).all()


def test_values_of_any_unit_and_sign_scale_with_the_input():
    spectral, spatial, _ = _scene()
    out = _sharpened(spectral, spatial)
    np.testing.assert_allclose(_sharpened(spectral * 1e4, spatial * 1e4), out * 1e4, rtol=2e-4)
    np.testing.assert_allclose(_sharpened(spectral - 0.5, spatial - 0.5), out - 0.5, atol=2e-4)


@pytest.mark.parametrize("turn", [lambda a: a[:, ::-1], lambda a: a.swapaxes(1, 2)])
def test_turning_the_input_turns_the_result(turn):
    spectral, spatial, _ = _scene()
    params, state = _settled(spectral, spatial)
    out = _run(spectral, spatial, params, state)
    turned = _run(*(np.ascontiguousarray(turn(a)) for a in (spectral, spatial)), params, state)
    np.testing.assert_allclose(turned, turn(out), atol=2e-6)


def test_constant_guides_give_the_interpolated_cube():
    spectral, spatial, _ = _scene()
    out = _sharpened(spectral, np.full_like(spatial, 0.2), method.Params(steps=0))
    inner = (slice(None), slice(12, -12), slice(12, -12))
    rough = _rmse(spectral, spectral.mean())
    assert _rmse(out[inner], upsample(spectral, ratio=RATIO)[inner]) < 0.3 * rough


def test_rounding_of_a_constant_sharp_band_is_no_detail():
    """Blurred, it varies by float32's rounding, and how depends on the processor."""
    spectral, spatial, _ = _scene()
    flat = np.full_like(spatial, 0.3756789)
    flat += np.random.default_rng(2).choice([-1, 0, 1], flat.shape) * np.spacing(flat)
    up = upsample(spectral, ratio=RATIO)
    _, state = _settled(spectral, flat)
    assert not state.scene.slopes.any()
    out = _sharpened(spectral, flat)
    assert np.abs(out - up).max() < 0.2 * np.ptp(up)
    steady = _sharpened(spectral, np.full_like(flat, flat.mean()))
    np.testing.assert_allclose(out, steady, atol=1e-5)


def test_one_sharp_band_one_spectral_band_and_a_constant_band():
    spectral, spatial, truth = _scene(guides=1, bands=1)
    assert _rmse(_sharpened(spectral, spatial), truth) < 0.01
    both = np.concatenate([spectral, np.full_like(spectral, 0.25)])
    out = _sharpened(both, spatial)
    np.testing.assert_allclose(out[1], 0.25, atol=1e-5)
    assert _rmse(out[:1], truth) < 0.01


def test_inputs_are_left_alone():
    spectral, spatial, _ = _scene()
    spectral[0, 3, 3] = np.nan
    before = spectral.copy(), spatial.copy()
    _sharpened(spectral, spatial)
    np.testing.assert_array_equal(spectral, before[0])
    np.testing.assert_array_equal(spatial, before[1])


@pytest.mark.parametrize(
    "wrong", [{"window": 4}, {"window": 1}, {"ridge": 0}, {"ridge": np.inf}, {"steps": -1}]
)
def test_values_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*: give a"):
        method.Params(**wrong)
