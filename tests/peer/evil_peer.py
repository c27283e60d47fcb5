"""EvilPeer: a device of the user whose keys are right and whose messages are not (ATTACKS 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from crypto.ids import FolderId
from peer import setup
from peer.daemon import Daemon
from peer.home import Home
from protocol.events import Event
from protocol.link import Link, LinkKind
from protocol.messages import Message
from protocol.session import Session
from tests.peer.device_stage import LOOPBACK, Stage, evil_link, port_of


class EvilPeer:
    """Speaks by an honest session where it wants to, and by raw frames where it does not."""

    def __init__(self, link: Link, home: Home) -> None:
        self.link, self.home = link, home
        self.session = Session(asyncio.get_running_loop().time(), "evil")
        self.events: list[Event] = []
        self.is_over = False

    def flush(self) -> None:
        for number, parts, bulk in self.session.frames_to_send():
            self.link.send(number, parts, bulk=bulk)

    def send(self, message: Message) -> None:
        self.session.send(message)
        self.flush()

    def raw(self, number: int, payload: bytes) -> None:
        self.flush()
        self.link.send(number, [payload])

    async def listen(self, kind: type[Any] | None = None, deadline_s: float = 10.0) -> Any:
        """The next event of this kind; None when the link has ended."""
        async with asyncio.timeout(deadline_s):
            while True:
                for event in self.events:
                    if kind is not None and isinstance(event, kind):
                        self.events.remove(event)
                        return event
                frame = await self.link.receive()
                if frame is None:
                    self.is_over = True
                    return None
                self.session.receive(*frame, asyncio.get_running_loop().time())
                while (event := self.session.next_event()) is not None:
                    self.events.append(event)
                self.flush()

    async def ended(self) -> bool:
        """True when the other side has hung up."""
        await self.listen()
        return self.is_over

    def claim(self, folder_id: FolderId, entries: Sequence[Any] = ()) -> None:
        """Talks of the folder, and of logs that it says it holds."""
        self.session.share(folder_id, entries)
        self.flush()


@asynccontextmanager
async def evil_device(stage: Stage, victim: Daemon) -> AsyncIterator[Home]:
    """A device of the victim's user, joined by its owner, and then taken over."""
    code = (await victim.invite())["code"]
    await setup.join(stage.home("evil"), code, (LOOPBACK, port_of(victim)), "evil")
    home = await Home.open(stage.home("evil"))
    try:
        yield home
    finally:
        await home.close()


@asynccontextmanager
async def evil_peer(
    victim: Daemon, home: Home, kind: LinkKind = LinkKind.TLS
) -> AsyncIterator[EvilPeer]:
    link = await evil_link(victim, home, kind)
    peer = EvilPeer(link, home)
    peer.flush()
    try:
        yield peer
    finally:
        link.abort()
