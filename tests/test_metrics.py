"""Metrics against plain formulas and scikit-image, with missing pixels, and on wrong partners."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS
from scipy.ndimage import gaussian_filter

from xstf import metrics
from xstf.testing import raise_if_dask_computes

ALL = sorted(metrics.__all__)
NEEDS = {"ergas": {"ratio": 4}}


def call(name, estimate, truth, **options):
    return getattr(metrics, name)(estimate, truth, **NEEDS.get(name, {}), **options)


@pytest.fixture
def truth():
    """(time: 2, band: 3, y: 70, x: 50), smooth, 0.1 to 0.9."""
    rng = np.random.default_rng(1)
    data = gaussian_filter(rng.random((2, 3, 70, 50)), (0, 0, 2, 2))
    data = 0.1 + 0.8 * (data - data.min()) / np.ptp(data)
    coords = {
        "time": np.array(["2021-05-01", "2021-06-01"], "datetime64[ns]"),
        "band": ["green", "red", "nir"],
        "y": 5000.0 - 30 * np.arange(70),
        "x": 15 + 30.0 * np.arange(50),
    }
    return xr.DataArray(data, coords, ("time", "band", "y", "x"), "reflectance", {"units": "1"})


@pytest.fixture
def estimate(truth):
    rng = np.random.default_rng(2)
    error = gaussian_filter(rng.standard_normal(truth.shape), (0, 0, 1, 1))
    return truth + 0.05 * error + 0.01


def holes(cube, share=0.2, seed=3):
    """The cube with pixels missing at random, band by band."""
    hole = np.random.default_rng(seed).random(cube.shape) < share
    return cube.where(~hole)


# ------------------------------------------------------------------ definitions


def test_errors_are_the_plain_formulas(estimate, truth):
    d = (estimate - truth).values
    per_band = np.sqrt((d**2).mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(metrics.rmse(estimate, truth, per="band"), per_band)
    np.testing.assert_allclose(metrics.rmse(estimate, truth), per_band.mean())
    np.testing.assert_allclose(metrics.mae(estimate, truth), np.abs(d).mean())
    np.testing.assert_allclose(metrics.bias(estimate, truth, per="time"), d.mean(axis=(1, 2, 3)))
    per_pixel = np.sqrt((d**2).mean(axis=0)).mean(axis=0)
    np.testing.assert_allclose(metrics.rmse(estimate, truth, per=("y", "x")), per_pixel)


def test_cc_is_numpys_corrcoef(estimate, truth):
    found = metrics.cc(estimate, truth, per=("time", "band"))
    for index in np.ndindex(2, 3):
        e, t = estimate.values[index].ravel(), truth.values[index].ravel()
        np.testing.assert_allclose(found.values[index], np.corrcoef(e, t)[0, 1])
    np.testing.assert_allclose(metrics.cc(2 * truth + 5, truth), 1)


def test_cc_and_uiqi_do_not_divide_rounding_noise_by_rounding_noise(truth):
    flat = xr.full_like(truth, 0.3)
    assert np.isnan(metrics.cc(flat, flat))
    assert metrics.uiqi(flat, flat) == 1
    np.testing.assert_allclose(metrics.uiqi(2 * flat, flat), 0.8)


def test_sam_is_the_mean_angle(estimate, truth):
    e, t = estimate.values, truth.values
    cosine = (e * t).sum(1) / np.linalg.norm(e, axis=1) / np.linalg.norm(t, axis=1)
    angle = np.degrees(np.arccos(cosine))
    np.testing.assert_allclose(metrics.sam(estimate, truth), angle.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics.sam(estimate, truth, per=("time", "y", "x")), angle, 1e-5)


def test_sam_knows_brightness_from_colour_and_leaves_black_pixels_out(estimate, truth):
    assert metrics.sam(3 * truth, truth) < 1e-10
    black = estimate.where((estimate.x > 40) | (estimate.y < 4000), 0.0)
    kept = estimate.where((estimate.x > 40) | (estimate.y < 4000))
    assert metrics.sam(black, truth) == metrics.sam(kept, truth)


def test_ergas_is_the_plain_formula(estimate, truth):
    rmse = np.sqrt(((estimate - truth).values ** 2).mean(axis=(0, 2, 3)))
    level = truth.values.mean(axis=(0, 2, 3))
    expected = 100 / 16 * np.sqrt(((rmse / level) ** 2).mean())
    np.testing.assert_allclose(metrics.ergas(estimate, truth, ratio=16), expected)


@pytest.mark.parametrize("window", [10, 32])
def test_uiqi_is_the_plain_formula_in_blocks(estimate, truth, window):
    e, t = estimate.values[0, 0], truth.values[0, 0]
    total, pixels = 0.0, 0
    for row in range(0, 70, window):
        for column in range(0, 50, window):
            a = e[row : row + window, column : column + window].ravel()
            b = t[row : row + window, column : column + window].ravel()
            cov = np.mean((a - a.mean()) * (b - b.mean()))
            quality = 4 * cov * a.mean() * b.mean()
            quality /= (a.var() + b.var()) * (a.mean() ** 2 + b.mean() ** 2)
            total, pixels = total + quality * a.size, pixels + a.size
    found = metrics.uiqi(estimate[0, 0], truth[0, 0], window=window)
    np.testing.assert_allclose(found, total / pixels)


def times(p, q):
    """Return Hamilton's product of quaternions (4, n)."""
    a, b, c, d = p
    e, f, g, h = q
    return np.array([
        a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e,
    ])  # fmt: skip


