"""TCP as the kernel has it: who comes, and for how long the other side has acknowledged nothing.

TCP_USER_TIMEOUT would also end the link of somebody who is alive and whose disk is slow, because it
counts the time in which the other side lets nothing be sent; so the kernel is asked instead.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from struct import Struct
from typing import Final

LOOK_INTERVAL_S: Final = 2.0
"""How often a connection with something under way is looked at."""
UNANSWERED_MAX_S: Final = 8.0
"""Without an acknowledgement for so long the other side is gone; found within 10 s. The kernel
repeats after 0.2, 0.6, 1.4, 3 and 6.2 s, so six packets or their answers were lost by then."""
KEEP_ALIVE_AFTER_S: Final = 3
KEEP_ALIVE_EVERY_S: Final = 2
KEEP_ALIVE_TIMES: Final = 3
"""Three questions are not answered 3, 5 and 7 s after the last packet, and at 9 s it is over. It
costs an idle connection forty bytes a second, which is why only those to relays have it."""
_LINUX_INFO: Final = Struct("=24x L 28x L")
"""tcpi_unacked and tcpi_last_ack_recv (in milliseconds) of `struct tcp_info`."""
_DARWIN_DROP_TIME: Final = 0x80
"""TCP_RXT_CONNDROPTIME: macOS ends a connection itself after so many seconds of retransmitting."""


def prepare(connection: socket.socket) -> None:
    """Has the kernel end the connection, where it can be told to and cannot be asked."""
    if sys.platform == "darwin":
        limit_s = int(UNANSWERED_MAX_S)
        connection.setsockopt(socket.IPPROTO_TCP, _DARWIN_DROP_TIME, limit_s)


def unanswered_s(connection: socket.socket) -> float | None:
    """Seconds since the last acknowledgement, if anything that was sent waits for one."""
    if sys.platform != "linux":
        return None
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LINUX_INFO.size)
    if len(info) < _LINUX_INFO.size:
        return None
    unacknowledged, age_ms = _LINUX_INFO.unpack(info)
    return age_ms / 1000 if unacknowledged else None


def keep_alive(connection: socket.socket) -> None:
    """Has the kernel ask the other one's kernel when a connection says nothing, and end it when
    nobody answers: within ten seconds, and without waking either program.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = (
        ("TCP_KEEPIDLE", KEEP_ALIVE_AFTER_S),
        ("TCP_KEEPALIVE", KEEP_ALIVE_AFTER_S),  # as macOS calls it
        ("TCP_KEEPINTVL", KEEP_ALIVE_EVERY_S),
        ("TCP_KEEPCNT", KEEP_ALIVE_TIMES),
    )
    for name, value in options:
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


class Patience:
    """Whether to wait on: decided from what `unanswered_s` says, look by look."""

    def __init__(self) -> None:
        self._waiting_since: float | None = None

    def is_at_end(self, unanswered: float | None, now: float) -> bool:
        """Takes in one look; True when nobody is there any more.

        A link may have been silent for long before the first bytes that nobody answers, so their
        own age counts too: from the look that found them.
        """
        if unanswered is None:
            self._waiting_since = None
            return False
        answered_at = now - unanswered
        if self._waiting_since is None:
            self._waiting_since = now
        elif answered_at > self._waiting_since:
            self._waiting_since = answered_at
        return now - self._waiting_since >= UNANSWERED_MAX_S


async def until_readable(connection: socket.socket) -> None:
    """Returns when there is something to accept or to read, and takes nothing of it."""
    loop = asyncio.get_running_loop()
    is_readable = loop.create_future()

    def note() -> None:
        if not is_readable.done():
            is_readable.set_result(None)

    loop.add_reader(connection, note)
    try:
        await is_readable
    finally:
        loop.remove_reader(connection)


async def accept(listening: socket.socket) -> tuple[socket.socket, str]:
    """The next connection, which does not block, and the host that it is from.

    Not `loop.sock_accept`: cancelled at the wrong moment, that loses what it has accepted.
    """
    while True:
        await until_readable(listening)
        try:
            connection, address = listening.accept()
        except BlockingIOError:
            continue
        except OSError:  # out of descriptors, or the client is gone already
            await asyncio.sleep(0.1)
            continue
        connection.setblocking(False)
        return connection, address[0]
