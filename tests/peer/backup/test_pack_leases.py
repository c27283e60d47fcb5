"""Leases: what is wanted is prolonged wherever it can be, and who refuses is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from crypto.packs import PackSlot
from peer.backup.pack_leases import RENEW_AFTER_S
from peer.backup.share_transfers import read_pack
from protocol.errors import StorageRefused
from protocol.storage_client import Answer, Request, StorageClient
from protocol.storage_messages import (
    ShareState,
    StoreOutcome,
    StoreRenew,
    StoreStat,
    StoreStats,
)
from tests.peer.backup.test_lost_midway import Place, kept


class Unwilling:
    """The link to a node that prolongs nothing, and else does what it is asked."""

    def __init__(self, client: StorageClient) -> None:
        self._client = client
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def ask(self, request: Request, kind: type[Answer]) -> Answer:
        if isinstance(request, StoreRenew):
            self.asked += 1
            raise StorageRefused(StoreOutcome.REFUSED, "The node at x refuses.")
        return await self._client.ask(request, kind)


async def leases_at(place: Place, number: int) -> set[int]:
    """Until when a node keeps the folder's packs."""
    desk = place.some.stages[number].relay.desk.storage
    assert desk is not None
    namespace = place.backup.present()[place.ids[number]].namespace
    rows = await desk.shares.store.rows(
        "SELECT lease_until_s FROM packs WHERE namespace = ?", namespace
    )
    return {row[0] for row in rows}


async def shorten(place: Place, *numbers: int) -> None:
    """Leases as they are after some weeks."""
    for number in numbers:
        desk = place.some.stages[number].relay.desk.storage
        assert desk is not None
        async with desk.shares.store.transaction() as db:
            await db.execute_fetchall("UPDATE packs SET lease_until_s = lease_until_s - 9999999")
    packs = [pack.number for pack in await place.backup.store.packs()]
    await place.backup.store.renewed(packs, 0)


@pytest.mark.row("F29", "A41")
async def test_one_node_that_refuses_keeps_no_other_from_prolonging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup, first = place.backup, place.ids[0]
        assert next(iter(backup.present())) == first, "the first to be asked"
        long = min([lease for n in range(3) for lease in await leases_at(place, n)])
        await shorten(place, 0, 1, 2)
        opened = dict(backup.present())
        unwilling = Unwilling(opened[first].client)
        lying = {**opened, first: opened[first]._replace(client=cast(Any, unwilling))}
        backup.nodes_are(lying, backup.addresses)
        await backup.leases.renew()
        assert all(lease < long for lease in await leases_at(place, 0))
        for other in (1, 2):
            assert all(lease >= long for lease in await leases_at(place, other)), "to the end"
        assert list(backup.leases.refused) == [first]
        assert "did not prolong" in backup.leases.refused[first]
        assert unwilling.asked == 1
        await backup.leases.renew()
        assert unwilling.asked == 1, "not at every pass"
        # It is asked again, and when it does what it is asked nothing is said of it any more.
        backup.nodes_are(opened, backup.addresses)
        backup.leases._not_before = float("-inf")  # links would end if the loop's clock were moved
        await backup.leases.renew()
        assert all(lease >= long for lease in await leases_at(place, 0))
        assert backup.leases.refused == {}
        assert all(pack.renewed_s > RENEW_AFTER_S for pack in await backup.store.packs())


@pytest.mark.row("F29")
async def test_a_node_that_was_away_is_asked_as_soon_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a week later, when it may be away again: so each has a lease of what is wanted."""
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup, away = place.backup, place.ids[2]
        long = min([lease for n in range(3) for lease in await leases_at(place, n)])
        await shorten(place, 0, 1, 2)
        opened = dict(backup.present())
        backup.nodes_are({id_: n for id_, n in opened.items() if id_ != away}, backup.addresses)
        await backup.leases.renew()
        backup.nodes_are(opened, backup.addresses)
        assert all(lease < long for lease in await leases_at(place, 2))
        unwanted = (await backup.store.packs())[0]
        db = backup.store._db
        await db.execute_fetchall("DELETE FROM slot WHERE pack = ?", (unwanted.number,))
        backup.audit.hasten()
        await backup.audit.verify(opened)
        await backup.leases.renew()
        leases = await leases_by_id(place, 2)
        assert leases.pop(unwanted.id) < long, "nobody wants it"
        assert leases
        assert all(lease >= long for lease in leases.values())
        # What nobody wants has it asked for no more: not at every pass, and not a day later.
        read = 0
        slots = backup.wanted_slots

        async def counted() -> dict[int, list[PackSlot]]:
            nonlocal read
            read += 1
            return await slots()

        monkeypatch.setattr(backup, "wanted_slots", counted)
        await backup.audit.verify(opened)
        await backup.leases.renew()
        assert read == 0
        backup.leases._caught_up_at.clear()  # a day later
        await backup.leases.renew()
        assert read == 1
        assert (await leases_by_id(place, 2))[unwanted.id] < long


async def leases_by_id(place: Place, number: int) -> dict[bytes, int]:
    """Until when a node keeps each of the folder's packs."""
    desk = place.some.stages[number].relay.desk.storage
    assert desk is not None
    namespace = place.backup.present()[place.ids[number]].namespace
    rows = await desk.shares.store.rows(
        "SELECT descriptor_id, lease_until_s FROM packs WHERE namespace = ?", namespace
    )
    return {row[0]: row[1] for row in rows}


