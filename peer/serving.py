"""Gives others the chunks that this device has: from memory, else from where they lie in synced
files.

In place means that a person may have changed the file since: what is read is hashed again, and
goes out only if it still is the chunk that was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId
from peer.disk_types import Disk, Path, RangeRequest
from peer.index_store import ChunkPlace, IndexStore

READ_BYTES_MAX: Final = 4 << 20
"""Chunks read at once for one who asks, unless one alone is larger: a request may name 256."""
CACHE_BYTES: Final = 16 << 20
"""Small new contents kept for whoever asks next."""


class Serving:
    """One folder's chunks, as other devices ask for them."""

    def __init__(
        self,
        store: IndexStore,
        disk: Disk | None,
        hasher: ChunkHasher,
        path_of: Callable[[ChunkPlace], Path | None],
    ) -> None:
        """`disk` is used by a thread of its own, so that nobody waits for a scan to end."""
        self._store, self._disk, self._hasher, self._path_of = store, disk, hasher, path_of
        self._executor = ThreadPoolExecutor(1, "serve")
        self._cache: dict[bytes, bytes] = {}
        self._cache_bytes = 0

    def remember(self, chunk_id: bytes, data: bytes) -> None:
        """Keeps a new content that others will ask for at once.

        They ask in the order in which they were told, so what was told first is kept; what does not
        fit is read again.
        """
        if chunk_id not in self._cache and self._cache_bytes + len(data) <= CACHE_BYTES:
            self._cache[chunk_id] = data
            self._cache_bytes += len(data)

    async def read_chunks(self, ids: Sequence[ChunkId]) -> list[bytes | None]:
        """The bytes of the first of these chunks, each verified; None for those that this device
        has not. At least one is answered, and no more than fit into READ_BYTES_MAX.
        """
        places = await self._store.find_chunks([i for i in ids if i not in self._cache])
        lengths = {place.id: place.length for place in places}
        ids = self._first(ids, lengths)
        found: dict[ChunkId, bytes] = {}
        for chunk_id in ids:
            data = self._cache.pop(chunk_id, None)
            if data is not None:
                self._cache_bytes -= len(data)
                found[chunk_id] = data
        rest = {i for i in ids if i not in found}
        if rest and self._disk is not None:
            wanted = [place for place in places if place.id in rest]
            known = [(place, path) for place in wanted if (path := self._path_of(place))]
            found |= await asyncio.get_running_loop().run_in_executor(
                self._executor, self._read_places, self._disk, known
            )
        return [found.get(i) for i in ids]

    @staticmethod
    def _first(ids: Sequence[ChunkId], lengths: dict[ChunkId, int]) -> Sequence[ChunkId]:
        size = 0
        for number, chunk_id in enumerate(ids):
            size += lengths.get(chunk_id, 0)  # what is remembered is in memory already
            if size > READ_BYTES_MAX and number:
                return ids[:number]
        return ids

    def _read_places(
        self, disk: Disk, places: Sequence[tuple[ChunkPlace, Path]]
    ) -> dict[ChunkId, bytes]:
        found: dict[ChunkId, bytes] = {}
        requests = [RangeRequest(path, place.offset, place.length) for place, path in places]
        for (place, _), data in zip(places, disk.read_ranges(requests), strict=True):
            if place.id not in found and data is not None:
                if self._hasher.chunk_id(data) == place.id:
                    found[place.id] = data
        return found

    def close(self) -> None:
        """Ends the thread; what is being read is read to its end."""
        self._executor.shutdown(wait=True)