def test_q2n_of_four_bands_is_the_formula_with_quaternions():
    rng = np.random.default_rng(5)
    t = rng.random((4, 20, 12)).cumsum(axis=1)
    e = t + rng.normal(0, 0.5, t.shape)
    total = 0.0
    for row in (0, 16):
        et, tt = (v[:, row : row + 16].reshape(4, -1) for v in (e, t))
        mean, spread = tt.mean(axis=1, keepdims=True), tt.std(axis=1, ddof=1, keepdims=True)
        et, tt = ((v - mean) / spread + 1 for v in (et, tt))
        star = np.array([1, -1, -1, -1])[:, None]
        me, mt = et.mean(axis=1, keepdims=True), tt.mean(axis=1, keepdims=True)
        cov = (times(tt, star * et) - times(mt, star * me)).mean(axis=1)
        le, lt = (np.sqrt((m**2).sum()) for m in (me, mt))
        quality = 2 * le * lt / (le**2 + lt**2)
        quality *= 2 * np.sqrt((cov**2).sum()) / (et.var(axis=1).sum() + tt.var(axis=1).sum())
        total += quality * et.shape[1]
    e, t = (xr.DataArray(v, dims=("band", "y", "x")) for v in (e, t))
    np.testing.assert_allclose(metrics.q2n(e, t, window=16), total / 240, rtol=1e-12)


def test_q2n_of_two_bands_is_the_formula_with_complex_numbers(estimate, truth):
    e, t = (v[0, :2, :32, :32] for v in (estimate, truth))
    units = [((v - t.mean(("y", "x"))) / t.std(("y", "x"), ddof=1) + 1).values for v in (e, t)]
    ze, zt = (u[0] + 1j * u[1] for u in units)
    cov = (zt * ze.conj()).mean() - zt.mean() * ze.mean().conj()
    level = 2 * abs(ze.mean()) * abs(zt.mean()) / (abs(ze.mean()) ** 2 + abs(zt.mean()) ** 2)
    expected = level * 2 * abs(cov) / (ze.var() + zt.var())
    np.testing.assert_allclose(metrics.q2n(e, t), expected, rtol=1e-12)


def test_q2n_falls_with_one_wrong_band_and_does_not_see_units(estimate, truth):
    whole = metrics.q2n(estimate, truth)
    np.testing.assert_allclose(metrics.q2n(estimate * 1e4, truth * 1e4), whole, rtol=1e-9)
    wrong = estimate.copy()
    wrong[:, 2] = estimate[:, 2].mean()
    assert metrics.q2n(wrong, truth) < whole - 0.05


def test_edge_is_the_mean_over_the_strongest_edges_of_the_truth(estimate, truth):
    e, t = estimate.values[0, 0], truth.values[0, 0]
    strength = []
    for image in (e, t):
        crosses = [
            abs(image[y, x] - image[y + 1, x + 1]) + abs(image[y, x + 1] - image[y + 1, x])
            for y in range(69)
            for x in range(49)
        ]
        strength.append(np.array(crosses))
    ours, theirs = strength
    top = theirs >= np.quantile(theirs, 0.9)
    expected = ((ours - theirs) / (ours + theirs))[top].mean()
    np.testing.assert_allclose(metrics.edge(estimate[0, 0], truth[0, 0]), expected, rtol=1e-12)


