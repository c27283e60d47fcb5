"""The relays of this device: a link to each, where this device waits there, and calls through them.

A relay is a way and nothing more: who is at the other end of a stream is proved by the handshake on
it, as on any link. Which relays to use the devices of a user tell each other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from crypto.errors import CryptoError
from crypto.ids import DeviceId, RelayId
from crypto.pair_secret import pair_secret
from crypto.relay_ids import rendezvous_id
from peer.connectivity.backoff import Backoff
from peer.connectivity.gateway import own_host_towards
from peer.connectivity.relay_session import NotAdmitted, NotThere, RelaySession
from peer.device.home import Home
from peer.device.ledgers import Ledgers
from peer.errors import TooManyRelays, UnknownRelay
from peer.status import RelayEntry, RelayList
from protocol import tls
from protocol.datagrams import RelayedAddress
from protocol.errors import LinkError
from protocol.link import Address, Link
from protocol.links import Listener
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay, open_stream
from protocol.relay_messages import NAMEPLATES_MAX, RENDEZVOUS_MAX
from protocol.relay_records import (
    RELAYS_MAX,
    RelayRecord,
    merge,
    next_version,
    read_records,
    used,
    write_records,
)
from protocol.showing import Showing

log = logging.getLogger(__name__)

SETTING: Final = "relays"
STREAMS_MAX: Final = 8
"""Streams being opened for callers at once; a relay that rings more often is not listened to."""
DAY_S: Final = 86_400
REGISTER_INTERVAL_S: Final = 3600.0
"""Ids change with the day, and yesterday's and tomorrow's are registered too."""
CHANGE_FRESH_S: Final = 15.0
"""A link that is lost so soon after the network has changed is lost by that: it is made anew at
once. Later it is the relay that is gone, for all its devices, and they come back at random."""
REGISTER_AGAIN_S: Final = 5.0
"""After a relay that did not answer, and that may be there all the same."""


Attend = Callable[[RelayId, str, RelaySession], Coroutine[None, None, None]]


@dataclass(eq=False, slots=True)
class _Relay:
    record: RelayRecord
    address: RelayAddress
    session: RelaySession | None = None
    problem: str = "It was not tried yet."
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    must_dial: asyncio.Event = field(default_factory=asyncio.Event)
    """Something has changed: the next try is made at once."""
    changed_at: float = float("-inf")
    """When that was."""

    link: Link | None = None
    own_host: str | None = None
    """This machine's address that the link uses."""

    task: asyncio.Task[None] | None = None
    showing: Showing | None = None
    must_show: asyncio.Event = field(default_factory=asyncio.Event)

    def dial_soon(self) -> None:
        """What was in vain before may be there now."""
        self.changed_at = asyncio.get_running_loop().time()
        self.must_dial.set()


