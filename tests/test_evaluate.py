"""Hold-out scores: hidden dates, baselines, Datasets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pyproj
import pytest
import xarray as xr

import xstf
from xstf.methods import lookup


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


def test_a_method_that_needs_more_pairs_is_left_out_unless_named(scene, monkeypatch):
    monkeypatch.setattr(lookup, "classical_names", lambda task: ["estarfm", "starfm"])
    fine, coarse = scene
    scores = xstf.evaluate_fusion(fine[:2], coarse)
    assert scores.method.values.tolist() == ["unchanged", "delta", "starfm"]
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


@pytest.mark.parametrize("task", ["fuse", "gapfill", "sharpen_spectral"])
def test_networks_are_left_out_unless_named(task):
    from xstf.evaluate.running import methods_to_try

    tried = [trial.record for trial in methods_to_try(task, None)]
    assert "auto" in [record.name for record in tried]
    assert all(record.net is None for record in tried)
    networks = [name for name in lookup.method_names(task) if lookup.get_method(task, name).net]
    assert [t.label for t in methods_to_try(task, networks)] == networks


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


# --- nothing leaks ------------------------------------------------------------------------------


def poisoned(cube, where):
    """The cube with other values where something is hidden."""
    return cube.where(~where, 0.9 - cube)


def test_what_is_hidden_changes_no_estimate(scene):
    """Neither by itself nor through what methods settle of the whole scene (fsdaf)."""
    fine, coarse = scene
    date = fine.time.values[[1]]
    wrong = poisoned(fine, fine.time == date[0])
    call = {"methods": ["fsdaf"], "baselines": False}
    for truth in (fine, wrong):
        found = truth.stf.evaluate(coarse, **call)
        made = fine.isel(time=[0, 2]).stf.fuse(coarse, method="fsdaf", time=date)
        want = xstf.metrics.rmse(made, truth.sel(time=date), per="band")
        np.testing.assert_allclose(found.rmse.squeeze(), want, rtol=1e-6)


def test_a_second_image_of_the_hidden_day_is_hidden_too(scene):
    """Half an orbit later: no look of the same acquisition, and yet it shows the same."""
    fine, coarse = scene
    other = fine.isel(time=[1]).assign_coords(time=fine.time[[1]] + np.timedelta64(6, "h"))
    twice = xr.concat([fine, other], "time").sortby("time")
    call = {"methods": ["starfm"], "time": fine.time[1], "baselines": False}
    want = fine.stf.evaluate(coarse, **call)
    np.testing.assert_allclose(twice.stf.evaluate(coarse, **call).rmse, want.rmse, rtol=1e-6)


def test_a_neighbour_granule_of_the_hidden_pass_is_hidden_too(scene):
    """Two granules minutes apart are one image: neither serves to predict the other."""
    fine, coarse = scene
    left = fine.isel(time=[1]).where(fine.x < 720)
    right = fine.isel(time=[1]).where(fine.x >= 600)
    right = right.assign_coords(time=right.time + np.timedelta64(90, "s"))
    granules = xr.concat([fine.isel(time=[0, 2]), left, right], "time").sortby("time")
    call = {"methods": ["starfm"], "baselines": False}
    want = fine.stf.evaluate(coarse, **call)
    np.testing.assert_allclose(granules.stf.evaluate(coarse, **call).rmse, want.rmse, rtol=1e-6)


@pytest.mark.parametrize("regime", ["partial", "full"])
def test_hidden_pixels_change_no_filling(regime):
    """`eof` settles patterns of the whole scene, which must not have seen them."""
    cube = xstf.testing.holes()[0].isel(y=slice(14), x=slice(14))
    holed, held = xstf.simulate.transplant_mask(cube, regime=regime, days=25, seed=0)
    wrong = poisoned(cube, held & holed.isnull())
    call = {"methods": ["eof"], "regimes": [regime], "baselines": False}
    made = holed.stf.gapfill(method="eof")
    for truth in (cube, wrong):
        scores = truth.stf.evaluate_gapfill(**call)
        want = xstf.metrics.rmse(made, truth.where(held), per=["time", "band"])
        want = want.sel(time=scores.time).values.squeeze()
        np.testing.assert_allclose(scores.rmse.squeeze(), want, rtol=1e-5)


# --- what is scored -----------------------------------------------------------------------------


def test_every_score_is_the_metric_of_its_name(scene):
    fine, coarse = scene
    scores = fine.stf.evaluate(coarse, methods=["starfm"], baselines=False).squeeze()
    made = fine.isel(time=[0, 2]).stf.fuse(coarse, method="starfm", time=fine.time[1])
    truth = fine.isel(time=[1])
    for name in ("rmse", "mae", "bias", "cc", "psnr", "ssim", "uiqi", "edge"):
        want = getattr(xstf.metrics, name)(made, truth, per="band")
        np.testing.assert_allclose(scores[name], want, rtol=1e-6, err_msg=name)
        assert scores[name].attrs["long_name"] == want.attrs["long_name"]
        assert scores[name].attrs.get("units") == want.attrs.get("units")
    for name in ("sam", "q2n"):
        np.testing.assert_allclose(scores[name], getattr(xstf.metrics, name)(made, truth))
    assert float(scores.left) == 0


def test_parameters_come_in_a_list_or_by_name_and_are_told_in_full(scene):
    fine, coarse = scene
    by_name = fine.stf.evaluate(coarse, methods={"starfm": {"window": 9}, "fitfc": {}})
    listed = fine.stf.evaluate(coarse, methods=[("starfm", {"window": 9}), "fitfc"])
    xr.testing.assert_allclose(by_name.rmse, listed.rmse)
    assert "starfm(window=9, " in str(by_name.parameters.sel({"method": "starfm"}).values)


def test_a_large_scene_is_scored_in_its_middle_on_whole_coarse_pixels(scene):
    fine, coarse = scene
    call = {"methods": ["starfm"], "baselines": False}
    part = fine.isel(y=slice(16, 32), x=slice(16, 32))
    want = part.stf.evaluate(coarse, **call)
    for cube in (fine, fine.chunk(y=20)):
        scores = cube.stf.evaluate(coarse, max_pixels=300, **call)
        assert "the middle 16 × 16 pixels" in scores.stf_protocol
        np.testing.assert_allclose(scores.rmse, want.rmse, rtol=1e-5)
    with pytest.raises(ValueError, match="max_pixels must be"):
        fine.stf.evaluate(coarse, max_pixels=0, **call)


def test_lazy_cubes_have_the_same_scores(scene):
    fine, coarse = scene
    want = fine.stf.evaluate(coarse, methods=["starfm"])
    lazy = fine.chunk(y=16, x=24).stf.evaluate(
        coarse.chunk(time=1), methods=["starfm"], max_pixels=None
    )
    for name in ("rmse", "rmse_low", "sam", "coverage", "block_squares"):
        np.testing.assert_allclose(lazy[name], want[name], rtol=1e-4, err_msg=name)


def test_fewer_dates_are_left_out_where_that_is_asked(scene):
    made = xstf.scenes.nested()
    call = {"methods": ["starfm"], "truth": made.truth, "baselines": False}
    whole = made.fine.stf.evaluate(made.coarse, **call)
    one = made.fine.stf.evaluate(made.coarse, max_dates=1, **call)
    assert (whole.sizes["time"], one.sizes["time"]) == (2, 1)
    np.testing.assert_allclose(one.rmse, whole.rmse.sel(time=one.time))


# --- classes ------------------------------------------------------------------------------------


def test_scores_by_class_are_those_of_its_pixels(scene):
    fine, coarse = scene
    kind = (fine.y > 700).astype(int) * 3
    classes = kind.broadcast_like(fine.isel(time=0, band=0, drop=True)).where(fine.x > 300)
    classes.attrs = {"flag_values": np.array([0, 3]), "flag_meanings": "water forest"}
    scores = fine.stf.evaluate(coarse, methods=["starfm"], classes=classes, baselines=False)
    assert list(scores["class"].values) == ["water", "forest", "no class"]
    made = fine.isel(time=[0, 2]).stf.fuse(coarse, method="starfm", time=fine.time[1])
    for name, value in (("water", 0), ("forest", 3)):
        at = {"class": name}
        for metric in ("rmse", "mae", "bias"):
            want = getattr(xstf.metrics, metric)(
                made, fine.isel(time=[1]).where(classes == value), per="band"
            )
            found = scores[f"{metric}_by_class"].sel(at).squeeze()
            np.testing.assert_allclose(found, want, rtol=1e-5)
    pixels = scores.pixels_by_class.isel(band=0).squeeze()
    assert int(pixels.sum()) == 48 * 48
    ranked = scores.stf.rank(by="class")
    water = scores.rmse_by_class.sel({"class": "water"}).mean()
    np.testing.assert_allclose(ranked.loc[("water", "starfm"), "rmse"], float(water))


def test_a_coarser_class_map_serves_by_its_nearest_pixels(scene):
    fine, coarse = scene
    small = fine.isel(time=0, band=0, drop=True).coarsen(y=8, x=8).mean() > 0.05
    large = small.reindex(y=fine.y, x=fine.x, method="nearest")
    call = {"methods": [xstf.evaluate.BASELINES[0]], "baselines": False}
    both = [fine.stf.evaluate(coarse, classes=c.astype(int), **call) for c in (small, large)]
    xr.testing.assert_equal(both[0].rmse_by_class, both[1].rmse_by_class)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.isel(y=slice(4)), "classes covers"),
        (lambda c: c.expand_dims(time=2), "it needs y and x alone"),
        (lambda c: c.drop_vars("y"), "needs coordinates along 'y'"),
        (lambda c: c * np.nan, "missing everywhere"),
        (lambda c: c.values, "give a DataArray"),
        (lambda c: c.assign_coords(spatial_ref=((), 0, pyproj.CRS(32634).to_cf())), "reproject"),
    ],
)
def test_class_maps_that_cannot_serve_are_refused(scene, change, words):
    fine, coarse = scene
    if words == "reproject":
        crs = ((), 0, pyproj.CRS(32633).to_cf())
        fine, coarse = (c.assign_coords(spatial_ref=crs) for c in scene)
    classes = fine.isel(time=0, band=0, drop=True).coarsen(y=8, x=8).mean()
    with pytest.raises((ValueError, TypeError), match=words):
        fine.stf.evaluate(coarse, methods=["starfm"], classes=change(classes))


# --- how sure -----------------------------------------------------------------------------------


def errors(rng, shape, wide):
    """Normal errors of variance 1, alike over some pixels."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal(shape), (0, wide, wide), mode="wrap")
    return field / np.std(field)


