"""Lost shares are made again by whoever can, and moved to where fewer are lost together."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import RelayId
from peer.backup import share_healing
from peer.backup.backup_report import report
from peer.backup.node_pool import NodePool
from peer.backup.node_pool import node_of as as_it_is
from peer.backup.pack_store import Holding
from peer.backup.placement import Node, better
from protocol.storage_messages import STANDBY
from relay import node_rows, share_rows
from tests.peer.backup.test_lost_midway import kept
from tests.peer.backup_stage import nodes, until_kept
from tests.peer.device_stage import devices, folder_of
from tests.relay.relay_stage import new_keys


@pytest.mark.row("F24")
async def test_what_nobody_holds_any_more_is_stored_again_from_this_disk(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(200_000))
        await one.add_folder(stage.root("one"), "f")
        await one.backups.add("f", some.addresses, 2, 3)
        await until_kept(one)
        folder_id = folder_of(one).folder_id
        backup = one.backups._backups[folder_id]
        record = one.backups._records[folder_id]
        async with one.backups._passing[folder_id]:
            before = {pack.id for pack in await backup.store.packs()}
            for holding in await backup.store.holdings():
                if holding.share:
                    await backup.store.drop(*holding[:3])
            for address in some.addresses:  # what they list still is no news
                await backup.store.put_position(address.relay_id, 1 << 30)
            backup._packs.clear()
            healed = await backup.healing.complete(record)
            assert (healed.rebuilt, healed.lost) == (0, len(before))
            assert await backup.store.packs() == []
        one.backups.wake()
        await until_kept(one, packs=2)
        assert not before & {pack.id for pack in await backup.store.packs()}


@pytest.mark.row("F29")
async def test_what_nobody_wants_any_more_is_not_made_again(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(200_000))
        await one.add_folder(stage.root("one"), "f")
        await one.backups.add("f", some.addresses, 2, 3)
        await until_kept(one)
        folder_id = folder_of(one).folder_id
        backup = one.backups._backups[folder_id]
        record = one.backups._records[folder_id]
        async with one.backups._passing[folder_id]:
            first, *_ = await backup.store.packs()
            (old,) = [h for h in await backup.store.holdings(first.number) if h.share == 0]
            await backup.store.drop(*old[:3])
            # All that was in it lies in a later pack.
            db = backup.store._db
            await db.execute_fetchall("DELETE FROM slot WHERE pack = ?", (first.number,))
            assert await backup.healing.complete(record) == (0, 0, 0)
            for holding in await backup.store.holdings(first.number):
                await backup.store.drop(*holding[:3])
            assert await backup.healing.complete(record) == (0, 0, 0)
            assert await backup.store.pack(first.number) is None


@pytest.mark.row("F24")
async def test_a_person_has_the_part_of_who_is_away_made_again_at_once(tmp_path: Path) -> None:
    async with nodes(tmp_path, 4) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(200_000))
        await one.add_folder(stage.root("one"), "f")
        await one.backups.add("f", some.addresses, 2, 3)
        await until_kept(one)
        backup = one.backups._backups[folder_of(one).folder_id]
        gone = next(iter({h.node for h in await backup.store.holdings()}))
        number = [address.relay_id for address in some.addresses].index(gone)
        await some.stages[number].relay.stop()
        packs = len(await backup.store.packs())
        put, told = backup.put, []

        async def put_and_look(*given: Any, **options: Any) -> Any:
            told.extend(one.transfers.now.listed())
            return await put(*given, **options)

        backup.put = put_and_look  # type: ignore[method-assign]
        made = await one.backups.repair("f")
        assert told[0] == {
            "act": "repair",
            "subject": "f",
            "unit": "packs",
            "done": 0,
            "size": packs,
        }
        assert one.transfers.now.listed() == []
        assert made["away"] == [str(some.addresses[number])]
        assert (made["rebuilt"], made["lacking"], made["lost"]) == (packs, 0, 0)
        heals = await backup.store.notes.heals(99)
        assert len(heals) == await backup.store.notes.count_heals() == packs
        assert all(heal.is_own and heal.node != gone for heal in heals), "each is written down"
        assert (await one.backups.repair("f"))["rebuilt"] == 0


@pytest.mark.row("F26")
async def test_a_node_that_is_added_takes_what_others_hold_too_much_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the three have one owner, and the one that comes has another."""
    owners: dict[RelayId, str] = {}

    def node_of(client: object) -> Node:
        node = as_it_is(client)  # type: ignore[arg-type]
        return replace(node, owner=owners.get(node.id, node.owner), network=node.id.hex())

    monkeypatch.setattr(share_healing, "node_of", node_of)
    async with nodes(tmp_path, 4) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(200_000))
        await one.add_folder(stage.root("one"), "f")
        ids = [address.relay_id for address in some.addresses]
        owners |= {ids[0]: "a", ids[1]: "a", ids[2]: "b", ids[3]: "c"}
        await one.backups.add("f", some.addresses[:3], 2, 3)
        await until_kept(one)
        backup = one.backups._backups[folder_of(one).folder_id]
        assert {h.node for h in await backup.store.holdings()} == set(ids[:3])
        await one.backups.add("f", some.addresses, 2, 3)
        held: dict[int, set[RelayId]] = {}
        while not held or any(len(who) != 3 or ids[3] not in who for who in held.values()):
            entry = await until_kept(one)
            held = {}
            for holding in await backup.store.holdings():
                held.setdefault(holding.pack, set()).add(holding.node)
        assert all({ids[2], ids[3]} <= who for who in held.values())
        assert entry["health"] == "healthy"
        # Whoever holds them now was told so, and the one that was let go of is not named any more.
        pack = (await backup.store.packs())[0]
        (old,) = {node for number, node in await backup.store.released() if number == pack.number}
        assert old in ids[:2]
        desk = some.stages[2].relay.desk.storage
        assert desk is not None
        (row,) = await share_rows.packs_of_descriptor(desk.shares.store, pack.id)
        told: list[str] = []
        while len(told) != 3 or str(some.addresses[ids.index(old)]) in told:
            await until_kept(one)
            holders = await node_rows.holders(desk.shares.store, row.pack)
            assert STANDBY not in [h.number for h in holders if str(h.address) in told]
            told = [holder.address for holder in holders]


