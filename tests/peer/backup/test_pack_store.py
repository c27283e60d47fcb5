"""What is at the nodes is remembered, and can be forgotten without harm."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from crypto.chunks import CHUNK_NONCE_SIZE, seal_chunk
from crypto.ids import ChunkId, RelayId
from crypto.packs import SHORT_ID_SIZE, PackIndex, PackKind, PackWriter
from crypto.shares import Descriptor, describe
from peer.backup.pack_store import Holding, PackStore, Totals
from protocol.erasure import encode
from tests.crypto.seeded import Seeded
from tests.crypto.test_packs import as_read

NODE, OTHER = RelayId(b"n" * 32), RelayId(b"o" * 32)


def packed(seed: str, ids: list[bytes]) -> tuple[Descriptor, PackIndex]:
    random = Seeded(seed)
    writer = PackWriter(b"r" * 32, PackKind.CHUNKS, random)
    for id_ in ids:
        writer.add(id_, seal_chunk(b"r" * 32, ChunkId(id_), id_, random(CHUNK_NONCE_SIZE)))
    pack = writer.close()
    shares = encode(pack.data, 2, 3)
    return describe(pack.pack_id, len(pack.data), 2, shares), pack.index


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PackStore]:
    store = await PackStore.open(tmp_path / "packs")
    yield store
    await store.close()


A, B, C = (bytes([n]) * 32 for n in range(3))


async def test_what_lies_where(store: PackStore) -> None:
    one, index = packed("one", [A, B])
    number = await store.add(one, index, 100)
    found = await store.find([A, B, C])
    assert {id_: place.pack for id_, place in found.items()} == {A: number, B: number}
    assert [place.slot for place in found.values()] == list(index.slots)
    assert await store.unknown([one.id(), C]) == [C]
    assert await store.slots(number) == list(as_read(index).slots)
    assert await store.add(one, index, 200) == number
    later, again = packed("two", [B, C])
    second = await store.add(later, again, 300)
    assert (await store.find([B]))[B].pack == second


async def test_a_pack_is_known_by_its_index_as_by_what_was_put_into_it(store: PackStore) -> None:
    one, index = packed("one", [A, B])
    number = await store.add(one, as_read(index), 100)
    found = await store.find([A, B, C])
    assert [place.slot for place in found.values()] == list(index.slots), "by the ids asked for"
    await store.add(one, index, 100)
    assert await store.slots(number) == list(as_read(index).slots), "and once, however it came"


async def test_whole_ids_of_an_earlier_version_are_found(store: PackStore, tmp_path: Path) -> None:
    one, index = packed("one", [A, B])
    number = await store.add(one, index, 100)
    with sqlite3.connect(tmp_path / "packs") as db:
        for slot in index.slots:
            short = slot.id[:SHORT_ID_SIZE]
            db.execute("UPDATE slot SET id = ? WHERE id = ?", (slot.id, short))
    found = await store.find([A, B, C])
    assert [(p.pack, p.slot) for p in found.values()] == [(number, slot) for slot in index.slots]


async def test_what_lies_in_several_packs_is_looked_for_where_it_can_be_had(
    store: PackStore,
) -> None:
    numbers = [await store.add(*packed(name, [A, B]), 100) for name in ("one", "two", "three")]
    one, two, three = numbers
    assert (await store.find([A]))[A].pack == three, "of none is it known that it is held"
    needed = packed("one", [A])[0].needed
    for number in (one, two):
        await store.hold(Holding(number, share, NODE, 10, 1) for share in range(needed))
    assert (await store.find([A, B]))[A].pack == two, "the last that is held"
    await store.drop(two, 0, NODE)
    assert (await store.find([A]))[A].pack == one
    await store.hold([Holding(two, 0, OTHER, 10, 1)])
    assert (await store.find([A]))[A].pack == two
    await store.forget([two])
    assert (await store.find([A, B]))[A].pack == one, "what else is known of it is not forgotten"


async def test_who_holds_what_and_until_when(store: PackStore) -> None:
    descriptor, index = packed("one", [A])
    number = await store.add(descriptor, index, 100)
    await store.hold([Holding(number, 0, NODE, 10, 1), Holding(number, 1, OTHER, 10, 1)])
    await store.hold([Holding(number, 0, NODE, 20, 2)])
    assert await store.held_by(NODE, [number, number + 1]) == [number]
    assert [pack.number for pack in await store.packs_of([number, number + 1])] == [number]
    assert sorted(await store.holdings(number)) == [
        Holding(number, 0, NODE, 20, 2),
        Holding(number, 1, OTHER, 10, 1),
    ]
    await store.put_position(NODE, 7)
    assert (await store.position(NODE), await store.position(OTHER)) == (7, 0)
    await store.drop_node(NODE)
    assert (await store.position(NODE), len(await store.holdings())) == (0, 1)
    await store.drop(number, 1, OTHER)
    assert await store.holdings() == []


async def test_counts_and_times(store: PackStore) -> None:
    descriptor, index = packed("one", [A])
    number = await store.add(descriptor, index, 100)
    assert await store.totals() == Totals(1, descriptor.pack_size, 1)
    await store.stored(number, 150)
    await store.stored(number, 999)
    await store.renewed([number], 160)
    pack = await store.pack(number)
    assert pack is not None
    assert (pack.stored_s, pack.renewed_s, pack.descriptor) == (150, 160, descriptor)
    assert await store.pack(99) is None
    await store.forget([number])
    assert await store.totals() == Totals(0, 0, 0)
    assert await store.find([A]) == {}


async def test_a_damaged_one_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "packs"
    store = await PackStore.open(path)
    await store.add(*packed("one", [A]), 1)
    await store.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(b"no database at all" * 100)
    store = await PackStore.open(path)
    assert await store.packs() == []
    await store.close()


async def test_one_that_cannot_be_opened_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever holds it, or has no room for it, will be over; what it remembers is there then."""
    path = tmp_path / "packs"
    store = await PackStore.open(path)
    one, index = packed("one", [A, B])
    await store.add(one, index, 100)
    await store.close()
    monkeypatch.setattr("peer.device.database.BUSY_TIMEOUT_S", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await PackStore.open(path)
    store = await PackStore.open(path)
    assert await store.unknown([one.id()]) == []
    await store.close()
