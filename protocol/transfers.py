"""Which chunk to ask of which peer: files in, asks out, with no I/O.

Each peer has a window by its measured rate, so that a slow or evil one costs its own share only:
what it does not deliver in time is asked of somebody else, at the latest when somebody has nothing
better to do. A chunk is on its way from at most one peer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from crypto.ids import ChunkId, DeviceId, FolderId
from protocol.transfer_window import TransferWindow
from protocol.wanted_chunks import ASK_CHUNKS_MAX, FileKey, WantedChunks

PEER_ASKS_MAX: Final = 32
"""Below the 64 requests that a session may have open."""
PEER_CHUNKS_MAX: Final = 8 << 10
"""Below what a session's open requests may name."""
OVERDUE_S: Final = 5.0
OVERDUE_FACTOR: Final = 4
"""An ask is overdue after 5 s and four times what the bytes on their way should take."""
STEAL_AFTER_S: Final = 1.0
STEAL_FACTOR: Final = 2
"""An idle peer takes over an ask that is older than 1 s and twice what the peer would need."""
SILENT_S: Final = 60.0
SLOWEST_BYTES_PER_S: Final = 16 << 10
"""A peer that gives nothing for a minute, and for what its chunks take at 16 KiB/s, has not got
them: else what one alone says it has would hold up all others for ever (A29).
"""
TICK_S: Final = 0.5
SMALL_FILE_MAX: Final = 4 << 20
"""Bytes that a person does not notice to have waited for, before a file of many chunks."""
LATER: Final = 1
"""The priority of larger files."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this peer for these chunks; `number` names the ask."""

    number: int
    peer: DeviceId
    folder_id: FolderId
    chunk_ids: tuple[ChunkId, ...]


@dataclass(frozen=True, slots=True)
class CancelAsk:
    """Take an ask back: its chunks come from somebody else."""

    number: int
    peer: DeviceId


@dataclass(frozen=True, slots=True)
class FileComplete:
    """All chunks of a file have been received."""

    folder_id: FolderId
    key: FileKey


@dataclass(frozen=True, slots=True)
class FileUnavailable:
    """A chunk of this file is with nobody connected; the file is forgotten until needed again."""

    folder_id: FolderId
    key: FileKey


Command = Ask | CancelAsk
TransferEvent = FileComplete | FileUnavailable


class _OpenAsk:
    """An ask on its way: its chunks that have not come, with their lengths."""

    __slots__ = ("asked_at", "chunks", "folder_id", "number", "overdue_at", "peer")

    def __init__(
        self,
        number: int,
        peer: _Peer,
        folder_id: FolderId,
        chunks: dict[ChunkId, int],
        now: float,
    ) -> None:
        self.number = number
        self.peer = peer
        self.folder_id = folder_id
        self.chunks = chunks
        self.asked_at = now
        expected_s = peer.window.in_flight_bytes / peer.window.rate
        self.overdue_at = now + OVERDUE_S + OVERDUE_FACTOR * expected_s


class _Peer:
    __slots__ = ("asks", "chunks_in_flight", "device_id", "folder_ids", "waiting_since", "window")

    def __init__(self, device_id: DeviceId) -> None:
        self.device_id = device_id
        self.folder_ids: set[FolderId] = set()
        self.window = TransferWindow()
        self.asks: dict[int, _OpenAsk] = {}
        self.chunks_in_flight = 0
        self.waiting_since: float | None = None
        """Since when it was asked for something and gave nothing."""

    def is_silent(self, now: float) -> bool:
        if self.waiting_since is None or not self.asks:
            return False
        return (
            now >= self.waiting_since + SILENT_S + self.window.in_flight_bytes / SLOWEST_BYTES_PER_S
        )


