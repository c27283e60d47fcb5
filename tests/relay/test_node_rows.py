"""The rows of other nodes: who has which part in a pack, and which packs want somebody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import RelayId
from protocol.relay_address import RelayAddress
from protocol.storage_messages import STANDBY, Holder
from relay import node_rows
from relay import share_rows as rows
from relay.share_rows import NamespaceRow
from relay.store import RelayStore

NS = b"n" * 16
OWN, ONE, TWO = (bytes([n]) * 32 for n in (1, 2, 3))


def holder(number: int, node_id: bytes, host: str = "a.example") -> Holder:
    return Holder(number, str(RelayAddress(host, 443, RelayId(node_id))))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RelayStore]:
    opened = await RelayStore.open(tmp_path)
    async with opened.transaction() as db:
        row = NamespaceRow(NS, b"e" * 32, b"d", b"f" * 32, 1, 0, 0)
        await rows.put_namespace(db, row)
    yield opened
    await opened.close()


async def put(store: RelayStore, fill: int, *holders: Holder) -> int:
    async with store.transaction() as db:
        pack = await rows.put_pack(db, NS, bytes([fill]) * 32, b"p" * 32, b"d", 100, stands_by=True)
        await node_rows.set_holders(db, pack, holders, 50)
    return pack


async def node(store: RelayStore, node_id: bytes) -> int:
    return next(n.node for n in await node_rows.nodes(store) if n.node_id == node_id)


async def test_each_has_its_part(store: RelayStore) -> None:
    held = [holder(0, ONE), holder(1, TWO), holder(STANDBY, OWN)]
    pack = await put(store, 1, *held)
    assert await node_rows.holders(store, pack) == held
    one = await node(store, ONE)
    assert await node_rows.held_numbers(store, pack, ONE) == [(one, 0)]
    assert await node_rows.held_numbers(store, pack, b"x" * 32) == []
    async with store.transaction() as db:
        await node_rows.add_holder(db, pack, one, 1)
        await node_rows.add_holder(db, pack, one, 1)
    assert [n for _, n in await node_rows.held_numbers(store, pack, ONE)] == [0, 1]
    assert await node_rows.count_packs(store, one) == 2
    assert await node_rows.count_packs(store, await node(store, OWN)) == 0


async def test_another_s_address_for_a_node_is_a_row_of_its_own(store: RelayStore) -> None:
    await put(store, 1, holder(0, ONE))
    await put(store, 2, holder(0, ONE, "liar.example"))
    assert [n.address for n in await node_rows.nodes(store)] == [
        holder(0, ONE).address,
        holder(0, ONE, "liar.example").address,
    ]


async def test_who_fails_is_asked_again_first(store: RelayStore) -> None:
    packs = [await put(store, fill, holder(0, ONE)) for fill in (1, 2, 3)]
    one = await node(store, ONE)
    async with store.transaction() as db:
        for at, since_s in ((0, 10), (2, 30), (2, 40)):
            await node_rows.set_failing(db, packs[at], one, 0, since_s)
    failing = await node_rows.failing_packs(store, one, 9)
    assert [(p.descriptor_id[0], n) for p, n in failing] == [(3, 0), (1, 0)]
    (held,) = await node_rows.holdings(store, packs[2])
    assert held.failing_since_s == 30, "since it was first noticed"
    async with store.transaction() as db:
        await node_rows.set_failing(db, packs[2], one, 0, None)
        await rows.trash(db, NS, bytes([1]) * 32, 5)
    assert await node_rows.failing_packs(store, one, 9) == []
    found = [await node_rows.packs_of_node(store, one, skip) for skip in range(4)]
    assert [[p.descriptor_id[0] for p, _ in each] for each in found] == [[], [2], [3], []]


async def test_who_is_named_once_more_fails_as_long_as_before(store: RelayStore) -> None:
    first = await put(store, 1, holder(0, ONE), holder(1, TWO))
    one = await node(store, ONE)
    async with store.transaction() as db:
        await node_rows.set_failing(db, first, one, 0, 10)
    assert await put(store, 1, holder(0, ONE), holder(2, TWO)) == first
    holdings = await node_rows.holdings(store, first)
    assert [(h.number, h.failing_since_s) for h in holdings] == [(0, 10), (2, None)]


async def test_packs_that_want_a_standby_are_those_with_somebody_missing(
    store: RelayStore,
) -> None:
    first = await put(store, 1, holder(0, ONE), holder(STANDBY, OWN))
    second = await put(store, 2, holder(0, TWO), holder(STANDBY, OWN))
    one, two = await node(store, ONE), await node(store, TWO)

    async def wanted() -> list[int]:
        return [p.pack for p in await node_rows.standby_packs(store, 100, 200, 0, 9)]

    assert await wanted() == []
    async with store.transaction() as db:
        await node_rows.set_met(db, one, 50, 101)
        await node_rows.set_failing(db, second, two, 0, 201)
    assert await wanted() == []
    async with store.transaction() as db:
        await node_rows.set_met(db, one, 50, 100)
        await node_rows.set_failing(db, second, two, 0, None)
        await node_rows.set_failing(db, second, two, 0, 200)
    assert await wanted() == [first, second]
    assert [p.pack for p in await node_rows.standby_packs(store, 100, 200, first, 9)] == [second]
    async with store.transaction() as db:
        await rows.put_share(db, first, 0, 1, 65536, b"h" * 32, 1)
    assert await wanted() == [first, second], "what never became whole is nothing"
    async with store.transaction() as db:
        await rows.set_whole(db, first, 0, 1)
        await node_rows.forget_missed(db)
    assert await wanted() == [second]


async def test_others_are_told_what_was_rebuilt_here_of_their_packs(store: RelayStore) -> None:
    pack = await put(store, 1, holder(0, ONE), holder(STANDBY, OWN))
    await put(store, 2, holder(0, TWO), holder(STANDBY, OWN))
    own, one, two = [await node(store, each) for each in (OWN, ONE, TWO)]
    assert await node_rows.rebuilt_packs(store, OWN, one, 9) == []
    async with store.transaction() as db:
        await node_rows.add_holder(db, pack, own, 0)
    assert await node_rows.rebuilt_packs(store, OWN, one, 9) == [(bytes([1]) * 32, 0)]
    assert await node_rows.rebuilt_packs(store, OWN, two, 9) == []
