"""What a later version writes is told from what nobody writes, wherever a number says so (F33)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from crypto.ids import EntryId
from crypto.primitives import digest
from protocol import messages as m
from protocol import wire
from protocol.changesets import decode_slot
from protocol.errors import BadLedger, BadRecord, BadSignature, NewerForm, ProtocolError
from protocol.events import Closed, PeerGreeted
from protocol.folder_actions import FolderAct, decode_action, decode_core
from protocol.ledger import LedgerKind, encode_entry
from protocol.newer import refuse_newer
from protocol.records import RecordType, Stamp, decode_records
from protocol.session import Session
from tests.protocol.people import Person, Place

PERSON = Person(7)
PLACE = Place.found(PERSON)
STAMP = Stamp(b"l" * 16, 1, 1)  # type: ignore[arg-type]
HEADER = [0, "laptop", 0]


def slot() -> bytes:
    return PLACE.draft_and_seal().changeset.slot_bytes


def core() -> bytes:
    epochs = [a for entry in PLACE.ledger for a in entry.actions if a[0] == FolderAct.EPOCH]
    encoded: bytes = epochs[0][1]
    return encoded


def with_version(encoded: bytes, version: Any) -> bytes:
    return wire.encode([version, *wire.decode(encoded)[1:]])


READERS: dict[str, tuple[Callable[[Any], object], int]] = {
    "record": (lambda n: decode_records([HEADER, [n, b"anything"]], STAMP, {}), max(RecordType)),
    "action": (lambda n: decode_action([n, b"anything"]), max(FolderAct)),
    "slot": (lambda n: decode_slot(with_version(slot(), n)), 1),
    "core": (lambda n: decode_core(with_version(core(), n)), 1),
    "a number": (lambda n: refuse_newer(n, 4), 4),
}


@pytest.mark.row("F33")
@pytest.mark.parametrize(("read", "known"), READERS.values(), ids=READERS.keys())
def test_a_higher_number_is_of_a_later_version_and_nothing_else_is(
    read: Callable[[Any], object], known: int
) -> None:
    for number in (known + 1, known + 1000, 2**63):
        with pytest.raises(NewerForm):
            read(number)
    for other in (-1, True, None, "9", b"9", [known + 1]):
        try:
            read(other)
        except NewerForm:
            pytest.fail(f"{other!r} is no number of a later version")
        except ProtocolError:
            continue


def test_damage_before_what_is_newer_is_damage() -> None:
    with pytest.raises(BadRecord):
        decode_records([HEADER, [5, 5], [99]], STAMP, {})


def signed(place: Place, actions: list[Any], parents: Iterable[EntryId]) -> tuple[bytes, EntryId]:
    """An entry's wire bytes and id, whatever its actions are."""
    ledger_id, author = place.ledger.folder_id, place.keys
    encoded = encode_entry(
        LedgerKind.FOLDER, ledger_id, sorted(parents), author.device_id, actions, 0
    )
    signature = author.sign("entry", ledger_id, encoded)
    return wire.encode([encoded, signature]), EntryId(digest("entry", ledger_id, encoded))


@pytest.mark.row("F33")
def test_an_action_of_a_later_version_is_not_taken_and_what_rests_on_it_waits() -> None:
    old = PLACE.fork(PERSON.device)
    before = old.ledger.export()
    newer, newer_id = signed(
        PLACE, [[max(FolderAct) + 1, b"what is not known"]], old.ledger.heads()
    )
    after, _ = signed(PLACE, [[max(FolderAct), b"anything"]], [newer_id])
    with pytest.raises(NewerForm):
        old.ledger.add(newer)
    assert old.ledger.add(after) == []
    assert old.ledger.export() == before
    assert old.ledger.missing() == {newer_id}
    # Who is not of the folder cannot even say that there is something newer.
    stranger = Place.found(Person(9))
    forged, _ = signed(stranger, [[max(FolderAct) + 1]], old.ledger.heads())
    with pytest.raises((BadLedger, BadSignature)):
        old.ledger.add(forged)


@pytest.mark.row("F33")
def test_unknown_messages_are_ignored_from_who_greeted_with_a_higher_version() -> None:
    for version, goes_on in ((m.PROTOCOL_VERSION + 1, True), (m.PROTOCOL_VERSION, False)):
        session = Session(0.0, "old")
        greeting = m.encode(m.Greeting(version, "new"))
        session.receive(greeting[0], bytes(greeting[1][0]), 0.0)
        assert session.next_event() == PeerGreeted(version, "new")
        session.receive(max(m.FORMS) + 1, b"whatever", 0.0)
        session.receive(200, b"", 0.0)
        if goes_on:
            session.frames_to_send()
            number, parts = m.encode(m.Ping(7))
            session.receive(number, bytes(parts[0]), 0.0)
            ((answer, _, _),) = session.frames_to_send()
            assert answer == m.MessageNumber.PONG
        else:
            assert isinstance(session.next_event(), Closed)


@pytest.mark.row("F33")
def test_what_is_known_is_read_as_ever_from_whoever_greets_higher() -> None:
    session = Session(0.0, "old")
    number, parts = m.encode(m.Greeting(9, "new"))
    session.receive(number, bytes(parts[0]), 0.0)
    session.receive(m.MessageNumber.STATE, b"\x80", 0.0)
    events = [session.next_event(), session.next_event()]
    assert isinstance(events[1], Closed), "a known form never changes"
