"""`fuse` by a method of whole series, as a user meets it: any dates, one call for all of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr

import xstf
from xstf.tiles import series as _tiles
from xstf.tiles.ways import Ways

DAY, MINUTE = np.timedelta64(1, "D"), np.timedelta64(1, "m")


@pytest.fixture
def composites():
    """Three sharp images of a rising series, and 16-day composites of it."""
    start = np.datetime64("2021-01-01", "ns")
    y, x = np.arange(24) + 0.5, np.arange(32) + 0.5
    detail = 0.1 * np.random.default_rng(0).random((24, 32), np.float32)

    def cube(days, blurred):
        images = np.stack([detail + 0.002 * day for day in days]).astype(np.float32)
        if blurred:
            images = images.reshape(-1, 3, 8, 4, 8).mean(axis=(2, 4))
        step = 8 if blurred else 1
        return xr.DataArray(
            images, dims=("time", "y", "x"), name="ndvi",
            coords={"time": start + np.asarray(days).astype("m8[D]"),
                    "y": -y[: len(y) // step] * step, "x": x[: len(x) // step] * step},
        )  # fmt: skip

    fine = cube([10, 40, 70], False)
    coarse = cube(np.arange(8, 96, 16), True)  # its values are those of mid-period
    return fine, coarse.assign_coords(time=coarse.time - 8 * DAY).assign_attrs(composite="16D")


def days(first, last, step=1):
    return np.datetime64("2021-01-01", "ns") + np.arange(first, last, step).astype("m8[D]")


def test_every_day_is_made_in_one_call(composites):
    fine, coarse = composites
    wanted = days(8, 88)
    out = fine.stf.fuse(coarse, method="series", time=wanted)
    assert out.sizes["time"] == 80
    np.testing.assert_array_equal(out.time, wanted)
    rise = out.mean(("y", "x")).diff("time")
    np.testing.assert_allclose(rise, 0.002, atol=2e-4)
    np.testing.assert_allclose(out.std(("y", "x")), float(fine[0].std()), rtol=0.02)


def test_a_date_counts_itself_also_where_a_composite_has_its_stamp(composites):
    fine, coarse = composites
    asked = xstf.fuse(fine, coarse, method="series", time=coarse.time[[1, 3]].values)
    own = xstf.fuse(fine, coarse, method="series")
    middle = xstf.fuse(
        fine, coarse, method="series", time=coarse.time[[1, 3]].values + 8 * DAY + MINUTE
    )
    # Of that from 2 February the middle is 10 February, which has a fine image.
    np.testing.assert_array_equal(own.time, coarse.time[[0, 1, 3, 4, 5]])
    np.testing.assert_allclose(own[1:3].values, middle.values, atol=1e-5)
    assert float((own[1:3].values - asked.values).mean()) == pytest.approx(0.016, abs=0.002)


def test_clear_pixels_of_a_date_are_returned_and_its_clouds_are_filled(composites):
    fine, coarse = composites
    truth = fine[1].copy()
    fine[1, 4:12, 4:12] = np.nan
    out = xstf.fuse(fine, coarse, method="series", time=[fine.time.values[1]], return_quality=True)
    clear = ~np.isnan(fine[1].values)
    np.testing.assert_array_equal(out.ndvi.values[0][clear], fine[1].values[clear])
    np.testing.assert_allclose(out.ndvi[0], truth, atol=0.01)
    meanings = out.ndvi_flag.attrs["flag_meanings"].split()
    flags = out.ndvi_flag.values[0].astype(int)
    assert {meanings[i] for i in np.unique(flags[clear])} == {"observed"}
    assert {meanings[i] for i in np.unique(flags[~clear])} == {"fused_series"}
    assert (out.ndvi_n_obs.values[0][~clear] == 2).all()
    assert (out.ndvi_std.values[0][clear] == 0).all()
    assert (out.ndvi_std.values[0][~clear] > 0).all()


def test_dates_beyond_the_fine_images_are_flagged(composites):
    fine, coarse = composites
    out = xstf.fuse(fine, coarse, method="series", time=days(60, 90, 25), return_quality=True)
    meanings = out.ndvi_flag.attrs["flag_meanings"].split()
    assert [meanings[int(v)] for v in out.ndvi_flag[:, 0, 0]] == ["fused_series", "extrapolated"]


def test_many_jobs_and_chunks_give_what_one_gives(composites, monkeypatch):
    fine, coarse = composites
    fine[1, 4:12, 4:12] = np.nan
    wanted = days(8, 70, 9)
    for quality in (False, True):
        whole = xstf.fuse(fine, coarse, method="series", time=wanted, return_quality=quality)
        monkeypatch.setattr(_tiles, "CHUNK_BYTES", 4 * 12 * 12 * 8.0)
        with xstf.testing.raise_if_dask_computes():
            lazy = xstf.fuse(
                fine.chunk(time=1, y=10, x=12), coarse.chunk(time=2), method="series",
                time=wanted, return_quality=quality,
            )  # fmt: skip
        xr.testing.assert_allclose(lazy.compute(), whole, rtol=1e-6)
        monkeypatch.undo()
    assert len(lazy.ndvi.chunks[0]) > 2


def test_dates_outside_the_coarse_series_are_refused(composites):
    fine, coarse = composites
    with pytest.raises(ValueError, match="asks for 2021-05-01, outside the coarse series"):
        xstf.fuse(fine, coarse, method="series", time=["2021-02-01", "2021-05-01"])
    with pytest.raises(ValueError, match="names dates twice"):
        xstf.fuse(fine, coarse, method="series", time=["2021-02-01", "2021-02-01"])


def test_fine_images_outside_the_coarse_series_are_not_used_and_said(composites):
    fine, coarse = composites
    late = fine.isel(time=[0, 1, 2, 2]).assign_coords(
        time=[*fine.time.values, np.datetime64("2021-06-01", "ns")]
    )
    late[3] += 9.0
    with pytest.warns(UserWarning, match="outside the coarse series, which are not used: 2021-06"):
        out = xstf.fuse(late, coarse, method="series", time="2021-02-01")
    xr.testing.assert_allclose(
        out.drop_attrs(), xstf.fuse(fine, coarse, method="series", time="2021-02-01").drop_attrs()
    )
    assert "2021-06-01" in out.attrs["stf_unpaired"]
    with pytest.raises(ValueError, match="no fine image .* lies within the coarse series"):
        xstf.fuse(late[3:], coarse, method="series")


def test_a_plan_names_every_date(composites):
    fine, coarse = composites
    plan = xstf.plan(fine, coarse, method="series", time=days(8, 20))
    assert len(plan.dates) == 12


def test_evaluation_leaves_a_date_out(composites):
    fine, coarse = composites
    scores = xstf.evaluate_fusion(fine, coarse, methods=["series", "starfm"], pair_tolerance="8D")
    rmse = scores.rmse.mean(("time", "band") if "band" in scores.rmse.dims else "time")
    assert float(rmse.sel({"method": "series"})) < float(rmse.sel({"method": "unchanged"}))


def test_a_year_of_a_simulated_landscape_beats_the_nearest_image_and_the_line_between():
    made = xstf.scenes.landsat_modis(size=96)
    out = xstf.fuse(made.fine, made.coarse, method="series")
    truth = made.truth.sel(time=out.time)
    line = made.fine.interp(time=out.time, kwargs={"fill_value": "extrapolate"})
    seen = ~np.isnan(line) & ~np.isnan(out)
    error, other = (float(((a - truth) ** 2).where(seen).mean()) for a in (out, line))
    assert error < 0.7 * other


def test_what_a_series_does_not_do_is_refused():
    fine, coarse = xstf.testing.scene()
    with pytest.raises(ValueError, match="leave change= out"):
        fine.stf.fuse(coarse, method="series", change="raw")


def test_a_series_moves_no_grid_whether_asked_to_or_not(composites):
    fine, coarse = composites
    asked, not_asked = (
        xstf.fuse(fine, coarse, method="series", register=register) for register in (True, False)
    )
    xr.testing.assert_equal(asked, not_asked)


# --- beside pairs ---


@pytest.fixture(scope="module")
def many():
    """Six sharp images of fields that follow their own seasons, coarse ones, and what is true."""
    rng = np.random.default_rng(0)
    cells, ratio = 8, 6
    size = cells * ratio
    field = rng.integers(0, 8, (size // 4, size // 4)).repeat(4, 0).repeat(4, 1)
    start, top = rng.normal(170, 25, 8), rng.uniform(0.1, 0.4, 8)
    detail = 0.1 + 0.02 * rng.standard_normal((size, size))

    def cube(on, noise, blurred):
        season = [top[field] * np.exp(-0.5 * ((d - start[field]) / 45) ** 2) for d in on]
        images = np.stack(season) + detail
        if blurred:
            images = images.reshape(-1, cells, ratio, cells, ratio).mean(axis=(2, 4))
        images = images + noise * rng.standard_normal(images.shape)
        step = ratio if blurred else 1
        at = (np.arange(images.shape[1]) + 0.5) * step
        stamps = np.datetime64("2021-01-01", "ns") + np.asarray(on).astype("m8[D]")
        return xr.DataArray(
            images.astype(np.float32), dims=("time", "y", "x"), name="ndvi",
            coords={"time": stamps, "y": -at, "x": at},
        )  # fmt: skip

    known, wanted = [40, 90, 140, 190, 240, 290], [115, 165]
    fine, truth = cube(known, 0.01, False), cube(wanted, 0.0, False)
    coarse = cube(sorted({*known, *wanted, *range(20, 320, 16)}), 0.03, True)
    return fine, coarse, truth


def record_of_pairs():
    """Return the default without a series beside it."""
    return dataclasses.replace(xstf.get_method("fuse", "auto"), whole=None)


@pytest.mark.slow
def test_the_default_takes_as_much_of_the_series_as_known_dates_tell(many):
    fine, coarse, truth = many
    out = xstf.fuse(fine, coarse, time=truth.time.values)
    share = float(out.attrs["stf_choice"].split()[2])
    assert 0.1 <= share <= 0.5
    assert "by 4 known dates" in out.attrs["stf_choice"]
    pairs = xstf.fuse(fine, coarse, time=truth.time.values, method=record_of_pairs())
    series = xstf.fuse(fine, coarse, time=truth.time.values, method="series", clip=False)
    mixed = pairs + share * (series.values - pairs)
    np.testing.assert_allclose(out, mixed, atol=0.006 * float(abs(series - pairs).max()) + 1e-5)
    errors = [float(((one - truth.values) ** 2).mean()) ** 0.5 for one in (out, pairs)]
    assert errors[0] < 0.99 * errors[1]


def test_three_pairs_are_left_to_the_pairs(many):
    fine, coarse, truth = many
    wanted = truth.time.values[:1]
    few = xstf.fuse(fine[1:4], coarse, time=wanted)
    assert "whole series" not in few.attrs["stf_choice"]
    alone = xstf.fuse(fine[1:4], coarse, time=wanted, method=record_of_pairs())
    np.testing.assert_array_equal(few, alone)


@pytest.mark.slow
def test_both_ways_do_not_depend_on_chunks_and_wait_to_be_computed(many):
    """One date has an image with a cloud: its clear pixels are returned."""
    fine, coarse, _ = many
    fine = fine.copy()
    fine[2, 10:30, 10:30] = np.nan
    wanted = fine.time.values[2:3]
    whole = xstf.fuse(fine, coarse, time=wanted, return_quality=True)
    assert "whole series" in whole.attrs["stf_choice"]
    with xstf.testing.raise_if_dask_computes():
        lazy = xstf.fuse(
            fine.chunk(time=1, y=20, x=32), coarse.chunk(time=1), time=wanted,
            return_quality=True,
        )  # fmt: skip
    found = lazy.compute()
    for name in whole.data_vars:
        np.testing.assert_array_equal(found[name], whole[name])
    clear = ~np.isnan(fine[2].values)
    np.testing.assert_array_equal(whole.ndvi.values[0][clear], fine[2].values[clear])
    assert (whole.ndvi_std.values[0][clear] == 0).all()
    assert (whole.ndvi_std.values[0][~clear] > 0).all()
    assert (whole.ndvi_n_obs.values[0][~clear] == 5).all()


def errors_of(pairs, series, alike):
    return np.array([pairs, series, alike * np.sqrt(np.multiply(pairs, series))]).T


def test_the_share_of_the_series_is_half_of_what_known_dates_are_sure_of():
    four = np.ones(4)
    assert Ways.of(errors_of(four, four, 0.5 * four)).share == pytest.approx(0.25)
    assert Ways.of(errors_of(four, 0.2 * four, 0.9 * four)).share == pytest.approx(0.5)
    assert Ways.of(errors_of(four, 4 * four, 0.9 * four)).share == 0.0
    unsure = Ways.of(errors_of([0.2, 1.8, 0.3, 1.7], [1.8, 0.2, 1.7, 0.3], 0.5 * four))
    assert unsure.share < 0.1
    assert Ways.of(errors_of(four[:2], 0.2 * four[:2], 0.5 * four[:2])).share == 0.0


def test_the_spread_of_the_mean_of_both_ways_regards_how_alike_their_errors_are():
    ways = Ways.of(errors_of(np.ones(4), np.ones(4), 0.5 * np.ones(4)))
    assert ways.spread(np.array(1.0), np.array(1.0)) == pytest.approx(
        (0.75**2 + 0.25**2 + 0.75 * 0.25) ** 0.5
    )
