"""Packs: what goes in comes out, sizes tell little, and no changed byte is believed."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import packs
from crypto.chunks import ChunkHasher, SealedChunk, open_chunk, seal_chunk, seal_log_item
from crypto.errors import OpenError
from crypto.ids import ChunkId
from crypto.packs import (
    LEAF_SIZE,
    PACK_SIZE_MAX,
    PACK_SIZE_TARGET,
    SHORT_ID_SIZE,
    TAIL_SIZE,
    TRAILER_BOX_SIZE,
    Pack,
    PackIndex,
    PackKind,
    PackWriter,
    is_pack_of,
    open_pack,
    open_pack_index,
    open_pack_trailer,
    pack_hint,
    pack_id,
    padded_pack_size,
)
from crypto.primitives import derive, seal
from tests.crypto.seeded import Seeded
from tests.crypto.test_primitives import flips

READ = b"\x01" * 32
HASHER = ChunkHasher(b"\x02" * 32)


def pack_of(*contents: bytes) -> Pack:
    writer = PackWriter(READ, PackKind.CHUNKS, os.urandom)
    for data in contents:
        chunk_id = HASHER.chunk_id(data)
        writer.add(chunk_id, seal_chunk(READ, chunk_id, data, os.urandom(12)))
    return writer.close()


def as_read(index: PackIndex) -> PackIndex:
    """What comes out of a pack of chunks: of ids no more than what an index has of them."""
    short = tuple(replace(slot, id=slot.id[:SHORT_ID_SIZE]) for slot in index.slots)
    return PackIndex(index.kind, short)


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=12))
def test_what_was_packed_is_found_again(contents: list[bytes]) -> None:
    pack = pack_of(*contents)
    assert pack_id(pack.data) == pack.pack_id
    assert open_pack(READ, pack.data) == as_read(pack.index)
    for slot, data in zip(pack.index.slots, contents, strict=True):
        chunk_id = ChunkId(slot.id)
        assert open_chunk(READ, chunk_id, slot.cut(pack.data), HASHER) == data


def test_a_slot_is_cut_from_the_leaves_that_hold_it() -> None:
    contents = [bytes([n]) * 20_000 + Seeded(n)(20_000) for n in range(8)]
    pack = pack_of(*contents)
    slot = pack.index.slots[5]
    first = slot.offset // LEAF_SIZE * LEAF_SIZE
    last = -(-(slot.offset + slot.length) // LEAF_SIZE) * LEAF_SIZE
    piece = pack.data[first:last]
    assert open_chunk(READ, ChunkId(slot.id), slot.cut(piece, first), HASHER) == contents[5]
    for wrong_piece, start in ((piece[:-LEAF_SIZE], first), (piece, first + LEAF_SIZE), (b"", 0)):
        with pytest.raises(OpenError):
            slot.cut(wrong_piece, start)


def test_log_packs_hold_wire_bytes() -> None:
    writer = PackWriter(READ, PackKind.LOG, os.urandom)
    writer.add(b"\x05" * 32, seal_log_item(READ, b"\x05" * 32, b"wire", os.urandom(12)))
    index = open_pack(READ, writer.close().data)
    assert index.kind is PackKind.LOG
    assert [slot.id for slot in index.slots] == [b"\x05" * 32]


@pytest.mark.row("A16")
@given(st.integers(1, PACK_SIZE_TARGET))
def test_the_ladder_has_few_rungs_and_little_fill(size: int) -> None:
    padded = padded_pack_size(size)
    assert padded >= size
    assert padded % LEAF_SIZE == 0
    assert padded_pack_size(padded) == padded
    assert padded - size < max(LEAF_SIZE, size / 8 + 1)


@pytest.mark.row("A16")
def test_the_ladder_is_the_one_of_the_construction() -> None:
    rungs = sorted({padded_pack_size(size) for size in range(1, PACK_SIZE_TARGET, 9973)})
    assert rungs[:8] == [LEAF_SIZE * n for n in range(1, 9)]
    assert len(rungs) == 8 + 4 * 8  # up to 512 KiB, then eight a doubling
    assert rungs[-1] == PACK_SIZE_TARGET


def test_a_pack_is_closed_before_it_exceeds_its_target() -> None:
    writer = PackWriter(READ, PackKind.CHUNKS, Seeded("fill"))
    sealed = SealedChunk(0, 512 << 10, bytes((512 << 10) + 28))
    while writer.has_room_for(len(sealed.sealed)):
        writer.add(bytes([len(writer.slots)]) * 32, sealed)
    with pytest.raises(AssertionError):
        writer.add(b"\xff" * 32, sealed)
    pack = writer.close()
    assert len(pack.index.slots) == 15
    assert len(pack.data) == PACK_SIZE_TARGET


def test_the_largest_chunk_has_a_pack_to_itself() -> None:
    writer = PackWriter(READ, PackKind.CHUNKS, Seeded("large"))
    writer.add(b"\x01" * 32, SealedChunk(0, 16 << 20, bytes((16 << 20) + 28)))
    assert not writer.has_room_for(28)
    pack = writer.close()
    assert len(pack.data) == PACK_SIZE_MAX
    assert open_pack(READ, pack.data) == as_read(pack.index)


def test_a_small_file_takes_eighteen_bytes_of_its_index() -> None:
    some, more = pack_of(*map(Seeded("few"), [2550] * 3)), Seeded("more")
    many = pack_of(*map(Seeded("few"), [2550] * 3), *map(more, [2550] * 7))

    def index_size(pack: Pack) -> int:
        tail = pack.data[-TRAILER_BOX_SIZE:]
        return open_pack_trailer(READ, pack.data[:32], tail, len(pack.data))[1]

    assert index_size(many) - index_size(some) == 7 * 18


def test_whether_a_slot_fits_is_known_before_it_is_there() -> None:
    """With as many as come before an eighth of a rung is full, by every length of a row."""
    for codec, size in ((0, 60), (0, 9000), (1, 300_000)):
        writer = PackWriter(READ, PackKind.CHUNKS, Seeded(f"fit {size}"))
        sealed = SealedChunk(codec, size if not codec else 2 * size, bytes(size + 28))
        while writer.has_room_for(size + 28):
            writer.add(len(writer.slots).to_bytes(32, "big"), sealed)
        assert len(writer.close().data) == PACK_SIZE_TARGET


def test_a_pack_left_open_is_continued() -> None:
    writer = PackWriter(READ, PackKind.CHUNKS, os.urandom)
    first = writer.add(b"\x01" * 32, SealedChunk(0, 12, bytes(40)))
    again = PackWriter(
        READ, PackKind.CHUNKS, os.urandom, data=bytes(writer.data), slots=writer.slots
    )
    second = again.add(b"\x02" * 32, SealedChunk(0, 2, bytes(30)))
    expected = as_read(PackIndex(PackKind.CHUNKS, (first, second)))
    assert open_pack(READ, again.close().data) == expected
    with pytest.raises(AssertionError):
        PackWriter(READ, PackKind.CHUNKS, os.urandom, data=bytes(71), slots=[first])


def test_an_empty_pack_is_not_written() -> None:
    with pytest.raises(AssertionError):
        PackWriter(READ, PackKind.CHUNKS, os.urandom).close()


def test_the_hint_tells_the_epoch() -> None:
    pack = pack_of(b"x")
    salt, hint = pack.data[:32], pack.data[-TAIL_SIZE:-TRAILER_BOX_SIZE]
    epochs = [Seeded(n)(32) for n in range(50)]
    assert not any(is_pack_of(epoch, salt, hint) for epoch in epochs)
    assert is_pack_of(READ, salt, hint)
    with pytest.raises(OpenError):
        open_pack(epochs[0], pack.data)


@pytest.mark.row("A15")
def test_two_packs_of_the_same_chunk_have_nothing_in_common() -> None:
    left, right = pack_of(b"same"), pack_of(b"same")
    assert left.pack_id != right.pack_id
    leaves = {left.data[at : at + 8] for at in range(0, LEAF_SIZE, 8)}
    assert not leaves & {right.data[at : at + 8] for at in range(0, LEAF_SIZE, 8)}


@pytest.mark.row("A07")
def test_every_changed_byte_that_matters_is_refused() -> None:
    pack = pack_of(b"a" * 300, Seeded("b")(300))
    tail = pack.data[-TRAILER_BOX_SIZE:]
    offset, length = open_pack_trailer(READ, pack.data[:32], tail, len(pack.data))
    boxes = [
        *range(32),  # salt
        *range(offset, offset + length),  # index box
        *range(len(pack.data) - TAIL_SIZE, len(pack.data)),  # hint and trailer box
    ]
    for at in boxes:
        changed = bytearray(pack.data)
        changed[at] ^= 1
        assert pack_id(bytes(changed)) != pack.pack_id
        with pytest.raises(OpenError) as caught:
            open_pack(READ, bytes(changed))
        assert caught.value.args == ()


@pytest.mark.parametrize(
    "size", [0, 1, 87, LEAF_SIZE - 1, LEAF_SIZE + 1, PACK_SIZE_MAX + LEAF_SIZE]
)
def test_other_sizes_are_no_packs(size: int) -> None:
    with pytest.raises(OpenError):
        open_pack(READ, bytes(size))


def test_a_pack_does_not_grow_in_its_fill() -> None:
    data = pack_of(b"x").data
    for more in (1, LEAF_SIZE // 2):
        with pytest.raises(OpenError):
            open_pack(READ, data[:-TAIL_SIZE] + bytes(more) + data[-TAIL_SIZE:])


SALT = b"\x0a" * 32
PACK_KEY = derive(READ, "pack key", SALT)
ROW = b"\x05" * 32 + (40).to_bytes(4, "big") + b"\0" + (12).to_bytes(4, "big")


def index_box(table: bytes) -> bytes:
    return seal(PACK_KEY, "pack index", SALT, plaintext=table, random32=os.urandom(32))


BAD_TABLES = {
    "empty": b"",
    "another version": b"\x03\0" + (1).to_bytes(4, "big") + ROW,
    "another kind": b"\x01\x02" + (1).to_bytes(4, "big") + ROW,
    "a row too few": b"\x01\0" + (2).to_bytes(4, "big") + ROW,
    "a row too many": b"\x01\0" + (0).to_bytes(4, "big") + ROW,
    "half a row": b"\x01\0" + (1).to_bytes(4, "big") + ROW[:-1],
    "four billion rows": b"\x01\0" + b"\xff" * 4 + ROW,
    "shorter than the pack": b"\x01\0" + (1).to_bytes(4, "big") + ROW[:35] + b"\x27" + ROW[36:],
    "a slot below the overhead": b"\x01\0" + (1).to_bytes(4, "big") + ROW[:35] + b"\x1b" + ROW[36:],
    "a slot of 4 GiB": b"\x01\0" + (1).to_bytes(4, "big") + ROW[:32] + b"\xff" * 4 + ROW[36:],
    "an unknown codec": b"\x01\0" + (1).to_bytes(4, "big") + ROW[:36] + b"\x02" + ROW[37:],
    "a plain length of 4 GiB": b"\x01\0" + (1).to_bytes(4, "big") + ROW[:37] + b"\xff" * 4,
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_an_index_that_no_writer_makes_is_refused(case: str) -> None:
    good = index_box(b"\x01\0" + (1).to_bytes(4, "big") + ROW)
    assert open_pack_index(READ, SALT, good, 32 + 40).slots[0].offset == 32
    for index_offset in (32, 32 + 27, 32 + 40, 32 + 80, 32 + 2**32 - 1):
        with pytest.raises(OpenError):
            open_pack_index(READ, SALT, index_box(BAD_TABLES[case]), index_offset)


SHORT_ID = b"\x05" * SHORT_ID_SIZE
BAD_SHORT_TABLES = {
    "another kind": b"\x02\x02" + (1).to_bytes(4, "big") + SHORT_ID + b"\x50",
    "a row too few": b"\x02\0" + (2).to_bytes(4, "big") + SHORT_ID + b"\x50",
    "a row too many": b"\x02\0" + (0).to_bytes(4, "big") + SHORT_ID + b"\x50",
    "half a row": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID,
    "half a number": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\xd0",
    "no saving": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\x51",
    "a second spelling": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\xd0\0",
    "a number of five bytes": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\xd0\x80\x80\x80\1",
    "four billion rows": b"\x02\0" + b"\xff" * 4 + SHORT_ID + b"\x50",
    "shorter than the pack": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\x4e",
    "a slot below the overhead": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\x36",
    "a slot of 32 MiB": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\x80\x80\x80\x20",
    "a plain length of 32 MiB": b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID
    + b"\x51\x80\x80\x80\x10",
    "a log item's row": b"\x02\1" + (1).to_bytes(4, "big") + SHORT_ID + b"\x50",
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SHORT_TABLES)
def test_a_short_index_that_no_writer_makes_is_refused(case: str) -> None:
    good = index_box(b"\x02\0" + (1).to_bytes(4, "big") + SHORT_ID + b"\x50")
    assert open_pack_index(READ, SALT, good, 32 + 40).slots[0].id == SHORT_ID
    for index_offset in (32, 32 + 27, 32 + 40, 32 + 80, 32 + (32 << 20)):
        with pytest.raises(OpenError):
            open_pack_index(READ, SALT, index_box(BAD_SHORT_TABLES[case]), index_offset)


def test_rows_that_have_no_room_in_their_pack_are_not_kept() -> None:
    """A liar's index of 18 MiB would be a million objects before its sum was found to be wrong."""
    count = 100_000
    row = SHORT_ID + b"\x50"
    box = index_box(b"\x02\0" + count.to_bytes(4, "big") + row * count)
    tracemalloc.start()
    try:
        with pytest.raises(OpenError):
            open_pack_index(READ, SALT, box, 32 + 40 * 1_000)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(box)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("offset", "length"), [(31, 100), (32, LEAF_SIZE), (LEAF_SIZE, 0), (2**32 - 1, 2**32 - 1)]
)
def test_an_index_outside_the_pack_is_refused(offset: int, length: int) -> None:
    trailer = offset.to_bytes(4, "big") + length.to_bytes(4, "big")
    box = seal(PACK_KEY, "pack trailer", SALT, plaintext=trailer, random32=os.urandom(32))
    assert len(box) == TRAILER_BOX_SIZE == 48
    with pytest.raises(OpenError):
        open_pack_trailer(READ, SALT, box, LEAF_SIZE)
    for bad in flips(box)[::7]:
        with pytest.raises(OpenError):
            open_pack_trailer(READ, SALT, bad, LEAF_SIZE)


@pytest.mark.row("A08")
def test_a_chunk_in_another_slot_is_refused() -> None:
    pack = pack_of(b"a" * 300, b"b" * 300)
    first, second = pack.index.slots
    with pytest.raises(OpenError):
        open_chunk(READ, ChunkId(first.id), second.cut(pack.data), HASHER)
    moved = replace(first, offset=second.offset)
    with pytest.raises(OpenError):
        open_chunk(READ, ChunkId(first.id), moved.cut(pack.data), HASHER)


def test_the_hint_is_a_tag_of_the_salt() -> None:
    assert len(pack_hint(READ, SALT)) == packs.HINT_SIZE
    assert pack_hint(READ, SALT) != pack_hint(READ, bytes(32))
