"""How messages about stored shares look on the wire: what is refused, and that SPEC says it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.namespaces import DELEGATION_SIZE
from crypto.packs import LEAF_SIZE
from crypto.shares import DESCRIPTOR_SIZE_MAX, PATH_LENGTH_MAX, SHARE_LEAVES_MAX
from protocol import wire
from protocol.errors import Malformed, ProtocolError, TooLong
from protocol.relay_address import ADDRESS_LENGTH_MAX
from protocol.relay_messages import decode, encode
from protocol.storage_forms import FORMS
from protocol.storage_messages import (
    CHALLENGE_LEAVES_MAX,
    DESCRIBED_MAX,
    HOLDERS_MAX,
    PIECE_LEAVES_MAX,
    STATS_MAX,
    STORAGE_FRAME_LENGTH_MAX,
    StorageNumber,
)
from tests.protocol.test_storage_messages import table

NS, ID, KEY, SIGNATURE = b"n" * 16, b"d" * 32, b"k" * 32, b"s" * 64
LEAF = b"l" * LEAF_SIZE


@pytest.mark.row("A33")
@pytest.mark.parametrize(
    ("number", "value"),
    [
        (80, [0, b""]),
        (80, [1, b"v"]),
        (82, [1, b"d", SIGNATURE, 0, b"", b""]),
        (82, [1, b"d" * DELEGATION_SIZE, SIGNATURE, 3, b"", b""]),
        (82, [1, b"d" * DELEGATION_SIZE, SIGNATURE, 0, b"k", b""]),
        (83, [1, NS, 1 << 32, 0, SIGNATURE]),
        (83, [1, NS, 0, 4, SIGNATURE]),
        (86, [1, NS, b"", 0, [], 0, []]),
        (86, [1, NS, b"d" * (DESCRIPTOR_SIZE_MAX + 1), 0, [], 0, []]),
        (86, [1, NS, b"d", 256, [], 0, []]),
        (86, [1, NS, b"d", 0, [KEY] * (SHARE_LEAVES_MAX + 1), 0, []]),
        (86, [1, NS, b"d", 0, [], 1 << 53, []]),
        (86, [1, NS, b"d", 0, [], 0, [[0, "a"]] * (HOLDERS_MAX + 1)]),
        (86, [1, NS, b"d", 0, [], 0, [[0, "a" * (ADDRESS_LENGTH_MAX + 1)]]]),
        (88, [1, NS, ID, 0, 0, LEAF[:-1]]),
        (88, [1, NS, ID, 0, 0, LEAF * (PIECE_LEAVES_MAX + 1)]),
        (88, [1, NS, ID, 0, 1 << 16, LEAF]),
        (91, [1, b"n", ID, 0, 0, 1]),
        (91, [1, NS, ID, 0, 0, 0]),
        (91, [1, NS, ID, -1, 0, 1]),
        (93, [1, NS, ID, 0, []]),
        (93, [1, NS, ID, 0, [0] * (CHALLENGE_LEAVES_MAX + 1)]),
        (94, [1, 0, [LEAF], [[KEY] * (PATH_LENGTH_MAX + 1)]]),
        (95, [1, NS, []]),
        (95, [1, NS, [ID] * (STATS_MAX + 1)]),
        (99, [1, NS, [ID] * (DESCRIBED_MAX + 1)]),
        (102, [1, NS, [ID], 0]),
        (107, [1, 256]),
    ],
)
def test_what_is_not_of_the_schema_is_refused(number: int, value: object) -> None:
    with pytest.raises((Malformed, TooLong)):
        decode(number, wire.encode(value))


@pytest.mark.row("A33")
def test_a_frame_that_is_too_long_is_not_decoded() -> None:
    with pytest.raises(TooLong):
        decode(88, bytes(STORAGE_FRAME_LENGTH_MAX + 1))


@pytest.mark.row("A33")
@given(number=st.sampled_from(StorageNumber), payload=st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_protocol_error(number: int, payload: bytes) -> None:
    try:
        message = decode(number, payload)
    except ProtocolError:
        return
    assert encode(message) == (number, payload)


def test_the_specification_has_every_message() -> None:
    expected = [
        [str(number.value), number.name, form.type.__name__, f"`{fields}`"]
        for number, form in FORMS.items()
        for fields in ["[" + ", ".join(field.schema for field in form.fields) + "]"]
    ]
    assert table("number") == expected
