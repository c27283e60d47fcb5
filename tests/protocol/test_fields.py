"""Each reader takes what its schema says and nothing next to it."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import Malformed, TooLong
from protocol.fields import (
    BOOLEAN,
    Field,
    bounded_bytes,
    fixed_bytes,
    is_control,
    list_of,
    one_of,
    record_of,
    text,
    unsigned,
)

BYTE = unsigned(8)


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        (BYTE, 0, 0),
        (BYTE, 255, 255),
        (unsigned(16, 1), 1, 1),
        (one_of(0, 2), 2, 2),
        (fixed_bytes(2), b"ab", b"ab"),
        (bounded_bytes(2), b"a", b"a"),
        (text(2), "", ""),
        (text(2), "äb", "äb"),
        (BOOLEAN, False, False),
        (list_of(BYTE, 0, 2), [], ()),
        (list_of(BYTE, 1, 2), [1, 2], (1, 2)),
        (record_of(lambda a, b: {a: b}, BYTE, BOOLEAN), [1, True], {1: True}),
    ],
)
def test_what_fits_is_read(field: Field, value: Any, read: Any) -> None:
    assert field.read(value) == read


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (BYTE, -1),
        (BYTE, 256),
        (BYTE, True),
        (BYTE, None),
        (BYTE, b"1"),
        (unsigned(16, 1), 0),
        (one_of(0, 1), 2),
        (one_of(0, 1), True),
        (fixed_bytes(2), b"a"),
        (fixed_bytes(2), b"abc"),
        (fixed_bytes(2), "ab"),
        (bounded_bytes(2), b""),
        (bounded_bytes(2), 1),
        (text(2), b"ab"),
        (text(9), "a\x1b[0m"),
        (text(9), "a\x9f"),
        (BOOLEAN, 1),
        (list_of(BYTE, 1, 2), []),
        (list_of(BYTE, 1, 2), b"ab"),
        (list_of(BYTE, 1, 2), [256]),
        (record_of(tuple, BYTE), []),
        (record_of(tuple, BYTE), [1, 2]),
        (record_of(tuple, BYTE), 1),
    ],
)
def test_what_does_not_fit_is_malformed(field: Field, value: Any) -> None:
    with pytest.raises(Malformed):
        field.read(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [(bounded_bytes(2), b"abc"), (text(2), "abc"), (list_of(BYTE, 1, 2), [1, 2, 300])],
)
def test_too_much_is_too_long(field: Field, value: Any) -> None:
    with pytest.raises(TooLong):
        field.read(value)


def test_control_characters_are_those_that_a_terminal_obeys() -> None:
    control = {chr(c) for c in range(0x300) if is_control(chr(c))}
    assert control == {chr(c) for c in [*range(0x20), *range(0x7F, 0xA0)]}


def test_a_field_says_how_many_values_it_can_be() -> None:
    assert BYTE.items == BOOLEAN.items == text(9).items == fixed_bytes(9).items == 1
    record = record_of(tuple, BYTE, list_of(BYTE, 0, 5))
    assert record.items == 1 + 1 + 6
    assert list_of(record, 1, 10).items == 1 + 10 * 8


def test_schemas_say_the_bounds() -> None:
    assert list_of(record_of(tuple, unsigned(8, 1), fixed_bytes(32)), 0, 9).schema == (
        "[[u8 from 1, bytes 32]]*0..9"
    )
