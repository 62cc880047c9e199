"""The season of three sensors: one truth, three nested grids, and more change than time shows."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr

from xstf import scenes, sensors
from xstf.numerics.degrade import degrade

PAIRED = [0, 2, 4, 6]


@pytest.fixture(scope="module")
def scene():
    return scenes.hyperspectral_series(size=96)


@pytest.fixture(scope="module")
def clean():
    return scenes.hyperspectral_series(size=60, noise=0)


def test_dates_bands_and_grids(scene):
    assert dict(scene.truth.sizes) == {"time": 7, "band": 60, "y": 96, "x": 96}
    assert dict(scene.spectral.sizes) == {"time": 4, "band": 60, "y": 32, "x": 32}
    assert dict(scene.dense.sizes) == {"time": 7, "band": 8, "y": 48, "x": 48}
    assert dict(scene.sharp.sizes) == {"time": 4, "band": 4, "y": 96, "x": 96}
    times = scene.truth.time.values
    np.testing.assert_array_equal(scene.dense.time, times)
    for cube in (scene.spectral, scene.sharp):
        np.testing.assert_array_equal(cube.time, times[PAIRED])
    assert set(scene.sharp.band.values) <= set(scene.dense.band.values)
    np.testing.assert_array_equal(scene.spectral.band, scene.truth.band)


@pytest.mark.parametrize(("name", "ratio"), [("spectral", 3), ("dense", 2), ("truth", 1)])
def test_grids_are_nested_in_that_of_the_sharp_cube(scene, name, ratio):
    cube, sharp = getattr(scene, name), scene.sharp
    for dim in ("y", "x"):
        blocks = sharp[dim].values.reshape(-1, ratio).mean(axis=1)
        np.testing.assert_allclose(cube[dim], blocks)
    assert pyproj.CRS.from_cf(cube.spatial_ref.attrs).to_epsg() == 32633
    assert cube.encoding["grid_mapping"] == "spatial_ref"
    corner = [float(n) for n in cube.spatial_ref.attrs["GeoTransform"].split()]
    assert corner[1] == 30.0 * ratio
    assert corner[0] + corner[1] / 2 == cube.x[0]
    assert corner[3] + corner[5] / 2 == cube.y[0]


def test_everything_is_float32_reflectance(scene):
    for cube in (scene.spectral, scene.dense, scene.sharp, scene.truth):
        assert cube.dtype == np.float32
        assert cube.notnull().all()
        assert cube.wavelength.attrs["units"] == "nm"
        assert (np.diff(cube.wavelength) > 0).all()
    assert 0 < scene.truth.min() < scene.truth.max() < 1


@pytest.mark.parametrize(("name", "sensor", "ratio"), [("dense", "gf-6-wfv", 2),
                                                       ("sharp", "zy1-02d", 1)])  # fmt: skip
def test_wide_bands_are_the_truth_by_their_responses(clean, name, sensor, ratio):
    cube = getattr(clean, name)
    rows = sensors.responses(sensor, list(cube.band.values), clean.truth.wavelength.values)
    mixed = np.einsum("gb,tbyx->tgyx", rows, clean.truth.sel(time=cube.time).values)
    if ratio > 1:
        mixed = degrade(mixed, ratio=ratio, fwhm=1.0)
    core = (..., slice(3, -3), slice(3, -3))  # what lies beyond the edge is known to the sensors
    np.testing.assert_allclose(cube.values[core], mixed[core], atol=2e-4)


def test_spectral_pixels_are_the_truth_under_a_point_spread(clean):
    blurred = degrade(clean.truth.values[PAIRED], ratio=3, fwhm=1.0)
    core = (..., slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(clean.spectral.values[core], blurred[core], atol=2e-4)


def test_noise_is_as_wide_as_asked_for(clean):
    noisy = scenes.hyperspectral_series(size=60, noise=0.004)
    for name, factor in (("spectral", 1.5), ("dense", 1.0), ("sharp", 1.0)):
        noise = (getattr(noisy, name) - getattr(clean, name)).values
        assert noise.std() == pytest.approx(0.004 * factor, rel=0.03)
        assert abs(noise.mean()) < 2e-4
    xr.testing.assert_identical(noisy.truth, clean.truth)


def test_a_seed_gives_the_same_scene_and_another_seed_another(scene):
    again = scenes.hyperspectral_series(size=96)
    for name in ("spectral", "dense", "sharp", "truth"):
        xr.testing.assert_identical(getattr(again, name), getattr(scene, name))
    other = scenes.hyperspectral_series(size=96, seed=1)
    assert float(abs(other.truth - scene.truth).mean()) > 0.01


def _nearest(truth, nanometres):
    return truth.band.values[np.abs(truth.wavelength.values - nanometres).argmin()]


def _greenness(truth):
    red, nir = (truth.sel(band=_nearest(truth, n)) for n in (665, 865))
    return ((nir - red) / (nir + red)).values


def test_fields_are_cut_at_different_times(scene):
    green = _greenness(scene.truth)
    drops = (green[:-1] - green[1:] > 0.3).mean(axis=(1, 2))
    # between two paired dates some are cut before the date between them, some after
    assert min(drops[2], drops[3]) > 0.04


@pytest.mark.parametrize("date", [1, 3, 5])
def test_interpolation_in_time_is_not_enough(scene, date):
    truth = scene.truth.values
    error = np.abs(truth[date] - (truth[date - 1] + truth[date + 1]) / 2).mean(axis=0)
    assert np.quantile(error, 0.9) > 0.015
    assert np.quantile(error, 0.05) < 0.006  # water, roofs and conifers hardly change


def test_bands_may_be_all_of_the_sensors():
    scene = scenes.hyperspectral_series(size=30, bands=155)
    nanometres = scene.spectral.wavelength.values
    assert nanometres.size == 155
    assert nanometres[0] == 400
    assert 2380 < nanometres[-1] < 2400


@pytest.mark.parametrize("wrong", [{"size": 24}, {"size": 100}, {"bands": 39}, {"bands": 156},
                                   {"noise": -1.0}])  # fmt: skip
def test_what_makes_no_scene_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        scenes.hyperspectral_series(**wrong)
