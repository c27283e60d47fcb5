"""The rows of packs and shares: positions are never used twice, and totals are of what is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.storage_messages import ShareState
from relay import link_rows
from relay import share_rows as rows
from relay.link_rows import LinkRow
from relay.share_files import ShareName
from relay.share_rows import NamespaceRow
from relay.store import RelayStore

NS, OTHER = b"n" * 16, b"m" * 16
INCOMING, WHOLE, DAMAGED = ShareState.INCOMING, ShareState.WHOLE, ShareState.DAMAGED


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RelayStore]:
    opened = await RelayStore.open(tmp_path)
    async with opened.transaction() as db:
        for namespace in (NS, OTHER):
            row = NamespaceRow(namespace, b"e" * 32, b"d", b"f" * 32, 1, 0, 0)
            await rows.put_namespace(db, row)
    yield opened
    await opened.close()


async def put(store: RelayStore, fill: int, number: int = 0, namespace: bytes = NS) -> int:
    async with store.transaction() as db:
        descriptor_id = bytes([fill]) * 32
        pack = await rows.put_pack(
            db, namespace, descriptor_id, b"p" * 32, b"d", 100 + fill, stands_by=False
        )
        position = await rows.next_position(db, namespace)
        await rows.put_share(db, pack, number, position, 65536, b"h" * 32, fill)
    return pack


async def test_positions_grow_and_are_never_used_twice(store: RelayStore) -> None:
    for fill in (1, 2, 3):
        await put(store, fill)
    await put(store, 1, namespace=OTHER)
    found = await rows.listed(store, NS, 1, 9)
    assert [(row.position, row.descriptor_id[0]) for row in found] == [(2, 2), (3, 3)]
    async with store.transaction() as db:
        await rows.trash(db, NS, bytes([3]) * 32, 5)
        assert await rows.remove_trashed(db, 6, 9) == [ShareName(NS, bytes([3]) * 32, 0)]
    await put(store, 4)
    found = await rows.listed(store, NS, 2, 9)
    assert [(row.position, row.descriptor_id[0]) for row in found] == [(4, 4)]


async def test_totals_are_by_state_and_trash(store: RelayStore) -> None:
    for fill in (1, 2, 3, 4):
        pack = await put(store, fill)
        async with store.transaction() as db:
            if fill == 2:
                assert await rows.set_whole(db, pack, 0, 50)
            if fill == 3:
                await rows.set_damaged(db, pack, 0, 1)
            if fill == 4:
                await rows.trash(db, NS, bytes([4]) * 32, 5)
    assert sorted(await rows.totals(store)) == [
        (NS, 0, INCOMING, 1, 65536),
        (NS, 0, WHOLE, 1, 65536),
        (NS, 0, DAMAGED, 1, 65536),
        (NS, 1, INCOMING, 1, 65536),
    ]
    assert await rows.unchecked_s(store) == 0
    assert await rows.unchecked_s(store, OTHER) is None
    assert [row.number for row in await rows.damaged_shares(store, 9)] == [0]
    checked = await rows.least_checked(store)
    assert checked is not None
    assert checked.descriptor_id[0] == 2


async def test_a_share_without_a_row_does_not_become_whole(store: RelayStore) -> None:
    pack = await put(store, 1)
    async with store.transaction() as db:
        assert not await rows.set_whole(db, pack, 1, 50)
        assert not await rows.set_whole(db, pack + 1, 0, 50)


async def test_only_the_named_packs_expire(store: RelayStore) -> None:
    for fill in (1, 2, 3):
        await put(store, fill)
    async with store.transaction() as db:
        assert await rows.expire(db, 103, 1) == 1
        assert await rows.expire(db, 103, 9) == 1
        assert await rows.expire(db, 103, 9) == 0
        assert not await rows.renew(db, NS, bytes([1]) * 32, 900)
        assert await rows.renew(db, NS, bytes([3]) * 32, 1)
    (pack,) = await rows.packs_of_descriptor(store, bytes([3]) * 32)
    assert pack.lease_until_s == 103, "an earlier day changes nothing"
    assert len(await rows.packs_of_pack_id(store, b"p" * 32)) == 3


async def test_packs_of_links_wait_for_these_after_a_node_was_off(store: RelayStore) -> None:
    await put(store, 1)
    link = LinkRow(b"l" * 16, b"o" * 16, 1, 2, b"p" * 16, b"t" * 32, b"k" * 65, 10, 0, 0, 0, 0, 0)
    late_s = 101 + rows.LINKS_WAIT_S
    async with store.transaction() as db:
        await link_rows.write_link(db, link)
        await link_rows.write_packs(db, link.link_id, (b"p" * 32,))
        assert await rows.expire(db, late_s, 9) == 0
        await link_rows.lease_packs(db, late_s, late_s + 7)
        assert await rows.expire(db, late_s + 7 + rows.LINKS_WAIT_S, 9) == 0
        assert await rows.expire(db, late_s + 8 + rows.LINKS_WAIT_S, 9) == 1, "no link has done it"
        await link_rows.lease_packs(db, late_s, 10 * late_s)
    (pack,) = await rows.packs_of_pack_id(store, b"p" * 32)
    assert pack.lease_until_s == late_s + 7, "what is in the trash stays there"


async def test_what_was_begun_long_ago_is_forgotten(store: RelayStore) -> None:
    first = await put(store, 1)
    await put(store, 9)
    async with store.transaction() as db:
        assert await rows.remove_stale(db, 9, 9) == [ShareName(NS, bytes([1]) * 32, 0)]
    assert await rows.shares_of(store, first) == []
    assert await rows.all_names(store) == {ShareName(NS, bytes([9]) * 32, 0): INCOMING}
