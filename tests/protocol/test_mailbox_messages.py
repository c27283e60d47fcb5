"""What is said about mailboxes: whole, bounded, and within a relay's frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.mailbox import ITEM_SIZE_MAX, Area
from protocol import wire
from protocol.errors import Malformed, ProtocolError, TooLong
from protocol.mailbox_messages import (
    DROPPED_MAX,
    FORMS,
    FRAME_ITEMS_BYTES,
    ITEM_OVERHEAD_BYTES,
    ITEMS_MAX,
    LISTED_MAX,
    Item,
    Listed,
    MailboxDone,
    MailboxDrop,
    MailboxGet,
    MailboxItems,
    MailboxList,
    MailboxListed,
    MailboxMessage,
    MailboxNews,
    MailboxNumber,
    MailboxOpen,
    MailboxOpened,
    MailboxOutcome,
    MailboxPut,
    NewItem,
)
from protocol.relay_messages import RELAY_FRAME_LENGTH_MAX, decode, encode

TAG, NAME, KEY, PROOF = b"t" * 16, b"n" * 16, b"k" * 32, b"p" * 64
POSITION = (1 << 53) - 1

SAMPLES: list[MailboxMessage] = [
    MailboxOpen(1, TAG, KEY, KEY, PROOF, b""),
    MailboxOpened(1, MailboxOutcome.DONE, POSITION),
    MailboxList(2, TAG, 0),
    MailboxListed(2, (Listed(1, Area.CONTROL, NAME, 552),), False),
    MailboxGet(3, TAG, 1, 9),
    MailboxItems(3, (Item(1, NAME, b"sealed"),), True),
    MailboxPut(4, TAG, Area.CHANGESETS, (NewItem(NAME, b"sealed"),)),
    MailboxDrop(5, TAG, (NAME,)),
    MailboxDone(5, MailboxOutcome.FULL),
    MailboxNews(TAG, 7),
]


@pytest.mark.parametrize("message", SAMPLES, ids=repr)
def test_a_message_is_read_as_it_was_written(message: MailboxMessage) -> None:
    assert decode(*encode(message)) == message


def test_every_message_has_a_sample_and_every_number_a_form() -> None:
    assert [type(message) for message in SAMPLES] == [form.type for form in FORMS.values()]
    assert list(FORMS) == list(MailboxNumber)


def fullest(size: int) -> int:
    """How many items of this size a frame is filled with."""
    return min(ITEMS_MAX, FRAME_ITEMS_BYTES // (size + ITEM_OVERHEAD_BYTES))


@pytest.mark.parametrize("size", [1, 300, 552, 1064, 2088, 4136, ITEM_SIZE_MAX])
def test_the_fullest_frames_are_frames_of_a_relay(size: int) -> None:
    number, count = (1 << 32) - 1, fullest(size)
    assert count >= 1
    for message in (
        MailboxPut(number, TAG, 3, (NewItem(NAME, b"s" * size),) * count),
        MailboxItems(number, (Item(POSITION, NAME, b"s" * size),) * count, True),
    ):
        assert len(encode(message)[1]) <= RELAY_FRAME_LENGTH_MAX
        assert decode(*encode(message)) == message


def test_the_longest_lists_are_frames_of_a_relay() -> None:
    for message in (
        MailboxListed(1 << 31, (Listed(POSITION, 3, NAME, ITEM_SIZE_MAX),) * LISTED_MAX, True),
        MailboxDrop(1 << 31, TAG, (NAME,) * DROPPED_MAX),
    ):
        assert len(encode(message)[1]) <= RELAY_FRAME_LENGTH_MAX


@pytest.mark.row("A33")
@pytest.mark.parametrize(
    ("number", "value"),
    [
        (64, [1, TAG, KEY, KEY, PROOF, b"p"]),
        (64, [1, b"t", KEY, KEY, PROOF, b""]),
        (65, [1, 4, 0]),
        (66, [1, TAG, -1]),
        (67, [1, [[1, 4, NAME, 5]], False]),
        (67, [1, [[1, 0, NAME]], False]),
        (67, [1, [[1, 0, NAME, 5]] * (LISTED_MAX + 1), False]),
        (67, [1, [], 0]),
        (68, [1, TAG, 1 << 53, 0]),
        (69, [1, [[1, NAME, b""]], False]),
        (69, [1, [[1, NAME, b"s"]] * (ITEMS_MAX + 1), False]),
        (70, [1, TAG, 1, []]),
        (70, [1, TAG, 9, [[NAME, b"s"]]]),
        (70, [1, TAG, 1, [[NAME, b"s" * (ITEM_SIZE_MAX + 1)]]]),
        (70, [1, TAG, True, [[NAME, b"s"]]]),
        (71, [1, TAG, []]),
        (71, [1, TAG, [NAME] * (DROPPED_MAX + 1)]),
        (72, [1, 9]),
        (73, [TAG]),
    ],
)
def test_what_is_not_of_the_schema_is_refused(number: int, value: object) -> None:
    with pytest.raises((Malformed, TooLong)):
        decode(number, wire.encode(value))


@pytest.mark.row("A33")
@given(number=st.sampled_from(MailboxNumber), payload=st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_protocol_error(number: int, payload: bytes) -> None:
    try:
        message = decode(number, payload)
    except ProtocolError:
        return
    assert encode(message) == (number, payload)
