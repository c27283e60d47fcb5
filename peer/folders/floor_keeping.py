"""Writes down outside of a folder's index how far it is, now and then, so that an older index is
noticed (`floor.py`).

A home that cannot be written is told, and tried again: the index itself is well and goes on. To
take it for one in which a commit has failed would end this device's log, which nobody compacts any
more then.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

from crypto.ids import DeviceId
from peer.folders.floor import Floor
from protocol.logs import LogBook

log = logging.getLogger(__name__)

FLOOR_INTERVAL_S: Final = 10.0
"""How often it is written down how far the logs are."""


class FloorKeeper:
    """One folder's floor, and where it is kept."""

    def __init__(self, floor: Floor, keep: Callable[[], Awaitable[None]]) -> None:
        self.floor, self.keep = floor, keep
        """`keep` writes the floor down. Raises sqlite3.OperationalError."""
        self.trouble = ""
        """Why it could not be written down."""
        self._kept_at = float("-inf")
        self._is_owed = False

    @property
    def due(self) -> float:
        """When it is to be written down, if there is anything to write down."""
        return self._kept_at + FLOOR_INTERVAL_S if self._is_owed else float("inf")

    async def rise(self, book: LogBook, own: DeviceId, now: float) -> None:
        """The folder is in sync: takes up how far its logs are, and writes it down when due."""
        self.note(book, own)
        if now >= self.due:
            self._kept_at = now
            await self.write()

    def note(self, book: LogBook, own: DeviceId) -> None:
        """Takes up how far the logs are."""
        if self.floor.rise(book, own):
            self._is_owed = True

    async def write(self) -> None:
        """Writes down what is not written down yet."""
        if not self._is_owed:
            return
        try:
            await self.keep()
        except sqlite3.OperationalError as error:
            self.trouble = (
                f"Holdfast's home cannot be written: {error}. Look whether its disk is full or"
                " failing: until it is well, an older index that is put back may pass unnoticed."
            )
            log.warning("%s", self.trouble)
        else:
            self._is_owed, self.trouble = False, ""


async def keep_nothing() -> None:
    """For a folder without a home."""
