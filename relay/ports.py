"""The relay's one port: a socket for TCP and one for UDP."""

from __future__ import annotations

import socket
from typing import Final

from relay.errors import AddressInUse

BACKLOG: Final = 512
PORT_TRIES: Final = 16


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections there; port 0 finds a free one. Raises AddressInUse."""
    listening: socket.socket | None = None
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, number)
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        raise AddressInUse(
            f"The relay cannot listen on {host} port {port}: {error}. Choose another with"
            " `--listen HOST:PORT`."
        ) from error
    return listening


def listen_udp(listening: socket.socket) -> socket.socket:
    """A UDP socket at the address of one that listens for TCP; raises AddressInUse."""
    udp = socket.socket(listening.family, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        if listening.family == socket.AF_INET6:
            is_only = listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_only)
        udp.bind(listening.getsockname())
    except OSError as error:
        udp.close()
        host, port = listening.getsockname()[:2]
        raise AddressInUse(
            f"The relay cannot use UDP on {host} port {port}: {error}. Choose another port with"
            " `--listen HOST:PORT`."
        ) from error
    return udp


def listen_on_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Sockets for TCP and UDP on one port; port 0 finds one that is free for both."""
    for tries_left in range(0 if port else PORT_TRIES, -1, -1):
        listening = listen(host, port)
        try:
            return listening, listen_udp(listening)
        except AddressInUse:
            listening.close()
            if not tries_left:
                raise
    raise AssertionError
