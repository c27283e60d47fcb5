"""What devices tell each other of share links: bounded, read as it was kept, and in no log."""

from __future__ import annotations

from typing import Any

import pytest

from crypto.share_links import END_KEY_SIZE, LINK_SECRET_SIZE
from protocol import messages as m
from protocol import wire
from protocol.errors import Malformed, TooLong
from protocol.link_records import (
    END_KEYS,
    END_KEYS_MAX,
    NAME_LENGTH_MAX,
    RECORDS,
    RELAY_LENGTH_MAX,
    TOLD_MAX,
    WISHES,
    WISHES_MAX,
    EndKey,
    LinkRecord,
    UploadRecord,
    read_end_keys,
    read_records,
    read_uploads,
    write_end_keys,
    write_records,
)

MOST = 2**53 - 1


def record(number: int = 0, **changes: Any) -> LinkRecord:
    usual = LinkRecord(
        number.to_bytes(16, "big"), "https://relay.example", b"s" * LINK_SECRET_SIZE, "r", "name",
        False, 1, 2, 3, 4, 5, 0,
    )  # fmt: skip
    return usual._replace(**changes)


def test_what_is_kept_is_read() -> None:
    records = tuple(record(number, has_password=number > 1) for number in range(3))
    assert read_records(write_records(records)) == records
    assert str(records[0].url).startswith("https://relay.example/s/AAAA")
    uploads = tuple(UploadRecord(*record(number)[:6], 1, 2, 3, 4, 5, 0) for number in range(3))
    assert read_uploads(write_records(uploads)) == uploads
    assert str(uploads[0].url) == str(records[0].url)
    keys = tuple(EndKey(bytes([number] * 16), bytes(END_KEY_SIZE)) for number in range(3))
    assert read_end_keys(write_end_keys(keys)) == keys


def test_the_longest_that_is_told_fits_into_one_message() -> None:
    long = record(
        base="\u4e00" * 300, relay="\u4e00" * RELAY_LENGTH_MAX, name="\U0001f600" * NAME_LENGTH_MAX,
        files=MOST, size=MOST, made_s=MOST, expires_s=MOST, downloads_max=MOST, revoked_s=MOST,
    )  # fmt: skip
    known = m.LinksKnown((long,) * TOLD_MAX, (bytes(16),) * WISHES_MAX)
    number, parts = m.encode(known)
    assert m.decode(number, b"".join(parts)) == known
    uploads = m.UploadLinksKnown((UploadRecord(*long),) * TOLD_MAX)
    number, parts = m.encode(uploads)
    assert m.decode(number, b"".join(parts)) == uploads
    keys = m.EndKeysKnown((EndKey(b"\xff" * 16, b"\xff" * END_KEY_SIZE),) * END_KEYS_MAX)
    number, parts = m.encode(keys)
    assert m.decode(number, b"".join(parts)) == keys


@pytest.mark.row("A30")
def test_others_tell_no_more_than_that() -> None:
    fields = list(record())
    for wrong in ([fields] * (TOLD_MAX + 1), [[*fields[:4], "n" * 256, *fields[5:]]]):
        with pytest.raises(TooLong):
            RECORDS.read(wire.decode_own(wire.encode(wrong)))
    for place, value in ((0, b"short"), (2, b"short"), (5, 1), (6, -1), (7, 2**53)):
        with pytest.raises(Malformed):
            RECORDS.read([[*fields[:place], value, *fields[place + 1 :]]])
    with pytest.raises(TooLong):
        WISHES.read([bytes(16)] * (WISHES_MAX + 1))
    key = [bytes(16), bytes(END_KEY_SIZE)]
    with pytest.raises(TooLong):
        END_KEYS.read([key] * (END_KEYS_MAX + 1))
    for wrong_key in ([bytes(16), b""], [b"", bytes(END_KEY_SIZE)], [bytes(16)], [*key, 0]):
        with pytest.raises(Malformed):
            END_KEYS.read([wrong_key])


def test_a_record_that_is_logged_shows_nothing() -> None:
    assert "name" not in repr(record())
    assert repr(b"s" * LINK_SECRET_SIZE) not in repr(record())
    assert repr(b"s" * LINK_SECRET_SIZE) not in repr(UploadRecord(*record()))
    assert repr(b"k" * END_KEY_SIZE) not in repr(EndKey(bytes(16), b"k" * END_KEY_SIZE))
