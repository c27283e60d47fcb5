"""The relay's UDP socket: devices show themselves there, and their datagrams are carried on.

A run of datagrams that the kernel hands over at once goes out with one call too, as it came; what
costs anything is to look that each of them has the same prefix.
"""

from __future__ import annotations

import asyncio
import socket

from protocol.datagrams import PREFIX_SIZE
from protocol.udp import SocketAddress, UdpEndpoint
from relay.ferries import Ferries
from relay.sightings import Sightings


class DatagramDoor:
    """Answers and forwards on one socket, until it is closed."""

    def __init__(self, udp: socket.socket, sightings: Sightings, ferries: Ferries) -> None:
        self._sightings, self._ferries = sightings, ferries
        self._loop = asyncio.get_running_loop()
        self._endpoint = UdpEndpoint(udp, _ignore)
        self._endpoint.on_other = self._show
        self._endpoint.on_prefixed = self._forward

    @property
    def port(self) -> int:
        """The port of the socket."""
        return self._endpoint.address[1]

    def close(self) -> None:
        """Closes the socket."""
        self._endpoint.close()

    def _show(self, datagram: bytes, address: SocketAddress) -> None:
        answer = self._sightings.receive(datagram, address, self._loop.time())
        if answer is not None:
            self._endpoint.send([answer], address)

    def _forward(self, run: memoryview, size: int, address: SocketAddress) -> None:
        now = self._loop.time()
        start, length = 0, len(run)
        while start < length:
            prefix = bytes(run[start : start + PREFIX_SIZE])
            stop = start + size
            while stop < length and run[stop : stop + PREFIX_SIZE] == prefix:
                stop += size
            stop = min(stop, length)
            destination = self._ferries.route(prefix, address, stop - start, now)
            if destination is not None:
                self._endpoint.forward(run[start:stop], size, destination)
            start = stop


def _ignore(datagrams: list[bytes], address: SocketAddress) -> None:
    """This relay speaks no QUIC itself."""
