"""Results work with hvplot as they are; it is the user's choice and no dependency."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf

pytest.importorskip(
    "hvplot.xarray", reason="needs hvplot, which brings bokeh and panel: too heavy to ask for"
)


@pytest.fixture(scope="module")
def result():
    fine, coarse = xstf.testing.scene()
    return fine.stf.fuse(coarse, method="fsdaf", return_quality=True)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_slider_over_dates(result, lazy):
    name = next(n for n in result if not str(n).endswith(("_std", "_flag", "_n_obs")))
    cube = result[name].chunk(time=1) if lazy else result[name]
    shown = cube.hvplot.image(x="x", y="y", groupby=["time", "band"])
    assert [dim.name for dim in shown.kdims] == ["time", "band"]
    key = (cube.time.values[1], cube.band.values[0])
    image = shown[key]
    drawn = xr.DataArray(image.dimension_values(2, flat=False), dims=("y", "x"))
    want = cube.isel(time=1, band=0).sortby("y")
    np.testing.assert_allclose(drawn, want.transpose("y", "x"), rtol=1e-6)


def test_a_pixel_through_time_from_a_dataset(result):
    pixel = result.isel(y=3, x=4, band=0)
    names = [n for n in pixel if str(n).endswith("_std")]
    line = pixel[names[0]].hvplot.line(x="time")
    np.testing.assert_allclose(line.dimension_values(1), pixel[names[0]], rtol=1e-6)
