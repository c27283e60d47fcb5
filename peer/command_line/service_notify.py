"""Tells the service manager that the daemon is ready, that it lives, and that it stops: systemd's
datagrams. Without such a manager nothing is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SOCKET_VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE = "WATCHDOG_PID"


def tell(text: str) -> bool:
    """Sends one datagram; False where nobody asked for it, or nobody is there any more."""
    name = os.environ.get(SOCKET_VARIABLE, "")
    if not name.startswith(("/", "@")):
        return False
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(text.encode(), address)
        except OSError:
            return False
    return True


def watchdog_interval_s() -> float | None:
    """How often to say that this process lives: twice in the time that is allowed."""
    allowed = os.environ.get(WATCHDOG_VARIABLE, "")
    pid = os.environ.get(WATCHDOG_PID_VARIABLE, str(os.getpid()))
    if not allowed.isascii() or not allowed.isdecimal() or pid != str(os.getpid()):
        return None
    return max(0.1, int(allowed) / 2_000_000)


@asynccontextmanager
async def told_to_manager(tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
    """Ready while the context is open. The watchdog is fed by the event loop, so a daemon that
    hangs is started anew.
    """
    interval_s = watchdog_interval_s()
    feeder = None if interval_s is None else tasks.create_task(_feed(interval_s))
    tell("READY=1")
    try:
        yield
    finally:
        tell("STOPPING=1")
        if feeder is not None:
            feeder.cancel()


async def _feed(interval_s: float) -> None:
    while True:
        tell("WATCHDOG=1")
        await asyncio.sleep(interval_s)
