"""When a hinted directory is looked at: after quiet, but never kept waiting for ever."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.disk.hinting import AGAIN_MAX_S, AGAIN_S, CLOSED_SHARE, DELAY_MAX_S, SETTLE_S, Hinting

A, B = ("a",), ("a", "b")


def test_nothing_is_due_when_nothing_happened() -> None:
    assert Hinting().next_due() == float("inf")
    assert Hinting().take_due(1e9) == {}


def test_a_directory_is_due_after_a_moment_of_quiet() -> None:
    hinting = Hinting()
    hinting.add(A, False, 10.0)
    assert hinting.next_due() == 10.0 + SETTLE_S
    assert hinting.take_due(10.0 + SETTLE_S / 2) == {}
    hinting.add(A, False, 10.0 + SETTLE_S / 2)
    assert hinting.take_due(10.0 + SETTLE_S) == {}
    assert hinting.take_due(10.0 + SETTLE_S * 1.5) == {A: False}
    assert hinting.take_due(99.0) == {}


def test_each_directory_settles_by_itself_and_deep_hints_stay_deep() -> None:
    hinting = Hinting()
    hinting.add(A, True, 0.0)
    hinting.add(A, False, 0.001)
    hinting.add(B, False, 1.0)
    assert hinting.take_due(0.5) == {A: True}
    assert hinting.take_due(2.0) == {B: False}


@given(st.lists(st.floats(0, SETTLE_S * 0.9), min_size=100, max_size=150))
def test_something_that_happens_all_the_time_is_looked_at_nevertheless(gaps: list[float]) -> None:
    hinting = Hinting()
    now = first = 5.0
    for gap in gaps:
        now += gap
        if now >= first + DELAY_MAX_S:
            break
        if hinting.next_due() == float("inf"):
            first = now
        hinting.add(A, False, now)
    assert hinting.next_due() <= first + DELAY_MAX_S
    assert hinting.take_due(first + DELAY_MAX_S) == {A: False}


def test_a_file_that_was_closed_is_tried_soon() -> None:
    """A large file: the first look comes while it is written."""
    hinting = Hinting()
    hinting.again(A, 5.0)
    hinting.add(A, False, 5.01)
    assert hinting.next_due() == pytest.approx(5.01 + AGAIN_S)
    hinting.add(A, False, 5.02, is_closed=True)
    assert hinting.next_due() == pytest.approx(5.02 + SETTLE_S)
    hinting.take_due(6)
    hinting.add(A, False, 6.5, is_closed=True)  # while it was read
    hinting.again(A, 6.5)
    assert hinting.next_due() == pytest.approx(6.5 + SETTLE_S)


def test_a_file_that_is_closed_all_the_time_is_tried_ever_less_often() -> None:
    hinting = Hinting()
    now, waits = 0.0, []
    for _ in range(9):
        hinting.again(A, now)
        hinting.add(A, False, now, is_closed=True)
        waits.append(hinting.next_due() - now)
        now = hinting.next_due()
        assert hinting.take_due(now) == {A: False}
    assert waits[0] == pytest.approx(SETTLE_S)
    assert waits[-1] == pytest.approx(AGAIN_MAX_S / CLOSED_SHARE)


def test_a_file_that_keeps_changing_is_tried_ever_less_often_until_it_settles() -> None:
    hinting = Hinting()
    now, waits = 0.0, []
    for _ in range(9):
        hinting.again(A, now)
        waits.append(hinting.next_due() - now)
        now = hinting.next_due()
        assert hinting.take_due(now) == {A: False}
    assert waits[:2] == pytest.approx([AGAIN_S, 2 * AGAIN_S])
    assert all(low <= high + 1e-9 for low, high in pairwise(waits))
    assert waits[-1] == pytest.approx(AGAIN_MAX_S)
    hinting.add(A, False, now)  # a plain hint: it was quiet meanwhile
    assert hinting.take_due(hinting.next_due()) == {A: False}
    hinting.again(A, now + 5)
    assert hinting.next_due() == pytest.approx(now + 5 + AGAIN_S)
