"""What the fields of a message may be: for each kind of value its bound and its name in the schema.

A reader gets a value as wire.decode made it and gives it back, lists as tuples; it raises Malformed
for another kind of value and TooLong for too much of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from protocol.errors import Malformed, TooLong

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A kind of value: how SPEC writes it, and what checks it."""

    schema: str
    read: Read
    items: int = 1
    """The most CBOR values that it can be: itself, and all within a list."""


def unsigned(bits: int, minimum: int = 0) -> Field:
    """An integer from `minimum` to 2^bits - 1."""
    limit = 1 << bits

    def read(value: Any) -> int:
        if type(value) is not int or not minimum <= value < limit:
            raise Malformed(f"not an integer from {minimum} to 2^{bits} - 1")
        return value

    return Field(f"u{bits}" + (f" from {minimum}" if minimum else ""), read)


def one_of(*values: int) -> Field:
    """One of a few integers."""

    def read(value: Any) -> int:
        if type(value) is not int or value not in values:
            raise Malformed(f"not one of {values}")
        return value

    return Field(" or ".join(map(str, values)), read)


def fixed_bytes(length: int) -> Field:
    """A byte string of exactly this length."""

    def read(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise Malformed(f"not {length} bytes")
        return value

    return Field(f"bytes {length}", read)


def bounded_bytes(length_max: int) -> Field:
    """A byte string of 1 to `length_max` bytes."""

    def read(value: Any) -> bytes:
        if type(value) is not bytes or not value:
            raise Malformed("not a byte string")
        if len(value) > length_max:
            raise TooLong(f"{len(value)} bytes where at most {length_max} are allowed")
        return value

    return Field(f"bytes 1..{length_max}", read)


def text(length_max: int) -> Field:
    """Text of at most `length_max` characters, none of them a control character."""

    def read(value: Any) -> str:
        if type(value) is not str:
            raise Malformed("not text")
        if len(value) > length_max:
            raise TooLong(f"{len(value)} characters where at most {length_max} are allowed")
        if any(map(is_control, value)):
            raise Malformed("a control character in text")
        return value

    return Field(f"text 0..{length_max}", read)


def is_control(character: str) -> bool:
    """Whether a terminal might obey this character instead of showing it (ATTACKS A37)."""
    return character < " " or "\x7f" <= character <= "\x9f"


def _read_boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Malformed("not a boolean")
    return value


BOOLEAN: Final = Field("bool", _read_boolean)


def list_of(item: Field, minimum: int, maximum: int) -> Field:
    """A list of `minimum` to `maximum` values of one kind."""
    read_item = item.read

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) < minimum:
            raise Malformed(f"not a list of at least {minimum}")
        if len(value) > maximum:
            raise TooLong(f"{len(value)} items where at most {maximum} are allowed")
        return tuple(map(read_item, value))

    return Field(f"[{item.schema}]*{minimum}..{maximum}", read, 1 + maximum * item.items)


def record_of(make: Callable[..., Any], *fields: Field) -> Field:
    """A list with one value for each field, given to `make`."""
    readers = tuple(field.read for field in fields)

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) != len(readers):
            raise Malformed(f"not a list of {len(readers)} fields")
        return make(*(read(item) for read, item in zip(readers, value, strict=True)))

    schema = "[" + ", ".join(field.schema for field in fields) + "]"
    return Field(schema, read, 1 + sum(field.items for field in fields))