def test_the_correlation_length_is_that_of_the_field():
    """White noise under a Gaussian of s pixels correlates as exp(-d² / 4 s²): 0.1 at 3.03 s."""
    from xstf.evaluate.blocks import correlation_of, length_of

    field = errors(np.random.default_rng(0), (4, 200, 200), 3)
    assert length_of(correlation_of(field)) == pytest.approx(9.1, rel=0.15)
    holed = np.where(np.random.default_rng(1).random(field.shape) < 0.5, np.nan, field + 7)
    assert length_of(correlation_of(holed)) == pytest.approx(9.1, rel=0.15)
    noisy = field + 1.5 * np.random.default_rng(3).standard_normal(field.shape)
    assert length_of(correlation_of(noisy)) > 5  # a third of the variance is alike that far
    assert length_of(correlation_of(np.random.default_rng(2).random((1, 90, 90)))) < 1
    assert length_of(correlation_of(np.zeros((1, 20, 20)))) == 0


def scored(errors_by_method, truth=None):
    """The scores of methods with such errors, by the common way."""
    from xstf.evaluate.result import assemble_scores
    from xstf.evaluate.scoring import Frame, score_image

    shape = next(iter(errors_by_method.values())).shape
    frame = Frame(list(range(shape[1])), np.arange(shape[2]), np.arange(shape[3]))
    truth = np.random.default_rng(9).random(shape[1:]) if truth is None else truth
    rows = [
        score_image(frame, name, (date,), estimate=truth + one, truth=truth)
        for name, dates in errors_by_method.items()
        for date, one in enumerate(dates)
    ]
    return assemble_scores(
        frame, rows, verb="fuse", protocol="drawn", dims=("time",),
        methods={name: f"{name}()" for name in errors_by_method},
    )  # fmt: skip


