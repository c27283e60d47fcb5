"""Where links come from: a listener on one port of UDP and TCP, dialling, authenticating."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from crypto.keys import DeviceKeys
from crypto.link_auth import link_binding
from protocol import tcp, tls, udp
from protocol.certificates import LinkCertificate
from protocol.datagrams import RelayedAddress
from protocol.errors import ErrorCode, LinkError, NotAuthenticated, TimedOut, reason_of
from protocol.half_open import HalfOpen
from protocol.handshake import (
    Authenticated,
    ClientHandshake,
    Lookup,
    PeerKeys,
    ServerHandshake,
)
from protocol.link import Address as Address
from protocol.link import Link as Link
from protocol.link import LinkKind as LinkKind
from protocol.quic_door import Door
from protocol.quic_link import QuicEndpoint, bind_for
from protocol.tls import TlsLink
from protocol.udp import SocketAddress
from protocol.wire import FRAME_LENGTH_MAX

HALF_OPEN_TIMEOUT_S: Final = 5.0
"""From the first packet to the last frame that authenticates (CRYPTO 7)."""
BACKLOG: Final = 128
PORT_TRIES: Final = 16

OnLink = Callable[[Link], Coroutine[Any, Any, None]]


class Listener:
    """Waits for links on one port number, for UDP and TCP; QUIC links are dialled from there too.

    Its work is done in the task group of its owner. `on_link` gets each new link in a task of its
    own; it must handle its errors, and it has five seconds to `admit` the link.
    """

    def __init__(
        self, tasks: asyncio.TaskGroup, certificate: LinkCertificate | None = None
    ) -> None:
        self.half_open = HalfOpen()
        self._tasks = tasks
        self._certificate = certificate or LinkCertificate.generate()
        self._binding = link_binding(self._certificate.der)
        self._on_link: OnLink | None = None
        self._endpoints: list[QuicEndpoint] = []
        self._tcp_sockets: list[socket.socket] = []
        self._running: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()
        self._accepted: set[socket.socket] = set()
        """TCP connections that TLS has not taken over yet."""
        self._context: ssl.SSLContext | None = None
        self._is_stopped = False
        self.on_datagram: Callable[[bytes, Address], None] | None = None
        """Gets the datagrams that are no QUIC."""
        self.port = 0
        """The port that was found, after `start`."""

    async def start(
        self,
        host: str | Sequence[str],
        port: int,
        kinds: Collection[LinkKind],
        on_link: OnLink,
    ) -> int:
        """Listens on every host given; port 0 finds a free one. Gives the port, or LinkError."""
        assert not self.port, "started already"
        hosts = [host] if isinstance(host, str) else list(host)
        tcp_sockets, udp_sockets = _bind_all(hosts, port, kinds)
        self._on_link = on_link
        self.port = (tcp_sockets or udp_sockets)[0].getsockname()[1]
        door = Door(self._certificate)
        for each in udp_sockets:
            self._endpoints.append(
                QuicEndpoint(
                    each,
                    door=door,
                    half_open=self.half_open,
                    on_half_open=self._give_time,
                    on_link=self._give_link,
                )
            )
            self._endpoints[-1].udp.on_other = self._take_datagram
        self._context = tls.server_context(self._certificate)
        for each in tcp_sockets:
            self._tcp_sockets.append(each)
            self._spawn(self._accept_tls(each))
        return self.port

    async def stop(self) -> None:
        """Closes the port and every link that came in or uses it, and ends the own tasks."""
        self._is_stopped = True
        for endpoint in self._endpoints:
            endpoint.close()
        for link in list(self._links):
            link.abort()
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        for each in self._tcp_sockets:
            each.close()
        for connection in self._accepted:  # their tasks were cancelled before they began
            connection.close()
        self._accepted.clear()
        self._endpoints, self._tcp_sockets = [], []

    async def dial(self, kind: LinkKind, host: str, port: int) -> Link:
        """Like the function `dial`, but QUIC goes out from the port that we listen on."""
        if kind is LinkKind.TLS:
            return await tls.dial(host, port)
        address = await _resolve(host, port)
        endpoint = self._endpoint_for(address[0])
        if endpoint is not None:
            return await endpoint.dial(address)
        return await QuicEndpoint(bind_for(address)).dial(address)

    async def dial_relayed(self, address: RelayedAddress) -> Link:
        """A QUIC link whose packets a relay forwards, to a device that expects it."""
        endpoint = self._endpoint_for(address.host)
        if endpoint is None:
            raise LinkError("This device has no UDP port there.")
        endpoint.udp.expect(address)
        return await endpoint.dial(address)

    def has_udp(self, host: str) -> bool:
        """Whether there is a UDP port for an address of this family."""
        return self._endpoint_for(host) is not None

    def send_datagram(self, datagram: bytes, place: Address) -> None:
        """Sends what is no QUIC from the port that QUIC uses; lost where there is none."""
        endpoint = self._endpoint_for(place[0])
        if endpoint is not None:
            endpoint.udp.send([datagram], place)

    def _endpoint_for(self, host: str) -> QuicEndpoint | None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for endpoint in self._endpoints:
            if endpoint.udp.family == family:
                return endpoint
        return None

    def _take_datagram(self, datagram: bytes, address: SocketAddress) -> None:
        if self.on_datagram is not None:
            self.on_datagram(datagram, (address[0], address[1]))

    def adopt(
        self, connection: socket.socket, host: str, path: RelayedAddress | None = None
    ) -> None:
        """Takes a stream through a relay as if its other end had dialled this port; `host` is the
        relay's, which shares the places of one host among all who come through it. What the relay
        forwards by UDP on that path is taken for the same device's from now on.
        """
        endpoint = self._endpoint_for(path.host) if path is not None else None
        if path is not None and endpoint is not None:
            endpoint.udp.expect(path)
        if self._is_stopped or not self.half_open.enter(host):
            connection.close()
            return
        self._take_tls(connection, host, is_relayed=True, path=path)

    async def _accept_tls(self, listening: socket.socket) -> None:
        while True:
            connection, host = await tcp.accept(listening)
            if not self.half_open.enter(host):
                connection.close()
                continue
            self._take_tls(connection, host)

    def _take_tls(
        self,
        connection: socket.socket,
        host: str,
        *,
        is_relayed: bool = False,
        path: RelayedAddress | None = None,
    ) -> None:
        link = TlsLink(False, self._binding, self._give_link)
        link.is_relayed, link.relay_path = is_relayed, path
        link.on_admit = _leave(self.half_open, host)
        self._give_time(link)
        self._accepted.add(connection)
        self._spawn(self._shake_hands(connection, link), link)

    async def _shake_hands(self, connection: socket.socket, link: TlsLink) -> None:
        assert self._context is not None
        self._accepted.discard(connection)
        try:
            await tls.accept(connection, self._context, link)
        except LinkError:
            link.abort()  # no TLS, or none of ours: whoever that was learns nothing

    def _give_time(self, link: Link) -> None:
        """Ends the link if it is not admitted in time."""
        leave = link.on_admit
        assert leave is not None
        timer = asyncio.get_running_loop().call_later(
            HALF_OPEN_TIMEOUT_S, link.abort, ErrorCode.TIMEOUT
        )

        def admit() -> None:
            timer.cancel()
            leave()

        link.on_admit = admit

    def _give_link(self, link: Link) -> None:
        if self._is_stopped:
            link.abort()
            return
        self._links.add(link)
        self._spawn(self._serve(link), link)

    async def _serve(self, link: Link) -> None:
        assert self._on_link is not None
        try:
            await self._on_link(link)
        finally:
            self._links.discard(link)
            link.abort()

    def _spawn(self, work: Coroutine[Any, Any, None], link: Link | None = None) -> None:
        """Does this work in a task; the link that it is about ends if the owner has no tasks any
        more, for links still come between the end of the owner's group and `stop`.
        """
        try:
            task = self._tasks.create_task(work)
        except RuntimeError:  # the group is over
            work.close()
            if link is not None:
                self._links.discard(link)
                link.abort()
            return
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _leave(half_open: HalfOpen, host: str) -> Callable[[], None]:
    return lambda: half_open.leave(host)


def _bind_all(
    hosts: Sequence[str], port: int, kinds: Collection[LinkKind]
) -> tuple[list[socket.socket], list[socket.socket]]:
    """TCP and UDP sockets of one port number on every host whose family there is."""
    problem: OSError | None = None
    for _ in range(1 if port else PORT_TRIES):
        opened: list[socket.socket] = []
        tcp_sockets: list[socket.socket] = []
        udp_sockets: list[socket.socket] = []
        number = port
        try:
            for host in hosts:
                if ":" in host and not socket.has_ipv6:
                    continue
                for kind in sorted(kinds, reverse=True):
                    bind = _listen_tcp if kind is LinkKind.TLS else udp.bind
                    each = bind(host, number)
                    opened.append(each)
                    (tcp_sockets if kind is LinkKind.TLS else udp_sockets).append(each)
                    number = each.getsockname()[1]
        except OSError as error:
            problem = error
            for each in opened:
                each.close()
            continue
        return tcp_sockets, udp_sockets
    reason = "" if problem is None else reason_of(problem)
    raise LinkError(f"Cannot listen on port {port} of {', '.join(hosts)}: {reason}.")


def _listen_tcp(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


async def _resolve(host: str, port: int) -> SocketAddress:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:  # what cannot be a host's name is a UnicodeError
        raise LinkError(f"No address for {host}: {reason_of(error)}.") from error
    address: SocketAddress = found[0][4]  # type: ignore[assignment]
    return address


async def dial(kind: LinkKind, host: str, port: int) -> Link:
    """An unauthenticated link to that address within five seconds; raises LinkError."""
    if kind is LinkKind.TLS:
        return await tls.dial(host, port)
    address = await _resolve(host, port)
    return await QuicEndpoint(bind_for(address)).dial(address)


async def authenticate_client(
    link: Link,
    keys: DeviceKeys,
    server: PeerKeys,
    ledger_entries: Sequence[bytes] = (),
    random: Callable[[int], bytes] = os.urandom,
    frame_length_max: int = FRAME_LENGTH_MAX,
) -> Authenticated:
    """Proves both sides to each other; closes the link if the other is not that server."""
    handshake = ClientHandshake(keys, server, link.kind, link.binding, random, ledger_entries)
    return await _authenticate(link, handshake, None, frame_length_max)


async def authenticate_server(
    link: Link,
    first_frame: tuple[int, bytes],
    keys: DeviceKeys,
    lookup: Lookup,
    random: Callable[[int], bytes] = os.urandom,
    frame_length_max: int = FRAME_LENGTH_MAX,
) -> Authenticated:
    """Learns who dialled us, from the first frame on; closes the link of who is not entitled."""
    handshake = ServerHandshake(keys, link.kind, link.binding, random, lookup)
    return await _authenticate(link, handshake, first_frame, frame_length_max)


async def _authenticate(
    link: Link,
    handshake: ClientHandshake | ServerHandshake,
    received: tuple[int, bytes] | None,
    frame_length_max: int,
) -> Authenticated:
    try:
        async with asyncio.timeout(HALF_OPEN_TIMEOUT_S):
            while True:
                if received is not None:
                    handshake.receive(*received)
                for number, payload in handshake.frames_to_send():
                    link.send(number, [payload])
                if handshake.result is not None:
                    break
                received = await link.receive()
                if received is None:
                    raise NotAuthenticated("the other side closed the link")
    except TimeoutError:
        link.abort(ErrorCode.NOT_AUTHENTICATED)
        raise TimedOut("no handshake in time") from None
    except BaseException:
        # One code, whatever it was; and a link is nobody's when who waited for it was cancelled.
        link.abort(ErrorCode.NOT_AUTHENTICATED)
        raise
    link.admit()
    link.link_id = handshake.result.link_id
    link.set_frame_limit(frame_length_max)
    return handshake.result
