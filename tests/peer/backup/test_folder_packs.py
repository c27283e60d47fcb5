"""Packs hold what is lacking, each thing once, and open under the folder's keys to what it was."""

from __future__ import annotations

import os
from pathlib import Path

from crypto.chunks import ChunkHasher, open_chunk, open_log_item
from crypto.ids import ChunkId
from crypto.packs import PACK_SIZE_TARGET, Pack, PackKind, open_pack
from crypto.shares import describe
from peer.backup.folder_packs import FolderPacks
from peer.backup.pack_store import PackStore
from peer.status import FolderState
from protocol.changesets import decode_changeset
from tests.crypto.test_packs import as_read
from tests.peer.device_stage import devices, folder_of, until


async def test_what_is_packed_and_what_is_packed_no_more(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        root, data = stage.root("one"), os.urandom(10 << 20)
        (root / "large").write_bytes(data)
        (root / "copy").write_bytes(data)
        (root / "note").write_bytes(b"hello")
        await one.add_folder(root, "f")
        folder = folder_of(one)
        await until(lambda: folder.progress.state is FolderState.IN_SYNC)
        chain = one.ledgers.folders[folder.folder_id].chain
        keys, sealing = chain.folder_keys(), chain.sealing_epoch()
        assert keys is not None
        assert sealing is not None
        secret = chain.read_secret(sealing)
        assert secret is not None
        store = await PackStore.open(tmp_path / "packs")
        packs = [p async for p in FolderPacks(folder, store, secret, os.urandom).new_packs()]
        assert [p.index.kind for p in packs] == [PackKind.CHUNKS] * 2 + [PackKind.LOG]
        assert all(len(p.data) <= PACK_SIZE_TARGET for p in packs)
        assert sum(len(p.data) for p in packs) < 1.15 * len(data)
        hasher, found = ChunkHasher(keys.chunk_id_key), 0
        for pack in packs[:2]:
            assert open_pack(secret, pack.data) == as_read(pack.index)
            for slot in pack.index.slots:
                plain = open_chunk(secret, ChunkId(slot.id), slot.cut(pack.data), hasher)
                found += len(plain)
        assert found == len(data) + len(b"hello")  # the copy costs nothing
        for slot in packs[2].index.slots:
            wire = open_log_item(secret, slot.id, slot.cut(packs[2].data))
            assert decode_changeset(wire).hash == slot.id
        for pack in packs:
            await note(store, pack)
        again = FolderPacks(folder, store, secret, os.urandom)
        assert [p async for p in again.new_packs()] == []
        assert again.unread == 0
        await store.close()


async def note(store: PackStore, pack: Pack) -> None:
    descriptor = describe(pack.pack_id, len(pack.data), 1, [pack.data])
    await store.add(descriptor, pack.index, 1)
