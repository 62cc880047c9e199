"""The verb `sharpen_spectral` on labelled cubes: what users give, and what they get."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pyproj
import pytest
import xarray as xr
from records import each_name

import xstf
from xstf import scenes, sensors, simulate, testing

SPECTRAL, SPATIAL, TRUTH = testing.bands()
FAST = "mtf_glp_hs"
METHODS = each_name("sharpen_spectral")
UTM = pyproj.CRS.from_epsg(32633)


def sharpen(spectral: Any = SPECTRAL, spatial: Any = SPATIAL, **call: Any) -> Any:
    return spectral.stf.sharpen_spectral(spatial, **({"method": FAST} | call))


def error(estimate: xr.DataArray, truth: xr.DataArray = TRUTH) -> float:
    return float(np.sqrt(np.nanmean((estimate.values - truth.values) ** 2)))


SHARP = sharpen()


# --- what comes back ---------------------------------------------------------------------------


def test_labels_attrs_and_crs_say_whose_bands_on_whose_grid():
    given = SPECTRAL.assign_attrs(title="a field").assign_coords(sensor="spectrometer")
    got = sharpen(given)
    assert got.dims == ("band", "y", "x")
    assert got.name == "reflectance"
    assert got.dtype == np.float32
    assert got.attrs["title"] == "a field"
    assert got.attrs["units"] == "1"
    assert got.sensor == "spectrometer"
    assert got.attrs["stf_method"].startswith("mtf_glp_hs(")
    assert "sharpen_spectral" in got.attrs["history"]
    assert got.attrs["stf_grid"] == "nested, ratio 4"
    xr.testing.assert_identical(got.wavelength.variable, SPECTRAL.wavelength.variable)
    for dim in ("y", "x"):
        xr.testing.assert_identical(got[dim].variable, SPATIAL[dim].variable)
    assert pyproj.CRS.from_cf(got.spatial_ref.attrs) == UTM
    assert error(got) < 0.01


@pytest.mark.parametrize("dims", [("y", "x", "band"), ("band", "x", "y")])
def test_any_dim_order_comes_back(dims):
    got = sharpen(SPECTRAL.transpose(*dims), SPATIAL.transpose("x", "band", "y"))
    assert got.dims == dims
    np.testing.assert_array_equal(got.transpose("band", "y", "x"), SHARP)


def test_dims_and_bands_may_have_other_names():
    spectral = SPECTRAL.swap_dims(band="wavelength").rename(y="lat_rows", x="columns")
    spectral = spectral.rename(lat_rows="northing", columns="easting")
    got = sharpen(spectral)
    assert got.dims == ("wavelength", "northing", "easting")
    np.testing.assert_array_equal(got, SHARP)
    np.testing.assert_array_equal(got.easting, SPATIAL.x)


def test_rows_may_run_either_way():
    north_up, south_up = SPATIAL, SPATIAL.isel(y=slice(None, None, -1))
    got = sharpen(SPECTRAL, south_up)
    np.testing.assert_array_equal(got.y, south_up.y)
    np.testing.assert_allclose(got.sel(y=north_up.y), SHARP, atol=1e-4)


def test_datasets_of_bands_come_back_as_one():
    """Sentinel-2: 20 m bands as variables of one Dataset, 10 m bands as those of another."""
    names = {"B05": 4, "B11": 12, "B12": 18}
    twenty = xr.Dataset(
        {n: SPECTRAL.isel(band=i).drop_vars(["band", "wavelength"]) for n, i in names.items()},
        attrs={"platform": "Sentinel-2A"},
    )
    ten = SPATIAL.isel(band=slice(0, 4)).drop_vars("wavelength").to_dataset("band")
    got = sharpen(twenty, ten, method="local_regression")
    assert list(got.data_vars) == list(names)
    assert got.attrs["platform"] == "Sentinel-2A"
    assert dict(got.sizes) == {"y": 48, "x": 48}
    one = sharpen(
        SPECTRAL.isel(band=list(names.values())), SPATIAL.isel(band=slice(0, 4)),
        method="local_regression",
    )  # fmt: skip
    np.testing.assert_allclose(got.to_dataarray("band"), one, atol=1e-6)


def test_a_cube_without_bands_is_one_band():
    red = SPECTRAL.isel(band=2, drop=True)
    got = sharpen(red)
    assert got.dims == ("y", "x")
    np.testing.assert_allclose(got, sharpen(SPECTRAL.isel(band=[2]))[0], atol=1e-6)


def test_a_sharp_cube_without_bands_is_panchromatic():
    pan = SPATIAL.isel(band=slice(0, 3)).mean("band", keep_attrs=True)
    got = sharpen(SPECTRAL, pan)
    assert got.shape == (20, 48, 48)
    assert error(got) < error(SPECTRAL.interp(y=TRUTH.y, x=TRUTH.x, method="nearest"))


def test_integers_with_nodata_are_read():
    whole = (SPECTRAL * 10000).round()
    whole[:, 3, 4] = -9999
    whole = whole.astype(np.int16).assign_attrs(_FillValue=-9999)
    got = sharpen(whole, SPATIAL * 10000)
    assert np.isnan(got[:, 12:16, 16:20]).all()
    assert "_FillValue" not in got.attrs
    there = got.notnull().values
    assert np.sqrt(np.mean((got.values - 1e4 * SHARP.values)[there] ** 2)) < 20


def test_results_write_to_netcdf(tmp_path):
    xstf.files.save_cube(SHARP, tmp_path / "sharp.nc")
    with xr.open_dataset(tmp_path / "sharp.nc", decode_coords="all") as back:
        np.testing.assert_allclose(back.reflectance, SHARP)
        assert pyproj.CRS.from_cf(back.spatial_ref.attrs) == UTM


# --- time --------------------------------------------------------------------------------------


def dated(cube: xr.DataArray, days: list[str], gains: list[float]) -> xr.DataArray:
    times = np.array(days, "M8[ns]")
    return xr.concat([cube * np.float32(g) for g in gains], "time").assign_coords(time=times)


DAYS, GAINS = ["2021-06-01", "2021-07-01", "2021-08-01"], [1.0, 0.8, 1.1]


def test_each_date_is_sharpened_by_the_image_of_its_day():
    many = dated(SPATIAL, DAYS, GAINS)
    few = dated(SPECTRAL, [DAYS[2] + "T10:00", DAYS[0]], [GAINS[2], GAINS[0]])
    got = sharpen(few, many)
    assert got.dims == ("time", "band", "y", "x")
    np.testing.assert_array_equal(got.time, few.time)
    np.testing.assert_allclose(got[1], SHARP, atol=1e-5)
    np.testing.assert_allclose(got[0], 1.1 * SHARP, atol=1e-4)


def test_one_sharp_image_without_date_serves_all():
    got = sharpen(dated(SPECTRAL, DAYS[:2], [1, 1]), SPATIAL)
    np.testing.assert_allclose(got[0], got[1])
    np.testing.assert_allclose(got[0], SHARP, atol=1e-6)


def test_unequal_dates_are_refused_with_those_that_are_alone():
    late = dated(SPATIAL, ["2021-06-05", "2021-07-01"], [1, 1])
    with pytest.raises(ValueError, match=r"2021-06-01.*no image of spatial within 1D"):
        sharpen(dated(SPECTRAL, DAYS[:2], [1, 1]), late)
    assert sharpen(dated(SPECTRAL, DAYS[:2], [1, 1]), late, time_tolerance="5D").notnull().all()


def test_many_sharp_dates_need_a_date_to_match():
    with pytest.raises(ValueError, match="spectral has no time"):
        sharpen(SPECTRAL, dated(SPATIAL, DAYS, GAINS))


# --- response and point spread -----------------------------------------------------------------


def test_the_response_may_be_given_or_named():
    srf = scenes.hyperspectral(size=32).srf.isel(band=slice(2, None, 4))
    by_name = sharpen(method="fuse", srf="landsat-8")
    own = sensors.responses("landsat-8", SPATIAL.band.values, SPECTRAL.wavelength.values)
    given = srf.copy(data=own)
    np.testing.assert_allclose(by_name, sharpen(method="fuse", srf=given), atol=1e-5)
    np.testing.assert_allclose(by_name, sharpen(method="fuse", srf=3 * given), atol=1e-5)
    assert (by_name != sharpen(method="fuse")).any()
    assert error(by_name) < 0.01


def test_wavelengths_may_be_in_micrometres():
    micro = SPECTRAL.assign_coords(wavelength=SPECTRAL.wavelength / 1000)
    a, b = (sharpen(c, method="fuse", srf="landsat-8") for c in (micro, SPECTRAL))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_wavelengths_missing_where_a_sensor_is_named_are_asked_for():
    bare = SPECTRAL.drop_vars("wavelength")
    with pytest.raises(ValueError, match="needs the wavelengths of spectral's bands"):
        sharpen(bare, srf="landsat-8")


def test_no_spectral_overlap_is_refused_where_the_response_is_known():
    visible = SPECTRAL.isel(band=slice(0, 5))
    with pytest.raises(ValueError, match=r"band B6 \(1608.5 nm\) lies outside the wavelengths"):
        sharpen(visible, srf="landsat-8")
    with pytest.raises(ValueError, match="no sensor 'landsat-80'"):
        sharpen(srf="landsat-80")
    odd = SPATIAL.assign_coords(band=["blue", "green", "red", "nir", "swir16", "swir99"])
    with pytest.raises(ValueError, match="sentinel-2a has no band 'swir99'"):
        sharpen(SPECTRAL, odd, srf="sentinel-2a")


def test_a_response_that_does_not_fit_is_refused():
    rows = xr.DataArray(np.ones((6, 20)), dims=("sharp", "band"))
    with pytest.raises(ValueError, match=r"srf has shape \(6, 19\)"):
        sharpen(srf=rows[:, 1:])
    with pytest.raises(ValueError, match="they must agree"):
        sharpen(srf=rows.assign_coords(band=[f"b{i}" for i in range(20)]))
    with pytest.raises(ValueError, match="not negative"):
        sharpen(srf=-rows)
    with pytest.raises(ValueError, match="respond to some"):
        sharpen(srf=rows * np.array([[1], [1], [0], [1], [1], [1]]))
    with pytest.raises(TypeError, match="DataArray"):
        sharpen(srf=rows.values)


def test_a_point_spread_may_be_given():
    np.testing.assert_array_equal(sharpen(psf=1.0), sharpen(psf=1))
    assert (sharpen(psf=0.6) != sharpen(psf=1.4)).any()
    for wrong in (0, -1, 30, True, [1.0]):
        with pytest.raises(ValueError, match="psf must be its width"):
            sharpen(psf=wrong)
    with pytest.raises(ValueError, match="no sensor 'wide'"):
        sharpen(psf="wide")


def test_point_spreads_may_be_given_by_band():
    widths = xr.DataArray(np.full(20, 0.6), {"band": SPECTRAL.band}, ("band",))
    np.testing.assert_allclose(sharpen(psf=widths), sharpen(psf=0.6), atol=1e-6)
    gone = SPECTRAL.where(SPECTRAL.band != SPECTRAL.band[3])
    np.testing.assert_allclose(sharpen(gone, psf=widths), sharpen(gone, psf=0.6), atol=1e-6)
    few = {"spectral": SPECTRAL.isel(band=[4, 12]), "method": "local_regression"}
    each = sharpen(
        psf=widths[:2].copy(data=[0.6, 1.4]).assign_coords(band=few["spectral"].band), **few
    )
    for band, width in enumerate((0.6, 1.4)):
        alone = sharpen(few["spectral"][[band]], psf=width, method="local_regression")
        other = sharpen(few["spectral"][[band]], psf=1.0, method="local_regression")
        assert float(abs(each[[band]] - alone).mean()) < 0.3 * float(
            abs(each[[band]] - other).mean()
        )
    with pytest.raises(ValueError, match=r"psf has shape \(19,\)"):
        sharpen(psf=widths[1:])
    with pytest.raises(ValueError, match="they must agree"):
        sharpen(psf=widths.assign_coords(band=range(20)))
    with pytest.raises(ValueError, match="above 0 and up to 4"):
        sharpen(psf=widths - 0.6)


def as_sentinel2(ratio: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Return three bands and two sharp ones, called as Sentinel-2's."""
    scene = scenes.hyperspectral(size=48, bands=40, ratio=ratio)
    many = scene.spectral.isel(band=[6, 16, 36]).drop_vars("wavelength")
    few = scene.spatial.isel(band=[2, 3]).drop_vars("wavelength")
    return (
        many.assign_coords(band=["B05", "B8A", "B12"]), few.assign_coords(band=["B04", "B08"])
    )  # fmt: skip


