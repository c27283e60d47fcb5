"""A folder's namespace is found again by every member, and follows the folder's keys."""

from __future__ import annotations

from pathlib import Path

from crypto.keys import KitKeys
from crypto.namespaces import node_tag
from peer.backup.node_keys import open_vault, secrets_of, storage_at
from protocol.storage_client import storing
from tests.peer.backup_stage import keep, nodes, until_kept
from tests.peer.device_stage import devices, folder_of, until


async def test_after_a_rotation_the_node_knows_the_new_keys(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(b"hello")
        await one.add_folder(stage.root("one"), "f")
        two = await stage.join(one, "two")
        folder = folder_of(one)
        membership = one.ledgers.folders[folder.folder_id]
        await until(lambda: len(membership.ledger.devices()) == 2)
        await keep(stage, one, some, 1)
        node_id = some.addresses[0].relay_id
        storage = storage_at(membership.ledger, node_id)
        assert storage is not None
        old = membership.chain.sealing_epoch()
        await one.remove_device("two")
        assert two is not None
        await until(lambda: membership.chain.sealing_epoch() not in (None, old))
        (stage.root("one") / "b").write_bytes(b"world")
        await until_kept(one, packs=4)
        sealing = membership.chain.sealing_epoch()
        assert sealing is not None
        secrets = secrets_of(membership.chain, sealing)
        assert secrets is not None
        shares = some.stages[0].relay.desk.storage.shares  # type: ignore[union-attr]
        space = shares.namespaces.get(storage.namespace)
        assert space is not None
        assert space.delegation.generation == 2
        assert space.delegation.tag == node_tag(secrets.read, node_id)


async def test_a_vault_is_there_once_it_was_founded(tmp_path: Path) -> None:
    secret = KitKeys.from_secret(b"k" * 32).vault_secret
    async with nodes(tmp_path, 1) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        async with storing(some.addresses[0], one.home.keys) as client:
            assert await open_vault(client, secret, may_found=False) is None
            made = await open_vault(client, secret, may_found=True)
            again = await open_vault(client, secret, may_found=False)
            assert made is not None
            assert again == made
