"""Grids, their nesting and resampling, and the true resolution of resampled images."""

import threading
import time

import numpy as np
import pyproj
import pytest

from xstf.cubes import resample as _resample
from xstf.cubes.grid import Grid, grid_of, require_same_grid, to_index
from xstf.cubes.nesting import estimate_resolution, nesting_of, same_resolution
from xstf.cubes.resample import resample, source_window

UTM = pyproj.CRS.from_epsg(32632)
SINUSOIDAL = pyproj.CRS.from_proj4("+proj=sinu +R=6371007.181 +units=m")
LONLAT = pyproj.CRS.from_epsg(4326)
MODIS = 463.3127165


def utm_grid(height=120, width=90, step=30.0, top=5e6, left=5e5):
    return Grid(top, left, -step, step, height, width, UTM)


def all_of(grid):
    return slice(0, grid.height), slice(0, grid.width)


def brought(image, source, target, rows=None, cols=None, **options):
    """`resample` of the window that it asks for, as a tile does it."""
    rows, cols = rows or slice(0, target.height), cols or slice(0, target.width)
    window = source_window(source, target, rows, cols)
    return resample(image[(..., *window)], window, source, target, rows, cols, **options)


def modis_around(fine, margin=6):
    """A MODIS-like sinusoidal grid that covers a grid."""
    edge = np.linspace(0, 1, 21)
    u, v = np.meshgrid(edge, edge)
    y = fine.top + u * fine.height * fine.dy
    x = fine.left + v * fine.width * fine.dx
    change = pyproj.Transformer.from_crs(fine.crs, SINUSOIDAL, always_xy=True)
    x, y = change.transform(x, y)
    col, row = np.floor(x.min() / MODIS) - margin, np.floor(-y.max() / MODIS) - margin
    height = int(np.ptp(y) / MODIS) + 2 * margin
    width = int(np.ptp(x) / MODIS) + 2 * margin
    return Grid(-row * MODIS, col * MODIS, -MODIS, MODIS, height, width, SINUSOIDAL)


def field(grid, crs=LONLAT):
    """A smooth function of place, in whichever CRS the grid is."""
    y, x = np.meshgrid(grid.y, grid.x, indexing="ij")
    lon, lat = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True).transform(x, y)
    return (np.sin(40 * lon) + np.cos(55 * lat) + lon).astype(np.float32)


# --- grids from coordinates -------------------------------------------------------------------


def test_a_grid_gives_back_its_coordinates():
    y, x = 5e6 - 30 * np.arange(7) - 15, 2e5 + 30 * np.arange(5) + 15
    grid = grid_of(y, x, 32632, what="fine")
    assert grid == Grid(5e6, 2e5, -30.0, 30.0, 7, 5, UTM)
    np.testing.assert_array_equal(grid.y, y)
    np.testing.assert_array_equal(grid.x, x)
    assert grid.resolution == 30
    assert grid.extent == (2e5, 2e5 + 150, 5e6 - 210, 5e6)


def test_ascending_coordinates_are_a_grid_too():
    grid = grid_of(np.arange(4) + 0.5, np.arange(3)[::-1] + 0.5, None, what="fine")
    assert (grid.top, grid.dy, grid.left, grid.dx) == (0, 1, 3, -1)


@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_coordinates_rounded_to_float32_are_even(stored):
    lon = 116.3 + np.arange(4000) * 0.00027
    grid = grid_of(lon, lon.astype(np.float32).astype(stored), LONLAT, what="fine")
    assert abs(grid.dx / 0.00027 - 1) < 1e-5
    assert abs(grid.left - grid.top) < 0.01 * 0.00027


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2, 4, 5], r"coarse: lat .*: 2 between lat\[2\] and lat\[3\], elsewhere 1"),
        ([0, 1, 2, 2, 3], r"lat\[2\] and lat\[3\] are both 2"),
        ([0, 1, np.nan, 3], r"lat\[2\] is nan"),
        ([], r"lat needs one coordinate a pixel, it has \(0,\)"),
        ([[0, 1]], r"lat needs one coordinate a pixel, it has \(1, 2\)"),
        (np.cumsum(1 + np.linspace(0, 0.0009, 900)), r"lat is not evenly spaced"),
        ([0, 1, 2.01, 3], r"1\.01 between lat\[1\] and lat\[2\]"),
    ],
)
def test_uneven_coordinates_name_the_dim_and_the_place(y, message):
    with pytest.raises(ValueError, match=message):
        grid_of(np.array(y, float), np.arange(3.0), None, what="coarse", dims=("lat", "lon"))


