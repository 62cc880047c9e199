"""Pictures: they are drawn, of what was asked."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf

pytest.importorskip("matplotlib", reason="needs matplotlib")


@pytest.fixture(scope="module")
def made():
    return xstf.scenes.landsat_modis(size=60)


def drawn(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_quicklook_shows_a_picture_a_date(made):
    figure = xstf.plot.quicklook(made.fine)
    assert drawn(figure).std() > 1
    assert titles(figure) == [str(t)[:10] for t in made.fine.time.values]


def test_quicklook_shows_at_most_so_many_evenly(made):
    shown = titles(xstf.plot.quicklook(made.coarse, most=3))
    assert shown[0] == str(made.coarse.time.values[0])[:10]
    assert shown[-1] == str(made.coarse.time.values[-1])[:10]
    assert len(shown) == 3


def test_missing_pixels_are_grey(made):
    cloudy = made.fine.isel(time=[0]).where(made.fine.x > made.fine.x[30])
    (axis,) = [a for a in xstf.plot.quicklook(cloudy).axes if a.images]
    picture = axis.images[0].get_array()
    assert (picture[:, 0] == 0.85).all()
    assert picture[:, 40:].std() > 0.01


def test_compare_prints_the_mean_errors(made):
    truth = made.truth.isel(time=1)
    figure = xstf.plot.compare(truth, {"off by 0.01": truth + 0.01}, before=made.fine.isel(time=0))
    assert drawn(figure).std() > 1
    assert "error, mean 0.0100" in titles(figure)
    assert "fine image before" in titles(figure)


def test_bands_that_are_not_there(made):
    with pytest.raises(ValueError, match=r"one or three of .*'red'"):
        xstf.plot.quicklook(made.fine, bands=["red", "purple", "blue"])


def test_one_band_is_drawn_in_a_colour_map(made):
    figure = xstf.plot.quicklook(made.fine, bands=["nir"])
    assert figure.axes[0].images[0].get_array().ndim == 2


@pytest.fixture(scope="module")
def cloudy():
    return xstf.scenes.sentinel_1_2(size=30)


@pytest.fixture(scope="module")
def filled(cloudy):
    return cloudy.truth + 0.01


def test_gaps_shows_a_bar_a_date_and_pictures_of_marked_ones(cloudy):
    figure = xstf.plot.gaps(cloudy.cube, most=3)
    assert drawn(figure).std() > 1
    bars, *pictures, by_pixel, _ = figure.axes
    clear = cloudy.cube.notnull().all("band")
    heights = [bar.get_height() for bar in bars.patches]
    np.testing.assert_allclose(heights, 100 * clear.mean(("y", "x")), atol=1e-4)
    marked = {bar.get_facecolor() for bar in bars.patches}
    assert len(marked) == 2
    assert len(pictures) == 3
    assert pictures[0].get_title().endswith("% clear")
    np.testing.assert_array_equal(by_pixel.images[0].get_array(), clear.sum("time"))
    assert bars.get_title(loc="left") == "50 dates, 50% missing"


def test_gaps_pictures_only_dates_of_which_something_is_seen(cloudy):
    pictures = [t for t in titles(xstf.plot.gaps(cloudy.cube, most=50)) if "clear" in t][:-1]
    seen = cloudy.cube.notnull().any(("band", "y", "x"))
    assert [t[:10] for t in pictures] == [str(d)[:10] for d in cloudy.cube.time.values[seen]]


@pytest.mark.filterwarnings("ignore:every value of")
def test_gaps_of_a_cube_that_is_all_missing(cloudy):
    assert drawn(xstf.plot.gaps(cloudy.cube.where(False).isel(time=[0, 1]))).std() > 1


def test_gaps_needs_dates(cloudy):
    with pytest.raises(ValueError, match="cube has no dates"):
        xstf.plot.gaps(cloudy.cube.isel(time=0, drop=True))


def test_gaps_of_a_dask_cube_reads_it_once_for_the_bars_and_once_a_picture(cloudy):
    pytest.importorskip("dask")
    with xstf.testing.raise_if_dask_computes(most=3):
        xstf.plot.gaps(cloudy.cube.chunk(y=15), most=2)


def test_series_draws_what_was_observed_filled_and_true(cloudy, filled):
    std = xr.full_like(filled, 0.02)
    at = {"y": float(cloudy.cube.y[4]), "x": float(cloudy.cube.x[7]) + 2}
    figure = xstf.plot.series(cloudy.cube, filled, std=std, truth=cloudy.truth, at=at)
    assert drawn(figure).std() > 1
    assert [axis.get_ylabel() for axis in figure.axes] == list(cloudy.cube.band.values)
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[2].lines}
    pixel = {"band": 2, "y": 4, "x": 7}
    np.testing.assert_array_equal(lines["observed"], cloudy.cube.isel(pixel))
    np.testing.assert_array_equal(lines["filled"], filled.isel(pixel))
    np.testing.assert_array_equal(lines["truth"], cloudy.truth.isel(pixel))
    (band,) = figure.axes[2].collections
    height = np.ptp(band.get_paths()[0].vertices[:, 1])
    assert height >= 2 * 1.6449 * 0.02 + np.ptp(filled.isel(pixel).values) - 1e-6
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["truth", "filled", "90 % interval", "observed"]


def test_series_draws_the_bands_that_were_asked_of_the_middle_pixel(cloudy, filled):
    figure = xstf.plot.series(cloudy.cube, filled, bands=["nir"])
    (axis,) = figure.axes
    np.testing.assert_array_equal(
        axis.lines[0].get_ydata(), filled.isel(y=15, x=15).sel(band="nir")
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"bands": ["purple"]}, r"no bands \['purple'\]"),
        ({"at": {"y": 0.0, "x": 0.0}}, "y=0.0 is not in cube"),
        ({"at": {"lat": 0.0}}, "at must give 'y' and 'x'"),
    ],
)
def test_series_says_what_is_not_there(cloudy, filled, options, match):
    with pytest.raises(ValueError, match=match):
        xstf.plot.series(cloudy.cube, filled, **options)


def test_before_after_chooses_a_half_clear_date_and_prints_the_error(cloudy, filled):
    figure = xstf.plot.before_after(cloudy.cube, filled, cloudy.truth)
    assert drawn(figure).std() > 1
    before, after, truth = titles(figure)
    share = float(before.split(", ")[1].removesuffix("% clear"))
    assert 30 < share < 70
    assert after == "filled, RMSE 0.0100 in the gaps"
    assert truth == "truth"


def test_before_after_shows_a_row_a_date(cloudy, filled):
    days = cloudy.cube.time[[3, 20]]
    shown = titles(xstf.plot.before_after(cloudy.cube, filled, time=days))
    assert [t[:10] for t in shown[::2]] == [str(d)[:10] for d in days.values]
    assert shown[1::2] == ["filled", "filled"]
    one = titles(xstf.plot.before_after(cloudy.cube, filled, time=str(days.values[0])[:10]))
    assert one[0] == shown[0]


def test_before_after_of_a_day_without_a_date(cloudy, filled):
    with pytest.raises(ValueError, match="no date on 2020-01-01; the nearest is 2021-03-05"):
        xstf.plot.before_after(cloudy.cube, filled, time="2020-01-01")
