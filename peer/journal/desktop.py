"""Shows notices on the desktop: bubbles of the person's session, with the extra `desktop`.

`desktop_notifier` is imported when it is switched on, and not before: a daemon without it lacks
nothing. The library's words for what fails are tracebacks, so they are kept out of the log; this
module says in a sentence what is wrong.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, TypeVar

from peer.command_line.terminal import term_safe
from peer.journal.notices import Notice, Priority

if TYPE_CHECKING:
    from dbus_fast.aio.message_bus import MessageBus
    from desktop_notifier import DesktopNotifier

KEY: Final = "notifications.desktop"
LIBRARY: Final = "desktop_notifier"
TIMEOUT_S: Final = 30.0
"""The bus itself gives a service that it has to start 25 s."""
SHOWN_MAX: Final = 10
"""Bubbles of ours at once: who comes back after a week wants the desktop, and the list in the
program.
"""
NOT_INSTALLED: Final = (
    "desktop-notifier is not installed. Install Holdfast with it: `uv tool install '.[desktop]'`."
)
NO_BUS: Final = (
    "there is no session bus: this is no desktop's session, or the program was started outside of"
    " it. `holdfast service install` starts it inside."
)
NO_BUBBLES: Final = (
    "this system shows no bubbles of a program that is no application of its own. Set"
    " notifications.command instead, to `notify-send` or `osascript` for instance."
)
MARKUP: Final = str.maketrans("<>&", "‹›＆")  # noqa: RUF001 - that is the point
"""Some desktops read the text as markup, some show it letter by letter: what says the same on both
is a character that neither knows. An escape would be shown as such by the second.
"""


Answer = TypeVar("Answer")


class DesktopFailed(Exception):
    """It was not shown; says why."""


def why_not() -> str | None:
    """What keeps notices off the desktop, as far as that can be seen without asking it."""
    if importlib.util.find_spec(LIBRARY) is None:
        return NOT_INSTALLED
    if sys.platform == "linux" and not (
        os.environ.get("DBUS_SESSION_BUS_ADDRESS") or os.environ.get("DISPLAY")
    ):
        return NO_BUS
    return None


def plain(text: str) -> str:
    """The text without what a desktop could take for markup: a link, or an image to be loaded."""
    return text.translate(MARKUP)


class Desktop:
    """The person's session, as it is reached by one program."""

    def __init__(self, device: str) -> None:
        """`device`: this device's name, which is shown above each text."""
        self._title = f"Holdfast on {device}" if device else "Holdfast"
        self._notifier: DesktopNotifier | None = None
        self._shown: dict[int, str] = {}
        """The bubble of each notice, by the notice's id; the oldest first."""

    async def look(self) -> None:
        """Asks the desktop what it can do, and shows nothing. Raises DesktopFailed."""
        reason = why_not()
        if reason is not None:
            raise DesktopFailed(reason)
        bus = self._bus()
        if bus is not None and not bus.connected:
            self.close()  # The session has ended, and may have begun anew.
        if self._notifier is None:
            from desktop_notifier import DesktopNotifier

            logging.getLogger(LIBRARY).setLevel(logging.CRITICAL)
            self._notifier = DesktopNotifier("Holdfast", app_icon=None)
        if not await self._answer(self._notifier.get_capabilities()):
            self.close()
            raise DesktopFailed(NO_BUBBLES)

    async def show(self, notice: Notice) -> None:
        """One bubble, in the place of what was shown of the same notice. Raises DesktopFailed."""
        await self.look()
        bubble = await self._answer(self._show(notice))
        if bubble is None:
            # The library keeps the reason to itself; the next try begins anew, and hears it.
            self.close()
            raise DesktopFailed("the desktop did not take it")
        self._shown[notice.id] = bubble

    async def _answer(self, question: Awaitable[Answer]) -> Answer:
        """What the desktop says; whatever goes wrong ends this connection to it."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await question
        except TimeoutError as error:
            self.close()
            raise DesktopFailed(f"the desktop did not answer in {TIMEOUT_S:.0f} s") from error
        except Exception as error:
            self.close()
            reason = term_safe(str(error)) or type(error).__name__
            raise DesktopFailed(f"the desktop does not take it: {reason}") from error

    async def _show(self, notice: Notice) -> str | None:
        """The bubble's id, if it was taken."""
        from desktop_notifier import Urgency

        assert self._notifier is not None
        urgency = {
            Priority.TROUBLE: Urgency.Critical,
            Priority.QUESTION: Urgency.Normal,
            Priority.NEWS: Urgency.Low,
        }[Priority.NEWS if notice.is_over else notice.priority]
        await self._make_room(notice.id)
        taken = asyncio.Event()
        bubble = await self._notifier.send(
            plain(self._title), plain(notice.text), urgency, on_dispatched=taken.set
        )
        return bubble if taken.is_set() else None

    async def _make_room(self, notice_id: int) -> None:
        """Takes away what was shown of this notice, and the oldest of too many."""
        assert self._notifier is not None
        there = set(await self._notifier.get_current_notifications())
        gone = [self._shown.pop(notice_id, "")]
        while len(self._shown) >= SHOWN_MAX:
            gone.append(self._shown.pop(next(iter(self._shown))))
        for bubble in gone:
            if bubble in there:
                await self._notifier.clear(bubble)

    def close(self) -> None:
        """Lets the session go; what is shown may stay."""
        bus = self._bus()
        self._notifier = None
        self._shown.clear()
        if bus is not None:
            bus.disconnect()

    def _bus(self) -> MessageBus | None:
        """The connection, which the library never ends: each failed try would keep a socket."""
        bus: MessageBus | None = getattr(getattr(self._notifier, "_backend", None), "bus", None)
        return bus
