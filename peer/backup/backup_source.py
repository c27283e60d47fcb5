"""A folder's super-nodes as one more peer to ask for chunks, once no device has them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import Final

from crypto.chunks import ChunkHasher, open_chunk
from crypto.errors import CryptoError
from crypto.ids import ChunkId, DeviceId, FolderId
from crypto.packs import SALT_SIZE, TAIL_SIZE, TRAILER_BOX_SIZE
from peer.backup.folder_backup import FolderBackup
from peer.backup.pack_store import KnownPack, Place
from peer.backup.share_transfers import NODE_TROUBLE
from peer.connectivity.chunk_sources import ChunkSources
from peer.device.database import DatabaseClosed
from protocol.chunk_frames import CODEC_RAW
from protocol.errors import LinkError
from protocol.events import ReceivedChunk

log = logging.getLogger(__name__)

FEW: Final = 4
"""So many chunks of one pack are read by themselves; for more the whole pack is, and kept."""


class BackupSource:
    """One folder's super-nodes (chunk_sources.ChunkSource)."""

    def __init__(
        self,
        folder_id: FolderId,
        backup: FolderBackup,
        chunk_id_key: bytes,
        sources: ChunkSources,
        tasks: asyncio.TaskGroup,
    ) -> None:
        # No device has this id: a device's is a hash of its keys, a folder's one of its genesis.
        self.source_id = DeviceId(folder_id)
        self.backup = backup
        self._folder_id, self._hasher = folder_id, ChunkHasher(chunk_id_key)
        self._sources, self._tasks = sources, tasks
        self._secrets: dict[int, bytes] = {}
        """The read secrets of packs that were read from, by their numbers."""
        self._asked: dict[int, int] = {}
        """How many chunks of each pack were asked for so far."""

    def ask(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
        """Looks for chunks in the packs that nodes hold."""
        self._tasks.create_task(self._answer(tuple(chunk_ids)))

    async def _answer(self, chunk_ids: Sequence[ChunkId]) -> None:
        found: list[ReceivedChunk] = []
        try:
            await self._find(chunk_ids, found)
        except (DatabaseClosed, sqlite3.Error) as error:  # it is kept no more, or the disk fails
            log.info("nothing is found in packs: %s", error)
        await self._sources.answered(self.source_id, self._folder_id, chunk_ids, found)

    async def _find(self, chunk_ids: Sequence[ChunkId], found: list[ReceivedChunk]) -> None:
        by_pack: dict[int, list[Place]] = {}
        for place in (await self.backup.store.find(chunk_ids)).values():
            by_pack.setdefault(place.pack, []).append(place)
        for number, places in by_pack.items():
            pack = await self.backup.store.pack(number)
            if pack is None:
                continue
            try:
                found += await self._read(pack, places)
            except (*NODE_TROUBLE, CryptoError) as error:
                log.info("a pack is not to be had: %r", error)

    async def _read(self, pack: KnownPack, places: Sequence[Place]) -> list[ReceivedChunk]:
        self._asked[pack.number] = self._asked.get(pack.number, 0) + len(places)
        if self._asked[pack.number] <= FEW:
            try:
                return [await self._read_one(pack, place) for place in places]
            except (*NODE_TROUBLE, CryptoError) as error:
                # A share is wrong, late or lost: any others make the pack.
                log.info("a range of a pack is not to be had: %r", error)
        data = await self.backup.pack_bytes(pack)
        secret = self._secret(pack, data[:SALT_SIZE], data[-TAIL_SIZE:-TRAILER_BOX_SIZE])
        try:
            return await asyncio.to_thread(self._open, secret, places, data)
        except CryptoError:
            # The pack is right, by its id: what this device remembers of what is in it is not.
            log.error("what lies where in a pack is damaged here, and is read back from nodes")
            await self.backup.store.distrust(pack.number)
            raise

    async def _read_one(self, pack: KnownPack, place: Place) -> ReceivedChunk:
        if pack.number not in self._secrets:
            size = pack.descriptor.pack_size
            _, head = await self.backup.slot_bytes(pack, 0, SALT_SIZE)
            begin, end = await self.backup.slot_bytes(pack, size - TAIL_SIZE, size)
            tail = end[size - TAIL_SIZE - begin : size - begin]
            self._secret(pack, head[:SALT_SIZE], tail[:-TRAILER_BOX_SIZE])
        slot = place.slot
        begin, data = await self.backup.slot_bytes(pack, slot.offset, slot.offset + slot.length)
        return self._open(self._secrets[pack.number], [place], data, begin)[0]

    def _secret(self, pack: KnownPack, salt: bytes, hint: bytes) -> bytes:
        secret = self._secrets.get(pack.number) or self.backup.read_secret(salt, hint)
        if secret is None:
            raise LinkError("A pack was made under a key that is not here yet.")
        self._secrets[pack.number] = secret
        return secret

    def _open(
        self, secret: bytes, places: Sequence[Place], data: bytes, begin: int = 0
    ) -> list[ReceivedChunk]:
        found = []
        for _, slot in places:
            chunk_id = ChunkId(slot.id)
            plain = open_chunk(secret, chunk_id, slot.cut(data, begin), self._hasher)
            found.append(ReceivedChunk(chunk_id, CODEC_RAW, len(plain), plain))
        return found
