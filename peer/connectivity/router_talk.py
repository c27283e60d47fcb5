"""Questions to the router of this network, over UDP and HTTP, bounded in time and size.

What answers is hostile by assumption: datagrams count from the router's address only, HTTP goes to
it alone and follows nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from urllib.parse import urlsplit

import h11

from peer.connectivity.gateway import Gateway
from protocol import tcp, upnp
from protocol.errors import Malformed
from protocol.link import Address

Answer = TypeVar("Answer")

RETRY_WAITS_S: Final = (0.25, 0.5, 1.0)
"""RFC 6886 doubles from 0.25 s up to 64 s; who does not answer in two seconds does not speak it."""
SEARCH_WAITS_S: Final = (0.5, 1.5)
HTTP_TIMEOUT_S: Final = 5.0
HEAD_MAX: Final = 16 << 10
READ_SIZE: Final = 16 << 10


async def ask(
    gateway: Gateway, port: int, request: bytes, read: Callable[[bytes], Answer]
) -> Answer | None:
    """Sends a datagram to the router until it answers; None if it does not.

    What `read` calls Malformed is passed over; its other errors are the caller's.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        try:
            udp.bind((gateway.own_host, 0))
            udp.connect((gateway.host, port))  # the kernel drops what comes from elsewhere
            for wait_s in RETRY_WAITS_S:
                udp.send(request)
                try:
                    async with asyncio.timeout(wait_s):
                        while True:
                            try:
                                return read((await receive(udp))[0])
                            except Malformed:
                                continue
                except TimeoutError:
                    continue
        except OSError:
            return None  # the router says that nobody is there
    return None


async def search(gateway: Gateway) -> str | None:
    """The location of the router's description; None if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        try:
            udp.bind((gateway.own_host, 0))
            udp.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(gateway.own_host)
            )
            for wait_s in SEARCH_WAITS_S:
                udp.sendto(upnp.search_request(), upnp.SEARCHED_AT)
                try:
                    async with asyncio.timeout(wait_s):
                        while True:
                            data, place = await receive(udp)
                            if place[0] != gateway.host:
                                continue
                            try:
                                return upnp.read_search_answer(data, gateway.host)
                            except Malformed:
                                continue
                except TimeoutError:
                    continue
        except OSError:
            return None
    return None


async def receive(udp: socket.socket) -> tuple[bytes, Address]:
    """The next datagram; uvloop has no such call of its own."""
    while True:
        await tcp.until_readable(udp)
        try:
            data, place = udp.recvfrom(upnp.DATAGRAM_MAX)
        except BlockingIOError:
            continue
        return data, place[:2]


async def fetch(url: str, *, soap: tuple[bytes, bytes] | None = None) -> tuple[int, bytes]:
    """One request to an address that was checked: GET, or POST of a SOAP action and body.

    Gives status and body; raises OSError (TimeoutError is one) or Malformed.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers: list[tuple[bytes, bytes]] = [
        (b"Host", parts.netloc.encode()), (b"Connection", b"close"),
    ]  # fmt: skip
    body = b""
    if soap is not None:
        name, body = soap
        headers += [
            (b"SOAPAction", name), (b"Content-Type", b'text/xml; charset="utf-8"'),
            (b"Content-Length", str(len(body)).encode()),
        ]  # fmt: skip
    request = h11.Request(
        method="GET" if soap is None else "POST", target=target.encode(), headers=headers
    )
    async with asyncio.timeout(HTTP_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        try:
            return await _converse(reader, writer, [request, h11.Data(data=body)])
        except h11.RemoteProtocolError as error:
            raise Malformed("no HTTP") from error
        finally:
            writer.transport.abort()  # nothing is to be said any more


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    events: Sequence[h11.Request | h11.Data],
) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    for own in (*events, h11.EndOfMessage()):
        writer.write(connection.send(own) or b"")
    status, body = 0, b""
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(READ_SIZE))
            case h11.Response():
                status = event.status_code
            case h11.Data():
                body += event.data
                if len(body) > upnp.DOCUMENT_MAX:
                    raise Malformed("a document beyond its bound")
            case h11.EndOfMessage() | h11.ConnectionClosed() | h11.PAUSED:
                return status, body
