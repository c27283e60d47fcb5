"""Sealed chunks in this device's own packs at one relay, for its share links: found, or put there.

Nothing that lies there is uploaded again, for whatever link it came. A page of a manifest rests as
a chunk does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from crypto.chunks import CHUNK_NONCE_SIZE, seal_chunk
from crypto.ids import ChunkId, EntryId
from crypto.packs import Pack, PackKind, PackWriter
from peer.errors import LinkNotMade
from peer.folders.folder import Folder
from peer.share_links.link_relay import LinkRelay
from peer.share_links.link_store import LinkStore, StoredChunk
from protocol.epochs import EpochChain

LEASE_S: Final = 90 * 86_400
"""What a node gives at most; the relay prolongs it while a link is there."""
READ_AT_ONCE: Final = 64
"""Chunks asked of the folder at once; it gives as many as fit into 4 MiB."""


class Making(NamedTuple):
    """A folder, and how its chunks are sealed."""

    folder: Folder
    chain: EpochChain


class LinkPacking:
    """What lies at one relay of one folder, for links: put there under one lease."""

    def __init__(
        self,
        store: LinkStore,
        relay: LinkRelay,
        making: Making,
        random: Callable[[int], bytes] = os.urandom,
        lease_s: int = LEASE_S,
    ) -> None:
        self.store, self.relay, self.making = store, relay, making
        self._random, self._lease_s = random, lease_s
        self.uploaded = 0
        """Bytes of packs."""
        self.sealed = 0
        """Bytes of what was to be put that are read and sealed, and sent but for the last pack."""

    async def find(self, ids: Sequence[ChunkId]) -> dict[ChunkId, StoredChunk]:
        """Those of these that lie there, for as long as a lease lasts."""
        if not ids:
            return {}
        folder_id, now_s = self.making.folder.folder_id, self.relay.time_s
        found = await self.store.find(self.relay.id, folder_id, ids, now_s)
        there = await self.renewed({chunk.descriptor_id for chunk in found.values()})
        return {id_: chunk for id_, chunk in found.items() if chunk.descriptor_id in there}

    async def renewed(self, packs: Iterable[bytes]) -> set[bytes]:
        """Those of these packs that lie there, for as long as a lease lasts."""
        asked = sorted(packs)
        lease_s = self.relay.time_s + self._lease_s
        gone = set(await self.relay.renew(asked, lease_s)) if asked else set()
        there = set(asked) - gone
        if gone:
            await self.store.forget_packs(self.relay.id, gone)
        await self.store.leased(self.relay.id, there, lease_s)
        return there

    async def put(self, items: AsyncIterator[tuple[ChunkId, bytes]]) -> dict[ChunkId, StoredChunk]:
        """Seals these and uploads them; raises LinkError or LinkNotMade."""
        chain = self.making.chain
        epoch_id = chain.sealing_epoch()
        read_secret = None if epoch_id is None else chain.read_secret(epoch_id)
        if epoch_id is None or read_secret is None:
            raise LinkNotMade(
                "The folder's key is being renewed after a device was removed. Try again in a"
                " moment."
            )
        found: dict[ChunkId, StoredChunk] = {}
        writer: PackWriter | None = None
        async for chunk_id, data in items:
            sealed = await asyncio.to_thread(
                seal_chunk, read_secret, chunk_id, data, self._random(CHUNK_NONCE_SIZE)
            )
            if writer is not None and not writer.has_room_for(len(sealed.sealed)):
                found |= await self._close(writer, epoch_id)
                writer = None
            writer = writer or PackWriter(read_secret, PackKind.CHUNKS, self._random)
            writer.add(chunk_id, sealed)
            self.sealed += len(data)
        if writer is not None:
            found |= await self._close(writer, epoch_id)
        return found

    async def read(self, ids: Sequence[ChunkId]) -> AsyncIterator[tuple[ChunkId, bytes]]:
        """The folder's own bytes, for `put`; raises LinkNotMade if it has not all of them."""
        at = 0
        while at < len(ids):
            part = ids[at : at + READ_AT_ONCE]
            datas = await self.making.folder.read_chunks(part)
            if not datas or datas[0] is None:
                raise LinkNotMade(
                    "A file was changed while it was read, or is not on this disk. Try again."
                )
            for chunk_id, data in zip(part, datas, strict=False):
                if data is None:
                    break
                yield chunk_id, data
                at += 1

    async def _close(self, writer: PackWriter, epoch_id: EntryId) -> dict[ChunkId, StoredChunk]:
        pack = await asyncio.to_thread(writer.close)
        lease_s = self.relay.time_s + self._lease_s
        descriptor, until_s = await self.relay.put_pack(pack, lease_s)
        self.uploaded += len(pack.data)
        chunks = _chunks_of(pack, descriptor.id(), epoch_id)
        folder_id = self.making.folder.folder_id
        await self.store.put_pack(self.relay.id, folder_id, until_s, chunks)
        return {chunk.id: chunk for chunk in chunks}


async def each_of(
    items: Iterable[tuple[ChunkId, bytes]],
) -> AsyncIterator[tuple[ChunkId, bytes]]:
    """What is in memory, for `put`."""
    for item in items:
        yield item


def _chunks_of(pack: Pack, descriptor_id: bytes, epoch_id: EntryId) -> list[StoredChunk]:
    return [
        StoredChunk(
            ChunkId(slot.id), pack.pack_id, descriptor_id, slot.offset, slot.length, slot.codec,
            slot.plain_len, epoch_id, sha256(slot.cut(pack.data).sealed).digest(),
        )
        for slot in pack.index.slots
    ]  # fmt: skip
