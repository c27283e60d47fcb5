"""Has the router of this network open a port for this device, by PCP, NAT-PMP or UPnP.

The port is asked for again at half its lifetime, when the router says that it has restarted, and
when this machine is on another network; it is given back at the end. What the router grants is one
more address that is told to the own devices, and nothing is believed by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from peer.connectivity.gateway import Gateway, find_gateway
from peer.connectivity.router_talk import ask, fetch, receive, search
from protocol import nat_pmp, pcp, upnp
from protocol.candidates import Candidate, CandidateKind
from protocol.errors import Malformed
from protocol.mapped_port import (
    LIFETIME_S,
    MappedPort,
    PortRefused,
    bounded_lifetime,
    check_outside,
    check_port,
)

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 60.0
WAIT_MAX_S: Final = 3600.0
"""Between two tries at a router that opens nothing: it may be set up otherwise one day."""
HEARD_WAIT_S: Final = 2.0
"""Between an announcement and the answer to it, at random below: a router that restarts has all
its clients come back."""
DEAF_S: Final = 10.0
"""After an announcement or what is none: anybody on the network can send them in its name."""
CLOSE_TIMEOUT_S: Final = 1.0
WAYS: Final = ("PCP", "NAT-PMP", "UPnP")
"""The quickest and best guarded first."""
CONFLICTS_MAX: Final = 4
DYNAMIC_PORTS: Final = (49152, 65535)


@dataclass(frozen=True, slots=True)
class _Agreed:
    """A port that is open, and how to close it."""

    way: str
    gateway: Gateway
    mapped: MappedPort
    close: Callable[[], Awaitable[object]]


class PortMapping:
    """The one UDP port of this device, at the router (protocol.candidates.CandidateSource)."""

    def __init__(
        self,
        port: int,
        on_change: Callable[[], None],
        find: Callable[[], Gateway | None] = find_gateway,
        ways: Sequence[str] = WAYS,
    ) -> None:
        """`on_change` hears that `candidates` has another answer."""
        self._ways = ways
        self._port, self._on_change, self._find = port, on_change, find
        self._agreed: _Agreed | None = None
        self._nonce = os.urandom(pcp.NONCE_SIZE)
        self._hurry = asyncio.Event()
        self.problem = "The router was not asked yet."
        """Why there is no open port; empty if there is one."""

    def candidates(self) -> Sequence[Candidate]:
        """The address at which the router's outside leads here, if there is one."""
        if self._agreed is None:
            return ()
        mapped = self._agreed.mapped
        return (Candidate(CandidateKind.MAPPED, mapped.host, mapped.port),)

    def network_changed(self) -> None:
        """This machine may have another router, or another address at the same one."""
        self._hurry.set()

    async def run(self) -> None:
        """Keeps a port open, until cancelled; `close` gives it back then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            wait_s = FIRST_WAIT_S
            while True:
                self._hurry.clear()
                await self._renew()
                if self._agreed is not None:
                    pause_s, wait_s = self._agreed.mapped.lifetime_s / 2, FIRST_WAIT_S
                else:
                    # Jitter, as everywhere: not all devices of a house in step.
                    pause_s = wait_s * (0.5 + random.random() / 2)  # noqa: S311
                    wait_s = min(wait_s * 2, WAIT_MAX_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._hurry.wait()

    async def close(self) -> None:
        """Gives the port back, if the router answers within a second."""
        agreed, self._agreed = self._agreed, None
        if agreed is not None:
            await _close(agreed)

    # ------------------------------------------------------------ asking

    async def _renew(self) -> None:
        old = self._agreed
        gateway = await asyncio.to_thread(self._find)
        new: _Agreed | None = None
        if gateway is None:
            self.problem = "This network has no router."
        elif ip_address(gateway.own_host).is_global:
            self.problem = "This machine is on the internet itself and needs no open port."
        else:
            new = await self._agree(gateway, old)
        self._agreed = new
        if new is not None:
            self.problem = ""
        # What another router opened, or this one in another way, is not closed: it may be the same
        # port, and ends with its lifetime.
        if (old and old.mapped[:2]) != (new and new.mapped[:2]):
            if new is not None:
                log.info("the router opened port %d by %s", new.mapped.port, new.way)
            else:
                log.info("no open port at the router: %s", self.problem)
            self._on_change()

    async def _agree(self, gateway: Gateway, old: _Agreed | None) -> _Agreed | None:
        """Asks in each of the ways, the one that was good before first."""
        ways = {"PCP": self._by_pcp, "NAT-PMP": self._by_nat_pmp, "UPnP": self._by_upnp}
        order = sorted(self._ways, key=lambda way: old is None or way != old.way)
        wanted = old.mapped.port if old is not None else self._port
        self.problem = "The router answers none of PCP, NAT-PMP and UPnP."
        for way in order:
            try:
                agreed = await ways[way](gateway, wanted)
            except (PortRefused, Malformed) as error:
                self.problem = f"The router opens no port by {way}: {error}."
            except OSError as error:
                log.debug("%s: %s", way, error)
            else:
                if agreed is not None:
                    return agreed
        return None

    async def _by_pcp(self, gateway: Gateway, wanted: int) -> _Agreed | None:
        def request(lifetime_s: int) -> bytes:
            return pcp.map_request(self._nonce, gateway.own_host, self._port, wanted, lifetime_s)

        def read(datagram: bytes) -> pcp.Mapped | pcp.OtherVersion:
            answer = pcp.read_answer(datagram)
            if isinstance(answer, pcp.Mapped) and (
                answer.nonce != self._nonce or answer.internal_port != self._port
            ):
                raise Malformed("an answer to somebody else")
            return answer

        answer = await ask(gateway, nat_pmp.PORT, request(LIFETIME_S), read)
        if not isinstance(answer, pcp.Mapped) or not answer.lifetime_s:
            return None
        mapped = MappedPort(
            check_outside(answer.host),
            check_port(answer.external_port),
            bounded_lifetime(answer.lifetime_s),
        )
        return _Agreed("PCP", gateway, mapped, lambda: ask(gateway, nat_pmp.PORT, request(0), read))

    async def _by_nat_pmp(self, gateway: Gateway, wanted: int) -> _Agreed | None:
        def read(datagram: bytes) -> nat_pmp.Mapped:
            answer = nat_pmp.read_answer(datagram)
            if not isinstance(answer, nat_pmp.Mapped) or answer.internal_port != self._port:
                raise Malformed("an answer to somebody else")
            return answer

        def read_external(datagram: bytes) -> nat_pmp.External:
            answer = nat_pmp.read_answer(datagram)
            if not isinstance(answer, nat_pmp.External):
                raise Malformed("an answer to another question")
            return answer

        outside = await ask(gateway, nat_pmp.PORT, nat_pmp.external_request(), read_external)
        if outside is None:
            return None
        host = check_outside(outside.host)
        request = nat_pmp.map_request(self._port, wanted, LIFETIME_S)
        answer = await ask(gateway, nat_pmp.PORT, request, read)
        if answer is None or not answer.lifetime_s:
            return None
        mapped = MappedPort(
            host, check_port(answer.external_port), bounded_lifetime(answer.lifetime_s)
        )
        closing = nat_pmp.map_request(self._port, 0, 0)
        return _Agreed(
            "NAT-PMP", gateway, mapped, lambda: ask(gateway, nat_pmp.PORT, closing, read)
        )

    async def _by_upnp(self, gateway: Gateway, wanted: int) -> _Agreed | None:
        location = await search(gateway)
        if location is None:
            return None
        _, document = await fetch(location)
        service = upnp.read_description(document, location, gateway.host)

        async def say(soap: tuple[bytes, bytes]) -> dict[str, str]:
            return upnp.read_answer(*await fetch(service.url, soap=soap))

        host = check_outside(upnp.read_external(await say(upnp.ask_external(service))))
        port, lifetime_s = wanted, LIFETIME_S
        for _ in range(CONFLICTS_MAX):
            try:
                await say(upnp.ask_mapping(service, gateway.own_host, self._port, port, lifetime_s))
                break
            except upnp.UpnpRefused as error:
                if error.code == upnp.PERMANENT_ONLY and lifetime_s:
                    lifetime_s = 0
                elif error.code == upnp.CONFLICT:
                    port = random.randint(*DYNAMIC_PORTS)  # noqa: S311 - any other one
                else:
                    raise
        else:
            raise PortRefused("other devices have the ports that were asked for")
        mapped = MappedPort(host, port, lifetime_s or LIFETIME_S)
        return _Agreed("UPnP", gateway, mapped, lambda: say(upnp.ask_removal(service, port)))

    # ------------------------------------------------------------ a router that restarts

    async def _listen(self) -> None:
        """Hears routers that have restarted or have another address: then it is asked anew.

        Whether the epoch says so is not looked at: to ask costs one datagram, and a router that
        restarts twice within seconds could not be told from one that has not.
        """
        try:
            udp = _announcements()
        except OSError as error:
            log.debug("announcements of the router are not heard: %s", error)
            return
        with udp:
            while True:
                try:
                    datagram, place = await receive(udp)
                    pcp.read_announcement(datagram)
                except (OSError, Malformed):
                    await asyncio.sleep(DEAF_S)
                    continue
                if self._agreed is not None and place[0] == self._agreed.gateway.host:
                    await asyncio.sleep(HEARD_WAIT_S * random.random())  # noqa: S311
                    self._hurry.set()
                    await asyncio.sleep(DEAF_S)


def _announcements() -> socket.socket:
    """A socket for what routers tell everybody, beside other programs that listen too."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        udp.bind(nat_pmp.ANNOUNCED_AT)
    except BaseException:
        udp.close()
        raise
    return udp


async def _close(agreed: _Agreed) -> None:
    """Asks the router to forget it; what does not work ends with its lifetime."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await agreed.close()
    except (OSError, PortRefused, Malformed) as error:
        log.info("the port at the router stays open until its time is over: %s", error)
