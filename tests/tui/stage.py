"""The screen in front of a fake daemon behind the real control API, driven by keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from textual.css.query import NoMatches
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

import tui.app
from tests.peer.fake_daemon import FakeDaemon, running
from tui.app import HoldfastApp
from tui.key_line import KeyLine
from tui.listing import Listing

PATIENCE_S = 60.0


class PatientApp(HoldfastApp):
    """What it says stays: a busy machine may look later than the 5 s that a person is given."""

    NOTIFICATION_TIMEOUT = PATIENCE_S
    CSS_PATH = str(Path(tui.app.__file__).with_name("holdfast.tcss"))


class Stage:
    """An open screen."""

    def __init__(self, app: HoldfastApp, pilot: Pilot[None], daemon: FakeDaemon) -> None:
        self.app, self.pilot, self.daemon = app, pilot, daemon

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Lets the screen work until it is so."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while loop.time() < deadline:
            with suppress(NoMatches):  # the screen is being built
                if condition():
                    return
            await self.pilot.pause(0.01)
        raise AssertionError("it did not come")

    async def calls(self, *expected: tuple[Any, ...]) -> None:
        """Waits until the daemon was asked for just these acts."""
        await self.until(lambda: [c for c in self.daemon.calls if c[0] not in LOOKS] == [*expected])

    def listing(self, name: str) -> Listing:
        return self.app.screen.query_one(f"#{name}", Listing)

    def cells(self, name: str) -> list[list[str]]:
        return [list(line.cells) for line in self.listing(name).lines]

    def text(self, name: str) -> str:
        return str(self.app.screen.query_one(f"#{name}", Static).content)

    def keys(self) -> set[str]:
        """What the line of keys shows."""
        return {key.what for key in self.app.screen.query_one(KeyLine).keys}

    async def acts(self, *expected: tuple[Any, ...]) -> None:
        """Waits until the daemon was asked for just these acts, and forgets them."""
        await self.calls(*expected)
        self.daemon.calls.clear()

    async def shows(self, *kinds: type[Screen[Any]]) -> None:
        """Waits until a screen of such a kind is in front, with all that it is made of."""
        await self.until(lambda: isinstance(self.app.screen, kinds) and self.app.screen.is_mounted)

    async def closed(self) -> None:
        """Waits until no window is."""
        await self.until(lambda: len(self.app.screen_stack) == 1)


LOOKS = ("status", "devices", "list_relays", "conflicts", "notifications", "backups", "listed")


@asynccontextmanager
async def screen(home: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Stage]:
    """A screen of this size; its first look has been answered."""
    loop, asking = asyncio.get_running_loop(), ThreadPoolExecutor()
    loop.set_default_executor(asking)
    async with running(home) as daemon:
        app = PatientApp(home)
        async with app.run_test(size=size) as pilot:
            stage = Stage(app, pilot, daemon)
            await stage.until(lambda: stage.listing("folder-list").row_count)
            yield stage
        # What the screen was asking when it was left is answered before the daemon goes.
        loop.set_default_executor(ThreadPoolExecutor())
        await asyncio.to_thread(asking.shutdown)