def test_one_pixel_takes_the_step_that_is_known_or_says_so():
    assert grid_of([5.0], [0.0, 2.0], None, what="fine").dy == -2
    grid = grid_of([5.0], [7.0], None, what="fine", resolution=4)
    assert (grid.dy, grid.dx, grid.top, grid.left) == (-4, 4, 7, 5)
    with pytest.raises(ValueError, match="one pixel in y and x.*give the resolution"):
        grid_of([5.0], [7.0], None, what="fine")


# --- nesting ----------------------------------------------------------------------------------


def test_a_whole_ratio_with_shared_corners_is_used_as_it_is():
    fine = utm_grid(120, 90)
    coarse = utm_grid(8, 6, 450.0)
    nesting = nesting_of(fine, coarse)
    assert nesting.coarse == coarse
    assert (nesting.ratio, nesting.how) == (15, "nested")
    assert nesting.before == nesting.after == (0, 0)
    image = np.random.default_rng(0).random((2, 8, 6), np.float32)
    np.testing.assert_array_equal(brought(image, coarse, nesting.coarse), image)


def test_a_fine_image_may_start_inside_a_coarse_pixel():
    fine = utm_grid(100, 50, top=5e6 - 4 * 30, left=5e5 + 7 * 30)
    nesting = nesting_of(fine, utm_grid(40, 40, 300.0, top=5e6 + 3000, left=5e5 - 3000))
    assert nesting.how == "nested"
    assert nesting.before == (4, 7)
    assert nesting.after == (6, 3)
    assert (nesting.coarse.top, nesting.coarse.left) == (5e6, 5e5)
    assert (nesting.coarse.height, nesting.coarse.width) == (11, 6)


@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_coarse_values_land_on_their_place_in_any_order_and_nothing_beyond_them(flip):
    fine = utm_grid(60, 60, 10.0)
    source = Grid(5e6 + 50, 5e5 + 100, -50.0, 50.0, 7, 30, UTM)
    image = np.random.default_rng(1).random((7, 30), np.float32)
    straight = brought(image, source, nesting_of(fine, source).coarse)
    assert straight.shape == (12, 12)
    np.testing.assert_array_equal(straight[:6, 2:], image[1:, :10])
    assert np.isnan(straight[6:]).all()
    assert np.isnan(straight[:, :2]).all()
    flipped = Grid(
        source.top if flip[0] > 0 else source.top - 350,
        source.left if flip[1] > 0 else source.left + 1500,
        -50.0 * flip[0], 50.0 * flip[1], 7, 30, UTM,
    )  # fmt: skip
    nesting = nesting_of(fine, flipped)
    assert nesting.how == "nested"
    turned = brought(image[:: flip[0], :: flip[1]], flipped, nesting.coarse)
    np.testing.assert_array_equal(turned, straight)


def test_an_ascending_fine_grid_gets_an_ascending_coarse_one():
    fine = Grid(0.0, 0.0, 1.0, 1.0, 8, 8, None)
    source = Grid(8.0, 0.0, -4.0, 4.0, 2, 2, None)
    nesting = nesting_of(fine, source)
    assert nesting.coarse == Grid(0.0, 0.0, 4.0, 4.0, 2, 2, None)
    image = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(brought(image, source, nesting.coarse), [[3, 4], [1, 2]])


