"""Packs: many sealed chunks, or log items, in one padded file that hides them (CRYPTO 6).

    salt32 || sealed ... || index box || random fill || hint8 || trailer box (48)

Whoever stores a pack sees random bytes of one of few lengths. A member opens it from its end: the
hint tells the epoch, the trailer tells where the index is.

The index is a table, where the construction first had CBOR, of which this package parses none. Its
rows are short, for of a small file they are a good part of what is stored beside its bytes: slots
lie end to end, so no offset is stored or believed, and of a chunk's id a row has 16 bytes. A reader
looks for a chunk that it can name, and needs the whole id to open it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from blake3 import blake3

from crypto.chunks import CHUNK_SEAL_OVERHEAD, CHUNK_SIZE_MAX, SealedChunk
from crypto.errors import OpenError
from crypto.primitives import (
    SEAL_OVERHEAD,
    SEAL_RANDOM_SIZE,
    derive,
    is_equal,
    open_sealed,
    seal,
)

LEAF_SIZE: Final = 64 << 10
"""Packs are read from nodes in whole leaves, so that a node does not learn where a chunk begins."""
PACK_SIZE_TARGET: Final = 8 << 20
"""A pack is closed before it exceeds this."""
PACK_SIZE_MAX: Final = 18 << 20
"""Only a pack of a single slot is larger than the target: the largest chunk has 16 MiB."""
SALT_SIZE: Final = 32
HINT_SIZE: Final = 8
TRAILER_BOX_SIZE: Final = SEAL_OVERHEAD + 8
TAIL_SIZE: Final = HINT_SIZE + TRAILER_BOX_SIZE
_RUNGS_PER_DOUBLING: Final = 8
SHORT_ID_SIZE: Final = 16
"""What an index has of a chunk's id: too much to be met by chance, or by trying."""
_FIXED_ROWS: Final = 1
"""The version of the index whose rows are all of one width and have whole ids; it is still read."""
_VERSION: Final = 2

_INDEX_HEAD: Final = Struct(">BBI")
_FIXED_ROW: Final = Struct(">32sIBI")
_NUMBER_SIZE_MAX: Final = 4
"""Bytes of a number in a row, of seven bits each: no length is as large as 256 MiB."""
_TRAILER: Final = Struct(">II")


class PackKind(IntEnum):
    """What the slots of a pack hold."""

    CHUNKS = 0
    LOG = 1


@dataclass(frozen=True, slots=True)
class PackSlot:
    """Where in a pack one sealed chunk or log item lies; `length` counts sealed bytes."""

    id: bytes
    """Of a chunk whose pack's index was read no more than its first SHORT_ID_SIZE bytes."""
    offset: int
    length: int
    codec: int
    plain_len: int

    def cut(self, pack: bytes | memoryview, start: int = 0) -> SealedChunk:
        """The slot's bytes out of a pack, or out of a piece of one that begins at `start`."""
        first = self.offset - start
        piece = bytes(pack[first : first + self.length]) if first >= 0 else b""
        if len(piece) != self.length:
            raise OpenError
        return SealedChunk(self.codec, self.plain_len, piece)