def test_differences_that_are_noise_are_told_from_those_that_are_not():
    """Of equal methods few differ clearly; one whose errors are a third larger does."""
    rng = np.random.default_rng(3)
    alike, worse = 0, 0
    for _ in range(12):
        shared, one, other, third = errors(rng, (4, 60, 60), 1.5)
        found = {"a": shared + one, "b": shared + other, "c": 1.33 * (shared + third)}
        scores = scored({name: e[None, None] / 20 for name, e in found.items()})
        table = scores.stf.rank()
        alike += bool(table["significant"].loc[["a", "b"]].any())
        worse += bool(table["significant"].loc["c"])
    assert alike <= 2
    assert worse >= 11


def test_what_holds_on_one_date_of_two_is_not_sure():
    rng = np.random.default_rng(4)
    noise = errors(rng, (4, 60, 60), 1) / 20
    steady = {"a": noise[:2, None], "b": 1.5 * noise[2:, None]}
    mixed = {"a": noise[:2, None] * [[[[1]]], [[[2]]]], "b": noise[2:, None] * [[[[2]]], [[[1]]]]}
    assert scored(steady).stf.rank().loc["b", "significant"]
    table = scored(mixed).stf.rank()
    assert not table["significant"].any()
    by_date = scored(mixed).stf.rank(by="time")
    assert [by_date.loc[t].index[0] for t in (0, 1)] == ["a", "b"]
    assert by_date.loc[0].loc["b", "significant"]