class Relays:
    """All relays of one device; the listener gets the streams of those who call it."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        tasks: asyncio.TaskGroup,
        listener: Listener,
        on_connected: Callable[[], None],
        on_lost: Callable[[Address], None],
        is_carrying: Callable[[Address], bool],
        on_seen: Callable[[], None],
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` hears of a relay that is slow to answer, too; `tell` has the user's other
        devices told of `records`, which have changed.
        """
        self._home, self._ledgers, self._tasks = home, ledgers, tasks
        self._listener = listener
        self._on_connected, self._on_lost, self._on_seen = on_connected, on_lost, on_seen
        self._is_carrying = is_carrying
        self._tell = tell
        self._records: dict[RelayId, RelayRecord] = {}
        self._changing = asyncio.Lock()
        self._relays: dict[RelayId, _Relay] = {}
        self._nameplates: set[int] = set()
        self._secrets: dict[DeviceId, bytes] = {}
        self._opening = 0
        self.attend: Attend | None = None
        """Who looks after the mailboxes at a relay."""

    # ------------------------------------------------------------ which

    async def start(self) -> None:
        """Goes to the relays that are in the home."""
        self._records = read_records(await self._home.store.setting(SETTING) or b"")
        self._follow()

    @property
    def records(self) -> tuple[RelayRecord, ...]:
        """What the user's other devices are told."""
        return tuple(self._records.values())

    async def add(self, address: RelayAddress, token: bytes = b"") -> RelayEntry:
        """Uses one more relay, or one that moved, on all devices of the user; raises TooManyRelays.

        Without a token one that was given before stays good.
        """
        async with self._changing:
            old = self._relays.get(address.relay_id)
            if old is None and len(self._relays) >= RELAYS_MAX:
                raise TooManyRelays
            token = token or (old.record.token if old is not None else b"")
            if old is None or (old.address, old.record.token) != (address, token):
                await self._say(RelayRecord(str(address), token, 0, is_used=True))
        return self._entry(self._relays[address.relay_id])

    async def remove(self, text: str) -> None:
        """Uses a relay no more, by its address or host, on no device of the user; raises
        UnknownRelay.
        """
        async with self._changing:
            found = [r for r in self._relays.values() if text in (str(r.address), r.address.host)]
            if len(found) != 1:
                raise UnknownRelay
            await self._say(found[0].record._replace(token=b"", is_used=False))

    async def receive(self, told: Iterable[RelayRecord]) -> None:
        """Another device of the user says which relays it knows of."""
        async with self._changing:
            await self._keep_records(merge(self._records, told))

    async def _say(self, record: RelayRecord) -> None:
        """A person has decided something about one relay."""
        record = record._replace(version=next_version(self._records))
        await self._keep_records({**self._records, record.place.relay_id: record})

    async def _keep_records(self, records: dict[RelayId, RelayRecord]) -> None:
        """Stores what has changed, does it, and tells the others."""
        records = merge(records, ())
        if records == self._records:
            return
        async with self._home.store.transaction() as write:
            await write.put_setting(SETTING, write_records(records))
        self._records = records
        self._follow()
        self._tell()

    def _follow(self) -> None:
        """Has a link to each relay that is to be used, and to no other."""
        wanted = {record.place.relay_id: record for record in used(self._records)}
        for relay_id, relay in list(self._relays.items()):
            record = wanted.get(relay_id)
            if record is None or record.address != str(relay.address):
                self._end(relay)
            elif record.token != relay.record.token:
                relay.record = record
                relay.dial_soon()
        for relay_id, record in wanted.items():
            if relay_id not in self._relays:
                self._begin(record)

    def entries(self) -> RelayList:
        """What `relay list` shows."""
        return {"relays": [self._entry(relay) for relay in self._relays.values()]}

    @property
    def is_connected(self) -> bool:
        """Whether there is a relay to call through now."""
        return any(relay.session is not None for relay in self._relays.values())

    def _entry(self, relay: _Relay) -> RelayEntry:
        return {
            "address": str(relay.address),
            "connected": relay.session is not None,
            "problem": relay.problem if relay.session is None else "",
        }

    def _begin(self, record: RelayRecord) -> None:
        relay = self._relays[record.place.relay_id] = _Relay(record, record.place)
        relay.task = self._tasks.create_task(self._keep(relay))

    def _end(self, relay: _Relay) -> None:
        if self._relays.get(relay.address.relay_id) is relay:
            del self._relays[relay.address.relay_id]
        if relay.task is not None:
            relay.task.cancel()

    # ------------------------------------------------------------ links to relays

    async def _keep(self, relay: _Relay) -> None:
        """Has a link to this relay, again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while True:
            began_at = loop.time()
            try:
                link = await self._dial(relay)
            except LinkError as error:
                relay.problem = str(error)
                log.info("no relay at %s: %s", relay.address.host, error)
            else:
                relay.problem = "The link was lost; it is tried again."
                log.info("linked to the relay at %s", relay.address.host)
                await self._talk(relay, link)
                log.info("the link to the relay at %s is lost", relay.address.host)
            wait_s = backoff.next_wait_s(loop.time() - began_at, random.random())  # noqa: S311
            if loop.time() - relay.changed_at > CHANGE_FRESH_S:
                relay.must_dial.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await relay.must_dial.wait()
                relay.must_dial.clear()
                backoff.forget()
            except TimeoutError:
                pass

    async def _dial(self, relay: _Relay) -> Link:
        """A link by the address that counts, else by the one that led to this relay before: another
        device may have told of an address that leads nowhere from here, such as one of the other
        version of IP. Raises LinkError.
        """
        setting, known = _reached(relay.address.relay_id), ""
        try:
            known = (await self._home.store.setting(setting) or b"").decode()
        except sqlite3.Error as error:
            log.warning("%s", error)
        try:
            link = await dial_relay(relay.address, self._home.keys)
        except LinkError:
            if known in ("", str(relay.address)):
                raise
            log.info("the relay is looked for where it was: %s", relay.address.host)
            try:
                return await dial_relay(RelayAddress.parse(known), self._home.keys)
            except LinkError as error:
                log.info("nor is it there: %s", error)
            raise
        if known != str(relay.address):
            try:
                async with self._home.store.transaction() as write:
                    await write.put_setting(setting, str(relay.address).encode())
            except sqlite3.Error as error:  # it is noted when there is space, by the next link
                log.warning("%s", error)
        return link

    async def _talk(self, relay: _Relay, link: Link) -> None:
        session = RelaySession(link, partial(self._incoming, relay))
        session.is_carrying = partial(self._is_carrying, link.peer_address)
        session.on_slow = partial(self._on_lost, link.peer_address)
        relay.link, relay.own_host = link, own_host_towards(link.peer_address[0])
        is_in = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self._keep_registered(relay, session, is_in)),
                    tasks.create_task(self._keep_showing(relay, session, is_in)),
                ]
                if self.attend is not None:
                    work.append(tasks.create_task(self._attend(relay, session, is_in)))
                await session.run()
                for each in work:
                    each.cancel()
        finally:
            if session.refusal is not None:
                relay.problem = str(session.refusal)
            relay.session = relay.showing = relay.link = None
            link.abort()
            self._on_lost(link.peer_address)

    async def _attend(self, relay: _Relay, session: RelaySession, is_in: asyncio.Event) -> None:
        await is_in.wait()
        assert self.attend is not None
        await self.attend(relay.address.relay_id, relay.address.host, session)

    async def _keep_registered(
        self, relay: _Relay, session: RelaySession, is_in: asyncio.Event
    ) -> None:
        """Gets in, waits where the others look, and says so whenever it has changed."""
        token = relay.record.token
        while True:
            relay.changed.clear()
            wait_s = REGISTER_INTERVAL_S
            try:
                if token:
                    await session.admit(token)
                    token = b""  # it is let in, on this link and from now on
                await session.register(self._waits_at(relay), sorted(self._nameplates))
            except NotAdmitted as error:
                relay.problem = str(error)
                session.end()
                return
            except LinkError as error:
                log.info("%s: %s", relay.address.host, error)
                if session.is_over:
                    return
                wait_s = REGISTER_AGAIN_S
            else:
                if relay.session is None:
                    relay.session = session
                    is_in.set()
                    self._on_connected()
            try:
                async with asyncio.timeout(wait_s):
                    await relay.changed.wait()
            except TimeoutError:
                pass

    async def _keep_showing(
        self, relay: _Relay, session: RelaySession, is_in: asyncio.Event
    ) -> None:
        """Shows the relay by UDP where this device is, as long as the link lasts."""
        await is_in.wait()
        if not self._listener.has_udp(session.place[0]):
            return
        loop = asyncio.get_running_loop()
        try:
            key = await session.udp_key()
        except LinkError:
            return
        showing = relay.showing = Showing(key.client_id, key.key, loop.time())
        while True:
            for datagram in showing.datagrams_to_send(loop.time(), random.random()):  # noqa: S311
                self._listener.send_datagram(datagram, session.place)
            relay.must_show.clear()
            try:
                async with asyncio.timeout_at(showing.next_deadline):
                    await relay.must_show.wait()
            except TimeoutError:
                pass

    def seen(self, datagram: bytes, place: Address) -> None:
        """A relay answered by UDP, or somebody says so."""
        loop = asyncio.get_running_loop()
        for relay in self._relays.values():
            if relay.showing is None or relay.session is None or relay.session.place != place:
                continue
            if relay.showing.receive(datagram, loop.time(), random.random()):  # noqa: S311
                self._on_seen()
            relay.must_show.set()

    def observed(self) -> list[Address]:
        """Where the relays see this device's UDP socket."""
        showings = [relay.showing for relay in self._relays.values()]
        return [s.observed for s in showings if s is not None and s.observed is not None]

    @property
    def is_udp_blocked(self) -> bool:
        """Whether there are relays and none of them answers by UDP."""
        showings = [relay.showing for relay in self._relays.values() if relay.showing is not None]
        return bool(showings) and all(showing.is_blocked for showing in showings)

    def membership_changed(self) -> None:
        """Other devices are the user's now: wait for these."""
        live = self._others()
        self._secrets = {known: s for known, s in self._secrets.items() if known in live}
        for relay in self._relays.values():
            relay.changed.set()

    def addresses_lost(self, lost: Collection[str]) -> None:
        """This machine does not have these addresses any more: links from there are made anew."""
        for relay in self._relays.values():
            if relay.link is not None and relay.own_host in lost:
                relay.link.abort()
                relay.dial_soon()

    def doubt(self) -> None:
        """The network has changed: the links to relays may be dead."""
        now = asyncio.get_running_loop().time()
        for relay in self._relays.values():
            relay.dial_soon()
            if relay.session is not None:
                relay.session.doubt()
            if relay.showing is not None:
                relay.showing.hurry(now)
                relay.must_show.set()

    # ------------------------------------------------------------ where to wait

    def _others(self) -> list[DeviceId]:
        own = self._home.keys.device_id
        return [known for known in self._ledgers.user.live_devices() if known != own]

    def _waits_at(self, relay: _Relay) -> list[bytes]:
        """Where the others look for this device, yesterday, today and tomorrow."""
        today, own = _today(), self._home.keys.device_id
        waits_at: list[bytes] = []
        for other in self._others():
            secret = self._secret(other)
            if secret is not None:
                waits_at += [
                    rendezvous_id(secret, relay.address.relay_id, day, own)
                    for day in (today - 1, today, today + 1)
                ]
        return waits_at[:RENDEZVOUS_MAX]

    def _secret(self, other: DeviceId) -> bytes | None:
        if other not in self._secrets:
            peer = self._ledgers.peer_keys(other)
            if peer is None:
                return None
            try:
                self._secrets[other] = pair_secret(self._home.keys, other, peer.dh_pk)
            except CryptoError:
                return None  # a device with keys that are none is called by nobody
        return self._secrets[other]

    # ------------------------------------------------------------ calls

    async def call(self, other: DeviceId) -> Link | None:
        """A link to that device through the first relay at which it waits; not authenticated."""
        secret = self._secret(other)
        if secret is None:
            return None
        for session, relay in self._sessions():
            target = rendezvous_id(secret, relay.address.relay_id, _today(), other)
            try:
                return await call_through(session, target)
            except NotThere:
                continue
            except LinkError as error:
                log.info("no link through %s: %s", relay.address.host, error)
        return None

    def _sessions(self) -> list[tuple[RelaySession, _Relay]]:
        """The relays that there is a link to, those that answer first."""
        found = [(relay.session, relay) for relay in self._relays.values()]
        linked = [(session, relay) for session, relay in found if session is not None]
        return sorted(linked, key=lambda pair: pair[0].is_slow)

    def _incoming(self, relay: _Relay, ticket: bytes, prefix: bytes) -> None:
        is_ending = relay.task is None or relay.task.cancelling()
        if self._opening < STREAMS_MAX and not is_ending:
            self._opening += 1
            self._tasks.create_task(self._open(relay, ticket, prefix))

    async def _open(self, relay: _Relay, ticket: bytes, prefix: bytes) -> None:
        try:
            if relay.session is None:
                return
            place = relay.session.place
            stream = await open_stream(place, ticket)
        except LinkError as error:
            log.info("%s", error)
        else:
            path = RelayedAddress(*place, prefix) if prefix else None
            self._listener.adopt(stream, place[0], path)
        finally:
            self._opening -= 1

    # ------------------------------------------------------------ nameplates

    async def show(self, nameplate: int) -> list[str] | None:
        """Waits for who types a code of this number, at every relay there is a link to; gives their
        addresses. None, and nowhere, if one of them shows the number for somebody else.
        """
        if len(self._nameplates) >= NAMEPLATES_MAX:
            return []  # on the local network the code is good all the same
        self._nameplates.add(nameplate)
        shown = []
        for relay in list(self._relays.values()):
            if relay.session is None:
                continue
            try:
                taken = await relay.session.register(
                    self._waits_at(relay), sorted(self._nameplates)
                )
            except LinkError as error:
                log.info("%s does not show the code: %s", relay.address.host, error)
                continue
            if nameplate in taken:
                self.hide(nameplate)
                return None
            shown.append(str(relay.address))
        return shown

    def hide(self, nameplate: int) -> None:
        """Waits for it no more."""
        if nameplate in self._nameplates:
            self._nameplates.discard(nameplate)
            for relay in self._relays.values():
                relay.changed.set()


async def call_through(session: RelaySession, target: bytes | int) -> Link:
    """A TLS link to who waits there; raises LinkError."""
    called = await session.call(target)
    link = await tls.dial_over(await open_stream(session.place, called.ticket))
    if called.prefix:
        link.relay_path = RelayedAddress(*session.place, called.prefix)
    return link


def _reached(relay_id: RelayId) -> str:
    """The setting with the address by which this device was last linked to a relay."""
    return f"relay reached:{relay_id.hex()}"


def _today() -> int:
    return int(time.time()) // DAY_S