@dataclass(frozen=True, slots=True)
class PackIndex:
    """What a pack holds, in the order in which it lies there."""

    kind: PackKind
    slots: tuple[PackSlot, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """A closed pack: its id, its bytes and what is in it."""

    pack_id: bytes
    data: bytes
    index: PackIndex


def pack_id(data: bytes | memoryview) -> bytes:
    """The 32-byte BLAKE3 of a pack; whoever holds the pack can check it without a key."""
    return blake3(data).digest()


def padded_pack_size(size: int) -> int:
    """The next rung: every 64 KiB up to 512 KiB, then eight a doubling, so at most 12.5 % fill."""
    doubling = 1 << (max(size, 2) - 1).bit_length() - 1
    step = max(LEAF_SIZE, doubling // _RUNGS_PER_DOUBLING)
    return -(-size // step) * step


def pack_hint(read_secret: bytes, salt: bytes) -> bytes:
    """Eight bytes by which a member finds a pack's epoch when nothing but the pack is left."""
    return derive(read_secret, "pack hint", salt, size=32)[:HINT_SIZE]


class PackWriter:
    """An open pack, filled slot by slot. What is added is joined once, when it is closed: a buffer
    of some megabytes that grows is copied each time.
    """

    def __init__(
        self,
        read_secret: bytes,
        kind: PackKind,
        random: Callable[[int], bytes],
        *,
        data: bytes | None = None,
        slots: Sequence[PackSlot] = (),
    ) -> None:
        """A new pack, or with `data` and `slots` one that was left open by an earlier run."""
        self._read_secret = read_secret
        self._random = random
        self.kind = kind
        self._parts = [random(SALT_SIZE) if data is None else data]
        self._size = len(self._parts[0])
        self.slots = list(slots)
        self._rows = [_row(kind, slot) for slot in slots]
        self._rows_size = sum(map(len, self._rows))
        assert self._size == SALT_SIZE + sum(slot.length for slot in self.slots)

    @property
    def salt(self) -> bytes:
        """The first 32 bytes of the pack."""
        return self._parts[0][:SALT_SIZE]

    @property
    def data(self) -> bytes:
        """What is in it so far."""
        return b"".join(self._parts)

    def has_room_for(self, sealed_size: int) -> bool:
        """Whether a slot of this size still fits; an empty pack takes any single one."""
        if not self.slots:
            return True
        row_size_max = _id_size(self.kind) + 2 * _NUMBER_SIZE_MAX
        return self._size_with(row_size_max, sealed_size) <= PACK_SIZE_TARGET

    def add(self, slot_id: bytes, sealed: SealedChunk) -> PackSlot:
        """Appends a sealed chunk or log item under its 32-byte id."""
        assert self.has_room_for(len(sealed.sealed)), "close the pack and begin another"
        length = len(sealed.sealed)
        slot = PackSlot(slot_id, self._size, length, sealed.codec, sealed.plain_len)
        row = _row(self.kind, slot)
        self._parts.append(sealed.sealed)
        self._size += length
        self._rows.append(row)
        self._rows_size += len(row)
        self.slots.append(slot)
        return slot

    def close(self) -> Pack:
        """The finished pack; the writer is not used again."""
        assert self.slots, "an empty pack is not written"
        salt, key = self.salt, derive(self._read_secret, "pack key", self.salt)
        table = _INDEX_HEAD.pack(_VERSION, self.kind, len(self.slots)) + b"".join(self._rows)
        index_box = self._seal(key, "pack index", salt, table)
        trailer = _TRAILER.pack(self._size, len(index_box))
        size = self._size_with(0, 0)
        fill = self._random(size - self._size - len(index_box) - TAIL_SIZE)
        end = self._seal(key, "pack trailer", salt, trailer)
        data = b"".join([*self._parts, index_box, fill, pack_hint(self._read_secret, salt), end])
        self._parts.clear()
        assert len(data) == size <= PACK_SIZE_MAX
        return Pack(pack_id(data), data, PackIndex(self.kind, tuple(self.slots)))

    def _seal(self, key: bytes, label: str, salt: bytes, plaintext: bytes) -> bytes:
        fresh = self._random(SEAL_RANDOM_SIZE)
        return seal(key, label, salt, plaintext=plaintext, random32=fresh)

    def _size_with(self, more_rows: int, more_bytes: int) -> int:
        index_size = SEAL_OVERHEAD + _INDEX_HEAD.size + self._rows_size + more_rows
        return padded_pack_size(self._size + more_bytes + index_size + TAIL_SIZE)


def is_pack_of(read_secret: bytes, salt: bytes, hint: bytes) -> bool:
    """Whether a pack with this salt and hint was made under this epoch's read secret."""
    return is_equal(hint, pack_hint(read_secret, salt))


def open_pack_trailer(
    read_secret: bytes, salt: bytes, trailer_box: bytes, pack_size: int
) -> tuple[int, int]:
    """Offset and length of the index box, both inside a pack of this size; else OpenError."""
    if len(trailer_box) != TRAILER_BOX_SIZE or len(salt) != SALT_SIZE:
        raise OpenError
    key = derive(read_secret, "pack key", salt)
    offset, length = _TRAILER.unpack(open_sealed(key, "pack trailer", salt, sealed=trailer_box))
    if offset < SALT_SIZE or offset + length + TAIL_SIZE > min(pack_size, PACK_SIZE_MAX):
        raise OpenError
    return offset, length


def open_pack_index(
    read_secret: bytes, salt: bytes, index_box: bytes, index_offset: int
) -> PackIndex:
    """The index of a pack, whose slots fill it from the salt to `index_offset`; else OpenError."""
    key = derive(read_secret, "pack key", salt)
    table = open_sealed(key, "pack index", salt, sealed=index_box)
    if len(table) < _INDEX_HEAD.size:
        raise OpenError
    version, kind, count = _INDEX_HEAD.unpack_from(table)
    if version not in (_FIXED_ROWS, _VERSION) or kind not in list(PackKind):
        raise OpenError
    read_rows = _fixed_rows if version == _FIXED_ROWS else _short_rows
    slots, offset = [], SALT_SIZE
    for slot_id, length, codec, plain_len in read_rows(PackKind(kind), count, table):
        is_sane = CHUNK_SEAL_OVERHEAD <= length <= CHUNK_SIZE_MAX + CHUNK_SEAL_OVERHEAD
        # A row is shorter than what it stands for: so many as do not fit are not kept first.
        is_sane &= offset + length <= index_offset
        if not is_sane or codec > 1 or plain_len > CHUNK_SIZE_MAX:
            raise OpenError
        slots.append(PackSlot(slot_id, offset, length, codec, plain_len))
        offset += length
    if offset != index_offset:
        raise OpenError
    return PackIndex(PackKind(kind), tuple(slots))


def open_pack(read_secret: bytes, data: bytes) -> PackIndex:
    """The index of a whole pack; OpenError if it is not one of this epoch's, or was changed."""
    if not SALT_SIZE + TAIL_SIZE <= len(data) <= PACK_SIZE_MAX or len(data) % LEAF_SIZE:
        raise OpenError
    salt, hint = data[:SALT_SIZE], data[-TAIL_SIZE:-TRAILER_BOX_SIZE]
    if not is_pack_of(read_secret, salt, hint):
        raise OpenError
    offset, length = open_pack_trailer(read_secret, salt, data[-TRAILER_BOX_SIZE:], len(data))
    return open_pack_index(read_secret, salt, data[offset : offset + length], offset)


# ------------------------------------------------------------ rows of an index


def _id_size(kind: PackKind) -> int:
    # Nobody can name what is in a pack of logs before it has read that.
    return SHORT_ID_SIZE if kind is PackKind.CHUNKS else 32


def _row(kind: PackKind, slot: PackSlot) -> bytes:
    """`id || number(length << 1 | codec)`, and of what is compressed how much that has saved."""
    saved = slot.plain_len + CHUNK_SEAL_OVERHEAD - slot.length
    assert saved >= 0 if slot.codec else saved == 0, "compressed where it helps, and not else"
    row = slot.id[: _id_size(kind)] + _number(slot.length << 1 | slot.codec)
    return row + _number(saved) if slot.codec else row


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the last byte alone is below 128."""
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _read_number(table: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for place, digit in enumerate(table[at : at + _NUMBER_SIZE_MAX]):
        value |= (digit & 0x7F) << 7 * place
        if digit < 0x80:
            if place and not digit:
                break  # a second spelling of the same number
            return value, at + place + 1
    raise OpenError


def _fixed_rows(kind: PackKind, count: int, table: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    if len(table) != _INDEX_HEAD.size + count * _FIXED_ROW.size:
        raise OpenError
    yield from _FIXED_ROW.iter_unpack(table[_INDEX_HEAD.size :])


def _short_rows(kind: PackKind, count: int, table: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    at, id_size = _INDEX_HEAD.size, _id_size(kind)
    for _ in range(count):
        slot_id = table[at : at + id_size]
        number, at = _read_number(table, at + id_size)
        length, codec, saved = number >> 1, number & 1, 0
        if codec:
            saved, at = _read_number(table, at)
        yield slot_id, length, codec, length - CHUNK_SEAL_OVERHEAD + saved
    if at != len(table):
        raise OpenError