def test_sentinel_2_is_known_by_its_labels_and_its_blur_taken():
    many, few = as_sentinel2(ratio=2)
    got = sharpen(many, few, method="local_regression")
    said = "1.04, 1.12, 1.29 pixels of spectral, by band: Sentinel-2, by its band labels"
    assert got.attrs["stf_psf"] == said
    widths = xr.DataArray(sensors.blurs("sentinel-2a", many.band.values), dims="band")
    given = sharpen(many, few, method="local_regression", psf=widths)
    np.testing.assert_array_equal(got, given)
    assert "stf_psf" not in given.attrs
    named = sharpen(many, few, method="local_regression", psf="sentinel-2b")
    np.testing.assert_array_equal(got, named)
    assert named.attrs["stf_psf"].endswith("by band: sentinel-2b")


def test_what_only_has_labels_like_sentinel_2_is_not_taken_for_it():
    assert sensors.are_sentinel2(["B5", "B8A"], ["B2", "B8"], 2)
    assert sensors.are_sentinel2(["B01", "B09"], ["B02"], 6)
    assert sensors.are_sentinel2(["rededge1", "swir16"], ["red", "nir"], 2)
    for many, few, ratio in (
        (["B05", "B06", "B07"], ["B02", "B08"], 3),  # HLS from Landsat beside Sentinel-2
        (["B5", "B6", "B7"], ["B8"], 2),  # Landsat beside its panchromatic band
        ([5, 6, 7], ["B02"], 2),  # numbers
        (["B05", "B01"], ["B02"], 2),  # two sizes on one grid
        (["B05", "B10"], ["B02"], 2),  # a band without a known blur
        (["B05", "B8A"], ["B02", "pan"], 2),
        (["B02", "B03"], ["B04"], 1),
    ):
        assert not sensors.are_sentinel2(many, few, ratio)


