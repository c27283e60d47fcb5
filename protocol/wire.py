"""Bytes on a link: the strict CBOR profile and length-prefixed frames. The only importer of cbor2.

The profile (SPEC 3): definite arrays, integers of 64 bits, byte strings, text, booleans and null;
no maps, tags or floats; shortest encodings only. What was received is hashed and stored as it came,
never re-encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, Final, Never

import cbor2

from protocol.errors import Malformed, TooLong

CHANGESET_LENGTH_MAX: Final = (4 << 20) + (64 << 10)
"""A changeset's body is at most 4 MiB (SPEC 10); the rest is room for its slot and signature."""
MESSAGE_LENGTH_MAX: Final = 6 << 20
"""The longest CBOR value: a frame with one changeset of the largest kind fits easily."""
CHUNK_LENGTH_MAX: Final = 16 << 20
"""The largest chunk that a frame can carry (SPEC 7); twice what files are cut into now."""
FRAME_LENGTH_MAX: Final = CHUNK_LENGTH_MAX + (64 << 10)
"""The largest frame after authentication: one largest chunk and its header."""
HANDSHAKE_FRAME_LENGTH_MAX: Final = 16 << 10
"""The largest frame before authentication (CRYPTO 7)."""
DEPTH_MAX: Final = 16
"""Arrays within arrays; ours go to 5."""
ITEMS_MAX: Final = 1 << 19
"""The most values of anything from outside. An empty array is one byte of CBOR, 64 of memory and a
microsecond: so many are 50 MiB. A changeset of 2,000 new files has 20,000 values.
"""
UNCOUNTED_LENGTH: Final = 8 << 10
"""What is no longer is decoded without being counted first: it cannot become a megabyte."""
FRAME_HEADER: Final = Struct(">IB")
"""u32 length of what follows the header, u8 message number."""

_BULK: Final = 0x5A
"""A byte string whose length is in the four bytes that follow."""
_BULK_HEAD: Final = Struct(">BI")
_HEADER_LENGTH: Final = FRAME_HEADER.size
_NOT_DECODED: Final = (cbor2.CBORError, ValueError, OverflowError, RecursionError, MemoryError)
_CLOSED: Final = frozenset((int, bytes, str, bool, type(None), list))
# Every tag that cbor2 builds something of: 28 and 29 make cycles and exponential sharing, 35
# compiles the sender's regular expression. Others become CBORTags, which the type check refuses;
# 55799, which cbor2 skips, fails the comparison below. The test tries each that could matter.
_BUILT_IN_TAGS: Final = (
    *range(6),
    *(25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000),
)


def encode(value: Any) -> bytes:
    """Encodes arrays of int, bytes, str, bool and None; one value has one encoding."""
    return cbor2.dumps(value)


def decode(
    data: bytes | bytearray | memoryview,
    length_max: int = MESSAGE_LENGTH_MAX,
    items_max: int = ITEMS_MAX,
) -> Any:
    """Decodes one value of the profile, which with all that is in it is `items_max` values at most.

    Raises Malformed, or TooLong before any object is made of what is too much.
    """
    if len(data) > length_max:
        raise TooLong(f"{len(data)} bytes where at most {length_max} are allowed")
    data = bytes(data)
    check_items(data, items_max)
    try:
        value = cbor2.loads(
            data,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_REFUSE_BUILT_IN_TAGS,
        )
    except _NOT_DECODED as error:
        raise Malformed("not CBOR of the profile") from error
    _check_types([value])
    # cbor2 ignores what follows the value and accepts longer encodings; this refuses both.
    if cbor2.dumps(value) != data:
        raise Malformed("not the shortest encoding")
    return value


def encode_bulk(values: list[Any], data: bytes | memoryview) -> list[bytes | memoryview]:
    """What `encode` makes of the values with these 64 KiB or more behind them, in parts and without
    a copy of the data: measured, 20 us instead of 640 for half a megabyte.
    """
    assert len(data) > 0xFFFF, "shorter ones have a shorter head"
    return [cbor2.dumps([*values, b""])[:-1], _BULK_HEAD.pack(_BULK, len(data)), data]


def decode_bulk(data: bytes, size: int, length_max: int, items_max: int) -> Any:
    """What `decode` makes of a list that ends with a byte string of this size, 64 KiB or more;
    raises Malformed for any other.
    """
    if len(data) > length_max:
        raise TooLong(f"{len(data)} bytes where at most {length_max} are allowed")
    assert size > 0xFFFF
    split = len(data) - size
    head = split - _BULK_HEAD.size
    if head < 0 or data[head:split] != _BULK_HEAD.pack(_BULK, size):
        raise Malformed("not a list that ends with so many bytes")
    value = decode(data[:head] + b"\x40", length_max, items_max)
    if type(value) is not list or not value or value[-1] != b"":
        raise Malformed("not a list that ends with so many bytes")
    value[-1] = data[split:]
    return value


