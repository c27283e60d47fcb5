"""A real relay that serves share links, in this process, and a folder in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId, EntryId, FolderId
from crypto.keys import DeviceKeys
from crypto.packs import LEAF_SIZE
from peer.backup.sealed_chunks import SealedChunks
from peer.folders.folder import Folder
from peer.share_links.link_content import Given
from peer.share_links.link_maker import LinkMaker
from peer.share_links.link_packing import LinkPacking, Making
from peer.share_links.link_relay import LinkRelay
from peer.share_links.link_store import LinkStore
from protocol.epochs import EpochChain
from protocol.relay_address import RelayAddress
from relay.config import RelayConfig
from relay.link_desk import LinkDesk
from relay.share_links import ShareLinks
from relay.shares import StorageLimits
from relay.storage_desk import StorageDesk
from relay.store import RelayStore
from relay.web_service import listen_for_visitors, open_web
from tests.relay.relay_stage import LOOPBACK, RelayStage, new_keys, relaying

HASHER = ChunkHasher(b"h" * 32)
FOLDER_ID, EPOCH = FolderId(b"f" * 32), EntryId(b"e" * 32)
ROOMY = StorageLimits(1 << 30, 1 << 30)


class FolderInMemory:
    """As much of a folder as gives chunks."""

    def __init__(self) -> None:
        self.folder_id = FOLDER_ID
        self.chunks: dict[ChunkId, bytes] = {}
        self.reads = 0

    def file(self, path: str, *pieces: bytes) -> Given:
        ids = []
        for piece in pieces:
            chunk_id = HASHER.chunk_id(piece)
            self.chunks[chunk_id] = piece
            ids.append((chunk_id, len(piece)))
        return Given(path, sum(map(len, pieces)), 1_700_000_000_123_456_789, tuple(ids))

    async def read_chunks(self, ids: Sequence[ChunkId]) -> list[bytes | None]:
        self.reads += 1
        return [self.chunks.get(each) for each in ids[:5]]


class ChainInMemory:
    """As much of an epoch chain as seals."""

    def __init__(self) -> None:
        self.is_owed = False

    def sealing_epoch(self) -> EntryId | None:
        return None if self.is_owed else EPOCH

    def read_secret(self, epoch_id: EntryId) -> bytes | None:
        return b"r" * 32 if epoch_id == EPOCH else None


@dataclass
class LinkRelayStage:
    """The relay, and a device of it."""

    relay: RelayStage
    base: str
    links: ShareLinks
    desk: LinkDesk
    keys: DeviceKeys
    store: LinkStore
    folder: FolderInMemory
    chain: ChainInMemory

    @property
    def address(self) -> RelayAddress:
        return self.relay.address

    @property
    def making(self) -> Making:
        return Making(cast(Folder, self.folder), cast(EpochChain, self.chain))

    def maker(self, relay: LinkRelay, sealed: SealedChunks | None = None) -> LinkMaker:
        packing = LinkPacking(self.store, relay, self.making)
        return LinkMaker(packing, sealed)


@asynccontextmanager
async def link_relaying(home: Path, **settings: Any) -> AsyncIterator[LinkRelayStage]:
    keys = new_keys()
    await asyncio.to_thread(home.mkdir, exist_ok=True)
    async with relaying(home=home, storage=ROOMY, keys=keys) as relay:
        desk = relay.relay.desk.storage
        assert isinstance(desk, StorageDesk)
        config = RelayConfig(web=(LOOPBACK, 0), **settings)
        places = listen_for_visitors(config)
        assert places is not None
        rows = await RelayStore.open(home)
        web = await open_web(desk, rows, config, home, LOOPBACK, places)
        task = asyncio.get_running_loop().create_task(web.run())
        device = new_keys()
        store = await LinkStore.open(home / "device-links.db", device.database_key)
        assert desk.share_links is not None
        try:
            yield LinkRelayStage(
                relay, web.base, desk.share_links.links, desk.share_links, device, store,
                FolderInMemory(), ChainInMemory(),
            )  # fmt: skip
        finally:
            task.cancel()
            await asyncio.wait([task])
            await store.close()
            await rows.close()


def noise(leaves: int) -> bytes:
    return os.urandom(leaves * LEAF_SIZE)
