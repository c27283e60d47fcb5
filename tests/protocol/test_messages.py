"""Every message decodes to itself, and any other bytes are refused without harm."""

from __future__ import annotations

import tracemalloc
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import messages as m
from protocol import wire
from protocol.chunk_frames import WANTED_CHUNKS_MAX, Chunks
from protocol.errors import Malformed, ProtocolError, TooLong, Unexpected
from protocol.messages import FORMS, Message, MessageNumber, decode, encode, presentable_name
from tests.protocol.message_strategies import any_message
from tests.protocol.pair import flat

numbers = st.integers(0, 40)


@settings(max_examples=400)
@given(any_message)
def test_a_message_decodes_to_itself(message: Message) -> None:
    number, parts = encode(message)
    assert decode(number, flat(parts)) == message


@pytest.mark.row("A30")
@settings(max_examples=400)
@given(numbers, st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_protocol_error(number: int, payload: bytes) -> None:
    try:
        message = decode(number, payload)
    except ProtocolError:
        return
    assert encode(message)[0] == number
    assert flat(encode(message)[1]) == payload


@settings(max_examples=400)
@given(any_message, st.data())
def test_a_damaged_message_is_another_or_a_protocol_error(
    message: Message, data: st.DataObject
) -> None:
    number, parts = encode(message)
    payload = bytearray(flat(parts))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    try:
        damaged = decode(number, bytes(payload[: data.draw(st.integers(0, len(payload)))]))
    except ProtocolError:
        return
    assert damaged != message


@given(any_message, numbers)
def test_a_message_is_not_taken_for_one_of_another_shape(message: Message, number: int) -> None:
    own, parts = encode(message)
    if number in (own, MessageNumber.CHUNKS) or {own, number} == {28, 29}:
        return
    try:
        other = decode(number, flat(parts))
    except ProtocolError:
        return
    assert type(other) is not type(message)


def test_the_set_is_closed_and_numbered_without_gaps() -> None:
    assert {form.type for form in FORMS.values()} == set(get_args(Message))
    assert sorted(FORMS) == list(range(16, 16 + len(FORMS)))
    assert set(FORMS) == set(MessageNumber)
    with pytest.raises(Unexpected):
        decode(16 + len(FORMS), b"\x80")
    with pytest.raises(Unexpected):
        decode(15, b"\x80")


@pytest.mark.row("A31")
@pytest.mark.parametrize("number", [n for n in MessageNumber if n is not MessageNumber.CHUNKS])
@pytest.mark.parametrize("item", [b"\x80", b"\x81\x00", b"\x62ab"], ids=["80", "8100", "626162"])
def test_a_message_full_of_small_values_costs_little(number: MessageNumber, item: bytes) -> None:
    size = FORMS[number].length_max
    # In the place of each field, for a reader might know only the others.
    for position in range(len(FORMS[number].fields)):
        fields = len(FORMS[number].fields)
        room = size - fields - 6
        inner = b"\x9a" + (room // len(item)).to_bytes(4, "big") + item * (room // len(item))
        before, after = b"\0" * position, b"\0" * (fields - position - 1)
        payload = bytes([0x80 + fields]) + before + inner + after
        assert len(payload) <= size
        tracemalloc.start()
        with pytest.raises((Malformed, TooLong)):
            decode(number, payload)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 8 << 20


@pytest.mark.parametrize("number", [n for n in MessageNumber if n is not MessageNumber.CHUNKS])
def test_a_payload_beyond_its_form_is_not_looked_at(number: MessageNumber) -> None:
    length_max = FORMS[number].length_max
    payload = bytes(length_max + 1)
    tracemalloc.start()
    with pytest.raises(TooLong):
        decode(number, payload)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10_000


ID = bytes(32)
TOO_MUCH: dict[str, tuple[MessageNumber, list[Any]]] = {
    "ledgers": (MessageNumber.LEDGER_HEADS, [[[0, ID, []]] * (m.LEDGERS_MAX + 1)]),
    "heads": (MessageNumber.LEDGER_HEADS, [[[0, ID, [ID] * (m.HEADS_MAX + 1)]]]),
    "entries": (MessageNumber.LEDGER, [0, ID, [b"e"] * (m.LEDGER_ENTRIES_MAX + 1)]),
    "entry": (MessageNumber.LEDGER, [0, ID, [bytes(m.LEDGER_ENTRY_LENGTH_MAX + 1)]]),
    "wraps": (MessageNumber.WRAPS, [ID, ID, [[ID, b"w"]] * (m.WRAPS_MAX + 1)]),
    "wrap": (MessageNumber.WRAPS, [ID, ID, [[ID, bytes(m.WRAP_LENGTH_MAX + 1)]]]),
    "logs": (MessageNumber.FRONTIER, [ID, [[bytes(16), 1, ID]] * (m.LOGS_MAX + 1), True, 0]),
    "changesets": (MessageNumber.CHANGESETS, [ID, [b"c"] * (m.CHANGESETS_MAX + 1)]),
    "changeset": (MessageNumber.CHANGESETS, [ID, [bytes(wire.CHANGESET_LENGTH_MAX + 1)]]),
    "wanted": (MessageNumber.WANT, [ID, 0, [ID] * (WANTED_CHUNKS_MAX + 1)]),
    "missing": (MessageNumber.MISSING, [0, [0] * (WANTED_CHUNKS_MAX + 1)]),
    "name": (MessageNumber.GREETING, [1, "n" * (m.DEVICE_NAME_LENGTH_MAX + 1)]),
    "text": (MessageNumber.CLOSE, [1, "t" * (m.CLOSE_TEXT_LENGTH_MAX + 1)]),
}


@pytest.mark.row("A30", "A31")
@pytest.mark.parametrize(("number", "fields"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_every_list_and_length_is_bounded(number: MessageNumber, fields: list[Any]) -> None:
    with pytest.raises(TooLong):
        decode(number, wire.encode(fields))


def test_to_send_beyond_a_form_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="GREETING"):
        encode(m.Greeting(1, "x" * 2000))


WRONG: dict[str, tuple[MessageNumber, Any]] = {
    "no array": (MessageNumber.PING, 1),
    "a field too few": (MessageNumber.PING, []),
    "a field too many": (MessageNumber.PING, [1, 1]),
    "version 0": (MessageNumber.GREETING, [0, "name"]),
    "a name that moves the cursor": (MessageNumber.GREETING, [1, "\x1b[2J"]),
    "a ledger of no kind": (MessageNumber.LEDGER, [3, ID, [b"e"]]),
    "no changesets": (MessageNumber.CHANGESETS, [ID, []]),
    "an empty changeset": (MessageNumber.CHANGESETS, [ID, [b""]]),
    "a want of nothing": (MessageNumber.WANT, [ID, 0, []]),
    "a short id": (MessageNumber.WANT, [ID, 0, [ID[:31]]]),
    "a request of 33 bits": (MessageNumber.CANCEL, [2**32]),
    "a boolean as number": (MessageNumber.PING, [True]),
    "a number as boolean": (MessageNumber.STATE, [ID, 1, 1, 1]),
}


@pytest.mark.parametrize(("number", "value"), WRONG.values(), ids=WRONG.keys())
def test_wrong_fields_are_malformed(number: MessageNumber, value: Any) -> None:
    with pytest.raises(Malformed):
        decode(number, wire.encode(value))


@given(st.text(max_size=200))
def test_any_name_can_be_made_presentable(name: str) -> None:
    shown = presentable_name(name)
    number, parts = encode(m.Greeting(1, shown))
    assert decode(number, flat(parts)) == m.Greeting(1, shown)
    assert presentable_name(shown) == shown


def test_a_usual_name_stays() -> None:
    assert presentable_name("Grüße 💾 box-2") == "Grüße 💾 box-2"
    assert presentable_name("a\x1b[2Jb\n") == "a[2Jb"


def test_forms_name_their_fields() -> None:
    for form in FORMS.values():
        if form.type is not Chunks:
            assert len(form.names) == len(form.fields)
