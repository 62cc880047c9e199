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


def test_noise_is_as_strong_as_asked_for():
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


@pytest.fixture(scope="module")
def gappy():
    return scenes.sentinel_1_2(size=60)


def day_of(cube):
    return (cube.time.values - np.datetime64("2021-01-01")) / np.timedelta64(1, "D")


def ndvi_of(cube):
    red, nir = (cube.sel(band=b, drop=True) for b in ("red", "nir"))
    return (nir - red) / (nir + red)


def test_the_sentinels_cubes_have_the_promised_shape(gappy):
    assert gappy.cube.shape == gappy.truth.shape == (50, 4, 60, 60)
    assert list(gappy.cube.band.values) == ["green", "red", "nir", "swir1"]
    assert gappy.cube.attrs == {"units": "1", "long_name": "surface reflectance"}
    assert list(gappy.sar.band.values) == ["VV", "VH"]
    assert gappy.sar.attrs["units"] == "dB"
    for cube in (gappy.cube, gappy.sar, gappy.truth):
        assert cube.dims == ("time", "band", "y", "x")
        assert cube.dtype == np.float32
        assert cube.encoding["grid_mapping"] == "spatial_ref"
    steps = np.diff(day_of(gappy.cube))
    assert set(steps) == {5, 8, 10, 13}
    assert day_of(gappy.cube)[-1] - day_of(gappy.cube)[0] == 471
    for flags in (gappy.clouds, gappy.missed):
        assert flags.dtype == bool
        assert flags.dims == ("time", "y", "x")
        assert flags.time.equals(gappy.cube.time)


def test_a_gap_is_a_cloud_that_was_not_missed_and_the_rest_is_the_truth(gappy):
    gap = gappy.cube.isnull()
    assert gap.any("band").equals(gap.all("band"))
    np.testing.assert_array_equal(gap.any("band"), gappy.clouds & ~gappy.missed)
    assert (gappy.missed <= gappy.clouds).all()
    same = gappy.cube == gappy.truth
    assert same.where(~gappy.clouds, True).all()
    assert not same.where(gappy.missed, False).all("band").any()
    assert gappy.truth.notnull().all()
    assert gappy.truth.min() > 0
    assert gappy.truth.max() < 0.9


@pytest.mark.parametrize(("cloud", "haze"), [(0.3, 0.0), (0.7, 0.03)])
def test_as_much_is_missing_and_missed_as_was_asked(cloud, haze):
    made = scenes.sentinel_1_2(size=40, cloud=cloud, haze=haze)
    np.testing.assert_allclose(made.cube.isnull().mean(), cloud, atol=0.02)
    assert haze / 3 <= made.missed.mean() <= haze


def test_a_scene_without_clouds_or_with_nothing_else():
    clear, dark = (scenes.sentinel_1_2(size=30, cloud=c, haze=0) for c in (0, 1))
    xr.testing.assert_equal(clear.cube, clear.truth)
    assert dark.cube.isnull().all()


def test_some_dates_are_clear_some_overcast_and_most_between(gappy):
    share = gappy.cube.isnull().mean(("band", "y", "x"))
    assert (share == 0).sum() >= 2
    assert (share == 1).sum() >= 4
    assert ((share > 0.05) & (share < 0.95)).sum() >= 20
    winter = share.time.dt.month.isin([11, 12, 1, 2])
    assert share[winter].mean() > share[~winter].mean()


def test_clouds_are_blobs_not_speckle(gappy):
    """A pixel's neighbour is nearly always as cloudy as it is, in clouds of every kind."""
    gap = gappy.cube.isnull().isel(band=0)
    partly = gap[((gap.mean(("y", "x")) > 0.2) & (gap.mean(("y", "x")) < 0.8)).values]
    for dim in ("y", "x"):
        assert (partly.astype(int).diff(dim) != 0).mean() < 0.1


def test_missed_haze_brightens_red_and_missed_shadow_darkens_it(gappy):
    change = (gappy.cube - gappy.truth).sel(band="red").where(gappy.missed)
    assert (change > 0.01).any()
    assert (change < -0.002).any()


def test_radar_has_its_own_zone_grid_and_dates(gappy):
    assert CRS.from_wkt(gappy.sar.spatial_ref.attrs["crs_wkt"]).to_epsg() == 32632
    assert CRS.from_wkt(gappy.cube.spatial_ref.attrs["crs_wkt"]).to_epsg() == 32633
    assert float(gappy.sar.x[1] - gappy.sar.x[0]) == 20
    to_radar = Transformer.from_crs(32633, 32632, always_xy=True)
    edges = [gappy.cube[d].values[[0, -1]] for d in ("x", "y")]
    edges = [e + (e - e.mean()) / 59 for e in edges]  # from centres to outer edges
    x, y = to_radar.transform(*np.meshgrid(*edges))
    for inner, outer in ((x, gappy.sar.x.values), (y, gappy.sar.y.values)):
        assert 40 <= inner.min() - (outer.min() - 10) < 60
        assert 40 <= (outer.max() + 10) - inner.max() < 60
    for orbit in ("ascending", "descending"):
        days = day_of(gappy.sar.where(gappy.sar.orbit == orbit, drop=True))
        assert set(np.diff(days)) == {12}
    assert set(gappy.sar.time.values) != set(gappy.cube.time.values)


