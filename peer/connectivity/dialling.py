"""Whom to dial, where, and when again: back-off with jitter, the preferred kind of link first.

Direct ways are tried first and, while a relay carries the link, go on being tried; a direct link
takes the place of a relayed one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from crypto.ids import DeviceId
from peer.connectivity.connection import DOUBTFUL_AFTER_S
from peer.connectivity.network import Network
from peer.connectivity.relays import Relays
from peer.device.home import Home
from peer.device.ledgers import Ledgers
from protocol.errors import LinkError, ProtocolError
from protocol.link import Link, LinkKind
from protocol.links import Listener, authenticate_client

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.5
WAIT_MAX_S: Final = 20.0
"""Who came back and gives no sign of it waits so long at most; a dial costs two packets."""
SIGN_WAIT_S: Final = 1.0
"""After a sign of life the device is dialled at once, but not more often than about this: anybody
on the network can repeat what somebody announced."""
HEAD_START_S: Final = 0.25
"""How long the preferred kind of link is tried alone (RFC 8305's connection attempt delay)."""
RELAY_HEAD_START_S: Final = 0.25
"""How long direct ways are tried alone, from when there is no link, unless all have been tried in
vain before: on a LAN they take tens of milliseconds, and a call that one beats costs little."""
CALL_WAIT_MAX_S: Final = 60.0
"""Between two calls of a device that waits at no relay; when it comes back, it calls us."""
BETTER_WAIT_MAX_S: Final = 300.0
"""Between two looks for a direct way while a relay carries the link."""

Place = tuple[str, int]


@dataclass(slots=True)
class _Known:
    heard: list[Place] = field(default_factory=list)
    """Addresses announced on this network, the latest first."""
    wait_s: float = FIRST_WAIT_S
    next_at: float = 0.0
    tried_at: float = float("-inf")
    attempt: asyncio.Timeout | None = None
    """Ends the wait for an address that does not answer, where a sign of life may do so."""
    is_busy: bool = False
    call_wait_s: float = FIRST_WAIT_S
    alone_since: float | None = None
    """When it was first seen that there is no link; None while there is one."""
    call_at: float | None = None
    """When it is called through a relay next; None while there is a link, and during the head start
    of direct ways."""
    is_calling: bool = False

    def give_sign(self) -> None:
        """The device may be there: what was in vain before says little."""
        self.wait_s = min(self.wait_s, SIGN_WAIT_S)
        self.next_at = min(self.next_at, self.tried_at + SIGN_WAIT_S)
        if self.attempt is not None:
            self.attempt.reschedule(0.0)
            self.attempt = None


class Dialling:
    """Keeps this device linked to all devices that it knows an address of."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        network: Network,
        listener: Listener,
        kinds: Sequence[LinkKind],
        relays: Relays,
    ) -> None:
        self._home, self._ledgers, self._network = home, ledgers, network
        self._listener, self._kinds, self._relays = listener, kinds, relays
        self._known: dict[DeviceId, _Known] = {}

    def wake(self) -> None:
        """There may be somebody new to dial."""
        self._network.changed.set()

    def heard_of(self, device_id: DeviceId, host: str, port: int) -> None:
        """A device announced itself at this address."""
        known = self._known.setdefault(device_id, _Known())
        place = (host, port)
        if place not in known.heard:
            known.heard = [place, *known.heard][:8]
            known.wait_s, known.next_at = FIRST_WAIT_S, 0.0
        known.give_sign()
        self.wake()

    def network_changed(self) -> None:
        """This machine is on another network, or woke up: what was tried in vain may be there."""
        for known in self._known.values():
            known.give_sign()
        self.wake()
        # By then it shows who still answers; who does not is called through a relay meanwhile.
        asyncio.get_running_loop().call_later(DOUBTFUL_AFTER_S + 0.01, self.wake)

    def relay_connected(self) -> None:
        """There is a relay again: whoever was called in vain may wait there."""
        for known in self._known.values():
            known.call_wait_s = FIRST_WAIT_S
            if known.call_at is not None:
                known.call_at = 0.0
        self.wake()

    async def run(self) -> None:
        """Dials until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = loop.time()
                soonest = now + WAIT_MAX_S
                for device_id in list(self._ledgers.user.live_devices()):
                    if device_id == self._ledgers.keys.device_id:
                        continue
                    known = self._known.setdefault(device_id, _Known())
                    connection = self._network.connections.get(device_id)
                    if connection is not None and not connection.is_doubtful:
                        known.alone_since = None
                        # What a relay carried is called again at once when it is lost: no direct
                        # way has been found all the time.
                        known.call_at = 0.0 if connection.link.is_relayed else None
                        if not connection.link.is_relayed:
                            if connection.name and not connection.link.is_client:
                                known.give_sign()  # it has found us; lost, we look for it
                            continue
                    else:
                        if known.alone_since is None:
                            known.alone_since = now
                        if known.wait_s > WAIT_MAX_S:  # so rarely only while a relay carried us
                            known.wait_s, known.next_at = FIRST_WAIT_S, now
                        if self._relays.is_connected:
                            soonest = min(soonest, self._consider_calling(device_id, known, tasks))
                    if known.is_busy:
                        continue
                    if known.next_at <= now:
                        known.is_busy, known.tried_at = True, now
                        tasks.create_task(self._dial(device_id, known))
                    else:
                        soonest = min(soonest, known.next_at)
                self._network.changed.clear()
                try:
                    async with asyncio.timeout_at(soonest):
                        await self._network.changed.wait()
                except TimeoutError:
                    pass

    def _consider_calling(
        self, device_id: DeviceId, known: _Known, tasks: asyncio.TaskGroup
    ) -> float:
        """Calls a device that there is no link to, if it is time; gives when to look again."""
        now = asyncio.get_running_loop().time()
        if known.is_calling:
            return float("inf")
        if known.call_at is None:
            assert known.alone_since is not None
            begun_at = known.alone_since
            is_in_vain = known.tried_at >= begun_at and not known.is_busy
            if now < begun_at + RELAY_HEAD_START_S and not is_in_vain:
                return begun_at + RELAY_HEAD_START_S
            known.call_at = now
        if known.call_at > now:
            return known.call_at
        known.is_calling = True
        tasks.create_task(self._call(device_id, known, tasks))
        return float("inf")

    async def _call(self, device_id: DeviceId, known: _Known, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        try:
            link = await self._relays.call(device_id)
            peer = self._ledgers.peer_keys(device_id)
            if link is None:
                return
            current = self._network.connections.get(device_id)
            if peer is None or (current is not None and not current.is_doubtful):
                link.abort()
                return
            try:
                found = await authenticate_client(link, self._home.keys, peer, self._introduction())
            except ProtocolError as error:
                log.info("a relay led to another device: %s", type(error).__name__)
                return
            # A task of its own: meanwhile a direct way is looked for.
            tasks.create_task(self._network.run_connection(link, found.peer))
            known.call_wait_s = FIRST_WAIT_S
        finally:
            known.is_calling = False
            known.call_at = loop.time() + known.call_wait_s * (0.5 + random.random() / 2)  # noqa: S311
            known.call_wait_s = min(known.call_wait_s * 2, CALL_WAIT_MAX_S)
            self.wake()

    async def _dial(self, device_id: DeviceId, known: _Known) -> None:
        loop = asyncio.get_running_loop()
        try:
            # Once from the start again, if a sign of life comes while old addresses are tried.
            if not await self._dial_each(device_id, known, may_begin_again=True):
                await self._dial_each(device_id, known, may_begin_again=False)
        finally:
            known.is_busy = False
            # Full jitter, so that devices that lost one network do not come back in step.
            known.next_at = loop.time() + known.wait_s * (0.5 + random.random() / 2)  # noqa: S311
            is_linked = device_id in self._network.connections
            known.wait_s = min(known.wait_s * 2, BETTER_WAIT_MAX_S if is_linked else WAIT_MAX_S)
            self.wake()

    async def _dial_each(
        self, device_id: DeviceId, known: _Known, *, may_begin_again: bool
    ) -> bool:
        """Tries one address after the other, and talks over the first link; False if a sign of life
        came first.
        """
        loop = asyncio.get_running_loop()
        places = list(known.heard)
        for address in await self._home.store.addresses(device_id):
            if (address.host, address.port) not in places:
                places.append((address.host, address.port))
        for host, port in places:
            try:
                async with asyncio.timeout(None) as attempt:
                    known.attempt = attempt if may_begin_again else None
                    link = await self._try(host, port)
            except TimeoutError:
                return False
            finally:
                known.attempt = None
            if link is None:
                continue
            peer = self._ledgers.peer_keys(device_id)
            if peer is None:
                link.abort()
                return True
            try:
                found = await authenticate_client(link, self._home.keys, peer, self._introduction())
            except ProtocolError as error:
                log.info("%s:%d is not the device it was: %s", host, port, type(error).__name__)
                continue
            began_at = loop.time()
            await self._network.run_connection(link, found.peer)
            if loop.time() - began_at >= known.wait_s:  # else the link is no good, as it seems
                known.wait_s = FIRST_WAIT_S
            return True
        return True

    def _introduction(self) -> list[bytes]:
        """The newest entries of the user's ledger: the other side may not know this device yet."""
        return self._ledgers.user.export()[-8:]

    async def _try(self, host: str, port: int) -> Link | None:
        """The first link that answers; the preferred kind has a head start."""
        attempts: list[asyncio.Task[None]] = []
        answered: list[Link] = []

        async def dial(kind: LinkKind, delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            try:
                link = await self._listener.dial(kind, host, port)
            except LinkError:
                return
            if answered:
                link.abort()
                return
            answered.append(link)
            for attempt in attempts:
                if attempt is not asyncio.current_task():
                    attempt.cancel()

        try:
            async with asyncio.TaskGroup() as tasks:
                for position, kind in enumerate(self._kinds):
                    attempts.append(tasks.create_task(dial(kind, position * HEAD_START_S)))
        except BaseException:
            for link in answered:
                link.abort()
            raise
        return answered[0] if answered else None
