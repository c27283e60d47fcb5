"""Nodes are told who holds what, so that they make a lost node's part again without any device."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from crypto.ids import RelayId
from peer.backup.folder_backup import FolderBackup
from peer.backup.holder_lists import holder_list, mark_of
from peer.backup.pack_store import KnownPack
from protocol.storage_messages import HOLDERS_MAX, STANDBY, Holder
from relay.shares import DAY_S
from tests.peer.backup_stage import Nodes, until_kept
from tests.peer.device_stage import devices, folder_of
from tests.relay.test_repairer import HOUR_S, Node, Town
from tests.relay.test_shares import Clock

IDS = [RelayId(bytes([number]) * 32) for number in range(6)]
PLACES = {node: f"place {node[0]}" for node in IDS}


def test_who_holds_none_stands_by() -> None:
    told = holder_list([(1, IDS[3]), (0, IDS[4])], PLACES)
    assert told[:2] == (Holder(0, "place 4"), Holder(1, "place 3"))
    assert told[2:] == tuple(Holder(STANDBY, PLACES[IDS[n]]) for n in (0, 1, 2, 5))
    without = holder_list([(1, IDS[3]), (0, RelayId(b"x" * 32))], PLACES, {IDS[0], IDS[1]})
    assert [h.address[-1] for h in without] == ["3", "2", "4", "5"]
    many = {RelayId(bytes([n]) * 32): str(n) for n in range(100)}
    assert len(holder_list([(0, RelayId(bytes([99]) * 32))], many)) == HOLDERS_MAX
    assert mark_of(told) != mark_of(without)
    assert mark_of(told) == mark_of(list(told))


@asynccontextmanager
async def town(base: Path, size: int) -> AsyncIterator[Town]:
    """Nodes on a clock of their own."""
    clock = Clock()
    places = [Node(base / f"node-{number}", clock) for number in range(size)]
    async with AsyncExitStack() as stack:
        for each in places:
            each.home.mkdir()
            await each.switch_on()
            stack.push_async_callback(each.switch_off)
        yield Town(places, clock)


def shares_at(node: Node, packs: list[KnownPack]) -> int:
    """Whole shares of these packs that lie there."""
    ids = {pack.id.hex() for pack in packs}
    files = (node.home / "shares" / "shares").glob("*/*")
    return sum(path.name.partition("-")[0] in ids for path in files)


async def leases_at(node: Node, earlier_s: int = 0) -> list[int]:
    """The leases of all packs there, after they were made to end earlier by so much."""
    desk = node.stage.relay.desk.storage
    assert desk is not None
    async with desk.shares.store.transaction() as db:
        sql = "UPDATE packs SET lease_until_s = lease_until_s - ?"
        await db.execute_fetchall(sql, (earlier_s,))
    found = await desk.shares.store.rows("SELECT lease_until_s FROM packs ORDER BY pack")
    return [row[0] for row in found]


async def what_is_told_lengthens_no_lease(backup: FolderBackup, all_nodes: Sequence[Node]) -> None:
    """A pack that nobody wants any more ends, whoever is told of it meanwhile: those who stand by
    have it for as long as those who hold it.
    """
    store = backup.store
    before = [await leases_at(node, 5 * DAY_S) for node in all_nodes]
    await store.hold(h._replace(lease_s=h.lease_s - 5 * DAY_S) for h in await store.holdings())
    places = {(pack.number, id_) for pack in await store.packs() for id_ in backup.present()}
    await store.untell(places)
    await backup.lists.tell(backup.present(), backup.addresses)
    assert places == (await store.told()).keys()
    assert [await leases_at(node) for node in all_nodes] == before
    assert len({lease for each in before for lease in each}) <= 2 * len(await store.packs())


@pytest.mark.row("F24")
async def test_nodes_make_a_lost_one_s_part_again_while_no_device_is_there(tmp_path: Path) -> None:
    """A device stores, and is gone; a node is lost; the ones that stand by have all of it again
    within 48 hours. Then another one may be lost too, and the bytes are whole.
    """
    async with town(tmp_path, 6) as place, devices(tmp_path) as stage:
        some = Nodes(tmp_path, [each.stage for each in place.nodes])
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(400_000))
        await one.add_folder(stage.root("one"), "f")
        await one.backups.add("f", some.addresses, 2, 4)
        await until_kept(one)
        folder_id = folder_of(one).folder_id
        backup = one.backups._backups[folder_id]
        async with one.backups._passing[folder_id]:  # no device does anything from now on
            packs = await backup.store.packs()
            held = {h.node for h in await backup.store.holdings()}
            by_id = {each.stage.address.relay_id: each for each in place.nodes}
            spares = [node for id_, node in by_id.items() if id_ not in held]
            await what_is_told_lengthens_no_lease(backup, place.nodes)
            assert [shares_at(node, packs) for node in spares] == [0, 0], "so many stand by"
            holders = [by_id[id_] for id_ in held]
            await place.rounds(4, every=4)
            await holders[0].switch_off()
            lost_at_s = place.clock.now_s
            await place.rounds(20, every=10)
            assert sum(shares_at(node, packs) for node in spares) == 0, "it may come back yet"
            await place.rounds(22, every=11)
            assert place.clock.now_s - lost_at_s <= 48 * HOUR_S
            assert sum(shares_at(node, packs) for node in spares) == len(packs), "each pack once"
            # A device finds what they made, and all bytes though two holders more are away now.
            await holders[1].switch_off()
            await backup.look()
            made = await backup.store.notes.heals(99)
            assert {heal.descriptor_id for heal in made} == {pack.id for pack in packs}
            assert not any(heal.is_own for heal in made)
            await holders[2].switch_off()
            for pack in packs:
                backup._packs.clear()
                data = await backup.pack_bytes(pack)
                assert len(data) == pack.descriptor.pack_size
