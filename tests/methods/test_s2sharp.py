"""S2Sharp against its definition, with gaps, odd inputs and the laws of a kernel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xstf._method import SharpenSamples
from xstf.methods.sharpen_spectral import s2sharp as method
from xstf.numerics import conjugate_gradients as _conjugate
from xstf.numerics.degrade import degrade, upsample

RATIO = 2
KERNEL = method.METHOD.kernels["numpy"]


def _scene(bands=4, guides=3, side=24, seed=0, noise=1e-3):
    """Return spectral, spatial and truth: bands that are mixtures of a few textures."""
    draw = np.random.default_rng(seed)
    fine = RATIO * side
    maps = np.stack([gaussian_filter(draw.normal(size=(fine, fine)), s) for s in (0.8, 1.2, 2)])
    maps /= maps.std(axis=(1, 2), keepdims=True)
    mixed = draw.uniform(0.2, 1, (bands + guides, 3))
    cube = (0.3 + 0.02 * np.tensordot(mixed, maps, 1)).astype(np.float32)
    truth, spatial = cube[:bands], cube[bands:]
    spectral = degrade(truth, ratio=RATIO, fwhm=1.0)
    spectral = spectral + draw.normal(0, noise, spectral.shape).astype(np.float32)
    return spectral, spatial + draw.normal(0, noise, spatial.shape).astype(np.float32), truth


def _settled(spectral, spatial, params=None, **more):
    params = params or method.Params()
    samples = SharpenSamples(spectral, spatial, shift=np.zeros(2), **more)
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


def _problem(shape=(8, 6), count=2, seed=3):
    """Return random parts of a small problem, with two widths and missing pixels in each cube."""
    draw = np.random.default_rng(seed)

    def some(*size):
        return draw.normal(size=size).astype(np.float32)

    sights = []
    for number, width in ((2, 0.8), (1, 1.3)):
        seen = (draw.random((shape[0] // 2, shape[1] // 2)) > 0.2).astype(np.float32)
        tables = [_conjugate.axis(n, ratio=2, fwhm=width) for n in shape]
        sights.append(
            _conjugate.Sight(some(number, count), some(number, *seen.shape), seen, tables)
        )
    there, response = draw.random(shape) > 0.2, some(1, count)
    guide = _conjugate.Guide(
        response.T @ response, np.tensordot(response.T, some(1, *shape), 1) * there, there
    )
    weights = tuple(
        draw.uniform(0.3, 2, s).astype(np.float32)
        for s in ((shape[0] - 1, shape[1]), (shape[0], shape[1] - 1))
    )
    return sights, guide, weights


def test_conjugate_gradients_solve_the_normal_equations():
    sights, guide, weights = _problem()
    shape = (2, 8, 6)
    unknown = np.prod(shape)
    normal, right = np.zeros((unknown, unknown)), guide.pull.ravel().astype(np.float64)
    units = np.eye(unknown, dtype=np.float32).reshape(-1, *shape)
    for sight, width in zip(sights, (0.8, 1.3), strict=True):
        mixed = np.einsum("nk,ukyx->unyx", sight.maps, units)
        seen = (degrade(mixed, ratio=2, fwhm=width) * sight.seen).reshape(unknown, -1)
        normal += seen @ seen.T
        right += seen @ (sight.images * sight.seen).ravel()
    full = np.einsum("kj,ujyx->ukyx", guide.normal, units) * guide.seen
    normal += full.reshape(unknown, -1)
    for axis, weight in zip((2, 3), weights, strict=True):
        step = (np.diff(units, axis=axis) * np.sqrt(weight)).reshape(unknown, -1)
        normal += step @ step.T
    expected = np.linalg.solve(normal, right).reshape(shape)
    start = np.zeros(shape, np.float32)
    found = _conjugate.minimise(start, sights, guide, weights, iterations=500, tolerance=1e-6)
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_up_is_the_transpose_of_down():
    sight = _problem(shape=(70, 6))[0][0]
    draw = np.random.default_rng(0)
    fine = draw.normal(size=(3, 70, 6)).astype(np.float32)
    coarse = draw.normal(size=(3, 35, 3)).astype(np.float32)
    one = np.vdot(_conjugate.down(fine, sight), coarse)
    assert one == pytest.approx(np.vdot(fine, _conjugate.up(coarse, sight, (70, 6))), rel=1e-4)


def test_sharpening_beats_interpolation_by_far():
    spectral, spatial, truth = _scene()
    error = _rmse(_sharpened(spectral, spatial), truth)
    assert error < 0.35 * _rmse(upsample(spectral, ratio=RATIO), truth)


def test_weights_are_small_where_the_guides_have_an_edge():
    spatial = np.zeros((1, 8, 8), np.float32)
    spatial[:, :, 4:] = 1
    rows, cols = method._weights(spatial, np.eye(1), 3.0)
    np.testing.assert_allclose(rows, 4 / 3)
    np.testing.assert_allclose(cols[:, 3], 1)
    np.testing.assert_allclose(np.delete(cols, 3, axis=1), 4 / 3, rtol=1e-6)


def test_a_width_for_each_band_is_taken_and_helps():
    _, spatial, truth = _scene(bands=4, side=32)
    true = np.array([0.9, 0.9, 1.5, 1.5])
    spectral = np.concatenate(
        [degrade(t[None], ratio=RATIO, fwhm=w) for t, w in zip(truth, true, strict=True)]
    )
    own = _rmse(_sharpened(spectral, spatial, fwhm=true), truth)
    assert own < 0.8 * _rmse(_sharpened(spectral, spatial, fwhm=1.2), truth)
    found = _settled(spectral, spatial)[1].width
    np.testing.assert_allclose(found, true, atol=0.15)


def test_noisy_cubes_are_trusted_less():
    clean, rough = (_settled(*_scene(noise=n)[:2])[1] for n in (1e-4, 1e-2))
    error = [s.model.error * s.model.strengths.noise for s in (clean, rough)]
    assert (error[1][:4] > 10 * error[0][:4]).all()


def test_given_strengths_are_taken():
    params = method.Params(noise=0.3, misfit=0.2, freedom=5)
    _, state = _settled(*_scene(side=12)[:2], params)
    assert state.model.strengths == method.Strengths(freedom=5, misfit=0.2, noise=0.3)


def test_degraded_result_is_the_spectral_cube_within_its_noise():
    noise = 3e-3
    spectral, spatial, _ = _scene(noise=noise)
    out = _sharpened(spectral, spatial, fwhm=1.0)
    assert _rmse(degrade(out, ratio=RATIO, fwhm=1.0), spectral) < 1.1 * noise


@pytest.mark.parametrize("noise", [1e-4, 3e-3])
def test_a_tile_with_its_halo_is_the_whole_scene_within_the_stated_bound(noise):
    spectral, spatial, _ = _scene(side=64, noise=noise)
    spectral[0, 30, 30], spatial[:, 62:64, 70] = np.nan, np.nan
    params, state = _settled(spectral, spatial)
    halo = method.METHOD.halo(params, RATIO)
    halo += -halo % RATIO
    whole = _run(spectral, spatial, params, state)
    start, stop = 50, 78
    cut = slice(start - halo, stop + halo)
    coarse = slice(cut.start // RATIO, cut.stop // RATIO)
    assert cut.start > 0
    assert cut.stop < spatial.shape[1]
    tile = _run(
        np.ascontiguousarray(spectral[:, coarse, coarse]),
        np.ascontiguousarray(spatial[:, cut, cut]), params, state,
        (slice(halo, halo + stop - start),) * 2,
    )  # fmt: skip
    span = np.nanmax(whole) - np.nanmin(whole)
    np.testing.assert_allclose(tile, whole[:, start:stop, start:stop], atol=1e-3 * span)


def test_missing_pixels_stay_missing_and_spoil_nothing_else():
    spectral, spatial, truth = _scene()
    full = _sharpened(spectral, spatial)
    spectral[1, 5, 6] = np.nan
    spectral[:, 10:13, 2:6] = np.nan
    spatial[0, 30, 31] = np.nan
    spatial[:, 12:20, 40:44] = np.nan
    missing = np.isnan(np.repeat(np.repeat(spectral, RATIO, 1), RATIO, 2))
    missing |= np.isnan(spatial).any(axis=0)
    out = _sharpened(spectral, spatial)
    np.testing.assert_array_equal(np.isnan(out), missing)
    assert _rmse(out, truth) < 1.1 * _rmse(full, truth)


def test_nothing_in_gives_nothing_out():
    spectral, spatial, _ = _scene(side=8)
    assert np.isnan(_sharpened(spectral * np.nan, spatial * np.nan)).all()


def test_values_of_any_unit_and_sign_scale_with_the_input():
    spectral, spatial, _ = _scene()
    out = _sharpened(spectral, spatial)
    span = np.ptp(out)
    big = _sharpened(spectral * 1e4, spatial * 1e4)
    np.testing.assert_allclose(big / 1e4, out, atol=1e-4 * span)
    below = _sharpened(spectral - 0.5, spatial - 0.5)
    assert below.max() < 0
    np.testing.assert_allclose(below + 0.5, out, atol=1e-3 * span)


@pytest.mark.parametrize("turn", [lambda a: a[:, ::-1], lambda a: a.swapaxes(1, 2)])
def test_turning_the_input_turns_the_result(turn):
    spectral, spatial, _ = _scene()
    params, state = _settled(spectral, spatial)
    out = _run(spectral, spatial, params, state)
    turned = _run(*(np.ascontiguousarray(turn(a)) for a in (spectral, spatial)), params, state)
    np.testing.assert_allclose(turned, turn(out), atol=1e-4 * np.ptp(out))


def _within(images):
    """Return the standard deviation of fine pixels about the means of their coarse ones."""
    bands, y, x = images.shape
    blocks = images.reshape(bands, y // RATIO, RATIO, x // RATIO, RATIO)
    return float((blocks - blocks.mean(axis=(2, 4), keepdims=True)).std())


def test_guides_constant_in_each_coarse_pixel_invent_no_detail_in_it():
    spectral, spatial, _ = _scene()
    blocks = spatial.reshape(3, 24, RATIO, 24, RATIO).mean(axis=(2, 4))
    flat = np.repeat(np.repeat(blocks, RATIO, 1), RATIO, 2)
    assert _within(_sharpened(spectral, flat)) < 0.3 * _within(upsample(spectral, ratio=RATIO))
    assert _within(_sharpened(spectral, spatial)) > _within(upsample(spectral, ratio=RATIO))


def test_more_bands_than_the_rank():
    spectral, spatial, truth = _scene(bands=40)
    out = _sharpened(spectral, spatial, method.Params(rank=3))
    assert _rmse(out, truth) < 0.35 * _rmse(upsample(spectral, ratio=RATIO), truth)
    assert _settled(spectral, spatial, method.Params(rank=3))[1].model.basis.shape == (43, 3)


def test_pan_one_spectral_band_and_a_constant_band():
    spectral, spatial, truth = _scene(guides=1, bands=1)
    blurred = _rmse(upsample(spectral, ratio=RATIO), truth)
    assert _rmse(_sharpened(spectral, spatial), truth) < blurred
    both = np.concatenate([spectral, np.full_like(spectral, 0.25)])
    out = _sharpened(both, spatial)
    np.testing.assert_allclose(out[1], 0.25, atol=1e-5)
    assert _rmse(out[:1], truth) < blurred


@pytest.mark.parametrize("flat", ["spectral", "spatial"])
def test_a_flat_cube_gives_the_interpolated_one(flat):
    spectral, spatial, _ = _scene()
    if flat == "spectral":
        spectral = np.full_like(spectral, 0.4)
        np.testing.assert_allclose(_sharpened(spectral, spatial), 0.4, atol=1e-5)
    else:
        out = _sharpened(spectral, np.full_like(spatial, 0.2))
        assert _rmse(out, upsample(spectral, ratio=RATIO)) < 0.3 * spectral.std()


def test_inputs_are_left_alone():
    spectral, spatial, _ = _scene(side=12)
    spectral[0, 3, 3] = np.nan
    before = spectral.copy(), spatial.copy()
    for cube in (spectral, spatial):
        cube.flags.writeable = False
    _sharpened(spectral, spatial)
    np.testing.assert_array_equal(spectral, before[0])
    np.testing.assert_array_equal(spatial, before[1])


@pytest.mark.parametrize(
    "wrong",
    [{"rank": 0}, {"iterations": 1.5}, {"noise": 0}, {"misfit": np.inf}, {"freedom": -1},
     {"tolerance": 1}],
)  # fmt: skip
def test_values_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*: give a"):
        method.Params(**wrong)
