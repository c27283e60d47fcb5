from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import EntryId, FolderId, LogId
from crypto.keys import DeviceKeys
from protocol import wire
from protocol.changesets import Changeset, FrontierEntry, author_changeset, decode_changeset
from protocol.errors import (
    BadEpoch,
    BadLamport,
    BadRecord,
    BadSequence,
    BadSignature,
    LimitReached,
    Malformed,
    NotEntitled,
    ProtocolError,
)
from protocol.folder_actions import Expel, Grant, Pin, Remove, Role
from protocol.held_changesets import Position
from protocol.log_outcomes import (
    Accepted,
    Duplicate,
    Fault,
    ForkProof,
    Gap,
    Held,
    Quarantined,
    Refused,
    Wait,
)
from protocol.log_positions import LogRow
from protocol.logs import LogBook
from tests.protocol.people import Person, Place


def pair(role: Role = Role.WRITE) -> tuple[Place, Place]:
    """Two members of one folder, each with a changeset of the other."""
    anna, bert = Person(41), Person(42)
    one = Place.found(anna)
    two = one.join(bert, role)
    one.write([["one"]])
    if role >= Role.WRITE:
        two.write([["two"]])
    two.sync(one)
    one.sync(two)
    return one, two


def forge(
    place: Place,
    frontier: Sequence[FrontierEntry] | None = None,
    keys: DeviceKeys | None = None,
    records: list[Any] | None = None,
    **changes: Any,
) -> Changeset:
    """What this device would write next, but with other fields, properly sealed and signed."""
    draft = place.book.draft(place.keys.device_id, place.incarnation)
    slot = replace(draft.slot, **changes)
    record_key = place.epochs.record_key(draft.slot.epoch_id)
    assert record_key is not None
    return author_changeset(
        keys or place.keys, record_key, slot, draft.frontier if frontier is None else frontier,
        records or [], place.random,
    )  # fmt: skip


def log_of(place: Place) -> LogId:
    return place.book.draft(place.keys.device_id, place.incarnation).slot.log_id


def is_frozen(received: object, error: type[ProtocolError]) -> bool:
    return isinstance(received, Refused) and type(received.error) is error and received.is_frozen


def is_refused(received: object, error: type[ProtocolError]) -> bool:
    return (
        isinstance(received, Refused) and type(received.error) is error and not received.is_frozen
    )


# ---------------------------------------------------------------- the good case


def test_a_changeset_is_accepted_and_its_author_known() -> None:
    one, two = pair()
    made = one.write([["record"], [1, None, True]])
    received = two.book.receive(made.changeset.wire)
    assert isinstance(received, Accepted)
    assert received.changeset == made.changeset
    assert received.body.records == [["record"], [1, None, True]]
    assert received.frontier == made.frontier == {log_of(two): 1}
    # It is in the log only when the caller says so.
    assert two.book.seq_of(made.changeset.log_id) == 1
    two.book.accept(received)
    assert two.book.seq_of(made.changeset.log_id) == 2
    assert two.book.device_of(made.changeset.log_id) == (one.keys.device_id, one.incarnation)
    assert two.book.frontier() == one.book.frontier()


def test_what_is_known_is_a_duplicate() -> None:
    one, two = pair()
    made = one.write()
    assert isinstance(two.receive(made.changeset.wire), Accepted)
    again = two.receive(made.changeset.wire)
    assert again == Duplicate(Position(made.changeset.log_id, 2))
    assert isinstance(one.receive(made.changeset.wire), Duplicate)


def test_a_frontier_names_what_changed_and_all_of_it_every_256() -> None:
    one, two = pair()
    other = log_of(two)
    sizes = {}
    for seq in range(2, 260):
        sizes[seq] = [entry.log_id for entry in one.write().body.frontier]
    # Bert's one changeset was new at seq 2, and is repeated only in the whole frontier.
    assert [seq for seq, logs in sizes.items() if logs] == [2, 256]
    assert sizes[2] == sizes[256] == [other]
    two.sync(one)
    assert two.book.frontier() == one.book.frontier()


# ---------------------------------------------------------------- 1 to 3


