"""Copies are completed by whoever can: shares that are missing are made of those that are there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from protocol.storage_client import StorageClient
from tests.peer.backup_stage import nodes, until_kept
from tests.peer.device_stage import devices, folder_of


@pytest.mark.row("F24")
async def test_what_is_forgotten_is_read_back_and_what_is_lost_is_made_again(
    tmp_path: Path,
) -> None:
    async with nodes(tmp_path, 4) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(700_000))
        await one.add_folder(stage.root("one"), "f")
        await one.backups.add("f", some.addresses, 2, 3)
        await until_kept(one)
        folder_id = folder_of(one).folder_id
        backup = one.backups._backups[folder_id]
        record = one.backups._records[folder_id]
        wanted = {p.id: await backup.store.slots(p.number) for p in await backup.store.packs()}
        held = sorted(h[1:3] for h in await backup.store.holdings())
        # Without its memory a device asks the nodes.
        numbers = [pack.number for pack in await backup.store.packs()]
        await backup.store.forget(numbers)
        for address in some.addresses:
            await backup.store.drop_node(address.relay_id)
        await backup.look()
        found = {p.id: await backup.store.slots(p.number) for p in await backup.store.packs()}
        assert found == wanted
        assert sorted(h[1:3] for h in await backup.store.holdings()) == held
        # Two of three shares are enough to make the third, at a node that has none.
        for holding in await backup.store.holdings():
            if holding.share == 1:
                await backup.store.drop(*holding[:3])
        assert await backup.healing.complete(record) == (len(wanted), 0, 0)
        after = await backup.store.holdings()
        assert sorted(h.share for h in after) == sorted([0, 1, 2] * len(wanted))


class Liar:
    """A node's client that gives other bytes than are there, of one share."""

    def __init__(self, client: StorageClient, number: int) -> None:
        self._client, self._number = client, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def read(self, namespace: bytes, id_: bytes, share: int, first: int, count: int) -> bytes:
        data = await self._client.read(namespace, id_, share, first, count)
        return bytes(len(data)) if share == self._number else data


@pytest.mark.row("F25")
@pytest.mark.parametrize("number", [0, 1])
async def test_a_node_that_lies_of_an_end_of_a_pack_does_not_hide_it(
    tmp_path: Path, number: int
) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(300_000))
        await one.add_folder(stage.root("one"), "f")
        await one.backups.add("f", some.addresses, 2, 3)
        await until_kept(one)
        backup = one.backups._backups[folder_of(one).folder_id]
        wanted = {p.id: await backup.store.slots(p.number) for p in await backup.store.packs()}
        assert wanted
        await backup.store.forget([pack.number for pack in await backup.store.packs()])
        for address in some.addresses:
            await backup.store.drop_node(address.relay_id)
        lying = {
            id_: node._replace(client=cast(StorageClient, Liar(node.client, number)))
            for id_, node in backup.present().items()
        }
        backup.nodes_are(lying, {a.relay_id: str(a) for a in some.addresses})
        await backup.look()
        found = {p.id: await backup.store.slots(p.number) for p in await backup.store.packs()}
        assert found == wanted