def test_intervals_hold_the_score_and_draws_are_seeded():
    rng = np.random.default_rng(5)
    scores = scored(
        {"a": errors(rng, (1, 80, 80), 1)[None], "b": errors(rng, (1, 80, 80), 1)[None]}
    )
    assert (scores.rmse_low < scores.rmse).all()
    assert (scores.rmse_high > scores.rmse).all()
    assert float((scores.rmse_high - scores.rmse_low).max()) < 0.2
    again = scores.stf.rank()
    assert again.equals(scores.stf.rank())
    assert not again["high"].equals(scores.assign_attrs(stf_seed=1).stf.rank()["high"])
    total = scores.block_squares.sum("block") / scores.block_pixels.sum("block")
    np.testing.assert_allclose(np.sqrt(total), scores.rmse)


def test_errors_that_are_alike_over_the_image_have_no_sure_interval():
    slope = np.linspace(-1, 1, 40)[:, None] * np.ones(40)
    scores = scored({"a": slope[None, None], "b": slope[None, None] ** 2})
    assert "intervals are too narrow" in scores.stf_blocks
    one = scored({"a": np.ones((1, 1, 1, 2)), "b": np.zeros((1, 1, 1, 2))})
    assert one.stf.rank()["significant"].tolist() == [None, None]
    assert "too few blocks" in " ".join(xstf.evaluate.ranking.sentences(one, one.stf.rank()))


def test_a_ranking_by_other_metrics():
    rng = np.random.default_rng(6)
    scores = scored(
        {"a": errors(rng, (1, 40, 40), 1)[None], "b": 2 * errors(rng, (1, 40, 40), 1)[None]}
    )
    for metric in ("mae", "cc", "ssim", "edge"):
        table = scores.stf.rank(metric)
        assert table.index[0] == "a"
        assert (table["difference"].diff().dropna() >= 0).all()
    assert scores.stf.rank("cc")["significant"].isna().all()
    assert scores.stf.rank("mae").loc["b", "significant"]
    with pytest.raises(ValueError, match="no metric 'rsme'.*did you mean 'rmse'"):
        scores.stf.rank("rsme")
    with pytest.raises(ValueError, match="no dim to rank by 'day'"):
        scores.stf.rank(by="day")
    with pytest.raises(ValueError, match="rank takes the scores of an evaluation"):
        xstf.testing.scene()[0].stf.rank()


# --- scores of a result -------------------------------------------------------------------------


def normal(std):
    """A truth, and an estimate with normal errors of standard deviation 0.1 that says `std`."""
    truth = xstf.testing.scene()[0]
    rng = np.random.default_rng(7)
    made = (truth + 0.1 * rng.standard_normal(truth.shape)).rename("made")
    return truth, xr.Dataset({"made": made, "made_std": xr.full_like(made, std)})


def test_a_result_with_a_right_standard_deviation_is_calibrated():
    truth, made = normal(0.1)
    scores = made.stf.score(truth)
    assert scores.method.values.tolist() == ["result"]
    assert float(scores.coverage.mean()) == pytest.approx(0.9, abs=0.01)
    covered = scores.covered.mean(("time", "band")).squeeze()
    np.testing.assert_allclose(covered, scores.level, atol=0.01)
    narrow = normal(0.05)[1].stf.score(truth)
    assert float(narrow.coverage.mean()) < 0.65
    assert float(narrow.interval_score.mean()) > float(scores.interval_score.mean())
    alone = made["made"].stf.score(truth)
    assert "coverage" not in alone
    np.testing.assert_allclose(alone.rmse, scores.rmse)