def test_edge_tells_blurred_from_sharpened(truth):
    level = truth.mean(("y", "x"))
    np.testing.assert_allclose(metrics.edge(level + (truth - level) / 3, truth), -0.5)
    np.testing.assert_allclose(metrics.edge(level + (truth - level) * 3, truth), 0.5)
    np.testing.assert_allclose(metrics.edge(truth * 0 + level, truth), -1)


def test_ssim_psnr_and_rmse_are_scikit_images(estimate, truth):
    ski = pytest.importorskip("skimage.metrics", reason="compares with scikit-image")
    keep = ("time", "band")
    found = {
        "ssim": metrics.ssim(estimate, truth, per=keep, data_range=0.7),
        "psnr": metrics.psnr(estimate, truth, per=keep, peak=0.9),
        "rmse": metrics.rmse(estimate, truth, per=keep),
    }
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for index in np.ndindex(2, 3):
        e, t = estimate.values[index], truth.values[index]
        expected = {
            "ssim": ski.structural_similarity(t, e, data_range=0.7, **options),
            "psnr": ski.peak_signal_noise_ratio(t, e, data_range=0.9),
            "rmse": ski.mean_squared_error(t, e) ** 0.5,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name].values[index], value, rtol=1e-10)


def test_ssim_takes_the_range_of_each_band_of_the_truth(estimate, truth):
    scale = xr.DataArray([1.0, 100.0, 1e4], {"band": truth.band}, "band")
    same = metrics.ssim(estimate, truth, per="band")
    np.testing.assert_allclose(metrics.ssim(estimate * scale, truth * scale, per="band"), same)
    low, high = np.quantile(truth.values[:, 1], (0.001, 0.999))
    one = metrics.ssim(estimate[:, 1], truth[:, 1], data_range=high - low)
    np.testing.assert_allclose(same[1], one)


def test_psnr_takes_the_largest_value_of_each_band_for_the_peak(estimate, truth):
    found = metrics.psnr(estimate, truth, per="band")
    peak = truth.values.max(axis=(0, 2, 3))
    expected = 20 * np.log10(peak / metrics.rmse(estimate, truth, per="band"))
    np.testing.assert_allclose(found, expected)
    assert np.isposinf(metrics.psnr(truth, truth))


def test_psnr_peak_is_that_of_the_known_truth():
    truth = xr.DataArray([[0.1, np.nan, 0.4, 0.2]], dims=("y", "x"))
    estimate = truth.fillna(0.9) + 0.01
    # 20 log10(0.4 / 0.01): the pixel without truth gives neither peak nor error.
    np.testing.assert_allclose(metrics.psnr(estimate, truth), 20 * np.log10(40))
    # A missing estimate takes the error away and leaves the truth's peak.
    np.testing.assert_allclose(
        metrics.psnr(estimate.where(estimate < 0.4), truth), 20 * np.log10(40)
    )


@pytest.mark.parametrize(
    ("name", "best"),
    [(name, 0) for name in ("rmse", "mae", "bias", "sam", "ergas", "edge")]
    + [(name, 1) for name in ("cc", "q2n", "ssim", "uiqi")],
)
def test_a_perfect_estimate_has_the_best_value(truth, name, best):
    np.testing.assert_allclose(call(name, truth, truth), best, atol=1e-12)


# ------------------------------------------------------------------ missing pixels


@pytest.mark.parametrize("name", ["rmse", "mae", "bias", "cc", "psnr"])
def test_missing_pixels_are_left_out_band_by_band(estimate, truth, name):
    cloudy, gappy = holes(estimate), holes(truth, seed=4)
    options = {"peak": 1.0} if name == "psnr" else {}
    found = call(name, cloudy, gappy, per="band", **options)
    for band in range(3):
        e, t = cloudy.values[:, band].ravel(), gappy.values[:, band].ravel()
        both = np.isfinite(e) & np.isfinite(t)
        alone = xr.DataArray(e[both], dims="x"), xr.DataArray(t[both], dims="x")
        np.testing.assert_allclose(found[band], call(name, *alone, **options))


