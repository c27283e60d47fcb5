"""One connection: a session on an authenticated link, from greeting to close.

The session decides, the link carries; this moves frames between them, answers what the other side
asks for, and hands everything else to the network. Whatever goes wrong ends this connection and
nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from crypto.compression import compress
from crypto.ids import ChunkId, DeviceId, FolderId
from peer.connectivity.gateway import own_host_towards
from peer.connectivity.rates import Rates
from protocol.chunk_frames import CODEC_RAW, Piece
from protocol.errors import ErrorCode, ProtocolError
from protocol.events import ChunksCancelled, ChunksWanted, Closed, Event, FolderUnshared
from protocol.handshake import PeerKeys
from protocol.link import Link, LinkKind
from protocol.session import Session, SessionState

log = logging.getLogger(__name__)

GIVE_BYTES: Final = 1 << 20
"""Chunks read and queued at a time, so that a slow reader holds no more than twice this."""
UNSENT_BYTES_MAX: Final = 32 << 20
"""What may wait to be sent to somebody who does not read, before the link is given up."""
DOUBTFUL_AFTER_S: Final = 1.0
"""Three round trips around the world."""
COMPRESS_FROM_BYTES: Final = 4 << 10

ReadChunks = Callable[[FolderId, list[ChunkId]], Awaitable[list[bytes | None]]]
"""The bytes of the first of these chunks, of one at least; None for what is not here."""


class Connection:
    """A device that we are talking to."""

    def __init__(
        self,
        link: Link,
        peer: PeerKeys,
        own_name: str,
        handle: Callable[[Connection, Event], Awaitable[None]],
        read_chunks: ReadChunks,
    ) -> None:
        self.link = link
        self._rates: Rates | None = None
        self.peer = peer
        self.name = ""
        """What the device calls itself; empty before its greeting."""
        self.began_at = asyncio.get_running_loop().time()
        self.session = Session(self.began_at, own_name)
        self.shared_there: set[FolderId] = set()
        """Folders that the other side talks of."""
        self.close_reason = ""
        # A relayed link over UDP has its way to the relay at this address too.
        self.own_host = own_host_towards(link.peer_address[0])
        """This machine's address that the link uses; None where that cannot be told."""
        self._handle, self._read_chunks = handle, read_chunks
        self._wanted: dict[int, ChunksWanted] = {}
        """What the other side waits for, by request; as many as its session may have open."""
        self._has_wants = asyncio.Event()
        self._poked = asyncio.Event()
        self._lock = asyncio.Lock()
        self._is_over = False
        self._heard_bytes = 0

    @property
    def device_id(self) -> DeviceId:
        """Whom we talk to."""
        return self.peer.device_id

    @property
    def kind_name(self) -> str:
        """The kind of link, as `status` names it."""
        if self.link.is_relayed:
            return "relayed"
        return "quic" if self.link.kind is LinkKind.QUIC else "tls"

    @property
    def round_trip_s(self) -> float | None:
        """To the other device and back, in seconds; None while it was not measured."""
        measured = self.link.round_trip_s
        return self.session.round_trip_s if measured is None else measured

    def note_rates(self) -> Rates:
        """How fast bytes go now; to be called now and then."""
        now = asyncio.get_running_loop().time()
        if self._rates is None:
            self._rates = Rates(now)
        self._rates.note(self.link.sent_bytes, self.link.received_bytes, now)
        return self._rates

    def poke(self) -> None:
        """Sends what the session has to send, and has its new events handled soon."""
        self._flush()
        self._poked.set()

    def doubt(self) -> None:
        """Something says that the other side is gone: it is asked, and given up if it is silent."""
        self.session.doubt(asyncio.get_running_loop().time())
        self.poke()

    @property
    def is_doubtful(self) -> bool:
        """Whether there is reason to think that the other side is gone, and no sign that it is not
        for a second: another way is worth trying.
        """
        now = asyncio.get_running_loop().time()
        return self.session.is_doubted_for(now) >= DOUBTFUL_AFTER_S

    def measure(self) -> None:
        """Has the round trip measured."""
        self.session.measure(asyncio.get_running_loop().time())
        self.poke()

    def close(self, code: int = ErrorCode.NONE, text: str = "") -> None:
        """Ends the conversation."""
        self.session.close(code, text)
        self.poke()

    async def run(self) -> None:
        """Talks until either side ends it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._end_with(self._receive()))
                tasks.create_task(self._end_with(self._serve()))
                tasks.create_task(self._end_with(self._keep_time()))
        except* _Over:
            pass
        finally:
            self._is_over = True
            self._flush()
            await self.link.close()

    async def _end_with(self, work: Awaitable[None]) -> None:
        """However one of the tasks ends, the others end too."""
        await work
        raise _Over

    # ------------------------------------------------------------ moving frames

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        self._flush()
        while True:
            try:
                frame = await self.link.receive()
            except ProtocolError as error:
                self.close_reason = str(error)
                self.session.close(error.code, str(error))
                return
            if frame is None:
                return
            self._heard_bytes = self.link.received_bytes
            self.note_rates()
            self.session.receive(*frame, loop.time())
            await self._process()
            if self._is_over:
                return

    async def _process(self) -> None:
        async with self._lock:
            while (event := self.session.next_event()) is not None:
                match event:
                    case ChunksWanted(_, request):
                        self._wanted[request] = event
                        self._has_wants.set()
                    case ChunksCancelled(request):
                        self._wanted.pop(request, None)
                    case Closed(code, text):
                        self._is_over = True
                        self.close_reason = text or ErrorCode(code).name
                    case _:
                        if isinstance(event, FolderUnshared):
                            self._drop_wants(event.folder_id)
                        await self._handle(self, event)
            self._flush()
            if self.session.state is SessionState.CLOSED:
                self._is_over = True
                self._poked.set()

    def _drop_wants(self, folder_id: FolderId) -> None:
        self._wanted = {r: w for r, w in self._wanted.items() if w.folder_id != folder_id}

    def _flush(self) -> None:
        for number, parts, is_bulk in self.session.frames_to_send():
            self.link.send(number, parts, bulk=is_bulk)
        if self.link.unsent_bytes > UNSENT_BYTES_MAX:
            self.close_reason = "the other side does not read"
            self.link.abort(ErrorCode.TIMEOUT)

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_over:
            deadline = self.session.next_deadline()
            if deadline is None:
                return
            try:
                async with asyncio.timeout_at(deadline):
                    await self._poked.wait()
            except TimeoutError:
                now = loop.time()
                # Since the last whole frame; of a long one on a slow link, something has come.
                if self.link.received_bytes != self._heard_bytes:
                    self._heard_bytes = self.link.received_bytes
                    self.session.note_progress(now)
                self.session.handle_timer(now)
            self._poked.clear()
            await self._process()

    # ------------------------------------------------------------ giving chunks

    async def _serve(self) -> None:
        while not self._is_over:
            while not self._wanted:
                self._has_wants.clear()
                await self._has_wants.wait()
            request = next(iter(self._wanted))
            wanted = self._wanted[request]
            await self._give(wanted)
            if self._wanted.get(request) is wanted:
                del self._wanted[request]

    async def _give(self, wanted: ChunksWanted) -> None:
        """Answers one request, some chunks at a time, as fast as the link takes them."""
        start, step, end = 0, 64, len(wanted.chunk_ids)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read_some(wanted, 0, step))
            while start < end:
                found = await reading
                if self._wanted.get(wanted.request) is not wanted:
                    return  # taken back, perhaps with another in its place
                first, start = start, start + len(found)
                # Large chunks a few at a time, small ones by the hundred.
                size = sum(len(data) for data in found if data is not None)
                step = max(2, min(256, step * GIVE_BYTES // max(size, 1)))
                # The disk reads on while the link sends, once it is known how large they are.
                is_ahead = 0 < first and start < end
                if is_ahead:
                    reading = tasks.create_task(self._read_some(wanted, start, step))
                self._send_some(wanted, first, found)
                await self.link.drain()
                if not is_ahead and start < end:
                    reading = tasks.create_task(self._read_some(wanted, start, step))

    async def _read_some(
        self, wanted: ChunksWanted, start: int, count: int
    ) -> Sequence[bytes | None]:
        return await self._read_chunks(
            wanted.folder_id, list(wanted.chunk_ids[start : start + count])
        )

    def _send_some(self, wanted: ChunksWanted, start: int, found: Sequence[bytes | None]) -> None:
        pieces = []
        missing = []
        for index, data in enumerate(found, start):
            if data is None:
                missing.append(index)
            else:
                pieces.append(self._piece(index, data))
        self.session.give(wanted.request, pieces)
        if missing:
            self.session.give_missing(wanted.request, missing)
        self._flush()

    def _piece(self, index: int, data: bytes) -> Piece:
        if self.link.kind is LinkKind.QUIC and len(data) >= COMPRESS_FROM_BYTES:
            # QUIC costs more a byte than zstd does; TLS on a LAN does not.
            codec, packed = compress(data, 1)
            return Piece(index, codec, len(data), packed)
        return Piece(index, CODEC_RAW, len(data), data)


class _Over(Exception):
    """The conversation has ended."""
