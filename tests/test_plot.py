"""Pictures: they are drawn, of what was asked."""

from __future__ import annotations

import numpy as np
import pytest

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
