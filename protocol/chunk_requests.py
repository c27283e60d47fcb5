"""Open requests for chunks on one session: those that we made, and those that we have to answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from crypto.ids import ChunkId, FolderId
from protocol.chunk_frames import WANTED_CHUNKS_MAX, Chunks
from protocol.errors import LimitReached, Unexpected
from protocol.events import ReceivedChunk
from protocol.messages import Missing, Want

OPEN_REQUESTS_MAX: Final = 64
"""Requests open at once in each direction; with windows of 8 MiB an honest side has ten."""
OPEN_CHUNKS_MAX: Final = 16 << 10
"""Chunks that open requests name, in each direction: their ids are half a megabyte."""


class _Request:
    """The chunks of one request and which of them are answered."""

    __slots__ = ("chunk_ids", "folder_id", "is_answered", "left")

    def __init__(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
        self.folder_id = folder_id
        self.chunk_ids = chunk_ids
        self.is_answered = bytearray(len(chunk_ids))
        self.left = len(chunk_ids)

    def answer(self, index: int) -> ChunkId:
        """Ticks off one chunk; an index twice or out of range is the other side's offence."""
        if index >= len(self.chunk_ids) or self.is_answered[index]:
            raise Unexpected(f"chunk {index} of a request, which does not wait for it")
        self.is_answered[index] = 1
        self.left -= 1
        return self.chunk_ids[index]


class _Requests:
    """Open requests by number, counted against the limits."""

    def __init__(self) -> None:
        self._open: dict[int, _Request] = {}
        self._open_chunks = 0

    @property
    def open_requests(self) -> int:
        """How many requests wait for an answer."""
        return len(self._open)

    @property
    def open_chunks(self) -> int:
        """How many chunks the open requests name, answered or not."""
        return self._open_chunks

    def _add(self, number: int, request: _Request) -> None:
        self._open[number] = request
        self._open_chunks += len(request.chunk_ids)

    def _remove(self, number: int) -> _Request | None:
        request = self._open.pop(number, None)
        if request is not None:
            self._open_chunks -= len(request.chunk_ids)
        return request

    def _of_folder(self, folder_id: FolderId) -> list[int]:
        return [number for number, request in self._open.items() if request.folder_id == folder_id]


class AskedChunks(_Requests):
    """Our own requests: what comes must have been asked for, and comes once."""

    def __init__(self) -> None:
        super().__init__()
        self._next_number = 0
        self._late_chunks = 0

    def open(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> Want:
        """Makes a request; to ask beyond the limits is our bug."""
        assert 0 < len(chunk_ids) <= WANTED_CHUNKS_MAX
        assert self.open_requests < OPEN_REQUESTS_MAX
        assert self.open_chunks + len(chunk_ids) <= OPEN_CHUNKS_MAX
        number = self._next_number
        self._next_number += 1
        ids = tuple(chunk_ids)
        self._add(number, _Request(folder_id, ids))
        return Want(folder_id, number, ids)

    def receive(self, message: Chunks) -> tuple[FolderId, tuple[ReceivedChunk, ...]] | None:
        """The chunks of a frame by their ids; None if their request was taken back."""
        request = self._open_request(message.request, len(message.pieces))
        if request is None:
            return None
        answer = request.answer
        chunks = tuple(
            [
                ReceivedChunk(answer(index), codec, plain_length, data)
                for index, codec, plain_length, data in message.pieces
            ]
        )
        self._remove_if_complete(message.request, request)
        return request.folder_id, chunks

    def miss(self, message: Missing) -> tuple[FolderId, tuple[ChunkId, ...]] | None:
        """The ids of the chunks that the other side lacks; None if their request was taken back."""
        request = self._open_request(message.request, len(message.indexes))
        if request is None:
            return None
        chunk_ids = tuple(map(request.answer, message.indexes))
        self._remove_if_complete(message.request, request)
        return request.folder_id, chunk_ids

    def cancel(self, number: int) -> bool:
        """Takes a request back; says whether it was still open."""
        request = self._remove(number)
        if request is None:
            return False
        # Answers that crossed with our CANCEL are no offence, but there can be only so many.
        self._late_chunks += request.left
        return True

    def abandon(self, number: int) -> None:
        """Forgets a request that was never sent."""
        self._remove(number)

    def cancel_folder(self, folder_id: FolderId) -> None:
        """Takes back all requests of a folder."""
        for number in self._of_folder(folder_id):
            self.cancel(number)

    def _open_request(self, number: int, answers: int) -> _Request | None:
        request = self._open.get(number)
        if request is None:
            self._late_chunks -= answers
            if self._late_chunks < 0:
                raise Unexpected(f"chunks that nobody asked for, of request {number}")
        return request

    def _remove_if_complete(self, number: int, request: _Request) -> None:
        if request.left == 0:
            self._remove(number)


class ServedChunks(_Requests):
    """The other side's requests: a liar's surplus is refused before it costs anything."""

    def open(self, message: Want) -> None:
        """Takes in a request; raises LimitReached, Unexpected for a number that is in use."""
        if message.request in self._open:
            raise Unexpected(f"request {message.request} is open already")
        if self.open_requests >= OPEN_REQUESTS_MAX:
            raise LimitReached(f"more than {OPEN_REQUESTS_MAX} open requests")
        if self.open_chunks + len(message.chunk_ids) > OPEN_CHUNKS_MAX:
            raise LimitReached(f"more than {OPEN_CHUNKS_MAX} chunks in open requests")
        self._add(message.request, _Request(message.folder_id, message.chunk_ids))

    def answer(self, number: int, indexes: Iterable[int]) -> bool:
        """Ticks off what is being answered; False if the request was taken back meanwhile."""
        request = self._open.get(number)
        if request is None:
            return False
        for index in indexes:
            assert index < len(request.chunk_ids), "a chunk that the request does not name"
            assert not request.is_answered[index], "a chunk that was answered before"
            request.answer(index)
        if request.left == 0:
            self._remove(number)
        return True

    def cancel(self, number: int) -> bool:
        """Forgets a request; says whether it was still open."""
        return self._remove(number) is not None

    def cancel_folder(self, folder_id: FolderId) -> None:
        """Forgets all requests of a folder."""
        for number in self._of_folder(folder_id):
            self._remove(number)
