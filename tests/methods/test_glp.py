"""The classical sharpening methods: gsa, sfim, mtf_glp_hs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xstf._method import SharpenSamples
from xstf.methods.sharpen_spectral import gsa, mtf_glp_hs, sfim
from xstf.numerics.degrade import degrade, register, upsample
from xstf.numerics.injection import coefficients, components, project, restore, returned, ridge

RATIO = 2
METHODS = [gsa.METHOD, mtf_glp_hs.METHOD, sfim.METHOD]
every = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


def cubes(seed=0, shape=(48, 48), bands=8, guides=3, noise=0.0, ratio=RATIO):
    """Return a sharp cube of ``bands``, and what the two sensors see of it."""
    rng = np.random.default_rng(seed)
    maps = np.stack([gaussian_filter(rng.normal(size=shape), s) for s in (0.8, 1.2, 1.5, 3)])
    maps /= maps.std(axis=(1, 2), keepdims=True)
    wave = np.linspace(0, 1, bands)
    spectra = np.stack([np.exp(-(((wave - c) / 0.25) ** 2)) for c in (0.1, 0.4, 0.7, 1.0)])
    sharp = (0.3 + 0.05 * np.tensordot(spectra.T, maps, 1)).astype(np.float32)
    centres = (np.arange(guides) + 0.5) / guides
    srf = np.exp(-(((wave - centres[:, None]) / 0.12) ** 2))
    spatial = np.tensordot(srf / srf.sum(axis=1, keepdims=True), sharp, 1).astype(np.float32)
    spectral = degrade(sharp, ratio=ratio, fwhm=1.0)
    spectral = spectral + noise * rng.normal(size=spectral.shape).astype(np.float32)
    return spectral, spatial + noise * rng.normal(size=spatial.shape).astype(np.float32), sharp


def settle(method, spectral, spatial, ratio=RATIO, given=None, **params):
    samples = SharpenSamples(spectral, spatial, **(given or {}))
    return method.settle(samples, ratio=ratio, params=method.params(**params))


def sharpen(method, spectral, spatial, ratio=RATIO, state=None, inner=None, given=None, **params):
    state = state or settle(method, spectral, spatial, ratio, given, **params)
    inner = inner or tuple(slice(0, n) for n in spatial.shape[-2:])
    estimate, std = method.kernels["numpy"](
        spectral, spatial, ratio=ratio, params=method.params(**params), state=state,
        inner=inner, std=False,
    )  # fmt: skip
    assert std is None
    assert estimate.dtype == np.float32
    return estimate


def error(estimate, sharp):
    return float(np.sqrt(np.nanmean((estimate - sharp) ** 2)))


@every
def test_it_beats_interpolation_by_far(method):
    spectral, spatial, sharp = cubes()
    ours = error(sharpen(method, spectral, spatial), sharp)
    assert ours < 0.5 * error(upsample(spectral, ratio=RATIO), sharp)


def test_mtf_glp_hs_is_its_equation():
    spectral, spatial, _ = cubes(bands=5)
    state = settle(mtf_glp_hs.METHOD, spectral, spatial, given={"fwhm": 1.1})
    assert state.fwhm == 1.1
    assert state.components.into is None
    low = degrade(spatial, ratio=RATIO, fwhm=1.1)
    slopes = coefficients(spectral, low)
    residual = spectral - np.tensordot(slopes, low, 1)
    start = residual
    for _ in range(2):  # the residual's own correction, the slow way
        back = degrade(upsample(residual, ratio=RATIO), ratio=RATIO, fwhm=1.1)
        residual = residual + start - back
    expected = np.tensordot(slopes, spatial, 1) + upsample(residual, ratio=RATIO)
    found = sharpen(mtf_glp_hs.METHOD, spectral, spatial, given={"fwhm": 1.1})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_slopes_are_those_of_bands_that_mix_the_guides():
    rng = np.random.default_rng(0)
    guides = rng.normal(size=(3, 20, 20))
    mix = np.array([[1.0, -2.0, 0.0], [0.0, 0.5, 3.0]])
    bands = np.tensordot(mix, guides, 1) + np.array([5.0, -1.0])[:, None, None]
    np.testing.assert_allclose(coefficients(bands, guides), mix, atol=1e-6)


def test_the_ridge_holds_its_slopes_back_in_noise():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(30, 1)) + 0.01 * rng.normal(size=(30, 12))
    targets = columns[:, :1] + rng.normal(size=(30, 1))
    plain = np.linalg.lstsq(columns - columns.mean(0), targets - targets.mean(), rcond=None)[0]
    assert np.abs(ridge(columns, targets)).max() < 0.2 * np.abs(plain).max()


def test_a_group_has_bands_of_either_sign():
    spectral, spatial, _ = cubes()
    state = settle(gsa.METHOD, spectral, spatial)
    turned = spectral.copy()
    turned[2] = 1 - turned[2]
    other = settle(gsa.METHOD, turned, spatial)
    np.testing.assert_array_equal(state.group, other.group)
    assert state.gains[2] > 0 > other.gains[2]
    np.testing.assert_allclose(other.gains[2], -state.gains[2], rtol=0.1)


def test_sfim_is_the_ratio_where_the_band_is_bright():
    spectral, spatial, _ = cubes(bands=5)
    spectral, spatial = spectral + 10, spatial + 10
    state = settle(sfim.METHOD, spectral, spatial, given={"fwhm": 1.0})
    lift = lambda x: upsample(returned(x, ratio=RATIO, fwhm=1.0), ratio=RATIO)  # noqa: E731
    slopes, level = state.slopes, state.level[:, None, None]
    sharp = np.tensordot(slopes, spatial, 1) + level
    smooth = np.tensordot(slopes, lift(degrade(spatial, ratio=RATIO, fwhm=1.0)), 1) + level
    found = sharpen(sfim.METHOD, spectral, spatial, state=state)
    np.testing.assert_allclose(found, lift(spectral) * sharp / smooth, atol=2e-5)


def test_sfim_stays_bounded_where_the_denominator_vanishes():
    spectral, spatial, sharp = cubes()
    spectral, spatial = spectral - spectral.mean(), spatial - spatial.mean()
    found = sharpen(sfim.METHOD, spectral, spatial)
    assert error(found, sharp - sharp.mean()) < 0.02
    assert np.abs(found).max() < 3 * np.abs(spectral).max()


def test_components_take_white_noise_off_many_bands():
    clean, _, _ = cubes(bands=60, shape=(64, 64))
    rng = np.random.default_rng(5)
    noisy = clean + rng.normal(0, 0.01, clean.shape).astype(np.float32)
    maps = components(noisy, denoise=True)
    assert len(maps.into) == 4  # the scene's
    assert error(restore(project(noisy, maps), maps), clean) < 0.5 * error(noisy, clean)


def test_components_leave_few_bands_alone():
    spectral, _, _ = cubes(bands=5, noise=0.01)
    maps = components(spectral, denoise=True)
    assert maps.into is None
    assert maps.back is None
    np.testing.assert_allclose(restore(project(spectral, maps), maps), spectral, atol=1e-6)


def test_a_missing_band_is_told_by_the_others():
    clean, _, _ = cubes(bands=60, shape=(64, 64))
    rng = np.random.default_rng(5)
    noisy = clean + rng.normal(0, 0.002, clean.shape).astype(np.float32)
    maps = components(noisy, denoise=True)
    holes = noisy.copy()
    holes[::6, 10:20] = np.nan
    whole, part = (restore(project(x, maps), maps) for x in (noisy, holes))
    assert error(part, whole) < 0.003
    holes[5:, 3, 3] = np.nan
    assert np.isnan(project(holes, maps)[:, 3, 3]).all()


@every
@pytest.mark.parametrize("bands", [6, 60])
def test_a_tile_with_its_halo_is_the_whole(method, bands):
    spectral, spatial, _ = cubes(shape=(48, 176), bands=bands, noise=0.002)
    spectral[3, 5:9, 40:44], spatial[1, 20:23, 90:96] = np.nan, np.nan
    state = settle(method, spectral, spatial)
    state = state._replace(shift=np.array([0.4, -0.7]))
    whole = sharpen(method, spectral, spatial, state=state)
    halo = -(-method.halo(method.params(), RATIO) // RATIO) * RATIO
    start, stop = 80 - halo, 96 + halo
    assert start > 0
    assert stop < 176
    tile = sharpen(
        method, spectral[:, :, start // RATIO : stop // RATIO], spatial[:, :, start:stop],
        state=state, inner=(slice(0, 48), slice(halo, halo + 16)),
    )  # fmt: skip
    np.testing.assert_allclose(tile, whole[:, :, 80:96], atol=1e-5 * np.nanstd(whole))


@every
@pytest.mark.parametrize("bands", [6, 60])
def test_the_unit_does_not_matter(method, bands):
    spectral, spatial, _ = cubes(bands=bands, noise=0.003)
    one = sharpen(method, spectral, spatial)
    big = sharpen(method, 1e4 * spectral, 1e4 * spatial)
    np.testing.assert_allclose(big / 1e4, one, atol=2e-5)


@every
def test_mirrored_and_turned_cubes_give_mirrored_and_turned_results(method):
    spectral, spatial, _ = cubes(noise=0.003)
    plain = sharpen(method, spectral, spatial)
    for turn in (lambda x: x[:, ::-1], lambda x: x[..., ::-1], lambda x: x.swapaxes(1, 2)):
        np.testing.assert_allclose(
            sharpen(method, turn(spectral), turn(spatial)), turn(plain), atol=2e-5
        )


@every
def test_what_is_given_stays_as_it_is(method):
    spectral, spatial, _ = cubes()
    spectral[2, 3, 3], spatial[0, 7, 8] = np.nan, np.nan
    before = spectral.copy(), spatial.copy()
    for cube in (spectral, spatial):
        cube.flags.writeable = False
    sharpen(method, spectral, spatial)
    np.testing.assert_array_equal(spectral, before[0])
    np.testing.assert_array_equal(spatial, before[1])


@every
def test_a_spatial_cube_without_contrast_adds_nothing(method):
    spectral, spatial, _ = cubes()
    state = settle(method, spectral, spatial)
    flat = np.broadcast_to(spatial.mean(axis=(1, 2), keepdims=True), spatial.shape)
    lifted = upsample(returned(spectral, ratio=RATIO, fwhm=state.fwhm), ratio=RATIO)
    found = sharpen(method, spectral, flat, state=state)
    np.testing.assert_allclose(found, lifted, atol=1e-5)


@every
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_the_result_degraded_is_the_spectral_cube_within_its_noise(method, noise):
    spectral, spatial, _ = cubes(bands=40, noise=noise, shape=(64, 64))
    found = degrade(sharpen(method, spectral, spatial), ratio=RATIO, fwhm=1.0)
    # What two corrections of the interpolation still leave is 1 % of the contrast here.
    assert error(found, spectral) < 1.2 * noise + 0.02 * spectral.std()


@every
@pytest.mark.parametrize("bands", [8, 60])
def test_missing_pixels_are_missing_and_their_neighbours_are_not(method, bands):
    spectral, spatial, sharp = cubes(bands=bands, noise=0.001)
    plain = error(sharpen(method, spectral, spatial), sharp)
    blurred = np.abs(upsample(spectral, ratio=RATIO) - sharp).max()
    spectral[:, 4:7, 4:9], spectral[3, 15, 15] = np.nan, np.nan
    spatial[1, 30:33, 20:28] = np.nan
    found = sharpen(method, spectral, spatial)
    expected = np.repeat(np.repeat(np.isnan(spectral), RATIO, axis=1), RATIO, axis=2)
    np.testing.assert_array_equal(np.isnan(found), expected | np.isnan(spatial).any(axis=0))
    assert error(found, sharp) < 1.5 * plain
    assert np.nanmax(np.abs(found - sharp)) < blurred


@every
@pytest.mark.parametrize("which", ["spectral", "spatial", "both"])
def test_nothing_in_is_nothing_out(method, which):
    spectral, spatial, _ = cubes()
    if which != "spatial":
        spectral = np.full_like(spectral, np.nan)
    if which != "spectral":
        spatial = np.full_like(spatial, np.nan)
    assert np.isnan(sharpen(method, spectral, spatial)).all()


@every
@pytest.mark.parametrize(("bands", "guides"), [(1, 1), (1, 3), (6, 1), (40, 1)])
def test_one_band_and_pan_images_work(method, bands, guides):
    spectral, spatial, sharp = cubes(bands=bands, guides=guides)
    assert error(sharpen(method, spectral, spatial), sharp) < error(
        upsample(spectral, ratio=RATIO), sharp
    )


@every
@pytest.mark.parametrize("bands", [6, 60])
def test_constant_bands_stay_constant(method, bands):
    spectral, spatial, _ = cubes(bands=bands, noise=0.002)
    spectral[2], spectral[4], spatial[1] = 0.25, 0, 0.7
    found = sharpen(method, spectral, spatial)
    np.testing.assert_allclose(found[2], 0.25, atol=1e-5)
    np.testing.assert_allclose(found[4], 0, atol=1e-5)


@every
def test_a_cube_without_any_contrast_stays_as_it_is(method):
    found = sharpen(method, np.full((4, 9, 9), 0.2, np.float32), np.ones((2, 18, 18), np.float32))
    np.testing.assert_allclose(found, 0.2, atol=1e-6)


@every
def test_negative_values_are_legal(method):
    spectral, spatial, sharp = cubes(noise=0.001)
    found = sharpen(method, spectral - 0.35, spatial - 0.35)
    assert found.min() < -0.05
    assert error(found, sharp - 0.35) < 1.5 * error(sharpen(method, spectral, spatial), sharp)


@every
def test_a_tiny_scene_works(method):
    spectral, spatial, _ = cubes(shape=(4, 6), bands=30)
    assert np.isfinite(sharpen(method, spectral, spatial)).all()


@every
def test_misregistered_cubes_are_brought_together(method):
    spectral, spatial, sharp = cubes(shape=(96, 96), ratio=4)
    away = register(spatial, shift=(-0.6, 0.7))
    plain = error(sharpen(method, spectral, spatial, ratio=4), sharp)
    state = settle(method, spectral, away, ratio=4)
    np.testing.assert_allclose(state.shift, (0.6, -0.7), atol=0.1)
    assert error(sharpen(method, spectral, away, ratio=4, state=state), sharp) < 1.5 * plain
    still = sharpen(method, spectral, away, ratio=4, state=state._replace(shift=np.zeros(2)))
    assert error(still, sharp) > 2 * plain


def _numbers(state):
    """Return all arrays and numbers of a state."""
    return [v for v in (*state.components, *state[1:]) if v is not None]


@every
def test_the_state_is_small_and_the_same_each_time(method):
    spectral, spatial, _ = cubes(bands=60, noise=0.002)
    one, two = (settle(method, spectral, spatial) for _ in range(2))
    for a, b in zip(_numbers(one), _numbers(two), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.size(a) <= 60 * 60
    assert len(_numbers(one)) >= 6
    again = pickle.loads(pickle.dumps(one))
    for a, b in zip(_numbers(one), _numbers(again), strict=True):
        np.testing.assert_array_equal(a, b)


@every
@pytest.mark.parametrize("value", [1, "yes", None])
def test_denoise_must_be_a_bool(method, value):
    with pytest.raises(ValueError, match="denoise=.*True or False"):
        method.params(denoise=value)


@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan])
def test_the_guard_must_be_positive(value):
    with pytest.raises(ValueError, match="guard=.*finite number above 0"):
        sfim.METHOD.params(guard=value)