def test_a_shift_or_a_drift_beyond_a_twentieth_of_a_pixel_does_not_nest():
    fine = utm_grid(600, 600)
    assert nesting_of(fine, utm_grid(50, 50, 450.0, top=5e6 + 1.4)).how == "nested"
    assert nesting_of(fine, utm_grid(50, 50, 450.0, top=5e6 + 1.6)).how == "resampled"
    assert nesting_of(fine, utm_grid(50, 50, 450.03)).how == "nested"  # 40 * 0.03 = 1.2 m of 30
    assert nesting_of(fine, utm_grid(50, 50, 450.05)).how == "resampled"
    # Corners together at the bottom alone.
    assert nesting_of(fine, Grid(5e6 + 1.6, 5e5, -450.04, 450.0, 50, 50, UTM)).how == "resampled"


def test_a_near_miss_is_not_taken_for_whole_when_values_are_brought():
    fine = utm_grid(600, 600)
    source = utm_grid(50, 50, 450.0, top=5e6 + 1.6)
    image = np.random.default_rng(0).random((50, 50), np.float32)
    part = 1.6 / 450
    expected = (1 - part) * image[:40] + part * image[1:41]
    got = brought(image, source, nesting_of(fine, source).coarse)
    np.testing.assert_allclose(got, expected[:, :40], rtol=1e-6)


def test_modis_serves_landsat_quickly():
    fine = utm_grid(7700, 7700)
    coarse = Grid(5 * 1111950.51977, 0.0, -MODIS, MODIS, 2400, 2400, SINUSOIDAL)
    nesting = nesting_of(fine, coarse)
    assert (nesting.ratio, nesting.how) == (15, "resampled")
    assert (nesting.coarse.height, nesting.after) == (514, (10, 10))
    took = []
    for _ in range(5):
        started = time.process_time()
        nesting_of(fine, coarse)
        took.append(time.process_time() - started)
    assert min(took) < 0.05


def test_pixels_are_measured_in_the_fine_crs():
    # 0.01 degrees at 60 degrees north are 1114 m by 558 m: the square of their area has 788 m.
    fine = Grid(6_655_000.0, 5e5, -30.0, 30.0, 200, 200, UTM)
    assert nesting_of(fine, Grid(60.5, 8.5, -0.01, 0.01, 100, 200, LONLAT)).ratio == 26


def test_a_coarse_grid_finer_than_the_fine_one_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"coarse pixels \(10\) are smaller than fine pixels \(30"):
        nesting_of(utm_grid(), utm_grid(500, 500, 10.0))


@pytest.mark.parametrize("coarse", [utm_grid(20, 20, 450.0, left=9e5), "sinusoidal"])
def test_grids_that_do_not_meet_are_refused_with_both_extents(coarse):
    if coarse == "sinusoidal":
        coarse = modis_around(utm_grid(20, 20, left=9e5))
    with pytest.raises(
        ValueError, match=r"does not overlap fine: in EPSG:32632.*x 5.*; coarse.*x (8|9)"
    ):
        nesting_of(utm_grid(), coarse)


def test_a_small_coarse_image_is_found_inside_a_large_fine_one():
    fine = utm_grid(7700, 7700)
    small = modis_around(utm_grid(30, 30, top=5e6 - 100_300, left=5e5 + 111_700), margin=0)
    assert nesting_of(fine, small).ratio == 15


def test_a_crs_on_one_side_only_is_refused_with_the_cure():
    bare = Grid(0.0, 0.0, -1.0, 1.0, 9, 9, None)
    with pytest.raises(ValueError, match=r"coarse has no CRS, fine has EPSG:32632.*write_crs"):
        nesting_of(utm_grid(), bare)
    with pytest.raises(ValueError, match=r"fine has no CRS, coarse has EPSG:32632"):
        nesting_of(bare, utm_grid())


def test_no_crs_on_both_sides_takes_coordinates_as_they_are():
    assert nesting_of(Grid(0, 0, 1, 1, 9, 9, None), Grid(0, 0, 3, 3, 3, 3, None)).how == "nested"
    with pytest.raises(ValueError, match=r"0\.\.360 against -180\.\.180"):
        nesting_of(Grid(1, -10, -0.1, 0.1, 9, 9, None), Grid(1, 350, -0.3, 0.3, 3, 3, None))


