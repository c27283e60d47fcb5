"""Joins two streams byte for byte, without a look at what they say.

Each direction has one piece of memory and reads no more before that is sent on: who reads slowly
slows down who writes, and nothing piles up here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

PIECE_BYTES: Final = 64 << 10
"""Memory of one direction; the kernel's own buffers come before and behind it."""
IDLE_MAX_S: Final = 120.0
"""Devices say something every 20 s, and give each other up after 60. It is also the slowest rate
at which a piece may be taken, some 500 bytes a second."""
LINGER_S: Final = 5.0
"""How long the second direction may go on when the first has ended."""


class _Joined:
    """What the two directions have in common."""

    def __init__(self, now: float, carry: Callable[[int], bool]) -> None:
        self.moved_at = now
        self.carry = carry
        self.is_used_up = False
        """Whether nothing more may be carried, in either direction."""


async def join(one: socket.socket, other: socket.socket, carry: Callable[[int], bool]) -> None:
    """Forwards both ways until the streams end or rest for too long; closes both.

    `carry` is told of the bytes of each piece, and answers whether to go on. The sockets are
    non-blocking.
    """
    loop = asyncio.get_running_loop()
    joined = _Joined(loop.time(), carry)
    try:
        async with asyncio.TaskGroup() as tasks:
            ways = {
                tasks.create_task(_forward(one, other, joined)),
                tasks.create_task(_forward(other, one, joined)),
            }
            await _watch(ways, joined)
            for way in ways:
                way.cancel()
    finally:
        one.close()
        other.close()


async def _watch(ways: set[asyncio.Task[None]], joined: _Joined) -> None:
    """Returns when the call is to end."""
    loop = asyncio.get_running_loop()
    while True:
        rest_s = joined.moved_at + IDLE_MAX_S - loop.time()
        if rest_s <= 0:
            return
        ended, _ = await asyncio.wait(ways, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
        if ended and joined.is_used_up:
            return
        if ended:
            await asyncio.wait(ways, timeout=LINGER_S)
            return


async def _forward(source: socket.socket, sink: socket.socket, joined: _Joined) -> None:
    loop = asyncio.get_running_loop()
    piece = memoryview(bytearray(PIECE_BYTES))
    try:
        while count := await loop.sock_recv_into(source, piece):
            await loop.sock_sendall(sink, piece[:count])
            joined.moved_at = loop.time()
            if not joined.carry(count):
                joined.is_used_up = True
                return
            # A socket that is always ready would keep the loop from everybody else.
            await asyncio.sleep(0)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # either side is gone; the other direction ends too
