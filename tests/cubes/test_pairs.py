"""Which pairs serve which date."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from xstf.cubes.acquisitions import dates_of
from xstf.cubes.pairs import Pair, match_dates, plan_pairs, read_dates, read_timedelta


def days(*numbers: float) -> np.ndarray:
    hours = np.array([round(n * 24) for n in numbers])
    return np.datetime64("2020-01-01", "ns") + hours * np.timedelta64(1, "h")


def make_plan(fine, coarse, wanted=None, fewest=1, most=2, tolerance="1D"):
    return plan_pairs(
        dates_of(fine),
        dates_of(coarse),
        wanted,
        tolerance=tolerance,
        fewest=fewest,
        most=most,
        method="a method",
    )


def test_a_pair_is_a_fine_image_and_the_nearest_coarse_one():
    found = match_dates(
        dates_of(days(0.4, 10)), dates_of(days(0, 1, 8, 12)), np.timedelta64(1, "D")
    )
    assert found == [Pair(0, 0)]


def test_dates_without_fine_image_are_predicted_in_time_order():
    plans = make_plan(days(0, 20), days(20, 15, 5, 0))
    assert [p.target for p in plans] == [2, 1]


def test_two_pairs_are_those_before_and_after():
    (one,) = make_plan(days(0, 10, 20, 30), days(0, 10, 12, 20, 30), days(12))
    assert one.attempts[0] == (Pair(1, 1), Pair(2, 3))
    assert not one.extrapolated


def test_next_attempts_replace_one_image_at_a_time():
    (one,) = make_plan(days(0, 10, 20, 30), days(0, 10, 12, 20, 30), days(12))
    assert set(one.attempts[1:3]) == {(Pair(0, 0), Pair(2, 3)), (Pair(1, 1), Pair(3, 4))}


def test_one_pair_methods_take_the_nearest_then_the_next():
    (one,) = make_plan(days(0, 10, 30), days(0, 10, 12, 30), days(12), most=1)
    assert [pairs[0].fine for pairs in one.attempts] == [1, 0, 2]


def test_after_the_last_pair_it_is_extrapolation():
    (one,) = make_plan(days(0, 10), days(0, 10, 15), days(15))
    assert one.extrapolated
    assert one.attempts[0] == (Pair(1, 1),)


def test_two_pair_methods_take_the_nearest_two_on_one_side():
    (one,) = make_plan(days(0, 10), days(0, 10, 15), days(15), fewest=2)
    assert one.attempts == ((Pair(1, 1), Pair(0, 0)),)


def test_a_wanted_date_with_a_fine_image_uses_the_other_pairs():
    (one,) = make_plan(days(0, 10, 20), days(0, 10, 20), days(10))
    assert one.observed == (1,)
    assert one.attempts[0] == (Pair(0, 0), Pair(2, 2))


def test_no_pair_within_tolerance_says_both_lists():
    with pytest.raises(ValueError, match=r"no fine image.*2020-01-04.*2020-01-01.*pair_tolerance"):
        make_plan(days(3), days(0, 8))


def test_one_pair_for_a_two_pair_method_says_what_was_found():
    with pytest.raises(
        ValueError, match=r"needs 2 pairs within 1D.*found 1 \(2020-01-01\).*starfm"
    ):
        make_plan(days(0), days(0, 8), fewest=2)


def test_a_date_without_coarse_image_names_the_nearest():
    with pytest.raises(ValueError, match=r"asks for 2020-02-10.*nearest is 2020-01-09"):
        make_plan(days(0), days(0, 8), days(40))


def test_nothing_to_predict_is_said():
    with pytest.raises(ValueError, match="nothing to predict"):
        make_plan(days(0, 8), days(0, 8))


@pytest.mark.parametrize("tolerance", ["soon", "-1D", "NaT"])
def test_a_tolerance_that_is_no_length_of_time(tolerance):
    with pytest.raises(ValueError, match="pair_tolerance"):
        make_plan(days(0), days(0, 8), tolerance=tolerance)


@pytest.mark.parametrize("days", [60, 60.0, np.float32(60), "60", "60D", pd.Timedelta("60D")])
def test_a_bare_number_is_days(days):
    assert read_timedelta(days) == np.timedelta64(60, "D")


@pytest.mark.parametrize("wrong", [True, None, [1]])
def test_what_is_no_length_of_time_is_refused(wrong):
    with pytest.raises(TypeError, match="such as '1D'"):
        read_timedelta(wrong)


def test_the_same_image_twice():
    with pytest.raises(ValueError, match="twice"):
        make_plan(days(0), days(0, 8), days(8, 8.1))


@pytest.mark.parametrize(
    "asked",
    [
        "2021-06-11", datetime.date(2021, 6, 11), pd.Timestamp("2021-06-11", tz="UTC"),
        pd.Timestamp("2021-06-11T02:00+02:00"), [np.datetime64("2021-06-11")],
    ],
)  # fmt: skip
def test_dates_in_every_form_are_utc(asked):
    np.testing.assert_array_equal(read_dates(asked), [np.datetime64("2021-06-11", "ns")])


@pytest.mark.parametrize("wrong", [5, 20210611, [True], "soon", slice("2021-06"), []])
def test_what_is_no_date_is_refused(wrong):
    with pytest.raises(ValueError, match="time="):
        read_dates(wrong)


def test_all_images_of_the_day_are_observations_and_none_of_another_day():
    (one,) = make_plan(days(0, 10, 10.1, 20), days(0, 10, 20), days(10))
    assert set(one.observed) == {1, 2}
    late = make_plan(days(0, 9, 20), days(0, 10, 20), None)
    assert [plan.target for plan in late] == [1]  # has no image of its own
    assert late[0].observed == ()
    alone = make_plan(days(9), days(0, 10, 20), None)
    assert [plan.target for plan in alone] == [0, 2]
