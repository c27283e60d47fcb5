"""A real relay on loopback, and devices that speak to it by hand."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from crypto.keys import DeviceKeys
from protocol.link import Link
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay, open_stream
from protocol.relay_messages import (
    Call,
    Called,
    CallOutcome,
    Incoming,
    Register,
    Registered,
    RelayMessage,
    decode,
    encode,
)
from relay.admissions import Admissions
from relay.limits import Limits
from relay.mailboxes import MailboxLimits
from relay.ports import listen_on_both
from relay.repair import RepairPolicy
from relay.server import Relay
from relay.share_files import ShareFiles
from relay.shares import StorageLimits
from relay.storage_desk import NodeWords
from relay.store import RelayStore
from relay.usage import Usage

LOOPBACK = "127.0.0.1"
DEADLINE_S = 60.0


def new_keys() -> DeviceKeys:
    return DeviceKeys.generate(os.urandom)


class Caller:
    """A device's link to a relay, one question at a time."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def say(self, message: RelayMessage) -> None:
        number, payload = encode(message)
        self.link.send(number, [payload])

    async def hear(self) -> RelayMessage | None:
        async with asyncio.timeout(DEADLINE_S):
            frame = await self.link.receive()
        return None if frame is None else decode(*frame)

    async def register(
        self, rendezvous: tuple[bytes, ...] = (), nameplates: tuple[int, ...] = ()
    ) -> tuple[int, ...]:
        self.say(Register(1, rendezvous, nameplates))
        answer = await self.hear()
        assert isinstance(answer, Registered)
        return answer.taken

    async def call(self, target: bytes | int) -> Called:
        self.say(Call(2, target))
        answer = await self.hear()
        assert isinstance(answer, Called)
        return answer

    async def ring(self) -> bytes:
        """Waits for a call; its ticket."""
        incoming = await self.hear()
        assert isinstance(incoming, Incoming)
        return incoming.ticket


class RelayStage:
    """A relay that runs until the test ends."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.links: list[Link] = []
        self.sockets: list[socket.socket] = []
        """UDP sockets of devices, closed at the end."""

    @property
    def address(self) -> RelayAddress:
        return RelayAddress(LOOPBACK, self.relay.port, self.relay.relay_id)

    @property
    def place(self) -> tuple[str, int]:
        return LOOPBACK, self.relay.port

    async def caller(self, keys: DeviceKeys | None = None) -> Caller:
        link = await dial_relay(self.address, keys or new_keys())
        self.links.append(link)
        return Caller(link)

    async def call(self, one: Caller, other: Caller, target: bytes | int) -> tuple[bytes, bytes]:
        """Both tickets of a call."""
        called = await one.call(target)
        assert called.outcome == CallOutcome.CONNECTED
        return called.ticket, await other.ring()

    async def joined(self) -> tuple[socket.socket, socket.socket]:
        """Two streams that the relay joins."""
        one, other = await self.caller(), await self.caller()
        target = os.urandom(16)
        await other.register((target,))
        tickets = await self.call(one, other, target)
        first = await open_stream(self.place, tickets[0])
        return first, await open_stream(self.place, tickets[1])


@asynccontextmanager
async def relaying(
    limits: Limits | None = None,
    admissions: Admissions | None = None,
    usage: Usage | None = None,
    *,
    home: Path | None = None,
    mailbox_limits: MailboxLimits | None = None,
    keys: DeviceKeys | None = None,
    storage: StorageLimits | None = None,
    words: NodeWords | None = None,
    policy: RepairPolicy | None = None,
    wall_clock: Callable[[], float] = time.time,
    port: int = 0,
) -> AsyncIterator[RelayStage]:
    """A relay; with a home it keeps mailboxes there, and with `storage` shares."""
    keys = keys or new_keys()
    store = await RelayStore.open(home) if home is not None else None
    files = None
    try:
        async with asyncio.TaskGroup() as tasks:
            relay = Relay(keys, tasks, limits=limits, admissions=admissions, usage=usage)
            if store is not None:
                await relay.keep_mailboxes(store, mailbox_limits or MailboxLimits())
            if home is not None and store is not None and storage is not None:
                files = ShareFiles.open(home / "shares", relay.relay_id, is_new=True)
                await relay.store_shares(
                    store,
                    files,
                    storage,
                    words or NodeWords(),
                    policy or RepairPolicy(),
                    wall_clock,
                )
            relay.start(*listen_on_both(LOOPBACK, port))
            stage = RelayStage(relay)
            try:
                yield stage
            finally:
                for link in stage.links:
                    link.abort()
                for each in stage.sockets:
                    each.close()
                await relay.stop()
    finally:  # not before its tasks have ended, of which one may still take a transaction back
        if files is not None:
            files.close()
        if store is not None:
            await store.close()
    for _ in range(10):  # a transport that was aborted closes its socket some rounds later
        await asyncio.sleep(0)


async def until(condition: object, deadline_s: float = DEADLINE_S) -> None:
    assert callable(condition)
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.005)