async def test_packs_are_prolonged_by_name_though_nobody_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup = place.backup
        packs = await backup.store.packs()
        await shorten(place, 0, 1, 2)
        before = [await leases_at(place, number) for number in range(3)]
        ids = [packs[0].id, b"u" * 32]
        await backup.store.release(packs[0].number, 0, place.ids[2])
        await backup.store.forget([packs[1].number])
        now_s = 2_000_000_000
        assert await backup.leases.prolong_named([*ids, packs[1].id], now_s)
        after = [await leases_at(place, number) for number in range(3)]
        assert [len(each - old) for each, old in zip(after, before, strict=True)] == [1, 1, 1]
        assert len(after[2]) > 1, "of what it was let go of the node keeps no more"
        backup.nodes_are({}, backup.addresses)
        assert not await backup.leases.prolong_named(ids, now_s), "nobody is there"


async def all_in_the_trash(place: Place) -> None:
    """Nobody has asked for anything for longer than a lease."""
    await shorten(place, 0, 1, 2)
    for stage in place.some.stages:
        desk = stage.relay.desk.storage
        assert desk is not None
        await desk.shares.sweep()


async def states(place: Place, number: int) -> set[int]:
    """How the shares of the folder's packs are at a node."""
    node, packs = place.backup.present()[place.ids[number]], await place.backup.store.packs()
    request = StoreStat(node.client.number(), node.namespace, tuple(p.id for p in packs))
    return {stat.state for stat in (await node.client.ask(request, StoreStats)).stats}


@pytest.mark.row("F29")
async def test_what_nobody_asked_for_in_time_is_taken_out_of_the_trash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup, held = place.backup, await place.backup.store.holdings()
        before = [await leases_at(place, number) for number in range(3)]
        await all_in_the_trash(place)
        assert [await states(place, n) for n in range(3)] == [{ShareState.TRASHED}] * 3
        await backup.leases.renew()
        assert [await states(place, n) for n in range(3)] == [{ShareState.WHOLE}] * 3
        after = [await leases_at(place, number) for number in range(3)]
        assert all(min(new) >= min(old) for new, old in zip(after, before, strict=True))
        assert await backup.store.holdings() == held, "nobody is to make anything anew"


@pytest.mark.row("F29")
async def test_while_not_all_is_on_this_disk_all_that_is_known_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup = place.backup

        async def nothing() -> dict[int, list[PackSlot]]:
            return {}

        monkeypatch.setattr(backup, "wanted_slots", nothing)
        await shorten(place, 0, 1, 2)
        short = [await leases_at(place, number) for number in range(3)]
        await backup.leases.renew()
        assert [await leases_at(place, number) for number in range(3)] == short
        await backup.leases.renew(of_all=True)
        after = [await leases_at(place, number) for number in range(3)]
        assert all(min(new) > max(old) for new, old in zip(after, short, strict=True))


@pytest.mark.row("F29")
async def test_what_was_read_from_nodes_is_asked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has put it may have asked for it for the last time three months ago."""
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup = place.backup
        await shorten(place, 0, 1, 2)
        short = [await leases_at(place, number) for number in range(3)]
        await backup.store.forget([pack.number for pack in await backup.store.packs()])
        for relay_id in place.ids:
            await backup.store.drop_node(relay_id)
        await backup.look()
        await backup.leases.renew()
        after = [await leases_at(place, number) for number in range(3)]
        assert all(min(new) > max(old) for new, old in zip(after, short, strict=True))


@pytest.mark.row("F29")
async def test_what_a_link_names_is_taken_out_of_the_trash_though_nobody_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device that made the link was away for longer than a lease, and the folder has let go."""
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup = place.backup
        named, other, *_ = await backup.store.packs()
        bytes_named = await place.read(named)
        await all_in_the_trash(place)
        desk = place.some.stages[2].relay.desk.storage
        assert desk is not None
        async with desk.shares.store.transaction() as db:
            await db.execute_fetchall("UPDATE shares SET state = 3, damaged = 1")
        await backup.store.forget([named.number, other.number])
        now_s = desk.shares.now_s()
        assert await backup.leases.prolong_named([named.id, b"u" * 32], now_s)
        for stage in place.some.stages:
            desk = stage.relay.desk.storage
            assert desk is not None
            rows = await desk.shares.store.rows(
                "SELECT descriptor_id, trashed_s IS NULL, lease_until_s > ? FROM packs",
                now_s + 80 * 86_400,
            )
            assert {row[0]: row[1:] for row in rows}[named.id] == (1, 1)
            assert {row[0]: row[1:] for row in rows}[other.id] == (0, 0), "nobody named it"
            assert not desk.shares._coming, "what is damaged is its node's own to mend"
        holders = await backup._ask_holders((named.id,))
        assert len(holders[named.id]) == 2
        data, _wrong = await read_pack(holders[named.id], named.descriptor)
        assert data == bytes_named
        # A node that cannot be asked is asked again.
        await all_in_the_trash(place)
        first = place.ids[0]
        opened = dict(backup.present())
        client = Mute(opened[first].client)
        backup.nodes_are(
            {**opened, first: opened[first]._replace(client=cast(Any, client))}, backup.addresses
        )
        assert not await backup.leases.prolong_named([named.id], now_s)
        backup.nodes_are(opened, backup.addresses)
        assert await backup.leases.prolong_named([named.id], now_s)


class Mute(Unwilling):
    """It does not say what it has."""

    async def ask(self, request: Request, kind: type[Answer]) -> Answer:
        if isinstance(request, StoreStat):
            raise StorageRefused(StoreOutcome.BUSY, "The node at x is busy.")
        return await self._client.ask(request, kind)
