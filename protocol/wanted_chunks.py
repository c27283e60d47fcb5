"""The files being fetched of one folder, and which of their chunks wait or are on their way.

A chunk comes once for all files that want it. What waits is a queue for each priority; a chunk that
somebody did not have waits in a queue of its own, so that the others need not be searched for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Final

from crypto.ids import ChunkId, DeviceId

ASK_CHUNKS_MAX: Final = 512
REFUSED_SCAN_MAX: Final = 1024
"""Chunks looked at in one turn, of those that some peer did not have."""
URGENT: Final = -(1 << 31)
"""The priority of what was asked for in vain."""

FileKey = Hashable
"""Whatever names a file to the owner; not None."""


class _Keys(dict[FileKey, None]):
    """Several files that want one chunk."""


class WantedChunks:
    """What is wanted of one folder; a few dictionary entries a chunk and no objects."""

    def __init__(self) -> None:
        self.in_flight: dict[ChunkId, int] = {}
        """The chunks on their way, wanted or not any more, with the number of their ask."""
        self._lengths: dict[ChunkId, int] = {}
        self._files_of: dict[ChunkId, FileKey | _Keys] = {}
        self._left: dict[FileKey, int] = {}
        self._chunks_of: dict[FileKey, Sequence[tuple[ChunkId, int]]] = {}
        self._queues: dict[int, deque[ChunkId]] = {}
        self._refused: deque[ChunkId] = deque()
        self._refusers: dict[ChunkId, set[DeviceId]] = {}

    def __bool__(self) -> bool:
        """Whether any chunk is wanted."""
        return bool(self._lengths)

    def __contains__(self, key: FileKey) -> bool:
        """Whether a file is being fetched."""
        return key in self._left

    def need(
        self, files: Iterable[tuple[FileKey, Sequence[tuple[ChunkId, int]]]], priority: int
    ) -> list[FileKey]:
        """Wants the chunks (id, length) of some files; gives back the files that have none."""
        files_of, queue = self._files_of, self._queue(priority)
        complete: list[FileKey] = []
        for key, chunks in files:
            assert key not in self._left, "this file is needed already"
            left = 0
            for chunk_id, length in chunks:
                owner = files_of.get(chunk_id)
                if owner is None:
                    files_of[chunk_id] = key
                    self._lengths[chunk_id] = length
                    if chunk_id not in self.in_flight:
                        queue.append(chunk_id)
                elif owner == key:
                    continue
                elif not isinstance(owner, _Keys):
                    files_of[chunk_id] = _Keys({owner: None, key: None})
                elif key in owner:
                    continue
                else:
                    owner[key] = None
                left += 1
            if left:
                self._left[key] = left
                self._chunks_of[key] = chunks
            else:
                complete.append(key)
        return complete

    def forget(self, key: FileKey) -> None:
        """No longer wants a file; its places in the queues stay, and are passed over."""
        del self._left[key]
        for chunk_id, _ in self._chunks_of.pop(key):
            owner = self._files_of.get(chunk_id)
            if isinstance(owner, _Keys):
                owner.pop(key, None)
                if owner:
                    continue
            elif owner != key:
                continue
            del self._files_of[chunk_id], self._lengths[chunk_id]
            self._refusers.pop(chunk_id, None)
        self._tidy()

    def receive(self, chunk_id: ChunkId) -> list[FileKey]:
        """A chunk is here; gives back the files that are complete by it."""
        if self._lengths.pop(chunk_id, None) is None:
            return []
        self._refusers.pop(chunk_id, None)
        complete = []
        for key in _each(self._files_of.pop(chunk_id)):
            self._left[key] -= 1
            if not self._left[key]:
                del self._left[key], self._chunks_of[key]
                complete.append(key)
        if not self._lengths:
            self._tidy()
        return complete

    def refuse(self, chunk_id: ChunkId, device_id: DeviceId) -> None:
        """A peer does not have a chunk, which waits for another."""
        if chunk_id in self._lengths:
            self._refusers.setdefault(chunk_id, set()).add(device_id)
            self._refused.append(chunk_id)

    def is_refused(self, chunk_id: ChunkId, device_id: DeviceId) -> bool:
        """Whether a peer does not have a chunk."""
        return device_id in self._refusers.get(chunk_id, ())

    def forget_peer(self, device_id: DeviceId) -> None:
        """A peer is gone, and so is what it refused."""
        for refusers in self._refusers.values():
            refusers.discard(device_id)

    def files_refused_by(
        self, peers: Collection[DeviceId], chunk_ids: Iterable[ChunkId] | None = None
    ) -> list[FileKey]:
        """The files with a chunk, of the named ones or of all, that none of these peers has."""
        refusers = self._refusers
        refused_by_all = [
            chunk_id
            for chunk_id in (refusers if chunk_ids is None else chunk_ids)
            if chunk_id in refusers and refusers[chunk_id].issuperset(peers)
        ]
        keys = (key for chunk_id in refused_by_all for key in _each(self._files_of[chunk_id]))
        return list(dict.fromkeys(keys))

    def put_back(self, chunk_ids: Iterable[ChunkId]) -> None:
        """Chunks that did not come wait again, before all others."""
        urgent = self._queue(URGENT)
        for chunk_id in chunk_ids:
            if chunk_id in self._refusers:
                self._refused.append(chunk_id)
            elif chunk_id in self._lengths:
                urgent.append(chunk_id)

    def waiting(self) -> list[tuple[int, deque[ChunkId]]]:
        """The queues that are not empty, with their priorities."""
        queues = [(priority, queue) for priority, queue in self._queues.items() if queue]
        if self._refused:
            queues.append((URGENT, self._refused))
        return queues

    def take(
        self, queue: deque[ChunkId], device_id: DeviceId, room_bytes: int
    ) -> dict[ChunkId, int]:
        """Takes from a queue, with their lengths, what one ask of this peer can hold."""
        lengths, in_flight, refusers = self._lengths, self.in_flight, self._refusers
        chunks: dict[ChunkId, int] = {}
        scans = min(len(queue), REFUSED_SCAN_MAX) if queue is self._refused else len(queue)
        for _ in range(scans):
            chunk_id = queue.popleft()
            length = lengths.get(chunk_id)
            if length is None or chunk_id in in_flight or chunk_id in chunks:
                continue
            if refusers and device_id in refusers.get(chunk_id, ()):
                queue.append(chunk_id)
                continue
            chunks[chunk_id] = length
            room_bytes -= length
            if room_bytes <= 0 or len(chunks) == ASK_CHUNKS_MAX:
                break
        return chunks

    def _queue(self, priority: int) -> deque[ChunkId]:
        return self._queues.setdefault(priority, deque())

    def _tidy(self) -> None:
        if not self._lengths:
            self._queues.clear()
            self._refused.clear()


def _each(owner: FileKey | _Keys) -> Iterable[FileKey]:
    return tuple(owner) if isinstance(owner, _Keys) else (owner,)
