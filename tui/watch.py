"""What the screen knows of the daemon: it follows the daemon's events, looks when something has
happened, and keeps what it saw last, whatever becomes of the daemon meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from peer.errors import DaemonNotRunning, NoDevice, PeerError
from peer.status import (
    BackupList,
    ConflictEntry,
    DeviceEntry,
    FolderState,
    FolderStatus,
    NoticeEntry,
    Overview,
    RelayEntry,
    Status,
    TransferList,
)
from tui.daemon import Daemon
from tui.in_keys import in_keys
from tui.rows import Rates, headline

BEAT_S: Final = 1.0
LOOK_PAUSE_S: Final = 0.25
"""Between two looks, however much happens."""
KEY_PAUSE_S: Final = 0.1
"""What a key shows is painted by then: a look meanwhile would take the processor from it."""
UNTOLD_EVERY: Final = 10
"""Beats between looks at what no event tells: relays, sizes, last seen."""
CONFLICTS_EVERY: Final = 10
"""Looks: the walk takes 25 ms of 100,000 files."""


class Standing(StrEnum):
    """How it stands with the daemon; the value is what is said of it."""

    LOOKING = "Looking for the daemon…"
    RUNNING = ""
    STARTING = "The daemon is starting…"
    LOST = "The daemon is not running. Press r to run it."
    EMPTY = "There is no device of yours here yet."
    TROUBLED = "The daemon does not answer as it should."


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last look saw; where the daemon is away, what the last one before it saw."""

    standing: Standing = Standing.LOOKING
    told: str = Standing.LOOKING.value
    """The line above all others."""
    status: Status | None = None
    devices: Sequence[DeviceEntry] = ()
    relays: Sequence[RelayEntry] = ()
    notices: Sequence[NoticeEntry] = ()
    unread: int = 0
    transfers: TransferList | None = None
    conflicts: Sequence[ConflictEntry] = ()
    backups: BackupList | None = None

    @property
    def folders(self) -> Sequence[FolderStatus]:
        """None of them, before the first look."""
        return () if self.status is None else self.status["folders"]

    @property
    def is_startable(self) -> bool:
        """Whether a person can do something about a daemon that is not there."""
        return self.standing in (Standing.LOST, Standing.EMPTY)


class Watch:
    """Looks at one daemon for one screen, which is told of each picture."""

    def __init__(self, daemon: Daemon, show: Callable[[Seen], None]) -> None:
        self._daemon, self._show = daemon, show
        self.seen = Seen()
        self.tab = ""
        """What is in front of the person: some of it is asked for only there."""
        self._rates = Rates()
        self._etag = ""
        self._looks = self._beats = 0
        self._is_due = asyncio.Event()
        self._is_starting = False
        self._key_s = self._looked_s = float("-inf")
        self.is_told = False
        """Whether the daemon tells of what happens just now."""
        self.on_found: Callable[[], None] | None = None
        """Who hears that other things may be found than a moment ago."""

    async def run(self) -> None:
        """Looks, for as long as the screen is open."""
        self.look()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._beat())
            tasks.create_task(self._look_when_due())

    def look(self) -> None:
        """Has the daemon asked how everything stands, now or as soon as it has answered."""
        self._is_due.set()

    def key_came(self, now_s: float) -> None:
        """A person waits for what their key shows: looks wait for that, but keys that follow each
        other keep nobody from looking once a second.
        """
        if now_s - self._looked_s < BEAT_S:
            self._key_s = now_s

    def rests_s(self, now_s: float) -> float:
        """For how long no look is to be begun."""
        return max(0.0, self._key_s + KEY_PAUSE_S - now_s)

    def starting(self, is_starting: bool) -> None:
        """Somebody runs the daemon just now, or does no more."""
        self._is_starting = is_starting
        if is_starting:
            self._tell(replace(self.seen, standing=Standing.STARTING, told=Standing.STARTING.value))
        self.look()

    def beat(self) -> None:
        """A second has passed: looks where nothing is told, while something moves, and every so
        often anyway.
        """
        self._beats += 1
        if not self.is_told or self.is_moving or self._beats % UNTOLD_EVERY == 0:
            self.look()

    @property
    def is_moving(self) -> bool:
        """Whether a person sees numbers run."""
        busy = (FolderState.SYNCING, FolderState.SCANNING)
        return bool(self._rates.words()) or any(f["state"] in busy for f in self.seen.folders)

    # ------------------------------------------------------------ its three tasks

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat()

    async def _follow(self) -> None:
        last_id: str | None = None
        while True:
            try:
                async for told, kind in self._daemon.events(last_id):
                    last_id, self.is_told = told, True
                    if kind in ("search", "reset") and self.on_found is not None:
                        self.on_found()
                    if kind != "search":  # nothing of a picture is another thing by that
                        self.look()
            except PeerError:
                pass  # the next look says what is wrong
            self.is_told = False
            await asyncio.sleep(BEAT_S)

    async def _look_when_due(self) -> None:
        while True:
            await self._is_due.wait()
            await asyncio.sleep(self.rests_s(time.monotonic()))
            self._is_due.clear()
            self._looked_s = time.monotonic()
            await self._look()
            await asyncio.sleep(LOOK_PAUSE_S)

    # ------------------------------------------------------------ one look

    async def _look(self) -> None:
        asked = {
            "conflicts": self._looks % CONFLICTS_EVERY == 0 or self.tab == "conflicts",
            "backups": self.tab == "backup",
        }
        try:
            found, self._etag = await self._daemon.overview(self._etag, **asked)
        except PeerError as error:
            self._miss(error)
            return
        self._looks += 1
        if found is not None:
            self._rates.note(found["status"]["totals"], time.monotonic())
            self._tell(_picture(found, self.seen, self._rates))
        elif self.seen.status is not None:
            was_moving = self.is_moving
            self._rates.note(self.seen.status["totals"], time.monotonic())
            if was_moving:  # what stands still gets slower
                told = headline(self.seen.status, self._rates, self.seen.unread)
                self._tell(replace(self.seen, told=told))

    def _miss(self, error: PeerError) -> None:
        """The daemon has not answered: its last picture stays, but for how it stands."""
        self._etag, self._looks = "", 0
        if isinstance(error, NoDevice):
            self._tell(Seen(Standing.EMPTY, Standing.EMPTY.value))
        elif isinstance(error, DaemonNotRunning):
            standing = Standing.STARTING if self._is_starting else Standing.LOST
            self._tell(replace(self.seen, standing=standing, told=standing.value))
        else:
            told = in_keys(str(error))
            self._tell(replace(self.seen, standing=Standing.TROUBLED, told=told))

    def _tell(self, seen: Seen) -> None:
        self.seen = seen
        self._show(seen)


def _picture(found: Overview, before: Seen, rates: Rates) -> Seen:
    notices = found["notifications"]
    return Seen(
        Standing.RUNNING,
        headline(found["status"], rates, notices["unread"]),
        found["status"],
        found["devices"],
        found["relays"],
        notices["notifications"],
        notices["unread"],
        found["transfers"],
        found.get("conflicts", before.conflicts),
        found.get("backups", before.backups),
    )