def test_radar_shows_the_place_that_light_shows(gappy):
    """Water is dark to both: the two grids must agree where the river runs."""
    to_light = Transformer.from_crs(32632, 32633, always_xy=True)
    x, y = to_light.transform(*np.meshgrid(gappy.sar.x, gappy.sar.y))
    at = {
        "x": xr.DataArray(x, dims=("row", "column")),
        "y": xr.DataArray(y, dims=("row", "column")),
    }
    nir = gappy.truth.sel(band="nir").mean("time").coarsen(y=2, x=2).mean()
    nir = nir.interp(at).values
    seen = (10 ** (gappy.sar.sel(band="VV") / 10)).mean("time").values
    there = np.isfinite(nir)
    dark = nir < np.nanquantile(nir, 0.03)
    assert seen[dark].mean() < 0.3 * seen[there & ~dark].mean()
    shifted = np.roll(dark, 4, axis=1) & there & ~dark
    assert seen[shifted].mean() > 2 * seen[dark].mean()


def test_orbits_differ_and_speckle_is_that_of_six_looks(gappy):
    power = 10 ** (gappy.sar / 10)
    up, down = (
        power.where(power.orbit == o, drop=True).mean("time") for o in ("ascending", "descending")
    )
    offset = 10 * np.log10(up / down).mean(("y", "x"))
    assert (offset > 0.5).all()
    # a gamma distribution of 6 looks has a relative spread of 1 / sqrt(6); land adds some to it
    pairs = power.where(power.orbit == "ascending", drop=True)
    step = pairs.diff("time") / (pairs + pairs.shift(time=1)).isel(time=slice(1, None))
    spread = float(np.sqrt(2) * np.sqrt((step**2).median()) / 0.6745)
    np.testing.assert_allclose(spread, 1 / np.sqrt(6), rtol=0.15)


def test_vh_rises_with_the_green_of_crops(gappy):
    light = ndvi_of(gappy.truth)
    summer, spring = (light.sel(time=t).mean("time") for t in ("2021-07", "2021-04"))
    late = (summer - spring).where(summer - spring > 0.4)  # maize and beet
    assert late.notnull().sum() > 30
    to_radar = Transformer.from_crs(32633, 32632, always_xy=True)
    grid = np.meshgrid(late.x, late.y)
    x, y = to_radar.transform(*(g[late.notnull().values] for g in grid))
    at = {"x": xr.DataArray(x, dims="pixel"), "y": xr.DataArray(y, dims="pixel")}
    power = 10 ** (gappy.sar.sel(band="VH") / 10)
    seen = power.sel(at, method="nearest").mean("pixel")
    rise = 10 * np.log10(seen.sel(time="2021-07").mean() / seen.sel(time="2021-04").mean())
    assert rise > 2


def test_truth_has_seasons_two_harvests_and_small_noise(gappy):
    light = ndvi_of(gappy.truth)
    assert ((light.max("time") - light.min("time")) > 0.45).mean() > 0.4
    assert len(np.unique(light.argmax("time"))) >= 15
    quiet, usual = (scenes.sentinel_1_2(size=30, noise=n) for n in (0, 0.01))
    np.testing.assert_allclose((usual.truth - quiet.truth).std(), 0.01, rtol=0.03)


def test_rain_darkens_bare_soil_for_light_and_brightens_it_for_radar():
    from xstf.scenes.farmland import LEAD, Farmland

    land = Farmland.make(60, 0, seed=0, last=200)
    dry, wet = (land.wet * 0 + w for w in (0, 1))
    at = np.arange(3600).reshape(1, 60, 60)
    views = []
    for wetness in (dry, wet):
        land.wet[:] = wetness
        views.append((land.image(75), land.backscatter(75, 0, at)))
    assert land.wet.size == 200 + LEAD + 1
    (light, radar), (light_wet, radar_wet) = views
    bare = (light[2] < 1.6 * light[1]) & (light[1] > 0.08)
    assert bare.sum() > 100
    assert (light_wet[:, bare] / light[:, bare]).mean() < 0.8
    assert (radar_wet[:, bare] / radar[:, bare]).mean() > 2


def test_the_same_seed_gives_the_same_sentinels_and_another_one_others():
    one, two, other = (scenes.sentinel_1_2(size=30, seed=s) for s in (1, 1, 2))
    for name in ("cube", "sar", "truth", "clouds", "missed"):
        xr.testing.assert_identical(getattr(one, name), getattr(two, name))
    assert not one.truth.equals(other.truth)
    assert not one.clouds.equals(other.clouds)
    hazier = scenes.sentinel_1_2(size=30, seed=1, haze=0.05)
    xr.testing.assert_identical(one.truth, hazier.truth)
    xr.testing.assert_identical(one.sar, hazier.sar)


