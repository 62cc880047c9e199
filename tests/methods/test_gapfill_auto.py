"""The default of gap filling: what it hides, what it makes of errors, and states settled again."""

from __future__ import annotations

import numpy as np
import pytest

from xstf._method import GapfillSamples
from xstf.methods.gapfill import auto, eof
from xstf.methods.gapfill.auto.holdout import hidden_dates
from xstf.methods.gapfill.auto.skill import (
    Trial,
    drawn_together,
    factor_of,
    guarded,
    pixels_alike,
    scales_by_date,
    scales_of_spans,
)
from xstf.methods.gapfill.auto.trials import _few
from xstf.numerics.normal import Z90
from xstf.numerics.seasonal import season_again, season_state, terms_of
from xstf.numerics.threads import free


def trial(errors, dates, spread=1.0, alike=1.0):
    errors = np.asarray(errors, np.float32)
    return Trial(errors, np.full_like(errors, spread), np.asarray(dates), alike)


# --- what is hidden -----------------------------------------------------------------------------


def test_of_one_observed_date_none_is_hidden():
    cube = np.full((1, 5, 1, 4, 4), np.nan, np.float32)
    cube[:, 2] = 0.3
    spans = hidden_dates(cube, np.arange(5) * 10.0, 2)
    assert not any(span.any() for span in spans)
    cube[:, 1] = 0.2
    spans = hidden_dates(cube, np.arange(5) * 10.0, 2)
    assert all((span[[1, 2]] > 0).sum() <= 1 for span in spans)


