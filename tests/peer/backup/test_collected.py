"""Nobody deletes packs; who has a use for one asks for it. So whenever a device ends in the middle
of letting go of packs, what anybody refers to is there, and in the end nothing else is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from peer.backup import pack_leases
from peer.backup.folder_backup import FolderBackup
from peer.backup.pack_store import KnownPack, PackStore
from peer.backup.share_transfers import read_pack
from protocol.backup_records import BackupRecord
from protocol.storage_client import Answer, Request, StorageClient
from protocol.storage_messages import StoreRenew
from relay.shares import DAY_S, Shares
from tests.peer.backup.test_lost_midway import Place, kept, opened, scatter
from tests.relay.test_shares import Clock

ROUNDS_MAX = 20
PASSES = 9
"""Two weeks apart: ninety days of a lease that is prolonged at the first of them, when a
new device tells nodes who holds what, and a week of trash."""
A = TypeVar("A", bound=Answer)


class Died(Exception):
    """The device ends here: none of its code goes on."""


class Doomed:
    """The links of a device that ends at one of its requests to keep packs for longer."""

    def __init__(self, left: int) -> None:
        self.left, self.is_dead = left, False

    def over(self, client: StorageClient) -> StorageClient:
        death = self

        class Link:
            def __getattr__(self, name: str) -> Any:
                return getattr(client, name)

            async def ask(self, request: Request, kind: type[A]) -> A:
                if isinstance(request, StoreRenew):
                    death.left -= 1
                    death.is_dead = death.is_dead or death.left < 0
                if death.is_dead:
                    raise Died
                return await client.ask(request, kind)

        return cast(StorageClient, Link())


class Town:
    """Nodes with a clock of their own, and devices that come and go."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self.place, self.clock = place, clock
        self.shares: list[Shares] = []
        for stage in place.some.stages:
            desk = stage.relay.desk.storage
            assert desk is not None
            desk.shares._wall_clock = clock
            self.shares.append(desk.shares)

    def device(self, store: PackStore | None = None) -> FolderBackup:
        """One that has just started, on this record of what is at nodes."""
        one = self.place.backup
        device = FolderBackup(
            one._membership, store or one.store, one.random, one._folder, one._take_changesets,
            one._take_versions,
        )  # fmt: skip
        device.nodes_are(self.place._opened, one.addresses)
        return device

    async def passes(self, count: int, record: BackupRecord, named: Sequence[bytes]) -> None:
        """Passes of the device that keeps the folder, and of one that has made a link."""
        for _ in range(count):
            self.clock.now_s += 14 * DAY_S
            backup = self.place.backup
            await backup.look()
            backup.audit.hasten()
            await backup.audit.verify(backup.present())
            await backup.healing.complete(record)
            await backup.lists.tell(backup.present(), backup.addresses)
            await backup.leases.renew()
            await backup.leases.prolong_named(named, self.clock.now_s)
            for shares in self.shares:
                while await shares.sweep():
                    pass

    async def ids(self) -> set[bytes]:
        """The packs that lie at nodes, be it in the trash."""
        sql = "SELECT descriptor_id FROM packs WHERE namespace = ?"
        nodes = zip(self.shares, self.place.ids, strict=True)
        found = [
            await shares.store.rows(sql, self.place._opened[id_].namespace) for shares, id_ in nodes
        ]
        return {row[0] for rows in found for row in rows}


def record_of(base: Path) -> Path:
    """What the device knows of packs."""
    (path,) = base.glob("home-one/**/*.packs")
    return path


def copied(path: Path, to: Path) -> Path:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
    return to


async def forgotten(backup: FolderBackup) -> None:
    """The device is put back, or a new one."""
    await backup.store.forget([pack.number for pack in await backup.store.packs()])
    for relay_id in backup.addresses:
        await backup.store.drop_node(relay_id)


@pytest.mark.row("F29")
async def test_a_device_that_dies_while_packs_are_let_go_of_loses_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, deaths = Clock(), list[int]()
    clock.now_s = int(time.time())
    monkeypatch.setattr(pack_leases, "time", SimpleNamespace(time=clock))
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        town = Town(place, clock)
        path = record_of(tmp_path)
        wanted = await opened(place)
        for left in range(ROUNDS_MAX):
            await scatter(place)
            old = await place.backup.store.packs()
            named: KnownPack = old[left % len(old)]
            bytes_named = await place.read(named)
            # Another device knows what lies where as of now, and is away from then on.
            other_store = await PackStore.open(copied(path, tmp_path / f"other-{left}.packs"))
            death = Doomed(left)
            backup = place.backup
            backup.nodes_are(
                {
                    id_: node._replace(client=death.over(node.client))
                    for id_, node in place._opened.items()
                },
                backup.addresses,
            )
            backup.repacking._looked_at = float("-inf")
            try:
                await backup.repacking.step(place.record)
            except Died:
                deaths.append(left)
            # Whoever still reads by an old record does so for as long as leases last.
            other = town.device(other_store)
            for pack in old:
                assert await other.pack_bytes(pack)
            place.backup = town.device()
            if left % 2:
                await forgotten(place.backup)
                await place.backup.look()
            assert await opened(place) == wanted
            await town.passes(PASSES, place.record, [named.id])
            assert await opened(place) == wanted
            holders = await place.backup._ask_holders((named.id,))
            data, _ = await read_pack(holders[named.id], named.descriptor)
            assert data == bytes_named, "a link names it"
            # The other device comes back, and finds all that is wanted where it lies now.
            away, place.backup = place.backup, other
            other._packs.clear()
            await other.look()
            other.audit.hasten()
            await other.audit.verify(other.present())
            assert await opened(place) == wanted
            place.backup = away
            await other_store.close()
            # What nobody refers to has gone.
            numbers = (await place.backup.wanted_slots()).keys()
            kept_ids = {p.id for p in await place.backup.store.packs() if p.number in numbers}
            assert await town.ids() == kept_ids | {named.id}
            if not death.is_dead:
                break
        assert deaths == list(range(6)), "at each of three nodes, for chunks and for changes"
