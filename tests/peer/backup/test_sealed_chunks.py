"""A link to what a folder keeps at nodes: nothing is put there again, and any k of them give it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from crypto.packs import PackKind
from peer.backup.node_keys import storage_at
from peer.backup.sealed_chunks import SealedChunks
from peer.share_links import link_listing
from peer.share_links.link_get import get
from peer.share_links.link_maker import Wish
from protocol.share_url import ShareUrl
from tests.peer.backup_stage import nodes, until_kept
from tests.peer.device_stage import devices, folder_of
from tests.peer.link_stage import link_relaying

NOISE = os.urandom(3_000_000)


async def never(*_: object) -> None:
    raise AssertionError("what was prepared is known by its pages")


@pytest.mark.row("F25")
async def test_what_is_at_nodes_is_not_put_there_for_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        link_relaying(tmp_path / "relay") as place,
        nodes(tmp_path, 2) as some,
        devices(tmp_path) as stage,
    ):
        one = await stage.found("one")
        root = stage.root("one")
        (root / "big").write_bytes(NOISE)
        (root / "small").write_bytes(b"small\n" * 100)
        await one.add_folder(root, "f")
        await one.backups.add("f", [*some.addresses, place.address], 2, 3)
        await until_kept(one)
        # The relay is no relay of this device's, but one of the folder's nodes.
        made = await one.share_links.create(root, "", None, Wish())
        assert made["uploaded_bytes"] == 0
        await asyncio.to_thread(get, ShareUrl.parse(made["url"]), tmp_path / "there", str)
        assert (tmp_path / "there" / root.name / "big").read_bytes() == NOISE

        # The list of it is put there beforehand, if it is long.
        folder_id = folder_of(one).folder_id
        assert (await one.share_links.prepare(folder_id)).put_bytes == 0
        monkeypatch.setattr(link_listing, "LISTED_MAX", 0)
        monkeypatch.setattr(link_listing, "PREPARED_SHARE", 1)
        assert (await one.share_links.prepare(folder_id)).put_bytes > 0
        assert (await one.share_links.prepare(folder_id)).put_bytes == 0
        with monkeypatch.context() as nothing_else:
            nothing_else.setattr(SealedChunks, "find", never)
            listed = await one.share_links.create(root, "renamed", None, Wish())
        assert listed["uploaded_bytes"] == 0
        await asyncio.to_thread(get, ShareUrl.parse(listed["url"]), tmp_path / "listed", str)
        assert (tmp_path / "listed" / "renamed" / "big").read_bytes() == NOISE

        # What another device has put there is read once, to know what was sealed.
        backup = one.backups._backups[folder_of(one).folder_id]
        forgotten = 0
        for pack in await backup.store.packs():
            forgotten += pack.kind is PackKind.CHUNKS
            known = await backup.store.hashes.of([pack.number])
            sql = "DELETE FROM sealed WHERE pack = ?"
            await backup.store._db.execute(sql, (pack.number,))
            assert (not known) == (pack.kind is PackKind.LOG)
        again = await one.share_links.create(root / "big", "", None, Wish())
        assert (again["uploaded_bytes"], forgotten) == (0, 1)
        await asyncio.to_thread(get, ShareUrl.parse(again["url"]), tmp_path / "once", str)
        assert (tmp_path / "once" / "big").read_bytes() == NOISE

        # A relay that has lost its part is given what the link needs.
        desk = place.relay.relay.desk.storage
        assert desk is not None
        ids = [pack.id for pack in await backup.store.packs()]
        storage = storage_at(backup._membership.ledger, place.address.relay_id)
        assert storage is not None
        await desk.shares.trash(storage.namespace, ids, is_back=False)
        lost = await one.share_links.create(root / "small", "", None, Wish())
        assert lost["uploaded_bytes"] > 0


async def test_what_counts_as_stored_can_be_linked_to_with_nothing_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_listing, "LISTED_MAX", 0)
    monkeypatch.setattr(link_listing, "PREPARED_SHARE", 1)
    async with link_relaying(tmp_path / "relay") as place, devices(tmp_path) as stage:
        one = await stage.found("one")
        root = stage.root("one")
        (root / "big").write_bytes(NOISE)
        await one.add_folder(root, "f")
        await one.backups.add("f", [place.address], 1, 1)
        await until_kept(one)
        with monkeypatch.context() as nothing_else:
            nothing_else.setattr(SealedChunks, "find", never)
            made = await one.share_links.create(root, "", None, Wish())
        assert made["uploaded_bytes"] == 0
        await asyncio.to_thread(get, ShareUrl.parse(made["url"]), tmp_path / "there", str)
        assert (tmp_path / "there" / root.name / "big").read_bytes() == NOISE