def test_1_garbage_and_other_folders_are_refused() -> None:
    one, two = pair()
    assert is_refused(two.receive(b"\x00" * 40), Malformed)
    assert is_refused(two.receive(forge(one, heads=()).wire), Malformed)
    elsewhere = forge(one, folder_id=FolderId(bytes(32)))
    assert is_refused(two.receive(elsewhere.wire), BadRecord)


def test_2_unknown_heads_are_held_until_the_entry_comes() -> None:
    one, two = pair()
    entry = one.act(Grant(Person(43).id, Role.READ))
    made = one.write()
    assert two.receive(made.changeset.wire) == Held(Wait.LEDGER, entries=(entry.id,))
    assert two.book.take_ready() == []
    two.ledger.add(entry.wire)
    [ready] = two.book.take_ready()
    assert isinstance(two.receive(ready), Accepted)


@pytest.mark.row("A10")
def test_2_a_device_that_was_not_admitted_is_refused() -> None:
    one, two = pair()
    stranger = Person(44).device
    made = forge(one, keys=stranger, device_id=stranger.device_id, seq=1, previous=bytes(32))
    assert is_refused(two.receive(made.wire), NotEntitled)
    genesis = two.ledger.epoch_ids()[0]
    early = forge(two, heads=(genesis,), seq=1, previous=bytes(32), incarnation=bytes(8))
    assert is_refused(one.receive(early.wire), NotEntitled)


@pytest.mark.row("A10")
def test_3_a_signature_by_another_device_is_refused_and_freezes_nothing() -> None:
    one, two = pair()
    made = one.draft_and_seal().changeset
    slot_bytes, body, _ = wire.decode(made.wire)
    signature = two.keys.sign("changeset", slot_bytes, made.body_hash)
    assert is_refused(two.receive(wire.encode([slot_bytes, body, signature])), BadSignature)
    assert isinstance(two.receive(made.wire), Accepted)


# ---------------------------------------------------------------- 4


def test_4_a_gap_is_held_and_filled_in_any_order() -> None:
    one, two = pair()
    wires = [one.write().changeset.wire for _ in range(5)]
    log_id = log_of(one)
    assert two.receive(wires[4]) == Gap(log_id, 2, 5)
    assert two.receive(wires[2]) == Gap(log_id, 2, 3)
    for data in wires[:2]:
        assert isinstance(two.receive(data), Accepted)
    pending = two.book.take_ready()
    assert pending == [wires[2]]
    assert isinstance(two.receive(pending[0]), Accepted)
    assert isinstance(two.receive(wires[3]), Accepted)
    [last] = two.book.take_ready()
    assert isinstance(two.receive(last), Accepted)
    assert two.book.frontier() == one.book.frontier()


def test_4_what_is_held_is_bounded() -> None:
    one, two = pair()
    two.book = LogBook(two.ledger, two.epochs, held_size_max=3000)
    results = []
    for _ in range(4):
        results.append(two.receive(one.write([bytes(300)]).changeset.wire))
    assert isinstance(results[0], Gap)
    assert is_refused(results[-1], LimitReached)


@pytest.mark.row("A13", "A14")
@pytest.mark.parametrize("seed", range(4))
def test_4_of_a_fork_the_smaller_hash_counts_everywhere(seed: int) -> None:
    one, two = pair()
    three = one.fork(one.keys)
    three.sync(one)
    three.random = Random(seed).randbytes
    left, right = one.write([["left"]]), three.write([["right"]])
    after_left, after_right = one.write(), three.write()
    smaller = min(left.changeset.hash, right.changeset.hash)
    log_id = left.changeset.log_id
    branches = [[left, after_left], [right, after_right]]
    for first, second in (branches, branches[::-1]):
        reader = two.fork(two.keys)
        reader.sync(two)
        before = dict(reader.wires)
        for accepted in first:
            assert isinstance(reader.receive(accepted.changeset.wire), Accepted)
        proof = reader.receive(second[0].changeset.wire)
        assert isinstance(proof, ForkProof)
        assert proof.position == (log_id, 2)
        assert proof.is_theirs_counting == (second[0].changeset.hash == smaller)
        if proof.is_theirs_counting:
            feed_from = reader.book.rewind(proof.position)
            assert feed_from == 1
            kept = [decode_changeset(data) for data in before.values()]
            for changeset in kept:
                if changeset.log_id == log_id:
                    assert isinstance(reader.receive(changeset.wire), Accepted)
            assert isinstance(reader.receive(second[0].changeset.wire), Accepted)
            assert isinstance(reader.receive(second[1].changeset.wire), Accepted)
            assert isinstance(reader.receive(first[0].changeset.wire), Duplicate)
        else:
            after = reader.receive(second[1].changeset.wire)
            assert isinstance(after, Quarantined | ForkProof)
        row = reader.book.log(log_id)
        assert row is not None
        assert row.forked_at == 2
        assert [e.hash for e in reader.book.frontier() if e.log_id == log_id] == [
            (after_left if left.changeset.hash == smaller else after_right).changeset.hash
        ]
    # The device itself takes a new incarnation as soon as it knows.
    assert isinstance(one.receive(right.changeset.wire), ForkProof)
    with pytest.raises(BadSequence):
        one.write()
    one.incarnation = bytes(8)
    assert one.write().changeset.slot.seq == 1