@pytest.mark.parametrize("crs", [LONLAT, UTM])
def test_longitudes_from_0_to_360_meet_those_from_minus_180(crs):
    if crs is LONLAT:
        fine = Grid(40.0, -100.0, -0.1, 0.1, 60, 60, LONLAT)
    else:
        fine = Grid(4.4e6, 4e5, -3000.0, 3000.0, 60, 60, pyproj.CRS.from_epsg(32614))
    image = np.random.default_rng(0).random((180, 360), np.float32)
    here = Grid(90.0, -180.0, -1.0, 1.0, 180, 360, LONLAT)
    there = Grid(90.0, 0.0, -1.0, 1.0, 180, 360, LONLAT)
    nesting = nesting_of(fine, there)
    assert nesting.how == nesting_of(fine, here).how
    expected = brought(image, here, nesting_of(fine, here).coarse)
    assert np.isfinite(expected).all()
    got = brought(np.roll(image, 180, axis=1), there, nesting.coarse)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_equal_crs_in_other_words_is_equal():
    coarse = Grid(5e6, 5e5, -90.0, 90.0, 30, 30, pyproj.CRS.from_wkt(UTM.to_wkt("WKT1_GDAL")))
    assert nesting_of(utm_grid(90, 90), coarse).how == "nested"
    swapped = Grid(50.0, 8.0, -0.3, 0.3, 30, 30, pyproj.CRS("OGC:CRS84"))
    assert nesting_of(Grid(50.0, 8.0, -0.1, 0.1, 90, 90, LONLAT), swapped).how == "nested"


# --- a coarse grid that its provider resampled ------------------------------------------------


def test_true_resolution_makes_block_means_of_a_resampled_grid():
    fine = utm_grid(100, 64)
    nesting = nesting_of(fine, fine, coarse_resolution=480)
    assert (nesting.ratio, nesting.how, nesting.before, nesting.after) == (
        16, "block_mean", (0, 0), (12, 0),
    )  # fmt: skip
    image = np.random.default_rng(0).random((2, 100, 64), np.float32)
    image[:, :16, :9] = np.nan  # 9 of 16 columns: too little is left
    image[:, 16:32, :8] = np.nan  # half is left: enough
    got = brought(image, fine, nesting.coarse)
    padded = np.full((2, 112, 64), np.nan)
    padded[:, :100] = image
    blocks = padded.reshape(2, 7, 16, 4, 16)
    expected = np.nanmean(blocks, axis=(2, 4))
    expected[:, 0, 0] = np.nan
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_true_resolution_is_ignored_where_the_grid_has_it_already():
    fine, coarse = utm_grid(), utm_grid(8, 6, 450.0)
    assert nesting_of(fine, coarse, coarse_resolution=463.3) == nesting_of(fine, coarse)


def test_a_finer_copy_that_nests_is_averaged_and_one_that_is_shifted_is_weighted():
    fine = utm_grid(60, 60)
    half = utm_grid(130, 130, 15.0, top=5e6 + 15, left=5e5 - 15)
    nesting = nesting_of(fine, half, coarse_resolution=300)
    assert (nesting.ratio, nesting.how) == (10, "block_mean")
    image = np.random.default_rng(0).random((130, 130), np.float32)
    expected = image[1:121, 1:121].reshape(6, 20, 6, 20).mean((1, 3))
    np.testing.assert_allclose(brought(image, half, nesting.coarse), expected, rtol=1e-5)
    off = utm_grid(130, 130, 15.0, top=5e6 + 22.5, left=5e5 - 15)
    assert nesting_of(fine, off, coarse_resolution=300).how == "resampled"


@pytest.mark.parametrize("value", [0, -3, float("nan"), float("inf")])
def test_a_true_resolution_is_a_positive_length(value):
    with pytest.raises(ValueError, match="coarse_resolution must be a positive length"):
        nesting_of(utm_grid(), utm_grid(), coarse_resolution=value)


