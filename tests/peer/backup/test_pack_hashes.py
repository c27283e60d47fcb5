"""The hashes of what is sealed in packs are those that a link's manifest has to name."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from crypto.chunks import SealedChunk
from crypto.ids import EntryId
from crypto.packs import Pack, PackKind, PackWriter
from crypto.shares import describe
from peer.backup.pack_hashes import SealedPack, sealed_pack
from peer.backup.pack_store import PackStore

EPOCH = EntryId(b"e" * 32)


def a_pack() -> Pack:
    writer = PackWriter(b"r" * 32, PackKind.CHUNKS, os.urandom)
    for number in range(3):
        writer.add(bytes([number]) * 32, SealedChunk(0, 72 + number, os.urandom(100 + number)))
    return writer.close()


def test_each_slot_has_the_hash_of_its_sealed_bytes() -> None:
    pack = a_pack()
    hashes = sealed_pack(EPOCH, pack.index, pack.data).hashes
    for slot in pack.index.slots:
        piece = pack.data[slot.offset : slot.offset + slot.length]
        assert hashes[slot.offset] == sha256(piece).digest()
    assert len(hashes) == 3


async def test_they_are_remembered_as_long_as_the_pack_is(tmp_path: Path) -> None:
    pack = a_pack()
    descriptor = describe(pack.pack_id, len(pack.data), 1, [pack.data])
    store = await PackStore.open(tmp_path / "packs")
    try:
        number = await store.add(descriptor, pack.index, 1)
        assert await store.hashes.of([number]) == {}
        sealed = sealed_pack(EPOCH, pack.index, pack.data)
        await store.hashes.keep(number, sealed)
        await store.hashes.keep(number, sealed)
        assert await store.hashes.of([number, 77]) == {number: sealed}
        assert sealed == SealedPack(EPOCH, sealed.hashes)
        await store.forget([number])
        assert await store.hashes.of([number]) == {}
    finally:
        await store.close()