def test_4_a_child_of_the_other_branch_asks_for_the_fork() -> None:
    one, two = pair()
    three = one.fork(one.keys)
    three.sync(one)
    three.random = Random(9).randbytes
    two.receive(one.write([["left"]]).changeset.wire)
    three.write([["right"]])
    child = three.write()
    assert two.receive(child.changeset.wire) == Gap(child.changeset.log_id, 2, 2)


def test_4_a_reader_behind_the_floor_begins_there() -> None:
    one, two = pair()
    book, log_id = one.book, log_of(one)
    for _ in range(3):
        one.write()
    made = []
    for floor, is_full in ((0, True), (0, False), (5, False)):
        draft = book.draft(one.keys.device_id, one.incarnation, floor, is_full)
        accepted = book.seal(one.keys, draft, [["live"]], one.random)
        one.take(accepted)
        made.append(accepted.changeset)
    assert [c.slot.floor for c in made] == [1, 1, 5]
    # Bert holds seq 1 and would go on with 2; who holds nothing gets 5 to 7, after a look at 7.
    assert book.missing_from(two.book.frontier()) == [(log_id, 2, 7)]
    assert (log_id, 5, 7) in book.missing_from([])
    assert book.offer_from(log_id, 0) == (5, 7)
    assert book.offer_from(log_id, 3) == (4, 0)
    # One who kept no more has 5 to 7 for him too, and he never gets 2 to 4.
    book.drop_below(log_id, 5)
    assert book.missing_from(two.book.frontier()) == [(log_id, 5, 7)]
    assert book.offer_from(log_id, 1) == (5, 7)
    assert two.receive(made[0].wire) == Gap(log_id, 2, 4)
    assert not two.book.unfinished()
    assert two.receive(made[2].wire) == Gap(log_id, 5, 6)
    assert two.book.unfinished() == [(log_id, 5)]
    pending = two.book.take_ready()
    while pending:
        for data in pending:
            assert isinstance(two.receive(data), Accepted)
        assert two.book.unfinished() or two.book.seq_of(log_id) == 7
        two.receive(made[1].wire)
        pending = two.book.take_ready()
    assert not two.book.unfinished()
    assert two.book.frontier() == one.book.frontier()
    row = two.book.log(log_id)
    assert row is not None
    assert (row.start, row.seq, row.floor) == (5, 7, 5)
    assert isinstance(two.receive(one.write().changeset.wire), Accepted)


