"""Tells of notices outside of this program: a command that is run, a webhook that is posted to, the
desktop.

Each has a queue and a worker of its own, a time limit, and is tried again; whoever hangs delays
nobody but itself, and what nobody takes is given up and said in the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from peer.journal.desktop import KEY as DESKTOP_KEY
from peer.journal.desktop import Desktop, DesktopFailed, why_not
from peer.journal.notices import Notice
from peer.journal.webhook import WebhookFailed, parse_url, post

COMMAND_TIMEOUT_S: Final = 30.0
RETRY_WAITS_S: Final = (5.0, 30.0, 120.0)
"""A service that is being restarted is back by then; who hears of it later hears old news."""
QUEUE_MAX: Final = 50
"""Notices that wait; the board holds them all, so the oldest news can go."""
SECRETS_PREFIX: Final = "HOLDFAST_"

log = logging.getLogger(__name__)


class OutletFailed(Exception):
    """It was not taken."""


class Outlet:
    """One way to tell somebody."""

    def __init__(
        self,
        name: str,
        send: Callable[[Notice], Awaitable[None]],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._send = send
        self._close = close
        self.on_settled: Callable[[Notice, str], None] = lambda notice, name: None
        """Hears of a notice that was told, or given up, and by whom."""
        self._queue: deque[Notice] = deque()
        self._wake = asyncio.Event()

    def put(self, notice: Notice) -> None:
        """To be told, after what is more urgent; what waits already is told as it is by then."""
        if any(waiting is notice for waiting in self._queue):
            return
        place = next(
            (i for i, n in enumerate(self._queue) if n.priority < notice.priority),
            len(self._queue),
        )
        self._queue.insert(place, notice)
        while len(self._queue) > QUEUE_MAX:
            self.on_settled(self._queue.pop(), self.name)
        self._wake.set()

    async def run(self) -> None:
        """Tells one after the other, until cancelled."""
        try:
            await self._tell_all()
        finally:
            self._close()

    async def _tell_all(self) -> None:
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            notice = self._queue.popleft()
            for wait_s in (*RETRY_WAITS_S, None):
                try:
                    await self._send(notice)
                except OutletFailed as error:
                    if wait_s is None:
                        log.warning("%s: notice %d is given up: %s", self.name, notice.id, error)
                        break
                    log.info("%s: notice %d is tried again: %s", self.name, notice.id, error)
                    await asyncio.sleep(wait_s)
                else:
                    break
            self.on_settled(notice, self.name)


def open_outlets(
    command: Sequence[str], webhook: str, device: str, *, desktop: bool = False
) -> list[Outlet]:
    """Those that a person has set."""
    outlets = []
    if command:
        outlets.append(Outlet("notifications.command", lambda n: run_command(command, n, device)))
    if webhook:
        target = parse_url(webhook)

        async def send(notice: Notice) -> None:
            try:
                await post(target, payload(notice, device))
            except WebhookFailed as error:
                raise OutletFailed(str(error)) from error

        outlets.append(Outlet("notifications.webhook", send))
    if desktop:
        outlets.append(_desktop_outlet(device))
    return outlets


def _desktop_outlet(device: str) -> Outlet:
    """The desktop's; what keeps it from showing anything is said once at the start, and at each
    notice that is given up.
    """
    session = Desktop(device)
    reason = why_not()
    if reason is not None:
        log.warning("%s: nothing will be shown: %s", DESKTOP_KEY, reason)

    async def show(notice: Notice) -> None:
        try:
            await session.show(notice)
        except DesktopFailed as error:
            raise OutletFailed(str(error)) from error

    return Outlet(DESKTOP_KEY, show, session.close)


def payload(notice: Notice, device: str) -> bytes:
    """What a command reads on its standard input, and a webhook is sent: a line."""
    content: dict[str, Any] = {"device": device, **notice.entry()}
    return json.dumps(content).encode() + b"\n"


async def run_command(command: Sequence[str], notice: Notice, device: str) -> None:
    """Runs a command with the sentence as its last argument; no shell reads it. Raises
    OutletFailed.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(SECRETS_PREFIX)}
    try:
        process = await asyncio.create_subprocess_exec(
            *command, notice.text,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True, env=environment,
        )  # fmt: skip
    except OSError as error:
        raise OutletFailed(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await process.communicate(payload(notice, device))
    except TimeoutError as error:
        raise OutletFailed(f"it ran longer than {COMMAND_TIMEOUT_S:.0f} s") from error
    finally:
        if (
            process.returncode is None
        ):  # it hangs, or the daemon stops: with all that it has started
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise OutletFailed(f"it ended with {process.returncode}")
