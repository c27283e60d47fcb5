"""What lies in a mailbox: parts, ledger entries, wraps and heartbeats."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import EntryId, FolderId, LogId
from crypto.keys import DeviceKeys
from crypto.mailbox import GROUP_SIZE
from protocol import wire
from protocol.changesets import FrontierEntry
from protocol.errors import BadSignature, Malformed, ProtocolError
from protocol.ledger import LedgerKind
from protocol.mailbox_items import (
    PART_SIZE_MAX,
    ControlEntry,
    ControlFolder,
    ControlWrap,
    Heartbeat,
    decode_control,
    decode_heartbeat,
    joined,
    part_name,
    positions,
    split,
)

GROUP = b"g" * GROUP_SIZE
KEYS = DeviceKeys.generate(Random(1).randbytes)
FOLDER = FolderId(b"f" * 32)
ENTRY = FrontierEntry(LogId(b"l" * 16), 7, b"h" * 32)
BEAT = Heartbeat(FOLDER, KEYS.device_id, 1000, (ENTRY,), ())


@given(size=st.sampled_from([0, 1, PART_SIZE_MAX, PART_SIZE_MAX + 1, 3 * PART_SIZE_MAX]))
def test_a_thing_is_what_its_parts_make_and_the_first_is_the_last_put(size: int) -> None:
    thing = Random(size).randbytes(size)
    parts = split(GROUP, thing)
    assert [name for name, _ in parts] == [
        part_name(GROUP, index) for index in reversed(range(len(parts)))
    ]
    plains = dict(parts)
    assert joined(GROUP, plains) == thing
    for name, _ in parts:
        assert joined(GROUP, {n: p for n, p in plains.items() if n != name}) is None


def test_a_count_that_cannot_be_is_nothing() -> None:
    for head in (b"", b"\0", b"\0\0", b"\xff\xff"):
        assert joined(GROUP, {part_name(GROUP, 0): head + b"x" * len(head)}) is None
    assert joined(GROUP, {}) is None


def test_control_items_are_read_as_they_were_written() -> None:
    for item in (
        ControlEntry(LedgerKind.FOLDER, b"i" * 32, b"wire"),
        ControlWrap(EntryId(b"e" * 32), b"r" * 32, b"w" * 176),
        ControlFolder(FOLDER, (b"one", b"two"), (ControlWrap(EntryId(b"e" * 32), b"r", b"w"),)),
    ):
        assert decode_control(item.encode()) == item


@pytest.mark.parametrize(
    "body",
    [[1, 2, b"f", [1], []], [1, 2, b"f", [], [b"w"]], [1, 2, b"f", [], [[b"e", b"r", 1]]], [1, 3]],
)
def test_control_of_another_form_is_none(body: list[object]) -> None:
    with pytest.raises(Malformed):
        decode_control(wire.encode(body))


@given(data=st.binary(max_size=100))
def test_any_bytes_are_an_item_or_a_protocol_error(data: bytes) -> None:
    for decode in (decode_control, decode_heartbeat):
        with pytest.raises(ProtocolError):
            decode(data)


def test_a_heartbeat_is_its_device_s() -> None:
    signed = decode_heartbeat(BEAT.encode(KEYS))
    assert signed.check(KEYS.sign_public) == BEAT
    assert positions(BEAT.held) == {ENTRY.log_id: 7}
    other = DeviceKeys.generate(Random(2).randbytes)
    with pytest.raises(BadSignature):
        signed.check(other.sign_public)
    more = dataclasses.replace(BEAT, held=(ENTRY._replace(seq=8),))
    forged = signed._replace(body=decode_heartbeat(more.encode(KEYS)).body)
    with pytest.raises(BadSignature):
        forged.check(KEYS.sign_public)


@pytest.mark.parametrize(
    "body",
    [
        [2, FOLDER, KEYS.device_id, 1, [], []],
        [1, FOLDER[:9], KEYS.device_id, 1, [], []],
        [1, FOLDER, KEYS.device_id, -1, [], []],
        [1, FOLDER, KEYS.device_id, 1, [[b"l" * 16, 0, b"h" * 32]], []],
        [1, FOLDER, KEYS.device_id, 1, [], [list(ENTRY), list(ENTRY)]],
        [1, FOLDER, KEYS.device_id, True, [], []],
    ],
)
def test_a_heartbeat_of_another_form_is_none(body: list[object]) -> None:
    with pytest.raises(ProtocolError):
        decode_heartbeat(wire.encode([wire.encode(body), bytes(64)]))


def test_neither_is_a_signature_of_another_length() -> None:
    with pytest.raises(Malformed):
        decode_heartbeat(wire.encode([wire.encode([]), bytes(63)]))