def compact(author: Place) -> list[Changeset]:
    """A compaction of two changesets that tells nothing again."""
    log = author.book.log_id(author.keys.device_id, author.incarnation)
    floor = author.book.seq_of(log) + 1
    made = []
    for is_last in (False, True):
        draft = author.book.draft(
            author.keys.device_id, author.incarnation, floor if is_last else 0, not is_last
        )
        accepted = author.book.seal(author.keys, draft, [], author.random)
        author.take(accepted)
        made.append(accepted.changeset)
    return made


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_4_logs_that_rest_on_each_other_below_their_floors_can_be_taken_up(
    order: tuple[int, int],
) -> None:
    one, two = pair()
    for _ in range(3):
        one.write()
        two.sync(one)
        two.write()
        one.sync(two)
    compact(one)
    two.sync(one)
    compact(two)
    one.sync(two)
    three = one.fork(one.keys)
    logs = [log_of(one), log_of(two)]
    by_position = {
        (c.log_id, c.slot.seq): c.wire for w in one.wires.values() for c in [decode_changeset(w)]
    }
    for log_id in (logs[i] for i in order):
        first, declaring = one.book.offer_from(log_id, 0)
        assert first > 1
        for seq in (declaring, *range(first, one.book.seq_of(log_id) + 1)):
            three.receive(by_position[log_id, seq])
            pending = three.book.take_ready()
            while pending:
                for data in pending:
                    assert isinstance(three.receive(data), Accepted | Gap | Held | Duplicate)
                pending = three.book.take_ready()
    assert three.book.frontier() == one.book.frontier()
    assert not three.book.unfinished()
    three.incarnation = bytes(8)
    assert isinstance(two.receive(three.write().changeset.wire), Accepted)


@pytest.mark.row("A19")
def test_4_what_was_declared_after_a_removal_is_no_floor() -> None:
    one, two = pair()
    two.write()
    one.sync(two)
    pins = one.book.pins([two.keys.device_id])
    compact(two)
    one.sync(two)
    log_id = log_of(two)
    assert one.book.floor_of(log_id) == (3, 4)
    one.rotate(Remove(one.ledger.devices()[two.keys.device_id][0], pins))
    assert one.book.take_void_changes()
    assert one.book.floor_of(log_id) == (1, 0)
    assert one.book.offer_from(log_id, 0) == (1, 0)


def test_4_a_floor_of_a_branch_that_does_not_count_is_none() -> None:
    one, two = pair()
    one.write()
    two.sync(one)
    log_id = log_of(one)
    compact(one)
    two.sync(one)
    assert two.book.floor_of(log_id) == (3, 4)
    two.book.rewind(Position(log_id, 3))
    row = two.book.log(log_id)
    assert row is not None
    assert (row.floor, row.declared_at, row.floors) == (1, 0, ())


def test_floors_outlive_a_restart() -> None:
    one, two = pair()
    one.write()
    compact(one)
    two.sync(one)
    kept = two.book.take_changed()
    rows = [LogRow.decode(value) for name, value in kept if name.startswith("log:")]
    (row,) = [row for row in rows if row.log_id == log_of(one)]
    assert (row.floor, row.declared_at, row.floors) == (3, 4, ((4, 3),))


@pytest.mark.row("A12")
def test_4_a_floor_is_never_lowered() -> None:
    one, two = pair()
    draft = one.book.draft(one.keys.device_id, one.incarnation, 2, True)
    one.take(one.book.seal(one.keys, draft, [], one.random))
    two.sync(one)
    assert is_frozen(two.receive(forge(one, floor=1).wire), BadSequence)


# ---------------------------------------------------------------- 5


@pytest.mark.row("A10", "A19")
def test_5_what_a_removed_user_writes_beyond_the_pin_is_kept_and_not_applied() -> None:
    one, two = pair()
    last = two.write()
    one.sync(two)
    beyond = [two.write([["late"]]).changeset for _ in range(2)]
    pins = one.book.pins([two.keys.device_id])
    assert pins == (Pin(last.changeset.log_id, 2, last.changeset.hash),)
    user_id = one.ledger.devices()[two.keys.device_id][0]
    one.rotate(Remove(user_id, pins))
    assert one.book.take_void_changes() == []
    for changeset in beyond:
        assert one.book.is_void(changeset)
        received = one.receive(changeset.wire)
        assert received == Quarantined(changeset, Fault.VOID)
        assert isinstance(one.receive(changeset.wire), Duplicate)
    # They count as present, and are not pinned by a later removal.
    assert one.book.seq_of(last.changeset.log_id) == 4
    assert one.book.pins([two.keys.device_id]) == pins


