"""Two devices that both take themselves for the one that keeps the folder: while one writes packs
anew the other does it too, from any request of the first on. A third that goes by an older list,
and a share link to a pack that is let go of, lose nothing by it either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from peer.backup import folder_backup, pack_leases, share_healing
from peer.backup.folder_backup import FolderBackup
from peer.backup.pack_store import PackStore
from peer.backup.share_transfers import read_pack
from protocol.storage_client import Answer, Request, StorageClient
from relay.shares import DAY_S
from tests.peer.backup.test_collected import PASSES, Town, copied, record_of
from tests.peer.backup.test_lost_midway import Place, kept, opened, scatter
from tests.relay.test_shares import Clock

REQUESTS_MAX = 200


class Gate:
    """Before one of the requests of a device another does all that it has to do."""

    def __init__(self, left: int, other: Callable[[], Awaitable[None]]) -> None:
        self._left, self._other = left, other
        self.was_passed = False
        self._going = asyncio.Event()
        self._going.set()

    async def __call__(self) -> None:
        self._left -= 1
        if self._left == -1:
            self._going.clear()
            await self._other()
            self.was_passed = True
            self._going.set()
        await self._going.wait()

    def over(self, client: StorageClient) -> StorageClient:
        gate = self

        class Link(StorageClient):
            def __init__(self) -> None:
                self.__dict__.update(client.__dict__)

            def number(self) -> int:
                return client.number()

            async def send(self, request: Request) -> asyncio.Future[Answer]:
                await gate()
                return await client.send(request)

        return Link()


async def wanted_of(place: Place, device: FolderBackup) -> set[tuple[bytes, bytes]]:
    """All that this device wants, as it comes from nodes now."""
    first, place.backup = place.backup, device
    try:
        return await opened(place)
    finally:
        place.backup = first


async def least_lease_s(town: Town, device: FolderBackup) -> int:
    """How long what this device wants stays at each node, if nobody asks again."""
    numbers = (await device.wanted_slots()).keys()
    ids = [pack.id for pack in await device.store.packs() if pack.number in numbers]
    leases: list[int] = []
    for shares, node in zip(town.shares, town.place.ids, strict=True):
        for id_ in ids:
            ((lease_s, trashed_s),) = await shares.store.rows(
                "SELECT lease_until_s, trashed_s FROM packs WHERE namespace = ?"
                " AND descriptor_id = ?", town.place._opened[node].namespace, id_,
            )  # fmt: skip
            assert trashed_s is None
            leases.append(lease_s)
    return min(leases) - town.clock.now_s


async def all_of_a_pass(town: Town, device: FolderBackup) -> None:
    """What `Backups` has a device do that stores."""
    record = town.place.record
    await device.look()
    await device.leases.renew()
    await device.store_new(record)
    device.repacking._looked_at = float("-inf")
    await device.repacking.step(record)
    await device.healing.complete(record)
    await device.lists.tell(device.present(), device.addresses)


@pytest.mark.row("F29")
async def test_two_devices_write_packs_anew_at_once_from_any_request_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    clock.now_s = int(time.time())
    for module in (pack_leases, folder_backup, share_healing):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=clock))
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        town, wanted, left = Town(place, clock), await opened(place), 0
        for left in range(REQUESTS_MAX):
            await scatter(place)
            one, old = place.backup, await place.backup.store.packs()
            named = old[left % len(old)]
            bytes_named = await place.read(named)
            stores = [
                await PackStore.open(copied(record_of(tmp_path), tmp_path / f"{who}-{left}.packs"))
                for who in ("two", "away")
            ]
            two, away = map(town.device, stores)
            gate = Gate(left, lambda two=two: all_of_a_pass(town, two))  # type: ignore[misc]
            one.nodes_are(
                {
                    id_: node._replace(client=gate.over(node.client))
                    for id_, node in place._opened.items()
                },
                one.addresses,
            )
            await all_of_a_pass(town, one)
            place.back()
            clock.now_s += DAY_S
            for device in (one, two):
                await device.look()
                device._packs.clear()
                assert await wanted_of(place, device) == wanted
                assert await least_lease_s(town, device) > 80 * DAY_S
            for pack in old:
                assert await away.pack_bytes(pack), "an older list is good for as long as leases"
            if not gate.was_passed:
                break
            for store in stores:
                await store.close()
        assert 20 < left < REQUESTS_MAX - 1, "at each request of one pass"
        await one.leases.prolong_named([named.id], clock.now_s)
        await town.passes(PASSES, place.record, [named.id])
        assert await opened(place) == wanted
        assert await wanted_of(place, two) == wanted, "it is not told, and loses nothing"
        holders = await one._ask_holders((named.id,))
        assert (await read_pack(holders[named.id], named.descriptor))[0] == bytes_named
        numbers = (await one.wanted_slots()).keys()
        kept_ids = {p.id for p in await one.store.packs() if p.number in numbers}
        assert await town.ids() == kept_ids | {named.id}, "nothing is left that nobody asks for"
        for store in stores:
            await store.close()
