"""Two ends of real links on loopback, for the tests of links."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crypto.keys import DeviceKeys
from protocol.handshake import PeerKeys
from protocol.link import Link, LinkKind
from protocol.links import Listener, dial
from protocol.wire import FRAME_LENGTH_MAX

LOOPBACK = "127.0.0.1"


def peer_keys(keys: DeviceKeys) -> PeerKeys:
    return PeerKeys(keys.device_id, keys.sign_public, keys.dh_public)


def new_keys() -> DeviceKeys:
    return DeviceKeys.generate(os.urandom)


class Server:
    """A listener that keeps the links it was given, and holds them open until it stops."""

    def __init__(self, tasks: asyncio.TaskGroup, *, admits: bool = True) -> None:
        self.listener = Listener(tasks)
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self._admits = admits
        self._dialled: list[Link] = []

    async def take(self, link: Link) -> None:
        if self._admits:
            link.admit()
        self.links.put_nowait(link)
        await asyncio.Event().wait()

    async def dial(self, kind: LinkKind) -> Link:
        """A client's link to this server that is closed with it."""
        self._dialled.append(await dial(kind, LOOPBACK, self.port))
        return self._dialled[-1]

    def hang_up(self) -> None:
        for link in self._dialled:
            link.abort()

    @property
    def port(self) -> int:
        return self.listener.port


@asynccontextmanager
async def serving(*, admits: bool = True) -> AsyncIterator[Server]:
    async with asyncio.TaskGroup() as tasks:
        server = Server(tasks, admits=admits)
        await server.listener.start(LOOPBACK, 0, [LinkKind.QUIC, LinkKind.TLS], server.take)
        try:
            yield server
        finally:
            server.hang_up()
            await server.listener.stop()


@asynccontextmanager
async def link_pair(kind: LinkKind) -> AsyncIterator[tuple[Link, Link]]:
    """(client, server), both admitted and with the full frame limit."""
    async with serving() as server:
        client = await server.dial(kind)
        client.send(0, [b"first"])  # a QUIC server sees the control stream when something comes
        async with asyncio.timeout(60):
            other = await server.links.get()
            assert await other.receive() == (0, b"first")
        for link in (client, other):
            link.admit()
            link.set_frame_limit(FRAME_LENGTH_MAX)
        yield client, other
