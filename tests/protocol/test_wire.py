"""The strict profile refuses what cbor2 accepts, and frames survive any cutting of the stream."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import wire
from protocol.errors import Malformed, ProtocolError, TooLong

scalars = (
    st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.booleans()
    | st.none()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5), max_leaves=20)

REFUSED = {
    "empty": "",
    "cut short": "8201",
    "trailing byte": "0000",
    "integer not shortest": "1817",
    "length not shortest": "580100",
    "indefinite array": "9f01ff",
    "indefinite bytes": "5f4101ff",
    "indefinite text": "7f6161ff",
    "float": "f93c00",
    "double": "fb3ff199999999999a",
    "not a number": "f97e00",
    "undefined": "f7",
    "simple value": "e0",
    "map": "a10102",
    "empty map": "a0",
    "duplicate keys": "a201020103",
    "date": "c074323031332d30332d32315432303a30343a30305a",
    "time": "c11a514b67b0",
    "positive bignum": "c249010000000000000000",
    "negative bignum": "c349010000000000000000",
    "fraction": "c48221196ab3",
    "shared value": "d81c80",
    "cycle": "d81c81d81d00",
    "string reference": "d9010081d81900",
    "regular expression": "d82363282b29",
    "mime": "d8246454657374",
    "uuid": "d82550c37cd95a1c0c4d2cb1f2e1b9e0f3a7c1",
    "set": "d9010283010203",
    "address": "d9010444c00a0a01",
    "self described": "d9d9f700",
    "unknown tag": "d9ffff00",
    "not utf-8": "62c328",
    "17 deep": "81" * 17 + "00",
    "4 GiB of bytes": "5affffffff",
    "2^63 bytes": "5b7fffffffffffffff",
    "2^63 items": "9b7fffffffffffffff",
}


@pytest.mark.row("A30")
@pytest.mark.parametrize("encoded", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_of_the_profile_is_refused(encoded: str) -> None:
    with pytest.raises(Malformed):
        wire.decode(bytes.fromhex(encoded))
    with pytest.raises(Malformed):
        wire.decode(b"\x81" + bytes.fromhex(encoded))


@pytest.mark.row("A30")
@pytest.mark.parametrize("tag", [*range(300), 1004, 43000, 55799, 2**16 - 1, 2**32, 2**64 - 1])
def test_no_tag_is_accepted_around_anything(tag: int) -> None:
    head = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
    for body in ("00", "40", "60", "80", "820102", "830102f6", "a0", "6a323031332d30332d3231"):
        with pytest.raises(Malformed):
            wire.decode(head + bytes.fromhex(body))


HOSTILE = {
    "arrays": b"\x81" * 100_000,
    "tags": b"\xc1" * 100_000,
    "unknown tags": b"\xd9\xff\xff" * 100_000,
    "maps": b"\xa1\x01" * 100_000,
    "shared arrays": b"\xd8\x1c\x82" * 30 + b"\x00" * 31,
    "keys of one hash": b"\xb9\x07\xd0" + b"".join(
        cbor2.dumps(i * (2**61 - 1)) + b"\x00" for i in range(2000) if i * (2**61 - 1) < 2**64
    ),
    "a length that is not there": b"\x9a\x00\xff\xff\xff",
}  # fmt: skip


@pytest.mark.row("A30")
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_cost_little(data: bytes) -> None:
    elapsed_s = []
    for _ in range(3):  # what the processor did for it, without what the machine did meanwhile
        started = time.process_time()
        with pytest.raises(Malformed):
            wire.decode(data)
        elapsed_s.append(time.process_time() - started)
    tracemalloc.start()
    with pytest.raises(Malformed):
        wire.decode(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert min(elapsed_s) < 0.01
    assert peak_bytes < 1 << 20


def many(item: bytes, size: int) -> bytes:
    """An array of so many bytes, all of one item: what becomes the most objects."""
    count = (size - 5) // len(item)
    return wire.encode([0] * count)[:-count] + item * count


SMALL_ITEMS = {
    "empty arrays": b"\x80",
    "arrays of one": b"\x81\x00",
    "arrays of an empty array": b"\x81\x80",
    "texts of two": b"\x62ab",
    "bytes of two": b"\x42ab",
    "integers": b"\x19\x7f\xff",
    "long heads": b"\x98\x18" + b"\x00" * 24,
}


@pytest.mark.row("A31")
@pytest.mark.parametrize("item", SMALL_ITEMS.values(), ids=SMALL_ITEMS.keys())
def test_millions_of_small_values_are_refused_before_they_are_made(
    item: bytes, record_property: Callable[[str, object], None]
) -> None:
    data = many(item, 16 << 20)
    tracemalloc.start()
    with pytest.raises(TooLong):
        wire.decode(data, len(data))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    started = time.process_time()
    with pytest.raises(TooLong):
        wire.decode(data, len(data))
    elapsed_s = time.process_time() - started
    assert peak_bytes < 1 << 20
    assert elapsed_s < 0.5
    record_property("figure", f"16 MiB of small values: {peak_bytes / 1024:.0f} KiB at most")


def test_the_most_values_that_may_be_take_tens_of_megabytes() -> None:
    data = many(b"\x80", wire.ITEMS_MAX - 1 + 5)
    tracemalloc.start()
    assert len(wire.decode(data, len(data))) == wire.ITEMS_MAX - 1
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64 << 20
    with pytest.raises(TooLong):
        wire.decode(many(b"\x80", wire.ITEMS_MAX + 5))


def test_what_is_short_is_not_counted_and_cannot_be_much() -> None:
    data = many(b"\x80", wire.UNCOUNTED_LENGTH)
    assert len(wire.decode(data, items_max=1)) == wire.UNCOUNTED_LENGTH - 5
    with pytest.raises(TooLong):
        wire.decode(many(b"\x80", wire.UNCOUNTED_LENGTH + 8), items_max=100)


def count(value: Any) -> int:
    """A value and all that is in it."""
    return 1 + sum(map(count, value)) if isinstance(value, list) else 1


@given(st.lists(values, max_size=5))
def test_every_value_is_counted_once(inner: list[Any]) -> None:
    value = [bytes(wire.UNCOUNTED_LENGTH), *inner, "x" * 300, 2**40, -(2**20), [0] * 300]
    data, items = wire.encode(value), count(value)
    assert wire.decode(data, items_max=items) == value
    with pytest.raises(TooLong):
        wire.decode(data, items_max=items - 1)


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_no_bytes_become_more_values_than_were_counted(data: bytes) -> None:
    # Behind a long string, so that they are counted; whatever they are, counting ends.
    head = wire.encode([bytes(wire.UNCOUNTED_LENGTH), None])[:-1]
    try:
        items = count(wire.decode(head + data))
    except ProtocolError:
        items = 1 << 40
    try:
        wire.check_items(head + data, min(items, len(data) + 3))
    except TooLong:
        pytest.fail("more were counted than there are bytes, or than were decoded")


def test_a_map_is_refused_at_its_first_key_unless_python_hashes_that_at_random() -> None:
    with pytest.raises(Malformed) as caught:
        wire.decode(bytes.fromhex("a1820001f6"))
    assert "map key" in str(caught.value.__cause__)


def test_too_long_is_not_looked_at() -> None:
    with pytest.raises(TooLong):
        wire.decode(b"\xff" * 11, 10)


@given(values)
def test_what_is_encoded_decodes_to_itself(value: Any) -> None:
    assert wire.decode(wire.encode(value)) == value
    assert wire.decode(memoryview(wire.encode(value))) == value
    assert wire.decode_own(wire.encode(value)) == value


@pytest.mark.row("A30")
@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_decode_to_what_encodes_to_them_or_are_malformed(data: bytes) -> None:
    try:
        value = wire.decode(data)
    except ProtocolError:
        return
    assert wire.encode(value) == data


@settings(max_examples=300)
@given(values, st.data())
def test_a_changed_byte_is_another_value_or_malformed(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(wire.encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = wire.decode(encoded)
    except ProtocolError:
        return
    assert wire.encode(changed) == encoded


def test_damage_on_our_own_disk_is_malformed() -> None:
    with pytest.raises(Malformed):
        wire.decode_own(b"\x82\x01")


frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=8)


@pytest.mark.row("A33")
@given(frames, st.data())
def test_frames_survive_any_cutting(sent: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(
        bytes(part)
        for number, payload in sent
        for part in wire.frame(number, [payload[:3], memoryview(payload)[3:]])
    )
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    reader = wire.FrameReader(50)
    got = [
        frame
        for start, end in pairwise([0, *cuts, len(stream)])
        for frame in reader.feed(memoryview(stream)[start:end])
    ]
    assert got == sent


@pytest.mark.row("A33")
@pytest.mark.parametrize("cut", [0, 3, 5])
def test_a_frame_beyond_the_limit_is_refused_by_its_header(cut: int) -> None:
    reader = wire.FrameReader(100)
    stream = wire.FRAME_HEADER.pack(101, 1)
    with pytest.raises(TooLong):
        [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])]


def test_the_limit_of_a_frame_is_that_of_the_moment_it_is_read() -> None:
    reader = wire.FrameReader(1)
    got = []
    for number, payload in reader.feed(b"\x00\x00\x00\x01\x01A" + b"\x00\x00\x00\x03\x02BCD"):
        got.append((number, payload))
        reader.length_max = 3
    assert got == [(1, b"A"), (2, b"BCD")]


@pytest.mark.row("A31", "A33")
def test_a_claimed_length_allocates_nothing() -> None:
    reader = wire.FrameReader(wire.FRAME_LENGTH_MAX)
    tracemalloc.start()
    assert not list(reader.feed(wire.FRAME_HEADER.pack(wire.FRAME_LENGTH_MAX, 1) + b"x" * 1000))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000


@given(
    values=st.lists(st.integers(0, 2**40) | st.binary(max_size=40), max_size=6),
    size=st.sampled_from([1 << 16, (1 << 16) + 1, 3 << 16]),
)
def test_bulk_is_encoded_as_anything_else(values: list[object], size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    whole = wire.encode([*values, data])
    assert b"".join(wire.encode_bulk(values, memoryview(data))) == whole
    assert wire.decode_bulk(whole, size, 1 << 20, 100) == [*values, data]
    with pytest.raises(TooLong):
        wire.decode_bulk(whole, size, len(whole) - 1, 100)
    with pytest.raises(TooLong):
        wire.decode_bulk(whole + bytes(9 << 10), size + (9 << 10), len(whole), 100)


@pytest.mark.row("A30")
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x82\x01",  # no head of a byte string
        b"\x82\x01\x5a\x00\x01\x00\x01",  # of another length
        b"\x82\x01\x5b\x00\x00\x00\x00\x00\x01\x00\x00",  # longer than it has to be
        b"\x83\x01\x5a\x00\x01\x00\x00",  # a list of more
        b"\x82\x18\x01\x5a\x00\x01\x00\x00",  # an integer that is longer than it has to be
        b"\x82\xc1\x01\x5a\x00\x01\x00\x00",  # a tag
        b"\x9f\x01\x5a\x00\x01\x00\x00",  # a list without an end
    ],
)
def test_bulk_outside_the_profile_is_refused(head: bytes) -> None:
    data = head + bytes(1 << 16)
    with pytest.raises(Malformed):
        wire.decode_bulk(data, 1 << 16, 1 << 20, 100)
    with pytest.raises(Malformed):
        wire.decode(data)


def test_bulk_alone_is_no_list() -> None:
    with pytest.raises(Malformed):
        wire.decode_bulk(wire.encode(bytes(1 << 16)), 1 << 16, 1 << 20, 100)
