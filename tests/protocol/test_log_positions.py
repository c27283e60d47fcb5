from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import DeviceId, EntryId, FolderId, LogId
from protocol.changesets import NO_CHANGESET, FrontierEntry, Slot
from protocol.log_positions import FLOORS_MAX, Log, LogRow

LOG = LogId(b"\1" * 16)
DEVICE = DeviceId(b"\2" * 32)
HEADS = [(EntryId(bytes([n]) * 32),) for n in range(3)]


def slot(seq: int, heads: tuple[EntryId, ...] = HEADS[0], floor: int = 1) -> Slot:
    return Slot(
        FolderId(bytes(32)), DEVICE, bytes(8), seq, bytes(32), EntryId(bytes(32)), heads, floor,
        seq * 10,
    )  # fmt: skip


def hash_of(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def log_to(seq: int, start: int = 1) -> Log:
    log = Log(LOG, DEVICE, bytes(8))
    if start > 1:
        log.begin_at(start)
    for number in range(start, seq + 1):
        log.append(slot(number, HEADS[number * 3 // (seq + 1)]), hash_of(number))
    return log


def test_an_empty_log_is_at_zero() -> None:
    log = Log(LOG, DEVICE, bytes(8))
    assert (log.seq, log.hash) == (0, NO_CHANGESET)
    assert log.hash_at(0) is None
    assert log.hash_at(1) is None
    assert log.heads_at(0) == ()


def test_positions_are_found_again() -> None:
    log = log_to(30)
    assert log.head == FrontierEntry(LOG, 30, hash_of(30))
    for seq in range(1, 31):
        assert log.hash_at(seq) == hash_of(seq)
        assert log.lamport_at(seq) == seq * 10
        assert log.heads_at(seq) == HEADS[seq * 3 // 31]
    assert len(log.knowledge) == 3


def test_a_log_that_begins_at_a_floor_has_nothing_below() -> None:
    log = log_to(45, start=40)
    assert (log.start, log.seq) == (40, 45)
    assert log.hash_at(39) is None
    assert log.lamport_at(40) == 400


def test_void_and_unchecked_positions_are_not_hard() -> None:
    log = log_to(10)
    assert all(log.is_hard(seq) for seq in range(1, 11))
    log.void_from, log.unchecked_from = 8, 6
    assert [seq for seq in range(1, 11) if log.is_hard(seq)] == [1, 2, 3, 4, 5]


def test_cut_goes_back_to_a_full_frontier() -> None:
    for seq, first in ((600, 512), (513, 512), (512, 256), (200, 1), (1, 1)):
        log = log_to(700)
        log.void_from = log.unchecked_from = 699
        assert log.cut(seq) == first
        assert log.seq == first - 1
        assert log.frontier == ({} if first == 1 else None)
        assert (log.void_from, log.unchecked_from) == (0, 0)
        assert all(run[0] < first for run in log.knowledge)
        assert log.hash == (hash_of(first - 1) if first > 1 else NO_CHANGESET)
    log = log_to(700, start=300)
    assert log.cut(400) == 300
    log.append(slot(300), hash_of(300))
    assert log.seq == 300


def test_the_floor_that_counts_was_declared_where_the_log_counts() -> None:
    log = Log(LOG, DEVICE, bytes(8))
    assert log.counting_floor == (1, 0)
    for seq, floor in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 2), (6, 5), (7, 5)):
        log.append(slot(seq, floor=floor), hash_of(seq))
    assert log.floors == [(3, 2), (6, 5)]
    assert (log.floor, log.declared_at, log.head_floor) == (5, 6, 5)
    found = []
    for void_from in (0, 7, 6, 4, 3):
        log.void_from = void_from
        found.append(log.counting_floor)
    assert found == [(5, 6), (5, 6), (2, 3), (2, 3), (1, 0)]
    assert log.cut(5) == 1
    assert (log.floors, log.floor, log.declared_at) == ([], 1, 0)


def test_a_device_that_raises_its_floor_all_the_time_costs_no_more() -> None:
    log = Log(LOG, DEVICE, bytes(8))
    for seq in range(1, 4 * FLOORS_MAX):
        log.append(slot(seq, floor=seq), hash_of(seq))
    assert len(log.floors) == FLOORS_MAX
    assert log.counting_floor == (log.seq, log.seq)
    log.void_from = 9
    assert log.counting_floor == (1, 0)


def test_a_floor_is_known_by_the_first_position_that_is_seen_to_declare_it() -> None:
    log = log_to(2)
    assert log.note_floor(slot(9, floor=5))
    assert not log.note_floor(slot(8, floor=5))
    assert not log.note_floor(slot(10, floor=5))
    assert (log.floor, log.declared_at) == (5, 8)
    assert not log.is_whole  # 3 and 4 may never come
    log.begin_at(5)
    seen = []
    for seq in (5, 6, 7, 8, 9):
        log.append(slot(seq, floor=5 if seq >= 8 else 1), hash_of(seq))
        seen.append(log.is_whole)
    assert seen == [False, False, False, True, True]


def test_what_is_dropped_leaves_the_rest_as_it_was() -> None:
    log, whole = log_to(30), log_to(30)
    log.drop_below(13)
    assert (log.start, log.seq, log.head) == (13, 30, whole.head)
    assert log.hash_at(12) is None
    for seq in range(13, 31):
        assert log.hash_at(seq) == whole.hash_at(seq)
        assert log.lamport_at(seq) == whole.lamport_at(seq)
        assert log.heads_at(seq) == whole.heads_at(seq)
    log.drop_below(13)
    assert log.seq == 30
    log.append(slot(31), hash_of(31))
    assert log.head == FrontierEntry(LOG, 31, hash_of(31))


@given(st.integers(1, 60), st.integers(0, 60), st.booleans())
def test_a_stored_log_comes_back_as_it_was(start: int, count: int, is_partial: bool) -> None:
    log = log_to(start + count, start)
    log.frontier = None if is_partial else {LogId(b"\3" * 16): 5, LogId(b"\2" * 16): 7}
    log.void_from, log.stopped_at, log.forked_at, log.unchecked_from = 3, 4, 5, 6
    log.floor, log.head_floor = 2, 1
    log.declared_at, log.floors = 9, [(4, 2), (9, 3)]
    row = LogRow.decode(log.row().encode())
    assert row == log.row()
    stored = [(seq, hash_of(seq), seq * 10) for seq in range(1, log.seq + 9)]
    assert Log.of_row(row, stored) == log