def check_items(data: bytes, items_max: int) -> None:
    """Raises TooLong if a decoder could meet more than `items_max` values in these bytes.

    A value takes a byte at least, so that most bytes need no counting; where they do, it costs
    0.1 us a value and no memory. It counts as the decoder reads: up to the first byte that this
    refuses.
    """
    if len(data) <= max(items_max, UNCOUNTED_LENGTH):
        return
    position = count = 0
    end = len(data)
    steps = _STEPS
    while position < end:
        if count >= items_max:
            raise TooLong(f"more than {items_max} values")
        count += 1
        head = data[position]
        step = steps[head]
        if step:
            position += step
        else:
            after = position + 1 + (1 << (head & 3))
            position = after + int.from_bytes(data[position + 1 : after], "big")


def _step(head: int) -> int:
    """How far the next value lies from one with this first byte; 0 if the next bytes say it."""
    major, low = head >> 5, head & 31
    if low < 24:
        return 1 + (low if major in (2, 3) else 0)
    if low < 28:
        return 0 if major in (2, 3) else 1 + (1 << (low & 3))
    return 1  # not in the profile: what follows is never decoded


_STEPS: Final = tuple(map(_step, range(256)))


def decode_own(data: bytes) -> Any:
    """Decodes what only we wrote, without the checks for hostile bytes; Malformed if damaged."""
    try:
        return cbor2.loads(data)
    except _NOT_DECODED as error:
        raise Malformed("not what was written here") from error


def _refuse_tag(*_: Any) -> Never:
    raise Malformed("tags are not in the profile")


_REFUSE_BUILT_IN_TAGS: Final = dict.fromkeys(_BUILT_IN_TAGS, _refuse_tag)


def _check_types(items: list[Any]) -> None:
    # One set of types costs a third of a test for each item. The decoder has bounded the depth.
    kinds = set(map(type, items))
    if not kinds <= _CLOSED:
        raise Malformed("only arrays, integers, bytes, text, booleans and null are in the profile")
    if list in kinds:
        for item in items:
            if type(item) is list:
                _check_types(item)


class FrameReader:
    """Cuts a byte stream into frames; holds at most one unfinished one, grown as its bytes arrive.

    `length_max` may change between two frames of one `feed`: each is measured when its turn comes.
    """

    def __init__(self, length_max: int) -> None:
        self.length_max = length_max
        self._partial = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[tuple[int, bytes]]:
        """Yields (message number, payload) for each frame that is now whole; must be exhausted."""
        partial = self._partial
        view = memoryview(data)
        start = 0
        if partial:
            start = self._top_up(view)
            if (length := self._length_of(partial)) is None or len(partial) < length:
                return
            number, payload = partial[4], bytes(memoryview(partial)[_HEADER_LENGTH:])
            partial.clear()
            yield number, payload
        # Whole frames are cut from what was fed, without a copy in between.
        while (length := self._length_of(view, start)) is not None and start + length <= len(view):
            payload = bytes(view[start + _HEADER_LENGTH : start + length])
            number = view[start + 4]
            start += length
            yield number, payload
        partial += view[start:]

    def _top_up(self, view: memoryview) -> int:
        """Moves into the unfinished frame what belongs to it; says how much that was."""
        partial = self._partial
        taken = 0
        if len(partial) < _HEADER_LENGTH:
            taken = _HEADER_LENGTH - len(partial)
            partial += view[:taken]
        length = self._length_of(partial)
        if length is not None and len(partial) < length:
            end = taken + length - len(partial)
            partial += view[taken:end]
            taken = end
        return min(taken, len(view))

    def _length_of(self, buffer: bytearray | memoryview, start: int = 0) -> int | None:
        """The length of the frame at `start` with header; None while the header is not whole."""
        if len(buffer) - start < _HEADER_LENGTH:
            return None
        length: int = FRAME_HEADER.unpack_from(buffer, start)[0]
        if length > self.length_max:
            raise TooLong(f"a frame of {length} bytes")
        return _HEADER_LENGTH + length


def frame(number: int, parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """A frame as a list of buffers, ready for a gathering write."""
    return [FRAME_HEADER.pack(sum(map(len, parts)), number), *parts]