def test_sam_leaves_out_pixels_that_miss_one_band(estimate, truth):
    cloudy = holes(estimate)
    whole = cloudy.notnull().all("band")
    assert metrics.sam(cloudy, truth) == metrics.sam(estimate.where(whole), truth)


def test_ssim_around_a_hole_weighs_what_is_left(estimate, truth):
    e, t = holes(estimate[0, 0]), truth[0, 0]
    found = metrics.ssim(e, t, data_range=0.7, per=("y", "x"))
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / 2 / 1.5**2)
    there = np.isfinite(e.values[20:31, 10:21])
    w = np.outer(kernel, kernel) * there / (np.outer(kernel, kernel) * there).sum()
    a, b = np.nan_to_num(e.values[20:31, 10:21]), t.values[20:31, 10:21]
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, cov = (
        (w * (a - ma) ** 2).sum(),
        (w * (b - mb) ** 2).sum(),
        (w * (a - ma) * (b - mb)).sum(),
    )
    c1, c2 = (0.01 * 0.7) ** 2, (0.03 * 0.7) ** 2
    expected = (2 * ma * mb + c1) * (2 * cov + c2) / (ma**2 + mb**2 + c1) / (va + vb + c2)
    assert there[5, 5]
    np.testing.assert_allclose(found.sel(y=e.y[25], x=e.x[15]), expected)
    assert (found.isnull() == e.isnull()[5:-5, 5:-5]).all()


def test_uiqi_of_a_block_with_holes_is_that_of_its_pixels(estimate, truth):
    e, t = holes(estimate[0, 0, :32, :32]), truth[0, 0, :32, :32]
    there = e.notnull().values
    count = int(there.sum())
    packed = (xr.DataArray(v.values[there].reshape(1, count), dims=("y", "x")) for v in (e, t))
    np.testing.assert_allclose(metrics.uiqi(e, t), metrics.uiqi(*packed, window=count))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_all_missing_is_nan_without_a_warning(estimate, truth, name, lazy):
    nothing = estimate * np.nan
    if lazy:
        nothing = nothing.chunk()
    assert np.isnan(call(name, nothing, truth))
    assert np.isnan(call(name, truth, nothing))


@pytest.mark.parametrize("name", ALL)
def test_a_missing_date_leaves_the_other_ones_alone(estimate, truth, name):
    cloudy = estimate.where(estimate.time == estimate.time[1])
    found = call(name, cloudy, truth, per="time")
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1], call(name, estimate, truth, per="time")[1])


def test_codes_for_missing_and_packed_integers_are_decoded(estimate, truth):
    packed = (truth * 1e4).round().astype(np.int16)
    packed = packed.where(truth > 0.3, -9999).astype(np.int16)
    plain = ((truth * 1e4).round() * 1e-4).where(truth > 0.3)
    filled = estimate.astype(np.float32).fillna(0).where(truth > 0.3, 1e20)
    expected = {name: call(name, estimate, plain) for name in ALL}
    # each code with one metric, each metric with one code: they decode at one place
    for code, names in (("_FillValue", ALL), ("missing_value", ["rmse"]), ("nodata", ["rmse"])):
        packed.attrs = {code: -9999, "scale_factor": 1e-4}
        for name in names:
            np.testing.assert_allclose(call(name, estimate, packed), expected[name])
        filled.attrs = {code: 1e20}
        assert metrics.rmse(filled, truth) < 0.1


@pytest.mark.parametrize("code", ["none", "nan", "", [-9999, -32768], "-9999"])
def test_codes_are_read_as_the_verbs_read_them(estimate, truth, code):
    """cubes/test_read.py has every case; here metrics neither stop at words nor miss a list."""
    given = estimate.assign_attrs(nodata=code)
    assert metrics.rmse(given, truth) == metrics.rmse(estimate, truth)
    filled = truth.where(truth > 0.3, -9999.0001).assign_attrs(nodata=code)
    found = metrics.rmse(filled, truth)
    assert found == 0 if code not in ("none", "nan", "") else found > 1000


def test_infinite_pixels_are_missing(estimate, truth):
    broken = estimate.copy()
    broken[0, 0, 30, 30] = np.inf
    missing = estimate.copy()
    missing[0, 0, 30, 30] = np.nan
    for name in ALL:
        assert call(name, broken, truth) == call(name, missing, truth)