def test_a_blur_of_a_sensor_goes_with_the_scores():
    many, few = as_sentinel2(ratio=2)
    options: dict[str, Any] = {"methods": ["local_regression"]}
    scores = many.stf.evaluate_sharpen_spectral(few, **options)
    widths = xr.DataArray(sensors.blurs("sentinel-2a", many.band.values), dims="band")
    given = many.stf.evaluate_sharpen_spectral(few, psf=widths, **options)
    np.testing.assert_allclose(scores.rmse, given.rmse)
    other = many.stf.evaluate_sharpen_spectral(few, psf=1.0, **options)
    assert (abs(other.rmse - scores.rmse) > 1e-5).any()


# --- values that cannot be ----------------------------------------------------------------------


def dark_scene(level: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Return bright stripes on black, plus a level, which sharpening undershoots, with noise."""
    draw = np.random.default_rng(3)
    fine = np.zeros((48, 48))
    fine[:20, ::9] = fine[10:14] = 0.4
    images = np.stack([fine * s for s in (1.0, 0.6, 0.3, 0.8)])
    images += 0.05 * draw.random(images.shape) * (fine > 0)
    truth = SPATIAL[:4].copy(data=(images + level).astype("f4"))
    coarse = simulate.degrade(truth, 4) + 1e-4 * draw.standard_normal((4, 12, 12))
    return coarse.astype("f4"), truth[[0]].copy(
        data=truth[[0]] ** 1.2 if level == 0 else truth[[0]]
    )


def test_nothing_falls_below_zero_where_nothing_was_seen_there():
    spectral, spatial = dark_scene(0.0)
    got = sharpen(spectral, spatial)
    assert float(spectral.min()) < 0  # by noise
    assert float(got.min()) == 0
    assert float((got == 0).mean()) > 0.01
    lazy = sharpen(spectral.chunk(y=6), spatial.chunk(y=20))
    np.testing.assert_allclose(lazy.compute(), got, atol=1e-6)
    below = sharpen(*dark_scene(-0.5))
    assert float(below.min()) < -0.5


# --- grids -------------------------------------------------------------------------------------


def test_a_ratio_that_is_not_whole_is_brought_to_a_nested_grid_and_said():
    """Pixels of 37 m over pixels of 10 m."""
    step, count = 37.0, 12
    y = float(SPATIAL.y[0]) + 5 - step * (np.arange(count) + 0.5)
    x = float(SPATIAL.x[0]) - 5 + step * (np.arange(count) + 0.5)
    wide = simulate.degrade(TRUTH, 1, psf_fwhm=3.7)
    coarse = wide.interp(y=y, x=x).assign_coords(spatial_ref=SPECTRAL.spatial_ref)
    got = sharpen(coarse)
    assert got.attrs["stf_grid"] == "resampled, ratio 4"
    np.testing.assert_array_equal(got.x, SPATIAL.x)
    inside = {"y": slice(8, 36), "x": slice(8, 36)}
    assert got.isel(inside).notnull().all()
    smooth = coarse.interp(y=TRUTH.y, x=TRUTH.x).isel(inside)
    assert error(got.isel(inside), TRUTH.isel(inside)) < 0.6 * error(smooth, TRUTH.isel(inside))


def test_cubes_in_two_crss_meet():
    other = pyproj.CRS.from_epsg(32632)
    to = pyproj.Transformer.from_crs(UTM, other, always_xy=True)
    middle = to.transform(float(SPATIAL.x.mean()), float(SPATIAL.y.mean()))
    far = SPECTRAL.assign_coords(
        x=middle[0] + 40 * (np.arange(12) - 5.5), y=middle[1] - 40 * (np.arange(12) - 5.5),
        spatial_ref=xr.Variable((), 0, other.to_cf()),
    )  # fmt: skip
    got = sharpen(far)
    assert got.attrs["stf_grid"] == "resampled, ratio 4"
    assert pyproj.CRS.from_cf(got.spatial_ref.attrs) == UTM
    assert got.notnull().mean() > 0.7


def test_the_spatial_cube_may_begin_inside_a_coarse_pixel():
    part = {"y": slice(6, 43), "x": slice(3, 46)}
    got = sharpen(SPECTRAL, SPATIAL.isel(part))
    assert got.attrs["stf_grid"] == "nested, ratio 4"
    assert got.shape == (20, 37, 43)
    inner = {"y": slice(8, 32), "x": slice(8, 32)}
    whole, true = (c.isel(part).isel(inner) for c in (SHARP, TRUTH))
    assert error(got.isel(inner), true) < 1.1 * error(whole, true)
    assert error(got, TRUTH.isel(part)) < 1.5 * error(SHARP, TRUTH)  # pixels cut off at its edge


def test_a_spatial_cube_that_does_not_cover_the_other_is_sharpened_where_it_does():
    got = sharpen(SPECTRAL.isel(x=slice(0, 7)))
    assert got.sizes["x"] == 48
    assert got.isel(x=slice(0, 28)).notnull().all()
    assert got.isel(x=slice(28, None)).isnull().all()


def test_cubes_that_do_not_overlap_are_refused():
    with pytest.raises(ValueError, match="spectral does not overlap spatial"):
        sharpen(SPECTRAL.assign_coords(x=SPECTRAL.x + 90_000))
    with pytest.raises(ValueError, match="CRS"):
        sharpen(SPECTRAL.drop_vars("spatial_ref"))


def test_a_spatial_cube_that_is_the_coarser_one_is_refused():
    with pytest.raises(ValueError, match="spectral pixels .* smaller than spatial pixels"):
        SPATIAL.stf.sharpen_spectral(SPECTRAL)


# --- missing and odd values --------------------------------------------------------------------


@METHODS
def test_a_band_that_is_missing_everywhere_comes_back_so(method):
    gone = SPECTRAL.where(SPECTRAL.band != SPECTRAL.band[13])
    got = sharpen(gone, method=method)
    assert got[13].isnull().all()
    rest = [i for i in range(20) if i != 13]
    np.testing.assert_allclose(
        got[rest], sharpen(SPECTRAL.isel(band=rest), method=method), atol=1e-6
    )


def test_a_known_response_forgets_bands_that_are_missing():
    gone = SPECTRAL.where(SPECTRAL.band != SPECTRAL.band[12])
    got = sharpen(gone, method="fuse", srf="landsat-8")
    assert got[12].isnull().all()
    assert got[11].notnull().all()


@METHODS
def test_nothing_seen_comes_back_as_nothing(method):
    with pytest.warns(UserWarning, match="every value of spectral is missing") as said:
        got = sharpen(SPECTRAL.where(False), method=method)
    assert len(said) == 1
    assert got.isnull().all()


@METHODS
def test_pixels_missing_in_either_cube_are_missing(method):
    spectral = SPECTRAL.copy()
    spectral[:, 3, 5] = np.nan
    spatial = SPATIAL.copy()
    spatial[1, 30:33, 40] = np.nan
    got = sharpen(spectral, spatial, method=method)
    gone = np.zeros((48, 48), bool)
    gone[12:16, 20:24] = gone[30:33, 40] = True
    np.testing.assert_array_equal(got.isnull(), np.broadcast_to(gone, got.shape))


def test_masks_hide_what_they_mark():
    mask = xr.zeros_like(SPECTRAL[0], bool).drop_vars(["band", "wavelength"])
    mask[3, 5] = True
    np.testing.assert_array_equal(sharpen(mask=mask), sharpen(SPECTRAL.where(~mask)))
    fine = xr.zeros_like(SPATIAL[0], bool).drop_vars(["band", "wavelength"])
    fine[30:33, 40] = True
    np.testing.assert_array_equal(
        sharpen(spatial_mask=fine), sharpen(SPECTRAL, SPATIAL.where(~fine))
    )


@METHODS
def test_one_band_works(method):
    got = sharpen(SPECTRAL.isel(band=[8]), method=method)
    assert got.sizes["band"] == 1
    smooth = SPECTRAL.isel(band=[8]).interp(
        y=TRUTH.y, x=TRUTH.x, kwargs={"fill_value": "extrapolate"}
    )
    assert error(got, TRUTH.isel(band=[8])) < 0.9 * error(smooth, TRUTH.isel(band=[8]))


@METHODS
def test_a_constant_band_breaks_nothing(method):
    flat = SPECTRAL.copy()
    flat[6] = 0.3
    got = sharpen(flat, method=method)
    assert got.notnull().all()
    assert abs(float(got[6].mean()) - 0.3) < 0.01


@METHODS
def test_negative_reflectance_is_kept(method):
    """In the darkest bands, as after an atmospheric correction."""
    low = SPECTRAL - 0.03
    got = sharpen(low, SPATIAL - 0.03, method=method)
    assert got.notnull().all()
    below = TRUTH.values - 0.03 < -0.005
    assert got.values[below].mean() < -0.005


# --- lazy --------------------------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize("chunks", [{"y": 20, "x": 48}, {"y": 17, "x": 29}], ids=["strips", "odd"])
def test_chunks_do_not_matter_and_nothing_is_computed_before(method, chunks):
    whole = sharpen(method=method)
    with testing.raise_if_dask_computes():
        lazy = sharpen(SPECTRAL.chunk(y=5), SPATIAL.chunk(band=-1, **chunks), method=method)
    assert isinstance(lazy.data, da.Array)
    said = xstf.get_method("sharpen_spectral", method).exempt.get("tiles", "1e-5")
    bound = 1e-5 if said == "1e-5" else 1e-3
    np.testing.assert_allclose(lazy.compute(), whole, atol=bound * 0.6)


def test_a_lazy_date_series_is_lazy():
    many, few = dated(SPATIAL, DAYS, GAINS), dated(SPECTRAL, DAYS[:2], GAINS[:2])
    with testing.raise_if_dask_computes():
        lazy = sharpen(few.chunk(time=1), many.chunk(time=1, y=24))
    np.testing.assert_allclose(lazy.compute(), sharpen(few, many), atol=1e-5)


@pytest.mark.slow
def test_a_large_scene_in_tiles_has_no_seams():
    """Larger than a tile: 256 fine pixels."""
    scene = scenes.hyperspectral(size=320, bands=40)
    spectral = scene.spectral.isel(band=slice(None, None, 4))
    for method in ("fuse", "hysure", FAST):
        tiled = sharpen(spectral, scene.spatial, method=method)
        whole = sharpen(spectral, scene.spatial.chunk(y=-1, x=-1), method=method)
        assert float(abs(tiled - whole).max()) < 1e-3 * 0.6


# --- auto ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "chosen"), [(0.0005, "local_regression"), (0.006, "hysure")], ids=["clean", "noisy"]
)
def test_auto_takes_noise_into_account_though_blurring_removes_it(noise, chosen):
    """A multispectral pair; on the noisy one `local_regression` has twice the error of `hysure`."""
    scene = scenes.hyperspectral(size=96, bands=40, ratio=2, seed=2, noise=noise)
    spectral = scene.spectral.isel(band=[5, 8, 12, 25])
    spatial = scene.spatial.isel(band=slice(0, 3))
    truth = scene.truth.isel(band=[5, 8, 12, 25])
    got = sharpen(spectral, spatial, method="auto")
    assert got.attrs["stf_choice"] == chosen
    other = {"hysure": "local_regression", "local_regression": "hysure"}[chosen]
    assert error(got, truth) < 0.7 * error(sharpen(spectral, spatial, method=other), truth)


def test_a_parameter_that_is_found_by_default_may_be_given():
    given = sharpen(method="local_regression", window=5, ridge=1e-3, steps=0)
    assert "window=5, ridge=0.001, steps=0" in given.attrs["stf_method"]
    assert "window=None" in sharpen(method="local_regression", window=None).attrs["stf_method"]
    for wrong in ({"window": 5.0}, {"window": "5"}, {"window": True}):
        with pytest.raises(TypeError, match="window must be int, as its default None"):
            sharpen(method="local_regression", **wrong)


# --- what cannot be ----------------------------------------------------------------------------


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="no sharpen_spectral method 'gas'"):
        sharpen(method="gas")
    with pytest.raises(TypeError, match="no parameter"):
        sharpen(windw=3)
    with pytest.raises(ValueError, match="gives no standard deviation: how much detail"):
        sharpen(return_quality=True)
    with pytest.raises(ValueError, match="time_tolerance"):
        sharpen(dated(SPECTRAL, DAYS, GAINS), dated(SPATIAL, DAYS, GAINS), time_tolerance="soon")
    with pytest.raises(TypeError, match="DataArray or Dataset"):
        xstf.sharpen_spectral(SPECTRAL.values, SPATIAL)


# --- evaluation --------------------------------------------------------------------------------


def test_evaluation_by_a_truth_is_that_of_the_metrics():
    scores = SPECTRAL.stf.evaluate_sharpen(
        SPATIAL, methods=[FAST, "fuse"], truth=TRUTH, baselines=False
    )
    assert list(scores.method.values) == [FAST, "fuse"]
    assert scores.psnr.dims == ("method", "band")
    want = {n: getattr(xstf.metrics, n)(SHARP, TRUTH) for n in ("psnr", "sam", "rmse", "uiqi")}
    for name, value in want.items():
        np.testing.assert_allclose(scores[name].sel({"method": FAST}).mean(), value, rtol=1e-4)
    ergas = xstf.metrics.ergas(SHARP, TRUTH, ratio=4)
    np.testing.assert_allclose(scores.ergas.sel({"method": FAST}), ergas, rtol=1e-4)
    np.testing.assert_allclose(
        scores.q2n.sel({"method": FAST}), xstf.metrics.q2n(SHARP, TRUTH), rtol=1e-4
    )
    assert (scores.consistency.mean("band") < 0.004).all()
    assert (scores.seconds > 0).all()


@pytest.mark.slow
def test_evaluation_one_scale_down_needs_no_truth():
    scene = scenes.hyperspectral(size=192, bands=40)
    scores = scene.spectral.stf.evaluate_sharpen(scene.spatial, methods=[FAST], baselines=False)
    assert (scores.cc.mean("band") > 0.9).all()
    known = scene.spectral.stf.evaluate_sharpen(
        scene.spatial, methods=[FAST], baselines=False, truth=scene.truth
    )
    ours, theirs = (float(s.sam.squeeze()) for s in (scores, known))
    assert 0.5 < ours / theirs < 2
    less = scene.spectral.stf.evaluate_sharpen(
        scene.spatial, methods=[FAST], baselines=False, ratio=2
    )
    assert float(less.psnr.mean()) > float(scores.psnr.mean())


def test_evaluation_of_cubes_that_do_not_share_corners_and_miss_bands():
    scene = scenes.hyperspectral(size=96, bands=40, vapour=True)
    part = {"y": slice(6, 91), "x": slice(3, 94)}
    scores = scene.spectral.stf.evaluate_sharpen(
        scene.spatial.isel(part),
        methods=[FAST],
        truth=scene.truth.isel(part),
        srf="landsat-8",
        baselines=False,
    )
    assert scores.psnr.isnull().sum() == scene.spectral.isnull().all(("y", "x")).sum() > 3
    assert np.isfinite(scores.sam).all()
    assert float(scores.psnr.mean()) > 30


def test_evaluation_of_dates_and_datasets():
    series = dated(SPECTRAL, DAYS[:2], GAINS[:2]), dated(SPATIAL, DAYS, GAINS)
    scores = xstf.evaluate_sharpen(*series, methods=[FAST], ratio=2, baselines=False)
    assert scores.rmse.dims == ("method", "time", "band")
    bare = SPECTRAL.drop_vars("wavelength").to_dataset("band")
    as_set = xstf.evaluate_sharpen(bare, SPATIAL, methods=[FAST], ratio=2, baselines=False)
    as_array = xstf.evaluate_sharpen(SPECTRAL, SPATIAL, methods=[FAST], ratio=2, baselines=False)
    np.testing.assert_allclose(as_set.psnr, as_array.psnr, rtol=1e-4)


def test_an_evaluation_that_compares_nothing_is_refused():
    with pytest.raises(ValueError, match="ratio must be a whole number"):
        SPECTRAL.stf.evaluate_sharpen(SPATIAL, ratio=1)
    with pytest.raises(ValueError, match="truth has"):
        SPECTRAL.stf.evaluate_sharpen(SPATIAL, truth=SPECTRAL)
    with pytest.raises(ValueError, match="lies wholly inside"):
        SPECTRAL.stf.evaluate_sharpen(SPATIAL.isel(y=slice(2, 5)))


def test_a_degraded_pair_is_what_simulate_says():
    """The blur of the protocol is that of `simulate.degrade` where a pixel's mean is no blur."""
    from xstf.evaluate.sharpen_spectral import _blurred

    mine = _blurred(TRUTH.drop_vars("spatial_ref"), 4, 1.2)
    sigma_box = 4**2 / 12
    width = np.sqrt(1.2**2 - 8 * np.log(2) * sigma_box / 16)
    theirs = simulate.degrade(TRUTH, 4, psf_fwhm=width)
    np.testing.assert_array_equal(mine.y, theirs.y)
    inside = {"y": slice(2, -2), "x": slice(2, -2)}
    assert error(mine.isel(inside), theirs.isel(inside)) < 2e-3
