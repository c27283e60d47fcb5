"""What devices and relays say of share links: read as it was written, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.share_links import BLOB_SIZE_MAX
from protocol import wire
from protocol.errors import ProtocolError
from protocol.link_messages import (
    BLOB_PIECE_MAX,
    FORMS,
    LINKS_LISTED_MAX,
    PACKS_MAX,
    LinkAsk,
    LinkDone,
    LinkEnd,
    LinkEndKey,
    LinkKeep,
    LinkList,
    LinkListed,
    LinkMessage,
    LinkNumber,
    LinkPack,
    LinkPages,
    LinkPiece,
    LinkPlace,
    LinkPut,
    LinkRevoke,
    LinkUse,
)
from protocol.relay_messages import decode, encode
from protocol.storage_messages import STORAGE_FRAME_LENGTH_MAX

NS, LINK, HASH = b"n" * 16, b"l" * 16, b"h" * 32
LATE = (1 << 53) - 1
LAST = (1 << 32) - 1

SAMPLES: list[LinkMessage] = [
    LinkAsk(1),
    LinkPlace(1, 0, "https://relay.example", LATE),
    LinkPut(2, NS, LINK, b"s" * 16, HASH, LATE, 7, 1000, (LinkPack(NS, HASH),)),
    LinkPiece(3, LINK, 0, b"blob"),
    LinkKeep(4, LINK),
    LinkList(5, NS),
    LinkListed(5, 0, (LinkUse(LINK, 1, LATE, 7, 6, 1000, 2, 9),)),
    LinkRevoke(6, LINK, LATE, b"s" * 64),
    LinkDone(6, 0, LATE),
    LinkPages(7, LINK, (HASH,)),
    LinkEndKey(8, LINK, HASH),
    LinkEnd(9, LINK, b"k" * 32),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_as_it_was_written(message: LinkMessage) -> None:
    assert decode(*encode(message)) == message


def test_every_message_has_a_sample_and_every_number_a_form() -> None:
    assert [type(message) for message in SAMPLES] == [form.type for form in FORMS.values()]
    assert list(FORMS) == list(LinkNumber)


@pytest.mark.parametrize(
    "message",
    [
        LinkPut(LAST, NS, LINK, b"s" * 16, HASH, LATE, LAST, BLOB_SIZE_MAX,
                (LinkPack(NS, HASH),) * PACKS_MAX),
        LinkPiece(LAST, LINK, LAST, bytes(BLOB_PIECE_MAX)),
        LinkPages(LAST, LINK, (HASH,) * PACKS_MAX),
        LinkListed(LAST, 255, (LinkUse(LINK, LATE, LATE, LATE, LATE, LATE, 3, LATE),)
                   * LINKS_LISTED_MAX),
    ],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_the_longest_are_frames_of_a_storage_link(message: LinkMessage) -> None:
    number, payload = encode(message)
    assert len(payload) <= STORAGE_FRAME_LENGTH_MAX
    assert decode(number, payload) == message


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (LinkNumber.LINK_PUT, [2, NS, LINK, b"s" * 16, HASH, 0, 0, 0, []]),
        (LinkNumber.LINK_PUT, [2, NS, LINK, b"s" * 16, HASH, 0, 0, BLOB_SIZE_MAX + 1, []]),
        (LinkNumber.LINK_PUT, [2, NS, LINK, b"s" * 16, HASH, 0, 0, True, []]),
        (LinkNumber.LINK_PUT, [2, NS, LINK, b"s" * 16, HASH, 0, 0, 1, [[NS]]]),
        (LinkNumber.LINK_PIECE, [3, LINK, 0, b""]),
        (LinkNumber.LINK_PAGES, [7, LINK, [NS]]),
        (LinkNumber.LINK_REVOKE, [6, LINK, 0, b"s" * 63]),
        (LinkNumber.LINK_PLACE, [1, 0, "a\n", 0]),
        (LinkNumber.LINK_ASK, []),
    ],
)
def test_what_is_not_of_the_schema_is_refused(number: int, value: object) -> None:
    with pytest.raises(ProtocolError):
        decode(number, wire.encode(value))


def test_the_specification_s_messages_are_those_of_the_code() -> None:
    spec = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text()
    for number, form in FORMS.items():
        fields = ", ".join(field.schema for field in form.fields)
        row = f"| {int(number)} | {number.name} | {form.type.__name__} | `[{fields}]` |"
        assert spec.count(row) == 1, number.name