# --- evidence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 4, 8])
def test_pixels_alike_are_counted_by_how_far_errors_go_together(side):
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(0, 0.7, (1, 10, 2, 48 // side, 48 // side)))
    size = size.repeat(side, 3).repeat(side, 4)
    there = np.ones(size.shape, bool)
    there[:, ::2, :, 5:30] = False
    errors = size[there][None]
    found = pixels_alike(errors, np.ones_like(errors), there)
    # The area over which blocks of a side are alike, (1 - lag / side) along either axis, is side^2.
    assert 0.5 * side**2 <= found <= 2 * side**2


def test_methods_that_differ_in_every_window_keep_their_weights():
    rng = np.random.default_rng(0)
    dates = np.repeat(np.arange(6), 200)
    found = trial(rng.normal(0, [[1.0], [2.0], [1.5]], (3, 1200)), dates)
    np.testing.assert_allclose(drawn_together(found, scales_of_spans(found)), 1, atol=0.05)


def test_methods_whose_order_changes_from_window_to_window_are_drawn_to_equal_weights():
    rng = np.random.default_rng(0)
    dates = np.repeat(np.arange(6), 200)
    turns = np.where(dates % 2, 3.0, 1.0), np.where(dates % 2, 1.0, 3.2)
    found = trial(rng.normal(0, np.stack(turns)), dates)
    scales = scales_of_spans(found)
    drawn = scales[:, 0] * drawn_together(found, scales)
    np.testing.assert_allclose(drawn[0], drawn[1], rtol=1e-6)
    # One window tells nothing of how errors scatter.
    one = trial(rng.normal(0, [[1.0], [2.0]], (2, 200)), np.zeros(200, int))
    scales = scales_of_spans(one)
    drawn = scales[:, 0] * drawn_together(one, scales)
    np.testing.assert_allclose(drawn[0], drawn[1], rtol=1e-6)


def test_the_interval_weighs_windows_alike_and_is_widened_where_there_are_few():
    """Nine windows of errors up to 1 and a tenth of far more cells and errors of 100."""
    errors = np.concatenate([np.linspace(0.01, 1, 100)] * 9 + [np.full(5000, 100.0)])
    dates = np.concatenate([np.repeat(np.arange(9), 100), np.full(5000, 9)])
    found = factor_of(trial(errors[None], dates), np.ones((1, 1)))
    assert found == pytest.approx(1 / Z90 * np.sqrt(1 + 2 / 10), rel=1e-3)
    # Cells that err as one are one: a window of fewer is a part of one.
    few = trial(np.linspace(0.01, 1, 100)[None], np.zeros(100, int), alike=400.0)
    assert factor_of(few, np.ones((1, 1))) == pytest.approx(0.9 / Z90 * np.sqrt(3), rel=0.02)


# --- settled again ------------------------------------------------------------------------------


def made(dates=30, side=16, seed=0):
    """Return a scene of two seasons (1, time, band, y, x) with noise, and its days."""
    rng = np.random.default_rng(seed)
    times = np.arange(dates) * 13.0
    year = 2 * np.pi * times / 365.25
    level, size = rng.uniform(0.2, 0.4, (2, side, side)), rng.uniform(0.05, 0.1, (2, side, side))
    wave = np.stack([np.sin(year), np.cos(year)], axis=1)[:, :, None, None]
    cube = level + size * wave + rng.normal(0, 0.005, (dates, 2, side, side))
    return cube[None].astype(np.float32), times


def test_a_season_settled_again_is_that_of_what_is_left():
    cube, times = made()
    cube[:, 12:16] += 0.2  # what is hidden must not be in it
    holed = cube.copy()
    holed[:, 12:16] = np.nan
    state = season_state(cube, times)
    again, anew = season_again(state, holed, times), season_state(holed, times)
    curves = [terms_of(times, s) @ s.mean.T for s in (again, anew, state)]
    off, leak = np.abs(curves[0] - curves[1]).max(), np.abs(curves[2] - curves[1]).max()
    assert off < 0.02
    assert off < leak


def test_modes_settled_again_have_next_to_nothing_of_what_is_hidden():
    cube, times = made()
    cube[:, 12:14] += 0.2
    holed = cube.copy()
    holed[:, 12:14] = np.nan
    options = eof.Params()
    state = eof.settle(GapfillSamples(cube), times=times, params=options)
    again = eof.settle_again(state, GapfillSamples(holed), times=times, params=options)
    anew = eof.settle(GapfillSamples(holed), times=times, params=options)
    assert again.rank == state.rank
    np.testing.assert_allclose(again.mean[12:14], anew.mean[12:14], atol=0.02)
    assert np.abs(state.mean[12:14] - anew.mean[12:14]).min() > 0.1


# --- on several threads ------------------------------------------------------------------------


@pytest.mark.slow
def test_the_blend_does_not_depend_on_the_number_of_threads():
    cube, times = made(dates=16, side=10)
    cube[0, 3:9:2, :, :5] = cube[0, 5, :, 2:] = cube[0, 11] = np.nan
    one = auto.settle(GapfillSamples(cube.copy()), times=times, params=auto.Params())
    with free(3):
        many = auto.settle(GapfillSamples(cube.copy()), times=times, params=auto.Params())
    assert one.choice == many.choice
    np.testing.assert_array_equal(one.factor, many.factor)
    for name, candidate in one.candidates.items():
        np.testing.assert_array_equal(candidate.scale, many.candidates[name].scale)


def test_of_series_without_space_a_grid_is_judged_too():
    """Pixels of which one in nine is judged, in either direction, whatever the shape."""
    for shape in ((96, 96), (1, 9216), (9216, 1), (2, 4608)):
        few = np.zeros((1, 3, 1, *shape), np.float32)[_few(np.zeros((1, 3, 1, *shape)))]
        assert few[0, 0, 0].size == pytest.approx(9216 / 9, rel=0.15)


# --- the guide ----------------------------------------------------------------------------------


def test_a_guide_is_left_out_where_hidden_cells_are_filled_better_without():
    rng = np.random.default_rng(0)
    dates = np.repeat(np.arange(5), 100)
    errors = rng.normal(0, [[1.0], [2.0], [1.5]], (3, 500))
    with_guide, used = guarded(trial(errors, dates), 0, 1)
    assert used
    assert np.isnan(with_guide.errors[1]).all()
    without, used = guarded(trial(errors, dates), 1, 0)
    assert not used
    assert np.isnan(without.errors[1]).all()
    assert np.isfinite(without.errors[[0, 2]]).all()
    scales = scales_by_date(without, 5)
    assert np.isinf(scales[1]).all()
    assert np.isfinite(scales[[0, 2]]).all()
    # Most cells of one date do not outvote the other dates.
    errors[0, :100], errors[1, :100] = 4.0, 0.5
    errors[0, 100:], errors[1, 100:] = 0.5, 4.0
    assert guarded(trial(errors, dates), 0, 1)[1]


def test_without_evidence_the_guide_is_used():
    nothing = Trial(np.empty((2, 0), np.float32), np.empty((2, 0), np.float32), np.empty(0, int))
    assert guarded(nothing, 0, 1)[1]