@pytest.mark.row("A19")
def test_5_what_was_accepted_becomes_void_when_the_removal_comes() -> None:
    one, two = pair()
    anna = Person(41)
    anna.ledger = one.users[anna.id]
    sister = one.fork(anna.another_device())
    one.act(*one.ledger.admits_owed(anna.id))
    one.epochs.wraps_owed()
    sister.learn(one)
    sister.sync(one)
    user_id = one.ledger.devices()[two.keys.device_id][0]
    pins = sister.book.pins([two.keys.device_id])
    beyond = two.write([["late"]])
    one.sync(two)
    sister.rotate(Remove(user_id, pins))
    one.learn(sister)
    [change] = one.book.take_void_changes()
    assert change == (beyond.changeset.log_id, 0, 2, 0)


def test_5_a_concurrent_removal_with_better_pins_brings_changesets_back() -> None:
    one, two = pair()
    anna = Person(41)
    anna.ledger = one.users[anna.id]
    keys = anna.another_device()
    one.act(*one.ledger.admits_owed(anna.id))
    one.epochs.wraps_owed()
    sister = one.fork(keys)
    sister.sync(one)
    user_id = one.ledger.devices()[two.keys.device_id][0]
    poor = one.book.pins([two.keys.device_id])
    wires = [two.write([["late"]]).changeset for _ in range(2)]
    sister.sync(two)
    rich = sister.book.pins([two.keys.device_id])
    one.rotate(Remove(user_id, poor))
    for changeset in wires:
        assert isinstance(one.receive(changeset.wire), Quarantined)
    sister.rotate(Remove(user_id, rich))
    one.learn(sister)
    [change] = one.book.take_void_changes()
    assert change == (wires[0].log_id, 2, 0, 1)
    for seq in range(change.feed_from, 4):
        [data] = [
            d for d in [*one.wires.values(), *(c.wire for c in wires)]
            if (c := decode_changeset(d)).log_id == change.log_id and c.slot.seq == seq
        ]  # fmt: skip
        assert isinstance(one.receive(data), Accepted)
    assert one.book.frontier() == sister.book.frontier()


@pytest.mark.row("A19")
def test_5_a_revoked_device_is_held_until_the_folder_expels_it() -> None:
    one, two = pair()
    anna = Person(41)
    anna.ledger = one.users[anna.id]
    keys = anna.another_device()
    one.act(*one.ledger.admits_owed(anna.id))
    one.epochs.wraps_owed()
    stolen = one.fork(keys)
    two.learn(one)
    good = stolen.write([["before"]])
    two.receive(good.changeset.wire)
    late = stolen.write([["after"]])
    revoking = anna.ledger.revoke(anna.kit, keys.device_id, 0)
    two.learn(one)
    assert two.receive(late.changeset.wire) == Held(Wait.EXPEL)
    assert two.book.take_ready() == []
    one.sync(two)
    one.rotate(Expel(keys.device_id, revoking.id, one.book.pins([keys.device_id])))
    two.learn(one)
    [ready] = two.book.take_ready()
    assert two.receive(ready) == Quarantined(late.changeset, Fault.VOID)


# ---------------------------------------------------------------- 6


def test_6_knowing_less_than_before_freezes_the_log() -> None:
    one, two = pair()
    old = tuple(one.ledger.heads())
    one.act(Grant(Person(43).id, Role.READ))
    one.write()
    two.sync(one)
    assert is_frozen(two.receive(forge(one, heads=old).wire), BadEpoch)


@pytest.mark.row("A10", "A20")
def test_6_a_reader_that_writes_freezes_its_log() -> None:
    one, two = pair(Role.READ)
    with pytest.raises(NotEntitled):
        two.write()
    template = one.book.draft(one.keys.device_id, one.incarnation).slot
    slot = replace(template, device_id=two.keys.device_id, seq=1, previous=bytes(32), lamport=1)
    record_key = two.epochs.record_key(slot.epoch_id)
    assert record_key is not None
    made = author_changeset(two.keys, record_key, slot, [], [], two.random)
    assert is_frozen(one.receive(made.wire), NotEntitled)


def test_6_an_epoch_that_does_not_cover_freezes_the_log() -> None:
    one, two = pair()
    for epoch_id in (EntryId(bytes(32)), one.ledger.heads()[0]):
        reader = two.fork(two.keys)
        reader.sync(two)
        assert is_frozen(reader.receive(forge(one, epoch_id=epoch_id).wire), BadEpoch)
    old = one.ledger.epoch_ids()[0]
    one.rotate(Remove(Person(43).id))
    two.learn(one)
    stale = forge(one, epoch_id=old)
    assert is_frozen(two.receive(stale.wire), BadEpoch)
    assert isinstance(two.receive(stale.wire), Duplicate)


