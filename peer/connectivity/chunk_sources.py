"""Who is no device and has chunks nevertheless, such as a relay's mailbox: asked as devices are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from crypto.ids import ChunkId, DeviceId, FolderId
from peer.folders.folder import Folder
from protocol.events import ReceivedChunk
from protocol.transfers import Transfers


class ChunkSource(Protocol):
    """One of them."""

    def ask(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
        """Looks for chunks; what comes of it is told to `ChunkSources.answered` later."""


class ChunkSources:
    """All of them, by ids that are none of a device's."""

    def __init__(
        self,
        transfers: Transfers,
        folders: Mapping[FolderId, Folder],
        counts: dict[str, int],
        drive: Callable[[], None],
    ) -> None:
        """`drive` carries out what the transfers want."""
        self._transfers, self._folders, self._counts = transfers, folders, counts
        self._drive = drive
        self._sources: dict[DeviceId, ChunkSource] = {}

    def add(self, source_id: DeviceId, folder_id: FolderId, source: ChunkSource) -> None:
        """Somebody may have chunks of a folder."""
        self._sources[source_id] = source
        self._transfers.peer_joined(source_id, folder_id)
        if folder_id in self._folders:
            self._folders[folder_id].ask_again()
        self._drive()

    def remove(self, source_id: DeviceId) -> None:
        """It is not there any more."""
        if self._sources.pop(source_id, None) is not None:
            self._transfers.peer_left(source_id)
            self._drive()

    def ask(self, source_id: DeviceId, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
        """Asks a source, if it is one."""
        if source_id in self._sources:
            self._sources[source_id].ask(folder_id, chunk_ids)

    async def answered(
        self,
        source_id: DeviceId,
        folder_id: FolderId,
        asked: Sequence[ChunkId],
        chunks: Sequence[ReceivedChunk],
    ) -> None:
        """What a source has of what it was asked for; the rest of it, it lacks."""
        folder = self._folders.get(folder_id)
        good: list[ChunkId] = []
        if folder is not None and folder.fetcher is not None and chunks:
            good, bad = await folder.receive_chunks(chunks)
            if bad:
                self._counts["WrongChunk"] = self._counts.get("WrongChunk", 0) + len(bad)
        now = asyncio.get_running_loop().time()
        self._transfers.received(source_id, folder_id, good, now)
        taken = set(good)
        self._transfers.missing(source_id, folder_id, [c for c in asked if c not in taken])
        self._drive()
        if folder is not None:
            folder.wake()
