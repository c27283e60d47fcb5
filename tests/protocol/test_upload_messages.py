"""What makers and relays say of upload links: read as it was written, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.uploads import HEAD_SIZE_MAX
from protocol import wire
from protocol.errors import ProtocolError
from protocol.relay_messages import decode, encode
from protocol.storage_messages import STORAGE_FRAME_LENGTH_MAX
from protocol.upload_messages import (
    FORMS,
    UPLOAD_PIECE_MAX,
    WAITING_LISTED_MAX,
    UploadAllow,
    UploadBytes,
    UploadDone,
    UploadList,
    UploadListed,
    UploadMessage,
    UploadNumber,
    UploadRead,
    UploadTaken,
    Waiting,
)

LINK, UPLOAD = b"l" * 16, b"u" * 16
LATE = (1 << 53) - 1
LAST = (1 << 32) - 1

SAMPLES: list[UploadMessage] = [
    UploadAllow(1, LINK, 7, 100, LATE),
    UploadList(2, LINK),
    UploadListed(2, 0, (Waiting(UPLOAD, LATE, 9, b"head"),)),
    UploadRead(3, LINK, UPLOAD, LATE, 100),
    UploadBytes(3, 0, b""),
    UploadTaken(4, LINK, UPLOAD),
    UploadDone(4, 0),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_as_it_was_written(message: UploadMessage) -> None:
    assert decode(*encode(message)) == message


def test_every_message_has_a_sample_and_every_number_a_form() -> None:
    assert [type(message) for message in SAMPLES] == [form.type for form in FORMS.values()]
    assert list(FORMS) == list(UploadNumber)


@pytest.mark.parametrize(
    "message",
    [
        UploadListed(LAST, 255, (Waiting(UPLOAD, LATE, LATE, bytes(HEAD_SIZE_MAX)),)
                     * WAITING_LISTED_MAX),
        UploadBytes(LAST, 255, bytes(UPLOAD_PIECE_MAX)),
    ],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_the_longest_are_frames_of_a_storage_link(message: UploadMessage) -> None:
    number, payload = encode(message)
    assert len(payload) <= STORAGE_FRAME_LENGTH_MAX
    assert decode(number, payload) == message


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (UploadNumber.UPLOAD_ALLOW, [1, LINK, 7, 100]),
        (UploadNumber.UPLOAD_LIST, [1, b""]),
        (UploadNumber.UPLOAD_LISTED, [1, 0, [[UPLOAD, 1, 1, b""]]]),
        (UploadNumber.UPLOAD_BYTES, [1, 0, bytes(UPLOAD_PIECE_MAX + 1)]),
        (UploadNumber.UPLOAD_BYTES, [1, 0, "text"]),
        (UploadNumber.UPLOAD_READ, [1, LINK, UPLOAD, -1, 1]),
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
        assert spec.count(row) == 1, row
