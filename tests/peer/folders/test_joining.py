"""When a folder that comes to a full directory may look at it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import LogId
from peer.folders.joining import ALONE_MAX_S, STALLED_MAX_S, Joining
from protocol.messages import FrontierEntry

A, B = LogId(b"A" * 16), LogId(b"B" * 16)


def entry(log_id: LogId, seq: int) -> FrontierEntry:
    return FrontierEntry(log_id, seq, b"h" * 32)


def is_ready(joining: Joining, now: float, **seqs: int) -> bool:
    held = {A: seqs.get("a", 0), B: seqs.get("b", 0)}
    return joining.is_ready(lambda log_id: held.get(log_id, 0), now)


def test_who_is_alone_in_the_folder_waits_for_nobody() -> None:
    assert is_ready(Joining(0.0, {}, has_others=False), 0.0)


def test_what_a_member_holds_is_waited_for() -> None:
    joining = Joining(0.0, {}, has_others=True)
    assert not is_ready(joining, 1.0)
    joining.told([entry(A, 3), entry(B, 1)], 2.0)
    assert not is_ready(joining, 3.0, a=3)
    assert not is_ready(joining, 4.0, a=2, b=1)
    assert is_ready(joining, 5.0, a=3, b=1)


def test_more_than_was_told_of_one_log_does_not_stand_for_another() -> None:
    joining = Joining(0.0, {}, has_others=True)
    joining.told([entry(A, 3), entry(B, 1)], 2.0)
    assert not is_ready(joining, 3.0, a=9)


def test_a_member_that_holds_nothing_has_been_heard_too() -> None:
    joining = Joining(0.0, {}, has_others=True)
    joining.told([], 1.0)
    assert is_ready(joining, 1.0)


@pytest.mark.row("A12")
def test_an_old_state_is_not_taken_for_the_newest() -> None:
    """A12: the device that let us in knew more than the first one that answers."""
    joining = Joining(0.0, {A: 5}, has_others=True)
    joining.told([entry(A, 2)], 1.0)
    assert not is_ready(joining, 2.0, a=2)
    assert is_ready(joining, 3.0, a=5)


def test_what_was_told_is_never_taken_back() -> None:
    joining = Joining(0.0, {}, has_others=True)
    joining.told([entry(A, 5)], 1.0)
    joining.told([entry(A, 2)], 2.0)
    assert not is_ready(joining, 3.0, a=2)


def test_when_nobody_is_there_it_goes_on_after_a_while() -> None:
    joining = Joining(100.0, {A: 5}, has_others=True)
    assert joining.deadline == 100.0 + ALONE_MAX_S
    assert not is_ready(joining, joining.deadline - 0.1)
    assert is_ready(joining, joining.deadline)


def test_when_the_logs_grow_no_more_it_goes_on_after_a_longer_while() -> None:
    joining = Joining(0.0, {}, has_others=True)
    joining.told([entry(A, 100)], 1.0)
    assert not is_ready(joining, 2.0, a=10)
    assert joining.deadline == 2.0 + STALLED_MAX_S
    assert not is_ready(joining, joining.deadline - 0.1, a=10)
    assert is_ready(joining, joining.deadline, a=10)


def test_promises_alone_keep_nobody_waiting_for_ever() -> None:
    """A member that claims more and more, and gives nothing of it."""
    joining = Joining(0.0, {}, has_others=True)
    for minute in range(10):
        joining.told([entry(A, 100 + minute)], minute * 10.0)
        is_over = is_ready(joining, minute * 10.0)
        assert is_over == (minute * 10.0 >= STALLED_MAX_S)


def test_while_they_grow_there_is_no_end_to_the_patience() -> None:
    """A folder of a million files takes its time."""
    joining = Joining(0.0, {}, has_others=True)
    joining.told([entry(A, 1000)], 0.0)
    for seq in range(999):
        assert not is_ready(joining, seq * (STALLED_MAX_S - 1), a=seq)


@given(
    st.dictionaries(st.sampled_from([A, B]), st.integers(1, 9)),
    st.lists(st.dictionaries(st.sampled_from([A, B]), st.integers(1, 9))),
    st.dictionaries(st.sampled_from([A, B]), st.integers(0, 9)),
)
def test_before_the_deadline_it_is_ready_only_with_all_that_anybody_holds(
    floor: Mapping[LogId, int],
    told: list[Mapping[LogId, int]],
    held: Mapping[LogId, int],
) -> None:
    joining = Joining(0.0, floor, has_others=True)
    for frontier in told:
        joining.told([entry(log_id, seq) for log_id, seq in frontier.items()], 1.0)
    has_all = all(
        held.get(log_id, 0) >= seq for each in (floor, *told) for log_id, seq in each.items()
    )
    assert joining.is_ready(lambda log_id: held.get(log_id, 0), 2.0) == (bool(told) and has_all)