def test_a_true_resolution_in_the_wrong_units_is_refused():
    fine = Grid(50.0, 8.0, -0.0003, 0.0003, 100, 100, LONLAT)
    with pytest.raises(ValueError, match="480 is larger than the whole fine image.*units"):
        nesting_of(fine, fine, coarse_resolution=480)


def test_same_resolution_looks_through_the_crs():
    fine = utm_grid()
    assert same_resolution(fine, Grid(45.5, 8.5, -0.0003, 0.0003, 9000, 9000, LONLAT))
    assert not same_resolution(fine, modis_around(fine))


# --- values from one CRS to another -----------------------------------------------------------


def test_a_smooth_field_comes_through_a_change_of_crs():
    fine = utm_grid(900, 900)
    source = modis_around(fine)
    target = nesting_of(fine, source).coarse
    got = brought(field(source), source, target)
    assert np.isfinite(got).all()
    # A wrong row or column would be off by ten times this; the blur of the pixels is what is left.
    assert np.sqrt(np.mean((got - field(target)) ** 2)) < 0.03


def test_area_weights_beat_bilinear_interpolation():
    ratio, size = 15, 40
    rng = np.random.default_rng(3)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(ratio * size)] * 2))
    frequency[0, 0] = np.inf
    truth = np.fft.ifft2(np.fft.fft2(rng.standard_normal(frequency.shape)) / frequency).real
    truth = truth / truth.std()
    fine = utm_grid(ratio * size, ratio * size)
    source = modis_around(fine, margin=2)
    y, x = np.meshgrid(fine.y, fine.x, indexing="ij")
    rows, cols = to_index(source, fine, y, x)
    cell = (rows.astype(int) * source.width + cols.astype(int)).ravel()
    count = np.bincount(cell, minlength=source.height * source.width)
    with np.errstate(invalid="ignore"):
        image = np.bincount(cell, truth.ravel(), minlength=count.size) / count
    image[count < 230] = np.nan  # seen in part only
    image = image.reshape(source.height, source.width).astype(np.float32)
    target = nesting_of(fine, source).coarse
    area = brought(image, source, target, min_valid=0.999)
    side = 6
    at = (np.arange(size * side) + 0.5) / side
    y, x = np.meshgrid(target.top + at * target.dy, target.left + at * target.dx, indexing="ij")
    rows, cols = (v - 0.5 for v in to_index(source, target, y, x))
    i, j = np.floor(rows).astype(int), np.floor(cols).astype(int)
    f, g = rows - i, cols - j
    bilinear = (
        image[i, j] * (1 - f) * (1 - g) + image[i + 1, j] * f * (1 - g)
        + image[i, j + 1] * (1 - f) * g + image[i + 1, j + 1] * f * g
    ).reshape(size, side, size, side).mean((1, 3))  # fmt: skip
    blocks = truth.reshape(size, ratio, size, ratio).mean((1, 3))
    both = np.isfinite(area) & np.isfinite(bilinear)
    error = [np.sqrt(np.mean((e - blocks)[both] ** 2)) for e in (area, bilinear)]
    assert both.sum() > 1000
    assert error[0] < 0.95 * error[1]


def test_weights_between_crss_are_those_within_one():
    # The same projection from another origin: a CRS of its own, and no distortion.
    moved = pyproj.CRS.from_proj4("+proj=tmerc +lon_0=9 +k=0.9996 +x_0=0 +datum=WGS84")
    fine = utm_grid(900, 900)
    here = utm_grid(70, 70, 463.3, top=5e6 + 1000, left=5e5 - 1000)
    there = Grid(here.top, here.left - 5e5, here.dy, here.dx, 70, 70, moved)
    target = nesting_of(fine, here).coarse
    assert nesting_of(fine, there).coarse == target
    y, x = np.meshgrid(here.y - 5e6, here.x - 5e5, indexing="ij")
    for ramp in (y.astype(np.float32), x.astype(np.float32)):
        off = brought(ramp, there, target) - brought(ramp, here, target)
        assert np.abs(off).max() < 450 / 6
        assert abs(off.mean()) < 450 / 100


