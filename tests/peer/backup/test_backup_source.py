"""A device that lacks a chunk gets it from super-nodes, of which some are gone or lie."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest

from crypto.ids import ChunkId
from peer.backup.backup_source import FEW, BackupSource
from protocol.events import ReceivedChunk
from protocol.storage_client import StorageClient
from tests.peer.backup_stage import keep, nodes
from tests.peer.device_stage import devices, folder_of


class Asked:
    """Those who wait for chunks (chunk_sources.ChunkSources)."""

    def __init__(self) -> None:
        self.found: dict[ChunkId, bytes] = {}

    async def answered(
        self, source: bytes, folder: bytes, asked: list[ChunkId], chunks: list[ReceivedChunk]
    ) -> None:
        self.found.update((chunk.chunk_id, bytes(chunk.data)) for chunk in chunks)


@pytest.mark.row("F25")
async def test_a_few_chunks_come_as_ranges_and_many_as_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        root = stage.root("one")
        for number in range(FEW + 2):
            (root / f"{number}").write_bytes(os.urandom(200_000))
        await one.add_folder(root, "f")
        await keep(stage, one, some, 2)
        folder = folder_of(one)
        backup = one.backups._backups[folder.folder_id]
        keys = one.ledgers.folders[folder.folder_id].chain.folder_keys()
        assert keys is not None
        ids = [id_ async for part in folder.store.wanted.chunks() for id_, _ in part]
        data = {id_: read for id_ in ids for read in await folder.read_chunks([id_])}
        read: list[int] = []
        right = StorageClient.read

        async def spied(self: Any, ns: bytes, id_: bytes, share: int, first: int, n: int) -> bytes:
            read.append(n)
            return await right(self, ns, id_, share, first, n)

        monkeypatch.setattr(StorageClient, "read", spied)

        async def fetch(wanted: list[ChunkId]) -> dict[ChunkId, bytes]:
            asked = Asked()
            async with asyncio.TaskGroup() as tasks:
                source = BackupSource(
                    folder.folder_id, backup, keys.chunk_id_key, cast(Any, asked), tasks
                )
                source.ask(folder.folder_id, wanted)
            return asked.found

        backup._packs.clear()
        assert await fetch(ids[:1]) == {ids[0]: data[ids[0]]}
        assert sum(read) <= 8  # three ranges, and not the pack
        backup._packs.clear()
        assert await fetch(ids) == data
        assert await fetch([ChunkId(bytes(32))]) == {}

        # A node whose every byte is wrong is done without.
        async def lying(self: Any, ns: bytes, id_: bytes, share: int, first: int, n: int) -> bytes:
            found = await right(self, ns, id_, share, first, n)
            is_liar = self.address == some.addresses[0]
            return bytes(byte ^ 1 for byte in found) if is_liar else found

        monkeypatch.setattr(StorageClient, "read", lying)
        backup._packs.clear()
        assert await fetch(ids[:1]) == {ids[0]: data[ids[0]]}
        backup._packs.clear()
        assert await fetch(ids) == data