class Transfers:
    """All files being fetched, over all folders and peers; holds only what the owner needs now."""

    def __init__(self) -> None:
        self._folders: dict[FolderId, WantedChunks] = {}
        self._peers: dict[DeviceId, _Peer] = {}
        self._asks: dict[int, _OpenAsk] = {}
        self._events: list[TransferEvent] = []
        self._next_number = 0
        self._now = 0.0

    # Inputs

    def need(
        self,
        folder_id: FolderId,
        files: Iterable[tuple[FileKey, Sequence[tuple[ChunkId, int]]]],
        priority: int = 0,
    ) -> None:
        """Wants the chunks (id, length) of some files; a smaller priority number comes first.

        A key is used once until its file is complete, unavailable or forgotten; a chunk that a
        file names twice counts once.
        """
        complete = self._folder(folder_id).need(files, priority)
        self._events += (FileComplete(folder_id, key) for key in complete)

    def need_small_first(
        self, folder_id: FolderId, files: Iterable[tuple[FileKey, Sequence[tuple[ChunkId, int]]]]
    ) -> None:
        """The same; files that are soon there do not wait behind those that take long."""
        small: list[tuple[FileKey, Sequence[tuple[ChunkId, int]]]] = []
        large: list[tuple[FileKey, Sequence[tuple[ChunkId, int]]]] = []
        for file in files:
            is_small = sum(length for _, length in file[1]) <= SMALL_FILE_MAX
            (small if is_small else large).append(file)
        self.need(folder_id, small)
        self.need(folder_id, large, LATER)

    def forget(self, folder_id: FolderId, keys: Iterable[FileKey]) -> None:
        """No longer wants some files; what is on its way may still come, and is ignored."""
        folder = self._folder(folder_id)
        for key in keys:
            if key in folder:
                folder.forget(key)

    def peer_joined(self, device_id: DeviceId, folder_id: FolderId) -> None:
        """A peer can be asked for chunks of a folder from now on."""
        self._folder(folder_id)
        peer = self._peers.setdefault(device_id, _Peer(device_id))
        peer.folder_ids.add(folder_id)

    def peer_left(self, device_id: DeviceId, folder_id: FolderId | None = None) -> None:
        """A peer is gone, or has left one folder; its asks are void without a CancelAsk."""
        peer = self._peers.get(device_id)
        if peer is None:
            return
        left_ids = [folder_id] if folder_id is not None else list(peer.folder_ids)
        peer.folder_ids.difference_update(left_ids)
        for ask in [ask for ask in peer.asks.values() if ask.folder_id in left_ids]:
            self._put_back(ask)
        for left_id in left_ids:
            self._folder(left_id).forget_peer(device_id)
            self._give_up_refused(left_id)
        if not peer.folder_ids:
            del self._peers[device_id]

    def received(
        self, device_id: DeviceId, folder_id: FolderId, chunk_ids: Iterable[ChunkId], now: float
    ) -> None:
        """Verified chunks came from a peer, whether they were asked of it or, late, of another."""
        self._now = now
        folder = self._folder(folder_id)
        if device_id in self._peers:
            self._peers[device_id].waiting_since = now
        for chunk_id in chunk_ids:
            number = folder.in_flight.get(chunk_id)
            if number is not None:
                ask = self._asks[number]
                length = self._take_off(ask, chunk_id)
                if ask.peer.device_id == device_id:
                    ask.peer.window.received(length, now)
                else:
                    ask.peer.window.given_up(length)
            for key in folder.receive(chunk_id):
                self._events.append(FileComplete(folder_id, key))

    def missing(
        self, device_id: DeviceId, folder_id: FolderId, chunk_ids: Sequence[ChunkId]
    ) -> None:
        """A peer does not have some chunks, or what it sent as them was something else."""
        folder = self._folder(folder_id)
        for chunk_id in chunk_ids:
            number = folder.in_flight.get(chunk_id)
            if number is not None and self._asks[number].peer.device_id == device_id:
                ask = self._asks[number]
                ask.peer.window.given_up(self._take_off(ask, chunk_id))
                folder.refuse(chunk_id, device_id)
        self._give_up_refused(folder_id, chunk_ids)

    # Outputs

    def handle_timer(self, now: float) -> list[Command]:
        """What to ask and what to take back now; to be called after inputs and at the deadline."""
        self._now = now
        commands: list[Command] = []
        for ask in [ask for ask in self._asks.values() if now >= ask.overdue_at]:
            if self._has_others(ask):
                commands.append(self._take_back(ask))
            else:
                ask.overdue_at = now + OVERDUE_S
        for peer in self._peers.values():
            if peer.is_silent(now):
                commands += self._take_as_missing(peer)
            peer.window.measure(now)
        # The fastest first: it takes what others were late with.
        for peer in sorted(self._peers.values(), key=lambda peer: -peer.window.rate):
            if not self._is_resting(peer):
                commands += self._fill(peer)
                commands += self._steal(peer)
        return commands

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called, if nothing happens before."""
        is_busy = any(self._folders[f] for peer in self._peers.values() for f in peer.folder_ids)
        return self._now + TICK_S if is_busy else None

    def take_events(self) -> list[TransferEvent]:
        """What became of files since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def is_open(self, number: int) -> bool:
        """Whether something of this ask has still to come."""
        return number in self._asks

    # Private

    def _folder(self, folder_id: FolderId) -> WantedChunks:
        folder = self._folders.get(folder_id)
        if folder is None:
            folder = self._folders[folder_id] = WantedChunks()
        return folder

    def _peers_of(self, folder_id: FolderId) -> list[_Peer]:
        return [peer for peer in self._peers.values() if folder_id in peer.folder_ids]

    def _fill(self, peer: _Peer) -> Iterator[Ask]:
        """Asks a peer for as much as its window and the limits allow."""
        queues: list[tuple[int, FolderId, deque[ChunkId]]] = []
        for folder_id in peer.folder_ids:
            queues += [(p, folder_id, queue) for p, queue in self._folders[folder_id].waiting()]
        queues.sort(key=lambda entry: entry[:2])
        for _, folder_id, queue in queues:
            folder = self._folders[folder_id]
            while queue and (room_bytes := self._room_bytes(peer)) > 0:
                chunks = folder.take(queue, peer.device_id, room_bytes)
                if not chunks:
                    break
                yield self._ask(peer, folder_id, chunks)

    def _room_bytes(self, peer: _Peer) -> int:
        if len(peer.asks) >= PEER_ASKS_MAX:
            return 0
        if peer.chunks_in_flight > PEER_CHUNKS_MAX - ASK_CHUNKS_MAX:
            return 0
        return peer.window.room_bytes

    def _ask(self, peer: _Peer, folder_id: FolderId, chunks: dict[ChunkId, int]) -> Ask:
        peer.window.asked(sum(chunks.values()), self._now)
        if peer.waiting_since is None or not peer.asks:
            peer.waiting_since = self._now
        peer.chunks_in_flight += len(chunks)
        number = self._next_number
        self._next_number += 1
        ask = _OpenAsk(number, peer, folder_id, chunks, self._now)
        self._asks[number] = peer.asks[number] = ask
        self._folders[folder_id].in_flight.update(dict.fromkeys(chunks, number))
        return Ask(number, peer.device_id, folder_id, tuple(chunks))

    def _steal(self, peer: _Peer) -> Iterator[Command]:
        """Lets an idle peer take over the oldest ask that is late by its own measure."""
        if peer.asks:
            return
        for ask in self._asks.values():
            needed_s = sum(ask.chunks.values()) / peer.window.rate
            is_slow = self._now >= ask.asked_at + STEAL_AFTER_S + STEAL_FACTOR * needed_s
            if not is_slow or ask.folder_id not in peer.folder_ids:
                continue
            folder = self._folders[ask.folder_id]
            if any(folder.is_refused(chunk_id, peer.device_id) for chunk_id in ask.chunks):
                continue
            yield self._take_back(ask)
            yield from self._fill(peer)
            return

    def _take_as_missing(self, peer: _Peer) -> Iterator[CancelAsk]:
        """Asks a peer that gives nothing for nothing of this any more."""
        peer.waiting_since = None
        for ask in list(peer.asks.values()):
            yield CancelAsk(ask.number, peer.device_id)
            self.missing(peer.device_id, ask.folder_id, list(ask.chunks))

    def _take_back(self, ask: _OpenAsk) -> CancelAsk:
        self._put_back(ask)
        ask.peer.window.late(self._now)
        return CancelAsk(ask.number, ask.peer.device_id)

    def _put_back(self, ask: _OpenAsk) -> None:
        """Lets the chunks of an ask wait again."""
        chunk_ids = list(ask.chunks)
        for chunk_id in chunk_ids:
            ask.peer.window.given_up(self._take_off(ask, chunk_id))
        self._folders[ask.folder_id].put_back(chunk_ids)

    def _take_off(self, ask: _OpenAsk, chunk_id: ChunkId) -> int:
        """Removes a chunk from its ask, and the ask if it was the last; gives back its length."""
        del self._folders[ask.folder_id].in_flight[chunk_id]
        length = ask.chunks.pop(chunk_id)
        ask.peer.chunks_in_flight -= 1
        if not ask.chunks:
            del ask.peer.asks[ask.number], self._asks[ask.number]
        return length

    def _has_others(self, ask: _OpenAsk) -> bool:
        """Whether somebody else can be asked for what is overdue."""
        return any(
            peer is not ask.peer and peer.window.rests_until <= self._now
            for peer in self._peers_of(ask.folder_id)
        )

    def _is_resting(self, peer: _Peer) -> bool:
        """Whether a peer that was late is left alone, which needs somebody else to ask."""
        return peer.window.rests_until > self._now and any(
            other.window.rests_until <= self._now and other.folder_ids >= peer.folder_ids
            for other in self._peers.values()
        )

    def _give_up_refused(
        self, folder_id: FolderId, chunk_ids: Sequence[ChunkId] | None = None
    ) -> None:
        folder = self._folder(folder_id)
        peers = [peer.device_id for peer in self._peers_of(folder_id)]
        if peers:
            for key in folder.files_refused_by(peers, chunk_ids):
                folder.forget(key)
                self._events.append(FileUnavailable(folder_id, key))