@pytest.mark.parametrize("case", ["near", "north", "wide"])
def test_interpolated_positions_are_within_a_twentieth_of_a_source_pixel(case):
    if case == "wide":
        fine = Grid(7e6, -5e5, -1000.0, 1000.0, 2500, 2000, UTM)
        source = Grid(70.0, -15.0, -0.05, 0.05, 800, 1000, LONLAT)
    else:
        fine = utm_grid(7700, 7700, top=5e6 if case == "near" else 7.9e6)
        source = modis_around(fine)
    target = nesting_of(fine, source).coarse
    lattice = _resample._lattice(source, target)
    assert lattice.sound.all()
    height, width = target.height, target.width
    u, v = (np.sort(np.random.default_rng(0).uniform(0, n, 300)) for n in (height, width))
    y, x = np.meshgrid(target.top + u * target.dy, target.left + v * target.dx, indexing="ij")
    exact = to_index(source, target, y, x)
    for ours, theirs in zip(_resample._interpolate(lattice, u, v), exact, strict=True):
        assert np.abs(ours - theirs).max() < 0.05


@pytest.mark.parametrize("how", ["nested", "block_mean", "resampled", "sinusoidal"])
def test_tiles_agree_with_the_whole_bit_for_bit(how):
    fine = utm_grid(607, 455)
    source = {
        "nested": utm_grid(50, 50, 450.0, top=5e6 + 900),
        "block_mean": fine,
        "resampled": utm_grid(40, 40, 463.3, top=5e6 + 100),
        "sinusoidal": modis_around(fine, margin=-3),
    }[how]
    nesting = nesting_of(fine, source, coarse_resolution=450 if how == "block_mean" else None)
    assert nesting.how == ("resampled" if how == "sinusoidal" else how)
    target = nesting.coarse
    rng = np.random.default_rng(0)
    image = rng.random((3, source.height, source.width), np.float32)
    image[rng.random(image.shape) < 0.2] = np.nan
    image[:, -(source.height // 3) :, : source.width // 3] = np.nan
    whole = brought(image, source, target)
    assert np.isfinite(whole).any()
    assert np.isnan(whole).any()
    for tile in (3, 16):
        cut = np.empty_like(whole)
        for i in range(0, target.height, tile):
            for j in range(0, target.width, tile):
                rows = slice(i, min(i + tile, target.height))
                cols = slice(j, min(j + tile, target.width))
                cut[:, rows, cols] = brought(image, source, target, rows, cols)
        np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize("sinusoidal", [False, True])
def test_values_stay_in_the_range_of_the_source_and_nothing_lies_beyond_it(sinusoidal):
    fine = utm_grid(600, 600)
    source = modis_around(utm_grid(300, 300), margin=0) if sinusoidal else utm_grid(20, 20, 463.3)
    target = nesting_of(fine, source).coarse
    got = brought(np.full((source.height, source.width), 0.3, np.float32), source, target)
    assert set(np.unique(got[np.isfinite(got)])) == {np.float32(0.3)}
    y, x = np.meshgrid(target.y, target.x, indexing="ij")
    rows, cols = to_index(source, target, y, x)
    beyond = (rows < -1) | (rows > source.height + 1) | (cols < -1) | (cols > source.width + 1)
    assert beyond.any()
    assert np.isnan(got[beyond]).all()
    within = (rows > 1) & (rows < source.height - 1) & (cols > 1) & (cols < source.width - 1)
    assert np.isfinite(got[within]).all()


@pytest.mark.parametrize("sinusoidal", [False, True])
def test_too_little_valid_source_is_missing(sinusoidal):
    fine = utm_grid(300, 300)
    source = modis_around(fine) if sinusoidal else utm_grid(25, 25, 463.3, top=5e6 + 100)
    target = nesting_of(fine, source).coarse
    image = np.random.default_rng(0).random((source.height, source.width), np.float32)
    image[:, ::2] = np.nan
    share = brought(np.isfinite(image).astype(np.float32), source, target)
    for least in (0.2, 0.5, 0.8):
        got = brought(image, source, target, min_valid=least)
        np.testing.assert_array_equal(np.isfinite(got), share >= np.float32(least - 1e-6))
    image[:] = np.nan
    assert np.isnan(brought(image, source, target)).all()


def test_part_of_the_target_outside_the_source_needs_nothing_and_is_missing():
    fine = utm_grid(900, 900)
    source = modis_around(utm_grid(200, 200), margin=0)
    target = nesting_of(fine, source).coarse
    rows, cols = slice(50, 60), slice(50, 60)
    assert source_window(source, target, rows, cols) == (slice(0, 0), slice(0, 0))
    got = brought(
        np.zeros((2, source.height, source.width), np.float32), source, target, rows, cols
    )
    assert got.shape == (2, 10, 10)
    assert np.isnan(got).all()


def test_windows_hold_all_that_their_part_needs():
    fine = utm_grid(900, 900)
    source = modis_around(fine)
    target = nesting_of(fine, source).coarse
    image = np.random.default_rng(0).random((source.height, source.width), np.float32)
    rows, cols = slice(11, 19), slice(33, 50)
    window = source_window(source, target, rows, cols)
    assert window[0].stop - window[0].start < 16
    everything = resample(image, all_of(source), source, target, rows, cols)
    np.testing.assert_array_equal(brought(image, source, target, rows, cols), everything)


def test_nothing_is_invented_across_the_seam_of_longitudes():
    fine = Grid(1e6, 1e5, -3000.0, 3000.0, 100, 100, pyproj.CRS.from_epsg(32601))  # from 177 W
    fine = Grid(1e6, -2e5, -3000.0, 3000.0, 100, 200, fine.crs)  # across 180
    source = Grid(90.0, -180.0, -0.25, 0.25, 720, 1440, LONLAT)
    target = nesting_of(fine, source).coarse
    lon = np.broadcast_to(source.x.astype(np.float32), (720, 1440))
    got = brought(lon, source, target)
    y, x = np.meshgrid(target.y, target.x, indexing="ij")
    true = pyproj.Transformer.from_crs(fine.crs, LONLAT, always_xy=True).transform(x, y)[0]
    known = np.isfinite(got)
    assert known.any()
    assert np.abs(got - true)[known].max() < 0.3


def test_points_that_a_crs_does_not_know_are_missing_without_a_warning():
    # A global sinusoidal grid has its corners off the Earth, and a pole too bent for any lattice.
    fine = Grid(1.0e7, -2.0e7, -1e5, 1e5, 60, 400, SINUSOIDAL)
    source = Grid(90.0, -180.0, -5.0, 5.0, 36, 72, LONLAT)
    got = brought(np.ones((36, 72), np.float32), source, nesting_of(fine, source).coarse)
    assert np.isnan(got[0, 0])
    assert np.isfinite(got[:, got.shape[1] // 2]).all()


def test_inputs_are_left_as_they_were():
    fine = utm_grid(300, 300)
    for source in (modis_around(fine), utm_grid(20, 20, 463.3)):
        image = np.random.default_rng(0).random((source.height, source.width), np.float32)
        image[3] = np.nan
        image.flags.writeable = False
        brought(image, source, nesting_of(fine, source).coarse)


def test_threads_agree():
    fine = utm_grid(900, 900)
    source = modis_around(fine)
    target = nesting_of(fine, source).coarse
    image = np.random.default_rng(0).random((source.height, source.width), np.float32)
    expected = brought(image, source, target)
    _resample._lattice.cache_clear()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(brought(image, source, target)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for one in found:
        np.testing.assert_array_equal(one, expected)


# --- one grid for all -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Grid(5e6, 5e5, -30.0, 30.0, 120, 90, pyproj.CRS.from_epsg(32633)),
            "32633, not EPSG:32632",
        ),
        (utm_grid(left=5e5 + 15), r"mask must share the grid of cube: offset 0\.50 px in x$"),
        (utm_grid(step=20.0), "pixels of 20 against 30 in y; pixels of 20 against 30 in x"),
        (utm_grid(height=119), "119 against 120 px in y"),
        (Grid(5e6 - 3600, 5e5, 30.0, 30.0, 120, 90, UTM), "y in the other order"),
        (Grid(5e6, 5e5, -30.0, 30.0, 120, 90, None), "mask has no CRS, cube has EPSG:32632"),
    ],
)
def test_another_grid_is_refused_with_what_differs(other, message):
    with pytest.raises(ValueError, match=message):
        require_same_grid(utm_grid(), other, what_a="cube", what_b="mask")


def test_the_same_grid_to_rounding_passes():
    require_same_grid(utm_grid(), utm_grid(top=5e6 + 1e-3), what_a="cube", what_b="mask")


# --- true resolution --------------------------------------------------------------------------


def landscape(size, slope, seed):
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size)] * 2))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((size, size))) * frequency ** (-slope / 2)
    image = np.fft.ifft2(spectrum).real
    return 0.3 + 0.05 * image / image.std()