@pytest.mark.row("F23", "F24")
async def test_two_shares_at_one_node_do_not_count_for_two_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost node's share was rebuilt, the node came back and got another one's, and those two are
    lost now: with one node all but one share would be gone.
    """
    async with kept(tmp_path, monkeypatch, 4, 2, 3) as place:
        backup, pack = place.backup, (await place.backup.store.packs())[0]
        held = {h.share: h.node for h in await backup.store.holdings(pack.number)}
        (spare,) = set(place.ids) - set(held.values())
        at_spare, now_s = backup.present()[spare], int(time.time())
        for share in (1, 2):
            node = backup.present()[held[share]]
            data = await node.client.fetch(node.namespace, pack.descriptor, share)
            await at_spare.client.put(
                at_spare.namespace, pack.descriptor, share, data, now_s + 90 * 86_400, ()
            )
            await backup.store.drop(pack.number, share, held[share])
            await backup.store.hold([Holding(pack.number, share, spare, now_s, now_s)])
        clients = {id_: node.client for id_, node in backup.present().items()}
        pool = NodePool(new_keys(), asyncio.TaskGroup())
        said = await report(place.record, "f", backup, pool, clients, [])
        assert said["health"] == "at risk"
        assert await backup.healing.complete(place.record) == (1, 0, 0)
        found = await backup.store.holdings(pack.number)
        assert {h.share for h in found if h.node != spare} > {0}
        assert len({h.node for h in found}) == 3
        assert await backup.healing.complete(place.record) == (0, 0, 0)
        assert (await report(place.record, "f", backup, pool, clients, []))["health"] == "healthy"


def test_who_adds_no_independence_is_given_nothing() -> None:
    some = [Node(RelayId(bytes([n]) * 32), owner, str(n), "") for n, owner in enumerate("aabb")]
    held = {0: some[0].id, 1: some[2].id}
    assert better(some, held) is None, "two owners are as many as there are"
    assert better(some, {0: some[0].id, 1: some[1].id}) == (0, some[2].id)
    assert better(some[1:], {0: some[0].id, 1: some[1].id}) is None, "one of them is not there"
