"""What stands below a floor stays for its time, and then goes, a little at a time."""

from __future__ import annotations

from random import Random

import pytest

from peer.core import commands as c
from peer.folders import retention as subject
from peer.folders.retention import NOTES_MAX, Note, Retention
from tests.peer.compaction_stage import NOW_S, Member, exchange
from tests.peer.core.test_compaction import F, file, members, newcomer

DAY_S = 86_400


def compacted(writes: int = 6) -> Member:
    one, _ = members()
    for _ in range(writes):
        one.act(Random(1))
    one.piece_bytes = 1 << 20
    one.compact_all()
    return one


def test_a_floor_is_noted_once_and_due_after_its_time() -> None:
    one = compacted()
    kept = Retention.load(b"", one.engine.book)
    assert kept.note(one.engine.book, NOW_S)
    assert not kept.note(one.engine.book, NOW_S + DAY_S)
    assert kept.notes == {one.log_id: [Note(7, NOW_S)]}
    assert kept.due(NOW_S + 30 * DAY_S - 1, 30 * DAY_S) == {}
    assert kept.due(NOW_S + 30 * DAY_S, 30 * DAY_S) == {one.log_id: 7}


def test_each_floor_has_its_own_time() -> None:
    one = compacted()
    kept = Retention.load(b"", one.engine.book)
    kept.note(one.engine.book, NOW_S)
    one.compact_all()
    assert kept.note(one.engine.book, NOW_S + DAY_S)
    assert kept.notes[one.log_id] == [Note(7, NOW_S), Note(8, NOW_S + DAY_S)]
    assert kept.due(NOW_S + DAY_S, DAY_S) == {one.log_id: 7}
    assert kept.due(NOW_S + 2 * DAY_S, DAY_S) == {one.log_id: 8}


def test_of_too_many_floors_some_are_kept_longer() -> None:
    one = compacted()
    kept = Retention.load(b"", one.engine.book)
    for day in range(NOTES_MAX + 5):
        one.compact_all()
        kept.note(one.engine.book, NOW_S + day * DAY_S)
    notes = kept.notes[one.log_id]
    assert len(notes) == NOTES_MAX
    assert notes[0] == Note(8, NOW_S)
    assert notes[-1] == Note(one.engine.book.floor_of(one.log_id)[0], NOW_S + day * DAY_S)
    assert [note.since_s for note in notes] == sorted(note.since_s for note in notes)


def test_the_notes_outlive_a_restart() -> None:
    one = compacted()
    kept = Retention.load(b"", one.engine.book)
    kept.note(one.engine.book, NOW_S)
    assert Retention.load(kept.encode(), one.engine.book).notes == kept.notes


def test_a_clock_that_was_set_back_begins_the_time_anew() -> None:
    one = compacted()
    kept = Retention.load(b"", one.engine.book)
    kept.note(one.engine.book, NOW_S)
    assert kept.note(one.engine.book, NOW_S - DAY_S)
    assert kept.notes == {one.log_id: [Note(7, NOW_S - DAY_S)]}


def test_a_floor_that_was_taken_back_is_due_no_more() -> None:
    one = compacted()
    book = one.engine.book
    kept = Retention.load(b"", book)
    kept.note(book, NOW_S)
    book._logs[one.log_id].cut(3)
    assert kept.note(book, NOW_S)
    assert kept.notes == {}


def test_what_is_due_goes_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "DROPPED_AT_ONCE", 4)
    one = compacted()
    book, before = one.engine.book, one.states()
    kept = Retention.load(b"", book)
    kept.leftover.clear()
    c.run(kept.forget(book, {one.log_id: 7}), one.perform)
    assert book.start_of(one.log_id) == 7
    left = []
    while kept.leftover:
        c.run(kept.sweep(book), one.perform)
        left.append(len(one.wires))
    assert left == [3, 1]
    assert one.states() == before
    assert not kept.note(book, NOW_S)
    again = one.again()
    assert again.engine.book.frontier() == book.frontier()
    assert again.engine.book.start_of(one.log_id) == 7


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_leaves_no_gap(crash_at: int) -> None:
    one = compacted()
    book = one.engine.book
    kept = Retention.load(b"", book)
    one.crash_at = crash_at
    try:
        c.run(kept.forget(book, {one.log_id: 7}), one.perform)
        assert crash_at == 2
    except KeyboardInterrupt:
        assert crash_at == 1
    one.crash_at = 0
    again = one.restarted()  # LogBook.restore asserts that positions follow each other
    late = newcomer()
    late.take_from(again)
    assert late.states() == again.states()
    after = Retention.load(b"", again.engine.book)
    assert after.leftover
    while after.leftover:
        c.run(after.sweep(again.engine.book), again.perform)
    assert len(again.wires) == (1 if crash_at == 2 else 7)


def test_a_member_that_is_behind_what_others_keep_begins_at_the_floor() -> None:
    one, two = members()
    one.write({F: file("f", b"1", one.stamp())}, one.stamp())
    two.take_from(one)
    for _ in range(4):
        one.act(Random(2))
    one.compact_all()
    one.forget()
    two.take_from(one)
    assert two.states() == one.states()
    exchange([one, two])
    assert two.engine.book.frontier() == one.engine.book.frontier()
