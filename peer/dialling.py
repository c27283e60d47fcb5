"""Whom to dial, where, and when again: back-off with jitter, the preferred kind of link first."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from crypto.ids import DeviceId
from peer.home import Home
from peer.ledgers import Ledgers
from peer.network import Network
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
    ) -> None:
        self._home, self._ledgers, self._network = home, ledgers, network
        self._listener, self._kinds = listener, kinds
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
                    if connection is not None:
                        if connection.name and not connection.link.is_client:
                            known.give_sign()  # it has found us: when it is lost, we look for it
                        continue
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
            known.wait_s = min(known.wait_s * 2, WAIT_MAX_S)
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
