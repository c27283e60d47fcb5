"""Makes packs of what a folder has and its nodes lack: sealed chunks, and sealed changesets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from crypto.chunks import CHUNK_NONCE_SIZE, SealedChunk, seal_chunk, seal_log_item
from crypto.ids import ChunkId
from crypto.packs import PACK_SIZE_TARGET, Pack, PackKind, PackWriter
from peer.backup.pack_store import PackStore
from peer.folders.folder import Folder
from protocol.version_records import item_id

READ_AT_ONCE: Final = 256
"""Chunks asked for together; a folder answers as many of them as are 4 MiB."""

Item = tuple[bytes, SealedChunk]


class FolderPacks:
    """What one folder's packs are made of."""

    def __init__(
        self, folder: Folder, store: PackStore, read_secret: bytes, random: Callable[[int], bytes]
    ) -> None:
        """`read_secret` is that of the epoch to seal under."""
        self._folder, self._store = folder, store
        self._secret, self._random = read_secret, random
        self._begun: set[ChunkId] = set()
        """Chunks that are on their way."""
        self.unread = 0
        """Chunks that the disk does not show as the index has them: a scan tells what they are."""

    async def new_packs(self) -> AsyncIterator[Pack]:
        """All that is lacking, logs last: what they tell of is stored by then."""
        async for pack in self._packed(PackKind.CHUNKS, self._chunks()):
            yield pack
        async for pack in self._packed(PackKind.LOG, self._told()):
            yield pack

    async def _packed(
        self, kind: PackKind, items: AsyncIterator[list[Item]]
    ) -> AsyncIterator[Pack]:
        writer: PackWriter | None = None
        async for some in items:
            for id_, sealed in some:
                if writer is not None and not writer.has_room_for(len(sealed.sealed)):
                    yield await asyncio.to_thread(writer.close)
                    writer = None
                if writer is None:
                    writer = PackWriter(self._secret, kind, self._random)
                writer.add(id_, sealed)
        if writer is not None:
            yield await asyncio.to_thread(writer.close)

    async def _chunks(self) -> AsyncIterator[list[Item]]:
        async for some in self._folder.store.wanted.chunks():
            async for here in self._read_lacking([id_ for id_, _ in some]):
                self.unread += sum(piece is None for _, piece in here)
                yield await asyncio.to_thread(self._seal, here)
        # What the trash keeps of earlier versions; what it does not is nobody's to be read again.
        async for versions in self._folder.store.wanted.versions():
            kept = [id_ for v in versions if v.kept is not None for id_, _ in v.chunks()]
            async for here in self._read_lacking(kept):
                yield await asyncio.to_thread(self._seal, here)

    async def _read_lacking(
        self, ids: Sequence[ChunkId]
    ) -> AsyncIterator[list[tuple[ChunkId, bytes | None]]]:
        known = await self._store.find(ids)
        lacking = [id_ for id_ in ids if id_ not in known and id_ not in self._begun]
        wanted = list(dict.fromkeys(lacking))
        while wanted:
            data = await self._folder.read_chunks(wanted[:READ_AT_ONCE])
            here = list(zip(wanted, data, strict=False))
            wanted = wanted[len(here) :]
            self._begun.update(id_ for id_, piece in here if piece is not None)
            yield here

    def _seal(self, chunks: Sequence[tuple[ChunkId, bytes | None]]) -> list[Item]:
        return [
            (id_, seal_chunk(self._secret, id_, data, self._random(CHUNK_NONCE_SIZE)))
            for id_, data in chunks
            if data is not None
        ]

    async def _told(self) -> AsyncIterator[list[Item]]:
        async for some in self._changesets():
            yield some
        async for some in self._versions():
            yield some

    async def _versions(self) -> AsyncIterator[list[Item]]:
        """Of earlier versions those of which every byte is stored, be it since they were shown."""
        async for versions in self._folder.store.wanted.versions():
            encoded = [v.record().encode() for v in versions]
            by_id = {item_id(data): (v, data) for v, data in zip(versions, encoded, strict=True)}
            known = await self._store.find(list(by_id))
            new = {id_: each for id_, each in by_id.items() if id_ not in known}
            ids = {chunk for v, _ in new.values() for chunk, _ in v.chunks()}
            here = self._begun | (await self._store.find(list(ids))).keys()
            yield [
                (id_, seal_log_item(self._secret, id_, data, self._random(CHUNK_NONCE_SIZE)))
                for id_, (v, data) in new.items()
                if all(chunk in here for chunk, _ in v.chunks())
            ]

    async def _changesets(self) -> AsyncIterator[list[Item]]:
        async for some in self._folder.store.wanted.changesets():
            known = await self._store.find([hash_ for hash_, _ in some])
            yield [
                (hash_, seal_log_item(self._secret, hash_, wire, self._random(CHUNK_NONCE_SIZE)))
                for hash_, wire in some
                if hash_ not in known and len(wire) < PACK_SIZE_TARGET
            ]