def test_a_result_is_scored_on_the_dates_that_the_truth_has(scene):
    truth, made = normal(0.1)
    later = truth.isel(time=[2, 0]).assign_coords(
        time=truth.time.values[[2, 0]] + np.timedelta64(1, "h")
    )
    scores = made["made"].stf.score(later, ratio=8)
    np.testing.assert_array_equal(scores.time, made.time[[0, 2]])
    want = xstf.metrics.ergas(made["made"], truth, ratio=8, per="time")[[0, 2]]
    np.testing.assert_allclose(scores.ergas.squeeze(), want)
    one = made["made"].isel(time=1, drop=True)
    assert "time" not in one.stf.score(truth.isel(time=1, drop=True)).dims
    with pytest.raises(ValueError, match="no date is in both"):
        made["made"].stf.score(truth.assign_coords(time=truth.time + np.timedelta64(99, "D")))
    with pytest.raises(ValueError, match="select one of truth"):
        one.stf.score(truth)
    with pytest.raises(ValueError, match="select one of the result"):
        made["made"].stf.score(truth.isel(time=1, drop=True))
    with pytest.raises(ValueError, match="resample one"):
        made["made"].stf.score(truth.assign_coords(x=truth.x + 15))


def test_missing_estimates_are_counted():
    truth, made = normal(0.1)
    holed = made["made"].where(truth.x > 720)
    np.testing.assert_allclose(holed.stf.score(truth).left, 0.5)


# --- what it says -------------------------------------------------------------------------------


def test_scores_say_which_method_is_best_and_how_sure_that_is(scene):
    scores = scene[0].stf.evaluate(scene[1], methods=["starfm"])
    text, page = repr(scores.stf), scores.stf._repr_html_()
    lines = text.splitlines()
    assert lines[0] == "<xstf: scores of fuse>"
    assert lines[1].split()[0] == scores.stf.rank().index[0]
    assert lines[1].endswith(", best")
    assert "clearly worse" in text
    assert "blocks of" in text
    for said in (text, page):
        assert all(name in said for name in scores.method.values)
    assert "cannot be ranked" in repr(scores.isel(method=0).stf)


def test_scores_go_through_a_file(scene, tmp_path):
    scores = scene[0].stf.evaluate(scene[1], methods=["starfm"])
    scores.to_netcdf(tmp_path / "scores.nc")
    with xr.open_dataset(tmp_path / "scores.nc") as back:
        assert back.stf.rank().equals(scores.stf.rank())
        assert repr(back.stf) == repr(scores.stf)


# --- method="evaluate" --------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """Only some methods of fusion and filling are there to be tried."""
    names = {"fuse": ["fitfc", "starfm"], "gapfill": ["linear", "nearest"],
             "sharpen_spectral": ["mtf_glp_hs", "sfim"]}  # fmt: skip
    monkeypatch.setattr(lookup, "classical_names", lambda task: names[task])


def test_the_best_method_on_a_sample_runs_and_is_named(scene, few):
    fine, coarse = scene
    scores = fine.stf.evaluate(coarse, baselines=False, return_quality=False)
    best = scores.stf.rank().index[0]
    want = xstf.fuse(fine, coarse, method=best)
    for made in (
        xstf.fuse(fine, coarse, method="evaluate"),
        fine.stf.fuse(coarse, method="evaluate"),
    ):
        np.testing.assert_array_equal(made, want)
        assert made.stf_choice.startswith(f"{best}, by trial; {best} has the lowest rmse")
        assert made.stf_method.startswith(best)
    lazy = fine.chunk(y=24).stf.fuse(coarse, method="evaluate", return_quality=True)
    assert lazy["reflectance"].chunks is not None
    assert best in lazy["reflectance"].stf_choice


def test_filling_and_sharpening_find_their_method_by_trial(few):
    cube = xstf.testing.holes()[0]
    filled = cube.stf.gapfill(method="evaluate")
    assert filled.stf_choice.startswith("linear, by trial")
    np.testing.assert_array_equal(filled, cube.stf.gapfill(method="linear"))
    spectral, spatial, _ = xstf.testing.bands()
    sharp = spectral.stf.sharpen_spectral(spatial, method="evaluate")
    assert "by trial" in sharp.stf_choice


