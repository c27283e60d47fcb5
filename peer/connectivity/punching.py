"""Looks for a direct way to a device that a relay leads to, and moves the conversation there.

The two tell each other their addresses inside the relayed link, so the relay learns none but those
that its own sockets see; then both probe at once (`protocol.punch`), and who dialled the link dials
QUIC where an answer came from. Meanwhile, and where there is no way, the relay carries: by UDP if
it can, else by TCP. It is tried again rarely, and at once when addresses change.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from crypto.datagram_keys import punch_key
from crypto.ids import DeviceId
from peer.connectivity.connection import Connection
from peer.connectivity.direct_problem import (
    BLOCKED,
    NO_REPLY,
    NO_UDP_HERE,
    NOT_DIALLED,
    direct_problem,
)
from peer.connectivity.network import Network
from peer.connectivity.probe_budget import ProbeBudget
from peer.connectivity.relays import Relays
from peer.connectivity.ways import is_near
from peer.device.home import Home
from peer.device.ledgers import Ledgers
from protocol import messages
from protocol.candidates import (
    CANDIDATES_MAX,
    Candidate,
    CandidateKind,
    CandidateSource,
    is_probeable,
)
from protocol.datagrams import DatagramType, read_probe, read_type
from protocol.errors import LinkError, ProtocolError
from protocol.events import PathsReceived
from protocol.link import Address, Link, LinkKind
from protocol.links import Listener, authenticate_client
from protocol.punch import Punch

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 20.0
WAIT_MAX_S: Final = 600.0
"""Between two rounds that found nothing; what may change it is noticed by itself."""
REPLY_TIMEOUT_S: Final = 5.0
ROUNDS_PER_MINUTE: Final = 8
"""That another device may have us take part in."""
PUNCHES_MAX: Final = 64
MAPPED_FROM_MAX: Final = 256
SECRET_SIZE: Final = 32


@dataclass(slots=True)
class _Way:
    """What is known of the ways to one device."""

    wait_s: float = FIRST_WAIT_S
    next_at: float = 0.0
    number: int = 0
    reply: asyncio.Future[PathsReceived] | None = None
    looking: Connection | None = None
    asked: int = 0
    asked_until: float = 0.0


class Punching:
    """All rounds of this device."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        network: Network,
        listener: Listener,
        relays: Relays,
        tasks: asyncio.TaskGroup,
        hosts: Callable[[], Sequence[str]],
        kinds: Sequence[LinkKind],
    ) -> None:
        """`hosts` are the numeric addresses of this machine at which the listener answers, `kinds`
        the kinds of links that this device uses, the preferred one first.
        """
        self.sources: list[CandidateSource] = []
        """Whoever knows more addresses of this device, such as port mappings."""
        self._home, self._ledgers, self._network = home, ledgers, network
        self._listener, self._relays, self._tasks = listener, relays, tasks
        self._hosts, self._kinds = hosts, kinds
        self._ways: dict[DeviceId, _Way] = {}
        self._punches: OrderedDict[bytes, tuple[Punch, asyncio.Event]] = OrderedDict()
        self._mapped_from: OrderedDict[Address, None] = OrderedDict()
        self._budget = ProbeBudget()
        self._hurry = asyncio.Event()

    # ------------------------------------------------------------ addresses

    def own_candidates(self) -> tuple[Candidate, ...]:
        """Where this device may be reached now, the best first."""
        found = [
            Candidate(CandidateKind.LOCAL, host, self._listener.port)
            for host in self._hosts()
            if self._listener.has_udp(host) and not host.startswith("fe80:")
        ]
        found += [Candidate(CandidateKind.OBSERVED, *place) for place in self._relays.observed()]
        for source in self.sources:
            found += source.candidates()
        by_place: dict[Address, Candidate] = {}
        for candidate in found:
            place = (candidate.host, candidate.port)
            if place not in by_place or candidate.kind == CandidateKind.MAPPED:
                by_place[place] = candidate
        # What a router opened must not be crowded out by a machine's many addresses.
        chosen = sorted(by_place.values(), key=lambda c: -c.kind)[:CANDIDATES_MAX]
        return tuple(sorted(chosen, key=lambda c: c.preference))

    def addresses_changed(self) -> None:
        """This device may be reached in another way: who is linked through a relay hears of it."""
        for way in self._ways.values():
            way.next_at, way.wait_s = 0.0, FIRST_WAIT_S
        for connection in self._network.status():
            if connection.link.is_relayed and not connection.link.is_client:
                self._send(connection, 0, os.urandom(SECRET_SIZE), ())
        self._wake()

    def _wake(self) -> None:
        """Whoever waits for the next round begins it, and whoever is in one begins another."""
        hurry, self._hurry = self._hurry, asyncio.Event()
        hurry.set()
        for _, event in self._punches.values():
            event.set()

    # ------------------------------------------------------------ rounds

    def greeted(self, connection: Connection) -> None:
        """A device is linked: if by a relay that we dialled it through, looking begins."""
        if not connection.link.is_relayed:
            self._network.direct_problems.pop(connection.device_id, None)
            way = self._ways.get(connection.device_id)
            if way is not None:
                way.next_at, way.wait_s = 0.0, FIRST_WAIT_S
            return
        if not self._listener.has_udp("0.0.0.0") and not self._listener.has_udp("::"):  # noqa: S104
            self._network.direct_problems[connection.device_id] = NO_UDP_HERE
            return
        if connection.link.is_client:
            self._tasks.create_task(self._look(connection))

    def paths_received(self, connection: Connection, event: PathsReceived) -> None:
        """The other side takes part in a round, wants one, or answers."""
        now = asyncio.get_running_loop().time()
        way = self._ways.setdefault(connection.device_id, _Way())
        if connection.link.is_client:
            if event.round == 0:
                way.next_at, way.wait_s = 0.0, FIRST_WAIT_S
                self._wake()
            elif way.reply is not None and event.round == way.number and not way.reply.done():
                way.reply.set_result(event)
            return
        if now >= way.asked_until:
            way.asked, way.asked_until = 0, now + 60.0
        if event.round == 0 or way.asked >= ROUNDS_PER_MINUTE:
            return
        way.asked += 1
        secret, own = os.urandom(SECRET_SIZE), self.own_candidates()
        self._send(connection, event.round, secret, own)
        punch = self._punch(punch_key(event.secret, secret), False, own, event.candidates, now)
        self._tasks.create_task(self._answer(connection, punch))

    def datagram_received(self, datagram: bytes, place: Address) -> None:
        """Something that is no QUIC came in; what belongs to nothing is dropped."""
        try:
            kind = read_type(datagram)
            if kind in (DatagramType.SHOW, DatagramType.SEEN):
                self._relays.seen(datagram, place)
                return
            found = self._punches.get(read_probe(datagram).round_id)
        except ProtocolError:
            return
        if found is not None:
            punch, event = found
            punch.receive(datagram, place, asyncio.get_running_loop().time())
            event.set()

    def note_mapped(self, link: Link) -> None:
        """Marks a link that came in by a port that a router opened for us or for the other."""
        place = link.peer_address[:2]
        under_way = any(place in punch.mapped for punch, _ in self._punches.values())
        link.is_mapped = under_way or place in self._mapped_from

    def _send(
        self, connection: Connection, number: int, secret: bytes, own: Sequence[Candidate]
    ) -> None:
        connection.session.send(messages.Paths(number, secret, tuple(own)))
        connection.poke()

    def _is_current(self, connection: Connection) -> bool:
        return self._network.connections.get(connection.device_id) is connection

    async def _look(self, connection: Connection) -> None:
        """Round after round, until a direct way is found or the connection is another."""
        loop = asyncio.get_running_loop()
        way = self._ways.setdefault(connection.device_id, _Way())
        way.looking = connection
        while self._is_current(connection) and way.looking is connection:
            hurry = self._hurry
            if loop.time() < way.next_at:
                try:
                    async with asyncio.timeout_at(way.next_at):
                        await hurry.wait()
                except TimeoutError:
                    pass
                continue
            if await self._round(connection, way):
                way.next_at, way.wait_s = 0.0, FIRST_WAIT_S
                return
            # Jitter, so that devices that met at one relay do not probe in step.
            if hurry is self._hurry:
                way.next_at = loop.time() + way.wait_s * (0.5 + random.random() / 2)  # noqa: S311
                way.wait_s = min(way.wait_s * 2, WAIT_MAX_S)
            if connection.link.kind is not LinkKind.QUIC:
                await self._move_to_datagrams(connection)

    async def _move_to_datagrams(self, connection: Connection) -> None:
        """Has the relay forward QUIC in place of a stream, if it forwards datagrams at all."""
        path, call = connection.link.relay_path, None
        if path is None and self._relays.observed():
            # When the call was made the relay had not seen one of the two yet; now it has.
            call = await self._relays.call(connection.device_id)
            path = call.relay_path if call is not None else None
        if path is not None and self._is_current(connection):
            await self._dial(connection, partial(self._listener.dial_relayed, path))
        if call is not None:
            call.abort()

    async def _round(self, connection: Connection, way: _Way) -> bool:
        """One round as the one who dialled; True if there is a direct link now."""
        problems, device_id = self._network.direct_problems, connection.device_id
        way.number = way.number % 0xFFFFFFFF + 1
        awaited = way.reply = asyncio.get_running_loop().create_future()
        secret, own = os.urandom(SECRET_SIZE), self.own_candidates()
        self._send(connection, way.number, secret, own)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                reply = await awaited
        except TimeoutError:
            problems[device_id] = NO_REPLY
            return False
        finally:
            if way.reply is awaited:  # else a round of another link waits by now
                way.reply = None
        now = asyncio.get_running_loop().time()
        punch = self._punch(punch_key(secret, reply.secret), True, own, reply.candidates, now)
        found = await self._drive(punch)
        for candidate in found:
            if await self._dial_direct(connection, candidate, punch):
                return True
        problems[device_id] = NOT_DIALLED if found else self._problem(punch)
        return False

    async def _answer(self, connection: Connection, punch: Punch) -> None:
        """The other side of a round: it is the caller who decides."""
        await self._drive(punch)
        for place in punch.mapped:
            self._mapped_from[place] = None
            if len(self._mapped_from) > MAPPED_FROM_MAX:
                self._mapped_from.popitem(last=False)
        if self._is_current(connection) and connection.link.is_relayed:
            self._network.direct_problems[connection.device_id] = self._problem(punch)

    def _problem(self, punch: Punch) -> str:
        if self._relays.is_udp_blocked:
            return BLOCKED
        return direct_problem(punch.own, punch.theirs, punch.targets)

    def _punch(
        self,
        key: bytes,
        is_caller: bool,
        own: Sequence[Candidate],
        theirs: Sequence[Candidate],
        now: float,
    ) -> Punch:
        is_on_loopback = all(host.startswith("127.") or host == "::1" for host in self._hosts())

        def may_probe(place: Address) -> bool:
            return (
                is_probeable(*place, may_be_loopback=is_on_loopback)
                and self._listener.has_udp(place[0])
                and self._budget.take(place, now)
            )

        return Punch(key, is_caller=is_caller, own=own, theirs=theirs, may_probe=may_probe, now=now)

    async def _drive(self, punch: Punch) -> list[Candidate]:
        """Sends and receives until a round is over; gives the ways that answered, for a caller."""
        loop = asyncio.get_running_loop()
        event, hurry = asyncio.Event(), self._hurry
        self._punches[punch.round_id] = punch, event
        if len(self._punches) > PUNCHES_MAX:
            self._punches.popitem(last=False)
        try:
            while True:
                now = loop.time()
                for datagram, place in punch.datagrams_to_send(now):
                    self._listener.send_datagram(datagram, place)
                if punch.is_caller and (found := punch.found(now)):
                    return found
                if punch.is_over(now) or (punch.is_caller and hurry is not self._hurry):
                    return []
                event.clear()
                try:
                    async with asyncio.timeout_at(punch.next_deadline()):
                        await event.wait()
                except TimeoutError:
                    pass
        finally:
            self._punches.pop(punch.round_id, None)

    # ------------------------------------------------------------ dialling

    async def _dial_direct(
        self, connection: Connection, candidate: Candidate, punch: Punch
    ) -> bool:
        """Where the probes went through QUIC does; what is near may be reached by TCP, too."""

        async def dial(kind: LinkKind) -> Link:
            link = await self._listener.dial(kind, candidate.host, candidate.port)
            link.is_mapped = (candidate.host, candidate.port) in punch.mapped
            link.is_passing = candidate.kind == CandidateKind.OBSERVED
            return link

        for kind in self._kinds if is_near(candidate.host) else [LinkKind.QUIC]:
            if await self._dial(connection, partial(dial, kind)):
                return True
        return False

    async def _dial(self, connection: Connection, dial: Callable[[], Awaitable[Link]]) -> bool:
        """Authenticates a link, and has the conversation go on there in a task of its own."""
        peer = self._ledgers.peer_keys(connection.device_id)
        if peer is None:
            return False
        try:
            link = await dial()
            introduction = self._ledgers.user.export()[-8:]
            found = await authenticate_client(link, self._home.keys, peer, introduction)
        except (LinkError, ProtocolError) as error:
            log.info("no link on a way that answered: %s", error)
            return False
        self._tasks.create_task(self._network.run_connection(link, found.peer))
        return True
