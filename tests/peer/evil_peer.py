"""EvilPeer: a device of the user whose keys are right and whose messages are not (ATTACKS 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from crypto.ids import FolderId
from peer.daemon import Daemon
from peer.device.home import Home
from protocol.events import Event, FolderShared, PeerGreeted
from protocol.link import Link
from protocol.messages import FrontierEntry, Message
from protocol.session import Session
from protocol.tls import TlsLink
from tests.peer.device_stage import evil_link

E = TypeVar("E", bound=Event)


class EvilPeer:
    """Speaks by an honest session where it wants to, and by raw frames where it does not."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.session = Session(asyncio.get_running_loop().time(), "evil")
        self.events: list[Event] = []

    def flush(self) -> None:
        for number, parts, bulk in self.session.frames_to_send():
            self.link.send(number, parts, bulk=bulk)

    def send(self, message: Message) -> None:
        self.session.send(message)
        self.flush()

    def send_frame(self, number: int, payload: bytes) -> None:
        """A frame as it is, whatever is in it."""
        self.flush()
        self.link.send(number, [payload])

    def send_bytes(self, data: bytes) -> None:
        """Bytes inside TLS that need not be a frame."""
        assert isinstance(self.link, TlsLink)
        self.link._flush()
        assert self.link._transport is not None
        self.link._transport.write(data)

    async def hear(self, kind: type[E]) -> E:
        """The next event of this kind; what else comes is kept."""
        async with asyncio.timeout(60):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        self.events.remove(event)
                        return event
                assert await self._receive(), f"the link ended before a {kind.__name__}"

    async def is_hung_up_on(self) -> bool:
        """Waits for the end of the link."""
        async with asyncio.timeout(60):
            while await self._receive():
                pass
        return True

    async def _receive(self) -> bool:
        frame = await self.link.receive()
        if frame is None:
            return False
        self.session.receive(*frame, asyncio.get_running_loop().time())
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
        self.flush()
        return True

    async def meet(self) -> FolderId:
        """Greets, and hears of the folder there is."""
        await self.hear(PeerGreeted)
        return (await self.hear(FolderShared)).folder_id

    def claim(self, folder_id: FolderId, entries: Sequence[FrontierEntry] = ()) -> None:
        """Talks of the folder, and of logs that it says it holds."""
        self.session.share(folder_id, entries)
        self.flush()


@asynccontextmanager
async def evil_peer(victim: Daemon, home: Home, *, greets: bool = True) -> AsyncIterator[EvilPeer]:
    link = await evil_link(victim, home)
    peer = EvilPeer(link)
    if greets:
        peer.flush()
    try:
        yield peer
    finally:
        link.abort()
