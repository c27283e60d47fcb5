"""The relay's door: one port for links of devices and for the streams that it joins.

The first bytes tell the two apart. Until they are there, and until a device has proved its
pseudonym, a connection holds one of few places for a few seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from crypto.ids import RelayId
from crypto.keys import DeviceKeys
from crypto.link_auth import link_binding
from crypto.relay_ids import relay_id_of
from protocol import tcp, tls
from protocol.certificates import LinkCertificate
from protocol.errors import ErrorCode, LimitReached, LinkError, ProtocolError
from protocol.relay_links import accept_device
from protocol.relay_messages import STREAM_MAGIC, STREAM_PREFIX_SIZE, read_stream_prefix
from protocol.tls import TlsLink
from relay.admissions import Admissions
from relay.allowance import Allowance
from relay.calls import TICKET_LIFETIME_S, Call, Calls
from relay.conversation import Desk, converse, summary
from relay.datagram_door import DatagramDoor
from relay.doorway import Doorway, Place
from relay.forwarding import join
from relay.limits import Limits
from relay.mailboxes import Mailboxes, MailboxLimits
from relay.origins import origin_of
from relay.registry import Client
from relay.repair import RepairPolicy
from relay.repairer import Repairer
from relay.scrub import Scrub
from relay.share_files import ShareFiles
from relay.shares import Shares, StorageLimits
from relay.storage_desk import NodeWords, StorageDesk
from relay.store import RelayStore
from relay.usage import Usage

log = logging.getLogger(__name__)

HALF_OPEN_TIMEOUT_S: Final = 5.0
"""From the connection to the ticket, or to the last frame that authenticates."""
REPORT_INTERVAL_S: Final = 3600.0
SAVE_INTERVAL_S: Final = 60.0
"""What a crash may forget of what was carried for whom today."""
SWEEP_INTERVAL_S: Final = 3600.0


class Relay:
    """One relay at work, in the task group of its owner."""

    def __init__(
        self,
        keys: DeviceKeys,
        tasks: asyncio.TaskGroup,
        random: Callable[[int], bytes] = os.urandom,
        limits: Limits | None = None,
        admissions: Admissions | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Open to everybody and with nothing on disk, unless it is told otherwise."""
        certificate = LinkCertificate.generate()
        self.limits = limits = limits or Limits()
        self.half_open = Doorway(limits.half_open, limits.half_open_per_address)
        self.connections = Allowance(limits.connections_per_minute_per_address)
        self.desk = Desk(
            limits,
            Calls(random, limits),
            admissions or Admissions(None, True, time.time),
            usage or Usage(limits),
            random,
        )
        self.repairer: Repairer | None = None
        self.scrub: Scrub | None = None
        """None at a relay that stores no shares."""
        self.port = 0
        """The port that was found, after `start`."""
        self._keys, self._tasks, self._random = keys, tasks, random
        self._context = tls.server_context(certificate)
        self._binding = link_binding(certificate.der)
        self._listening: socket.socket | None = None
        self._datagrams: DatagramDoor | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._unclaimed: set[socket.socket] = set()
        """Connections that no task has taken over yet."""

    @property
    def relay_id(self) -> RelayId:
        """What the fingerprint in its address stands for."""
        return relay_id_of(self._keys.sign_public, self._keys.dh_public)

    async def keep_mailboxes(self, store: RelayStore, limits: MailboxLimits) -> None:
        """Keeps what devices put for others, in this database; before `start`."""
        mailboxes = Mailboxes(
            store, self.relay_id, limits, asyncio.get_running_loop().time, time.time
        )
        await mailboxes.start()
        self.desk.mailboxes = mailboxes
        self._spawn(mailboxes.run())
        self._spawn(_sweep(mailboxes))

    async def store_shares(
        self,
        store: RelayStore,
        files: ShareFiles,
        limits: StorageLimits,
        words: NodeWords,
        policy: RepairPolicy,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Keeps shares of packs in these files; before `start`."""
        shares = Shares(store, files, self.relay_id, limits, wall_clock)
        await shares.start()
        self.desk.storage = StorageDesk(shares, self._keys, words, self.desk.admissions.is_admitted)
        self._spawn(shares.run())
        self._spawn(_sweep(shares))
        self.scrub = Scrub(shares)
        self._spawn(_scrub(self.scrub))
        self.repairer = Repairer(shares, self._keys, policy, self._random)
        await self.repairer.start()
        self._spawn(self.repairer.run())

    def start(self, listening: socket.socket, udp: socket.socket | None = None) -> int:
        """Answers on these sockets, which are the relay's from now on; gives their port."""
        self._listening = listening
        if udp is not None:
            self._datagrams = DatagramDoor(udp, self.desk.sightings, self.desk.ferries)
        self.port = listening.getsockname()[1]
        self._spawn(self._accept(listening))
        self._spawn(self._keep_house())
        return self.port

    async def stop(self) -> None:
        """Closes the port, every link and every call, and ends the own tasks."""
        for link in list(self.desk.links.values()):
            link.abort()
        if self.desk.storage is not None:
            for link in list(self.desk.storage.links):
                link.abort()
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        if self._listening is not None:
            self._listening.close()
        if self._datagrams is not None:
            self._datagrams.close()
        for connection in self._unclaimed:
            connection.close()
        self._unclaimed.clear()
        self.desk.calls.end_all()

    async def save(self) -> None:
        """Writes what was carried; a disk that cannot is no reason to carry nothing."""
        try:
            await self.desk.usage.save(self.desk.wall_clock())
        except sqlite3.Error as error:
            log.error("what was carried today cannot be stored: %s", error)

    async def expel(self) -> None:
        """Ends the links of devices whose invitation was taken back."""
        admitted = {c.pseudonym: link for c, link in self.desk.links.items() if c.is_admitted}
        try:
            expelled = await self.desk.admissions.expelled(admitted)
        except sqlite3.Error as error:
            log.error("who may use this relay cannot be read: %s", error)
            return
        for pseudonym in expelled:
            admitted[pseudonym].abort()

    async def _keep_house(self) -> None:
        """Ends calls that nobody came to, also when nobody begins another."""
        loop = asyncio.get_running_loop()
        reported_at = saved_at = loop.time()
        while True:
            await asyncio.sleep(TICKET_LIFETIME_S / 4)
            self.desk.calls.expire(loop.time())
            self.desk.ferries.expire(loop.time())
            self.desk.sightings.expire(loop.time())
            if loop.time() - saved_at >= SAVE_INTERVAL_S:
                saved_at = loop.time()
                await self.save()
                await self.expel()
            if loop.time() - reported_at >= REPORT_INTERVAL_S:
                reported_at = loop.time()
                values = {
                    "devices": len(self.desk.registry),
                    "calls": len(self.desk.calls),
                    "carried_bytes": self.desk.usage.bytes,
                    "refused": summary(self.desk.counts),
                }
                log.info("how it stands", extra={"values": values})

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            connection, address = await tcp.accept(listening)
            host = origin_of(address)
            if not self.connections.take(host, asyncio.get_running_loop().time()):
                self._refused("Connections")
                connection.close()
                continue
            place = self.half_open.enter(host)
            if place is None:
                self._refused("HalfOpen")
                connection.close()
                continue
            self._unclaimed.add(connection)
            place.evict = self._spawn(self._greet(connection, place)).cancel

    async def _greet(self, connection: socket.socket, place: Place) -> None:
        """Finds out what a connection is to be, within five seconds."""
        self._unclaimed.discard(connection)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HALF_OPEN_TIMEOUT_S
        is_ours = True
        try:
            async with asyncio.timeout_at(deadline):
                first = await _peek(connection)
                if first == STREAM_MAGIC[:1]:
                    prefix = await _read(connection, STREAM_PREFIX_SIZE)
                    self._take_stream(read_stream_prefix(prefix), connection)
                    is_ours = False  # it is the call's
                    return
            is_ours = False  # TLS closes it, whatever comes
            await self._serve(connection, place, deadline)
        except (ProtocolError, OSError, LinkError) as error:  # TimeoutError is an OSError
            self._refused(type(error).__name__)
        except sqlite3.Error as error:  # the device comes again, and the disk may be well by then
            self._refused("Database")
            log.error("who may use this relay cannot be read: %s", error)
        finally:
            self.half_open.leave(place)
            if is_ours:
                connection.close()

    # ------------------------------------------------------------ streams

    def _take_stream(self, ticket: bytes, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now = asyncio.get_running_loop().time()
        both = self.desk.calls.arrive(ticket, connection, now)
        if both is not None:
            call, other = both
            self._unclaimed.update((connection, other))
            self._spawn(self._carry(call, connection, other))

    async def _carry(self, call: Call, one: socket.socket, other: socket.socket) -> None:
        self._unclaimed.difference_update((one, other))
        both, desk = (call.caller, call.called), self.desk
        try:
            await join(one, other, lambda count: desk.usage.carry(both, count, desk.wall_clock()))
        finally:
            self.desk.calls.end(call)

    # ------------------------------------------------------------ links

    async def _serve(self, connection: socket.socket, place: Place, deadline: float) -> None:
        """Talks with a device, from TLS to the end of the link."""
        link = TlsLink(False, self._binding)
        link.on_admit = lambda: self.half_open.leave(place)
        try:
            async with asyncio.timeout_at(deadline):
                await tls.accept(connection, self._context, link)
                who = await accept_device(link, self._keys, self._random)
            client = Client(who.peer.device_id, place.host)
            if not self._has_room(client):
                raise LimitReached("as many devices as this relay serves")
            await converse(self.desk, client, link, asyncio.get_running_loop().time)
        finally:
            link.abort(ErrorCode.NONE)

    def _has_room(self, client: Client) -> bool:
        """Whether the relay takes one more; a full one makes room for an address that has few."""
        registry, limits = self.desk.registry, self.limits
        if client.pseudonym in registry:
            return True  # it takes its own place, of which we have not noticed that it is free
        own = registry.count_of(client.host)
        if own >= limits.devices_per_address:
            return False
        if len(registry) < limits.devices:
            return True
        crowd = registry.latest_of_most()
        if registry.count_of(crowd.host) <= own + 1:
            return False
        self._refused("Crowd")
        registry.leave(crowd)
        self.desk.links[crowd].abort()
        return True

    def _refused(self, what: str) -> None:
        self.desk.counts[what] = self.desk.counts.get(what, 0) + 1
        log.debug("refused: %s", what)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


async def _sweep(kept: Mailboxes | Shares) -> None:
    """Takes away what is too old, without holding anybody up."""
    while True:
        try:
            count = await kept.sweep()
        except (OSError, sqlite3.Error) as error:
            log.error("what is too old cannot be taken away: %s", error)
            count = 0
        await asyncio.sleep(1.0 if count else SWEEP_INTERVAL_S)


async def _scrub(scrub: Scrub) -> None:
    """Reads what is stored, one share after the other."""
    while True:
        try:
            pause = await scrub.step()
        except (OSError, sqlite3.Error) as error:
            log.error("what is stored cannot be looked at: %s", error)
            pause = SWEEP_INTERVAL_S
        await asyncio.sleep(pause)


async def _peek(connection: socket.socket) -> bytes:
    """The first byte, which stays to be read; empty at the end of the stream."""
    while True:
        await tcp.until_readable(connection)
        try:
            return connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            continue


async def _read(connection: socket.socket, size: int) -> bytes:
    """So many bytes and not one more: what follows belongs to the other device."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(connection, size - len(data))
        if not piece:
            break
        data += piece
    return data
