"""What a file was before is written down so that whoever comes back reads the same."""

from __future__ import annotations

import pytest

from crypto.ids import NodeId
from protocol import wire
from protocol.errors import Malformed, NewerForm, ProtocolError
from protocol.version_records import VersionRecord, decode_version, item_id

ONE = VersionRecord(
    NodeId(b"n" * 16), b"h" * 32, 70_000, -5, True, b"m" * 72, 1, "laptop", "d/\x07name", 9, False
)


def test_what_is_written_is_read() -> None:
    assert decode_version(ONE.encode()) == ONE
    assert len({item_id(ONE.encode()), item_id(ONE._replace(ended_s=10).encode())}) == 2


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, b"n"), (1, b""), (2, -1), (3, 1 << 63), (4, 1), (5, bytes(1 << 20) + b"x"), (7, "\x07"),
     (8, "x" * 32_769), (10, 0)],
)  # fmt: skip
def test_what_is_none_is_refused(place: int, value: object) -> None:
    fields = list(ONE)
    fields[place] = value
    with pytest.raises(ProtocolError):
        decode_version(wire.encode([1, *fields]))


def test_a_later_form_is_told_apart_from_nonsense() -> None:
    with pytest.raises(NewerForm):
        decode_version(wire.encode([2, "whatever"]))
    with pytest.raises(Malformed):
        decode_version(wire.encode([1, *ONE, 0]))
