"""The rows of mailboxes: what is put, found, counted and taken away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.mailbox import Area
from protocol.mailbox_messages import NewItem
from relay import mailbox_rows as rows
from relay.mailbox_rows import Use
from relay.store import RelayStore

TAG, OTHER = b"t" * 16, b"o" * 16
ONE, TWO = b"1" * 32, b"2" * 32


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RelayStore]:
    store = await RelayStore.open(tmp_path)
    yield store
    await store.close()


def items(first: int, count: int, size: int = 10) -> list[NewItem]:
    return [NewItem(n.to_bytes(16, "big"), b"s" * size) for n in range(first, first + count)]


async def put(
    store: RelayStore, tag: bytes, area: Area, device: bytes, new: list[NewItem], now_s: int = 0
) -> Use:
    use = (await rows.load(store)).tags.get(tag) or Use()
    async with store.transaction() as db:
        await rows.insert(db, tag, area, device, use, new, now_s)
    return use


async def test_positions_are_a_mailbox_s_own_and_never_used_twice(store: RelayStore) -> None:
    await put(store, TAG, Area.CHANGESETS, ONE, items(0, 3))
    await put(store, OTHER, Area.CHANGESETS, ONE, items(0, 1))
    assert [item.position for item in await rows.listed(store, TAG, 0, 10)] == [1, 2, 3]
    assert [item.position for item in await rows.listed(store, TAG, 1, 1)] == [2]
    async with store.transaction() as db:
        await rows.delete(db, TAG, [item.name for item in items(0, 3)])
    await put(store, TAG, Area.CHANGESETS, ONE, items(7, 1))
    assert [item.position for item in await rows.listed(store, TAG, 0, 10)] == [4]
    (item,), _ = await rows.items(store, TAG, 0, 9, 10)
    assert item == (4, items(7, 1)[0].name, b"s" * 10)
    assert await rows.items(store, OTHER, 2, 9, 10) == ([], [])


async def test_what_the_disk_has_changed_is_told_from_what_was_put(store: RelayStore) -> None:
    await put(store, TAG, Area.CHANGESETS, ONE, items(0, 4))
    for sql in (
        "UPDATE mailbox_items SET sealed = x'00' WHERE position = 2",
        "UPDATE mailbox_items SET name = CAST(zeroblob(15) || x'09' AS BLOB) WHERE position = 3",
        "UPDATE mailbox_items SET checksum = NULL WHERE position = 4",  # of an earlier version
    ):
        async with store.transaction() as db:
            await db.execute_fetchall(sql)
    found = await rows.items(store, TAG, 1, 9, 10)
    assert [item.position for item in found.items] == [1, 4]
    assert found.damaged == [2, 3]


async def test_with_a_damaged_part_the_first_one_goes_and_nothing_else(store: RelayStore) -> None:
    parts = [NewItem(bytes([thing]) * 14 + bytes([0, n]), b"s") for thing in (1, 2) for n in (1, 0)]
    await put(store, TAG, Area.CONTROL, ONE, parts)
    await put(store, OTHER, Area.CONTROL, ONE, parts)
    async with store.transaction() as db:
        removed = await rows.delete_damaged(db, TAG, [1])
    assert [(one.tag, one.size) for one in removed] == [(TAG, 1)] * 2
    assert [one.name for one in await rows.listed(store, TAG, 0, 9)] == [p.name for p in parts[2:]]
    assert len(await rows.listed(store, OTHER, 0, 9)) == 4


async def test_names_that_are_there_are_known(store: RelayStore) -> None:
    await put(store, TAG, Area.CHANGESETS, ONE, items(0, 2))
    async with store.transaction() as db:
        found = await rows.known(db, TAG, [item.name for item in items(1, 2)])
        assert found == {items(1, 1)[0].name}
        assert await rows.known(db, OTHER, [items(1, 1)[0].name]) == set()


async def test_it_is_counted_by_mailbox_and_by_device(store: RelayStore) -> None:
    await put(store, TAG, Area.CHANGESETS, ONE, items(0, 2))
    await put(store, TAG, Area.CONTENTS, TWO, items(5, 1, 100))
    uses = await rows.load(store)
    assert uses.tags[TAG].items == 3
    assert uses.tags[TAG].bytes == {Area.CHANGESETS: 20, Area.CONTENTS: 100}
    assert uses.devices == {ONE: 20, TWO: 100}
    assert uses.total_bytes == 120
    async with store.transaction() as db:
        uses.remove(await rows.delete(db, TAG, [items(5, 1)[0].name]))
    again = await rows.load(store)
    assert (uses.devices, uses.total_bytes) == (again.devices, again.total_bytes) == ({ONE: 20}, 20)
    assert uses.tags[TAG].items == again.tags[TAG].items == 2


async def test_control_is_not_taken_away_by_name(store: RelayStore) -> None:
    await put(store, TAG, Area.CONTROL, ONE, items(0, 1))
    async with store.transaction() as db:
        assert await rows.delete(db, TAG, [items(0, 1)[0].name]) == []
    assert len(await rows.listed(store, TAG, 0, 10)) == 1


def things(first: int, count: int, parts: int) -> list[NewItem]:
    """Each in so many parts, the first one last."""
    return [
        NewItem(n.to_bytes(14, "big") + part.to_bytes(2, "big"), b"s" * 10)
        for n in range(first, first + count)
        for part in reversed(range(parts))
    ]


async def test_the_oldest_make_room_with_all_their_parts(store: RelayStore) -> None:
    await put(store, TAG, Area.CONTENTS, ONE, things(0, 4, 2))
    await put(store, TAG, Area.CHANGESETS, ONE, things(10, 1, 1))
    async with store.transaction() as db:
        removed = await rows.delete_oldest(db, TAG, Area.CONTENTS, 21)
    assert [r.size for r in removed] == [10] * 4
    left = await rows.listed(store, TAG, 0, 10)
    assert [item.position for item in left] == [5, 6, 7, 8, 9]
    async with store.transaction() as db:
        spared = rows.groups_of(name for name, _ in things(2, 1, 2))
        assert len(await rows.delete_oldest(db, TAG, Area.CONTENTS, 1, spared)) == 2
    left = await rows.listed(store, TAG, 0, 10)
    assert [item.position for item in left] == [5, 6, 9]


async def test_what_is_old_goes_a_part_at_a_time(store: RelayStore) -> None:
    await put(store, TAG, Area.CHANGESETS, ONE, items(0, 3), 100)
    await put(store, TAG, Area.CHANGESETS, ONE, items(5, 1), 200)
    counts = []
    for _ in range(3):
        async with store.transaction() as db:
            counts.append(len(await rows.delete_old(db, Area.CHANGESETS, 150, 2)))
    assert counts == [2, 1, 0]
    assert [item.position for item in await rows.listed(store, TAG, 0, 10)] == [4]
