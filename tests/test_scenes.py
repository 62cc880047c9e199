"""The example scenes: what they promise, that they are georeferenced, seeded and alive."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from xstf import scenes, simulate


@pytest.fixture(scope="module")
def scene():
    return scenes.landsat_modis(size=90)


def test_the_cubes_have_the_promised_shape(scene):
    assert scene.fine.dims == scene.coarse.dims == scene.truth.dims == ("time", "band", "y", "x")
    assert scene.fine.shape == (4, 6, 90, 90)
    assert scene.truth.shape == (12, 6, 90, 90)
    assert scene.coarse.shape[:2] == (12, 6)
    assert scene.truth.time.equals(scene.coarse.time)
    assert set(scene.fine.time.values) <= set(scene.coarse.time.values)
    for cube in (scene.fine, scene.coarse, scene.truth):
        assert cube.dtype == np.float32
        assert list(cube.band.values) == ["blue", "green", "red", "nir", "swir1", "swir2"]
        assert cube.name == "reflectance"
        assert cube.attrs == {"units": "1", "long_name": "surface reflectance"}
        assert cube.wavelength.attrs["units"] == "nm"


def test_only_the_second_fine_date_has_a_cloud(scene):
    share = scene.fine.isnull().mean(("band", "y", "x"))
    np.testing.assert_allclose(share, [0, 0.12, 0, 0], atol=1e-4)
    assert scene.truth.notnull().all()
    assert scene.coarse.notnull().all()


def test_fine_is_the_truth_where_it_is_clear(scene):
    truth = scene.truth.sel(time=scene.fine.time)
    assert (scene.fine == truth).where(scene.fine.notnull(), True).all()


@pytest.mark.parametrize("name", ["fine", "coarse", "truth", "change"])
def test_cubes_say_where_they_are(scene, name):
    cube = getattr(scene, name)
    crs = CRS.from_wkt(cube.spatial_ref.attrs["crs_wkt"])
    expected = "sinusoidal" if name == "coarse" else "transverse_mercator"
    assert cube.spatial_ref.attrs["grid_mapping_name"] == expected
    assert (crs.to_epsg() == 32633) == (name != "coarse")
    left, width, _, top, _, height = map(float, cube.spatial_ref.attrs["GeoTransform"].split())
    np.testing.assert_allclose(cube.x, left + width * (np.arange(cube.sizes["x"]) + 0.5))
    np.testing.assert_allclose(cube.y, top + height * (np.arange(cube.sizes["y"]) + 0.5))
    assert cube.encoding["grid_mapping"] == "spatial_ref"
    assert cube.x.attrs["standard_name"] == "projection_x_coordinate"


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # affine 3
def test_rioxarray_reads_the_georeference(scene, tmp_path):
    pytest.importorskip("rioxarray", reason="reads the CRS with rioxarray")
    scene.coarse.to_netcdf(tmp_path / "coarse.nc")
    with xr.open_dataset(tmp_path / "coarse.nc", decode_coords="all") as found:
        assert found.reflectance.rio.crs.to_dict()["proj"] == "sinu"
        np.testing.assert_allclose(found.rio.resolution(), (463.312716528, -463.312716528))
    assert scene.fine.rio.crs.to_epsg() == 32633
    assert scene.fine.rio.bounds() == (409980.0, 5380020.0 - 2700, 409980.0 + 2700, 5380020.0)


@pytest.mark.parametrize("size", [30, 90, 150])
def test_coarse_covers_fine_with_a_margin(size):
    made = scenes.landsat_modis(size=size)
    to_coarse = Transformer.from_crs(
        32633, made.coarse.spatial_ref.attrs["crs_wkt"], always_xy=True
    )
    x, y = to_coarse.transform(*np.meshgrid(made.fine.x, made.fine.y))
    pixel = float(made.coarse.x[1] - made.coarse.x[0])
    assert x.min() - made.coarse.x.min() > 1.4 * pixel
    assert made.coarse.x.max() - x.max() > 1.4 * pixel
    assert y.min() - made.coarse.y.min() > 1.4 * pixel
    assert made.coarse.y.max() - y.max() > 1.4 * pixel


def test_coarse_lies_on_the_grid_of_modis(scene):
    column = (scene.coarse.x.values + 20015109.354) / 463.312716528
    row = (10007554.677 - scene.coarse.y.values) / 463.312716528
    np.testing.assert_allclose(column % 1, 0.5, atol=1e-4)
    np.testing.assert_allclose(row % 1, 0.5, atol=1e-4)


def test_a_coarse_pixel_is_the_truth_under_the_psf_at_its_centre():
    made = scenes.landsat_modis(size=150, noise=0)
    back = Transformer.from_crs(made.coarse.spatial_ref.attrs["crs_wkt"], 32633, always_xy=True)
    middle = {d: made.coarse.sizes[d] // 2 for d in ("y", "x")}
    pixel = made.coarse.isel(middle)
    east, north = back.transform(float(pixel.x), float(pixel.y))
    sigma = 463.312716528 / 2.3548
    off = (made.truth.x - east) ** 2 + (made.truth.y - north) ** 2
    weight = np.exp(-off / (2 * sigma**2))
    expected = (made.truth * weight).sum(("y", "x")) / weight.sum()
    np.testing.assert_allclose(pixel, expected, rtol=0.01)  # the scene cuts the PSF at 3 sigma


def test_noise_is_as_strong_as_said():
    noisy, clean = (scenes.landsat_modis(size=60, noise=n) for n in (0.01, 0))
    np.testing.assert_allclose((noisy.coarse - clean.coarse).std(), 0.01, rtol=0.05)
    xr.testing.assert_identical(noisy.truth, clean.truth)


def test_land_cover_changes_between_the_last_two_fine_dates(scene):
    changed = scene.change
    assert changed.dtype == bool
    assert 0.005 < changed.mean() < 0.05
    day = np.datetime64(changed.attrs["date"])
    assert scene.fine.time[2] < day < scene.fine.time[3]
    step = np.abs(scene.truth[1:] - scene.truth[:-1].values).mean("band")
    event = int((scene.truth.time < day).sum()) - 1
    usual = step.where(~changed).mean(("y", "x"))
    assert step[event].where(changed).mean() > 3 * usual[event]
    for date in range(9, 11):
        assert step[date].where(changed).mean() < usual[date]


def test_crops_have_seasons_that_differ_by_field(scene):
    red, nir = (scene.truth.sel(band=b, drop=True) for b in ("red", "nir"))
    ndvi = (nir - red) / (nir + red)
    low, high = ndvi.min("time"), ndvi.max("time")
    assert (high - low).quantile(0.75) > 0.4
    assert len(np.unique(ndvi.argmax("time"))) >= 6
    assert scene.truth.min() > 0
    assert scene.truth.max() < 0.8


def test_fields_have_texture(scene):
    land_step = np.abs(scene.truth[6].diff("x")).sel(band="nir")
    assert (land_step > 1e-4).mean() > 0.9


def test_the_same_seed_gives_the_same_bits_and_another_one_another_land():
    one, two, other = (scenes.landsat_modis(size=40, seed=s) for s in (1, 1, 2))
    for name in ("fine", "coarse", "truth", "change"):
        xr.testing.assert_identical(getattr(one, name), getattr(two, name))
    assert not one.truth.equals(other.truth)


def test_too_small_a_scene_is_refused():
    with pytest.raises(ValueError, match="size must be 30 fine pixels or more"):
        scenes.landsat_modis(size=20)


@pytest.mark.parametrize(
    ("size", "ratio", "bands", "dates"), [(48, 8, 2, 5), (30, 1, 1, 3), (60, 15, 6, 4)]
)
def test_nested_grids_nest(size, ratio, bands, dates):
    made = scenes.nested(size=size, ratio=ratio, bands=bands, dates=dates)
    assert made.fine.shape == (3, bands, size, size)
    assert made.truth.shape == (dates, bands, size, size)
    assert made.coarse.shape == (dates, bands, size // ratio, size // ratio)
    assert made.fine.equals(made.truth.sel(time=made.fine.time))
    assert set(made.fine.time.values) <= set(made.coarse.time.values)
    mean = made.truth.coarsen(y=ratio, x=ratio).mean()
    np.testing.assert_allclose(made.coarse, mean, rtol=1e-5)
    np.testing.assert_allclose(made.coarse.x, mean.x)
    np.testing.assert_allclose(made.coarse.y, mean.y)
    assert made.truth.notnull().all()
    assert "spatial_ref" not in made.fine.coords
    assert made.change.any()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 50}, "multiple of ratio"),
        ({"size": 8}, "size must be 16 or more"),
        ({"bands": 7}, "1 to 6 bands"),
        ({"dates": 2}, "3 dates or more"),
    ],
)
def test_an_impossible_nested_scene_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        scenes.nested(**options)


def test_a_scene_can_be_clouded_and_degraded_again(scene):
    cloudy = simulate.add_clouds(scene.truth, 0.3)
    again = simulate.degrade(cloudy, 15)
    assert again.sizes["x"] == 6
    assert CRS.from_wkt(again.spatial_ref.attrs["crs_wkt"]).to_epsg() == 32633