def enlarged(image, ratio, order, size):
    """Image seen through smaller pixels, by convolution with nearest, linear or cubic weights."""
    at = (np.arange(size) + 0.5) / ratio + 1.8
    first = np.floor(at).astype(int)
    total = np.zeros((size, image.shape[1]))
    for axis in range(2):
        kept = 0.0
        for shift in range(-1, 3):
            off = np.abs(at - first - shift)
            if order == 0:
                weight = ((at - first - shift >= -0.5) & (at - first - shift < 0.5)).astype(float)
            elif order == 1:
                weight = np.clip(1 - off, 0, None)
            else:
                weight = np.where(off < 1, 1.5 * off**3 - 2.5 * off**2 + 1, 0)
                far = -0.5 * off**3 + 2.5 * off**2 - 4 * off + 2
                weight = weight + np.where((off >= 1) & (off < 2), far, 0)
            taken = np.take(image if axis == 0 else total, first + shift, axis=axis)
            kept = kept + (weight[:, None] if axis == 0 else weight) * taken
        total = kept
    return np.round(total * 1e4).astype(np.int16) * np.float32(1e-4)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("ratio", [4, 5, 6, 9.27, 12, 15.44, 20])
def test_the_true_pixel_of_an_enlarged_image_is_found(order, ratio):
    for slope in (2, 3):
        image = enlarged(landscape(120, slope, 1), ratio, order, 300)
        assert 1 / 1.4 < estimate_resolution(image, 30.0) / 30 / ratio < 1.4
        image[40:90, 20:100] = np.nan
        assert 1 / 1.5 < estimate_resolution(image, 30.0) / 30 / ratio < 1.5