def test_the_scene_is_the_same_on_every_machine(gappy):
    """As first made, with NumPy 2.4 on x86-64 Linux; the last bits may differ by platform."""
    found = [gappy.truth.mean(), gappy.truth.std(), gappy.sar.mean(), gappy.missed.mean()]
    np.testing.assert_allclose(found, [0.146352, 0.108748, -14.68101, 0.00823889], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 20}, "size must be 30 optical pixels or more"),
        ({"cloud": 1.2}, "cloud and haze are shares"),
        ({"haze": -0.1}, "cloud and haze are shares"),
        ({"noise": -1}, "noise is 0 or more"),
    ],
)
def test_an_impossible_cloudy_scene_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        scenes.sentinel_1_2(**options)


# ------------------------------------------------------------------ many bands and few


@pytest.fixture(scope="module")
def spectra():
    return scenes.hyperspectral(size=64)


def test_the_spectral_cubes_nest_and_say_where_they_are(spectra):
    assert spectra.spectral.shape == (80, 16, 16)
    assert spectra.spatial.shape == (6, 64, 64)
    assert spectra.truth.shape == (80, 64, 64)
    assert spectra.srf.dims == ("spatial_band", "band")
    for cube in (spectra.spectral, spectra.spatial, spectra.truth):
        assert cube.dtype == np.float32
        assert cube.dims == ("band", "y", "x")
        assert cube.name == "reflectance"
        assert cube.attrs["units"] == "1"
        assert cube.encoding["grid_mapping"] == "spatial_ref"
        assert CRS.from_wkt(cube.spatial_ref.attrs["crs_wkt"]).to_epsg() == 32633
        assert cube.wavelength.attrs["units"] == "nm"
    for dim in ("y", "x"):
        np.testing.assert_array_equal(spectra.spatial[dim], spectra.truth[dim])
        blocks = spectra.truth[dim].coarsen({dim: 4}).mean()
        np.testing.assert_allclose(spectra.spectral[dim], blocks)


def test_the_coarse_cube_is_the_truth_under_its_point_spread(spectra):
    """To its noise, away from the scene's edge, beyond which it sees more than the truth."""
    seen = simulate.degrade(spectra.truth, 4, psf_fwhm=0.734)
    off = (spectra.spectral - seen).isel(y=slice(2, -2), x=slice(2, -2))
    np.testing.assert_allclose(off.std(), 0.002, rtol=0.05)


def test_the_sharp_cube_is_the_truth_through_its_responses(spectra):
    off = spectra.spatial.values - np.tensordot(spectra.srf.values, spectra.truth.values, 1)
    np.testing.assert_allclose(off.std(), 0.002, rtol=0.05)
    np.testing.assert_allclose(spectra.srf.sum("band"), 1)
    peak = spectra.truth.wavelength[spectra.srf.argmax("band")]
    assert (abs(peak.values - spectra.spatial.wavelength.values) < 25).all()


def test_spectra_have_a_red_edge_dark_water_and_several_dimensions(spectra):
    at = {
        n: int(abs(spectra.truth.wavelength - n).argmin("band"))
        for n in (560, 670, 860, 1650, 2200)
    }
    red, nir = spectra.truth[at[670]], spectra.truth[at[860]]
    green = (nir - red) / (nir + red) > 0.7
    assert green.mean() > 0.3
    edge = spectra.truth.where(green).mean(("y", "x")).diff("band").argmax("band")
    assert 690 < spectra.truth.wavelength[int(edge) + 1] < 770
    assert (nir < 0.05).mean() > 0.02
    values = spectra.truth.values.reshape(80, -1)
    spread = np.linalg.svd(values - values.mean(1, keepdims=True), compute_uv=False)
    assert 7 <= (spread / np.sqrt(values.shape[1]) > 0.002).sum() <= 20


def test_water_vapour_hides_whole_bands_of_the_coarse_cube_alone(spectra):
    dark = scenes.hyperspectral(size=64, vapour=True)
    gone = dark.spectral.isnull().all(("y", "x"))
    near = abs(dark.spectral.wavelength - 1395) < 56
    np.testing.assert_array_equal(gone, near | (abs(dark.spectral.wavelength - 1880) < 91))
    assert gone.sum() >= 8
    assert dark.spatial.notnull().all()
    np.testing.assert_array_equal(dark.spectral[~gone], spectra.spectral[~gone])


def test_the_same_seed_gives_the_same_spectra_and_another_one_others():
    one, two, other = (scenes.hyperspectral(size=32, bands=40, seed=s) for s in (1, 1, 2))
    for name in ("spectral", "spatial", "truth", "srf"):
        xr.testing.assert_identical(getattr(one, name), getattr(two, name))
    assert not one.truth.equals(other.truth)
    assert not one.spectral.equals(
        scenes.hyperspectral(size=32, bands=40, seed=1, noise=0).spectral
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 28}, "size must be 30 or more and a multiple of ratio"),
        ({"size": 50}, "a multiple of ratio, not 50 with ratio=4"),
        ({"bands": 12}, "bands must be 40 or more"),
        ({"noise": -1}, "noise 0 or more"),
    ],
)
def test_an_impossible_spectral_scene_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        scenes.hyperspectral(**options)