@pytest.mark.row("F30")
def test_6_a_rotation_is_owed_before_the_next_changeset() -> None:
    one, two = pair()
    one.act(Remove(Person(43).id))
    with pytest.raises(BadEpoch):
        one.write()
    two.learn(one)
    with pytest.raises(BadEpoch):
        two.write()
    two.rotate()
    made = two.write()
    one.learn(two)
    assert isinstance(one.receive(made.changeset.wire), Accepted)


# ---------------------------------------------------------------- 7 and 8


def test_7_without_the_key_a_changeset_is_held_until_the_wrap_comes() -> None:
    one, two = pair()
    one.rotate()
    made = one.write([["sealed"]])
    two.ledger.extend(one.ledger.export())
    assert two.receive(made.changeset.wire) == Held(Wait.KEY)
    assert two.book.take_ready() == []
    for wrap in one.epochs.wraps():
        two.epochs.offer(wrap)
    [ready] = two.book.take_ready()
    assert isinstance(two.receive(ready), Accepted)


def test_8_a_body_that_does_not_open_freezes_the_log() -> None:
    one, two = pair()
    draft = one.book.draft(one.keys.device_id, one.incarnation)
    made = author_changeset(one.keys, bytes(32), draft.slot, draft.frontier, [], one.random)
    assert is_frozen(two.receive(made.wire), BadRecord)


def test_8_a_frontier_that_shrinks_freezes_the_log() -> None:
    one, two = pair()
    two.write()
    one.sync(two)
    one.write()
    two.sync(one)
    first = next(
        w for w in two.wires.values() if decode_changeset(w).slot.device_id == two.keys.device_id
    )
    changeset = decode_changeset(first)
    assert changeset.slot.seq == 1
    old = FrontierEntry(changeset.log_id, 1, changeset.hash)
    assert is_frozen(two.receive(forge(one, frontier=[old]).wire), BadRecord)


@pytest.mark.row("A13")
def test_8_a_frontier_entry_that_is_not_here_is_waited_for() -> None:
    one, two = pair()
    three = one.join(Person(43), Role.WRITE)
    two.learn(one)
    first = three.write([["first"]])
    one.sync(three)
    second = one.write([["rests on first"]])
    log_id = first.changeset.log_id
    held = two.receive(second.changeset.wire)
    assert held == Held(Wait.LOGS, positions=(Position(log_id, 1),))
    assert isinstance(two.receive(first.changeset.wire), Accepted)
    [ready] = two.book.take_ready()
    assert isinstance(two.receive(ready), Accepted)


def test_8_a_quarantined_entry_counts_as_present() -> None:
    one, two = pair()
    three = one.join(Person(43), Role.WRITE)
    two.learn(one)
    three.learn(one)
    bad = forge(two, lamport=99)
    assert is_frozen(one.receive(bad.wire), BadLamport)
    # A third member that is in league with the second rests on what nobody else accepts.
    entry = FrontierEntry(bad.log_id, bad.slot.seq, bad.hash)
    draft = three.book.draft(three.keys.device_id, three.incarnation)
    record_key = three.epochs.record_key(draft.slot.epoch_id)
    assert record_key is not None
    for lamport, is_good in ((1, True), (99, False)):
        reader = one.fork(one.keys)
        reader.sync(one)
        assert is_frozen(reader.receive(bad.wire), BadLamport)
        slot = replace(draft.slot, lamport=lamport)
        made = author_changeset(three.keys, record_key, slot, [entry], [], three.random)
        received = reader.receive(made.wire)
        assert isinstance(received, Accepted) if is_good else is_frozen(received, BadLamport)


# ---------------------------------------------------------------- 9, 10 and after


@pytest.mark.parametrize("lamport", [1, 3, 4, 1 << 50])
def test_9_a_lamport_time_that_does_not_follow_freezes_the_log(lamport: int) -> None:
    one, two = pair()
    draft = one.book.draft(one.keys.device_id, one.incarnation)
    made = forge(one, lamport=lamport)
    assert draft.slot.lamport == 2
    assert is_frozen(two.receive(made.wire), BadLamport)