# ------------------------------------------------------------------ labels and laziness


# among them chunks narrower than the 5 pixels that SSIM looks around
@pytest.mark.parametrize("chunks", [{"y": (13, 27), "x": (4, 3, 29)}, {"time": 1, "band": 1}])
@pytest.mark.parametrize("name", ALL)
def test_dask_in_dask_out_and_the_same_value(estimate, truth, name, chunks):
    estimate, truth = holes(estimate)[..., :40, :36], truth[..., :40, :36]
    with raise_if_dask_computes():
        lazy = call(name, estimate.chunk(chunks), truth.chunk(y=32), per="time")
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, call(name, estimate, truth, per="time"), rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_dim_order_and_label_order_do_not_matter(estimate, truth, name):
    turned = truth.isel(y=slice(None, None, -1), band=[2, 0, 1]).transpose("x", "band", "y", "time")
    found = call(name, estimate, turned, per="time")
    np.testing.assert_allclose(found, call(name, estimate, truth, per="time"), rtol=1e-12)
    assert found.dims == ("time",)
    assert found.name == name


@pytest.mark.parametrize("name", ALL)
def test_inputs_stay_as_they_were(estimate, truth, name):
    before = estimate.copy(deep=True), truth.copy(deep=True)
    call(name, estimate, truth)
    xr.testing.assert_identical(estimate, before[0])
    xr.testing.assert_identical(truth, before[1])


def test_the_result_says_what_it_is(estimate, truth):
    found = metrics.rmse(estimate, truth, per="band")
    assert found.attrs == {"long_name": "root mean square error", "units": "1"}
    assert list(found.band.values) == ["green", "red", "nir"]
    assert metrics.sam(estimate, truth).attrs["units"] == "degree"
    one = metrics.rmse(in_crs(estimate, 32633)[0, 1], in_crs(truth, 32633)[0, 1])
    assert one.band == "red"
    assert "spatial_ref" not in one.coords


@pytest.mark.parametrize("name", ["rmse", "sam", "ssim"])
def test_a_map_of_errors_says_where_it_is(estimate, truth, name):
    e, t = in_crs(estimate, 32633), in_crs(truth, 32633)
    t.x.attrs["units"] = e.x.attrs["units"] = "m"
    found = call(name, e, t, per=("y", "x"))
    assert CRS.from_wkt(found.spatial_ref.attrs["crs_wkt"]) == CRS(32633)
    assert found.encoding["grid_mapping"] == "spatial_ref"
    assert found.x.attrs == {"units": "m"}


def test_another_name_of_the_band_dim(estimate, truth):
    for name in ALL:
        expected = call(name, estimate, truth, per="time")
        e, t = (v.rename(band="channel") for v in (estimate, truth))
        found = call(name, e, t, per="time", band="channel")
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_dims_known_only_by_their_cf_attributes(estimate, truth):
    def renamed(cube):
        cube = cube.rename(y="row", x="col")
        cube.row.attrs, cube.col.attrs = {"standard_name": "latitude"}, {"axis": "X"}
        return cube

    for name in ("ssim", "uiqi"):  # the others do not ask which dims are spatial
        expected = call(name, estimate, truth, per="time")
        found = call(name, renamed(estimate), truth.rename(y="row", x="col"), per="time")
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    e, t = (renamed(in_crs(cube, 32633)) for cube in (estimate, truth))
    assert metrics.mae(e, t, per=("row", "col")).encoding["grid_mapping"] == "spatial_ref"


def test_a_crs_in_a_coordinate_of_any_name_is_found(estimate, truth):
    named = in_crs(truth, 32632).rename(spatial_ref="utm")
    named.encoding = {}
    with pytest.raises(ValueError, match=r"EPSG:32633 and truth in EPSG:32632"):
        metrics.rmse(in_crs(estimate, 32633), named)


def test_float32_is_summed_in_float64():
    truth = xr.DataArray(np.full((1000, 1000), 9999.0, np.float32), dims=("y", "x"))
    np.testing.assert_allclose(metrics.bias(truth + np.float32(0.125), truth), 0.125)


# ------------------------------------------------------------------ wrong partners


def test_coordinates_rounded_by_a_file_are_the_same(estimate, truth):
    rounded = truth.assign_coords(x=truth.x + 1e-9)
    assert metrics.rmse(estimate, rounded) == metrics.rmse(estimate, truth)


