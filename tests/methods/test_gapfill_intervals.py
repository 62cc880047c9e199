"""How wide intervals are made by hidden pixels, of any method that gives a standard deviation."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from xstf._method import GapfillSamples, Method
from xstf.methods.gapfill import linear
from xstf.methods.gapfill._intervals import OWN, with_intervals
from xstf.methods.gapfill._spans import spans_like_lost
from xstf.numerics.normal import Z90

NOISE = 0.05


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the pixel's mean, a method, says of its standard deviation."""

    std: float = NOISE


def the_mean(cube, guide, *, times, params, state, inner, std):
    estimate = np.broadcast_to(np.nanmean(cube, axis=0), cube.shape)[..., *inner]
    return estimate, np.full_like(estimate, params.std), None


MEAN = Method(
    name="mean", task="gapfill", summary="", params=Claim, halo=lambda params, ratio: 0,
    kernels={"numpy": the_mean}, reference="", std=True,
)  # fmt: skip


def noisy(dates=60, side=20, lost=(), seed=0):
    """Return a cube without a course, its holes and its days: pixels differ and dates do not."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.2, 0.4, (1, 1, side, side))
    truth = (level + rng.normal(0, NOISE, (dates, 1, side, side))).astype(np.float32)
    gone = np.zeros(truth.shape, bool)
    for t in range(dates):
        y, x = rng.integers(0, side - 8, 2)
        gone[t, :, y : y + 8, x : x + 8] = True
    gone[list(lost)] = True
    return truth, np.where(gone, np.float32(np.nan), truth), np.arange(dates) * 10.0


def filled(record, cube, times, params):
    inner = (slice(0, cube.shape[2]), slice(0, cube.shape[3]))
    state = record.settle(GapfillSamples(cube[None]), times=times, params=params)
    engine, kernel = next(iter(record.kernels.items()))
    return state, kernel(
        cube, None, times=times, params=params, state=state, inner=inner, std=True
    )  # fmt: skip


def held(truth, cube, estimate, std, dates=slice(None)):
    hidden = np.isnan(cube)[dates]
    return (np.abs(estimate - truth)[dates] <= Z90 * std[dates])[hidden].mean()


@pytest.mark.parametrize("claim", [0.6 * NOISE, NOISE, 1.6 * NOISE])
def test_intervals_hold_nine_tenths_whatever_a_method_says(claim):
    truth, cube, times = noisy()
    _, (estimate, std, _) = filled(with_intervals(MEAN), cube, times, Claim(std=claim))
    assert 0.87 <= held(truth, cube, estimate, std) <= 0.93


def test_a_methods_own_account_weighs_as_much_as_some_dates():
    _, cube, times = noisy()
    widths = filled(with_intervals(MEAN), cube, times, Claim(std=NOISE / 2))[0].widths
    number = len(times)  # something is hidden on each
    share = number / (number + OWN)
    assert widths.partly == pytest.approx((2 * np.sqrt(1 + 1 / number)) ** share, rel=0.03)


def test_lost_dates_are_as_unsure_as_hidden_spans_and_linear_filling_say():
    """The mean errs alike on any date; half of the account that a wrong claim gives is linear's."""
    truth, cube, times = noisy(lost=(8, 9, 10, 11, 30, 31, 32, 33, 45, 46, 47))
    record = with_intervals(MEAN)
    state, (estimate, std, _) = filled(record, cube, times, Claim(std=NOISE / 2))
    lost = ~state.widths.clear
    assert lost.sum() == 11
    assert 0.83 <= held(truth, cube, estimate, std, lost) <= 0.95
    # Where a method says nothing that is true, the days to an observation do.
    own = state.widths.own
    inner = (slice(0, 20), slice(0, 20))
    far = linear.METHOD.kernels["numba"](
        cube, None, times=times, params=linear.Params(), state=state.widths.lines, inner=inner,
        std=True,
    )[1]  # fmt: skip
    expected = own * (state.widths.lost * NOISE / 2) ** 2
    expected = expected + (1 - own) * (state.widths.far * far[lost]) ** 2
    np.testing.assert_allclose(std[lost], np.sqrt(expected), rtol=1e-5)


