from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import LogId
from protocol.changesets import FrontierEntry
from protocol.errors import BadLamport, BadRecord
from protocol.held_changesets import Position
from protocol.log_checks import check_lamport, grown, is_full_at, missing
from protocol.log_positions import Log
from tests.protocol.test_log_positions import DEVICE, hash_of, log_to, slot

OWN, ONE, TWO = LogId(b"\0" * 16), LogId(b"\1" * 16), LogId(b"\2" * 16)


def entry(log_id: LogId, seq: int) -> FrontierEntry:
    return FrontierEntry(log_id, seq, hash_of(seq))


def test_a_frontier_is_whole_at_the_first_at_a_floor_and_every_256() -> None:
    assert [seq for seq in range(1, 600) if is_full_at(seq, 7)] == [1, 7, 256, 512]


def test_what_an_author_has_seen_only_grows() -> None:
    seen = grown(slot(5), OWN, {ONE: 3}, [entry(ONE, 4), entry(TWO, 1)])
    assert seen == {ONE: 4, TWO: 1}
    assert grown(slot(5), OWN, {ONE: 3}, []) == {ONE: 3}
    assert grown(slot(5), OWN, None, [entry(ONE, 1)]) == {ONE: 1}
    with pytest.raises(BadRecord):
        grown(slot(5), OWN, {ONE: 3}, [entry(ONE, 2)])
    with pytest.raises(BadRecord):
        grown(slot(5), OWN, {}, [entry(OWN, 4)])


def test_a_whole_frontier_names_all_that_was_seen() -> None:
    for position in (slot(256), slot(7, floor=7)):
        with pytest.raises(BadRecord):
            grown(position, OWN, {ONE: 3}, [entry(TWO, 1)])
        assert grown(position, OWN, {ONE: 3}, [entry(ONE, 3)]) == {ONE: 3}


def test_entries_are_present_held_quarantined_or_below_a_floor() -> None:
    logs = {ONE: log_to(20, start=10)}
    assert missing(logs, {}, [entry(ONE, 10), entry(TWO, 1)]) == [Position(TWO, 1)]
    assert missing(logs, {}, [entry(ONE, 9)]) == []
    assert missing(logs, {}, [entry(ONE, 21)]) == [Position(ONE, 21)]
    logs[ONE].floor = 25  # declared, but not there yet
    assert missing(logs, {}, [entry(ONE, 24)]) == []
    assert missing(logs, {}, [entry(ONE, 25)]) == [Position(ONE, 25)]
    logs[ONE].floor = 10
    other = FrontierEntry(ONE, 12, bytes(32))
    assert missing(logs, {}, [other]) == [Position(ONE, 12)]
    assert missing(logs, {other: 3}, [other]) == []


def allowed(
    seq: int, previous: int | None, frontier: list[FrontierEntry], log: Log, **more: int
) -> list[int]:
    """The Lamport times that pass."""
    seen = {e.log_id: e.seq for e in frontier}
    quarantine = {e: more["quarantined"] for e in frontier if "quarantined" in more}
    passed = []
    for lamport in range(1, 400):
        try:
            check_lamport(
                replace(slot(seq), lamport=lamport),
                previous,
                frontier,
                seen,
                {ONE: log},
                quarantine,
            )
        except BadLamport:
            continue
        passed.append(lamport)
    return passed


def test_the_lamport_time_is_exact_where_all_is_known() -> None:
    assert allowed(1, 0, [], log_to(0)) == [1]
    assert allowed(9, 8, [], log_to(0)) == [9]
    assert allowed(2, 5, [entry(ONE, 3)], log_to(9)) == [31]
    assert allowed(2, 50, [entry(ONE, 3)], log_to(9)) == [51]


def test_the_time_of_a_void_entry_is_a_bound_and_the_count_another() -> None:
    log = log_to(9)
    log.void_from = 2
    # 1 + the changesets there are, and no more than the void one says.
    assert allowed(4, 3, [entry(ONE, 9)], log) == list(range(4, 14))
    assert allowed(40, 3, [entry(ONE, 2)], log) == list(range(4, 22))


def test_a_quarantined_entry_cannot_push_the_time_beyond_the_count() -> None:
    frontier = [FrontierEntry(TWO, 5, bytes(32))]
    assert allowed(3, 2, frontier, log_to(0), quarantined=1 << 50) == list(range(3, 9))


def test_an_entry_below_a_floor_is_bounded_by_the_floors_time() -> None:
    log = log_to(25, start=20)
    assert allowed(300, 2, [entry(ONE, 5)], log) == list(range(3, 202))


def test_an_entry_below_a_floor_that_is_not_there_yet_is_bounded_by_the_count() -> None:
    log = log_to(9)
    log.floor = 15
    assert allowed(30, 2, [entry(ONE, 12)], log) == list(range(3, 43))
    assert allowed(3, 2, [entry(TWO, 5)], log) == [3]


def test_where_a_log_begins_at_a_floor_the_count_is_the_bound() -> None:
    assert allowed(7, None, [entry(ONE, 2)], log_to(9)) == [21]
    assert allowed(70, None, [entry(ONE, 2)], log_to(9)) == list(range(21, 73))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_honest_times_always_pass(acts: list[int]) -> None:
    """Four authors that see each other's logs in any order."""
    logs = {LogId(bytes([n]) * 16): Log(LogId(bytes([n]) * 16), DEVICE, bytes(8)) for n in range(4)}
    for number in acts:
        log_id = LogId(bytes([number]) * 16)
        log = logs[log_id]
        frontier = [other.head for other in logs.values() if other is not log and other.lamports]
        times = [logs[e.log_id].lamport_at(e.seq) for e in frontier]
        previous = log.lamports[-1] if log.lamports else 0
        position = replace(slot(log.seq + 1), lamport=1 + max([previous, *times]))
        seen = {e.log_id: e.seq for e in frontier}
        check_lamport(position, previous, frontier, seen, logs, {})
        for shift in (-1, 1):
            wrong = replace(position, lamport=position.lamport + shift)
            with pytest.raises(BadLamport):
                check_lamport(wrong, previous, frontier, seen, logs, {})
        log.append(position, hash_of(position.seq))
