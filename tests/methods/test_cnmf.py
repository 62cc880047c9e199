"""Coupled factorisation against its definition, with gaps, odd inputs and the laws of a kernel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from xstf._method import SharpenSamples
from xstf.methods.sharpen_spectral import cnmf as method
from xstf.methods.sharpen_spectral.cnmf.endmembers import bundle, denoise
from xstf.numerics.degrade import degrade, upsample

RATIO = 3
KERNEL = method.METHOD.kernels["numpy"]
QUICK = method.Params(endmembers=6, iterations=60, rounds=1)


def _scene(bands=20, guides=4, side=16, materials=4, seed=0):
    """Return spectral, spatial, truth and response: patches of mixed materials."""
    draw = np.random.default_rng(seed)
    fine = RATIO * side
    shares = draw.random((materials, fine, fine)) ** 4
    for axis in (1, 2):
        for step in (1, 2, 4):
            shares = shares + np.roll(shares, step, axis)
    shares = (shares - shares.min(axis=(1, 2), keepdims=True)) ** 3
    shares /= shares.sum(axis=0)
    place = np.linspace(0, 1, bands)
    centre = draw.random((materials, 1))
    spectra = 0.1 + 0.5 * np.exp(-(((place - centre) / 0.3) ** 2))
    truth = np.tensordot(spectra.T, shares, 1).astype(np.float32)
    middle = np.linspace(0.1, 0.9, guides)[:, None]
    srf = np.exp(-(((place - middle) / 0.12) ** 2))
    srf /= srf.sum(axis=1, keepdims=True)
    spatial = np.tensordot(srf, truth, 1).astype(np.float32)
    return degrade(truth, ratio=RATIO, fwhm=1.0), spatial, truth, srf


def _settled(spectral, spatial, params=QUICK, **more):
    samples = SharpenSamples(spectral, spatial, **more)
    return method.METHOD.settle(samples, ratio=RATIO, params=params)


def _run(spectral, spatial, state, params=QUICK, inner=None):
    inner = inner or tuple(slice(0, n) for n in spatial.shape[1:])
    return KERNEL(
        spectral, spatial, ratio=RATIO, params=params, state=state, inner=inner, std=False
    )[0]


def _sharpened(spectral, spatial, params=QUICK, **more):
    return _run(spectral, spatial, _settled(spectral, spatial, params, **more), params)


def _rmse(a, b):
    return float(np.sqrt(np.nanmean((a - b) ** 2)))


def test_abundances_go_to_the_non_negative_least_squares_solution():
    draw = np.random.default_rng(1)
    ends = draw.random((12, 3)).astype(np.float32)
    pixels = ends @ draw.dirichlet(np.ones(3), 20).T.astype(np.float32)
    pixels += draw.normal(0, 0.02, pixels.shape).astype(np.float32).clip(-0.05)
    found = method._flat(ends, pixels, 5000)
    tall = np.vstack([ends, np.full((1, 3), method.SUM)])
    for k in range(20):
        expected = nnls(tall, np.append(pixels[:, k], method.SUM))[0]
        np.testing.assert_allclose(found[:, k], expected, atol=3e-3)


def test_each_update_lowers_the_error():
    draw = np.random.default_rng(2)
    ends, shares = draw.random((8, 3)).astype("f4"), draw.random((3, 50)).astype("f4")
    pixels = draw.random((8, 50)).astype(np.float32)
    errors = [_rmse(ends @ shares, pixels)]
    for _ in range(20):
        ends, shares = method._both(ends, pixels, shares, 1)
        errors.append(_rmse(ends @ shares, pixels))
    # The row of the sum weighs 2 %: it may take back that little.
    assert (np.diff(errors) < 1e-5).all()
    assert errors[-1] < 0.8 * errors[0]


def test_pure_pixels_are_the_extreme_ones():
    draw = np.random.default_rng(3)
    spectra = draw.random((15, 4))
    pixels = spectra @ draw.dirichlet(np.full(4, 2.0), 300).T
    pixels[:, [7, 50, 120, 280]] = spectra
    found = bundle(pixels, 4, rank=3, seed=0)
    assert {float(v) for v in found[0]} == {float(v) for v in spectra[0]}
    np.testing.assert_array_equal(found, bundle(pixels, 4, rank=3, seed=0))


def test_endmembers_are_no_more_than_the_pixels():
    assert bundle(np.random.default_rng(4).random((5, 3)), 10, rank=2, seed=0).shape[1] <= 3
    assert bundle(np.ones((5, 3)), 10, rank=1, seed=0).shape[1] >= 1


def test_denoising_keeps_the_signal_and_drops_most_noise():
    draw = np.random.default_rng(5)
    clean = draw.random((40, 3)) @ draw.random((3, 800))
    noisy = clean + draw.normal(0, 0.02, clean.shape)
    found, rank = denoise(noisy, np.full(40, 0.02**2))
    assert rank == 3
    assert _rmse(found, clean) < 0.4 * 0.02


@pytest.mark.parametrize("known", [False, True])
def test_sharpening_beats_interpolation_by_far(known):
    spectral, spatial, truth, srf = _scene()
    more = {"srf": srf, "fwhm": 1.0} if known else {}
    params = method.Params(endmembers=8)
    error = _rmse(_sharpened(spectral, spatial, params, **more), truth)
    assert error < 0.3 * _rmse(upsample(spectral, ratio=RATIO), truth)


def test_result_is_the_same_every_time():
    spectral, spatial, *_ = _scene()
    np.testing.assert_array_equal(_sharpened(spectral, spatial), _sharpened(spectral, spatial))


def test_tile_with_its_halo_is_the_whole_scene_cut():
    spectral, spatial, *_ = _scene(side=30)
    state = _settled(spectral, spatial)
    spectral[2, 14, 14], spectral[:, 16, 13], spatial[:, 40, 41] = np.nan, np.nan, np.nan
    whole = _run(spectral, spatial, state)
    halo = method.METHOD.halo(QUICK, RATIO)
    halo += -halo % RATIO
    start, stop = 39, 51
    cut = slice(start - halo, stop + halo)
    coarse = slice(cut.start // RATIO, cut.stop // RATIO)
    assert cut.start > 0
    assert cut.stop < 90
    inner = (slice(halo, halo + stop - start),) * 2
    tile = _run(
        np.ascontiguousarray(spectral[:, coarse, coarse]),
        np.ascontiguousarray(spatial[:, cut, cut]), state, inner=inner,
    )  # fmt: skip
    np.testing.assert_allclose(tile, whole[:, start:stop, start:stop], atol=5e-6)


def test_missing_pixels_stay_missing_and_spoil_nothing_else():
    spectral, spatial, truth, _ = _scene(side=24)
    spectral[1, 5, 6] = np.nan
    spectral[:, 10:13, 2:6] = np.nan
    spatial[0, 30, 31] = np.nan
    spatial[:, 12:20, 40:44] = np.nan
    missing = np.isnan(np.repeat(np.repeat(spectral, RATIO, 1), RATIO, 2))
    missing |= np.isnan(spatial).any(axis=0)
    out = _sharpened(spectral, spatial)
    np.testing.assert_array_equal(np.isnan(out), missing)
    assert _rmse(out, truth) < 0.6 * _rmse(upsample(spectral, ratio=RATIO), truth)


def test_nothing_in_gives_nothing_out():
    spectral, spatial, *_ = _scene(side=8)
    assert np.isnan(_sharpened(spectral * np.nan, spatial * np.nan)).all()


def test_units_do_not_matter():
    # The response is given: estimated from data without noise it hangs on rounding.
    spectral, spatial, _, srf = _scene()
    out = _sharpened(spectral, spatial, srf=srf, fwhm=1.0)
    scaled = _sharpened(spectral * 1e4, spatial * 1e4, srf=srf, fwhm=1.0)
    assert _rmse(scaled / 1e4, out) < 1e-3 * out.std()


def test_negative_values_are_reached():
    spectral, spatial, truth, _ = _scene()
    out = _sharpened(spectral - 0.3, spatial - 0.3)
    assert out.min() < -0.1
    assert _rmse(out, truth - 0.3) < 0.6 * _rmse(upsample(spectral, ratio=RATIO), truth)


@pytest.mark.parametrize("turn", [lambda a: a[:, ::-1], lambda a: a.swapaxes(1, 2)])
def test_turning_the_input_turns_the_result(turn):
    spectral, spatial, *_ = _scene()
    state = _settled(spectral, spatial)
    turned = _run(*(np.ascontiguousarray(turn(a)) for a in (spectral, spatial)), state)
    np.testing.assert_allclose(turned, turn(_run(spectral, spatial, state)), atol=5e-6)


def test_one_sharp_band_one_spectral_band_and_a_constant_band():
    spectral, spatial, truth, _ = _scene(guides=1)
    assert _rmse(_sharpened(spectral, spatial), truth) < _rmse(
        upsample(spectral, ratio=RATIO), truth
    )
    spectral[4] = 0.25
    out = _sharpened(spectral, spatial)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[4], 0.25, atol=0.05)
    assert np.isfinite(_sharpened(spectral[:1], spatial)).all()


def test_inputs_are_left_alone():
    spectral, spatial, *_ = _scene()
    spectral[0, 3, 3] = np.nan
    before = spectral.copy(), spatial.copy()
    _sharpened(spectral, spatial)
    np.testing.assert_array_equal(spectral, before[0])
    np.testing.assert_array_equal(spatial, before[1])


@pytest.mark.parametrize(
    "wrong", [{"endmembers": 1}, {"iterations": 0}, {"rounds": 0.5}, {"runs": 0}, {"seed": -1}]
)
def test_values_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*: give a"):
        method.Params(**wrong)