def test_a_trial_that_cannot_be_is_refused(scene):
    fine, coarse = scene
    with pytest.raises(ValueError, match="are parameters of one"):
        fine.stf.fuse(coarse, method="evaluate", window=9)
    with pytest.raises(ValueError, match=r"nothing to try methods on: evaluate leaves out"):
        fine.isel(time=[0]).stf.fuse(coarse, method="evaluate")
    with pytest.raises(ValueError, match="xstf.evaluate_sts compares the ways"):
        fine.stf.fuse(coarse, spatial=fine, method="evaluate")
    with pytest.raises(ValueError, match="a plan does not read: name a method"):
        fine.stf.plan(coarse, method="evaluate")


# --- the report ---------------------------------------------------------------------------------

PARTS = ("result", "pictures", "scores", "by-band", "calibration", "how", "parameters", "versions")
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Reads a page: its parts, its tags left open, what it would load, and its words."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.loads, self.open, self.words, self.wrong = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.loads += [found[k] for k in ("src", "href", "srcset", "data") if k in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def written(scene, tmp_path):
    scores = scene[0].stf.evaluate(scene[1], methods=["starfm"])
    return scores, *scores.stf.report(tmp_path / "report.html")


def test_a_report_is_one_whole_page_that_loads_nothing(written):
    scores, path, _ = written
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.wrong == page.open == []
    assert set(PARTS) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert all(one.startswith("data:") for one in page.loads)
    assert not re.search(r"https?://|@import|url\(|<script", text)
    words = " ".join(page.words)
    wanted = [*scores.method.values, *scores.parameters.values, scores.stf_protocol]
    for said in (*wanted, "95 % interval", "clearly worse", xstf.__version__):
        assert said in words


def test_a_report_has_its_pictures(written):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    page = Page(written[1].read_text(encoding="utf-8"))
    for picture in ("rank", "apa", "calibration"):
        assert f"picture-{picture}" in page.ids


def test_the_numbers_beside_it_are_those_of_the_scores(written):
    scores, _, path = written
    data = json.loads(path.read_text())
    np.testing.assert_allclose(data["scores"]["rmse"]["values"], scores.rmse)
    assert data["scores"]["rmse"]["dims"] == list(scores.rmse.dims)
    assert [row["method"] for row in data["rank"]] == list(scores.stf.rank().index)
    assert data["rank"][-1]["significant"] is True
    assert data["versions"]["numpy"] == np.__version__
    assert set(data["parameters"]) == set(scores.method.values)


def test_names_in_a_report_are_text(tmp_path):
    noise = errors(np.random.default_rng(8), (1, 30, 30), 1)[None]
    scores = scored({"<b>&": noise, "a": noise * 2})
    page = Page(scores.stf.report(tmp_path / "odd.html")[0].read_text())
    assert page.wrong == page.open == []
    assert "<b>&" in page.words


def test_a_report_of_methods_that_share_no_date_says_so(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    rng = np.random.default_rng(8)
    scores = scored({name: errors(rng, (2, 30, 30), 1)[:, None] for name in "ab"})
    for name in ("rmse", "edge"):
        scores[name][0, 0], scores[name][1, 1] = np.nan, np.nan
    page = Page(scores.stf.report(tmp_path / "apart.html")[0].read_text())
    assert "No picture of rmse: nothing was scored of all methods." in page.words
    assert "picture-rank" not in page.ids


def test_a_report_replaces_nothing_unasked(written, tmp_path):
    scores, path, numbers = written
    with pytest.raises(FileExistsError, match="overwrite=True"):
        scores.stf.report(path)
    path.unlink()
    with pytest.raises(FileExistsError, match=r"report\.json"):
        scores.stf.report(path)
    scores.stf.report(path, overwrite=True)
    with pytest.raises(ValueError, match=r"goes to a \.html file"):
        scores.stf.report(tmp_path / "report.pdf")
    with pytest.raises(ValueError, match="rank takes the scores"):
        xstf.report(xr.Dataset(), tmp_path / "no.html")


@pytest.mark.slow
def test_a_browser_shows_the_report_and_complains_of_nothing(written, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("XSTF_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs a Chromium: none of {', '.join(names)} is on the path")
    done = subprocess.run(
        [found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=5000", "--dump-dom", written[1].as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    page = Page(done.stdout)
    assert set(PARTS) <= set(page.ids)
    assert "starfm" in page.words
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert said == []
