"""What spectral sharpening stands on: two grids, response, point spread, shift."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xstf.numerics.degrade import degrade, fill, register, round_trip, spread, upsample
from xstf.numerics.response import estimate_fwhm, estimate_shift, estimate_srf, locate, respond

RATIO = 4


def scene(seed: int = 0, size: int = 96, bands: int = 30, guides: int = 3):
    """Return a sharp spectral cube ``(band, y, x)`` and a response ``(guide_band, band)``."""
    rng = np.random.default_rng(seed)
    maps = np.stack([gaussian_filter(rng.normal(size=(size, size)), s) for s in (0.8, 1.2, 1.5, 3)])
    maps /= maps.std(axis=(1, 2), keepdims=True)
    wave = np.linspace(0, 1, bands)
    spectra = np.stack([np.exp(-(((wave - c) / 0.25) ** 2)) for c in (0.1, 0.4, 0.7, 1.0)])
    sharp = 0.3 + 0.05 * np.tensordot(spectra.T, maps, 1)
    centres = (np.arange(guides) + 0.5) / guides
    srf = np.exp(-(((wave - centres[:, None]) / 0.12) ** 2))
    return sharp.astype(np.float32), srf / srf.sum(axis=1, keepdims=True)


def cubes(fwhm: float = 1.0, shift=(0.0, 0.0), noise: float = 0.0, **options):
    """Return a spectral and a spatial cube that look at one scene."""
    sharp, srf = scene(**options)
    rng = np.random.default_rng(1)
    spectral = degrade(sharp, ratio=RATIO, fwhm=fwhm, shift=shift)
    spatial = np.tensordot(srf, sharp, 1).astype(np.float32)
    spectral = spectral + noise * rng.normal(size=spectral.shape).astype(np.float32)
    return spectral, spatial + noise * rng.normal(size=spatial.shape).astype(np.float32), srf


def middle(images: np.ndarray, margin: int) -> np.ndarray:
    return images[..., margin:-margin, margin:-margin]


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_degrade_is_the_gaussian_at_the_centres_of_coarse_pixels(ratio):
    size, fwhm = 8 * ratio, 1.2
    image = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    out = degrade(image, ratio=ratio, fwhm=fwhm)
    sigma = fwhm * ratio / 2.35482
    centre = (4 + 0.5) * ratio - 0.5
    weight = np.exp(-((np.arange(size) - centre) ** 2) / (2 * sigma**2))
    weight /= weight.sum()
    # The tail beyond 3.5 standard deviations is cut off.
    assert out[4, 4] == pytest.approx(weight @ image @ weight, abs=2e-3)
    assert out.shape == (8, 8)
    assert out.dtype == np.float32


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_both_ways_keep_a_plane_where_no_edge_is_near(ratio):
    y, x = np.mgrid[: 20 * ratio, : 20 * ratio].astype(np.float32)
    plane = (2 * y - 3 * x)[None]
    low = degrade(plane, ratio=ratio, fwhm=1.0)
    blocks = plane.reshape(1, 20, ratio, 20, ratio).mean(axis=(2, 4))
    np.testing.assert_allclose(middle(low, 3), middle(blocks, 3), atol=1e-3)
    again = upsample(low, ratio=ratio)
    np.testing.assert_allclose(middle(again, 5 * ratio), middle(plane, 5 * ratio), atol=1e-3)


def test_a_shift_moves_where_degrade_looks():
    x = np.broadcast_to(np.arange(80, dtype=np.float32), (80, 80))
    still = degrade(x, ratio=4, fwhm=1.0)
    moved = degrade(x, ratio=4, fwhm=1.0, shift=(0.0, 1.3))
    # The point spread is cut off at 3.5 standard deviations, a little lopsidedly.
    np.testing.assert_allclose(middle(moved - still, 4), 1.3, atol=5e-3)


def test_a_degraded_constant_stays_at_the_edges_and_around_missing_pixels():
    image = np.full((1, 24, 24), 7, np.float32)
    image[0, 4:7, 5] = np.nan
    low = degrade(image, ratio=4, fwhm=1.0)
    np.testing.assert_allclose(low, 7, rtol=1e-6)
    np.testing.assert_allclose(upsample(low, ratio=4), 7, rtol=1e-6)


def test_degrade_gives_nan_where_most_of_the_point_spread_is_missing():
    image = np.ones((1, 40, 40), np.float32)
    image[0, 8:24, 8:24] = np.nan
    missing = np.isnan(degrade(image, ratio=4, fwhm=1.0)[0])
    assert missing[3:5, 3:5].all()
    assert not missing[0].any()
    assert not missing[:, 7:].any()


def test_upsample_leaves_exactly_the_missing_coarse_pixels_out():
    image = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    image[0, 3, 4] = np.nan
    image[1, :, 6:8] = np.nan
    out = upsample(image, ratio=3)
    np.testing.assert_array_equal(np.isnan(out), spread(np.isnan(image), ratio=3))
    assert np.nanmax(np.abs(out)) < 2 * np.nanmax(np.abs(image))


def test_fill_takes_the_neighbours_mean():
    image = np.full((1, 9, 9), 5, np.float32)
    image[0, 2:4, 2:4] = np.nan
    np.testing.assert_allclose(fill(image), 5, rtol=1e-6)


def test_all_missing_stays_missing_and_silent():
    none = np.full((2, 8, 8), np.nan, np.float32)
    assert np.isnan(degrade(none, ratio=2, fwhm=1.0)).all()
    assert np.isnan(upsample(none, ratio=2)).all()
    assert np.isnan(register(none, shift=(0.3, 0.4))).all()


def test_round_trip_is_upsample_and_degrade():
    image = np.random.default_rng(0).normal(size=(1, 12, 10)).astype(np.float32)
    rows, cols = (round_trip(n, ratio=4, fwhm=1.1) for n in (12, 10))
    expected = degrade(upsample(image, ratio=4), ratio=4, fwhm=1.1)
    np.testing.assert_allclose(rows @ image @ cols.T, expected, atol=1e-5)


def test_register_reads_a_smooth_image_between_its_pixels():
    y, x = np.mgrid[:40, :40]
    wave = lambda dy, dx: np.sin((y + dy) / 4) + np.cos((x + dx) / 5)  # noqa: E731
    moved = register(wave(0, 0).astype(np.float32), shift=(0.4, -1.3))
    np.testing.assert_allclose(middle(moved, 6), middle(wave(0.4, -1.3), 6), atol=0.02)


def test_register_without_a_shift_changes_nothing():
    image = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    np.testing.assert_array_equal(register(image, shift=(0.0, 0.0)), image)


def test_register_marks_the_pixels_whose_new_place_is_missing():
    image = np.ones((1, 12, 12), np.float32)
    image[0, 5, 5] = np.nan
    missing = np.isnan(register(image, shift=(1.2, 0.0)))
    assert missing.sum() == 1
    assert missing[0, 4, 5]


@pytest.mark.parametrize("fwhm", [0.7, 0.93, 1.0, 1.4])
def test_the_point_spread_is_found(fwhm):
    spectral, spatial, _ = cubes(fwhm=fwhm)
    assert estimate_fwhm(spectral, spatial, ratio=RATIO) == pytest.approx(fwhm, abs=0.05)


def test_the_point_spread_is_found_in_noise_with_more_bands_than_pixels_allow():
    spectral, spatial, _ = cubes(fwhm=1.2, noise=0.002, size=64, bands=200)
    assert estimate_fwhm(spectral, spatial, ratio=RATIO) == pytest.approx(1.2, abs=0.15)


@pytest.mark.parametrize("shift", [(0.5, -0.8), (1.7, 0.3)])
def test_the_shift_is_found_and_register_undoes_it(shift):
    spectral, spatial, _ = cubes(shift=shift)
    fwhm, found = locate(spectral, spatial, ratio=RATIO)
    np.testing.assert_allclose(found, shift, atol=0.1)
    assert fwhm == pytest.approx(1.0, abs=0.1)
    rest = estimate_shift(spectral, register(spatial, shift=found), ratio=RATIO, fwhm=fwhm)
    np.testing.assert_array_equal(rest, 0)


def test_noise_alone_is_no_shift():
    spectral, spatial, _ = cubes(noise=0.01)
    np.testing.assert_array_equal(estimate_shift(spectral, spatial, ratio=RATIO, fwhm=1.0), 0)


def test_the_response_is_found_with_its_gain_and_offset():
    spectral, spatial, srf = cubes()
    found, offset = estimate_srf(spectral, 2 * spatial + 0.1, ratio=RATIO, fwhm=1.0)
    assert (found >= 0).all()
    low = degrade(2 * spatial + 0.1, ratio=RATIO, fwhm=1.0)
    explained = np.tensordot(found, spectral, 1) + offset[:, None, None]
    np.testing.assert_allclose(explained, low, atol=0.02 * low.std())
    np.testing.assert_allclose(found.sum(axis=1), 2 * srf.sum(axis=1), rtol=0.2)


def test_missing_pixels_do_not_change_what_is_found():
    spectral, spatial, _ = cubes(fwhm=1.2, shift=(0.6, 0.0))
    spectral, spatial = spectral.copy(), spatial.copy()
    spectral[3, 4:8, 4:8], spatial[1, 60:70, 20:50] = np.nan, np.nan
    found = respond(spectral, spatial, ratio=RATIO)
    assert found.fwhm == pytest.approx(1.2, abs=0.1)
    np.testing.assert_allclose(found.shift, (0.6, 0.0), atol=0.1)
    assert np.isfinite(found.srf).all()
    assert np.isfinite(found.offset).all()


def test_what_is_given_is_used():
    spectral, spatial, srf = cubes()
    found = respond(spectral, spatial + 0.25, ratio=RATIO, srf=srf, fwhm=1.1)
    assert found.fwhm == 1.1
    np.testing.assert_array_equal(found.srf, srf)
    np.testing.assert_allclose(found.offset, 0.25, atol=0.01)


def test_the_unit_does_not_change_the_estimates():
    spectral, spatial, _ = cubes(fwhm=1.2, shift=(0.6, 0.4), noise=0.001)
    one = respond(spectral, spatial, ratio=RATIO)
    big = respond(1e4 * spectral, 1e4 * spatial, ratio=RATIO)
    assert big.fwhm == pytest.approx(one.fwhm, abs=1e-3)
    np.testing.assert_allclose(big.shift, one.shift, atol=1e-3)
    np.testing.assert_allclose(big.srf, one.srf, atol=2e-3 * one.srf.max())


@pytest.mark.parametrize("unit", [1e4, 3.7, 1e-3])
def test_the_unit_does_not_change_the_response_to_cubes_without_noise(unit):
    spectral, spatial, _ = cubes()
    srf, offset = estimate_srf(spectral, spatial, ratio=RATIO, fwhm=1.0)
    unit = np.float32(unit)
    other, moved = estimate_srf(unit * spectral, unit * spatial, ratio=RATIO, fwhm=1.0)
    np.testing.assert_allclose(other, srf, atol=1e-4 * srf.max())
    np.testing.assert_allclose(moved / unit, offset, atol=1e-6 * np.ptp(spatial))


@pytest.mark.parametrize("value", [np.nan, 0.3])
def test_cubes_that_say_nothing_give_the_usual_width_and_no_shift(value):
    spectral = np.full((5, 8, 8), value, np.float32)
    spatial = np.full((2, 32, 32), value, np.float32)
    found = respond(spectral, spatial, ratio=RATIO)
    assert found.fwhm == 1.0
    np.testing.assert_array_equal(found.shift, 0)
    assert np.isfinite(found.srf).all()
    assert np.isfinite(found.offset).all()


def test_a_pan_image_is_enough_to_find_all():
    spectral, spatial, _ = cubes(fwhm=1.2, shift=(0.0, 0.7), guides=1)
    found = respond(spectral, spatial, ratio=RATIO)
    assert found.fwhm == pytest.approx(1.2, abs=0.1)
    np.testing.assert_allclose(found.shift, (0.0, 0.7), atol=0.1)


def test_nothing_given_is_written_to():
    spectral, spatial, _ = cubes(shift=(0.6, 0.4))
    before = spectral.copy(), spatial.copy()
    for cube in (spectral, spatial):
        cube.flags.writeable = False
    respond(spectral, spatial, ratio=RATIO)
    np.testing.assert_array_equal(spectral, before[0])
    np.testing.assert_array_equal(spatial, before[1])