def test_10_the_caller_freezes_what_has_bad_records() -> None:
    one, two = pair()
    bad, after = one.write([["nonsense"]]), one.write()
    received = two.book.receive(bad.changeset.wire)
    assert isinstance(received, Accepted)
    assert is_frozen(two.book.freeze(received.changeset, BadRecord("nonsense")), BadRecord)
    assert two.book.seq_of(bad.changeset.log_id) == 1
    assert isinstance(two.receive(bad.changeset.wire), Duplicate)
    assert two.receive(after.changeset.wire) == Quarantined(after.changeset, Fault.STOPPED)
    assert isinstance(two.receive(after.changeset.wire), Duplicate)
    # The device goes on in a new incarnation, and other logs are untouched.
    one.incarnation = bytes(8)
    assert isinstance(two.receive(one.write().changeset.wire), Accepted | Held)
    assert isinstance(one.receive(two.write().changeset.wire), Accepted | Held)


def test_missing_from_gives_what_somebody_lacks() -> None:
    one, two = pair()
    for _ in range(3):
        one.write()
    mine, theirs = log_of(one), log_of(two)
    assert one.book.missing_from(two.book.frontier()) == [(mine, 2, 4)]
    assert one.book.missing_from([]) == sorted([(mine, 1, 4), (theirs, 1, 1)])
    assert two.book.missing_from(one.book.frontier()) == []
    # Where heads differ the range begins with the contradiction.
    other = FrontierEntry(mine, 3, bytes(32))
    assert (mine, 3, 4) in one.book.missing_from([other])


def test_a_stored_book_goes_on_where_it_was() -> None:
    one, two = pair()
    for _ in range(3):
        one.write()
        two.sync(one)
    two.receive(forge(one, lamport=99).wire)
    values = dict(two.book.take_changed())
    assert two.book.take_changed() == []
    changesets = sorted(
        map(decode_changeset, two.wires.values()), key=lambda c: (c.log_id, c.slot.seq)
    )
    positions = [(c.log_id, c.slot.seq, c.hash, c.slot.lamport) for c in changesets]
    book = LogBook(two.ledger, two.epochs)
    book.restore(values, positions)
    assert book.frontier() == two.book.frontier()
    assert [book.log(i) for i in book.log_ids()] == [two.book.log(i) for i in book.log_ids()]
    two.book = book
    made = two.write()
    one.sync(two)
    assert one.book.seq_of(made.changeset.log_id) == made.changeset.slot.seq
    after = one.write()
    assert isinstance(two.receive(after.changeset.wire), Quarantined)


@given(st.integers(0, 1 << 32))
@settings(max_examples=12, deadline=None)
def test_any_order_of_delivery_gives_the_same_logs(seed: int) -> None:
    random = Random(seed)
    anna, bert, carl = Person(41), Person(42), Person(43)
    one = Place.found(anna)
    places = [one, one.join(bert, Role.WRITE), one.join(carl, Role.OWNER)]
    for place in places:
        place.learn(one)
    for _ in range(14):
        place = random.choice(places)
        act = random.random()
        if act < 0.6:
            try:
                place.write([[random.random() < 0.5]])
            except BadEpoch:
                place.rotate()
        elif act < 0.7:
            place.rotate()
        else:
            place.sync(random.choice(places))
    wires = list({w for place in places for w in place.wires.values()})
    for place in places:
        one.learn(place)
    orders = []
    for _ in range(2):
        reader = one.fork(anna.device)
        random.shuffle(wires)
        pending = list(wires)
        while pending:
            for data in pending:
                assert not isinstance(reader.receive(data), Refused | Quarantined | ForkProof)
            pending = reader.book.take_ready()
        orders.append(reader.book.frontier())
    assert orders[0] == orders[1]
    assert sum(entry.seq for entry in orders[0]) == len(wires)


@given(st.binary(max_size=300))
@settings(max_examples=30)
def test_any_bytes_are_refused_without_an_exception(data: bytes) -> None:
    assert isinstance(BOOK.receive(data), Refused)


BOOK = Place.found(Person(45)).book
