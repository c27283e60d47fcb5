"""How far a folder's logs were known, beside its index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import LogId
from peer.folders.floor import Floor, Mark, Source
from tests.protocol.people import Place
from tests.protocol.test_logs import log_of, pair

MARKS = st.dictionaries(
    st.binary(min_size=16, max_size=16).map(LogId),
    st.builds(Mark, st.integers(1, 1 << 53), st.sampled_from(Source)),
)


def told(place: Place) -> Floor:
    return Floor.told(place.book.frontier())


@given(MARKS)
def test_it_is_read_as_it_was_written(marks: dict[LogId, Mark]) -> None:
    assert Floor.decode(Floor(marks).encode()) == Floor(marks)
    assert Floor.decode(b"") == Floor()


def test_what_was_told_is_lacking_until_it_is_held() -> None:
    one, two = pair()
    for _ in range(3):
        one.write()
    floor = told(one)
    assert floor.lacking(two.book) == 3
    two.sync(one)
    assert floor.lacking(two.book) == 0
    assert not floor.is_above(two.book)


@pytest.mark.row("A12")
def test_a_floor_rises_and_never_sinks() -> None:
    one, two = pair()
    older = told(two)
    for _ in range(3):
        one.write()
    floor = told(one)
    assert floor.rise(two.book, two.keys.device_id)  # it is known now what is whose
    assert floor.lacking(two.book) == 3
    assert not floor.rise(two.book, two.keys.device_id)
    two.sync(one)
    assert not older.lacking(two.book)
    assert older.rise(two.book, two.keys.device_id)
    assert older.marks == {log_of(one): Mark(4, Source.HELD), log_of(two): Mark(1, Source.OWN)}


@pytest.mark.row("A12", "F31")
def test_an_index_that_was_put_back_is_older_than_the_floor() -> None:
    one, two = pair()
    floor = Floor()
    old = one.fork(one.keys)
    old.sync(one)
    floor.rise(old.book, one.keys.device_id)
    assert not floor.is_above(old.book)
    two.write()
    one.sync(two)
    floor.rise(one.book, one.keys.device_id)
    assert floor.is_above(old.book)  # for what others wrote
    assert floor.lacking(old.book) == 1
    old.sync(two)
    assert not floor.is_above(old.book)
    one.write()
    floor.rise(one.book, one.keys.device_id)
    assert floor.is_above(old.book)  # and for what it wrote itself
    assert floor.lacking(old.book) == 0  # which it may have told nobody


def test_when_the_index_is_lost_the_others_changes_have_to_come_again() -> None:
    one, two = pair()
    floor = Floor()
    floor.rise(one.book, one.keys.device_id)
    floor.index_lost()
    assert floor.marks == {log_of(two): Mark(1, Source.TOLD)}
    empty = one.fork(one.keys)
    assert floor.lacking(empty.book) == 1
    assert not floor.is_above(empty.book)


def test_what_a_fork_cut_off_is_not_waited_for() -> None:
    one, two = pair()
    clone = one.fork(one.keys)
    clone.sync(one)
    clone.random = two.random
    left, right = one.write([["left"]]), clone.write([["right"]])
    longer, shorter = sorted([left, right], key=lambda made: -made.changeset.hash[0])
    two.receive(longer.changeset.wire)
    floor = told(two)
    floor.marks[longer.changeset.log_id] = Mark(9, Source.HELD)
    assert floor.lacking(two.book) == 7
    proof = two.book.receive(shorter.changeset.wire)
    two.book.rewind(proof.position)  # type: ignore[union-attr]
    assert floor.lacking(two.book) == 1  # the common part is to be fed again


def test_a_person_may_settle_for_less() -> None:
    one, two = pair()
    one.write()
    floor = told(one)
    floor.settle_for(two.book)
    assert floor.lacking(two.book) == 0
