"""Degrading, clouds and landscapes: against plain numpy, seeded, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS
from scipy.stats import norm

import xstf
from xstf import simulate
from xstf.simulate import observe
from xstf.testing import raise_if_dask_computes


@pytest.fixture
def cube():
    """(time: 2, band: 3, y: 48, x: 64), 30 m, UTM."""
    rng = np.random.default_rng(0)
    coords = {
        "time": np.array(["2021-05-01", "2021-06-01"], "datetime64[ns]"),
        "band": ["green", "red", "nir"],
        "y": 5000.0 - 30 * np.arange(48),
        "x": 15 + 30.0 * np.arange(64),
        "spatial_ref": ((), 0, CRS(32633).to_cf() | {"GeoTransform": "0 30 0 5015 0 -30"}),
    }
    data = rng.random((2, 3, 48, 64), dtype=np.float32)
    found = xr.DataArray(data, coords, ("time", "band", "y", "x"), "reflectance", {"units": "1"})
    found.encoding["grid_mapping"] = "spatial_ref"
    return found


def block_means(values, ratio):
    *lead, height, width = values.shape
    return values.reshape(*lead, height // ratio, ratio, width // ratio, ratio).mean((-3, -1))


# ------------------------------------------------------------------ degrade


def test_without_psf_a_coarse_pixel_is_the_mean_of_its_fine_pixels(cube):
    found = simulate.degrade(cube, 8, psf_fwhm=0)
    np.testing.assert_allclose(found, block_means(cube.values.astype(float), 8), rtol=1e-6)
    np.testing.assert_allclose(simulate.degrade(cube, 1, psf_fwhm=0), cube, rtol=1e-7)


def test_the_psf_is_a_gaussian_as_wide_as_said():
    point = xr.DataArray(np.zeros((99, 99)), dims=("y", "x"))
    point[49, 49] = 1.0
    spread = simulate.degrade(point, 9, psf_fwhm=1).values
    borders = np.arange(12) - 5.5
    share = np.diff(norm.cdf(borders, scale=1 / 2.35482))  # of the light, by coarse column
    np.testing.assert_allclose(spread.sum(0) * 81, share, atol=0.004)
    np.testing.assert_allclose(spread, spread.T, atol=1e-12)
    np.testing.assert_allclose(spread, spread[::-1], atol=1e-12)


def test_a_constant_image_stays_as_it_is_up_to_its_edges(cube):
    flat = xr.full_like(cube, 0.3).where(cube > 0.2)
    found = simulate.degrade(flat, 8)
    np.testing.assert_allclose(found, 0.3, rtol=1e-6)


def test_missing_pixels_have_no_weight(cube):
    cloudy = cube.where(cube.x > 15)
    found = simulate.degrade(cloudy, 8, psf_fwhm=0)[0, 0, 0, 0]
    np.testing.assert_allclose(found, cube[0, 0, :8, 1:8].mean(), rtol=1e-6)


@pytest.mark.parametrize("psf_fwhm", [0, 1])
def test_a_coarse_pixel_needs_its_share_of_fine_pixels(cube, psf_fwhm):
    cloudy = cube.copy()
    cloudy[0, 0, :8, :5] = np.nan  # 5/8 of the first coarse pixel
    half = simulate.degrade(cloudy, 8, psf_fwhm=psf_fwhm)
    assert np.isnan(half[0, 0, 0, 0])
    assert half.isnull().sum() == 1
    assert simulate.degrade(cloudy, 8, psf_fwhm=psf_fwhm, min_valid=0.3).notnull().all()
    nothing = cube * np.nan
    assert simulate.degrade(nothing, 8, psf_fwhm=psf_fwhm, min_valid=0.01).isnull().all()


def test_an_image_that_is_not_whole_coarse_pixels_gets_part_ones(cube):
    found = simulate.degrade(cube[..., :60], 8, psf_fwhm=0)  # the last has 4 of 8 columns
    assert found.sizes["x"] == 8
    np.testing.assert_allclose(found[0, 0, 0, 7], cube[0, 0, :8, 56:60].mean(), rtol=1e-6)
    less = simulate.degrade(cube[..., :59], 8, psf_fwhm=0)
    assert less[..., 7].isnull().all()
    np.testing.assert_allclose(np.diff(less.x), 240)


def test_the_coarse_grid_has_its_own_coordinates_crs_and_attributes(cube):
    found = simulate.degrade(cube, 16)
    np.testing.assert_allclose(found.x, [15 + 225, 15 + 225 + 480, 1200, 1680])
    np.testing.assert_allclose(found.y, [5015 - 240, 5015 - 720, 5015 - 1200])
    assert found.spatial_ref.attrs["GeoTransform"] == "0.0 480.0 0.0 5015.0 0.0 -480.0"
    assert CRS.from_wkt(found.spatial_ref.attrs["crs_wkt"]) == CRS(32633)
    assert (found.name, found.attrs, found.dtype) == ("reflectance", {"units": "1"}, np.float32)
    assert found.encoding == {"grid_mapping": "spatial_ref"}
    assert found.time.equals(cube.time)


def test_ascending_y_and_any_dim_order_give_the_same(cube):
    turned = cube.isel(y=slice(None, None, -1)).transpose("x", "time", "y", "band")
    found = simulate.degrade(turned, 8)
    assert found.dims == turned.dims
    xr.testing.assert_allclose(
        found.transpose(*cube.dims).isel(y=slice(None, None, -1)), simulate.degrade(cube, 8)
    )


@pytest.mark.parametrize("chunks", [{"y": 7, "x": 30}, {"band": 1, "x": 5}, {"time": 1}])
def test_degrade_is_lazy_and_does_not_depend_on_chunks(cube, chunks):
    cube = cube.where(cube > 0.1)
    with raise_if_dask_computes():
        lazy = simulate.degrade(cube.chunk(chunks), 8, noise=0.1, seed=4)
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy, simulate.degrade(cube, 8, noise=0.1, seed=4), rtol=1e-6)


def test_noise_is_gaussian_and_seeded():
    flat = xr.DataArray(np.zeros((400, 500)), dims=("y", "x"))
    noise = simulate.degrade(flat, 2, psf_fwhm=0, noise=0.5, seed=1).values.ravel()
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 0.5) < 0.01
    assert abs((np.abs(noise) < 0.5).mean() - 0.6827) < 0.01
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.02
    again, other = (simulate.degrade(flat, 2, psf_fwhm=0, noise=0.5, seed=s) for s in (1, 2))
    assert (again.values.ravel() == noise).all()
    assert abs(np.corrcoef(other.values.ravel(), noise)[0, 1]) < 0.02


def test_spectral_responses_mix_bands(cube):
    bands = {"sensor": ["visible", "all"], "band": cube.band}
    srf = xr.DataArray([[1.0, 3.0, 0.0], [1.0, 1.0, 1.0]], bands, ("sensor", "band"))
    found = simulate.degrade(cube, 8, psf_fwhm=0, srf=srf)
    means = block_means(cube.values.astype(float), 8)
    assert found.dims == cube.dims
    assert list(found.band.values) == ["visible", "all"]
    np.testing.assert_allclose(found[:, 0], (means[:, 0] + 3 * means[:, 1]) / 4, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], means.mean(axis=1), rtol=1e-5)


def test_a_band_that_is_missing_is_missing_only_where_it_is_mixed_in(cube):
    lost = cube.where(cube.band != "nir")
    bands = {"sensor": ["visible", "all"], "band": cube.band}
    srf = xr.DataArray([[1.0, 3.0, 0.0], [1.0, 1.0, 1.0]], bands, ("sensor", "band"))
    found = simulate.degrade(lost, 8, srf=srf)
    assert found.sel(band="visible").notnull().all()
    assert found.sel(band="all").isnull().all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ratio": 1.5}, "ratio must be a whole number"),
        ({"ratio": 0}, "ratio must be a whole number"),
        ({"psf_fwhm": -1}, "must be 0 or more"),
        ({"noise": float("nan")}, "must be 0 or more"),
        ({"min_valid": 0}, "min_valid must be above 0"),
        ({"srf": xr.DataArray(np.ones((2, 2)), dims=("a", "b"))}, "srf needs dims"),
        (
            {"srf": xr.DataArray([[1.0, 1.0]], {"band": ["red", "nir"]}, ("a", "band"))},
            r"srf is for the bands \['red', 'nir'\]",
        ),
    ],
)
def test_degrade_refuses_what_makes_no_sense(cube, options, match):
    with pytest.raises(ValueError, match=match):
        simulate.degrade(cube, **({"ratio": 8} | options))


def test_degrade_refuses_data_that_it_would_misread(cube):
    packed = (cube * 1e4).astype(np.int16).assign_attrs(_FillValue=-9999)
    with pytest.raises(ValueError, match="_FillValue=-9999: decode it"):
        simulate.degrade(packed, 8)
    with pytest.raises(TypeError, match="dtype bool"):
        simulate.degrade(cube > 0.5, 8)
    with pytest.raises(ValueError, match=r"no dims y and x .* in \['time', 'band', 'row', 'x'\]"):
        simulate.degrade(cube.rename(y="row"), 8)
    with pytest.raises(ValueError, match="'x' are not evenly spaced"):
        simulate.degrade(cube.assign_coords(x=cube.x**2), 8)


def test_degrade_leaves_its_input_alone(cube):
    before = cube.copy(deep=True)
    simulate.degrade(cube, 8, noise=0.1)
    xr.testing.assert_identical(cube, before)


# ------------------------------------------------------------------ clouds


def test_clouds_cover_what_was_asked_for_on_each_date(cube):
    mask = simulate.clouds(cube, [0.25, 0.5], size=10)
    assert mask.dims == ("time", "y", "x")
    np.testing.assert_allclose(mask.mean(("y", "x")), [0.25, 0.5])
    assert not simulate.clouds(cube, 0).any()
    assert simulate.clouds(cube, 1).all()


def test_clouds_differ_by_date_and_come_back_by_seed(cube):
    mask = simulate.clouds(cube, 0.3, seed=1)
    assert mask.equals(simulate.clouds(cube, 0.3, seed=1))
    assert not mask.equals(simulate.clouds(cube, 0.3, seed=2))
    assert not mask[0].equals(mask[1].assign_coords(time=mask.time[0]))


@pytest.mark.parametrize("size", [6, 20])
def test_clouds_are_blobs_as_large_as_asked_for(size):
    image = xr.DataArray(np.zeros((200, 200)), dims=("y", "x"))
    mask = simulate.clouds(image, 0.3, size=size).values
    rims = (mask[:, 1:] != mask[:, :-1]).mean()
    assert 0.3 / size < rims < 3 / size  # white noise would have 0.42


def test_clouds_hide_all_bands_and_nothing_else(cube):
    mask = simulate.clouds(cube, 0.3, seed=5)
    found = simulate.add_clouds(cube, 0.3, seed=5)
    assert found.dims == cube.dims
    assert (found.isnull() == mask).all()
    assert found.where(~mask, 0).equals(cube.where(~mask, 0))
    assert (found.name, found.attrs, found.encoding) == (cube.name, cube.attrs, cube.encoding)
    with raise_if_dask_computes():
        lazy = simulate.add_clouds(cube.chunk(x=9), 0.3, seed=5)
    xr.testing.assert_identical(lazy.compute(), found)


def test_clouds_over_a_cube_whose_dims_have_other_names(cube):
    turned = cube.rename(time="t", y="row", x="col")
    turned.row.attrs, turned.col.attrs = {"axis": "Y"}, {"axis": "X"}
    found = simulate.clouds(turned, [0.25, 0.5], seed=5)
    assert found.dims == ("t", "row", "col")
    assert (found.values == simulate.clouds(cube, [0.25, 0.5], seed=5).values).all()
    coarse = simulate.degrade(turned, 8)
    assert (coarse.values == simulate.degrade(cube, 8).values).all()
    np.testing.assert_allclose(np.diff(coarse.col), 240)


def test_clouds_over_one_image(cube):
    found = simulate.add_clouds(cube[1], 0.25)
    assert found.dims == ("band", "y", "x")
    assert found.isnull().mean() == 0.25
    assert found.time == cube.time[1]


def test_an_impossible_cover_is_refused(cube):
    with pytest.raises(ValueError, match="cover is a share"):
        simulate.clouds(cube, 30)


# ------------------------------------------------------------------ landscape


@pytest.mark.parametrize("shape", [(40, 40), (90, 160), (240, 240)])
def test_a_landscape_has_fields_and_all_else(shape):
    land = simulate.landscape(shape, classes=4, seed=1)
    names = land.cover.attrs["flag_meanings"].split()
    assert names[4:] == ["broadleaf", "conifer", "water", "road", "built"]
    assert land.cover.shape == shape
    assert land.cover.max() < len(names)
    share = dict(zip(names, np.bincount(land.cover.values.ravel(), minlength=9), strict=True))
    assert all(share[n] for n in ("water", "road", "built"))
    assert share["broadleaf"] + share["conifer"] > 0.05 * land.cover.size
    assert sum(share[f"field_{i}"] for i in range(4)) > 0.4 * land.cover.size


def test_a_field_is_of_one_class_and_5_to_30_pixels_wide():
    land = simulate.landscape((240, 240), classes=4, seed=1)
    cover, parcel = land.cover.values, land.parcel.values
    fields = cover < 4
    for number in np.unique(parcel[fields])[:50]:
        assert len(np.unique(cover[fields & (parcel == number)])) == 1
    sizes = np.bincount(parcel.ravel())
    assert 5 < np.sqrt(np.median(sizes)) < 30


def test_a_landscape_is_the_same_for_the_same_seed():
    one, two, other = (simulate.landscape((60, 60), seed=s) for s in (3, 3, 4))
    xr.testing.assert_identical(one, two)
    assert not one.cover.equals(other.cover)


@pytest.mark.parametrize("shape", [(4, 4), (5, 300), (16, 16)])
def test_a_tiny_landscape_is_one_too(shape):
    for seed in range(5):
        assert simulate.landscape(shape, seed=seed).cover.shape == shape


def test_a_margin_keeps_the_town_in_the_core():
    land = simulate.landscape((200, 200), classes=4, margin=60)
    assert (land.cover[60:140, 60:140] == 8).sum() > 100


@pytest.mark.parametrize("options", [{"classes": 0}, {"margin": 30}, {"margin": -1}, {"parcel": 1}])
def test_an_impossible_landscape_is_refused(options):
    with pytest.raises(ValueError, match="landscape needs"):
        simulate.landscape((60, 60), **options)


def test_noise_comes_from_splitmix64():
    # the generator's first three numbers from seed 0, as its reference implementation prints them
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert observe._hashed(np.arange(3, dtype=np.uint64)).tolist() == expected


# ------------------------------------------------------------------ gaps moved to other dates


@pytest.fixture
def gappy():
    """(time: 16, band: 2, y: 30, x: 40) every ten days, clouds on five dates, nothing on one."""
    rng = np.random.default_rng(1)
    coords = {
        "time": np.datetime64("2021-01-05", "ns") + np.arange(16) * np.timedelta64(10, "D"),
        "band": ["red", "nir"],
        "y": 900.0 - 30 * np.arange(30),
        "x": 15 + 30.0 * np.arange(40),
        "spatial_ref": ((), 0, CRS(32633).to_cf()),
    }
    data = rng.random((16, 2, 30, 40), dtype=np.float32)
    found = xr.DataArray(data, coords, ("time", "band", "y", "x"), "reflectance", {"units": "1"})
    cover = np.zeros(16)
    cover[[1, 4, 7, 10, 13]], cover[15] = [0.3, 0.5, 0.25, 0.6, 0.4], 1
    found = simulate.add_clouds(found, cover, seed=3, size=12)
    found.encoding["grid_mapping"] = "spatial_ref"
    return found


def gaps(cube):
    return cube.isnull().all("band").values


def test_a_moved_gap_has_the_shape_of_another_dates_gap(gappy):
    holed, held = simulate.transplant_mask(gappy, dates=4)
    assert held.dims == ("time", "y", "x")
    assert held.dtype == bool
    chosen = np.flatnonzero(held.any(("y", "x")))
    assert len(chosen) == 4
    before, after = gaps(gappy), gaps(holed)
    for date in chosen:
        donors = [d for d in range(16) if (after[date] == (before[date] | before[d])).all()]
        assert set(donors) - {date}
        assert 0.2 <= held[date].values.sum() / (~before[date]).sum() <= 0.8
    np.testing.assert_array_equal(after & ~before, held)


def test_what_is_not_hidden_stays_as_it_was(gappy):
    before = gappy.copy(deep=True)
    holed, held = simulate.transplant_mask(gappy, regime="persistent")
    xr.testing.assert_identical(gappy, before)
    kept = holed.notnull()
    assert (holed.where(kept, 0) == gappy.where(kept, 0)).all()
    assert (holed.dims, holed.name, holed.attrs) == (gappy.dims, gappy.name, gappy.attrs)
    assert holed.encoding == {"grid_mapping": "spatial_ref"}
    xr.testing.assert_identical(holed.coords.to_dataset(), gappy.coords.to_dataset())
    assert set(held.coords) == {"time", "y", "x", "spatial_ref"}


def test_a_persistent_gap_is_the_same_on_all_dates_around(gappy):
    holed, held = simulate.transplant_mask(gappy, regime="persistent", days=25, dates=1, seed=2)
    (date,) = np.flatnonzero(held.any(("y", "x")))
    before, after = gaps(gappy), gaps(holed)
    shape = held[date].values
    for other in range(16):
        if abs(other - date) <= 2:  # ten days each
            assert after[other][shape].all()
        else:
            np.testing.assert_array_equal(after[other], before[other])
    assert not held[np.arange(16) != date].any()


def test_a_full_gap_hides_all_dates_around(gappy):
    holed, held = simulate.transplant_mask(gappy, regime="full", days=20, dates=2, seed=2)
    before, after = gaps(gappy), gaps(holed)
    dates = np.flatnonzero(held.any(("y", "x")))
    around = np.abs(np.arange(16)[:, None] - dates).min(axis=1) <= 2
    assert after[around].all()
    np.testing.assert_array_equal(after[~around], before[~around])
    np.testing.assert_array_equal(held[dates], ~before[dates])
    assert np.diff(dates).min() > 4  # gaps that are not named do not meet


def test_dates_may_be_named(gappy):
    names = ["2021-01-25", "2021-02-24"]
    held = simulate.transplant_mask(gappy, dates=names)[1]
    assert np.flatnonzero(held.any(("y", "x"))).tolist() == [2, 5]
    one = simulate.transplant_mask(gappy, dates="2021-01-25")[1]
    assert np.flatnonzero(one.any(("y", "x"))).tolist() == [2]
    again = simulate.transplant_mask(gappy, dates=gappy.time.values[[2, 5]])[1]
    xr.testing.assert_identical(again, held)


def test_one_date_in_eight_is_taken_and_the_seed_decides_which(gappy):
    held = [simulate.transplant_mask(gappy, seed=s)[1] for s in (0, 0, 1)]
    assert held[0].any(("y", "x")).sum() == 2
    xr.testing.assert_identical(held[0], held[1])
    assert not held[0].equals(held[2])


def test_the_gaps_may_come_from_a_mask(gappy):
    whole = gappy.fillna(0.5)
    with pytest.raises(ValueError, match="found a gap for 0 of 2 dates: no gap masks 20% to 80%"):
        simulate.transplant_mask(whole)
    mask = gappy.isnull().all("band")
    holed, held = simulate.transplant_mask(whole, mask=mask.transpose("x", "time", "y"))
    xr.testing.assert_identical(held, simulate.transplant_mask(gappy)[1])
    np.testing.assert_array_equal(gaps(holed), held)
    assert not (held & mask).any()


def test_a_mask_that_does_not_fit_is_refused(gappy):
    mask = gappy.isnull().all("band")
    with pytest.raises(TypeError, match="mask has dtype float64; give booleans"):
        simulate.transplant_mask(gappy, mask=mask.astype(float))
    with pytest.raises(ValueError, match="align"):
        simulate.transplant_mask(gappy, mask=mask.isel(time=slice(3)))


@pytest.mark.parametrize("regime", ["partial", "persistent", "full"])
def test_a_lazy_cube_stays_lazy_and_gives_the_same(gappy, regime):
    expected = simulate.transplant_mask(gappy, regime=regime, dates=1)
    holed, held = simulate.transplant_mask(gappy.chunk(time=3, x=9), regime=regime, dates=1)
    assert holed.chunks is not None
    xr.testing.assert_identical(holed.compute(), expected[0])
    xr.testing.assert_identical(held, expected[1])


def test_a_cube_without_bands_or_with_other_names_will_do(gappy):
    plain = gappy.isel(band=0, drop=True)
    expected = simulate.transplant_mask(plain)[1]
    turned = plain.rename(time="date", y="lat", x="lon").transpose("lon", "date", "lat")
    holed, held = simulate.transplant_mask(turned)
    assert holed.dims == ("lon", "date", "lat")
    assert held.dims == ("date", "lat", "lon")
    np.testing.assert_array_equal(held, expected)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"regime": "all"}, r"regime is 'all'; there are \['partial', 'persistent', 'full'\]"),
        ({"days": -1}, "days must be a length of time"),
        ({"share": (0.8, 0.2)}, "share is"),
        ({"share": (0, 0.2)}, "share is"),
        ({"dates": ["2021-01-06"]}, "the cube has no dates"),
        ({"dates": 16}, "found a gap for .* of 16 dates"),
        ({"dates": ["2021-06-04"]}, "found a gap for 0 of 1 dates"),  # nothing is known there
    ],
)
def test_gaps_that_cannot_be_moved_are_refused(gappy, options, match):
    with pytest.raises(ValueError, match=match):
        simulate.transplant_mask(gappy, **options)


def test_gaps_in_days_need_dates(gappy):
    numbered = gappy.assign_coords(time=np.arange(16))
    assert simulate.transplant_mask(numbered)[1].any()
    with pytest.raises(ValueError, match="regime='full' counts days"):
        simulate.transplant_mask(numbered, regime="full")
    with pytest.raises(ValueError, match="no dim time"):
        simulate.transplant_mask(gappy[0])


# ------------------------------------------------------------------ degrade and the verbs


def turned(cube, form):
    """Return a cube in one of the forms that verbs take."""
    if form == "ascending":
        return cube.isel(y=slice(None, None, -1))
    if form == "both_reversed":
        return cube.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    if form == "degrees":
        degrees = cube.drop_vars("spatial_ref").rename(y="lat", x="lon")
        degrees.encoding = {}
        return degrees.assign_coords(
            lat=(50 - np.arange(cube.sizes["y"]) / 336).astype("f4"),
            lon=(5 + np.arange(cube.sizes["x"]) / 336).astype("f4"),
        )
    return cube


@pytest.mark.parametrize("form", ["descending", "ascending", "both_reversed", "degrees"])
@pytest.mark.parametrize("size", [(48, 64), (47, 61), (48, 1), (1, 64), (7, 9)])
@pytest.mark.parametrize("ratio", [2, 5, 8])
def test_degraded_cubes_nest_where_verbs_look_for_them(cube, form, size, ratio):
    fine = turned(cube.isel(y=slice(size[0]), x=slice(size[1])), form)
    coarse = simulate.degrade(fine, ratio, psf_fwhm=0, min_valid=0.01)
    fused = xstf.fuse(fine.isel(time=[0]), coarse, method="starfm", window=3)
    assert fused.attrs["stf_grid"].split(";")[0] == f"nested, ratio {ratio}"
    assert not fused.isnull().any()


FORMS = {
    "transform": ((30.0, 0.0, 0.0, 0.0, -30.0, 5015.0), (240, 0, 0, 0, -240, 5015)),
    "affine": ((30.0, 0, 0, 0, -30, 5015, 0, 0, 1), (240, 0, 0, 0, -240, 5015, 0, 0, 1)),
    "proj:transform": ([30, 0, 0, 0, -30, 5015], (240, 0, 0, 0, -240, 5015)),
    "GeoTransform": ((0.0, 30.0, 0.0, 5015.0, 0.0, -30.0), (0, 240, 0, 5015, 0, -240)),
}


@pytest.mark.parametrize("name", FORMS)
def test_attributes_of_the_grid_are_those_of_the_coarse_one(cube, name):
    given, want = FORMS[name]
    sized = {"res": (30.0, 30.0), "resolution": 30, "units": "1", "crs": "EPSG:32633"}
    found = simulate.degrade(cube.assign_attrs({name: given}, **sized), 8)
    assert tuple(found.attrs.pop(name)) == want
    assert found.attrs == {
        "res": (240.0, 240.0), "resolution": 240.0, "units": "1", "crs": "EPSG:32633",
    }  # fmt: skip


def test_coordinates_on_corners_are_read_as_the_verbs_read_them(cube):
    corners = cube.assign_coords(x=cube.x - 15, y=cube.y + 15)
    corners = corners.drop_vars("spatial_ref").assign_attrs(
        transform=(30.0, 0.0, 0.0, 0.0, -30.0, 5015.0), crs="EPSG:32633"
    )
    corners.encoding = {}
    want = simulate.degrade(cube, 8, psf_fwhm=0)
    with pytest.warns(UserWarning, match="coordinates are corners of pixels"):
        found = simulate.degrade(corners, 8, psf_fwhm=0)
    np.testing.assert_allclose(found.x, want.x)
    np.testing.assert_allclose(found.y, want.y)
    with pytest.warns(UserWarning, match="fine's coordinates are corners of pixels"):
        fused = xstf.fuse(corners.isel(time=[0]), found, method="starfm", window=3)
    assert "nested, ratio 8" in fused.attrs["stf_grid"]


def test_coordinates_along_the_fine_grid_are_left_out_and_others_kept(cube):
    cube = cube.assign_coords(
        row=("y", [f"r{i}" for i in range(48)]), lat2=(("y", "x"), np.zeros((48, 64))),
        platform=("time", ["a", "b"]),
    )  # fmt: skip
    assert set(simulate.degrade(cube, 8).coords) == set(cube.coords) - {"row", "lat2"}


def test_a_whole_image_in_one_coarse_pixel_keeps_its_size(cube):
    found = simulate.degrade(cube[..., :8, :8], 8)
    assert found.y.item() == 5015 - 120
    assert found.x.item() == 120
    assert found.attrs["resolution"] == (240.0, 240.0)
    fine = cube[:1, ..., :8, :8]
    assert xstf.fuse(fine, found, method="starfm", window=3).attrs["stf_grid"].startswith("nested")
    same = simulate.degrade(cube[..., :1, :1], 1, psf_fwhm=0)
    assert (same.y.item(), same.x.item()) == (5000.0, 15.0)


# ---------------------------------------------------------------- doors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"ratio": "8"}, ValueError, "ratio must be a whole number"),
        ({"ratio": True}, ValueError, "ratio must be a whole number"),
        ({"ratio": None}, ValueError, "ratio must be a whole number"),
        ({"ratio": 4, "min_valid": "half"}, ValueError, "min_valid must be above 0"),
        ({"ratio": 4, "psf_fwhm": None}, ValueError, "psf_fwhm must be 0 or more"),
    ],
)
def test_degrade_says_what_its_arguments_must_be(call, error, words):
    truth = xstf.scenes.nested(size=48).truth
    with pytest.raises(error, match=words):
        simulate.degrade(truth, **call)


def test_degrade_takes_a_whole_number_of_any_kind_and_names_what_a_dataset_needs():
    truth = xstf.scenes.nested(size=48).truth
    xr.testing.assert_equal(simulate.degrade(truth, 8.0), simulate.degrade(truth, np.int64(8)))
    with pytest.raises(TypeError, match="to_array"):
        simulate.degrade(truth.to_dataset("band"), 8)


def test_a_length_of_a_gap_is_days_or_text():
    truth = xstf.scenes.nested(size=48).truth
    call = {"regime": "full", "dates": 1}
    by_number = simulate.transplant_mask(truth, days=14, **call)
    by_text = simulate.transplant_mask(truth, days="2W", **call)
    for one, other in zip(by_number, by_text, strict=True):
        xr.testing.assert_equal(one, other)
    with pytest.raises(ValueError, match="days must be a length of time"):
        simulate.transplant_mask(truth, days=-1, **call)


def test_gaps_of_packed_cubes_are_refused_before_they_are_taken_as_clear():
    truth = xstf.scenes.nested(size=48).truth
    packed = (truth * 1e4).fillna(-9999).astype("i2").assign_attrs(_FillValue=-9999)
    with pytest.raises(ValueError, match="decode it"):
        simulate.transplant_mask(packed, regime="full")
