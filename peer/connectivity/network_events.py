"""Hears from the system that addresses of this machine come and go. Linux tells it; elsewhere
nobody does, and who looks from time to time notices too.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from struct import Struct
from typing import Final

from protocol import tcp

RECEIVE_BYTES: Final = 64 << 10
SETTLE_S: Final = 0.1
"""After a message others follow: an address first, then the routes that make it useful."""
SETTLE_MAX_S: Final = 0.5
NEWADDR: Final = 20
DELADDR: Final = 21
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""
_HEADER: Final = Struct("=IHHII")
_ADDRESS: Final = Struct("=BBBBI")
_ATTRIBUTE: Final = Struct("=HH")
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2


class NetworkEvents:
    """What the system tells; to be closed."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        if sys.platform == "linux":
            try:
                self._socket = _listen()
            except OSError:  # a sandbox may forbid it
                pass

    def close(self) -> None:
        """Listens no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def next(self, timeout_s: float) -> frozenset[str] | None:
        """Waits until something changes and the changes are over: the addresses that went away
        meanwhile, though they may have come back. None if nothing happens in time.
        """
        if self._socket is None:
            await asyncio.sleep(timeout_s)
            return None
        loop = asyncio.get_running_loop()
        lost: set[str] = set()
        try:
            async with asyncio.timeout(timeout_s):
                lost.update(await self._receive(self._socket))
        except TimeoutError:
            return None
        settled_at = loop.time() + SETTLE_MAX_S
        try:
            while True:
                async with asyncio.timeout_at(min(loop.time() + SETTLE_S, settled_at)):
                    lost.update(await self._receive(self._socket))
        except TimeoutError:
            return frozenset(lost)

    async def _receive(self, netlink: socket.socket) -> list[str]:
        await tcp.until_readable(netlink)
        try:
            return list(lost_addresses(netlink.recv(RECEIVE_BYTES)))
        except OSError:  # ENOBUFS: more was said than fits; that something changed is enough
            return []


def lost_addresses(data: bytes) -> Iterator[str]:
    """The addresses that messages of the kernel say are gone."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        if kind == DELADDR:
            host = _address_in(data[_HEADER.size : length])
            if host is not None:
                yield host
        data = data[(length + 3) & ~3 :]


def _address_in(body: bytes) -> str | None:
    """IFA_LOCAL where there is one, which on a wire between two is this end; else IFA_ADDRESS."""
    found: dict[int, bytes] = {}
    rest = body[_ADDRESS.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = rest[_ATTRIBUTE.size : length]
        rest = rest[(length + 3) & ~3 :]
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    return str(ip_address(packed)) if packed is not None and len(packed) in (4, 16) else None


def _listen() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        netlink.setblocking(False)
        netlink.bind((0, _GROUPS))
    except BaseException:
        netlink.close()
        raise
    return netlink