@pytest.mark.parametrize("name", ALL)
def test_half_a_pixel_off_is_refused(estimate, truth, name):
    with pytest.raises(ValueError, match=r"along 'x': offset -0\.50 px"):
        call(name, estimate, truth.assign_coords(x=truth.x + 15))


def test_another_size_is_refused(estimate, truth):
    with pytest.raises(ValueError, match="size 70 along 'y', truth 60"):
        metrics.rmse(estimate, truth[:, :, :60])


def test_another_date_is_refused(estimate, truth):
    later = truth.assign_coords(time=truth.time + np.timedelta64(10, "h"))
    with pytest.raises(ValueError, match="along 'time': 2021-05-01"):
        metrics.rmse(estimate, later)


def test_another_band_is_refused(estimate, truth):
    with pytest.raises(ValueError, match="along 'band': red is at 1"):
        metrics.rmse(estimate, truth.assign_coords(band=["green", "blue", "nir"]))


def in_crs(cube, code):
    cube = cube.assign_coords(spatial_ref=((), 0, CRS(code).to_cf()))
    cube.encoding["grid_mapping"] = "spatial_ref"
    return cube


def test_another_crs_is_refused_with_both_named(estimate, truth):
    with pytest.raises(ValueError, match=r"EPSG:32633 and truth in EPSG:32632"):
        metrics.rmse(in_crs(estimate, 32633), in_crs(truth, 32632))
    with pytest.raises(ValueError, match=r"the truth has no CRS and the estimate has EPSG:32633"):
        metrics.rmse(in_crs(estimate, 32633), truth)


def test_the_same_crs_written_otherwise_is_the_same(estimate, truth):
    other = truth.assign_coords(spatial_ref=((), 0, {"crs_wkt": CRS(32633).to_wkt("WKT1_GDAL")}))
    found = metrics.rmse(in_crs(estimate, 32633), other)
    np.testing.assert_allclose(found, metrics.rmse(estimate, truth))


@pytest.mark.parametrize("dtype", [bool, complex, object, "datetime64[ns]"])
def test_what_is_no_number_is_refused(estimate, truth, dtype):
    wrong = truth.copy(data=np.zeros(truth.shape, dtype))
    with pytest.raises(TypeError, match=re.escape(f"truth has dtype {np.dtype(dtype)}")):
        metrics.rmse(estimate, wrong)
    with pytest.raises(TypeError, match="estimate is a ndarray"):
        metrics.rmse(estimate.values, truth)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("rmse", {"per": "date"}, r"no dim \['date'\], only \['time'"),
        ("rmse", {"band": "channel"}, "no such dim"),
        ("sam", {"per": "band"}, "cannot keep 'band'"),
        ("ergas", {"per": ["time", "band"]}, "cannot keep 'band'"),
        ("ergas", {"ratio": 0}, "ratio must be above 0"),
        ("psnr", {"peak": -1.0}, "peak must be above 0"),
        ("ssim", {"data_range": 0}, "data_range must be above 0"),
        ("uiqi", {"per": "y"}, "per cannot keep"),
        ("uiqi", {"window": 1}, "window must be 2"),
        ("q2n", {"per": "band"}, "cannot keep 'band'"),
        ("q2n", {"per": "y"}, "per cannot keep"),
        ("q2n", {"window": 1}, "window must be 2"),
        ("edge", {"per": "y"}, "per cannot keep"),
        ("edge", {"share": 0}, "share must be above 0"),
    ],
)
def test_wrong_options_are_refused(estimate, truth, name, options, match):
    with pytest.raises(ValueError, match=match):
        getattr(metrics, name)(estimate, truth, **(NEEDS.get(name, {}) | options))


def test_images_too_small_or_not_there_are_refused(estimate, truth):
    with pytest.raises(ValueError, match="ssim needs 11 × 11 pixels"):
        metrics.ssim(estimate[..., :10], truth[..., :10])
    with pytest.raises(ValueError, match="dims y and x"):
        metrics.ssim(estimate.rename(y="row"), truth.rename(y="row"))
    with pytest.raises(ValueError, match="none of"):
        metrics.sam(estimate.rename(band="b"), truth.rename(band="b"))
    with pytest.raises(ValueError, match="both need the same ones"):
        metrics.rmse(estimate, truth[0])
