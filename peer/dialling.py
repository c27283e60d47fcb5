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
WAIT_MAX_S: Final = 60.0
HEAD_START_S: Final = 0.25
"""How long the preferred kind of link is tried alone (RFC 8305's connection attempt delay)."""

Place = tuple[str, int]


@dataclass(slots=True)
class _Known:
    heard: list[Place] = field(default_factory=list)
    """Addresses announced on this network, the latest first."""
    wait_s: float = FIRST_WAIT_S
    next_at: float = 0.0
    is_busy: bool = False


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
        if place in known.heard:
            return
        known.heard = [place, *known.heard][:8]
        known.wait_s, known.next_at = FIRST_WAIT_S, 0.0
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
                    if device_id in self._network.connections:
                        continue
                    known = self._known.setdefault(device_id, _Known())
                    if known.is_busy:
                        continue
                    if known.next_at <= now:
                        known.is_busy = True
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
            places = list(known.heard)
            for address in await self._home.store.addresses(device_id):
                if (address.host, address.port) not in places:
                    places.append((address.host, address.port))
            for host, port in places:
                link = await self._try(host, port)
                if link is None:
                    continue
                peer = self._ledgers.peer_keys(device_id)
                if peer is None:
                    link.abort()
                    return
                try:
                    found = await authenticate_client(
                        link, self._home.keys, peer, self._introduction()
                    )
                except ProtocolError as error:
                    log.info("%s:%d is not the device it was: %s", host, port, type(error).__name__)
                    continue
                began_at = loop.time()
                await self._network.run_connection(link, found.peer)
                if loop.time() - began_at >= known.wait_s:  # else the link is no good, as it seems
                    known.wait_s = FIRST_WAIT_S
                return
        finally:
            known.is_busy = False
            # Full jitter, so that devices that lost one network do not come back in step.
            known.next_at = loop.time() + known.wait_s * (0.5 + random.random() / 2)  # noqa: S311
            known.wait_s = min(known.wait_s * 2, WAIT_MAX_S)
            self.wake()

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