@pytest.mark.parametrize("slope", [0, 1, 2, 3, 4])
def test_an_image_of_its_own_resolution_keeps_it(slope):
    for seed in range(3):
        assert estimate_resolution(landscape(200, slope, seed), 30.0) == 30.0


def test_an_image_that_tells_nothing_keeps_its_pixel():
    assert estimate_resolution(np.full((90, 90), np.nan), 20.0) == 20.0
    assert estimate_resolution(np.full((90, 90), 0.2), 20.0) == 20.0
    assert estimate_resolution(np.random.default_rng(0).random((9, 9)), 20.0) == 20.0


@pytest.mark.parametrize(("name", "pixel", "true"), [("boreas", 30, 480), ("cia50m", 50, 500)])
def test_the_true_pixel_of_real_resampled_modis_is_found(name, pixel, true, real_data):
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(real_data / "fusion" / f"{name}_coarse.nc") as file:
        coarse = file["reflectance"][:].filled(np.nan)
    with netcdf.Dataset(real_data / "fusion" / f"{name}_fine.nc") as file:
        fine = file["reflectance"][:].filled(np.nan)
    assert 1 / 1.5 < estimate_resolution(coarse, pixel) / true < 1.5
    for image in coarse.reshape(-1, *coarse.shape[-2:]):
        assert 1 / 1.5 < estimate_resolution(image, pixel) / true < 1.5
    for image in fine.reshape(-1, *fine.shape[-2:]):
        assert estimate_resolution(image, pixel) == pixel
