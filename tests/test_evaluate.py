"""Hold-out scores: hidden dates, baselines, Datasets."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr

import xstf


def test_bands_together_have_an_angle_and_ergas(scene):
    fine, coarse = scene
    scores = xstf.evaluate_fusion(fine, coarse, methods=["starfm"], time=fine.time[1])
    assert scores.ergas.dims == scores.sam.dims == ("method", "time")
    estimate = xstf.fuse(fine[[0, 2]], coarse, method="starfm", time=fine.time[1])
    want = xstf.metrics.ergas(estimate, fine[[1]], ratio=8)
    np.testing.assert_allclose(scores.ergas[-1], want, rtol=1e-6)
    alone = xstf.evaluate_fusion(fine[:, :1], coarse[:, :1], methods=["starfm"], time=fine.time[1])
    assert "ergas" not in alone


def test_hidden_dates_are_those_with_others_on_both_sides(scene):
    fine, coarse = scene
    scores = fine.stf.evaluate(coarse, methods=["starfm"])
    assert list(scores.method.values) == ["unchanged", "delta", "starfm"]
    np.testing.assert_array_equal(scores.time, fine.time[1:2])
    assert set(scores.rmse.dims) == {"method", "time", "band"}
    assert (scores.seconds > 0).all()


def test_scores_are_those_of_the_prediction_without_the_date(scene):
    fine, coarse = scene
    scores = xstf.evaluate_fusion(fine, coarse, methods=["fitfc"], baselines=False)
    hidden = fine.time[1]
    estimate = xstf.fuse(fine.isel(time=[0, 2]), coarse, method="fitfc", time=hidden)
    want = xstf.metrics.rmse(estimate, fine.isel(time=[1]), per="band")
    np.testing.assert_allclose(scores.rmse.squeeze(), want, rtol=1e-6)


def test_a_dataset_of_bands_gives_the_same(scene):
    fine, coarse = scene
    want = fine.stf.evaluate(coarse, methods=["fitfc"])
    have = fine.to_dataset("band").stf.evaluate(coarse.to_dataset("band"), methods=["fitfc"])
    xr.testing.assert_allclose(have.rmse.transpose(*want.rmse.dims), want.rmse)


def test_a_method_that_needs_more_pairs_is_left_out_unless_named(scene):
    fine, coarse = scene
    scores = xstf.evaluate_fusion(fine[:2], coarse)
    assert "estarfm" not in scores.method.values
    with pytest.raises(ValueError, match="estarfm needs 2 pairs"):
        xstf.evaluate_fusion(fine[:2], coarse, methods=["estarfm"])


def test_a_single_fine_date_cannot_be_hidden(scene):
    with pytest.raises(ValueError, match="leaves out the fine images of a day and needs another"):
        xstf.evaluate_fusion(scene[0][:1], scene[1])


def test_a_known_truth_is_compared_with_at_the_coarse_dates():
    made = xstf.scenes.nested()
    scores = made.fine.stf.evaluate(made.coarse, truth=made.truth, methods=["fsdaf"])
    assert set(scores.time.values) == set(made.coarse.time.values) - set(made.fine.time.values)
    fsdaf, unchanged = (scores.rmse.sel({"method": m}) for m in ("fsdaf", "unchanged"))
    assert float(fsdaf.mean()) < float(unchanged.mean())


def test_plots_of_scores_work_as_xarray_plots(scene):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    scores = scene[0].stf.evaluate(scene[1], methods=["starfm"])
    assert isinstance(scores, xr.Dataset)
    lines = scores.rmse.mean("time").plot.line(x="band", hue="method")
    assert len(lines) == 3


class TestSeries:
    """One stage against two."""

    SCENE = xstf.scenes.hyperspectral_series(size=60, bands=40)

    def evaluate(self, *ways, **call):
        s = self.SCENE
        return xstf.evaluate_sts(s.spectral, s.dense, s.sharp, truth=s.truth, ways=ways, **call)

    def test_scores_by_way_and_date(self):
        scores = self.evaluate("sts_linear", ("fitfc", ("gsa", {})), time=self.SCENE.truth.time[:3])
        assert list(scores.method.values) == [
            "unchanged + interpolated", "sts_linear", "fitfc + gsa",
        ]  # fmt: skip
        assert scores.paired.values.tolist() == [True, False, True]
        assert scores.psnr.sizes == {"method": 3, "time": 3, "band": 40}
        scores = scores.isel(method=[1, 2])
        unpaired = scores.isel(time=1)
        assert unpaired.sam[0] < unpaired.sam[1]
        assert (unpaired.psnr[0] > unpaired.psnr[1]).mean() > 0.9
        assert (scores.seconds > 0).all()

    @pytest.mark.parametrize(
        ("way", "words"),
        [
            ("fsdaf", "no sts method"),
            (("fsdaf", "sharp", "cnmf"), "a way is"),
            (("fsdaf", 3), "a stage is"),
            (("fsdaf", "starfm"), "no sharpen_spectral method"),
        ],
    )
    def test_ways_that_are_none(self, way, words):
        with pytest.raises((ValueError, TypeError), match=words):
            self.evaluate(way)


def test_methods_with_parameters_are_told_apart(scene):
    fine, coarse = scene
    methods = [("starfm", {"window": 9}), ("starfm", {"window": 15}), "fitfc"]
    scores = xstf.evaluate_fusion(fine, coarse, methods=methods, time=fine.time[1], baselines=False)
    assert list(scores.method.values) == ["starfm(window=9)", "starfm(window=15)", "fitfc"]
    with pytest.raises(TypeError, match="names, records or"):
        xstf.evaluate_fusion(fine, coarse, methods=[("starfm", 3)])


def test_networks_are_left_out_unless_named(scene):
    fine, coarse = scene
    assert "ctstfm" not in xstf.evaluate_fusion(fine, coarse, time=fine.time[1]).method


def test_a_truth_in_another_crs_is_refused(scene):
    fine, coarse = scene
    other = fine.assign_coords(spatial_ref=((), 0, pyproj.CRS.from_epsg(32634).to_cf()))
    with pytest.raises(ValueError, match="EPSG:32634"):
        fine.isel(time=[0, 2]).stf.evaluate(coarse, methods=["starfm"], truth=other)


def test_a_truth_is_taken_by_its_day_and_may_lack_dates_that_were_not_asked_for(scene):
    fine, coarse = scene
    given = fine.isel(time=[0, 2])
    right = given.stf.evaluate(coarse, methods=["starfm"], truth=fine, baselines=False)
    later = fine.assign_coords(time=fine.time + np.timedelta64(3, "h"))
    later = later.isel(time=[1])
    other = given.stf.evaluate(coarse, methods=["starfm"], truth=later, baselines=False)
    day = fine.time.values[1]
    np.testing.assert_allclose(other.rmse.sel(time=[day]), right.rmse.sel(time=[day]), rtol=1e-6)
    with pytest.raises(ValueError, match="truth has no image of"):
        given.stf.evaluate(coarse, methods=["starfm"], truth=fine.isel(time=[0]), time=day)


def test_a_regime_that_hides_the_whole_cube_is_named():
    cube = xstf.testing.holes()[0]
    call = {"methods": ["linear"], "days": 1000}
    with pytest.warns(UserWarning, match=r"'full'.*days=1000 hides every image"):
        scores = cube.stf.evaluate_gapfill(regimes=["partial", "full"], **call)
    assert list(scores.regime.values) == ["partial"]
    with pytest.raises(ValueError, match="give fewer days="):
        cube.stf.evaluate_gapfill(regimes=["full"], **call)


def test_the_interval_score_is_the_width_and_what_lies_beyond():
    cube = xstf.testing.holes()[0]
    scores = cube.stf.evaluate_gapfill(methods=["linear", "nearest"], regimes=["partial"])
    holed, held = xstf.simulate.transplant_mask(cube, regime="partial", days=25, seed=0)
    filled = holed.stf.gapfill(method="linear", return_quality=True)
    name = cube.name or "filled"
    half = 1.6449 * filled[f"{name}_std"]
    off = abs(filled[name] - cube)
    want = (2 * half + 20 * (off - half).where(off > half, 0)).where(held & cube.notnull())
    linear, nearest = (scores.interval_score.sel({"method": m}) for m in ("linear", "nearest"))
    by_date = want.mean(("y", "x")).transpose("time", "band").sel(time=scores.time)
    np.testing.assert_allclose(linear.squeeze("regime"), by_date, rtol=1e-5)
    assert np.isnan(nearest).all()
    pooled = xstf.rank(scores, "interval_score")["interval_score"]
    np.testing.assert_allclose(pooled["linear"], want.mean(("time", "y", "x")).mean(), rtol=1e-5)
    assert np.isnan(pooled["nearest"])
