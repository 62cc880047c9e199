"""Work on the threads that are free."""

from __future__ import annotations

import threading

import pytest

from xstf.numerics.threads import each, free


def test_results_come_in_the_order_of_the_items():
    assert each(lambda n: n * n, range(5)) == [0, 1, 4, 9, 16]
    with free(3):
        assert each(lambda n: n * n, range(5)) == [0, 1, 4, 9, 16]


def test_without_free_threads_all_is_done_on_the_callers():
    assert {*each(lambda _: threading.get_ident(), range(3))} == {threading.get_ident()}


def test_two_free_threads_work_at_once_and_hand_on_no_more():
    meeting = threading.Barrier(2, timeout=20)

    def work(_):
        meeting.wait()  # passes only if both are at work
        inner = {*each(lambda _: threading.get_ident(), range(2))}
        return inner == {threading.get_ident()}

    with free(2):
        assert each(work, range(2)) == [True, True]


def test_what_is_raised_in_a_thread_is_raised():
    with free(2), pytest.raises(ValueError, match="three"):
        each(lambda n: n if n < 3 else int("three"), range(5))
