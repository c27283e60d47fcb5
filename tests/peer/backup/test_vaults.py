"""What the kit finds is the latest that any device put there, and nothing that is not its own."""

from __future__ import annotations

import os
from pathlib import Path

from peer.backup.vaults import Vaults, read_vault
from protocol.storage_client import storing
from tests.peer.backup_stage import nodes
from tests.peer.device_stage import devices, folder_of


async def test_it_is_written_when_something_changed_and_read_by_the_kit(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        secret = one.backups.known.vault_secret
        vaults = Vaults(one.home, one.ledgers, one.backups._names, lambda: ())
        async with storing(some.addresses[0], one.home.keys) as client:
            assert await read_vault(client, secret) == []
            await vaults.write(b"", [client], ())
            assert await read_vault(client, secret) == []
            await vaults.write(secret, [client], ())
            await vaults.write(secret, [client], ())
            (first,) = await read_vault(client, secret)
            assert first.folders == ()
            await one.add_folder(stage.root("one"), "f")
            await vaults.write(secret, [client], ())
            found = await read_vault(client, secret)
            assert len(found) == 2
            (folder,) = max(found, key=lambda contents: len(contents.folders)).folders
            assert (folder.folder_id, folder.name) == (folder_of(one).folder_id, "f")
            assert len(folder.wraps) == 1
            assert await read_vault(client, os.urandom(32)) == []
