"""Who lacks what: from what devices say on links, and from what they left in mailboxes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import DeviceId, LogId
from protocol.holdings import Holdings

ONE, TWO = DeviceId(b"1" * 32), DeviceId(b"2" * 32)
A, B = LogId(b"a" * 16), LogId(b"b" * 16)
POSITIONS = st.dictionaries(st.sampled_from([A, B]), st.integers(1, 20))


def test_who_was_never_heard_of_lacks_everything() -> None:
    assert Holdings().lacking([ONE], {A: 3, B: 1}) == {A: 0, B: 0}
    assert Holdings().lacking([], {A: 3}) == {}


def test_who_has_said_how_far_it_is_has_the_folder() -> None:
    holdings = Holdings()
    holdings.note(ONE, 5)
    assert not holdings.is_known(ONE)
    holdings.read(ONE, {A: 1}, {}, 5, 5)
    assert holdings.is_known(ONE)


def test_the_one_who_holds_least_counts() -> None:
    holdings = Holdings()
    holdings.told(ONE, {A: 3, B: 1}, 10)
    holdings.told(TWO, {A: 2, B: 5}, 10)
    assert holdings.lacking([ONE, TWO], {A: 3, B: 4}) == {A: 2, B: 1}
    assert holdings.lacking([ONE], {A: 3, B: 4}) == {B: 1}
    assert holdings.lacking([TWO], {A: 2, B: 4}) == {}


def test_what_is_said_on_a_link_is_the_truth() -> None:
    """A device that was put back from a backup holds less than before."""
    holdings = Holdings()
    holdings.told(ONE, {A: 9}, 10)
    holdings.told(ONE, {A: 4}, 11)
    assert holdings.lacking([ONE], {A: 9}) == {A: 4}


@given(first=POSITIONS, second=POSITIONS)
def test_an_old_heartbeat_takes_nothing_away(
    first: dict[LogId, int], second: dict[LogId, int]
) -> None:
    holdings = Holdings()
    holdings.read(ONE, first, first, 100, 200)
    before = holdings.lacking([ONE], {A: 30, B: 30})
    holdings.read(ONE, second, second, 50, 200)
    after = holdings.lacking([ONE], {A: 30, B: 30})
    assert all(after[log] >= before[log] for log in (A, B))
    assert after == {log: max(first.get(log, 0), second.get(log, 0)) for log in (A, B)}


def test_what_is_on_the_disk_is_another_thing() -> None:
    holdings = Holdings()
    holdings.told(ONE, {A: 5}, 10)
    assert holdings.unapplied([ONE], {A: 5}) == {}, "it never said how much of it it shows"
    holdings.told(ONE, {A: 3}, 11, applied=True)
    assert holdings.unapplied([ONE], {A: 5}) == {A: 3}
    assert holdings.lacking([ONE], {A: 5}) == {}


def test_a_clock_that_is_ahead_makes_nobody_heard_of_tomorrow() -> None:
    holdings = Holdings()
    holdings.read(ONE, {A: 1}, {}, 10**9, 500)
    assert holdings.heard_s(ONE) == 500
    holdings.note(ONE, 900)
    assert holdings.heard_s(ONE) == 500, "it was heard of"
    holdings.note(TWO, 900)
    assert holdings.heard_s(TWO) == 900
    assert holdings.heard_s(DeviceId(b"3" * 32)) == 0


def test_it_is_stored_and_read_back() -> None:
    holdings = Holdings()
    assert not holdings.has_changed
    holdings.told(ONE, {A: 5, B: 1}, 10)
    holdings.told(TWO, {A: 2}, 12, applied=True)
    assert holdings.has_changed
    again = Holdings.decode(holdings.encode())
    assert again.encode() == holdings.encode()
    assert not again.has_changed
    assert again.lacking([ONE], {A: 6}) == {A: 5}
    again.forget_all_but([TWO])
    assert again.has_changed
    assert again.lacking([ONE], {A: 6}) == {A: 0}
    assert Holdings.decode(b"").encode() == Holdings().encode()