def test_estimates_stay_as_they_are_and_workers_can_be_sent_the_method():
    _, cube, times = noisy(dates=12, lost=(5,))
    record = (
        pickle.loads(pickle.dumps(with_intervals(linear.METHOD).settle)),
        with_intervals(linear.METHOD),
    )
    state = record[0](GapfillSamples(cube[None]), times=times, params=linear.Params())
    inner = (slice(0, 20), slice(0, 20))
    call = {"times": times, "params": linear.Params(), "inner": inner}
    for std in (True, False):
        new = record[1].kernels["numba"](cube, None, state=state, std=std, **call)
        old = linear.METHOD.kernels["numba"](cube, None, state=state.own, std=std, **call)
        np.testing.assert_array_equal(new[0], old[0])
        assert (new[1] is None) is (not std)


def test_of_too_few_dates_nothing_is_hidden():
    _, cube, times = noisy(dates=2)
    cube[0] = np.nan_to_num(cube[0], nan=0.3)
    widths = filled(with_intervals(MEAN), cube, times, Claim())[0].widths
    assert (widths.partly, widths.lost, widths.lines) == (1.0, 1.0, None)


def test_dates_that_are_only_asked_for_are_lost_and_no_evidence():
    _, cube, times = noisy(lost=(20, 21, 40))
    images = GapfillSamples(cube[None])
    more = np.insert(cube, 10, np.nan, axis=0)
    asked = np.arange(len(more)) == 10
    settle = with_intervals(MEAN).settle
    old = settle(images, times=times, params=Claim()).widths
    new = settle(
        GapfillSamples(more[None], asked=asked), times=np.insert(times, 10, 95.0), params=Claim()
    ).widths  # fmt: skip
    assert (old.partly, old.lost, old.far) == (new.partly, new.lost, new.far)
    np.testing.assert_array_equal(np.flatnonzero(~new.clear), [10, 21, 22, 41])


# --- hidden spans stand where lost dates do -----------------------------------------------------


def shown(times, clear, spans):
    """Return of the middle date of each span the days to those that are still shown around it."""
    found = []
    for span in spans:
        left = times[clear & (span == 0)]
        for number in range(1, span.max() + 1):
            at = times[span == number]
            before, after = left[left < at[0]], left[left > at[-1]]
            found.append([(float(t - before[-1]), float(after[0] - t)) for t in at])
    return found


def of_dates(clear):
    cube = np.where(clear[None, :, None, None, None], np.float32(0.3), np.float32(np.nan))
    return np.ascontiguousarray(np.broadcast_to(cube, (1, len(clear), 1, 4, 4)))


def test_a_single_lost_date_in_a_regular_series_is_like_hidden_ones():
    clear, times = np.arange(30) != 14, np.arange(30) * 10.0
    found = shown(times, clear, spans_like_lost(of_dates(clear), times, 4))
    assert len(found) >= 8
    assert all(gap == [(10.0, 10.0)] for gap in found)


def test_hidden_dates_are_as_far_from_others_on_either_side_as_lost_ones():
    clear, times = np.ones(60, bool), np.arange(60) * 10.0
    clear[20:25] = False  # 10 and 50, 20 and 40, 30 and 30, ...
    wanted = {(10.0 * k, 60 - 10.0 * k) for k in range(1, 6)}
    found = shown(times, clear, spans_like_lost(of_dates(clear), times, 4))
    assert len(found) >= 5
    sides = [side for gap in found for side in gap]
    assert wanted <= set(sides)
    assert np.mean([side in wanted for side in sides]) > 0.6


def test_spans_are_apart_although_lost_dates_lie_between_them():
    clear, times = np.arange(40) % 3 == 0, np.arange(40) * 5.0
    for span in spans_like_lost(of_dates(clear), times, 4):
        inside = span[clear]
        both = (inside[1:] > 0) & (inside[:-1] > 0)
        assert (inside[1:] == inside[:-1])[both].all()
        assert 0 < (inside > 0).sum() <= clear.sum() / 3
