"""Answers what others ask of a folder: its changesets, its counts, and the chunks that this device
has: from memory, else from where they lie in synced files.

In place means that a person may have changed the file since: what is read is hashed again, and
goes out only if it still is the chunk that was asked for. What the index cannot answer is not
there for now: the folder's own task meets the same trouble, and sees to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId, LogId
from peer.core.commands import LoadChangesets
from peer.core.disk_types import Disk, Path, RangeRequest
from peer.errors import IndexDamaged
from peer.folders.index_store import ChunkPlace, IndexStore, Summary
from protocol.logs import LogBook

log = logging.getLogger(__name__)

READ_BYTES_MAX: Final = 4 << 20
"""Chunks read at once for one who asks, unless one alone is larger: a request may name 256."""
CACHE_BYTES: Final = 16 << 20
"""Small new contents kept for whoever asks next."""


class Offer(NamedTuple):
    """Stored changesets of one log, for somebody who lacks them."""

    first_seq: int
    wires: list[bytes]
    declared_at: int = 0
    """Not 0 if the first is the log's floor and more than they lack was told again: the position
    that says so, to be shown before.
    """
    declaration: Sequence[bytes] = ()


class Serving:
    """One folder, as other devices and `status` ask for it."""

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
        self.is_closed = False
        """Nothing is asked of the index any more."""

    @contextlib.contextmanager
    def _only_asking(self) -> Iterator[None]:
        """Whoever only asks does not end by what the index cannot answer."""
        try:
            yield
        except (sqlite3.Error, IndexDamaged) as error:
            log.warning("the index does not answer: %s", error)
        except ValueError:  # what aiosqlite says of a database that was closed meanwhile
            if not self.is_closed:
                raise

    async def summary(self, last: Summary) -> Summary:
        """The folder's counts, or those that were known last."""
        if not self.is_closed:
            with self._only_asking():
                return await self._store.summary()
        return last

    async def offer(
        self, book: LogBook, log_id: LogId, after_seq: int, bytes_max: int
    ) -> Offer | None:
        """Stored changesets for somebody who holds the log up to a position; None while they
        cannot be read.
        """
        if not self.is_closed:
            with self._only_asking():
                return await self._read_offer(book, log_id, after_seq, bytes_max)
        return None

    async def _read_offer(
        self, book: LogBook, log_id: LogId, after_seq: int, bytes_max: int
    ) -> Offer:
        first, declared_at = book.offer_from(log_id, after_seq)
        wires = await self._store.perform(LoadChangesets(log_id, first - 1, bytes_max))
        if not declared_at:
            return Offer(first, wires)
        declaration = await self._store.perform(LoadChangesets(log_id, declared_at - 1, 1))
        return Offer(first, wires, declared_at, declaration)

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
        has not, or cannot find for now. At least one is answered, and no more than fit into
        READ_BYTES_MAX.
        """
        if not self.is_closed:
            with self._only_asking():
                return await self._read_first(ids)
        return [None] * len(ids)

    async def _read_first(self, ids: Sequence[ChunkId]) -> list[bytes | None]:
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

    async def read_starts(self, wanted: Sequence[tuple[Path, int]]) -> list[bytes | None]:
        """So many bytes from the start of each file; None where there are not so many now."""
        disk = self._disk
        if self.is_closed or disk is None:
            return [None] * len(wanted)
        requests = [RangeRequest(path, 0, length) for path, length in wanted]
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, disk.read_ranges, requests
        )

    def close(self) -> None:
        """Ends the thread; what is being read is read to its end."""
        self._executor.shutdown(wait=True)
